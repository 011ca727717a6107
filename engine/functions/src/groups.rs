//! Groups of rows, and what aggregates know of each: whole batches at a time.
//!
//! What is known of a group can be handed over as columns and taken back, in parts: the parts of two batches put together are the
//! same as both batches at once. That is what makes state of it (`AGGREGATE`): an epoch hands over what it added.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array, new_null_array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{EmitTo, Expr, GroupsAccumulator},
    physical_expr::{
        GroupsAccumulatorAdapter, PhysicalExpr,
        aggregate::{AggregateExprBuilder, AggregateFunctionExpr},
        expressions::{Column, Literal},
    },
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

use crate::{ExprError, Typed, planner::Call};

/// The calls of a step, compiled: shared by all of its groups.
#[derive(Clone, Debug)]
pub struct Aggregates {
    keys: SchemaRef,
    calls: Vec<Compiled>,
    output: SchemaRef,
}

#[derive(Clone, Debug)]
struct Compiled {
    function: Arc<AggregateFunctionExpr>,
    /// Among the columns of a batch: where its arguments begin, how many they are, and where its filter is.
    first: usize,
    arguments: usize,
    filter: Option<usize>,
    /// The types of those columns.
    taken: Vec<DataType>,
    states: usize,
}

impl Aggregates {
    /// `keys` as they come and go; `calls` with the names of their columns.
    pub fn new(keys: Vec<Field>, calls: &[(String, Call)]) -> Result<Self, ExprError> {
        let mut compiled = Vec::new();
        let mut fields: Vec<Field> = keys.iter().map(|key| key.clone().with_nullable(true)).collect();
        let mut at = keys.len();
        for (name, call) in calls {
            let function = function(name, call).map_err(ExprError::from)?;
            fields.push(function.field().as_ref().clone().with_name(name).with_nullable(true));
            let states = function.state_fields().map_err(ExprError::from)?.len();
            let arguments = call.arguments.len();
            let filter = call.filter.is_some().then_some(at + arguments);
            let taken =
                call.arguments.iter().chain(&call.filter).map(|taken| taken.field().data_type().clone()).collect();
            compiled.push(Compiled { function: Arc::new(function), first: at, arguments, filter, taken, states });
            at += arguments + usize::from(call.filter.is_some());
        }
        Ok(Self { keys: Arc::new(Schema::new(keys)), calls: compiled, output: Arc::new(Schema::new(fields)) })
    }

    /// What the calls take of a row, behind the keys: the columns of the batches that [`Groups::update`] is given.
    pub fn taken(calls: &[(String, Call)]) -> Vec<(String, Typed)> {
        let taken = calls.iter().flat_map(|(_, call)| call.arguments.iter().chain(&call.filter).cloned());
        taken.enumerate().map(|(index, typed)| (format!("argument {index}"), typed)).collect()
    }

    /// The columns of [`Groups::evaluate`]: the keys, then an answer for each call.
    pub fn schema(&self) -> SchemaRef {
        self.output.clone()
    }

    pub fn keys(&self) -> usize {
        self.keys.fields().len()
    }

    /// How many columns of [`Groups::states`] each call has, behind the keys.
    pub fn states(&self) -> Vec<usize> {
        self.calls.iter().map(|call| call.states).collect()
    }

    /// For each row of `of` the row of `among` that has the same key; of both, the keys come first.
    pub fn counterparts(&self, of: &RecordBatch, among: &RecordBatch) -> Result<Vec<Option<usize>>, ExprError> {
        if self.keys() == 0 {
            return Ok(vec![(among.num_rows() > 0).then_some(0); of.num_rows()]);
        }
        let mut values = new_group_values(self.keys.clone(), &GroupOrdering::None).map_err(ExprError::from)?;
        let mut groups = vec![];
        values.intern(&among.columns()[..self.keys()], &mut groups).map_err(ExprError::from)?;
        let known = values.len();
        values.intern(&of.columns()[..self.keys()], &mut groups).map_err(ExprError::from)?;
        Ok(groups.into_iter().map(|group| (group < known).then_some(group)).collect())
    }

    pub fn groups(&self) -> Result<Groups, ExprError> {
        let values = match self.keys.fields().is_empty() {
            true => None,
            false => Some(new_group_values(self.keys.clone(), &GroupOrdering::None).map_err(ExprError::from)?),
        };
        let accumulators = self.calls.iter().map(accumulator).collect::<Result<_>>().map_err(ExprError::from)?;
        Ok(Groups { values, accumulators, groups: vec![], plan: self.clone(), touched: false })
    }
}

fn function(name: &str, call: &Call) -> Result<AggregateFunctionExpr> {
    let mut arguments: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let mut fields = Vec::new();
    for (index, argument) in call.arguments.iter().enumerate() {
        let name = format!("argument {index}");
        fields.push(argument.field().clone().with_name(&name).with_nullable(true));
        arguments.push(match Call::literal(argument) {
            Some(Expr::Literal(value, _)) => Arc::new(Literal::new(value)),
            _ => Arc::new(Column::new(&name, index)),
        });
    }
    if arguments.is_empty() {
        arguments.push(Arc::new(Literal::new(ScalarValue::Int64(Some(1)))));
    }
    AggregateExprBuilder::new(call.function.clone(), arguments)
        .schema(Arc::new(Schema::new(fields)))
        .alias(name)
        .with_distinct(call.distinct)
        .with_ignore_nulls(call.ignore_nulls)
        .build()
}

fn accumulator(call: &Compiled) -> Result<Box<dyn GroupsAccumulator>> {
    if call.function.groups_accumulator_supported() {
        return call.function.create_groups_accumulator();
    }
    let function = call.function.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// Groups of one window, or of all rows.
pub struct Groups {
    plan: Aggregates,
    /// `None` without keys: all rows are one group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The group of each row of the batch at hand.
    groups: Vec<usize>,
    touched: bool,
}

impl Groups {
    /// The same as [`Groups::states`], and keeps them.
    pub fn look(&mut self) -> Result<RecordBatch, ExprError> {
        let states = self.states()?;
        self.merge(&states)?;
        Ok(states)
    }

    /// Adds rows: the columns are the keys and what the calls take.
    pub fn update(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), ExprError> {
        self.add(columns, rows).map_err(ExprError::from)
    }

    fn add(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        let total = self.intern(columns, rows)?;
        for (call, accumulator) in self.plan.calls.iter().zip(&mut self.accumulators) {
            let filter: Option<&BooleanArray> = call.filter.map(|filter| columns[filter].as_boolean());
            let arguments = &columns[call.first..call.first + call.arguments];
            accumulator.update_batch(arguments, &self.groups, filter, total)?;
        }
        Ok(())
    }

    fn intern(&mut self, columns: &[ArrayRef], rows: usize) -> Result<usize> {
        self.touched = true;
        match &mut self.values {
            Some(values) => {
                values.intern(&columns[..self.plan.keys()], &mut self.groups)?;
                Ok(values.len())
            }
            None => {
                self.groups.clear();
                self.groups.resize(rows, 0);
                Ok(1)
            }
        }
    }

    /// Takes in what other groups of the same calls handed over.
    pub fn merge(&mut self, states: &RecordBatch) -> Result<(), ExprError> {
        let wanted = self.plan.keys() + self.plan.calls.iter().map(|call| call.states).sum::<usize>();
        if states.num_columns() != wanted {
            return Err(ExprError::other(format!("{} columns of state, not {wanted}", states.num_columns())));
        }
        self.put_together(states).map_err(ExprError::from)
    }

    fn put_together(&mut self, states: &RecordBatch) -> Result<()> {
        let columns = states.columns();
        let total = self.intern(columns, states.num_rows())?;
        let mut at = self.plan.keys();
        for (call, accumulator) in self.plan.calls.iter().zip(&mut self.accumulators) {
            accumulator.merge_batch(&columns[at..at + call.states], &self.groups, total)?;
            at += call.states;
        }
        Ok(())
    }

    /// Hands over what is known of every group, and forgets it.
    pub fn states(&mut self) -> Result<RecordBatch, ExprError> {
        let rows = self.len();
        let mut columns = self.emit_keys()?;
        let mut fields: Vec<Field> = self.plan.keys.fields().iter().map(|field| field.as_ref().clone()).collect();
        for accumulator in &mut self.accumulators {
            for state in accumulator.state(EmitTo::All).map_err(ExprError::from)? {
                fields.push(Field::new(format!("state {}", columns.len()), state.data_type().clone(), true));
                columns.push(state);
            }
        }
        let fields: Vec<Field> = fields.into_iter().map(|field| field.with_nullable(true)).collect();
        batch(Arc::new(Schema::new(fields)), columns, rows)
    }

    /// The answers for every group, in the order in which the groups came up; forgets them.
    pub fn evaluate(&mut self) -> Result<RecordBatch, ExprError> {
        if self.values.is_none() && !self.touched {
            // Over no rows at all there is still an answer: COUNT(*) is 0.
            self.answer_nothing()?;
        }
        let rows = self.len();
        let mut columns = self.emit_keys()?;
        for accumulator in &mut self.accumulators {
            columns.push(accumulator.evaluate(EmitTo::All).map_err(ExprError::from)?);
        }
        batch(self.plan.output.clone(), columns, rows)
    }

    /// One row that does not count: an accumulator knows a group only when it has seen it.
    fn answer_nothing(&mut self) -> Result<(), ExprError> {
        let total = self.intern(&[], 1).map_err(ExprError::from)?;
        let nothing = BooleanArray::from(vec![false]);
        for (call, accumulator) in self.plan.calls.iter().zip(&mut self.accumulators) {
            let row: Vec<ArrayRef> = call.taken[..call.arguments].iter().map(|of| new_null_array(of, 1)).collect();
            accumulator.update_batch(&row, &self.groups, Some(&nothing), total).map_err(ExprError::from)?;
        }
        Ok(())
    }

    fn emit_keys(&mut self) -> Result<Vec<ArrayRef>, ExprError> {
        self.touched = false;
        match &mut self.values {
            Some(values) if values.is_empty() => {
                Ok(self.plan.keys.fields().iter().map(|key| new_empty_array(key.data_type())).collect())
            }
            Some(values) => {
                let groups = values.len();
                let keys = values.emit(EmitTo::All).map_err(ExprError::from)?;
                // Those of several columns still know where the groups were that they have handed over.
                values.clear_shrink(groups);
                Ok(keys)
            }
            None => Ok(vec![]),
        }
    }

    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(usize::from(self.touched), |values| values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |values| values.size());
        values + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }
}

/// Columns that were planned; what an accumulator gives may be a close relative of its type.
fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ExprError> {
    let fit =
        columns.into_iter().zip(schema.fields()).map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => arrow::compute::cast(&column, field.data_type()),
        });
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    fit.collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|columns| RecordBatch::try_new_with_options(schema, columns, &options))
        .map_err(|error| ExprError::other(error.to_string()))
}
