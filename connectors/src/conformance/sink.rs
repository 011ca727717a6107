//! What every sink must keep, by its kind.
//!
//! - staged: killed between any two calls and opened with the last committed mark, it shows each row once, in order, and never a row
//!   that is not committed;
//! - transactional: killed at any point it holds each row once, says itself how far it is, and refuses a replaced writer and rows of
//!   another outbox;
//! - plain: each row at least once, in order.

use serde_json::Value;
use syncline_engine::sink::{Applied, Cut, Delivered, OutboxRows, OutboxSink, Owner, SinkError, StagedSink, Stream};
use syncline_record::Micros;

use super::rows::{batch, numbered};

/// Somewhere to write to, empty at first. The rows are `rows::numbered`.
pub struct Outside<S: ?Sized> {
    /// A sink over it, as a start of the process makes one; not opened.
    pub make: Box<dyn Fn() -> Box<S>>,
    /// The ids that a reader sees, in order.
    pub seen: Box<dyn Fn() -> Vec<i64>>,
}

const EPOCHS: i64 = 4;
const BATCHES: i64 = 2;
const BATCH_ROWS: i64 = 3;
const ROWS: i64 = EPOCHS * BATCHES * BATCH_ROWS;
/// Long enough that some parts are full by their time, and others are not.
const EPOCH: Micros = 40_000_000;

/// What a checkpoint would hold.
#[derive(Clone, Debug, Default)]
struct Checkpoint {
    mark: Option<Value>,
    epochs: i64,
}

fn owner() -> Owner {
    Owner { id: "this folder".into(), pipeline: "p".into(), step: "insert".into() }
}

/// `fresh` gives an empty outside.
pub fn staged(fresh: &dyn Fn() -> Outside<dyn StagedSink>) {
    let calls = staged_run(&fresh(), &mut Checkpoint::default(), usize::MAX);
    for first in 0..=calls {
        for second in [0, 1, 2, 4, 6] {
            let (outside, mut checkpoint) = (fresh(), Checkpoint::default());
            for crash in [first, second, usize::MAX] {
                staged_run(&outside, &mut checkpoint, crash);
            }
            let all: Vec<i64> = (0..ROWS).collect();
            assert_eq!((outside.seen)(), all, "killed after {first} calls, and after {second} more");
        }
    }
    for crash in 0..=calls {
        ends_after_a_crash(&fresh(), crash);
    }
    starts_over(&fresh());
    is_nobody_elses(&fresh());
}

/// Rows of another data folder are neither added to nor removed.
fn is_nobody_elses(outside: &Outside<dyn StagedSink>) {
    staged_run(outside, &mut Checkpoint::default(), usize::MAX);
    for anew in [false, true] {
        let other = Owner { id: "another folder".into(), ..owner() };
        let refused = (outside.make)().claim(&other, None, anew);
        assert!(matches!(refused, Err(SinkError::Foreign(_))), "taken from another data folder: {refused:?}");
    }
    assert_eq!((outside.seen)(), (0..ROWS).collect::<Vec<_>>());
}

/// What was written ahead and not committed is cut off, even where nothing is written over it.
fn ends_after_a_crash(outside: &Outside<dyn StagedSink>, crash: usize) {
    let mut checkpoint = Checkpoint::default();
    staged_run(outside, &mut checkpoint, crash);
    let mut sink = (outside.make)();
    sink.claim(&owner(), checkpoint.mark.as_ref(), false).expect("claim");
    sink.open(checkpoint.mark.as_ref()).expect("open");
    sink.prepare(Cut { now: checkpoint.epochs * EPOCH, end: true, stop: false }).expect("prepare");
    sink.reveal().expect("reveal");
    let committed: Vec<i64> = (0..checkpoint.epochs * BATCHES * BATCH_ROWS).collect();
    assert_eq!((outside.seen)(), committed, "killed after {crash} calls, and ended");
}

/// Goes on from the checkpoint, and is killed after `calls` steps; returns how many were made.
fn staged_run(outside: &Outside<dyn StagedSink>, checkpoint: &mut Checkpoint, calls: usize) -> usize {
    let mut made = 0;
    let mut alive = || {
        made += 1;
        made <= calls
    };
    let mut sink = (outside.make)();
    sink.claim(&owner(), checkpoint.mark.as_ref(), false).expect("claim");
    if !alive() {
        return calls;
    }
    sink.open(checkpoint.mark.as_ref()).expect("open");
    only_committed(outside, checkpoint);
    while checkpoint.epochs < EPOCHS {
        for part in 0..BATCHES {
            if !alive() {
                return calls;
            }
            let first = (checkpoint.epochs * BATCHES + part) * BATCH_ROWS;
            let ids: Vec<i64> = (first..first + BATCH_ROWS).collect();
            assert_eq!(sink.write(&batch(numbered(&ids))).expect("write"), []);
        }
        if !alive() {
            return calls;
        }
        let cut = Cut { now: checkpoint.epochs * EPOCH, end: checkpoint.epochs + 1 == EPOCHS, stop: false };
        let mark = sink.prepare(cut).expect("prepare");
        only_committed(outside, checkpoint);
        if !alive() {
            return calls;
        }
        *checkpoint = Checkpoint { mark: Some(mark), epochs: checkpoint.epochs + 1 };
        if !alive() {
            return calls;
        }
        sink.reveal().expect("reveal");
        only_committed(outside, checkpoint);
        if !alive() {
            return calls;
        }
        sink.reveal().expect("reveal a second time");
    }
    made
}

fn only_committed(outside: &Outside<dyn StagedSink>, checkpoint: &Checkpoint) {
    let seen = (outside.seen)();
    let committed = checkpoint.epochs * BATCHES * BATCH_ROWS;
    assert!(seen.len() as i64 <= committed, "{} rows are shown, and {committed} are committed", seen.len());
    assert!(seen.iter().copied().eq(0..seen.len() as i64), "shown out of order: {seen:?}");
}

fn starts_over(outside: &Outside<dyn StagedSink>) {
    for _ in 0..2 {
        staged_run(outside, &mut Checkpoint::default(), usize::MAX);
        let mut sink = (outside.make)();
        sink.claim(&owner(), None, true).expect("claim");
        sink.clear().expect("clear");
        assert_eq!((outside.seen)(), [0; 0], "cleared");
    }
}

fn stream(log_id: &str, fence: u64) -> Stream {
    Stream { pipeline: "conformance".to_owned(), step: "insert".into(), part: 0, log_id: log_id.to_owned(), fence }
}

/// Rows of the outbox from `from`, at most one batch.
fn outbox(from: u64) -> Option<OutboxRows> {
    let end = (from as i64 + BATCH_ROWS).min(ROWS);
    let ids: Vec<i64> = (from as i64..end).collect();
    (!ids.is_empty()).then(|| OutboxRows { base: from, rows: numbered(&ids) })
}

fn position(next: u64) -> Delivered {
    let mut delivered = Delivered { next, ..Delivered::default() };
    delivered.books.rows_in = next;
    delivered
}

pub fn transactional(fresh: &dyn Fn() -> Outside<dyn OutboxSink>) {
    let steps = transactional_run(&fresh(), 1, usize::MAX);
    for first in 0..=steps {
        for second in 0..4 {
            let outside = fresh();
            for (start, crash) in [first, second, usize::MAX].into_iter().enumerate() {
                transactional_run(&outside, start as u64 + 1, crash);
            }
            let all: Vec<i64> = (0..ROWS).collect();
            assert_eq!((outside.seen)(), all, "killed after {first} calls, and after {second} more");
        }
    }
    refuses(&fresh());
}

fn transactional_run(outside: &Outside<dyn OutboxSink>, fence: u64, calls: usize) -> usize {
    let mut made = 0;
    let mut sink = (outside.make)();
    if made == calls {
        return made;
    }
    let found = sink.open(&stream("log", fence)).expect("open").expect("a transactional sink knows how far it is");
    made += 1;
    assert_eq!(found, position(found.next), "the books are those of the position");
    let mut next = found.next;
    while let Some(rows) = outbox(next) {
        if made == calls {
            return made;
        }
        next = rows.base + rows.rows.num_rows() as u64;
        assert_eq!(sink.apply(&[rows]).expect("apply"), Applied::default());
        made += 1;
        if made == calls {
            return made;
        }
        sink.commit(&position(next)).expect("commit");
        made += 1;
    }
    made
}

fn refuses(outside: &Outside<dyn OutboxSink>) {
    let (mut old, mut new) = ((outside.make)(), (outside.make)());
    old.open(&stream("log", 1)).expect("open");
    new.open(&stream("log", 2)).expect("open");
    let late = old.apply(&outbox(0).into_iter().collect::<Vec<_>>());
    assert!(matches!(late, Err(SinkError::Never(_))), "a replaced writer writes on: {late:?}");
    let again = old.open(&stream("log", 1));
    assert!(matches!(again, Err(SinkError::Never(_))), "a replaced writer opens again: {again:?}");
    let other = new.open(&stream("other", 3));
    assert!(matches!(other, Err(SinkError::Foreign(_))), "rows of another outbox are taken: {other:?}");
    new.clear(&stream("other", 3)).expect("clear");
    assert_eq!(new.open(&stream("other", 3)), Ok(Some(Delivered::default())));
}

pub fn plain(fresh: &dyn Fn() -> Outside<dyn OutboxSink>) {
    for crash in 0..8 {
        let outside = fresh();
        let (mut next, mut calls) = (0, 0);
        let mut sink = (outside.make)();
        assert_eq!(sink.open(&stream("log", 1)), Ok(None), "a plain sink does not know how far it is");
        while let Some(rows) = outbox(next) {
            let after = rows.base + rows.rows.num_rows() as u64;
            assert_eq!(sink.apply(&[rows]).expect("apply"), Applied::default());
            calls += 1;
            if calls != crash {
                sink.commit(&position(after)).expect("commit");
                next = after;
            } else {
                sink = (outside.make)();
                sink.open(&stream("log", 2)).expect("open");
            }
        }
        let mut firsts = Vec::new();
        for id in (outside.seen)() {
            assert!(id <= firsts.len() as i64, "{id} comes before the row in front of it");
            if id == firsts.len() as i64 {
                firsts.push(id);
            }
        }
        assert_eq!(firsts, (0..ROWS).collect::<Vec<_>>(), "rows are missing");
    }
}
