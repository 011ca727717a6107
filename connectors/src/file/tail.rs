//! One file on its way: its cursor, its handle, and what it gives next.

use std::{fs::File, path::PathBuf, sync::Arc};

use syncline_engine::source::{Rows, SourceError};
use syncline_record::{Micros, Partition};

use super::{
    cursor::{Cursor, Identity, Packed, Seen},
    source::Reading,
};
use crate::{
    records::{Block, Input, Mark, Next, Plain, Reader, TextFormat, Unpacked, rows, unpacked::from_start},
    system_words,
};

pub struct Tail {
    pub cursor: Cursor,
    /// Where the file is now; for a rotated one not where its cursor says.
    pub path: PathBuf,
    /// When it was seen that another file has its name, or none.
    pub rotated: Option<Micros>,
    /// Nothing was there at the last look.
    pub at_end: bool,
    /// Nothing was there, not even a line without its end.
    pub drained: bool,
    format: TextFormat,
    /// It may grow while it is read.
    follow: bool,
    opened: Option<Opened>,
}

/// The file, and how it is read.
struct Opened {
    file: Arc<File>,
    reader: Reader,
}

/// What a look at a file brought.
pub enum Taken {
    Rows(Box<Rows>),
    Nothing,
    Underway,
    /// It was cut or written anew in its place, after all that was in it was given.
    Cut,
}

impl Tail {
    pub fn new(cursor: Cursor, path: PathBuf, rotated: Option<Micros>, reading: &Reading) -> Self {
        let (format, follow) = (reading.format.clone(), reading.follow);
        Self { cursor, path, rotated, at_end: false, drained: false, format, follow, opened: None }
    }

    pub fn partition(&self) -> Partition {
        Partition::new(&self.cursor.path, self.cursor.generation)
    }

    pub fn identity(&self) -> Identity {
        self.cursor.identity
    }

    /// The next rows. `whole_only`: a line without a line end waits for it.
    pub fn take(&mut self, whole_only: bool) -> Result<Taken, SourceError> {
        // To see that an archive holds nothing more, all of it would be unpacked again.
        if self.cursor.packed.is_some() && self.cursor.is_read() {
            (self.at_end, self.drained) = (true, true);
            return Ok(Taken::Nothing);
        }
        self.opened()?;
        let Cursor { offset, line, unended, part, .. } = self.cursor;
        let mark = Mark { offset, line, unended, part };
        let Some(Opened { reader, .. }) = &mut self.opened else { return Ok(Taken::Nothing) };
        let next = reader.next(mark, whole_only).map_err(|error| self.unreadable(&error))?;
        self.at_end = matches!(next, Next::Nothing);
        self.drained = self.at_end && !whole_only;
        match next {
            Next::Block(block) => match self.has_same_head()? {
                true => Ok(self.rows(*block).map_or(Taken::Nothing, |rows| Taken::Rows(Box::new(rows)))),
                false => self.cut(OVERWRITTEN.to_owned()),
            },
            Next::Nothing => match self.size()? {
                Some(size) if size < self.cursor.reached() => self.cut(shorter(size, self.cursor.reached())),
                Some(size) => {
                    self.cursor.size = size;
                    Ok(Taken::Nothing)
                }
                None => Ok(Taken::Nothing),
            },
            Next::Underway => Ok(Taken::Underway),
        }
    }

    /// Opens the file, unless it is open. A file that comes in between the look at it and now is another one.
    pub fn opened(&mut self) -> Result<(), SourceError> {
        if self.opened.is_some() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(|error| self.unreadable(&error))?;
        let seen = Seen::of(&file).map_err(|error| self.unreadable(&error))?;
        if seen.identity != self.cursor.identity {
            return Err(self.changed("was replaced by another file while this run was going on".to_owned()));
        }
        let file = Arc::new(file);
        let input: Box<dyn Input> = match self.cursor.packed {
            None => Box::new(Plain(file.clone())),
            Some(Packed { packing, .. }) => Box::new(Unpacked::new(packing, from_start(file.clone()))),
        };
        self.opened = Some(Opened { file, reader: Reader::new(input, self.format.clone(), self.follow) });
        Ok(())
    }

    pub fn close(&mut self) {
        self.opened = None;
    }

    fn file(&self) -> Option<&File> {
        self.opened.as_ref().map(|opened| &*opened.file)
    }

    /// Reads on in a file that has the same content and more, and has taken this one's place.
    pub fn go_on_in(&mut self, path: PathBuf, identity: Identity) {
        self.opened = None;
        self.path = path;
        self.cursor.identity = identity;
    }

    /// Nobody can open the file under any name any more.
    pub fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.file().and_then(|file| file.metadata().ok());
        metadata.is_some_and(|metadata| metadata.nlink() == 0)
    }

    fn rows(&mut self, block: Block) -> Option<Rows> {
        let (partition, time) = (self.partition(), self.cursor.time);
        let reader = &self.opened.as_ref()?.reader;
        let cursor = &mut self.cursor;
        let Mark { offset, line, unended, part } = block.next;
        (cursor.offset, cursor.line, cursor.unended, cursor.part) = (offset, line, unended, part);
        if let Some(packed) = &mut cursor.packed {
            (packed.taken, packed.ended) = (reader.taken(block.next.offset), block.last);
        }
        cursor.size = cursor.size.max(cursor.reached());
        let mut rows = rows::of_block(reader, block, partition, time);
        // A cursor is numbers, text and booleans: it always has a JSON form.
        rows.cursor = serde_json::to_value(&self.cursor).unwrap_or_default();
        Some(rows)
    }

    /// A file that was cut to nothing and written anew while we looked away can be longer than our place in it: its head tells.
    fn has_same_head(&mut self) -> Result<bool, SourceError> {
        let Some(file) = self.file() else { return Ok(true) };
        let fits = self.cursor.head.fits(file).map_err(|error| self.unreadable(&error))?;
        if fits && !self.cursor.head.is_whole() {
            let seen = Seen::of(file).map_err(|error| self.unreadable(&error))?;
            self.cursor.head = seen.head;
        }
        Ok(fits)
    }

    fn size(&self) -> Result<Option<u64>, SourceError> {
        let Some(file) = self.file() else { return Ok(None) };
        file.metadata().map(|metadata| Some(metadata.len())).map_err(|error| self.unreadable(&error))
    }

    /// What was known of the file is not in it any more. Only who follows it, and had read all of it, can go on.
    fn cut(&self, detail: String) -> Result<Taken, SourceError> {
        if self.follow && self.cursor.is_read() { Ok(Taken::Cut) } else { Err(self.changed(detail)) }
    }

    fn unreadable(&self, error: &std::io::Error) -> SourceError {
        SourceError::Unreadable { what: self.cursor.path.clone(), detail: system_words(error) }
    }

    fn changed(&self, detail: String) -> SourceError {
        SourceError::Changed { what: self.cursor.path.clone(), detail }
    }
}

pub const OVERWRITTEN: &str =
    "does not start as it did when it was read: it was overwritten; run with --fresh to read everything again";

pub fn shorter(size: u64, offset: u64) -> String {
    format!(
        "has {size} bytes, and {offset} were read already: it was cut or written anew; run with --fresh to read everything again"
    )
}
