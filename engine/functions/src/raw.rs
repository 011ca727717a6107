//! Records that are one value and no document: the bytes as they came, or the text that they are.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryArray},
    buffer::{Buffer, NullBuffer},
    datatypes::{DataType, Field},
};
use syncline_record::Reason;

use crate::{decode::not_utf8, is_json, view};

/// Whether a record can be a value of this column: BYTES, or STRING.
pub fn can_be_raw(field: &Field) -> bool {
    !is_json(field) && matches!(field.data_type(), DataType::Binary | DataType::Utf8View)
}

/// The column of the records at `spans`, and those that are no text where it is one.
pub fn raw_column(payload: &Buffer, spans: &[(u32, u32)], field: &Field) -> (ArrayRef, Vec<(u32, Reason)>) {
    let bytes = payload.as_slice();
    let record = |(start, end): &(u32, u32)| &bytes[*start as usize..*end as usize];
    if *field.data_type() == DataType::Binary {
        return (Arc::new(BinaryArray::from_iter_values(spans.iter().map(record))), Vec::new());
    }
    let mut bad = Vec::new();
    let mut views = Vec::with_capacity(spans.len());
    let mut valid = vec![true; spans.len()];
    for (row, (start, end)) in spans.iter().enumerate() {
        let text = record(&(*start, *end));
        let is_text = simdutf8::basic::from_utf8(text).is_ok();
        if !is_text {
            valid[row] = false;
            bad.push((row as u32, not_utf8(text)));
        }
        views.push(if is_text { view::make(bytes, *start as usize, *end as usize) } else { 0 });
    }
    let nulls = (!bad.is_empty()).then(|| NullBuffer::from(valid));
    (Arc::new(view::column(views, vec![payload.clone()], nulls)), bad)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    const SPANS: [(u32, u32); 4] = [(0, 3), (3, 3), (3, 5), (5, 7)];

    fn payload() -> Buffer {
        Buffer::from_vec(b"a\nb\xff\x00{}".to_vec())
    }

    #[test]
    fn bytes_are_as_they_came() {
        let (column, bad) = raw_column(&payload(), &SPANS, &Field::new("value", DataType::Binary, true));
        assert_eq!(bad, []);
        let values: Vec<&[u8]> = column.as_binary::<i32>().iter().flatten().collect();
        assert_eq!(values, [b"a\nb".as_slice(), b"", b"\xff\x00", b"{}"]);
    }

    #[test]
    fn a_text_that_is_none_is_bad() {
        let (column, bad) = raw_column(&payload(), &SPANS, &Field::new("value", DataType::Utf8View, true));
        let values: Vec<Option<&str>> = column.as_string_view().iter().collect();
        assert_eq!(values, [Some("a\nb"), Some(""), None, Some("{}")]);
        assert_eq!(bad.iter().map(|(row, reason)| (*row, reason.slug.as_str())).collect::<Vec<_>>(), [(2, "not-utf8")]);
        assert_eq!(column.null_count(), 1);
    }
}
