//! From an expression of the file to one of the plan: names become columns, aliases go, and the rest is typed.
//!
//! The text in a plan is what the planner was given, read back from that very text, so that who reads the plan later types the
//! same. A name that does not resolve is reported where it stands; an expression that reads something broken is not judged.

mod rows;
mod shorthand;

use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use sqlparser::{
    ast::{
        AccessExpr, Expr, Function, Ident, ObjectNamePart, Subscript, Value, VisitMut, VisitorMut, visit_expressions,
    },
    keywords::{
        ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER,
        RESERVED_FOR_TABLE_ALIAS,
    },
};
use syncline_functions::{ExprError, Planner, Typed};
use syncline_syntax::{Span, ast::SqlExpr};

use crate::{
    message::{expressions as say, names as say_names, rows as say_rows, shorthand as say_shorthand},
    scope::{Found, Joined, Scope, same_name},
    walk::Walk,
};

pub(crate) use rows::Arrays;
pub(crate) use shorthand::way_back;

/// An expression that compiled.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// As the plan has it.
    pub sql: String,
    pub typed: Typed,
    /// The name of its column, when nothing else is said: the column's own, else the text as written.
    pub name: String,
}

/// The quote that marks a name as one of a batch, until it is printed. No name of the file has it: it opens none in this dialect.
pub(crate) const RESOLVED: char = '`';

/// Levels of an expression with what its names stand for. The parser lets 48 of brackets and signs through; `IS NULL`, `::INT` and their like
/// behind each other are levels too, and each level is one of every walk, without a look at the stack that is left.
const MOST_LEVELS: usize = 64;

impl Walk<'_> {
    /// Compiles an expression over the columns of `scope`. `None` when it does not: that has been said, or follows from
    /// something that has.
    pub fn read(&mut self, written: &SqlExpr, scope: &mut Scope) -> Option<Reading> {
        self.read_with(written, scope, None)
    }

    /// The same in the list of a `SELECT` or `EXTEND`, where an `UNNEST` may make rows.
    pub fn read_item(&mut self, written: &SqlExpr, scope: &mut Scope, arrays: &mut Arrays) -> Option<Reading> {
        self.read_with(written, scope, Some(arrays))
    }

    fn read_with(&mut self, written: &SqlExpr, scope: &mut Scope, rows: Option<&mut Arrays>) -> Option<Reading> {
        let resolved = self.resolve(written, scope, rows)?;
        let schema = scope.schema_of(&columns_of(&resolved))?;
        let planner = self.world.planner;
        let Some((sql, ast)) = printed(planner, &resolved) else {
            self.say(say::not_read_back(written.span));
            return None;
        };
        match planner.expr(&ast, &schema) {
            Ok(typed) => {
                let name = typed_name(&resolved, written, scope);
                Some(Reading { sql, typed, name })
            }
            Err(ExprError::NotRepeatable { function }) => {
                let span = self.function_place(&function, written);
                let instead = self.instead_of(&function, span, scope);
                self.say(say::not_repeatable(span, &function, instead));
                None
            }
            Err(error) => {
                self.refuse(error, written, &resolved, &schema);
                None
            }
        }
    }

    pub(crate) fn resolve(&mut self, written: &SqlExpr, scope: &mut Scope, rows: Option<&mut Arrays>) -> Option<Expr> {
        self.nulls(written);
        let mut ast = written.ast.clone();
        let mut resolver = Resolver {
            walk: self,
            scope,
            whole: written.span,
            broken: false,
            parameters: Vec::new(),
            parts_left: shorthand::MOST_PARTS,
            levels: Vec::new(),
            rows,
        };
        let _ = ast.visit(&mut resolver);
        if resolver.broken { None } else { Some(ast) }
    }

    /// The place in the file of a part of an expression; of the whole where the parser kept none.
    pub fn place_of(&self, part: sqlparser::tokenizer::Span, whole: Span) -> Span {
        let byte = |at: sqlparser::tokenizer::Location| {
            self.world.lines.byte(usize::try_from(at.line).ok()?, usize::try_from(at.column).ok()?)
        };
        match (byte(part.start), byte(part.end)) {
            (Some(start), Some(end)) if start < end && whole.start <= start && end <= whole.end => {
                Span::new(start, self.closed(start, end, whole.end))
            }
            _ => whole,
        }
    }

    /// The end of a part with the brackets that it opens: the parser's place of a call ends before its last one.
    fn closed(&self, start: usize, end: usize, most: usize) -> usize {
        let (Some(part), Some(rest)) = (self.world.source.get(start..end), self.world.source.get(end..most)) else {
            return end;
        };
        let open = part.matches('(').count().saturating_sub(part.matches(')').count());
        end + rest.bytes().take(open).take_while(|byte| *byte == b')').count()
    }

    pub(crate) fn refuse(&mut self, error: ExprError, written: &SqlExpr, resolved: &Expr, schema: &DFSchema) {
        let said = match error {
            ExprError::NoSuchFunction { name } => {
                let span = self.function_place(&name, written);
                say::no_such_function(span, &name, &self.world.planner.function_names())
            }
            ExprError::NotRepeatable { function } => {
                say::not_repeatable(self.function_place(&function, written), &function, None)
            }
            ExprError::ManyRows { function } => say::many_rows(self.function_place(&function, written), &function),
            ExprError::NotHere { what } => say::not_here(self.not_here_place(&what, written), &what),
            ExprError::TypeMismatch { .. } | ExprError::Other { .. } => self.misfit(error, written, resolved, schema),
            ExprError::NoSuchColumn { name, .. } => say::other(written.span, &format!("there is no column {name}")),
            ExprError::Syntax { message, .. } => say::other(written.span, &message),
        };
        self.say(said);
    }

    /// Where a function is called, by its name.
    fn function_place(&self, name: &str, written: &SqlExpr) -> Span {
        let call = |function: &Function| match function.name.0.last() {
            Some(ObjectNamePart::Identifier(last)) if last.value.eq_ignore_ascii_case(name) => Some(last.span),
            _ => None,
        };
        let found = visit_expressions(&written.ast, |part| match part {
            Expr::Function(function) => call(function).map_or(ControlFlow::Continue(()), ControlFlow::Break),
            _ => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(span) => self.place_of(span, written.span),
            ControlFlow::Continue(()) => written.span,
        }
    }

    /// What gives the same answer on a replay, in the place of a call that asks the clock.
    fn instead_of(&self, function: &str, name: Span, scope: &Scope) -> Option<(Span, &'static str)> {
        scope.columns.iter().find(|column| column.name() == "_ingested_at")?;
        let instead = match function {
            "now" | "current_timestamp" | "localtimestamp" => "_ingested_at",
            "current_date" | "today" => "CAST(_ingested_at AS DATE)",
            _ => return None,
        };
        let rest = self.world.source.get(name.end..)?;
        let end = match rest.trim_start().strip_prefix('(') {
            Some(arguments) => self.world.source.len() - arguments.trim_start().strip_prefix(')')?.len(),
            None => name.end,
        };
        Some((Span::new(name.start, end), instead))
    }

    fn not_here_place(&self, what: &str, written: &SqlExpr) -> Span {
        match what.rsplit(' ').next() {
            Some(name) => self.function_place(name, written),
            None => written.span,
        }
    }
}

/// The name of an expression's column without `AS`.
pub(crate) fn typed_name(resolved: &Expr, written: &SqlExpr, scope: &Scope) -> String {
    match resolved {
        Expr::Identifier(name) if !name.value.starts_with(rows::ELEMENTS) => scope.bare(&name.value).to_owned(),
        _ => one_line(&written.text),
    }
}

/// The columns that a resolved expression reads. With them alone an expression costs what it says, however wide the rows are.
pub(crate) fn columns_of(resolved: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    let _ = visit_expressions(resolved, |part| {
        if let Expr::Identifier(name) = part {
            names.push(name.value.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    names
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces the names of one expression by those of the batch.
struct Resolver<'r, 'w> {
    walk: &'r mut Walk<'w>,
    scope: &'r mut Scope,
    whole: Span,
    broken: bool,
    /// Of the `FUNCTION` whose text this is, with what was given for them.
    parameters: Vec<(String, Expr)>,
    /// Parts that may still be put in place of names.
    parts_left: usize,
    /// For each expression around the one at hand whether it is a level: operators in a row are none.
    levels: Vec<bool>,
    /// Arrays that are taken apart, where that is possible.
    rows: Option<&'r mut Arrays>,
}

impl VisitorMut for Resolver<'_, '_> {
    type Break = ();

    fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        self.levels.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.levels.push(!matches!(expr, Expr::BinaryOp { .. }));
        if self.levels.iter().filter(|is_level| **is_level).count() > MOST_LEVELS {
            return match self.broken {
                true => ControlFlow::Break(()),
                false => self.stop(say_shorthand::too_deep(self.whole, MOST_LEVELS)),
            };
        }
        if let Some(name) = rows::maybe_unnested(expr).filter(|_| self.rows.is_some()) {
            return self.stop(say_rows::unnest_maybe(self.walk.place_of(name.span, self.whole)));
        }
        match expr {
            Expr::Identifier(name) if name.quote_style != Some(RESOLVED) => {
                *expr = self.column(&name.clone());
            }
            Expr::CompoundIdentifier(names) => {
                let names = std::mem::take(names);
                *expr = self.path(names, Vec::new());
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let Some((names, rest)) = self.names_in_front(root, access_chain) {
                    *expr = self.path(names, rest);
                }
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                return self.refuse(self.whole, "a subquery");
            }
            Expr::Function(function) => {
                let function = function.clone();
                if let Some(name) = rows::is_unnest(&function) {
                    if self.rows.is_none() {
                        return self.stop(say_rows::unnest_not_here(self.walk.place_of(name.span, self.whole)));
                    }
                    *expr = self.unnested(&function, name);
                } else if let Some(body) = self.called(&function) {
                    *expr = body;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Resolver<'_, '_> {
    fn refuse(&mut self, span: Span, what: &str) -> ControlFlow<()> {
        self.stop(say::not_here(span, what))
    }

    fn stop(&mut self, said: syncline_syntax::Diagnostic) -> ControlFlow<()> {
        self.walk.say(said);
        self.broken = true;
        ControlFlow::Break(())
    }

    /// The names that a chain of accesses begins with, and what comes behind them.
    fn names_in_front(&self, root: &Expr, chain: &[AccessExpr]) -> Option<(Vec<Ident>, Vec<AccessExpr>)> {
        let mut names = match root {
            Expr::Identifier(name) if name.quote_style != Some(RESOLVED) => vec![name.clone()],
            Expr::CompoundIdentifier(names) => names.clone(),
            _ => return None,
        };
        let fields = chain.iter().map_while(|access| match access {
            AccessExpr::Dot(Expr::Identifier(name)) => Some(name.clone()),
            _ => None,
        });
        let fields: Vec<Ident> = fields.collect();
        let rest = chain[fields.len()..].to_vec();
        names.extend(fields);
        Some((names, rest))
    }

    /// `alias.column.field.field`, or without the alias.
    fn path(&mut self, mut names: Vec<Ident>, rest: Vec<AccessExpr>) -> Expr {
        let table = self.scope.joined(&names[0].value).filter(|_| names.len() > 1).cloned();
        let aliased = table.is_some() || names.len() > 1 && self.scope.is_alias(&names[0].value);
        let alias = aliased.then(|| names.remove(0));
        if names.len() > 1
            && matches!(self.scope.find(&names[0].value), Found::Nothing)
            && let Some((alias, select)) = self.scope.ended_alias.clone()
            && same_name(&alias, &names[0].value)
        {
            let place = self.walk.place_of(names[0].span, self.whole);
            self.walk.say(say_names::ended_alias(place, &alias, select));
            self.broken = true;
            return null();
        }
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return null() };
        let mut root = match &table {
            Some(table) => self.of_table(table, &first),
            None => self.column(&first),
        };
        // What is cast is `o.total`, not what stands behind the point.
        if let (Some(alias), Expr::Identifier(column)) = (alias, &mut root) {
            column.span = alias.span.union(&column.span);
        }
        let mut chain: Vec<AccessExpr> = names.map(|name| subscript(&name)).collect();
        chain.extend(rest.into_iter().map(|access| match access {
            AccessExpr::Dot(Expr::Identifier(name)) => subscript(&name),
            other => other,
        }));
        if chain.is_empty() || self.broken {
            root
        } else {
            self.walk.path_is_read(&root, &chain, self.whole, self.scope);
            Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain }
        }
    }

    fn of_table(&mut self, table: &Joined, name: &Ident) -> Expr {
        let place = self.walk.place_of(name.span, self.whole);
        let column = self.walk.joined_column(table, &name.value, place, self.scope);
        self.resolved(column, name)
    }

    fn column(&mut self, name: &Ident) -> Expr {
        let place = self.walk.place_of(name.span, self.whole);
        if let Some(value) = self.named_value(&name.value, place) {
            return value;
        }
        let column = self.walk.column(&name.value, place, self.scope);
        self.resolved(column, name)
    }

    fn resolved(&mut self, column: Option<String>, name: &Ident) -> Expr {
        match column {
            Some(column) => Expr::Identifier(Ident { value: column, quote_style: Some(RESOLVED), span: name.span }),
            None => {
                self.broken = true;
                null()
            }
        }
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

/// `.name` behind a column is a field of its value.
fn subscript(name: &Ident) -> AccessExpr {
    let key = Value::SingleQuotedString(name.value.clone());
    let index = Expr::Value(key.with_span(name.span));
    AccessExpr::Subscript(Subscript::Index { index })
}

/// The text of a resolved expression and what the planner reads from it. Names are quoted where they need it, and everywhere
/// when that is not enough for the text to come back as it is.
pub(crate) fn printed(planner: &Planner, resolved: &Expr) -> Option<(String, Expr)> {
    [false, true].into_iter().find_map(|always| {
        let mut ast = resolved.clone();
        let _ = ast.visit(&mut Printer { planner, always });
        let sql = ast.to_string();
        let read = planner.parse(&sql).ok()?;
        (read.to_string() == sql).then_some((sql, read))
    })
}

struct Printer<'p> {
    planner: &'p Planner,
    always: bool,
}

impl VisitorMut for Printer<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && name.quote_style == Some(RESOLVED)
        {
            let quoted = self.always || needs_quotes(self.planner, &name.value);
            name.quote_style = quoted.then_some('"');
        }
        ControlFlow::Continue(())
    }
}

/// A column's name as SQL.
pub(crate) fn column_sql(planner: &Planner, name: &str) -> String {
    let quote_style = needs_quotes(planner, name).then_some('"');
    Ident { value: name.to_owned(), quote_style, span: sqlparser::tokenizer::Span::empty() }.to_string()
}

/// Whether a bare name would be read as something else.
fn needs_quotes(planner: &Planner, name: &str) -> bool {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !begins || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return true;
    }
    // Of every column of every step this is asked: most are no word of SQL at all.
    let Ok(word) = ALL_KEYWORDS.binary_search(&name.to_ascii_uppercase().as_str()) else { return false };
    let word = ALL_KEYWORDS_INDEX[word];
    let reserved = [RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS, RESERVED_FOR_IDENTIFIER];
    if reserved.iter().any(|words| words.contains(&word)) || BETWEEN_OPERANDS.contains(&word) {
        return true;
    }
    !matches!(planner.parse(name), Ok(Expr::Identifier(read)) if read.value == name)
}

/// A name as it stands, which reads as itself.
pub(crate) fn is_plain(planner: &Planner, sql: &str) -> bool {
    !needs_quotes(planner, sql)
}

/// Words that mean something behind an operand or before one, so that a column of that name would change the reading.
const BETWEEN_OPERANDS: [Keyword; 27] = [
    Keyword::AND,
    Keyword::ALL,
    Keyword::ANY,
    Keyword::SOME,
    Keyword::AT,
    Keyword::BETWEEN,
    Keyword::CASE,
    Keyword::CAST,
    Keyword::COLLATE,
    Keyword::DISTINCT,
    Keyword::ELSE,
    Keyword::ESCAPE,
    Keyword::EXISTS,
    Keyword::FILTER,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::INTERVAL,
    Keyword::IS,
    Keyword::LIKE,
    Keyword::NOT,
    Keyword::NULL,
    Keyword::OR,
    Keyword::OVER,
    Keyword::OVERLAPS,
    Keyword::SIMILAR,
    Keyword::THEN,
    Keyword::WHEN,
];
