//! `WITH (name = value)`, and the calls of sources, sinks and option functions.

use super::{Parser, Read};
use crate::ast::{Arg, Call, Opt, Value, ValueKind};
use crate::lexer::Kind;
use crate::mistake;

impl Parser<'_> {
    /// `(name = value, …)`; each name once.
    pub(super) fn options(&mut self, place: &str) -> Read<Vec<Opt>> {
        if !self.is_sign(self.at, "(") {
            return self.expected("its options in brackets", place);
        }
        let options = self.bracket(|p| {
            let options = p.list(place, |p| p.option(place));
            p.nothing_left(place, &[]).ok();
            options
        })?;
        let mut kept: Vec<Opt> = Vec::new();
        for option in options {
            match kept.iter().find(|earlier| earlier.name.text.eq_ignore_ascii_case(&option.name.text)) {
                Some(first) => {
                    let said = mistake::twice(option.name.span, first.name.span, &mistake::shown(&option.name.text));
                    self.said.push(said);
                }
                None => kept.push(option),
            }
        }
        Ok(kept)
    }

    fn option(&mut self, place: &str) -> Read<Opt> {
        let name = self.ident("the name of an option", place)?;
        let sign = self.here();
        if ["=>", ":", ":=", "=="].iter().any(|other| self.is_sign(self.at, other)) {
            self.said.push(mistake::option_sign(sign, self.text_at(self.at)));
            self.at += 1;
        } else {
            self.need_sign("=", &format!("the option {}", mistake::shown(&name.text)))?;
        }
        let value = self.value(&format!("the option {}", mistake::shown(&name.text)))?;
        Ok(Opt { span: self.since(name.span), name, value })
    }

    /// `name(arg, name => arg)`.
    pub(super) fn call(&mut self, what: &str, place: &str) -> Read<Call> {
        let name = self.ident(what, place)?;
        if !self.is_sign(self.at, "(") {
            return self.expected("its arguments in brackets", &name.text);
        }
        let place = format!("{}(…)", name.text);
        let args = self.bracket(|p| {
            let args = p.list(&place, |p| p.arg(&place));
            p.nothing_left(&place, &[]).ok();
            args
        })?;
        Ok(Call { span: self.since(name.span), name, args })
    }

    fn arg(&mut self, place: &str) -> Read<Arg> {
        let start = self.here();
        let named = self.is_sign(self.at + 1, "=>") || self.is_sign(self.at + 1, "=");
        let name = if named && matches!(self.kind(self.at), Some(Kind::Word | Kind::Quoted)) {
            let name = self.ident("the name of an argument", place)?;
            if self.is_sign(self.at, "=") {
                let span = self.here();
                self.said.push(mistake::argument_sign(span));
            }
            self.at += 1;
            Some(name)
        } else {
            None
        };
        let value = self.value(place)?;
        Ok(Arg { name, value, span: self.since(start) })
    }

    /// A literal, a name, a call or a list where that is all there is; else an SQL expression.
    pub(super) fn value(&mut self, place: &str) -> Read<Value> {
        let (start, at) = (self.here(), self.at);
        let ends = |p: &Self, at: usize| at >= p.end || p.kind(at) == Some(Kind::Comma);
        let minus = usize::from(self.is_sign(at, "-"));
        let kind = match self.kind(at) {
            None | Some(Kind::Comma) => return self.expected("a value", place),
            Some(Kind::Text | Kind::Quoted) if ends(self, at + 1) => ValueKind::Text(self.text("a value", place)?.text),
            _ if self.kind(at + minus) == Some(Kind::Number) && ends(self, at + minus + 1) => {
                self.at += minus + 1;
                ValueKind::Number(self.since(start).of(self.source).split_whitespace().collect())
            }
            Some(Kind::Word) if ends(self, at + 1) => self.bare_word(place)?,
            Some(Kind::Word) if self.is_sign(at + 1, "(") && ends(self, self.next(at + 1)) => {
                ValueKind::Call(self.call("a function", place)?)
            }
            Some(Kind::Word) if self.is(at, "ARRAY") && self.is_sign(at + 1, "[") && ends(self, self.next(at + 1)) => {
                self.at += 1;
                self.values(place)?
            }
            Some(Kind::Open) if self.is_sign(at, "[") && ends(self, self.next(at)) => self.values(place)?,
            _ => self.name_or_expression(place)?,
        };
        Ok(Value { kind, span: self.since(start) })
    }

    fn values(&mut self, place: &str) -> Read<ValueKind> {
        Ok(ValueKind::List(self.bracket(|p| p.list(place, |p| p.value(place)))?))
    }

    fn bare_word(&mut self, place: &str) -> Read<ValueKind> {
        let word = self.text_at(self.at).to_ascii_uppercase();
        let kind = match word.as_str() {
            "TRUE" => ValueKind::Boolean(true),
            "FALSE" => ValueKind::Boolean(false),
            "NULL" => ValueKind::Null,
            _ => return Ok(ValueKind::Name(self.name("a value", place)?)),
        };
        self.at += 1;
        Ok(kind)
    }

    /// `a.b.c`, or what is left for SQL.
    fn name_or_expression(&mut self, place: &str) -> Read<ValueKind> {
        let names = |kind: Option<Kind>| matches!(kind, Some(Kind::Word | Kind::Quoted));
        let mut at = self.at;
        while names(self.kind(at)) && self.kind(at + 1) == Some(Kind::Dot) {
            at += 2;
        }
        if names(self.kind(at)) && (at + 1 >= self.end || self.kind(at + 1) == Some(Kind::Comma)) {
            return Ok(ValueKind::Name(self.name("a value", place)?));
        }
        Ok(ValueKind::Sql(self.expression(&[], place)?))
    }
}
