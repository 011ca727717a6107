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
    sync::Notify,
    task::JoinHandle,
};

use crate::{
    api::{Activity, ApiState, Server, metrics},
    outcome::Failure,
    world::World,
};

/// Exit code of a second signal: at once, as a crash would be; the next start goes on from the last checkpoint.
const IMPATIENT: i32 = 130;

pub struct Host {
    runtime: Runtime,
    state: Arc<ApiState>,
    address: Option<SocketAddr>,
    closing: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Host {
    /// Listens on `listen`, if given, and on the control socket of the data folder. `inlets`: ingest topics and who reads them.
    pub fn start(
        world: &World,
        plans: &[Plan],
        inlets: Vec<(String, String)>,
        listen: Option<SocketAddr>,
        stop: Arc<AtomicBool>,
    ) -> Result<Host, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::environment("no-threads", format!("no threads for the server: {error}")))?;
        // Pipelines of the folder that this process does not run can be looked at, too.
        // A pipeline that this process runs says by itself what is wrong with it.
        if let Err(failure) = crate::ask::settle(&world.ground) {
            tracing::warn!("not everything in this folder can be shown: {}", failure.title);
        }
        let state = ApiState::new(&world.ground, Some(metrics::install()?));
        for plan in plans {
            state.live().starting(&plan.pipeline);
        }
        for (topic, pipeline) in inlets {
            state.ingest.open(&topic, &pipeline);
        }
        let server = runtime.block_on(Server::bind(listen, &world.folder.control_socket()))?;
        let address = server.address();
        let closing = Arc::new(Notify::new());
        let closed = closing.clone();
        let server = runtime.spawn(server.run(state.clone(), async move { closed.notified().await }));
        runtime.spawn(follow_signals(stop, state.clone()));
        Ok(Host { runtime, state, address, closing, server })
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub fn look(&self, pipeline: &str, look: &Look) {
        self.state.live().look(pipeline, look);
    }

    pub fn over(&self, pipeline: &str, activity: Activity, reason: Option<String>) {
        self.state.live().over(pipeline, activity, reason);
    }

    /// Refuses what comes in, answers what is open, closes the socket.
    pub fn stop(self) {
        self.state.ingest.stop();
        self.closing.notify_one();
        // The server bounds its own farewell.
        let _ = self.runtime.block_on(self.server);
        self.runtime.shutdown_background();
    }
}

/// The first SIGTERM or SIGINT asks every pipeline to stop; a second one ends the process at once.
async fn follow_signals(stop: Arc<AtomicBool>, state: Arc<ApiState>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        state.ingest.stop();
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(IMPATIENT);
        }
        eprintln!("stopping; once more to end at once");
    }
}
