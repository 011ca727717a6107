//! DEDUP … KEEP LAST BY v, and its mirror image.

use proptest::prelude::*;
use syncline_record::Micros;

use crate::{
    operator::harness::{Bench, by, given},
    operators::DedupLast,
    simulation::input::{MIDNIGHT, SECOND, clock_text},
};

const WITHIN: Micros = 60 * SECOND;

fn bench(newest_wins: bool) -> Bench {
    given(&["id", "v:int", "n", "at:time"], move |schema| {
        Box::new(DedupLast::new(by(&["id"], schema), by(&["v"], schema), Some(WITHIN), newest_wins).unwrap())
    })
}

/// `n` makes the content differ.
fn record(id: u64, v: i64, n: u64, seconds: i64) -> String {
    format!(r#"{{"id":{id},"v":{v},"n":{n},"at":"{}"}}"#, clock_text(MIDNIGHT + seconds * SECOND))
}

#[test]
fn an_older_version_never_wins_and_the_same_content_is_a_duplicate() {
    bench(true)
        .input([record(1, 5, 0, 0), record(1, 4, 0, 1), record(1, 5, 1, 2), record(1, 5, 1, 2), record(1, 6, 0, 3)])
        .fates("3 passed · 1 duplicate · 1 stale");
}

#[test]
fn the_first_version_wins_in_the_mirror() {
    bench(false)
        .input([record(1, 5, 0, 0), record(1, 6, 0, 1), record(1, 4, 0, 2), record(1, 5, 0, 3)])
        .fates("2 passed · 2 stale");
}

#[test]
fn what_passes_restarts_the_window_and_after_it_any_version_passes() {
    bench(true)
        .input([record(1, 5, 0, 0), record(1, 7, 0, 50), record(1, 6, 0, 109)])
        .fates("2 passed · 1 stale")
        .input([record(1, 1, 0, 110)])
        .fates("1 passed");
}

#[test]
fn a_null_version_is_dead_and_a_null_key_passes() {
    bench(true)
        .input([r#"{"id":1,"v":null}"#, r#"{"id":null,"v":1}"#, r#"{"id":null,"v":0}"#])
        .fates("2 passed · 1 dead (v is NULL)");
}

/// Segments were judged again while they were read, in order of their generations: a key that had gone back in time came back with
/// what it held before.
#[test]
fn a_restart_remembers_what_was_kept_last_also_when_its_time_went_back() {
    bench(true)
        .input([record(1, 9, 0, 100)])
        .fates("1 passed")
        .epoch(MIDNIGHT)
        .from("b")
        .input([record(1, 2, 0, 20)])
        .fates("1 passed")
        .epoch(MIDNIGHT)
        .restart()
        .from("b")
        .input([record(1, 2, 0, 20), record(1, 1, 0, 21), record(1, 3, 0, 22)])
        .fates("1 passed · 1 duplicate · 1 stale");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The same answers with and without restarts, whatever the batches.
    #[test]
    fn restarts_and_batches_change_nothing(
        steps in prop::collection::vec((0..2usize, 0..3u64, 0..6i64, 0..2u64, -110..20i64, 0..8u8), 1..60)
    ) {
        let mut marks = [i64::MIN; 2];
        let (mut calm, mut shaken) = (bench(true), bench(true));
        let (mut calm_rows, mut shaken_rows) = (vec![], vec![]);
        let mut open: Vec<String> = vec![];
        let mut last = 0;
        for (index, (partition, id, v, n, jitter, after)) in steps.into_iter().enumerate() {
            let time = 200 + index as i64 * 10 + jitter;
            marks[partition] = marks[partition].max(MIDNIGHT + time * SECOND);
            let name = ["a", "b"][partition];
            calm = calm.from(name).input([record(id, v, n, time)]);
            calm_rows.extend(calm.take_rows());
            if !open.is_empty() && (partition != last || after < 3) {
                shaken = shaken.from(["a", "b"][last]).input(std::mem::take(&mut open));
                shaken_rows.extend(shaken.take_rows());
            }
            if after < 2 && open.is_empty() {
                // Only what both partitions have passed may be forgotten; the other record is not in yet.
                shaken = shaken.epoch(i64::MIN).restart();
            }
            open.push(record(id, v, n, time));
            last = partition;
            if after == 7 {
                shaken = shaken.from(name).input(std::mem::take(&mut open));
                shaken_rows.extend(shaken.take_rows());
                shaken = shaken.epoch(marks.iter().copied().min().unwrap_or(i64::MIN)).restart();
            }
        }
        shaken = shaken.from(["a", "b"][last]).input(open);
        shaken_rows.extend(shaken.take_rows());
        prop_assert_eq!(calm_rows, shaken_rows);
    }
}
