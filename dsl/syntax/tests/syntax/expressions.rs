//! Where an expression ends, and what its tree says.

use sqlparser::ast::Expr;
use syncline_syntax::ast::{Item, SqlExpr, Statement, Step, StepKind};
use syncline_syntax::{parse, render};

fn steps(source: &str) -> Vec<Step> {
    let (mut file, said) = parse(source);
    assert_eq!(render(&said, "a.sync", source, false), "");
    match file.statements.remove(0) {
        Statement::Pipeline(pipeline) => pipeline.flow.steps,
        other => panic!("{other:?}"),
    }
}

fn selected(items: &str) -> Vec<SqlExpr> {
    let source = format!("PIPELINE p AS\nFROM a.b\n|> SELECT {items};");
    let StepKind::Select(select) = steps(&source).remove(0).kind else { panic!("no SELECT") };
    let expr = |item| match item {
        Item::Expr(named) => named.expr,
        Item::Wildcard(wildcard) => panic!("{wildcard:?}"),
    };
    select.items.into_iter().map(expr).collect()
}

#[test]
fn user_is_a_column_wherever_it_stands() {
    let kinds: Vec<&str> = selected("user, user.login, i.user.login, i.user['login'], lower(user)")
        .iter()
        .map(|expr| match &expr.ast {
            Expr::Identifier(_) => "name",
            Expr::CompoundIdentifier(_) => "path",
            Expr::CompoundFieldAccess { .. } => "field",
            Expr::Function(call) if call.args.to_string() == "(user)" => "call of a name",
            _ => "something else",
        })
        .collect();
    assert_eq!(kinds, ["name", "path", "path", "field", "call of a name"]);
}

#[test]
fn words_of_sql_are_fields_behind_a_dot() {
    let text: Vec<String> =
        selected("a.end, a.case, a.select, a.interval, a.from, path, date, type, \"AS\", a.by AS by, a.in AS list")
            .iter()
            .map(|expr| expr.ast.to_string())
            .collect();
    assert_eq!(
        text,
        ["a.end", "a.case", "a.select", "a.interval", "a.from", "path", "date", "type", "\"AS\"", "a.by", "a.in"]
    );
}

#[test]
fn an_expression_keeps_what_belongs_to_it() {
    let source = "a BETWEEN 1 AND 2, b IS NOT DISTINCT FROM c, CASE WHEN x THEN y ELSE z END, CAST(a AS INT), d IN (1, 2), \
                  INTERVAL '1 hour', 'it''s, |> here', e -- a comment, with a comma\n + 1, f::DECIMAL(12, 2), SUM(a) FILTER (WHERE b)";
    let text: Vec<String> = selected(source).into_iter().map(|expr| expr.text).collect();
    assert_eq!(
        text,
        [
            "a BETWEEN 1 AND 2",
            "b IS NOT DISTINCT FROM c",
            "CASE WHEN x THEN y ELSE z END",
            "CAST(a AS INT)",
            "d IN (1, 2)",
            "INTERVAL '1 hour'",
            "'it''s, |> here'",
            "e -- a comment, with a comma\n + 1",
            "f::DECIMAL(12, 2)",
            "SUM(a) FILTER (WHERE b)",
        ]
    );
}

#[test]
fn words_of_clauses_may_be_columns() {
    let source = "PIPELINE p AS FROM a.b |> DEDUP BY within WITHIN '1 hour' KEEP LAST BY keep \
                  |> UPSERT INTO a.b KEY (key) SEQUENCE BY key DELETE WHEN key IS NULL AND key = 'key';";
    let mut steps = steps(source);
    let StepKind::Upsert(upsert) = steps.remove(1).kind else { panic!("no UPSERT") };
    let StepKind::Dedup(dedup) = steps.remove(0).kind else { panic!("no DEDUP") };
    let text = |expr: Option<SqlExpr>| expr.map(|expr| expr.text).unwrap_or_default();
    assert_eq!(
        [
            text(dedup.by.into_iter().next()),
            text(dedup.keep.and_then(|keep| keep.by)),
            text(upsert.sequence_by),
            text(upsert.delete_when)
        ],
        ["within", "keep", "key", "key IS NULL AND key = 'key'"]
    );
}

#[test]
fn the_places_in_sqlparsers_tree_are_those_of_the_file() {
    let exprs = selected("id, total + 'é' || rest");
    let Expr::BinaryOp { right, .. } = &exprs[1].ast else { panic!("{:?}", exprs[1]) };
    let Expr::Identifier(rest) = right.as_ref() else { panic!("{right:?}") };
    assert_eq!((rest.span.start.line, rest.span.start.column), (3, 30));
}
