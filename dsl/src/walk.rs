//! The walk along one pipeline: what it carries from step to step.
//!
//! A pipeline is walked until it reads no field that it did not know at the start: an open record has every field, but a batch
//! has only those that some step reads, and a field read at the end has to be there from the beginning.

use std::collections::{BTreeMap, BTreeSet};

use syncline_functions::Planner;
use syncline_syntax::{Diagnostic, Lines, Severity, Span, ast};

use crate::{
    Shape,
    catalog::Catalog,
    message::names as say,
    names::Names,
    path::ReadPath,
    plan::{FieldPlan, Place, Step},
    scope::{Found, Joined, Scope, ScopeColumn, same_name},
    streams::StreamFacts,
};

/// What is the same for the whole file.
pub(crate) struct World<'a> {
    pub source: &'a str,
    pub lines: Lines<'a>,
    pub planner: &'a Planner,
    pub catalog: &'a Catalog,
    pub names: Names<'a>,
    pub shapes: &'a BTreeMap<String, Shape>,
    /// Every `AS STREAM` of the file.
    pub written: Vec<ast::Ident>,
    /// Those whose writers were compiled so far.
    pub streams: Vec<StreamFacts>,
}

/// More sources than a pipeline can have.
const MOST_SOURCES: usize = 16;

/// A field of the open record, and where it is read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadField {
    pub name: String,
    pub span: Span,
}

/// One way into the pipeline (its source, one more of a `UNION`, a table), and what is read of the records that come there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intake {
    /// Fields that steps read and nothing declares.
    pub fields: Vec<ReadField>,
    /// What steps read inside of these fields.
    pub paths: Vec<ReadPath>,
    /// The flow hashes or writes whole records.
    pub whole_record: bool,
    /// A schema says the fields.
    pub declared: bool,
    /// Fields that open records of a stream have by name, and their types.
    pub given: Vec<FieldPlan>,
}

pub(crate) struct Walk<'a> {
    pub world: &'a World<'a>,
    pub pipeline: &'a ast::Pipeline,
    pub said: Vec<Diagnostic>,
    /// In the order in which they are met.
    pub intakes: Vec<Intake>,
    /// How many of them were met so far.
    pub met: usize,
    /// Steps that go in front of the one that is being made.
    pub before: Vec<Step>,
    /// Ids of steps that are taken.
    pub ids: BTreeSet<String>,
    /// Names of `EXPECT`s, with their places.
    pub expectations: Vec<ast::Ident>,
    /// The source's place, when it never ends.
    pub endless: Option<Span>,
    /// The column that is a record's time, where the schema says so.
    pub event_time: Option<String>,
    /// How long the watermark of the first source waits.
    pub event_delay: u64,
    /// What it writes for other pipelines.
    pub streams: Vec<StreamFacts>,
    /// Sources that say their own columns.
    pub typed: Vec<Place>,
    /// Something did not compile, whether this walk said so or who read the file.
    pub broken: bool,
}

impl<'a> Walk<'a> {
    pub fn new(world: &'a World<'a>, pipeline: &'a ast::Pipeline, fields: Vec<Vec<ReadField>>) -> Self {
        Self {
            world,
            pipeline,
            said: Vec::new(),
            intakes: fields.into_iter().map(|fields| Intake { fields, ..Intake::default() }).collect(),
            met: 0,
            before: Vec::new(),
            // The names of the sources in the books.
            ids: (2..=MOST_SOURCES).map(|n| format!("source_{n}")).chain(["source".to_owned()]).collect(),
            expectations: Vec::new(),
            endless: None,
            event_time: None,
            event_delay: 0,
            streams: Vec::new(),
            typed: Vec::new(),
            broken: false,
        }
    }

    pub fn say(&mut self, said: Diagnostic) {
        self.broken |= said.severity == Severity::Error;
        self.said.push(said);
    }

    /// The column that a name means, in its own spelling. `None` when there is none that can be read; that has been said.
    pub fn column(&mut self, name: &str, span: Span, scope: &mut Scope) -> Option<String> {
        let said = match scope.find(name) {
            Found::Column(column) if column.broken => return None,
            Found::Column(column) => return Some(column.name().to_owned()),
            Found::Lost => return None,
            Found::Undeclared if name.starts_with("__") => say::reserved_field(span, name),
            Found::Undeclared if !scope.is_alias(name) && scope.joined(name).is_none() => {
                scope.add_undeclared(name);
                self.field_is_read(name, span, &scope.intakes);
                return Some(name.to_owned());
            }
            Found::Undeclared => say::alias_alone(span, name),
            Found::Several(names) => say::several(span, name, &names),
            Found::Gone(gone) => say::gone(span, name, gone, scope),
            Found::Nothing => say::no_such_column(span, name, scope),
        };
        self.say(said);
        None
    }

    pub fn field_is_read(&mut self, name: &str, span: Span, intakes: &[usize]) {
        for intake in intakes {
            let fields = &mut self.intakes[*intake].fields;
            match fields.iter_mut().find(|field| field.name == name) {
                Some(field) => field.span = field.span.min(span),
                None => fields.push(ReadField { name: name.to_owned(), span }),
            }
        }
    }

    /// The next way into the pipeline.
    pub fn meet(&mut self) -> usize {
        if self.met == self.intakes.len() {
            self.intakes.push(Intake::default());
        }
        self.met += 1;
        self.met - 1
    }

    /// Whole records of a step are hashed or written.
    pub fn takes_whole_records(&mut self, scope: &Scope) {
        for intake in scope.intakes.iter().filter(|_| scope.open.is_some()) {
            self.intakes[*intake].whole_record = true;
        }
    }

    /// The column of a joined table, called `alias.column`. `None` when there is none; that has been said.
    pub fn joined_column(&mut self, table: &Joined, name: &str, span: Span, scope: &mut Scope) -> Option<String> {
        if name.starts_with("__") {
            self.say(say::reserved_field(span, name));
            return None;
        }
        let wanted = table.column(name);
        let alike: Vec<String> = scope.columns.iter().map(|column| column.name().to_owned()).collect();
        if alike.contains(&wanted) {
            return Some(wanted);
        }
        if table.open {
            let column = ScopeColumn::hidden(syncline_functions::json_field(&wanted));
            scope.columns.push(ScopeColumn { beside_key: scope.keyed.is_some(), ..column });
            self.field_is_read(name, span, &[table.intake]);
            return Some(wanted);
        }
        let mut same = alike.iter().filter(|column| same_name(column, &wanted));
        if let Some(found) = same.next() {
            return Some(found.clone());
        }
        if table.lost {
            return None;
        }
        let known: Vec<&str> = alike.iter().filter_map(|column| table.bare(column)).collect();
        self.say(say::no_such_joined(span, name, &table.alias, &known));
        None
    }

    /// The id of the next step of this kind: `where`, `where_2`, ….
    pub fn id(&mut self, prefix: &str, word: &str) -> String {
        let mut id = format!("{prefix}{word}");
        let mut count = 1;
        while !self.ids.insert(id.clone()) {
            count += 1;
            id = format!("{prefix}{word}_{count}");
        }
        id
    }
}
