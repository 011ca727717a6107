//! `GET /v1/checkpoints`: what pipelines have committed beside their state, as records of the store. `plan` looks at them as a start
//! would look into a folder that nobody holds.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use syncline_engine::{
    checkpoint::{self, COMMITTED},
    revision,
    store::{Changes, StateStore, StoreError, memory::MemoryStore},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    problem::{self, At, Problem, blocking},
};
use crate::world::store_failure;

/// Records by key. Both are text: keys are made of names, records are JSON.
pub type Records = BTreeMap<String, String>;

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get))
}

/// What pipelines have committed
///
/// All records of the store beside the state of steps, by key, as of one instant: what `syncline plan` compares files with. They are for
/// a command of the same version.
#[utoipa::path(
    get,
    path = "/v1/checkpoints",
    operation_id = "getCheckpoints",
    tag = "process",
    security(("token" = ["viewer"])),
    responses((status = 200, body = BTreeMap<String, String>, description = "Record by key"), At<503>),
)]
pub async fn get(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let records = blocking(move || records(&*state.store)).await?;
    let records = records.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, store_failure(error)))?;
    Ok(problem::json(StatusCode::OK, &records))
}

fn records(store: &dyn StateStore) -> Result<Records, StoreError> {
    let mut records = Records::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for prefix in COMMITTED {
        store.scan(prefix, &mut |key, record| {
            records.insert(text(key), text(record));
            true
        })?;
    }
    for pipeline in checkpoint::pipelines(store, &checkpoint::STARTED)? {
        // The one that a plan is compared with.
        let last = revision::last(store, &pipeline).ok().flatten().map(|last| revision::record(&last));
        records.extend(last.map(|(key, record)| (text(&key), text(&record))));
    }
    Ok(records)
}

/// A store that holds what a process has told.
pub fn store_of(records: Records) -> Result<MemoryStore, StoreError> {
    let (store, mut changes) = (MemoryStore::new(), Changes::default());
    for (key, record) in records {
        changes.put(key.into_bytes(), record.into_bytes());
    }
    store.apply(changes)?;
    Ok(store)
}
