//! The commands' way to a running process: HTTP, over the data folder's socket or to a server that a context names.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::{
    api::listen::reachable,
    contexts::Server,
    interrupt,
    outcome::{Exit, Failure, SLUG},
    tls,
};

/// The socket's name in a data folder.
pub const SOCKET: &str = "control.sock";
/// A process that does not take a connection by then is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who answers.
pub enum Process {
    /// Who holds this data folder.
    Folder(PathBuf),
    Server(Server),
}

impl Process {
    pub fn of(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }

    /// That it does not answer any more.
    pub fn gone(&self) -> Failure {
        let title = match self {
            Self::Folder(folder) => format!("the process that held {} has gone", folder.display()),
            Self::Server(_) => format!("{self} has gone"),
        };
        Failure::environment("process-gone", title).help("run the command again")
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Server(Server { name, address, .. }) => write!(f, "{name} ({}{})", address.authority, address.base),
        }
    }
}

/// A way there and back.
trait Way: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Way for T {}

/// What a process answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: StatusCode,
    pub body: Bytes,
}

/// One request to a process. `None`: nobody listens there. Refusals of the process come back as failures.
pub fn call(process: &Process, method: Method, path: &str, body: Vec<u8>) -> Result<Option<Response>, Failure> {
    let mut whole = Vec::new();
    let status = stream(process, method, path, None, body, &mut |piece| {
        whole.extend_from_slice(&piece);
        Ok(())
    })?;
    Ok(status.map(|status| Response { status, body: whole.into() }))
}

/// The same with the answer piece by piece, as it comes, in the format `accept`.
pub fn stream(
    process: &Process,
    method: Method,
    path: &str,
    accept: Option<&'static str>,
    body: Vec<u8>,
    each: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
) -> Result<Option<StatusCode>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broke_off(process, &error))?;
    let asked = async {
        let (way, host, base): (Box<dyn Way>, _, _) = match process {
            Process::Folder(folder) => match connect(&folder.join(SOCKET)).await? {
                Some(connection) => (Box::new(connection), "localhost", ""),
                None => return Ok(None),
            },
            Process::Server(server) => (reach(server).await?, &*server.address.authority, &*server.address.base),
        };
        let broken = |error: &dyn fmt::Display| broke_off(process, error);
        let (mut sender, driver) = http1::handshake(TokioIo::new(way)).await.map_err(|error| broken(&error))?;
        let driver = tokio::spawn(driver);
        let mut request = Request::builder().method(method).uri(format!("{base}{path}")).header(header::HOST, host);
        if let Process::Server(Server { token: Some(token), .. }) = process {
            request = request.header(header::AUTHORIZATION, bearer(token.expose())?);
        }
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let mut response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            let problem = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
            return Err(told(status, &problem));
        }
        while let Some(frame) = response.body_mut().frame().await {
            if let Ok(piece) = frame.map_err(|error| broken(&error))?.into_data() {
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
        reachable => reachable.map_err(|error| broke_off(&Process::of(socket), &error))?,
    };
    let connected = tokio::time::timeout(PATIENCE, UnixStream::connect(&reachable)).await;
    match connected {
        Err(_) => Err(Failure::environment("no-answer", format!("{} does not answer", socket.display()))
            .help("look at the process that holds the data folder; it may be stuck on its disk")),
        Ok(Err(error)) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) => Ok(None),
        Ok(connected) => connected.map(Some).map_err(|error| broke_off(&Process::of(socket), &error)),
    }
}

/// A connection to a server, in TLS where its address says so.
async fn reach(server: &Server) -> Result<Box<dyn Way>, Failure> {
    let address = &server.address;
    let away = |why: String| {
        Failure::environment("server-away", format!("{} does not answer at {}", server.name, address.authority))
            .seen(why)
            .help("look whether it runs and can be reached from here; `syncline context list` shows addresses")
    };
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    let stream = connected.map_err(|_| away(format!("no connection within {PATIENCE:?}")))?;
    let stream = stream.map_err(|error| away(error.to_string()))?;
    if !address.tls {
        return Ok(Box::new(stream));
    }
    let secured = tls::connect(stream, &address.host, server.ca.as_deref());
    let secured = tokio::time::timeout(PATIENCE, secured).await;
    secured.map_err(|_| away(format!("no TLS within {PATIENCE:?}")))?.map(|stream| Box::new(stream) as Box<dyn Way>)
}

/// The header with a token, which no log shows.
fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::environment("no-token", "the token of this context is none"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn broke_off(process: &Process, error: &dyn fmt::Display) -> Failure {
    match process {
        Process::Folder(_) => Failure::environment("control-socket", format!("the running process broke off: {error}"))
            .help("run the command again; when it persists, look at the process that holds the data folder"),
        Process::Server(_) => Failure::environment("server-broke-off", format!("{process} broke off: {error}"))
            .help("run the command again; when it persists, look at the log of that server"),
    }
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
