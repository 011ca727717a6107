//! Standard Webhooks, which Svix and others send: `webhook-signature: v1,BASE64 v1,BASE64 …`, the HMAC of `ID.TIMESTAMP.BODY` with
//! `webhook-id` and `webhook-timestamp`, at most five minutes from now.
//!
//! A secret is base64 behind `whsec_`. The id is signed. Senders that still write `svix-id`, `svix-timestamp` and
//! `svix-signature` are understood; the two families do not mix. Versions of the signature other than `v1` are passed over.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use syncline_functions::base64;
use syncline_record::Micros;

use super::{
    Delivery, Refusal, Request, Scheme, Verified,
    signature::{Keys, Tag, base64_tag, near, timestamp},
};
use crate::spec::{Arguments, Callable, ConnectorError, SECRET, TOLERANCE};

pub const CALL: Callable = Callable {
    name: "standard_webhooks",
    help: "The Standard Webhooks signature of id, time and body; webhook-id says which delivery it is.",
    arguments: &[SECRET, TOLERANCE],
    example: "verify => standard_webhooks(secret('billing/webhook'))",
};

const SECRET_PREFIX: &str = "whsec_";
const VERSION: &str = "v1";

/// Names of the three headers: id, timestamp, signature.
const FAMILIES: [[&str; 3]; 2] =
    [["webhook-id", "webhook-timestamp", "webhook-signature"], ["svix-id", "svix-timestamp", "svix-signature"]];

pub struct StandardWebhooks {
    keys: Keys,
    tolerance: Micros,
}

impl StandardWebhooks {
    pub fn new(arguments: &Arguments<'_>) -> Result<Self, ConnectorError> {
        Ok(Self { keys: Keys::of(arguments, key)?, tolerance: arguments.tolerance() })
    }
}

fn key(secret: &str) -> Result<Vec<u8>, &'static str> {
    let text = secret.trim().strip_prefix(SECRET_PREFIX).unwrap_or(secret.trim());
    base64::decode(text.as_bytes()).ok_or("it is not base64 behind whsec_")
}

impl Scheme for StandardWebhooks {
    fn name(&self) -> &'static str {
        CALL.name
    }

    fn signature_headers(&self) -> Vec<&str> {
        FAMILIES.iter().map(|[_, _, signature]| *signature).collect()
    }

    fn verify(&self, request: &Request<'_>, now: Micros) -> Result<Verified, Refusal> {
        let [standard, svix] = FAMILIES;
        let names = if request.optional(standard[2])?.is_some() { standard } else { svix };
        let [id, written, signatures] =
            [request.required(names[0]), request.required(names[1]), request.required(names[2])];
        let (id, written, signatures) = (id?, written?, signatures?);
        let signed = timestamp(written)?;
        let signatures: Vec<Tag> = signatures.split_ascii_whitespace().filter_map(version_1).collect();
        if id.is_empty() || signatures.is_empty() {
            return Err(Refusal::Malformed);
        }
        if !self.keys.verify(&[id.as_bytes(), b".", written.as_bytes(), b".", request.body], &signatures) {
            return Err(Refusal::Mismatch);
        }
        near(signed, now, self.tolerance)?;
        Ok(Verified::keep(Some(Delivery::signed(id.as_bytes()))))
    }
}

fn version_1(signature: &str) -> Option<Tag> {
    let (version, text) = signature.split_once(',')?;
    (version == VERSION).then(|| base64_tag(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::mutations::{refused, scheme};

    struct Vector {
        secret: &'static str,
        id: &'static str,
        time: i64,
        body: &'static str,
        signature: &'static str,
    }

    /// Svix's own, from the specification and its reference libraries.
    const VECTORS: [Vector; 2] = [
        Vector {
            secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            time: 1_649_367_553,
            body: r#"{"email":"test@example.com","username":"test_user"}"#,
            signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        },
        Vector {
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            time: 1_614_265_330,
            body: r#"{"test": 2432232314}"#,
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
    ];

    fn judged(vector: &Vector, family: [&str; 3], signature: &str) -> Result<Verified, Refusal> {
        let time = vector.time.to_string();
        let headers = [(family[0], vector.id), (family[1], time.as_str()), (family[2], signature)];
        let request = Request { headers: &&headers[..], body: vector.body.as_bytes() };
        scheme(CALL.name, &[vector.secret], &[]).verify(&request, vector.time * 1_000_000)
    }

    #[test]
    fn the_published_vectors_verify() {
        for vector in &VECTORS {
            let expected = Ok(Verified::keep(Some(Delivery::signed(vector.id.as_bytes()))));
            assert_eq!(judged(vector, FAMILIES[0], vector.signature), expected);
            assert_eq!(judged(vector, FAMILIES[1], vector.signature), expected, "svix");
        }
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let vector = &VECTORS[0];
        let other = VECTORS[1].signature;
        let asymmetric = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        let several = |texts: &[&str]| judged(vector, FAMILIES[0], &texts.join(" "));
        assert!(several(&[asymmetric, other, vector.signature]).is_ok());
        assert_eq!(several(&[other]), Err(Refusal::Mismatch));
        assert_eq!(several(&[asymmetric]), Err(Refusal::Malformed));
        assert_eq!(several(&["v1,", "v1"]), Err(Refusal::Malformed));
    }

    #[test]
    fn families_of_headers_do_not_mix() {
        let vector = &VECTORS[0];
        let mixed = ["svix-id", "webhook-timestamp", "webhook-signature"];
        assert_eq!(judged(vector, mixed, vector.signature), Err(Refusal::Missing));
    }

    #[test]
    fn a_secret_that_is_no_base64_is_told_without_being_shown() {
        assert_eq!(
            refused(CALL.name, &["whsec_not base64!"], &[]),
            "a secret of `standard_webhooks` cannot be used: it is not base64 behind whsec_"
        );
        assert!(key("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").is_ok(), "without its prefix too");
    }
}
