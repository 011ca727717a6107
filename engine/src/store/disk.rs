//! What the store asks of the file system itself, and how its failures read.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::Path,
};

use super::StoreError;

/// A quota and a limit on the size of files are full disks to the one who writes.
pub fn failed(operation: &'static str, folder: &Path) -> impl Fn(io::Error) -> StoreError {
    let folder = folder.to_owned();
    move |error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Full { operation, folder: folder.clone() }
        }
        _ => StoreError::Io { operation, folder: folder.clone(), detail: error.to_string() },
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(failed("sync", folder))
}
