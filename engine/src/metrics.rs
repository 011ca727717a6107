//! What the engine measures as it goes: once per epoch, per transaction of a sink, per restart. Never per record.
//!
//! What the books, the checkpoint and the log know already is not measured here: whoever shows figures reads it there. A figure
//! is a line of [`FIGURES`]: its name never changes, its unit is in the name, its help says what it means.

use std::time::Duration;

use ::metrics::{counter, gauge, histogram};
use syncline_record::StepId;

use crate::lookup::Counts;

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, from zero at the start of the process.
    Counter,
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One figure, as it is described and documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub kind: Kind,
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Figure {
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { kind: Kind::Counter, name, labels, help }
    }

    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { kind: Kind::Gauge, name, labels, help }
    }

    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { kind: Kind::Histogram, name, labels, help }
    }
}

const RESTARTS: &str = "syncline_pipeline_restarts_total";
const EPOCHS: &str = "syncline_epochs_total";
const EPOCH: &str = "syncline_epoch_duration_seconds";
const COMMIT: &str = "syncline_commit_duration_seconds";
const PHASE: &str = "syncline_commit_phase_duration_seconds";
const LATENCY: &str = "syncline_commit_latency_seconds";
const BYTES: &str = "syncline_source_read_bytes_total";
const DEAD: &str = "syncline_dead_letters_total";
const RETRIES: &str = "syncline_sink_retries_total";
const TABLE_AGE: &str = "syncline_table_age_seconds";
const LOOKUP_ASKED: &str = "syncline_lookup_asked_total";
const LOOKUP_KNOWN: &str = "syncline_lookup_known_total";
const LOOKUP_AGE: &str = "syncline_lookup_age_seconds";
const WRITE: &str = "syncline_sink_write_duration_seconds";

/// What the engine measures.
pub const FIGURES: &[Figure] = &[
    Figure::counter(RESTARTS, &["pipeline"], "Starts of the pipeline's task after its first one in this process."),
    Figure::counter(EPOCHS, &["pipeline"], "Committed epochs."),
    Figure::histogram(EPOCH, &["pipeline"], "From the first row of an epoch to its commit."),
    Figure::histogram(COMMIT, &["pipeline"], "From the close of an epoch to the moment its rows are visible."),
    Figure::histogram(
        PHASE,
        &["pipeline", "phase"],
        "The parts of a commit: staging (files), logging (outboxes, dead letters, ledger, state), committing (the checkpoint), revealing.",
    ),
    Figure::histogram(
        LATENCY,
        &["pipeline"],
        "From the moment a batch of rows was taken from the source to the commit that holds it.",
    ),
    Figure::counter(BYTES, &["pipeline"], "Bytes of the records that were read and committed."),
    Figure::counter(DEAD, &["pipeline", "step", "reason"], "Dead letters, by the word that their reason starts with."),
    Figure::counter(RETRIES, &["pipeline", "step"], "Attempts of a sink that failed and are made again."),
    Figure::histogram(WRITE, &["pipeline", "step"], "One transaction of a sink that reads from an outbox."),
    Figure::gauge(TABLE_AGE, &["pipeline", "step"], "How long ago a table that is joined was read."),
    Figure::counter(LOOKUP_ASKED, &["pipeline", "step"], "Keys that a LOOKUP asked for outside."),
    Figure::counter(LOOKUP_KNOWN, &["pipeline", "step"], "Keys of a LOOKUP whose answer was in its CACHE."),
    Figure::gauge(LOOKUP_AGE, &["pipeline", "step"], "Age of the oldest answer in the CACHE of a LOOKUP."),
];

/// The windows of a commit that are measured, in their order.
pub const PHASES: [&str; 4] = ["staging", "logging", "committing", "revealing"];

/// One commit, measured.
pub(crate) struct Committed<'a> {
    pub pipeline: &'a str,
    pub bytes: u64,
    /// The first row was taken this long before the commit; `None`: the epoch held no rows.
    pub open: Option<Duration>,
    /// Each batch was taken this long before the commit.
    pub batches: &'a mut dyn Iterator<Item = Duration>,
    pub phases: [Duration; PHASES.len()],
}

pub(crate) fn committed(commit: Committed<'_>) {
    let pipeline = || commit.pipeline.to_owned();
    counter!(EPOCHS, "pipeline" => pipeline()).increment(1);
    counter!(BYTES, "pipeline" => pipeline()).increment(commit.bytes);
    if let Some(open) = commit.open {
        histogram!(EPOCH, "pipeline" => pipeline()).record(open);
    }
    histogram!(COMMIT, "pipeline" => pipeline()).record(commit.phases.iter().sum::<Duration>());
    for (phase, took) in PHASES.into_iter().zip(commit.phases) {
        histogram!(PHASE, "pipeline" => pipeline(), "phase" => phase).record(took);
    }
    let latency = histogram!(LATENCY, "pipeline" => pipeline());
    commit.batches.for_each(|age| latency.record(age));
}

pub(crate) fn dead_letters(pipeline: &str, step: &StepId, reason: &str, count: u64) {
    let labels = [("pipeline", pipeline.to_owned()), ("step", step.to_string()), ("reason", reason.to_owned())];
    counter!(DEAD, &labels).increment(count);
}

/// A pipeline's task is there: its counters begin, so that the first step of each is seen.
pub(crate) fn began<'a>(pipeline: &str, sinks: impl Iterator<Item = &'a StepId>) {
    for name in [RESTARTS, EPOCHS, BYTES] {
        counter!(name, "pipeline" => pipeline.to_owned()).increment(0);
    }
    sinks.for_each(|step| retries(pipeline, step).increment(0));
}

/// Of a table that is joined: how long ago it was read.
pub(crate) fn table_age(pipeline: &str, step: &StepId, age: Duration) {
    gauge!(TABLE_AGE, "pipeline" => pipeline.to_owned(), "step" => step.to_string()).set(age.as_secs_f64());
}

/// Of a LOOKUP, since it was last told.
pub(crate) fn looked_up(pipeline: &str, step: &StepId, counts: Counts, oldest: Duration) {
    let labels = [("pipeline", pipeline.to_owned()), ("step", step.to_string())];
    counter!(LOOKUP_ASKED, &labels).increment(counts.asked);
    counter!(LOOKUP_KNOWN, &labels).increment(counts.known);
    gauge!(LOOKUP_AGE, &labels).set(oldest.as_secs_f64());
}

pub(crate) fn restarted(pipeline: &str) {
    counter!(RESTARTS, "pipeline" => pipeline.to_owned()).increment(1);
}

pub(crate) fn sink_retried(pipeline: &str, step: &StepId) {
    retries(pipeline, step).increment(1);
}

fn retries(pipeline: &str, step: &StepId) -> ::metrics::Counter {
    counter!(RETRIES, "pipeline" => pipeline.to_owned(), "step" => step.to_string())
}

pub(crate) fn sink_wrote(pipeline: &str, step: &StepId, took: Duration) {
    histogram!(WRITE, "pipeline" => pipeline.to_owned(), "step" => step.to_string()).record(took);
}
