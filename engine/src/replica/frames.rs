//! Frames of topics as records of a changelog. A broker takes no record over about a megabyte, so a long body is in several.

use syncline_record::Micros;

use super::FRAME;
use crate::{changelog::Record, log::NewFrame};

/// Bytes of a body in one record: with its head below what every broker takes.
const PART: usize = 768 << 10;
const HEAD: usize = 1 + 4 + 8 + 2;

/// Who wrote a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Transaction = 1,
    Publication = 2,
}

/// A frame, or a part of one, as a record says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub kind: Kind,
    pub count: u32,
    pub time: Micros,
    pub parts: u16,
    pub body: &'a [u8],
}

/// How many records a body of so many bytes takes.
pub fn parts_of(length: usize) -> u16 {
    length.div_ceil(PART).max(1) as u16
}

fn key(topic: &str, base: u64, part: u16) -> Vec<u8> {
    let name = topic.as_bytes();
    [&[FRAME], &(name.len() as u16).to_be_bytes()[..], name, &base.to_be_bytes(), &part.to_be_bytes()].concat()
}

/// Topic, number of the first record, number of the part.
pub fn place_of(key: &[u8]) -> Option<(&str, u64, u16)> {
    let (length, rest) = key.strip_prefix(&[FRAME])?.split_at_checked(2)?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?;
    let (base, part) = rest.split_at_checked(8)?;
    let number = |bytes: &[u8]| bytes.try_into().ok();
    Some((
        std::str::from_utf8(name).ok()?,
        u64::from_be_bytes(number(base)?),
        u16::from_be_bytes(part.try_into().ok()?),
    ))
}

pub fn records(topic: &str, base: u64, kind: Kind, frame: &NewFrame) -> impl Iterator<Item = Record> {
    let parts = parts_of(frame.body.len());
    (0..parts).map(move |part| {
        let from = usize::from(part) * PART;
        let chunk = &frame.body[from..frame.body.len().min(from + PART)];
        let mut value = Vec::with_capacity(HEAD + chunk.len());
        value.push(kind as u8);
        value.extend_from_slice(&frame.count.to_be_bytes());
        value.extend_from_slice(&frame.time.to_be_bytes());
        value.extend_from_slice(&parts.to_be_bytes());
        value.extend_from_slice(chunk);
        (key(topic, base, part), Some(value))
    })
}

/// The frame is let go of.
pub fn removals(topic: &str, base: u64, parts: u16) -> impl Iterator<Item = Record> {
    (0..parts).map(move |part| (key(topic, base, part), None))
}

pub fn read(value: &[u8]) -> Option<Part<'_>> {
    let (head, body) = value.split_at_checked(HEAD)?;
    let kind = match head[0] {
        1 => Kind::Transaction,
        2 => Kind::Publication,
        _ => return None,
    };
    Some(Part {
        kind,
        count: u32::from_be_bytes(head[1..5].try_into().ok()?),
        time: Micros::from_be_bytes(head[5..13].try_into().ok()?),
        parts: u16::from_be_bytes(head[13..15].try_into().ok()?),
        body,
    })
}
