//! A simulated database with its own transactions, and the sink that keeps our position in them.
//!
//! Knows an `UPSERT` by key with versions, and a `REPLACE` by group. Refuses what a database would: a key that is NULL, a
//! position of another outbox, a writer whose fence is too small.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt8Type};
use syncline_record::{Op, Reason, batch::GROUP, batch::OP};

use super::{
    disk::lines_of,
    lock,
    trap::{Strike, Trap},
};
use crate::sink::{Applied, Delivered, OutboxRows, OutboxSink, SEQUENCE, SinkError, Stream};

/// The one amount that breaks a constraint.
pub const FORBIDDEN: &str = "66";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One row per key, the highest version; a delete leaves a tombstone.
    Upsert,
    /// The rows of a group are those of its newest input.
    Replace,
}

/// What the tables hold: per key its version and line (`None`: deleted).
pub type Table = BTreeMap<String, (i64, Option<String>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    log_id: String,
    delivered: Delivered,
    fence: u64,
}

#[derive(Default)]
pub struct Database {
    pub trap: Trap,
    pub table: Table,
    progress: Option<Progress>,
    /// An open transaction's table.
    open: Option<Table>,
}

impl Database {
    /// The process is another one: an open transaction is rolled back.
    pub fn crash(&mut self) {
        self.open = None;
        self.trap.reset();
    }

    /// Offset of the next row of this outbox, as committed.
    pub fn next(&self, log_id: &str) -> u64 {
        self.progress
            .as_ref()
            .filter(|progress| progress.log_id == log_id)
            .map_or(0, |progress| progress.delivered.next)
    }
}

pub struct Connection {
    database: Arc<Mutex<Database>>,
    manner: Manner,
    stream: Option<Stream>,
}

impl Connection {
    pub fn new(database: Arc<Mutex<Database>>, manner: Manner) -> Self {
        Self { database, manner, stream: None }
    }

    fn call<T>(
        &mut self,
        name: &'static str,
        mut work: impl FnMut(&mut Self, &mut Database) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let database = self.database.clone();
        let mut database = lock(&database);
        let strike = database.trap.step(name);
        let done = match strike {
            None => return work(self, &mut database),
            Some(Strike::After | Strike::Unheard) => work(self, &mut database),
            Some(Strike::Halfway) if name == "apply" => work(self, &mut database),
            Some(_) => Err(SinkError::Again("refused".into())),
        };
        if database.trap.dead {
            return Err(SinkError::Never("crashed".into()));
        }
        // Whatever was open is gone with the connection.
        database.open = None;
        done?;
        Err(SinkError::Reconnect("no answer came".into()))
    }
}

impl OutboxSink for Connection {
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.call("open", |connection, database| {
            database.open = None;
            let fence = stream.fence;
            let new = || Progress { log_id: stream.log_id.clone(), delivered: Delivered::default(), fence };
            let progress = database.progress.get_or_insert_with(new);
            if progress.log_id != stream.log_id {
                return Err(SinkError::Never("the progress is that of another outbox".into()));
            }
            if progress.fence > fence {
                return Err(SinkError::Never("another process has taken over".into()));
            }
            progress.fence = fence;
            connection.stream = Some(stream.clone());
            Ok(Some(progress.delivered.clone()))
        })
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        self.call("apply", |connection, database| {
            let mut table = database.table.clone();
            let mut applied = Applied::default();
            for batch in rows {
                for (row, change) in changes(&batch.rows).into_iter().enumerate() {
                    let offset = batch.base + row as u64;
                    match take(&mut table, connection.manner, change) {
                        Ok(true) => {}
                        Ok(false) => applied.stale.push(offset),
                        Err(reason) => applied.dead.push((offset, reason)),
                    }
                }
            }
            database.open = Some(table);
            Ok(applied)
        })
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        self.call("commit", |connection, database| {
            let Some(table) = database.open.take() else {
                return Err(SinkError::Never("commit without apply".into()));
            };
            let fence = connection.stream.as_ref().map_or(0, |stream| stream.fence);
            match &mut database.progress {
                Some(progress) if progress.fence == fence => progress.delivered = delivered.clone(),
                _ => return Err(SinkError::Never("another process has taken over".into())),
            }
            database.table = table;
            Ok(())
        })
    }

    fn clear(&mut self, _stream: &Stream) -> Result<(), SinkError> {
        self.call("clear", |_, database| {
            database.progress = None;
            database.table.clear();
            Ok(())
        })
    }
}

/// One row as the database is asked to take it.
pub struct Change {
    pub op: Op,
    pub key: Option<String>,
    pub version: i64,
    pub line: String,
    pub forbidden: bool,
}

/// Takes a change into a table; false: it is stale.
pub fn take(table: &mut Table, manner: Manner, change: Change) -> Result<bool, Reason> {
    let Some(key) = change.key else { return Err(Reason::new("null-key", "key is NULL")) };
    let line = (change.op.is_row() && change.op != Op::Delete).then_some(change.line);
    if change.forbidden && line.is_some() {
        return Err(Reason::new("constraint", "66 is forbidden"));
    }
    if manner == Manner::Upsert && table.get(&key).is_some_and(|(version, _)| *version > change.version) {
        return Ok(false);
    }
    let version = if manner == Manner::Upsert { change.version } else { 0 };
    table.insert(key, (version, line));
    Ok(true)
}

fn changes(rows: &RecordBatch) -> Vec<Change> {
    let ops = rows.column_by_name(OP).and_then(|ops| ops.as_primitive_opt::<UInt8Type>());
    let versions = rows.column_by_name(SEQUENCE).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let groups = rows.column_by_name(GROUP).and_then(|column| column.as_string_view_opt());
    let keys = groups.or_else(|| rows.column_by_name("key").and_then(|column| column.as_string_view_opt()));
    lines_of(rows)
        .into_iter()
        .enumerate()
        .map(|(row, (line, amount))| Change {
            op: ops.and_then(|ops| Op::from_u8(ops.value(row))).unwrap_or(Op::Insert),
            key: keys.filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row).trim_matches('"').to_owned()),
            version: versions.map_or(0, |versions| versions.value(row)),
            forbidden: amount == FORBIDDEN,
            line,
        })
        .collect()
}
