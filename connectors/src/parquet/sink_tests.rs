//! Parquet files read back with a Parquet reader.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
        UInt32Array,
    },
    datatypes::{DataType, Field, Schema, TimeUnit},
    util::display::array_value_to_string,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use syncline_engine::sink::{Cut, Sink, StagedSink, Write};
use syncline_functions::json_field;
use tempfile::TempDir;

use crate::{
    conformance::rows::batch,
    registry::{SinkRequest, open_sink},
    spec::{Args, ConnectorError, Surroundings},
};

fn sink(folder: &TempDir, path: &str, rows: &RecordBatch) -> Result<Box<dyn StagedSink>, ConnectorError> {
    let around = Surroundings::folder(folder.path());
    let (args, step, schema) = (Args::texts(&[path]), "tee/insert".into(), rows.schema());
    let (write, keys) = (Write::Insert, Vec::new());
    let request = SinkRequest {
        args: &args,
        around: &around,
        pipeline: "orders",
        step: &step,
        write,
        schema,
        keys,
        endless: true,
        csv: None,
    };
    match open_sink("parquet", request)? {
        Sink::Staged(sink) => Ok(sink),
        _ => panic!("parquet is staged"),
    }
}

#[test]
fn json_strings_are_kept_without_quotes_and_other_values_as_their_tokens() {
    let tokens = [Some("\"a\\\"b\""), Some("12345678901234567890"), Some("{\"x\": [1]}"), Some("true"), None];
    let column: ArrayRef = Arc::new(StringViewArray::from_iter(tokens));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![json_field("v")])), vec![column]).unwrap();
    let schema = super::rows::kept_schema(&rows.schema(), super::Parts::Parquet).unwrap();
    let kept = super::rows::kept_rows(&rows, &[0, 1, 2, 3, 4], &schema).unwrap();
    let texts: Vec<_> = arrow::array::AsArray::as_string::<i32>(kept.column(0)).iter().collect();
    assert_eq!(texts, [Some("a\"b"), Some("12345678901234567890"), Some("{\"x\": [1]}"), Some("true"), None]);
}

fn orders(ids: &[i64]) -> RecordBatch {
    let tokens: Vec<String> = ids.iter().map(|id| format!("{{\"id\": {id}}}")).collect();
    let columns: Vec<(Field, ArrayRef)> = vec![
        (Field::new("id", DataType::Int64, false), Arc::new(Int64Array::from(ids.to_vec()))),
        (json_field("whole"), Arc::new(StringViewArray::from_iter_values(&tokens))),
        (
            Field::new("total", DataType::Decimal128(20, 2), true),
            Arc::new(
                Decimal128Array::from_iter(ids.iter().map(|id| Some(*id as i128 * 100 - 1)))
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
        ),
        (
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| 1_763_632_800_000_000 + id))),
        ),
        (Field::new("__row", DataType::UInt32, false), Arc::new(UInt32Array::from_iter_values(0..ids.len() as u32))),
    ];
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Rows of all shown files in their order, as `1|{"id": 1}|0.99|…`.
fn shown(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            rows.extend((0..batch.num_rows()).map(|row| {
                let cells: Vec<_> =
                    batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect();
                cells.join("|")
            }));
        }
    }
    rows
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let rows = orders(&[1, 2]);
    let mut sink = sink(&folder, "out/", &rows).unwrap();
    sink.open(None).unwrap();
    assert_eq!(sink.write(&batch(rows)).unwrap(), []);
    sink.prepare(Cut { now: 0, end: true, stop: false }).unwrap();
    sink.reveal().unwrap();
    let path = folder.path().join("out/orders-tee.insert-00000001.parquet");
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let types: Vec<_> =
        reader.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types, ["id Int64", "whole Utf8", "total Decimal128(20, 2)", "at Timestamp(µs, \"UTC\")"]);
    let read = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!(read.column(2).as_primitive::<arrow::datatypes::Decimal128Type>().values(), &[99, 199]);
    assert_eq!(
        shown(&folder.path().join("out")),
        [r#"1|{"id": 1}|0.99|2025-11-20T10:00:00.000001Z"#, r#"2|{"id": 2}|1.99|2025-11-20T10:00:00.000002Z"#,]
    );
    let names: Vec<_> = folder.path().join("out").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["orders-tee.insert-00000001.parquet"], "nothing hidden is left");
}

#[test]
fn a_part_is_shown_a_minute_after_its_first_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(&folder, "out/", &orders(&[])).unwrap();
    sink.open(None).unwrap();
    let out = folder.path().join("out");
    for (id, now, rows) in [(1, 0, 0), (2, 59_000_000, 0), (3, 60_000_000, 3), (4, 61_000_000, 3)] {
        sink.write(&batch(orders(&[id]))).unwrap();
        sink.prepare(Cut { now, end: false, stop: false }).unwrap();
        sink.reveal().unwrap();
        assert_eq!(shown(&out).len(), rows, "at {now}");
    }
}

#[test]
fn a_part_with_other_columns_is_closed_and_the_rows_go_into_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = sink(&folder, "out/", &orders(&[])).unwrap();
    before.open(None).unwrap();
    before.write(&batch(orders(&[1]))).unwrap();
    let mark: Value = before.prepare(Cut { now: 0, end: false, stop: false }).unwrap();
    let edited = orders(&[2]).project(&[0, 4]).unwrap();
    let mut after = sink(&folder, "out/", &edited).unwrap();
    // Twice: the first start is killed before it commits anything.
    for _ in 0..2 {
        after.open(Some(&mark)).unwrap();
        after.write(&batch(edited.clone())).unwrap();
    }
    after.prepare(Cut { now: 0, end: true, stop: false }).unwrap();
    after.reveal().unwrap();
    assert_eq!(shown(&folder.path().join("out")), [r#"1|{"id": 1}|0.99|2025-11-20T10:00:00.000001Z"#, "2"]);
}

#[test]
fn what_parquet_cannot_keep_is_told_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let because = "Parquet files cannot be appended to";
    let needs_folder = ConnectorError::NeedsFolder { path: "a.parquet".into(), because, fix: "a/".into() };
    assert_eq!(sink(&folder, "a.parquet", &orders(&[])).err(), Some(needs_folder));
    let spans =
        Schema::new(vec![Field::new("span", DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano), true)]);
    let cannot = ConnectorError::CannotKeep {
        connector: "parquet".into(),
        column: "span".into(),
        found: "Interval(MonthDayNano)".into(),
    };
    assert_eq!(sink(&folder, "a/", &RecordBatch::new_empty(Arc::new(spans))).err(), Some(cannot));
}
