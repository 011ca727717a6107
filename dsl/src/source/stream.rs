//! FROM a stream: what the step before `AS STREAM` left, under the same names, with the same meaning.

use syncline_syntax::{Span, ast};

use super::{Source, kind_span};
use crate::{
    format::Format,
    message::{source::no_partitions, streams as say},
    names::SchemaFacts,
    place::Use,
    plan::{Open, StreamPlan},
    scope::{Scope, ScopeColumn, same_name},
    streams::{StreamFacts, place_of_name},
    walk::Walk,
};

impl Walk<'_> {
    /// A way into the pipeline whose rows another one writes, and the columns that are there.
    pub(super) fn intake_of_stream(&mut self, written: &ast::Source, name: &ast::Ident, uses: Use) -> (Source, Scope) {
        let intake = self.meet();
        self.clauses(written);
        if uses == Use::Lookup {
            self.say(say::as_table(name.span, &name.text));
        }
        let world = self.world;
        let facts = world.streams.iter().find(|facts| same_name(&facts.name, &name.text));
        match facts {
            Some(facts) => self.own_clauses(written, facts),
            None if place_of_name(&world.written, &name.text).is_some() => {}
            None => {
                let known = world.written.iter().map(|one| one.text.as_str());
                self.say(say::no_such_stream(name, world.names.connection(&name.text).is_some(), known, world.catalog));
            }
        }
        let alias = written.alias.as_ref().map(|alias| alias.text.clone());
        let Some(facts) = facts.filter(|_| uses != Use::Lookup) else {
            self.broken = true;
            let source = Source { intake, ..Source::default() };
            return (source, Scope { lost: true, intakes: vec![intake], alias, ..Scope::default() });
        };
        self.intakes[intake].declared = !facts.open;
        if facts.open {
            self.intakes[intake].given = facts.fields();
        }
        (self.source_of(facts, written, intake), Scope { alias, ..self.scope_of(facts, intake, name.span) })
    }

    /// The columns and their types are the writer's: nobody says them again.
    fn own_clauses(&mut self, written: &ast::Source, facts: &StreamFacts) {
        if let Some(format) = &written.format {
            self.say(say::has_columns(format.span, "FORMAT", facts));
        }
        if let Some(schema) = &written.schema {
            self.say(say::has_columns(schema.span, "SCHEMA", facts));
        }
        if let Some(key) = &written.key {
            self.say(say::has_columns(key.span, "KEY", facts));
        }
        if let Some(follow) = written.follow {
            self.say(say::follows(follow, facts));
        }
        if let Some(columns) = &written.partitioned_by {
            self.say(no_partitions(columns.span, "a stream"));
        }
    }

    fn source_of(&self, facts: &StreamFacts, written: &ast::Source, intake: usize) -> Source {
        let schema = (!facts.open).then(|| SchemaFacts {
            name: facts.name.clone(),
            fields: facts.fields(),
            reject_unknown: false,
            evolves: false,
            event_time: facts.event_time.clone(),
            broken: false,
        });
        Source {
            place: Some(facts.place()),
            follow: false,
            endless: facts.endless.then(|| kind_span(written)),
            format: Format::default(),
            typed: schema.is_some(),
            schema,
            key: Vec::new(),
            stream: Some(StreamPlan { writer: facts.writer.clone(), changes: facts.changes }),
            event_time: facts.event_time.clone(),
            partitioned_by: Vec::new(),
            intake,
        }
    }

    fn scope_of(&self, facts: &StreamFacts, intake: usize, place: Span) -> Scope {
        let (seen, hidden): (Vec<ScopeColumn>, Vec<ScopeColumn>) =
            facts.columns.iter().cloned().partition(|column| column.visible);
        let mut columns = seen;
        if facts.open && !facts.evolves {
            let read = self.intakes[intake].fields.iter();
            columns.extend(read.map(|field| ScopeColumn::undeclared(&field.name)));
        }
        columns.extend(hidden);
        Scope {
            columns,
            open: facts.open.then(Open::default),
            evolves: facts.evolves,
            marked: facts.marked,
            ordered: facts.ordered,
            keyed: facts.keyed.then_some(place),
            intakes: vec![intake],
            ..Scope::default()
        }
    }
}
