//! A pipeline of several tasks whose steps need rows of one key together, wherever their partitions lie: rows hop to the task that has their key.
//!
//! Records are scattered over the partitions of their topic without any rule. A desk is a machine: it has a data folder of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    chance::{Chance, soak},
    desk::{Desk, Running, patience},
    kafka::{self, Bus, Isolation, Leader, Record, Topic},
    look,
    promises::figure,
    topics::{RUN, feed_until, now},
};

/// Partitions of the input, and tasks.
const PARTITIONS: i32 = 4;

/// Of two tasks, each has one of them.
const REGIONS: [&str; 2] = ["north", "south"];

/// Repeats of `id` are dropped, wherever they lie; each `region` has one running list of what it kept, in one partition.
fn job(bus: &Bus, from: &Topic, to: &Topic) -> (String, String) {
    let name = format!("h_{}", from.name);
    let text = format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000,
                      changelog = 'bus', tasks = 3) AS
FROM bus.{}
|> WHERE amount > 0
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, CAST(region AS STRING) AS region, CAST(amount AS BIGINT) AS amount
|> UPSERT INTO bus.{} KEY (id);
",
        bus.brokers(),
        from.name,
        to.name
    );
    (name, text)
}

/// Records of which one in five is a repeat of an earlier one, in any partition.
fn scattered(count: usize, seed: u64) -> Vec<Record> {
    let mut chance = Chance::of(seed);
    let mut records: Vec<Record> = vec![];
    for number in 0..count {
        let value = match records.last() {
            Some(_) if chance.below(5) == 0 => records[chance.below(records.len() as u64) as usize].text(),
            _ => {
                let region = ["north", "south", "east", "west", "centre"][chance.below(5) as usize];
                json!({"id": format!("e{number}"), "region": region, "amount": chance.below(100)}).to_string()
            }
        };
        // A broker throws away what is old, also before it is read.
        records.push(Record::new("", &value).partition(chance.below(PARTITIONS as u64) as i32).time(now()));
    }
    records
}

fn value(record: &Record) -> Value {
    serde_json::from_str(&record.text()).expect("JSON")
}

/// What must come out: every id once.
fn expected(input: &[Record]) -> Vec<String> {
    let kept = input.iter().map(value).filter(|row| row["amount"].as_i64() > Some(0));
    let rows: BTreeSet<String> = kept.map(|row| row.to_string()).collect();
    rows.into_iter().collect()
}

fn rows(topic: &Topic) -> Vec<String> {
    let mut rows: Vec<String> =
        topic.read(Isolation::Committed).iter().map(|record| value(record).to_string()).collect();
    rows.sort();
    rows
}

fn until_it_is_there(topic: &Topic, expected: &[String]) {
    let began = std::time::Instant::now();
    while rows(topic).len() < expected.len() && began.elapsed() < patience() {
        thread::sleep(Duration::from_millis(300));
    }
    look::same("the topic", &rows(topic), expected);
}

fn works(running: &Running) -> bool {
    running.err().contains("started")
}

#[test]
fn keys_that_lie_in_several_partitions_come_to_one_task() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", PARTITIONS), bus.topic("to", 2));
    let (name, job) = job(&bus, &from, &to);
    let input = scattered(4_000, 5);
    let (first, second) = input.split_at(1_500);
    let desk = Desk::with(&job);
    from.produce(first);
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &rows(&to), &expected(first));
    // A later run takes what is new, and knows what was there.
    from.produce(second);
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &rows(&to), &expected(&input));
    for task in 0..3 {
        desk.books(&format!("{name}.{task}"));
        desk.books(&format!("{name}.dedup.{task}"));
    }
    let hop = bus.existing(&format!("syncline.{name}.dedup.repartition"));
    assert_eq!(hop.partitions(), 3);
    let settings = hop.settings();
    assert_eq!((settings["cleanup.policy"].as_str(), settings["retention.ms"].as_str()), ("delete", "-1"));
    // Another machine goes on with what is there.
    let other = Desk::with(&job);
    other.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &rows(&to), &expected(&input));
}

#[test]
fn soak_two_processes_that_are_killed_lose_and_repeat_nothing_behind_a_hop() {
    let (mut chance, seed) = Chance::told("hops");
    let (count, kills) = if soak() { (400_000, 100) } else { (20_000, 6) };
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", PARTITIONS), bus.topic("to", 2));
    let (name, job) = job(&bus, &from, &to);
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), scattered(count, seed));
    let desks = [Desk::with(&job), Desk::with(&job)];
    let mut running: Vec<Option<Running>> = desks.iter().map(|desk| Some(desk.start(&RUN))).collect();
    for _ in 0..kills {
        let one = chance.below(2) as usize;
        let mut killed = running[one].take().expect("it was started again");
        killed.until("it works", |running| works(running));
        thread::sleep(Duration::from_millis(500 + chance.below(2_500)));
        assert!(killed.kill(), "it runs until it is killed");
        running[one] = Some(desks[one].start(&RUN));
    }
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    if std::panic::catch_unwind(|| until_it_is_there(&to, &expected(&input))).is_err() {
        let told: Vec<String> = running.iter().flatten().map(Running::err).map(|err| err.to_string()).collect();
        for desk in &desks {
            let told: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
            for one in told["pipelines"].as_array().expect("pipelines") {
                eprintln!("{} {} {} {}", one["pipeline"], one["state"], one["trouble"], one["reason"]);
            }
        }
        panic!("not all came; what the processes said:\n{}", told.join("\n-----\n"));
    }
    running.into_iter().flatten().for_each(|running| drop(running.stop().expect(0)));
    look::same("the topic", &rows(&to), &expected(&input));
    // Every record is in the books of the tasks that read it, once; and every row that hopped in those behind.
    let last = Desk::with(&job);
    last.ok(&["run", "orders.sync", "--once"]);
    let read = |stage: &str| {
        let sum = "SELECT sum(rows_in) AS n FROM runs WHERE pipeline LIKE";
        last.value(&format!("{sum} '{name}{stage}'")).as_u64().unwrap_or_default()
    };
    let kept = input.iter().filter(|record| value(record)["amount"].as_i64() > Some(0)).count();
    assert_eq!((read("._"), read(".dedup._")), (input.len() as u64, kept as u64));
    figure(
        "soak_two_processes_that_are_killed_lose_and_repeat_nothing_behind_a_hop",
        &format!("{kills} kills, {} records in, {} out, none lost or twice", input.len(), rows(&to).len()),
    );
}

/// Processes that are killed in the middle of a round of the group left this behind: a group at rest, and a task that is in no list.
#[test]
fn a_task_that_the_group_gives_to_nobody_is_taken_by_who_waits_for_it() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 1));
    let name = format!("n_{}", from.name);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', changelog = 'bus', tasks = 3) AS
FROM bus.{} |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO bus.{} KEY (id);
",
        bus.brokers(),
        from.name,
        to.name
    ));
    from.produce(&(0..3).map(|id| Record::new("", &json!({"id": id}).to_string()).partition(id)).collect::<Vec<_>>());
    let changelog = format!("syncline.{name}.changelog");
    let mut leader = Leader::join(&bus, &format!("{changelog}.workers"), &changelog);
    let mut running = desk.start(&RUN);
    running.until("the process is in the group", |_| leader.is_asked());
    let first = leader.round(&[0, 1], |_| vec![]);
    running.until("it comes again under another name", |_| leader.is_asked());
    let again = leader.round(&[0, 1], |_| vec![2]);
    assert_eq!(again, first.iter().map(|name| format!("{name}.1")).collect::<Vec<_>>());
    running.until("the task's record is there", |_| !leader.is_asked() && !rows(&to).is_empty());
    assert_eq!(rows(&to), [r#"{"id":2}"#]);
    running.stop().expect(0);
}

/// A record each second, of which every seventh is told twice.
fn timed(count: i64) -> Vec<Record> {
    let record = |second: i64, partition: i64| {
        let (minute, second) = (second / 60, second % 60);
        let at = format!("2026-11-20T10:{minute:02}:{second:02}Z");
        let region = ["north", "south", "east"][((minute * 60 + second) % 3) as usize];
        let row = json!({"id": minute * 60 + second, "region": region, "amount": second, "at": at});
        Record::new("", &row.to_string()).partition((partition % i64::from(PARTITIONS)) as i32).time(now())
    };
    let all = (0..count).flat_map(|second| {
        let twice = (second % 7 == 0).then(|| record(second, second + 1));
        [record(second, second)].into_iter().chain(twice)
    });
    all.collect()
}

#[test]
fn windows_behind_two_hops_are_those_of_one_task() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", PARTITIONS), bus.topic("to", 1));
    let job = |name: &str, to: &Topic, tasks: &str| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');
SCHEMA event (id BIGINT NOT NULL, region STRING NOT NULL, amount BIGINT, at TIMESTAMP NOT NULL,
              WATERMARK FOR at AS at - INTERVAL '10 seconds');
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', changelog = 'bus'{tasks}) AS
FROM bus.{} SCHEMA event
|> DEDUP BY id WITHIN '1 hour'
|> AGGREGATE SUM(amount) AS total, COUNT(*) AS n GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region
|> INSERT INTO bus.{} KEY (region);
",
            bus.brokers(),
            from.name,
            to.name
        )
    };
    let one = bus.topic("one", 1);
    from.produce(&timed(600));
    let alone = Desk::with(&job(&format!("a_{}", from.name), &one, ""));
    alone.ok(&["run", "orders.sync", "--once"]);
    let several = Desk::with(&job(&format!("s_{}", from.name), &to, ", tasks = 3"));
    // Windows close while it runs, but for the last that records reach.
    let mut running = several.start(&RUN);
    let closed = |topic: &Topic| {
        rows(topic).into_iter().filter(|row| !row.contains("10:09:") && !row.contains("10:08:")).collect::<Vec<_>>()
    };
    running.until("windows are closed", |_| closed(&to).len() >= 24);
    look::same("what closes while it runs", &closed(&to), &closed(&one));
    running.stop().expect(0);
    several.ok(&["run", "orders.sync", "--once"]);
    look::same("the windows", &rows(&to), &rows(&one));
    let n: i64 =
        rows(&to).iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON")["n"].as_i64().unwrap_or(0)).sum();
    assert_eq!(n, 600);
}

/// Rows of two tasks, each the first of its own, were taken for one input: the group kept both.
#[test]
fn the_first_rows_of_two_tasks_are_two_inputs_of_a_group() {
    let bus = kafka::shared();
    let from = bus.topic("from", PARTITIONS);
    let name = format!("g_{}", from.name);
    let job = |tasks: &str| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');
SCHEMA event (region STRING NOT NULL, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at);
PIPELINE {name}{} WITH (changelog = 'bus'{tasks}) AS
FROM bus.{} SCHEMA event
|> AGGREGATE COUNT(*) AS n GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region
|> REPLACE INTO sqlite('shop.db', 'last') PER minute;
",
            bus.brokers(),
            tasks.len(),
            from.name
        )
    };
    let event = |region: &str| Record::new("", &json!({"region": region, "at": "2026-11-20T10:00:00Z"}).to_string());
    from.produce(&REGIONS.map(|region| event(region).partition(0)));
    let groups = |tasks: &str| {
        let desk = Desk::with(&job(tasks));
        desk.ok(&["run", "orders.sync", "--once"]);
        let made = desk.query("SELECT rows_out FROM steps WHERE step = 'aggregate' AND rows_out > 0");
        let count = look::sqlite(&desk.path("shop.db"), "SELECT COUNT(*) FROM last");
        (made.len(), count)
    };
    let (alone, one) = groups("");
    let (several, two) = groups(", tasks = 2");
    assert_eq!((alone, several), (1, 2), "each region has a task of its own");
    assert_eq!((one, two), (vec![vec!["1".to_owned()]], vec![vec!["1".to_owned()]]));
}

#[test]
fn a_dead_letter_behind_a_hop_has_the_bytes_and_the_place_of_its_record() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", PARTITIONS), bus.topic("to", 1));
    let name = format!("d_{}", from.name);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (changelog = 'bus', tasks = 3) AS
FROM bus.{}
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, CAST(amount AS BIGINT) AS amount
|> INSERT INTO bus.{} KEY (id);
",
        bus.brokers(),
        from.name,
        to.name
    ));
    let bad = r#"{"id":  "x",  "amount": "a lot"}"#;
    from.produce(&[
        Record::new("", r#"{"id": "y", "amount": 1}"#).partition(1),
        Record::new("", bad).partition(1).header("by", "hand"),
    ]);
    desk.ok(&["run", "orders.sync", "--once"]);
    let dead: BTreeMap<String, Value> = desk
        .query("SELECT step, source, record_offset, text, headers FROM dead_letters")
        .into_iter()
        .flat_map(|row| row.as_object().cloned().unwrap_or_default())
        .collect();
    assert_eq!(dead["text"], bad, "{dead:?}");
    assert_eq!((dead["step"].as_str(), dead["record_offset"].as_i64()), (Some("select"), Some(1)), "{dead:?}");
    assert!(dead["source"].to_string().contains(&from.name), "{dead:?}");
    assert!(dead["headers"].to_string().contains("hand"), "{dead:?}");
}

/// The record and its list went along with each of its 4,000 rows: gigabytes in one frame.
#[test]
fn a_long_record_of_many_elements_goes_through_a_hop_as_it_is_long() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let name = format!("u_{}", from.name);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (changelog = 'bus', tasks = 3) AS
FROM bus.{}
|> EXTEND UNNEST(items) AS item
|> DEDUP BY item WITHIN '1 day'
|> EXPECT item <> 'none' AS real ON VIOLATION DEAD LETTER
|> SELECT CAST(item AS STRING) AS item
|> INSERT INTO bus.{} KEY (item);
",
        bus.brokers(),
        from.name,
        to.name
    ));
    let items: Vec<String> = (0..4_000).map(|n| format!("\"{n:0200}\"")).collect();
    let record = format!(r#"{{"id": 1, "items": [{}, "none"]}}"#, items.join(", "));
    from.produce(&[Record::new("", &record)]);
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!(rows(&to).len(), 4_000);
    let dead = desk.query("SELECT length(text) AS n, text LIKE '%\"none\"]}' AS whole FROM dead_letters");
    assert_eq!(dead, [json!({"n": record.len(), "whole": true})]);
}

#[test]
fn a_pipeline_that_starts_over_begins_with_an_empty_hop() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", PARTITIONS), bus.topic("to", 2));
    let (_, job) = job(&bus, &from, &to);
    let input = scattered(800, 9);
    from.produce(&input);
    let desk = Desk::with(&job);
    desk.ok(&["run", "orders.sync", "--once"]);
    desk.ok(&["run", "orders.sync", "--once", "--fresh"]);
    // Rows of an UPSERT are written again.
    let again: Vec<String> = expected(&input).into_iter().flat_map(|row| [row.clone(), row]).collect();
    look::same("the topic", &rows(&to), &again);
    // Another number of tasks would find each other's state.
    let said = Desk::with(&job.replace("tasks = 3", "tasks = 2")).say(&["run", "orders.sync", "--once"]).expect(1);
    let told = "its topic has 3 partitions, and the pipeline has `tasks = 2`: write `tasks = 3`";
    assert!(said.err.contains(told), "{}", said.err);
}
