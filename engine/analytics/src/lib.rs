//! SQL over everything that happened: tables that read the committed state of a data folder.
//!
//! Reads only. Each table is read when a query asks for it, from the store and the log as they are at that moment, in batches: a
//! ledger of any length passes through in bounded memory. A pipeline does not need any of this to run, and never waits for it.
//!
//! | table | one row per |
//! |---|---|
//! | `pipelines` | pipeline, as it is now |
//! | `runs`, `steps` | run; step of a run, with its books |
//! | `run_events` | start, failure, pause or end of a pipeline's task, with its reason |
//! | `revisions` | text that a pipeline began with, the newest twenty |
//! | `watermarks`, `lag` | partition that a pipeline reads: how far time has come, how far it was read |
//! | `checkpoints` | committed epoch, the newest thousand |
//! | `backfills` | pipeline with a history: how far it is |
//! | `records_dropped` | record and step at which it stopped |
//! | `ledger` | the same and, with `ledger = 'all'`, records that passed |
//! | `dead_letters` | record that could not be processed, with its bytes |
//! | `<connection>.<table>` | row of a table, or record of a topic, of a place outside that was declared |
//! | `<pipeline>.<step>`, `pipeline_state('<pipeline>', '<step>')` | key that the step remembers: its live state |

mod catalog;
mod clients;
mod depth;
mod error;
mod exact;
mod gather;
mod moment;
mod outside;
mod pipe;
mod provider;
mod query;
mod reach;
mod split;
mod spread;
mod state_function;
mod tables;

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use object_store::ObjectStore;
use syncline_engine::{archive::Archive, log::Log, store::StateStore};

pub use clients::VERSION as CLIENTS_VERSION;
pub use datafusion::common::ScalarValue;
pub use depth::STACK;
pub use error::{QueryError, Why};
pub use outside::{Closed, Place, Places};
pub use query::{Catalog, Limits, Question, Rows, Words, query};
pub use split::{Statements, statements};
pub use spread::{Serving, Tls, Token, Workers, serve};
pub use tables::dead_letters::letter_id;

/// Where the tables read.
#[derive(Clone)]
pub struct Reading {
    pub store: Arc<dyn StateStore>,
    pub log: Arc<dyn Log>,
    /// Where the ledger goes from the log; `None` where all of it stays there.
    pub files: Option<Files>,
}

/// The files of the ledger: Parquet, with manifests that say which of them count.
#[derive(Clone)]
pub struct Files {
    pub archive: Arc<dyn Archive>,
    /// The same place, as DataFusion reads it: paths are those of the manifests.
    pub objects: Arc<dyn ObjectStore>,
}

/// A session with all tables, with the default [`Limits`].
pub fn tables(store: Arc<dyn StateStore>, log: Arc<dyn Log>) -> Result<SessionContext, QueryError> {
    Catalog::new(Reading { store, log, files: None }).session(Words::Ours, &Limits::default())
}

#[cfg(test)]
mod tests;
