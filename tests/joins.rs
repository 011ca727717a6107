//! FORK, UNION and JOIN from the outside: tests beside a pipeline, `kill -9`, tables that change, tables that are not there.
//!
//! What must come out is computed here by hand: a map of the table, and a pass over the lines of each source.

use std::{
    collections::BTreeMap,
    fmt::Write,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

const PIPELINE: &str = "
PIPELINE events WITH (checkpoint_every = '20 milliseconds') AS
FROM file('shop.ndjson') AS e
|> SELECT id, repo, 'shop' AS source
|> UNION ALL (
     FROM file('market.ndjson')
     |> WHERE status = 'paid'
     |> SELECT order_id, repo_id, 'market'
   )
|> DEDUP BY id
|> JOIN file('repos.ndjson') AS r ON r.id = repo
|> FORK (
     |> SELECT id, source, r.name
     |> INSERT INTO sqlite('events.db', 'events')
   ), (
     |> WHERE r.owner['login'] = 'ada'
     |> SELECT id, r.name
     |> INSERT INTO file('ada/')
   );
";

const TESTS: &str = r#"
TEST rows_of_both_sources_meet_the_table FOR events
  GIVEN INPUT ROWS '{"id": 1, "repo": 7}', '{"id": 2, "repo": 7.0}', '{"id": 3, "repo": 9}', '{"id": 4}', '{"id": 5, "repo": "7"}'
  INPUT file('market.ndjson') ROWS '{"order_id": 6, "repo_id": 8, "status": "paid"}', '{"order_id": 7, "repo_id": 8, "status": "void"}',
    '{"order_id": 1, "repo_id": 7, "status": "paid"}'
  INPUT file('repos.ndjson') ROWS '{"id": 7, "name": "a", "owner": {"login": "ada"}}', '{"id": 8, "name": "b"}', '{"id": 7, "name": "c"}', 'no'
  CHECKPOINT EVERY 1 ROWS
  AFTER CRASH AT CHECKPOINT 2
  EXPECT OUTPUT sqlite('events.db', 'events') ROWS (1, 'shop', 'a'), (1, 'shop', 'c'), (2, 'shop', 'a'), (2, 'shop', 'c'), (6, 'market', 'b')
  EXPECT OUTPUT ROWS (1, 'a'), (2, 'a')
  EXPECT DROPPED 3 BECAUSE 'unmatched', 1 BECAUSE 'duplicate'
  EXPECT DEAD LETTERS 1;
"#;

#[test]
fn a_test_gives_rows_to_every_source_and_table() {
    let desk = Desk::with(&format!("{PIPELINE}{TESTS}"));
    desk.ok(&["test", "orders.sync"]);
}

const REPOS: u64 = 500;

struct Made {
    shop: Vec<String>,
    market: Vec<String>,
    events: Vec<String>,
    ada: Vec<String>,
}

/// Orders of both sources, a tenth without a repository, and what must become of them.
fn made(chance: &mut Chance, orders: u64, repos: &BTreeMap<u64, (String, bool)>) -> Made {
    let mut made = Made { shop: vec![], market: vec![], events: vec![], ada: vec![] };
    for id in 0..orders {
        let repo = chance.below(REPOS + REPOS / 10);
        let (in_shop, paid) = (chance.below(2) == 0, chance.below(3) > 0);
        let number = if chance.below(2) == 0 { repo.to_string() } else { format!("{repo}.0") };
        match in_shop {
            true => made.shop.push(format!(r#"{{"id":{id},"repo":{number}}}"#)),
            false => made.market.push(format!(
                r#"{{"order_id":{id},"repo_id":{number},"status":"{}"}}"#,
                if paid { "paid" } else { "void" }
            )),
        }
        let Some((name, ada)) = repos.get(&repo).filter(|_| in_shop || paid) else { continue };
        made.events.push(format!("{id}|{}|{name}", if in_shop { "shop" } else { "market" }));
        if *ada {
            made.ada.push(format!(r#"{{"id":{id},"name":"{name}"}}"#));
        }
    }
    made
}

#[test]
fn soak_two_sources_and_a_table_come_out_once_whenever_the_process_is_killed() {
    let (mut chance, _) = Chance::told("joins");
    let (orders, kills) = if soak() { (600_000, 30) } else { (60_000, 6) };
    let desk = Desk::with(PIPELINE);
    let repos: BTreeMap<u64, (String, bool)> = (0..REPOS).map(|id| (id, (format!("repo {id}"), id % 7 == 0))).collect();
    let mut table = String::from("not a record\n");
    for (id, (name, ada)) in &repos {
        let owner = if *ada { "ada" } else { "bob" };
        writeln!(table, r#"{{"id":{id},"name":"{name}","owner":{{"login":"{owner}"}}}}"#).expect("text");
    }
    desk.write("repos.ndjson", table);
    let mut made = made(&mut chance, orders, &repos);
    let mut fell = 0;
    for slice in 0..kills {
        for (name, lines) in [("shop.ndjson", &made.shop), ("market.ndjson", &made.market)] {
            let from = lines.len() * slice / kills;
            desk.append(name, &lines[from..lines.len() * (slice + 1) / kills]);
        }
        let running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(10, 400)));
        fell += usize::from(running.kill());
    }
    desk.ok(&["run", "orders.sync"]);
    eprintln!("joins: {fell} of {kills} kills found a process at work");
    // How many do depends on the machine.
    assert!(fell > 0, "only {fell} of {kills} kills found a process that was at work");
    let mut found: Vec<String> = look::sqlite(&desk.path("events.db"), "SELECT id, source, name FROM events")
        .iter()
        .map(|row| row.join("|"))
        .collect();
    let mut ada = look::lines(&desk.path("ada"));
    for rows in [&mut found, &mut ada, &mut made.events, &mut made.ada] {
        rows.sort();
    }
    look::same("SQLite", &found, &made.events);
    look::same("lines", &ada, &made.ada);
    let count = |what: &str, step: &str| {
        desk.value(&format!("SELECT sum({what}) AS n FROM steps WHERE step = '{step}'")).as_u64().unwrap_or_default()
            as usize
    };
    desk.books("events");
    assert_eq!((count("rows_in", "source"), count("rows_in", "source_2")), (made.shop.len(), made.market.len()));
    assert_eq!((count("rows_in", "join/table"), count("dead", "join/table")), (1, 1), "told once, over all restarts");
}

#[test]
fn a_table_that_is_not_there_stops_the_start_and_nothing_is_done() {
    let desk = Desk::with(PIPELINE);
    desk.write("shop.ndjson", "{\"id\": 1, \"repo\": 7}\n");
    desk.write("market.ndjson", "");
    let said = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(said.err.contains("repos.ndjson"), "{}", said.err);
    desk.write("repos.ndjson", "{\"id\": 7, \"name\": \"a\"}\n");
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(look::sqlite(&desk.path("events.db"), "SELECT id, name FROM events"), [["1", "a"]]);
}

/// The sink makes its database and its table one after the other.
fn is_table(file: &std::path::Path, table: &str) -> bool {
    file.exists() && !look::sqlite(file, &format!("SELECT name FROM sqlite_master WHERE name = '{table}'")).is_empty()
}

#[test]
fn a_table_is_read_again_while_the_pipeline_runs() {
    let desk = Desk::with(
        "
PIPELINE events AS
FROM file('events.ndjson') FOLLOW
|> JOIN file('repos.ndjson') REFRESH EVERY '100 milliseconds' AS r ON r.id = repo
|> SELECT id, r.name
|> INSERT INTO sqlite('events.db', 'events');",
    );
    desk.write("repos.ndjson", "{\"id\": 7, \"name\": \"old\"}\n");
    desk.write("events.ndjson", "{\"id\": 0, \"repo\": 7}\n");
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let names = || look::sqlite(&desk.path("events.db"), "SELECT name FROM events ORDER BY id");
    running.until("the first row is there", |_| is_table(&desk.path("events.db"), "events") && !names().is_empty());
    // A table is replaced as a whole: a reader sees the old one or the new one.
    desk.write("repos.next", "{\"id\": 7, \"name\": \"new\"}\nbad\n");
    std::fs::rename(desk.path("repos.next"), desk.path("repos.ndjson")).expect("the new table");
    let (began, mut id) = (Instant::now(), 1);
    running.until("a row meets the new table", |_| {
        desk.append("events.ndjson", &[format!("{{\"id\": {id}, \"repo\": 7}}")]);
        id += 1;
        names().last().is_some_and(|name| name[0] == "new")
    });
    eprintln!("the new table was met after {:?}", began.elapsed());
    running.until("every row is there", |_| names().len() == id);
    std::fs::remove_file(desk.path("repos.ndjson")).expect("a file");
    running.until("a reading that fails is told", |running| running.err().contains("the table stays as it is"));
    running.stop().expect(0);
    let names = names();
    assert_eq!(names[0], ["old"]);
    assert_eq!(names.len(), id, "no row waited or was lost");
    assert!(desk.books("events").contains(&"join/table: 1 in · 1 dead".to_owned()), "{:?}", desk.books("events"));
}

#[test]
fn a_table_of_a_database_is_joined_and_what_does_not_fit_its_schema_is_told() {
    let desk = Desk::with(
        "
SCHEMA customer (id BIGINT NOT NULL, name STRING NOT NULL, discount DECIMAL(5, 2), since TIMESTAMP);
PIPELINE orders AS
FROM file('orders.ndjson') AS o
|> LEFT JOIN sqlite('shop.db', 'customers') SCHEMA customer AS c ON c.id = o.customer
|> JOIN sqlite('shop.db', 'regions') AS r ON r.code = o.region AND r.open
|> SELECT o.id, c.name, c.discount, c.since, r.title
|> INSERT INTO sqlite('shop.db', 'orders');",
    );
    let shop = Connection::open(desk.path("shop.db")).expect("a database");
    shop.execute_batch(
        "CREATE TABLE customers (Id INTEGER, name TEXT, discount, since TEXT);
         INSERT INTO customers VALUES (7, 'ada', 9.5, '2026-01-02T03:04:05+01:00'), (8, NULL, 1, NULL), (9, 'bob', 'much', NULL),
           (10, 'cy', NULL, 'soon'), (11, 'eve', 0.25, NULL), (11, 'eva', 0.5, NULL), (12, CAST(x'ff' AS TEXT), 1, NULL);
         CREATE TABLE places (code, title, shut); INSERT INTO places VALUES ('eu', 'Europe', NULL), ('us', 'America', '2026');
         CREATE VIEW regions AS SELECT code, title, CASE WHEN shut IS NULL THEN 'true' ELSE 'false' END AS open FROM places;",
    )
    .expect("tables");
    let orders = [(1, 7, "eu"), (2, 8, "eu"), (3, 9, "eu"), (4, 11, "eu"), (5, 7, "us"), (6, 7, "xx")];
    let line = |(id, customer, region): &(i32, i32, &str)| {
        format!(r#"{{"id": {id}, "customer": {customer}, "region": "{region}"}}"#)
    };
    desk.append("orders.ndjson", orders.iter().map(line));
    desk.ok(&["run", "orders.sync"]);
    let found =
        look::sqlite(&desk.path("shop.db"), "SELECT id, name, discount, since, title FROM orders ORDER BY id, name");
    let found: Vec<String> = found.iter().map(|row| row.join("|")).collect();
    assert_eq!(
        found,
        [
            "1|ada|9.5|2026-01-02T02:04:05Z|Europe",
            "2|NULL|NULL|NULL|Europe",
            "3|NULL|NULL|NULL|Europe",
            "4|eva|0.5|NULL|Europe",
            "4|eve|0.25|NULL|Europe",
        ]
    );
    let dead = desk.query("SELECT step, reason, record_offset FROM dead_letters ORDER BY record_offset");
    let dead: Vec<String> =
        dead.iter().map(|row| format!("{} {} {}", row["step"], row["record_offset"], row["reason"])).collect();
    assert_eq!(
        dead,
        [
            r#""join/table" 2 "missing""#,
            r#""join/table" 3 "type""#,
            r#""join/table" 4 "type""#,
            r#""join/table" 7 "not-utf8""#,
        ]
    );
    let books = desk.books("orders");
    assert!(books.contains(&"join/table: 4 in · 4 dead".to_owned()), "{books:?}");
    shop.execute_batch("ALTER TABLE customers RENAME COLUMN discount TO rebate").expect("a new name");
    let said = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(said.err.contains("it has no column discount; its columns are Id, name, rebate, since"), "{}", said.err);
}

#[test]
fn a_table_of_a_database_is_read_again_while_others_write_it() {
    let desk = Desk::with(
        "
PIPELINE events WITH (checkpoint_every = '20 milliseconds') AS
FROM file('events.ndjson') FOLLOW
|> JOIN sqlite('shop.db', 'names') REFRESH EVERY '50 milliseconds' AS n ON n.id = who
|> SELECT id, n.name
|> INSERT INTO sqlite('out.db', 'events');
TEST the_table_is_given FOR events
  GIVEN INPUT ROWS '{\"id\": 1, \"who\": 7}', '{\"id\": 2, \"who\": 9}'
  INPUT sqlite('shop.db', 'names') ROWS '{\"id\": 7, \"name\": \"a\"}'
  EXPECT OUTPUT ROWS (1, 'a')
  EXPECT DROPPED 1 BECAUSE 'unmatched';",
    );
    desk.ok(&["test", "orders.sync"]);
    let shop = Connection::open(desk.path("shop.db")).expect("a database");
    shop.execute_batch("CREATE TABLE names (id INTEGER PRIMARY KEY, name); INSERT INTO names VALUES (7, 'old')")
        .expect("a table");
    desk.append("events.ndjson", [r#"{"id": 0, "who": 7}"#]);
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let names = || look::sqlite(&desk.path("out.db"), "SELECT name FROM events ORDER BY id");
    running.until("the first row is there", |_| is_table(&desk.path("out.db"), "events") && !names().is_empty());
    shop.execute_batch("UPDATE names SET name = 'new'").expect("an update");
    let mut id = 1;
    running.until("a row meets the new table", |_| {
        desk.append("events.ndjson", &[format!("{{\"id\": {id}, \"who\": 7}}")]);
        id += 1;
        names().last().is_some_and(|name| name[0] == "new")
    });
    shop.execute_batch("ALTER TABLE names RENAME TO gone").expect("a table that goes");
    running.until("a reading that fails is told", |running| running.err().contains("no such table: names"));
    running.until("every row is there", |_| names().len() == id);
    running.stop().expect(0);
    assert_eq!(names()[0], ["old"]);
}
