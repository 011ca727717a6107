//! The store on disk: one sled tree.
//!
//! Promises: a batch is visible whole or not at all, to readers and after a crash; what was flushed survives a power cut (sled's
//! own flush does not promise that much, so the file is synced as well); damage is a named error, never a wipe and never a panic.
//!
//! After any failure to write the store answers nothing more than that failure: what sled holds in memory is then not what is on
//! disk. Drop it and open it again to go on from what is durable. A disk that is almost full is noticed before sled meets it, and
//! that error leaves the store as it was.

use std::{
    any::Any,
    cell::Cell,
    fs::{self, File},
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ::sled::{Config, Db};

use self::seal::{Contents, Effects, Flushed, Seal};
use super::{
    Changes, StateStore, StoreError,
    disk::{failed, sync_folder},
    lock::FolderLock,
};

/// The largest value. A leaf of sled's tree holds up to about 20 pairs and is written as one piece; a piece over a quarter of
/// [`SEGMENT`] would become a file of its own, which sled neither syncs nor replaces atomically. So 20 values and their keys must
/// stay below that.
pub const MAX_VALUE: usize = 96 << 10;
/// The largest key; for the same reason.
pub const MAX_KEY: usize = 4 << 10;

/// sled writes, collects and reuses its file in pieces of this size.
const SEGMENT: usize = 8 << 20;
/// What sled may keep of pages. Working state lives with the operators, so this is for seeking only.
const CACHE: u64 = 16 << 20;
/// Space that must be free before a batch is taken: two segments, since sled opens the next before it closes one.
const SPARE: u64 = 2 * SEGMENT as u64;

/// Batches that sled may be ahead of its own writing, and their bytes; then whoever applies more waits for it. What is ahead waits in memory for
/// sled's seven threads, a [`SEGMENT`] for each. Where all of them wait for one that applies, and he waits until they have cut the file, it is
/// for ever (sled 0.34.7: `bump_tip` holds what they need until one of them has cut): so they never have that much to do.
const AHEAD: u32 = 32;
const AHEAD_BYTES: usize = SEGMENT;

/// What the keys of others start with in the tree.
const THEIRS: u8 = 1;

mod compact;
mod seal;

pub struct SledStore {
    folder: PathBuf,
    state: RwLock<State>,
    _lock: FolderLock,
}

struct State {
    /// `None` only while it is dropped.
    db: Option<Db>,
    /// sled's file, for syncing.
    file: File,
    flushed: Flushed,
    /// Batches that were applied since sled wrote all there was, and their bytes.
    ahead: (u32, usize),
    /// Of the last batch that was applied.
    seal: Seal,
    failed: Option<StoreError>,
}

impl SledStore {
    /// Opens the store in the folder, or makes it.
    pub fn open(folder: &Path) -> Result<SledStore, StoreError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let folder = fs::canonicalize(folder).map_err(failed("open", folder))?;
        let lock = FolderLock::take(&folder)?;
        compact::finish(&folder)?;
        let (mut db, mut contents) = open_database(&folder)?;
        let size = contained(&folder, "open", || db.size_on_disk())?;
        if compact::is_due(size, contents.live) {
            match compact::copy(&folder, &db, &contents) {
                Ok(()) => {
                    close(&folder, db)?;
                    compact::swap(&folder)?;
                    (db, contents) = open_database(&folder)?;
                }
                // Space that cannot be given back now can be later; the old file is as good as before.
                Err(error) => {
                    tracing::warn!(%error, "the state was not compacted");
                    compact::finish(&folder)?;
                }
            }
        }
        let file = File::open(compact::current(&folder).join("db")).map_err(failed("open", &folder))?;
        let flushed = Flushed::open(&folder, contents.seal.number)?;
        let state =
            RwLock::new(State { db: Some(db), file, flushed, ahead: (0, 0), seal: contents.seal, failed: None });
        let store = SledStore { folder, state, _lock: lock };
        store.flush()?;
        sync_folder(&compact::current(&store.folder))?;
        sync_folder(&store.folder)?;
        if let Some(parent) = store.folder.parent() {
            sync_folder(parent)?;
        }
        Ok(store)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, changes: &Changes) -> Result<(), StoreError> {
        let too_large = |what: &str, size: usize, most: usize| StoreError::Io {
            operation: "apply",
            folder: self.folder.clone(),
            detail: format!("a {what} of {size} bytes; the most is {most}"),
        };
        for (key, value) in &changes.puts {
            if key.len() > MAX_KEY {
                return Err(too_large("key", key.len(), MAX_KEY));
            }
            if value.len() > MAX_VALUE {
                return Err(too_large("value", value.len(), MAX_VALUE));
            }
        }
        let bytes: usize = changes.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        let free = rustix::fs::statvfs(&self.folder).map_err(|error| failed("apply", &self.folder)(error.into()))?;
        // Leaves are rewritten with what is put into them, hence more than once the bytes.
        if free.f_bavail.saturating_mul(free.f_frsize) < SPARE + 2 * bytes as u64 {
            return Err(StoreError::Full { operation: "apply", folder: self.folder.clone() });
        }
        Ok(())
    }

    fn change(&self, state: &mut State, operation: &'static str, effects: Effects) -> Result<(), StoreError> {
        let seal = state.seal;
        if state.ahead.0 >= AHEAD || state.ahead.1 > AHEAD_BYTES {
            self.attempt(state, operation, |db| db.flush())?;
            state.ahead = (0, 0);
        }
        let bytes: usize = effects.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        state.ahead = (state.ahead.0 + 1, state.ahead.1 + bytes);
        state.seal = self.attempt(state, operation, |db| {
            let (batch, seal) = seal.batch(db, &effects)?;
            db.apply_batch(batch).map(|()| seal)
        })?;
        Ok(())
    }

    /// Runs something that writes; its failure is the store's last word.
    fn attempt<T>(
        &self,
        state: &mut State,
        operation: &'static str,
        run: impl FnOnce(&Db) -> ::sled::Result<T>,
    ) -> Result<T, StoreError> {
        let db = usable(state)?;
        let done = contained(&self.folder, operation, || run(db));
        if let Err(error) = &done {
            state.failed = Some(error.clone());
        }
        done
    }
}

impl StateStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.read();
        let db = usable(&state)?;
        contained(&self.folder, "get", || Ok(db.get(theirs(key))?.map(|value| value.to_vec())))
    }

    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        // No batch is applied before it is let go of.
        let state = self.read();
        for prefix in prefixes {
            let mut pairs = usable(&state)?.scan_prefix(theirs(prefix));
            while let Some((key, value)) = contained(&self.folder, "scan", || pairs.next().transpose())? {
                if !each(&key[1..], &value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.check(&changes)?;
        let removals = changes.removals.into_iter().map(|key| (theirs(&key), None));
        let puts = changes.puts.into_iter().map(|(key, value)| (theirs(&key), Some(value)));
        let effects = removals.chain(puts).collect();
        self.change(&mut self.write(), "apply", effects)
    }

    /// sled splits a leaf at its 17th pair, and writes what is in it anew: pair by pair in order, a value is written two or three times. Keys
    /// without values first, and the leaves are split when the values come. What is written is not read before all is there, so it goes to
    /// the disk and out of the page cache: memory that the next piece takes again is cheaper than memory that was never used.
    fn fill(&self, changes: Changes) -> Result<(), StoreError> {
        let mut keys = Changes::default();
        changes.puts.iter().for_each(|(key, _)| keys.put(key.as_slice(), []));
        self.apply(keys)?;
        self.apply(changes)?;
        let state = self.read();
        state.file.sync_data().map_err(failed("fill", &self.folder))?;
        // An advice that is not taken costs memory, and nothing else.
        let _ = rustix::fs::fadvise(&state.file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.write();
        self.attempt(&mut state, "flush", |db| db.flush())?;
        state.ahead = (0, 0);
        let sync = || {
            state.file.sync_data()?;
            state.flushed.write(state.seal.number)
        };
        let synced = sync().map_err(failed("flush", &self.folder));
        if let Err(error) = &synced {
            state.failed = Some(error.clone());
        }
        synced
    }

    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError> {
        let mut state = self.write();
        let effects = {
            let db = usable(&state)?;
            let keys = db.scan_prefix(theirs(prefix)).keys();
            contained(&self.folder, "wipe", || {
                keys.map(|key| Ok((key?.to_vec(), None))).collect::<::sled::Result<_>>()
            })?
        };
        self.change(&mut state, "wipe", effects)
    }

    fn size_on_disk(&self) -> u64 {
        let state = self.read();
        let Ok(db) = usable(&state) else { return 0 };
        contained(&self.folder, "measure", || db.size_on_disk()).unwrap_or(0)
    }
}

impl Drop for SledStore {
    /// sled writes and syncs when it is dropped, and panics when that fails; whatever was flushed is safe already.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.write().db.take().map(|db| close(&self.folder, db)) {
            tracing::warn!(%error, "the store was not closed cleanly");
        }
    }
}

fn configured(folder: &Path) -> Config {
    let config = Config::new().path(folder).cache_capacity(CACHE).segment_size(SEGMENT);
    config.flush_every_ms(None).use_compression(false)
}

/// How sled says that somebody holds its file.
const LOCK_HELD: &str = "could not acquire lock";
/// A database that is closed lets go of its file within milliseconds; two seconds are for a busy machine.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

fn open_database(folder: &Path) -> Result<(Db, Contents), StoreError> {
    remove_unfinished_snapshots(&compact::current(folder))?;
    let mut tries = 0;
    let db = loop {
        match contained(folder, "open", || configured(&compact::current(folder)).open()) {
            // Our own lock is held, so sled's is that of a database which is on its way out: its threads are not gone yet.
            Err(StoreError::Io { detail, .. }) if detail.contains(LOCK_HELD) && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => break opened?,
        }
    };
    let contents = Contents::of(folder, &db)?;
    Ok((db, contents))
}

fn close(folder: &Path, db: Db) -> Result<(), StoreError> {
    contained(folder, "close", || {
        drop(db);
        Ok(())
    })
}

fn theirs(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(THEIRS);
    stored.extend_from_slice(key);
    stored
}

fn usable(state: &State) -> Result<&Db, StoreError> {
    match (&state.failed, &state.db) {
        (Some(error), _) => Err(error.clone()),
        (None, Some(db)) => Ok(db),
        (None, None) => Err(StoreError::Crashed),
    }
}

thread_local! {
    /// How many calls into sled this thread is in.
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
}

/// A panic that becomes an error must not be printed as if the process had failed.
fn keep_contained_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if CONTAINED.try_with(Cell::get).unwrap_or(0) == 0 {
                print(what);
            }
        }));
    });
}

/// Runs sled, and turns its errors and panics into ours.
fn contained<T>(
    folder: &Path,
    operation: &'static str,
    run: impl FnOnce() -> ::sled::Result<T>,
) -> Result<T, StoreError> {
    keep_contained_panics_quiet();
    CONTAINED.set(CONTAINED.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(run));
    CONTAINED.set(CONTAINED.get() - 1);
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(::sled::Error::Io(error))) => Err(failed(operation, folder)(error)),
        Ok(Err(error)) => Err(StoreError::Damaged { folder: folder.to_owned(), detail: error.to_string() }),
        Err(panic) => Err(StoreError::Damaged { folder: folder.to_owned(), detail: said(&*panic) }),
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "sled gave up".to_owned())
}

/// sled refuses to open over a snapshot that was being written when the disk was full or the process died.
fn remove_unfinished_snapshots(folder: &Path) -> Result<(), StoreError> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed("open", folder))? {
        let entry = entry.map_err(failed("open", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(failed("open", folder))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
