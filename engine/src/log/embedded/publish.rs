//! Group commit: callers that publish to a topic at the same time share one write and one sync.
//!
//! Whoever finds nobody writing takes everything that waits, writes it for all, and leaves the next round to one of those who
//! came meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::topic::Topic;
use crate::log::{LogError, NewFrame};

/// Frames of one caller, with the checksums of their bodies: each caller computes its own.
type Call = Vec<(NewFrame, u32)>;

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    tickets: u64,
    waiting: Vec<(u64, Call)>,
    results: BTreeMap<u64, Result<u64, LogError>>,
    writing: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topic {
    /// Offset of the first record; when it returns, the frames are durable and visible.
    pub fn publish(&self, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        if frames.is_empty() {
            return self.end();
        }
        frames.iter().try_for_each(|frame| self.check(frame))?;
        let call: Call = frames
            .into_iter()
            .map(|frame| {
                let crc = crc32fast::hash(&frame.body);
                (frame, crc)
            })
            .collect();
        let mut state = self.queue.state();
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting.push((ticket, call));
        loop {
            if let Some(result) = state.results.remove(&ticket) {
                return result;
            }
            if state.writing {
                state = self.queue.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.writing = true;
            let (tickets, calls): (Vec<u64>, Vec<Call>) = std::mem::take(&mut state.waiting).into_iter().unzip();
            drop(state);
            let written = self.publish_all(&calls);
            state = self.queue.state();
            state.writing = false;
            match written {
                Ok(bases) => state.results.extend(tickets.into_iter().zip(bases.into_iter().map(Ok))),
                Err(error) => state.results.extend(tickets.into_iter().map(|ticket| (ticket, Err(error.clone())))),
            }
            self.queue.done.notify_all();
        }
    }
}
