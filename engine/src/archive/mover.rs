//! Moves the ledger of every pipeline of a data folder into its archive, a turn at a time.
//!
//! A turn writes files, then replaces the manifest, then, after a while, lets the log go of what was moved. A process that dies before
//! the manifest is replaced has moved nothing; one that dies after it has moved everything. Small files of one day become one, and
//! old files go, in the same order: the new file, the manifest, and last, when no question can still be reading them, the old files.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::{concat_batches, sort_to_indices, take_record_batch},
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
    temporal_conversions::timestamp_us_to_datetime,
};
use syncline_record::Micros;

use super::{
    Archive, ArchiveError, File, Gone, MANIFEST_FORMAT, Manifest, Seen, folder_of,
    rows::{self, Columns, RowsError, TIME},
};
use crate::{
    checkpoint::{self, ReadError},
    ledger::ledger_topic,
    runtime::Ground,
    store::StoreError,
};

/// Rows of the chain that go into one file at once; what is held in memory of them takes some 30 MB.
const MOST_ROWS: u64 = 250_000;
/// Files of a day that are merged, and how large the merged one may be.
const MANY: usize = 8;
const LARGEST_ROWS: u64 = 1_000_000;
const LARGEST_BYTES: u64 = 128 << 20;
/// Merges of one pipeline in a turn: sixteen million rows, more than one brings in a minute. Others have their turn then.
const MERGES: usize = 16;
/// How long a file stays after its rows went elsewhere, and records stay in the log after they were moved: no question takes longer.
const GRACE: Duration = Duration::from_secs(300);
/// How often files that no manifest names are looked for.
const SWEEP: Duration = Duration::from_secs(3600);
/// Rows of one batch on their way into a merged file.
const SLICE: usize = 8192;
/// A day of UTC, which has no other length.
const DAY: Micros = 86_400_000_000;

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another data folder has a pipeline of this name there.
    #[error("{folder} belongs to a pipeline of this name in another data folder")]
    Foreign { folder: String },
    #[error("rows of {path} cannot be put together: {detail}")]
    Merge { path: String, detail: String },
}

pub struct Mover {
    archive: Arc<dyn Archive>,
    /// Files whose last row is older go.
    keep: Micros,
    /// What was moved when, and in which log; let go of later.
    moved: BTreeMap<String, VecDeque<(Micros, String, u64)>>,
    swept: BTreeMap<String, Micros>,
}

/// The rows of one day.
#[derive(Default)]
struct Pile {
    columns: Columns,
    batches: Vec<RecordBatch>,
    rows: u64,
    span: Option<(Micros, Micros)>,
}

impl Mover {
    pub fn new(archive: Arc<dyn Archive>, keep: Duration) -> Self {
        Self { archive, keep: micros(keep), moved: BTreeMap::new(), swept: BTreeMap::new() }
    }

    /// Moves what there is of every pipeline. One that cannot be moved holds up no other: who, and why.
    pub fn turn(&mut self, ground: &Ground) -> Vec<(String, MoveError)> {
        let pipelines = match checkpoint::pipelines(&*ground.store, &checkpoint::STARTED) {
            Ok(pipelines) => pipelines,
            Err(error) => return vec![(String::new(), error.into())],
        };
        let one = |pipeline: String| self.pipeline(ground, &pipeline).err().map(|error| (pipeline, error));
        pipelines.into_iter().filter_map(one).collect()
    }

    fn pipeline(&mut self, ground: &Ground, pipeline: &str) -> Result<(), MoveError> {
        let Some(checkpoint) = checkpoint::read_checkpoint(&*ground.store, pipeline)? else { return Ok(()) };
        let owner = checkpoint::owner_of(&*ground.store, pipeline)?.unwrap_or_default();
        if checkpoint.log_id.is_empty() {
            return Ok(());
        }
        let now = ground.clock.now();
        let mut seen = self.archive.manifest(pipeline)?;
        let mut manifest = Manifest { format: MANIFEST_FORMAT, ..seen.manifest.clone() };
        if !manifest.owner.is_empty() && manifest.owner != owner {
            return Err(MoveError::Foreign { folder: folder_of(pipeline) });
        }
        if manifest.log_id != checkpoint.log_id {
            // It was started over: the ledger too.
            let gone = take_out(&mut manifest, now, |_| true);
            let (log_id, pipeline) = (checkpoint.log_id, pipeline.to_owned());
            manifest = Manifest { format: MANIFEST_FORMAT, owner, pipeline, log_id, gone, ..Manifest::default() };
        }
        while self.step(ground, &mut manifest, &mut seen)? {}
        let mut merges = 0;
        while merges < MERGES && self.merge(ground, &mut manifest, &mut seen)? {
            merges += 1;
        }
        self.forget(now, &mut manifest, &mut seen)?;
        self.let_go(ground, now, &manifest)?;
        self.sweep(now, &manifest)
    }

    /// Moves some rows; whether there may be more.
    fn step(&self, ground: &Ground, manifest: &mut Manifest, seen: &mut Seen) -> Result<bool, MoveError> {
        let (pipeline, place) = (manifest.pipeline.clone(), manifest.place.clone());
        let mut piles: BTreeMap<i64, Pile> = BTreeMap::new();
        let mut chain = 0;
        let reading = (&*ground.store, &*ground.log);
        let next = rows::behind(reading, &pipeline, &place, MOST_ROWS, &mut |row| {
            chain += 1;
            piles.entry(day(row.time)).or_default().push(&pipeline, row)
        })?;
        if piles.is_empty() {
            return Ok(false);
        }
        for (day, pile) in piles {
            let file = self.write(ground, manifest, day, place.ledger, pile)?;
            manifest.files.push(file);
        }
        manifest.place = next;
        *seen = self.archive.replace(manifest, seen)?;
        Ok(chain >= MOST_ROWS)
    }

    fn write(
        &self,
        ground: &Ground,
        manifest: &Manifest,
        day: i64,
        first: u64,
        mut pile: Pile,
    ) -> Result<File, MoveError> {
        pile.batches.extend(pile.columns.take()?);
        let path = self.path(ground, manifest, day, first);
        let mut batches = pile.batches.into_iter();
        let bytes = self.archive.write(&path, &mut || Ok(batches.next()))?;
        let (from, to) = pile.span.unwrap_or_default();
        Ok(File { path, rows: pile.rows, bytes, from, to })
    }

    /// A name that no file has had.
    fn path(&self, ground: &Ground, manifest: &Manifest, day: i64, first: u64) -> String {
        let life: String = manifest.log_id.chars().take(8).collect();
        let (folder, id, ending) = (folder_of(&manifest.pipeline), ground.rng.id(), self.archive.ending());
        format!("{folder}/day={}/{life}-{first:020}-{}.{ending}", date(day), &id[..12])
    }

    /// Makes one file of many small ones of a day; whether there were that many.
    fn merge(&self, ground: &Ground, manifest: &mut Manifest, seen: &mut Seen) -> Result<bool, MoveError> {
        let Some((day, parts)) = small(&manifest.files) else { return Ok(false) };
        let mut batches = vec![];
        for part in &parts {
            self.archive.read(&part.path, &mut |batch| {
                batches.push(batch);
                Ok(())
            })?;
        }
        let failed = |error: ArrowError| MoveError::Merge { path: parts[0].path.clone(), detail: error.to_string() };
        let whole = concat_batches(&rows::schema(), &batches).map_err(failed)?;
        drop(batches);
        let rows = parts.iter().map(|part| part.rows).sum::<u64>();
        if whole.num_rows() as u64 != rows {
            let detail = format!("there are {} rows, and the manifest says {rows}", whole.num_rows());
            return Err(MoveError::Merge { path: parts[0].path.clone(), detail });
        }
        let sorted = by_time(whole).map_err(failed)?;
        let path = self.path(ground, manifest, day, manifest.place.ledger);
        let mut at = 0;
        let bytes = self.archive.write(&path, &mut || {
            let slice = (at < sorted.num_rows()).then(|| sorted.slice(at, SLICE.min(sorted.num_rows() - at)));
            at += SLICE;
            Ok(slice)
        })?;
        let from = parts.iter().map(|part| part.from).min().unwrap_or_default();
        let to = parts.iter().map(|part| part.to).max().unwrap_or_default();
        let merged: Vec<String> = parts.into_iter().map(|part| part.path).collect();
        manifest.gone = take_out(manifest, ground.clock.now(), |file| merged.contains(&file.path));
        manifest.files.push(File { path, rows, bytes, from, to });
        *seen = self.archive.replace(manifest, seen)?;
        Ok(true)
    }

    /// Names old files no more, and removes what has not been named for long enough.
    fn forget(&self, now: Micros, manifest: &mut Manifest, seen: &mut Seen) -> Result<(), MoveError> {
        let before = manifest.clone();
        let oldest = now.saturating_sub(self.keep);
        manifest.gone = take_out(manifest, now, |file| file.to < oldest);
        let over = |gone: &Gone| gone.since.saturating_add(micros(GRACE)) <= now;
        for gone in manifest.gone.iter().filter(|gone| over(gone)) {
            self.archive.remove(&gone.path)?;
        }
        manifest.gone.retain(|gone| !over(gone));
        if *manifest != before || manifest.log_id != seen.manifest.log_id {
            *seen = self.archive.replace(manifest, seen)?;
        }
        Ok(())
    }

    /// Lets the log go of what was moved long enough ago.
    fn let_go(&mut self, ground: &Ground, now: Micros, manifest: &Manifest) -> Result<(), MoveError> {
        // The log of a pipeline with a changelog is a copy: how far it reaches back is said there.
        if ground.store.get(&checkpoint::place_key(&manifest.pipeline))?.is_some() {
            return Ok(());
        }
        let moved = self.moved.entry(manifest.pipeline.clone()).or_default();
        moved.retain(|(_, log_id, _)| *log_id == manifest.log_id);
        if moved.back().is_none_or(|(.., place)| *place < manifest.place.ledger) {
            moved.push_back((now, manifest.log_id.clone(), manifest.place.ledger));
        }
        while let Some((at, _, place)) = moved.front()
            && at.saturating_add(micros(GRACE)) <= now
        {
            ground.log.release(&ledger_topic(&manifest.pipeline), *place).map_err(RowsError::from)?;
            moved.pop_front();
        }
        Ok(())
    }

    /// Removes what processes that died have left.
    fn sweep(&mut self, now: Micros, manifest: &Manifest) -> Result<(), MoveError> {
        let last = self.swept.get(&manifest.pipeline);
        if last.is_some_and(|last| last.saturating_add(micros(SWEEP)) > now) {
            return Ok(());
        }
        let old = self.archive.old(&manifest.pipeline)?;
        // Whoever else writes there has named by now what is that old.
        let named = self.archive.manifest(&manifest.pipeline)?.manifest;
        let named = |path: &String| {
            named.files.iter().any(|file| file.path == *path) || named.gone.iter().any(|gone| gone.path == *path)
        };
        for path in old.iter().filter(|path| !named(path)) {
            self.archive.remove(path)?;
        }
        self.swept.insert(manifest.pipeline.clone(), now);
        Ok(())
    }
}

impl Pile {
    fn push(&mut self, pipeline: &str, row: rows::Row<'_>) -> Result<(), RowsError> {
        let (from, to) = self.span.unwrap_or((row.time, row.time));
        self.span = Some((from.min(row.time), to.max(row.time)));
        self.rows += 1;
        if self.columns.push(pipeline, row) {
            self.batches.extend(self.columns.take()?);
        }
        Ok(())
    }
}

/// Takes files out of a manifest; what has gone so far, with them.
fn take_out(manifest: &mut Manifest, now: Micros, which: impl Fn(&File) -> bool) -> Vec<Gone> {
    let (out, left) = std::mem::take(&mut manifest.files).into_iter().partition(which);
    manifest.files = left;
    let out: Vec<File> = out;
    let mut gone = std::mem::take(&mut manifest.gone);
    gone.extend(out.into_iter().map(|file| Gone { path: file.path, since: now }));
    gone
}

/// A day that has many small files, and those that fit into one.
fn small(files: &[File]) -> Option<(i64, Vec<File>)> {
    let mut days: BTreeMap<i64, Vec<&File>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.rows < LARGEST_ROWS / 2 && file.bytes < LARGEST_BYTES / 2) {
        days.entry(day(file.from)).or_default().push(file);
    }
    let (day, files) = days.into_iter().find(|(_, files)| files.len() >= MANY)?;
    let (mut rows, mut bytes) = (0, 0);
    let fits = files.into_iter().take_while(|file| {
        rows += file.rows;
        bytes += file.bytes;
        rows <= LARGEST_ROWS && bytes <= LARGEST_BYTES
    });
    let parts: Vec<File> = fits.cloned().collect();
    (parts.len() > 1).then_some((day, parts))
}

fn by_time(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let times = batch.column(TIME);
    if times.as_primitive::<TimestampMicrosecondType>().values().is_sorted() {
        return Ok(batch);
    }
    take_record_batch(&batch, &sort_to_indices(times, None, None)?)
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}

/// Days since 1970.
fn day(time: Micros) -> i64 {
    time.div_euclid(DAY)
}

/// A day as `2026-11-22`, in UTC as every time is.
fn date(day: i64) -> String {
    let midnight = day.checked_mul(DAY).and_then(timestamp_us_to_datetime);
    // Days that no calendar has are told apart by their number all the same.
    midnight.map_or_else(|| day.to_string(), |midnight| midnight.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn a_day_has_its_date() {
        assert_eq!(
            [-1, 0, 59, 11_016, 20_779].map(date),
            ["1969-12-31", "1970-01-01", "1970-03-01", "2000-02-29", "2026-11-22"]
        );
        assert_eq!([i64::MIN, i64::MAX].map(date), [i64::MIN, i64::MAX].map(|day| day.to_string()));
    }
}
