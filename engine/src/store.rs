//! Where checkpoints live: an ordered map with atomic batches.
//!
//! The engine needs very little of it, so that any store which passes `store::conformance` can take the place of sled.

use std::path::PathBuf;

use crate::{changelog::ChangelogError, log::LogError};

#[cfg(test)]
pub(crate) mod child;
pub mod conformance;
pub(crate) mod disk;
pub(crate) mod lock;
pub mod memory;
pub mod sled;

/// What went wrong with the store, with what the reader needs to act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{folder} is in use by process {pid}")]
    InUse { folder: PathBuf, pid: u32 },
    #[error("{folder} was written by format {found}; this version reads {oldest} to {newest}")]
    Format { folder: PathBuf, found: u32, oldest: u32, newest: u32 },
    #[error("{folder}: the state is damaged: {detail}")]
    Damaged { folder: PathBuf, detail: String },
    #[error("{operation}: no space left on the device that holds {folder}")]
    Full { operation: &'static str, folder: PathBuf },
    /// The store is a copy of a changelog.
    #[error(transparent)]
    Changelog(#[from] ChangelogError),
    /// The store is a copy that stands beside topics.
    #[error(transparent)]
    Log(Box<LogError>),
    #[error("{operation} in {folder}: {detail}")]
    Io { operation: &'static str, folder: PathBuf, detail: String },
    /// Only the simulation: the process died here.
    #[error("crashed")]
    Crashed,
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        Self::Log(Box::new(error))
    }
}

/// Puts and removals that become visible together, or not at all. A key that is both removed and put is there afterwards; of two
/// puts of one key the later one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    pub removals: Vec<Vec<u8>>,
}

impl Changes {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.puts.push((key.into(), value.into()));
    }

    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.removals.push(key.into());
    }

    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }
}

/// An ordered map from bytes to bytes. Shared by the threads of one process; one process holds the folder.
pub trait StateStore: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every pair whose key starts with `prefix`, in order of key, as of one instant. `each` returns false to stop; it must not
    /// call the store.
    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.scan_all(&[prefix], each)
    }

    /// The same of several prefixes, one after the other, all of them as of one instant.
    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;

    /// Applies all changes or none, in one step: after a crash at any instant a reader sees all of them or none of them.
    /// When it returns, the changes survive `kill -9` only together with the next [`flush`](Self::flush).
    fn apply(&self, changes: Changes) -> Result<(), StoreError>;

    /// The same for much that is put in at once, while nobody reads: a crash may leave a part of it, also keys with empty values.
    fn fill(&self, changes: Changes) -> Result<(), StoreError> {
        self.apply(changes)
    }

    /// When it returns, everything applied before survives `kill -9` and a power cut.
    fn flush(&self) -> Result<(), StoreError>;

    /// Removes every key that starts with `prefix`, in one step.
    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError>;

    /// Bytes that the store takes on disk (0 in memory).
    fn size_on_disk(&self) -> u64;
}
