//! Column types: between SQL's words in a plan and Arrow's types in a batch.
//!
//! A plan says `DECIMAL(12, 2)`, `TIMESTAMP`, `JSON`; a batch has `Decimal128(12, 2)`, microseconds, tagged text. The words of
//! [`syncline_functions::sql_type_of`] are read back here; where several Arrow types share a word, the one that the decoder
//! makes is meant.

use datafusion::arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo};
use syncline_functions::{json_field, sql_type_of};

use crate::plan::{FieldPlan, TypePlan};

/// `TIMESTAMP`: an instant in UTC, in microseconds.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Most digits of a decimal.
const MOST_DIGITS: u64 = 38;

/// Columns that every record has beside its own: hidden, read by name.
pub const METADATA: [&str; 8] =
    ["_key", "_topic", "_partition", "_offset", "_timestamp", "_headers", "_source", "_ingested_at"];

/// The record's time, where no `SCHEMA` names another.
pub const RECORD_TIME: &str = "_timestamp";

/// The column that the arms of a `SHARD` have beside those: the id of a derived row.
pub const DERIVED_ID: &str = "_id";

/// A metadata column as a batch has it.
pub fn metadata_field(name: &str) -> Field {
    match name {
        "_headers" => json_field(name),
        "_offset" => Field::new(name, DataType::UInt64, true),
        "_partition" => Field::new(name, DataType::UInt32, true),
        "_timestamp" | "_ingested_at" => Field::new(name, TIMESTAMP, true),
        "_key" => Field::new(name, DataType::Binary, true),
        _ => Field::new(name, DataType::Utf8View, true),
    }
}

impl TypePlan {
    /// The word for the type of a column.
    pub fn of(field: &Field) -> Self {
        Self(sql_type_of(field))
    }

    pub fn json() -> Self {
        Self("JSON".to_owned())
    }

    /// A nullable column of this type; `None` when the word is not one of a plan.
    pub fn field(&self, name: &str) -> Option<Field> {
        if self.0 == "JSON" { Some(json_field(name)) } else { Some(Field::new(name, arrow_type(&self.0)?, true)) }
    }
}

impl FieldPlan {
    /// The field of a column that is there; `None` when its type has no word in a plan.
    pub fn of(field: &Field) -> Option<Self> {
        let kind = TypePlan::of(field);
        let same = kind.field(field.name())?.data_type() == field.data_type();
        same.then(|| Self { name: field.name().clone(), kind, not_null: false })
    }

    /// The column that the decoder makes of this field.
    pub fn field(&self) -> Option<Field> {
        Some(self.kind.field(&self.name)?.with_nullable(!self.not_null))
    }
}

/// The Arrow type of a word.
fn arrow_type(word: &str) -> Option<DataType> {
    if let Some(item) = word.strip_suffix("[]") {
        return Some(DataType::List(TypePlan(item.to_owned()).field("item")?.into()));
    }
    if let Some(members) = word.strip_prefix("STRUCT(").and_then(|rest| rest.strip_suffix(')')) {
        return Some(DataType::Struct(struct_members(members)?));
    }
    if let Some(digits) = word.strip_prefix("DECIMAL(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = digits.split_once(", ")?;
        let (precision, scale) = (precision.parse::<u8>().ok()?, scale.parse().ok()?);
        let wide = u64::from(precision) > MOST_DIGITS;
        return Some(if wide {
            DataType::Decimal256(precision, scale)
        } else {
            DataType::Decimal128(precision, scale)
        });
    }
    Some(match word {
        "NULL" => DataType::Null,
        "BOOLEAN" => DataType::Boolean,
        "TINYINT" => DataType::Int8,
        "SMALLINT" => DataType::Int16,
        "INT" => DataType::Int32,
        "BIGINT" => DataType::Int64,
        "TINYINT UNSIGNED" => DataType::UInt8,
        "SMALLINT UNSIGNED" => DataType::UInt16,
        "INT UNSIGNED" => DataType::UInt32,
        "BIGINT UNSIGNED" => DataType::UInt64,
        "REAL" => DataType::Float32,
        "DOUBLE" => DataType::Float64,
        "STRING" => DataType::Utf8View,
        "BYTES" => DataType::Binary,
        "TIMESTAMP" => TIMESTAMP,
        "DATE" => DataType::Date32,
        "TIME" => DataType::Time64(TimeUnit::Microsecond),
        "INTERVAL" => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

/// `name TYPE, name TYPE`: commas and spaces count outside of brackets only.
fn struct_members(text: &str) -> Option<Fields> {
    let mut members = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                members.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&text[start..]);
    let fields: Option<Vec<Field>> = members
        .into_iter()
        .map(|member| {
            let (name, word) = member.trim().split_once(' ')?;
            TypePlan(word.to_owned()).field(name)
        })
        .collect();
    Some(fields?.into())
}

/// The word for a type as a user writes it in a `SCHEMA`; `None` when no record can have it.
pub(crate) fn declared(written: &SqlType) -> Option<TypePlan> {
    Some(TypePlan(match written {
        SqlType::Array(ArrayElemTypeDef::AngleBracket(item) | ArrayElemTypeDef::Parenthesis(item))
        | SqlType::Array(ArrayElemTypeDef::SquareBracket(item, None)) => format!("{}[]", declared(item)?.0),
        SqlType::Decimal(digits) | SqlType::Dec(digits) | SqlType::Numeric(digits) => decimal(digits)?,
        other => plain(other)?.to_owned(),
    }))
}

fn plain(written: &SqlType) -> Option<&'static str> {
    Some(match written {
        SqlType::JSON | SqlType::JSONB => "JSON",
        SqlType::Bool | SqlType::Boolean => "BOOLEAN",
        SqlType::TinyInt(_) => "TINYINT",
        SqlType::SmallInt(_) | SqlType::Int2(_) => "SMALLINT",
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => "INT",
        SqlType::BigInt(_) | SqlType::Int8(_) => "BIGINT",
        SqlType::Real | SqlType::Float4 => "REAL",
        SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 => "DOUBLE",
        SqlType::String(_) | SqlType::Text | SqlType::Varchar(_) | SqlType::CharacterVarying(_) => "STRING",
        SqlType::Char(None) | SqlType::Character(None) => "STRING",
        SqlType::Bytea | SqlType::Bytes(_) => "BYTES",
        SqlType::Date => "DATE",
        SqlType::Timestamp(None | Some(6), TimezoneInfo::None | TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            "TIMESTAMP"
        }
        _ => return None,
    })
}

fn decimal(digits: &ExactNumberInfo) -> Option<String> {
    let (precision, scale) = match digits {
        // PostgreSQL's bare DECIMAL has any number of digits; the widest here with a scale for money and rates.
        ExactNumberInfo::None => (MOST_DIGITS, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, u64::try_from(*scale).ok()?),
    };
    ((1..=MOST_DIGITS).contains(&precision) && scale <= precision).then(|| format!("DECIMAL({precision}, {scale})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_back_as_the_type_that_it_came_from() {
        for word in [
            "NULL",
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "TINYINT UNSIGNED",
            "SMALLINT UNSIGNED",
            "INT UNSIGNED",
            "BIGINT UNSIGNED",
            "REAL",
            "DOUBLE",
            "STRING",
            "BYTES",
            "TIMESTAMP",
            "DATE",
            "TIME",
            "INTERVAL",
            "DECIMAL(12, 2)",
            "DECIMAL(38, 0)",
            "DECIMAL(50, 2)",
            "JSON",
            "JSON[]",
            "BIGINT[][]",
            "STRUCT(a BIGINT, b STRUCT(c DECIMAL(5, 1)[], d JSON))",
        ] {
            let field = TypePlan(word.to_owned()).field("x").expect(word);
            assert_eq!(TypePlan::of(&field).0, word);
        }
        assert_eq!(TypePlan("COLOUR".to_owned()).field("x"), None);
    }

    #[test]
    fn a_type_means_in_a_schema_what_it_means_in_a_cast() {
        let planner = syncline_functions::Planner::new();
        for written in [
            "BOOLEAN",
            "BOOL",
            "SMALLINT",
            "INT",
            "INTEGER",
            "BIGINT",
            "REAL",
            "DOUBLE",
            "DOUBLE PRECISION",
            "STRING",
            "TEXT",
            "VARCHAR",
            "TIMESTAMP",
            "DATE",
            "DECIMAL(12, 2)",
            "NUMERIC(5)",
            "BYTEA",
            "JSON",
        ] {
            let cast = planner.parse(&format!("CAST(NULL AS {written})")).expect(written);
            let sqlparser::ast::Expr::Cast { data_type, .. } = &cast else { panic!("{written}") };
            let typed = planner.expr(&cast, &datafusion::common::DFSchema::empty()).expect(written);
            assert_eq!(declared(data_type), Some(TypePlan::of(typed.field())), "{written}");
        }
    }

    #[test]
    fn what_no_record_can_have_is_no_type() {
        let planner = syncline_functions::Planner::new();
        for written in ["COLOUR", "DECIMAL(39, 2)", "DECIMAL(5, 6)", "INTERVAL", "TIME"] {
            let cast = planner.parse(&format!("CAST(NULL AS {written})")).expect(written);
            let sqlparser::ast::Expr::Cast { data_type, .. } = &cast else { panic!("{written}") };
            assert_eq!(declared(data_type), None, "{written}");
        }
    }
}
