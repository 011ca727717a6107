//! What can be wrong inside of an expression.

use syncline_functions::Form;
use syncline_syntax::{Diagnostic, Edit, Span};

use super::with_nearest;
use crate::explain::slug;

pub(crate) fn no_such_function(span: Span, name: &str, known: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_FUNCTION, format!("there is no function {name}"));
    with_nearest(said, span, name, known.iter().map(String::as_str), "no function has this name")
}

pub(crate) fn not_repeatable(span: Span, function: &str) -> Diagnostic {
    Diagnostic::error(slug::NOT_REPEATABLE, format!("{function} gives another answer on every run"))
        .at(span, "a record that is processed again would come out differently")
        .help("for the time of a record there are _timestamp and _ingested_at, which a replay sees again")
}

pub(crate) fn not_here(span: Span, what: &str) -> Diagnostic {
    let label = match what.starts_with("the aggregate") {
        true => "not there yet",
        false => "an expression is computed from one record alone",
    };
    Diagnostic::error(slug::NOT_YET, format!("{what} cannot be used here yet")).at(span, label)
}

pub(crate) fn many_rows(span: Span, function: &str) -> Diagnostic {
    Diagnostic::error(slug::EXPRESSION, format!("{function} is computed over many rows"))
        .at(span, "this step sees one row at a time")
        .help("|> AGGREGATE … GROUP BY … before it computes it for each group, and names it: AS …")
}

/// A call with more or fewer arguments than the function takes.
pub(crate) fn wrong_count(span: Span, name: &str, given: usize, form: &Form) -> Diagnostic {
    let are = if given == 1 { "is" } else { "are" };
    let said = Diagnostic::error(slug::EXPRESSION, format!("{name} takes {}", arguments(&form.counts)))
        .at(span, format!("{given} {are} given"));
    match &form.written {
        Some(written) => said.help(format!("write {written}")),
        None => said,
    }
}

/// `1 argument`, `2 or 3 arguments`.
fn arguments(counts: &[usize]) -> String {
    let counts_in_words: Vec<String> = counts.iter().map(usize::to_string).collect();
    let noun = if counts == [1] { "argument" } else { "arguments" };
    format!("{} {noun}", counts_in_words.join(" or "))
}

pub(crate) fn not_read_back(span: Span) -> Diagnostic {
    Diagnostic::error(slug::EXPRESSION, "this expression has no plain form in SQL")
        .at(span, "its text would be read back as something else")
        .help("write it with other operators or functions, or split it with EXTEND")
}

pub(crate) fn other(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(slug::EXPRESSION, message).at(span, "in this expression")
}

pub(crate) fn type_mismatch(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, message).at(span, "the types do not fit").help(
        "CAST(… AS type) sends a record with a value that does not fit to dead letters; TRY_CAST gives NULL for it",
    )
}

/// One side of an operator.
pub(crate) struct Side {
    pub text: String,
    pub span: Span,
    pub kind: String,
}

/// What happens to a value that has no counterpart in the other type.
const WHAT_CAST_DOES: &str = "a record whose value does not fit goes to dead letters; TRY_CAST gives NULL for it";

/// The edit that makes two strict types one. Only the reader knows which is meant, so both ways are shown.
fn one_type(left: &Side, right: &Side) -> String {
    let number = |side: &Side| matches!(side.kind.as_str(), "BIGINT" | "INT" | "DOUBLE");
    match (left.kind.as_str(), right.kind.as_str()) {
        ("TIMESTAMP", _) if number(right) => seconds(right),
        (_, "TIMESTAMP") if number(left) => seconds(left),
        _ => format!("write CAST({} AS {}), or CAST({} AS {})", left.text, right.kind, right.text, left.kind),
    }
}

fn seconds(number: &Side) -> String {
    format!(
        "a moment is compared with a moment: to_timestamp_seconds({0}); a length of time is added as INTERVAL '1 hour'",
        number.text
    )
}

pub(crate) fn two_types(left: &Side, right: &Side) -> Diagnostic {
    let said = |title: String| {
        Diagnostic::error(slug::TYPE_MISMATCH, title)
            .at(left.span, format!("is {}", left.kind))
            .also(right.span, format!("is {}", right.kind))
    };
    if left.kind == "JSON" && right.kind == "JSON" {
        return said("JSON values have no order of their own".to_owned())
            .help(format!("say which they have: CAST({} AS DECIMAL(38, 10)), or AS STRING, or AS TIMESTAMP", left.text))
            .help(WHAT_CAST_DOES);
    }
    let said = said(format!("{} and {} do not fit together", left.kind, right.kind));
    let loose = |side: &Side| matches!(side.kind.as_str(), "STRING" | "JSON");
    let (cast, to) = match (loose(left), loose(right)) {
        (true, _) => (left, &right.kind),
        (false, true) => (right, &left.kind),
        (false, false) => return said.help(one_type(left, right)).help(WHAT_CAST_DOES),
    };
    said.fix(
        format!("CAST sends a record whose value is no {to} to dead letters; TRY_CAST gives NULL for it"),
        vec![Edit::replace(cast.span, format!("CAST({} AS {to})", cast.text))],
    )
}
