//! Edits of pipelines that keep their state, those that cannot, and the way back from a broken one: the output is that of a run which was
//! never broken, also when the process is killed on the way.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    chance::Chance,
    desk::{Desk, Running},
    kafka::{self, Record},
    look,
    topics::now,
    web::{Answer, Client},
};

const SQL: (&str, &str) = ("Content-Type", "application/sql");

/// Each order once, by its key.
fn plain(amount: &str) -> String {
    format!(
        "PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM http('/orders')\n\
         |> SELECT CAST(id AS BIGINT) AS id, customer, CAST(amount AS BIGINT) AS amount\n\
         |> DEDUP BY id WITHIN '1 hour'\n\
         |> SELECT id, customer, {amount} AS amount\n\
         |> TEE (|> INSERT INTO file('out/', part_rows => 40))\n\
         |> UPSERT INTO sqlite('out.db', 'orders') KEY (id);\n"
    )
}

fn serve(desk: &Desk) -> (Running, Client) {
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
    let client = Client::to(running.address());
    (running, client)
}

fn put(client: &mut Client, text: &str) -> Answer {
    client.send("PUT", "/v1/pipelines/orders", &[SQL], text.as_bytes())
}

/// Some come twice.
fn send(client: &mut Client, ids: std::ops::Range<usize>) {
    let line = |id: usize| format!("{{\"id\":{id},\"customer\":\"c{}\",\"amount\":{}}}\n", id % 7, id * 3);
    let lines: String = ids.clone().chain(ids.step_by(3)).map(line).collect();
    let answer = client.post("/in/orders", &[("Content-Type", "application/x-ndjson")], lines.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn table(desk: &Desk) -> Vec<String> {
    let path = desk.path("out.db");
    let made = path.exists()
        && look::sqlite(&path, "SELECT count(*) FROM sqlite_master WHERE name = 'orders'").concat() == ["1"];
    let rows = if made { look::sqlite(&path, "SELECT id, customer, amount FROM orders ORDER BY id") } else { vec![] };
    rows.into_iter().map(|row| row.join(" ")).collect()
}

fn expected(ids: std::ops::Range<usize>, factor: usize) -> Vec<String> {
    ids.map(|id| format!("{id} c{} {}", id % 7, id * 3 * factor)).collect()
}

fn lines(desk: &Desk) -> Vec<Value> {
    let mut lines: Vec<Value> = if desk.path("out").is_dir() {
        look::lines(&desk.path("out")).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    } else {
        vec![]
    };
    lines.sort_by_key(|line| line["id"].as_u64());
    lines
}

fn wanted(ids: std::ops::Range<usize>) -> Vec<Value> {
    ids.map(|id| json!({ "id": id, "customer": format!("c{}", id % 7), "amount": id * 3 })).collect()
}

fn keys(desk: &Desk, step: &str) -> Value {
    let status: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
    let steps = status["pipelines"][0]["steps"].as_array().cloned().unwrap_or_default();
    let found = steps.iter().find(|found| found["step"] == step).map(|found| found["state"]["keys"].clone());
    found.unwrap_or_default()
}

fn slug(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:syncline:").to_owned()
}

const GOOD: &str = "amount";
const BROKEN: &str = "amount * 2";

#[test]
fn an_edit_that_keeps_state_keeps_it_and_one_that_cannot_says_so_first() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &plain(GOOD)).status, 201);
    send(&mut client, 0..100);
    running.until("the rows are there", |_| table(&desk) == expected(0..100, 1));
    assert_eq!(keys(&desk, "dedup"), 100);
    assert_eq!(put(&mut client, &plain(BROKEN)).status, 200);
    assert_eq!(keys(&desk, "dedup"), 100);
    send(&mut client, 0..120);
    running.until("only what is new came", |_| table(&desk) == [expected(0..100, 1), expected(100..120, 2)].concat());
    let text = fs::read_to_string(desk.path("orders.sync")).expect("its file");
    let lost = put(&mut client, &plain(GOOD).replace("DEDUP BY id", "DEDUP BY customer"));
    assert_eq!((lost.status, slug(&lost).as_str()), (409, "state-would-be-lost"));
    let detail = lost.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("dedup: 120 keys; its definition is not the one that it was made with"), "{detail}");
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), text);
    assert_eq!(keys(&desk, "dedup"), 120);
    running.stop().expect(0);
    let revisions =
        desk.query("SELECT revision, by, kept_keys FROM revisions WHERE pipeline = 'orders' ORDER BY revision");
    assert_eq!(
        revisions,
        [
            json!({"revision": 1, "by": "local", "kept_keys": 100}),
            json!({"revision": 2, "by": "local", "kept_keys": null})
        ]
    );
}

#[test]
fn the_way_back_gives_the_output_of_a_run_that_was_never_broken() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &plain(GOOD)).status, 201);
    send(&mut client, 0..100);
    running.until("the rows are there", |_| table(&desk) == expected(0..100, 1));
    assert_eq!(put(&mut client, &plain(BROKEN)).status, 200);
    send(&mut client, 90..250);
    running.until("wrong rows are there", |_| table(&desk)[100..] == expected(100..250, 2));
    let said = desk.say(&["rollback", "orders"]).expect(0);
    assert!(said.err.contains("orders is back at the revision before"), "{}", said.err);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), plain(GOOD));
    running.until("the rows are made again", |_| table(&desk) == expected(0..250, 1));
    send(&mut client, 200..300);
    running.until("and more", |_| table(&desk) == expected(0..300, 1));
    assert_eq!(keys(&desk, "dedup"), 300);
    running.stop().expect(0);
    assert_eq!(lines(&desk), wanted(0..300));
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
    // The ledger says what happened, of what was taken back too: 34, twice 64, and 84 repeats.
    assert_eq!(desk.value("SELECT count(*) AS n FROM ledger WHERE fate = 'duplicate'"), 246);
    let revisions = desk.query("SELECT revision, back_to, kept_keys FROM revisions ORDER BY revision");
    assert_eq!(
        revisions,
        [
            json!({"revision": 1, "back_to": null, "kept_keys": 100}),
            json!({"revision": 2, "back_to": null, "kept_keys": null}),
            json!({"revision": 3, "back_to": 1, "kept_keys": null})
        ]
    );
}

/// Killed at any moment of an exchange or of a way back, the process comes to one of the two texts with the state that belongs to it.
#[test]
fn soak_killed_on_the_way_there_or_back_the_output_is_that_of_a_run_that_was_never_broken() {
    let mut chance = Chance::told("killed on the way back").0;
    let started = Instant::now();
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &plain(GOOD)).status, 201);
    let mut sent = 50;
    send(&mut client, 0..sent);
    let (rounds, mut kills) = (if crate::chance::soak() { 100 } else { 6 }, 0);
    for round in 0..rounds {
        running.until("the rows are there", |_| table(&desk) == expected(0..sent, 1));
        // There, until it is: a kill may leave the old text.
        loop {
            kills += 1;
            running = killed_within(&desk, running, &mut chance, |desk| {
                desk.write("broken.txt", plain(BROKEN));
                let body = desk.path("broken.txt");
                desk.other(
                    "curl",
                    &[
                        "-s",
                        "-X",
                        "PUT",
                        "--unix-socket",
                        ".syncline/control.sock",
                        "http://localhost/v1/pipelines/orders",
                        "-H",
                        "content-type: application/sql",
                        "--data-binary",
                        &format!("@{}", body.display()),
                    ],
                )
            });
            client = Client::to(running.address());
            running.until("it runs", |_| client.get("/v1/pipelines/orders").json()["state"] == "running");
            if fs::read_to_string(desk.path("orders.sync")).expect("its file") == plain(BROKEN) {
                break;
            }
        }
        send(&mut client, sent..sent + 50);
        running.until("wrong rows are there", |_| table(&desk).len() == sent + 50);
        sent += 50;
        loop {
            kills += 1;
            running = killed_within(&desk, running, &mut chance, |desk| desk.command(&["rollback", "orders"]));
            client = Client::to(running.address());
            running.until("it runs", |_| client.get("/v1/pipelines/orders").json()["state"] == "running");
            if fs::read_to_string(desk.path("orders.sync")).expect("its file") == plain(GOOD) {
                break;
            }
        }
        running.until(&format!("round {round}: the rows are made again"), |_| table(&desk) == expected(0..sent, 1));
    }
    running.stop().expect(0);
    assert_eq!(lines(&desk), wanted(0..sent));
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
    crate::promises::figure(
        "soak_killed_on_the_way_there_or_back_the_output_is_that_of_a_run_that_was_never_broken",
        &format!(
            "{kills} kills, {rounds} ways back, {sent} records, each row as if nothing had been, in {} s",
            started.elapsed().as_secs()
        ),
    );
}

/// Starts a command, kills the process that it speaks to after a moment, and starts that again.
fn killed_within(
    desk: &Desk,
    running: Running,
    chance: &mut Chance,
    command: impl Fn(&Desk) -> std::process::Command,
) -> Running {
    let asking = Running::start(command(desk), "the asking".to_owned());
    std::thread::sleep(Duration::from_micros(chance.below(150_000)));
    assert!(running.kill());
    drop(asking);
    desk.start(&["serve", "--listen", "127.0.0.1:0"])
}

#[test]
fn what_cannot_be_taken_back_is_refused_and_the_pipeline_goes_on() {
    let insert = |amount: &str| {
        plain(amount)
            .replace("UPSERT INTO sqlite('out.db', 'orders') KEY (id)", "INSERT INTO sqlite('out.db', 'orders')")
    };
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(put(&mut client, &insert(GOOD)).status, 201);
    let back = |client: &mut Client, body: &str| {
        client.post("/v1/pipelines/orders/rollback", &[("Content-Type", "application/json")], body.as_bytes())
    };
    let refused = back(&mut client, "");
    assert_eq!((refused.status, slug(&refused).as_str()), (404, "no-such-revision"));
    send(&mut client, 0..10);
    running.until("the rows are there", |_| table(&desk).len() == 10);
    assert_eq!(put(&mut client, &insert(BROKEN)).status, 200);
    send(&mut client, 10..20);
    running.until("wrong rows are there", |_| table(&desk).len() == 20);
    let refused = back(&mut client, "");
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "rows-would-repeat"));
    assert!(refused.body.contains("10 rows were inserted since revision 1 was over"), "{}", refused.body);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), insert(BROKEN));
    send(&mut client, 20..30);
    running.until("it goes on", |_| table(&desk).len() == 30);
    assert_eq!(back(&mut client, r#"{"insert_again": true}"#).status, 200);
    running.until("what was said: rows stand there twice", |_| table(&desk).len() == 50);
    running.stop().expect(0);
    assert_eq!(lines(&desk), wanted(0..30));
}

#[test]
fn a_way_back_starts_no_pipeline_that_was_dropped_since() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let two = format!("{}PIPELINE more AS FROM http('/more') |> INSERT INTO file('more/');\n", plain(GOOD));
    assert_eq!(put(&mut client, &two).status, 201);
    let alone = serde_json::json!({ "text": plain(BROKEN), "drop_pipelines": ["more"] }).to_string();
    let json = ("Content-Type", "application/json");
    assert_eq!(client.send("PUT", "/v1/pipelines/orders", &[json], alone.as_bytes()).status, 200);
    let state = |client: &mut Client| client.get("/v1/pipelines/more").json()["state"].clone();
    running.until("it is over", |_| state(&mut client) == "stopped");
    let refused = client.post("/v1/pipelines/orders/rollback", &[json], b"");
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "file-of-several"));
    assert!(refused.body.contains("revision 1 declares more too"), "{}", refused.body);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), plain(BROKEN));
    assert_eq!(state(&mut client), "stopped");
    running.stop().expect(0);
}

#[test]
fn who_goes_back_needs_its_input_where_it_was() {
    let from_file = |amount: &str| plain(amount).replace("http('/orders')", "file('in.ndjson') FOLLOW");
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let line = |id: usize| json!({"id": id, "customer": format!("c{}", id % 7), "amount": id * 3});
    desk.append("in.ndjson", (0..10).map(line));
    assert_eq!(put(&mut client, &from_file(GOOD)).status, 201);
    running.until("the rows are there", |_| table(&desk) == expected(0..10, 1));
    assert_eq!(put(&mut client, &from_file(BROKEN)).status, 200);
    desk.append("in.ndjson", (10..20).map(line));
    running.until("wrong rows are there", |_| table(&desk).len() == 20);
    // Elsewhere: under another name beside it, it would be found.
    let hidden: PathBuf = desk.path("away/in.ndjson");
    fs::create_dir(desk.path("away")).expect("a folder");
    fs::rename(desk.path("in.ndjson"), &hidden).expect("the input goes");
    let refused = client.post("/v1/pipelines/orders/rollback", &[], b"");
    assert!([409, 503].contains(&refused.status) && refused.body.contains("in.ndjson"), "{refused:?}");
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), from_file(BROKEN));
    assert_eq!(desk.query("SELECT revision FROM revisions").len(), 2);
    fs::rename(&hidden, desk.path("in.ndjson")).expect("the input comes back");
    running.until("it is back", |_| client.post("/v1/pipelines/orders/rollback", &[], b"").status == 200);
    running.until("the rows are made again", |_| table(&desk) == expected(0..20, 1));
    running.stop().expect(0);
    assert_eq!(lines(&desk), wanted(0..20));
}

#[test]
fn sums_that_were_broken_become_those_of_a_run_that_was_never_broken() {
    let sums = |amount: &str| {
        format!(
            "PIPELINE orders AS FROM file('in.ndjson') |> SELECT customer, {amount} AS amount\n\
             |> AGGREGATE SUM(amount) AS total, COUNT(*) AS orders GROUP BY customer\n\
             |> UPSERT INTO sqlite('out.db', 'orders') KEY (customer);\n"
        )
    };
    let (good, broken) = (sums("CAST(amount AS BIGINT)"), sums("CAST(amount AS BIGINT) * 2"));
    let line = |id: usize| json!({"customer": format!("c{}", id % 3), "amount": id});
    let table = |desk: &Desk| -> Vec<String> {
        if !desk.path("out.db").exists() {
            return vec![];
        }
        let rows = look::sqlite(&desk.path("out.db"), "SELECT customer, total, orders FROM orders ORDER BY customer");
        rows.into_iter().map(|row| row.join(" ")).collect()
    };
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let ended = |running: &mut Running, client: &mut Client| {
        running.until("it is at its end", |_| client.get("/v1/pipelines/orders").json()["state"] == "ended");
    };
    desk.append("in.ndjson", (0..90).map(line));
    assert_eq!(put(&mut client, &good).status, 201);
    ended(&mut running, &mut client);
    desk.append("in.ndjson", (90..150).map(line));
    assert_eq!(put(&mut client, &broken).status, 200);
    ended(&mut running, &mut client);
    assert_eq!(keys(&desk, "aggregate"), 3);
    let wrong = table(&desk);
    assert_eq!(client.post("/v1/pipelines/orders/rollback", &[], br#"{"to": 1}"#).status, 200);
    ended(&mut running, &mut client);
    let right = table(&desk);
    running.stop().expect(0);
    // The same in one go, with a text that was never another.
    let other = Desk::with(&good);
    other.append("in.ndjson", (0..150).map(line));
    other.ok(&["run", "orders.sync"]);
    assert_ne!(wrong, table(&other));
    assert_eq!(right, table(&other));
}

#[test]
fn a_state_that_is_too_large_is_not_kept_and_the_plan_says_so() {
    let desk = Desk::new();
    let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0", "--rollback-state", "1 kB"]);
    let mut client = Client::to(running.address());
    assert_eq!(put(&mut client, &plain(GOOD)).status, 201);
    send(&mut client, 0..500);
    running.until("the rows are there", |_| table(&desk).len() == 500);
    let plan = client.send("POST", "/v1/plans", &[SQL], plain(BROKEN).as_bytes()).json();
    let shown = plan["shown"].as_str().unwrap_or_default();
    assert!(
        shown.contains("since revision 1: changed select_2 · no way back: its state has more than 1 kB"),
        "{shown}"
    );
    assert_eq!(put(&mut client, &plain(BROKEN)).status, 200);
    let refused = client.post("/v1/pipelines/orders/rollback", &[], b"");
    assert_eq!((refused.status, slug(&refused).as_str()), (404, "no-such-revision"));
    running.stop().expect(0);
}

/// What it keeps lies in Kafka. Killed at any moment, on the machine that it was on or with that machine lost, it comes to one of the two texts
/// with the state and the dead letters that belong to it.
#[test]
fn soak_with_a_changelog_the_way_back_leads_there_from_every_moment_and_on_another_machine() {
    let mut chance = Chance::told("killed on the way back with a changelog").0;
    let started = Instant::now();
    let (bus, shared) = (kafka::shared(), tempfile::tempdir().expect("a folder"));
    let from = bus.topic("from", 2);
    let name = format!("p_{}", from.name);
    let file = shared.path().join("out.db");
    let text = |amount: &str| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');\n\
             PIPELINE {name} WITH (checkpoint_every = '20 ms', changelog = 'bus') AS FROM bus.{}\n\
             |> SELECT CAST(id AS BIGINT) AS id, CAST(amount AS BIGINT) AS amount |> DEDUP BY id WITHIN '1 day'\n\
             |> SELECT id, {amount} AS amount |> UPSERT INTO sqlite('{}', 'orders') KEY (id);\n",
            bus.brokers(),
            from.name,
            file.display()
        )
    };
    let (good, broken) = (text("amount"), text("amount * 2"));
    let written = format!("{name}.sync");
    let machine = |text: &str| {
        let desk = Desk::new();
        desk.write(&written, text);
        let mut running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
        let client = Client::to(running.address());
        (desk, running, client)
    };
    // How many of them are bad: each is a dead letter, and no more than one, however often it is read.
    let produce = |ids: std::ops::Range<usize>| {
        let record = |id: usize| {
            let amount = if id % 25 == 24 { "\"none\"".to_owned() } else { (id * 3).to_string() };
            let line = format!("{{\"id\":{id},\"amount\":{amount}}}");
            Record::new(&id.to_string(), &line).partition((id % 2) as i32).time(now())
        };
        let all: Vec<usize> = ids.clone().chain(ids.step_by(3)).collect();
        from.produce(&all.iter().copied().map(record).collect::<Vec<_>>());
        all.iter().filter(|id| **id % 25 == 24).count()
    };
    let rows = || -> Vec<String> {
        let made = file.exists()
            && look::sqlite(&file, "SELECT count(*) FROM sqlite_master WHERE name = 'orders'").concat() == ["1"];
        let rows = if made { look::sqlite(&file, "SELECT id, amount FROM orders ORDER BY id") } else { vec![] };
        rows.into_iter().map(|row| row.join(" ")).collect()
    };
    let wanted = |ids: std::ops::Range<usize>, factor: usize| -> Vec<String> {
        ids.filter(|id| id % 25 != 24).map(|id| format!("{id} {}", id * 3 * factor)).collect()
    };
    // What stands there is shown where it does not come to that.
    let mut shown = String::new();
    let mut is = |client: &mut Client, state: &str| {
        let stands = client.get(&format!("/v1/pipelines/{name}")).json().to_string();
        let there = stands.contains(&format!("\"state\":\"{state}\""));
        if shown != stands {
            eprintln!("{:?}: {stands}", started.elapsed());
            shown = stands;
        }
        there
    };
    let (mut desk, mut running, mut client) = machine(&good);
    let (rounds, mut sent, mut kills, mut lost) = (if crate::chance::soak() { 50 } else { 3 }, 50, 0, 0);
    let mut letters = produce(0..sent);
    // What is killed at any moment of its way has to be on it: how long one takes is looked at first.
    running.until("the rows are there", |_| rows() == wanted(0..sent, 1));
    assert_eq!(client.send("PUT", &format!("/v1/pipelines/{name}"), &[SQL], broken.as_bytes()).status, 200);
    let rehearsed = Instant::now();
    desk.ok(&["rollback", &name]);
    running.until("it is back", |_| is(&mut client, "running"));
    let whole = rehearsed.elapsed().as_micros() as u64;
    for round in 0..rounds {
        running.until("the rows are there", |_| rows() == wanted(0..sent, 1));
        let path = format!("/v1/pipelines/{name}");
        let answer = client.send("PUT", &path, &[SQL], broken.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        letters += produce(sent..sent + 50);
        running.until("wrong rows are there", |_| rows()[sent - sent / 25..] == wanted(sent..sent + 50, 2));
        sent += 50;
        loop {
            kills += 1;
            let asking = Running::start(desk.command(&["rollback", &name]), "the asking".to_owned());
            std::thread::sleep(Duration::from_micros(chance.below(whole)));
            assert!(running.kill());
            drop(asking);
            if chance.below(2) == 0 {
                // Another machine has the text that was written last by people.
                lost += 1;
                (desk, running, client) = machine(&broken);
            } else {
                running = desk.start(&["serve", "--listen", "127.0.0.1:0"]);
                client = Client::to(running.address());
            }
            running.until("it runs", |_| is(&mut client, "running"));
            if fs::read_to_string(desk.path(&written)).expect("its file") == good {
                break;
            }
        }
        running.until(&format!("round {round}: the rows are made again"), |_| rows() == wanted(0..sent, 1));
    }
    // What another machine finds is what there is.
    assert!(running.kill());
    let (desk, mut running, mut client) = machine(&good);
    running.until("it runs", |_| is(&mut client, "running"));
    letters += produce(sent - 50..sent + 50);
    sent += 50;
    running.until("only what is new came", |_| rows() == wanted(0..sent, 1));
    assert_eq!(keys(&desk, "dedup"), wanted(0..sent, 1).len());
    assert_eq!(desk.value("SELECT count(*) AS n FROM dead_letters"), letters);
    running.stop().expect(0);
    assert_eq!(desk.query("SELECT step FROM steps WHERE NOT balanced"), [Value::Null; 0]);
    crate::promises::figure(
        "soak_with_a_changelog_the_way_back_leads_there_from_every_moment_and_on_another_machine",
        &format!(
            "{rounds} ways back, {kills} kills, {lost} times another machine went on, {sent} records, each row as if nothing had been, in {} s",
            started.elapsed().as_secs()
        ),
    );
}

/// Decided here, while another machine goes on with the text of before.
#[test]
fn what_another_machine_made_since_a_way_back_was_decided_is_not_undone_unasked() {
    let (bus, shared) = (kafka::shared(), tempfile::tempdir().expect("a folder"));
    let from = bus.topic("from", 1);
    let name = format!("p_{}", from.name);
    let file = shared.path().join("out.db");
    let text = |amount: &str| {
        format!(
            "CONNECTION bus TO kafka WITH (brokers = '{}');\n\
             PIPELINE {name} WITH (checkpoint_every = '20 ms', changelog = 'bus') AS FROM bus.{}\n\
             |> SELECT CAST(id AS BIGINT) AS id, {amount} AS amount |> UPSERT INTO sqlite('{}', 'orders') KEY (id);\n",
            bus.brokers(),
            from.name,
            file.display()
        )
    };
    let amounts = || -> Vec<String> {
        let made = file.exists()
            && look::sqlite(&file, "SELECT count(*) FROM sqlite_master WHERE name = 'orders'").concat() == ["1"];
        let rows = if made { look::sqlite(&file, "SELECT amount FROM orders ORDER BY id") } else { vec![] };
        rows.into_iter().map(|row| row.concat()).collect()
    };
    let produce = |id: usize| from.produce(&[Record::new("k", &format!("{{\"id\":{id}}}")).partition(0).time(now())]);
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let path = |verb: &str| format!("/v1/pipelines/{name}{verb}");
    for (id, amount) in ["1", "2"].into_iter().enumerate() {
        let answer = client.send("PUT", &path(""), &[SQL], text(amount).as_bytes());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        produce(id);
        running.until("its row is there", |_| amounts().len() == id + 1);
    }
    assert_eq!(client.post(&path("/pause"), &[], b"").status, 200);
    assert_eq!(client.post(&path("/rollback"), &[], b"").status, 200);
    let other = Desk::new();
    other.write("p.sync", text("2"));
    produce(2);
    other.ok(&["run", "p.sync", "--once"]);
    assert_eq!(amounts(), ["1", "2", "2"]);
    assert_eq!(client.post(&path("/resume"), &[], b"").status, 200);
    running.until("it is told", |_| client.get(&path("")).json()["state"] == "failed");
    let reason = client.get(&path("")).json()["reason"].to_string();
    assert!(reason.contains("another process has gone on with it since"), "{reason}");
    assert_eq!(amounts(), ["1", "2", "2"]);
    // Whoever knows that asks again.
    assert_eq!(client.post(&path("/rollback"), &[], b"").status, 200);
    running.until("all of it is made again", |_| amounts() == ["1", "1", "1"]);
    running.stop().expect(0);
}
