//! SQL over what connections lead to: a real PostgreSQL, a real Kafka, a file of SQLite, through every door; and who may not, and what is away.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    desk::{Desk, PATIENCE, Running, Said},
    kafka::{self, Record},
    postgres,
    sql::{add_user, psql},
    web::Client,
};

/// 2026-11-20T10:00:00Z, in milliseconds.
const AT: i64 = 1_795_168_800_000;
const PASSWORD: &str = "tr0ub4dor";
const PIPELINE: &str = "
PIPELINE orders AS
FROM file('orders.ndjson')
|> DEDUP BY id WITHIN '1 hour'
|> SELECT id, customer, CAST(total AS DECIMAL(12, 2)) AS total
|> INSERT INTO file('out/');
";
const ORDERS: &str = "{\"id\":1,\"customer\":7,\"total\":\"9.50\"}\n{\"id\":1,\"customer\":7,\"total\":\"9.50\"}\n{\"id\":2,\"customer\":8,\"total\":\"x\"}\n";

/// The rows of a question, as CSV without its head.
fn rows(desk: &Desk, sql: &str) -> String {
    let out = desk.ok(&["query", "-o", "csv", sql]);
    out.split_once('\n').map(|(_, rows)| rows.trim_end().replace('\n', "; ")).unwrap_or_default()
}

fn refused(desk: &Desk, sql: &str) -> String {
    let said = desk.say(&["query", sql]);
    assert_ne!(said.code, Some(0), "{sql}: {}", said.out());
    said.err
}

#[test]
fn tables_of_postgresql_have_their_own_types_and_join_what_happened_here() {
    let database = postgres::shared().database();
    database.sql(
        "CREATE SCHEMA sales; CREATE DOMAIN email AS text; CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE TABLE customers (id int PRIMARY KEY, name varchar(20), mail email, mood mood, uid uuid, paid numeric(12,2), loose numeric,
           ratio double precision, ok boolean, since timestamptz, at timestamp(3), born date, wakes time, raw bytea, doc jsonb, tags text[], \"Big\" bigint);
         INSERT INTO customers VALUES
           (7, 'ada', 'a@b.c', 'happy', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 12345678.90, 0.1, 0.1, true, '2026-11-20 12:00:00.123456+02',
            '2026-11-20 10:00', '1815-12-10', '06:30', '\\x00ff', '{\"city\": {\"name\": \"Rome\"}, \"n\": 1.0}', '{a,\"b \\\"c\\\"\",NULL}', 9007199254740993),
           (8, 'bob', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         CREATE TABLE sales.orders (id bigint, note text); INSERT INTO sales.orders SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n;
         CREATE TABLE odd (id int, part text, n numeric(6,2), PRIMARY KEY (part, id)); INSERT INTO odd VALUES (1, 'a', 1), (2, 'a', 'NaN');
         CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO sales.orders VALUES (0) RETURNING 1';
         CREATE VIEW sly AS SELECT writes() AS n;",
    );
    let desk = Desk::with(&format!("CONNECTION shop TO postgres WITH (url = '{}');\n{PIPELINE}", database.url()));
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let all = rows(&desk, "SELECT * FROM shop.customers WHERE id = 7");
    assert_eq!(
        all,
        "7,ada,a@b.c,happy,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,12345678.90,0.1,0.1,t,2026-11-20 10:00:00.123456,\
         2026-11-20 10:00:00,1815-12-10,06:30:00,\\x00ff,\"{\"\"n\"\": 1.0, \"\"city\"\": {\"\"name\"\": \"\"Rome\"\"}}\",\"[\"\"a\"\",\"\"b \\\"\"c\\\"\"\"\",null]\",9007199254740993"
    );
    assert_eq!(rows(&desk, "SELECT count(*), count(name), count(doc), count(loose) FROM shop.customers"), "2,2,1,1");
    for (sql, expected) in [
        (
            "SELECT doc.city.name, tags[1], \"Big\" + 1 FROM shop.customers WHERE doc.n = 1",
            r#""""Rome""","""b \""c\""""",9007199254740994"#,
        ),
        ("SELECT name FROM shop.customers WHERE uid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AND name = 'ada'", "ada"),
        (
            "SELECT name FROM shop.customers WHERE since >= TIMESTAMP '2026-11-20T10:00:00.123456Z' AND born < DATE '1900-01-01'",
            "ada",
        ),
        ("SELECT name FROM shop.customers WHERE name IN ('it''s \\', 'ada') AND mood = 'happy'", "ada"),
        ("SELECT count(*), sum(id), max(length(note)) FROM shop.sales.orders", "20000,200010000,100"),
        ("FROM shop.\"sales.orders\" |> WHERE id > 19990 |> AGGREGATE count(*) AS n", "10"),
        (
            "SELECT c.name, l.fate FROM shop.customers c CROSS JOIN ledger l WHERE l.fate = 'duplicate' AND c.id = 7",
            "ada,duplicate",
        ),
        (
            "SELECT c.name, count(*) FROM dead_letters d CROSS JOIN shop.customers c GROUP BY c.name ORDER BY 1",
            "ada,1; bob,1",
        ),
        ("SELECT n FROM shop.odd WHERE id = 1", "1.00"),
    ] {
        assert_eq!(rows(&desk, sql), expected, "{sql}");
    }
    let told = refused(&desk, "SELECT n FROM shop.odd");
    let expected = "table public.odd, part = a, id = 2: n `NaN` is no number that DECIMAL(6, 2) holds";
    assert!(told.contains(expected), "{told}");
    // Nothing writes: not SQL here, and not what a view there would do.
    for sql in [
        "INSERT INTO shop.customers (id) VALUES (9)",
        "COPY shop.customers TO 'x.csv'",
        "DELETE FROM shop.customers",
        "DROP TABLE shop.customers",
    ] {
        assert!(refused(&desk, sql).contains("a query only reads"), "{sql}");
    }
    let told = refused(&desk, "SELECT * FROM shop.sly");
    assert!(told.contains("cannot execute INSERT in a read-only transaction"), "{told}");
    assert_eq!(database.sql("SELECT count(*) FROM sales.orders"), ["20000"]);
}

#[test]
fn topics_are_read_from_where_the_question_says_to_their_ends() {
    let bus = kafka::shared();
    let topic = bus.topic("Questions", 2);
    topic.produce(&[
        Record::new("1", r#"{"id":1,"total":9.50,"customer":{"id":7}}"#).time(AT),
        Record::new("2", r#"{"id":2,"total":1.5,"customer":{"id":8}}"#).time(AT),
        Record::new("3", r#"{"id":3,"customer":{"id":7}}"#).partition(1).time(AT + 1),
    ]);
    let lines = bus.topic("questions_lines", 1);
    lines.produce(&[Record::new("k", "1;ada")]);
    let desk = Desk::with(&format!("CONNECTION bus TO kafka WITH (brokers = '{}');\n{PIPELINE}", bus.brokers()));
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let name = &topic.name;
    let of = |sql: &str| rows(&desk, &sql.replace("TOPIC", &format!("bus.\"{name}\"")));
    assert_eq!(
        of(
            "SELECT value.id, value.customer.id, value.total, CAST(_key AS STRING), _partition, _offset FROM TOPIC ORDER BY _partition, _offset"
        ),
        "1,7,9.50,1,0,0; 2,8,1.5,2,0,1; 3,7,,3,1,0"
    );
    for (sql, expected) in [
        ("FROM TOPIC |> WHERE value.customer.id = 7 |> AGGREGATE sum(value.total) AS total, count(*) AS n", "9.5,2"),
        ("SELECT value.id FROM TOPIC WHERE _partition = 0 AND _offset >= 1", "2"),
        ("SELECT count(*) FROM TOPIC WHERE _timestamp > '2026-11-20T10:00:00Z'", "1"),
        ("SELECT count(*) FROM TOPIC WHERE _timestamp > now() - INTERVAL '1 minute'", "0"),
        ("SELECT count(*) FROM TOPIC WHERE _partition = 5", "0"),
        ("SELECT t.value.id, s.epoch > 0 FROM TOPIC t, orders.dedup s WHERE t._offset = 1", "2,t; 2,t"),
        ("SELECT count(*) FROM (SELECT * FROM TOPIC LIMIT 2)", "2"),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
    // Without quotes names are in lower case, and it is found all the same.
    assert_eq!(rows(&desk, &format!("SELECT count(*) FROM bus.{}", name.replace('-', "_"))), "3");
    let told = refused(&desk, &format!("SELECT value FROM bus.\"{}\"", lines.name));
    assert!(told.contains("record 0 of partition 0") && told.contains("FORMAT raw"), "{told}");
    assert_eq!(
        rows(&desk, &format!("SELECT CAST(value AS STRING), _offset FROM bus.\"{} FORMAT raw\"", lines.name)),
        "1;ada,0"
    );
    assert_eq!(rows(&desk, &format!("SELECT _offset FROM bus.\"{}\"", lines.name)), "0", "nobody asked for its value");
    assert!(refused(&desk, "SELECT * FROM bus.none").contains("there is no table `bus.none`"));
}

/// The first schema of `registered` topics, and one that came later: another order, a type that widens, a field that is gone, a new one.
const FIRST: &str = r#"{"type":"record","name":"order","fields":[
  {"name":"id","type":"int"},
  {"name":"gone","type":"string"},
  {"name":"customer","type":["null","string"],"default":null},
  {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
const SECOND: &str = r#"{"type":"record","name":"order","fields":[
  {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
  {"name":"id","type":"long"},
  {"name":"customer","type":["null","string"],"default":null},
  {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"place","type":["null",{"type":"record","name":"place","fields":[{"name":"city","type":"string"}]}],"default":null}]}"#;
/// 1, "x", "ada", 9.50, a second after 1970.
const ADA: [u8; 13] = [2, 2, b'x', 2, 6, b'a', b'd', b'a', 4, 0x03, 0xb6, 0xd0, 0x0f];
/// -0.01, 2, NULL, 1970, in Rome.
const ROME: [u8; 11] = [2, 0xff, 4, 0, 0, 2, 8, b'R', b'o', b'm', b'e'];
/// 9.50, 2^40, "ada", 1970, NULL.
const FAR: [u8; 16] = [4, 0x03, 0xb6, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 2, 6, b'a', b'd', b'a', 0, 0];
const ORDER: &str = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Order { int64 id = 1; optional string customer = 2; google.protobuf.Timestamp at = 3; repeated string tags = 4; uint64 cents = 5; }"#;

/// A record with its head: a zero byte and the id of its schema.
fn framed(id: i64, value: &[u8]) -> Record {
    let head = [&[0][..], &(id as u32).to_be_bytes(), value].concat();
    Record { key: Some(b"1".to_vec()), value: Some(head), ..Record::default() }.time(AT)
}

#[test]
fn topics_with_schemas_of_a_registry_have_their_columns() {
    let (bus, registry) = (kafka::shared(), kafka::Registry::start());
    let [avro, proto, plain, bad] =
        ["asked_avro", "asked_proto", "asked_plain", "asked_bad"].map(|name| bus.topic(name, 2));
    let subject = |topic: &kafka::Topic| format!("{}-value", topic.name);
    let first = registry.register(&subject(&avro), "AVRO", FIRST);
    avro.produce(&[framed(first, &ADA), framed(first, &ADA).partition(1)]);
    let connection = |registry: &str| {
        let brokers = bus.brokers();
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{brokers}', schema_registry = '{registry}', registry_user = 'ada', registry_password = secret('registry/password'), sql = true);\n{PIPELINE}"
        )
    };
    let desk = Desk::with(&connection(&registry.url()));
    desk.write("password", PASSWORD);
    let mut set = desk.command(&["secret", "set", "registry/password"]);
    set.stdin(fs::File::open(desk.path("password")).expect("the file"));
    assert!(set.output().expect("it runs").status.success());
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let of = |topic: &kafka::Topic, sql: &str| rows(&desk, &sql.replace("TOPIC", &format!("bus.\"{}\"", topic.name)));
    assert_eq!(of(&avro, "SELECT gone, id FROM TOPIC WHERE _partition = 1"), "x,1");
    // What is registered later is what the table is, for the records of before too.
    let second = registry.register(&subject(&avro), "AVRO", SECOND);
    let gone = Record { key: Some(b"2".to_vec()), ..Record::default() };
    avro.produce(&[framed(second, &ROME), framed(first, &ADA), framed(second, &FAR), gone.time(AT)]);
    assert_eq!(
        of(&avro, "SELECT *, _offset AS o FROM TOPIC WHERE _partition = 0 ORDER BY _offset")
            .replace(",2026-11-20 10:00:00,,", ","),
        "9.50,1,ada,1970-01-01 00:00:01,,\\x31,0,0,0; \
         -0.01,2,,1970-01-01 00:00:00,\"{\"\"city\"\":\"\"Rome\"\"}\",\\x31,0,1,1; \
         9.50,1,ada,1970-01-01 00:00:01,,\\x31,0,2,2; \
         9.50,1099511627776,ada,1970-01-01 00:00:00,,\\x31,0,3,3; \
         ,,,,,\\x32,0,4,4"
    );
    for (sql, expected) in [
        (
            "SELECT customer, sum(amount), count(*) FROM TOPIC GROUP BY customer ORDER BY 2 DESC",
            "ada,38.00,4; ,-0.01,2",
        ),
        ("SELECT place.city, id FROM TOPIC WHERE place.city IS NOT NULL", "\"\"\"Rome\"\"\",2"),
        ("SELECT count(*) FROM TOPIC WHERE at > '1970-01-01T00:00:00Z'", "3"),
        ("SELECT id FROM TOPIC WHERE _partition = 0 AND _offset BETWEEN 1 AND 2 ORDER BY id", "1; 2"),
        ("SELECT id, _offset FROM TOPIC WHERE _partition = 0 LIMIT 1", "1,0"),
        ("SELECT count(*) FROM TOPIC WHERE _timestamp > '2026-11-20T10:00:00Z'", "0"),
        ("SELECT _offset FROM TOPIC WHERE _partition = 1", "0"),
    ] {
        assert_eq!(of(&avro, sql), expected, "{sql}");
    }
    let raw = format!("SELECT length(CAST(value AS STRING)) FROM bus.\"{} FORMAT raw\" WHERE _offset < 0", avro.name);
    assert_eq!(rows(&desk, &raw), "");
    let id = registry.register(&subject(&proto), "PROTOBUF", ORDER);
    proto.produce(&[
        framed(id, &[0, 8, 7, 0x12, 3, b'a', b'd', b'a', 0x1a, 2, 8, 1, 0x22, 1, b'x', 0x28, 10]),
        framed(id, &[0, 8, 8, 0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ]);
    assert_eq!(
        of(&proto, "SELECT id, customer, at, tags, cents FROM TOPIC ORDER BY id"),
        "7,ada,1970-01-01 00:00:01,\"[\"\"x\"\"]\",10; 8,,,[],18446744073709551615"
    );
    plain.produce(&[Record::new("1", r#"{"id":5}"#)]);
    assert_eq!(of(&plain, "SELECT value.id FROM TOPIC"), "5", "a topic without a subject is JSON, as before");
    // A record that is no such record fails whoever asks for what it holds, and nobody else.
    let far = registry.register("far-value", "AVRO", SECOND);
    registry.register(&subject(&bad), "AVRO", FIRST);
    bad.produce(&[
        framed(first, &ADA),
        Record::new("1", r#"{"id":1}"#),
        framed(first, &ADA[..9]),
        framed(9_999, &ADA),
        framed(far, &FAR),
    ]);
    for (offset, words) in [
        (1, "(not-avro): begins with byte 0x7b"),
        (2, "(not-avro): "),
        (3, "(no-schema): the schema registry http://"),
        (4, "(type): id: `1099511627776` is not a INT"),
    ] {
        let told = refused(&desk, &format!("SELECT id FROM bus.\"{}\" WHERE _offset = {offset}", bad.name));
        let place = format!("record {offset} of partition 0 of topic {} cannot be read {words}", bad.name);
        assert!(told.contains(&place) && told.contains("FORMAT raw"), "{told}");
    }
    assert_eq!(of(&bad, "SELECT count(*), max(_offset) FROM TOPIC"), "5,4");
    assert_eq!(of(&bad, "SELECT id FROM TOPIC LIMIT 1"), "1");
    let columns = |topic: &kafka::Topic| {
        let sql = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'bus' AND table_name = ";
        rows(&desk, &format!("{sql}'{}' ORDER BY ordinal_position", topic.name))
    };
    let own = "_key; _partition; _offset; _timestamp; _headers";
    assert_eq!(columns(&avro), format!("amount; id; customer; at; place; {own}"));
    assert_eq!(columns(&proto), format!("id; customer; at; tags; cents; {own}"));
    assert_eq!(columns(&plain), format!("value; {own}"));
    // A registry that is away fails who needs it, and keeps its password.
    let away = format!("http://{}", crate::desk::free_address());
    desk.write("orders.sync", connection(&away));
    let told = refused(&desk, &format!("SELECT id FROM bus.\"{}\"", avro.name));
    assert!(
        told.contains(&format!("bus: schema registry {away}: it cannot be read")) && told.contains("FORMAT raw"),
        "{told}"
    );
    assert!(!told.contains(PASSWORD), "{told}");
    assert_eq!(columns(&avro), own);
    assert_eq!(rows(&desk, &format!("SELECT value.id FROM bus.\"{} FORMAT json\"", plain.name)), "5");
    assert_eq!(rows(&desk, "SELECT count(*) FROM dead_letters"), "1");
}

/// A process with a shop that is open to viewers, another that is not, and one that is away.
struct House {
    desk: Desk,
    running: Running,
    address: SocketAddr,
    postgres: u16,
}

fn sqlite(path: &std::path::Path) {
    let database = rusqlite::Connection::open(path).expect("a database");
    database
        .execute_batch(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO customers VALUES (7, 'ada'), (8, 'bob');
             CREATE VIEW endless AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c WHERE n < 0;",
        )
        .expect("tables");
}

impl House {
    fn open(away: u16) -> House {
        let connections = format!(
            "CONNECTION shop TO sqlite WITH (path = 'shop.db', sql = true);
             CONNECTION vault TO sqlite WITH (path = 'shop.db');
             CONNECTION away TO postgres WITH (url = secret('away/url'), sql = true);\n{PIPELINE}"
        );
        let desk = Desk::with(&connections);
        sqlite(&desk.path("shop.db"));
        desk.write("orders.ndjson", ORDERS);
        desk.write("url", format!("postgres://ada:{PASSWORD}@127.0.0.1:{away}/shop"));
        let mut set = desk.command(&["secret", "set", "away/url"]);
        set.stdin(fs::File::open(desk.path("url")).expect("the file"));
        assert!(set.output().expect("it runs").status.success());
        add_user(&desk, "ada", PASSWORD).expect(0);
        let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0", "--postgres", "127.0.0.1:0"]);
        let address = running.address();
        let mut postgres = None;
        let told =
            |err: &str| err.split_once("clients are answered on 127.0.0.1:")?.1.split_whitespace().next()?.parse().ok();
        running.until("PostgreSQL's clients are answered", |running| {
            postgres = told(&running.err());
            postgres.is_some()
        });
        House { desk, running, address, postgres: postgres.expect("just seen") }
    }

    fn psql(&self, sql: &str) -> Said {
        let port = self.postgres.to_string();
        let arguments = [
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "ada",
            "-d",
            "syncline",
            "-At",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        let mut command = self.desk.other(psql(), &arguments);
        command.env("PGPASSWORD", PASSWORD);
        Running::start(command, format!("psql {sql}")).end(PATIENCE)
    }

    fn ask(&self, sql: &str) -> (u16, Value) {
        // One that rests for long is closed.
        let mut client = Client::to(self.address);
        let answer = client.post("/v1/queries", &[], json!({ "sql": sql }).to_string().as_bytes());
        (answer.status, answer.json())
    }
}

#[test]
fn every_door_gives_the_same_rows_and_a_viewer_what_is_open_to_him() {
    let house = House::open(9);
    let sql = "SELECT id, name FROM shop.customers WHERE id = 7";
    assert_eq!(rows(&house.desk, sql), "7,ada");
    assert_eq!(house.ask(sql).1["rows"], json!([[7, "ada"]]));
    assert_eq!(house.psql(sql).expect(0).out().trim(), "7|ada");
    // Who owns the folder reads all; a user of PostgreSQL's protocol is a viewer.
    assert_eq!(rows(&house.desk, "SELECT count(*) FROM vault.customers"), "2");
    let said = house.psql("SELECT count(*) FROM vault.customers");
    assert!(said.err.contains("vault is a connection that only operators read in SQL"), "{}", said.err);
    assert!(said.err.contains("sql = true"), "{}", said.err);
    for (role, status) in [("viewer", 403), ("operator", 200)] {
        let token = house.desk.ok(&["token", "create", role, "--role", role]);
        let bearer = format!("Bearer {}", token.trim());
        let body = json!({ "sql": "SELECT count(*) FROM vault.customers" }).to_string();
        let answer = Client::to(house.address).post("/v1/queries", &[("authorization", &bearer)], body.as_bytes());
        assert_eq!(answer.status, status, "{role}: {answer:?}");
    }
    // psql lists what is open, and no one waits for what is away.
    let began = Instant::now();
    assert_eq!(
        house.psql("\\dt shop.*").expect(0).out().trim(),
        "shop|customers|table|postgres\nshop|endless|table|postgres"
    );
    assert!(house.psql("\\dt").expect(0).out().contains("runs"));
    assert!(house.psql("\\d shop.customers").expect(0).out().contains("name|text"));
    assert!(!house.psql("\\dt vault.*").out().contains("customers"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // What files say now is what holds.
    let text = fs::read_to_string(house.desk.path("orders.sync")).expect("the file");
    house.desk.write("orders.sync", text.replace("path = 'shop.db', sql = true", "path = 'shop.db'"));
    assert!(house.psql(sql).err.contains("shop is a connection that only operators read in SQL"));
    house.running.stop();
}

#[test]
fn what_is_away_fails_alone_soon_and_keeps_its_secret() {
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let house = House::open(silent.local_addr().expect("its address").port());
    let began = Instant::now();
    let (status, answer) = house.ask("SELECT * FROM away.customers");
    assert_eq!(status, 502, "{answer}");
    assert!(answer["type"].as_str().expect("a type").ends_with("connection-failed"), "{answer}");
    assert!(answer["title"].as_str().expect("a title").starts_with("away: "), "{answer}");
    assert!(!answer.to_string().contains(PASSWORD), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let began = Instant::now();
    let (status, answer) = house.ask("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('shop', 'vault', 'away')");
    let all = json!([["shop", "customers"], ["shop", "endless"], ["vault", "customers"], ["vault", "endless"]]);
    assert_eq!((status, &answer["rows"]), (200, &all));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // It is remembered that it said nothing.
    let began = Instant::now();
    assert_eq!(
        house.ask("SELECT count(*) FROM information_schema.columns WHERE table_schema = 'shop'").1["rows"],
        json!([[3]])
    );
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(house.psql("SELECT * FROM away.customers").err.contains("away: "));
    assert_eq!(house.ask("EXPLAIN SELECT * FROM shop.customers").0, 200);
    // A reading ends with the statement's time.
    let began = Instant::now();
    let said = house.psql("SET statement_timeout = '1s'; SELECT count(*) FROM shop.endless");
    assert!(said.err.contains("longer than"), "{}", said.err);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    house.running.stop();
}

#[test]
fn a_question_that_ends_takes_its_statement_at_the_place_with_it() {
    let database = postgres::shared().database();
    database.sql("CREATE VIEW slow AS SELECT 1 AS n FROM pg_sleep(600)");
    let house = House::open(9);
    // The process reads its files when it is asked.
    let text = fs::read_to_string(house.desk.path("orders.sync")).expect("the file");
    let declared = format!("CONNECTION live TO postgres WITH (url = '{}', sql = true);\n", database.url());
    house.desk.write("orders.sync", declared.clone() + &text);
    let at_work = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'syncline' AND query LIKE 'FETCH%' AND state = 'active'",
        database.name()
    );
    let over = || {
        let began = Instant::now();
        while database.sql(&at_work) != ["0"] {
            assert!(began.elapsed() < Duration::from_secs(20), "the server goes on");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let said = house.psql("SET statement_timeout = '2s'; SELECT n FROM live.slow");
    assert!(said.err.contains("longer than 2 seconds"), "{}", said.err);
    over();
    house.running.stop();
    let desk = Desk::with(&format!("{declared}{PIPELINE}"));
    desk.write("orders.ndjson", ORDERS);
    desk.ok(&["run", "orders.sync"]);
    let mut asking = desk.start(&["query", "SELECT n FROM live.slow"]);
    asking.until("the server works on it", |_| database.sql(&at_work) == ["1"]);
    asking.signal("KILL");
    asking.end(PATIENCE);
    over();
}
