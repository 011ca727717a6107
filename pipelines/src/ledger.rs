//! Where the ledger's files lie, and the thread that moves what is committed from the log into them.
//!
//! No pipeline waits for it. Where it cannot write, the ledger stays in the log, is read there, and a line says why, once.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use clap::Args;
use syncline_analytics::Files;
use syncline_connectors::{
    archive::{self, Missing},
    objects::is_address,
};
use syncline_engine::{
    archive::mover::Mover,
    runtime::Ground,
    store::{Changes, StateStore},
};
use syncline_record::duration;

use crate::{
    outcome::Failure,
    world::{World, store_failure},
};

pub use archive::Ledger as Place;

/// The folder of the ledger in a data folder.
const FOLDER: &str = "ledger";
/// Where a data folder notes the place that it was told.
const NOTED: &[u8] = b"l/place";
/// How long a stop waits for the last turn of the thread.
const FAREWELL: Duration = Duration::from_secs(2);

/// How `run` keeps the ledger.
#[derive(Args, Clone, Debug)]
pub struct LedgerOptions {
    /// Where the ledger's files go: a folder, or an address that other processes read too (s3://…, gs://…, az://…) [default: ledger/ in the data folder, or where it went before]
    #[arg(long = "ledger", value_name = "URL|DIR", env = "SYNCLINE_LEDGER")]
    pub place: Option<String>,
    /// How long the ledger's files are kept
    #[arg(long = "ledger-keep", value_name = "TIME", default_value = "30 days", value_parser = time)]
    pub keep: Duration,
    /// How long a record of the ledger waits in the log before it goes into a file
    #[arg(long = "ledger-every", value_name = "TIME", default_value = "1 minute", value_parser = time)]
    pub every: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let micros = duration::microseconds(text).map_err(|_| "a time is like '30 days' or '90 seconds'".to_owned())?;
    if micros == 0 { Err("nothing would be kept".to_owned()) } else { Ok(Duration::from_micros(micros)) }
}

/// The ledger's files of a data folder.
#[derive(Clone)]
pub struct Ledger {
    pub place: archive::Ledger,
    /// Others read it too.
    shared: bool,
}

impl Ledger {
    /// The place that was noted, or the folder beside the log where there is one.
    pub fn of(store: &dyn StateStore, data: &Path) -> Result<Option<Ledger>, Failure> {
        let noted = store.get(NOTED).map_err(store_failure)?.and_then(|place| String::from_utf8(place).ok());
        match noted {
            Some(place) => Ledger::open(&place, true, Missing::Away).map(Some),
            None if data.join(FOLDER).is_dir() => Ledger::open(&own(data), false, Missing::Make).map(Some),
            None => Ok(None),
        }
    }

    fn open(place: &str, shared: bool, missing: Missing) -> Result<Ledger, Failure> {
        Ok(Ledger { place: at(place, missing)?, shared })
    }

    /// How questions read it.
    pub fn files(&self) -> Files {
        Files { archive: self.place.archive.clone(), objects: self.place.objects.clone() }
    }
}

/// A place of a ledger, opened.
pub fn at(place: &str, missing: Missing) -> Result<archive::Ledger, Failure> {
    archive::open(place, missing).map_err(|error| {
        Failure::environment("no-ledger", format!("there is no ledger: {error}"))
            .help("name a folder, or an address: --ledger s3://bucket/ledger, with the keys in the environment")
    })
}

fn own(data: &Path) -> String {
    data.join(FOLDER).display().to_string()
}

/// Opens the place that `run` was told, and notes it: whoever asks later finds it there.
pub fn settle(world: &mut World, options: &LedgerOptions) -> Result<Ledger, Failure> {
    if let Some(place) = &options.place {
        let place = if is_address(place) { place.clone() } else { absolute(place)?.display().to_string() };
        let ledger = Ledger::open(&place, true, Missing::Make)?;
        let mut changes = Changes::default();
        changes.put(NOTED, place);
        let store = &*world.ground.store;
        store.apply(changes).and_then(|()| store.flush()).map_err(store_failure)?;
        world.ledger = Some(ledger);
    } else if world.ledger.is_none() {
        world.ledger = Some(Ledger::open(&own(world.folder.path()), false, Missing::Make)?);
    }
    world.ledger.clone().ok_or_else(|| Failure::environment("no-ledger", "there is no place for the ledger"))
}

/// A folder keeps its place, wherever the next command is given.
fn absolute(folder: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(folder)
        .map_err(|error| Failure::environment("no-ledger", format!("{folder} is no place for the ledger: {error}")))
}

/// The thread that moves.
pub struct Moving {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Moving {
    pub fn start(ground: Ground, ledger: &Ledger, options: &LedgerOptions) -> Result<Moving, Failure> {
        let (stop, stopped) = channel();
        let mut mover = Mover::new(ledger.place.archive.clone(), options.keep);
        let (every, shared) = (options.every, ledger.shared);
        let mut told = Told::default();
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                told.tell(&mut mover, &ground);
            }
            // Others see what was committed last, if the place could be reached before.
            if shared && told.is_well() {
                told.tell(&mut mover, &ground);
            }
        });
        let thread =
            thread.map_err(|error| Failure::environment("no-threads", format!("no thread for the ledger: {error}")))?;
        Ok(Moving { stop, thread })
    }

    /// Ends it. What it does not manage in time stays in the log.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let began = Instant::now();
        while !self.thread.is_finished() && began.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the last turn met, so that it is told once.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn is_well(&self) -> bool {
        self.0.is_empty()
    }

    fn tell(&mut self, mover: &mut Mover, ground: &Ground) {
        let mut met = vec![];
        for (pipeline, error) in mover.turn(ground) {
            let error = error.to_string();
            if !self.0.contains(&error) {
                tracing::warn!(pipeline, "the ledger stays in the log: {error}");
            }
            met.push(error);
        }
        if met.is_empty() && !self.is_well() {
            tracing::info!("the ledger goes into its files again");
        }
        self.0 = met;
    }
}

/// What questions read beside the log.
pub fn files(ledger: Option<&Ledger>) -> Option<Files> {
    ledger.map(Ledger::files)
}
