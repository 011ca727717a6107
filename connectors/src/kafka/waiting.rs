//! A topic whose brokers cannot be reached when its pipeline starts is waited for, as one whose brokers go away later is.
//!
//! Who reads a topic to its end (`--once`) does not wait: somebody waits for him. Brokers that refuse us, and topics that are not there, do not
//! change by themselves: they are told at once.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use syncline_engine::source::{Cursors, Polled, Progress, Source, SourceError, Waits};
use syncline_record::{Micros, Partition};

use super::{
    client::{Ears, Held, Settings},
    source::KafkaSource,
    trouble::refusal,
};
use crate::spec::{Arguments, ConnectorError, Surroundings};

/// A topic, and what is done while nobody answers for it.
pub struct Patient {
    source: KafkaSource,
    settings: Settings,
    topic: String,
    bounded: bool,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// Where the engine wants to go on.
    cursors: Cursors,
    why: String,
    /// Goes on trying to reach a broker, and says when it has.
    client: Held<BaseConsumer<Ears>>,
}

impl Patient {
    pub(crate) fn new(
        source: KafkaSource,
        arguments: &Arguments,
        around: &Surroundings,
        bounded: bool,
    ) -> Result<Self, ConnectorError> {
        Ok(Self {
            source,
            settings: Settings::new(arguments, around)?,
            topic: arguments.text("topic").to_owned(),
            bounded,
            waiting: None,
        })
    }

    /// Begins to read, or to wait.
    fn begin(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        let before = self.waiting.take();
        let (what, detail) = match self.source.open(cursors, now) {
            Err(SourceError::Again { what, detail }) if !self.bounded => (what, detail),
            opened => return opened,
        };
        let client = match before {
            Some(before) => before.client,
            None => self.looking().ok_or_else(|| SourceError::Again { what: what.clone(), detail: detail.clone() })?,
        };
        // Until its next figures say something else.
        client.context().seen().alone = true;
        let why = format!("{what}: {detail}");
        tracing::warn!(topic = self.topic, "{why}; it is waited for");
        self.waiting = Some(Waiting { cursors: cursors.clone(), why, client });
        Ok(())
    }

    fn looking(&self) -> Option<Held<BaseConsumer<Ears>>> {
        let config = self.settings.with(&[("statistics.interval.ms", "1000")]);
        config.create_with_context(Ears::default()).ok().map(Held::new)
    }
}

impl Waiting {
    /// Whether somebody is there, who takes us in or does not. Does not wait.
    fn over(&self) -> bool {
        // What it says is heard by its ears.
        let _ = self.client.poll(Duration::ZERO);
        let seen = self.client.context().seen();
        !seen.alone || refusal(&seen).is_some()
    }
}

impl Source for Patient {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.waiting = None;
        self.begin(cursors, now)
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        let Some(waiting) = &self.waiting else { return self.source.poll(now) };
        if !waiting.over() {
            return Ok(Polled::Idle);
        }
        let cursors = waiting.cursors.clone();
        self.begin(&cursors, now)?;
        if self.waiting.is_none() {
            tracing::info!(topic = self.topic, "its brokers are there");
        }
        Ok(Polled::Idle)
    }

    fn wait(&mut self, now: Micros) -> Result<Waits, SourceError> {
        if self.waiting.is_some() {
            self.poll(now)?;
        }
        if self.waiting.is_some() { Ok(Waits::NotYet) } else { self.source.wait(now) }
    }

    fn bounded(&self) -> bool {
        self.source.bounded()
    }

    fn trouble(&self) -> Option<String> {
        self.waiting.as_ref().map(|waiting| waiting.why.clone()).or_else(|| self.source.trouble())
    }

    fn behind(&self) -> Option<u64> {
        self.source.behind()
    }

    fn progress(&self) -> Progress {
        self.source.progress()
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        self.source.committed(cursors)
    }

    /// Of a topic that nobody has read yet, its first: what it may give holds time back.
    fn partitions(&self) -> Vec<Partition> {
        let Some(waiting) = &self.waiting else { return self.source.partitions() };
        let number = |name: &String| match name.strip_prefix(&self.topic)? {
            "" => Some(0),
            rest => rest.strip_prefix('#')?.parse().ok(),
        };
        let mut numbers: Vec<u32> = waiting.cursors.keys().filter_map(number).collect();
        if numbers.is_empty() {
            numbers.push(0);
        }
        numbers.into_iter().map(|number| Partition::new(self.topic.clone(), number)).collect()
    }
}
