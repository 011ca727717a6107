//! A source with a second way in: for its records that stopped at a step, and are sent through the pipeline again.
//!
//! They lie in a topic of the log that belongs to the pipeline, in the frames of what came in over HTTP, and have a partition of their own:
//! its cursor is committed with those of the source. Nobody waits for that partition, since it gives rows when people decide so. What was
//! read stays in the topic, because who goes back to a revision reads it again. A pipeline that starts over has none of it any more: its
//! source gives the records themselves again.

mod form;

use std::{collections::VecDeque, sync::Arc};

use serde_json::Value;
use syncline_engine::{
    log::{Log, LogError},
    source::{Cursors, Polled, Progress, Rows, Source, SourceError, Waits},
};
use syncline_record::{Micros, Partition};

pub use self::form::Form;

use crate::LogSource;

/// What the names of these topics begin with.
pub const TOPICS: &str = "retry/";
/// How often it is looked whether somebody has sent one.
const LOOK: Micros = 50_000;

/// Where the records of a pipeline lie that are sent through it again; and the name of their partition.
pub fn topic(pipeline: &str) -> String {
    format!("{TOPICS}{pipeline}")
}

pub struct Retried {
    source: Box<dyn Source>,
    again: LogSource,
    /// Of records that are not for the steps as they are.
    form: Option<Form>,
    /// Records that were taken and not given yet: as they came, while a registry that is away has not said what they are, and as they are.
    came: Option<Rows>,
    ready: VecDeque<Rows>,
    log: Arc<dyn Log>,
    /// Of the topic and the partition.
    name: String,
    /// When it was last looked.
    looked: Option<Micros>,
    /// The source is at its end.
    ended: bool,
}

impl Retried {
    pub fn new(source: Box<dyn Source>, form: Option<Form>, log: Arc<dyn Log>, pipeline: &str) -> Self {
        let name = topic(pipeline);
        let again = LogSource::new(log.clone(), name.clone(), name.clone()).among(Box::new(|| Some(0)));
        let (came, ready) = (None, VecDeque::new());
        Self { source, again, form, came, ready, log, name, looked: None, ended: false }
    }

    /// The next of those that were sent again.
    fn next_again(&mut self, now: Micros) -> Result<Option<Rows>, SourceError> {
        if let Some(rows) = self.ready.pop_front() {
            return Ok(Some(rows));
        }
        let rows = match self.came.take() {
            Some(rows) => rows,
            None => match self.again.poll(now)? {
                Polled::Rows(rows) => rows,
                _ => return Ok(None),
            },
        };
        let Some(form) = &mut self.form else { return Ok(Some(rows)) };
        match form.read(&rows) {
            Ok(read) => self.ready = read,
            Err(error) => {
                self.came = Some(rows);
                return Err(error);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The cursors of the source, and that of the other way.
    fn divided(&self, cursors: &Cursors) -> (Cursors, Option<Value>) {
        let mut own = cursors.clone();
        let its = own.remove(&self.name);
        (own, its)
    }

    /// The offset of the first record that was not read yet, of those that are there.
    fn start(&self, cursor: Option<Value>) -> Result<u64, SourceError> {
        let next = cursor.and_then(|cursor| cursor.as_u64()).unwrap_or_default().min(self.log.end(&self.name)?);
        match self.log.read(&self.name, next, 1) {
            Err(LogError::Gone { oldest, .. }) => Ok(oldest),
            read => Ok(read.map(|_| next)?),
        }
    }
}

impl Source for Retried {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        let (own, its) = self.divided(cursors);
        self.source.open(&own, now)?;
        let end = self.log.end(&self.name)?;
        if cursors.is_empty() && end > 0 {
            self.log.begin(&self.name, end)?;
        }
        let next = self.start(its)?;
        (self.looked, self.ended) = (None, false);
        self.came = None;
        self.ready.clear();
        self.again.open(&Cursors::from([(self.name.clone(), next.into())]), now)
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        if self.ended || self.looked.is_none_or(|looked| !(looked..looked + LOOK).contains(&now)) {
            if let Some(rows) = self.next_again(now)? {
                return Ok(Polled::Rows(rows));
            }
            self.looked = Some(now);
        }
        if self.ended {
            return Ok(Polled::Ended);
        }
        match self.source.poll(now)? {
            // What was sent meanwhile goes with it.
            Polled::Ended => {
                self.ended = true;
                self.poll(now)
            }
            polled => Ok(polled),
        }
    }

    fn wait(&mut self, now: Micros) -> Result<Waits, SourceError> {
        self.source.wait(now)
    }

    fn bounded(&self) -> bool {
        self.source.bounded()
    }

    fn trouble(&self) -> Option<String> {
        self.source.trouble()
    }

    fn behind(&self) -> Option<u64> {
        Some(self.source.behind()? + self.again.behind().unwrap_or_default())
    }

    fn progress(&self) -> Progress {
        self.source.progress()
    }

    fn quiet(&self) -> Option<Vec<Partition>> {
        self.source.quiet()
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        self.source.committed(&self.divided(cursors).0)
    }

    fn partitions(&self) -> Vec<Partition> {
        self.source.partitions()
    }
}

#[cfg(test)]
mod tests {
    use syncline_engine::log::{NewFrame, memory::MemoryLog};

    use super::*;
    use crate::ingest::{Sent, encode};

    fn publish(log: &MemoryLog, topic: &str, record: &str) {
        let body = encode(&[record.as_bytes()], None, Sent::Open);
        log.publish(topic, vec![NewFrame { count: 1, time: 7, body }]).unwrap();
    }

    fn opened(log: &Arc<MemoryLog>, cursors: &Cursors) -> Retried {
        let source = LogSource::bounded(log.clone(), "in/a".to_owned(), "in/a".to_owned(), None);
        let mut source = Retried::new(Box::new(source), None, log.clone(), "p");
        source.open(cursors, 0).unwrap();
        source
    }

    /// What comes until the end, and where to go on.
    fn read(source: &mut Retried, cursors: &mut Cursors) -> Vec<String> {
        let mut found = vec![];
        for now in (0..).step_by(LOOK as usize / 3) {
            match source.poll(now).unwrap() {
                Polled::Rows(rows) => {
                    let from = rows.origin.partition.to_string();
                    let texts = (0..rows.origin.rows()).map(|row| rows.origin.bytes_of(row).into_owned());
                    found.extend(texts.map(|text| format!("{from} {}", String::from_utf8(text).unwrap())));
                    cursors.insert(from, rows.cursor);
                    source.committed(cursors).unwrap();
                }
                Polled::Ended => break,
                other => assert!(matches!(other, Polled::Idle)),
            }
        }
        found
    }

    #[test]
    fn what_is_sent_again_comes_once_beside_the_source_also_over_restarts() {
        let (log, mut cursors) = (Arc::new(MemoryLog::new()), Cursors::new());
        publish(&log, "in/a", "1");
        let mut source = opened(&log, &cursors);
        assert_eq!((source.partitions().len(), source.bounded()), (1, true));
        // Sent after it was opened, and before it is at its end.
        publish(&log, "retry/p", "bad");
        publish(&log, "retry/p2", "another's");
        assert_eq!(read(&mut source, &mut cursors), ["retry/p bad", "in/a 1"]);
        publish(&log, "retry/p", "worse");
        publish(&log, "in/a", "2");
        assert_eq!(read(&mut opened(&log, &cursors), &mut cursors), ["retry/p worse", "in/a 2"]);
        assert!(read(&mut opened(&log, &cursors), &mut cursors).is_empty());
        // Who goes back reads it again: nothing was let go.
        let mut back = Cursors::from([("in/a".to_owned(), 2.into()), ("retry/p".to_owned(), 1.into())]);
        assert_eq!(read(&mut opened(&log, &back), &mut back), ["retry/p worse"]);
        let mut first = Cursors::from([("in/a".to_owned(), 2.into())]);
        assert_eq!(read(&mut opened(&log, &first), &mut first), ["retry/p bad", "retry/p worse"]);
    }

    #[test]
    fn a_pipeline_that_starts_over_has_nothing_that_was_sent_again_before() {
        let (log, mut cursors) = (Arc::new(MemoryLog::new()), Cursors::new());
        publish(&log, "retry/p", "bad");
        let mut source = opened(&log, &cursors);
        assert!(read(&mut source, &mut cursors).is_empty());
        // Also when it dies before it has read anything, and for whoever looks with the cursors of before.
        publish(&log, "in/a", "1");
        publish(&log, "retry/p", "since");
        let mut later = Cursors::from([("in/a".to_owned(), 0.into())]);
        assert_eq!(read(&mut opened(&log, &later), &mut later), ["retry/p since", "in/a 1"]);
        let mut lost = Cursors::from([("in/a".to_owned(), 1.into()), ("retry/p".to_owned(), 9.into())]);
        assert!(read(&mut opened(&log, &lost), &mut lost).is_empty());
    }
}
