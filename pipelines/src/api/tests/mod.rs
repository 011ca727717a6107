//! The routes over a real store and log in a folder of its own, without a socket.

use std::{path::Path, sync::Arc};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use syncline_connectors::{http::HttpPath, ingest::Sent};
use syncline_engine::{
    checkpoint::{self, Checkpoint},
    log::{Log, NewFrame},
    store::Changes,
};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{ApiState, access::Entrance, router};
use crate::world::World;

mod access;
mod doors;
mod events;
mod frame;
mod ingest;
mod letters;
mod looking;
mod webhooks;

/// A data folder, opened, with a pipeline `orders` that reads `/in/orders`.
pub struct House {
    pub state: Arc<ApiState>,
    pub folder: TempDir,
    world: World,
}

pub fn house() -> House {
    let folder = TempDir::new().unwrap();
    let house = reopened(folder);
    house.state.ingest.open(HttpPath::open("orders"), "orders");
    house
}

fn reopened(folder: TempDir) -> House {
    // A store that nobody holds any more is not closed yet.
    let world = loop {
        match World::open(folder.path()) {
            Err(failure) if failure.slug == "folder-in-use" => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    House { state: ApiState::new(&world.ground, folder.path(), (None, None), None), folder, world }
}

impl House {
    pub async fn send(&self, request: Request<Body>) -> Response {
        router(self.state.clone(), Entrance::Loopback).oneshot(request).await.unwrap()
    }

    /// Status and JSON body of the answer, without the id of the request.
    pub async fn ask(&self, request: Request<Body>) -> (u16, Value) {
        let (status, mut body) = answer(self.send(request).await).await;
        if let Some(members) = body.as_object_mut() {
            members.remove("request_id");
        }
        (status, body)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::post("/in/orders").header("content-type", "application/json");
        self.ask(request.body(body.into()).unwrap()).await
    }

    /// Everything in the topic: offset, record, headers.
    pub fn kept(&self) -> Vec<(u64, String, Value)> {
        kept(&*self.state.log)
    }

    /// The pipeline has committed up to this offset.
    pub fn commit_position(&self, next: u64) {
        let mut checkpoint = Checkpoint { format: 1, epoch: 1, ..Checkpoint::default() };
        checkpoint.cursors.insert("in/orders".into(), json!(next));
        let mut changes = Changes::default();
        checkpoint::put_checkpoint(&mut changes, "orders", &checkpoint, checkpoint.cursors.keys());
        self.state.store.apply(changes).unwrap();
    }

    /// The process dies and another one opens the folder.
    pub fn restart(self) -> House {
        let House { state, folder, world } = self;
        state.ingest.close("orders", "orders");
        let (log, store) = (Arc::downgrade(&state.log), Arc::downgrade(&state.store));
        drop((state, world));
        // The writer's thread lets go of them in its own time.
        while log.strong_count() + store.strong_count() > 0 {
            std::thread::yield_now();
        }
        reopened(folder)
    }
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{status}");
    }
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn kept(log: &dyn Log) -> Vec<(u64, String, Value)> {
    let mut all = vec![];
    let mut next = 0;
    loop {
        let frames = log.read("in/orders", next, 1 << 20).unwrap();
        if frames.is_empty() {
            return all;
        }
        for frame in frames {
            let base = frame.base;
            next = frame.next();
            let ingested = syncline_connectors::ingest::decode(frame.body).unwrap();
            let headers: Value = serde_json::from_str(ingested.headers.as_deref().unwrap()).unwrap();
            for index in 0..ingested.spans.len() {
                let text = String::from_utf8_lossy(ingested.record(index)).into_owned();
                all.push((base + index as u64, text, headers.clone()));
            }
        }
    }
}

pub fn frame(records: &[&[u8]]) -> NewFrame {
    let body = syncline_connectors::ingest::encode(records, None, Sent::Open);
    NewFrame { count: records.len() as u32, time: 0, body }
}

pub fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_too() {
    let house = house();
    let (status, problem) = house.get("/api/v2").await;
    assert_eq!((status, problem["title"].as_str()), (404, Some("there is no /api/v2")));
    let (status, problem) = house.get("/in/orders").await;
    assert_eq!((status, problem["title"].as_str()), (405, Some("GET is not for /in/orders")));
    let (status, problem) = house.get("/in/%ff").await;
    assert_eq!((status, problem["type"].as_str()), (405, Some("urn:syncline:no-such-method")));
    let (status, problem) = house.ask(Request::post("/in/%ff").body(Body::empty()).unwrap()).await;
    assert_eq!((status, problem["type"].as_str()), (400, Some("urn:syncline:refused")));
}

#[tokio::test]
async fn other_sites_in_a_browser_get_nothing() {
    let house = house();
    let from = |name, value| Request::get("/v1/status").header(name, value).body(Body::empty()).unwrap();
    for (name, value, expected) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:3000", 200),
        ("host", "evil.example:7800", 403),
        ("host", "127.0.0.1:7800", 200),
        ("host", "[::1]:7800", 200),
        ("host", "localhost", 200),
    ] {
        assert_eq!(house.ask(from(name, value)).await.0, expected, "{name}: {value}");
    }
    let tunnelled = Request::post("/in/orders").header("host", "abc.tunnel.example").body(Body::from("{}")).unwrap();
    assert_eq!(house.ask(tunnelled).await.0, 202);
}

#[tokio::test]
async fn health_says_what_keeps_the_process_from_being_ready() {
    let house = house();
    assert_eq!(house.get("/healthz").await, (200, json!({"status": "alive"})));
    house.state.live().starting("orders", 0);
    let (status, problem) = house.get("/readyz").await;
    assert_eq!((status, problem["detail"].as_str()), (503, Some("orders is starting")));
    house.state.live().running("orders");
    assert_eq!(house.get("/readyz").await, (200, json!({"status": "ready"})));
    house.state.ingest.stop();
    let (status, problem) = house.get("/readyz").await;
    assert_eq!((status, problem["detail"].as_str()), (503, Some("the process is stopping")));
    assert_eq!(house.send(Request::get("/healthz").body(Body::empty()).unwrap()).await.status(), StatusCode::OK);
}
