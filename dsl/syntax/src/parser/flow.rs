//! `FROM source, … JOIN … |> step |> step`, and the steps in brackets.

use super::{Parser, Read, Said};
use crate::ast::{
    Arg, Call, Duration, Flow, FlowTail, Format, History, Ident, Join, JoinKind, JoinOn, MoreSource, Source,
    SourceKind, Step, Text, Union, Value, ValueKind,
};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;

/// TEE in TEE in TEE: more than this is nobody's pipeline, and each costs stack.
const DEEPEST_FLOW: usize = 16;

/// What goes before a source, and is not called as one.
const HISTORY: &str = "history";

const SOURCE_CLAUSES: [&str; 10] =
    ["FORMAT", "SCHEMA", "KEY", "FOLLOW", "AS", "CURSOR", "REFRESH", "CACHE", "PARTITIONED", "JOIN"];

/// The words before JOIN, longest first.
const JOINS: [(&[&str], JoinKind); 9] = [
    (&["LEFT", "OUTER", "JOIN"], JoinKind::Left),
    (&["RIGHT", "OUTER", "JOIN"], JoinKind::Right),
    (&["FULL", "OUTER", "JOIN"], JoinKind::Full),
    (&["INNER", "JOIN"], JoinKind::Inner),
    (&["LEFT", "JOIN"], JoinKind::Left),
    (&["RIGHT", "JOIN"], JoinKind::Right),
    (&["FULL", "JOIN"], JoinKind::Full),
    (&["CROSS", "JOIN"], JoinKind::Cross),
    (&["JOIN"], JoinKind::Inner),
];

impl Parser<'_> {
    /// Reads from FROM to the end of the piece.
    pub(super) fn flow(&mut self) -> Flow {
        let start = self.here();
        let outer = self.end;
        self.end = self.step_end(self.at);
        let mut history = Vec::new();
        let (source, more) = self.sources(&mut history);
        (self.at, self.end) = (self.end, outer);
        let steps = self.steps(false);
        Flow { source, history, more, steps, span: self.since(start) }
    }

    fn sources(&mut self, history: &mut Vec<History>) -> (Source, Vec<MoreSource>) {
        let start = self.here();
        let mut more = Vec::new();
        if self.need(&["FROM"], "a pipeline").is_err() {
            return (Source::broken(start), more);
        }
        while self.is(self.at, HISTORY) && self.is_sign(self.at + 1, "(") {
            match self.history() {
                Ok(read) => history.push(read),
                Err(Said) => return (Source::broken(start), more),
            }
        }
        let Ok(source) = self.source("FROM") else { return (Source::broken(start), more) };
        loop {
            let next = if self.kind(self.at) == Some(Kind::Comma) {
                self.at += 1;
                self.source("FROM").map(MoreSource::Comma)
            } else if let Some(kind) = self.join_words() {
                self.join(kind).map(MoreSource::Join)
            } else {
                break;
            };
            match next {
                Ok(next) => more.push(next),
                Err(Said) => return (source, more),
            }
        }
        self.nothing_left("FROM", &SOURCE_CLAUSES).ok();
        (source, more)
    }

    /// Takes `[LEFT …] JOIN` if it is next.
    pub(super) fn join_words(&mut self) -> Option<JoinKind> {
        JOINS.iter().find(|(words, _)| self.take(words).is_some()).map(|(_, kind)| *kind)
    }

    /// What follows the words of a join.
    pub(super) fn join(&mut self, kind: JoinKind) -> Read<Join> {
        let start = self.behind();
        let source = self.source(if kind == JoinKind::Lookup { "LOOKUP" } else { "JOIN" })?;
        let on = if self.take(&["ON"]).is_some() {
            Some(JoinOn::On(
                self.expression(&[&["JOIN"], &["LEFT"], &["RIGHT"], &["FULL"], &["INNER"], &["CROSS"]], "ON")?,
            ))
        } else if self.take(&["USING"]).is_some() {
            Some(JoinOn::Using(self.columns("USING")?))
        } else {
            None
        };
        Ok(Join { kind, source, on, span: self.since(start) })
    }

    /// `history('orders/*.parquet') THEN`, `history(file('old.ndjson') FORMAT csv) THEN`, `history(FROM … |> …) BESIDE`.
    fn history(&mut self) -> Read<History> {
        let start = self.here();
        self.at += 1;
        if self.flows == DEEPEST_FLOW {
            return self.report(mistake::flows_too_deep(start, DEEPEST_FLOW));
        }
        self.flows += 1;
        let flow = self.bracket(|p| p.past());
        self.flows -= 1;
        let (flow, span) = (flow??, self.since(start));
        let beside = self.take(&["BESIDE"]).is_some();
        if !beside {
            self.need(&["THEN"], "history(…)")?;
        }
        Ok(History { flow: Box::new(flow), beside, span })
    }

    /// What stands in the brackets: a path, a source, or a flow.
    fn past(&mut self) -> Read<Flow> {
        if self.is(self.at, "FROM") {
            return Ok(self.flow());
        }
        let start = self.here();
        let source = match self.path_alone()? {
            Some(source) => source,
            None => self.source(HISTORY)?,
        };
        self.nothing_left(HISTORY, &SOURCE_CLAUSES)?;
        Ok(Flow { source, history: Vec::new(), more: Vec::new(), steps: Vec::new(), span: self.since(start) })
    }

    /// `'orders/*.parquet'` stands for `parquet('orders/*.parquet')`: the name says what the files are.
    fn path_alone(&mut self) -> Read<Option<Source>> {
        if self.kind(self.at) != Some(Kind::Text) {
            return Ok(None);
        }
        let Text { text, span } = self.text("a path", HISTORY)?;
        let lower = text.to_ascii_lowercase();
        let ends = |all: &[&str]| all.iter().any(|end| lower.ends_with(end));
        let function = match () {
            // A folder has parts of typed columns.
            () if ends(&["/", ".parquet"]) => "parquet",
            () if ends(&[".arrow", ".arrows", ".feather"]) => "arrow",
            () => "file",
        };
        let name = Ident { text: function.to_owned(), span, quoted: false };
        let path = Arg { name: None, value: Value { kind: ValueKind::Text(text), span }, span };
        let mut source = Source::broken(span);
        source.kind = SourceKind::Call(Call { name, args: vec![path], span });
        while self.source_clause(&mut source)? {}
        source.span = self.since(span);
        Ok(Some(source))
    }

    fn source(&mut self, place: &str) -> Read<Source> {
        let start = self.here();
        let mut source = Source::broken(start);
        source.kind = if self.is_sign(self.at + 1, "(") {
            SourceKind::Call(self.call("a source", place)?)
        } else {
            let name = self.name("a source: connection.object, a function or a stream", place)?;
            match <[_; 1]>::try_from(name.parts) {
                Ok([stream]) => SourceKind::Stream(stream),
                Err(parts) => SourceKind::Object(crate::ast::Name { parts, span: name.span }),
            }
        };
        while self.source_clause(&mut source)? {}
        source.span = self.since(start);
        Ok(source)
    }

    /// What stands behind the word FORMAT.
    pub(super) fn format(&mut self, word: Span) -> Read<Format> {
        let name = self.ident("a format", "FORMAT")?;
        let options = if self.is_sign(self.at, "(") { self.options("FORMAT")? } else { Vec::new() };
        Ok(Format { name, options, span: self.since(word) })
    }

    /// Reads one clause behind a source, if one is next.
    fn source_clause(&mut self, source: &mut Source) -> Read<bool> {
        if let Some(word) = self.take(&["FORMAT"]) {
            let format = self.format(word)?;
            self.once(&mut source.format, word, |first| first.span, format, "FORMAT");
        } else if let Some(word) = self.take(&["SCHEMA"]) {
            let schema = self.ident("the name of a schema", "SCHEMA")?;
            self.once(&mut source.schema, word, |first| first.span, schema, "SCHEMA");
        } else if let Some(word) = self.take(&["KEY"]) {
            let columns = self.columns("KEY")?;
            self.once(&mut source.key, word, |first| first.span, columns, "KEY");
        } else if let Some(word) = self.take(&["FOLLOW"]) {
            self.once(&mut source.follow, word, |first| *first, word, "FOLLOW");
        } else if let Some(word) = self.take(&["AS"]) {
            let alias = self.ident("a name", "AS")?;
            self.once(&mut source.alias, word, |first| first.span, alias, "AS");
        } else if let Some(word) = self.take(&["CURSOR"]) {
            let cursor = self.ident("a column", "CURSOR")?;
            self.once(&mut source.cursor, word, |first| first.span, cursor, "CURSOR");
        } else if let Some(word) = self.take(&["REFRESH"]) {
            self.need(&["EVERY"], "REFRESH")?;
            let period = self.duration("REFRESH EVERY")?;
            self.once(&mut source.refresh, word, |first: &Duration| first.span, period, "REFRESH EVERY");
        } else if let Some(word) = self.take(&["CACHE"]) {
            let age = self.duration("CACHE")?;
            self.once(&mut source.cache, word, |first: &Duration| first.span, age, "CACHE");
        } else if let Some(word) = self.take(&["PARTITIONED"]) {
            self.need(&["BY"], "PARTITIONED")?;
            let columns = self.columns("PARTITIONED BY")?;
            self.once(&mut source.partitioned_by, word, |first| first.span, columns, "PARTITIONED BY");
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `|> step |> step` to the end of the piece. In a bracket nothing has told yet whether the first `|>` is there.
    fn steps(&mut self, bracket: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        while !self.done() {
            let start = self.here();
            if matches!(self.kind(self.at), Some(Kind::Pipe)) || self.is_sign(self.at, "|") {
                self.at += 1;
            } else if bracket && steps.is_empty() {
                self.said.push(mistake::missing_pipe(start, &self.text_at(self.at).to_ascii_uppercase()));
            }
            if self.done() || self.kind(self.at) == Some(Kind::Pipe) {
                self.said.push(mistake::empty_step(start));
                continue;
            }
            let outer = self.end;
            self.end = self.step_end(self.at);
            steps.push(self.step());
            (self.at, self.end) = (self.end, outer);
        }
        steps
    }

    /// `(|> step |> step)`.
    pub(super) fn tail(&mut self, place: &str) -> Read<FlowTail> {
        let start = self.here();
        if !self.is_sign(self.at, "(") {
            return self.expected("steps in brackets", place);
        }
        if self.flows == DEEPEST_FLOW {
            return self.report(mistake::flows_too_deep(start, DEEPEST_FLOW));
        }
        self.flows += 1;
        let steps = self.bracket(|p| p.steps(true));
        self.flows -= 1;
        let steps = steps?;
        let span = self.since(start);
        if steps.is_empty() {
            return self.report(mistake::expected(span, "()", "at least one step", place));
        }
        Ok(FlowTail { steps, span })
    }
}

impl Parser<'_> {
    /// What follows UNION: `ALL [BY NAME] (FROM …), (FROM …)`.
    pub(super) fn union(&mut self) -> Read<Union> {
        let distinct = self.take(&["DISTINCT"]);
        if distinct.is_none() {
            self.need(&["ALL"], "UNION")?;
        }
        let by_name = self.take(&["BY", "NAME"]);
        let flows = self.some("UNION", |p| p.flow_in_brackets("UNION"))?;
        Ok(Union { distinct, by_name, flows })
    }

    /// `(FROM source |> step)`.
    fn flow_in_brackets(&mut self, place: &str) -> Read<Flow> {
        let start = self.here();
        if !self.is_sign(self.at, "(") {
            return self.expected("a flow in brackets: (FROM …)", place);
        }
        if self.flows == DEEPEST_FLOW {
            return self.report(mistake::flows_too_deep(start, DEEPEST_FLOW));
        }
        self.flows += 1;
        let flow = self.bracket(|p| p.flow());
        self.flows -= 1;
        flow
    }
}

impl Source {
    /// Stands where a source should.
    pub(super) fn broken(span: Span) -> Self {
        Source {
            kind: SourceKind::Broken,
            format: None,
            schema: None,
            key: None,
            follow: None,
            alias: None,
            cursor: None,
            refresh: None,
            cache: None,
            partitioned_by: None,
            span,
        }
    }
}
