//! AGGREGATE, held against a batch over the rows that are not late, whatever the order of partitions, the epochs and the restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::aggregate::{at, row, sessions, windows};
use crate::{
    operator::harness::Bench,
    simulation::input::{MIDNIGHT, SECOND},
};

#[derive(Clone, Debug)]
struct Step {
    partition: usize,
    key: usize,
    time: i64,
    n: i64,
    ends_batch: bool,
    ends_epoch: bool,
    restarts: bool,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Disorder: times go on, and jump back and forth in each of three partitions.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3usize, 0..3usize, -60..40i64, 0..100i64, any::<[bool; 3]>(), 0..4u8);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let numbered = steps.into_iter().enumerate();
        numbered
            .map(|(index, (partition, key, jitter, n, [ends_batch, ends_epoch, restarts], calm))| Step {
                partition,
                key,
                time: 100 + index as i64 * 5 + jitter,
                n,
                ends_batch,
                ends_epoch: ends_epoch && calm == 0,
                restarts: restarts && calm == 0,
            })
            .collect()
    })
}

/// Rows with the watermark of their partition before them.
fn marked(steps: &[Step]) -> Vec<(i64, &Step)> {
    let mut marks = [i64::MIN; 3];
    let mark = |step: &Step| {
        let mark = marks[step.partition];
        marks[step.partition] = mark.max(step.time);
        mark
    };
    steps.iter().map(mark).zip(steps).collect()
}

fn played(mut bench: Bench, steps: &[Step]) -> (Bench, Vec<String>) {
    let mut marks = [i64::MIN; 3];
    let (mut batch, mut found) = (vec![], vec![]);
    for (index, step) in steps.iter().enumerate() {
        batch.push(at(step.time, KEYS[step.key], step.n));
        marks[step.partition] = marks[step.partition].max(MIDNIGHT + step.time * SECOND);
        let next = steps.get(index + 1);
        let ends = step.ends_epoch || step.restarts;
        if step.ends_batch || ends || next.is_none_or(|next| next.partition != step.partition) {
            bench = bench.from(["x", "y", "z"][step.partition]).input(std::mem::take(&mut batch));
        }
        if ends {
            bench = bench.epoch(marks.iter().copied().min().unwrap_or(i64::MIN));
            found.extend(bench.take_rows());
        }
        if step.restarts {
            bench = bench.restart();
        }
    }
    bench = bench.finish();
    found.extend(bench.take_rows());
    found.sort();
    (bench, found)
}

fn fates(absorbed: usize, late: usize) -> String {
    let one = |count: usize, fate: &str| (count > 0).then(|| format!("{count} {fate}"));
    [one(absorbed, "absorbed"), one(late, "late")].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn hops(time: i64, size: i64, slide: i64) -> impl Iterator<Item = i64> {
    (-20..200).map(move |number| number * slide).filter(move |start| (*start..*start + size).contains(&time))
}

fn check_windows(steps: &[Step], size: i64, slide: i64) -> Result<(), TestCaseError> {
    let mut groups: BTreeMap<(i64, usize), (u64, i64)> = BTreeMap::new();
    let (mut absorbed, mut late) = (0, 0);
    for (mark, step) in marked(steps) {
        let mut counts = false;
        for start in hops(step.time, size, slide).filter(|start| mark < start + size) {
            let group = groups.entry((start, step.key)).or_default();
            *group = (group.0 + 1, group.1 + step.n);
            counts = true;
        }
        absorbed += usize::from(counts);
        late += usize::from(!counts);
    }
    let mut wanted: Vec<String> =
        groups.into_iter().map(|((start, key), (rows, sum))| row(start, KEYS[key], rows, sum)).collect();
    wanted.sort();
    let (bench, found) = played(windows(size, slide), steps);
    prop_assert_eq!(found, wanted);
    bench.fates(&fates(absorbed, late));
    Ok(())
}

fn check_sessions(steps: &[Step], gap: i64) -> Result<(), TestCaseError> {
    let mut rows: BTreeMap<usize, Vec<(i64, i64)>> = BTreeMap::new();
    let (mut absorbed, mut late) = (0, 0);
    for (mark, step) in marked(steps) {
        if step.time + gap <= mark {
            late += 1;
        } else {
            absorbed += 1;
            rows.entry(step.key).or_default().push((step.time, step.n));
        }
    }
    let mut wanted = vec![];
    for (key, mut rows) in rows {
        rows.sort();
        for session in rows.chunk_by(|one, next| next.0 - one.0 < gap) {
            wanted.push(row(session[0].0, KEYS[key], session.len() as u64, session.iter().map(|row| row.1).sum()));
        }
    }
    wanted.sort();
    let (bench, found) = played(sessions(gap), steps);
    prop_assert_eq!(found, wanted);
    bench.fates(&fates(absorbed, late));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn windows_that_tumble_are_those_of_a_batch(steps in steps()) {
        check_windows(&steps, 30, 30)?;
    }

    #[test]
    fn windows_that_hop_are_those_of_a_batch(steps in steps()) {
        check_windows(&steps, 40, 15)?;
    }

    #[test]
    fn sessions_are_those_of_a_batch(steps in steps(), gap in 2..60i64) {
        check_sessions(&steps, gap)?;
    }
}
