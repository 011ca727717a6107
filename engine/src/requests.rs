//! What was asked of a process over its API: the newest requests, and the newest calls that changed something.
//!
//! | key | value |
//! |---|---|
//! | `q/<number>` | [`Request`] |
//! | `u/<number>` | [`Call`] |
//!
//! Whoever answers collects them in memory and notes many at once; a killed process has not noted its last second.

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore, StoreError},
};

/// Of each kind, the newest that are kept: in a few megabytes what a busy dashboard asks in a quarter of an hour, and calls of months.
pub const KEPT: u64 = 10_000;

const REQUESTS: &[u8] = b"q/";
const CALLS: &[u8] = b"u/";

/// One request, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub time: Micros,
    /// As in the header of the answer.
    pub id: String,
    pub method: String,
    /// With the names of its parameters, not their values; empty where there is no such route.
    pub route: String,
    pub status: u16,
    /// Microseconds until the answer began.
    pub duration: u64,
    /// The name of a token, or `local`.
    pub who: String,
}

/// A call that changed something, or was to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub time: Micros,
    /// Of the request.
    pub id: String,
    pub who: String,
    /// `POST /v1/schedules/{pipeline}/pause`
    pub action: String,
    /// The path as it was called.
    pub target: String,
    pub status: u16,
    /// `done`, or the slug of the problem.
    pub outcome: String,
}

/// Where the next ones go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    request: u64,
    call: u64,
}

impl Next {
    pub fn of(store: &dyn StateStore) -> Result<Self, StoreError> {
        Ok(Self { request: next(store, REQUESTS)?, call: next(store, CALLS)? })
    }
}

fn next(store: &dyn StateStore, prefix: &[u8]) -> Result<u64, StoreError> {
    let mut next = 0;
    store.scan(prefix, &mut |key, _| {
        let number = key[prefix.len()..].try_into().map(u64::from_be_bytes);
        next = next.max(number.map_or(0, |number| number + 1));
        true
    })?;
    Ok(next)
}

fn key(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

/// Notes what was collected, in one step; the oldest ones make room.
pub fn note(store: &dyn StateStore, at: &mut Next, requests: &[Request], calls: &[Call]) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    let mut next = *at;
    for request in requests {
        put(&mut changes, REQUESTS, &mut next.request, request);
    }
    for call in calls {
        put(&mut changes, CALLS, &mut next.call, call);
    }
    store.apply(changes)?;
    *at = next;
    Ok(())
}

fn put<T: Serialize>(changes: &mut Changes, prefix: &[u8], next: &mut u64, record: &T) {
    checkpoint::put(changes, key(prefix, *next), record);
    if let Some(gone) = next.checked_sub(KEPT) {
        changes.remove(key(prefix, gone));
    }
    *next += 1;
}

/// The requests that are kept, the oldest first.
pub fn read_requests(store: &dyn StateStore) -> Result<Vec<Request>, ReadError> {
    checkpoint::read_all(store, REQUESTS)
}

/// The calls that are kept, the oldest first.
pub fn read_calls(store: &dyn StateStore) -> Result<Vec<Call>, ReadError> {
    checkpoint::read_all(store, CALLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn request(time: Micros) -> Request {
        let (id, method, route) = (time.to_string(), "GET".to_owned(), "/v1/runs".to_owned());
        Request { time, id, method, route, status: 200, duration: 7, who: "ada".to_owned() }
    }

    fn call(time: Micros) -> Call {
        let (action, target) = ("POST /v1/x/{x}".to_owned(), "/v1/x/y".to_owned());
        Call {
            time,
            id: time.to_string(),
            who: "ada".to_owned(),
            action,
            target,
            status: 200,
            outcome: "done".to_owned(),
        }
    }

    #[test]
    fn the_newest_are_kept_over_restarts_and_the_oldest_make_room() {
        let store = MemoryStore::new();
        let mut at = Next::of(&store).unwrap();
        note(&store, &mut at, &[request(-2), request(-1)], &[call(5)]).unwrap();
        let mut at = Next::of(&store).unwrap();
        let more: Vec<Request> = (0..KEPT as Micros).map(request).collect();
        for some in more.chunks(999) {
            note(&store, &mut at, some, &[]).unwrap();
        }
        note(&store, &mut at, &[], &[call(6)]).unwrap();
        assert_eq!((read_requests(&store).unwrap(), read_calls(&store).unwrap()), (more, vec![call(5), call(6)]));
    }
}
