//! What a source is told of the `WHERE` behind it, so that it need not read what that filters as a whole.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use syncline_functions::Predicate;

use super::{Column, columns};

/// Comparisons that a row must pass, each of a column with a constant.
pub struct Pruning {
    /// A stretch of rows is left out when one of them says so.
    pub bounds: Vec<Bound>,
    /// The columns that are read, as they are declared. Only a file that has them in these types can be pruned: another may have rows
    /// that are dead, and those are not filtered.
    pub fields: Vec<Field>,
}

pub struct Bound {
    pub column: String,
    pub kind: DataType,
    pub test: Test,
}

/// No row of a stretch passes when this holds.
pub enum Test {
    /// Of its highest value.
    Highest(Predicate),
    /// Of its lowest value.
    Lowest(Predicate),
    /// All values are NULL.
    AllNull,
    /// None is.
    NoneNull,
}

/// What is known of one column in a stretch of rows. A value is an array of one.
#[derive(Default)]
pub struct Range {
    pub lowest: Option<ArrayRef>,
    pub highest: Option<ArrayRef>,
    pub nulls: Option<u64>,
}

impl Pruning {
    /// Whether no row of this file can be dead before the step that filters.
    pub fn fits(&self, schema: &Schema) -> bool {
        let same = |wanted: &Field| match schema.field_with_name(wanted.name()) {
            Ok(found) => taken_as(found).is_some_and(|kind| kind == *wanted.data_type()),
            Err(_) => true,
        };
        self.fields.iter().all(same)
    }

    /// Whether none of `rows` rows passes.
    pub fn none_passes(&self, rows: u64, range: impl Fn(&str) -> Option<Range>) -> bool {
        self.bounds.iter().any(|bound| range(&bound.column).is_some_and(|range| bound.holds(rows, &range)))
    }
}

/// The type in which a column of a file comes, where that loses nothing whatever its values are.
fn taken_as(found: &Field) -> Option<DataType> {
    let ours: Column = columns::ours(found);
    let kind = ours.ok()?.data_type().clone();
    let judged = matches!(found.data_type(), DataType::Timestamp(unit, _) if *unit != arrow::datatypes::TimeUnit::Microsecond)
        || matches!(found.data_type(), DataType::Date64 | DataType::Time64(arrow::datatypes::TimeUnit::Nanosecond));
    (!judged).then_some(kind)
}

impl Bound {
    fn holds(&self, rows: u64, range: &Range) -> bool {
        match &self.test {
            Test::AllNull => range.nulls == Some(rows),
            Test::NoneNull => range.nulls == Some(0),
            Test::Highest(predicate) => self.is_so(predicate, range.highest.as_ref()),
            Test::Lowest(predicate) => self.is_so(predicate, range.lowest.as_ref()),
        }
    }

    fn is_so(&self, predicate: &Predicate, value: Option<&ArrayRef>) -> bool {
        let Some(value) = value.filter(|value| value.len() == 1 && value.is_valid(0)) else { return false };
        let Ok(value) = columns::column_of(value) else { return false };
        if *value.data_type() != self.kind {
            return false;
        }
        let schema = Schema::new(vec![Field::new(&self.column, self.kind.clone(), true)]);
        let Ok(row) = RecordBatch::try_new(Arc::new(schema), vec![value]) else { return false };
        let verdict = predicate.judge(&row);
        verdict.failed.is_empty() && verdict.keep.value(0)
    }
}
