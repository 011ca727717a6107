//! `GET /v1/pipelines/{pipeline}/metrics`: of the figures of the process those of one pipeline, for programs.
//!
//! They are the lines of `/metrics` and no figures of their own: what is shown here is read out of the same text.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use syncline_engine::metrics::Kind;
use utoipa::ToSchema;

use crate::api::{
    ApiState,
    page::InPath,
    pipelines::{is_there, no_such_pipeline},
    problem::{self, At, Problem},
};

/// The label by which a figure is one of a pipeline.
const PIPELINE: &str = "pipeline";

/// The figures of a pipeline.
#[derive(Serialize, ToSchema)]
#[schema(as = PipelineMetrics)]
pub struct Shown {
    pub pipeline: String,
    pub metrics: Vec<Metric>,
}

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Metric {
    /// A histogram has several: `…_bucket`, `…_sum`, `…_count`.
    #[schema(example = "syncline_step_rows_in_total")]
    pub name: String,
    /// `counter`, `gauge`, `histogram`
    pub kind: String,
    /// Without that of the pipeline.
    pub labels: BTreeMap<String, String>,
    /// `null` where it is no number.
    pub value: Option<f64>,
}

/// The figures of a pipeline
///
/// Those lines of `/metrics` that are about it; none before the process has run it.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/metrics",
    operation_id = "getPipelineMetrics",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shown, description = "They"), At<404>, At<503>),
)]
pub async fn of_one(State(state): State<Arc<ApiState>>, InPath(pipeline): InPath<String>) -> Result<Response, Problem> {
    if !is_there(&state, &pipeline).await? {
        return Err(no_such_pipeline(&pipeline));
    }
    let text = super::rendered(state).await?;
    let metrics = text.lines().filter_map(|line| of_line(line, &pipeline)).collect();
    Ok(problem::json(StatusCode::OK, &Shown { pipeline, metrics }))
}

/// A line, where it is about this pipeline.
fn of_line(line: &str, pipeline: &str) -> Option<Metric> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
    let mut labels = labels_of(labels)?;
    if labels.remove(PIPELINE)? != pipeline {
        return None;
    }
    let value = value.parse().ok().filter(|value: &f64| value.is_finite());
    Some(Metric { name: name.to_owned(), kind: kind_of(name).to_owned(), labels, value })
}

/// `a="x",b="y"`: values are in quotes, in which a backslash stands before a quote, a backslash and the `n` of a line's end.
fn labels_of(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in rest.char_indices() {
            match letter {
                'n' if escaped => value.push('\n'),
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                '"' if !escaped => {
                    end = Some(at);
                    break;
                }
                letter => value.push(letter),
            }
            escaped = false;
        }
        labels.insert(name.to_owned(), value);
        let rest = &rest[end? + 1..];
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

fn kind_of(name: &str) -> &'static str {
    let of = |name: &str| super::figures().find(|figure| figure.name == name).map(|figure| figure.kind);
    let parts = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| of(name.strip_suffix(part)?));
    of(name).or(parts).unwrap_or(Kind::Gauge).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_whatever_its_labels() {
        let line = r#"syncline_step_fates_total{pipeline="a \"b\"",step="x,\\y=\n",fate="dead"} 12"#;
        let metric = of_line(line, "a \"b\"").unwrap();
        let labels = [("fate", "dead"), ("step", "x,\\y=\n")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((metric.kind.as_str(), metric.labels, metric.value), ("counter", labels.into(), Some(12.0)));
        let bucket = r#"syncline_epoch_seconds_bucket{pipeline="p",le="+Inf"} 3"#;
        assert_eq!(of_line(bucket, "p").unwrap().labels["le"], "+Inf");
        assert_eq!(of_line(r#"syncline_pipeline_epoch{pipeline="p"} NaN"#, "p").unwrap().value, None);
        for other in [r#"syncline_pipeline_epoch{pipeline="q"} 1"#, "syncline_panics_total 0", "# HELP x y", ""] {
            assert_eq!(of_line(other, "p"), None, "{other}");
        }
    }
}
