//! What holds for every text: no panic, the same answer twice, plans that can be stored, expressions that can be read back.

use datafusion::{arrow::datatypes::Field, common::DFSchema};
use proptest::prelude::*;
use syncline_functions::{Planner, sql_type_of};

use super::{samples::SAMPLES, *};
use crate::plan::{Column, FilePlan, StepKind};

/// Files whose plans have every kind of step.
const FILES: [&str; 4] = [SAMPLES[0], super::plans::ARMS, super::plans::OPEN, super::plans::NAMES];

#[test]
fn the_same_text_gives_the_same_plan_byte_for_byte() {
    for file in FILES {
        let bytes = || serde_json::to_string(&checked(file).plan).expect("a plan is JSON");
        assert_eq!(bytes(), bytes());
    }
}

#[test]
fn a_stored_plan_is_read_back_as_it_was() {
    for file in FILES {
        let plan = checked(file).plan;
        assert!(!plan.pipelines.is_empty());
        let text = serde_json::to_string(&plan).expect("a plan is JSON");
        assert_eq!(serde_json::from_str::<FilePlan>(&text).expect("a plan"), plan);
    }
}

fn scope(columns: &[Column]) -> DFSchema {
    let fields: Vec<Field> =
        columns.iter().map(|column| column.kind.field(&column.name).expect("a type of a plan")).collect();
    DFSchema::from_unqualified_fields(fields.into(), Default::default()).expect("columns")
}

/// Over the columns that a plan lists before a step, the text that it has for each column gives the type that it lists after it.
#[test]
fn expressions_of_a_plan_are_read_back_with_the_types_that_it_lists() {
    let planner = Planner::new();
    let mut read = 0;
    for file in FILES {
        for plan in checked(file).plan.pipelines {
            let mut before: Vec<Column> = Vec::new();
            for step in &plan.flow {
                if let (StepKind::Project { columns, .. }, false) = (&step.kind, before.is_empty()) {
                    let scope = scope(&before);
                    for ((name, sql), column) in columns.iter().zip(&step.columns) {
                        let typed = planner.expr(&planner.parse(sql).expect(sql), &scope).expect(sql);
                        assert_eq!((name, &sql_type_of(typed.field())), (&column.name, &column.kind.0), "{sql}");
                        read += 1;
                    }
                }
                before = step.columns.clone();
            }
        }
    }
    assert!(read > 20, "{read}");
}

/// A place in the text, as a share of its length; and what to do there.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(f64, usize),
    Double(f64, usize),
    Swap(f64, f64),
    Insert(f64, &'static str),
}

const PIECES: [&str; 24] = [
    "|>",
    ";",
    "'",
    "\"",
    "(",
    ")",
    ",",
    ".",
    "*",
    " AS i ",
    " i.",
    "user",
    "_key",
    "__row",
    " SELECT ",
    " DROP id ",
    " RENAME id AS total ",
    " EXTEND 1 AS id ",
    "NULL",
    "CASE WHEN ",
    "é",
    "\u{0}",
    " DEDUP ",
    " SHARD BY id INTO 0 ",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || 0.0..1.0;
    prop_oneof![
        (place(), 1..12usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place(), 1..60usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        (place(), place()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        (place(), prop::sample::select(PIECES.to_vec())).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
    ]
}

fn mutated(text: &str, mutations: &[Mutation]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for mutation in mutations {
        let at = |share: &f64| ((text.len() as f64) * share) as usize;
        match mutation {
            Mutation::Delete(share, length) => {
                let start = at(share);
                text.drain(start..(start + length).min(text.len()));
            }
            Mutation::Double(share, length) => {
                let start = at(share);
                let copy: Vec<char> = text[start..(start + length).min(text.len())].to_vec();
                text.splice(start..start, copy);
            }
            Mutation::Swap(one, other) if !text.is_empty() => {
                let (one, other) = (at(one).min(text.len() - 1), at(other).min(text.len() - 1));
                text.swap(one, other);
            }
            Mutation::Swap(..) => {}
            Mutation::Insert(share, piece) => {
                let start = at(share);
                text.splice(start..start, piece.chars());
            }
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_text_makes_it_panic_and_every_message_has_a_place_and_a_page(
        file in 0..SAMPLES.len() + FILES.len(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let source = mutated(SAMPLES.iter().chain(&FILES).nth(file).expect("one of them"), &mutations);
        let checked = checked(&source);
        for one in &checked.diagnostics {
            prop_assert!(!one.labels.is_empty(), "{one:?}");
            prop_assert!(one.labels.iter().all(|label| label.span.end <= source.len()), "{one:?}");
            prop_assert!(crate::explain(one.slug).is_some(), "{one:?}");
        }
        prop_assert!(said(&checked, &source).is_empty() == checked.diagnostics.is_empty());
        for plan in &checked.plan.pipelines {
            prop_assert!(!plan.to_string().is_empty());
            prop_assert_eq!(plan.digest(), plan.clone().digest());
        }
    }
}
