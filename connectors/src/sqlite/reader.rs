//! A table that is asked for rows by key (`LOOKUP`).
//!
//! Opened to read only: nothing is made, and a writer beside it is not held up. Keys are given to SQLite as the sink writes values of
//! their types, and SQLite compares them by the rules of the column; whoever asked compares once more, exactly. NULL is `null`, INTEGER
//! and REAL are numbers, TEXT is a string, and a BLOB is base64, as bytes are in any text that has to hold them. SQLite has no booleans:
//! in a column that the reader's `SCHEMA` declares so, 1 and 0 are `true` and `false`, and the text of a list is that list.

use std::{path::PathBuf, time::Duration};

use arrow::array::RecordBatch;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, types::ValueRef};
use serde::de::IgnoredAny;
use serde_json::Value;
use syncline_engine::{lookup::KeyedReader, source::SourceError};
use syncline_functions::base64;

use super::{listed, quoted, value::value};
use crate::{
    registry::Asked,
    spec::{Arguments, Surroundings},
};

/// How long a writer may hold the database, before this counts as trouble.
const BUSY: Duration = Duration::from_secs(5);

/// Rows of one key that are read: one is wanted, two are too many, and a column that takes no notice of case may hold a few that only look alike.
const MOST_OF_A_KEY: usize = 64;

pub struct SqliteReader {
    path: PathBuf,
    table: String,
    columns: Vec<String>,
    booleans: Vec<String>,
    lists: Vec<String>,
    connection: Option<Connection>,
}

impl SqliteReader {
    pub(crate) fn new(arguments: &Arguments, around: &Surroundings, asked: Asked) -> Self {
        let (path, table) = (around.path(arguments.text("path")), arguments.text("table").to_owned());
        let [columns, booleans, lists] = [asked.columns, asked.booleans, asked.lists].map(<[String]>::to_vec);
        Self { path, table, columns, booleans, lists, connection: None }
    }

    fn what(&self) -> String {
        format!("{}, table {}", self.path.display(), self.table)
    }

    fn sql(&self) -> String {
        let condition = listed(&self.columns, |column| format!("{} = ?", quoted(column)), " AND ");
        format!("SELECT * FROM {} WHERE {condition} LIMIT {MOST_OF_A_KEY}", quoted(&self.table))
    }

    fn trouble(&self, error: rusqlite::Error) -> SourceError {
        let what = self.what();
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SourceError::Again { what, detail },
            _ => SourceError::Unreadable { what, detail },
        }
    }

    /// SQLite takes a name in quotes that no column has for a text, and would find nothing.
    fn check_columns(&self, connection: &Connection) -> Result<(), SourceError> {
        let there = || {
            let mut statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", quoted(&self.table)))?;
            let names = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
            statement.query([])?.next()?;
            Ok(names)
        };
        let there: Vec<String> = there().map_err(|error| self.trouble(error))?;
        match self.columns.iter().find(|column| !there.iter().any(|name| name.eq_ignore_ascii_case(column))) {
            None => Ok(()),
            Some(column) => Err(SourceError::Unreadable {
                what: self.what(),
                detail: format!("it has no column {column}; its columns are {}", there.join(", ")),
            }),
        }
    }
}

impl KeyedReader for SqliteReader {
    fn open(&mut self) -> Result<(), SourceError> {
        let connect = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY)?;
            Ok(connection)
        };
        let connection = connect().map_err(|error| self.trouble(error))?;
        self.check_columns(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Vec<String>>, SourceError> {
        let closed = || SourceError::Unreadable { what: self.what(), detail: "it is not open".into() };
        let connection = self.connection.as_ref().ok_or_else(closed)?;
        let found = || {
            let mut statement = connection.prepare_cached(&self.sql())?;
            (0..keys.num_rows()).map(|row| self.records(&mut statement, keys, row)).collect::<rusqlite::Result<_>>()
        };
        found().map_err(|error| self.trouble(error))
    }
}

impl SqliteReader {
    fn records(&self, statement: &mut Statement, keys: &RecordBatch, row: usize) -> rusqlite::Result<Vec<String>> {
        let schema = keys.schema();
        for (place, (column, field)) in keys.columns().iter().zip(schema.fields()).enumerate() {
            statement.raw_bind_parameter(place + 1, value(column, field, row))?;
        }
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = vec![];
        while let Some(row) = rows.next()? {
            let mut record = String::from("{");
            for (index, name) in names.iter().enumerate() {
                record.push_str(if index > 0 { "," } else { "" });
                record.push_str(&Value::from(name.as_str()).to_string());
                record.push(':');
                record.push_str(&self.token(name, row.get_ref(index)?));
            }
            record.push('}');
            found.push(record);
        }
        Ok(found)
    }

    /// A value as a JSON token. What the schema declares as a list is text here, and keeps its digits.
    fn token(&self, name: &String, value: ValueRef) -> String {
        match value {
            ValueRef::Integer(number @ (0 | 1)) if self.booleans.contains(name) => (number == 1).to_string(),
            ValueRef::Text(text) if self.lists.contains(name) => {
                match serde_json::from_slice::<Vec<IgnoredAny>>(text) {
                    Ok(_) => String::from_utf8_lossy(text).into_owned(),
                    Err(_) => json(value).to_string(),
                }
            }
            other => json(other).to_string(),
        }
    }
}

fn json(value: ValueRef) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        // Infinity is no JSON number, and NaN is not kept as one: they are written as everywhere else.
        ValueRef::Real(number) => match serde_json::Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None if number < 0.0 => "-Infinity".into(),
            None => "Infinity".into(),
        },
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
            base64::encode(bytes, &mut text);
            String::from_utf8_lossy(&text).into()
        }
    }
}
