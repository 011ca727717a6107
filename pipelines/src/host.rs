//! What a running process is to the outside: its signals, its HTTP server, its control socket.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusHandle;
use syncline_analytics::{STACK, Workers};
use syncline_engine::{
    events::{self, EventKind},
    runtime::supervisor::Look,
};
use syncline_record::Micros;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::JoinHandle,
};

use crate::{
    api::{Activity, ApiState, Doors, Live, Server, metrics},
    inlets::{Inlet, Inlets, may_open},
    ledger,
    outcome::Failure,
    project::{Member, Scope},
    schedule::{Timer, Wishes},
    supervision::News,
    tell,
    world::World,
};

/// Exit code of a second signal: at once, as a crash would be; the next start goes on from the last checkpoint.
const IMPATIENT: i32 = 130;
/// Signals that come together are one.
const SAME_WISH: Duration = Duration::from_millis(200);
/// How often what was measured is folded into buckets: it takes memory until then, whether anybody asks for it or not.
const FOLD: Duration = Duration::from_secs(5);

/// A SIGHUP counts from the first moment: without this it would end a process that is about to start.
pub struct Signals {
    runtime: Runtime,
    hangup: Option<Signal>,
}

impl Signals {
    pub fn expect() -> Result<Signals, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(|error| Failure::environment("no-threads", format!("no threads for the server: {error}")))?;
        let entered = runtime.enter();
        let hangup = signal(SignalKind::hangup()).ok();
        drop(entered);
        Ok(Signals { runtime, hangup })
    }
}

pub struct Host {
    runtime: Runtime,
    state: Arc<ApiState>,
    address: Option<SocketAddr>,
    ingest: Option<SocketAddr>,
    postgres: Option<SocketAddr>,
    timer: Timer,
    paths: Mutex<Paths>,
    closing: Arc<Notify>,
    server: JoinHandle<()>,
}

/// Which paths pipelines read.
#[derive(Default)]
struct Paths {
    /// As their files declare them.
    declared: Inlets,
    /// Pipeline → paths that are open for it.
    open: BTreeMap<String, Vec<String>>,
}

impl Host {
    /// Opens `doors`, with `workers` for questions, and the control socket of the data folder; tells `news` of signals. `declared`: the
    /// paths of the pipelines that will run. `stays`: there may be none of them yet.
    pub fn start(
        world: &World,
        (doors, workers): (Doors, Option<Workers>),
        (declared, stays): (Inlets, bool),
        (signals, news): (Signals, Sender<News>),
    ) -> Result<Host, Failure> {
        if let Some(address) = doors.ingest.filter(|_| !(stays && declared.is_empty())) {
            may_open(address, &declared)?;
        }
        let Signals { runtime, hangup } = signals;
        // Pipelines of the folder that this process does not run can be looked at, too.
        // A pipeline that this process runs says by itself what is wrong with it.
        if let Err(failure) = crate::ask::settle(&world.ground) {
            tracing::warn!("not everything in this folder can be shown: {}", failure.title);
        }
        let handle = metrics::install()?;
        let known = (ledger::files(world.ledger.as_ref()), workers);
        let state = ApiState::new(&world.ground, world.folder.path(), known, Some(handle.clone()));
        state.live().stays = stays;
        state.control.open(news.clone());
        metrics::begin(&state, world.folder.path());
        let server = runtime.block_on(Server::bind(doors, &world.folder.control_socket()))?;
        let (address, ingest, postgres) = (server.address(), server.ingest(), server.postgres());
        // Before anybody can send: a provider that does not send again must not meet a path that is not there yet.
        for Inlet { path, pipeline, .. } in declared.all() {
            state.ingest.open(path.clone(), pipeline);
        }
        let closing = Arc::new(Notify::new());
        let closed = closing.clone();
        let server = runtime.spawn(server.run(state.clone(), async move { closed.notified().await }));
        // Whoever reads that we listen may stop us at once.
        let entered = runtime.enter();
        let stops = signal(SignalKind::terminate()).ok().zip(signal(SignalKind::interrupt()).ok());
        drop(entered);
        runtime.spawn(follow_signals(stops, hangup, news, state.clone()));
        runtime.spawn(fold(handle));
        let paths = Mutex::new(Paths { declared, open: BTreeMap::new() });
        let timer = Timer::on(runtime.handle().clone());
        Ok(Host { runtime, state, address, ingest, postgres, timer, paths, closing, server })
    }

    /// The files that this process runs: questions read what they declare.
    pub fn reads(&self, scope: &Scope) {
        self.state.questions.reads(scope);
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where records are taken and nothing else.
    pub fn ingest(&self) -> Option<SocketAddr> {
        self.ingest
    }

    /// Where PostgreSQL's clients are answered.
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.postgres
    }

    /// Whether anybody can send records.
    pub fn takes_records(&self) -> bool {
        self.address.is_some() || self.ingest.is_some()
    }

    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the doors that are open may take records for these.
    pub fn may_declare(&self, declared: &Inlets) -> Result<(), Failure> {
        let ingest = self.ingest.filter(|_| !declared.is_empty());
        ingest.map_or(Ok(()), |address| may_open(address, declared))
    }

    /// The files were read again: who may send, and how much, holds from now on as they say, with secrets as they are now.
    pub fn declare(&self, declared: Inlets) -> Result<(), Failure> {
        self.may_declare(&declared)?;
        for inlet in declared.all() {
            self.state.ingest.change(inlet.path.clone());
        }
        self.paths().declared = declared;
        Ok(())
    }

    /// A pipeline will run: the process is not ready before it does, and its paths take records.
    pub fn expect(&self, member: &Member) {
        self.state.live().starting(member.name(), self.state.clock.now());
        self.state.plans().insert(member.name().to_owned(), Arc::new(member.plan.clone()));
        let mut paths = self.paths();
        let declared = paths.declared.of(member.name());
        paths.open.insert(member.name().to_owned(), declared.iter().map(|path| path.path.clone()).collect());
        for path in declared {
            self.state.ingest.open(path, member.name());
        }
    }

    /// A pipeline does not read its paths any more: they take no more records for it.
    pub fn forget(&self, member: &Member) {
        for path in self.paths().open.remove(member.name()).unwrap_or_default() {
            self.state.ingest.close(&path, member.name());
        }
    }

    /// Whether another process works on it.
    pub fn stands_by(&self, pipeline: &str) -> bool {
        self.state.live().get(pipeline).is_some_and(|known| known.state == Activity::Standby)
    }

    /// Whether its task works here, so that this folder knows how far it is.
    pub fn works_on(&self, pipeline: &str) -> bool {
        let works =
            [Activity::Running, Activity::Restarting, Activity::Resting, Activity::Scheduled, Activity::Stopping];
        self.state.live().get(pipeline).is_some_and(|known| works.contains(&known.state))
    }

    pub fn look(&self, pipeline: &str, look: &Look) {
        let now = self.state.clock.now();
        self.noted(pipeline, |live| live.look(pipeline, look, now));
    }

    /// Changes what is known of a pipeline, and notes what happened to it by that.
    fn noted(&self, pipeline: &str, change: impl FnOnce(&mut Live)) {
        let (before, after, reason) = {
            let mut live = self.state.live();
            let before = live.get(pipeline).map(|known| known.state);
            change(&mut live);
            let known = live.get(pipeline);
            (before, known.map(|known| known.state), known.and_then(|known| known.reason.clone()))
        };
        let kind = after.filter(|_| before != after).and_then(event);
        let Some(kind) = kind else { return };
        let now = self.state.clock.now();
        let store = &*self.state.store;
        // The last event of a process has no commit behind it. No pipeline depends on it, and a store that fails says so to whoever does.
        let noted = events::note(store, pipeline, kind, reason, now).and_then(|()| Ok(store.flush()?));
        match noted {
            Ok(()) => self.state.listeners.tell(),
            Err(error) => tracing::debug!(pipeline, "an event could not be noted: {error}"),
        }
    }

    /// It has stopped, and the process has nothing more to do with it.
    pub fn gone(&self, pipeline: &str) {
        self.state.plans().remove(pipeline);
        self.state.live().gone(pipeline);
    }

    pub fn stopping(&self, pipeline: &str) {
        self.state.live().stopping(pipeline);
        self.state.wishes.tell();
    }

    /// It waits for its next due time. `reason`: why its last run failed.
    pub fn scheduled(&self, pipeline: &str, next: Option<Micros>, reason: Option<&str>) {
        self.state.live().scheduled(pipeline, next, reason);
    }

    /// What is asked of schedules.
    pub fn wishes(&self) -> &Arc<Wishes> {
        &self.state.wishes
    }

    /// What wakes pipelines that wait.
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    pub fn over(&self, pipeline: &str, activity: Activity, reason: Option<String>) {
        self.noted(pipeline, |live| live.over(pipeline, activity, reason));
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

/// What is worth a line in `run_events`.
fn event(activity: Activity) -> Option<EventKind> {
    match activity {
        // How a run of a schedule ended was noted when it did.
        Activity::Starting | Activity::Stopping | Activity::Scheduled => None,
        Activity::Running => Some(EventKind::Started),
        Activity::Restarting => Some(EventKind::Failed),
        Activity::Resting => Some(EventKind::Rested),
        Activity::Standby => Some(EventKind::StoodBy),
        Activity::Stopped => Some(EventKind::Stopped),
        Activity::Paused => Some(EventKind::Paused),
        Activity::Ended => Some(EventKind::Ended),
        Activity::Failed => Some(EventKind::GivenUp),
    }
}

async fn fold(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(FOLD).await;
        metrics.run_upkeep();
    }
}

/// The first SIGTERM or SIGINT asks every pipeline to stop; a second one ends the process at once. SIGHUP reads the pipeline files
/// again; where it says that the terminal is gone, it is a stop.
async fn follow_signals(
    stops: Option<(Signal, Signal)>,
    hangup: Option<Signal>,
    news: Sender<News>,
    state: Arc<ApiState>,
) {
    let (Some((mut term, mut int)), Some(mut hup)) = (stops, hangup) else { return };
    let attended = std::io::stderr().is_terminal();
    let mut asked: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => if !attended || std::io::stderr().is_terminal() {
                // Nobody listens when the last pipeline is over; then the process is on its way out.
                let _ = news.send(News::Reload);
                continue;
            }
        }
        match asked {
            // `timeout` and a terminal signal a process and its group: one wish, told twice.
            Some(asked) if asked.elapsed() < SAME_WISH => continue,
            Some(_) => std::process::exit(IMPATIENT),
            None => asked = Some(Instant::now()),
        }
        state.ingest.stop();
        let _ = news.send(News::Stop);
        tell!("stopping; once more to end at once");
    }
}
