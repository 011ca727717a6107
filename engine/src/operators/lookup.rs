//! LOOKUP: each row with the columns of the one row outside that has its key.
//!
//! A row whose key is NULL, or that nothing answers to, goes on with NULLs. Where several rows answer, nothing says which is meant: it is
//! dead. So is a row whose answer is no record of the schema.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt32Array},
    buffer::Buffer,
    compute::{concat_batches, take_record_batch},
    datatypes::{Schema, SchemaRef},
};
use hashbrown::HashMap;
use syncline_functions::{Projection, fingerprints};
use syncline_record::{Batch, Headers, Micros, Origin, Partition, Reason, RowFailure, StepId};

use super::{
    Decode,
    join::{TableJoin, combined},
};
use crate::{
    lookup::{Answer, Lookup},
    operator::{Halt, Operator, Output, of_rows, without},
};

/// The reason of a row whose key several rows have.
pub const SEVERAL: &str = "several";

/// Far ahead of every time: what is looked up has none, so none can be too far ahead.
const NO_CLOCK: Micros = Micros::MAX / 2;

pub struct LookupJoin {
    /// Of the rows that ask.
    key: Projection,
    lookup: Arc<Lookup>,
    decode: Decode,
    /// What the decoded columns are called here, in their order.
    renamed: SchemaRef,
    /// Of the records that answer.
    its: Projection,
    /// The columns that are taken, by index in `renamed`.
    columns: Vec<usize>,
    taken: SchemaRef,
}

/// What is asked, and what each key found.
#[derive(Default)]
struct Found {
    /// The columns that are taken, of every record that answers.
    rows: Option<RecordBatch>,
    /// Places in `rows`.
    places: HashMap<u128, Vec<u32>>,
    bad: HashMap<u128, Reason>,
}

impl LookupJoin {
    pub fn new(
        key: Projection,
        lookup: Arc<Lookup>,
        decode: Decode,
        renamed: SchemaRef,
        its: Projection,
        columns: Vec<usize>,
    ) -> Self {
        let taken = columns.iter().map(|index| Arc::new(renamed.field(*index).clone().with_nullable(true)));
        let taken = Arc::new(Schema::new(taken.collect::<Vec<_>>()));
        Self { key, lookup, decode, renamed, its, columns, taken }
    }

    /// The columns behind the step.
    pub fn schema(&self, before: &Schema) -> SchemaRef {
        TableJoin::schema(before, &self.taken)
    }

    /// Asks for the keys, and reads what answers.
    fn find(&mut self, prints: &[u128], keys: &RecordBatch, step: &StepId) -> Result<Found, Halt> {
        let broken = |detail: String| Halt::Broken { step: step.clone(), detail };
        let answers = self.lookup.find(prints, keys).map_err(|error| broken(error.to_string()))?;
        let mut found = Found::default();
        let asked: Vec<u128> =
            prints.iter().zip(&answers).flat_map(|(print, answer)| answer.iter().map(|_| *print)).collect();
        if asked.is_empty() {
            return Ok(found);
        }
        let mut decoded = Output::new(step.clone(), false);
        self.decode.push(origin(step, &answers), None, NO_CLOCK, &mut decoded);
        let dead = std::mem::take(&mut decoded.dead);
        for letter in dead {
            let asked = asked[letter.place.offset as usize];
            found
                .bad
                .insert(asked, Reason::new(letter.reason.slug, format!("what was found: {}", letter.reason.detail)));
        }
        let mut batches = vec![];
        for batch in decoded.emitted {
            let first = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            batches.push(self.take(&batch, first as u32, &asked, &mut found));
        }
        found.rows = Some(concat_batches(&self.taken, &batches).map_err(|error| broken(error.to_string()))?);
        Ok(found)
    }

    /// The columns that are taken of records, and who asked for each.
    fn take(&self, batch: &Batch, first: u32, asked: &[u128], found: &mut Found) -> RecordBatch {
        let named = RecordBatch::try_new(self.renamed.clone(), batch.rows.columns().to_vec())
            .expect("the decoder's columns, under other names");
        let made = self.its.apply(&named);
        let who = |row: usize| asked[batch.row_ids().value(row) as usize];
        for failure in &made.failed {
            let Reason { slug, detail } = &failure.reason;
            let reason = Reason::new(slug.clone(), format!("what was found: {detail}"));
            found.bad.insert(who(failure.row as usize), reason);
        }
        let schema = made.rows.schema();
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
        let mut prints = vec![];
        let valid = fingerprints(made.rows.columns(), &fields, &mut prints);
        for (row, print) in prints.iter().enumerate() {
            // Whoever was asked may have answered more than was asked for.
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) && *print == who(row) {
                found.places.entry(*print).or_default().push(first + row as u32);
            }
        }
        let columns = self.columns.iter().map(|index| named.column(*index).clone()).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(named.num_rows()));
        RecordBatch::try_new_with_options(self.taken.clone(), columns, &options).expect("columns of the records")
    }
}

/// The records as rows of one poll: the offset of each is its number.
fn origin(step: &StepId, answers: &[Answer]) -> Origin {
    let mut payload = vec![];
    let mut spans = vec![];
    for record in answers.iter().flat_map(|answer| answer.iter()) {
        let start = payload.len() as u32;
        payload.extend_from_slice(record);
        spans.push((start, payload.len() as u32));
    }
    let count = spans.len();
    Origin {
        partition: Partition::new(step.as_str(), 0),
        payload: Buffer::from_vec(payload),
        spans,
        texts: None,
        names: None,
        offsets: (0..count as u64).collect(),
        bytes: None,
        times: vec![0; count],
        ingested_at: 0.into(),
        headers: Headers::Absent,
        keys: None,
    }
}

impl Operator for LookupJoin {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let key = self.key.apply(&batch.rows);
        let mut failed = of_rows(&batch, key.failed);
        let schema = key.rows.schema();
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
        let mut prints = vec![];
        let valid = fingerprints(key.rows.columns(), &fields, &mut prints);
        let alive = without(batch.len(), &failed);
        let operations = batch.operations();
        let asks = |row: usize| {
            alive.value(row) && !operations.is_clear(row) && valid.as_ref().is_none_or(|valid| valid.is_valid(row))
        };
        let mut once: HashMap<u128, u32> = HashMap::new();
        (0..batch.len()).filter(|row| asks(*row)).for_each(|row| _ = once.entry(prints[row]).or_insert(row as u32));
        let mut once: Vec<(u32, u128)> = once.into_iter().map(|(print, row)| (row, print)).collect();
        once.sort_unstable();
        let (rows, asked): (Vec<u32>, Vec<u128>) = once.into_iter().unzip();
        let keys = take_record_batch(&key.rows, &UInt32Array::from(rows)).expect("rows of the batch");
        let found = self.find(&asked, &keys, &out.step().clone())?;

        let (mut pairs, mut passed) = (vec![], vec![]);
        for row in (0..batch.len()).filter(|row| alive.value(*row)) {
            let print = asks(row).then_some(prints[row]);
            let places = print.and_then(|print| found.places.get(&print)).map_or(&[][..], Vec::as_slice);
            let bad = print.and_then(|print| found.bad.get(&print)).cloned();
            let several = || Reason::new(SEVERAL, format!("{} rows have its key", places.len()));
            match bad.or_else(|| (places.len() > 1).then(several)) {
                Some(reason) => failed.push(RowFailure { row: row as u32, reason }),
                None => {
                    pairs.push((row as u32, places.first().copied()));
                    if !operations.is_clear(row) {
                        passed.push(row);
                    }
                }
            }
        }
        failed.sort_by_key(|failure| failure.row);
        out.dead(&batch, &failed);
        out.pass(&batch, &passed);
        if !pairs.is_empty() {
            let none = RecordBatch::new_empty(self.taken.clone());
            let rows = combined(&batch.rows, found.rows.as_ref().unwrap_or(&none), &pairs);
            out.release(batch.with_rows(rows));
        }
        Ok(())
    }
}
