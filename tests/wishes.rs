//! What is asked of one of the processes that run a pipeline: all of them take their part in, exactly once, whoever is killed.
//!
//! A desk is a machine: it has a data folder of its own.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    desk::{Desk, Running},
    kafka::{self, Broker, Bus, Isolation, Record, Topic},
    look,
    topics::{RUN, now},
};

/// How long the rows of a backfill that is held are looked at.
const HELD: Duration = Duration::from_secs(2);

/// Takes its time with each row, so that a few thousand of them are some seconds.
const SLOW: &str = "|> SELECT id, levenshtein(repeat('ab', 100), repeat('ba', 100 + id % 2)) AS distance ";

struct Job {
    name: String,
    text: String,
    old: Topic,
    live: Topic,
    to: Topic,
    bus: Bus,
}

impl Job {
    /// Rows pass as they are, so that one that comes twice is there twice.
    fn new(bus: &Bus, tasks: u32, steps: &str) -> Job {
        let (old, live, to) = (bus.topic("old", 6), bus.topic("live", 6), bus.topic("to", 2));
        let name = format!("w_{}", old.name);
        let text = format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');
SCHEMA event (id BIGINT NOT NULL, amount BIGINT NOT NULL);
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000,
                      changelog = 'bus', tasks = {tasks}) AS
FROM bus.{} SCHEMA event {steps}|> INSERT INTO bus.{};
",
            bus.brokers(),
            live.name,
            to.name
        );
        Job { name, text, old, live, to, bus: bus.clone() }
    }

    /// What is asked for: all that a topic has.
    fn all_of(&self, topic: &Topic) -> String {
        format!("kafka('{}', brokers => '{}', until => 'latest')", topic.name, self.bus.brokers())
    }

    fn ask<'a>(&'a self, verb: &'a str) -> [&'a str; 3] {
        ["backfill", verb, &self.name]
    }

    fn start(&self, desk: &Desk, source: &str) {
        desk.ok(&["backfill", "start", &self.name, source]);
    }

    /// How the newest one stands, as this machine knows it.
    fn stands(&self, desk: &Desk) -> Value {
        let sql = format!("SELECT * FROM backfills WHERE pipeline = '{}' ORDER BY number DESC LIMIT 1", self.name);
        desk.query(&sql).pop().unwrap_or_default()
    }

    fn until_done(&self, desk: &Desk, running: &mut Running) -> Value {
        let mut told = Value::Null;
        running.until("the backfill is read", |_| {
            told = self.stands(desk);
            told["state"] == "done"
        });
        told
    }

    /// The ids of what came out, in order.
    fn found(&self) -> Vec<String> {
        let id = |record: &Record| serde_json::from_str::<Value>(&record.text()).expect("JSON")["id"].to_string();
        let mut ids: Vec<String> = self.to.read(Isolation::Committed).iter().map(id).collect();
        ids.sort();
        ids
    }

    fn until_there(&self, running: &mut Running, ids: impl Iterator<Item = i64>) {
        let mut expected: Vec<String> = ids.map(|id| id.to_string()).collect();
        expected.sort();
        running.until("all of it is there", |_| self.found().len() >= expected.len());
        look::same("the topic", &self.found(), &expected);
    }
}

fn rows(ids: std::ops::Range<i64>) -> Vec<Record> {
    let row = |id: i64| Record::new("", &json!({"id": id, "amount": id % 97}).to_string());
    ids.map(|id| row(id).partition((id % 6) as i32).time(now())).collect()
}

fn begun(running: &mut Running) {
    running.address();
    running.until("it works", |running| running.err().contains("started"));
}

/// The rows of each task that this machine works on.
fn by_task(job: &Job, desk: &Desk) -> Vec<(String, i64)> {
    let sql = format!(
        "SELECT pipeline, \"rows\" AS n FROM backfills WHERE pipeline LIKE '{}._' AND tasks_here = 1 AND \"rows\" > 0 ORDER BY pipeline",
        job.name
    );
    let row = |row: &Value| (row["pipeline"].to_string(), row["n"].as_i64().unwrap_or_default());
    desk.query(&sql).iter().map(row).collect()
}

#[test]
fn what_was_asked_goes_on_with_another_machine_when_the_one_that_was_asked_is_lost() {
    const ROWS: i64 = 3_000;
    let job = Job::new(&kafka::shared(), 1, SLOW);
    job.old.produce(&rows(0..ROWS));
    let lost = Desk::with(&job.text);
    let mut running = lost.start(&RUN);
    begun(&mut running);
    job.live.produce(&rows(ROWS..ROWS + 10));
    job.start(&lost, &job.all_of(&job.old));
    running.until("some of it is read", |_| job.stands(&lost)["rows"].as_i64() > Some(0));
    assert!(running.kill(), "it runs until it is killed");
    let read = job.stands(&lost)["rows"].as_i64();
    assert!(read < Some(ROWS), "it was read before the machine was lost: {read:?}");
    // Nobody changes what it was asked by a folder: the others would not know.
    let said = lost.say(&job.ask("cancel")).expect(1);
    assert!(said.err.contains("has a changelog"), "{}", said.err);
    let desk = Desk::with(&job.text);
    let mut running = desk.start(&RUN);
    begun(&mut running);
    let told = job.until_done(&desk, &mut running);
    job.until_there(&mut running, 0..ROWS + 10);
    assert_eq!((told["number"].as_i64(), told["rows"].as_i64()), (Some(1), Some(ROWS)), "{told}");
    assert!(told["starts"].as_i64() >= Some(2), "it went on where it was: {told}");
    // The next one has the next number, and reads from the beginning.
    job.start(&desk, &job.all_of(&job.live));
    running.until("the second one is read", |_| {
        let told = job.stands(&desk);
        told["number"] == 2 && told["state"] == "done"
    });
    job.until_there(&mut running, (0..ROWS + 10).chain(ROWS..ROWS + 10));
    running.stop().expect(0);
    desk.books(&job.name);
}

#[test]
fn tasks_of_several_processes_take_their_parts_in_and_are_held_from_any_of_them() {
    const ROWS: i64 = 9_000;
    let job = Job::new(&kafka::shared(), 3, SLOW);
    job.old.produce(&rows(0..ROWS));
    let desks = [Desk::with(&job.text), Desk::with(&job.text)];
    let [mut first, mut second] = [0, 1].map(|desk: usize| desks[desk].start(&RUN));
    begun(&mut first);
    begun(&mut second);
    job.start(&desks[0], &job.all_of(&job.old));
    let parts = || [by_task(&job, &desks[0]), by_task(&job, &desks[1])];
    let read = |parts: &[Vec<(String, i64)>; 2]| parts.concat().iter().map(|(_, rows)| rows).sum::<i64>();
    first.until("all have begun", |_| parts().concat().len() == 3);
    desks[1].ok(&job.ask("pause"));
    let paused = |desk: &Desk| job.stands(desk)["state"] == "paused";
    first.until("both know that it is held", |_| desks.iter().all(paused));
    // Whoever did not hear of it at once goes on for as long as a look and a stop take.
    let mut held = parts();
    first.until("nobody reads on", |_| {
        thread::sleep(HELD);
        let before = std::mem::replace(&mut held, parts());
        before == held
    });
    assert!(held.iter().all(|part| !part.is_empty()) && held.concat().len() == 3, "all take part: {held:?}");
    assert!(read(&held) < ROWS, "it was read before it was held: {held:?}");
    thread::sleep(HELD);
    assert_eq!(parts(), held, "it is held everywhere");
    let refused = desks[0].say(&["backfill", "start", &job.name, &job.all_of(&job.old)]).expect(1);
    assert!(refused.err.contains("backfill 1 of") && refused.err.contains("is paused"), "{}", refused.err);
    let told = job.stands(&desks[1]);
    let here = held[1].len() as i64;
    assert_eq!((told["tasks"].as_i64(), told["tasks_here"].as_i64()), (Some(3), Some(here)), "{told}");

    desks[0].ok(&job.ask("resume"));
    second.until("it goes on", |_| read(&parts()) > read(&held));
    assert!(first.kill(), "it runs until it is killed");
    let told = job.until_done(&desks[1], &mut second);
    job.until_there(&mut second, 0..ROWS);
    assert_eq!((told["tasks"].as_i64(), told["tasks_done"].as_i64()), (Some(3), Some(3)), "{told}");
    second.until("all rows are told of here", |_| {
        let told = job.stands(&desks[1]);
        (told["tasks_here"].as_i64(), told["rows"].as_i64()) == (Some(3), Some(ROWS))
    });
    second.stop().expect(0);
    (0..3).for_each(|task| drop(desks[1].books(&format!("{}.{task}", job.name))));
}

/// With a hop in front of a step, whose tasks take no part themselves.
#[test]
fn of_two_processes_that_are_asked_at_once_one_wins_and_the_other_says_so() {
    const ROWS: i64 = 600;
    let bus = kafka::shared();
    let job = Job::new(&bus, 2, "|> DEDUP BY id WITHIN '1 day' ");
    let other = bus.topic("other", 6);
    job.old.produce(&rows(0..ROWS));
    other.produce(&rows(ROWS..2 * ROWS));
    let desks = [Desk::with(&job.text), Desk::with(&job.text)];
    let [mut first, mut second] = [0, 1].map(|desk: usize| desks[desk].start(&RUN));
    begun(&mut first);
    begun(&mut second);
    let sources = [job.all_of(&job.old), job.all_of(&other)];
    let said = thread::scope(|scope| {
        let ask = |at: usize| {
            let (desk, job, source) = (&desks[at], &job, &sources[at]);
            scope.spawn(move || desk.say(&["backfill", "start", &job.name, source]))
        };
        [ask(0), ask(1)].map(|asked| asked.join().expect("an answer"))
    });
    let won: Vec<usize> = (0..2).filter(|at| said[*at].code == Some(0)).collect();
    assert_eq!(won.len(), 1, "{} {}", said[0].err, said[1].err);
    let (won, lost) = (won[0], &said[1 - won[0]]);
    assert!(lost.err.contains("backfill 1 of") && lost.code == Some(1), "{}", lost.err);
    job.until_done(&desks[0], &mut first);
    let told = job.until_done(&desks[1], &mut second);
    assert_eq!((told["number"].as_i64(), &told["source"]), (Some(1), &json!(sources[won])), "{told}");
    let from = won as i64 * ROWS;
    job.until_there(&mut second, from..from + ROWS);
    // Now that one is over, whoever asks gets the next number.
    desks[won].ok(&["backfill", "start", &job.name, &sources[1 - won]]);
    second.until("the other is read", |_| {
        let told = job.stands(&desks[1]);
        told["number"] == 2 && told["state"] == "done"
    });
    job.until_there(&mut second, 0..2 * ROWS);
    first.stop().expect(0);
    second.stop().expect(0);
}

#[test]
fn while_no_broker_answers_nothing_is_asked_and_a_start_waits_and_says_why() {
    let mut broker = Broker::start();
    let job = Job::new(&broker.bus, 1, "");
    job.old.produce(&rows(0..100));
    let desk = Desk::with(&job.text);
    let mut running = desk.start(&RUN);
    begun(&mut running);
    broker.kill();
    let refused = desk.say(&["backfill", "start", &job.name, &job.all_of(&job.old)]).expect(3);
    assert!(refused.err.contains("nobody answers where all processes"), "{}", refused.err);
    assert_eq!(job.stands(&desk), Value::Null);
    running.stop().expect(0);
    let mut running = desk.start(&RUN);
    running.address();
    running.until("it says what it waits for", |running| running.err().contains("it is waited for"));
    broker.restart();
    running.until("it works", |running| running.err().contains("started"));
    job.start(&desk, &job.all_of(&job.old));
    job.until_done(&desk, &mut running);
    job.until_there(&mut running, 0..100);
    running.stop().expect(0);
}

/// It reads what was asked last again, and says so meanwhile.
#[test]
fn a_task_that_starts_over_has_not_read_what_it_has_read_before() {
    const ROWS: i64 = 3_000;
    let job = Job::new(&kafka::shared(), 1, SLOW);
    job.old.produce(&rows(0..ROWS));
    let desk = Desk::with(&job.text);
    let mut running = desk.start(&RUN);
    begun(&mut running);
    job.start(&desk, &job.all_of(&job.old));
    let told = job.until_done(&desk, &mut running);
    assert_eq!(told["tasks_done"].as_i64(), Some(1), "{told}");
    running.stop().expect(0);
    let mut running = desk.start(&[&RUN[..], &["--fresh", "--insert-again"]].concat());
    running.address();
    let mut seen = Value::Null;
    running.until("some of it is read again", |_| {
        seen = job.stands(&desk);
        seen["starts"].as_i64() == Some(1) && (1..ROWS).contains(&seen["rows"].as_i64().unwrap_or_default())
    });
    assert_eq!((seen["state"].as_str(), seen["tasks_done"].as_i64()), (Some("reading"), Some(0)), "{seen}");
    let refused = desk.say(&["backfill", "start", &job.name, &job.all_of(&job.live)]).expect(1);
    assert!(refused.err.contains("is reading"), "{}", refused.err);
    let told = job.until_done(&desk, &mut running);
    assert_eq!((told["tasks_done"].as_i64(), told["rows"].as_i64()), (Some(1), Some(ROWS)), "{told}");
    job.until_there(&mut running, (0..ROWS).chain(0..ROWS));
    running.stop().expect(0);
}

/// Another process tells meanwhile that the task has read it, as long as it works on the task itself.
#[test]
fn a_task_that_starts_over_where_another_process_was_says_that_it_has_not_read_it() {
    const ROWS: i64 = 6_000;
    let job = Job::new(&kafka::shared(), 1, SLOW);
    job.old.produce(&rows(0..ROWS));
    let desks = [Desk::with(&job.text), Desk::with(&job.text)];
    let mut first = desks[0].start(&RUN);
    begun(&mut first);
    job.start(&desks[0], &job.all_of(&job.old));
    job.until_done(&desks[0], &mut first);
    let mut second = desks[1].start(&[&RUN[..], &["--fresh", "--insert-again"]].concat());
    second.address();
    second.until("it is told again who has read it", |_| {
        let told = job.stands(&desks[1]);
        (told["state"].as_str(), told["tasks_here"].as_i64()) == (Some("done"), Some(0))
    });
    first.stop().expect(0);
    let mut seen = Value::Null;
    second.until("all know that it is read again", |_| {
        seen = job.stands(&desks[1]);
        let read = seen["rows"].as_i64().unwrap_or_default();
        assert!(read < ROWS, "it was never said that it is read again: {seen}");
        seen["starts"].as_i64() == Some(1) && read > 0 && seen["state"] == "reading"
    });
    let refused = desks[1].say(&["backfill", "start", &job.name, &job.all_of(&job.live)]).expect(1);
    assert!(refused.err.contains("is reading"), "{}", refused.err);
    let told = job.until_done(&desks[1], &mut second);
    assert_eq!((told["tasks_done"].as_i64(), told["rows"].as_i64()), (Some(1), Some(ROWS)), "{told}");
    job.until_there(&mut second, (0..ROWS).chain(0..ROWS));
    second.stop().expect(0);
}
