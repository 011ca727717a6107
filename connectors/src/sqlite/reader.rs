//! A table that is asked for rows by key (`LOOKUP`).
//!
//! Keys are given to SQLite as the sink writes values of their types, and SQLite compares them by the rules of the column; whoever asked
//! compares once more, exactly.

use arrow::array::RecordBatch;
use rusqlite::{Connection, Statement};
use serde_json::Value;
use syncline_engine::{
    lookup::{KeyedReader, Record},
    source::SourceError,
};

use super::{listed, place::TablePlace, quoted, token::Tokens, value::value};
use crate::{
    registry::Asked,
    spec::{Arguments, Surroundings},
};

/// Rows of one key that are read: one is wanted, two are too many, and a column that takes no notice of case may hold a few that only look alike.
const MOST_OF_A_KEY: usize = 64;

pub struct SqliteReader {
    place: TablePlace,
    columns: Vec<String>,
    tokens: Tokens,
    connection: Option<Connection>,
}

impl SqliteReader {
    pub(crate) fn new(arguments: &Arguments, around: &Surroundings, asked: Asked) -> Self {
        let (columns, tokens) = (asked.columns.to_vec(), Tokens::of(asked));
        Self { place: TablePlace::of(arguments, around), columns, tokens, connection: None }
    }

    fn sql(&self) -> String {
        let condition = listed(&self.columns, |column| format!("{} = ?", quoted(column)), " AND ");
        format!("SELECT * FROM {} WHERE {condition} LIMIT {MOST_OF_A_KEY}", quoted(&self.place.table))
    }

    /// SQLite takes a name in quotes that no column has for a text, and would find nothing.
    fn check_columns(&self, connection: &Connection) -> Result<(), SourceError> {
        let there = self.place.columns(connection)?;
        match self.columns.iter().find(|column| !there.iter().any(|name| name.eq_ignore_ascii_case(column))) {
            None => Ok(()),
            Some(column) => Err(self.place.no_column(column, &there)),
        }
    }

    fn records(&self, statement: &mut Statement, keys: &RecordBatch, row: usize) -> rusqlite::Result<Vec<Record>> {
        let schema = keys.schema();
        for (place, (column, field)) in keys.columns().iter().zip(schema.fields()).enumerate() {
            statement.raw_bind_parameter(place + 1, value(column, field, row))?;
        }
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = vec![];
        while let Some(row) = rows.next()? {
            let mut record = vec![];
            for (index, name) in names.iter().enumerate() {
                record.push(if index == 0 { b'{' } else { b',' });
                record.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                record.push(b':');
                self.tokens.put(name, row.get_ref(index)?, &mut record);
            }
            record.push(b'}');
            found.push(record);
        }
        Ok(found)
    }
}

impl KeyedReader for SqliteReader {
    fn open(&mut self) -> Result<(), SourceError> {
        let connection = self.place.connect()?;
        self.check_columns(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Vec<Record>>, SourceError> {
        let closed = || SourceError::Unreadable { what: self.place.what(), detail: "it is not open".into() };
        let connection = self.connection.as_ref().ok_or_else(closed)?;
        let found = || {
            let mut statement = connection.prepare_cached(&self.sql())?;
            (0..keys.num_rows()).map(|row| self.records(&mut statement, keys, row)).collect::<rusqlite::Result<_>>()
        };
        found().map_err(|error| self.place.trouble(error))
    }
}
