//! What the coordinator reads himself, and sends along with the plan: every table that is no file.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::memory::{DataSourceExec, MemorySourceConfig},
    error::{DataFusionError, Result},
    physical_plan::ExecutionPlan,
    prelude::SessionConfig,
};

/// More than this is not sent: the coordinator answers alone.
const MOST: usize = 32 << 20;

/// Marks a session whose plans travel, and counts what goes with them.
#[derive(Default)]
pub struct Here {
    bytes: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
#[error("there is more beside the ledger's files than is sent to workers")]
pub struct TooMuch;

/// The mark, in a session that has it.
pub fn here(config: &SessionConfig) -> Option<Arc<Here>> {
    config.get_extension::<Here>()
}

impl Here {
    /// Counts rows that were read.
    pub fn take(&self, batch: &RecordBatch) -> Result<()> {
        let bytes = self.bytes.fetch_add(batch.get_array_memory_size(), Ordering::Relaxed);
        if bytes > MOST { Err(DataFusionError::External(Box::new(TooMuch))) } else { Ok(()) }
    }

    /// Rows as a leaf of a plan.
    pub fn leaf(
        rows: Vec<RecordBatch>,
        schema: SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(MemorySourceConfig::try_new_exec(&[rows], schema, projection.cloned())?)
    }
}

/// The same leaf without rows.
pub fn emptied(leaf: &MemorySourceConfig) -> Result<Arc<dyn ExecutionPlan>> {
    let none = vec![vec![]; leaf.partitions().len()];
    Ok(MemorySourceConfig::try_new_exec(&none, leaf.original_schema(), leaf.projection().clone())?)
}

/// Rows that go along, where a leaf is that.
pub fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&MemorySourceConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<MemorySourceConfig>()
}
