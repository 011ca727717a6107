//! A table or view that is read whole (`JOIN`).
//!
//! One statement reads it, so all rows are of one moment, whoever writes meanwhile. A thread holds the statement, a few blocks ahead of
//! whoever takes the rows. Each row is a record: its columns as a JSON object, under the names that the pipeline calls them.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rusqlite::{Connection, Row};
use syncline_engine::source::{Cursors, Polled, Rows, Source, SourceError};
use syncline_record::{Micros, Partition};

use super::{
    listed,
    place::{Column, TablePlace},
    quoted,
    token::Tokens,
};
use crate::{
    keyset::block::Block,
    registry::Asked,
    spec::{Arguments, Surroundings},
    system_words,
};

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
}

impl Source for SqliteTable {
    fn open(&mut self, _cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.coming = None;
        let connection = self.place.connect()?;
        let columns = self.place.wanted(&connection, &self.named, self.all)?;
        let (giving, coming) = sync_channel(AHEAD);
        let reading = Reading {
            place: self.place.clone(),
            columns,
            tokens: self.tokens.clone(),
            giving,
            block: Block::of(self.partition.clone(), now, 1),
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
            let (columns, tokens) = (&self.columns, &self.tokens);
            self.block.add(|out| put(row, columns, tokens, out))?;
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
        // It is no input: nothing of it is in the cursors.
        self.giving.send(Come::Rows(Box::new(self.block.rows(serde_json::Value::Null)))).is_ok()
    }
}

/// A row as a JSON object.
pub(super) fn put(row: &Row, columns: &[Column], tokens: &Tokens, out: &mut Vec<u8>) -> rusqlite::Result<()> {
    out.push(b'{');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(column.key.as_bytes());
        tokens.put(&column.here, row.get_ref(index)?, out);
    }
    out.push(b'}');
    Ok(())
}
