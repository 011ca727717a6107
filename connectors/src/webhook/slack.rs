//! Slack: `X-Slack-Signature: v0=` and the HMAC of `v0:TIMESTAMP:BODY` in hexadecimal digits, the timestamp from
//! `X-Slack-Request-Timestamp`, at most five minutes from now.
//!
//! An event is known by its `event_id`. Slack sends an event again when it got no answer, which is no proof that we have it:
//! only the id is. What has no id (a command, a button) is known by what was signed, which holds the moment. The question
//! `url_verification` is answered with its challenge, once it is verified like everything else.
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>

use serde_json::Value;
use syncline_record::Micros;

use super::{
    Answer, Delivery, Refusal, Request, Scheme, Verified,
    signature::{Keys, hex_tag, near, text, timestamp},
};
use crate::spec::{Arguments, Callable, ConnectorError, SECRET, TOLERANCE};

pub const CALL: Callable = Callable {
    name: "slack",
    help: "Slack's signature of the time and the body; event_id says which event it is, and url_verification is answered.",
    arguments: &[SECRET, TOLERANCE],
    example: "verify => slack(secret('slack/signing-secret'))",
};

const SIGNATURE: &str = "x-slack-signature";
const TIMESTAMP: &str = "x-slack-request-timestamp";
const PREFIX: &str = "v0=";

pub struct Slack {
    keys: Keys,
    tolerance: Micros,
}

impl Slack {
    pub fn new(arguments: &Arguments<'_>) -> Result<Self, ConnectorError> {
        Ok(Self { keys: Keys::of(arguments, text)?, tolerance: arguments.tolerance() })
    }
}

impl Scheme for Slack {
    fn name(&self) -> &'static str {
        CALL.name
    }

    fn signature_headers(&self) -> Vec<&str> {
        vec![SIGNATURE]
    }

    /// What a command is answered is said in the channel.
    fn is_quiet(&self) -> bool {
        true
    }

    fn verify(&self, request: &Request<'_>, now: Micros) -> Result<Verified, Refusal> {
        let signature =
            request.required(SIGNATURE)?.strip_prefix(PREFIX).and_then(hex_tag).ok_or(Refusal::Malformed)?;
        let written = request.required(TIMESTAMP)?;
        let signed = timestamp(written)?;
        if !self.keys.verify(&[b"v0:", written.as_bytes(), b":", request.body], &[signature]) {
            return Err(Refusal::Mismatch);
        }
        near(signed, now, self.tolerance)?;
        let event = Event::of(request.body);
        if let Some(challenge) = event.challenge {
            return Ok(Verified { delivery: None, answer: Answer::Reply(challenge) });
        }
        let delivery = match &event.id {
            Some(id) => Delivery::signed(id.as_bytes()),
            None => Delivery::signed(&signature),
        };
        Ok(Verified::keep(Some(delivery)))
    }
}

/// What the body says about itself, where it is JSON.
#[derive(Default)]
struct Event {
    id: Option<String>,
    challenge: Option<String>,
}

impl Event {
    fn of(body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Envelope {
            #[serde(default)]
            r#type: Value,
            #[serde(default)]
            challenge: Value,
            #[serde(default)]
            event_id: Value,
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else { return Self::default() };
        let text = |value: Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let asks = envelope.r#type == "url_verification";
        Self { id: text(envelope.event_id), challenge: text(envelope.challenge).filter(|_| asks) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::mutations::{hex, scheme};

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNED: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const THEN: i64 = 1_531_420_618;

    fn at(seconds: i64, body: &str) -> Result<Verified, Refusal> {
        let keys = Keys::of_texts(&[SECRET]);
        let then = THEN.to_string();
        let signature = format!("v0={}", hex(&keys.sign(&[b"v0:", then.as_bytes(), b":", body.as_bytes()])[0]));
        let headers = [("X-Slack-Signature", signature.as_str()), ("X-Slack-Request-Timestamp", &then)];
        let request = Request { headers: &&headers[..], body: body.as_bytes() };
        scheme("slack", &[SECRET], &[]).verify(&request, seconds * 1_000_000)
    }

    #[test]
    fn the_published_vector_verifies_at_its_time() {
        let headers = [("X-Slack-Signature", SIGNED), ("X-Slack-Request-Timestamp", "1531420618")];
        let request = Request { headers: &&headers[..], body: BODY.as_bytes() };
        let slack = scheme("slack", &[SECRET], &[]);
        let verified = slack.verify(&request, THEN * 1_000_000).unwrap();
        assert_eq!(verified.answer, Answer::Keep);
        assert_eq!(verified.delivery, Some(Delivery::signed(&hex_tag(&SIGNED[3..]).unwrap())));
        assert_eq!(slack.verify(&request, (THEN + 301) * 1_000_000), Err(Refusal::Stale));
        assert_eq!(slack.verify(&request, (THEN - 301) * 1_000_000), Err(Refusal::Future));
        let patient = scheme("slack", &[SECRET], &[("tolerance", "1 hour")]);
        assert!(patient.verify(&request, (THEN + 3_600) * 1_000_000).is_ok());
        assert_eq!(patient.verify(&request, (THEN + 3_601) * 1_000_000), Err(Refusal::Stale));
    }

    #[test]
    fn an_event_is_known_by_its_id_and_a_retry_is_the_same_one() {
        let first = at(THEN, r#"{"type":"event_callback","event_id":"Ev08","event":{"type":"message"}}"#);
        assert_eq!(first.unwrap().delivery, Some(Delivery::signed(b"Ev08")));
        assert_eq!(
            at(THEN, r#"{"event_id":"Ev08","retried":true}"#).unwrap().delivery,
            Some(Delivery::signed(b"Ev08"))
        );
    }

    #[test]
    fn the_challenge_is_answered_when_it_is_signed() {
        let asked = r#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
        assert_eq!(at(THEN, asked).unwrap().answer, Answer::Reply("3eZbrw1aB".to_owned()));
        assert_eq!(at(THEN + 301, asked), Err(Refusal::Stale));
        for other in [r#"{"challenge":"x","type":"event_callback"}"#, r#"{"type":"url_verification"}"#, "nope"] {
            assert_eq!(at(THEN, other).unwrap().answer, Answer::Keep, "{other}");
        }
    }
}
