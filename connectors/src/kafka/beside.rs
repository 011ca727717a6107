//! What stands beside a record: its headers and its time, out of the columns `_headers` and `_timestamp` of a row.
//!
//! A source shows them under these names, so a row that selects them hands them on. Headers are one JSON object, written as `headers`
//! reads it: a text is a value, an array several of one name, `{"base64": "…"}` bytes, `null` no value; anything else is its JSON text.

use arrow::{
    array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray},
    datatypes::Field,
};
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Map, Value};
use syncline_functions::{base64, token_of};
use syncline_record::Reason;

const HEADERS: &str = "_headers";
const TIME: &str = "_timestamp";

/// The columns, and the types that they may have.
pub const COLUMNS: &[(&str, &[&str])] = &[(HEADERS, &["JSON", "STRING", "STRUCT"]), (TIME, &["TIMESTAMP"])];

/// Their names.
pub const NAMES: [&str; 2] = [HEADERS, TIME];

/// Names and values, in order.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// The two columns of some rows, as far as they are there.
pub struct Beside<'a> {
    headers: Option<(&'a ArrayRef, &'a Field)>,
    times: Option<&'a TimestampMicrosecondArray>,
}

impl<'a> Beside<'a> {
    pub fn of(rows: &'a RecordBatch) -> Self {
        let headers = rows.schema_ref().column_with_name(HEADERS);
        let times = rows.column_by_name(TIME).and_then(|times| times.as_any().downcast_ref());
        // The schema lives as long as its rows.
        Self { headers: headers.map(|(index, field)| (rows.column(index), field)), times }
    }

    /// None where there are none.
    pub fn headers(&self, row: usize) -> Result<Headers, Reason> {
        let Some((column, field)) = self.headers.filter(|(column, _)| column.is_valid(row)) else { return Ok(vec![]) };
        let mut token = vec![];
        token_of(column, field, row, &mut token);
        of_token(&token)
    }

    /// Milliseconds since 1970; none: the client's own time.
    pub fn time(&self, row: usize) -> Result<Option<i64>, Reason> {
        let Some(times) = self.times.filter(|times| times.is_valid(row)) else { return Ok(None) };
        match times.value(row).div_euclid(1000) {
            // The client takes zero for "now".
            before @ ..=0 => {
                Err(Reason::new("timestamp", format!("{TIME} is {before} ms after 1970, and a record's time is later")))
            }
            milliseconds => Ok(Some(milliseconds)),
        }
    }
}

/// As the client takes them.
pub fn owned(headers: &Headers) -> OwnedHeaders {
    let all = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(all, |all, (name, value)| all.insert(Header { key: name.as_str(), value: value.as_ref() }))
}

fn of_token(token: &[u8]) -> Result<Headers, Reason> {
    let wrong = || Reason::new("headers", format!("{HEADERS} is no JSON object: {}", String::from_utf8_lossy(token)));
    let object = match serde_json::from_slice::<Value>(token).map_err(|_| wrong())? {
        // A text that holds one.
        Value::String(text) => serde_json::from_str::<Map<String, Value>>(&text).map_err(|_| wrong())?,
        Value::Object(object) => object,
        _ => return Err(wrong()),
    };
    let mut headers = vec![];
    for (name, value) in object {
        match value {
            Value::Array(several) => {
                for one in several {
                    headers.push((name.clone(), value_of(&name, one)?));
                }
            }
            one => headers.push((name.clone(), value_of(&name, one)?)),
        }
    }
    Ok(headers)
}

fn value_of(name: &str, value: Value) -> Result<Option<Vec<u8>>, Reason> {
    Ok(match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        Value::Object(object) if object.len() == 1 && object.contains_key("base64") => {
            let bytes = object["base64"].as_str().and_then(|text| base64::decode(text.as_bytes()));
            let wrong = || Reason::new("headers", format!("header {name} is no base64: {}", object["base64"]));
            Some(bytes.ok_or_else(wrong)?)
        }
        other => Some(other.to_string().into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &str) -> String {
        let value = |value: Option<Vec<u8>>| match value {
            None => "none".to_owned(),
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        match of_token(token.as_bytes()) {
            Ok(headers) => headers
                .into_iter()
                .map(|(name, bytes)| format!("{name}={}", value(bytes)))
                .collect::<Vec<_>>()
                .join(" "),
            Err(reason) => format!("{}: {}", reason.slug, reason.detail),
        }
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        let read = r#"{"id":"7","none":null,"raw":{"base64":"YWI="},"tag":["a","b",null]}"#;
        assert_eq!(shown(read), "id=7 none=none raw=ab tag=a tag=b tag=none");
        assert_eq!(
            shown(r#"{"n":12345678901234567890.10,"o":{"a":[1]},"t":true}"#),
            r#"n=12345678901234567890.10 o={"a":[1]} t=true"#
        );
        assert_eq!(shown(r#""{\"a\":\"b\"}""#), "a=b");
        assert_eq!(shown("{}"), "");
    }

    #[test]
    fn what_are_no_headers_is_said() {
        assert_eq!(shown("[1]"), "headers: _headers is no JSON object: [1]");
        assert_eq!(shown(r#""x""#), r#"headers: _headers is no JSON object: "x""#);
        assert_eq!(shown(r#"{"a":{"base64":"*"}}"#), r#"headers: header a is no base64: "*""#);
        assert_eq!(shown(r#"{"a":{"base64":1}}"#), "headers: header a is no base64: 1");
    }
}
