//! A history through the same steps as live: from every kind of place, and with the rows that live would have made.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc, thread, time::Duration};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::{
    backfill::iso,
    chance::Chance,
    desk::{Desk, Running, patience},
    kafka::{self, Bus, Isolation, Record, Topic},
    look,
    objects::Store,
    postgres::shared,
    topics::{RUN, now},
};

const ORDER: &str = "SCHEMA order_event (id BIGINT NOT NULL, version BIGINT NOT NULL, amount BIGINT NOT NULL);\n";

/// Of each kind of place.
const ORDERS: i64 = 300;

/// A kind of place, and what has to come of it.
struct Kind {
    source: String,
    /// Orders from this number on are its own.
    base: i64,
    ids: Vec<i64>,
    dead: i64,
}

fn order(id: i64) -> Value {
    json!({"id": id, "version": 1, "amount": id % 97})
}

fn lines(base: i64) -> String {
    (base..base + ORDERS).map(|id| order(id).to_string() + "\n").collect()
}

fn parquet(path: &Path, base: i64) {
    let column =
        |of: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((base..base + ORDERS).map(of))) };
    let columns = [("id", column(&|id| id)), ("version", column(&|_| 1)), ("amount", column(&|id| id % 97))];
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = fs::File::create(path).expect("a new file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("rows are written");
    writer.close().expect("a footer is written");
}

/// A topic of two partitions, an order a tenth of a second in each.
fn topic(bus: &Bus, base: i64, began: i64) -> Topic {
    let topic = bus.topic("range", 2);
    let record = |id: i64| {
        let record = Record::new("", &order(base + id).to_string());
        record.partition((id % 2) as i32).time(began + id / 2 * 100)
    };
    topic.produce(&(0..ORDERS).map(record).collect::<Vec<_>>());
    topic
}

fn kinds(desk: &Desk, store: &Store, bus: &Bus) -> Vec<Kind> {
    let all = |base: i64| (base..base + ORDERS).collect::<Vec<_>>();
    let kind = |source: String, base: i64| Kind { source, base, ids: all(base), dead: 0 };
    // One is dead at the source, one at the first step.
    let dead = [json!({"id": "no number"}), json!({"id": 1_900, "version": 1, "amount": 1_000})];
    desk.write("old/a.ndjson", lines(1_000) + &dead.map(|row| row.to_string()).join("\n"));
    let csv: String = (2_000..2_000 + ORDERS).map(|id| format!("{id},1,{}\n", id % 97)).collect();
    desk.write("old/b.csv", format!("id,version,amount\n{csv}"));
    parquet(&desk.path("old/c.parquet"), 3_000);
    fs::create_dir_all(store.path("old")).expect("a folder of the bucket");
    fs::write(store.path("old/d.ndjson"), lines(4_000)).expect("an object");
    parquet(&store.path("old/e.parquet"), 5_000);
    let [(_, endpoint), ..] = store.environment();
    let s3 = format!(
        "store => s3(endpoint => '{endpoint}', access_key => env('AWS_ACCESS_KEY_ID'), secret_key => env('AWS_SECRET_ACCESS_KEY'))"
    );
    let made = |base: i64| {
        format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint NOT NULL, amount bigint NOT NULL); \
             WITH RECURSIVE n(i) AS (SELECT {base} UNION ALL SELECT i + 1 FROM n WHERE i < {base} + {ORDERS} - 1) \
             INSERT INTO orders SELECT i, 1, i % 97 FROM n"
        )
    };
    let database = shared().database();
    database.sql(&made(6_000));
    database.sql("ANALYZE orders");
    made(7_000).split("; ").for_each(|sql| drop(look::sqlite(&desk.path("old.db"), sql)));
    let began = now() - 60_000;
    let (offsets, times) = (topic(bus, 8_000, began), topic(bus, 9_000, began));
    let range = |topic: &Topic, start: &str, until: &str| {
        let brokers = bus.brokers();
        format!("kafka('{}', brokers => '{brokers}', start => '{start}', until => '{until}')", topic.name)
    };
    // Of the even ones those at the places 50 to 99 of their partition, of the odd ones those at 20 to 39.
    let by_offsets = (8_100..8_200).step_by(2).chain((8_041..8_081).step_by(2));
    vec![
        Kind { dead: 2, ..kind("'old/*.ndjson'".to_owned(), 1_000) },
        kind("'old/b.csv'".to_owned(), 2_000),
        kind("'old/c.parquet'".to_owned(), 3_000),
        kind(format!("file('s3://shop/old/*.ndjson', {s3})"), 4_000),
        kind(format!("parquet('s3://shop/old/e.parquet', {s3})"), 5_000),
        kind(format!("postgres('{}', 'orders')", database.url()), 6_000),
        kind("sqlite('old.db', 'orders')".to_owned(), 7_000),
        Kind { ids: by_offsets.collect(), ..kind(range(&offsets, "0:50, 1:20", "0:100, 1:40"), 8_000) },
        Kind { ids: (9_100..9_240).collect(), ..kind(range(&times, &iso(began + 5_000), &iso(began + 12_000)), 9_000) },
    ]
}

/// How the newest backfill of a pipeline stands when it is over.
fn done(desk: &Desk, running: &mut Running, pipeline: &str) -> Value {
    let mut found = Value::Null;
    let newest = format!("SELECT * FROM backfills WHERE pipeline = '{pipeline}' ORDER BY number DESC LIMIT 1");
    running.until("the backfill is read", |_| {
        found = desk.query(&newest).pop().unwrap_or_default();
        found["state"] == "done"
    });
    found
}

#[test]
fn every_kind_of_place_is_taken_in_by_a_pipeline_that_runs_and_what_it_cost_is_told() {
    let (store, bus) = (Store::start(), kafka::shared());
    let desk = Desk::with(&format!(
        "{ORDER}PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM http('/orders') SCHEMA order_event
|> SELECT id, version, amount * (1000 / (1000 - amount)) AS amount
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id) SEQUENCE BY version;
"
    ));
    let mut command = desk.command(&RUN);
    command.envs(store.environment());
    let mut running = Running::start(command, RUN.join(" "));
    running.until("the pipeline has begun", |running| running.err().contains("started run="));
    let kinds = kinds(&desk, &store, &bus);
    for Kind { source, base, ids, dead } in &kinds {
        desk.ok(&["backfill", "start", "orders", source, "--share", "90"]);
        let told = done(&desk, &mut running, "orders");
        let counted = (told["rows"].as_i64(), told["dead"].as_i64());
        assert_eq!(counted, (Some(ids.len() as i64 + dead), Some(*dead)), "{source}: {told}");
        assert_eq!(told["source"], **source);
        assert!(told["bytes_read"].as_i64() > Some(5 * ids.len() as i64), "{source}: {told}");
        assert!(told["busy_ms"].as_i64().is_some() && told["starts"].as_i64() >= Some(1), "{source}: {told}");
        let known = told["bytes_total"].as_i64().or(told["rows_total"].as_i64());
        assert!(known > Some(0), "{source} does not say how much there is: {told}");
        let own = format!("SELECT id FROM orders WHERE id BETWEEN {base} AND {} ORDER BY id", base + 999);
        let found = || look::sqlite(&desk.path("shop.db"), &own).concat();
        let expected: BTreeSet<String> = ids.iter().map(i64::to_string).collect();
        running.until("its rows are in the table", |_| found().len() >= expected.len());
        look::same(source, &found(), &expected.into_iter().collect::<Vec<_>>());
    }
    running.stop().expect(0);
    desk.books("orders");
}

/// Partitions of the events, and files of a history.
const PARTITIONS: i64 = 3;
const EVENTS: i64 = 6_000;
/// Behind all of them: it closes their windows.
const CLOSING: &str = "2026-11-20T12:00:00Z";

/// Five events a second. Of seven one is told twice, of 41 one is five minutes old; each region is in one partition.
fn events() -> Vec<(i64, String)> {
    let event = |number: i64| {
        let second = number / 5 - if number % 41 == 20 { 300 } else { 0 } + 600;
        let at = format!("2026-11-20T10:{:02}:{:02}Z", second / 60, second % 60);
        let partition = number % PARTITIONS;
        let region = format!("r{}", partition + PARTITIONS * (number % 2));
        (partition, json!({"id": number, "region": region, "amount": number * 31 % 100, "at": at}).to_string())
    };
    let twice = |number: i64| if number % 7 == 0 { 2 } else { 1 };
    (0..EVENTS).flat_map(|number| (0..twice(number)).map(move |_| event(number))).collect()
}

fn records(events: &[(i64, String)]) -> Vec<Record> {
    events.iter().map(|(at, event)| Record::new("k", event).partition(*at as i32).time(now())).collect()
}

fn closing() -> Vec<(i64, String)> {
    let one = |at: i64| json!({"id": -at - 1, "region": "closing", "amount": 0, "at": CLOSING}).to_string();
    (0..PARTITIONS).map(|at| (at, one(at))).collect()
}

fn files(desk: &Desk, events: &[(i64, String)]) {
    for partition in 0..PARTITIONS {
        let own = events.iter().filter(|(at, _)| *at == partition);
        desk.write(&format!("in/{partition}.ndjson"), own.map(|(_, event)| format!("{event}\n")).collect::<String>());
    }
}

/// Dedup, a table that is joined, the newest of each region, windows of a minute, sessions; into a table each.
fn job(bus: &Bus, history: &str, topic: &Topic, start: &str) -> Desk {
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
SCHEMA event (id BIGINT NOT NULL, region STRING NOT NULL, amount BIGINT NOT NULL, at TIMESTAMP NOT NULL,
              WATERMARK FOR at AS at - INTERVAL '10 seconds');
SCHEMA manager (name STRING NOT NULL, manager STRING NOT NULL);
PIPELINE p WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds') AS
FROM {history}kafka('{}', brokers => '{}', start => '{start}') SCHEMA event
|> DEDUP BY id WITHIN '1 hour'
|> LEFT JOIN sqlite('managers.db', 'managers') SCHEMA manager AS m ON m.name = region
|> SELECT id, region, m.manager AS manager, amount, at
|> TEE (|> INSERT INTO sqlite('shop.db', 'kept'))
|> TEE (|> UPSERT INTO sqlite('shop.db', 'newest') KEY (region) SEQUENCE BY id)
|> TEE (|> WHERE amount > 96
        |> AGGREGATE COUNT(*) AS n, SUM(amount) AS total GROUP BY session(at, INTERVAL '9 seconds') AS began, region
        |> INSERT INTO sqlite('shop.db', 'sessions'))
|> AGGREGATE COUNT(*) AS n, MIN(id) AS first, SUM(amount) AS total GROUP BY tumble(at, INTERVAL '1 minute') AS minute, manager
|> INSERT INTO sqlite('shop.db', 'minutes');
",
        bus.brokers(),
        topic.name,
        bus.brokers()
    ));
    let managers = desk.path("managers.db");
    look::sqlite(&managers, "CREATE TABLE managers (name TEXT PRIMARY KEY, manager TEXT NOT NULL)");
    look::sqlite(
        &managers,
        "INSERT INTO managers VALUES ('r0', 'ada'), ('r1', 'ada'), ('r2', 'bo'), ('r3', 'bo'), ('r4', 'cy')",
    );
    desk
}

const TABLES: [&str; 4] = ["kept", "newest", "sessions", "minutes"];

/// What is in the tables, but what only closes windows.
fn tables(desk: &Desk) -> Vec<Vec<String>> {
    let shop = desk.path("shop.db");
    let there = || look::sqlite(&shop, "SELECT name FROM sqlite_master").concat();
    if !shop.exists() || TABLES.iter().any(|table| !there().iter().any(|name| name == table)) {
        return vec![vec![]; TABLES.len()];
    }
    let all = |table: &&str| {
        let rows = look::sqlite(&shop, &format!("SELECT * FROM {table}"));
        let rows =
            rows.iter().map(|row| row.join("|")).filter(|row| !row.contains("closing") && !row.contains("12:00:00"));
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        rows
    };
    TABLES.iter().map(all).collect()
}

/// Waits for as many rows as there have to be, and compares them. How many records came, and were late or known, is the same too.
fn expect(what: &str, desk: &Desk, mut running: Running, live: &(Vec<Vec<String>>, Value)) {
    let count = |tables: &[Vec<String>]| tables.iter().map(Vec::len).collect::<Vec<_>>();
    let began = std::time::Instant::now();
    while count(&tables(desk)) != count(&live.0) && began.elapsed() < patience() / 2 {
        thread::sleep(Duration::from_millis(100));
    }
    running.until("its source has come up", |_| desk.value("SELECT count(phase) AS n FROM backfills") == 0);
    running.stop().expect(0);
    for ((table, found), expected) in TABLES.iter().zip(tables(desk)).zip(&live.0) {
        look::same(&format!("{what}: {table}"), &found, expected);
    }
    assert_eq!(counts(desk), live.1, "{what}");
    desk.books("p");
}

fn counts(desk: &Desk) -> Value {
    let came = "sum(rows_in) FILTER (WHERE step IN ('source', 'source_2')) AS came";
    let sql = format!("SELECT {came}, sum(late) AS late, sum(duplicate) AS known FROM steps");
    desk.query(&sql).pop().expect("a row")
}

/// Kills it once it has read some of its history.
fn killed_midway(desk: &Desk, mut running: Running) -> Running {
    running.address();
    running.until("some of it is read", |_| desk.value("SELECT max(\"rows\") AS n FROM backfills").as_i64() > Some(0));
    assert!(running.kill(), "it runs until it is killed");
    let mut running = desk.start(&RUN);
    running.address();
    running
}

/// Evidence 2 of backfill.
#[test]
fn a_pipeline_run_live_and_the_same_input_as_a_history_give_identical_tables() {
    let bus = kafka::shared();
    let (events, closing) = (events(), closing());
    let whole = bus.topic("whole", PARTITIONS as i32);
    let of_live = job(&bus, "", &whole, "earliest");
    let mut running = of_live.start(&RUN);
    for some in records(&events).chunks(700) {
        whole.produce(some);
        thread::sleep(Duration::from_millis(30));
    }
    // Up to here it is the history of another.
    let ends = whole.ends(Isolation::Committed);
    whole.produce(&records(&closing));
    let told = |row: &str| row.contains("10:29:00");
    running.until("all windows are closed", |_| tables(&of_live)[3].iter().filter(|row| told(row)).count() == 4);
    thread::sleep(Duration::from_millis(500));
    running.stop().expect(0);
    let live = (tables(&of_live), counts(&of_live));
    let ids: BTreeSet<&str> = live.0[0].iter().filter_map(|row| row.split('|').next()).collect();
    assert_eq!((live.0[0].len(), ids.len()), (EVENTS as usize, EVENTS as usize), "each event once");
    let came = events.len() as i64 + PARTITIONS;
    assert!(live.1["came"] == came && live.1["known"] == came - PARTITIONS - EVENTS, "{}", live.1);
    let (sessions, minutes) = (live.0[2].len(), live.0[3].len());
    assert!(sessions > 30 && minutes > 60 && live.1["late"].as_i64() > Some(50), "{sessions}, {minutes}, {}", live.1);

    // All of it from files, killed midway; the source has what closes windows.
    let rest = bus.topic("rest", PARTITIONS as i32);
    let desk = job(&bus, "history('in/*.ndjson') THEN ", &rest, "earliest");
    files(&desk, &events);
    rest.produce(&records(&closing));
    let running = killed_midway(&desk, desk.start(&RUN));
    expect("files", &desk, running, &live);

    // Two halves: the cut is in windows and sessions, and between an event and its repeat.
    let cut =
        (0..events.len()).find(|at| events[*at] == events[at + 1] && events[*at].1.contains("10:19:38")).expect("one")
            + 1;
    let rest = bus.topic("rest", PARTITIONS as i32);
    let desk = job(&bus, "history('in/*.ndjson') THEN ", &rest, "earliest");
    files(&desk, &events[..cut]);
    rest.produce(&records(&events[cut..]));
    rest.produce(&records(&closing));
    let running = desk.start(&RUN);
    expect("two halves", &desk, running, &live);

    // The topic itself: its range, and then what comes.
    let ends: Vec<String> = ends.iter().enumerate().map(|(partition, end)| format!("{partition}:{end}")).collect();
    let (brokers, ends) = (bus.brokers(), ends.join(", "));
    let history = format!("history(kafka('{}', brokers => '{brokers}', until => '{ends}')) THEN ", whole.name);
    let desk = job(&bus, &history, &whole, &ends);
    let running = killed_midway(&desk, desk.start(&RUN));
    expect("a range of the topic", &desk, running, &live);

    // Asked of a pipeline that runs, and killed midway; then its source moves time.
    let rest = bus.topic("rest", PARTITIONS as i32);
    let desk = job(&bus, "", &rest, "earliest");
    files(&desk, &events);
    let mut running = desk.start(&RUN);
    running.until("the pipeline has begun", |running| running.err().contains("started run="));
    desk.ok(&["backfill", "start", "p", "'in/*.ndjson'"]);
    let mut running = killed_midway(&desk, running);
    done(&desk, &mut running, "p");
    rest.produce(&records(&closing));
    expect("asked for", &desk, running, &live);
}

/// What a task reads of a history lies in partitions that are its own, and goes with it to another process.
#[test]
fn several_tasks_share_a_history_and_take_it_along_when_their_process_is_killed() {
    for clause in ["THEN", "BESIDE"] {
        shared_by_tasks(clause);
    }
}

fn shared_by_tasks(clause: &str) {
    let (mut chance, _) = Chance::told("a history of several tasks");
    let bus = kafka::shared();
    let (old, live, to) = (bus.topic("old", 4), bus.topic("live", 4), bus.topic("to", 2));
    let (rows, edits) = (20_000, 2_000);
    let name = format!("f_{}", old.name);
    let job = format!(
        "CONNECTION bus TO kafka WITH (brokers = '{brokers}');
{ORDER}PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000,
                      changelog = 'bus', tasks = 2) AS
FROM history(kafka('{}', brokers => '{brokers}', until => 'latest')) {clause} kafka('{}', brokers => '{brokers}', start => 'latest') SCHEMA order_event
|> DEDUP BY id, version WITHIN '1 day'
|> INSERT INTO bus.{} KEY (id);
",
        old.name,
        live.name,
        to.name,
        brokers = bus.brokers()
    );
    let mut scattered = |id: i64, version: i64| {
        let row = json!({"id": id, "version": version, "amount": id % 97});
        Record::new("", &row.to_string()).partition(chance.below(4) as i32).time(now())
    };
    old.produce(&(0..rows).map(|id| scattered(id, 1)).collect::<Vec<_>>());
    // Before the history begins: none of ours.
    live.produce(&(0..40).map(|id| scattered(id, 9)).collect::<Vec<_>>());
    let desks = [Desk::with(&job), Desk::with(&job)];
    let [mut first, mut second] = [0, 1].map(|desk: usize| desks[desk].start(&RUN));
    // Then it is committed, for each task, where its partitions of the live topic begin.
    let begun = |desk: &Desk| {
        let sql = format!("SELECT pipeline FROM backfills WHERE \"rows\" > 0 AND pipeline LIKE '{name}._'");
        desk.query(&sql).iter().map(|row| row["pipeline"].to_string()).collect::<BTreeSet<_>>()
    };
    first.address();
    second.address();
    second.until("both tasks have begun", |_| {
        &begun(&desks[0]) | &begun(&desks[1]) == [0, 1].map(|task| format!("\"{name}.{task}\"")).into()
    });
    live.produce(&(0..edits).map(|id| scattered(id * 7, 2)).collect::<Vec<_>>());
    assert!(first.kill(), "it runs until it is killed");
    let row = |id: i64, version: i64| json!({"id": id, "version": version, "amount": id % 97}).to_string();
    let mut expected: Vec<String> = (0..rows).map(|id| row(id, 1)).chain((0..edits).map(|id| row(id * 7, 2))).collect();
    expected.sort();
    let found = || {
        let read = to.read(Isolation::Committed);
        let value = |record: &Record| serde_json::from_str::<Value>(&record.text()).expect("JSON").to_string();
        let mut rows: Vec<String> = read.iter().map(value).collect();
        rows.sort();
        rows
    };
    second.until("all of it is there", |_| found().len() >= expected.len());
    look::same("the topic", &found(), &expected);
    let mut told = vec![];
    let sql = format!("SELECT state, phase, rows_total, \"rows\" AS n FROM backfills WHERE pipeline LIKE '{name}._'");
    second.until("nothing is on its way", |_| {
        told = desks[1].query(&sql);
        told.len() == 2 && told.iter().all(|row| row["phase"].is_null())
    });
    second.stop().expect(0);
    assert!(told.iter().all(|row| row["state"] == "done" && row["rows_total"] == row["n"]), "{clause}: {told:?}");
    assert_eq!(
        told.iter().filter_map(|row| row["n"].as_i64()).sum::<i64>(),
        rows,
        "each record of it was read by one task, once"
    );
    (0..2).for_each(|task| drop(desks[1].books(&format!("{name}.{task}"))));
}
