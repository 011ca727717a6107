//! The ledger in files: moved while a pipeline runs, whenever the process is killed, read by this process and by others.

use std::{fs, path::PathBuf, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    chance::{Chance, kills, soak},
    desk::{Desk, PATIENCE, Running},
    look,
    objects::Store,
    promises::figure,
};

/// Half of what comes is filtered, and the ledger says so.
const ORDERS: &str = "
PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM file('orders.ndjson') FOLLOW
|> WHERE kind = 'a'
|> SELECT CAST(id AS BIGINT) AS id
|> INSERT INTO file('out/');
";
const OFTEN: &[&str] = &["run", "orders.sync", "--listen", "127.0.0.1:0", "--ledger-every", "20 milliseconds"];
const TOLD: &str = "SELECT count(*) AS told, count(DISTINCT record_offset) AS records FROM ledger";

fn lines(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|id| json!({"id": id, "kind": if id % 2 == 0 { "a" } else { "b" }}).to_string())
}

/// Rows of the ledger, and records that they name.
fn told(desk: &Desk) -> (u64, u64) {
    let rows = desk.query(TOLD);
    (rows[0]["told"].as_u64().expect("a count"), rows[0]["records"].as_u64().expect("a count"))
}

fn days(desk: &Desk) -> Vec<PathBuf> {
    let days = fs::read_dir(desk.path(".syncline/ledger/pipeline=orders")).into_iter().flatten().flatten();
    days.map(|day| day.path()).filter(|day| day.is_dir()).collect()
}

fn files(desk: &Desk) -> Vec<PathBuf> {
    days(desk).iter().flat_map(|day| look::parts(day, "parquet")).collect()
}

/// Kills the process so many times while records come and the ledger moves.
/// How many records the ledger has in the end.
fn killed(times: usize, chance: &mut Chance) -> usize {
    let desk = Desk::with(ORDERS);
    let mut written = 0;
    for round in 0..times {
        let mut running = desk.start(OFTEN);
        running.address();
        let more = chance.between(50, 400) as usize;
        desk.append("orders.ndjson", lines(more));
        written += more / 2;
        if round % 3 == 0 {
            running.until("everything is through", |_| told(&desk).0 as usize == written);
        } else {
            thread::sleep(Duration::from_millis(chance.below(300)));
        }
        let (rows, records) = told(&desk);
        assert_eq!(rows, records, "round {round}: a record is there twice");
        assert!(running.kill());
    }
    let mut running = desk.start(OFTEN);
    running.address();
    running.until("everything is through", |_| told(&desk).0 as usize == written);
    running.until("it is in files", |_| !files(&desk).is_empty());
    assert_eq!(told(&desk), (written as u64, written as u64));
    running.stop().expect(0);
    assert_eq!(told(&desk), (written as u64, written as u64), "and when nothing runs");
    written
}

#[test]
fn each_record_of_the_ledger_is_there_once_whenever_the_process_is_killed() {
    let (mut chance, _) = Chance::told("ledger");
    killed(6, &mut chance);
}

#[test]
fn soak_the_ledger_moves_into_files_and_is_whole_whenever_the_process_is_killed() {
    if !soak() {
        return;
    }
    let (mut chance, _) = Chance::told("ledger, long");
    let records = killed(kills(100), &mut chance);
    figure(
        "soak_the_ledger_moves_into_files_and_is_whole_whenever_the_process_is_killed",
        &format!("{} kills, {records} records, each there once", kills(100)),
    );
}

#[test]
fn what_was_moved_is_read_from_the_files_and_by_others() {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", lines(2000));
    let mut running = desk.start(OFTEN);
    running.address();
    running.until("it is in files", |_| told(&desk).0 == 1000 && !files(&desk).is_empty());
    // Those who know nothing of us can read it; what was put into larger files lies there a while longer.
    running.until("all of it is", |_| days(&desk).iter().map(|day| look::parquet(day).len()).sum::<usize>() >= 1000);
    running.stop().expect(0);
    let all = "SELECT * FROM ledger ORDER BY record_offset";
    let ours = desk.ok(&["query", all, "-o", "csv"]);
    assert_eq!(ours.lines().count(), 1001);
    let columns = "pipeline,step,fate,reason,source,record_offset,time,run,epoch,key,key_fingerprint\n";
    assert!(ours.starts_with(&format!("{columns}orders,where,filtered,")), "{ours}");
    assert!(ours.lines().skip(1).all(|row| row.contains(",1,") && row.ends_with(",,")), "a run and no key: {ours}");
    let place = desk.path(".syncline/ledger").display().to_string();
    let elsewhere = Desk::new();
    assert_eq!(elsewhere.ok(&["query", "--ledger", &place, all, "-o", "csv"]), ours);
    let few = "SELECT count(*) AS n FROM records_dropped WHERE pipeline = 'orders' AND record_offset <= 500";
    assert_eq!(desk.value(few), 250);
    assert_eq!(desk.value("SELECT count(*) AS n FROM ledger WHERE pipeline = 'another'"), 0);
    let now = "SELECT count(*) AS n FROM ledger WHERE time > now() - INTERVAL '1 hour'";
    assert_eq!(desk.value(now), 1000);
    // What is not ours to count is not counted: nothing names it.
    let files = files(&desk);
    fs::copy(&files[0], files[0].with_file_name("left-behind.parquet")).expect("a copy");
    assert_eq!(told(&desk), (1000, 1000));
    // And what is named and gone is said, and is no fewer rows.
    fs::remove_file(&files[0]).expect("a file");
    let said = desk.say(&["query", "SELECT max(record_offset) FROM ledger"]).expect(1);
    assert!(said.err.contains("parquet"), "{}", said.err);
}

/// What became of order 17, and is it known? Steps that go by a key say so, in the log and in files.
#[test]
fn a_step_that_goes_by_a_key_says_which_and_its_state_knows_it() {
    let desk = Desk::with(
        "PIPELINE orders WITH (ledger = 'all', checkpoint_every = '20 milliseconds') AS
         FROM file('orders.ndjson') FOLLOW
         |> WHERE kind = 'a'
         |> DEDUP BY shop, id WITHIN '1 hour'
         |> INSERT INTO file('out/');",
    );
    let order = |shop: &str, id: i64| json!({"shop": shop, "id": id, "kind": "a"}).to_string();
    desk.append("orders.ndjson", [order("x", 1), order("x", 1), order("y", 1)]);
    desk.append("orders.ndjson", [r#"{"kind":"b"}"#, r#"{"kind":"a","shop":"z"}"#]);
    let mut running = desk.start(OFTEN);
    running.address();
    let dedup = "SELECT fate, key, key_fingerprint IS NULL AS none, run, epoch > 0 AS later FROM ledger
        WHERE step = 'dedup' ORDER BY record_offset";
    let row = |fate: &str, key: Value, run: u64| json!({"fate": fate, "key": key, "none": key.is_null(), "run": run, "later": true});
    let (one, other) = (json!(r#"["x",1]"#), json!(r#"["y",1]"#));
    let mut expected = vec![
        row("passed", one.clone(), 1),
        row("duplicate", one.clone(), 1),
        row("passed", other, 1),
        row("passed", Value::Null, 1),
    ];
    running.until("all went through", |_| desk.query(dedup).len() == 4);
    assert_eq!(desk.query(dedup), expected);
    let known = r#"SELECT l.key, s.epoch = (SELECT max(epoch) FROM pipeline_state('orders', 'dedup')) AS one
        FROM ledger l JOIN orders.dedup s USING (key_fingerprint) WHERE l.fate = 'duplicate'"#;
    assert_eq!(desk.query(known), [json!({"key": one, "one": true})]);
    running.until("it is in files", |_| !files(&desk).is_empty());
    assert_eq!(desk.query(dedup), expected, "as in the log");
    assert_eq!(desk.value("SELECT count(*) AS n FROM ledger WHERE step <> 'dedup' AND key IS NOT NULL"), 0);
    running.stop().expect(0);
    // Another run is another run.
    let mut running = desk.start(OFTEN);
    running.address();
    desk.append("orders.ndjson", [order("x", 1)]);
    expected.push(row("duplicate", one.clone(), 2));
    running.until("it went through", |_| desk.query(dedup).len() == 5);
    assert_eq!(desk.query(dedup), expected);
    running.stop().expect(0);
}

/// A disk that was not mounted became an empty folder, and what was asked there had no answer.
#[test]
fn a_place_that_is_away_is_said_and_not_made_anew() {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", lines(100));
    let mut running = desk.start(&[OFTEN, &["--ledger", "disk/ledger"]].concat());
    running.address();
    running.until("it is through", |_| told(&desk) == (50, 50));
    running.stop().expect(0);
    fs::rename(desk.path("disk"), desk.path("elsewhere")).expect("away");
    let said = desk.say(&["query", TOLD]).expect(1);
    assert!(said.err.contains("disk/ledger"), "{}", said.err);
    assert!(!desk.path("disk").exists());
    // All else goes on, and the ledger waits in the log.
    assert_eq!(desk.value("SELECT count(*) AS n FROM runs"), 1);
    desk.append("orders.ndjson", lines(100));
    let mut running = desk.start(OFTEN);
    running.address();
    running.until("it is through, and says so", |running| {
        desk.value("SELECT sum(rows_in) AS n FROM steps WHERE step = 'where'") == 200
            && running.err().contains("the ledger stays in the log")
    });
    fs::rename(desk.path("elsewhere"), desk.path("disk")).expect("back");
    running.until("it is whole", |_| told(&desk).0 == 100);
    running.stop().expect(0);
}

#[test]
fn a_pipeline_that_starts_over_has_a_ledger_of_its_own() {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", lines(100));
    for fresh in [&[][..], &["--fresh"]] {
        let mut running = desk.start(&[OFTEN, fresh].concat());
        running.address();
        running.until("it is in files", |_| told(&desk) == (50, 50) && !files(&desk).is_empty());
        running.stop().expect(0);
    }
    assert_eq!(told(&desk), (50, 50));
}

/// A command that finds the store as its own tools do.
fn with(store: &Store, desk: &Desk, arguments: &[&str]) -> Running {
    let mut command = desk.command(arguments);
    command.envs(store.environment());
    Running::start(command, arguments.join(" "))
}

#[test]
fn a_ledger_in_an_object_store_is_read_by_others_while_it_is_written() {
    let store = Store::start();
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", lines(400));
    let place = "s3://shop/the/ledger";
    let mut running = with(&store, &desk, &[OFTEN, &["--ledger", place]].concat());
    running.address();
    let elsewhere = Desk::new();
    let asked = || {
        let said = with(&store, &elsewhere, &["query", "--ledger", place, TOLD, "-o", "json"]).end(PATIENCE).expect(0);
        serde_json::from_str::<Value>(&said.out()).expect("JSON")
    };
    running.until("others see it", |_| asked() == json!([{"told": 200, "records": 200}]));
    desk.append("orders.ndjson", lines(400));
    running.until("others see more", |_| asked() == json!([{"told": 400, "records": 400}]));
    running.stop().expect(0);
    let manifest = fs::read_to_string(store.path("the/ledger/pipeline=orders/manifest.json")).expect("a manifest");
    assert!(manifest.contains(".parquet"), "{manifest}");
    assert!(!desk.path(".syncline/ledger").exists());
    // The folder knows where its ledger is.
    let said = with(&store, &desk, &["query", TOLD, "-o", "json"]).end(PATIENCE).expect(0);
    assert_eq!(serde_json::from_str::<Value>(&said.out()).ok(), Some(json!([{"told": 400, "records": 400}])));
}

#[test]
fn a_place_that_cannot_be_written_stops_no_pipeline_and_nothing_is_lost() {
    let desk = Desk::with(ORDERS);
    desk.append("orders.ndjson", lines(100));
    // A file stands where the folder of the pipeline would.
    desk.write("kept/pipeline=orders", "in the way");
    let mut running = desk.start(&[OFTEN, &["--ledger", "kept"]].concat());
    running.address();
    running.until("it is told", |running| running.err().contains("the ledger stays in the log"));
    running.until("everything is through", |_| told(&desk) == (50, 50));
    fs::remove_file(desk.path("kept/pipeline=orders")).expect("out of the way");
    running.until("it goes on", |running| running.err().contains("the ledger goes into its files again"));
    assert_eq!(told(&desk), (50, 50));
    running.stop().expect(0);
}
