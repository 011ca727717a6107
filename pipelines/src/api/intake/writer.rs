//! The thread that writes one path's topic.
//!
//! It takes every request that waits and makes all of them durable with one sync, so that a hundred callers wait for one disk
//! write and not for a hundred. It alone says whether a delivery is here already: one that waits in the same round counts as here
//! only once the round is durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use syncline_connectors::webhook::Delivery;
use syncline_engine::{
    clock::Clock,
    intake::{self, Outcome},
    log::{Log, LogError, NewFrame},
    store::{Changes, StateStore},
};
use syncline_record::Micros;
use tokio::sync::{mpsc, oneshot};

use super::{
    IntakeError, State,
    known::{Known, Sight},
};

/// Bytes that one sync takes. More would make the first of them wait for the last.
const ROUND_BYTES: usize = 32 << 20;

/// What the thread is asked to do.
pub enum Work {
    Take(Call),
    /// Write down what is known and counted.
    Keep,
    /// Nobody will send any more.
    End,
}

/// One request's frames, and who waits for them.
pub struct Call {
    pub frames: Vec<NewFrame>,
    /// Which delivery it is, where its sender is verified and says so.
    pub delivery: Option<Delivery>,
    pub answer: oneshot::Sender<Result<Receipt, IntakeError>>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Durable; the offset of its first record.
    Kept { first: u64 },
    /// It was durable before.
    Duplicate,
}

pub struct Writer {
    pub topic: String,
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn StateStore>,
    pub clock: Arc<dyn Clock>,
    pub state: Arc<Mutex<State>>,
    pub known: Option<Known>,
}

impl Writer {
    /// Works until the path is closed.
    pub fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        // What cannot be read now is tried again with the first request, which is told.
        if let Err(error) = self.prepare() {
            tracing::error!(topic = self.topic, "what was taken before cannot be read: {error}");
        }
        while let Some(first) = waiting.blocking_recv() {
            let (mut calls, mut keep, mut end, mut bytes) = (vec![], false, false, 0);
            let mut next = Some(first);
            while let Some(work) = next {
                match work {
                    Work::End => {
                        end = true;
                        break;
                    }
                    Work::Take(call) => {
                        bytes += size(&call.frames);
                        calls.push(call);
                    }
                    Work::Keep => keep = true,
                }
                next = if bytes < ROUND_BYTES { waiting.try_recv().ok() } else { None };
            }
            self.round(calls);
            if end {
                break;
            }
            if keep || self.known.as_ref().is_some_and(Known::is_due) {
                self.keep();
            }
        }
        self.keep_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what is known of deliveries is there, where senders are verified.
    fn prepare(&mut self) -> Result<(), IntakeError> {
        let remember = self.state().remember;
        let Some(remember) = remember else {
            self.known = None;
            return Ok(());
        };
        if let Some(known) = &mut self.known {
            known.remember(remember);
            return Ok(());
        }
        let known = Known::load(&self.topic, remember, &*self.store, &*self.log)?;
        self.state().tally.accepted(known.remembered().accepted);
        self.known = Some(known);
        Ok(())
    }

    fn round(&mut self, calls: Vec<Call>) {
        if calls.is_empty() {
            return;
        }
        if let Err(error) = self.prepare() {
            tracing::error!(topic = self.topic, "what was taken before cannot be read: {error}");
            calls.into_iter().for_each(|call| drop(call.answer.send(Err(error.clone()))));
            return;
        }
        let now = self.clock.now();
        let mut round = Round::default();
        for call in calls {
            let sight = self.sight(&call, &round);
            round.add(call, sight);
        }
        let (published, bytes) = self.publish(&mut round);
        self.settle(round, published, bytes, now);
    }

    fn sight(&self, call: &Call, round: &Round) -> Sight {
        let (Some(known), Some(delivery)) = (&self.known, &call.delivery) else { return Sight::New };
        match round.deliveries.get(&delivery.id) {
            Some(body) if *body == delivery.body => Sight::Again,
            Some(_) => Sight::Replayed,
            None => known.see(delivery),
        }
    }

    /// One write and one sync for all frames of the round; where the first of them lies.
    fn publish(&self, round: &mut Round) -> (Result<u64, LogError>, u64) {
        let frames = std::mem::take(&mut round.frames);
        let bytes = size(&frames) as u64;
        if frames.is_empty() {
            return (Ok(0), 0);
        }
        (self.log.publish(&self.topic, frames), bytes)
    }

    /// Everybody is told what became of his request. A caller that has gone is not; his records are kept all the same.
    fn settle(&mut self, round: Round, published: Result<u64, LogError>, bytes: u64, now: Micros) {
        let mut next = *published.as_ref().unwrap_or(&0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if published.is_ok() && round.records > 0 {
            state.taken.push_back((next + round.records, bytes));
        }
        for told in round.told {
            let receipt = match (told.sight, &published) {
                (Sight::New, Ok(_)) => {
                    let first = next;
                    next += told.records;
                    if let Some(known) = &mut self.known {
                        known.add(told.delivery, next, told.bytes, now);
                    }
                    state.tally.count(Outcome::Accepted, "", now);
                    state.uncounted = true;
                    Ok(Receipt::Kept { first })
                }
                // One of the same round is here when the round is.
                (Sight::Again, Ok(_)) => Ok(Receipt::Duplicate),
                (Sight::Again, Err(error)) if told.in_round => Err(error.clone().into()),
                (Sight::Again, Err(_)) => Ok(Receipt::Duplicate),
                (Sight::Replayed, _) => Err(IntakeError::Replayed),
                (Sight::New, Err(error)) => Err(error.clone().into()),
            };
            let _ = told.answer.send(receipt);
        }
    }

    /// Writes down what is known and counted. What fails is tried again: after a crash it is read from the log.
    fn keep(&mut self) {
        let mut changes = Changes::default();
        let known = self.known.as_ref().filter(|known| known.is_due());
        if let Some(known) = known {
            known.write(&mut changes);
        }
        let wrote = known.is_some();
        self.write(changes, wrote);
    }

    /// The same at the end, whether or not it is worth its while.
    fn keep_all(&mut self) {
        let mut changes = Changes::default();
        if let Some(known) = &mut self.known {
            known.forget(self.clock.now());
            known.write(&mut changes);
        }
        let wrote = self.known.is_some();
        self.write(changes, wrote);
    }

    fn write(&mut self, mut changes: Changes, wrote: bool) {
        {
            let mut state = self.state();
            if state.uncounted {
                intake::put_intake(&mut changes, &state.intake(&self.topic));
                state.uncounted = false;
            }
        }
        if changes.is_empty() {
            return;
        }
        match self.store.apply(changes).and_then(|()| self.store.flush()) {
            Ok(()) if wrote => self.known.iter_mut().for_each(Known::wrote),
            Ok(()) => {}
            Err(error) => {
                self.state().uncounted = true;
                tracing::warn!(topic = self.topic, "what was taken is counted later: {error}");
            }
        }
    }
}

/// Requests that become durable together.
#[derive(Default)]
struct Round {
    frames: Vec<NewFrame>,
    told: Vec<Told>,
    deliveries: HashMap<u128, u64>,
    records: u64,
}

/// A caller of a round.
struct Told {
    sight: Sight,
    /// The delivery that it repeats is of this round, and not durable yet.
    in_round: bool,
    delivery: Option<Delivery>,
    records: u64,
    bytes: u64,
    answer: oneshot::Sender<Result<Receipt, IntakeError>>,
}

impl Round {
    fn add(&mut self, call: Call, sight: Sight) {
        let Call { frames, delivery, answer } = call;
        let records = frames.iter().map(|frame| u64::from(frame.count)).sum();
        let bytes = size(&frames) as u64;
        let in_round = delivery.is_some_and(|delivery| self.deliveries.contains_key(&delivery.id));
        if sight == Sight::New {
            self.deliveries.extend(delivery.map(|delivery| (delivery.id, delivery.body)));
            self.frames.extend(frames);
            self.records += records;
        }
        self.told.push(Told { sight, in_round, delivery, records, bytes, answer });
    }
}

fn size(frames: &[NewFrame]) -> usize {
    frames.iter().map(|frame| frame.body.len()).sum()
}
