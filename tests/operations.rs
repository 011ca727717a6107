//! Many pipelines in one process: what fails is named, tried again and given up by itself, and nothing else stops for it.

use std::{fs, path::Path};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    desk::{Desk, Running},
    look,
    trouble::Disk,
    web::Client,
};

/// A pipeline that takes records over HTTP and writes them to files.
fn taken(name: &str) -> String {
    format!("PIPELINE {name} AS FROM http('/{name}') |> INSERT INTO file('../out/{name}/');\n")
}

fn lines(ids: std::ops::Range<usize>) -> String {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect()
}

fn rows(ids: std::ops::Range<usize>) -> Vec<String> {
    ids.map(|id| format!("{{\"id\":{id}}}")).collect()
}

/// Runs the folder `p` and waits until it listens.
fn run(desk: &Desk, arguments: &[&str]) -> (Running, Client) {
    let mut line = vec!["run", "p", "--listen", "127.0.0.1:0"];
    line.extend(arguments);
    let mut running = desk.start(&line);
    let client = Client::to(running.address());
    (running, client)
}

/// `status` of one pipeline.
fn status(desk: &Desk, pipeline: &str) -> Value {
    let all: Value = serde_json::from_str(&desk.ok(&["status", "--data", "p/.syncline", "-o", "json"])).expect("JSON");
    let pipelines = all["pipelines"].as_array().expect("pipelines");
    pipelines.iter().find(|found| found["pipeline"] == pipeline).cloned().unwrap_or_default()
}

fn until_state(running: &mut Running, desk: &Desk, pipeline: &str, state: &str) {
    running.until(&format!("{pipeline} is {state}"), |_| status(desk, pipeline)["state"] == state);
}

/// All rows of a pipeline are through, and the neighbour still works.
fn until_rows(running: &mut Running, desk: &Desk, pipeline: &str, rows: u64) {
    running.until(&format!("{pipeline} has {rows} rows"), |_| {
        let status = status(desk, pipeline);
        status["rows_in"] == rows && status["waiting"] == 0
    });
}

/// Why `/readyz` says no, or nothing.
fn obstacles(client: &mut Client) -> String {
    let answer = client.get("/readyz");
    if answer.status == 200 { String::new() } else { answer.json()["detail"].as_str().unwrap_or("?").to_owned() }
}

/// What is there and what is still written, in order.
fn out(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|kind| kind != "owner"))
        .collect();
    files.sort();
    let text = |file| fs::read_to_string(file).expect("a part");
    files.into_iter().flat_map(|file| text(file).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn a_folder_runs_as_one_process_and_a_row_that_may_not_be_ends_only_its_own_pipeline() {
    let desk = Desk::new();
    desk.write("p/orders.sync", taken("orders"));
    desk.write(
        "p/deep/strict.sync",
        "PIPELINE strict AS FROM http('/strict') |> EXPECT id < 100 AS small ON VIOLATION FAIL |> INSERT INTO file('../../out/strict/');\n\
         PIPELINE batch AS FROM file('../../in.ndjson') |> INSERT INTO file('../../out/batch/');",
    );
    desk.write("in.ndjson", lines(0..5));
    let (mut running, mut client) = run(&desk, &[]);
    client.post("/in/strict", &[], lines(0..3).as_bytes());
    until_rows(&mut running, &desk, "strict", 3);
    until_state(&mut running, &desk, "batch", "ended");
    assert_eq!(obstacles(&mut client), "");
    client.post("/in/strict", &[], lines(500..501).as_bytes());
    until_state(&mut running, &desk, "strict", "failed");
    let why = obstacles(&mut client);
    assert!(why.starts_with("strict has failed: small: the expectation does not hold at in/strict"), "{why}");
    // It is the row that is wrong: no start would find another one, so none is tried.
    assert_eq!(status(&desk, "strict")["restarts"], 0);
    client.post("/in/orders", &[], lines(0..10).as_bytes());
    until_rows(&mut running, &desk, "orders", 10);
    let said = running.stop().expect(1);
    assert!(said.err.contains("1 of 3 pipelines was given up") && said.err.contains("strict: small: "), "{}", said.err);
    for (pipeline, rows_out) in [("orders", rows(0..10)), ("batch", rows(0..5)), ("strict", rows(0..3))] {
        look::same(pipeline, &out(&desk.path(&format!("out/{pipeline}"))), &rows_out);
    }
}

#[test]
fn a_full_disk_stops_one_pipeline_until_there_is_room_and_nothing_is_lost() {
    let Some(disk) = Disk::of_megabytes(1) else {
        eprintln!("not tried: nothing can be mounted here");
        return;
    };
    let desk = Desk::new();
    desk.write("p/a.sync", taken("orders"));
    let full = format!(
        "PIPELINE full WITH (restart_delay = '200 ms') AS FROM http('/full') |> INSERT INTO file('{}/');",
        disk.path()
    );
    desk.write("p/b.sync", full);
    let (mut running, mut client) = run(&desk, &[]);
    let wide = "x".repeat(1000);
    let record = |id: usize| format!("{{\"id\":{id},\"note\":\"{wide}\"}}");
    for block in 0..20 {
        let body: String = (block * 200..block * 200 + 200).map(|id| record(id) + "\n").collect();
        assert_eq!(client.post("/in/full", &[], body.as_bytes()).status, 202);
    }
    running.until("it fails", |_| obstacles(&mut client).contains("full failed and will be started again"));
    let why = obstacles(&mut client);
    running.until("it has been tried again", |_| status(&desk, "full")["restarts"].as_u64() >= Some(2));
    client.post("/in/orders", &[], lines(0..10).as_bytes());
    until_rows(&mut running, &desk, "orders", 10);
    disk.grow(50);
    running.until("all is written", |_| status(&desk, "full")["rows_in"] == 4000);
    running.until("it is ready", |_| obstacles(&mut client).is_empty());
    let attempts = status(&desk, "full")["attempt"].as_u64();
    assert!(attempts >= Some(3), "a restart is an attempt of the same run: {attempts:?}");
    assert!(why.contains("No space left"), "{why}");
    running.stop().expect(0);
    let expected: Vec<String> = (0..4000).map(record).collect();
    look::same("full", &out(Path::new(disk.path())), &expected);
}

#[test]
fn an_input_that_vanishes_and_comes_back_is_read_on() {
    let desk = Desk::new();
    desk.write("p/a.sync", taken("orders"));
    desk.write(
        "p/b.sync",
        "PIPELINE log WITH (restart_delay = '100 ms') AS FROM file('../in.ndjson') FOLLOW |> INSERT INTO file('../out/log/');",
    );
    let (mut running, mut client) = run(&desk, &[]);
    running.until("it fails", |_| obstacles(&mut client).contains("log failed and will be started again"));
    desk.write("in.ndjson", lines(0..5));
    until_rows(&mut running, &desk, "log", 5);
    fs::rename(desk.path("in.ndjson"), desk.path("elsewhere")).expect("move it away");
    client.post("/in/orders", &[], lines(0..3).as_bytes());
    until_rows(&mut running, &desk, "orders", 3);
    fs::rename(desk.path("elsewhere"), desk.path("in.ndjson")).expect("put it back");
    let mut file = fs::OpenOptions::new().append(true).open(desk.path("in.ndjson")).expect("open it");
    std::io::Write::write_all(&mut file, lines(5..8).as_bytes()).expect("write more");
    until_rows(&mut running, &desk, "log", 8);
    running.until("it is ready", |_| obstacles(&mut client).is_empty());
    running.stop().expect(0);
    look::same("log", &out(&desk.path("out/log")), &rows(0..8));
}

#[test]
fn a_database_that_somebody_holds_is_lag_of_one_pipeline_and_no_failure() {
    let desk = Desk::new();
    desk.write("p/a.sync", taken("orders"));
    desk.write(
        "p/b.sync",
        "PIPELINE shop AS FROM http('/shop') |> SELECT CAST(id AS BIGINT) AS id |> UPSERT INTO sqlite('../shop.db', 't') KEY (id);",
    );
    let holder = Connection::open(desk.path("shop.db")).expect("a database");
    holder.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY); BEGIN EXCLUSIVE").expect("hold it");
    let (mut running, mut client) = run(&desk, &[]);
    client.post("/in/shop", &[], lines(0..50).as_bytes());
    running.until("it is in trouble", |_| obstacles(&mut client).contains("shop: upsert is being tried again"));
    client.post("/in/orders", &[], lines(0..3).as_bytes());
    until_rows(&mut running, &desk, "orders", 3);
    assert_eq!((&status(&desk, "shop")["state"], &status(&desk, "shop")["waiting"]), (&json!("running"), &json!(50)));
    holder.execute_batch("ROLLBACK").expect("let go");
    until_rows(&mut running, &desk, "shop", 50);
    running.until("it is ready", |_| obstacles(&mut client).is_empty());
    running.stop().expect(0);
    assert_eq!(look::sqlite(&desk.path("shop.db"), "SELECT count(*), max(id) FROM t"), [["50", "49"]]);
}

#[test]
fn restarts_are_as_many_as_the_file_says_and_a_batch_that_fails_says_so_at_once() {
    let desk = Desk::new();
    let source = |options: &str| {
        format!("PIPELINE gone {options} AS FROM file('gone.ndjson') FOLLOW |> INSERT INTO file('out/');")
    };
    desk.write("a.sync", source("WITH (restart = 'never')"));
    let said = desk.say(&["run", "a.sync", "--listen", "127.0.0.1:0"]).expect(3);
    assert!(said.err.contains("error: gone.ndjson") && !said.err.contains("starting again"), "{}", said.err);
    desk.write("a.sync", source("WITH (max_restarts = 2, restart_delay = '50 ms')"));
    let said = desk.say(&["run", "a.sync", "--listen", "127.0.0.1:0"]).expect(3);
    assert_eq!(said.err.matches("starting again").count(), 2, "{}", said.err);
    let said = desk.say(&["run", "a.sync", "--once"]).expect(3);
    assert!(!said.err.contains("starting again"), "{}", said.err);
    desk.write("a.sync", source("").replace(" FOLLOW", ""));
    let said = desk.say(&["run", "a.sync"]).expect(3);
    assert!(!said.err.contains("starting again"), "{}", said.err);
}

#[test]
fn a_batch_that_always_starts_again_takes_what_is_new() {
    let desk = Desk::new();
    desk.write("in.ndjson", lines(0..5));
    desk.write(
        "a.sync",
        "PIPELINE a WITH (restart = 'always', restart_delay = '100 ms') AS FROM file('in.ndjson') |> INSERT INTO file('out/');",
    );
    let mut running = desk.start(&["run", "a.sync"]);
    let seen = |desk: &Desk| desk.path("out").is_dir() && !look::parts(&desk.path("out"), "ndjson").is_empty();
    running.until("the first rows are there", |_| seen(&desk) && look::lines(&desk.path("out")).len() == 5);
    desk.write("in.ndjson", lines(0..8));
    running.until("the next rows are there", |_| look::lines(&desk.path("out")).len() == 8);
    running.stop().expect(0);
    look::same("out", &look::lines(&desk.path("out")), &rows(0..8));
}

#[test]
fn a_hang_up_reads_the_files_again_and_touches_only_what_changed() {
    let desk = Desk::new();
    desk.write("p/stays.sync", taken("stays"));
    desk.write("p/changes.sync", taken("changes"));
    desk.write("p/goes.sync", taken("goes"));
    let (mut running, mut client) = run(&desk, &[]);
    for name in ["stays", "changes", "goes"] {
        client.post(&format!("/in/{name}"), &[], lines(0..5).as_bytes());
        until_rows(&mut running, &desk, name, 5);
    }
    // A file that is wrong changes nothing.
    desk.write("p/changes.sync", "PIPELINE changes AS FRM http('/changes');");
    running.signal("HUP");
    running.until("it says so", |running| running.err().contains("not reloaded, and what runs goes on"));
    client.post("/in/changes", &[], lines(5..7).as_bytes());
    until_rows(&mut running, &desk, "changes", 7);

    desk.write("p/changes.sync", taken("changes").replace("|> INSERT", "|> WHERE id >= 0 |> INSERT"));
    desk.write("p/comes.sync", taken("comes"));
    fs::remove_file(desk.path("p/goes.sync")).expect("remove it");
    running.signal("HUP");
    running.until("it has read them", |running| running.err().contains("the pipeline files were read again"));
    running.until("it is ready", |_| obstacles(&mut client).is_empty());
    client.post("/in/comes", &[], lines(0..2).as_bytes());
    client.post("/in/changes", &[], lines(7..9).as_bytes());
    until_rows(&mut running, &desk, "comes", 2);
    running.until("the change runs", |_| status(&desk, "changes")["rows_in"] == 2);
    assert_eq!(client.post("/in/goes", &[], b"{}").status, 404);
    let runs = |name: &str| status(&desk, name)["run"].as_u64();
    assert_eq!((runs("stays"), runs("changes"), runs("goes")), (Some(1), Some(2), Some(1)));
    assert_eq!(status(&desk, "goes")["state"], "stopped");
    running.stop().expect(0);
    look::same("changes", &out(&desk.path("out/changes")), &rows(0..9));
}

/// Its failure kept `/readyz` at 503 and the exit code at 1 for as long as the process lived.
#[test]
fn a_pipeline_that_was_given_up_and_is_in_no_file_any_more_is_forgotten() {
    let desk = Desk::new();
    desk.write("p/stays.sync", taken("stays"));
    desk.write("p/in.ndjson", lines(0..5));
    desk.write(
        "p/fails.sync",
        "PIPELINE fails AS FROM file('in.ndjson') |> EXPECT id < 3 AS small ON VIOLATION FAIL |> INSERT INTO stdout();",
    );
    let (mut running, mut client) = run(&desk, &[]);
    running.until("it is given up", |_| obstacles(&mut client).starts_with("fails has failed"));
    fs::remove_file(desk.path("p/fails.sync")).expect("remove it");
    running.signal("HUP");
    running.until("it is ready", |_| obstacles(&mut client).is_empty());
    assert_eq!(status(&desk, "fails")["state"], "failed", "its last run was");
    running.stop().expect(0);
}

/// The signal ended a process that had not said yet what to do with it.
#[test]
fn a_hang_up_while_a_process_starts_is_no_end() {
    for _ in 0..5 {
        let desk = Desk::new();
        desk.write("p/a.sync", taken("a"));
        let mut running = desk.start(&["run", "p", "--listen", "127.0.0.1:0"]);
        running.until("it has a folder", |_| desk.path("p/.syncline").exists());
        running.signal("HUP");
        running.address();
        running.stop().expect(0);
    }
}

#[test]
fn a_killed_process_goes_on_with_all_of_its_pipelines() {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        desk.write(&format!("p/{name}.sync"), taken(name));
    }
    let (mut sent, mut next) = (0, Some(()));
    while next.take().is_some() {
        let (mut running, mut client) = run(&desk, &[]);
        for _ in 0..3 {
            for name in ["a", "b", "c"] {
                let answer = client.post(&format!("/in/{name}"), &[], lines(sent..sent + 10).as_bytes());
                assert_eq!(answer.status, 202);
            }
            sent += 10;
        }
        if sent < 90 {
            assert!(running.kill());
            next = Some(());
        } else {
            for name in ["a", "b", "c"] {
                running.until("all is through", |_| out(&desk.path(&format!("out/{name}"))).len() == sent);
            }
            running.stop().expect(0);
        }
    }
    for name in ["a", "b", "c"] {
        look::same(name, &out(&desk.path(&format!("out/{name}"))), &rows(0..sent));
    }
}

#[test]
fn names_are_unique_and_one_wrong_file_keeps_all_from_starting() {
    let desk = Desk::new();
    desk.write("p/a.sync", taken("orders"));
    desk.write("p/b.sync", format!("-- the same name\n{}", taken("Orders")));
    let said = desk.say(&["run", "p"]).expect(2);
    for word in ["two files declare a pipeline Orders", "p/a.sync:1:10", "p/b.sync:2:10", "help: rename one"] {
        assert!(said.err.contains(word), "`{word}` is not in:\n{}", said.err);
    }
    desk.write("p/b.sync", "PIPELINE people AS FRM http('/people');");
    let said = desk.say(&["run", "p"]).expect(2);
    assert!(said.err.contains("p/b.sync:1") && said.err.contains("nothing was started"), "{}", said.err);
    desk.write("q/c.sync", taken("c"));
    let said = desk.say(&["run", "p/a.sync", "q/c.sync"]).expect(2);
    assert!(said.err.contains("--data"), "{}", said.err);
    assert!(!desk.path("p/.syncline").exists(), "nothing was started");
}

#[test]
fn every_line_for_machines_is_json_and_none_shows_a_secret() {
    let desk = Desk::new();
    // A path that is a secret, as an address with a password would be: it cannot be opened, and the reason quotes it.
    desk.write("p/s3cr3t-hunter2/a-folder", "");
    desk.write(
        "p/a.sync",
        "PIPELINE shop WITH (restart_delay = '50 ms') AS FROM http('/shop') |> SELECT CAST(id AS BIGINT) AS id\n\
         |> UPSERT INTO sqlite(secret('shop/db'), 't') KEY (id);\n\
         PIPELINE strict AS FROM http('/strict') |> EXPECT id < 100 AS small ON VIOLATION FAIL |> INSERT INTO file('../out/');",
    );
    let mut command =
        desk.command(&["run", "p", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug"]);
    command.env("SYNCLINE_SECRET_SHOP_DB", "s3cr3t-hunter2");
    let mut running = Running::start(command, "run p --log-format json".to_owned());
    let told = |err: &str| {
        let first: Value = serde_json::from_str(err.lines().next()?).ok()?;
        first["address"].as_str()?.parse().ok()
    };
    running.until("it listens", |running| told(&running.err()).is_some());
    let mut client = Client::to(told(&running.err()).expect("just seen"));
    client.post("/in/shop", &[], lines(0..5).as_bytes());
    client.post("/in/strict", &[], lines(200..201).as_bytes());
    until_state(&mut running, &desk, "strict", "failed");
    running.until("shop is tried again", |_| obstacles(&mut client).contains("shop failed and will be started again"));
    let shown = format!("{} {}", obstacles(&mut client), status(&desk, "shop"));
    let said = running.stop();
    let kept = desk.ok(&["query", "SELECT reason FROM runs", "--data", "p/.syncline"]);
    let mut told = vec![];
    for line in said.err.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
        assert!(event["timestamp"].is_string() && event["level"].is_string() && event["message"].is_string(), "{line}");
        told.push((event["level"].clone(), event["pipeline"].clone(), event["slug"].clone()));
    }
    let strict = (json!("ERROR"), json!("strict"), json!("expectation-failed"));
    assert_eq!(told.iter().filter(|event| **event == strict).count(), 1, "told once: {}", said.err);
    assert!(told.iter().any(|(level, pipeline, _)| level == "WARN" && pipeline == "shop"), "{}", said.err);
    for text in [&said.err, &shown, &kept] {
        assert!(text.contains("[secret]") && !text.contains("hunter2"), "{text}");
    }
}
