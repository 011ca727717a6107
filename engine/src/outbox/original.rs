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
//! Where rows that follow each other are of one record (`UNNEST`, a `JOIN` with many matches), `__original` is a dictionary (`Int32`) of such
//! values, and the record is there once: thousands of rows may be of a record of a megabyte.
//!
//! Rows that never were bytes (of typed sources, of steps that make rows) have none of these.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, DictionaryArray, Int32Array, LargeBinaryArray, LargeBinaryBuilder, RecordBatch,
        StringArray, StringBuilder, StringViewArray, UInt64Array,
    },
    datatypes::{Field, Int32Type, UInt64Type},
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
        // All of them are of one file.
        Headers::Absent => {
            let kept = rows.first().and_then(|row| origin.headers_kept(*row));
            metadata.extend(kept.map(|text| (SAME_HEADERS.to_owned(), text)));
        }
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
    if rows.windows(2).any(|rows| origin.spans[rows[0]] == origin.spans[rows[1]]) {
        return Arc::new(bytes_once(origin, rows, out));
    }
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

/// The same, with the bytes of a record once for rows that follow each other.
fn bytes_once(origin: &Origin, rows: &[usize], out: Option<&StringViewArray>) -> DictionaryArray<Int32Type> {
    let mut values: Vec<&[u8]> = vec![];
    let mut last = None;
    let mut key = |(index, row): (usize, &usize)| {
        let (start, end) = origin.spans[*row];
        let bytes = &origin.payload.as_slice()[start as usize..end as usize];
        if out.is_some_and(|out| out.is_valid(index) && out.value(index).as_bytes() == bytes) {
            return None;
        }
        if last.replace((start, end)) != Some((start, end)) {
            values.push(&bytes[..bytes.len().min(DeadLetter::KEPT)]);
        }
        Some(values.len() as i32 - 1)
    };
    let keys: Int32Array = rows.iter().enumerate().map(&mut key).collect();
    DictionaryArray::new(keys, Arc::new(LargeBinaryArray::from_iter_values(values)))
}

/// Lengths and hashes of the records that are cut.
fn whole(origin: &Origin, rows: &[usize]) -> [(&'static str, ArrayRef); 2] {
    let mut hashes = StringBuilder::new();
    let mut last = (None, String::new());
    let lengths: UInt64Array = rows
        .iter()
        .map(|row| {
            let (bytes, span) = (origin.bytes_of(*row), origin.spans[*row]);
            let cut = bytes.len() > DeadLetter::KEPT;
            if cut && last.0 != Some(span) {
                last = (Some(span), hash(&bytes));
            }
            hashes.append_option(cut.then_some(&last.1));
            cut.then_some(bytes.len() as u64)
        })
        .collect();
    [(LENGTH, Arc::new(lengths)), (HASH, Arc::new(hashes.finish()))]
}

/// The record behind a row of a frame, as far as it has one.
pub fn of(rows: &RecordBatch, row: usize) -> Option<Original> {
    let kept = rows.column_by_name(ORIGINAL)?;
    let (kept, place) = match kept.as_dictionary_opt::<Int32Type>() {
        Some(once) => (once.values(), once.key(row)),
        None => (kept, kept.is_valid(row).then_some(row)),
    };
    let kept = kept.as_binary_opt::<i64>()?;
    let column = |name: &str| rows.column_by_name(name).filter(|column| column.is_valid(row));
    let text = |name: &str| Some(column(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let headers = text(HEADERS).or_else(|| rows.schema_ref().metadata().get(SAME_HEADERS).cloned());
    let Some(place) = place else {
        return Some(Original::whole(column(OUT)?.as_string_view_opt()?.value(row).as_bytes().to_vec(), headers));
    };
    let bytes = kept.value(place).to_vec();
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

    /// A record of a megabyte that became 4,000 rows was a frame that no log takes.
    #[test]
    fn a_record_that_became_many_rows_is_kept_once() {
        let long = format!(r#"{{"id":1,"filler":"{}"}}"#, "x".repeat(DeadLetter::KEPT));
        let all = batch(&[RECORDS[0], &long, RECORDS[1]], Headers::Absent);
        let owners: Vec<u32> = [0].into_iter().chain([1; 200]).chain([2; 3]).collect();
        let rows = arrow::compute::take_record_batch(&all.rows, &arrow::array::UInt32Array::from(owners)).unwrap();
        let many = all.with_rows(rows);
        let one = originals(&all);
        let expected: Vec<_> = (0..204).map(|row| one[usize::from(row > 0) + usize::from(row > 200)].clone()).collect();
        let found = originals(&many);
        assert!(found == expected, "some row has another record");
        let body = encode(&many).unwrap();
        assert!(body.len() < 2 * DeadLetter::KEPT, "{} bytes", body.len());
        // A sink may be given a part of a frame.
        let part = decode(&body).unwrap().0.slice(200, 3);
        assert!((0..3).map(|row| of(&part, row)).eq(expected[200..203].iter().cloned()));
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
