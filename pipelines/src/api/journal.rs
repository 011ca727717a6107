//! What was asked of this process, on its way into the tables `requests` and `audit_log`.
//!
//! A request adds a line in memory and waits for nothing; one task writes the lines down, many at a time. What a killed process has not
//! written is a second's worth. Records under `/in/`, `/healthz`, `/readyz` and `/metrics` are not requests of this kind: the first are
//! counted in `deliveries`, the others ask all the time and say nothing.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use syncline_engine::{
    requests::{self, Call, KEPT, Next, Request},
    store::{StateStore, StoreError},
};

use syncline_record::Micros;

use super::idempotency;

/// Routes that are not written down.
const SILENT: [&str; 4] = ["/in/{*path}", "/healthz", "/readyz", "/metrics"];

/// Lines that wait to be written. What would be pushed out in the store anyway is let go here.
#[derive(Default)]
struct Pending {
    requests: VecDeque<Request>,
    calls: VecDeque<Call>,
}

/// Of the calls of whom nobody knows, one in so long is written down among those that were to change something: anybody who reaches the
/// process can make as many as he likes, and the newest push the oldest out. All of them are requests.
const NOBODY_EVERY: Micros = 60 * 1_000_000;
/// Who he is.
pub const NOBODY: &str = "nobody";
/// Bytes of a path that are written down: our names are shorter.
const TARGET: usize = 512;

#[derive(Default)]
pub struct Journal {
    /// When the last call of nobody was written down.
    nobody: Mutex<Option<Micros>>,
    pending: Mutex<Pending>,
    /// Where the next lines go; known once they have been looked for.
    next: Mutex<Option<Next>>,
}

/// Whether a route is written down.
pub fn is_for(route: &str) -> bool {
    !SILENT.contains(&route)
}

/// Whether a call of a route is to change something.
pub fn changes(method: &str, route: &str) -> bool {
    let asks = route == "/v1/queries" || route == "/v1/queries/{id}";
    route.starts_with("/v1/")
        && !asks
        && (idempotency::is_for(method, route) || ["POST", "PUT", "DELETE"].contains(&method))
}

impl Journal {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, request: Request, call: Option<Call>) {
        let call = call.filter(|call| self.is_worth_it(call));
        let mut pending = self.pending();
        push(&mut pending.requests, request);
        if let Some(call) = call {
            push(&mut pending.calls, Call { target: cut(call.target), ..call });
        }
    }

    fn is_worth_it(&self, call: &Call) -> bool {
        if call.who != NOBODY {
            return true;
        }
        let mut last = self.nobody.lock().unwrap_or_else(PoisonError::into_inner);
        let is = last.is_none_or(|last| !(last..last + NOBODY_EVERY).contains(&call.time));
        if is {
            *last = Some(call.time);
        }
        is
    }

    /// Writes down what waits. Called where blocking is allowed. What cannot be written is tried again, as far as it is kept.
    pub fn write(&self, store: &dyn StateStore) -> Result<(), StoreError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *self.pending());
        if taken.requests.is_empty() && taken.calls.is_empty() {
            return Ok(());
        }
        let (requests, calls): (Vec<_>, Vec<_>) = (taken.requests.into(), taken.calls.into());
        let written = (|| {
            let mut at = match *next {
                Some(at) => at,
                None => Next::of(store)?,
            };
            requests::note(store, &mut at, &requests, &calls)?;
            // No commit of a pipeline may come behind it that would make it durable.
            store.flush()?;
            *next = Some(at);
            Ok(())
        })();
        if written.is_err() {
            let mut pending = self.pending();
            let newer = std::mem::take(&mut *pending);
            requests.into_iter().chain(newer.requests).for_each(|request| push(&mut pending.requests, request));
            calls.into_iter().chain(newer.calls).for_each(|call| push(&mut pending.calls, call));
        }
        written
    }
}

fn cut(mut target: String) -> String {
    if target.len() > TARGET {
        // A path is ASCII by now; what is not is cut at a letter.
        let end = (0..=TARGET).rev().find(|end| target.is_char_boundary(*end)).unwrap_or(0);
        target.truncate(end);
        target.push('…');
    }
    target
}

fn push<T>(lines: &mut VecDeque<T>, line: T) {
    if lines.len() as u64 >= KEPT {
        lines.pop_front();
    }
    lines.push_back(line);
}
