//! A data folder: everything that one worker keeps, held by one process at a time.
//!
//! ```text
//! lock           held while a process works here; holds its number
//! format         the number of the format that all of this is in
//! worker         this worker's id, made once
//! state/  log/   checkpoints, and the embedded log's topics
//! control.sock   where a running process answers
//! secrets        encrypted by the process
//! ```

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use syncline_record::Micros;

use crate::{
    clock::{Rng, SeededRng},
    log::{LogError, embedded::EmbeddedLog},
    store::{
        StoreError,
        disk::{failed, sync_folder},
        lock::FolderLock,
        sled::SledStore,
    },
};

/// The format that this version writes. Raised with every change that an older version could not read.
pub const FORMAT: u32 = 1;
/// The oldest format that this version reads.
pub const OLDEST: u32 = 1;

/// Holds the folder until it is dropped; a process that is killed lets go too.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    worker: String,
    created: Micros,
    _lock: FolderLock,
}

impl DataFolder {
    /// Makes the folder (for its owner only) where there is none, locks it and checks its format. `now` is written down as the
    /// folder's birth. Held by another process: `InUse`. Written by a newer version: `Format`.
    pub fn open(path: &Path, now: Micros) -> Result<DataFolder, StoreError> {
        let missing = !path.is_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
        if let (true, Some(parent)) = (missing, path.parent().filter(|parent| !parent.as_os_str().is_empty())) {
            sync_folder(parent)?;
        }
        // Absolute from here on: sled compares paths as text, and a process may change its directory.
        let path = fs::canonicalize(path).map_err(failed("open", path))?;
        let lock = FolderLock::take(&path)?;
        check_format(&path)?;
        let (worker, created) = worker(&path, now)?;
        Ok(DataFolder { path, worker, created, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This worker's id: 32 hexadecimal digits, the same for as long as the folder lives.
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// When the folder was made.
    pub fn created(&self) -> Micros {
        self.created
    }

    pub fn state_path(&self) -> PathBuf {
        self.path.join("state")
    }

    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub fn secrets_path(&self) -> PathBuf {
        self.path.join("secrets")
    }

    /// Opens the checkpoints; drop what it gives before the folder.
    pub fn store(&self) -> Result<SledStore, StoreError> {
        SledStore::open(&self.state_path())
    }

    /// Opens the embedded log; drop what it gives before the folder.
    pub fn log(&self) -> Result<EmbeddedLog, LogError> {
        EmbeddedLog::open(&self.log_path())
    }
}

fn check_format(folder: &Path) -> Result<(), StoreError> {
    let Some(text) = read(folder, "format")? else {
        // Without a format file this is new, or died before anything was kept.
        return write(folder, "format", &format!("{FORMAT}\n"));
    };
    let damaged = || StoreError::Damaged {
        folder: folder.to_owned(),
        detail: "the file `format` does not hold a number".to_owned(),
    };
    let found = text.trim().parse().map_err(|_| damaged())?;
    if !(OLDEST..=FORMAT).contains(&found) {
        return Err(StoreError::Format { folder: folder.to_owned(), found, oldest: OLDEST, newest: FORMAT });
    }
    if found < FORMAT { write(folder, "format", &format!("{FORMAT}\n")) } else { Ok(()) }
}

fn worker(folder: &Path, now: Micros) -> Result<(String, Micros), StoreError> {
    let Some(text) = read(folder, "worker")? else {
        let id = SeededRng::from_machine().id();
        write(folder, "worker", &format!("{id} {now}\n"))?;
        return Ok((id, now));
    };
    let parts = text.trim().split_once(' ').and_then(|(id, created)| Some((id.to_owned(), created.parse().ok()?)));
    let sound = |(id, _): &(String, Micros)| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    parts.filter(sound).ok_or_else(|| StoreError::Damaged {
        folder: folder.to_owned(),
        detail: "the file `worker` does not hold an id".to_owned(),
    })
}

fn read(folder: &Path, name: &str) -> Result<Option<String>, StoreError> {
    match fs::read(folder.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(String::from_utf8_lossy(&bytes.map_err(failed("read", folder))?).into_owned())),
    }
}

/// Written beside and renamed, so that a crash leaves the old file, or the new one.
fn write(folder: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let next = folder.join(format!("{name}.tmp"));
    let write = || {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, folder.join(name))
    };
    write().map_err(failed("write", folder))?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests;
