//! The files of a staged sink: parts that are hidden while they grow, and appear by rename.
//!
//! A part is called `<pipeline>-<step>-00000001.ndjson`; with lanes, `<pipeline>-<step>-lane03-00000001.ndjson`. In work it is
//! `.<name>.tmp` in the same folder, so that no reader of `*.ndjson` sees it and the rename stays on one file system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use syncline_engine::sink::SinkError;
use syncline_record::{Micros, StepId};

use crate::{
    spec::{Argument, ArgumentKind, Arguments, ConnectorError},
    system_words,
};

/// When a part is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    pub rows: u64,
    /// As they lie in the working file.
    pub bytes: u64,
    /// Since its first row.
    pub after: Micros,
}

impl Default for Full {
    /// Large enough for readers that like few files, small enough to copy; and a slow pipeline's rows can be seen after a minute.
    fn default() -> Self {
        Self { rows: u64::MAX, bytes: 128 << 20, after: 60_000_000 }
    }
}

/// `part_rows`, `part_size`, `part_time`: of every sink into a folder of parts.
pub const PART_ROWS: Argument = Argument {
    name: "part_rows",
    kind: ArgumentKind::Number,
    required: false,
    positional: false,
    help: "Rows after which a part of a folder is full.",
    example: "1000000",
};
pub const PART_SIZE: Argument = Argument {
    name: "part_size",
    kind: ArgumentKind::Size,
    required: false,
    positional: false,
    help: "Bytes of rows, not compressed, after which a part of a folder is full: 128 MiB, if not said.",
    example: "'256 MB'",
};
pub const PART_TIME: Argument = Argument {
    name: "part_time",
    kind: ArgumentKind::Duration,
    required: false,
    positional: false,
    help: "How long the first row of a part waits at most to be shown: 1 minute, if not said.",
    example: "'10 minutes'",
};

impl Full {
    /// What the arguments say, where they do.
    pub fn said(self, arguments: &Arguments) -> Result<Self, ConnectorError> {
        let rows = match arguments.value(PART_ROWS.name) {
            None => self.rows,
            Some(value) => value.as_u64().filter(|rows| *rows > 0).ok_or_else(|| ConnectorError::WrongType {
                connector: arguments.of_what().to_owned(),
                argument: PART_ROWS.name,
                wanted: "a whole number above 0".to_owned(),
                found: value.to_string(),
            })?,
        };
        Ok(Self {
            rows,
            bytes: arguments.size(PART_SIZE.name).map_or(self.bytes, |bytes| bytes.max(1)),
            after: arguments.duration(PART_TIME.name).unwrap_or(self.after),
        })
    }
}

/// How the parts of one step are called.
#[derive(Clone, Debug)]
pub struct PartNames {
    prefix: String,
    extension: String,
}

impl PartNames {
    pub fn new(pipeline: &str, step: &StepId, extension: impl Into<String>) -> Self {
        let prefix = format!("{}-{}", path_safe(pipeline), path_safe(step.as_str()));
        Self { prefix, extension: extension.into() }
    }

    /// What the names of all parts begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn part(&self, lane: Option<u32>, number: u64) -> String {
        match lane {
            None => format!("{}-{number:08}.{}", self.prefix, self.extension),
            Some(lane) => format!("{}-lane{lane:02}-{number:08}.{}", self.prefix, self.extension),
        }
    }

    /// Lane and number of a name that [`PartNames::part`] gave.
    pub fn parse(&self, name: &str) -> Option<(Option<u32>, u64)> {
        let middle =
            name.strip_prefix(&self.prefix)?.strip_prefix('-')?.strip_suffix(&*self.extension)?.strip_suffix('.')?;
        let (lane, number) = match middle.strip_prefix("lane").and_then(|rest| rest.split_once('-')) {
            Some((lane, number)) => (Some(lane.parse().ok()?), number),
            None => (None, middle),
        };
        number.parse().ok().map(|number| (lane, number))
    }
}

/// Names of pipelines and steps in names of files. No two give the same: everything but letters, digits and `_` is written so that
/// it can be told apart, and `-` is left to separate.
pub fn path_safe(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'/' => safe.push('.'),
            b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => safe.push(byte as char),
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

pub fn hidden_name(name: &str) -> String {
    format!(".{name}.tmp")
}

/// The hidden name of a single file, of the one with this number.
pub fn numbered(hidden: &str, number: u64) -> String {
    format!("{}-{number:08}.tmp", hidden.strip_suffix(".tmp").unwrap_or(hidden))
}

/// What stands behind the hidden name of a single file, whatever its number is. Earlier versions gave it none.
pub fn behind_numbered<'n>(hidden: &str, name: &'n str) -> Option<&'n str> {
    let rest = name.strip_prefix(hidden.strip_suffix(".tmp")?)?;
    let number = rest.strip_prefix('-').map(|rest| rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    number.unwrap_or(rest).strip_prefix(".tmp")
}

/// The name that a hidden file, or the working file of one (`.<name>.tmp.rows.tmp`), will have.
pub fn visible_name(hidden: &str) -> Option<&str> {
    Some(hidden.strip_prefix('.')?.split_once(".tmp")?.0)
}

/// A file that is appended to, and whose length is known: what is not whole is cut off before anything else is done.
#[derive(Debug)]
pub struct Appended {
    pub path: PathBuf,
    file: File,
    length: u64,
    /// There may be bytes behind `length`, of a write that failed.
    torn: bool,
}

impl Appended {
    pub fn create(path: PathBuf) -> Result<Self, SinkError> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(&path).map_err(|error| trouble("create", &path, &error))?;
        Ok(Self { path, file, length: 0, torn: false })
    }

    /// Opens a file of an earlier start and cuts it back to `length`.
    pub fn reopen(path: PathBuf, length: u64) -> Result<Self, SinkError> {
        let options = OpenOptions::new().read(true).write(true).clone();
        let file = options.open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => lost(&path, 0, length),
            _ => trouble("open", &path, &error),
        })?;
        let found = file.metadata().map_err(|error| trouble("open", &path, &error))?.len();
        if found < length {
            return Err(lost(&path, found, length));
        }
        file.set_len(length).map_err(|error| trouble("cut back", &path, &error))?;
        Ok(Self { path, file, length, torn: false })
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// All of the bytes, or none: what a full disk has taken of them is cut off again, at the latest by [`Appended::sync`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(trouble("write", &self.path, &error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub fn starts_with(&self, bytes: &[u8]) -> Result<bool, SinkError> {
        if self.length < bytes.len() as u64 {
            return Ok(false);
        }
        let mut found = vec![0; bytes.len()];
        self.file.read_exact_at(&mut found, 0).map_err(|error| trouble("read", &self.path, &error))?;
        Ok(found == bytes)
    }

    /// True for an empty file too.
    pub fn ends_with(&self, byte: u8) -> Result<bool, SinkError> {
        let Some(last) = self.length.checked_sub(1) else { return Ok(true) };
        let mut found = [0];
        self.file.read_exact_at(&mut found, last).map_err(|error| trouble("read", &self.path, &error))?;
        Ok(found == [byte])
    }

    pub fn sync(&mut self) -> Result<(), SinkError> {
        if self.torn {
            self.file.set_len(self.length).map_err(|error| trouble("cut back", &self.path, &error))?;
            self.torn = false;
        }
        self.file.sync_data().map_err(|error| trouble("sync", &self.path, &error))
    }
}

pub fn make_folder(folder: &Path) -> Result<(), SinkError> {
    fs::create_dir_all(folder).map_err(|error| trouble("create the folder", folder, &error))
}

pub fn remove(path: &Path) -> Result<(), SinkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(trouble("remove", path, &error)),
        _ => Ok(()),
    }
}

fn lost(path: &Path, found: u64, committed: u64) -> SinkError {
    SinkError::Never(format!(
        "{} has {found} bytes, and {committed} were committed: it was removed or cut; run with --fresh to write everything again",
        path.display()
    ))
}

/// What the engine can do about an error of the file system.
pub fn trouble(operation: &str, path: &Path, error: &io::Error) -> SinkError {
    let text = format!("cannot {operation} {}: {}", path.display(), system_words(error));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => SinkError::Again(text),
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::ResourceBusy => SinkError::Again(text),
        _ if error.raw_os_error().is_some_and(|number| OUT_OF_HANDLES.contains(&number)) => SinkError::Again(text),
        _ => SinkError::Never(text),
    }
}

/// ENFILE, EMFILE, and EIO, which a network file system gives while it is away.
const OUT_OF_HANDLES: [i32; 3] = [23, 24, 5];
