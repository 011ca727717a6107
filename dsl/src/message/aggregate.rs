//! Aggregates and windows.

use syncline_syntax::{Diagnostic, Edit, Span};

use crate::explain::slug;

pub(crate) fn needs_window(step: Span, source: Span, time: &str, first_key: Option<Span>) -> Diagnostic {
    let window = format!("tumble({time}, INTERVAL '1 minute') AS minute");
    let edit = match first_key {
        Some(key) => Edit::insert(key.start, format!("{window}, ")),
        None => Edit::insert(step.end, format!(" GROUP BY {window}")),
    };
    Diagnostic::error(slug::NEEDS_WINDOW, "these groups would never be complete")
        .at(step, "puts a group out when no row can come to it any more")
        .also(source, "never ends")
        .fix("a window of time is complete when its time is over", vec![edit])
        .help("over a source that ends, groups go out at its end: file('…') without FOLLOW")
}

pub(crate) fn needs_watermark(time: Span, text: &str, source: Span) -> Diagnostic {
    Diagnostic::error(slug::NEEDS_WATERMARK, format!("nothing says when {text} has passed"))
        .at(time, "is not the time of the record")
        .also(source, "never ends, so a window has to know when it is complete")
        .help(format!(
            "FROM … SCHEMA with WATERMARK FOR {text} AS {text} - INTERVAL '30 seconds' makes it the record's time"
        ))
        .help("or use _timestamp, the moment at which a record came in")
}

pub(crate) fn window_form(span: Span, name: &str, form: &str) -> Diagnostic {
    Diagnostic::error(slug::WINDOW, format!("{name} does not have this form"))
        .at(span, "a time and lengths of time")
        .help(format!("write {form}"))
}

pub(crate) fn too_many_windows(span: Span, windows: u64, most: u64) -> Diagnostic {
    Diagnostic::error(slug::WINDOW, format!("every row would be in {windows} windows"))
        .at(span, format!("at most {most}: each has groups of its own"))
        .help("a wider slide gives fewer windows: hop(time, slide, size)")
}

pub(crate) fn second_window(span: Span) -> Diagnostic {
    Diagnostic::error(slug::WINDOW, "a group has one window").at(span, "a second one").help(
        "aggregate twice: |> AGGREGATE … GROUP BY tumble(…) AS minute |> AGGREGATE … GROUP BY tumble(minute, …) AS hour",
    )
}

pub(crate) fn no_instant(span: Span, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, "a window needs a TIMESTAMP")
        .at(span, format!("is {kind}"))
        .help("a number of seconds becomes one with to_timestamp_seconds(…)")
}

/// Where a further key is written.
#[derive(Clone, Copy)]
pub(crate) struct GroupBy {
    pub end: usize,
    /// Whether there are keys already.
    pub there: bool,
}

/// `json`: its values have no order.
pub(crate) fn not_grouped(span: Span, name: &str, json: bool, group_by: GroupBy) -> Diagnostic {
    let ordered = if json { format!("CAST({name} AS STRING)") } else { name.to_owned() };
    let words = if group_by.there { format!(", {name}") } else { format!(" GROUP BY {name}") };
    Diagnostic::error(slug::NOT_GROUPED, format!("a group has many values of {name}"))
        .at(span, "neither a key of the group nor inside an aggregate")
        .help(format!("MIN({ordered}) or MAX({ordered}) gives one of them, COUNT(DISTINCT {name}) how many there are"))
        .fix("make it a key of the group", vec![Edit::insert(group_by.end, words)])
}

pub(crate) fn depends_on_order(span: Span, function: &str) -> Diagnostic {
    Diagnostic::error(slug::NOT_REPEATABLE, format!("{function} depends on the order in which rows come"))
        .at(span, "rows of several partitions meet in another order on every run")
        .help("MIN, MAX, SUM, COUNT and AVG give the same answer in any order")
}

pub(crate) fn keep_last(dedup: Span, aggregate: Span) -> Diagnostic {
    Diagnostic::error(slug::KEEP_LAST, "KEEP LAST changes rows that AGGREGATE has counted already")
        .at(aggregate, "counts a row and never takes it back")
        .also(dedup, "a later row takes the place of an earlier one")
        .help("use KEEP FIRST")
}
