//! What must hold of a healed and drained world (`exactly-once.md`, "The oracle").
//!
//! I1, I2: the staged sink shows exactly the right lines, each once, in order; the plain sink got each at least once, in order.
//! I3: the state is what its segments say, and the segments are what should be remembered. I5: the databases are the fold of the
//! input, their position is the end of the outbox. The books of all runs balance and add up to the input; ledger and dead
//! letters name every record that did not pass.

use std::collections::BTreeMap;

use syncline_record::{Books, DeadLetter, Fate, Micros, StepId};

use super::{
    Outcome,
    further::KEEPERS,
    lock,
    model::{At, Model},
    outlet::Outlet,
    pipeline::{NAME, WITHIN},
    world::World,
};
use crate::{
    checkpoint::{self, Checkpoint, Run},
    ledger::{self, SinkFrame},
    log::Log,
    operators::dedup,
    segment,
    store::StateStore,
};

pub fn judge(world: &World, first_run: u64, outcome: &mut Outcome) -> Result<(), String> {
    let records = lock(&world.input).records.clone();
    let model = Model::of(&records, world.drawn, &world.ends());
    let checkpoint = read(checkpoint::read_checkpoint(&*world.store, NAME))?.ok_or("there is no checkpoint")?;
    outcome.records = records.len() as u64;
    outcome.epochs = checkpoint.epoch;
    outputs(world, &model)?;
    positions(world, &checkpoint)?;
    books(world, &model, first_run)?;
    ledger_entries(world, &model)?;
    state(world, &model, &checkpoint)
}

fn read<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, right: &T) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("{what}:\n  found {found:?}\n  right {right:?}")) }
}

fn outputs(world: &World, model: &Model) -> Result<(), String> {
    let disk = lock(&world.disk);
    if let Some(broken) = disk.broken.first() {
        return Err(broken.clone());
    }
    same("the staged sink", &disk.seen, &model.file)?;
    same("the upserted table", &lock(&world.orders).table, &model.orders)?;
    same("the replaced table", &lock(&world.groups).table, &model.groups)?;
    same("the plain sink", &came("the plain sink", &lock(&world.people))?, &model.people)?;
    for (step, outlet) in &world.outlets {
        let mut lines = came(step, &lock(outlet))?;
        lines.sort();
        same(step, &lines, &model.further.lines(step))?;
    }
    Ok(())
}

/// What a plain sink got, in order, each row once.
fn came(sink: &str, outlet: &Outlet) -> Result<Vec<String>, String> {
    let mut lines: Vec<String> = vec![];
    for (offset, line) in &outlet.came {
        match lines.get(*offset as usize) {
            Some(before) => same(&format!("a repeat at {sink}"), line, before)?,
            None if lines.len() as u64 == *offset => lines.push(line.clone()),
            None => return Err(format!("{sink} got row {offset} after {} rows", lines.len())),
        }
    }
    Ok(lines)
}

fn positions(world: &World, checkpoint: &Checkpoint) -> Result<(), String> {
    let delivered = read(checkpoint::delivered(&*world.store, NAME))?;
    for step in world.outboxes() {
        let step = StepId::new(step);
        let topic = ledger::outbox_topic(NAME, &step);
        let end = read(world.log.end(&topic))?;
        same("the outbox's end", &checkpoint.ends.get(&topic).map_or(0, |end| end.offset), &end)?;
        same("our record of a sink", &delivered.get(&step).map_or(0, |delivered| delivered.next), &end)?;
    }
    let log_id = &checkpoint.log_id;
    for (step, next) in [("orders", lock(&world.orders).next(log_id)), ("groups", lock(&world.groups).next(log_id))] {
        let topic = ledger::outbox_topic(NAME, &StepId::new(step));
        same(&format!("the position in {step}"), &next, &read(world.log.end(&topic))?)?;
    }
    Ok(())
}

/// Every run balances, and what all of them counted is what the model counts.
fn books(world: &World, model: &Model, first_run: u64) -> Result<(), String> {
    let delivered = read(checkpoint::delivered(&*world.store, NAME))?;
    let runs: Vec<Run> = read(checkpoint::read_all(&*world.store, format!("r/{NAME}\0").as_bytes()))?;
    let mut sum = Books::default();
    for run in runs.iter().filter(|run| run.run >= first_run) {
        let books = run.books(&delivered);
        if let Some(step) = books.unbalanced() {
            return Err(format!("run {}: {step} does not balance: {:?}", run.run, books.steps[step]));
        }
        sum.add(&books);
    }
    let last = runs.last().ok_or("there is no run")?.books(&delivered);
    for (step, page) in &last.steps {
        same(&format!("rows that wait at {step}"), &page.waiting, &0)?;
    }
    let all = model.count("source", Fate::Passed) + model.count("source", Fate::Dead);
    same("rows that the source took", &sum.step(&StepId::new("source")).rows_in, &all)?;
    let steps: Vec<StepId> = sum.steps.keys().cloned().collect();
    for step in steps {
        for fate in Fate::ALL {
            let right = model.fates.iter().find(|((name, of), _)| *name == step.as_str() && *of == fate);
            let right = right.map_or(0, |(_, records)| records.len() as u64);
            same(&format!("rows of {step} that are {}", fate.as_str()), &sum.step(&step).fate(fate), &right)?;
        }
    }
    Ok(())
}

/// Number of the partition that a printed name ends with.
fn number(partition: &str) -> u32 {
    partition.rsplit_once('#').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

type Told = BTreeMap<(String, Fate), Vec<At>>;

fn ledger_entries(world: &World, model: &Model) -> Result<(), String> {
    let mut told = Told::new();
    let mut letters = Told::new();
    for frame in read(world.log.read(&ledger::ledger_topic(NAME), 0, usize::MAX))? {
        for entry in read(ledger::decode(&frame.body))?.entries {
            let at = entry.offsets.iter().map(|offset| (entry.partition.number, *offset));
            told.entry((entry.step.to_string(), entry.fate)).or_default().extend(at);
        }
    }
    for frame in read(world.log.read(&ledger::dead_topic(NAME), 0, usize::MAX))? {
        let letter: DeadLetter = read(serde_json::from_slice(&frame.body))?;
        let at = (letter.place.partition.number, letter.place.offset);
        letters.entry((letter.step.to_string(), Fate::Dead)).or_default().push(at);
    }
    for step in world.outboxes() {
        let frames = read(world.log.read(&ledger::sink_topic(NAME, &StepId::new(step)), 0, usize::MAX))?;
        let frames: Result<Vec<SinkFrame>, _> =
            frames.iter().map(|frame| serde_json::from_slice(&frame.body)).collect();
        let settled = ledger::settle(read(frames)?);
        let dead = settled.dead.iter().map(|(_, letter)| {
            let place = &letter.place;
            (place.partition.number.max(number(&place.partition.name)), place.offset)
        });
        for list in [&mut told, &mut letters] {
            list.entry((step.to_owned(), Fate::Dead)).or_default().extend(dead.clone());
        }
        let stale = settled.stale.iter().map(|(_, partition, offset)| (number(partition), *offset));
        told.entry((step.to_owned(), Fate::Stale)).or_default().extend(stale);
    }
    // What passed at a sink behind an outbox is nobody's to write down here.
    let outboxes = world.outboxes();
    let passed = |step: &str| world.keep_passed && !outboxes.contains(&step);
    let right = |dead_only: bool| -> Told {
        let kept = |(step, fate): &(&str, Fate)| match fate {
            Fate::Dead => true,
            Fate::Passed => !dead_only && passed(step),
            Fate::Absorbed if KEEPERS.contains(step) => !dead_only && world.keep_passed,
            _ => !dead_only,
        };
        let fates = model.fates.iter().filter(|(key, _)| kept(key));
        fates.map(|((step, fate), at)| ((step.to_string(), *fate), at.clone())).collect()
    };
    same("the ledger", &sorted(told), &sorted(right(false)))?;
    same("the dead letters", &sorted(letters), &sorted(right(true)))
}

fn sorted(mut told: Told) -> Told {
    told.retain(|_, at| !at.is_empty());
    told.values_mut().for_each(|at| at.sort_unstable());
    told
}

/// Segments hold each kept key once: all that a later record could meet, and nothing that was never kept.
fn state(world: &World, model: &Model, checkpoint: &Checkpoint) -> Result<(), String> {
    let (mut entries, mut problem) = (vec![], None);
    let prefix = segment::prefix(NAME, &StepId::new("dedup"));
    read(world.store.scan(&prefix, &mut |_, value| {
        match segment::decode(value).and_then(|segment| dedup::read_body(segment.body)) {
            Ok(read) => entries.extend(read),
            Err(error) => problem = Some(error.to_string()),
        }
        problem.is_none()
    }))?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    let note = checkpoint.states.get(&StepId::new("dedup")).copied().unwrap_or_default();
    same("keys of dedup in memory and in segments", &note.size.keys, &(entries.len() as u64))?;
    let mut stored: Vec<Micros> = entries.iter().map(|(_, time)| *time).collect();
    stored.sort_unstable();
    let mut distinct = entries.clone();
    distinct.sort_unstable();
    distinct.dedup();
    same("keys that are stored twice", &(entries.len() - distinct.len()), &0)?;
    let lowest = checkpoint.watermarks.values().copied().min().unwrap_or(i64::MIN);
    let mut needed: Vec<Micros> =
        model.kept.iter().map(|(_, time)| *time).filter(|time| *time > lowest.saturating_sub(WITHIN)).collect();
    needed.sort_unstable();
    let mut kept: Vec<Micros> = model.kept.iter().map(|(_, time)| *time).collect();
    kept.sort_unstable();
    let missing = needed.iter().find(|time| stored.binary_search(time).is_err());
    let foreign = stored.iter().find(|time| kept.binary_search(time).is_err());
    same("a kept key that is not stored", &missing, &None)?;
    same("a stored key that was not kept", &foreign, &None)
}
