//! One operator under test: records in, rows and fates out, as a person would write them down.

use std::{collections::BTreeMap, sync::LazyLock};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use syncline_functions::{JsonWriter, Planner, Predicate, Projection, json_field};
use syncline_record::{Batch, Fate, Generation, Micros, Op, Origin, StepBooks, StepId};

use super::{Halt, Operator, Output, Side};
use crate::{
    operators::{
        Decode,
        decode::{EventTime, Wanted},
    },
    simulation::{
        input::MIDNIGHT,
        lines,
        pipeline::{columns, predicate},
    },
};

/// Now, in every test: a day after the records.
pub const NOW: Micros = MIDNIGHT + 86_400_000_000;

/// Made once: it knows some hundred functions.
static PLANNER: LazyLock<Planner> = LazyLock::new(Planner::new);

/// A condition over the columns of the test.
pub fn when(sql: &str, schema: &Schema) -> Predicate {
    predicate(&PLANNER, sql, schema)
}

/// Some columns of the test.
pub fn by(names: &[&str], schema: &Schema) -> Projection {
    columns(&PLANNER, names, schema)
}

/// What is read of the records: `name` is JSON, `name:int` a BIGINT, `name:time` the event time, with no delay.
pub fn wanted(fields: &[&str]) -> Wanted {
    let mut event_time = None;
    let field = |text: &&str| match text.split_once(':') {
        None => json_field(text),
        Some((name, "time")) => {
            event_time = Some(EventTime { column: name.into(), delay: 0 });
            Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true)
        }
        Some((name, _)) => Field::new(name, DataType::Int64, true),
    };
    let fields = fields.iter().map(field).collect();
    Wanted {
        fields,
        reject_unknown: false,
        whole_record: false,
        metadata: vec![],
        event_time,
        csv: None,
        raw: false,
        stream: None,
        key: vec![],
    }
}

/// The records of one poll.
pub fn origin(partition: &str, first: u64, records: &[String]) -> Origin {
    lines::origin(partition, first, records, MIDNIGHT, NOW)
}

/// Where each row that goes out came from, after an end of the input: partition and offset. The step is called `step`.
pub fn places(fields: &[&str], make: impl Fn(&Schema) -> Box<dyn Operator>, records: &[String]) -> Vec<String> {
    let mut decode = Decode::new(wanted(fields));
    let mut operator = make(&decode.schema());
    let (mut came, mut out) = (Output::new(StepId::new("source"), false), Output::new(StepId::new("step"), false));
    decode.push(origin("in", 0, records), None, NOW, &mut came);
    came.emitted.into_iter().for_each(|batch| operator.push(batch, &mut out).expect("rows"));
    operator.finish(&mut out).expect("an end");
    let place = |batch: &Batch, row: &u32| {
        let place = batch.origin.place(*row as usize);
        format!("{} {}", place.partition, place.offset)
    };
    let places = |batch: &Batch| batch.row_ids().values().iter().map(|row| place(batch, row)).collect::<Vec<_>>();
    out.emitted.iter().flat_map(places).collect()
}

type Make = Box<dyn Fn(&Schema) -> Box<dyn Operator>>;

pub struct Bench {
    decode: Decode,
    /// Of the right side of a join.
    right: Option<Decode>,
    make: Make,
    pub operator: Box<dyn Operator>,
    partition: String,
    offsets: BTreeMap<String, u64>,
    segments: BTreeMap<Generation, Vec<Vec<u8>>>,
    lowest: Micros,
    epoch: u64,
    rows: Vec<String>,
    books: StepBooks,
    dead: Vec<String>,
    pub late_windows: u64,
}

/// An operator over records with these fields.
pub fn given(fields: &[&str], make: impl Fn(&Schema) -> Box<dyn Operator> + 'static) -> Bench {
    given_wanted(wanted(fields), make)
}

pub fn given_wanted(wanted: Wanted, make: impl Fn(&Schema) -> Box<dyn Operator> + 'static) -> Bench {
    let decode = Decode::new(wanted);
    Bench {
        operator: make(&decode.schema()),
        decode,
        right: None,
        make: Box::new(make),
        partition: "a".into(),
        offsets: BTreeMap::new(),
        segments: BTreeMap::new(),
        lowest: syncline_record::time::NO_WATERMARK,
        epoch: 0,
        rows: vec![],
        books: StepBooks::default(),
        dead: vec![],
        late_windows: 0,
    }
}

impl Bench {
    /// What follows comes from this partition.
    pub fn from(mut self, partition: &str) -> Self {
        self.partition = partition.into();
        self
    }

    /// Records of one poll.
    pub fn input<S: ToString>(mut self, records: impl IntoIterator<Item = S>) -> Self {
        self.try_input(records).expect("the operator goes on");
        self
    }

    pub fn try_input<S: ToString>(&mut self, records: impl IntoIterator<Item = S>) -> Result<(), Halt> {
        let records: Vec<String> = records.into_iter().map(|record| record.to_string()).collect();
        let next = self.offsets.entry(self.partition.clone()).or_insert(1);
        let origin = origin(&self.partition, *next, &records);
        *next += records.len() as u64;
        let mut decoded = Output::new(StepId::new("source"), false);
        self.decode.push(origin, None, NOW, &mut decoded);
        assert_eq!(decoded.dead, [], "the records of a test can be read");
        decoded.emitted.into_iter().try_for_each(|batch| self.push(batch))
    }

    /// The right side of a join has records with these fields.
    pub fn with_right(mut self, fields: &[&str]) -> Self {
        self.right = Some(Decode::new(wanted(fields)));
        self
    }

    /// Records of one poll, from the right.
    pub fn right<S: ToString>(mut self, records: impl IntoIterator<Item = S>) -> Self {
        let records: Vec<String> = records.into_iter().map(|record| record.to_string()).collect();
        let partition = format!("right/{}", self.partition);
        let next = self.offsets.entry(partition.clone()).or_insert(1);
        let origin = origin(&partition, *next, &records);
        *next += records.len() as u64;
        let mut decoded = Output::new(StepId::new("source_2"), false);
        self.right.as_mut().expect("a right side").push(origin, None, NOW, &mut decoded);
        decoded.emitted.into_iter().for_each(|batch| self.push_to(Side::Right, batch).expect("the operator goes on"));
        self
    }

    pub fn push(&mut self, batch: Batch) -> Result<(), Halt> {
        self.push_to(Side::Left, batch)
    }

    fn push_to(&mut self, side: Side, batch: Batch) -> Result<(), Halt> {
        let mut out = Output::new(StepId::new("step"), false);
        out.books.rows_in = super::counted(&batch);
        match side {
            Side::Left => self.operator.push(batch, &mut out)?,
            Side::Right => self.operator.push_right(batch, &mut out)?,
        }
        let told: u64 = out.ledger.iter().map(|entry| entry.offsets.len() as u64).sum();
        let kept = |entry: &&super::LedgerEntry| entry.fate == Fate::Absorbed;
        let kept: u64 = out.ledger.iter().filter(kept).map(|entry| entry.offsets.len() as u64).sum();
        let went_on = out.books.fate(Fate::Passed) + out.books.fate(Fate::Absorbed) - kept;
        assert_eq!(told + went_on, out.books.rows_in, "the ledger names every row that stopped");
        self.late_windows += out.late_windows;
        self.settle(out);
        Ok(())
    }

    /// Closes an epoch, with the lowest watermark at this time.
    pub fn epoch(mut self, lowest: Micros) -> Self {
        self.epoch += 1;
        self.lowest = self.lowest.max(lowest);
        let mut out = Output::new(StepId::new("step"), false);
        self.operator.advance(self.lowest, &mut out).expect("the operator goes on");
        self.settle(out);
        let delta = self.operator.close(self.epoch, &StepId::new("step")).expect("the operator goes on");
        delta.expired.iter().for_each(|generation| drop(self.segments.remove(generation)));
        for (generation, body) in delta.appended {
            self.segments.entry(generation).or_default().push(body);
        }
        self
    }

    /// The process starts again from the last epoch.
    pub fn restart(mut self) -> Self {
        self.operator = (self.make)(&self.decode.schema());
        for (generation, bodies) in &self.segments {
            for body in bodies {
                self.operator.restore(*generation, body).expect("its own segments");
            }
        }
        self.operator.restored();
        let mut out = Output::new(StepId::new("step"), false);
        self.operator.advance(self.lowest, &mut out).expect("the operator goes on");
        assert!(out.emitted.is_empty(), "a restart sets nothing free");
        self
    }

    /// The inputs are at their end, and the last epoch is closed.
    pub fn finish(mut self) -> Self {
        let mut out = Output::new(StepId::new("step"), false);
        self.operator.finish(&mut out).expect("the operator goes on");
        self.settle(out);
        let lowest = self.lowest;
        self.epoch(lowest)
    }

    fn settle(&mut self, out: Output) {
        assert!(out.books.balance(), "{:?}", out.books);
        self.books.add(&out.books);
        self.dead.extend(out.dead.iter().map(|letter| letter.reason.detail.clone()));
        self.rows.extend(out.emitted.iter().flat_map(shown));
    }

    /// Bytes of all segments.
    pub fn stored(&self) -> usize {
        self.segments.values().flatten().map(Vec::len).sum()
    }

    /// Exactly these rows have come out since the last question. `-` marks a delete, `~` a row that only clears its group.
    #[track_caller]
    pub fn output(mut self, rows: &[&str]) -> Self {
        assert_eq!(std::mem::take(&mut self.rows), rows);
        self
    }

    /// The rows that have come out since the last question.
    pub fn taken(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rows)
    }

    /// Exactly these fates since the last question, `1 passed · 2 dead (why; why)`.
    #[track_caller]
    pub fn fates(mut self, fates: &str) -> Self {
        let books = std::mem::take(&mut self.books);
        let counted = Fate::ALL.into_iter().filter(|fate| books.fate(*fate) > 0);
        let words: Vec<String> = counted.map(|fate| format!("{} {}", books.fate(fate), fate.as_str())).collect();
        let dead = std::mem::take(&mut self.dead).join("; ");
        let dead = if dead.is_empty() { dead } else { format!(" ({dead})") };
        assert_eq!(words.join(" · ") + &dead, fates);
        self
    }

    /// The rows since the last question, as they are.
    pub fn take_rows(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rows)
    }
}

/// The visible columns of each row, as JSON.
pub fn shown(batch: &Batch) -> Vec<String> {
    let writer = JsonWriter::new(&batch.rows.schema());
    let row = |row: usize| {
        let mut text = match batch.operations().get(row) {
            Op::Delete => vec![b'-'],
            Op::Clear => vec![b'~'],
            Op::Erase => vec![b'~', b'-'],
            Op::Insert | Op::Update => vec![],
        };
        writer.write_row(&batch.rows, row, &mut text);
        String::from_utf8(text).expect("JSON is text")
    };
    (0..batch.len()).map(row).collect()
}
