//! Values as texts that the server reads by the type of their column, and the reasons why a column cannot keep one as it is.
//!
//! The server itself would round a number to the column's digits, take `now` for a time and forget the offset of an instant. What is
//! given to it has one meaning, and is kept whole or not at all.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Field},
};
use serde_json::value::RawValue;
use syncline_functions::{instant_of, is_json, token_of, write_date, write_instant};
use syncline_record::Reason;

use super::kind::Kind;
use crate::version::{Decimal, number_part, string, text_part};

/// How much of a value a reason shows.
const SHOWN: usize = 80;

/// Names of numbers that are none.
const NO_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text of a value; none for NULL.
pub fn text(column: &ArrayRef, field: &Field, kind: &Kind, row: usize) -> Result<Option<String>, Reason> {
    if column.is_null(row) || is_null_token(column, field, row) {
        return Ok(None);
    }
    let written = match (column.data_type(), kind) {
        (DataType::Utf8View, _) if is_json(field) => of_token(kind, column.as_string_view().value(row)),
        (DataType::Utf8View, Kind::Text) => Ok(column.as_string_view().value(row).to_owned()),
        (_, Kind::Bytes) => Ok(hex(bytes(column, row))),
        (data_type, _) => {
            let mut token = Vec::new();
            token_of(column, field, row, &mut token);
            let token = String::from_utf8_lossy(&token);
            match data_type.is_floating() && NO_NUMBERS.contains(&token.trim_matches('"')) && *kind != Kind::Json {
                true => Ok(token.trim_matches('"').to_owned()),
                false => of_token(kind, &token),
            }
        }
    };
    let checked = written.and_then(|text| match text.contains('\0') {
        true => Err("has a NUL character, which PostgreSQL cannot keep".to_owned()),
        false => Ok(text),
    });
    checked.map(Some).map_err(|wrong| {
        let mut token = Vec::new();
        token_of(column, field, row, &mut token);
        let shown = shown(&String::from_utf8_lossy(&token));
        Reason::new("constraint", format!("{}: `{shown}` {wrong}", field.name()))
    })
}

fn is_null_token(column: &ArrayRef, field: &Field, row: usize) -> bool {
    is_json(field) && column.as_string_view_opt().is_some_and(|tokens| tokens.value(row) == "null")
}

fn shown(token: &str) -> String {
    match token.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &token[..end]),
        None => token.to_owned(),
    }
}

fn bytes(column: &ArrayRef, row: usize) -> &[u8] {
    match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        DataType::BinaryView => column.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row),
        _ => &[],
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

type Written = Result<String, String>;

/// A JSON token as a column of this kind takes it; else what is wrong with it.
fn of_token(kind: &Kind, token: &str) -> Written {
    match kind {
        Kind::Json => Ok(token.to_owned()),
        Kind::Text | Kind::Padded | Kind::Enum | Kind::Named => Ok(string_of(token)),
        Kind::Uuid => uuid(&string_of(token)).ok_or_else(|| "is no UUID".to_owned()),
        Kind::Int { least, most } => {
            let whole = number(token)?.1.whole().ok_or_else(|| "is no whole number".to_owned())?;
            match (i128::from(*least)..=i128::from(*most)).contains(&whole) {
                true => Ok(whole.to_string()),
                false => Err(format!("is not between {least} and {most}, as the column's type wants it")),
            }
        }
        Kind::Number { places } => {
            let (text, number) = number(token)?;
            match places {
                Some(places) if number.places() > *places => {
                    Err(format!("has more digits after the point than the {places} that the column keeps"))
                }
                _ => Ok(text),
            }
        }
        Kind::Real { wide } => {
            let (text, number) = number(token)?;
            let nearest = match wide {
                true => text.parse::<f64>().ok().filter(|near| near.is_finite()).map(|near| format!("{near:e}")),
                false => text.parse::<f32>().ok().filter(|near| near.is_finite()).map(|near| format!("{near:e}")),
            };
            match nearest.and_then(|near| Decimal::parse(&near)) {
                Some(near) if near == number => Ok(text),
                _ => Err("has more digits than a floating-point column keeps".to_owned()),
            }
        }
        Kind::Bool => match &*string_of(token) {
            word @ ("true" | "false") => Ok(word.to_owned()),
            _ => Err("is neither true nor false".to_owned()),
        },
        Kind::Instant { digits } => instant(token, *digits),
        Kind::Date => date(token),
        Kind::Time => match string_token(token) {
            Some(text) if text.as_bytes().first().is_some_and(u8::is_ascii_digit) => Ok(text),
            _ => Err("is no time of day".to_owned()),
        },
        Kind::Bytes => Err("is no binary value".to_owned()),
        Kind::Array(element) => array(element, token),
    }
}

/// Strings without their quotes, all others as they are.
fn string_of(token: &str) -> String {
    string_token(token).unwrap_or_else(|| token.to_owned())
}

fn string_token(token: &str) -> Option<String> {
    token.starts_with('"').then(|| string(token).into_owned())
}

/// A number, or a string that is one.
fn number(token: &str) -> Result<(String, Decimal), String> {
    let text = string_of(token);
    let number = Decimal::parse(&text).ok_or_else(|| "is no number".to_owned())?;
    Ok((text, number))
}

fn instant(token: &str, digits: u32) -> Written {
    let micros = string_token(token).and_then(|text| instant_of(text.as_bytes()));
    let Some(micros) = micros else { return Err("is no instant".to_owned()) };
    if micros % 10i64.pow(6u32.saturating_sub(digits)) != 0 {
        return Err(format!("has more digits of a second than the {digits} that the column keeps"));
    }
    let mut text = Vec::new();
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    write_instant(seconds, micros as u32 * 1_000, &mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn date(token: &str) -> Written {
    let text = string_token(token).filter(|text| text.len() == "2026-11-20".len());
    let micros = text.and_then(|text| instant_of(text.as_bytes()));
    let Some(micros) = micros else { return Err("is no date".to_owned()) };
    let mut text = Vec::new();
    write_date(micros.div_euclid(86_400_000_000), &mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// As the server writes one: of its spellings there is only this.
fn uuid(text: &str) -> Option<String> {
    let digits: String = text.trim_start_matches('{').trim_end_matches('}').replace('-', "").to_ascii_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// `{"a",NULL}`, each element as its kind wants it.
fn array(element: &Kind, token: &str) -> Written {
    let elements: Vec<&RawValue> = serde_json::from_str(token).map_err(|_| "is no list".to_owned())?;
    let mut text = String::from("{");
    for (index, raw) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match raw.get() {
            "null" => text.push_str("NULL"),
            nested if nested.starts_with('[') && *element != Kind::Json => text.push_str(&array(element, nested)?),
            token => {
                text.push('"');
                for letter in
                    of_token(element, token).map_err(|wrong| format!("holds {}, which {wrong}", shown(token)))?.chars()
                {
                    if matches!(letter, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(letter);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    Ok(text)
}

/// Adds a part of a key: equal exactly where the table takes the values as one.
pub fn key_part(kind: &Kind, text: &str, out: &mut Vec<u8>) {
    match kind {
        Kind::Int { .. } | Kind::Number { .. } | Kind::Real { .. } => number_part(text, out),
        Kind::Padded => text_part(text.trim_end_matches(' ').as_bytes(), out),
        _ => text_part(text.as_bytes(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: Kind = Kind::Int { least: i32::MIN as i64, most: i32::MAX as i64 };

    fn told(kind: &Kind, tokens: &[(&str, &str)]) {
        for (token, expected) in tokens {
            let found = of_token(kind, token);
            assert_eq!(
                found.as_ref().map_or_else(|wrong| wrong.as_str(), String::as_str),
                *expected,
                "{kind:?} {token}"
            );
        }
    }

    #[test]
    fn numbers_are_kept_whole_or_refused() {
        let refused = "is not between -2147483648 and 2147483647, as the column's type wants it";
        told(
            &INT,
            &[("7", "7"), (r#""007""#, "7"), ("1e2", "100"), ("1.0", "1"), ("-0", "0"), ("2147483648", refused)],
        );
        told(&INT, &[("1.5", "is no whole number"), (r#"" 7""#, "is no number"), ("true", "is no number")]);
        let two = Kind::Number { places: Some(2) };
        let more = "has more digits after the point than the 2 that the column keeps";
        told(
            &two,
            &[("9.50", "9.50"), ("9.999", more), ("9.990", "9.990"), ("1e-3", more), (r#""NaN""#, "is no number")],
        );
        told(&Kind::Number { places: Some(-2) }, &[("1200", "1200"), ("0", "0")]);
        assert!(of_token(&Kind::Number { places: Some(-2) }, "1250").is_err());
        let wide = "has more digits than a floating-point column keeps";
        told(&Kind::Real { wide: true }, &[("0.1", "0.1"), ("12345678901234567890.5", wide), ("1e400", wide)]);
        told(&Kind::Real { wide: false }, &[("0.5", "0.5"), ("16777217", wide)]);
    }

    #[test]
    fn times_have_one_meaning() {
        let instant = Kind::Instant { digits: 6 };
        told(
            &instant,
            &[
                (r#""2026-11-20T10:00:00+02:00""#, "2026-11-20T08:00:00Z"),
                (r#""2026-11-20 10:00""#, "2026-11-20T10:00:00Z"),
                (r#""now""#, "is no instant"),
                ("20261120", "is no instant"),
            ],
        );
        let whole = Kind::Instant { digits: 0 };
        told(
            &whole,
            &[(r#""2026-11-20T10:00:00.5Z""#, "has more digits of a second than the 0 that the column keeps")],
        );
        told(
            &Kind::Date,
            &[(r#""2026-11-20""#, "2026-11-20"), (r#""today""#, "is no date"), (r#""2026-11-31""#, "is no date")],
        );
        told(&Kind::Time, &[(r#""10:00""#, "10:00"), (r#""allballs""#, "is no time of day")]);
    }

    #[test]
    fn texts_lists_and_others_are_what_they_say() {
        told(&Kind::Text, &[(r#""a\"b""#, "a\"b"), ("9.50", "9.50"), (r#"{"a": 1}"#, r#"{"a": 1}"#)]);
        told(&Kind::Bool, &[("true", "true"), (r#""false""#, "false"), ("1", "is neither true nor false")]);
        told(&Kind::Uuid, &[(r#""A0EEBC99-9C0B4EF8BB6D6BB9BD380A11""#, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]);
        let texts = Kind::Array(Box::new(Kind::Text));
        told(
            &texts,
            &[(r#"["a", "b\"c\\", null, 7]"#, r#"{"a","b\"c\\",NULL,"7"}"#), ("[]", "{}"), ("7", "is no list")],
        );
        let numbers = Kind::Array(Box::new(INT));
        told(
            &numbers,
            &[("[[1, 2], [3, 4]]", r#"{{"1","2"},{"3","4"}}"#), (r#"["x"]"#, "holds \"x\", which is no number")],
        );
        told(&Kind::Array(Box::new(Kind::Json)), &[(r#"[[1], {"a": "b"}]"#, r#"{"[1]","{\"a\": \"b\"}"}"#)]);
    }

    #[test]
    fn keys_are_equal_where_the_table_takes_them_as_one() {
        let key = |kind: &Kind, text: &str| {
            let mut key = Vec::new();
            key_part(kind, text, &mut key);
            key
        };
        let number = Kind::Number { places: None };
        assert_eq!(key(&number, "1.50"), key(&number, "1.5"));
        assert_eq!(key(&Kind::Padded, "ab "), key(&Kind::Padded, "ab"));
        assert_ne!(key(&Kind::Text, "ab "), key(&Kind::Text, "ab"));
    }
}
