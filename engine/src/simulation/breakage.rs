//! Negative controls: each of these breaks one promise of the commit, in the way a careless change would.
//!
//! They stand between the engine and the outside, so that the product has no switch for being wrong. A simulation that does not
//! notice one of them proves nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use syncline_record::{Batch, Epoch, Generation, Micros, RowFailure, StepId};

use super::lock;
use crate::{
    log::{CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame},
    operator::{Damaged, Delta, Halt, Operator, Output, StateSize},
    sink::{Applied, Cut, Delivered, OutboxRows, OutboxSink, Owner, SinkError, StagedSink, Stream},
    store::{Changes, StateStore, StoreError},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// The checkpoint is written before the topics are durable.
    LateTopics,
    /// Topics show their frames when they are appended, not when the checkpoint holds them.
    EagerTopics,
    /// Staged parts are shown before the checkpoint.
    EarlyReveal,
    /// A staged sink says that it is durable, and is so only later.
    LateStaged,
    /// The checkpoint and the state are two batches.
    SplitCheckpoint,
    /// Frames and parts are shown before the checkpoint is durable.
    NoFlush,
    /// The position of a plain sink moves before the rows are there.
    EarlyPosition,
    /// A step that keeps rows hands over nothing of what it keeps.
    LostState,
    /// A step takes its rows back at a start, and not what it noted beside them.
    LostNotes,
    /// A step is not told at a start how far time had come.
    LostMark,
}

impl Breakage {
    pub const ALL: [Self; 10] = [
        Self::LateTopics,
        Self::EagerTopics,
        Self::EarlyReveal,
        Self::LateStaged,
        Self::SplitCheckpoint,
        Self::NoFlush,
        Self::EarlyPosition,
        Self::LostState,
        Self::LostNotes,
        Self::LostMark,
    ];

    pub fn store(self, store: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        match self {
            Self::SplitCheckpoint | Self::NoFlush => Arc::new(BrokenStore { store, breakage: self }),
            _ => store,
        }
    }

    pub fn log(self, log: Arc<dyn Log>) -> Arc<dyn Log> {
        match self {
            Self::LateTopics => Arc::new(BrokenLog { log, late: Some(Mutex::default()) }),
            Self::EagerTopics => Arc::new(BrokenLog { log, late: None }),
            _ => log,
        }
    }

    pub fn staged(self, sink: Box<dyn StagedSink>) -> Box<dyn StagedSink> {
        if self == Self::EarlyReveal { Box::new(Early(sink)) } else { sink }
    }

    pub fn plain(self, sink: Box<dyn OutboxSink>) -> Box<dyn OutboxSink> {
        if self == Self::EarlyPosition { Box::new(Lagging { sink, rows: vec![] }) } else { sink }
    }

    pub fn operator(self, step: Box<dyn Operator>) -> Box<dyn Operator> {
        match self {
            Self::LostState | Self::LostNotes | Self::LostMark => {
                Box::new(Forgetful { step, breakage: self, restored: false })
            }
            _ => step,
        }
    }
}

struct BrokenStore {
    store: Arc<dyn StateStore>,
    breakage: Breakage,
}

impl StateStore for BrokenStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.store.scan_all(prefixes, each)
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        if self.breakage != Breakage::SplitCheckpoint {
            return self.store.apply(changes);
        }
        let (first, puts) = changes.puts.into_iter().partition(|(key, _)| key.starts_with(b"c/"));
        self.store.apply(Changes { puts: first, removals: vec![] })?;
        self.store.apply(Changes { puts, removals: changes.removals })
    }

    fn flush(&self) -> Result<(), StoreError> {
        if self.breakage == Breakage::NoFlush { Ok(()) } else { self.store.flush() }
    }

    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.store.wipe(prefix)
    }

    fn size_on_disk(&self) -> u64 {
        self.store.size_on_disk()
    }
}

struct BrokenLog {
    log: Arc<dyn Log>,
    /// Late: frames that are written with `commit` only.
    late: Option<Mutex<BTreeMap<String, Vec<NewFrame>>>>,
}

impl Log for BrokenLog {
    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError> {
        self.log.recover(prefixes, ends)
    }

    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError> {
        let Some(late) = &self.late else {
            let base = self.log.append(topic, frame)?;
            let ends = self.log.prepare(&[topic.to_owned()])?;
            self.log.commit(0, &ends).map_err(|_| LogError::Crashed)?;
            return Ok(base);
        };
        let end = self.log.end(topic)?;
        let mut late = lock(late);
        let frames = late.entry(topic.to_owned()).or_default();
        let base = end + frames.iter().map(|frame| frame.count as u64).sum::<u64>();
        frames.push(frame);
        Ok(base)
    }

    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError> {
        let Some(late) = &self.late else { return self.log.prepare(topics) };
        let late = lock(late);
        let count = |topic: &String| late.get(topic).into_iter().flatten().map(|frame| frame.count as u64).sum::<u64>();
        let end = |topic: &String| -> Result<End, LogError> {
            Ok(End { offset: self.log.end(topic)? + count(topic), file: 0, length: 0 })
        };
        topics.iter().map(|topic| Ok((topic.clone(), end(topic)?))).collect()
    }

    fn commit(&self, epoch: Epoch, ends: &Ends) -> Result<(), CommitError> {
        let Some(late) = &self.late else { return self.log.commit(epoch, ends) };
        for (topic, frames) in std::mem::take(&mut *lock(late)) {
            for frame in frames {
                self.log.append(&topic, frame)?;
            }
        }
        self.log.prepare(&ends.keys().cloned().collect::<Vec<_>>())?;
        self.log.commit(epoch, ends)
    }

    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        self.log.publish(topic, frames)
    }

    fn read(&self, topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        self.log.read(topic, from, max_bytes)
    }

    fn end(&self, topic: &str) -> Result<u64, LogError> {
        self.log.end(topic)
    }

    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError> {
        self.log.bytes(topic, from)
    }

    fn release(&self, topic: &str, below: u64) -> Result<(), LogError> {
        self.log.release(topic, below)
    }

    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError> {
        self.log.begin(topic, offset)
    }

    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        self.log.topics(prefix)
    }

    fn events(&self) -> Vec<Event> {
        self.log.events()
    }
}

/// Shows with `prepare`.
struct Early(Box<dyn StagedSink>);

impl StagedSink for Early {
    fn claim(&mut self, owner: &Owner, mark: Option<&Value>, anew: bool) -> Result<(), SinkError> {
        self.0.claim(owner, mark, anew)
    }

    fn open(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        self.0.open(mark)
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<RowFailure>, SinkError> {
        self.0.write(batch)
    }

    fn prepare(&mut self, cut: Cut) -> Result<Value, SinkError> {
        let mark = self.0.prepare(cut)?;
        self.0.reveal()?;
        Ok(mark)
    }

    fn reveal(&mut self) -> Result<(), SinkError> {
        self.0.reveal()
    }

    fn is_due(&self, now: Micros) -> bool {
        self.0.is_due(now)
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        self.0.clear()
    }

    fn take_back(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        self.0.take_back(mark)
    }
}

/// Says yes to rows that it passes on with the next ones.
struct Lagging {
    sink: Box<dyn OutboxSink>,
    rows: Vec<OutboxRows>,
}

impl OutboxSink for Lagging {
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.sink.open(stream)
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let before = std::mem::replace(&mut self.rows, rows.to_vec());
        if before.is_empty() { Ok(Applied::default()) } else { self.sink.apply(&before) }
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        self.sink.commit(delivered)
    }

    fn clear(&mut self, stream: &Stream) -> Result<(), SinkError> {
        self.sink.clear(stream)
    }
}

/// The generation in which steps that keep rows note what is not of one window.
const NOTES: Generation = Generation::MAX;

/// A step that forgets a part of its state from one life to the next.
struct Forgetful {
    step: Box<dyn Operator>,
    breakage: Breakage,
    restored: bool,
}

impl Operator for Forgetful {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        self.step.push(batch, out)
    }

    fn push_right(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        self.step.push_right(batch, out)
    }

    fn advance(&mut self, lowest: Micros, out: &mut Output) -> Result<(), Halt> {
        match std::mem::take(&mut self.restored) && self.breakage == Breakage::LostMark {
            true => Ok(()),
            false => self.step.advance(lowest, out),
        }
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Halt> {
        self.step.finish(out)
    }

    fn close(&mut self, epoch: Epoch, step: &StepId) -> Result<Delta, Halt> {
        let delta = self.step.close(epoch, step)?;
        Ok(if self.breakage == Breakage::LostState { Delta::default() } else { delta })
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        self.restored = true;
        match self.breakage == Breakage::LostNotes && generation == NOTES {
            true => Ok(()),
            false => self.step.restore(generation, body),
        }
    }

    fn size(&self) -> StateSize {
        self.step.size()
    }
}
