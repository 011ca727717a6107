//! The least that a receiver can be: axum, the body, its HMAC compared in constant time, 202. Nothing is kept.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::load::{PATH, SECRET};

pub fn run(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let key: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    runtime.block_on(async {
        let routes = Router::new().route(PATH, post(take)).with_state(key);
        let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
        let prompt = listener.tap_io(|stream| stream.set_nodelay(true).expect("no delay"));
        axum::serve(prompt, routes).await.expect("it serves");
    });
}

async fn take(State(key): State<Hmac<Sha256>>, headers: HeaderMap, body: Bytes) -> Response {
    let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok()?.strip_prefix("sha256="));
    let tag = signature.and_then(|digits| {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()
    });
    let mut mac = key;
    mac.update(&body);
    match tag.is_some_and(|tag| mac.verify_slice(&tag).is_ok()) {
        true => {
            (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], "{\"accepted\":1}").into_response()
        }
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}
