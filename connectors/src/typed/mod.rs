//! Files that say what their columns are: Parquet, Arrow. Read as typed columns, only those that are wanted, a slice at a time.
//!
//! Every file is a partition, named as the pipeline would write it; a place in it is a row, from 1. Such a file is written once, as a
//! whole: one that is another under its name, or is gone before it was read to its end, is told. Rows have one time per file, the
//! instant at which it was first met, kept in its cursor. So a redo gives the same rows.

pub mod columns;
mod places;
pub mod pruning;
pub mod ranges;
#[cfg(test)]
mod tests;

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    buffer::Buffer,
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};
use syncline_engine::source::{Cursors, LeftOut, Polled, Progress, Rows, Source, SourceError};
use syncline_functions::JsonWriter;
use syncline_record::{Headers, Micros, Origin, Partition, batch::RowTexts};

use crate::{
    cursor_of,
    spec::{Arguments, ConnectorError, Surroundings},
    written_once::{Known, Version},
};
use places::{Entry, Places};
pub use pruning::Pruning;
use ranges::Ranges;

/// Rows of a poll. Typed columns cost little each, so more of them than of text share what a batch costs.
pub const ROWS: usize = 4096;

/// Why a file cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass: the bytes could not be had.
    Again(String),
    /// It is no such file, or a damaged one.
    Broken(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::UnexpectedEof => {
                Self::Broken(error.to_string())
            }
            _ => Self::Again(crate::system_words(&error)),
        }
    }
}

/// The next of a file, in its order.
#[derive(Debug)]
pub enum Piece {
    Rows(RecordBatch),
    /// So many rows that were not read.
    LeftOut(u64),
}

impl Piece {
    fn rows(&self) -> u64 {
        match self {
            Self::Rows(batch) => batch.num_rows() as u64,
            Self::LeftOut(rows) => *rows,
        }
    }

    /// The first `most` of its rows, and the others.
    fn cut(self, most: u64) -> (Self, Option<Self>) {
        if self.rows() <= most {
            return (self, None);
        }
        match self {
            Self::Rows(batch) => {
                let (first, all) = (most as usize, batch.num_rows());
                (Self::Rows(batch.slice(0, first)), Some(Self::Rows(batch.slice(first, all - first))))
            }
            Self::LeftOut(rows) => (Self::LeftOut(most), Some(Self::LeftOut(rows - most))),
        }
    }
}

pub type Pieces = Box<dyn Iterator<Item = Result<Piece, Trouble>> + Send>;

/// What is to be read of a file.
pub struct Contents {
    pub pieces: Pieces,
    /// All rows of the file, where it says how many: its columns may lie one behind the other, and then the place that reading has come to says
    /// nothing about how much is left.
    pub rows: Option<u64>,
}

/// What is read of every file.
#[derive(Clone, Default)]
pub struct Wanted {
    /// Only these columns, as far as a file has them; else all.
    pub columns: Option<Vec<String>>,
    /// What need not be read.
    pub pruning: Option<Arc<Pruning>>,
}

/// A kind of file.
pub trait FileKind: Send + Sync {
    /// What such files end in, where a folder is named.
    fn extension(&self) -> &'static str;

    /// The columns that a file has, as it says itself.
    fn schema(&self, bytes: &Arc<dyn Ranges>) -> Result<SchemaRef, Trouble>;

    /// The rows after the first `from`.
    fn read(&self, bytes: &Arc<dyn Ranges>, wanted: &Wanted, from: u64) -> Result<Contents, Trouble>;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    name: String,
    /// What tells this file from another of its name.
    tag: String,
    size: u64,
    /// The one instant that the rows of this file have as their time.
    time: Micros,
    /// Rows that were given.
    row: u64,
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
}

/// A column as it is declared here; or name and type of one that has no such type.
pub type Column = Result<Field, (String, String)>;

pub struct TypedSource {
    places: Places,
    kind: Arc<dyn FileKind>,
    wanted: Wanted,
    files: Vec<Reading>,
    turn: usize,
    skipped: u64,
}

/// One file on its way.
struct Reading {
    cursor: Cursor,
    open: Option<Open>,
    /// Bytes of it that were read, as far as rows tell.
    done: u64,
}

struct Open {
    pieces: Pieces,
    /// What comes next, when that was looked at: whether rows are the last is said together with them.
    next: Option<Result<Piece, Trouble>>,
    rows: Option<u64>,
    ranges: Arc<dyn Ranges>,
}

impl TypedSource {
    pub fn new(
        written: &str,
        arguments: &Arguments,
        around: &Surroundings,
        kind: Arc<dyn FileKind>,
        wanted: Wanted,
    ) -> Result<Self, ConnectorError> {
        let places = Places::new(written, kind.extension(), arguments, around)?;
        Ok(Self { places, kind, wanted, files: Vec::new(), turn: 0, skipped: 0 })
    }

    /// The columns of the first file.
    pub fn shape(&self) -> Result<Vec<Column>, SourceError> {
        let entries = self.places.entries()?;
        let Some(first) = entries.first() else { return Err(self.no_match()) };
        let ranges = self.places.open(first)?;
        let schema = self.kind.schema(&ranges).map_err(|trouble| told(&first.name, trouble))?;
        Ok(schema.fields().iter().map(|field| columns::ours(field)).collect())
    }

    /// The files of an earlier run that are meant now, and the names of those that are there.
    fn begun<'e>(
        &self,
        entries: &'e [Entry],
        cursors: &Cursors,
    ) -> Result<(Vec<Reading>, BTreeSet<&'e String>), SourceError> {
        let by_name: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let real = |entry: &'e Entry| Some((self.places.real(&entry.name)?, entry));
        let by_path = LazyCell::new(|| entries.iter().filter_map(real).collect::<BTreeMap<_, _>>());
        let (mut files, mut names) = (vec![], BTreeSet::new());
        for (partition, value) in cursors {
            let means = self.places.means(partition);
            let there = match by_name.get(partition.as_str()) {
                None if !means => self.places.real(partition).and_then(|path| by_path.get(&path)),
                there => there,
            };
            if there.is_none() && !means {
                continue;
            }
            let cursor: Cursor = cursor_of(partition, value)?;
            cursor.known(self.places.noun()).still(there.map(|entry| entry.version()))?;
            names.extend(there.map(|entry| &entry.name));
            files.push(Reading::at(cursor));
        }
        Ok((files, names))
    }

    fn no_match(&self) -> SourceError {
        SourceError::Unreadable { what: self.places.written(), detail: format!("no {} matches", self.places.noun()) }
    }
}

fn told(what: &str, trouble: Trouble) -> SourceError {
    let what = what.to_owned();
    match trouble {
        Trouble::Again(detail) => SourceError::Again { what, detail },
        Trouble::Broken(detail) => SourceError::Unreadable { what, detail },
    }
}

impl Cursor {
    fn of(entry: &Entry, time: Micros) -> Self {
        Self { name: entry.name.clone(), tag: entry.tag.clone(), size: entry.size, time, row: 0, ended: false }
    }

    fn known(&self, noun: &'static str) -> Known<'_> {
        let version = Version { tag: Some(&self.tag), size: self.size };
        Known { place: self.name.clone(), noun, version, ended: self.ended }
    }
}

impl Source for TypedSource {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        (self.files, self.turn) = (Vec::new(), 0);
        let (entries, missing) = match self.places.entries() {
            // A file that was read and taken away is no trouble.
            Err(error) if self.places.is_missing(&error) => (Vec::new(), Some(error)),
            entries => (entries?, None),
        };
        let (mut files, begun) = self.begun(&entries, cursors)?;
        if entries.is_empty() && files.is_empty() {
            return Err(missing.unwrap_or_else(|| self.no_match()));
        }
        let others = entries.iter().filter(|entry| !begun.contains(&entry.name));
        files.extend(others.map(|entry| Reading::at(Cursor::of(entry, now))));
        self.files = files;
        self.files.sort_by(|one, other| one.cursor.name.cmp(&other.cursor.name));
        self.skipped = self.files.iter().map(|file| file.done).sum();
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        while let Some(file) = self.files.get_mut(self.turn) {
            let next = match file.cursor.ended {
                true => None,
                false => file.next(&self.places, &*self.kind, &self.wanted)?,
            };
            match next {
                Some(polled) => return Ok(polled),
                None => {
                    file.open = None;
                    (file.cursor.ended, file.done) = (true, file.cursor.size);
                    self.turn += 1;
                }
            }
        }
        Ok(Polled::Ended)
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        let total = self.files.iter().map(|file| file.cursor.size).sum();
        let done = self.files.iter().map(|file| file.done).sum();
        Progress { done, total: Some(total), skipped: self.skipped, ..Progress::default() }
    }

    fn partitions(&self) -> Vec<Partition> {
        let open = self.files.iter().filter(|file| !file.cursor.ended);
        open.map(|file| Partition::new(file.cursor.name.as_str(), 0)).collect()
    }
}

impl Reading {
    fn at(cursor: Cursor) -> Self {
        let done = if cursor.ended { cursor.size } else { 0 };
        Self { cursor, open: None, done }
    }

    /// The next rows; None when there are none any more.
    fn next(&mut self, places: &Places, kind: &dyn FileKind, wanted: &Wanted) -> Result<Option<Polled>, SourceError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let ranges = places.open(&Entry::known(&self.cursor.name, self.cursor.size))?;
                let contents = kind.read(&ranges, wanted, self.cursor.row);
                let Contents { pieces, rows } = contents.map_err(|trouble| told(&self.cursor.name, trouble))?;
                none.insert(Open { pieces, next: None, rows, ranges })
            }
        };
        let Some((piece, last)) = open.next().map_err(|trouble| told(&self.cursor.name, trouble))? else {
            return Ok(None);
        };
        let before = self.cursor.row;
        self.cursor.row += piece.rows();
        self.done = open.done(self.cursor.size, self.cursor.row);
        self.cursor.ended = last;
        let partition = Partition::new(self.cursor.name.as_str(), 0);
        // A cursor is numbers, text and booleans: it always has a JSON form.
        let cursor = serde_json::to_value(&self.cursor).unwrap_or_default();
        match piece {
            Piece::LeftOut(rows) => Ok(Some(Polled::LeftOut(LeftOut { partition, first: before + 1, rows, cursor }))),
            Piece::Rows(batch) => {
                let broken = |error| Trouble::Broken(format!("behind row {before}: {error}"));
                let columns = columns::taken(&batch).map_err(|error| told(&self.cursor.name, broken(error)))?;
                Ok(Some(Polled::Rows(rows(partition, before, self.cursor.time, columns, cursor))))
            }
        }
    }
}

/// Rows that are left out at once: their offsets are in the ledger.
const LEFT_OUT: u64 = 1 << 16;

impl Open {
    /// Bytes of a file that are read with so many of its rows.
    fn done(&self, size: u64, row: u64) -> u64 {
        let part = |rows: u64| (u128::from(size) * u128::from(row.min(rows))).checked_div(rows.into());
        self.rows.and_then(part).map_or(self.ranges.reached().min(size), |done| done as u64)
    }

    /// Some rows, and whether they are the last.
    fn next(&mut self) -> Result<Option<(Piece, bool)>, Trouble> {
        let Some(piece) = self.next.take().or_else(|| self.whole()) else { return Ok(None) };
        let piece = piece?;
        let most = if matches!(piece, Piece::Rows(_)) { ROWS as u64 } else { LEFT_OUT };
        let (piece, rest) = piece.cut(most);
        self.next = rest.map(Ok).or_else(|| self.whole());
        Ok(Some((piece, self.next.is_none())))
    }

    /// The next piece with rows.
    fn whole(&mut self) -> Option<Result<Piece, Trouble>> {
        self.pieces.by_ref().find(|piece| !matches!(piece, Ok(piece) if piece.rows() == 0))
    }
}

fn rows(partition: Partition, before: u64, time: Micros, columns: RecordBatch, cursor: serde_json::Value) -> Rows {
    let count = columns.num_rows() as u64;
    let origin = Origin {
        partition,
        payload: Buffer::from_vec(Vec::<u8>::new()),
        spans: Vec::new(),
        texts: Some(Arc::new(Typed(columns.clone()))),
        names: None,
        offsets: (before + 1..=before + count).collect(),
        bytes: None,
        times: vec![time; count as usize],
        ingested_at: time.into(),
        headers: Headers::Absent,
        keys: None,
    };
    Rows { origin, columns: Some(columns), rejected: Vec::new(), cursor }
}

/// The columns that were read are the text of a row.
#[derive(Debug)]
struct Typed(RecordBatch);

impl RowTexts for Typed {
    fn text(&self, row: usize) -> Vec<u8> {
        let mut text = vec![];
        JsonWriter::new(&self.0.schema()).write_row(&self.0, row, &mut text);
        text
    }
}

/// A batch of these columns, which may be none.
pub(crate) fn batch(
    schema: Schema,
    columns: Vec<arrow::array::ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
}
