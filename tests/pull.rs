//! `http_get`: what an address gives is taken once, again only when it is new, and never in part.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::{
    desk::{Desk, PATIENCE, Running},
    look,
};

/// What the server gives: status, ETag, body; and what it was asked.
#[derive(Clone, Default)]
struct Page {
    status: u16,
    etag: Option<&'static str>,
    body: String,
    /// It ends before all of the body is sent.
    broken: bool,
}

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    page: Arc<Mutex<Page>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(page: Page) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = Server { address, page: Arc::new(Mutex::new(page)), asked: Arc::default() };
        let its = server.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|came| its.answer(came)));
        server
    }

    fn gives(&self, page: Page) {
        *self.page.lock().expect("no panic") = page;
    }

    fn answer(&self, mut came: TcpStream) {
        let mut head = String::new();
        let mut reader = BufReader::new(came.try_clone().expect("a socket"));
        while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
        let page = self.page.lock().expect("no panic").clone();
        let same = page.etag.is_some_and(|etag| head.to_lowercase().contains(&format!("if-none-match: {etag}")));
        self.asked.lock().expect("no panic").push(head);
        let (status, body) = if same { (304, String::new()) } else { (page.status, page.body) };
        let etag = page.etag.map_or(String::new(), |etag| format!("etag: {etag}\r\n"));
        let length = body.len() + if page.broken { 1000 } else { 0 };
        let _ =
            write!(came, "HTTP/1.1 {status} So\r\n{etag}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn page(etag: Option<&'static str>, body: &str) -> Page {
    Page { status: 200, etag, body: body.to_owned(), broken: false }
}

fn desk(server: &Server, options: &str, more: &str) -> Desk {
    Desk::with(&format!(
        "PIPELINE prices {options} AS\nFROM http_get('http://{}/day/prices.csv?key=a-key-in-the-address'{more})\n\
         |> SELECT CAST(id AS BIGINT) AS id, CAST(price AS DECIMAL(12, 2)) AS price, _source\n|> INSERT INTO file('out/');\n",
        server.address
    ))
}

fn run(desk: &Desk, code: i32) -> String {
    let mut command = desk.command(&["run", "orders.sync"]);
    command.env("TOKEN", "a-token-that-nobody-sees");
    let said = Running::start(command, "run".to_owned()).end(PATIENCE).expect(code);
    assert!(!said.err.contains("a-token") && !said.err.contains("a-key-in-the-address"), "{}", said.err);
    said.err
}

#[test]
fn what_an_address_gives_is_taken_once_and_again_when_it_is_new() {
    for etag in [Some("\"v1\""), None] {
        let server = Server::start(page(etag, "id,price\n1,9.50\n2,0.10\n"));
        let desk = desk(&server, "", ", token => env('TOKEN')");
        assert!(run(&desk, 0).contains("2 rows in"));
        assert!(run(&desk, 0).contains("0 rows in"), "the same is not taken again");
        server.gives(page(etag.map(|_| "\"v2\""), "id,price\n3,1\n"));
        assert!(run(&desk, 0).contains("1 rows in"));
        let source = format!("http://{}/day/prices.csv", server.address);
        let row =
            |id: u32, price: &str, source: &str| format!("{{\"id\":{id},\"price\":{price},\"_source\":\"{source}\"}}");
        let expected = [row(1, "9.50", &source), row(2, "0.10", &source), row(3, "1.00", &format!("{source}#1"))];
        assert_eq!(look::lines(&desk.path("out")), expected);
        let asked = server.asked();
        assert_eq!(asked.len(), 3);
        assert!(asked[0].to_lowercase().contains("authorization: bearer a-token-that-nobody-sees"), "{}", asked[0]);
        assert!(asked[0].starts_with("GET /day/prices.csv?key=a-key-in-the-address "), "{}", asked[0]);
        assert_eq!(asked[1].to_lowercase().contains("if-none-match: \"v1\""), etag.is_some());
    }
}

#[test]
fn an_answer_that_is_none_is_told_and_nothing_of_it_is_taken() {
    let refused = |status: u16| Page { status, body: "<html>".into(), ..Page::default() };
    let broken = Page { broken: true, ..page(None, "id,price\n1,9.50\n") };
    for (page, words) in [
        (refused(404), "there is nothing (404)"),
        (refused(403), "the server does not let us in (403)"),
        (refused(503), "the server answered 503"),
        (broken, "the server cannot be read"),
        (page(None, &format!("id,price\n{}", "1,9.50\n".repeat(1000))), "gives more than 1000 bytes"),
    ] {
        let server = Server::start(page);
        let desk = desk(&server, "", ", max_size => '1 kB'");
        let told = run(&desk, 3);
        assert!(told.contains(words), "`{words}` is not in:\n{told}");
        assert!(!desk.path("out").exists() || look::lines(&desk.path("out")).is_empty());
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again_when_the_pipeline_says_so() {
    let server = Server::start(Page { status: 503, ..Page::default() });
    let desk = desk(&server, "WITH (restart = 'on failure', restart_delay = '50 ms')", "");
    let mut running = desk.start(&["run", "orders.sync"]);
    running.until("it was asked three times", |_| server.asked().len() >= 3);
    server.gives(page(None, "id,price\n1,9.50\n"));
    let said = running.end(PATIENCE + Duration::from_secs(10)).expect(0);
    assert!(said.err.contains("the server answered 503"), "{}", said.err);
    assert_eq!(look::lines(&desk.path("out")).len(), 1);
}

/// Makes an authority and a certificate of it for this machine: `ca.pem`, `server.pem`, `server.key`.
const CERTIFICATES: &str = "set -e
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=our own authority' -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout server.key -out server.csr
printf 'subjectAltName = DNS:localhost, IP:127.0.0.1\\nbasicConstraints = CA:FALSE\\n' > server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem";

/// Gives one page to whoever asks over TLS; its port goes into the file `port`.
const SERVER: &str = "import http.server, os, ssl
class Prices(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'id,price\\n1,9.50\\n'
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers(); self.wfile.write(body)
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Prices)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
open('port.part', 'w').write(str(server.server_address[1])); os.rename('port.part', 'port')
server.serve_forever()";

#[test]
fn a_server_is_believed_by_the_certificates_that_the_pipeline_names() {
    let desk = Desk::new();
    let made = Running::start(desk.other("sh", &["-c", CERTIFICATES]), "openssl".to_owned());
    made.end(PATIENCE).expect(0);
    let mut server = Running::start(desk.other("python3", &["-c", SERVER]), "a server".to_owned());
    server.until("it has a port", |_| desk.path("port").exists());
    let port = std::fs::read_to_string(desk.path("port")).expect("a port");
    let from = |ca: &str| {
        desk.write(
            "orders.sync",
            format!(
                "PIPELINE prices AS FROM http_get('https://localhost:{port}/prices.csv'{ca})
                 |> SELECT CAST(id AS BIGINT) AS id, CAST(price AS DECIMAL(12, 2)) AS price |> INSERT INTO file('out/');"
            ),
        );
    };
    desk.write("empty.pem", "no certificate\n");
    for (ca, words) in [
        ("", "invalid peer certificate: UnknownIssuer"),
        (", ca => 'server.key'", "server.key: holds no certificate"),
        (", ca => 'empty.pem'", "empty.pem: holds no certificate"),
        (", ca => 'none.pem'", "none.pem: No such file or directory"),
    ] {
        from(ca);
        let told = run(&desk, 3);
        assert!(told.contains(words), "`{words}` is not in:\n{told}");
    }
    from(", ca => 'ca.pem'");
    assert!(run(&desk, 0).contains("1 rows in"));
    assert_eq!(look::lines(&desk.path("out")), ["{\"id\":1,\"price\":9.50}"]);
}
