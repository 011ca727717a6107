//! Files that are let go of: shrunk piece by piece beside everything else, and deleted when little of them is left.
//!
//! To delete a file of many megabytes in one go makes every sync of the same file system wait for its blocks to be given back (where they
//! are discarded on a disk at once, for 1–2 ms per megabyte), and who syncs has somebody waiting for an answer.
//!
//! A file that is let go of gets another name first, which no start takes for a part of the topic.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    disk::{delete, failed, sync_folder},
    segment::Segment,
};
use crate::log::LogError;

/// What the names of such files end with.
const GONE: &str = "gone";
/// What a file loses at a time: given back within a millisecond.
const PIECE: u64 = 512 << 10;
/// Between two pieces, so that syncs come in between: 170 MB a second go away.
const PAUSE: Duration = Duration::from_millis(3);
/// With more files than this, a gigabyte, it goes on without a pause: what is written must not outrun what is deleted for long.
const BEHIND: usize = 128;
/// A file that somebody still reads from is looked at again after this long.
const READ: Duration = Duration::from_millis(20);

/// What is to be swept away; its thread begins with the first file, and ends with the log.
#[derive(Default)]
pub struct Sweeper {
    running: Mutex<Option<(Sender<Gone>, JoinHandle<()>)>>,
}

struct Gone {
    file: Arc<Segment>,
    path: PathBuf,
    length: u64,
    /// Its new name is durable. Before that it may not lose a byte: a crash could bring the old name back.
    named: bool,
}

pub fn is_gone(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == GONE)
}

impl Sweeper {
    /// Takes a file away. Whoever reads from it at the moment reads on.
    pub fn take(&self, file: Arc<Segment>) -> Result<(), LogError> {
        let path = file.path.with_extension(GONE);
        fs::rename(&file.path, &path).map_err(failed("rename", &file.path))?;
        let gone = Gone { length: file.length(), file, path, named: false };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, _) = running.get_or_insert_with(|| {
            let (files, waiting) = mpsc::channel();
            (files, thread::spawn(move || sweep(&waiting)))
        });
        match files.send(gone) {
            Ok(()) => Ok(()),
            // Its thread is gone; nothing waits for this file.
            Err(unsent) => delete(&unsent.0.path),
        }
    }
}

impl Drop for Sweeper {
    /// What is left is deleted at once: nobody waits for a sync any more.
    fn drop(&mut self) {
        if let Some((files, thread)) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(files);
            let _ = thread.join();
        }
    }
}

fn sweep(waiting: &Receiver<Gone>) {
    let mut files: VecDeque<Gone> = VecDeque::new();
    loop {
        match more(waiting, files.is_empty()) {
            Next::File(gone) => files.push_back(*gone),
            Next::Nothing => {
                let Some(mut gone) = files.pop_front() else { continue };
                let behind = files.len() > BEHIND;
                match gone.shrink() {
                    Ok(true) => {}
                    Ok(false) => files.push_front(gone),
                    Err(Left::Read) => {
                        files.push_back(gone);
                        thread::sleep(READ);
                    }
                    Err(Left::Failed(error)) => {
                        tracing::warn!(path = %gone.path.display(), %error, "a file that is not needed stays; the next start tries again");
                    }
                }
                if !behind {
                    thread::sleep(PAUSE);
                }
            }
            Next::End => break,
        }
    }
    for gone in files {
        let _ = delete(&gone.path);
    }
}

enum Next {
    File(Box<Gone>),
    Nothing,
    End,
}

fn more(waiting: &Receiver<Gone>, wait: bool) -> Next {
    let next = match wait {
        true => waiting.recv().map_err(|_| TryRecvError::Disconnected),
        false => waiting.try_recv(),
    };
    match next {
        Ok(gone) => Next::File(Box::new(gone)),
        Err(TryRecvError::Empty) => Next::Nothing,
        Err(TryRecvError::Disconnected) => Next::End,
    }
}

/// Why a file is not smaller.
enum Left {
    /// Somebody reads from it.
    Read,
    Failed(LogError),
}

impl Gone {
    /// Takes a piece away; true: it is deleted.
    fn shrink(&mut self) -> Result<bool, Left> {
        if Arc::strong_count(&self.file) > 1 {
            return Err(Left::Read);
        }
        if self.length <= PIECE {
            return delete(&self.path).map(|()| true).map_err(Left::Failed);
        }
        if !self.named {
            self.path.parent().map_or(Ok(()), sync_folder).map_err(Left::Failed)?;
            self.named = true;
        }
        self.length -= PIECE;
        self.file.file.set_len(self.length).map_err(failed("shrink", &self.path)).map_err(Left::Failed)?;
        Ok(false)
    }
}
