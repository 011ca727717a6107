//! One process holds a folder: a lock on a file in it, which ends with the process, however that ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use super::{StoreError, disk::failed};

/// Held until it is dropped. The file stays: deleting it would let two processes hold two files of the same name.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "holding it is the point")] File);

impl FolderLock {
    /// Locks `folder/lock` and writes this process's number into it. A lock that is held is `InUse`, with the number that the
    /// holder wrote (0 when it has not got so far).
    pub fn take(folder: &Path) -> Result<FolderLock, StoreError> {
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed("lock", folder))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed("lock", folder))?;
                let pid = text.trim().parse().unwrap_or(0);
                return Err(StoreError::InUse { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", folder)(error)),
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(failed("lock", folder))?;
        Ok(FolderLock(file))
    }
}
