//! How far each stream is, in the database itself: one row per pipeline, step and part.

use rusqlite::{Connection, OptionalExtension, params};
use syncline_engine::sink::{Delivered, Stream};
use syncline_record::StepId;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS syncline_progress (
  pipeline TEXT NOT NULL, sink TEXT NOT NULL, part INTEGER NOT NULL, log_id TEXT NOT NULL, next_offset INTEGER NOT NULL,
  epoch INTEGER NOT NULL, fence INTEGER NOT NULL, books TEXT NOT NULL, PRIMARY KEY (pipeline, sink, part))";

/// The row of a stream.
pub struct Progress {
    pub log_id: String,
    pub fence: u64,
    pub delivered: Delivered,
}

pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(CREATE)
}

pub fn read(connection: &Connection, stream: &Stream) -> rusqlite::Result<Option<Progress>> {
    let sql =
        "SELECT log_id, next_offset, fence, books FROM syncline_progress WHERE pipeline = ? AND sink = ? AND part = ?";
    let key = params![stream.pipeline, stream.step.as_str(), stream.part];
    let row = connection.prepare_cached(sql)?.query_row(key, |row| {
        let books: String = row.get(3)?;
        let books = serde_json::from_str(&books)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, error.into()))?;
        let delivered = Delivered { next: row.get::<_, i64>(1)? as u64, books };
        Ok(Progress { log_id: row.get(0)?, fence: row.get::<_, i64>(2)? as u64, delivered })
    });
    row.optional()
}

/// Rows that a step of a pipeline has put into this database, whichever data folder it worked from.
pub fn passed(connection: &Connection, pipeline: &str, step: &StepId) -> rusqlite::Result<u64> {
    let there = "SELECT 1 FROM sqlite_master WHERE name = 'syncline_progress'";
    if connection.query_row(there, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let sql = "SELECT coalesce(sum(json_extract(books, '$.rows_out')), 0) FROM syncline_progress WHERE pipeline = ? AND sink = ?";
    connection.query_row(sql, params![pipeline, step.as_str()], |row| row.get::<_, i64>(0)).map(|rows| rows as u64)
}

/// The first row of a stream, or a higher fence in the one that is there.
pub fn raise_fence(connection: &Connection, stream: &Stream) -> rusqlite::Result<()> {
    let books = serde_json::to_string(&Delivered::default().books).unwrap_or_default();
    let sql = "INSERT INTO syncline_progress VALUES (?, ?, ?, ?, 0, 0, ?, ?) \
               ON CONFLICT (pipeline, sink, part) DO UPDATE SET fence = excluded.fence";
    let (sink, fence) = (stream.step.as_str(), stream.fence as i64);
    connection.prepare_cached(sql)?.execute(params![
        stream.pipeline,
        sink,
        stream.part,
        stream.log_id,
        fence,
        books
    ])?;
    Ok(())
}

pub fn advance(connection: &Connection, stream: &Stream, delivered: &Delivered) -> rusqlite::Result<usize> {
    let books = serde_json::to_string(&delivered.books).unwrap_or_default();
    let sql = "UPDATE syncline_progress SET next_offset = ?, books = ?, epoch = epoch + 1 \
               WHERE pipeline = ? AND sink = ? AND part = ?";
    let sink = stream.step.as_str();
    connection.prepare_cached(sql)?.execute(params![delivered.next as i64, books, stream.pipeline, sink, stream.part])
}

pub fn forget(connection: &Connection, stream: &Stream) -> rusqlite::Result<()> {
    let sql = "DELETE FROM syncline_progress WHERE pipeline = ? AND sink = ? AND part = ?";
    connection.execute(sql, params![stream.pipeline, stream.step.as_str(), stream.part]).map(drop)
}
