//! What the fields of sampled records are: the narrowest kind that holds for all of them, written as its widest exact type.
//!
//! | all values are | type |
//! |---|---|
//! | `true`, `false` | BOOLEAN |
//! | whole numbers of 64 bits | BIGINT |
//! | other exact numbers, of up to 38 digits | DECIMAL(38, most digits after a point) |
//! | any other numbers | DOUBLE |
//! | texts of days; of instants, or both | DATE; TIMESTAMP |
//! | other texts | STRING |
//! | objects, arrays, or of several kinds | JSON; in a text format STRING |
//!
//! In a text format every value is text, so what looks like a number is one, except with leading zeros: those are codes. In JSON a
//! string is a text even where it holds a number.

use std::collections::HashMap;

use crate::{
    csv::{self, Dialect, Header},
    instant, number, scan, token,
};

/// Most digits of a DECIMAL.
const DIGITS: i64 = 38;

/// What one value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    /// Digits before and after the point.
    Decimal(i64, i64),
    Double,
    Date,
    Instant,
    Text,
    Document,
}

impl Kind {
    /// The narrowest kind that both are; `mixed` where they have none in common.
    fn join(self, other: Self, mixed: Self) -> Self {
        use Kind::*;
        match (self, other) {
            (one, other) if one == other => one,
            (Decimal(whole, after), Decimal(others, other)) => Decimal(whole.max(others), after.max(other)),
            (Decimal(whole, after), Integer) | (Integer, Decimal(whole, after)) => Decimal(whole.max(19), after),
            (Double, Integer | Decimal(..)) | (Integer | Decimal(..), Double) => Double,
            (Date, Instant) | (Instant, Date) => Instant,
            (Date | Instant | Text, Date | Instant | Text) => Text,
            _ => mixed,
        }
    }

    fn of_number(text: &[u8]) -> Option<Self> {
        if !number::is_number(text) {
            return None;
        }
        let exponent = text.iter().any(|byte| matches!(byte, b'e' | b'E'));
        let Some(exact) = number::parse(text).filter(|_| !exponent) else { return Some(Self::Double) };
        let after = text.iter().position(|byte| *byte == b'.').map_or(0, |point| (text.len() - point - 1) as i64);
        match exact.whole() {
            Some(whole) if after == 0 && i64::try_from(whole).is_ok() => Some(Self::Integer),
            _ => {
                let before = text.iter().take_while(|byte| **byte != b'.').filter(|byte| byte.is_ascii_digit()).count();
                Some(Self::Decimal(before as i64, after))
            }
        }
    }

    fn of_time(text: &[u8]) -> Option<Self> {
        instant::parse(text)?;
        let day = !text.iter().any(|byte| matches!(byte, b'T' | b't' | b' ' | b':'));
        Some(if day { Self::Date } else { Self::Instant })
    }

    fn of_token(token: &[u8]) -> Self {
        match token.first() {
            Some(b't' | b'f') => Self::Boolean,
            Some(b'{' | b'[') => Self::Document,
            Some(b'"') => token::body(token).and_then(Self::of_time).unwrap_or(Self::Text),
            _ => Self::of_number(token).unwrap_or(Self::Text),
        }
    }

    fn of_text(text: &[u8]) -> Self {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let code = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
        let signed = text.first() == Some(&b'+');
        if text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false") {
            return Self::Boolean;
        }
        if code || signed {
            return Self::Text;
        }
        Self::of_number(text).or_else(|| Self::of_time(text)).unwrap_or(Self::Text)
    }

    fn sql(self) -> String {
        match self {
            Self::Boolean => "BOOLEAN".into(),
            Self::Integer => "BIGINT".into(),
            Self::Decimal(whole, after) if whole + after <= DIGITS => format!("DECIMAL({DIGITS}, {after})"),
            Self::Decimal(..) | Self::Double => "DOUBLE".into(),
            Self::Date => "DATE".into(),
            Self::Instant => "TIMESTAMP".into(),
            Self::Text => "STRING".into(),
            Self::Document => "JSON".into(),
        }
    }
}

/// Looks at records one after the other.
#[derive(Debug, Default)]
pub struct Survey {
    columns: Vec<Column>,
    index: HashMap<String, usize>,
    records: u64,
    text: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Option<Kind>,
    /// Records in which it has a value.
    filled: u64,
}

/// A column as it would be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    pub name: String,
    /// SQL's word for its type.
    pub sql: String,
    /// It has a value in every record.
    pub not_null: bool,
}

impl Survey {
    pub fn records(&self) -> u64 {
        self.records
    }

    /// A JSON object. False when it is none; then it does not count.
    pub fn json(&mut self, record: &[u8]) -> bool {
        let record = record.trim_ascii();
        if record.first() != Some(&b'{') || std::str::from_utf8(record).is_err() || scan::check(record).is_err() {
            return false;
        }
        self.records += 1;
        let mut seen: Vec<usize> = Vec::new();
        for (name, token) in token::members(record) {
            let column = self.column(&token::unescape(name));
            // Of two equal names the last one counts, and a record fills a column once.
            let again = seen.contains(&column);
            seen.push(column);
            let kind = (token != b"null").then(|| Kind::of_token(token));
            self.fill(column, kind, again);
        }
        true
    }

    /// A CSV record. False when it has not as many fields as the header, or is none.
    pub fn csv(&mut self, header: &Header, record: &[u8], dialect: &Dialect) -> bool {
        let mut cells = Vec::new();
        if csv::cells(record, dialect, &mut cells).is_err() || cells.len() != header.len() {
            return false;
        }
        if std::str::from_utf8(record).is_err() {
            return false;
        }
        (self.records, self.text) = (self.records + 1, true);
        for (name, cell) in header.iter().zip(cells) {
            let column = self.column(name);
            let kind = (!dialect.is_null(record, cell)).then(|| Kind::of_text(&csv::text(record, cell, dialect)));
            self.fill(column, kind, false);
        }
        true
    }

    fn column(&mut self, name: &str) -> usize {
        if let Some(column) = self.index.get(name) {
            return *column;
        }
        self.columns.push(Column { name: name.to_owned(), kind: None, filled: 0 });
        self.index.insert(name.to_owned(), self.columns.len() - 1);
        self.columns.len() - 1
    }

    fn fill(&mut self, column: usize, kind: Option<Kind>, again: bool) {
        let mixed = if self.text { Kind::Text } else { Kind::Document };
        let column = &mut self.columns[column];
        let Some(kind) = kind else { return };
        column.filled += u64::from(!again);
        column.kind = Some(column.kind.map_or(kind, |before| before.join(kind, mixed)));
    }

    /// The columns in the order in which they were met.
    pub fn columns(&self) -> Vec<Surveyed> {
        let unknown = if self.text { Kind::Text } else { Kind::Document };
        let surveyed = self.columns.iter().map(|column| Surveyed {
            name: column.name.clone(),
            sql: column.kind.unwrap_or(unknown).sql(),
            not_null: column.filled == self.records,
        });
        surveyed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(survey: &Survey) -> Vec<String> {
        let null = |not_null: bool| if not_null { " NOT NULL" } else { "" };
        survey
            .columns()
            .iter()
            .map(|column| format!("{} {}{}", column.name, column.sql, null(column.not_null)))
            .collect()
    }

    #[test]
    fn types_hold_for_all_values_and_are_as_wide_as_they_are_exact() {
        let mut survey = Survey::default();
        for record in [
            r#"{"i": 1, "d": 1.5, "big": 12345678901234567890, "e": 1e3, "s": "9.50", "t": "2026-11-20T10:00:00Z", "b": true}"#,
            r#"{"i": -7, "d": 12, "big": 1, "e": 2, "s": "x", "t": "2026-11-20", "b": null, "o": {"a": 1}, "m": 1, "n": null}"#,
            r#"{"i": 0, "d": 100.125, "big": 0, "e": 0, "s": "", "t": "2026-11-20 10:00", "b": false, "o": [], "m": "1"}"#,
            "not json",
        ] {
            assert_eq!(survey.json(record.as_bytes()), record.starts_with('{'));
        }
        assert_eq!(
            shown(&survey),
            [
                "i BIGINT NOT NULL",
                "d DECIMAL(38, 3) NOT NULL",
                "big DECIMAL(38, 0) NOT NULL",
                "e DOUBLE NOT NULL",
                "s STRING NOT NULL",
                "t TIMESTAMP NOT NULL",
                "b BOOLEAN",
                "o JSON",
                "m JSON",
                "n JSON",
            ]
        );
        assert_eq!(survey.records(), 3);
    }

    #[test]
    fn texts_are_what_they_look_like_but_codes_stay_texts() {
        let dialect = Dialect::default();
        let header = dialect.names(b"id,zip,day,at,flag,money,mixed,empty,wide").unwrap();
        let mut survey = Survey::default();
        for record in [
            "1,00501,2026-01-02,2026-01-02 03:04:05,TRUE,1.50,1,,1234567890123456789012345678901234567.123",
            "-2,10001,2026-01-03,2026-01-02T03:04:05.25+01:00,false,-0.125,x,,1",
            "3,2",
            "\"4\",99999,\"2026-01-04\",,false,7,,,1",
        ] {
            survey.csv(&header, record.as_bytes(), &dialect);
        }
        assert_eq!(
            shown(&survey),
            [
                "id BIGINT NOT NULL",
                "zip STRING NOT NULL",
                "day DATE NOT NULL",
                "at TIMESTAMP",
                "flag BOOLEAN NOT NULL",
                "money DECIMAL(38, 3) NOT NULL",
                "mixed STRING",
                "empty STRING",
                "wide DOUBLE NOT NULL",
            ]
        );
    }

    #[test]
    fn whatever_is_surveyed_is_taken_by_the_type_that_comes_out() {
        use crate::convert::{Manner, convert};
        let texts =
            ["0", "-1", "1.25", "2026-01-02", "2026-01-02T00:00:00Z", "true", "x", "1e5", "99999999999999999999"];
        for one in texts {
            for other in texts {
                let mut survey = Survey::default();
                let header = Dialect::default().names(b"a").unwrap();
                assert!([one, other].iter().all(|text| survey.csv(&header, text.as_bytes(), &Dialect::default())));
                let to = match survey.columns()[0].sql.as_str() {
                    "BIGINT" => arrow::datatypes::DataType::Int64,
                    "DOUBLE" => arrow::datatypes::DataType::Float64,
                    "DATE" => arrow::datatypes::DataType::Date32,
                    "TIMESTAMP" => crate::sqltype::TIMESTAMP,
                    "BOOLEAN" => arrow::datatypes::DataType::Boolean,
                    "STRING" => arrow::datatypes::DataType::Utf8View,
                    decimal => {
                        let scale =
                            decimal.strip_prefix("DECIMAL(38, ").unwrap().trim_end_matches(')').parse().unwrap();
                        arrow::datatypes::DataType::Decimal128(38, scale)
                    }
                };
                let values = arrow::array::StringViewArray::from(vec![one, other]);
                assert_eq!(convert(&values, &to, Manner::Field).bad, [0u32; 0], "{one} {other} {to}");
            }
        }
    }
}
