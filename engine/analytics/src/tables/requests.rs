//! `requests`: the newest requests to the API and how they were answered. At most a second old.

use arrow::datatypes::SchemaRef;
use syncline_engine::requests;

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Requests;

impl Table for Requests {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", Kind::Time),
            // As in the header `x-request-id`.
            ("id", Kind::Text),
            ("method", Kind::Text),
            // NULL where there is no such route.
            ("route", Kind::Text),
            ("status", Kind::Number),
            ("microseconds", Kind::Number),
            ("who", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, _: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        for request in requests::read_requests(&*reading.store)? {
            rows.row(&[
                Cell::Time(request.time),
                Cell::Text(&request.id),
                Cell::Text(&request.method),
                Cell::text(Some(request.route.as_str()).filter(|route| !route.is_empty())),
                Cell::Number(request.status.into()),
                Cell::Number(request.duration),
                Cell::Text(&request.who),
            ])?;
        }
        Ok(())
    }

    /// A request belongs to no pipeline: its row is given once.
    fn of(&self) -> Option<&str> {
        Some("")
    }
}
