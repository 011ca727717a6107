//! Topics in files: one folder per topic, append-only files of checksummed frames, named by the offset of their first record.
//!
//! Promises: what `prepare` or `publish` has answered for survives `kill -9` and a power cut; a frame is read whole and verified
//! or not at all; what a dead process left unfinished is never shown. A disk that is full fails the call, not the topic: a failed
//! publication is cut away again, and the next one may succeed. One process holds the folder ([`DataFolder`](crate::folder)).
//!
//! A topic is written either by transactions or by publications, never by both. Before `recover`, a topic of transactions shows
//! nothing. Every partition is this process's own, so [`events`](Log::events) never has anything to tell.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    panic,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread,
};

use syncline_record::Epoch;

use self::{disk::failed, sweep::Sweeper, topic::Topic};
use super::{CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame};

mod disk;
mod frame;
mod mark;
mod name;
mod publish;
mod segment;
mod sweep;
mod topic;
mod writer;

pub struct EmbeddedLog {
    root: PathBuf,
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    sweeper: Arc<Sweeper>,
}

impl EmbeddedLog {
    /// Takes the folder as it is, or makes it. Topics are looked at when they are first asked for, so that damage to one does
    /// not stop the others.
    pub fn open(root: &Path) -> Result<EmbeddedLog, LogError> {
        fs::create_dir_all(root).map_err(failed("create", root))?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk::sync_folder(parent)?;
        }
        Ok(EmbeddedLog { root: root.to_owned(), topics: RwLock::default(), sweeper: Arc::default() })
    }

    fn topic(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return topic.clone();
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let folder = self.root.join(name::folder_of(name));
        let topic = || Arc::new(Topic::new(name.to_owned(), self.root.clone(), folder, self.sweeper.clone()));
        topics.entry(name.to_owned()).or_insert_with(topic).clone()
    }

    fn name_of(&self, folder: &Path) -> Result<Option<String>, LogError> {
        let Some(short) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        if !name::is_cut(short) {
            return Ok(name::topic_of(short));
        }
        let path = folder.join(name::NAME_FILE);
        match fs::read_to_string(&path) {
            // The process died before it had named the folder; nothing is in it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            whole => Ok(Some(whole.map_err(failed("read", &path))?).filter(|whole| name::folder_of(whole) == short)),
        }
    }
}

impl Log for EmbeddedLog {
    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError> {
        for (topic, end) in ends {
            let topic = self.topic(topic);
            if *end == End::default() { topic.wipe()? } else { topic.recover(*end)? }
        }
        for topic in self.topics("")? {
            if !ends.contains_key(&topic) && prefixes.iter().any(|prefix| topic.starts_with(prefix)) {
                self.topic(&topic).wipe()?;
            }
        }
        Ok(())
    }

    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError> {
        self.topic(topic).append(&frame)
    }

    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError> {
        let Some((last, others)) = topics.split_last() else { return Ok(Ends::new()) };
        // A disk takes several syncs in little more time than one.
        thread::scope(|scope| {
            let prepared = |name| scope.spawn(move || self.topic(name).prepare());
            let others: Vec<_> = others.iter().map(|name| (name, prepared(name))).collect();
            let mut ends = Ends::from([(last.clone(), self.topic(last).prepare()?)]);
            for (name, end) in others {
                ends.insert(name.clone(), end.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?);
            }
            Ok(ends)
        })
    }

    fn commit(&self, _epoch: Epoch, ends: &Ends) -> Result<(), CommitError> {
        for (topic, end) in ends {
            self.topic(topic).show(*end)?;
        }
        Ok(())
    }

    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        self.topic(topic).publish(frames)
    }

    fn read(&self, topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        self.topic(topic).read(from, max_bytes)
    }

    fn end(&self, topic: &str) -> Result<u64, LogError> {
        self.topic(topic).end()
    }

    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError> {
        self.topic(topic).bytes(from)
    }

    fn release(&self, topic: &str, below: u64) -> Result<(), LogError> {
        self.topic(topic).release(below)
    }

    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError> {
        self.topic(topic).begin(offset)
    }

    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        let mut topics = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed("list", &self.root))? {
            let path = entry.map_err(failed("list", &self.root))?.path();
            if path.is_dir() {
                topics.extend(self.name_of(&path)?.filter(|topic| topic.starts_with(prefix)));
            }
        }
        topics.sort_unstable();
        Ok(topics)
    }

    fn events(&self) -> Vec<Event> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
