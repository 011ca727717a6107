//! SQL expressions: where one ends, and `sqlparser`'s tree of it.
//!
//! The extent is ours: up to a comma, a bracket that closes, the end of the piece or a word of the clause around it.
//! `sqlparser` gets the tokens with their lines and columns in the file, so that its spans and its errors point there.
//! Two things are put right on the way: a word behind a dot is a field whatever SQL uses it for, and `user` is a
//! column, not the function USER.

use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser as SqlParser, ParserError};
use sqlparser::tokenizer::{Location, Token as SqlToken, TokenWithSpan, Tokenizer};

use super::{Parser, Read};
use crate::ast::{ColumnType, SqlExpr};
use crate::dialect::{Dialect, LIMIT_REACHED};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;

/// Levels that `sqlparser` may go down: brackets are bounded already, each costs it about two.
const LEVELS: usize = 400;

/// Tokens between two commas, along the way down. Operators in a row make a tree as deep as they are many, and it is
/// walked by recursion wherever it goes: 600 are more than hand and generator write, and safe on a small stack.
const LONGEST_RUN: usize = 600;

/// Brackets, signs in front, NOTs, dots and subscripts, one inside of the other. Unlike operators in a row each is a level of every walk, without a look at
/// the stack that is left: 60 of some kinds were too many for 1 MiB, 130 for 2 MiB, in a build without optimisation.
const DEEPEST: usize = 48;

/// `ARRAY<ARRAY<…`, `TABLE(a TABLE(…`: each level costs `sqlparser` 20 KB of stack that it does not guard.
const NESTED_TYPES: usize = 8;

/// Words, each list a phrase, that end an expression in the clause where it stands.
pub(super) type Stops = &'static [&'static [&'static str]];

/// Tokens between two commas or brackets, and the levels of the chain at their end.
#[derive(Clone, Copy, Default)]
struct Run {
    tokens: usize,
    chain: usize,
}

enum Link {
    Level,
    Part,
    New,
}

impl Parser<'_> {
    /// Reads the expression that begins here.
    pub(super) fn expression(&mut self, stops: Stops, place: &str) -> Read<SqlExpr> {
        let (start, from) = (self.here(), self.at);
        let to = self.expression_end(stops);
        if to == from {
            return self.expected("an expression", place);
        }
        self.at = to;
        let span = start.to(self.behind());
        self.measure(from, to, span)?;
        let tokens = self.sql_tokens(from, span)?;
        let ends: Vec<Location> = tokens.iter().map(|token| token.span.start).collect();
        let dialect = Dialect::with_budget_for(tokens.len());
        let mut sql = SqlParser::new(&dialect).with_recursion_limit(LEVELS).with_tokens_with_locations(tokens);
        let ast = match sql.parse_expr() {
            Ok(ast) => ast,
            Err(error) => return self.sql_error(error, span, place),
        };
        match sql.peek_token().token {
            SqlToken::EOF => Ok(SqlExpr { ast, span, text: span.of(self.source).to_string() }),
            _ => {
                let left = ends.get(sql.index()).copied();
                self.sql_left_over(left, span, stops, place)
            }
        }
    }

    pub(super) fn column_type(&mut self, stops: Stops, place: &str) -> Read<ColumnType> {
        let (start, from) = (self.here(), self.at);
        let to = self.expression_end(stops);
        if to == from {
            return self.expected("a type", place);
        }
        self.at = to;
        let span = start.to(self.behind());
        self.measure(from, to, span)?;
        let tokens = self.sql_tokens(from, span)?;
        let dialect = Dialect::with_budget_for(tokens.len());
        let mut sql = SqlParser::new(&dialect).with_recursion_limit(LEVELS).with_tokens_with_locations(tokens);
        match sql.parse_data_type() {
            Ok(ast) if sql.peek_token().token == SqlToken::EOF => Ok(ColumnType { ast, span }),
            _ => self.report(mistake::not_a_type(span, span.of(self.source))),
        }
    }

    /// The first token that is no more part of the expression.
    fn expression_end(&self, stops: Stops) -> usize {
        let mut at = self.at;
        let mut cases = 0usize;
        while at < self.end {
            match self.kind(at) {
                Some(Kind::Comma | Kind::Close) => break,
                Some(Kind::Word) if cases == 0 && self.stops_at(at, stops) => break,
                _ => {}
            }
            if !self.is_field(at) {
                cases += usize::from(self.is(at, "CASE"));
                cases = cases.saturating_sub(usize::from(self.is(at, "END")));
            }
            at = self.next(at);
        }
        at.min(self.end)
    }

    /// A stop word ends an expression only where one can end: not as its first word, not behind what still waits for one.
    fn stops_at(&self, at: usize, stops: Stops) -> bool {
        at > self.at && self.ends_operand(at - 1) && stops.iter().any(|stop| self.is_phrase(at, stop))
    }

    pub(super) fn is_field(&self, at: usize) -> bool {
        at > 0 && self.kind(at - 1) == Some(Kind::Dot)
    }

    /// Refuses what would make a tree too deep to walk (see `LONGEST_RUN`), and queries, which are steps here.
    fn measure(&mut self, from: usize, to: usize, span: Span) -> Read<()> {
        let mut runs = vec![Run::default()];
        let (mut total, mut levels, mut types) = (0usize, 0usize, 0usize);
        for at in from..to {
            let word = !self.is_field(at) && self.kind(at) == Some(Kind::Word);
            let opens = self.kind(at) == Some(Kind::Open) || word && self.is(at, "CASE");
            let closes = self.kind(at) == Some(Kind::Close) || word && self.is(at, "END");
            let parts = self.kind(at) == Some(Kind::Comma) || word && (self.is(at, "WHEN") || self.is(at, "THEN"));
            if closes && runs.len() > 1 || parts {
                let run = runs.pop().unwrap_or_default();
                (total, levels) = (total - run.tokens, levels - run.chain);
            }
            if opens || runs.is_empty() || parts {
                runs.push(Run::default());
            }
            if let Some(run) = runs.last_mut() {
                run.tokens += 1;
                total += 1;
                let before = run.chain;
                match self.link(at) {
                    Link::Level => run.chain += 1,
                    Link::Part => {}
                    Link::New => run.chain = 0,
                }
                levels = levels + run.chain - before;
            }
            if word && self.is(at, "SELECT") {
                let select = self.tokens[at].span;
                return self.report(mistake::subquery(select));
            }
            types += usize::from(word && self.nests_types(at));
            if types > NESTED_TYPES || total > LONGEST_RUN || runs.len() + levels > DEEPEST {
                return self.report(mistake::too_long(span));
            }
        }
        Ok(())
    }

    /// What a token does to the chain of dots, subscripts, signs in front and NOTs in which it stands.
    fn link(&self, at: usize) -> Link {
        match self.kind(at) {
            Some(Kind::Dot) => Link::Level,
            // Behind a subscript the chain goes on, and each of them is a level.
            Some(Kind::Close) => Link::Level,
            Some(Kind::Word) if !self.is_field(at) && self.is(at, "NOT") => Link::Level,
            Some(Kind::Word) if !self.is_field(at) && (self.is(at, "AND") || self.is(at, "OR")) => Link::New,
            Some(Kind::Operator) if at > 0 && self.ends_operand(at - 1) => Link::New,
            Some(Kind::Operator) => Link::Level,
            _ => Link::Part,
        }
    }

    fn nests_types(&self, at: usize) -> bool {
        self.is(at, "ARRAY") && self.is_sign(at + 1, "<") || self.is(at, "TABLE") && self.is_sign(at + 1, "(")
    }

    /// `sqlparser`'s tokens of the span, placed in the file. Comments and odd spaces between ours are blanks to it.
    fn sql_tokens(&mut self, from: usize, span: Span) -> Read<Vec<TokenWithSpan>> {
        let mut text = String::with_capacity(span.end - span.start);
        let mut done = span.start;
        for token in self.tokens[from..self.at].iter() {
            let gap = self.source.get(done..token.span.start).unwrap_or("");
            text.extend(gap.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            text.push_str(token.span.of(self.source));
            done = token.span.end;
        }
        let (line, column) = self.lines.place(span.start);
        let dialect = Dialect::with_budget_for(0);
        let mut tokens = match Tokenizer::new(&dialect, &text).tokenize_with_location() {
            Ok(tokens) => tokens,
            Err(error) => {
                let place = self.byte(moved(error.location, line, column)).unwrap_or(span.start);
                let seen = self.word_around(place, span);
                return self.report(mistake::not_sql(seen, seen.of(self.source)));
            }
        };
        tokens.retain(|token| !matches!(token.token, SqlToken::Whitespace(_)));
        let mut behind_dot = false;
        for index in 0..tokens.len() {
            let called = tokens.get(index + 1).is_some_and(|next| next.token == SqlToken::LParen);
            let token = &mut tokens[index];
            token.span.start = moved(token.span.start, line, column);
            token.span.end = moved(token.span.end, line, column);
            if let SqlToken::Word(word) = &mut token.token
                && (behind_dot || word.keyword == Keyword::USER && !called)
            {
                word.keyword = Keyword::NoKeyword;
            }
            behind_dot = token.token == SqlToken::Period;
        }
        Ok(tokens)
    }

    fn byte(&self, location: Location) -> Option<usize> {
        self.lines.byte(usize::try_from(location.line).ok()?, usize::try_from(location.column).ok()?)
    }

    /// The token of ours that a place is in, else the place itself.
    fn word_around(&self, place: usize, span: Span) -> Span {
        let index = self.tokens.partition_point(|token| token.span.end <= place);
        match self.tokens.get(index) {
            Some(token) if token.span.start < span.end => token.span,
            _ => Span::at(span.end),
        }
    }

    fn sql_error<T>(&mut self, error: ParserError, span: Span, place: &str) -> Read<T> {
        let message = match error {
            ParserError::RecursionLimitExceeded => return self.report(mistake::too_long(span)),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        };
        if message.contains(LIMIT_REACHED) {
            return self.report(mistake::too_long(span));
        }
        let (message, location) = without_location(&message);
        let seen = location.and_then(|location| self.byte(location)).map_or(Span::at(span.end), |byte| {
            if byte < span.start { Span::at(span.end) } else { self.word_around(byte, span) }
        });
        let wanted = message.strip_prefix("Expected: ").and_then(|rest| rest.split(", found: ").next());
        self.report(mistake::sql(seen, seen.of(self.source), wanted, place))
    }

    /// The expression was complete before its end: a word of the clause misspelt, or an AS forgotten.
    fn sql_left_over<T>(&mut self, left: Option<Location>, span: Span, stops: Stops, place: &str) -> Read<T> {
        let byte = left.and_then(|location| self.byte(location)).unwrap_or(span.end);
        let left = self.word_around(byte, span);
        let seen = left.of(self.source);
        let clauses: Vec<&str> = stops.iter().map(|stop| stop[0]).collect();
        let last = left.end == span.end;
        self.report(if mistake::is_near_any(seen, &clauses) {
            mistake::misspelt(left, seen, &clauses, &format!("a part of {place}"))
        } else if last && clauses.contains(&"AS") && mistake::is_name(seen) {
            mistake::forgot_as(left, seen)
        } else {
            mistake::left_over(left, seen, "the expression", &[])
        })
    }
}

/// From a place in the expression's text to a place in the file.
fn moved(at: Location, line: usize, column: usize) -> Location {
    let (line, column) = (line as u64, column as u64);
    match at.line {
        1 => Location::new(line, at.column + column - 1),
        other => Location::new(line + other - 1, at.column),
    }
}

/// `sqlparser` writes the place behind its message.
fn without_location(message: &str) -> (&str, Option<Location>) {
    let Some((text, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        let (line, column) = (line.trim().parse().ok()?, column.trim().parse().ok()?);
        (line > 0).then(|| Location::new(line, column))
    });
    (text, location)
}
