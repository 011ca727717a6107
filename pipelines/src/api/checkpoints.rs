//! `GET /api/v1/checkpoints`: what pipelines have committed beside their state, as records of the store. `plan` looks at them as a start
//! would look into a folder that nobody holds.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use syncline_engine::{
    checkpoint::COMMITTED,
    store::{Changes, StateStore, StoreError, memory::MemoryStore},
};

use super::{
    ApiState,
    problem::{self, Problem},
};
use crate::world::store_failure;

/// Records by key. Both are text: keys are made of names, records are JSON.
pub type Records = BTreeMap<String, String>;

pub async fn get(State(state): State<Arc<ApiState>>) -> Response {
    match tokio::task::spawn_blocking(move || records(&*state.store)).await {
        Ok(Ok(records)) => problem::json(StatusCode::OK, &records),
        Ok(Err(error)) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, store_failure(error)).into_response(),
        Err(_) => Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "stopping").into_response(),
    }
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
