//! The headers of a record as one JSON object.
//!
//! A value is a string. Kafka's headers may repeat a name, be bytes that are no text, or have no value: several of a name become an
//! array, in order; bytes that are not UTF-8 an object `{"base64": "…"}`; no value is `null`.

use std::sync::Arc;

use serde_json::{Map, Value};
use syncline_functions::base64;

use super::queue::Record;

pub fn text(record: &Record) -> Option<Arc<str>> {
    let mut all = Map::new();
    record.headers(|name, value| add(&mut all, name, value));
    (!all.is_empty()).then(|| Value::Object(all).to_string().into())
}

fn add(all: &mut Map<String, Value>, name: &[u8], value: Option<&[u8]>) {
    let name = String::from_utf8_lossy(name).into_owned();
    let value = match value.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => serde_json::json!({ "base64": encoded(bytes) }),
    };
    match all.get_mut(&name) {
        None => drop(all.insert(name, value)),
        Some(Value::Array(several)) => several.push(value),
        Some(one) => *one = Value::Array(vec![one.take(), value]),
    }
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    base64::encode(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_has_its_place() {
        let mut all = Map::new();
        let given: [(&str, Option<&[u8]>); 6] = [
            ("id", Some(b"7")),
            ("tag", Some(b"a")),
            ("tag", Some(b"b")),
            ("tag", None),
            ("none", None),
            ("raw", Some(b"\xff\x00")),
        ];
        for (name, value) in given {
            add(&mut all, name.as_bytes(), value);
        }
        let text = Value::Object(all).to_string();
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = r#"{"id":"7","tag":["a","b",null],"none":null,"raw":{"base64":"/wA="}}"#;
        assert_eq!(read, serde_json::from_str::<Value>(expected).unwrap());
    }
}
