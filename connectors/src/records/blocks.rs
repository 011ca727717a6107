//! Whole records of a text, a block at a time.
//!
//! A block is read into a buffer of its own, which the rows then share: no record is copied. What follows the last whole record is
//! read again with the next block, so nothing has to be carried over, and a crash between two blocks loses nothing.
//!
//! A record longer than one may be is never held as a whole: it is read through, hashed, and its first bytes are kept.

use std::io;

use serde::{Deserialize, Serialize};
use syncline_engine::source::MAX_RECORD;

use super::{
    array,
    framing::Framing,
    input::{Input, Piece, Then},
    long::{LongRecord, Unusable},
};

/// Records per block: what a batch of the engine is.
const RECORDS: usize = 1024;
/// Most bytes of a block of ordinary records; fewer when they are short, so that little is read twice.
const BLOCK: usize = 256 << 10;
const SMALLEST_BLOCK: usize = 16 << 10;
/// The longest record with a byte order mark before it, a line end after it, and some more to see that it is not longer.
const LARGEST_BLOCK: usize = MAX_RECORD + 8;
/// Bytes of an oversized record that are read at once.
const STRIDE: usize = 1 << 20;
/// Bytes of an oversized record that one call reads through: under a second of a slow disk.
const STRIDES_PER_CALL: usize = 64;
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where reading stands: byte, lines before it, and whether the last of them had no line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub offset: u64,
    pub line: u64,
    pub unended: bool,
    /// The last record was taken without its end, and it may be that only a part of it was there.
    pub part: Option<Part>,
}

/// Where a record starts: byte, and lines before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub offset: u64,
    pub line: u64,
}

/// What a block holds.
#[derive(Debug, Default)]
pub struct Block {
    pub payload: Vec<u8>,
    /// Record → start and end in `payload`.
    pub spans: Vec<(u32, u32)>,
    /// Record → its number, from 1.
    pub numbers: Vec<u64>,
    /// Record → the byte of the text at which it starts.
    pub starts: Vec<u64>,
    pub unusable: Option<Unusable>,
    pub next: Mark,
    /// Nothing follows `next`, for now.
    pub last: bool,
    /// An array ends with its last record.
    pub closed: bool,
}

#[derive(Debug)]
pub enum Next {
    Block(Box<Block>),
    /// Nothing more now: the end of the text, or a record without its end.
    Nothing,
    /// In the middle of a very long record: call again.
    Underway,
}

/// Reads one text.
pub struct Blocks {
    framing: Framing,
    block: usize,
    long: Option<LongRecord>,
    /// Where the last block of an array ended, and whether with the bracket of the array.
    behind: Option<(u64, bool)>,
}

impl Blocks {
    pub fn new(framing: Framing) -> Self {
        Self { framing, block: BLOCK, long: None, behind: None }
    }

    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// The records after `mark`. `whole_only`: one at the end of the text without a line end waits for it.
    pub fn next(&mut self, input: &mut dyn Input, mark: Mark, whole_only: bool) -> io::Result<Next> {
        self.at_most(RECORDS, input, mark, whole_only)
    }

    /// The first record of a text, and where the second one begins.
    pub fn first(&mut self, input: &mut dyn Input, whole_only: bool) -> io::Result<Next> {
        self.at_most(1, input, Mark::default(), whole_only)
    }

    fn at_most(&mut self, most: usize, input: &mut dyn Input, mark: Mark, whole_only: bool) -> io::Result<Next> {
        if self.long.is_some() {
            return self.read_through(input, whole_only);
        }
        if self.is_closed(input, mark)? {
            return array::behind(input, mark, self.block);
        }
        loop {
            let Piece { bytes, then } = input.read(mark.offset, self.block)?;
            let end = mark.offset + bytes.len() as u64;
            let over = matches!(then, Then::End);
            let then = self.open_end(then, end);
            match then {
                Then::Broken(error) if bytes.is_empty() => return Err(error),
                Then::End if bytes.is_empty() => return Ok(Next::Nothing),
                _ => {}
            }
            let Some(skipped) = self.skipped(&bytes, mark) else { return self.go_on(most, input, mark, whole_only) };
            let at_end = matches!(then, Then::End);
            let mut block = self.cut(bytes, skipped, mark, most, at_end && !whole_only);
            if block.closed && over {
                block.take_space(mark.offset);
            }
            if block.next != mark {
                block.last = (at_end || over && block.closed) && block.next.offset == end;
                self.adapt(&block, mark);
                self.behind = Some((block.next.offset, block.closed));
                return Ok(Next::Block(Box::new(block)));
            }
            match then {
                Then::Broken(error) => return Err(error),
                Then::End => return Ok(Next::Nothing),
                Then::More => {}
            }
            if self.block == LARGEST_BLOCK {
                self.block = BLOCK;
                let start = Part { offset: mark.offset + skipped as u64, line: mark.line };
                self.long = Some(LongRecord::at(start, &self.framing));
                return self.read_through(input, whole_only);
            }
            self.block = (self.block * 8).min(LARGEST_BLOCK);
        }
    }

    /// Everything of an array was given, and its bracket stands before `mark`.
    fn is_closed(&self, input: &mut dyn Input, mark: Mark) -> io::Result<bool> {
        match self.behind {
            _ if self.framing != Framing::Elements => Ok(false),
            Some((offset, closed)) if offset == mark.offset => Ok(closed),
            _ => array::is_closed_before(input, mark),
        }
    }

    /// The end of a text, as it is for its framing: an array ends with its bracket, which was not met.
    fn open_end(&self, then: Then, end: u64) -> Then {
        match (&self.framing, then) {
            (Framing::Elements, Then::End) => Then::Broken(array::cut_off(end)),
            (_, then) => then,
        }
    }

    /// The last record was taken without its end, and the text goes on behind it. JSON that was whole is a record, and what follows is
    /// the next one; a part of JSON was none, and the record is read again with the rest. A part of a CSV record cannot be told from
    /// a whole one: the row that it gave stands, and the record as it is now is unusable.
    fn go_on(&mut self, most: usize, input: &mut dyn Input, mark: Mark, whole_only: bool) -> io::Result<Next> {
        let Some(part) = mark.part else {
            return self.at_most(most, input, Mark { unended: false, ..mark }, whole_only);
        };
        match self.framing {
            Framing::Csv { .. } => {
                self.long = Some(LongRecord::at(part, &self.framing).grown());
                self.read_through(input, whole_only)
            }
            Framing::Lines | Framing::Elements => {
                let again = Mark { offset: part.offset, line: part.line, unended: false, part: None };
                self.at_most(most, input, again, whole_only)
            }
        }
    }

    /// Aims the next block at just as many bytes as it will use.
    fn adapt(&mut self, block: &Block, mark: Mark) {
        let records = block.spans.len().max(1);
        let bytes = (block.next.offset - mark.offset) as usize;
        let wanted = bytes.div_ceil(records) * (RECORDS + RECORDS / 16);
        self.block = wanted.clamp(SMALLEST_BLOCK, BLOCK);
    }

    fn read_through(&mut self, input: &mut dyn Input, whole_only: bool) -> io::Result<Next> {
        for _ in 0..STRIDES_PER_CALL {
            let Some(long) = &mut self.long else { return Ok(Next::Nothing) };
            let from = long.start.offset + long.read;
            let Piece { bytes, then } = input.read(from, STRIDE)?;
            let ended = long.take(&bytes, &self.framing);
            let end = long.start.offset + long.read;
            let closed = ended && bytes.get((end - from) as usize) == Some(&b']');
            let over = closed && matches!(then, Then::End) && end + 1 == from + bytes.len() as u64;
            let then = if ended { then } else { self.open_end(then, end) };
            let Some(long) = &mut self.long else { return Ok(Next::Nothing) };
            let at_end = matches!(then, Then::End);
            if ended || (at_end && !whole_only) {
                let offset = long.start.offset + long.read + ended as u64;
                let part = (!ended).then_some(long.start);
                let next = Mark { offset, line: long.start.line + 1 + long.line_ends, unended: !ended, part };
                self.behind = Some((offset, closed));
                let unusable = self.long.take().map(LongRecord::finish);
                let block = Block { unusable, next, last: !ended || over, ..Block::default() };
                return Ok(Next::Block(Box::new(block)));
            }
            match then {
                Then::Broken(error) => return Err(error),
                Then::End => return Ok(Next::Nothing),
                Then::More => {}
            }
        }
        Ok(Next::Underway)
    }

    /// Bytes before the next record: what the text begins with, or the line end that came after its record was taken. `None`: more
    /// stands behind that record.
    fn skipped(&self, bytes: &[u8], mark: Mark) -> Option<usize> {
        match (mark.unended, bytes) {
            (true, [b'\n', ..]) => Some(1),
            (true, [b'\r', b'\n', ..]) => Some(2),
            (true, [b'\r']) => Some(0),
            (true, _) => None,
            (false, _) if mark.offset == 0 => {
                let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
                Some(bytes.len() - text.len() + self.framing.lead(text))
            }
            (false, _) => Some(0),
        }
    }

    /// Cuts a block into records. `take_rest`: what is left at the end is one too.
    fn cut(&self, payload: Vec<u8>, skipped: usize, mark: Mark, most: usize, take_rest: bool) -> Block {
        let ended_late = mark.unended && skipped > 0;
        let before = if ended_late { Mark { unended: false, part: None, ..mark } } else { mark };
        let mut block = Block { next: before, ..Block::default() };
        let mut start = skipped;
        if ended_late {
            block.next.offset += skipped as u64;
        }
        let full = |block: &Block| block.spans.len() >= most || block.unusable.is_some() || block.closed;
        while !full(&block)
            && let Some(length) = self.framing.end(&payload[start..])
        {
            let end = start + length;
            let lines = block.take(&payload, start, end, mark.offset, &self.framing);
            start = end + 1;
            block.closed = payload[end] == b']' && self.framing == Framing::Elements;
            let (offset, line) = (mark.offset + start as u64, block.next.line + lines);
            block.next = Mark { offset, line, unended: false, part: None };
        }
        if take_rest && !full(&block) && start < payload.len() && !block.next.unended {
            let begun = Part { offset: mark.offset + start as u64, line: block.next.line };
            let part = (!self.framing.is_whole(&payload[start..])).then_some(begun);
            let lines = block.take(&payload, start, payload.len(), mark.offset, &self.framing);
            let offset = mark.offset + payload.len() as u64;
            block.next = Mark { offset, line: begun.line + lines, unended: true, part };
        }
        block.payload = payload;
        block
    }
}

impl Block {
    /// Takes what stands behind an array up to the end of the text, when it is white space.
    fn take_space(&mut self, base: u64) {
        let rest = &self.payload[(self.next.offset - base) as usize..];
        if !rest.is_empty() && rest.trim_ascii_start().is_empty() {
            self.next.offset += rest.len() as u64;
            self.next.unended = true;
        }
    }

    /// The next record, unless it is blank or too long. Returns the lines that it takes.
    #[inline]
    fn take(&mut self, payload: &[u8], start: usize, end: usize, base: u64, framing: &Framing) -> u64 {
        let end = if end > start && payload[end - 1] == b'\r' { end - 1 } else { end };
        let record = &payload[start..end];
        let (number, at) = (self.next.line + 1, base + start as u64);
        if record.len() > MAX_RECORD {
            let mut long = LongRecord::at(Part { offset: at, line: number - 1 }, framing);
            long.take_all(record, framing);
            self.unusable = Some(long.finish());
        } else if !framing.is_blank(record) {
            self.spans.push((start as u32, end as u32));
            self.numbers.push(number);
            self.starts.push(at);
        }
        1 + framing.line_ends(record)
    }
}
