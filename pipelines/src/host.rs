//! What a running process is to the outside: its signals, its HTTP server, its control socket.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use syncline_dsl::plan::Plan;
use syncline_engine::runtime::supervisor::Look;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{outcome::Failure, world::World};

/// Exit code of a second signal: at once, as a crash would be; the next start goes on from the last checkpoint.
const IMPATIENT: i32 = 130;

pub struct Host {
    runtime: Runtime,
    address: Option<SocketAddr>,
}

impl Host {
    pub fn start(
        _world: &World,
        _plans: &[Plan],
        _paths: Vec<(String, String)>,
        _listen: Option<SocketAddr>,
        stop: Arc<AtomicBool>,
    ) -> Result<Host, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::environment("no-threads", format!("no threads for the server: {error}")))?;
        runtime.spawn(follow_signals(stop));
        Ok(Host { runtime, address: None })
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub fn look(&self, _pipeline: &str, _look: &Look) {}

    pub fn ended(&self, _pipeline: &str, _failure: Option<String>) {}

    pub fn stop(self) {
        self.runtime.shutdown_background();
    }
}

/// The first SIGTERM or SIGINT asks every pipeline to stop; a second one ends the process at once.
async fn follow_signals(stop: Arc<AtomicBool>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(IMPATIENT);
        }
        eprintln!("stopping; once more to end at once");
    }
}
