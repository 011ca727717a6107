//! What is said of `FROM history(…) THEN source`.

use syncline_syntax::{Diagnostic, Span};

use super::listed;
use crate::explain::slug;

pub(crate) fn never_ends(span: Span) -> Diagnostic {
    Diagnostic::error(slug::HISTORY, "a history has to end before what comes next can begin")
        .at(span, "never ends")
        .help("read files, a table or a store here; what goes on stands behind THEN")
}

pub(crate) fn not_here(span: Span) -> Diagnostic {
    Diagnostic::error(slug::HISTORY, "a history goes before the source of the pipeline")
        .at(span, "a flow in brackets has none of its own")
        .help("put history(…) THEN behind the first FROM, or UNION ALL the two sources")
}

pub(crate) fn two(span: Span) -> Diagnostic {
    Diagnostic::error(slug::HISTORY, "a pipeline has one history THEN its source, and one BESIDE it")
        .at(span, "the second")
        .help("put both into one: history(FROM … |> UNION ALL (FROM …))")
}

pub(crate) fn keeps(span: Span) -> Diagnostic {
    Diagnostic::error(slug::HISTORY, "a history BESIDE the source remembers nothing by itself")
        .at(span, "has a step with state")
        .help("leave DEDUP, AGGREGATE, ORDER BY and LIMIT to the steps behind it, or write THEN")
}

/// `columns`: their names, and the SQL of a NULL of their types.
pub(crate) fn lacks(span: Span, columns: &[(String, String)]) -> Diagnostic {
    let names = listed(columns.iter().map(|(name, _)| name.as_str()));
    let which = if columns.len() == 1 { "a column" } else { "columns" };
    let nulls: Vec<String> = columns.iter().map(|(name, null)| format!("{null} AS {name}")).collect();
    let nulls = listed(nulls.iter().map(String::as_str));
    Diagnostic::error(slug::HISTORY, format!("the history lacks {which} of the source"))
        .at(span, format!("has no {names}"))
        .help(format!("history(FROM … |> EXTEND {nulls}) says that its rows have none"))
}
