//! One commit of an embedded epoch, step by step. The order is the promise; the simulation breaks it on purpose to see that it
//! would be noticed.
//!
//! 1. staged sinks make their bytes durable and say how long they are (nothing shows them yet);
//! 2. topics make their bytes durable and say where they end (nothing shows them yet);
//! 3. one atomic batch holds those lengths and ends, the cursors, the segments and the counters: **the commit**;
//! 4. frames and parts are shown.
//!
//! A crash before 3 is over leaves the last checkpoint, and the start cuts files and topics back to it. A crash after it leaves
//! only 4 to do again, which is harmless.

use std::{collections::BTreeMap, time::Duration};

use syncline_record::{Micros, StepId, time::NO_WATERMARK};

use super::job::{Job, JobError, Open};
use crate::{
    checkpoint::{self, EpochNote, KEPT_EPOCHS, Run, RunState, StateNote},
    graph::{Input, Work},
    ledger,
    log::{Ends, NewFrame},
    metrics,
    sink::Cut,
    store::Changes,
    witness::Window,
};

/// Ledger entries of one frame take at most about this many rows, so that a reader never needs much memory.
const LEDGER_FRAME_ROWS: usize = 100_000;

impl Job {
    /// Closes the open epoch. `end`: staged sinks show everything they have.
    pub fn commit(&mut self, end: bool) -> Result<(), JobError> {
        if !self.open.touched {
            return Ok(());
        }
        let began = self.ground.clock.elapsed();
        self.move_time()?;
        let mut laps = vec![];
        let clock = self.ground.clock.clone();
        let mut lap = || laps.push(clock.elapsed());
        let open = std::mem::take(&mut self.open);
        let epoch = self.checkpoint.epoch + 1;
        let now = self.ground.clock.now();
        self.balance()?;

        self.spec.witness.enter(Window::Staging);
        let marks = self.prepare_staged(Cut { now, end, stop: self.ended })?;
        self.spec.witness.enter(Window::Logging);
        lap();
        let marked = self.mark_streams()?;
        self.tell_hops()?;
        let ends = self.prepare_topics(&open, marked)?;
        let mut changes = Changes::default();
        let states = self.close_states(epoch, &mut changes)?;

        self.checkpoint.epoch = epoch;
        self.checkpoint.time = now;
        self.checkpoint.marks.extend(marks);
        self.checkpoint.ends.extend(ends.clone());
        self.checkpoint.states = states;
        self.note_watermarks();
        self.note_history();
        self.run.epochs += 1;
        let took = self.ground.clock.elapsed().saturating_sub(began).as_micros() as u64;
        self.note(&open, took, &mut changes);

        self.spec.witness.enter(Window::Committing);
        lap();
        self.ground.store.apply(changes)?;
        self.ground.store.flush()?;

        self.spec.witness.enter(Window::Revealing);
        lap();
        self.ground.log.commit(epoch, &ends)?;
        self.reveal()?;
        for input in &mut self.spec.graph.inputs {
            input.source.committed(&own(input, &self.checkpoint.cursors))?;
        }
        self.let_streams_go()?;
        self.spec.witness.enter(Window::Idle);
        lap();
        self.measure(&open, began, &laps);
        self.answers_grow_old();
        Ok(())
    }

    /// What is shown of a commit that is over.
    fn measure(&self, open: &Open, began: Duration, laps: &[Duration]) {
        let mut phases = [Duration::ZERO; metrics::PHASES.len()];
        let mut before = began;
        for (phase, at) in phases.iter_mut().zip(laps) {
            (*phase, before) = (at.saturating_sub(before), *at);
        }
        metrics::committed(metrics::Committed {
            pipeline: &self.spec.pipeline,
            bytes: open.bytes,
            open: open.since.map(|since| before.saturating_sub(since)),
            batches: &mut open.taken.iter().map(|taken| before.saturating_sub(*taken)),
            phases,
        });
        let mut dead = BTreeMap::<_, u64>::new();
        for letter in &open.dead {
            *dead.entry((&letter.step, letter.reason.slug.as_str())).or_default() += 1;
        }
        for ((step, reason), count) in dead {
            metrics::dead_letters(&self.spec.pipeline, step, reason, count);
        }
    }

    /// Tells every step how far time has come; what that sets free goes through the chain and belongs to this epoch.
    fn move_time(&mut self) -> Result<(), JobError> {
        let lowest = self.lowest();
        self.checkpoint.lowest = lowest;
        self.set_free(|operator, out| operator.advance(lowest, out))
    }

    /// How far time has come over all inputs; never goes back.
    pub(super) fn lowest(&mut self) -> Micros {
        let (mut partitions, mut over, mut watermarks) = (vec![], vec![], BTreeMap::new());
        // Who waits for his history holds nothing back.
        let waits = usize::from(self.in_history());
        let beside = self.spec.graph.beside.map(|beside| beside.input);
        for (index, input) in self.spec.graph.inputs.iter().enumerate().skip(waits) {
            // Neither does what comes from before: its rows are of their own time, and late where time has passed them.
            if beside == Some(index) {
                continue;
            }
            let names = input.source.partitions();
            let names = names.iter().map(|partition| (input.qualified(&partition.to_string()), index));
            // Who is at its end holds nothing back here. It may go on another day, so it is not quiet for that.
            if self.over.contains(&index) {
                over.extend(names);
                continue;
            }
            partitions.extend(names);
            watermarks.extend(qualified_watermarks(input));
            if let Some(quiet) = input.source.quiet() {
                let quiet = quiet.iter().map(|partition| input.qualified(&partition.to_string()));
                self.frontier.told(index, quiet.collect());
            }
        }
        self.quiet = self.frontier.is_quiet(&partitions) && self.frontier.is_quiet(&over);
        let lowest = self.frontier.lowest(partitions, &watermarks).unwrap_or(NO_WATERMARK);
        self.checkpoint.lowest.max(lowest)
    }

    fn note_watermarks(&mut self) {
        self.checkpoint.watermarks.clear();
        for input in &self.spec.graph.inputs {
            self.checkpoint.watermarks.extend(qualified_watermarks(input));
        }
    }

    fn balance(&self) -> Result<(), JobError> {
        match self.run.pages.unbalanced() {
            None => Ok(()),
            Some(step) => Err(JobError::Unbalanced { step: step.clone(), page: self.run.pages.steps[step] }),
        }
    }

    fn prepare_staged(&mut self, cut: Cut) -> Result<BTreeMap<StepId, serde_json::Value>, JobError> {
        let mut marks = BTreeMap::new();
        for node in &mut self.spec.graph.nodes {
            if let Work::Staged { sink, .. } = &mut node.work {
                let mark = sink.prepare(cut).map_err(|error| JobError::Sink { step: node.id.clone(), error })?;
                marks.insert(node.id.clone(), mark);
            }
        }
        Ok(marks)
    }

    fn prepare_topics(&self, open: &Open, marked: Vec<String>) -> Result<Ends, JobError> {
        let pipeline = &self.spec.pipeline;
        let now = self.ground.clock.now();
        let mut topics: Vec<String> = self.outboxes().into_iter().map(|(_, topic)| topic).collect();
        topics.extend(marked);
        if !open.dead.is_empty() {
            let topic = ledger::dead_topic(pipeline);
            for letter in &open.dead {
                let mut letter = letter.clone();
                letter.epoch = self.checkpoint.epoch + 1;
                let body = serde_json::to_vec(&letter).unwrap_or_default();
                self.ground.log.append(&topic, NewFrame { count: 1, time: now, body })?;
            }
            topics.push(topic);
        }
        if !open.ledger.is_empty() {
            let topic = ledger::ledger_topic(pipeline);
            let when = ledger::When { run: self.run.run, epoch: self.checkpoint.epoch + 1 };
            let mut rest = open.ledger.as_slice();
            while !rest.is_empty() {
                let mut rows = 0;
                let many = rest.iter().take_while(|entry| {
                    let fits = rows < LEDGER_FRAME_ROWS;
                    rows += entry.offsets.len();
                    fits
                });
                let (head, tail) = rest.split_at(many.count());
                let count = head.iter().map(|entry| entry.offsets.len() as u32).sum::<u32>().max(1);
                self.ground.log.append(&topic, NewFrame { count, time: now, body: ledger::encode(when, head) })?;
                rest = tail;
            }
            topics.push(topic);
        }
        Ok(self.ground.log.prepare(&topics)?)
    }

    fn close_states(&mut self, epoch: u64, changes: &mut Changes) -> Result<BTreeMap<StepId, StateNote>, JobError> {
        let mut states = BTreeMap::new();
        for node in &mut self.spec.graph.nodes {
            if let (Work::Hop(hop), Some(digest)) = (&node.work, node.state) {
                states.insert(node.id.clone(), StateNote { digest, size: hop.size(), stored: 0 });
            }
            let (Work::Operator(operator), Some(digest)) = (&mut node.work, node.state) else { continue };
            let delta = operator.close(epoch, &node.id)?;
            let Some(segments) = self.segments.get_mut(&node.id) else { continue };
            segments.write(epoch, delta, &*self.ground.store, changes)?;
            let note = StateNote { digest, size: operator.size(), stored: segments.bytes() };
            states.insert(node.id.clone(), note);
        }
        Ok(states)
    }

    fn note(&self, open: &Open, took: u64, changes: &mut Changes) {
        let pipeline = &self.spec.pipeline;
        checkpoint::put_checkpoint(changes, pipeline, &self.checkpoint, &open.moved);
        checkpoint::put(changes, checkpoint::run_key(pipeline, self.run.run), &self.run);
        let note = EpochNote {
            pipeline: pipeline.clone(),
            run: self.run.run,
            epoch: self.checkpoint.epoch,
            time: self.checkpoint.time,
            rows: open.rows,
            took,
            state_bytes: self.checkpoint.states.values().map(|state| state.stored).sum(),
        };
        checkpoint::put(changes, checkpoint::epoch_key(pipeline, note.epoch), &note);
        if let Some(old) = note.epoch.checked_sub(KEPT_EPOCHS) {
            changes.remove(checkpoint::epoch_key(pipeline, old));
        }
    }

    pub(super) fn reveal(&mut self) -> Result<(), JobError> {
        for node in &mut self.spec.graph.nodes {
            if let Work::Staged { sink, .. } = &mut node.work {
                sink.reveal().map_err(|error| JobError::Sink { step: node.id.clone(), error })?;
            }
        }
        Ok(())
    }

    /// Writes how the run ended. Called once, after the last commit and when every sink is done.
    pub fn close_run(&mut self, state: RunState, reason: Option<String>) -> Result<(), JobError> {
        let now = self.ground.clock.now();
        close_run(&self.ground, &self.spec.pipeline, self.run.run, state, reason, now)
    }
}

/// The same for a job that is no more.
pub fn close_run(
    ground: &super::Ground,
    pipeline: &str,
    run: u64,
    state: RunState,
    reason: Option<String>,
    now: i64,
) -> Result<(), JobError> {
    let key = checkpoint::run_key(pipeline, run);
    let Some(mut record) = checkpoint::read::<Run>(&*ground.store, &key)? else { return Ok(()) };
    let delivered = checkpoint::delivered(&*ground.store, pipeline)?;
    record.close(state, reason, now, delivered);
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, key, &record);
    ground.store.apply(changes)?;
    Ok(ground.store.flush()?)
}

/// Watermarks of the partitions of an input, under the names that a checkpoint keeps.
fn qualified_watermarks(input: &Input) -> impl Iterator<Item = (String, Micros)> + '_ {
    input.decode.watermarks().iter().map(|(partition, watermark)| (input.qualified(partition), *watermark))
}

/// What a checkpoint keeps for the partitions of one input, under the source's own names.
pub(super) fn own<T: Clone>(input: &Input, all: &BTreeMap<String, T>) -> BTreeMap<String, T> {
    all.iter().filter_map(|(name, value)| Some((input.own(name)?.to_owned(), value.clone()))).collect()
}
