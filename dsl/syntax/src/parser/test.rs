//! `TEST name FOR pipeline GIVEN … EXPECT …`.

use super::expression::Stops;
use super::{Parser, Read};
use crate::ast::{Dropped, Expectation, InputRows, OutputRows, Row, Target, Test, TestInput};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;

const CLOCK: Stops = &[&["GIVEN"], &["INPUT"], &["CHECKPOINT"], &["AFTER", "CRASH"], &["EXPECT"]];

/// The words that begin a clause of a TEST.
const CLAUSES: [&str; 6] = ["GIVEN", "CLOCK", "INPUT", "CHECKPOINT", "AFTER", "EXPECT"];

impl Parser<'_> {
    pub(super) fn test(&mut self, start: Span) -> Read<Test> {
        let name = self.ident("a name", "TEST")?;
        self.need(&["FOR"], "TEST")?;
        let pipeline = self.ident("the name of a pipeline", "TEST … FOR")?;
        let mut test = Test {
            name,
            pipeline,
            clock: None,
            inputs: Vec::new(),
            checkpoint_every: None,
            crash_at: None,
            expectations: Vec::new(),
            span: start,
        };
        while !self.done() {
            if self.test_clause(&mut test).is_err() {
                self.skip_to_clause();
            }
        }
        test.span = self.since(start);
        Ok(test)
    }

    fn skip_to_clause(&mut self) {
        self.at = self.next(self.at).min(self.end);
        while !self.done() && !CLAUSES.iter().any(|word| self.is(self.at, word)) {
            self.at = self.next(self.at);
        }
    }

    fn test_clause(&mut self, test: &mut Test) -> Read<()> {
        self.take(&["GIVEN"]);
        if let Some(words) = self.take(&["CLOCK", "AT"]) {
            let clock = self.expression(CLOCK, "CLOCK AT")?;
            self.once(&mut test.clock, words, |first| first.span, clock, "CLOCK AT");
        } else if let Some(word) = self.take(&["INPUT"]) {
            let input = self.input(word)?;
            test.inputs.push(input);
        } else if let Some(words) = self.take(&["CHECKPOINT", "EVERY"]) {
            let rows = self.count("a number of rows", "CHECKPOINT EVERY")?;
            self.need(&["ROWS"], "CHECKPOINT EVERY")?;
            self.once(&mut test.checkpoint_every, words, |first| first.span, rows, "CHECKPOINT EVERY");
        } else if let Some(words) = self.take(&["AFTER", "CRASH", "AT", "CHECKPOINT"]) {
            let number = self.count("the number of a checkpoint", "AFTER CRASH AT CHECKPOINT")?;
            self.once(&mut test.crash_at, words, |first| first.span, number, "AFTER CRASH");
        } else if let Some(word) = self.take(&["EXPECT"]) {
            let expectation = self.expectation(word)?;
            test.expectations.push(expectation);
        } else {
            return self.no_clause();
        }
        Ok(())
    }

    fn no_clause(&mut self) -> Read<()> {
        let (span, seen) = (self.here(), self.text_at(self.at));
        if CLAUSES.iter().any(|word| word.eq_ignore_ascii_case(seen)) {
            self.at += 1;
            let rest = match seen.to_ascii_uppercase().as_str() {
                "CLOCK" => "AT and a time",
                "CHECKPOINT" => "EVERY n ROWS",
                "AFTER" => "CRASH AT CHECKPOINT n",
                _ => "INPUT",
            };
            return self.expected(rest, seen);
        }
        self.report(match self.word(self.at) {
            Some(word) => mistake::misspelt(span, word, &CLAUSES, "a part of TEST"),
            None => mistake::left_over(span, seen, "TEST", &[]),
        })
    }

    fn input(&mut self, start: Span) -> Read<TestInput> {
        let source = self.before_rows("INPUT")?;
        let rows = if self.take(&["FROM"]).is_some() {
            InputRows::File(self.text("the path of a file", "INPUT … FROM")?)
        } else {
            self.need(&["ROWS"], "INPUT")?;
            if self.is_sign(self.at, "(") {
                let span = self.here();
                return self.report(mistake::input_row_in_brackets(span));
            }
            let place = "INPUT ROWS";
            let rows = self.list(place, |p| p.text("a record as JSON text", place));
            if rows.is_empty() {
                return self.expected("a record as JSON text", place);
            }
            InputRows::Rows(rows)
        };
        Ok(TestInput { source, rows, span: self.since(start) })
    }

    /// The source or target that may stand before ROWS and FROM.
    fn before_rows(&mut self, place: &str) -> Read<Option<Target>> {
        let named = !self.done() && !self.is(self.at, "ROWS") && !self.is(self.at, "FROM");
        if named { Ok(Some(self.target(place)?)) } else { Ok(None) }
    }

    fn expectation(&mut self, start: Span) -> Read<Expectation> {
        if self.take(&["OUTPUT"]).is_some() {
            let target = self.before_rows("EXPECT OUTPUT")?;
            let rows = if self.take(&["FROM"]).is_some() {
                OutputRows::File(self.text("the path of a file", "EXPECT OUTPUT … FROM")?)
            } else {
                self.need(&["ROWS"], "EXPECT OUTPUT")?;
                OutputRows::Rows(self.output_rows()?)
            };
            Ok(Expectation::Output { target, rows, span: self.since(start) })
        } else if self.take(&["DROPPED"]).is_some() {
            let counts = self.list("EXPECT DROPPED", |p| p.dropped());
            if counts.is_empty() {
                return self.expected("a number of rows", "EXPECT DROPPED");
            }
            Ok(Expectation::Dropped { counts, span: self.since(start) })
        } else if self.take(&["DEAD", "LETTERS"]).is_some() {
            let count = self.count("a number of rows", "EXPECT DEAD LETTERS")?;
            Ok(Expectation::DeadLetters { count, span: self.since(start) })
        } else {
            self.expected("OUTPUT, DROPPED or DEAD LETTERS", "EXPECT")
        }
    }

    /// `(v, …), (v, …)`; none at all says that nothing comes out.
    fn output_rows(&mut self) -> Read<Vec<Row>> {
        if self.done() || CLAUSES.iter().any(|word| self.is(self.at, word)) {
            return Ok(Vec::new());
        }
        Ok(self.list("EXPECT OUTPUT ROWS", |p| p.output_row()))
    }

    fn output_row(&mut self) -> Read<Row> {
        let start = self.here();
        if !self.is_sign(self.at, "(") {
            return self.expected("a row in brackets", "EXPECT OUTPUT ROWS");
        }
        let values = self.bracket(|p| p.list("a row", |p| p.expression(&[], "a row")))?;
        Ok(Row { values, span: self.since(start) })
    }

    fn dropped(&mut self) -> Read<Dropped> {
        let count = self.count("a number of rows", "EXPECT DROPPED")?;
        let because = match self.take(&["BECAUSE"]) {
            Some(_) => Some(self.text("a reason like 'duplicate'", "BECAUSE")?),
            None => None,
        };
        if !self.done() && self.kind(self.at) != Some(Kind::Comma) {
            let clause = CLAUSES.iter().any(|word| self.is(self.at, word));
            if !clause {
                self.nothing_left("EXPECT DROPPED", &["BECAUSE"])?;
            }
        }
        Ok(Dropped { span: self.since(count.span), count, because })
    }
}
