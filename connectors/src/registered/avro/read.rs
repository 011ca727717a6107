//! The bytes of a record, value by value.
//!
//! Source: the specification of Apache Avro 1.12, "Binary Encoding".

use super::schema::{Kind, Schema, Unit};
use crate::registered::datum::Datum;

/// Values in values in values: a schema may name itself.
const DEEPEST: usize = 64;
/// Values that a record may have for each of its bytes, and beside them. Most take a byte or more; a few bytes that stand for millions of
/// values that take none are an attack on memory.
const VALUES_PER_BYTE: u64 = 8;
const VALUES_BESIDE: u64 = 10_000;

/// The members of a record, which is all of `bytes`.
pub fn record(schema: &Schema, members: &[(&str, &Kind)], bytes: &[u8]) -> Result<Vec<Datum>, String> {
    let left = VALUES_PER_BYTE * bytes.len() as u64 + VALUES_BESIDE;
    let mut from = Bytes { all: bytes, at: 0, left, schema };
    let read = members.iter().map(|(name, kind)| from.value(kind, 0).map_err(|why| format!("{name}: {why}")));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    match bytes.len() - from.at {
        0 => Ok(read),
        more => Err(format!("{more} bytes are left behind its last field")),
    }
}

struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
    /// Values that it may still have.
    left: u64,
    schema: &'a Schema,
}

const SHORT: &str = "the record ends before its value does";

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.all.len()).ok_or(SHORT)?;
        let taken = &self.all[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| SHORT.to_owned())
    }

    /// A number in zigzag, seven bits a byte.
    fn long(&mut self) -> Result<i64, String> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    fn int(&mut self) -> Result<i32, String> {
        i32::try_from(self.long()?).map_err(|_| "an int has more than 32 bits".to_owned())
    }

    fn sized(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, String> {
        let text = self.sized()?;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| "a text is not UTF-8".to_owned())
    }

    fn value(&mut self, kind: &Kind, depth: usize) -> Result<Datum, String> {
        if depth > DEEPEST {
            return Err(format!("nested deeper than {DEEPEST} levels"));
        }
        self.left = self.left.checked_sub(1).ok_or("it has more values than its bytes can be")?;
        Ok(match kind {
            Kind::Null => Datum::Null,
            Kind::Boolean => match self.array()? {
                [0] => Datum::Boolean(false),
                [1] => Datum::Boolean(true),
                [byte] => return Err(format!("a boolean is {byte}")),
            },
            Kind::Int => Datum::Integer(self.int()?.into()),
            Kind::Long => Datum::Integer(self.long()?),
            Kind::Float => Datum::Float(f32::from_le_bytes(self.array()?)),
            Kind::Double => Datum::Double(f64::from_le_bytes(self.array()?)),
            Kind::Bytes => Datum::Bytes(self.sized()?.to_vec()),
            Kind::Fixed(size) => Datum::Bytes(self.take(*size)?.to_vec()),
            Kind::Text => Datum::Text(self.text()?),
            Kind::Decimal { scale, size, .. } => {
                let digits = match size {
                    Some(size) => self.take(*size)?,
                    None => self.sized()?,
                };
                Datum::Decimal(unscaled(digits)?, *scale)
            }
            Kind::Date => Datum::Date(self.int()?),
            Kind::Time(Unit::Milli) => Datum::Time(i64::from(self.int()?) * 1000),
            Kind::Time(_) => Datum::Time(self.long()?),
            Kind::Instant(unit) => Datum::Instant(micros(self.long()?, *unit)?),
            Kind::Uuid => Datum::Text(uuid(self.array()?)),
            Kind::Enum(symbols) => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                Datum::Text(symbol.ok_or_else(|| format!("an enum has no symbol {index}"))?.clone())
            }
            Kind::Union(kinds) => {
                let index = self.long()?;
                let kind = usize::try_from(index).ok().and_then(|index| kinds.get(index));
                let kind = kind.ok_or_else(|| format!("a union has no type {index}"))?;
                self.value(kind, depth + 1)?
            }
            Kind::List(item) => {
                let mut items = Vec::new();
                self.blocks(|this| {
                    items.push(this.value(item, depth + 1)?);
                    Ok(())
                })?;
                Datum::List(items)
            }
            Kind::Map(item) => {
                let mut members = Vec::new();
                self.blocks(|this| {
                    members.push((this.text()?, this.value(item, depth + 1)?));
                    Ok(())
                })?;
                Datum::Record(members)
            }
            Kind::Record(number) => {
                let schema = self.schema;
                let fields = &schema.records[*number];
                let members = fields.iter().map(|(name, kind)| Ok((name.clone(), self.value(kind, depth + 1)?)));
                Datum::Record(members.collect::<Result<_, String>>()?)
            }
        })
    }

    /// Blocks of items up to an empty one. A count below zero is followed by the bytes of its block.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }
}

/// Digits as a number in two's complement, the highest byte first.
fn unscaled(bytes: &[u8]) -> Result<i128, String> {
    let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let spare = bytes.len().saturating_sub(16);
    let (above, digits) = bytes.split_at(spare);
    let mut all = [fill; 16];
    all[16 - digits.len()..].copy_from_slice(digits);
    let number = i128::from_be_bytes(all);
    match above.iter().all(|byte| *byte == fill) && (number < 0) == (fill == 0xff) {
        true => Ok(number),
        false => Err("a decimal has more than 38 digits".to_owned()),
    }
}

/// Microseconds, where that loses nothing.
fn micros(time: i64, unit: Unit) -> Result<i64, String> {
    match unit {
        Unit::Milli => time.checked_mul(1000).ok_or_else(|| format!("{time} ms is no time of this calendar")),
        Unit::Micro => Ok(time),
        Unit::Nano if time % 1000 == 0 => Ok(time / 1000),
        Unit::Nano => Err(format!("{time} ns is between two microseconds")),
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| bytes[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)].join("-")
}
