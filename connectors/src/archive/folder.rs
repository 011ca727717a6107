//! Objects as files of a folder: written under a name that counts for nothing, brought to the disk, and renamed.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use syncline_engine::archive::ArchiveError;

use super::{Expect, Shelf};
use crate::system_words;

/// The end of a name under which a file is being written.
const UNFINISHED: &str = "unfinished";

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
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Shelf for InFolder {
    fn get(&self, key: &str) -> Result<Option<(Bytes, Option<String>)>, ArchiveError> {
        match fs::read(self.root.join(key)) {
            Ok(bytes) => Ok(Some((bytes.into(), None))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", key)(error)),
        }
    }

    fn put(&self, key: &str, bytes: Bytes, _: Expect<'_>) -> Result<Option<String>, ArchiveError> {
        self.write(&self.root.join(key), &bytes).map_err(self.failed("write", key))?;
        Ok(None)
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
