//! Paths that verify their senders, request by request.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode},
    response::Response,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use syncline_connectors::{
    Args,
    http::HttpPath,
    webhook::{Answer, Delivery, Refusal, Request as Sent, Scheme, Value as Header, Verified},
};
use syncline_engine::intake::{Outcome, Times};
use tower::ServiceExt;

use super::{House, answer, house};
use crate::api::{
    access::Entrance,
    body::{Patience, receive},
    outer_router, router,
};

/// Trusts whoever says so: what a signature proves is tested where signatures are.
struct Word {
    quiet: bool,
}

impl Scheme for Word {
    fn name(&self) -> &'static str {
        "word"
    }

    fn signature_headers(&self) -> Vec<&str> {
        vec!["x-word"]
    }

    fn is_quiet(&self) -> bool {
        self.quiet
    }

    fn verify(&self, request: &Sent<'_>, _: i64) -> Result<Verified, Refusal> {
        match request.headers.value("x-word") {
            Header::Once(b"good") => {}
            Header::Once(_) => return Err(Refusal::Mismatch),
            Header::Absent => return Err(Refusal::Missing),
            Header::Repeated => return Err(Refusal::Malformed),
        }
        let delivery = match request.headers.value("x-id") {
            Header::Once(id) => Some(Delivery::unsigned(id, request.body)),
            _ => None,
        };
        let asks = request.body == b"\"who?\"";
        Ok(Verified { delivery, answer: if asks { Answer::Reply("me".into()) } else { Answer::Keep } })
    }
}

fn taking(named: &[(&str, Value)], quiet: bool) -> House {
    let house = house();
    let named = named.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let path = HttpPath::new(&Args { positional: vec![json!("orders")], named }).unwrap();
    house.state.ingest.close("orders", "orders");
    house.state.ingest.open(HttpPath { verify: Some(Arc::new(Word { quiet })), ..path }, "orders");
    house
}

fn signed(id: &str) -> axum::http::request::Builder {
    Request::post("/in/orders").header("x-word", "good").header("x-id", id)
}

fn counts(house: &House) -> Vec<(Outcome, String, u64)> {
    let path = house.state.ingest.counts().into_iter().find(|path| path.topic == "in/orders").unwrap();
    path.lines.into_iter().map(|line| (line.outcome, line.reason, line.times.requests)).collect()
}

async fn outside(house: &House, request: Request<Body>) -> Response {
    outer_router(house.state.clone()).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn each_request_has_one_outcome_and_who_is_not_verified_learns_nothing() {
    let house = taking(&[], false);
    let post = |word: &str, id: &str, body: &'static str| {
        let request = Request::post("/in/orders").header("x-word", word).header("x-id", id);
        house.ask(request.header("x-tag", "t").body(Body::from(body)).unwrap())
    };
    assert_eq!(
        post("good", "1", "[{\"a\":1},{\"a\":2}]").await,
        (202, json!({"accepted": 2, "rejected": 0, "first_offset": 0}))
    );
    let again = json!({"accepted": 0, "rejected": 0, "duplicate": true});
    assert_eq!(post("good", "1", "[{\"a\":1},{\"a\":2}]").await, (200, again));
    let told = json!({
        "type": "urn:syncline:not-verified", "title": "this request is not verified", "status": 401, "detail": "", "help": []
    });
    assert_eq!(post("bad", "2", "{}").await, (401, told.clone()));
    assert_eq!(post("good", "1", "{}").await, (401, told.clone()), "its id is known, with another body");
    assert_eq!(post("bad", "2", "nope").await, (401, told.clone()), "a body that nobody may send is not looked into");
    assert_eq!(house.post("{}").await, (401, told), "as little as a missing signature");
    assert_eq!(post("good", "3", "nope").await.0, 422);
    assert_eq!(post("good", "4", "[]").await, (202, json!({"accepted": 0, "rejected": 0})));
    assert_eq!(post("good", "5", "\"who?\"").await.0, 200);
    let kept: Vec<(u64, String, Value)> = house.kept();
    let headers = json!({"x-id": "1", "x-tag": "t"});
    assert_eq!(kept, [(0, "{\"a\":1}".to_owned(), headers.clone()), (1, "{\"a\":2}".to_owned(), headers)]);
    let refused = |reason: &str, many| (Outcome::Refused, reason.to_owned(), many);
    assert_eq!(
        counts(&house),
        [
            (Outcome::Accepted, String::new(), 1),
            (Outcome::Duplicate, String::new(), 1),
            (Outcome::Answered, String::new(), 2),
            refused("mismatch", 2),
            refused("missing", 1),
            refused("no-record", 1),
            refused("replayed", 1),
        ]
    );
}

#[tokio::test]
async fn a_form_of_a_verified_sender_is_a_record_and_a_quiet_one_gets_no_body() {
    let house = taking(&[], true);
    let form = |body: &'static str| {
        signed(body).header("content-type", "application/x-www-form-urlencoded").body(Body::from(body)).unwrap()
    };
    for body in ["payload=%7B%22n%22%3A+1%7D", "command=%2Fdeploy&text=now", "payload=%7B%22n%22%3A+1%7D"] {
        let response = house.send(form(body)).await;
        assert_eq!(response.status(), 200, "{body}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "", "{body}");
    }
    assert_eq!(house.ask(form("a=%zz")).await.1["detail"], "the body is no form, though it says so");
    assert_eq!(house.ask(form("payload=7")).await.0, 422);
    let texts: Vec<String> = house.kept().into_iter().map(|(_, text, _)| text).collect();
    assert_eq!(texts, ["{\"n\": 1}", "{\"command\":\"/deploy\",\"text\":\"now\"}"]);
}

#[tokio::test]
async fn only_what_is_verified_counts_against_the_rate() {
    let house = taking(&[("rate_limit", json!("2 per hour"))], false);
    for _ in 0..5 {
        assert_eq!(house.post("{}").await.0, 401);
    }
    let post = |id: &str| house.send(signed(id).body(Body::from("{}")).unwrap());
    assert_eq!([post("1").await.status(), post("2").await.status()], [202, 202]);
    let refused = post("3").await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_590..=3_780).contains(&wait), "{wait}");
    assert_eq!(answer(refused).await.1["type"], "urn:syncline:rate-limit");
}

#[tokio::test]
async fn a_verified_request_is_one_frame_however_much_it_holds() {
    let house = taking(&[("max_body", json!("5 MB"))], false);
    let record = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let body = format!("[{}]", [record.as_str(); 4].join(","));
    assert_eq!(house.ask(signed("1").body(Body::from(body.clone())).unwrap()).await.0, 202);
    assert_eq!(house.ask(signed("1").body(Body::from(body)).unwrap()).await.0, 200);
    let frames = house.state.log.read("in/orders", 0, 64 << 20).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.count).collect::<Vec<_>>(), [4]);
    let long = signed("2").body(Body::from(vec![b' '; 5_000_001])).unwrap();
    assert_eq!(house.ask(long).await.1["title"], "the body is longer than 5 MB");
}

#[tokio::test]
async fn a_body_that_stalls_or_trickles_is_given_up() {
    let house = house();
    let at = Duration::from_millis;
    let given_up = |body: Body, whole: Duration, piece: Duration| {
        let patience = Patience { whole, piece };
        let state = house.state.clone();
        async move { receive(&state, body, 1 << 20, patience).await.err().map(|slow| (slow.status, slow.failure.title)) }
    };
    let told = |after: &str| Some((StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {after}")));
    let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(given_up(silent, at(5_000), at(50)).await, told("50ms"));
    let trickle = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    assert_eq!(given_up(Body::from_stream(trickle), at(300), at(250)).await, told("300ms"));
    assert_eq!(given_up(Body::from("{}"), at(5_000), at(50)).await, None);
}

/// Whoever announces much and sends little takes little: fifty announcements of 16 MiB keep nobody out.
#[tokio::test]
async fn memory_is_taken_as_bodies_arrive_and_not_as_they_are_announced() {
    let house = taking(&[], false);
    let announced = (0..50).map(|_| {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b" "))]);
        let body = Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
        let request = signed("x").header("content-length", 16 << 20).body(body).unwrap();
        tokio::spawn(router(house.state.clone(), Entrance::Loopback).oneshot(request))
    });
    let announced: Vec<_> = announced.collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let small = tokio::time::timeout(Duration::from_secs(2), house.ask(signed("1").body(Body::from("{}")).unwrap()));
    assert_eq!(small.await.expect("at once").0, 202);
    announced.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_outer_door_tells_no_paths_and_shows_nothing_else() {
    let house = taking(&[], false);
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for path in ["/", "/metrics", "/readyz", "/v1/status", "/in"] {
        assert_eq!(answer(outside(&house, get(path)).await).await.1["title"], "there is nothing here", "{path}");
    }
    let unknown = Request::post("/in/x").body(Body::from("{}")).unwrap();
    let (status, problem) = answer(outside(&house, unknown).await).await;
    assert_eq!((status, problem.get("paths"), &problem["help"]), (404, None, &json!([])));
    // A verified sender may come from anywhere; on a path that takes from anybody, a page of another site may not.
    let from = |builder: axum::http::request::Builder| {
        builder.header("origin", "https://hooks.example").body(Body::from("{}")).unwrap()
    };
    assert_eq!(outside(&house, from(signed("1"))).await.status(), 202);
    house.state.ingest.open(HttpPath::open("open"), "open");
    assert_eq!(outside(&house, from(Request::post("/in/open"))).await.status(), 403);
}

#[tokio::test]
async fn what_a_path_counts_is_in_the_store_when_it_is_closed() {
    let house = taking(&[], false);
    assert_eq!(house.ask(signed("1").body(Body::from("{}")).unwrap()).await.0, 202);
    assert_eq!(house.post("{}").await.0, 401);
    let state = house.state.clone();
    tokio::task::spawn_blocking(move || state.ingest.finish()).await.unwrap();
    let kept = syncline_engine::intake::read_intake(&*house.state.store, "in/orders").unwrap().unwrap();
    assert_eq!((kept.verify.as_deref(), kept.lines.len()), (Some("word"), 2));
    let known = syncline_engine::intake::read_remembered(&*house.state.store, "in/orders").unwrap().unwrap();
    assert_eq!((known.next, known.accepted), (1, Times { requests: 1, last: known.accepted.last }));
    assert_eq!(house.post("{}").await.0, 404, "nobody reads it any more");
}
