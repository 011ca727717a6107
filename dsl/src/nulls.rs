//! Comparisons with NULL, which are never true whatever the row holds: who writes one means `IS NULL`.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Spanned, Value, visit_expressions};
use syncline_syntax::{Span, ast::SqlExpr};

use crate::{message::expressions as say, walk::Walk};

impl Walk<'_> {
    /// Warns of `x = NULL` and `x <> NULL`.
    pub(crate) fn nulls(&mut self, written: &SqlExpr) {
        let mut found = Vec::new();
        let _ = visit_expressions(&written.ast, |part| {
            found.extend(with_null(part).map(|is| (part.clone(), is)));
            ControlFlow::<()>::Continue(())
        });
        for (part, is) in found {
            let Expr::BinaryOp { left, op, right } = &part else { continue };
            let (left, right) = (self.place_of(left.span(), written.span), self.place_of(right.span(), written.span));
            // Without places of its own it cannot be shown where to write something else.
            if left != written.span && right != written.span && left.end <= right.start {
                let span = left.to(right);
                self.say(say::equals_null(span, &op.to_string(), Span::new(left.end, right.end), is));
            }
        }
    }
}

/// What belongs in the place of a comparison with NULL on its right side.
fn with_null(part: &Expr) -> Option<&'static str> {
    let Expr::BinaryOp { op, right, .. } = part else { return None };
    let null = matches!(&**right, Expr::Value(value) if value.value == Value::Null);
    match op {
        BinaryOperator::Eq if null => Some("IS NULL"),
        BinaryOperator::NotEq if null => Some("IS NOT NULL"),
        _ => None,
    }
}
