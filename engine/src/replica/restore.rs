//! Makes a folder's copy of a task what its changelog says: the same code after a clean stop, after a crash, and on a new machine.
//!
//! A copy that is not a hundredth in doubt is read on from its place. Any doubt, and it is thrown away and made from the beginning.

use std::collections::BTreeMap;

use syncline_record::Micros;

use super::{
    EMPTIED, FRAME, IDENTITY, OLDEST, PAIR, Place, Scope,
    frames::{self, Kind},
};
use crate::{
    changelog::{Changelog, ChangelogError, Span},
    checkpoint::{self, ReadError},
    log::{End, Ends, LogError, NewFrame},
    runtime::Ground,
    store::{Changes, StoreError},
};

/// A removed key may be gone from a changelog after a day (`delete.retention.ms`); a copy older than half of that may have missed it (W12).
const FORGETS: Micros = 12 * 3600 * 1_000_000;

/// Bytes that are applied at once.
const PIECE: usize = 8 << 20;

/// Brings the copy up to the changelog. The changelog is open afterwards, and whoever wrote it before is fenced.
pub fn bring_up(
    ground: &Ground,
    scope: &Scope,
    mut changelog: Box<dyn Changelog>,
    anew: bool,
) -> Result<(Box<dyn Changelog>, Place), StoreError> {
    let mut span = changelog.open()?;
    let id = match identity(&mut *changelog, span)? {
        Some(id) => id,
        None => {
            let id = ground.rng.id();
            span.end = changelog.write(&[(vec![IDENTITY], Some(id.clone().into_bytes()))], &[])?;
            id
        }
    };
    let place = read_place(ground, scope)?;
    let here = ground.store.get(&scope.checkpoint)?.is_some();
    if let (Some(detail), false) = (stranger(place.as_ref(), here, &id, span), anew) {
        return Err(ChangelogError::Foreign { name: changelog.name().to_owned(), detail }.into());
    }
    let place = copy(ground, scope, &mut *changelog, span, place, id)?;
    Ok((changelog, place))
}

/// The same for a copy that stands by: what is not decided yet is left for later, and nobody is fenced.
pub fn follow(
    ground: &Ground,
    scope: &Scope,
    changelog: &mut dyn Changelog,
    known: &mut Option<(String, Span)>,
) -> Result<(), StoreError> {
    let span = changelog.look()?;
    // One that did not shrink is taken for the same. Whoever takes over looks at the id himself.
    let same = known.take().filter(|(_, before)| before.oldest == span.oldest && before.end <= span.end);
    let id = match same {
        Some((id, _)) => id,
        None => match identity(changelog, span)? {
            Some(id) => id,
            None => return Ok(()),
        },
    };
    *known = Some((id.clone(), span));
    let place = read_place(ground, scope)?;
    let here = ground.store.get(&scope.checkpoint)?.is_some();
    if let Some(detail) = stranger(place.as_ref(), here, &id, span) {
        return Err(ChangelogError::Foreign { name: changelog.name().to_owned(), detail }.into());
    }
    copy(ground, scope, changelog, span, place, id).map(drop)
}

fn read_place(ground: &Ground, scope: &Scope) -> Result<Option<Place>, StoreError> {
    match checkpoint::read::<Place>(&*ground.store, &scope.place) {
        Ok(place) => Ok(place),
        // It says nothing: then there is no copy.
        Err(ReadError::Damaged { .. } | ReadError::Newer { .. }) => Ok(Some(Place::default())),
        Err(ReadError::Store(error)) => Err(error),
    }
}

/// Reads on from where the copy is, or makes it anew.
fn copy(
    ground: &Ground,
    scope: &Scope,
    changelog: &mut dyn Changelog,
    span: Span,
    place: Option<Place>,
    id: String,
) -> Result<Place, StoreError> {
    let now = ground.clock.now();
    if let Some(place) = place.filter(|place| goes_on(place, &id, span, now)) {
        match Restoring::new(ground, scope, place, false).read(changelog, span) {
            Ok(place) => return Ok(place),
            Err(Stop::Doubt(why)) => tracing::warn!(changelog = changelog.name(), "the copy here is made anew: {why}"),
            Err(Stop::Store(error)) => return Err(error),
        }
    }
    let place = Place { id, next: span.oldest, unfinished: true, ..Place::default() };
    throw_away(ground, scope, &place)?;
    match Restoring::new(ground, scope, place, true).read(changelog, span) {
        Ok(place) => Ok(place),
        Err(Stop::Store(error)) => Err(error),
        Err(Stop::Doubt(detail)) => {
            Err(ChangelogError::Damaged { name: changelog.name().to_owned(), offset: span.oldest, detail }.into())
        }
    }
}

/// The id that the first record says; none where nothing is written yet.
fn identity(changelog: &mut dyn Changelog, span: Span) -> Result<Option<String>, ChangelogError> {
    let name = changelog.name().to_owned();
    let mut found = None;
    let read = changelog.read(span.oldest, span.end, &mut |offset, key, value| {
        let id = value.filter(|_| key == [IDENTITY]).map(|id| String::from_utf8_lossy(id).into_owned());
        found = Some((offset, id));
        // One is enough.
        Err(ChangelogError::Damaged { name: name.clone(), offset, detail: String::new() })
    });
    match found {
        None => read.map(|()| None),
        Some((_, Some(id))) => Ok(Some(id)),
        Some((offset, None)) => {
            let detail = "it does not begin as a changelog does; name another topic".to_owned();
            Err(ChangelogError::Damaged { name, offset, detail })
        }
    }
}

/// Why this folder and this changelog may not be put together: one of them would lose what it has.
fn stranger(place: Option<&Place>, here: bool, id: &str, span: Span) -> Option<String> {
    match place {
        None if here => Some("the pipeline ran here without one, and what it kept is not in it".to_owned()),
        Some(place) if !place.id.is_empty() && place.id != id => {
            Some(format!("what is kept here was written to another one under this name ({}, now {id})", place.id))
        }
        Some(place) if place.next > span.end => {
            Some(format!("it ends at record {}, and what is kept here goes up to {}", span.end, place.next))
        }
        _ => None,
    }
}

fn goes_on(place: &Place, id: &str, span: Span, now: Micros) -> bool {
    !place.unfinished
        && place.id == id
        && (span.oldest..=span.end).contains(&place.next)
        && now.saturating_sub(place.time) < FORGETS
}

pub fn throw_away(ground: &Ground, scope: &Scope, place: &Place) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    for prefix in &scope.prefixes {
        ground.store.scan(prefix, &mut |key, _| {
            changes.remove(key);
            true
        })?;
    }
    scope.keys.iter().for_each(|key| changes.remove(key.as_slice()));
    checkpoint::put(&mut changes, scope.place.clone(), place);
    ground.store.apply(changes)?;
    ground.store.flush()?;
    Ok(ground.log.recover(&[&scope.topics], &Ends::new())?)
}

/// Why a copy is not brought up.
enum Stop {
    /// It and the changelog do not fit together.
    Doubt(String),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A log that is not as it should be is no reason to stop: it is a copy.
impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Damaged { .. } | LogError::Short { .. } | LogError::Gone { .. } => Self::Doubt(error.to_string()),
            error => Self::Store(error.into()),
        }
    }
}

struct Restoring<'a> {
    ground: &'a Ground,
    scope: &'a Scope,
    place: Place,
    /// From the beginning, into nothing.
    whole: bool,
    pairs: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
    /// Topics that are written, and the number of their next record.
    next: BTreeMap<String, u64>,
    /// Of a frame in several records, what was read of it.
    begun: Vec<u8>,
    /// By topic, what is published at once: each time is a sync.
    published: BTreeMap<String, Published>,
}

/// Frames without a gap.
struct Published {
    next: u64,
    frames: Vec<NewFrame>,
}

impl<'a> Restoring<'a> {
    fn new(ground: &'a Ground, scope: &'a Scope, place: Place, whole: bool) -> Self {
        let (pairs, next, published) = Default::default();
        Self { ground, scope, place, whole, pairs, bytes: 0, next, begun: vec![], published }
    }

    fn read(mut self, changelog: &mut dyn Changelog, span: Span) -> Result<Place, Stop> {
        let (mut stop, from) = (None, self.place.next);
        let name = changelog.name().to_owned();
        let read = changelog.read(from, span.end, &mut |offset, key, value| {
            self.take(key, value).map_err(|why| {
                stop = Some(why);
                // Only so that reading ends: what is said is `stop`.
                ChangelogError::Damaged { name: name.clone(), offset, detail: String::new() }
            })
        });
        if let Some(stop) = stop {
            return Err(stop);
        }
        read.map_err(StoreError::from)?;
        // One that stands by reads a little now and then.
        if self.whole || span.end > from + 1000 {
            tracing::info!(changelog = changelog.name(), from, to = span.end, whole = self.whole, "restored");
        }
        self.finish(span.end)
    }

    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Stop> {
        match key.split_first() {
            Some((&PAIR, pair)) => self.pair(pair, value),
            Some((&EMPTIED, topic)) => self.emptied(topic),
            Some((&OLDEST, topic)) => self.oldest(topic, value),
            Some((&FRAME, _)) => match value {
                Some(value) => self.frame(key, value),
                None => Ok(()),
            },
            Some((&IDENTITY, _)) => Ok(()),
            _ => Err(Stop::Doubt("a record is none of ours: a newer version wrote it, or somebody else".to_owned())),
        }
    }

    fn pair(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Stop> {
        self.bytes += key.len() + value.map_or(0, <[u8]>::len);
        self.pairs.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        if self.bytes >= PIECE {
            self.apply()?;
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<(), Stop> {
        let mut changes = Changes::default();
        for (key, value) in std::mem::take(&mut self.pairs) {
            match value {
                Some(value) => changes.put(key, value),
                None => changes.remove(key),
            }
        }
        self.bytes = 0;
        let published = std::mem::take(&mut self.published);
        published.into_iter().try_for_each(|(topic, Published { frames, .. })| self.show(&topic, frames))?;
        match self.whole {
            // Nobody reads it before it is finished.
            true => Ok(self.ground.store.fill(changes)?),
            false => Ok(self.ground.store.apply(changes)?),
        }
    }

    fn oldest(&mut self, topic: &[u8], value: Option<&[u8]>) -> Result<(), Stop> {
        let oldest = value.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
        let (Ok(topic), Some(oldest)) = (std::str::from_utf8(topic), oldest) else {
            return Err(Stop::Doubt("a record says of no topic how old it is".to_owned()));
        };
        self.place.oldest.insert(topic.to_owned(), oldest);
        Ok(())
    }

    /// What was read of the topic is of an earlier life, also where its numbers are those of records that come.
    fn emptied(&mut self, topic: &[u8]) -> Result<(), Stop> {
        let Ok(topic) = std::str::from_utf8(topic) else {
            return Err(Stop::Doubt("a record says of no topic that it is empty".to_owned()));
        };
        self.published.remove(topic);
        self.ground.log.recover(&[], &Ends::from([(topic.to_owned(), End::default())]))?;
        self.place.oldest.remove(topic);
        self.next.insert(topic.to_owned(), 0);
        Ok(())
    }

    fn frame(&mut self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        let (Some((topic, base, number)), Some(part)) = (frames::place_of(key), frames::read(value)) else {
            return Err(Stop::Doubt("a frame's record cannot be read".to_owned()));
        };
        if number == 0 {
            self.begun.clear();
        }
        self.begun.extend_from_slice(part.body);
        if number + 1 < part.parts {
            return Ok(());
        }
        let frame = NewFrame { count: part.count, time: part.time, body: std::mem::take(&mut self.begun) };
        match part.kind {
            Kind::Transaction => self.append(topic, base, frame),
            Kind::Publication => self.publish(topic, base, frame),
        }
    }

    fn append(&mut self, topic: &str, base: u64, frame: NewFrame) -> Result<(), Stop> {
        let log = &*self.ground.log;
        let after = base + u64::from(frame.count);
        match self.next.get(topic) {
            Some(next) if *next == base => {}
            // What the copy has from here on was perhaps never committed; or it was, and no checkpoint came to name it.
            None => self.cut(topic, base)?,
            Some(next) if *next > base => {
                log.prepare(&[topic.to_owned()])?;
                self.cut(topic, base)?;
            }
            Some(_) => self.begin(topic, base)?,
        }
        log.append(topic, frame)?;
        self.next.insert(topic.to_owned(), after);
        Ok(())
    }

    fn cut(&self, topic: &str, base: u64) -> Result<(), Stop> {
        match self.ground.log.recover(&[], &Ends::from([(topic.to_owned(), End::at(base))])) {
            Err(LogError::Short { .. }) => self.begin(topic, base),
            // A frame of before the topic was emptied, of which the changelog has not read yet. One that is made from nothing has no other.
            Err(LogError::Damaged { .. }) if self.whole => self.begin(topic, base),
            recovered => Ok(recovered?),
        }
    }

    /// The records before `base` were let go of.
    fn begin(&self, topic: &str, base: u64) -> Result<(), Stop> {
        if !self.whole && self.place.oldest.get(topic).is_none_or(|oldest| *oldest < base) {
            return Err(Stop::Doubt(format!("{topic} has no record before {base}")));
        }
        Ok(self.ground.log.begin(topic, base)?)
    }

    fn publish(&mut self, topic: &str, base: u64, frame: NewFrame) -> Result<(), Stop> {
        let next = base + u64::from(frame.count);
        self.bytes += frame.body.len();
        match self.published.get_mut(topic) {
            Some(published) if published.next == base => {
                published.frames.push(frame);
                published.next = next;
            }
            _ => {
                if let Some(Published { frames, .. }) = self.published.remove(topic) {
                    self.show(topic, frames)?;
                }
                let end = self.ground.log.end(topic)?;
                if end > base && !self.whole {
                    return Ok(());
                }
                if end > base {
                    self.cut(topic, base)?;
                }
                if end < base {
                    self.begin(topic, base)?;
                }
                self.published.insert(topic.to_owned(), Published { next, frames: vec![frame] });
            }
        }
        if self.bytes >= PIECE { self.apply() } else { Ok(()) }
    }

    fn show(&self, topic: &str, frames: Vec<NewFrame>) -> Result<(), Stop> {
        self.ground.log.publish(topic, frames)?;
        Ok(())
    }

    fn finish(mut self, end: u64) -> Result<Place, Stop> {
        if !self.whole && self.place.next == end {
            return Ok(self.place);
        }
        self.ground.log.prepare(&self.next.keys().cloned().collect::<Vec<_>>())?;
        self.apply()?;
        self.place.next = end;
        self.place.time = self.ground.clock.now();
        self.place.unfinished = false;
        let mut changes = Changes::default();
        checkpoint::put(&mut changes, self.scope.place.clone(), &self.place);
        self.ground.store.apply(changes)?;
        self.ground.store.flush()?;
        Ok(self.place)
    }
}
