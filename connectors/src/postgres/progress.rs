//! How far each stream is, in the database itself: one row per pipeline, step and part, in the schema of the table.

use syncline_engine::sink::{Delivered, Stream};
use syncline_record::StepId;

use super::{quoted, session::Session, trouble::Fault};

const COLUMNS: &str = "pipeline text NOT NULL, sink text NOT NULL, part bigint NOT NULL, log_id text NOT NULL, \
                       next_offset bigint NOT NULL, epoch bigint NOT NULL, fence bigint NOT NULL, books text NOT NULL, \
                       PRIMARY KEY (pipeline, sink, part)";

/// The row of a stream.
pub struct Progress {
    pub log_id: String,
    pub fence: u64,
    /// None where the books are not ours to read.
    pub delivered: Option<Delivered>,
}

/// The table of positions in a schema.
#[derive(Clone, Debug)]
pub struct Positions(String);

impl Positions {
    pub fn of(schema: &str) -> Self {
        Self(format!("{}.syncline_progress", quoted(schema)))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn are_there(&self, session: &Session) -> Result<bool, Fault> {
        let row = session.query_opt("SELECT to_regclass($1) IS NOT NULL", &[&self.0])?;
        Ok(row.is_some_and(|row| row.get(0)))
    }

    pub fn create(&self, session: &Session) -> Result<(), Fault> {
        // Whoever may not create tables may use one that is there.
        if self.are_there(session)? { Ok(()) } else { session.run(&self.create_sql()) }
    }

    pub fn create_sql(&self) -> String {
        format!("CREATE TABLE {} ({COLUMNS})", self.0)
    }

    /// Locks the row until the transaction is over.
    pub fn read(&self, session: &Session, stream: &Stream) -> Result<Option<Progress>, Fault> {
        let sql = format!(
            "SELECT log_id, next_offset, fence, books FROM {} WHERE pipeline = $1 AND sink = $2 AND part = $3 FOR UPDATE",
            self.0
        );
        let part = i64::from(stream.part);
        let row = session.query_opt(&sql, &[&stream.pipeline, &stream.step.as_str(), &part])?;
        Ok(row.map(|row| {
            let next = row.get::<_, i64>(1) as u64;
            let books = serde_json::from_str(row.get(3)).ok();
            let delivered = books.map(|books| Delivered { next, books });
            Progress { log_id: row.get(0), fence: row.get::<_, i64>(2) as u64, delivered }
        }))
    }

    /// Rows that a step of a pipeline has put into this database, whichever data folder it worked from.
    pub fn passed(&self, session: &Session, pipeline: &str, step: &StepId) -> Result<u64, Fault> {
        if !self.are_there(session)? {
            return Ok(0);
        }
        let sql = format!(
            "SELECT coalesce(sum((books::json ->> 'rows_out')::bigint), 0)::bigint FROM {} WHERE pipeline = $1 AND sink = $2",
            self.0
        );
        let row = session.query_opt(&sql, &[&pipeline, &step.as_str()])?;
        Ok(row.map_or(0, |row| row.get::<_, i64>(0) as u64))
    }

    /// The first row of a stream, if it has none yet.
    pub fn begin(&self, session: &Session, stream: &Stream) -> Result<(), Fault> {
        let books = serde_json::to_string(&Delivered::default().books).unwrap_or_default();
        let sql = format!("INSERT INTO {} VALUES ($1, $2, $3, $4, 0, 0, $5, $6) ON CONFLICT DO NOTHING", self.0);
        let (part, fence) = (i64::from(stream.part), stream.fence as i64);
        session
            .execute(&sql, &[&stream.pipeline, &stream.step.as_str(), &part, &stream.log_id, &fence, &books])
            .map(drop)
    }

    pub fn raise_fence(&self, session: &Session, stream: &Stream) -> Result<(), Fault> {
        let sql = format!("UPDATE {} SET fence = $4 WHERE pipeline = $1 AND sink = $2 AND part = $3", self.0);
        let (part, fence) = (i64::from(stream.part), stream.fence as i64);
        session.execute(&sql, &[&stream.pipeline, &stream.step.as_str(), &part, &fence]).map(drop)
    }

    /// How many rows it changed: one.
    pub fn advance(&self, session: &Session, stream: &Stream, delivered: &Delivered) -> Result<u64, Fault> {
        let books = serde_json::to_string(&delivered.books).unwrap_or_default();
        let sql = format!(
            "UPDATE {} SET next_offset = $4, books = $5, epoch = epoch + 1 WHERE pipeline = $1 AND sink = $2 AND part = $3",
            self.0
        );
        let (part, next) = (i64::from(stream.part), delivered.next as i64);
        session.execute(&sql, &[&stream.pipeline, &stream.step.as_str(), &part, &next, &books])
    }

    pub fn forget(&self, session: &Session, stream: &Stream) -> Result<(), Fault> {
        let sql = format!("DELETE FROM {} WHERE pipeline = $1 AND sink = $2 AND part = $3", self.0);
        let part = i64::from(stream.part);
        session.execute(&sql, &[&stream.pipeline, &stream.step.as_str(), &part]).map(drop)
    }
}
