//! One topic of the simulated log.

use std::path::PathBuf;

use crate::log::{End, Frame, LogError, NewFrame};

/// Who writes here; as in files, the two do not mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unwritten,
    Transaction,
    Publication,
}

pub struct Topic {
    name: String,
    pub kind: Kind,
    frames: Vec<Frame>,
    /// Frames of a publication in which the process died: after a crash, some of the first may be there.
    in_doubt: Vec<NewFrame>,
    /// Offset below which records were released.
    oldest: u64,
    visible: u64,
    prepared: u64,
    /// Bytes of all frames before those that are kept, for [`End::length`].
    released_bytes: u64,
    /// A transaction's records are here, and nobody has said yet where the committed ones end.
    unrecovered: bool,
    /// Why the open transaction cannot go on; until `recover`.
    failed: Option<LogError>,
}

impl Topic {
    pub fn new(name: &str) -> Self {
        Topic {
            name: name.to_owned(),
            kind: Kind::Unwritten,
            frames: Vec::new(),
            in_doubt: Vec::new(),
            oldest: 0,
            visible: 0,
            prepared: 0,
            released_bytes: 0,
            unrecovered: false,
            failed: None,
        }
    }

    /// Nothing below `offset` was ever here.
    pub fn beginning(name: &str, offset: u64) -> Self {
        Topic { oldest: offset, visible: offset, prepared: offset, ..Self::new(name) }
    }

    pub fn visible(&self) -> u64 {
        if self.unrecovered { self.oldest } else { self.visible }
    }

    /// Visible ones from the frame that holds `from`.
    pub fn bytes(&self, from: u64) -> u64 {
        let ahead = |frame: &&Frame| from < frame.next() && frame.next() <= self.visible();
        self.frames.iter().filter(ahead).map(|frame| frame.body.len() as u64).sum()
    }

    fn next(&self) -> u64 {
        self.frames.last().map_or(self.oldest, Frame::next)
    }

    fn refusal(&self, operation: &'static str, detail: &str) -> LogError {
        LogError::Io { operation, path: PathBuf::from(&self.name), detail: detail.to_owned() }
    }

    fn push(&mut self, frame: NewFrame) -> u64 {
        let base = self.next();
        self.frames.push(Frame { base, count: frame.count, time: frame.time, body: frame.body });
        base
    }

    fn check(&self, frame: &NewFrame) -> Result<(), LogError> {
        if frame.count == 0 {
            return Err(self.refusal("write to", "a frame holds at least one record"));
        }
        Ok(())
    }

    fn must_take_transactions(&self) -> Result<(), LogError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.unrecovered {
            return Err(self.refusal("append to", "it holds records of an earlier run; `recover` comes first"));
        }
        Ok(())
    }

    pub fn append(&mut self, frame: NewFrame) -> Result<u64, LogError> {
        self.check(&frame)?;
        self.must_take_transactions()?;
        if self.kind == Kind::Publication {
            return Err(self.refusal("append to", "records are published here; a transaction would hide them"));
        }
        self.kind = Kind::Transaction;
        Ok(self.push(frame))
    }

    pub fn prepare(&mut self) -> Result<End, LogError> {
        self.must_take_transactions()?;
        self.prepared = self.next();
        Ok(self.end_at(self.prepared))
    }

    fn end_at(&self, offset: u64) -> End {
        let kept = self.frames.iter().take_while(|frame| frame.base < offset);
        let length = self.released_bytes + kept.map(|frame| frame.body.len() as u64).sum::<u64>();
        End { offset, file: 0, length }
    }

    /// The open transaction is lost: as with files, what was not prepared is cut away, and everything fails until `recover`.
    pub fn give_up(&mut self, error: &LogError) {
        if *error != LogError::Crashed && self.kind != Kind::Publication {
            let prepared = self.prepared;
            self.frames.retain(|frame| frame.base < prepared);
            self.failed = Some(error.clone());
        }
    }

    pub fn show(&mut self, end: End) -> Result<(), LogError> {
        if self.unrecovered || end.offset > self.prepared {
            let found = if self.unrecovered { self.oldest } else { self.prepared };
            return Err(LogError::Short { topic: self.name.clone(), expected: end.offset, found });
        }
        self.visible = end.offset;
        Ok(())
    }

    pub fn publish(&mut self, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        frames.iter().try_for_each(|frame| self.check(frame))?;
        if self.kind == Kind::Transaction {
            return Err(self.refusal("publish to", "a transaction writes here"));
        }
        self.kind = Kind::Publication;
        let base = self.next();
        for frame in frames {
            self.push(frame);
        }
        self.visible = self.next();
        self.prepared = self.visible;
        Ok(base)
    }

    pub fn leave_in_doubt(&mut self, frames: Vec<NewFrame>) {
        self.in_doubt = frames;
    }

    pub fn recover(&mut self, end: End) -> Result<(), LogError> {
        let found = self.next();
        if found < end.offset {
            return Err(LogError::Short { topic: self.name.clone(), expected: end.offset, found });
        }
        let boundary = |frame: &Frame| frame.next() == end.offset;
        if end.offset > self.oldest && !self.frames.iter().any(boundary) {
            let detail = "the checkpoint ends inside a frame".to_owned();
            return Err(LogError::Damaged { topic: self.name.clone(), offset: end.offset, detail });
        }
        self.frames.retain(|frame| frame.base < end.offset);
        self.oldest = self.oldest.min(end.offset);
        (self.visible, self.prepared) = (end.offset, end.offset);
        (self.unrecovered, self.failed) = (false, None);
        if self.next() == 0 {
            self.kind = Kind::Unwritten;
        }
        Ok(())
    }

    pub fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        if from >= self.visible() {
            return Ok(Vec::new());
        }
        if from < self.oldest {
            return Err(LogError::Gone { topic: self.name.clone(), asked: from, oldest: self.oldest });
        }
        let first = self.frames.partition_point(|frame| frame.next() <= from);
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            let room = bytes == 0 || bytes < max_bytes;
            bytes += frame.body.len();
            room && frame.base < self.visible
        };
        Ok(self.frames[first..].iter().take_while(fits).cloned().collect())
    }

    pub fn release(&mut self, below: u64) {
        let below = below.min(self.visible());
        let gone = self.frames.partition_point(|frame| frame.next() <= below);
        for frame in self.frames.drain(..gone) {
            self.oldest = frame.next();
            self.released_bytes += frame.body.len() as u64;
        }
    }

    /// Keeps what is durable, and of the rest the first frames up to a number drawn from `rng`.
    pub fn crash(&mut self, rng: u64) {
        if self.kind == Kind::Transaction {
            let durable = self.frames.partition_point(|frame| frame.base < self.prepared);
            let unsure = self.frames.len() - durable;
            self.frames.truncate(durable + rng as usize % (unsure + 1));
            self.unrecovered = true;
        }
        let unsure = std::mem::take(&mut self.in_doubt);
        let kept = rng as usize % (unsure.len() + 1);
        if kept > 0 && self.kind != Kind::Transaction {
            self.kind = Kind::Publication;
            for frame in unsure.into_iter().take(kept) {
                self.push(frame);
            }
            self.visible = self.next();
            self.prepared = self.visible;
        }
        self.failed = None;
    }
}
