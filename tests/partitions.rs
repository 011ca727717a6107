//! PARTITIONED BY: records are believed to lie where their keys belong only as long as each of them does.
//!
//! Others choose the partitions here: kcat with both partitioners of librdkafka, Kafka's console producer with Java's, and our own sink.

use std::collections::BTreeMap;

use crate::{
    desk::{Desk, Said},
    kafka::{self, Bus, Isolation, Record, Topic},
    web::Client,
};

const MURMUR2: &str = "topic.partitioner=murmur2_random";
const CRC32: &str = "topic.partitioner=consistent_random";

/// Keeps the first record of each id, which is its key.
fn desk(bus: &Bus, from: &Topic) -> Desk {
    Desk::with(&format!(
        "PIPELINE orders AS
FROM kafka('{}', brokers => '{}') PARTITIONED BY (id)
|> DEDUP BY id WITHIN '1 day' |> SELECT id |> INSERT INTO stdout();",
        from.name,
        bus.brokers()
    ))
}

/// Records whose key is their id, one line each.
fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("key-{number}={{\"id\":\"key-{number}\"}}\n")).collect()
}

fn run(desk: &Desk) -> Said {
    desk.say(&["run", "orders.sync", "--once"])
}

/// How many rows a run printed that ended well.
fn taken(desk: &Desk) -> usize {
    run(desk).expect(0).out().lines().count()
}

/// The message of a run that was ended by a record.
fn stopped(desk: &Desk) -> String {
    let said = run(desk).expect(3);
    let line = said.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Where a partitioner puts a key.
fn partition_of(bus: &Bus, partitions: i32, partitioner: &str, key: &str) -> i32 {
    let probe = bus.topic("probe", partitions);
    probe.kcat(&["-X", partitioner], &format!("{key}=x\n"));
    probe.read(Isolation::Committed)[0].partition
}

#[test]
fn whichever_of_the_two_partitioners_it_was_is_learnt_and_kept_over_a_restart() {
    let bus = kafka::shared();
    for (first, other, name) in [(MURMUR2, CRC32, "murmur2"), (CRC32, MURMUR2, "CRC32")] {
        let from = bus.topic("from", 5);
        let desk = desk(&bus, &from);
        from.kcat(&["-X", first], &lines(0..100));
        assert_eq!(taken(&desk), 100);
        from.kcat(&["-X", first], &lines(50..150));
        assert_eq!(taken(&desk), 50);
        from.kcat(&["-X", other], &lines(200..220));
        // Nothing of what was learnt from wrong records is kept: they are wrong again, whichever of them is met first.
        for _ in 0..2 {
            let said = stopped(&desk);
            assert!(said.ends_with(&format!(" of 5 by {name}, as the keys before it do")), "{said}");
        }
    }
    let from = bus.topic("from", 5);
    from.console_produce(&[], &lines(0..50));
    assert_eq!(taken(&desk(&bus, &from)), 50);
}

#[test]
fn a_wrong_key_a_wrong_partition_and_no_key_are_stops_with_a_name() {
    let bus = kafka::shared();
    let right = |key: &str| partition_of(&bus, 3, MURMUR2, key);
    let neither = |key: &str| {
        let places = [right(key), partition_of(&bus, 3, CRC32, key)];
        (0..3).find(|partition| !places.contains(partition)).expect("three partitions")
    };
    let record = |key: Option<&str>, value: &str, partition: i32| Record {
        partition,
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        ..Record::default()
    };
    let is_null = "a column of PARTITIONED BY (id) is NULL, and no key is made of that; NOT NULL in a SCHEMA makes a dead letter of such a record";
    let cases = [
        (
            record(Some("b"), r#"{"id":"a"}"#, right("b")),
            "has the key `b`, and PARTITIONED BY (id) makes `a` of it".to_owned(),
        ),
        (
            record(Some("1.0"), r#"{"id":1.0}"#, right("1.0")),
            "has the key `1.0`, and PARTITIONED BY (id) makes `1` of it".to_owned(),
        ),
        (
            record(Some("a"), r#"{"id":"a"}"#, neither("a")),
            format!(
                "has the key `a`, which belongs in partition {} of 3 by murmur2, as the keys before it do",
                right("a")
            ),
        ),
        (
            record(None, r#"{"id":"a"}"#, 0),
            "has no key, so it lies in any partition, and PARTITIONED BY says that keys choose them".to_owned(),
        ),
        (record(Some("a"), r#"{"id":null}"#, right("a")), is_null.to_owned()),
        (record(Some("a"), "{}", right("a")), is_null.to_owned()),
    ];
    for (wrong, expected) in cases {
        let from = bus.topic("from", 3);
        from.kcat(&["-X", MURMUR2], &lines(0..20));
        let desk = desk(&bus, &from);
        assert_eq!(taken(&desk), 20);
        let offset = from.ends(Isolation::Committed)[wrong.partition as usize];
        let partition = wrong.partition;
        from.produce(&[wrong]);
        let said = format!("record {offset} of partition {partition} of {}: {expected}", from.name);
        assert_eq!(stopped(&desk), said);
        let out = run(&desk).expect(3);
        assert_eq!(out.out(), "", "nothing of what is wrong is written");
        assert!(out.err.contains("take PARTITIONED BY out of the file"), "{}", out.err);
    }
}

#[test]
fn a_record_that_is_no_row_is_a_dead_letter_whatever_its_key_is() {
    let bus = kafka::shared();
    let from = bus.topic("from", 1);
    let desk = Desk::with(&format!(
        "SCHEMA one (id STRING NOT NULL);
PIPELINE orders AS FROM kafka('{}', brokers => '{}') SCHEMA one PARTITIONED BY (id) |> INSERT INTO stdout();",
        from.name,
        bus.brokers()
    ));
    let values = [r#"{"id":null}"#, "{}", "no JSON", r#"{"id":"a"}"#];
    from.produce(&values.map(|value| Record::new("a", value)));
    assert_eq!(run(&desk).expect(0).out(), "{\"id\":\"a\"}\n");
    assert_eq!(desk.books("orders"), ["insert: 1 in · 1 passed", "source: 4 in · 1 passed · 3 dead"]);
}

#[test]
fn what_our_own_sink_makes_keys_of_is_what_the_claim_reads() {
    let bus = kafka::shared();
    let (to, desk) = (bus.topic("to", 4), Desk::new());
    let schema = "SCHEMA line (region STRING NOT NULL, n BIGINT NOT NULL, total DECIMAL(12, 2) NOT NULL, at TIMESTAMP NOT NULL, ok BOOLEAN NOT NULL, other JSON);";
    let place = format!("kafka('{}', brokers => '{}')", to.name, bus.brokers());
    let key = "(region, n, total, at, ok)";
    desk.write(
        "write.sync",
        format!("{schema} PIPELINE w AS FROM file('in.ndjson') SCHEMA line |> INSERT INTO {place} KEY {key};"),
    );
    desk.write(
        "read.sync",
        format!(
            "{schema} PIPELINE r AS FROM {place} SCHEMA line PARTITIONED BY {key} |> SELECT n |> INSERT INTO stdout();"
        ),
    );
    desk.append(
        "in.ndjson",
        (0..40).map(|n| {
            format!(
                r#"{{"region":"e\"ü {n}","n":{n},"total":"{n}.50","at":"2026-11-20T10:00:{n:02}+01:00","ok":{}}}"#,
                n % 2 == 0
            )
        }),
    );
    desk.ok(&["run", "write.sync"]);
    let partitions: BTreeMap<i32, usize> =
        to.read(Isolation::Committed).iter().fold(BTreeMap::new(), |mut all, record| {
            *all.entry(record.partition).or_default() += 1;
            all
        });
    assert!(partitions.len() > 1, "{partitions:?}");
    assert_eq!(desk.ok(&["run", "read.sync", "--once"]).lines().count(), 40);
}

#[test]
fn with_more_partitions_keys_belong_elsewhere_and_that_is_told() {
    let bus = kafka::shared();
    let from = bus.topic("from", 3);
    from.kcat(&["-X", MURMUR2], &lines(0..20));
    let desk = desk(&bus, &from);
    assert_eq!(taken(&desk), 20);
    from.grow(4);
    let said = stopped(&desk);
    assert!(said.contains(": has 4 partitions, and had 3: "), "{said}");
    // Without the claim nothing is asked of them.
    let file = std::fs::read_to_string(desk.path("orders.sync")).expect("the file");
    desk.write("orders.sync", file.replace("PARTITIONED BY (id)", ""));
    from.kcat(&["-X", MURMUR2], &lines(20..40));
    assert_eq!(taken(&desk), 20);
}

#[test]
fn a_running_pipeline_stops_at_the_record_and_its_neighbours_go_on() {
    let bus = kafka::shared();
    let from = bus.topic("from", 2);
    let desk = desk(&bus, &from);
    let file = std::fs::read_to_string(desk.path("orders.sync")).expect("the file");
    desk.write("orders.sync", file + "\nPIPELINE other AS FROM http('/other') |> INSERT INTO file('out/');");
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    from.kcat(&["-X", MURMUR2], &lines(0..20));
    running.until("it reads", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == 20);
    assert_eq!(client.get("/readyz").status, 200);
    from.produce(&[Record::new("b", r#"{"id":"a"}"#)]);
    running.until("it is told", |_| client.get("/readyz").status == 503);
    let why = client.get("/readyz").json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(why.starts_with("orders has failed: record "), "{why}");
    assert_eq!(client.post("/in/other", &[], b"{\"id\":1}").status, 202);
    let said = running.stop().expect(1);
    assert!(said.err.contains("input-misplaced") || said.err.contains("PARTITIONED BY (id)"), "{}", said.err);
}

#[test]
fn each_of_several_tasks_looks_at_its_own_partitions() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 4), bus.topic("to", 2));
    from.kcat(&["-X", MURMUR2], &(lines(0..60) + &lines(30..90)));
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders_{} WITH (changelog = 'bus', tasks = 2) AS
FROM bus.{} PARTITIONED BY (id) |> DEDUP BY id WITHIN '1 day' |> SELECT id |> INSERT INTO bus.{} KEY (id);",
        bus.brokers(),
        from.name,
        from.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let keys = |topic: &Topic| {
        let mut keys: Vec<String> = topic.read(Isolation::Committed).iter().map(Record::key_text).collect();
        keys.sort();
        keys
    };
    let mut expected: Vec<String> = (0..90).map(|number| format!("key-{number}")).collect();
    expected.sort();
    assert_eq!(keys(&to), expected, "each id once, whichever task read it");
    // Every task knows the partitioner from what it has read itself.
    for partition in 0..4 {
        let key =
            (0..).map(|number| format!("key-{number}")).find(|key| partition_of(&bus, 4, MURMUR2, key) != partition);
        let key = key.expect("a key that belongs elsewhere");
        from.produce(&[Record::new(&key, &format!(r#"{{"id":"{key}"}}"#)).partition(partition)]);
    }
    let said = desk.say(&["run", "orders.sync", "--once"]);
    assert_eq!(said.err.matches("as the keys before it do").count() / 2, 2, "{}", said.err);
    assert_eq!(keys(&to), expected);
}

#[test]
fn further_sources_make_claims_of_their_own() {
    let bus = kafka::shared();
    let (one, two) = (bus.topic("one", 3), bus.topic("two", 3));
    one.kcat(&["-X", MURMUR2], &lines(0..20));
    two.kcat(&["-X", CRC32], &lines(20..40));
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS FROM bus.{} PARTITIONED BY (id) |> SELECT id
|> UNION ALL (FROM bus.{} PARTITIONED BY (id) |> SELECT id) |> INSERT INTO stdout();",
        bus.brokers(),
        one.name,
        two.name
    ));
    assert_eq!(taken(&desk), 40);
    two.produce(&[Record::new("b", r#"{"id":"a"}"#)]);
    let said = stopped(&desk);
    assert!(said.contains(&format!(" of {}: has the key `b`", two.name)), "{said}");
}
