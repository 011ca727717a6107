//! One question: what it may ask, what it may take, and its rows as they come.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    catalog::CatalogProvider,
    common::{
        ParamValues, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    execution::{
        SendableRecordBatchStream, SessionStateBuilder,
        cache::cache_manager::{CacheManager, CacheManagerConfig, FileMetadataCache},
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        object_store::ObjectStoreUrl,
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::{Expr, LogicalPlan},
    prelude::{SQLOptions, SessionConfig, SessionContext},
    sql::parser::Statement,
};
use futures::StreamExt;
use syncline_functions::{JsonInQuestions, as_in_pipelines, bounded};
use tokio::time::Instant;

use crate::{
    QueryError, Reading,
    catalog::{CATALOG, Folder, PUBLIC},
    clients::Clients,
    depth,
    error::{Names, explained},
    exact::{self, Checked},
    outside::{self, Places},
    pipe::written_out,
    reach,
    spread::{
        Workers,
        coordinator::{self, Trouble},
    },
    state_function::{self, PipelineState},
    tables::ledger::FILES,
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

/// Whose words a question is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// SQL and pipe syntax over the tables that are here.
    Ours,
    /// The same, and what clients of PostgreSQL ask of `pg_catalog`.
    Clients,
}

/// What questions are asked of: every table of a data folder, read when it is asked for.
#[derive(Clone)]
pub struct Catalog {
    folder: Folder,
    /// Made when the first client asks for it.
    clients: Arc<OnceLock<Result<Clients, String>>>,
    /// What the ends of the ledger's files say: no file is ever replaced, so it is read once.
    footers: Option<Arc<FileMetadataCache>>,
    /// Who answers questions about the ledger's files; nobody but this process without them.
    workers: Option<Workers>,
}

impl Catalog {
    pub fn new(reading: Reading) -> Self {
        let footers = CacheManager::try_new(&CacheManagerConfig::default()).ok();
        let footers = footers.map(|caches| caches.get_file_metadata_cache());
        Self { folder: Folder::new(reading, None), clients: Arc::default(), footers, workers: None }
    }

    /// The same, with the places outside that its questions may read.
    pub fn with_places(self, places: Arc<dyn Places>) -> Self {
        let folder = Folder::new(self.folder.0, Some(places));
        Self { folder, clients: Arc::default(), ..self }
    }

    /// Questions about the ledger's files go to workers.
    pub fn with_workers(self, workers: Option<Workers>) -> Self {
        Self { workers, ..self }
    }

    /// Asks one question. Only reading is allowed: SELECT, EXPLAIN, SHOW, DESCRIBE.
    pub async fn ask(&self, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
        self.prepare(sql, Words::Ours, limits).await?.answer(vec![]).await
    }

    /// Understands a question, which may have parameters (`$1`), and asks it later.
    pub async fn prepare(&self, sql: &str, words: Words, limits: Limits) -> Result<Question, QueryError> {
        depth::shallow(sql)?;
        let until = limits.time.map(|time| Instant::now() + time);
        let folder = self.folder.anew(outside::lists(sql));
        in_time(until, &limits, folder.2.list()).await?;
        let context = self.session_over(&folder, words, &limits)?;
        if let Ok(statement) = parsed(&context, sql) {
            depth::named(&statement)?;
        }
        let plan = in_time(until, &limits, self.plan(&context, sql, words)).await?;
        let plan = plan.map_err(|error| match writes(sql) {
            Some(statement) => QueryError::Writes { statement },
            None => reached_out(&context, sql).unwrap_or_else(|| explained(error, &limits, &Names::of(&folder))),
        })?;
        refuse_writing(&plan)?;
        depth::small(&plan)?;
        Ok(Question { context, plan, limits, folder, workers: self.workers.clone() })
    }

    async fn plan(&self, context: &SessionContext, sql: &str, words: Words) -> Result<LogicalPlan, DataFusionError> {
        let state = context.state();
        let first = match parsed(context, sql) {
            Ok(statement) => state.statement_to_plan(statement).await,
            Err(error) => Err(error),
        };
        if first.is_ok() || words == Words::Ours {
            return first;
        }
        // What the asker wrote is what he is told about.
        let Some(statement) = self.clients()?.statement(sql).filter(|known| depth::named(known).is_ok()) else {
            return first;
        };
        state.statement_to_plan(statement).await.or(first)
    }

    fn clients(&self) -> Result<&Clients, DataFusionError> {
        let made = self.clients.get_or_init(|| Clients::new(&self.folder).map_err(|error| error.to_string()));
        made.as_ref().map_err(|detail| DataFusionError::Execution(detail.clone()))
    }

    /// A session with all tables, for one question: what it takes is counted by itself.
    pub(crate) fn session(&self, words: Words, limits: &Limits) -> Result<SessionContext, QueryError> {
        self.session_over(&self.folder.anew(false), words, limits)
    }

    fn session_over(&self, folder: &Folder, words: Words, limits: &Limits) -> Result<SessionContext, QueryError> {
        let failed = |error: DataFusionError| QueryError::Failed { detail: error.to_string() };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory)))
            // A reader writes nothing, not even to spill.
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .with_cache_manager(CacheManagerConfig::default().with_file_metadata_cache(self.footers.clone()))
            .build_arc()
            .map_err(failed)?;
        if let (Some(files), Ok(place)) = (&self.folder.0.files, ObjectStoreUrl::parse(FILES)) {
            runtime.register_object_store(place.as_ref(), files.objects.clone());
        }
        let context = match words {
            Words::Ours => SessionContext::new_with_config_rt(config(limits), runtime),
            Words::Clients => self.clients().map_err(failed)?.session(folder, config(limits), runtime),
        };
        let context = knowing_json_and_integers(&context);
        context.register_udaf(exact::sum());
        // What a function allocates is in no pool, and pipelines of the same process need theirs.
        for function in context.state().scalar_functions().values().filter_map(bounded) {
            context.register_udf(function);
        }
        context.register_udtf(state_function::NAME, Arc::new(PipelineState(folder.clone())));
        if words == Words::Ours {
            context.register_catalog(CATALOG, Arc::new(folder.clone()));
        }
        Ok(context)
    }
}

/// The same session, in which columns of places may hold JSON, and no integer is another one than it should be.
fn knowing_json_and_integers(context: &SessionContext) -> SessionContext {
    let state = context.state();
    let mut planners = state.expr_planners().to_vec();
    planners.insert(0, Arc::new(JsonInQuestions));
    let state = SessionStateBuilder::new_from_existing(state).with_expr_planners(planners);
    SessionContext::new_with_state(state.with_analyzer_rule(Arc::new(Checked)).build())
}

fn config(limits: &Limits) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(limits.cores)
        // Batches that a reader of the data folder makes are of this size too.
        .with_batch_size(4096);
    // As in a pipeline: 0.1 is a tenth.
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    config
}

/// One statement, its pipes written out, and names of three parts joined.
fn parsed(context: &SessionContext, sql: &str) -> Result<Statement, DataFusionError> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    written_out(state.sql_to_statement(sql, &dialect)?).map(outside::joined)
}

fn reached_out(context: &SessionContext, sql: &str) -> Option<QueryError> {
    let what = reach::beyond(&parsed(context, sql).ok()?)?;
    Some(QueryError::Unreachable { what })
}

/// A question that is understood.
pub struct Question {
    context: SessionContext,
    plan: LogicalPlan,
    limits: Limits,
    folder: Folder,
    workers: Option<Workers>,
}

impl Question {
    /// The types that its parameters have to have, by their number from 1; `None` where any will do.
    pub fn parameters(&self) -> Result<BTreeMap<usize, Option<DataType>>, QueryError> {
        let mut types = self.plan.get_parameter_types().map_err(|error| self.explained(error))?;
        let cast = cast_parameters(&self.plan).map_err(|error| self.explained(error))?;
        types.iter_mut().for_each(|(name, of)| *of = of.take().or_else(|| cast.get(name).cloned()));
        let number = |name: &str| name.strip_prefix('$')?.parse::<usize>().ok().filter(|number| *number > 0);
        types
            .into_iter()
            .map(|(name, of)| match number(&name) {
                Some(number) => Ok((number, of)),
                None => Err(QueryError::Wrong { detail: format!("`{name}` is no parameter: write $1, $2, …") }),
            })
            .collect()
    }

    /// The columns of its answer, with these values or ones of their types.
    pub async fn schema(&self, values: Vec<ScalarValue>) -> Result<SchemaRef, QueryError> {
        let plan = self.asked(values)?;
        let physical = self.context.state().create_physical_plan(&plan).await;
        Ok(physical.map_err(|error| self.explained(error))?.schema())
    }

    /// Asks it. The time that it may take begins here.
    pub async fn answer(self, values: Vec<ScalarValue>) -> Result<Rows, QueryError> {
        let until = self.limits.time.map(|time| Instant::now() + time);
        let plan = self.asked(values)?;
        let stream = in_time(until, &self.limits, self.rows(plan)).await??;
        Ok(Rows { schema: stream.schema(), stream, until, limits: self.limits })
    }

    /// The rows of a plan, from workers where there are some and it is a plan for them.
    async fn rows(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream, QueryError> {
        if let Some(workers) = &self.workers {
            match coordinator::answer(&self.context.state(), &plan, workers).await {
                Ok(Some(rows)) => return Ok(rows),
                Ok(None) => {}
                Err(Trouble::Workers { detail }) => return Err(QueryError::Workers { detail }),
                Err(Trouble::Question(error)) => return Err(self.explained(error)),
            }
        }
        let run = async { self.context.execute_logical_plan(plan).await?.execute_stream().await };
        run.await.map_err(|error| self.explained(error))
    }

    fn asked(&self, values: Vec<ScalarValue>) -> Result<LogicalPlan, QueryError> {
        let plan = self.plan.clone().replace_params_with_values(&ParamValues::from(values));
        plan.and_then(as_in_pipelines).map_err(|error| self.explained(error))
    }

    fn explained(&self, error: DataFusionError) -> QueryError {
        explained(error, &self.limits, &Names::of(&self.folder))
    }
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

/// Asks one question of tables that nobody else asks.
pub async fn query(reading: Reading, workers: Option<Workers>, sql: &str, limits: Limits) -> Result<Rows, QueryError> {
    Catalog::new(reading).with_workers(workers).ask(sql, limits).await
}

/// What parameters are cast to: `CAST($1 AS DECIMAL(12, 2))` says the type that DataFusion leaves open.
fn cast_parameters(plan: &LogicalPlan) -> Result<BTreeMap<String, DataType>, DataFusionError> {
    let mut found = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Cast(cast) = part
                    && let Expr::Placeholder(parameter) = &*cast.expr
                {
                    found.entry(parameter.id.clone()).or_insert_with(|| cast.field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
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
const WRITING: [&str; 18] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE", "COPY", "CREATE", "DROP", "ALTER", "GRANT", "REVOKE",
    "VACUUM", "CALL", "DO", "COMMENT", "REINDEX", "LOAD",
];

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
