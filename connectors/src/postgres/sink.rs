//! Applies rows of an outbox to a table, in a transaction that also holds our position.
//!
//! A start takes the stream over: it raises the fence in the row of its position, which every transaction locks first, so a writer that
//! was replaced finds out before it writes. When the answer to a commit does not come, nobody guesses: the next start waits for the
//! lock of that row, and reads what became of it.

use std::time::{Duration, Instant};

use syncline_engine::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Standing, Stream, Write};
use syncline_record::StepId;

use super::{
    address::Address,
    progress::{Positions, Progress},
    replace,
    session::Session,
    table::{Table, Wanted},
    trouble::{Fault, trouble},
    upsert,
    versions::Versions,
    write::{Statements, Writer, lines},
};
use crate::{
    SinkRequest,
    spec::{Arguments, ConnectorError},
};

/// How long the version of a deleted row outlives it: changes that are older than the delete can come that late.
const KEEP_TOMBSTONES: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often old tombstones are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Starts take turns in a database while they look and make tables. Any number that others hardly use.
const STARTS: &str = "SELECT pg_advisory_xact_lock(7283946512034)";

/// Rows are seen by others when all of them are; a constraint is checked where its row is known.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET CONSTRAINTS ALL IMMEDIATE";

pub struct PostgresSink {
    address: Address,
    wanted: Wanted,
    open: Option<Open>,
}

struct Open {
    session: Session,
    stream: Stream,
    positions: Positions,
    versions: Option<Versions>,
    table: Table,
    statements: Statements,
    /// Rows below this are applied and committed, or applied in the open transaction.
    next: u64,
    in_transaction: bool,
    swept: Instant,
}

impl PostgresSink {
    pub(crate) fn new(arguments: &Arguments, request: &SinkRequest) -> Result<Self, ConnectorError> {
        let visible = request.schema.fields().iter().filter(|field| !field.name().starts_with("__"));
        let (name, columns) = (arguments.text("table").to_owned(), visible.cloned().collect());
        let wanted = Wanted { name, columns, write: request.write.clone() };
        let is_there = |key: &&String| wanted.columns.iter().any(|field| field.name() == *key);
        if let Some(column) = wanted.write.key().iter().find(|key| !is_there(key)) {
            return Err(ConnectorError::NoSuchKey { column: column.clone() });
        }
        Ok(Self { address: Address::of(arguments, request.around)?, wanted, open: None })
    }

    fn place(&self) -> &str {
        &self.address.name
    }

    fn failed(&self, operation: &'static str) -> impl Fn(Fault) -> SinkError + use<> {
        let place = self.place().to_owned();
        move |fault| trouble(&place, operation, &fault)
    }

    fn connect(&self) -> Result<Session, SinkError> {
        Session::open(&self.address).map_err(self.failed("connect"))
    }

    /// Inside a transaction: the position of `stream`, which is ours from now on.
    fn take_over(&self, session: &Session, positions: &Positions, stream: &Stream) -> Result<Delivered, SinkError> {
        let failed = self.failed("read how far it is");
        positions.create(session).map_err(|fault| self.denied(fault, positions.name(), &positions.create_sql()))?;
        positions.begin(session, stream).map_err(&failed)?;
        let known = positions.read(session, stream).map_err(&failed)?;
        let known = known.ok_or_else(|| self.removed(stream))?;
        if known.log_id != stream.log_id {
            return Err(SinkError::Foreign(format!(
                "{} holds rows of `{}` from another data folder (log {}, and this is {}). Give back that data folder; \
                 or let this one write everything again: run with --fresh; or write to another schema",
                self.place(),
                stream.pipeline,
                known.log_id,
                stream.log_id
            )));
        }
        self.check_fence(&known, stream)?;
        positions.raise_fence(session, stream).map_err(&failed)?;
        known.delivered.ok_or_else(|| {
            SinkError::Never(format!(
                "{}: what {} says of `{}` cannot be read; give it back from a backup of the database, or run with --fresh",
                self.place(),
                positions.name(),
                stream.pipeline
            ))
        })
    }

    fn check_fence(&self, known: &Progress, stream: &Stream) -> Result<(), SinkError> {
        if known.fence <= stream.fence {
            return Ok(());
        }
        Err(SinkError::Never(format!(
            "{}: `{}` was started again elsewhere (start {}, and this is {}); that one writes now",
            self.place(),
            stream.pipeline,
            known.fence,
            stream.fence
        )))
    }

    fn removed(&self, stream: &Stream) -> SinkError {
        SinkError::Reconnect(format!("{}: the position of `{}` was removed", self.place(), stream.pipeline))
    }

    /// A table of ours cannot be made: whoever may can do it.
    fn denied(&self, fault: Fault, table: &str, sql: &str) -> SinkError {
        let said = trouble(self.place(), &format!("create {table}"), &fault);
        match (said, fault.code()) {
            (SinkError::Never(text), Some(_)) => SinkError::Never(format!(
                "{text}; let its owner run: {sql}; and grant this user SELECT, INSERT, UPDATE, DELETE on it"
            )),
            (said, _) => said,
        }
    }

    fn opened(&self, stream: &Stream) -> Result<(Open, Delivered), SinkError> {
        let session = self.connect()?;
        session.run(BEGIN).and_then(|()| session.run(STARTS)).map_err(self.failed("begin a transaction"))?;
        let schema = self.wanted.schema(&session, self.place())?;
        let positions = Positions::of(&schema);
        let delivered = self.take_over(&session, &positions, stream)?;
        let table = self.wanted.ensure(&session, &schema, self.place())?;
        let versions = self.wanted.write.keeps_versions().then(|| Versions::of(&schema, &table.name));
        if let Some(versions) = &versions {
            versions.create(&session).map_err(|fault| self.denied(fault, versions.name(), &versions.create_sql()))?;
            versions.sweep(&session, KEEP_TOMBSTONES.as_secs()).map_err(self.failed("remove old tombstones"))?;
        }
        let statements =
            Statements::of(&session, &table, &self.wanted.write).map_err(self.failed("prepare to write"))?;
        session.run("COMMIT").map_err(|fault| self.unknown(&fault))?;
        let (next, swept, stream) = (delivered.next, Instant::now(), stream.clone());
        let open = Open { session, stream, positions, versions, table, statements, next, in_transaction: false, swept };
        Ok((open, delivered))
    }

    /// The open connection, inside a transaction that holds the lock of our row.
    fn writing(&mut self) -> Result<(), SinkError> {
        let Some(open) = &self.open else {
            return Err(SinkError::Reconnect(format!("{} is not open", self.place())));
        };
        if open.in_transaction {
            return Ok(());
        }
        open.session.run(BEGIN).map_err(self.failed("begin a transaction"))?;
        let found = open.positions.read(&open.session, &open.stream).map_err(self.failed("read how far it is"))?;
        match found {
            Some(found) if found.log_id == open.stream.log_id => self.check_fence(&found, &open.stream)?,
            _ => return Err(self.removed(&open.stream)),
        }
        if let Some(open) = &mut self.open {
            open.in_transaction = true;
        }
        Ok(())
    }

    fn apply_all(&mut self, frames: &[OutboxRows]) -> Result<Applied, SinkError> {
        self.writing()?;
        let Some(open) = &mut self.open else { return Ok(Applied::default()) };
        let mut all = vec![];
        for frame in frames {
            let end = frame.base + frame.rows.num_rows() as u64;
            if end > open.next {
                all.extend(lines(frame, open.next, &self.wanted.columns, &open.table, &self.wanted.write)?);
                open.next = end;
            }
        }
        let writer = Writer {
            session: &open.session,
            table: &open.table,
            statements: &open.statements,
            place: &self.address.name,
        };
        let mut applied = Applied::default();
        match (&self.wanted.write, &open.versions) {
            (Write::Replace { .. }, Some(versions)) => {
                replace::apply(&writer, versions, self.wanted.write.is_sequenced(), &all, &mut applied)?;
            }
            (Write::Insert, _) => upsert::insert(&writer, &all, &mut applied)?,
            (_, versions) => upsert::apply(&writer, versions.as_ref(), &all, &mut applied)?,
        }
        applied.dead.sort_by_key(|(offset, _)| *offset);
        Ok(applied)
    }

    fn commit_all(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        self.writing()?;
        let Some(open) = &self.open else { return Ok(()) };
        let advanced = open.positions.advance(&open.session, &open.stream, delivered).map_err(self.failed("commit"))?;
        if advanced != 1 {
            return Err(self.removed(&open.stream));
        }
        open.session.run("COMMIT").map_err(|fault| self.unknown(&fault))?;
        let due = open.swept.elapsed() >= SWEEP_EVERY;
        // The rows are committed: what goes wrong with the sweep waits for the next one.
        if let (true, Some(versions)) = (due, &open.versions)
            && let Err(fault) = versions.sweep(&open.session, KEEP_TOMBSTONES.as_secs())
        {
            tracing::warn!(error = %fault.words(), "old tombstones stay for now");
        }
        if let Some(open) = &mut self.open {
            (open.in_transaction, open.next) = (false, delivered.next);
            if due {
                open.swept = Instant::now();
            }
        }
        Ok(())
    }

    /// A commit without a yes: the next start asks.
    fn unknown(&self, fault: &Fault) -> SinkError {
        match trouble(self.place(), "commit", fault) {
            // The server itself says that nothing was committed, and why; everything else may have been.
            said @ (SinkError::Never(_) | SinkError::Again(_)) if fault.code().is_some() => said,
            said => SinkError::Reconnect(said.to_string()),
        }
    }

    fn look(&self, pipeline: &str, step: &StepId) -> Result<u64, SinkError> {
        let session = self.connect()?;
        let failed = self.failed("look at what is there");
        let Some(found) = self.wanted.find(&session).map_err(&failed)? else { return Ok(0) };
        if Positions::of(&found.schema).passed(&session, pipeline, step).map_err(&failed)? == 0 {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM {}.{}", super::quoted(&found.schema), super::quoted(&found.name));
        let row = session.query_opt(&sql, &[]).map_err(&failed)?;
        Ok(row.map_or(0, |row| row.get::<_, i64>(0) as u64))
    }

    fn forget(&self, stream: &Stream) -> Result<(), SinkError> {
        let session = self.connect()?;
        let failed = self.failed("forget how far it is");
        let schema = self.wanted.schema(&session, self.place())?;
        let positions = Positions::of(&schema);
        session.run(BEGIN).and_then(|()| session.run(STARTS)).map_err(&failed)?;
        if positions.are_there(&session).map_err(&failed)? {
            positions.forget(&session, stream).map_err(&failed)?;
        }
        if let (true, Some(found)) = (self.wanted.write.keeps_versions(), self.wanted.find(&session).map_err(&failed)?)
        {
            Versions::of(&schema, &found.name).forget_places(&session).map_err(&failed)?;
        }
        session.run("COMMIT").map_err(|fault| self.unknown(&fault))
    }
}

impl OutboxSink for PostgresSink {
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.open = None;
        let (open, delivered) = self.opened(stream)?;
        self.open = Some(open);
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
        let rows = self.look(pipeline, step)?;
        let target = format!("table {} of {}", self.wanted.name, self.place());
        Ok(Standing::of(&self.wanted.write, rows, target))
    }

    fn clear(&mut self, stream: &Stream) -> Result<(), SinkError> {
        self.open = None;
        self.forget(stream)
    }
}
