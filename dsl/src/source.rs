//! FROM: where the rows of a pipeline come from, and the columns that its first step sees.
//!
//! With a `SCHEMA` the columns are the declared ones. Without, the record is open: it has whatever fields the steps read, each
//! of type JSON.

mod key;
mod partitions;
mod stream;

use syncline_syntax::{Span, ast};

use crate::{
    Shape,
    format::{self, Format},
    message::{names as say_names, source as say},
    names::SchemaFacts,
    place::{self, Resolved, Use},
    plan::{EventTime, FieldPlan, Open, Place, SourcePlan, StreamPlan, TypePlan},
    scope::{Scope, ScopeColumn, same_name},
    types::{METADATA, RECORD_TIME, metadata_field},
    walk::{Intake, Walk},
};

/// A source as the walk begins with it. `place` is `None` when it did not resolve.
#[derive(Default)]
pub(crate) struct Source {
    pub place: Option<Place>,
    follow: bool,
    /// Where it says that it never ends.
    pub endless: Option<Span>,
    format: Format,
    pub schema: Option<SchemaFacts>,
    /// Columns that the keys of records hold.
    key: Vec<String>,
    /// Its own files say the columns that `schema` has.
    pub typed: bool,
    pub stream: Option<StreamPlan>,
    pub event_time: Option<EventTime>,
    partitioned_by: Vec<String>,
    pub intake: usize,
}

impl<'a> Walk<'a> {
    /// The source of the pipeline. Tables that are joined behind it are steps: see `flow::join`.
    pub fn source(&mut self, flow: &ast::Flow) -> (Source, Scope) {
        let (source, scope) = self.intake(&flow.source);
        if let Some(refresh) = &flow.source.refresh {
            self.say(say::refresh(refresh.span));
        }
        self.endless = source.endless;
        self.event_time = source.event_time.as_ref().map(|event| event.column.clone());
        self.event_delay = source.event_time.as_ref().map_or(0, |event| event.delay);
        (source, scope)
    }

    /// One way into the pipeline, and the columns that are there.
    pub fn intake(&mut self, written: &ast::Source) -> (Source, Scope) {
        self.intake_as(written, Use::Source)
    }

    /// The right side of a JOIN.
    pub fn intake_joined(&mut self, written: &ast::Source) -> (Source, Scope) {
        self.intake_as(written, Use::Joined)
    }

    /// What is asked for rows by their key.
    pub fn intake_by_key(&mut self, written: &ast::Source) -> (Source, Scope) {
        if let Some(refresh) = &written.refresh {
            self.say(say::lookup_refresh(refresh.span));
        }
        self.intake_as(written, Use::Lookup)
    }

    fn intake_as(&mut self, written: &ast::Source, uses: Use) -> (Source, Scope) {
        if let (Some(cache), true) = (&written.cache, uses != Use::Lookup) {
            self.say(say::cache(cache.span));
        }
        if let ast::SourceKind::Stream(name) = &written.kind {
            return self.intake_of_stream(written, name, uses);
        }
        let intake = self.meet();
        let place = self.place_of_source(written, uses);
        let follow = written.follow.is_some();
        if let (Some(span), Some(resolved)) = (written.follow, &place)
            && !resolved.connector.source.as_ref().is_some_and(|source| source.follow)
        {
            self.say(say::no_follow(span, resolved.connector));
        }
        self.clauses(written);
        let format = self.format_of(written, &place);
        if let (Some(span), Some(resolved)) = (written.follow, &place)
            && format::is_packed(resolved.connector, &resolved.place)
        {
            self.say(say::follow_packed(span, kind_span(written)));
        }
        let endless = place.as_ref().is_some_and(|resolved| {
            let facts = resolved.connector.source.as_ref();
            let ends = facts.is_some_and(|source| source.until)
                && resolved.place.named.iter().any(|(name, _)| name == "until");
            facts.is_some_and(|source| source.endless && !ends || follow && source.follow)
        });
        let endless =
            endless.then(|| written.follow.map_or(kind_span(written), |follow| kind_span(written).to(follow)));
        let says = |resolved: &&Resolved| is_typed(resolved) || format.registered.is_some();
        let own = place.as_ref().filter(|_| written.schema.is_none()).filter(says);
        let typed = own.is_some();
        let schema = match own {
            Some(resolved) => self.shape(&resolved.place, kind_span(written)),
            None if format.raw && written.schema.is_none() => Some(key::raw_column()),
            None => self.schema(written),
        };
        let keys =
            place.as_ref().and_then(|resolved| resolved.connector.source.as_ref()).is_some_and(|facts| facts.keys);
        if keys && format.csv.is_some() && written.schema.is_none() {
            self.say(say::csv_without_columns(kind_span(written)));
        }
        let key = self.key_of_records(written, &place, &schema);
        self.one_value(written, &format, &schema, &key);
        self.intakes[intake].declared = typed || schema.is_some();
        let mut scope = self.first_scope(&schema, written, intake);
        if let Some(clause) = written.key.as_ref().filter(|_| !key.is_empty()) {
            scope.keyed = Some(clause.span);
            let beside = |column: &&mut ScopeColumn| column.visible && !key.iter().any(|name| name == column.name());
            scope.columns.iter_mut().filter(beside).for_each(|column| column.beside_key = true);
        }
        scope.alias = written.alias.as_ref().map(|alias| alias.text.clone());
        // A schema says the columns even where the source is not known; otherwise any name may be one.
        scope.lost = schema.is_none() && (place.is_none() || written.schema.is_some() || typed);
        if scope.lost {
            scope.open = None;
        }
        let event_time = schema.as_ref().and_then(|schema| schema.event_time.clone());
        let partitioned_by = self.partitioned_by(written, &place, &mut scope);
        let place = place.map(|resolved| resolved.place);
        let stream = None;
        let source =
            Source { place, follow, endless, format, schema, key, typed, stream, event_time, partitioned_by, intake };
        (source, scope)
    }

    /// The columns that a source has by itself. A type that there is not here cannot be left out unseen.
    fn shape(&mut self, place: &Place, span: Span) -> Option<SchemaFacts> {
        if !self.typed.contains(place) {
            self.typed.push(place.clone());
        }
        let (fields, strange) = match self.world.shapes.get(&place.text) {
            Some(Shape::Columns { fields, strange }) => (fields.clone(), strange),
            Some(Shape::Unknown(why)) => {
                self.say(say::columns_unknown(span, why));
                return None;
            }
            None => {
                self.say(say::columns_unknown(span, "nobody has looked at it"));
                return None;
            }
        };
        if let [first, ..] = strange.as_slice() {
            self.say(say::strange_column(span, first, &fields));
        }
        let name = place.text.clone();
        Some(SchemaFacts { name, fields, reject_unknown: false, evolves: false, event_time: None, broken: false })
    }

    fn place_of_source(&mut self, written: &ast::Source, uses: Use) -> Option<Resolved<'a>> {
        let world = self.world;
        let mut said = Vec::new();
        let place = match &written.kind {
            ast::SourceKind::Call(call) => place::of_call(call, uses, world.catalog, world.source, &mut said),
            ast::SourceKind::Object(name) => {
                place::of_object(name, uses, world.catalog, &world.names, world.source, &mut said)
            }
            // Not a place outside: see `stream`.
            ast::SourceKind::Stream(_) | ast::SourceKind::Broken => None,
        };
        self.broken |= place.is_none();
        self.say_all(said);
        place
    }

    /// What can stand behind a source, and this version cannot do.
    fn clauses(&mut self, written: &ast::Source) {
        if let Some(cursor) = &written.cursor {
            self.say(say::cursor(cursor.span));
        }
    }

    fn format_of(&mut self, written: &ast::Source, place: &Option<Resolved<'a>>) -> Format {
        let Some(Resolved { connector, place }) = place else { return Format::default() };
        let formats = connector.source.as_ref().map_or(&[][..], |source| &source.formats);
        let mut said = Vec::new();
        let format = format::of_place(written.format.as_ref(), connector, place, formats, &mut said);
        self.say_all(said);
        format
    }

    fn schema(&mut self, written: &ast::Source) -> Option<SchemaFacts> {
        let name = written.schema.as_ref()?;
        let Some(schema) = self.world.names.schema(&name.text) else {
            let known = self.world.names.schemas.iter().map(|schema| schema.name.as_str());
            let said = say_names::no_such(name, "schema", "SCHEMA", known);
            self.say(said);
            return None;
        };
        self.broken |= schema.broken;
        (!schema.broken).then(|| schema.clone())
    }

    fn first_scope(&mut self, schema: &Option<SchemaFacts>, written: &ast::Source, intake: usize) -> Scope {
        let mut scope = Scope {
            marked: schema.as_ref().is_some_and(|schema| schema.event_time.is_some()),
            intakes: vec![intake],
            ..Scope::default()
        };
        match schema {
            Some(schema) => {
                let fields = schema.fields.iter().filter_map(FieldPlan::field);
                scope.columns.extend(fields.map(ScopeColumn::visible));
                scope.evolves = schema.evolves;
                scope.open = schema.evolves.then(Open::default);
                let event = schema.event_time.as_ref().map(|event| event.column.as_str());
                let is_time = |column: &&mut ScopeColumn| Some(column.name()) == event;
                scope.columns.iter_mut().filter(is_time).for_each(|column| column.time = Some(0));
            }
            None => {
                scope.open = Some(Open::default());
                if written.schema.is_none() {
                    scope
                        .columns
                        .extend(self.intakes[intake].fields.iter().map(|field| ScopeColumn::undeclared(&field.name)));
                }
            }
        }
        let hidden = METADATA.iter().filter(|name| !scope.columns.iter().any(|column| same_name(column.name(), name)));
        let hidden = hidden.map(|name| ScopeColumn {
            time: (*name == RECORD_TIME && !scope.marked).then_some(0),
            ..ScopeColumn::hidden(metadata_field(name))
        });
        let hidden: Vec<ScopeColumn> = hidden.collect();
        scope.columns.extend(hidden);
        scope
    }

    /// The source of the plan, now that it is known what the steps read.
    pub fn source_plan(&self, source: Source, metadata: Vec<String>) -> Option<SourcePlan> {
        let declared = source.schema.is_some() && !source.typed;
        let connector = source.place.as_ref().and_then(|place| self.world.catalog.connector(&place.connector));
        let format = match connector.filter(|connector| connector.source.as_ref().is_some_and(|source| source.typed)) {
            Some(connector) => connector.name.clone(),
            None if source.stream.is_some() => Place::STREAM.to_owned(),
            None => source.format.name(),
        };
        let (fields, reject_unknown, evolves) = match source.schema {
            Some(schema) => (schema.fields, schema.reject_unknown, schema.evolves),
            None => (undeclared(&self.intakes[source.intake]), false, false),
        };
        Some(SourcePlan {
            place: source.place?,
            follow: source.follow,
            endless: source.endless.is_some(),
            format,
            csv: source.format.csv,
            declared,
            typed: source.typed,
            fields,
            key: source.key,
            reject_unknown,
            evolves,
            whole_record: self.intakes[source.intake].whole_record,
            metadata,
            event_time: source.event_time,
            partitioned_by: source.partitioned_by,
            stream: source.stream.map(Box::new),
            hop: None,
        })
    }
}

/// Whether its files say what their columns are.
fn is_typed(resolved: &Resolved) -> bool {
    resolved.connector.source.as_ref().is_some_and(|source| source.typed)
}

/// The fields that are read of an open record.
pub(crate) fn undeclared(intake: &Intake) -> Vec<FieldPlan> {
    let json = |name: &str| FieldPlan { name: name.to_owned(), kind: TypePlan::json(), not_null: false };
    let read = intake.fields.iter().map(|field| json(&field.name));
    intake.given.iter().cloned().chain(read).collect()
}

pub(crate) fn kind_span(source: &ast::Source) -> Span {
    match &source.kind {
        ast::SourceKind::Object(name) => name.span,
        ast::SourceKind::Call(call) => call.span,
        ast::SourceKind::Stream(name) => name.span,
        ast::SourceKind::Broken => source.span,
    }
}
