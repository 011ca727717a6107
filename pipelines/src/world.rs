//! The data folder of a project, opened: store, log, clock. One process holds it at a time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use syncline_engine::{
    changelog::ChangelogError,
    clock::{Clock, Rng, SeededRng, SystemClock},
    folder::DataFolder,
    log::LogError,
    runtime::Ground,
    store::StoreError,
};

use crate::{ledger::Ledger, outcome::Failure, run_failure::hanging};

/// The name of the data folder, beside a pipeline file or above the working folder.
pub const DATA_FOLDER: &str = ".syncline";

/// Everything that a process which holds the folder works with.
pub struct World {
    pub folder: DataFolder,
    pub ground: Ground,
    /// Where the ledger goes from the log, if it has gone anywhere yet.
    pub ledger: Option<Ledger>,
}

impl World {
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
