//! What people asked a running pipeline to take in may not be there, or go away in the middle: it is tried again, and the others go on.
//!
//! So only of what was asked, which no text names. Where the others are over, nobody is kept from anything: the run fails as it would for any
//! input.

use std::time::Duration;

use syncline_record::StepId;

use super::{
    job::{Job, JobError, JobSpec},
    restart::LONGEST_PAUSE,
};
use crate::{
    graph::{Beside, Graph},
    source::{Cursors, SourceError},
};

/// Until it is tried again; it doubles with each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// An input that cannot be read now.
pub(super) struct Ailing {
    error: SourceError,
    pause: Duration,
    until: Duration,
}

impl Graph {
    /// The input that people asked for.
    fn asked(&self) -> Option<Beside> {
        self.beside.filter(|beside| beside.number > 0)
    }

    /// Whether the others go on without an input that says this.
    fn goes_without(&self, input: usize, error: &SourceError) -> bool {
        let passes =
            matches!(error, SourceError::Unreadable { .. } | SourceError::Changed { .. } | SourceError::Again { .. });
        passes && self.asked().is_some_and(|asked| asked.input == input)
    }
}

impl Ailing {
    fn since(now: Duration, error: SourceError, pause: Duration) -> Self {
        Self { error, pause, until: now + pause }
    }

    /// Opens an input; `Some`: it cannot be read, and the others go on.
    pub fn opened(
        spec: &mut JobSpec,
        input: usize,
        cursors: &Cursors,
        (now, elapsed): (i64, Duration),
    ) -> Result<Option<Self>, SourceError> {
        match spec.graph.inputs[input].source.open(cursors, now) {
            Err(error) if spec.graph.goes_without(input, &error) => {
                let ailing = Self::since(elapsed, error, FIRST_PAUSE);
                ailing.tell(spec);
                Ok(Some(ailing))
            }
            opened => opened.map(|()| None),
        }
    }

    fn tell(&self, spec: &JobSpec) {
        let (error, number) = (&self.error, spec.graph.beside.map(|beside| beside.number));
        tracing::warn!(
            pipeline = spec.pipeline,
            backfill = number,
            "{error}; the source goes on, and the backfill is tried again in {} s",
            self.pause.as_secs()
        );
    }
}

impl Job {
    /// Whether an input that is read beside the others can be asked now: one that could not be read is opened again when its pause is over.
    pub(super) fn is_well(&mut self, input: usize) -> Result<bool, JobError> {
        let Some(ailing) = self.ailing.take() else { return Ok(true) };
        let elapsed = self.ground.clock.elapsed();
        if (0..self.spec.graph.inputs.len()).all(|other| other == input || self.over.contains(&other)) {
            return Err(ailing.error.into());
        }
        if elapsed < ailing.until {
            self.ailing = Some(ailing);
            return Ok(false);
        }
        let now = self.ground.clock.now();
        let cursors = super::commit::own(&self.spec.graph.inputs[input], &self.checkpoint.cursors);
        match self.spec.graph.inputs[input].source.open(&cursors, now) {
            Err(error) if self.spec.graph.goes_without(input, &error) => {
                let same = error == ailing.error;
                let next = Ailing::since(elapsed, error, (2 * ailing.pause).min(LONGEST_PAUSE));
                if !same {
                    next.tell(&self.spec);
                }
                self.ailing = Some(next);
                Ok(false)
            }
            opened => {
                opened?;
                tracing::info!(pipeline = self.spec.pipeline, "the backfill goes on");
                Ok(true)
            }
        }
    }

    /// An input said this when it was asked. `Err`: nobody goes on without it.
    pub(super) fn ails(&mut self, input: usize, error: SourceError) -> Result<(), JobError> {
        if !self.spec.graph.goes_without(input, &error) {
            return Err(error.into());
        }
        let ailing = Ailing::since(self.ground.clock.elapsed(), error, FIRST_PAUSE);
        ailing.tell(&self.spec);
        self.ailing = Some(ailing);
        Ok(())
    }

    /// The input that is tried again, and why.
    pub(super) fn ailment(&self) -> Option<(StepId, String)> {
        let (ailing, asked) = (self.ailing.as_ref()?, self.spec.graph.asked()?);
        Some((self.spec.graph.inputs[asked.input].step.clone(), ailing.error.to_string()))
    }
}
