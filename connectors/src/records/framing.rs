//! Where one record ends and the next begins.

use syncline_functions::{
    csv::{self, Dialect},
    decode,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A record is a line; lines of white space are none.
    Lines,
    /// A record ends at a line end outside of quotes. `single`: it has one column, so an empty line is a record whose field is NULL.
    Csv { dialect: Dialect, single: bool },
    /// A record is an element of the one JSON array that the text is. It ends at the comma or bracket behind it.
    Elements,
}

impl Framing {
    /// Whether a text begins as an array of objects does, and does not go on behind it: as lines it would be nothing but mistakes.
    pub fn is_array(head: &[u8]) -> bool {
        let head = head.strip_prefix(super::blocks::BYTE_ORDER_MARK).unwrap_or(head);
        let Some(array) = head.trim_ascii_start().strip_prefix(b"[") else { return false };
        let mut rest = array;
        if !matches!(rest.trim_ascii_start().first(), Some(b'{' | b']')) {
            return false;
        }
        while let Some(end) = Element::default().find(rest) {
            let ends = rest[end] == b']';
            rest = &rest[end + 1..];
            if ends {
                // One of several lines is no record of a line, whatever follows it.
                return rest.trim_ascii_start().is_empty() || array[..array.len() - rest.len()].contains(&b'\n');
            }
        }
        true
    }

    /// What a record is called in messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Lines => "line",
            Self::Csv { .. } => "record",
            Self::Elements => "element",
        }
    }

    /// Bytes at the start of a text that belong to no record.
    pub fn lead(&self, head: &[u8]) -> usize {
        match self {
            Self::Lines | Self::Csv { .. } => 0,
            Self::Elements => {
                let space = head.len() - head.trim_ascii_start().len();
                space + usize::from(head.get(space) == Some(&b'['))
            }
        }
    }

    /// The index of the byte that ends the record at the start of `bytes`.
    #[inline]
    pub fn end(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Lines => memchr::memchr(b'\n', bytes),
            Self::Csv { dialect, .. } => csv::Seeker::default().find(bytes, dialect),
            Self::Elements => Element::default().find(bytes),
        }
    }

    /// Line ends within a record, so that records are numbered as an editor numbers their first lines. Elements are counted.
    #[inline]
    pub fn line_ends(&self, record: &[u8]) -> u64 {
        match self {
            Self::Lines | Self::Elements => 0,
            Self::Csv { .. } => memchr::memchr_iter(b'\n', record).count() as u64,
        }
    }

    /// Not a record: nothing stands there, or a comment.
    #[inline]
    pub fn is_blank(&self, record: &[u8]) -> bool {
        match self {
            Self::Lines | Self::Elements => record.trim_ascii_start().is_empty(),
            Self::Csv { dialect, single } => match record.first() {
                None => !single,
                some => dialect.comment.is_some() && some == dialect.comment.as_ref(),
            },
        }
    }

    /// Whether a record without its end is surely all of it, or nothing.
    pub fn is_whole(&self, record: &[u8]) -> bool {
        match self {
            Self::Lines | Self::Elements => self.is_blank(record) || decode::validate(record).is_ok(),
            Self::Csv { .. } => self.is_blank(record),
        }
    }

    /// Starts a search that goes on as bytes come.
    pub fn seeker(&self) -> Seeker {
        match self {
            Self::Lines => Seeker::Line,
            Self::Csv { .. } => Seeker::Csv(csv::Seeker::default()),
            Self::Elements => Seeker::Element(Element::default()),
        }
    }
}

/// Looks for the end of a record that is read a piece at a time.
pub enum Seeker {
    Line,
    Csv(csv::Seeker),
    Element(Element),
}

impl Seeker {
    /// The index of the byte that ends the record, in the bytes that follow those of the last call.
    pub fn find(&mut self, bytes: &[u8], framing: &Framing) -> Option<usize> {
        match (self, framing) {
            (Self::Csv(seeker), Framing::Csv { dialect, .. }) => seeker.find(bytes, dialect),
            (Self::Element(element), _) => element.find(bytes),
            _ => memchr::memchr(b'\n', bytes),
        }
    }
}

/// Looks for the end of an element by its brackets and strings alone: whether it is JSON is for the decoder to say.
#[derive(Default)]
pub struct Element {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Element {
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match (self.escaped, byte) {
                    (true, _) => self.escaped = false,
                    (false, b'\\') => self.escaped = true,
                    (false, b'"') => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b',' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }
}
