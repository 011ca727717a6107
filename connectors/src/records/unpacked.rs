//! A packed file, read as what it holds.
//!
//! An archive cannot be entered in its middle: to come to a place, everything before it is unpacked again. So reading keeps a window
//! from the last place that was asked for, and only a restart begins anew. Of an archive that is cut off or damaged everything before
//! that point is given, and then said what is wrong.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    input::{Input, Piece, Then},
    packing::Packing,
};

/// Unpacked at once: as much as a block of records usually is.
const STRIDE: usize = 256 << 10;

/// Gives the packed bytes from their start.
pub type Opener = Box<dyn FnMut() -> io::Result<Box<dyn Read + Send>> + Send>;

/// The bytes of a file from its start, each time anew.
pub fn from_start(file: Arc<File>) -> Opener {
    Box::new(move || Ok(Box::new(From0 { file: file.clone(), at: 0 })))
}

struct From0 {
    file: Arc<File>,
    at: u64,
}

impl Read for From0 {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

pub struct Unpacked {
    packing: Packing,
    open: Opener,
    /// None before the first read.
    stream: Option<Box<dyn Read + Send>>,
    /// Packed bytes that the stream has taken.
    taken: Arc<AtomicU64>,
    /// The packed bytes could not be had: no matter of the archive, and it may pass.
    starved: Arc<AtomicBool>,
    /// What was unpacked from `start` on.
    window: Vec<u8>,
    start: u64,
    over: Option<Over>,
}

/// Why the stream gives no more.
#[derive(Debug)]
enum Over {
    End,
    /// Kind and words: an error can be told more than once.
    Broken(ErrorKind, String),
}

impl Unpacked {
    pub fn new(packing: Packing, open: Opener) -> Self {
        let (taken, starved) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        Self { packing, open, stream: None, taken, starved, window: Vec::new(), start: 0, over: None }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.taken.store(0, Ordering::Relaxed);
        (self.start, self.over) = (0, None);
        self.window.clear();
        let packed = Counted { inner: (self.open)()?, taken: self.taken.clone(), starved: self.starved.clone() };
        self.stream = Some(self.packing.unpacked(packed)?);
        Ok(())
    }

    /// Unpacks some more behind the window.
    fn advance(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let before = self.window.len();
        self.window.resize(before + STRIDE, 0);
        let mut filled = before;
        while filled < self.window.len() && self.over.is_none() {
            match stream.read(&mut self.window[filled..]) {
                Ok(0) => self.over = Some(Over::End),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.starved.swap(false, Ordering::Relaxed) => {
                    self.window.truncate(filled);
                    return Err(error);
                }
                Err(error) => self.over = Some(self.packing.broken(&error, self.start + filled as u64)),
            }
        }
        self.window.truncate(filled);
        // Nothing at all is an empty file, however it is called.
        if filled == 0 && self.start == 0 && self.taken.load(Ordering::Relaxed) == 0 {
            self.over = Some(Over::End);
        }
        Ok(())
    }

    /// Lets go of what lies before `offset`.
    fn forget_before(&mut self, offset: u64) {
        let gone = ((offset - self.start) as usize).min(self.window.len());
        self.window.drain(..gone);
        self.start += gone as u64;
    }
}

impl Packing {
    fn broken(self, error: &io::Error, unpacked: u64) -> Over {
        let word = self.word();
        let detail = match error.kind() {
            _ if unpacked == 0 => format!("this is no {word} archive, or only its first bytes: {error}"),
            ErrorKind::UnexpectedEof => {
                format!("the {word} archive is cut off: it ends after {unpacked} unpacked bytes")
            }
            _ => format!("the {word} archive is damaged after {unpacked} unpacked bytes: {error}"),
        };
        Over::Broken(ErrorKind::InvalidData, detail)
    }
}

impl Input for Unpacked {
    fn read(&mut self, offset: u64, length: usize) -> io::Result<Piece> {
        if self.stream.is_none() || offset < self.start {
            self.restart()?;
        }
        loop {
            self.forget_before(offset);
            let there = self.start == offset && self.window.len() > length;
            if there || self.over.is_some() {
                break;
            }
            self.advance()?;
        }
        let bytes = match self.start == offset {
            true => self.window[..self.window.len().min(length)].to_vec(),
            false => Vec::new(),
        };
        let then = match &self.over {
            _ if self.window.len() > length => Then::More,
            Some(Over::Broken(kind, detail)) => Then::Broken(io::Error::new(*kind, detail.clone())),
            _ => Then::End,
        };
        Ok(Piece { bytes, then })
    }

    fn taken(&self, _offset: u64) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Counts what goes through.
struct Counted {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    starved: Arc<AtomicBool>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into).inspect_err(|error| {
            self.starved.store(error.kind() != ErrorKind::Interrupted, Ordering::Relaxed);
        })?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
