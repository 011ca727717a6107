//! SELECT, EXTEND, SET, DROP, RENAME: the columns after a step, by name.
//!
//! `SELECT` closes an open record, unless it has a `*`; the others keep it open and note what is gone and what is new. Hidden
//! columns go along through all of them.

use syncline_syntax::{Span, ast};

use super::{Branch, Made};
use crate::{
    expression::{Arrays, Reading, column_sql},
    message::{names as say, steps as say_steps},
    plan::{Open, StepKind},
    scope::{Found, Gone, How, Scope, ScopeColumn, output_field},
    walk::Walk,
};

/// A column of a projection: as the scope after it has it, and the SQL that makes it.
#[derive(Clone)]
struct Output {
    column: ScopeColumn,
    sql: String,
}

/// What a `SELECT` has so far.
#[derive(Default)]
struct Selected {
    outputs: Vec<Output>,
    /// Where each was named, for two of one name.
    places: Vec<Span>,
    /// A `*` of an open record: the record stays open.
    all: bool,
    excluded: Vec<String>,
    /// Columns made by an expression, for an open record.
    made: Vec<String>,
    /// What an `UNNEST` takes apart.
    arrays: Arrays,
}

impl Walk<'_> {
    pub(super) fn select(
        &mut self,
        step: &ast::Step,
        select: &ast::Select,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        let mut selected = Selected::default();
        for item in &select.items {
            match item {
                ast::Item::Expr(named) => self.select_one(named, scope, &mut selected),
                ast::Item::Wildcard(wildcard) => self.select_all(wildcard, scope, &mut selected),
            }
        }
        self.unnest(step, std::mem::take(&mut selected.arrays), scope, branch);
        let before = std::mem::take(scope);
        let open = before.open.clone().filter(|_| selected.all);
        (scope.marked, scope.ordered, scope.keyed) = (before.marked, before.ordered, before.keyed);
        for name in before.visible_names() {
            if !selected.outputs.iter().any(|output| output.column.name() == name) {
                scope.gone.push(Gone { name, span: step.span, how: How::NotSelected });
            }
        }
        scope.closed_by = (before.open.is_some() && !before.evolves).then_some(step.span);
        scope.evolves = before.evolves && open.is_some();
        scope.ended_alias = before.alias.clone().map(|alias| (alias, step.span)).or(before.ended_alias.clone());
        if open.is_some() {
            (scope.closed_by, scope.ended_alias) = (None, before.ended_alias.clone());
            scope.gone = before.gone.clone();
            scope.gone.extend(selected.excluded.iter().map(|name| gone(name, step.span)));
            scope.alias = before.alias.clone();
            scope.tables = before.tables.clone();
            scope.intakes = before.intakes.clone();
        } else if let (None, Some(table)) = (&scope.ended_alias, before.tables.first()) {
            scope.ended_alias = Some((table.alias.clone(), step.span));
        }
        scope.open = open.map(|open| changed(open, &selected.excluded, &selected.made));
        scope.lost = before.lost && selected.outputs.is_empty();
        let made = self.project("SELECT", selected.outputs, &before, scope, branch);
        match select.distinct {
            Some(distinct) => self.distinct(step, distinct, made, scope, branch),
            None => made,
        }
    }

    fn select_one(&mut self, named: &ast::NamedExpr, scope: &mut Scope, selected: &mut Selected) {
        let reading = self.read_item(&named.expr, scope, &mut selected.arrays);
        let fallback = || named.expr.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (name, place) = match (&named.name, &reading) {
            (Some(name), _) => (name.text.clone(), name.span),
            (None, Some(reading)) => (reading.name.clone(), named.span),
            (None, None) => (fallback(), named.span),
        };
        let read_it = named.name.is_some() || reading.is_some();
        if let Some(taken) = say::reserved(place, &name).filter(|_| read_it) {
            return self.say(taken);
        }
        let output = match reading {
            Some(reading) => {
                let plain = reading.sql == column_sql(self.world.planner, &name);
                if !plain {
                    selected.made.push(name.clone());
                }
                made(&name, reading, scope)
            }
            None => Output { column: ScopeColumn::broken(&name), sql: "NULL".into() },
        };
        self.put(output, place, selected);
    }

    fn select_all(&mut self, wildcard: &ast::Wildcard, scope: &mut Scope, selected: &mut Selected) {
        if let Some(alias) = &wildcard.qualifier
            && !scope.is_alias(&alias.text)
        {
            if !scope.lost {
                self.say(say::no_such_alias(alias, scope.alias.as_deref()));
            }
            return;
        }
        let mut excluded = Vec::new();
        for name in &wildcard.except {
            match scope.find(&name.text) {
                Found::Undeclared => excluded.push(name.text.clone()),
                _ => excluded.extend(self.column(&name.text, name.span, scope)),
            }
        }
        selected.all |= scope.open.is_some();
        let kept: Vec<ScopeColumn> =
            scope.visible().filter(|column| !excluded.contains(&column.field.name().to_owned())).cloned().collect();
        for column in kept {
            let sql = column_sql(self.world.planner, column.name());
            self.put(Output { column, sql }, wildcard.span, selected);
        }
        selected.excluded.extend(excluded);
    }

    fn put(&mut self, output: Output, place: Span, selected: &mut Selected) {
        let name = output.column.name().to_owned();
        let twice = selected.outputs.iter().position(|earlier| earlier.column.name() == name);
        match twice {
            // A field of an open record that happens to be read elsewhere is not one that the file names twice.
            Some(at) if selected.outputs[at].column.undeclared => selected.outputs[at] = output,
            Some(_) if output.column.undeclared => {}
            Some(at) => {
                let first = selected.places[at];
                self.say(say::column_twice(place, &name, (first != place).then_some(first)));
            }
            None => {
                selected.outputs.push(output);
                selected.places.push(place);
            }
        }
    }

    pub(super) fn extend(&mut self, step: &ast::Step, items: &[ast::Item], scope: &mut Scope, branch: &Branch) -> Made {
        let mut arrays = Arrays::new();
        let before = scope.beneath();
        let mut outputs = self.passed(scope);
        let mut set = Vec::new();
        for item in items {
            let named = match item {
                ast::Item::Expr(named) => named,
                ast::Item::Wildcard(wildcard) => {
                    self.say(say_steps::extend_wildcard(wildcard.span));
                    continue;
                }
            };
            let reading = self.read_item(&named.expr, scope, &mut arrays);
            let fallback = || named.expr.text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (name, place) = match (&named.name, &reading) {
                (Some(name), _) => (name.text.clone(), name.span),
                (None, Some(reading)) => (reading.name.clone(), named.span),
                (None, None) => (fallback(), named.span),
            };
            if let Some(taken) = say::reserved(place, &name) {
                self.say(taken);
                continue;
            }
            let known = outputs.iter().position(|output| output.column.name() == name);
            if known.is_some_and(|at| !outputs[at].column.undeclared) {
                self.say(say_steps::extend_known(named, place, &name));
                continue;
            }
            let output = match reading {
                Some(reading) => made(&name, reading, scope),
                None => Output { column: ScopeColumn::broken(&name), sql: "NULL".into() },
            };
            set.push(name);
            place_in(&mut outputs, output);
        }
        self.unnest(step, arrays, scope, branch);
        self.reopen(scope, &before, &[], &set);
        self.project("EXTEND", outputs, &before, scope, branch)
    }

    pub(super) fn set(&mut self, assignments: &[ast::Assignment], scope: &mut Scope, branch: &Branch) -> Made {
        let before = scope.beneath();
        let mut outputs = self.passed(scope);
        let mut set: Vec<String> = Vec::new();
        for assignment in assignments {
            let reading = self.read(&assignment.expr, scope);
            let column = &assignment.column;
            let name = match scope.find(&column.text) {
                Found::Undeclared | Found::Lost => column.text.clone(),
                Found::Column(found) if !found.visible => {
                    self.say(say_steps::hidden_is_fixed(column.span, &column.text));
                    continue;
                }
                Found::Nothing => {
                    self.say(say_steps::set_unknown(assignment, scope));
                    continue;
                }
                _ => match self.column(&column.text, column.span, scope) {
                    Some(name) => name,
                    None => continue,
                },
            };
            if set.contains(&name) {
                self.say(say::column_twice(column.span, &name, None));
                continue;
            }
            if let Some(taken) = say::reserved(column.span, &name) {
                self.say(taken);
                continue;
            }
            let output = match reading {
                Some(reading) => made(&name, reading, scope),
                None => Output { column: ScopeColumn::broken(&name), sql: "NULL".into() },
            };
            set.push(name);
            place_in(&mut outputs, output);
        }
        self.reopen(scope, &before, &[], &set);
        self.project("SET", outputs, &before, scope, branch)
    }

    pub(super) fn drop_columns(&mut self, names: &[ast::Ident], scope: &mut Scope, branch: &Branch) -> Made {
        let before = scope.beneath();
        let mut dropped: Vec<(String, Span)> = Vec::new();
        for name in names {
            match scope.find(&name.text) {
                Found::Undeclared => dropped.push((name.text.clone(), name.span)),
                Found::Column(found) if !found.visible => self.say(say_steps::hidden_is_fixed(name.span, &name.text)),
                _ => dropped.extend(self.column(&name.text, name.span, scope).map(|column| (column, name.span))),
            }
        }
        let mut outputs = self.passed(scope);
        outputs.retain(|output| !dropped.iter().any(|(name, _)| name == output.column.name()));
        let gone_names: Vec<String> = dropped.iter().map(|(name, _)| name.clone()).collect();
        self.reopen(scope, &before, &gone_names, &[]);
        scope.gone.extend(dropped.iter().map(|(name, span)| gone(name, *span)));
        self.project("DROP", outputs, &before, scope, branch)
    }

    pub(super) fn rename(&mut self, renames: &[ast::Rename], scope: &mut Scope, branch: &Branch) -> Made {
        let mut pairs: Vec<(String, &ast::Rename)> = Vec::new();
        for rename in renames {
            let hidden = matches!(scope.find(&rename.from.text), Found::Column(found) if !found.visible);
            if hidden {
                self.say(say_steps::hidden_is_fixed(rename.from.span, &rename.from.text));
            } else if let Some(taken) = say::reserved(rename.to.span, &rename.to.text) {
                self.say(taken);
            } else if let Some(from) = self.column(&rename.from.text, rename.from.span, scope) {
                pairs.push((from, rename));
            }
        }
        let before = scope.beneath();
        let mut outputs = self.passed(scope);
        let to = |name: &str| pairs.iter().find(|(from, _)| from == name).map(|(_, rename)| *rename);
        // A field of an open record gives way to the column that takes its name.
        let taken: Vec<&str> = pairs.iter().map(|(_, rename)| rename.to.text.as_str()).collect();
        outputs.retain(|output| {
            let name = output.column.name();
            !(output.column.undeclared && to(name).is_none() && taken.contains(&name))
        });
        for output in &mut outputs {
            if let Some(rename) = to(output.column.name()) {
                output.column = output.column.renamed(&rename.to.text);
            }
        }
        for (_, rename) in &pairs {
            let count = outputs.iter().filter(|output| output.column.name() == rename.to.text).count();
            if count > 1 {
                self.say(say::column_twice(rename.to.span, &rename.to.text, None));
                return Made::Lost;
            }
        }
        let dropped: Vec<String> = pairs.iter().map(|(from, _)| from.clone()).collect();
        let set: Vec<String> = taken.iter().map(|name| (*name).to_owned()).collect();
        self.reopen(scope, &before, &dropped, &set);
        for (from, rename) in &pairs {
            if !set.contains(from) {
                let how = How::Renamed(rename.to.text.clone());
                scope.gone.push(Gone { name: from.clone(), span: rename.span, how });
            }
        }
        self.project("RENAME", outputs, &before, scope, branch)
    }

    /// The visible columns as they are.
    fn passed(&self, scope: &Scope) -> Vec<Output> {
        let planner = self.world.planner;
        scope
            .visible()
            .map(|column| Output { column: column.clone(), sql: column_sql(planner, column.name()) })
            .collect()
    }

    /// Notes on an open record what is gone and what is new.
    fn reopen(&self, scope: &mut Scope, before: &Scope, dropped: &[String], set: &[String]) {
        scope.open = before.open.clone().map(|open| changed(open, dropped, set));
        set.iter().for_each(|name| scope.came_back(name));
    }

    /// The step and the scope after it: the outputs, then the hidden columns that no output has the name of.
    fn project(
        &mut self,
        word: &str,
        mut outputs: Vec<Output>,
        before: &Scope,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        let hidden = before.columns.iter().filter(|column| !column.visible);
        let kept: Vec<ScopeColumn> = hidden
            .filter(|column| !outputs.iter().any(|output| output.column.name() == column.name()))
            .cloned()
            .collect();
        for column in kept {
            let sql = column_sql(self.world.planner, column.name());
            outputs.push(Output { column, sql });
        }
        let columns = outputs.iter().map(|output| (output.column.name().to_owned(), output.sql.clone())).collect();
        scope.columns = outputs.into_iter().map(|output| output.column).collect();
        let id = self.id(&branch.prefix, &word.to_lowercase());
        Made::step(StepKind::Project { word: word.to_owned(), columns }, id)
    }
}

/// A column made by an expression. One that only takes another name is still the record's time, if it was.
fn made(name: &str, reading: Reading, scope: &Scope) -> Output {
    let taken = reading.typed.as_column().and_then(|taken| scope.columns.iter().find(|column| column.name() == taken));
    let field = output_field(name, reading.typed.field());
    let beside_key = scope.beside_key(reading.typed.columns().iter().map(String::as_str)).is_some();
    Output {
        column: ScopeColumn { time: taken.and_then(|taken| taken.time), beside_key, ..ScopeColumn::visible(field) },
        sql: reading.sql,
    }
}

fn gone(name: &str, span: Span) -> Gone {
    Gone { name: name.to_owned(), span, how: How::Dropped }
}

/// Puts an output in the place of the column of its name, else at the end.
fn place_in(outputs: &mut Vec<Output>, output: Output) {
    match outputs.iter().position(|earlier| earlier.column.name() == output.column.name()) {
        Some(at) => outputs[at] = output,
        None => outputs.push(output),
    }
}

/// An open record after some members went and some columns were set.
fn changed(mut open: Open, dropped: &[String], set: &[String]) -> Open {
    for name in dropped {
        open.set.retain(|known| known != name);
        if !open.dropped.contains(name) {
            open.dropped.push(name.clone());
        }
    }
    for name in set {
        open.dropped.retain(|known| known != name);
        if !open.set.contains(name) {
            open.set.push(name.clone());
        }
    }
    open
}
