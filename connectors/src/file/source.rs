//! Reads files of records, JSON or CSV, packed or not: a batch that ends, or one that goes on as they grow.
//!
//! Every file is a partition, named by its path as the pipeline writes it. Only whole lines are rows; where a batch ends, a last
//! line without a line end is one too. Lines of white space are no rows, but they count. A file that takes the name of one that was
//! read (log rotation) is the next generation of that name (`app.ndjson#1`), and the old one is read to its end first. A followed file
//! that is cut in its place after it was read (rotation by copying) begins its next generation too.
//!
//! Rows have one time per file: the instant at which it was first opened, kept in its cursor. So a redo gives the same rows.

use std::{collections::VecDeque, path::Path};

use syncline_engine::source::{Cursors, Polled, Progress, Source, SourceError};
use syncline_record::{Micros, Partition};

use super::{
    find::{Found, Wanted},
    resume::{Resumed, resume, seen},
    tail::{Tail, Taken},
};
use crate::{
    records::{Packing, TextFormat},
    spec::{ConnectorError, Surroundings},
};

/// How often a followed pattern is looked at for new and rotated files. Rotation is rare; a listing of a folder is not free.
const LOOK_EVERY: Micros = 500_000;
/// How long a rotated file is still watched: programs write to the old file until they are told of the new one.
const WATCH_ROTATED: Micros = 600_000_000;

/// How files are read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub format: TextFormat,
    /// `compression`: what it says for all files; else the ending of each name does.
    pub packing: Option<Option<Packing>>,
    /// Goes on as files grow.
    pub follow: bool,
}

impl Reading {
    /// How the file of this name is packed. An archive cannot be followed: it is written once.
    pub fn packing_of(&self, name: &str) -> Result<Option<Packing>, SourceError> {
        let packing = self.packing.unwrap_or_else(|| Packing::of_name(name));
        match packing {
            Some(packing) if self.follow => {
                let word = packing.word();
                let detail =
                    format!("is a {word} archive, and FOLLOW reads files that grow: leave it out of the pattern");
                Err(SourceError::Unreadable { what: name.to_owned(), detail })
            }
            packing => Ok(packing),
        }
    }
}

pub struct FileSource {
    wanted: Wanted,
    reading: Reading,
    files: Resumed,
    /// The file whose turn it is.
    turn: usize,
    looked: Micros,
    skipped: u64,
}

impl FileSource {
    pub fn new(path: &str, around: &Surroundings, reading: Reading) -> Result<Self, ConnectorError> {
        let wanted = Wanted::new(path, around)?;
        Ok(Self { wanted, reading, files: Resumed::default(), turn: 0, looked: 0, skipped: 0 })
    }

    /// The files that are there. A followed pattern, and one whose files were all read and taken away, may match none.
    fn found(&self, cursors: &Cursors) -> Result<Vec<Found>, SourceError> {
        let found = match self.wanted.files() {
            Err(SourceError::Unreadable { .. }) if !cursors.is_empty() && self.is_missing() => Vec::new(),
            found => found?,
        };
        if found.is_empty() && cursors.is_empty() && !self.reading.follow {
            let detail = "no file matches".to_owned();
            return Err(SourceError::Unreadable { what: self.wanted.written.clone(), detail });
        }
        Ok(found)
    }

    /// A file that has its name in the pipeline is not there.
    fn is_missing(&self) -> bool {
        !self.wanted.is_pattern() && !self.wanted.path_of(&self.wanted.written).exists()
    }

    fn poll_bounded(&mut self) -> Result<Polled, SourceError> {
        while let Some(tail) = self.files.tails.get_mut(self.turn) {
            match tail.take(false)? {
                Taken::Rows(rows) => return Ok(Polled::Rows(*rows)),
                Taken::Underway => return Ok(Polled::Idle),
                Taken::Nothing | Taken::Cut => {
                    tail.close();
                    self.turn += 1;
                }
            }
        }
        Ok(Polled::Ended)
    }

    /// One round over the files, from the one whose turn it is.
    fn poll_followed(&mut self, now: Micros) -> Result<Polled, SourceError> {
        if (now - self.looked).abs() >= LOOK_EVERY {
            self.look(now)?;
        }
        let files = self.files.tails.len();
        let mut order: VecDeque<usize> = (0..files).map(|step| (self.turn + step) % files).collect();
        let mut visits = 2 * files;
        while let Some(at) = order.pop_front()
            && visits > 0
        {
            visits -= 1;
            if self.waits_for_older(at) {
                order.push_back(at);
                continue;
            }
            let tail = &mut self.files.tails[at];
            let whole_only = !is_over(tail, now);
            match tail.take(whole_only)? {
                Taken::Rows(rows) => {
                    self.turn = at + 1;
                    return Ok(Polled::Rows(*rows));
                }
                Taken::Nothing | Taken::Underway => {}
                Taken::Cut => {
                    self.begin_again(at, now)?;
                    return Ok(Polled::Idle);
                }
            }
        }
        Ok(Polled::Idle)
    }

    /// A file was cut, or written anew in its place, after all of it was read: what it holds now is the next generation of its name.
    fn begin_again(&mut self, at: usize, now: Micros) -> Result<(), SourceError> {
        let tail = self.files.tails.remove(at);
        if tail.rotated.is_some() {
            return Ok(());
        }
        tracing::info!(file = tail.cursor.path, "was cut after it was read to its end; it is read from its start now");
        let file = Found { name: tail.cursor.path, path: tail.path };
        let seen = seen(&self.wanted, &file.path)?;
        self.files.add(file, &seen, None, &self.reading, now);
        if let Some(added) = self.files.tails.last_mut() {
            added.opened()?;
        }
        self.files.sort();
        Ok(())
    }

    /// Files of one name are read in their order.
    fn waits_for_older(&self, at: usize) -> bool {
        let tails = &self.files.tails;
        at.checked_sub(1).is_some_and(|older| tails[older].cursor.path == tails[at].cursor.path && !tails[older].at_end)
    }

    /// Finds new files, and files that took the name of another.
    fn look(&mut self, now: Micros) -> Result<(), SourceError> {
        self.looked = now;
        let found = match self.wanted.files() {
            Ok(found) => found,
            // A single file between its two lives.
            Err(SourceError::Unreadable { .. }) if !self.wanted.is_pattern() => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut there = Vec::with_capacity(found.len());
        for file in found {
            // It can go between the listing and the look.
            if let Ok(seen) = seen(&self.wanted, &file.path) {
                there.push((file, seen));
            }
        }
        for tail in &mut self.files.tails {
            let same_name = there.iter().find(|(file, _)| file.name == tail.cursor.path);
            if tail.rotated.is_some() || same_name.is_some_and(|(_, seen)| seen.identity == tail.identity()) {
                continue;
            }
            match same_name {
                Some((file, seen)) if tail.is_deleted() && continues(tail, &file.path, seen.size) => {
                    tail.go_on_in(file.path.clone(), seen.identity);
                }
                _ => (tail.rotated, tail.at_end) = (Some(now), false),
            }
        }
        self.files.tails.retain(|tail| !tail.drained);
        for (file, seen) in there {
            if !self.files.knows(seen.identity) {
                let packing = self.reading.packing_of(&file.name)?;
                self.files.add(file, &seen, packing, &self.reading, now);
                if let Some(added) = self.files.tails.last_mut() {
                    added.opened()?;
                }
            }
        }
        self.files.sort();
        Ok(())
    }
}

/// Nobody writes to it any more, as far as one can know.
fn is_over(tail: &Tail, now: Micros) -> bool {
    tail.rotated.is_some_and(|since| now - since >= WATCH_ROTATED)
}

/// An editor writes a new file with all that was there and more, and gives it the old name.
fn continues(tail: &Tail, path: &Path, size: u64) -> bool {
    let fits = std::fs::File::open(path).and_then(|file| tail.cursor.head.fits(&file));
    tail.cursor.head.length > 0 && size >= tail.cursor.reached() && fits.unwrap_or(false)
}

impl Source for FileSource {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        let found = self.found(cursors)?;
        self.files = resume(&self.wanted, found, cursors, &self.reading, now)?;
        if self.files.tails.is_empty() && !self.reading.follow && self.is_missing() {
            // All of it was read before; but whoever names a file expects it.
            self.wanted.files()?;
        }
        self.turn = 0;
        self.looked = now;
        self.skipped = self.files.tails.iter().map(|tail| tail.cursor.reached()).sum();
        if self.reading.follow {
            // Only an open file can be read to its end after it was rotated.
            for tail in &mut self.files.tails {
                tail.opened()?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        if self.reading.follow { self.poll_followed(now) } else { self.poll_bounded() }
    }

    fn bounded(&self) -> bool {
        !self.reading.follow
    }

    fn progress(&self) -> Progress {
        let tails = &self.files.tails;
        let done = tails.iter().map(|tail| tail.cursor.reached()).sum();
        let total = tails.iter().map(|tail| tail.cursor.size.max(tail.cursor.reached())).sum();
        Progress { done, total: (!self.reading.follow).then_some(total), skipped: self.skipped, ..Progress::default() }
    }

    fn partitions(&self) -> Vec<Partition> {
        // A bounded source reads file by file, and those behind it are over for good.
        let over = if self.reading.follow { 0 } else { self.turn.min(self.files.tails.len()) };
        self.files.tails[over..].iter().map(Tail::partition).collect()
    }
}
