//! Keys: their bytes, for the world, and their fingerprints, for state.
//!
//! The bytes are a promise to other producers: text as UTF-8, integers as decimal text, decimals without trailing zeros, timestamps
//! as RFC 3339 in UTC, JSON strings as their text and other JSON values as their canonical token; several columns as a JSON array
//! of canonical tokens. A key with a NULL in it has no bytes.
//!
//! Fingerprints are 128 bits of XXH3, equal exactly for equal values. The seed names the type's family, so that a column whose type
//! was edited does not find its old state by accident.

use arrow::{
    array::{Array, ArrayRef, AsArray, StringViewArray},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field},
};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::{convert::as_views, is_json, number, token, write::token_of};

/// The key bytes of a batch: one buffer, and where each row's end.
#[derive(Clone, Debug)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Row → end of its bytes; the start is the end of the row before.
    ends: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl Keys {
    /// The keys that `columns` make, row by row. `fields` are the columns' fields in the same order.
    pub fn of(columns: &[ArrayRef], fields: &[&Field]) -> Keys {
        let rows = columns.first().map_or(0, |column| column.len());
        let nulls = any_null(columns);
        let (mut bytes, mut ends, mut token) = (Vec::new(), Vec::with_capacity(rows), Vec::new());
        for row in 0..rows {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                match columns {
                    [column] => write_single(column, fields[0], row, &mut token, &mut bytes),
                    _ => write_several(columns, fields, row, &mut bytes),
                }
            }
            ends.push(bytes.len());
        }
        Keys { bytes, ends, nulls }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a row's key, or `None` where any part of it is NULL.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        Some(&self.bytes[start..self.ends[row]])
    }
}

fn any_null(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref()))
}

fn write_single(column: &ArrayRef, field: &Field, row: usize, token: &mut Vec<u8>, out: &mut Vec<u8>) {
    token.clear();
    canonical_token(column, field, row, token);
    match std::str::from_utf8(token) {
        Ok(text) => out.extend_from_slice(token::text(text).as_bytes()),
        Err(_) => out.extend_from_slice(token),
    }
}

fn write_several(columns: &[ArrayRef], fields: &[&Field], row: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, (column, field)) in columns.iter().zip(fields).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        canonical_token(column, field, row, out);
    }
    out.push(b']');
}

/// A value as the one token of all equal values.
fn canonical_token(column: &ArrayRef, field: &Field, row: usize, out: &mut Vec<u8>) {
    match column.data_type() {
        DataType::Decimal128(_, scale) => {
            number::write_trimmed(column.as_primitive::<Decimal128Type>().value(row), *scale, out);
        }
        DataType::Utf8View if is_json(field) => token::canonical(column.as_string_view().value(row).as_bytes(), out),
        // Numbers inside may be spelled in more than one way.
        data_type if is_json(field) || data_type.is_nested() || data_type.is_decimal() => {
            let mut token = Vec::new();
            token_of(column, field, row, &mut token);
            token::canonical(&token, out);
        }
        _ => token_of(column, field, row, out),
    }
}

/// What a type is at heart: the seed of its fingerprints. Numbers are part of the state's format and never change.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Family {
    Json = 1,
    Text = 2,
    Integer = 3,
    Decimal = 4,
    Float = 5,
    Boolean = 6,
    Instant = 7,
    Date = 8,
    Time = 9,
    Bytes = 10,
    Other = 11,
}

/// The fingerprint of NULL, in any column.
const NULL_FINGERPRINT: u128 = 0;

fn family(field: &Field) -> Family {
    use DataType::*;
    match field.data_type() {
        _ if is_json(field) => Family::Json,
        Utf8 | LargeUtf8 | Utf8View => Family::Text,
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => Family::Decimal,
        Float16 | Float32 | Float64 => Family::Float,
        Boolean => Family::Boolean,
        Timestamp(..) => Family::Instant,
        Date32 | Date64 => Family::Date,
        Time32(_) | Time64(_) => Family::Time,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Family::Bytes,
        other if other.is_integer() => Family::Integer,
        _ => Family::Other,
    }
}

/// Fills `out` with one fingerprint per row, and says which rows have no NULL in their key (`None`: no row has one). A row with a
/// NULL part has a fingerprint too, in which NULL equals NULL, for steps that group by it.
pub fn fingerprints(columns: &[ArrayRef], fields: &[&Field], out: &mut Vec<u128>) -> Option<NullBuffer> {
    out.clear();
    for (index, (column, field)) in columns.iter().zip(fields).enumerate() {
        if index == 0 {
            each(column, field, |_, fingerprint| out.push(fingerprint));
            if columns.len() > 1 {
                out.iter_mut().for_each(|fingerprint| *fingerprint = joined(0, *fingerprint));
            }
        } else {
            each(column, field, |row, fingerprint| out[row] = joined(out[row], fingerprint));
        }
    }
    any_null(columns).filter(|nulls| nulls.null_count() > 0)
}

fn joined(so_far: u128, next: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&so_far.to_le_bytes());
    bytes[16..].copy_from_slice(&next.to_le_bytes());
    xxh3_128(&bytes)
}

#[inline(always)]
fn each(column: &ArrayRef, field: &Field, mut put: impl FnMut(usize, u128)) {
    let family = family(field);
    match family {
        Family::Json => each_json(&as_views(column), put),
        Family::Text => each_text(&as_views(column), put),
        Family::Integer => each_integer(column, put),
        _ => {
            let nulls = column.logical_nulls();
            let mut token = Vec::new();
            for row in 0..column.len() {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    put(row, NULL_FINGERPRINT);
                    continue;
                }
                token.clear();
                canonical_token(column, field, row, &mut token);
                put(row, xxh3_128_with_seed(&token, family as u64));
            }
        }
    }
}

fn each_json(tokens: &StringViewArray, mut put: impl FnMut(usize, u128)) {
    let mut canonical = Vec::new();
    for row in 0..tokens.len() {
        if tokens.is_null(row) {
            put(row, NULL_FINGERPRINT);
            continue;
        }
        let token = tokens.value(row).as_bytes();
        if token::is_canonical(token) {
            put(row, xxh3_128_with_seed(token, Family::Json as u64));
        } else {
            canonical.clear();
            token::canonical(token, &mut canonical);
            put(row, xxh3_128_with_seed(&canonical, Family::Json as u64));
        }
    }
}

/// Integers of any width are hashed as 128 bits, so that only the value counts.
fn each_integer(column: &ArrayRef, mut put: impl FnMut(usize, u128)) {
    let wide = cast(column, &DataType::Decimal128(38, 0)).expect("an integer column");
    let wide = wide.as_primitive::<Decimal128Type>();
    for row in 0..wide.len() {
        let fingerprint = match wide.is_null(row) {
            true => NULL_FINGERPRINT,
            false => xxh3_128_with_seed(&wide.value(row).to_le_bytes(), Family::Integer as u64),
        };
        put(row, fingerprint);
    }
}

fn each_text(texts: &StringViewArray, mut put: impl FnMut(usize, u128)) {
    for row in 0..texts.len() {
        let fingerprint = match texts.is_null(row) {
            true => NULL_FINGERPRINT,
            false => xxh3_128_with_seed(texts.value(row).as_bytes(), Family::Text as u64),
        };
        put(row, fingerprint);
    }
}
