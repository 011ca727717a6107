//! The engine's witness in a file: one byte that says in which window of a commit the process is, and behind it one for each outbox
//! sink and one for the changelog, which have windows of their own.
//!
//! Written without a sync: it has to survive `kill -9`, not a power cut, and it must cost nothing.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use syncline_engine::witness::{ChangelogWitness, Handover, NoWitness, SinkWitness, Upkeep, Window, Witness};

/// Sinks that are told apart; what those behind them were in is not known.
const SINKS: usize = 32;
/// Where the changelog's byte is, behind those of the sinks.
const CHANGELOG: usize = 1 + SINKS;

pub struct FileWitness {
    file: Arc<File>,
    last: Option<Window>,
    last_of_sinks: Vec<Handover>,
    last_of_changelog: Option<Upkeep>,
}

/// The witness of a pipeline. Where the file cannot be made, nothing is remembered: a witness never stops a run.
pub fn open(folder: &Path, pipeline: &str) -> Box<dyn Witness> {
    let folder = folder.join("witness");
    let open = || -> std::io::Result<FileWitness> {
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(pipeline.replace(['/', '\0'], "_"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; CHANGELOG + 1];
        let read = file.read_at(&mut bytes, 0)?;
        let last = bytes[..read].first().and_then(|byte| Window::from_u8(*byte));
        let sinks = bytes[..read].iter().take(CHANGELOG).skip(1).filter_map(|byte| Handover::from_u8(*byte));
        let last_of_sinks = sinks.filter(|window| *window != Handover::Idle).collect();
        let last_of_changelog = Upkeep::from_u8(bytes[CHANGELOG]).filter(|window| *window != Upkeep::Idle);
        Ok(FileWitness { file: Arc::new(file), last, last_of_sinks, last_of_changelog })
    };
    match open() {
        Ok(witness) => Box::new(witness),
        Err(_) => Box::new(NoWitness),
    }
}

impl Witness for FileWitness {
    fn enter(&mut self, window: Window) {
        // Losing this byte loses a statistic, nothing else.
        let _ = self.file.write_all_at(&[window as u8], 0);
    }

    fn last(&self) -> Option<Window> {
        self.last
    }

    fn of_sink(&self, sink: usize) -> Box<dyn SinkWitness> {
        if sink >= SINKS {
            return Box::new(NoWitness);
        }
        let mut witness = FileSinkWitness { file: self.file.clone(), at: 1 + sink as u64, now: None };
        witness.enter(Handover::Idle);
        Box::new(witness)
    }

    fn last_of_sinks(&self) -> Vec<Handover> {
        self.last_of_sinks.clone()
    }

    fn of_changelog(&self) -> Arc<dyn ChangelogWitness> {
        Arc::new(FileChangelogWitness(self.file.clone()))
    }

    fn last_of_changelog(&self) -> Option<Upkeep> {
        self.last_of_changelog
    }
}

struct FileChangelogWitness(Arc<File>);

impl ChangelogWitness for FileChangelogWitness {
    fn enter(&self, window: Upkeep) {
        let _ = self.0.write_all_at(&[window as u8], CHANGELOG as u64);
    }
}

struct FileSinkWitness {
    file: Arc<File>,
    at: u64,
    now: Option<Handover>,
}

impl SinkWitness for FileSinkWitness {
    fn enter(&mut self, window: Handover) {
        // A sink that has nothing to do says so again and again.
        if self.now.replace(window) != Some(window) {
            let _ = self.file.write_all_at(&[window as u8], self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_knows_where_job_and_sinks_were() {
        let folder = tempfile::tempdir().unwrap();
        let mut witness = open(folder.path(), "orders");
        assert_eq!((witness.last(), witness.last_of_sinks()), (None, vec![]));
        let mut sinks = [0, 1, 2].map(|sink| witness.of_sink(sink));
        witness.enter(Window::Logging);
        sinks[0].enter(Handover::Recording);
        sinks[2].enter(Handover::Applying);
        witness.of_changelog().enter(Upkeep::Committing);
        let next = open(folder.path(), "orders");
        assert_eq!(next.last(), Some(Window::Logging));
        assert_eq!(next.last_of_sinks(), [Handover::Recording, Handover::Applying]);
        assert_eq!(next.last_of_changelog(), Some(Upkeep::Committing));
        next.of_changelog().enter(Upkeep::Idle);
        drop([0, 1, 2].map(|sink| next.of_sink(sink)));
        let last = open(folder.path(), "orders");
        assert_eq!((last.last_of_sinks(), last.last_of_changelog()), (vec![], None));
    }
}
