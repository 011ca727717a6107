//! A simulated folder of parts, and the staged sink that writes them.
//!
//! A part is written line by line, made durable by `prepare`, and shown when it is full. What is shown is seen at once by readers
//! whom nobody can call back: the folder remembers every line that was ever shown, and the oracle compares that.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use serde_json::{Value, json};
use syncline_record::{Batch, Micros, Reason, RowFailure};

use super::{
    dice::Dice,
    input::SECOND,
    lock,
    trap::{Strike, Trap},
};
use crate::sink::{Cut, Owner, SinkError, StagedSink};

/// Lines of a full part.
const PART_LINES: usize = 12;

/// Lines are shown after this time, even if their part is not full.
const SHOWN_AFTER: Micros = 2 * SECOND;

/// The one amount that cannot be written.
pub const UNWRITABLE: &str = "77";

#[derive(Default)]
pub struct Disk {
    pub trap: Trap,
    /// A disk that lies: what it says is durable is so with the next `reveal` only.
    late: bool,
    parts: Vec<Part>,
    /// Every line that was shown, in the order in which it was.
    pub seen: Vec<String>,
    /// Promises that were broken on the way.
    pub broken: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    lines: Vec<String>,
    durable: usize,
    shown: bool,
}

impl Disk {
    pub fn new(late: bool) -> Self {
        Self { late, ..Self::default() }
    }

    /// The process is another one: of what was not durable, some lines are there.
    pub fn crash(&mut self, dice: &Dice) {
        for part in &mut self.parts {
            let unsure = part.lines.len() - part.durable;
            part.lines.truncate(part.durable + dice.below(unsure as u64 + 1) as usize);
        }
        self.trap.reset();
    }

    fn sync(&mut self) {
        self.parts.iter_mut().for_each(|part| part.durable = part.lines.len());
    }

    fn show(&mut self, upto: usize) {
        for index in 0..upto.min(self.parts.len()) {
            let part = &mut self.parts[index];
            if !part.shown {
                part.shown = true;
                self.seen.extend(part.lines.iter().cloned());
            }
        }
    }

    fn cut_back(&mut self, full: usize, length: usize) -> Result<(), SinkError> {
        if self.parts.len() < full || (length > 0 && self.parts.get(full).is_none_or(|part| part.lines.len() < length))
        {
            return Err(SinkError::Never(format!("part {full} is shorter than its committed {length} lines")));
        }
        for part in self.parts.iter().skip(full).filter(|part| part.shown) {
            self.broken.push(format!("a part with {} lines was shown and taken back", part.lines.len()));
        }
        self.parts.truncate(full + 1);
        if let Some(part) = self.parts.get_mut(full) {
            part.lines.truncate(length);
            part.durable = part.durable.min(length);
        }
        Ok(())
    }
}

/// Writes the rows as lines: id, key, amount, version.
pub struct Folder {
    disk: Arc<Mutex<Disk>>,
    /// Full parts by the last mark: `reveal` shows them.
    full: usize,
    /// Since when lines of a part that is not full wait.
    since: Option<Micros>,
}

impl Folder {
    pub fn new(disk: Arc<Mutex<Disk>>) -> Self {
        Self { disk, full: 0, since: None }
    }

    fn call<T>(
        &mut self,
        name: &'static str,
        mut work: impl FnMut(&mut Self, &mut Disk) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let disk = self.disk.clone();
        let mut disk = lock(&disk);
        match disk.trap.step(name) {
            None => work(self, &mut disk),
            Some(Strike::After) => {
                work(self, &mut disk)?;
                Err(SinkError::Never("crashed".into()))
            }
            Some(Strike::Full | Strike::Refused | Strike::Unheard) => Err(SinkError::Never("no space left".into())),
            Some(Strike::Before | Strike::Halfway) => Err(SinkError::Never("crashed".into())),
        }
    }
}

impl StagedSink for Folder {
    /// Nobody else is in the simulation.
    fn claim(&mut self, _owner: &Owner, _mark: Option<&Value>, _anew: bool) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        let number = |name: &str| mark.and_then(|mark| mark[name].as_u64()).unwrap_or(0) as usize;
        let (full, length) = (number("full"), number("length"));
        self.call("open", |folder, disk| {
            disk.cut_back(full, length)?;
            folder.full = full;
            disk.show(full);
            Ok(())
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<RowFailure>, SinkError> {
        let lines = lines_of(&batch.rows);
        self.call("write", |_, disk| {
            let mut failed = vec![];
            if disk.parts.last().is_none_or(|part| part.lines.len() >= PART_LINES) {
                disk.parts.push(Part::default());
            }
            let part = disk.parts.last_mut().expect("just pushed");
            for (row, (line, amount)) in lines.iter().enumerate() {
                if amount == UNWRITABLE {
                    let reason = Reason::new("constraint", "77 cannot be written");
                    failed.push(RowFailure { row: row as u32, reason });
                } else {
                    part.lines.push(line.clone());
                }
            }
            Ok(failed)
        })
    }

    fn prepare(&mut self, cut: Cut) -> Result<Value, SinkError> {
        self.call("prepare", |folder, disk| {
            if !disk.late {
                disk.sync();
            }
            let last = disk.parts.last().map_or(0, |part| part.lines.len());
            let open = last > 0 && last < PART_LINES && !cut.end && !cut.stop && !folder.is_due(cut.now);
            folder.full = disk.parts.iter().filter(|part| !part.lines.is_empty()).count() - usize::from(open);
            folder.since = open.then(|| folder.since.unwrap_or(cut.now));
            if !open && last > 0 {
                // What comes next begins a part of its own.
                disk.parts.push(Part::default());
            }
            Ok(json!({"full": folder.full, "length": if open { last } else { 0 }}))
        })
    }

    fn reveal(&mut self) -> Result<(), SinkError> {
        let full = self.full;
        self.call("reveal", |_, disk| {
            disk.sync();
            disk.show(full);
            Ok(())
        })
    }

    fn is_due(&self, now: Micros) -> bool {
        self.since.is_some_and(|since| now - since >= SHOWN_AFTER)
    }

    /// The start cuts the disk back anyway; that what was shown goes is no fault here.
    fn take_back(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        let full = mark.and_then(|mark| mark["full"].as_u64()).unwrap_or(0) as usize;
        self.call("take back", |_, disk| {
            for part in disk.parts.iter_mut().skip(full) {
                part.shown = false;
            }
            disk.seen = disk.parts.iter().filter(|part| part.shown).flat_map(|part| part.lines.clone()).collect();
            Ok(())
        })
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        self.call("clear", |folder, disk| {
            disk.parts.clear();
            disk.seen.clear();
            folder.full = 0;
            Ok(())
        })
    }
}

/// The visible columns of each row as one line, and its amount.
pub fn lines_of(rows: &RecordBatch) -> Vec<(String, String)> {
    let column = |name: &str| rows.column_by_name(name).and_then(|column| column.as_string_view_opt());
    let columns = ["id", "key", "amount"].map(column);
    let text = |index: usize, row: usize| match columns[index] {
        Some(column) if column.is_valid(row) => column.value(row),
        _ => "null",
    };
    (0..rows.num_rows())
        .map(|row| (format!("{} {} {}", text(0, row), text(1, row), text(2, row)), text(2, row).to_owned()))
        .collect()
}
