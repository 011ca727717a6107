//! What a pipeline keeps lies in Kafka: a machine may be lost, and another one goes on; of several, one works and the others stand by.
//!
//! A desk is a machine: it has a data folder of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, PATIENCE, Running},
    kafka::{self, Bus, Isolation, Record, Topic},
    look,
    postgres::shared,
    promises::figure,
    topics::{RUN, expect_order, expected, feed_until, found, orders, rows, until_all_is_there},
};

/// A machine is silent for so long before its tasks are another's (`session.timeout.ms`).
const SESSION: Duration = Duration::from_secs(6);

/// The job of `orders.py`, and its name, which its changelog has too: no other test may have it.
fn job(bus: &Bus, from: &Topic, to: &Topic, options: &str) -> (String, String) {
    let name = format!("p_{}", from.name);
    let text = format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000{options}) AS
FROM bus.{}
|> WHERE status = 'paid' AND amount >= 10
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents, substr(created_at, 1, 10) AS day
|> INSERT INTO bus.{} KEY (customer);
",
        bus.brokers(),
        from.name,
        to.name
    );
    (name, text)
}

const CHANGELOG: &str = ", changelog = 'bus'";

#[test]
fn soak_each_kill_takes_the_machine_along_and_everything_comes_once() {
    let (mut chance, seed) = Chance::told("machines");
    let (count, kills) = if soak() { (1_000_000, 200) } else { (60_000, 6) };
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 2));
    let (name, job) = job(&bus, &from, &to, CHANGELOG);
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(count, seed, 3));
    for _ in 0..kills {
        let machine = Desk::with(&job);
        let mut running = machine.start(&RUN);
        running.until("it works", |running| works(running));
        thread::sleep(Duration::from_millis(chance.below(1_500)));
        assert!(running.kill(), "a process that reads a topic runs until it is killed");
    }
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    let last = Desk::with(&job);
    last.ok(&["run", "orders.sync", "--once"]);
    let output = to.read(Isolation::Committed);
    look::same("the topic", &rows(&output), &expected(&input));
    expect_order(&input, &output);
    // The books of all machines are one.
    assert_eq!(last.value("SELECT sum(rows_in) AS n FROM runs"), Value::from(input.len()));
    last.books(&name);
    figure(
        "soak_each_kill_takes_the_machine_along_and_everything_comes_once",
        &format!("{kills} machines lost, {} records in, {} out, none lost or twice", input.len(), output.len()),
    );
}

/// Machines come and go; the tables stay where they are, and hold the place in the outbox that the changelog carries on.
#[test]
fn soak_tables_of_databases_have_each_row_once_when_the_machine_is_lost() {
    let (mut chance, seed) = Chance::told("tables");
    let (count, kills) = if soak() { (200_000, 40) } else { (20_000, 3) };
    let (bus, database, folder) = (kafka::shared(), shared().database(), tempfile::tempdir().expect("a folder"));
    let (from, file) = (bus.topic("from", 3), folder.path().join("shop.db"));
    let (name, topic) = job(&bus, &from, &from, CHANGELOG);
    let steps = topic.split("|> INSERT INTO bus.").next().expect("the steps before the sink");
    let text = format!(
        "CONNECTION shop TO postgres WITH (url = '{}');
{steps}|> TEE (|> INSERT INTO shop.added)
|> TEE (|> INSERT INTO sqlite('{}', 'added'))
|> UPSERT INTO shop.orders KEY (id);
",
        database.url(),
        file.display()
    );
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(count, seed, 3));
    for _ in 0..kills {
        let machine = Desk::with(&text);
        let mut running = machine.start(&RUN);
        running.until("it works", |running| works(running));
        thread::sleep(Duration::from_millis(chance.below(1_500)));
        assert!(running.kill(), "a process that reads a topic runs until it is killed");
    }
    over.store(true, Ordering::Relaxed);
    let expected = expected(&feed.join().expect("every record is acknowledged"));
    let last = Desk::with(&text);
    last.ok(&["run", "orders.sync", "--once"]);
    let columns = "SELECT id, customer, cents, day FROM";
    for table in ["added", "orders"] {
        let mut rows = database.sql(&format!("{columns} {table}"));
        rows.sort();
        look::same(table, &rows, &expected);
    }
    let mut rows: Vec<String> =
        look::sqlite(&file, &format!("{columns} added")).iter().map(|row| row.join("|")).collect();
    rows.sort();
    look::same("the table of SQLite", &rows, &expected);
    last.books(&name);
    let shown = format!("{kills} machines lost, {} rows in each of three tables, none lost or twice", expected.len());
    figure("soak_tables_of_databases_have_each_row_once_when_the_machine_is_lost", &shown);
}

fn works(running: &Running) -> bool {
    running.err().contains("started")
}

#[test]
fn one_works_and_one_stands_by_until_the_first_is_silent_and_a_zombie_writes_nothing() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 2), bus.topic("to", 2));
    let (name, job) = job(&bus, &from, &to, &format!("{CHANGELOG}, standby = true"));
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(20_000, 11, 2));
    let (first, second) = (Desk::with(&job), Desk::with(&job));
    let mut one = first.start(&RUN);
    one.until("it works", |one| works(one));
    let mut other = second.start(&RUN);
    other.address();
    let state = |desk: &Desk| {
        let status: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
        status.to_string().contains("\"standby\"")
    };
    other.until("it stands by", |_| state(&second));
    assert!(!works(&other), "{}", other.err());
    one.signal("STOP");
    let silent = Instant::now();
    other.until("it takes over", |other| works(other));
    assert!(silent.elapsed() < SESSION + Duration::from_secs(10), "{:?}", silent.elapsed());
    let written = || to.ends(Isolation::Committed).iter().sum::<i64>();
    let before = written();
    other.until("it writes", |_| written() > before);
    one.signal("CONT");
    one.until("it finds that it is not wanted", |one| one.err().contains("another process works on it now"));
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    until_all_is_there(&to, &expected(&input), PATIENCE);
    expect_order(&input, &to.read(Isolation::Committed));
    other.stop().expect(0);
    one.stop().expect(0);
    // One of them has the last word; its books are those of all.
    let taken = |desk: &Desk| desk.value("SELECT sum(rows_in) AS n FROM runs").as_u64().unwrap_or_default();
    let last = if taken(&first) > taken(&second) { &first } else { &second };
    assert_eq!(taken(last), input.len() as u64);
    last.books(&name);
}

#[test]
fn soak_workers_that_come_and_go_hand_their_tasks_on() {
    let (mut chance, seed) = Chance::told("workers");
    let (count, rounds) = if soak() { (200_000, 60) } else { (10_000, 4) };
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 4), bus.topic("to", 2));
    let (_, job) = job(&bus, &from, &to, CHANGELOG);
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(count, seed, 4));
    let desks = [Desk::with(&job), Desk::with(&job), Desk::with(&job)];
    let mut running: Vec<Option<Running>> = desks.iter().map(|desk| Some(desk.start(&RUN))).collect();
    for _ in 0..rounds {
        thread::sleep(Duration::from_secs(2));
        let worker = chance.below(desks.len() as u64) as usize;
        match running[worker].take() {
            Some(gone) if chance.below(2) == 0 => drop(gone.stop().expect(0)),
            Some(gone) => assert!(gone.kill(), "it runs until it is killed"),
            None => {}
        }
        running[worker] = Some(desks[worker].start(&RUN));
    }
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    until_all_is_there(&to, &expected(&input), PATIENCE);
    expect_order(&input, &to.read(Isolation::Committed));
    running.into_iter().flatten().for_each(|running| drop(running.stop().expect(0)));
    figure(
        "soak_workers_that_come_and_go_hand_their_tasks_on",
        &format!("{rounds} stops and kills, one each 2 s, {} records in, none lost or twice", input.len()),
    );
}

#[test]
fn a_folder_and_a_changelog_that_do_not_belong_together_are_told_and_left_alone() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let (_, with) = job(&bus, &from, &to, CHANGELOG);
    let without = with.replace(CHANGELOG, "");
    let input = orders(200, 3, 1);
    from.produce(&input);
    let desk = Desk::with(&without);
    desk.ok(&["run", "orders.sync", "--once"]);
    let refused = |desk: &Desk| {
        let said = desk.say(&["run", "orders.sync", "--once"]).expect(3);
        assert!(said.err.contains("is not the one of this data folder"), "{}", said.err);
    };
    desk.write("orders.sync", &with);
    refused(&desk);
    // The folder goes on as it was.
    desk.write("orders.sync", &without);
    desk.ok(&["run", "orders.sync", "--once"]);
    // And a copy of a changelog does not go on without it.
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let (_, with) = job(&bus, &from, &to, CHANGELOG);
    from.produce(&input);
    let desk = Desk::with(&with);
    desk.ok(&["run", "orders.sync", "--once"]);
    desk.write("orders.sync", with.replace(CHANGELOG, ""));
    refused(&desk);
    desk.write("orders.sync", &with);
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &found(&to), &expected(&input));
}

/// Rows are taken as they are, by tasks that have nothing to say to each other.
fn passing(bus: &Bus, from: &Topic, to: &Topic, options: &str) -> String {
    format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE p_{} WITH (changelog = 'bus'{options}) AS
FROM bus.{} |> SELECT CAST(n AS BIGINT) AS n |> INSERT INTO bus.{};
",
        bus.brokers(),
        from.name,
        from.name,
        to.name
    )
}

/// Of today: brokers forget what is a week old.
fn numbers(range: std::ops::Range<i32>, partition: i32) -> Vec<Record> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    range.map(|n| Record::new("", &format!(r#"{{"n":{n}}}"#)).partition(partition).time(now)).collect()
}

/// Waits until as many records are there, and says which.
fn until_there(topic: &Topic, count: i32) {
    let began = Instant::now();
    let read = || {
        let mut found: Vec<i64> = topic.read(Isolation::Committed).iter().map(number).collect();
        found.sort_unstable();
        found
    };
    while read().len() < count as usize && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(read(), (0..i64::from(count)).collect::<Vec<_>>());
}

fn number(record: &Record) -> i64 {
    let row: Value = serde_json::from_str(&record.text()).expect("JSON");
    row["n"].as_i64().expect("a number")
}

#[test]
fn another_number_of_tasks_is_refused_and_nothing_is_read() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 1));
    (0..3).for_each(|partition| from.produce(&numbers(partition * 10..partition * 10 + 10, partition)));
    let two = passing(&bus, &from, &to, ", tasks = 2");
    let desk = Desk::with(&two);
    desk.ok(&["run", "orders.sync", "--once"]);
    // Of several tasks that are given up each is told.
    for (options, code) in [(", tasks = 3", 1), ("", 3), (", tasks = 1, standby = true", 3)] {
        let elsewhere = Desk::with(&passing(&bus, &from, &to, options));
        for desk in [&desk, &elsewhere] {
            desk.write("orders.sync", passing(&bus, &from, &to, options));
            let said = desk.say(&["run", "orders.sync", "--once"]).expect(code);
            let told = "its topic has 2 partitions, and the pipeline has";
            assert!(said.err.contains(told) && said.err.contains("write `tasks = 2`"), "{options}: {}", said.err);
        }
    }
    from.produce(&numbers(30..40, 2));
    desk.write("orders.sync", two);
    desk.ok(&["run", "orders.sync", "--once"]);
    until_there(&to, 40);
}

#[test]
fn a_task_without_a_partition_is_given_the_one_that_comes_later() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 2), bus.topic("to", 1));
    from.produce(&numbers(0..10, 0));
    let desk = Desk::with(&passing(&bus, &from, &to, ", tasks = 3"));
    let running = desk.start(&RUN);
    until_there(&to, 10);
    from.grow(3);
    from.produce(&numbers(10..20, 2));
    until_there(&to, 20);
    drop(running.stop().expect(0));
}
