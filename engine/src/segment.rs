//! Segments: the durable form of a step's state.
//!
//! A segment is what one step changed in one epoch, in one generation. It is written once under a key of its own and never
//! changed; state is the sum of a step's live segments. Small ones are merged in the commit that removes them.
//!
//! ```text
//! key    s/ pipeline NUL step NUL generation (8 bytes, big endian) sequence (8 bytes, big endian)
//! value  format (1) crc32 of the rest (4) epoch (8) state digest (8) body
//! ```
//!
//! A body that is too large for one value (the state of a single group can be) is in several segments, one after the other, whose formats
//! say which one begins it, goes on and ends it. They are never merged.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use syncline_record::{Epoch, Generation, StepId};

use crate::{
    operator::{Damaged, Delta},
    store::{Changes, StateStore, StoreError},
};

pub const SEGMENT_FORMAT: u8 = 1;

/// Parts of a body: the first, one between, the last. No flipped bit makes one of another, or of a whole body.
const BEGINS: u8 = 2;
const GOES_ON: u8 = 4;
const ENDS: u8 = 8;

/// Largest body of one segment: sled writes values of this size without its slow path for large ones.
pub const SEGMENT_BYTES: usize = 64 << 10;

/// Beyond this a body is cut: bodies of about the size above stay whole, and the store takes no value of 96 KiB.
const WHOLE_BYTES: usize = 80 << 10;

/// A generation with this many small segments has them merged. Restoring and scanning pay per segment; merging pays per byte.
const MERGE_AT: usize = 16;

const HEAD: usize = 1 + 4 + 8 + 8;

/// What a start can meet.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{step}: segment {sequence} of generation {generation} is damaged: {detail}")]
    Damaged { step: StepId, generation: Generation, sequence: u64, detail: String },
    #[error("{step}: a segment has format {found}; this version reads {SEGMENT_FORMAT}")]
    Format { step: StepId, found: u8 },
}

/// A segment as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub epoch: Epoch,
    pub digest: u64,
    pub body: &'a [u8],
    format: u8,
}

pub fn prefix(pipeline: &str, step: &StepId) -> Vec<u8> {
    [b"s/", pipeline.as_bytes(), b"\0", step.as_str().as_bytes(), b"\0"].concat()
}

fn key(pipeline: &str, step: &StepId, generation: Generation, sequence: u64) -> Vec<u8> {
    let mut key = prefix(pipeline, step);
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

fn encode(epoch: Epoch, digest: u64, body: &[u8], format: u8) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + body.len());
    value.push(format);
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&epoch.to_le_bytes());
    value.extend_from_slice(&digest.to_le_bytes());
    value.extend_from_slice(body);
    let checksum = crc32fast::hash(&value[5..]);
    value[1..5].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// Reads a segment back, or says what is wrong with it.
pub fn decode(value: &[u8]) -> Result<Segment<'_>, Damaged> {
    if value.len() < HEAD {
        return Err(Damaged(format!("{} bytes are too few", value.len())));
    }
    let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap_or_default());
    let checksum = u32::from_le_bytes(value[1..5].try_into().unwrap_or_default());
    if crc32fast::hash(&value[5..]) != checksum {
        return Err(Damaged("its checksum does not fit".into()));
    }
    Ok(Segment { epoch: word(5), digest: word(13), body: &value[HEAD..], format: value[0] })
}

/// Generation and sequence from the end of a key.
pub fn place_of(key: &[u8]) -> Option<(Generation, u64)> {
    let (rest, sequence) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let (_, generation) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
    Some((u64::from_be_bytes(generation.try_into().ok()?), u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// Takes a body of a generation back.
pub type Take<'a> = dyn FnMut(Generation, &[u8]) -> Result<(), Damaged> + 'a;

/// A segment that is there.
#[derive(Clone, Copy, Debug)]
struct Live {
    sequence: u64,
    bytes: usize,
    /// It holds a part of a body, and stays where it is.
    part: bool,
}

/// A body whose segments are read one after the other.
#[derive(Default)]
struct Begun {
    body: Vec<u8>,
    parts: Vec<(Generation, u64, usize)>,
}

impl Begun {
    /// Takes the next segment in; the whole body when it was the last one.
    fn next(
        &mut self,
        generation: Generation,
        sequence: u64,
        value: &[u8],
        segment: &Segment,
    ) -> Result<Option<Vec<u8>>, Damaged> {
        let before = self.parts.last().map(|(generation, before, _)| (*generation, *before + 1));
        let follows = matches!(segment.format, GOES_ON | ENDS) && before == Some((generation, sequence));
        if !follows && (segment.format != BEGINS || before.is_some()) {
            return Err(Damaged("the one that goes before it is not there".into()));
        }
        self.body.extend_from_slice(segment.body);
        self.parts.push((generation, sequence, value.len()));
        Ok((segment.format == ENDS).then(|| std::mem::take(&mut self.body)))
    }
}

/// The live segments of one step: which there are, and how large.
pub struct Segments {
    pipeline: String,
    step: StepId,
    digest: u64,
    live: BTreeMap<Generation, Vec<Live>>,
    next: u64,
}

impl Segments {
    pub fn new(pipeline: &str, step: &StepId, digest: u64) -> Self {
        Self { pipeline: pipeline.into(), step: step.clone(), digest, live: BTreeMap::new(), next: 0 }
    }

    /// Reads every live segment, in order of generation and sequence.
    pub fn restore(&mut self, store: &dyn StateStore, take: &mut Take<'_>) -> Result<(), SegmentError> {
        let mut problem = None;
        let mut begun = Begun::default();
        let (step, digest) = (self.step.clone(), self.digest);
        let damaged = |generation, sequence, Damaged(detail)| SegmentError::Damaged {
            step: step.clone(),
            generation,
            sequence,
            detail,
        };
        store.scan(&prefix(&self.pipeline, &self.step), &mut |key, value| {
            let Some((generation, sequence)) = place_of(key) else { return true };
            if let Some(found) = value.first().filter(|found| ![SEGMENT_FORMAT, BEGINS, GOES_ON, ENDS].contains(found))
            {
                problem = Some(SegmentError::Format { step: step.clone(), found: *found });
                return false;
            }
            let read = decode(value).and_then(|segment| match segment.digest == digest {
                true if segment.format == SEGMENT_FORMAT && begun.parts.is_empty() => {
                    take(generation, segment.body).map(|()| vec![Live { sequence, bytes: value.len(), part: false }])
                }
                true => match begun.next(generation, sequence, value, &segment)? {
                    None => Ok(vec![]),
                    Some(whole) => {
                        let parts = std::mem::take(&mut begun.parts).into_iter();
                        let parts = parts.map(|(_, sequence, bytes)| Live { sequence, bytes, part: true }).collect();
                        take(generation, &whole).map(|()| parts)
                    }
                },
                false => Err(Damaged("it was written for another key, type or window".into())),
            });
            match read {
                Ok(live) => self.live.entry(generation).or_default().extend(live),
                Err(error) => {
                    problem = Some(damaged(generation, sequence, error));
                    return false;
                }
            }
            self.next = self.next.max(sequence + 1);
            true
        })?;
        if let (None, Some((generation, sequence, _))) = (&problem, begun.parts.last()) {
            problem = Some(damaged(*generation, *sequence, Damaged("what it goes on with is not there".into())));
        }
        problem.map_or(Ok(()), Err)
    }

    /// The same step with state of another digest: the segments that there are go, and new ones are numbered after them.
    pub fn replaced(self, digest: u64, changes: &mut Changes) -> Self {
        for (generation, live) in &self.live {
            live.iter().for_each(|live| changes.remove(key(&self.pipeline, &self.step, *generation, live.sequence)));
        }
        Self { digest, live: BTreeMap::new(), ..self }
    }

    /// Leaves the segments that there are alone, and numbers new ones after them.
    pub fn skip(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        store.scan(&prefix(&self.pipeline, &self.step), &mut |key, _| {
            if let Some((_, sequence)) = place_of(key) {
                self.next = self.next.max(sequence + 1);
            }
            true
        })
    }

    /// Adds what an epoch changed to the changes of its checkpoint.
    pub fn write(
        &mut self,
        epoch: Epoch,
        delta: Delta,
        store: &dyn StateStore,
        changes: &mut Changes,
    ) -> Result<(), SegmentError> {
        for generation in delta.expired {
            for live in self.live.remove(&generation).unwrap_or_default() {
                changes.remove(key(&self.pipeline, &self.step, generation, live.sequence));
            }
        }
        let mut bodies: BTreeMap<Generation, Vec<Vec<u8>>> = BTreeMap::new();
        for (generation, body) in delta.appended {
            bodies.entry(generation).or_default().push(body);
        }
        for (generation, appended) in bodies {
            let mut whole = self.take_small(generation, store, changes)?;
            whole.extend(appended);
            for body in packed(whole) {
                let each = if body.len() > WHOLE_BYTES { SEGMENT_BYTES } else { WHOLE_BYTES };
                let part = body.len() > each;
                let last = body.len().saturating_sub(1) / each;
                // An empty body is one too.
                for index in 0..=last {
                    let chunk = &body[index * each..body.len().min((index + 1) * each)];
                    let format = match index {
                        0 if last == 0 => SEGMENT_FORMAT,
                        0 => BEGINS,
                        _ if index == last => ENDS,
                        _ => GOES_ON,
                    };
                    let value = encode(epoch, self.digest, chunk, format);
                    let live = Live { sequence: self.next, bytes: value.len(), part };
                    self.live.entry(generation).or_default().push(live);
                    changes.put(key(&self.pipeline, &self.step, generation, self.next), value);
                    self.next += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes the small segments at the end of a generation out, when there are many of them.
    fn take_small(
        &mut self,
        generation: Generation,
        store: &dyn StateStore,
        changes: &mut Changes,
    ) -> Result<Vec<Vec<u8>>, SegmentError> {
        let live = self.live.entry(generation).or_default();
        let small = live.iter().rev().take_while(|live| !live.part && live.bytes < SEGMENT_BYTES / 2).count();
        if small < MERGE_AT {
            return Ok(vec![]);
        }
        let mut bodies = vec![];
        for Live { sequence, .. } in live.split_off(live.len() - small) {
            let key = key(&self.pipeline, &self.step, generation, sequence);
            let damaged =
                |detail: String| SegmentError::Damaged { step: self.step.clone(), generation, sequence, detail };
            let value = store.get(&key)?.ok_or_else(|| damaged("it is gone".into()))?;
            bodies.push(decode(&value).map_err(|Damaged(detail)| damaged(detail))?.body.to_vec());
            changes.remove(key);
        }
        Ok(bodies)
    }

    /// Bytes of the live segments.
    pub fn bytes(&self) -> u64 {
        self.live.values().flatten().map(|live| live.bytes as u64).sum()
    }
}

/// The same bodies in the same order, put together as long as they fit into a segment.
fn packed(bodies: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut packed: Vec<Vec<u8>> = vec![];
    for body in bodies {
        match packed.last_mut() {
            Some(last) if last.len() + body.len() <= SEGMENT_BYTES => last.extend_from_slice(&body),
            _ => packed.push(body),
        }
    }
    packed
}

/// Collects entries into bodies that fit into a segment.
#[derive(Default)]
pub struct Bodies(BTreeMap<Generation, Vec<Vec<u8>>>);

impl Bodies {
    /// Adds one entry, which is never split.
    pub fn add(&mut self, generation: Generation, entry: &[u8]) {
        let bodies = self.0.entry(generation).or_default();
        match bodies.last_mut() {
            Some(last) if last.len() + entry.len() <= SEGMENT_BYTES => last.extend_from_slice(entry),
            _ => bodies.push(entry.to_vec()),
        }
    }

    pub fn without(mut self, generations: &[Generation]) -> Vec<(Generation, Vec<u8>)> {
        self.0.retain(|generation, _| !generations.contains(generation));
        self.0
            .into_iter()
            .flat_map(|(generation, bodies)| bodies.into_iter().map(move |body| (generation, body)))
            .collect()
    }
}
