//! JOIN with a table, UNION: records and a table in, rows and fates out.

use std::sync::{Arc, Mutex};

use arrow::{
    array::{ArrayRef, UInt8Array},
    datatypes::Schema,
};
use syncline_record::{Batch, Op, StepId, batch::OP};

use crate::{
    operator::{
        Operator, Output,
        harness::{NOW, by, given, given_wanted, origin, shown, wanted, when},
    },
    operators::{Decode, TableJoin, Union, present::put_column},
    simulation::{further::called_right, lines::Lines},
    source::SourceError,
    table::{Shelf, TableInput},
};

/// A table that the test can change between two readings; `None` cannot be read.
type Given = Arc<Mutex<Option<Vec<String>>>>;

fn read(lines: &Given) -> Result<Vec<String>, SourceError> {
    let unreadable = || SourceError::Unreadable { what: "repos".into(), detail: "is not there".into() };
    lines.lock().unwrap().clone().ok_or_else(unreadable)
}

fn lines(rows: &[&str]) -> Given {
    Arc::new(Mutex::new(Some(rows.iter().map(|row| row.to_string()).collect())))
}

/// A table of `id` and `name`, called `r`, and the shelf that it is put on.
fn table(lines: &Given) -> (TableInput, Arc<Shelf>) {
    let from = lines.clone();
    let decode = Decode::new(wanted(&["id", "name"]));
    let renamed = called_right(&decode.schema());
    let shelf = Arc::new(Shelf::new(Arc::new(renamed.project(&[1]).unwrap())));
    let table = TableInput {
        step: StepId::new("join/table"),
        source: Box::new(Lines::new("repos", move || read(&from))),
        decode,
        key: by(&["\"r.id\""], &renamed),
        renamed,
        columns: vec![1],
        refresh: None,
        shelf: shelf.clone(),
    };
    (table, shelf)
}

/// A join by `id` with a table that was read.
fn joined(
    rows: &[&str],
    left: bool,
    residual: Option<&'static str>,
) -> impl Fn(&Schema) -> Box<dyn Operator> + 'static + use<> {
    let (mut input, shelf) = table(&lines(rows));
    input.read(NOW).expect("a table that can be read");
    move |schema| {
        let both = TableJoin::schema(schema, &shelf.schema());
        let residual = residual.map(|sql| when(sql, &both));
        Box::new(TableJoin::new(by(&["id"], schema), residual, shelf.clone(), left, false))
    }
}

const REPOS: [&str; 4] = [
    r#"{"id":7,"name":"a"}"#,
    r#"{"id":"7","name":"text"}"#,
    r#"{"id":7.0,"name":"b"}"#,
    r#"{"id":null,"name":"nobody"}"#,
];

const EVENTS: [&str; 4] = [r#"{"id":7}"#, r#"{"id":8}"#, r#"{}"#, r#"{"id":"7"}"#];

#[test]
fn rows_go_on_for_each_row_of_the_table_with_an_equal_key_and_null_equals_nothing() {
    given(&["id"], joined(&REPOS, false, None))
        .input(EVENTS)
        .output(&[r#"{"id":7,"r.name":"a"}"#, r#"{"id":7,"r.name":"b"}"#, r#"{"id":"7","r.name":"text"}"#])
        .fates("2 passed · 2 filtered");
}

#[test]
fn left_keeps_what_matches_nothing() {
    given(&["id"], joined(&REPOS, true, None))
        .input(EVENTS)
        .output(&[
            r#"{"id":7,"r.name":"a"}"#,
            r#"{"id":7,"r.name":"b"}"#,
            r#"{"id":8,"r.name":null}"#,
            r#"{"id":null,"r.name":null}"#,
            r#"{"id":"7","r.name":"text"}"#,
        ])
        .fates("4 passed");
}

#[test]
fn what_else_the_condition_says_is_judged_on_each_pair_and_a_failure_is_the_rows_own() {
    let rows = [r#"{"id":1,"name":5}"#, r#"{"id":1,"name":50}"#, r#"{"id":2,"name":"x"}"#, r#"{"id":3,"name":1}"#];
    let input = [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#];
    let condition = "CAST(\"r.name\" AS BIGINT) > 9";
    given(&["id"], joined(&rows, false, Some(condition)))
        .input(input)
        .output(&[r#"{"id":1,"r.name":50}"#])
        .fates("1 passed · 1 filtered · 1 dead (r.name: `\"x\"` is not a BIGINT)");
    given(&["id"], joined(&rows, true, Some(condition)))
        .input(input)
        .output(&[r#"{"id":1,"r.name":50}"#, r#"{"id":3,"r.name":null}"#])
        .fates("2 passed · 1 dead (r.name: `\"x\"` is not a BIGINT)");
}

#[test]
fn a_key_with_many_rows_comes_out_in_batches_and_whole() {
    let rows: Vec<String> = (0..10_000).map(|n| format!(r#"{{"id":1,"name":{n}}}"#)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let mut bench = given(&["id"], joined(&rows, false, None)).input([r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1}"#]);
    let found = bench.take_rows();
    assert_eq!((found.len(), found[9_999].as_str()), (20_000, r#"{"id":1,"r.name":9999}"#));
    bench.fates("2 passed · 1 filtered");
}

/// The rows of a poll, each with an operation.
fn operations(rows: &[(&str, Op)]) -> Batch {
    let mut decode = Decode::new(wanted(&["id"]));
    let records: Vec<String> = rows.iter().map(|(row, _)| row.to_string()).collect();
    let mut out = Output::new(StepId::new("source"), false);
    decode.push(origin("a", 1, &records), None, NOW, &mut out);
    let batch = out.emitted.remove(0);
    let ops = UInt8Array::from_iter_values(rows.iter().map(|(_, op)| *op as u8));
    batch.with_rows(put_column(&batch.rows, OP, Arc::new(ops) as ArrayRef))
}

/// A delete that stopped because the newest table has no match would leave in the sink what an older table let through.
#[test]
fn a_delete_goes_on_whether_or_not_it_matches_and_a_clear_is_no_row() {
    let mut bench = given(&["id"], joined(&REPOS, false, None));
    let rows = [
        (r#"{"id":8}"#, Op::Delete),
        (r#"{"id":8}"#, Op::Clear),
        (r#"{"id":8}"#, Op::Insert),
        (r#"{"id":"7"}"#, Op::Delete),
    ];
    bench.push(operations(&rows)).unwrap();
    bench
        .output(&[r#"-{"id":8,"r.name":null}"#, r#"~{"id":8,"r.name":null}"#, r#"-{"id":"7","r.name":"text"}"#])
        .fates("2 passed · 1 filtered");
}

#[test]
fn before_a_replace_a_row_without_a_match_clears_its_group() {
    let (mut input, shelf) = table(&lines(&REPOS));
    input.read(NOW).unwrap();
    given(&["id"], move |schema| Box::new(TableJoin::new(by(&["id"], schema), None, shelf.clone(), false, true)))
        .input(EVENTS)
        .output(&[
            r#"{"id":7,"r.name":"a"}"#,
            r#"{"id":7,"r.name":"b"}"#,
            r#"~{"id":8,"r.name":null}"#,
            r#"~{"id":null,"r.name":null}"#,
            r#"{"id":"7","r.name":"text"}"#,
        ])
        .fates("2 passed · 2 filtered");
}

fn told(out: &Output) -> Vec<(u64, String)> {
    assert!(out.books.balance(), "{:?}", out.books);
    out.dead.iter().map(|letter| (letter.place.offset, String::from_utf8_lossy(&letter.bytes).into_owned())).collect()
}

#[test]
fn a_bad_line_of_a_table_is_told_once_for_its_content_over_readings_and_restarts() {
    let rows = lines(&["{", r#"{"id":1,"name":"a"}"#, "{"]);
    let (mut input, shelf) = table(&rows);
    let join = |shelf: &Arc<Shelf>| {
        TableJoin::new(by(&["id"], &Decode::new(wanted(&["id"])).schema()), None, shelf.clone(), false, false)
    };
    let mut operator = join(&shelf);
    assert_eq!(told(&input.read(NOW).unwrap()), [(1, "{".to_owned())]);
    let step = StepId::new("join");
    let first = operator.close(1, &step).unwrap();
    assert_eq!(told(&input.read(NOW).unwrap()), []);
    rows.lock().unwrap().as_mut().unwrap().push("[]".into());
    assert_eq!(told(&input.read(NOW).unwrap()), [(4, "[]".to_owned())]);
    let second = operator.close(2, &step).unwrap();
    assert!(operator.close(3, &step).unwrap().appended.is_empty());

    let (mut input, shelf) = table(&rows);
    let mut operator = join(&shelf);
    for (generation, body) in first.appended.iter().chain(&second.appended) {
        operator.restore(*generation, body).unwrap();
    }
    assert_eq!(told(&input.read(NOW).unwrap()), []);
    assert!(operator.close(4, &step).unwrap().appended.is_empty(), "what is remembered is not written again");
    assert!(operator.restore(0, &[0; 15]).is_err());
}

#[test]
fn a_table_that_cannot_be_read_again_stays_as_it_is() {
    let rows = lines(&[r#"{"id":7,"name":"a"}"#]);
    let (mut input, shelf) = table(&rows);
    input.read(NOW).unwrap();
    *rows.lock().unwrap() = None;
    assert_eq!(input.read(NOW).err().unwrap().to_string(), "repos: is not there");
    assert_eq!(shelf.table().rows.num_rows(), 1);
    *rows.lock().unwrap() = Some(vec![]);
    input.read(NOW).unwrap();
    assert_eq!(shelf.table().rows.num_rows(), 0);
}

#[test]
fn rows_of_a_union_have_the_columns_of_the_first_and_are_never_late_without_a_time_of_their_own() {
    let (timed, plain) = (wanted(&["id", "at:time"]), wanted(&["id"]));
    let sides = [Decode::new(timed).schema(), Decode::new(plain.clone()).schema()];
    let mut union = Union::new(&sides);
    let mut out = Output::new(StepId::new("union"), false);
    let mut decoded = Output::new(StepId::new("source_2"), false);
    Decode::new(plain).push(origin("b", 1, &[r#"{"id":1}"#.to_owned()]), None, NOW, &mut decoded);
    union.push(decoded.emitted.remove(0), &mut out).unwrap();
    let batch = &out.emitted[0];
    assert_eq!(batch.rows.schema(), union.schema());
    assert_eq!(shown(batch), [r#"{"id":1,"at":null}"#]);
    let marks = batch.rows.column_by_name("__mark").unwrap();
    assert_eq!(
        format!("{marks:?}"),
        format!("{:?}", arrow::array::Int64Array::from(vec![syncline_record::time::NO_WATERMARK]))
    );
    given_wanted(wanted(&["id"]), move |_| Box::new(Union::new(&sides[1..]))).input(EVENTS).fates("4 passed");
}
