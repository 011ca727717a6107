//! Files of the data folder that only their owner can read: a JSON object each, written whole.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Serialize, de::DeserializeOwned};

use crate::{outcome::Failure, render::for_shell};

/// A file, and what its failures are called.
pub struct PrivateFile {
    /// Its name in the data folder, which is also what it holds.
    pub file: &'static str,
    /// Others can read it.
    pub open: &'static str,
    /// It is not what was written.
    pub damaged: &'static str,
    /// The disk refuses.
    pub failed: &'static str,
}

/// What tells one writing of a file from the next: each is a file of its own that takes the name. `None`: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(Option<[i64; 5]>);

impl PrivateFile {
    /// Which writing is there.
    pub fn seen(&self, folder: &Path) -> Result<Seen, Failure> {
        let path = folder.join(self.file);
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Seen(None)),
            facts => {
                let facts = facts.map_err(self.failed("look at", &path))?;
                let (file, mode, length) = (facts.ino() as i64, i64::from(facts.mode()), facts.size() as i64);
                Ok(Seen(Some([file, mode, length, facts.mtime(), facts.mtime_nsec()])))
            }
        }
    }

    /// What it holds; nothing where it is not there.
    pub fn read<T: DeserializeOwned>(&self, folder: &Path) -> Result<BTreeMap<String, T>, Failure> {
        let path = folder.join(self.file);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            file => file.map_err(self.failed("open", &path))?,
        };
        let mode = file.metadata().map_err(self.failed("look at", &path))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::environment(self.open, format!("{} can be read by others", path.display()))
                .seen(format!("its permissions are {mode:03o}"))
                .help(format!("chmod 600 {}", for_shell(&path.display().to_string())))
                .help(format!("and replace the {} in it if somebody else uses this machine", self.file)));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(self.failed("read", &path))?;
        // The parser's own words could quote a secret.
        serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Failure::environment(self.damaged, format!("{} is not a JSON object of texts ({place})", path.display()))
                .help(format!("repair it, or remove it and set its {} again", self.file))
        })
    }

    /// Changes it. A reader sees the old file or the new one, and two that change it at once do not lose either's change.
    pub fn change<T, R>(&self, folder: &Path, change: impl FnOnce(&mut BTreeMap<String, T>) -> R) -> Result<R, Failure>
    where
        T: Serialize + DeserializeOwned,
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(self.failed("create", folder))?;
        let held = File::open(folder).map_err(self.failed("open", folder))?;
        flock(&held, FlockOperation::LockExclusive).map_err(|error| self.failed("lock", folder)(error.into()))?;
        let mut all = self.read(folder)?;
        let changed = change(&mut all);
        // A map of plain values always serialises.
        let text = serde_json::to_vec_pretty(&all).unwrap_or_default();
        let (path, next) = (folder.join(self.file), folder.join(format!("{}.tmp", self.file)));
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("remove", &next)(error)),
            _ => {}
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            held.sync_all()
        };
        write().map_err(self.failed("write", &path))?;
        Ok(changed)
    }

    fn failed(&self, operation: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Failure + use<> {
        let (path, slug): (PathBuf, _) = (path.to_owned(), self.failed);
        move |error| {
            Failure::environment(slug, format!("{operation} {}: {error}", path.display()))
                .help("check the permissions of the data folder")
        }
    }
}
