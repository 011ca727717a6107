//! The fields of one record.

use std::borrow::Cow;

use super::Dialect;

/// Where a field is in its record: without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub start: u32,
    pub end: u32,
    pub quoted: bool,
    /// There are doubled quotes or escapes in it.
    pub escaped: bool,
}

impl Cell {
    #[inline(always)]
    fn plain(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32, quoted: false, escaped: false }
    }

    /// Its bytes as they are written.
    #[inline(always)]
    pub fn of(self, record: &[u8]) -> &[u8] {
        &record[self.start as usize..self.end as usize]
    }
}

/// Why something is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The quote at this byte is never closed.
    Unclosed { at: usize },
    /// Between the closing quote at this byte and the next delimiter stands something.
    Behind { at: usize },
}

/// Replaces `found` by the fields of `record`, which has no line end.
#[inline]
pub fn cells(record: &[u8], dialect: &Dialect, found: &mut Vec<Cell>) -> Result<(), Flaw> {
    found.clear();
    match dialect.quote {
        Some(quote) if memchr::memchr(quote, record).is_some() => quoted(record, quote, dialect, found),
        _ => {
            plain(record, dialect.delimiter, found);
            Ok(())
        }
    }
}

/// Fields of a record without quotes: sixteen bytes are compared at once, and nothing is looked at twice.
#[inline(always)]
fn plain(record: &[u8], delimiter: u8, found: &mut Vec<Cell>) {
    let mut start = 0;
    let mut at = 0;
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::*;
        const LANES: usize = 16;
        while at + LANES <= record.len() {
            // SAFETY: SSE2 belongs to every x86_64, and the 16 bytes read are inside `record`.
            let mut mask = unsafe {
                let bytes = _mm_loadu_si128(record.as_ptr().add(at).cast());
                _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(delimiter as i8))) as u32
            };
            while mask != 0 {
                let end = at + mask.trailing_zeros() as usize;
                found.push(Cell::plain(start, end));
                start = end + 1;
                mask &= mask - 1;
            }
            at += LANES;
        }
    }
    while at < record.len() {
        if record[at] == delimiter {
            found.push(Cell::plain(start, at));
            start = at + 1;
        }
        at += 1;
    }
    found.push(Cell::plain(start, record.len()));
}

fn quoted(record: &[u8], quote: u8, dialect: &Dialect, found: &mut Vec<Cell>) -> Result<(), Flaw> {
    let mut start = 0;
    loop {
        let end = match record.get(start) {
            Some(first) if *first == quote => {
                let (cell, end) = between(record, start, quote, dialect)?;
                found.push(cell);
                if end < record.len() && record[end] != dialect.delimiter {
                    return Err(Flaw::Behind { at: end - 1 });
                }
                end
            }
            _ => {
                let end = memchr::memchr(dialect.delimiter, &record[start..]).map_or(record.len(), |at| start + at);
                found.push(Cell::plain(start, end));
                end
            }
        };
        if end >= record.len() {
            return Ok(());
        }
        start = end + 1;
    }
}

/// The field whose opening quote is at `open`, and the byte behind its closing quote.
fn between(record: &[u8], open: usize, quote: u8, dialect: &Dialect) -> Result<(Cell, usize), Flaw> {
    let escape = dialect.escape.unwrap_or(quote);
    let (mut at, mut escaped) = (open + 1, false);
    loop {
        let sign = memchr::memchr2(quote, escape, &record[at..]).ok_or(Flaw::Unclosed { at: open })?;
        let sign = at + sign;
        let doubled = escape == quote && record.get(sign + 1) == Some(&quote);
        if record[sign] == quote && !doubled {
            let cell = Cell { start: open as u32 + 1, end: sign as u32, quoted: true, escaped };
            return Ok((cell, sign + 1));
        }
        (at, escaped) = (sign + 2, true);
        if at > record.len() {
            return Err(Flaw::Unclosed { at: open });
        }
    }
}

/// What a field says: without the signs that only protect others.
pub fn text<'r>(record: &'r [u8], cell: Cell, dialect: &Dialect) -> Cow<'r, [u8]> {
    if !cell.escaped {
        return Cow::Borrowed(cell.of(record));
    }
    let mut out = Vec::with_capacity(cell.of(record).len());
    unescape(cell.of(record), dialect, &mut out);
    Cow::Owned(out)
}

/// Appends what the body of a quoted field says: the sign behind an escape stands for itself, as in `COPY` of PostgreSQL.
pub fn unescape(body: &[u8], dialect: &Dialect, out: &mut Vec<u8>) {
    let Some(escape) = dialect.escape.or(dialect.quote) else { return out.extend_from_slice(body) };
    let mut rest = body;
    while let Some(at) = memchr::memchr(escape, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend(rest.get(at + 1));
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}
