//! A table as DataFusion sees it: a schema, and a read on a thread of its own that stays at most a few batches ahead of the query.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, streaming::StreamingTable},
    common::ScalarValue,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
};

use crate::{
    Reading,
    gather::{Gather, Give, Stop},
    spread::here::{Here, here},
    tables,
};

/// Batches that are read before the query asks for them.
pub const AHEAD: usize = 2;

/// What a table is: its columns, and how the rows of one pipeline are read.
pub trait Table: Send + Sync + 'static {
    fn schema(&self) -> SchemaRef;

    /// Gives every row of a pipeline, in a fixed order. Called where blocking is allowed.
    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> std::result::Result<(), Stop>;

    /// A question is planned that will read it.
    fn asked(&self) {}

    /// The only pipeline that it has rows of.
    fn of(&self) -> Option<&str> {
        None
    }

    /// The pipelines that it may have rows of.
    fn pipelines(&self, reading: &Reading) -> std::result::Result<Vec<String>, Stop> {
        match self.of() {
            Some(pipeline) => Ok(vec![pipeline.to_owned()]),
            None => tables::pipelines(reading),
        }
    }
}

#[derive(Clone)]
struct Provider {
    table: Arc<dyn Table>,
    reading: Reading,
}

/// A table for DataFusion.
pub fn provided(table: impl Table, reading: &Reading) -> Arc<dyn TableProvider> {
    Arc::new(Provider { table: Arc::new(table), reading: reading.clone() })
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("table")
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Tells which pipelines are asked for, so that ledgers of others are not read. The query still filters.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let simple = |filter: &&Expr| match pipelines_of(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(simple).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.asked();
        let wanted: Vec<Vec<String>> = filters.iter().filter_map(pipelines_of).collect();
        if let Some(here) = here(state.config()) {
            let (provider, schema) = (self.clone(), self.table.schema());
            return read_now(here, schema.clone(), projection, move |give| read(&provider, schema, &wanted, give))
                .await;
        }
        let part = Part { provider: self.clone(), schema: self.table.schema(), wanted };
        let table = StreamingTable::try_new(self.table.schema(), vec![Arc::new(part)])?;
        table.scan(state, projection, &[], limit).await
    }
}

/// Reads a table at once, as a leaf that can be sent to others.
pub async fn read_now(
    here: Arc<Here>,
    schema: SchemaRef,
    projection: Option<&Vec<usize>>,
    read: impl FnOnce(&mut Give<'_>) -> std::result::Result<(), Stop> + Send + 'static,
) -> Result<Arc<dyn ExecutionPlan>> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut rows, mut trouble) = (vec![], Ok(()));
        let ended = read(&mut |batch| {
            trouble = here.take(&batch);
            rows.push(batch);
            trouble.is_ok()
        });
        trouble?;
        match ended {
            Ok(()) => Ok(rows),
            Err(Stop::Refused(error)) => Err(error),
            Err(stop) => Err(DataFusionError::External(Box::new(stop))),
        }
    });
    let rows = reading.await.map_err(|error| DataFusionError::External(Box::new(error)))??;
    Here::leaf(rows, schema, projection)
}

/// The pipelines that a filter allows, where it is as simple as `pipeline = 'orders'` or `pipeline IN ('a', 'b')`.
pub fn pipelines_of(filter: &Expr) -> Option<Vec<String>> {
    let is_pipeline = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "pipeline");
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (column, value) if is_pipeline(column) => Some(vec![text(value)?]),
            (value, column) if is_pipeline(column) => Some(vec![text(value)?]),
            _ => None,
        },
        Expr::InList(list) if is_pipeline(&list.expr) && !list.negated => list.list.iter().map(text).collect(),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text), _) => {
            text.clone()
        }
        _ => None,
    }
}

struct Part {
    provider: Provider,
    schema: SchemaRef,
    wanted: Vec<Vec<String>>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), AHEAD);
        let (batches, provider) = (builder.tx(), self.provider.clone());
        let (schema, wanted) = (self.schema.clone(), self.wanted.clone());
        builder.spawn_blocking(move || {
            let mut give = |batch| batches.blocking_send(Ok(batch)).is_ok();
            match read(&provider, schema, &wanted, &mut give) {
                Ok(()) | Err(Stop::Unwanted) => Ok(()),
                Err(Stop::Refused(error)) => Err(error),
                Err(stop) => Err(DataFusionError::External(Box::new(stop))),
            }
        });
        builder.build()
    }
}

fn read<'a>(
    provider: &Provider,
    schema: SchemaRef,
    wanted: &[Vec<String>],
    give: &'a mut (dyn FnMut(arrow::array::RecordBatch) -> bool + 'a),
) -> std::result::Result<(), Stop> {
    let Provider { table, reading } = provider;
    let mut rows = Gather::new(schema, give);
    for pipeline in table.pipelines(reading)? {
        if wanted.iter().all(|allowed| allowed.contains(&pipeline)) {
            table.read(reading, &pipeline, &mut rows)?;
        }
    }
    rows.flush()
}
