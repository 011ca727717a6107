//! The changelog of the simulation: kept apart from the machines that write it, compacted when told, and with the answers that brokers can
//! give.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Changelog, ChangelogError, Record, Sent, Span, Take};

/// What the brokers hold.
#[derive(Default)]
struct Kept {
    records: Vec<(u64, Record)>,
    next: u64,
    /// What was written into topics beside it.
    beside: Vec<Sent>,
    /// Grows with every open: only the newest may write.
    fence: u64,
    /// The next write's outcome is not told: whether it is written.
    unknown: Option<bool>,
}

impl Kept {
    fn span(&self) -> Span {
        let oldest = self.records.first().map_or(self.next, |(offset, _)| *offset);
        Span { oldest, end: self.next }
    }
}

/// A cluster with one changelog. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryChangelogs(Arc<Mutex<Kept>>);

impl MemoryChangelogs {
    /// One more process that writes it.
    pub fn writer(&self) -> MemoryChangelog {
        MemoryChangelog { kept: self.clone(), fence: 0 }
    }

    /// What was written into a partition beside it, in order.
    pub fn beside(&self, topic: &str, partition: u32) -> Vec<Vec<u8>> {
        let kept = self.kept();
        let own = kept.beside.iter().filter(|sent| sent.topic == topic && sent.partition == partition);
        own.map(|sent| sent.body.clone()).collect()
    }

    /// Nobody hears of the next write; it happened or it did not.
    pub fn lose_answer(&self, written: bool) {
        self.kept().unknown = Some(written);
    }

    /// Keeps the last record of each key, and of removed keys nothing.
    pub fn compact(&self) {
        let mut kept = self.kept();
        let records = std::mem::take(&mut kept.records);
        let mut seen = std::collections::HashSet::new();
        let mut last: Vec<(u64, Record)> =
            records.into_iter().rev().filter(|(_, (key, _))| seen.insert(key.clone())).collect();
        last.retain(|(_, (_, value))| value.is_some());
        last.reverse();
        kept.records = last;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct MemoryChangelog {
    kept: MemoryChangelogs,
    fence: u64,
}

const NAME: &str = "in memory";

impl Changelog for MemoryChangelog {
    fn name(&self) -> &str {
        NAME
    }

    fn open(&mut self) -> Result<Span, ChangelogError> {
        let mut kept = self.kept.kept();
        kept.fence += 1;
        self.fence = kept.fence;
        Ok(kept.span())
    }

    fn look(&mut self) -> Result<Span, ChangelogError> {
        Ok(self.kept.kept().span())
    }

    fn read(&mut self, from: u64, end: u64, take: &mut Take<'_>) -> Result<(), ChangelogError> {
        let records = self.kept.kept().records.clone();
        let mut asked = records.iter().filter(|(offset, _)| (from..end).contains(offset));
        asked.try_for_each(|(offset, (key, value))| take(*offset, key, value.as_deref()))
    }

    fn write(&mut self, records: &[Record], beside: &[Sent]) -> Result<u64, ChangelogError> {
        let mut kept = self.kept.kept();
        if self.fence != kept.fence {
            return Err(ChangelogError::Fenced { name: NAME.to_owned() });
        }
        let unknown = kept.unknown.take();
        if unknown != Some(false) {
            for record in records {
                let offset = kept.next;
                kept.records.push((offset, record.clone()));
                kept.next += 1;
            }
            kept.beside.extend_from_slice(beside);
            // As with Kafka, the end of a transaction is a record of its own.
            kept.next += 1;
        }
        match unknown {
            None => Ok(kept.next),
            Some(_) => Err(ChangelogError::Unknown { name: NAME.to_owned(), detail: "no answer came".to_owned() }),
        }
    }
}
