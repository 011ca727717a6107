//! Time means the same everywhere: a batch, a live run that is killed, and a `TEST` give equal rows and the same rows late, for
//! equal partitions and order. Windows of each kind, and the JOIN of two endless sides, which SQLite makes too.

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, PATIENCE},
    look,
    promises::figure,
};

/// How long the watermark waits, in seconds.
const DELAY: i64 = 20;
/// Parts that a live run meets one after the other, with a kill behind each.
const PARTS: usize = 3;
const EVENTS: usize = 300;

const SCHEMA: &str = "
SCHEMA event (
  t TIMESTAMP NOT NULL, k STRING NOT NULL, n BIGINT NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '20 seconds'
);
";

/// What is done with the events, and the step that counts what is late.
const KINDS: [(&str, &str); 6] = [
    ("tumble", "AGGREGATE COUNT(*) AS events, SUM(n) AS total GROUP BY tumble(t, INTERVAL '1 minute') AS at, k"),
    (
        "hop",
        "AGGREGATE COUNT(*) AS events, MAX(n) AS most GROUP BY hop(t, INTERVAL '20 seconds', INTERVAL '1 minute') AS at, k",
    ),
    ("session", "AGGREGATE COUNT(*) AS events, SUM(n) AS total GROUP BY session(t, INTERVAL '7 seconds') AS at, k"),
    ("join", JOIN),
    ("left", LEFT_JOIN),
    ("joined and counted", COUNTED),
];

const JOIN: &str = "JOIN file('right.ndjson') SCHEMA event FOLLOW AS r
  ON r.k = l.k AND r.t BETWEEN l.t - INTERVAL '10 seconds' AND l.t + INTERVAL '25 seconds' AND (l.n + r.n) % 3 > 0
|> SELECT l.k AS k, l.n AS n, r.n AS m";

const LEFT_JOIN: &str = "LEFT JOIN file('right.ndjson') SCHEMA event FOLLOW AS r
  ON r.k = l.k AND r.t BETWEEN l.t - INTERVAL '10 seconds' AND l.t + INTERVAL '25 seconds' AND (l.n + r.n) % 3 > 0
|> SELECT l.k AS k, l.n AS n, r.n AS m";

/// Behind the join the time of a row is the later one of its two.
const COUNTED: &str = "JOIN file('right.ndjson') SCHEMA event FOLLOW AS r
  ON r.k = l.k AND r.t > l.t AND r.t <= l.t + INTERVAL '25 seconds'
|> AGGREGATE COUNT(*) AS pairs, SUM(l.n) AS n, MAX(r.n) AS m GROUP BY tumble(_timestamp, INTERVAL '1 minute') AS at, k";

fn pipeline(step: &str) -> String {
    format!(
        "{SCHEMA}PIPELINE events WITH (checkpoint_every = '20 milliseconds') AS\n\
         FROM file('left.ndjson') SCHEMA event FOLLOW AS l\n|> {step}\n|> INSERT INTO file('out/');\n"
    )
}

#[derive(Clone)]
struct Event {
    second: i64,
    key: u64,
    n: usize,
}

impl Event {
    fn line(&self) -> String {
        let (minute, second) = (self.second / 60, self.second % 60);
        let time = format!("2026-11-20T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60);
        format!(r#"{{"t": "{time}", "k": "k{}", "n": {}}}"#, self.key, self.n)
    }
}

/// Events that jump back and forth; numbered, so that each is told from every other.
fn disorder(chance: &mut Chance) -> Vec<Event> {
    let jumps = chance.between(110, 160);
    let event = |n: usize| Event {
        second: (200 + n as u64 * 3 + chance.between(0, jumps)) as i64 - (jumps / 2) as i64,
        key: chance.below(5),
        n,
    };
    (0..EVENTS).map(event).collect()
}

/// The rows of a side that are not late.
fn in_time(events: &[Event]) -> Vec<Event> {
    let mut mark = i64::MIN;
    let mut kept = vec![];
    for event in events {
        if event.second >= mark {
            kept.push(event.clone());
        }
        mark = mark.max(event.second - DELAY);
    }
    kept
}

/// What SQLite joins of the rows that are not late, as lines; and how many are late.
fn sqlite_joins(left: &[Event], right: &[Event], outer: bool) -> (Vec<String>, u64) {
    let table = Connection::open_in_memory().expect("SQLite");
    let mut late = 0;
    for (name, events) in [("l", left), ("r", right)] {
        table.execute_batch(&format!("CREATE TABLE {name} (t INTEGER, k TEXT, n INTEGER)")).expect("a table");
        let kept = in_time(events);
        late += (events.len() - kept.len()) as u64;
        for event in kept {
            let row = (event.second, format!("k{}", event.key), event.n as i64);
            table.execute(&format!("INSERT INTO {name} VALUES (?, ?, ?)"), row).expect("a row");
        }
    }
    let word = if outer { "LEFT JOIN" } else { "JOIN" };
    let sql = format!(
        "SELECT json_object('k', l.k, 'n', l.n, 'm', r.n) FROM l {word} r
         ON r.k = l.k AND r.t BETWEEN l.t - 10 AND l.t + 25 AND (l.n + r.n) % 3 > 0"
    );
    let mut rows = table.prepare(&sql).expect("SQL");
    let lines = rows.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    (sorted(lines.map(|line| line.expect("a row"))), late)
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")).to_string())
        .collect();
    lines.sort();
    lines
}

fn write(desk: &Desk, sides: &[(&str, &[Event])], from: usize, to: usize) {
    for (name, events) in sides {
        desk.append(name, events[from.min(events.len())..to.min(events.len())].iter().map(Event::line));
    }
}

/// The rows, and how many records were late.
fn found(desk: &Desk) -> (Vec<String>, u64) {
    let books = desk.books("events").join("\n");
    assert!(!books.contains("waiting"), "{books}");
    let late = desk.value("SELECT sum(late) AS late FROM steps").as_u64().expect("a count");
    (sorted(look::lines(&desk.path("out")).into_iter()), late)
}

fn batch(step: &str, sides: &[(&str, &[Event])]) -> (Vec<String>, u64) {
    let desk = Desk::with(&pipeline(step));
    write(&desk, sides, 0, EVENTS);
    desk.ok(&["run", "orders.sync", "--once"]);
    found(&desk)
}

fn live(step: &str, sides: &[(&str, &[Event])], chance: &mut Chance) -> (Vec<String>, u64) {
    let desk = Desk::with(&pipeline(step));
    for part in 0..PARTS {
        write(&desk, sides, EVENTS * part / PARTS, EVENTS * (part + 1) / PARTS);
        let running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        thread::sleep(Duration::from_millis(chance.between(100, 700)));
        assert!(running.kill(), "it runs until it is killed");
    }
    desk.ok(&["run", "orders.sync", "--once"]);
    found(&desk)
}

/// A `TEST` that expects these rows and so many of them late; the binary says what is not so.
fn tested(step: &str, sides: &[(&str, &[Event])], (rows, late): &(Vec<String>, u64)) {
    let right = if step.contains("right.ndjson") { "  INPUT file('right.ndjson') FROM 'right.ndjson'\n" } else { "" };
    let test = format!(
        "TEST the_same FOR events\n  GIVEN INPUT FROM 'left.ndjson'\n{right}  AFTER CRASH AT CHECKPOINT 2\n\
         \x20 EXPECT OUTPUT FROM 'expected.ndjson'\n  EXPECT DROPPED {late} BECAUSE 'late';\n"
    );
    let desk = Desk::with(&(pipeline(step) + &test));
    write(&desk, sides, 0, EVENTS);
    desk.write("expected.ndjson", rows.join("\n") + "\n");
    desk.ok(&["test", "orders.sync"]);
}

#[test]
fn soak_live_batch_and_test_give_equal_rows_and_the_same_rows_late() {
    let (mut chance, _) = Chance::told("time");
    let rounds = if soak() { 20 } else { 1 };
    for _ in 0..rounds {
        let (left, right) = (disorder(&mut chance), disorder(&mut chance));
        let both: [(&str, &[Event]); 2] = [("left.ndjson", &left), ("right.ndjson", &right)];
        for (kind, step) in KINDS {
            let sides = if step.contains("right.ndjson") { &both[..] } else { &both[..1] };
            let expected = batch(step, sides);
            assert!(expected.0.len() > 10, "{kind}: a test without rows shows nothing");
            assert!(expected.1 > 0, "{kind}: a test without late rows shows little");
            if let "join" | "left" = kind {
                let made = sqlite_joins(&left, &right, kind == "left");
                look::same("SQLite", &expected.0, &made.0);
                assert_eq!(expected.1, made.1, "{kind}: rows that are late");
            }
            let live = live(step, sides, &mut chance);
            look::same(&format!("{kind}, live"), &live.0, &expected.0);
            assert_eq!(live.1, expected.1, "{kind}: rows that are late, live");
            tested(step, sides, &expected);
        }
    }
    figure(
        "soak_live_batch_and_test_give_equal_rows_and_the_same_rows_late",
        &format!("{rounds} times {} kinds of step, rows and late rows equal", KINDS.len()),
    );
}

fn until(desk: &Desk, what: &str, mut holds: impl FnMut(&Desk) -> bool) {
    let started = Instant::now();
    while !holds(desk) {
        assert!(started.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The lines of a table of SQLite, once the sink has made it.
fn rows(desk: &Desk, sql: &str) -> Vec<Vec<String>> {
    let file = desk.path("time.db");
    let there = file.exists() && !look::sqlite(&file, "SELECT name FROM sqlite_master WHERE name = 'o'").is_empty();
    if there { look::sqlite(&file, sql) } else { vec![] }
}

#[test]
fn groups_of_an_arm_that_ends_go_out_with_it_while_another_source_goes_on() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('live.ndjson') FOLLOW |> SELECT CAST(k AS STRING) AS k, CAST(n AS BIGINT) AS n
         |> UNION ALL (FROM file('old.ndjson') |> AGGREGATE COUNT(*) AS n GROUP BY CAST(k AS STRING) AS k)
         |> INSERT INTO sqlite('time.db', 'o');",
    );
    desk.write("live.ndjson", "{\"k\": \"live\", \"n\": 7}\n");
    desk.write("old.ndjson", "{\"k\": \"a\"}\n{\"k\": \"a\"}\n{\"k\": \"b\"}\n");
    let expected = [["a", "2"], ["b", "1"], ["live", "7"]];
    for _ in 0..2 {
        let running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        until(&desk, "the groups did not come", |desk| rows(desk, "SELECT k, n FROM o ORDER BY k") == expected);
        assert!(running.kill(), "it goes on");
    }
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!(rows(&desk, "SELECT k, n FROM o ORDER BY k"), expected, "once, over restarts");
}

#[test]
fn a_partition_that_is_idle_is_waited_for_as_long_as_the_pipeline_says() {
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE p WITH (idle_after = '1 second') AS FROM file('in/*.ndjson') SCHEMA event FOLLOW
         |> AGGREGATE COUNT(*) AS n GROUP BY tumble(t, INTERVAL '1 minute') AS at, k |> SELECT k, n |> INSERT INTO sqlite('time.db', 'o');"
    ));
    let line =
        |minute: u64, k: &str| format!("{{\"t\": \"2026-11-20T10:{minute:02}:00Z\", \"k\": \"{k}\", \"n\": 1}}\n");
    desk.write("in/quiet.ndjson", line(0, "quiet"));
    desk.write("in/busy.ndjson", line(1, "busy") + &line(9, "busy"));
    let running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let expected = [["busy", "1"], ["quiet", "1"]];
    until(&desk, "the windows stayed open", |desk| rows(desk, "SELECT k, n FROM o ORDER BY k") == expected);
    // What comes too late only because nobody waited for it is counted apart.
    desk.write("in/quiet.ndjson", line(0, "quiet") + &line(0, "quiet"));
    let late = "SELECT count(*) AS n FROM records_dropped WHERE fate = 'late' AND reason = 'late-idle'";
    until(&desk, "the late row was not counted", |desk| desk.value(late) == 1);
    assert!(running.kill(), "it runs until it is killed");
}

#[test]
fn a_time_that_is_far_ahead_is_dead_unless_the_pipeline_allows_it() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64;
    for (with, dead, kept) in [("", 1, 1), ("WITH (future = '3 hours')", 0, 2), ("WITH (future = '1 second')", 2, 0)] {
        let desk = Desk::with(&format!(
            "SCHEMA s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t);
             PIPELINE p {with} AS FROM file('in.ndjson') SCHEMA s |> INSERT INTO file('out/');"
        ));
        let time = |ahead: i64| {
            let table = Connection::open_in_memory().expect("SQLite");
            let sql = format!("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', {}, 'unixepoch')", now + ahead);
            table.query_row(&sql, [], |row| row.get::<_, String>(0)).expect("a time")
        };
        desk.write("in.ndjson", format!("{{\"t\": \"{}\"}}\n{{\"t\": \"{}\"}}\n", time(7_200), time(600)));
        desk.ok(&["run", "orders.sync"]);
        let found = desk.value("SELECT count(*) AS n FROM dead_letters WHERE reason = 'future'");
        assert_eq!((found.as_u64(), look::lines(&desk.path("out")).len()), (Some(dead), kept), "{with}");
    }
}
