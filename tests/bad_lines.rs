//! Lines that are no orders never stop the rest: each is a dead letter, and its bytes come back as they were.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use serde_json::Value;

use crate::{
    desk::{Desk, Running},
    look,
    web::Client,
};

const STEPS: &str = "
|> SELECT id, CAST(total AS DECIMAL(12, 2)) AS total, CAST(ratio AS DOUBLE) AS ratio
|> INSERT INTO file('out/');
";

/// What is wrong, the slug that says so, and the bytes.
fn bad_lines() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let deep = |depth: usize| format!("{{\"id\": {}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    vec![
        ("cut off", "not-json", br#"{"id": 1, "total": "9.5"#.to_vec()),
        ("two values", "not-json", br#"{"id": 2} {"id": 3}"#.to_vec()),
        ("no object", "not-an-object", b"[1, 2]".to_vec()),
        ("no JSON", "not-json", b"id=4;total=9.50".to_vec()),
        ("not UTF-8", "not-utf8", b"{\"id\": 5, \"note\": \"\xff\xfe\"}".to_vec()),
        ("NUL in a text", "not-json", b"{\"id\": 6, \"note\": \"a\0b\"}".to_vec()),
        ("NUL alone", "not-json", b"\0".to_vec()),
        ("10,000 levels", "too-deep", deep(10_000)),
        ("text for a number", "cast", br#"{"id": 7, "total": "ten"}"#.to_vec()),
        ("an object for a number", "cast", br#"{"id": 8, "total": {"amount": 1}}"#.to_vec()),
        ("more digits than fit", "cast", br#"{"id": 9, "total": 12345678901234567890.00}"#.to_vec()),
        ("1e400 for a DECIMAL", "cast", br#"{"id": 10, "total": 1e400}"#.to_vec()),
        ("1e400 for a DOUBLE", "cast", br#"{"id": 11, "total": 1, "ratio": 1e400}"#.to_vec()),
        ("NaN", "not-json", br#"{"id": 12, "total": NaN}"#.to_vec()),
        ("a byte order mark", "not-json", b"\xef\xbb\xbf{\"id\": 13}".to_vec()),
    ]
}

/// A good line before each bad one and one after the last.
fn mixed() -> Vec<u8> {
    let mut lines = vec![];
    for (number, (_, _, line)) in bad_lines().into_iter().enumerate() {
        lines.extend(good(number));
        lines.extend(line);
        lines.push(b'\n');
    }
    lines.extend(good(bad_lines().len()));
    lines
}

fn good(number: usize) -> Vec<u8> {
    format!("{{\"id\": \"good-{number}\", \"total\": \"9.50\", \"ratio\": 0.5}}\n").into_bytes()
}

fn good_out() -> Vec<String> {
    let line = |number| format!("{{\"id\":\"good-{number}\",\"total\":9.50,\"ratio\":0.5}}");
    (0..=bad_lines().len()).map(line).collect()
}

/// Reason, place and bytes of every dead letter, in the order of the input.
fn letters(desk: &Desk) -> Vec<(String, u64, Vec<u8>)> {
    let rows = desk.query("SELECT id, reason, record_offset FROM dead_letters ORDER BY record_offset");
    let letter = |row: &Value| {
        let id = row["id"].as_str().map_or(row["id"].to_string(), str::to_owned);
        let bytes = desk.say(&["dead-letters", "show", &id, "--raw"]).expect(0).stdout;
        (row["reason"].as_str().expect("a slug").to_owned(), row["record_offset"].as_u64().expect("an offset"), bytes)
    };
    rows.iter().map(letter).collect()
}

#[test]
fn bad_lines_of_a_file_are_dead_letters_and_the_rest_goes_on() {
    let desk = Desk::with(&format!("PIPELINE orders AS FROM file('in.ndjson'){STEPS}"));
    desk.write("in.ndjson", mixed());
    desk.ok(&["run", "orders.sync"]);
    // Lines count from 1, and every second one is bad.
    let place =
        |(number, (_, slug, line)): (usize, (&str, &str, Vec<u8>))| (slug.to_owned(), 2 * number as u64 + 2, line);
    assert_eq!(letters(&desk), bad_lines().into_iter().enumerate().map(place).collect::<Vec<_>>());
    assert_eq!(look::lines(&desk.path("out")), good_out());
    desk.books("orders");
}

#[test]
fn bad_lines_of_a_request_are_dead_letters_and_the_rest_is_taken() {
    let desk = Desk::with(&format!("PIPELINE orders AS FROM http('/orders'){STEPS}"));
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    let answer = client.post("/in/orders", &[("Content-Type", "application/x-ndjson")], &mixed());
    let not_objects = bad_lines().iter().filter(|(_, slug, _)| *slug != "cast").count();
    let lines = 2 * bad_lines().len() + 1;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        (answer.json()["accepted"].as_u64(), answer.json()["rejected"].as_u64()),
        (Some((lines - not_objects) as u64), Some(not_objects as u64))
    );
    let nothing = client.post("/in/orders", &[("Content-Type", "application/x-ndjson")], b"not json\nnor this\n");
    assert_eq!(nothing.status, 422, "a body in which nothing parses is refused and not kept: {nothing:?}");
    server.until("all is decided", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == lines);
    server.stop().expect(0);
    let found: Vec<_> = letters(&desk).into_iter().map(|(slug, _, bytes)| (slug, bytes)).collect();
    assert_eq!(found, bad_lines().into_iter().map(|(_, slug, line)| (slug.to_owned(), line)).collect::<Vec<_>>());
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!(look::lines(&desk.path("out")), good_out());
}

/// Such a row was kept as JSON: what had come in was gone once it waited for its sink.
#[test]
fn a_row_that_the_table_refuses_is_a_dead_letter_with_the_bytes_and_headers_that_came() {
    const TABLE: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT CHECK (customer <> 'nobody'))";
    let desk = Desk::with(
        "PIPELINE orders AS FROM http('/orders')
         |> SELECT CAST(id AS BIGINT) AS id, lower(customer) AS customer
         |> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);",
    );
    rusqlite::Connection::open(desk.path("shop.db")).and_then(|shop| shop.execute_batch(TABLE)).expect("a table");
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    let bad = br#"{"id":  2, "customer": "Nobody",   "seen": [1.0, 2]}"#;
    for (delivery, body) in [("one", br#"{"id": 1, "customer": "Ada"}"#.as_slice()), ("two", bad)] {
        let headers = [("Content-Type", "application/json"), ("X-Delivery", delivery)];
        assert_eq!(client.post("/in/orders", &headers, body).status, 202);
    }
    server.until("all is decided", |_| {
        desk.value("SELECT sum(passed + dead) AS n FROM steps WHERE step = 'upsert'") == 2
    });
    server.stop().expect(0);
    assert_eq!(look::sqlite(&desk.path("shop.db"), "SELECT * FROM orders"), [["1", "ada"]]);
    assert_eq!(letters(&desk), [("constraint".to_owned(), 1, bad.to_vec())]);
    let letter = &desk.query("SELECT length, headers FROM dead_letters")[0];
    assert_eq!(letter["length"].as_u64(), Some(bad.len() as u64));
    let headers: Value = serde_json::from_str(letter["headers"].as_str().expect("headers")).expect("JSON");
    assert_eq!(headers["x-delivery"], "two");
}

const LONG: usize = 200_000_000;
/// A third of the line, more than a process takes that has none of it: it is read through and never held.
const MEMORY: u64 = 64 << 20;
const KEPT: usize = 1 << 20;

#[test]
fn a_line_of_200_megabytes_is_a_dead_letter_and_never_held_in_memory() {
    let desk = Desk::with(&format!("PIPELINE orders AS FROM file('in.ndjson'){STEPS}"));
    let mut file = BufWriter::new(File::create(desk.path("in.ndjson")).expect("the input"));
    let head = b"{\"id\": \"long\", \"note\": \"";
    file.write_all(&good(0)).and_then(|()| file.write_all(head)).expect("write the input");
    let block = [b'x'; 1 << 16];
    let mut left = LONG - head.len();
    while left > 0 {
        let length = left.min(block.len());
        file.write_all(&block[..length]).expect("write the input");
        left -= length;
    }
    file.write_all(b"\n").and_then(|()| file.write_all(&good(1))).and_then(|()| file.flush()).expect("write the input");

    let ended = |desk: &Desk| {
        Running::start(desk.command(&["run", "orders.sync"]), "run".to_owned()).end(crate::desk::PATIENCE).expect(0)
    };
    let said = ended(&desk);
    let short = Desk::with(&format!("PIPELINE orders AS FROM file('in.ndjson'){STEPS}"));
    short.write("in.ndjson", good(0));
    let usual = ended(&short).peak;
    assert!(usual > 0 && said.peak < usual + MEMORY, "held {} MiB, usual are {}", said.peak >> 20, usual >> 20);
    let letters_kept = letters(&desk);
    let mut kept = head.to_vec();
    kept.resize(KEPT, b'x');
    assert_eq!(letters_kept.len(), 1);
    let (slug, line, bytes) = &letters_kept[0];
    assert_eq!((slug.as_str(), *line, bytes.len(), *bytes == kept), ("too-large", 2, KEPT, true));
    let facts = desk.query("SELECT length, hash, source, record_byte FROM dead_letters").remove(0);
    assert_eq!(
        (facts["length"].as_u64(), facts["record_byte"].as_u64()),
        (Some(LONG as u64), Some(good(0).len() as u64))
    );
    assert_eq!(facts["source"], "in.ndjson");
    assert_eq!(facts["hash"].as_str().map(str::len), Some(32), "{facts}");
    let out = look::lines(&desk.path("out"));
    assert_eq!(out, [good_out()[0].clone(), good_out()[1].clone()]);
}

#[test]
fn a_request_of_200_megabytes_is_refused_and_not_read() {
    let desk = Desk::with(&format!("PIPELINE orders AS FROM http('/orders'){STEPS}"));
    let peak = |length: usize, status: u16| {
        let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        let mut client = Client::to(server.address());
        let answer = client.post("/in/orders", &[("Content-Type", "application/json")], &vec![b'x'; length]);
        assert_eq!(answer.status, status, "{answer:?}");
        server.stop().expect(0).peak
    };
    let (usual, held) = (peak(10, 422), peak(LONG, 413));
    assert!(usual > 0 && held < usual + MEMORY, "held {} MiB, usual are {}", held >> 20, usual >> 20);
}
