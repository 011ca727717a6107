//! The functions that the typer puts where a JSON value meets a place that wants another type, and strict casts.
//!
//! | function | from | to |
//! |---|---|---|
//! | `json_text` | JSON | text: strings without quotes, other tokens as written |
//! | `json_cast<T>` | JSON | `T`, or a failed row (`TRY_CAST`: NULL) |
//! | `json_exact<T>` | JSON | `T` without rounding, or a failed row |
//! | `text_cast<T>` | text | the same, by the same rules |
//! | `row_cast<T>` | another type | `T` (`casts`), or a failed row |
//! | `zone<z>` | TIMESTAMP | the same instant, seen in the zone |
//! | `json_cmp` | JSON, number | -1, 0 or 1: exact, or a failed row |
//! | `quotient<T>` | two exact numbers | their quotient as the decimal `T`, or a failed row |
//! | `json_norm` | JSON | JSON, equal bytes for equal values |
//! | `json_get` | JSON, path | JSON: a member, or an element counted from 0 |
//! | `json_tag` | text that is JSON | JSON: gives the tag back that `CASE` loses |
//! | `json_array`, `json_object` | values; names and values | JSON made of them |
//! | `json_parse` | text | JSON, or a failed row |
//! | `json_of` | any type | JSON: the value as a token |
//!
//! A strict function reports failed rows by their index in the batch it is called on (`failures`), and never returns an error for one.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int8Array, StringViewArray, StringViewBuilder},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field, FieldRef, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err},
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
    },
};
use syncline_record::Reason;

use crate::{
    casts::cast_values,
    convert::{Manner, as_views, convert},
    decode::validate,
    failures, json_field, number,
    number::Exact,
    quotient::quotients,
    shown, sql_type, token, view,
    write::token_of,
};

/// What a function does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Text,
    Cast(DataType),
    Exact(DataType),
    TextCast(DataType),
    RowCast(DataType),
    /// The argument is a TIMESTAMP in microseconds.
    Zone(String),
    Compare,
    Quotient(DataType),
    Norm,
    Get,
    Tag,
    Parse,
    Of,
    Array,
    /// The members' names; the arguments are their values.
    Object(Vec<String>),
    /// Unary minus and `NOT`, before the type of their operand is known; the typer replaces them.
    Negate,
    Not,
}

/// One function of this module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonFunction {
    pub op: Op,
    /// Whether a value that does not fit fails its row, or is just NULL.
    pub strict: bool,
    /// The column that is read, where the argument is a plain column: for the reason's text.
    column: Option<String>,
    name: String,
    signature: Signature,
}

impl JsonFunction {
    pub fn new(op: Op, strict: bool, column: Option<String>) -> Self {
        let name = match &op {
            Op::Text => "json_text".to_owned(),
            Op::Cast(to) => format!("json_cast<{}>", sql_type(to)),
            Op::Exact(to) => format!("json_exact<{}>", sql_type(to)),
            Op::TextCast(to) => format!("text_cast<{}>", sql_type(to)),
            Op::RowCast(to) => format!("row_cast<{}>", sql_type(to)),
            Op::Zone(zone) => format!("zone<{zone}>"),
            Op::Compare => "json_cmp".to_owned(),
            Op::Quotient(to) => format!("quotient<{}>", sql_type(to)),
            Op::Norm => "json_norm".to_owned(),
            Op::Get => "json_get".to_owned(),
            Op::Tag => "json_tag".to_owned(),
            Op::Parse => "json_parse".to_owned(),
            Op::Of => "json_of".to_owned(),
            Op::Array => "json_array".to_owned(),
            Op::Object(_) => "json_object".to_owned(),
            Op::Negate => NEGATE.to_owned(),
            Op::Not => NOT.to_owned(),
        };
        Self { op, strict, column, name, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// The column that is read, where the argument is a plain column.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// Whether it can report a row.
    pub fn can_fail(&self) -> bool {
        self.strict
    }

    /// ``total: `"ten"` is not a number``
    fn report(&self, slug: &str, row: u32, value: &str, fact: &str) {
        if self.strict {
            let place = self.column.as_ref().map(|column| format!("{column}: ")).unwrap_or_default();
            failures::report(row, Reason::new(slug, format!("{place}{} {fact}", shown::value(value))));
        }
    }

    /// A value is not of the type.
    fn report_misfit(&self, row: u32, value: &str, to: &DataType) {
        let number = matches!(self.op, Op::Exact(DataType::Decimal128(..)));
        if number && number::is_number(token::text(value).trim().as_bytes()) {
            self.report(
                "overflow",
                row,
                value,
                &format!("has more digits than {}: CAST(… AS DOUBLE) takes it", sql_type(to)),
            );
        } else if number {
            self.report("cast", row, value, "is not a number");
        } else {
            self.report("cast", row, value, &format!("is not {}", a(&sql_type(to))));
        }
    }

    fn converted(&self, values: &ArrayRef, to: &DataType, manner: Manner) -> ArrayRef {
        let values = as_views(values);
        let converted = convert(&values, to, manner);
        for row in converted.bad {
            self.report_misfit(row, values.value(row as usize), to);
        }
        converted.array
    }

    fn row_cast(&self, values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let array = cast_values(values, to)?;
        if array.null_count() > values.null_count() {
            let field = Field::new("", values.data_type().clone(), true);
            for row in (0..values.len()).filter(|row| array.is_null(*row) && values.is_valid(*row)) {
                let mut token = Vec::new();
                token_of(values, &field, row, &mut token);
                self.report_misfit(row as u32, &String::from_utf8_lossy(&token), to);
            }
        }
        Ok(array)
    }

    fn compare(&self, tokens: &StringViewArray, numbers: &ArrayRef) -> Result<ArrayRef> {
        let scale = match numbers.data_type() {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        };
        let numbers = cast(numbers, &DataType::Decimal128(38, scale))?;
        let numbers = numbers.as_primitive::<Decimal128Type>();
        let one = |row: usize| {
            if tokens.is_null(row) || numbers.is_null(row) {
                return None;
            }
            let token = tokens.value(row);
            let text = token::text(token);
            match number::parse(text.trim().as_bytes()) {
                Some(left) => {
                    let right = Exact { mantissa: numbers.value(row), exponent: -(scale as i64) };
                    Some(match left.compare(right) {
                        Ordering::Less => -1,
                        Ordering::Equal => 0,
                        Ordering::Greater => 1,
                    })
                }
                None => {
                    self.report("cast", row as u32, token, "is not a number");
                    None
                }
            }
        };
        Ok(Arc::new((0..tokens.len()).map(one).collect::<Int8Array>()))
    }

    fn parse(&self, texts: &StringViewArray) -> ArrayRef {
        let mut out = StringViewBuilder::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            match text {
                Some(text) if validate(text.as_bytes()).is_ok() => {
                    let token = text.trim_ascii();
                    out.append_option((token != "null").then_some(token));
                }
                Some(text) => {
                    self.report("cast", row as u32, text, "is not JSON");
                    out.append_null();
                }
                None => out.append_null(),
            }
        }
        Arc::new(out.finish())
    }
}

/// The names under which unary operators wait for the typer.
pub const NEGATE: &str = "__negate";
pub const NOT: &str = "__not";

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['I', 'A', 'E', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {noun}")
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// A member is called by its path: `orders.value.customer.id`.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let get = self.op == Op::Get;
        let parts: Vec<String> = arguments
            .iter()
            .map(|argument| match argument {
                Expr::Literal(name, _) if get => name.to_string(),
                other => other.schema_name().to_string(),
            })
            .collect();
        Ok(if get { parts.join(".") } else { format!("{}({})", self.name, parts.join(",")) })
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &self.op {
            Op::Cast(to) | Op::Exact(to) | Op::TextCast(to) | Op::RowCast(to) | Op::Quotient(to) => to.clone(),
            Op::Zone(zone) => DataType::Timestamp(TimeUnit::Microsecond, Some(zone.as_str().into())),
            Op::Compare => DataType::Int8,
            Op::Not => DataType::Boolean,
            Op::Negate => arguments.first().cloned().unwrap_or(DataType::Null),
            _ => DataType::Utf8View,
        })
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(match &self.op {
            Op::Get | Op::Norm | Op::Tag | Op::Parse | Op::Of | Op::Array | Op::Object(_) => json_field(&self.name),
            Op::Negate => match arguments.arg_fields.first() {
                Some(field) => field.as_ref().clone().with_name(&self.name),
                None => Field::new(&self.name, DataType::Null, true),
            },
            _ => Field::new(&self.name, self.return_type(&types)?, true),
        }))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = call.number_rows;
        let made = match &self.op {
            Op::Array => Some(compose(&call, None)?),
            Op::Object(names) => Some(compose(&call, Some(names.as_slice()))?),
            _ => None,
        };
        if let Some(made) = made {
            return Ok(ColumnarValue::Array(Arc::new(made)));
        }
        let Some(first) = call.args.first() else { return exec_err!("{} needs an argument", self.name) };
        let first = first.to_array(rows)?;
        let array: ArrayRef = match &self.op {
            Op::Text => Arc::new(view::texts(&as_views(&first))),
            Op::Cast(to) => self.converted(&first, to, Manner::Cast),
            Op::Exact(to) => self.converted(&first, to, Manner::Exact),
            Op::TextCast(to) => self.converted(&first, to, Manner::Text),
            Op::RowCast(to) => self.row_cast(&first, to)?,
            Op::Zone(zone) => {
                let instants = first.as_primitive::<TimestampMicrosecondType>().clone();
                Arc::new(instants.with_timezone(zone.as_str()))
            }
            Op::Compare => self.compare(&as_views(&first), &call.args[1].to_array(rows)?)?,
            Op::Quotient(to) => Arc::new(quotients(&first, &call.args[1].to_array(rows)?, to)?),
            Op::Norm => Arc::new(norm(&as_views(&first))),
            Op::Get => Arc::new(get(&as_views(&first), &call.args[1..], rows)?),
            Op::Tag => first,
            Op::Parse => self.parse(&as_views(&first)),
            Op::Of => Arc::new(of(&first, &call.arg_fields[0])),
            Op::Negate | Op::Not | Op::Array | Op::Object(_) => return exec_err!("{} was not typed", self.name),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Canonical tokens; the same views where all of them are canonical already.
pub fn norm(tokens: &StringViewArray) -> StringViewArray {
    let simple = |row: usize| tokens.is_null(row) || token::is_canonical(tokens.value(row).as_bytes());
    if (0..tokens.len()).all(simple) {
        return tokens.clone();
    }
    let mut out = StringViewBuilder::with_capacity(tokens.len());
    let mut canonical = Vec::new();
    for token in tokens {
        canonical.clear();
        token::canonical(token.unwrap_or_default().as_bytes(), &mut canonical);
        out.append_option(token.map(|_| String::from_utf8_lossy(&canonical)));
    }
    out.finish()
}

/// One step of a path: a member's name, or an element's index.
enum Step {
    Name(String),
    Index(i64),
}

fn step(path: &ArrayRef, row: usize) -> Option<Step> {
    let value = ScalarValue::try_from_array(path, row).ok()?;
    match value {
        ScalarValue::Utf8(name) | ScalarValue::LargeUtf8(name) | ScalarValue::Utf8View(name) => name.map(Step::Name),
        other => match other.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(index) => index.map(Step::Index),
            _ => None,
        },
    }
}

fn follow<'a>(token: &'a [u8], step: &Step) -> Option<&'a [u8]> {
    match step {
        Step::Name(name) => token::member(token, name),
        Step::Index(index) => token::element(token, *index),
    }
}

/// The part of every token at the end of a path.
fn get(tokens: &StringViewArray, path: &[ColumnarValue], rows: usize) -> Result<StringViewArray> {
    let mut current = tokens.clone();
    for part in path {
        let constant = matches!(part, ColumnarValue::Scalar(_));
        let steps = if constant { part.to_array(1)? } else { part.to_array(rows)? };
        let fixed = if constant { step(&steps, 0) } else { None };
        current = view::parts(&current, |row, token| {
            let found = if constant { follow(token, fixed.as_ref()?) } else { follow(token, &step(&steps, row)?) };
            found.filter(|token| *token != b"null")
        });
    }
    Ok(current)
}

fn of(values: &ArrayRef, field: &Field) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut token = Vec::new();
    for row in 0..values.len() {
        token.clear();
        token_of(values, field, row, &mut token);
        out.append_option((!values.is_null(row)).then(|| String::from_utf8_lossy(&token)));
    }
    out.finish()
}

/// One array, or one object with these member names, of each row's arguments.
fn compose(call: &ScalarFunctionArgs, names: Option<&[String]>) -> Result<StringViewArray> {
    let arrays = call.args.iter().map(|argument| argument.to_array(call.number_rows)).collect::<Result<Vec<_>>>()?;
    let (open, close) = if names.is_some() { (b'{', b'}') } else { (b'[', b']') };
    let mut out = StringViewBuilder::with_capacity(call.number_rows);
    let mut token = Vec::new();
    for row in 0..call.number_rows {
        token.clear();
        token.push(open);
        for (index, (array, field)) in arrays.iter().zip(&call.arg_fields).enumerate() {
            if index > 0 {
                token.push(b',');
            }
            if let Some(name) = names.and_then(|names| names.get(index)) {
                token::write_string(name, &mut token);
                token.push(b':');
            }
            token_of(array, field, row, &mut token);
        }
        token.push(close);
        out.append_value(String::from_utf8_lossy(&token));
    }
    Ok(out.finish())
}

/// A call of one of these functions.
pub fn call(op: Op, strict: bool, arguments: Vec<Expr>) -> Expr {
    let column = match arguments.first() {
        Some(Expr::Column(column)) => Some(column.name.clone()),
        _ => None,
    };
    let function = ScalarUDF::new_from_impl(JsonFunction::new(op, strict, column));
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), arguments))
}

/// The function that an expression calls, if it is one of these.
pub fn called(expr: &Expr) -> Option<&JsonFunction> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<JsonFunction>(),
        _ => None,
    }
}
