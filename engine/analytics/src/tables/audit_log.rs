//! `audit_log`: the newest calls of the API that changed something, or were to: who, what, and what became of it. At most a second old.

use arrow::datatypes::SchemaRef;
use syncline_engine::requests;

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct AuditLog;

impl Table for AuditLog {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", Kind::Time),
            ("who", Kind::Text),
            ("action", Kind::Text),
            ("target", Kind::Text),
            // `done`, or the slug of the problem.
            ("outcome", Kind::Text),
            ("status", Kind::Number),
            // Of the request.
            ("id", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, _: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        for call in requests::read_calls(&*reading.store)? {
            rows.row(&[
                Cell::Time(call.time),
                Cell::Text(&call.who),
                Cell::Text(&call.action),
                Cell::Text(&call.target),
                Cell::Text(&call.outcome),
                Cell::Number(call.status.into()),
                Cell::Text(&call.id),
            ])?;
        }
        Ok(())
    }

    /// A call may be about several pipelines: its row is given once.
    fn of(&self) -> Option<&str> {
        Some("")
    }
}
