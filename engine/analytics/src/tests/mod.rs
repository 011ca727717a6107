//! Whole tables over a store and a log made by hand.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use syncline_engine::{
    checkpoint::{self, Checkpoint, EpochNote, Run, RunState, StateNote},
    firing::Kept,
    intake::{self, Intake, Line, Outcome, Times},
    ledger::{self, SinkFrame, When},
    log::{Log, NewFrame, memory::MemoryLog},
    operator::{Delta, LedgerEntry, LedgerKey, StateSize},
    segment::Segments,
    sink::Delivered,
    store::{Changes, StateStore, memory::MemoryStore},
    witness::Window,
};
use syncline_record::{
    Books, DeadLetter, Fate, Partition, Place, Reason, StepBooks, StepId,
    schedule::{Missed, Schedule, Timing},
};

use crate::{Limits, QueryError, Reading, query};

mod backfills;
mod clients;
mod moment;
mod outside;
mod overflow;
mod pipes;
mod questions;
mod rows;
mod spread;

/// 2026-11-20T10:00:00Z
pub const TEN: i64 = 1_795_168_800_000_000;
const SECOND: i64 = 1_000_000;

pub fn page(rows_in: u64, rows_out: u64, waiting: u64, fates: &[(Fate, u64)]) -> StepBooks {
    let mut page = StepBooks { rows_in, rows_out, waiting, ..StepBooks::default() };
    fates.iter().for_each(|(fate, rows)| page.count(*fate, *rows));
    page
}

fn run(number: u64, state: RunState) -> Run {
    Run {
        pipeline: "orders".into(),
        run: number,
        attempt: 1,
        plan: "p1".into(),
        state,
        started: TEN,
        ended: None,
        reason: None,
        due: None,
        epochs: 0,
        pages: Books::default(),
        baseline: Default::default(),
        closed: None,
        order: vec![],
        killed: Default::default(),
        killed_handing_over: Default::default(),
        killed_in_changelog: Default::default(),
        null_keys: Default::default(),
        late_windows: Default::default(),
        warned: Default::default(),
    }
}

fn letter(step: &str, slug: &str, offset: u64, bytes: &[u8]) -> DeadLetter {
    DeadLetter {
        step: StepId::new(step),
        reason: Reason::new(slug, format!("because of {slug}")),
        place: Place { partition: Partition::new("in/orders", 0), offset, byte: None },
        time: TEN,
        epoch: 2,
        bytes: bytes.to_vec(),
        length: bytes.len() as u64,
        hash: "00ff".into(),
        headers: Some("{}".into()),
    }
}

/// A pipeline that has failed once and runs again, with one sink behind an outbox, and another one that has done nothing.
pub fn reading() -> Reading {
    let store = Arc::new(MemoryStore::new());
    let log = Arc::new(MemoryLog::new());
    let mut changes = Changes::default();
    runs(&mut changes);
    states(&*store, &mut changes);
    intakes(&mut changes);
    store.apply(changes).unwrap();
    topics(&log);
    Reading { store, log, files: None }
}

fn runs(changes: &mut Changes) {
    let mut first = run(1, RunState::Failed);
    first.ended = Some(TEN + SECOND);
    first.reason = Some("disk full".into());
    let mut second = run(2, RunState::Running);
    second.started = TEN + 2 * SECOND;
    second.attempt = 3;
    second.due = Some(TEN);
    second.epochs = 2;
    second.killed = [(Window::Committing, 2)].into();
    second.order = ["source", "dedup", "upsert"].map(StepId::new).into();
    second.null_keys = [(StepId::new("dedup"), 1)].into();
    let pages = &mut second.pages;
    *pages.step(&"source".into()) = page(10, 9, 0, &[(Fate::Passed, 9), (Fate::Dead, 1)]);
    *pages.step(&"dedup".into()) = page(9, 6, 0, &[(Fate::Passed, 6), (Fate::Duplicate, 3)]);
    *pages.step(&"upsert".into()) = page(6, 0, 6, &[]);
    for run in [&first, &second] {
        checkpoint::put(changes, checkpoint::run_key("orders", run.run), run);
    }
    let kept = Kept {
        schedule: Schedule {
            timing: Timing::Cron("0 11 * * *".into()),
            time_zone: Some("Europe/Berlin".into()),
            missed: Missed::RunOnce,
        },
        settled: TEN,
        last_due: Some(TEN),
        last_started: Some(TEN + 2 * SECOND),
        run: Some(2),
        started: 1,
        missed: 3,
    };
    checkpoint::put(changes, b"t/orders".to_vec(), &kept);
    let delivered =
        Delivered { next: 4, books: page(4, 2, 0, &[(Fate::Passed, 2), (Fate::Dead, 1), (Fate::Stale, 1)]) };
    checkpoint::put(changes, checkpoint::delivered_key("orders", &"upsert".into()), &delivered);
    let note = |epoch, rows| EpochNote {
        pipeline: "orders".into(),
        run: 2,
        epoch,
        time: TEN + epoch as i64,
        rows,
        took: 900,
        state_bytes: 48,
    };
    for (epoch, rows) in [(1, 7), (2, 3)] {
        checkpoint::put(changes, checkpoint::epoch_key("orders", epoch), &note(epoch, rows));
    }
}

fn intakes(changes: &mut Changes) {
    let line = |outcome, reason: &str, requests| Line {
        outcome,
        reason: reason.into(),
        times: Times { requests, last: TEN + requests as i64 },
    };
    let hooks = vec![
        line(Outcome::Accepted, "", 329),
        line(Outcome::Duplicate, "", 2),
        line(Outcome::Refused, "mismatch", 7),
        line(Outcome::Refused, "stale", 1),
    ];
    for (topic, verify, lines) in
        [("in/hooks", Some("github".to_owned()), hooks), ("in/orders", None, vec![line(Outcome::Accepted, "", 10)])]
    {
        intake::put_intake(changes, &Intake { topic: topic.into(), verify, lines });
    }
}

fn states(store: &dyn StateStore, changes: &mut Changes) {
    let mut checkpoint = Checkpoint { format: 1, epoch: 2, run: 2, fence: 4, time: TEN + 2, ..Checkpoint::default() };
    checkpoint.plan = "p1".into();
    checkpoint.watermarks = [("a".to_owned(), TEN), ("b".to_owned(), TEN - SECOND)].into();
    for step in ["dedup", "people/dedup", "aggregate", "order_by", "people/limit_2", "join"] {
        let note = StateNote { digest: 9, size: StateSize { keys: 2, bytes: 64 }, stored: 48 };
        checkpoint.states.insert(StepId::new(step), note);
    }
    checkpoint.cursors = checkpoint.watermarks.keys().map(|partition| (partition.clone(), 9.into())).collect();
    checkpoint::put_checkpoint(changes, "orders", &checkpoint, checkpoint.cursors.keys());
    let mut first = vec![];
    for (key, time) in [(1u128, TEN), (0xfeed, TEN + SECOND)] {
        first.extend_from_slice(&key.to_le_bytes());
        first.extend_from_slice(&time.to_le_bytes());
    }
    // Kept twice: the second holds.
    let mut last = vec![];
    for (key, time, version) in [(7u128, TEN, &b"v1"[..]), (7, TEN + SECOND, b"v22")] {
        last.extend_from_slice(&key.to_le_bytes());
        last.extend_from_slice(&time.to_le_bytes());
        last.extend_from_slice(&0u128.to_le_bytes());
        last.extend_from_slice(&(version.len() as u32).to_le_bytes());
        last.extend_from_slice(version);
    }
    // A limit's count and a join's told record could be read as a key, and its time.
    let bytes = |count: usize| vec![7; count];
    let others =
        [("aggregate", bytes(780)), ("order_by", bytes(24)), ("people/limit_2", bytes(24)), ("join", bytes(48))];
    for (step, body) in [("dedup", first), ("people/dedup", last)].into_iter().chain(others) {
        let delta = Delta { appended: vec![(0, body)], expired: vec![] };
        Segments::new("orders", &step.into(), 9).write(2, delta, store, changes).unwrap();
    }
}

fn topics(log: &MemoryLog) {
    let entry = |step: &str, fate, reason: &str, offsets: &[u64]| LedgerEntry {
        step: step.into(),
        fate,
        reason: reason.into(),
        partition: Partition::new("in/orders", 0),
        offsets: offsets.to_vec(),
        keys: Default::default(),
    };
    // Told apart by its second key: the fingerprint is one that the step's state holds.
    let key = |text, fingerprint| Some(LedgerKey { text, fingerprint });
    let keys = [key(Some("b"), 0xfeed), None, key(None, 3)].into_iter().collect();
    let entries = [
        entry("source", Fate::Dead, "not-json", &[3]),
        LedgerEntry { keys, ..entry("dedup", Fate::Duplicate, "duplicate", &[5, 6, 8]) },
        entry("dedup", Fate::Passed, "passed", &[1]),
    ];
    let ledger = ledger::ledger_topic("orders");
    let dead = ledger::dead_topic("orders");
    log.append(&ledger, NewFrame { count: 5, time: TEN, body: ledger::encode(When { run: 2, epoch: 2 }, &entries) })
        .unwrap();
    let body = serde_json::to_vec(&letter("source", "not-json", 3, b"no\xffpe")).unwrap();
    log.append(&dead, NewFrame { count: 1, time: TEN, body }).unwrap();
    let ends = log.prepare(&[ledger, dead]).unwrap();
    log.commit(2, &ends).unwrap();
    let stale = |offset, record| (offset, "in/orders".to_owned(), record);
    // The second attempt takes the first one's word back; the last one is not committed yet.
    let attempts = [
        SinkFrame { base: 0, dead: vec![], stale: vec![stale(1, 2), stale(3, 4)] },
        SinkFrame { base: 2, dead: vec![(2, letter("upsert", "constraint", 9, b"{}"))], stale: vec![] },
        SinkFrame { base: 4, dead: vec![(5, letter("upsert", "constraint", 11, b"{}"))], stale: vec![] },
    ];
    let topic = ledger::sink_topic("orders", &"upsert".into());
    for attempt in attempts {
        let body = serde_json::to_vec(&attempt).unwrap();
        log.publish(&topic, vec![NewFrame { count: 1, time: TEN, body }]).unwrap();
    }
}

/// The whole answer as a table of text.
pub async fn table(reading: &Reading, sql: &str) -> String {
    let batches = asked(reading, sql, Limits::default()).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

pub async fn asked(reading: &Reading, sql: &str, limits: Limits) -> Result<Vec<arrow::array::RecordBatch>, QueryError> {
    let mut rows = query(reading.clone(), None, sql, limits).await?;
    let mut batches = vec![arrow::array::RecordBatch::new_empty(rows.schema())];
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}
