//! JSON in questions: what it means beside other types is what it means in a pipeline, and a row that fails is the error of the question.
//!
//! `value.customer.id`, `value['customer']['id']`, `value -> 'customer' ->> 'id'` are members of a column that holds JSON. Where one meets
//! another type, the typer of pipelines says what becomes of it. What knows no JSON would take its text for it (an order, the least of
//! a group): that is refused by name, for a CAST says what is meant.

use arrow::datatypes::Field;
use datafusion::{
    common::{
        DFSchema, Result, TableReference, plan_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        BinaryExpr, Expr, LogicalPlan, ScalarUDF,
        expr::ScalarFunction,
        planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr},
    },
};
use sqlparser::ast::BinaryOperator;

use crate::{
    asked::Told,
    functions::{JsonFunction, Op, call, called},
    hooks::{member, members, operator},
    is_json,
    typer::{NUMBER, Typer, json_to},
};

/// What DataFusion asks while it reads a question. What is no JSON is left to others, as it is.
#[derive(Debug)]
pub struct JsonInQuestions;

impl ExprPlanner for JsonInQuestions {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let typer = Typer { schema };
        if !(typer.is_json(&raw.left) || typer.is_json(&raw.right)) {
            return Ok(PlannerResult::Original(raw));
        }
        let RawBinaryExpr { op, left, right } = raw;
        let part = |left, right| call(Op::Get, false, vec![left, right]);
        let planned = match (&op, operator(&op)) {
            (BinaryOperator::Arrow, _) => part(left, right),
            (BinaryOperator::LongArrow, _) => call(Op::Text, false, vec![part(left, right)]),
            (_, Some(op)) => typer.binary(BinaryExpr::new(Box::new(left), op, Box::new(right)))?,
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(planned))
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let typer = Typer { schema };
        if !typer.is_json(&raw.expr) {
            return Ok(PlannerResult::Original(raw));
        }
        Ok(PlannerResult::Planned(member(&typer, raw.expr, raw.field_access, Ok)?))
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(members(field, qualifier, names))
    }

    /// `SUM(value.total)`: a member is the number that the aggregate wants.
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        if NUMBERS.contains(&raw.func.name()) {
            let is_member = |expr: &Expr| called(expr).is_some_and(|function| function.op == Op::Get);
            for argument in raw.args.iter_mut().filter(|argument| is_member(argument)) {
                *argument = json_to(std::mem::take(argument), &NUMBER);
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// Aggregates of numbers.
const NUMBERS: [&str; 12] = [
    "sum",
    "avg",
    "mean",
    "median",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "approx_median",
    "percentile_cont",
];

/// Whether any table of a question has JSON.
pub fn has_json(question: &LogicalPlan) -> Result<bool> {
    let mut has = false;
    question.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            has |= scan.source.schema().fields().iter().any(|field| is_json(field));
        }
        Ok(if has { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(has)
}

/// A part whose operands are typed: typed itself where one of them is JSON.
pub fn typed(part: Expr, typer: &Typer) -> Result<Transformed<Expr>> {
    if !reads_json(&part, typer)? {
        return Ok(Transformed::no(part));
    }
    typer.node(part)
}

/// Strict functions tell of their rows; what would take JSON for text is refused.
pub fn told_and_audited(expr: Expr, typer: &Typer) -> Result<Expr> {
    let told = expr.transform_up(|node| match node {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let strict = func.inner().downcast_ref::<JsonFunction>().filter(|function| function.strict).cloned();
            let (func, changed) = match strict {
                Some(function) => (ScalarUDF::new_from_impl(Told(function)).into(), true),
                None => (func, false),
            };
            let call = Expr::ScalarFunction(ScalarFunction { func, args });
            Ok(if changed { Transformed::yes(call) } else { Transformed::no(call) })
        }
        other => Ok(Transformed::no(other)),
    })?;
    told.data.apply(|node| {
        let refused = match node {
            Expr::InSubquery(list) if list.subquery.subquery.schema().fields().iter().any(|field| is_json(field)) => {
                Some("IN (SELECT …)".to_owned())
            }
            _ if !reads_json(node, typer)? => None,
            Expr::AggregateFunction(call) if call.func.name() == "count" => None,
            Expr::AggregateFunction(call) => Some(format!("{}()", call.func.name())),
            Expr::WindowFunction(call) if call.fun.name() == "count" => None,
            Expr::WindowFunction(call) => Some(format!("{}() OVER", call.fun.name())),
            Expr::BinaryExpr(binary) if Typer::is_norm(&binary.left) && Typer::is_norm(&binary.right) => None,
            Expr::ScalarFunction(call) => {
                let ours = call.func.inner().is::<JsonFunction>() || call.func.inner().is::<Told>();
                let taken = ours || matches!(call.func.name(), "coalesce" | "nvl" | "nullif");
                (!taken).then(|| format!("{}()", call.func.name()))
            }
            Expr::Column(_) | Expr::Alias(_) | Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::Case(_) => None,
            // What a subquery gives is typed in it.
            Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_) | Expr::Exists(_) => None,
            other => Some(format!("`{other}`")),
        };
        match refused {
            None => Ok(TreeNodeRecursion::Continue),
            Some(what) => plan_err!("{what} does not take JSON: CAST(… AS …) says what the value is"),
        }
    })?;
    Ok(told.data)
}

/// What a node would do with JSON that has no meaning.
pub fn refuse(node: &LogicalPlan, typer: &Typer) -> Result<()> {
    match node {
        LogicalPlan::Sort(sort) => match sort.expr.iter().find(|key| typer.is_json(&key.expr)) {
            Some(key) => plan_err!("JSON values have no order: ORDER BY CAST({} AS …) says what they are", key.expr),
            None => Ok(()),
        },
        LogicalPlan::Join(join) if join.on.iter().any(|(one, other)| typer.is_json(one) != typer.is_json(other)) => {
            plan_err!("JSON is no key beside another type: CAST(… AS …) says what the value is")
        }
        LogicalPlan::Union(union) => {
            let kinds =
                |input: &LogicalPlan| input.schema().fields().iter().map(|field| is_json(field)).collect::<Vec<_>>();
            let mut inputs = union.inputs.iter().map(|input| kinds(input));
            let first = inputs.next();
            match inputs.all(|kinds| Some(&kinds) == first.as_ref()) {
                true => Ok(()),
                false => plan_err!("UNION takes no JSON beside another type: CAST(… AS …) says what the value is"),
            }
        }
        _ => Ok(()),
    }
}

/// A key that rows are grouped by: equal values have one spelling.
pub fn key(expr: Expr, typer: &Typer) -> Expr {
    if typer.is_json(&expr) && !Typer::is_norm(&expr) { call(Op::Norm, false, vec![expr]) } else { expr }
}

fn reads_json(part: &Expr, typer: &Typer) -> Result<bool> {
    let mut reads = false;
    part.apply_children(|child| {
        reads |= typer.is_json(child);
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(reads)
}
