//! `syncline serve`, as a program and as a person at a terminal meet it: pipelines are written, held, let go on and taken away.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    desk::{Desk, Running},
    look,
    web::{Answer, Client},
};

const SQL: (&str, &str) = ("Content-Type", "application/sql");

/// Each id once, as long as it is remembered.
fn orders(filter: &str, within: &str) -> String {
    format!(
        "PIPELINE orders WITH (checkpoint_every = '20 ms') AS FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id\n\
         |> DEDUP BY id WITHIN '{within}' {filter} |> UPSERT INTO sqlite('out.db', 'orders') KEY (id);\n"
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

fn ids(desk: &Desk) -> Vec<String> {
    if !desk.path("out.db").exists() {
        return vec![];
    }
    // The table is made by the first start of the sink.
    let made = look::sqlite(&desk.path("out.db"), "SELECT count(*) FROM sqlite_master WHERE name = 'orders'");
    if made.concat() != ["1"] {
        return vec![];
    }
    let rows = look::sqlite(&desk.path("out.db"), "SELECT id FROM orders ORDER BY id");
    rows.into_iter().map(|row| row.concat()).collect()
}

fn expected(ids: std::ops::Range<usize>) -> Vec<String> {
    let mut ids: Vec<usize> = ids.collect();
    ids.sort_unstable();
    ids.into_iter().map(|id| id.to_string()).collect()
}

fn state(client: &mut Client, name: &str) -> Value {
    client.get(&format!("/v1/pipelines/{name}")).json()["state"].clone()
}

fn slug(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:syncline:").to_owned()
}

#[test]
fn a_daemon_without_a_file_takes_pipelines_exchanges_them_and_lets_them_go() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    assert_eq!(client.get("/readyz").status, 200);
    let text = orders("", "1 hour");
    let created = put(&mut client, "orders", &text);
    assert_eq!((created.status, created.json()["state"].clone()), (201, json!("running")), "{created:?}");
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), text);
    send(&mut client, 0..10);
    running.until("the rows are there", |_| ids(&desk) == expected(0..10));
    // The same again is no change, and a comment stops nothing.
    let before = client.get("/v1/pipelines/orders").json()["run"].clone();
    assert_eq!(put(&mut client, "orders", &text).status, 200);
    assert_eq!(put(&mut client, "orders", &format!("-- words\n{text}")).status, 200);
    assert_eq!(client.get("/v1/pipelines/orders").json()["run"], before);
    // Another text goes on with the state: what is known is a duplicate still.
    assert_eq!(put(&mut client, "orders", &orders("|> WHERE id <> 12", "1 hour")).status, 200);
    send(&mut client, 5..15);
    let without = |gone: usize, all: std::ops::Range<usize>| -> Vec<String> {
        expected(all).into_iter().filter(|id| *id != gone.to_string()).collect()
    };
    running.until("the new rows are there", |_| ids(&desk) == without(12, 0..15));
    running
        .until("they are counted", |_| desk.value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup'") == 5);
    assert_eq!(client.send("DELETE", "/v1/pipelines/orders", &[], b"").status, 204);
    assert!(!desk.path("orders.sync").exists());
    assert_eq!(client.get("/readyz").status, 200);
    let gone = client.post("/v1/pipelines/orders/pause", &[], b"");
    assert_eq!((gone.status, slug(&gone).as_str()), (404, "no-such-pipeline"));
    // Its state stayed: it goes on where it was.
    assert_eq!(put(&mut client, "orders", &text).status, 201);
    send(&mut client, 0..20);
    running.until("only what is new came", |_| ids(&desk) == without(12, 0..20));
    running.stop().expect(0);
}

#[test]
fn the_longest_text_is_taken_and_one_that_is_longer_is_not() {
    let desk = Desk::new();
    let (running, mut client) = serve(&desk);
    let text = orders("", "1 hour");
    let long = |bytes: usize| format!("{text}{}", "-- words\n".repeat(bytes / 9)).into_bytes();
    for (number, bytes) in [3 << 20, 4 << 20].into_iter().enumerate() {
        let text = long(bytes - text.len());
        assert!(text.len() > bytes - 9 && text.len() <= bytes);
        let answer = client.send("PUT", "/v1/pipelines/orders", &[SQL], &text);
        assert_eq!((answer.status, state(&mut client, "orders")), ([201, 200][number], json!("running")), "{answer:?}");
        assert!(fs::read(desk.path("orders.sync")).expect("its file") == text);
        let said = json!({ "text": String::from_utf8(text).expect("text") }).to_string();
        let plan = client.send("POST", "/v1/plans", &[("Content-Type", "application/json")], said.as_bytes());
        assert_eq!(plan.status, 200, "{}", plan.body);
    }
    for (bytes, wanted) in [(5 << 20, "text-too-long"), (20 << 20, "too-large")] {
        for (method, path) in [("PUT", "/v1/pipelines/orders"), ("POST", "/v1/plans")] {
            let answer = client.send(method, path, &[SQL], &long(bytes));
            assert_eq!((answer.status, slug(&answer).as_str()), (413, wanted), "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    running.stop().expect(0);
}

#[test]
fn a_wrong_text_changes_nothing_and_says_what_check_says() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let text = orders("", "1 hour");
    assert_eq!(put(&mut client, "orders", &text).status, 201);
    send(&mut client, 0..3);
    running.until("the rows are there", |_| ids(&desk) == expected(0..3));
    let run = client.get("/v1/pipelines/orders").json()["run"].clone();
    let unchanged = |client: &mut Client, answer: Answer, status: u16, wanted: &str| {
        assert_eq!((answer.status, slug(&answer).as_str()), (status, wanted), "{answer:?}");
        assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), text);
        assert_eq!(client.get("/v1/pipelines/orders").json()["run"], run);
        assert_eq!(state(client, "orders"), "running");
        answer
    };
    let answer = put(&mut client, "orders", &text.replace("DEDUP BY id", "DEDUP BY ident"));
    let answer = unchanged(&mut client, answer, 422, "file-wrong");
    let found = &answer.json()["diagnostics"][0];
    assert_eq!((&found["slug"], &found["severity"]), (&json!("no-such-column"), &json!("error")), "{found}");
    desk.write("wrong/orders.sync", text.replace("DEDUP BY id", "DEDUP BY ident"));
    let checked = desk.say(&["check", "wrong/orders.sync", "-o", "json"]).expect(2);
    fs::remove_dir_all(desk.path("wrong")).expect("a folder");
    let said = if checked.err.contains("no-such-column") { checked.err.clone() } else { checked.out() };
    assert!(said.contains(found["title"].as_str().expect("a title")), "{said}");
    // Its key is another one: three keys would be lost, and that is said with their number.
    let answer = put(&mut client, "orders", &orders("", "2 hours").replace("BY id", "BY id % 100"));
    let answer = unchanged(&mut client, answer, 409, "state-would-be-lost");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("dedup: 3 keys")), "{answer:?}");
    let answer = put(&mut client, "others", &text);
    unchanged(&mut client, answer, 422, "another-name");
    let answer = put(&mut client, "..%2Forders", &text);
    unchanged(&mut client, answer, 422, "no-file-name");
    // Another file says it: that one has to be edited.
    desk.write("more/people.sync", text.replace("orders", "people"));
    let answer = put(&mut client, "people", &text.replace("orders", "people"));
    let answer = unchanged(&mut client, answer, 409, "duplicate-name");
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("more/people.sync:1:10")));
    // Whoever says that the state may go is believed.
    let allowed = json!({ "text": orders("", "2 hours").replace("BY id", "BY id % 100"), "drop_state": ["dedup"] });
    fs::remove_dir_all(desk.path("more")).expect("a folder");
    let answer = client.send(
        "PUT",
        "/v1/pipelines/orders",
        &[("Content-Type", "application/json")],
        allowed.to_string().as_bytes(),
    );
    assert_eq!((answer.status, answer.json()["state"].clone()), (200, json!("running")), "{answer:?}");
    running.stop().expect(0);
}

#[test]
fn a_paused_pipeline_stays_so_over_restarts_and_what_comes_meanwhile_waits_for_it() {
    let desk = Desk::with(&orders("", "1 hour"));
    let (mut running, mut client) = serve(&desk);
    send(&mut client, 0..5);
    running.until("the rows are there", |_| ids(&desk) == expected(0..5));
    let said = desk.say(&["pipeline", "pause", "orders"]).expect(0);
    assert!(said.err.contains("orders is paused"), "{}", said.err);
    assert_eq!(state(&mut client, "orders"), "paused");
    assert_eq!(client.get("/readyz").status, 200);
    let refused = client.post("/v1/pipelines/orders/restart", &[], b"");
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "pipeline-paused"));
    send(&mut client, 5..8);
    assert!(running.kill());
    let (mut running, mut client) = serve(&desk);
    assert_eq!(state(&mut client, "orders"), "paused");
    send(&mut client, 8..10);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ids(&desk), expected(0..5));
    // Also where the text is exchanged meanwhile.
    assert_eq!(put(&mut client, "orders", &orders("|> WHERE id < 1000", "1 hour")).status, 200);
    assert_eq!(state(&mut client, "orders"), "paused");
    desk.ok(&["pipeline", "resume", "orders"]);
    running.until("all rows are there", |_| ids(&desk) == expected(0..10));
    assert!(desk.ok(&["pipeline", "list"]).contains("orders  running"));
    running.stop().expect(0);
    // Nobody runs it: the hold is kept in the folder.
    desk.ok(&["pipeline", "pause", "orders"]);
    let said = desk.say(&["run", "orders.sync", "--once"]).expect(1);
    assert!(said.err.contains("orders is paused"), "{}", said.err);
    let refused = desk.say(&["pipeline", "restart", "orders"]).expect(1);
    assert!(refused.err.contains("no process runs here"), "{}", refused.err);
    let (mut running, mut client) = serve(&desk);
    assert_eq!(state(&mut client, "orders"), "paused");
    desk.ok(&["pipeline", "resume", "orders"]);
    running.until("it runs", |_| state(&mut client, "orders") == "running");
    running.stop().expect(0);
}

#[test]
fn a_stop_lasts_until_the_next_start_and_a_restart_goes_on_from_the_checkpoint() {
    let desk = Desk::with(&orders("", "1 hour"));
    let (mut running, mut client) = serve(&desk);
    send(&mut client, 0..5);
    running.until("the rows are there", |_| ids(&desk) == expected(0..5));
    let run = |client: &mut Client| client.get("/v1/pipelines/orders").json()["run"].as_u64().expect("a number");
    let before = run(&mut client);
    assert_eq!(client.post("/v1/pipelines/orders/restart", &[], b"").status, 200);
    assert_eq!((run(&mut client), state(&mut client, "orders")), (before + 1, json!("running")));
    send(&mut client, 0..7);
    running.until("only what is new came", |_| ids(&desk) == expected(0..7));
    let stopped = client.post("/v1/pipelines/orders/stop", &[], b"");
    assert_eq!((stopped.status, stopped.json()["state"].clone()), (200, json!("stopped")));
    assert_eq!(client.get("/readyz").status, 503);
    // A reload does not start it.
    running.signal("HUP");
    running.until("the files were read again", |running| running.err().contains("were read again"));
    assert_eq!(state(&mut client, "orders"), "stopped");
    running.stop().expect(0);
    let (mut running, mut client) = serve(&desk);
    running.until("it runs", |_| state(&mut client, "orders") == "running");
    assert_eq!(client.post("/v1/pipelines/orders/stop", &[], b"").status, 200);
    assert_eq!(client.post("/v1/pipelines/orders/resume", &[], b"").json()["state"], "running");
    running.stop().expect(0);
}

#[test]
fn what_is_known_of_a_pipeline_goes_with_it_where_somebody_wants_that() {
    let desk = Desk::with(&orders("", "1 hour"));
    let (mut running, mut client) = serve(&desk);
    send(&mut client, 0..5);
    running.until("the rows are there", |_| ids(&desk) == expected(0..5));
    desk.write("two.sync", "PIPELINE a AS FROM http('/a') |> INSERT INTO file('a/'); PIPELINE b AS FROM http('/b') |> INSERT INTO file('b/');");
    running.signal("HUP");
    running.until("they run", |_| state(&mut client, "b") == "running");
    let refused = client.send("DELETE", "/v1/pipelines/a", &[], b"");
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "file-of-several"));
    let said = desk.say(&["pipeline", "delete", "orders", "--drop-state"]).expect(0);
    assert!(said.err.contains("orders is deleted"), "{}", said.err);
    assert_eq!(desk.query("SELECT pipeline FROM runs WHERE pipeline = 'orders'"), [Value::Null; 0]);
    assert_eq!(client.get("/v1/pipelines/orders").status, 404);
    assert_eq!(ids(&desk), expected(0..5));
    running.stop().expect(0);
    // `run` writes no files.
    let mut running = desk.start(&["run", "two.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    let refused = put(&mut client, "orders", &orders("", "1 hour"));
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "files-not-served"));
    running.stop().expect(0);
}

#[test]
fn a_plan_says_what_becomes_of_each_state_and_is_refused_when_it_is_of_another_time() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let text = orders("", "1 hour");
    assert_eq!(put(&mut client, "orders", &text).status, 201);
    send(&mut client, 0..7);
    running.until("the rows are there", |_| ids(&desk) == expected(0..7));
    let planned = |client: &mut Client, text: &str| {
        let answer = client.send("POST", "/v1/plans", &[SQL], text.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let filtered = orders("|> WHERE id <> 3", "1 hour");
    let plan = planned(&mut client, &filtered);
    assert_eq!(plan["applies"], true, "{plan}");
    let pipeline = &plan["pipelines"][0];
    assert_eq!(pipeline["states"], json!([{"step": "dedup", "becomes": "keep", "keys": 7}]));
    assert_eq!((&pipeline["since"]["revision"], &pipeline["since"]["keeps"]["keys"]), (&json!(1), &json!(7)));
    let changed = |pipeline: &Value| -> Vec<String> {
        let steps = pipeline["since"]["steps"].as_array().cloned().unwrap_or_default();
        let steps = steps.iter().filter(|line| line["change"] != "same");
        steps.map(|line| format!("{} {}", line["step"], line["change"]).replace('"', "")).collect()
    };
    assert_eq!(changed(pipeline), ["where added"]);
    // What a plan says, the command says too.
    desk.write("elsewhere/orders.sync", &filtered);
    let told = desk.ok(&["plan", "elsewhere/orders.sync", "--data", ".syncline"]);
    fs::remove_dir_all(desk.path("elsewhere")).expect("a folder");
    assert!(told.contains("since revision 1: added where · its state is kept to go back to: 7 keys"), "{told}");
    // One that would lose state says so, and is not applied.
    let lossy = orders("", "1 hour").replace("DEDUP BY id", "DEDUP BY id % 100");
    let plan_of_loss = planned(&mut client, &lossy);
    assert_eq!(
        (&plan_of_loss["applies"], &plan_of_loss["refusal"]["type"]),
        (&json!(false), &json!("urn:syncline:state-would-be-lost"))
    );
    assert_eq!(plan_of_loss["pipelines"][0]["states"], json!([{"step": "dedup", "becomes": "drop", "keys": 7}]));
    let apply = |client: &mut Client, plan: &Value| {
        let path = format!("/v1/plans/{}/apply", plan["id"].as_str().expect("an id"));
        client.post(&path, &[], b"")
    };
    let refused = apply(&mut client, &plan_of_loss);
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "state-would-be-lost"));
    // Meanwhile somebody else writes: the first plan is of another time.
    assert_eq!(put(&mut client, "orders", &orders("|> WHERE id <> 4", "1 hour")).status, 200);
    let stale = apply(&mut client, &plan);
    assert_eq!((stale.status, slug(&stale).as_str()), (409, "stale-plan"));
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), orders("|> WHERE id <> 4", "1 hour"));
    let plan = planned(&mut client, &filtered);
    assert_eq!(apply(&mut client, &plan).status, 200);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), filtered);
    let none = client.post("/v1/plans/none/apply", &[], b"");
    assert_eq!((none.status, slug(&none).as_str()), (404, "no-such-plan"));
    // At a terminal.
    desk.write("change.txt", orders("|> WHERE id <> 5", "1 hour"));
    let said = desk.say(&["apply", "change.txt"]).expect(2);
    assert!(said.out().contains("since revision 3") && said.err.contains("nobody at a terminal"), "{said:?}");
    desk.ok(&["apply", "change.txt", "--yes"]);
    desk.write("change.txt", &lossy);
    let said = desk.say(&["apply", "change.txt", "--yes"]).expect(1);
    assert!(
        said.out().contains("would be lost: 7 keys") && said.err.contains("cannot keep the state of a step"),
        "{said:?}"
    );
    desk.ok(&["apply", "change.txt", "--yes", "--drop-state", "dedup"]);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), lossy);
    let graph = client.get("/v1/pipelines/orders/graph").json();
    assert_eq!(graph["pipelines"][0]["steps"][1]["step"], "dedup", "{graph}");
    running.stop().expect(0);
}

#[test]
fn a_pipeline_that_a_text_leaves_out_stops_only_when_it_is_named() {
    let desk = Desk::with(&format!("{}{}", orders("", "1 hour"), orders("", "1 hour").replace("orders", "people")));
    let (mut running, mut client) = serve(&desk);
    let people = client.post("/in/people", &[("Content-Type", "application/x-ndjson")], b"{\"id\":1}\n{\"id\":2}\n");
    assert_eq!(people.status, 202, "{people:?}");
    running.until("keys are kept", |_| {
        desk.value("SELECT rows_in AS n FROM steps WHERE step = 'dedup' AND pipeline = 'people'") == 2
    });
    let before = fs::read_to_string(desk.path("orders.sync")).expect("its file");
    let alone = orders("", "1 hour");
    let refused = put(&mut client, "orders", &alone);
    assert_eq!((refused.status, slug(&refused).as_str()), (409, "pipeline-would-go"), "{refused:?}");
    assert!(refused.json()["title"].as_str().is_some_and(|title| title.contains("people")), "{refused:?}");
    let plan = client.send("POST", "/v1/plans", &[SQL], alone.as_bytes()).json();
    assert_eq!((&plan["applies"], &plan["refusal"]["type"]), (&json!(false), &json!("urn:syncline:pipeline-would-go")));
    assert_eq!(plan["dropped"], json!([{"pipeline": "people", "keys": 2}]));
    desk.write("change.txt", &alone);
    let said = desk.say(&["apply", "change.txt", "--yes"]).expect(1);
    assert!(said.out().contains("people would stop") && said.out().contains("2 keys"), "{said:?}");
    assert!(said.err.contains("--drop-pipeline people"), "{said:?}");
    // Nothing was changed, and another name is no word for it.
    desk.say(&["apply", "change.txt", "--yes", "--drop-pipeline", "person"]).expect(1);
    assert_eq!(fs::read_to_string(desk.path("orders.sync")).expect("its file"), before);
    assert_eq!(state(&mut client, "people"), "running");
    desk.ok(&["apply", "change.txt", "--yes", "--drop-pipeline", "people"]);
    assert_eq!(client.post("/v1/pipelines/people/pause", &[], b"").status, 404);
    assert_eq!(state(&mut client, "orders"), "running");
    // What is said again is no change, and the state is there when it comes back.
    let said = json!({ "text": alone, "drop_pipelines": ["people"] }).to_string();
    let json = [("Content-Type", "application/json")];
    assert_eq!(client.send("PUT", "/v1/pipelines/orders", &json, said.as_bytes()).status, 200);
    assert_eq!(put(&mut client, "people", &alone.replace("orders", "people")).status, 201);
    let again = client.post("/in/people", &[("Content-Type", "application/x-ndjson")], b"{\"id\":1}\n{\"id\":3}\n");
    assert_eq!(again.status, 202, "{again:?}");
    running.until("it knows them", |_| {
        desk.value("SELECT sum(duplicate) AS n FROM steps WHERE step = 'dedup' AND pipeline = 'people'") == 1
    });
    running.stop().expect(0);
}

#[test]
fn a_text_that_takes_long_to_compile_holds_up_nobody_else() {
    let desk = Desk::with(&orders("", "1 hour"));
    let (mut running, mut client) = serve(&desk);
    running.until("it runs", |_| state(&mut client, "orders") == "running");
    // Some seconds of work.
    let steps: String = (0..2_000).map(|id| format!("|> WHERE id <> {id}\n")).collect();
    let long = format!(
        "PIPELINE long AS FROM http('/long') |> SELECT CAST(id AS BIGINT) AS id\n{steps}|> INSERT INTO file('long/');"
    );
    let address = running.address();
    let planner = std::thread::spawn(move || {
        let answer = Client::to(address).send("POST", "/v1/plans", &[SQL], long.as_bytes());
        (answer.status, answer.json()["applies"].clone())
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut done = 0;
    while !planner.is_finished() {
        for verb in ["stop", "resume"] {
            let answer = client.post(&format!("/v1/pipelines/orders/{verb}"), &[], b"");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        done += u32::from(!planner.is_finished());
    }
    assert_eq!(planner.join().expect("no panic"), (200, json!(true)));
    assert!(done >= 3, "{done} times");
    running.stop().expect(0);
}

#[test]
fn a_text_has_a_tag_that_commits_do_not_change_and_of_two_who_saw_it_one_writes() {
    let desk = Desk::new();
    let (mut running, mut client) = serve(&desk);
    let first = orders("", "1 hour");
    let put = |client: &mut Client, text: &str, condition: (&str, &str)| {
        client.send("PUT", "/v1/pipelines/orders", &[SQL, condition], text.as_bytes())
    };
    assert_eq!(put(&mut client, &first, ("If-Match", "*")).status, 412, "there is none yet");
    let made = put(&mut client, &first, ("If-None-Match", "*"));
    assert_eq!(made.status, 201, "{made:?}");
    let again = put(&mut client, &first, ("If-None-Match", "*"));
    assert_eq!((again.status, again.json()["type"].clone()), (412, json!("urn:syncline:precondition-failed")));
    let text = |client: &mut Client| client.get("/v1/pipelines/orders/text");
    let seen = text(&mut client);
    let tag = seen.header("etag").expect("a tag").to_owned();
    assert_eq!((seen.body.as_str(), made.header("etag")), (first.as_str(), Some(tag.as_str())));
    assert_eq!(seen.header("content-type"), Some("application/sql"));
    send(&mut client, 0..5);
    running.until("rows are there", |_| ids(&desk) == expected(0..5));
    assert_eq!(text(&mut client).header("etag"), Some(tag.as_str()));
    let unchanged = client.send("GET", "/v1/pipelines/orders/text", &[("If-None-Match", &tag)], b"");
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    // All of them have seen the same text, and change it at once.
    let address = running.address();
    let writers: Vec<_> = (0..4)
        .map(|id| {
            let (text, tag) = (orders(&format!("|> WHERE id <> {}", 100 + id), "1 hour"), tag.clone());
            std::thread::spawn(move || {
                let mut client = Client::to(address);
                (client.send("PUT", "/v1/pipelines/orders", &[SQL, ("If-Match", &tag)], text.as_bytes()).status, text)
            })
        })
        .collect();
    let done: Vec<(u16, String)> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
    let mut statuses: Vec<u16> = done.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412]);
    let winner = done.iter().find(|(status, _)| *status == 200).expect("one of them");
    assert_eq!(text(&mut client).body, winner.1);
    // Nor is it taken away by who has not seen it.
    let delete = |client: &mut Client, tag: &str| {
        client.send("DELETE", "/v1/pipelines/orders?state=drop", &[("If-Match", tag)], b"")
    };
    let refused = delete(&mut client, &tag);
    assert_eq!((refused.status, slug(&refused).as_str()), (412, "precondition-failed"), "{refused:?}");
    assert_eq!((text(&mut client).body, state(&mut client, "orders")), (winner.1.clone(), json!("running")));
    // Somebody edits the file, and has not told yet: what he wrote is not written over by who has not seen it.
    let tag = text(&mut client).header("etag").expect("a tag").to_owned();
    fs::write(desk.path("orders.sync"), orders("|> WHERE id > 0", "1 hour")).expect("the file");
    let stale = put(&mut client, &first, ("If-Match", &tag));
    assert_eq!(stale.status, 412, "{stale:?}");
    assert!(stale.json()["help"].to_string().contains("/v1/pipelines/orders/text"), "{stale:?}");
    assert_eq!(delete(&mut client, &tag).status, 412);
    let tag = text(&mut client).header("etag").expect("a tag").to_owned();
    assert_eq!(delete(&mut client, &tag).status, 204);
    // There is none: that it is another one is not what is wrong with it.
    assert_eq!(delete(&mut client, &tag).status, 404);
    running.stop().expect(0);
}
