//! `GET /metrics`: figures in Prometheus' text format. Every figure is listed here with what it means.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::{ApiState, problem::Problem, status};
use crate::outcome::Failure;

enum Kind {
    Counter,
    Gauge,
}

const FIGURES: &[(Kind, &str, &str)] = &[
    (Kind::Counter, "syncline_ingest_requests_total", "Requests to /in, by path and HTTP status."),
    (Kind::Counter, "syncline_ingest_records_total", "Records that were taken over HTTP and are durable, by path."),
    (Kind::Counter, "syncline_epochs_total", "Committed checkpoints since the process started, by pipeline."),
    (Kind::Counter, "syncline_expectation_warnings_total", "Rows that broke an EXPECT … ON VIOLATION WARN."),
    (Kind::Gauge, "syncline_pipeline_epoch", "Number of the last committed checkpoint, by pipeline."),
    (Kind::Gauge, "syncline_pipeline_running", "1 while the pipeline's task runs, by pipeline."),
    (Kind::Gauge, "syncline_pipeline_lag_rows", "Records that wait for the pipeline in the log, by pipeline."),
    (Kind::Gauge, "syncline_step_rows_in", "Rows that a step took in this run, by pipeline and step."),
    (Kind::Gauge, "syncline_step_fate_rows", "Rows of this run by pipeline, step and fate."),
    (Kind::Gauge, "syncline_step_waiting_rows", "Rows on their way to a sink, by pipeline and step."),
    (Kind::Gauge, "syncline_books_balanced", "1 while the books of the pipeline's last run balance, by pipeline."),
    (Kind::Gauge, "syncline_state_bytes", "Bytes of state on disk, by pipeline."),
    (Kind::Gauge, "syncline_last_checkpoint_seconds", "When the last checkpoint was committed, in seconds since 1970."),
    (Kind::Gauge, "syncline_sink_trouble", "1 while a sink is being tried again, by pipeline and step."),
];

/// Makes the process's recorder; once per process.
pub fn install() -> Result<PrometheusHandle, Failure> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::failed("metrics", format!("metrics cannot be kept: {error}")))?;
    describe();
    Ok(handle)
}

fn describe() {
    for (kind, name, help) in FIGURES {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
        }
    }
}

pub async fn get(State(state): State<Arc<ApiState>>) -> Response {
    let Some(handle) = state.metrics.clone() else {
        return Problem::refused(StatusCode::NOT_FOUND, "no-metrics", "this process keeps no metrics").into_response();
    };
    let looked = tokio::task::spawn_blocking(move || status::look(&state)).await;
    match looked {
        Ok(Ok(status)) => set(&status),
        Ok(Err(failure)) => return Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure).into_response(),
        Err(_) => return Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "stopping").into_response(),
    }
    handle.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}

/// What is in the store is read when it is asked for.
fn set(status: &status::Status) {
    for pipeline in &status.pipelines {
        let name = pipeline.pipeline.clone();
        let gauge = |figure: &'static str, value: f64| metrics::gauge!(figure, "pipeline" => name.clone()).set(value);
        gauge("syncline_pipeline_epoch", pipeline.epoch as f64);
        gauge("syncline_pipeline_running", f64::from(u8::from(pipeline.is_running())));
        gauge("syncline_pipeline_lag_rows", pipeline.lag.unwrap_or_default() as f64);
        gauge("syncline_books_balanced", f64::from(u8::from(pipeline.balanced)));
        gauge("syncline_state_bytes", pipeline.state_bytes as f64);
        gauge("syncline_last_checkpoint_seconds", pipeline.last_checkpoint.unwrap_or_default() as f64 / 1e6);
        for step in &pipeline.steps {
            let labels = [("pipeline", name.clone()), ("step", step.step.clone())];
            metrics::gauge!("syncline_step_rows_in", &labels).set(step.page.rows_in as f64);
            metrics::gauge!("syncline_step_waiting_rows", &labels).set(step.page.waiting as f64);
            let trouble = pipeline.trouble.contains_key(&step.step);
            metrics::gauge!("syncline_sink_trouble", &labels).set(f64::from(u8::from(trouble)));
            for fate in syncline_record::Fate::ALL {
                let labels = [labels[0].clone(), labels[1].clone(), ("fate", fate.as_str().to_owned())];
                metrics::gauge!("syncline_step_fate_rows", &labels).set(step.page.fate(fate) as f64);
            }
        }
    }
}
