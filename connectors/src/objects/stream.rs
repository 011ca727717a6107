//! An object, read from any place on: the next piece is fetched while the last one is worked on.

use std::{
    io::{self, Read},
    time::Duration,
};

use object_store::{GetOptions, GetRange, path::Path};

use super::{
    bucket::{Bucket, io_error},
    wait::{Coming, start},
};
use crate::records::input::{Input, Piece, Then};

/// Bytes of one request: large enough that the way there and back does not count, small enough to hold two of them.
const CHUNK: u64 = 4 << 20;

/// How long a read waits for what is on its way before it says "not yet".
const A_MOMENT: Duration = Duration::from_millis(20);

pub struct Stream {
    bucket: Bucket,
    key: Path,
    size: u64,
    /// The object must still be this one.
    tag: Option<String>,
    window: Vec<u8>,
    /// Where the window starts.
    start: u64,
    coming: Option<Coming<object_store::Result<Vec<u8>>>>,
}

impl Stream {
    pub fn new(bucket: Bucket, key: Path, size: u64, tag: Option<String>) -> Self {
        Self { bucket, key, size, tag, window: Vec::new(), start: 0, coming: None }
    }

    fn end(&self) -> u64 {
        self.start + self.window.len() as u64
    }

    /// Asks for what follows the window.
    fn ask(&mut self) -> io::Result<()> {
        let from = self.end();
        if self.coming.is_some() || from >= self.size {
            return Ok(());
        }
        let range = Some(GetRange::Bounded(from..(from + CHUNK).min(self.size)));
        let options = GetOptions { range, if_match: self.tag.clone(), ..GetOptions::default() };
        let (store, key) = (self.bucket.store.clone(), self.key.clone());
        self.coming = Some(start(async move { Ok(store.get_opts(&key, options).await?.bytes().await?.to_vec()) })?);
        Ok(())
    }

    fn take(&mut self) -> io::Result<()> {
        let Some(coming) = &self.coming else { return Ok(()) };
        let answer = coming.within(A_MOMENT)?;
        self.coming = None;
        let bytes = answer.map_err(|error| io_error(&error))?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the store gave fewer bytes than it has"));
        }
        self.window.extend_from_slice(&bytes);
        Ok(())
    }

    fn go_to(&mut self, offset: u64) {
        if offset < self.start || offset > self.end() {
            (self.start, self.coming) = (offset, None);
            self.window.clear();
        } else {
            self.window.drain(..(offset - self.start) as usize);
            self.start = offset;
        }
    }
}

impl Input for Stream {
    fn read(&mut self, offset: u64, length: usize) -> io::Result<Piece> {
        self.go_to(offset);
        while self.window.len() < length && self.end() < self.size {
            self.ask()?;
            self.take()?;
        }
        // What comes next is on its way while these bytes are worked on.
        if self.window.len() < length.max(CHUNK as usize) {
            self.ask()?;
        }
        let bytes = self.window[..self.window.len().min(length)].to_vec();
        let then = if offset + bytes.len() as u64 >= self.size { Then::End } else { Then::More };
        Ok(Piece { bytes, then })
    }

    fn taken(&self, offset: u64) -> u64 {
        offset
    }
}

/// The same from its start, for who unpacks it.
pub struct Reading {
    stream: Stream,
    at: u64,
}

impl Reading {
    pub fn new(stream: Stream) -> Self {
        Self { stream, at: 0 }
    }
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.stream.read(self.at, into.len())?;
        into[..piece.bytes.len()].copy_from_slice(&piece.bytes);
        self.at += piece.bytes.len() as u64;
        Ok(piece.bytes.len())
    }
}
