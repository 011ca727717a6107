//! What can be wrong inside of an expression.

use syncline_functions::Form;
use syncline_syntax::{Diagnostic, Edit, Span};

use super::with_nearest;
use crate::explain::slug;

pub(crate) fn no_such_function(span: Span, name: &str, known: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_FUNCTION, format!("there is no function {name}"));
    with_nearest(said, span, name, known.iter().map(String::as_str), "no function has this name")
}

/// `instead`: the call, and what gives the same answer on a replay.
pub(crate) fn not_repeatable(span: Span, function: &str, instead: Option<(Span, &str)>) -> Diagnostic {
    let said = Diagnostic::error(slug::NOT_REPEATABLE, format!("{function} gives another answer on every run"))
        .at(span, "a record that is processed again would come out differently");
    match (instead, function) {
        (Some((call, text)), _) => said
            .help("for the time of a record there are _timestamp and _ingested_at, which a replay sees again")
            .fix("take the moment at which the record came in", vec![Edit::replace(call, text)]),
        (None, "random" | "uuid" | "gen_random_uuid") => {
            said.help("a value of the record is the same on a replay: sha256(CAST(id AS STRING)), for example")
        }
        (None, _) => {
            said.help("for the time of a record there are _timestamp and _ingested_at, which a replay sees again")
        }
    }
}

pub(crate) fn not_here(span: Span, what: &str) -> Diagnostic {
    let label = match what.starts_with("the aggregate") {
        true => "not there yet",
        false => "an expression is computed from one record alone",
    };
    if what == "SIMILAR TO" {
        return Diagnostic::error(slug::NOT_YET, "SIMILAR TO is not read yet")
            .at(span, "its patterns are a language of their own")
            .help("LIKE has % and _; x ~ '^(a|b)+$' is a regular expression, from the first character to the last");
    }
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
    match shows_its_inside(message) {
        true => Diagnostic::error(slug::EXPRESSION, "this form of SQL cannot be computed here")
            .at(span, "in this expression")
            .help("write it with other functions, with all of their arguments"),
        false => Diagnostic::error(slug::EXPRESSION, message).at(span, "in this expression"),
    }
}

/// Whether a library shows its own structures in place of what was written.
fn shows_its_inside(message: &str) -> bool {
    ["Ident {", "Span(", "Expr {", "Literal("].iter().any(|inside| message.contains(inside))
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
    /// Where it is a constant.
    pub literal: Option<Literal>,
}

pub(crate) enum Literal {
    Text(String),
    Number,
}

impl Side {
    pub fn is_number(&self) -> bool {
        matches!(self.literal, Some(Literal::Number))
    }
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

/// `numbers`: the constants that are compared for equality, where nothing else is asked.
pub(crate) fn two_types(left: &Side, right: &Side, numbers: Option<&Vec<Side>>) -> Diagnostic {
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
    for (text, other) in [(left, right), (right, left)] {
        if let Some(Literal::Text(value)) = &text.literal
            && !loose(other)
        {
            return no_value(text, value, other);
        }
    }
    let said = said(format!("{} and {} do not fit together", left.kind, right.kind));
    let (cast, other) = match (loose(left), loose(right)) {
        (true, _) => (left, right),
        (false, true) => (right, left),
        (false, false) => return said.help(one_type(left, right)).help(WHAT_CAST_DOES),
    };
    let to = wide(other);
    match numbers.filter(|numbers| !numbers.is_empty() && cast.kind == "STRING" && other.is_number()) {
        Some(numbers) => said
            .help(format!(
                "as numbers: CAST({} AS {to}) sends a record whose value is no {to} to dead letters; TRY_CAST gives NULL for it",
                cast.text
            ))
            .fix(
                "compare text with text",
                numbers.iter().map(|one| Edit::replace(one.span, format!("'{}'", one.text))).collect(),
            ),
        None => said.fix(
            format!("CAST sends a record whose value is no {to} to dead letters; TRY_CAST gives NULL for it"),
            vec![Edit::replace(cast.span, format!("CAST({} AS {to})", cast.text))],
        ),
    }
}

fn loose(side: &Side) -> bool {
    matches!(side.kind.as_str(), "STRING" | "JSON")
}

/// The type that values beside `other` are cast to. That of a written `9.5` has room for one digit before the point.
fn wide(other: &Side) -> &str {
    if other.is_number() && other.kind.starts_with("DECIMAL") { "DECIMAL(38, 10)" } else { &other.kind }
}

/// A text of the expression that is no value of what it is compared with.
fn no_value(text: &Side, value: &str, other: &Side) -> Diagnostic {
    let said = Diagnostic::error(slug::TYPE_MISMATCH, format!("{} is no {}", text.text, other.kind))
        .at(text.span, "a text")
        .also(other.span, format!("is {}", other.kind));
    let edit = |edit: &str| vec![Edit::replace(text.span, edit)];
    match (other.kind.as_str(), yes_or_no(value)) {
        ("TIMESTAMP", _) => clock(said, value).fix("write a moment", edit("'2026-11-20 10:00:00'")),
        ("DATE", _) => clock(said, value).fix("write a date", edit("'2026-11-20'")),
        ("BOOLEAN", Some(word)) => said.fix(format!("write {word}"), edit(word)),
        ("BOOLEAN", None) => said.help("write TRUE or FALSE"),
        (kind, _) if is_number(kind) => match value.trim().parse::<f64>().is_ok_and(f64::is_finite) {
            true => said.fix("write it as a number", edit(value.trim())),
            false => said.fix(
                "compare text with text",
                vec![Edit::replace(other.span, format!("CAST({} AS STRING)", other.text))],
            ),
        },
        (kind, _) => said.help(format!("write a {kind}")),
    }
}

fn is_number(kind: &str) -> bool {
    let words = ["TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL", "DOUBLE", "REAL"];
    words.iter().any(|word| kind.starts_with(word)) && !kind.starts_with("INTERVAL") && !kind.ends_with("[]")
}

fn yes_or_no(value: &str) -> Option<&'static str> {
    match value.trim().to_lowercase().as_str() {
        "yes" | "y" | "on" | "1" => Some("TRUE"),
        "no" | "n" | "off" | "0" => Some("FALSE"),
        _ => None,
    }
}

/// 'yesterday' and its like are other moments on every day.
fn clock(said: Diagnostic, value: &str) -> Diagnostic {
    match value.trim().to_lowercase().as_str() {
        "now" | "today" | "yesterday" | "tomorrow" => said.help(
            "a replay would see another one: a pipeline does not ask the clock; _ingested_at is when a record came in",
        ),
        _ => said,
    }
}

/// `column = NULL`, which is never true. `is`: what was probably meant.
pub(crate) fn equals_null(span: Span, operator: &str, rest: Span, is: &str) -> Diagnostic {
    Diagnostic::warning(slug::EQUALS_NULL, format!("{operator} NULL is never true"))
        .at(span, "NULL is equal to nothing, and different from nothing")
        .fix(format!("write {is}"), vec![Edit::replace(rest, format!(" {is}"))])
}
