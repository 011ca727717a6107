//! What goes in, what must come out, and what did.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    chance::Chance,
    desk::{Desk, patience},
    kafka::{Bus, Isolation, Record, Topic},
    look,
};

/// Partitions of the input, and of the outputs.
const IN: i32 = 3;
const OUT: i32 = 4;
const KEYS: u64 = 50;
/// A repeat is one of so many inputs before it.
const REPEATED: u64 = 300;
/// Milliseconds between the times of two inputs: ten times as fast as they are sent, so that windows close while they are.
const STEP: i64 = 5;
/// Inputs have times from so many milliseconds ago on: none is ahead of the clock, however many there are.
const AGO: i64 = 3 * 3_600_000;
/// Milliseconds of a window.
const WINDOW: i64 = 1_000;

#[derive(Clone, Debug)]
pub struct Input {
    id: usize,
    key: u64,
    /// Its number among those of its key.
    number: u64,
    amount: u64,
    parts: u64,
    /// Milliseconds since 1970.
    time: i64,
}

impl Input {
    fn record(&self) -> Record {
        let Input { id, key, number, amount, parts, time } = self;
        let parts: Vec<u64> = (0..*parts).collect();
        let value = format!(r#"{{"id":{id},"k":"k{key}","n":{number},"a":{amount},"parts":{parts:?}}}"#);
        Record::new(&format!("k{key}"), &value).partition((key % IN as u64) as i32).time(*time)
    }
}

/// Makes inputs without an end; the same from the same seed, but for their times.
struct Maker {
    chance: Chance,
    began: i64,
    made: Vec<Input>,
    numbers: BTreeMap<u64, u64>,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64;
        Maker { chance: Chance::of(seed), began: now - AGO, made: vec![], numbers: BTreeMap::new() }
    }

    fn next(&mut self) -> Input {
        let id = self.made.len();
        if id > 0 && self.chance.below(5) == 0 {
            let back = self.chance.below(REPEATED.min(id as u64)) as usize;
            return self.made[id - 1 - back].clone();
        }
        let key = self.chance.below(KEYS);
        let number = self.numbers.entry(key).or_default();
        *number += 1;
        let (amount, parts) = (self.chance.below(1_000), self.chance.below(4));
        let input = Input { id, key, number: *number, amount, parts, time: self.began + id as i64 * STEP };
        self.made.push(input.clone());
        input
    }
}

/// What was sent, in order, and what makes more of it.
pub struct Sent {
    maker: Maker,
    inputs: Vec<Input>,
}

impl Sent {
    pub fn nothing(seed: u64) -> Sent {
        Sent { maker: Maker::new(seed), inputs: vec![] }
    }

    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Those that count: the first of each id, in order.
    fn distinct(&self) -> Vec<&Input> {
        let mut seen = BTreeSet::new();
        self.inputs.iter().filter(|input| seen.insert(input.id)).collect()
    }
}

/// Sends inputs until it is told to stop.
pub struct Feed {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

impl Feed {
    /// Ends the feed. Every record that it sent is acknowledged.
    pub fn end(self) -> Sent {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every record is acknowledged")
    }
}

/// A pipeline from one topic into three and a folder, on a desk of its own, or on several that share its changelog.
pub struct Ledger {
    /// Machines: each has a data folder of its own.
    pub desks: Vec<Desk>,
    /// Where it was started last.
    pub at: usize,
    pub name: String,
    /// What all machines write files into.
    _shared: TempDir,
    out: PathBuf,
    bus: Bus,
    from: Topic,
    /// Each id once; a row of each part; the sums of windows.
    once: Topic,
    many: Topic,
    sums: Topic,
}

/// Goes on until it is stopped; tests beside each other listen at addresses of their own.
pub const RUN: [&str; 4] = ["run", "orders.sync", "--listen", "127.0.0.1:0"];
pub const RUN_ONCE: [&str; 3] = ["run", "orders.sync", "--once"];

impl Ledger {
    /// `bus`: what the harness asks; `beyond`: where the pipeline goes.
    pub fn new(bus: &Bus, beyond: &Bus) -> Ledger {
        Ledger::on(1, "", bus, beyond)
    }

    /// What it keeps is in Kafka, and so many machines have a copy.
    pub fn kept(machines: usize, bus: &Bus, beyond: &Bus) -> Ledger {
        Ledger::on(machines, ", changelog = 'bus', standby = true", bus, beyond)
    }

    fn on(machines: usize, options: &str, bus: &Bus, beyond: &Bus) -> Ledger {
        let topic = |name: &str, partitions| bus.topic(name, partitions);
        let (from, once, many, sums) = (topic("from", IN), topic("once", OUT), topic("many", OUT), topic("sums", OUT));
        // Its changelog has its name: no other test may have it.
        let name = format!("of_{}", from.name);
        let shared = tempfile::tempdir().expect("a folder of the files");
        let out = shared.path().join("out");
        // Checkpoints come often, so that a process has seen some before it is killed.
        let text = format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE {name} WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000, idle_after = '1 hour'{options}) AS
FROM bus.{}
|> SELECT CAST(id AS BIGINT) AS id, CAST(k AS STRING) AS k, CAST(n AS BIGINT) AS n, CAST(a AS BIGINT) AS a, parts
|> DEDUP BY id WITHIN '1 day'
|> TEE (|> SELECT id, k, n, a |> INSERT INTO bus.{} KEY (k))
|> TEE (|> SELECT k, n, UNNEST(parts) AS part |> INSERT INTO bus.{} KEY (k))
|> TEE (|> SELECT id, k, n, a |> INSERT INTO file('{}/'))
|> AGGREGATE SUM(a) AS a, COUNT(*) AS inputs GROUP BY tumble(_timestamp, INTERVAL '1 second') AS second, k
|> INSERT INTO bus.{} KEY (k);
",
            beyond.brokers(),
            from.name,
            once.name,
            many.name,
            out.display(),
            sums.name
        );
        let desks = (0..machines).map(|_| Desk::with(&text)).collect();
        Ledger { desks, at: 0, name, _shared: shared, out, bus: bus.clone(), from, once, many, sums }
    }

    pub fn desk(&self) -> &Desk {
        &self.desks[self.at]
    }

    /// Goes on from what was sent before.
    pub fn feed(&self, mut sent: Sent) -> Feed {
        let over = Arc::new(AtomicBool::new(false));
        let (told, topic) = (over.clone(), self.from.clone());
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let inputs: Vec<Input> = (0..40).map(|_| sent.maker.next()).collect();
                topic.produce(&inputs.iter().map(Input::record).collect::<Vec<_>>());
                sent.inputs.extend(inputs);
                thread::sleep(Duration::from_millis(20));
            }
            sent
        });
        Feed { over, thread }
    }

    /// How many records it has written that readers can see, or almost: ends of transactions count too.
    pub fn written(&self) -> i64 {
        self.once.ends(Isolation::Committed).iter().sum()
    }

    /// I6: the outputs of a pipeline that runs have everything. How long that took.
    pub fn until_settled(&self, sent: &Sent) -> Duration {
        let began = Instant::now();
        let inputs = sent.distinct();
        let parts = inputs.iter().map(|input| input.parts as usize).sum();
        let has = |topic: &Topic, wanted: usize| {
            let ends: i64 = topic.ends(Isolation::Committed).iter().sum();
            ends as usize >= wanted && topic.read(Isolation::Committed).len() >= wanted
        };
        while !(has(&self.once, inputs.len()) && has(&self.many, parts)) {
            assert!(began.elapsed() < patience(), "not everything is there within {:?}", patience());
            thread::sleep(Duration::from_millis(200));
        }
        began.elapsed()
    }

    /// Reads what is left, and compares.
    pub fn settle(&self, sent: &Sent) {
        self.desk().ok(&RUN_ONCE);
        let inputs = sent.distinct();
        assert!(inputs.len() > 500, "a test without rows shows nothing: {}", inputs.len());
        let once = self.once.read(Isolation::Committed);
        let many = self.many.read(Isolation::Committed);
        let sums = self.sums.read(Isolation::Committed);
        self.expect_outputs(&inputs, &once, &many, &sums);
        expect_order("once", &once, &["n"]);
        expect_order("many", &many, &["n", "part"]);
        expect_order("sums", &sums, &["second"]);
        self.expect_state(sent, &inputs, &sums);
        self.expect_positions(sent, &[(&self.once, once.len()), (&self.many, many.len()), (&self.sums, sums.len())]);
    }

    /// I1, of the files too.
    fn expect_outputs(&self, inputs: &[&Input], once: &[Record], many: &[Record], sums: &[Record]) {
        let line = |input: &&Input| format!("{}|k{}|{}|{}", input.id, input.key, input.number, input.amount);
        let expected = sorted(inputs.iter().map(line));
        look::same("each id once", &rows(once, &["id", "k", "n", "a"]), &expected);
        let files = look::lines(&self.out).iter().map(|line| row(line, &["id", "k", "n", "a"])).collect::<Vec<_>>();
        look::same("the files", &sorted(files.into_iter()), &expected);
        let parts = |input: &&Input| {
            let (key, number) = (input.key, input.number);
            (0..input.parts).map(move |part| format!("k{key}|{number}|{part}"))
        };
        look::same("a row of each part", &rows(many, &["k", "n", "part"]), &sorted(inputs.iter().flat_map(parts)));
        let mut windows: BTreeMap<(i64, u64), (u64, u64)> = BTreeMap::new();
        for input in inputs {
            let window = windows.entry((input.time / WINDOW, input.key)).or_default();
            *window = (window.0 + input.amount, window.1 + 1);
        }
        let window =
            |((second, key), (sum, count)): (&(i64, u64), &(u64, u64))| format!("{second}|k{key}|{sum}|{count}");
        look::same("the sums", &rows(sums, &["second", "k", "a", "inputs"]), &sorted(windows.iter().map(window)));
    }

    /// I3.
    fn expect_state(&self, sent: &Sent, inputs: &[&Input], sums: &[Record]) {
        let total: u64 = inputs.iter().map(|input| input.amount).sum();
        let summed: u64 = sums.iter().map(|sum| field(&value(&sum.text()), "a").parse::<u64>().expect("a sum")).sum();
        assert_eq!(summed, total, "the sums add up to the inputs");
        let known = self.desk().value(&format!("SELECT count(*) AS n FROM {}.dedup", self.name));
        assert_eq!(known, Value::from(inputs.len()), "DEDUP remembers each id once");
        let repeats = self.desk().value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup'");
        assert_eq!(repeats, Value::from(sent.len() - inputs.len()), "and has dropped each repeat");
    }

    /// I4 and I5.
    fn expect_positions(&self, sent: &Sent, outputs: &[(&Topic, usize)]) {
        let taken = || self.desk().value("SELECT sum(rows_in) AS n FROM runs");
        assert_eq!(taken(), Value::from(sent.len()), "every record was taken once");
        self.desk().ok(&RUN_ONCE);
        assert_eq!(taken(), Value::from(sent.len()), "a further run finds none");
        let books = self.desk().books(&self.name);
        let last = "SELECT sum(waiting) AS n FROM steps WHERE run = (SELECT max(run) FROM runs)";
        assert_eq!(
            self.desk().value(last),
            Value::from(0),
            "what waited for a sink when it was stopped has gone there: {books:#?}"
        );
        let steps: BTreeSet<&str> = books.iter().filter_map(|page| page.split(": ").next()).collect();
        for (topic, rows) in outputs {
            let group =
                |step: &&str| self.bus.committed(&format!("syncline.{}.{step}.{}", self.name, topic.name), topic)[0];
            let positions: Vec<i64> = steps.iter().filter_map(group).collect();
            assert_eq!(positions, [*rows as i64], "the position in the outbox of {} ({steps:?})", topic.name);
        }
    }
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

fn rows(records: &[Record], fields: &[&str]) -> Vec<String> {
    let checked = |record: &Record| {
        let text = record.text();
        assert_eq!(record.key_text(), field(&value(&text), "k"), "the key of a record is what KEY names");
        row(&text, fields)
    };
    sorted(records.iter().map(checked))
}

fn row(text: &str, fields: &[&str]) -> String {
    let value = value(text);
    fields.iter().map(|name| field(&value, name)).collect::<Vec<_>>().join("|")
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// As text; a time as the seconds since 1970.
fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) if name == "second" => seconds(text).to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// I2: the numbers of each key only grow.
fn expect_order(what: &str, records: &[Record], numbers: &[&str]) {
    let mut last: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in records {
        let value = value(&record.text());
        let number = |name: &&str| field(&value, name).parse::<i64>().expect("a number");
        let next: Vec<i64> = numbers.iter().map(number).collect();
        let before = last.insert(record.key_text(), next.clone());
        let grows = before.as_ref().is_none_or(|before| *before < next);
        assert!(grows, "{what}: {next:?} of {} comes after {before:?}", record.key_text());
    }
}

/// `2026-11-20T10:00:00Z` as seconds since 1970 (days by H. Hinnant's `days_from_civil`).
fn seconds(text: &str) -> i64 {
    let numbers: Vec<i64> =
        text.trim_end_matches('Z').split(['-', 'T', ':']).map(|part| part.parse().expect("a whole second")).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("no time: {text}") };
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days * 86_400 + hour * 3_600 + minute * 60 + second
}

#[test]
fn a_lost_a_repeated_and_a_misplaced_row_are_each_noticed() {
    assert_eq!(seconds("2026-11-20T10:00:01Z"), 1_795_168_801);
    assert_eq!((seconds("1970-01-01T00:00:00Z"), seconds("2024-02-29T00:00:00Z")), (0, 1_709_164_800));
    let record = |key: &str, n: u64| Record::new(key, &format!(r#"{{"k":"{key}","n":{n}}}"#));
    let breaks = |records: &[Record]| std::panic::catch_unwind(|| expect_order("rows", records, &["n"])).is_err();
    assert!(!breaks(&[record("a", 1), record("b", 1), record("a", 2)]));
    assert!(breaks(&[record("a", 2), record("b", 1), record("a", 1)]));
    assert!(breaks(&[record("a", 1), record("a", 1)]));
    // Another key than the one that `k` says.
    assert!(std::panic::catch_unwind(|| rows(&[Record::new("b", r#"{"k":"a"}"#)], &["k"])).is_err());
    let mut sent = Sent::nothing(7);
    sent.inputs = (0..1_000).map(|_| sent.maker.next()).collect();
    assert_eq!(sent.distinct().len(), sent.maker.made.len());
    assert!(sent.len() - sent.maker.made.len() > 100, "some are sent twice: {}", sent.maker.made.len());
}
