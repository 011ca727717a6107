//! Where a file falls apart: statements at `;`, steps at `|>`, and the places where one of these was forgotten.

use super::Parser;
use crate::ast::File;
use crate::lexer::Kind;
use crate::mistake;
use crate::words;

impl Parser<'_> {
    pub(super) fn file(&mut self) -> File {
        let mut file = File::default();
        let all = self.tokens.len();
        let mut from = 0;
        while from < all {
            (self.at, self.end) = (from, all);
            let to = self.statement_end(from);
            let semicolon = self.kind(to) == Some(Kind::Semicolon);
            if to > from {
                self.end = to;
                self.brackets.add(self.source, &self.tokens, from, to, &mut self.said);
                self.note_damage();
                self.piece = self.tokens[from].span.start;
                if !self.brackets.too_deep {
                    file.statements.extend(self.statement());
                }
            }
            from = to + usize::from(semicolon);
        }
        file
    }

    /// The `;` of this statement, or the first token of a next one that it forgot to end, or the end of the file.
    fn statement_end(&mut self, from: usize) -> usize {
        for at in from..self.end {
            if self.kind(at) == Some(Kind::Semicolon) {
                return at;
            }
            if at > from && self.first_on_line(at) && self.begins_statement(at) {
                let before = self.tokens[at - 1].span.end;
                let (span, word) = (self.tokens[at].span, self.text_at(at));
                self.said.push(mistake::missing_semicolon(before, span, word));
                return at;
            }
        }
        self.end
    }

    fn first_on_line(&self, at: usize) -> bool {
        let before = self.tokens[at - 1].span.end;
        self.source.get(before..self.tokens[at].span.start).is_some_and(|gap| gap.contains('\n'))
    }

    /// The first three words of a statement: enough not to mistake a column called `test` for one.
    fn begins_statement(&self, at: usize) -> bool {
        let third = |words: &[&str]| words.iter().any(|word| self.is(at + 2, word));
        let Some(word) = self.word(at).filter(|_| matches!(self.kind(at + 1), Some(Kind::Word | Kind::Quoted))) else {
            return false;
        };
        match word.to_ascii_uppercase().as_str() {
            "CONNECTION" => third(&["TO"]),
            "SCHEMA" => third(&["FREEZE", "EVOLVE", "DISCARD"]) || self.is_sign(at + 2, "("),
            "PIPELINE" => third(&["AS", "EVERY", "CRON", "ON", "AFTER", "WITH"]),
            "TEST" => third(&["FOR"]),
            "SYNC" => third(&["BETWEEN"]),
            "ALERT" => third(&["WHEN"]),
            "LET" => self.is_sign(at + 2, "="),
            "FUNCTION" => self.is_sign(at + 2, "("),
            _ => false,
        }
    }

    /// Where the step whose first word is at `from` ends: at a `|>`, or where one was forgotten.
    pub(super) fn step_end(&mut self, from: usize) -> usize {
        let mut at = self.next(from);
        let mut cases = 0usize;
        while at < self.end {
            if self.kind(at) == Some(Kind::Pipe) {
                return at;
            }
            if self.is_single_bar(at) {
                let span = self.tokens[at].span;
                self.said.push(mistake::single_bar(span));
                self.noted = self.said.len();
                return at;
            }
            if cases == 0 && at > from + 1 && self.forgot_pipe(at) {
                let (span, word) = (self.tokens[at].span, self.text_at(at).to_ascii_uppercase());
                if !self.damage.contains(&span.start) {
                    self.said.push(mistake::missing_pipe(span, &word));
                    self.noted = self.said.len();
                }
                return at;
            }
            cases += usize::from(self.is(at, "CASE"));
            cases = cases.saturating_sub(usize::from(self.is(at, "END")));
            at = self.next(at);
        }
        self.end
    }

    /// `| WHERE`: a bar before the first word of a step.
    fn is_single_bar(&self, at: usize) -> bool {
        let step = |word: &str| words::STEPS.iter().any(|step| step.eq_ignore_ascii_case(word));
        self.is_sign(at, "|") && self.word(at + 1).is_some_and(step)
    }

    /// Whether a step begins here, in the middle of another one.
    fn forgot_pipe(&self, at: usize) -> bool {
        self.ends_operand(at - 1) && self.begins_step(at)
    }

    /// Whether something is complete with this token, so that a new thing can begin behind it.
    pub(super) fn ends_operand(&self, at: usize) -> bool {
        /// Behind these words stands an operand, a name or a part of their own clause.
        const OPEN: [&str; 27] = [
            "AS",
            "BY",
            "VIOLATION",
            "SCHEMA",
            "FORMAT",
            "CURSOR",
            "AND",
            "OR",
            "NOT",
            "FROM",
            "INTO",
            "USING",
            "ORPHAN",
            "STREAM",
            "IS",
            "IN",
            "LIKE",
            "ILIKE",
            "BETWEEN",
            "WHEN",
            "THEN",
            "ELSE",
            "CASE",
            "DISTINCT",
            "INTERVAL",
            "SIMILAR",
            "DELETE",
        ];
        match self.kind(at) {
            // A field may be called like one of them.
            Some(Kind::Word) => self.is_field(at) || !OPEN.iter().any(|word| self.is(at, word)),
            Some(Kind::Quoted | Kind::Text | Kind::Number | Kind::Close) => true,
            _ => false,
        }
    }

    fn begins_step(&self, at: usize) -> bool {
        let Some(word) = self.word(at) else { return false };
        let bracket = self.is_sign(at + 1, "(");
        let new_line = self.first_on_line(at);
        match word.to_ascii_uppercase().as_str() {
            "INSERT" | "UPSERT" | "REPLACE" => self.is(at + 1, "INTO"),
            "SHARD" | "ORDER" => self.is(at + 1, "BY"),
            "TEE" | "FORK" => bracket,
            "UNION" => self.is(at + 1, "ALL") || self.is(at + 1, "DISTINCT"),
            "WHERE" | "SELECT" | "DEDUP" | "EXTEND" | "AGGREGATE" => !bracket,
            "EXPECT" | "RENAME" | "DROP" | "LIMIT" => new_line && !bracket,
            "SET" => new_line && self.is_sign(at + 2, "="),
            _ => false,
        }
    }
}
