//! The compiler from the outside: a file in, its plan or its messages out, compared whole.

mod aggregates;
mod diagnostics;
mod diagnostics_rows;
mod formats;
mod history;
mod joins;
mod pages;
mod partitions;
mod plans;
mod random;
mod samples;
mod schedules;
mod shapes;
mod shorthand_and_rows;
mod source_keys;
mod stages;
mod streams;

use syncline_syntax::render;

use crate::{
    Checked, Samples,
    catalog::{ArgumentFacts, CallFacts, Catalog, ConnectorFacts, SinkFacts, SourceFacts},
    compile,
};

/// Connectors such as there are: of each kind one.
pub(super) fn catalog() -> Catalog {
    let argument = |name: &str, kind: &str, required: bool| ArgumentFacts {
        name: name.into(),
        kind: kind.into(),
        required,
        positional: required,
        ..ArgumentFacts::default()
    };
    let verify = ArgumentFacts {
        calls: vec![CallFacts {
            name: "github".into(),
            example: "verify => github(secret('github/webhook'))".into(),
            arguments: vec![
                argument("secret", "secret", true),
                argument("tolerance", "duration", false),
                ArgumentFacts { choices: vec!["hex".into(), "base64".into()], ..argument("encoding", "choice", false) },
            ],
        }],
        ..argument("verify", "call", false)
    };
    let file_sink = SinkFacts { insert: true, delivery: "exactly once".into(), ..SinkFacts::default() };
    let formats = |formats: &[&str]| formats.iter().map(|format| (*format).to_owned()).collect::<Vec<_>>();
    let path = argument("path", "text", true);
    let connector = |name: &str, source, sink, arguments| ConnectorFacts {
        name: name.into(),
        source,
        sink,
        arguments,
        ..ConnectorFacts::default()
    };
    Catalog {
        connectors: vec![
            connector(
                "file",
                Some(SourceFacts { follow: true, formats: formats(&["json", "csv"]), ..SourceFacts::default() }),
                Some(SinkFacts { formats: formats(&["json", "csv"]), ..file_sink.clone() }),
                vec![path.clone(), argument("compression", "text", false), argument("settle", "duration", false)],
            ),
            connector(
                "http",
                Some(SourceFacts { endless: true, formats: formats(&["json"]), ..SourceFacts::default() }),
                None,
                vec![path.clone(), verify, argument("max_body", "size", false), argument("rate_limit", "rate", false)],
            ),
            connector(
                "parquet",
                Some(SourceFacts { typed: true, ..SourceFacts::default() }),
                Some(SinkFacts { needs_columns: true, ..file_sink.clone() }),
                vec![argument("folder", "text", true)],
            ),
            connector(
                "sqlite",
                None,
                Some(SinkFacts { upsert: true, replace: true, needs_columns: true, ..file_sink.clone() }),
                vec![path, argument("table", "text", true)],
            )
            .keyed(),
            connector("stdout", None, Some(SinkFacts { delivery: "at least once".into(), ..file_sink }), vec![]),
        ],
    }
}

/// With one whose records have keys beside them.
fn catalog_of(source: &str) -> Catalog {
    let mut catalog = catalog();
    if source.contains("kafka") {
        let argument = |name: &str, positional: bool| ArgumentFacts {
            name: name.into(),
            kind: "text".into(),
            required: true,
            positional,
            ..ArgumentFacts::default()
        };
        let formats = ["json", "csv", "raw", "avro"].map(str::to_owned).to_vec();
        catalog.connectors.push(ConnectorFacts {
            name: "kafka".into(),
            source: Some(SourceFacts { endless: true, until: true, keys: true, formats, ..SourceFacts::default() }),
            sink: Some(SinkFacts {
                insert: true,
                upsert: true,
                delivery: "exactly once".into(),
                formats: vec!["json".into()],
                ..SinkFacts::default()
            }),
            arguments: vec![argument("topic", true), argument("brokers", false)],
            changelog: true,
            ..ConnectorFacts::default()
        });
    }
    catalog
}

impl ConnectorFacts {
    fn keyed(self) -> Self {
        Self { keyed: true, ..self }
    }
}

pub(super) fn checked(source: &str) -> Checked {
    compile(source, &catalog(), &Samples::default())
}

/// The same where topics are known.
pub(super) fn checked_of(source: &str) -> Checked {
    compile(source, &catalog_of(source), &Samples::default())
}

/// The plan as it is printed; what was said, when something was.
pub(super) fn plan_of(source: &str) -> String {
    let checked = checked_of(source);
    if checked.diagnostics.is_empty() { checked.plan.to_string() } else { said(&checked, source) }
}

pub(super) fn said(checked: &Checked, source: &str) -> String {
    render(&checked.diagnostics, "orders.sync", source, false)
}

/// The slug of each message and the text that it is about.
pub(super) fn places<'a>(checked: &'a Checked, source: &'a str) -> Vec<(&'a str, &'a str)> {
    checked.diagnostics.iter().map(|one| (one.slug, one.span().of(source))).collect()
}

pub(super) fn slugs(checked: &Checked) -> Vec<&'static str> {
    let mut slugs: Vec<&str> = checked.diagnostics.iter().map(|one| one.slug).collect();
    slugs.dedup();
    slugs
}
