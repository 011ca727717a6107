//! `kill -9` at any moment, again and again: nothing is lost, nothing comes twice, and the books say so.
//!
//! What must come out is computed by `orders.py`, which shares nothing with Syncline. Three sinks of two kinds take the same rows:
//! staged files of lines and of Parquet, and a table written in transactions. 200,000 orders and 8 kills; with `./test --soak` two
//! million and 30. Every eighth kill falls at any time, the others are aimed at a window of a commit: some of those last less than a
//! millisecond, and chance alone would hardly ever meet them.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, PATIENCE, Running, free_address, house, python, python_reads},
    look,
    promises::figure,
};

/// Rows that the sinks take.
const JOB: &str = "
|> WHERE status = 'paid' AND amount >= 10
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents, substr(created_at, 1, 10) AS day
|> TEE (|> INSERT INTO file('out/lines/'))
|> TEE (|> INSERT INTO parquet('out/parquet/'))
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
";

/// Checkpoints come often, so that a process has seen some before it is killed.
fn pipeline(source: &str) -> String {
    format!("PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS\nFROM {source}{JOB}")
}

struct Size {
    orders: usize,
    kills: usize,
}

fn size() -> Size {
    match soak() {
        true => Size { orders: 2_000_000, kills: 30 },
        false => Size { orders: 200_000, kills: 8 },
    }
}

/// The windows of a commit, in the order of the byte that a process leaves in its witness file.
const WINDOWS: [&str; 6] = ["idle", "open", "staging", "logging", "committing", "revealing"];
/// A commit begins with this one.
const STAGING: u8 = 2;
const REVEALING: usize = 5;
/// The windows that kills are aimed at, in turn; none stands for any time. The short ones come twice, as some kills are late for them.
const AIMS: [Option<usize>; 8] = [None, Some(1), Some(2), Some(3), Some(4), Some(REVEALING), Some(4), Some(REVEALING)];
/// Milliseconds that a process lives that is killed at any time: from its first moments to well into the work.
const LIFE: (u64, u64) = (5, 400);
/// A process is killed in the first such windows of its life.
const FIRST_WINDOWS: u64 = 3;
/// After so many a kill may come too late.
const MANY_WINDOWS: u64 = 40;
/// What a signal takes to another core.
const SIGNAL: Duration = Duration::from_micros(15);

/// When a process is killed.
#[derive(Debug)]
pub enum Moment {
    /// So many milliseconds after its start, whatever it does then.
    After(u64),
    /// When it is in this window for the n-th time.
    Within { window: usize, nth: u64 },
}

impl Moment {
    pub fn choose(chance: &mut Chance, kill: usize) -> Moment {
        match AIMS[kill % AIMS.len()] {
            None => Moment::After(chance.between(LIFE.0, LIFE.1)),
            Some(window) => Moment::Within { window, nth: chance.between(1, FIRST_WINDOWS + 1) },
        }
    }

    /// False when the process ended before its moment came.
    pub fn wait(&self, desk: &Desk, running: &mut Running) -> bool {
        match *self {
            Moment::After(milliseconds) => {
                thread::sleep(Duration::from_millis(milliseconds));
                !running.ended()
            }
            Moment::Within { window, nth } => in_window(&desk.path(".syncline/witness/orders"), window, nth, running),
        }
    }
}

/// Watches the witness file without a pause, and during a commit without giving way: what is waited for may be over in less than
/// the shortest sleep.
fn in_window(witness: &Path, window: usize, nth: u64, running: &mut Running) -> bool {
    let started = Instant::now();
    let (mut file, mut before, mut entered) = (None, None, 0);
    while started.elapsed() < PATIENCE {
        if running.ended() {
            return false;
        }
        file = file.or_else(|| File::open(witness).ok());
        // What the last process left is no window of this one.
        before = before.or_else(|| file.as_ref().map(byte));
        for _ in 0..1_000 {
            let now = file.as_ref().map(byte);
            if now != before {
                before = now;
                entered += u64::from(now == Some(window as u8));
            }
            if entered >= nth && now == Some(window as u8) && (window != REVEALING || lasts(file.as_ref(), entered)) {
                return true;
            }
            if now < Some(STAGING) {
                thread::yield_now();
            }
        }
    }
    panic!("in {PATIENCE:?} the process was not {nth} times in the window `{}`", WINDOWS[window]);
}

/// Where nothing but frames is shown, the window is over before a signal comes: better is one in which parts get their names, or
/// files of the log go away. When none comes, any will do.
fn lasts(file: Option<&File>, entered: u64) -> bool {
    let seen = Instant::now();
    while seen.elapsed() < SIGNAL {
        std::hint::spin_loop();
    }
    entered >= MANY_WINDOWS || file.map(byte) == Some(REVEALING as u8)
}

fn byte(file: &File) -> u8 {
    let mut byte = [u8::MAX];
    let _ = file.read_at(&mut byte, 0);
    byte[0]
}

/// The file grows between the kills, so that every process has work when its moment comes.
#[test]
fn soak_a_file_is_read_once_whenever_the_process_is_killed() {
    let (mut chance, seed) = Chance::told("file");
    let size = size();
    let desk = Desk::with(&pipeline("file('orders.ndjson')"));
    let orders = made(&desk, &size, seed);
    let mut slices = BufReader::new(File::open(&orders).expect("the orders"));
    let (mut fell, mut ended) = (0, 0);
    while fell < size.kills {
        let grown = grow(&desk, &mut slices, size.orders * 2 / (size.kills * 3));
        assert!(grown > 0, "the orders were read after {fell} kills: {ended} processes ended before their moment");
        let mut running = desk.start(&["run", "orders.sync"]);
        if Moment::choose(&mut chance, fell).wait(&desk, &mut running) && running.kill() {
            fell += 1;
        } else {
            ended += 1;
        }
    }
    grow(&desk, &mut slices, usize::MAX);
    desk.ok(&["run", "orders.sync"]);
    eprintln!("file: {fell} kills; {ended} processes ended before theirs");
    expect_outputs(&desk, &orders);
    assert_eq!(rows_in(&desk), size.orders as u64, "every line was taken, and taken once");
    // A name that is given is over in 50 microseconds.
    report_windows(&desk, fell, &[1, 2, 3, 4]);
    figure(
        "soak_a_file_is_read_once_whenever_the_process_is_killed",
        &format!("{fell} kills, {} lines, each taken once", size.orders),
    );
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
    for kill in 0..size.kills {
        let mut running = start();
        let moment = Moment::choose(&mut chance, kill);
        assert!(moment.wait(&desk, &mut running) && running.kill(), "the server ended before {moment:?}");
        // How fast the feed is depends on the machine: half of the kills while it runs is enough to have seen them.
        assert!(!feed.ended() || kill * 2 >= size.kills, "everything was fed before kill {kill}, {moment:?}");
    }
    let last = start();
    let fed = feed.end(Duration::from_secs(3_600)).expect(0);
    assert!(last.kill(), "the server is there until it is killed");
    desk.ok(&["run", "orders.sync", "--once"]);
    let acknowledged = format!("acknowledged {} lines", size.orders);
    assert!(fed.out().starts_with(&acknowledged), "{}", fed.out());
    eprint!("http: {} kills while it was fed, 1 after; {}", size.kills, fed.out());
    expect_outputs(&desk, &orders);
    assert!(rows_in(&desk) >= size.orders as u64, "what was acknowledged was kept: {}", rows_in(&desk));
    // Here files of the log go away, too.
    report_windows(&desk, size.kills + 1, &[1, 2, 3, 4, REVEALING]);
    figure(
        "soak_http_loses_nothing_that_it_acknowledged_whenever_it_is_killed",
        &format!("{} kills, {} lines acknowledged, none lost", size.kills + 1, size.orders),
    );
}

fn made(desk: &Desk, size: &Size, seed: u64) -> PathBuf {
    let path = desk.path("all.ndjson");
    fs::write(&path, python("orders.py", &["make", &size.orders.to_string(), &seed.to_string()]))
        .expect("write the orders");
    path
}

/// Appends so many more lines to the file that the pipeline reads; how many there were.
fn grow(desk: &Desk, from: &mut impl BufRead, lines: usize) -> usize {
    let file = File::options().create(true).append(true).open(desk.path("orders.ndjson")).expect("the input");
    let mut to = std::io::BufWriter::new(file);
    let (mut line, mut grown) = (vec![], 0);
    while grown < lines && from.read_until(b'\n', &mut line).expect("the orders") > 0 {
        to.write_all(&line).expect("the input takes lines");
        line.clear();
        grown += 1;
    }
    to.flush().expect("the input takes lines");
    grown
}

fn feed(desk: &Desk, orders: &Path, address: SocketAddr) -> std::process::Command {
    let mut command = desk.other("python3", &[]);
    command.arg(house().join("tests/feed.py")).arg(orders).arg(format!("http://{address}/in/orders"));
    command.stdin(Stdio::null());
    command
}

fn rows_in(desk: &Desk) -> u64 {
    desk.value("SELECT sum(rows_in) AS n FROM runs").as_u64().expect("a count")
}

/// What each sink holds is what `orders.py` says, and the books balance with nothing on the way.
fn expect_outputs(desk: &Desk, orders: &Path) {
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

/// The counters that show in which windows of a commit the kills fell. Those between two epochs are in none. The soak must meet the
/// windows that are `sure` to last as long as a signal takes; the simulation meets all of them.
fn report_windows(desk: &Desk, kills: usize, sure: &[usize]) {
    let runs: Vec<Value> = desk
        .query("SELECT killed FROM runs")
        .iter()
        .map(|row| serde_json::from_str(row["killed"].as_str().unwrap_or("{}")).expect("JSON text"))
        .collect();
    let fell = |window: &str| runs.iter().filter_map(|killed| killed[window].as_u64()).sum::<u64>();
    let told: Vec<String> = WINDOWS.iter().map(|window| format!("{window} {}", fell(window))).collect();
    eprintln!("killed in: {}", told.join(", "));
    assert!(WINDOWS.iter().map(|window| fell(window)).sum::<u64>() <= kills as u64, "{kills} kills: {told:?}");
    let missed: Vec<_> = sure.iter().map(|window| WINDOWS[*window]).filter(|window| fell(window) == 0).collect();
    let allowed = if soak() { 0 } else { sure.len() - 1 };
    assert!(missed.len() <= allowed, "no kill fell into {missed:?}: {told:?}");
}
