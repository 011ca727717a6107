//! `secret('a/b')`: the environment's `SYNCLINE_SECRET_A_B`.

use std::path::Path;

use crate::outcome::Failure;

pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

pub fn resolve(_: &Path, path: &str) -> Result<Secret, Failure> {
    let name = format!("SYNCLINE_SECRET_{}", path.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    std::env::var(&name).map(Secret).map_err(|_| Failure::environment("no-secret", format!("{name} is not set")))
}
