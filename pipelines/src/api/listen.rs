//! The doors: a TCP address for programs, the data folder's socket for the commands of the same user, and perhaps an address for
//! records only, and one for PostgreSQL's clients.
//!
//! The first two serve the same routes. A stop lets requests that are on their way finish, up to a limit.

use std::{
    fs::{self, File, Permissions},
    future::Future,
    io::ErrorKind,
    net::SocketAddr,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{ApiState, KEEP_EVERY, access::Entrance, outer_router, router};
use crate::{
    outcome::Failure,
    pgwire::{self, PostgresDoor},
    tls, tokens,
};

/// Connections at once, on each door: far above what one process can serve, far below its file descriptors.
const CONNECTIONS: usize = 512;
/// How long a stop waits for requests that are on their way; longer than one sync of a slow disk.
const GRACE: Duration = Duration::from_secs(5);
/// A client that has not sent its headers by then is holding a connection for nothing.
const HEADERS: Duration = Duration::from_secs(15);
/// What the options of the certificate begin with.
const LISTEN_TLS: &str = "--listen-tls";
/// Paths of sockets up to this long are used as they are; the system's own limit is 108 bytes.
const SHORT_PATH: usize = 100;

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// For programs.
    pub listen: Option<SocketAddr>,
    /// What is said there is said in TLS, with this certificate and its key.
    pub listen_tls: Option<(PathBuf, PathBuf)>,
    /// It is open to other machines without TLS: a proxy that has it stands before it.
    pub listen_plain: bool,
    /// For records and nothing else.
    pub ingest: Option<SocketAddr>,
    /// For questions over PostgreSQL's protocol.
    pub postgres: Option<PostgresDoor>,
}

/// Doors that are open, and not served yet.
pub struct Server {
    tcp: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    entrance: Entrance,
    ingest: Option<TcpListener>,
    postgres: Option<pgwire::Listener>,
    control: UnixListener,
    socket: PathBuf,
}

impl Server {
    /// Opens the doors. The caller holds the data folder, so a socket that is there already is a dead process's; and he has seen
    /// to it that whatever `ingest` takes is verified.
    pub async fn bind(doors: Doors, control: &Path) -> Result<Server, Failure> {
        if let (Some(address), Some(same)) = (doors.listen, doors.ingest)
            && address == same
            && address.port() != 0
        {
            return Err(one_door(address));
        }
        let tcp = match doors.listen {
            Some(address) => {
                if !address.ip().is_loopback() {
                    may_open(address, &doors, control.parent().unwrap_or(Path::new(".")))?;
                }
                Some(bind_tcp(address, "--listen").await?)
            }
            None => None,
        };
        let tls = doors.listen_tls.as_ref().map(|(certificate, key)| tls::acceptor(LISTEN_TLS, certificate, key));
        let tls = tls.transpose()?;
        let is_loopback = doors.listen.is_none_or(|address| address.ip().is_loopback());
        let entrance = if is_loopback { Entrance::Loopback } else { Entrance::Network };
        let ingest = match doors.ingest {
            Some(address) => Some(bind_tcp(address, "--ingest").await?),
            None => None,
        };
        let folder = control.parent().unwrap_or(Path::new(".")).to_owned();
        let postgres = match &doors.postgres {
            Some(door) => Some(pgwire::Listener::bind(door, folder).await?),
            None => None,
        };
        let socket = control.to_owned();
        Ok(Server { tcp, tls, entrance, ingest, postgres, control: bind_control(control)?, socket })
    }

    /// Where TCP listens; with port 0 the system has chosen one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Where records are taken and nothing else.
    pub fn ingest(&self) -> Option<SocketAddr> {
        self.ingest.as_ref()?.local_addr().ok()
    }

    /// Where PostgreSQL's clients are answered.
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.postgres.as_ref()?.address()
    }

    /// Serves until `shutdown` is done, then lets requests finish, writes down what was counted, and removes the socket.
    pub async fn run(self, state: Arc<ApiState>, shutdown: impl Future<Output = ()>) {
        let (tcp_routes, control_routes) =
            (router(state.clone(), self.entrance), router(state.clone(), Entrance::Socket));
        let (stop, stopped) = watch::channel(false);
        let mut doors = JoinSet::new();
        if let Some(tcp) = self.tcp {
            doors.spawn(serve_tcp(tcp, self.tls, tcp_routes, stopped.clone()));
        }
        if let Some(tcp) = self.ingest {
            doors.spawn(serve_tcp(tcp, None, outer_router(state.clone()), stopped.clone()));
        }
        if let Some(postgres) = self.postgres {
            doors.spawn(postgres.run(state.clone(), stopped.clone()));
        }
        doors.spawn(serve_control(self.control, control_routes, stopped));
        tokio::select! {
            _ = shutdown => {}
            _ = keep(&state) => {}
        }
        let _ = stop.send(true);
        if tokio::time::timeout(GRACE, async { while doors.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("requests were still on their way after {} seconds", GRACE.as_secs());
        }
        let finished = tokio::task::spawn_blocking(move || {
            state.ingest.finish();
            write_down(&state);
        });
        let _ = finished.await;
        let _ = fs::remove_file(&self.socket);
    }
}

/// Has the paths write down what they count, and the journal what was asked, for ever.
async fn keep(state: &Arc<ApiState>) {
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        state.ingest.keep();
        let state = state.clone();
        let _ = tokio::task::spawn_blocking(move || write_down(&state)).await;
    }
}

/// What cannot be written now is tried again; nobody waits for it.
fn write_down(state: &ApiState) {
    if let Err(error) = state.journal.write(&*state.store) {
        tracing::debug!("what was asked is written down later: {error}");
    }
}

/// To other machines it opens only where it is known who asks, and where nobody on the way reads his token.
fn may_open(address: SocketAddr, doors: &Doors, folder: &Path) -> Result<(), Failure> {
    let reached = || Failure::usage("not-loopback", format!("{address} can be reached from other machines"));
    if tokens::all(folder)?.is_empty() {
        return Err(reached()
            .seen("there is no token, so nothing would tell who may ask")
            .help("make one first: syncline token create NAME --role admin")
            .help("to take webhooks from outside, and nothing else, use --ingest"));
    }
    if doors.listen_tls.is_none() && !doors.listen_plain {
        return Err(reached()
            .seen("without TLS everybody on the way could read the tokens")
            .help("give a certificate: --listen-tls-cert FILE --listen-tls-key FILE")
            .help("or say that a proxy with TLS stands before it: --listen-plain"));
    }
    Ok(())
}

fn one_door(address: SocketAddr) -> Failure {
    Failure::usage("address-twice", format!("{address} is both --listen and --ingest"))
        .seen("--ingest takes records and nothing else; --listen takes them too, and answers questions")
        .help("leave --ingest out, or give it another port")
}

pub async fn bind_tcp(address: SocketAddr, option: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            Failure::environment("address-in-use", format!("{address} is in use by another process"))
                .help(format!("stop that process, or listen elsewhere: {option} {}:PORT", address.ip()))
        }
        _ => Failure::environment("cannot-listen", format!("{address}: {error}"))
            .help(format!("choose another address: {option} 127.0.0.1:PORT")),
    })
}

fn bind_control(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |operation: &str, error: std::io::Error| {
        Failure::environment("control-socket", format!("{operation} {}: {error}", path.display()))
            .help("check the permissions and the file system of the data folder")
    };
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path).map_err(|error| failed("remove", error))?,
        Ok(_) => return Err(failed("bind", std::io::Error::new(ErrorKind::AlreadyExists, "it is not a socket"))),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at", error)),
    }
    let (reachable, _folder) = reachable(path).map_err(|error| failed("open", error))?;
    let listener = UnixListener::bind(&reachable).map_err(|error| failed("bind", error))?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| failed("close to others", error))?;
    Ok(listener)
}

/// A name of the socket that is short enough for the system, good while the folder that comes with it is kept open.
pub fn reachable(path: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok((path.to_owned(), None)) };
    if path.as_os_str().len() <= SHORT_PATH {
        return Ok((path.to_owned(), None));
    }
    let folder = File::open(folder)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name), Some(folder)))
}

async fn serve_tcp(listener: TcpListener, tls: Option<TlsAcceptor>, routes: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Some(place) = next_place(&places, &mut stop).await {
        tokio::select! {
            _ = stop.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Answers are small and complete: waiting for more to send only delays them.
                    let _ = stream.set_nodelay(true);
                    match tls.clone() {
                        Some(tls) => connections.spawn(hidden(tls, stream, routes.clone(), stop.clone(), place)),
                        None => connections.spawn(connection(stream, routes.clone(), stop.clone(), place)),
                    };
                }
                Err(error) => out_of_breath(error).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
}

/// The same in TLS. Who has not agreed on it by the time in which headers have to come holds a connection for nothing.
async fn hidden(
    tls: TlsAcceptor,
    stream: TcpStream,
    routes: Router,
    stop: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    match tokio::time::timeout(HEADERS, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, routes, stop, place).await,
        Ok(Err(error)) => tracing::debug!("a connection without TLS was closed: {error}"),
        Err(_) => {}
    }
}

async fn serve_control(listener: UnixListener, routes: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Some(place) = next_place(&places, &mut stop).await {
        tokio::select! {
            _ = stop.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, routes.clone(), stop.clone(), place));
                }
                Err(error) => out_of_breath(error).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
}

pub async fn next_place(places: &Arc<Semaphore>, stop: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        _ = stop.changed() => None,
        place = places.clone().acquire_owned() => place.ok(),
    }
}

/// Too many open files, most often: others have to be closed first.
pub async fn out_of_breath(error: std::io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let service = TowerToHyperService::new(routes);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        // A WebSocket begins as a request.
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stop.changed() => serving.as_mut().graceful_shutdown(),
    }
    if let Err(error) = serving.await {
        tracing::debug!("a connection ended: {error}");
    }
}
