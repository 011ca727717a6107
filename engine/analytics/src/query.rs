//! One question: what it may ask, what it may take, and its rows as they come.

use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    catalog::CatalogProvider,
    execution::{
        SendableRecordBatchStream,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::LogicalPlan,
    prelude::{SQLOptions, SessionConfig, SessionContext},
};
use futures::StreamExt;
use syncline_functions::{as_in_pipelines, bounded};
use tokio::time::Instant;

use crate::{
    QueryError, Reading,
    catalog::{CATALOG, Folder, PUBLIC},
    error::{Names, explained},
};

/// What a query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of sorts, joins and groups, in bytes. Pipelines of the same process need theirs.
    pub memory: usize,
    /// From the question to the last row.
    pub time: Option<Duration>,
    /// Cores that one query uses.
    pub cores: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 256 << 20, time: Some(Duration::from_secs(60)), cores: 2 }
    }
}

/// A session with all tables.
pub fn session(reading: Reading, limits: &Limits) -> Result<SessionContext, QueryError> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(limits.cores)
        // Batches that a reader of the data folder makes are of this size too.
        .with_batch_size(4096);
    // As in a pipeline: 0.1 is a tenth.
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory)))
        // A reader writes nothing, not even to spill.
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .map_err(|error| QueryError::Failed { detail: error.to_string() })?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    // What a function allocates is in no pool, and pipelines of the same process need theirs.
    for function in context.state().scalar_functions().values().filter_map(bounded) {
        context.register_udf(function);
    }
    context.register_catalog(CATALOG, Arc::new(Folder(reading)));
    Ok(context)
}

/// Rows of an answer, batch by batch.
pub struct Rows {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    until: Option<Instant>,
    limits: Limits,
}

impl Rows {
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next rows; `None` after the last. After an error there are no more.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        let next = self.stream.next();
        let next = match self.until {
            None => next.await,
            Some(until) => match tokio::time::timeout_at(until, next).await {
                Ok(next) => next,
                Err(_) => return Some(Err(QueryError::TooLong { limit: self.limits.time.unwrap_or_default() })),
            },
        };
        Some(next?.map_err(|error| explained(error, &self.limits, &Names::default())))
    }
}

/// Asks one question. Only reading is allowed: SELECT, EXPLAIN, SHOW, DESCRIBE.
pub async fn query(reading: Reading, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
    let until = limits.time.map(|time| Instant::now() + time);
    let folder = Folder(reading.clone());
    let context = session(reading, &limits)?;
    let rows = async {
        let plan = context.state().create_logical_plan(sql).await?;
        as_in_pipelines(plan)
    };
    let plan = match in_time(until, &limits, rows).await? {
        Ok(plan) => plan,
        Err(error) => {
            return Err(match writes(sql) {
                Some(statement) => QueryError::Writes { statement },
                None => explained(error, &limits, &Names::of(&folder)),
            });
        }
    };
    refuse_writing(&plan)?;
    let run = async { context.execute_logical_plan(plan).await?.execute_stream().await };
    let stream = in_time(until, &limits, run).await?.map_err(|error| explained(error, &limits, &Names::of(&folder)))?;
    Ok(Rows { schema: stream.schema(), stream, until, limits })
}

async fn in_time<T>(until: Option<Instant>, limits: &Limits, work: impl Future<Output = T>) -> Result<T, QueryError> {
    match until {
        None => Ok(work.await),
        Some(until) => tokio::time::timeout_at(until, work)
            .await
            .map_err(|_| QueryError::TooLong { limit: limits.time.unwrap_or_default() }),
    }
}

fn refuse_writing(plan: &LogicalPlan) -> Result<(), QueryError> {
    let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reading.verify_plan(plan).map_err(|_| QueryError::Writes { statement: word(plan) })
}

/// Words that begin a statement which writes. Whether the rest of it would do is no question here.
const WRITING: [&str; 10] =
    ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE", "COPY", "CREATE", "DROP", "ALTER"];

/// The first words of a statement that writes.
fn writes(sql: &str) -> Option<String> {
    let mut words = sql.split_whitespace().map(str::to_uppercase);
    let first = words.next().filter(|word| WRITING.contains(&word.as_str()))?;
    match words.next() {
        Some(second) if ["INTO", "FROM", "TABLE", "VIEW"].contains(&second.as_str()) => {
            Some(format!("{first} {second}"))
        }
        _ => Some(first),
    }
}

/// What the statement does, in a word or two.
fn word(plan: &LogicalPlan) -> String {
    let shown = plan.display().to_string();
    let name = shown.split([':', ' ', '(']).next().unwrap_or_default();
    let word = match (plan, name) {
        (LogicalPlan::Dml(dml), _) => dml.op.to_string(),
        (LogicalPlan::Copy(_), _) => "COPY".to_owned(),
        (LogicalPlan::Explain(explain), _) => format!("EXPLAIN of {}", word(&explain.plan)),
        (LogicalPlan::Analyze(analyze), _) => format!("EXPLAIN ANALYZE of {}", word(&analyze.input)),
        (_, name) => spaced(name),
    };
    word.to_uppercase()
}

/// `CreateMemoryTable` as `Create Memory Table`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter);
    }
    words
}

impl Names {
    /// Every table that can be named.
    fn of(folder: &Folder) -> Self {
        let mut tables = vec![];
        for schema in folder.schema_names() {
            let Some(provider) = folder.schema(&schema) else { continue };
            for table in provider.table_names() {
                tables.push(if schema == PUBLIC { table } else { format!("{schema}.{}", quoted(&table)) });
            }
        }
        Self { tables }
    }
}

/// A step as it has to be written: ids of steps inside branches hold a slash.
fn quoted(step: &str) -> String {
    let plain = step.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { step.to_owned() } else { format!("\"{step}\"") }
}
