//! Asks workers one question, and asks it again of those that live when one of them is gone.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, memory::DataSourceExec},
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::physical_plan::FileScanConfig,
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, SessionState, SessionStateBuilder, context::QueryPlanner,
        object_store::ObjectStoreUrl,
    },
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, execute_stream, stream::RecordBatchStreamAdapter},
};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedExt, DistributedLeafExec,
    ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, WorkerResolver,
};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use futures::{StreamExt, future::join_all, stream};
use tonic::codegen::http::HeaderMap;
use url::Url;

use super::{
    HELD, Workers,
    codec::Codec,
    here::{self, Here, emptied, rows_of},
    net::shown,
    worker::known_functions,
};
use crate::tables::ledger::FILES;

/// Bytes of files that are worth a worker.
const PART: usize = 1 << 20;
/// How often one question is asked: workers that come and go all the time give no answer.
const TIMES: usize = 5;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The question itself.
    #[error(transparent)]
    Question(#[from] DataFusionError),
    /// Nobody is there to answer it.
    #[error("{detail}")]
    Workers { detail: String },
}

/// The rows of a question; `None` when it is not one for workers.
pub async fn answer(
    state: &SessionState,
    question: &LogicalPlan,
    workers: &Workers,
) -> std::result::Result<Option<SendableRecordBatchStream>, Trouble> {
    if !reads_files(&state.create_physical_plan(question).await?)? {
        return Ok(None);
    }
    let mut lost: Option<DataFusionError> = None;
    let mut asked: Vec<Url> = vec![];
    for _ in 0..=TIMES {
        let (live, away) = workers.who_lives().await?;
        let gone = asked.iter().any(|worker| !live.contains(worker));
        if let Some(error) = lost.take().filter(|error| !gone && !is_of_the_net(error)) {
            // All of them are there: it is the question, or the part of one that fell over.
            return Err(error.into());
        }
        if live.is_empty() {
            return Err(Trouble::Workers { detail: away.join("; ") });
        }
        if !away.is_empty() {
            tracing::warn!("workers that do not answer: {}", away.join("; "));
        }
        asked = live.clone();
        let Some((plan, spread)) = spread(state, question, workers, live).await? else { return Ok(None) };
        match whole(plan, &spread).await {
            Ok(rows) => return Ok(Some(rows)),
            Err(error) => lost = Some(error),
        }
    }
    let detail = lost.map_or_else(String::new, |error| error.strip_backtrace());
    Err(Trouble::Workers { detail: format!("workers went away {TIMES} times, the last time with: {detail}") })
}

/// How connections that break say so; those between workers too, of which only the words come here. A worker that was stopped for a while
/// is back by now, and the connections to him are not.
const NET: [&str; 6] = [
    "h2 protocol error",
    "transport error",
    "error reading a body",
    "broken pipe",
    "onnection reset",
    "onnection closed",
];

fn is_of_the_net(error: &DataFusionError) -> bool {
    let text = error.to_string();
    NET.iter().any(|words| text.contains(words))
}

impl Workers {
    /// Those that answer, and what is to be said of the others. One of another build is an error: what it would say is not known.
    async fn who_lives(&self) -> std::result::Result<(Vec<Url>, Vec<String>), Trouble> {
        let asked = join_all(self.urls.iter().map(|url| self.net.ask(url))).await;
        let (mut live, mut away) = (vec![], vec![]);
        for (url, answer) in self.urls.iter().zip(asked) {
            match answer {
                Ok(version) if *version == *self.version => live.push(url.clone()),
                Ok(_) => {
                    let detail = format!("worker {} is of another build than this process", shown(url));
                    return Err(Trouble::Workers { detail });
                }
                Err(error) => away.push(error.strip_backtrace()),
            }
        }
        Ok((live, away))
    }
}

/// A plan whose parts workers do, and the session that it belongs to; `None` where it cannot be sent.
async fn spread(
    state: &SessionState,
    question: &LogicalPlan,
    workers: &Workers,
    live: Vec<Url>,
) -> Result<Option<(Arc<dyn ExecutionPlan>, SessionState)>> {
    let mut config = state.config().clone().with_extension(Arc::new(Here::default()));
    // As the planner of parts wants it.
    config.options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let here = SessionStateBuilder::new_from_existing(state.clone()).with_config(config).build();
    let plan = match here.create_physical_plan(question).await {
        Err(error) if is_too_much(&error) => return Ok(None),
        plan => plan?,
    };
    let headers = match sent(&plan, &here) {
        Ok(headers) => headers,
        Err(error) => {
            tracing::debug!("a question is answered here, for it cannot be sent: {error}");
            return Ok(None);
        }
    };
    let spread = SessionStateBuilder::new_from_existing(here)
        .with_query_planner(Arc::new(Planned(plan)))
        .with_distributed_worker_resolver(Live(live))
        .with_distributed_channel_resolver(workers.net.clone())
        .with_distributed_passthrough_headers(headers)?
        .with_distributed_desired_task_count_handler(parts_of)
        .with_distributed_scale_up_leaf_node_handler(rows_once)
        .with_distributed_planner()
        .build();
    let plan = spread.query_planner().create_physical_plan(question, &spread).await?;
    Ok(plan.is::<DistributedExec>().then_some((plan, spread)))
}

fn is_too_much(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(error) if error.is::<here::TooMuch>())
}

/// A plan that is there already.
#[derive(Debug)]
struct Planned(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Planned {
    async fn create_physical_plan(&self, _: &LogicalPlan, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.0.clone())
    }
}

struct Live(Vec<Url>);

impl WorkerResolver for Live {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// Files of the ledger, where a step reads them.
fn files_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<&FileScanConfig>> {
    let place = ObjectStoreUrl::parse(FILES)?;
    let scan = plan.downcast_ref::<DataSourceExec>().and_then(|source| source.data_source().downcast_ref());
    Ok(scan.filter(|scan: &&FileScanConfig| scan.object_store_url == place))
}

fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut reads = false;
    plan.apply(|step| {
        reads |= files_of(step)?.is_some();
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(reads)
}

/// What goes along with a plan. An error where a worker would not understand all of it: it is told to one that is none.
fn sent(plan: &Arc<dyn ExecutionPlan>, here: &SessionState) -> Result<HeaderMap> {
    let mut there = SessionStateBuilder::new().with_default_features().with_runtime_env(here.runtime_env().clone());
    known_functions(&mut there, true);
    let (there, codec) = (there.build(), Codec::default());
    let sent = physical_plan_to_bytes_with_extension_codec(plan.clone(), &codec)?;
    physical_plan_from_bytes_with_extension_codec(&sent, &there.task_ctx(), &codec)?;
    Ok(codec.headers())
}

/// How many workers a leaf is worth.
fn parts_of(event: DesiredTaskCountEvent<'_>) -> Option<Result<DesiredTaskCountEventResponse>> {
    if rows_of(event.plan).is_some() {
        return Some(Ok(DesiredTaskCountEventResponse::desired(1)));
    }
    let scan = match files_of(event.plan) {
        Ok(scan) => scan?,
        Err(error) => return Some(Err(error)),
    };
    let bytes = scan.file_groups.iter().flat_map(|group| group.files()).map(|file| file.effective_size() as usize);
    Some(Ok(DesiredTaskCountEventResponse::desired(bytes.sum::<usize>().div_ceil(PART).max(1))))
}

/// Rows that go along are given to one worker; the others have none of them.
fn rows_once(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let rows = rows_of(event.plan)?;
    let parts = || {
        let mut parts = vec![event.plan.clone()];
        for _ in 1..event.task_count {
            parts.push(emptied(rows)?);
        }
        Ok(ScaleUpLeafNodeEventResponse::new(Arc::new(DistributedLeafExec::try_new(event.plan.clone(), parts)?)))
    };
    Some(parts())
}

/// The rows of a plan, all of them as long as they can be held, so that none is given that would have to be taken back.
async fn whole(plan: Arc<dyn ExecutionPlan>, state: &SessionState) -> Result<SendableRecordBatchStream> {
    let schema: SchemaRef = plan.schema();
    let mut rows = execute_stream(plan, state.task_ctx())?;
    let (mut held, mut bytes): (Vec<RecordBatch>, usize) = (vec![], 0);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        bytes += batch.get_array_memory_size();
        held.push(batch);
        if bytes > HELD {
            let rest = stream::iter(held.into_iter().map(Ok)).chain(rows);
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rest)));
        }
    }
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(held.into_iter().map(Ok)))))
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.urls.iter().map(shown)).finish()
    }
}
