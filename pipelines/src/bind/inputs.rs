//! The further ways into a pipeline: the other sources of a `UNION`, and tables that are joined.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use syncline_dsl::plan::{JoinPlan, Step, UnionArm};
use syncline_engine::{
    graph::{Edge, Input, MOST_INPUTS, Node, Work, input_step},
    operators::{Project, TableJoin, Union},
    table::{Shelf, TableInput},
};
use syncline_record::StepId;

use super::{
    BindError, decode,
    flow::{Branch, Chain, Flow, clearing},
};

/// What a join keeps over restarts are hashes of bad records: any join can read any other's.
const REPORTED: u64 = 1;

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
        if self.inputs.len() + 1 >= MOST_INPUTS {
            let detail = format!("a pipeline reads from at most {MOST_INPUTS} sources");
            return Err(BindError::Plan { step: step.id.clone(), detail });
        }
        let decode = decode(&arm.source, &self.plan.pipeline)?;
        let before = decode.schema();
        let input = self.inputs.len();
        let source = self.edges.source(&arm.source)?;
        self.inputs.push(Input { step: input_step(input + 1), source, decode, first: vec![] });
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

    pub(super) fn join(
        &mut self,
        step: &Step,
        join: &JoinPlan,
        schema: &SchemaRef,
    ) -> Result<(usize, SchemaRef), BindError> {
        let decode = decode(&join.table, &self.plan.pipeline)?;
        let renamed = renamed(&decode.schema(), &join.alias);
        let place = |name: &String| {
            let missing =
                || BindError::Plan { step: step.id.clone(), detail: format!("its table has no column {name}") };
            renamed.index_of(name).map_err(|_| missing())
        };
        let columns: Vec<usize> = join.columns.iter().map(place).collect::<Result<_, _>>()?;
        let taken: Vec<_> =
            columns.iter().map(|index| Arc::new(renamed.field(*index).clone().with_nullable(true))).collect();
        let taken = Arc::new(Schema::new(taken));
        let shelf = Arc::new(Shelf::new(taken.clone()));
        let (own, its): (Vec<String>, Vec<String>) = join.keys.iter().cloned().unzip();
        let table = TableInput {
            step: StepId::new(format!("{}/table", step.id)),
            source: self.edges.source(&join.table)?,
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
        let key = self.key(step, &own, schema)?;
        let operator = TableJoin::new(key, residual, shelf, join.left, join.groups);
        let index = self.operator(step, Box::new(operator), Some(REPORTED));
        Ok((index, clearing(&both, join.groups)))
    }
}

/// The columns of a table as `alias.column`.
fn renamed(schema: &Schema, alias: &str) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.name().starts_with("__") {
        true => field.clone(),
        false => Arc::new(field.as_ref().clone().with_name(format!("{alias}.{}", field.name()))),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
