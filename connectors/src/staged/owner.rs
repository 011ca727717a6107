//! Whose a target is: a hidden sign beside the files, which says who writes them.
//!
//! Two data folders that write parts of the same names would take each other's rows away, and each would find its own books in
//! order. So the first one signs the target, and nobody else opens it, not even to start over. A folder is signed for each step
//! that writes parts into it, a single file once; there the sign also says how many bytes are ours, so that what a user has
//! written is neither built upon nor removed.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use syncline_engine::sink::{Owner, SinkError};

use super::{
    Target,
    parts::{make_folder, sync_folder, trouble},
};

/// Grows when an older version could not read a sign.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    format: u32,
    #[serde(flatten)]
    owner: Owner,
    /// Length of the single file as we left it; none when an earlier version wrote it and did not note what was its own.
    length: Option<u64>,
}

impl Target {
    fn sign_path(&self) -> PathBuf {
        match self {
            Self::Folder(names) => names.folder.join(format!(".{}.owner", names.prefix())),
            Self::Single { folder, name, .. } => folder.join(format!(".{name}.owner")),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Folder(names) => names.folder.clone(),
            Self::Single { folder, name, .. } => folder.join(name),
        }
    }

    /// Length of the single file; 0 when it is not there.
    fn standing(&self) -> u64 {
        match self {
            Self::Single { .. } => self.path().metadata().map_or(0, |metadata| metadata.len()),
            Self::Folder(_) => 0,
        }
    }

    /// The first file that is there and bears a name of ours.
    fn first_file(&self) -> Result<Option<String>, SinkError> {
        Ok(match self {
            Self::Folder(names) => {
                let there = names.there()?;
                there.shown.into_iter().map(|(name, ..)| name).chain(there.hidden).next()
            }
            Self::Single { name, .. } => (self.standing() > 0).then(|| name.clone()),
        })
    }
}

impl Sign {
    /// The sign of a target, made where there is none. `known`: we have a mark of this target.
    pub fn claim(target: &Target, owner: &Owner, known: bool) -> Result<Sign, SinkError> {
        let path = target.sign_path();
        make_folder(folder_of(&path))?;
        for _ in 0..2 {
            if let Some(sign) = read(&path)? {
                return if sign.owner == *owner { Ok(sign) } else { Err(foreign(target, &sign.owner, owner)) };
            }
            let first = target.first_file()?;
            if let (Some(file), false) = (&first, known) {
                return Err(unsigned(target, file, owner));
            }
            let length = if first.is_none() { Some(0) } else { None };
            let sign = Sign { format: FORMAT, owner: owner.clone(), length };
            if sign.is_first(&path)? {
                return Ok(sign);
            }
        }
        Err(SinkError::Again(format!("{} comes and goes", path.display())))
    }

    /// The single file has what we left in it, or nothing. `anew`: it is about to be removed.
    pub fn check(&self, target: &Target, anew: bool) -> Result<(), SinkError> {
        let Target::Single { .. } = target else { return Ok(()) };
        let (standing, path) = (target.standing(), target.path());
        match self.length {
            _ if standing == 0 => Ok(()),
            Some(length) if standing == length => Ok(()),
            Some(length) => Err(SinkError::Foreign(format!(
                "{path} has {standing} bytes, and {length} of `{}` were written to it: somebody else changed it. Move it away, \
                 and what comes next begins a new file; or write to a folder",
                self.owner.pipeline,
                path = path.display(),
            ))),
            None if anew => Err(SinkError::Foreign(format!(
                "{} was begun by an earlier version, which did not note what in it is its own. Move it away, and start over then",
                path.display()
            ))),
            None => Ok(()),
        }
    }

    /// Notes how long the single file is now.
    pub fn note(&mut self, target: &Target, length: Option<u64>) -> Result<(), SinkError> {
        if self.length == length {
            return Ok(());
        }
        self.length = length;
        let path = target.sign_path();
        let next = self.beside(&path)?;
        fs::rename(&next, &path).map_err(|error| trouble("rename", &next, &error))
    }

    /// Length of a file that we have added to: what we do not know of its beginning we do not know of the whole.
    pub fn with(&self, length: Option<u64>) -> Option<u64> {
        self.length.and(length)
    }

    /// Signs, unless somebody else did so first.
    fn is_first(&self, path: &Path) -> Result<bool, SinkError> {
        let next = self.beside(path)?;
        let linked = match fs::hard_link(&next, path) {
            // A file system without links has no two processes that begin at the same instant, as far as we can help it.
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => fs::copy(&next, path).map(drop),
            linked => linked,
        };
        let _ = fs::remove_file(&next);
        match linked {
            Ok(()) => sync_folder(folder_of(path)).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(trouble("create", path, &error)),
        }
    }

    /// Writes the sign into a file of its own, durably.
    fn beside(&self, path: &Path) -> Result<PathBuf, SinkError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{}", self.owner.id));
        let next = path.with_file_name(name);
        let text = serde_json::to_string(self).unwrap_or_default();
        let write = || {
            let mut file = fs::File::create(&next)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(|error| trouble("write", &next, &error))?;
        Ok(next)
    }
}

fn read(path: &Path) -> Result<Option<Sign>, SinkError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| trouble("read", path, &error))?,
    };
    match serde_json::from_str::<Sign>(&text) {
        Ok(sign) if sign.format <= FORMAT => Ok(Some(sign)),
        _ => Err(SinkError::Foreign(format!(
            "{} says who writes here, and cannot be read by this version. Write to another place; or, when nobody else \
             writes here, remove that file",
            path.display()
        ))),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn foreign(target: &Target, found: &Owner, owner: &Owner) -> SinkError {
    let (path, sign) = (target.path(), target.sign_path());
    let (path, sign) = (path.display(), sign.display());
    if found.id == owner.id || found.pipeline != owner.pipeline {
        return SinkError::Foreign(format!(
            "{path} is written by step `{}` of `{}`. Write to a file of its own, or to a folder; where that step is gone for good, \
             move {path} away and remove {sign}",
            found.step, found.pipeline
        ));
    }
    SinkError::Foreign(format!(
        "{path} holds rows of `{}` from another data folder (log {}, and this is {}). Give back that data folder; or write to \
         another place. Where that data folder is gone for good, move what it wrote away and remove {sign}",
        found.pipeline, found.id, owner.id
    ))
}

fn unsigned(target: &Target, file: &str, owner: &Owner) -> SinkError {
    let path = target.path();
    let path = path.display();
    SinkError::Foreign(match target {
        Target::Folder(_) => format!(
            "{path} holds rows of `{}` that this data folder did not write ({file}). Give back the data folder that did; or move \
             them away; or write to another folder",
            owner.pipeline
        ),
        Target::Single { .. } => format!(
            "{path} is there already, and `{}` did not write it. Move it away; or write to another file, or to a folder",
            owner.pipeline
        ),
    })
}
