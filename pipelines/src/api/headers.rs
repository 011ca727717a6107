//! What records keep of the headers that they came with: one JSON object, without credentials and without what belongs to the
//! connection rather than to the record.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName};
use serde_json::Value;
use syncline_record::batch::COLUMNS;

/// Anyone who may read the log or a dead letter must not get these from it.
const CREDENTIALS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-gitlab-token",
];

/// What the record of a retried dead letter has, and no other: whoever sends it does not get it kept.
pub const RETRY: &str = "syncline-retry";

/// Hop by hop (RFC 9110 §7.6.1), and the length of the body.
const OF_THE_CONNECTION: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "http2-settings",
];

/// The JSON text, with names in lower case and in order; several headers of one name are joined as HTTP joins them. `without`:
/// names that are left out too.
pub fn text(headers: &HeaderMap, without: &[&str]) -> String {
    let listed: Vec<String> = headers
        .get_all("connection")
        .iter()
        .flat_map(|value| {
            latin1(value.as_bytes()).split(',').map(|name| name.trim().to_lowercase()).collect::<Vec<_>>()
        })
        .collect();
    let is_kept = |name: &&str| {
        let left_out =
            [&CREDENTIALS[..], &OF_THE_CONNECTION, &[RETRY, COLUMNS], without].iter().any(|names| names.contains(name));
        !left_out && !listed.iter().any(|hop| hop == name)
    };
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).filter(is_kept).collect();
    names.sort_unstable();
    // Written piece by piece: every request brings some, and a map of them costs an allocation for each name and value.
    let mut text = String::from("{");
    for name in names {
        if text.len() > 1 {
            text.push(',');
        }
        push_string(&mut text, name);
        text.push(':');
        let mut values = headers.get_all(name).iter().map(|value| latin1(value.as_bytes()));
        match (values.next(), values.next()) {
            (Some(only), None) => push_string(&mut text, &only),
            (first, second) => {
                let all: Vec<Cow<'_, str>> = first.into_iter().chain(second).chain(values).collect();
                push_string(&mut text, &all.join(", "));
            }
        }
    }
    text.push('}');
    text
}

/// Appends a text as JSON.
fn push_string(text: &mut String, value: &str) {
    match value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        true => {
            text.push('"');
            text.push_str(value);
            text.push('"');
        }
        false => text.push_str(&Value::from(value).to_string()),
    }
}

/// Values are UTF-8 by custom; what is not is taken byte by byte, so that nothing is lost.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| *byte as char).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn credentials_and_the_connection_s_own_headers_are_left_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("X-GitHub-Delivery", &b"d-1"[..]),
            ("authorization", b"Bearer s3cret"),
            ("cookie", b"session=s3cret"),
            ("connection", b"keep-alive, X-Hop"),
            ("x-hop", b"1"),
            ("x-tag", b"a"),
            ("x-tag", b"b \"c\""),
            ("x-odd", b"\xe9"),
            ("x-utf8", "ü".as_bytes()),
            ("content-length", b"7"),
            ("x-signature", b"s3cret"),
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(
            text(&headers, &["x-signature"]),
            r#"{"x-github-delivery":"d-1","x-odd":"é","x-tag":"a, b \"c\"","x-utf8":"ü"}"#
        );
    }
}
