//! Steps of one question are of one epoch, while commits go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use syncline_engine::{
    checkpoint::{self, Checkpoint, StateNote},
    log::memory::MemoryLog,
    operator::{Delta, StateSize},
    segment::Segments,
    store::{Changes, StateStore, sled::SledStore},
};
use syncline_record::StepId;

use super::asked;
use crate::{Limits, Reading};

const STEPS: [&str; 2] = ["dedup", "dedup_2"];

/// Commits one key more in each of two steps, as a job does: segments and checkpoint in one batch.
fn commit(store: &dyn StateStore, segments: &mut [Segments; 2], epoch: u64) {
    let mut changes = Changes::default();
    let mut checkpoint = Checkpoint { format: 1, epoch, ..Checkpoint::default() };
    for (step, segments) in STEPS.iter().zip(segments) {
        let body = [&u128::from(epoch).to_le_bytes()[..], &7i64.to_le_bytes()].concat();
        segments.write(epoch, Delta { appended: vec![(0, body)], expired: vec![] }, store, &mut changes).unwrap();
        let note = StateNote { digest: 9, size: StateSize { keys: epoch, bytes: 64 }, stored: 48 };
        checkpoint.states.insert(StepId::new(*step), note);
    }
    checkpoint::put_checkpoint(&mut changes, "orders", &checkpoint, checkpoint.cursors.keys());
    store.apply(changes).unwrap();
}

/// All numbers of a row of an answer.
fn numbers(batches: &[RecordBatch]) -> Vec<Option<i64>> {
    let row = batches.iter().find(|batch| batch.num_rows() > 0).expect("a row");
    row.columns().iter().map(|column| column.as_primitive::<Int64Type>().iter().next().flatten()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_steps_are_of_one_epoch_while_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn StateStore> = Arc::new(SledStore::open(folder.path()).unwrap());
    let mut segments = STEPS.map(|step| Segments::new("orders", &step.into(), 9));
    commit(&*store, &mut segments, 1);
    let over = Arc::new(AtomicBool::new(false));
    let (theirs, ended) = (store.clone(), over.clone());
    let committing = thread::spawn(move || {
        let mut epoch = 1;
        while !ended.load(Ordering::Relaxed) {
            epoch += 1;
            commit(&*theirs, &mut segments, epoch);
        }
        epoch
    });
    let reading = Reading { store, log: Arc::new(MemoryLog::new()), files: None };
    let joined = "SELECT count(*) AS n, count(a.epoch), count(b.epoch), max(a.epoch), max(b.epoch), min(a.epoch)
        FROM orders.dedup a FULL JOIN orders.dedup_2 b USING (key_fingerprint)";
    let apart = "SELECT (SELECT count(*) FROM pipeline_state('orders', 'dedup')) AS a,
        (SELECT max(epoch) FROM orders.dedup_2) AS b, (SELECT count(*) FROM orders.dedup_2) AS c,
        (SELECT max(epoch) FROM pipeline_state('orders', 'dedup')) AS d";
    let mut last = 0;
    for round in 0..60 {
        let sql = if round % 2 == 0 { joined } else { apart };
        let found = numbers(&asked(&reading, sql, Limits::default()).await.unwrap());
        // Each epoch brought one key: as many as the number of the epoch, in both.
        let one = found[0];
        assert!(one.is_some() && found.iter().all(|number| *number == one), "{round}: {found:?}");
        assert!(one >= Some(last), "an epoch goes back: {found:?} after {last}");
        last = one.unwrap_or_default();
    }
    over.store(true, Ordering::Relaxed);
    let committed = committing.join().unwrap();
    assert!(last > 1 && last <= committed as i64, "{last} of {committed}: nothing was committed meanwhile");
}
