//! JOIN of two endless sides: what is late, what waits, what goes out with NULLs; and held against a batch.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};
use proptest::prelude::*;
use syncline_record::StepId;

use crate::{
    operator::{
        Operator,
        harness::{Bench, by, given, places, wanted, when},
    },
    operators::{
        Decode,
        time_join::{Bound, Recipe, Taken, TimeJoin},
    },
    simulation::input::{MIDNIGHT, SECOND},
};

const FIELDS: [&str; 3] = ["id", "at:time", "n"];

fn side(schema: &Schema, alias: &str) -> Taken {
    let named: SchemaRef = Arc::new(Schema::new(
        (schema.fields().iter())
            .map(|field| match field.name().starts_with("__") {
                true => field.as_ref().clone(),
                false => field.as_ref().clone().with_name(format!("{alias}{}", field.name())),
            })
            .collect::<Vec<Field>>(),
    ));
    let names = ["id", "at"].map(|name| format!("\"{alias}{name}\""));
    let key = by(&[names[0].as_str(), names[1].as_str()], &named);
    Taken { named, key, columns: vec![0, 2], behind: 0 }
}

/// By `id`, where `right.at - left.at` lies between these, in seconds.
fn joined(least: i64, most: i64, outer: bool, residual: Option<&'static str>) -> Bench {
    let make = move |schema: &Schema| -> Box<dyn Operator> {
        let (left, right) = (side(schema, ""), side(&Decode::new(wanted(&FIELDS)).schema(), "r."));
        let residual = residual.map(|sql| when(sql, &TimeJoin::pairs_schema(&left, &right)));
        let bound = Bound { least: least * SECOND, most: most * SECOND };
        Box::new(TimeJoin::new(Recipe { left, right, bound, residual, outer, time: None, ids: None }))
    };
    given(&FIELDS, make).with_right(&FIELDS)
}

fn at(id: impl ToString, second: i64, n: i64) -> String {
    let (minute, second) = (second.div_euclid(60), second.rem_euclid(60));
    format!(
        r#"{{"id":{},"at":"2026-11-20T{:02}:{:02}:{second:02}Z","n":{n}}}"#,
        id.to_string(),
        minute / 60,
        minute % 60
    )
}

fn pair(id: &str, n: i64, m: Option<i64>) -> String {
    let right = if m.is_some() { id } else { "null" };
    format!(r#"{{"id":{id},"n":{n},"r.id":{right},"r.n":{}}}"#, m.map_or("null".to_owned(), |m| m.to_string()))
}

fn time(second: i64) -> i64 {
    MIDNIGHT + second * SECOND
}

#[test]
fn rows_of_both_sides_meet_in_either_order_when_their_times_are_near_enough() {
    joined(-5, 10, false, None)
        .input([at(1, 100, 1), at(2, 100, 2)])
        .output(&[])
        .right([at(1, 94, 3), at(1, 95, 4), at(1, 110, 5), at(1, 111, 6)])
        .output(&[&pair("1", 1, Some(4)), &pair("1", 1, Some(5))])
        .input([at("1.0", 101, 7)])
        .output(&[r#"{"id":1.0,"n":7,"r.id":1,"r.n":5}"#, r#"{"id":1.0,"n":7,"r.id":1,"r.n":6}"#])
        .fates("7 absorbed");
}

#[test]
fn rows_of_every_task_are_records_of_its_own_partition() {
    let make = |task: u32| {
        move |schema: &Schema| -> Box<dyn Operator> {
            let (left, right) = (side(schema, ""), side(&Decode::new(wanted(&FIELDS)).schema(), "r."));
            let bound = Bound { least: 0, most: SECOND };
            let recipe = Recipe { left, right, bound, residual: None, outer: true, time: None, ids: None };
            Box::new(TimeJoin::new(recipe).of_task(task))
        }
    };
    let records = [at(1, 100, 1), at(2, 100, 2)];
    assert_eq!(places(&FIELDS, make(0), &records), ["step 1", "step 2"]);
    assert_eq!(places(&FIELDS, make(1), &records), ["step#1 1", "step#1 2"]);
}

#[test]
fn pairs_have_ids_of_their_own_whichever_side_came_first() {
    let fields = ["id", "at:time", "_id"];
    let make = |schema: &Schema| -> Box<dyn Operator> {
        let right = side(&Decode::new(wanted(&FIELDS)).schema(), "r.");
        let mut left = side(schema, "");
        left.columns = vec![0, 2];
        let bound = Bound { least: 0, most: 10 * SECOND };
        let ids = Some(StepId::new("arm/join"));
        Box::new(TimeJoin::new(Recipe { left, right, bound, residual: None, outer: true, time: None, ids }))
    };
    let left = |id: i64, name: &str| at(id, 100, 0).replace("\"n\":0", &format!("\"_id\":{name}"));
    let (left, right) = ([left(1, "7"), left(2, "8")], [at(1, 101, 1), at(1, 101, 1)]);
    let rows = |bench: Bench| {
        let mut rows = bench.epoch(time(111)).finish().taken();
        rows.sort_unstable();
        rows
    };
    let one = rows(
        given(&fields, make).with_right(&FIELDS).input(left.clone()).epoch(time(100)).restart().right(right.clone()),
    );
    let other = rows(given(&fields, make).with_right(&FIELDS).right(right).epoch(time(100)).restart().input(left));
    assert_eq!(one, other);
    assert_eq!(one.len(), 3, "{one:?}");
    assert!(one[0] != one[1], "{one:?}");
    assert_eq!(one.last().map(String::as_str), Some(r#"{"id":2,"_id":8,"r.id":null,"r.n":null}"#));
}

#[test]
fn null_matches_nothing_and_text_is_no_number() {
    joined(0, 10, false, None)
        .input([at("null", 1, 1), at(1, 1, 2), r#"{"id":1,"n":3}"#.to_owned()])
        .right([at("null", 1, 4), at("\"1\"", 1, 5)])
        .output(&[])
        .fates("2 absorbed · 3 filtered");
}

#[test]
fn a_row_behind_the_watermark_of_its_own_partition_is_late() {
    joined(0, 10, false, None)
        .input([at(1, 100, 1), at(1, 100, 2), at(1, 99, 3)])
        .right([at(1, 100, 4)])
        .output(&[&pair("1", 1, Some(4)), &pair("1", 2, Some(4))])
        .fates("3 absorbed · 1 late")
        .epoch(time(50))
        .from("new")
        .input([at(1, 49, 5)])
        .fates("1 late");
}

#[test]
fn left_rows_go_out_alone_when_no_partner_can_come_any_more() {
    joined(-5, 10, true, None)
        .input([at(1, 100, 1), at(2, 105, 2), at(3, 105, 3), at("null", 106, 4)])
        .output(&[r#"{"id":null,"n":4,"r.id":null,"r.n":null}"#])
        .right([at(2, 109, 9)])
        .output(&[&pair("2", 2, Some(9))])
        .epoch(time(110))
        .output(&[])
        .restart()
        .epoch(time(111))
        .output(&[&pair("1", 1, None)])
        .restart()
        .epoch(time(112))
        .output(&[])
        .finish()
        .output(&[&pair("3", 3, None)])
        .restart()
        .right([at(3, 112, 8), at(2, 112, 7)])
        .output(&[&pair("2", 2, Some(7))])
        .finish()
        .output(&[]);
}

#[test]
fn what_else_the_condition_says_is_judged_on_pairs_and_one_that_it_fails_on_is_dead() {
    let condition = "CAST(\"r.n\" AS BIGINT) > n";
    let text = |id: i64| format!(r#"{{"id":{id},"at":"2026-11-20T00:00:01Z","n":"x"}}"#);
    joined(0, 10, true, Some(condition))
        .input([at(1, 1, 5), at(2, 1, 5)])
        .right([text(2), at(1, 2, 5), at(1, 3, 6)])
        .output(&[&pair("1", 5, Some(6))])
        .fates("5 absorbed · 1 dead (r.n: `\"x\"` is not a BIGINT)")
        .finish()
        .output(&[]);
}

#[test]
fn a_key_with_many_rows_comes_out_in_batches_and_whole() {
    let rows: Vec<String> = (0..200).map(|n| at(1, 5, n)).collect();
    let mut bench = joined(0, 10, false, None).input(&rows).right(&rows);
    assert_eq!(bench.take_rows().len(), 40_000);
}

#[test]
fn state_goes_when_nobody_can_need_it_and_an_epoch_writes_what_it_added() {
    let mut bench = joined(0, 60, false, None);
    let mut stored = vec![];
    for minute in 0..20 {
        let rows: Vec<String> = (0..1_000).map(|n| at(minute * 1_000 + n, minute * 60 + n / 20, n)).collect();
        bench = bench.input(&rows).right(&rows[..1]).epoch(time(minute * 60));
        stored.push(bench.stored());
    }
    let keys = bench.operator.size().keys;
    assert!(keys <= 3_500, "{keys} rows are kept of a reach of one minute");
    assert!(stored[19] < stored[4] * 5 / 4, "{stored:?}");
    let each = stored[19] as u64 / keys;
    assert!(each < 90, "{each} bytes for a row of 25 bytes of columns");
}

#[derive(Clone, Debug)]
struct Step {
    partition: usize,
    key: usize,
    time: i64,
    ends_batch: bool,
    ends_epoch: bool,
    restarts: bool,
}

/// Disorder: times go on, and jump back and forth in two partitions of each side.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4usize, 0..4usize, -40..30i64, any::<[bool; 3]>(), 0..4u8);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let numbered = steps.into_iter().enumerate();
        numbered
            .map(|(index, (partition, key, jitter, [ends_batch, ends_epoch, restarts], calm))| Step {
                partition,
                key,
                time: 100 + index as i64 * 4 + jitter,
                ends_batch,
                ends_epoch: ends_epoch && calm == 0,
                restarts: restarts && calm == 0,
            })
            .collect()
    })
}

const KEYS: [&str; 4] = ["1", "2", "\"a\"", "null"];

/// What a batch makes of the rows that are not late: the joined rows, and how many are absorbed, filtered, late.
fn oracle(steps: &[Step], least: i64, most: i64, outer: bool) -> (Vec<String>, [usize; 3]) {
    let mut marks = [i64::MIN; 4];
    let mut fates = [0; 3];
    let (mut left, mut right) = (vec![], vec![]);
    for (n, step) in steps.iter().enumerate() {
        let mark = marks[step.partition];
        marks[step.partition] = mark.max(step.time);
        let is_left = step.partition < 2;
        if step.time < mark {
            fates[2] += 1;
            continue;
        }
        fates[usize::from(step.key == 3 && !(outer && is_left))] += 1;
        if is_left { left.push((n, step)) } else { right.push((n, step)) }
    }
    let mut rows = vec![];
    for (n, one) in &left {
        let near = |other: &&&(usize, &Step)| {
            let (_, other) = **other;
            other.key == one.key && one.key != 3 && (least..=most).contains(&(other.time - one.time))
        };
        let partners: Vec<_> = right.iter().filter(|other| near(&other)).collect();
        rows.extend(partners.iter().map(|(m, _)| pair(KEYS[one.key], *n as i64, Some(*m as i64))));
        if partners.is_empty() && outer {
            rows.push(pair(KEYS[one.key], *n as i64, None));
        }
    }
    rows.sort();
    (rows, fates)
}

fn played(mut bench: Bench, steps: &[Step]) -> (Bench, Vec<String>) {
    let mut marks = [i64::MIN; 4];
    let mut waiting: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut found = vec![];
    for (index, step) in steps.iter().enumerate() {
        waiting.entry(step.partition).or_default().push(at(KEYS[step.key], step.time, index as i64));
        marks[step.partition] = marks[step.partition].max(time(step.time));
        let ends = step.ends_epoch || step.restarts;
        if step.ends_batch || ends || index + 1 == steps.len() {
            for (partition, rows) in std::mem::take(&mut waiting) {
                bench = bench.from(["x", "y"][partition % 2]);
                bench = if partition < 2 { bench.input(rows) } else { bench.right(rows) };
            }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn joined_rows_are_those_of_a_batch(
        steps in steps(), least in -30..20i64, span in 0..50i64, outer in any::<bool>()
    ) {
        let (rows, [absorbed, filtered, late]) = oracle(&steps, least, least + span, outer);
        let (bench, found) = played(joined(least, least + span, outer, None), &steps);
        prop_assert_eq!(found, rows);
        let one = |count: usize, fate: &str| (count > 0).then(|| format!("{count} {fate}"));
        let fates = [one(absorbed, "absorbed"), one(filtered, "filtered"), one(late, "late")];
        bench.fates(&fates.into_iter().flatten().collect::<Vec<_>>().join(" · "));
    }
}
