//! Pipe syntax as plain SQL: `FROM runs |> WHERE run > 1 |> SELECT pipeline` is read as `SELECT pipeline FROM runs WHERE run > 1`.
//!
//! DataFusion plans a part of the steps, and gives `FROM t |> …` no columns. Here each step becomes a clause of the query before it
//! while SQL's own order of clauses allows that, so that aliases of tables stay visible as long as they do in pipe syntax; else what
//! is before it becomes a subquery. A step that has no plain form is refused by name.

use std::ops::ControlFlow;

use datafusion::{
    error::{DataFusionError, Result},
    sql::{
        parser::Statement,
        sqlparser::ast::{
            Assignment, AssignmentTarget, BinaryOperator, ExceptSelectItem, Expr, ExprWithAlias, GroupByExpr, Ident,
            Join, JoinOperator, LimitClause, Offset, OffsetRows, OrderBy, OrderByExpr, OrderByKind, PipeOperator,
            Query, ReplaceSelectElement, ReplaceSelectItem, Select, SelectFlavor, SelectItem, SetExpr, SetOperator,
            SetQuantifier, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
            helpers::attached_token::AttachedToken,
        },
    },
};

/// The statement with every pipe in it written out.
pub fn written_out(mut statement: Statement) -> Result<Statement> {
    match &mut statement {
        Statement::Statement(inner) => refusal(inner.visit(&mut Pipes))?,
        Statement::Explain(explain) => {
            let inner = written_out((*explain.statement).clone())?;
            *explain.statement = inner;
        }
        _ => {}
    }
    Ok(statement)
}

fn refusal(flow: ControlFlow<DataFusionError>) -> Result<()> {
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Pipes;

impl VisitorMut for Pipes {
    type Break = DataFusionError;

    // Inner queries come first, so that what is wrapped here is written out already.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        if let SetExpr::Select(select) = &mut *query.body
            && select.flavor == SelectFlavor::FromFirstNoSelect
        {
            select.projection = vec![all()];
            select.flavor = SelectFlavor::Standard;
        } else if query.pipe_operators.is_empty() {
            return ControlFlow::Continue(());
        }
        for step in std::mem::take(&mut query.pipe_operators) {
            if let Err(error) = apply(query, step) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }
}

fn all() -> SelectItem {
    SelectItem::Wildcard(WildcardAdditionalOptions::default())
}

/// Whether the query is `SELECT * FROM … WHERE …` and nothing else, so that it can take more clauses.
fn is_open(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.projection == [all()]
        && select.distinct.is_none()
        && !grouped
        && select.having.is_none()
}

/// Makes the query a subquery of `SELECT *`, under a name where it is given one. `WITH` stays outside.
fn wrap(query: &mut Query, alias: Option<Ident>) {
    let with = query.with.take();
    let inner = std::mem::replace(query, plain(SetExpr::Select(Box::new(select(vec![])))));
    query.with = with;
    let alias = alias.map(|name| TableAlias { explicit: true, name, columns: vec![], at: None });
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias, sample: None };
    if let SetExpr::Select(outer) = &mut *query.body {
        outer.from = vec![TableWithJoins { relation, joins: vec![] }];
    }
}

/// The select of a query that takes more clauses.
fn open(query: &mut Query) -> Result<&mut Select> {
    if !is_open(query) {
        wrap(query, None);
    }
    match &mut *query.body {
        SetExpr::Select(select) => Ok(select),
        other => Err(DataFusionError::Plan(format!("a pipe cannot begin with `{other}`"))),
    }
}

fn apply(query: &mut Query, step: PipeOperator) -> Result<()> {
    match step {
        PipeOperator::Where { expr } => {
            let select = open(query)?;
            select.selection = Some(match select.selection.take() {
                None => expr,
                Some(before) => Expr::BinaryOp {
                    left: Box::new(Expr::Nested(Box::new(before))),
                    op: BinaryOperator::And,
                    right: Box::new(Expr::Nested(Box::new(expr))),
                },
            });
        }
        PipeOperator::Select { exprs } => open(query)?.projection = exprs,
        PipeOperator::Extend { exprs } => open(query)?.projection.extend(exprs),
        PipeOperator::Set { assignments } => open(query)?.projection = vec![with_values(assignments)?],
        PipeOperator::Drop { columns } => open(query)?.projection = vec![without(columns)?],
        PipeOperator::As { alias } => wrap(query, Some(alias)),
        PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
            let values: Vec<ExprWithAlias> = full_table_exprs.into_iter().map(|value| value.expr).collect();
            let keys: Vec<ExprWithAlias> = group_by_expr.into_iter().map(|key| key.expr).collect();
            let select = open(query)?;
            select.group_by = GroupByExpr::Expressions(keys.iter().map(|key| key.expr.clone()).collect(), vec![]);
            select.projection = keys.into_iter().chain(values).map(item).collect();
        }
        PipeOperator::OrderBy { exprs } => order(query, exprs),
        PipeOperator::Limit { expr, offset } => {
            if query.limit_clause.is_some() || query.fetch.is_some() {
                wrap(query, None);
            }
            let offset = offset.map(|value| Offset { value, rows: OffsetRows::None });
            query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(expr), offset, limit_by: vec![] });
        }
        PipeOperator::Join(join) => add_join(query, join)?,
        PipeOperator::Union { set_quantifier, queries } => sets(query, SetOperator::Union, set_quantifier, queries),
        PipeOperator::Intersect { set_quantifier, queries } => {
            sets(query, SetOperator::Intersect, set_quantifier, queries);
        }
        PipeOperator::Except { set_quantifier, queries } => sets(query, SetOperator::Except, set_quantifier, queries),
        other => {
            let text = other.to_string();
            let word = text.split(' ').next().unwrap_or_default();
            let known = "SELECT, EXTEND, SET, DROP, WHERE, AGGREGATE … GROUP BY, ORDER BY, LIMIT, JOIN, AS, UNION, INTERSECT, EXCEPT";
            return Err(DataFusionError::Plan(format!("a query has no step `|> {word}`; its steps are {known}")));
        }
    }
    Ok(())
}

/// Rows keep an order through further steps only while it is the last thing said.
fn order(query: &mut Query, exprs: Vec<OrderByExpr>) {
    if query.limit_clause.is_some() || query.order_by.is_some() {
        wrap(query, None);
    }
    query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(exprs), interpolate: None });
}

/// A filter before a join that keeps all rows of the other side has to stay before it.
fn add_join(query: &mut Query, join: Join) -> Result<()> {
    use JoinOperator::{FullOuter, Right, RightAnti, RightOuter, RightSemi};
    let keeps = matches!(join.join_operator, Right(_) | RightOuter(_) | FullOuter(_) | RightSemi(_) | RightAnti(_));
    let filtered = matches!(&*query.body, SetExpr::Select(select) if select.selection.is_some());
    if keeps && filtered {
        wrap(query, None);
    }
    let select = open(query)?;
    match select.from.last_mut() {
        Some(last) => last.joins.push(join),
        None => select.from.push(TableWithJoins { relation: join.relation, joins: vec![] }),
    }
    Ok(())
}

fn sets(query: &mut Query, op: SetOperator, set_quantifier: SetQuantifier, queries: Vec<Query>) {
    if query.order_by.is_some() || query.limit_clause.is_some() {
        wrap(query, None);
    }
    for other in queries {
        let left = std::mem::replace(&mut query.body, Box::new(SetExpr::Select(Box::new(select(vec![])))));
        let right = Box::new(SetExpr::Query(Box::new(other)));
        *query.body = SetExpr::SetOperation { op, set_quantifier, left, right };
    }
}

/// `* REPLACE (a + 1 AS a)`
fn with_values(assignments: Vec<Assignment>) -> Result<SelectItem> {
    let element = |assignment: Assignment| match assignment.target {
        AssignmentTarget::ColumnName(name) => match name.0.last().and_then(|part| part.as_ident()) {
            Some(column) => Ok(Box::new(ReplaceSelectElement {
                expr: assignment.value,
                column_name: column.clone(),
                as_keyword: true,
            })),
            None => Err(DataFusionError::Plan(format!("`{name}` is no column that `|> SET` could change"))),
        },
        AssignmentTarget::Tuple(_) => Err(DataFusionError::Plan("`|> SET` takes one column at a time".to_owned())),
    };
    let items = assignments.into_iter().map(element).collect::<Result<_>>()?;
    let options = WildcardAdditionalOptions { opt_replace: Some(ReplaceSelectItem { items }), ..Default::default() };
    Ok(SelectItem::Wildcard(options))
}

/// `* EXCEPT (a, b)`
fn without(columns: Vec<Ident>) -> Result<SelectItem> {
    let mut columns = columns.into_iter();
    let first = columns.next().ok_or_else(|| DataFusionError::Plan("`|> DROP` names a column".to_owned()))?;
    let except = ExceptSelectItem { first_element: first, additional_elements: columns.collect() };
    Ok(SelectItem::Wildcard(WildcardAdditionalOptions { opt_except: Some(except), ..Default::default() }))
}

fn item(value: ExprWithAlias) -> SelectItem {
    match value.alias {
        Some(alias) => SelectItem::ExprWithAlias { expr: value.expr, alias },
        None => SelectItem::UnnamedExpr(value.expr),
    }
}

/// `SELECT *` from these tables.
fn select(from: Vec<TableWithJoins>) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: vec![],
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![all()],
        exclude: None,
        into: None,
        from,
        lateral_views: vec![],
        prewhere: None,
        selection: None,
        connect_by: vec![],
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        cluster_by: vec![],
        distribute_by: vec![],
        sort_by: vec![],
        having: None,
        named_window: vec![],
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

fn plain(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}
