//! The prose of every diagnostic: here and nowhere else.
//!
//! The first line is a short fact in the reader's words; the label says what was seen there; help gives the edit with their names.

pub(crate) mod aggregate;
pub(crate) mod expressions;
pub(crate) mod history;
pub(crate) mod names;
pub(crate) mod pipelines;
pub(crate) mod places;
pub(crate) mod rows;
pub(crate) mod schedule;
pub(crate) mod shorthand;
pub(crate) mod sinks;
pub(crate) mod source;
pub(crate) mod source_key;
pub(crate) mod steps;
pub(crate) mod streams;
pub(crate) mod tests;
pub(crate) mod values;

use syncline_syntax::{Diagnostic, Edit, Span, nearest};

/// Names in a list of help, before the rest is only counted.
const LISTED: usize = 20;

/// `a, b, c`, cut where it gets too long to read.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.len().checked_sub(LISTED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..LISTED].join(", ")),
        _ => names.join(", "),
    }
}

/// Adds the nearest of some names: as a fix, and as the label of the place.
pub(crate) fn with_nearest<'a>(
    said: Diagnostic,
    span: Span,
    word: &str,
    among: impl Iterator<Item = &'a str>,
    otherwise: &str,
) -> Diagnostic {
    match nearest(word, among) {
        Some(name) => said.at(span, format!("{name}?")).fix(format!("write {name}"), vec![Edit::replace(span, name)]),
        None => said.at(span, otherwise),
    }
}
