//! `POST /api/v1/schedules/{pipeline}/{verb}`: `pause` holds a schedule, `resume` lets it go on, `run` starts a run now. The answer is how the
//! schedule stands then.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use syncline_engine::{firing, store::StateStore};
use syncline_record::Micros;

use super::{
    ApiState,
    problem::{self, Problem},
    status::{ScheduleStatus, read_failure},
};
use crate::{outcome::Failure, schedule::Refused, world::store_failure};

pub async fn post(State(state): State<Arc<ApiState>>, Path((pipeline, verb)): Path<(String, String)>) -> Response {
    let done = tokio::task::spawn_blocking(move || {
        let changed = match verb.as_str() {
            "pause" | "resume" => hold(&*state.store, &pipeline, verb == "pause", state.clock.now()),
            "run" => run(&state, &pipeline),
            _ => {
                let title = format!("there is no {verb} of a schedule");
                let failure = Failure::usage("no-such-route", title).help("verbs: pause, resume, run");
                return Err(Problem::new(StatusCode::NOT_FOUND, failure));
            }
        };
        state.wishes.tell();
        changed.and_then(|()| standing(&*state.store, &pipeline)).map_err(problem)
    });
    match done.await {
        Ok(Ok(standing)) => problem::json(StatusCode::OK, &standing),
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "stopping").into_response(),
    }
}

fn problem(failure: Failure) -> Problem {
    let status = match &*failure.slug {
        "no-such-schedule" => StatusCode::NOT_FOUND,
        "already-running" | "not-run-here" => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, failure)
}

/// How the schedule of a pipeline stands.
pub fn standing(store: &dyn StateStore, pipeline: &str) -> Result<ScheduleStatus, Failure> {
    let standing = firing::standing(store, pipeline).map_err(read_failure)?;
    standing.map(ScheduleStatus::from).ok_or_else(|| {
        Failure::failed("no-such-schedule", format!("no pipeline {pipeline} with a schedule has run here"))
            .help("`syncline schedule list` shows those that have")
    })
}

/// Holds a schedule, or lets it go on. One that is so already stays as it is: nothing that is due gets lost by saying it twice.
pub fn hold(store: &dyn StateStore, pipeline: &str, paused: bool, now: Micros) -> Result<(), Failure> {
    if standing(store, pipeline)?.paused != paused {
        firing::put_hold(store, pipeline, paused, now).map_err(store_failure)?;
    }
    Ok(())
}

fn run(state: &ApiState, pipeline: &str) -> Result<(), Failure> {
    standing(&*state.store, pipeline)?;
    state.wishes.run(pipeline).map_err(|refused| match refused {
        Refused::Running => Failure::failed("already-running", format!("a run of {pipeline} is going"))
            .help("runs of a pipeline never go at once; ask again when it is over"),
        Refused::NotHere => Failure::failed("not-run-here", format!("this process does not run {pipeline}"))
            .help("look which files it was given: `syncline status`"),
    })
}
