//! Where DataFusion asks, while it reads SQL, what an operator or a type name means.
//!
//! It asks for operands' types early (`INTERVAL` arithmetic, `||`, unnesting), so JSON operands get their types here already; the
//! typer, which runs over the whole expression afterwards, leaves what is typed as it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{Column, DFSchema, Result, TableReference, plan_err},
    logical_expr::{
        BinaryExpr, Expr, GetFieldAccess, Operator, lit,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, TypePlanner},
    },
};
use sqlparser::ast::{BinaryOperator, DataType as SqlType};

use crate::{
    functions::{Op, call},
    is_json, json_field,
    sqltype::TIMESTAMP,
    typer::Typer,
};

/// Operators and accesses on JSON values.
#[derive(Debug)]
pub struct JsonPlanner;

pub fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::StringConcat => Operator::StringConcat,
        _ => return None,
    })
}

/// What an operator is made of was typed when it was asked for: once more at each level above would be a long chain's square.
fn operand(typer: &Typer, expr: Expr) -> Result<Expr> {
    if matches!(expr, Expr::BinaryExpr(_)) { Ok(expr) } else { typer.type_all(expr) }
}

impl ExprPlanner for JsonPlanner {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let typer = Typer { schema };
        let (left, right) = (operand(&typer, raw.left)?, operand(&typer, raw.right)?);
        match operator(&raw.op) {
            Some(op) if typer.is_json(&left) || typer.is_json(&right) => {
                let node = BinaryExpr::new(Box::new(left), op, Box::new(right));
                Ok(PlannerResult::Planned(typer.binary(node)?))
            }
            _ => Ok(PlannerResult::Original(RawBinaryExpr { op: raw.op, left, right })),
        }
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let typer = Typer { schema };
        let base = typer.type_all(raw.expr)?;
        if !typer.is_json(&base) {
            return Ok(PlannerResult::Original(RawFieldAccessExpr { expr: base, field_access: raw.field_access }));
        }
        Ok(PlannerResult::Planned(member(&typer, base, raw.field_access, |key| typer.type_all(key))?))
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(members(field, qualifier, names))
    }
}

/// What stands in a JSON value under a name or a place; `typed`: what is made of a place before.
pub(crate) fn member(
    typer: &Typer<'_>,
    base: Expr,
    access: GetFieldAccess,
    typed: impl FnOnce(Expr) -> Result<Expr>,
) -> Result<Expr> {
    let key = match access {
        GetFieldAccess::NamedStructField { name } => Expr::Literal(name, None),
        GetFieldAccess::ListIndex { key } => typed(*key)?,
        GetFieldAccess::ListRange { .. } => return plan_err!("a JSON value has no ranges"),
    };
    // A name that is itself JSON is its text.
    let key = if typer.is_json(&key) { call(Op::Text, false, vec![key]) } else { key };
    Ok(call(Op::Get, false, vec![base, key]))
}

/// What stands in a JSON column under names, one in the other; another column is left alone.
pub(crate) fn members(field: &Field, qualifier: Option<&TableReference>, names: &[String]) -> PlannerResult<Vec<Expr>> {
    if !is_json(field) {
        return PlannerResult::Original(Vec::new());
    }
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let path = names.iter().map(|name| lit(name.as_str()));
    PlannerResult::Planned(call(Op::Get, false, [column].into_iter().chain(path).collect()))
}

/// The type names `JSON`, `BYTES` and `TIMESTAMP` (microseconds, UTC).
#[derive(Debug)]
pub struct JsonTypes;

impl TypePlanner for JsonTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        Ok(match sql_type {
            SqlType::JSON | SqlType::JSONB => Some(Arc::new(json_field(""))),
            SqlType::Timestamp(..) => Some(Arc::new(Field::new("", TIMESTAMP, true))),
            SqlType::Bytes(_) => Some(Arc::new(Field::new("", DataType::Binary, true))),
            _ => None,
        })
    }
}
