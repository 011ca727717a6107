//! A changelog for tests that asks before each call whether it may be made: it counts, fails, or does something in between.

use super::{Changelog, ChangelogError, Record, Sent, Span, Take, memory::MemoryChangelog};

/// What is about to be called.
pub enum Call {
    Open,
    Look,
    Read { from: u64, end: u64 },
    Write,
}

pub struct Asking<F> {
    pub changelog: MemoryChangelog,
    pub ask: F,
}

impl<F: FnMut(Call) -> Result<(), ChangelogError> + Send> Changelog for Asking<F> {
    fn name(&self) -> &str {
        self.changelog.name()
    }

    fn open(&mut self) -> Result<Span, ChangelogError> {
        (self.ask)(Call::Open)?;
        self.changelog.open()
    }

    fn look(&mut self) -> Result<Span, ChangelogError> {
        (self.ask)(Call::Look)?;
        self.changelog.look()
    }

    fn read(&mut self, from: u64, end: u64, take: &mut Take<'_>) -> Result<(), ChangelogError> {
        (self.ask)(Call::Read { from, end })?;
        self.changelog.read(from, end, take)
    }

    fn write(&mut self, records: &[Record], beside: &[Sent]) -> Result<u64, ChangelogError> {
        (self.ask)(Call::Write)?;
        self.changelog.write(records, beside)
    }
}
