//! Hops: rows that go on to other tasks of the same pipeline, by their key.
//!
//! A hop is a topic outside, with a partition for each task of the next stage. A task writes into all of them: the rows of a batch are
//! taken apart by the fingerprint of their key, and what goes to one partition is a frame (`stream`) with all columns of the batch. The frames
//! of an epoch are written with the checkpoint, in one transaction of the task's changelog (`replica`): a reader sees both or neither.
//!
//! A frame is in one record or in several, since a broker takes none over about a megabyte. Records of several writers stand between each
//! other in a partition; those of one writer are in order.
//!
//! | bytes of a record | |
//! |---|---|
//! | 0 | 1, the format |
//! | 1–4 | the number of the task that wrote it, little endian |
//! | 5–6, 7–8 | number of the part, how many parts |
//! | then | a part of the frame |

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{BooleanArray, RecordBatch},
    datatypes::{Field, SchemaRef},
};
use syncline_functions::{Projection, keys::fingerprints};
use syncline_record::{Batch, Micros, StepId, time::NO_WATERMARK};

use crate::{
    log::{Log, LogError, NewFrame},
    operator::{Halt, StateSize},
    stream,
};

/// In front of the names of topics that are partitions of hops, and lie outside.
const OUTSIDE: &str = "hop/";

const FORMAT: u8 = 1;
const HEAD: usize = 1 + 4 + 2 + 2;
/// Bytes of a frame in one record: with its head below what every broker takes.
const PART: usize = 768 << 10;

/// The name under which a log is given what goes into a partition of a hop.
pub fn address(topic: &str, partition: u32) -> String {
    format!("{OUTSIDE}{partition}/{topic}")
}

/// The inverse of [`address`]; `None`: it is a topic of the log itself.
pub fn outside(name: &str) -> Option<(&str, u32)> {
    let (partition, topic) = name.strip_prefix(OUTSIDE)?.split_once('/')?;
    Some((topic, partition.parse().ok()?))
}

/// The end of a stage.
pub struct Hop {
    pub topic: String,
    /// `None`: all rows go to the first task.
    pub key: Option<Projection>,
    /// The columns of the rows under the names that the key has for them, where those are others.
    pub renamed: Option<SchemaRef>,
    /// How many tasks the next stage has.
    pub tasks: u32,
    /// Which task of its own stage writes.
    pub writer: u32,
    /// Rows that went through it since the pipeline began. What lies behind it is lost to an edit that takes the hop away, so it is noted
    /// with the states of steps.
    pub sent: u64,
    fingerprints: Vec<u128>,
}

/// How far time has come in a writer, and whether it is quiet: then nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub lowest: Micros,
    pub quiet: bool,
}

impl Standing {
    /// There is something to say: who holds time back from its beginning does so by saying nothing.
    pub fn says_something(self) -> bool {
        self.quiet || self.lowest != NO_WATERMARK
    }
}

impl Hop {
    pub fn new(
        topic: String,
        key: Option<Projection>,
        renamed: Option<SchemaRef>,
        (writer, tasks): (u32, u32),
    ) -> Self {
        Self { topic, key, renamed, tasks: tasks.max(1), writer, sent: 0, fingerprints: vec![] }
    }

    /// The task of each row. A row whose key cannot be computed is dead at the step behind the hop: it goes to the first.
    fn tasks_of(&mut self, batch: &Batch) -> Vec<u32> {
        let Some(key) = self.key.as_ref().filter(|_| self.tasks > 1) else { return vec![0; batch.len()] };
        let key = match &self.renamed {
            None => key.apply(&batch.rows),
            Some(renamed) => key.apply(
                &RecordBatch::try_new(renamed.clone(), batch.rows.columns().to_vec())
                    .expect("the columns in front of it, under other names"),
            ),
        };
        let schema = key.rows.schema();
        let fields: Vec<&Field> = schema.fields().iter().map(|field| field.as_ref()).collect();
        fingerprints(key.rows.columns(), &fields, &mut self.fingerprints);
        let tasks = u128::from(self.tasks);
        let mut all: Vec<u32> = self.fingerprints.iter().map(|print| (print % tasks) as u32).collect();
        key.failed.iter().for_each(|failure| all[failure.row as usize] = 0);
        all
    }

    /// The rows of each task that gets some.
    fn parts(&mut self, batch: &Batch) -> Vec<(u32, Batch)> {
        let of = self.tasks_of(batch);
        let part = |task: u32| {
            let mask: BooleanArray = of.iter().map(|own| Some(*own == task)).collect();
            (mask.true_count() > 0).then(|| (task, batch.keep(&mask)))
        };
        (0..self.tasks).filter_map(part).collect()
    }

    pub fn size(&self) -> StateSize {
        StateSize { keys: self.sent, bytes: 0 }
    }

    /// Puts rows into the hop, as part of the open epoch; how many bytes they are there.
    pub fn send(&mut self, log: &dyn Log, id: &str, step: &StepId, batch: &Batch) -> Result<u64, SendError> {
        self.sent += batch.len() as u64;
        let mut bytes = 0;
        for (task, rows) in self.parts(batch) {
            for rows in stream::frames(rows) {
                let body =
                    stream::encode_whole(&rows, id).map_err(|detail| Halt::Broken { step: step.clone(), detail })?;
                self.put(log, task, rows.len() as u32, rows.time(0), &body)?;
                bytes += body.len() as u64;
            }
        }
        Ok(bytes)
    }

    /// Tells every task of the next stage how far time has come.
    pub fn tell(&self, log: &dyn Log, id: &str, standing: Standing) -> Result<(), LogError> {
        let Standing { lowest, quiet } = standing;
        let body = if quiet { stream::encode_quiet(lowest, id) } else { stream::encode_mark(lowest, id) };
        (0..self.tasks).try_for_each(|task| self.put(log, task, 1, lowest, &body))
    }

    fn put(&self, log: &dyn Log, task: u32, count: u32, time: Micros, body: &[u8]) -> Result<(), LogError> {
        let topic = address(&self.topic, task);
        records(self.writer, body).try_for_each(|body| log.append(&topic, NewFrame { count, time, body }).map(drop))
    }
}

/// Why rows could not be put into a hop.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error(transparent)]
    Halt(#[from] Halt),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The records of a frame.
fn records(writer: u32, frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let parts = frame.len().div_ceil(PART).max(1);
    (0..parts).map(move |part| {
        let chunk = &frame[part * PART..frame.len().min((part + 1) * PART)];
        let mut record = Vec::with_capacity(HEAD + chunk.len());
        record.push(FORMAT);
        record.extend_from_slice(&writer.to_le_bytes());
        record.extend_from_slice(&(part as u16).to_le_bytes());
        record.extend_from_slice(&(parts as u16).to_le_bytes());
        record.extend_from_slice(chunk);
        record
    })
}

/// Puts frames together again, of each writer for itself.
#[derive(Debug, Default)]
pub struct Assembly {
    begun: HashMap<u32, Begun>,
}

#[derive(Debug)]
struct Begun {
    /// Offset of its first record.
    from: u64,
    frame: Vec<u8>,
    parts: u16,
}

impl Assembly {
    /// Takes the record at `offset`; the frame that it completes, and who wrote it.
    pub fn take(&mut self, offset: u64, record: &[u8]) -> Result<Option<(u32, Vec<u8>)>, String> {
        let (head, chunk) = record.split_at_checked(HEAD).ok_or("it is too short for one of a hop")?;
        if head[0] != FORMAT {
            return Err(format!("it has the format {}, which this version does not know", head[0]));
        }
        let writer = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let (part, parts) = (u16::from_le_bytes([head[5], head[6]]), u16::from_le_bytes([head[7], head[8]]));
        if part == 0 {
            self.begun.insert(writer, Begun { from: offset, frame: vec![], parts: 0 });
        }
        // Records before the first that was read may have been a frame's beginning: it was taken then.
        let Some(begun) = self.begun.get_mut(&writer).filter(|begun| begun.parts == part) else {
            return Err(format!("part {part} of {parts} of task {writer} does not follow what came before it"));
        };
        begun.frame.extend_from_slice(chunk);
        begun.parts += 1;
        if begun.parts < parts {
            return Ok(None);
        }
        Ok(self.begun.remove(&writer).map(|begun| (writer, begun.frame)))
    }

    /// Where a reader has to begin again, who has everything before `next`: at the first record of a frame that is not whole yet.
    pub fn from(&self, next: u64) -> u64 {
        self.begun.values().map(|begun| begun.from).min().map_or(next, |from| from.min(next))
    }
}

/// What a reader knows of a writer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Writer {
    /// Of the stream that it writes.
    pub id: String,
    /// How far time had come in it, as it said last.
    pub mark: Option<Micros>,
    pub quiet: bool,
}

/// By their numbers.
pub type Writers = BTreeMap<u32, Writer>;

#[cfg(test)]
mod tests;
