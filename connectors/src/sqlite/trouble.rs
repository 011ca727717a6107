//! What the engine can do about what SQLite says.

use std::path::Path;

use rusqlite::{Error, ErrorCode};
use syncline_engine::sink::SinkError;
use syncline_record::Reason;

/// `operation` reads after "cannot".
pub fn trouble(path: &Path, operation: &str, error: Error) -> SinkError {
    let text = format!("{}: cannot {operation}: {}", path.display(), words(&error));
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::OutOfMemory) => {
            SinkError::Again(text)
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::SchemaChanged | ErrorCode::OperationInterrupted) => {
            SinkError::Reconnect(text)
        }
        _ => SinkError::Never(text),
    }
}

/// The row's own fault: the database refuses it, and takes others.
pub fn of_row(error: &Error) -> Option<Reason> {
    match error.sqlite_error_code()? {
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            Some(Reason::new("constraint", words(error)))
        }
        _ => None,
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::SqliteFailure(_, Some(message)) => message.clone(),
        error => error.to_string(),
    }
}
