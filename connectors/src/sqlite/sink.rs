//! Applies rows of an outbox to a table, in a transaction that also holds our position.
//!
//! A row that the table refuses is dead, and the transaction goes on: SQLite takes back the statement, not the rest. Rows of an
//! `UPSERT … SEQUENCE BY` go through a version guard: the newest version wins, at equal versions a delete wins, and a delete leaves
//! its version behind for [`KEEP_TOMBSTONES`]. Rows of a `REPLACE` come input by input: the first of a newer input empties its group; which
//! input is newer is decided alike, and which groups are one is for the table to say, as it is with keys.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Field, UInt64Type},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params, params_from_iter, types::ToSqlOutput};
use syncline_engine::{
    operators::present::ORIGIN,
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SEQUENCE, SinkError, Standing, Stream, Write},
};
use syncline_record::{Op, Reason, StepId, batch::Operations};

use super::{
    affinity::Numeric,
    likeness::Likeness,
    progress,
    table::Table,
    trouble::{of_row, trouble},
    value::value,
};
use crate::{
    SinkRequest,
    spec::{Arguments, ConnectorError},
    version::{Known, version},
};

/// How long SQLite itself waits for another writer before it says that it is busy.
const BUSY: Duration = Duration::from_secs(5);
/// How long the version of a deleted row outlives it: changes that are older than the delete can come that late.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often old tombstones are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

const CREATE_VERSIONS: &str = "CREATE TABLE IF NOT EXISTS syncline_versions (
  target TEXT NOT NULL, key BLOB NOT NULL, version BLOB, place INTEGER, deleted_at INTEGER, PRIMARY KEY (target, key)) WITHOUT ROWID";

pub struct SqliteSink {
    path: PathBuf,
    table: Table,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    stream: Stream,
    /// Rows below this are applied and committed, or applied in the open transaction.
    next: u64,
    in_transaction: bool,
    swept: Instant,
    numeric: Numeric,
    likeness: Likeness,
}

/// What became of one row.
enum Outcome {
    Passed,
    Stale,
    Dead(Reason),
}

type Row<'a> = Result<Outcome, SinkError>;

impl SqliteSink {
    pub(crate) fn new(arguments: &Arguments, request: &SinkRequest) -> Result<Self, ConnectorError> {
        let visible = request.schema.fields().iter().filter(|field| !field.name().starts_with("__"));
        let (name, columns) = (arguments.text("table").to_owned(), visible.cloned().collect());
        let table = Table { name, columns, write: request.write.clone() };
        if let Some(column) = table.write.key().iter().find(|key| !table.names().contains(key)) {
            return Err(ConnectorError::NoSuchKey { column: column.clone() });
        }
        Ok(Self { path: request.around.path(arguments.text("path")), table, open: None })
    }

    fn connect(&self) -> Result<Connection, SinkError> {
        if let Some(folder) = self.path.parent() {
            crate::staged::parts::make_folder(folder)?;
        }
        let open = || {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(BUSY)?;
            // Readers see the table while we write, and a commit is on the disk when it returns.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok(connection)
        };
        open().map_err(|error| trouble(&self.path, "open the database", error))
    }

    fn begin(&self, connection: &Connection) -> Result<(), SinkError> {
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| trouble(&self.path, "begin a transaction", error))
    }

    /// Inside a transaction: the position of `stream`, which is ours from now on.
    fn take_over(&self, connection: &Connection, stream: &Stream) -> Result<Delivered, SinkError> {
        let failed = |error| trouble(&self.path, "read how far it is", error);
        progress::create(connection).map_err(failed)?;
        let known = progress::read(connection, stream).map_err(failed)?;
        if let Some(known) = &known {
            if known.log_id != stream.log_id {
                return Err(SinkError::Foreign(format!(
                    "{} holds rows of `{}` from another data folder (log {}, and this is {}). Give back that data folder; \
                     or let this one write everything again: run with --fresh; or write to another database",
                    self.path.display(),
                    stream.pipeline,
                    known.log_id,
                    stream.log_id
                )));
            }
            self.check_fence(known.fence, stream)?;
        }
        progress::raise_fence(connection, stream).map_err(failed)?;
        Ok(known.map(|known| known.delivered).unwrap_or_default())
    }

    fn check_fence(&self, stored: u64, stream: &Stream) -> Result<(), SinkError> {
        if stored <= stream.fence {
            return Ok(());
        }
        Err(SinkError::Never(format!(
            "{}: `{}` was started again elsewhere (start {stored}, and this is {}); that one writes now",
            self.path.display(),
            stream.pipeline,
            stream.fence
        )))
    }

    fn sweep(&self, connection: &Connection) -> Result<(), SinkError> {
        if !self.table.write.keeps_versions() {
            return Ok(());
        }
        let sql = "DELETE FROM syncline_versions WHERE deleted_at < unixepoch() - ?";
        let swept = connection.execute(sql, [KEEP_TOMBSTONES.as_secs() as i64]);
        swept.map(drop).map_err(|error| trouble(&self.path, "remove old tombstones", error))
    }

    /// The open connection, inside a transaction that holds the lock of our row.
    fn writing(&mut self) -> Result<(), SinkError> {
        let Some(Open { connection, stream, in_transaction: false, .. }) = &self.open else { return self.is_open() };
        self.begin(connection)?;
        let found =
            progress::read(connection, stream).map_err(|error| trouble(&self.path, "read how far it is", error))?;
        match found {
            Some(found) if found.log_id == stream.log_id => self.check_fence(found.fence, stream)?,
            _ => {
                let text = format!("{}: the position of `{}` was removed", self.path.display(), stream.pipeline);
                return Err(SinkError::Reconnect(text));
            }
        }
        if let Some(open) = &mut self.open {
            open.in_transaction = true;
        }
        Ok(())
    }

    fn is_open(&self) -> Result<(), SinkError> {
        match self.open {
            Some(_) => Ok(()),
            None => Err(SinkError::Reconnect(format!("{} is not open", self.path.display()))),
        }
    }

    fn apply_all(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        self.writing()?;
        let mut applied = Applied::default();
        let mut next = self.open.as_ref().map_or(0, |open| open.next);
        if let Some(Open { connection, .. }) = &self.open {
            for OutboxRows { base, rows } in rows {
                let writer = Writer::new(self, connection, rows)?;
                for row in (0..rows.num_rows()).filter(|row| base + *row as u64 >= next) {
                    match writer.row(row)? {
                        Outcome::Passed => {}
                        Outcome::Stale => applied.stale.push(base + row as u64),
                        Outcome::Dead(reason) => applied.dead.push((base + row as u64, reason)),
                    }
                }
                next = next.max(base + rows.num_rows() as u64);
            }
        }
        if let Some(open) = &mut self.open {
            open.next = next;
        }
        Ok(applied)
    }

    fn commit_all(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        self.writing()?;
        let Some(open) = &mut self.open else { return Ok(()) };
        let failed = |error| trouble(&self.path, "commit", error);
        progress::advance(&open.connection, &open.stream, delivered).map_err(failed)?;
        open.connection.execute_batch("COMMIT").map_err(failed)?;
        (open.in_transaction, open.next) = (false, delivered.next);
        if open.swept.elapsed() >= SWEEP_EVERY {
            open.swept = Instant::now();
            // The rows are committed: what goes wrong with the sweep waits for the next one.
            if let Some(Open { connection, .. }) = &self.open
                && let Err(error) = self.sweep(connection)
            {
                tracing::warn!(%error, "old tombstones stay for now");
            }
        }
        Ok(())
    }
}

/// Statements that one kind of write uses, with room for those of the position.
const STATEMENTS: usize = 16;

impl OutboxSink for SqliteSink {
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.open = None;
        let connection = self.connect()?;
        self.begin(&connection)?;
        let delivered = self.take_over(&connection, stream)?;
        if self.table.write.keeps_versions() {
            let created = connection.execute_batch(CREATE_VERSIONS);
            created.map_err(|error| trouble(&self.path, "create the table of versions", error))?;
        }
        let numeric = self.table.ensure(&connection, &self.path)?;
        let (name, key) = (&self.table.name, self.table.write.key());
        let likeness = match self.table.write {
            Write::Replace { .. } => Likeness::of_groups(&connection, name, key),
            Write::Insert | Write::Upsert { .. } => Likeness::of_rows(&connection, name, key),
        };
        let likeness = likeness.map_err(|error| trouble(&self.path, "look at the key", error))?;
        self.sweep(&connection)?;
        connection.execute_batch("COMMIT").map_err(|error| trouble(&self.path, "commit", error))?;
        let (next, swept) = (delivered.next, Instant::now());
        self.open =
            Some(Open { connection, stream: stream.clone(), next, in_transaction: false, swept, numeric, likeness });
        Ok(Some(delivered))
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let applied = self.apply_all(rows);
        if applied.is_err() {
            // Rolls back: nothing of a transaction that failed may be committed later.
            self.open = None;
        }
        applied
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        let committed = self.commit_all(delivered);
        if committed.is_err() {
            self.open = None;
        }
        committed
    }

    fn standing(&mut self, pipeline: &str, step: &StepId) -> Result<Standing, SinkError> {
        if !self.path.exists() {
            return Ok(Standing::Nothing);
        }
        let looked = || {
            let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.busy_timeout(BUSY)?;
            let delivered = progress::passed(&connection, pipeline, step)?;
            Ok(if delivered == 0 { 0 } else { self.table.rows(&connection)? })
        };
        let rows = looked().map_err(|error| trouble(&self.path, "look at what is there", error))?;
        let target = format!("table {} of {}", self.table.name, self.path.display());
        Ok(Standing::of(&self.table.write, rows, target))
    }

    fn clear(&mut self, stream: &Stream) -> Result<(), SinkError> {
        self.open = None;
        if !self.path.exists() {
            return Ok(());
        }
        let connection = self.connect()?;
        let cleared = || {
            progress::create(&connection)?;
            progress::forget(&connection, stream)?;
            // Places are those of the old outbox; versions are the rows' own, and stay.
            if columns_exist(&connection)? {
                let sql = "UPDATE syncline_versions SET place = NULL WHERE target = ?";
                connection.execute(sql, [&self.table.name])?;
            }
            Ok(())
        };
        cleared().map_err(|error| trouble(&self.path, "forget how far it is", error))
    }
}

fn columns_exist(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_master WHERE name = 'syncline_versions'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

/// Writes the rows of one frame.
struct Writer<'a> {
    sink: &'a SqliteSink,
    connection: &'a Connection,
    columns: Vec<(&'a ArrayRef, &'a Field)>,
    key: Vec<(&'a ArrayRef, &'a Field)>,
    rows: &'a RecordBatch,
    sequence: Option<(&'a ArrayRef, Field)>,
    sql: String,
    delete_sql: String,
}

impl<'a> Writer<'a> {
    fn new(sink: &'a SqliteSink, connection: &'a Connection, rows: &'a RecordBatch) -> Result<Self, SinkError> {
        let table = &sink.table;
        let column = |name: &str| {
            let field = table.columns.iter().find(|field| field.name() == name);
            let found = rows.column_by_name(name).zip(field.map(|field| field.as_ref()));
            found.ok_or_else(|| SinkError::Never(format!("the rows have no column {name}")))
        };
        let columns = table.columns.iter().map(|field| column(field.name())).collect::<Result<_, _>>()?;
        let key = table.write.key().iter().map(|name| column(name)).collect::<Result<_, _>>()?;
        let schema = rows.schema_ref();
        let sequence = schema.column_with_name(SEQUENCE).map(|(index, field)| (rows.column(index), field.clone()));
        let sql = match &table.write {
            Write::Upsert { key, ignore_nulls, .. } => table.upsert_sql(key, *ignore_nulls),
            Write::Insert | Write::Replace { .. } => table.insert_sql(),
        };
        let delete_sql = table.delete_sql();
        Ok(Self { sink, connection, columns, key, rows, sequence, sql, delete_sql })
    }

    fn op(&self, row: usize) -> Op {
        Operations::of(self.rows).get(row)
    }

    fn row(&self, row: usize) -> Row<'a> {
        match &self.sink.table.write {
            Write::Insert if !self.op(row).is_row() => Ok(Outcome::Passed),
            Write::Insert => self.write(row),
            Write::Upsert { .. } => self.upsert(row),
            // A clear is no row, and has no fate, whatever becomes of it.
            Write::Replace { .. } if !self.op(row).is_row() => self.replace(row).map(|_| Outcome::Passed),
            Write::Replace { .. } => self.replace(row),
        }
    }

    fn trouble(&self, error: rusqlite::Error) -> SinkError {
        trouble(&self.sink.path, "write", error)
    }

    /// Runs a statement of ours; a row that the table refuses is dead.
    fn run(&self, sql: &str, row: usize, columns: &[(&'a ArrayRef, &'a Field)]) -> Row<'a> {
        let values = columns.iter().map(|(column, field)| value(column, field, row));
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.trouble(error))?;
        match statement.execute(params_from_iter(values)) {
            Ok(_) => Ok(Outcome::Passed),
            // A trigger can end the whole transaction (RAISE(ROLLBACK)).
            Err(error) if self.connection.is_autocommit() => {
                Err(SinkError::Never(format!("{}: the transaction was ended: {error}", self.sink.path.display())))
            }
            Err(error) => match of_row(&error) {
                Some(reason) => Ok(Outcome::Dead(reason)),
                None => Err(self.trouble(error)),
            },
        }
    }

    fn write(&self, row: usize) -> Row<'a> {
        let refused = self.sink.open.as_ref().and_then(|open| open.numeric.refuses(&self.columns, row));
        if let Some(reason) = refused {
            return Ok(Outcome::Dead(reason));
        }
        self.run(&self.sql, row, &self.columns)
    }

    fn upsert(&self, row: usize) -> Row<'a> {
        if let Some((_, field)) = self.key.iter().find(|(column, _)| column.is_null(row)) {
            return Ok(Outcome::Dead(Reason::new("null-key", format!("{}: the key is NULL", field.name()))));
        }
        let deletes = match self.op(row) {
            op if !op.is_row() => return Ok(Outcome::Passed),
            op => op == Op::Delete,
        };
        let change = || match deletes {
            true => self.run(&self.delete_sql, row, &self.key),
            false => self.write(row),
        };
        if !self.sink.table.write.is_sequenced() {
            return change();
        }
        let Some(version) = self.version(row) else { return Ok(null_sequence()) };
        let key = self.key_of(row)?;
        let known = self.known(&key)?;
        if known.is_some_and(|known| known.is_newer_than(&version, deletes)) {
            return Ok(Outcome::Stale);
        }
        let outcome = change()?;
        if matches!(outcome, Outcome::Passed) {
            self.keep_version(&key, Some(&version), self.place(row), deletes)?;
        }
        Ok(outcome)
    }

    fn replace(&self, row: usize) -> Row<'a> {
        if self.key.iter().any(|(column, _)| column.is_null(row)) {
            return Ok(Outcome::Dead(Reason::new("null-key", "the key of the group is NULL")));
        }
        let Some(place) = self.place(row) else {
            return Err(SinkError::Never(format!("the rows have no column {ORIGIN}")));
        };
        let version = match (self.sink.table.write.is_sequenced(), self.version(row)) {
            (true, None) => return Ok(null_sequence()),
            (true, version) => version,
            (false, _) => None,
        };
        let (op, group) = (self.op(row), self.key_of(row)?);
        let (known, erased) = (self.known(&group)?, op == Op::Erase);
        let same_input = known.as_ref().is_some_and(|known| known.place == Some(place) && known.version == version);
        if !same_input {
            if let (Some(known), Some(version)) = (&known, &version)
                && known.is_newer_than(version, erased)
            {
                return Ok(Outcome::Stale);
            }
            if let dead @ Outcome::Dead(_) = self.run(&self.delete_sql, row, &self.key)? {
                return Ok(dead);
            }
            self.keep_version(&group, version.as_deref(), Some(place), erased)?;
        }
        if op.is_row() { self.write(row) } else { Ok(Outcome::Passed) }
    }

    fn version(&self, row: usize) -> Option<Vec<u8>> {
        let (column, field) = self.sequence.as_ref()?;
        version(column, field, row)
    }

    /// The input that the row came from.
    fn place(&self, row: usize) -> Option<i64> {
        let origins = self.rows.column_by_name(ORIGIN)?.as_primitive_opt::<UInt64Type>()?;
        origins.is_valid(row).then(|| origins.value(row) as i64)
    }

    fn key_of(&self, row: usize) -> Result<Vec<u8>, SinkError> {
        let values: Vec<ToSqlOutput> = self.key.iter().map(|(column, field)| value(column, field, row)).collect();
        let likeness = self.sink.open.as_ref().map(|open| &open.likeness);
        let key = likeness.map_or(Ok(vec![]), |likeness| likeness.key(self.connection, &values));
        key.map_err(|error| self.trouble(error))
    }

    fn known(&self, key: &[u8]) -> Result<Option<Known>, SinkError> {
        let sql = "SELECT version, place, deleted_at IS NOT NULL FROM syncline_versions WHERE target = ? AND key = ?";
        let known = self.connection.prepare_cached(sql).and_then(|mut statement| {
            let read =
                |row: &rusqlite::Row| Ok(Known { version: row.get(0)?, place: row.get(1)?, deleted: row.get(2)? });
            statement.query_row(params![self.sink.table.name, key], read).optional()
        });
        known.map_err(|error| self.trouble(error))
    }

    fn keep_version(
        &self,
        key: &[u8],
        version: Option<&[u8]>,
        place: Option<i64>,
        deleted: bool,
    ) -> Result<(), SinkError> {
        let sql = "INSERT INTO syncline_versions VALUES (?, ?, ?, ?, CASE WHEN ? THEN unixepoch() END) ON CONFLICT (target, key) \
                   DO UPDATE SET version = excluded.version, place = excluded.place, deleted_at = excluded.deleted_at";
        let kept = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![self.sink.table.name, key, version, place, deleted]));
        kept.map(drop).map_err(|error| self.trouble(error))
    }
}

fn null_sequence() -> Outcome {
    Outcome::Dead(Reason::new("null-sequence", "the value to sequence by is NULL"))
}
