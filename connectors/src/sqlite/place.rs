//! A table or view of a database that is only read: in chunks (`FROM`), whole (`JOIN`), or asked by key (`LOOKUP`).
//!
//! Nothing is made, and a writer beside it is not held up longer than one statement takes.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use syncline_engine::source::SourceError;

use super::quoted;
use crate::spec::{Arguments, Surroundings};

/// How long a writer may hold the database, before this counts as trouble.
const BUSY: Duration = Duration::from_secs(5);

/// A column of the table, and what it is called here.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub there: String,
    pub here: String,
    /// The name here, as a JSON object has it.
    pub key: String,
}

impl Column {
    fn of(there: &str, here: &str) -> Self {
        let key = format!("{}:", serde_json::Value::from(here));
        Self { there: there.to_owned(), here: here.to_owned(), key }
    }
}

#[derive(Clone, Debug)]
pub struct TablePlace {
    path: PathBuf,
    pub table: String,
}

impl TablePlace {
    pub fn of(arguments: &Arguments, around: &Surroundings) -> Self {
        Self { path: around.path(arguments.text("path")), table: arguments.text("table").to_owned() }
    }

    pub fn what(&self) -> String {
        format!("{}, table {}", self.path.display(), self.table)
    }

    pub fn connect(&self) -> Result<Connection, SourceError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, flags);
        let waiting = opened.and_then(|connection| connection.busy_timeout(BUSY).map(|()| connection));
        waiting.map_err(|error| self.trouble(error))
    }

    /// The columns that are there, computed ones included.
    pub fn columns(&self, connection: &Connection) -> Result<Vec<String>, SourceError> {
        let there = || {
            let mut statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", quoted(&self.table)))?;
            let names = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
            statement.query([])?.next()?;
            Ok(names)
        };
        there().map_err(|error| self.trouble(error))
    }

    /// The columns that are read: those that are named, and the others too where `all` are wanted. One that the pipeline names and the
    /// table does not have would be NULL in every row.
    pub fn wanted(&self, connection: &Connection, named: &[String], all: bool) -> Result<Vec<Column>, SourceError> {
        let there = self.columns(connection)?;
        let found = |named: &String| {
            let exact = there.iter().find(|name| *name == named);
            let place = exact.or_else(|| there.iter().find(|name| name.eq_ignore_ascii_case(named)));
            let column = place.map(|there| Column::of(there, named));
            column.ok_or_else(|| self.no_column(named, &there))
        };
        let mut columns: Vec<Column> = named.iter().map(found).collect::<Result<_, _>>()?;
        if all {
            let named: Vec<String> = columns.iter().map(|column| column.there.clone()).collect();
            let others = there.iter().filter(|name| !named.contains(name));
            columns.extend(others.map(|name| Column::of(name, name)));
        }
        Ok(columns)
    }

    /// What the system says of the file.
    pub fn file(&self) -> std::io::Result<std::fs::Metadata> {
        std::fs::metadata(&self.path)
    }

    pub fn no_column(&self, wanted: &str, there: &[String]) -> SourceError {
        let detail = format!("it has no column {wanted}; its columns are {}", there.join(", "));
        SourceError::Unreadable { what: self.what(), detail }
    }

    pub fn trouble(&self, error: rusqlite::Error) -> SourceError {
        let (what, detail) = (self.what(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SourceError::Again { what, detail },
            _ => SourceError::Unreadable { what, detail },
        }
    }
}
