//! Tables that are joined: read before the first row, and again between two epochs when their time has come.
//!
//! A first reading that fails stops the start. A later one that fails leaves the table as it is; it is told, tried again, and its age
//! can be watched (`syncline_table_age_seconds`). What is looked up by key has no reading; its answers grow old here.

use std::time::Duration;

use super::job::{Job, JobError, JobSpec};
use crate::{metrics, operator::Output, source::SourceError, table::TableInput};
use syncline_record::Micros;

/// When a table was read last, and when it is read next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    at: Duration,
    next: Option<Duration>,
}

impl Reading {
    pub fn first(table: &TableInput, now: Duration) -> Self {
        Self { at: now, next: table.refresh.map(|refresh| now + refresh) }
    }
}

/// The first reading of every table; what is to be said of each.
pub(super) fn read_all(spec: &mut JobSpec, now: Micros) -> Result<Vec<Output>, SourceError> {
    spec.graph.tables.iter_mut().map(|table| table.read(now)).collect()
}

impl Job {
    /// Books what a reading had to say: it belongs to the epoch that is open now.
    pub(super) fn table_told(&mut self, out: Output) {
        if !out.dead.is_empty() {
            self.open.since.get_or_insert(self.ground.clock.elapsed());
            self.open.touched = true;
        }
        self.enter(out);
    }

    /// What is looked up: answers that are too old are let go, and what was asked is told.
    pub(super) fn answers_grow_old(&self) {
        let now = self.ground.clock.elapsed();
        for lookup in &self.spec.graph.lookups {
            let (counts, oldest) = lookup.advance(now);
            metrics::looked_up(&self.spec.pipeline, &lookup.step, counts, oldest);
        }
    }

    /// Between two epochs: reads tables whose time has come, and lets go of answers that are too old.
    pub(super) fn refresh_tables(&mut self) -> Result<(), JobError> {
        let now = self.ground.clock.elapsed();
        self.answers_grow_old();
        for index in 0..self.readings.len() {
            let reading = self.readings[index];
            let table = &mut self.spec.graph.tables[index];
            metrics::table_age(&self.spec.pipeline, &table.step, now.saturating_sub(reading.at));
            if reading.next.is_none_or(|next| next > now) {
                continue;
            }
            self.readings[index].next = table.refresh.map(|refresh| now + refresh);
            match table.read(self.ground.clock.now()) {
                Ok(out) => {
                    self.readings[index].at = now;
                    self.table_told(out);
                }
                Err(error) => {
                    let step = &table.step;
                    tracing::warn!(pipeline = self.spec.pipeline, %step, "the table stays as it is: {error}");
                }
            }
        }
        Ok(())
    }
}
