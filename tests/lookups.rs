//! LOOKUP from the outside: a table of a database and a file that are asked by key, how long an answer holds, and what is not there.
//!
//! What must come out is computed here by hand, from a map of the table.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use rusqlite::Connection;

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

const PIPELINE: &str = "
SCHEMA customer DISCARD (id BIGINT NOT NULL, name STRING NOT NULL, discount DECIMAL(5, 2));

PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM file('orders.ndjson')
|> LOOKUP sqlite('shop.db', 'customers') SCHEMA customer CACHE '1 minute' AS c ON c.id = customer
|> LOOKUP file('regions.csv') AS r ON r.code = region
|> SELECT id, c.name, c.discount, r.title AS region
|> UPSERT INTO sqlite('out.db', 'orders') KEY (id);
";

const TESTS: &str = r#"
TEST every_row_goes_on_and_says_whom_it_found FOR orders
  GIVEN INPUT ROWS
    '{"id": 1, "customer": 7, "region": "eu"}', '{"id": 2, "customer": "7", "region": "xx"}', '{"id": 3, "customer": 9}',
    '{"id": 4}', '{"id": 5, "customer": 8}', '{"id": 6, "customer": "x"}'
  INPUT sqlite('shop.db', 'customers') ROWS '{"id": 7, "name": "ada", "discount": 0.5}', '{"id": 8, "name": "b"}', '{"id": 8, "name": "c"}'
  INPUT file('regions.csv') ROWS '{"code": "eu", "title": "Europe"}'
  AFTER CRASH AT CHECKPOINT 2
  EXPECT OUTPUT ROWS (1, 'ada', 0.50, 'Europe'), (2, 'ada', 0.50, NULL), (3, NULL, NULL, NULL), (4, NULL, NULL, NULL)
  EXPECT DEAD LETTERS 2;
"#;

/// Customers of a shop: some have a row that breaks the schema, some have two.
fn shop(desk: &Desk, count: i64) -> BTreeMap<i64, String> {
    let shop = Connection::open(desk.path("shop.db")).expect("a database");
    shop.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE customers (id INTEGER, name TEXT, discount DECIMAL(5,2), note BLOB)",
    )
    .expect("a table");
    let mut known = BTreeMap::new();
    shop.execute_batch("BEGIN").expect("a transaction");
    for id in 0..count {
        let name = if id % 10 == 3 { None } else { Some(format!("customer {id}")) };
        let insert = "INSERT INTO customers VALUES (?, ?, ?, x'00')";
        for _ in 0..if id % 10 == 4 { 2 } else { 1 } {
            shop.execute(insert, (id, &name, id as f64 / 4.0)).expect("a row");
        }
        known.extend(name.filter(|_| id % 10 != 4).map(|name| (id, name)));
    }
    shop.execute_batch("COMMIT; CREATE INDEX by_id ON customers (id)").expect("a commit");
    known
}

#[test]
fn a_test_gives_rows_to_what_is_looked_up() {
    let desk = Desk::with(&format!("{PIPELINE}{TESTS}"));
    desk.ok(&["test", "orders.sync"]);
    assert!(!desk.path("shop.db").exists(), "a test asks nobody outside");
}

#[test]
fn soak_every_row_finds_its_own_whenever_the_process_is_killed() {
    let (mut chance, _) = Chance::told("lookups");
    let (orders, kills) = if soak() { (400_000, 20) } else { (40_000, 5) };
    let desk = Desk::with(PIPELINE);
    let known = shop(&desk, 1_000);
    desk.write("regions.csv", "code,title\neu,Europe\nus,States\n");
    let (mut lines, mut expected, mut dead) = (vec![], vec![], 0);
    for id in 0..orders {
        let customer = chance.below(1_100) as i64;
        let text = if chance.below(2) == 0 { customer.to_string() } else { format!("\"{customer}\"") };
        let region = ["eu", "us", "xx"][chance.below(3) as usize];
        lines.push(format!(r#"{{"id":{id},"customer":{text},"region":"{region}"}}"#));
        if customer < 1_000 && [3, 4].contains(&(customer % 10)) {
            dead += 1;
            continue;
        }
        let title = match region {
            "eu" => "Europe",
            "us" => "States",
            _ => "NULL",
        };
        let name = known.get(&customer).map_or("NULL", String::as_str);
        let discount = if name == "NULL" { "NULL".to_owned() } else { (customer as f64 / 4.0).to_string() };
        expected.push(format!("{id}|{name}|{discount}|{title}"));
    }
    desk.append("orders.ndjson", &lines);
    let mut fell = 0;
    for _ in 0..kills {
        let running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(20, 400)));
        fell += usize::from(running.kill());
    }
    desk.ok(&["run", "orders.sync"]);
    eprintln!("lookups: {fell} of {kills} kills found a process at work");
    assert!(fell > 0, "no kill found a process that was at work");
    let rows = look::sqlite(
        &desk.path("out.db"),
        "SELECT id, name, discount, region FROM orders ORDER BY CAST(id AS INTEGER)",
    );
    let found: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    look::same("orders", &found, &expected);
    let page = format!("lookup: {orders} in · {} passed · {dead} dead", orders - dead);
    assert!(desk.books("orders").contains(&page), "{page} is not in {:?}", desk.books("orders"));
    let why = desk.query("SELECT reason, count(*) AS n FROM dead_letters GROUP BY reason ORDER BY reason");
    assert_eq!(why.iter().map(|row| row["reason"].as_str().unwrap_or("?")).collect::<Vec<_>>(), ["missing", "several"]);
}

#[test]
fn what_is_not_there_stops_the_start_and_nothing_is_done() {
    let desk = Desk::with(PIPELINE);
    desk.append("orders.ndjson", &[r#"{"id": 1, "customer": 1}"#.to_owned()]);
    desk.write("regions.csv", "code,title\n");
    let said = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(said.err.contains("shop.db, table customers"), "{}", said.err);
    assert!(!desk.path("shop.db").exists(), "a lookup makes nothing");
    Connection::open(desk.path("shop.db"))
        .and_then(|shop| shop.execute_batch("CREATE TABLE customers (number INT)"))
        .expect("a table");
    let said = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(said.err.contains("it has no column id; its columns are number"), "{}", said.err);
    fs::remove_file(desk.path("shop.db")).expect("a file");
    shop(&desk, 10);
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(look::sqlite(&desk.path("out.db"), "SELECT id, name FROM orders"), [["1", "customer 1"]]);
}

#[test]
fn an_answer_holds_as_long_as_its_cache_says_and_no_longer() {
    for (cache, names) in
        [("", ["old", "new"]), ("CACHE '1 hour'", ["old", "old"]), ("CACHE '100 milliseconds'", ["old", "new"])]
    {
        let desk = Desk::with(&format!(
            "PIPELINE p WITH (checkpoint_every = '20 milliseconds') AS FROM file('events.ndjson') FOLLOW
             |> LOOKUP sqlite('shop.db', 't') {cache} AS t USING (id) |> SELECT n, t.name |> INSERT INTO sqlite('out.db', 'out');"
        ));
        let shop = Connection::open(desk.path("shop.db")).expect("a database");
        shop.execute_batch("CREATE TABLE t (id, name); INSERT INTO t VALUES (1, 'old')").expect("a table");
        desk.append("events.ndjson", &[r#"{"n":1,"id":1}"#.to_owned()]);
        let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        let out = desk.path("out.db");
        let rows = || match out.exists() {
            true if !look::sqlite(&out, "SELECT 1 FROM sqlite_master WHERE name = 'out'").is_empty() => {
                look::sqlite(&out, "SELECT name FROM out ORDER BY rowid")
            }
            _ => vec![],
        };
        running.until("the first row is there", |_| rows().len() == 1);
        shop.execute_batch("UPDATE t SET name = 'new'").expect("an update");
        thread::sleep(Duration::from_millis(400));
        desk.append("events.ndjson", &[r#"{"n":2,"id":1}"#.to_owned()]);
        running.until("the second row is there", |_| rows().len() == 2);
        running.stop().expect(0);
        assert_eq!(rows(), names.map(|name| vec![name.to_owned()]), "{cache}");
    }
}

/// What one pipeline wrote into a table, another reads with the same `SCHEMA`: bytes came back as other bytes, and every row with a boolean
/// or an infinite number was dead.
#[test]
fn a_schema_reads_back_what_the_sink_wrote_for_its_types() {
    let schema = "SCHEMA thing (id BIGINT NOT NULL, paid BOOLEAN, photo BYTES, ratio DOUBLE, price DECIMAL(20, 4), at TIMESTAMP, day DATE,
                  tags STRING[]);";
    let desk = Desk::with(&format!(
        "{schema} PIPELINE fill AS FROM file('in.csv') SCHEMA thing |> UPSERT INTO sqlite('shop.db', 'things') KEY (id);"
    ));
    desk.write(
        "back.sync",
        format!(
            "{schema} PIPELINE back AS FROM file('ids.ndjson')
             |> LOOKUP sqlite('shop.db', 'things') SCHEMA thing AS t ON t.id = id
             |> SELECT t.id, t.paid, t.photo, t.ratio, t.price, t.at, t.day, t.tags |> INSERT INTO file('out.csv');"
        ),
    );
    let things = "id,paid,photo,ratio,price,at,day,tags\n\
                  1,true,AP8=,Infinity,12345678901234.5600,1969-12-31T23:59:59.999999Z,1900-02-28,\"[\"\"a\"\",null]\"\n\
                  2,false,YWJj,-Infinity,-0.0001,2026-01-01T00:00:00Z,9999-12-31,[]\n\
                  3,,\"\",NaN,0.0000,,,\n";
    desk.write("in.csv", things);
    desk.append("ids.ndjson", (1..4).map(|id| format!("{{\"id\": {id}}}")));
    desk.ok(&["run", "orders.sync"]);
    desk.ok(&["run", "back.sync"]);
    assert_eq!(fs::read_to_string(desk.path("out.csv")).expect("what was read back"), things);
}

/// It came with U+FFFD in place of its bytes: another text, and nobody was told.
#[test]
fn a_row_whose_text_is_not_utf8_is_a_dead_letter() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('events.ndjson') |> LOOKUP sqlite('shop.db', 't') AS t USING (id) |> SELECT id, t.name |> INSERT INTO file('out.csv');",
    );
    let shop = Connection::open(desk.path("shop.db")).expect("a database");
    let rows = "CREATE TABLE t (id, name); INSERT INTO t VALUES (1, 'ada'), (2, CAST(x'61ff' AS TEXT)), (3, x'61ff')";
    shop.execute_batch(rows).expect("a table");
    desk.append("events.ndjson", (1..4).map(|id| format!("{{\"id\": {id}}}")));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(fs::read_to_string(desk.path("out.csv")).expect("rows"), "id,name\n1,ada\n3,Yf8=\n");
    let dead = desk.query("SELECT step, reason, detail FROM dead_letters");
    let expected = "what was found: byte 18 is not UTF-8";
    let told: Vec<_> =
        dead.iter().map(|row| ["step", "reason", "detail"].map(|name| row[name].as_str().unwrap_or("?"))).collect();
    assert_eq!(told, [["lookup", "not-utf8", expected]]);
    assert!(desk.books("p").contains(&"lookup: 3 in · 2 passed · 1 dead".to_owned()), "{:?}", desk.books("p"));
}
