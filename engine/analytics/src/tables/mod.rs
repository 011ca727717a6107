//! The tables, one file each.

pub mod audit_log;
pub mod backfills;
pub mod checkpoints;
pub mod dead_letters;
pub mod deliveries;
mod frames;
pub mod lag;
pub mod ledger;
pub mod pipelines;
pub mod requests;
pub mod revisions;
pub mod run_events;
pub mod runs;
pub mod schedules;
pub mod sinks;
pub mod state;
pub mod steps;
pub mod watermarks;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use syncline_engine::checkpoint;

use crate::{Reading, gather::Stop, provider::provided};

/// Names of the system tables.
pub const SYSTEM: [&str; 16] = [
    "audit_log",
    "backfills",
    "checkpoints",
    "dead_letters",
    "deliveries",
    "lag",
    "ledger",
    "pipelines",
    "records_dropped",
    "requests",
    "revisions",
    "run_events",
    "runs",
    "schedules",
    "steps",
    "watermarks",
];

pub fn system(name: &str, reading: &Reading) -> Option<Arc<dyn TableProvider>> {
    Some(match name {
        "audit_log" => provided(audit_log::AuditLog, reading),
        "backfills" => provided(backfills::Backfills, reading),
        "checkpoints" => provided(checkpoints::Checkpoints, reading),
        "dead_letters" => provided(dead_letters::DeadLetters, reading),
        "deliveries" => provided(deliveries::Deliveries, reading),
        "lag" => provided(lag::Lag, reading),
        "ledger" => Arc::new(ledger::Ledger { all: true, reading: reading.clone() }),
        "pipelines" => provided(pipelines::Pipelines, reading),
        "records_dropped" => Arc::new(ledger::Ledger { all: false, reading: reading.clone() }),
        "requests" => provided(requests::Requests, reading),
        "revisions" => provided(revisions::Revisions, reading),
        "run_events" => provided(run_events::RunEvents, reading),
        "runs" => provided(runs::Runs, reading),
        "schedules" => provided(schedules::Schedules, reading),
        "steps" => provided(steps::Steps, reading),
        "watermarks" => provided(watermarks::Watermarks, reading),
        _ => return None,
    })
}

/// Pipelines that have a checkpoint, a run or a schedule, by name.
pub fn pipelines(reading: &Reading) -> Result<Vec<String>, Stop> {
    Ok(checkpoint::pipelines(&*reading.store, &checkpoint::KNOWN)?)
}

/// What comes before the number in keys of a pipeline's numbered records.
fn before_number(key: &[u8]) -> &[u8] {
    &key[..key.len() - size_of::<u64>()]
}
