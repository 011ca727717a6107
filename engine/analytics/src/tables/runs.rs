//! `runs`: one row per run; a restart after a crash is a new attempt of the same run.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    checkpoint::{self, Run},
    firing,
    graph::rows_in,
};

use super::before_number;
use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Runs;

impl Table for Runs {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("run", Kind::Number),
            ("attempt", Kind::Number),
            ("state", Kind::Text),
            ("started", Kind::Time),
            ("ended", Kind::Time),
            ("reason", Kind::Text),
            ("epochs", Kind::Number),
            ("rows_in", Kind::Number),
            ("balanced", Kind::Flag),
            ("plan", Kind::Text),
            // JSON: window of a commit, of a delivery to a sink, or of the changelog → attempts that were killed in it.
            ("killed", Kind::Text),
            // Of a run that a schedule began: the due time that it is for, and the id that is made of it.
            ("due", Kind::Time),
            ("run_id", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let delivered = checkpoint::delivered(&*reading.store, pipeline)?;
        for run in runs(reading, pipeline)? {
            let books = run.books(&delivered);
            let commits = run.killed.iter().map(|(window, many)| (window.as_str(), *many));
            let sinks = run.killed_handing_over.iter().map(|(window, many)| (window.as_str(), *many));
            let changelog = run.killed_in_changelog.iter().map(|(window, many)| (window.as_str(), *many));
            let run_id = run.due.map(|due| firing::run_id(pipeline, due));
            let killed: BTreeMap<&str, u64> = commits.chain(sinks).chain(changelog).collect();
            rows.row(&[
                Cell::Text(&run.pipeline),
                Cell::Number(run.run),
                Cell::Number(run.attempt),
                Cell::Text(run.state.as_str()),
                Cell::Time(run.started),
                Cell::time(run.ended),
                Cell::text(run.reason.as_deref()),
                Cell::Number(run.epochs),
                Cell::Number(rows_in(&books)),
                Cell::Flag(books.unbalanced().is_none()),
                Cell::Text(&run.plan),
                Cell::Text(&serde_json::to_string(&killed).unwrap_or_default()),
                Cell::time(run.due),
                Cell::text(run_id.as_deref()),
            ])?;
        }
        Ok(())
    }
}

/// All runs of a pipeline, the oldest first.
pub fn runs(reading: &Reading, pipeline: &str) -> Result<Vec<Run>, Stop> {
    let key = checkpoint::run_key(pipeline, 0);
    Ok(checkpoint::read_all(&*reading.store, before_number(&key))?)
}
