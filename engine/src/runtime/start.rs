//! The start of a job: the same sequence for a first start, a restart after a crash, and a new version of the pipeline.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use syncline_record::{Micros, StepId};

use super::{
    Ground,
    ailing::Ailing,
    back,
    begin::{begin_run, end_running},
    commit::own,
    frontier::Frontier,
    history,
    job::{Job, JobSpec, Open},
    migrate, moves,
    tables::{self, Reading},
};
use crate::{
    checkpoint::{self, CHECKPOINT_FORMAT, Checkpoint, ReadError},
    firing::Firing,
    graph::Work,
    ledger,
    log::{Ends, LogError},
    operator::{Operator, Output},
    revision::{self, Written},
    segment::{self, SegmentError, Segments},
    sink::{OutboxSink, Owner, SinkError, Standing},
    source::{Cursors, SourceError},
    store::{Changes, StoreError},
    witness::Window,
};

/// What the caller allows a start to throw away.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Start over: forget positions, state, outboxes and what staged sinks have written.
    pub fresh: bool,
    /// Steps whose state may be lost.
    pub drop_state: Vec<StepId>,
    /// Start over even where a sink then holds rows twice.
    pub insert_again: bool,
    /// The due time that this start is for.
    pub firing: Option<Firing>,
    /// What it was made of, where revisions are kept.
    pub written: Option<Written>,
}

impl StartOptions {
    /// Steps whose state may be lost: as this start was told, or as was said when its text was written.
    pub(super) fn allowed(&self, ground: &Ground, pipeline: &str) -> Result<Vec<StepId>, ReadError> {
        let said = self.written.as_ref().map(|written| revision::allowed(&*ground.store, pipeline, written));
        Ok([self.drop_state.clone(), said.transpose()?.unwrap_or_default()].concat())
    }
}

/// State that an edit of the pipeline would lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub step: StepId,
    pub keys: u64,
    /// The step is still there, but its key, types or window are others.
    pub changed: bool,
    /// Rows that wait in the outbox of a sink that is gone, or that writes elsewhere now (`changed`).
    pub undelivered: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{step}: {error}")]
    Sink { step: StepId, error: SinkError },
    #[error("{} of {pipeline} would be lost", losses.iter().map(|l| l.step.as_str()).collect::<Vec<_>>().join(", "))]
    StateWouldBeLost { pipeline: String, losses: Vec<Loss> },
    #[error("{} of {pipeline} would take over from another step", moved.iter().map(|m| m.to.as_str()).collect::<Vec<_>>().join(", "))]
    StepsMoved { pipeline: String, moved: Vec<Moved> },
    #[error("{} of {pipeline} would write rows again", repeats.iter().map(|r| r.step.as_str()).collect::<Vec<_>>().join(", "))]
    RowsWouldRepeat { pipeline: String, repeats: Vec<Repeat> },
    /// It was decided that another text takes its place.
    #[error("{pipeline} goes back to its revision {to}, and this is another text")]
    GoesBack { pipeline: String, to: u64 },
    /// It was decided that it goes back, and another process has begun since.
    #[error(
        "{pipeline} goes back to its revision {to}, and another process has gone on with it since that was decided"
    )]
    WentOn { pipeline: String, to: u64 },
}

/// A step that stands where another one stood, whose state or rows it would take for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: StepId,
    pub to: StepId,
}

/// Rows at a sink that a new beginning would write a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub step: StepId,
    pub target: String,
    pub rows: u64,
}

impl Job {
    /// Goes back to the last checkpoint, and on from there.
    pub fn start(ground: Ground, mut spec: JobSpec, options: &StartOptions) -> Result<Job, StartError> {
        // What is read below is acted upon: parts and frames of that checkpoint are shown. So it must be durable first, also when
        // the last process could apply it and not flush it.
        ground.store.flush()?;
        let owner = checkpoint::owner_id(&*ground.store, &spec.pipeline, &*ground.rng)?;
        if options.fresh {
            // What cannot begin anew keeps what it has.
            let before = checkpoint::read_checkpoint(&*ground.store, &spec.pipeline).ok().flatten().unwrap_or_default();
            claim(&mut spec, &owner, &before, true)?;
            for input in 0..spec.graph.inputs.len() {
                Ailing::opened(&mut spec, input, &Cursors::new(), (ground.clock.now(), ground.clock.elapsed()))?;
            }
            forget(&ground, &spec.pipeline)?;
        }
        let going_back = revision::back(&*ground.store, &spec.pipeline)?;
        let (mut checkpoint, skipped) = match &going_back {
            None => (checkpoint::read_checkpoint(&*ground.store, &spec.pipeline)?.unwrap_or_default(), BTreeSet::new()),
            Some(back) => {
                let restored = back::restored(&ground, &spec.pipeline, back, options.written.as_ref())?;
                (restored.checkpoint, restored.skipped)
            }
        };
        let mut stood = checkpoint.clone();
        // An id is given with the first whole start. Before that, nothing that lies outside can be of use.
        let first = checkpoint.log_id.is_empty();
        moves::check(&spec, &checkpoint)?;
        claim(&mut spec, &owner, &checkpoint, first && checkpoint.over)?;
        if first && checkpoint.over {
            clear(&ground, &mut spec)?;
        }
        let mut changes = Changes::default();
        moves::settle_inputs(&spec, &mut checkpoint, &mut changes);
        moves::tell_unread(&spec, &checkpoint, &ground)?;
        let allowed = options.allowed(&ground, &spec.pipeline)?;
        let adopted = migrate::adopted(&mut spec, &checkpoint, &allowed);
        check_losses(&spec, &mut checkpoint, (&allowed, &adopted), &ground, &mut changes)?;
        cut_back(&ground, &spec.pipeline, &checkpoint.ends)?;
        let segments = restore(&ground, &mut spec, &mut checkpoint, &adopted, &mut changes)?;
        if going_back.is_some() {
            back::take_back(&mut spec, &checkpoint)?;
        }
        open_staged(&mut spec, &checkpoint)?;
        let at = (ground.clock.now(), ground.clock.elapsed());
        let (over, ailing) = open_inputs(&mut spec, &checkpoint, at)?;
        let told = tables::read_all(&mut spec, ground.clock.now())?;
        spec.graph.lookups.iter().try_for_each(|lookup| lookup.open())?;

        checkpoint.format = CHECKPOINT_FORMAT;
        checkpoint.fence += 1;
        checkpoint.plan = spec.plan.clone();
        checkpoint.fingerprints.steps = spec.fingerprints.steps.clone();
        checkpoint.fingerprints.layouts = spec.fingerprints.layouts.clone();
        checkpoint::put(&mut changes, checkpoint::fingerprints_key(&spec.pipeline), &checkpoint.fingerprints);
        checkpoint.ended = false;
        if first {
            checkpoint.log_id = ground.rng.id();
        }
        let begun = match &options.written {
            None => None,
            Some(written) => {
                let another = revision::is_another(&*ground.store, &spec.pipeline, written)?;
                if another && going_back.is_none() {
                    back::close_parts(&mut spec, ground.clock.now(), &mut stood)?;
                    checkpoint.marks = stood.marks.clone();
                }
                let (from, now) = ((&stood, going_back.as_ref()), ground.clock.now());
                Some(revision::begin(&*ground.store, &spec.pipeline, written, from, now, &mut changes)?)
            }
        };
        let run = begin_run(&ground, &spec, (&checkpoint, &skipped), options.firing, &mut changes)?;
        checkpoint.run = run.run;
        checkpoint::put_checkpoint(&mut changes, &spec.pipeline, &checkpoint, checkpoint.cursors.keys());
        checkpoint::put(&mut changes, checkpoint::run_key(&spec.pipeline, run.run), &run);
        ground.store.apply(changes)?;
        ground.store.flush()?;
        if let Some(begun) = begun {
            back::show_parts(&mut spec)?;
            begun.committed(&*ground.store)?;
        }
        spec.witness.enter(Window::Idle);
        let frontier = Frontier::new(ground.clock.elapsed(), spec.idle_after);
        let open = Open::default();
        let now = ground.clock.elapsed();
        let readings = spec.graph.tables.iter().map(|table| Reading::first(table, now)).collect();
        let mut job = Job {
            ground,
            spec,
            segments,
            checkpoint,
            run,
            open,
            frontier,
            readings,
            over,
            finished: BTreeSet::new(),
            looked: Duration::ZERO,
            turn: 0,
            waits: BTreeMap::new(),
            marked: BTreeMap::new(),
            quiet: false,
            told: None,
            past: history::Past::at(now),
            crowded: false,
            ailing,
            released: BTreeMap::new(),
            ended: false,
        };
        told.into_iter().for_each(|out| job.table_told(out));
        Ok(job)
    }
}

/// Whether the inputs can be read from where a checkpoint says: they are opened, and nothing is taken.
pub fn could_read(spec: &mut JobSpec, checkpoint: &Checkpoint, now: Micros) -> Result<(), StartError> {
    open_inputs(spec, checkpoint, (now, Duration::ZERO)).map(drop)
}

/// Whether what is read beside the others can be read from its beginning: it is opened, and nothing is taken.
pub fn could_begin(spec: &mut JobSpec, now: Micros) -> Result<(), StartError> {
    match spec.graph.beside {
        Some(beside) => Ok(spec.graph.inputs[beside.input].source.open(&Cursors::new(), now)?),
        None => Ok(()),
    }
}

/// Opens the inputs at their cursors, but those that are over; which these are, and the one that cannot be read and keeps nobody from going on.
fn open_inputs(
    spec: &mut JobSpec,
    checkpoint: &Checkpoint,
    at: (Micros, Duration),
) -> Result<(BTreeSet<usize>, Option<Ailing>), StartError> {
    let over: BTreeSet<usize> = history::passed(spec, checkpoint).collect();
    let mut ailing = None;
    for index in (0..spec.graph.inputs.len()).filter(|index| !over.contains(index)) {
        let cursors = own(&spec.graph.inputs[index], &checkpoint.cursors);
        ailing = ailing.or(Ailing::opened(spec, index, &cursors, at)?);
    }
    Ok((over, ailing))
}

/// Makes sure that what staged sinks write to is ours, before anything there is touched.
fn claim(spec: &mut JobSpec, id: &str, checkpoint: &Checkpoint, anew: bool) -> Result<(), StartError> {
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            let owner = Owner { id: id.to_owned(), pipeline: spec.pipeline.clone(), step: node.id.clone() };
            let mark = checkpoint.marks.get(&node.id);
            sink.claim(&owner, mark, anew).map_err(|error| StartError::Sink { step: node.id.clone(), error })?;
        }
    }
    Ok(())
}

/// What a new beginning would write a second time at the outbox sinks; what it would leave there is said.
pub(super) fn repeats(pipeline: &str, sinks: &mut [(StepId, Box<dyn OutboxSink>)]) -> Result<Vec<Repeat>, StartError> {
    let mut repeats = vec![];
    for (step, sink) in sinks {
        let standing = sink.standing(pipeline, step);
        match standing.map_err(|error| StartError::Sink { step: step.clone(), error })? {
            Standing::Nothing => {}
            Standing::Repeats { rows, target } => repeats.push(Repeat { step: step.clone(), target, rows }),
            Standing::Stays { rows, target } => tracing::warn!(
                pipeline,
                step = %step,
                "{target} keeps its {rows} rows: those that are made again replace theirs, and those that are not stay"
            ),
        }
    }
    Ok(repeats)
}

/// Starts over, first half: one step after which nothing in the store speaks of the past but the history of runs. What lies outside
/// is taken away by [`clear`], in this start or, should it die on the way, in the next one.
fn forget(ground: &Ground, pipeline: &str) -> Result<(), StartError> {
    // A checkpoint that cannot be read must not keep anyone from starting over.
    let before = checkpoint::read_checkpoint(&*ground.store, pipeline).ok().flatten().unwrap_or_default();
    let mut changes = Changes::default();
    changes.remove(checkpoint::fingerprints_key(pipeline));
    // Its revisions stay; what they stood on is gone.
    let (_, [.., stood]) = revision::keys_of(pipeline);
    revision::forget_decided(&*ground.store, pipeline, &mut changes)?;
    remove_all(ground, &stood, &mut changes)?;
    revision::forget_states(&*ground.store, pipeline, &mut changes)?;
    for prefix in [
        checkpoint::state_prefix(pipeline),
        checkpoint::partition_prefix(pipeline),
        checkpoint::delivered_prefix(pipeline),
        checkpoint::epoch_prefix(pipeline),
    ] {
        remove_all(ground, &prefix, &mut changes)?;
    }
    match checkpoint::last_run(&*ground.store, pipeline) {
        Ok(Some(run)) => end_running(ground, run, "the pipeline was started over", &mut changes)?,
        Ok(None) => {}
        // Starting over is what damage leaves: a history that cannot be read goes too.
        Err(ReadError::Damaged { .. }) => remove_all(ground, &checkpoint::run_prefix(pipeline), &mut changes)?,
        Err(error) => return Err(error.into()),
    }
    let fresh = Checkpoint { format: CHECKPOINT_FORMAT, fence: before.fence, over: true, ..Checkpoint::default() };
    checkpoint::put(&mut changes, checkpoint::checkpoint_key(pipeline), &fresh);
    ground.store.apply(changes)?;
    Ok(ground.store.flush()?)
}

fn remove_all(ground: &Ground, prefix: &[u8], changes: &mut Changes) -> Result<(), StoreError> {
    ground.store.scan(prefix, &mut |key, _| {
        changes.remove(key);
        true
    })
}

/// Starts over, second half. Doing it twice is harmless.
fn clear(ground: &Ground, spec: &mut JobSpec) -> Result<(), StartError> {
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            sink.clear().map_err(|error| StartError::Sink { step: node.id.clone(), error })?;
        }
    }
    let whole = format!("pipeline/{}/", spec.pipeline);
    Ok(ground.log.recover(&[&whole], &Ends::new())?)
}

/// An edit may not lose state silently.
pub(super) fn check_losses(
    spec: &JobSpec,
    checkpoint: &mut Checkpoint,
    (allowed, adopted): (&[StepId], &BTreeMap<StepId, String>),
    ground: &Ground,
    changes: &mut Changes,
) -> Result<(), StartError> {
    let now: BTreeMap<&StepId, u64> =
        spec.graph.nodes.iter().filter_map(|node| Some((&node.id, node.state?))).collect();
    let mut losses = vec![];
    for (step, note) in &checkpoint.states {
        if now.get(step) == Some(&note.digest) || adopted.contains_key(step) {
            continue;
        }
        if note.size.keys > 0 && !allowed.contains(step) {
            let changed = now.contains_key(step);
            losses.push(Loss { step: step.clone(), keys: note.size.keys, changed, undelivered: 0 });
            continue;
        }
        remove_all(ground, &segment::prefix(&spec.pipeline, step), changes)?;
    }
    losses.extend(moves::settle_targets(spec, checkpoint, ground)?);
    losses.extend(undelivered(spec, checkpoint, ground)?.into_iter().filter(|loss| !allowed.contains(&loss.step)));
    if losses.is_empty() {
        // The notes go with the segments: a start that dies before its first commit has lost nothing a second time.
        checkpoint.states.retain(|step, note| now.get(step) == Some(&note.digest) || adopted.contains_key(step));
        return Ok(());
    }
    Err(StartError::StateWouldBeLost { pipeline: spec.pipeline.clone(), losses })
}

/// Rows that wait for a sink which is no longer there. They stay in its outbox, and go out should the step come back.
fn undelivered(spec: &JobSpec, checkpoint: &Checkpoint, ground: &Ground) -> Result<Vec<Loss>, StartError> {
    let outbox = ledger::outbox_topic(&spec.pipeline, &StepId::new(""));
    let delivered = checkpoint::delivered(&*ground.store, &spec.pipeline)?;
    let there = |step: &StepId| {
        spec.graph.nodes.iter().any(|node| node.id == *step && matches!(node.work, Work::Outbox { .. }))
    };
    let gone = checkpoint.ends.iter().filter_map(|(topic, end)| {
        let step = StepId::new(topic.strip_prefix(&outbox)?);
        let next = delivered.get(&step).map_or(0, |delivered| delivered.next);
        let since = checkpoint.since.get(&step).copied().unwrap_or_default();
        let waiting = end.offset.saturating_sub(next.max(since));
        (waiting > 0 && !there(&step)).then_some(Loss { step, keys: 0, changed: false, undelivered: waiting })
    });
    Ok(gone.collect())
}

fn cut_back(ground: &Ground, pipeline: &str, ends: &Ends) -> Result<(), StartError> {
    let prefixes = ledger::job_prefixes(pipeline);
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    Ok(ground.log.recover(&prefixes, ends)?)
}

fn restore(
    ground: &Ground,
    spec: &mut JobSpec,
    checkpoint: &mut Checkpoint,
    adopted: &BTreeMap<StepId, String>,
    changes: &mut Changes,
) -> Result<BTreeMap<StepId, Segments>, StartError> {
    for input in &mut spec.graph.inputs {
        let watermarks = own(input, &checkpoint.watermarks);
        input.decode.restore(watermarks);
    }
    let mut all = BTreeMap::new();
    for node in &mut spec.graph.nodes {
        if let (Work::Hop(hop), Some(note)) = (&mut node.work, checkpoint.states.get(&node.id)) {
            hop.sent = note.size.keys;
        }
        let (Work::Operator(operator), Some(digest)) = (&mut node.work, node.state) else { continue };
        let note = checkpoint.states.get(&node.id).copied();
        let mut segments = Segments::new(&spec.pipeline, &node.id, note.map_or(digest, |note| note.digest));
        if let Some(note) = note {
            // No key takes less than eight bytes: what a damaged note says makes no table of any size.
            operator.expect(note.size.keys.min(note.stored / 8) as usize);
            segments.restore(&*ground.store, &mut |generation, body| operator.restore(generation, body))?;
            operator.restored();
            let found = segments.bytes();
            if found != note.stored {
                let detail = format!("its segments have {found} bytes, and the checkpoint says {}", note.stored);
                return Err(SegmentError::Damaged { step: node.id.clone(), generation: 0, sequence: 0, detail }.into());
            }
            if let Some(said) = adopted.get(&node.id) {
                tracing::info!(pipeline = spec.pipeline, step = %node.id, keys = note.size.keys, "its state goes on: {said}");
                let read = (segments, digest);
                segments = migrate::rewritten((&node.id, &mut **operator), read, ground, checkpoint, changes)?;
            }
        } else {
            // Old segments, if there are any, go away with this start; new ones must not take their numbers.
            segments.skip(&*ground.store)?;
        }
        resume(&mut **operator, &node.id, checkpoint.lowest)?;
        all.insert(node.id.clone(), segments);
    }
    Ok(all)
}

/// Tells a restored step how far time had come. The epoch that moved it there has committed all that this set free.
fn resume(operator: &mut dyn Operator, step: &StepId, lowest: Micros) -> Result<(), StartError> {
    let mut out = Output::new(step.clone(), false);
    let told = operator.advance(lowest, &mut out).map_err(|halt| halt.to_string());
    let detail = match told {
        Ok(()) if out.emitted.is_empty() => return Ok(()),
        Ok(()) => "its state holds what an earlier epoch has put out".to_owned(),
        Err(halt) => halt,
    };
    Err(SegmentError::Damaged { step: step.clone(), generation: 0, sequence: 0, detail }.into())
}

fn open_staged(spec: &mut JobSpec, checkpoint: &Checkpoint) -> Result<(), StartError> {
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            let sink_error = |error| StartError::Sink { step: node.id.clone(), error };
            sink.open(checkpoint.marks.get(&node.id)).map_err(sink_error)?;
        }
    }
    Ok(())
}
