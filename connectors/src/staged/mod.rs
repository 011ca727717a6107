//! What all sinks into files share: parts that grow hidden, are cut back after a crash, and appear by rename.
//!
//! Rows go into a working file. A checkpoint makes it durable and remembers its length; the same checkpoint closes a part that is
//! full, that has waited long enough, or that is the last, and names it. After the checkpoint is committed, and only then, the part
//! gets its visible name. A crash anywhere between comes back to the last committed length, and finishes the names of that mark.
//!
//! How rows become bytes, and whether a full working file is already what readers want, is the [`Format`]'s matter.

mod lanes;
mod mark;
mod owner;
pub mod parts;
pub mod shelf;
mod target;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use arrow::array::RecordBatch;
use serde_json::Value;
use syncline_engine::sink::{Cut, Owner, SinkError, StagedSink};
use syncline_record::{Batch, Micros, RowFailure};

use lanes::{Lane, Lanes, Open, at_once, by_lane};
use mark::{LaneMark, Mark, OpenMark, Shown};
use owner::Sign;
use parts::{Appended, Full, behind_numbered, hidden_name, make_folder, numbered, remove, trouble};
use shelf::{names_in, sync_folder};
pub use target::{Names, Target};

/// Bytes that are gathered before they are written: enough to make the call cheap.
const BUFFER: usize = 256 << 10;

/// How rows become bytes of a part.
pub trait Format: Send + Sync {
    /// A full working file is rewritten by [`Format::finish`]; else it is shown as it is.
    fn rewrites(&self) -> bool;

    /// The bytes at the start of a working file.
    fn start(&self, into: &mut Vec<u8>) -> Result<(), SinkError>;

    /// Appends the rows at `which`.
    fn encode(
        &self,
        rows: &RecordBatch,
        which: &[u32],
        into: &mut Vec<u8>,
        failed: &mut Vec<RowFailure>,
    ) -> Result<(), SinkError>;

    /// Makes a working file with what stands in a finished one, to be written on.
    fn reopen(&self, standing: &Path, working: &Path) -> io::Result<()> {
        fs::copy(standing, working).map(drop)
    }

    /// Writes what readers want to `finished` and makes it durable. It may be there already, from an attempt that was cut short.
    fn finish(&self, working: &Path, finished: &Path) -> Result<(), SinkError>;
}

pub struct Staged<F> {
    target: Target,
    full: Full,
    format: F,
    lanes: Lanes,
    /// Closed parts that are not shown yet.
    show: Vec<Shown>,
    /// A file was created since the last sync of the folder.
    created: bool,
    sign: Option<Sign>,
}

impl<F: Format> Staged<F> {
    pub fn new(target: Target, full: Full, format: F) -> Self {
        Self { target, full, format, lanes: BTreeMap::new(), show: Vec::new(), created: false, sign: None }
    }

    fn folder(&self) -> &PathBuf {
        &self.target.working
    }

    fn is_single(&self) -> bool {
        matches!(self.target.names, Names::Single { .. })
    }

    /// The parts of this step that are shown: name, lane, number.
    fn shown(&mut self) -> Result<Vec<(String, Option<u32>, u64)>, SinkError> {
        if self.is_single() {
            return Ok(Vec::new());
        }
        let names = self.target.shelf.names()?.into_iter();
        let shown = names.filter_map(|name| self.target.part_of(&name).map(|(lane, number)| (name, lane, number)));
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        Ok(shown)
    }

    fn name(&self, lane: Option<u32>, number: u64) -> String {
        match &self.target.names {
            Names::Parts(names) => names.part(lane, number),
            Names::Single { name, .. } => name.clone(),
        }
    }

    /// The finished file before it is shown.
    fn hidden(&self, lane: Option<u32>, number: u64) -> String {
        match &self.target.names {
            Names::Parts(names) => hidden_name(&names.part(lane, number)),
            Names::Single { hidden, .. } => numbered(hidden, number),
        }
    }

    fn working(&self, lane: Option<u32>, number: u64) -> String {
        match self.format.rewrites() {
            true => format!("{}{WORKING}", self.hidden(lane, number)),
            false => self.hidden(lane, number),
        }
    }

    /// Notes in the sign of a single file how much of it is ours.
    fn note(&mut self, length: Option<u64>) -> Result<(), SinkError> {
        match &mut self.sign {
            Some(sign) if matches!(self.target.names, Names::Single { .. }) => sign.note(&mut self.target, length),
            _ => Ok(()),
        }
    }

    fn restore(&mut self, mark: Mark) -> Result<(), SinkError> {
        self.show = mark.show;
        self.reveal()?;
        for LaneMark { lane, number, open } in mark.lanes {
            let mut restored = Lane::at(number);
            if let Some(OpenMark { length, rows, since, copied }) = open {
                let path = self.folder().join(self.working(lane, number));
                self.give_number(&path)?;
                restored.open = Some(Open { file: Appended::reopen(path, length)?, rows, since, copied });
            }
            self.lanes.insert(lane, restored);
        }
        self.refuse_newer()?;
        self.close_foreign()
    }

    /// Earlier versions gave the working file of a single file no number.
    fn give_number(&mut self, path: &Path) -> Result<(), SinkError> {
        let Names::Single { hidden, .. } = &self.target.names else { return Ok(()) };
        let ending = if self.format.rewrites() { WORKING } else { "" };
        let before = self.folder().join(format!("{hidden}{ending}"));
        if path.exists() || !before.exists() {
            return Ok(());
        }
        self.created = true;
        fs::rename(&before, path).map_err(|error| trouble("rename", &before, &error))
    }

    /// Earlier versions gave every closed file of a single file one hidden name, the next working file too. What lies there and is
    /// not the file of this mark was never committed, and that one was shown.
    fn is_another(&mut self, shown: &Shown) -> Result<bool, SinkError> {
        let Names::Single { name, hidden } = &self.target.names else { return Ok(false) };
        let (Some(length), true) = (shown.length, shown.hidden == *hidden) else { return Ok(false) };
        let lies = self.target.working.join(hidden).metadata().is_ok_and(|metadata| metadata.len() == length);
        Ok(!lies || self.target.shelf.length(name)? == Some(length))
    }

    /// A part whose start is not what this version of the pipeline would write takes no more rows: other columns go into another file.
    fn close_foreign(&mut self) -> Result<(), SinkError> {
        let mut start = Vec::new();
        self.format.start(&mut start)?;
        let mut foreign = Vec::new();
        for (lane, state) in &self.lanes {
            let Some(open) = &state.open else { continue };
            if !open.file.starts_with(&start)? {
                foreign.push(*lane);
            }
        }
        self.close(foreign)
    }

    /// Shown parts behind the mark were written by another run, or the checkpoint is an old copy: their rows would come twice.
    fn refuse_newer(&mut self) -> Result<(), SinkError> {
        for (name, lane, number) in self.shown()? {
            if self.lanes.get(&lane).is_none_or(|known| number >= known.number) {
                let place = self.target.shelf.place(&name);
                return Err(SinkError::Never(format!(
                    "{place} is newer than the last checkpoint: another run wrote it; move it away, or run with --fresh"
                )));
            }
        }
        Ok(())
    }

    /// Nothing is committed: new parts are numbered after those that stand there.
    fn number_after_shown(&mut self) -> Result<(), SinkError> {
        for (_, lane, number) in self.shown()? {
            let next = self.lanes.entry(lane).or_insert_with(|| Lane::at(1));
            next.number = next.number.max(number + 1);
        }
        Ok(())
    }

    /// Removes the hidden files that are neither an open part nor a closed one that waits to be shown.
    fn remove_leftovers(&self) -> Result<(), SinkError> {
        let open = self.lanes.values().filter_map(|lane| Some(lane.open.as_ref()?.file.path.clone()));
        let closed = self.show.iter().flat_map(|shown| [Some(&shown.hidden), shown.working.as_ref()]).flatten();
        let kept: Vec<PathBuf> = open.chain(closed.map(|name| self.folder().join(name))).collect();
        let mine = |name: &String| match &self.target.names {
            Names::Parts(_) => self.target.is_hidden_part(name),
            Names::Single { hidden, .. } => {
                behind_numbered(hidden, name).is_some_and(|rest| ["", WORKING, SCRATCH].contains(&rest))
            }
        };
        let leftovers: Vec<String> = names_in(self.folder())?.into_iter().filter(mine).collect();
        for path in leftovers.iter().map(|name| self.folder().join(name)) {
            if !kept.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Writes what is buffered of one lane, into a new part where none is open.
    fn flush(&mut self, lane: Option<u32>) -> Result<(), SinkError> {
        let Some(Lane { number, open, .. }) = self.lanes.get(&lane) else { return Ok(()) };
        if open.is_none() {
            let path = self.folder().join(self.working(lane, *number));
            let created = self.create(path)?;
            self.created = true;
            if let Some(found) = self.lanes.get_mut(&lane) {
                found.open = Some(created);
            }
        }
        if let Some(Lane { open: Some(open), buffer, buffered_rows, .. }) = self.lanes.get_mut(&lane) {
            open.file.append(buffer)?;
            open.rows += *buffered_rows;
            buffer.clear();
            buffer.shrink_to(BUFFER * 2);
            *buffered_rows = 0;
        }
        Ok(())
    }

    fn create(&mut self, path: PathBuf) -> Result<Open, SinkError> {
        let standing = match &self.target.names {
            Names::Single { name, hidden } => {
                let scratch = self.target.working.join(format!("{hidden}{SCRATCH}"));
                let copied = self.target.shelf.length(name)?;
                let fetched = copied.map(|_| self.target.shelf.fetch(name, &scratch)).transpose()?;
                copied.zip(fetched)
            }
            Names::Parts(_) => None,
        };
        let mut start = Vec::new();
        self.format.start(&mut start)?;
        let Some((copied, standing)) = standing else {
            let mut file = Appended::create(path)?;
            file.append(&start)?;
            return Ok(Open { file, rows: 0, since: None, copied: None });
        };
        let length = |path: &Path| path.metadata().map(|metadata| metadata.len());
        let reopened = self.format.reopen(&standing, &path).and_then(|()| length(&path));
        let mut file = Appended::reopen(path, reopened.map_err(|error| trouble("copy", &standing, &error))?)?;
        if file.length() == 0 {
            file.append(&start)?;
        } else if !file.starts_with(&start)? {
            let standing = standing.display();
            return Err(SinkError::Never(format!(
                "{standing} begins with other columns than these rows have; move it away, or write to another file"
            )));
        } else if !file.ends_with(b'\n')? {
            file.append(b"\n")?;
        }
        Ok(Open { file, rows: 0, since: None, copied: Some(copied) })
    }

    fn is_full(&self, open: &Open, cut: Cut) -> bool {
        let waited = open.since.is_some_and(|since| cut.now - since >= self.full.after);
        let many = open.file.length() >= self.full.bytes || open.rows >= self.full.rows;
        let full = many || waited || cut.stop;
        cut.end || (full && !self.is_single())
    }

    /// Makes the open parts durable, and closes those that are full.
    fn settle(&mut self, cut: Cut) -> Result<(), SinkError> {
        let open = self.lanes.values_mut().filter_map(|lane| lane.open.as_mut()).collect();
        let synced = at_once(open, false, |open: &mut Open| {
            open.since.get_or_insert(cut.now);
            open.file.sync()
        });
        synced.into_iter().collect::<Result<(), _>>()?;
        let is_full = |lane: &Lane| lane.open.as_ref().is_some_and(|open| self.is_full(open, cut));
        let full = self.lanes.iter().filter(|(_, lane)| is_full(lane)).map(|(lane, _)| *lane);
        self.close(full.collect())
    }

    /// The open parts of these lanes get no more rows, and are shown with the next checkpoint.
    fn close(&mut self, lanes: Vec<Option<u32>>) -> Result<(), SinkError> {
        let of = |lane: &Option<u32>| {
            let Lane { number, open, .. } = self.lanes.get(lane)?;
            let open = open.as_ref()?;
            Some((*lane, *number, open.copied, open.file.path.clone(), self.hidden(*lane, *number)))
        };
        let parts: Vec<_> = lanes.iter().filter_map(of).collect();
        let rewrites = self.format.rewrites();
        if rewrites && !parts.is_empty() {
            let (format, folder) = (&self.format, self.folder());
            let finished =
                at_once(parts.iter().collect(), false, |(.., path, hidden)| format.finish(path, &folder.join(hidden)));
            finished.into_iter().collect::<Result<(), _>>()?;
            self.created = true;
        }
        for (lane, number, copied, _, hidden) in parts {
            let working = rewrites.then(|| self.working(lane, number));
            let length = self.folder().join(&hidden).metadata().ok().map(|metadata| metadata.len());
            self.show.push(Shown { name: self.name(lane, number), hidden, working, copied, length });
            self.lanes.insert(lane, Lane::at(number + 1));
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        let lanes = self.lanes.iter().map(|(lane, state)| LaneMark {
            lane: *lane,
            number: state.number,
            open: state.open.as_ref().map(|open| OpenMark {
                length: open.file.length(),
                rows: open.rows,
                since: open.since,
                copied: open.copied,
            }),
        });
        Mark { lanes: lanes.collect(), show: self.show.clone() }
    }

    /// A run without rows leaves an empty file rather than none: whoever waits for it sees that it is done.
    fn is_missing(&mut self) -> Result<bool, SinkError> {
        match &self.target.names {
            Names::Single { name, .. } => Ok(self.show.is_empty() && self.target.shelf.length(name)?.is_none()),
            Names::Parts(_) => Ok(false),
        }
    }
}

/// What the working file of a rewritten part is called, behind the name of its finished file.
const WORKING: &str = ".rows.tmp";
/// And the local copy of what stands on a shelf that is elsewhere.
const SCRATCH: &str = ".old.tmp";

impl<F: Format> StagedSink for Staged<F> {
    fn claim(&mut self, owner: &Owner, mark: Option<&Value>, anew: bool) -> Result<(), SinkError> {
        self.sign = Some(Sign::claim(&mut self.target, owner, mark.is_some())?);
        if let Some(mark) = mark {
            self.show = Mark::read(mark)?.show;
            self.reveal()?;
        }
        self.sign.as_ref().map_or(Ok(()), |sign| sign.check(&mut self.target, anew))
    }

    fn open(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        (self.lanes, self.show, self.created) = (BTreeMap::new(), Vec::new(), false);
        make_folder(self.folder())?;
        self.target.shelf.open()?;
        match mark {
            None => self.number_after_shown()?,
            Some(mark) => {
                self.restore(Mark::read(mark)?)?;
            }
        }
        self.remove_leftovers()
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<RowFailure>, SinkError> {
        // Before the first row is taken, so that a refused write can be repeated.
        let full: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| lane.buffer.len() >= BUFFER).map(|(lane, _)| *lane).collect();
        for lane in full {
            self.flush(lane)?;
        }
        let of = by_lane(&batch.rows, !self.is_single());
        lanes::encode(&mut self.lanes, &self.format, &batch.rows, of)
    }

    fn prepare(&mut self, cut: Cut) -> Result<Value, SinkError> {
        if cut.end && self.is_missing()? {
            self.lanes.entry(None).or_insert_with(|| Lane::at(1));
            self.flush(None)?;
        }
        let written = self.lanes.iter().filter(|(_, lane)| !lane.buffer.is_empty()).map(|(lane, _)| *lane);
        for lane in written.collect::<Vec<_>>() {
            self.flush(lane)?;
        }
        self.settle(cut)?;
        if self.created {
            sync_folder(self.folder())?;
            self.created = false;
        }
        serde_json::to_value(self.mark()).map_err(|error| SinkError::Never(error.to_string()))
    }

    fn reveal(&mut self) -> Result<(), SinkError> {
        if self.show.is_empty() {
            return Ok(());
        }
        let folder = self.folder().clone();
        for shown in self.show.clone() {
            if !self.is_another(&shown)? {
                self.target.shelf.show(&folder.join(&shown.hidden), &shown.name, shown.copied)?;
            }
        }
        self.target.shelf.sync()?;
        if let Some(length) = self.show.last().map(|shown| shown.length) {
            let length = self.sign.as_ref().and_then(|sign| sign.with(length));
            self.note(length)?;
        }
        for working in self.show.iter().filter_map(|shown| shown.working.as_ref()) {
            remove(&folder.join(working))?;
        }
        self.show.clear();
        Ok(())
    }

    fn is_due(&self, now: Micros) -> bool {
        let folder = !self.is_single();
        let open = || self.lanes.values().filter_map(|lane| lane.open.as_ref());
        folder && open().any(|open| open.since.is_some_and(|since| now - since >= self.full.after))
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        (self.lanes, self.show) = (BTreeMap::new(), Vec::new());
        self.remove_leftovers()?;
        if let (Some(sign), true) = (&self.sign, self.is_single()) {
            sign.check(&mut self.target, true)?;
        }
        let mut names: Vec<String> = self.shown()?.into_iter().map(|(name, ..)| name).collect();
        if let Names::Single { name, .. } = &self.target.names {
            names.push(name.clone());
        }
        for name in names {
            self.target.shelf.remove(&name)?;
        }
        self.target.shelf.sync()?;
        self.note(Some(0))
    }

    fn take_back(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        let lanes = mark.map(Mark::read).transpose()?.map_or_else(Vec::new, |mark| mark.lanes);
        let first = |lane| lanes.iter().find(|known| known.lane == lane).map_or(1, |known| known.number);
        for (name, ..) in self.shown()?.into_iter().filter(|(_, lane, number)| *number >= first(*lane)) {
            self.target.shelf.remove(&name)?;
        }
        self.target.shelf.sync()
    }
}
