//! The archive of the ledger, with a process that dies at every call it makes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use syncline_record::{Fate, Micros, Partition, StepId};

use super::{
    Archive, ArchiveError, Manifest, NextRows, Place, Seen,
    mover::{MoveError, Mover},
    rows::{self, Columns},
};
use crate::{
    checkpoint::{self, Checkpoint},
    clock::{Clock, SeededRng, VirtualClock},
    ledger::{self, SinkFrame, When, ledger_topic, sink_topic},
    log::{Ends, LogError, NewFrame, memory::MemoryLog},
    operator::LedgerEntry,
    runtime::Ground,
    sink::Delivered,
    store::{Changes, memory::MemoryStore},
};

const PIPELINE: &str = "orders";
const START: Micros = 1_763_812_800_000_000;
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Files and manifests in memory; a call can be the one at which the process dies.
#[derive(Default)]
struct Shelf(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    files: BTreeMap<String, Vec<RecordBatch>>,
    manifests: BTreeMap<String, (Manifest, u64)>,
    calls: u64,
    /// The number of the call that is the last.
    dies: Option<u64>,
}

impl Shelf {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no test panics with it")
    }

    /// Whether this call is the one: it has happened then, every other time.
    fn call(&self, happen: impl FnOnce(&mut Inside)) -> Result<(), ArchiveError> {
        let mut inside = self.inside();
        inside.calls += 1;
        match inside.dies {
            Some(dies) if dies <= inside.calls => {
                if inside.calls.is_multiple_of(2) && dies == inside.calls {
                    happen(&mut inside);
                }
                Err(ArchiveError::Crashed)
            }
            _ => {
                happen(&mut inside);
                Ok(())
            }
        }
    }
}

impl Archive for Shelf {
    fn manifest(&self, pipeline: &str) -> Result<Seen, ArchiveError> {
        let found = self.inside().manifests.get(pipeline).cloned();
        Ok(found
            .map_or_else(Seen::default, |(manifest, version)| Seen { manifest, version: Some(version.to_string()) }))
    }

    fn manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        Ok(self.inside().manifests.values().map(|(manifest, _)| manifest.clone()).collect())
    }

    fn write(&self, path: &str, rows: &mut NextRows<'_>) -> Result<u64, ArchiveError> {
        let mut batches = vec![];
        while let Some(batch) = rows()? {
            batches.push(batch);
        }
        self.call(|inside| assert!(inside.files.insert(path.to_owned(), batches).is_none(), "{path} was there"))?;
        Ok(100)
    }

    fn read(
        &self,
        path: &str,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let batches = self.inside().files.get(path).cloned();
        batches.unwrap_or_else(|| panic!("{path} is named and gone")).into_iter().try_for_each(each)
    }

    fn replace(&self, manifest: &Manifest, seen: &Seen) -> Result<Seen, ArchiveError> {
        let place = manifest.pipeline.clone();
        let before = self.manifest(&place)?;
        if before.version != seen.version {
            return Err(ArchiveError::Replaced { place });
        }
        let version = before.version.map_or(0, |version| version.parse::<u64>().expect("a number")) + 1;
        self.call(|inside| drop(inside.manifests.insert(place, (manifest.clone(), version))))?;
        Ok(Seen { manifest: manifest.clone(), version: Some(version.to_string()) })
    }

    fn remove(&self, path: &str) -> Result<(), ArchiveError> {
        self.call(|inside| drop(inside.files.remove(path)))
    }

    fn old(&self, _: &str) -> Result<Vec<String>, ArchiveError> {
        Ok(self.inside().files.keys().cloned().collect())
    }

    fn ending(&self) -> &'static str {
        "rows"
    }
}

/// A pipeline that writes its ledger, and its archive.
struct House {
    shelf: Arc<Shelf>,
    clock: Arc<VirtualClock>,
    ground: Ground,
    /// Offsets of all records that the ledger has to name, once each.
    told: Vec<u64>,
    next: u64,
    outbox: u64,
}

impl House {
    fn new() -> House {
        let clock = Arc::new(VirtualClock::at(START));
        let ground = Ground {
            store: Arc::new(MemoryStore::new()),
            log: Arc::new(MemoryLog::new()),
            clock: clock.clone(),
            rng: Arc::new(SeededRng::from_seed(7)),
        };
        let house = House { shelf: Arc::default(), clock, ground, told: vec![], next: 0, outbox: 0 };
        house.begin("a life");
        house
    }

    /// As a start does, and one with `--fresh`.
    fn begin(&self, log_id: &str) {
        checkpoint::owner_id(&*self.ground.store, PIPELINE, &*self.ground.rng).expect("no trouble");
        let mut changes = Changes::default();
        let checkpoint = Checkpoint { log_id: log_id.to_owned(), ..Checkpoint::default() };
        checkpoint::put(&mut changes, checkpoint::checkpoint_key(PIPELINE), &checkpoint);
        self.ground.store.apply(changes).expect("no trouble");
        self.ground.log.recover(&[&ledger_topic(PIPELINE)], &Ends::new()).expect("no trouble");
    }

    /// An epoch: three rows that were filtered.
    fn epoch(&mut self) {
        let topic = ledger_topic(PIPELINE);
        let offsets: Vec<u64> = (self.next..self.next + 3).collect();
        self.next += 3;
        self.told.extend(&offsets);
        let partition = Partition::new("orders.ndjson", 0);
        let (step, fate, reason) = (StepId::new("where"), Fate::Filtered, Arc::from("filtered"));
        let entry = LedgerEntry { step, fate, reason, partition, offsets, keys: Default::default() };
        let frame =
            NewFrame { count: 3, time: self.clock.now(), body: ledger::encode(When { run: 1, epoch: 1 }, &[entry]) };
        let log = &self.ground.log;
        log.append(&topic, frame).expect("no trouble");
        let ends = log.prepare(&[topic]).expect("no trouble");
        log.commit(1, &ends).expect("no trouble");
    }

    /// A sink that says of two rows that they are stale, dies, says it of one of them again, and commits.
    fn refusal(&mut self) {
        let (log, first, record) = (&self.ground.log, self.outbox, 1_000_000 + self.outbox);
        let stale = |at: u64| (first + at, "orders.ndjson:0".to_owned(), record + at);
        let attempts = [
            SinkFrame { base: first, dead: vec![], stale: vec![stale(1), stale(3)] },
            SinkFrame { base: first + 2, dead: vec![], stale: vec![stale(4)] },
        ];
        for attempt in attempts {
            let body = serde_json::to_vec(&attempt).expect("JSON");
            let topic = sink_topic(PIPELINE, &StepId::new("shop"));
            log.publish(&topic, vec![NewFrame { count: 1, time: self.clock.now(), body }]).expect("no trouble");
        }
        // Row 4 is not committed yet with the first word of it, and is with the next.
        self.outbox += 4;
        let mut changes = Changes::default();
        let delivered = Delivered { next: self.outbox, ..Delivered::default() };
        checkpoint::put(&mut changes, checkpoint::delivered_key(PIPELINE, &StepId::new("shop")), &delivered);
        self.ground.store.apply(changes).expect("no trouble");
        self.told.push(record + 1);
    }

    /// What a question would find.
    fn found(&self) -> Vec<u64> {
        let manifest = self.shelf.manifest(PIPELINE).expect("no trouble").manifest;
        let mut found = vec![];
        for file in &manifest.files {
            let before = found.len();
            let batches = self.shelf.inside().files.get(&file.path).cloned();
            for batch in batches.unwrap_or_else(|| panic!("{} is named and gone", file.path)) {
                found.extend(batch.column(5).as_primitive::<Int64Type>().values().iter().map(|offset| *offset as u64));
            }
            assert_eq!((found.len() - before) as u64, file.rows, "{}", file.path);
        }
        let place = if manifest.log_id == self.life() { manifest.place } else { Place::default() };
        let reading = (&*self.ground.store, &*self.ground.log);
        rows::behind(reading, PIPELINE, &place, u64::MAX, &mut |row| {
            found.push(row.offset);
            Ok(())
        })
        .expect("what is not moved is in the log");
        found.sort_unstable();
        found
    }

    fn life(&self) -> String {
        let checkpoint = checkpoint::read_checkpoint(&*self.ground.store, PIPELINE).expect("no trouble");
        checkpoint.expect("it was started").log_id
    }

    fn all(&self) -> Vec<u64> {
        let mut all = self.told.clone();
        all.sort_unstable();
        all
    }

    fn mover(&self, keep: Duration) -> Mover {
        Mover::new(self.shelf.clone(), keep)
    }

    fn names(&self) -> Vec<String> {
        self.shelf.manifest(PIPELINE).expect("no trouble").manifest.files.into_iter().map(|file| file.path).collect()
    }
}

#[test]
fn every_record_is_there_once_whichever_call_is_the_last() {
    let mut deaths = 0;
    for dies in 1.. {
        let mut house = House::new();
        let mut mover = house.mover(MONTH);
        house.shelf.inside().dies = Some(dies);
        let mut died = false;
        for round in 0..12 {
            house.epoch();
            if round % 3 == 1 {
                house.refusal();
            }
            let trouble = mover.turn(&house.ground);
            assert_eq!(house.found(), house.all(), "died at {dies}, in round {round}");
            if !trouble.is_empty() {
                // The next process.
                died = true;
                house.shelf.inside().dies = None;
                mover = house.mover(MONTH);
            }
            house.clock.advance(Duration::from_secs(200));
        }
        // So long that nothing is kept for a question any more, and that what is named nowhere is looked for.
        house.clock.advance(Duration::from_secs(4000));
        assert!(mover.turn(&house.ground).is_empty());
        assert!(mover.turn(&house.ground).is_empty());
        assert_eq!(house.found(), house.all(), "died at {dies}");
        let (mut named, kept) = (house.names(), house.shelf.inside().files.keys().cloned().collect::<Vec<_>>());
        named.sort();
        assert_eq!(named, kept, "died at {dies}: nothing is left behind");
        assert!(named.len() < 12, "{named:?}: small files become one");
        let gone = house.ground.log.read(&ledger_topic(PIPELINE), 0, 1);
        assert!(matches!(gone, Err(LogError::Gone { .. })), "the log lets go of what was moved: {gone:?}");
        deaths += u64::from(died);
        if !died {
            break;
        }
    }
    assert!(deaths > 20, "{deaths}");
}

#[test]
fn a_ledger_that_was_started_over_has_nothing_of_the_one_before() {
    let mut house = House::new();
    let mut mover = house.mover(MONTH);
    house.epoch();
    assert!(mover.turn(&house.ground).is_empty());
    let before = house.names();
    house.begin("another life");
    house.told.clear();
    house.epoch();
    assert!(mover.turn(&house.ground).is_empty());
    assert_eq!(house.found(), house.all());
    assert!(house.names().iter().all(|name| !before.contains(name)));
    house.clock.advance(Duration::from_secs(400));
    assert!(mover.turn(&house.ground).is_empty());
    assert_eq!(house.shelf.inside().files.len(), 1);
}

#[test]
fn what_is_too_old_goes_and_the_rest_stays() {
    let mut house = House::new();
    let mut mover = house.mover(Duration::from_secs(2 * 86_400 + 3600));
    for _ in 0..4 {
        house.epoch();
        assert!(mover.turn(&house.ground).is_empty());
        house.clock.advance(Duration::from_secs(86_400));
    }
    house.clock.advance(Duration::from_secs(600));
    assert!(mover.turn(&house.ground).is_empty());
    let days: Vec<String> =
        house.names().iter().map(|name| name.split('/').nth(1).expect("a day").to_owned()).collect();
    assert_eq!(days, ["day=2025-11-24", "day=2025-11-25"]);
    assert_eq!(house.found(), house.all()[6..]);
}

#[test]
fn two_who_write_one_archive_never_write_a_row_twice() {
    let mut house = House::new();
    let mut mover = house.mover(MONTH);
    house.epoch();
    // Another process has the same pipeline, and has moved the same rows meanwhile: the one that was slower has moved nothing.
    let seen = house.shelf.manifest(PIPELINE).expect("no trouble");
    assert!(mover.turn(&house.ground).is_empty());
    let late = house.shelf.replace(&Manifest { pipeline: PIPELINE.to_owned(), ..Manifest::default() }, &seen);
    assert!(matches!(late, Err(ArchiveError::Replaced { .. })), "{late:?}");
    assert_eq!(house.found(), house.all());
}

#[test]
fn a_place_of_another_data_folder_is_left_alone() {
    let mut house = House::new();
    house.epoch();
    assert!(house.mover(MONTH).turn(&house.ground).is_empty());
    let mut other = House::new();
    other.shelf = house.shelf.clone();
    other.ground.rng = Arc::new(SeededRng::from_seed(8));
    other.ground.store = Arc::new(MemoryStore::new());
    other.begin("a life");
    other.epoch();
    let trouble = other.mover(MONTH).turn(&other.ground);
    assert!(matches!(trouble[..], [(_, MoveError::Foreign { .. })]), "{trouble:?}");
    assert_eq!(house.found(), house.all());
}

#[test]
fn columns_hold_what_rows_say() {
    let mut columns = Columns::default();
    let (step, fate, reason, source) = ("s", Fate::Dead, "r", "p:1");
    let row = rows::Row { step, fate, reason, source, offset: 5, time: 9, when: None, key: None };
    assert!(!columns.push("p", row));
    let batch = columns.take().expect("one value each").expect("a row");
    assert_eq!((batch.num_rows(), batch.schema()), (1, rows::schema()));
    assert!(columns.take().expect("nothing").is_none());
}
