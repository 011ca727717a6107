//! AGGREGATE, one window or none, over records as they come in.

use std::sync::LazyLock;

use arrow::datatypes::Schema;
use syncline_functions::{Aggregates, Planner, Projection};

use crate::{
    operator::{
        Operator,
        harness::{Bench, given, places},
    },
    operators::aggregate::{Recipe, Whole, Window, Windows},
    simulation::{
        input::MIDNIGHT,
        pipeline::{calls, typed},
    },
};

static PLANNER: LazyLock<Planner> = LazyLock::new(Planner::new);

const CALLS: [(&str, &str); 2] = [("rows", "count(*)"), ("sum", "sum(n)")];
const SECOND: i64 = 1_000_000;

fn recipe(time: Option<&str>, keys: &[&str], schema: &Schema) -> Recipe {
    recipe_of(&CALLS, time, keys, schema)
}

fn recipe_of(named: &[(&str, &str)], time: Option<&str>, keys: &[&str], schema: &Schema) -> Recipe {
    let calls = calls(&PLANNER, named, schema);
    let mut taken = vec![];
    taken.extend(time.map(|time| (time.to_owned(), typed(&PLANNER, time, schema))));
    let keyed = keys.iter().map(|key| ((*key).to_owned(), typed(&PLANNER, key, schema)));
    taken.extend(keyed);
    let fields = taken[usize::from(time.is_some())..].iter().map(|(_, key)| key.field().clone()).collect();
    taken.extend(Aggregates::taken(&calls));
    Recipe {
        taken: Projection::new(&PLANNER, taken, schema).expect("columns of the test"),
        aggregates: Aggregates::new(fields, &calls).expect("calls of the test"),
    }
}

/// `GROUP BY window(t), k`, with sizes in seconds.
pub fn windows(size: i64, slide: i64) -> Bench {
    let window = Window { size: size * SECOND, slide: slide * SECOND };
    given(&["t:time", "k", "n:int"], move |schema| {
        Box::new(Windows::new(recipe(Some("t"), &["k"], schema), window, ("at", 0), true)) as Box<dyn Operator>
    })
}

/// `GROUP BY session(t, gap), k`, with the gap in seconds.
pub fn sessions(gap: i64) -> Bench {
    given(&["t:time", "k", "n:int"], move |schema| {
        let bounds = [("first", "min(t)"), ("last", "max(t)")];
        let recipe = recipe_of(&[&bounds[..], &CALLS].concat(), Some("t"), &["k"], schema);
        Box::new(Windows::sessions(recipe, gap * SECOND, ("at", 0), true)) as Box<dyn Operator>
    })
}

fn whole(keys: &'static [&'static str]) -> Bench {
    given(&["k", "n:int"], move |schema| Box::new(Whole::new(recipe(None, keys, schema))) as Box<dyn Operator>)
}

/// A record `seconds` after midnight.
pub fn at(seconds: i64, key: &str, n: i64) -> String {
    let time = format!("2026-11-20T00:{:02}:{:02}Z", seconds / 60, seconds % 60);
    format!(r#"{{"t": "{time}", "k": "{key}", "n": {n}}}"#)
}

pub fn row(seconds: i64, key: &str, rows: u64, sum: i64) -> String {
    let time = format!("2026-11-20T00:{:02}:{:02}Z", seconds / 60, seconds % 60);
    format!(r#"{{"at":"{time}","k":"{key}","rows":{rows},"sum":{sum}}}"#)
}

fn lowest(seconds: i64) -> i64 {
    MIDNIGHT + seconds * SECOND
}

trait Rows {
    fn gives(self, rows: &[String]) -> Self;
}

impl Rows for Bench {
    #[track_caller]
    fn gives(self, rows: &[String]) -> Self {
        self.output(&rows.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn groups_of_every_task_are_records_of_its_own_partition() {
    let records =
        [(0, "a"), (1, "b")].map(|(second, k)| format!(r#"{{"t":"2026-11-20T10:00:0{second}Z","k":"{k}","n":1}}"#));
    let fields = ["t:time", "k", "n:int"];
    let tumble = |task: u32| {
        move |schema: &Schema| {
            let window = Window::tumble(60 * SECOND);
            let windows = Windows::new(recipe(Some("t"), &["k"], schema), window, ("at", 0), true);
            Box::new(windows.of_task(task)) as Box<dyn Operator>
        }
    };
    let whole = |task: u32| {
        move |schema: &Schema| Box::new(Whole::new(recipe(None, &["k"], schema)).of_task(task)) as Box<dyn Operator>
    };
    assert_eq!(places(&fields, tumble(0), &records), ["step 1", "step 2"]);
    assert_eq!(places(&fields, tumble(2), &records), ["step#2 1", "step#2 2"]);
    assert_eq!(places(&fields, whole(0), &records), ["step 1", "step 2"]);
    assert_eq!(places(&fields, whole(2), &records), ["step#2 1", "step#2 2"]);
}

#[test]
fn a_window_goes_out_when_the_lowest_watermark_passes_its_end() {
    windows(60, 60)
        .input([at(1, "a", 1), at(2, "b", 2), at(59, "a", 3), at(61, "a", 4)])
        .epoch(lowest(59))
        .output(&[])
        .epoch(lowest(60))
        .gives(&[row(0, "a", 2, 4), row(0, "b", 1, 2)])
        .fates("4 absorbed");
}

#[test]
fn a_row_is_late_when_its_own_partition_has_passed_the_end_of_its_window() {
    windows(60, 60)
        .input([at(1, "a", 1), at(70, "a", 2), at(2, "a", 4)])
        .from("b")
        .input([at(3, "a", 8)])
        .fates("3 absorbed · 1 late")
        .epoch(lowest(60))
        .gives(&[row(0, "a", 2, 9)]);
}

#[test]
fn a_row_of_a_partition_that_nobody_waited_for_is_late_for_that_reason() {
    let bench = windows(60, 60).input([at(1, "a", 1), at(70, "a", 2)]).epoch(lowest(60)).gives(&[row(0, "a", 1, 1)]);
    bench.from("idle").input([at(2, "a", 4)]).fates("2 absorbed · 1 late").finish().gives(&[row(60, "a", 1, 2)]);
}

#[test]
fn a_row_of_a_hop_counts_in_the_windows_that_are_open_to_it() {
    let bench = windows(60, 20).input([at(50, "a", 1), at(81, "a", 2), at(45, "a", 4)]).fates("3 absorbed");
    assert_eq!(bench.late_windows, 2, "two windows of the last row were over");
    bench.finish().gives(&[
        row(0, "a", 1, 1),
        row(20, "a", 1, 1),
        row(40, "a", 3, 7),
        row(60, "a", 1, 2),
        row(80, "a", 1, 2),
    ]);
}

#[test]
fn a_restart_goes_on_from_what_the_epochs_have_added() {
    windows(60, 60)
        .input([at(1, "a", 1), at(2, "b", 2)])
        .epoch(lowest(1))
        .input([at(3, "a", 4)])
        .epoch(lowest(2))
        .input([at(4, "a", 8)])
        .epoch(lowest(3))
        .restart()
        .input([at(5, "c", 16)])
        .epoch(lowest(60))
        .gives(&[row(0, "a", 3, 13), row(0, "b", 1, 2), row(0, "c", 1, 16)])
        .restart()
        .epoch(lowest(61))
        .output(&[]);
}

#[test]
fn a_window_that_the_end_has_closed_does_not_come_again() {
    windows(60, 60)
        .input([at(1, "a", 1)])
        .finish()
        .gives(&[row(0, "a", 1, 1)])
        .restart()
        .input([at(2, "a", 1), at(60, "a", 2)])
        .fates("2 absorbed · 1 late")
        .finish()
        .gives(&[row(60, "a", 1, 2)]);
}

#[test]
fn a_closed_window_leaves_nothing_behind_but_a_note() {
    let bench = windows(60, 60).input([at(1, "a", 1)]).epoch(lowest(1)).epoch(lowest(60));
    assert_eq!(bench.stored(), 24);
    assert_eq!(bench.operator.size().keys, 0);
}

#[test]
fn rows_of_one_batch_lie_in_windows_side_by_side_or_far_apart() {
    for seconds in [1, 70, 3000] {
        windows(1, 1)
            .input([at(0, "a", 1), at(seconds, "b", 2)])
            .fates("2 absorbed")
            .finish()
            .gives(&[row(0, "a", 1, 1), row(seconds, "b", 1, 2)]);
    }
}

#[test]
fn a_row_that_fails_fails_alone() {
    windows(60, 60)
        .input([at(1, "a", 1), r#"{"t": null, "k": "a", "n": 1}"#.to_owned(), at(2, "a", 2)])
        .fates("2 absorbed · 1 dead (the time of its window is NULL)")
        .finish()
        .gives(&[row(0, "a", 2, 3)]);
}

#[test]
fn a_session_goes_out_when_no_row_can_come_to_it_any_more() {
    sessions(10)
        .input([at(100, "a", 1), at(109, "a", 2), at(119, "a", 4), at(112, "b", 8)])
        .epoch(lowest(119))
        .output(&[])
        .from("b")
        .input([at(118, "b", 16), at(127, "b", 32)])
        .epoch(lowest(130))
        .gives(&[row(100, "a", 2, 3)])
        .restart()
        .epoch(lowest(140))
        .gives(&[row(119, "a", 1, 4)])
        .restart()
        .epoch(lowest(150))
        .gives(&[row(112, "b", 3, 56)])
        .fates("6 absorbed")
        .restart()
        .finish()
        .output(&[]);
}

#[test]
fn without_a_window_groups_go_out_at_the_end_with_their_totals() {
    let counted = |key: &str, rows: u64, sum: i64| format!(r#"{{"k":"{key}","rows":{rows},"sum":{sum}}}"#);
    let line = |key: &str, n: i64| format!(r#"{{"k": "{key}", "n": {n}}}"#);
    whole(&["k"])
        .input([line("a", 1), line("b", 2), line("a", 4)])
        .epoch(0)
        .output(&[])
        .restart()
        .finish()
        .gives(&[counted("a", 2, 5), counted("b", 1, 2)])
        .restart()
        .input([line("b", 8), line("c", 16)])
        .epoch(0)
        .finish()
        .gives(&[counted("b", 2, 10), counted("c", 1, 16)])
        .restart()
        .finish()
        .output(&[]);
}

#[test]
fn all_rows_are_one_group_and_no_row_is_one_too() {
    whole(&[]).finish().output(&[r#"{"rows":0,"sum":null}"#]).restart().finish().output(&[]);
    let lines = (0..3).map(|n| format!(r#"{{"n": {n}}}"#));
    whole(&[]).input(lines).epoch(0).restart().finish().output(&[r#"{"rows":3,"sum":3}"#]);
}
