//! Pipelines with a schedule, in a real process: runs at their due times, kills in the middle and while nobody is there, holds, failures.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    desk::{Desk, Running},
    look,
    web::Client,
};

const SECOND: i64 = 1_000_000;

fn pipeline(trigger: &str) -> String {
    format!(
        "PIPELINE orders {trigger} AS FROM file('in.ndjson') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO sqlite('out.db', 'orders');"
    )
}

fn records(ids: std::ops::Range<usize>) -> impl Iterator<Item = Value> {
    ids.map(|id| json!({ "id": id }))
}

fn start(desk: &Desk) -> Running {
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    running
}

/// Ids in the table, in order: a row that came twice stands there twice.
fn ids(desk: &Desk) -> Vec<String> {
    let rows = look::sqlite(&desk.path("out.db"), "SELECT id FROM orders ORDER BY id");
    rows.into_iter().map(|row| row.concat()).collect()
}

fn expected(ids: std::ops::Range<usize>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// A number, or an instant in microseconds.
fn micros(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no instant"))
}

/// Due times of the runs so far, in the order of the runs.
fn dues(desk: &Desk) -> Vec<i64> {
    let rows = desk.query("SELECT CAST(due AS BIGINT) AS due FROM runs WHERE due IS NOT NULL ORDER BY run");
    rows.iter().map(|row| micros(&row["due"])).collect()
}

fn runs(desk: &Desk, wanted: &str) -> i64 {
    micros(&desk.value(&format!("SELECT COUNT(*) AS n FROM runs WHERE {wanted}")))
}

fn kept(desk: &Desk, wanted: &str) -> i64 {
    micros(&desk.value(&format!("SELECT COUNT(*) AS n FROM schedules WHERE {wanted}")))
}

fn missed(desk: &Desk) -> i64 {
    micros(&desk.value("SELECT missed_runs FROM schedules"))
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock behind 1970").as_micros() as i64
}

#[test]
fn runs_start_at_their_due_times_and_each_takes_what_is_new() {
    let desk = Desk::with(&pipeline("EVERY '1 second' TIME ZONE 'Europe/Berlin'"));
    desk.append("in.ndjson", records(0..3));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    running.until("a run has ended", |_| runs(&desk, "state = 'ended'") >= 1);
    desk.append("in.ndjson", records(3..5));
    running.until("the new rows are there", |_| ids(&desk).len() == 5);
    running.until("three runs", |_| runs(&desk, "state = 'ended'") >= 3);
    assert_eq!(ids(&desk), expected(0..5));
    running.until("it waits", |_| desk.ok(&["status", "-o", "json"]).contains("\"state\":\"scheduled\""));
    assert_eq!(client.get("/readyz").status, 200);
    let metrics = client.get("/metrics").body;
    for figure in ["next_due_timestamp_seconds", "runs_started_total", "runs_missed_total"] {
        assert!(
            metrics.contains(&format!("syncline_schedule_{figure}{{pipeline=\"orders\"}} ")),
            "{figure}: {metrics}"
        );
    }
    let told = desk.ok(&["status"]);
    assert!(told.contains("schedule         every 1 second · Europe/Berlin · if missed run once"), "{told}");
    let dues = dues(&desk);
    assert!(dues.iter().all(|due| due % SECOND == 0) && dues.is_sorted_by(|one, other| one < other), "{dues:?}");
    assert_eq!(runs(&desk, "started < due OR run_id IS NULL OR length(run_id) <> 32"), 0);
    let row = &desk.query("SELECT pipeline, kind, expression, time_zone, missed, paused, last_due <= last_started AS started, next_due > last_due AS ahead FROM schedules")[0];
    assert_eq!(
        *row,
        json!({"pipeline": "orders", "kind": "every", "expression": "1 second", "time_zone": "Europe/Berlin",
            "missed": "run once", "paused": false, "started": true, "ahead": true})
    );
    running.stop().expect(0);
    let list = desk.ok(&["schedule", "list", "-o", "csv"]);
    assert!(
        list.starts_with(
            "pipeline,kind,expression,time_zone,missed,paused,last_due,last_started,last_outcome,next_due,missed_runs\n"
        ),
        "{list}"
    );
}

#[test]
fn a_kill_in_the_middle_of_a_run_goes_on_with_it_and_runs_never_overlap() {
    let trigger = "EVERY '1 second' IF MISSED RUN ONCE WITH (checkpoint_every = '20 ms')";
    let desk = Desk::with(&pipeline(trigger));
    let count = 20_000;
    desk.append("in.ndjson", records(0..count));
    // Somebody else writes to the database, so the first run lasts for as long as we say, however fast the machine is.
    let other = rusqlite::Connection::open(desk.path("out.db")).expect("a database");
    other.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").expect("a transaction");
    let kills = 3;
    let mut running = start(&desk);
    for attempt in 1..=kills {
        let going = format!("run = 1 AND state = 'running' AND attempt = {attempt}");
        running.until("the first run goes", |_| runs(&desk, &going) == 1);
        let began = Instant::now();
        running.until("due times pass", |_| began.elapsed() > Duration::from_millis(1_200));
        assert!(running.kill());
        running = start(&desk);
    }
    other.execute_batch("ROLLBACK").expect("a transaction that is open");
    running.until("the first run has ended", |_| runs(&desk, "run = 1 AND state = 'ended'") == 1);
    running.until("another has ended", |_| runs(&desk, "run > 1 AND state = 'ended'") >= 1);
    running.stop().expect(0);
    let first = &desk.query("SELECT attempt FROM runs WHERE run = 1")[0];
    assert_eq!(micros(&first["attempt"]), kills + 1);
    assert_eq!(ids(&desk), expected(0..count));
    let twice = desk.query("SELECT due FROM runs GROUP BY due, run_id HAVING COUNT(*) > 1");
    assert!(twice.is_empty(), "{twice:?}");
    let overlap =
        "SELECT a.run FROM runs a JOIN runs b ON b.run = a.run + 1 WHERE a.ended IS NULL OR b.started < a.ended";
    let overlap = desk.query(overlap);
    assert!(overlap.is_empty(), "{overlap:?}");
    // Every due time since the first has its run, or was missed and counted.
    let dues = dues(&desk);
    let passed = (dues.last().expect("runs") - dues[0]) / SECOND + 1;
    assert_eq!(dues.len() as i64 + missed(&desk), passed, "{dues:?}");
    assert!(missed(&desk) > 0, "{dues:?}");
}

/// A process that was killed between two runs, away for three due times, and started again.
struct Away {
    /// Of all its runs, and how many of them were before.
    dues: Vec<i64>,
    before: usize,
    /// Between these it was started again.
    started: (i64, i64),
    missed: i64,
    ended: i64,
}

impl Away {
    /// Every due time since the first has its run, or was missed and counted; on a busy machine one behind the last run too, whose time came
    /// while that went on.
    fn is_whole(&self) -> bool {
        let passed = |at: i64| (at - self.dues[0]) / (2 * SECOND) + 1;
        let last = *self.dues.last().expect("runs");
        (passed(last)..=passed(self.ended)).contains(&(self.dues.len() as i64 + self.missed))
    }
}

fn away(policy: &str) -> Away {
    let desk = Desk::with(&pipeline(&format!("EVERY '2 seconds' IF MISSED {policy}")));
    desk.append("in.ndjson", records(0..3));
    let mut running = start(&desk);
    running.until("a run has ended", |_| runs(&desk, "state = 'ended'") >= 1);
    assert!(running.kill());
    let before = dues(&desk).len();
    std::thread::sleep(Duration::from_secs(7));
    let began = now();
    let mut running = start(&desk);
    let started = (began, now());
    running.until("two more runs have ended", |_| {
        let new = dues(&desk).iter().filter(|due| **due > started.1).count();
        runs(&desk, "state = 'ended'") as usize >= before + 2 && new >= 1
    });
    running.stop().expect(0);
    assert_eq!(ids(&desk), expected(0..3));
    Away { dues: dues(&desk), before, started, missed: missed(&desk), ended: now() }
}

#[test]
fn a_server_that_was_down_runs_once_for_all_that_was_due() {
    let away = away("RUN ONCE");
    let (first, next) = (away.dues[away.before], away.dues[away.before + 1]);
    assert!(first <= away.started.1 && next > away.started.0 && away.is_whole(), "{:?}", away.dues);
    assert!(away.missed >= 2, "{:?}", away.dues);
}

#[test]
fn a_server_that_was_down_runs_each_that_was_due_in_order() {
    let away = away("RUN ALL");
    let made_up = away.dues[away.before..].iter().filter(|due| **due <= away.started.0).count();
    assert!(made_up >= 3 && away.is_whole() && away.missed == 0, "{:?}", away.dues);
    assert!(away.dues.windows(2).all(|two| two[1] - two[0] == 2 * SECOND), "{:?}", away.dues);
}

#[test]
fn a_server_that_was_down_skips_what_was_due_and_waits_for_the_next() {
    let away = away("SKIP");
    assert!(away.dues[away.before..].iter().all(|due| *due > away.started.0), "{:?}", away.dues);
    assert!(away.missed >= 3 && away.is_whole(), "{:?}", away.dues);
}

#[test]
fn a_schedule_is_held_across_restarts_and_a_run_can_be_asked_for() {
    let desk = Desk::with(&pipeline("EVERY '1 second' IF MISSED RUN ALL"));
    desk.append("in.ndjson", records(0..2));
    desk.say(&["schedule", "list"]).expect(2);
    let mut running = start(&desk);
    desk.say(&["schedule", "pause", "nothing"]).expect(1);
    let told = desk.ok(&["schedule", "pause", "orders", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told[0]["paused"], &told[0]["next_due"]), (&json!(true), &Value::Null));
    running.until("no run goes", |_| runs(&desk, "state = 'running'") == 0);
    running.stop().expect(0);
    let said = desk.say(&["schedule", "run", "orders"]).expect(1);
    assert!(said.err.contains("syncline run FILE --once --pipeline orders"), "{}", said.err);
    let before = dues(&desk);
    desk.append("in.ndjson", records(2..4));
    let mut running = start(&desk);
    let began = Instant::now();
    running.until("it is held for a while", |_| began.elapsed() > Duration::from_secs(3));
    assert_eq!(dues(&desk), before);
    // A run that somebody asks for is beside the schedule.
    desk.ok(&["schedule", "run", "orders"]);
    running.until("a run has ended", |_| runs(&desk, "due IS NULL AND state = 'ended'") == 1);
    assert_eq!((ids(&desk), dues(&desk)), (expected(0..4), before.clone()));
    desk.ok(&["pipeline", "pause", "orders"]);
    let said = desk.say(&["schedule", "run", "orders"]).expect(1);
    assert!(said.err.contains("syncline pipeline resume orders"), "{}", said.err);
    desk.ok(&["pipeline", "resume", "orders"]);
    let resumed = now();
    desk.ok(&["schedule", "resume", "orders"]);
    running.until("it goes on", |_| dues(&desk).len() > before.len());
    running.stop().expect(0);
    assert!(dues(&desk)[before.len()] > resumed, "what was due while it was held gets no run, whatever the policy");
    desk.ok(&["schedule", "pause", "orders"]);
    assert_eq!(desk.value("SELECT paused FROM schedules"), true, "also where no process runs");
}

#[test]
fn a_run_that_fails_waits_for_the_next_due_time_and_ends_no_process() {
    let desk = Desk::with(&pipeline("EVERY '1 second'"));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    running.until("it says why", |_| client.get("/readyz").body.contains("the last run of orders failed"));
    running.until("it is failed there too", |_| desk.value("SELECT last_outcome FROM schedules") == "failed");
    desk.append("in.ndjson", records(0..3));
    running.until("a later run takes it", |_| desk.value("SELECT last_outcome FROM schedules") == "ended");
    running.until("it is ready", |_| client.get("/readyz").status == 200);
    running.stop().expect(0);
    assert_eq!(ids(&desk), expected(0..3));
}

#[test]
fn a_run_takes_what_was_posted_and_what_another_pipeline_wrote() {
    let desk = Desk::with(
        "PIPELINE taken EVERY '1 second' AS FROM http('/orders') |> AS STREAM posted;\n\
         PIPELINE kept EVERY '1 second' AS FROM posted |> INSERT INTO file('out/');",
    );
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let mut client = Client::to(running.address());
    let out = || if desk.path("out").is_dir() { look::lines(&desk.path("out")) } else { vec![] };
    for id in 0..3 {
        assert_eq!(client.post("/in/orders", &[], format!("{{\"id\":{id}}}").as_bytes()).status, 202);
        running.until("it comes through", |_| out().len() == id + 1);
    }
    running.until("each has run often", |_| {
        let ended = |name: &str| runs(&desk, &format!("pipeline = '{name}' AND state = 'ended'"));
        ended("taken") >= 3 && ended("kept") >= 3
    });
    running.stop().expect(0);
    assert_eq!(out(), ["{\"id\":0}", "{\"id\":1}", "{\"id\":2}"]);
}

#[test]
fn with_once_it_runs_now_and_a_file_without_a_schedule_has_none() {
    let desk = Desk::with(&pipeline("CRON '0 0 1 1 *' TIME ZONE 'Australia/Lord_Howe'"));
    desk.append("in.ndjson", records(0..3));
    let checked = desk.say(&["check", "orders.sync"]).expect(0);
    assert!(
        checked.err.contains("orders: due ") && checked.err.contains("-01-01T00:00:00+11:00[Australia/Lord_Howe], "),
        "{}",
        checked.err
    );
    let planned: Value = serde_json::from_str(&desk.ok(&["plan", "orders.sync", "-o", "json"])).expect("JSON");
    assert_eq!(planned["pipelines"][0]["schedule"]["next"].as_array().map(Vec::len), Some(3), "{planned}");
    assert!(
        desk.ok(&["plan", "orders.sync"])
            .contains("\n  cron 0 0 1 1 * · Australia/Lord_Howe · if missed run once\n  due ")
    );
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!((ids(&desk), dues(&desk).len()), (expected(0..3), 0));
    let mut running = start(&desk);
    running.until("it is kept", |_| kept(&desk, "TRUE") == 1);
    running.stop().expect(0);
    desk.write("orders.sync", pipeline(""));
    desk.ok(&["run", "orders.sync"]);
    assert!(desk.query("SELECT * FROM schedules").is_empty());
}

#[test]
fn a_reload_exchanges_a_schedule_that_was_edited() {
    let desk = Desk::with(&pipeline("CRON '@yearly'"));
    desk.append("in.ndjson", records(0..3));
    let mut running = start(&desk);
    running.until("it waits", |_| kept(&desk, "kind = 'cron'") == 1);
    // Long enough for a run to be over before the next is due, on any machine.
    desk.write("orders.sync", pipeline("EVERY '5 seconds'"));
    running.signal("HUP");
    running.until("it runs", |_| runs(&desk, "state = 'ended'") >= 1);
    assert_eq!((missed(&desk), ids(&desk)), (0, expected(0..3)));
    running.stop().expect(0);
}
