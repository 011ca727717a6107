//! The topics of a replica: written here first, where only their owner sees them, and shown when the changelog has them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::PoisonError,
};

use syncline_record::{Epoch, Partition};

use super::{
    Replica,
    frames::{self, Kind, parts_of},
};
use crate::{
    changelog::{Record, Sent},
    hop,
    log::{CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame},
    ownership::Parting,
    store::{StateStore, StoreError},
};

/// Bytes of a topic that are gone through at once.
const WALK: usize = 4 << 20;

/// Frames of a topic that is emptied which are taken out of the changelog: a day of epochs, and what one transaction has room for. What is
/// older than they are stays there, and does not hold.
const TAKEN_OUT: usize = 400_000;

/// Frames of a topic that are remembered: minutes of epochs. Where they are in the log is found by reading it too; that takes longer.
const REMEMBERED: usize = 1024;

/// A frame that the changelog has.
#[derive(Clone, Copy, Debug)]
struct Live {
    base: u64,
    next: u64,
    parts: u16,
}

/// What is known of the topics beside what lies in them.
#[derive(Default)]
pub struct Topics {
    /// What an earlier process left here; nobody has said yet where the committed ones end.
    unrecovered: BTreeSet<String>,
    /// Who writes where; the two do not mix.
    kinds: BTreeMap<String, Kind>,
    appended: BTreeMap<String, Vec<(u64, NewFrame)>>,
    /// Waits for the checkpoint that names it.
    prepared: Vec<Record>,
    /// Of the open epoch, for other tasks.
    leaving: Vec<Sent>,
    /// Of what was prepared, where its bytes end here.
    ends: Ends,
    /// The newest frames that were written by this process and are not let go of, by topic.
    live: BTreeMap<String, VecDeque<Live>>,
}

impl Topics {
    pub fn found(topics: Vec<String>) -> Self {
        Self { unrecovered: topics.into_iter().collect(), ..Self::default() }
    }

    pub fn take_prepared(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.prepared)
    }

    pub fn take_leaving(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.leaving)
    }

    fn written(&mut self, topic: &str, frame: Live) {
        let live = self.live.entry(topic.to_owned()).or_default();
        if live.len() == REMEMBERED {
            live.pop_front();
        }
        live.push_back(frame);
    }

    #[cfg(test)]
    pub fn remembered(&self, topic: &str) -> usize {
        self.live.get(topic).map_or(0, VecDeque::len)
    }
}

fn failed(error: StoreError) -> LogError {
    match error {
        StoreError::Changelog(error) => LogError::Changelog(error),
        error => LogError::Io { operation: "write", path: PathBuf::from("the changelog"), detail: error.to_string() },
    }
}

impl Replica {
    fn must_be(&self, topic: &str, kind: Kind, operation: &'static str) -> Result<(), LogError> {
        let mut state = self.state();
        state.check().map_err(failed)?;
        let found = *state.topics.kinds.entry(topic.to_owned()).or_insert(kind);
        let detail = match found {
            found if found == kind => return Ok(()),
            Kind::Transaction => "a transaction writes here",
            Kind::Publication => "records are published here; a transaction would hide them",
        };
        Err(LogError::Io { operation, path: PathBuf::from(topic), detail: detail.to_owned() })
    }

    fn must_be_recovered(&self, topic: &str) -> Result<(), LogError> {
        if !self.state().topics.unrecovered.contains(topic) {
            return Ok(());
        }
        let detail = "it holds records of an earlier run; `recover` comes first".to_owned();
        Err(LogError::Io { operation: "append to", path: PathBuf::from(topic), detail })
    }

    /// Frames of a topic that nobody has recovered yet, from `oldest` on. It is emptied next, so nobody minds what becomes of it.
    fn walk_all(&self, topic: &str, oldest: u64) -> Result<Vec<Live>, LogError> {
        let up_to = |offset| self.log.recover(&[], &Ends::from([(topic.to_owned(), End::at(offset))]));
        match up_to(u64::MAX) {
            Err(LogError::Short { found, .. }) => {
                up_to(found)?;
                self.walk(topic, oldest, found)
            }
            recovered => recovered.map(|()| vec![]),
        }
    }

    /// Frames before `below`, from the oldest one on that is here.
    fn walk(&self, topic: &str, from: u64, below: u64) -> Result<Vec<Live>, LogError> {
        let (mut found, mut next) = (vec![], from);
        while next < below {
            let frames = match self.log.read(topic, next, WALK) {
                // An older copy, or a folder that lost files: what is left can be let go of all the same.
                Err(LogError::Gone { oldest, .. }) if oldest > next => {
                    next = oldest;
                    continue;
                }
                frames => frames?,
            };
            let Some(last) = frames.last() else { break };
            next = last.next();
            let whole = frames.iter().filter(|frame| frame.base >= from && frame.next() <= below);
            found.extend(whole.map(|frame| Live {
                base: frame.base,
                next: frame.next(),
                parts: parts_of(frame.body.len()),
            }));
        }
        Ok(found)
    }
}

impl Log for Replica {
    /// The frames that no checkpoint names any more are taken out with the next flush: frames of other sizes follow, and would not replace them all.
    /// Until then what is here is no copy of the changelog, which has them: who dies before it makes a new one.
    fn undo(&self, then: &Ends, now: &Ends) -> Result<(), LogError> {
        self.no_copy_until_the_next_flush().map_err(failed)?;
        for (topic, end) in now {
            let before = then.get(topic).map_or(0, |then| then.offset);
            // One without any records is emptied as a whole.
            if before == 0 || end.offset <= before {
                continue;
            }
            self.log.recover(&[], &Ends::from([(topic.clone(), End::at(end.offset))]))?;
            let gone = self.walk(topic, before, end.offset)?;
            let removals = gone.iter().flat_map(|frame| frames::removals(topic, frame.base, frame.parts));
            self.state().pending.frames.extend(removals);
        }
        Ok(())
    }

    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError> {
        let mut state = self.state();
        state.check().map_err(failed)?;
        let oldest = state.place.oldest.clone();
        let kept = |topic: &String| ends.get(topic).is_some_and(|end| end.offset > 0);
        let found = self.log.topics("")?;
        let mut gone: BTreeSet<String> = found.iter().chain(oldest.keys()).cloned().collect();
        gone.retain(|topic| prefixes.iter().any(|prefix| topic.starts_with(prefix)));
        gone.extend(ends.keys().cloned());
        gone.retain(|topic| !kept(topic));
        let mut removals = vec![];
        for topic in gone.iter().filter(|topic| found.contains(topic)) {
            // Damage is a reason to empty it, and none to leave it.
            let frames = self.walk_all(topic, oldest.get(topic).copied().unwrap_or_default()).unwrap_or_default();
            let newest = &frames[frames.len().saturating_sub(TAKEN_OUT)..];
            removals.extend(newest.iter().flat_map(|frame| frames::removals(topic, frame.base, frame.parts)));
        }
        let topics = &mut state.topics;
        (topics.appended, topics.ends) = Default::default();
        topics.prepared.clear();
        topics.leaving.clear();
        topics
            .unrecovered
            .retain(|topic| !ends.contains_key(topic) && !prefixes.iter().any(|prefix| topic.starts_with(prefix)));
        let (mut rest, mut begun) = (Ends::new(), vec![]);
        for (topic, end) in ends {
            let at = End::at(end.offset);
            if kept(topic) {
                topics.kinds.insert(topic.clone(), Kind::Transaction);
                topics.live.remove(topic);
            }
            match self.log.recover(&[], &Ends::from([(topic.clone(), at)])) {
                // All its records were let go of before this folder was made; what lies there is of another life.
                Err(LogError::Short { .. } | LogError::Damaged { .. }) if oldest.get(topic) == Some(&end.offset) => {
                    begun.push((topic, end.offset));
                }
                recovered => {
                    recovered?;
                    rest.insert(topic.clone(), at);
                }
            }
        }
        self.log.recover(prefixes, &rest)?;
        for topic in gone {
            state.topics.kinds.remove(&topic);
            state.topics.live.remove(&topic);
            state.pending.moved.remove(&topic);
            state.pending.emptied.insert(topic);
        }
        state.pending.frames.extend(removals);
        begun.into_iter().try_for_each(|(topic, offset)| self.log.begin(topic, offset))
    }

    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError> {
        if let Some((topic, partition)) = hop::outside(topic) {
            let mut state = self.state();
            state.check().map_err(failed)?;
            state.topics.leaving.push(Sent { topic: topic.to_owned(), partition, body: frame.body });
            return Ok(0);
        }
        self.must_be(topic, Kind::Transaction, "append to")?;
        self.must_be_recovered(topic)?;
        let base = self.log.append(topic, frame.clone())?;
        self.state().topics.appended.entry(topic.to_owned()).or_default().push((base, frame));
        Ok(base)
    }

    /// Durable with the flush of the checkpoint that names the ends.
    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError> {
        self.state().check().map_err(failed)?;
        topics.iter().try_for_each(|topic| self.must_be_recovered(topic))?;
        let ends = self.log.prepare(topics)?;
        let mut state = self.state();
        for (topic, end) in &ends {
            for (base, frame) in state.topics.appended.remove(topic).unwrap_or_default() {
                state.topics.prepared.extend(frames::records(topic, base, Kind::Transaction, &frame));
                let live = Live { base, next: base + u64::from(frame.count), parts: parts_of(frame.body.len()) };
                state.topics.written(topic, live);
            }
            state.topics.ends.insert(topic.clone(), *end);
        }
        Ok(ends.into_iter().map(|(topic, end)| (topic, End::at(end.offset))).collect())
    }

    fn commit(&self, epoch: Epoch, ends: &Ends) -> Result<(), CommitError> {
        let state = self.state();
        state.check()?;
        let here = |(topic, end): (&String, &End)| {
            let here = state.topics.ends.get(topic).filter(|here| here.offset == end.offset);
            (topic.clone(), here.copied().unwrap_or(End::at(end.offset)))
        };
        let ends = ends.iter().map(here).collect();
        self.log.commit(epoch, &ends)
    }

    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        if frames.is_empty() || frames.iter().any(|frame| frame.count == 0) {
            return self.log.publish(topic, frames);
        }
        self.must_be(topic, Kind::Publication, "publish to")?;
        let _one_by_one = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.log.end(topic)?;
        {
            let mut state = self.state();
            let mut base = first;
            for frame in &frames {
                state.pending.frames.extend(frames::records(topic, base, Kind::Publication, frame));
                let live = Live { base, next: base + u64::from(frame.count), parts: parts_of(frame.body.len()) };
                state.topics.written(topic, live);
                base = live.next;
            }
            state.pending.published.push((topic.to_owned(), frames));
        }
        self.flush().map_err(failed)?;
        Ok(first)
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
        let mut state = self.state();
        // Files stay until the changelog has heard that they are not needed: a transaction may be aborted, and the next process then looks
        // for their frames.
        let written = state.place.oldest.get(topic).copied().unwrap_or_default();
        let Some(oldest) = state.oldest(topic) else { return Ok(()) };
        if below > oldest {
            let own = state.topics.live.get(topic).and_then(|live| live.front()).map_or(u64::MAX, |live| live.base);
            let mut dead = if own > oldest { self.walk(topic, oldest, below.min(own))? } else { vec![] };
            let live = state.topics.live.entry(topic.to_owned()).or_default();
            while let Some(frame) = live.pop_front_if(|frame| frame.next <= below) {
                dead.push(frame);
            }
            if let Some(last) = dead.last() {
                state.pending.moved.insert(topic.to_owned(), last.next);
            }
            let removals = dead.iter().flat_map(|frame| frames::removals(topic, frame.base, frame.parts));
            state.pending.frames.extend(removals);
        }
        drop(state);
        self.log.release(topic, written.min(below))
    }

    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError> {
        self.log.begin(topic, offset)
    }

    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        self.log.topics(prefix)
    }

    fn events(&self) -> Vec<Event> {
        let task = || Partition::new(self.scope.topics.trim_end_matches('/'), 0);
        match self.ownership.as_ref().and_then(|ownership| ownership.parting()) {
            None => self.log.events(),
            Some(Parting::Asked) => vec![Event::Revoked(task())],
            Some(Parting::Gone) => vec![Event::Lost(task())],
        }
    }
}
