//! A signed request of every scheme, and everything that can be done to it: each of the twelve mutations is refused by each.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{
    Delivery, HeaderValues, Refusal, Request, SCHEMES, Scheme, Value,
    signature::{Keys, Tag},
};
use crate::spec::{Arguments, ConnectorError};

fn made(name: &str, secrets: &[&str], named: &[(&str, &str)]) -> Result<Box<dyn Scheme>, ConnectorError> {
    let mut call = Map::from_iter([("function".to_owned(), json!(name))]);
    let secret = if secrets.len() == 1 { json!(secrets[0]) } else { json!(secrets) };
    call.insert("positional".into(), json!([secret]));
    call.extend(named.iter().map(|(name, value)| (name.to_string(), json!(value))));
    let call = Json::Object(call);
    let (callable, args) = Arguments::of_call("verify", SCHEMES, &call)?;
    super::scheme(callable.name, &Arguments::of(callable.name, callable.arguments, &args)?)
}

pub fn scheme(name: &str, secrets: &[&str], named: &[(&str, &str)]) -> Box<dyn Scheme> {
    made(name, secrets, named).unwrap_or_else(|error| panic!("{error}"))
}

/// Why a scheme cannot be made.
pub fn refused(name: &str, secrets: &[&str], named: &[(&str, &str)]) -> String {
    made(name, secrets, named).err().map(|error| error.to_string()).unwrap_or_default()
}

pub fn hex(tag: &Tag) -> String {
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(tag: &Tag) -> String {
    let mut text = vec![];
    syncline_functions::base64::encode(tag, &mut text);
    String::from_utf8(text).unwrap()
}

const NOW: i64 = 1_795_168_800;
const BODY: &str = r#"{"b": 1, "a": [1.50, "x"]}"#;
/// The same value as another program would print it.
const REPRINTED: &str = r#"{"a":[1.5,"x"],"b":1}"#;
/// Base64, so that every scheme takes it.
const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A sender: what it puts into which header.
struct Sender {
    scheme: &'static str,
    arguments: &'static [(&'static str, &'static str)],
    signature: &'static str,
    timestamp: Option<&'static str>,
    id: Option<&'static str>,
    sign: fn(secret: &str, id: &str, time: &str, body: &str) -> String,
}

fn tag(secret: &[u8], signed: String) -> Tag {
    Keys::of_bytes(&[secret.to_vec()]).sign(&[signed.as_bytes()])[0]
}

const SENDERS: [Sender; 4] = [
    Sender {
        scheme: "github",
        arguments: &[],
        signature: "x-hub-signature-256",
        timestamp: None,
        id: Some("x-github-delivery"),
        sign: |secret, _, _, body| format!("sha256={}", hex(&tag(secret.as_bytes(), body.to_owned()))),
    },
    Sender {
        scheme: "slack",
        arguments: &[],
        signature: "x-slack-signature",
        timestamp: Some("x-slack-request-timestamp"),
        id: None,
        sign: |secret, _, time, body| format!("v0={}", hex(&tag(secret.as_bytes(), format!("v0:{time}:{body}")))),
    },
    Sender {
        scheme: "standard_webhooks",
        arguments: &[],
        signature: "webhook-signature",
        timestamp: Some("webhook-timestamp"),
        id: Some("webhook-id"),
        sign: |secret, id, time, body| {
            let key = syncline_functions::base64::decode(secret.as_bytes()).unwrap();
            format!("v1,{}", base64(&tag(&key, format!("{id}.{time}.{body}"))))
        },
    },
    Sender {
        scheme: "hmac_sha256",
        arguments: &[("header", "X-Signature"), ("prefix", "hmac "), ("timestamp", "X-Time"), ("id", "X-Id")],
        signature: "x-signature",
        timestamp: Some("x-time"),
        id: Some("x-id"),
        sign: |secret, _, time, body| format!("hmac {}", hex(&tag(secret.as_bytes(), format!("{time}.{body}")))),
    },
];

/// A request in the making.
#[derive(Clone)]
struct Post {
    headers: Vec<(String, String)>,
    body: String,
}

impl HeaderValues for Post {
    fn value(&self, name: &str) -> Value<'_> {
        let texts: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match ((&texts[..]).value(name), texts.iter().find(|(found, _)| *found == name)) {
            (Value::Once(_), Some((_, value))) => Value::Once(value.as_bytes()),
            (Value::Repeated, _) => Value::Repeated,
            _ => Value::Absent,
        }
    }
}

impl Post {
    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.and(name, value)
    }

    fn and(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    fn saying(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }
}

impl Sender {
    fn post(&self, secret: &str, time: i64) -> Post {
        let (id, time) = ("d-1", time.to_string());
        let mut post = Post { headers: vec![], body: BODY.to_owned() };
        post = post.with(self.signature, (self.sign)(secret, id, &time, BODY));
        if let Some(name) = self.timestamp {
            post = post.with(name, time);
        }
        if let Some(name) = self.id {
            post = post.with(name, id);
        }
        post
    }

    fn judged(&self, post: &Post) -> Result<Option<Delivery>, Refusal> {
        let request = Request { headers: post, body: post.body.as_bytes() };
        let scheme = scheme(self.scheme, &[SECRET], self.arguments);
        scheme.verify(&request, NOW * 1_000_000).map(|verified| verified.delivery)
    }

    /// Every mutation by its name. What a scheme does not have (a timestamp, hexadecimal digits) cannot be changed in it.
    fn mutations(&self) -> BTreeMap<&'static str, Post> {
        let good = self.post(SECRET, NOW);
        let signature = good.headers[0].1.clone();
        let bare = signature.split_once(['=', ',', ' ']).map_or("", |(_, bare)| bare).to_owned();
        let other = &SENDERS.iter().find(|other| other.scheme != self.scheme).unwrap().post(SECRET, NOW).headers[0].1;
        let mut all = BTreeMap::from([
            ("body +1 byte", good.clone().saying(&format!("{BODY} "))),
            ("re-serialised JSON", good.clone().saying(REPRINTED)),
            ("prefix missing", good.clone().with(self.signature, bare)),
            ("wrong secret", self.post(OTHER, NOW)),
            ("truncated signature", good.clone().with(self.signature, &signature[..signature.len() - 4])),
            ("empty signature", good.clone().with(self.signature, "")),
            ("no signature", good.clone().without(self.signature)),
            ("two headers", good.clone().and(self.signature, signature.clone())),
            ("signature of another provider", good.clone().with(self.signature, other.clone())),
        ]);
        if let Some(time) = self.timestamp {
            all.insert("timestamp +301 s", self.post(SECRET, NOW + 301));
            all.insert("timestamp -301 s", self.post(SECRET, NOW - 301));
            all.insert("timestamp moved", good.clone().with(time, (NOW + 1).to_string()));
            all.insert("timestamp not a number", good.clone().with(time, "now"));
            all.insert("no timestamp", good.clone().without(time));
        }
        all
    }
}

#[test]
fn what_is_signed_verifies_and_each_mutation_is_refused_for_its_own_reason() {
    for sender in &SENDERS {
        assert!(sender.judged(&sender.post(SECRET, NOW)).is_ok(), "{}", sender.scheme);
        for edge in [NOW - 300, NOW + 300] {
            assert!(sender.judged(&sender.post(SECRET, edge)).is_ok(), "{} at {edge}", sender.scheme);
        }
        for (name, post) in sender.mutations() {
            let expected = match name {
                "prefix missing" | "truncated signature" | "empty signature" | "two headers" => Refusal::Malformed,
                "signature of another provider" | "timestamp not a number" => Refusal::Malformed,
                "no signature" | "no timestamp" => Refusal::Missing,
                "timestamp +301 s" => Refusal::Future,
                "timestamp -301 s" => Refusal::Stale,
                _ => Refusal::Mismatch,
            };
            assert_eq!(sender.judged(&post), Err(expected), "{}: {name}", sender.scheme);
        }
    }
}

#[test]
fn hexadecimal_digits_may_be_of_either_case() {
    for sender in SENDERS.iter().filter(|sender| sender.scheme != "standard_webhooks") {
        let good = sender.post(SECRET, NOW);
        let (prefix, digits) = good.headers[0].1.split_once(['=', ' ']).unwrap();
        let at = prefix.len() + 1;
        let upper = format!("{}{}", &good.headers[0].1[..at], digits.to_uppercase());
        assert!(sender.judged(&good.clone().with(sender.signature, upper)).is_ok(), "{}", sender.scheme);
    }
}

/// The id of another delivery beside a signed body: where the id is signed it does not verify, where it is not the two together
/// are no delivery that we know.
#[test]
fn a_replayed_id_is_never_taken_for_the_delivery_that_had_it() {
    for sender in SENDERS.iter() {
        let Some(name) = sender.id else { continue };
        let good = sender.judged(&sender.post(SECRET, NOW)).unwrap().unwrap();
        match sender.judged(&sender.post(SECRET, NOW).with(name, "d-2")) {
            Err(refusal) => assert_eq!((sender.scheme, refusal), ("standard_webhooks", Refusal::Mismatch)),
            Ok(delivery) => assert_ne!(delivery.unwrap(), good, "{}", sender.scheme),
        }
        let mut other = sender.post(SECRET, NOW).saying("{}");
        other = other.with(sender.signature, (sender.sign)(SECRET, "d-1", &NOW.to_string(), "{}"));
        let other = sender.judged(&other).unwrap().unwrap();
        assert_eq!(other.id, good.id, "{}", sender.scheme);
        assert_eq!(other.body == good.body, sender.scheme == "standard_webhooks", "{}", sender.scheme);
    }
}

#[test]
fn either_of_two_secrets_verifies_while_one_replaces_the_other() {
    for sender in &SENDERS {
        let both = scheme(sender.scheme, &[SECRET, OTHER], sender.arguments);
        for secret in [SECRET, OTHER] {
            let post = sender.post(secret, NOW);
            let request = Request { headers: &post, body: post.body.as_bytes() };
            assert!(both.verify(&request, NOW * 1_000_000).is_ok(), "{}", sender.scheme);
        }
    }
}

#[test]
fn every_scheme_is_mutated_here_and_shows_an_example_of_itself() {
    for callable in SCHEMES {
        assert!(SENDERS.iter().any(|sender| sender.scheme == callable.name), "{}", callable.name);
        assert!(callable.example.starts_with(&format!("verify => {}(", callable.name)), "{}", callable.example);
    }
    assert_eq!(
        refused("gitlab", &["x"], &[]),
        "`verify` has no `gitlab`; it has github, hmac_sha256, slack, standard_webhooks"
    );
    assert_eq!(refused("hmac_sha256", &["x"], &[]), "`hmac_sha256` wants `header`");
    assert_eq!(refused("github", &["x"], &[("heder", "y")]), "`github` has no argument `heder`; it has secret");
    assert_eq!(
        refused("hmac_sha256", &["x"], &[("header", "y"), ("encoding", "hexa")]),
        "`encoding` of `hmac_sha256` is one of hex, base64; `\"hexa\"` is given"
    );
}
