//! Columns that the key of a record holds, and records that are nothing but a key.
//!
//! Such a record deletes the row of its key: it becomes a delete that knows the columns of the key and nothing else. Where the pipeline does
//! not say what a key holds, it is dead. Of a record with a value both are there, so they have to agree: a row that came under one
//! key and is deleted under another would stay for ever.

use arrow::{
    array::{Array, ArrayRef, BooleanArray, StringViewArray, UInt8Array},
    compute::{
        kernels::{cmp::distinct, zip::zip},
        nullif,
    },
    datatypes::Field,
};
use syncline_functions::key_columns;
use syncline_record::{Keys, Op, Origin, Reason, RowFailure};

use crate::operator::null_key;

/// The fields that keys hold, by their places among all that are wanted.
pub struct KeyFields {
    places: Vec<usize>,
    fields: Vec<Field>,
}

impl KeyFields {
    /// `None`: the pipeline says nothing of keys.
    pub fn of(key: &[String], wanted: &[Field]) -> Option<Self> {
        let place = |name: &String| wanted.iter().position(|field| field.name() == name);
        let places: Vec<usize> = key.iter().filter_map(place).collect();
        let fields = places.iter().map(|place| wanted[*place].clone()).collect();
        (!places.is_empty()).then_some(Self { places, fields })
    }

    /// Puts what keys hold into the columns, and says what each row does. Records of a `TEST` have no keys, and are taken as they are.
    pub fn fill(&self, origin: &Origin, columns: &mut [ArrayRef], failed: &mut Vec<RowFailure>) -> UInt8Array {
        let rows = origin.rows();
        let Some(keys) = &origin.keys else { return UInt8Array::from_value(Op::Insert as u8, rows) };
        let alone = alone(keys, rows);
        failed.retain(|failure| !alone[failure.row as usize]);
        let read = key_columns((0..rows).map(|row| keys.get(row)), &self.fields);
        if !keys.alone().is_empty() {
            // An empty text is a value to some formats.
            let mask = BooleanArray::from(alone.clone());
            columns.iter_mut().for_each(|column| *column = nullif(column, &mask).expect("a mask of the same length"));
        }
        let mut wrong: Vec<Option<Reason>> = vec![None; rows];
        for (row, reason) in read.bad {
            wrong[row as usize] = Some(reason);
        }
        for ((place, field), of_key) in self.places.iter().zip(&self.fields).zip(&read.columns) {
            let own = &mut columns[*place];
            // Only what both say can differ.
            if let Ok(differ) = distinct(own, of_key) {
                for row in (0..rows).filter(|row| differ.value(*row) && own.is_valid(*row) && of_key.is_valid(*row)) {
                    wrong[row].get_or_insert_with(|| other(field, own, of_key, row));
                }
            }
            let missing: BooleanArray = (0..rows).map(|row| Some(alone[row] || own.is_null(row))).collect();
            if let Ok(filled) = zip(&missing, of_key, own) {
                *own = filled;
            }
        }
        for row in (0..rows).filter(|row| keys.get(*row).is_none()) {
            wrong[row] = Some(null_key("the record's key"));
        }
        add(failed, wrong);
        let op = |alone: &bool| if *alone { Op::Delete } else { Op::Insert } as u8;
        alone.iter().map(|alone| Some(op(alone))).collect()
    }
}

/// Without a `KEY`, a record that has no value is nothing that the pipeline could use.
pub fn refuse(origin: &Origin, failed: &mut Vec<RowFailure>) {
    let Some(keys) = origin.keys.as_ref().filter(|keys| !keys.alone().is_empty()) else { return };
    let alone = alone(keys, origin.rows());
    failed.retain(|failure| !alone[failure.row as usize]);
    let reason = |row: usize| {
        let key = String::from_utf8_lossy(keys.get(row).unwrap_or_default()).into_owned();
        Reason::new(
            "no-value",
            format!("the record has no value: it deletes `{key}`, and the source does not say KEY (…)"),
        )
    };
    add(failed, alone.iter().enumerate().map(|(row, alone)| alone.then(|| reason(row))).collect());
}

/// Whole records in which those without a value are empty ones.
pub fn whole(origin: &Origin, records: StringViewArray) -> StringViewArray {
    let Some(keys) = origin.keys.as_ref().filter(|keys| !keys.alone().is_empty()) else { return records };
    let alone = alone(keys, origin.rows());
    let record = |(row, alone): (usize, &bool)| match alone {
        true => Some("{}"),
        false => records.is_valid(row).then(|| records.value(row)),
    };
    alone.iter().enumerate().map(record).collect()
}

/// Which rows are keys without a value.
pub fn alone(keys: &Keys, rows: usize) -> Vec<bool> {
    let mut alone = vec![false; rows];
    keys.alone().iter().for_each(|row| alone[*row as usize] = true);
    alone
}

/// Adds what is wrong with rows that nothing was wrong with.
fn add(failed: &mut Vec<RowFailure>, wrong: Vec<Option<Reason>>) {
    let known: Vec<u32> = failed.iter().map(|failure| failure.row).collect();
    let new = wrong.into_iter().enumerate().filter_map(|(row, reason)| Some((row as u32, reason?)));
    failed.extend(
        new.filter(|(row, _)| known.binary_search(row).is_err()).map(|(row, reason)| RowFailure { row, reason }),
    );
    failed.sort_by_key(|failure| failure.row);
}

fn other(field: &Field, own: &ArrayRef, of_key: &ArrayRef, row: usize) -> Reason {
    let shown = |column: &ArrayRef| {
        let mut token = Vec::new();
        syncline_functions::token_of(column, field, row, &mut token);
        String::from_utf8_lossy(&token).into_owned()
    };
    let detail = format!("{}: the key says {}, and the record {}", field.name(), shown(of_key), shown(own));
    Reason::new("key", detail)
}
