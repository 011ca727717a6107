//! One mistake, as a value: what is wrong, where, and the edit that puts it right.
//!
//! The same value is printed in a terminal (`render`), sent as JSON and shown in an editor. It holds no colour and no
//! line numbers; those are made from the source when it is shown. Spans that do not fit the source are clamped, never
//! a panic.

use std::cell::Cell;

use serde_json::{Value, json};

use crate::span::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What was seen at a place. The primary one is where the mistake is; the others say why it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
    pub primary: bool,
}

/// One replacement; an empty span inserts. Edits of one fix do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub span: Span,
    pub text: String,
}

impl Edit {
    pub fn insert(place: usize, text: impl Into<String>) -> Self {
        Self { span: Span::at(place), text: text.into() }
    }

    pub fn replace(span: Span, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }

    pub fn delete(span: Span) -> Self {
        Self { span, text: String::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable name of the kind of mistake; `explain` has a page for each.
    pub slug: &'static str,
    pub severity: Severity,
    /// A short fact in the user's words.
    pub title: String,
    pub labels: Vec<Label>,
    pub help: Vec<String>,
    /// What the edits do, and the edits: safe to apply without asking.
    pub fix: Option<(String, Vec<Edit>)>,
}

impl Diagnostic {
    pub fn new(severity: Severity, slug: &'static str, title: impl Into<String>) -> Self {
        Self { slug, severity, title: title.into(), labels: Vec::new(), help: Vec::new(), fix: None }
    }

    pub fn error(slug: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, slug, title)
    }

    pub fn warning(slug: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, slug, title)
    }

    pub fn note(slug: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Note, slug, title)
    }

    /// Where the mistake is, and what was seen there.
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// A second place that explains the first.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    pub fn fix(mut self, what: impl Into<String>, edits: Vec<Edit>) -> Self {
        self.fix = Some((what.into(), edits));
        self
    }

    /// The place of the mistake: that of its first primary label, else of its first label.
    pub fn span(&self) -> Span {
        let primary = self.labels.iter().find(|label| label.primary);
        primary.or(self.labels.first()).map_or(Span::default(), |label| label.span)
    }

    /// Lines and columns count from 1, columns in characters; bytes count from 0.
    pub fn to_json(&self, file: &str, source: &str) -> Value {
        let lines = Lines::of(source);
        let labels: Vec<Value> = self
            .labels
            .iter()
            .map(|label| json!({"text": label.text, "primary": label.primary, "span": lines.json(label.span)}))
            .collect();
        let fix = self.fix.as_ref().map(|(what, edits)| {
            let edits: Vec<Value> =
                edits.iter().map(|edit| json!({"span": lines.json(edit.span), "text": edit.text})).collect();
            json!({"what": what, "edits": edits})
        });
        json!({
            "slug": self.slug,
            "severity": self.severity.as_str(),
            "title": self.title,
            "file": file,
            "labels": labels,
            "help": self.help,
            "fix": fix,
        })
    }
}

/// The source with the edits made. Edits outside of the source are moved to its end.
pub fn apply_fix(source: &str, fix: &[Edit]) -> String {
    let mut edits: Vec<&Edit> = fix.iter().collect();
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut out = String::with_capacity(source.len());
    let mut done = 0;
    for edit in edits {
        let span = clamp(edit.span, source);
        let start = span.start.max(done);
        out.push_str(&source[done..start]);
        out.push_str(&edit.text);
        done = span.end.max(start);
    }
    out.push_str(&source[done..]);
    out
}

/// The word that was probably meant: equal but for case, or a few letters away. None when nothing is near.
pub fn nearest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = word.to_lowercase();
    among
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= reach(&wanted, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A third of the longer word, at least one letter: `SELCT` reaches SELECT, `id` does not reach `at`.
fn reach(word: &str, candidate: &str) -> usize {
    let longer = word.chars().count().max(candidate.chars().count());
    (longer / 3).max(usize::from(longer > 2))
}

/// The nearest span of whole characters inside of the source.
pub(crate) fn clamp(span: Span, source: &str) -> Span {
    let floor = |place: usize| {
        let mut place = place.min(source.len());
        while !source.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    let start = floor(span.start);
    Span { start, end: floor(span.end).max(start) }
}

/// Where the lines of a source begin: places to line and column, both from 1.
pub struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
    /// A byte, its line and its column, asked for before: questions come in the order of the file, and counting on
    /// from there keeps a file of one long line from being counted again for each.
    known: Cell<(usize, usize, usize)>,
}

impl<'a> Lines<'a> {
    pub fn of(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { source, starts, known: Cell::new((0, 1, 1)) }
    }

    /// Line and column, in characters, of a byte of the source.
    pub fn place(&self, byte: usize) -> (usize, usize) {
        let byte = clamp(Span::at(byte), self.source).start;
        let line = self.starts.partition_point(|start| *start <= byte);
        let (from, column) = match self.known.get() {
            (known, known_line, column) if known_line == line && known <= byte => (known, column),
            _ => (self.starts[line - 1], 1),
        };
        let column = column + self.source[from..byte].chars().count();
        self.known.set((byte, line, column));
        (line, column)
    }

    /// The byte of a line and column; the end of the line when it is shorter, None when there is no such line.
    pub fn byte(&self, line: usize, column: usize) -> Option<usize> {
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let end = self.starts.get(line).map_or(self.source.len(), |next| next - 1);
        let (from, passed) = match self.known.get() {
            (known, known_line, known_column) if known_line == line && known_column <= column => (known, known_column),
            _ => (start, 1),
        };
        let text = &self.source[from..end];
        Some(text.char_indices().nth(column.saturating_sub(passed)).map_or(end, |(at, _)| from + at))
    }

    fn json(&self, span: Span) -> Value {
        let span = clamp(span, self.source);
        let ((start_line, start_column), (end_line, end_column)) = (self.place(span.start), self.place(span.end));
        json!({
            "start": {"line": start_line, "column": start_column, "byte": span.start},
            "end": {"line": end_line, "column": end_column, "byte": span.end},
        })
    }
}
