//! Tokens to tree, going on after every mistake.
//!
//! A file falls apart into statements at `;`, a statement into steps at `|>`, and each piece is read inside its own
//! bounds: a mistake in one says nothing about the next. A function that returns `Err(Said)` has reported why.

mod expression;
mod flow;
mod options;
mod split;
mod statement;
mod step;
mod test;

use std::collections::BTreeSet;

use crate::ast::{Columns, Count, Duration, File, Ident, Name, Text};
use crate::brackets::Brackets;
use crate::diagnostic::{Diagnostic, Lines};
use crate::lexer::{self, Kind, Token};
use crate::mistake;
use crate::span::Span;

/// Reads a whole file. Without a diagnostic of severity error the tree has no `Broken` node.
pub fn parse(source: &str) -> (File, Vec<Diagnostic>) {
    let (tokens, said) = lexer::tokens(source);
    let mut parser = Parser {
        source,
        lines: Lines::of(source),
        end: tokens.len(),
        tokens,
        brackets: Brackets::none(),
        at: 0,
        flows: 0,
        piece: 0,
        damage: BTreeSet::new(),
        noted: 0,
        said,
    };
    let file = parser.file();
    let mut said = parser.said;
    said.sort_by_key(Diagnostic::span);
    (file, said)
}

/// The mistake has been reported; whoever called goes on behind it.
struct Said;

type Read<T> = Result<T, Said>;

struct Parser<'a> {
    source: &'a str,
    lines: Lines<'a>,
    tokens: Vec<Token>,
    brackets: Brackets,
    /// The next token, and the first one behind the piece that is being read.
    at: usize,
    end: usize,
    /// How many flows are open around this place.
    flows: usize,
    /// The byte where the step or statement begins that is being read.
    piece: usize,
    /// Where quotes, brackets or the order of words are wrong: what does not parse around there is a consequence.
    damage: BTreeSet<usize>,
    /// How many of `said` are in `damage`, or need not be.
    noted: usize,
    said: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    /// Says what is wrong, unless the piece is damaged: then that is what is wrong.
    fn report<T>(&mut self, said: Diagnostic) -> Read<T> {
        if !self.damaged(self.piece) {
            self.said.push(said);
        }
        Err(Said)
    }

    /// Whether there is damage from this byte to the end of the piece.
    fn damaged(&self, from: usize) -> bool {
        let to = self.tokens.get(self.end).map_or(self.source.len(), |next| next.span.start);
        self.damage.range(from..to.max(from)).next().is_some()
    }

    /// Takes what was said about quotes and brackets as damage.
    fn note_damage(&mut self) {
        self.damage.extend(self.said[self.noted..].iter().flat_map(|said| said.labels.iter().map(|l| l.span.start)));
        self.noted = self.said.len();
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        (at < self.end).then(|| self.tokens[at].kind)
    }

    fn text_at(&self, at: usize) -> &'a str {
        if at < self.end { self.tokens[at].span.of(self.source) } else { "" }
    }

    fn word(&self, at: usize) -> Option<&'a str> {
        (self.kind(at) == Some(Kind::Word)).then(|| self.text_at(at))
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.word(at).is_some_and(|found| found.eq_ignore_ascii_case(word))
    }

    fn is_phrase(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(index, word)| self.is(at + index, word))
    }

    fn is_sign(&self, at: usize, sign: &str) -> bool {
        self.kind(at).is_some() && self.text_at(at) == sign
    }

    /// Takes the words if they are next, and gives their span.
    fn take(&mut self, words: &[&str]) -> Option<Span> {
        if !self.is_phrase(self.at, words) {
            return None;
        }
        let start = self.here();
        self.at += words.len();
        Some(start.to(self.behind()))
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(self.at, sign);
        self.at += usize::from(found);
        found
    }

    fn done(&self) -> bool {
        self.at >= self.end
    }

    /// The next token's span; at the end of the piece, the empty span behind its last token.
    fn here(&self) -> Span {
        if self.at < self.end { self.tokens[self.at].span } else { Span::at(self.behind().end) }
    }

    /// The span of the token before this one.
    fn behind(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(Span::at(0), |token| token.span)
    }

    fn since(&self, start: Span) -> Span {
        start.to(Span::at(self.behind().end.max(start.start)))
    }

    fn expected<T>(&mut self, what: &str, place: &str) -> Read<T> {
        let (span, seen) = (self.here(), self.text_at(self.at));
        self.report(mistake::expected(span, seen, what, place))
    }

    /// Takes the words or reports that they are missing, with the near miss or the left out words as a fix.
    fn need(&mut self, words: &[&str], place: &str) -> Read<Span> {
        let start = self.here();
        for (index, word) in words.iter().enumerate() {
            let seen = self.word(self.at).unwrap_or_default();
            if !seen.eq_ignore_ascii_case(word) {
                if !mistake::is_near(seen, word) {
                    return self.left_out(&words[index..], place);
                }
                self.said.push(mistake::misspelt(self.here(), seen, &[word], &format!("a part of {place}")));
            }
            self.at += 1;
        }
        Ok(self.since(start))
    }

    fn left_out<T>(&mut self, words: &[&str], place: &str) -> Read<T> {
        let (span, seen, words) = (self.here(), self.text_at(self.at), words.join(" "));
        let said = mistake::expected(span, seen, &words, place);
        let insertable = !matches!(self.kind(self.at), None | Some(Kind::Pipe | Kind::Comma | Kind::Close));
        self.report(if insertable { mistake::insertable(said, span.start, &words) } else { said })
    }

    /// Takes one of the phrases. A near miss of one is reported, with the fix, and taken for it.
    fn choose<T: Copy>(&mut self, choices: &[(&[&str], T)], place: &str) -> Read<T> {
        if let Some((_, choice)) = choices.iter().find(|(words, _)| self.take(words).is_some()) {
            return Ok(*choice);
        }
        let phrases: Vec<String> = choices.iter().map(|(words, _)| words.join(" ")).collect();
        let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
        let (span, seen) = (self.here(), self.word(self.at).unwrap_or_default());
        match choices
            .iter()
            .zip(&phrases)
            .find(|(_, phrase)| crate::diagnostic::nearest(seen, phrases.iter().copied()) == Some(**phrase))
        {
            Some(((_, choice), phrase)) => {
                self.said.push(mistake::misspelt(span, seen, &[phrase], &format!("a part of {place}")));
                self.at += 1;
                Ok(*choice)
            }
            None => self.expected(&mistake::one_of(&phrases), place),
        }
    }

    fn need_sign(&mut self, sign: &str, place: &str) -> Read<()> {
        if self.take_sign(sign) { Ok(()) } else { self.expected(&format!("`{sign}`"), place) }
    }

    /// A name; `what` says whose, as in "CONNECTION needs a name".
    fn ident(&mut self, what: &str, place: &str) -> Read<Ident> {
        let span = self.here();
        let ident = match self.kind(self.at) {
            Some(Kind::Word) => Ident { text: self.text_at(self.at).to_string(), span, quoted: false },
            Some(Kind::Quoted) => Ident { text: unquoted(self.text_at(self.at)), span, quoted: true },
            _ => return self.expected(what, place),
        };
        self.at += 1;
        Ok(ident)
    }

    fn name(&mut self, what: &str, place: &str) -> Read<Name> {
        let mut parts = vec![self.ident(what, place)?];
        while self.kind(self.at) == Some(Kind::Dot) {
            self.at += 1;
            parts.push(self.ident("a name behind the dot", place)?);
        }
        let span = self.since(parts[0].span);
        Ok(Name { parts, span })
    }

    fn text(&mut self, what: &str, place: &str) -> Read<Text> {
        let span = self.here();
        let seen = self.text_at(self.at);
        let text = match self.kind(self.at) {
            Some(Kind::Text) => unquoted(seen),
            Some(Kind::Quoted) => {
                let name = unquoted(seen);
                self.said.push(mistake::double_quotes(span, &name, what));
                name
            }
            _ => return self.expected(what, place),
        };
        self.at += 1;
        Ok(Text { text, span })
    }

    /// `'1 hour'` or `INTERVAL '1 hour'`.
    fn duration(&mut self, place: &str) -> Read<Duration> {
        let start = self.here();
        self.take(&["INTERVAL"]);
        let Text { text, .. } = self.text("a length of time like '1 hour'", place)?;
        Ok(Duration { text, span: self.since(start) })
    }

    fn count(&mut self, what: &str, place: &str) -> Read<Count> {
        let span = self.here();
        let digits = if self.kind(self.at) == Some(Kind::Number) { self.text_at(self.at) } else { "" };
        let Ok(value) = digits.replace('_', "").parse() else { return self.expected(what, place) };
        self.at += 1;
        Ok(Count { value, span })
    }

    /// At least one, with commas between. Every one that does not parse is reported; then the whole is broken.
    fn some<T>(&mut self, place: &str, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        if self.done() {
            return self.expected("something behind it", place);
        }
        let mut broken = false;
        let items = self.list(place, |p| item(p).inspect_err(|_| broken = true));
        if broken || items.is_empty() { Err(Said) } else { Ok(items) }
    }

    /// `(a, b)`; a single name without brackets is taken too, as in `KEY id`.
    fn columns(&mut self, place: &str) -> Read<Columns> {
        let start = self.here();
        if self.is_sign(self.at, "(") {
            let names = self.bracket(|p| p.list(place, |p| p.ident("a column", place)))?;
            if names.is_empty() {
                let span = self.since(start);
                return self.report(mistake::expected(span, "()", "at least one column", place));
            }
            return Ok(Columns { names, span: self.since(start) });
        }
        let name = self.ident("columns in brackets", place)?;
        Ok(Columns { span: name.span, names: vec![name] })
    }

    /// Reads the content of the bracket that is next, and goes on behind it whatever happened inside.
    fn bracket<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Read<T> {
        let Some(pair) = self.brackets.pair(self.at) else { return Err(Said) };
        let outer = (pair.after().min(self.end), self.end);
        (self.at, self.end) = (self.at + 1, pair.end.min(self.end));
        let content = read(self);
        (self.at, self.end) = outer;
        Ok(content)
    }

    /// `item, item`, to the end of the piece or to what is no comma. What does not parse is reported and skipped.
    fn list<T>(&mut self, place: &str, mut item: impl FnMut(&mut Self) -> Read<T>) -> Vec<T> {
        let mut items = Vec::new();
        while !self.done() {
            if self.kind(self.at) == Some(Kind::Comma) {
                let span = self.here();
                self.said.push(mistake::extra_comma(span, place));
                self.at += 1;
                continue;
            }
            match item(self) {
                Ok(item) => items.push(item),
                Err(Said) => self.skip_to_comma(),
            }
            if self.kind(self.at) != Some(Kind::Comma) {
                break;
            }
            self.at += 1;
            if self.done() {
                let span = self.behind();
                self.said.push(mistake::stray_comma(span, place));
            }
        }
        items
    }

    fn skip_to_comma(&mut self) {
        while !self.done() && self.kind(self.at) != Some(Kind::Comma) {
            self.at = self.next(self.at);
        }
    }

    /// The token behind this one, or behind the bracket that it opens.
    fn next(&self, at: usize) -> usize {
        self.brackets.pair(at).map_or(at + 1, |pair| pair.after()).max(at + 1)
    }

    /// Reports what is left of the piece, if anything is.
    fn nothing_left(&mut self, place: &str, clauses: &[&str]) -> Read<()> {
        if self.done() {
            return Ok(());
        }
        let (span, seen) = (self.here(), self.text_at(self.at));
        self.report(match self.word(self.at) {
            Some(word) if mistake::is_near_any(word, clauses) => {
                mistake::misspelt(span, word, clauses, &format!("a part of {place}"))
            }
            _ => mistake::left_over(span, seen, place, clauses),
        })
    }

    /// Sets a clause that may be given once.
    fn once<T>(&mut self, slot: &mut Option<T>, span: Span, first: impl Fn(&T) -> Span, value: T, name: &str) {
        match slot {
            Some(earlier) => {
                let first = first(earlier);
                self.said.push(mistake::twice(span, first, name));
            }
            None => *slot = Some(value),
        }
    }
}

/// The content of a quoted token: quotes off, doubled ones single, escapes of `E'…'` read.
fn unquoted(token: &str) -> String {
    if token.starts_with(['E', 'e']) {
        return escaped(inside(&token[1..], "'"));
    }
    if let Some(opened) = token.strip_prefix('$') {
        let tag = opened.find('$').map_or("$$", |end| &token[..end + 2]);
        return inside(token, tag).to_string();
    }
    if let Some(curly) = token.strip_prefix(['‘', '’', '“', '”']) {
        return curly.trim_end_matches(['‘', '’', '“', '”']).to_string();
    }
    let quote = &token[..token.len().min(1)];
    inside(token, quote).replace(&quote.repeat(2), quote)
}

fn inside<'t>(token: &'t str, quote: &str) -> &'t str {
    let opened = token.strip_prefix(quote).unwrap_or(token);
    opened.strip_suffix(quote).unwrap_or(opened)
}

/// PostgreSQL's backslash escapes of one character; any other character stands for itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                chars.next_if_eq(&'\'');
                out.push('\'');
            }
            '\\' => out.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            other => out.push(other),
        }
    }
    out
}
