//! What a source may leave out: what the `WHERE` right behind it is known to filter.
//!
//! Only comparisons of a column with a constant are told to the source, from the front of the condition up to the first part that is
//! something else: what comes before it cannot fail, so no row is dead that is counted as filtered. Nothing is told where left-out rows
//! would be missed: by a watermark, by a contract, by a ledger of all rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use sqlparser::ast::{BinaryOperator, Expr};
use syncline_connectors::typed::{
    Pruning,
    pruning::{Bound, Test},
};
use syncline_dsl::plan::{Plan, StepKind};
use syncline_functions::{Planner, Predicate};

/// What the source of a plan is told.
pub fn pruning(plan: &Plan, planner: &Planner) -> Option<Arc<Pruning>> {
    let source = &plan.source;
    let told = source.typed && source.event_time.is_none() && !plan.options.ledger_all;
    let StepKind::Where { predicate, groups: false, .. } = &plan.flow.first().filter(|_| told)?.kind else {
        return None;
    };
    let fields: Vec<Field> =
        source.fields.iter().map(|field| field.kind.field(&field.name)).collect::<Option<Vec<_>>>()?;
    let mut bounds = Vec::new();
    leading(&planner.parse(predicate).ok()?, &Columns { fields: &fields, planner }, &mut bounds);
    (!bounds.is_empty()).then(|| Arc::new(Pruning { bounds, fields }))
}

struct Columns<'a> {
    fields: &'a [Field],
    planner: &'a Planner,
}

/// Adds the bounds of the comparisons at the front; false when something else follows.
fn leading(condition: &Expr, columns: &Columns, bounds: &mut Vec<Bound>) -> bool {
    match condition {
        Expr::Nested(inner) => leading(inner, columns, bounds),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            leading(left, columns, bounds) && leading(right, columns, bounds)
        }
        other => match columns.bounds(other) {
            Some(found) => {
                bounds.extend(found);
                true
            }
            None => false,
        },
    }
}

impl Columns<'_> {
    /// What one comparison says; `None` when it is none of a column with a constant.
    fn bounds(&self, comparison: &Expr) -> Option<Vec<Bound>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq};
        match comparison {
            Expr::IsNull(inner) => Some(vec![self.bound(inner, Test::NoneNull)?]),
            Expr::IsNotNull(inner) => Some(vec![self.bound(inner, Test::AllNull)?]),
            Expr::Between { expr, negated: false, low, high } => {
                let mut both = self.compared(expr, &GtEq, low)?;
                both.extend(self.compared(expr, &LtEq, high)?);
                Some(both)
            }
            Expr::BinaryOp { left, op, right } if is_constant(right) => self.compared(left, op, right),
            Expr::BinaryOp { left, op, right } if is_constant(left) => {
                let turned = match op {
                    Gt => Lt,
                    GtEq => LtEq,
                    Lt => Gt,
                    LtEq => GtEq,
                    Eq => Eq,
                    _ => return None,
                };
                self.compared(right, &turned, left)
            }
            _ => None,
        }
    }

    fn compared(&self, column: &Expr, op: &BinaryOperator, constant: &Expr) -> Option<Vec<Bound>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq};
        if !is_constant(constant) {
            return None;
        }
        let test = |op: BinaryOperator| self.predicate(column, op, constant);
        let tests = match op {
            Gt => vec![Test::Highest(test(LtEq)?)],
            GtEq => vec![Test::Highest(test(Lt)?)],
            Lt => vec![Test::Lowest(test(GtEq)?)],
            LtEq => vec![Test::Lowest(test(Gt)?)],
            Eq => vec![Test::Lowest(test(Gt)?), Test::Highest(test(Lt)?)],
            _ => return None,
        };
        let tests = tests.into_iter().chain([Test::AllNull]);
        tests.map(|test| self.bound(column, test)).collect()
    }

    fn bound(&self, column: &Expr, test: Test) -> Option<Bound> {
        let field = self.field(column)?;
        Some(Bound { column: field.name().clone(), kind: field.data_type().clone(), test })
    }

    /// A column that can be compared as it is. Of floats no footer knows whether there is a NaN among them.
    fn field(&self, column: &Expr) -> Option<&Field> {
        let Expr::Identifier(name) = column else { return None };
        let field = self.fields.iter().find(|field| *field.name() == name.value)?;
        let plain = field.data_type().is_integer()
            || matches!(
                field.data_type(),
                DataType::Utf8View | DataType::Date32 | DataType::Decimal128(..) | DataType::Timestamp(..)
            );
        (plain && !syncline_functions::is_json(field)).then_some(field)
    }

    /// The comparison as the engine itself makes it, of one column.
    fn predicate(&self, column: &Expr, op: BinaryOperator, constant: &Expr) -> Option<Predicate> {
        let schema = Schema::new(vec![self.field(column)?.clone()]);
        let comparison = Expr::BinaryOp { left: Box::new(column.clone()), op, right: Box::new(constant.clone()) };
        let scope = DFSchema::try_from(schema.clone()).ok()?;
        let typed = self.planner.expr(&comparison, &scope).ok()?;
        Predicate::new(self.planner, typed, &schema).ok()
    }
}

/// A literal, also with a sign or a type before it.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString { .. } => true,
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_constant(expr),
        Expr::Cast { expr, .. } => is_constant(expr),
        _ => false,
    }
}
