//! Text to tokens: words, quoted names, text, numbers and signs, with their places. Comments are left out.
//!
//! Every text gives tokens; what is not closed is closed at the end of its line and reported at its opening, so that
//! the rest of the file is still read. The quoting rules are PostgreSQL's: `''` inside of text, `E'\''`, `$$…$$`,
//! nested `/* /* */ */`.

use crate::diagnostic::Diagnostic;
use crate::mistake;
use crate::span::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// `"name"`.
    Quoted,
    /// `'text'`, `E'text'`, `$$text$$`.
    Text,
    Number,
    /// `|>`.
    Pipe,
    Comma,
    Dot,
    Semicolon,
    /// `( [ {`.
    Open,
    /// `) ] }`.
    Close,
    /// Anything else; one sign of one or more characters.
    Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// Signs of more than one character that must not fall apart. Longer ones first.
const SIGNS: [&str; 11] = ["->>", "=>", "->", "||", "<=", ">=", "<>", "!=", "::", ":=", "=="];

pub fn tokens(source: &str) -> (Vec<Token>, Vec<Diagnostic>) {
    let strict = Lexer::new(source, false).run();
    if strict.1.is_empty() {
        return strict;
    }
    // One quote too few turns text and code around up to the next quote: read again, ending at the line any text that
    // runs over a line and into something that looks like code.
    Lexer::new(source, true).run()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    distrust_lines: bool,
    tokens: Vec<Token>,
    mistakes: Vec<Diagnostic>,
}

impl<'a> Lexer<'a> {
    fn new(source: &'a str, distrust_lines: bool) -> Self {
        Self { source, at: 0, distrust_lines, tokens: Vec::new(), mistakes: Vec::new() }
    }

    fn run(mut self) -> (Vec<Token>, Vec<Diagnostic>) {
        while let Some(next) = self.rest().chars().next() {
            self.one(next);
        }
        (self.tokens, self.mistakes)
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn one(&mut self, next: char) {
        let rest = self.rest();
        match next {
            c if c.is_whitespace() || c == '\u{feff}' => self.at += c.len_utf8(),
            '-' if rest.starts_with("--") => self.at += rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => self.comment(),
            '\'' => self.quoted('\'', Kind::Text, false),
            '"' => self.quoted('"', Kind::Quoted, false),
            'e' | 'E' if rest[1..].starts_with('\'') => self.quoted('\'', Kind::Text, true),
            '$' if dollar_tag(rest).is_some() => self.dollars(),
            '0'..='9' => self.push(Kind::Number, number(rest)),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) && !self.after_name() => {
                self.push(Kind::Number, number(rest));
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                self.push(Kind::Word, length.unwrap_or(rest.len()));
            }
            _ => self.sign(next),
        }
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let span = Span::new(self.at, self.at + length);
        self.tokens.push(Token { kind, span });
        self.at = span.end;
    }

    /// Directly behind a name or a bracket a dot is a dot, not the start of a number: `a.1`.
    fn after_name(&self) -> bool {
        self.tokens.last().is_some_and(|token| {
            token.span.end == self.at && matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Close)
        })
    }

    fn sign(&mut self, next: char) {
        let rest = self.rest();
        let kind = match next {
            '|' if rest.starts_with("|>") => return self.push(Kind::Pipe, 2),
            ',' => Kind::Comma,
            '.' => Kind::Dot,
            ';' => Kind::Semicolon,
            '(' | '[' | '{' => Kind::Open,
            ')' | ']' | '}' => Kind::Close,
            '‘' | '’' | '“' | '”' => return self.curly(next),
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                return self.push(Kind::Operator, sign.map_or(next.len_utf8(), |sign| sign.len()));
            }
        };
        self.push(kind, next.len_utf8());
    }

    /// Text in the quotes of a word processor, which close on the same line or not at all.
    fn curly(&mut self, opening: char) {
        let rest = self.rest();
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let closing = line.char_indices().skip(1).find(|(_, c)| matches!(c, '‘' | '’' | '“' | '”'));
        let length = closing.map_or(opening.len_utf8(), |(at, c)| at + c.len_utf8());
        let span = Span::new(self.at, self.at + length);
        let inside = closing.map(|(at, _)| &line[opening.len_utf8()..at]);
        self.mistakes.push(mistake::curly_quotes(span, inside));
        self.push(if inside.is_some() { Kind::Text } else { Kind::Operator }, length);
    }

    fn comment(&mut self) {
        let (start, rest) = (self.at, self.rest().as_bytes());
        let (mut depth, mut at) = (0usize, 0);
        while at < rest.len() {
            match &rest[at..(at + 2).min(rest.len())] {
                b"/*" => (depth, at) = (depth + 1, at + 2),
                b"*/" => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                self.at += at;
                return;
            }
        }
        self.mistakes.push(mistake::unclosed_comment(Span::new(start, start + 2)));
        self.at = self.source.len();
    }

    /// Text or a quoted name; a doubled quote stands for itself, and in `E'…'` a backslash takes the next character.
    fn quoted(&mut self, quote: char, kind: Kind, escapes: bool) {
        let rest = self.rest();
        let opening = 1 + usize::from(escapes);
        let mut chars = rest[opening..].char_indices().map(|(at, c)| (at + opening, c)).peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if escapes => drop(chars.next()),
                '\n' if self.distrust_lines && looks_like_code(&rest[at + 1..]) => break,
                c if c == quote => match chars.peek() {
                    Some((_, next)) if *next == quote => drop(chars.next()),
                    _ => return self.push(kind, at + 1),
                },
                _ => {}
            }
        }
        self.unclosed(kind, opening, quote.to_string());
    }

    fn dollars(&mut self) {
        let rest = self.rest();
        let tag = dollar_tag(rest).unwrap_or("$$");
        match rest[tag.len()..].find(tag) {
            Some(at) => self.push(Kind::Text, at + 2 * tag.len()),
            None => self.unclosed(Kind::Text, tag.len(), tag.to_string()),
        }
    }

    /// Ends at its line, before a `|>` and the punctuation that can only stand behind it.
    fn unclosed(&mut self, kind: Kind, opening: usize, closing: String) {
        let line = self.rest().lines().next().unwrap_or("");
        let text = without_punctuation(&line[..line.find(" |>").unwrap_or(line.len())]);
        let span = Span::new(self.at, self.at + text.len().max(opening));
        self.mistakes.push(mistake::unclosed_text(Span::new(span.start, span.start + opening), span.end, &closing));
        self.push(kind, span.end - span.start);
    }
}

/// Cuts `);` off, but leaves a bracket that the text itself has opened.
fn without_punctuation(mut text: &str) -> &str {
    loop {
        let shorter = text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ','));
        let opens_less = shorter.matches('(').count() < shorter.matches(')').count();
        match shorter.strip_suffix(')') {
            Some(without) if opens_less => text = without,
            _ => return shorter,
        }
    }
}

/// Whether a line begins as a step or a statement does.
fn looks_like_code(rest: &str) -> bool {
    let line = rest.trim_start();
    let word = &line[..line.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(line.len())];
    line.starts_with("|>") || crate::words::STATEMENTS.contains(&word)
}

/// `$$` or `$tag$` at the start of the text.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 1;
    let tag = &rest[1..end];
    let name = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    name.then(|| &rest[..=end])
}

fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        at
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}
