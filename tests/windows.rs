//! Windows by event time: a batch, a live run that is killed, and a `TEST` give the rows that SQLite's own GROUP BY gives over the
//! records that are not late, and count the same records late.

use std::{thread, time::Duration};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

/// How long the watermark waits, in seconds.
const DELAY: i64 = 20;
/// 2026-11-20T00:00:00Z, in seconds.
const MIDNIGHT: i64 = 1_795_132_800;

const SCHEMA: &str = "
SCHEMA event (
  t TIMESTAMP NOT NULL, k STRING NOT NULL, n BIGINT NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '20 seconds'
);
";

/// A key of the group: how a pipeline writes it, and how long after its start SQLite's window ends.
const STEP: &str = "
|> AGGREGATE COUNT(*) AS events, SUM(n) AS total, MIN(n) AS least, COUNT(DISTINCT n) AS kinds,
             SUM(n) FILTER (WHERE n > 50) / COUNT(*) AS share
   GROUP BY tumble(t, INTERVAL '1 minute') AS minute, k
";

fn pipeline(follow: &str) -> String {
    format!(
        "{SCHEMA}PIPELINE events WITH (checkpoint_every = '20 milliseconds') AS\nFROM file('in/*.ndjson') SCHEMA event{follow}{STEP}\
         |> TEE (|> INSERT INTO file('out/'))\n|> UPSERT INTO sqlite('windows.db', 'windows') KEY (minute, k);\n"
    )
}

#[derive(Clone)]
struct Event {
    second: i64,
    key: usize,
    n: u64,
}

impl Event {
    fn line(&self) -> String {
        let (minute, second) = (self.second / 60, self.second % 60);
        let time = format!("2026-11-20T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60);
        format!(r#"{{"t": "{time}", "k": "k{}", "n": {}}}"#, self.key, self.n)
    }
}

/// Disorder: the events of each partition jump back and forth, and its partitions run apart from each other.
fn disorder(chance: &mut Chance, partitions: usize, events: usize) -> Vec<Vec<Event>> {
    let jumps = chance.between(1, 120);
    let mut one = |ahead: u64| {
        let event = |index: usize| Event {
            second: (200 + ahead + index as u64 * 3 + chance.between(0, jumps)) as i64 - (jumps / 2) as i64,
            key: chance.between(0, 3) as usize,
            n: chance.between(0, 100),
        };
        (0..events).map(event).collect()
    };
    (0..partitions).map(|partition| one(partition as u64 * 40)).collect()
}

/// What SQLite makes of the events that are not late, as lines; and how many are late.
fn batch(partitions: &[Vec<Event>]) -> (Vec<String>, u64) {
    let table = Connection::open_in_memory().expect("SQLite");
    table.execute_batch("CREATE TABLE e (t INTEGER, k TEXT, n INTEGER)").expect("a table");
    let mut late = 0;
    for events in partitions {
        let mut mark = i64::MIN;
        for event in events {
            let end = (event.second.div_euclid(60) + 1) * 60;
            if mark >= end {
                late += 1;
            } else {
                let row = (MIDNIGHT + event.second, format!("k{}", event.key), event.n as i64);
                table.execute("INSERT INTO e VALUES (?, ?, ?)", row).expect("a row");
            }
            mark = mark.max(event.second - DELAY);
        }
    }
    let sql = "SELECT json_object('minute', strftime('%Y-%m-%dT%H:%M:%SZ', t / 60 * 60, 'unixepoch'), 'k', k,
                 'events', count(*), 'total', sum(n), 'least', min(n), 'kinds', count(DISTINCT n),
                 'share', CAST(round(sum(n) FILTER (WHERE n > 50) * 10000.0 / count(*)) AS INTEGER))
               FROM e GROUP BY t / 60, k";
    let mut rows = table.prepare(sql).expect("SQL");
    let lines = rows.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    (sorted(lines.map(|line| plain(&line.expect("a row"), 1))), late)
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// A row in one spelling; `share` in ten thousandths, to which both round it.
fn plain(line: &str, scale: u64) -> String {
    let mut row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let share = row["share"].as_f64().map(|share| (share * scale as f64).round() as i64);
    row["share"] = share.map_or(Value::Null, Value::from);
    row.to_string()
}

fn found(desk: &Desk) -> (Vec<String>, u64) {
    let rows = sorted(look::lines(&desk.path("out")).iter().map(|line| plain(line, 10_000)));
    let late = desk.value("SELECT late FROM steps WHERE step = 'aggregate'").as_u64().expect("a count");
    let books = desk.books("events").join("\n");
    assert!(!books.contains("waiting"), "{books}");
    let table = look::sqlite(&desk.path("windows.db"), "SELECT count(*) FROM windows");
    assert_eq!(table, [[rows.len().to_string()]], "a window is put out once");
    (rows, late)
}

fn write(desk: &Desk, partitions: &[Vec<Event>], from: usize, to: usize) {
    for (index, events) in partitions.iter().enumerate() {
        let name = format!("in/{index}.ndjson");
        desk.append(&name, events[from.min(events.len())..to.min(events.len())].iter().map(Event::line));
    }
}

#[test]
fn windows_of_a_batch_and_of_a_killed_run_are_those_of_sqlite() {
    let (mut chance, _) = Chance::told("windows");
    for _ in 0..if soak() { 50 } else { 4 } {
        let partitions = disorder(&mut chance, 3, 400);
        let expected = batch(&partitions);
        assert!(expected.0.len() > 10, "a test without windows shows nothing");

        let desk = Desk::with(&pipeline(""));
        desk.write("in/0.ndjson", "");
        write(&desk, &partitions, 0, usize::MAX);
        desk.ok(&["run", "orders.sync"]);
        assert_eq!(found(&desk), expected, "the batch");

        let desk = Desk::with(&pipeline(" FOLLOW"));
        (0..3).for_each(|index| desk.write(&format!("in/{index}.ndjson"), ""));
        for part in 0..4 {
            write(&desk, &partitions, part * 100, part * 100 + 100);
            let running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
            thread::sleep(Duration::from_millis(chance.between(300, 900)));
            assert!(running.kill(), "it runs until it is killed");
        }
        desk.ok(&["run", "orders.sync", "--once"]);
        assert_eq!(found(&desk), expected, "live, with kills");
    }
}

#[test]
fn a_test_counts_as_a_batch_does() {
    let (mut chance, _) = Chance::told("windows in a test");
    let partitions = disorder(&mut chance, 1, 120);
    let (rows, late) = batch(&partitions);
    let given: Vec<String> = partitions[0].iter().map(|event| format!("'{}'", event.line())).collect();
    let row = |line: &String| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let time = row["minute"].as_str().expect("a time").replace(['T', 'Z'], " ");
        format!(
            "(TIMESTAMP '{}', '{}', {}, {})",
            time.trim(),
            row["k"].as_str().expect("a key"),
            row["events"],
            row["total"]
        )
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    let late = if late > 0 { format!("EXPECT DROPPED {late} BECAUSE 'late'") } else { String::new() };
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE events AS FROM file('in/*.ndjson') SCHEMA event\n\
         |> AGGREGATE COUNT(*) AS events, SUM(n) AS total GROUP BY tumble(t, INTERVAL '1 minute') AS minute, k\n\
         |> UPSERT INTO sqlite('windows.db', 'windows') KEY (minute, k);\n\
         TEST windows FOR events GIVEN INPUT ROWS {}\n  AFTER CRASH AT CHECKPOINT 2\n  EXPECT OUTPUT ROWS {}\n  {late};\n",
        given.join(",\n"),
        rows.join(",\n"),
    ));
    desk.ok(&["test", "orders.sync"]);
}
