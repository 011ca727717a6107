//! PostgreSQL's wire protocol: psql, notebooks and dashboards ask what `syncline query` asks.
//!
//! A door of its own, opened only where it is asked for (`run --postgres`), and only for users (`syncline user add`): each proves a
//! password by SCRAM-SHA-256. Beyond this machine it opens only with TLS, and where TLS is on nothing is said without it. Whoever is in
//! can look at everything that happened and at the connections that are open to viewers, and change nothing. Connections, their idleness, questions at once, their time and memory are bounded; a
//! client that cancels or goes away ends its question.
//!
//! The messages are ours and not a library's: those that there are take a client's lengths for true, hold a whole answer in memory, or
//! need the password itself to check it. Its tables of PostgreSQL's catalogue are (`analytics`).

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use subtle::ConstantTimeEq;
use syncline_analytics::Catalog;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    api::{
        ApiState,
        listen::{bind_tcp, next_place, out_of_breath},
    },
    outcome::Failure,
    tokens::Role,
    users,
};

mod connection;
mod conversation;
mod interrupts;
mod lists;
mod messages;
mod prepared;
mod refusal;
pub mod scram;
mod session;
mod types;

/// Clients that are in at once: a dashboard holds a handful each.
const CLIENTS: usize = 32;
/// Connections beyond those, for who is not in yet, and for requests to cancel.
const OUTSIDE: usize = 16;
/// A stop lets a client hear of it.
const GRACE: Duration = Duration::from_secs(2);

/// Where to listen, and with what.
#[derive(Clone, Debug)]
pub struct PostgresDoor {
    pub address: SocketAddr,
    /// Files of the certificate chain and its key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A door that is open, and not served yet.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    folder: PathBuf,
}

impl Listener {
    /// Opens the door. `folder`: where users are kept.
    pub async fn bind(door: &PostgresDoor, folder: PathBuf) -> Result<Listener, Failure> {
        if users::all(&folder)?.is_empty() {
            return Err(Failure::usage("no-users", "--postgres lets in users, and there is none")
                .help("add one: syncline user add NAME (it asks for a password, or reads it from standard input)"));
        }
        let tls = match &door.tls {
            Some((certificate, key)) => Some(crate::tls::acceptor("--postgres-tls", certificate, key)?),
            None => None,
        };
        if tls.is_none() && !door.address.ip().is_loopback() {
            return Err(Failure::usage("not-loopback", format!("{} can be reached from other machines", door.address))
                .seen("without TLS, whoever is between could read every question and its answer")
                .help("give it a certificate: --postgres-tls-cert FILE --postgres-tls-key FILE")
                .help(format!("or listen on this machine only: --postgres 127.0.0.1:{}", door.address.port())));
        }
        let tcp = bind_tcp(door.address, "--postgres").await?;
        Ok(Listener { tcp, tls, folder })
    }

    /// Where it listens; with port 0 the system has chosen one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
    }

    /// Serves until `stop` says so.
    pub async fn run(self, state: Arc<ApiState>, mut stop: watch::Receiver<bool>) {
        let Some(process) = scram::random(32) else {
            tracing::error!("this machine has no random bytes, so nobody can log in");
            return;
        };
        let door = Arc::new(Door {
            state,
            folder: self.folder,
            tls: self.tls,
            process,
            inside: AtomicUsize::new(0),
            next_pid: AtomicI32::new(1),
            clients: Mutex::default(),
        });
        let places = Arc::new(Semaphore::new(CLIENTS + OUTSIDE));
        let mut connections = JoinSet::new();
        while let Some(place) = next_place(&places, &mut stop).await {
            tokio::select! {
                _ = stop.changed() => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, from)) => {
                        let (door, stop) = (door.clone(), stop.clone());
                        connections.spawn(async move {
                            connection::serve(stream, from, door, stop).await;
                            drop(place);
                        });
                    }
                    Err(error) => out_of_breath(error).await,
                },
            }
            while connections.try_join_next().is_some() {}
        }
        let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }
}

/// What all connections share.
pub struct Door {
    state: Arc<ApiState>,
    folder: PathBuf,
    tls: Option<TlsAcceptor>,
    /// Random, and known to this process only.
    process: Vec<u8>,
    inside: AtomicUsize,
    next_pid: AtomicI32,
    clients: Mutex<HashMap<i32, Client>>,
}

impl Door {
    /// What questions are asked of: users look at what viewers may.
    fn catalog(&self) -> &Catalog {
        self.state.questions.of(Some(Role::Viewer))
    }
}

/// Whom a request to cancel may mean.
struct Client {
    key: Vec<u8>,
    /// Counts requests.
    cancels: watch::Sender<u64>,
}

/// A client that is in. Gone when it is let go.
pub struct Inside {
    door: Arc<Door>,
    pub pid: i32,
    pub key: Vec<u8>,
    pub cancels: watch::Receiver<u64>,
}

impl Door {
    fn clients(&self) -> MutexGuard<'_, HashMap<i32, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client in; `None` when there is no place.
    fn enter(self: &Arc<Self>) -> Option<Inside> {
        let taken =
            self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| (now < CLIENTS).then_some(now + 1));
        taken.ok()?;
        let pid = self.next_pid.fetch_add(1, Ordering::SeqCst);
        let key = scram::random(4).unwrap_or_default();
        let (sender, cancels) = watch::channel(0);
        self.clients().insert(pid, Client { key: key.clone(), cancels: sender });
        Some(Inside { door: self.clone(), pid, key, cancels })
    }

    /// Ends the question of a client, if it has one. Whoever asks has to know the client's key.
    fn cancel(&self, pid: i32, key: &[u8]) {
        let clients = self.clients();
        let Some(client) = clients.get(&pid).filter(|client| client.key.len() == 4) else { return };
        if bool::from(client.key.as_slice().ct_eq(key)) {
            client.cancels.send_modify(|count| *count += 1);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.door.clients().remove(&self.pid);
        self.door.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
