//! Files that are let go of: a few wait to be written again under another name, the others are shrunk piece by piece and deleted.
//!
//! Who syncs has somebody waiting for an answer, and two things make a sync slow. A file that grows is one: its new length and blocks
//! go through the file system's journal, where a file that is written over has only its bytes to bring to the disk. The other is a file
//! of many megabytes that is deleted in one go: every sync that needs the journal waits until its blocks are given back (where they
//! are discarded on a disk at once, for 1–2 ms per megabyte).
//!
//! A file that is let go of gets another name first, which no start takes for a part of the topic. Not a byte of it changes before that
//! name is durable: a crash could bring the old name back.
//!
//! A topic that has filled a file will fill another: the next one lies ready, under a durable name of its own, so that whoever writes on
//! waits for no journal, of which others' files are a part too. It is renamed when it is begun, and nobody waits until that is durable:
//! a start knows a begun file by what it holds ([`begun`]).

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    disk::{delete, failed, sync_folder},
    frame::{HEADER, Header},
    segment::{Broken, Segment, path_of},
    writer::FILE_SIZE,
};
use crate::log::LogError;

/// The file that a topic goes on with. No offset is called so.
const NEXT: &str = "next";

/// What the names of such files end with.
const GONE: &str = "gone";
/// So many wait to be written again: 64 MiB.
const SPARE: usize = 8;
/// What a file loses at a time: given back within a millisecond.
const PIECE: u64 = 512 << 10;
/// Between two pieces, so that syncs come in between: 25 MB a second go away.
const PAUSE: Duration = Duration::from_millis(20);
/// With more files than this, two gigabytes, pieces come faster: 170 MB a second; with twice as many without a pause. What is written must
/// not outrun what is deleted for long.
const BEHIND: usize = 256;
const SHORT_PAUSE: Duration = Duration::from_millis(3);
/// A file that somebody still reads from is looked at again after this long.
const READ: Duration = Duration::from_millis(20);

/// What is to be swept away; its thread begins with the first file, and ends with the log.
pub struct Sweeper {
    heap: Arc<Heap>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Heap {
    state: Mutex<State>,
    changed: Condvar,
    spare: usize,
}

#[derive(Default)]
struct State {
    /// The one that has waited longest comes first.
    files: VecDeque<Gone>,
    /// Folders that want a next file, and those that have one.
    wanted: BTreeSet<PathBuf>,
    ready: BTreeSet<PathBuf>,
    closed: bool,
}

struct Gone {
    file: Arc<Segment>,
    path: PathBuf,
    /// Bytes that it takes up on the disk.
    length: u64,
    /// Its new name is durable.
    named: bool,
}

pub fn is_gone(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == GONE)
}

impl Default for Sweeper {
    fn default() -> Self {
        Sweeper::keeping(SPARE)
    }
}

impl Sweeper {
    /// Keeps so many files to be written again.
    pub fn keeping(spare: usize) -> Sweeper {
        let heap = Heap { state: Mutex::default(), changed: Condvar::new(), spare };
        Sweeper { heap: Arc::new(heap), thread: Mutex::default() }
    }

    /// Takes a file away. Whoever reads from it at the moment reads on.
    pub fn take(&self, file: Arc<Segment>) -> Result<(), LogError> {
        let path = file.path.with_extension(GONE);
        let length = file.size_on_disk()?;
        fs::rename(&file.path, &path).map_err(failed("rename", &file.path))?;
        let gone = Gone { file, path, length, named: false };
        self.heap.state().files.push_back(gone);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        self.heap.changed.notify_one();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.get_or_insert_with(|| {
            let heap = self.heap.clone();
            thread::spawn(move || heap.sweep())
        });
    }

    /// The file that lies ready for the topic in `folder`, which begins now as the one of `base`; another one is made ready.
    pub fn next(&self, folder: &Path, base: u64) -> Result<Option<Segment>, LogError> {
        let ready = self.heap.state().ready.remove(folder);
        let begun = if ready { renewed(&folder.join(NEXT), folder, base)? } else { None };
        // Only now: a file that took its place before it was renamed would be begun under a name that is not durable.
        self.heap.state().wanted.insert(folder.to_owned());
        self.wake();
        Ok(begun)
    }

    /// A file of the topic in `folder` that may be written over, the one that was let go of last: the most of it is still in the system's
    /// cache. It begins a new life as the file of `base`. What is left of its old records are frames of offsets below `base`, which
    /// no reader takes for records of this file.
    pub fn reuse(&self, folder: &Path, base: u64) -> Result<Option<Segment>, LogError> {
        while let Some(path) = self.heap.free(folder) {
            if let Some(file) = renewed(&path, folder, base)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Waits until the files that were taken can be written again, and the next ones lie ready; how many were taken.
    #[cfg(test)]
    pub fn settled(&self) -> usize {
        let busy = |state: &State| !state.wanted.is_empty() || state.files.iter().any(|gone| !gone.named);
        while busy(&self.heap.state()) {
            thread::sleep(Duration::from_millis(1));
        }
        self.heap.state().files.len()
    }

    /// The folder's files of that kind are somebody else's to delete.
    pub fn forget(&self, folder: &Path) {
        let mut state = self.heap.state();
        state.files.retain(|gone| gone.path.parent() != Some(folder));
        state.wanted.remove(folder);
        state.ready.remove(folder);
    }
}

impl Drop for Sweeper {
    /// What is left is deleted at once: nobody waits for a sync any more.
    fn drop(&mut self) {
        self.heap.state().closed = true;
        self.heap.changed.notify_one();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Heap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sweep(&self) {
        loop {
            let mut state = self.state();
            if state.closed {
                break;
            }
            if state.files.iter().any(|gone| !gone.named) {
                drop(state);
                self.make_names_durable();
                continue;
            }
            if let Some(folder) = state.wanted.first().cloned() {
                if state.ready.contains(&folder) {
                    state.wanted.remove(&folder);
                    continue;
                }
                drop(state);
                self.make_ready(&folder);
                continue;
            }
            let count = state.files.len();
            if count <= self.spare {
                drop(self.changed.wait(state));
                continue;
            }
            let gone = state.files.pop_front();
            drop(state);
            let pause = match gone.is_some_and(|gone| self.shrink(gone)) {
                true => READ,
                false if count <= BEHIND => PAUSE,
                false if count <= 2 * BEHIND => SHORT_PAUSE,
                false => continue,
            };
            let state = self.state();
            if !state.closed {
                drop(self.changed.wait_timeout(state, pause));
            }
        }
        let state = std::mem::take(&mut *self.state());
        let ready = state.ready.into_iter().map(|folder| folder.join(NEXT));
        state.files.into_iter().map(|gone| gone.path).chain(ready).for_each(|path| drop(delete(&path)));
    }

    /// A file of the topic in `folder` that may be written over.
    fn free(&self, folder: &Path) -> Option<PathBuf> {
        let mut state = self.state();
        let at = state.files.iter().rposition(|gone| gone.is_free(folder))?;
        state.files.remove(at).map(|gone| gone.path)
    }

    fn make_ready(&self, folder: &Path) {
        let next = folder.join(NEXT);
        let made = match self.free(folder) {
            Some(path) => fs::rename(&path, &next),
            None => File::create(&next).map(drop),
        };
        let made = made.map_err(failed("create", &next)).and_then(|()| sync_folder(folder));
        let mut state = self.state();
        // Unless nobody wants it any more. Where it cannot be had, whoever writes makes one, and says why not.
        if state.wanted.remove(folder) && made.is_ok() {
            state.ready.insert(folder.to_owned());
        }
    }

    fn make_names_durable(&self) {
        let unnamed: Vec<PathBuf> =
            self.state().files.iter().filter(|gone| !gone.named).map(|gone| gone.path.clone()).collect();
        let mut folders: Vec<&Path> = unnamed.iter().filter_map(|path| path.parent()).collect();
        folders.sort_unstable();
        folders.dedup();
        let failed: Vec<&Path> = folders.into_iter().filter(|folder| sync_folder(folder).is_err()).collect();
        let mut state = self.state();
        state.files.retain_mut(|gone| {
            let asked = unnamed.contains(&gone.path);
            gone.named |= asked;
            // Where the folder is gone there is nothing to do; where its disk fails the next start tries again.
            !asked || !gone.path.parent().is_some_and(|folder| failed.contains(&folder))
        });
    }

    /// Takes a piece away, or the last of it; true: somebody reads from it.
    fn shrink(&self, mut gone: Gone) -> bool {
        let read = Arc::strong_count(&gone.file) > 1;
        if read {
            self.state().files.push_back(gone);
            return true;
        }
        let done = if gone.length <= PIECE {
            delete(&gone.path).map(|()| true)
        } else {
            gone.length -= PIECE;
            gone.file.file.set_len(gone.length).map_err(failed("shrink", &gone.path)).map(|()| false)
        };
        match done {
            Ok(true) => {}
            Ok(false) => self.state().files.push_front(gone),
            Err(error) => {
                tracing::warn!(path = %gone.path.display(), %error, "a file that is not needed stays; the next start tries again");
            }
        }
        false
    }
}

impl Gone {
    /// It may be written over: nobody reads from it, and it is about as long as a file becomes.
    fn is_free(&self, folder: &Path) -> bool {
        let long = (FILE_SIZE / 2..=FILE_SIZE).contains(&self.length);
        self.named && long && self.path.parent() == Some(folder) && Arc::strong_count(&self.file) == 1
    }
}

/// The file at `path`, to be written over as that of `base`; none where somebody has deleted it.
fn renewed(path: &Path, folder: &Path, base: u64) -> Result<Option<Segment>, LogError> {
    match Segment::renew(path, folder, base) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        renewed => renewed.map(Some).map_err(failed("rename", path)),
    }
}

/// What became of the file that lay ready in a folder, whose last file is that of `last`: the offset of one that was begun, and whose new name
/// was lost in a crash. One that was not begun holds nothing, or records of before `last`, and is deleted.
pub fn begun(folder: &Path, topic: &str, last: Option<u64>) -> Result<Option<u64>, LogError> {
    let path = folder.join(NEXT);
    let base = match last.filter(|_| path.exists()) {
        Some(last) => base_of(&Segment::at(path.clone(), 0)?, topic, last)?,
        None => None,
    };
    match base {
        None => delete(&path)?,
        Some(base) => {
            fs::rename(&path, path_of(folder, base)).map_err(failed("rename", &path))?;
            sync_folder(folder)?;
        }
    }
    Ok(base)
}

/// The offset of the first record, if it was written behind the file of `last`.
fn base_of(file: &Segment, topic: &str, last: u64) -> Result<Option<u64>, LogError> {
    if let Some(first) = Header::decode(&file.bytes(0, HEADER)?) {
        return Ok(Some(first.base).filter(|base| *base > last));
    }
    // Nothing of it was ever synced, or it was damaged since: then a later frame says that all before it was durable.
    if file.any_header(0, |header| header.base > last && header.durable == header.base)? {
        let detail = "the checksum of a header in the file behind it does not match";
        return Err(Broken { offset: last, detail }.in_topic(topic));
    }
    Ok(None)
}
