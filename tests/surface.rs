//! The commands and the HTTP surface as a person and a program meet them: codes, formats, a running and a stopped pipeline.

use serde_json::{Value, json};

use crate::{desk::Desk, look, web::Client};

const ENDLESS: &str = "
PIPELINE orders AS
FROM http('/orders')
|> DEDUP BY id WITHIN '1 hour'
|> SELECT id, CAST(total AS DECIMAL(12, 2)) AS total
|> UPSERT INTO sqlite('shop.db', 'orders') KEY (id);
";

#[test]
fn a_first_pipeline_is_written_checked_tested_and_run() {
    let desk = Desk::new();
    desk.ok(&["init", "shop"]);
    let first = std::fs::read(desk.path("shop/orders.sync")).expect("a first pipeline");
    desk.ok(&["init", "shop"]);
    assert_eq!(std::fs::read(desk.path("shop/orders.sync")).ok(), Some(first), "a second init changes nothing");
    desk.ok(&["check", "shop/orders.sync"]);
    let tested = desk.say(&["test", "shop/orders.sync"]).expect(0);
    assert!(tested.err.contains("0 failed") && !tested.err.contains("0 passed"), "{}", tested.err);
}

#[test]
fn a_wrong_file_ends_with_2_and_every_mistake_has_its_place() {
    let desk = Desk::with(
        "PIPELINE orders AS\nFROM http('/orders')\n|> DEDUP BY id\n|> WHERE totl >\n|> INSERT INTO stdout();\n",
    );
    for command in ["check", "run", "test"] {
        desk.say(&[command, "orders.sync"]).expect(2);
    }
    let said = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(said.err.contains("orders.sync:3") && said.err.contains("orders.sync:4"), "{}", said.err);
    let said = desk.say(&["check", "orders.sync", "-o", "json"]).expect(2);
    let found: Value = serde_json::from_str(&said.out()).expect("JSON");
    assert!(found["diagnostics"].as_array().is_some_and(|all| all.len() >= 2), "{found}");
    for wrong in [&["check", "no.sync"][..], &["chek"], &["run"], &["run", "orders.sync", "--onc"], &["query"]] {
        desk.say(wrong).expect(2);
    }
    assert!(!desk.path(".syncline").exists(), "nothing was started");
}

#[test]
fn what_later_versions_will_do_is_named_with_its_place() {
    let desk = Desk::with("PIPELINE a AS\nFROM file('a.ndjson')\n|> MATCH BY kind\n|> INSERT INTO stdout();\n");
    let said = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(said.err.contains("orders.sync:3"), "{}", said.err);
}

#[test]
fn a_failing_test_ends_with_1_and_shows_the_difference() {
    let desk = Desk::with(
        "PIPELINE a AS FROM file('a.ndjson') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO file('out/');\n\
         TEST t FOR a GIVEN INPUT ROWS '{\"id\": 1}' EXPECT OUTPUT ROWS (2);\n",
    );
    let said = desk.say(&["test", "orders.sync"]).expect(1);
    let all = format!("{}{}", said.out(), said.err);
    assert!(all.contains("FAILED") && all.contains("orders.sync:2"), "{all}");
    desk.say(&["test", "orders.sync", "--filter", "other"]).expect(2);
}

#[test]
fn status_query_and_dead_letters_answer_alike_while_it_runs_and_when_it_does_not() {
    let desk = Desk::with(ENDLESS);
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(server.address());
    let body = br#"[{"id": 1, "total": "9.50"}, {"id": 1, "total": "9.50"}, {"id": 2, "total": "ten"}, {"id": 3, "total": 7}]"#;
    let answer = client.post("/in/orders", &[("Content-Type", "application/json")], body);
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(4)), "{answer:?}");
    let upserted = "SELECT passed AS n FROM steps WHERE step = 'upsert'";
    server.until("the rows are written", |_| desk.query(upserted).first().is_some_and(|row| row["n"] == 2));
    let look = |desk: &Desk| {
        let letters = desk.query("SELECT step, reason, source, text FROM dead_letters");
        let dropped = desk.query("SELECT step, fate FROM records_dropped ORDER BY step");
        (desk.books("orders"), letters, dropped, desk.ok(&["dead-letters", "list", "-o", "csv"]))
    };
    let running = look(&desk);
    let status = desk.ok(&["status"]);
    assert!(status.contains("orders") && status.contains("running"), "{status}");
    server.stop().expect(0);
    assert_eq!(look(&desk), running);
    let letter =
        json!({"step": "select", "reason": "cast", "source": "in/orders", "text": r#"{"id": 2, "total": "ten"}"#});
    assert_eq!(running.1, [letter]);
    assert_eq!(
        look::sqlite(&desk.path("shop.db"), "SELECT id, total FROM orders ORDER BY id"),
        [["1", "9.5"], ["3", "7"]]
    );
    desk.ok(&["status"]);
}

#[test]
fn every_format_prints_the_same_rows() {
    let desk = Desk::with("PIPELINE a AS FROM file('a.ndjson') |> WHERE id > 1 |> INSERT INTO file('out/');");
    desk.write("a.ndjson", "{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n");
    desk.ok(&["run", "orders.sync"]);
    let sql = "SELECT step, rows_in, filtered FROM steps WHERE step = 'where'";
    let print = |format: &str| desk.ok(&["query", sql, "-o", format]);
    assert_eq!(print("csv"), "step,rows_in,filtered\nwhere,3,1\n");
    assert_eq!(print("ndjson"), "{\"step\":\"where\",\"rows_in\":3,\"filtered\":1}\n");
    let rows: Value = serde_json::from_str(&print("json")).expect("JSON");
    assert_eq!(rows, json!([{"step": "where", "rows_in": 3, "filtered": 1}]));
    assert!(print("table").contains("where"));
    for refused in ["DROP TABLE steps", "CREATE TABLE a AS SELECT 1", "SELECT * FROM stepz", "SELECT rowsin FROM steps"]
    {
        let said = desk.say(&["query", refused]);
        assert!(matches!(said.code, Some(1 | 2)), "{refused}: {:?} {}", said.code, said.err);
    }
    let said = desk.say(&["query", "SELECT * FROM stepz"]);
    assert!(said.err.contains("steps"), "the nearest name: {}", said.err);
}

#[test]
fn http_says_what_it_did_with_every_body() {
    let desk = Desk::with(ENDLESS);
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let address = server.address();
    let mut client = Client::to(address);
    let json = [("Content-Type", "application/json")];
    let lines = [("Content-Type", "application/x-ndjson")];
    let mut post = |path: &str, headers: &[(&str, &str)], body: &[u8]| client.post(path, headers, body).status;
    assert_eq!(post("/in/orders", &json, br#"{"id": 1, "total": 1}"#), 202);
    assert_eq!(post("/in/orders", &[], b"{\"id\": 2}\n{\"id\": 3}\n"), 202);
    assert_eq!(post("/in/orders", &lines, b"{\"id\": 4}\nnot json\n"), 202);
    assert_eq!(post("/in/orders", &json, b"not json"), 422);
    assert_eq!(post("/in/other", &json, b"{}"), 404);
    assert_eq!(post("/in/orders", &[("Content-Type", "application/x-www-form-urlencoded")], b"id=1"), 415);
    assert_eq!(post("/in/orders", &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")], b"{}"), 415);
    let mut client = Client::to(address);
    server.until("it is ready", |_| client.get("/readyz").status == 200);
    let mut get = |path: &str| client.get(path).status;
    assert_eq!((get("/healthz"), get("/readyz"), get("/in/orders"), get("/nothing")), (200, 200, 405, 404));
    let metrics = client.get("/metrics");
    assert!(metrics.status == 200 && metrics.body.contains("# HELP"), "{metrics:?}");
    let problem = client.post("/in/orders", &json, b"{\"id\": 1,,}");
    assert_eq!(problem.header("content-type"), Some("application/problem+json"), "{problem:?}");
    assert_eq!(problem.json()["status"], 422);
    server.stop().expect(0);
}
