//! The walk along one pipeline: what it carries from step to step.
//!
//! A pipeline is walked until it reads no field that it did not know at the start: an open record has every field, but a batch
//! has only those that some step reads, and a field read at the end has to be there from the beginning.

use std::collections::BTreeSet;

use syncline_functions::Planner;
use syncline_syntax::{Diagnostic, Lines, Severity, Span, ast};

use crate::{
    catalog::Catalog,
    message::names as say,
    names::Names,
    scope::{Found, Scope},
};

/// What is the same for the whole file.
pub(crate) struct World<'a> {
    pub source: &'a str,
    pub lines: Lines<'a>,
    pub planner: &'a Planner,
    pub catalog: &'a Catalog,
    pub names: Names<'a>,
}

/// A field of the open record, and where it is read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadField {
    pub name: String,
    pub span: Span,
}

pub(crate) struct Walk<'a> {
    pub world: &'a World<'a>,
    pub pipeline: &'a ast::Pipeline,
    pub said: Vec<Diagnostic>,
    /// Fields that steps read and nothing declares.
    pub fields: Vec<ReadField>,
    /// Ids of steps that are taken.
    pub ids: BTreeSet<String>,
    /// Names of `EXPECT`s, with their places.
    pub expectations: Vec<ast::Ident>,
    /// The source's place, when it never ends.
    pub endless: Option<Span>,
    /// The column that is a record's time, where the schema says so.
    pub event_time: Option<String>,
    /// The flow hashes or writes whole records.
    pub whole_record: bool,
    /// Something did not compile, whether this walk said so or who read the file.
    pub broken: bool,
}

impl<'a> Walk<'a> {
    pub fn new(world: &'a World<'a>, pipeline: &'a ast::Pipeline, fields: Vec<ReadField>) -> Self {
        Self {
            world,
            pipeline,
            said: Vec::new(),
            fields,
            ids: BTreeSet::new(),
            expectations: Vec::new(),
            endless: None,
            event_time: None,
            whole_record: false,
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
            Found::Undeclared if !scope.is_alias(name) => {
                scope.add_undeclared(name);
                self.field_is_read(name, span);
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

    fn field_is_read(&mut self, name: &str, span: Span) {
        match self.fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.span = field.span.min(span),
            None => self.fields.push(ReadField { name: name.to_owned(), span }),
        }
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
