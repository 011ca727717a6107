//! Reads a stream: what another pipeline of the project wrote (`AS STREAM name`), frame by frame, as it was committed there.
//!
//! The position is an offset of the stream's topic, together with the id of the stream: a writer that was started over writes another one
//! under the same name, and the reader stops rather than to take its rows for what comes next. Rows that were written before an edit of
//! the writer are read by the names of their columns; where they lack one that is read now, the reader stops too.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use serde_json::json;
use syncline_engine::{
    log::{Frame, Log, LogError, Release},
    source::{Cursors, Polled, Source, SourceError, Streamed},
    stream::{self, Carried, Content, Position, Readers},
};
use syncline_record::{Micros, Partition};

use crate::cursor_of;

/// Bytes that are read from the log at once.
const BYTES: usize = 1 << 20;

/// How it stands with the pipeline that writes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// It will start in this process, and may start over: what lies there may not be its own any more.
    Coming,
    Running,
    /// It came to its end; nothing more is written.
    Ended,
    /// It does not run, and did not come to its end.
    Gone,
}

/// What a reader has to know of what is around it.
pub struct Surroundings {
    pub writer: Box<dyn Fn() -> Writer + Send>,
    /// The id of the stream that the writer writes now; `None`: it never started.
    pub id: Box<dyn Fn() -> Option<String> + Send>,
    /// Everybody who reads the stream: nothing is released that one of them still needs.
    pub readers: Box<Readers>,
    /// Called once, when nothing more will come although this is not the end.
    pub cut_off: Box<dyn FnMut() + Send>,
}

/// What is read of a stream.
pub struct Wanted {
    pub topic: String,
    /// As pipeline files call it.
    pub name: String,
    pub writer: String,
    /// Named columns, all of which every row must have; `None`: whole records.
    pub columns: Option<Vec<String>>,
    /// Ends when the writer is at its end.
    pub bounded: bool,
    /// Ends with what is there when it begins, whatever its writer does.
    pub here: bool,
}

pub struct StreamSource {
    log: Arc<dyn Log>,
    wanted: Wanted,
    around: Surroundings,
    partition: Partition,
    /// Behind what was given last. `None`: it has not begun.
    cursor: Option<Position>,
    /// Up to where what was given is committed.
    committed: Option<Position>,
    frames: VecDeque<Frame>,
    /// It was seen that the position is one of this stream.
    checked: bool,
    told: bool,
    released: Release,
    /// The end that it was found with.
    until: Option<u64>,
}

impl StreamSource {
    pub fn new(log: Arc<dyn Log>, wanted: Wanted, around: Surroundings) -> Self {
        let partition = Partition::new(stream::partition(&wanted.name), 0);
        Self {
            log,
            wanted,
            around,
            partition,
            cursor: None,
            committed: None,
            frames: VecDeque::new(),
            checked: false,
            told: false,
            released: Release::default(),
            until: None,
        }
    }

    /// Whether all that was there is read.
    fn is_over(&mut self) -> Result<bool, SourceError> {
        if !self.wanted.here {
            return Ok(false);
        }
        let until = match self.until {
            Some(until) => until,
            None => *self.until.insert(self.log.end(&self.wanted.topic)?),
        };
        Ok(self.cursor.as_ref().map_or(0, |cursor| cursor.next) >= until)
    }

    fn changed(&self, detail: String) -> SourceError {
        SourceError::Changed { what: format!("stream {}", self.wanted.name), detail }
    }

    /// Rows and the mark behind them, as far as there are any.
    fn next(&mut self) -> Result<Option<Streamed>, SourceError> {
        if self.frames.is_empty() {
            self.frames = self.read()?.into();
        }
        let (mut rows, mut mark) = (None, None);
        while let Some(frame) = self.frames.front() {
            if (rows.is_some() || mark.is_some()) && stream::holds_rows(&frame.body) {
                break;
            }
            let (id, content) = stream::decode(&frame.body).map_err(|detail| LogError::Damaged {
                topic: self.wanted.topic.clone(),
                offset: frame.base,
                detail,
            })?;
            self.must_be_the_same(&id)?;
            match content {
                Content::Rows(carried) => rows = Some(self.fitting(*carried)?),
                Content::Mark(time) | Content::Quiet(time) => mark = Some(time),
            }
            self.cursor = Some(Position { id, topic: self.wanted.topic.clone(), next: frame.next() });
            self.frames.pop_front();
        }
        if rows.is_none() && mark.is_none() {
            return Ok(None);
        }
        let stream = self.partition.clone();
        Ok(Some(Streamed { writer: stream.clone(), stream, rows, mark, cursor: json!(self.cursor) }))
    }

    fn read(&self) -> Result<Vec<Frame>, SourceError> {
        let next = self.cursor.as_ref().map_or(0, |cursor| cursor.next);
        match self.log.read(&self.wanted.topic, next, BYTES) {
            // A reader that begins takes what is kept.
            Err(LogError::Gone { oldest, .. }) if self.cursor.is_none() => {
                tracing::warn!(stream = self.wanted.name, oldest, "what stood before record {oldest} of it is gone");
                Ok(self.log.read(&self.wanted.topic, oldest, BYTES)?)
            }
            Err(LogError::Gone { asked, oldest, .. }) => Err(self.changed(format!(
                "records {asked} to {oldest} were let go while this pipeline was not among its readers; run it with --fresh to \
                 begin with what is kept"
            ))),
            Ok(frames) if frames.first().is_some_and(|first| first.base < next) => Err(self.started_over()),
            frames => Ok(frames?),
        }
    }

    fn must_be_the_same(&self, id: &str) -> Result<(), SourceError> {
        match &self.cursor {
            Some(cursor) if cursor.id != id => Err(self.started_over()),
            _ => Ok(()),
        }
    }

    fn started_over(&self) -> SourceError {
        self.changed(format!(
            "it is another one than what was read before: its writer {} was started over, or has got this name since; run this pipeline \
             with --fresh too, or put the names back",
            self.wanted.writer
        ))
    }

    /// Rows of an earlier version of the writer may not have what is read now: that would be NULL without a word.
    fn fitting(&self, rows: Carried) -> Result<Carried, SourceError> {
        let lacks = match (&self.wanted.columns, &rows.columns) {
            (None, None) => return Ok(rows),
            (None, Some(_)) => "have named columns, and whole records are read now".to_owned(),
            (Some(_), None) => "are whole records, and named columns are read now".to_owned(),
            (Some(wanted), Some(there)) => {
                let there = there.schema();
                match wanted.iter().find(|name| there.column_with_name(name).is_none()) {
                    None => return Ok(rows),
                    Some(name) => format!("have no column {name}"),
                }
            }
        };
        Err(self.changed(format!(
            "rows that {} wrote before an edit {lacks}; put the earlier file back until they are read, or run both with --fresh",
            self.wanted.writer
        )))
    }
}

impl Source for StreamSource {
    fn open(&mut self, cursors: &Cursors, _now: Micros) -> Result<(), SourceError> {
        let name = self.partition.to_string();
        self.cursor = cursors.get(&name).map(|cursor| cursor_of(&name, cursor)).transpose()?;
        self.committed = self.cursor.clone();
        self.frames.clear();
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        // Asked first: what is written before it is over is there afterwards.
        let writer = (self.around.writer)();
        if writer == Writer::Coming {
            return Ok(Polled::Idle);
        }
        if !self.checked {
            self.checked = true;
            (self.around.id)().map_or(Ok(()), |id| self.must_be_the_same(&id))?;
        }
        if self.is_over()? {
            return Ok(Polled::Ended);
        }
        match self.next() {
            Ok(Some(streamed)) => return Ok(Polled::Streamed(Box::new(streamed))),
            // The rest is no longer kept, or is not committed.
            Ok(None) if self.wanted.here => return Ok(Polled::Ended),
            Ok(None) => {}
            // What came before is committed first: else it would be read again in every attempt, and no edit could bring it behind.
            Err(_) if self.cursor != self.committed => return Ok(Polled::Idle),
            Err(error) => return Err(error),
        }
        match writer {
            Writer::Ended if self.wanted.bounded => return Ok(Polled::Ended),
            Writer::Gone if self.wanted.bounded && !self.told => {
                self.told = true;
                tracing::warn!(
                    stream = self.wanted.name,
                    "its writer {} does not run and did not come to its end; what it wrote is read, and this pipeline stops",
                    self.wanted.writer
                );
                (self.around.cut_off)();
            }
            _ => {}
        }
        Ok(Polled::Idle)
    }

    fn bounded(&self) -> bool {
        self.wanted.bounded || self.wanted.here
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        let name = self.partition.to_string();
        let Some(cursor) = cursors.get(&name) else { return Ok(()) };
        let committed: Position = cursor_of(&name, cursor)?;
        let (id, next) = (committed.id.clone(), committed.next);
        self.committed = Some(committed);
        // A position that cannot be read keeps everything: a log that is too long does no harm.
        let needed = (self.around.readers)(&id).map_or(0, |slowest| slowest.map_or(next, |slowest| slowest.next));
        Ok(self.released.below(needed.min(next), &*self.log, &self.wanted.topic)?)
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![self.partition.clone()]
    }
}
