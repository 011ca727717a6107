//! What a column of a table keeps, and which types of rows may go into it.
//!
//! Rows whose type can never be right are refused before the first one is written. JSON may be anything, so each of its values is
//! looked at when it comes.

use arrow::datatypes::{DataType, Field, TimeUnit};
use syncline_functions::is_json;

/// Kinds of columns, as far as their values are treated alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Int {
        least: i64,
        most: i64,
    },
    /// `places` after the point; negative ones are zeros before it. None: as many as come.
    Number {
        places: Option<i64>,
    },
    /// Four bytes or eight.
    Real {
        wide: bool,
    },
    Bool,
    /// Text of a fixed width, where blanks at the end do not count.
    Padded,
    Text,
    /// JSON, as text or not.
    Json,
    Bytes,
    /// With so many digits of a second.
    Instant {
        digits: u32,
    },
    Date,
    Time,
    Uuid,
    Enum,
    Array(Box<Kind>),
    /// Of another type, which reads texts.
    Named,
}

/// A type as the server's catalog has it, domains taken off.
pub struct Type<'a> {
    pub oid: u32,
    /// Length, precision and scale, in the type's own way; -1 for none.
    pub modifier: i32,
    pub category: &'a str,
    /// Of an array, the type of what is in it.
    pub element: u32,
    pub element_category: &'a str,
}

/// Digits of a second that an instant has, if its type does not say fewer.
const MICROSECONDS: u32 = 6;
/// What a modifier of NUMERIC is above its precision and scale.
const NUMERIC_BASE: i32 = 4;

impl Kind {
    pub fn of(found: &Type) -> Self {
        if found.category == "A" {
            let element = Type {
                oid: found.element,
                modifier: found.modifier,
                category: found.element_category,
                element: 0,
                element_category: "",
            };
            return Self::Array(Box::new(Self::of(&element)));
        }
        match found.oid {
            16 => Self::Bool,
            17 => Self::Bytes,
            20 => Self::Int { least: i64::MIN, most: i64::MAX },
            21 => Self::Int { least: i16::MIN.into(), most: i16::MAX.into() },
            23 => Self::Int { least: i32::MIN.into(), most: i32::MAX.into() },
            25 | 1043 => Self::Text,
            114 | 3802 => Self::Json,
            700 => Self::Real { wide: false },
            701 => Self::Real { wide: true },
            1042 => Self::Padded,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 | 1184 => Self::Instant { digits: u32::try_from(found.modifier).unwrap_or(MICROSECONDS) },
            1700 => Self::Number { places: places(found.modifier) },
            2950 => Self::Uuid,
            _ if found.category == "E" => Self::Enum,
            _ => Self::Named,
        }
    }

    /// Whether rows of this type can go in; else what to cast them to, where that helps.
    pub fn takes(&self, field: &Field) -> Result<(), Option<&'static str>> {
        use DataType::*;
        let from = field.data_type();
        let text = matches!(from, Utf8 | LargeUtf8 | Utf8View);
        let bytes = matches!(from, Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
        let list = matches!(from, List(_) | LargeList(_) | FixedSizeList(..));
        let decimal = matches!(from, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..));
        let number = from.is_integer() || decimal || from.is_floating() || matches!(from, Duration(_));
        if is_json(field) {
            return if *self == Self::Bytes { Err(None) } else { Ok(()) };
        }
        let (fits, cast) = match self {
            Self::Int { .. } => (from.is_integer(), Some("BIGINT")),
            Self::Number { .. } => (number, Some("DECIMAL")),
            Self::Real { wide: true } => (number, Some("DOUBLE")),
            Self::Real { wide: false } => (from.is_integer() || *from == Float32, Some("REAL")),
            Self::Bool => (*from == Boolean, Some("BOOLEAN")),
            Self::Text | Self::Padded => (!bytes, None),
            Self::Json => (true, None),
            Self::Bytes => (bytes, None),
            Self::Instant { .. } => (matches!(from, Timestamp(..)), Some("TIMESTAMP")),
            Self::Date => (matches!(from, Date32 | Date64), Some("DATE")),
            Self::Time => (matches!(from, Time32(_) | Time64(_)), Some("TIME")),
            Self::Uuid | Self::Enum | Self::Named => (text, Some("STRING")),
            Self::Array(element) => (list && **element != Self::Bytes, None),
        };
        if fits { Ok(()) } else { Err(cast) }
    }

    /// Whether equal values have one spelling here, so that versions can be kept by it.
    pub fn is_one_spelling(&self) -> bool {
        !matches!(self, Self::Json | Self::Bytes | Self::Time | Self::Named | Self::Array(_))
    }
}

fn places(modifier: i32) -> Option<i64> {
    let stored = modifier.checked_sub(NUMERIC_BASE).filter(|stored| *stored >= 0)?;
    // Eleven bits with a sign.
    Some(i64::from(((stored & 0x7ff) ^ 0x400) - 0x400))
}

/// The type of a column of a table that is made for these rows.
pub fn declared(field: &Field) -> String {
    use DataType::*;
    let scalar = match field.data_type() {
        _ if is_json(field) => "jsonb",
        Boolean => "boolean",
        Int8 | Int16 | UInt8 => "smallint",
        Int32 | UInt16 => "integer",
        Int64 | UInt32 => "bigint",
        UInt64 => "numeric(20)",
        Decimal128(precision, scale) | Decimal256(precision, scale) => return format!("numeric({precision},{scale})"),
        Float16 | Float32 => "real",
        Float64 => "double precision",
        Timestamp(unit, _) if *unit == TimeUnit::Second => "timestamp(0) with time zone",
        Timestamp(..) => "timestamp with time zone",
        Date32 | Date64 => "date",
        Time32(_) | Time64(_) => "time",
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "bytea",
        List(element) | LargeList(element) | FixedSizeList(element, _) => {
            // Arrays of the server cannot hold others of different lengths.
            let flat =
                !element.data_type().is_nested() && !matches!(element.data_type(), Binary | LargeBinary | BinaryView);
            return if flat { format!("{}[]", declared(element)) } else { "jsonb".to_owned() };
        }
        Struct(_) => "jsonb",
        Duration(_) => "numeric",
        _ => "text",
    };
    scalar.to_owned()
}

#[cfg(test)]
mod tests {
    use syncline_functions::json_field;

    use super::*;

    fn kind(oid: u32, modifier: i32) -> Kind {
        Kind::of(&Type { oid, modifier, category: "", element: 0, element_category: "" })
    }

    #[test]
    fn modifiers_say_how_many_digits_are_kept() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(kind(1700, numeric(12, 2)), Kind::Number { places: Some(2) });
        assert_eq!(kind(1700, numeric(5, -2)), Kind::Number { places: Some(-2) });
        assert_eq!(kind(1700, -1), Kind::Number { places: None });
        assert_eq!(kind(1184, -1), Kind::Instant { digits: 6 });
        assert_eq!(kind(1114, 0), Kind::Instant { digits: 0 });
    }

    #[test]
    fn what_can_never_be_right_is_told_with_its_cast() {
        let field = |data_type: DataType| Field::new("a", data_type, true);
        let int = kind(23, -1);
        assert_eq!(int.takes(&field(DataType::Int64)), Ok(()));
        assert_eq!(int.takes(&json_field("a")), Ok(()));
        assert_eq!(int.takes(&field(DataType::Utf8)), Err(Some("BIGINT")));
        assert_eq!(int.takes(&field(DataType::Decimal128(12, 2))), Err(Some("BIGINT")));
        assert_eq!(kind(700, -1).takes(&field(DataType::Float64)), Err(Some("REAL")));
        assert_eq!(kind(17, -1).takes(&json_field("a")), Err(None));
        assert_eq!(kind(2950, -1).takes(&field(DataType::Utf8View)), Ok(()));
    }
}
