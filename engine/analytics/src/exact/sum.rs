//! `sum`, of integers as it is: added up with 128 bits, which no number of rows is too many for, and an error where the whole is none of its
//! type. What else can be added up is DataFusion's.
//!
//! Parts of a sum go from step to step as decimals, so that one that does not fit is none the less a part of one that does.

use std::{fmt::Debug, hash::Hash, marker::PhantomData, mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray},
    buffer::NullBuffer,
    datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type},
};
use datafusion::{
    common::{DataFusionError, HashMap, Result, ScalarValue, utils::SingleRowListArrayBuilder},
    functions_aggregate::sum::Sum,
    logical_expr::{
        Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
    physical_expr::NullState,
};

use super::unfit;

/// A part of a sum: 128 bits.
const PART: DataType = DataType::Decimal128(38, 0);

/// The integers that sums are of: narrower ones are widened before.
trait Whole: ArrowPrimitiveType<Native: Into<i128> + TryFrom<i128> + Eq + Hash> + Debug + Send + Sync {
    /// The upper and the lower 32 bits.
    fn halves(value: Self::Native) -> (i64, u64);
}

impl Whole for Int64Type {
    fn halves(value: i64) -> (i64, u64) {
        (value >> 32, (value as u32).into())
    }
}

impl Whole for UInt64Type {
    fn halves(value: u64) -> (i64, u64) {
        ((value >> 32) as i64, (value as u32).into())
    }
}

fn whole<T: Whole>(sum: i128) -> Result<T::Native> {
    let unfit = |_| DataFusionError::from(unfit(&format!("a sum of {sum}"), &T::DATA_TYPE));
    T::Native::try_from(sum).map_err(unfit)
}

fn scalar<T: Whole>(sum: Option<i128>) -> Result<ScalarValue> {
    ScalarValue::new_primitive::<T>(sum.map(whole::<T>).transpose()?, &T::DATA_TYPE)
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Exact(Sum);

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.0.return_type(of)
    }

    fn accumulator(&self, asked: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match (asked.return_field.data_type(), asked.is_distinct) {
            (DataType::Int64, false) => Ok(Box::new(All::<Int64Type>::default())),
            (DataType::UInt64, false) => Ok(Box::new(All::<UInt64Type>::default())),
            (DataType::Int64, true) => Ok(Box::new(Different::<Int64Type>::default())),
            (DataType::UInt64, true) => Ok(Box::new(Different::<UInt64Type>::default())),
            _ => self.0.accumulator(asked),
        }
    }

    fn create_sliding_accumulator(&self, asked: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match asked.return_field.data_type() {
            DataType::Int64 | DataType::UInt64 => self.accumulator(asked),
            _ => self.0.create_sliding_accumulator(asked),
        }
    }

    fn state_fields(&self, asked: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match (asked.return_field.data_type(), asked.is_distinct) {
            (DataType::Int64 | DataType::UInt64, false) => {
                Ok(vec![Arc::new(Field::new(format_state_name(asked.name, "sum"), PART, true))])
            }
            _ => self.0.state_fields(asked),
        }
    }

    fn groups_accumulator_supported(&self, asked: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(asked)
    }

    fn create_groups_accumulator(&self, asked: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match asked.return_field.data_type() {
            DataType::Int64 => Ok(Box::new(Groups::<Int64Type>::default())),
            DataType::UInt64 => Ok(Box::new(Groups::<UInt64Type>::default())),
            _ => self.0.create_groups_accumulator(asked),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(of)
    }
}

/// So many halves fit into 64 bits together.
const HALVES: usize = 1 << 30;

/// The sum of a column's values that are there. Halves are added up apart: processors add many of them at once, and none of 128 bits.
fn total<T: Whole>(values: &PrimitiveArray<T>) -> i128 {
    let together = |(upper, lower): (i64, u64)| (i128::from(upper) << 32) + i128::from(lower);
    let add = |sum: (i64, u64), value: T::Native| {
        let (upper, lower) = T::halves(value);
        (sum.0 + upper, sum.1 + lower)
    };
    match values.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => values.values().chunks(HALVES).map(|some| together(some.iter().copied().fold((0, 0), add))).sum(),
        Some(nulls) => {
            let there = values.values().iter().zip(nulls.iter());
            there.map(|(value, there)| if there { (*value).into() } else { 0 }).sum()
        }
    }
}

/// A sum of all values, also of those of a window, which leave it.
#[derive(Debug)]
struct All<T: Whole> {
    sum: i128,
    /// Values that it is of; parts of one, where it is of parts.
    values: u64,
    of: PhantomData<T>,
}

impl<T: Whole> Default for All<T> {
    fn default() -> Self {
        Self { sum: 0, values: 0, of: PhantomData }
    }
}

impl<T: Whole> All<T> {
    fn sum(&self) -> Option<i128> {
        (self.values > 0).then_some(self.sum)
    }
}

fn there(values: &dyn Array) -> u64 {
    (values.len() - values.null_count()) as u64
}

impl<T: Whole> Accumulator for All<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum += total(values[0].as_primitive::<T>());
        self.values += there(&values[0]);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum -= total(values[0].as_primitive::<T>());
        self.values -= there(&values[0]);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, parts: &[ArrayRef]) -> Result<()> {
        self.sum += parts[0].as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
        self.values += there(&parts[0]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::new_primitive::<Decimal128Type>(self.sum(), &PART)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar::<T>(self.sum())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// A sum of different values: how often each is there, as windows leave some behind.
#[derive(Debug)]
struct Different<T: Whole> {
    counts: HashMap<T::Native, u64>,
    sum: i128,
}

impl<T: Whole> Default for Different<T> {
    fn default() -> Self {
        Self { counts: HashMap::default(), sum: 0 }
    }
}

impl<T: Whole> Accumulator for Different<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            let count = self.counts.entry(value).or_insert(0);
            if *count == 0 {
                self.sum += value.into();
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
                self.sum -= value.into();
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, parts: &[ArrayRef]) -> Result<()> {
        for part in parts[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[part])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T>::from_iter_values(self.counts.keys().copied());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar::<T>((!self.counts.is_empty()).then_some(self.sum))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * size_of::<(T::Native, u64)>()
    }
}

/// Sums of many groups at once.
struct Groups<T: Whole> {
    sums: Vec<i128>,
    /// Which of them are of no value.
    nulls: NullState,
    of: PhantomData<T>,
}

impl<T: Whole> Default for Groups<T> {
    fn default() -> Self {
        Self { sums: vec![], nulls: NullState::new(), of: PhantomData }
    }
}

impl<T: Whole> Groups<T> {
    fn add<Of: ArrowPrimitiveType<Native: Into<i128>> + Send>(
        &mut self,
        values: &ArrayRef,
        groups: &[usize],
        only: Option<&BooleanArray>,
        count: usize,
    ) {
        self.sums.resize(count, 0);
        let sums = self.sums.as_mut_slice();
        let values = values.as_primitive::<Of>();
        self.nulls.accumulate(groups, values, only, count, |group, value| sums[group] += value.into());
    }
}

impl<T: Whole> GroupsAccumulator for Groups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        only: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.add::<T>(&values[0], groups, only, count);
        Ok(())
    }

    fn merge_batch(&mut self, parts: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.add::<Decimal128Type>(&parts[0], groups, None, count);
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = emit.take_needed(&mut self.sums).into_iter().map(whole::<T>);
        let sums = sums.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(PrimitiveArray::<T>::new(sums.into(), self.nulls.build(emit))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit.take_needed(&mut self.sums);
        let parts = Decimal128Array::new(sums.into(), self.nulls.build(emit)).with_data_type(PART);
        Ok(vec![Arc::new(parts)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], only: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let parts = values.unary::<_, Decimal128Type>(Into::into).with_data_type(PART);
        let only = only.map(|only| NullBuffer::from_iter(only.iter().map(|taken| taken == Some(true))));
        let nulls = NullBuffer::union(parts.nulls(), only.as_ref());
        let (of, parts, _) = parts.into_parts();
        Ok(vec![Arc::new(Decimal128Array::new(parts, nulls).with_data_type(of))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.nulls.size()
    }
}
