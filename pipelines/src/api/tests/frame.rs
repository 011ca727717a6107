//! What every route has: pages, tags, ids of requests, and POSTs that can be sent twice.

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use syncline_engine::{
    checkpoint::{self, Run},
    firing,
    store::Changes,
};
use syncline_record::schedule::{Missed, Schedule, Timing};

use super::{House, answer, house};
use crate::{
    api::{
        BODIES_KIB,
        body::{JSON, TEXT},
    },
    deploy::LONGEST_TEXT,
};

/// 2026-11-20T10:00:00Z
const TEN: i64 = 1_795_168_800_000_000;

/// A run of a pipeline that began so many microseconds after ten.
fn ran(house: &House, pipeline: &str, run: u64, after: i64) {
    let record: Run = serde_json::from_value(json!({
        "pipeline": pipeline, "run": run, "attempt": 1, "plan": "p", "state": "ended", "started": TEN + after,
        "ended": null, "reason": null, "epochs": 1, "pages": {"steps": {}}, "baseline": {}, "killed": {}, "null_keys": {},
    }))
    .unwrap();
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, checkpoint::run_key(pipeline, run), &record);
    house.state.store.apply(changes).unwrap();
}

/// A pipeline with a schedule.
fn due(house: &House, pipeline: &str) {
    let schedule = Schedule { timing: Timing::Every(60_000_000), time_zone: None, missed: Missed::RunOnce };
    firing::declare(&*house.state.store, pipeline, &schedule, TEN).unwrap();
}

fn names(page: &Value) -> Vec<(String, u64)> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|run| (run["pipeline"].as_str().unwrap().to_owned(), run["run"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn runs_come_in_pages_each_once_while_others_begin() {
    let house = house();
    for run in 1..=3 {
        // Some began within one second, and two at the same instant.
        ran(&house, "a", run, run as i64);
        ran(&house, "b'", run, run as i64 + 1);
    }
    let (mut seen, mut path) = (vec![], "/v1/runs?limit=2".to_owned());
    for round in 4.. {
        let (status, page) = house.get(&path).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(names(&page));
        ran(&house, "a", round, 1_000_000 * round as i64);
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/runs?limit=2&cursor={next}");
    }
    let expected = [("b'", 3), ("b'", 2), ("a", 3), ("b'", 1), ("a", 2), ("a", 1)];
    assert_eq!(seen, expected.map(|(pipeline, run)| (pipeline.to_owned(), run)));
    let (_, page) = house.get("/v1/pipelines/b'/runs?limit=1").await;
    assert_eq!(names(&page), [("b'".to_owned(), 3)]);
    let (status, problem) = house.get(&format!("/v1/runs?cursor={}", page["next"].as_str().unwrap())).await;
    assert_eq!((status, &problem["type"]), (400, &json!("urn:syncline:no-such-cursor")));
    let (status, problem) = house.get("/v1/pipelines/x/runs").await;
    assert_eq!((status, &problem["type"]), (404, &json!("urn:syncline:no-such-pipeline")));
    assert_eq!(house.get("/v1/pipelines/a/runs/2").await.1["started"], "2026-11-20T10:00:00.000002Z");
    assert_eq!(house.get("/v1/pipelines/a/runs/99").await.0, 404);
    assert_eq!(house.get("/v1/pipelines/a/runs/x").await.0, 400);
    assert_eq!(house.get(&format!("/v1/pipelines/a/runs/{}", u64::MAX)).await.0, 404);
}

#[tokio::test]
async fn pipelines_come_in_pages_and_one_that_did_not_change_is_not_sent_again() {
    let house = house();
    for pipeline in ["a", "b", "c"] {
        ran(&house, pipeline, 1, 0);
    }
    let (_, page) = house.get("/v1/pipelines?limit=2").await;
    assert_eq!(names(&page), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(page["items"][0]["started"], "2026-11-20T10:00:00Z");
    let (_, page) = house.get(&format!("/v1/pipelines?cursor={}", page["next"].as_str().unwrap())).await;
    assert_eq!((names(&page), &page["next"]), (vec![("c".to_owned(), 1)], &json!(null)));
    let get = |tag: &str| Request::get("/v1/pipelines/a").header("if-none-match", tag).body(Body::empty()).unwrap();
    let first = house.send(get("\"other\"")).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let second = house.send(get(&tag)).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 304));
    assert_eq!(second.headers()["etag"], tag.as_str());
    assert!(!second.headers().contains_key("content-type"));
    ran(&house, "a", 2, 7);
    assert_eq!(house.send(get(&tag)).await.status(), StatusCode::OK);
    assert_eq!(house.get("/v1/pipelines/d").await.0, 404);
}

#[tokio::test]
async fn a_request_has_an_id_in_its_answer_and_in_its_problem() {
    let house = house();
    for (given, kept) in [
        (Some("a.B_c:1-2"), true),
        (Some("01234567-89ab-cdef-0123-456789abcdef"), true),
        (Some("two words"), false),
        (Some("\"><script>"), false),
        (Some(""), false),
        (None, false),
    ] {
        for path in ["/v1/pipelines/none", "/none", "/healthz", "/in/none"] {
            let mut request = Request::get(path);
            if let Some(given) = given {
                request = request.header("x-request-id", given);
            }
            let response = house.send(request.body(Body::empty()).unwrap()).await;
            let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            assert_eq!(Some(id.as_str()) == given, kept, "{path}: {given:?} became {id}");
            assert!(kept || id.len() == 32, "{id}");
            let (status, body) = answer(response).await;
            assert_eq!(status != 200, body["request_id"] == json!(id), "{path}: {body}");
        }
    }
}

fn post(path: &str, key: &str, body: &'static str) -> Request<Body> {
    Request::post(path).header("idempotency-key", key).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_post_that_comes_again_does_its_work_once_also_after_a_restart() {
    let mut house = house();
    due(&house, "report");
    let is_paused = async |house: &House| house.get("/v1/schedules/report").await.1["paused"] == json!(true);
    let pause = || post("/v1/schedules/report/pause", "\"k1\"", "");
    let first = house.send(pause()).await;
    assert!(first.status() == 200 && !first.headers().contains_key("idempotency-replayed"));
    let first = first.into_body().collect().await.unwrap().to_bytes();
    for restart in [false, true] {
        if restart {
            house = house.restart();
        }
        house.ask(post("/v1/schedules/report/resume", &format!("k2{restart}"), "")).await;
        let again = house.send(pause()).await;
        assert_eq!((again.status().as_u16(), again.headers()["idempotency-replayed"].as_bytes()), (200, &b"true"[..]));
        assert_eq!(again.headers()["content-type"], "application/json");
        assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), first);
        assert!(!is_paused(&house).await, "the work was done twice");
    }
    // Another request with the key is refused; without its quotes it is the same key.
    for request in [post("/v1/schedules/report/pause", "k1", "{}"), post("/v1/schedules/report/run", "\"k1\"", "")] {
        let (status, problem) = house.ask(request).await;
        assert_eq!((status, &problem["type"]), (422, &json!("urn:syncline:idempotency-key-reused")));
    }
    for key in ["", "\"\"", "a\"b", "ü"] {
        assert_eq!(house.ask(post("/v1/schedules/report/pause", key, "")).await.0, 400, "{key}");
    }
    assert!(!is_paused(&house).await);
    // What was refused did nothing, and may be sent again.
    assert_eq!(house.ask(post("/v1/schedules/new/pause", "k3", "")).await.0, 404);
    due(&house, "new");
    assert_eq!(house.ask(post("/v1/schedules/new/pause", "k3", "")).await.0, 200);
}

#[tokio::test]
async fn a_post_that_comes_again_while_the_first_is_on_its_way_is_told_so() {
    let house = std::sync::Arc::new(house());
    due(&house, "report");
    let pause = || post("/v1/schedules/report/pause", "k", "");
    // Its answer is a question to the tables, and there is no place for one.
    let places = house.state.queries.clone().acquire_many_owned(4).await.unwrap();
    let first = tokio::spawn({
        let (house, pause) = (house.clone(), pause());
        async move { house.ask(pause).await }
    });
    while !firing::hold(&*house.state.store, "report").unwrap().is_some_and(|hold| hold.paused) {
        tokio::task::yield_now().await;
    }
    let second = tokio::time::timeout(std::time::Duration::from_secs(20), house.ask(pause())).await;
    let (status, problem) = second.expect("it does not wait for the first");
    assert_eq!((status, &problem["type"]), (409, &json!("urn:syncline:idempotency-key-going")));
    // The asker goes away; the work does not.
    first.abort();
    assert!(first.await.is_err());
    drop(places);
    loop {
        let response = house.send(pause()).await;
        if response.status() == 409 {
            tokio::task::yield_now().await;
            continue;
        }
        assert_eq!((response.status().as_u16(), response.headers().contains_key("idempotency-replayed")), (200, true));
        break;
    }
}

/// Routes that take a body which is no record: method, path, the most that they take.
const BODIES: [(&str, &str, usize); 9] = [
    ("PUT", "/v1/pipelines/a", TEXT),
    ("POST", "/v1/plans", TEXT),
    ("POST", "/v1/plans/p/apply", JSON),
    ("POST", "/v1/pipelines/a/rollback", JSON),
    ("POST", "/v1/pipelines/a/backfill", JSON),
    ("POST", "/v1/connections/c/discover", JSON),
    ("POST", "/v1/dead-letters/discard", JSON),
    ("POST", "/v1/tokens", JSON),
    ("POST", "/v1/queries", 1 << 20),
];

#[tokio::test]
async fn each_route_takes_bodies_up_to_its_bound_and_refuses_longer_ones_in_the_same_shape() {
    let house = house();
    for (method, path, most) in BODIES {
        for key in [None, Some("k")] {
            let request = |body: Body| {
                let request = Request::builder().method(method).uri(path);
                key.iter().fold(request, |request, key| request.header("idempotency-key", *key)).body(body).unwrap()
            };
            let pieces = |length: usize| {
                let pieces = vec![vec![b' '; 60_000]; length / 60_000].into_iter().chain([vec![b' '; length % 60_000]]);
                Body::from_stream(futures::stream::iter(
                    pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))),
                ))
            };
            let of = format!("{method} {path}, {key:?}");
            // What it says of so many spaces is its own matter.
            for body in [Body::from(vec![b' '; most]), pieces(most)] {
                let (status, answer) = house.ask(request(body)).await;
                assert!(![408, 413].contains(&status), "{of}: {status} {answer}");
            }
            let mut announced = request(Body::empty());
            announced.headers_mut().insert("content-length", (most + 1).into());
            for too_long in [announced, request(Body::from(vec![b' '; most + 1])), request(pieces(most + 1))] {
                // The frame of what is done once is wider than some routes.
                let (status, problem) = house.ask(too_long).await;
                assert_eq!((status, &problem["type"]), (413, &json!("urn:syncline:too-large")), "{of}: {problem}");
            }
            let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
            let (status, problem) = house.ask(request(broken)).await;
            assert_eq!((status, &problem["type"]), (400, &json!("urn:syncline:broken-body")), "{of}: {problem}");
        }
    }
    // The longest text, each of whose bytes is two in JSON, gets as far as those whom it is for.
    let text = json!({ "text": "\n".repeat(LONGEST_TEXT) }).to_string();
    let (status, problem) = house
        .ask(Request::put("/v1/pipelines/a").header("content-type", "application/json").body(Body::from(text)).unwrap())
        .await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:syncline:stopping")), "{problem}");
}

#[tokio::test]
async fn bodies_of_all_routes_share_one_memory() {
    let house = house();
    let all = house.state.room_for(BODIES_KIB).await;
    let refused =
        BODIES.iter().flat_map(|one| [(one, None), (one, Some("k"))]).map(async |((method, path, _), key)| {
            let request = Request::builder().method(*method).uri(*path);
            let request = key.iter().fold(request, |request, key| request.header("idempotency-key", *key));
            let (status, problem) = house.ask(request.body(Body::from("{}")).unwrap()).await;
            assert_eq!((status, &problem["type"]), (503, &json!("urn:syncline:busy")), "{method} {path}, {key:?}");
        });
    futures::future::join_all(refused).await;
    drop(all);
    let others = house.state.room_for(BODIES_KIB - 1).await;
    // One whose work is done once has its memory once.
    let request = Request::post("/v1/plans/p/apply").header("idempotency-key", "k").body(Body::from("{}")).unwrap();
    assert_eq!(house.ask(request).await.0, 404);
    drop(others);
}
