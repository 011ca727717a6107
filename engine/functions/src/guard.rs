//! Expressions that fail on a row, not on a batch.
//!
//! DataFusion evaluates whole batches and gives up on the first bad row. So every node of a compiled expression that can fail is
//! wrapped: its operands are evaluated first, then the node alone over them. If it returns an error, the operands are halved until
//! the rows that are to blame are known; those are NULL and reported (`failures`). Nothing of this happens while all goes well.
//!
//! Rows are filtered on their way (`CASE` evaluates a branch only on the rows that take it), so the batch carries a hidden last
//! column, [`POSITION`], with the index of each row in the batch that was given; a wrapped node reads it as one more operand.
//!
//! `AND` and `OR` are lazy in their meaning, not by the share of true rows in a batch: what their right side reports for a row that
//! the left side has decided is dropped ([`Lazy`]).

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array},
    compute::{and_kleene, concat, nullif, or_kleene},
    datatypes::{
        DataType, Decimal128Type, Field, FieldRef, Float16Type, Float32Type, Float64Type, Schema, SchemaRef, UInt32Type,
    },
};
use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{ColumnarValue, Operator},
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{BinaryExpr, CastExpr, Column, LikeExpr, Literal},
    },
};
use syncline_record::Reason;

use crate::{error, failures, functions::JsonFunction, limits, sql_type};

/// The hidden column with each row's index in the batch given.
pub const POSITION: &str = "__position";

/// `schema` with the position column at its end.
pub fn with_position(schema: &Schema) -> Schema {
    let position = Arc::new(Field::new(POSITION, DataType::UInt32, false));
    Schema::new(schema.fields().iter().cloned().chain([position]).collect::<Vec<_>>())
}

/// `rows` with the positions of its rows.
pub fn positioned(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let positions = Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32));
    let columns = rows.columns().iter().cloned().chain([positions as ArrayRef]).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Makes every node that can fail fail by the row. `schema` is the one of [`with_position`].
pub fn guarded(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let index = schema.fields().len() - 1;
    let position: Arc<dyn PhysicalExpr> = Arc::new(Column::new(POSITION, index));
    let wrapped = expr.transform_up(|node| {
        if let Some(binary) = node.downcast_ref::<BinaryExpr>()
            && matches!(binary.op(), Operator::And | Operator::Or)
        {
            return Ok(match has_guard(binary.right()) {
                true => Transformed::yes(Arc::new(Lazy::of(binary, position.clone())) as _),
                false => Transformed::no(node),
            });
        }
        if !can_fail(&node, schema)? {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(Arc::new(Guard::around(checked(node), position.clone(), schema)?) as _))
    })?;
    Ok(wrapped.data)
}

/// Integer arithmetic that returns an error where it would wrap.
fn checked(node: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    match node.downcast_ref::<BinaryExpr>() {
        Some(binary) => Arc::new(binary.clone().with_fail_on_overflow(true)),
        None => node,
    }
}

fn has_guard(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.exists(|node| Ok(node.is::<Guard>())).unwrap_or(true)
}

fn can_fail(node: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<bool> {
    if let Some(binary) = node.downcast_ref::<BinaryExpr>() {
        return Ok(is_fallible_operator(binary.op()));
    }
    if let Some(cast) = node.downcast_ref::<CastExpr>() {
        return Ok(is_fallible_cast(&cast.expr().data_type(schema)?, cast.cast_type()));
    }
    if let Some(call) = node.downcast_ref::<ScalarFunctionExpr>() {
        return Ok(call.fun().inner().downcast_ref::<JsonFunction>().is_none_or(JsonFunction::can_fail));
    }
    Ok(node.is::<LikeExpr>())
}

fn is_fallible_operator(operator: &Operator) -> bool {
    use Operator::*;
    matches!(
        operator,
        Plus | Minus
            | Multiply
            | Divide
            | Modulo
            | IntegerDivide
            | BitwiseShiftLeft
            | BitwiseShiftRight
            | RegexMatch
            | RegexIMatch
            | RegexNotMatch
            | RegexNotIMatch
    )
}

pub fn is_bytes(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

/// Whether some value of `from` has no place in `to`.
pub fn is_fallible_cast(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let is_text = |data_type: &DataType| matches!(data_type, Utf8 | LargeUtf8 | Utf8View);
    if from == to || *from == Null || (is_text(to) && !is_bytes(from)) {
        return false;
    }
    match (from, to) {
        (Boolean, _) => false,
        (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32, Int64 | Float64 | Float32) => false,
        (Int64 | UInt64 | Float32, Float64) => false,
        (Date32, Timestamp(..)) => true,
        (Decimal128(p, s), Decimal128(to_p, to_s)) => {
            to_s < s || (*to_p as i16 - *to_s as i16) < (*p as i16 - *s as i16)
        }
        _ => true,
    }
}

/// A node that can fail, alone over its operands.
#[derive(Debug, Clone, Eq)]
struct Guard {
    /// The node, whose children are columns of `schema` (or literals).
    node: Arc<dyn PhysicalExpr>,
    /// What those columns are, in the batch's columns.
    operands: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    result: FieldRef,
    position: Arc<dyn PhysicalExpr>,
}

// By hand: deriving would move out of the `Arc`s.
impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.node.eq(&other.node) && self.operands == other.operands && self.position.eq(&other.position)
    }
}

impl Hash for Guard {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
        self.operands.hash(state);
        self.position.hash(state);
    }
}

impl Guard {
    fn around(node: Arc<dyn PhysicalExpr>, position: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self> {
        let result = node.return_field(schema)?;
        let (mut operands, mut fields, mut children) = (Vec::new(), Vec::new(), Vec::new());
        for child in node.children() {
            if child.is::<Literal>() {
                children.push(child.clone());
                continue;
            }
            let name = format!("operand {}", operands.len());
            children.push(Arc::new(Column::new(&name, operands.len())) as Arc<dyn PhysicalExpr>);
            fields.push(child.return_field(schema)?.as_ref().clone().with_name(name).with_nullable(true));
            operands.push(child.clone());
        }
        let node = node.with_new_children(children)?;
        Ok(Self { node, operands, schema: Arc::new(Schema::new(fields)), result, position })
    }

    /// Evaluates the node over rows of the operands, and halves them where it returns an error.
    fn run(&self, operands: &RecordBatch, positions: &UInt32Array) -> Result<ArrayRef> {
        let mark = failures::mark();
        let rows = operands.num_rows();
        match self.within(operands).and_then(|()| self.node.evaluate(operands)).and_then(|value| value.into_array(rows))
        {
            Ok(values) => {
                for failure in failures::since(mark) {
                    failures::report(positions.value(failure.row as usize), failure.reason);
                }
                self.in_range(operands, values, positions)
            }
            Err(error) => {
                failures::since(mark);
                if rows <= 1 {
                    if rows == 1 {
                        failures::report(positions.value(0), self.reason(&error::message(&error)));
                    }
                    return Ok(new_null_array(self.result.data_type(), rows));
                }
                let half = rows / 2;
                let first = self.run(&operands.slice(0, half), &positions.slice(0, half))?;
                let second = self.run(&operands.slice(half, rows - half), &positions.slice(half, rows - half))?;
                Ok(concat(&[&first, &second])?)
            }
        }
    }

    /// Whether what the node makes of the rows may be made.
    fn within(&self, operands: &RecordBatch) -> Result<()> {
        self.node.downcast_ref::<ScalarFunctionExpr>().map_or(Ok(()), |call| limits::within(call, operands))
    }

    /// Arrow's arithmetic leaves decimals that are longer than their type, and floats that are no numbers: those rows fail too.
    fn in_range(&self, operands: &RecordBatch, values: ArrayRef, positions: &UInt32Array) -> Result<ArrayRef> {
        let Some(binary) = self.node.downcast_ref::<BinaryExpr>() else { return Ok(values) };
        let out: Vec<usize> = match values.data_type() {
            DataType::Decimal128(precision, _) => {
                let limit = 10i128.checked_pow(*precision as u32).unwrap_or(i128::MAX);
                let decimals = values.as_primitive::<Decimal128Type>();
                let is_long = |value: i128| value.unsigned_abs() >= limit.unsigned_abs();
                match decimals.values().iter().any(|value| is_long(*value)) {
                    true => rows_where(&values, |row| is_long(decimals.value(row))),
                    false => return Ok(values),
                }
            }
            data_type if data_type.is_floating() && !all_finite(&values) => rows_where(&values, |row| {
                !is_finite(&values, row) && operands.columns().iter().all(|operand| is_finite(operand, row))
            }),
            _ => return Ok(values),
        };
        if out.is_empty() {
            return Ok(values);
        }
        let mut mask = vec![false; values.len()];
        for row in out {
            mask[row] = true;
            let division =
                matches!(binary.op(), Operator::Divide | Operator::Modulo) && values.data_type().is_floating();
            let reason = if division { self.reason("Divide by zero") } else { self.reason("Overflow happened") };
            failures::report(positions.value(row), reason);
        }
        Ok(nullif(&values, &BooleanArray::from(mask))?)
    }

    /// The fact, in the words of SQL.
    fn reason(&self, message: &str) -> Reason {
        let lower = message.to_lowercase();
        if lower.contains("divide by zero") || lower.contains("division by zero") {
            return Reason::new("division-by-zero", "division by zero");
        }
        if lower.contains("overflow") || lower.contains("too large to store") || lower.contains("out of range") {
            return Reason::new("overflow", format!("does not fit a {}", sql_type(self.result.data_type())));
        }
        let call = self.node.downcast_ref::<ScalarFunctionExpr>();
        let place = call.map(|call| format!("{}: ", call.fun().name())).unwrap_or_default();
        let slug = if self.node.is::<CastExpr>() { "cast" } else { "expression" };
        Reason::new(slug, format!("{place}{message}"))
    }
}

fn rows_where(values: &ArrayRef, mut is: impl FnMut(usize) -> bool) -> Vec<usize> {
    (0..values.len()).filter(|row| values.is_valid(*row) && is(*row)).collect()
}

/// Of all that lies there, NULLs too: the usual case, looked at as a whole.
fn all_finite(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().values().iter().all(|value| value.is_finite()),
        DataType::Float32 => values.as_primitive::<Float32Type>().values().iter().all(|value| value.is_finite()),
        _ => false,
    }
}

fn is_finite(values: &ArrayRef, row: usize) -> bool {
    match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().value(row).is_finite(),
        DataType::Float32 => values.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float16 => values.as_primitive::<Float16Type>().value(row).is_finite(),
        _ => true,
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by row {} of (", self.node)?;
        for (index, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if index > 0 { ", " } else { "" })?;
        }
        write!(f, ")")
    }
}

impl PhysicalExpr for Guard {
    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(self.result.clone())
    }

    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.result.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let arrays = self
            .operands
            .iter()
            .map(|operand| operand.evaluate(batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let operands = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        let positions = self.position.evaluate(batch)?.into_array(rows)?;
        Ok(ColumnarValue::Array(self.run(&operands, positions.as_primitive::<UInt32Type>())?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.operands.iter().chain([&self.position]).collect()
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let position = children.pop().unwrap_or_else(|| self.position.clone());
        Ok(Arc::new(Self { operands: children, position, ..self.as_ref().clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `AND` or `OR` whose right side can fail: it is evaluated on every row, which is cheaper than filtering, and its failures count
/// only where the left side left the answer open.
#[derive(Debug, Clone, Eq)]
struct Lazy {
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
    and: bool,
    position: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Lazy {
    fn eq(&self, other: &Self) -> bool {
        self.left.eq(&other.left)
            && self.right.eq(&other.right)
            && self.and == other.and
            && self.position.eq(&other.position)
    }
}

impl Hash for Lazy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.right.hash(state);
        self.and.hash(state);
        self.position.hash(state);
    }
}

impl Lazy {
    fn of(binary: &BinaryExpr, position: Arc<dyn PhysicalExpr>) -> Self {
        let (left, right) = (binary.left().clone(), binary.right().clone());
        Self { left, right, and: *binary.op() == Operator::And, position }
    }
}

impl fmt::Display for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, if self.and { "AND THEN" } else { "OR ELSE" }, self.right)
    }
}

impl PhysicalExpr for Lazy {
    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(if self.and { "and" } else { "or" }, DataType::Boolean, true)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = self.left.evaluate(batch)?.into_array(rows)?;
        let left = left.as_boolean();
        let decided = |row: usize| left.is_valid(row) && left.value(row) != self.and;
        let mark = failures::mark();
        let right = self.right.evaluate(batch)?.into_array(rows)?;
        let failed = failures::since(mark);
        if !failed.is_empty() {
            let positions = self.position.evaluate(batch)?.into_array(rows)?;
            let positions = positions.as_primitive::<UInt32Type>();
            for failure in failed {
                // Positions ascend: filtering keeps the order.
                let row = positions.values().binary_search(&failure.row);
                if !row.is_ok_and(decided) {
                    failures::report(failure.row, failure.reason);
                }
            }
        }
        let right = right.as_boolean();
        let values = if self.and { and_kleene(left, right)? } else { or_kleene(left, right)? };
        Ok(ColumnarValue::Array(Arc::new(values)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right, &self.position]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [left, right, position] = &children[..] else {
            return datafusion::common::internal_err!("AND and OR have two sides and a position");
        };
        Ok(Arc::new(Self { left: left.clone(), right: right.clone(), and: self.and, position: position.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
