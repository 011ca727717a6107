//! What people decide about dead letters: once, durably, and never twice, wherever the process dies.

use std::sync::Arc;

use serde_json::{Value, json};
use syncline_dsl::{Samples, compile};
use syncline_engine::{
    ledger,
    letters::{self, Mark, Standing},
    log::NewFrame,
};
use syncline_record::{DeadLetter, Partition, Place, Reason, StepId};

use super::{House, house};

/// 2026-11-20T10:00:00Z
const TEN: i64 = 1_795_168_800_000_000;

/// A pipeline of this text runs, and these records of `/in/orders` stopped at a step of it; their ids.
async fn with_letters(house: &House, flow: &str, records: &[(&str, &[u8], u64)]) -> Vec<String> {
    let text = format!("PIPELINE orders AS FROM http('/orders') {flow};");
    let checked = compile(&text, &crate::source_file::catalog(), &Samples::default());
    let plan = checked.plan.pipelines.into_iter().next().unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    house.state.plans().insert("orders".to_owned(), Arc::new(plan));
    house.state.live().starting("orders", 0);
    let topic = ledger::dead_topic("orders");
    let log = &house.state.log;
    log.recover(&[&topic], &Default::default()).unwrap();
    for (offset, (step, bytes, length)) in records.iter().enumerate() {
        let letter = DeadLetter {
            step: StepId::new(*step),
            reason: Reason::new("not-a-number", "id"),
            place: Place { partition: Partition::new("in/orders", 0), offset: offset as u64, byte: None },
            time: TEN + offset as i64,
            epoch: 1,
            bytes: bytes.to_vec(),
            length: *length,
            hash: "00".into(),
            headers: Some(r#"{"x-shop":"7"}"#.to_owned()),
        };
        log.append(&topic, NewFrame { count: 1, time: TEN, body: serde_json::to_vec(&letter).unwrap() }).unwrap();
    }
    let ends = log.prepare(&[topic]).unwrap();
    log.commit(1, &ends).unwrap();
    // So that it is a pipeline of the folder.
    house.commit_position(0);
    let (_, page) = house.get("/v1/dead-letters").await;
    let mut ids: Vec<String> =
        page["items"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
    ids.reverse();
    assert_eq!(ids.len(), records.len(), "{page}");
    ids
}

const LINE: &str = "|> DEDUP BY key WITHIN '1 hour' |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO file('out/')";

async fn post(house: &House, path: &str, body: Value) -> (u16, Value) {
    let request = axum::http::Request::post(format!("/v1/dead-letters/{path}"));
    house.ask(request.body(axum::body::Body::from(body.to_string())).unwrap()).await
}

async fn states(house: &House) -> Vec<String> {
    let (_, page) = house.get("/v1/dead-letters").await;
    let mut states: Vec<String> =
        page["items"].as_array().unwrap().iter().map(|letter| letter["state"].as_str().unwrap().to_owned()).collect();
    states.reverse();
    states
}

#[tokio::test]
async fn a_letter_is_retried_once_or_discarded_and_says_so() {
    let house = house();
    let ids = with_letters(&house, LINE, &[("source", b"{bad", 4), ("source", b"[2]", 3), ("source", b"3", 3)]).await;
    let (status, decided) = post(&house, &format!("{}/retry", ids[0]), json!(null)).await;
    assert_eq!((status, &decided), (200, &json!({"id": ids[0], "state": "retried", "offset": 0})));
    let kept = house.kept();
    assert_eq!(kept, [(0, "{bad".to_owned(), json!({"x-shop": "7", "syncline-retry": ids[0]}))]);
    for verb in ["retry", "discard"] {
        let (status, problem) = post(&house, &format!("{}/{verb}", ids[0]), json!(null)).await;
        assert_eq!((status, &problem["type"]), (409, &json!("urn:syncline:letter-settled")));
    }
    assert_eq!(post(&house, &format!("{}/discard", ids[1]), json!(null)).await.0, 200);
    // Of the third one, not all bytes are kept.
    assert_eq!(post(&house, "nope/retry", json!(null)).await.0, 404);
    assert_eq!(states(&house).await, ["retried", "discarded", "open"]);
    let (_, page) = house.get("/v1/dead-letters?state=open").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let house = house.restart();
    let marks = letters::marks(&*house.state.store, "orders").unwrap();
    let mut kept: Vec<&str> = marks.values().map(|mark| mark.standing.as_str()).collect();
    kept.sort_unstable();
    assert_eq!((kept, house.kept().len()), (vec!["discarded", "retried"], 1));
}

/// The mark said that it was on its way, and the process died before or behind the record of it.
#[tokio::test]
async fn a_retry_that_was_cut_off_is_done_once() {
    for (arrived, verb, expected) in
        [(false, "retry", 1), (true, "retry", 1), (true, "discard", 1), (false, "discard", 0)]
    {
        let house = house();
        let id = with_letters(&house, LINE, &[("source", b"{bad", 4)]).await.remove(0);
        house.post("{}").await;
        if arrived {
            post(&house, &format!("{id}/retry"), json!(null)).await;
        }
        let standing = Standing::Retrying { topic: "in/orders".to_owned(), from: 1 };
        let mark = Mark { standing, time: TEN, who: "local".to_owned() };
        letters::put(&*house.state.store, "orders", &id, Some(&mark)).unwrap();
        assert_eq!(states(&house).await, ["retrying"]);
        let (status, decided) = post(&house, verb, json!({"pipeline": "orders"})).await;
        assert_eq!((status, &decided["done"], &decided["refused"]), (200, &json!(1), &json!([])), "{decided}");
        // What lies in the topic was retried, whatever is asked for now.
        let state = if arrived || verb == "retry" { "retried" } else { "discarded" };
        assert_eq!(
            (states(&house).await, house.kept().len()),
            (vec![state.to_owned()], 1 + expected),
            "{arrived} {verb}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_retried_exactly_once_is_refused_with_the_reason() {
    for (flow, step, length, words) in [
        (LINE, "source", 9, "the first 4 are kept"),
        (LINE, "select", 4, "dedup remembers it"),
        ("|> TEE (|> INSERT INTO file('copy/')) |> INSERT INTO file('out/')", "source", 4, "may have gone on at tee"),
        ("|> EXTEND UNNEST(items) AS item |> INSERT INTO file('out/')", "source", 4, "may have gone on at"),
    ] {
        let house = house();
        let id = with_letters(&house, flow, &[(step, b"{bad", length)]).await.remove(0);
        let (status, problem) = post(&house, &format!("{id}/retry"), json!(null)).await;
        let title = problem["title"].as_str().unwrap();
        assert!(status == 409 && title.contains(words), "{flow}: {status} {title}");
        let (_, decided) = post(&house, "retry", json!({"ids": [id]})).await;
        assert_eq!((&decided["done"], &decided["refused"][0]["reason"]), (&json!(0), &json!("no-retry")));
        assert_eq!((states(&house).await, house.kept().len()), (vec!["open".to_owned()], 0));
    }
    let house = house();
    let id = with_letters(&house, LINE, &[("source", b"{bad", 4)]).await.remove(0);
    house.state.ingest.open(syncline_connectors::http::HttpPath::open("orders"), "others");
    let (status, problem) = post(&house, &format!("{id}/retry"), json!(null)).await;
    assert!(status == 409 && problem["title"].as_str().unwrap().contains("read by others too"), "{problem}");
    for none in [json!({}), json!({"ids": []}), json!({"step": "dedup"}), json!({"id": 1}), json!([])] {
        assert_eq!(post(&house, "discard", none).await.0, 400);
    }
}

/// Whoever sends the header himself must not make a retry of ours look done.
#[tokio::test]
async fn the_mark_of_a_retry_is_not_kept_from_outside() {
    let house = house();
    let request = axum::http::Request::post("/in/orders").header("syncline-retry", "0123456789abcdef");
    assert_eq!(house.ask(request.body(axum::body::Body::from("{}")).unwrap()).await.0, 202);
    assert_eq!(house.kept()[0].2, json!({}));
}
