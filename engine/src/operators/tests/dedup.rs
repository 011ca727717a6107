//! DEDUP, held against its sentence: it drops a record iff one with the same key was kept and their times differ by less than w.

use arrow::datatypes::Schema;
use proptest::prelude::*;
use syncline_record::{Fate, Micros};

use crate::{
    operator::harness::{Bench, by, given},
    operators::Dedup,
    simulation::input::{MIDNIGHT, SECOND, clock_text},
};

const WITHIN: Micros = 60 * SECOND;

fn dedup(fields: &[&str], key: &'static [&'static str], within: Option<Micros>) -> Bench {
    given(fields, move |schema| Box::new(Dedup::new(by(key, schema), within)))
}

fn at(id: &str, seconds: i64) -> String {
    format!(r#"{{"id":{id},"at":"{}"}}"#, clock_text(MIDNIGHT + seconds * SECOND))
}

fn timed() -> Bench {
    dedup(&["id", "at:time"], &["id"], Some(WITHIN))
}

#[test]
fn a_repeat_inside_the_window_is_dropped_and_does_not_extend_it() {
    timed()
        .input([at("1", 0), at("1", 59), at("1", 60), at("1", 119), at("2", 119)])
        .fates("3 passed · 2 duplicate")
        .input([at("1", 120)])
        .fates("1 passed");
}

#[test]
fn equal_keys_are_equal_values() {
    dedup(&["id"], &["id"], None)
        .input([r#"{"id":1}"#, r#"{"id":1.0}"#, r#"{"id":"1"}"#, r#"{"id":{"a":1,"b":2}}"#, r#"{"id":{"b":2,"a":1}}"#])
        .output(&[r#"{"id":1}"#, r#"{"id":"1"}"#, r#"{"id":{"a":1,"b":2}}"#])
        .fates("3 passed · 2 duplicate");
}

#[test]
fn a_null_key_passes_every_time() {
    dedup(&["id", "v"], &["id", "v"], None)
        .input([r#"{"id":1,"v":null}"#, r#"{"id":1,"v":null}"#, r#"{"v":1}"#, r#"{"id":1,"v":1}"#, r#"{"id":1,"v":1}"#])
        .fates("4 passed · 1 duplicate");
}

#[test]
fn a_record_at_its_own_watermark_less_the_window_is_late() {
    timed()
        .input([at("1", 100), at("2", 40), at("3", 41)])
        .fates("2 passed · 1 late")
        .from("b")
        .input([at("2", 40)])
        .fates("1 passed");
}

/// Keys were dropped one window behind the watermark. A record may be almost one window late, and what it repeats almost one
/// window before that.
#[test]
fn what_a_late_but_not_too_late_record_repeats_is_still_known() {
    timed()
        .input([at("1", 1), at("2", 100)])
        .epoch(MIDNIGHT + 100 * SECOND)
        .input([at("1", 41)])
        .fates("2 passed · 1 duplicate");
}

#[test]
fn a_window_that_nobody_can_reach_any_more_is_dropped_as_a_whole() {
    let bench = timed().input([at("1", 0), at("2", 1), at("3", 400)]).epoch(MIDNIGHT + SECOND);
    assert_eq!((bench.operator.size().keys, bench.stored()), (3, 3 * 24));
    let bench = bench.epoch(MIDNIGHT + 400 * SECOND);
    assert_eq!((bench.operator.size().keys, bench.stored()), (1, 24));
    let bench = bench.restart();
    assert_eq!(bench.operator.size().keys, 1);
}

#[test]
fn a_record_from_behind_what_is_known_is_late_and_not_guessed() {
    let bench = timed().input([at("1", 0), at("2", 400)]).fates("2 passed").epoch(MIDNIGHT + 400 * SECOND);
    // Partition b was idle and not waited for.
    bench.restart().from("b").input([at("1", 30), at("4", 380)]).fates("1 passed · 1 late");
}

#[test]
fn an_empty_epoch_changes_nothing() {
    let bench = timed().epoch(MIDNIGHT).input([at("1", 0)]).epoch(MIDNIGHT).epoch(MIDNIGHT);
    assert_eq!(bench.stored(), 24);
    bench.restart().input([at("1", 1)]).fates("1 passed · 1 duplicate");
}

#[test]
fn a_body_that_is_cut_is_damage() {
    let mut dedup = timed().operator;
    assert!(dedup.restore(0, &[0; 25]).is_err());
}

#[test]
fn a_kept_key_takes_at_most_64_bytes() {
    let mut bench = dedup(&["id"], &["id"], None);
    for batch in 0..100 {
        bench = bench.input((batch * 1000..(batch + 1) * 1000).map(|id| format!(r#"{{"id":{id}}}"#)));
        bench.take_rows();
        let size = bench.operator.size();
        // Small tables are sized for a batch ahead.
        assert!(size.keys < 10_000 || size.bytes <= 64 * size.keys, "{size:?}");
    }
    assert_eq!(bench.operator.size().keys, 100_000);
    assert_eq!(bench.epoch(MIDNIGHT).stored(), 24 * 100_000);
}

/// One record of a random run: partition, key and time, and what happens after it.
#[derive(Clone, Debug)]
struct Step {
    partition: usize,
    id: u64,
    time: i64,
    ends_batch: bool,
    ends_epoch: bool,
    restarts: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3usize, 0..5u64, -130..20i64, any::<[bool; 3]>(), 0..4u8);
    prop::collection::vec(step, 1..80).prop_map(|steps| {
        let numbered = steps.into_iter().enumerate();
        numbered
            .map(|(index, (partition, id, jitter, [ends_batch, ends_epoch, restarts], calm))| Step {
                partition,
                id,
                time: 200 + index as i64 * 8 + jitter,
                ends_batch,
                ends_epoch: ends_epoch && calm == 0,
                restarts: restarts && calm == 0,
            })
            .collect()
    })
}

/// The sentence, with everything remembered.
fn model(steps: &[Step]) -> (Vec<(u64, i64)>, Vec<u64>) {
    let (mut kept, mut marks, mut fates): (Vec<(u64, i64)>, _, _) = (vec![], [i64::MIN; 3], vec![0; Fate::ALL.len()]);
    for Step { partition, id, time, .. } in steps {
        let mark = marks[*partition];
        marks[*partition] = mark.max(*time);
        let fate = if *time <= mark.saturating_sub(60) {
            Fate::Late
        } else if kept.iter().any(|(other, at)| other == id && (at - time).abs() < 60) {
            Fate::Duplicate
        } else {
            kept.push((*id, *time));
            Fate::Passed
        };
        fates[fate as usize] += 1;
    }
    (kept, fates)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn dedup_is_its_sentence_whatever_the_batches_epochs_and_restarts(steps in steps()) {
        let mut bench = timed();
        let mut marks = [i64::MIN; 3];
        let mut batch: Vec<String> = vec![];
        let mut found = vec![];
        for (index, step) in steps.iter().enumerate() {
            batch.push(at(&step.id.to_string(), step.time));
            marks[step.partition] = marks[step.partition].max(MIDNIGHT + step.time * SECOND);
            let next = steps.get(index + 1);
            if step.ends_batch || step.ends_epoch || step.restarts || next.is_none_or(|n| n.partition != step.partition) {
                let name = ["a", "b", "c"][step.partition];
                bench = bench.from(name).input(std::mem::take(&mut batch));
                found.extend(bench.take_rows());
            }
            if step.ends_epoch || step.restarts {
                let lowest = marks.iter().copied().min().unwrap_or(i64::MIN);
                bench = bench.epoch(lowest);
            }
            if step.restarts {
                bench = bench.restart();
            }
        }
        let (kept, fates) = model(&steps);
        let kept: Vec<String> = kept.iter().map(|(id, time)| shown_time(*id, *time)).collect();
        prop_assert_eq!(found, kept);
        let words: Vec<String> = Fate::ALL.iter().filter(|fate| fates[**fate as usize] > 0)
            .map(|fate| format!("{} {}", fates[*fate as usize], fate.as_str())).collect();
        bench.fates(&words.join(" · "));
    }
}

/// A row as the bench shows it.
fn shown_time(id: u64, seconds: i64) -> String {
    format!(r#"{{"id":{id},"at":"{}"}}"#, clock_text(MIDNIGHT + seconds * SECOND).replace(".000Z", "Z"))
}

#[test]
fn the_end_of_the_inputs_has_nothing_to_set_free() {
    timed().input([at("1", 0)]).output(&[r#"{"id":1,"at":"2026-11-20T00:00:00Z"}"#]).finish().output(&[]);
}

#[test]
fn a_null_key_passes_unless_it_is_part_of_a_content() {
    let records = [r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":1,"b":null}"#];
    let dedup = |schema: &Schema| Dedup::new(by(&["a", "b"], schema), None);
    given(&["a", "b"], move |schema| Box::new(dedup(schema))).input(records).fates("4 passed");
    given(&["a", "b"], move |schema| Box::new(dedup(schema).of_content()))
        .input(records)
        .fates("2 passed · 2 duplicate");
}
