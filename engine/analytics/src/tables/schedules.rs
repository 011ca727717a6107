//! `schedules`: one row per pipeline that has a schedule, as it is kept.

use arrow::datatypes::SchemaRef;
use syncline_engine::firing::{self, Standing};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Schedules;

impl Table for Schedules {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            // `every`, `cron`
            ("kind", Kind::Text),
            ("expression", Kind::Text),
            ("time_zone", Kind::Text),
            // What becomes of due times that have passed: `run once`, `run all`, `skip`.
            ("missed", Kind::Text),
            ("paused", Kind::Flag),
            ("last_due", Kind::Time),
            ("last_started", Kind::Time),
            // Of the run for `last_due`.
            ("last_outcome", Kind::Text),
            // The first due time that is not settled: it has passed where nobody runs the pipeline.
            ("next_due", Kind::Time),
            ("missed_runs", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let Some(standing) = firing::standing(&*reading.store, pipeline)? else { return Ok(()) };
        let Standing { kept, paused, last_outcome, next_due } = standing;
        rows.row(&[
            Cell::Text(pipeline),
            Cell::Text(kept.schedule.kind()),
            Cell::Text(&kept.schedule.expression()),
            Cell::Text(kept.schedule.zone()),
            Cell::Text(kept.schedule.missed.as_str()),
            Cell::Flag(paused),
            Cell::time(kept.last_due),
            Cell::time(kept.last_started),
            Cell::text(last_outcome),
            Cell::time(next_due),
            Cell::Number(kept.missed),
        ])
    }
}
