//! Steps that change how many rows there are: UNNEST, ORDER BY, LIMIT, DISTINCT.

use syncline_syntax::{Diagnostic, Edit, Span};

use crate::explain::slug;

pub(crate) fn one_array(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNNEST, "UNNEST takes one array")
        .at(span, "called with something else")
        .help("UNNEST(a), UNNEST(b) beside each other go through both at once")
}

pub(crate) fn no_elements(span: Span, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::UNNEST, format!("{kind} has no elements"))
        .at(span, "takes arrays apart")
        .help("a JSON value or a list (BIGINT[]) can be one")
}

pub(crate) fn unnest_not_here(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNNEST, "UNNEST makes rows, and this place makes none")
        .at(span, "stands where rows stay as many as they are")
        .help("|> EXTEND UNNEST(…) AS element before this step")
}

pub(crate) fn unnest_maybe(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNNEST, "this UNNEST may not be asked for")
        .at(span, "inside of CASE, AND, OR or coalesce")
        .help("how many rows there are cannot depend on it: |> EXTEND UNNEST(…) AS element before this step")
}

/// The key of a group that is known only after rows were multiplied.
pub(crate) fn group_too_late(sink: Span, unnest: Span, column: &str) -> Diagnostic {
    Diagnostic::error(slug::GROUP_TOO_LATE, format!("the group {column} is not known before the rows are made"))
        .at(sink, "an input without elements has to empty its group")
        .also(unnest, format!("{column} comes out of this UNNEST"))
        .help("PER takes columns that the record itself has, such as its id")
}

/// SELECT DISTINCT over a source that never ends.
pub(crate) fn distinct_endless(distinct: Span, step: Span, source: Span) -> Diagnostic {
    let edits = vec![Edit::delete(distinct), Edit::insert(step.end, "\n|> DEDUP WITHIN '1 hour'")];
    Diagnostic::error(slug::ENDLESS_STATE, "this DISTINCT would remember every row for ever")
        .at(distinct, "keeps every row that it sees")
        .also(source, "never ends")
        .fix("say how late a repeat can come", edits)
}

pub(crate) fn distinct_open(distinct: Span) -> Diagnostic {
    Diagnostic::error(slug::NEEDS_COLUMNS, "DISTINCT needs to know the columns")
        .at(distinct, "the record may have any fields here, some of them changed")
        .help("name the columns that make a row another one: SELECT DISTINCT a, b")
}

/// ORDER BY or LIMIT over a source that never ends.
pub(crate) fn needs_an_end(keyword: Span, source: Span, word: &str) -> Diagnostic {
    let label = match word {
        "ORDER BY" => "would wait for the last row, which never comes",
        _ => "would be used up, and the rest of the rows nothing",
    };
    Diagnostic::error(slug::NEEDS_WINDOW, format!("{word} needs a source that ends"))
        .at(keyword, label)
        .also(source, "never ends")
        .help("|> AGGREGATE … GROUP BY tumble(…) gives an answer for each window of time")
        .help("or read what is there and end: FROM file('…') without FOLLOW")
}

/// Whole records whose declared fields differ.
pub(crate) fn union_of_schemas(span: Span) -> Diagnostic {
    Diagnostic::error(slug::UNION, "whole records of different schemas do not make one set of rows")
        .at(span, "declares other fields than the source before the UNION")
        .help("give both sources the same SCHEMA, or end both with a SELECT of the same columns")
}

pub(crate) fn whole_number(span: Span, word: &str) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("{word} takes a whole number"))
        .at(span, "something else")
        .help(format!("write how many: {word} 10"))
}

/// REPLACE needs the rows of one input beside each other.
pub(crate) fn sorted_replace(sink: Span, order: Span) -> Diagnostic {
    Diagnostic::error(slug::SINK_CANNOT, "REPLACE cannot follow ORDER BY")
        .at(sink, "makes a group what its newest input derives")
        .also(order, "brings rows of all inputs into one order")
        .help("leave ORDER BY out: a table has no order")
}

/// Of one input it needs all rows.
pub(crate) fn thinned_replace(sink: Span, dedup: Span) -> Diagnostic {
    Diagnostic::error(slug::SINK_CANNOT, "REPLACE cannot follow a DEDUP of elements")
        .at(sink, "makes a group what its newest input derives, and nothing else")
        .also(dedup, "drops elements of the newest input that an earlier one had too")
        .help("put it in front of the UNNEST, where a repeat is a whole input, or leave it out")
}
