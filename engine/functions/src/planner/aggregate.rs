//! Aggregates: calls that are computed from the rows of a group, typed like any expression.
//!
//! What a call takes of a row is an expression like every other, so a row on which it fails, fails alone. Numbers stay exact:
//!
//! | call | computed in | gives |
//! |---|---|---|
//! | `SUM` of integers | `DECIMAL(28, 0)` | `DECIMAL(38, 0)` |
//! | `AVG` of integers | `DECIMAL(29, 7)` | `DECIMAL(32, 10)` |
//! | `SUM` of decimals of up to 28 digits | the same | `DECIMAL(p + 10, s)` |
//! | `AVG` of decimals of up to 28 digits | one digit more | `DECIMAL(p + 4, s + 4)` |
//! | of more digits, and of JSON numbers | twice the width | 38 digits: a group with more fails alone |
//! | of floats | `DOUBLE` | `DOUBLE`, as far as floats are repeatable |
//!
//! An aggregate whose answer depends on the order of its rows is refused: rows of several partitions meet in any order.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::DFSchema,
    logical_expr::{
        AggregateUDF, Expr, ExprSchemable,
        expr::{AggregateFunction, NullTreatment},
        sqlparser::ast,
        type_coercion::functions::fields_with_udf,
    },
};

use super::{Planner, Typed, belongs_in_a_row, explained};
use crate::{
    ExprError,
    functions::{Op, call},
    is_json, sql_type, sql_type_of, syntax,
    typer::{NUMBER, Typer, is_text, json_to},
};

/// Answers that depend on the order in which rows come, or in which parts are put together.
const ORDERED: [&str; 10] = [
    "any_value",
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "percentile_cont",
];

/// Sums of up to 10^10 values of this many digits fit into 38: further ones are added in twice the width.
const SUMMED_DIGITS: u8 = 28;

/// An integer has at most 20 digits; 6 more behind the point make an average of 10.
const AVERAGED_SCALE: i8 = 6;

/// What a JSON argument of an aggregate may become, in this order: most of them are about numbers.
const ARGUMENTS: [DataType; 4] = [NUMBER, DataType::Float64, DataType::Boolean, DataType::Utf8View];

/// One call of an aggregate, typed over a scope.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) function: Arc<AggregateUDF>,
    /// What it takes of each row.
    pub arguments: Vec<Typed>,
    pub filter: Option<Typed>,
    pub(crate) distinct: bool,
    pub(crate) ignore_nulls: bool,
    narrow: Option<DataType>,
}

impl Call {
    /// The type that its answer is cast to, where it was computed in a wider one. A group whose answer does not fit fails alone.
    pub fn narrow(&self) -> Option<&DataType> {
        self.narrow.as_ref()
    }

    pub(crate) fn literal(argument: &Typed) -> Option<Expr> {
        matches!(argument.expr, Expr::Literal(..)).then(|| argument.expr.clone())
    }
}

impl Planner {
    pub fn is_aggregate(&self, name: &str) -> bool {
        self.session.aggregate_functions().contains_key(&name.to_lowercase())
    }

    /// The aggregates that a group may be asked for, in alphabetical order.
    pub fn aggregate_names(&self) -> Vec<String> {
        let names = self.session.aggregate_functions().keys().filter(|name| !is_refused(name));
        let mut names: Vec<String> = names.cloned().collect();
        names.sort_unstable();
        names
    }

    /// Types one call of an aggregate over the columns of `scope`.
    pub fn aggregate(&self, sql: &ast::Expr, scope: &DFSchema) -> Result<Call, ExprError> {
        let repaired = syntax::repaired(sql);
        syntax::check(&repaired, |name| self.exists(name))?;
        let aliased = ast::ExprWithAlias { expr: repaired, alias: None };
        let planned = self.session.create_logical_expr_from_sql_expr(aliased, scope).map_err(explained);
        let planned = planned.map_err(|error| syntax::located(error, sql))?.unalias();
        let Expr::AggregateFunction(AggregateFunction { func, params }) = planned else {
            return Err(ExprError::NotHere { what: "what is no aggregate".to_owned() });
        };
        if !params.order_by.is_empty() {
            return Err(ExprError::NotHere { what: format!("the aggregate {} with ORDER BY", func.name()) });
        }
        if ORDERED.contains(&func.name()) {
            return Err(ExprError::NotRepeatable { function: func.name().to_owned() });
        }
        if is_refused(func.name()) {
            return Err(ExprError::NotHere { what: format!("the aggregate {}", func.name()) });
        }
        let arguments = params.args.into_iter().map(|argument| self.row_expression(argument, scope));
        let arguments: Vec<Expr> = arguments.collect::<Result<_, ExprError>>()?;
        let (arguments, narrow) = self.fitted(&func, arguments, params.distinct, scope)?;
        let filter = params.filter.map(|filter| {
            let filter = self.row_expression(*filter, scope)?;
            let typed = self.typed(filter, "filter".to_owned(), scope)?;
            self.cast(typed, &DataType::Boolean)
        });
        Ok(Call {
            function: func,
            arguments,
            filter: filter.transpose()?,
            distinct: params.distinct,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            narrow,
        })
    }

    /// A key of a group: JSON values that are equal get equal bytes.
    pub fn group_key(&self, typed: Typed, scope: &DFSchema) -> Result<Typed, ExprError> {
        if !is_json(typed.field()) {
            return Ok(typed);
        }
        let name = typed.field().name().clone();
        self.typed(call(Op::Norm, false, vec![typed.expr]), name, scope)
    }

    fn row_expression(&self, expr: Expr, scope: &DFSchema) -> Result<Expr, ExprError> {
        belongs_in_a_row(&expr)?;
        let expr = Typer { schema: scope }.type_all(expr).map_err(explained)?;
        self.finished(expr, scope)
    }

    /// Arguments in the types that the aggregate takes, and the type that its answer is narrowed to.
    fn fitted(
        &self,
        function: &AggregateUDF,
        arguments: Vec<Expr>,
        distinct: bool,
        scope: &DFSchema,
    ) -> Result<(Vec<Typed>, Option<DataType>), ExprError> {
        let field = |expr: &Expr| expr.to_field(scope).map(|(_, field)| field).map_err(explained);
        let fields: Vec<FieldRef> = arguments.iter().map(field).collect::<Result<_, _>>()?;
        let refusal = || misfit(function, &fields);
        let mut fitted = Vec::new();
        for (argument, field) in arguments.into_iter().zip(&fields) {
            fitted.push(match is_json(field) {
                true => of_json(function, argument, distinct).ok_or_else(refusal)?,
                false => argument,
            });
        }
        let mut typed = Vec::new();
        for argument in fitted {
            let argument = self.finished(argument, scope)?;
            typed.push(self.typed(argument, "argument".to_owned(), scope)?);
        }
        let mut narrow = None;
        if matches!(function.name(), "sum" | "avg")
            && let [argument] = &mut typed[..]
            && let Some((exact, narrowed)) = exact(function.name(), argument.field().data_type())
        {
            let expr = datafusion::prelude::cast(argument.expr.clone(), exact);
            *argument = self.typed(expr, "argument".to_owned(), scope)?;
            narrow = narrowed;
        }
        let given: Vec<FieldRef> = typed.iter().map(|argument| Arc::new(argument.field().clone())).collect();
        let taken = fields_with_udf(&given, function).map_err(|_| refusal())?;
        let mut arguments = Vec::new();
        for (argument, taken) in typed.into_iter().zip(taken) {
            let (from, to) = (argument.field().data_type().clone(), taken.data_type());
            // Text must not become a number unasked, nor a number text.
            if is_text(&from) != is_text(to) && from != DataType::Null {
                return Err(refusal());
            }
            arguments.push(self.cast_argument(argument, to)?);
        }
        Ok((arguments, narrow))
    }

    /// Tagged JSON stays what it is where the aggregate takes any type.
    fn cast_argument(&self, argument: Typed, to: &DataType) -> Result<Typed, ExprError> {
        if argument.field().data_type() == to { Ok(argument) } else { self.cast(argument, to) }
    }
}

fn is_refused(name: &str) -> bool {
    ORDERED.contains(&name) || name == "grouping"
}

/// A JSON argument as the type that the aggregate is about. `None`: there is none.
fn of_json(function: &AggregateUDF, argument: Expr, distinct: bool) -> Option<Expr> {
    match function.name() {
        "count" | "approx_distinct" if distinct || function.name() == "approx_distinct" => {
            Some(call(Op::Norm, false, vec![argument]))
        }
        "count" => Some(argument),
        // Values of JSON have no order.
        "min" | "max" => None,
        "sum" | "avg" => Some(json_to(argument, &NUMBER)),
        _ => ARGUMENTS.into_iter().find_map(|to| {
            let tried = [Arc::new(Field::new("argument", to.clone(), true))];
            let taken = fields_with_udf(&tried, function).ok()?;
            (taken.len() == 1 && *taken[0].data_type() == to).then(|| json_to(argument.clone(), &to))
        }),
    }
}

/// The type in which numbers are added exactly, and the type that the answer is narrowed to. `None`: as they are.
fn exact(function: &str, of: &DataType) -> Option<(DataType, Option<DataType>)> {
    if function == "avg" {
        return exact_average(of);
    }
    match of {
        of if of.is_integer() => Some((DataType::Decimal128(SUMMED_DIGITS, 0), None)),
        DataType::Decimal128(digits, scale) if *digits > SUMMED_DIGITS => {
            Some((DataType::Decimal256(*digits, *scale), Some(DataType::Decimal128(38, *scale))))
        }
        _ => None,
    }
}

/// An average is cut off behind its last digit: so it is computed with one more, and rounded when it is narrowed.
fn exact_average(of: &DataType) -> Option<(DataType, Option<DataType>)> {
    let (digits, scale) = match of {
        of if of.is_integer() => (SUMMED_DIGITS, AVERAGED_SCALE),
        DataType::Decimal128(digits, scale) => (*digits, *scale),
        _ => return None,
    };
    let answer = match digits {
        digits if digits > SUMMED_DIGITS => DataType::Decimal128(38, (scale + 4).min(38)),
        digits => DataType::Decimal128(digits + 4, (scale + 4).min(38)),
    };
    let computed = match digits {
        digits if digits >= SUMMED_DIGITS && !of.is_integer() => DataType::Decimal256(digits + 1, scale + 1),
        digits => DataType::Decimal128(digits + 1, scale + 1),
    };
    Some((computed, Some(answer)))
}

fn misfit(function: &AggregateUDF, fields: &[FieldRef]) -> ExprError {
    let types: Vec<String> = fields.iter().map(|field| sql_type_of(field)).collect();
    let message = match types.first() {
        Some(json) if json == "JSON" && matches!(function.name(), "min" | "max") => {
            format!("{} of JSON values has no order", function.name())
        }
        _ => format!("{} does not take ({})", function.name(), types.join(", ")),
    };
    let right = types.first().filter(|kind| *kind == "JSON").map(|_| sql_type(&NUMBER));
    ExprError::TypeMismatch { message, left: types.first().cloned(), right }
}
