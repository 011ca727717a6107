//! FROM and its clauses.

use std::collections::BTreeSet;

use syncline_syntax::{Diagnostic, Edit, Span, ast::Ident, nearest};

use super::{listed, with_nearest};
use crate::{catalog::ConnectorFacts, explain::slug, plan::FieldPlan};

fn not_yet(title: impl Into<String>, span: Span, label: impl Into<String>) -> Diagnostic {
    Diagnostic::error(slug::NOT_YET, title).at(span, label)
}

pub(crate) fn comma(span: Span) -> Diagnostic {
    not_yet("a comma would join every row with every row", span, "a second source")
        .help("FROM a JOIN b AS r ON r.key = key joins them by a key")
        .help("FROM a |> UNION ALL (FROM b) takes the rows of both, one after the other")
}

pub(crate) fn refresh(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "a source is read as its rows come")
        .at(span, "REFRESH EVERY belongs to a table that is joined")
        .help("|> JOIN file('repos.ndjson') REFRESH EVERY '5 minutes' AS r ON r.id = repo_id")
}

pub(crate) fn cache(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "a source is read as its rows come")
        .at(span, "CACHE belongs to what is asked for by key")
        .help("|> LOOKUP sqlite('shop.db', 'customers') CACHE '1 minute' AS c ON c.id = customer")
}

pub(crate) fn lookup_refresh(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "a LOOKUP asks for one row at a time")
        .at(span, "REFRESH EVERY belongs to a table that is joined")
        .help("CACHE '1 minute' says how old an answer may be")
}

pub(crate) fn lookup_follow(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "a LOOKUP asks what is there, and follows nothing")
        .at(span, "never ends")
        .help("leave FOLLOW out; CACHE '1 minute' says how old an answer may be")
}

pub(crate) fn no_follow(span: Span, connector: &ConnectorFacts) -> Diagnostic {
    let endless = connector.source.as_ref().is_some_and(|source| source.endless);
    let label = if endless { "it never ends anyway" } else { "it ends, and cannot be waited for" };
    Diagnostic::error(slug::NO_SUCH_OPTION, format!("{} does not take FOLLOW", connector.name))
        .at(span, label)
        .fix("leave it out", vec![Edit::delete(span)])
}

/// An archive is written once; FOLLOW waits for more.
pub(crate) fn follow_packed(follow: Span, place: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "an archive does not take FOLLOW")
        .at(follow, "waits for what is written later")
        .also(place, "is compressed: it is written once, and as a whole")
        .fix("leave it out", vec![Edit::delete(follow)])
}

/// A source that says its own columns, and cannot be asked.
pub(crate) fn columns_unknown(span: Span, why: &str) -> Diagnostic {
    Diagnostic::error(slug::COLUMNS_UNKNOWN, "the columns of this source are not known")
        .at(span, why)
        .help("make it readable where this file is checked")
        .help("or say them: SCHEMA trip (id BIGINT, fare DECIMAL(12, 2)), and FROM … SCHEMA trip")
}

pub(crate) fn strange_column(span: Span, (name, kind): &(String, String), fields: &[FieldPlan]) -> Diagnostic {
    let wanted: Vec<String> = fields.iter().take(4).map(|field| format!("{} {}", field.name, field.kind.0)).collect();
    Diagnostic::error(slug::COLUMNS_UNKNOWN, format!("{name} has a type that no column can have here"))
        .at(span, format!("{name} is {kind}"))
        .help(format!(
            "name the columns that you want: SCHEMA wanted DISCARD ({}), and FROM … SCHEMA wanted",
            wanted.join(", ")
        ))
}

pub(crate) fn no_such_format(name: &Ident, formats: &[String]) -> Diagnostic {
    let said = not_yet_at(name, format!("the format {} is not part of this version", name.text), formats);
    said.help(format!("formats here: {}", listed(formats.iter().map(String::as_str))))
}

fn not_yet_at(name: &Ident, title: String, formats: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NOT_YET, title);
    with_nearest(said, name.span, &name.text, formats.iter().map(String::as_str), "not there yet")
}

pub(crate) fn format_not_here(name: &Ident, connector: &ConnectorFacts, formats: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_OPTION, format!("{} has no FORMAT {}", connector.name, name.text));
    let said = said.at(name.span, "not here");
    match formats {
        [] => said.help("leave FORMAT out: what it holds says its own types"),
        formats => said.help(format!("formats here: {}", listed(formats.iter().map(String::as_str)))),
    }
}

pub(crate) fn format_option(name: &Ident, format: &str, options: &[&str]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_OPTION, format!("{format} has no option {}", name.text));
    let said = with_nearest(said, name.span, &name.text, options.iter().copied(), "no option has this name");
    match options {
        [] => said.help(format!("FORMAT {format} takes no options")),
        options => said.help(format!("options: {}", listed(options.iter().copied()))),
    }
}

pub(crate) fn not_a_sign(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("{name} is one character"))
        .at(span, "not one ASCII character")
        .help("write one: ';', '|', or '\\t' for a tab")
}

pub(crate) fn sign_twice(second: Span, first: Span, sign: char) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, format!("`{sign}` cannot mean two things"))
        .at(second, "again")
        .also(first, "first here")
}

/// CSV without names, where no header can give them.
pub(crate) fn csv_without_columns(span: Span) -> Diagnostic {
    Diagnostic::error(slug::COLUMNS_UNKNOWN, "the columns of this source are not known")
        .at(span, "a record of a topic has no header that names its fields")
        .help("say them in their order: SCHEMA trip (id BIGINT, fare DECIMAL(12, 2)), and FROM … SCHEMA trip")
        .help("syncline discover 'bus.topic FORMAT csv' writes one from a sample")
}

pub(crate) fn no_header(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, "a topic has no header")
        .at(span, "each record is one line of values")
        .help("leave it out; a SCHEMA says the columns, in their order")
}

pub(crate) fn cursor(span: Span) -> Diagnostic {
    not_yet("CURSOR is not part of this version", span, "sources that are polled are not there yet")
        .help("leave it out: files and HTTP keep their place by themselves")
}

/// A source whose records have no keys.
pub(crate) fn no_partitions(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, format!("{name} does not take PARTITIONED BY"))
        .at(span, "its records have no keys that choose a partition")
        .help("leave it out: keyed steps see all records of a key")
}

pub(crate) fn partitioned_by_hidden(name: &Ident) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{} is not in the value of a record", name.text))
        .at(name.span, "the columns of PARTITIONED BY are compared with the record's key")
        .help("name the fields that its producer made the key of")
}

pub(crate) fn same_path(span: Span, first: Span, written: &str) -> Diagnostic {
    Diagnostic::error(slug::SAME_PATH, "two pipelines read one path, and say different things about it")
        .at(span, "what is sent is taken once, for both")
        .also(first, "the other one")
        .help(format!("write the same in both: {written}"))
}

pub(crate) fn not_in_sample(span: Span, name: &str, quoted: bool, known: &BTreeSet<&str>, count: usize) -> Diagnostic {
    let looked = if count == 1 { "the one record".to_owned() } else { format!("any of the {count} records") };
    let said = Diagnostic::warning(slug::NOT_IN_SAMPLE, format!("{name} is not in {looked} that could be looked at"));
    let near = nearest(name, known.iter().copied());
    let said = match near {
        Some(near) => said.at(span, format!("{near}?")),
        None if quoted => said.at(span, "double quotes name a field, and it is NULL in all of them"),
        None => said.at(span, "NULL in all of them"),
    };
    let said = match known.is_empty() {
        true => said,
        false => said.help(format!("fields there: {}", listed(known.iter().copied()))),
    };
    match (near, quoted) {
        (None, true) => {
            said.fix("text takes single quotes", vec![Edit::replace(span, format!("'{}'", name.replace('\'', "''")))])
        }
        _ => said,
    }
}

/// A member that none of the objects of a field has.
pub(crate) fn no_member(span: Span, of: &str, name: &str, known: &BTreeSet<&str>, count: usize) -> Diagnostic {
    let looked = if count == 1 { "the one object".to_owned() } else { format!("any of the {count} objects") };
    let title = format!("{of}.{name} is not in {looked} that could be looked at");
    let near = nearest(name, known.iter().copied());
    let label = near.map_or_else(|| "NULL in all of them".to_owned(), |near| format!("{near}?"));
    let said = Diagnostic::warning(slug::NOT_IN_SAMPLE, title).at(span, label);
    match known.is_empty() {
        true => said,
        false => said.help(format!("{of} has: {}", listed(known.iter().copied()))),
    }
}
