//! A text, read record by record in its format.
//!
//! How a text begins says more than its name: a header names the columns of a CSV file, and JSON can be lines or one array. So the
//! beginning is always read first, also when reading goes on in the middle.

use std::io::{self, ErrorKind};

use syncline_functions::csv::{Dialect, Header};

use crate::registered::Format as Registered;

use super::{
    blocks::{Block, Blocks, Mark, Next},
    framing::Framing,
    input::Input,
};

/// What the records of a text are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TextFormat {
    #[default]
    Json,
    Csv {
        dialect: Dialect,
        columns: Columns,
    },
    /// Not a text: records that name their schemas.
    Registered(Registered),
}

/// How the columns of a CSV file are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// By the names in its first record.
    Header,
    /// `column_1`, `column_2`, …: as many as its first record has.
    Numbered,
    /// By their place: so many of them.
    Places(usize),
}

/// Enough of a text to see whether it is an array, and not a line that is one.
const HEAD: usize = 64 << 10;

pub struct Reader {
    input: Box<dyn Input>,
    format: TextFormat,
    /// Somebody may still write to it: an array has no end that one could wait for.
    growing: bool,
    begun: Option<Begun>,
}

struct Begun {
    blocks: Blocks,
    header: Option<Header>,
    /// Where the first record is.
    first: Mark,
}

impl Reader {
    pub fn new(input: Box<dyn Input>, format: TextFormat, growing: bool) -> Self {
        Self { input, format, growing, begun: None }
    }

    /// The records after `mark`, as [`Blocks::next`] gives them.
    pub fn next(&mut self, mark: Mark, whole_only: bool) -> io::Result<Next> {
        if self.begun.is_none() {
            self.begun = match &self.format {
                TextFormat::Json | TextFormat::Registered(_) => Some(self.begin_json()?),
                TextFormat::Csv { dialect, columns } => self.begin_csv(dialect.clone(), *columns, whole_only)?,
            };
        }
        let Some(begun) = &mut self.begun else { return Ok(Next::Nothing) };
        let mark = if mark.offset < begun.first.offset { begun.first } else { mark };
        begun.blocks.next(&mut *self.input, mark, whole_only)
    }

    /// Names of the columns, where the text gives or implies them.
    pub fn header(&self) -> Option<&Header> {
        self.begun.as_ref()?.header.as_ref()
    }

    pub fn framing(&self) -> Option<&Framing> {
        Some(self.begun.as_ref()?.blocks.framing())
    }

    /// How much of the thing itself it took to come to `offset`.
    pub fn taken(&self, offset: u64) -> u64 {
        self.input.taken(offset)
    }

    fn begin_json(&mut self) -> io::Result<Begun> {
        let array = !self.growing && Framing::is_array(&self.input.read(0, HEAD)?.bytes);
        let framing = if array { Framing::Elements } else { Framing::Lines };
        Ok(Begun { blocks: Blocks::new(framing), header: None, first: Mark::default() })
    }

    /// None: the first record is not there yet.
    fn begin_csv(&mut self, dialect: Dialect, columns: Columns, whole_only: bool) -> io::Result<Option<Begun>> {
        let blocks = |single| Blocks::new(Framing::Csv { dialect: dialect.clone(), single });
        if let Columns::Places(count) = columns {
            return Ok(Some(Begun { blocks: blocks(count == 1), header: None, first: Mark::default() }));
        }
        let block = match blocks(false).first(&mut *self.input, whole_only)? {
            Next::Block(block) => *block,
            Next::Underway => return Err(unusable("the first record is longer than a record may be")),
            Next::Nothing => return Ok(None),
        };
        let Block { payload, spans, unusable: long, next, .. } = block;
        if let Some(long) = long {
            let returns = columns == Columns::Header && has_bare_return(&long.bytes, &dialect);
            return Err(unusable(if returns {
                OLD_LINE_ENDS
            } else {
                "the first record is longer than a record may be"
            }));
        }
        let Some((start, end)) = spans.first() else { return Ok(None) };
        let record = &payload[*start as usize..*end as usize];
        if columns == Columns::Header && has_bare_return(record, &dialect) {
            return Err(unusable(OLD_LINE_ENDS));
        }
        let (header, first) = match columns {
            Columns::Header => (dialect.names(record), next),
            _ => (Some(dialect.numbered(record)), Mark::default()),
        };
        let Some(header) = header else { return Err(unusable("the header is no CSV record in UTF-8")) };
        Ok(Some(Begun { blocks: blocks(header.len() == 1), header: Some(header), first }))
    }
}

const OLD_LINE_ENDS: &str = "its lines end with a carriage return alone, as on old Macs, and all of it would be its header; convert it: \
                             tr '\\r' '\\n' < old.csv > new.csv";

/// A carriage return outside of quotes, with no line feed behind it. A record ends without its own.
fn has_bare_return(record: &[u8], dialect: &Dialect) -> bool {
    let mut quoted = false;
    record.iter().any(|byte| {
        quoted ^= dialect.quote == Some(*byte);
        *byte == b'\r' && !quoted
    })
}

fn unusable(detail: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, detail.to_owned())
}
