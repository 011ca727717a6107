//! Columns out of the bytes of keys: the way back of [`Keys`](crate::Keys).
//!
//! One column is the text of its value; several are a JSON array of as many values. What is no value of its column's type is bad, and so is
//! a NULL: a key with a NULL in it has no bytes.

use arrow::{
    array::{ArrayRef, BooleanArray, StringViewBuilder},
    compute::nullif,
    datatypes::{DataType, Field},
};
use syncline_record::Reason;

use crate::{
    convert::{Manner, convert},
    decode::mark,
    is_json, scan, shown,
    sqltype::sql_type_of,
    token,
};

/// What keys hold, and those that hold something else, in order of row. A row whose key is `None` is NULL in every column.
#[derive(Clone, Debug)]
pub struct KeyColumns {
    pub columns: Vec<ArrayRef>,
    pub bad: Vec<(u32, Reason)>,
}

/// Whether columns of this type have key bytes that can be read back, each value from one text alone.
pub fn can_be_key(field: &Field) -> bool {
    use DataType::*;
    let kind = field.data_type();
    !is_json(field)
        && (kind.is_integer() || matches!(kind, Utf8View | Boolean | Date32 | Timestamp(..) | Decimal128(..)))
}

/// Reads the columns `fields` out of keys.
pub fn key_columns<'a>(keys: impl ExactSizeIterator<Item = Option<&'a [u8]>>, fields: &[Field]) -> KeyColumns {
    let rows = keys.len();
    let mut parts: Vec<StringViewBuilder> = fields.iter().map(|_| StringViewBuilder::with_capacity(rows)).collect();
    let (mut is_bad, mut bad) = (vec![false; rows], Vec::new());
    for (row, key) in keys.enumerate() {
        let taken = key.map(|key| match parts.as_mut_slice() {
            [part] => std::str::from_utf8(key).map(|text| part.append_value(text)).is_ok(),
            parts => take_several(key, parts),
        });
        if taken != Some(true) {
            parts.iter_mut().for_each(StringViewBuilder::append_null);
        }
        if taken == Some(false) {
            mark(row, &mut is_bad, &mut bad, || unfit(key.unwrap_or_default(), fields));
        }
    }
    let manner = if fields.len() == 1 { Manner::Field } else { Manner::Declared };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    for (field, mut part) in fields.iter().zip(parts) {
        let texts = part.finish();
        let converted = convert(&texts, field.data_type(), manner);
        for row in converted.bad.into_iter().map(|row| row as usize) {
            mark(row, &mut is_bad, &mut bad, || misfit(field, texts.value(row)));
        }
        columns.push(converted.array);
    }
    bad.sort_by_key(|(row, _)| *row);
    if !bad.is_empty() {
        let mask = BooleanArray::from(is_bad);
        columns = columns.iter().map(|column| nullif(column, &mask).expect("a mask of the same length")).collect();
    }
    KeyColumns { columns, bad }
}

/// The values of a key of several columns; false, and nothing is taken, when it is no array of as many.
fn take_several(key: &[u8], parts: &mut [StringViewBuilder]) -> bool {
    let document = key.trim_ascii();
    if std::str::from_utf8(document).is_err() || !document.starts_with(b"[") || scan::check(document).is_err() {
        return false;
    }
    let values: Vec<&[u8]> = token::elements(document).collect();
    if values.len() != parts.len() || values.contains(&b"null".as_slice()) {
        return false;
    }
    for (part, value) in parts.iter_mut().zip(values) {
        part.append_value(String::from_utf8_lossy(value));
    }
    true
}

fn unfit(key: &[u8], fields: &[Field]) -> Reason {
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let text = String::from_utf8_lossy(key);
    let what = match fields {
        [_] => "text".to_owned(),
        fields => format!("JSON array of {} values", fields.len()),
    };
    Reason::new("key", format!("{}: the key {} is no {what}", names.join(", "), shown::value(&text)))
}

fn misfit(field: &Field, text: &str) -> Reason {
    Reason::new("key", format!("{}: the key {} is not a {}", field.name(), shown::value(text), sql_type_of(field)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, AsArray, Decimal128Array, Int64Array, StringViewArray, TimestampMicrosecondArray},
        datatypes::{Int64Type, TimeUnit},
    };

    use super::*;
    use crate::Keys;

    fn field(name: &str, kind: DataType) -> Field {
        Field::new(name, kind, true)
    }

    fn told(read: &KeyColumns) -> Vec<(u32, &str, &str)> {
        read.bad.iter().map(|(row, reason)| (*row, reason.slug.as_str(), reason.detail.as_str())).collect()
    }

    #[test]
    fn what_keys_are_made_of_comes_back_out_of_them() {
        let fields = [
            field("text", DataType::Utf8View),
            field("number", DataType::Int64),
            field("money", DataType::Decimal128(12, 2)),
            field("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ];
        let money = Decimal128Array::from(vec![950, -1]).with_precision_and_scale(12, 2).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec!["a \"b\"", "[1]"])),
            Arc::new(Int64Array::from(vec![i64::MAX, -7])),
            Arc::new(money),
            Arc::new(TimestampMicrosecondArray::from(vec![1_795_000_000_123_456, 0])),
        ];
        let refs: Vec<&Field> = fields.iter().collect();
        let keys = Keys::of(&columns, &refs);
        let read = key_columns((0..2).map(|row| keys.get(row)), &fields);
        assert_eq!(told(&read), []);
        assert_eq!(read.columns, columns);
        for (column, field) in columns.iter().zip(&fields) {
            let keys = Keys::of(std::slice::from_ref(column), &[field]);
            let read = key_columns((0..2).map(|row| keys.get(row)), std::slice::from_ref(field));
            assert_eq!(told(&read), []);
            assert_eq!(read.columns[0].as_ref(), column.as_ref(), "{field}");
        }
    }

    #[test]
    fn a_key_that_holds_something_else_is_bad_and_no_key_is_null() {
        let one = [field("id", DataType::Int64)];
        let keys: [Option<&[u8]>; 5] = [Some(b"7"), None, Some(b"seven"), Some(b"\xff"), Some(b"")];
        let read = key_columns(keys.into_iter(), &one);
        let ids = read.columns[0].as_primitive::<Int64Type>();
        assert_eq!(
            (0..5).map(|row| ids.is_valid(row).then(|| ids.value(row))).collect::<Vec<_>>(),
            [Some(7), None, None, None, None]
        );
        assert_eq!(
            told(&read).iter().map(|(row, slug, _)| (*row, *slug)).collect::<Vec<_>>(),
            [(2, "key"), (3, "key"), (4, "key")]
        );
        let two = [field("region", DataType::Utf8View), field("id", DataType::Int64)];
        let keys: [Option<&[u8]>; 5] =
            [Some(br#"["EU", 7]"#), Some(br#"["EU"]"#), Some(br#"["EU", null]"#), Some(b"EU"), Some(br#"[1, 7]"#)];
        let read = key_columns(keys.into_iter(), &two);
        assert_eq!(read.bad.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(read.columns[0].as_string_view().value(0), "EU");
        assert!((1..5).all(|row| read.columns.iter().all(|column| column.is_null(row))));
    }

    #[test]
    fn a_text_is_a_key_as_it_is() {
        let one = [field("id", DataType::Utf8View)];
        let keys: [Option<&[u8]>; 3] = [Some(b"7"), Some(b""), Some(b" \"x\" ")];
        let read = key_columns(keys.into_iter(), &one);
        assert_eq!(told(&read), []);
        let ids: Vec<&str> = read.columns[0].as_string_view().iter().flatten().collect();
        assert_eq!(ids, ["7", "", " \"x\" "]);
    }
}
