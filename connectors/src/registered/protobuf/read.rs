//! The bytes of a message, field by field.
//!
//! Source: "Encoding" of the Protocol Buffers documentation. Fields that the schema does not have are passed over, as every reader of the
//! format does; of a field that comes twice the last counts, and messages are put together.

use std::{cell::Cell, collections::BTreeMap};

use super::schema::{FieldOf, Kind, Message, Schema};
use crate::registered::datum::Datum;

/// Messages in messages in messages.
const DEEPEST: usize = 64;

/// Values that a record may have for each of its bytes, and beside them: an absent field is a value, and a few bytes that stand for
/// millions of them are an attack on memory.
const VALUES_PER_BYTE: u64 = 16;
const VALUES_BESIDE: u64 = 10_000;

type Read<T> = Result<T, String>;

/// A field's bytes, as its wire type cuts them.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Sized(&'a [u8]),
}

struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

const SHORT: &str = "the message ends before its value does";

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.all.len()).ok_or(SHORT)?;
        let taken = &self.all[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SHORT.to_owned())
    }

    fn varint(&mut self) -> Read<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    fn sized(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        self.take(length)
    }

    fn is_over(&self) -> bool {
        self.at >= self.all.len()
    }

    /// The next field's number and bytes; `None` of a group, which is passed over.
    fn field(&mut self) -> Read<Option<(u32, Wire<'a>)>> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or("a field has the number 0, or one that is too large")?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Eight(self.array()?),
            2 => Wire::Sized(self.sized()?),
            3 => {
                self.group(number)?;
                return Ok(None);
            }
            5 => Wire::Four(self.array()?),
            other => return Err(format!("field {number} has the wire type {other}")),
        };
        Ok(Some((number, wire)))
    }

    /// To the end of a group, whatever is in it.
    fn group(&mut self, number: u32) -> Read<()> {
        let mut open = vec![number];
        while let Some(last) = open.last() {
            let tag = self.varint()?;
            let number = (tag >> 3) as u32;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.sized()?),
                3 if open.len() < DEEPEST => open.push(number),
                4 if number == *last => drop(open.pop()),
                5 => drop(self.take(4)?),
                other => return Err(format!("a group has the wire type {other}")),
            }
        }
        Ok(())
    }
}

/// The numbers of the messages on the way to the one that a record is, and what stands behind them.
pub fn indexes(record: &[u8]) -> Read<(Vec<usize>, &[u8])> {
    let mut from = Bytes { all: record, at: 0 };
    let zigzag = |number: u64| (number >> 1) as i64 ^ -((number & 1) as i64);
    let count = zigzag(from.varint()?);
    let count = usize::try_from(count).ok().filter(|count| *count <= DEEPEST);
    let count = count.ok_or("the way to its message is none")?;
    // One zero stands for the first message.
    let mut way = if count == 0 { vec![0] } else { vec![] };
    for _ in 0..count {
        way.push(usize::try_from(zigzag(from.varint()?)).map_err(|_| "the way to its message is none")?);
    }
    Ok((way, &record[from.at..]))
}

/// A record on its way.
struct Within<'a> {
    schema: &'a Schema,
    /// Values that it may still have.
    left: Cell<u64>,
}

/// The values of a record's fields, in their order.
pub fn record(schema: &Schema, of: &Message, bytes: &[u8]) -> Read<Vec<Datum>> {
    let left = Cell::new(VALUES_PER_BYTE * bytes.len() as u64 + VALUES_BESIDE);
    message(&Within { schema, left }, of, bytes, 0)
}

fn message(within: &Within, of: &Message, bytes: &[u8], depth: usize) -> Read<Vec<Datum>> {
    if depth > DEEPEST {
        return Err(format!("nested deeper than {DEEPEST} levels"));
    }
    let left = within.left.get().checked_sub(1 + of.fields.len() as u64);
    within.left.set(left.ok_or("it has more values than its bytes can be")?);
    let mut found: BTreeMap<u32, Vec<Wire>> = BTreeMap::new();
    let mut from = Bytes { all: bytes, at: 0 };
    while !from.is_over() {
        let Some((number, wire)) = from.field()? else { continue };
        if of.fields.iter().any(|field| field.number == number) {
            found.entry(number).or_default().push(wire);
        }
    }
    let read = of.fields.iter().map(|field| {
        let wires = found.remove(&field.number).unwrap_or_default();
        value(within, field, &wires, depth).map_err(|why| format!("{}: {why}", field.name))
    });
    read.collect()
}

fn value(within: &Within, field: &FieldOf, wires: &[Wire], depth: usize) -> Read<Datum> {
    if let Kind::Map(key, value) = &field.kind {
        return map(within, key, value, wires, depth);
    }
    if field.repeated {
        let mut items = vec![];
        for wire in wires {
            match wire {
                Wire::Sized(packed) if !is_sized(&field.kind) => unpack(within, &field.kind, packed, &mut items)?,
                wire => items.push(single(within, &field.kind, &[*wire], depth)?),
            }
        }
        return Ok(Datum::List(items));
    }
    match wires {
        [] if field.present => Ok(Datum::Null),
        [] => zero(within, &field.kind),
        wires => single(within, &field.kind, wires, depth),
    }
}

fn is_sized(kind: &Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_) | Kind::Instant | Kind::Wrapped(_) | Kind::Map(..))
}

/// Numbers without tags between them.
fn unpack(within: &Within, kind: &Kind, packed: &[u8], items: &mut Vec<Datum>) -> Read<()> {
    let mut from = Bytes { all: packed, at: 0 };
    while !from.is_over() {
        let wire = match kind {
            Kind::Double | Kind::Fixed64 | Kind::SFixed64 => Wire::Eight(from.array()?),
            Kind::Float | Kind::Fixed32 | Kind::SFixed32 => Wire::Four(from.array()?),
            _ => Wire::Varint(from.varint()?),
        };
        items.push(single(within, kind, &[wire], 0)?);
    }
    Ok(())
}

/// One value; of several the last, or what they make together.
fn single(within: &Within, kind: &Kind, wires: &[Wire], depth: usize) -> Read<Datum> {
    let Some(last) = wires.last() else { return zero(within, kind) };
    let zigzag = |number: u64| (number >> 1) as i64 ^ -((number & 1) as i64);
    Ok(match (kind, last) {
        // A negative one takes ten bytes; only the low half counts.
        (Kind::Int32, Wire::Varint(number)) => Datum::Integer((*number as i32).into()),
        (Kind::Int64, Wire::Varint(number)) => Datum::Integer(*number as i64),
        (Kind::UInt32, Wire::Varint(number)) => Datum::Unsigned((*number as u32).into()),
        (Kind::UInt64, Wire::Varint(number)) => Datum::Unsigned(*number),
        (Kind::SInt32, Wire::Varint(number)) => Datum::Integer((zigzag(*number) as i32).into()),
        (Kind::SInt64, Wire::Varint(number)) => Datum::Integer(zigzag(*number)),
        (Kind::Bool, Wire::Varint(number)) => Datum::Boolean(*number != 0),
        (Kind::Enum(number), Wire::Varint(symbol)) => enumerated(within, *number, i64::from(*symbol as i32)),
        (Kind::Fixed64, Wire::Eight(bytes)) => Datum::Unsigned(u64::from_le_bytes(*bytes)),
        (Kind::SFixed64, Wire::Eight(bytes)) => Datum::Integer(i64::from_le_bytes(*bytes)),
        (Kind::Double, Wire::Eight(bytes)) => Datum::Double(f64::from_le_bytes(*bytes)),
        (Kind::Fixed32, Wire::Four(bytes)) => Datum::Unsigned(u32::from_le_bytes(*bytes).into()),
        (Kind::SFixed32, Wire::Four(bytes)) => Datum::Integer(i32::from_le_bytes(*bytes).into()),
        (Kind::Float, Wire::Four(bytes)) => Datum::Float(f32::from_le_bytes(*bytes)),
        (Kind::Bytes, Wire::Sized(bytes)) => Datum::Bytes(bytes.to_vec()),
        (Kind::Text, Wire::Sized(text)) => {
            Datum::Text(std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?.to_owned())
        }
        (Kind::Message(number), Wire::Sized(_)) => {
            let of = &within.schema.messages[*number];
            let values = message(within, of, &together(wires)?, depth + 1)?;
            Datum::Record(of.fields.iter().map(|field| field.name.clone()).zip(values).collect())
        }
        (Kind::Instant, Wire::Sized(_)) => instant(&together(wires)?)?,
        (Kind::Wrapped(kind), Wire::Sized(_)) => {
            let field =
                FieldOf { number: 1, name: "value".to_owned(), kind: *kind.clone(), repeated: false, present: false };
            let of = Message { fields: vec![field], inner: vec![] };
            message(within, &of, &together(wires)?, depth + 1)?.remove(0)
        }
        _ => return Err("it has another wire type than its schema says".to_owned()),
    })
}

/// The parts of one message, behind each other.
fn together(wires: &[Wire]) -> Read<Vec<u8>> {
    let mut all = vec![];
    for wire in wires {
        let Wire::Sized(part) = wire else { return Err("it has another wire type than its schema says".to_owned()) };
        all.extend_from_slice(part);
    }
    Ok(all)
}

fn map(within: &Within, key: &Kind, value: &Kind, wires: &[Wire], depth: usize) -> Read<Datum> {
    let field = |number, name: &str, kind: &Kind| {
        let present = is_sized(kind) && !matches!(kind, Kind::Text | Kind::Bytes);
        FieldOf { number, name: name.to_owned(), kind: kind.clone(), repeated: false, present }
    };
    let of = Message { fields: vec![field(1, "key", key), field(2, "value", value)], inner: vec![] };
    let mut members: Vec<(String, Datum)> = vec![];
    for wire in wires {
        let entry = message(within, &of, &together(&[*wire])?, depth + 1)?;
        let [key, value] = <[Datum; 2]>::try_from(entry).map_err(|_| SHORT)?;
        let key = match key {
            Datum::Text(text) => text,
            other => {
                let mut token = vec![];
                other.write(&mut token);
                String::from_utf8_lossy(&token).into_owned()
            }
        };
        members.retain(|(known, _)| *known != key);
        members.push((key, value));
    }
    Ok(Datum::Record(members))
}

/// What is absent, and cannot be.
fn zero(within: &Within, kind: &Kind) -> Read<Datum> {
    Ok(match kind {
        Kind::Double => Datum::Double(0.0),
        Kind::Float => Datum::Float(0.0),
        Kind::Int32 | Kind::Int64 | Kind::SInt32 | Kind::SInt64 | Kind::SFixed32 | Kind::SFixed64 => Datum::Integer(0),
        Kind::UInt32 | Kind::UInt64 | Kind::Fixed32 | Kind::Fixed64 => Datum::Unsigned(0),
        Kind::Bool => Datum::Boolean(false),
        Kind::Text => Datum::Text(String::new()),
        Kind::Bytes => Datum::Bytes(vec![]),
        Kind::Enum(number) => enumerated(within, *number, 0),
        Kind::Map(..) => Datum::Record(vec![]),
        Kind::Message(_) | Kind::Instant | Kind::Wrapped(_) => Datum::Null,
    })
}

/// The symbol of a number; a number that a newer schema has is its digits.
fn enumerated(within: &Within, number: usize, symbol: i64) -> Datum {
    let known = within.schema.enums[number].iter().find(|(known, _)| *known == symbol);
    Datum::Text(known.map_or_else(|| symbol.to_string(), |(_, name)| name.clone()))
}

fn instant(bytes: &[u8]) -> Read<Datum> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut from = Bytes { all: bytes, at: 0 };
    while !from.is_over() {
        match from.field()? {
            Some((1, Wire::Varint(number))) => seconds = number as i64,
            Some((2, Wire::Varint(number))) => nanos = number as i32,
            _ => {}
        }
    }
    if nanos % 1000 != 0 {
        return Err(format!("{nanos} ns is between two microseconds"));
    }
    let micros = seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add((nanos / 1000).into()));
    micros.map(Datum::Instant).ok_or_else(|| format!("{seconds} s is no time of this calendar"))
}
