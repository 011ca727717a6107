//! KEY behind a source, deletes that have only their keys, and records that are one value.

use syncline_syntax::{
    Diagnostic, Edit, Span,
    ast::{Columns, Ident},
};

use super::{listed, with_nearest};
use crate::{
    catalog::{Catalog, ConnectorFacts},
    explain::slug,
    names::SchemaFacts,
    plan::FieldPlan,
};

pub(crate) fn no_keys(span: Span, connector: &ConnectorFacts, catalog: &Catalog) -> Diagnostic {
    let with = |other: &&ConnectorFacts| other.source.as_ref().is_some_and(|source| source.keys);
    let others = listed(catalog.connectors.iter().filter(with).map(|other| other.name.as_str()));
    let title = format!("records of {} have no keys beside them", connector.name);
    Diagnostic::error(slug::SOURCE_KEY, title)
        .at(span, format!("says what keys hold; there are keys in: {others}"))
        .fix("leave it out", vec![Edit::delete(span)])
}

pub(crate) fn needs_schema(clause: &Columns, source: Span) -> Diagnostic {
    let columns: Vec<String> = clause.names.iter().map(|name| format!("{} BIGINT", name.text)).collect();
    Diagnostic::error(slug::SOURCE_KEY, "KEY needs to know the types of its columns")
        .at(clause.span, "the bytes of a key are read by them")
        .also(source, "has no SCHEMA")
        .help(format!("declare them: SCHEMA row ({}, …), and FROM … SCHEMA row KEY (…)", columns.join(", ")))
}

pub(crate) fn no_such_column(name: &Ident, schema: &SchemaFacts) -> Diagnostic {
    let title = format!("{} is not in the SCHEMA {}", name.text, schema.name);
    let said = Diagnostic::error(slug::SOURCE_KEY, title);
    let names = schema.fields.iter().map(|field| field.name.as_str());
    with_nearest(said, name.span, &name.text, names.clone(), "KEY names columns of the SCHEMA")
        .help(format!("columns there: {}", listed(names)))
}

pub(crate) fn no_key_type(name: &Ident, field: &FieldPlan) -> Diagnostic {
    Diagnostic::error(slug::SOURCE_KEY, format!("{} cannot be read from a key as {}", field.name, field.kind.0))
        .at(name.span, "a key is a text of one value")
        .help("types of keys: STRING, integers, DECIMAL, BOOLEAN, DATE, TIMESTAMP")
}

/// A step that has to know of a delete what only the row itself had.
pub(crate) fn not_of_key<'n>(
    place: Span,
    word: &str,
    name: &str,
    key: Span,
    known: impl Iterator<Item = &'n str>,
) -> Diagnostic {
    Diagnostic::error(slug::SOURCE_KEY, format!("a delete does not know {name}"))
        .at(place, format!("{word} has to be known of deletes too"))
        .also(key, "a record without a value has its key, and nothing else")
        .help(format!("known of a delete: {}, _timestamp, _offset and what is made of them", listed(known)))
}

pub(crate) fn dedup_of_deletes(place: Span, key: Span) -> Diagnostic {
    Diagnostic::error(slug::SOURCE_KEY, "a delete cannot be told from a repeat")
        .at(place, "would drop the delete of a row that came before, or the row that comes again behind it")
        .also(key, "lets records without a value delete rows")
        .help("leave it out: a topic is read once, and an UPSERT of the same row again changes nothing")
        .help("or leave out the KEY of the source: then records without a value are dead letters")
}

pub(crate) fn not_one_value(place: Span, schema: &SchemaFacts) -> Diagnostic {
    let columns: Vec<String> = schema.fields.iter().map(|field| format!("{} {}", field.name, field.kind.0)).collect();
    Diagnostic::error(slug::SOURCE_KEY, "a raw record is one value")
        .at(place, format!("{} has: {}", schema.name, listed(columns.iter().map(String::as_str))))
        .help("beside the columns of KEY there is one, BYTES or STRING: SCHEMA line (text STRING)")
}
