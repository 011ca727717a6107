//! A table or view of a database that is only read: asked by key (`LOOKUP`), or read whole (`JOIN`).
//!
//! Nothing is made, and a writer beside it is not held up longer than one statement takes.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use syncline_engine::source::SourceError;

use super::quoted;
use crate::spec::{Arguments, Surroundings};

/// How long a writer may hold the database, before this counts as trouble.
const BUSY: Duration = Duration::from_secs(5);

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
