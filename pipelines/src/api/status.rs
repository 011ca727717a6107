//! `GET /v1/status`: every pipeline of the data folder, its last run and its books.
//!
//! What is committed comes from the store; what is known beside it (trouble of sinks, whether its task runs) from the process.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_engine::{
    checkpoint::{self, Checkpoint, HistoryNote, ReadError, Run, RunState},
    firing::{self, Standing},
    graph::{is_parked, unqualified},
    intake::{self, Intake},
    log::Log,
    store::StateStore,
};
use syncline_record::{Micros, StepBooks};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    intake::TOPICS,
    live::{Activity, Live},
    problem::{self, At, Problem, blocking},
};
use crate::{
    outcome::Failure,
    world::{log_failure, store_failure},
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The process that holds the folder; `None` when none does.
    pub process: Option<u32>,
    pub pipelines: Vec<PipelineStatus>,
    /// What became of the requests to each path.
    #[serde(default)]
    pub paths: Vec<Intake>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineStatus {
    pub pipeline: String,
    /// `running`, `scheduled`, `restarting`, `resting`, `standby`, `stopped`, `paused`, `ended`, `failed`, `starting`, `stopping`; `interrupted`: its process died.
    pub state: String,
    pub run: u64,
    pub attempt: u64,
    pub epoch: u64,
    pub started: Option<Micros>,
    pub ended: Option<Micros>,
    pub last_checkpoint: Option<Micros>,
    pub reason: Option<String>,
    /// Starts of its task after the first one in this process.
    #[serde(default)]
    pub restarts: u64,
    /// When its task starts again, while it waits for that.
    #[serde(default)]
    pub next_start: Option<Micros>,
    pub rows_in: u64,
    /// Records that wait in the log for this pipeline; `None` where the source is no topic.
    pub lag: Option<u64>,
    /// Rows on their way to sinks.
    pub waiting: u64,
    pub state_bytes: u64,
    pub watermark: Option<Micros>,
    /// How far its history is, as of the last checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryNote>,
    pub balanced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// Step of a sink → why it is being tried again.
    pub trouble: BTreeMap<String, String>,
    /// Step that writes a stream → the reader that it waits for.
    #[serde(default)]
    pub waits: BTreeMap<String, String>,
    pub steps: Vec<StepStatus>,
}

/// The schedule of a pipeline, with the words of the table `schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// `every`, `cron`
    pub kind: String,
    pub expression: String,
    pub time_zone: String,
    /// What becomes of due times that have passed: `run once`, `run all`, `skip`.
    pub missed: String,
    pub paused: bool,
    pub last_due: Option<Micros>,
    pub last_started: Option<Micros>,
    /// Of the run for `last_due`.
    pub last_outcome: Option<String>,
    pub next_due: Option<Micros>,
    pub missed_runs: u64,
}

impl From<Standing> for ScheduleStatus {
    fn from(standing: Standing) -> Self {
        let Standing { kept, paused, last_outcome, next_due } = standing;
        Self {
            kind: kept.schedule.kind().to_owned(),
            expression: kept.schedule.expression(),
            time_zone: kept.schedule.zone().to_owned(),
            missed: kept.schedule.missed.as_str().to_owned(),
            paused,
            last_due: kept.last_due,
            last_started: kept.last_started,
            last_outcome: last_outcome.map(str::to_owned),
            next_due,
            missed_runs: kept.missed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    pub step: String,
    #[serde(flatten)]
    pub page: StepBooks,
    pub null_keys: u64,
    /// Windows of a `hop` that rows came too late for which count in others.
    #[serde(default)]
    pub late_windows: u64,
    /// Rows that broke an `EXPECT … ON VIOLATION WARN`.
    #[serde(default)]
    pub warned: u64,
    pub balanced: bool,
    /// What the step remembers, as of the last checkpoint; `None` for one without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    pub keys: u64,
    pub memory_bytes: u64,
    pub stored_bytes: u64,
}

impl PipelineStatus {
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The process, its pipelines and its paths.
#[derive(ToSchema)]
#[schema(as = Status)]
pub struct Shape {
    /// The id of the process.
    pub process: Option<u32>,
    /// As `/v1/pipelines` has them, with instants in microseconds since 1970.
    #[schema(value_type = Vec<Object>)]
    pub pipelines: Vec<Value>,
    /// What became of the requests to each path.
    #[schema(value_type = Vec<Object>)]
    pub paths: Vec<Value>,
}

/// Everything at a glance
///
/// What `syncline status` shows, with numbers as the process has them.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "getStatus",
    tag = "process",
    security(("token" = ["viewer"])),
    responses((status = 200, body = Shape, description = "It"), At<503>),
)]
pub async fn get(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let status = blocking(move || look(&state)).await?;
    let status = status.map_err(|failure| Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure))?;
    Ok(problem::json(StatusCode::OK, &status))
}

/// The status of this process. Reads the store: where blocking is allowed.
pub fn look(state: &ApiState) -> Result<Status, Failure> {
    let live = state.live().clone();
    let mut status = read(&*state.store, &*state.log, Some(&live))?;
    status.process = Some(std::process::id());
    for counted in state.ingest.counts() {
        match status.paths.iter_mut().find(|path| path.topic == counted.topic) {
            Some(stored) => *stored = counted,
            None => status.paths.push(counted),
        }
    }
    Ok(status)
}

/// The status from store and log; without `live`, nobody runs.
pub fn read(store: &dyn StateStore, log: &dyn Log, live: Option<&Live>) -> Result<Status, Failure> {
    let mut names = checkpoint::pipelines(store, &checkpoint::KNOWN).map_err(store_failure)?;
    names.extend(live.into_iter().flat_map(|live| live.pipelines().map(|(name, _)| name.to_owned())));
    names.sort();
    names.dedup();
    let mut status = Status { paths: intake::read_intakes(store).map_err(read_failure)?, ..Status::default() };
    for name in names {
        let checkpoint = checkpoint::read_checkpoint(store, &name).map_err(read_failure)?.unwrap_or_default();
        let run = checkpoint::last_run(store, &name).map_err(read_failure)?;
        let delivered = checkpoint::delivered(store, &name).map_err(read_failure)?;
        let mut pipeline = committed(name, &checkpoint, run.as_ref());
        pipeline.lag = lag(&checkpoint, log)?;
        pipeline.schedule =
            firing::standing(store, &pipeline.pipeline).map_err(read_failure)?.map(ScheduleStatus::from);
        if let Some(run) = &run {
            let books = run.books(&delivered);
            pipeline.balanced = books.unbalanced().is_none();
            pipeline.waiting = books.steps.values().map(|page| page.waiting).sum();
            for (step, page) in books.steps {
                let null_keys = run.null_keys.get(&step).copied().unwrap_or_default();
                let late_windows = run.late_windows.get(&step).copied().unwrap_or_default();
                let warned = run.warned.get(&step).copied().unwrap_or_default();
                let state = checkpoint.states.get(&step).map(|note| StepState {
                    keys: note.size.keys,
                    memory_bytes: note.size.bytes,
                    stored_bytes: note.stored,
                });
                let (step, balanced) = (step.to_string(), page.balance());
                pipeline.steps.push(StepStatus { step, page, null_keys, late_windows, warned, balanced, state });
            }
            in_order_of_file(&mut pipeline.steps, run);
        }
        if let Some(known) = live.and_then(|live| live.get(&pipeline.pipeline)) {
            pipeline.state = word(known.state).to_owned();
            pipeline.reason = known.reason.clone().or(pipeline.reason);
            (pipeline.trouble, pipeline.waits) = (known.trouble.clone(), known.waits.clone());
            (pipeline.restarts, pipeline.next_start) = (known.restarts, known.next_start);
            if let Some(left) = known.source_records_left {
                *pipeline.lag.get_or_insert(0) += left;
            }
        }
        status.pipelines.push(pipeline);
    }
    Ok(status)
}

fn committed(pipeline: String, checkpoint: &Checkpoint, run: Option<&Run>) -> PipelineStatus {
    let state = match run.map(|run| run.state) {
        // Nobody who runs it has told otherwise.
        Some(RunState::Running) => "interrupted",
        Some(RunState::Ended) => "ended",
        Some(RunState::Failed) => "failed",
        Some(RunState::Stopped) | None => "stopped",
    };
    PipelineStatus {
        pipeline,
        state: state.to_owned(),
        run: run.map_or(0, |run| run.run),
        attempt: run.map_or(0, |run| run.attempt),
        epoch: checkpoint.epoch,
        started: run.map(|run| run.started),
        ended: run.and_then(|run| run.ended),
        last_checkpoint: (checkpoint.epoch > 0).then_some(checkpoint.time),
        reason: run.and_then(|run| run.reason.clone()),
        restarts: 0,
        next_start: None,
        rows_in: run.map_or(0, |run| syncline_engine::graph::rows_in(&run.pages)),
        lag: None,
        waiting: 0,
        state_bytes: checkpoint.states.values().map(|state| state.stored).sum(),
        watermark: checkpoint.watermarks.values().copied().min(),
        history: checkpoint.history.clone(),
        balanced: true,
        schedule: None,
        trouble: BTreeMap::new(),
        waits: BTreeMap::new(),
        steps: vec![],
    }
}

fn lag(checkpoint: &Checkpoint, log: &dyn Log) -> Result<Option<u64>, Failure> {
    let mut lag = None;
    for (partition, cursor) in checkpoint.cursors.iter().filter(|(partition, _)| !is_parked(partition)) {
        // A position in a stream says itself which topic it is one of.
        let of_stream = cursor.get("topic").and_then(Value::as_str).zip(cursor.get("next").and_then(Value::as_u64));
        let path = Some(unqualified(partition)).filter(|name| name.starts_with(TOPICS));
        let of_path = path.zip(cursor.as_u64());
        let Some((topic, next)) = of_path.or(of_stream) else { continue };
        let end = log.end(topic).map_err(log_failure)?;
        *lag.get_or_insert(0) += end.saturating_sub(next);
    }
    Ok(lag)
}

/// As the pipeline file has them.
fn in_order_of_file(steps: &mut [StepStatus], run: &Run) {
    let place = |step: &StepStatus| run.order.iter().position(|known| known.as_str() == step.step);
    steps.sort_by_key(|step| place(step).unwrap_or(usize::MAX));
}

pub fn word(activity: Activity) -> &'static str {
    match activity {
        Activity::Starting => "starting",
        Activity::Running => "running",
        Activity::Restarting => "restarting",
        Activity::Resting => "resting",
        Activity::Scheduled => "scheduled",
        Activity::Standby => "standby",
        Activity::Stopping => "stopping",
        Activity::Stopped => "stopped",
        Activity::Paused => "paused",
        Activity::Ended => "ended",
        Activity::Failed => "failed",
    }
}

pub fn read_failure(error: ReadError) -> Failure {
    match error {
        ReadError::Store(error) => store_failure(error),
        ReadError::Newer { .. } => Failure::environment("newer-format", error.to_string())
            .help("use the version of syncline that wrote it, or a newer one"),
        ReadError::Damaged { .. } => Failure::environment("state-damaged", error.to_string())
            .help("nothing was changed; put a copy of the folder back, or start over with `syncline run FILE --fresh`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use syncline_engine::{
        graph::{input_step, parked, qualified},
        log::{NewFrame, memory::MemoryLog},
    };

    use super::*;

    #[test]
    fn lag_is_what_waits_in_the_topics_that_are_read_now() {
        let log = MemoryLog::new();
        for (topic, count) in [("in/a", 10), ("in/b", 20), ("in/gone", 40), ("pipeline/w/stream/s", 80)] {
            log.publish(topic, vec![NewFrame { count, time: 0, body: vec![] }]).unwrap();
        }
        let of_stream = json!({"id": "1", "topic": "pipeline/w/stream/s", "next": 79});
        let file = json!({"offset": 3});
        // An edit took the last two out; what they had read is only kept.
        let cursors = [
            ("in/a".to_owned(), json!(7)),
            (qualified(&input_step(1), "in/b"), json!(15)),
            (qualified(&input_step(2), "stream/s"), of_stream.clone()),
            (qualified(&input_step(3), "orders.ndjson"), file.clone()),
            (qualified(&parked("http /gone"), "in/gone"), json!(1)),
            (qualified(&parked("stream/s"), "stream/s"), of_stream),
        ];
        let told = |cursors: &[(String, Value)]| {
            let checkpoint = Checkpoint { cursors: cursors.iter().cloned().collect(), ..Checkpoint::default() };
            lag(&checkpoint, &log).unwrap()
        };
        assert_eq!(told(&cursors), Some(3 + 5 + 1));
        assert_eq!(told(&cursors[3..]), None, "no topic is read");
    }
}
