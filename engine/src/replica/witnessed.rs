//! Says in which window of its changelog a task is, so that a crash test can show which windows it hit.

use std::sync::Arc;

use super::OLDEST;
use crate::{
    changelog::{Changelog, ChangelogError, Record, Sent, Span, Take},
    witness::{ChangelogWitness, Upkeep},
};

pub struct Witnessed {
    changelog: Box<dyn Changelog>,
    witness: Arc<dyn ChangelogWitness>,
}

impl Witnessed {
    pub fn new(mut changelog: Box<dyn Changelog>, witness: Arc<dyn ChangelogWitness>) -> Self {
        changelog.witnessed(witness.clone());
        Self { changelog, witness }
    }

    fn within<T>(
        &mut self,
        window: Upkeep,
        call: impl FnOnce(&mut dyn Changelog) -> Result<T, ChangelogError>,
    ) -> Result<T, ChangelogError> {
        self.witness.enter(window);
        let answer = call(&mut *self.changelog);
        if answer.is_err() {
            self.witness.enter(Upkeep::Idle);
        }
        answer
    }
}

impl Changelog for Witnessed {
    fn name(&self) -> &str {
        self.changelog.name()
    }

    fn open(&mut self) -> Result<Span, ChangelogError> {
        self.within(Upkeep::Opening, |changelog| changelog.open())
    }

    fn look(&mut self) -> Result<Span, ChangelogError> {
        self.changelog.look()
    }

    fn read(&mut self, from: u64, end: u64, take: &mut Take<'_>) -> Result<(), ChangelogError> {
        self.witness.enter(Upkeep::Reading);
        // Who has seen enough ends it with an error, and reads on.
        self.changelog.read(from, end, take)
    }

    fn write(&mut self, records: &[Record], beside: &[Sent]) -> Result<u64, ChangelogError> {
        let moves = records.iter().any(|(key, _)| key.first() == Some(&OLDEST));
        let window = if moves { Upkeep::Moving } else { Upkeep::Writing };
        let next = self.within(window, |changelog| changelog.write(records, beside))?;
        self.witness.enter(Upkeep::Copying);
        Ok(next)
    }

    fn copied(&mut self) {
        self.witness.enter(Upkeep::Idle);
    }
}
