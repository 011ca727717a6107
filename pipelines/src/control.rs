//! The commands' way to a running process: HTTP over the data folder's socket.

use std::{io::ErrorKind, path::Path, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{
    api::listen::reachable,
    interrupt,
    outcome::{Exit, Failure, SLUG},
};

/// The socket's name in a data folder.
pub const SOCKET: &str = "control.sock";
/// A process that does not take a connection by then is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a process answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: StatusCode,
    pub body: Bytes,
}

/// One request to the process that holds `folder`. `None`: nobody listens there. Refusals of the process come back as failures.
pub fn call(folder: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<Option<Response>, Failure> {
    let mut whole = Vec::new();
    let status = stream(folder, method, path, None, body, &mut |piece| {
        whole.extend_from_slice(&piece);
        Ok(())
    })?;
    Ok(status.map(|status| Response { status, body: whole.into() }))
}

/// The same with the answer piece by piece, as it comes, in the format `accept`.
pub fn stream(
    folder: &Path,
    method: Method,
    path: &str,
    accept: Option<&'static str>,
    body: Vec<u8>,
    each: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
) -> Result<Option<StatusCode>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let asked = async {
        let Some(connection) = connect(&folder.join(SOCKET)).await? else { return Ok(None) };
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(broken)?;
        let driver = tokio::spawn(driver);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(broken)?;
        let mut response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let problem = response.into_body().collect().await.map_err(broken)?.to_bytes();
            return Err(told(status, &problem));
        }
        while let Some(frame) = response.body_mut().frame().await {
            if let Ok(piece) = frame.map_err(broken)?.into_data() {
                each(piece)?;
            }
        }
        driver.abort();
        Ok(Some(status))
    };
    // Who answers ends with the connection.
    runtime.block_on(async {
        tokio::select! {
            answered = asked => answered,
            () = interrupt::pressed() => Err(interrupt::cancelled()),
        }
    })
}

async fn connect(socket: &Path) -> Result<Option<UnixStream>, Failure> {
    let (reachable, _folder) = match reachable(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        reachable => reachable.map_err(broken)?,
    };
    let connected = tokio::time::timeout(PATIENCE, UnixStream::connect(&reachable)).await;
    match connected {
        Err(_) => Err(Failure::environment("no-answer", format!("{} does not answer", socket.display()))
            .help("look at the process that holds the data folder; it may be stuck on its disk")),
        Ok(Err(error)) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => Ok(None),
        Ok(connected) => connected.map(Some).map_err(broken),
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::environment("control-socket", format!("the running process broke off: {error}"))
        .help("run the command again; when it persists, look at the process that holds the data folder")
}

/// A problem of the other side as a failure of this one.
fn told(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    failure(if status.is_client_error() { Exit::Failed } else { Exit::Environment }, &problem)
        .unwrap_or_else(|| Failure::new(Exit::Failed, "refused", format!("the running process answered {status}")))
}

/// Problem details as a failure.
pub fn failure(exit: Exit, problem: &Value) -> Option<Failure> {
    let slug = problem["type"].as_str().and_then(|kind| kind.strip_prefix(SLUG)).unwrap_or("refused").to_owned();
    let mut failure = Failure::new(exit, slug, problem["title"].as_str()?);
    for line in problem["detail"].as_str().unwrap_or_default().lines() {
        failure = failure.seen(line);
    }
    for line in problem["help"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        failure = failure.help(line);
    }
    Some(failure)
}
