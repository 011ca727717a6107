//! `UNNEST(array)` inside of a `SELECT` or `EXTEND`: one row per element.
//!
//! The arrays are taken apart by a step of their own in front of the list, which then reads their elements from hidden columns. So
//! an `UNNEST` cannot stand where its value may not be asked for: in a `CASE`, behind `AND` or `OR`, in `coalesce`.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Function, Ident, ObjectNamePart, VisitMut, visit_expressions};
use syncline_functions::element_field;
use syncline_syntax::Span;

use super::{RESOLVED, Resolver, columns_of, null, printed, shorthand::arguments};
use crate::{
    message::{expressions as say, rows as say_rows},
    scope::{ScopeColumn, output_field, same_name},
};

/// The arrays that a list takes apart: the hidden column of the elements, and the SQL of the array.
pub(crate) type Arrays = Vec<(String, String)>;

const UNNEST: &str = "unnest";

/// How the columns of elements are called, before their array: no name without quotes is like this, and a message that says it is read.
pub(super) const ELEMENTS: &str = "element of ";

pub(super) fn is_unnest(function: &Function) -> Option<&Ident> {
    match &function.name.0[..] {
        [ObjectNamePart::Identifier(name)] if name.value.eq_ignore_ascii_case(UNNEST) => Some(name),
        _ => None,
    }
}

/// The `UNNEST` in a part of an expression that is not always computed.
pub(super) fn maybe_unnested(expr: &Expr) -> Option<Ident> {
    let lazy = match expr {
        Expr::Case { .. } => true,
        Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => true,
        Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("coalesce"),
        _ => false,
    };
    let found = visit_expressions(expr, |part| match part {
        Expr::Function(function) if lazy => {
            is_unnest(function).cloned().map_or(ControlFlow::Continue(()), ControlFlow::Break)
        }
        _ => ControlFlow::Continue(()),
    });
    found.break_value()
}

impl Resolver<'_, '_> {
    /// The column of the elements, in place of the call.
    pub(super) fn unnested(&mut self, function: &Function, name: &Ident) -> Expr {
        let place = self.walk.place_of(name.span, self.whole);
        let made = match arguments(function).as_deref() {
            Some([array]) => self.elements((*array).clone(), place),
            _ => {
                self.walk.say(say_rows::one_array(place));
                None
            }
        };
        match made {
            Some(column) => Expr::Identifier(Ident { value: column, quote_style: Some(RESOLVED), span: name.span }),
            None => {
                self.broken = true;
                null()
            }
        }
    }

    fn elements(&mut self, mut array: Expr, place: Span) -> Option<String> {
        let arrays = self.rows.take();
        let _ = VisitMut::visit(&mut array, self);
        self.rows = arrays;
        if self.broken {
            return None;
        }
        let schema = self.scope.schema_of(&columns_of(&array))?;
        let planner = self.walk.world.planner;
        let Some((sql, ast)) = printed(planner, &array) else {
            self.walk.say(say::not_read_back(place));
            return None;
        };
        let typed = match planner.expr(&ast, &schema) {
            Ok(typed) => typed,
            Err(error) => {
                self.walk.say(say::other(place, &error.to_string()));
                return None;
            }
        };
        let Ok(element) = element_field(typed.field()) else {
            self.walk.say(say_rows::no_elements(place, &syncline_functions::sql_type_of(typed.field())));
            return None;
        };
        let taken = |name: &str| self.scope.columns.iter().any(|column| same_name(column.name(), name));
        let named = |number: usize| match number {
            1 => format!("{ELEMENTS}{sql}"),
            number => format!("{ELEMENTS}{sql} {number}"),
        };
        let column = (1..).map(named).find(|name| !taken(name))?;
        let beside_key = self.scope.keyed.is_some();
        let made = ScopeColumn::hidden(output_field(&column, &element));
        self.scope.columns.push(ScopeColumn { beside_key, ..made });
        self.rows.as_deref_mut()?.push((column.clone(), sql));
        Some(column)
    }
}
