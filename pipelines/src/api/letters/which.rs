//! Which dead letters somebody decides about: those that are open, the oldest first, as many as one call takes.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::MOST;
use crate::api::{access::Caller, page, problem::Problem};

/// Which open letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// These; else all of the pipeline, and of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub ids: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// So many, the oldest, are left out: those that a call before refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 9007199254740991_i64)]
    pub skip: Option<u64>,
    /// No more than these at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u64>,
}

impl Which {
    /// The question for the open ones among them, the oldest first: a record that came first goes first again.
    pub fn sql(&self, caller: &Caller) -> Result<String, Problem> {
        let refused = |help: &str| {
            Problem::refused(StatusCode::BAD_REQUEST, "no-letters-named", "this names no dead letters")
                .help(help.to_owned())
        };
        if self.ids.is_none() && self.pipeline.is_none() {
            return Err(refused("name ids, or a pipeline, and perhaps a step of it"));
        }
        if self.ids.as_ref().is_some_and(|ids| ids.is_empty() || ids.len() > MOST) {
            return Err(refused("name 1 to 1000 ids at once"));
        }
        let is = |column: &str, value: &Option<String>| {
            value.as_ref().map_or("TRUE".to_owned(), |value| format!("{column} = {}", page::literal(value)))
        };
        let ids = self.ids.as_ref().map_or("TRUE".to_owned(), |ids| {
            format!("id IN ({})", ids.iter().map(|id| page::literal(id)).collect::<Vec<_>>().join(", "))
        });
        if self.limit == Some(0) || self.limit.is_some_and(|limit| limit > MOST as u64) {
            return Err(refused("limit is 1 to 1000"));
        }
        let (pipeline, step, his) = (is("pipeline", &self.pipeline), is("step", &self.step), caller.condition());
        Ok(format!(
            "SELECT * FROM dead_letters WHERE {pipeline} AND {step} AND {ids} AND {his} AND state IN ('open', 'retrying') \
             ORDER BY time, source, record_offset, id LIMIT {} OFFSET {}",
            self.most() + 1,
            self.skip.unwrap_or_default().min(i64::MAX as u64)
        ))
    }

    /// The question for how many open ones there are.
    pub fn count_sql(&self, caller: &Caller) -> Result<String, Problem> {
        let all = Self { limit: None, ..self.clone() };
        let sql = all.sql(caller)?;
        let open = sql.rsplit_once(" ORDER BY ").map_or(&*sql, |(open, _)| open).replacen(
            "SELECT *",
            "SELECT count(*) AS n",
            1,
        );
        Ok(open)
    }

    /// So many are decided about at once.
    pub(super) fn most(&self) -> usize {
        self.limit.map_or(MOST, |limit| (limit as usize).min(MOST))
    }
}
