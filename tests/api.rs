//! The API as a program meets it: tokens, TLS, events over a WebSocket, dead letters that go again.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::{
    chance::Chance,
    desk::{Desk, Running},
    kafka::{self, Record},
    look, topics,
    web::Client,
};

const ORDERS: &str = "
PIPELINE orders AS
FROM http('/orders')
|> SELECT CAST(id AS BIGINT) AS id, CAST(total AS DECIMAL(12, 2)) AS total
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
";

fn started(desk: &Desk) -> (Running, SocketAddr) {
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    let mut client = Client::to(address);
    running.until("it is ready", |_| client.get("/readyz").status == 200);
    (running, address)
}

#[test]
fn dead_letters_go_again_once_over_a_kill_and_are_discarded_in_a_stopped_folder_too() {
    let desk = Desk::with(ORDERS);
    let (mut running, address) = started(&desk);
    let sent = Client::to(address).post(
        "/in/orders",
        &[],
        b"{\"id\": 1, \"total\": \"ten\"}\n{\"id\": 2, \"total\": \"x\"}\nnope",
    );
    assert_eq!(sent.status, 202, "{sent:?}");
    running.until("letters", |_| {
        Client::to(address).get("/v1/dead-letters").json()["items"].as_array().map(Vec::len) == Some(3)
    });
    let ids: Vec<String> = desk
        .query("SELECT id FROM dead_letters ORDER BY record_offset")
        .iter()
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect();
    desk.ok(&["dead-letters", "retry", &ids[0]]);
    let said = desk.say(&["dead-letters", "retry", &ids[0]]).expect(1);
    assert!(said.err.contains("no open dead letter"), "{}", said.err);
    // It stops at the same step again, as a letter of its own.
    running.until("it came again", |_| desk.value("SELECT count(*) FROM dead_letters") == json!(4));
    let headers = desk.value("SELECT headers FROM dead_letters ORDER BY record_offset DESC LIMIT 1");
    assert!(headers.as_str().is_some_and(|headers| headers.contains(&ids[0])), "{headers}");
    assert!(running.kill());
    let (running, _) = started(&desk);
    let open = "SELECT count(*) FROM dead_letters WHERE state = 'open'";
    assert_eq!((desk.value(open), desk.value("SELECT count(*) FROM dead_letters")), (json!(3), json!(4)));
    desk.ok(&["dead-letters", "discard", &ids[1], "-o", "json"]);
    running.stop().expect(0);
    let said = desk.say(&["dead-letters", "retry", "--pipeline", "orders", "--all"]).expect(1);
    assert!(said.err.contains("no process runs here"), "{}", said.err);
    desk.ok(&["dead-letters", "discard", "--pipeline", "orders", "--all"]);
    assert_eq!(desk.value(open), json!(0));
    let states = desk.query("SELECT state, count(*) AS many FROM dead_letters GROUP BY state ORDER BY state");
    assert_eq!(states, [json!({"state": "discarded", "many": 3}), json!({"state": "retried", "many": 1})]);
    // What was asked in the last second before the kill is not in it; what came after is.
    let who =
        desk.query("SELECT who, action, outcome FROM audit_log WHERE target LIKE '%discard' ORDER BY time LIMIT 1");
    assert_eq!(who, [json!({"who": "local", "action": "POST /v1/dead-letters/discard", "outcome": "done"})]);
}

#[test]
fn events_come_over_a_websocket_as_they_happen() {
    let desk = Desk::with(ORDERS);
    let (running, address) = started(&desk);
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let request = format!(
        "GET /v1/events/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut heard = vec![];
    let mut hear = |words: &str| {
        let mut block = [0; 4096];
        while !String::from_utf8_lossy(&heard).contains(words) {
            let length = stream.read(&mut block).expect("more");
            assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&block[..length]);
        }
    };
    hear("HTTP/1.1 101");
    hear("\"event\":\"started\"");
    running.signal("TERM");
    hear("\"event\":\"stopped\"");
    running.end(Duration::from_secs(30)).expect(0);
}

#[test]
fn other_machines_get_in_with_a_token_and_in_tls_only() {
    let desk = Desk::with(ORDERS);
    let refused = desk.say(&["run", "orders.sync", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(refused.err.contains("syncline token create"), "{}", refused.err);
    let token = desk.ok(&["token", "create", "ada", "--role", "viewer", "--expires", "1d"]).trim().to_owned();
    let listed = desk.ok(&["token", "list", "-o", "csv"]);
    assert!(listed.contains("ada,") && listed.contains(",viewer,") && listed.contains("good"), "{listed}");
    let kept = std::fs::read_to_string(desk.path(".syncline/tokens")).expect("the file");
    assert!(!kept.contains(token.rsplit('_').next().expect("a secret")), "{kept}");
    let refused = desk.say(&["run", "orders.sync", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(refused.err.contains("--listen-tls-cert"), "{}", refused.err);
    let openssl =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"];
    let mut made = desk.other("openssl", &openssl);
    made.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    Running::start(made, "openssl".to_owned()).end(Duration::from_secs(60)).expect(0);
    let tls = ["--listen-tls-cert", "cert.pem", "--listen-tls-key", "key.pem"];
    let mut running = desk.start(&[&["run", "orders.sync", "--listen", "0.0.0.0:0"][..], &tls].concat());
    let mut port = String::new();
    running.until("it listens", |running| {
        let err = running.err();
        let told = err.split_once("listening on https://0.0.0.0:").and_then(|(_, rest)| rest.split_whitespace().next());
        port = told.unwrap_or_default().to_owned();
        !port.is_empty()
    });
    let ask = |url: &str, headers: &[&str]| {
        let mut curl = desk.other("curl", &["-s", "--cacert", "cert.pem", "-o", "answer", "-w", "%{http_code}"]);
        for header in headers {
            curl.args(["-H", header]);
        }
        String::from_utf8_lossy(&curl.arg(url).output().expect("curl").stdout).into_owned()
    };
    let (secure, plain) = (format!("https://localhost:{port}"), format!("http://localhost:{port}"));
    let bearer = format!("authorization: Bearer {token}");
    assert_eq!(ask(&format!("{secure}/v1/pipelines"), &[]), "401");
    assert_eq!(ask(&format!("{secure}/v1/pipelines"), &[&bearer, "host: sync.example"]), "200");
    assert_eq!(ask(&format!("{secure}/healthz"), &[]), "200");
    assert_eq!(ask(&format!("{plain}/v1/pipelines"), &[&bearer]), "000");
    assert_eq!(ask(&format!("{secure}/v1/tokens"), &[&bearer]), "403");
    desk.ok(&["token", "revoke", "ada"]);
    assert_eq!(ask(&format!("{secure}/v1/pipelines"), &[&bearer]), "401");
    assert_eq!(ask(&format!("{secure}/v1/pipelines"), &[]), "401");
    // The commands of the same user need none.
    assert!(desk.ok(&["status"]).contains("orders"));
    let said = running.stop().expect(0);
    assert!(!said.err.contains(&token), "{}", said.err);
}

/// Orders, of which each fifth has a total that is none yet, and one more of the first.
fn orders() -> Vec<String> {
    let line = |id: usize| {
        let sign = if id.is_multiple_of(5) { "x" } else { "" };
        format!("{{\"id\": {id}, \"total\": \"{sign}{}\"}}", id % 7)
    };
    (0..150).map(line).chain(["{\"id\": 1, \"total\": \"x1\"}".to_owned()]).collect()
}

/// Records that stopped go again once the text is mended, in bulk, while the process is killed again and again.
fn stopped_records_go_again(desk: &Desk, connection: &str, from: &str) {
    let text = |total: &str| {
        format!(
            "{connection}PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM {from}
|> SELECT CAST(id AS BIGINT) AS id, CAST({total} AS BIGINT) AS total |> DEDUP BY id WITHIN '1 day'
|> INSERT INTO sqlite('out.db', 'orders');\n"
        )
    };
    desk.write("orders.sync", text("total"));
    let serve = || {
        let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
        let address = running.address();
        let state = |client: &mut Client| client.get("/v1/pipelines/orders").json()["state"].clone();
        running.until("it runs", |_| state(&mut Client::to(address)) == "running");
        (running, address)
    };
    let (mut running, address) = serve();
    let letters = "SELECT count(*) AS n FROM dead_letters";
    running.until("31 have stopped", |_| desk.value(letters) == 31);
    // It stops at the same step again, as a letter that came by the other way.
    let first = desk.value("SELECT id FROM dead_letters ORDER BY source, record_offset LIMIT 1");
    desk.ok(&["dead-letters", "retry", first.as_str().expect("an id")]);
    running.until("it came again", |_| desk.value(letters) == 32);
    assert_eq!(desk.value("SELECT count(*) AS n FROM dead_letters WHERE source = 'retry/orders'"), 1);
    let put = Client::to(address).send(
        "PUT",
        "/v1/pipelines/orders",
        &[("Content-Type", "application/sql")],
        text("replace(total, 'x', '')").as_bytes(),
    );
    assert_eq!(put.status, 200, "{put:?}");
    let all = ["dead-letters", "retry", "--pipeline", "orders", "--all"];
    let (mut chance, _) = Chance::told("records that stopped go again");
    for _ in 0..4 {
        let asked = desk.start(&all);
        std::thread::sleep(Duration::from_millis(40 + chance.below(300)));
        running.kill();
        asked.end(Duration::from_secs(60));
        running = serve().0;
    }
    running.until("none is open", |_| {
        desk.say(&all);
        desk.value("SELECT count(*) AS n FROM dead_letters WHERE state <> 'retried'") == 0
    });
    let rows = || look::sqlite(&desk.path("out.db"), "SELECT count(*), count(DISTINCT id), sum(total) FROM orders");
    let sum: usize = (0..150).map(|id| id % 7).sum();
    let expected = [["150".to_owned(), "150".to_owned(), sum.to_string()]];
    running.until("all are there", |_| rows() == expected);
    running
        .until("each has its fate", |_| desk.value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup'") == 1);
    assert_eq!(rows(), expected);
    assert_eq!(desk.value("SELECT count(*) AS n FROM runs WHERE NOT balanced"), 0);
    // Those of the source, the one that stopped twice, and each that stopped once more.
    running.until("they are counted", |_| {
        desk.value("SELECT sum(rows_in) AS n FROM steps WHERE step = 'source'") == 151 + 32
    });
    running.stop().expect(0);
}

#[test]
fn records_of_a_file_that_stopped_go_again_once_over_kills() {
    let desk = Desk::new();
    desk.append("in.ndjson", orders());
    stopped_records_go_again(&desk, "", "file('in.ndjson') FOLLOW");
}

#[test]
fn records_of_kafka_that_stopped_go_again_once_over_kills() {
    let bus = kafka::shared();
    let topic = bus.topic("stopped", 1);
    let now = topics::now();
    topic.produce(&orders().iter().map(|line| Record::new("k", line).time(now)).collect::<Vec<_>>());
    let connection = format!("CONNECTION bus TO kafka WITH (brokers = '{}');\n", bus.brokers());
    stopped_records_go_again(&Desk::new(), &connection, &format!("bus.{}", topic.name));
}

/// Their ids and totals.
fn pairs() -> Vec<(u64, String)> {
    let pair = |line: String| {
        let order: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        (order["id"].as_u64().expect("an id"), order["total"].as_str().expect("a total").to_owned())
    };
    orders().into_iter().map(pair).collect()
}

const LINE: &str = "SCHEMA line (id BIGINT NOT NULL, total STRING);\n";

#[test]
fn lines_of_csv_that_stopped_go_again_once_over_kills() {
    let desk = Desk::new();
    let line = |(id, total): (u64, String)| format!("\"{total}\";{id}");
    desk.append("in.csv", pairs().into_iter().map(line));
    let schema = "SCHEMA line (total STRING, id BIGINT NOT NULL);\n";
    stopped_records_go_again(
        &desk,
        schema,
        "file('in.csv') FORMAT csv (header = false, delimiter = ';') SCHEMA line FOLLOW",
    );
}

/// Columns of two files in another order each; what they are called is kept with a line.
#[test]
fn lines_of_csv_under_headers_that_stopped_go_again_once_over_kills() {
    let (desk, pairs) = (Desk::new(), pairs());
    let (some, others) = pairs.split_at(70);
    desk.write("a.csv", "total,id\n");
    desk.append("a.csv", some.iter().map(|(id, total)| format!("{total},{id}")));
    desk.write("b.csv", "id,total\n");
    desk.append("b.csv", others.iter().map(|(id, total)| format!("{id},{total}")));
    stopped_records_go_again(&desk, LINE, "file('*.csv') SCHEMA line FOLLOW");
}

/// What a backfill gives may be of another format, and has steps of its own: nothing of that happens where a retry comes in.
#[test]
fn a_record_of_a_backfill_is_not_sent_through_the_source_of_its_pipeline() {
    let desk = Desk::new();
    desk.append("in.ndjson", ["{\"id\": 1, \"cents\": 100}"]);
    desk.append("old.ndjson", ["{\"id\": 2, \"cents\": \"many\"}"]);
    desk.write("orders.sync", "PIPELINE orders AS FROM file('in.ndjson') FOLLOW\n|> SELECT id, CAST(cents AS BIGINT) AS cents |> INSERT INTO file('out/');\n");
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    running.address();
    desk.ok(&["backfill", "start", "orders", "FROM file('old.ndjson') |> WHERE id > 0"]);
    running.until("it has stopped", |_| desk.value("SELECT count(*) AS n FROM dead_letters") == 1);
    let said = desk.say(&["dead-letters", "retry", "--pipeline", "orders", "--all"]).expect(1);
    assert!(said.err.contains("it did not come from the source behind FROM"), "{}", said.err);
    // Where its place is read again it stops again, and nobody has decided about that.
    desk.ok(&["dead-letters", "discard", "--pipeline", "orders", "--all"]);
    desk.ok(&["backfill", "start", "orders", "'old.ndjson'"]);
    running.until("it has stopped again", |_| desk.value("SELECT count(DISTINCT id) AS n FROM dead_letters") == 2);
    assert_eq!(desk.value("SELECT count(*) AS n FROM dead_letters WHERE state = 'open'"), 1);
    running.stop().expect(0);
}

/// More than one call decides about, of which the oldest cannot be sent again; and those that stop again are not sent without an end.
#[test]
fn thousands_of_letters_are_decided_about_and_none_stands_in_the_way_of_another() {
    const EACH: usize = 1_100;
    let desk = Desk::new();
    let line = |id: usize| format!("{{\"id\": {id}, \"total\": \"x\"}}");
    desk.append("in.ndjson", (0..2 * EACH).map(line));
    // Whoever stops behind the DEDUP is remembered by it.
    desk.write("orders.sync", format!("PIPELINE orders AS FROM file('in.ndjson') FOLLOW
|> SELECT CAST(id AS BIGINT) AS id, total |> EXPECT id < {EACH} AS small ON VIOLATION DEAD LETTER |> DEDUP BY id WITHIN '1 day'
|> SELECT id, CAST(total AS BIGINT) AS total |> INSERT INTO file('out/');\n"));
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    running.address();
    let open = "SELECT count(*) AS n FROM dead_letters WHERE state = 'open'";
    running.until("all have stopped", |_| desk.value(open) == 2 * EACH);
    let said = desk.say(&["dead-letters", "retry", "--pipeline", "orders", "--all", "-o", "json"]).expect(1);
    let told: serde_json::Value = serde_json::from_str(&said.out()).expect("JSON");
    assert_eq!((told["done"].as_u64(), told["refused"].as_array().map(Vec::len)), (Some(EACH as u64), Some(EACH)));
    running.until("they have stopped again", |_| desk.value("SELECT count(*) AS n FROM dead_letters") == 3 * EACH);
    running.stop().expect(0);
    // Where nobody runs too.
    let said = desk.say(&["dead-letters", "discard", "--pipeline", "orders", "--all"]).expect(0);
    assert!(said.err.contains(&format!("{} dead letters discarded", 2 * EACH)), "{}", said.err);
    assert_eq!(desk.value(open), 0);
}

#[test]
fn lines_of_csv_in_kafka_that_stopped_go_again_once_over_kills() {
    let (bus, now) = (kafka::shared(), topics::now());
    let topic = bus.topic("stopped_csv", 1);
    let record = |(id, total): (u64, String)| Record::new("k", &format!("{id},{total}\n")).time(now);
    topic.produce(&pairs().into_iter().map(record).collect::<Vec<_>>());
    let connection = format!("CONNECTION bus TO kafka WITH (brokers = '{}');\n{LINE}", bus.brokers());
    stopped_records_go_again(&Desk::new(), &connection, &format!("bus.{} FORMAT csv SCHEMA line", topic.name));
}

/// A number as Avro (twice it) and Protocol Buffers write it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Records that name one of two schemas, of which the second has its fields the other way round.
fn registered_records_go_again(format: &str, schemas: [&str; 2], value: impl Fn(usize, u64, &str) -> Vec<u8>) {
    let (bus, registry, now) = (kafka::shared(), kafka::Registry::start(), topics::now());
    let topic = bus.topic(&format!("stopped_{format}"), 1);
    let ids = schemas
        .map(|schema| registry.register(&format!("{}-{}", topic.name, schema.len()), &format.to_uppercase(), schema));
    registry.register(&format!("{}-value", topic.name), &format.to_uppercase(), schemas[0]);
    let record = |(index, (id, total)): (usize, (u64, String))| {
        let which = index / 10 % 2;
        let head = [&[0][..], &(ids[which] as u32).to_be_bytes(), &value(which, id, &total)].concat();
        Record { key: Some(b"k".to_vec()), value: Some(head), ..Record::default() }.time(now)
    };
    topic.produce(&pairs().into_iter().enumerate().map(record).collect::<Vec<_>>());
    let connection = format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}', schema_registry = '{}');\n",
        bus.brokers(),
        registry.url()
    );
    stopped_records_go_again(&Desk::new(), &connection, &format!("bus.{} FORMAT {format}", topic.name));
}

#[test]
fn records_of_avro_that_stopped_go_again_once_over_kills() {
    const FIRST: &str =
        r#"{"type":"record","name":"o","fields":[{"name":"id","type":"long"},{"name":"total","type":"string"}]}"#;
    const SECOND: &str =
        r#"{"type":"record","name":"other","fields":[{"name":"total","type":"string"},{"name":"id","type":"long"}]}"#;
    registered_records_go_again("avro", [FIRST, SECOND], |which, id, total| {
        let (id, total) = (varint(2 * id), [&varint(2 * total.len() as u64), total.as_bytes()].concat());
        if which == 0 { [id, total].concat() } else { [total, id].concat() }
    });
}

#[test]
fn messages_of_protobuf_that_stopped_go_again_once_over_kills() {
    const FIRST: &str = "syntax = \"proto3\"; message Order { int64 id = 1; string total = 2; }";
    const SECOND: &str = "syntax = \"proto3\"; message Other { string total = 1; int64 id = 2; }";
    registered_records_go_again("protobuf", [FIRST, SECOND], |which, id, total| {
        let (id, total) = (varint(id), [&varint(total.len() as u64), total.as_bytes()].concat());
        if which == 0 {
            [vec![0, 8], id, vec![0x12], total].concat()
        } else {
            [vec![0, 0x0a], total, vec![0x10], id].concat()
        }
    });
}

#[test]
fn the_way_back_from_a_retry_would_take_a_record_in_twice_and_says_so() {
    let desk = Desk::new();
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    let mut put = |filter: &str| {
        let text = format!(
            "PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM file('in.ndjson') FOLLOW
|> SELECT CAST(id AS BIGINT) AS id {filter} |> INSERT INTO file('out/');\n"
        );
        let answer =
            client.send("PUT", "/v1/pipelines/orders", &[("Content-Type", "application/sql")], text.as_bytes());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    };
    desk.append("in.ndjson", ["{\"id\": 1}", "{\"id\": \"one\"}"]);
    put("");
    let letters = "SELECT count(*) AS n FROM dead_letters";
    running.until("one has stopped", |_| desk.value(letters) == 1);
    // What was sent again in the revision itself comes again with it.
    desk.ok(&["dead-letters", "retry", "--pipeline", "orders", "--all"]);
    running.until("it stopped again", |_| desk.value(letters) == 2);
    put("|> WHERE id < 100");
    running.until("it began", |_| desk.value("SELECT count(*) AS n FROM revisions") == 2);
    desk.ok(&["rollback", "orders"]);
    put("|> WHERE id < 200");
    running.until("it began", |_| desk.value("SELECT count(*) AS n FROM revisions") == 4);
    desk.append("in.ndjson", ["{\"id\": \"two\"}"]);
    running.until("another one has stopped", |_| desk.value(letters) == 3);
    desk.ok(&["dead-letters", "retry", "--pipeline", "orders", "--all"]);
    let refused = desk.say(&["rollback", "orders"]).expect(1);
    assert!(refused.err.contains("dead letters were retried since revision 3 was over"), "{}", refused.err);
    desk.ok(&["rollback", "orders", "--insert-again"]);
    running.until("it goes on there", |running| {
        Client::to(running.address()).get("/v1/pipelines/orders").json()["state"] == "running"
    });
    running.stop().expect(0);
}
