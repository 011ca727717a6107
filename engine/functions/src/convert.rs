//! From a token, or from text, to a typed value: strictly, and one row at a time.
//!
//! A value that does not fit is NULL in the result and its row is in `bad`; nothing else happens to the rest. Integers and decimals
//! are read from their digits, never through a float; a decimal with more digits after the point than the type has is rounded half
//! away from zero, as SQL does; one with more before it does not fit. `CAST` and a declared column differ only in what they take:
//!
//! | type | a declared column takes | `CAST` takes besides |
//! |---|---|---|
//! | text | strings | every token, as it is written |
//! | numbers | numbers, and strings that hold one | |
//! | BOOLEAN | `true`, `false` | the strings `true`, `t`, `false`, `f`, in any case |
//! | TIMESTAMP, DATE | strings (`instant`) | |
//! | BYTES | strings of base64 | every token's text, as its UTF-8 bytes |
//! | TIME | strings, as Arrow reads them | |
//! | lists, structs | arrays, objects | |

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanBuilder, ListArray, PrimitiveArray,
        StringArray, StringViewArray, StringViewBuilder, StructArray, new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::{CastOptions, can_cast_types, cast, cast_with_options},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use crate::{
    base64, instant, is_json,
    number::{self, Exact},
    scan, token, view,
};

/// Who asks for the conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A declared column of a schema: the token's kind must be the type's.
    Declared,
    /// `CAST` of a JSON value.
    Cast,
    /// A number's place beside a JSON value: as `CAST`, but a decimal is never rounded.
    Exact,
    /// `CAST` of text: the values have no quotes.
    Text,
    /// A field of a text format for a declared column: text as well, and what JSON writes as a string or a document is that here.
    Field,
}

impl Manner {
    /// The values are text, not tokens.
    #[inline(always)]
    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Field)
    }
}

/// A typed column, and the rows whose value did not fit, in order.
pub struct Converted {
    pub array: ArrayRef,
    pub bad: Vec<u32>,
}

/// Whether there is a conversion from JSON to this type.
pub fn takes(to: &DataType) -> bool {
    use DataType::*;
    match to {
        Boolean | Date32 | Decimal128(..) | Float32 | Float64 | Utf8 | Utf8View | LargeUtf8 | Binary | BinaryView => {
            true
        }
        Timestamp(..) | Date64 | Time32(_) | Time64(_) => true,
        List(item) => is_json(item) || takes(item.data_type()),
        Struct(fields) => fields.iter().all(|field| is_json(field) || takes(field.data_type())),
        other => other.is_integer(),
    }
}

/// Converts every value of `values` (tokens, or text for [`Manner::Text`]).
pub fn convert(values: &StringViewArray, to: &DataType, manner: Manner) -> Converted {
    use DataType::*;
    let from = Source { values, manner };
    match to {
        Int8 => from.primitive::<Int8Type>(integer),
        Int16 => from.primitive::<Int16Type>(integer),
        Int32 => from.primitive::<Int32Type>(integer),
        Int64 => from.primitive::<Int64Type>(integer),
        UInt8 => from.primitive::<UInt8Type>(integer),
        UInt16 => from.primitive::<UInt16Type>(integer),
        UInt32 => from.primitive::<UInt32Type>(integer),
        UInt64 => from.primitive::<UInt64Type>(integer),
        Float64 => from.primitive::<Float64Type>(double),
        Float32 => from.primitive::<Float32Type>(single),
        Decimal128(precision, scale) => from.decimal(*precision, *scale),
        Date32 => from.primitive::<Date32Type>(|value| instant::parse_date(value.text()?)),
        Timestamp(unit, _) => from.instants(*unit, to),
        Boolean => from.booleans(),
        Utf8View => from.text(),
        Utf8 | LargeUtf8 => {
            let text = from.text();
            let array = cast(&text.array, to).expect("text casts to text");
            Converted { array, bad: text.bad }
        }
        Binary | BinaryView if matches!(manner, Manner::Declared | Manner::Field) => from.bytes(to),
        List(_) | Struct(_) if manner == Manner::Field => from.documents(to),
        List(item) if manner != Manner::Text => from.list(item),
        Struct(fields) if manner != Manner::Text => from.structs(fields),
        other => from.by_arrow(other),
    }
}

/// One value: its bytes, and whether they are between quotes.
#[derive(Clone, Copy)]
struct Value<'a> {
    bytes: &'a [u8],
    quoted: bool,
    manner: Manner,
}

impl<'a> Value<'a> {
    #[inline(always)]
    fn of(bytes: &'a [u8], manner: Manner) -> Self {
        match bytes {
            [b'"', body @ .., b'"'] if !manner.is_text() => Self { bytes: body, quoted: true, manner },
            _ => Self { bytes, quoted: false, manner },
        }
    }

    /// The digits of a number, be it in quotes or not.
    #[inline(always)]
    fn digits(self) -> &'a [u8] {
        if self.quoted || self.manner.is_text() { self.bytes.trim_ascii() } else { self.bytes }
    }

    /// What stands between the quotes; nothing for another kind of token.
    #[inline(always)]
    fn text(self) -> Option<&'a [u8]> {
        (self.quoted || self.manner.is_text()).then(|| self.bytes.trim_ascii())
    }
}

fn integer<N: TryFrom<i128>>(value: Value<'_>) -> Option<N> {
    N::try_from(number::parse(value.digits())?.whole()?).ok()
}

/// A double; the three values that are no numbers have names, as in PostgreSQL, and only as strings.
fn double(value: Value<'_>) -> Option<f64> {
    number::parse_double(value.digits()).or_else(|| match value.text()? {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    })
}

fn single(value: Value<'_>) -> Option<f32> {
    let wide = double(value)?;
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

fn boolean(value: Value<'_>) -> Option<bool> {
    match value.bytes {
        b"true" if !value.quoted => Some(true),
        b"false" if !value.quoted => Some(false),
        _ if value.manner == Manner::Declared => None,
        _ => {
            let word = value.text()?;
            let is = |words: [&str; 2]| words.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes()));
            if is(["true", "t"]) { Some(true) } else { is(["false", "f"]).then_some(false) }
        }
    }
}

struct Source<'a> {
    values: &'a StringViewArray,
    manner: Manner,
}

impl Source<'_> {
    /// Reads every value that is not NULL; what `read` refuses is bad.
    #[inline(always)]
    fn read<T: Default>(&self, mut read: impl FnMut(Value<'_>) -> Option<T>) -> (Vec<T>, Option<NullBuffer>, Vec<u32>) {
        let (mut out, mut bad) = (Vec::with_capacity(self.values.len()), Vec::new());
        for row in 0..self.values.len() {
            out.push(if self.values.is_null(row) {
                T::default()
            } else {
                let bytes = self.values.value(row).as_bytes();
                match read(Value::of(bytes, self.manner)).or_else(|| self.read_escaped(bytes, &mut read)) {
                    Some(value) => value,
                    None => {
                        bad.push(row as u32);
                        T::default()
                    }
                }
            });
        }
        let nulls = without(self.values, &bad);
        (out, nulls, bad)
    }

    /// `"1\u0030"` is 10: rare enough to be tried only after the plain reading failed.
    #[cold]
    fn read_escaped<T>(&self, bytes: &[u8], read: &mut impl FnMut(Value<'_>) -> Option<T>) -> Option<T> {
        let body = token::body(bytes).filter(|body| !self.manner.is_text() && body.contains(&b'\\'))?;
        let text = token::unescape(body);
        read(Value { bytes: text.as_bytes(), quoted: true, manner: self.manner })
    }

    fn primitive<T: ArrowPrimitiveType>(&self, read: impl FnMut(Value<'_>) -> Option<T::Native>) -> Converted {
        let (values, nulls, bad) = self.read(read);
        Converted { array: Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)), bad }
    }

    fn decimal(&self, precision: u8, scale: i8) -> Converted {
        let limit = 10i128.checked_pow(precision as u32).unwrap_or(i128::MAX);
        let exact = self.manner == Manner::Exact;
        let (values, nulls, bad) = self.read(|value| {
            let number = number::parse(value.digits())?;
            let mantissa = number.rescale(scale)?;
            let kept = || number.compare(Exact { mantissa, exponent: -(scale as i64) }).is_eq();
            (-limit < mantissa && mantissa < limit && (!exact || kept())).then_some(mantissa)
        });
        let array = PrimitiveArray::<Decimal128Type>::new(values.into(), nulls)
            .with_precision_and_scale(precision, scale)
            .expect("a type that was planned");
        Converted { array: Arc::new(array), bad }
    }

    fn instants(&self, unit: TimeUnit, to: &DataType) -> Converted {
        let micros = |value: Value<'_>| instant::parse(value.text()?);
        let mut converted = match unit {
            TimeUnit::Second => {
                self.primitive::<TimestampSecondType>(|value| Some(micros(value)?.div_euclid(1_000_000)))
            }
            TimeUnit::Millisecond => {
                self.primitive::<TimestampMillisecondType>(|value| Some(micros(value)?.div_euclid(1_000)))
            }
            TimeUnit::Microsecond => self.primitive::<TimestampMicrosecondType>(micros),
            TimeUnit::Nanosecond => {
                self.primitive::<TimestampNanosecondType>(|value| micros(value)?.checked_mul(1_000))
            }
        };
        if converted.array.data_type() != to {
            converted.array = cast(&converted.array, to).expect("an instant keeps its unit");
        }
        converted
    }

    fn booleans(&self) -> Converted {
        let mut out = BooleanBuilder::with_capacity(self.values.len());
        let (values, nulls, bad) = self.read(boolean);
        for (row, value) in values.into_iter().enumerate() {
            out.append_option(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(value));
        }
        Converted { array: Arc::new(out.finish()), bad }
    }

    fn text(&self) -> Converted {
        match self.manner {
            Manner::Text | Manner::Field => Converted { array: Arc::new(self.values.clone()), bad: Vec::new() },
            Manner::Cast | Manner::Exact => Converted { array: Arc::new(view::texts(self.values)), bad: Vec::new() },
            Manner::Declared => {
                let rows = 0..self.values.len() as u32;
                let is_text = |row: usize| self.values.is_null(row) || self.values.value(row).starts_with('"');
                let bad: Vec<u32> = rows.filter(|row| !is_text(*row as usize)).collect();
                let texts = view::texts(self.values);
                let nulls = without(self.values, &bad);
                Converted { array: Arc::new(view::with_nulls(&texts, nulls)), bad }
            }
        }
    }

    fn bytes(&self, to: &DataType) -> Converted {
        let (values, nulls, bad) = self.read(|value| base64::decode(value.text()?));
        let mut out = BinaryBuilder::new();
        for (row, value) in values.iter().enumerate() {
            out.append_option(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(value));
        }
        let array = cast(&out.finish(), to).expect("bytes cast to bytes");
        Converted { array, bad }
    }

    /// Text that is a JSON document: what is none is bad, and the others are read as tokens.
    fn documents(&self, to: &DataType) -> Converted {
        let (tokens, mut bad) = documents(self.values);
        let converted = convert(&tokens, to, Manner::Declared);
        bad.extend(converted.bad);
        bad.sort_unstable();
        Converted { array: converted.array, bad }
    }

    /// An array whose every element fits.
    fn list(&self, item: &Arc<Field>) -> Converted {
        let (mut tokens, mut owner, mut lengths, mut bad) = (StringViewBuilder::new(), vec![], vec![], vec![]);
        for row in 0..self.values.len() {
            let token = if self.values.is_null(row) { "" } else { self.values.value(row) };
            let before = owner.len();
            for element in token::elements(token.as_bytes()) {
                append_token(&mut tokens, Some(element));
                owner.push(row as u32);
            }
            lengths.push(owner.len() - before);
            if !token.is_empty() && !token.starts_with('[') {
                bad.push(row as u32);
            }
        }
        let (elements, unfit) = self.nested(&tokens.finish(), item);
        bad.extend(unfit.into_iter().map(|element| owner[element as usize]));
        bad.sort_unstable();
        bad.dedup();
        let offsets = OffsetBuffer::from_lengths(lengths);
        let array = ListArray::new(item.clone(), offsets, elements, without(self.values, &bad));
        Converted { array: Arc::new(array), bad }
    }

    /// An object whose every wanted member fits; others are left aside.
    fn structs(&self, fields: &Fields) -> Converted {
        let rows = self.values.len();
        let object = |row: usize| self.values.is_valid(row) && self.values.value(row).starts_with('{');
        let mut bad: Vec<u32> =
            (0..rows as u32).filter(|row| self.values.is_valid(*row as usize) && !object(*row as usize)).collect();
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let mut tokens = StringViewBuilder::with_capacity(rows);
            for row in 0..rows {
                let value = object(row).then(|| token::member(self.values.value(row).as_bytes(), field.name()));
                append_token(&mut tokens, value.flatten());
            }
            let (column, unfit) = self.nested(&tokens.finish(), field);
            bad.extend(unfit.into_iter().filter(|row| object(*row as usize)));
            columns.push(column);
        }
        bad.sort_unstable();
        bad.dedup();
        let nulls = without(self.values, &bad);
        let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, rows)
            .map(|array| Arc::new(array) as ArrayRef)
            .unwrap_or_else(|_| new_null_array(&DataType::Struct(fields.clone()), rows));
        Converted { array, bad }
    }

    fn nested(&self, tokens: &StringViewArray, field: &Field) -> (ArrayRef, Vec<u32>) {
        if is_json(field) {
            return (Arc::new(tokens.clone()), Vec::new());
        }
        let mut converted = convert(tokens, field.data_type(), self.manner);
        if !field.is_nullable() {
            converted.bad.extend((0..tokens.len() as u32).filter(|row| tokens.is_null(*row as usize)));
        }
        (converted.array, converted.bad)
    }

    /// Types that nothing here reads: as Arrow casts text.
    fn by_arrow(&self, to: &DataType) -> Converted {
        let text = if self.manner.is_text() { self.values.clone() } else { view::texts(self.values) };
        // To Arrow, a time without a colon is a count of nanoseconds.
        let is_time = matches!(to, DataType::Time32(_) | DataType::Time64(_));
        let text: StringArray = text.iter().map(|text| text.filter(|text| !is_time || text.contains(':'))).collect();
        let options = CastOptions { safe: true, ..Default::default() };
        let array =
            if can_cast_types(text.data_type(), to) { cast_with_options(&text, to, &options).ok() } else { None };
        let array = array.unwrap_or_else(|| new_null_array(to, self.values.len()));
        let failed = |row: &u32| array.is_null(*row as usize) && self.values.is_valid(*row as usize);
        let bad = (0..self.values.len() as u32).filter(failed).collect();
        Converted { array, bad }
    }
}

/// The JSON documents that texts are: slices of the same buffers, NULL for `null`; and the rows whose text is none.
pub fn documents(values: &StringViewArray) -> (StringViewArray, Vec<u32>) {
    let mut bad = Vec::new();
    let tokens = view::parts(values, |row, text| {
        let document = text.trim_ascii();
        if scan::check(document).is_err() {
            bad.push(row as u32);
            return None;
        }
        (document != b"null").then_some(document)
    });
    (tokens, bad)
}

fn append_token(tokens: &mut StringViewBuilder, token: Option<&[u8]>) {
    match token {
        Some(token) if token != b"null" => tokens.append_value(String::from_utf8_lossy(token)),
        _ => tokens.append_null(),
    }
}

/// The validity of `values` less the bad rows.
fn without(values: &StringViewArray, bad: &[u32]) -> Option<NullBuffer> {
    if bad.is_empty() {
        return values.nulls().cloned();
    }
    let mut valid: Vec<bool> = (0..values.len()).map(|row| values.is_valid(row)).collect();
    for row in bad {
        valid[*row as usize] = false;
    }
    Some(NullBuffer::from(valid))
}

/// Any text column as views.
pub fn as_views(column: &ArrayRef) -> Cow<'_, StringViewArray> {
    match column.as_string_view_opt() {
        Some(views) => Cow::Borrowed(views),
        None => {
            let views = cast(column, &DataType::Utf8View).expect("a text column");
            Cow::Owned(views.as_string_view().clone())
        }
    }
}
