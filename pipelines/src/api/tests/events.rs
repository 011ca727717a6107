//! Events as they come: in pages, as server-sent events, over a WebSocket.

use std::time::Duration;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use syncline_engine::events::{self, EventKind};

use tower::ServiceExt;

use super::{House, house};
use crate::{
    api::{access::Entrance, router},
    tokens::{self, Grant, Role},
};

/// 2026-11-20T10:00:00Z
const TEN: i64 = 1_795_168_800_000_000;

fn happens(house: &House, pipeline: &str, kind: EventKind, after: i64) {
    events::note(&*house.state.store, pipeline, kind, None, TEN + after).unwrap();
    house.state.listeners.tell();
}

fn told(page: &Value) -> Vec<(String, u64)> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|event| (event["pipeline"].as_str().unwrap().to_owned(), event["number"].as_u64().unwrap()))
        .collect()
}

fn of(events: &[(&str, u64)]) -> Vec<(String, u64)> {
    events.iter().map(|(pipeline, number)| ((*pipeline).to_owned(), *number)).collect()
}

#[tokio::test]
async fn events_come_in_pages_without_a_gap_also_where_a_clock_was_set_back() {
    let house = house();
    for (pipeline, after) in [("a", 10), ("b", 20), ("a", 5), ("b", 30), ("a", 40)] {
        happens(&house, pipeline, EventKind::Started, after);
    }
    let (_, page) = house.get("/v1/events?limit=3").await;
    assert_eq!(told(&page), of(&[("a", 1), ("a", 2), ("b", 1)]));
    assert_eq!(
        (&page["items"][0]["event"], &page["items"][0]["time"]),
        (&json!("started"), &json!("2026-11-20T10:00:00.00001Z"))
    );
    // What comes meanwhile, of a pipeline that was not there, comes too.
    happens(&house, "c", EventKind::Ended, 0);
    let (_, page) = house.get(&format!("/v1/events?cursor={}", page["next"].as_str().unwrap())).await;
    assert_eq!(told(&page), of(&[("c", 1), ("b", 2), ("a", 3)]));
    let (_, page) = house.get(&format!("/v1/events?cursor={}", page["next"].as_str().unwrap())).await;
    assert_eq!((told(&page), page["next"].is_string()), (vec![], true));
    assert_eq!(house.get("/v1/events?cursor=zz").await.0, 400);
}

/// Reads server-sent events until there are so many; their ids and data.
async fn heard(body: &mut Body, many: usize) -> Vec<(String, Value)> {
    let (mut text, mut found) = (String::new(), vec![]);
    while found.len() < many {
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("in time");
        text.push_str(std::str::from_utf8(frame.expect("more").unwrap().data_ref().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(data)) = (line("id: "), line("data: ")) {
                found.push((id, serde_json::from_str(&data).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    found
}

#[tokio::test]
async fn who_listens_hears_what_is_kept_and_what_comes_and_goes_on_where_he_was() {
    let house = house();
    let listen = async |last: Option<&str>| {
        let mut request = Request::get("/v1/events").header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = house.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        response.into_body()
    };
    happens(&house, "a", EventKind::Started, 1);
    let mut body = listen(None).await;
    let first = heard(&mut body, 1).await;
    happens(&house, "a", EventKind::Failed, 2);
    happens(&house, "b", EventKind::Started, 3);
    let more = heard(&mut body, 2).await;
    let kinds: Vec<&Value> = first.iter().chain(&more).map(|(_, event)| &event["event"]).collect();
    assert_eq!(kinds, [&json!("started"), &json!("failed"), &json!("started")]);
    assert_eq!(more[1].1["cursor"], json!(more[1].0));
    drop(body);
    happens(&house, "a", EventKind::Ended, 4);
    let mut body = listen(Some(&more[0].0)).await;
    let rest: Vec<Value> = heard(&mut body, 2).await.into_iter().map(|(_, event)| event["number"].clone()).collect();
    assert_eq!(rest, [json!(1), json!(3)]);
    // A stop lets nobody wait.
    house.state.ingest.stop();
    let end = async { while body.frame().await.is_some() {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), end).await.is_ok());
}

#[tokio::test]
async fn a_websocket_is_asked_for_by_a_websocket_and_listeners_are_bounded() {
    let house = house();
    let (status, problem) = house.get("/v1/events/ws").await;
    assert_eq!((status, &problem["type"]), (426, &json!("urn:syncline:no-websocket")));
    let mut bodies = vec![];
    let listen = async || {
        let request = Request::get("/v1/events").header("accept", "text/event-stream").body(Body::empty()).unwrap();
        house.send(request).await
    };
    for _ in 0..64 {
        let response = listen().await;
        assert_eq!(response.status().as_u16(), 200);
        bodies.push(response);
    }
    assert_eq!(listen().await.status().as_u16(), 503);
    // Who has gone leaves his place to others.
    bodies.clear();
    while listen().await.status().as_u16() == 503 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_cursor_carries_nothing_of_pipelines_that_are_none() {
    let house = house();
    happens(&house, "a", EventKind::Started, 1);
    happens(&house, "a", EventKind::Ended, 2);
    let made = crate::api::page::opaque(&json!({ "a": 1, ("x".repeat(20_000)): 7 }));
    let (status, page) = house.get(&format!("/v1/events?cursor={made}")).await;
    assert_eq!((status, told(&page)), (200, of(&[("a", 2)])));
    let cursor = page["items"][0]["cursor"].as_str().unwrap();
    assert!(cursor.len() < 100, "{}", cursor.len());
    assert_eq!(page["next"].as_str(), Some(cursor));
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let house = house();
    let grant = Grant { role: Role::Viewer, expires: None, pipelines: None };
    let make = || tokens::create(house.folder.path(), "ada", grant.clone(), 0).unwrap().1;
    let token = make();
    let request = Request::get("/v1/events")
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::empty()).unwrap();
    let response = router(house.state.clone(), Entrance::Network).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let mut body = response.into_body();
    happens(&house, "a", EventKind::Started, 1);
    heard(&mut body, 1).await;
    tokens::revoke(house.folder.path(), "ada").unwrap();
    // Another one of this name is another one.
    make();
    let end = async { while body.frame().await.is_some() {} };
    assert!(tokio::time::timeout(Duration::from_secs(10), end).await.is_ok(), "it goes on without its token");
}

#[tokio::test]
async fn who_goes_on_behind_an_event_of_a_pipeline_that_was_forgotten_misses_nothing_of_its_next_life() {
    let house = house();
    for after in 0..3 {
        happens(&house, "a", EventKind::Started, after);
    }
    let (_, page) = house.get("/v1/events").await;
    assert_eq!(told(&page), of(&[("a", 1), ("a", 2), ("a", 3)]));
    crate::deploy::forget(&house.world.ground, "a").unwrap();
    for after in 5..10 {
        happens(&house, "a", EventKind::Started, after);
    }
    let (_, page) = house.get(&format!("/v1/events?cursor={}", page["next"].as_str().unwrap())).await;
    let times: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|event| &event["time"]).collect();
    assert_eq!(times.len(), 5, "{page}");
}
