//! A table that is read by its key, in chunks: `rows behind this key, so many at most`, again and again, until none is left.
//!
//! Each chunk is a statement of its own, so nothing is held open in the database for longer, and the cursor is the key of the last row:
//! a run that was killed goes on behind it. A row that nobody touches meanwhile is read once. One that is changed is read as it was when
//! its chunk was; one that gets a key behind the cursor is read too, one before it is not. The database compares keys, in their own types
//! and collations; here they are only kept.
//!
//! A thread reads one chunk ahead. When the database goes away in the middle it is waited for, and the source says why nothing comes; what
//! it cannot reach at its start is told at once. For a join the same is read as of one moment, from its beginning each time.

pub mod block;
mod reading;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_engine::source::{Cursors, Polled, Progress, Rows, Source, SourceError};
use syncline_record::{Micros, Partition};

use crate::{
    cursor_of,
    spec::{Argument, ArgumentKind, Arguments},
    system_words,
};
use block::Block;
use reading::Reading;

/// A chunk that lies ready while the one before it is worked on.
const AHEAD: usize = 1;

/// How long a poll waits for the chunk that is on its way: others are asked then.
const WAIT: Duration = Duration::from_millis(2);

/// What a table is read by, where it has no primary key.
pub const KEY: Argument = Argument {
    name: "key",
    kind: ArgumentKind::Text,
    required: false,
    positional: false,
    help: "Of a source: the columns by which it is read in chunks, NOT NULL and unique together. Its primary key, if not said.",
    example: "'region, id'",
};

/// The columns of `key => 'a, b'`.
pub fn said_key(arguments: &Arguments) -> Vec<String> {
    let names = arguments.text(KEY.name).split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A table that nobody has gone to yet.
pub trait Place: Clone + Send + 'static {
    type Table: Table;

    /// What it is called where something is said of it.
    fn what(&self) -> String;

    /// Goes there, and looks at what it is and at its key. Called again after it was lost.
    fn open(&self) -> Result<Self::Table, SourceError>;

    /// All rows are of one moment: an open table cannot be exchanged for another, and nothing is kept of how far it was read.
    fn of_one_moment(&self) -> bool {
        false
    }
}

/// A table that answers. One thread uses it.
pub trait Table: Send + 'static {
    fn identity(&self) -> &Identity;

    /// How many rows there are more or less, where that is known without counting them.
    fn about(&mut self) -> Option<u64> {
        None
    }

    /// Fills the block with rows behind this key, or from the first on, in the key's order.
    fn after(&mut self, key: Option<&Key>, block: &mut Block) -> Result<Chunk, SourceError>;
}

/// Which table it is, and what orders its rows: a cursor means nothing in another one, or by another key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What holds it, as far as it can be told from others of the same name.
    pub holder: String,
    pub table: String,
    /// Columns, with what else decides about their order.
    pub key: Vec<String>,
}

/// A value for each column of the key, which only its table can read.
pub type Key = Vec<Value>;

#[derive(Debug, PartialEq)]
pub struct Chunk {
    /// Key of its last row.
    pub last: Option<Key>,
    /// Nothing is behind it.
    pub end: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cursor {
    #[serde(flatten)]
    identity: Identity,
    /// Key of the last row that was given.
    after: Option<Key>,
    rows: u64,
    /// The instant at which the table was first opened: the time of its rows, as they say none themselves.
    time: Micros,
}

pub struct KeysetSource<P: Place> {
    place: P,
    partition: Partition,
    /// Opened, and nobody has asked yet: whoever is read to its end first is not waited for with rows of old.
    ready: Option<(P::Table, Cursor)>,
    coming: Option<Coming>,
    /// Rows that there are more or less, and those of them that were given.
    about: Option<u64>,
    given: u64,
}

/// The thread, as its source sees it.
struct Coming {
    chunks: Receiver<Come>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Why nothing comes.
    trouble: Mutex<Option<String>>,
    /// Nobody takes the rows any more.
    left: AtomicBool,
}

/// What the thread says. When it says nothing more without `End`, the table was not read to its end.
enum Come {
    Rows(Box<Rows>),
    End,
    Trouble(SourceError),
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.shared.left.store(true, Ordering::Relaxed);
    }
}

impl<P: Place> KeysetSource<P> {
    /// `called`: the partition of its rows.
    pub fn new(place: P, called: String) -> Self {
        Self { place, partition: Partition::new(called, 0), ready: None, coming: None, about: None, given: 0 }
    }

    fn begin(&self, cursors: &Cursors, identity: &Identity, now: Micros) -> Result<Cursor, SourceError> {
        let name = self.partition.to_string();
        let fresh = || Cursor { identity: identity.clone(), after: None, rows: 0, time: now };
        let Some(value) = cursors.get(&name).filter(|_| !self.place.of_one_moment()) else { return Ok(fresh()) };
        let cursor: Cursor = cursor_of(&name, value)?;
        same(&self.place.what(), &cursor.identity, identity)?;
        Ok(cursor)
    }

    fn start(&mut self, table: P::Table, cursor: Cursor) -> Result<(), SourceError> {
        let (giving, chunks) = sync_channel(AHEAD);
        let shared = Arc::new(Shared::default());
        let reading = Reading {
            place: self.place.clone(),
            partition: self.partition.clone(),
            cursor,
            table: Some(table),
            giving,
            shared: shared.clone(),
        };
        let started = thread::Builder::new().name("table".to_owned()).spawn(move || reading.run());
        started.map_err(|error| SourceError::Again { what: self.place.what(), detail: system_words(&error) })?;
        self.coming = Some(Coming { chunks, shared });
        Ok(())
    }
}

/// Whether what was read before goes on in this table.
fn same(what: &str, before: &Identity, now: &Identity) -> Result<(), SourceError> {
    if before == now {
        return Ok(());
    }
    let of_key = Identity { key: before.key.clone(), ..now.clone() } == *before;
    let detail = match of_key {
        true => format!(
            "was read by its key ({}) so far, and would go on by ({}), in which other rows lie behind the last one; \
             go back to the former key, or run with --fresh to read it again",
            before.key.join(", "),
            now.key.join(", ")
        ),
        false => format!(
            "is another table than the one that was read so far ({} in {}, and now {} in {}); \
             put the former one back, or run with --fresh to read this one from its start",
            before.table, before.holder, now.table, now.holder
        ),
    };
    Err(SourceError::Changed { what: what.to_owned(), detail })
}

impl<P: Place> Source for KeysetSource<P> {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        (self.ready, self.coming) = (None, None);
        let mut table = self.place.open()?;
        let cursor = self.begin(cursors, table.identity(), now)?;
        if !self.place.of_one_moment() {
            (self.about, self.given) = (table.about(), cursor.rows);
        }
        self.ready = Some((table, cursor));
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        if let Some((table, cursor)) = self.ready.take() {
            self.start(table, cursor)?;
        }
        let Some(coming) = &self.coming else { return Ok(Polled::Ended) };
        // A join waits for its table anyhow.
        let come = match self.place.of_one_moment() {
            true => coming.chunks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => coming.chunks.recv_timeout(WAIT),
        };
        match come {
            Ok(Come::Rows(rows)) => {
                self.given += rows.origin.rows() as u64;
                return Ok(Polled::Rows(*rows));
            }
            Err(RecvTimeoutError::Timeout) => return Ok(Polled::Idle),
            Ok(Come::End) => self.coming = None,
            Ok(Come::Trouble(error)) => {
                self.coming = None;
                return Err(error);
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.coming = None;
                let detail = "its reading stopped before its end".to_owned();
                return Err(SourceError::Again { what: self.place.what(), detail });
            }
        }
        Ok(Polled::Ended)
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        let records_left = self.about.map(|all| all.saturating_sub(self.given));
        Progress { records_left, ..Progress::default() }
    }

    fn trouble(&self) -> Option<String> {
        let coming = self.coming.as_ref()?;
        coming.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn partitions(&self) -> Vec<Partition> {
        let open = self.ready.is_some() || self.coming.is_some();
        open.then(|| self.partition.clone()).into_iter().collect()
    }
}
