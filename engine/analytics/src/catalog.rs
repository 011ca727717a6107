//! Names: system tables under `public`, the live state of a pipeline's steps under the pipeline's own name.
//!
//! Names keep their case and match without it. A pipeline called `public` cannot be reached by its steps. The names of connections come
//! last ([`outside`](crate::outside)): a pipeline of the same name hides one, and says so.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    common::plan_err,
    error::DataFusionError,
};
use syncline_engine::checkpoint;
use syncline_record::StepId;

use crate::{
    Reading,
    moment::Moment,
    outside::{Outside, Places},
    provider::provided,
    tables::{self, SYSTEM, state::State},
};

/// Names of schemas that a connection cannot be reached by.
const RESERVED: [&str; 3] = [PUBLIC, "information_schema", "pg_catalog"];
/// The catalog and schema of system tables.
pub const CATALOG: &str = "syncline";
pub const PUBLIC: &str = "public";

/// The data folder, as one question sees it.
#[derive(Clone)]
pub struct Folder(pub Reading, pub Arc<Moment>, pub Arc<Outside>);

impl Folder {
    pub fn new(reading: Reading, places: Option<Arc<dyn Places>>) -> Self {
        Self(reading, Arc::default(), Arc::new(Outside::new(places)))
    }

    /// For another question: at a moment of its own. `lists`: it may ask for all tables that there are.
    pub fn anew(&self, lists: bool) -> Self {
        Self(self.0.clone(), Arc::default(), Arc::new(self.2.anew(lists)))
    }

    /// For all questions, with the tables of places that lists have found.
    pub fn listed(&self) -> Self {
        Self(self.0.clone(), Arc::default(), Arc::new(self.2.listed()))
    }

    pub fn steps(&self, pipeline: String) -> Steps {
        Steps { reading: self.0.clone(), pipeline, moment: self.1.clone(), outside: self.2.clone() }
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data folder")
    }
}

impl CatalogProvider for Folder {
    fn schema_names(&self) -> Vec<String> {
        // A store that cannot be read says so when a table of it is.
        let mut names = [vec![PUBLIC.to_owned()], tables::pipelines(&self.0).unwrap_or_default()].concat();
        for place in self.2.names() {
            if !RESERVED.contains(&&*place) && matching(names.clone(), &place).is_none() {
                names.push(place);
            }
        }
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == PUBLIC {
            return Some(Arc::new(System(self.0.clone())));
        }
        match matching(tables::pipelines(&self.0).ok()?, name) {
            Some(pipeline) => Some(Arc::new(self.steps(pipeline))),
            None => self.2.schema(name),
        }
    }
}

/// The name as it is written, whatever the case it was asked for in.
pub fn matching(names: Vec<String>, asked: &str) -> Option<String> {
    if names.iter().any(|name| name == asked) {
        return Some(asked.to_owned());
    }
    names.into_iter().find(|name| name.eq_ignore_ascii_case(asked))
}

struct System(Reading);

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("system tables")
    }
}

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        SYSTEM.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(tables::system(&name.to_ascii_lowercase(), &self.0))
    }

    fn table_exist(&self, name: &str) -> bool {
        SYSTEM.iter().any(|table| table.eq_ignore_ascii_case(name))
    }
}

/// Steps with state of one pipeline.
pub struct Steps {
    reading: Reading,
    pipeline: String,
    moment: Arc<Moment>,
    outside: Arc<Outside>,
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steps of {}", self.pipeline)
    }
}

impl Steps {
    /// Steps of which there is state.
    pub fn names(&self) -> Vec<String> {
        let checkpoint = checkpoint::read_checkpoint(&*self.reading.store, &self.pipeline).ok().flatten();
        let states = checkpoint.map(|checkpoint| checkpoint.states).unwrap_or_default();
        states.into_keys().map(|step| step.to_string()).collect()
    }

    pub fn provider(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let step = StepId::new(matching(self.names(), name)?);
        let state = State { pipeline: self.pipeline.clone(), step, moment: self.moment.clone() };
        Some(provided(state, &self.reading))
    }
}

#[async_trait]
impl SchemaProvider for Steps {
    fn table_names(&self) -> Vec<String> {
        self.names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let (found, pipeline) = (self.provider(name), &self.pipeline);
        if found.is_none() && self.outside.schema(pipeline).is_some() {
            return plan_err!(
                "{pipeline}.{name}: {pipeline} is a pipeline, which has no state of a step `{name}`, and the connection \
                 {pipeline} is hidden behind it; give the connection another name"
            );
        }
        Ok(found)
    }

    fn table_exist(&self, name: &str) -> bool {
        matching(self.names(), name).is_some()
    }
}
