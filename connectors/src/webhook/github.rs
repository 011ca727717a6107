//! GitHub: `X-Hub-Signature-256: sha256=` and the HMAC of the body in hexadecimal digits.
//!
//! There is no timestamp. A delivery is known by `X-GitHub-Delivery`, which a redelivery repeats, and which is not signed. The
//! older `X-Hub-Signature` (SHA-1) is not looked at. A `ping` is a delivery like any other.
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>

use syncline_record::Micros;

use super::{
    Delivery, Refusal, Request, Scheme, Verified,
    signature::{Keys, hex_tag, text},
};
use crate::spec::{Arguments, Callable, ConnectorError, SECRET};

pub const CALL: Callable = Callable {
    name: "github",
    help: "GitHub's signature of the body; X-GitHub-Delivery says which delivery it is.",
    arguments: &[SECRET],
    example: "verify => github(secret('github/webhook'))",
};

const SIGNATURE: &str = "x-hub-signature-256";
const SHA1: &str = "x-hub-signature";
const PREFIX: &str = "sha256=";
const DELIVERY: &str = "x-github-delivery";

pub struct GitHub {
    keys: Keys,
}

impl GitHub {
    pub fn new(arguments: &Arguments<'_>) -> Result<Self, ConnectorError> {
        Ok(Self { keys: Keys::of(arguments, text)? })
    }
}

impl Scheme for GitHub {
    fn name(&self) -> &'static str {
        CALL.name
    }

    fn signature_headers(&self) -> Vec<&str> {
        vec![SIGNATURE, SHA1]
    }

    fn verify(&self, request: &Request<'_>, _now: Micros) -> Result<Verified, Refusal> {
        let signature =
            request.required(SIGNATURE)?.strip_prefix(PREFIX).and_then(hex_tag).ok_or(Refusal::Malformed)?;
        if !self.keys.verify(&[request.body], &[signature]) {
            return Err(Refusal::Mismatch);
        }
        let delivery = request.optional(DELIVERY)?.filter(|id| !id.is_empty());
        Ok(Verified::keep(delivery.map(|id| Delivery::unsigned(id.as_bytes(), request.body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::{Answer, mutations::scheme};

    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn judged(headers: &[(&str, &str)], body: &[u8]) -> Result<Verified, Refusal> {
        scheme("github", &[SECRET], &[]).verify(&Request { headers: &headers, body }, 0)
    }

    #[test]
    fn the_published_vector_verifies() {
        let expected = Verified { delivery: None, answer: Answer::Keep };
        assert_eq!(judged(&[("X-Hub-Signature-256", SIGNED)], BODY), Ok(expected.clone()));
        let upper = format!("sha256={}", SIGNED[7..].to_uppercase());
        assert_eq!(judged(&[("x-hub-signature-256", &upper)], BODY), Ok(expected));
    }

    #[test]
    fn the_old_signature_alone_is_none() {
        assert_eq!(
            judged(&[("X-Hub-Signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")], BODY),
            Err(Refusal::Missing)
        );
    }

    #[test]
    fn a_delivery_is_its_id_with_its_body() {
        let with = |id, body: &[u8]| Delivery::unsigned(id, body);
        let verified = judged(&[(SIGNATURE, SIGNED), ("X-GitHub-Delivery", "d-1")], BODY).unwrap();
        assert_eq!(verified.delivery, Some(with(b"d-1", BODY)));
        assert_ne!(verified.delivery, Some(with(b"d-2", BODY)));
        assert_ne!(verified.delivery, Some(with(b"d-1", b"Hello, World")));
        let twice = [(SIGNATURE, SIGNED), (DELIVERY, "d-1"), (DELIVERY, "d-2")];
        assert_eq!(judged(&twice, BODY), Err(Refusal::Malformed));
        assert_eq!(judged(&[(SIGNATURE, SIGNED), (DELIVERY, "")], BODY).unwrap().delivery, None);
    }
}
