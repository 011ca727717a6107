//! SCRAM-SHA-256 (RFC 5802, RFC 7677) from the side of the server: a password is proved and never sent, and the server proves that it
//! knows it too.
//!
//! Of a password only `StoredKey` and `ServerKey` are kept, with which nobody can log in. A name that is not there goes through the same
//! exchange with a salt of its own, the same each time, and fails at the end: who guesses names learns nothing.

use std::{borrow::Cow, fmt, num::NonZeroU32, str::FromStr};

use ring::{
    digest, hmac, pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use subtle::ConstantTimeEq;
use syncline_functions::base64;

/// Rounds of hashing: what a guess at a stolen file costs. Four times PostgreSQL's own; a client takes some milliseconds for it.
const ROUNDS: NonZeroU32 = NonZeroU32::new(16_384).expect("not zero");
const SALT: usize = 16;
const NONCE: usize = 18;
const KEY: usize = digest::SHA256_OUTPUT_LEN;
/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// What checks a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[verifier]")
    }
}

/// As PostgreSQL writes it: `SCRAM-SHA-256$rounds:salt$StoredKey:ServerKey`.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt, &self.stored_key, &self.server_key].map(|bytes| encoded(bytes));
        write!(f, "{MECHANISM}${}:{salt}${stored}:{server}", self.rounds)
    }
}

impl FromStr for Verifier {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(MECHANISM).and_then(|rest| rest.strip_prefix('$')).ok_or(Malformed)?;
        let (head, keys) = rest.split_once('$').ok_or(Malformed)?;
        let (rounds, salt) = head.split_once(':').ok_or(Malformed)?;
        let (stored, server) = keys.split_once(':').ok_or(Malformed)?;
        let verifier = Self {
            rounds: rounds.parse().map_err(|_| Malformed)?,
            salt: decoded(salt)?,
            stored_key: decoded(stored)?,
            server_key: decoded(server)?,
        };
        if [&verifier.stored_key, &verifier.server_key].iter().all(|key| key.len() == KEY) {
            Ok(verifier)
        } else {
            Err(Malformed)
        }
    }
}

/// A message or a verifier that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Verifier {
    /// Of a new password; `None` where the machine has no random bytes.
    pub fn of(password: &str) -> Option<Self> {
        Some(Self::derived(password, random(SALT)?, ROUNDS))
    }

    fn derived(password: &str, salt: Vec<u8>, rounds: NonZeroU32) -> Self {
        // As PostgreSQL does: what cannot be prepared is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted = [0; KEY];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, prepared.as_bytes(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = hash(&client_key);
        let server_key = mac(&salted, b"Server Key");
        Self { rounds, salt, stored_key, server_key }
    }

    /// Of nobody: no password fits, and its salt is a function of the name and of this process.
    pub fn of_nobody(name: &str, process: &[u8]) -> Self {
        let salt = mac(process, name.as_bytes())[..SALT].to_vec();
        // Keys that no password was hashed to.
        let [stored_key, server_key] =
            [b"stored", b"server"].map(|which| mac(process, &[name.as_bytes(), which].concat()));
        Self { rounds: ROUNDS, salt, stored_key, server_key }
    }
}

/// Random bytes of the machine.
pub fn random(length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// An exchange that waits for the client's proof.
pub struct Exchange {
    verifier: Verifier,
    /// `n,,` or `y,,`: what the client said about its channel.
    header: String,
    client_first: String,
    server_first: String,
    nonce: String,
}

impl Exchange {
    /// Takes the client's first message; gives the answer to it.
    pub fn begin(verifier: Verifier, message: &[u8]) -> Result<(Self, String), Malformed> {
        let own = encoded(&random(NONCE).ok_or(Malformed)?);
        Self::begin_with(verifier, message, &own)
    }

    fn begin_with(verifier: Verifier, message: &[u8], own: &str) -> Result<(Self, String), Malformed> {
        let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
        // `p=…` binds the channel, which was not offered; a name for somebody else is not known here.
        let (header, bare) =
            ["n,,", "y,,"].iter().find_map(|header| Some((*header, text.strip_prefix(header)?))).ok_or(Malformed)?;
        let mut parts = bare.split(',');
        // PostgreSQL's clients leave the name empty: it is that of the start.
        parts.next().and_then(|part| part.strip_prefix("n=")).ok_or(Malformed)?;
        let theirs = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Malformed)?;
        if theirs.is_empty() || !theirs.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Malformed);
        }
        let nonce = format!("{theirs}{own}");
        let server_first = format!("r={nonce},s={},i={}", encoded(&verifier.salt), verifier.rounds);
        let answer = server_first.clone();
        Ok((Self { verifier, header: header.to_owned(), client_first: bare.to_owned(), server_first, nonce }, answer))
    }

    /// Takes the client's proof; gives the server's, or `None` where the password is another.
    pub fn end(self, message: &[u8]) -> Result<Option<String>, Malformed> {
        let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Malformed)?;
        let proof = decoded(proof)?;
        let mut parts = without_proof.split(',');
        let channel = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or(Malformed)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Malformed)?;
        if decoded(channel)? != self.header.as_bytes() || nonce != self.nonce || proof.len() != KEY {
            return Err(Malformed);
        }
        let all = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = mac(&self.verifier.stored_key, all.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        if !bool::from(hash(&client_key).ct_eq(&self.verifier.stored_key)) {
            return Ok(None);
        }
        Ok(Some(format!("v={}", encoded(&mac(&self.verifier.server_key, all.as_bytes())))))
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = vec![];
    base64::encode(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn decoded(text: &str) -> Result<Vec<u8>, Malformed> {
    base64::decode(text.as_bytes()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OWN: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier(password: &str) -> Verifier {
        let salt = decoded("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::derived(password, salt, NonZeroU32::new(4096).unwrap())
    }

    #[test]
    fn the_exchange_of_the_rfc_is_ours() {
        let (exchange, answer) = Exchange::begin_with(verifier("pencil"), FIRST, OWN).unwrap();
        assert_eq!(answer, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let proof = exchange.end(LAST).unwrap();
        assert_eq!(proof.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn another_password_and_nobody_get_no_further() {
        for verifier in [verifier("pencil "), Verifier::of_nobody("user", b"process")] {
            let (exchange, _) = Exchange::begin_with(verifier, FIRST, OWN).unwrap();
            assert_eq!(exchange.end(LAST), Ok(None));
        }
        let salts = ["ada", "ada", "bob"].map(|name| Verifier::of_nobody(name, b"process").salt);
        assert!(salts[0] == salts[1] && salts[1] != salts[2]);
    }

    #[test]
    fn a_message_that_is_none_is_refused() {
        for first in
            [&b""[..], b"n,,", b"p=tls-server-end-point,,n=,r=x", b"n,a=root,n=,r=x", b"n,,n=,r=", b"n,,n=,r=\xff"]
        {
            assert!(Exchange::begin(verifier("pencil"), first).is_err(), "{first:?}");
        }
        let other_nonce = b"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for last in [&b""[..], b"c=biws", b"c=biws,r=x,p=", b"c=eSws,r=x,p=AAAA", other_nonce] {
            let (exchange, _) = Exchange::begin_with(verifier("pencil"), FIRST, OWN).unwrap();
            assert_eq!(exchange.end(last), Err(Malformed), "{last:?}");
        }
    }

    #[test]
    fn a_verifier_is_read_as_it_is_written_and_shows_no_password() {
        let one = Verifier::of("tr0ub4dor").unwrap();
        assert_eq!(one.to_string().parse(), Ok(one.clone()));
        assert_ne!(Some(&one), Verifier::of("tr0ub4dor").as_ref(), "each has a salt of its own");
        assert!(!format!("{one} {one:?}").contains("tr0ub4dor"));
        for text in ["", "md5abc", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$4096:AA==$AA==:AA=="] {
            assert_eq!(text.parse::<Verifier>(), Err(Malformed), "{text}");
        }
    }
}
