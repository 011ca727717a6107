//! `backfills`: how far each pipeline's history is, as of its last checkpoint, and what people asked it to take in. One row for the newest
//! one of a pipeline, and one for what was asked since. What all processes of a pipeline were asked has a row for each task that takes a part,
//! and one for the pipeline, with what is known here of the tasks that this process works on.

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    backfill::{self, Backfill, Shared, State},
    checkpoint::{self, HistoryNote},
    clock::{Clock, SystemClock},
};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Backfills;

impl Table for Backfills {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            // 0: the history of its file.
            ("number", Kind::Number),
            // `reading`, `paused`, `cancelled`, `done`
            ("state", Kind::Text),
            // `waiting` for its first commit, `reading`, `catching up`: the source reads what came meanwhile; `elsewhere`: another process works
            // on this task. None: nothing is on its way.
            ("phase", Kind::Text),
            // What people asked for, and its share of the time in hundredths.
            ("source", Kind::Text),
            ("share", Kind::Number),
            ("asked", Kind::Time),
            ("began", Kind::Time),
            ("ended", Kind::Time),
            ("rows", Kind::Number),
            // Of them, at whichever step; what a sink refused of them is in `dead_letters` alone.
            ("dead", Kind::Number),
            // Of the pipeline, since it was asked for: more than one where it failed, was killed, or was held.
            ("starts", Kind::Number),
            ("bytes_done", Kind::Number),
            ("bytes_total", Kind::Number),
            // With those that were read, more or less; where its source counts records and no bytes.
            ("rows_total", Kind::Number),
            // Of records as they came, or of the columns that were taken.
            ("bytes_read", Kind::Number),
            // In which the pipeline's thread worked on its rows.
            ("busy_ms", Kind::Number),
            // In which it was read.
            ("seconds", Kind::Number),
            ("rows_per_second", Kind::Number),
            // To the end of the phase, from now on.
            ("seconds_left", Kind::Number),
            // Of a pipeline that several processes may run: how many tasks take a part, have read theirs, and are known here.
            ("tasks", Kind::Number),
            ("tasks_done", Kind::Number),
            ("tasks_here", Kind::Number),
        ])
    }

    fn pipelines(&self, reading: &Reading) -> Result<Vec<String>, Stop> {
        let prefixes = [&checkpoint::KNOWN[..], &[backfill::PREFIX]].concat();
        Ok(checkpoint::pipelines(&*reading.store, &prefixes)?)
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let asked = backfill::read(&*reading.store, pipeline)?;
        if let Some((asked, shared)) = asked.as_ref().and_then(|asked| Some((asked, asked.shared.as_ref()?))) {
            return of_tasks(reading, pipeline, asked, shared, rows);
        }
        let note = note(reading, pipeline)?;
        if let Some(note) = &note {
            let its = asked.as_ref().filter(|asked| asked.number == note.number);
            row(pipeline, its.map(|asked| (asked, asked.state(Some(note)))), Some(note), None, rows)?;
        }
        match asked.filter(|asked| note.as_ref().is_none_or(|note| note.number != asked.number)) {
            // Of one that was read before another history of the file, its end alone is known.
            Some(asked) => row(pipeline, Some((&asked, asked.state(note.as_ref()))), None, None, rows),
            None => Ok(()),
        }
    }
}

fn note(reading: &Reading, pipeline: &str) -> Result<Option<HistoryNote>, Stop> {
    Ok(checkpoint::read_checkpoint(&*reading.store, pipeline)?.and_then(|checkpoint| checkpoint.history))
}

/// What was asked of one task, or of all of them. What another process works on is not counted here: a copy of it may be of any age.
fn of_tasks(
    reading: &Reading,
    pipeline: &str,
    asked: &Backfill,
    shared: &Shared,
    rows: &mut Gather<'_>,
) -> Result<(), Stop> {
    let (mut done, mut here) = (shared.done.clone(), vec![]);
    for task in &shared.tasks {
        let its = note(reading, task)?.filter(|note| note.number == asked.number);
        if its.as_ref().is_some_and(|note| asked.is_read(note)) {
            done.insert(task.clone());
        }
        if !shared.elsewhere.contains(task) {
            here.push(its);
        }
    }
    let tasks = [shared.tasks.len(), done.len(), here.len()].map(|count| count as u64);
    let known = here.into_iter().flatten().reduce(together);
    let asked = Backfill { shared: Some(Shared { done, ..shared.clone() }), ..asked.clone() };
    // Tasks that are known here may be done when others are not.
    row(pipeline, Some((&asked, asked.state(None))), known.as_ref(), Some(tasks), rows)
}

/// What two tasks have read.
fn together(one: HistoryNote, other: HistoryNote) -> HistoryNote {
    let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
    HistoryNote {
        number: one.number,
        read: one.read.min(other.read),
        began: one.began.min(other.began),
        ended: one.ended.zip(other.ended).map(|(one, other)| one.max(other)),
        caught: one.caught.zip(other.caught).map(|(one, other)| one.max(other)),
        rows: one.rows + other.rows,
        dead: one.dead + other.dead,
        starts: one.starts.max(other.starts),
        done: one.done + other.done,
        total: both(one.total, other.total),
        records: both(one.records, other.records),
        bytes: one.bytes + other.bytes,
        busy: one.busy + other.busy,
        spent: one.spent.max(other.spent),
        course: checkpoint::Course::default(),
        noted: one.noted.max(other.noted),
    }
}

/// `asked`: of the same number as `note`, where there are both; and how it stands. `tasks`: how many there are, have read theirs, and are
/// known here.
fn row(
    pipeline: &str,
    asked: Option<(&Backfill, State)>,
    note: Option<&HistoryNote>,
    tasks: Option<[u64; 3]>,
    rows: &mut Gather<'_>,
) -> Result<(), Stop> {
    let [all, done, here] = [0, 1, 2].map(|at| tasks.map(|tasks| tasks[at]));
    let state = match (asked, note.and_then(|note| note.ended)) {
        (Some((_, state)), _) => state.as_str(),
        (None, Some(_)) => "done",
        // The number of another one says that nobody goes on with it.
        (None, None) if note.is_some_and(|note| note.number > 0) => "cancelled",
        (None, None) => "reading",
    };
    let asked = asked.map(|(asked, _)| asked);
    let number = asked.map(|asked| asked.number).or(note.map(|note| note.number));
    let phase = match note {
        _ if state == "reading" && here == Some(0) => Some("elsewhere"),
        None if state == "reading" => Some("waiting"),
        _ if state == "reading" => Some("reading"),
        note => note.filter(|note| note.is_catching_up()).map(|_| "catching up"),
    };
    rows.row(&[
        Cell::Text(pipeline),
        Cell::number(number),
        Cell::Text(state),
        Cell::text(phase),
        Cell::text(asked.map(|asked| asked.from.as_str())),
        Cell::number(asked.map(|asked| u64::from(asked.share))),
        Cell::time(asked.map(|asked| asked.asked)),
        Cell::time(note.map(|note| note.began)),
        Cell::time(note.and_then(|note| note.ended)),
        Cell::number(note.map(|note| note.rows)),
        Cell::number(note.map(|note| note.dead)),
        Cell::number(note.map(|note| note.starts)),
        Cell::number(note.map(|note| note.done)),
        Cell::number(note.and_then(|note| note.total)),
        Cell::number(note.and_then(|note| note.records)),
        Cell::number(note.map(|note| note.bytes)),
        Cell::number(note.map(|note| note.busy / 1_000)),
        Cell::number(note.map(|note| note.spent / 1_000_000)),
        Cell::number(note.and_then(HistoryNote::rows_per_second)),
        Cell::number(note.and_then(|note| note.seconds_left(SystemClock::default().now())).filter(|_| phase.is_some())),
        Cell::number(all),
        Cell::number(done),
        Cell::number(here),
    ])
}
