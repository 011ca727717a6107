//! What stands beside a record: headers and time that a pipeline writes, as others read them; and records that just fit.

use crate::{
    desk::Desk,
    kafka::{self, Bus, Isolation, Record, Topic},
};

fn desk(bus: &Bus, from: &Topic, steps: &str, to: &Topic) -> Desk {
    Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}');
PIPELINE orders AS FROM bus.{} {steps} |> INSERT INTO bus.{};",
        bus.brokers(),
        from.name,
        to.name
    ))
}

/// 2026-11-18T11:06:40Z.
const TIME: i64 = 1_795_000_000_000;

fn shown(topic: &Topic) -> Vec<String> {
    let headers =
        |record: &Record| record.headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let line = |record: &Record| format!("{} {} {}", record.text(), record.time - TIME, headers(record).join(","));
    topic.read(Isolation::Committed).iter().map(line).collect()
}

#[test]
fn headers_and_time_are_handed_on_or_made_and_are_no_fields() {
    let bus = kafka::shared();
    let from = bus.topic("from", 1);
    from.produce(&[
        Record::new("a", r#"{"n":1,"at":"2026-11-18T11:06:50Z"}"#)
            .time(TIME + 5)
            .header("kind", "x")
            .header("kind", "y"),
        Record::new("b", r#"{"n":2,"at":null}"#).time(TIME + 6),
    ]);
    let once = |steps: &str| {
        let to = bus.topic("to", 1);
        let desk = desk(&bus, &from, steps, &to);
        desk.ok(&["run", "orders.sync", "--once"]);
        shown(&to)
    };
    let handed_on = [r#"{"n":1} 5 kind=x,kind=y"#, r#"{"n":2} 6 "#];
    assert_eq!(once("|> SELECT n, _headers, _timestamp"), handed_on);
    // The whole record as it came, with what stood beside it.
    let whole = [r#"{"n":1,"at":"2026-11-18T11:06:50Z"} 5 kind=x,kind=y"#, r#"{"n":2,"at":null} 6 "#];
    assert_eq!(once("|> EXTEND _headers AS _headers, _timestamp AS _timestamp"), whole);
    let made = once(
        "|> SELECT n, named_struct('n', n, 'from', 'here') AS _headers, COALESCE(CAST(at AS TIMESTAMP), _timestamp) AS _timestamp",
    );
    assert_eq!(made, [r#"{"n":1} 10000 from=here,n=1"#, r#"{"n":2} 6 from=here,n=2"#]);
}

#[test]
fn what_are_no_headers_and_no_time_are_dead_letters_and_types_are_told_by_check() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 1));
    let values = [
        r#"{"n":1,"h":[1],"t":"2026-11-18T11:06:40Z"}"#,
        r#"{"n":2,"h":{},"t":"1969-12-31T23:00:00Z"}"#,
        r#"{"n":3,"h":{"a":"b"},"t":"2026-11-18T11:06:40Z"}"#,
    ];
    from.produce(&values.map(|value| Record::new("k", value).time(TIME)));
    let desk = desk(&bus, &from, "|> SELECT n, h AS _headers, CAST(t AS TIMESTAMP) AS _timestamp", &to);
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!(shown(&to), [r#"{"n":3} 0 a=b"#]);
    let dead = desk.query("SELECT record_offset, reason FROM dead_letters ORDER BY record_offset");
    let reasons: Vec<&str> = dead.iter().filter_map(|dead| dead["reason"].as_str()).collect();
    assert_eq!(reasons, ["headers", "timestamp"], "{dead:?}");
    desk.books("orders");
    let wrong = self::desk(&bus, &from, "|> SELECT n, t AS _timestamp", &to);
    let said = wrong.say(&["check", "orders.sync"]).expect(2);
    assert!(said.err.contains("_timestamp is JSON, and this sink takes it as TIMESTAMP"), "{}", said.err);
}

#[test]
fn a_whole_record_is_written_with_its_key() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("from", 1), bus.topic("to", 3));
    from.produce(&[Record::new("x", r#"{"id":"a", "n":1}"#).time(TIME)]);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}'); PIPELINE orders AS FROM bus.{} |> INSERT INTO bus.{} KEY (id);",
        bus.brokers(),
        from.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let records = to.read(Isolation::Committed);
    assert_eq!(
        records.iter().map(|record| (record.key_text(), record.text())).collect::<Vec<_>>(),
        [("a".to_owned(), r#"{"id":"a", "n":1}"#.to_owned())]
    );
}

/// What a broker compares with `max.message.bytes` is a batch: 61 bytes of head, and the record with its lengths.
#[test]
fn a_record_that_just_fits_is_written_and_one_byte_more_is_a_dead_letter() {
    const MOST: usize = 2000;
    let bus = kafka::shared();
    let from = bus.topic("from", 1);
    let to = bus.topic_with("to", 1, &[("max.message.bytes", &MOST.to_string())]);
    // No key and no headers: head, two bytes of length, three in front, one for no key, two for the length of the value, one for no headers.
    let fits = MOST - 61 - 2 - 3 - 1 - 2 - 1;
    let value = |bytes: usize| format!(r#"{{"t":"{}"}}"#, "x".repeat(bytes - r#"{"t":""}"#.len()));
    // Several that fit come between, which the client would gladly put into one batch.
    let sizes = [fits, 100, 100, fits + 1, fits, 900, 900, 900];
    from.produce(&sizes.map(|bytes| Record::new("", &value(bytes)).time(TIME)));
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}', settings = 'compression.type=none');
PIPELINE orders AS FROM bus.{} |> INSERT INTO bus.{};",
        bus.brokers(),
        from.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once"]);
    let mut written: Vec<usize> = to.read(Isolation::Committed).iter().map(|record| record.text().len()).collect();
    written.sort_unstable();
    assert_eq!(written, [100, 100, 900, 900, 900, fits, fits]);
    let dead = desk.query("SELECT record_offset, reason FROM dead_letters");
    assert_eq!(dead, [serde_json::json!({"record_offset": 3, "reason": "too-large"})]);
    desk.books("orders");
}

#[test]
fn settings_that_the_client_does_not_know_are_told_by_check() {
    let told = |settings: &str, start: &str| {
        let desk = Desk::with(&format!(
            "CONNECTION bus TO kafka WITH (brokers = env('NOWHERE_SET', 'b:1'), user = 'u', password = secret('a/b'), settings = '{settings}');
PIPELINE orders AS FROM kafka('t', brokers => 'b:1'{start}) |> INSERT INTO bus.paid;"
        ));
        desk.say(&["check", "orders.sync"])
    };
    told("linger.ms=5", "").expect(0);
    let said = told("linger=5", "").expect(2);
    assert!(
        said.err.contains("No such configuration property: \"linger\"") && !said.err.contains("ok ("),
        "{}",
        said.err
    );
    let said = told("linger.ms=5", ", start => 'yesterday'").expect(2);
    assert!(said.err.contains("`start` of `kafka`"), "{}", said.err);
}
