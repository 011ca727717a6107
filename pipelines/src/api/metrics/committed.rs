//! Figures from the books, the checkpoints and the log: read when they are asked for, so that a row costs nothing.
//!
//! Counters count what this process has done. The books of a run begin with the run, which may be older than the process, and end
//! with it; so what was counted before is remembered, and a run that ended between two looks is counted to its end.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{MutexGuard, PoisonError},
};

use metrics::{counter, gauge};
use syncline_engine::{
    checkpoint::{self, Run},
    metrics::Figure,
    store::StateStore,
};
use syncline_record::{Fate, Micros, StepBooks};

use crate::api::{
    ApiState,
    live::{Activity, LivePipeline},
    status::{PipelineStatus, Status, StepStatus, word},
};

const PIPELINE: &[&str] = &["pipeline"];
const STEP: &[&str] = &["pipeline", "step"];

pub const FIGURES: &[Figure] = &[
    Figure::gauge(
        "syncline_pipeline_state",
        &["pipeline", "state"],
        "1 for the state that the pipeline is in, 0 for the others; `failed` is one that was given up.",
    ),
    Figure::gauge("syncline_pipeline_epoch", PIPELINE, "Number of the last committed epoch."),
    Figure::gauge(
        "syncline_last_checkpoint_timestamp_seconds",
        PIPELINE,
        "When the last epoch was committed, in seconds since 1970; 0 before the first.",
    ),
    Figure::gauge("syncline_books_balanced", PIPELINE, "1 while the books of the last run balance."),
    Figure::counter("syncline_step_rows_in_total", STEP, "Rows that a step took, as far as they are committed."),
    Figure::counter("syncline_step_rows_out_total", STEP, "Rows that a step put out, as far as they are committed."),
    Figure::counter(
        "syncline_step_fates_total",
        &["pipeline", "step", "fate"],
        "Rows by what became of them at a step.",
    ),
    Figure::gauge("syncline_state_keys", STEP, "Keys that a step remembers."),
    Figure::gauge("syncline_state_memory_bytes", STEP, "Memory that the state of a step takes."),
    Figure::gauge("syncline_state_stored_bytes", STEP, "Bytes of the segments that hold the state of a step on disk."),
    Figure::gauge(
        "syncline_source_lag_rows",
        PIPELINE,
        "Records that wait for the pipeline in the log; only where the source is a path of /in or a stream.",
    ),
    Figure::gauge(
        "syncline_source_lag_bytes",
        PIPELINE,
        "Bytes of the source that are not read yet; only of files that are read to their end.",
    ),
    Figure::gauge(
        "syncline_source_lag_seconds",
        PIPELINE,
        "How long ago the source last had nothing more to give; 0 for a pipeline that has ended.",
    ),
    Figure::gauge(
        "syncline_watermark_lag_seconds",
        PIPELINE,
        "How far the lowest watermark of the source's partitions is behind the clock.",
    ),
    Figure::gauge("syncline_sink_lag_rows", STEP, "Rows in the outbox of a sink, on their way to it."),
    Figure::gauge(
        "syncline_sink_lag_seconds",
        STEP,
        "How long ago a sink last had everything that is committed; 0 when it has everything.",
    ),
    Figure::gauge(
        "syncline_schedule_next_due_timestamp_seconds",
        PIPELINE,
        "When the schedule of the pipeline is due next, in seconds since 1970; 0 while it is paused.",
    ),
    Figure::gauge("syncline_sink_trouble", STEP, "1 while a sink is being tried again."),
];

/// All states, so that each has its line.
const STATES: [&str; 12] = [
    "starting",
    "running",
    "scheduled",
    "restarting",
    "resting",
    "standby",
    "stopping",
    "stopped",
    "paused",
    "ended",
    "failed",
    "interrupted",
];

/// What was shown so far.
#[derive(Default)]
pub struct Published {
    /// The data folder.
    pub folder: Option<PathBuf>,
    counted: BTreeMap<String, Counted>,
}

/// The books of a pipeline as far as they were counted.
#[derive(Clone, Debug, Default)]
struct Counted {
    run: u64,
    pages: BTreeMap<String, StepBooks>,
}

impl ApiState {
    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Published {
    /// What the folder held before this process did anything is not counted.
    pub fn begin(&mut self, status: &Status) {
        for pipeline in &status.pipelines {
            let counted = Counted { run: pipeline.run, pages: pages(&pipeline.steps) };
            self.counted.insert(pipeline.pipeline.clone(), counted);
        }
    }

    /// Shows everything that is known now.
    pub fn show(&mut self, status: &Status, state: &ApiState) {
        let live = state.live().clone();
        let now = state.clock.now();
        for pipeline in &status.pipelines {
            self.counted.entry(pipeline.pipeline.clone()).or_default().count(pipeline, &*state.store);
            gauges(pipeline, live.get(&pipeline.pipeline), now);
        }
    }
}

impl Counted {
    /// Adds what has happened since the last look.
    fn count(&mut self, pipeline: &PipelineStatus, store: &dyn StateStore) {
        let name = &pipeline.pipeline;
        while self.run < pipeline.run {
            // A run that cannot be read any more was counted as far as it was seen.
            let run = checkpoint::read::<Run>(store, &checkpoint::run_key(name, self.run)).ok().flatten();
            let ended = run.map(|run| run.books(&BTreeMap::new()).steps).unwrap_or_default();
            let ended: BTreeMap<String, StepBooks> =
                ended.into_iter().map(|(step, page)| (step.to_string(), page)).collect();
            self.add(name, &ended);
            // What a run leaves in an outbox, the next one takes over: it goes in once.
            let carried = |page: &StepBooks| StepBooks { rows_in: page.waiting, ..StepBooks::default() };
            self.pages = ended.iter().map(|(step, page)| (step.clone(), carried(page))).collect();
            self.run += 1;
        }
        self.add(name, &pages(&pipeline.steps));
    }

    fn add(&mut self, pipeline: &str, now: &BTreeMap<String, StepBooks>) {
        for (step, page) in now {
            let before = self.pages.get(step).copied().unwrap_or_default();
            let labels = [("pipeline", pipeline.to_owned()), ("step", step.clone())];
            let [rows_in, rows_out] = [(page.rows_in, before.rows_in), (page.rows_out, before.rows_out)]
                .map(|(now, before)| now.saturating_sub(before));
            counter!("syncline_step_rows_in_total", &labels).increment(rows_in);
            counter!("syncline_step_rows_out_total", &labels).increment(rows_out);
            for fate in Fate::ALL {
                let labels = [labels[0].clone(), labels[1].clone(), ("fate", fate.as_str().to_owned())];
                let rows = page.fate(fate).saturating_sub(before.fate(fate));
                counter!("syncline_step_fates_total", &labels).increment(rows);
            }
            self.pages.insert(step.clone(), *page);
        }
    }
}

fn pages(steps: &[StepStatus]) -> BTreeMap<String, StepBooks> {
    steps.iter().map(|step| (step.step.clone(), step.page)).collect()
}

fn gauges(pipeline: &PipelineStatus, live: Option<&LivePipeline>, now: Micros) {
    let name = pipeline.pipeline.clone();
    for state in STATES {
        let is = f64::from(u8::from(state == pipeline.state));
        gauge!("syncline_pipeline_state", "pipeline" => name.clone(), "state" => state).set(is);
    }
    let set = |figure: &'static str, value: f64| gauge!(figure, "pipeline" => name.clone()).set(value);
    set("syncline_pipeline_epoch", pipeline.epoch as f64);
    set("syncline_last_checkpoint_timestamp_seconds", pipeline.last_checkpoint.unwrap_or_default() as f64 / 1e6);
    set("syncline_books_balanced", f64::from(u8::from(pipeline.balanced)));
    if let Some(rows) = pipeline.lag {
        set("syncline_source_lag_rows", rows as f64);
    }
    if let Some(bytes) = live.and_then(|live| live.source_bytes_left) {
        set("syncline_source_lag_bytes", bytes as f64);
    }
    if let Some(watermark) = pipeline.watermark {
        set("syncline_watermark_lag_seconds", seconds(now - watermark));
    }
    if let Some(schedule) = &pipeline.schedule {
        set("syncline_schedule_next_due_timestamp_seconds", schedule.next_due.unwrap_or_default() as f64 / 1e6);
    }
    if let Some(live) = live {
        let caught_up = pipeline.lag == Some(0) || is_done(pipeline);
        let behind = if caught_up { 0.0 } else { seconds(now - live.source_caught_up) };
        set("syncline_source_lag_seconds", behind);
    }
    for step in &pipeline.steps {
        of_step(pipeline, step, live, now);
    }
}

fn of_step(pipeline: &PipelineStatus, step: &StepStatus, live: Option<&LivePipeline>, now: Micros) {
    let labels = [("pipeline", pipeline.pipeline.clone()), ("step", step.step.clone())];
    let set = |figure: &'static str, value: f64| gauge!(figure, &labels).set(value);
    if let Some(state) = step.state {
        set("syncline_state_keys", state.keys as f64);
        set("syncline_state_memory_bytes", state.memory_bytes as f64);
        set("syncline_state_stored_bytes", state.stored_bytes as f64);
    }
    let Some(caught_up) = live.and_then(|live| live.sinks_caught_up.get(&step.step)) else { return };
    set("syncline_sink_lag_rows", step.page.waiting as f64);
    let behind = if step.page.waiting == 0 { 0.0 } else { seconds(now - caught_up) };
    set("syncline_sink_lag_seconds", behind);
    set("syncline_sink_trouble", f64::from(u8::from(pipeline.trouble.contains_key(&step.step))));
}

/// It has all of its input, or nobody wants it to read on.
fn is_done(pipeline: &PipelineStatus) -> bool {
    [Activity::Ended, Activity::Paused, Activity::Resting, Activity::Scheduled, Activity::Standby, Activity::Stopped]
        .map(word)
        .contains(&pipeline.state.as_str())
}

fn seconds(micros: Micros) -> f64 {
    micros.max(0) as f64 / 1e6
}
