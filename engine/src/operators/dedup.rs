//! DEDUP BY k WITHIN w: drops a record iff one with the same key was kept and their times differ by less than w.
//!
//! Keys are 128-bit fingerprints, so a false duplicate does not happen by accident (at 10^9 keys about 10^-21). A key may be
//! kept more than once, at different times; the table holds each of them and asks for one that is near enough. Records whose
//! time is at or before their own partition's watermark − w are `late`. A NULL key passes,
//! unless the key is the content.
//!
//! Kept keys live in generations of an eighth of w. A generation is dropped as a whole, from disk by its segments and from memory
//! by one sweep, when no record that is not late can be near it any more: with event time, 2 w behind every watermark (a record
//! may be w behind, and what it repeats w before that); where times never go back, w behind. A record that comes from further
//! back all the same, from a partition that was not waited for, is `late` for that reason (`late-idle`) and never guessed.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, BooleanArray, Int64Array},
    datatypes::Int64Type,
};
use hashbrown::HashTable;
use syncline_functions::{Projection, keys::fingerprints};
use syncline_record::{
    Batch, Epoch, Fate, Generation, Micros, RowFailure, StepId, batch::MARK, duration, time::NO_WATERMARK,
};

use crate::fingerprints::Layout;
use crate::operator::{Damaged, Delta, Halt, Operator, Output, RowKeys, StateSize, of_rows};
use crate::segment::Bodies;

/// Generations of a window. Each is dropped whole, so w/8 is the most that state outlives its use.
const GENERATIONS: Micros = 8;

/// Bytes of a kept key in a segment: fingerprint and time.
const ENTRY: usize = 24;

/// Keys that come back are put into the table so many at once, in the order of its parts: one by one, each would be a miss of the cache.
const AT_ONCE: usize = 1 << 18;

/// Parts of the table; of one with ten million keys, a part is smaller than a core's cache.
const PARTS: usize = 1 << 10;

#[derive(Clone, Copy, Default)]
struct Kept {
    fingerprint: [u64; 2],
    time: Micros,
}

/// Keeps the first of each key.
pub struct Dedup {
    key: Projection,
    /// The key is the content of the row: NULL is a value of it.
    content: bool,
    within: Option<Micros>,
    kept: HashTable<Kept>,
    /// Kept since the last epoch.
    fresh: Vec<Kept>,
    /// Generations on disk or in `fresh`.
    generations: BTreeMap<Generation, u64>,
    horizon: Horizon,
    fingerprints: Vec<u128>,
    /// What comes back was kept with another window.
    adopting: bool,
    /// What came back and is not in the table yet, and the same in the order of the table's parts.
    back: Vec<Kept>,
    sorted: Vec<Kept>,
}

impl Dedup {
    pub fn new(key: Projection, within: Option<Micros>) -> Self {
        Self {
            key,
            content: false,
            within,
            kept: HashTable::new(),
            fresh: vec![],
            generations: BTreeMap::new(),
            horizon: Horizon::default(),
            fingerprints: vec![],
            adopting: false,
            back: vec![],
            sorted: vec![],
        }
    }

    /// The key is the content of the row, so that a NULL in it is no reason to pass.
    pub fn of_content(mut self) -> Self {
        self.content = true;
        self
    }

    fn generation(&self, time: Micros) -> Generation {
        self.within.map_or(0, |within| generation_of(time, within))
    }

    fn keep(&mut self, kept: Kept) {
        *self.generations.entry(self.generation(kept.time)).or_default() += 1;
        self.kept.insert_unique(kept.fingerprint[0], kept, |kept| kept.fingerprint[0]);
    }

    fn seen(&self, fingerprint: [u64; 2], time: Micros) -> bool {
        self.kept
            .find(fingerprint[0], |kept| {
                kept.fingerprint == fingerprint
                    && self.within.is_none_or(|within| kept.time.abs_diff(time) < within.unsigned_abs())
            })
            .is_some()
    }

    fn expire(&mut self) -> Vec<Generation> {
        let (Some(within), Some(first)) = (self.within, self.horizon.first_live(self.within)) else { return vec![] };
        let gone: Vec<Generation> = self.generations.range(..first).map(|(generation, _)| *generation).collect();
        self.generations = self.generations.split_off(&first);
        if !gone.is_empty() {
            self.kept.retain(|kept| generation_of(kept.time, within) >= first);
            // A table that was sized for a peak gives the memory back.
            if self.kept.capacity() > 4 * self.kept.len() + 1024 {
                self.kept.shrink_to(2 * self.kept.len(), |kept| kept.fingerprint[0]);
            }
        }
        gone
    }
}

/// How far back state is kept, and what a record from further back is.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The lowest watermark that the engine waits for, as of the last epoch.
    lowest: Micros,
    /// Times may go back inside a partition, as far as they are not late. Unknown is taken as yes.
    goes_back: bool,
}

impl Default for Horizon {
    fn default() -> Self {
        Self { lowest: NO_WATERMARK, goes_back: true }
    }
}

impl Horizon {
    pub fn advance(&mut self, lowest: Micros) {
        self.lowest = self.lowest.max(lowest);
    }

    /// The first generation that is still needed.
    pub fn first_live(&self, within: Option<Micros>) -> Option<Generation> {
        let within = within?;
        if self.lowest == NO_WATERMARK {
            return None;
        }
        let reach = if self.goes_back { within.saturating_mul(2) } else { within };
        Some(generation_of(self.lowest.saturating_sub(reach), within))
    }

    /// Judges the rows of a batch.
    pub fn over<'b>(&mut self, batch: &'b Batch, within: Option<Micros>) -> Lateness<'b> {
        let marks = batch.rows.column_by_name(MARK).map(|marks| marks.as_primitive::<Int64Type>());
        self.goes_back = marks.is_some();
        let first = self.first_live(within).zip(within);
        let forgotten = first.map_or(NO_WATERMARK, |(first, within)| generation_start(first, within));
        Lateness { marks, within, forgotten }
    }
}

/// What is late in a batch.
pub struct Lateness<'b> {
    /// Watermark of the row's partition before each row. Without event time the times of a partition never go back.
    marks: Option<&'b Int64Array>,
    within: Option<Micros>,
    /// What was kept before this time is gone.
    forgotten: Micros,
}

impl Lateness<'_> {
    /// The reason why a row is late, if it is.
    pub fn of(&self, time: Micros, row: usize) -> Option<&'static str> {
        let within = self.within?;
        if self.marks.is_some_and(|marks| time <= marks.value(row).saturating_sub(within)) {
            return Some(LATE);
        }
        (time.saturating_sub(within) < self.forgotten.saturating_sub(1)).then_some(LATE_IDLE)
    }
}

/// Behind the watermark of its own partition.
pub const LATE: &str = "late";
/// Behind what state still knows, because its partition was idle and not waited for.
pub const LATE_IDLE: &str = "late-idle";

/// What a DEDUP says of the rows of a batch. A row of which nothing is said has failed.
pub struct Verdicts {
    passed: Vec<bool>,
    pub duplicates: Vec<usize>,
    pub stale: Vec<usize>,
    late: Vec<usize>,
    late_idle: Vec<usize>,
    /// Rows that passed because their key is NULL.
    pub nulls: u64,
}

impl Verdicts {
    pub fn of(rows: usize) -> Self {
        let (duplicates, stale, late, late_idle) = (vec![], vec![], vec![], vec![]);
        Self { passed: vec![false; rows], duplicates, stale, late, late_idle, nulls: 0 }
    }

    pub fn pass(&mut self, row: usize) {
        self.passed[row] = true;
    }

    /// `reason`: as [`Lateness::of`] gave it.
    pub fn late(&mut self, row: usize, reason: &'static str) {
        if reason == LATE { self.late.push(row) } else { self.late_idle.push(row) }
    }

    /// Books every row, and hands on those that passed.
    pub fn settle(self, batch: &Batch, keys: &RowKeys<'_>, failed: &[RowFailure], out: &mut Output) {
        out.dead(batch, failed);
        out.stop_by(batch, &self.duplicates, (Fate::Duplicate, "duplicate"), keys);
        out.stop_by(batch, &self.stale, (Fate::Stale, "stale"), keys);
        out.stop_by(batch, &self.late, (Fate::Late, LATE), keys);
        out.stop_by(batch, &self.late_idle, (Fate::Late, LATE_IDLE), keys);
        out.null_keys(self.nulls);
        let passed = BooleanArray::from(self.passed);
        let of_kept = |kept: &[usize]| {
            let passed: Vec<usize> = (0..batch.len()).filter(|row| passed.value(*row)).collect();
            keys.of(&kept.iter().map(|row| passed[*row]).collect::<Vec<_>>())
        };
        out.emit_by(batch.keep(&passed), of_kept);
    }
}

/// The part of a layout that says how long keys are known, in microseconds; empty: for ever.
pub const WITHIN: &str = "within";

/// What becomes of keys that were kept with another window, and nothing else is another.
pub fn another_window(then: &Layout, now: &Layout) -> Option<String> {
    let within = |layout: &Layout| -> Option<Option<u64>> {
        let part = layout.parts.get(WITHIN)?;
        if part.is_empty() { Some(None) } else { part.parse().ok().map(Some) }
    };
    if !then.differs_only_in(now, &[WITHIN]) {
        return None;
    }
    let shown = |within: Option<u64>| within.map_or("ever".to_owned(), duration::shown);
    Some(match (within(then)?, within(now)?) {
        (Some(then), now) if now.is_none_or(|now| now > then) => {
            format!(
                "known for {} from now on; keys that {} let go of before are not known again",
                shown(now),
                shown(Some(then))
            )
        }
        (_, now) => format!("known for {} from now on; keys that are older go", shown(now)),
    })
}

/// Generations are numbered upwards with time; the sign bit is flipped so that their order as unsigned keys is the order of time.
pub fn generation_of(time: Micros, within: Micros) -> Generation {
    (time.div_euclid((within / GENERATIONS).max(1)) as u64) ^ (1 << 63)
}

fn generation_start(generation: Generation, within: Micros) -> Micros {
    let number = (generation ^ (1 << 63)) as i64;
    number.saturating_mul((within / GENERATIONS).max(1))
}

impl Operator for Dedup {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let key = self.key.apply(&batch.rows);
        let failed = of_rows(&batch, key.failed);
        let schema = key.rows.schema();
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
        let mut prints = std::mem::take(&mut self.fingerprints);
        prints.clear();
        let valid = fingerprints(key.rows.columns(), &fields, &mut prints).filter(|_| !self.content);
        let lateness = self.horizon.over(&batch, self.within);
        let mut verdicts = Verdicts::of(batch.len());
        let (ids, ops) = (batch.row_ids(), batch.operations());
        let mut next_failed = failed.iter().map(|failure| failure.row as usize).peekable();
        self.kept.reserve(batch.len(), |kept| kept.fingerprint[0]);
        for (row, &print) in prints.iter().enumerate() {
            if next_failed.peek() == Some(&row) {
                next_failed.next();
                continue;
            }
            if ops.is_clear(row) || valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
                verdicts.nulls += u64::from(!ops.is_clear(row));
                verdicts.pass(row);
                continue;
            }
            let time = batch.origin.times[ids.value(row) as usize];
            if let Some(reason) = lateness.of(time, row) {
                verdicts.late(row, reason);
                continue;
            }
            let fingerprint = [print as u64, (print >> 64) as u64];
            if self.seen(fingerprint, time) {
                verdicts.duplicates.push(row);
                continue;
            }
            let kept = Kept { fingerprint, time };
            self.keep(kept);
            self.fresh.push(kept);
            verdicts.pass(row);
        }
        self.fingerprints = prints;
        let keys = RowKeys { columns: key.rows.columns(), fields: &fields, content: self.content };
        verdicts.settle(&batch, &keys, &failed, out);
        Ok(())
    }

    fn advance(&mut self, lowest: Micros, _out: &mut Output) -> Result<(), Halt> {
        self.horizon.advance(lowest);
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        let mut bodies = Bodies::default();
        for kept in std::mem::take(&mut self.fresh) {
            let mut entry = [0; ENTRY];
            entry[..8].copy_from_slice(&kept.fingerprint[0].to_le_bytes());
            entry[8..16].copy_from_slice(&kept.fingerprint[1].to_le_bytes());
            entry[16..].copy_from_slice(&kept.time.to_le_bytes());
            bodies.add(self.generation(kept.time), &entry);
        }
        let expired = self.expire();
        // What was kept in a generation that is gone already must not come back with a segment.
        Ok(Delta { appended: bodies.without(&expired), expired })
    }

    /// A table that grows moves every key again and again.
    fn expect(&mut self, keys: usize) {
        self.kept.reserve(keys, |kept| kept.fingerprint[0]);
    }

    fn adopts(&mut self, then: &Layout, now: &Layout) -> Option<String> {
        let said = another_window(then, now)?;
        self.adopting = true;
        Some(said)
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        if self.adopting {
            for kept in entries(body)? {
                self.keep(kept);
                self.fresh.push(kept);
            }
            return Ok(());
        }
        self.back.extend(entries(body)?);
        if self.back.len() >= AT_ONCE {
            self.take_back();
        }
        *self.generations.entry(generation).or_default() += (body.len() / ENTRY) as u64;
        Ok(())
    }

    fn restored(&mut self) {
        self.take_back();
        (self.back, self.sorted) = (vec![], vec![]);
    }

    fn size(&self) -> StateSize {
        let keys = self.kept.len() as u64;
        // One control byte per slot, as hashbrown lays its tables out.
        StateSize { keys, bytes: self.slots() as u64 * (size_of::<Kept>() as u64 + 1) }
    }
}

impl Dedup {
    fn slots(&self) -> usize {
        (self.kept.capacity() * 8 / 7).next_power_of_two()
    }

    /// Sorts what came back by the part of the table that it goes to, and puts it there. A hash finds its slot by its last bits.
    fn take_back(&mut self) {
        self.kept.reserve(self.back.len(), |kept| kept.fingerprint[0]);
        let shift = (self.slots() / PARTS).max(1).trailing_zeros();
        let part = |kept: &Kept| (kept.fingerprint[0] >> shift) as usize % PARTS;
        let mut next = vec![0; PARTS];
        self.back.iter().for_each(|kept| next[part(kept)] += 1);
        let mut before = 0;
        next.iter_mut().for_each(|next| before += std::mem::replace(next, before));
        self.sorted.resize(self.back.len(), Kept::default());
        for kept in self.back.drain(..) {
            let place = &mut next[part(&kept)];
            self.sorted[*place] = kept;
            *place += 1;
        }
        for kept in self.sorted.iter().copied() {
            self.kept.insert_unique(kept.fingerprint[0], kept, |kept| kept.fingerprint[0]);
        }
    }
}

fn entries(body: &[u8]) -> Result<impl Iterator<Item = Kept> + '_, Damaged> {
    if !body.len().is_multiple_of(ENTRY) {
        return Err(Damaged(format!("{} bytes are no whole number of keys", body.len())));
    }
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    Ok(body.chunks_exact(ENTRY).map(move |entry| Kept {
        fingerprint: [word(&entry[..8]), word(&entry[8..16])],
        time: word(&entry[16..]) as Micros,
    }))
}

/// The kept keys of a segment body, for SQL over live state: fingerprint and time.
pub fn read_body(body: &[u8]) -> Result<Vec<(u128, Micros)>, Damaged> {
    let join = |[low, high]: [u64; 2]| (high as u128) << 64 | low as u128;
    Ok(entries(body)?.map(|kept| (join(kept.fingerprint), kept.time)).collect())
}
