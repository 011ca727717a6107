//! The looking routes: status, query, dead letters, metrics.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use syncline_engine::{
    checkpoint::{self, Checkpoint, Run, RunState},
    ledger,
    log::NewFrame,
    store::Changes,
};
use syncline_record::{Books, DeadLetter, Fate, Partition, Place, Reason, StepId};

use super::{House, house};

/// 2026-11-20T10:00:00Z
const TEN: i64 = 1_795_168_800_000_000;

/// A pipeline that runs and has one dead letter, whose bytes are no text.
fn lived_in() -> House {
    let house = house();
    let mut checkpoint = Checkpoint { format: 1, epoch: 3, run: 1, time: TEN, ..Checkpoint::default() };
    checkpoint.cursors.insert("in/orders".into(), json!(1));
    let mut pages = Books::default();
    let source = pages.step(&StepId::new("source"));
    source.rows_in = 2;
    source.rows_out = 1;
    source.count(Fate::Passed, 1);
    source.count(Fate::Dead, 1);
    let run = Run {
        pipeline: "orders".into(),
        run: 1,
        attempt: 1,
        plan: "p".into(),
        state: RunState::Running,
        started: TEN,
        ended: None,
        reason: None,
        due: None,
        epochs: 3,
        pages,
        baseline: Default::default(),
        closed: None,
        order: vec![],
        killed: Default::default(),
        killed_handing_over: Default::default(),
        killed_in_changelog: Default::default(),
        null_keys: Default::default(),
        late_windows: Default::default(),
        warned: Default::default(),
    };
    let mut changes = Changes::default();
    checkpoint::put_checkpoint(&mut changes, "orders", &checkpoint, checkpoint.cursors.keys());
    checkpoint::put(&mut changes, checkpoint::run_key("orders", 1), &run);
    house.state.store.apply(changes).unwrap();
    let letter = DeadLetter {
        step: StepId::new("source"),
        reason: Reason::new("not-utf8", "byte 2: this is not UTF-8"),
        place: Place { partition: Partition::new("in/orders", 0), offset: 1, byte: None },
        time: TEN,
        epoch: 3,
        bytes: b"a\xff<script>".to_vec(),
        length: 10,
        hash: "00".into(),
        headers: None,
    };
    let topic = ledger::dead_topic("orders");
    let log = &house.state.log;
    log.recover(&[&topic], &Default::default()).unwrap();
    let body = serde_json::to_vec(&letter).unwrap();
    log.append(&topic, NewFrame { count: 1, time: TEN, body }).unwrap();
    let ends = log.prepare(&[topic]).unwrap();
    log.commit(3, &ends).unwrap();
    house
}

async fn ask(house: &House, question: Value) -> (u16, Value) {
    house.ask(Request::post("/v1/queries").body(Body::from(question.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_query_gives_columns_and_exact_rows() {
    let house = lived_in();
    let sql = "SELECT pipeline, epoch, 9007199254740993 AS n, last_checkpoint FROM pipelines";
    let columns = json!([
        {"name": "pipeline", "type": "STRING"},
        {"name": "epoch", "type": "BIGINT"},
        {"name": "n", "type": "BIGINT"},
        {"name": "last_checkpoint", "type": "TIMESTAMP"},
    ]);
    let rows = json!([["orders", 3, 9007199254740993_i64, "2026-11-20T10:00:00Z"]]);
    assert_eq!(
        ask(&house, json!({"sql": sql})).await,
        (200, json!({"columns": columns, "rows": rows, "truncated": false}))
    );
    let (_, cut) = ask(&house, json!({"sql": "SELECT * FROM generate_series(1, 5)", "limit": 2})).await;
    assert_eq!((&cut["rows"], &cut["truncated"]), (&json!([[1], [2]]), &json!(true)));
    let (_, whole) = ask(&house, json!({"sql": "SELECT * FROM generate_series(1, 2)", "limit": 2})).await;
    assert_eq!(whole["truncated"], json!(false));
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_says_why() {
    let house = lived_in();
    let (status, problem) = ask(&house, json!({"sql": "SELECT * FROM step"})).await;
    assert_eq!((status, &problem["title"]), (400, &json!("there is no table `step`")));
    assert_eq!(problem["help"][0], json!("did you mean `steps`?"));
    let (status, problem) = ask(&house, json!({"sql": "DROP TABLE runs"})).await;
    assert_eq!((status, &problem["type"]), (400, &json!("urn:syncline:query-writes")));
    assert_eq!(ask(&house, json!({"query": "SELECT 1"})).await.0, 400);
    assert_eq!(ask(&house, json!("x".repeat(2 << 20))).await.0, 413);
    assert_eq!(house.get("/v1/queries").await.0, 405);
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_gives_its_bytes_back() {
    let house = lived_in();
    let (status, list) = house.get("/v1/dead-letters?pipeline=orders&limit=10").await;
    assert_eq!((status, &list["next"]), (200, &json!(null)));
    let letter = &list["items"][0];
    assert_eq!((&letter["reason"], &letter["text"]), (&json!("not-utf8"), &json!("a\u{fffd}<script>")));
    let id = letter["id"].as_str().unwrap();
    let (status, shown) = house.get(&format!("/v1/dead-letters/{id}")).await;
    assert_eq!((status, &shown["detail"]), (200, &json!("byte 2: this is not UTF-8")));
    let request = Request::get(format!("/v1/dead-letters/{id}/bytes")).body(Body::empty()).unwrap();
    let response = house.send(request).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(&response.into_body().collect().await.unwrap().to_bytes()[..], b"a\xff<script>");
}

#[tokio::test]
async fn letters_that_are_not_there_and_odd_filters_are_problems_and_never_sql() {
    let house = lived_in();
    assert_eq!(house.get("/v1/dead-letters/nope").await.0, 404);
    assert_eq!(house.get("/v1/dead-letters/x'%20OR%20'1'='1").await.0, 404);
    assert_eq!(house.get("/v1/dead-letters?pipelin=orders").await.0, 400);
    let (status, list) = house.get("/v1/dead-letters?pipeline=x'%20OR%20TRUE%20--").await;
    assert_eq!((status, list), (200, json!({"items": [], "next": null})));
    for wrong in ["limit=0", "limit=1001", "limit=x", "cursor=1", "limit=1&limit=2"] {
        assert_eq!(house.get(&format!("/v1/dead-letters?{wrong}")).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn status_puts_together_what_is_committed_and_what_the_process_knows() {
    let house = lived_in();
    house.post("{}\n{}\n{}").await;
    house.state.live().running("orders");
    let (status, answer) = house.get("/v1/status").await;
    assert_eq!((status, &answer["process"]), (200, &json!(std::process::id())));
    let pipeline = &answer["pipelines"][0];
    assert_eq!(
        [
            &pipeline["state"],
            &pipeline["lag"],
            &pipeline["rows_in"],
            &pipeline["balanced"],
            &pipeline["steps"][0]["step"]
        ],
        [&json!("running"), &json!(2), &json!(2), &json!(true), &json!("source")]
    );
}

#[tokio::test]
async fn metrics_are_told_only_by_a_process_that_keeps_them() {
    assert_eq!(house().get("/metrics").await.0, 404);
}
