//! `steps`: the books, one page per run and step. Every row that went in has exactly one fate, or waits.

use arrow::datatypes::SchemaRef;
use syncline_engine::checkpoint;
use syncline_record::Fate;

use super::runs::runs;
use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Steps;

impl Table for Steps {
    fn schema(&self) -> SchemaRef {
        let fates = Fate::ALL.map(|fate| (fate.as_str(), Kind::Number));
        let before = [("pipeline", Kind::Text), ("run", Kind::Number), ("step", Kind::Text)];
        let counts = [("rows_in", Kind::Number), ("rows_out", Kind::Number)];
        let after = ["waiting", "null_keys", "late_windows", "warned"].map(|name| (name, Kind::Number));
        let after = [&after[..], &[("balanced", Kind::Flag)]].concat();
        schema(&[&before[..], &counts, &fates, &after].concat())
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let delivered = checkpoint::delivered(&*reading.store, pipeline)?;
        for run in runs(reading, pipeline)? {
            let books = run.books(&delivered);
            let unordered = books.steps.keys().filter(|step| !run.order.contains(step));
            for step in run.order.iter().chain(unordered) {
                let Some(page) = books.steps.get(step) else { continue };
                let mut cells = vec![
                    Cell::Text(&run.pipeline),
                    Cell::Number(run.run),
                    Cell::Text(step.as_str()),
                    Cell::Number(page.rows_in),
                    Cell::Number(page.rows_out),
                ];
                cells.extend(Fate::ALL.map(|fate| Cell::Number(page.fate(fate))));
                cells.push(Cell::Number(page.waiting));
                for counts in [&run.null_keys, &run.late_windows, &run.warned] {
                    cells.push(Cell::Number(counts.get(step).copied().unwrap_or_default()));
                }
                cells.push(Cell::Flag(page.balance()));
                rows.row(&cells)?;
            }
        }
        Ok(())
    }
}
