//! The one check of all schemes: HMAC-SHA-256 (RFC 2104, FIPS 198-1) over parts of a request, compared in constant time.
//!
//! Every key is tried against every signature, whatever the ones before came to: how long a check takes says nothing about which
//! of them matched, or how much of it. Several keys are there while a secret is being replaced, several signatures while the
//! provider replaces its own.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use syncline_functions::base64;
use syncline_record::Micros;

use super::Refusal;
use crate::spec::{Arguments, ConnectorError};

/// Bytes of a signature.
const TAG: usize = 32;
const SECOND: Micros = 1_000_000;

/// A signature as it was sent, decoded.
pub type Tag = [u8; TAG];

/// Keys that may have signed. Prints nothing of them.
pub struct Keys(Vec<Hmac<Sha256>>);

impl Keys {
    /// The secrets of a scheme's argument: one, or a list while one replaces the other. `decode` says how a secret is written.
    pub fn of(
        arguments: &Arguments<'_>,
        decode: impl Fn(&str) -> Result<Vec<u8>, &'static str>,
    ) -> Result<Self, ConnectorError> {
        let texts: Vec<&str> = match arguments.value("secret") {
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            Some(one) => one.as_str().into_iter().collect(),
            None => vec![],
        };
        let keys = texts.into_iter().map(|text| {
            let key = decode(text).and_then(|key| if key.is_empty() { Err("it is empty") } else { Ok(key) });
            key.map_err(|detail| ConnectorError::BadSecret { scheme: arguments.of_what().to_owned(), detail })
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.is_empty() {
            true => Err(ConnectorError::BadSecret { scheme: arguments.of_what().to_owned(), detail: "there is none" }),
            false => Ok(Self::new(&keys)),
        }
    }

    fn new(keys: &[Vec<u8>]) -> Self {
        // HMAC takes keys of any length, so none is refused.
        Self(keys.iter().filter_map(|key| Hmac::new_from_slice(key).ok()).collect())
    }

    /// Whether one of the keys signed these parts, one after the other, with one of these signatures.
    pub fn verify(&self, parts: &[&[u8]], signatures: &[Tag]) -> bool {
        let mut found = Choice::from(0);
        for key in &self.0 {
            let mut mac = key.clone();
            parts.iter().for_each(|part| mac.update(part));
            let tag = mac.finalize().into_bytes();
            for signature in signatures {
                found |= tag.as_slice().ct_eq(signature);
            }
        }
        found.into()
    }

    #[cfg(test)]
    pub fn of_bytes(keys: &[Vec<u8>]) -> Self {
        Self::new(keys)
    }

    #[cfg(test)]
    pub fn of_texts(keys: &[&str]) -> Self {
        Self::new(&keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// The signature of each key: what a sender puts into its header.
    #[cfg(test)]
    pub fn sign(&self, parts: &[&[u8]]) -> Vec<Tag> {
        let sign = |key: &Hmac<Sha256>| {
            let mut mac = key.clone();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        };
        self.0.iter().map(sign).collect()
    }
}

/// A secret that is its own bytes.
pub fn text(secret: &str) -> Result<Vec<u8>, &'static str> {
    Ok(secret.as_bytes().to_vec())
}

/// Digits of either case: what is compared are bytes.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A signature in hexadecimal digits.
pub fn hex_tag(text: &str) -> Option<Tag> {
    hex(text)?.try_into().ok()
}

/// A signature in base64 with its padding.
pub fn base64_tag(text: &str) -> Option<Tag> {
    base64::decode(text.as_bytes())?.try_into().ok()
}

/// Seconds since 1970, as a header writes them.
pub fn timestamp(text: &str) -> Result<i64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(Refusal::Malformed)
}

/// Whether a signed time is near enough to ours. Asked only when the signature is right: an old request that nobody signed is
/// no replay but a forgery.
pub fn near(signed: i64, now: Micros, tolerance: Micros) -> Result<(), Refusal> {
    let now = now.div_euclid(SECOND);
    let tolerance = tolerance / SECOND;
    if signed < now.saturating_sub(tolerance) {
        Err(Refusal::Stale)
    } else if signed > now.saturating_add(tolerance) {
        Err(Refusal::Future)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1, 2 and 6 (a key that is longer than a block).
    #[test]
    fn the_vectors_of_the_standard() {
        for (key, data, tag) in [
            (vec![0x0b; 20], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let tag = hex_tag(tag).unwrap();
            let keys = Keys::new(&[key]);
            assert_eq!(keys.sign(&[data]), [tag]);
            assert!(keys.verify(&[&data[..3], &data[3..]], &[tag]), "parts are one after the other");
            let mut other = tag;
            for at in 0..TAG {
                other[at] ^= 1;
                assert!(!keys.verify(&[data], &[other]), "byte {at} counts");
                other[at] ^= 1;
            }
        }
    }

    #[test]
    fn any_key_and_any_signature_may_be_the_one() {
        let [old, new, other] = ["old", "new", "other"].map(|key| Keys::new(&[key.into()]).sign(&[b"body"])[0]);
        let both = Keys::new(&["new".into(), "old".into()]);
        for (signatures, expected) in [
            (&[old][..], true),
            (&[new], true),
            (&[other], false),
            (&[other, old], true),
            (&[old, other], true),
            (&[], false),
        ] {
            assert_eq!(both.verify(&[b"body"], signatures), expected);
        }
    }

    #[test]
    fn digits_of_either_case_are_the_same_bytes_and_half_a_byte_is_none() {
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        for text in ["0", "0g", "+1", " 0", "é"] {
            assert_eq!(hex(text), None, "{text}");
        }
        assert_eq!((hex_tag("00"), base64_tag("AAAA"), base64_tag("!")), (None, None, None));
    }

    #[test]
    fn a_time_is_digits_and_counts_up_to_its_tolerance() {
        for text in ["", "-1", "+1", "1.5", "1e9", "soon", "99999999999999999999"] {
            assert_eq!(timestamp(text), Err(Refusal::Malformed), "{text}");
        }
        let now = 1_000_000 * SECOND + 999_999;
        let judged = |signed| near(signed, now, 300 * SECOND);
        assert_eq!(
            [999_699, 999_700, 1_000_300, 1_000_301, i64::MAX].map(judged),
            [Err(Refusal::Stale), Ok(()), Ok(()), Err(Refusal::Future), Err(Refusal::Future)]
        );
    }
}
