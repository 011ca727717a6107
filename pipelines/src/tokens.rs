//! Who may ask over HTTP: programs with a token, which has a role, perhaps an end, and perhaps the pipelines that it is for.
//!
//! A token is `sl_`, its id, and 32 random bytes: `sl_1f0a77c2_…`. The prefix lets scanners find one that got into a repository, the id
//! tells which it is. Of the bytes only a hash is kept, in the file `tokens` of the data folder: who reads the file cannot ask with what it
//! says. They are random, so a plain hash does; nobody guesses them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use syncline_record::Micros;
use utoipa::ToSchema;

use crate::{
    outcome::Failure,
    pgwire::scram,
    private_file::{PrivateFile, Seen},
};

const TOKENS: PrivateFile =
    PrivateFile { file: "tokens", open: "tokens-open", damaged: "tokens-damaged", failed: "tokens-failed" };

const PREFIX: &str = "sl_";
/// Bytes of an id: enough to tell the tokens of a folder apart.
const ID: usize = 4;
/// Bytes of a secret: as many as its hash has.
const SECRET: usize = 32;

/// What the holder of a token may do. Each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at everything, and asks in SQL.
    Viewer,
    /// Pauses, resumes, starts runs, retries, sends records.
    Operator,
    /// Changes pipelines and tokens.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub role: Role,
    pub created: Micros,
    /// From then on it is nobody's.
    pub expires: Option<Micros>,
    /// The only pipelines that it is for; `None`: all.
    pub pipelines: Option<Vec<String>>,
    /// SHA-256 of its secret.
    hash: String,
}

impl Token {
    pub fn has_expired(&self, now: Micros) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What a new token may do.
#[derive(Clone, Debug)]
pub struct Grant {
    pub role: Role,
    pub expires: Option<Micros>,
    pub pipelines: Option<Vec<String>>,
}

/// All tokens by name.
pub fn all(folder: &Path) -> Result<BTreeMap<String, Token>, Failure> {
    TOKENS.read(folder)
}

/// Makes a token; its text is shown now and never again. A name has one token.
pub fn create(folder: &Path, name: &str, grant: Grant, now: Micros) -> Result<(Token, String), Failure> {
    check_name(name)?;
    // A list of none is never taken for all.
    if grant.pipelines.as_ref().is_some_and(Vec::is_empty) {
        return Err(Failure::usage("token-pipelines", "a token for no pipeline opens nothing")
            .help("name the pipelines that it is for, or leave the list out: then it is for all"));
    }
    let no_random = || Failure::environment("no-random-bytes", "this machine has no random bytes");
    let (id, secret) = (scram::random(ID).ok_or_else(no_random)?, scram::random(SECRET).ok_or_else(no_random)?);
    let (id, secret) = (hex(&id), hex(&secret));
    let Grant { role, expires, pipelines } = grant;
    let token = Token { hash: hash(&secret), id, role, created: now, expires, pipelines };
    let text = format!("{PREFIX}{}_{secret}", token.id);
    let is_new = TOKENS.change(folder, |tokens: &mut BTreeMap<String, Token>| {
        // Not one that another has by chance, or whoever looks for an id would find two.
        let taken = tokens.contains_key(name) || tokens.values().any(|other| other.id == token.id);
        if !taken {
            tokens.insert(name.to_owned(), token.clone());
        }
        !taken
    })?;
    match is_new {
        true => Ok((token, text)),
        false => Err(Failure::usage("token-exists", format!("there is a token {name} already"))
            .help(format!("give it another name, or revoke that one first: syncline token revoke {name}"))),
    }
}

/// Whether it was there.
pub fn revoke(folder: &Path, name: &str) -> Result<bool, Failure> {
    TOKENS.change(folder, |tokens: &mut BTreeMap<String, Token>| tokens.remove(name).is_some())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-@".contains(letter);
    // Tables say these of whoever has no token.
    let taken = ["local", "nobody"].contains(&name);
    if taken || name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
        return Err(Failure::usage("token-name", format!("`{}` cannot be a name", name.escape_default()))
            .help("use up to 63 letters, digits, `.`, `_`, `-` and `@`; `local` and `nobody` are who has no token"));
    }
    Ok(())
}

fn hash(secret: &str) -> String {
    hex(digest(&SHA256, secret.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tokens by name.
type All = Arc<BTreeMap<String, Token>>;

/// The tokens of a data folder as a process knows them: a change of the file counts from the next request on.
pub struct Tokens {
    folder: PathBuf,
    known: Mutex<Option<(Seen, All)>>,
}

impl Tokens {
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: Mutex::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All of them. One look at the file's facts where it did not change.
    pub fn all(&self) -> Result<All, Failure> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = TOKENS.seen(&self.folder)?;
        if let Some((before, tokens)) = &*known
            && *before == seen
        {
            return Ok(tokens.clone());
        }
        let tokens = Arc::new(TOKENS.read(&self.folder)?);
        // The facts are those from before the read: of a file that changed in between, the next look reads again.
        *known = Some((seen, tokens.clone()));
        Ok(tokens)
    }

    /// Whose token this is; the reason is for the log, and not for whoever asks.
    pub fn find(&self, text: &str, now: Micros) -> Result<Result<(String, Token), Unknown>, Failure> {
        let tokens = self.all()?;
        let Some((id, secret)) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else {
            return Ok(Err(Unknown::NoToken));
        };
        let hash = hash(secret);
        // All are looked at, each in the same time.
        let mut found = None;
        for (name, token) in tokens.iter() {
            let same = token.id.as_bytes().ct_eq(id.as_bytes()) & token.hash.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same) {
                found = Some((name, token));
            }
        }
        Ok(match found {
            None => Err(Unknown::NotOurs),
            Some((_, token)) if token.has_expired(now) => Err(Unknown::Expired),
            Some((name, token)) => Ok((name.clone(), token.clone())),
        })
    }
}

/// Why a text lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    NoToken,
    NotOurs,
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(expires: Option<Micros>) -> Grant {
        Grant { role: Role::Operator, expires, pipelines: None }
    }

    #[test]
    fn a_token_lets_in_until_it_expires_or_is_revoked_and_stands_nowhere() {
        let folder = tempfile::TempDir::new().unwrap();
        let tokens = Tokens::of(folder.path());
        assert!(tokens.all().unwrap().is_empty());
        let (ada, text) = create(folder.path(), "ada", grant(Some(100)), 5).unwrap();
        let (_, other) = create(folder.path(), "bob", grant(None), 5).unwrap();
        assert!(text.starts_with(&format!("sl_{}_", ada.id)) && text.len() == 3 + 8 + 1 + 64, "{text}");
        assert_eq!(tokens.find(&text, 99).unwrap(), Ok(("ada".to_owned(), ada.clone())));
        assert_eq!(tokens.find(&text, 100).unwrap(), Err(Unknown::Expired));
        let secret = text.rsplit_once('_').unwrap().1;
        let mixed = format!("{}_{secret}", other.rsplit_once('_').unwrap().0);
        let cut = &text[..text.len() - 1];
        for wrong in [mixed.as_str(), cut, "", "sl_", "sl__", &text[3..], &text.to_uppercase(), ada.hash.as_str()] {
            assert!(tokens.find(wrong, 99).unwrap().is_err(), "{wrong}");
        }
        let kept = std::fs::read_to_string(folder.path().join("tokens")).unwrap();
        assert!(kept.contains(&ada.id) && !kept.contains(secret), "{kept}");
        assert_eq!(create(folder.path(), "ada", grant(None), 5).unwrap_err().slug, "token-exists");
        assert!(revoke(folder.path(), "ada").unwrap() && !revoke(folder.path(), "ada").unwrap());
        assert_eq!(tokens.find(&text, 99).unwrap(), Err(Unknown::NotOurs));
        assert!(tokens.find(&other, 99).unwrap().is_ok());
    }

    #[test]
    fn roles_include_those_below_them_and_names_are_plain() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!(Role::ALL.map(|role| Role::of(role.as_str())), Role::ALL.map(Some));
        let folder = tempfile::TempDir::new().unwrap();
        let nothing = Grant { pipelines: Some(vec![]), ..grant(None) };
        assert_eq!(create(folder.path(), "ada", nothing, 5).unwrap_err().slug, "token-pipelines");
        for name in ["", "local", "nobody", "ü", "a b", "a/b", "a\n", &"a".repeat(64)] {
            assert_eq!(check_name(name).unwrap_err().slug, "token-name");
        }
    }
}
