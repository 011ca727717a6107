//! KEY behind a source: which columns the keys of its records hold; and FORMAT raw, where a record is one column.
//!
//! A record without a value deletes the row of its key, and so of that row only these columns are known. Their types say how the bytes of a
//! key are read, so they are columns of a `SCHEMA`, and of types whose values have one spelling.

use syncline_functions::{can_be_key, can_be_raw};
use syncline_syntax::ast;

use super::kind_span;
use crate::{
    format::Format,
    hidden::reads,
    message::source_key as say,
    names::SchemaFacts,
    place::Resolved,
    plan::{FieldPlan, TypePlan},
    scope::{Scope, same_name},
    walk::Walk,
};

/// What the one column of `FORMAT raw` is called, where no `SCHEMA` says it.
const VALUE: &str = "value";

/// The column of a record that is bytes.
pub(super) fn raw_column() -> SchemaFacts {
    SchemaFacts {
        name: VALUE.to_owned(),
        fields: vec![FieldPlan { name: VALUE.to_owned(), kind: TypePlan("BYTES".to_owned()), not_null: false }],
        reject_unknown: false,
        evolves: false,
        event_time: None,
        broken: false,
    }
}

impl Walk<'_> {
    /// The columns that KEY names, in their own spelling.
    pub(super) fn key_of_records(
        &mut self,
        written: &ast::Source,
        place: &Option<Resolved>,
        schema: &Option<SchemaFacts>,
    ) -> Vec<String> {
        let (Some(clause), Some(resolved)) = (&written.key, place) else { return Vec::new() };
        if !resolved.connector.source.as_ref().is_some_and(|source| source.keys) {
            self.say(say::no_keys(clause.span, resolved.connector, self.world.catalog));
            return Vec::new();
        }
        let Some(schema) = schema else {
            if written.schema.is_none() {
                self.say(say::needs_schema(clause, kind_span(written)));
            }
            return Vec::new();
        };
        let mut key: Vec<String> = Vec::new();
        for name in &clause.names {
            let Some(field) = schema.fields.iter().find(|field| same_name(&field.name, &name.text)) else {
                self.say(say::no_such_column(name, schema));
                continue;
            };
            if !field.field().is_some_and(|field| can_be_key(&field)) {
                self.say(say::no_key_type(name, field));
            } else if key.contains(&field.name) {
                self.say(crate::message::names::column_twice(name.span, &field.name, None));
            } else {
                key.push(field.name.clone());
            }
        }
        key
    }

    /// A record of `FORMAT raw` is the one column that its key does not hold.
    pub(super) fn one_value(
        &mut self,
        written: &ast::Source,
        format: &Format,
        schema: &Option<SchemaFacts>,
        key: &[String],
    ) {
        let (true, Some(schema)) = (format.raw, schema) else { return };
        let mut values = schema.fields.iter().filter(|field| !key.contains(&field.name));
        let fits = |field: &FieldPlan| field.field().is_some_and(|field| can_be_raw(&field));
        if !(values.next().is_some_and(fits) && values.next().is_none()) {
            let place = written.format.as_ref().map_or(kind_span(written), |format| format.span);
            self.say(say::not_one_value(place, schema));
        }
    }

    /// Says so when what a step does with a delete depends on a column that a delete from a topic does not know.
    pub fn known_of_deletes(&mut self, sql: &[String], place: syncline_syntax::Span, word: &str, scope: &Scope) {
        let Some(key) = scope.keyed else { return };
        let read: Vec<String> = sql.iter().flat_map(|sql| reads(sql, self.world.planner)).collect();
        if let Some(name) = scope.beside_key(read.iter().map(String::as_str)) {
            let known = scope.visible().filter(|column| !column.beside_key).map(|column| column.name());
            let said = say::not_of_key(place, word, name, key, known);
            self.say(said);
        }
    }

    /// What a WHERE asks of deletes that have only their keys: the parts that read nothing else.
    pub fn asked_of_deletes(&self, predicate: &str, scope: &Scope) -> Option<String> {
        scope.keyed?;
        let planner = self.world.planner;
        let whole = planner.parse(predicate).ok()?;
        let mut parts = Vec::new();
        crate::flow::conjuncts(&whole, &mut parts);
        let known = |sql: &String| scope.beside_key(reads(sql, planner).iter().map(String::as_str)).is_none();
        let parts: Vec<String> = parts.into_iter().map(|part| part.to_string()).collect();
        // Whether all of a condition of several parts can be asked.
        if parts.iter().all(known) {
            return None;
        }
        let parts: Vec<String> = parts.into_iter().filter(known).map(|part| format!("({part})")).collect();
        Some(if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") })
    }
}
