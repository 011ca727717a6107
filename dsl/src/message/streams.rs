//! Streams: what one pipeline writes and others read.

use syncline_syntax::{Diagnostic, Edit, Span, ast::Ident};

use super::{listed, with_nearest};
use crate::{catalog::Catalog, explain::slug, streams::StreamFacts};

pub(crate) fn no_such_stream<'a>(
    name: &Ident,
    is_connection: bool,
    known: impl Iterator<Item = &'a str>,
    catalog: &Catalog,
) -> Diagnostic {
    if is_connection {
        return super::places::no_object(name.span, &name.text);
    }
    let known: Vec<&str> = known.collect();
    let said = Diagnostic::error(slug::NO_SUCH_STREAM, format!("there is no stream called {}", name.text));
    let said = with_nearest(said, name.span, &name.text, known.iter().copied(), "no pipeline of this file writes it");
    let said = match known.is_empty() {
        true => said.help(format!("a pipeline of this file makes it: … |> AS STREAM {}", name.text)),
        false => said.help(format!("streams of this file: {}", listed(known))),
    };
    let sources = catalog.connectors.iter().filter(|connector| connector.source.is_some());
    said.help(format!("other sources: {}", listed(sources.map(|connector| connector.name.as_str()))))
}

pub(crate) fn unread(name: &Ident) -> Diagnostic {
    Diagnostic::warning(slug::STREAM_UNREAD, format!("no pipeline reads the stream {}", name.text))
        .at(name.span, "its rows are let go")
        .help(format!("read it in this file: PIPELINE … AS FROM {} |> …", name.text))
}

pub(crate) fn is_connection(name: &Ident, connection: &Ident) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("{} is a connection already", name.text))
        .at(name.span, "FROM could mean both")
        .also(connection.span, "the connection")
        .help("give the stream another name")
}

/// `way`: the pipelines in the order in which rows go, the first at both ends.
pub(crate) fn circle(name: &Ident, way: &[String]) -> Diagnostic {
    let title = match way {
        [one, other] if one == other => format!("{one} reads its own stream"),
        _ => format!("{} reads what comes of its own stream", way.first().map_or("", String::as_str)),
    };
    let said = Diagnostic::error(slug::FEEDBACK_LOOP, title).at(name.span, "every row would come round again");
    let said = if way.len() > 2 { said.help(format!("the way round: {}", way.join(" → "))) } else { said };
    said.help("let one of them read from somewhere else")
}

pub(crate) fn has_columns(span: Span, word: &str, facts: &StreamFacts) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, format!("a stream takes no {word}"))
        .at(span, "its rows have their columns already")
        .help(format!("what {} leaves is what is read here: a SELECT or a CAST there changes it", facts.writer))
}

pub(crate) fn follows(span: Span, facts: &StreamFacts) -> Diagnostic {
    let label = if facts.endless { "it never ends anyway" } else { "it ends when its writer ends" };
    Diagnostic::error(slug::NO_SUCH_OPTION, "a stream does not take FOLLOW")
        .at(span, label)
        .fix("leave it out", vec![Edit::delete(span)])
}

/// A stream that would have to be read whole before the first row.
pub(crate) fn as_table(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::JOIN, "a stream is no table that could be asked")
        .at(span, "its rows come and go")
        .help(format!("keep it as one: PIPELINE … AS FROM {name} |> UPSERT INTO sqlite('{name}.db', '{name}') KEY (…)"))
        .help(format!("then JOIN or LOOKUP sqlite('{name}.db', '{name}') here"))
}

pub(crate) fn no_such_type(span: Span, column: &str, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("a stream has no columns of type {kind}"))
        .at(span, format!("{column} is one"))
        .help(match kind.starts_with("TIMESTAMP") {
            true => format!(
                "make an instant of it before, CAST({column} AS TIMESTAMP) AS {column}, and say the zone in the reader"
            ),
            false => format!("make another of it before: CAST({column} AS STRING) AS {column}"),
        })
}
