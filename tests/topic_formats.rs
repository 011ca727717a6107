//! What a topic may hold: deletes, lines, bytes; and what can be said of it without a pipeline.

use serde_json::{Value, json};

use crate::{
    desk::Desk,
    kafka::{self, Bus, Isolation, Record, Registry, Topic},
    look,
};

/// A record that is a key alone.
fn delete(key: &str) -> Record {
    Record { key: Some(key.into()), ..Record::default() }
}

fn connection(bus: &Bus) -> String {
    format!("CONNECTION bus TO kafka WITH (brokers = '{}');\n", bus.brokers())
}

const RUN: [&str; 3] = ["run", "orders.sync", "--once"];

fn pairs(topic: &Topic) -> Vec<String> {
    let pair = |record: &Record| format!("{}={}", record.key_text(), record.text());
    topic.read(Isolation::Committed).iter().map(pair).collect()
}

fn table(desk: &Desk, sql: &str) -> Vec<String> {
    look::sqlite(&desk.path("shop.db"), sql).into_iter().map(|row| row.join("|")).collect()
}

#[test]
fn a_record_without_a_value_deletes_the_row_of_its_key_whatever_the_steps_read() {
    let bus = kafka::shared();
    let (from, to) = (bus.topic("customers", 1), bus.topic("names", 1));
    let row = |id: u32, name: &str, plan: &str| {
        Record::new(&id.to_string(), &format!(r#"{{"id":{id},"name":"{name}","plan":"{plan}"}}"#))
    };
    let all = [
        row(1, "ada", "paid"),
        row(2, "bob", "free"),
        row(3, "cy", "paid"),
        delete("1"),
        delete("2"),
        row(4, "dee", "paid"),
        Record::new("5", r#"{"name":"eve","plan":"paid"}"#),
        Record::new("6", r#"{"id":7,"name":"fay","plan":"paid"}"#),
        delete("seven"),
        Record { value: Some(br#"{"id":8,"name":"gus","plan":"paid"}"#.to_vec()), ..Record::default() },
        Record::default(),
    ];
    from.produce(&all);
    let desk = Desk::with(&format!(
        "{}SCHEMA customer (id BIGINT NOT NULL, name STRING NOT NULL, plan STRING NOT NULL);
PIPELINE orders AS
FROM bus.{} SCHEMA customer KEY (id)
|> WHERE plan = 'paid'
|> EXPECT length(name) > 0 ON VIOLATION DEAD LETTER
|> SELECT id, upper(name) AS name
|> TEE (|> UPSERT INTO bus.{} KEY (id))
|> TEE (|> INSERT INTO file('log/'))
|> UPSERT INTO sqlite('shop.db', 'customers') KEY (id);
",
        connection(&bus),
        from.name,
        to.name
    ));
    desk.ok(&RUN);
    assert_eq!(table(&desk, "SELECT id, name FROM customers ORDER BY id"), ["3|CY", "4|DEE", "5|EVE"]);
    assert_eq!(
        pairs(&to),
        [
            r#"1={"id":1,"name":"ADA"}"#,
            r#"3={"id":3,"name":"CY"}"#,
            "1=NULL",
            "2=NULL",
            r#"4={"id":4,"name":"DEE"}"#,
            r#"5={"id":5,"name":"EVE"}"#
        ]
    );
    let dead = desk.query("SELECT record_offset AS at, reason FROM dead_letters ORDER BY record_offset");
    let dead: Vec<String> =
        dead.iter().map(|row| format!("{} {}", row["at"], row["reason"].as_str().unwrap_or(""))).collect();
    assert_eq!(dead, ["7 key", "8 key", "9 null-key", "10 no-value"]);
    let absorbed = desk.query("SELECT step, absorbed FROM steps WHERE absorbed > 0");
    assert_eq!(absorbed, [json!({"step": "tee_2/insert", "absorbed": 2})]);
    desk.books("orders");
}

#[test]
fn a_key_of_several_columns_is_what_the_sink_of_another_pipeline_wrote() {
    let bus = kafka::shared();
    let (events, latest, to) = (bus.topic("events", 1), bus.topic("latest", 1), bus.topic("out", 1));
    let event = |op: &str, region: &str, day: &str| {
        Record::new("x", &format!(r#"{{"op":"{op}","region":"{region}","day":"{day}","total":1.50}}"#))
    };
    events.produce(&[
        event("put", r#"EU \"x\""#, "2026-11-20"),
        event("put", "US", "2026-11-20"),
        event("cut", r#"EU \"x\""#, "2026-11-20"),
    ]);
    let desk = Desk::with(&format!(
        "{}SCHEMA total (region STRING, day DATE, total DECIMAL(12, 2));
PIPELINE first AS
FROM bus.{}
|> SELECT CAST(region AS STRING) AS region, CAST(day AS DATE) AS day, CAST(total AS DECIMAL(12, 2)) AS total, op
|> UPSERT INTO bus.{} KEY (region, day) DELETE WHEN op = 'cut';
PIPELINE second AS
FROM bus.{} FORMAT json SCHEMA wide KEY (region, day)
|> SELECT region, day
|> UPSERT INTO bus.{} KEY (day, region);
SCHEMA wide DISCARD (region STRING NOT NULL, day DATE NOT NULL, total DECIMAL(12, 2) NOT NULL);
",
        connection(&bus),
        events.name,
        latest.name,
        latest.name,
        to.name
    ));
    desk.ok(&["run", "orders.sync", "--once", "--pipeline", "first"]);
    desk.ok(&["run", "orders.sync", "--once", "--pipeline", "second"]);
    assert_eq!(
        pairs(&to),
        [
            r#"["2026-11-20","EU \"x\""]={"region":"EU \"x\"","day":"2026-11-20"}"#,
            r#"["2026-11-20","US"]={"region":"US","day":"2026-11-20"}"#,
            r#"["2026-11-20","EU \"x\""]=NULL"#
        ]
    );
    desk.books("second");
}

#[test]
fn lines_and_bytes_are_taken_as_they_are() {
    let bus = kafka::shared();
    let (lines, bytes) = (bus.topic("lines", 1), bus.topic("bytes", 1));
    let values = ["1;\"a;b\";9.50", "2;x;NA\r\n", "3;y", "4;z;1\n5;z;1", "# a comment", "6;\"two\nlines\";0.10"];
    lines.produce(&values.map(|value| Record::new("k", value)));
    let raw = |value: &[u8]| Record { key: Some(b"7".to_vec()), value: Some(value.to_vec()), ..Record::default() };
    bytes.produce(&[raw(b"{ no JSON"), raw(b""), raw(b"\xff\x00"), delete("7")]);
    let desk = Desk::with(&format!(
        "{}SCHEMA line (id BIGINT NOT NULL, name STRING, total DECIMAL(12, 2));
SCHEMA text (id BIGINT, body STRING);
PIPELINE csv AS
FROM bus.{} FORMAT csv (delimiter = ';', null = 'NA', comment = '#') SCHEMA line
|> INSERT INTO file('csv/');
PIPELINE raw AS FROM bus.{} FORMAT raw |> SELECT value, _offset AS at |> INSERT INTO file('raw/');
PIPELINE body AS
FROM bus.{} FORMAT raw SCHEMA text KEY (id)
|> UPSERT INTO sqlite('shop.db', 'bodies') KEY (id);
",
        connection(&bus),
        lines.name,
        bytes.name,
        bytes.name
    ));
    desk.ok(&RUN);
    assert_eq!(
        parts(&desk, "csv"),
        [
            r#"{"id":1,"name":"a;b","total":9.50}"#,
            r#"{"id":2,"name":"x","total":null}"#,
            r#"{"id":6,"name":"two\nlines","total":0.10}"#
        ]
    );
    assert_eq!(
        parts(&desk, "raw"),
        [r#"{"value":"eyBubyBKU09O","at":0}"#, r#"{"value":"","at":1}"#, r#"{"value":"/wA=","at":2}"#]
    );
    assert_eq!(table(&desk, "SELECT count(*) FROM bodies"), ["0"]);
    let dead =
        desk.query("SELECT pipeline, record_offset AS at, reason FROM dead_letters ORDER BY pipeline, record_offset");
    let dead: Vec<String> = dead
        .iter()
        .map(|row| {
            format!("{} {} {}", row["pipeline"].as_str().unwrap_or(""), row["at"], row["reason"].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(dead, ["body 2 not-utf8", "csv 2 fields", "csv 3 not-csv", "csv 4 comment", "raw 3 no-value"]);
    for pipeline in ["csv", "raw", "body"] {
        desk.books(pipeline);
    }
}

/// The lines of a folder of parts.
fn parts(desk: &Desk, folder: &str) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(desk.path(folder))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("text");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn topics_are_listed_and_a_schema_is_written_from_a_sample() {
    let bus = kafka::shared();
    let (orders, lines, empty) =
        (bus.topic("discovered", 2), bus.topic("discovered_lines", 1), bus.topic("discovered_empty", 3));
    let time = 1_795_000_000_000;
    orders.produce(&[
        Record::new("1", r#"{"id":1,"total":9.50,"at":"2026-11-20T10:00:00Z"}"#).time(time),
        Record::new("2", r#"{"id":2,"total":1.5,"at":"2026-11-20T10:00:00Z","tags":["a"]}"#)
            .time(time + 1000)
            .partition(1),
        delete("1").time(time + 2000),
    ]);
    lines.produce(&[Record::new("k", "1;ada;2026-11-20").time(time), Record::new("k", "2;bob;2026-11-21").time(time)]);
    let desk = Desk::with(&format!("{}PIPELINE p AS FROM bus.x |> INSERT INTO stdout();\n", connection(&bus)));
    let listed: Value = serde_json::from_str(&desk.ok(&["discover", "bus", "-o", "json"])).expect("JSON");
    let one = |topic: &Topic| {
        listed.as_array().expect("a list").iter().find(|one| one["topic"] == topic.name.as_str()).cloned()
    };
    assert_eq!(
        one(&orders),
        Some(json!({"topic": orders.name, "partitions": 2, "records": 3, "newest": "2026-11-18T11:06:42Z"}))
    );
    assert_eq!(one(&empty), Some(json!({"topic": empty.name, "partitions": 3, "records": 0, "newest": null})));
    let schema = desk.ok(&["discover", &format!("bus.{}", orders.name), "orders.sync"]);
    let expected = format!(
        "-- From 2 records of bus.{}. It holds for these: widen what you know better.\nSCHEMA {} (\n  \
         id BIGINT NOT NULL,\n  total DECIMAL(38, 2) NOT NULL,\n  at TIMESTAMP NOT NULL,\n  tags JSON\n);\n",
        orders.name, orders.name
    );
    assert_eq!(schema.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
    let schema = desk.ok(&["discover", &format!("bus.{} FORMAT csv (delimiter = ';')", lines.name), "--name", "line"]);
    assert!(
        schema.ends_with("column_1 BIGINT NOT NULL,\n  column_2 STRING NOT NULL,\n  column_3 DATE   NOT NULL\n);\n"),
        "{schema}"
    );
    let said = desk.say(&["discover", &format!("bus.{}", empty.name)]).expect(1);
    assert!(said.err.contains("it has no records"), "{}", said.err);
    let said = desk.say(&["discover", "bus.nowhere"]).expect(3);
    assert!(said.err.contains("is not there"), "{}", said.err);
}

const FIRST: &str = r#"{"type":"record","name":"order","namespace":"shop","fields":[
  {"name":"id","type":"long"},
  {"name":"customer","type":["null","string"],"default":null},
  {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"tags","type":{"type":"array","items":"string"}}]}"#;

/// Another order of fields, one that is gone, and a new one.
const SECOND: &str = r#"{"type":"record","name":"order","namespace":"shop","fields":[
  {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
  {"name":"note","type":"string"},
  {"name":"id","type":"long"},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

/// A record with its head: a zero byte and the id of its schema.
fn framed(id: i64, value: &[u8]) -> Record {
    let head = [&[0][..], &(id as u32).to_be_bytes(), value].concat();
    Record { key: Some(b"1".to_vec()), value: Some(head), ..Record::default() }
}

/// 1, "ada", 9.50, a second after 1970, ["x"].
const ADA: [u8; 15] = [2, 2, 6, b'a', b'd', b'a', 4, 0x03, 0xb6, 0xd0, 0x0f, 2, 2, b'x', 0];
/// -0.01, "hm", 2, 1970.
const HM: [u8; 7] = [2, 0xff, 4, b'h', b'm', 4, 0];

#[test]
fn records_of_avro_keep_their_types_and_meet_the_contract_by_name() {
    let (bus, registry) = (kafka::shared(), Registry::start());
    let topic = bus.topic("avro", 1);
    let first = registry.register(&format!("{}-value", topic.name), "AVRO", FIRST);
    let second = registry.register("other-value", "AVRO", SECOND);
    let proto = registry.register("proto-value", "PROTOBUF", "syntax = \"proto3\"; message M { int64 id = 1; }");
    topic.produce(&[
        framed(first, &ADA),
        framed(second, &HM),
        framed(first, &ADA),
        Record::new("1", r#"{"id":1}"#),
        framed(9_999, &ADA),
        framed(proto, &ADA),
        framed(first, &ADA[..10]),
        framed(first, b""),
        Record { key: Some(b"1".to_vec()), value: Some(vec![0, 0]), ..Record::default() },
        delete("1"),
    ]);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}', schema_registry = '{}');
SCHEMA strict (id BIGINT NOT NULL, customer STRING, total DECIMAL(12, 2) NOT NULL, at TIMESTAMP, tags STRING[]);
SCHEMA all EVOLVE (id BIGINT NOT NULL);
PIPELINE typed AS FROM bus.{name} FORMAT avro |> INSERT INTO file('typed/');
PIPELINE strict AS FROM bus.{name} FORMAT avro SCHEMA strict |> SELECT id, tags[1] AS tag |> INSERT INTO file('strict/');
PIPELINE whole AS FROM bus.{name} FORMAT avro SCHEMA all |> INSERT INTO file('whole/');
PIPELINE last AS FROM bus.{name} FORMAT avro KEY (id) |> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
",
        bus.brokers(),
        registry.url(),
        name = topic.name
    ));
    let plan = desk.ok(&["check", "--plan", "orders.sync"]);
    let fields = "fields: id BIGINT, customer STRING, total DECIMAL(12, 2), at TIMESTAMP, tags JSON";
    assert!(plan.contains(fields) && plan.contains("· avro ·"), "{plan}");
    desk.ok(&RUN);
    let ada = r#""customer":"ada","total":9.50,"at":"1970-01-01T00:00:01Z","tags":["x"]}"#;
    assert_eq!(
        parts(&desk, "typed"),
        [
            format!(r#"{{"id":1,{ada}"#),
            r#"{"id":2,"customer":null,"total":-0.01,"at":"1970-01-01T00:00:00Z","tags":null}"#.to_owned(),
            format!(r#"{{"id":1,{ada}"#)
        ]
    );
    assert_eq!(parts(&desk, "strict"), [r#"{"id":1,"tag":"x"}"#, r#"{"id":1,"tag":"x"}"#]);
    assert_eq!(parts(&desk, "whole")[1], r#"{"total":-0.01,"note":"hm","id":2,"at":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(table(&desk, "SELECT count(*) FROM orders"), ["0"]);
    let dead = desk
        .query("SELECT id, pipeline, record_offset AS at, reason FROM dead_letters ORDER BY pipeline, record_offset");
    let of = |pipeline: &str| -> Vec<String> {
        let own = dead.iter().filter(|row| row["pipeline"] == pipeline);
        own.map(|row| format!("{} {}", row["at"], row["reason"].as_str().unwrap_or(""))).collect()
    };
    let bad = ["3 not-avro", "4 no-schema", "5 no-schema", "6 not-avro", "7 not-avro", "8 not-avro"];
    let with = |more: &[&str]| -> Vec<String> {
        let mut all: Vec<String> = bad.iter().chain(more).map(|one| one.to_string()).collect();
        all.sort();
        all
    };
    assert_eq!(of("typed"), with(&["9 no-value"]));
    assert_eq!(of("strict"), with(&["1 unknown-field", "9 no-value"]));
    assert_eq!(of("last"), with(&["1 key"]));
    let cut = dead.iter().find(|row| row["pipeline"] == "typed" && row["at"] == 6).expect("a dead letter");
    let raw = desk.say(&["dead-letters", "show", cut["id"].as_str().expect("an id"), "--raw"]).expect(0).stdout;
    assert_eq!(raw, framed(first, &ADA[..10]).value.expect("a value"));
    for pipeline in ["typed", "strict", "whole", "last"] {
        desk.books(pipeline);
    }
    let found = desk.ok(&["discover", &format!("bus.{} FORMAT avro", topic.name), "--name", "order_row"]);
    assert!(found.contains("SCHEMA order_row (\n  id"), "{found}");
    assert!(found.contains("total    DECIMAL(12, 2) NOT NULL"), "{found}");
}

#[test]
fn a_registry_that_is_away_is_waited_for() {
    let bus = kafka::shared();
    let topic = bus.topic("away", 1);
    topic.produce(&[framed(1, &ADA)]);
    let file = |registry: &str| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}'{registry});
SCHEMA some DISCARD (id BIGINT);
PIPELINE p AS FROM bus.{} FORMAT avro SCHEMA some |> INSERT INTO stdout();
",
            bus.brokers(),
            topic.name
        )
    };
    let desk = Desk::with(&file(""));
    let said = desk.say(&RUN).expect(2);
    assert!(said.err.contains("schema_registry"), "{}", said.err);
    let nobody = format!(", schema_registry = 'http://{}'", crate::desk::free_address());
    desk.write("orders.sync", file(&nobody));
    let said = desk.say(&RUN).expect(3);
    assert!(said.err.contains("schema registry http://"), "{}", said.err);
    let registry = Registry::start();
    assert_eq!(registry.register("some-value", "AVRO", FIRST), 1, "the first schema of a registry");
    desk.write("orders.sync", file(&format!(", schema_registry = '{}/'", registry.url())));
    assert_eq!(desk.ok(&RUN), "{\"id\":1}\n");
    desk.books("p");
}

#[test]
fn messages_of_protobuf_keep_their_types_whichever_of_a_file_they_are() {
    let (bus, registry) = (kafka::shared(), Registry::start());
    let topic = bus.topic("protobuf", 1);
    let file = r#"syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto";
message Order { int64 id = 1; optional string customer = 2; google.protobuf.Timestamp at = 3; repeated string tags = 4; Status status = 5; enum Status { OPEN = 0; PAID = 1; } }
message Refund { int64 id = 1; message Part { int64 id = 1; uint64 cents = 2; } }"#;
    let id = registry.register(&format!("{}-value", topic.name), "PROTOBUF", file);
    topic.produce(&[
        framed(id, &[0, 8, 7, 0x12, 3, b'a', b'd', b'a', 0x1a, 2, 8, 1, 0x22, 1, b'x', 0x28, 1]),
        framed(id, &[2, 2, 8, 8]),
        framed(id, &[4, 2, 0, 8, 9, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        framed(id, &[0]),
        framed(id, &[6, 0]),
        framed(id, &[0, 8]),
        Record::new("1", r#"{"id":1}"#),
    ]);
    let desk = Desk::with(&format!(
        "CONNECTION bus TO kafka WITH (brokers = '{}', schema_registry = '{}');
SCHEMA parts DISCARD (id BIGINT, cents DECIMAL(20, 0));
PIPELINE typed AS FROM bus.{name} FORMAT protobuf |> SELECT id, customer, at, tags, status |> INSERT INTO file('typed/');
PIPELINE parts AS FROM bus.{name} FORMAT protobuf SCHEMA parts |> WHERE cents > 0 |> INSERT INTO file('parts/');
",
        bus.brokers(),
        registry.url(),
        name = topic.name
    ));
    desk.ok(&RUN);
    assert_eq!(
        parts(&desk, "typed"),
        [
            r#"{"id":7,"customer":"ada","at":"1970-01-01T00:00:01Z","tags":["x"],"status":"PAID"}"#,
            r#"{"id":8,"customer":null,"at":null,"tags":null,"status":null}"#,
            r#"{"id":9,"customer":null,"at":null,"tags":null,"status":null}"#,
            r#"{"id":0,"customer":null,"at":null,"tags":[],"status":"OPEN"}"#
        ]
    );
    assert_eq!(parts(&desk, "parts"), [r#"{"id":9,"cents":18446744073709551615}"#]);
    let dead = desk
        .query("SELECT record_offset AS at, reason FROM dead_letters WHERE pipeline = 'typed' ORDER BY record_offset");
    let dead: Vec<String> =
        dead.iter().map(|row| format!("{} {}", row["at"], row["reason"].as_str().unwrap_or(""))).collect();
    assert_eq!(dead, ["4 not-protobuf", "5 not-protobuf", "6 not-protobuf"]);
    desk.books("typed");
    desk.books("parts");
}
