//! `AS STREAM` and `FROM name`: pipelines that read each other's rows.
//!
//! What a reader makes of a stream must be what the same steps make in one pipeline, whenever the process is killed.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

/// Lines of all parts of a folder, in order of their text.
fn lines(desk: &Desk, folder: &str) -> Vec<String> {
    let mut lines: Vec<String> = look::lines(&desk.path(folder)).into_iter().collect();
    lines.sort();
    lines
}

/// Rows of a table, their values with a bar between them.
fn table(desk: &Desk, sql: &str) -> Vec<String> {
    look::sqlite(&desk.path("shop.db"), sql).iter().map(|row| row.join("|")).collect()
}

/// Orders, their large ones, their totals, and what of the totals goes on.
const CHAIN: &str = "
PIPELINE kept AS
FROM totals
|> WHERE total > 10
|> UPSERT INTO sqlite('shop.db', 'totals') KEY (customer);

PIPELINE orders AS
FROM file('orders.ndjson')
|> WHERE kind = 'order'
|> SELECT id, customer, CAST(total AS DECIMAL(12, 2)) AS total, _offset AS line
|> AS STREAM paid;

PIPELINE large AS
FROM paid AS p
|> WHERE p.total >= 20
|> SELECT id, total, line, _source AS source, _offset AS place
|> INSERT INTO file('large/');

PIPELINE totals AS
FROM Paid
|> AGGREGATE SUM(total) AS total, COUNT(*) AS orders GROUP BY CAST(customer AS STRING) AS customer
|> AS STREAM totals;
";

const ORDERS: &str = r#"{"kind":"order","id":1,"customer":"ada","total":"9.50"}
{"kind":"visit"}
{"kind":"order","id":2,"customer":"bob","total":"20.00"}
{"kind":"order","id":3,"customer":"ada","total":"ten"}
{"kind":"order","id":4,"customer":"ada","total":"30.25"}
"#;

fn totals(desk: &Desk) -> Vec<String> {
    table(desk, "SELECT customer, printf('%.2f', total), orders FROM totals ORDER BY customer")
}

#[test]
fn readers_of_a_stream_get_every_row_and_a_batch_ends_with_its_writer() {
    let desk = Desk::with(CHAIN);
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let large = [
        r#"{"id":2,"total":20.00,"line":3,"source":"orders.ndjson","place":3}"#,
        r#"{"id":4,"total":30.25,"line":5,"source":"orders.ndjson","place":5}"#,
    ];
    assert_eq!(lines(&desk, "large"), large);
    assert_eq!(totals(&desk), ["ada|39.75|2", "bob|20.00|1"]);
    assert_eq!(
        desk.books("orders"),
        [
            "select: 4 in · 3 passed · 1 dead",
            "source: 5 in · 5 passed",
            "stream: 3 in · 3 passed",
            "where: 5 in · 4 passed · 1 filtered"
        ]
    );
    assert_eq!(
        desk.books("large"),
        [
            "insert: 2 in · 2 passed",
            "select: 2 in · 2 passed",
            "source: 3 in · 3 passed",
            "where: 3 in · 2 passed · 1 filtered"
        ]
    );
    assert_eq!(desk.books("kept"), ["source: 2 in · 2 passed", "upsert: 2 in · 2 passed", "where: 2 in · 2 passed"]);
    // What is new goes the same way, and nothing old with it.
    desk.append("orders.ndjson", [r#"{"kind":"order","id":5,"customer":"bob","total":"50.00"}"#]);
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(lines(&desk, "large").len(), 3);
    assert_eq!(totals(&desk), ["ada|39.75|2", "bob|70.00|2"]);
    assert_eq!(desk.books("kept").last().map(String::as_str), Some("where: 1 in · 1 passed"));
    let states = desk.query("SELECT DISTINCT state FROM runs");
    assert_eq!(states, [serde_json::json!({"state": "ended"})]);
}

#[test]
fn a_row_that_dies_in_a_reader_keeps_the_bytes_and_the_place_of_its_record() {
    let desk = Desk::with(
        "PIPELINE orders AS
FROM file('orders.ndjson')
|> SELECT id, total
|> AS STREAM taken;
PIPELINE sums AS
FROM taken
|> SELECT id, CAST(total AS DECIMAL(12, 2)) AS total
|> INSERT INTO file('out/');
PIPELINE whole AS
FROM file('orders.ndjson')
|> WHERE kind = 'order'
|> AS STREAM records;
PIPELINE open AS
FROM records
|> SET total = CAST(total AS DECIMAL(12, 2))
|> INSERT INTO file('open/');",
    );
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let dead = desk.query("SELECT pipeline, id, source, record_offset FROM dead_letters ORDER BY pipeline");
    let places: Vec<String> =
        dead.iter().map(|row| format!("{} {} {}", row["pipeline"], row["source"], row["record_offset"])).collect();
    assert_eq!(places, [r#""open" "orders.ndjson" 4"#, r#""sums" "orders.ndjson" 4"#]);
    for letter in &dead {
        let raw = desk.ok(&["dead-letters", "show", letter["id"].as_str().expect("an id"), "--raw"]);
        assert_eq!(raw.trim_end(), r#"{"kind":"order","id":3,"customer":"ada","total":"ten"}"#);
    }
    let open = lines(&desk, "open");
    assert_eq!(open[0], r#"{"kind":"order","id":1,"customer":"ada","total":9.50}"#);
    assert_eq!((open.len(), lines(&desk, "out").len()), (3, 4));
}

#[test]
fn a_stream_and_a_file_are_put_together() {
    let desk = Desk::with(
        "PIPELINE orders AS
FROM file('orders.ndjson')
|> WHERE kind = 'order'
|> SELECT CAST(id AS BIGINT) AS id, CAST(customer AS STRING) AS customer
|> AS STREAM orders;
PIPELINE all AS
FROM file('old.csv') FORMAT csv
|> SELECT CAST(id AS BIGINT) AS id, CAST(who AS STRING) AS customer
|> UNION ALL (FROM orders |> WHERE id > 1)
|> ORDER BY id
|> INSERT INTO file('out/');",
    );
    desk.write("orders.ndjson", ORDERS);
    desk.write("old.csv", "id,who\n9,eve\n-1,dan\n");
    desk.ok(&["run", "orders.sync"]);
    let out = look::lines(&desk.path("out")).into_iter().collect::<Vec<_>>();
    let all = [(-1, "dan"), (2, "bob"), (3, "ada"), (4, "ada"), (9, "eve")];
    assert_eq!(out, all.map(|(id, customer)| format!(r#"{{"id":{id},"customer":"{customer}"}}"#)));
}

/// Records of two files, of which one is ahead of the other, and some late in each.
fn timed(desk: &Desk) {
    let (mut chance, _) = Chance::told("windows of a stream");
    for (file, start) in [("in/a.ndjson", 0), ("in/b.ndjson", 900)] {
        let mut text = String::new();
        for n in 0..400 {
            let at = start + n * 3 + chance.between(0, 40) - if n % 17 == 0 { 100.min(start + n * 3) } else { 0 };
            let at = format!("2026-11-20T{:02}:{:02}:{:02}Z", 8 + at / 3600, at / 60 % 60, at % 60);
            text.push_str(&format!("{{\"id\":{n},\"region\":\"r{}\",\"at\":\"{at}\"}}\n", n % 3));
        }
        desk.write(file, text);
    }
}

const EVENT: &str =
    "SCHEMA event (id BIGINT, region STRING, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '20 seconds');\n";
const WINDOW: &str =
    "|> AGGREGATE COUNT(*) AS events, SUM(id) AS ids GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region\n";

#[test]
fn windows_in_a_reader_are_those_of_one_pipeline() {
    let desk = Desk::with(&format!(
        "{EVENT}
PIPELINE one WITH (checkpoint_every = '5 ms') AS
FROM file('in/*.ndjson') SCHEMA event
|> WHERE id % 5 > 0
{WINDOW}|> INSERT INTO file('one/');
PIPELINE events WITH (checkpoint_every = '5 ms') AS
FROM file('in/*.ndjson') SCHEMA event
|> WHERE id % 5 > 0
|> AS STREAM events;
PIPELINE windows WITH (checkpoint_every = '5 ms') AS
FROM events
{WINDOW}|> INSERT INTO file('two/');
PIPELINE hours AS
FROM events
{WINDOW}|> AS STREAM minutes;
PIPELINE quarter AS
FROM minutes
|> AGGREGATE SUM(events) AS events GROUP BY tumble(minute, INTERVAL '15 minutes') AS quarter
|> INSERT INTO file('quarters/');
PIPELINE quarter_of_one AS
FROM file('in/*.ndjson') SCHEMA event
|> WHERE id % 5 > 0
{WINDOW}|> AGGREGATE SUM(events) AS events GROUP BY tumble(minute, INTERVAL '15 minutes') AS quarter
|> INSERT INTO file('quarters_of_one/');"
    ));
    timed(&desk);
    desk.ok(&["run", "orders.sync"]);
    let one = lines(&desk, "one");
    assert!(one.len() > 20, "{one:?}");
    assert_eq!(lines(&desk, "two"), one);
    assert_eq!(lines(&desk, "quarters"), lines(&desk, "quarters_of_one"));
    let late =
        |pipeline: &str| desk.value(&format!("SELECT sum(late) AS late FROM steps WHERE pipeline = '{pipeline}'"));
    assert_eq!(late("windows"), late("one"));
    assert_ne!(late("one"), Value::from(0));
    for pipeline in ["one", "events", "windows", "hours", "quarter"] {
        desk.books(pipeline);
    }
}

#[test]
fn windows_of_a_stream_close_while_its_writer_goes_on() {
    let desk = Desk::with(&format!(
        "{EVENT}
PIPELINE events AS
FROM file('in.ndjson') FOLLOW SCHEMA event
|> WHERE region = 'north'
|> AS STREAM events;
PIPELINE windows AS
FROM events
{WINDOW}|> UPSERT INTO sqlite('shop.db', 'windows') KEY (minute, region);"
    ));
    let event = |region: &str, at: &str| format!(r#"{{"id":1,"region":"{region}","at":"2026-11-20T10:{at}Z"}}"#);
    desk.write("in.ndjson", format!("{}\n", event("north", "00:10")));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    // The row that closes the window is one that the writer drops.
    running.until("the writer has the first row", |_| desk.books("events").contains(&"stream: 1 in · 1 passed".into()));
    desk.append("in.ndjson", [event("south", "02:00")]);
    running.until("the window is closed", |_| desk.books("windows").contains(&"upsert: 1 in · 1 passed".into()));
    running.stop().expect(0);
    assert_eq!(table(&desk, "SELECT events, ids FROM windows"), ["1|1"]);
}

/// An event of a stream of one a second, of which every seventh is of another kind.
fn tick(n: u64) -> String {
    let at = format!("2026-11-20T{:02}:{:02}:{:02}Z", 6 + n / 3600, n / 60 % 60, n % 60);
    format!(r#"{{"id":{n},"region":"r{}","at":"{at}"}}"#, if n.is_multiple_of(7) { 9 } else { n % 2 })
}

#[test]
fn killed_while_rows_come_windows_of_a_stream_are_whole() {
    let (chunks, chunk) = if soak() { (40, 1_500) } else { (9, 600) };
    let desk = Desk::with(&format!(
        "{EVENT}
PIPELINE events WITH (checkpoint_every = '15 ms') AS
FROM file('in.ndjson') FOLLOW SCHEMA event
|> WHERE region <> 'r9'
|> AS STREAM events;
PIPELINE windows WITH (checkpoint_every = '10 ms') AS
FROM events
{WINDOW}|> AS STREAM windows;
PIPELINE kept WITH (checkpoint_every = '25 ms') AS
FROM windows
|> INSERT INTO sqlite('shop.db', 'windows');"
    ));
    let (mut chance, _) = Chance::told("kills of streams that go on");
    desk.write("in.ndjson", "");
    for part in 0..chunks {
        let running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        thread::sleep(Duration::from_millis(chance.between(20, 150)));
        desk.append("in.ndjson", (part * chunk..(part + 1) * chunk).map(tick));
        thread::sleep(Duration::from_millis(chance.between(20, 400)));
        assert!(running.kill(), "it ended by itself");
    }
    let ticks = chunks * chunk;
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    let mut whole: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    // The watermark is 20 seconds behind the last event: windows that end by then are closed.
    for n in (0..ticks).filter(|n| !n.is_multiple_of(7) && (n / 60 + 1) * 60 <= ticks - 1 - 20) {
        let window = whole.entry((n / 60, n % 2)).or_default();
        *window = (window.0 + 1, window.1 + n);
    }
    let expected = whole.len() as u64;
    running.until("all windows are there", |_| {
        let rows = desk.query("SELECT passed FROM steps WHERE pipeline = 'kept' AND step = 'insert'");
        let before = desk.query("SELECT sum(rows_in) AS rows FROM runs WHERE pipeline = 'kept'");
        !rows.is_empty() && before[0]["rows"].as_u64() >= Some(expected)
    });
    running.stop().expect(0);
    let found =
        table(&desk, "SELECT minute, region, events, CAST(ids AS INTEGER) FROM windows ORDER BY minute, region");
    let expected: Vec<String> = whole
        .into_iter()
        .map(|((minute, region), (events, ids))| {
            let start = tick(minute * 60);
            let start = start.split("\"at\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a time");
            format!("{start}|r{region}|{events}|{ids}")
        })
        .collect();
    look::same("windows", &found, &expected);
    for pipeline in ["events", "windows", "kept"] {
        desk.books(pipeline);
    }
}

#[test]
fn a_delete_goes_through_a_stream() {
    let desk = Desk::with(
        "PIPELINE issues AS
FROM file('in.ndjson')
|> SELECT CAST(id AS BIGINT) AS id, CAST(state AS STRING) AS state, CAST(n AS BIGINT) AS n
|> SHARD BY id INTO (
     PRIMARY main AS (|> UPSERT INTO sqlite('shop.db', 'main') KEY (id) DELETE WHEN state = 'deleted'),
     DERIVED copies AS (|> SELECT id, n, _id AS row |> AS STREAM copies)
   );
PIPELINE copy AS
FROM copies
|> FORK (|> UPSERT INTO sqlite('shop.db', 'copy') KEY (id) SEQUENCE BY n), (|> SELECT id |> INSERT INTO file('log/'));",
    );
    desk.write(
        "in.ndjson",
        "{\"id\":1,\"state\":\"open\",\"n\":1}\n{\"id\":2,\"state\":\"open\",\"n\":2}\n{\"id\":1,\"state\":\"deleted\",\"n\":3}\n",
    );
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(table(&desk, "SELECT id, n FROM main ORDER BY id"), ["2|2"]);
    assert_eq!(table(&desk, "SELECT id, n, length(row) FROM copy ORDER BY id"), ["2|2|32"]);
    // An INSERT takes nothing back.
    assert_eq!(lines(&desk, "log"), [r#"{"id":1}"#, r#"{"id":2}"#]);
    assert_eq!(
        desk.books("copy"),
        [
            "fork: 3 in · 3 passed",
            "fork/1/upsert: 3 in · 3 passed",
            "fork/2/insert: 3 in · 2 passed · 1 absorbed",
            "fork/2/select: 3 in · 3 passed",
            "source: 3 in · 3 passed"
        ]
    );
}

#[test]
fn a_reload_brings_readers_and_takes_them_away() {
    let file = |more: &str| {
        format!(
            "PIPELINE writer AS
FROM file('in.ndjson') FOLLOW
|> SELECT CAST(n AS BIGINT) AS n
|> AS STREAM numbers;
PIPELINE first AS
FROM numbers
|> INSERT INTO sqlite('shop.db', 'first');
{more}"
        )
    };
    let late = "PIPELINE late AS FROM numbers |> WHERE n % 2 = 0 |> INSERT INTO sqlite('shop.db', 'late');";
    let desk = Desk::with(&file(""));
    desk.append("in.ndjson", numbers(0, 500));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    let passed = |desk: &Desk, page: &str| desk.books("late").contains(&page.to_owned());
    running.until("the first has them", |_| desk.books("first").contains(&"insert: 500 in · 500 passed".into()));
    desk.write("orders.sync", file(late));
    running.signal("HUP");
    running.until("what is kept is there", |_| passed(&desk, "insert: 250 in · 250 passed"));
    desk.write("orders.sync", file(""));
    running.signal("HUP");
    running.until("it is taken away", |running| running.err().contains("late: stopped"));
    desk.append("in.ndjson", numbers(500, 600));
    running.until("the first goes on", |_| desk.books("first").contains(&"insert: 600 in · 600 passed".into()));
    // Nothing was let go meanwhile, as the log is small: it finds all of it.
    desk.write("orders.sync", file(late));
    running.signal("HUP");
    running.until("it is back", |_| desk.value("SELECT sum(rows_in) AS rows FROM runs WHERE pipeline = 'late'") == 600);
    running.stop().expect(0);
    assert_eq!(table(&desk, "SELECT count(*), count(DISTINCT n) FROM late"), ["300|300"]);
    assert_eq!(table(&desk, "SELECT count(*), count(DISTINCT n) FROM first"), ["600|600"]);
}

fn numbers(from: u64, to: u64) -> impl Iterator<Item = String> {
    (from..to).map(|n| format!(r#"{{"n":{n},"key":"k{}","value":{}}}"#, n % 97, n * 7 % 1000))
}

/// The sums that `numbers` come to, and how many there are; values of 990 and more are filtered.
fn sums(to: u64) -> BTreeMap<String, (u64, u64)> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for n in 0..to {
        let sum = sums.entry(format!("k{}", n % 97)).or_default();
        if n * 7 % 1000 < 990 {
            *sum = (sum.0 + n * 7 % 1000, sum.1 + 1);
        }
    }
    sums
}

#[test]
fn killed_at_any_moment_readers_have_every_row_once() {
    let (rows, kills) = if soak() { (400_000, 25) } else { (120_000, 8) };
    let desk = Desk::with(
        "PIPELINE numbers WITH (checkpoint_every = '15 ms') AS
FROM file('in.ndjson')
|> WHERE CAST(value AS BIGINT) < 990
|> SELECT CAST(n AS BIGINT) AS n, CAST(key AS STRING) AS key, CAST(value AS BIGINT) AS value
|> AS STREAM numbers;
PIPELINE copy WITH (checkpoint_every = '20 ms') AS
FROM numbers
|> INSERT INTO file('copy/');
PIPELINE table WITH (checkpoint_every = '10 ms') AS
FROM numbers
|> DEDUP BY n
|> INSERT INTO sqlite('shop.db', 'numbers');
PIPELINE sums WITH (checkpoint_every = '10 ms') AS
FROM numbers
|> AGGREGATE SUM(value) AS sum, COUNT(*) AS count GROUP BY key
|> AS STREAM sums;
PIPELINE kept AS
FROM sums
|> UPSERT INTO sqlite('shop.db', 'sums') KEY (key);",
    );
    desk.append("in.ndjson", numbers(0, rows));
    let (mut chance, _) = Chance::told("kills of streams");
    let mut killed = 0;
    for _ in 0..kills {
        let mut running = desk.start(&["run", "orders.sync"]);
        // From when the last of the readers runs: what comes before is the start of any pipeline.
        while !running.ended()
            && !["copy", "table"].iter().all(|name| running.err().contains(&format!("{name}: started")))
        {
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(chance.between(20, 400)));
        killed += u32::from(running.kill());
    }
    desk.ok(&["run", "orders.sync"]);
    assert!(killed > 0, "every run came to its end before it could be killed");
    let expected: u64 = sums(rows).values().map(|(_, count)| count).sum();
    let copied = lines(&desk, "copy");
    assert_eq!(copied.len() as u64, expected);
    let mut once = copied.clone();
    once.dedup();
    assert_eq!(once.len(), copied.len());
    assert_eq!(
        table(&desk, "SELECT count(*), count(DISTINCT n), sum(value) FROM numbers"),
        [format!("{expected}|{expected}|{}", sums(rows).values().map(|(sum, _)| sum).sum::<u64>())]
    );
    let kept: Vec<String> = sums(rows).into_iter().map(|(key, (sum, count))| format!("{key}|{sum}|{count}")).collect();
    assert_eq!(table(&desk, "SELECT key, CAST(sum AS INTEGER), count FROM sums ORDER BY key"), kept);
    for pipeline in ["numbers", "copy", "table", "sums", "kept"] {
        desk.books(pipeline);
    }
}

const PAIR: &str = "
PIPELINE writer AS
FROM file('in.ndjson')
|> SELECT CAST(n AS BIGINT) AS n
|> AS STREAM numbers;
PIPELINE reader AS
FROM numbers
|> INSERT INTO file('out/');
";

fn pair(rows: u64) -> Desk {
    let desk = Desk::with(PAIR);
    desk.append("in.ndjson", numbers(0, rows));
    desk
}

#[test]
fn a_writer_that_starts_over_writes_another_stream() {
    let desk = pair(3);
    desk.ok(&["run", "orders.sync"]);
    desk.ok(&["run", "orders.sync", "--fresh"]);
    assert_eq!(lines(&desk, "out").len(), 3);
    desk.ok(&["run", "orders.sync", "--fresh", "--pipeline", "writer"]);
    let said = desk.say(&["run", "orders.sync"]);
    assert_ne!(said.code, Some(0));
    assert!(
        said.err.contains(
            "its writer writer was started over, or has got this name since; run this pipeline with --fresh too"
        ),
        "{}",
        said.err
    );
    assert_eq!(lines(&desk, "out").len(), 3);
    desk.ok(&["run", "orders.sync", "--fresh", "--pipeline", "reader"]);
    assert_eq!(lines(&desk, "out"), [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#]);
}

/// Its folder stayed, and no word of it.
#[test]
fn a_stream_whose_writer_left_the_files_is_told_at_every_start() {
    let desk = pair(3);
    desk.ok(&["run", "orders.sync"]);
    desk.write("orders.sync", PAIR.replace("PIPELINE writer", "PIPELINE other"));
    let told = |said: &str| {
        let line =
            said.lines().find(|line| line.contains("no file declares the pipeline that wrote this stream any more"));
        line.is_some_and(|line| line.contains("writer") && line.contains("numbers"))
    };
    for _ in 0..2 {
        let said = desk.say(&["run", "orders.sync"]).err;
        assert!(told(&said), "{said}");
    }
    desk.write("orders.sync", PAIR);
    let said = desk.say(&["run", "orders.sync"]).err;
    assert!(!told(&said), "{said}");
}

#[test]
fn rows_wait_for_a_reader_that_does_not_run() {
    let desk = pair(1_000);
    desk.ok(&["run", "orders.sync", "--pipeline", "writer"]);
    assert!(!desk.path("out").exists());
    desk.ok(&["run", "orders.sync", "--pipeline", "reader"]);
    assert_eq!(lines(&desk, "out").len(), 1_000);
    // A second reader finds what is kept, which a small stream is as a whole.
    desk.write(
        "orders.sync",
        format!("{PAIR}PIPELINE late AS FROM numbers |> WHERE n < 10 |> INSERT INTO file('late/');"),
    );
    desk.ok(&["run", "orders.sync"]);
    assert_eq!((lines(&desk, "late").len(), lines(&desk, "out").len()), (10, 1_000));
}

#[test]
fn rows_of_before_an_edit_are_read_by_the_names_of_their_columns() {
    let desk = pair(5);
    desk.ok(&["run", "orders.sync", "--pipeline", "writer"]);
    // One more column, which the reader does not read.
    let more = PAIR.replace("CAST(n AS BIGINT) AS n", "CAST(key AS STRING) AS key, CAST(n AS BIGINT) AS n");
    desk.write("orders.sync", more.replace("FROM numbers\n", "FROM numbers\n|> SELECT n\n"));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(lines(&desk, "out").len(), 5);
    desk.append("in.ndjson", numbers(5, 7));
    let before = "|> SELECT CAST(n AS BIGINT) AS n\n|> AS STREAM";
    desk.write("orders.sync", PAIR);
    assert!(PAIR.contains(before));
    desk.ok(&["run", "orders.sync", "--pipeline", "writer"]);
    // One that it reads, and that rows on their way do not have.
    desk.write("orders.sync", &more);
    let said = desk.say(&["run", "orders.sync"]);
    assert_ne!(said.code, Some(0));
    let told =
        "rows that writer wrote before an edit have no column key; put the earlier file back until they are read";
    assert!(said.err.contains(told), "{}", said.err);
    assert_eq!(lines(&desk, "out").len(), 5);
    desk.write("orders.sync", PAIR);
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(lines(&desk, "out").len(), 7);
}

#[test]
fn a_reader_whose_writer_fails_keeps_what_it_read_and_ends_nothing() {
    let desk = Desk::with(
        "PIPELINE writer WITH (checkpoint_every = '1 ms') AS
FROM file('in/*.ndjson')
|> EXPECT n < 5000 ON VIOLATION FAIL
|> SELECT CAST(n AS BIGINT) AS n
|> AS STREAM numbers;
PIPELINE reader AS
FROM numbers
|> TEE (|> INSERT INTO file('out/'))
|> AGGREGATE COUNT(*) AS count GROUP BY n % 2 AS odd
|> INSERT INTO file('groups/');",
    );
    let file = |from, to| numbers(from, to).map(|line| line + "\n").collect::<String>();
    desk.write("in/a.ndjson", file(0, 4_000));
    desk.write("in/b.ndjson", file(4_000, 6_000));
    let said = desk.say(&["run", "orders.sync"]);
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("its writer writer does not run and did not come to its end"), "{}", said.err);
    let states = desk.query("SELECT pipeline, state FROM runs ORDER BY pipeline");
    let states: Vec<String> = states.iter().map(|row| format!("{} {}", row["pipeline"], row["state"])).collect();
    assert_eq!(states, [r#""reader" "stopped""#, r#""writer" "failed""#]);
    assert!(!desk.path("groups").exists() || lines(&desk, "groups").is_empty());
    // Mended, it goes on where it was, and everything is there once.
    desk.write("in/b.ndjson", file(4_000, 5_000));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(lines(&desk, "out").len(), 5_000);
    assert_eq!(lines(&desk, "groups"), [r#"{"odd":0,"count":2500}"#, r#"{"odd":1,"count":2500}"#]);
}

#[test]
fn tests_give_rows_to_a_stream_and_look_at_one() {
    let desk = Desk::with(&format!(
        "{CHAIN}
TEST only_orders FOR orders
  GIVEN INPUT ROWS '{{\"kind\": \"order\", \"id\": 7, \"customer\": \"ada\", \"total\": \"3\"}}', '{{\"kind\": \"visit\"}}'
  EXPECT OUTPUT paid ROWS (7, 'ada', 3.00, 1)
  EXPECT DROPPED 1 BECAUSE 'filtered';
TEST totals_are_sums FOR totals
  GIVEN INPUT paid ROWS '{{\"customer\": \"ada\", \"total\": 3.50}}', '{{\"customer\": \"ada\", \"total\": 1}}'
  AFTER CRASH AT CHECKPOINT 1
  EXPECT OUTPUT ROWS ('ada', 4.50, 2);
TEST wrong FOR totals
  GIVEN INPUT ROWS '{{\"customer\": \"ada\", \"total\": 3.50}}'
  EXPECT OUTPUT totals ROWS ('ada', 3.51, 1);"
    ));
    let said = desk.say(&["test", "orders.sync"]).expect(1);
    let out = format!("{}{}", said.out(), said.err);
    assert!(out.contains("2 passed") && out.contains("1 failed") && out.contains("wrong"), "{out}");
}
