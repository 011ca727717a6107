//! A flow: the steps one after the other, each over the columns that the one before left.
//!
//! A flow ends in a sink, or in branches that do. A step that does not compile leaves columns that may be anything, so that its
//! consequences are not reported as mistakes of their own.

mod aggregate;
mod history;
mod join;
mod keyed;
mod project;
mod rows;
mod sink;
mod stream;
mod union;

pub(crate) use join::conjuncts;
pub(crate) use rows::keep_what_is_taken;
use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    message::{names as say_names, steps as say},
    plan::{Step, StepKind, Violation},
    scope::{Scope, same_name},
    walk::Walk,
};

/// Where a flow stands: how the ids of its steps begin, and the `PRIMARY` arm that it is the flow of.
pub(crate) struct Branch {
    pub prefix: String,
    pub arm: Option<ArmOf>,
}

/// The arm of a `SHARD`, as the sink at its end sees it.
pub(crate) struct ArmOf {
    pub name: String,
    pub primary: bool,
    /// The columns at the `SHARD`.
    pub at_shard: Scope,
    /// The `DELETE WHEN` that is evaluated there.
    pub delete_when: Option<String>,
}

impl Branch {
    pub fn main() -> Self {
        Self { prefix: String::new(), arm: None }
    }
}

/// What came of one step.
pub(super) enum Made {
    Step(Box<StepKind>, String),
    /// Only names changed.
    Nothing,
    /// It did not compile: that has been said.
    Lost,
}

impl Made {
    pub fn step(kind: StepKind, id: String) -> Self {
        Made::Step(Box::new(kind), id)
    }
}

impl Walk<'_> {
    /// From behind the source to the end.
    pub fn whole_flow(&mut self, flow: &ast::Flow, mut scope: Scope, branch: &mut Branch) -> Vec<Step> {
        let mut made = self.histories(flow, &mut scope, branch);
        made.extend(self.sources_joined(&flow.more, &mut scope, branch));
        made.extend(self.flow(&flow.steps, scope, branch, flow.span));
        made
    }

    pub fn flow(&mut self, steps: &[ast::Step], mut scope: Scope, branch: &mut Branch, place: Span) -> Vec<Step> {
        let made = self.steps(steps, &mut scope, branch);
        if !steps.last().is_some_and(delivers) {
            self.say(say::no_sink(steps.last().map_or(place, |last| last.span)));
        }
        made
    }

    fn steps(&mut self, steps: &[ast::Step], scope: &mut Scope, branch: &mut Branch) -> Vec<Step> {
        let mut made: Vec<Step> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            if let Some(end) = index.checked_sub(1).map(|before| &steps[before]).filter(|before| ends_a_flow(before)) {
                self.say(say::unreachable(step.span, end.keyword));
                return made;
            }
            let one = self.step(step, scope, branch);
            made.append(&mut self.before);
            match one {
                Made::Step(kind, id) => {
                    made.push(finished(*kind, id, step.span, scope));
                    self.orders_end(&made);
                }
                Made::Nothing => {}
                Made::Lost => scope.lost = true,
            }
        }
        made
    }

    fn step(&mut self, step: &ast::Step, scope: &mut Scope, branch: &mut Branch) -> Made {
        match &step.kind {
            ast::StepKind::Where(condition) => {
                let Some(predicate) = self.condition(condition, scope, "WHERE") else { return Made::Nothing };
                let of_deletes = self.asked_of_deletes(&predicate, scope);
                Made::step(StepKind::Where { predicate, groups: false, of_deletes }, self.id(&branch.prefix, "where"))
            }
            ast::StepKind::Select(select) => self.select(step, select, scope, branch),
            ast::StepKind::Extend(items) => self.extend(step, items, scope, branch),
            ast::StepKind::Set(assignments) => self.set(assignments, scope, branch),
            ast::StepKind::Drop(names) => self.drop_columns(names, scope, branch),
            ast::StepKind::Rename(renames) => self.rename(renames, scope, branch),
            ast::StepKind::As(alias) => {
                scope.alias = Some(alias.text.clone());
                Made::Nothing
            }
            ast::StepKind::Aggregate(aggregate) => self.aggregate(step, aggregate, scope, branch),
            ast::StepKind::Dedup(dedup) => self.dedup(step, dedup, scope, branch),
            ast::StepKind::Shard(shard) => self.shard(step, shard, scope, branch),
            ast::StepKind::Expect(expect) => self.expect(expect, scope, branch),
            ast::StepKind::Tee(tail) => {
                let id = self.id(&branch.prefix, "tee");
                let mut inner = Branch { prefix: format!("{id}/"), arm: None };
                let flow = self.flow(&tail.steps, scope.clone(), &mut inner, tail.span);
                Made::step(StepKind::Tee { flow }, id)
            }
            ast::StepKind::Fork(tails) => {
                let id = self.id(&branch.prefix, "fork");
                let mut flows = Vec::new();
                for (index, tail) in tails.iter().enumerate() {
                    let mut inner = Branch { prefix: format!("{id}/{}/", index + 1), arm: None };
                    flows.push(self.flow(&tail.steps, scope.clone(), &mut inner, tail.span));
                }
                Made::step(StepKind::Fork { flows }, id)
            }
            ast::StepKind::Union(union) => self.union(union, scope, branch),
            ast::StepKind::Join(join) => self.join(join, step.keyword, scope, branch),
            ast::StepKind::Insert(insert) => self.insert(step, insert, scope, branch),
            ast::StepKind::Upsert(upsert) => self.upsert(step, upsert, scope, branch),
            ast::StepKind::Replace(replace) => self.replace(step, replace, scope, branch),
            ast::StepKind::Stream(name) => self.as_stream(name, scope, branch),
            ast::StepKind::OrderBy(items) => self.order_by(step, items, scope, branch),
            ast::StepKind::Limit { count, offset } => self.limit(step, count, offset.as_ref(), branch),
            ast::StepKind::Broken => {
                self.broken = true;
                Made::Lost
            }
            other => {
                self.say(say::not_yet(other, step.keyword));
                Made::Lost
            }
        }
    }

    fn expect(&mut self, expect: &ast::Expect, scope: &mut Scope, branch: &mut Branch) -> Made {
        let predicate = self.condition(&expect.condition, scope, "EXPECT");
        let id = match &expect.name {
            Some(name) => {
                let earlier = self.expectations.iter().find(|earlier| same_name(&earlier.text, &name.text)).cloned();
                if let Some(first) = earlier {
                    self.say(say_names::declared_twice("expectation", name, &first));
                }
                self.expectations.push(name.clone());
                self.id(&branch.prefix, &name.text)
            }
            None => self.id(&branch.prefix, "expect"),
        };
        let name = expect.name.as_ref().map_or_else(|| id.clone(), |name| name.text.clone());
        let violation = match expect.on_violation {
            ast::OnViolation::Drop => Violation::Drop,
            ast::OnViolation::DeadLetter => Violation::DeadLetter,
            ast::OnViolation::Warn => Violation::Warn,
            ast::OnViolation::Fail => Violation::Fail,
        };
        match predicate {
            Some(predicate) => {
                let passes_deletes = scope.keyed.is_some();
                Made::step(StepKind::Expect { predicate, name, violation, groups: false, passes_deletes }, id)
            }
            None => Made::Nothing,
        }
    }

    /// An expression that is true or not, as SQL. JSON is cast.
    pub(super) fn condition(&mut self, written: &ast::SqlExpr, scope: &mut Scope, place: &str) -> Option<String> {
        use datafusion::arrow::datatypes::DataType;
        let reading = self.read(written, scope)?;
        let field = reading.typed.field();
        if *field.data_type() == DataType::Boolean {
            return Some(reading.sql);
        }
        if syncline_functions::is_json(field) || *field.data_type() == DataType::Null {
            return Some(format!("CAST({} AS BOOLEAN)", reading.sql));
        }
        let kind = syncline_functions::sql_type_of(field);
        self.say(say::not_a_condition(written.span, place, &kind));
        None
    }

    /// Says what was found on the way.
    pub(super) fn say_all(&mut self, said: Vec<Diagnostic>) {
        said.into_iter().for_each(|one| self.say(one));
    }
}

fn finished(kind: StepKind, id: String, span: Span, scope: &Scope) -> Step {
    Step { id, span: (span.start, span.end), kind, columns: scope.plan_columns(), open: scope.open.clone() }
}

/// After this step the rows are somewhere else.
pub(super) fn ends_a_flow(step: &ast::Step) -> bool {
    match &step.kind {
        ast::StepKind::Insert(_) | ast::StepKind::Upsert(_) | ast::StepKind::Replace(_) | ast::StepKind::Stream(_) => {
            true
        }
        ast::StepKind::Fork(_) => true,
        ast::StepKind::Shard(shard) => matches!(shard.into, ast::ShardInto::Arms(_)),
        _ => false,
    }
}

/// A flow may end with this step: its rows arrive somewhere, or it is not known where.
fn delivers(step: &ast::Step) -> bool {
    ends_a_flow(step) || matches!(step.kind, ast::StepKind::Tee(_) | ast::StepKind::Broken)
}
