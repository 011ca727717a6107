//! Objects as files of a folder: written under a name that counts for nothing, brought to the disk, and renamed.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rustix::fs::FlockOperation;
use syncline_engine::archive::ArchiveError;
use syncline_record::keys::{content_hash, hex128};

use super::{Expect, Shelf};
use crate::system_words;

/// The end of a name under which a file is being written.
const UNFINISHED: &str = "unfinished";
/// The end of the name of a file that is empty, and is locked by who replaces the one beside it.
pub const LOCK: &str = "lock";

pub struct InFolder {
    pub root: PathBuf,
}

impl InFolder {
    fn failed(&self, operation: &'static str, key: &str) -> impl Fn(io::Error) -> ArchiveError {
        let place = self.place(key);
        move |error| ArchiveError::Failed { operation, place: place.clone(), detail: system_words(&error) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            // The names of new folders are on the disk before what is in them counts.
            for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
                sync(above)?;
            }
        }
        let unfinished = path.with_extension(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync(folder)
    }

    /// Writes a file if it is still the one that was seen; `AlreadyExists` where it is not. Who replaces holds a lock meanwhile, which goes
    /// with its process.
    fn replace(&self, path: &Path, bytes: &[u8], seen: Option<&str>) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let lock = File::create(path.with_extension(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        let found = match fs::read(path) {
            Ok(found) => Some(version(&found)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.as_deref() != seen {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.write(path, bytes)
    }
}

/// A file that is written once is known by what is in it.
fn version(bytes: &[u8]) -> String {
    hex128(content_hash(bytes))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Shelf for InFolder {
    fn get(&self, key: &str) -> Result<Option<(Bytes, Option<String>)>, ArchiveError> {
        match fs::read(self.root.join(key)) {
            Ok(bytes) => {
                let version = version(&bytes);
                Ok(Some((bytes.into(), Some(version))))
            }
            // What is missing with all the rest is not missing: a disk that is away would be an empty ledger.
            Err(error) if error.kind() == ErrorKind::NotFound && self.root.is_dir() => Ok(None),
            Err(error) => Err(self.failed("read", key)(error)),
        }
    }

    fn put(&self, key: &str, bytes: Bytes, expect: Expect<'_>) -> Result<Option<String>, ArchiveError> {
        let path = self.root.join(key);
        let written = match expect {
            Expect::Anything => self.write(&path, &bytes),
            Expect::Nothing => self.replace(&path, &bytes, None),
            Expect::Version(seen) => self.replace(&path, &bytes, Some(seen)),
        };
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => ArchiveError::Replaced { place: self.place(key) },
            _ => self.failed("write", key)(error),
        })?;
        Ok(Some(version(&bytes)))
    }

    fn remove(&self, key: &str) -> Result<(), ArchiveError> {
        match fs::remove_file(self.root.join(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("remove", key)(error)),
            _ => Ok(()),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Duration)>, ArchiveError> {
        let mut found = vec![];
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(self.failed("list", &folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(self.failed("list", &folder))?;
                let key = format!("{folder}/{}", entry.file_name().to_string_lossy());
                let facts = entry.metadata().map_err(self.failed("look at", &key))?;
                if facts.is_dir() {
                    folders.push(key);
                } else {
                    let written = facts.modified().map_err(self.failed("look at", &key))?;
                    found.push((key, SystemTime::now().duration_since(written).unwrap_or_default()));
                }
            }
        }
        Ok(found)
    }

    fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        let mut found = vec![];
        for entry in fs::read_dir(&self.root).map_err(self.failed("list", ""))? {
            let entry = entry.map_err(self.failed("list", ""))?;
            if entry.path().is_dir() {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    fn place(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }
}
