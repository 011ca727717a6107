//! What a name means at a step: the columns that the step before left, and what became of the others.
//!
//! Identifiers keep their case and match without it. A field of an open record that nothing declares is another matter: `id` and
//! `ID` may both be there, so it matches exactly, and any name that nothing else explains is such a field.

use datafusion::{arrow::datatypes::Field, common::DFSchema};
use syncline_functions::{is_json, json_field};
use syncline_syntax::Span;

use crate::plan::{Column, Open, TypePlan};

#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub field: Field,
    /// In `*`, and written by a sink.
    pub visible: bool,
    /// A field of an open record that nothing declares.
    pub undeclared: bool,
    /// What it is made of did not compile: who reads it is not judged.
    pub broken: bool,
    /// It is the record's own time, or so many microseconds before it (the start of a window, whose record is at its end).
    pub time: Option<u64>,
    /// A delete that has only its key does not know it: it is made of other columns than the key's.
    pub beside_key: bool,
}

impl ScopeColumn {
    pub fn visible(field: Field) -> Self {
        Self { field, visible: true, undeclared: false, broken: false, time: None, beside_key: false }
    }

    pub fn hidden(field: Field) -> Self {
        Self { visible: false, ..Self::visible(field) }
    }

    pub fn undeclared(name: &str) -> Self {
        Self { undeclared: true, ..Self::visible(json_field(name)) }
    }

    pub fn broken(name: &str) -> Self {
        Self { broken: true, ..Self::visible(json_field(name)) }
    }

    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// The same column under another name; what a step puts out may be NULL.
    pub fn renamed(&self, name: &str) -> Self {
        Self { field: output_field(name, &self.field), undeclared: false, ..self.clone() }
    }
}

/// A column called `name` of the type of `field`.
pub(crate) fn output_field(name: &str, field: &Field) -> Field {
    if is_json(field) { json_field(name) } else { Field::new(name, field.data_type().clone(), true) }
}

/// A column that was there, and the place where it went.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    pub name: String,
    pub span: Span,
    pub how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Dropped,
    Renamed(String),
    NotSelected,
}

/// The columns at a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub columns: Vec<ScopeColumn>,
    /// Names the record until the next `SELECT`.
    pub alias: Option<String>,
    /// An alias that ended, and the SELECT that ended it.
    pub ended_alias: Option<(String, Span)>,
    /// The SELECT that closed an open record: a field that it did not take is gone.
    pub closed_by: Option<Span>,
    /// Set while the record may have fields that nothing names.
    pub open: Option<Open>,
    /// A schema says which names can be read, though the record may have others (`EVOLVE`).
    pub evolves: bool,
    /// A step before this one did not compile, so that any name may be right.
    pub lost: bool,
    /// Rows carry the watermark of their partition: they have a time of their own.
    pub marked: bool,
    /// Rows come out of an `ORDER BY`: all of them at the end.
    pub ordered: bool,
    /// Rows may be deletes that have only their keys: where the source said `KEY`.
    pub keyed: Option<Span>,
    pub gone: Vec<Gone>,
    /// The ways into the pipeline that the open record came by.
    pub intakes: Vec<usize>,
    /// Tables whose columns can be read.
    pub tables: Vec<Joined>,
}

/// A table that was joined: its columns are `alias.column`, hidden, until a `SELECT` takes them.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub alias: String,
    pub intake: usize,
    /// It has no schema: any field may be read.
    pub open: bool,
    /// Its columns are not known, which has been said.
    pub lost: bool,
}

impl Joined {
    pub fn column(&self, name: &str) -> String {
        format!("{}.{name}", self.alias)
    }

    /// The table's own name of a column of the batch, if it is one of its.
    pub fn bare<'c>(&self, column: &'c str) -> Option<&'c str> {
        column.strip_prefix(self.alias.as_str())?.strip_prefix('.')
    }
}

pub(crate) enum Found<'a> {
    Column(&'a ScopeColumn),
    /// Several columns differ from the name only by case.
    Several(Vec<&'a str>),
    Gone(&'a Gone),
    /// A field of the open record that is read for the first time.
    Undeclared,
    Lost,
    Nothing,
}

impl Scope {
    pub fn find(&self, name: &str) -> Found<'_> {
        if let Some(column) = self.columns.iter().find(|column| !column.undeclared && column.name() == name) {
            return Found::Column(column);
        }
        let alike: Vec<&ScopeColumn> =
            self.columns.iter().filter(|column| !column.undeclared && same_name(column.name(), name)).collect();
        match alike.as_slice() {
            [] => {}
            [column] => return Found::Column(column),
            several => return Found::Several(several.iter().map(|column| column.name()).collect()),
        }
        if let Some(column) = self.columns.iter().find(|column| column.name() == name) {
            return Found::Column(column);
        }
        if let Some(gone) = self.gone.iter().rev().find(|gone| self.names(&gone.name, name)) {
            return Found::Gone(gone);
        }
        if self.open.is_none()
            && let Some(column) = self.of_tables(name)
        {
            return Found::Column(column);
        }
        match (self.lost, &self.open) {
            (true, _) => Found::Lost,
            (false, Some(_)) if !self.evolves => Found::Undeclared,
            (false, _) => Found::Nothing,
        }
    }

    /// Whether `written` means a column that was called `name`.
    fn names(&self, name: &str, written: &str) -> bool {
        if self.open.is_some() && !self.evolves { name == written } else { same_name(name, written) }
    }

    pub fn is_alias(&self, name: &str) -> bool {
        self.alias.as_deref().is_some_and(|alias| same_name(alias, name))
    }

    /// The table of this alias.
    pub fn joined(&self, alias: &str) -> Option<&Joined> {
        self.tables.iter().find(|table| same_name(&table.alias, alias))
    }

    /// A column of a joined table by its bare name, where nothing else has that name and one table only.
    fn of_tables(&self, name: &str) -> Option<&ScopeColumn> {
        let bare = |column: &str| self.tables.iter().find_map(|table| table.bare(column).map(str::to_owned));
        let mut found =
            self.columns.iter().filter(|column| bare(column.name()).is_some_and(|bare| same_name(&bare, name)));
        found.next().filter(|_| found.next().is_none())
    }

    /// The name that a column has without the alias of a joined table.
    pub fn bare<'c>(&self, column: &'c str) -> &'c str {
        self.tables.iter().find_map(|table| table.bare(column)).unwrap_or(column)
    }

    pub fn visible(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().filter(|column| column.visible)
    }

    pub fn visible_names(&self) -> Vec<String> {
        self.visible().map(|column| column.name().to_owned()).collect()
    }

    /// What a step that passes columns on needs of the scope before it: the open record, and the hidden columns.
    pub fn beneath(&self) -> Scope {
        let hidden = self.columns.iter().filter(|column| !column.visible);
        Scope { columns: hidden.cloned().collect(), open: self.open.clone(), ..Scope::default() }
    }

    /// Of these columns, the first that a delete with nothing but its key does not know.
    pub fn beside_key<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let beside = |name: &&str| self.columns.iter().any(|column| column.beside_key && column.name() == *name);
        names.into_iter().find(beside)
    }

    /// Takes a column back into being: it was dropped, and is made again.
    pub fn came_back(&mut self, name: &str) {
        self.gone.retain(|gone| gone.name != name);
    }

    /// A field of the open record, now that somebody reads it. In front of the hidden columns.
    pub fn add_undeclared(&mut self, name: &str) {
        let place = self.columns.iter().position(|column| !column.visible).unwrap_or(self.columns.len());
        self.columns.insert(place, ScopeColumn::undeclared(name));
    }

    pub fn plan_columns(&self) -> Vec<Column> {
        let column = |column: &ScopeColumn| Column {
            name: column.name().to_owned(),
            kind: TypePlan::of(&column.field),
            visible: column.visible,
        };
        self.columns.iter().map(column).collect()
    }

    /// The named columns as the planner wants them; `None` when two have one name, which only follows from another mistake.
    pub fn schema_of(&self, names: &[String]) -> Option<DFSchema> {
        let read = self.columns.iter().filter(|column| names.iter().any(|name| name == column.name()));
        let fields: Vec<Field> = read.map(|column| column.field.clone()).collect();
        DFSchema::from_unqualified_fields(fields.into(), Default::default()).ok()
    }
}

pub(crate) fn same_name(one: &str, other: &str) -> bool {
    match one.is_ascii() && other.is_ascii() {
        true => one.eq_ignore_ascii_case(other),
        false => one.to_lowercase() == other.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    fn found(scope: &Scope, name: &str) -> String {
        match scope.find(name) {
            Found::Column(column) => format!("column {}", column.name()),
            Found::Several(names) => format!("several {}", names.join(" ")),
            Found::Gone(gone) => format!("gone {}", gone.name),
            Found::Undeclared => "undeclared".into(),
            Found::Lost => "lost".into(),
            Found::Nothing => "nothing".into(),
        }
    }

    fn declared(names: &[&str]) -> Vec<ScopeColumn> {
        names.iter().map(|name| ScopeColumn::visible(Field::new(*name, DataType::Int64, true))).collect()
    }

    #[test]
    fn a_declared_column_matches_without_case_but_its_own_spelling_first() {
        let scope = Scope { columns: declared(&["FirstName", "id", "ID"]), ..Scope::default() };
        let all: Vec<String> =
            ["firstname", "FIRSTNAME", "id", "ID", "Id", "x"].iter().map(|n| found(&scope, n)).collect();
        assert_eq!(all, ["column FirstName", "column FirstName", "column id", "column ID", "several id ID", "nothing"]);
    }

    #[test]
    fn an_undeclared_field_matches_exactly() {
        let mut scope = Scope { open: Some(Open::default()), ..Scope::default() };
        scope.add_undeclared("id");
        assert_eq!([found(&scope, "id"), found(&scope, "ID")], ["column id", "undeclared"]);
    }

    #[test]
    fn a_dropped_column_is_gone_until_it_is_made_again() {
        let span = Span::default();
        let mut scope = Scope { columns: declared(&["a"]), ..Scope::default() };
        scope.gone.push(Gone { name: "b".into(), span, how: How::Dropped });
        assert_eq!(found(&scope, "B"), "gone b");
        scope.came_back("b");
        assert_eq!(found(&scope, "b"), "nothing");
    }
}
