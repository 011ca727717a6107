//! `deliveries`: what became of the requests to each path, one row for each outcome and reason. At most a second old.

use arrow::datatypes::SchemaRef;
use syncline_engine::intake;

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Deliveries;

impl Table for Deliveries {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("path", Kind::Text),
            // The scheme of `verify`; NULL where anybody may send.
            ("verify", Kind::Text),
            ("outcome", Kind::Text),
            // Of what was refused.
            ("reason", Kind::Text),
            ("requests", Kind::Number),
            ("last", Kind::Time),
        ])
    }

    fn read(&self, reading: &Reading, _: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        for intake in intake::read_intakes(&*reading.store)? {
            let path = format!("/{}", intake.topic);
            for line in &intake.lines {
                rows.row(&[
                    Cell::Text(&path),
                    Cell::text(intake.verify.as_deref()),
                    Cell::Text(line.outcome.as_str()),
                    Cell::text(Some(line.reason.as_str()).filter(|reason| !reason.is_empty())),
                    Cell::Number(line.times.requests),
                    Cell::Time(line.times.last),
                ])?;
            }
        }
        Ok(())
    }

    /// A path belongs to no pipeline: its rows are given once.
    fn of(&self) -> Option<&str> {
        Some("")
    }
}
