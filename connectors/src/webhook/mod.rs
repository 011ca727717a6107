//! Who sent a request: signatures of webhooks.
//!
//! A provider and we share a secret; the provider signs the bytes of each body with it, and nobody else can. A [`Scheme`] knows
//! where a provider puts the signature and what it signs; the check itself is the same for all (`signature`). It is made on the
//! bytes as they came, before anything parses them. Whatever does not verify is refused with a reason that is for the operator
//! only: the sender learns nothing from it.
//!
//! A scheme also says which delivery this is, so that a provider that sends again what we have is told so and changes nothing.

use std::fmt;

use syncline_record::{Micros, keys::content_hash};

use crate::spec::{Arguments, Callable, ConnectorError};

pub mod github;
pub mod hmac_sha256;
pub mod signature;
pub mod slack;
pub mod standard_webhooks;

#[cfg(test)]
mod mutations;

/// The schemes that there are: one line each.
pub const SCHEMES: &[Callable] = &[github::CALL, hmac_sha256::CALL, slack::CALL, standard_webhooks::CALL];

/// The scheme of `verify => name(…)`.
pub fn scheme(name: &str, arguments: &Arguments<'_>) -> Result<Box<dyn Scheme>, ConnectorError> {
    Ok(match name {
        "github" => Box::new(github::GitHub::new(arguments)?),
        "hmac_sha256" => Box::new(hmac_sha256::HmacSha256::new(arguments)?),
        "slack" => Box::new(slack::Slack::new(arguments)?),
        "standard_webhooks" => Box::new(standard_webhooks::StandardWebhooks::new(arguments)?),
        _ => return Err(ConnectorError::NoSuchConnector { name: name.to_owned() }),
    })
}

/// How one provider signs. Called once for each request, from any thread.
pub trait Scheme: Send + Sync {
    /// The name that a pipeline file gives it.
    fn name(&self) -> &'static str;

    /// Headers, in lower case, that hold a signature: whoever can read what is kept must not be able to send it again.
    fn signature_headers(&self) -> Vec<&str>;

    /// Whether the provider shows the body of an answer to a person, so that there had better be none.
    fn is_quiet(&self) -> bool {
        false
    }

    /// Whether the holder of the secret sent this, at about this time.
    fn verify(&self, request: &Request<'_>, now: Micros) -> Result<Verified, Refusal>;
}

/// A request as it came.
pub struct Request<'r> {
    pub headers: &'r dyn HeaderValues,
    /// All bytes of the body, untouched.
    pub body: &'r [u8],
}

/// The headers of a request.
pub trait HeaderValues {
    /// The value of a header; its name is in lower case.
    fn value(&self, name: &str) -> Value<'_>;
}

/// How often a header was sent. Two different readers of a repeated one could each believe another, so it is never believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'h> {
    Absent,
    Once(&'h [u8]),
    Repeated,
}

impl HeaderValues for &[(&str, &str)] {
    fn value(&self, name: &str) -> Value<'_> {
        let mut values = self.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Value::Absent,
            (Some((_, value)), None) => Value::Once(value.as_bytes()),
            (Some(_), Some(_)) => Value::Repeated,
        }
    }
}

impl<'r> Request<'r> {
    /// A header that a signed request must have once.
    fn required(&self, name: &str) -> Result<&'r str, Refusal> {
        self.optional(name)?.ok_or(Refusal::Missing)
    }

    /// A header that may be absent.
    fn optional(&self, name: &str) -> Result<Option<&'r str>, Refusal> {
        match self.headers.value(name) {
            Value::Absent => Ok(None),
            Value::Once(value) => {
                std::str::from_utf8(value).map(|text| Some(text.trim())).map_err(|_| Refusal::Malformed)
            }
            Value::Repeated => Err(Refusal::Malformed),
        }
    }
}

/// A request that its provider sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which delivery it is, where the provider says so.
    pub delivery: Option<Delivery>,
    pub answer: Answer,
}

impl Verified {
    fn keep(delivery: Option<Delivery>) -> Self {
        Self { delivery, answer: Answer::Keep }
    }
}

/// What becomes of a verified request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds records.
    Keep,
    /// It only asks whether we are there: this text is the answer, and there is nothing to keep.
    Reply(String),
}

/// Which delivery a request is, as fingerprints: the provider repeats it when it sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    pub id: u128,
    /// Where the signature does not cover the id, somebody else could have put it beside a body that he saw once: then the body
    /// belongs to the identity. 0 where the id is signed.
    pub body: u64,
}

impl Delivery {
    /// An id that the signature covers.
    pub fn signed(id: &[u8]) -> Self {
        Self { id: content_hash(id), body: 0 }
    }

    /// An id that anybody can write beside a signed body.
    pub fn unsigned(id: &[u8], body: &[u8]) -> Self {
        // 0 stands for a body that does not matter.
        Self { id: content_hash(id), body: (content_hash(body) as u64).max(1) }
    }
}

/// Why a request does not count as its provider's. For the operator's counts only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A header that a signed request has is not there.
    Missing,
    /// A header is there twice, or is not of the scheme's form.
    Malformed,
    /// The signature is not that of this body under any of our secrets.
    Mismatch,
    /// Signed, but too long ago: a replay, or a clock that is wrong.
    Stale,
    /// Signed for a time to come.
    Future,
    /// The id of another delivery, beside this body.
    Replayed,
}

impl Refusal {
    pub const ALL: [Refusal; 6] =
        [Self::Missing, Self::Malformed, Self::Mismatch, Self::Stale, Self::Future, Self::Replayed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Replayed => "replayed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
