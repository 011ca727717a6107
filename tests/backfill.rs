//! What happened before: read to its end, then the source goes on from where it was, without a gap and without a repeat.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, Running, patience},
    kafka::{self, Record},
    look,
    postgres::{GUARDED, shared},
    promises::figure,
    topics::now,
    web::Client,
};

/// What an order is worth in its version.
fn amount(id: i64, version: i64) -> i64 {
    (id * 31 + version * 7) % 1000
}

/// Orders `from..to` as they were first, a row each.
fn orders(path: &Path, from: i64, to: i64) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
    let column = |of: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((from..to).map(of))) };
    let columns = [("id", column(&|id| id)), ("version", column(&|_| 1)), ("amount", column(&|id| amount(id, 1)))];
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("a new file"), rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("rows are written");
    writer.close().expect("a footer is written");
}

/// An order in a later version.
fn edit(id: i64, version: i64) -> Record {
    let row = serde_json::json!({"id": id, "version": version, "amount": amount(id, version)});
    // A broker throws away what is old.
    Record::new(&id.to_string(), &row.to_string()).time(now())
}

/// Orders from 0 on, and those of them that were edited, with their version.
struct Versions {
    orders: i64,
    edited: BTreeMap<i64, i64>,
}

impl Versions {
    fn of(orders: i64) -> Self {
        Self { orders, edited: BTreeMap::new() }
    }

    fn edits(&mut self, chance: &mut Chance, count: usize) -> Vec<Record> {
        let one = |_| {
            let id = chance.below(self.orders as u64) as i64;
            let version = self.edited.entry(id).or_insert(1);
            *version += 1;
            edit(id, *version)
        };
        (0..count).map(one).collect()
    }

    /// Waits until the table is the fold of all of them.
    fn are_in(&self, shop: &Path, running: &Running) {
        let version = |id: &i64| self.edited.get(id).copied().unwrap_or(1);
        let sum: i64 = (0..self.orders).map(|id| amount(id, version(&id))).sum();
        let all: i64 = (0..self.orders).map(|id| version(&id)).sum();
        let expected = vec![vec![self.orders.to_string(), all.to_string(), sum.to_string()]];
        let began = Instant::now();
        let found = || look::sqlite(shop, "SELECT count(*), sum(version), sum(amount) FROM orders");
        while found() != expected && began.elapsed() < patience() {
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(found(), expected, "{}", running.err());
    }
}

const SCHEMA: &str = "SCHEMA order_event (id BIGINT NOT NULL, version BIGINT NOT NULL, amount BIGINT NOT NULL);\n";

#[test]
fn soak_a_history_and_what_came_meanwhile_are_the_fold_of_all_events_whatever_is_killed() {
    let (mut chance, _) = Chance::told("history");
    let (rows, edits, kills) = if soak() { (5_000_000, 200_000, 10) } else { (150_000, 6_000, 5) };
    let bus = kafka::shared();
    let topic = bus.topic("edits", 3);
    // `latest`: what is there before the history begins is none of ours, and all that comes from then on is.
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds') AS
FROM history('in/*.parquet') THEN kafka('{}', brokers => '{}', start => 'latest') SCHEMA order_event
|> DEDUP BY id, version WITHIN '1 day'
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
",
        topic.name,
        bus.brokers()
    ));
    for file in 0..4 {
        orders(&desk.path(&format!("in/{file}.parquet")), file * rows / 4, (file + 1) * rows / 4);
    }
    topic.produce(&(0..100).map(|id| edit(id, 9_999)).collect::<Vec<_>>());
    let shop = desk.path("shop.db");
    let mut versions = Versions::of(rows);
    let run = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
    let mut running = desk.start(&run);
    // A row of the history is there, so it is committed where the topic begins.
    running.until("the first rows are there", |_| {
        shop.exists() && look::sqlite(&shop, "PRAGMA table_info(orders)").len() > 2 && count(&shop) > 0
    });
    for _ in 0..kills {
        topic.produce(&versions.edits(&mut chance, edits / kills));
        thread::sleep(Duration::from_millis(100 + chance.below(if soak() { 4_000 } else { 300 })));
        assert!(running.kill(), "a pipeline that goes on runs until it is killed");
        running = desk.start(&run);
    }
    versions.are_in(&shop, &running);
    running.stop().expect(0);
    desk.books("orders");
    // Every record came in once: those of the history, and the edits since it began.
    let read = desk.value("SELECT sum(rows_in) AS n FROM steps WHERE step IN ('source', 'source_2')");
    assert_eq!(read.as_i64(), Some(rows + edits as i64 / kills as i64 * kills as i64));
    figure(
        "soak_a_history_and_what_came_meanwhile_are_the_fold_of_all_events_whatever_is_killed",
        &format!("{rows} rows of history, {edits} edits meanwhile, {kills} kills: no gap, none twice"),
    );
}

/// How a history was read: what it was seen to need, and to foresee.
struct Course {
    /// Bytes of memory, as they were while it was read.
    memory: Vec<u64>,
    /// When something was foreseen, and the seconds that it would take from then on.
    foreseen: Vec<(Instant, f64)>,
    began: Instant,
    ended: Instant,
}

impl Course {
    fn of(running: &mut Running) -> Self {
        let address = running.address();
        let (mut memory, mut foreseen, began) = (vec![], vec![], Instant::now());
        running.until("the history is read", |running| {
            let answer = Client::to(address).get("/v1/backfills");
            let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let told = &told["items"][0];
            if told["state"] == "reading" {
                memory.push(resident(running));
                foreseen.extend(told["seconds_left"].as_f64().map(|left| (Instant::now(), left)));
            }
            told["state"] == "done"
        });
        Self { memory, foreseen, began, ended: Instant::now() }
    }

    /// The most memory by the median of the first quarter.
    fn growth(&self) -> f64 {
        let mut early = self.memory[..self.memory.len().div_ceil(4)].to_vec();
        early.sort_unstable();
        self.memory.iter().copied().max().unwrap_or(0) as f64 / early[early.len() / 2] as f64
    }

    /// Of the last half: how far what was foreseen lay from what came, beyond the second that it is told in, as a part of what came.
    fn error(&self) -> f64 {
        let half = self.began + (self.ended - self.began) / 2;
        let errors = self.foreseen.iter().filter(|(at, _)| *at > half).map(|(at, left)| {
            let came = (self.ended - *at).as_secs_f64();
            ((left - came).abs() - 1.0).max(0.0) / came
        });
        errors.fold(0.0, f64::max)
    }
}

fn resident(running: &Running) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{}/statm", running.id())).unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn soak_the_end_of_a_history_is_foreseen_and_it_takes_no_more_memory_as_it_goes_on() {
    let rows = if soak() { 5_000_000 } else { 400_000 };
    let bus = kafka::shared();
    let topic = bus.topic("edits", 1);
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders AS
FROM history('in/*.parquet') THEN kafka('{}', brokers => '{}') SCHEMA order_event
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
",
        topic.name,
        bus.brokers()
    ));
    for file in 0..4 {
        orders(&desk.path(&format!("in/{file}.parquet")), file * rows / 4, (file + 1) * rows / 4);
    }
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let course = Course::of(&mut running);
    Versions::of(rows).are_in(&desk.path("shop.db"), &running);
    running.stop().expect(0);
    desk.books("orders");
    assert!(!course.foreseen.is_empty(), "nothing was foreseen");
    let (growth, error, took) = (course.growth(), course.error(), course.ended - course.began);
    let shown = format!(
        "{rows} rows in {:.0} s: memory at most {growth:.2} times its early median, time left wrong by {:.0} % at most in the last half",
        took.as_secs_f64(),
        100.0 * error
    );
    // A short one is over before its memory has settled.
    assert!(!soak() || growth <= 1.2 && error < 0.2, "{shown}");
    figure("soak_the_end_of_a_history_is_foreseen_and_it_takes_no_more_memory_as_it_goes_on", &shown);
}

fn count(shop: &Path) -> i64 {
    look::sqlite(shop, "SELECT count(*) FROM orders")[0][0].parse().expect("a number")
}

/// Waits until the newest backfill of `orders` stands so, and gives its rows.
fn backfilled(desk: &Desk, running: &mut Running, state: &str) -> i64 {
    let newest = "SELECT state, COALESCE(\"rows\", 0) AS n FROM backfills WHERE pipeline = 'orders' ORDER BY number DESC LIMIT 1";
    let mut rows = 0;
    running.until(&format!("the backfill is {state}"), |_| {
        let found = desk.query(newest);
        rows = found.first().and_then(|row| row["n"].as_i64()).unwrap_or(0);
        found.first().is_some_and(|row| row["state"] == state)
    });
    rows
}

#[test]
fn what_a_running_pipeline_is_asked_to_take_in_comes_once_while_others_come_and_it_is_killed() {
    let (mut chance, _) = Chance::told("a backfill beside");
    let (rows, edits, kills) = (120_000, 6_000, 4);
    let bus = kafka::shared();
    let topic = bus.topic("beside", 2);
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds') AS
FROM kafka('{}', brokers => '{}') SCHEMA order_event
|> DEDUP BY id, version WITHIN '1 day'
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
",
        topic.name,
        bus.brokers()
    ));
    for file in 0..3 {
        orders(&desk.path(&format!("in/{file}.parquet")), file * rows / 3, (file + 1) * rows / 3);
    }
    let (shop, mut versions) = (desk.path("shop.db"), Versions::of(rows));
    topic.produce(&versions.edits(&mut chance, 1_000));
    let run = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
    let mut running = desk.start(&run);
    running.until("the first rows are there", |_| {
        shop.exists() && look::sqlite(&shop, "PRAGMA table_info(orders)").len() > 2 && count(&shop) > 0
    });
    desk.ok(&["backfill", "start", "orders", "'in/*.parquet'", "--share", "60"]);
    let told = desk.say(&["backfill", "start", "orders", "'in/*.parquet'"]).expect(1);
    assert!(told.err.contains("backfill 1 of orders is reading"), "{}", told.err);
    for _ in 0..kills {
        topic.produce(&versions.edits(&mut chance, edits / kills));
        thread::sleep(Duration::from_millis(100 + chance.below(300)));
        assert!(running.kill(), "a pipeline that goes on runs until it is killed");
        running = desk.start(&run);
    }
    // A question that comes before it has the folder would have it.
    running.address();
    assert_eq!(backfilled(&desk, &mut running, "done"), rows);
    versions.are_in(&shop, &running);
    // Once more: another one of the same place, whose rows are all known.
    desk.ok(&["backfill", "start", "orders", "parquet('in/*.parquet')"]);
    assert_eq!(backfilled(&desk, &mut running, "done"), rows);
    versions.are_in(&shop, &running);
    running.stop().expect(0);
    desk.books("orders");
    let again = desk.value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup'");
    assert_eq!(again.as_i64(), Some(rows), "the second time all of them are known, and the first time none");
}

#[test]
fn a_backfill_is_held_across_restarts_and_cancelled_and_what_is_wrong_with_it_is_told() {
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM http('/orders') SCHEMA order_event
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
"
    ));
    // Enough not to be over before it can be held: it reads two million a second, and waits for the sink when an epoch of them waits.
    let rows = 600_000;
    orders(&desk.path("in/0.parquet"), 0, rows);
    let run = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
    desk.say(&["backfill", "start", "orders", "'in/*.parquet'"]).expect(2);
    let mut running = desk.start(&run);
    running.address();
    let wrong = [
        ("FROM parquet('in/*.parquet') |> SELECT id", "lacks columns"),
        ("FROM parquet('in/*.parquet') |> DEDUP BY id WITHIN '1 day'", "remembers nothing by itself"),
        ("http('/other')", "has to end"),
        ("'in/*.parquet') THEN http('/other'", "cannot take in"),
    ];
    for (source, why) in wrong {
        let told = desk.say(&["backfill", "start", "orders", source]).expect(1);
        assert!(told.err.contains(why), "{source}: {}", told.err);
    }
    desk.say(&["backfill", "start", "nothing", "'in/*.parquet'"]).expect(1);
    desk.say(&["backfill", "pause", "orders"]).expect(1);
    desk.ok(&["backfill", "start", "orders", "'in/*.parquet'"]);
    running.until("it has begun", |_| desk.value("SELECT max(\"rows\") AS n FROM backfills").as_i64() > Some(0));
    desk.ok(&["backfill", "pause", "orders"]);
    let held = backfilled(&desk, &mut running, "paused");
    assert!(held < rows, "it was over before it could be held");
    running.stop().expect(0);
    let mut running = desk.start(&run);
    let mut client = Client::to(running.address());
    let posted =
        client.post("/in/orders", &[("content-type", "application/json")], br#"{"id": 0, "version": 5, "amount": 5}"#);
    assert_eq!(posted.status, 202);
    running.until("the source goes on", |_| {
        look::sqlite(&desk.path("shop.db"), "SELECT version FROM orders WHERE id = 0") == [["5"]]
    });
    assert_eq!(backfilled(&desk, &mut running, "paused"), held, "one that is held reads nothing");
    desk.ok(&["backfill", "resume", "orders"]);
    assert_eq!(backfilled(&desk, &mut running, "done"), rows);
    desk.say(&["backfill", "cancel", "orders"]).expect(1);
    // What is newer stands.
    assert_eq!(look::sqlite(&desk.path("shop.db"), "SELECT version FROM orders WHERE id = 0"), [["5"]]);
    desk.ok(&["backfill", "start", "orders", "'in/*.parquet'"]);
    running.until("the second has begun", |_| {
        desk.value("SELECT max(number) AS n FROM backfills WHERE \"rows\" > 0").as_i64() == Some(2)
    });
    desk.ok(&["backfill", "cancel", "orders"]);
    let ended = backfilled(&desk, &mut running, "cancelled");
    assert!(ended < rows, "it was over before it could be cancelled");
    running.stop().expect(0);
    desk.books("orders");
}

/// Live rows are taken meanwhile, whatever becomes of the place, and whatever it was that people asked for.
#[test]
fn a_backfill_that_cannot_be_read_keeps_nobody_from_going_on_and_is_tried_again() {
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM http('/orders') SCHEMA order_event
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
"
    ));
    let rows = 300_000;
    desk.append("old.ndjson", (0..rows).map(|id| edit(id, 1).text()));
    let run = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
    let mut running = desk.start(&run);
    running.address();
    let began = "SELECT max(run) AS n FROM runs";
    for (source, why) in [
        ("'nothing/*.ndjson'", "no file matches"),
        ("sqlite('none.db', 'orders')", "unable to open"),
        ("kafka('t', brokers => 'localhost:1', until => 'yesterday')", "`until` of `kafka`"),
    ] {
        let said = desk.say(&["backfill", "start", "orders", source]).expect(1);
        assert!(said.err.contains(why) && said.err.contains("nothing was asked"), "{source}: {}", said.err);
    }
    assert_eq!((desk.value(began), desk.query("SELECT number FROM backfills")), (1.into(), vec![]));
    let live = |running: &mut Running, version: i64| {
        let posted = Client::to(running.address()).post(
            "/in/orders",
            &[("content-type", "application/json")],
            edit(rows, version).text().as_bytes(),
        );
        assert_eq!(posted.status, 202);
        running.until("the source goes on", |_| {
            look::sqlite(&desk.path("shop.db"), &format!("SELECT version FROM orders WHERE id = {rows}"))
                == [[version.to_string()]]
        });
    };
    desk.ok(&["backfill", "start", "orders", "'old.ndjson'"]);
    running.until("it has begun", |_| desk.value("SELECT max(\"rows\") AS n FROM backfills").as_i64() > Some(0));
    desk.ok(&["backfill", "pause", "orders"]);
    let held = backfilled(&desk, &mut running, "paused");
    assert!(held < rows, "it was over before it could be held");
    // Beside it it would be found.
    fs::create_dir(desk.path("away")).expect("a folder");
    fs::rename(desk.path("old.ndjson"), desk.path("away/old.ndjson")).expect("it is there");
    desk.ok(&["backfill", "resume", "orders"]);
    running.until("it says why", |_| desk.ok(&["status"]).contains("source_2 is being tried again: old.ndjson"));
    live(&mut running, 1);
    // Over a kill too.
    assert!(running.kill(), "it runs until it is killed");
    running = desk.start(&run);
    running.until("it says why", |_| desk.ok(&["status"]).contains("source_2 is being tried again: old.ndjson"));
    live(&mut running, 2);
    fs::rename(desk.path("away/old.ndjson"), desk.path("old.ndjson")).expect("it is there");
    assert_eq!(backfilled(&desk, &mut running, "done"), rows);
    running.until("all are there", |_| count(&desk.path("shop.db")) == rows + 1);
    running.stop().expect(0);
    desk.books("orders");
    // Who starts over reads it again, at once.
    let mut running = desk.start(&[&run[..], &["--fresh"]].concat());
    running.until("it is read again", |_| {
        desk.value("SELECT max(starts * 1000000 + \"rows\") AS n FROM backfills WHERE state = 'done'")
            == 1_000_000 + rows
    });
    running.stop().expect(0);
}

/// Its rows go with the revision that took them in, and so they are read again.
#[test]
fn who_goes_back_behind_a_backfill_reads_it_again() {
    let desk = Desk::new();
    let text = |filter: &str| {
        format!(
            "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM http('/orders') SCHEMA order_event {filter}|> INSERT INTO file('out/');\n"
        )
    };
    desk.append("old.ndjson", (0..100).map(|id| edit(id, 1).text()));
    desk.write("orders.sync", text(""));
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    let runs = |running: &mut Running, revisions: i64| {
        running.until("it runs", |_| {
            let known = desk.value("SELECT count(*) AS n FROM revisions");
            known == revisions && Client::to(address).get("/v1/pipelines/orders").json()["state"] == "running"
        });
    };
    runs(&mut running, 1);
    let put = Client::to(address).send(
        "PUT",
        "/v1/pipelines/orders",
        &[("Content-Type", "application/sql")],
        text("|> WHERE id < 50 ").as_bytes(),
    );
    assert_eq!(put.status, 200, "{put:?}");
    runs(&mut running, 2);
    let asked = desk.value("SELECT max(run) AS n FROM runs").as_i64();
    desk.ok(&["backfill", "start", "orders", "'old.ndjson'"]);
    assert_eq!(backfilled(&desk, &mut running, "done"), 100);
    desk.ok(&["rollback", "orders"]);
    // Not only at some later start.
    running.until("it is read again", |_| {
        let sql = "SELECT max(run) AS n FROM steps WHERE step = 'source_2' AND rows_in = 100";
        desk.value(sql).as_i64() > asked.map(|run| run + 1)
    });
    assert_eq!(backfilled(&desk, &mut running, "done"), 100);
    running.stop().expect(0);
    let lines = fs::read_dir(desk.path("out")).expect("parts").map(|part| {
        let path = part.expect("a part").path();
        let shown = path.extension().is_some_and(|extension| extension == "ndjson");
        if shown { fs::read_to_string(path).expect("a part").lines().count() } else { 0 }
    });
    assert_eq!(lines.sum::<usize>(), 100);
}

/// An event each second, every seventh told twice.
fn events(seconds: i64) -> Vec<String> {
    let event = |second: i64| {
        let at = format!("2026-11-20T10:{:02}:{:02}Z", second / 60, second % 60);
        let region = ["north", "south"][(second % 2) as usize];
        serde_json::json!({"id": second, "region": region, "at": at}).to_string()
    };
    (0..seconds).flat_map(|second| (0..if second % 7 == 0 { 2 } else { 1 }).map(move |_| event(second))).collect()
}

#[test]
fn a_history_makes_the_rows_that_live_would_have_made() {
    let bus = kafka::shared();
    let events = events(1200);
    let job = |history: &str, topic: &kafka::Topic| {
        format!(
            "SCHEMA event (id BIGINT NOT NULL, region STRING NOT NULL, at TIMESTAMP NOT NULL,
              WATERMARK FOR at AS at - INTERVAL '10 seconds');
PIPELINE p WITH (checkpoint_every = '20 milliseconds') AS
FROM {history}kafka('{}', brokers => '{}') SCHEMA event
|> DEDUP BY id WITHIN '1 hour'
|> TEE (|> INSERT INTO sqlite('shop.db', 'kept'))
|> AGGREGATE COUNT(*) AS n, MIN(id) AS first GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region
|> INSERT INTO sqlite('shop.db', 'minutes');
",
            topic.name,
            bus.brokers()
        )
    };
    let records =
        |events: &[String]| events.iter().map(|event| Record::new("k", event).time(now())).collect::<Vec<_>>();
    let live = bus.topic("live", 1);
    live.produce(&records(&events));
    let of_live = Desk::with(&job("", &live));
    of_live.ok(&["run", "orders.sync", "--once"]);
    // The same in two halves: the cut is in a window, and between a record and its repeat.
    let cut = events.windows(2).position(|two| two[0] == two[1] && two[0].contains("10:10:")).expect("a repeat") + 1;
    let rest = bus.topic("rest", 1);
    rest.produce(&records(&events[cut..]));
    let of_both = Desk::with(&job("history('in/*.ndjson') THEN ", &rest));
    of_both.write("in/old.ndjson", events[..cut].join("\n") + "\n");
    of_both.ok(&["run", "orders.sync", "--once"]);
    for table in ["kept", "minutes"] {
        let all = |desk: &Desk| {
            let mut rows: Vec<String> = look::sqlite(&desk.path("shop.db"), &format!("SELECT * FROM {table}"))
                .iter()
                .map(|row| row.join("|"))
                .collect();
            rows.sort();
            rows
        };
        assert!(all(&of_live).len() > 30, "{table} has rows");
        look::same(table, &all(&of_both), &all(&of_live));
    }
}

#[test]
fn a_history_is_over_for_good_whatever_becomes_of_its_files() {
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders AS
FROM history(FROM file('in/*.ndjson') SCHEMA order_event |> WHERE id < 3) THEN file('new/*.ndjson') SCHEMA order_event
|> INSERT INTO sqlite('shop.db', 'orders');
"
    ));
    let line = |id: i64| edit(id, 1).text() + "\n";
    desk.write("in/a.ndjson", line(1) + &line(2) + &line(3));
    desk.write("new/a.ndjson", line(4));
    let ids = || look::sqlite(&desk.path("shop.db"), "SELECT id FROM orders ORDER BY rowid").concat().join(" ");
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(ids(), "1 2 4");
    fs::remove_file(desk.path("in/a.ndjson")).expect("it was there");
    desk.append("new/b.ndjson", [line(5).trim()]);
    desk.ok(&["run", "orders.sync"]);
    desk.write("in/late.ndjson", line(0));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(ids(), "1 2 4 5");
    desk.books("orders");
}

/// The same topic twice: its past as a history that ends, and the rest.
#[test]
fn a_topic_is_cut_in_two_at_a_time_and_progress_is_told() {
    let bus = kafka::shared();
    let topic = bus.topic("cut", 2);
    let now = now();
    let at = |id: i64| edit(id, 1).partition((id % 2) as i32).time(now - 10_000 + id * 100);
    topic.produce(&(0..40).map(at).collect::<Vec<_>>());
    // Between the records 19 and 20.
    let cut = iso(now - 10_000 + 1_950);
    let kafka = |word: &str| {
        format!("kafka('{}', brokers => '{}', {word} => '{cut}') SCHEMA order_event", topic.name, bus.brokers())
    };
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders AS
FROM history({}) THEN {}
|> INSERT INTO sqlite('shop.db', 'orders');
",
        kafka("until"),
        kafka("start")
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let ids = look::sqlite(&desk.path("shop.db"), "SELECT id FROM orders ORDER BY id").concat().join(" ");
    assert_eq!(ids, (0..40).map(|id| id.to_string()).collect::<Vec<_>>().join(" "));
    let row = &desk.query("SELECT pipeline, state, rows, dead FROM backfills")[0];
    assert_eq!(row.to_string(), r#"{"dead":0,"pipeline":"orders","rows":20,"state":"done"}"#);
    assert!(desk.ok(&["status"]).contains("20 rows"), "{}", desk.ok(&["status"]));
}

/// Milliseconds since 1970 as an instant.
pub fn iso(millis: i64) -> String {
    let command = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{}.{:03}", millis / 1000, millis % 1000), "+%FT%T.%3NZ"])
        .output();
    String::from_utf8_lossy(&command.expect("the date").stdout).trim().to_owned()
}

/// Orders in a table of the database, as they were first.
fn table(rows: i64) -> String {
    format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint NOT NULL, amount bigint NOT NULL); \
         INSERT INTO orders SELECT i, 1, (i * 31 + 7) % 1000 FROM generate_series(0, {rows} - 1) AS i"
    )
}

#[test]
fn a_table_as_history_and_edits_meanwhile_are_the_fold_of_all_whatever_is_killed() {
    let (mut chance, _) = Chance::told("history of a table");
    let (rows, edits, kills) = if soak() { (2_000_000, 100_000, 10) } else { (60_000, 3_000, 3) };
    let (bus, database) = (kafka::shared(), shared().database());
    database.sql(&table(rows));
    let topic = bus.topic("table_edits", 2);
    let desk = Desk::with(&format!(
        "{SCHEMA}PIPELINE orders WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds') AS
FROM history(postgres('{}', 'orders')) THEN kafka('{}', brokers => '{}', start => 'latest') SCHEMA order_event
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
",
        database.url(),
        topic.name,
        bus.brokers()
    ));
    let shop = desk.path("shop.db");
    let mut versions = Versions::of(rows);
    let run = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
    let mut running = desk.start(&run);
    running.until("the first rows are there", |_| {
        shop.exists() && look::sqlite(&shop, "PRAGMA table_info(orders)").len() > 2 && count(&shop) > 0
    });
    for _ in 0..kills {
        topic.produce(&versions.edits(&mut chance, (edits / kills) as usize));
        thread::sleep(Duration::from_millis(chance.below(if soak() { 4_000 } else { 200 })));
        assert!(running.kill(), "a pipeline that goes on runs until it is killed");
        running = desk.start(&run);
    }
    versions.are_in(&shop, &running);
    running.stop().expect(0);
    desk.books("orders");
    let read = desk.value("SELECT sum(rows_in) AS n FROM steps WHERE step IN ('source', 'source_2')");
    assert_eq!(read.as_i64(), Some(rows + edits), "no row twice, and no edit");
}

#[test]
fn a_table_of_sqlite_goes_into_files_once_whenever_the_process_is_killed() {
    let (mut chance, _) = Chance::told("a table into files");
    let (rows, most) = if soak() { (3_000_000, 30) } else { (200_000, 5) };
    let desk = Desk::with(
        "PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM sqlite('shop.db', 'orders') |> SELECT id, region |> INSERT INTO file('out/');
",
    );
    look::sqlite(
        &desk.path("shop.db"),
        "CREATE TABLE orders (id INTEGER, region TEXT, note TEXT, PRIMARY KEY (region, id)) WITHOUT ROWID",
    );
    look::sqlite(
        &desk.path("shop.db"),
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO orders SELECT i, 'r' || (i % 7), 'note' FROM n"
        ),
    );
    let (mut fell, mut midway, mut ended) = (0, 0, false);
    while fell < most && !ended {
        let mut running = desk.start(&["run", "orders.sync"]);
        running.until("it reads", |running| running.err().contains("started run="));
        thread::sleep(Duration::from_millis(chance.below(200)));
        if !running.kill() {
            ended = true;
            continue;
        }
        fell += 1;
        let read = desk.value("SELECT sum(rows_in) AS n FROM runs").as_i64().unwrap_or(0);
        midway += i32::from(read > 0 && read < rows);
    }
    assert!(midway > 0, "no kill came while the table was read: {fell} kills");
    desk.ok(&["run", "orders.sync"]);
    eprintln!("a table into files: {fell} kills, {midway} of them midway");
    let ids = || {
        let mut ids: Vec<i64> = fs::read_dir(desk.path("out"))
            .expect("the folder")
            .map(|part| part.expect("a part").path())
            .filter(|part| part.extension().is_some_and(|ending| ending == "ndjson"))
            .flat_map(|part| {
                let text = fs::read_to_string(part).expect("its lines");
                let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a record")["id"].as_i64();
                text.lines().map(|line| id(line).expect("a number")).collect::<Vec<_>>()
            })
            .collect();
        ids.sort_unstable();
        ids
    };
    assert!(ids().into_iter().eq(1..=rows), "each row once: {} of {rows}", ids().len());
    desk.books("orders");
    // What comes behind the last key is new; the rest was read.
    look::sqlite(&desk.path("shop.db"), "INSERT INTO orders VALUES (0, 'r0', ''), (9999999, 's', '')");
    desk.ok(&["run", "orders.sync"]);
    assert_eq!((ids().len() as i64, ids().last().copied()), (rows + 1, Some(9_999_999)));
}

#[test]
fn a_table_that_cannot_be_read_says_why_before_the_first_row() {
    let database = shared().database();
    database.sql("CREATE TABLE orders (id bigint)");
    let run = |url: &str| {
        let desk = Desk::with(&format!(
            "PIPELINE p AS FROM postgres('{url}', 'orders') |> SELECT id |> INSERT INTO file('out/');"
        ));
        desk.say(&["run", "orders.sync"]).expect(3).err
    };
    let said = run(&database.url());
    assert!(said.contains("table public.orders has no primary key") && said.contains("key => 'a, b'"), "{said}");
    let said = run(&database.url().replace("postgres@", &format!("{}@", GUARDED.0)));
    assert!(said.contains("cannot connect") && said.contains("password"), "{said}");
    // Its own rows would lie behind the last key, and be read again, without end.
    let desk = Desk::with(
        "PIPELINE p AS FROM sqlite('shop.db', 'orders') |> SELECT id + 1 AS id |> INSERT INTO sqlite('./shop.db', 'Orders');",
    );
    let said = desk.say(&["run", "orders.sync"]).expect(2).err;
    assert!(said.contains("p reads what it writes"), "{said}");
}
