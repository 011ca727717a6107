//! Whole lines of a file, a block at a time.
//!
//! A block is read into a buffer of its own, which the rows then share: no line is copied. What follows the last line end is read
//! again with the next block, so nothing has to be carried over, and a crash between two blocks loses nothing.
//!
//! A line longer than a record may be is never held as a whole: it is read through, hashed, and its first bytes are kept.

use std::{fs::File, io};

use syncline_engine::source::MAX_RECORD;
use syncline_record::DeadLetter;
use xxhash_rust::xxh3::Xxh3;

use super::cursor::read_at_most;

/// Lines per block: what a batch of the engine is.
const LINES: usize = 1024;
/// Most bytes of a block of ordinary lines; fewer when lines are short, so that little is read twice.
const BLOCK: usize = 256 << 10;
const SMALLEST_BLOCK: usize = 16 << 10;
/// The longest record with a byte order mark before it, a line end after it, and some more to see that it is not longer.
const LARGEST_BLOCK: usize = MAX_RECORD + 8;
/// Bytes of an oversized line that are read at once.
const STRIDE: usize = 1 << 20;
/// Bytes of an oversized line that one call reads through: under a second of a slow disk.
const STRIDES_PER_CALL: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where reading stands: byte, lines before it, and whether the last of them had no line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub offset: u64,
    pub line: u64,
    pub unended: bool,
}

/// What a block holds.
#[derive(Debug, Default)]
pub struct Block {
    pub payload: Vec<u8>,
    /// Line → start and end in `payload`.
    pub spans: Vec<(u32, u32)>,
    /// Line → its number, from 1.
    pub numbers: Vec<u64>,
    /// Line → the byte of the file at which it starts.
    pub starts: Vec<u64>,
    pub oversized: Option<Oversized>,
    pub next: Mark,
}

/// A line that is no record because of its length.
#[derive(Debug, PartialEq)]
pub struct Oversized {
    pub number: u64,
    pub start: u64,
    pub length: u64,
    pub hash: u128,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub enum Next {
    Block(Block),
    /// Nothing more now: the end of the file, or a line without its end.
    Nothing,
    /// In the middle of a very long line: call again.
    Underway,
    /// The last line was taken without a line end, and now goes on.
    Regrown,
}

/// Reads one file.
pub struct Lines {
    block: usize,
    long: Option<LongLine>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { block: BLOCK, long: None }
    }
}

impl Lines {
    /// The lines after `mark`. `whole_only`: a line at the end of the file without a line end waits for it.
    pub fn next(&mut self, file: &File, mark: Mark, whole_only: bool) -> io::Result<Next> {
        if self.long.is_some() {
            return self.read_through(file, mark, whole_only);
        }
        loop {
            let bytes = read_at_most(file, mark.offset, self.block)?;
            let at_end = bytes.len() < self.block;
            if at_end && bytes.is_empty() {
                return Ok(Next::Nothing);
            }
            let Some(skipped) = skipped(&bytes, mark) else { return Ok(Next::Regrown) };
            let block = cut(bytes, skipped, mark, at_end && !whole_only);
            if block.next != mark {
                self.adapt(&block, mark);
                return Ok(Next::Block(block));
            }
            if at_end {
                return Ok(Next::Nothing);
            }
            if self.block == LARGEST_BLOCK {
                self.block = BLOCK;
                self.long = Some(LongLine::at(mark.offset + skipped as u64));
                return self.read_through(file, mark, whole_only);
            }
            self.block = (self.block * 8).min(LARGEST_BLOCK);
        }
    }

    /// Aims the next block at just as many bytes as it will use.
    fn adapt(&mut self, block: &Block, mark: Mark) {
        let lines = block.next.line - mark.line;
        let bytes = block.next.offset - mark.offset;
        let wanted = (bytes / lines.max(1)) as usize * (LINES + LINES / 16);
        self.block = wanted.clamp(SMALLEST_BLOCK, BLOCK);
    }

    fn read_through(&mut self, file: &File, mark: Mark, whole_only: bool) -> io::Result<Next> {
        let Some(long) = &mut self.long else { return Ok(Next::Nothing) };
        for _ in 0..STRIDES_PER_CALL {
            let bytes = read_at_most(file, long.start + long.read, STRIDE)?;
            let line_end = memchr::memchr(b'\n', &bytes);
            long.take(&bytes[..line_end.unwrap_or(bytes.len())]);
            let at_end = bytes.len() < STRIDE;
            if line_end.is_some() || (at_end && !whole_only) {
                let offset = long.start + long.read + line_end.is_some() as u64;
                let next = Mark { offset, line: mark.line + 1, unended: line_end.is_none() };
                let oversized = self.long.take().map(|long| long.finish(next.line));
                return Ok(Next::Block(Block { oversized, next, ..Block::default() }));
            }
            if at_end {
                return Ok(Next::Nothing);
            }
        }
        Ok(Next::Underway)
    }
}

/// Bytes before the next line: the byte order mark of the file, or the line end that came after its line was taken. `None`: that
/// line goes on.
fn skipped(bytes: &[u8], mark: Mark) -> Option<usize> {
    match (mark.unended, bytes) {
        (true, [b'\n', ..]) => Some(1),
        (true, [b'\r', b'\n', ..]) => Some(2),
        (true, [b'\r']) => Some(0),
        (true, _) => None,
        (false, _) if mark.offset == 0 && bytes.starts_with(BYTE_ORDER_MARK) => Some(BYTE_ORDER_MARK.len()),
        (false, _) => Some(0),
    }
}

/// Cuts a block into lines. `take_rest`: what is left at the end is a line too.
fn cut(payload: Vec<u8>, skipped: usize, mark: Mark, take_rest: bool) -> Block {
    let ended_late = mark.unended && skipped > 0;
    let mut block = Block { next: Mark { unended: mark.unended && !ended_late, ..mark }, ..Block::default() };
    let mut start = skipped;
    if ended_late {
        block.next.offset += skipped as u64;
    }
    for end in memchr::memchr_iter(b'\n', &payload[skipped..]).map(|at| at + skipped) {
        block.take(&payload, start, end, mark.offset);
        start = end + 1;
        block.next = Mark { offset: mark.offset + start as u64, line: block.next.line + 1, unended: false };
        if block.spans.len() == LINES || block.oversized.is_some() {
            break;
        }
    }
    let full = block.spans.len() == LINES || block.oversized.is_some();
    if take_rest && !full && start < payload.len() && !block.next.unended {
        block.take(&payload, start, payload.len(), mark.offset);
        block.next = Mark { offset: mark.offset + payload.len() as u64, line: block.next.line + 1, unended: true };
    }
    block.payload = payload;
    block
}

impl Block {
    /// The next line, if it is a record: not only white space, not too long.
    fn take(&mut self, payload: &[u8], start: usize, end: usize, base: u64) {
        let end = if end > start && payload[end - 1] == b'\r' { end - 1 } else { end };
        let line = &payload[start..end];
        let (number, at) = (self.next.line + 1, base + start as u64);
        if line.len() > MAX_RECORD {
            let mut long = LongLine::at(at);
            long.take(line);
            self.oversized = Some(long.finish(number));
        } else if !line.trim_ascii_start().is_empty() {
            self.spans.push((start as u32, end as u32));
            self.numbers.push(number);
            self.starts.push(at);
        }
    }
}

/// A line on its way through.
struct LongLine {
    start: u64,
    /// Bytes of it that were seen, a held back carriage return included.
    read: u64,
    hash: Xxh3,
    length: u64,
    bytes: Vec<u8>,
    /// The last byte was a carriage return: part of the line end, if the line ends now.
    held: bool,
}

impl LongLine {
    fn at(start: u64) -> Self {
        Self { start, read: 0, hash: Xxh3::new(), length: 0, bytes: Vec::new(), held: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.read += bytes.len() as u64;
        if self.held && !bytes.is_empty() {
            self.add(b"\r");
            self.held = false;
        }
        match bytes.split_last() {
            Some((b'\r', before)) => {
                self.add(before);
                self.held = true;
            }
            _ => self.add(bytes),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        let room = DeadLetter::KEPT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(self, number: u64) -> Oversized {
        let Self { start, length, bytes, .. } = self;
        Oversized { number, start, length, hash: self.hash.digest128(), bytes }
    }
}
