//! What happened to a pipeline beside its data: each start, failure, pause and end of its task, the newest ones.
//!
//! | key | value |
//! |---|---|
//! | `e/<pipeline> NUL <number>` | [`Event`] |
//!
//! Whoever runs pipelines notes them; no commit waits for that, and what a killed process did not note is told by its next start.

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore},
};

/// Events of a pipeline that are kept: one that fails every minute fills this in a day.
pub const KEPT_EVENTS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It works, from its last checkpoint on.
    Started,
    /// It failed, and will be started again.
    Failed,
    /// It failed, and will not.
    GivenUp,
    /// Its input was at its end; it looks again after a pause.
    Rested,
    /// Another process works on it.
    StoodBy,
    /// It was told to stop.
    Stopped,
    /// Nobody runs it until it is resumed.
    Paused,
    /// Its input was at its end.
    Ended,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Rested => "rested",
            Self::StoodBy => "stood_by",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub pipeline: String,
    /// From 1; grows by one.
    pub number: u64,
    pub time: Micros,
    pub kind: EventKind,
    /// The run and the attempt that it belongs to, where there is one yet.
    pub run: Option<u64>,
    pub attempt: Option<u64>,
    pub reason: Option<String>,
}

/// What the keys of a pipeline's events begin with.
pub fn prefix(pipeline: &str) -> Vec<u8> {
    [b"e/", pipeline.as_bytes(), b"\0"].concat()
}

fn key(pipeline: &str, number: u64) -> Vec<u8> {
    [prefix(pipeline).as_slice(), &number.to_be_bytes()].concat()
}

/// The events of a pipeline, the oldest first.
pub fn read_events(store: &dyn StateStore, pipeline: &str) -> Result<Vec<Event>, ReadError> {
    checkpoint::read_all(store, &prefix(pipeline))
}

/// Those behind `number`, the oldest first.
pub fn events_after(store: &dyn StateStore, pipeline: &str, number: u64) -> Result<Vec<Event>, ReadError> {
    let prefix = prefix(pipeline);
    let (mut events, mut problem) = (vec![], None);
    store.scan(&prefix, &mut |key, bytes| {
        let is_old = key[prefix.len()..].try_into().is_ok_and(|found| u64::from_be_bytes(found) <= number);
        match if is_old { Ok(None) } else { checkpoint::parse(key, bytes).map(Some) } {
            Ok(event) => events.extend(event),
            Err(error) => problem = Some(error),
        }
        problem.is_none()
    })?;
    problem.map_or(Ok(events), Err)
}

/// The pipelines that have events, by name.
pub fn pipelines(store: &dyn StateStore) -> Result<Vec<String>, ReadError> {
    let mut names: Vec<String> = vec![];
    store.scan(b"e/", &mut |key, _| {
        let name = key[2..].split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        if names.last().is_none_or(|last| *last != name) {
            names.push(name.into_owned());
        }
        true
    })?;
    Ok(names)
}

/// Notes an event; the oldest one makes room.
pub fn note(
    store: &dyn StateStore,
    pipeline: &str,
    kind: EventKind,
    reason: Option<String>,
    time: Micros,
) -> Result<(), ReadError> {
    let last: Option<Event> = checkpoint::read_last(store, &prefix(pipeline))?;
    let number = last.as_ref().map_or(1, |last| last.number + 1);
    let unfinished = last.is_some_and(|last| last.kind == EventKind::Started) && kind == EventKind::Started;
    let reason = reason.or_else(|| unfinished.then(|| "the attempt before ended without a word".to_owned()));
    let run = checkpoint::last_run(store, pipeline)?;
    let (run, attempt) = (run.as_ref().map(|run| run.run), run.as_ref().map(|run| run.attempt));
    let event = Event { pipeline: pipeline.to_owned(), number, time, kind, run, attempt, reason };
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, key(pipeline, number), &event);
    if let Some(gone) = number.checked_sub(KEPT_EVENTS) {
        changes.remove(key(pipeline, gone));
    }
    store.apply(changes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn events_are_numbered_and_the_oldest_make_room() {
        let store = MemoryStore::new();
        for time in 0..KEPT_EVENTS as i64 + 2 {
            note(&store, "p", EventKind::Failed, Some(format!("{time}")), time).unwrap();
        }
        note(&store, "p2", EventKind::Started, None, 0).unwrap();
        let events = read_events(&store, "p").unwrap();
        assert_eq!(events.len() as u64, KEPT_EVENTS);
        let (first, last) = (&events[0], &events[events.len() - 1]);
        assert_eq!((first.number, last.number), (3, KEPT_EVENTS + 2));
        assert_eq!((last.reason.as_deref(), last.run), (Some("1001"), None));
        let behind: Vec<u64> =
            events_after(&store, "p", KEPT_EVENTS).unwrap().iter().map(|event| event.number).collect();
        assert_eq!(behind, [KEPT_EVENTS + 1, KEPT_EVENTS + 2]);
        assert_eq!(events_after(&store, "p", 0).unwrap(), events);
        assert_eq!(pipelines(&store).unwrap(), ["p", "p2"]);
    }

    #[test]
    fn a_start_behind_a_start_says_that_there_was_no_word_between_them() {
        let store = MemoryStore::new();
        for kind in [EventKind::Started, EventKind::Started, EventKind::Stopped, EventKind::Started] {
            note(&store, "p", kind, None, 0).unwrap();
        }
        let reasons: Vec<_> =
            read_events(&store, "p").unwrap().into_iter().map(|event| event.reason.is_some()).collect();
        assert_eq!(reasons, [false, true, false, false]);
    }
}
