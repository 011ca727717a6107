//! INSERT, UPSERT, REPLACE: where a flow ends, and what the other side must be able to do.

use sqlparser::ast::Expr;
use syncline_functions::sql_type_of;
use syncline_syntax::{Span, ast};

use super::{Branch, Made};
use crate::{
    catalog::{ConnectorFacts, SinkFacts},
    expression::column_sql,
    format::{self, Format},
    message::{names as say_names, sinks as say},
    place::{self, Resolved, Use},
    plan::{SinkPlan, StepKind, WritePlan},
    scope::{Found, Scope, same_name},
    walk::Walk,
};

impl<'a> Walk<'a> {
    pub(super) fn insert(
        &mut self,
        step: &ast::Step,
        insert: &ast::Insert,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        let id = self.id(&branch.prefix, "insert");
        let resolved = self.target(&insert.target);
        self.able(step, &resolved, "INSERT", |sink| sink.insert);
        let key = insert.key.as_ref().map_or(Some(Vec::new()), |key| self.key(key, scope, "KEY"));
        let format = self.format_of_sink(insert.format.as_ref(), &resolved);
        self.arrive(step, resolved, format, key.map(|key| WritePlan::Insert { key }), scope, id)
    }

    pub(super) fn upsert(
        &mut self,
        step: &ast::Step,
        upsert: &ast::Upsert,
        scope: &mut Scope,
        branch: &mut Branch,
    ) -> Made {
        let id = self.id(&branch.prefix, "upsert");
        let resolved = self.target(&upsert.target);
        self.able(step, &resolved, "UPSERT", |sink| sink.upsert);
        let key = self.key(&upsert.key, scope, "KEY");
        let sequence = upsert.sequence_by.as_ref().map(|by| self.ordered(by, scope, "SEQUENCE BY"));
        if branch.arm.as_ref().is_none_or(|arm| arm.primary) {
            self.deletes_arrive(&upsert.key, &key, upsert.sequence_by.as_ref(), &sequence, scope);
        }
        let delete_when = upsert.delete_when.as_ref().map(|when| self.delete_when(when, scope, branch));
        if let Some((ast::OnOrphan::Delete, span)) = &upsert.on_orphan {
            self.say(say::on_orphan_delete(*span));
        }
        let compiled = sequence != Some(None) && delete_when != Some(None);
        let write = key.filter(|_| compiled).map(|key| WritePlan::Upsert {
            key,
            sequence: sequence.flatten(),
            delete_when: delete_when.flatten().flatten(),
            ignore_nulls: upsert.ignore_nulls.is_some(),
            orphans_deleted: false,
        });
        self.arrive(step, resolved, Format::default(), write, scope, id)
    }

    pub(super) fn replace(
        &mut self,
        step: &ast::Step,
        replace: &ast::Replace,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        let id = self.id(&branch.prefix, "replace");
        let resolved = self.target(&replace.target);
        self.able(step, &resolved, "REPLACE", |sink| sink.replace);
        let per = self.key(&replace.per, scope, "PER");
        let sequence = replace.sequence_by.as_ref().map(|by| self.ordered(by, scope, "SEQUENCE BY"));
        self.deletes_arrive(&replace.per, &per, replace.sequence_by.as_ref(), &sequence, scope);
        let compiled = sequence != Some(None);
        let write = per.filter(|_| compiled).map(|per| WritePlan::Replace { per, sequence: sequence.flatten() });
        self.arrive(step, resolved, Format::default(), write, scope, id)
    }

    /// A delete is applied by its key, and in its order.
    fn deletes_arrive(
        &mut self,
        written: &ast::Columns,
        key: &Option<Vec<String>>,
        by: Option<&ast::SqlExpr>,
        sequence: &Option<Option<String>>,
        scope: &Scope,
    ) {
        let planner = self.world.planner;
        let key: Vec<String> = key.iter().flatten().map(|name| column_sql(planner, name)).collect();
        self.known_of_deletes(&key, written.span, "the key", scope);
        if let (Some(by), Some(Some(sequence))) = (by, sequence) {
            self.known_of_deletes(std::slice::from_ref(sequence), by.span, "SEQUENCE BY", scope);
        }
    }

    fn format_of_sink(&mut self, written: Option<&ast::Format>, resolved: &Option<Resolved<'a>>) -> Format {
        let Some(Resolved { connector, place }) = resolved else { return Format::default() };
        let formats = connector.sink.as_ref().map_or(&[][..], |sink| &sink.formats);
        let mut said = Vec::new();
        let format = format::of_place(written, connector, place, formats, &mut said);
        self.say_all(said);
        format
    }

    fn target(&mut self, target: &ast::Target) -> Option<Resolved<'a>> {
        let world = self.world;
        let mut said = Vec::new();
        let resolved = match target {
            ast::Target::Call(call) => place::of_call(call, Use::Sink, world.catalog, world.source, &mut said),
            ast::Target::Object(name) => {
                place::of_object(name, Use::Sink, world.catalog, &world.names, world.source, &mut said)
            }
        };
        self.broken |= resolved.is_none();
        self.say_all(said);
        resolved
    }

    fn able(&mut self, step: &ast::Step, resolved: &Option<Resolved>, word: &str, can: fn(&SinkFacts) -> bool) {
        if let Some(Resolved { connector, .. }) = resolved
            && !connector.sink.as_ref().is_some_and(can)
        {
            let others: Vec<&ConnectorFacts> =
                self.world.catalog.connectors.iter().filter(|other| other.sink.as_ref().is_some_and(can)).collect();
            self.say(say::cannot(step.keyword, word, connector, &others));
        }
    }

    /// The columns of a key, which the sink must be given.
    fn key(&mut self, written: &ast::Columns, scope: &mut Scope, word: &str) -> Option<Vec<String>> {
        let mut key: Vec<String> = Vec::new();
        let mut whole = true;
        for name in &written.names {
            let hidden = matches!(scope.find(&name.text), Found::Column(found) if !found.visible);
            if hidden {
                self.say(say::key_is_hidden(name, word));
                whole = false;
                continue;
            }
            match self.column(&name.text, name.span, scope) {
                Some(column) if key.contains(&column) => {
                    self.say(say_names::column_twice(name.span, &column, None));
                    whole = false;
                }
                Some(column) => key.push(column),
                None => whole = false,
            }
        }
        whole.then_some(key)
    }

    /// In a PRIMARY arm it is evaluated at the SHARD, before the arm's own steps. `None` when it did not compile.
    fn delete_when(&mut self, when: &ast::SqlExpr, scope: &mut Scope, branch: &mut Branch) -> Option<Option<String>> {
        let Some(arm) = &mut branch.arm else { return self.condition(when, scope, "DELETE WHEN").map(Some) };
        if !arm.primary {
            self.say(say::derived_delete(when.span, &arm.name));
            return None;
        }
        let (mut at_shard, arm_name) = (arm.at_shard.clone(), arm.name.clone());
        if let Some(made) = self.made_in_arm(when, scope, &at_shard) {
            self.say(say::delete_at_shard(made.1, &made.0, &arm_name, &at_shard));
            return None;
        }
        let sql = self.condition(when, &mut at_shard, "DELETE WHEN")?;
        if let Some(arm) = &mut branch.arm {
            arm.delete_when = Some(sql);
        }
        Some(None)
    }

    /// A name that the arm's own steps make, and that is not there at the SHARD.
    fn made_in_arm(&self, when: &ast::SqlExpr, scope: &Scope, at_shard: &Scope) -> Option<(String, Span)> {
        use std::ops::ControlFlow;
        let found = sqlparser::ast::visit_expressions(&when.ast, |part| {
            let Expr::Identifier(name) = part else { return ControlFlow::Continue(()) };
            let made = scope.columns.iter().any(|column| !column.undeclared && same_name(column.name(), &name.value));
            let known = matches!(at_shard.find(&name.value), Found::Column(_) | Found::Lost);
            let read_before =
                self.intakes.iter().any(|intake| intake.fields.iter().any(|field| field.name == name.value));
            let passed = read_before && at_shard.open.is_some();
            if made && !known && !passed {
                return ControlFlow::Break((name.value.clone(), self.place_of(name.span, when.span)));
            }
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Break(made) => Some(made),
            ControlFlow::Continue(()) => None,
        }
    }

    /// Columns that stand beside what is written as the row have types of their own.
    fn beside(&mut self, step: &ast::Step, resolved: &Option<Resolved<'a>>, scope: &Scope) {
        let facts = resolved.as_ref().and_then(|resolved| resolved.connector.sink.as_ref());
        for (name, kinds) in facts.map_or(&[][..], |sink| &sink.beside[..]) {
            let Some(column) = scope.visible().find(|column| column.name() == name) else { continue };
            let kind = sql_type_of(&column.field);
            let fits = |wanted: &String| kind == *wanted || kind.starts_with(&format!("{wanted}("));
            if !column.broken && !kinds.iter().any(fits) {
                self.say(say::beside(step, name, &kind, kinds));
            }
        }
    }

    fn arrive(
        &mut self,
        step: &ast::Step,
        resolved: Option<Resolved<'a>>,
        format: Format,
        write: Option<WritePlan>,
        scope: &Scope,
        id: String,
    ) -> Made {
        let wants_columns = |resolved: &Resolved| {
            format.csv.is_some() || resolved.connector.sink.as_ref().is_some_and(|sink| sink.needs_columns)
        };
        let mut open = scope.open.is_some();
        if let (true, true, Some(resolved)) = (open, scope.evolves, resolved.as_ref().filter(|to| wants_columns(to))) {
            self.say(say::fields_left_out(step, resolved.connector));
            open = false;
        }
        let needs_columns = resolved.as_ref().filter(|to| wants_columns(to));
        if let (true, false, Some(resolved)) = (open, scope.lost, needs_columns) {
            self.say(say::needs_columns(step, resolved.connector, &scope.visible_names()));
        }
        self.takes_whole_records(scope);
        self.beside(step, &resolved, scope);
        let (Some(resolved), Some(write)) = (resolved, write) else { return Made::Nothing };
        let columns = if open { Vec::new() } else { scope.visible_names() };
        Made::step(StepKind::Sink(SinkPlan { place: resolved.place, write, columns, csv: format.csv }), id)
    }
}
