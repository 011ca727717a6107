//! Statements and the options of a pipeline.

use syncline_syntax::{
    Diagnostic, Span,
    ast::{Ident, Statement},
};

use super::{listed, with_nearest};
use crate::explain::slug;

/// Statements that are read and not understood yet.
pub(crate) fn statement_not_yet(statement: &Statement) -> Option<Diagnostic> {
    let (word, instead) = match statement {
        Statement::Sync(_) => ("SYNC", "one direction can be written as a PIPELINE that ends in UPSERT INTO"),
        Statement::Alert(_) => ("ALERT", "watch the metrics of the pipeline meanwhile"),
        Statement::Connection(_)
        | Statement::Schema(_)
        | Statement::Pipeline(_)
        | Statement::Test(_)
        | Statement::Let(_)
        | Statement::Function(_) => return None,
    };
    let name = statement.name();
    Some(
        Diagnostic::error(slug::NOT_YET, format!("{word} is not part of this version"))
            .at(name.span, "not there yet")
            .help(instead),
    )
}

pub(crate) fn no_such_option(name: &Ident, known: &[&str]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_OPTION, format!("a pipeline has no option {}", name.text));
    with_nearest(said, name.span, &name.text, known.iter().copied(), "no option has this name")
        .help(format!("options: {}", listed(known.iter().copied())))
}

pub(crate) fn how_many_tasks(span: Span, most: u32) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("a pipeline has 1 to {most} tasks"))
        .at(span, "not a number of tasks")
        .help("as many as the topic has partitions, or fewer: each takes its share of them")
}

pub(crate) fn tasks_without_changelog(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::CHANGELOG, format!("{name} has a meaning only with a changelog"))
        .at(span, "what one process knows, another could not go on with")
        .help("say where it is kept: WITH (changelog = 'bus', …)")
}

/// `by`: the SQL of its key, of which nothing means that all rows go to one task; `said`: what the source is partitioned by.
pub(crate) fn repartition(step: Span, by: &[String], said: &[String]) -> Diagnostic {
    let (title, seen) = match by {
        [] => ("all rows go to one task here".to_owned(), "has to see all of them".to_owned()),
        _ => {
            let by = listed(by.iter().map(String::as_str));
            (
                format!("rows go through a topic here, to the task that has their {by}"),
                "by another key than before".to_owned(),
            )
        }
    };
    let told = Diagnostic::note(slug::REPARTITION, title).at(step, seen);
    match (by, said) {
        ([], _) => told.help("leave `tasks` out if that is all that is done: one task reads all partitions"),
        (_, []) => told.help(
            "if the records are partitioned by it already, say so and save the way: FROM … PARTITIONED BY (column)",
        ),
        _ => told,
    }
}

/// `adds`: the sink keeps every row; else the one that comes last stands.
pub(crate) fn order_not_kept(step: Span, key: &[String], adds: bool) -> Diagnostic {
    let key = listed(key.iter().map(String::as_str));
    let told = Diagnostic::warning(slug::ORDER_NOT_KEPT, format!("rows of one {key} may change their order here"))
        .at(step, "they come from several tasks, which do not wait for each other");
    match adds {
        true => {
            told.help(format!("let the step in front of which rows change tasks go by {key} too, or leave `tasks` out"))
        }
        false => told.help("say which row is newer: SEQUENCE BY column"),
    }
}

pub(crate) fn read_when_compiled(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("{name} is part of what the file means"))
        .at(span, "known only when it runs")
        .help("write the value itself")
}
