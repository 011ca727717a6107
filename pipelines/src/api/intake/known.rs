//! Which deliveries of a path are here already.
//!
//! The log is the truth: a delivery lies in the frame with its records. Here is the index of it, in memory. What the log may
//! forget is written to the store first, many at a time, with the offset up to which it is complete ([`Remembered`]); after a
//! crash the frames behind that offset are read again. So a delivery that was acknowledged is known, and one that was not is
//! not, whenever the process dies.
//!
//! The index is bounded in time (`remember`) and in number ([`MOST`]). It is kept in generations, of which the oldest goes as a
//! whole.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use syncline_connectors::{
    ingest::{self, Sent},
    webhook::Delivery,
};
use syncline_engine::{
    checkpoint::ReadError,
    intake::{self, Remembered},
    log::{Log, LogError},
    store::{Changes, StateStore},
};
use syncline_record::Micros;

use super::IntakeError;

/// Deliveries that are known at once: four a second for three days, in about 50 MB.
pub const MOST: usize = 1 << 20;
/// A path that takes more forgets an eighth at a time.
const GENERATIONS: usize = 8;
/// Deliveries of one value in the store: values stay below 64 KiB.
const SEGMENT: usize = 2_700;
const ENTRY: usize = 24;
const FORMAT: u8 = 1;
/// Format and time.
const HEAD: usize = 1 + 8;
/// Bytes of the log that are read at once while it is gone through.
const READ: usize = 4 << 20;
/// Deliveries, and bytes of the log, that are gone through after a crash at most: a second of work.
const UNWRITTEN: usize = 8_192;
const UNWRITTEN_BYTES: u64 = 32 << 20;

/// What a delivery is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    New,
    /// It is here.
    Again,
    /// Its id is here, with another body.
    Replayed,
}

#[derive(Default)]
struct Generation {
    number: u64,
    first: Micros,
    last: Micros,
    /// Segments of it in the store.
    segments: u64,
    ids: HashMap<u128, u64, BuildHasherDefault<Fingerprint>>,
}

/// What was on its way to the store.
pub struct Writing {
    unwritten: Vec<(u64, Delivery)>,
    bytes: u64,
    forgotten: Vec<Vec<u8>>,
    written: Option<Remembered>,
}

/// A fingerprint is a hash already.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
}

/// The deliveries of one topic.
pub struct Known {
    topic: String,
    window: Micros,
    most: usize,
    generations: VecDeque<Generation>,
    /// Number of the next generation.
    next: u64,
    /// Deliveries that are not in the store, with the number of their generation.
    unwritten: Vec<(u64, Delivery)>,
    unwritten_bytes: u64,
    /// Keys of generations that are forgotten, and still in the store.
    forgotten: Vec<Vec<u8>>,
    remembered: Remembered,
    /// What `remembered` is in the store.
    written: Option<Remembered>,
}

impl Known {
    /// What the store and the log know of a topic.
    pub fn load(topic: &str, window: Micros, store: &dyn StateStore, log: &dyn Log) -> Result<Known, IntakeError> {
        let mut known = Known::new(topic, window, MOST);
        known.read_store(store)?;
        known.read_log(log)?;
        Ok(known)
    }

    pub(super) fn new(topic: &str, window: Micros, most: usize) -> Known {
        Known {
            topic: topic.to_owned(),
            window,
            most,
            generations: VecDeque::new(),
            next: 0,
            unwritten: vec![],
            unwritten_bytes: 0,
            forgotten: vec![],
            remembered: Remembered::default(),
            written: None,
        }
    }

    /// How long deliveries are known from now on.
    pub fn remember(&mut self, window: Micros) {
        self.window = window;
    }

    pub fn see(&self, delivery: &Delivery) -> Sight {
        for generation in self.generations.iter().rev() {
            match generation.ids.get(&delivery.id) {
                Some(body) if *body == delivery.body => return Sight::Again,
                Some(_) => return Sight::Replayed,
                None => {}
            }
        }
        Sight::New
    }

    /// A request that is durable now: up to `next`, in so many bytes.
    pub fn add(&mut self, delivery: Option<Delivery>, next: u64, bytes: u64, now: Micros) {
        self.remembered.next = self.remembered.next.max(next);
        self.remembered.accepted.requests += 1;
        self.remembered.accepted.last = self.remembered.accepted.last.max(now);
        self.unwritten_bytes += bytes;
        let Some(delivery) = delivery else { return };
        self.forget(now);
        let newest = self.newest(now);
        newest.last = newest.last.max(now);
        newest.ids.insert(delivery.id, delivery.body);
        let number = newest.number;
        self.unwritten.push((number, delivery));
    }

    /// How much of the log is behind the store.
    pub fn is_due(&self) -> bool {
        self.unwritten.len() >= UNWRITTEN || self.unwritten_bytes >= UNWRITTEN_BYTES
    }

    /// Requests that were accepted since there is a log, and the last of them.
    pub fn remembered(&self) -> Remembered {
        self.remembered
    }

    /// Adds what the store does not have yet to `changes`; it counts as written from now on. Whoever cannot write it gives it back.
    pub fn write(&mut self, changes: &mut Changes) -> Writing {
        for key in &self.forgotten {
            changes.remove(key.clone());
        }
        let mut generations = std::mem::take(&mut self.generations);
        for generation in &mut generations {
            let ids: Vec<Delivery> = self.unwritten_of(generation).collect();
            for chunk in ids.chunks(SEGMENT) {
                let key = key(&self.topic, generation.number, generation.segments);
                changes.put(key, segment(generation.last, chunk));
                generation.segments += 1;
            }
        }
        self.generations = generations;
        if self.written != Some(self.remembered) {
            intake::put_remembered(changes, &self.topic, &self.remembered);
        }
        Writing {
            unwritten: std::mem::take(&mut self.unwritten),
            bytes: std::mem::take(&mut self.unwritten_bytes),
            forgotten: std::mem::take(&mut self.forgotten),
            written: self.written.replace(self.remembered),
        }
    }

    /// It could not be written: the next [`write`](Self::write) takes it along. Its segments get other numbers then; those that they
    /// had stay free.
    pub fn give_back(&mut self, failed: Writing) {
        let newer = std::mem::replace(&mut self.unwritten, failed.unwritten);
        self.unwritten.extend(newer);
        self.unwritten_bytes += failed.bytes;
        self.forgotten.extend(failed.forgotten);
        self.written = failed.written;
    }

    fn unwritten_of(&self, generation: &Generation) -> impl Iterator<Item = Delivery> {
        let number = generation.number;
        self.unwritten.iter().filter(move |(of, _)| *of == number).map(|(_, delivery)| *delivery)
    }

    /// The generation that takes the next one.
    fn newest(&mut self, now: Micros) -> &mut Generation {
        let (most, span) = (self.most / GENERATIONS, self.window / GENERATIONS as Micros);
        let full = |generation: &Generation| generation.ids.len() >= most || now - generation.first >= span;
        if self.generations.back().is_none_or(full) {
            self.generations.push_back(Generation {
                number: self.next,
                first: now,
                last: now,
                ..Generation::default()
            });
            self.next += 1;
        }
        let last = self.generations.len() - 1;
        &mut self.generations[last]
    }

    /// Lets generations go whose time is over, or whose place is needed.
    pub fn forget(&mut self, now: Micros) {
        while let Some(oldest) = self.generations.front() {
            let over = oldest.last.saturating_add(self.window) < now;
            if !over && self.len() < self.most {
                break;
            }
            if !over {
                tracing::warn!(
                    topic = self.topic,
                    "more than {} deliveries within `remember`: the oldest {} are forgotten before their time",
                    self.most,
                    oldest.ids.len()
                );
            }
            let Generation { number, segments, .. } = *oldest;
            self.forgotten.extend((0..segments).map(|sequence| key(&self.topic, number, sequence)));
            self.generations.pop_front();
        }
    }

    fn len(&self) -> usize {
        self.generations.iter().map(|generation| generation.ids.len()).sum()
    }

    pub(super) fn read_store(&mut self, store: &dyn StateStore) -> Result<(), IntakeError> {
        let prefix = intake::deliveries_prefix(&self.topic);
        let mut damaged = None;
        let generations = &mut self.generations;
        store.scan(&prefix, &mut |key, value| {
            let read = numbers(&key[prefix.len()..]).zip(entries(value));
            let Some(((number, sequence), (last, deliveries))) = read else {
                damaged = Some(String::from_utf8_lossy(key).replace('\0', " "));
                return false;
            };
            if generations.back().is_none_or(|newest| newest.number != number) {
                generations.push_back(Generation { number, first: last, last, ..Generation::default() });
            }
            if let Some(newest) = generations.back_mut() {
                newest.last = newest.last.max(last);
                newest.segments = sequence + 1;
                newest.ids.extend(deliveries);
            }
            true
        })?;
        if let Some(key) = damaged {
            return Err(ReadError::Damaged { key, detail: "deliveries that cannot be read".into() }.into());
        }
        self.next = self.generations.back().map_or(0, |newest| newest.number + 1);
        self.written = intake::read_remembered(store, &self.topic)?;
        self.remembered = self.written.unwrap_or_default();
        Ok(())
    }

    /// Goes through the frames that the store does not cover.
    fn read_log(&mut self, log: &dyn Log) -> Result<(), IntakeError> {
        let end = log.end(&self.topic)?;
        if end < self.remembered.next {
            // Another log than the one that held them: what it lost must be taken when it is sent again.
            tracing::warn!(
                topic = self.topic,
                "the log ends before the deliveries that are remembered: they are forgotten"
            );
            let gone = std::mem::take(&mut self.generations);
            let keys =
                gone.iter().flat_map(|one| (0..one.segments).map(|sequence| key(&self.topic, one.number, sequence)));
            self.forgotten.extend(keys.collect::<Vec<_>>());
            self.remembered = Remembered { next: 0, ..self.remembered };
        }
        let mut next = self.remembered.next;
        while next < end {
            let frames = match log.read(&self.topic, next, READ) {
                Err(LogError::Gone { oldest, .. }) if oldest > next => {
                    next = oldest;
                    continue;
                }
                frames => frames?,
            };
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                next = frame.next();
                let sent = ingest::sent(&frame.body).map_err(|error| LogError::Damaged {
                    topic: self.topic.clone(),
                    offset: frame.base,
                    detail: error.to_string(),
                })?;
                if let Sent::Verified(delivery) = sent {
                    self.add(delivery, next, frame.body.len() as u64, frame.time);
                }
            }
        }
        self.remembered.next = self.remembered.next.max(next);
        Ok(())
    }
}

fn key(topic: &str, generation: u64, sequence: u64) -> Vec<u8> {
    [&intake::deliveries_prefix(topic)[..], &generation.to_be_bytes(), &sequence.to_be_bytes()].concat()
}

fn numbers(key: &[u8]) -> Option<(u64, u64)> {
    let (generation, sequence) = key.split_at_checked(8)?;
    Some((u64::from_be_bytes(generation.try_into().ok()?), u64::from_be_bytes(sequence.try_into().ok()?)))
}

fn segment(last: Micros, deliveries: &[Delivery]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + deliveries.len() * ENTRY);
    value.push(FORMAT);
    value.extend_from_slice(&last.to_le_bytes());
    for delivery in deliveries {
        value.extend_from_slice(&delivery.id.to_le_bytes());
        value.extend_from_slice(&delivery.body.to_le_bytes());
    }
    value
}

type Entries = (Micros, Vec<(u128, u64)>);

fn entries(value: &[u8]) -> Option<Entries> {
    let (head, rest) = value.split_at_checked(HEAD)?;
    if head[0] != FORMAT || !rest.len().is_multiple_of(ENTRY) {
        return None;
    }
    let entry = |entry: &[u8]| {
        let (id, body) = entry.split_at_checked(16)?;
        Some((u128::from_le_bytes(id.try_into().ok()?), u64::from_le_bytes(body.try_into().ok()?)))
    };
    Some((Micros::from_le_bytes(head[1..].try_into().ok()?), rest.chunks(ENTRY).map(entry).collect::<Option<_>>()?))
}
