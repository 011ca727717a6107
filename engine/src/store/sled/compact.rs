//! Giving space back: sled's file never shrinks, so now and then the live pairs move to a fresh one.
//!
//! The fresh database is written, synced and verified beside the old one. Then three steps, each of which a start can finish:
//! the old one is renamed away, the fresh one takes its name, the old one is deleted.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use ::sled::{Batch, Db};

use super::{
    super::disk::{failed, sync_folder},
    AHEAD_BYTES, StoreError, configured, contained,
    seal::Contents,
};

const CURRENT: &str = "sled";
/// The fresh database while it is written, and the old one while it is deleted.
const NEXT: &str = "sled.next";
const OLD: &str = "sled.old";

/// Files below this are left alone: a few segments are always in use.
const WORTH_IT: u64 = 64 << 20;
/// How many times as large as what is live a file may be.
const AMPLIFICATION: u64 = 4;
/// Bytes that are copied in one batch.
const BATCH: usize = 1 << 20;

/// sled's own folder.
pub fn current(folder: &Path) -> PathBuf {
    folder.join(CURRENT)
}

/// True when the file has grown far past what is live.
pub fn is_due(size: u64, live: u64) -> bool {
    size > WORTH_IT && size > live.saturating_mul(AMPLIFICATION)
}

/// Ends a swap in which a process died. A fresh database that has not begun to take the old one's place may be incomplete.
pub fn finish(folder: &Path) -> Result<(), StoreError> {
    let (current, next, old) = (current(folder), folder.join(NEXT), folder.join(OLD));
    let fail = || failed("compact", folder);
    if !current.exists() && next.exists() && old.exists() {
        fs::rename(&next, &current).map_err(fail())?;
        sync_folder(folder)?;
    }
    for left_over in [next, old] {
        if left_over.exists() {
            fs::remove_dir_all(&left_over).map_err(fail())?;
        }
    }
    Ok(())
}

/// Writes what is live into a fresh database beside the old one. [`swap`] follows, when both are closed.
pub fn copy(folder: &Path, db: &Db, contents: &Contents) -> Result<(), StoreError> {
    let next = folder.join(NEXT);
    let fresh = contained(folder, "compact", || configured(&next).open())?;
    contained(folder, "compact", || copy_pairs(db, &fresh))?;
    let copied = Contents::of(folder, &fresh)?;
    contained(folder, "compact", || {
        drop(fresh);
        Ok(())
    })?;
    if copied != *contents {
        let detail = "the compacted copy is not what was copied".to_owned();
        return Err(StoreError::Io { operation: "compact", folder: folder.to_owned(), detail });
    }
    for file in [next.join("db"), next.join("conf"), next] {
        File::open(file).and_then(|file| file.sync_all()).map_err(failed("compact", folder))?;
    }
    Ok(())
}

/// Puts the fresh database in the old one's place.
pub fn swap(folder: &Path) -> Result<(), StoreError> {
    for (from, to) in [(CURRENT, OLD), (NEXT, CURRENT)] {
        fs::rename(folder.join(from), folder.join(to)).map_err(failed("compact", folder))?;
        sync_folder(folder)?;
    }
    finish(folder)
}

fn copy_pairs(from: &Db, to: &Db) -> ::sled::Result<()> {
    let (mut batch, mut bytes, mut ahead) = (Batch::default(), 0, 0);
    for pair in from.iter() {
        let (key, value) = pair?;
        bytes += key.len() + value.len();
        batch.insert(key, value);
        if bytes >= BATCH {
            to.apply_batch(std::mem::take(&mut batch))?;
            ahead += bytes;
            bytes = 0;
        }
        if ahead > AHEAD_BYTES {
            to.flush()?;
            ahead = 0;
        }
    }
    to.apply_batch(batch)?;
    to.flush().map(drop)
}
