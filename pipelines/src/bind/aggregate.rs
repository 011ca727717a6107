//! AGGREGATE as an operator: its keys, its window and its calls compiled over the columns before it.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use syncline_dsl::plan::{Step, WindowKind, WindowPlan};
use syncline_engine::{
    operator::Operator,
    operators::aggregate::{CALLS, Recipe, Whole, Window, Windows},
};
use syncline_functions::{Aggregates, Call, ExprError, Projection, Typed, is_json};

use super::{
    BindError,
    flow::{Flow, expression},
    state_digest,
};

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The operator, the columns of its answers, the digest of its state, and what that is made of.
type Made = (Box<dyn Operator>, SchemaRef, u64, [(&'static str, String); 3]);

pub fn operator(
    flow: &Flow<'_>,
    step: &Step,
    keys: &[(String, String)],
    window: Option<&WindowPlan>,
    calls: &[(String, String)],
    schema: &SchemaRef,
) -> Result<Made, BindError> {
    let planner = flow.planner;
    let (mut taken, mut fields): (Vec<(String, Typed)>, Vec<Field>) = (vec![], vec![]);
    if let Some(window) = window {
        let time = flow.typed(step, &window.time, schema)?;
        let time = planner.cast(time, &TIMESTAMP).map_err(|error| expression(step, &window.time, error))?;
        taken.push(("time".into(), time));
    }
    let scope = scope(schema).map_err(|error| expression(step, "the columns", error))?;
    for (name, sql) in keys.iter().filter(|(_, sql)| !sql.is_empty()) {
        let typed = flow.typed(step, sql, schema)?;
        let typed = planner.group_key(typed, &scope).map_err(|error| expression(step, sql, error))?;
        fields.push(typed.field().clone().with_name(name));
        taken.push((name.clone(), typed));
    }
    let mut compiled: Vec<(String, Call)> = vec![];
    // A session is known by its first time and its last.
    let bounds = window.filter(|window| matches!(window.kind, WindowKind::Session { .. }));
    let bounds = bounds.into_iter().flat_map(|window| {
        ["min", "max"].map(|call| (call.to_owned(), format!("{call}(CAST({} AS TIMESTAMP))", window.time)))
    });
    let calls: Vec<(String, String)> = bounds.chain(calls.iter().cloned()).collect();
    for (name, sql) in &calls {
        let call = planner.parse(sql).and_then(|ast| planner.aggregate(&ast, &scope));
        compiled.push((name.clone(), call.map_err(|error| expression(step, sql, error))?));
    }
    let key_types: Vec<String> = taken.iter().map(|(_, typed)| shown(typed)).collect();
    taken.extend(Aggregates::taken(&compiled));
    let types: Vec<String> = taken.iter().map(|(_, typed)| shown(typed)).collect();
    let digest = state_digest(&BTreeMap::from([
        ("keys", format!("{:?}", keys.iter().map(|(_, sql)| sql).collect::<Vec<_>>())),
        ("types", format!("{types:?}")),
        ("window", format!("{window:?}")),
        ("calls", format!("{:?}", calls.iter().map(|(_, sql)| sql).collect::<Vec<_>>())),
    ]));
    let whole = |error| expression(step, "its keys and calls", error);
    let recipe = Recipe {
        taken: Projection::new(planner, taken, schema).map_err(whole)?,
        aggregates: Aggregates::new(fields, &compiled).map_err(whole)?,
    };
    let each = compiled.iter().zip(&calls).zip(recipe.aggregates.states());
    let each: Vec<(String, usize)> = each
        .map(|(((_, call), (_, sql)), states)| {
            let types: Vec<String> = call.arguments.iter().chain(&call.filter).map(shown).collect();
            (format!("{sql} of {}", types.join(", ")), states)
        })
        .collect();
    let parts = [
        ("keys", format!("{:?} {key_types:?}", keys.iter().map(|(_, sql)| sql).collect::<Vec<_>>())),
        ("window", format!("{window:?}")),
        (CALLS, serde_json::json!(each).to_string()),
    ];
    let task = flow.edges.task().number;
    let Some(window) = window else {
        let operator = Whole::new(recipe).of_task(task);
        let after = operator.schema();
        return Ok((Box::new(operator), after, digest, parts));
    };
    let at = keys.iter().position(|(_, sql)| sql.is_empty()).unwrap_or(0);
    let name = keys.get(at).map_or("window_start", |(name, _)| name.as_str());
    let (column, timed) = ((name, at), window.by_record_time);
    let operator = match window.kind {
        WindowKind::Tumble { size } => Windows::new(recipe, Window::tumble(size as i64), column, timed),
        WindowKind::Hop { slide, size } => {
            Windows::new(recipe, Window { size: size as i64, slide: slide as i64 }, column, timed)
        }
        WindowKind::Session { gap } => Windows::sessions(recipe, gap as i64, column, timed),
    };
    let operator = operator.of_task(task);
    let after = operator.schema();
    Ok((Box::new(operator), after, digest, parts))
}

fn shown(typed: &Typed) -> String {
    format!("{} {}", typed.field().data_type(), is_json(typed.field()))
}

fn scope(schema: &Schema) -> Result<DFSchema, ExprError> {
    DFSchema::try_from(schema.clone()).map_err(|error| ExprError::Other { message: error.to_string() })
}
