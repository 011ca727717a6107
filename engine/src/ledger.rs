//! What became of rows that did not simply pass, kept in topics of the log so that it can be asked later.
//!
//! | topic | holds |
//! |---|---|
//! | `pipeline/<p>/ledger` | per epoch: its run and number; step, fate, reason, and of the rows that shared them the offsets and keys |
//! | `pipeline/<p>/dead` | dead letters of the chain, one per frame |
//! | `pipeline/<p>/sinks/<step>` | dead and stale rows of an outbox sink; see [`SinkFrame`] |
//! | `pipeline/<p>/outbox/<step>` | rows on their way to an outbox sink |
//! | `pipeline/<p>/stream/<name>` | rows on their way to other pipelines; see [`stream`](crate::stream) |

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use syncline_record::{DeadLetter, Fate, Partition, StepId};

use crate::operator::{Damaged, LedgerEntry, LedgerKey, LedgerKeys};

pub fn ledger_topic(pipeline: &str) -> String {
    format!("pipeline/{pipeline}/ledger")
}

pub fn dead_topic(pipeline: &str) -> String {
    format!("pipeline/{pipeline}/dead")
}

pub fn outbox_topic(pipeline: &str, step: &StepId) -> String {
    format!("pipeline/{pipeline}/outbox/{step}")
}

pub fn sink_topic(pipeline: &str, step: &StepId) -> String {
    format!("pipeline/{pipeline}/sinks/{step}")
}

pub fn stream_topic(pipeline: &str, name: &str) -> String {
    format!("pipeline/{pipeline}/stream/{name}")
}

/// Topics that one job writes in its transactions.
pub fn job_prefixes(pipeline: &str) -> [String; 4] {
    [
        ledger_topic(pipeline),
        dead_topic(pipeline),
        format!("pipeline/{pipeline}/outbox/"),
        format!("pipeline/{pipeline}/stream/"),
    ]
}

/// Rows that a sink did not take. Published before the sink's own commit, so it may come twice: a frame takes back everything
/// that earlier frames said about outbox offsets at or after its `base`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkFrame {
    /// Outbox offset of the first row of the attempt.
    pub base: u64,
    /// Outbox offset and letter.
    pub dead: Vec<(u64, DeadLetter)>,
    /// Outbox offset, partition and offset of the record.
    pub stale: Vec<(u64, String, u64)>,
}

/// What all frames of a sink say together.
pub fn settle(frames: impl IntoIterator<Item = SinkFrame>) -> SinkFrame {
    let mut settled = SinkFrame::default();
    for frame in frames {
        settled.dead.retain(|(offset, _)| *offset < frame.base);
        settled.stale.retain(|(offset, ..)| *offset < frame.base);
        settled.dead.extend(frame.dead);
        settled.stale.extend(frame.stale);
    }
    settled
}

/// What one frame of the ledger's topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which run decided it, and in which epoch; not known of frames that earlier versions wrote.
    pub when: Option<When>,
    pub entries: Vec<LedgerEntry>,
}

/// The run of a pipeline, and the epoch whose commit shows what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    pub run: u64,
    pub epoch: u64,
}

/// How a frame begins that says when: an entry of the first format never does, for there is no such fate.
const WITH_WHEN: [u8; 3] = [0, u8::MAX, 2];

/// Entries as bytes: offsets of a run of rows are small steps, so each is one or two bytes.
pub fn encode(when: When, entries: &[LedgerEntry]) -> Vec<u8> {
    let mut bytes = WITH_WHEN.to_vec();
    varint(&mut bytes, when.run);
    varint(&mut bytes, when.epoch);
    let text = |bytes: &mut Vec<u8>, text: &str| {
        varint(bytes, text.len() as u64);
        bytes.extend_from_slice(text.as_bytes());
    };
    for entry in entries {
        text(&mut bytes, entry.step.as_str());
        bytes.push(entry.fate as u8);
        text(&mut bytes, &entry.reason);
        text(&mut bytes, &entry.partition.name);
        varint(&mut bytes, entry.partition.number as u64);
        varint(&mut bytes, entry.offsets.len() as u64);
        let mut last = 0;
        for offset in &entry.offsets {
            // Offsets of one entry may step back when rows of two batches meet: zigzag.
            let step = offset.wrapping_sub(last) as i64;
            varint(&mut bytes, ((step << 1) ^ (step >> 63)) as u64);
            last = *offset;
        }
        bytes.push(u8::from(!entry.keys.is_empty()));
        for key in entry.keys.iter() {
            let Some(LedgerKey { text: name, fingerprint }) = key else {
                bytes.push(NO_KEY);
                continue;
            };
            bytes.push(if name.is_some() { NAMED } else { UNNAMED });
            bytes.extend_from_slice(&fingerprint.to_le_bytes());
            name.into_iter().for_each(|name| text(&mut bytes, name));
        }
    }
    bytes
}

/// What is said of a row's key: there is none, a fingerprint, or a fingerprint and a text.
const NO_KEY: u8 = 0;
const UNNAMED: u8 = 1;
const NAMED: u8 = 2;

/// The inverse of [`encode`], which reads what earlier versions wrote too.
pub fn decode(bytes: &[u8]) -> Result<Said, Damaged> {
    let mut reader = Reader(bytes);
    let mut when = None;
    if let Some(rest) = bytes.strip_prefix(&WITH_WHEN) {
        reader = Reader(rest);
        when = Some(When { run: reader.varint()?, epoch: reader.varint()? });
    }
    let mut entries = vec![];
    while !reader.0.is_empty() {
        let step = StepId::new(reader.text()?);
        let fate = Fate::from_u8(reader.byte()?).ok_or_else(|| Damaged("no such fate".into()))?;
        let reason = Arc::from(reader.text()?);
        let name = reader.text()?.to_owned();
        let number = reader.varint()? as u32;
        let count = reader.varint()?;
        let mut last = 0u64;
        let mut offsets = vec![];
        for _ in 0..count {
            let step = reader.varint()?;
            last = last.wrapping_add(((step >> 1) as i64 ^ -((step & 1) as i64)) as u64);
            offsets.push(last);
        }
        let keyed = when.is_some() && reader.byte()? != 0;
        let mut keys = LedgerKeys::default();
        for _ in offsets.iter().filter(|_| keyed) {
            keys.push(reader.key()?);
        }
        entries.push(LedgerEntry { step, fate, reason, partition: Partition::new(name, number), offsets, keys });
    }
    Ok(Said { when, entries })
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or_else(|| Damaged("an entry is cut off".into()))?;
        self.0 = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= ((byte & 0x7f) as u64) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is too long".into()))
    }

    fn key(&mut self) -> Result<Option<LedgerKey<'a>>, Damaged> {
        let kind = self.byte()?;
        if kind == NO_KEY {
            return Ok(None);
        }
        let (print, rest) = self.0.split_first_chunk().ok_or_else(|| Damaged("a key is cut off".into()))?;
        self.0 = rest;
        let text = if kind == NAMED { Some(self.text()?) } else { None };
        Ok(Some(LedgerKey { text, fingerprint: u128::from_le_bytes(*print) }))
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.varint()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(|| Damaged("a text is cut off".into()))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Damaged("a text is not UTF-8".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reason: &str, offsets: Vec<u64>) -> LedgerEntry {
        LedgerEntry {
            step: StepId::new("dedup"),
            fate: Fate::Duplicate,
            reason: Arc::from(reason),
            partition: Partition::new("events/ä.ndjson", 3),
            offsets,
            keys: LedgerKeys::default(),
        }
    }

    const WHEN: When = When { run: 3, epoch: 70_000 };

    fn keyed() -> LedgerEntry {
        let key = |text| Some(LedgerKey { text, fingerprint: u128::MAX - 7 });
        LedgerEntry {
            keys: [key(Some("ä-1")), None, key(None)].into_iter().collect(),
            ..entry("duplicate", vec![9, 1, 2])
        }
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let entries =
            vec![entry("duplicate", vec![1, 2, 900, 70_000, u64::MAX, 5]), keyed(), entry("", vec![]), keyed()];
        assert_eq!(decode(&encode(WHEN, &entries)), Ok(Said { when: Some(WHEN), entries }));
    }

    /// As the first version wrote it: nothing of the run, of the epoch and of keys.
    #[test]
    fn what_the_first_format_says_is_read() {
        let bytes = b"\x05dedup\x02\x09duplicate\x01a\x03\x02\x02\x04";
        let entry = LedgerEntry { partition: Partition::new("a", 3), ..entry("duplicate", vec![1, 3]) };
        let fate = Fate::from_u8(2).expect("a fate");
        assert_eq!(decode(bytes), Ok(Said { when: None, entries: vec![LedgerEntry { fate, ..entry }] }));
    }

    #[test]
    fn a_cut_entry_is_damage_and_not_a_panic() {
        let whole = [entry("duplicate", vec![1, 300]), keyed()];
        let bytes = encode(WHEN, &whole);
        let ends = [encode(WHEN, &[]).len(), encode(WHEN, &whole[..1]).len()];
        for length in (1..bytes.len()).filter(|length| !ends.contains(length)) {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_second_attempt_takes_back_the_first() {
        let stale = |offset| (offset, "a".to_owned(), offset);
        let first = SinkFrame { base: 0, dead: vec![], stale: vec![stale(1), stale(7)] };
        let again = SinkFrame { base: 5, dead: vec![], stale: vec![stale(6)] };
        assert_eq!(settle([first, again]).stale, vec![stale(1), stale(6)]);
    }
}
