//! How far a file has been read, and how to know it again.
//!
//! A name says little: files are rotated, replaced and truncated under their names. So a cursor keeps device, inode and the hash of
//! the file's head beside the offset, and reading goes on only where these fit.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_record::{Micros, keys};

use crate::records::{Packing, Part, input::read_at_most};

/// Bytes at the start of a file that tell it from others. One block of a disk holds them; lines of events differ well within.
const HEAD: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The path as the pipeline writes it.
    pub path: String,
    /// 0 for the first file that was seen under this path, 1 for the one that took its place, …
    pub generation: u32,
    #[serde(flatten)]
    pub identity: Identity,
    pub head: Head,
    /// Byte at which reading goes on; of a packed file, of what is in it.
    pub offset: u64,
    /// Lines before it.
    pub line: u64,
    /// The one instant that the rows of this file have as their time.
    pub time: Micros,
    /// How long the file was when this was written: more than `offset` means that some of it is unread.
    pub size: u64,
    /// The last line was taken at the end of the file, without a line end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unended: bool,
    /// And it may have been only a part of its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
}

/// How far the bytes of a packed file itself were read: that is not to be seen from the place in what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    pub packing: Packing,
    pub taken: u64,
    /// All that was in these bytes was given.
    pub ended: bool,
}

impl Packed {
    pub fn at_start(packing: Packing) -> Self {
        Self { packing, taken: 0, ended: false }
    }
}

impl Cursor {
    /// At the start of a file that was never read.
    pub fn at_start(path: String, generation: u32, seen: &Seen, time: Micros, packed: Option<Packed>) -> Self {
        let Seen { identity, head, size } = *seen;
        Self { path, generation, identity, head, offset: 0, line: 0, time, size, unended: false, part: None, packed }
    }

    /// How much of the file itself was read.
    pub fn reached(&self) -> u64 {
        self.packed.map_or(self.offset, |packed| packed.taken)
    }

    /// Everything that was in the file when this was written was given.
    pub fn is_read(&self) -> bool {
        self.reached() >= self.size && self.packed.is_none_or(|packed| packed.ended)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// The first bytes of a file, as far as they existed when this was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub length: u32,
    #[serde(with = "hex")]
    pub hash: u128,
}

impl Head {
    pub fn of(file: &File) -> io::Result<Self> {
        Self::first(file, HEAD)
    }

    fn first(file: &File, length: usize) -> io::Result<Self> {
        let bytes = read_at_most(file, 0, length)?;
        Ok(Self { length: bytes.len() as u32, hash: keys::content_hash(&bytes) })
    }

    /// Whether `file` starts with the bytes that this was taken from.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        Ok(Self::first(file, self.length as usize)? == *self)
    }

    pub fn is_whole(&self) -> bool {
        self.length as usize == HEAD
    }
}

/// An earlier cursor of a file that was read on since, so that the file has to have all that was read: whoever goes back reads it again.
/// `then`: it was not known yet. `None`: the cursors are no file's.
pub fn unread_since(then: Option<&Value>, read: &Value) -> Option<Value> {
    let read = Cursor::deserialize(read).ok().filter(|read| read.packed.is_none())?;
    let then = match then {
        Some(then) => Cursor::deserialize(then).ok()?,
        None => Cursor { offset: 0, line: 0, unended: false, part: None, ..read.clone() },
    };
    if (&then.path, then.generation) != (&read.path, read.generation) {
        return None;
    }
    let size = then.size.max(read.offset);
    serde_json::to_value(Cursor { size, ..then }).ok()
}

/// A file as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub identity: Identity,
    pub head: Head,
    pub size: u64,
}

impl Seen {
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { identity, head: Head::of(file)?, size: metadata.len() })
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&syncline_record::keys::hex128(*hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
