//! A table or view that is read whole (`JOIN`).
//!
//! One statement reads it, so all rows are of one moment, whoever writes meanwhile. A thread holds the statement, a few blocks ahead of
//! whoever takes the rows. Each row is a record: its columns as a JSON object, under the names that the pipeline calls them.

use std::{
    mem::take,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use arrow::buffer::Buffer;
use rusqlite::{Connection, Row};
use syncline_engine::source::{Cursors, MAX_RECORD, Polled, Rejected, Rows, Source, SourceError};
use syncline_record::{DeadLetter, Headers, Micros, Origin, Partition, Place, Reason, keys::content_hash};

use super::{listed, place::TablePlace, quoted, token::Tokens};
use crate::{
    registry::Asked,
    spec::{Arguments, Surroundings},
    system_words,
};

/// Rows and bytes of one poll, as the engine likes them.
const ROWS: usize = 1024;
const BYTES: usize = 256 << 10;

/// Blocks that lie ready: one is read while another is decoded.
const AHEAD: usize = 2;

/// What the table is called in the statement: with it in front, a name in quotes that no column has is a mistake and no text.
const ALIAS: &str = "t";

pub struct SqliteTable {
    place: TablePlace,
    partition: Partition,
    /// The columns that the pipeline names.
    named: Vec<String>,
    /// The others are wanted too.
    all: bool,
    tokens: Tokens,
    coming: Option<Receiver<Come>>,
}

/// What the thread says. When it says nothing more without `End`, the table was not read to its end.
enum Come {
    Rows(Box<Rows>),
    End,
    Trouble(SourceError),
}

/// A column of the table, and what it is called here.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    there: String,
    here: String,
    /// The name here, as a JSON object has it.
    key: String,
}

impl Column {
    fn of(there: &str, here: &str) -> Self {
        let key = format!("{}:", serde_json::Value::from(here));
        Self { there: there.to_owned(), here: here.to_owned(), key }
    }
}

impl SqliteTable {
    pub(crate) fn new(arguments: &Arguments, around: &Surroundings, asked: Asked, all: bool) -> Self {
        let called = format!("{}, table {}", arguments.text("path"), arguments.text("table"));
        Self {
            place: TablePlace::of(arguments, around),
            partition: Partition::new(called, 0),
            named: asked.columns.to_vec(),
            all,
            tokens: Tokens::of(asked),
            coming: None,
        }
    }

    /// The columns that are read. One that the pipeline names and the table does not have would be NULL in every row.
    fn columns(&self, there: &[String]) -> Result<Vec<Column>, SourceError> {
        let found = |named: &String| {
            let exact = there.iter().find(|name| *name == named);
            let place = exact.or_else(|| there.iter().find(|name| name.eq_ignore_ascii_case(named)));
            let column = place.map(|there| Column::of(there, named));
            column.ok_or_else(|| self.place.no_column(named, there))
        };
        let mut columns: Vec<Column> = self.named.iter().map(found).collect::<Result<_, _>>()?;
        if self.all {
            let named: Vec<String> = columns.iter().map(|column| column.there.clone()).collect();
            let others = there.iter().filter(|name| !named.contains(name));
            columns.extend(others.map(|name| Column::of(name, name)));
        }
        Ok(columns)
    }
}

impl Source for SqliteTable {
    fn open(&mut self, _cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.coming = None;
        let connection = self.place.connect()?;
        let columns = self.columns(&self.place.columns(&connection)?)?;
        let (giving, coming) = sync_channel(AHEAD);
        let reading = Reading {
            place: self.place.clone(),
            columns,
            tokens: self.tokens.clone(),
            giving,
            block: Block::of(self.partition.clone(), now),
        };
        let started = thread::Builder::new().name("sqlite table".to_owned()).spawn(move || reading.run(&connection));
        started.map_err(|error| SourceError::Again { what: self.place.what(), detail: system_words(&error) })?;
        self.coming = Some(coming);
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        let Some(coming) = &self.coming else { return Ok(Polled::Ended) };
        let come = coming.recv().unwrap_or_else(|_| {
            let detail = "its reading stopped before its end".to_owned();
            Come::Trouble(SourceError::Unreadable { what: self.place.what(), detail })
        });
        match come {
            Come::Rows(rows) => return Ok(Polled::Rows(*rows)),
            Come::End => self.coming = None,
            Come::Trouble(error) => {
                self.coming = None;
                return Err(error);
            }
        }
        Ok(Polled::Ended)
    }

    fn bounded(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Partition> {
        self.coming.iter().map(|_| self.partition.clone()).collect()
    }
}

/// The thread's half.
struct Reading {
    place: TablePlace,
    columns: Vec<Column>,
    tokens: Tokens,
    giving: SyncSender<Come>,
    block: Block,
}

impl Reading {
    fn run(mut self, connection: &Connection) {
        let said = match self.read(connection) {
            Ok(true) => Come::End,
            // Nobody takes the rows any more.
            Ok(false) => return,
            Err(error) => Come::Trouble(self.place.trouble(error)),
        };
        let _ = self.giving.send(said);
    }

    /// Whether it came to the end.
    fn read(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let wanted = listed(&self.named(), |name| format!("{ALIAS}.{}", quoted(name)), ", ");
        let sql = format!("SELECT {wanted} FROM {} AS {ALIAS}", quoted(&self.place.table));
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            self.block.add(row, &self.columns, &self.tokens)?;
            if self.block.is_full() && !self.give() {
                return Ok(false);
            }
        }
        Ok(self.block.is_empty() || self.give())
    }

    fn named(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.there.clone()).collect()
    }

    fn give(&mut self) -> bool {
        self.giving.send(Come::Rows(Box::new(self.block.rows()))).is_ok()
    }
}

/// Records that go out together.
struct Block {
    partition: Partition,
    time: Micros,
    /// Number of the next row, from 1.
    next: u64,
    payload: Vec<u8>,
    spans: Vec<(u32, u32)>,
    offsets: Vec<u64>,
    rejected: Vec<Rejected>,
}

impl Block {
    fn of(partition: Partition, time: Micros) -> Self {
        let (payload, spans, offsets, rejected) = (vec![], vec![], vec![], vec![]);
        Self { partition, time, next: 1, payload, spans, offsets, rejected }
    }

    fn add(&mut self, row: &Row, columns: &[Column], tokens: &Tokens) -> rusqlite::Result<()> {
        let start = self.payload.len();
        for (index, column) in columns.iter().enumerate() {
            self.payload.push(if index == 0 { b'{' } else { b',' });
            self.payload.extend_from_slice(column.key.as_bytes());
            tokens.put(&column.here, row.get_ref(index)?, &mut self.payload);
        }
        self.payload.push(b'}');
        match self.payload.len() - start > MAX_RECORD {
            true => self.refuse(start),
            false => {
                self.spans.push((start as u32, self.payload.len() as u32));
                self.offsets.push(self.next);
            }
        }
        self.next += 1;
        Ok(())
    }

    fn refuse(&mut self, start: usize) {
        let record = &self.payload[start..];
        self.rejected.push(Rejected {
            place: Place { partition: self.partition.clone(), offset: self.next, byte: None },
            time: self.time,
            bytes: record[..DeadLetter::KEPT].to_vec(),
            length: record.len() as u64,
            hash: content_hash(record),
            headers: None,
            reason: Reason::new("too-large", format!("the row has {} bytes", record.len())),
        });
        self.payload.truncate(start);
    }

    fn is_full(&self) -> bool {
        self.spans.len() + self.rejected.len() >= ROWS || self.payload.len() >= BYTES
    }

    fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.rejected.is_empty()
    }

    fn rows(&mut self) -> Rows {
        let spans = take(&mut self.spans);
        let origin = Origin {
            partition: self.partition.clone(),
            payload: Buffer::from_vec(take(&mut self.payload)),
            times: vec![self.time; spans.len()],
            spans,
            texts: None,
            names: None,
            offsets: take(&mut self.offsets),
            bytes: None,
            ingested_at: self.time.into(),
            headers: Headers::Absent,
            keys: None,
        };
        // It is no input: nothing of it is in the cursors.
        Rows { origin, columns: None, rejected: take(&mut self.rejected), cursor: serde_json::Value::Null }
    }
}
