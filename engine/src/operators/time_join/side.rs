//! The rows of one side, in generations of time: each is found by its key, and dropped whole when nobody can need it.
//!
//! A segment holds what an epoch added to a generation: the rows with their fingerprints and times, and what has become of rows
//! that earlier segments hold.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch,
        RecordBatchOptions, UInt8Array, UInt32Array,
    },
    compute::{concat_batches, interleave, take},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt8Type, UInt32Type},
};
use hashbrown::HashTable;
use syncline_functions::ExprError;
use syncline_record::{Generation, Micros};

use super::Judged;
use crate::{
    operator::{Damaged, Delta, Side, StateSize},
    operators::aggregate::body,
};

/// Generations of the time that a row reaches over: each is asked for every row, and each outlives its use by so much.
const GENERATIONS: Micros = 4;
/// The shortest generation: a bound of microseconds must not make one for each of them.
const SHORTEST: Micros = 1_000_000;
/// Generations are numbered from here, so that their order as unsigned keys is the order of time.
const MIDDLE: Micros = 1 << 62;

/// Columns of a segment in front of the row's own: its fingerprint and its time.
const PRINT: &str = "__print";
const TIME: &str = "__time";
/// Columns of a segment that says what has become of rows.
const PLACE: &str = "__place";
const STANDING: &str = "__standing";

/// What is known of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    Waits = 0,
    /// It is in a pair.
    Met = 1,
    /// It went out without a partner, since no pair of it can come.
    Gone = 2,
    /// The same, because all inputs were at their end: a pair that comes later is not made.
    Closed = 3,
}

impl Standing {
    fn from_u8(byte: u8) -> Option<Self> {
        [Self::Waits, Self::Met, Self::Gone, Self::Closed].into_iter().find(|standing| *standing as u8 == byte)
    }
}

/// A row that is kept: its generation, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub bucket: Micros,
    pub row: u32,
}

/// The rows of one key, in the order in which they came.
struct Chain {
    print: u128,
    first: u32,
    last: u32,
}

#[derive(Default)]
pub struct Bucket {
    index: HashTable<Chain>,
    /// The next row of the same key.
    next: Vec<u32>,
    times: Vec<Micros>,
    standing: Vec<Standing>,
    /// The rows; those of the open epoch come last.
    chunks: Vec<RecordBatch>,
    starts: Vec<u32>,
    bytes: usize,
    /// Fingerprints of the rows of the open epoch.
    fresh: Vec<u128>,
    /// Chunks that are in segments.
    written: usize,
    /// Rows in segments of which more is known.
    changed: Vec<u32>,
}

pub struct Kept {
    schema: SchemaRef,
    side: Side,
    width: Micros,
    buckets: BTreeMap<Micros, Bucket>,
    expired: Vec<Generation>,
}

pub fn side_of(generation: Generation) -> Side {
    if generation & 1 == 0 { Side::Left } else { Side::Right }
}

impl Kept {
    /// `span`: how much time a row reaches over.
    pub fn new(schema: SchemaRef, side: Side, span: Micros) -> Self {
        let width = (span / GENERATIONS).max(SHORTEST);
        Self { schema, side, width, buckets: BTreeMap::new(), expired: vec![] }
    }

    fn generation(&self, bucket: Micros) -> Generation {
        ((bucket + MIDDLE) as u64) << 1 | u64::from(self.side == Side::Right)
    }

    /// Rows with this key whose times are in this range.
    pub fn find(&self, print: u128, (from, to): (Micros, Micros), each: &mut impl FnMut(Place, Micros)) {
        for (number, bucket) in self.buckets.range(from.div_euclid(self.width)..=to.div_euclid(self.width)) {
            let Some(chain) = bucket.index.find(print as u64, |chain| chain.print == print) else { continue };
            let mut row = chain.first;
            loop {
                let time = bucket.times[row as usize];
                let open = !matches!(bucket.standing[row as usize], Standing::Gone | Standing::Closed);
                if open && (from..=to).contains(&time) {
                    each(Place { bucket: *number, row }, time);
                }
                if row == chain.last {
                    break;
                }
                row = bucket.next[row as usize];
            }
        }
    }

    /// Keeps some rows of a batch.
    pub(super) fn add(
        &mut self,
        columns: &[ArrayRef],
        judged: &Judged,
        rows: &[(u32, Standing)],
    ) -> Result<(), ExprError> {
        let mut parts: BTreeMap<Micros, Vec<(u32, Standing)>> = BTreeMap::new();
        for (row, standing) in rows {
            let number = judged.times[*row as usize].div_euclid(self.width);
            parts.entry(number).or_default().push((*row, *standing));
        }
        for (number, rows) in parts {
            let indices = UInt32Array::from_iter_values(rows.iter().map(|(row, _)| *row));
            let taken = columns.iter().map(|column| Ok(own(&take(column, &indices, None)?)));
            let taken = taken.collect::<Result<Vec<_>, arrow::error::ArrowError>>().map_err(other)?;
            let chunk = batch(self.schema.clone(), taken, rows.len()).map_err(other)?;
            let bucket = self.buckets.entry(number).or_default();
            for (row, standing) in rows {
                let (print, time) = (judged.prints[row as usize], judged.times[row as usize]);
                bucket.index(print, time, standing);
                bucket.fresh.push(print);
            }
            bucket.put(chunk);
        }
        Ok(())
    }

    pub fn stands(&mut self, place: Place, standing: Standing) {
        let Some(bucket) = self.buckets.get_mut(&place.bucket) else { return };
        // Only who waits is asked about.
        let before = &mut bucket.standing[place.row as usize];
        if *before != Standing::Waits {
            return;
        }
        *before = standing;
        // What is gone for good is so again after a restart, by the watermark.
        let written = bucket.times.len() - bucket.fresh.len();
        if standing != Standing::Gone && (place.row as usize) < written {
            bucket.changed.push(place.row);
        }
    }

    /// Rows before this time that wait, by generation.
    pub fn waiting(&self, before: Micros) -> Vec<Vec<Place>> {
        let all = self.buckets.range(..=before.div_euclid(self.width));
        all.map(|(number, bucket)| {
            let waits = |row: &usize| bucket.standing[*row] == Standing::Waits && bucket.times[*row] < before;
            let place = |row: usize| Place { bucket: *number, row: row as u32 };
            (0..bucket.times.len()).filter(waits).map(place).collect()
        })
        .collect()
    }

    /// Rows before this time have gone out in an earlier life.
    pub fn settle(&mut self, before: Micros) {
        for place in self.waiting(before).into_iter().flatten() {
            self.stands(place, Standing::Gone);
        }
    }

    /// The columns and the times of some rows.
    pub fn rows(&self, places: &[Place]) -> Result<(Vec<ArrayRef>, Vec<Micros>), ExprError> {
        let time = |place: &Place| self.buckets.get(&place.bucket).map(|bucket| bucket.times[place.row as usize]);
        let columns = self.columns(places.iter().copied())?;
        Ok((columns, places.iter().filter_map(time).collect()))
    }

    pub fn columns(&self, places: impl Iterator<Item = Place>) -> Result<Vec<ArrayRef>, ExprError> {
        let mut chunks: Vec<&RecordBatch> = vec![];
        let mut known: BTreeMap<(Micros, usize), usize> = BTreeMap::new();
        let mut indices = vec![];
        for Place { bucket: number, row } in places {
            let bucket = &self.buckets[&number];
            let chunk = bucket.starts.partition_point(|start| *start <= row) - 1;
            let at = *known.entry((number, chunk)).or_insert_with(|| {
                chunks.push(&bucket.chunks[chunk]);
                chunks.len() - 1
            });
            indices.push((at, (row - bucket.starts[chunk]) as usize));
        }
        let column = |index: usize| {
            let arrays: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.column(index).as_ref()).collect();
            interleave(&arrays, &indices).map_err(other)
        };
        if indices.is_empty() {
            return Ok(self
                .schema
                .fields()
                .iter()
                .map(|field| arrow::array::new_empty_array(field.data_type()))
                .collect());
        }
        (0..self.schema.fields().len()).map(column).collect()
    }

    /// Forgets generations that end at or before this time.
    pub fn expire(&mut self, before: Micros) {
        while let Some(first) = self.buckets.first_entry() {
            if (first.key() + 1).saturating_mul(self.width) > before {
                break;
            }
            let number = *first.key();
            first.remove();
            self.expired.push(self.generation(number));
        }
    }

    /// What the epoch changed.
    pub fn write(&mut self, delta: &mut Delta) -> Result<(), String> {
        delta.expired.append(&mut self.expired);
        for number in self.buckets.keys().copied().collect::<Vec<_>>() {
            let generation = self.generation(number);
            let Some(bucket) = self.buckets.get_mut(&number) else { continue };
            if let Some(states) = bucket.changes() {
                delta.appended.extend(body::bodies(&states)?.into_iter().map(|body| (generation, body)));
            }
            if let Some(rows) = bucket.added(&self.schema).map_err(|error| error.to_string())? {
                delta.appended.extend(body::bodies(&rows)?.into_iter().map(|body| (generation, body)));
            }
        }
        Ok(())
    }

    pub fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        let number = (generation >> 1) as Micros - MIDDLE;
        let schema = self.schema.clone();
        let bucket = self.buckets.entry(number).or_default();
        body::read(body, &mut |part| bucket.restore(part, &schema))
    }

    pub fn size(&self) -> StateSize {
        self.buckets.values().fold(StateSize::default(), |sum, bucket| StateSize {
            keys: sum.keys + bucket.times.len() as u64,
            bytes: sum.bytes + bucket.size() as u64,
        })
    }
}

impl Bucket {
    fn index(&mut self, print: u128, time: Micros, standing: Standing) {
        let row = self.times.len() as u32;
        self.times.push(time);
        self.standing.push(standing);
        self.next.push(row);
        match self.index.find_mut(print as u64, |chain| chain.print == print) {
            Some(chain) => {
                self.next[chain.last as usize] = row;
                chain.last = row;
            }
            None => {
                let chain = Chain { print, first: row, last: row };
                self.index.insert_unique(print as u64, chain, |chain| chain.print as u64);
            }
        }
    }

    fn put(&mut self, chunk: RecordBatch) {
        let start = self.times.len() - chunk.num_rows();
        self.bytes += chunk.get_array_memory_size();
        self.starts.push(start as u32);
        self.chunks.push(chunk);
    }

    /// The last chunks as one.
    fn join_chunks(&mut self, from: usize) -> Result<(), arrow::error::ArrowError> {
        if self.chunks.len() - from < 2 {
            return Ok(());
        }
        let parts = self.chunks.split_off(from);
        self.starts.truncate(from + 1);
        self.bytes -= parts.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        let whole = concat_batches(&parts[0].schema(), &parts)?;
        let columns = whole.columns().iter().map(own).collect();
        let whole = batch(whole.schema(), columns, whole.num_rows())?;
        self.bytes += whole.get_array_memory_size();
        self.chunks.push(whole);
        Ok(())
    }

    /// The rows of the open epoch, which from now on are written. Chunks grow by halves, so that each row is copied a few times.
    fn added(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>, arrow::error::ArrowError> {
        if self.fresh.is_empty() {
            return Ok(None);
        }
        self.join_chunks(self.written)?;
        let rows = &self.chunks[self.written];
        let mut prints = FixedSizeBinaryBuilder::with_capacity(rows.num_rows(), 16);
        for print in self.fresh.drain(..) {
            prints.append_value(print.to_le_bytes())?;
        }
        let from = self.times.len() - rows.num_rows();
        let standing = UInt8Array::from_iter_values(self.standing[from..].iter().map(|standing| *standing as u8));
        let times = Int64Array::from(self.times[from..].to_vec());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(prints.finish()), Arc::new(times), Arc::new(standing)];
        columns.extend(rows.columns().iter().cloned());
        let added = batch(stored(schema), columns, rows.num_rows())?;
        while let [.., before, last] = &self.chunks[..]
            && before.num_rows() < 2 * last.num_rows()
        {
            self.join_chunks(self.chunks.len() - 2)?;
        }
        self.written = self.chunks.len();
        Ok(Some(added))
    }

    fn changes(&mut self) -> Option<RecordBatch> {
        let rows = std::mem::take(&mut self.changed);
        if rows.is_empty() {
            return None;
        }
        let standing = UInt8Array::from_iter_values(rows.iter().map(|row| self.standing[*row as usize] as u8));
        let fields = vec![Field::new(PLACE, DataType::UInt32, false), Field::new(STANDING, DataType::UInt8, false)];
        let columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(rows)), Arc::new(standing)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()
    }

    fn restore(&mut self, part: &RecordBatch, schema: &SchemaRef) -> Result<(), Damaged> {
        if part.schema().field(0).name() == PLACE {
            return self.restore_changes(part);
        }
        let types = |schema: &Schema| -> Vec<DataType> {
            schema.fields().iter().map(|field| field.data_type().clone()).collect()
        };
        if types(&part.schema()) != types(&stored(schema)) {
            return Err(Damaged("its rows have other columns than those of this join".into()));
        }
        let prints: &FixedSizeBinaryArray = part.column(0).as_fixed_size_binary();
        let times = part.column(1).as_primitive::<Int64Type>();
        let standing = part.column(2).as_primitive::<UInt8Type>();
        for row in 0..part.num_rows() {
            let print = u128::from_le_bytes(prints.value(row).try_into().unwrap_or_default());
            let standing = Standing::from_u8(standing.value(row)).ok_or_else(|| Damaged("no such standing".into()))?;
            self.index(print, times.value(row), standing);
        }
        let rows = batch(schema.clone(), part.columns()[3..].to_vec(), part.num_rows());
        self.put(rows.map_err(|error| Damaged(error.to_string()))?);
        self.written = self.chunks.len();
        Ok(())
    }

    fn restore_changes(&mut self, part: &RecordBatch) -> Result<(), Damaged> {
        let (rows, standing) = match part.columns() {
            [rows, standing] => (rows.as_primitive_opt::<UInt32Type>(), standing.as_primitive_opt::<UInt8Type>()),
            _ => (None, None),
        };
        let (Some(rows), Some(standing)) = (rows, standing) else {
            return Err(Damaged("it does not say what became of which rows".into()));
        };
        for (row, standing) in rows.values().iter().zip(standing.values()) {
            let known = self.standing.get_mut(*row as usize).zip(Standing::from_u8(*standing));
            let (known, standing) = known.ok_or_else(|| Damaged(format!("there is no row {row}")))?;
            *known = standing;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let slots = (self.index.capacity() * 8 / 7).next_power_of_two() * (size_of::<Chain>() + 1);
        let rows = self.times.capacity() * size_of::<Micros>() + self.next.capacity() * 4 + self.standing.capacity();
        self.bytes + rows + if self.index.capacity() == 0 { 0 } else { slots }
    }
}

/// The columns of a segment.
fn stored(schema: &Schema) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new(PRINT, DataType::FixedSizeBinary(16), false)),
        Arc::new(Field::new(TIME, DataType::Int64, false)),
        Arc::new(Field::new(STANDING, DataType::UInt8, false)),
    ];
    fields.extend(schema.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// Texts of their own: a view keeps all that it was cut out of.
fn own(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    }
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, arrow::error::ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn other(error: arrow::error::ArrowError) -> ExprError {
    ExprError::other(error.to_string())
}
