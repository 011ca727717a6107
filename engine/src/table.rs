//! The bounded side of a join: a table that is read whole, kept by its key, and read again from time to time.
//!
//! It is no input: nothing of it is in the cursors, and a restart reads it again. So a row that is processed again may meet a newer
//! table; what it had met before was not committed. What is kept over restarts is which of its records were reported as dead: a bad
//! line is one dead letter, however often the table is read.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    datatypes::SchemaRef,
};
use hashbrown::HashTable;
use syncline_functions::{Projection, fingerprints};
use syncline_record::{DeadLetter, Micros, StepId};

use crate::{
    operator::{Output, without},
    operators::Decode,
    source::{Cursors, Polled, Source, SourceError},
};

/// What one table may take in memory. More is a job for a keyed read, or for a smaller selection of columns.
const MOST_BYTES: usize = 1 << 30;

/// Where a table comes from, and where it is put.
pub struct TableInput {
    /// Its page in the books, on which the dead are.
    pub step: StepId,
    /// Opened again, at its beginning, for each reading. Bounded.
    pub source: Box<dyn Source>,
    pub decode: Decode,
    /// What the decoded columns are called here, in their order.
    pub renamed: SchemaRef,
    pub key: Projection,
    /// The columns that a join takes, by index in `renamed`.
    pub columns: Vec<usize>,
    pub refresh: Option<Duration>,
    pub shelf: Arc<Shelf>,
}

/// The table as it was read last.
#[derive(Debug)]
pub struct Table {
    pub rows: RecordBatch,
    /// Rows in the order of their keys.
    order: Vec<u32>,
    /// Where the rows of a key begin in `order`, and how many there are.
    index: HashTable<(u128, u32, u32)>,
}

impl Table {
    fn empty(schema: SchemaRef) -> Self {
        Self { rows: RecordBatch::new_empty(schema), order: vec![], index: HashTable::new() }
    }

    /// `keys`: the fingerprint of each row; `None` where a part of it is NULL, which matches nothing.
    fn of(rows: RecordBatch, keys: &[Option<u128>]) -> Self {
        let mut sorted: Vec<(u128, u32)> =
            keys.iter().enumerate().filter_map(|(row, key)| Some(((*key)?, row as u32))).collect();
        sorted.sort_unstable();
        let mut index: HashTable<(u128, u32, u32)> = HashTable::with_capacity(sorted.len());
        let mut start = 0;
        for group in sorted.chunk_by(|one, other| one.0 == other.0) {
            let key = group[0].0;
            index.insert_unique(key as u64, (key, start, group.len() as u32), |entry| entry.0 as u64);
            start += group.len() as u32;
        }
        Self { rows, order: sorted.into_iter().map(|(_, row)| row).collect(), index }
    }

    /// The rows with this key, in the order of the table.
    pub fn find(&self, key: u128) -> &[u32] {
        match self.index.find(key as u64, |entry| entry.0 == key) {
            Some((_, start, count)) => &self.order[*start as usize..(*start + *count) as usize],
            None => &[],
        }
    }
}

/// Where a join finds its table, and keeps which records of it were reported.
#[derive(Debug)]
pub struct Shelf {
    inner: Mutex<Shelved>,
}

#[derive(Debug)]
struct Shelved {
    table: Arc<Table>,
    told: HashSet<u128>,
    /// Told in the open epoch.
    fresh: Vec<u128>,
}

impl Shelf {
    /// `schema`: the columns that a join takes.
    pub fn new(schema: SchemaRef) -> Self {
        let table = Arc::new(Table::empty(schema));
        Self { inner: Mutex::new(Shelved { table, told: HashSet::new(), fresh: vec![] }) }
    }

    fn lock(&self) -> MutexGuard<'_, Shelved> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn table(&self) -> Arc<Table> {
        self.lock().table.clone()
    }

    pub fn schema(&self) -> SchemaRef {
        self.lock().table.rows.schema()
    }

    fn put(&self, table: Table) {
        self.lock().table = Arc::new(table);
    }

    /// Whether this record is reported for the first time.
    fn tell(&self, content: u128) -> bool {
        let mut inner = self.lock();
        let new = inner.told.insert(content);
        if new {
            inner.fresh.push(content);
        }
        new
    }

    /// What was told since the last question.
    pub fn take_fresh(&self) -> Vec<u128> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// Told in an earlier life.
    pub fn remember(&self, content: u128) {
        self.lock().told.insert(content);
    }

    pub fn told(&self) -> usize {
        self.lock().told.len()
    }
}

impl TableInput {
    /// Reads the whole table and puts it on the shelf. Returns what is to be said of it: records that are dead and were not told before.
    /// On an error the shelf keeps what it has.
    pub fn read(&mut self, now: Micros) -> Result<Output, SourceError> {
        let mut out = Output::new(self.step.clone(), false);
        let (mut batches, mut keys, mut bytes, mut letters) = (vec![], vec![], 0, vec![]);
        self.source.open(&Cursors::new(), now)?;
        loop {
            let rows = match self.source.poll(now)? {
                Polled::Rows(rows) => rows,
                // Only the source of a WHERE is told of it.
                Polled::LeftOut(_) => continue,
                Polled::Streamed(_) => {
                    let detail = "a stream is no table".to_owned();
                    return Err(SourceError::Unreadable { what: self.step.to_string(), detail });
                }
                Polled::Idle => {
                    std::thread::yield_now();
                    continue;
                }
                Polled::Ended => break,
            };
            letters.extend(rows.rejected.into_iter().map(|rejected| crate::runtime::letter(&self.step, rejected)));
            if rows.origin.rows() > 0 {
                let batch = self.take(rows.origin, rows.columns, now, &mut keys, &mut letters);
                bytes += batch.get_array_memory_size();
                batches.push(batch);
            }
            if bytes > MOST_BYTES {
                let detail = format!("takes more than {} MiB as a joined table", MOST_BYTES >> 20);
                return Err(SourceError::Unreadable { what: self.step.to_string(), detail });
            }
        }
        let schema = self.shelf.schema();
        let rows = match batches.is_empty() {
            true => RecordBatch::new_empty(schema),
            false => concat_batches(&schema, &batches).map_err(|error| SourceError::Unreadable {
                what: self.step.to_string(),
                detail: format!("its rows do not fit together: {error}"),
            })?,
        };
        self.shelf.put(Table::of(rows, &keys));
        letters.into_iter().for_each(|letter| self.report(letter, &mut out));
        Ok(out)
    }

    /// The columns that are kept of one poll, and a key for each row.
    fn take(
        &mut self,
        origin: syncline_record::Origin,
        columns: Option<RecordBatch>,
        now: Micros,
        keys: &mut Vec<Option<u128>>,
        letters: &mut Vec<DeadLetter>,
    ) -> RecordBatch {
        let mut decoded = Output::new(self.step.clone(), false);
        self.decode.push(origin, columns, now, &mut decoded);
        let mut kept = vec![];
        for batch in std::mem::take(&mut decoded.emitted) {
            let named = RecordBatch::try_new(self.renamed.clone(), batch.rows.columns().to_vec())
                .expect("the decoder's columns, under other names");
            let made = self.key.apply(&named);
            decoded.dead(&batch, &made.failed);
            let alive = without(batch.len(), &made.failed);
            let schema = made.rows.schema();
            let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
            let mut prints = vec![];
            let valid = fingerprints(made.rows.columns(), &fields, &mut prints);
            for (row, print) in prints.iter().enumerate() {
                if alive.value(row) {
                    let whole = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                    keys.push(whole.then_some(*print));
                }
            }
            let taken = self.columns.iter().map(|index| named.column(*index).clone()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(named.num_rows()));
            let taken = RecordBatch::try_new_with_options(self.shelf.schema(), taken, &options)
                .expect("the columns that the shelf was made for");
            kept.push(arrow::compute::filter_record_batch(&taken, &alive).expect("a mask of the batch's length"));
        }
        letters.append(&mut decoded.dead);
        let schema = self.shelf.schema();
        match kept.pop() {
            Some(batch) if kept.is_empty() => batch,
            last => {
                kept.extend(last);
                concat_batches(&schema, &kept).unwrap_or_else(|_| RecordBatch::new_empty(schema))
            }
        }
    }

    fn report(&self, letter: DeadLetter, out: &mut Output) {
        let content = u128::from_str_radix(&letter.hash, 16).unwrap_or_default();
        if self.shelf.tell(content) {
            out.books.rows_in += 1;
            out.dead_record(letter);
        }
    }
}
