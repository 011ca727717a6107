//! PARTITIONED BY: the claim that the key of a record is made of columns of its value.
//!
//! A step that works in one partition, because all rows of its key are there, relies on it. So it is looked at in every row that
//! becomes one, and a row that breaks it stops the pipeline: what steps made of the others may be wrong from here on. That a record
//! lies in the partition of its key is looked at by the source, which alone knows how many there are.

use arrow::{array::ArrayRef, datatypes::Field};
use syncline_functions::Keys;
use syncline_record::Batch;

use crate::source::SourceError;

/// Bytes of a key that a message shows: it has to be found again, not read.
const SHOWN: usize = 80;

/// What the key of each record is made of.
#[derive(Clone, Debug)]
pub struct RecordKey {
    columns: Vec<String>,
}

impl RecordKey {
    /// `columns`: at least one, in the order in which they are in the key.
    pub fn of(columns: Vec<String>) -> Self {
        Self { columns }
    }

    /// Compares the key of every row's record with the bytes of its columns.
    pub fn check(&self, batch: &Batch) -> Result<(), SourceError> {
        let schema = batch.rows.schema_ref();
        let (mut columns, mut fields): (Vec<ArrayRef>, Vec<&Field>) = (vec![], vec![]);
        for name in &self.columns {
            let Some((index, field)) = schema.column_with_name(name) else {
                let detail = format!("PARTITIONED BY names {name}, and the rows have no such column");
                return Err(SourceError::Misplaced { what: batch.origin.partition.to_string(), detail });
            };
            columns.push(batch.rows.column(index).clone());
            fields.push(field);
        }
        let wanted = Keys::of(&columns, &fields);
        let found = batch.origin.keys.as_ref();
        for (row, id) in batch.row_ids().values().iter().enumerate() {
            let found = found.and_then(|keys| keys.get(*id as usize));
            if found.is_none() || found != wanted.get(row) {
                return Err(self.broken(batch, *id as usize, found, wanted.get(row)));
            }
        }
        Ok(())
    }

    fn broken(&self, batch: &Batch, row: usize, found: Option<&[u8]>, wanted: Option<&[u8]>) -> SourceError {
        let claim = format!("PARTITIONED BY ({})", self.columns.join(", "));
        let detail = match (found, wanted) {
            (_, None) => format!(
                "a column of {claim} is NULL, and no key is made of that; NOT NULL in a SCHEMA makes a dead letter of such a record"
            ),
            (None, Some(wanted)) => format!("has no key, and {claim} makes {} of it", shown(wanted)),
            (Some(found), Some(wanted)) => {
                format!("has the key {}, and {claim} makes {} of it", shown(found), shown(wanted))
            }
        };
        let (partition, offset) = (&batch.origin.partition, batch.origin.offsets[row]);
        let what = format!("record {offset} of partition {} of {}", partition.number, partition.name);
        SourceError::Misplaced { what, detail }
    }
}

/// The beginning of a key. Control characters would break a line, or a terminal.
pub fn shown(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(&key[..key.len().min(SHOWN)]);
    let letter =
        |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() };
    let more = if key.len() > SHOWN { "…" } else { "" };
    format!("`{}{more}`", text.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Decimal128Array, Int64Array, RecordBatch, StringViewArray, UInt32Array},
        buffer::Buffer,
    };
    use syncline_record::{Headers, Instants, Origin, Partition, batch::ROW};

    use super::*;

    /// Rows of three records, of which the first was no row, with these keys.
    fn batch(keys: [Option<&[u8]>; 3]) -> Batch {
        let origin = Origin {
            partition: Partition::new("orders", 2),
            payload: Buffer::from_vec(b"{}{}{}".to_vec()),
            spans: vec![(0, 2), (2, 4), (4, 6)],
            texts: None,
            names: None,
            offsets: vec![10, 12, 17],
            bytes: None,
            times: vec![0; 3],
            ingested_at: Instants::All(0),
            headers: Headers::Absent,
            keys: Some(keys.into_iter().collect()),
        };
        let total = Decimal128Array::from(vec![950, 1000]).with_precision_and_scale(12, 2).unwrap();
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("name", Arc::new(StringViewArray::from(vec![Some("ä\"b"), None])) as ArrayRef, true),
            ("id", Arc::new(Int64Array::from(vec![7, 8])), true),
            ("total", Arc::new(total), true),
            (ROW, Arc::new(UInt32Array::from(vec![1, 2])), false),
        ]);
        Batch { origin: Arc::new(origin), rows: rows.unwrap(), watermark: 0 }
    }

    fn told(columns: &[&str], keys: [Option<&[u8]>; 3]) -> String {
        let key = RecordKey::of(columns.iter().map(|name| (*name).to_owned()).collect());
        key.check(&batch(keys)).map_or_else(|error| error.to_string(), |()| "right".to_owned())
    }

    #[test]
    fn a_key_is_the_bytes_of_its_columns() {
        assert_eq!(told(&["id"], [None, Some(b"7"), Some(b"8")]), "right");
        assert_eq!(told(&["total"], [None, Some(b"9.5"), Some(b"10")]), "right");
        assert_eq!(told(&["id", "total"], [None, Some(b"[7,9.5]"), Some(b"[8,10]")]), "right");
    }

    #[test]
    fn what_is_not_so_is_told_with_its_place() {
        assert_eq!(
            told(&["id"], [Some(b"7"), Some(b"7"), Some(b"08")]),
            "record 17 of partition 2 of orders: has the key `08`, and PARTITIONED BY (id) makes `8` of it"
        );
        assert_eq!(
            told(&["id"], [None, Some(b"7"), None]),
            "record 17 of partition 2 of orders: has no key, and PARTITIONED BY (id) makes `8` of it"
        );
        assert_eq!(
            told(&["id", "name"], [None, Some(br#"[7,"\u00e4\"b"]"#), None]),
            r#"record 12 of partition 2 of orders: has the key `[7,"\u00e4\"b"]`, and PARTITIONED BY (id, name) makes `[7,"ä\"b"]` of it"#
        );
        assert_eq!(
            told(&["name"], [None, Some("ä\"b".as_bytes()), Some(b"")]),
            "record 17 of partition 2 of orders: a column of PARTITIONED BY (name) is NULL, and no key is made of that; NOT NULL in a \
             SCHEMA makes a dead letter of such a record"
        );
        let long = [b'x'; 100];
        let told = told(&["id"], [None, Some(&long), None]);
        assert!(told.contains(&format!("`{}…`", "x".repeat(80))), "{told}");
    }
}
