//! `http('/path')`: what a path under `/in/` takes, and from whom.
//!
//! The server writes what it takes into a topic of the log before it answers ([`ingest`](crate::ingest)), and a pipeline reads
//! that topic ([`LogSource`](crate::LogSource)). Here is only what the pipeline file says about the path.

use std::sync::Arc;

use syncline_record::{Micros, amount::Rate};

use crate::{
    registry::connector,
    spec::{Args, Argument, ArgumentKind, Arguments, ConnectorError},
    webhook::{self, SCHEMES, Scheme},
};

const fn optional(name: &'static str, kind: ArgumentKind, help: &'static str, example: &'static str) -> Argument {
    Argument { name, kind, required: false, positional: false, help, example }
}

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "path",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The path under /in/ that takes the records.",
        example: "'/orders'",
    },
    optional(
        "verify",
        ArgumentKind::Call(SCHEMES),
        "How to know that a request comes from whom it should: whatever does not verify is refused.",
        "github(secret('github/webhook'))",
    ),
    optional("max_body", ArgumentKind::Size, "The longest body: 16 MiB, if not said; 64 MiB at most.", "'1 MB'"),
    optional(
        "rate_limit",
        ArgumentKind::Rate,
        "How many requests it takes in a time; more are asked to come later.",
        "'100 per second'",
    ),
    optional(
        "remember",
        ArgumentKind::Duration,
        "How long a delivery is known when it is sent again: 3 days, if not said.",
        "'1 day'",
    ),
];

/// The longest body, if not said. Larger loads are better sent as several requests: each is kept whole or not at all.
pub const BODY: usize = 16 << 20;
/// The longest that can be said: a quarter of the memory that the server has for bodies.
pub const LONGEST_BODY: usize = 64 << 20;
/// GitHub sends again what is at most three days old; nobody else that we know later than that.
const REMEMBER: Micros = 3 * 24 * 3600 * 1_000_000;

/// A path as its pipelines declare it.
#[derive(Clone)]
pub struct HttpPath {
    /// Without slashes at its ends.
    pub path: String,
    pub verify: Option<Arc<dyn Scheme>>,
    pub max_body: usize,
    pub rate_limit: Option<Rate>,
    pub remember: Micros,
}

impl HttpPath {
    /// A path that takes from anybody.
    pub fn open(path: &str) -> Self {
        let path = path.trim_matches('/').to_owned();
        Self { path, verify: None, max_body: BODY, rate_limit: None, remember: REMEMBER }
    }

    pub fn new(args: &Args) -> Result<Self, ConnectorError> {
        let arguments = Arguments::checked(connector("http")?, args)?;
        let verify = match arguments.value("verify") {
            None => None,
            Some(call) => {
                let (callable, args) = Arguments::of_call("verify", SCHEMES, call)?;
                let arguments = Arguments::of(callable.name, callable.arguments, &args)?;
                Some(webhook::scheme(callable.name, &arguments)?.into())
            }
        };
        let max_body = arguments.size("max_body").map_or(BODY, |size| size.try_into().unwrap_or(usize::MAX));
        if max_body > LONGEST_BODY {
            let found = arguments.text("max_body").to_owned();
            return Err(ConnectorError::WrongType {
                connector: "http".into(),
                argument: "max_body",
                wanted: format!("at most {} MiB", LONGEST_BODY >> 20),
                found,
            });
        }
        let remember = arguments.duration("remember").unwrap_or(REMEMBER);
        Ok(Self {
            verify,
            max_body,
            rate_limit: arguments.rate("rate_limit"),
            remember,
            ..Self::open(arguments.text("path"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(named: &[(&str, serde_json::Value)]) -> Result<HttpPath, String> {
        let named = named.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        HttpPath::new(&Args { positional: vec![json!("/orders/")], named }).map_err(|error| error.to_string())
    }

    fn told(path: Result<HttpPath, String>) -> String {
        path.err().unwrap_or_default()
    }

    #[test]
    fn a_path_says_who_may_send_and_how_much() {
        let path = with(&[
            ("verify", json!({"function": "GitHub", "positional": ["s"]})),
            ("max_body", json!("25 MB")),
            ("rate_limit", json!("100 per second")),
            ("remember", json!("1 hour")),
        ]);
        let path = path.unwrap();
        assert_eq!(path.verify.map(|scheme| scheme.name()), Some("github"));
        assert_eq!((path.path.as_str(), path.max_body, path.remember), ("orders", 25_000_000, 3_600_000_000));
        assert_eq!(path.rate_limit, Some(Rate { count: 100, per: 1_000_000 }));
        let open = with(&[]).unwrap();
        assert_eq!((open.verify.is_none(), open.max_body, open.rate_limit), (true, BODY, None));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(
            told(with(&[("max_body", json!("65 MiB"))])),
            "`max_body` of `http` is at most 64 MiB; `65 MiB` is given"
        );
        assert_eq!(told(with(&[("max_body", json!("big"))])), "`max_body` of `http` is size; `\"big\"` is given");
        assert_eq!(told(with(&[("verify", json!("github"))])), "`verify` of `http` is call; `\"github\"` is given");
        let unsaid = json!({"function": "github", "positional": [7]});
        assert_eq!(told(with(&[("verify", unsaid)])), "`secret` of `github` is secret; `…` is given");
    }
}
