//! `kill -9` at any moment, again and again: nothing is lost, nothing comes twice, and the books say so.
//!
//! What must come out is computed by `orders.py`, which shares nothing with Syncline. Three sinks of two kinds take the same rows:
//! staged files of lines and of Parquet, and a table written in transactions. 200,000 orders and 8 kills; with `./test --soak` two
//! million and 30.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::Stdio,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, Running, house, python, python_reads},
    look,
};

/// Rows that the sinks take. Checkpoints come often, so that many fall between two kills.
const JOB: &str = "
|> WHERE status = 'paid' AND amount >= 10
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents, substr(created_at, 1, 10) AS day
|> TEE (|> INSERT INTO file('out/lines/'))
|> TEE (|> INSERT INTO parquet('out/parquet/'))
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
";

fn pipeline(source: &str) -> String {
    format!("PIPELINE orders WITH (checkpoint_every = '50 milliseconds') AS\nFROM {source}{JOB}")
}

struct Size {
    orders: usize,
    kills: usize,
    /// Milliseconds that a process lives before it is killed: from the first moments of a start to well into the work.
    life: (u64, u64),
}

fn size() -> Size {
    match soak() {
        true => Size { orders: 2_000_000, kills: 30, life: (20, 1_300) },
        false => Size { orders: 200_000, kills: 8, life: (10, 400) },
    }
}

/// The file grows between the kills, so that every process has work when its moment comes.
#[test]
fn soak_a_file_is_read_once_whenever_the_process_is_killed() {
    let (mut chance, seed) = Chance::told("file");
    let size = size();
    let desk = Desk::with(&pipeline("file('orders.ndjson')"));
    let orders = made(&desk, &size, seed);
    let mut slices = BufReader::new(File::open(&orders).expect("the orders"));
    let mut fell = 0;
    for _ in 0..size.kills {
        grow(&desk, &mut slices, size.orders / (size.kills + 1));
        let running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(size.life.0, size.life.1)));
        fell += usize::from(running.kill());
    }
    grow(&desk, &mut slices, usize::MAX);
    desk.ok(&["run", "orders.sync"]);
    assert!(fell * 2 >= size.kills, "only {fell} of {} kills found a process that was at work", size.kills);
    eprintln!("file: {fell} of {} kills found a process at work", size.kills);
    expect_outputs(&desk, &orders);
    assert_eq!(rows_in(&desk), size.orders as u64, "every line was taken, and taken once");
    report_windows(&desk, fell);
}

/// A producer feeds over HTTP, and sends again what was not acknowledged.
#[test]
fn soak_http_loses_nothing_that_it_acknowledged_whenever_it_is_killed() {
    let (mut chance, seed) = Chance::told("http");
    let size = size();
    let desk = Desk::with(&pipeline("http('/orders')"));
    let orders = made(&desk, &size, seed);
    let address = free_address();
    let listen = address.to_string();
    let start = || desk.start(&["run", "orders.sync", "--listen", &listen]);
    let mut feed = Running::start(feed(&desk, &orders, address), "feed.py".to_owned());
    let mut fell = 0;
    while fell < size.kills && !feed.ended() {
        let running = start();
        thread::sleep(Duration::from_millis(chance.between(size.life.0, size.life.1)));
        assert!(running.kill(), "the server ended by itself: start it by hand and look");
        fell += 1;
    }
    let last = start();
    let fed = feed.end(Duration::from_secs(3_600)).expect(0);
    assert!(last.kill(), "the server is there until it is killed");
    desk.ok(&["run", "orders.sync", "--once"]);
    let acknowledged = format!("acknowledged {} lines", size.orders);
    assert!(fed.out().starts_with(&acknowledged), "{}", fed.out());
    eprint!("http: {fell} kills; {}", fed.out());
    expect_outputs(&desk, &orders);
    assert!(rows_in(&desk) >= size.orders as u64, "what was acknowledged was kept: {}", rows_in(&desk));
    report_windows(&desk, fell + 1);
}

fn made(desk: &Desk, size: &Size, seed: u64) -> std::path::PathBuf {
    let path = desk.path("all.ndjson");
    fs::write(&path, python("orders.py", &["make", &size.orders.to_string(), &seed.to_string()]))
        .expect("write the orders");
    path
}

/// Appends so many more lines to the file that the pipeline reads.
fn grow(desk: &Desk, from: &mut impl BufRead, lines: usize) {
    let file = File::options().create(true).append(true).open(desk.path("orders.ndjson")).expect("the input");
    let mut to = std::io::BufWriter::new(file);
    let mut line = vec![];
    for _ in 0..lines {
        line.clear();
        if from.read_until(b'\n', &mut line).expect("the orders") == 0 {
            break;
        }
        to.write_all(&line).expect("the input takes lines");
    }
    to.flush().expect("the input takes lines");
}

fn feed(desk: &Desk, orders: &std::path::Path, address: SocketAddr) -> std::process::Command {
    let mut command = desk.other("python3", &[]);
    command.arg(house().join("tests/feed.py")).arg(orders).arg(format!("http://{address}/in/orders"));
    command.stdin(Stdio::null());
    command
}

/// An address that was free a moment ago, and that the server gets back after each kill.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn rows_in(desk: &Desk) -> u64 {
    desk.value("SELECT sum(rows_in) AS n FROM runs").as_u64().expect("a count")
}

/// What each sink holds is what `orders.py` says, and the books balance with nothing on the way.
fn expect_outputs(desk: &Desk, orders: &std::path::Path) {
    let input = fs::read(orders).expect("the orders");
    let expected = python_reads("orders.py", &["expect"], &input);
    let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
    assert!(expected.len() > 1_000, "a test without rows shows nothing: {}", expected.len());
    same("SQLite", look::sqlite(&desk.path("shop.db"), "SELECT id, customer, cents, day FROM orders"), &expected);
    same("Parquet", look::parquet(&desk.path("out/parquet")), &expected);
    let lines = look::lines(&desk.path("out/lines")).into_iter().map(|line| {
        let row: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |name: &str| row[name].as_str().map_or(row[name].to_string(), str::to_owned);
        ["id", "customer", "cents", "day"].map(text).to_vec()
    });
    same("lines", lines.collect(), &expected);
    let books = desk.books("orders").join("\n");
    assert!(!books.contains("waiting"), "{books}");
}

/// Compares as multisets: a sink has no order of its own.
fn same(what: &str, found: Vec<Vec<String>>, expected: &[String]) {
    let mut found: Vec<String> = found.into_iter().map(|row| row.join("|")).collect();
    found.sort();
    look::same(what, &found, expected);
}

/// The counters that show in which windows of a commit the kills fell. Kills before the first window of a start are in none.
fn report_windows(desk: &Desk, kills: usize) {
    let mut told = 0;
    for row in desk.query("SELECT killed FROM runs") {
        let killed: Value = serde_json::from_str(row["killed"].as_str().unwrap_or("{}")).expect("JSON text");
        eprintln!("killed in: {killed}");
        told += killed.as_object().map_or(0, |windows| windows.values().filter_map(Value::as_u64).sum::<u64>());
    }
    assert!((1..=kills as u64).contains(&told), "{kills} kills, of which the counters know {told}");
}
