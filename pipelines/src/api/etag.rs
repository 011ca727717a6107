//! Entity tags (RFC 9110 §8.8, §13): a resource that did not change need not be sent again, and one that did is not overwritten by
//! somebody who has not seen it.
//!
//! A tag is a hash of the bytes that are sent: the same bytes, the same tag, in every process.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use syncline_record::keys;
use utoipa::{
    IntoResponses,
    openapi::{RefOr, Response as Documented, ResponseBuilder},
};

use crate::outcome::Failure;

/// 304, among a route's `responses(…)`.
pub struct Unchanged;

impl IntoResponses for Unchanged {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let response = ResponseBuilder::new().description("It is still what `If-None-Match` names").build();
        BTreeMap::from([("304".to_owned(), response.into())])
    }
}

/// A strong tag, with its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("\"{}\"", keys::hex128(keys::content_hash(bytes))))
    }

    /// The tag of a resource as [`answer`] sends it.
    pub fn of_value(value: &impl Serialize) -> Self {
        Self::of(&serde_json::to_vec(value).unwrap_or_default())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("\"\""))
    }
}

/// A single resource with its tag; 304 without a body when the asker has it already (`If-None-Match`).
pub fn answer(asked: &HeaderMap, value: &impl Serialize) -> Response {
    sent(asked, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// The same for bytes of another kind.
pub fn sent(asked: &HeaderMap, kind: &'static str, bytes: Vec<u8>) -> Response {
    let tag = ETag::of(&bytes);
    // The asker's copies are compared weakly (§13.1.2): a proxy may have made `W/"…"` of our tag.
    let has_it = named(asked, header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag.0));
    let mut response = match has_it {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, kind)], Body::from(bytes)).into_response(),
    };
    response.headers_mut().insert(header::ETAG, tag.header());
    response
}

/// The slug of a change that was refused for its conditions.
pub const FAILED: &str = "precondition-failed";

/// On what a change depends: taken from its request, and looked at where nothing can come between the look and the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    matches: Option<Vec<String>>,
    none_match: Option<Vec<String>>,
}

impl Conditions {
    pub fn of(asked: &HeaderMap) -> Self {
        Self { matches: named(asked, header::IF_MATCH), none_match: named(asked, header::IF_NONE_MATCH) }
    }

    /// Refuses a change when what is there is not what the asker has seen: `If-Match` names none of its tags, or it asks that none be
    /// there (`If-None-Match: *`) and one is. `current`: the tag of what is there, if anything is; `place`: where it can be seen.
    pub fn hold(&self, current: Option<&ETag>, place: &str) -> Result<(), Failure> {
        if let Some(tags) = &self.matches {
            // Strongly (§13.1.1): a weak tag says nothing about the bytes.
            let matches = current.is_some_and(|current| tags.iter().any(|known| known == "*" || *known == current.0));
            if !matches {
                return Err(changed("it is not the version that If-Match names", current, place));
            }
        }
        if let Some(tags) = &self.none_match {
            let there = current.is_some_and(|current| {
                tags.iter().any(|known| known == "*" || known.trim_start_matches("W/") == current.0)
            });
            if there {
                return Err(changed("it is there already, and If-None-Match asks that it is not", current, place));
            }
        }
        Ok(())
    }
}

fn changed(title: &str, current: Option<&ETag>, place: &str) -> Failure {
    let failure = Failure::failed(FAILED, title);
    match current {
        Some(current) => failure.seen(format!("what is there has the tag {}", current.0)).help(format!(
            "GET {place}, look at what has changed, and send the change again with the ETag of that answer"
        )),
        None => failure.seen("there is none").help("leave If-Match out, or send `If-None-Match: *`, to make it"),
    }
}

/// The tags of a header; `None` where it is not there. What is no tag matches nothing.
fn named(headers: &HeaderMap, name: HeaderName) -> Option<Vec<String>> {
    let mut tags = vec![];
    for value in headers.get_all(&name) {
        // Our tags have no comma in them.
        tags.extend(String::from_utf8_lossy(value.as_bytes()).split(',').map(|tag| tag.trim().to_owned()));
    }
    headers.contains_key(&name).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_the_asker_has_is_not_sent_again() {
        let tag = ETag::of_value(&"a");
        let ask = |value: &str| answer(&headers(&[(header::IF_NONE_MATCH, value)]), &"a").status().as_u16();
        let weak = format!("W/{}", tag.as_str());
        assert_eq!([ask(tag.as_str()), ask(&weak), ask("*"), ask("\"b\"")], [304, 304, 304, 200]);
        assert_eq!(ask(&format!("\"b\", {}", tag.as_str())), 304);
        let response = answer(&HeaderMap::new(), &"a");
        assert_eq!(
            (response.status().as_u16(), response.headers()[header::ETAG].to_str().unwrap()),
            (200, tag.as_str())
        );
    }

    #[test]
    fn a_change_of_what_somebody_else_has_changed_is_refused() {
        let tag = ETag::of(b"a");
        let weak = format!("W/{}", tag.as_str());
        for (name, value, current, allowed) in [
            (header::IF_MATCH, tag.as_str(), Some(&tag), true),
            (header::IF_MATCH, "*", Some(&tag), true),
            (header::IF_MATCH, "*", None, false),
            (header::IF_MATCH, weak.as_str(), Some(&tag), false),
            (header::IF_MATCH, "\"b\"", Some(&tag), false),
            (header::IF_MATCH, tag.as_str(), None, false),
            (header::IF_NONE_MATCH, "*", None, true),
            (header::IF_NONE_MATCH, "*", Some(&tag), false),
        ] {
            let result = Conditions::of(&headers(&[(name.clone(), value)])).hold(current, "/v1/a");
            assert_eq!(result.is_ok(), allowed, "{name}: {value} of {current:?}");
        }
        let none = Conditions::of(&HeaderMap::new());
        assert!(none == Conditions::default());
        assert!(none.hold(None, "/v1/a").is_ok() && none.hold(Some(&tag), "/v1/a").is_ok());
    }
}
