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
