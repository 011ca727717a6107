//! The mark: a small file that says how far a topic of publications was durable at the last clean stop.
//!
//! Only a lower bound, so it never has to be taken away: a topic that ends before it has lost records.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use super::disk::{failed, sync_folder};
use crate::log::LogError;

const MARK: &str = "end";
const NEXT_MARK: &str = "end.tmp";

/// The marked offset; `None` where there is no mark that can be read.
pub fn read(folder: &Path) -> Option<u64> {
    fs::read_to_string(folder.join(MARK)).ok()?.strip_suffix('\n')?.parse().ok()
}

pub fn write(folder: &Path, offset: u64) -> Result<(), LogError> {
    let (next, mark) = (folder.join(NEXT_MARK), folder.join(MARK));
    let write = || {
        let mut file = File::create(&next)?;
        writeln!(file, "{offset}")?;
        file.sync_all()?;
        fs::rename(&next, &mark)
    };
    write().map_err(failed("write", &mark))?;
    sync_folder(folder)
}
