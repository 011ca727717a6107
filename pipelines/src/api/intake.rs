//! The way in: which paths running pipelines read, and the writer of each path's topic.
//!
//! Each path has one writer thread ([`writer`]), and knows which deliveries are here already ([`known`]). A caller is answered
//! only when its records are durable.
//!
//! A path takes no more while its pipeline is too far behind: what waits lies on disk, and the bounds keep disk and lag sane.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use syncline_connectors::{http::HttpPath, webhook::Delivery};
use syncline_engine::{
    checkpoint::{self, ReadError},
    clock::Clock,
    intake::{self, Intake, Outcome, Tally},
    log::{Log, LogError, NewFrame},
    pace::Limit,
    store::{StateStore, StoreError},
};
use syncline_record::{Micros, Partition};
use tokio::sync::{mpsc, oneshot};

mod known;
mod writer;

#[cfg(test)]
mod tests;

pub use writer::Receipt;
use writer::{Call, Work, Writer};

/// What the topics of paths start with.
pub const TOPICS: &str = "in/";

/// Records that may wait for a pipeline; as many as may wait for one of its sinks.
pub const BACKLOG_RECORDS: u64 = 1_000_000;
/// Bytes that may wait for a pipeline, of those that this process has taken.
pub const BACKLOG_BYTES: u64 = 1 << 30;

/// A committed position is believed for this long: a pipeline commits about five times a second.
const POSITION_AGE: Duration = Duration::from_millis(50);
/// Requests that wait for the writer of a path. Their bytes are bounded by the server, before they come here.
const QUEUE: usize = 1024;
/// How often counts are written down.
pub const KEEP_EVERY: Duration = Duration::from_secs(1);
/// What is refused is told this often: a flood of forgeries must not become a flood of lines.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why records were not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("the pipeline is stopping")]
    Stopping,
    /// The id of another delivery.
    #[error("the id of another delivery")]
    Replayed,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Read(Arc<ReadError>),
}

impl From<ReadError> for IntakeError {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        ReadError::from(error).into()
    }
}

/// How far the slowest reader of a path is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub records: u64,
    pub bytes: u64,
}

impl Backlog {
    pub fn is_full(self) -> bool {
        self.records > BACKLOG_RECORDS || self.bytes > BACKLOG_BYTES
    }
}

/// All paths of a process.
pub struct Ingest {
    store: Arc<dyn StateStore>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    inlets: RwLock<BTreeMap<String, Arc<Inlet>>>,
    stopping: AtomicBool,
}

impl Ingest {
    pub fn new(store: Arc<dyn StateStore>, log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Self {
        Self { store, log, clock, inlets: RwLock::default(), stopping: AtomicBool::new(false) }
    }

    /// A pipeline reads this path from now on. Pipelines that read one path say the same about it.
    pub fn open(&self, path: HttpPath, pipeline: &str) {
        let mut inlets = self.inlets.write().unwrap_or_else(PoisonError::into_inner);
        let inlet = inlets
            .entry(path.path.clone())
            .or_insert_with(|| Arc::new(Inlet::new(path, self.store.clone(), self.log.clone(), self.clock.clone())));
        inlet.state().readers.insert(pipeline.to_owned());
    }

    /// Who may send to an open path, and how much, is another from now on.
    pub fn change(&self, path: HttpPath) {
        if let Some(inlet) = self.inlet(&path.path) {
            inlet.declare(path);
        }
    }

    /// A pipeline has ended; a path that nobody reads takes no more.
    pub fn close(&self, path: &str, pipeline: &str) {
        let mut inlets = self.inlets.write().unwrap_or_else(PoisonError::into_inner);
        let path = path.trim_matches('/');
        let Some(inlet) = inlets.get(path) else { return };
        let mut state = inlet.state();
        state.readers.remove(pipeline);
        let unread = state.readers.is_empty();
        drop(state);
        if unread {
            inlets.remove(path);
        }
    }

    /// Takes no more requests; those that are on their way are answered.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Has every path write down what it has counted. Called every [`KEEP_EVERY`].
    pub fn keep(&self) {
        for inlet in self.all() {
            inlet.tell();
            // A writer that is behind counts later.
            if inlet.state().uncounted {
                let _ = inlet.work.try_send(Work::Keep);
            }
        }
    }

    /// Closes every path, and waits until what they know is written down. Called where blocking is allowed.
    pub fn finish(&self) {
        let inlets = std::mem::take(&mut *self.inlets.write().unwrap_or_else(PoisonError::into_inner));
        for inlet in inlets.into_values() {
            inlet.tell();
            let writer = inlet.state().writer.take();
            let _ = inlet.work.blocking_send(Work::End);
            if let Some(writer) = writer {
                let _ = writer.join();
            }
        }
    }

    /// Paths that are read, without `/in/`.
    pub fn paths(&self) -> Vec<String> {
        self.inlets.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What the open paths have counted.
    pub fn counts(&self) -> Vec<Intake> {
        self.all().iter().map(|inlet| inlet.state().intake(&inlet.topic)).collect()
    }

    fn all(&self) -> Vec<Arc<Inlet>> {
        self.inlets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn inlet(&self, path: &str) -> Option<Arc<Inlet>> {
        self.inlets.read().unwrap_or_else(PoisonError::into_inner).get(path.trim_matches('/')).cloned()
    }
}

/// One path.
pub struct Inlet {
    topic: String,
    declared: RwLock<Declared>,
    store: Arc<dyn StateStore>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    work: mpsc::Sender<Work>,
    state: Arc<Mutex<State>>,
}

/// What the files say about a path.
#[derive(Clone)]
struct Declared {
    path: Arc<HttpPath>,
    limit: Option<Arc<Mutex<Limit>>>,
}

impl Declared {
    fn of(path: HttpPath) -> Self {
        let limit = path.rate_limit.map(|rate| Arc::new(Mutex::new(Limit::new(rate.count, rate.per))));
        Self { path: Arc::new(path), limit }
    }
}

/// What a path's callers and its writer share.
#[derive(Default)]
pub struct State {
    /// Pipelines that read the path.
    readers: BTreeSet<String>,
    /// Where the slowest of them goes on, and when that was looked up.
    position: Option<(Duration, u64)>,
    /// End offset and bytes of what this process has taken and nobody has let go yet.
    taken: VecDeque<(u64, u64)>,
    tally: Tally,
    /// Something was counted that is not in the store.
    uncounted: bool,
    verify: Option<&'static str>,
    /// How long deliveries are known; `None`: nobody is verified, so there are none.
    remember: Option<Micros>,
    /// When it was last told how many were refused, and how many that were.
    told: Option<(Duration, u64)>,
    writer: Option<thread::JoinHandle<()>>,
}

impl State {
    fn intake(&self, topic: &str) -> Intake {
        Intake { topic: topic.to_owned(), verify: self.verify.map(str::to_owned), lines: self.tally.lines() }
    }
}

impl Inlet {
    fn new(path: HttpPath, store: Arc<dyn StateStore>, log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Self {
        let (work, waiting) = mpsc::channel(QUEUE);
        let topic = format!("{TOPICS}{}", path.path);
        // Counts that cannot be read start again; what they count is not lost with them.
        let tally = intake::read_intake(&*store, &topic).ok().flatten().map(Tally::of).unwrap_or_default();
        let state = Arc::new(Mutex::new(State { tally, ..State::default() }));
        let writer = Writer {
            topic: topic.clone(),
            log: log.clone(),
            store: store.clone(),
            clock: clock.clone(),
            state: state.clone(),
            known: None,
            keeping: None,
        };
        let declared = RwLock::new(Declared::of(path.clone()));
        let inlet = Self { topic, declared, store, log, clock, work, state };
        inlet.declare(path);
        inlet.state().writer = Some(thread::spawn(move || writer.run(waiting)));
        inlet
    }

    fn declare(&self, path: HttpPath) {
        let mut state = self.state();
        state.verify = path.verify.as_ref().map(|scheme| scheme.name());
        state.remember = path.verify.as_ref().map(|_| path.remember);
        state.uncounted = true;
        drop(state);
        *self.declared.write().unwrap_or_else(PoisonError::into_inner) = Declared::of(path);
    }

    fn declared(&self) -> Declared {
        self.declared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the files say about it, as it is now.
    pub fn path(&self) -> Arc<HttpPath> {
        self.declared().path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipelines that read it.
    pub fn readers(&self) -> BTreeSet<String> {
        self.state().readers.clone()
    }

    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// What became of the request, once that is durable.
    pub async fn take(&self, frames: Vec<NewFrame>, delivery: Option<Delivery>) -> Result<Receipt, IntakeError> {
        let (answer, answered) = oneshot::channel();
        let call = Work::Take(Call { frames, delivery, answer });
        self.work.send(call).await.map_err(|_| IntakeError::Stopping)?;
        answered.await.map_err(|_| IntakeError::Stopping)?
    }

    /// Counts a request; accepted ones are counted where they become durable.
    pub fn count(&self, outcome: Outcome, reason: &str) {
        let now = self.clock.now();
        let mut state = self.state();
        state.tally.count(outcome, reason, now);
        state.uncounted = true;
    }

    /// One more request, or how long it has to wait.
    pub fn pace(&self) -> Result<(), Duration> {
        let Some(limit) = self.declared().limit else { return Ok(()) };
        limit.lock().unwrap_or_else(PoisonError::into_inner).pass(self.clock.elapsed())
    }

    /// Says that requests were refused, from time to time.
    fn tell(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        let refused = state.intake(&self.topic).total(Outcome::Refused);
        let (at, before) = *state.told.get_or_insert((now.saturating_sub(TELL_EVERY), refused));
        if refused == before || now.saturating_sub(at) < TELL_EVERY {
            return;
        }
        state.told = Some((now, refused));
        let many = refused - before;
        drop(state);
        tracing::warn!(path = self.topic, "{many} requests were refused; SELECT * FROM deliveries says why");
    }

    /// May read the store: call it where blocking is allowed when [`is_fresh`](Self::is_fresh) says no.
    pub fn backlog(&self) -> Result<Backlog, IntakeError> {
        let position = self.position()?;
        let end = self.log.end(&self.topic)?;
        let mut state = self.state();
        while state.taken.front().is_some_and(|(end, _)| *end <= position) {
            state.taken.pop_front();
        }
        let bytes = state.taken.iter().map(|(_, bytes)| bytes).sum();
        Ok(Backlog { records: end.saturating_sub(position), bytes })
    }

    /// True while the readers' position need not be looked up again.
    pub fn is_fresh(&self) -> bool {
        let now = self.clock.elapsed();
        self.state().position.is_some_and(|(at, _)| now.saturating_sub(at) < POSITION_AGE)
    }

    fn position(&self) -> Result<u64, IntakeError> {
        let now = self.clock.elapsed();
        let state = self.state();
        if let Some((at, position)) = state.position
            && now.saturating_sub(at) < POSITION_AGE
        {
            return Ok(position);
        }
        let readers = state.readers.clone();
        drop(state);
        let mut slowest = None;
        for pipeline in readers {
            let position = self.committed(&pipeline)?;
            slowest = Some(slowest.map_or(position, |known: u64| known.min(position)));
        }
        let position = slowest.unwrap_or_default();
        self.state().position = Some((now, position));
        Ok(position)
    }

    /// Where a pipeline goes on after a restart; before its first commit, at the oldest record that is kept.
    fn committed(&self, pipeline: &str) -> Result<u64, IntakeError> {
        let partition = Partition::new(&self.topic, 0).to_string();
        let checkpoint = checkpoint::read_checkpoint(&*self.store, pipeline)?;
        let cursor = checkpoint.and_then(|checkpoint| checkpoint.cursors.get(&partition)?.as_u64());
        match cursor {
            Some(next) => Ok(next),
            None => match self.log.read(&self.topic, 0, 1) {
                Err(LogError::Gone { oldest, .. }) => Ok(oldest),
                read => Ok(read.map(|_| 0)?),
            },
        }
    }
}
