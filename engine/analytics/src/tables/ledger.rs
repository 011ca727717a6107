//! `ledger` and `records_dropped`: what became of each record at each step, and why.
//!
//! By default the ledger holds every fate but `passed`, and `absorbed` into groups, joins and orders. `records_dropped` leaves out what
//! went on: passed and absorbed.
//!
//! The rows are those of the archive's files and, behind the place up to which it has moved them, those of the log: each once. Which files
//! count is known when the question is understood. DataFusion's own scan reads them: columns and filters of a question go down to it,
//! and files, parts of files and pages that have nothing of it are not read.

use std::{borrow::Cow, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, streaming::StreamingTable},
    common::{ColumnStatistics, ScalarValue, Statistics, stats::Precision},
    datasource::{
        file_format::{FileFormat, parquet::ParquetFormat},
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder},
        provider_as_source,
        table_schema::TableSchema,
    },
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext, object_store::ObjectStoreUrl},
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, col, lit},
    physical_plan::{
        ExecutionPlan, stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream, union::UnionExec,
    },
};
use object_store::{ObjectMeta, path::Path};
use syncline_engine::{
    archive::{
        File, Manifest, Place,
        rows::{self, ALWAYS, Columns, RowsError, TIME},
    },
    checkpoint,
    ledger::{ledger_topic, sink_topic},
};
use syncline_record::{Fate, StepId};

use crate::{
    Reading,
    gather::{Give, Stop},
    provider::{AHEAD, pipelines_of, read_now},
    spread::here::here,
    tables,
};

/// What plans call the place of the files: where it is, who reads them knows by himself.
pub const FILES: &str = "ledger://files/";

#[derive(Clone)]
pub struct Ledger {
    /// With records that went on.
    pub all: bool,
    pub reading: Reading,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ledger")
    }
}

/// What a question has to read.
struct Found {
    files: Vec<File>,
    /// Pipelines with rows in the log, and the place behind which they are.
    rest: Vec<(String, Place)>,
}

#[async_trait]
impl TableProvider for Ledger {
    fn schema(&self) -> SchemaRef {
        rows::schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// `records_dropped` is a question of the ledger.
    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        if self.all {
            return None;
        }
        let ledger = provider_as_source(Arc::new(Ledger { all: true, ..self.clone() }));
        let went_on = [Fate::Passed, Fate::Absorbed].map(|fate| lit(fate.as_str())).to_vec();
        let plan = LogicalPlanBuilder::scan("ledger", ledger, None)
            .and_then(|scan| scan.filter(col("fate").in_list(went_on, true)))
            .and_then(LogicalPlanBuilder::build);
        plan.ok().map(Cow::Owned)
    }

    /// The scan leaves out what it can; the query still filters.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<Vec<String>> = filters.iter().filter_map(pipelines_of).collect();
        let reading = self.reading.clone();
        let found = tokio::task::spawn_blocking(move || find(&reading, &wanted)).await;
        let Found { files, rest } =
            found.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(external)?;
        // A limit under a filter is none.
        let limit = limit.filter(|_| filters.is_empty());
        if rest.is_empty() && !files.is_empty() {
            return scan_of(files, state, projection, limit).await;
        }
        let rest = Rest { reading: self.reading.clone(), pipelines: rest, schema: rows::schema() };
        let rest = if let Some(here) = here(state.config()) {
            read_now(here, rows::schema(), projection, move |give| rest.read(give)).await?
        } else {
            rest.scan(state, projection, limit).await?
        };
        if files.is_empty() {
            return Ok(rest);
        }
        UnionExec::try_new(vec![scan_of(files, state, projection, limit).await?, rest])
    }
}

fn external(stop: Stop) -> DataFusionError {
    DataFusionError::External(Box::new(stop))
}

/// What there is of the pipelines that are asked for.
fn find(reading: &Reading, wanted: &[Vec<String>]) -> std::result::Result<Found, Stop> {
    let is_wanted = |pipeline: &String| wanted.iter().all(|allowed| allowed.contains(pipeline));
    let mut manifests = match &reading.files {
        Some(files) => files.archive.manifests()?,
        None => vec![],
    };
    manifests.retain(|manifest| is_wanted(&manifest.pipeline));
    let mut found = Found { files: vec![], rest: vec![] };
    for pipeline in tables::pipelines(reading)?.into_iter().filter(is_wanted) {
        let moved = manifests.iter().position(|manifest| manifest.pipeline == pipeline);
        let moved = moved.map(|at| manifests.swap_remove(at));
        let moved = match moved {
            Some(manifest) if is_of(reading, &manifest)? => manifest,
            // Of a life before, or of another data folder: not what this folder says.
            _ => Manifest::default(),
        };
        found.files.extend(moved.files);
        if is_behind(reading, &pipeline, &moved.place)? {
            found.rest.push((pipeline, moved.place));
        }
    }
    // Other data folders write there too.
    found.files.extend(manifests.into_iter().flat_map(|manifest| manifest.files));
    Ok(found)
}

/// Whether a manifest continues in the log of this folder.
fn is_of(reading: &Reading, manifest: &Manifest) -> std::result::Result<bool, Stop> {
    let checkpoint = checkpoint::read_checkpoint(&*reading.store, &manifest.pipeline)?;
    let owner = checkpoint::owner_of(&*reading.store, &manifest.pipeline)?;
    let log_id = checkpoint.map(|checkpoint| checkpoint.log_id);
    Ok(log_id.as_ref() == Some(&manifest.log_id) && owner.as_ref() == Some(&manifest.owner))
}

/// Whether the log may have rows behind a place.
fn is_behind(reading: &Reading, pipeline: &str, place: &Place) -> std::result::Result<bool, Stop> {
    if reading.log.end(&ledger_topic(pipeline))? > place.ledger {
        return Ok(true);
    }
    let prefix = sink_topic(pipeline, &StepId::new(""));
    for topic in reading.log.topics(&prefix)? {
        let moved = place.sinks.get(&topic[prefix.len()..]).map_or(0, |sink| sink.record);
        if reading.log.end(&topic)? > moved {
            return Ok(true);
        }
    }
    Ok(false)
}

/// DataFusion's scan of files.
async fn scan_of(
    files: Vec<File>,
    state: &dyn Session,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = TableSchema::from(rows::schema());
    let format = ParquetFormat::new().with_options(state.default_table_options().parquet);
    let whole = statistics_of(&files);
    let files = files.iter().map(part).collect::<Result<Vec<_>>>()?;
    let groups = FileGroup::new(files).split_files(state.config().target_partitions());
    let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(FILES)?, format.file_source(schema))
        .with_file_groups(groups)
        .with_statistics(whole)
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .build();
    format.create_physical_plan(state, scan).await
}

fn part(file: &File) -> Result<PartitionedFile> {
    let location = Path::parse(&file.path).map_err(|error| DataFusionError::External(Box::new(error)))?;
    // No file is ever replaced, so it needs no time and no tag to be known by.
    let meta = ObjectMeta { location, last_modified: Default::default(), size: file.bytes, e_tag: None, version: None };
    let statistics = Arc::new(statistics_of(std::slice::from_ref(file)));
    Ok(PartitionedFile::new_from_meta(meta).with_statistics(statistics))
}

/// What manifests know of files: a question that asks for no more needs none of them.
fn statistics_of(files: &[File]) -> Statistics {
    let mut columns = vec![ColumnStatistics::new_unknown(); rows::schema().fields().len()];
    let time = |time: Option<i64>| Precision::Exact(ScalarValue::TimestampMicrosecond(time, None));
    for column in &mut columns[..ALWAYS] {
        column.null_count = Precision::Exact(0);
    }
    columns[TIME].min_value = time(files.iter().map(|file| file.from).min());
    columns[TIME].max_value = time(files.iter().map(|file| file.to).max());
    Statistics {
        num_rows: Precision::Exact(files.iter().map(|file| file.rows as usize).sum()),
        total_byte_size: Precision::Inexact(files.iter().map(|file| file.bytes as usize).sum()),
        column_statistics: columns,
    }
}

/// What is in no file yet.
#[derive(Clone)]
struct Rest {
    reading: Reading,
    pipelines: Vec<(String, Place)>,
    schema: SchemaRef,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }
}

impl Rest {
    async fn scan(
        self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = StreamingTable::try_new(self.schema.clone(), vec![Arc::new(self)])?;
        table.scan(state, projection, &[], limit).await
    }

    /// Reads it, batch by batch.
    fn read(&self, give: &mut Give<'_>) -> std::result::Result<(), Stop> {
        let Reading { store, log, .. } = &self.reading;
        let mut give = |batch| if give(batch) { Ok(()) } else { Err(RowsError::Unwanted) };
        for (pipeline, place) in &self.pipelines {
            let mut columns = Columns::default();
            rows::behind((&**store, &**log), pipeline, place, u64::MAX, &mut |row| {
                if columns.push(pipeline, row) { columns.take()?.map_or(Ok(()), &mut give) } else { Ok(()) }
            })?;
            columns.take()?.map_or(Ok(()), &mut give)?;
        }
        Ok(())
    }
}

impl PartitionStream for Rest {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), AHEAD);
        let (batches, rest) = (builder.tx(), self.clone());
        builder.spawn_blocking(move || match rest.read(&mut |batch| batches.blocking_send(Ok(batch)).is_ok()) {
            Ok(()) | Err(Stop::Unwanted) => Ok(()),
            Err(stop) => Err(external(stop)),
        });
        builder.build()
    }
}
