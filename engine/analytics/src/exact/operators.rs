//! `+`, `-` and `*` of integers, as functions that fail where the answer does not fit.
//!
//! They are put in place of the operators before anything is optimised, literals are computed among other things, and when all types are
//! settled. A function is sent to workers by its name: one that does not know it fails, and never answers something else.
//!
//! A chain of one operator is one function, from left to right: what functions lie in each other is looked at again for each of them.

use std::sync::{Arc, LazyLock};

use arrow::{
    compute::kernels::numeric::{add, mul, neg, sub},
    datatypes::{DataType, Field, FieldRef},
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema, DataFusionError, Result, ScalarValue,
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction, expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
    physical_expr_common::datum::apply,
};

use super::unfit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    Plus,
    Minus,
    Times,
    /// The minus before a number.
    Negative,
}

/// Their functions, in their order.
pub fn all() -> &'static [Arc<ScalarUDF>; 4] {
    static ALL: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
        [Op::Plus, Op::Minus, Op::Times, Op::Negative].map(|op| {
            let signature = Signature::variadic_any(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Integers { op, signature }))
        })
    });
    &ALL
}

/// Puts functions in place of operators.
#[derive(Debug)]
pub struct Checked;

impl AnalyzerRule for Checked {
    fn name(&self) -> &str {
        "checked_integers"
    }

    fn analyze(&self, question: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = question.transform_up_with_subqueries(|node| {
            let mut schema = merge_schema(&node.inputs());
            if let LogicalPlan::TableScan(scan) = &node {
                schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
            }
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let checked = expr.transform_up(|part| Ok(checked(part, &schema)))?;
                Ok(if checked.transformed { checked.update_data(|expr| name.restore(expr)) } else { checked })
            })
        })?;
        Ok(checked.data)
    }
}

fn checked(part: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (op, arguments) = match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let known = match op {
                Operator::Plus => Op::Plus,
                Operator::Minus => Op::Minus,
                Operator::Multiply => Op::Times,
                _ => return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            };
            // The right one first: chains are deep on the left.
            if !is_integer(&right, schema) || !is_integer(&left, schema) {
                return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }));
            }
            match *left {
                Expr::ScalarFunction(mut chain) if is_of(&chain, known) => {
                    chain.args.push(*right);
                    return Transformed::yes(Expr::ScalarFunction(chain));
                }
                left => (known, vec![left, *right]),
            }
        }
        Expr::Negative(of) if is_integer(&of, schema) => (Op::Negative, vec![*of]),
        other => return Transformed::no(other),
    };
    let func = all()[op as usize].clone();
    Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: arguments }))
}

fn is_of(call: &ScalarFunction, op: Op) -> bool {
    call.func.inner().downcast_ref::<Integers>().is_some_and(|integers| integers.op == op)
}

fn is_integer(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        // Of integers there come integers; what is below was looked at.
        Expr::ScalarFunction(call) if call.func.inner().is::<Integers>() => true,
        other => other.get_type(schema).is_ok_and(|of| of.is_integer()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Integers {
    op: Op,
    signature: Signature,
}

impl Integers {
    fn of(&self, arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
        let Some((first, others)) = arguments.split_first() else {
            return internal_err!("{} was given nothing", self.name());
        };
        let apply = match self.op {
            Op::Plus => |left: &_, right: &_| apply(left, right, add),
            Op::Minus => |left: &_, right: &_| apply(left, right, sub),
            Op::Times => |left: &_, right: &_| apply(left, right, mul),
            Op::Negative => return negative(first),
        };
        others.iter().try_fold(first.clone(), |left, right| apply(&left, right))
    }
}

fn negative(of: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match of {
        ColumnarValue::Array(of) => ColumnarValue::Array(neg(of)?),
        ColumnarValue::Scalar(of) => ColumnarValue::Scalar(ScalarValue::try_from_array(&neg(&of.to_array()?)?, 0)?),
    })
}

impl ScalarUDFImpl for Integers {
    fn name(&self) -> &str {
        match self.op {
            Op::Plus => "checked_add",
            Op::Minus => "checked_subtract",
            Op::Times => "checked_multiply",
            Op::Negative => "checked_negative",
        }
    }

    /// As the operator would be named.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let names: Vec<String> = arguments.iter().map(|argument| argument.schema_name().to_string()).collect();
        Ok(match self.op {
            Op::Plus => names.join(" + "),
            Op::Minus => names.join(" - "),
            Op::Times => names.join(" * "),
            Op::Negative => format!("(- {})", names.concat()),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        match of {
            [first, ..] => Ok(first.clone()),
            [] => internal_err!("{} was given nothing", self.name()),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let of: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&of)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.of(&call.args).map_err(|error| match error {
            DataFusionError::ArrowError(arrow, trace) => match *arrow {
                ArrowError::ArithmeticOverflow(detail) => {
                    let what = detail.rsplit_once("on: ").map_or(detail.as_str(), |(_, what)| what);
                    DataFusionError::ArrowError(Box::new(unfit(what, call.return_field.data_type())), None)
                }
                other => DataFusionError::ArrowError(Box::new(other), trace),
            },
            other => other,
        })
    }
}
