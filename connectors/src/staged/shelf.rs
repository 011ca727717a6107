//! Where the parts of a staged sink are shown: a folder, or a bucket. What is not finished stays in a local folder either way.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use syncline_engine::sink::SinkError;

use super::parts::{make_folder, remove, trouble};

/// Where a few words for others to read stand beside the parts: the sign of who writes them.
pub trait Signpost {
    /// The words under this name.
    fn read(&mut self, name: &str) -> Result<Option<String>, SinkError>;

    /// Puts words there durably, unless there are some: false. Of two who do so at once, one is first. `by` tells them apart.
    fn put_first(&mut self, name: &str, words: &str, by: &str) -> Result<bool, SinkError>;

    /// Puts words there in place of others, all at once.
    fn put(&mut self, name: &str, words: &str, by: &str) -> Result<(), SinkError>;
}

/// Names and what stands under them. All calls come from the thread of the task.
pub trait Shelf: Signpost + Send {
    /// Makes the place ready. Called once, before the others.
    fn open(&mut self) -> Result<(), SinkError>;

    /// Every name that stands there, in no order.
    fn names(&mut self) -> Result<Vec<String>, SinkError>;

    /// How long what stands under this name is.
    fn length(&mut self, name: &str) -> Result<Option<u64>, SinkError>;

    /// What stands under this name as a local file: itself, or a copy at `scratch`.
    fn fetch(&mut self, name: &str, scratch: &Path) -> Result<PathBuf, SinkError>;

    /// Shows a finished local file, all at once, and removes it. Done already: nothing. `expected`: the length of what stands there
    /// and is replaced, where something may.
    fn show(&mut self, finished: &Path, name: &str, expected: Option<u64>) -> Result<(), SinkError>;

    /// No longer there when this returns.
    fn remove(&mut self, name: &str) -> Result<(), SinkError>;

    /// Makes names durable.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// What messages call it.
    fn place(&self, name: &str) -> String;
}

/// A folder. Unfinished parts lie in it too, hidden, so that showing is renaming.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Shelf for Folder {
    fn open(&mut self) -> Result<(), SinkError> {
        make_folder(&self.0)
    }

    fn names(&mut self) -> Result<Vec<String>, SinkError> {
        names_in(&self.0)
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, SinkError> {
        let path = self.0.join(name);
        match path.metadata() {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble("read", &path, &error)),
        }
    }

    fn fetch(&mut self, name: &str, _scratch: &Path) -> Result<PathBuf, SinkError> {
        Ok(self.0.join(name))
    }

    fn show(&mut self, finished: &Path, name: &str, expected: Option<u64>) -> Result<(), SinkError> {
        if !finished.exists() {
            // Shown before; a reader may have taken it away since.
            return Ok(());
        }
        if self.length(name)? != expected {
            return Err(meanwhile(&self.place(name)));
        }
        fs::rename(finished, self.0.join(name)).map_err(|error| trouble("rename", finished, &error))
    }

    fn remove(&mut self, name: &str) -> Result<(), SinkError> {
        remove(&self.0.join(name))
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        // A folder that was never made holds no names.
        if self.0.exists() { sync_folder(&self.0) } else { Ok(()) }
    }

    fn place(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Folder {
    /// Writes words into a file of their own, durably.
    fn beside(&self, name: &str, words: &str, by: &str) -> Result<PathBuf, SinkError> {
        let next = self.0.join(format!("{name}-{by}"));
        let write = || {
            let mut file = File::create(&next)?;
            file.write_all(words.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| trouble("write", &next, &error))?;
        Ok(next)
    }
}

impl Signpost for Folder {
    fn read(&mut self, name: &str) -> Result<Option<String>, SinkError> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(words) => Ok(Some(words)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble("read", &path, &error)),
        }
    }

    fn put_first(&mut self, name: &str, words: &str, by: &str) -> Result<bool, SinkError> {
        make_folder(&self.0)?;
        let (path, next) = (self.0.join(name), self.beside(name, words, by)?);
        let linked = match fs::hard_link(&next, &path) {
            // A file system without links has no two processes that begin at the same instant, as far as we can help it.
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => {
                fs::copy(&next, &path).map(drop)
            }
            linked => linked,
        };
        let _ = fs::remove_file(&next);
        match linked {
            Ok(()) => sync_folder(&self.0).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(trouble("create", &path, &error)),
        }
    }

    fn put(&mut self, name: &str, words: &str, by: &str) -> Result<(), SinkError> {
        let next = self.beside(name, words, by)?;
        fs::rename(&next, self.0.join(name)).map_err(|error| trouble("rename", &next, &error))
    }
}

/// Somebody else's bytes stand where ours should.
pub fn meanwhile(place: &str) -> SinkError {
    SinkError::Never(format!("{place} was written by somebody else meanwhile; move it away, and start again"))
}

/// The names in a local folder; none, when it is not there.
pub fn names_in(folder: &Path) -> Result<Vec<String>, SinkError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble("read the folder", folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| trouble("read the folder", folder, &error))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Makes names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| trouble("sync the folder", folder, &error))
}
