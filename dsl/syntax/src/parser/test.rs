//! `TEST name FOR pipeline GIVEN … EXPECT …`.

use super::{Parser, Read};
use crate::ast::{Dropped, Expectation, InputRows, OutputRows, Row, Target, Test, TestInput};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;

/// What a clause of a TEST begins with.
const CLAUSES: [&[&str]; 6] =
    [&["GIVEN"], &["CLOCK", "AT"], &["INPUT"], &["CHECKPOINT", "EVERY"], &["AFTER", "CRASH"], &["EXPECT"]];

const FIRST_WORDS: [&str; 6] = ["GIVEN", "CLOCK", "INPUT", "CHECKPOINT", "AFTER", "EXPECT"];

/// What an EXPECT is about.
#[derive(Clone, Copy)]
enum Expected {
    Output,
    Dropped,
    DeadLetters,
}

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
        let outer = self.end;
        while self.at < outer {
            self.end = self.clause_end(outer);
            self.piece = self.here().start;
            if self.test_clause(&mut test).is_ok() {
                self.nothing_left("the clause", &[]).ok();
            }
            (self.at, self.end) = (self.end, outer);
        }
        test.span = self.since(start);
        Ok(test)
    }

    /// Where the clause that begins here ends: before the first words of the next one.
    fn clause_end(&self, outer: usize) -> usize {
        let mut at = self.next(self.at);
        while at < outer && !CLAUSES.iter().any(|words| self.is_phrase(at, words)) {
            at = self.next(at);
        }
        at.min(outer)
    }

    fn test_clause(&mut self, test: &mut Test) -> Read<()> {
        if self.take(&["GIVEN"]).is_some() {
            return Ok(());
        }
        if let Some(words) = self.take(&["CLOCK", "AT"]) {
            let clock = self.expression(&[], "CLOCK AT")?;
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
        if FIRST_WORDS.iter().any(|word| word.eq_ignore_ascii_case(seen)) {
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
            Some(word) => mistake::misspelt(span, word, &FIRST_WORDS, "a part of TEST"),
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
            InputRows::Rows(self.some(place, |p| p.text("a record as JSON text", place))?)
        };
        Ok(TestInput { source, rows, span: self.since(start) })
    }

    /// The source or target that may stand before ROWS and FROM.
    fn before_rows(&mut self, place: &str) -> Read<Option<Target>> {
        let named = !self.done() && !self.is(self.at, "ROWS") && !self.is(self.at, "FROM");
        if named { Ok(Some(self.target(place)?)) } else { Ok(None) }
    }

    fn expectation(&mut self, start: Span) -> Read<Expectation> {
        const KINDS: [(&[&str], Expected); 3] = [
            (&["OUTPUT"], Expected::Output),
            (&["DROPPED"], Expected::Dropped),
            (&["DEAD", "LETTERS"], Expected::DeadLetters),
        ];
        match self.choose(&KINDS, "EXPECT")? {
            Expected::Output => self.output(start),
            Expected::Dropped => {
                let counts = self.some("EXPECT DROPPED", |p| p.dropped())?;
                Ok(Expectation::Dropped { counts, span: self.since(start) })
            }
            Expected::DeadLetters => {
                let count = self.count("a number of rows", "EXPECT DEAD LETTERS")?;
                Ok(Expectation::DeadLetters { count, span: self.since(start) })
            }
        }
    }

    fn output(&mut self, start: Span) -> Read<Expectation> {
        let target = self.before_rows("EXPECT OUTPUT")?;
        let rows = if self.take(&["FROM"]).is_some() {
            OutputRows::File(self.text("the path of a file", "EXPECT OUTPUT … FROM")?)
        } else {
            self.need(&["ROWS"], "EXPECT OUTPUT")?;
            // No row at all says that nothing comes out.
            OutputRows::Rows(if self.done() {
                Vec::new()
            } else {
                self.some("EXPECT OUTPUT ROWS", |p| p.output_row())?
            })
        };
        Ok(Expectation::Output { target, rows, span: self.since(start) })
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
            self.nothing_left("EXPECT DROPPED", &["BECAUSE"])?;
        }
        Ok(Dropped { span: self.since(count.span), count, because })
    }
}
