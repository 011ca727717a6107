//! Any provider that signs with HMAC-SHA-256: the arguments say where the signature stands, how it is written and what it covers.
//!
//! Without `timestamp` the body is signed. With it, `signed` says what is, and whatever it names comes from the request:
//! `{timestamp}`, `{body}`, and `{id}`, the header that `id` names. A timestamp that the signature does not cover would prove
//! nothing, so it has to be in `signed`.

use syncline_record::Micros;

use super::{
    Delivery, Refusal, Request, Scheme, Verified,
    signature::{Keys, Tag, base64_tag, hex, hex_tag, near, text, timestamp},
};
use crate::spec::{Argument, ArgumentKind, Arguments, Callable, ConnectorError, SECRET, TOLERANCE};

const HEX: &str = "hex";
const BASE64: &str = "base64";
const TEXT: &str = "text";

const fn named(name: &'static str, kind: ArgumentKind, help: &'static str, example: &'static str) -> Argument {
    Argument { name, kind, required: false, positional: false, help, example }
}

pub const CALL: Callable = Callable {
    name: "hmac_sha256",
    help: "HMAC-SHA-256 of the body, or of what `signed` says, in a header of your choice.",
    arguments: &[
        SECRET,
        Argument {
            required: true,
            ..named("header", ArgumentKind::Text, "The header with the signature.", "'X-Signature'")
        },
        named(
            "encoding",
            ArgumentKind::Choice(&[HEX, BASE64]),
            "How the signature is written: hex, if not said.",
            "'base64'",
        ),
        named("prefix", ArgumentKind::Text, "What stands before the signature in its header.", "'sha256='"),
        named(
            "key_encoding",
            ArgumentKind::Choice(&[TEXT, HEX, BASE64]),
            "How the secret is written: text, if not said.",
            "'base64'",
        ),
        named(
            "timestamp",
            ArgumentKind::Text,
            "The header with the time of signing, in seconds since 1970.",
            "'X-Timestamp'",
        ),
        TOLERANCE,
        named(
            "signed",
            ArgumentKind::Text,
            "What is signed, with {timestamp}, {id} and {body}: '{timestamp}.{body}' where there is a timestamp, else '{body}'.",
            "'v0:{timestamp}:{body}'",
        ),
        named("id", ArgumentKind::Text, "The header that says which delivery it is.", "'X-Delivery-Id'"),
    ],
    example: "verify => hmac_sha256(secret('shop/webhook'), header => 'X-Signature', encoding => 'base64')",
};

/// A piece of what is signed.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Timestamp,
    Id,
    Body,
}

pub struct HmacSha256 {
    keys: Keys,
    header: String,
    prefix: String,
    tag: fn(&str) -> Option<Tag>,
    timestamp: Option<String>,
    tolerance: Micros,
    signed: Vec<Piece>,
    id: Option<String>,
}

impl HmacSha256 {
    pub fn new(arguments: &Arguments<'_>) -> Result<Self, ConnectorError> {
        let keys = match arguments.text("key_encoding") {
            HEX => Keys::of(arguments, |secret| hex(secret.trim()).ok_or("it is not hexadecimal")),
            BASE64 => Keys::of(arguments, |secret| {
                syncline_functions::base64::decode(secret.trim().as_bytes()).ok_or("it is not base64")
            }),
            _ => Keys::of(arguments, text),
        }?;
        let header = |name| Some(arguments.text(name).to_lowercase()).filter(|header| !header.is_empty());
        let (timestamp, id) = (header("timestamp"), header("id"));
        let signed = match (arguments.text("signed"), &timestamp) {
            ("", None) => "{body}",
            ("", Some(_)) => "{timestamp}.{body}",
            (written, _) => written,
        };
        let pieces = pieces(signed);
        let bad = |detail| ConnectorError::BadTemplate { written: signed.to_owned(), detail };
        let covers = |piece| pieces.contains(&piece);
        if !covers(Piece::Body) {
            return Err(bad("{body} is not in it, so any body would pass"));
        }
        if covers(Piece::Timestamp) != timestamp.is_some() {
            return Err(bad(match timestamp {
                Some(_) => "{timestamp} is not in it, so anybody could change the time",
                None => "{timestamp} needs its header: timestamp => 'X-Timestamp'",
            }));
        }
        if covers(Piece::Id) && id.is_none() {
            return Err(bad("{id} needs its header: id => 'X-Delivery-Id'"));
        }
        Ok(Self {
            keys,
            header: arguments.text("header").to_lowercase(),
            prefix: arguments.text("prefix").to_owned(),
            tag: if arguments.text("encoding") == BASE64 { base64_tag } else { hex_tag },
            timestamp,
            tolerance: arguments.tolerance(),
            signed: pieces,
            id,
        })
    }
}

/// `{name}` is a part of the request; everything else, other braces too, is itself.
fn pieces(written: &str) -> Vec<Piece> {
    let (mut pieces, mut text, mut rest) = (vec![], String::new(), written);
    while let Some(first) = rest.chars().next() {
        let part = [("{timestamp}", Piece::Timestamp), ("{id}", Piece::Id), ("{body}", Piece::Body)];
        if let Some((name, piece)) = part.into_iter().find(|(name, _)| rest.starts_with(name)) {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
            rest = &rest[name.len()..];
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

impl Scheme for HmacSha256 {
    fn name(&self) -> &'static str {
        CALL.name
    }

    fn signature_headers(&self) -> Vec<&str> {
        vec![&self.header]
    }

    fn verify(&self, request: &Request<'_>, now: Micros) -> Result<Verified, Refusal> {
        let signature = request.required(&self.header)?.strip_prefix(self.prefix.as_str());
        let signature = signature.and_then(self.tag).ok_or(Refusal::Malformed)?;
        let written = self.timestamp.as_ref().map(|name| request.required(name)).transpose()?.unwrap_or_default();
        let signed = self.timestamp.as_ref().map(|_| timestamp(written)).transpose()?;
        let id = match &self.id {
            Some(name) => Some(request.required(name)?).filter(|id| !id.is_empty()),
            None => None,
        };
        let parts = self.signed.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Timestamp => written.as_bytes(),
            Piece::Id => id.unwrap_or_default().as_bytes(),
            Piece::Body => request.body,
        });
        let parts: Vec<&[u8]> = parts.collect();
        if !self.keys.verify(&parts, &[signature]) {
            return Err(Refusal::Mismatch);
        }
        if let Some(signed) = signed {
            near(signed, now, self.tolerance)?;
        }
        let covered = self.signed.contains(&Piece::Id);
        let delivery = id.map(|id| match covered {
            true => Delivery::signed(id.as_bytes()),
            false => Delivery::unsigned(id.as_bytes(), request.body),
        });
        Ok(Verified::keep(delivery))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::mutations::{refused, scheme};

    fn judged(
        secret: &str,
        arguments: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &str,
        now: i64,
    ) -> Result<Verified, Refusal> {
        let request = Request { headers: &headers, body: body.as_bytes() };
        scheme(CALL.name, &[secret], arguments).verify(&request, now * 1_000_000)
    }

    /// GitHub's and Slack's own vectors, Salesforce's and Notion's form with vectors of an independent program.
    #[test]
    fn signatures_of_several_providers_verify() {
        let none = Ok(Verified::keep(None));
        let github = [("header", "X-Hub-Signature-256"), ("prefix", "sha256=")];
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-hub-signature-256", signature)];
        assert_eq!(judged("It's a Secret to Everybody", &github, &headers, "Hello, World!", 0), none);
        let salesforce = [("header", "x-signature"), ("encoding", "base64")];
        let headers = [("X-Signature", "3bvHw8P12Gt0zvV8qRK/B+fW7AxrWl4VHce4nal0kcg=")];
        assert_eq!(judged("data-cloud-secret", &salesforce, &headers, r#"{"count":1,"events":[]}"#, 0), none);
        let notion = [("header", "X-Notion-Signature"), ("prefix", "sha256=")];
        let headers =
            [("X-Notion-Signature", "sha256=487afaeb13c0d657843e5f578bccc66223713199d7131423239a1b8734736c22")];
        let body = r#"{"id":"367cba44-b6f3-4c92-81e7-6a2e9659efd4","timestamp":"2024-12-05T23:55:34.285Z","type":"page.content_updated"}"#;
        assert_eq!(judged("secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl", &notion, &headers, body, 0), none);
    }

    #[test]
    fn what_is_signed_can_be_said() {
        let standard = [
            ("header", "webhook-signature"),
            ("prefix", "v1,"),
            ("encoding", "base64"),
            ("key_encoding", "base64"),
            ("timestamp", "webhook-timestamp"),
            ("id", "webhook-id"),
            ("signed", "{id}.{timestamp}.{body}"),
        ];
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let at = |now| judged("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &standard, &headers, r#"{"test": 2432232314}"#, now);
        assert_eq!(at(1_614_265_330).unwrap().delivery, Some(Delivery::signed(b"msg_p5jXN8AQM9LWM0D4loKWxJek")));
        assert_eq!(at(1_614_265_631), Err(Refusal::Stale));
        assert_eq!(
            pieces("{a{id}}:{body}"),
            [Piece::Text("{a".into()), Piece::Id, Piece::Text("}:".into()), Piece::Body]
        );
    }

    #[test]
    fn an_id_that_is_not_signed_belongs_to_its_body() {
        let arguments = [("header", "X-Signature"), ("id", "X-Id")];
        let headers =
            [("X-Signature", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"), ("X-Id", "7")];
        let body = "what do ya want for nothing?";
        let verified = judged("Jefe", &arguments, &headers, body, 0).unwrap();
        assert_eq!(verified.delivery, Some(Delivery::unsigned(b"7", body.as_bytes())));
        assert_eq!(judged("Jefe", &arguments, &headers[..1], body, 0), Err(Refusal::Missing));
    }

    #[test]
    fn a_template_that_proves_nothing_is_refused() {
        let told = |arguments: &[(&str, &str)]| {
            let arguments = [&[("header", "X-S")], arguments].concat();
            refused(CALL.name, &["x"], &arguments)
        };
        assert_eq!(
            told(&[("signed", "{timestamp}"), ("timestamp", "X-T")]),
            "what is signed cannot be `{timestamp}`: {body} is not in it, so any body would pass"
        );
        assert_eq!(
            told(&[("signed", "{body}"), ("timestamp", "X-T")]),
            "what is signed cannot be `{body}`: {timestamp} is not in it, so anybody could change the time"
        );
        assert_eq!(
            told(&[("signed", "{timestamp}.{body}")]),
            "what is signed cannot be `{timestamp}.{body}`: {timestamp} needs its header: timestamp => 'X-Timestamp'"
        );
        assert_eq!(
            told(&[("signed", "{id}{body}")]),
            "what is signed cannot be `{id}{body}`: {id} needs its header: id => 'X-Delivery-Id'"
        );
        assert_eq!(told(&[("key_encoding", "hex")]), "a secret of `hmac_sha256` cannot be used: it is not hexadecimal");
        assert_eq!(
            refused(CALL.name, &[""], &[("header", "X-S")]),
            "a secret of `hmac_sha256` cannot be used: it is empty"
        );
        assert_eq!(
            refused(CALL.name, &[], &[("header", "X-S")]),
            "a secret of `hmac_sha256` cannot be used: there is none"
        );
    }
}
