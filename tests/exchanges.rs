//! Verbs that meet on their way: what comes while a pipeline still stops, was decided and not begun, or was cut off in the middle.

use std::{fs, net::SocketAddr, thread::JoinHandle, time::Duration};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    desk::{Desk, Running},
    look,
    web::{Answer, Client},
};

const SQL: (&str, &str) = ("Content-Type", "application/sql");
const GOOD: &str = "id";
const BROKEN: &str = "id + 1000";

/// Each id once; `to`: what becomes of it.
fn orders(to: &str) -> String {
    format!(
        "PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id\n\
         |> DEDUP BY id WITHIN '1 hour' |> SELECT {to} AS id |> UPSERT INTO sqlite('out.db', 'orders') KEY (id);\n"
    )
}

fn serve(desk: &Desk) -> (Running, Client) {
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let client = Client::to(running.address());
    (running, client)
}

fn put(client: &mut Client, name: &str, text: &str) -> Answer {
    client.send("PUT", &format!("/v1/pipelines/{name}"), &[SQL], text.as_bytes())
}

fn send(client: &mut Client, ids: std::ops::Range<usize>) {
    let lines: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let answer = client.post("/in/orders", &[("Content-Type", "application/x-ndjson")], lines.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn rows(desk: &Desk) -> usize {
    let path = desk.path("out.db");
    let made = path.exists()
        && look::sqlite(&path, "SELECT count(*) FROM sqlite_master WHERE name = 'orders'").concat() == ["1"];
    let count = if made { look::sqlite(&path, "SELECT count(*) FROM orders").concat() } else { vec![] };
    count.concat().parse().unwrap_or_default()
}

fn state(client: &mut Client) -> Value {
    client.get("/v1/pipelines/orders").json()["state"].clone()
}

fn slug(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:syncline:").to_owned()
}

fn text(desk: &Desk) -> String {
    fs::read_to_string(desk.path("orders.sync")).unwrap_or_default()
}

/// A pipeline with ten rows, in front of a table that somebody holds: its stop takes as long as that, at most five seconds.
fn held(desk: &Desk, texts: &[&str]) -> (Running, Client, Connection) {
    let (mut running, mut client) = serve(desk);
    for to in texts {
        assert!([200, 201].contains(&put(&mut client, "orders", &orders(to)).status));
    }
    send(&mut client, 0..10);
    running.until("the rows are there", |_| rows(desk) == 10);
    let holder = Connection::open(desk.path("out.db")).expect("the table");
    holder.execute_batch("BEGIN IMMEDIATE").expect("it is held");
    send(&mut client, 10..20);
    running.until("rows wait", |_| desk.value("SELECT waiting AS n FROM pipelines") != 0);
    (running, client, holder)
}

/// Asks on a connection of its own, and gives the asking a moment to be heard.
fn ask(running: &mut Running, ask: impl FnOnce(&mut Client) -> Answer + Send + 'static) -> JoinHandle<Answer> {
    let address: SocketAddr = running.address();
    let asking = std::thread::spawn(move || ask(&mut Client::to(address)));
    std::thread::sleep(Duration::from_millis(300));
    asking
}

#[test]
fn a_way_back_under_way_is_gone_whatever_else_is_asked_meanwhile() {
    let desk = Desk::new();
    let (mut running, mut client, holder) = held(&desk, &[GOOD, BROKEN]);
    let back = ask(&mut running, |client| client.post("/v1/pipelines/orders/rollback", &[], b""));
    assert_eq!(state(&mut client), "stopping");
    running.signal("HUP");
    let other = put(&mut client, "orders", &orders("id + 5"));
    assert_eq!((other.status, slug(&other).as_str()), (409, "goes-back"));
    let again = ask(&mut running, |client| client.post("/v1/pipelines/orders/resume", &[], b""));
    drop(holder);
    running.until("it is back", |_| text(&desk) == orders(GOOD));
    assert_eq!(back.join().expect("an answer").status, 200);
    assert_eq!(again.join().expect("an answer").status, 200);
    running.until("it runs", |_| state(&mut client) == "running");
    let revisions = desk.query("SELECT revision, back_to FROM revisions ORDER BY revision");
    assert_eq!(revisions[2..], [json!({"revision": 3, "back_to": 1})], "{revisions:?}");
    running.stop().expect(0);
}

#[test]
fn a_pipeline_whose_state_goes_is_not_taken_for_the_one_that_comes_under_its_name() {
    let desk = Desk::new();
    let (mut running, mut client, holder) = held(&desk, &[GOOD]);
    // What the other one wrote stays where it is, and is nobody's.
    let next = orders(BROKEN).replace("out.db", "new.db");
    let gone = ask(&mut running, |client| client.send("DELETE", "/v1/pipelines/orders?state=drop", &[], b""));
    let other = put(&mut client, "orders", &next);
    assert_eq!((other.status, slug(&other).as_str()), (409, "state-goes"), "{other:?}");
    // By hand.
    desk.write("orders.sync", next.clone());
    running.signal("HUP");
    running.until("the files were read again", |running| running.err().matches("were read again").count() >= 3);
    drop(holder);
    assert_eq!(gone.join().expect("an answer").status, 204);
    running.until("it runs", |_| state(&mut client) == "running");
    // It knows nothing of before, and what it knows now stays.
    send(&mut client, 100..107);
    let new = |sql: &str| look::sqlite(&desk.path("new.db"), sql).concat();
    running.until("it has its own table", |_| {
        desk.path("new.db").exists() && new("SELECT count(*) FROM sqlite_master WHERE name = 'orders'") == ["1"]
    });
    running.until("it has its own rows", |_| new("SELECT count(*) FROM orders WHERE id >= 1100") == ["7"]);
    let keys = |desk: &Desk| {
        let status: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
        let steps = status["pipelines"][0]["steps"].as_array().cloned().unwrap_or_default();
        let found = steps.iter().find(|found| found["step"] == "dedup");
        found.and_then(|found| found["state"]["keys"].as_u64()).unwrap_or_default()
    };
    let before = keys(&desk);
    assert!(before >= 7, "{before}");
    assert_eq!(client.post("/v1/pipelines/orders/pause", &[], b"").status, 200);
    running.until("it is paused", |_| state(&mut client) == "paused");
    assert_eq!(keys(&desk), before);
    running.stop().expect(0);
}

#[test]
fn of_two_plans_of_one_revision_the_second_is_stale_also_before_the_first_has_begun() {
    let desk = Desk::new();
    let (mut running, mut client, holder) = held(&desk, &[GOOD]);
    let planned = |client: &mut Client, to: &str| {
        let plan = client.send("POST", "/v1/plans", &[SQL], orders(to).as_bytes()).json();
        format!("/v1/plans/{}/apply", plan["id"].as_str().expect("an id"))
    };
    let (first, second) = (planned(&mut client, "id + 1"), planned(&mut client, "id + 2"));
    let first = ask(&mut running, move |client| client.post(&first, &[], b""));
    let stale = client.post(&second, &[], b"");
    assert_eq!((stale.status, slug(&stale).as_str()), (409, "stale-plan"), "{stale:?}");
    assert_eq!(text(&desk), orders("id + 1"));
    drop(holder);
    assert_eq!(first.join().expect("an answer").status, 200);
    running.stop().expect(0);
}

#[test]
fn from_a_text_that_never_began_the_way_back_leads_to_the_one_that_did() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, "orders", &orders("id + 7")).status, 201);
    assert_eq!(put(&mut client, "orders", &orders(GOOD)).status, 200);
    send(&mut client, 0..10);
    running.until("the rows are there", |_| rows(&desk) == 10);
    let misspelt = orders(GOOD).replace("|> UPSERT", "|> TEE (|> INSERT INTO file('/proc/nowhere/')) |> UPSERT");
    assert_eq!(put(&mut client, "orders", &misspelt).status, 200);
    running.until("it does not begin", |_| state(&mut client) == "restarting");
    let back = client.post("/v1/pipelines/orders/rollback", &[], b"");
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(text(&desk), orders(GOOD));
    send(&mut client, 5..15);
    running.until("it goes on with its state", |_| rows(&desk) == 15);
    // Nothing was undone, so nothing is another revision.
    assert_eq!(
        desk.query("SELECT revision FROM revisions ORDER BY revision"),
        [json!({"revision": 1}), json!({"revision": 2})]
    );
    running.stop().expect(0);
}

#[test]
fn who_is_deleted_on_the_way_back_stays_so_and_comes_back_only_where_it_was_going() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    for to in [GOOD, BROKEN] {
        assert!([200, 201].contains(&put(&mut client, "orders", &orders(to)).status));
        send(&mut client, 0..10);
    }
    running.until("the rows are there", |_| rows(&desk) == 10);
    assert_eq!(client.post("/v1/pipelines/orders/pause", &[], b"").status, 200);
    // Decided; it would begin when it is resumed.
    assert_eq!(client.post("/v1/pipelines/orders/rollback", &[], b"").status, 200);
    assert_eq!(client.send("DELETE", "/v1/pipelines/orders", &[], b"").status, 204);
    running.stop().expect(0);
    let (mut running, mut client) = serve(&desk);
    assert_eq!((desk.path("orders.sync").exists(), client.get("/v1/pipelines/orders").status), (false, 200));
    assert_ne!(state(&mut client), "running");
    let refused = put(&mut client, "orders", &orders("id + 5"));
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "goes-back"), "{refused:?}");
    assert_eq!(put(&mut client, "orders", &orders(GOOD)).status, 201);
    running.until("it is back", |_| desk.query("SELECT back_to FROM revisions WHERE back_to = 1").len() == 1);
    running.stop().expect(0);
}

#[test]
fn what_may_be_lost_is_allowed_until_the_text_has_begun_whoever_dies_meanwhile() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, "orders", &orders(GOOD)).status, 201);
    send(&mut client, 0..10);
    running.until("the rows are there", |_| rows(&desk) == 10);
    assert_eq!(client.post("/v1/pipelines/orders/pause", &[], b"").status, 200);
    let lossy = orders(GOOD).replace("DEDUP BY id", "DEDUP BY id % 100");
    let allowed = json!({ "text": lossy, "drop_state": ["dedup"] }).to_string();
    let answer =
        client.send("PUT", "/v1/pipelines/orders", &[("Content-Type", "application/json")], allowed.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(running.kill());
    let (mut running, mut client) = serve(&desk);
    assert_eq!(client.post("/v1/pipelines/orders/resume", &[], b"").status, 200);
    send(&mut client, 0..10);
    running.until("it begins", |_| desk.query("SELECT revision FROM revisions").len() == 2);
    assert_eq!(state(&mut client), "running");
    // It was for that text, and for once.
    let passed = "SELECT run FROM steps WHERE step = 'dedup' AND run = 2 AND passed = 10";
    running.until("its rows are known", |_| desk.query(passed).len() == 1);
    let other = put(&mut client, "orders", &orders(GOOD));
    assert_eq!((other.status, slug(&other).as_str()), (409, "state-would-be-lost"), "{other:?}");
    running.stop().expect(0);
}

#[test]
fn what_may_be_lost_is_allowed_for_every_pipeline_of_the_text() {
    let two = |key: &str| {
        let one = |name: &str, key: &str| orders(GOOD).replace("orders", name).replace("BY id", &format!("BY {key}"));
        one("orders", "id") + &one("people", key)
    };
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, "orders", &two("id")).status, 201);
    let lines = "{\"id\":1}\n{\"id\":2}\n";
    assert_eq!(client.post("/in/people", &[("Content-Type", "application/x-ndjson")], lines.as_bytes()).status, 202);
    let passed = "SELECT passed AS n FROM steps WHERE step = 'dedup' AND pipeline = 'people'";
    running.until("its rows are known", |_| desk.value(passed) == 2);
    let allowed = json!({ "text": two("id % 100"), "drop_state": ["dedup"] }).to_string();
    let answer =
        client.send("PUT", "/v1/pipelines/orders", &[("Content-Type", "application/json")], allowed.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    running.until("both run", |_| {
        desk.query("SELECT pipeline FROM revisions WHERE pipeline = 'people'").len() == 2
            && state(&mut client) == "running"
    });
    running.stop().expect(0);
}

#[test]
fn a_path_that_no_door_may_take_is_told_before_its_file_is_there() {
    let desk = Desk::new();
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0", "--ingest", "0.0.0.0:0"]);
    let mut client = Client::to(running.address());
    let refused = put(&mut client, "orders", &orders(GOOD));
    assert_eq!((refused.status, slug(&refused).as_str()), (422, "ingest-not-verified"), "{refused:?}");
    assert!(!desk.path("orders.sync").exists());
    running.stop().expect(0);
}
