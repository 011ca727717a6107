//! Questions about what happened, in the words of pipelines: what is cast to an integer, divided, or seen in a zone there is so here.
//!
//! | in a question | is what it is in a pipeline |
//! |---|---|
//! | a decimal or float `CAST` to an integer | rounded; a value that does not fit is an error (`TRY_CAST`: NULL) |
//! | `/` of decimals | its last digit is rounded |
//! | `lpad`, `rpad` to a length below zero | an empty text |
//! | `AT TIME ZONE` | the same instant, with the clocks of the zone |
//! | JSON | what it is there (`asked_json`) |
//!
//! A row of a pipeline that fails is dead, and the others go on. A question has no place for such a row: it fails as a whole. Types stay
//! what DataFusion makes of the question, and so do the names of its columns.

use arrow::{
    datatypes::{DataType, FieldRef},
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema, Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast, expr::ScalarFunction,
        expr_rewriter::NamePreserver, utils::merge_schema,
    },
};

use crate::{
    asked_json, failures,
    functions::{JsonFunction, Op, call},
    typer::{Typer, padded},
};

/// The same question, answered by the rules of pipelines.
pub fn as_in_pipelines(question: LogicalPlan) -> Result<LogicalPlan> {
    let json = asked_json::has_json(&question)?;
    let asked = question.transform_up_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let (names, typer) = (NamePreserver::new(&node), Typer { schema: &schema });
        if json {
            return of_json(node, &names, &typer);
        }
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let asked = expr.transform_up(|part| as_in_a_pipeline(part, &typer))?;
            Ok(asked.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(asked.data)
}

/// The same where a table has JSON: what it is beside others is typed first, and changes the types of what is above.
fn of_json(node: LogicalPlan, names: &NamePreserver, typer: &Typer) -> Result<Transformed<LogicalPlan>> {
    let keys = match &node {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
        _ => 0,
    };
    asked_json::refuse(&node, typer)?;
    let mut place = 0;
    let asked = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let asked = expr.transform_up(|part| {
            asked_json::typed(part, typer)?.transform_data(|part| as_in_a_pipeline(part, typer))
        })?;
        let is_key = place < keys;
        place += 1;
        let told = asked_json::told_and_audited(asked.data, typer)?;
        let told = if is_key { asked_json::key(told, typer) } else { told };
        Ok(Transformed::yes(name.restore(told)))
    })?;
    asked.map_data(LogicalPlan::recompute_schema)
}

fn as_in_a_pipeline(part: Expr, typer: &Typer) -> Result<Transformed<Expr>> {
    let from = |expr: &Expr| expr.get_type(typer.schema).unwrap_or(DataType::Null);
    let has_fraction = |from: DataType| from.is_floating() || from.is_decimal();
    Ok(match part {
        Expr::Cast(Cast { expr, field }) if field.data_type().is_integer() && has_fraction(from(&expr)) => {
            Transformed::yes(told(Op::RowCast(field.data_type().clone()), true, vec![*expr]))
        }
        Expr::TryCast(TryCast { expr, field }) if field.data_type().is_integer() && has_fraction(from(&expr)) => {
            Transformed::yes(told(Op::RowCast(field.data_type().clone()), false, vec![*expr]))
        }
        Expr::Cast(Cast { expr, field }) => match (from(&expr), field.data_type()) {
            (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(zone))) => {
                let there = typer.at_zone(*expr, zone, true)?;
                Transformed::yes(Expr::Cast(Cast::new_from_field(Box::new(there), field)))
            }
            _ => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
            Transformed::yes(match typer.quotient(*left, *right) {
                Expr::ScalarFunction(ScalarFunction { func, args }) => {
                    match func.inner().downcast_ref::<JsonFunction>() {
                        Some(quotient) => told(quotient.op.clone(), true, args),
                        None => Expr::ScalarFunction(ScalarFunction { func, args }),
                    }
                }
                divided => divided,
            })
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => Transformed::yes(padded(func, args)),
        other => Transformed::no(other),
    })
}

fn told(op: Op, strict: bool, args: Vec<Expr>) -> Expr {
    match call(op, strict, args) {
        Expr::ScalarFunction(ScalarFunction { func, args }) if strict => {
            let told = func.inner().downcast_ref::<JsonFunction>().cloned().map(Told);
            let func = told.map_or(func, |told| ScalarUDF::new_from_impl(told).into());
            Expr::ScalarFunction(ScalarFunction { func, args })
        }
        other => other,
    }
}

/// A function whose first failed row is the error of the question.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Told(pub JsonFunction);

impl ScalarUDFImpl for Told {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mark = failures::mark();
        let values = self.0.invoke_with_args(call);
        match failures::since(mark).into_iter().next() {
            Some(failure) => Err(match failure.reason.slug.as_str() {
                "division-by-zero" => ArrowError::DivideByZero,
                "overflow" => ArrowError::ArithmeticOverflow(failure.reason.detail),
                _ => ArrowError::CastError(failure.reason.detail),
            })?,
            None => values,
        }
    }
}
