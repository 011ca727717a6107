//! WHERE, SELECT, EXPECT, SHARD, and the group of a REPLACE.

use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use syncline_functions::{Planner, Projection, Typed};
use syncline_record::{Fate, batch::OP, keys::derived_id, keys::lane};

use crate::{
    operator::{
        Halt, Operator, Output,
        harness::{by, given, when},
    },
    operators::{Arms, Expect, Filter, Group, Lanes, Project, Violation, arms::Ids},
    simulation::pipeline::typed,
};

const AMOUNTS: [&str; 4] = [r#"{"amount":11}"#, r#"{"amount":null}"#, r#"{"amount":"ten"}"#, r#"{"amount":9}"#];

fn filter(sql: &'static str, clears: bool) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| Box::new(Filter::new(when(sql, schema), clears))
}

#[test]
fn where_null_is_filtered_and_a_failure_is_dead() {
    given(&["amount"], filter("amount > 10", false))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#])
        .fates("1 passed · 2 filtered · 1 dead (amount: `\"ten\"` is not a number)");
}

#[test]
fn where_before_a_replace_lets_filtered_rows_clear_their_group() {
    given(&["amount"], filter("amount > 10", true))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#, r#"~{"amount":null}"#, r#"~{"amount":9}"#])
        .fates("1 passed · 2 filtered · 1 dead (amount: `\"ten\"` is not a number)");
}

/// Runs rows through two operators.
struct Two(Box<dyn Operator>, Box<dyn Operator>);

impl Operator for Two {
    fn push(&mut self, batch: syncline_record::Batch, out: &mut Output) -> Result<(), Halt> {
        let mut between = Output::new(out.step().clone(), false);
        self.0.push(batch, &mut between)?;
        // What passed the first is judged by the second.
        between.books.fates[Fate::Passed as usize] = 0;
        between.books.rows_out = 0;
        out.books.add(&between.books);
        out.ledger.extend(between.ledger);
        out.dead.extend(between.dead);
        let emitted = between.emitted;
        emitted.into_iter().try_for_each(|batch| self.1.push(batch, out))
    }
}

fn with_op(schema: &Schema) -> Schema {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(OP, DataType::UInt8, true)));
    Schema::new(fields)
}

/// The column `__op` was there only in batches with a filtered row, and each later expression then failed on every row.
#[test]
fn steps_after_a_clearing_where_find_their_columns_in_every_batch() {
    given(&["amount"], |schema| {
        let first = Filter::new(when("amount > 10", schema), true);
        Box::new(Two(Box::new(first), Box::new(Filter::new(when("amount > 20", &with_op(schema)), true))))
    })
    .input([r#"{"amount":30}"#])
    .output(&[r#"{"amount":30}"#])
    .input([r#"{"amount":30}"#, r#"{"amount":15}"#, r#"{"amount":5}"#])
    .output(&[r#"{"amount":30}"#, r#"~{"amount":15}"#, r#"~{"amount":5}"#])
    .fates("2 passed · 2 filtered");
}

fn project(columns: &'static [(&'static str, &'static str)]) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| {
        let planner = Planner::new();
        let made: Vec<(String, Typed)> =
            columns.iter().map(|(name, sql)| (name.to_string(), typed(&planner, sql, schema))).collect();
        Box::new(Project::new(Projection::new(&planner, made, schema).unwrap(), schema))
    }
}

#[test]
fn select_makes_columns_and_a_row_that_fails_is_dead() {
    given(&["id", "total"], project(&[("total", "CAST(total AS DECIMAL(12, 2))"), ("id", "id")]))
        .input([r#"{"id":1,"total":"9.5"}"#, r#"{"id":2,"total":"x"}"#, r#"{"id":3}"#])
        .output(&[r#"{"total":9.50,"id":1}"#, r#"{"total":null,"id":3}"#])
        .fates("2 passed · 1 dead (total: `\"x\"` is not a DECIMAL(12, 2))");
}

/// Hidden columns were taken by their position: a lane beside an operation that came in between got lost.
#[test]
fn select_takes_hidden_columns_along_whatever_order_they_have() {
    given(&["amount"], |schema| {
        let lanes = Lanes::new(by(&["amount"], schema), 4);
        let static_schema = schema.clone();
        let chain = Two(
            Box::new(Filter::new(when("amount > 10", schema), true)),
            Box::new(Two(Box::new(lanes), project(&[("amount", "amount")])(&static_schema))),
        );
        Box::new(chain)
    })
    .input([r#"{"amount":11}"#, r#"{"amount":1}"#])
    .output(&[r#"{"amount":11}"#, r#"~{"amount":1}"#])
    .fates("1 passed · 1 filtered");
}

fn expect(violation: Violation, clears: bool) -> impl Fn(&Schema) -> Box<dyn Operator> {
    move |schema| {
        let rule = when("amount >= 10", schema);
        Box::new(Expect::new(rule, "enough".into(), violation, clears, metrics::Counter::noop()))
    }
}

#[test]
fn expect_drops_buries_warns_or_stops() {
    const DEAD: &str = "amount: `\"ten\"` is not a number";
    given(&["amount"], expect(Violation::Drop, false))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#])
        .fates(&format!("1 passed · 2 filtered · 1 dead ({DEAD})"));
    given(&["amount"], expect(Violation::Drop, true))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#, r#"~{"amount":null}"#, r#"~{"amount":9}"#])
        .fates(&format!("1 passed · 2 filtered · 1 dead ({DEAD})"));
    given(&["amount"], expect(Violation::DeadLetter, false))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#])
        .fates(&format!("1 passed · 3 dead (enough does not hold; {DEAD}; enough does not hold)"));
    given(&["amount"], expect(Violation::Warn, false))
        .input(AMOUNTS)
        .output(&[r#"{"amount":11}"#, r#"{"amount":null}"#, r#"{"amount":9}"#])
        .fates(&format!("3 passed · 1 dead ({DEAD})"));
    let halted = given(&["amount"], expect(Violation::Fail, false)).try_input(AMOUNTS);
    let violation = Halt::Violation { step: "step".into(), place: "a:2".into(), detail: "enough".into() };
    assert_eq!(halted, Err(violation));
}

#[test]
fn lanes_are_those_of_kafkas_partitioner_and_null_has_the_first() {
    let mut bench = given(&["k"], |schema| {
        let lanes = Lanes::new(by(&["k"], schema), 12);
        Box::new(Two(Box::new(lanes), project_lane(schema)))
    })
    .input([r#"{"k":"a"}"#, r#"{"k":7}"#, r#"{"k":null}"#, r#"{"k":"7"}"#]);
    let wanted: Vec<String> = [lane(b"a", 12), lane(b"7", 12), 0, lane(b"7", 12)]
        .iter()
        .map(|lane| format!(r#"{{"lane":{lane}}}"#))
        .collect();
    assert_eq!(bench.take_rows(), wanted);
}

fn project_lane(schema: &Schema) -> Box<dyn Operator> {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("__lane", DataType::UInt32, true)));
    project(&[("lane", "__lane")])(&Schema::new(fields))
}

#[test]
fn arms_mark_deletes_and_keep_rows_without_a_key() {
    given(&["id", "gone"], |schema| Box::new(Arms::new(by(&["id"], schema), Some(when("gone = true", schema)))))
        .input([r#"{"id":1}"#, r#"{"id":2,"gone":true}"#, r#"{"id":null,"gone":false}"#, r#"{"id":4,"gone":"maybe"}"#])
        .output(&[r#"{"id":1,"gone":null}"#, r#"-{"id":2,"gone":true}"#, r#"{"id":null,"gone":false}"#])
        .fates("3 passed · 1 dead (gone: `\"maybe\"` is not a BOOLEAN)");
}

#[test]
fn ids_of_derived_rows_follow_from_key_and_arm() {
    let id = derived_id(b"7", "people", 0);
    given(&["id"], |schema| Box::new(Ids::new(by(&["id"], schema), "people".into())))
        .input([r#"{"id":7}"#, r#"{"id":"7"}"#, r#"{"id":null}"#])
        .output(&[
            &format!(r#"{{"id":7,"_id":"{id}"}}"#),
            &format!(r#"{{"id":"7","_id":"{id}"}}"#),
            r#"{"id":null,"_id":null}"#,
        ])
        .fates("3 passed");
}

#[test]
fn a_row_without_a_group_is_dead() {
    given(&["id"], |schema| Box::new(Group::new(by(&["id"], schema), "id".into())))
        .input([r#"{"id":7}"#, r#"{"id":null}"#, r#"{}"#])
        .output(&[r#"{"id":7}"#])
        .fates("1 passed · 2 dead (id is NULL; id is NULL)");
}
