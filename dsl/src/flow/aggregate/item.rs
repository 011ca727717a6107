//! What is aggregated: calls are taken out of an expression, keys are named, and nothing else may be left.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, ObjectNamePart, Spanned, VisitMut, VisitorMut};
use syncline_functions::{ExprError, Planner, is_json, sql_type};
use syncline_syntax::{Span, ast::SqlExpr};

use super::{CallColumn, Key};
use crate::{
    expression::{RESOLVED, columns_of, printed},
    message::aggregate::{self as say, GroupBy},
    scope::Scope,
    walk::Walk,
};

impl Walk<'_> {
    /// The expression over keys and answers. `None`: what is wrong with it has been said.
    pub(super) fn item(
        &mut self,
        written: &SqlExpr,
        scope: &mut Scope,
        (keys, group_by): (Option<&[Key]>, GroupBy),
        calls: &mut Vec<CallColumn>,
    ) -> Option<Expr> {
        let resolved = self.resolve(written, scope, None)?;
        let schema = scope.schema_of(&columns_of(&resolved))?;
        let mut rest = resolved.clone();
        let mut split = Split { planner: self.world.planner, schema: &schema, keys, calls, problem: None };
        let _ = rest.visit(&mut split);
        match split.problem {
            None => Some(rest),
            Some(Problem::NotGrouped(place, json)) => {
                let place = self.place_of(place, written.span);
                // `user['login']`: the place of a text in brackets ends before them.
                let bracket = self.world.source[place.end..].starts_with(']');
                let place = Span::new(place.start, place.end + usize::from(bracket));
                let text = if place == written.span { &written.text } else { place.of(self.world.source) };
                self.say(say::not_grouped(place, text, json, group_by));
                None
            }
            Some(Problem::Nothing) => None,
            Some(Problem::Refused(ExprError::NotRepeatable { function })) => {
                self.say(say::depends_on_order(written.span, &function));
                None
            }
            Some(Problem::Refused(error)) => {
                self.refuse(error, written, &resolved, &schema);
                None
            }
        }
    }
}

enum Problem {
    Refused(ExprError),
    /// Where it is, and whether it is JSON, which has no order.
    NotGrouped(sqlparser::tokenizer::Span, bool),
    /// The keys did not compile, so what is grouped is not known.
    Nothing,
}

struct Split<'s> {
    planner: &'s Planner,
    schema: &'s datafusion::common::DFSchema,
    keys: Option<&'s [Key]>,
    calls: &'s mut Vec<CallColumn>,
    problem: Option<Problem>,
}

impl VisitorMut for Split<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // What is put in is not looked at again: it is an identifier without a place.
        if let Expr::Identifier(name) = expr
            && name.span == sqlparser::tokenizer::Span::empty()
            && name.quote_style == Some(RESOLVED)
        {
            return ControlFlow::Continue(());
        }
        let text = expr.to_string();
        if let Some(key) = self.keys.unwrap_or_default().iter().find(|key| key.written == text) {
            *expr = column(&key.name);
            return ControlFlow::Continue(());
        }
        // A field of a column is told as a whole: the column would be another key.
        if let Expr::CompoundFieldAccess { root, .. } = &*expr
            && let Some(name) = column_name(root)
        {
            self.problem = Some(self.not_grouped(expr.span(), name));
            return ControlFlow::Break(());
        }
        let problem = match expr {
            Expr::Function(function) if self.is_call(&function.name.0) => match self.take(expr) {
                Ok(answer) => {
                    *expr = answer;
                    return ControlFlow::Continue(());
                }
                Err(error) => Problem::Refused(error),
            },
            Expr::Identifier(name) if name.quote_style == Some(RESOLVED) => self.not_grouped(name.span, &name.value),
            _ => return ControlFlow::Continue(()),
        };
        self.problem = Some(problem);
        ControlFlow::Break(())
    }
}

impl Split<'_> {
    fn not_grouped(&self, place: sqlparser::tokenizer::Span, column: &str) -> Problem {
        let json = self.schema.field_with_unqualified_name(column).is_ok_and(|field| is_json(field));
        if self.keys.is_some() { Problem::NotGrouped(place, json) } else { Problem::Nothing }
    }

    fn is_call(&self, name: &[ObjectNamePart]) -> bool {
        matches!(name, [ObjectNamePart::Identifier(name)] if self.planner.is_aggregate(&name.value))
    }

    /// The column of a call's answers, in the type that the user sees.
    fn take(&mut self, expr: &Expr) -> Result<Expr, ExprError> {
        let unread = || ExprError::Other { message: "this call has no plain form in SQL".to_owned() };
        let (sql, read) = printed(self.planner, expr).ok_or_else(unread)?;
        let known = self.calls.iter().position(|call| call.sql == sql);
        let at = match known {
            Some(at) => at,
            None => {
                let call = self.planner.aggregate(&read, self.schema)?;
                let mut name = sql.clone();
                while self.keys.unwrap_or_default().iter().any(|key| key.name == name) {
                    name.push('_');
                }
                self.calls.push(CallColumn { name, sql, call });
                self.calls.len() - 1
            }
        };
        let call = &self.calls[at];
        let answer = column(&call.name);
        let Some(to) = call.call.narrow() else { return Ok(answer) };
        let mut cast = self.planner.parse(&format!("CAST(x AS {})", sql_type(to)))?;
        if let Expr::Cast { expr, .. } = &mut cast {
            **expr = answer;
        }
        Ok(cast)
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) if name.quote_style == Some(RESOLVED) => Some(&name.value),
        _ => None,
    }
}

fn column(name: &str) -> Expr {
    Expr::Identifier(Ident {
        value: name.to_owned(),
        quote_style: Some(RESOLVED),
        span: sqlparser::tokenizer::Span::empty(),
    })
}
