//! Functions that make as much as a row asks for, or count from where a row says.
//!
//! `repeat('x', n)` takes the memory that `n` says, and a record that says a trillion would end the process, again after every restart. So
//! what such a call would make is computed before it is made: what is too much is an error, and the guard finds the row that it belongs to.
//! A question about what happened has no guard, and fails as a whole: [`bounded`].

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{cast, kernels::length::length},
    datatypes::{DataType, FieldRef, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{Result, exec_err},
    logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature},
    physical_expr::ScalarFunctionExpr,
};

/// Bytes of text that one call makes of one row: what a dead letter keeps of its record, and a gigabyte for a whole batch of such rows.
const LONGEST_TEXT: f64 = (1 << 20) as f64;

/// Elements that one call makes of one row: as numbers, as much as the longest text.
const MOST_ELEMENTS: f64 = 100_000.0;

/// The functions that this is about.
const NAMES: [&str; 8] =
    ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series", "array_position"];

/// Microseconds of a day, and days of the shortest month: a step in time that is guessed shorter makes the guess of elements larger.
const DAY: f64 = 86_400e6;
const MONTH_DAYS: f64 = 28.0;

/// An error where `call` would make too much of some row.
pub fn within(call: &ScalarFunctionExpr, operands: &RecordBatch) -> Result<()> {
    let name = call.fun().name();
    if !NAMES.contains(&name) {
        return Ok(());
    }
    let rows = operands.num_rows();
    let evaluated = call.args().iter().map(|argument| argument.evaluate(operands)?.into_array(rows));
    check(name, &evaluated.collect::<Result<Vec<_>>>()?)
}

fn check(name: &str, arguments: &[ArrayRef]) -> Result<()> {
    if let ("array_position", [_, _, from]) = (name, arguments) {
        return starts(from);
    }
    let limit = match name {
        "repeat" | "lpad" | "rpad" => LONGEST_TEXT,
        "array_repeat" | "array_resize" | "range" | "generate_series" => MOST_ELEMENTS,
        _ => return Ok(()),
    };
    let sizes = match (name, arguments) {
        ("repeat", [text, times]) => product(&bytes(text)?, &numbers(times)?),
        ("lpad" | "rpad" | "array_resize", [_, size, ..]) => numbers(size)?,
        ("array_repeat", [element, times]) => repeated(element, &numbers(times)?)?,
        ("range" | "generate_series", [stop]) => numbers(stop)?,
        ("range" | "generate_series", [start, stop, step @ ..]) => {
            let steps = step.first().map(lengths).transpose()?;
            series(&numbers(&instants(start)?)?, &numbers(&instants(stop)?)?, steps.as_deref())
        }
        _ => return Ok(()),
    };
    // DataFusion takes a negative length for a very large one.
    let least = if matches!(name, "lpad" | "rpad" | "array_resize") { 0.0 } else { f64::NEG_INFINITY };
    let what = if limit == LONGEST_TEXT { "a text of {} characters" } else { "a list of {} elements" };
    match sizes.into_iter().find(|size| !(least..=limit).contains(size)) {
        None => Ok(()),
        Some(size) => {
            let what = what.replace("{}", &format!("{size:.0}"));
            exec_err!("{what} cannot be made of a row; at most {limit:.0} can")
        }
    }
}

/// DataFusion counts down from the number, and from the smallest there is no way down.
fn starts(from: &ArrayRef) -> Result<()> {
    let from = cast(from, &DataType::Int64)?;
    match from.as_primitive::<Int64Type>().iter().flatten().find(|from| *from == i64::MIN) {
        None => Ok(()),
        Some(from) => exec_err!("no element has the number {from}"),
    }
}

/// As floats, which no number is too large for; NULL makes nothing.
fn numbers(values: &ArrayRef) -> Result<Vec<f64>> {
    let floats = cast(values, &DataType::Float64)?;
    Ok(floats.as_primitive::<Float64Type>().iter().map(|number| number.unwrap_or_default()).collect())
}

fn bytes(text: &ArrayRef) -> Result<Vec<f64>> {
    numbers(&length(text)?)
}

fn product(sizes: &[f64], times: &[f64]) -> Vec<f64> {
    sizes.iter().zip(times).map(|(size, times)| size * times).collect()
}

/// Elements, and where one of them is large as many small ones as it weighs.
fn repeated(element: &ArrayRef, times: &[f64]) -> Result<Vec<f64>> {
    /// Bytes of a number.
    const SMALL: f64 = 8.0;
    let weigh = |row: usize| Ok(element.slice(row, 1).to_data().get_slice_memory_size()? as f64 / SMALL);
    let weighed = times.iter().enumerate().map(|(row, times)| match *times > 1.0 {
        true => weigh(row).map(|weight: f64| weight.max(1.0) * times),
        false => Ok(*times),
    });
    weighed.collect()
}

/// Instants and dates as microseconds since 1970.
fn instants(values: &ArrayRef) -> Result<ArrayRef> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(match values.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            cast(&cast(values, &micros)?, &DataType::Int64)?
        }
        _ => values.clone(),
    })
}

/// Steps as numbers, or in microseconds.
fn lengths(steps: &ArrayRef) -> Result<Vec<f64>> {
    if !matches!(steps.data_type(), DataType::Interval(_)) {
        return numbers(steps);
    }
    let steps = cast(steps, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
    let micros =
        |months: i32, days: i32, nanos: i64| (months as f64 * MONTH_DAYS + days as f64) * DAY + nanos as f64 / 1e3;
    Ok(steps.iter().map(|step| step.map_or(0.0, |step| micros(step.months, step.days, step.nanoseconds))).collect())
}

/// How many steps lead from each start to its stop. A step of nothing is the function's own to refuse.
fn series(starts: &[f64], stops: &[f64], steps: Option<&[f64]>) -> Vec<f64> {
    let step = |row: usize| steps.map_or(1.0, |steps| steps[row]);
    let count = |row: usize| if step(row) == 0.0 { 0.0 } else { (stops[row] - starts[row]) / step(row) };
    (0..starts.len()).map(count).collect()
}

/// `function` with an end to what it makes; `None` where it makes no more than it is given.
pub fn bounded(function: &Arc<ScalarUDF>) -> Option<ScalarUDF> {
    NAMES.contains(&function.name()).then(|| ScalarUDF::new_from_impl(Bounded(function.clone())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded(Arc<ScalarUDF>);

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(arguments)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = call.args.iter().map(|argument| argument.to_array(call.number_rows));
        check(self.name(), &arrays.collect::<Result<Vec<_>>>()?)?;
        self.0.invoke_with_args(call)
    }
}
