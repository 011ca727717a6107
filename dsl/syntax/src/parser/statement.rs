//! Statements, each by its first word.

use super::{Parser, Read};
use crate::ast::{
    Alert, Connection, ExtraFields, Flow, Function, Let, Missed, Parameter, Pipeline, Schema, SchemaColumn, Source,
    Statement, Sync, Text, Trigger, TriggerKind, Unread, Watermark,
};
use crate::lexer::Kind;
use crate::mistake;
use crate::span::Span;
use crate::words::STATEMENTS;

const MISSED: [(&[&str], Missed); 3] =
    [(&["RUN", "ONCE"], Missed::RunOnce), (&["RUN", "ALL"], Missed::RunAll), (&["SKIP"], Missed::Skip)];

const EXTRA_FIELDS: [(&[&str], ExtraFields); 3] =
    [(&["FREEZE"], ExtraFields::Freeze), (&["EVOLVE"], ExtraFields::Evolve), (&["DISCARD"], ExtraFields::Discard)];

impl Parser<'_> {
    /// Reads the statement that the piece is. None when it could not be read; the reason is reported.
    pub(super) fn statement(&mut self) -> Option<Statement> {
        let start = self.here();
        let keyword = self.statement_word()?;
        self.at += 1;
        let statement = match keyword {
            "CONNECTION" => self.connection(start).map(Statement::Connection),
            "SCHEMA" => self.schema(start).map(Statement::Schema),
            "PIPELINE" => self.pipeline(start).map(Statement::Pipeline),
            "TEST" => self.test(start).map(Statement::Test),
            "SYNC" => self.sync(start).map(Statement::Sync),
            "ALERT" => self.alert(start).map(Statement::Alert),
            "LET" => self.let_(start).map(Statement::Let),
            _ => self.function(start).map(Statement::Function),
        };
        let statement = statement.ok()?;
        self.nothing_left(keyword, &[]).ok();
        Some(statement)
    }

    /// The keyword that the first word is, or nearly is.
    fn statement_word(&mut self) -> Option<&'static str> {
        let span = self.here();
        let all = span.to(self.tokens[self.end - 1].span);
        let Some(word) = self.word(self.at) else {
            let said = match self.kind(self.at) {
                Some(Kind::Pipe) => {
                    let before = self.at.checked_sub(1).map(|at| self.tokens[at]);
                    let semicolon = before.filter(|token| token.kind == Kind::Semicolon).map(|token| token.span);
                    mistake::step_without_pipeline(span, semicolon)
                }
                _ => mistake::no_statement(span, self.text_at(self.at)),
            };
            self.said.push(said);
            return None;
        };
        if let Some(keyword) = STATEMENTS.iter().find(|keyword| keyword.eq_ignore_ascii_case(word)) {
            return Some(keyword);
        }
        if self.is(self.at, "FROM") || self.is(self.at, "SELECT") {
            self.said.push(mistake::flow_without_name(span, all, word));
            return None;
        }
        let near = crate::diagnostic::nearest(word, STATEMENTS.iter().copied());
        self.said.push(match near {
            Some(_) => mistake::misspelt(span, word, &STATEMENTS, "a statement"),
            None => mistake::no_statement(span, word),
        });
        near.and_then(|near| STATEMENTS.iter().find(|keyword| **keyword == near).copied())
    }

    fn connection(&mut self, start: Span) -> Read<Connection> {
        let name = self.ident("a name", "CONNECTION")?;
        self.need(&["TO"], "CONNECTION")?;
        let kind = self.ident("what it connects to", "CONNECTION")?;
        let options = self.with_options().unwrap_or_default();
        Ok(Connection { name, kind, options, span: self.since(start) })
    }

    fn with_options(&mut self) -> Read<Vec<crate::ast::Opt>> {
        if self.take(&["WITH"]).is_some() { self.options("WITH") } else { Ok(Vec::new()) }
    }

    fn schema(&mut self, start: Span) -> Read<Schema> {
        let name = self.ident("a name", "SCHEMA")?;
        let extra_fields = match self.kind(self.at) {
            Some(Kind::Word) => Some(self.choose(&EXTRA_FIELDS, "SCHEMA")?),
            _ => None,
        };
        if !self.is_sign(self.at, "(") {
            return self.expected("its columns in brackets", "SCHEMA");
        }
        let mut watermark = None;
        let columns = self.bracket(|p| {
            let parts = p.list("SCHEMA", |p| p.schema_part(&mut watermark));
            p.nothing_left("SCHEMA", &[]).ok();
            parts.into_iter().flatten().collect()
        })?;
        Ok(Schema { name, extra_fields, columns, watermark, span: self.since(start) })
    }

    fn schema_part(&mut self, watermark: &mut Option<Watermark>) -> Read<Option<SchemaColumn>> {
        if let Some(word) = self.take(&["WATERMARK", "FOR"]) {
            let column = self.ident("a column", "WATERMARK FOR")?;
            self.need(&["AS"], "WATERMARK FOR")?;
            let expr = self.expression(&[], "WATERMARK FOR")?;
            let mark = Watermark { column, expr, span: self.since(word) };
            self.once(watermark, word, |first| first.span, mark, "WATERMARK");
            return Ok(None);
        }
        let name = self.ident("the name of a column", "SCHEMA")?;
        let data_type = self.column_type(&[&["NOT"], &["NULL"]], &format!("column {}", mistake::shown(&name.text)))?;
        let not_null = self.take(&["NOT", "NULL"]).is_some();
        self.take(&["NULL"]);
        self.column_is_complete()?;
        Ok(Some(SchemaColumn { span: self.since(name.span), name, data_type, not_null }))
    }

    fn column_is_complete(&mut self) -> Read<()> {
        if self.done() || self.kind(self.at) == Some(Kind::Comma) {
            return Ok(());
        }
        let (span, seen) = (self.here(), self.text_at(self.at));
        self.report(mistake::left_over(span, seen, "the column", &["NOT NULL"]))
    }

    fn pipeline(&mut self, start: Span) -> Read<Pipeline> {
        let name = self.ident("a name", "PIPELINE")?;
        let (mut triggers, mut options) = (Vec::new(), None);
        loop {
            if let Some(word) = self.take(&["WITH"]) {
                let list = self.options("WITH").unwrap_or_default();
                self.once(&mut options, word, |(span, _)| *span, (word, list), "WITH");
            } else if let Some(trigger) = self.trigger()? {
                triggers.push(trigger);
            } else {
                break;
            }
        }
        let flow = self.pipeline_body();
        let options = options.map_or_else(Vec::new, |(_, list)| list);
        Ok(Pipeline { name, triggers, options, flow, span: self.since(start) })
    }

    /// `AS FROM …`. When AS is missing or misspelt, the flow behind it is read all the same.
    fn pipeline_body(&mut self) -> Flow {
        const BEFORE: [&str; 6] = ["AS", "WITH", "EVERY", "CRON", "ON", "AFTER"];
        if self.take(&["AS"]).is_none() {
            let (span, seen) = (self.here(), self.text_at(self.at));
            let said = match self.word(self.at) {
                Some(word) if word.eq_ignore_ascii_case("FROM") => mistake::forgot_as_before_from(span),
                Some(word) if mistake::is_near_any(word, &BEFORE) => {
                    mistake::misspelt(span, word, &BEFORE, "a part of PIPELINE")
                }
                _ => mistake::expected(span, seen, "AS and a flow", "PIPELINE"),
            };
            self.said.push(said);
            while !self.done() && !self.is(self.at, "FROM") {
                self.at = self.next(self.at);
            }
        }
        if self.is(self.at, "SELECT") {
            self.starts_with_select();
        }
        if self.done() {
            self.expected::<()>("FROM and a source", "PIPELINE").ok();
            let span = self.here();
            return Flow {
                source: Source::broken(span),
                history: Vec::new(),
                more: Vec::new(),
                steps: Vec::new(),
                span,
            };
        }
        self.flow()
    }

    /// `SELECT a FROM b WHERE c`: reported with the order turned round, then read on from FROM.
    fn starts_with_select(&mut self) {
        let (start, select) = (self.here(), self.at);
        let find = |p: &Self, words: &[&str], mut at: usize| {
            while at < p.end && p.kind(at) != Some(Kind::Pipe) && !words.iter().any(|word| p.is(at, word)) {
                at = p.next(at);
            }
            at.min(p.end)
        };
        let from = find(self, &["FROM"], select);
        if !self.is(from, "FROM") {
            self.said.push(mistake::select_first(start, None));
            self.at = from;
            return;
        }
        let behind = find(self, &["WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION"], from + 1);
        let filtered = self.is(behind, "WHERE");
        let after_where =
            if filtered { find(self, &["GROUP", "ORDER", "HAVING", "LIMIT", "UNION"], behind + 1) } else { behind };
        let simple = after_where >= self.end || self.kind(after_where) == Some(Kind::Pipe);
        let span_of = |p: &Self, from: usize, to: usize| p.tokens[from].span.to(p.tokens[to - 1].span);
        let parts = simple.then(|| {
            let filter = filtered.then(|| span_of(self, behind, after_where));
            (span_of(self, select, from), span_of(self, from, behind), filter)
        });
        if let Some(second) = self.tokens.get(behind) {
            self.damage.insert(second.span.start);
        }
        self.said.push(match parts {
            Some((columns, source, filter)) => {
                let [select_text, source_text] = [columns, source].map(|span| span.of(self.source));
                let filter_text = filter.map(|span| format!("\n|> {}", span.of(self.source))).unwrap_or_default();
                let whole = columns.to(filter.unwrap_or(source));
                mistake::select_first(start, Some((whole, format!("{source_text}{filter_text}\n|> {select_text}"))))
            }
            None => mistake::select_first(start, None),
        });
        self.at = from;
    }

    fn trigger(&mut self) -> Read<Option<Trigger>> {
        let start = self.here();
        let kind = if self.take(&["EVERY"]).is_some() {
            let period = self.duration("EVERY")?;
            let (time_zone, missed) = self.calendar()?;
            TriggerKind::Every { period, time_zone, missed }
        } else if self.take(&["CRON"]).is_some() {
            let schedule = self.text("a schedule like '0 6 * * *'", "CRON")?;
            let (time_zone, missed) = self.calendar()?;
            TriggerKind::Cron { schedule, time_zone, missed }
        } else if self.take(&["ON", "WEBHOOK"]).is_some() {
            TriggerKind::Webhook { names: self.webhook_names()? }
        } else if self.take(&["AFTER"]).is_some() {
            TriggerKind::After { pipeline: self.ident("the name of a pipeline", "AFTER")? }
        } else {
            return Ok(None);
        };
        Ok(Some(Trigger { kind, span: self.since(start) }))
    }

    fn calendar(&mut self) -> Read<(Option<Text>, Option<Missed>)> {
        let (mut zone, mut missed) = (None, None);
        loop {
            if let Some(word) = self.take(&["TIME", "ZONE"]) {
                let text = self.text("a time zone like 'UTC'", "TIME ZONE")?;
                self.once(&mut zone, word, |first: &Text| first.span, text, "TIME ZONE");
            } else if let Some(word) = self.take(&["IF", "MISSED"]) {
                let choice = self.choose(&MISSED, "IF MISSED")?;
                self.once(&mut missed, word, |(span, _)| *span, (word, choice), "IF MISSED");
            } else {
                return Ok((zone, missed.map(|(_, choice)| choice)));
            }
        }
    }

    fn webhook_names(&mut self) -> Read<Vec<crate::ast::Ident>> {
        const NEXT: [&str; 6] = ["AS", "WITH", "EVERY", "CRON", "ON", "AFTER"];
        let mut names = Vec::new();
        if self.word(self.at).is_none_or(|word| NEXT.iter().any(|next| next.eq_ignore_ascii_case(word))) {
            return Ok(names);
        }
        loop {
            names.push(self.ident("the name of an event", "ON WEBHOOK")?);
            if self.kind(self.at) != Some(Kind::Comma) {
                return Ok(names);
            }
            self.at += 1;
        }
    }

    fn sync(&mut self, start: Span) -> Read<Sync> {
        let name = self.ident("a name", "SYNC")?;
        let body = self.unread();
        Ok(Sync { name, body, span: self.since(start) })
    }

    /// The rest of the piece, as text.
    pub(super) fn unread(&mut self) -> Unread {
        let span = if self.done() { self.here() } else { self.here().to(self.tokens[self.end - 1].span) };
        self.at = self.end;
        Unread { text: span.of(self.source).to_string(), span }
    }

    fn alert(&mut self, start: Span) -> Read<Alert> {
        let name = self.ident("a name", "ALERT")?;
        self.need(&["WHEN"], "ALERT")?;
        let when = self.expression(&[&["NOTIFY"]], "WHEN")?;
        let mut notify = Vec::new();
        if self.take(&["NOTIFY"]).is_some() {
            notify = self.list("NOTIFY", |p| p.call("whom to tell", "NOTIFY"));
        }
        Ok(Alert { name, when, notify, span: self.since(start) })
    }

    fn let_(&mut self, start: Span) -> Read<Let> {
        let name = self.ident("a name", "LET")?;
        self.need_sign("=", "LET")?;
        let value = self.expression(&[], "LET")?;
        Ok(Let { name, value, span: self.since(start) })
    }

    fn function(&mut self, start: Span) -> Read<Function> {
        let name = self.ident("a name", "FUNCTION")?;
        if !self.is_sign(self.at, "(") {
            return self.expected("its parameters in brackets", "FUNCTION");
        }
        let parameters = self.bracket(|p| p.list("FUNCTION", |p| p.parameter()))?;
        let returns = match self.take(&["RETURNS"]) {
            Some(_) => Some(self.column_type(&[&["AS"]], "RETURNS")?),
            None => None,
        };
        self.need(&["AS"], "FUNCTION")?;
        let body = self.expression(&[], "FUNCTION")?;
        Ok(Function { name, parameters, returns, body, span: self.since(start) })
    }

    fn parameter(&mut self) -> Read<Parameter> {
        let name = self.ident("a parameter", "FUNCTION")?;
        let typed = !self.done() && self.kind(self.at) != Some(Kind::Comma);
        let data_type = if typed { Some(self.column_type(&[], "FUNCTION")?) } else { None };
        Ok(Parameter { span: self.since(name.span), name, data_type })
    }
}
