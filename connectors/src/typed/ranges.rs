//! Bytes of a file from any place on: of a disk, or of an object store.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path};

use crate::objects::{Bucket, io_error, wait::wait};

/// Something that holds bytes, all of which are there.
pub trait Ranges: Send + Sync {
    fn size(&self) -> u64;

    /// Exactly these bytes; [`io::ErrorKind::UnexpectedEof`] where they are not there.
    fn get(&self, from: u64, length: usize) -> io::Result<Bytes>;

    /// How far reading has come: the highest byte that was asked for, but for the index at the end.
    fn reached(&self) -> u64;
}

pub struct FileRanges {
    file: File,
    size: u64,
    reached: AtomicU64,
}

impl FileRanges {
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size, reached: AtomicU64::new(0) })
    }
}

impl Ranges for FileRanges {
    fn size(&self) -> u64 {
        self.size
    }

    fn get(&self, from: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from)?;
        note(&self.reached, from + length as u64, self.size);
        Ok(bytes.into())
    }

    fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}

/// What ends with the file is its index.
fn note(reached: &AtomicU64, end: u64, size: u64) {
    if end < size {
        reached.fetch_max(end, Ordering::Relaxed);
    }
}

/// Bytes of one request to a store: large enough that the way there and back does not count.
const REQUEST: u64 = 2 << 20;
/// Answers that are kept: the columns of a file lie in as many places, and are read by turns.
const KEPT: usize = 24;

/// An object; what was asked for last is kept, since it is asked for in small pieces.
pub struct ObjectRanges {
    bucket: Bucket,
    key: Path,
    size: u64,
    kept: Mutex<Vec<(u64, Bytes)>>,
    reached: AtomicU64,
}

impl ObjectRanges {
    pub fn new(bucket: Bucket, key: Path, size: u64) -> Self {
        Self { bucket, key, size, kept: Mutex::new(Vec::new()), reached: AtomicU64::new(0) }
    }

    fn ask(&self, from: u64, to: u64) -> io::Result<Bytes> {
        let (store, key) = (self.bucket.store.clone(), self.key.clone());
        let answer = wait(async move { store.get_range(&key, from..to).await })?;
        answer.map_err(|error| io_error(&error))
    }
}

impl Ranges for ObjectRanges {
    fn size(&self) -> u64 {
        self.size
    }

    fn get(&self, from: u64, length: usize) -> io::Result<Bytes> {
        let end = from + length as u64;
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let held = kept.iter().position(|(start, bytes)| *start <= from && end <= start + bytes.len() as u64);
        let (start, bytes) = match held {
            Some(at) => kept.remove(at),
            None => (from, self.ask(from, end.max(from + REQUEST).min(self.size))?),
        };
        let at = (from - start) as usize;
        let found = bytes.get(at..at + length).map(|_| bytes.slice(at..at + length));
        kept.push((start, bytes));
        if kept.len() > KEPT {
            kept.remove(0);
        }
        note(&self.reached, end, self.size);
        found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}

/// The bytes from a place on, as they are read one after the other.
pub struct Onward {
    pub ranges: std::sync::Arc<dyn Ranges>,
    pub at: u64,
}

impl Onward {
    pub fn new(ranges: std::sync::Arc<dyn Ranges>, at: u64) -> Self {
        Self { ranges, at }
    }
}

impl Read for Onward {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.ranges.size().saturating_sub(self.at) as usize);
        if length == 0 {
            return Ok(0);
        }
        into[..length].copy_from_slice(&self.ranges.get(self.at, length)?);
        self.at += length as u64;
        Ok(length)
    }
}
