//! One expression at a time: from SQL text to a typed, checked, folded expression.
//!
//! Whatever can be known without data is known here: names, types, functions whose answer would differ from run to run, constants
//! that cannot be computed. What remains can fail only on a row (`rows`).

mod aggregate;
mod form;

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    common::{
        Column, DFSchema, DataFusionError, Result, ScalarValue,
        metadata::FieldMetadata,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{SessionState, SessionStateBuilder},
    logical_expr::{
        Expr, ExprSchemable, Operator, ScalarUDF, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
        sqlparser::ast::{self, ExprWithAlias},
        type_coercion::{binary::BinaryTypeCoercer, functions::fields_with_udf},
    },
    optimizer::simplify_expressions::ExprSimplifier,
    physical_expr::PhysicalExpr,
    prelude::SessionConfig,
};
use syncline_record::Reason;

use crate::{
    ExprError,
    audit::{audit, columns},
    convert, failures,
    functions::{JsonFunction, Op, call},
    guard::{guarded, is_fallible_cast, positioned, with_position},
    hooks::{JsonPlanner, JsonTypes},
    is_json,
    mismatch::facts,
    sql_type, sql_type_of, syntax,
    typer::{Typer, is_text, json_to},
};

pub use aggregate::Call;
pub use form::Form;

/// Types and compiles expressions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Planner {
    session: Arc<SessionState>,
}

/// An expression that was typed over a scope.
#[derive(Clone, Debug)]
pub struct Typed {
    pub(crate) expr: Expr,
    field: Field,
}

impl Typed {
    /// A plain column.
    pub fn column(field: &Field) -> Typed {
        Typed { expr: Expr::Column(Column::new_unqualified(field.name())), field: field.clone() }
    }

    /// Name (a column's own, else the SQL text), type, JSON tag and nullability of the result.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The names of the columns that it reads, without the alias of their input, each once.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for column in columns(&self.expr) {
            if !names.contains(&column.name) {
                names.push(column.name);
            }
        }
        names
    }

    /// The name of the column, when the expression is just that.
    pub fn as_column(&self) -> Option<&str> {
        match &self.expr {
            Expr::Column(column) => Some(&column.name),
            _ => None,
        }
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

impl Planner {
    pub fn new() -> Planner {
        let mut config = SessionConfig::new().with_target_partitions(1);
        let sql = &mut config.options_mut().sql_parser;
        sql.enable_ident_normalization = false;
        sql.parse_float_as_decimal = true;
        sql.collect_spans = true;
        let defaults = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let mut planners = defaults.expr_planners().to_vec();
        planners.insert(0, Arc::new(JsonPlanner));
        let mut functions: Vec<Arc<ScalarUDF>> = defaults.scalar_functions().values().cloned().collect();
        for unary in [Op::Negate, Op::Not] {
            functions.push(Arc::new(ScalarUDF::new_from_impl(JsonFunction::new(unary, false, None))));
        }
        let session = SessionStateBuilder::new_from_existing(defaults)
            .with_expr_planners(planners)
            .with_scalar_functions(functions)
            .with_type_planner(Arc::new(JsonTypes))
            .build();
        Planner { session: Arc::new(session) }
    }

    /// Parses one expression.
    pub fn parse(&self, sql: &str) -> Result<ast::Expr, ExprError> {
        syntax::parse(sql)
    }

    /// Types an expression over the columns of `scope`.
    pub fn expr(&self, sql: &ast::Expr, scope: &DFSchema) -> Result<Typed, ExprError> {
        let repaired = syntax::repaired(sql);
        syntax::check(&repaired, |name| self.exists(name))?;
        let expr = self.planned(repaired, scope).map_err(|error| syntax::located(error, sql))?;
        let name = match &expr {
            Expr::Column(column) => column.name.clone(),
            _ => sql.to_string(),
        };
        self.typed(expr, name, scope)
    }

    /// `typed` in the type `to`: a value that does not fit fails its row. The same expression when it has the type already.
    pub fn cast(&self, typed: Typed, to: &DataType) -> Result<Typed, ExprError> {
        let Typed { expr, field } = typed;
        let from = field.data_type();
        if from == to && !is_json(&field) {
            return Ok(Typed { expr, field });
        }
        let expr = match () {
            _ if is_json(&field) && is_text(to) => json_to(expr, to),
            _ if is_json(&field) && convert::takes(to) => call(Op::Cast(to.clone()), true, vec![expr]),
            _ if is_text(from) && !is_json(&field) && convert::takes(to) && !is_text(to) && !to.is_nested() => {
                call(Op::TextCast(to.clone()), true, vec![expr])
            }
            _ if is_json(&field) || !arrow::compute::can_cast_types(from, to) => {
                let (left, right) = (sql_type_of(&field), sql_type(to));
                let message = format!("{left} has no cast to {right}");
                return Err(ExprError::TypeMismatch { message, left: Some(left), right: Some(right) });
            }
            _ if is_fallible_cast(from, to) => call(Op::RowCast(to.clone()), true, vec![expr]),
            _ => datafusion::prelude::cast(expr, to.clone()),
        };
        Ok(Typed { expr, field: Field::new(field.name(), to.clone(), true) })
    }

    /// The scalar functions that an expression may call, in alphabetical order.
    pub fn function_names(&self) -> Vec<String> {
        let functions = self.session.scalar_functions().iter();
        let mut names: Vec<String> = functions
            .filter(|(_, function)| !function.inner().is::<JsonFunction>())
            .filter(|(_, function)| function.signature().volatility == Volatility::Immutable)
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    fn exists(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.session.scalar_functions().contains_key(&name)
            || self.session.aggregate_functions().contains_key(&name)
            || self.session.window_functions().contains_key(&name)
            || self.session.higher_order_functions().contains_key(&name)
            || name == "unnest"
    }

    fn planned(&self, expr: ast::Expr, scope: &DFSchema) -> Result<Expr, ExprError> {
        let aliased = ExprWithAlias { expr, alias: None };
        let expr = self.session.create_logical_expr_from_sql_expr(aliased, scope).map_err(explained)?.unalias();
        belongs_in_a_row(&expr)?;
        let expr = Typer { schema: scope }.type_all(expr).map_err(explained)?;
        self.finished(expr, scope)
    }

    /// Audited, coerced and folded, and known to compile.
    fn finished(&self, expr: Expr, scope: &DFSchema) -> Result<Expr, ExprError> {
        audit(&expr, scope).map_err(explained)?;
        let simplify = self.simplify_context(scope);
        let coercer = ExprSimplifier::new(simplify.clone());
        let coerced =
            coercer.coerce(expr.clone(), scope).map_err(|error| misfit(&expr, scope).unwrap_or(explained(error)))?;
        let expanded = coerced.transform_up(|node| expand(node, &simplify)).map_err(explained)?.data;
        let expr = coercer.coerce(expanded, scope).map_err(explained)?;
        let expr = Typer { schema: scope }.settled(expr).map_err(explained)?;
        let expr = self.folded(expr).map_err(explained)?;
        if let Some(reason) = self.certain_failure(&expr) {
            return Err(ExprError::other(reason.detail));
        }
        self.session.create_physical_expr(expr.clone(), scope).map_err(explained)?;
        Ok(expr)
    }

    fn typed(&self, expr: Expr, name: String, scope: &DFSchema) -> Result<Typed, ExprError> {
        let (_, field) = expr.to_field(scope).map_err(explained)?;
        Ok(Typed { expr, field: field.as_ref().clone().with_name(name) })
    }

    fn simplify_context(&self, scope: &DFSchema) -> SimplifyContext {
        SimplifyContext::builder()
            .with_schema(Arc::new(scope.clone()))
            .with_config_options(self.session.config_options().clone())
            .build()
    }

    /// Replaces what reads no column by its value, where it has one.
    fn folded(&self, expr: Expr) -> Result<Expr> {
        let folded = expr.transform_down(|node| {
            if matches!(node, Expr::Literal(..)) || !is_constant(&node) {
                return Ok(Transformed::no(node));
            }
            let Ok(value) = self.constant(&node) else { return Ok(Transformed::no(node)) };
            let (_, field) = node.to_field(&DFSchema::empty())?;
            let metadata = (!field.metadata().is_empty()).then(|| FieldMetadata::from(field.as_ref()));
            Ok(Transformed::new(Expr::Literal(value, metadata), true, TreeNodeRecursion::Jump))
        })?;
        Ok(folded.data)
    }

    fn constant(&self, expr: &Expr) -> Result<ScalarValue, Reason> {
        let reason = |error: DataFusionError| Reason::new("expression", crate::error::message(&error));
        let compiled = self.compile(expr.clone(), &Schema::empty()).map_err(reason)?;
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &one_row)
            .map_err(|error| reason(error.into()))?;
        let row = positioned(&row, &Arc::new(with_position(&Schema::empty()))).map_err(reason)?;
        let mark = failures::mark();
        let value = compiled.evaluate(&row).and_then(|value| value.into_array(1));
        match failures::since(mark).pop() {
            Some(failure) => Err(failure.reason),
            None => value.and_then(|value| ScalarValue::try_from_array(&value, 0)).map_err(reason),
        }
    }

    /// The failure of a constant that every row evaluates, whatever it holds.
    fn certain_failure(&self, expr: &Expr) -> Option<Reason> {
        if is_constant(expr) && !matches!(expr, Expr::Literal(..)) {
            return self.constant(expr).err();
        }
        match expr {
            Expr::BinaryExpr(node) if matches!(node.op, Operator::And | Operator::Or) => {
                self.certain_failure(&node.left)
            }
            Expr::Case(case) => {
                let first = case.expr.as_deref().or(case.when_then_expr.first().map(|(when, _)| &**when));
                first.and_then(|first| self.certain_failure(first))
            }
            _ => {
                let mut failure = None;
                let _ = expr.apply_children(|child| {
                    failure = self.certain_failure(child);
                    Ok(if failure.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
                });
                failure
            }
        }
    }

    /// Compiles over the columns of a batch. An input's alias is dropped, unless the batch has a column called `alias.name`.
    pub(crate) fn compile(&self, expr: Expr, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = expr.transform_up(|node| match node {
            Expr::Column(column) if column.relation.is_some() => {
                let flat = column.flat_name();
                let name = if schema.field_with_name(&flat).is_ok() { flat } else { column.name };
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let schema = with_position(schema);
        let scope = DFSchema::try_from(schema.clone())?;
        guarded(self.session.create_physical_expr(expr.data, &scope)?, &schema)
    }
}

fn is_constant(expr: &Expr) -> bool {
    columns(expr).is_empty()
}

/// A function that is defined by other functions (`coalesce` by `CASE`, …) as those.
fn expand(node: Expr, context: &SimplifyContext) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(function) = node else { return Ok(Transformed::no(node)) };
    Ok(match function.func.simplify(function.args, context)? {
        ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
        ExprSimplifyResult::Original(args) => {
            let func = function.func;
            Transformed::no(Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction { func, args }))
        }
    })
}

/// Refuses what is not a function of one row.
fn belongs_in_a_row(expr: &Expr) -> Result<(), ExprError> {
    let mut refused = None;
    let _ = expr.apply(|node| {
        let what = match node {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                refused = Some(ExprError::NotRepeatable { function: call.func.name().to_owned() });
                return Ok(TreeNodeRecursion::Stop);
            }
            Expr::AggregateFunction(call) => {
                refused = Some(ExprError::ManyRows { function: call.func.name().to_owned() });
                return Ok(TreeNodeRecursion::Stop);
            }
            Expr::WindowFunction(_) => "a window function".to_owned(),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
                "a subquery".to_owned()
            }
            Expr::Unnest(_) => "UNNEST".to_owned(),
            Expr::GroupingSet(_) => "a grouping set".to_owned(),
            Expr::Placeholder(_) => "a parameter".to_owned(),
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) => "a lambda".to_owned(),
            // DataFusion reads its pattern as a regular expression, which is another language.
            Expr::SimilarTo(_) => "SIMILAR TO".to_owned(),
            Expr::ScalarVariable(..) => "a variable".to_owned(),
            Expr::OuterReferenceColumn(..) => "a column of an outer query".to_owned(),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        refused = Some(ExprError::NotHere { what });
        Ok(TreeNodeRecursion::Stop)
    });
    refused.map_or(Ok(()), Err)
}

fn explained(error: DataFusionError) -> ExprError {
    facts(&error).unwrap_or_else(|| error.into())
}

/// The innermost operator or function whose operands do not fit.
fn misfit(expr: &Expr, scope: &DFSchema) -> Option<ExprError> {
    let mut found = None;
    let _ = expr.apply(|node| {
        match node {
            Expr::BinaryExpr(binary) => {
                if let (Ok(left), Ok(right)) = (binary.left.get_type(scope), binary.right.get_type(scope))
                    && BinaryTypeCoercer::new(&left, &binary.op, &right).get_result_type().is_err()
                {
                    let (left, right) = (sql_type(&left), sql_type(&right));
                    let message = format!("{left} {} {right} has no meaning", binary.op);
                    found = Some(ExprError::TypeMismatch { message, left: Some(left), right: Some(right) });
                }
            }
            Expr::ScalarFunction(call) => {
                let fields: Result<Vec<_>> = call.args.iter().map(|argument| Ok(argument.to_field(scope)?.1)).collect();
                if let Ok(fields) = fields
                    && fields_with_udf(&fields, call.func.as_ref()).is_err()
                {
                    let types: Vec<String> = fields.iter().map(|field| sql_type_of(field)).collect();
                    let message = format!("{} does not take ({})", call.func.name(), types.join(", "));
                    found = Some(ExprError::TypeMismatch { message, left: types.first().cloned(), right: None });
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
