//! Bytes by their place: what records are cut from.
//!
//! A place is counted in what a reader sees; of a packed file that is what comes out of it. Reading goes forward: a place behind the
//! last one that was asked for is always near, one before it may cost as much as starting again.

use std::{fs::File, io, sync::Arc};

/// Bytes, and what comes after them.
#[derive(Debug)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub then: Then,
}

#[derive(Debug)]
pub enum Then {
    /// As many as were asked for: there may be more.
    More,
    /// The end, for now.
    End,
    /// Nothing more can be had, and this is why.
    Broken(io::Error),
}

pub trait Input: Send {
    /// Up to `length` bytes from `offset`; fewer only where they are the last.
    fn read(&mut self, offset: u64, length: usize) -> io::Result<Piece>;

    /// How many bytes of the thing itself it took to come to `offset`: what a progress bar counts.
    fn taken(&self, offset: u64) -> u64;
}

/// A file as it is.
#[derive(Debug)]
pub struct Plain(pub Arc<File>);

impl Input for Plain {
    fn read(&mut self, offset: u64, length: usize) -> io::Result<Piece> {
        let bytes = read_at_most(&self.0, offset, length)?;
        let then = if bytes.len() < length { Then::End } else { Then::More };
        Ok(Piece { bytes, then })
    }

    fn taken(&self, offset: u64) -> u64 {
        offset
    }
}

/// Up to `length` bytes from `offset`; fewer only at the end of the file.
pub fn read_at_most(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.max(1));
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
