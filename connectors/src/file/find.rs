//! Which files a path or a pattern means, now.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use glob::{MatchOptions, Pattern};
use syncline_engine::source::SourceError;

use crate::{
    spec::{ConnectorError, Surroundings},
    system_words,
};

/// A path or pattern as the pipeline writes it.
#[derive(Debug)]
pub struct Wanted {
    pub written: String,
    folder: PathBuf,
}

/// A regular file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// As the pipeline would write it: the partition's name.
    pub name: String,
    pub path: PathBuf,
}

/// What was left out of a pattern. A process says so once, however often it looks.
static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Names that begin with a dot are the unfinished parts of our own sinks, and other programs' private matters.
pub const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What a pattern means, if it is one.
pub fn pattern(written: &str) -> Result<Pattern, ConnectorError> {
    Pattern::new(written)
        .map_err(|error| ConnectorError::NotAPattern { pattern: written.to_owned(), detail: error.msg.to_owned() })
}

impl Wanted {
    pub fn new(written: &str, around: &Surroundings) -> Result<Self, ConnectorError> {
        pattern(written)?;
        Ok(Self { written: written.to_owned(), folder: around.folder.clone() })
    }

    pub fn is_pattern(&self) -> bool {
        self.written.contains(['*', '?', '[']) && !self.literal().exists()
    }

    /// Whether a file of this name is one of those that are read now.
    pub fn means(&self, name: &str) -> bool {
        match self.is_pattern() {
            true => Pattern::new(&self.written).is_ok_and(|pattern| pattern.matches_with(name, OPTIONS)),
            false => self.written == name,
        }
    }

    fn literal(&self) -> PathBuf {
        self.folder.join(&self.written)
    }

    /// The files, sorted by name. A name without special characters must exist; a pattern may match nothing.
    pub fn files(&self) -> Result<Vec<Found>, SourceError> {
        if !self.is_pattern() {
            return Ok(vec![self.single()?]);
        }
        let pattern = match Path::new(&self.written).is_absolute() || self.folder.as_os_str().is_empty() {
            true => self.written.clone(),
            false => format!("{}/{}", Pattern::escape(&self.folder.to_string_lossy()), self.written),
        };
        let paths = glob::glob_with(&pattern, OPTIONS)
            .map_err(|error| SourceError::Unreadable { what: self.written.clone(), detail: error.msg.to_owned() })?;
        let mut found = Vec::new();
        for path in paths {
            let path = path.map_err(|error| self.unreadable(error.path(), error.error()))?;
            if path.is_file() {
                found.push(Found { name: self.name(&path)?, path });
            } else {
                self.tell_skipped(&path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Folders, pipes and devices of a pattern are left out: reading them never ends, or there is nothing to read.
    fn tell_skipped(&self, path: &Path) {
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(path.to_owned()) {
            let what = if path.is_dir() { "a folder" } else { "not a regular file" };
            tracing::info!(pattern = self.written, "{} is {what}: it is left out", path.display());
        }
    }

    fn single(&self) -> Result<Found, SourceError> {
        let path = self.literal();
        let metadata = path.metadata().map_err(|error| self.unreadable(&path, &error))?;
        if !metadata.is_file() {
            let detail = match metadata.is_dir() {
                true => {
                    format!("is a folder; `{}/*.ndjson` would read the files in it", self.written.trim_end_matches('/'))
                }
                false => "is not a regular file".to_owned(),
            };
            return Err(SourceError::Unreadable { what: self.written.clone(), detail });
        }
        Ok(Found { name: self.written.clone(), path })
    }

    fn name(&self, path: &Path) -> Result<String, SourceError> {
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        relative.to_str().map(str::to_owned).ok_or_else(|| SourceError::Unreadable {
            what: relative.to_string_lossy().into_owned(),
            detail: "the name of the file is not UTF-8".to_owned(),
        })
    }

    /// The path of a name that this gave out before.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn unreadable(&self, path: &Path, error: &std::io::Error) -> SourceError {
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        SourceError::Unreadable { what: relative.to_string_lossy().into_owned(), detail: system_words(error) }
    }
}
