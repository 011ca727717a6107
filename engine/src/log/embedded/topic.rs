//! One topic: a folder of files, what of it is visible, and how it is found again after a crash.

use std::{
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    disk::{delete, failed, sync_folder},
    frame::{self, HEADER, Header, Kind},
    mark,
    publish::Queue,
    segment::{Broken, MISSING, SCAN_CHUNK, Segment, Step, Walk},
    sweep::{self, Sweeper},
    writer::Writer,
};
use crate::log::{End, Frame, LogError};

pub struct Topic {
    pub name: String,
    pub root: PathBuf,
    pub folder: PathBuf,
    /// Locked briefly, by readers too. Whoever needs both locks takes the writer's first.
    view: Mutex<View>,
    /// Locked while bytes are written and synced.
    writer: Mutex<Writer>,
    pub queue: Queue,
    pub sweeper: Arc<Sweeper>,
}

/// What readers see.
#[derive(Default)]
pub struct View {
    loaded: bool,
    pub files: Vec<Arc<Segment>>,
    pub visible: End,
}

impl Topic {
    pub fn new(name: String, root: PathBuf, folder: PathBuf, sweeper: Arc<Sweeper>) -> Self {
        let (view, writer) = (Mutex::default(), Mutex::default());
        Topic { name, root, folder, view, writer, queue: Queue::default(), sweeper }
    }

    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's part, once the topic has been found on disk.
    pub fn writer(&self) -> Result<MutexGuard<'_, Writer>, LogError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.view().loaded {
            self.load(&mut writer)?;
        }
        Ok(writer)
    }

    fn loaded_view(&self) -> Result<MutexGuard<'_, View>, LogError> {
        let view = self.view();
        if view.loaded {
            return Ok(view);
        }
        drop(view);
        drop(self.writer()?);
        Ok(self.view())
    }

    pub fn end(&self) -> Result<u64, LogError> {
        Ok(self.loaded_view()?.visible.offset)
    }

    pub fn bytes(&self, from: u64) -> Result<u64, LogError> {
        let view = self.loaded_view()?;
        if from >= view.visible.offset {
            return Ok(0);
        }
        let first = view.files.partition_point(|file| file.base <= from).saturating_sub(1);
        Ok(view.files[first..].iter().map(|file| file.length()).sum())
    }

    pub fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        let (files, visible) = {
            let view = self.loaded_view()?;
            if from >= view.visible.offset {
                return Ok(Vec::new());
            }
            let holding = view.files.partition_point(|file| file.base <= from);
            let Some(first) = holding.checked_sub(1) else {
                let oldest = view.files.first().map_or(view.visible.offset, |file| file.base);
                return Err(LogError::Gone { topic: self.name.clone(), asked: from, oldest });
            };
            (view.files[first..].to_vec(), view.visible)
        };
        let (mut frames, mut bytes, mut next) = (Vec::new(), 0, from);
        for (at, file) in files.iter().enumerate().take_while(|(_, file)| file.base <= visible.file) {
            let until = files.get(at + 1).map_or(u64::MAX, |next| next.base);
            let limit = if file.base == visible.file { visible.length } else { file.length() };
            if file.base > next {
                return Err(Broken { offset: next, detail: MISSING }.in_topic(&self.name));
            }
            let (base, position) = file.locate(next, limit).map_err(|error| self.located(error))?;
            let chunk = max_bytes.clamp(HEADER, SCAN_CHUNK * 16);
            let mut walk = Walk::new(file, base, position, limit, chunk).until(until);
            while bytes < max_bytes.max(1) {
                match walk.frame()? {
                    Step::Frame(Header { base, count, time, .. }, body) => {
                        bytes += body.len();
                        frames.push(Frame { base, count, time, body: walk.buffer[body].to_vec() });
                    }
                    Step::End => break,
                    Step::Broken(broken) => return Err(broken.in_topic(&self.name)),
                }
            }
            file.remember(walk.offset, walk.position);
            next = walk.offset;
            if bytes >= max_bytes.max(1) || next >= visible.offset {
                break;
            }
        }
        Ok(frames)
    }

    fn located(&self, error: Result<Broken, LogError>) -> LogError {
        error.map_or_else(|error| error, |broken| broken.in_topic(&self.name))
    }

    /// Lets go of whole files below the offset; never the one in which the visible records end, since a checkpoint names it.
    pub fn release(&self, below: u64) -> Result<(), LogError> {
        let mut view = self.loaded_view()?;
        while view.files.len() > 1 && view.files[1].base <= below && view.files[0].base < view.visible.file {
            self.sweeper.take(view.files[0].clone())?;
            view.files.remove(0);
        }
        Ok(())
    }

    /// Shows what was prepared.
    pub fn show(&self, end: End) -> Result<(), LogError> {
        let durable = self.writer()?.durable;
        let end = match end.is_anywhere() {
            true if end.offset == durable.offset => durable,
            true => self.find(&self.view().files.clone(), end.offset)?,
            false => end,
        };
        if end.offset > durable.offset {
            return Err(LogError::Short { topic: self.name.clone(), expected: end.offset, found: durable.offset });
        }
        self.view().visible = end;
        Ok(())
    }

    /// Finds the files. What a transaction left is not shown before `recover`; publications are shown up to the last whole frame.
    fn load(&self, writer: &mut Writer) -> Result<(), LogError> {
        let files = self.list()?;
        let mut visible = End::default();
        *writer = Writer::default();
        if let (Some(first), Some(last)) = (files.first(), files.last()) {
            let scan = self.scan(last, last.length())?;
            writer.kind = scan.kind;
            writer.unrecovered = scan.kind == Some(Kind::Transaction);
            if writer.unrecovered {
                visible = End { offset: first.base, file: first.base, length: 0 };
            } else {
                if let Some(broken) = scan.broken {
                    self.must_be_a_torn_tail(last, &scan, broken)?;
                    writer.needs_cut = true;
                }
                visible = End { offset: scan.offset, file: last.base, length: scan.position };
            }
        }
        if !writer.unrecovered {
            self.must_reach_its_mark(visible)?;
        }
        writer.start_at(visible, files.last().cloned());
        let mut view = self.view();
        *view = View { loaded: true, files, visible };
        Ok(())
    }

    /// The files, in order. What was let go of is deleted.
    fn list(&self) -> Result<Vec<Arc<Segment>>, LogError> {
        self.sweeper.forget(&self.folder);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("list", &self.folder))?,
        };
        let mut bases = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.folder))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if sweep::is_gone(name) {
                delete(&entry.path())?;
            }
            bases.extend(name.strip_suffix(".log").and_then(|base| base.parse::<u64>().ok()));
        }
        bases.sort_unstable();
        bases.extend(sweep::begun(&self.folder, &self.name, bases.last().copied())?);
        bases.into_iter().map(|base| Segment::open(&self.folder, base).map(Arc::new)).collect()
    }

    /// Reads and verifies a file from its start to `limit`.
    pub fn scan(&self, file: &Segment, limit: u64) -> Result<Scan, LogError> {
        let mut walk = Walk::new(file, file.base, 0, limit, SCAN_CHUNK);
        let (mut kind, mut broken) = (None, None);
        loop {
            let (offset, position) = (walk.offset, walk.position);
            match walk.frame()? {
                Step::Frame(header, _) => {
                    kind = kind.or(Some(header.kind));
                    file.note(offset, position);
                }
                Step::End => break,
                Step::Broken(found) => {
                    broken = Some(found);
                    break;
                }
            }
        }
        Ok(Scan { offset: walk.offset, position: walk.position, kind, broken })
    }

    /// A crash in the middle of a write leaves a torn tail, of which nothing was ever acknowledged. When a later frame says that
    /// this place was durable when it was written, the file was damaged afterwards, and cutting would lose records. Frames of an earlier
    /// life of the file were written before this place was.
    fn must_be_a_torn_tail(&self, file: &Segment, scan: &Scan, broken: Broken) -> Result<(), LogError> {
        match file.any_header(scan.position, |header| header.durable > broken.offset)? {
            true => Err(broken.in_topic(&self.name)),
            false => Ok(()),
        }
    }

    fn must_reach_its_mark(&self, visible: End) -> Result<(), LogError> {
        match mark::read(&self.folder) {
            Some(marked) if marked > visible.offset => {
                let broken =
                    Broken { offset: visible.offset, detail: "records that were synced are missing or changed" };
                Err(broken.in_topic(&self.name))
            }
            _ => Ok(()),
        }
    }

    /// Cuts the topic back to `end`, verifies the file in which it ends, and shows it.
    pub fn recover(&self, end: End) -> Result<(), LogError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.list()?;
        let end = if end.is_anywhere() { self.find(&files, end.offset)? } else { end };
        *self.view() = View { loaded: false, files, visible: End::default() };
        self.cut(&mut writer, end, end)
    }

    /// Where the record before `offset` ends.
    fn find(&self, files: &[Arc<Segment>], offset: u64) -> Result<End, LogError> {
        let short = |found| LogError::Short { topic: self.name.clone(), expected: offset, found };
        let Some(file) = files.iter().rev().find(|file| file.base < offset) else {
            // Nothing before it is here, or ever was.
            let first = files.first().filter(|first| first.base == offset);
            return first.map(|_| End { offset, file: offset, length: 0 }).ok_or_else(|| short(0));
        };
        let mut walk = Walk::new(file, file.base, 0, file.length(), SCAN_CHUNK);
        while walk.offset < offset {
            match walk.header()? {
                Step::Frame(..) => {}
                // What follows the last whole frame was never answered for.
                Step::End | Step::Broken(_) => return Err(short(walk.offset)),
            }
        }
        if walk.offset > offset {
            let broken = Broken { offset, detail: "the checkpoint ends inside a frame" };
            return Err(broken.in_topic(&self.name));
        }
        Ok(End { offset, file: file.base, length: walk.position })
    }

    /// Empties the topic; the next record is number `offset`. An empty file of that name says so to the next process.
    pub fn begin(&self, offset: u64) -> Result<(), LogError> {
        self.wipe()?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let start = End { offset, file: offset, length: 0 };
        let mut files = vec![];
        if offset > 0 {
            self.make_folder()?;
            files.push(Arc::new(Segment::create(&self.folder, offset)?));
            sync_folder(&self.folder)?;
        }
        *writer = Writer::default();
        writer.start_at(start, files.last().cloned());
        *self.view() = View { loaded: true, files, visible: start };
        Ok(())
    }

    /// Cuts back to `end`; the writer goes on from there. Readers see up to `visible`.
    pub fn cut(&self, writer: &mut Writer, end: End, visible: End) -> Result<(), LogError> {
        let mut files = self.view().files.clone();
        let whole = |file: &Arc<Segment>| file.base < end.file || (file.base == end.file && end != End::default());
        let kept = files.iter().take_while(|file| whole(file)).count();
        let cut_away = files.split_off(kept);
        self.must_reach(&files, end)?;
        for file in cut_away.iter().rev() {
            delete(&file.path)?;
        }
        if !cut_away.is_empty() {
            sync_folder(&self.folder)?;
        }
        let mut kind = None;
        if let Some(last) = files.last_mut() {
            if last.size_on_disk()? != end.length {
                last.file.set_len(end.length).map_err(failed("cut", &last.path))?;
                last.file.sync_all().map_err(failed("sync", &last.path))?;
            }
            *last = Arc::new(Segment::open(&self.folder, last.base)?);
            let scan = self.scan(last, end.length)?;
            if let Some(broken) = scan.broken {
                return Err(broken.in_topic(&self.name));
            }
            if scan.offset != end.offset {
                let detail = "the checkpoint and the file do not agree on how many records there are";
                return Err(Broken { offset: scan.offset.min(end.offset), detail }.in_topic(&self.name));
            }
            kind = scan.kind;
        }
        *writer = Writer::default();
        writer.kind = kind;
        writer.start_at(end, files.last().cloned());
        *self.view() = View { loaded: true, files, visible };
        Ok(())
    }

    fn must_reach(&self, files: &[Arc<Segment>], end: End) -> Result<(), LogError> {
        if end == End::default() {
            return Ok(());
        }
        let found = match files.last() {
            Some(last) if last.base == end.file && last.size_on_disk()? >= end.length => return Ok(()),
            Some(last) => self.scan(last, last.size_on_disk()?)?.offset,
            None => 0,
        };
        // Where the records are all there but their bytes are not, the file is not the one that the checkpoint saw.
        let found = found.min(end.offset);
        Err(LogError::Short { topic: self.name.clone(), expected: end.offset, found })
    }

    /// Deletes the whole topic.
    pub fn wipe(&self) -> Result<(), LogError> {
        self.recover(End::default())?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map_err(failed("delete", &self.folder)).and_then(|()| sync_folder(&self.root)),
        }
    }
}

impl Drop for Topic {
    /// A clean stop leaves a mark; without one a start cannot tell a torn tail from a damaged one as well.
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let published = writer.kind == Some(Kind::Publication) && writer.wrote && !writer.needs_cut;
        if published && let Err(error) = mark::write(&self.folder, writer.durable.offset) {
            tracing::warn!(topic = self.name, %error, "no mark of the end was left");
        }
    }
}

pub struct Scan {
    pub offset: u64,
    pub position: u64,
    pub kind: Option<Kind>,
    pub broken: Option<Broken>,
}

impl Segment {
    /// Whether there is a sound header at or after `from` of which this holds.
    pub fn any_header(&self, from: u64, holds: impl Fn(&Header) -> bool) -> Result<bool, LogError> {
        let mut at = from;
        while at < self.length() {
            let bytes = self.bytes(at, (self.length() - at).min(SCAN_CHUNK as u64) as usize)?;
            if frame::headers(&bytes).any(|header| holds(&header)) {
                return Ok(true);
            }
            // A header may lie across two pieces.
            at += (bytes.len().saturating_sub(HEADER - 1)).max(1) as u64;
        }
        Ok(false)
    }
}
