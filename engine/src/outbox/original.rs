//! The records behind the rows of a frame: a row that its sink refuses is a dead letter with its original bytes and headers.
//!
//! Hidden columns beside the rows, one value per row:
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `__original` | `LargeBinary` | the record's bytes, the first [`DeadLetter::KEPT`] of them; NULL where `__out` is the same text |
//! | `__length`, `__hash` | `UInt64`, `Utf8` | of the whole record, where it is longer than that |
//! | `__headers` | `Utf8` | its headers as JSON text, where rows have different ones; else they are in the schema's metadata |
//!
//! Rows that never were bytes (of typed sources, of steps that make rows) have none of these.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, LargeBinaryBuilder, RecordBatch, StringArray, StringBuilder, StringViewArray,
        UInt64Array,
    },
    datatypes::{Field, UInt64Type},
};
use syncline_record::{
    Batch, DeadLetter,
    batch::{Headers, Origin},
    keys,
};

use crate::operators::present::OUT;

const ORIGINAL: &str = "__original";
const LENGTH: &str = "__length";
const HASH: &str = "__hash";
const HEADERS: &str = "__headers";
/// Metadata key of a frame's schema: the headers of all its rows.
const SAME_HEADERS: &str = "headers";

/// What is kept of a record.
#[derive(Debug, PartialEq, Eq)]
pub struct Original {
    pub bytes: Vec<u8>,
    /// Length and hash of the whole record.
    pub length: u64,
    pub hash: String,
    pub headers: Option<String>,
}

impl Original {
    /// A record that is at hand as a whole.
    pub fn whole(mut bytes: Vec<u8>, headers: Option<String>) -> Self {
        let (length, hash) = (bytes.len() as u64, hash(&bytes));
        bytes.truncate(DeadLetter::KEPT);
        Self { bytes, length, hash, headers }
    }
}

fn hash(bytes: &[u8]) -> String {
    keys::hex128(keys::content_hash(bytes))
}

/// The columns to put beside the rows of a batch.
pub fn columns(batch: &Batch, metadata: &mut HashMap<String, String>) -> Vec<(Field, ArrayRef)> {
    let origin = &*batch.origin;
    if origin.texts.is_some() {
        return vec![];
    }
    let rows: Vec<usize> = batch.row_ids().values().iter().map(|row| *row as usize).collect();
    let out = batch.rows.column_by_name(OUT).and_then(|column| column.as_string_view_opt());
    let mut columns = vec![(ORIGINAL, bytes(origin, &rows, out))];
    if rows.iter().any(|row| origin.bytes_of(*row).len() > DeadLetter::KEPT) {
        columns.extend(whole(origin, &rows));
    }
    match &origin.headers {
        Headers::Absent => {}
        Headers::Same(text) => {
            metadata.insert(SAME_HEADERS.to_owned(), text.to_string());
        }
        Headers::Each(_) => {
            let texts: StringArray = rows.iter().map(|row| origin.headers.get(*row)).collect();
            columns.push((HEADERS, Arc::new(texts)));
        }
    }
    columns.into_iter().map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column)).collect()
}

fn bytes(origin: &Origin, rows: &[usize], out: Option<&StringViewArray>) -> ArrayRef {
    let length = rows.iter().map(|row| origin.bytes_of(*row).len().min(DeadLetter::KEPT)).sum();
    let mut builder = LargeBinaryBuilder::with_capacity(rows.len(), if out.is_some() { 0 } else { length });
    for (index, row) in rows.iter().enumerate() {
        let bytes = origin.bytes_of(*row);
        match out {
            Some(out) if out.is_valid(index) && out.value(index).as_bytes() == &*bytes => builder.append_null(),
            _ => builder.append_value(&bytes[..bytes.len().min(DeadLetter::KEPT)]),
        }
    }
    Arc::new(builder.finish())
}

/// Lengths and hashes of the records that are cut.
fn whole(origin: &Origin, rows: &[usize]) -> [(&'static str, ArrayRef); 2] {
    let mut hashes = StringBuilder::new();
    let lengths: UInt64Array = rows
        .iter()
        .map(|row| {
            let bytes = origin.bytes_of(*row);
            let cut = bytes.len() > DeadLetter::KEPT;
            hashes.append_option(cut.then(|| hash(&bytes)));
            cut.then_some(bytes.len() as u64)
        })
        .collect();
    [(LENGTH, Arc::new(lengths)), (HASH, Arc::new(hashes.finish()))]
}

/// The record behind a row of a frame, as far as it has one.
pub fn of(rows: &RecordBatch, row: usize) -> Option<Original> {
    let kept = rows.column_by_name(ORIGINAL)?.as_binary_opt::<i64>()?;
    let column = |name: &str| rows.column_by_name(name).filter(|column| column.is_valid(row));
    let text = |name: &str| Some(column(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let headers = text(HEADERS).or_else(|| rows.schema_ref().metadata().get(SAME_HEADERS).cloned());
    if kept.is_null(row) {
        return Some(Original::whole(column(OUT)?.as_string_view_opt()?.value(row).as_bytes().to_vec(), headers));
    }
    let bytes = kept.value(row).to_vec();
    let length = column(LENGTH).and_then(|column| Some(column.as_primitive_opt::<UInt64Type>()?.value(row)));
    Some(match length.zip(text(HASH)) {
        Some((length, hash)) => Original { bytes, length, hash, headers },
        None => Original::whole(bytes, headers),
    })
}

#[cfg(test)]
mod tests {
    use syncline_record::StepId;

    use super::*;
    use crate::{
        operator::{
            Output,
            harness::{NOW, origin, wanted},
        },
        operators::{Decode, present::put_column},
        outbox::{decode, encode},
    };

    fn batch(records: &[&str], headers: Headers) -> Batch {
        let records: Vec<String> = records.iter().map(|record| record.to_string()).collect();
        let mut out = Output::new(StepId::new("source"), false);
        let origin = Origin { headers, ..origin("in/orders", 5, &records) };
        Decode::new(wanted(&["id"])).push(origin, None, NOW, &mut out);
        out.emitted.remove(0)
    }

    fn originals(batch: &Batch) -> Vec<Option<Original>> {
        let (rows, _) = decode(&encode(batch).unwrap()).unwrap();
        (0..rows.num_rows()).map(|row| of(&rows, row)).collect()
    }

    fn original(bytes: &str, headers: Option<&str>) -> Option<Original> {
        Some(Original::whole(bytes.as_bytes().to_vec(), headers.map(str::to_owned)))
    }

    const RECORDS: [&str; 3] = [r#"{"id":  1, "other":"x"}"#, r#"{"id":2}"#, r#"{"id":3,"tail":true}"#];

    #[test]
    fn a_row_knows_the_bytes_and_the_headers_of_its_record() {
        let all = batch(&RECORDS, Headers::Absent);
        assert_eq!(originals(&all), RECORDS.map(|record| original(record, None)));
        let same = batch(&RECORDS, Headers::Same(r#"{"a":"1"}"#.into()));
        assert_eq!(originals(&same), RECORDS.map(|record| original(record, Some(r#"{"a":"1"}"#))));
        let each = Headers::Each(vec![Some(r#"{"a":"1"}"#.into()), None, Some(r#"{"a":"3"}"#.into())]);
        let kept = batch(&RECORDS, each).keep(&vec![false, true, true].into());
        assert_eq!(originals(&kept), [original(RECORDS[1], None), original(RECORDS[2], Some(r#"{"a":"3"}"#))]);
    }

    #[test]
    fn of_a_record_over_the_cap_there_are_its_start_its_length_and_its_hash() {
        let long = format!(r#"{{"id":1,"filler":"{}"}}"#, "x".repeat(DeadLetter::KEPT));
        let found = originals(&batch(&[&long, RECORDS[1]], Headers::Absent));
        let start = long.as_bytes()[..DeadLetter::KEPT].to_vec();
        let cut = Original { bytes: start, length: long.len() as u64, hash: hash(long.as_bytes()), headers: None };
        assert_eq!(found, [Some(cut), original(RECORDS[1], None)]);
    }

    #[test]
    fn a_record_that_leaves_as_it_came_is_not_kept_twice() {
        let long = format!(r#"{{"id":1,"filler":"{}"}}"#, "x".repeat(5_000));
        let plain = batch(&[&long, RECORDS[1]], Headers::Absent);
        let out = |texts: [&str; 2]| {
            let texts: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
            plain.with_rows(put_column(&plain.rows, OUT, texts))
        };
        let same = out([&long, r#"{"id":2,"changed":1}"#]);
        assert_eq!(originals(&same), [original(&long, None), original(RECORDS[1], None)]);
        let length = |batch: &Batch| encode(batch).unwrap().len();
        assert!(length(&same) < length(&out(["{}", "{}"])) + 2_000, "{}", length(&same));
    }
}
