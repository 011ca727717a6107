//! A panic of a worker's part is an error of the question. Without this its rows end as if there were no more, and the answer is wrong.
//!
//! The guard stands at the top of the part, and below a head that cuts rows for the next part: that one is put there anew for each
//! reader.

use std::{any::Any, fmt, panic, panic::AssertUnwindSafe, sync::Arc};

use datafusion::{
    common::{Result, exec_datafusion_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        metrics::MetricsSet, repartition::RepartitionExec, stream::RecordBatchStreamAdapter,
    },
};
use datafusion_distributed::{BroadcastExec, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse};
use futures::StreamExt;

/// A part, guarded.
pub fn guarded(event: WorkerPlanRewriteEvent<'_>) -> Result<WorkerPlanRewriteEventResponse> {
    let head = event.plan.is::<RepartitionExec>() || event.plan.is::<BroadcastExec>();
    let plan: Arc<dyn ExecutionPlan> = if head {
        let below = event.plan.children().into_iter().map(|part| Arc::new(Guard(part.clone())) as _).collect();
        event.plan.clone().replace_children(below, anew())?
    } else {
        Arc::new(Guard(event.plan))
    };
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}

#[derive(Debug)]
struct Guard(Arc<dyn ExecutionPlan>);

impl DisplayAs for Guard {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(format, f)
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.0.children()
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.0.metrics()
    }

    fn apply_expressions(
        &self,
        each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(each)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Guard(self.0.clone().replace_children(children, anew())?)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let begun = panic::catch_unwind(AssertUnwindSafe(|| self.0.execute(partition, context)));
        let rows = begun.unwrap_or_else(|panic| Err(told(&*panic)))?;
        #[cfg(debug_assertions)]
        let rows = super::fault::through(rows);
        let schema = rows.schema();
        let mut rows = AssertUnwindSafe(rows).catch_unwind();
        let mut over = false;
        let rows = futures::stream::poll_fn(move |context| {
            if over {
                return std::task::Poll::Ready(None);
            }
            let next = rows.poll_next_unpin(context);
            next.map(|next| {
                Some(next?.unwrap_or_else(|panic| {
                    over = true;
                    Err(told(&*panic))
                }))
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Nothing of a step is known any more when what is below it is another.
fn anew() -> ReplaceChildrenOptions {
    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)
}

fn told(panic: &(dyn Any + Send)) -> datafusion::error::DataFusionError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    exec_datafusion_err!("a worker fell over while it worked on this question: {text}")
}
