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
    if what.contains("aggregate") {
        said.help("|> AGGREGATE … GROUP BY … computes it for each group")
    } else {
        said
    }
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

pub(crate) fn two_types(left: &Side, right: &Side) -> Diagnostic {
    let said = |title: String| {
        Diagnostic::error(slug::TYPE_MISMATCH, title)
            .at(left.span, format!("is {}", left.kind))
            .also(right.span, format!("is {}", right.kind))
    };
    if left.kind == "JSON" && right.kind == "JSON" {
        return said("JSON values have no order of their own".to_owned())
            .help(format!("say which they have: CAST({} AS DECIMAL(38, 10)), or AS STRING, or AS TIMESTAMP", left.text))
            .help("a record whose value does not fit goes to dead letters; TRY_CAST gives NULL for it");
    }
    let said = said(format!("{} and {} do not fit together", left.kind, right.kind));
    let loose = |side: &Side| matches!(side.kind.as_str(), "STRING" | "JSON");
    let (cast, to) = match (loose(left), loose(right)) {
        (true, _) => (left, &right.kind),
        (false, true) => (right, &left.kind),
        (false, false) => {
            return said
                .help("CAST(… AS type) on one side sends a record whose value does not fit to dead letters")
                .help("TRY_CAST gives NULL for it");
        }
    };
    said.fix(
        format!("CAST sends a record whose value is no {to} to dead letters; TRY_CAST gives NULL for it"),
        vec![Edit::replace(cast.span, format!("CAST({} AS {to})", cast.text))],
    )
}
