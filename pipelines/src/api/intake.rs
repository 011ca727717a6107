//! The way in: which paths running pipelines read, and the writer of each path's topic.
//!
//! Each path has one writer thread. It takes every request that waits and makes all of them durable with one sync, so that a
//! hundred callers wait for one disk write and not for a hundred. A caller is answered only when its records are durable.
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

use syncline_engine::{
    checkpoint::{self, ReadError},
    clock::Clock,
    log::{Log, LogError, NewFrame},
    store::StateStore,
};
use syncline_record::Partition;
use tokio::sync::{mpsc, oneshot};

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
/// Bytes that one sync takes. More would make the first of them wait for the last.
const ROUND_BYTES: usize = 32 << 20;

/// Why records were not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("the pipeline is stopping")]
    Stopping,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Read(#[from] ReadError),
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

    /// A pipeline reads this topic (`in/orders`) from now on.
    pub fn open(&self, topic: &str, pipeline: &str) {
        let mut inlets = self.inlets.write().unwrap_or_else(PoisonError::into_inner);
        let path = topic.strip_prefix(TOPICS).unwrap_or(topic).to_owned();
        let inlet = inlets
            .entry(path)
            .or_insert_with(|| Inlet::new(topic, self.store.clone(), self.log.clone(), self.clock.clone()));
        inlet.state().readers.insert(pipeline.to_owned());
    }

    /// A pipeline has ended; a path that nobody reads takes no more.
    pub fn close(&self, topic: &str, pipeline: &str) {
        let mut inlets = self.inlets.write().unwrap_or_else(PoisonError::into_inner);
        let path = topic.strip_prefix(TOPICS).unwrap_or(topic);
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

    /// Paths that are read, without `/in/`.
    pub fn paths(&self) -> Vec<String> {
        self.inlets.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn inlet(&self, path: &str) -> Option<Arc<Inlet>> {
        self.inlets.read().unwrap_or_else(PoisonError::into_inner).get(path.trim_matches('/')).cloned()
    }
}

/// One path.
pub struct Inlet {
    topic: String,
    store: Arc<dyn StateStore>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    calls: mpsc::Sender<Call>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Pipelines that read the path.
    readers: BTreeSet<String>,
    /// Where the slowest of them goes on, and when that was looked up.
    position: Option<(Duration, u64)>,
    /// End offset and bytes of what this process has taken and nobody has let go yet.
    taken: VecDeque<(u64, u64)>,
}

/// One request's frames, and who waits for them.
struct Call {
    frames: Vec<NewFrame>,
    answer: oneshot::Sender<Result<u64, LogError>>,
}

impl Inlet {
    fn new(topic: &str, store: Arc<dyn StateStore>, log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (calls, waiting) = mpsc::channel(QUEUE);
        let state = Arc::new(Mutex::new(State::default()));
        let writer = Writer { topic: topic.to_owned(), log: log.clone(), state: state.clone() };
        thread::spawn(move || writer.run(waiting));
        Arc::new(Self { topic: topic.to_owned(), store, log, clock, calls, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offset of the first record, once all of them are durable.
    pub async fn take(&self, frames: Vec<NewFrame>) -> Result<u64, IntakeError> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { frames, answer }).await.map_err(|_| IntakeError::Stopping)?;
        Ok(answered.await.map_err(|_| IntakeError::Stopping)??)
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

/// The thread that writes one path's topic. It ends when the path is closed.
struct Writer {
    topic: String,
    log: Arc<dyn Log>,
    state: Arc<Mutex<State>>,
}

impl Writer {
    fn run(self, mut waiting: mpsc::Receiver<Call>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut calls = vec![first];
            let mut bytes = size(&calls[0].frames);
            while bytes < ROUND_BYTES
                && let Ok(call) = waiting.try_recv()
            {
                bytes += size(&call.frames);
                calls.push(call);
            }
            self.round(calls, bytes as u64);
        }
    }

    fn round(&self, calls: Vec<Call>, bytes: u64) {
        let mut frames = vec![];
        let mut callers = vec![];
        for call in calls {
            let records: u64 = call.frames.iter().map(|frame| u64::from(frame.count)).sum();
            callers.push((records, call.answer));
            frames.extend(call.frames);
        }
        let published = self.log.publish(&self.topic, frames);
        let mut next = match &published {
            Ok(base) => *base,
            Err(_) => 0,
        };
        let records: u64 = callers.iter().map(|(records, _)| records).sum();
        if published.is_ok() {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).taken.push_back((next + records, bytes));
        }
        for (records, answer) in callers {
            // A caller that has gone is not told; its records are kept all the same.
            let _ = answer.send(published.clone().map(|_| next));
            next += records;
        }
    }
}

fn size(frames: &[NewFrame]) -> usize {
    frames.iter().map(|frame| frame.body.len()).sum()
}
