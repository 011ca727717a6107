//! `secret('a/b')`: from the environment (`SYNCLINE_SECRET_A_B`), else from a file in the data folder that only its owner can read.
//!
//! A secret is never printed, logged or serialised; whoever needs its text asks for it by name ([`Secret::expose`]). What others
//! say goes through [`hidden`]: a database that quotes the address it could not reach must not give away what is in it.

use std::{
    borrow::Cow,
    fmt,
    path::Path,
    sync::{PoisonError, RwLock},
};

use serde::{Serialize, Serializer};

use crate::{
    outcome::{Failure, NEXT},
    private_file::PrivateFile,
};

/// Where they are in a data folder.
const SECRETS: PrivateFile =
    PrivateFile { file: "secrets", open: "secrets-open", damaged: "secrets-damaged", failed: "secrets-failed" };
/// What stands where a secret would.
const REDACTED: &str = "[secret]";
/// Shorter texts are no secrets, and stand in every other word.
const SHORTEST: usize = 4;

/// What this process has resolved, in the spellings in which it could be quoted; the longest first.
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the connection that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(REDACTED)
    }
}

/// The environment variable of a secret: upper case, and `_` for every other character.
pub fn variable(path: &str) -> String {
    let name =
        path.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
    format!("SYNCLINE_SECRET_{}", name.collect::<String>())
}

/// Finds a secret. From here on no text that goes through [`hidden`] shows it.
pub fn resolve(folder: &Path, path: &str) -> Result<Secret, Failure> {
    let secret = find(folder, path)?;
    remember(secret.expose());
    Ok(secret)
}

/// The text with a mark where a secret stood.
pub fn hidden(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut shown = Cow::Borrowed(text);
    for secret in known.iter() {
        if shown.contains(secret.as_str()) {
            shown = Cow::Owned(shown.replace(secret.as_str(), REDACTED));
        }
    }
    shown
}

/// From here on no text that goes through [`hidden`] shows it.
pub fn remember(secret: &str) {
    let escaped = |text: &str| serde_json::to_string(text).unwrap_or_default().trim_matches('"').to_owned();
    // A key of several lines is quoted line by line.
    let spellings = std::iter::once(secret).chain(secret.lines()).map(str::trim);
    let spellings = spellings.filter(|text| text.len() >= SHORTEST).flat_map(|text| [text.to_owned(), escaped(text)]);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.extend(spellings);
    known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    known.dedup();
}

fn find(folder: &Path, path: &str) -> Result<Secret, Failure> {
    let variable = variable(path);
    if let Some(value) = std::env::var_os(&variable) {
        return value.into_string().map(Secret).map_err(|_| {
            Failure::environment("secret-not-text", format!("the environment variable {variable} is not UTF-8"))
        });
    }
    SECRETS.read::<String>(folder)?.remove(path).map(Secret).ok_or_else(|| {
        Failure::environment("no-such-secret", format!("secret('{path}') is not set"))
            .help(format!("store it: syncline secret set {path} < FILE"))
            .help(format!("or set the environment variable {variable}"))
    })
}

/// The text of a secret, for whoever binds a pipeline; else what is wrong and what to do, in one line.
pub fn text(folder: &Path, path: &str) -> Result<String, String> {
    resolve(folder, path).map(|secret| secret.expose().to_owned()).map_err(|failure| {
        let next = failure.help.iter().map(|help| format!("{NEXT}{help}"));
        failure.title.clone() + &next.collect::<String>()
    })
}

/// Names of the secrets in the file.
pub fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    Ok(SECRETS.read::<String>(folder)?.into_keys().collect())
}

/// Stores a secret. A reader sees the old file or the new one, and two that set at once do not lose either.
pub fn set(folder: &Path, name: &str, secret: &Secret) -> Result<(), Failure> {
    SECRETS.change::<String, _>(folder, |secrets| drop(secrets.insert(name.to_owned(), secret.expose().to_owned())))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_secret_comes_back_from_a_file_that_only_its_owner_reads() {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("data");
        set(&folder, "github/private-key", &Secret::new("line 1\nline 2 \"x\"")).unwrap();
        set(&folder, "other", &Secret::new("2")).unwrap();
        assert_eq!(resolve(&folder, "github/private-key").unwrap().expose(), "line 1\nline 2 \"x\"");
        assert_eq!(names(&folder).unwrap(), ["github/private-key", "other"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(SECRETS.file))), (0o700, 0o600));
        fs::set_permissions(folder.join(SECRETS.file), Permissions::from_mode(0o640)).unwrap();
        let refused = resolve(&folder, "other").unwrap_err();
        assert_eq!(refused.slug, "secrets-open");
        assert_eq!(refused.help[0], format!("chmod 600 {}", folder.join(SECRETS.file).display()));
        assert_eq!(set(&folder, "x", &Secret::new("y")).unwrap_err().slug, "secrets-open");
    }

    #[test]
    fn a_missing_secret_says_both_ways_to_give_it() {
        let folder = TempDir::new().unwrap();
        let missing = resolve(folder.path(), "slack/ops-hook").unwrap_err();
        assert_eq!(missing.title, "secret('slack/ops-hook') is not set");
        assert_eq!(
            missing.help,
            [
                "store it: syncline secret set slack/ops-hook < FILE",
                "or set the environment variable SYNCLINE_SECRET_SLACK_OPS_HOOK"
            ]
        );
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("hunter2");
        let printed = format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert_eq!(printed, "[secret] [secret] \"[secret]\"");
        let folder = TempDir::new().unwrap();
        set(folder.path(), "a", &secret).unwrap();
        fs::write(folder.path().join(SECRETS.file), "{\"a\": hunter2}").unwrap();
        assert!(!resolve(folder.path(), "a").unwrap_err().to_text().contains("hunter2"));
    }

    #[test]
    fn what_others_say_does_not_show_a_secret_that_was_resolved() {
        let folder = TempDir::new().unwrap();
        let text = "postgres://ada:tr\"0ub4dor@db/shop";
        assert_eq!(hidden(text), text);
        set(folder.path(), "db", &Secret::new(text)).unwrap();
        set(folder.path(), "key", &Secret::new("-----BEGIN-----\nc2VjcmV0IGxpbmU=\n")).unwrap();
        set(folder.path(), "short", &Secret::new("db")).unwrap();
        ["db", "key", "short"].iter().for_each(|name| drop(resolve(folder.path(), name).unwrap()));
        assert_eq!(hidden(&format!("cannot reach {text}: refused")), "cannot reach [secret]: refused");
        assert_eq!(hidden(&serde_json::to_string(text).unwrap()), "\"[secret]\"");
        assert_eq!(hidden("line 2 is c2VjcmV0IGxpbmU="), "line 2 is [secret]");
        assert_eq!(hidden("the db is down"), "the db is down");
    }

    #[test]
    fn many_that_set_at_once_all_stay() {
        let folder = TempDir::new().unwrap();
        std::thread::scope(|scope| {
            for index in 0..8 {
                let folder = folder.path();
                scope.spawn(move || set(folder, &format!("s{index}"), &Secret::new("x")).unwrap());
            }
        });
        assert_eq!(names(folder.path()).unwrap().len(), 8);
    }
}
