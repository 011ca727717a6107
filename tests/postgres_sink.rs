//! Rows in a PostgreSQL table: once each, whoever is killed and whenever, and what the table refuses is told.
//!
//! What is there is read with PostgreSQL's own client. What must come out of the orders is computed by `orders.py`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    chance::{Chance, soak},
    desk::{Desk, Running, free_address, house, python, python_reads},
    look,
    postgres::{Database, GUARDED, own, shared},
    promises::figure,
    web::Client,
};

/// The same rows twice: over those of their key, and added, where one that came again would be there twice.
const JOB: &str = "
|> WHERE status = 'paid' AND amount >= 10
|> DEDUP BY id WITHIN '1 day'
|> SELECT CAST(id AS STRING) AS id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents, substr(created_at, 1, 10) AS day
|> TEE (|> INSERT INTO shop.added)
|> UPSERT INTO shop.orders KEY (id);
";

fn pipeline(database: &Database, source: &str) -> String {
    format!(
        "{}PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS\nFROM {source}{JOB}",
        connection(database)
    )
}

fn connection(database: &Database) -> String {
    format!("CONNECTION shop TO postgres WITH (url = '{}');\n", database.url())
}

struct Size {
    orders: usize,
    kills: usize,
}

fn size() -> Size {
    match soak() {
        true => Size { orders: 1_000_000, kills: 30 },
        false => Size { orders: 60_000, kills: 6 },
    }
}

fn made(desk: &Desk, size: &Size, seed: u64) {
    fs::write(desk.path("all.ndjson"), python("orders.py", &["make", &size.orders.to_string(), &seed.to_string()]))
        .expect("write the orders");
}

fn expect_tables(desk: &Desk, database: &Database) {
    let input = fs::read(desk.path("all.ndjson")).expect("the orders");
    let expected: Vec<String> = python_reads("orders.py", &["expect"], &input).lines().map(str::to_owned).collect();
    assert!(expected.len() > 1_000, "a test without rows shows nothing: {}", expected.len());
    for table in ["orders", "added"] {
        let sql = format!("SELECT id, customer, cents, day FROM {table} ORDER BY id COLLATE \"C\", day");
        look::same(table, &database.sql(&sql), &expected);
    }
    // What waited when a run was stopped went out in the next one.
    let books = desk.books("orders");
    let newest: BTreeMap<_, _> = books.iter().filter_map(|line| line.split_once(": ")).collect();
    assert!(newest.values().all(|counts| !counts.contains("waiting")), "{books:?}");
    // What the database says of itself is where the log ends.
    let rows = database.sql("SELECT DISTINCT next_offset FROM syncline_progress");
    assert_eq!(rows, [expected.len().to_string()]);
}

#[test]
fn soak_a_table_has_each_row_once_whenever_the_engine_is_killed() {
    let (mut chance, seed) = Chance::told("postgres");
    let (size, database) = (size(), shared().database());
    let desk = Desk::with(&pipeline(&database, "file('orders.ndjson')"));
    made(&desk, &size, seed);
    let mut from = BufReader::new(File::open(desk.path("all.ndjson")).expect("the orders"));
    let (mut fell, mut ended) = (0, 0);
    while fell < size.kills {
        let grown = grow(&desk, &mut from, size.orders * 2 / (size.kills * 3));
        assert!(grown > 0, "the orders were read after {fell} kills: {ended} processes ended before their moment");
        let running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(30, 400)));
        if running.kill() {
            fell += 1;
        } else {
            ended += 1;
        }
    }
    grow(&desk, &mut from, usize::MAX);
    desk.ok(&["run", "orders.sync"]);
    eprintln!("postgres: {fell} kills; {ended} processes ended before theirs");
    expect_tables(&desk, &database);
    figure(
        "soak_a_table_has_each_row_once_whenever_the_engine_is_killed",
        &format!("{fell} kills, {} lines, each row once", size.orders),
    );
}

fn grow(desk: &Desk, from: &mut impl BufRead, lines: usize) -> usize {
    let mut to = File::options().create(true).append(true).open(desk.path("orders.ndjson")).expect("the input");
    let (mut line, mut grown) = (vec![], 0);
    while grown < lines && from.read_until(b'\n', &mut line).expect("the orders") > 0 {
        to.write_all(&line).expect("the input takes lines");
        line.clear();
        grown += 1;
    }
    grown
}

/// The database is killed under load, again and again; what comes in meanwhile is taken, and told to wait.
#[test]
fn soak_a_table_has_each_row_once_whenever_the_database_is_killed() {
    let (mut chance, seed) = Chance::told("postgres, killed");
    let size = Size { orders: size().orders, kills: size().kills / 2 };
    let database = own().database();
    let desk = Desk::with(&pipeline(&database, "http('/orders')"));
    made(&desk, &size, seed);
    let address = free_address();
    let running = desk.start(&["run", "orders.sync", "--listen", &address.to_string()]);
    let mut feed = desk.other("python3", &[]);
    feed.arg(house().join("tests/feed.py")).arg(desk.path("all.ndjson")).arg(format!("http://{address}/in/orders"));
    let feed = Running::start(feed, "feed.py".to_owned());
    for _ in 0..size.kills {
        thread::sleep(Duration::from_millis(chance.between(300, 1_500)));
        database.server().kill();
        thread::sleep(Duration::from_millis(chance.between(50, 500)));
        database.server().again();
    }
    let fed = feed.end(Duration::from_secs(3_600)).expect(0);
    assert!(fed.out().starts_with(&format!("acknowledged {} lines", size.orders)), "{}", fed.out());
    running.stop().expect(0);
    desk.ok(&["run", "orders.sync", "--once"]);
    expect_tables(&desk, &database);
    figure(
        "soak_a_table_has_each_row_once_whenever_the_database_is_killed",
        &format!("{} kills of PostgreSQL, {} lines, each row once", size.kills, size.orders),
    );
}

#[test]
fn while_the_database_is_away_records_are_taken_and_readiness_says_why() {
    let database = own().database();
    let desk = Desk::with(&format!(
        "{}PIPELINE orders AS FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO shop.orders;\n",
        connection(&database)
    ));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut web = Client::to(running.address());
    let post = |web: &mut Client, id: u32| {
        let said =
            web.post("/in/orders", &[("Content-Type", "application/json")], format!("{{\"id\":{id}}}").as_bytes());
        assert_eq!(said.status, 202, "{said:?}");
    };
    post(&mut web, 1);
    running.until("the first row is there", |_| {
        let there = database.sql("SELECT to_regclass('orders') IS NOT NULL");
        there == ["t"] && database.sql("SELECT id FROM orders") == ["1"]
    });
    database.server().kill();
    post(&mut web, 2);
    let mut said = String::new();
    running.until("readiness says why", |_| {
        let ready = web.get("/readyz");
        said = ready.body;
        ready.status == 503 && said.contains("cannot connect")
    });
    assert!(said.contains(&format!("127.0.0.1:{}", database.server().port())), "{said}");
    post(&mut web, 3);
    database.server().again();
    running.until("all rows are there", |_| database.sql("SELECT id FROM orders ORDER BY id") == ["1", "2", "3"]);
    running.until("it is ready", |_| web.get("/readyz").status == 200);
    running.stop().expect(0);
}

/// A process that slept while a copy of it took over finds out when it wakes.
#[test]
fn of_two_processes_the_one_that_started_last_writes() {
    let database = shared().database();
    let desk = Desk::with(&format!(
        "{}PIPELINE orders AS FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO shop.orders;\n",
        connection(&database)
    ));
    let mut first = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut web = Client::to(first.address());
    web.post("/in/orders", &[("Content-Type", "application/json")], b"{\"id\":1}");
    first.until("the first row is there", |_| {
        database.sql("SELECT to_regclass('orders') IS NOT NULL") == ["t"]
            && database.sql("SELECT id FROM orders") == ["1"]
    });
    first.signal("STOP");
    let copied = Command::new("cp").arg("-r").arg(desk.path(".syncline")).arg(desk.path("copy")).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of the data folder");
    for left in ["lock", "control.sock"] {
        let _ = fs::remove_file(desk.path("copy").join(left));
    }
    let mut second = desk.start(&["run", "orders.sync", "--data", "copy", "--listen", "127.0.0.1:0"]);
    let address = second.address();
    second.until("it took over", |_| {
        database.sql("SELECT count(DISTINCT fence) FROM syncline_progress WHERE fence > 1") == ["1"]
    });
    first.signal("CONT");
    // It may still take records; it may not write them.
    web.post("/in/orders", &[("Content-Type", "application/json")], b"{\"id\":100}");
    first.until("it was told", |first| first.err().contains("was started again elsewhere"));
    Client::to(address).post("/in/orders", &[("Content-Type", "application/json")], b"{\"id\":2}");
    second.until("the second one writes", |_| database.sql("SELECT id FROM orders ORDER BY id") == ["1", "2"]);
    assert!(first.kill());
    second.stop().expect(0);
    assert_eq!(database.sql("SELECT id FROM orders ORDER BY id"), ["1", "2"]);
}

#[test]
fn a_row_that_the_table_refuses_is_a_dead_letter_with_its_bytes() {
    let database = shared().database();
    database
        .sql("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(3) CHECK (name <> 'bad'), total numeric(6,2))");
    let desk = Desk::with(&format!(
        "{}PIPELINE orders AS FROM file('in.ndjson')\n|> SELECT CAST(id AS BIGINT) AS id, name, total\n|> UPSERT INTO shop.orders KEY (id);\n",
        connection(&database)
    ));
    let refused = [
        (r#"{"id": 2, "name":  "bad", "total": 1}"#, "violates check constraint"),
        (r#"{"id": 3, "name": "long", "total": 1}"#, "value too long for type character varying(3)"),
        (r#"{"id": 4, "name": "a\u0000", "total": 1}"#, "has a NUL character"),
        (r#"{"id": 5, "name": "c", "total": 123456}"#, "numeric field overflow"),
        (r#"{"id": 6, "name": "c", "total": 0.001}"#, "more digits after the point than the 2"),
    ];
    let good = [r#"{"id": 1, "name": "a", "total": "9.50"}"#, r#"{"id": 7, "name": "b", "total": 2}"#];
    let lines: Vec<&str> =
        [good[0]].into_iter().chain(refused.iter().map(|(line, _)| *line)).chain([good[1]]).collect();
    desk.append("in.ndjson", lines);
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(database.sql("SELECT * FROM orders ORDER BY id"), ["1|a|9.50", "7|b|2.00"]);
    assert!(
        desk.books("orders").contains(&"upsert: 7 in · 2 passed · 5 dead".to_owned()),
        "{:?}",
        desk.books("orders")
    );
    let letters = desk.query("SELECT id, detail FROM dead_letters ORDER BY record_offset");
    assert_eq!(letters.len(), refused.len(), "{letters:?}");
    for (letter, (line, reason)) in letters.iter().zip(refused) {
        assert!(letter["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{letter}: {reason}");
        let raw = desk.ok(&["dead-letters", "show", letter["id"].as_str().expect("an id"), "--raw"]);
        assert_eq!(raw.trim_end(), line);
    }
}

#[test]
fn a_password_is_told_to_nobody() {
    let database = shared().database();
    let (user, password) = GUARDED;
    let url = database.url().replace("postgres@", &format!("{user}:{password}@"));
    let text = "CONNECTION shop TO postgres WITH (url = secret('shop/url'));\n\
                PIPELINE orders AS FROM file('in.ndjson') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO shop.orders;\n";
    let desk = Desk::with(text);
    desk.append("in.ndjson", ["{\"id\":1}"]);
    let set = |url: &str| {
        let mut set = desk.command(&["secret", "set", "shop/url"]).stdin(Stdio::piped()).spawn().expect("the binary");
        set.stdin.take().expect("a pipe").write_all(url.as_bytes()).expect("it reads the secret");
        assert!(set.wait().expect("a child of ours").success());
    };
    set(&url);
    let mut said = String::new();
    for command in [
        &["check", "orders.sync", "--plan"][..],
        &["connection", "test", "shop", "orders.sync"],
        &["run", "orders.sync"],
        &["query", "SELECT * FROM steps"],
        &["status"],
    ] {
        let told = desk.say(command);
        assert_eq!(told.code, Some(0), "{command:?}: {}", told.err);
        said += &(told.out() + &told.err);
    }
    assert!(said.contains("PLACE") || said.contains("place"), "{said}");
    set(&url.replace(password, "tr0ub5dor"));
    for command in [&["connection", "test", "shop", "orders.sync"][..], &["run", "orders.sync"]] {
        let told = desk.say(command);
        assert_ne!(told.code, Some(0), "{command:?}");
        assert!(told.err.contains("password authentication failed"), "{}", told.err);
        said += &(told.out() + &told.err);
    }
    assert!(!said.contains("tr0ub"), "{said}");
    assert_eq!(database.sql("SELECT id FROM orders"), ["1"]);
}

#[test]
fn a_connection_is_tested_before_it_is_used() {
    let database = shared().database();
    let desk = Desk::with(&connection(&database));
    let told = desk.ok(&["connection", "test", "SHOP", "orders.sync", "-o", "csv"]);
    assert!(told.contains("version,15.") || told.contains("version,"), "{told}");
    assert!(told.contains("takes rows,yes"), "{told}");
    let nobody = desk.say(&["connection", "test", "warehouse"]).expect(2);
    assert!(
        nobody.err.contains("there is no connection warehouse") && nobody.err.contains("help: there are shop"),
        "{}",
        nobody.err
    );
    desk.write("orders.sync", "CONNECTION shop TO postgres WITH (url = 'postgres://ada@127.0.0.1:1/shop');\n");
    let away = desk.say(&["connection", "test", "shop"]).expect(3);
    assert!(away.err.contains("database shop at 127.0.0.1:1: cannot connect"), "{}", away.err);
}
