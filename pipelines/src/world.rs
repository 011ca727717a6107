//! The data folder of a project, opened: store, log, clock. One process holds it at a time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::Method;
use syncline_engine::{
    changelog::ChangelogError,
    clock::{Clock, Rng, SeededRng, SystemClock},
    folder::DataFolder,
    log::LogError,
    runtime::Ground,
    store::StoreError,
};

use crate::{
    control::{self, Process},
    ledger::Ledger,
    outcome::Failure,
    run_failure::hanging,
};

/// The name of the data folder, beside a pipeline file or above the working folder.
pub const DATA_FOLDER: &str = ".syncline";

/// A process that has just taken the folder opens its socket soon; another command lets go of it soon.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Who has a folder.
pub enum Claim {
    Ours(Box<World>),
    /// A process that answers; and what to say where only this one will do.
    Theirs(Box<Process>, Failure),
}

/// Everything that a process which holds the folder works with.
pub struct World {
    pub folder: DataFolder,
    pub ground: Ground,
    /// Where the ledger goes from the log, if it has gone anywhere yet.
    pub ledger: Option<Ledger>,
}

impl World {
    /// Opens the folder for a process that works in it. A command that looks into it lets go of it soon, and is waited for.
    pub fn begin(path: &Path) -> Result<World, Failure> {
        match World::claim(path)? {
            Claim::Ours(world) => Ok(*world),
            Claim::Theirs(_, failure) => Err(failure),
        }
    }

    /// Opens the folder, or finds who holds it.
    pub fn claim(path: &Path) -> Result<Claim, Failure> {
        let began = Instant::now();
        loop {
            let failure = match World::open(path) {
                Err(failure) if failure.slug == "folder-in-use" => failure,
                opened => return Ok(Claim::Ours(Box::new(opened?))),
            };
            let process = Process::of(path);
            if control::call(&process, Method::GET, "/healthz", vec![])?.is_some() {
                return Ok(Claim::Theirs(Box::new(process), failure));
            }
            if began.elapsed() > PATIENCE {
                return Err(failure);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Opens the folder, and makes it when it is not there yet.
    pub fn open(path: &Path) -> Result<World, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::from_machine());
        let folder = DataFolder::open(path, clock.now()).map_err(store_failure)?;
        let store = Arc::new(folder.store().map_err(store_failure)?);
        let ledger = Ledger::of(&*store, folder.path())?;
        let log = Arc::new(folder.log().map_err(log_failure)?);
        Ok(World { folder, ground: Ground { store, log, clock, rng }, ledger })
    }
}

/// `--data`, else `.syncline` beside the pipeline file, else the nearest one upwards from the working folder.
pub fn data_folder(given: Option<&Path>, pipeline_file: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(file) = pipeline_file {
        let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(beside.join(DATA_FOLDER));
    }
    let here = std::env::current_dir()
        .map_err(|error| Failure::environment("no-working-folder", format!("the working folder is gone: {error}")))?;
    here.ancestors().map(|folder| folder.join(DATA_FOLDER)).find(|folder| folder.is_dir()).ok_or_else(|| {
        Failure::usage("no-data-folder", format!("there is no {DATA_FOLDER} folder here or above"))
            .help("run a pipeline first (`syncline run FILE`), or name the folder with --data DIR")
    })
}

/// What a store's error means to a person, and the next step.
pub fn store_failure(error: StoreError) -> Failure {
    let title = error.to_string();
    match error {
        StoreError::InUse { .. } => Failure::environment("folder-in-use", title)
            .help("stop that process, or give this one a folder of its own with --data DIR"),
        StoreError::Format { .. } => Failure::environment("newer-format", title)
            .help("use the version of syncline that wrote it, or a newer one; an older one never rewrites newer data"),
        StoreError::Damaged { .. } => Failure::environment("state-damaged", title)
            .help("nothing was changed; put a copy of the folder back, or start over with `syncline run FILE --fresh`"),
        StoreError::Full { .. } => Failure::environment("disk-full", title).help(
            "make room (a data folder wants 16 MB free beside what it holds) and run the same command again: it goes on from \
             the last checkpoint, nothing committed is lost",
        ),
        StoreError::Changelog(error) => changelog_failure(error),
        StoreError::Log(error) => log_failure(*error),
        StoreError::Io { .. } | StoreError::Crashed => Failure::environment("store-failed", title).help(
            "check the folder's disk and permissions, then run the same command again: nothing committed is lost",
        ),
    }
}

fn changelog_failure(error: ChangelogError) -> Failure {
    let title = error.to_string();
    match error {
        ChangelogError::Fenced { .. } => Failure::environment("lost-ownership", title)
            .help("another process works on this pipeline now; stop that one first if it is to run here"),
        ChangelogError::Foreign { .. } => Failure::environment("not-our-changelog", title)
            .help("nothing was written or removed; run it with the folder and the changelog that belong together")
            .help("or throw away what only this folder has, and begin anew: syncline run FILE --fresh"),
        ChangelogError::Damaged { .. } => Failure::environment("changelog-damaged", title)
            .help("nothing was changed; bring the topic back, or start over with `syncline run FILE --fresh`"),
        ChangelogError::Refused { .. } => {
            Failure::environment("changelog-refused", title).help("allow it there, then run the same command again")
        }
        ChangelogError::Unknown { .. } | ChangelogError::Unreachable { .. } | ChangelogError::Stopped { .. } => {
            Failure::environment("changelog-failed", title)
                .help("run the same command again when Kafka answers: nothing committed is lost")
        }
        ChangelogError::Hangs { .. } => hanging(title),
    }
}

pub fn log_failure(error: LogError) -> Failure {
    let title = error.to_string();
    match error {
        LogError::Changelog(error) => changelog_failure(error),
        LogError::Damaged { .. } | LogError::Short { .. } => Failure::environment("log-damaged", title)
            .help("nothing was changed; put a copy of the folder back, or start over with `syncline run FILE --fresh`"),
        LogError::Full { .. } => Failure::environment("disk-full", title).help(
            "make room (a data folder wants 16 MB free beside what it holds) and run the same command again: it goes on from \
             the last checkpoint, nothing committed is lost",
        ),
        _ => Failure::environment("log-failed", title).help(
            "check the folder's disk and permissions, then run the same command again: nothing committed is lost",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_begins_when_who_only_looked_has_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let asks = World::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let begins = scope.spawn(|| World::begin(folder.path()).map(drop).map_err(|failure| failure.slug));
            std::thread::sleep(Duration::from_millis(300));
            assert!(!begins.is_finished(), "it waits");
            drop(asks);
            assert_eq!(begins.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn a_folder_that_stays_held_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _asks = World::open(folder.path()).unwrap();
        assert_eq!(
            World::begin(folder.path()).err().map(|failure| failure.slug.to_string()),
            Some("folder-in-use".to_owned())
        );
    }
}
