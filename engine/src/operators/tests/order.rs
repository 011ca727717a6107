//! ORDER BY and LIMIT.

use std::sync::Arc;

use arrow::datatypes::Schema;
use syncline_functions::{Planner, Projection};

use crate::{
    operator::{
        Operator,
        harness::{by, given},
    },
    operators::{Direction, Limit, Sort},
    simulation::pipeline::typed,
};

fn sort(descending: bool, most: Option<u64>) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| {
        let directions = [Direction { descending, nulls_first: descending }];
        Box::new(
            Sort::new(by(&["n"], schema), &directions, most, Arc::new(schema.clone())).expect("numbers have an order"),
        )
    }
}

const FIELDS: [&str; 2] = ["n:int", "id"];

fn record(n: &str, id: u32) -> String {
    format!(r#"{{"n":{n},"id":{id}}}"#)
}

#[test]
fn rows_come_out_in_order_at_the_end_and_equal_ones_as_they_came() {
    given(&FIELDS, sort(false, None))
        .input([record("3", 1), record("null", 2), record("-1", 3), record("3", 4)])
        .output(&[])
        .fates("4 absorbed")
        .finish()
        .output(&[r#"{"n":-1,"id":3}"#, r#"{"n":3,"id":1}"#, r#"{"n":3,"id":4}"#, r#"{"n":null,"id":2}"#]);
}

#[test]
fn a_key_that_is_computed_orders_before_and_after_a_restart_and_a_row_without_one_is_dead() {
    let sort = |schema: &Schema| -> Box<dyn Operator> {
        let planner = Planner::new();
        let key = vec![("k".to_owned(), typed(&planner, "CAST(n AS BIGINT)", schema))];
        let key = Projection::new(&planner, key, schema).expect("a cast");
        let directions = [Direction { descending: false, nulls_first: false }];
        Box::new(Sort::new(key, &directions, None, Arc::new(schema.clone())).expect("numbers have an order"))
    };
    let sorted = [r#"{"n":1,"id":5}"#, r#"{"n":2,"id":3}"#, r#"{"n":"3","id":1}"#];
    given(&["n", "id"], sort)
        .input([record(r#""3""#, 1), record(r#""x""#, 2), record("2", 3)])
        .fates("2 absorbed · 1 dead (n: `\"x\"` is not a BIGINT)")
        .epoch(0)
        .restart()
        .input([record("1", 5)])
        .finish()
        .output(&sorted);
}

#[test]
fn what_waits_survives_a_restart_and_is_gone_when_it_went_out() {
    let bench =
        given(&FIELDS, sort(true, None)).input([record("1", 1), record("2", 2)]).epoch(0).input([record("9", 9)]);
    // The last record was not committed: its source gives it again.
    let bench = bench.restart().input([record("9", 9)]).epoch(0).finish();
    let bench = bench.output(&[r#"{"n":9,"id":9}"#, r#"{"n":2,"id":2}"#, r#"{"n":1,"id":1}"#]);
    assert_eq!(bench.stored(), 0);
    bench.restart().finish().output(&[]);
}

#[test]
fn no_more_rows_are_kept_than_a_limit_takes() {
    let all = (0..140_000u32).map(|id| record(&(id * 7919 % 140_000).to_string(), id));
    let mut bench = given(&FIELDS, sort(false, Some(2)));
    for records in all.collect::<Vec<_>>().chunks(1_000) {
        bench.try_input(records).expect("rows");
    }
    assert!(bench.operator.size().keys < 70_000, "{:?}", bench.operator.size());
    let rows = [record("0", 0), record("1", 17_679)];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    bench.finish().output(&rows);
}

#[test]
fn a_limit_counts_on_after_a_restart_and_anew_after_the_end() {
    let limit = |_: &Schema| -> Box<dyn Operator> { Box::new(Limit::new(2, 1)) };
    let three = || [record("1", 1), record("2", 2), record("3", 3)];
    given(&FIELDS, limit)
        .input(three())
        .output(&[&record("2", 2), &record("3", 3)])
        .fates("2 passed · 1 filtered")
        .epoch(0)
        .restart()
        .input(three())
        .fates("3 filtered")
        .finish()
        .restart()
        .input(three())
        .fates("2 passed · 1 filtered");
}
