//! From Kafka to Kafka: what others write is read once, and what is written others read once, whatever dies.
//!
//! Records are produced and consumed by what is not Syncline (`kafka.rs`); what must come out is computed by `orders.py`, or written out.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chance::Chance,
    desk::{Desk, PATIENCE, Running, python, python_reads},
    kafka::{self, Broker, Bus, Cluster, Guarded, Isolation, PASSWORD, Record, Topic, USER},
    look,
};

/// The job of `orders.py`, from one topic to another. Checkpoints come often, so that a process has seen some before it is killed.
fn job(bus: &Bus, from: &Topic, to: &str) -> String {
    format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders WITH (checkpoint_every = '20 milliseconds', restart_delay = '100 milliseconds', max_restarts = 1000) AS
FROM bus.{}
|> WHERE status = 'paid' AND amount >= 10
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents, substr(created_at, 1, 10) AS day
|> INSERT INTO bus.{to} KEY (customer);
",
        bus.brokers(),
        from.name
    )
}

/// Goes on until it is stopped; tests beside each other listen at addresses of their own.
pub const RUN: [&str; 4] = ["run", "orders.sync", "--listen", "127.0.0.1:0"];

/// Orders as records keyed by customer, each customer in one partition; those of a customer are in order.
pub fn orders(count: usize, seed: u64, partitions: i32) -> Vec<Record> {
    let text = python("orders.py", &["make", &count.to_string(), &seed.to_string()]);
    let time = now();
    let record = |line: &str| {
        let order: Value = serde_json::from_str(line).expect("an order");
        let key = order["customer"].as_str().expect("a customer");
        let partition = key.bytes().map(i32::from).sum::<i32>() % partitions;
        Record::new(key, line).partition(partition).time(time)
    };
    text.lines().map(record).collect()
}

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    since.as_millis() as i64
}

/// What must come out of these, as a multiset.
pub fn expected(input: &[Record]) -> Vec<String> {
    let lines: String = input.iter().map(|record| record.text() + "\n").collect();
    python_reads("orders.py", &["expect"], lines.as_bytes()).lines().map(str::to_owned).collect()
}

/// What a reader of committed records has now, as a multiset.
pub fn found(topic: &Topic) -> Vec<String> {
    rows(&topic.read(Isolation::Committed))
}

pub fn rows(records: &[Record]) -> Vec<String> {
    let row = |record: &Record| {
        let text = record.text();
        let row: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let field = |name: &str| row[name].as_str().map_or(row[name].to_string(), str::to_owned);
        assert_eq!(record.key_text(), field("customer"), "the key of a record is what KEY names");
        ["id", "customer", "cents", "day"].map(field).join("|")
    };
    let mut rows: Vec<String> = records.iter().map(row).collect();
    rows.sort();
    rows
}

/// Rows of one key come out in the order in which its records came in; a repeat of an earlier one changes nothing.
pub fn expect_order(input: &[Record], output: &[Record]) {
    let by_key = |records: &[Record]| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in records {
            let value: Value = serde_json::from_str(&record.text()).expect("JSON");
            let ids = keys.entry(record.key_text().to_lowercase()).or_default();
            let id = value["id"].as_str().expect("an id").to_owned();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        keys
    };
    let came = by_key(input);
    for (key, ids) in by_key(output) {
        let mut rest = came[&key].iter();
        assert!(ids.iter().all(|id| rest.any(|came| came == id)), "{key}: {ids:?} of {:?}", came[&key]);
    }
}

/// Runs until all that must come out is there, and what is there is nothing else.
pub fn until_all_is_there(topic: &Topic, expected: &[String], within: Duration) {
    let started = Instant::now();
    let count = || topic.ends(Isolation::Committed).iter().sum::<i64>() as usize;
    // Ends count the marks of transactions too: they only say that it is worth a look.
    while (count() < expected.len() || found(topic).len() < expected.len()) && started.elapsed() < within {
        thread::sleep(Duration::from_millis(200));
    }
    look::same("the topic", &found(topic), expected);
}

#[test]
fn what_kcat_and_the_console_producer_write_is_what_the_console_consumer_reads() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 4));
    let input = orders(3_000, 7, 3);
    let lines = |records: &[Record]| -> String {
        records.iter().map(|record| format!("{}={}\n", record.key_text(), record.text())).collect()
    };
    let (first, second) = input.split_at(1_500);
    // The same partitioner, so that each key stays in its partition.
    from.kcat(&["-X", "topic.partitioner=murmur2_random"], &lines(first));
    from.console_produce(&[], &lines(second));
    let desk = Desk::with(&job(&bus, &from, &to.name));
    desk.ok(&["run", "orders.sync", "--once"]);
    let output = to.console_read(Isolation::Committed);
    look::same("what the console consumer reads", &rows(&output), &expected(&input));
    expect_order(&input, &output);
    // A second run finds nothing new, and writes nothing.
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &found(&to), &expected(&input));
    desk.books("orders");
}

/// Feeds a topic until it is told to stop; what it has written by then. When it has no new records left it writes all of them again.
pub fn feed_until(over: Arc<AtomicBool>, topic: Topic, records: Vec<Record>) -> JoinHandle<Vec<Record>> {
    thread::spawn(move || {
        let mut written = vec![];
        for records in records.chunks(40).cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
            topic.produce(records);
            written.extend_from_slice(records);
            thread::sleep(Duration::from_millis(20));
        }
        written
    })
}

#[test]
fn a_record_keeps_its_key_headers_time_and_place_and_a_bad_one_its_bytes() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 2), bus.topic("to", 1));
    let time = 1_795_000_000_000;
    from.produce(&[
        Record::new("a", r#"{"n":1}"#).time(time).header("kind", "x"),
        Record::new("b", "no JSON").time(time).partition(1),
        Record { partition: 1, key: Some(b"gone".to_vec()), time, ..Record::default() },
        Record { partition: 1, value: Some(br#"{"n":2}"#.to_vec()), time: time + 1, ..Record::default() },
    ]);
    let mut writer = bus.transactions(&from.name, PATIENCE);
    writer.produce(&from, &[Record::new("c", r#"{"n":"aborted"}"#).time(time)]).expect("taken");
    writer.abort().expect("aborted");
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS
FROM bus.{}
|> SELECT n, CAST(_key AS STRING) AS k, _topic AS topic, _partition AS part, _offset AS at, _timestamp AS t, _headers['kind'] AS kind
|> INSERT INTO bus.{};
",
        bus.brokers(),
        from.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let mut found: Vec<String> = to.read(Isolation::Committed).iter().map(Record::text).collect();
    found.sort();
    let name = &from.name;
    let expected = [
        format!(r#"{{"n":1,"k":"a","topic":"{name}","part":0,"at":0,"t":"2026-11-18T11:06:40Z","kind":"x"}}"#),
        format!(r#"{{"n":2,"k":null,"topic":"{name}","part":1,"at":2,"t":"2026-11-18T11:06:40.001Z","kind":null}}"#),
    ];
    assert_eq!(found, expected);
    let dead = desk.query("SELECT record_offset, reason FROM dead_letters ORDER BY record_offset");
    assert_eq!(dead.len(), 2, "{dead:?}");
}

/// Java's partitioner is the one that other writers and readers of a topic rely on.
#[test]
fn keys_are_put_where_java_puts_them_and_deletes_have_no_value() {
    let bus = kafka::shared();
    let (theirs, from) = (bus.topic("theirs", 5), bus.topic("from", 1));
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}-é")).collect();
    theirs.console_produce(&[], &keys.iter().map(|key| format!("{key}=x\n")).collect::<String>());
    let line = |key: &String, op: &str| Record::new("", &format!(r#"{{"id":"{key}","op":"{op}"}}"#)).time(now());
    from.produce(&keys.iter().map(|key| line(key, "put")).collect::<Vec<_>>());
    from.produce(&[line(&keys[0], "delete")]);
    let ours = format!("ours_{}", from.name);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS
FROM bus.{}
|> SELECT CAST(id AS STRING) AS id, op
|> UPSERT INTO kafka('{ours}', brokers => '{}', partitions => 5) KEY (id) DELETE WHEN op = 'delete';
",
        bus.brokers(),
        from.name,
        bus.brokers()
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let ours = bus.existing(&ours);
    assert_eq!((ours.partitions(), &*ours.settings()["cleanup.policy"]), (5, "compact"));
    let places = |topic: &Topic| {
        let place = |record: &Record| (record.key_text(), record.partition);
        topic.read(Isolation::Committed).iter().map(place).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(places(&ours), places(&theirs));
    let deletes: Vec<Record> =
        ours.read(Isolation::Committed).into_iter().filter(|record| record.value.is_none()).collect();
    assert_eq!(deletes.iter().map(Record::key_text).collect::<Vec<_>>(), [keys[0].clone()]);
}

#[test]
fn a_guarded_broker_is_entered_by_name_and_not_with_another_password() {
    let guarded = Guarded::start();
    let bus = &guarded.broker.bus;
    let topic = bus.topic("from", 1);
    topic.produce(&[Record::new("a", r#"{"n":1}"#)]);
    let run = |door: &str, rest: &str, password: &str| {
        let desk = Desk::with(&format!(
            "PIPELINE orders AS FROM kafka('{}', brokers => '{door}', {rest}) |> SELECT n |> INSERT INTO stdout();",
            topic.name
        ));
        fs::copy(guarded.authority(), desk.path("ca.pem")).expect("the authority");
        let mut command: Command = desk.command(&["run", "orders.sync", "--once"]);
        command.env("BUS_PASSWORD", password);
        Running::start(command, format!("run {rest}")).end(PATIENCE)
    };
    let named = |more: &str| format!("ca => 'ca.pem', user => '{USER}', password => env('BUS_PASSWORD'){more}");
    assert_eq!(run(&guarded.tls, "ca => 'ca.pem'", "").expect(0).out(), "{\"n\":1}\n");
    for more in ["", ", mechanism => 'plain'"] {
        assert_eq!(run(&guarded.named_tls, &named(more), PASSWORD).expect(0).out(), "{\"n\":1}\n");
        let said = run(&guarded.named_tls, &named(more), "of-another").expect(3);
        assert!(said.err.contains("we are not let in") && said.err.contains("uthentication"), "{}", said.err);
        assert!(!said.err.contains("of-another"), "{}", said.err);
    }
    let open = format!("security => 'sasl_plaintext', {}", named(""));
    assert_eq!(run(&guarded.named, &open, PASSWORD).expect(0).out(), "{\"n\":1}\n");
}

#[test]
fn what_was_deleted_before_it_was_read_and_a_topic_made_anew_are_stops_with_a_name() {
    let bus = kafka::shared();
    let topic = bus.topic("from", 1);
    let record = |n: i32| Record::new("a", &format!(r#"{{"n":{n}}}"#));
    topic.produce(&[record(1), record(2)]);
    let desk = Desk::with(&format!(
        "PIPELINE orders AS FROM kafka('{}', brokers => '{}') |> SELECT n |> INSERT INTO stdout();",
        topic.name,
        bus.brokers()
    ));
    assert_eq!(desk.ok(&["run", "orders.sync", "--once"]), "{\"n\":1}\n{\"n\":2}\n");
    topic.produce(&[record(3), record(4)]);
    topic.forget_before(0, 3);
    let said = desk.say(&["run", "orders.sync", "--once"]).expect(3);
    assert!(said.err.contains("were deleted before they were read"), "{}", said.err);
    topic.delete();
    let said = desk.say(&["run", "orders.sync", "--once"]).expect(3);
    assert!(said.err.contains("is not there"), "{}", said.err);
}

/// Longer than its transactions may last: the broker has aborted what it had open, and it may not know.
#[test]
fn a_process_that_stood_still_goes_on_where_it_was() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 4));
    let desk = Desk::with(&job(&bus, &from, &to.name));
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(40_000, 11, 3));
    let mut running = desk.start(&RUN);
    running.until("it writes", |_| to.ends(Isolation::Committed).iter().sum::<i64>() > 0);
    for _ in 0..2 {
        running.signal("STOP");
        thread::sleep(Duration::from_secs(13));
        running.signal("CONT");
        thread::sleep(Duration::from_secs(2));
    }
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    until_all_is_there(&to, &expected(&input), PATIENCE);
    running.stop().expect(0);
    desk.books("orders");
}

/// No more is asked for: no transactions are written, nothing is lost, and what was in flight when the process died may come again.
#[test]
fn at_least_once_writes_no_transactions_and_can_be_made_exactly_once_where_it_is() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 4));
    let exactly = job(&bus, &from, &to.name);
    let desk = Desk::with(&exactly.replace("WITH (", "WITH (delivery = 'at least once', ").replacen(
        "kafka WITH (delivery = 'at least once', ",
        "kafka WITH (",
        1,
    ));
    let said = desk.say(&["check", "orders.sync"]).expect(0).err;
    assert!(said.contains(&format!("bus.{}: at least once", to.name)), "{said}");
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(40_000, 29, 3));
    for _ in 0..4 {
        let written = to.ends(Isolation::Uncommitted).iter().sum::<i64>();
        let mut running = desk.start(&RUN);
        running.until("it writes", |_| to.ends(Isolation::Uncommitted).iter().sum::<i64>() > written + 50);
        running.kill();
    }
    over.store(true, Ordering::Relaxed);
    let mut input = feed.join().expect("every record is acknowledged");
    desk.ok(&["run", "orders.sync", "--once"]);
    let records = to.read(Isolation::Uncommitted);
    assert_eq!(to.ends(Isolation::Uncommitted).iter().sum::<i64>() as usize, records.len(), "marks of transactions");
    let mut once = rows(&records);
    once.dedup();
    look::same("each row at least once", &once, &expected(&input));
    desk.write("orders.sync", &exactly);
    let more = orders(42_000, 29, 3).split_off(40_000);
    from.produce(&more);
    input.extend(more);
    desk.ok(&["run", "orders.sync", "--once"]);
    let all = rows(&to.read(Isolation::Committed));
    let repeats = records.len() - once.len();
    assert_eq!(all.len(), expected(&input).len() + repeats, "what comes then comes once");
    desk.books("orders");
}

#[test]
fn an_open_transaction_of_a_producer_holds_nothing_up_and_comes_when_it_is_committed() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let record = |n: i32| Record::new("a", &format!(r#"{{"n":{n}}}"#));
    let mut writer = bus.transactions(&from.name, PATIENCE);
    from.produce(&[record(1)]);
    writer.produce(&from, &[record(2)]).expect("taken");
    from.produce(&[record(3)]);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS FROM bus.{} |> SELECT n |> INSERT INTO bus.{};",
        bus.brokers(),
        from.name,
        to.name
    ));
    let after = |expected: &[&str]| {
        desk.ok(&["run", "orders.sync", "--once"]);
        let values: Vec<String> = to.read(Isolation::Committed).iter().map(Record::text).collect();
        assert_eq!(values, expected);
    };
    after(&[r#"{"n":1}"#]);
    writer.commit().expect("committed");
    after(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    writer.produce(&from, &[record(4)]).expect("taken");
    writer.abort().expect("aborted");
    after(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
}

#[test]
fn a_row_that_the_topic_does_not_take_is_a_dead_letter_and_the_others_go_on() {
    let bus = kafka::shared();
    let from = bus.topic("from", 1);
    let to = bus.topic_with("to", 1, &[("max.message.bytes", "2000")]);
    let record = |n: usize| Record::new("a", &format!(r#"{{"n":{n},"text":"{}"}}"#, noise(n)));
    from.produce(&[record(10), record(3_000), record(1_700), record(20)]);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS FROM bus.{} |> SELECT n, text |> INSERT INTO bus.{};",
        bus.brokers(),
        from.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let written = to.read(Isolation::Committed).len();
    let dead = desk.query("SELECT record_offset, reason FROM dead_letters ORDER BY record_offset");
    assert_eq!(written + dead.len(), 4, "{dead:?}");
    assert!(!dead.is_empty() && dead[0]["record_offset"] == 1, "{dead:?}");
    desk.books("orders");
}

/// Text that no packing makes shorter.
fn noise(length: usize) -> String {
    let mut chance = Chance::of(length as u64);
    (0..length).map(|_| char::from(b'a' + chance.below(26) as u8)).collect()
}

#[test]
fn another_data_folder_does_not_write_into_what_this_one_writes() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 4));
    let input = orders(500, 17, 3);
    from.produce(&input);
    let pipeline = job(&bus, &from, &to.name);
    let (desk, other) = (Desk::with(&pipeline), Desk::with(&pipeline));
    desk.ok(&["run", "orders.sync", "--once"]);
    let said = other.say(&["run", "orders.sync", "--once"]).expect(3);
    assert!(said.err.contains("from another data folder"), "{}", said.err);
    look::same("the topic", &found(&to), &expected(&input));
    desk.ok(&["run", "orders.sync", "--once"]);
}

#[test]
fn when_the_leader_of_three_brokers_is_killed_the_others_carry_the_rows() {
    let mut cluster = Cluster::start();
    let bus = cluster.bus.clone();
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 3));
    let desk = Desk::with(&job(&bus, &from, &to.name));
    let over = Arc::new(AtomicBool::new(false));
    let feed = feed_until(over.clone(), from.clone(), orders(40_000, 19, 3));
    let mut running = desk.start(&RUN);
    running.until("it writes", |_| to.ends(Isolation::Committed).iter().sum::<i64>() > 0);
    for partition in 0..2 {
        let gone = cluster.kill_leader(&to, partition);
        thread::sleep(Duration::from_secs(5));
        cluster.restart(gone);
    }
    over.store(true, Ordering::Relaxed);
    let input = feed.join().expect("every record is acknowledged");
    until_all_is_there(&to, &expected(&input), PATIENCE * 2);
    running.stop().expect(0);
    desk.books("orders");
}

#[test]
fn a_lane_is_a_partition_and_a_topic_with_fewer_is_refused() {
    let bus = kafka::shared();
    let from = bus.topic("from", 2);
    let input = orders(400, 29, 2);
    from.produce(&input);
    let pipeline = |to: &Topic| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS FROM bus.{}
|> SELECT CAST(id AS STRING) AS id, CAST(region AS STRING) AS region
|> SHARD BY region INTO 4
|> INSERT INTO bus.{} KEY (id);",
            bus.brokers(),
            from.name,
            to.name
        )
    };
    let to = bus.topic("to", 4);
    Desk::with(&pipeline(&to)).ok(&["run", "orders.sync", "--once"]);
    let mut lanes: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let output = to.read(Isolation::Committed);
    for record in &output {
        let row: Value = serde_json::from_str(&record.text()).expect("JSON");
        let lanes = lanes.entry(row["region"].as_str().expect("a region").to_owned()).or_default();
        if !lanes.contains(&record.partition) {
            lanes.push(record.partition);
        }
    }
    assert_eq!((output.len(), lanes.len()), (400, 4));
    assert!(lanes.values().all(|partitions| partitions.len() == 1), "{lanes:?}");
    let narrow = bus.topic("narrow", 2);
    let said = Desk::with(&pipeline(&narrow)).say(&["run", "orders.sync", "--once"]).expect(3);
    assert!(said.err.contains("has 2 partitions"), "{}", said.err);
    assert_eq!(narrow.read(Isolation::Committed), []);
}

#[test]
fn a_topic_that_goes_away_under_a_running_pipeline_is_told() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let desk = Desk::with(&job(&bus, &from, &to.name));
    let mut running = desk.start(&RUN);
    from.produce(&orders(50, 31, 1));
    running.until("it writes", |_| to.ends(Isolation::Committed).iter().sum::<i64>() > 0);
    from.delete();
    running.until("it says so", |running| running.err().contains("is not there"));
}
/// Kafka forgets the offsets of a group that has committed none for long: a week, if nobody says otherwise, and a minute here.
#[test]
fn a_position_that_kafka_forgot_repeats_nothing() {
    let settings = [("offsets.retention.minutes", "1"), ("offsets.retention.check.interval.ms", "1000")];
    let broker = Broker::with(&[], &settings.map(|(name, value)| (name.to_owned(), value.to_owned())), |_| {});
    let bus = &broker.bus;
    let (from, to) = (bus.topic("from", 3), bus.topic("to", 4));
    let input = orders(1_000, 23, 3);
    from.produce(&input[..500]);
    let desk = Desk::with(&job(bus, &from, &to.name));
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &found(&to), &expected(&input[..500]));
    thread::sleep(Duration::from_secs(75));
    from.produce(&input[500..]);
    desk.ok(&["run", "orders.sync", "--once"]);
    look::same("the topic", &found(&to), &expected(&input));
}

#[test]
fn a_source_begins_where_it_is_told_to_and_reads_partitions_that_are_added_from_their_first_record() {
    let bus = kafka::shared();
    let topic = bus.topic("from", 2);
    let time = 1_795_000_000_000;
    let record =
        |n: i64, partition: i32| Record::new("a", &format!(r#"{{"n":{n}}}"#)).partition(partition).time(time + n);
    topic.produce(&[record(1, 0), record(2, 0), record(3, 0), record(4, 1), record(5, 1)]);
    let desk_of = |start: &str| {
        Desk::with(&format!(
            "PIPELINE orders AS FROM kafka('{}', brokers => '{}'{start}) |> SELECT n |> INSERT INTO stdout();",
            topic.name,
            bus.brokers()
        ))
    };
    let read = |desk: &Desk| {
        let out = desk.ok(&["run", "orders.sync", "--once"]);
        let number = |line: &str| line.trim_start_matches("{\"n\":").trim_end_matches('}').parse().expect("a number");
        let mut numbers: Vec<i64> = out.lines().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    let desks =
        ["", ", start => 'latest'", ", start => '0:2, 1:1'", ", start => '2026-11-18T11:06:40.003Z'"].map(desk_of);
    let first: [&[i64]; 4] = [&[1, 2, 3, 4, 5], &[], &[3, 5], &[3, 4, 5]];
    for (desk, expected) in desks.iter().zip(first) {
        assert_eq!(read(desk), expected);
    }
    topic.grow(3);
    topic.produce(&[record(6, 0), record(7, 2)]);
    for desk in &desks {
        assert_eq!(read(desk), [6, 7]);
    }
}

/// A range ends at what is there; what is not, and what will not be read, is told with both offsets.
#[test]
fn a_range_that_says_more_than_there_is_tells_how_far_it_is_read_and_stays_read_when_its_records_go() {
    let (bus, now) = (kafka::shared(), now());
    let topic = bus.topic("range", 2);
    let record = |n: i64| Record::new("a", &format!(r#"{{"n":{n}}}"#)).partition((n % 2) as i32).time(now);
    topic.produce(&(0..8).map(record).collect::<Vec<_>>());
    let run = |desk: &Desk, code: i32| desk.say(&["run", "orders.sync"]).expect(code);
    let desk_of = |words: &str| {
        Desk::with(&format!(
            "PIPELINE orders AS FROM kafka('{}', brokers => '{}', {words}) |> SELECT n |> INSERT INTO stdout();",
            topic.name,
            bus.brokers()
        ))
    };
    let desk = desk_of("until => '0:3, 1:1000'");
    let said = run(&desk, 0);
    let told = format!("partition 1 of {} is read up to its end, offset 4, as until names 1000", topic.name);
    assert!(said.out().lines().count() == 7 && said.err.contains(&told), "{} {}", said.out(), said.err);
    assert!(!said.err.contains("partition 0 of"), "{}", said.err);
    topic.produce(&(8..12).map(record).collect::<Vec<_>>());
    let said = run(&desk, 0);
    assert!(said.out().is_empty() && said.err.contains("it ends at 6 now"), "{} {}", said.out(), said.err);
    // What it has read may go.
    topic.forget_before(0, 5);
    let said = run(&desk, 0);
    assert!(said.out().is_empty() && !said.err.contains("nothing to read"), "{} {}", said.out(), said.err);
    for (words, told) in [
        ("start => '0:2', until => 'latest'", "starts at offset 5, as records 2 to 4 of start were deleted"),
        ("start => '1:50', until => 'latest'", "starts at its end, offset 6, as start names 50"),
        ("start => '1:5', until => '1:2'", "has nothing to read: start is offset 5, and until 2"),
        ("until => '0:3'", "has nothing to read: it begins at offset 5, and until names 3"),
        ("until => '2999-01-01T00:00:00Z'", "as until is 2999-01-01T00:00:00Z, which has not come yet"),
    ] {
        let said = run(&desk_of(words), 0);
        assert!(said.err.contains(told), "{words}: {}", said.err);
    }
    for words in ["until => '7:3'", "start => '7:3', until => 'latest'"] {
        let said = run(&desk_of(words), 3);
        assert!(said.err.contains("has 2 partitions, numbered from 0, and"), "{words}: {}", said.err);
    }
}
