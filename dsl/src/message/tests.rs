//! TEST statements.

use syncline_functions::ExprError;
use syncline_syntax::{Diagnostic, Edit, Span};

use super::listed;
use crate::explain::slug;

fn rows(title: impl Into<String>) -> Diagnostic {
    Diagnostic::error(slug::TEST_ROWS, title)
}

pub(crate) fn clock(span: Span) -> Diagnostic {
    rows("a test's clock starts at an instant").at(span, "not one").help("CLOCK AT TIMESTAMP '2026-11-20 10:00:00'")
}

pub(crate) fn count_from_one(span: Span) -> Diagnostic {
    rows("this counts from 1").at(span, "nothing is at 0")
}

pub(crate) fn no_input(span: Span) -> Diagnostic {
    rows("this test has no input")
        .at(span, "nothing goes in")
        .help("GIVEN INPUT ROWS '{\"id\": 1}', or FROM 'file.ndjson'")
}

pub(crate) fn no_expectation(span: Span) -> Diagnostic {
    rows("this test expects nothing")
        .at(span, "passes, whatever the pipeline does")
        .help("EXPECT OUTPUT ROWS (1, 'ada'), or DROPPED 1 BECAUSE 'filtered', or DEAD LETTERS 1")
}

pub(crate) fn no_such_input(span: Span, places: &[&str]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_NAME, "the pipeline does not read this")
        .at(span, format!("it reads {}", super::listed(places.iter().copied())));
    match places {
        [_] => said.fix("leave it out: there is one source", vec![Edit::delete(span)]),
        _ => said.help("write one of them as the pipeline does"),
    }
}

pub(crate) fn rows_or_file(span: Span) -> Diagnostic {
    rows("the input is given by rows or by one file")
        .at(span, "both, or several files")
        .help("put all of it into one file")
}

pub(crate) fn not_constant(span: Span, error: &ExprError) -> Diagnostic {
    let label = match error {
        ExprError::NoSuchColumn { name, .. } => format!("{name} is a name; text takes single quotes"),
        other => other.to_string(),
    };
    rows("a row of a test has constant values").at(span, label)
}

pub(crate) fn arity(span: Span, values: usize, columns: &[String]) -> Diagnostic {
    let count = |count: usize| if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
    if columns.is_empty() {
        return rows("an open record is expected as one text")
            .at(span, count(values))
            .help("write the whole record as JSON: ('{\"id\": 1}')");
    }
    rows(format!("this row has {}, and the sink {} columns", count(values), columns.len()))
        .at(span, count(values))
        .help(format!("columns: {}", listed(columns.iter().map(String::as_str))))
}

pub(crate) fn dropped_without_reason(span: Span) -> Diagnostic {
    rows("what is dropped is counted by reason").at(span, "no reason").help("EXPECT DROPPED 1 BECAUSE 'duplicate'")
}

pub(crate) fn no_such_reason(span: Span, text: &str, reasons: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_NAME, format!("nothing is dropped because of '{text}'"));
    let said = match syncline_syntax::nearest(text, reasons.iter().map(String::as_str)) {
        Some(near) => said
            .at(span, format!("'{near}'?"))
            .fix(format!("write '{near}'"), vec![Edit::replace(span, format!("'{near}'"))]),
        None => said.at(span, "no reason of this pipeline"),
    };
    said.help(format!("reasons: {}", listed(reasons.iter().map(String::as_str))))
}

pub(crate) fn several_sinks(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_NAME, "several sinks of this pipeline have this place")
        .at(span, "which of them?")
        .help("a test can look only at a sink with a place of its own")
}

pub(crate) fn no_such_sink(span: Span, places: &[&str]) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_NAME, "the pipeline does not write there")
        .at(span, "no sink has this place")
        .help(format!("its sinks: {}", places.join(", ")))
}

pub(crate) fn value_misfit(span: Span, column: &str, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::TEST_ROWS, format!("{column} never has this value"))
        .at(span, format!("is no {kind}"))
        .help(format!("{column} is {kind} at this sink; NULL is written NULL, text in single quotes"))
}
