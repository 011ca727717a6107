//! ORDER BY: rows wait until their source has come to its end, and go out in order. Equal ones keep the order in which they came.
//!
//! What waits is state: a row with its original bytes and its time, so that a dead letter behind the sort is still whole. Its place there is
//! its number in the order. With a `LIMIT` right behind it, no more rows are kept than that takes.

mod kept;

use arrow::{
    array::RecordBatch,
    compute::SortOptions,
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use syncline_functions::Projection;
use syncline_record::{Batch, Epoch, Generation, Micros, StepId, time::NO_WATERMARK};

use crate::operator::{Damaged, Delta, Halt, Operator, Output, StateSize, of_rows, without};
use kept::{bodies, of_batch, read, released};

/// Rows of one batch that goes out.
const CHUNK: usize = 1_024;

/// Original bytes of one batch that goes out, beside those of its last row. Offsets into them have 31 bits.
const CHUNK_BYTES: usize = 32 << 20;

/// There is one order.
const ONLY: Generation = 0;

/// Rows beyond those that are wanted, before they are let go: sorting costs per row that stays.
const SPARE: usize = 65_536;

#[derive(Clone, Copy, Debug)]
pub struct Direction {
    pub descending: bool,
    pub nulls_first: bool,
}

pub struct Sort {
    keys: Projection,
    converter: RowConverter,
    most: Option<usize>,
    /// Of the rows that come in.
    schema: SchemaRef,
    /// Rows that wait, each batch in the order in which it came.
    batches: Vec<RecordBatch>,
    /// Key, batch and row of each.
    order: Vec<(Box<[u8]>, u32, u32)>,
    /// The batches before this one are durable.
    durable: usize,
    lowest: Micros,
    finished: bool,
    bytes: u64,
}

impl Sort {
    /// `most`: rows that are taken at the end, where that is known. `schema`: the columns of the rows.
    pub fn new(
        keys: Projection,
        directions: &[Direction],
        most: Option<u64>,
        schema: SchemaRef,
    ) -> Result<Self, String> {
        let made = keys.schema();
        let fields = made.fields().iter().zip(directions).map(|(field, direction)| {
            let Direction { descending, nulls_first } = *direction;
            SortField::new_with_options(field.data_type().clone(), SortOptions { descending, nulls_first })
        });
        let converter = RowConverter::new(fields.collect()).map_err(|error| error.to_string())?;
        Ok(Self {
            keys,
            converter,
            most: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            schema,
            batches: vec![],
            order: vec![],
            durable: 0,
            lowest: NO_WATERMARK,
            finished: false,
            bytes: 0,
        })
    }

    /// Takes rows in the form in which they are kept.
    fn keep(&mut self, rows: RecordBatch) -> Result<(), String> {
        let keys = self.keys.apply(&kept::rows(&rows, &self.schema)?).rows;
        let keys = self.converter.convert_columns(keys.columns()).map_err(|error| error.to_string())?;
        let batch = self.batches.len() as u32;
        self.order.extend(keys.iter().enumerate().map(|(row, key)| (key.as_ref().into(), batch, row as u32)));
        self.bytes += rows.get_array_memory_size() as u64;
        self.batches.push(rows);
        Ok(())
    }

    /// Lets go of rows that come after those that are wanted.
    fn trim(&mut self) -> Result<(), String> {
        let Some(most) = self.most.filter(|most| self.order.len() > most.saturating_mul(2).saturating_add(SPARE))
        else {
            return Ok(());
        };
        // What is not durable yet has to stay in batches of its own.
        let mut order = std::mem::take(&mut self.order);
        order.sort();
        order.truncate(most);
        order.sort_by_key(|(_, batch, row)| (*batch, *row));
        let mut whole: Vec<RecordBatch> = vec![];
        let mut places: Vec<(usize, Vec<(usize, usize)>)> = vec![];
        for (_, batch, row) in &order {
            match places.last_mut() {
                Some((of, rows)) if *of == *batch as usize => rows.push((*batch as usize, *row as usize)),
                _ => places.push((*batch as usize, vec![(*batch as usize, *row as usize)])),
            }
        }
        let durable = places.iter().filter(|(batch, _)| *batch < self.durable).count();
        for (_, rows) in &places {
            whole.push(kept::together(&self.batches, rows)?);
        }
        (self.batches, self.bytes, self.durable) = (vec![], 0, durable);
        whole.into_iter().try_for_each(|rows| self.keep(rows))
    }

    fn in_order(&mut self) -> Vec<(usize, usize)> {
        self.order.sort();
        let most = self.most.unwrap_or(usize::MAX);
        self.order.drain(..).take(most).map(|(_, batch, row)| (batch as usize, row as usize)).collect()
    }
}

/// How many of the rows at these places go out in one batch.
fn chunk(batches: &[RecordBatch], places: &[(usize, usize)]) -> usize {
    let mut bytes = 0;
    let before = places.iter().take(CHUNK).take_while(|(batch, row)| {
        let fits = bytes < CHUNK_BYTES;
        bytes += kept::length(&batches[*batch], *row);
        fits
    });
    before.count()
}

impl Operator for Sort {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let broken = |out: &Output, detail| Halt::Broken { step: out.step().clone(), detail };
        let failed = of_rows(&batch, self.keys.apply(&batch.rows).failed);
        out.dead(&batch, &failed);
        let batch = batch.keep(&without(batch.len(), &failed));
        if batch.is_empty() {
            return Ok(());
        }
        out.absorb(&batch, &(0..batch.len()).collect::<Vec<_>>(), "waits");
        let rows = of_batch(&batch).map_err(|detail| broken(out, detail))?;
        self.keep(rows).and_then(|()| self.trim()).map_err(|detail| broken(out, detail))
    }

    fn advance(&mut self, lowest: Micros, _out: &mut Output) -> Result<(), Halt> {
        self.lowest = lowest;
        Ok(())
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Halt> {
        let order = self.in_order();
        let batches = std::mem::take(&mut self.batches);
        let mut number = 0;
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (places, behind) = rest.split_at(chunk(&batches, rest));
            rest = behind;
            let batch = released(&batches, places, number, out.step(), self.lowest, &self.schema);
            out.release(batch.map_err(|detail| Halt::Broken { step: out.step().clone(), detail })?);
            number += places.len() as u64;
        }
        (self.finished, self.durable, self.bytes) = (true, 0, 0);
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        if std::mem::take(&mut self.finished) {
            return Ok(Delta { appended: vec![], expired: vec![ONLY] });
        }
        let fresh = &self.batches[self.durable..];
        let appended = fresh.iter().flat_map(bodies).map(|body| (ONLY, body)).collect();
        self.durable = self.batches.len();
        Ok(Delta { appended, expired: vec![] })
    }

    fn restore(&mut self, _generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        for rows in read(body)? {
            if rows.schema().fields() != kept::schema(&self.schema).fields() {
                return Err(Damaged("it has other columns".into()));
            }
            self.keep(rows).map_err(Damaged)?;
        }
        self.durable = self.batches.len();
        self.trim().map_err(Damaged)
    }

    fn size(&self) -> StateSize {
        let keys: u64 = self.order.iter().map(|(key, ..)| key.len() as u64 + 24).sum();
        StateSize { keys: self.order.len() as u64, bytes: self.bytes + keys }
    }
}
