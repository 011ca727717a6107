//! `POST /in/{path}`, status by status.

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use serde_json::json;
use syncline_connectors::http::BODY;

use super::{answer, frame, house};
use crate::api::intake::BACKLOG_RECORDS;

#[tokio::test]
async fn records_are_kept_byte_for_byte_with_their_headers() {
    let house = house();
    let body = "[ {\"id\":9007199254740993, \"total\":1.50} ,\n{\"id\":2,\"s\":\"ü\"} ]";
    let request = Request::post("/in/orders/")
        .header("X-GitHub-Delivery", "d-1")
        .header("authorization", "Bearer s3cret")
        .body(Body::from(body));
    let taken = house.ask(request.unwrap()).await;
    assert_eq!(taken, (202, json!({"accepted": 2, "rejected": 0, "first_offset": 0})));
    let headers = json!({"x-github-delivery": "d-1"});
    assert_eq!(
        house.kept(),
        [
            (0, "{\"id\":9007199254740993, \"total\":1.50}".to_owned(), headers.clone()),
            (1, "{\"id\":2,\"s\":\"ü\"}".to_owned(), headers)
        ]
    );
}

#[tokio::test]
async fn bad_lines_among_good_ones_are_kept_and_counted() {
    let house = house();
    assert_eq!(house.post("{}").await.1["first_offset"], 0);
    let taken = house.post("{\"a\":1}\nnope\n{\"a\":2}\n").await;
    assert_eq!(taken, (202, json!({"accepted": 2, "rejected": 1, "first_offset": 1})));
    let texts: Vec<String> = house.kept().into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(texts, ["{}", "{\"a\":1}", "nope", "{\"a\":2}"]);
    assert_eq!(house.post("[]").await, (202, json!({"accepted": 0, "rejected": 0})));
}

#[tokio::test]
async fn a_body_without_a_record_is_422_and_nothing_is_kept() {
    let house = house();
    let (status, problem) = house.post("{\"a\":1,\n nope}").await;
    assert_eq!(status, 422);
    assert_eq!(
        problem,
        json!({
            "type": "urn:syncline:no-record",
            "title": "nothing in the body is a record",
            "status": 422,
            "detail": "line 2, column 2: key must be a string",
            "help": ["nothing of it was kept; send a JSON object, an array of objects, or one object per line"],
            "line": 2,
            "column": 2,
        })
    );
    assert_eq!(house.post("").await.0, 422);
    assert_eq!(house.kept(), []);
}

#[tokio::test]
async fn a_path_that_nobody_reads_is_404_and_names_those_that_are_read() {
    let house = house();
    let (status, problem) = house.ask(Request::post("/in/oders").body(Body::from("{}")).unwrap()).await;
    assert_eq!((status, &problem["paths"]), (404, &json!(["/in/orders"])));
    house.state.ingest.close("orders", "orders");
    assert_eq!(house.post("{}").await.0, 404);
}

#[tokio::test]
async fn forms_other_types_and_compressed_bodies_are_415() {
    let house = house();
    for (name, value, expected) in [
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "multipart/form-data; boundary=x", 415),
        ("content-type", "application/xml", 415),
        ("content-type", "application/json; charset=utf-16", 415),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "identity", 202),
        ("content-type", "application/json; charset=UTF-8", 202),
        ("content-type", "application/cloudevents+json", 202),
        ("content-type", "application/x-ndjson", 202),
        ("content-type", "text/plain", 202),
    ] {
        let request = Request::post("/in/orders").header(name, value).body(Body::from("{}")).unwrap();
        assert_eq!(house.ask(request).await.0, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_it_says_so_or_not() {
    let house = house();
    let announced = Request::post("/in/orders").header("content-length", BODY + 1).body(Body::empty()).unwrap();
    assert_eq!(house.ask(announced).await.0, 413);
    let pieces = (0..17).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 20])));
    let silent = Body::from_stream(futures::stream::iter(pieces));
    assert_eq!(house.ask(Request::post("/in/orders").body(silent).unwrap()).await.0, 413);
    let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
    assert_eq!(house.ask(Request::post("/in/orders").body(broken).unwrap()).await.0, 400);
    assert_eq!(house.kept(), []);
}

#[tokio::test]
async fn the_largest_body_goes_through_whole() {
    let house = house();
    let record = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY - 8));
    assert_eq!(record.len(), BODY);
    assert_eq!(house.post(record.clone()).await.0, 202);
    assert!(house.kept()[0].1 == record);
}

#[tokio::test]
async fn a_pipeline_that_is_too_far_behind_is_429_until_it_commits() {
    let house = house();
    let one = frame(&[b"{}"]);
    let many = syncline_engine::log::NewFrame { count: BACKLOG_RECORDS as u32 + 1, ..one };
    house.state.log.publish("in/orders", vec![many]).unwrap();
    let request = Request::post("/in/orders").body(Body::from("{}")).unwrap();
    let refused = house.send(request).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, problem) = answer(refused).await;
    assert_eq!((status, problem["title"].as_str()), (429, Some("the pipeline is 1000001 records behind")));
    house.commit_position(10);
    tokio::time::sleep(std::time::Duration::from_millis(80)).await;
    assert_eq!(house.post("{}").await.0, 202);
}

#[tokio::test]
async fn a_process_that_stops_is_503_and_says_when_to_come_back() {
    let house = house();
    house.state.ingest.stop();
    let refused = house.send(Request::post("/in/orders").body(Body::from("{}")).unwrap()).await;
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_eq!(answer(refused).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_to_many_callers_at_once_is_there_after_a_restart_once_each() {
    let house = house();
    let calls = (0..200).map(|id| {
        let house = &house;
        async move {
            let (status, taken) = house.post(format!("{{\"id\":{id}}}")).await;
            assert_eq!(status, 202);
            (taken["first_offset"].as_u64().unwrap(), format!("{{\"id\":{id}}}"))
        }
    });
    let mut acknowledged = futures::future::join_all(calls).await;
    acknowledged.sort();
    let house = house.restart();
    let kept: Vec<(u64, String)> = house.kept().into_iter().map(|(offset, text, _)| (offset, text)).collect();
    assert_eq!(kept, acknowledged);
}
