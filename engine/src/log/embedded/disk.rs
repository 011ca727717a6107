//! The few things that the log asks of the file system, and how their failures read.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

use crate::log::LogError;

/// Tells a full disk from other failures. A quota and a limit on the size of files are full disks to the one who writes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

pub fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |error| {
        if is_full(&error) {
            LogError::Full { operation, path }
        } else {
            LogError::Io { operation, path, detail: error.to_string() }
        }
    }
}

/// Makes the names in a folder durable: files that were made, renamed or deleted in it.
pub fn sync_folder(folder: &Path) -> Result<(), LogError> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(failed("sync", folder))
}

/// Deletes a file; that it is gone already is fine.
pub fn delete(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("delete", path)(error)),
        _ => Ok(()),
    }
}
