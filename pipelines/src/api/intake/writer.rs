//! The thread that writes one path's topic.
//!
//! It takes every request that waits and makes all of them durable with one sync, so that a hundred callers wait for one disk
//! write and not for a hundred. It alone says whether a delivery is here already: one that waits in the same round counts as here
//! only once the round is durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use syncline_connectors::webhook::Delivery;
use syncline_engine::{
    clock::Clock,
    intake::{self, Outcome},
    log::{Log, LogError, NewFrame},
    store::{Changes, StateStore, StoreError},
};
use syncline_record::Micros;
use tokio::sync::{mpsc, oneshot};

use super::{
    IntakeError, State,
    known::{Known, Sight, Writing},
};

/// Bytes that one sync takes. More would make the first of them wait for the last.
const ROUND_BYTES: usize = 32 << 20;

/// Under load, a round begins this long after the one before it, or as soon as so many calls wait. Each sync costs the processor a
/// third of a millisecond, here and in the kernel: one after the other, with few calls in each, they take at half load what the
/// answers need.
const APART: Duration = Duration::from_millis(2);
const ENOUGH: usize = 32;
/// How often it looks.
const LOOK: Duration = Duration::from_micros(500);

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

/// A write to the store, and what goes back when it fails.
type Keeping = (thread::JoinHandle<Result<(), StoreError>>, Option<Writing>);

pub struct Writer {
    pub topic: String,
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn StateStore>,
    pub clock: Arc<dyn Clock>,
    pub state: Arc<Mutex<State>>,
    pub known: Option<Known>,
    /// What is being written beside the rounds.
    pub keeping: Option<Keeping>,
}

impl Writer {
    /// Works until the path is closed.
    pub fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        // What cannot be read now is tried again with the first request, which is told.
        if let Err(error) = self.prepare() {
            tracing::error!(topic = self.topic, "what was taken before cannot be read: {error}");
        }
        // When the last round began, if it was one of several calls.
        let mut shared: Option<Duration> = None;
        while let Some(first) = waiting.blocking_recv() {
            // Who comes alone, one request after the other, waits for nobody.
            if let Some(began) = shared {
                self.gather(began, &waiting);
            }
            let began = self.clock.elapsed();
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
            shared = (calls.len() > 1).then_some(began);
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

    /// Waits for company, when the round before began at `began`.
    fn gather(&self, began: Duration, waiting: &mpsc::Receiver<Work>) {
        let left = APART.saturating_sub(self.clock.elapsed().saturating_sub(began));
        for _ in 0..left.as_micros().div_ceil(LOOK.as_micros()) {
            if waiting.len() >= ENOUGH {
                return;
            }
            thread::sleep(LOOK);
        }
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

    /// Writes down what is known and counted, beside the rounds: no caller waits for it.
    fn keep(&mut self) {
        if !self.settle_keeping(false) {
            return;
        }
        let due = self.known.as_ref().is_some_and(Known::is_due);
        let (changes, writing) = self.unkept(due);
        if changes.is_empty() {
            return;
        }
        let store = self.store.clone();
        let write = move || store.apply(changes).and_then(|()| store.flush());
        self.keeping = Some((thread::spawn(write), writing));
    }

    /// The same at the end, whether or not it is worth its while.
    fn keep_all(&mut self) {
        self.settle_keeping(true);
        if let Some(known) = &mut self.known {
            known.forget(self.clock.now());
        }
        let (changes, writing) = self.unkept(true);
        if !changes.is_empty() {
            let kept = self.store.apply(changes).and_then(|()| self.store.flush());
            self.kept(kept, writing);
        }
    }

    /// What the store does not have; of what is known of deliveries only when it is `due`.
    fn unkept(&mut self, due: bool) -> (Changes, Option<Writing>) {
        let mut changes = Changes::default();
        let known = self.known.as_mut().filter(|_| due);
        let writing = known.map(|known| known.write(&mut changes));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.uncounted) {
            intake::put_intake(&mut changes, &state.intake(&self.topic));
        }
        (changes, writing)
    }

    /// Hears what became of what is written beside the rounds, and waits for it if it must. False: it is not done.
    fn settle_keeping(&mut self, wait: bool) -> bool {
        match self.keeping.take() {
            Some((thread, writing)) if !wait && !thread.is_finished() => {
                self.keeping = Some((thread, writing));
                false
            }
            Some((thread, writing)) => {
                let kept = thread.join();
                self.kept(kept.unwrap_or_else(|fell| std::panic::resume_unwind(fell)), writing);
                true
            }
            None => true,
        }
    }

    /// What fails is tried again: after a crash it is read from the log.
    fn kept(&mut self, kept: Result<(), StoreError>, writing: Option<Writing>) {
        let Err(error) = kept else { return };
        if let (Some(known), Some(writing)) = (&mut self.known, writing) {
            known.give_back(writing);
        }
        self.state().uncounted = true;
        tracing::warn!(topic = self.topic, "what was taken is counted later: {error}");
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
