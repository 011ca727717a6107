//! `pipeline_state('orders', 'dedup')`: the table `orders.dedup`, by names that may be computed by whoever writes the question.

use std::{fmt, sync::Arc};

use datafusion::{
    catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider},
    common::{ScalarValue, plan_err},
    error::Result,
    logical_expr::Expr,
};

use crate::catalog::{Folder, matching};

pub const NAME: &str = "pipeline_state";

pub struct PipelineState(pub Folder);

impl fmt::Debug for PipelineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl TableFunctionImpl for PipelineState {
    fn call_with_args(&self, given: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let names: Vec<&str> = given.exprs().iter().filter_map(text).collect();
        let [pipeline, step] = names.as_slice() else {
            return plan_err!("{NAME} takes the names of a pipeline and of a step: {NAME}('orders', 'dedup')");
        };
        let pipelines = crate::tables::pipelines(&self.0.0).unwrap_or_default();
        let Some(found) = matching(pipelines.clone(), pipeline) else {
            return plan_err!("{NAME}: there is no pipeline `{pipeline}`; there are: {}", pipelines.join(", "));
        };
        let steps = self.0.steps(found);
        match steps.provider(step) {
            Some(table) => Ok(table),
            None => {
                plan_err!("{NAME}: {pipeline} has no state of a step `{step}`; it has: {}", steps.names().join(", "))
            }
        }
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text), _) => {
            text.as_deref()
        }
        _ => None,
    }
}
