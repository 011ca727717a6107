//! SQL text to a tree, and the repairs that a tree needs before DataFusion reads it.
//!
//! Three readings are traps for what real data has: `user` is read as the function `USER`, `t.user.id` as a field of that function's
//! answer, and `-x` and `NOT x` ask for the type of `x` before a JSON value can say that it is a number or a boolean.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{
        AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
        ObjectName, ObjectNamePart, UnaryOperator, visit_expressions, visit_expressions_mut,
    },
    dialect::PostgreSqlDialect,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use crate::{
    ExprError, TextSpan,
    functions::{NEGATE, NOT},
};

/// Words that the dialect reads as functions without parentheses, and that here are names.
const NAMES: [&str; 4] = ["user", "current_user", "session_user", "current_catalog"];

/// Levels that `sqlparser` may go down, far more than the language lets through: where it meets its limit it goes back and tries another
/// reading, twice as many for each level.
const LEVELS: usize = 1000;

/// Parses one whole expression.
pub fn parse(sql: &str) -> Result<Expr, ExprError> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_recursion_limit(LEVELS).try_with_sql(sql).map_err(syntax)?;
    let expr = parser.parse_expr().map_err(syntax)?;
    let next = parser.next_token();
    if next.token == Token::EOF {
        return Ok(expr);
    }
    let (start, end) = (next.span.start, next.span.end);
    let span = TextSpan { start_line: start.line, start_col: start.column, end_line: end.line, end_col: end.column };
    Err(ExprError::Syntax { message: format!("expected the end of the expression, found {next}"), span: Some(span) })
}

fn syntax(error: ParserError) -> ExprError {
    let (ParserError::TokenizerError(text) | ParserError::ParserError(text)) = error else {
        return ExprError::Syntax { message: "nested too deeply".to_owned(), span: None };
    };
    let (message, place) =
        text.split_once(" at Line: ").map_or((&*text, None), |(message, place)| (message, Some(place)));
    let span = place.and_then(|place| {
        let (line, column) = place.split_once(", Column: ")?;
        let (line, column) = (line.trim().parse().ok()?, column.trim().parse().ok()?);
        Some(TextSpan { start_line: line, start_col: column, end_line: line, end_col: column })
    });
    let mut message = message.trim().to_owned();
    if message.starts_with("Expected") {
        message = message.replacen("Expected: ", "expected ", 1).replacen("Expected", "expected", 1);
    }
    ExprError::Syntax { message, span }
}

/// The tree as DataFusion has to see it.
pub fn repaired(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    let _ = visit_expressions_mut(&mut expr, |node| {
        repair(node);
        ControlFlow::<()>::Continue(())
    });
    expr
}

fn repair(node: &mut Expr) {
    match node {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if !matches!(**expr, Expr::Value(_) | Expr::Interval(_)) => {
            *node = unary(NEGATE, expr);
        }
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => *node = Expr::Nested(expr.clone()),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => *node = unary(NOT, expr),
        Expr::Function(function) => {
            if let Some(name) = plain_name(function) {
                *node = Expr::Identifier(name);
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let Some(mut names) = names_of(root) else { return };
            let mut rest = std::mem::take(access_chain).into_iter().peekable();
            while let Some(AccessExpr::Dot(part)) = rest.peek() {
                let Some(more) = names_of(part) else { break };
                names.extend(more);
                rest.next();
            }
            let base =
                if names.len() == 1 { Expr::Identifier(names.remove(0)) } else { Expr::CompoundIdentifier(names) };
            let rest: Vec<AccessExpr> = rest.collect();
            *node = match rest.is_empty() {
                true => base,
                false => Expr::CompoundFieldAccess { root: Box::new(base), access_chain: rest },
            };
        }
        _ => {}
    }
}

fn names_of(expr: &Expr) -> Option<Vec<Ident>> {
    match expr {
        Expr::Identifier(name) => Some(vec![name.clone()]),
        Expr::CompoundIdentifier(names) => Some(names.clone()),
        Expr::Function(function) => plain_name(function).map(|name| vec![name]),
        _ => None,
    }
}

/// The name, when a function without parentheses is one of [`NAMES`].
fn plain_name(function: &Function) -> Option<Ident> {
    let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else { return None };
    let is_name = NAMES.iter().any(|one| name.value.eq_ignore_ascii_case(one));
    (is_name && matches!(function.args, FunctionArguments::None)).then(|| name.clone())
}

fn unary(function: &str, operand: &Expr) -> Expr {
    let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(operand.clone()));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(function)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Refuses subqueries and functions that do not exist.
pub fn check(expr: &Expr, exists: impl Fn(&str) -> bool) -> Result<(), ExprError> {
    let walk = visit_expressions(expr, |node| match node {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            ControlFlow::Break(ExprError::NotHere { what: "a subquery".to_owned() })
        }
        Expr::Function(function) => match &function.name.0[..] {
            [ObjectNamePart::Identifier(name)] if !exists(&name.value) => {
                ControlFlow::Break(ExprError::NoSuchFunction { name: name.value.clone() })
            }
            _ => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    });
    match walk {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The error with the place of the name that does not resolve, where the planner has lost it.
pub fn located(error: ExprError, expr: &Expr) -> ExprError {
    let ExprError::NoSuchColumn { name, span: None } = error else { return error };
    let walk = visit_expressions(expr, |node| {
        let names = names_of(node).unwrap_or_default();
        let text: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
        match (names.first(), names.last()) {
            (Some(first), Some(last)) if text.join(".") == name || last.value == name => {
                ControlFlow::Break((first.span.start, last.span.end))
            }
            _ => ControlFlow::Continue(()),
        }
    });
    let span = match walk {
        ControlFlow::Break((start, end)) if start.line > 0 => {
            Some(TextSpan { start_line: start.line, start_col: start.column, end_line: end.line, end_col: end.column })
        }
        _ => None,
    };
    ExprError::NoSuchColumn { name, span }
}
