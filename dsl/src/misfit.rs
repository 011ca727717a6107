//! Why an expression cannot be used, at the smallest part of it that has the mistake.

use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use sqlparser::ast::{BinaryOperator, Expr, Function, FunctionArguments, Spanned, Value, visit_expressions};
use syncline_functions::{ExprError, Form, Typed, sql_type_of};
use syncline_syntax::{Diagnostic, Span, ast::SqlExpr};

use crate::{expression::printed, message::expressions as say, walk::Walk};

/// Subexpressions that are tried one by one when the types of an expression do not fit.
const TRIED: usize = 200;

/// Arguments of `SUBSTRING(text)`, which SQL reads as a form of its own.
const SUBSTRING_OF_ONE: usize = 1;

impl Walk<'_> {
    /// The smallest part of the expression that has the mistake, with the types of its two sides where it has two.
    pub(crate) fn misfit(&self, error: ExprError, written: &SqlExpr, resolved: &Expr, schema: &DFSchema) -> Diagnostic {
        let mut parts: Vec<Expr> = Vec::new();
        let _ = visit_expressions(resolved, |part| {
            parts.push(part.clone());
            if parts.len() < TRIED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        // Innermost first: a part comes before what it is part of when sorted by length of its text.
        parts.sort_by_key(|part| part.to_string().len());
        let failing = parts.into_iter().find_map(|part| {
            let error = self.typed(&part, schema).err()?;
            matches!(error, ExprError::TypeMismatch { .. } | ExprError::Other { .. }).then_some((part, error))
        });
        let (part, error) = failing.unwrap_or((resolved.clone(), error));
        let span = self.place_of(part.span(), written.span);
        let message = error.to_string();
        match &part {
            Expr::Substring { substring_from: None, substring_for: None, .. } => {
                return self.wrong_call("substring", SUBSTRING_OF_ONE, self.call_around(span, written), &message);
            }
            Expr::Function(call) if matches!(error, ExprError::TypeMismatch { .. }) => {
                return self.wrong_call(&call.name.to_string(), given(call), span, &message);
            }
            _ => {}
        }
        if !matches!(error, ExprError::TypeMismatch { .. }) {
            return say::other(span, &message);
        }
        let beside = Beside::of(&part);
        let pairs = beside.pairs.iter().filter(|pair| beside.is_operator || !self.fits(pair, schema));
        let sides = pairs
            .into_iter()
            .find_map(|(left, right)| Some((self.side(left, written, schema)?, self.side(right, written, schema)?)));
        let Some((left, right)) = sides else { return say::type_mismatch(span, &message) };
        let numbers = beside.pairs.iter().filter_map(|(_, right)| self.side(right, written, schema));
        let numbers: Vec<say::Side> = numbers.filter(say::Side::is_number).collect();
        say::two_types(&left, &right, beside.equality.then_some(&numbers))
    }

    fn fits(&self, pair: &(&Expr, &Expr), schema: &DFSchema) -> bool {
        let side = |side: &Expr| Box::new(side.clone());
        let alone = Expr::BinaryOp { left: side(pair.0), op: BinaryOperator::Eq, right: side(pair.1) };
        self.typed(&alone, schema).is_ok()
    }

    /// `None` when no place of it is known.
    fn side(&self, side: &Expr, written: &SqlExpr, schema: &DFSchema) -> Option<say::Side> {
        let kind = self.typed(side, schema).ok().map(|typed| sql_type_of(typed.field()))?;
        let span = self.place_of(side.span(), written.span);
        let text = span.of(self.world.source).to_owned();
        (span != written.span).then(|| say::Side { text, literal: literal(side), span, kind })
    }

    /// A function that takes another number of arguments, or others.
    fn wrong_call(&self, name: &str, given: usize, span: Span, message: &str) -> Diagnostic {
        match self.world.planner.form(name) {
            Some(form) if !form.takes(given) => say::wrong_count(span, name, given, &form),
            Some(Form { written: Some(written), .. }) => {
                say::type_mismatch(span, message).help(format!("its form is {written}"))
            }
            _ => say::type_mismatch(span, message),
        }
    }

    /// The call whose argument a place is, where the parser kept no place of the call.
    fn call_around(&self, argument: Span, written: &SqlExpr) -> Span {
        let before = Span::new(written.span.start, argument.start).of(self.world.source);
        let after = Span::new(argument.end, written.span.end).of(self.world.source);
        match (before.to_ascii_lowercase().rfind("substring"), after.find(')')) {
            (Some(start), Some(end)) => Span::new(written.span.start + start, argument.end + end + 1),
            _ => argument,
        }
    }

    pub(crate) fn typed(&self, part: &Expr, schema: &DFSchema) -> Result<Typed, ExprError> {
        let planner = self.world.planner;
        let other = || ExprError::Syntax { message: String::new(), span: None };
        let (_, ast) = printed(planner, part).ok_or_else(other)?;
        planner.expr(&ast, schema)
    }
}

fn given(call: &Function) -> usize {
    match &call.args {
        FunctionArguments::List(list) => list.args.len(),
        _ => 0,
    }
}

/// The values that an expression puts side by side.
struct Beside<'e> {
    pairs: Vec<(&'e Expr, &'e Expr)>,
    /// An operator has one pair, and that does not fit.
    is_operator: bool,
    /// It asks only whether they are equal, so that text does as well as a number.
    equality: bool,
}

impl<'e> Beside<'e> {
    fn of(part: &'e Expr) -> Self {
        let (pairs, is_operator, equality): (Vec<(&Expr, &Expr)>, bool, bool) = match part {
            Expr::BinaryOp { left, op, right } => {
                (vec![(left, right)], true, matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq))
            }
            Expr::Between { expr, low, high, .. } => (vec![(expr, low), (expr, high)], false, false),
            Expr::InList { expr, list, .. } => (list.iter().map(|item| (&**expr, item)).collect(), false, true),
            Expr::Case { operand: Some(operand), conditions, .. } => {
                (conditions.iter().map(|branch| (&**operand, &branch.condition)).collect(), false, true)
            }
            _ => (Vec::new(), false, false),
        };
        Self { pairs, is_operator, equality }
    }
}

/// The constant that a side is.
fn literal(side: &Expr) -> Option<say::Literal> {
    let Expr::Value(value) = side else { return None };
    Some(match &value.value {
        Value::SingleQuotedString(text) => say::Literal::Text(text.clone()),
        Value::Number(..) => say::Literal::Number,
        _ => return None,
    })
}
