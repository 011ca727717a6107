//! Writing to a topic: frames gather in a buffer, go to the file in large pieces, and are synced when a writer asks for it.

use std::{fs, sync::Arc};

use super::{
    disk::{failed, sync_folder},
    frame::{HEADER, Header, Kind, MAX_BODY},
    name,
    segment::Segment,
    topic::Topic,
};
use crate::log::{End, LogError, NewFrame};

/// A file is closed, and a new one begun, before it would pass this. Retention lets go of whole files, so this is its grain.
pub const FILE_SIZE: u64 = 8 << 20;
/// Appended bytes go to the file when there are this many: large enough that calls cost nothing, small enough to stay in cache.
const WRITE_BUFFER: usize = 1 << 20;

/// Where a topic's writer stands.
#[derive(Default)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Offset of the next record.
    pub next: u64,
    active: Option<Arc<Segment>>,
    /// Of the active file, with what is in the buffer.
    length: u64,
    pub durable: End,
    /// Files with bytes that are not synced.
    dirty: Vec<Arc<Segment>>,
    new_names: bool,
    /// Who writes here; the two do not mix, since one hides what the other shows.
    pub kind: Option<Kind>,
    /// A transaction's records are here, and nobody has said yet where the committed ones end.
    pub unrecovered: bool,
    /// Bytes after the durable end must go before anything is written.
    pub needs_cut: bool,
    /// Why the open transaction cannot go on; until `recover`.
    pub failed: Option<LogError>,
    /// Something was published since the topic was found.
    pub wrote: bool,
}

impl Writer {
    pub fn start_at(&mut self, end: End, active: Option<Arc<Segment>>) {
        self.next = end.offset;
        self.length = end.length;
        self.durable = end;
        self.active = active;
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let Some(active) = &self.active else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        if !self.dirty.iter().any(|file| Arc::ptr_eq(file, active)) {
            self.dirty.push(active.clone());
        }
        active.write(&self.buffer, self.length - self.buffer.len() as u64)?;
        self.buffer.clear();
        // A frame larger than the buffer must not keep its memory.
        self.buffer.shrink_to(2 * WRITE_BUFFER);
        Ok(())
    }
}

impl Topic {
    fn refusal(&self, operation: &'static str, detail: &str) -> LogError {
        LogError::Io { operation, path: self.folder.clone(), detail: detail.to_owned() }
    }

    pub fn check(&self, frame: &NewFrame) -> Result<(), LogError> {
        if frame.count == 0 {
            return Err(self.refusal("write to", "a frame holds at least one record"));
        }
        if frame.body.len() > MAX_BODY {
            let detail = format!("a frame of {} bytes; the most is {MAX_BODY}", frame.body.len());
            return Err(self.refusal("write to", &detail));
        }
        Ok(())
    }

    pub fn append(&self, frame: &NewFrame) -> Result<u64, LogError> {
        self.check(frame)?;
        let crc = crc32fast::hash(&frame.body);
        let mut writer = self.writer()?;
        if let Some(failed) = &writer.failed {
            return Err(failed.clone());
        }
        self.must_be_recovered(&writer)?;
        if writer.kind == Some(Kind::Publication) {
            return Err(self.refusal("append to", "records are published here; a transaction would hide them"));
        }
        let added = self.cut_if_needed(&mut writer).and_then(|()| self.add(&mut writer, frame, crc, Kind::Transaction));
        if let Err(error) = &added {
            self.give_up(&mut writer, error);
        }
        added
    }

    pub fn prepare(&self) -> Result<End, LogError> {
        let mut writer = self.writer()?;
        if let Some(failed) = &writer.failed {
            return Err(failed.clone());
        }
        self.must_be_recovered(&writer)?;
        if let Err(error) = self.sync(&mut writer) {
            self.give_up(&mut writer, &error);
            return Err(error);
        }
        Ok(writer.durable)
    }

    fn must_be_recovered(&self, writer: &Writer) -> Result<(), LogError> {
        if writer.unrecovered {
            return Err(self.refusal("append to", "it holds records of an earlier run; `recover` comes first"));
        }
        Ok(())
    }

    /// The transaction cannot be saved: gives its space back, and answers everything with the error until `recover`.
    fn give_up(&self, writer: &mut Writer, error: &LogError) {
        let (durable, visible) = (writer.durable, self.view().visible);
        if let Err(second) = self.cut(writer, durable, visible) {
            tracing::warn!(topic = self.name, error = %second, "the failed transaction could not be cut back");
        }
        writer.failed = Some(error.clone());
    }

    /// Frames outside any transaction, with the checksums of their bodies: written, synced and shown in one go.
    /// Returns the offset of each call's first record.
    pub fn publish_all(&self, calls: &[Vec<(NewFrame, u32)>]) -> Result<Vec<u64>, LogError> {
        let mut writer = self.writer()?;
        if writer.kind == Some(Kind::Transaction) || writer.next != writer.durable.offset {
            return Err(self.refusal("publish to", "a transaction writes here"));
        }
        self.cut_if_needed(&mut writer)?;
        let mut bases = Vec::with_capacity(calls.len());
        let mut write = || {
            for call in calls {
                bases.push(writer.next);
                for (frame, crc) in call {
                    self.add(&mut writer, frame, *crc, Kind::Publication)?;
                }
            }
            self.sync(&mut writer)
        };
        if let Err(error) = write() {
            // What was synced before is verified, from a file opened anew; when that fails, the next publication tries again.
            let durable = writer.durable;
            if self.cut(&mut writer, durable, durable).is_err() {
                writer.next = durable.offset;
                writer.needs_cut = true;
            }
            return Err(error);
        }
        writer.wrote = true;
        self.view().visible = writer.durable;
        Ok(bases)
    }

    fn cut_if_needed(&self, writer: &mut Writer) -> Result<(), LogError> {
        if writer.needs_cut {
            let durable = writer.durable;
            self.cut(writer, durable, durable)?;
        }
        Ok(())
    }

    fn add(&self, writer: &mut Writer, frame: &NewFrame, body_crc: u32, kind: Kind) -> Result<u64, LogError> {
        let size = (HEADER + frame.body.len()) as u64;
        let full = writer.length > 0 && writer.length + size > FILE_SIZE;
        if writer.active.is_none() || full {
            self.begin_file(writer)?;
        }
        let base = writer.next;
        let header = Header {
            length: frame.body.len() as u32,
            count: frame.count,
            kind,
            time: frame.time,
            base,
            durable: writer.durable.offset,
            body_crc,
        };
        if let Some(active) = &writer.active {
            active.note(base, writer.length);
        }
        writer.buffer.extend_from_slice(&header.encode());
        writer.buffer.extend_from_slice(&frame.body);
        writer.length += size;
        writer.next = header.next();
        writer.kind = Some(kind);
        if writer.buffer.len() >= WRITE_BUFFER {
            writer.flush()?;
        }
        Ok(base)
    }

    fn begin_file(&self, writer: &mut Writer) -> Result<(), LogError> {
        writer.flush()?;
        self.make_folder()?;
        let goes_on = writer.active.is_some();
        let ready = if goes_on { self.sweeper.next(&self.folder, writer.next)? } else { None };
        let named = ready.is_some();
        let file = match ready {
            Some(file) => file,
            None => match self.sweeper.reuse(&self.folder, writer.next)? {
                Some(file) => file,
                None => Segment::create(&self.folder, writer.next)?,
            },
        };
        let file = Arc::new(file);
        self.view().files.push(file.clone());
        writer.active = Some(file);
        writer.length = 0;
        writer.new_names |= !named;
        Ok(())
    }

    pub fn make_folder(&self) -> Result<(), LogError> {
        let folder = self.folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let path = self.folder.join(name::NAME_FILE);
        let named = !name::is_cut(&folder) || path.is_file();
        if named && self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(failed("create", &self.folder))?;
        if !named {
            let written = fs::write(&path, &self.name).and_then(|()| fs::File::open(&path)?.sync_all());
            written.map_err(failed("write", &path))?;
        }
        sync_folder(&self.root)
    }

    fn sync(&self, writer: &mut Writer) -> Result<(), LogError> {
        writer.flush()?;
        for file in &writer.dirty {
            file.sync()?;
        }
        writer.dirty.clear();
        if writer.new_names {
            sync_folder(&self.folder)?;
            writer.new_names = false;
        }
        if let Some(active) = &writer.active {
            writer.durable = End { offset: writer.next, file: active.base, length: writer.length };
        }
        Ok(())
    }
}
