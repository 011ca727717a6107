//! What is kept of a pipeline's schedule, and which of its due times comes next.
//!
//! | key | value |
//! |---|---|
//! | `t/<pipeline>` | [`Kept`]: the schedule, and which due times are settled |
//! | `w/<pipeline>` | [`Hold`]: whether somebody said that it starts no run |
//!
//! A due time is settled in the commit that starts its run, so a crash before it starts the run after all, and one behind it goes on with
//! that run. The first record is written by whoever runs the pipeline, the second by whoever holds it: neither reads what it writes over.
//! Nothing here reads a clock.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use syncline_record::{
    Micros, keys,
    schedule::{Calendar, Missed, Schedule},
};

use crate::{
    checkpoint::{self, ReadError, Run, RunState},
    store::{Changes, StateStore, StoreError},
};

/// Runs that `RUN ALL` makes up for at most, the newest ones: ten days of a quarter of an hour.
pub const MOST_MADE_UP: usize = 1_000;

/// Due times that have passed for longer are not even counted.
const LOOKED_BACK: Micros = 366 * 86_400_000_000;

/// A due time that somebody waited for is on time until then. What is later is a machine that was asleep, or a clock that was set.
const PUNCTUAL: Micros = 60_000_000;

/// A clock that has gone back by more than this was wrong before: due times count anew, as those of cron do.
const SET_BACK: Micros = 3 * 3_600_000_000;

/// What is kept of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub schedule: Schedule,
    /// Due times up to here have had their run, or get none.
    pub settled: Micros,
    /// The last due time that was started, and when.
    pub last_due: Option<Micros>,
    pub last_started: Option<Micros>,
    /// The number of its run; `None`: it failed before it was one.
    pub run: Option<u64>,
    /// Due times that were started, and those that got no run.
    pub started: u64,
    pub missed: u64,
}

/// Whether a schedule is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub paused: bool,
    /// Since when. What was due while it was held is settled.
    pub at: Micros,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    pub due: Micros,
    /// Due times before it that get no run.
    pub missed: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Run(Firing),
    /// No run for what was due up to here.
    Settle {
        up_to: Micros,
        missed: u64,
    },
    /// Nothing before this instant; `None`: never.
    Wait(Option<Micros>),
}

/// How a schedule stands, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub kept: Kept,
    pub paused: bool,
    /// How the run of the last due time stands: `running`, `ended`, `stopped`, `failed`.
    pub last_outcome: Option<&'static str>,
    /// The first due time that is not settled. It has passed where nobody runs the pipeline, and a held one has none.
    pub next_due: Option<Micros>,
}

fn kept_key(pipeline: &str) -> Vec<u8> {
    [b"t/", pipeline.as_bytes()].concat()
}

fn hold_key(pipeline: &str) -> Vec<u8> {
    [b"w/", pipeline.as_bytes()].concat()
}

/// The same for the same pipeline and due time, whoever asks and whenever.
pub fn run_id(pipeline: &str, due: Micros) -> String {
    let named = [pipeline.as_bytes(), b"\0", &due.to_be_bytes()].concat();
    keys::hex128(keys::content_hash(&named))
}

pub fn kept(store: &dyn StateStore, pipeline: &str) -> Result<Option<Kept>, ReadError> {
    checkpoint::read(store, &kept_key(pipeline))
}

pub fn hold(store: &dyn StateStore, pipeline: &str) -> Result<Option<Hold>, ReadError> {
    checkpoint::read(store, &hold_key(pipeline))
}

/// Up to where due times are settled.
pub fn settled(kept: &Kept, hold: Option<Hold>) -> Micros {
    hold.filter(|hold| !hold.paused).map_or(kept.settled, |hold| hold.at.max(kept.settled))
}

/// A pipeline has this schedule from now on. One that is due at other times than before counts from now.
pub fn declare(store: &dyn StateStore, pipeline: &str, schedule: &Schedule, now: Micros) -> Result<(), ReadError> {
    let kept = match kept(store, pipeline)? {
        Some(kept) if kept.schedule == *schedule => return Ok(()),
        Some(kept) if kept.schedule.keeps_the_times_of(schedule) => Kept { schedule: schedule.clone(), ..kept },
        Some(kept) => Kept { schedule: schedule.clone(), settled: now, ..kept },
        None => Kept {
            schedule: schedule.clone(),
            settled: now,
            last_due: None,
            last_started: None,
            run: None,
            started: 0,
            missed: 0,
        },
    };
    Ok(write(store, kept_key(pipeline), &kept)?)
}

/// All that is kept of a pipeline's schedule.
pub fn keys_of(pipeline: &str) -> [Vec<u8>; 2] {
    [kept_key(pipeline), hold_key(pipeline)]
}

/// A pipeline has no schedule any more.
pub fn forget(store: &dyn StateStore, pipeline: &str) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    for key in keys_of(pipeline) {
        if store.get(&key)?.is_some() {
            changes.remove(key);
        }
    }
    if changes.is_empty() { Ok(()) } else { applied(store, changes) }
}

/// Holds a schedule, or lets it go on: what was due meanwhile gets no run.
pub fn put_hold(store: &dyn StateStore, pipeline: &str, paused: bool, now: Micros) -> Result<(), StoreError> {
    write(store, hold_key(pipeline), &Hold { paused, at: now })
}

/// No run for what was due up to here.
pub fn settle(store: &dyn StateStore, pipeline: &str, up_to: Micros, missed: u64) -> Result<(), ReadError> {
    let Some(kept) = kept(store, pipeline)? else { return Ok(()) };
    Ok(write(store, kept_key(pipeline), &Kept { settled: up_to, missed: kept.missed + missed, ..kept })?)
}

/// A due time whose start failed before there was a run: it was its turn.
pub fn failed(store: &dyn StateStore, pipeline: &str, firing: Firing, now: Micros) -> Result<(), ReadError> {
    let Some(kept) = kept(store, pipeline)? else { return Ok(()) };
    if kept.last_due == Some(firing.due) && kept.run.is_some() {
        return Ok(());
    }
    Ok(write(store, kept_key(pipeline), &fired(kept, firing, None, now))?)
}

/// Settles a due time together with the record of its run.
pub(crate) fn begin(
    store: &dyn StateStore,
    firing: Firing,
    run: &Run,
    now: Micros,
    changes: &mut Changes,
) -> Result<(), ReadError> {
    if let Some(kept) = kept(store, &run.pipeline)? {
        checkpoint::put(changes, kept_key(&run.pipeline), &fired(kept, firing, Some(run.run), now));
    }
    Ok(())
}

fn fired(kept: Kept, firing: Firing, run: Option<u64>, now: Micros) -> Kept {
    // An edit in the middle of a run begins another one for the same due time.
    let again = kept.last_due == Some(firing.due);
    Kept {
        settled: firing.due,
        last_due: Some(firing.due),
        last_started: Some(now),
        run,
        started: kept.started + u64::from(!again),
        missed: kept.missed + firing.missed,
        ..kept
    }
}

/// The due time whose run was cut off in the middle, by a crash or a stop: it goes on before anything else. `Some(None)`: a run that no
/// schedule began.
pub fn interrupted(store: &dyn StateStore, pipeline: &str) -> Result<Option<Option<Firing>>, ReadError> {
    let Some(run) = checkpoint::last_run(store, pipeline)? else { return Ok(None) };
    let firing = run.due.map(|due| Firing { due, missed: 0 });
    Ok(match run.state {
        RunState::Running => Some(firing),
        RunState::Stopped if firing.is_some() && kept(store, pipeline)?.and_then(|kept| kept.last_due) == run.due => {
            Some(firing)
        }
        RunState::Stopped | RunState::Ended | RunState::Failed => None,
    })
}

/// What to do at `now`, when due times up to `settled` are settled. `watched`: since when somebody has waited for the next one.
pub fn next(calendar: &Calendar, policy: Missed, settled: Micros, now: Micros, watched: Micros) -> Next {
    if settled > now.saturating_add(SET_BACK) {
        return Next::Settle { up_to: now, missed: 0 };
    }
    let from = settled.max(now.saturating_sub(LOOKED_BACK));
    let keep = if policy == Missed::RunAll { MOST_MADE_UP } else { 1 };
    let dues = calendar.between(from, now, keep);
    let (Some(oldest), Some(last)) = (dues.newest.front().copied(), dues.newest.back().copied()) else {
        return Next::Wait(calendar.next_after(from));
    };
    let on_time = last > watched && now.saturating_sub(last) <= PUNCTUAL;
    match policy {
        Missed::RunAll => Next::Run(Firing { due: oldest, missed: dues.count - dues.newest.len() as u64 }),
        Missed::RunOnce => Next::Run(Firing { due: last, missed: dues.count - 1 }),
        Missed::Skip if on_time => Next::Run(Firing { due: last, missed: dues.count - 1 }),
        Missed::Skip => Next::Settle { up_to: last, missed: dues.count },
    }
}

/// How the schedule of a pipeline stands, if it has one.
pub fn standing(store: &dyn StateStore, pipeline: &str) -> Result<Option<Standing>, ReadError> {
    let Some(kept) = kept(store, pipeline)? else { return Ok(None) };
    let hold = hold(store, pipeline)?;
    let paused = hold.is_some_and(|hold| hold.paused);
    let run = match kept.run {
        Some(run) => checkpoint::read::<Run>(store, &checkpoint::run_key(pipeline, run))?.map(|run| run.state),
        None => kept.last_due.map(|_| RunState::Failed),
    };
    let settled = settled(&kept, hold);
    let next_due = kept.schedule.calendar().ok().filter(|_| !paused).and_then(|calendar| calendar.next_after(settled));
    Ok(Some(Standing { kept, paused, last_outcome: run.map(RunState::as_str), next_due }))
}

fn write<T: Serialize>(store: &dyn StateStore, key: Vec<u8>, record: &T) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, key, record);
    applied(store, changes)
}

fn applied(store: &dyn StateStore, changes: Changes) -> Result<(), StoreError> {
    store.apply(changes)?;
    store.flush()
}
