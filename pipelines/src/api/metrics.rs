//! `GET /metrics`: figures in Prometheus' text format, and the list of all of them ([`figures`]); `docs/metrics.md` is that list.
//!
//! Three kinds of places: what the books, the checkpoints and the log know is read when it is asked for (`committed`); what only
//! happens is counted where it happens, per epoch or per request; what the system knows of the process is asked of it (`process`).

mod committed;
mod one;
mod process;

use std::{path::Path, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use syncline_engine::metrics::{Figure, Kind};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    problem::{At, Problem, blocking},
    status,
};
use crate::outcome::Failure;

pub use committed::Published;

/// Upper ends of the classes of every length of time, in seconds: from one sync of a fast disk to a minute.
const SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Of schedules.
pub const RUNS_STARTED: &str = "syncline_schedule_runs_started_total";
pub const RUNS_MISSED: &str = "syncline_schedule_runs_missed_total";

/// What is counted in this crate as it happens.
const HAPPENING: &[Figure] = &[
    Figure::counter(
        "syncline_ingest_requests_total",
        &["path", "status"],
        "Requests to /in, by path and HTTP status. Paths that nobody reads are one, the empty one.",
    ),
    Figure::counter("syncline_ingest_records_total", &["path"], "Records that were taken over HTTP and are durable."),
    Figure::counter(
        "syncline_expectation_warnings_total",
        &["pipeline", "step"],
        "Rows that broke an EXPECT with ON VIOLATION WARN.",
    ),
    Figure::counter(
        "syncline_new_fields_total",
        &["pipeline"],
        "Fields that a SCHEMA … EVOLVE does not declare, each counted once.",
    ),
    Figure::counter(
        RUNS_STARTED,
        &["pipeline"],
        "Runs that a schedule has started, attempts of the same run not counted.",
    ),
    Figure::counter(RUNS_MISSED, &["pipeline"], "Due times of a schedule that got no run."),
    Figure::counter(
        "syncline_panics_total",
        &[],
        "Panics in this process: each is a defect of syncline, and a line in its log.",
    ),
];

/// Every figure of the process, in the order in which they are documented.
pub fn figures() -> impl Iterator<Item = &'static Figure> {
    committed::FIGURES.iter().chain(syncline_engine::metrics::FIGURES).chain(HAPPENING).chain(process::FIGURES)
}

/// Makes the process's recorder; once per process.
pub fn install() -> Result<PrometheusHandle, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed("metrics", format!("metrics cannot be kept: {error}"));
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS).map_err(|error| failed(&error))?;
    let handle = builder.install_recorder().map_err(|error| failed(&error))?;
    for Figure { kind, name, help, .. } in figures() {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
    metrics::counter!("syncline_panics_total").increment(0);
    Ok(handle)
}

/// What is in the folder is not what this process has done: counters begin at zero from here.
pub fn begin(state: &ApiState, folder: &Path) {
    let mut published = state.published();
    published.folder = Some(folder.to_owned());
    process::begin(state.clock.now());
    // A folder that cannot be read now says so to whoever asks for figures.
    if let Ok(status) = status::look(state) {
        published.begin(&status);
    }
}

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(one::of_one))
}

/// Figures in the text format of Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "process",
    security(("token" = ["viewer"])),
    responses((status = 200, body = String, content_type = "text/plain", description = "They"), At<404>, At<503>),
)]
pub async fn get(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let text = rendered(state).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// All figures as they are now.
async fn rendered(state: Arc<ApiState>) -> Result<String, Problem> {
    let Some(handle) = state.metrics.clone() else {
        return Err(Problem::refused(StatusCode::NOT_FOUND, "no-metrics", "this process keeps no metrics"));
    };
    let looked = blocking(move || {
        // One at a time: two that ask at once would count the same rows twice.
        let mut published = state.published();
        let status = status::look(&state)?;
        published.show(&status, &state);
        process::show(published.folder.as_deref());
        Ok::<_, Failure>(handle.render())
    });
    looked.await?.map_err(|failure| Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::PathBuf};

    use super::*;

    /// The list as `docs/metrics.md` has it.
    fn documented() -> String {
        let mut text = String::from("| figure | kind | labels | what it says |\n|---|---|---|---|\n");
        for Figure { kind, name, labels, help } in figures() {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            text.push_str(&format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join(", ")));
        }
        text
    }

    #[test]
    fn the_list_of_figures_is_documented_word_for_word() {
        let house = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs the tests")).join("..");
        let text = std::fs::read_to_string(house.join("docs/metrics.md")).expect("docs/metrics.md");
        assert!(text.contains(&documented()), "docs/metrics.md should hold this table:\n{}", documented());
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names = BTreeSet::new();
        for Figure { kind, name, help, .. } in figures() {
            assert!(names.insert(*name), "{name} stands there twice");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        }
    }
}
