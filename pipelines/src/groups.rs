//! This process's part in the groups of those that run the tasks of a pipeline: one for each changelog, as long as a task of it is here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use syncline_connectors::{ConnectorError, Members, Surroundings, Task, open_members};
use syncline_dsl::plan::Place;
use syncline_engine::ownership::Ownership;

use crate::bind::{BindError, Secrets, arguments};

#[derive(Default)]
pub struct Groups(Mutex<BTreeMap<String, Weak<Members>>>);

impl Groups {
    /// What says whether a task is this process's. `worker`: the name of its data folder.
    pub fn task(
        &self,
        changelog: &Place,
        task: Task,
        worker: &str,
        around: &Surroundings,
        secrets: &Secrets<'_>,
    ) -> Result<Arc<dyn Ownership>, BindError> {
        let args = arguments(changelog, secrets)?;
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = groups.get(&changelog.text).and_then(Weak::upgrade) {
            return Ok(members.task(task.number));
        }
        let failed = |error: ConnectorError| BindError::Connector { place: changelog.text.clone(), error };
        let members = open_members(&changelog.connector, &args, around, worker).map_err(failed)?;
        groups.insert(changelog.text.clone(), Arc::downgrade(&members));
        Ok(members.task(task.number))
    }
}
