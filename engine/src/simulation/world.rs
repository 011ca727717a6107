//! Everything that outlives a simulated process, and the ways in which it can go wrong.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use syncline_record::StepId;

use super::{
    breakage::Breakage,
    database::{Connection, Database, Manner},
    dice::Dice,
    disk::Disk,
    further::{Drawn, KEEPERS},
    input::{Input, MIDNIGHT, Reader, SECOND, records},
    lock,
    outlet::{Lines, Outlet, Pipe},
    pipeline::{self, NAME, OUTBOXES, WITHIN},
    trap::Strike,
};
use crate::{
    checkpoint::{self, ReadError},
    clock::{SeededRng, VirtualClock},
    fingerprints::Fingerprints,
    graph::Work,
    log::{CommitError, Event, Log, LogError, memory::CommitFault, memory::MemoryLog},
    runtime::{
        Ground,
        delivery::Delivery,
        job::{Backlog, Job, JobError, JobSpec},
    },
    sink::{OutboxSink, Stream},
    store::{StateStore, StoreError, memory::MemoryStore},
    witness::{Window, Witness},
};

/// Where a simulated process can die, beside the moments between two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Store,
    Log,
    Disk,
    Orders,
    Groups,
    People,
}

impl Part {
    const ALL: [Self; 6] = [Self::Store, Self::Log, Self::Disk, Self::Orders, Self::Groups, Self::People];
}

pub struct World {
    pub store: Arc<MemoryStore>,
    pub log: Arc<MemoryLog>,
    pub clock: Arc<VirtualClock>,
    pub input: Arc<Mutex<Input>>,
    pub disk: Arc<Mutex<Disk>>,
    pub orders: Arc<Mutex<Database>>,
    pub groups: Arc<Mutex<Database>>,
    pub people: Arc<Mutex<Outlet>>,
    /// The sinks of the steps that are drawn.
    pub outlets: BTreeMap<&'static str, Arc<Mutex<Outlet>>>,
    /// Steps beside those of every pipeline.
    pub drawn: Drawn,
    /// Ends of the input that were committed.
    ends: Mutex<Vec<End>>,
    /// The window that a process entered last.
    pub window: Arc<Mutex<Option<Window>>>,
    /// Version of the pipeline's file.
    pub plan: u64,
    /// `ledger = 'all'`
    pub keep_passed: bool,
    dice: Dice,
    rng: Arc<SeededRng>,
    breakage: Option<Breakage>,
}

struct End {
    /// Which beginning it belongs to.
    log_id: String,
    epoch: u64,
    /// Records that had been read.
    read: usize,
}

impl World {
    pub fn new(seed: u64, count: usize, breakage: Option<Breakage>) -> Self {
        let dice = Dice::new(seed, "world");
        let records = records(&Dice::new(seed, "input"), count, WITHIN);
        let disk = Disk::new(breakage == Some(Breakage::LateStaged));
        Self {
            store: Arc::new(MemoryStore::new()),
            log: Arc::new(MemoryLog::new()),
            clock: Arc::new(VirtualClock::at(MIDNIGHT + 2 * 3600 * SECOND)),
            input: Arc::new(Mutex::new(Input { records, arrived: 0, closed: false })),
            disk: Arc::new(Mutex::new(disk)),
            orders: Arc::default(),
            groups: Arc::default(),
            people: Arc::default(),
            outlets: BTreeMap::new(),
            drawn: Drawn::default(),
            ends: Mutex::default(),
            window: Arc::default(),
            plan: 1,
            keep_passed: dice.chance(30),
            rng: Arc::new(SeededRng::from_seed(dice.seed())),
            dice,
            breakage,
        }
    }

    /// With steps beside those of every pipeline.
    pub fn with(mut self, drawn: Drawn) -> Self {
        self.drawn = drawn;
        self.outlets = drawn.outboxes().map(|step| (step, Arc::default())).collect();
        self
    }

    /// The steps that end in a sink behind an outbox.
    pub fn outboxes(&self) -> Vec<&'static str> {
        OUTBOXES.into_iter().chain(self.drawn.outboxes()).collect()
    }

    /// Notes whether the last epoch that is there was an end of the input. Asked before each start, which goes on from it.
    pub fn note_end(&self) -> Result<(), ReadError> {
        let checkpoint = checkpoint::read_checkpoint(&*self.store, NAME)?.unwrap_or_default();
        let mut ends = lock(&self.ends);
        // An epoch that was not durable yet may be gone again, and all of them when the pipeline was started over.
        ends.retain(|end| end.log_id == checkpoint.log_id && end.epoch <= checkpoint.epoch);
        if checkpoint.ended {
            let read = checkpoint.cursors.values().filter_map(serde_json::Value::as_u64).sum::<u64>();
            ends.push(End { log_id: checkpoint.log_id, epoch: checkpoint.epoch, read: read as usize });
        }
        Ok(())
    }

    /// Numbers of records that had been read at an end.
    pub fn ends(&self) -> Vec<usize> {
        lock(&self.ends).iter().map(|end| end.read).collect()
    }

    /// What a process finds when it starts.
    pub fn ground(&self) -> Ground {
        let (mut store, mut log): (Arc<dyn StateStore>, Arc<dyn Log>) = (self.store.clone(), self.log.clone());
        if let Some(breakage) = self.breakage {
            (store, log) = (breakage.store(store), breakage.log(log));
        }
        Ground { store, log, clock: self.clock.clone(), rng: self.rng.clone() }
    }

    pub fn spec(&self) -> JobSpec {
        let source = Box::new(Reader::new(self.input.clone(), Dice::new(self.dice.seed(), "polls")));
        let mut graph = pipeline::graph(&self.disk, source, self.drawn);
        for node in &mut graph.nodes {
            node.work = match (std::mem::replace(&mut node.work, Work::Fan), self.breakage) {
                (Work::Staged { present, sink }, Some(breakage)) => {
                    Work::Staged { present, sink: breakage.staged(sink) }
                }
                (Work::Operator(operator), Some(breakage)) if KEEPERS.contains(&node.id.as_str()) => {
                    Work::Operator(breakage.operator(operator))
                }
                (work, _) => work,
            };
        }
        JobSpec {
            pipeline: NAME.into(),
            plan: format!("plan {}", self.plan),
            checkpoint_every: Duration::from_millis(200),
            keep_passed: self.keep_passed,
            idle_after: crate::runtime::frontier::IDLE,
            backlog: Backlog::default(),
            fingerprints: Fingerprints::default(),
            graph,
            witness: Box::new(Memory(self.window.clone())),
        }
    }

    /// The tasks of the outbox sinks behind a job.
    pub fn deliveries(&self, ground: &Ground, job: &Job) -> Vec<Delivery> {
        let task = |(step, topic): (StepId, String)| {
            let sink = self.sink(step.as_str());
            let stream = Stream {
                pipeline: NAME.into(),
                step,
                part: 0,
                log_id: job.checkpoint().log_id.clone(),
                fence: job.checkpoint().fence,
            };
            Delivery::new(ground.clone(), stream, topic, sink, job.checkpoint().over)
        };
        job.outboxes().into_iter().map(task).collect()
    }

    pub fn sink(&self, step: &str) -> Box<dyn OutboxSink> {
        match step {
            "orders" => Box::new(Connection::new(self.orders.clone(), Manner::Upsert)),
            "groups" => Box::new(Connection::new(self.groups.clone(), Manner::Replace)),
            drawn if self.outlets.contains_key(drawn) => {
                Box::new(Pipe { outlet: self.outlets[drawn].clone(), lines: Lines::Columns })
            }
            _ => {
                let pipe = Pipe { outlet: self.people.clone(), lines: Lines::Orders };
                let pipe: Box<dyn OutboxSink> = Box::new(pipe);
                match self.breakage {
                    Some(breakage) => breakage.plain(pipe),
                    None => pipe,
                }
            }
        }
    }

    /// Arms the death of the process at some call of some part.
    pub fn arm_crash(&self) -> String {
        let part = Part::ALL[self.dice.below(Part::ALL.len() as u64) as usize];
        let calls = self.dice.below(if matches!(part, Part::Store | Part::Log) { 40 } else { 6 });
        let strike = [Strike::Before, Strike::Halfway, Strike::After][self.dice.below(3) as usize];
        self.arm(part, calls, strike);
        format!("dies after {calls} calls of {part:?}, {strike:?}")
    }

    /// Arms a failure that the process lives through.
    pub fn arm_fault(&self) -> String {
        let part = Part::ALL[self.dice.below(Part::ALL.len() as u64) as usize];
        let calls = self.dice.below(if matches!(part, Part::Store | Part::Log) { 40 } else { 6 });
        let strike = match part {
            Part::Store | Part::Log | Part::Disk => Strike::Full,
            _ => [Strike::Refused, Strike::Unheard][self.dice.below(2) as usize],
        };
        self.arm(part, calls, strike);
        format!("fails after {calls} calls of {part:?}, {strike:?}")
    }

    fn arm(&self, part: Part, calls: u64, strike: Strike) {
        let full = strike == Strike::Full;
        match part {
            Part::Store => {
                let full_disk = StoreError::Full { operation: "write", folder: "simulated".into() };
                self.store.fail_after(calls, if full { full_disk } else { StoreError::Crashed });
            }
            Part::Log => {
                let full_disk = LogError::Full { operation: "write", path: "simulated".into() };
                self.log.fail_after(calls, if full { full_disk } else { LogError::Crashed });
            }
            Part::Disk => lock(&self.disk).trap.arm(calls, strike),
            Part::Orders => lock(&self.orders).trap.arm(calls, strike),
            Part::Groups => lock(&self.groups).trap.arm(calls, strike),
            Part::People => lock(&self.people).trap.arm(calls, strike),
        }
    }

    /// Something that a broker would do.
    pub fn disturb(&self) -> String {
        let partition = syncline_record::Partition::new("in/orders", 0);
        let choice = self.dice.below(6);
        match choice {
            0 => self.log.answer_commit(CommitFault::UnknownDone),
            1 => self.log.answer_commit(CommitFault::UnknownLost),
            2 => self.log.answer_commit(CommitFault::Fenced { by: "another".into() }),
            3 => self.log.tell(Event::Revoked(partition)),
            4 => self.log.tell(Event::Lost(partition)),
            _ => {
                self.log.tell(Event::Revoked(partition.clone()));
                self.log.tell(Event::Lost(partition));
            }
        }
        ["unknown, done", "unknown, lost", "fenced", "revoked", "lost", "revoked and lost"][choice as usize].into()
    }

    /// Where the process died, if it did.
    pub fn died(&self) -> Option<String> {
        if self.store.get(b"") == Err(StoreError::Crashed) {
            return Some("store".into());
        }
        if self.log.end("") == Err(LogError::Crashed) {
            return Some("log".into());
        }
        let database = |database: &Arc<Mutex<Database>>| lock(database).trap.sprung.map(str::to_owned);
        let disk = lock(&self.disk).trap.sprung.map(|call| format!("disk {call}"));
        let people = || lock(&self.people).trap.sprung.map(|call| format!("plain {call}"));
        disk.or_else(|| {
            database(&self.orders).or_else(|| database(&self.groups)).map(|call| format!("database {call}"))
        })
        .or_else(people)
    }

    /// The process is gone, and with it everything that was not durable.
    pub fn crash(&self) {
        self.store.crash(self.dice.seed());
        self.log.crash(self.dice.seed());
        lock(&self.disk).crash(&self.dice);
        lock(&self.orders).crash();
        lock(&self.groups).crash();
        lock(&self.people).trap.reset();
    }

    /// No new trouble from here on.
    pub fn heal(&self) {
        self.store.fail_after(u64::MAX, StoreError::Crashed);
        self.log.fail_after(u64::MAX, LogError::Crashed);
        lock(&self.disk).trap.reset();
        lock(&self.orders).trap.reset();
        lock(&self.groups).trap.reset();
        lock(&self.people).trap.reset();
    }

    /// No sink may hold what is not committed.
    pub fn sinks_ahead(&self, job: &Job) -> Option<String> {
        let log_id = &job.checkpoint().log_id;
        let held =
            BTreeMap::from([("orders", lock(&self.orders).next(log_id)), ("groups", lock(&self.groups).next(log_id))]);
        self.outboxes().iter().find_map(|step| {
            let topic = crate::ledger::outbox_topic(NAME, &StepId::new(step));
            let end = job.checkpoint().ends.get(&topic).map_or(0, |end| end.offset);
            let next = held.get(step).copied().unwrap_or(0);
            (next > end).then(|| format!("{step} holds {next} rows, of which {end} are committed"))
        })
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

/// What a job's error asks for, as the supervisor decides it.
pub fn starts_again(error: &JobError) -> bool {
    matches!(error, JobError::Lost { .. } | JobError::Commit(CommitError::Unknown { .. }))
}

/// The witness's file.
struct Memory(Arc<Mutex<Option<Window>>>);

impl Witness for Memory {
    fn enter(&mut self, window: Window) {
        *lock(&self.0) = Some(window);
    }

    fn last(&self) -> Option<Window> {
        *lock(&self.0)
    }
}
