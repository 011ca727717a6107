//! Steps.

use syncline_syntax::{
    Diagnostic, Edit, Span,
    ast::{Arm, Assignment, Ident, NamedExpr, StepKind},
};

use super::{listed, with_nearest};
use crate::{explain::slug, scope::Scope};

pub(crate) fn unreachable(span: Span, end: Span) -> Diagnostic {
    Diagnostic::error(slug::UNREACHABLE, "no row comes to this step")
        .at(span, "after the end of its flow")
        .also(end, "the rows end here")
        .help("put it before the end, or write to several places with |> TEE (|> INSERT INTO …)")
}

pub(crate) fn no_sink(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SINK, "this flow ends nowhere")
        .at(span, "the last step passes its rows on")
        .help("end it with |> INSERT INTO …, |> UPSERT INTO … KEY (…) or |> REPLACE INTO … PER (…)")
}

/// A step that is read and not understood yet.
pub(crate) fn not_yet(kind: &StepKind, span: Span) -> Diagnostic {
    let word = if matches!(kind, StepKind::Match(_)) { "MATCH" } else { "this step" };
    Diagnostic::error(slug::NOT_YET, format!("{word} is not part of this version")).at(span, "not there yet")
}

pub(crate) fn extend_wildcard(span: Span) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, "EXTEND keeps every column already")
        .at(span, "would be there twice")
        .help("write only the new columns")
}

pub(crate) fn extend_known(named: &NamedExpr, place: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("there is a column {name} already"))
        .at(place, "EXTEND adds columns")
        .help(format!("|> SET {name} = {} changes it", one_line(&named.expr.text)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn hidden_is_fixed(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{name} says where a record came from, and stays as it is"))
        .at(span, "not a column of the record")
        .help(format!("EXTEND {name} AS another_name makes a column of it"))
}

pub(crate) fn set_unknown(assignment: &Assignment, scope: &Scope) -> Diagnostic {
    let name = &assignment.column;
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("there is no column {} to set", name.text));
    let names = scope.visible().map(|column| column.name());
    with_nearest(said, name.span, &name.text, names, "no column has this name at this step")
        .help(format!("|> EXTEND {} AS {} adds it", one_line(&assignment.expr.text), name.text))
        .help(format!("columns at this step: {}", listed(scope.visible().map(|column| column.name()))))
}

pub(crate) fn not_a_condition(span: Span, place: &str, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{place} needs a condition"))
        .at(span, format!("is {kind}, not BOOLEAN"))
        .help("compare it with something: = … or IS NOT NULL")
}

pub(crate) fn using(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NOT_YET, "DEDUP … USING is not part of this version")
        .at(span, "not there yet")
        .help("DEDUP BY compares keys exactly; lower(trim(…)) makes spellings equal")
}

pub(crate) fn keep_first_by(span: Span) -> Diagnostic {
    Diagnostic::error(slug::KEEP_LAST, "the first is the one that comes first")
        .at(span, "BY belongs to KEEP LAST")
        .help("write KEEP FIRST, or KEEP LAST BY …")
}

pub(crate) fn keep_last(dedup: Span, insert: Span) -> Diagnostic {
    Diagnostic::error(slug::KEEP_LAST, "KEEP LAST changes rows that INSERT has written already")
        .at(insert, "adds a row and never changes one")
        .also(dedup, "a later row takes the place of an earlier one")
        .help("use UPSERT INTO … KEY (…), or KEEP FIRST")
}

/// Bytes of state for each key: a fingerprint and its share of a table.
const BYTES_PER_KEY: u64 = 19;
const SECONDS_A_DAY: u64 = 86_400;
/// A rate that one can multiply in one's head.
const RATE: u64 = 1_000;

pub(crate) fn endless_state(span: Span, source: Span, keys: &[&str]) -> Diagnostic {
    let tenths = BYTES_PER_KEY * SECONDS_A_DAY * RATE / 100_000_000;
    let growth = format!("about {}.{} GB a day at 1,000 records a second", tenths / 10, tenths % 10);
    let what = if keys.is_empty() { "record".to_owned() } else { keys.join(" and ") };
    Diagnostic::error(slug::ENDLESS_STATE, format!("this DEDUP would remember every {what} for ever"))
        .at(span, format!("keeps every {what} that it sees: {growth}"))
        .also(source, "never ends")
        .fix("say how late a repeat can come", vec![Edit::insert(span.end, " WITHIN '1 hour'")])
}

pub(crate) fn no_order(span: Span, place: &str, text: &str, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{place} needs values that have an order"))
        .at(span, format!("is {kind}, which has none"))
        .help(format!("say which it has: CAST({text} AS TIMESTAMP), or AS BIGINT"))
        .help("a record whose value does not fit goes to dead letters")
}

pub(crate) fn lanes(span: Span, most: u64) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("a SHARD has 1 to {most} lanes"))
        .at(span, "not as many")
        .help("about as many as cores, or as the topic has partitions: SHARD BY … INTO 12")
}

pub(crate) fn no_primary(span: Span, arms: &[Arm]) -> Diagnostic {
    let said = Diagnostic::error(slug::SHARD_ARMS, "one arm of a SHARD is the PRIMARY").at(span, "has none");
    match arms {
        [first, ..] => {
            said.help(format!("write PRIMARY {} AS (…) for the rows that the others derive from", first.name.text))
        }
        [] => said.help("write PRIMARY name AS (…)"),
    }
}

pub(crate) fn second_primary(other: &Ident, first: &Ident) -> Diagnostic {
    Diagnostic::error(slug::SHARD_ARMS, "one arm of a SHARD is the PRIMARY")
        .at(other.span, "a second one")
        .also(first.span, "the first")
        .help(format!("write DERIVED {} AS (…)", other.text))
}

pub(crate) fn sink_in_union(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNION, "the rows of a UNION go on behind it")
        .at(span, "they would end here")
        .help("|> TEE (|> INSERT INTO …) writes a copy of them and lets them pass")
}

pub(crate) fn union_distinct(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNION, "UNION DISTINCT would have to remember every row for ever")
        .at(span, "write ALL")
        .help("UNION ALL (…) |> DEDUP BY … WITHIN '1 hour' drops rows that come twice")
}

pub(crate) fn union_open(span: Span, open: bool) -> Diagnostic {
    let (this, other) = match open {
        true => ("has whatever fields its records have", "the rows before the UNION have named columns"),
        false => ("has named columns", "the rows before the UNION have whatever fields their records have"),
    };
    Diagnostic::error(slug::UNION, "whole records and named columns do not make one set of rows")
        .at(span, this)
        .help(format!("{other}: end both with a SELECT of the same columns"))
}

pub(crate) fn union_changed(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNION, "the records of this UNION were changed in different ways")
        .at(span, "EXTEND, SET, DROP or RENAME are not the same as before the UNION")
        .help("change them behind the UNION, or end both with a SELECT of the same columns")
}

pub(crate) fn union_count(span: Span, here: &[String], there: &[String]) -> Diagnostic {
    let count =
        |names: &[String]| if names.len() == 1 { "1 column".to_owned() } else { format!("{} columns", names.len()) };
    Diagnostic::error(slug::UNION, "a UNION takes as many columns from each of its flows")
        .at(span, format!("has {}: {}", count(here), here.join(", ")))
        .help(format!("before the UNION there are {}: {}", count(there), there.join(", ")))
        .help("UNION ALL BY NAME puts columns together by name; others are NULL")
}

pub(crate) fn union_types(span: Span, name: &str, here: &str, there: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{name} would have two types"))
        .at(span, format!("is {here} here, and {there} before the UNION"))
        .help(format!("CAST({name} AS {there}) AS {name} in the SELECT before it"))
}

pub(crate) fn join_kind(span: Span, word: &str) -> Diagnostic {
    Diagnostic::error(slug::JOIN, format!("{word} JOIN would have to wait for rows that never come"))
        .at(span, "JOIN and LEFT JOIN are there")
        .help("put the side that must be kept whole on the left, and write LEFT JOIN")
}

pub(crate) fn join_alias(span: Span) -> Diagnostic {
    Diagnostic::error(slug::JOIN, "a joined table needs a name")
        .at(span, "its columns are read as name.column")
        .fix("name it", vec![Edit::insert(span.end, " AS r")])
}

pub(crate) fn join_alias_twice(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("there is a {name} already"))
        .at(span, "a second one")
        .help("give this table another name")
}

pub(crate) fn join_without_condition(span: Span, word: &str) -> Diagnostic {
    Diagnostic::error(slug::JOIN, format!("this {word} does not say which rows belong together"))
        .at(span, "no ON, no USING")
        .help("ON r.id = repo_id, or USING (id) where both call it so")
}

pub(crate) fn join_without_key(span: Span, alias: &str, word: &str) -> Diagnostic {
    Diagnostic::error(slug::JOIN, format!("a {word} needs something that is equal on both sides"))
        .at(span, "no part of it is such an equality")
        .help(format!("write {alias}.column = column, and other conditions behind AND"))
}

/// A LOOKUP asks with values, so what it asks for are columns that have them.
pub(crate) fn lookup_key(span: Span, alias: &str) -> Diagnostic {
    Diagnostic::error(slug::JOIN, "a LOOKUP asks for rows by columns of theirs").at(span, "is more than that").help(
        format!("write {alias}.column = column, several of them with AND, and judge the rest behind it: |> WHERE …"),
    )
}

/// `least`, `most`: which ends are there already. `times`: how both sides call theirs.
pub(crate) fn join_endless(
    span: Span,
    condition: Span,
    (least, most): (bool, bool),
    (own, its): &(String, String),
    using: bool,
) -> Diagnostic {
    let said = match (least, most) {
        (true, _) => format!("does not say how long after {own} its row may come"),
        (_, true) => format!("does not say how long before {own} its row may come"),
        _ => "does not say how far apart their times may be".to_owned(),
    };
    let bound = match (least, most) {
        (true, _) => format!("{its} <= {own} + INTERVAL '1 hour'"),
        (_, true) => format!("{its} >= {own} - INTERVAL '1 hour'"),
        _ => format!("{its} BETWEEN {own} - INTERVAL '1 hour' AND {own} + INTERVAL '1 hour'"),
    };
    let diagnostic = Diagnostic::error(slug::NEEDS_TIME_BOUND, "this JOIN would remember rows of both sides for ever")
        .at(span, "never ends")
        .also(condition, said);
    let diagnostic = match using {
        true => diagnostic.help(format!("write ON … AND {bound} in place of USING")),
        false => diagnostic.fix("bound it", vec![Edit::insert(condition.end, format!(" AND {bound}"))]),
    };
    diagnostic.help("or join a table that is read whole: file('…') without FOLLOW, with REFRESH EVERY '5 minutes'")
}

pub(crate) fn join_timeless(condition: Span, endless: Span) -> Diagnostic {
    Diagnostic::error(slug::NEEDS_TIME_BOUND, "nothing says when the rows of this JOIN are over")
        .at(condition, "the rows before it have no time of their own any more")
        .also(endless, "never ends")
        .help("join before the step that changes or drops the column of the record's time")
}

pub(crate) fn join_never(condition: Span, (own, its): &(String, String)) -> Diagnostic {
    Diagnostic::error(slug::JOIN, format!("{its} and {own} are never that near"))
        .at(condition, "its bounds leave no time between them")
        .help(format!("{its} BETWEEN {own} AND {own} + INTERVAL '1 hour'"))
}

pub(crate) fn join_types(left: (Span, &str), right: (Span, &str)) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{} and {} are never equal", left.1, right.1))
        .at(left.0, format!("is {}", left.1))
        .also(right.0, format!("is {}", right.1))
        .help("CAST(… AS type) on one side makes them one type")
}
