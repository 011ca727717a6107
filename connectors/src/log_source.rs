//! Reads what came in from outside out of the engine's log.
//!
//! The server puts what it accepts into a topic before it answers; this gives it to a pipeline, with the topic's offsets. Small
//! requests are gathered into one batch; a replay, which may gather differently, still gives every row the same.

use std::{collections::VecDeque, sync::Arc};

use arrow::buffer::Buffer;
use serde_json::Value;
use syncline_engine::{
    log::{Frame, Log, LogError, Release},
    source::{Cursors, Polled, Rows, Source, SourceError},
};
use syncline_record::{Headers, Instants, Micros, Origin, Partition};

use crate::ingest;

/// Rows per poll: what a batch of the engine is.
const ROWS: usize = 1024;
/// Bytes per poll, and bytes that are read from the log at once.
const BYTES: usize = 256 << 10;

pub struct LogSource {
    log: Arc<dyn Log>,
    topic: String,
    partition: Partition,
    /// Ends where the topic ended when it was opened.
    bounded: bool,
    until: Option<u64>,
    readers: Option<Box<Readers>>,
    released: Release,
    /// Offset of the next row.
    next: u64,
    /// Offset of the next frame that is not in `frames`.
    ahead: u64,
    frames: VecDeque<Taken>,
}

/// A frame that was read, and is partly given out.
struct Taken {
    /// Offset of the record at `spans[0]`.
    base: u64,
    time: Micros,
    payload: Buffer,
    spans: Vec<(u32, u32)>,
    headers: Option<Arc<str>>,
    /// Records that were given out, or lie before the cursor.
    given: usize,
}

/// The lowest offset that any reader of the topic still needs, as far as it is committed.
pub type Readers = dyn Fn() -> Option<u64> + Send;

impl LogSource {
    /// Others read the topic too: nothing is released that one of them still needs.
    pub fn among(self, readers: Box<Readers>) -> Self {
        Self { readers: Some(readers), ..self }
    }

    /// Reads `topic` for ever. `partition_name` is what its rows have as their source (`in/orders`).
    pub fn new(log: Arc<dyn Log>, topic: String, partition_name: String) -> Self {
        let partition = Partition::new(partition_name, 0);
        Self {
            log,
            topic,
            partition,
            bounded: false,
            until: None,
            readers: None,
            released: Release::default(),
            next: 0,
            ahead: 0,
            frames: VecDeque::new(),
        }
    }

    /// Reads `topic` up to the end that it has when it is opened, or up to `until`: for a run that ends.
    pub fn bounded(log: Arc<dyn Log>, topic: String, partition_name: String, until: Option<u64>) -> Self {
        Self { bounded: true, until, ..Self::new(log, topic, partition_name) }
    }

    /// Where to start: the cursor, or the oldest record that is kept.
    fn start(&self, cursors: &Cursors) -> Result<u64, SourceError> {
        let Some(cursor) = cursors.get(&self.partition.to_string()) else {
            return match self.log.read(&self.topic, 0, 1) {
                Err(LogError::Gone { oldest, .. }) => Ok(oldest),
                read => read.map(|_| 0).map_err(SourceError::Log),
            };
        };
        let what = self.partition.to_string();
        let next = cursor.as_u64();
        let next =
            next.ok_or_else(|| SourceError::Changed { what: what.clone(), detail: format!("the cursor is {cursor}") })?;
        let end = self.log.end(&self.topic)?;
        if next > end {
            let detail = format!(
                "ends at record {end}, and the cursor is at {next}: the log was lost or replaced; run with --fresh"
            );
            return Err(SourceError::Changed { what, detail });
        }
        // Whoever goes back may come too late.
        if let Err(LogError::Gone { oldest, .. }) = self.log.read(&self.topic, next, 1) {
            let detail = format!("records {next} to {} are let go, and the cursor is at {next}", oldest - 1);
            return Err(SourceError::Changed { what, detail });
        }
        Ok(next)
    }

    fn is_at_end(&self) -> bool {
        self.bounded && self.until.is_some_and(|until| self.next >= until)
    }

    fn read_ahead(&mut self) -> Result<(), SourceError> {
        for frame in self.log.read(&self.topic, self.ahead, BYTES)? {
            let next = frame.next();
            let taken = self.taken(frame)?;
            self.ahead = self.ahead.max(next);
            self.frames.push_back(taken);
        }
        Ok(())
    }

    fn taken(&self, frame: Frame) -> Result<Taken, SourceError> {
        let Frame { base, count, time, body } = frame;
        let damaged = |detail| LogError::Damaged { topic: self.topic.clone(), offset: base, detail };
        let ingested = ingest::decode(body).map_err(|error| damaged(error.to_string()))?;
        if ingested.spans.len() != count as usize {
            return Err(damaged(format!("{} records, and the frame counts {count}", ingested.spans.len())).into());
        }
        let given = self.next.saturating_sub(base) as usize;
        let headers = ingested.headers.map(Arc::from);
        let payload = Buffer::from_vec(ingested.body);
        Ok(Taken { base, time, payload, spans: ingested.spans, headers, given })
    }

    /// The next rows of the frames that were read, out of one frame or several.
    fn gather(&mut self) -> Option<Rows> {
        let mut gathered = Gathered::default();
        while let Some(frame) = self.frames.front_mut() {
            let limit = self.until.filter(|_| self.bounded).unwrap_or(u64::MAX);
            if frame.next() >= limit.min(frame.end()) {
                if frame.next() >= limit {
                    break;
                }
                self.frames.pop_front();
                continue;
            }
            if !gathered.takes_more() {
                break;
            }
            gathered.add(frame, limit);
        }
        if gathered.offsets.is_empty() {
            return None;
        }
        self.next = gathered.offsets.last().map_or(self.next, |last| last + 1);
        Some(Rows {
            origin: gathered.origin(self.partition.clone()),
            columns: None,
            rejected: Vec::new(),
            cursor: Value::from(self.next),
        })
    }
}

impl Taken {
    fn next(&self) -> u64 {
        self.base + self.given as u64
    }

    fn end(&self) -> u64 {
        self.base + self.spans.len() as u64
    }
}

/// Rows that go out together.
#[derive(Default)]
struct Gathered {
    /// The payload, while it is that of one frame alone.
    alone: Option<Buffer>,
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    offsets: Vec<u64>,
    times: Vec<Micros>,
    headers: Vec<Option<Arc<str>>>,
}

impl Gathered {
    fn takes_more(&self) -> bool {
        self.offsets.len() < ROWS && self.length() < BYTES
    }

    fn length(&self) -> usize {
        self.spans.iter().map(|(start, end)| (end - start) as usize).sum()
    }

    fn add(&mut self, frame: &mut Taken, limit: u64) {
        let room = ROWS - self.offsets.len();
        let left = (limit.min(frame.end()) - frame.next()) as usize;
        let wanted = &frame.spans[frame.given..frame.given + left.min(room)];
        let mut length = self.length();
        let mut taken = Vec::with_capacity(wanted.len());
        for (start, end) in wanted {
            if length >= BYTES {
                break;
            }
            length += (end - start) as usize;
            taken.push((*start, *end));
        }
        if self.offsets.is_empty() {
            self.alone = Some(frame.payload.clone());
            self.spans = taken.clone();
        } else {
            self.copy_alone();
            for (start, end) in &taken {
                copy(&frame.payload, (*start, *end), &mut self.bytes, &mut self.spans);
            }
        }
        self.offsets.extend((0..taken.len() as u64).map(|row| frame.next() + row));
        self.times.extend(taken.iter().map(|_| frame.time));
        self.headers.extend(taken.iter().map(|_| frame.headers.clone()));
        frame.given += taken.len();
    }

    /// A second frame joins: the bytes of the first go where both can be.
    fn copy_alone(&mut self) {
        if let Some(payload) = self.alone.take() {
            for span in std::mem::take(&mut self.spans) {
                copy(&payload, span, &mut self.bytes, &mut self.spans);
            }
        }
    }

    fn origin(self, partition: Partition) -> Origin {
        Origin {
            texts: None,
            names: None,
            partition,
            payload: self.alone.unwrap_or_else(|| Buffer::from_vec(self.bytes)),
            spans: self.spans,
            offsets: self.offsets,
            bytes: None,
            ingested_at: Instants::Each(self.times.clone()),
            times: self.times,
            headers: headers(self.headers),
            keys: None,
        }
    }
}

fn copy(payload: &Buffer, (start, end): (u32, u32), bytes: &mut Vec<u8>, spans: &mut Vec<(u32, u32)>) {
    let at = bytes.len() as u32;
    bytes.extend_from_slice(&payload.as_slice()[start as usize..end as usize]);
    spans.push((at, bytes.len() as u32));
}

/// One text when all requests had the same headers.
fn headers(each: Vec<Option<Arc<str>>>) -> Headers {
    match each.first() {
        Some(first) if each.iter().all(|headers| headers == first) => {
            first.clone().map_or(Headers::Absent, Headers::Same)
        }
        _ => Headers::Each(each),
    }
}

impl Source for LogSource {
    fn open(&mut self, cursors: &Cursors, _now: Micros) -> Result<(), SourceError> {
        self.next = self.start(cursors)?;
        self.ahead = self.next;
        self.frames.clear();
        if self.bounded {
            let end = self.log.end(&self.topic)?;
            self.until = Some(self.until.map_or(end, |until| until.min(end)));
        }
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        if self.is_at_end() {
            return Ok(Polled::Ended);
        }
        if let Some(rows) = self.gather() {
            return Ok(Polled::Rows(rows));
        }
        self.read_ahead()?;
        Ok(self.gather().map_or(Polled::Idle, Polled::Rows))
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        let Some(next) = cursors.get(&self.partition.to_string()).and_then(Value::as_u64) else { return Ok(()) };
        match &self.readers {
            Some(lowest) => {
                let needed = lowest().map_or(next, |needed| needed.min(next));
                self.released.below(needed, &*self.log, &self.topic)?;
            }
            // The one position that counts was committed just now.
            None => self.log.release(&self.topic, next)?,
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![self.partition.clone()]
    }
}
