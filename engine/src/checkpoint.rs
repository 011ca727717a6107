//! What one commit holds, and where it lies in the store.
//!
//! | key | value |
//! |---|---|
//! | `c/<pipeline>` | [`Checkpoint`]: the truth to start from |
//! | `p/<pipeline> NUL partition` | [`PartitionNote`]: cursor and watermark of a partition, written when they move |
//! | `r/<pipeline> NUL run` | [`Run`]: books and outcome of a run, newest state with every epoch, the last [`KEPT_RUNS`] of them |
//! | `h/<pipeline> NUL epoch` | [`EpochNote`]: one line of history, the last [`KEPT_EPOCHS`] of them |
//! | `k/<pipeline> NUL step` | [`Delivered`]: how far an outbox sink is |
//! | `s/<pipeline> NUL step NUL …` | segments (`segment`) |
//! | `g/<pipeline>` | how far this folder is a copy of the pipeline's changelog, if it has one (`replica`) |
//! | `t/<pipeline>`, `w/<pipeline>` | its schedule (`firing`) |
//! | `b/<pipeline>` | what people ask it to take in (`backfill`) |
//! | `y/<pipeline>`; `v/…`, `z/…`, `x/…`, `a/…` | whether somebody has paused it (`paused`); its revisions (`revision`) |
//! | `o/<pipeline>` | the id that the pipeline's outputs are signed with; it outlives a new beginning |

mod course;
mod notes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use syncline_record::{Books, Epoch, Fate, Micros, StepId, time::NO_WATERMARK};

use crate::{
    clock::Rng,
    fingerprints::Fingerprints,
    graph::{MOST_INPUTS, input_step, qualified},
    log::Ends,
    operator::StateSize,
    sink::Delivered,
    source::Cursors,
    store::{Changes, StateStore, StoreError},
    witness::{Handover, Upkeep, Window},
};

pub use course::Course;
pub use notes::{EpochNote, HistoryNote, epoch_of};

/// Grows when an older binary could not read what a newer one wrote. Version N reads N-1.
pub const CHECKPOINT_FORMAT: u32 = 1;

/// History that `checkpoints` shows: at five epochs a second, more than three minutes at full load.
pub const KEPT_EPOCHS: u64 = 1000;

/// Runs that `runs` shows: with a schedule a pipeline may have one each second, and every start reads what is kept of them.
pub const KEPT_RUNS: u64 = 1000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub format: u32,
    pub epoch: Epoch,
    pub run: u64,
    /// Digest of the plan that wrote it.
    pub plan: String,
    /// Made with the outbox; sinks keep their progress under it.
    pub log_id: String,
    /// Grows with every start.
    pub fence: u64,
    pub time: Micros,
    /// In memory all of them; in the store each has a key of its own, so that an epoch writes what it moved and nothing else.
    #[serde(default, skip_serializing)]
    pub cursors: Cursors,
    #[serde(default, skip_serializing)]
    pub watermarks: BTreeMap<String, Micros>,
    /// Up to here steps may have forgotten what they kept; never goes back.
    #[serde(default = "no_watermark")]
    pub lowest: Micros,
    pub ends: Ends,
    /// Marks of staged sinks.
    pub marks: BTreeMap<StepId, Value>,
    pub states: BTreeMap<StepId, StateNote>,
    /// The bounded source was at its end.
    pub ended: bool,
    /// The pipeline was started over: a sink of which we have no record forgets what it knew of us before it takes a row.
    #[serde(default)]
    pub over: bool,
    /// What stands where; under a key of its own, which a start writes and no epoch.
    #[serde(default, skip_serializing)]
    pub fingerprints: Fingerprints,
    /// Outbox sinks that write elsewhere than they once did: where in the outbox what is theirs begins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub since: BTreeMap<StepId, u64>,
    /// What was read to its end before the first input began, by the fingerprint of its place: it is not read again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passed: BTreeSet<String>,
    /// How far the newest history is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryNote>,
}

fn no_watermark() -> Micros {
    NO_WATERMARK
}

/// Nothing is committed.
impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            format: CHECKPOINT_FORMAT,
            epoch: 0,
            run: 0,
            plan: String::new(),
            log_id: String::new(),
            fence: 0,
            time: 0,
            cursors: Cursors::new(),
            watermarks: BTreeMap::new(),
            lowest: NO_WATERMARK,
            ends: Ends::new(),
            marks: BTreeMap::new(),
            states: BTreeMap::new(),
            ended: false,
            over: false,
            fingerprints: Fingerprints::default(),
            since: BTreeMap::new(),
            passed: BTreeSet::new(),
            history: None,
        }
    }
}

/// How far one partition has been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionNote {
    pub partition: String,
    pub cursor: Value,
    pub watermark: Option<Micros>,
}

/// What is kept of a step's state, and what made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateNote {
    /// Digest of key, types and window: state of another digest means something else.
    pub digest: u64,
    pub size: StateSize,
    /// Bytes of its segments in the store.
    pub stored: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    /// Stopped on request.
    Stopped,
    /// The source came to its end, and every sink has everything.
    Ended,
    Failed,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

/// From activation to stop or change of version. A restart after a crash is a new attempt of the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub pipeline: String,
    pub run: u64,
    pub attempt: u64,
    pub plan: String,
    pub state: RunState,
    pub started: Micros,
    pub ended: Option<Micros>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The due time of its schedule that it was begun for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Micros>,
    pub epochs: u64,
    /// Counts of the chain. Outbox steps hold what is appended as `waiting`; [`Run::books`] settles them.
    pub pages: Books,
    /// What outbox sinks had decided when the run began.
    pub baseline: BTreeMap<StepId, Delivered>,
    /// The same when it was over: what they decide later belongs to later runs.
    #[serde(default)]
    pub closed: Option<BTreeMap<StepId, Delivered>>,
    /// The steps in the order of the pipeline file.
    #[serde(default)]
    pub order: Vec<StepId>,
    /// In which windows of the commit attempts of this run were killed.
    pub killed: BTreeMap<Window, u64>,
    /// The same for deliveries to outbox sinks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub killed_handing_over: BTreeMap<Handover, u64>,
    /// The same for the changelog.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub killed_in_changelog: BTreeMap<Upkeep, u64>,
    /// Rows that passed a `DEDUP` because their key is NULL.
    pub null_keys: BTreeMap<StepId, u64>,
    /// Windows of a `hop` that rows came too late for which count in others.
    #[serde(default)]
    pub late_windows: BTreeMap<StepId, u64>,
    /// Rows that broke an `EXPECT … ON VIOLATION WARN`.
    #[serde(default)]
    pub warned: BTreeMap<StepId, u64>,
}

impl Run {
    /// The run is over. `delivered`: what outbox sinks have decided so far.
    pub fn close(
        &mut self,
        state: RunState,
        reason: Option<String>,
        at: Micros,
        delivered: BTreeMap<StepId, Delivered>,
    ) {
        self.state = state;
        self.reason = reason;
        self.ended = Some(at);
        self.closed = Some(delivered);
    }

    /// The run was stopped in the middle, and goes on.
    pub fn reopen(&mut self) {
        self.state = RunState::Running;
        (self.reason, self.ended, self.closed) = (None, None, None);
    }

    /// The books with what outbox sinks decided from the beginning of the run to its end, or until `delivered`, which is now.
    pub fn books(&self, delivered: &BTreeMap<StepId, Delivered>) -> Books {
        let mut books = self.pages.clone();
        for (step, now) in self.closed.as_ref().unwrap_or(delivered) {
            let Some(page) = books.steps.get_mut(step) else { continue };
            let before = self.baseline.get(step).cloned().unwrap_or_default();
            let decided = now.books.rows_in.saturating_sub(before.books.rows_in);
            page.waiting = page.waiting.saturating_sub(decided);
            for fate in Fate::ALL {
                page.count(fate, now.books.fate(fate).saturating_sub(before.books.fate(fate)));
            }
            page.rows_out += now.books.rows_out.saturating_sub(before.books.rows_out);
        }
        books
    }
}

/// What keys begin with under which lies what is committed beside state and history: all that a start asks before it restores.
pub const COMMITTED: [&[u8]; 4] = [b"c/", b"m/", b"k/", b"p/"];

/// What the keys of a pipeline begin with that was started at some time.
pub const STARTED: [&[u8]; 1] = [b"c/"];

/// The same of one of which anything is known: it was started, failed before that, has a schedule, or was asked to take something in.
pub const KNOWN: [&[u8]; 4] = [b"c/", b"r/", b"t/", b"b/"];

pub fn checkpoint_key(pipeline: &str) -> Vec<u8> {
    [b"c/", pipeline.as_bytes()].concat()
}

/// How far a folder is a copy of the pipeline's changelog.
pub fn place_key(pipeline: &str) -> Vec<u8> {
    [b"g/", pipeline.as_bytes()].concat()
}

/// All that is a pipeline's own in a store, but how far it is a copy: whole keys, and beginnings of keys.
pub fn keys_of(pipeline: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let keys = vec![checkpoint_key(pipeline), fingerprints_key(pipeline), owner_key(pipeline)];
    let prefixes = [run_prefix, epoch_prefix, delivered_prefix, partition_prefix, state_prefix];
    (keys, prefixes.map(|prefix| prefix(pipeline)).to_vec())
}

pub fn owner_key(pipeline: &str) -> Vec<u8> {
    [b"o/", pipeline.as_bytes()].concat()
}

pub fn fingerprints_key(pipeline: &str) -> Vec<u8> {
    [b"m/", pipeline.as_bytes()].concat()
}

fn numbered(kind: &[u8], pipeline: &str, number: u64) -> Vec<u8> {
    [kind, pipeline.as_bytes(), b"\0", &number.to_be_bytes()].concat()
}

pub fn run_prefix(pipeline: &str) -> Vec<u8> {
    [b"r/", pipeline.as_bytes(), b"\0"].concat()
}

pub fn run_key(pipeline: &str, run: u64) -> Vec<u8> {
    numbered(b"r/", pipeline, run)
}

pub fn epoch_prefix(pipeline: &str) -> Vec<u8> {
    [b"h/", pipeline.as_bytes(), b"\0"].concat()
}

pub fn epoch_key(pipeline: &str, epoch: Epoch) -> Vec<u8> {
    numbered(b"h/", pipeline, epoch)
}

pub fn delivered_prefix(pipeline: &str) -> Vec<u8> {
    [b"k/", pipeline.as_bytes(), b"\0"].concat()
}

pub fn delivered_key(pipeline: &str, step: &StepId) -> Vec<u8> {
    [&delivered_prefix(pipeline), step.as_str().as_bytes()].concat()
}

pub fn partition_prefix(pipeline: &str) -> Vec<u8> {
    [b"p/", pipeline.as_bytes(), b"\0"].concat()
}

pub fn state_prefix(pipeline: &str) -> Vec<u8> {
    [b"s/", pipeline.as_bytes(), b"\0"].concat()
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the checkpoint of {pipeline} has format {found}; this version reads up to {CHECKPOINT_FORMAT}")]
    Newer { pipeline: String, found: u32 },
    #[error("the record {key} cannot be read: {detail}")]
    Damaged { key: String, detail: String },
}

/// Reads one JSON record.
pub fn read<T: DeserializeOwned>(store: &dyn StateStore, key: &[u8]) -> Result<Option<T>, ReadError> {
    store.get(key)?.map(|bytes| parse(key, &bytes)).transpose()
}

pub(crate) fn parse<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|error| ReadError::Damaged {
        key: String::from_utf8_lossy(key).replace('\0', " "),
        detail: error.to_string(),
    })
}

/// Reads all JSON records under a prefix, in order of key.
pub fn read_all<T: DeserializeOwned>(store: &dyn StateStore, prefix: &[u8]) -> Result<Vec<T>, ReadError> {
    let mut records = vec![];
    let mut problem = None;
    store.scan(prefix, &mut |key, bytes| match parse(key, bytes) {
        Ok(record) => {
            records.push(record);
            true
        }
        Err(error) => {
            problem = Some(error);
            false
        }
    })?;
    problem.map_or(Ok(records), Err)
}

/// Reads the JSON record with the greatest key under a prefix.
pub fn read_last<T: DeserializeOwned>(store: &dyn StateStore, prefix: &[u8]) -> Result<Option<T>, ReadError> {
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    store.scan(prefix, &mut |key, bytes| {
        let (last_key, last_bytes) = last.get_or_insert_default();
        last_key.clear();
        last_key.extend_from_slice(key);
        last_bytes.clear();
        last_bytes.extend_from_slice(bytes);
        true
    })?;
    last.map(|(key, bytes)| parse(&key, &bytes)).transpose()
}

/// The checkpoint to start from, if there is one that this version can read.
pub fn read_checkpoint(store: &dyn StateStore, pipeline: &str) -> Result<Option<Checkpoint>, ReadError> {
    let key = checkpoint_key(pipeline);
    let Some(value) = read::<Value>(store, &key)? else { return Ok(None) };
    let found = value.get("format").and_then(Value::as_u64).unwrap_or(0) as u32;
    if found > CHECKPOINT_FORMAT {
        return Err(ReadError::Newer { pipeline: pipeline.into(), found });
    }
    let damaged = |error: serde_json::Error| ReadError::Damaged {
        key: String::from_utf8_lossy(&key).into_owned(),
        detail: error.to_string(),
    };
    let mut checkpoint: Checkpoint = serde_json::from_value(value).map_err(damaged)?;
    if let Some(fingerprints) = read(store, &fingerprints_key(pipeline))? {
        checkpoint.fingerprints = fingerprints;
    }
    for note in read_all::<PartitionNote>(store, &partition_prefix(pipeline))? {
        if let Some(watermark) = note.watermark {
            checkpoint.watermarks.insert(note.partition.clone(), watermark);
        }
        checkpoint.cursors.insert(note.partition, note.cursor);
    }
    Ok(Some(checkpoint))
}

/// `partition`: its name in the checkpoint, the input's included.
pub fn partition_key(pipeline: &str, partition: &str) -> Vec<u8> {
    [&partition_prefix(pipeline), partition.as_bytes()].concat()
}

/// Puts a checkpoint, with the cursors and watermarks of `moved` partitions; those of the others are there already.
pub fn put_checkpoint<'a>(
    changes: &mut Changes,
    pipeline: &str,
    checkpoint: &Checkpoint,
    moved: impl IntoIterator<Item = &'a String>,
) {
    for partition in moved {
        let Some(cursor) = checkpoint.cursors.get(partition) else { continue };
        let watermark = checkpoint.watermarks.get(partition).copied();
        let note = PartitionNote { partition: partition.clone(), cursor: cursor.clone(), watermark };
        put(changes, partition_key(pipeline, partition), &note);
    }
    put(changes, checkpoint_key(pipeline), checkpoint);
}

/// The lowest cursor of a partition of numbered records over all pipelines that have read it.
pub fn lowest_cursor(store: &dyn StateStore, partition: &str) -> Result<Option<u64>, ReadError> {
    let mut lowest: Option<u64> = None;
    for pipeline in pipelines(store, &STARTED)? {
        let cursors = cursors_of(store, &pipeline, partition)?;
        lowest = lowest.into_iter().chain(cursors.iter().filter_map(Value::as_u64)).min();
    }
    Ok(lowest)
}

/// Pipelines that have keys which begin so, by name.
pub fn pipelines(store: &dyn StateStore, prefixes: &[&[u8]]) -> Result<Vec<String>, StoreError> {
    let mut names = vec![];
    for prefix in prefixes {
        store.scan(prefix, &mut |key, _| {
            let name = key[prefix.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
            names.push(String::from_utf8_lossy(name).into_owned());
            true
        })?;
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Where the inputs of a pipeline are that read this partition, each its own.
pub fn cursors_of(store: &dyn StateStore, pipeline: &str, partition: &str) -> Result<Vec<Value>, ReadError> {
    let mut cursors = vec![];
    for input in 0..MOST_INPUTS {
        let key = partition_key(pipeline, &qualified(&input_step(input), partition));
        cursors.extend(read::<PartitionNote>(store, &key)?.map(|note| note.cursor));
    }
    Ok(cursors)
}

/// The id that this data folder signs the outputs of a pipeline with; made at the first start.
pub fn owner_id(store: &dyn StateStore, pipeline: &str, rng: &dyn Rng) -> Result<String, StoreError> {
    if let Some(id) = owner_of(store, pipeline)? {
        return Ok(id);
    }
    let id = rng.id();
    let mut changes = Changes::default();
    changes.put(owner_key(pipeline), id.clone().into_bytes());
    store.apply(changes)?;
    // Durable before anything outside is signed with it.
    store.flush()?;
    Ok(id)
}

/// The same, where it was made.
pub fn owner_of(store: &dyn StateStore, pipeline: &str) -> Result<Option<String>, StoreError> {
    let id = store.get(&owner_key(pipeline))?;
    Ok(id.and_then(|id| String::from_utf8(id).ok()).filter(|id| !id.is_empty()))
}

/// The newest run of a pipeline.
pub fn last_run(store: &dyn StateStore, pipeline: &str) -> Result<Option<Run>, ReadError> {
    read_last(store, &run_prefix(pipeline))
}

/// How far every outbox sink of a pipeline is.
pub fn delivered(store: &dyn StateStore, pipeline: &str) -> Result<BTreeMap<StepId, Delivered>, ReadError> {
    delivered_under(store, &delivered_prefix(pipeline))
}

/// The same of records that lie under another prefix.
pub fn delivered_under(store: &dyn StateStore, prefix: &[u8]) -> Result<BTreeMap<StepId, Delivered>, ReadError> {
    // One scan: a sink that records its first position meanwhile must not move the others' records to wrong steps.
    let mut found = vec![];
    store.scan(prefix, &mut |key, bytes| {
        found.push((key.to_vec(), bytes.to_vec()));
        true
    })?;
    let step = |key: &[u8]| StepId::new(String::from_utf8_lossy(&key[prefix.len()..]));
    found.into_iter().map(|(key, bytes)| Ok((step(&key), parse(&key, &bytes)?))).collect()
}

/// Puts a JSON record.
pub fn put<T: Serialize>(changes: &mut Changes, key: Vec<u8>, record: &T) {
    // Records are plain structs with text keys: they always serialise.
    changes.put(key, serde_json::to_vec(record).unwrap_or_default());
}
