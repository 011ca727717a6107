//! What came in from outside: per path, what became of the requests.
//!
//! | key | value |
//! |---|---|
//! | `i/<topic>` | [`Intake`]: the counts, as they were a second ago at most |
//! | `d/<topic>` | [`Remembered`]: up to where the deliveries of the topic are remembered |
//! | `d/<topic> NUL …` | the deliveries themselves, as whoever takes requests writes them |
//!
//! A request is taken before a pipeline sees it, so these counts are no part of any books; each request has one outcome here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore},
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Durable.
    Accepted,
    /// A delivery that is durable already.
    Duplicate,
    /// A question of the provider's, answered; there was nothing to keep.
    Answered,
    /// Nothing of it was kept.
    Refused,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Answered => "answered",
            Self::Refused => "refused",
        }
    }
}

/// How often, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub requests: u64,
    pub last: Micros,
}

/// One line of a path's counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub outcome: Outcome,
    /// Why it was refused; empty for the others.
    pub reason: String,
    #[serde(flatten)]
    pub times: Times,
}

/// The counts of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intake {
    pub topic: String,
    /// How it knows its senders; `None`: it takes from anybody.
    pub verify: Option<String>,
    pub lines: Vec<Line>,
}

impl Intake {
    pub fn total(&self, outcome: Outcome) -> u64 {
        self.lines.iter().filter(|line| line.outcome == outcome).map(|line| line.times.requests).sum()
    }
}

/// Up to where a topic's deliveries are remembered beside the log. What lies behind is read from the log itself, so that log
/// must not be released further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Offset of the first record that is not covered.
    pub next: u64,
    /// Requests that were accepted before it.
    pub accepted: Times,
}

/// Counts while they grow.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<(Outcome, String), Times>);

impl Tally {
    pub fn of(intake: Intake) -> Self {
        Self(intake.lines.into_iter().map(|line| ((line.outcome, line.reason), line.times)).collect())
    }

    pub fn count(&mut self, outcome: Outcome, reason: &str, now: Micros) {
        let times = match self.0.get_mut(&(outcome, reason.to_owned())) {
            Some(times) => times,
            None => self.0.entry((outcome, reason.to_owned())).or_default(),
        };
        times.requests += 1;
        times.last = times.last.max(now);
    }

    /// What is known of accepted requests from the log replaces what was counted.
    pub fn accepted(&mut self, times: Times) {
        self.0.insert((Outcome::Accepted, String::new()), times);
    }

    pub fn lines(&self) -> Vec<Line> {
        let line = |((outcome, reason), times): (&(Outcome, String), &Times)| Line {
            outcome: *outcome,
            reason: reason.clone(),
            times: *times,
        };
        self.0.iter().filter(|(_, times)| times.requests > 0).map(line).collect()
    }
}

pub fn intake_key(topic: &str) -> Vec<u8> {
    [b"i/", topic.as_bytes()].concat()
}

pub fn remembered_key(topic: &str) -> Vec<u8> {
    [b"d/", topic.as_bytes()].concat()
}

/// What the keys of a topic's deliveries start with.
pub fn deliveries_prefix(topic: &str) -> Vec<u8> {
    [b"d/", topic.as_bytes(), b"\0"].concat()
}

pub fn read_intake(store: &dyn StateStore, topic: &str) -> Result<Option<Intake>, ReadError> {
    checkpoint::read(store, &intake_key(topic))
}

/// The counts of every path that ever took anything, by topic.
pub fn read_intakes(store: &dyn StateStore) -> Result<Vec<Intake>, ReadError> {
    checkpoint::read_all(store, b"i/")
}

pub fn read_remembered(store: &dyn StateStore, topic: &str) -> Result<Option<Remembered>, ReadError> {
    checkpoint::read(store, &remembered_key(topic))
}

pub fn put_intake(changes: &mut Changes, intake: &Intake) {
    checkpoint::put(changes, intake_key(&intake.topic), intake);
}

pub fn put_remembered(changes: &mut Changes, topic: &str, remembered: &Remembered) {
    checkpoint::put(changes, remembered_key(topic), remembered);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn counts_come_back_as_they_were_and_topics_do_not_mix() {
        let store = MemoryStore::default();
        let mut tally = Tally::default();
        for (outcome, reason, now) in [
            (Outcome::Refused, "mismatch", 3),
            (Outcome::Accepted, "", 1),
            (Outcome::Refused, "stale", 5),
            (Outcome::Refused, "mismatch", 2),
        ] {
            tally.count(outcome, reason, now);
        }
        let of = |topic: &str, tally: &Tally| Intake { topic: topic.into(), verify: None, lines: tally.lines() };
        let mut changes = Changes::default();
        put_intake(&mut changes, &of("in/a", &tally));
        put_intake(&mut changes, &of("in/a/b", &Tally::default()));
        put_remembered(&mut changes, "in/a", &Remembered { next: 7, accepted: Times { requests: 9, last: 4 } });
        store.apply(changes).unwrap();
        let back = read_intake(&store, "in/a").unwrap().unwrap();
        assert_eq!((back.total(Outcome::Refused), back.total(Outcome::Accepted)), (3, 1));
        assert_eq!(back.lines[1].times, Times { requests: 2, last: 3 });
        let mut tally = Tally::of(back.clone());
        assert_eq!(of("in/a", &tally), back);
        tally.accepted(read_remembered(&store, "in/a").unwrap().unwrap().accepted);
        assert_eq!(tally.lines()[0].times, Times { requests: 9, last: 4 });
        let topics: Vec<String> = read_intakes(&store).unwrap().into_iter().map(|intake| intake.topic).collect();
        assert_eq!((topics, read_remembered(&store, "in/a/b").unwrap()), (vec!["in/a".into(), "in/a/b".into()], None));
    }
}
