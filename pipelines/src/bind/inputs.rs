//! The further ways into a pipeline: the other sources of a `UNION` and of a `JOIN`, and tables that are joined.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::datatypes::{Field, Schema, SchemaRef};
use syncline_dsl::plan::{Beside, BoundPlan, JoinPlan, SourcePlan, Step, UnionArm};
use syncline_engine::{
    graph::{self, Edge, Input, MOST_INPUTS, Node, Work, input_step},
    lookup::Lookup,
    operator::Side,
    operators::{
        LookupJoin, Project, TableJoin, TimeJoin, Union,
        time_join::{Bound, Recipe, Taken},
    },
    table::{Shelf, TableInput},
};
use syncline_functions::is_json;
use syncline_record::{
    StepId,
    batch::{LANE, RECORD},
};

use super::{
    BindError, decode,
    flow::{Branch, Chain, Flow, clearing, derived_ids},
    record_key, state_digest,
};

/// The time of a record; behind a join of two sources that of the joined row.
const TIME: &str = "_timestamp";

/// What a join keeps over restarts are hashes of bad records: any join can read any other's.
const REPORTED: u64 = 1;

/// Part of the digest of a join whose rows on the right are kept with their places.
const PARTNERS: &str = "partners";

/// Where the rows of one more source come to the union.
enum Arrival {
    Node(usize),
    /// It has no steps of its own.
    Input(usize),
}

impl Flow<'_> {
    pub(super) fn union(
        &mut self,
        step: &Step,
        arms: &[UnionArm],
        schema: &SchemaRef,
        branch: Branch,
    ) -> Result<(usize, SchemaRef), BindError> {
        let (mut arrivals, mut sides) = (vec![], vec![schema.clone()]);
        for (index, arm) in arms.iter().enumerate() {
            let (arrival, side) = self.arm(step, index, arm, branch)?;
            arrivals.push(arrival);
            sides.push(side);
        }
        sides[0] = with_later(step, &sides);
        let union = Union::new(&sides);
        let after = union.schema();
        let index = self.operator(step, Box::new(union), None);
        for arrival in arrivals {
            match arrival {
                Arrival::Node(node) => self.nodes[node].next.push(index.into()),
                Arrival::Input(input) => self.inputs[input].first.push(index.into()),
            }
        }
        Ok((index, after))
    }

    /// One more source, with its steps and the columns that the union wants of it.
    fn arm(
        &mut self,
        step: &Step,
        index: usize,
        arm: &UnionArm,
        branch: Branch,
    ) -> Result<(Arrival, SchemaRef), BindError> {
        let (input, before) = self.input(step, &arm.source)?;
        if arm.history {
            // Behind the source of the pipeline.
            self.history.push(input + 1);
        }
        if let Some(Beside { number, share }) = arm.beside {
            self.beside = Some(graph::Beside { input: input + 1, number, share });
        }
        let Chain { mut first, mut last, mut schema } = self.chain(&arm.flow, before, branch)?;
        let typed = arm.columns.iter().map(|(name, sql)| Ok((name, self.typed(step, sql, &schema)?)));
        let typed: Vec<_> = typed.collect::<Result<_, BindError>>()?;
        if typed.iter().any(|(name, typed)| typed.as_column() != Some(name.as_str())) {
            let project = Project::new(self.projection(step, &arm.columns, &schema)?, &schema);
            schema = project.schema();
            let id = StepId::new(format!("{}/{}/columns", step.id, index + 1));
            let node = Node { id, work: Work::Operator(Box::new(project)), next: vec![], state: None };
            self.nodes.push(node);
            let made = self.nodes.len() - 1;
            match last {
                Some(last) => self.nodes[last].next.push(made.into()),
                None => first = vec![Edge::from(made)],
            }
            last = Some(made);
        }
        self.inputs[input].first = first;
        Ok((last.map_or(Arrival::Input(input), Arrival::Node), schema))
    }

    /// One more source, whose rows go nowhere yet; and their columns.
    fn input(&mut self, step: &Step, source: &SourcePlan) -> Result<(usize, SchemaRef), BindError> {
        if self.inputs.len() + 1 >= MOST_INPUTS {
            let detail = format!("a pipeline reads from at most {MOST_INPUTS} sources");
            return Err(BindError::Plan { step: step.id.clone(), detail });
        }
        let decode = self.decode(source)?;
        let columns = decode.schema();
        let index = self.inputs.len();
        let key = record_key(source);
        let source = self.edges.source(source)?;
        self.inputs.push(Input { step: input_step(index + 1), source, decode, key, first: vec![] });
        Ok((index, columns))
    }

    /// A join of two sources that never end.
    fn join_in_time(
        &mut self,
        step: &Step,
        join: &JoinPlan,
        bound: &BoundPlan,
        schema: &SchemaRef,
    ) -> Result<(usize, SchemaRef), BindError> {
        let (input, right) = self.input(step, &join.table)?;
        let named = renamed(&right, &join.alias);
        let is_own = |name: &str| {
            name != TIME && step.columns.iter().any(|column| column.name == name) || [RECORD, LANE].contains(&name)
        };
        let mut own: Vec<usize> = (0..schema.fields().len()).filter(|at| is_own(schema.field(*at).name())).collect();
        let timed = step.columns.iter().find(|column| column.name == TIME);
        if timed.is_some_and(|column| column.visible) {
            own.extend(schema.index_of(TIME).ok());
            own.sort_unstable();
        }
        let place = |name: &String| {
            let missing =
                || BindError::Plan { step: step.id.clone(), detail: format!("its right side has no column {name}") };
            named.index_of(name).map_err(|_| missing())
        };
        let its: Vec<usize> = join.columns.iter().map(place).collect::<Result<_, _>>()?;
        let key = |side: fn(&(String, String)) -> &String, time: &String| -> Vec<String> {
            join.keys.iter().map(side).chain([time]).cloned().collect()
        };
        let left = Taken {
            key: self.key(step, &key(|(own, _)| own, &bound.own), schema)?,
            named: schema.clone(),
            columns: own,
            behind: bound.behind as i64,
        };
        let right =
            Taken { key: self.key(step, &key(|(_, its)| its, &bound.its), &named)?, named, columns: its, behind: 0 };
        let both = TimeJoin::pairs_schema(&left, &right);
        let residual = join.residual.as_ref().map(|sql| self.predicate(step, sql, &both)).transpose()?;
        let ids = derived_ids(step);
        let keys = |taken: &Taken| format!("{:?}", types(&taken.key.schema()));
        let digest = state_digest(&BTreeMap::from([
            ("keys", format!("{:?}", join.keys)),
            ("types", format!("{} {} {:?}", keys(&left), keys(&right), types(&both))),
            ("bound", format!("{bound:?}")),
            ("left", if ids.is_some() { format!("{} {PARTNERS}", join.left) } else { join.left.to_string() }),
        ]));
        let behind = bound.behind as i64;
        let operator = TimeJoin::new(Recipe {
            bound: Bound { least: bound.least.saturating_sub(behind), most: bound.most.saturating_sub(behind) },
            left,
            right,
            residual,
            outer: join.left,
            time: timed.filter(|column| !column.visible).map(|_| TIME.to_owned()),
            ids,
        });
        let operator = operator.of_task(self.edges.task().number);
        let after = operator.schema();
        let index = self.operator(step, Box::new(operator), Some(digest));
        self.inputs[input].first.push(Edge { to: index, side: Side::Right });
        Ok((index, after))
    }

    pub(super) fn join(
        &mut self,
        step: &Step,
        join: &JoinPlan,
        schema: &SchemaRef,
    ) -> Result<(usize, SchemaRef), BindError> {
        if let Some(bound) = &join.bound {
            return self.join_in_time(step, join, bound, schema);
        }
        let decode = decode(&join.table, self.plan)?;
        let renamed = renamed(&decode.schema(), &join.alias);
        let place = |name: &String| {
            let missing =
                || BindError::Plan { step: step.id.clone(), detail: format!("its table has no column {name}") };
            renamed.index_of(name).map_err(|_| missing())
        };
        let columns: Vec<usize> = join.columns.iter().map(place).collect::<Result<_, _>>()?;
        let (own, its): (Vec<String>, Vec<String>) = join.keys.iter().cloned().unzip();
        let key = self.key(step, &own, schema)?;
        if let Some(asked) = &join.lookup
            && let Some(reader) = self.edges.lookup(&join.table, asked)?
        {
            let age = join.refresh.map(Duration::from_micros);
            let lookup = Arc::new(Lookup::new(StepId::new(&step.id), reader, age));
            self.lookups.push(lookup.clone());
            let its = self.key(step, &its, &renamed)?;
            let operator = LookupJoin::new(key, lookup, decode, renamed, its, columns);
            let after = operator.schema(schema);
            return Ok((self.operator(step, Box::new(operator), None), after));
        }
        let taken: Vec<_> =
            columns.iter().map(|index| Arc::new(renamed.field(*index).clone().with_nullable(true))).collect();
        let taken = Arc::new(Schema::new(taken));
        let shelf = Arc::new(Shelf::new(taken.clone()));
        let table = TableInput {
            step: StepId::new(format!("{}/table", step.id)),
            source: self.edges.table(&join.table)?,
            decode,
            key: self.key(step, &its, &renamed)?,
            renamed,
            columns,
            refresh: join.refresh.map(Duration::from_micros),
            shelf: shelf.clone(),
        };
        self.tables.push(table);
        let both = TableJoin::schema(schema, &taken);
        let residual = join.residual.as_ref().map(|sql| self.predicate(step, sql, &both)).transpose()?;
        let operator = TableJoin::new(key, residual, shelf, join.left, join.groups);
        let operator = match (join.lookup.is_some(), derived_ids(step)) {
            (true, _) => operator.single(),
            (false, Some(id)) => operator.with_ids(id),
            (false, None) => operator,
        };
        let index = self.operator(step, Box::new(operator), Some(REPORTED));
        Ok((index, clearing(&both, join.groups)))
    }
}

/// The columns of the first side, and those that only later ones have (`BY NAME`): its own rows have NULL there.
fn with_later(step: &Step, sides: &[SchemaRef]) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = sides[0].fields().iter().cloned().collect();
    for column in step.columns.iter().filter(|column| column.visible) {
        if fields.iter().all(|field| *field.name() != column.name) {
            fields.extend(sides.iter().find_map(|side| side.field_with_name(&column.name).ok().cloned().map(Arc::new)));
        }
    }
    Arc::new(Schema::new(fields))
}

/// The columns with their types, for a digest.
pub(super) fn types(schema: &Schema) -> Vec<String> {
    let kind = |field: &Arc<Field>| format!("{} {} {}", field.name(), field.data_type(), is_json(field));
    schema.fields().iter().map(kind).collect()
}

/// The columns of a table as `alias.column`.
pub(super) fn renamed(schema: &Schema, alias: &str) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.name().starts_with("__") {
        true => field.clone(),
        false => Arc::new(field.as_ref().clone().with_name(format!("{alias}.{}", field.name()))),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
