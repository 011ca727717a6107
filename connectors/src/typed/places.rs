//! Which files or objects are meant, and how one is opened.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::path::Path as Key;
use syncline_engine::source::SourceError;
use syncline_record::keys;

use super::ranges::{FileRanges, ObjectRanges, Ranges};
use crate::{
    file::Wanted,
    objects::{self, Bucket},
    spec::{Arguments, ConnectorError, Surroundings},
    system_words,
    written_once::Version,
};

/// Bytes at the end of a file that tell it from others: there lies its index, with the place and size of everything in it.
const TAIL: u64 = 4096;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the pipeline would write it: the partition's name.
    pub name: String,
    pub size: u64,
    pub tag: String,
}

impl Entry {
    /// One that was found before.
    pub fn known(name: &str, size: u64) -> Self {
        Self { name: name.to_owned(), size, tag: String::new() }
    }

    pub fn version(&self) -> Version<'_> {
        Version { tag: Some(&self.tag), size: self.size }
    }
}

pub enum Places {
    Files { wanted: Wanted },
    Objects { bucket: Bucket, wanted: String },
}

impl Places {
    /// `extension`: what is read of a folder.
    pub fn new(
        written: &str,
        extension: &str,
        arguments: &Arguments,
        around: &Surroundings,
    ) -> Result<Self, ConnectorError> {
        let meant = match written.ends_with('/') {
            true => format!("{written}*.{extension}"),
            false => written.to_owned(),
        };
        if objects::is_address(&meant) {
            let (bucket, wanted) = Bucket::of(&meant, arguments)?;
            crate::file::pattern(&wanted)?;
            return Ok(Self::Objects { bucket, wanted });
        }
        Ok(Self::Files { wanted: Wanted::new(&meant, around)? })
    }

    pub fn written(&self) -> String {
        match self {
            Self::Files { wanted } => wanted.written.clone(),
            Self::Objects { bucket, wanted } => bucket.place(wanted),
        }
    }

    pub fn noun(&self) -> &'static str {
        match self {
            Self::Files { .. } => "file",
            Self::Objects { .. } => "object",
        }
    }

    /// Whether a file of this name is one of those that are read now.
    pub fn means(&self, name: &str) -> bool {
        match self {
            Self::Files { wanted } => wanted.means(name),
            Self::Objects { bucket, wanted } => objects::means(bucket, wanted, name),
        }
    }

    /// Where a file of this name really lies: the pipeline may write its name otherwise now. An address has one spelling.
    pub fn real(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Files { wanted } => wanted.path_of(name).canonicalize().ok(),
            Self::Objects { .. } => None,
        }
    }

    /// Whether the trouble is that the one file which the pipeline names is not there.
    pub fn is_missing(&self, trouble: &SourceError) -> bool {
        let named = match self {
            Self::Files { wanted } => !wanted.is_pattern() && !wanted.path_of(&wanted.written).exists(),
            Self::Objects { wanted, .. } => !wanted.contains(['*', '?', '[']),
        };
        named && matches!(trouble, SourceError::Unreadable { .. })
    }

    /// Those that are there, by name.
    pub fn entries(&self) -> Result<Vec<Entry>, SourceError> {
        match self {
            Self::Files { wanted } => {
                let entry = |found: crate::file::Found| {
                    let (size, tag) = tagged(&found.path).map_err(|error| unreadable(&found.name, &error))?;
                    Ok(Entry { name: found.name, size, tag })
                };
                wanted.files()?.into_iter().map(entry).collect()
            }
            Self::Objects { bucket, wanted } => {
                let entry = |object: object_store::ObjectMeta| Entry {
                    name: bucket.place(object.location.as_ref()),
                    size: object.size,
                    tag: objects::tag(&object).unwrap_or_default(),
                };
                Ok(objects::found(bucket, wanted)?.into_iter().map(entry).collect())
            }
        }
    }

    pub fn open(&self, entry: &Entry) -> Result<Arc<dyn Ranges>, SourceError> {
        match self {
            Self::Files { wanted } => {
                let opened = File::open(wanted.path_of(&entry.name)).and_then(FileRanges::new);
                Ok(Arc::new(opened.map_err(|error| unreadable(&entry.name, &error))?))
            }
            Self::Objects { bucket, .. } => {
                let key = entry.name.strip_prefix(&bucket.address).unwrap_or(&entry.name);
                Ok(Arc::new(ObjectRanges::new(bucket.clone(), Key::from(key), entry.size)))
            }
        }
    }
}

fn unreadable(name: &str, error: &io::Error) -> SourceError {
    SourceError::Unreadable { what: name.to_owned(), detail: system_words(error) }
}

/// Size and what tells the file from others.
fn tagged(path: &Path) -> io::Result<(u64, String)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let length = size.min(TAIL);
    let mut tail = vec![0; length as usize];
    file.read_exact_at(&mut tail, size - length)?;
    Ok((size, keys::hex128(keys::content_hash(&tail))))
}
