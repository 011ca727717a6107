//! `/v1/backfills`: how far the history of each pipeline is that has, or had, one, and what people asked of it: the table `backfills`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    page::{Key, Kind, List, Page, Params, Part},
    problem::{At, Problem},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// How far a history is, as of the last checkpoint of its pipeline.
#[derive(ToSchema)]
pub struct Backfill {
    pub pipeline: String,
    /// 0: the history of its file.
    pub number: u64,
    /// `reading`, `paused`, `cancelled`, `done`
    pub state: String,
    /// What people asked for.
    pub source: Option<String>,
    /// Of the time, in hundredths.
    pub share: Option<u64>,
    #[schema(format = DateTime)]
    pub asked: Option<String>,
    #[schema(format = DateTime)]
    pub began: Option<String>,
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    pub rows: Option<u64>,
    pub dead: Option<u64>,
    pub bytes_done: Option<u64>,
    pub bytes_total: Option<u64>,
    pub seconds: Option<u64>,
    pub rows_per_second: Option<u64>,
    pub seconds_left: Option<u64>,
}

const NAME: &[Key] = &[
    Key { column: "pipeline", kind: Kind::Text, falling: false },
    Key { column: "number", kind: Kind::Number, falling: false },
];

/// All backfills
///
/// In order of pipeline and number.
#[utoipa::path(
    get,
    path = "/v1/backfills",
    operation_id = "listBackfills",
    tag = "backfills",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Backfill>, description = "A page of them"), At<400>, At<500>, At<503>),
)]
pub async fn list(State(state): State<Arc<ApiState>>, Params(part): Params<Part>) -> Result<Response, Problem> {
    List { select: "SELECT * FROM backfills".to_owned(), keys: NAME }.page(&state, &part).await
}
