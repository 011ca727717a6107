//! Who may ask: people and programs with a name, a role and a password, kept in the data folder.
//!
//! Of a password only what checks it is kept (RFC 5802, as PostgreSQL writes it): who reads the file cannot log in with what it says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{outcome::Failure, pgwire::scram::Verifier, private_file::PrivateFile};

const USERS: PrivateFile =
    PrivateFile { file: "users", open: "users-open", damaged: "users-damaged", failed: "users-failed" };

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything, change nothing.
    Viewer,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub role: Role,
    verifier: String,
}

impl User {
    /// What checks the password; `None` where the file was changed by hand into something else.
    pub fn verifier(&self) -> Option<Verifier> {
        self.verifier.parse().ok()
    }
}

/// All users by name.
pub fn all(folder: &Path) -> Result<Vec<(String, User)>, Failure> {
    Ok(USERS.read(folder)?.into_iter().collect())
}

pub fn find(folder: &Path, name: &str) -> Result<Option<User>, Failure> {
    Ok(USERS.read(folder)?.remove(name))
}

/// Adds a user, or gives one that is there another password. Whether he is new.
pub fn set(folder: &Path, name: &str, role: Role, verifier: &Verifier) -> Result<bool, Failure> {
    let user = User { role, verifier: verifier.to_string() };
    USERS.change(folder, |users| users.insert(name.to_owned(), user).is_none())
}

/// Whether he was there.
pub fn remove(folder: &Path, name: &str) -> Result<bool, Failure> {
    USERS.change(folder, |users| users.remove::<str>(name).map(|_: User| ()).is_some())
}
