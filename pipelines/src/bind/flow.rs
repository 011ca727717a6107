//! The steps of a plan as nodes of a graph, with every expression compiled once.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use syncline_connectors::registry;
use syncline_dsl::plan::{Arm, Column, Plan, SinkPlan, SortKey, Step, StepKind, Violation as PlanViolation, WritePlan};
use syncline_engine::{
    fingerprints::Layout,
    graph::{Beside, Edge, Input, Node, Work},
    ledger::outbox_topic,
    lookup::Lookup,
    operator::Operator,
    operators::{
        Arms, Direction, Expect, Filter, Group, Lanes, Limit, Present, Project, Sort, Unnest, Violation,
        arms::{ID, Ids},
        present::{Deletes, OFFSET, ORIGIN, OUT, OpenRecord, Presentation},
    },
    sink::{SEQUENCE, Sink, Write},
    table::TableInput,
};
use syncline_functions::{ExprError, Planner, Predicate, Projection, Typed, is_json, json_field};
use syncline_record::{
    StepId,
    batch::{GROUP, LANE, OP, RECORD},
};

use super::{BindError, Edges, OutboxSinks, SinkEdge, aggregate, formats, state_digest};

/// Where in the pipeline a flow is: it decides what a delete means at its sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    Main,
    Derived,
}

pub struct Flow<'a> {
    pub(super) plan: &'a Plan,
    pub(super) planner: &'a Planner,
    pub(super) edges: &'a dyn Edges,
    endless: bool,
    pub nodes: Vec<Node>,
    pub sinks: OutboxSinks,
    /// Further sources: the first input is the pipeline's own.
    pub inputs: Vec<Input>,
    /// Those of all inputs of the pipeline that are read before the first one.
    pub history: Vec<usize>,
    /// The one that is read beside the others.
    pub beside: Option<Beside>,
    pub tables: Vec<TableInput>,
    pub lookups: Vec<Arc<Lookup>>,
    /// What the states of steps are made of.
    pub layouts: BTreeMap<StepId, Layout>,
    /// The columns in front of each hop.
    pub(super) hops: BTreeMap<String, SchemaRef>,
}

/// Steps that follow each other.
pub(super) struct Chain {
    pub first: Vec<Edge>,
    pub last: Option<usize>,
    /// The columns behind the last one.
    pub schema: SchemaRef,
}

impl<'a> Flow<'a> {
    pub fn new(plan: &'a Plan, planner: &'a Planner, edges: &'a dyn Edges, endless: bool) -> Self {
        Self {
            plan,
            planner,
            edges,
            endless,
            nodes: vec![],
            sinks: vec![],
            inputs: vec![],
            history: vec![],
            beside: None,
            tables: vec![],
            lookups: vec![],
            layouts: BTreeMap::new(),
            hops: BTreeMap::new(),
        }
    }

    /// Adds the steps of a flow; returns where its rows go in.
    pub fn steps(&mut self, steps: &[Step], schema: SchemaRef, branch: Branch) -> Result<Vec<Edge>, BindError> {
        Ok(self.chain(steps, schema, branch)?.first)
    }

    pub(super) fn chain(&mut self, steps: &[Step], schema: SchemaRef, branch: Branch) -> Result<Chain, BindError> {
        self.chain_behind((vec![], true), steps, schema, branch)
    }

    /// The same behind a step that leaves these columns, and whose rows are an open record or not.
    pub(super) fn chain_behind(
        &mut self,
        (mut before, mut open): (Vec<Column>, bool),
        steps: &[Step],
        mut schema: SchemaRef,
        branch: Branch,
    ) -> Result<Chain, BindError> {
        let mut first = vec![];
        let mut last: Option<usize> = None;
        for step in steps {
            let (index, after) = self.step(step, &schema, branch, &before, open)?;
            // What is computed from the answers of an AGGREGATE is a node behind it.
            let exit =
                index + usize::from(matches!(&step.kind, StepKind::Aggregate { columns, .. } if !columns.is_empty()));
            match last {
                None => first.push(index.into()),
                Some(last) => self.nodes[last].next.push(index.into()),
            }
            (last, schema, before, open) = (Some(exit), after, step.columns.clone(), step.open.is_some());
        }
        Ok(Chain { first, last, schema })
    }

    fn step(
        &mut self,
        step: &Step,
        schema: &SchemaRef,
        branch: Branch,
        before: &[Column],
        open: bool,
    ) -> Result<(usize, SchemaRef), BindError> {
        let same = schema.clone();
        Ok(match &step.kind {
            StepKind::Where { predicate, groups, of_deletes } => {
                let predicate = self.predicate(step, predicate, schema)?;
                let of_deletes = of_deletes.as_ref().map(|sql| self.predicate(step, sql, schema)).transpose()?;
                let filter = Filter::new(predicate, *groups).of_deletes(of_deletes);
                (self.operator(step, Box::new(filter), None), clearing(schema, *groups))
            }
            StepKind::Project { columns, .. } => {
                let projection = self.projection(step, columns, schema)?;
                let project = Project::new(projection, schema);
                let after = project.schema();
                (self.operator(step, Box::new(project), None), after)
            }
            StepKind::Dedup { by, within, keep, order_by, .. } => {
                let by = match by.is_empty() {
                    false => by.clone(),
                    true if open && schema.column_with_name(RECORD).is_some() => vec![RECORD.to_owned()],
                    true => before.iter().filter(|column| column.visible).map(|column| quoted(&column.name)).collect(),
                };
                (self.dedup(step, &by, *within, *keep, order_by.as_deref(), schema)?, same)
            }
            StepKind::Aggregate { keys, window, calls, columns } => {
                let (operator, after, digest, parts) =
                    aggregate::operator(self, step, keys, window.as_ref(), calls, schema)?;
                self.lay_out(step, digest, parts);
                let index = self.operator(step, operator, Some(digest));
                if columns.is_empty() {
                    return Ok((index, after));
                }
                let project = Project::new(self.projection(step, columns, &after)?, &after);
                let after = project.schema();
                let id = StepId::new(format!("{}/results", step.id));
                let work = Work::Operator(Box::new(project));
                self.nodes.push(Node { id, work, next: vec![], state: None });
                self.nodes[index].next.push((index + 1).into());
                (index, after)
            }
            StepKind::Expect { predicate, name, violation, groups, passes_deletes } => {
                let predicate = self.predicate(step, predicate, schema)?;
                let warned = metrics::counter!(
                    "syncline_expectation_warnings_total",
                    "pipeline" => self.plan.pipeline.clone(), "step" => step.id.clone()
                );
                let expect = Expect::new(predicate, name.clone(), violation_of(*violation), *groups, warned)
                    .passing_deletes(*passes_deletes);
                (
                    self.operator(step, Box::new(expect), None),
                    clearing(schema, *groups && *violation == PlanViolation::Drop),
                )
            }
            StepKind::Lanes { by, lanes } => {
                let key = self.key(step, by, schema)?;
                let after = with_column(schema, Field::new(LANE, DataType::UInt32, true));
                (self.operator(step, Box::new(Lanes::new(key, *lanes)), None), after)
            }
            StepKind::Group { per } => {
                let key = self.key(step, per, schema)?;
                let after = with_column(schema, Field::new(GROUP, DataType::Utf8View, true));
                (self.operator(step, Box::new(Group::new(key, per.join(", "))), None), after)
            }
            StepKind::Unnest { arrays, groups } => {
                let projection = self.projection(step, arrays, schema)?;
                let written = arrays.iter().map(|(_, sql)| sql.clone()).collect();
                let unnest = Unnest::new(projection, written, *groups, derived_ids(step))
                    .map_err(|error| expression(step, "the arrays of UNNEST", error))?;
                let after = unnest.schema(schema);
                (self.operator(step, Box::new(unnest), None), after)
            }
            StepKind::Sort { keys, most } => (self.sort(step, keys, *most, schema)?, same),
            StepKind::Limit { count, offset } => {
                let digest = state_digest(&BTreeMap::from([("limit", format!("{count} {offset}"))]));
                (self.operator(step, Box::new(Limit::new(*count, *offset)), Some(digest)), same)
            }
            StepKind::Tee { flow } => {
                let index = self.node(step, Work::Fan, None);
                let entry = self.steps(flow, schema.clone(), branch)?;
                self.nodes[index].next.extend(entry);
                (index, same)
            }
            StepKind::Fork { flows } => {
                let index = self.node(step, Work::Fan, None);
                for flow in flows {
                    let entry = self.steps(flow, schema.clone(), branch)?;
                    self.nodes[index].next.extend(entry);
                }
                (index, same)
            }
            StepKind::Union { arms } => self.union(step, arms, schema, branch)?,
            StepKind::Join(join) => self.join(step, join, schema)?,
            StepKind::Arms { by, delete_when, arms } => {
                (self.arms(step, by, delete_when.as_deref(), arms, schema)?, same)
            }
            StepKind::Sink(sink) => (self.sink(step, sink, schema, branch)?, same),
            StepKind::Hop { topic, by, alias } => (self.hop(step, topic, by, alias.as_ref(), schema)?, same),
        })
    }

    fn arms(
        &mut self,
        step: &Step,
        by: &[String],
        delete_when: Option<&str>,
        arms: &[Arm],
        schema: &SchemaRef,
    ) -> Result<usize, BindError> {
        let key = self.key(step, by, schema)?;
        let delete = delete_when.map(|sql| self.predicate(step, sql, schema)).transpose()?;
        let mut after = schema.clone();
        if delete.is_some() {
            after = with_column(&after, Field::new(OP, DataType::UInt8, true));
        }
        let index = self.operator(step, Box::new(Arms::new(key, delete)), None);
        for arm in arms {
            let branch = if arm.primary { Branch::Main } else { Branch::Derived };
            let mut entry = index;
            let mut schema = after.clone();
            if arm.ids {
                let key = self.key(step, by, &schema)?;
                schema = with_column(&schema, Field::new(ID, DataType::Utf8View, true));
                let node = Node {
                    id: StepId::new(format!("{}/id", arm.name)),
                    work: Work::Operator(Box::new(Ids::new(key, arm.name.clone()))),
                    next: vec![],
                    state: None,
                };
                self.nodes.push(node);
                entry = self.nodes.len() - 1;
                self.nodes[index].next.push(entry.into());
            }
            let first = self.steps(&arm.flow, schema, branch)?;
            self.nodes[entry].next.extend(first);
        }
        Ok(index)
    }

    fn sort(
        &mut self,
        step: &Step,
        keys: &[SortKey],
        most: Option<u64>,
        schema: &SchemaRef,
    ) -> Result<usize, BindError> {
        let by: Vec<String> = keys.iter().map(|key| key.sql.clone()).collect();
        let directions: Vec<Direction> =
            keys.iter().map(|key| Direction { descending: key.descending, nulls_first: key.nulls_first }).collect();
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("{} {} {}", field.name(), field.data_type(), is_json(field)))
            .collect();
        let digest = state_digest(&BTreeMap::from([
            ("by", format!("{by:?} {directions:?}")),
            ("most", format!("{most:?}")),
            ("columns", format!("{columns:?}")),
        ]));
        let sort = Sort::new(self.key(step, &by, schema)?, &directions, most, schema.clone())
            .map_err(|detail| BindError::Plan { step: step.id.clone(), detail })?;
        Ok(self.operator(step, Box::new(sort), Some(digest)))
    }

    fn sink(&mut self, step: &Step, sink: &SinkPlan, schema: &SchemaRef, branch: Branch) -> Result<usize, BindError> {
        let id = StepId::new(&step.id);
        let open = step.open.as_ref().filter(|_| sink.columns.is_empty());
        let open = open.map(|open| OpenRecord { dropped: open.dropped.clone(), set: open.set.clone() });
        let (write, keys, sequence, delete_when, deletes) = self.write(&sink.write, branch);
        let sequence = sequence
            .map(|sql| {
                let typed = self.typed(step, sql, schema)?;
                let columns = vec![(SEQUENCE.to_owned(), typed)];
                Projection::new(self.planner, columns, schema).map_err(|error| expression(step, sql, error))
            })
            .transpose()?;
        let delete_when = delete_when.map(|sql| self.predicate(step, sql, schema)).transpose()?;
        let marks = delete_when.is_some();
        let sequenced = sequence.as_ref().map(|made| made.schema().field(0).clone());
        let never_null = if matches!(write, Write::Upsert { .. }) { keys.clone() } else { vec![] };
        let (open, columns) = match open {
            Some(open) => beside_record(sink, open, &keys),
            None => (None, sink.columns.clone()),
        };
        let how = Presentation { columns, open, sequence, delete_when, deletes, keys: never_null };
        let whole = how.open.is_some();
        let present = Present::new(how);
        let columns = sink_schema(&present, schema, marks, sequenced, whole);
        let edge = SinkEdge {
            pipeline: &self.plan.pipeline,
            step: &id,
            write,
            schema: columns,
            keys,
            endless: self.endless,
            csv: sink.csv.as_ref().map(formats::dialect),
        };
        let work = match self.edges.sink(&sink.place.connector, &sink.place, edge)? {
            Sink::Staged(sink) => Work::Staged { present, sink },
            Sink::Outbox(sink) => {
                self.sinks.push((id.clone(), sink));
                Work::Outbox { present, topic: outbox_topic(&self.plan.pipeline, &id) }
            }
            Sink::Stream { topic, readers } => Work::Stream { present: present.for_stream(), topic, readers },
        };
        Ok(self.node(step, work, None))
    }

    #[allow(clippy::type_complexity)]
    fn write<'p>(
        &self,
        write: &'p WritePlan,
        branch: Branch,
    ) -> (Write, Vec<String>, Option<&'p str>, Option<&'p str>, Deletes) {
        match write {
            WritePlan::Insert { key } => (Write::Insert, key.clone(), None, None, Deletes::Absorb),
            WritePlan::Upsert { key, sequence, delete_when, ignore_nulls, .. } => {
                let write =
                    Write::Upsert { key: key.clone(), sequenced: sequence.is_some(), ignore_nulls: *ignore_nulls };
                let deletes = if branch == Branch::Main { Deletes::Apply } else { Deletes::Absorb };
                (write, key.clone(), sequence.as_deref(), delete_when.as_deref(), deletes)
            }
            WritePlan::Replace { per, sequence } => {
                let write = Write::Replace { per: per.clone(), sequenced: sequence.is_some() };
                (write, per.clone(), sequence.as_deref(), None, Deletes::Clear)
            }
        }
    }

    pub(super) fn operator(&mut self, step: &Step, operator: Box<dyn Operator>, state: Option<u64>) -> usize {
        self.node(step, Work::Operator(operator), state)
    }

    /// Notes what the state of a step is made of.
    pub(super) fn lay_out<const N: usize>(&mut self, step: &Step, digest: u64, parts: [(&str, String); N]) {
        let parts = parts.into_iter().map(|(part, says)| (part.to_owned(), says)).collect();
        self.layouts.insert(StepId::new(&step.id), Layout { digest, parts });
    }

    pub(super) fn node(&mut self, step: &Step, work: Work, state: Option<u64>) -> usize {
        self.nodes.push(Node { id: StepId::new(&step.id), work, next: vec![], state });
        self.nodes.len() - 1
    }

    pub(super) fn typed(&self, step: &Step, sql: &str, schema: &Schema) -> Result<Typed, BindError> {
        let typed = || {
            let scope =
                DFSchema::try_from(schema.clone()).map_err(|error| ExprError::Other { message: error.to_string() })?;
            self.planner.expr(&self.planner.parse(sql)?, &scope)
        };
        typed().map_err(|error| expression(step, sql, error))
    }

    pub(super) fn predicate(&self, step: &Step, sql: &str, schema: &Schema) -> Result<Predicate, BindError> {
        let typed = self.typed(step, sql, schema)?;
        self.planner
            .cast(typed, &DataType::Boolean)
            .and_then(|typed| Predicate::new(self.planner, typed, schema))
            .map_err(|error| expression(step, sql, error))
    }

    pub(super) fn projection(
        &self,
        step: &Step,
        columns: &[(String, String)],
        schema: &Schema,
    ) -> Result<Projection, BindError> {
        let columns = columns
            .iter()
            .map(|(name, sql)| Ok((name.clone(), self.typed(step, sql, schema)?)))
            .collect::<Result<Vec<_>, BindError>>()?;
        Projection::new(self.planner, columns, schema).map_err(|error| expression(step, "the list of columns", error))
    }

    /// A projection of key expressions, named after their SQL.
    pub(super) fn key(&self, step: &Step, by: &[String], schema: &Schema) -> Result<Projection, BindError> {
        let columns: Vec<(String, String)> = by.iter().map(|sql| (sql.clone(), sql.clone())).collect();
        self.projection(step, &columns, schema)
    }
}

pub(super) fn expression(step: &Step, sql: &str, error: ExprError) -> BindError {
    BindError::Expression { step: step.id.clone(), sql: sql.to_owned(), error }
}

/// The step whose rows have ids, if they have: a record's own field `_id` is no id of ours.
pub(super) fn derived_ids(step: &Step) -> Option<StepId> {
    let derived = step.columns.iter().any(|column| column.name == ID && !column.visible);
    derived.then(|| StepId::new(&step.id))
}

fn violation_of(violation: PlanViolation) -> Violation {
    match violation {
        PlanViolation::Drop => Violation::Drop,
        PlanViolation::DeadLetter => Violation::DeadLetter,
        PlanViolation::Warn => Violation::Warn,
        PlanViolation::Fail => Violation::Fail,
    }
}

/// What a sink writes of an open record, and the columns that go along with it: its key, and what stands beside a record where there
/// is such a thing.
fn beside_record(sink: &SinkPlan, mut open: OpenRecord, keys: &[String]) -> (Option<OpenRecord>, Vec<String>) {
    let ability = registry().iter().find(|connector| connector.name == sink.place.connector);
    let names = ability.and_then(|connector| connector.sink).map_or(&[][..], |sink| sink.beside);
    let is_beside = |name: &String| names.iter().any(|(beside, _)| beside == name);
    let mut columns: Vec<String> = if names.is_empty() { vec![] } else { keys.to_vec() };
    columns.extend(open.set.iter().filter(|name| is_beside(name)).cloned());
    open.set.retain(|name| !is_beside(name));
    (Some(open), columns)
}

/// The columns that a sink is given, hidden ones included.
fn sink_schema(present: &Present, input: &Schema, marks: bool, sequence: Option<Field>, whole: bool) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = present.schema(input).fields().iter().cloned().collect();
    for name in [OP, LANE, GROUP] {
        match input.column_with_name(name) {
            Some((_, field)) => fields.push(Arc::new(field.clone())),
            None if name == OP && marks => fields.push(Arc::new(Field::new(OP, DataType::UInt8, true))),
            None => {}
        }
    }
    fields.extend(sequence.map(Arc::new));
    fields.push(Arc::new(Field::new(ORIGIN, DataType::UInt64, false)));
    fields.push(Arc::new(Field::new(OFFSET, DataType::UInt64, false)));
    if whole {
        fields.push(Arc::new(json_field(OUT)));
    }
    Arc::new(Schema::new(fields))
}

/// As the engine puts a column into a batch: in place of one of the same name, or at the end.
fn with_column(schema: &Schema, field: Field) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    match schema.index_of(field.name()) {
        Ok(index) => fields[index] = Arc::new(field),
        Err(_) => fields.push(Arc::new(field)),
    }
    Arc::new(Schema::new(fields))
}

/// After a step that lets dropped rows clear their group, every batch says what each row does.
pub(super) fn clearing(schema: &SchemaRef, groups: bool) -> SchemaRef {
    if groups { with_column(schema, Field::new(OP, DataType::UInt8, true)) } else { schema.clone() }
}

/// A column name as SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
