//! The log of the simulation: the same rules as `log::embedded`, with the losses and answers that files and brokers can give.
//!
//! The same value is the log before and after [`crash`](MemoryLog::crash), as a folder would be: frames that were appended and
//! not prepared are there up to some number, prepared ones stay until `recover` cuts them, published ones stay. A commit can be
//! told to answer [`CommitError::Unknown`] or [`CommitError::Fenced`], partitions can come and go ([`tell`](MemoryLog::tell)).

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use syncline_record::Epoch;

use self::topic::{Kind, Topic};
use super::{CommitError, Ends, Event, Frame, Log, LogError, NewFrame};
use crate::clock::{Rng, SeededRng};

mod topic;

/// What a commit is told to answer instead of yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Nobody knows, and it happened.
    UnknownDone,
    /// Nobody knows, and it did not happen.
    UnknownLost,
    /// Another process has taken over.
    Fenced { by: String },
}

#[derive(Default)]
pub struct MemoryLog(Mutex<State>);

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    events: Vec<Event>,
    commits: VecDeque<CommitFault>,
    /// How many calls still succeed, and what the one after them answers.
    fault: Option<(u64, LogError)>,
    dead: bool,
    /// Why nothing may be written: until `recover` after an unknown commit, until `crash` after a fence.
    barred: Option<Bar>,
}

#[derive(Clone, Debug)]
enum Bar {
    Unknown,
    Fenced { by: String },
}

impl MemoryLog {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `calls` calls succeed, the one after them fails with `error`. With [`LogError::Crashed`] every later call fails
    /// too, until [`crash`](Self::crash), and frames whose publication met it may be found then. Other errors are met once; in
    /// `append` and `prepare` they end the transaction, which fails until `recover`.
    pub fn fail_after(&self, calls: u64, error: LogError) {
        self.state().fault = Some((calls, error));
    }

    /// The next commit that has no answer yet gets this one. Several are kept in order.
    pub fn answer_commit(&self, fault: CommitFault) {
        self.state().commits.push_back(fault);
    }

    /// The next call of `events` tells this.
    pub fn tell(&self, event: Event) {
        self.state().events.push(event);
    }

    /// The process died and a new one opens the log: what was not durable is there up to some frame, drawn from `rng` for each
    /// topic. Faults, answers and events are forgotten.
    pub fn crash(&self, rng: u64) {
        let rng = SeededRng::from_seed(rng);
        let mut state = self.state();
        let mut topics = std::mem::take(&mut state.topics);
        topics.values_mut().for_each(|topic| topic.crash(rng.next()));
        *state = State { topics, ..State::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let mut state = self.state();
        state.count()?;
        Ok(state)
    }
}

impl State {
    /// Counts one call, and fails when it is this one's turn.
    fn count(&mut self) -> Result<(), LogError> {
        if self.dead {
            return Err(LogError::Crashed);
        }
        match self.fault.take() {
            Some((0, error)) => {
                self.dead = error == LogError::Crashed;
                Err(error)
            }
            fault => {
                self.fault = fault.map(|(calls, error)| (calls - 1, error));
                Ok(())
            }
        }
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        self.topics.entry(name.to_owned()).or_insert_with(|| Topic::new(name))
    }

    /// A transaction may be written: the last one's outcome is known, and nobody has taken over.
    fn must_not_be_barred(&self, operation: &'static str) -> Result<(), LogError> {
        let detail = match &self.barred {
            None => return Ok(()),
            Some(Bar::Unknown) => "the outcome of the last commit is not known; `recover` comes first".to_owned(),
            Some(Bar::Fenced { by }) => format!("another process has taken over ({by})"),
        };
        Err(LogError::Io { operation, path: PathBuf::new(), detail })
    }

    fn show(&mut self, ends: &Ends) -> Result<(), LogError> {
        ends.iter().try_for_each(|(name, end)| self.topic(name).show(*end))
    }
}

impl Log for MemoryLog {
    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError> {
        let mut state = self.call()?;
        if let Some(Bar::Fenced { .. }) = state.barred {
            state.must_not_be_barred("recover")?;
        }
        state.barred = None;
        for (name, end) in ends {
            state.topic(name).recover(*end)?;
        }
        state
            .topics
            .retain(|name, _| ends.contains_key(name) || !prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Ok(())
    }

    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError> {
        let mut state = self.state();
        if let Err(error) = state.count() {
            state.topic(topic).give_up(&error);
            return Err(error);
        }
        state.must_not_be_barred("append")?;
        state.topic(topic).append(frame)
    }

    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError> {
        let mut state = self.state();
        if let Err(error) = state.count() {
            topics.iter().for_each(|topic| state.topic(topic).give_up(&error));
            return Err(error);
        }
        state.must_not_be_barred("prepare")?;
        topics.iter().map(|topic| Ok((topic.clone(), state.topic(topic).prepare()?))).collect()
    }

    fn commit(&self, _epoch: Epoch, ends: &Ends) -> Result<(), CommitError> {
        let mut state = self.call()?;
        if let Some(Bar::Fenced { by }) = &state.barred {
            return Err(CommitError::Fenced { by: by.clone() });
        }
        state.must_not_be_barred("commit")?;
        let unknown = || CommitError::Unknown { detail: "no answer came".to_owned() };
        match state.commits.pop_front() {
            None => Ok(state.show(ends)?),
            Some(CommitFault::UnknownDone) => {
                state.show(ends)?;
                state.barred = Some(Bar::Unknown);
                Err(unknown())
            }
            Some(CommitFault::UnknownLost) => {
                state.barred = Some(Bar::Unknown);
                Err(unknown())
            }
            Some(CommitFault::Fenced { by }) => {
                state.barred = Some(Bar::Fenced { by: by.clone() });
                Err(CommitError::Fenced { by })
            }
        }
    }

    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        let mut state = self.state();
        let alive = !state.dead;
        if let Err(error) = state.count() {
            if alive && state.dead {
                state.topic(topic).leave_in_doubt(frames);
            }
            return Err(error);
        }
        if frames.is_empty() {
            return Ok(state.topics.get(topic).map_or(0, Topic::visible));
        }
        state.topic(topic).publish(frames)
    }

    fn read(&self, topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        self.call()?.topics.get(topic).map_or(Ok(Vec::new()), |topic| topic.read(from, max_bytes))
    }

    fn end(&self, topic: &str) -> Result<u64, LogError> {
        Ok(self.call()?.topics.get(topic).map_or(0, Topic::visible))
    }

    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError> {
        Ok(self.call()?.topics.get(topic).map_or(0, |topic| topic.bytes(from)))
    }

    fn release(&self, topic: &str, below: u64) -> Result<(), LogError> {
        let mut state = self.call()?;
        if let Some(topic) = state.topics.get_mut(topic) {
            topic.release(below);
        }
        Ok(())
    }

    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError> {
        self.call()?.topics.insert(topic.to_owned(), Topic::beginning(topic, offset));
        Ok(())
    }

    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        let state = self.call()?;
        let written = |(name, topic): (&String, &Topic)| {
            (name.starts_with(prefix) && topic.kind != Kind::Unwritten).then(|| name.clone())
        };
        Ok(state.topics.iter().filter_map(written).collect())
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }
}

#[cfg(test)]
mod tests;
