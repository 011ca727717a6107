//! What can be wrong inside of an expression.

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
    let said = Diagnostic::error(slug::NOT_YET, format!("{what} cannot be used here yet"))
        .at(span, "an expression is computed from one record alone");
    if what.contains("aggregate") { said.help("AGGREGATE … GROUP BY is not part of this version") } else { said }
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

pub(crate) fn two_types(span: Span, left: &Side, right: &Side) -> Diagnostic {
    let said = Diagnostic::error(slug::TYPE_MISMATCH, format!("{} and {} do not fit together", left.kind, right.kind))
        .at(span, "meet here")
        .also(left.span, format!("is {}", left.kind))
        .also(right.span, format!("is {}", right.kind));
    let (cast, to) = match (left.kind.as_str(), right.kind.as_str()) {
        ("JSON", "JSON") => (left, "DECIMAL(38, 10)"),
        ("STRING" | "JSON", other) => (left, other),
        (other, "STRING" | "JSON") => (right, other),
        (_, other) => (left, other),
    };
    if cast.kind == "JSON" && to == "DECIMAL(38, 10)" {
        return said.help(format!(
            "JSON values have no order of their own: say which they have, for example CAST({} AS DECIMAL(38, 10))",
            cast.text
        ));
    }
    said.fix(
        format!("CAST sends a record whose value is no {to} to dead letters; TRY_CAST gives NULL for it"),
        vec![Edit::replace(cast.span, format!("CAST({} AS {to})", cast.text))],
    )
}
