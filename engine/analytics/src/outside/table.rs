//! A table of a place as DataFusion sees it.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter},
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::StreamExt;
use syncline_engine::tables::{Condition, Give, Listed, Stop, Table, TableError, Tables, Wanted};

use super::{Trouble, condition::condition};
use crate::provider::AHEAD;

/// A table, and whose it is.
pub struct Outer {
    pub place: Arc<str>,
    pub table: Arc<dyn Table>,
}

impl fmt::Debug for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table of {}", self.place)
    }
}

impl Outer {
    fn taken(&self, filter: &Expr) -> Option<Condition> {
        condition(filter, &self.table.schema()).filter(|condition| self.table.takes(condition))
    }
}

#[async_trait]
impl TableProvider for Outer {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The query still filters: the place may leave out rows, and no row that counts.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of = |filter: &&Expr| match self.taken(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(of).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.table.schema();
        let columns = projection.cloned().unwrap_or_else(|| (0..all.fields().len()).collect());
        let schema = Arc::new(all.project(&columns)?);
        let conditions = filters.iter().filter_map(|filter| self.taken(filter)).collect();
        let wanted = Wanted { columns, conditions, most: limit };
        let rows = Rows { schema: schema.clone(), place: self.place.clone(), table: self.table.clone(), wanted };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, [], false, limit)?))
    }
}

struct Rows {
    schema: SchemaRef,
    place: Arc<str>,
    table: Arc<dyn Table>,
    wanted: Wanted,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {}", self.place)
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), AHEAD);
        let (batches, table, wanted) = (builder.tx(), self.table.clone(), self.wanted.clone());
        let (stop, place) = (Arc::new(Stop::default()), self.place.clone());
        let ends = Ends(stop.clone());
        builder.spawn_blocking(move || {
            let mut give = |batch| batches.blocking_send(Ok(batch)).is_ok();
            match table.read(&wanted, &stop, &mut give) {
                Ok(()) | Err(TableError::Over) => Ok(()),
                Err(error) => Err(DataFusionError::from(Trouble::of(&place, error))),
            }
        });
        let rows = builder.build().map(move |batch| {
            let _ = &ends;
            batch
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

/// Nobody takes the rows any more.
struct Ends(Arc<Stop>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A table as a list named it: gone to when its rows are wanted.
pub struct Later {
    pub tables: Arc<dyn Tables>,
    pub listed: Listed,
}

impl Table for Later {
    fn schema(&self) -> SchemaRef {
        self.listed.schema.clone()
    }

    fn takes(&self, _: &Condition) -> bool {
        false
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> std::result::Result<(), TableError> {
        let name = &self.listed.name;
        match self.tables.table(name)? {
            Some(table) if table.schema() == self.listed.schema => table.read(wanted, stop, give),
            Some(_) => Err(TableError::Place(format!("table {name} is another one by now; ask again"))),
            None => Err(TableError::Place(format!("table {name} is not there any more"))),
        }
    }
}
