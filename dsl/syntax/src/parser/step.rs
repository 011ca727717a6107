//! Steps, each by its first word.

use super::expression::Stops;
use super::{Parser, Read, Said};
use crate::ast::{
    self, Aggregate, Arm, ArmRole, Assignment, Call, Dedup, Expect, Insert, Item, Keep, KeepWhich, NamedExpr, OnOrphan,
    OnViolation, OrderItem, Rename, Replace, Select, Shard, ShardInto, Step, StepKind, Target, Upsert, Wildcard,
};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;
use crate::words::STEPS;

const DEDUP: Stops = &[&["BY"], &["WITHIN"], &["KEEP", "FIRST"], &["KEEP", "LAST"], &["USING"]];
const UPSERT: Stops = &[&["KEY"], &["SEQUENCE", "BY"], &["DELETE", "WHEN"], &["IGNORE", "NULLS"], &["ON", "ORPHAN"]];
const REPLACE: Stops = &[&["PER"], &["SEQUENCE", "BY"]];
const EXPECT: Stops = &[&["AS"], &["ON", "VIOLATION"]];
const ITEM: Stops = &[&["AS"]];
const AGGREGATE: Stops = &[&["AS"], &["GROUP", "BY"]];
const ORDER: Stops = &[&["ASC"], &["DESC"], &["NULLS"]];

impl Parser<'_> {
    /// Reads the step that the piece is; `Broken` when it does not parse.
    pub(super) fn step(&mut self) -> Step {
        let start = self.here();
        let whole = start.to(self.tokens[self.end - 1].span);
        self.note_damage();
        let outer = std::mem::replace(&mut self.piece, start.start);
        let step = self.step_here(start, whole);
        self.piece = outer;
        step
    }

    fn step_here(&mut self, start: Span, whole: Span) -> Step {
        let Some(word) = self.step_word() else { return Step { kind: StepKind::Broken, keyword: start, span: whole } };
        self.at += 1;
        let kind = self.step_kind(word);
        let keyword = self.keyword_span(start);
        let kind = match kind {
            Ok(kind) => match self.nothing_left(word, clauses(word)) {
                Ok(()) => kind,
                Err(Said) => StepKind::Broken,
            },
            Err(Said) => StepKind::Broken,
        };
        Step { kind, keyword, span: whole }
    }

    /// `INSERT INTO`, `ORDER BY`, `LEFT JOIN`: the first word, with the one that belongs to it.
    fn keyword_span(&self, first: Span) -> Span {
        let at = self.tokens.partition_point(|token| token.span.start < first.start) + 1;
        let second = ["INTO", "BY", "JOIN", "STREAM"].iter().any(|word| self.is(at, word));
        if second { first.to(self.tokens[at].span) } else { first }
    }

    fn step_word(&mut self) -> Option<&'static str> {
        let span = self.here();
        let seen = self.text_at(self.at);
        let Some(word) = self.word(self.at) else {
            self.said.push(mistake::expected(span, seen, "a step", "`|>`"));
            return None;
        };
        if let Some(step) = STEPS.iter().find(|step| step.eq_ignore_ascii_case(word)) {
            return Some(step);
        }
        self.said.push(mistake::misspelt(span, word, &STEPS, "a step"));
        let near = crate::diagnostic::nearest(word, STEPS.iter().copied())?;
        STEPS.iter().find(|step| **step == near).copied()
    }

    fn step_kind(&mut self, word: &'static str) -> Read<StepKind> {
        Ok(match word {
            "WHERE" => StepKind::Where(self.expression(&[], word)?),
            "SELECT" => self.select()?,
            "EXTEND" => StepKind::Extend(self.some(word, |p| p.item(word))?),
            "SET" => StepKind::Set(self.some(word, |p| p.assignment())?),
            "DROP" => StepKind::Drop(self.some(word, |p| p.ident("a column", word))?),
            "RENAME" => StepKind::Rename(self.some(word, |p| p.rename())?),
            "AS" if self.take(&["STREAM"]).is_some() => StepKind::Stream(self.ident("a name", "AS STREAM")?),
            "AS" => StepKind::As(self.ident("a name", word)?),
            "DEDUP" => StepKind::Dedup(self.dedup()?),
            "SHARD" => StepKind::Shard(self.shard()?),
            "EXPECT" => StepKind::Expect(self.expect()?),
            "TEE" => StepKind::Tee(self.tail(word)?),
            "FORK" => StepKind::Fork(self.some(word, |p| p.tail(word))?),
            "INSERT" => StepKind::Insert(self.insert()?),
            "UPSERT" => StepKind::Upsert(self.upsert()?),
            "REPLACE" => StepKind::Replace(self.replace()?),
            "AGGREGATE" => StepKind::Aggregate(self.aggregate()?),
            "ORDER" => {
                self.need(&["BY"], "ORDER")?;
                StepKind::OrderBy(self.some("ORDER BY", |p| p.order_item())?)
            }
            "LIMIT" => {
                let count = self.expression(&[&["OFFSET"]], word)?;
                let offset = match self.take(&["OFFSET"]) {
                    Some(_) => Some(self.expression(&[], "OFFSET")?),
                    None => None,
                };
                StepKind::Limit { count, offset }
            }
            "UNION" => StepKind::Union(self.union()?),
            "LOOKUP" => StepKind::Join(self.join(ast::JoinKind::Lookup)?),
            "MATCH" => StepKind::Match(self.unread()),
            _ => {
                self.at -= 1;
                match self.join_words() {
                    Some(kind) => StepKind::Join(self.join(kind)?),
                    None => {
                        self.at += 1;
                        return self.expected("JOIN", word);
                    }
                }
            }
        })
    }

    fn select(&mut self) -> Read<StepKind> {
        let distinct = self.take(&["DISTINCT"]);
        if let Some(from) = self.second_from() {
            let (from, rest) = (self.tokens[from].span, self.all_from(from));
            return self.report(mistake::from_inside(from, rest));
        }
        let items = self.some("SELECT", |p| p.item("SELECT"))?;
        Ok(StepKind::Select(Select { distinct, items }))
    }

    /// A FROM as plain SQL has it, behind the columns. A column called so has no name behind it.
    fn second_from(&self) -> Option<usize> {
        let mut at = self.at;
        while at < self.end {
            let named = matches!(self.kind(at + 1), Some(Kind::Word | Kind::Quoted)) && !self.is(at + 1, "AS");
            let behind =
                self.kind(at - 1) == Some(Kind::Comma) || self.ends_operand(at - 1) || self.is_sign(at - 1, "*");
            if self.is(at, "FROM") && named && behind {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    /// From the comma before a FROM to the end of the step, where nothing but a source stands there.
    fn all_from(&self, from: usize) -> Option<Span> {
        let mut at = from + 2;
        while self.kind(at) == Some(Kind::Dot) {
            at += 2;
        }
        if self.is_sign(at, "(") {
            at = self.next(at);
        }
        at += if self.is(at, "AS") { 2 } else { 0 };
        let before = &self.tokens[from - 1];
        let start = if before.kind == Kind::Comma { before.span.start } else { before.span.end };
        (at == self.end).then(|| Span::new(start, self.tokens[self.end - 1].span.end))
    }

    fn item(&mut self, place: &str) -> Read<Item> {
        let name = matches!(self.kind(self.at), Some(Kind::Word | Kind::Quoted));
        let qualified = name && self.kind(self.at + 1) == Some(Kind::Dot) && self.is_sign(self.at + 2, "*");
        if !self.is_sign(self.at, "*") && !qualified {
            return Ok(Item::Expr(self.named(ITEM, place)?));
        }
        let start = self.here();
        let qualifier = if qualified { Some(self.ident("a name", place)?) } else { None };
        self.at += if qualified { 2 } else { 1 };
        let excluding = self.take(&["EXCLUDE"]).or_else(|| self.take(&["EXCEPT"])).is_some();
        let except = if excluding { self.columns("EXCLUDE")?.names } else { Vec::new() };
        if !self.done() && self.kind(self.at) != Some(Kind::Comma) {
            self.nothing_left("`*`", &["EXCLUDE", "EXCEPT"])?;
        }
        Ok(Item::Wildcard(Wildcard { qualifier, except, span: self.since(start) }))
    }

    fn named(&mut self, stops: Stops, place: &str) -> Read<NamedExpr> {
        let expr = self.expression(stops, place)?;
        let name = match self.take(&["AS"]) {
            Some(_) => Some(self.ident("a name", "AS")?),
            None => None,
        };
        Ok(NamedExpr { span: self.since(expr.span), expr, name })
    }

    fn assignment(&mut self) -> Read<Assignment> {
        let column = self.ident("a column", "SET")?;
        self.need_sign("=", "SET")?;
        let expr = self.expression(&[], "SET")?;
        Ok(Assignment { span: self.since(column.span), column, expr })
    }

    fn rename(&mut self) -> Read<Rename> {
        let from = self.ident("a column", "RENAME")?;
        self.need(&["AS"], "RENAME")?;
        let to = self.ident("a name", "RENAME")?;
        Ok(Rename { span: self.since(from.span), from, to })
    }

    fn dedup(&mut self) -> Read<Dedup> {
        let (mut by, mut within, mut keep, mut using) = (None, None, None, None);
        loop {
            if let Some(word) = self.take(&["BY"]) {
                let exprs = self.some("DEDUP BY", |p| p.expression(DEDUP, "DEDUP BY"))?;
                self.once(&mut by, word, |(span, _)| *span, (word, exprs), "BY");
            } else if let Some(word) = self.take(&["WITHIN"]) {
                let length = self.duration("WITHIN")?;
                self.once(&mut within, word, |first: &crate::ast::Duration| first.span, length, "WITHIN");
            } else if let Some(word) = self.take(&["KEEP"]) {
                let which = self.choose(&[(&["FIRST"], KeepWhich::First), (&["LAST"], KeepWhich::Last)], "KEEP")?;
                let by = match self.take(&["BY"]) {
                    Some(_) => Some(self.expression(DEDUP, "KEEP … BY")?),
                    None => None,
                };
                let kept = Keep { which, by, span: self.since(word) };
                self.once(&mut keep, word, |first: &Keep| first.span, kept, "KEEP");
            } else if let Some(word) = self.take(&["USING"]) {
                let strategy = self.strategy()?;
                self.once(&mut using, word, |first: &Call| first.span, strategy, "USING");
            } else {
                break;
            }
        }
        let by = by.map_or_else(Vec::new, |(_, exprs)| exprs);
        Ok(Dedup { by, within, keep, using })
    }

    /// `name` or `name(…)`.
    fn strategy(&mut self) -> Read<Call> {
        if self.is_sign(self.at + 1, "(") {
            return self.call("a strategy", "USING");
        }
        let name = self.ident("a strategy", "USING")?;
        Ok(Call { span: name.span, name, args: Vec::new() })
    }

    fn shard(&mut self) -> Read<Shard> {
        self.need(&["BY"], "SHARD")?;
        let by = self.some("SHARD BY", |p| p.expression(&[&["INTO"]], "SHARD BY"))?;
        self.need(&["INTO"], "SHARD BY")?;
        if !self.is_sign(self.at, "(") {
            let lanes = self.count("a number of lanes, or arms in brackets", "SHARD … INTO")?;
            return Ok(Shard { by, into: ShardInto::Lanes(lanes) });
        }
        let arms = self.bracket(|p| {
            let arms = p.some("SHARD … INTO", |p| p.arm())?;
            p.nothing_left("SHARD … INTO", &["PRIMARY", "DERIVED"])?;
            Ok(arms)
        })??;
        Ok(Shard { by, into: ShardInto::Arms(arms) })
    }

    fn arm(&mut self) -> Read<Arm> {
        let start = self.here();
        let roles: [(&[&str], ArmRole); 2] = [(&["PRIMARY"], ArmRole::Primary), (&["DERIVED"], ArmRole::Derived)];
        let role = self.choose(&roles, "SHARD … INTO")?;
        let name = self.ident("a name", "an arm of SHARD")?;
        self.need(&["AS"], "an arm of SHARD")?;
        let flow = self.tail("an arm of SHARD")?;
        Ok(Arm { role, name, flow, span: self.since(start) })
    }

    fn expect(&mut self) -> Read<Expect> {
        const CHOICES: [(&[&str], OnViolation); 4] = [
            (&["DROP"], OnViolation::Drop),
            (&["DEAD", "LETTER"], OnViolation::DeadLetter),
            (&["WARN"], OnViolation::Warn),
            (&["FAIL"], OnViolation::Fail),
        ];
        let condition = self.expression(EXPECT, "EXPECT")?;
        let name = match self.take(&["AS"]) {
            Some(_) => Some(self.ident("a name", "EXPECT")?),
            None => None,
        };
        let start = self.here();
        if self.done() {
            return self.report(mistake::no_violation(start));
        }
        self.need(&["ON", "VIOLATION"], "EXPECT")?;
        let on_violation = self.choose(&CHOICES, "ON VIOLATION")?;
        Ok(Expect { condition, name, on_violation, on_violation_span: self.since(start) })
    }

    /// `conn.object`, `stream` or `function(args)`.
    pub(super) fn target(&mut self, place: &str) -> Read<Target> {
        if self.is_sign(self.at + 1, "(") && !self.is(self.at + 1, "KEY") && !self.is(self.at, "KEY") {
            return Ok(Target::Call(self.call("a target", place)?));
        }
        Ok(Target::Object(self.name("a target: connection.object or a function", place)?))
    }

    fn insert(&mut self) -> Read<Insert> {
        self.need(&["INTO"], "INSERT")?;
        let target = self.target("INSERT INTO")?;
        let (mut format, mut key) = (None, None);
        loop {
            if let Some(word) = self.take(&["KEY"]) {
                let columns = self.columns("KEY")?;
                self.once(&mut key, word, |first: &crate::ast::Columns| first.span, columns, "KEY");
            } else if let Some(word) = self.take(&["FORMAT"]) {
                let given = self.format(word)?;
                self.once(&mut format, word, |first: &crate::ast::Format| first.span, given, "FORMAT");
            } else {
                return Ok(Insert { target, format, key });
            }
        }
    }

    fn upsert(&mut self) -> Read<Upsert> {
        self.need(&["INTO"], "UPSERT")?;
        let target = self.target("UPSERT INTO")?;
        let (mut key, mut sequence_by, mut delete_when) = (None, None, None);
        let (mut ignore_nulls, mut on_orphan) = (None, None);
        loop {
            if let Some(word) = self.take(&["KEY"]) {
                let columns = self.columns("KEY")?;
                self.once(&mut key, word, |first: &crate::ast::Columns| first.span, columns, "KEY");
            } else if let Some(word) = self.take(&["SEQUENCE", "BY"]) {
                let expr = self.expression(UPSERT, "SEQUENCE BY")?;
                self.once(&mut sequence_by, word, |first: &crate::ast::SqlExpr| first.span, expr, "SEQUENCE BY");
            } else if let Some(word) = self.take(&["DELETE", "WHEN"]) {
                let expr = self.expression(UPSERT, "DELETE WHEN")?;
                self.once(&mut delete_when, word, |first: &crate::ast::SqlExpr| first.span, expr, "DELETE WHEN");
            } else if let Some(words) = self.take(&["IGNORE", "NULLS"]) {
                self.once(&mut ignore_nulls, words, |first| *first, words, "IGNORE NULLS");
            } else if let Some(words) = self.take(&["ON", "ORPHAN"]) {
                let choice =
                    self.choose(&[(&["KEEP"], OnOrphan::Keep), (&["DELETE"], OnOrphan::Delete)], "ON ORPHAN")?;
                let span = self.since(words);
                self.once(&mut on_orphan, words, |(_, first)| *first, (choice, span), "ON ORPHAN");
            } else {
                break;
            }
        }
        let Some(key) = key else {
            if self.is_sign(self.at, "(") {
                self.need(&["KEY"], "UPSERT INTO")?;
            }
            self.nothing_left("UPSERT INTO", clauses("UPSERT"))?;
            let (span, place) = (target.span(), target.span().end);
            return self.report(mistake::no_key(span, place, "UPSERT INTO", "KEY"));
        };
        Ok(Upsert { target, key, sequence_by, delete_when, ignore_nulls, on_orphan })
    }

    fn replace(&mut self) -> Read<Replace> {
        self.need(&["INTO"], "REPLACE")?;
        let target = self.target("REPLACE INTO")?;
        if self.done() {
            let (span, place) = (target.span(), target.span().end);
            return self.report(mistake::no_key(span, place, "REPLACE INTO", "PER"));
        }
        self.need(&["PER"], "REPLACE INTO")?;
        let per = self.columns("PER")?;
        let sequence_by = match self.take(&["SEQUENCE", "BY"]) {
            Some(_) => Some(self.expression(REPLACE, "SEQUENCE BY")?),
            None => None,
        };
        Ok(Replace { target, per, sequence_by })
    }

    fn aggregate(&mut self) -> Read<Aggregate> {
        let items = match self.is_phrase(self.at, &["GROUP", "BY"]) {
            true => Vec::new(),
            false => self.some("AGGREGATE", |p| p.named(AGGREGATE, "AGGREGATE"))?,
        };
        let group_by = match self.take(&["GROUP", "BY"]) {
            Some(_) => self.some("GROUP BY", |p| p.named(AGGREGATE, "GROUP BY"))?,
            None => Vec::new(),
        };
        Ok(Aggregate { items, group_by })
    }

    fn order_item(&mut self) -> Read<OrderItem> {
        let expr = self.expression(ORDER, "ORDER BY")?;
        let descending = match (self.take(&["ASC"]), self.take(&["DESC"])) {
            (None, None) => None,
            (_, descending) => Some(descending.is_some()),
        };
        let nulls_first = match (self.take(&["NULLS", "FIRST"]), self.take(&["NULLS", "LAST"])) {
            (None, None) => None,
            (first, _) => Some(first.is_some()),
        };
        Ok(OrderItem { span: self.since(expr.span), expr, descending, nulls_first })
    }
}

/// The words that may follow in a step, for who misspelt one.
fn clauses(step: &str) -> &'static [&'static str] {
    match step {
        "DEDUP" => &["BY", "WITHIN", "KEEP", "USING"],
        "UPSERT" => &["KEY", "SEQUENCE", "DELETE", "IGNORE", "ON"],
        "INSERT" => &["KEY"],
        "REPLACE" => &["PER", "SEQUENCE"],
        "SHARD" => &["BY", "INTO"],
        "EXPECT" => &["AS", "ON"],
        "AGGREGATE" => &["GROUP"],
        "JOIN" | "INNER" | "LEFT" | "RIGHT" | "FULL" | "CROSS" => &["ON", "USING", "AS", "FORMAT", "SCHEMA", "REFRESH"],
        "LOOKUP" => &["ON", "USING", "AS", "FORMAT", "SCHEMA", "CACHE"],
        "UNION" => &["ALL", "BY"],
        _ => &[],
    }
}
