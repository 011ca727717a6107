//! How deep a question may go.
//!
//! Whoever parses, plans and forgets a question does it by recursion, and a thread whose stack is over takes the process along, with its
//! pipelines. So a question is measured before it is parsed, and its plan before it is worked on: what goes deeper than [`STACK`] carries
//! is refused, and so is what would keep a thread for minutes, as nothing ends a question while it is planned.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::{
    common::tree_node::TreeNodeRecursion,
    logical_expr::LogicalPlan,
    sql::parser::Statement,
    sql::sqlparser::{
        ast::{ObjectName, Query, Visit, Visitor},
        dialect::{Dialect, GenericDialect, PostgreSqlDialect},
        keywords::Keyword,
        tokenizer::{Token, Tokenizer},
    },
};

use crate::QueryError;

/// The stack of threads that work on questions: what the limits here take in a build without optimisation, twice. Only what is used of
/// it is memory.
pub const STACK: usize = 64 << 20;

/// Operators that lie in each other: `1 + 1 + …`, brackets, branches of a `CASE`.
const OPERATORS: usize = 500;
/// Tables, joins, pipes and sets of a question.
const STEPS: usize = 400;
/// Tables and nodes of its plan, where what is named twice is there twice.
const NODES: usize = 2000;
/// Columns of all of them.
const COLUMNS: usize = 20_000;

/// What is between two brackets.
#[derive(Default)]
struct Level {
    is_case: bool,
    in_from: bool,
    /// `AND`s and `OR`s since the last comma: each is around those before it.
    logical: usize,
    /// Other operators and words since the last of those.
    others: usize,
}

impl Level {
    fn next(&mut self) {
        (self.logical, self.others) = (0, 0);
    }
}

/// Whether a question can be parsed. No bracket, chain or prefix makes a tree that is deeper than what is counted here.
pub fn shallow(sql: &str) -> Result<(), QueryError> {
    // As the parser of questions sees it, and as that of PostgreSQL's clients does. What has no tokens is not parsed.
    let dialects: [&dyn Dialect; 2] = [&GenericDialect {}, &PostgreSqlDialect {}];
    let mut seen = dialects.into_iter().filter_map(|dialect| Tokenizer::new(dialect, sql).tokenize().ok());
    seen.try_for_each(measured)
}

fn measured(tokens: Vec<Token>) -> Result<(), QueryError> {
    let (mut levels, mut steps, mut deep, mut deepest) = (vec![Level::default()], 0, 0, 0);
    for token in tokens {
        let Some(level) = levels.last_mut() else { break };
        let before = level.logical + level.others;
        let word = match &token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        let (mut opens, mut closes) = (false, false);
        match (&token, word) {
            (Token::Comma, _) => {
                steps += usize::from(level.in_from);
                level.next();
            }
            (_, Keyword::WHEN | Keyword::THEN | Keyword::ELSE) if level.is_case => level.next(),
            (_, Keyword::AND | Keyword::OR | Keyword::XOR) => (level.logical, level.others) = (level.logical + 1, 0),
            (Token::LParen | Token::LBracket | Token::LBrace, _) | (_, Keyword::CASE) => {
                level.others += 1;
                opens = true;
            }
            (Token::RParen | Token::RBracket | Token::RBrace, _) => closes = true,
            (_, Keyword::END) if level.is_case => closes = true,
            (Token::VerticalBarRightAngleBracket, _) => (level.in_from, steps) = (false, steps + 1),
            (_, Keyword::FROM | Keyword::JOIN) => (level.in_from, steps) = (true, steps + 1),
            (_, Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS) => steps += 1,
            (Token::Word(_), Keyword::NoKeyword) => {}
            (Token::Word(_), _) => {
                level.in_from &= !matches!(word, Keyword::WHERE | Keyword::GROUP | Keyword::ORDER | Keyword::SELECT);
                level.others += 1;
            }
            (Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_), _) => {}
            _ => level.others += 1,
        }
        deep = deep + level.logical + level.others - before;
        deepest = deepest.max(deep);
        if opens {
            levels.push(Level { is_case: word == Keyword::CASE, ..Level::default() });
        } else if closes && levels.len() > 1 {
            deep -= levels.pop().map_or(0, |level| level.logical + level.others);
        }
        if deepest > OPERATORS {
            return Err(QueryError::TooDeep { what: "operators in each other", most: OPERATORS });
        }
        if steps > STEPS {
            return Err(QueryError::TooDeep { what: "tables, joins and pipes", most: STEPS });
        }
    }
    Ok(())
}

/// Whether a statement can be planned. A `WITH` that is named twice is planned twice, and thirty that name the one before are a billion.
pub fn named(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(statement) => match statement.visit(&mut Named::default()) {
            ControlFlow::Break(()) => {
                Err(QueryError::TooDeep { what: "tables, with each WITH where it is named", most: NODES })
            }
            ControlFlow::Continue(()) => Ok(()),
        },
        Statement::Explain(explain) => named(&explain.statement),
        _ => Ok(()),
    }
}

/// Counts tables, with those of each `WITH` wherever it is named.
#[derive(Default)]
struct Named {
    /// Of the queries that this place is in.
    within: Vec<usize>,
    /// Queries of a `WITH`, by where they lie, with their names.
    begun: HashMap<*const Query, String>,
    known: HashMap<String, usize>,
}

impl Named {
    fn add(&mut self, tables: usize) -> ControlFlow<()> {
        let Some(all) = self.within.last_mut() else { return ControlFlow::Continue(()) };
        *all = all.saturating_add(tables);
        if *all > NODES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.within.push(1);
        for with in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.begun.insert(&raw const *with.query, with.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = self.within.pop().unwrap_or(1);
        match self.begun.remove(&std::ptr::from_ref(query)) {
            Some(name) => {
                self.known.insert(name, tables);
                ControlFlow::Continue(())
            }
            None => self.add(tables),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let last = name.0.last().and_then(|part| part.as_ident()).map(|part| part.value.to_lowercase());
        let tables = last.and_then(|name| self.known.get(&name).copied()).unwrap_or(1);
        self.add(tables)
    }
}

/// Whether a plan can be worked on.
pub fn small(plan: &LogicalPlan) -> Result<(), QueryError> {
    let (mut nodes, mut columns) = (0, 0);
    let counted = plan.apply_with_subqueries(|node| {
        (nodes, columns) = (nodes + 1, columns + node.schema().fields().len());
        Ok(if nodes > NODES || columns > COLUMNS { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    counted.map_err(|error| QueryError::Failed { detail: error.to_string() })?;
    match (nodes > NODES, columns > COLUMNS) {
        (true, _) => Err(QueryError::TooDeep { what: "steps in its plan", most: NODES }),
        (_, true) => Err(QueryError::TooDeep { what: "columns in all steps of its plan", most: COLUMNS }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> bool {
        matches!(shallow(sql), Err(QueryError::TooDeep { .. }))
    }

    #[test]
    fn what_lies_in_each_other_is_counted_and_what_lies_side_by_side_is_not() {
        let many = 100_000;
        for (name, sql) in [
            ("a list", format!("SELECT run IN ({}1) FROM runs", "1, ".repeat(many))),
            ("rows", format!("SELECT * FROM (VALUES {}(1, 2))", "(1, 'a' || 'b'), ".repeat(many))),
            ("branches", format!("SELECT CASE {} END", "WHEN a = 1 AND b THEN f(c) ".repeat(many))),
            ("columns", format!("SELECT {}1 FROM runs", "a + b AS c, ".repeat(many))),
            ("conditions", format!("FROM runs |> WHERE {}true", "a = 1 OR b IS NULL OR ".repeat(200))),
            ("selects", format!("SELECT 1, 2 FROM a {}", "UNION ALL SELECT 1, 2 FROM a ".repeat(190))),
            ("a text", format!("SELECT '{}'", "+(".repeat(many))),
        ] {
            assert!(!refused(&sql), "{name}");
        }
    }

    /// Each of these ended the process, or would have without a limit.
    #[test]
    fn no_question_is_deeper_than_a_stack() {
        let many = 2000;
        let nested = |open: &str, close: &str| format!("SELECT {}1{}", open.repeat(many), close.repeat(many));
        let chain = |start: &str, more: &str| format!("{start} {}", more.repeat(many));
        for sql in [
            nested("(", ")"),
            nested("[", "]"),
            nested("CASE WHEN a AND b THEN ", " END"),
            nested("CASE WHEN a, b THEN (c) ELSE ", " END"),
            nested("NOT ", ""),
            nested("- ", ""),
            nested("f(1, ", ")"),
            chain("SELECT 1", "+ 1"),
            chain("SELECT 1", "::INT"),
            chain("SELECT 1", "['a']"),
            chain("SELECT a", ".a"),
            chain("SELECT true", "AND (a, b) "),
            chain("SELECT 1", "IS NULL "),
            chain("SELECT 1 BETWEEN 1", "AND 1 BETWEEN 1 "),
            chain("EXPLAIN", "EXPLAIN "),
            chain("FROM runs", "|> LIMIT 1 "),
            chain("FROM runs", "|> SELECT a, b "),
            chain("SELECT 1, 1", "UNION SELECT 1, 1 "),
            chain("SELECT 1 FROM runs", ", runs "),
            chain("SELECT 1 FROM runs", "CROSS JOIN runs "),
            chain("SELECT 1 FROM runs", "NATURAL JOIN (runs) "),
            chain("WITH a AS (FROM runs)", ", a AS (FROM a)"),
        ] {
            assert!(refused(&sql), "{}", &sql[..60]);
        }
    }
}
