//! Where a record ends: at the first line end that is not between quotes.
//!
//! The search can be taken up again where the bytes ended, so a record of any size is found a piece at a time.

use super::Dialect;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    RecordStart,
    FieldStart,
    InField,
    Comment,
    Quoted,
    /// Behind a quote that ends its field, or is the first of two.
    QuoteSeen,
    /// Between quotes, behind an escape.
    Escaped,
}

/// Looks for the end of one record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeker(Place);

impl Seeker {
    /// The index of the line end in `bytes`, which follow those of the last call. None: it is not among them.
    #[inline]
    pub fn find(&mut self, bytes: &[u8], dialect: &Dialect) -> Option<usize> {
        let mut at = 0;
        if self.0 == Place::RecordStart {
            self.0 = match bytes.first() {
                None => return None,
                some if some == dialect.comment.as_ref() => Place::Comment,
                Some(_) => Place::FieldStart,
            };
        }
        while at < bytes.len() {
            at = match self.0 {
                Place::Quoted => self.quoted(bytes, at, dialect)?,
                Place::Escaped => self.go(Place::Quoted, at + 1),
                Place::QuoteSeen if dialect.quote == Some(bytes[at]) => self.go(Place::Quoted, at + 1),
                Place::QuoteSeen => self.go(Place::InField, at),
                Place::Comment => return memchr::memchr(b'\n', &bytes[at..]).map(|end| at + end),
                Place::RecordStart | Place::FieldStart | Place::InField => match self.plain(bytes, at, dialect) {
                    Ok(end) => return end,
                    Err(next) => next,
                },
            };
        }
        None
    }

    #[inline(always)]
    fn go(&mut self, place: Place, at: usize) -> usize {
        self.0 = place;
        at
    }

    /// Outside of quotes: the line end, or else where to go on.
    #[inline(always)]
    fn plain(&mut self, bytes: &[u8], at: usize, dialect: &Dialect) -> Result<Option<usize>, usize> {
        let rest = &bytes[at..];
        let found = match dialect.quote {
            Some(quote) => memchr::memchr2(b'\n', quote, rest),
            None => memchr::memchr(b'\n', rest),
        };
        let Some(found) = found else {
            self.0 = if bytes.last() == Some(&dialect.delimiter) { Place::FieldStart } else { Place::InField };
            return Ok(None);
        };
        if rest[found] == b'\n' {
            return Ok(Some(at + found));
        }
        let starts = match found {
            0 => self.0 == Place::FieldStart,
            _ => rest[found - 1] == dialect.delimiter,
        };
        Err(self.go(if starts { Place::Quoted } else { Place::InField }, at + found + 1))
    }

    /// Between quotes: behind the next sign that means something.
    fn quoted(&mut self, bytes: &[u8], at: usize, dialect: &Dialect) -> Option<usize> {
        let quote = dialect.quote?;
        let escape = dialect.escape.unwrap_or(quote);
        let found = at + memchr::memchr2(quote, escape, &bytes[at..])?;
        let place = match (bytes[found] == quote, dialect.escape) {
            (true, None) => Place::QuoteSeen,
            (true, Some(escape)) if escape == quote => Place::QuoteSeen,
            (true, Some(_)) => Place::InField,
            (false, _) => Place::Escaped,
        };
        Some(self.go(place, found + 1))
    }
}
