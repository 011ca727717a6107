//! `shop.sales.orders`: a name of three parts is the table `sales.orders` of the connection `shop`, called `orders` where nothing else is said.
//!
//! And `value ->> 'a' || 'b'` is `(value ->> 'a') || 'b'`, as in PostgreSQL: the parser takes it for a member of the name `ab`.

use std::ops::ControlFlow;

use datafusion::sql::{
    parser::Statement,
    sqlparser::ast::{
        BinaryOperator, Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
    },
};

use crate::catalog::CATALOG;

/// The statement with such names as a schema and a table.
pub fn joined(mut statement: Statement) -> Statement {
    match &mut statement {
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Names);
        }
        Statement::Explain(explain) => *explain.statement = joined((*explain.statement).clone()),
        _ => {}
    }
    statement
}

struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let parts: Option<Vec<Ident>> = name.0.iter().map(|part| part.as_ident().cloned()).collect();
        if let Some([place, rest @ ..]) = parts.as_deref()
            && rest.len() > 1
            && !place.value.eq_ignore_ascii_case(CATALOG)
            && let Some(last) = rest.last()
        {
            let table: Vec<String> = rest.iter().map(as_meant).collect();
            let table = Ident::with_quote('"', table.join("."));
            alias.get_or_insert_with(|| TableAlias { explicit: true, name: last.clone(), columns: vec![], at: None });
            *name = ObjectName([place.clone(), table].into_iter().map(ObjectNamePart::Identifier).collect());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow), right } = expr
            && is_concat(right)
        {
            let first = first(right);
            let name = std::mem::replace(first, null());
            let member = std::mem::replace(&mut **left, null());
            *first = Expr::BinaryOp { left: Box::new(member), op: op.clone(), right: Box::new(name) };
            let Expr::BinaryOp { right, .. } = expr else { return ControlFlow::Continue(()) };
            *expr = std::mem::replace(&mut **right, null());
        }
        ControlFlow::Continue(())
    }
}

/// What the first of several `||` begins with.
fn first(expr: &mut Expr) -> &mut Expr {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, .. } => first(left),
        other => other,
    }
}

fn is_concat(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::StringConcat, .. })
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// Without quotes, names are in lower case.
fn as_meant(part: &Ident) -> String {
    if part.quote_style.is_some() { part.value.clone() } else { part.value.to_lowercase() }
}
