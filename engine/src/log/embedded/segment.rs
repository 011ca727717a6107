//! One file of a topic: whole frames one after the other, named by the offset of its first record.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    disk::failed,
    frame::{HEADER, Header},
};
use crate::log::LogError;

/// Distance of two entries of the sparse index: what a cold seek walks over, against 16 bytes of memory for each.
const INDEX_EVERY: u64 = 256 << 10;
/// Sequential readers that are remembered per file.
const READERS: usize = 8;
/// What a walk over headers and a scan read at a time.
pub const SCAN_CHUNK: usize = 256 << 10;

pub struct Segment {
    pub base: u64,
    pub path: PathBuf,
    pub file: File,
    /// Bytes of whole frames that are in the file; after a start, of the whole file: it may end in the frames of an earlier life.
    length: AtomicU64,
    places: Mutex<Places>,
}

/// Offsets whose position is known.
#[derive(Default)]
struct Places {
    /// In order; about one for each [`INDEX_EVERY`] bytes that were written or walked over.
    sparse: Vec<(u64, u64)>,
    /// Where readers stopped, newest last.
    recent: VecDeque<(u64, u64)>,
}

impl Places {
    fn note(&mut self, offset: u64, position: u64) {
        if self.sparse.last().is_none_or(|&(_, last)| position >= last + INDEX_EVERY) {
            self.sparse.push((offset, position));
        }
    }
}

pub fn path_of(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

impl Segment {
    pub fn create(folder: &Path, base: u64) -> Result<Segment, LogError> {
        let path = path_of(folder, base);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(failed("create", &path))?;
        Ok(Segment { base, path, file, length: AtomicU64::new(0), places: Mutex::default() })
    }

    /// Takes a file that is not needed any more, at `from`, to write over what is in it: the bytes stay, and none of them counts.
    pub fn renew(from: &Path, folder: &Path, base: u64) -> io::Result<Segment> {
        let path = path_of(folder, base);
        fs::rename(from, &path)?;
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Segment { base, path, file, length: AtomicU64::new(0), places: Mutex::default() })
    }

    pub fn open(folder: &Path, base: u64) -> Result<Segment, LogError> {
        Segment::at(path_of(folder, base), base)
    }

    /// A file by its name.
    pub fn at(path: PathBuf, base: u64) -> Result<Segment, LogError> {
        let open = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(failed("open", &path))?;
        Ok(Segment { base, path, file, length: AtomicU64::new(length), places: Mutex::default() })
    }

    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// With what is left of the records that were here before it was written over.
    pub fn size_on_disk(&self) -> Result<u64, LogError> {
        self.file.metadata().map(|data| data.len()).map_err(failed("look at", &self.path))
    }

    /// Adds whole frames at `position`, the end.
    pub fn write(&self, bytes: &[u8], position: u64) -> Result<(), LogError> {
        self.file.write_all_at(bytes, position).map_err(failed("write to", &self.path))?;
        self.length.store(position + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    pub fn bytes(&self, position: u64, count: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; count];
        let read = read_up_to(&self.file, &mut bytes, position).map_err(failed("read", &self.path))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// Tells the index where a frame starts. Called in order of offset.
    pub fn note(&self, offset: u64, position: u64) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).note(offset, position);
    }

    /// Remembers where a reader stopped, because it will go on there.
    pub fn remember(&self, offset: u64, position: u64) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.recent.len() == READERS {
            places.recent.pop_front();
        }
        places.recent.push_back((offset, position));
    }

    /// The nearest known frame start at or before `offset`.
    fn near(&self, offset: u64) -> (u64, u64) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let after = places.sparse.partition_point(|&(known, _)| known <= offset);
        let sparse = if after == 0 { (self.base, 0) } else { places.sparse[after - 1] };
        let recent = places.recent.iter().filter(|&&(known, _)| known <= offset).max();
        recent.map_or(sparse, |&recent| recent.max(sparse))
    }

    /// Offset and position of the frame that holds `offset`, which lies before `limit`. `Err(Ok(broken))` where the walk meets damage.
    pub fn locate(&self, offset: u64, limit: u64) -> Result<(u64, u64), Result<Broken, LogError>> {
        let (base, position) = self.near(offset);
        if base == offset {
            return Ok((base, position));
        }
        let mut walk = Walk::new(self, base, position, limit, SCAN_CHUNK);
        loop {
            let (base, position) = (walk.offset, walk.position);
            match walk.header().map_err(Err)? {
                Step::Frame(header, _) if header.next() > offset => return Ok((base, position)),
                Step::Frame(..) => self.note(walk.offset, walk.position),
                Step::End => return Err(Ok(Broken { offset: walk.offset, detail: MISSING })),
                Step::Broken(broken) => return Err(Ok(broken)),
            }
        }
    }
}

/// A file is not where it should be, or ends too early.
pub const MISSING: &str = "records are missing";

/// Why a frame is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub offset: u64,
    pub detail: &'static str,
}

impl Broken {
    pub fn in_topic(self, topic: &str) -> LogError {
        LogError::Damaged { topic: topic.to_owned(), offset: self.offset, detail: self.detail.to_owned() }
    }
}

pub enum Step {
    /// Header, and where its body is in [`Walk::buffer`] (empty for a walk over headers).
    Frame(Header, Range<usize>),
    /// The limit is reached, between two frames.
    End,
    Broken(Broken),
}

/// Goes over the frames of a file in order.
pub struct Walk<'s> {
    segment: &'s Segment,
    /// Of the next frame.
    pub offset: u64,
    pub position: u64,
    limit: u64,
    /// The offset at which the next file begins.
    until: u64,
    chunk: usize,
    pub buffer: Vec<u8>,
    /// Position of the buffer's first byte.
    start: u64,
}

impl<'s> Walk<'s> {
    /// From the frame of `offset` at `position`, to `limit`, which must be the end of a frame; reads about `chunk` bytes at a time.
    pub fn new(segment: &'s Segment, offset: u64, position: u64, limit: u64, chunk: usize) -> Self {
        Walk { segment, offset, position, limit, until: u64::MAX, chunk, buffer: Vec::new(), start: position }
    }

    /// Ends at this offset, with which the next file begins; what follows there are frames of an earlier life of the file.
    pub fn until(mut self, offset: u64) -> Self {
        self.until = offset;
        self
    }

    /// The next frame, with its body, verified.
    pub fn frame(&mut self) -> Result<Step, LogError> {
        let step = self.checked_header()?;
        let Step::Frame(header, _) = step else { return Ok(step) };
        let size = header.size() as usize;
        if !self.fill(size)? {
            return Ok(self.broken("it is cut off"));
        }
        let at = (self.position - self.start) as usize;
        let body = at + HEADER..at + size;
        if crc32fast::hash(&self.buffer[body.clone()]) != header.body_crc {
            return Ok(self.broken("the checksum of its body does not match"));
        }
        self.pass(&header);
        Ok(Step::Frame(header, body))
    }

    /// The next frame's header; its body is neither read nor verified.
    pub fn header(&mut self) -> Result<Step, LogError> {
        let step = self.checked_header()?;
        if let Step::Frame(header, _) = &step {
            if self.position + header.size() > self.limit {
                return Ok(self.broken("it is cut off"));
            }
            self.pass(&header.clone());
        }
        Ok(step)
    }

    fn checked_header(&mut self) -> Result<Step, LogError> {
        if self.position == self.limit || self.offset == self.until {
            return Ok(Step::End);
        }
        if !self.fill(HEADER)? {
            return Ok(self.broken("it is cut off"));
        }
        let at = (self.position - self.start) as usize;
        Ok(match Header::decode(&self.buffer[at..]) {
            None => self.broken("the checksum of its header does not match"),
            Some(header) if header.base != self.offset => self.broken(MISSING),
            Some(header) => Step::Frame(header, 0..0),
        })
    }

    fn pass(&mut self, header: &Header) {
        self.offset = header.next();
        self.position += header.size();
    }

    fn broken(&self, detail: &'static str) -> Step {
        Step::Broken(Broken { offset: self.offset, detail })
    }

    /// Sees to it that `bytes` bytes from the position on are in the buffer; false when the file or the limit ends before.
    fn fill(&mut self, bytes: usize) -> Result<bool, LogError> {
        let need = self.position + bytes as u64;
        if need > self.limit {
            return Ok(false);
        }
        let held = self.start + self.buffer.len() as u64;
        if need <= held {
            return Ok(true);
        }
        if self.position >= held {
            self.buffer.clear();
        } else {
            self.buffer.drain(..(self.position - self.start) as usize);
        }
        self.start = self.position;
        let have = self.buffer.len();
        let want = bytes.max(self.chunk).min((self.limit - self.start) as usize);
        self.buffer.resize(want, 0);
        let read = read_up_to(&self.segment.file, &mut self.buffer[have..], self.start + have as u64);
        let read = read.map_err(failed("read", &self.segment.path))?;
        self.buffer.truncate(have + read);
        Ok(have + read >= bytes)
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
