//! `ledger` and `records_dropped`: what became of each record at each step, and why.
//!
//! By default the ledger holds every fate but `passed`, and `absorbed` into groups, joins and orders. `records_dropped` leaves out what went on: passed and absorbed.

use arrow::datatypes::SchemaRef;
use syncline_engine::ledger::{self, ledger_topic};
use syncline_record::Fate;

use super::sinks::each_settled;
use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

/// What one read of a topic takes: some frames, never the whole topic.
const READ_BYTES: usize = 1 << 20;

pub struct Ledger {
    /// With records that went on.
    pub all: bool,
}

impl Table for Ledger {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("step", Kind::Text),
            ("fate", Kind::Text),
            ("reason", Kind::Text),
            ("source", Kind::Text),
            ("record_offset", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let topic = ledger_topic(pipeline);
        let mut row = |step: &str, fate: Fate, reason: &str, source: &str, offset: u64| {
            rows.row(&[
                Cell::Text(pipeline),
                Cell::Text(step),
                Cell::Text(fate.as_str()),
                Cell::Text(reason),
                Cell::Text(source),
                Cell::Number(offset),
            ])
        };
        each_frame(reading, &topic, &mut |body| {
            let entries =
                ledger::decode(body).map_err(|damaged| Stop::Damaged { what: topic.clone(), detail: damaged.0 })?;
            for entry in entries {
                if !self.all && [Fate::Passed, Fate::Absorbed].contains(&entry.fate) {
                    continue;
                }
                let source = entry.partition.to_string();
                for offset in entry.offsets {
                    row(entry.step.as_str(), entry.fate, &entry.reason, &source, offset)?;
                }
            }
            Ok(())
        })?;
        each_settled(reading, pipeline, &mut |step, frame| {
            for (_, letter) in frame.dead {
                let source = letter.place.partition.to_string();
                row(step.as_str(), Fate::Dead, &letter.reason.slug, &source, letter.place.offset)?;
            }
            for (_, source, offset) in frame.stale {
                row(step.as_str(), Fate::Stale, "stale", &source, offset)?;
            }
            Ok(())
        })
    }
}

/// Calls `each` with the body of every frame that is kept and was visible at the start, the oldest first.
pub fn each_frame(reading: &Reading, topic: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
    use syncline_engine::log::LogError;
    let end = reading.log.end(topic)?;
    let mut next = 0;
    while next < end {
        let frames = match reading.log.read(topic, next, READ_BYTES) {
            // Retention took it away before this read, or meanwhile.
            Err(LogError::Gone { oldest, .. }) if oldest > next => {
                next = oldest;
                continue;
            }
            frames => frames?,
        };
        let Some(last) = frames.last().map(|frame| frame.next()) else { break };
        for frame in frames.iter().take_while(|frame| frame.base < end) {
            each(&frame.body)?;
        }
        next = last;
    }
    Ok(())
}
