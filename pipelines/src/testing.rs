//! `TEST … FOR …`: a pipeline run on rows from the file, on a virtual clock, with sinks that can be looked into.
//!
//! The graph, the job, the commits and the deliveries are those of a live run; only the source, the places where rows end, the
//! store and the log are in memory. A crash is a crash: what was not durable is gone, and the start sequence runs again.

mod compare;
mod input;
mod table;

use std::sync::{Arc, Mutex};

use syncline_dsl::plan::{ExpectationKind, Place, Plan, SourcePlan, TestInput, TestPlan};
use syncline_engine::{
    clock::{SeededRng, VirtualClock},
    ledger::{self, SinkFrame},
    log::{Log, memory::MemoryLog},
    operators::decode::Decode,
    runtime::{Ground, Turn, delivery::Delivery, job::Job, start::StartOptions},
    sink::{Sink, Stream},
    source::Source,
    store::memory::MemoryStore,
    witness::NoWitness,
};
use syncline_functions::Planner;
use syncline_record::{DeadLetter, Fate, Micros, StepId};

use crate::{
    bind::{BindError, Edges, SinkEdge, bind},
    sample::Records,
};

use input::RowsSource;
use table::{Table, TableSink};

/// The time of a test whose records have none: 2000-01-01T00:00:00Z.
const SOME_DAY: Micros = 946_684_800_000_000;

/// Turns without an end: a test that needs more has a pipeline that goes round in circles.
const MOST_TURNS: u64 = 10_000_000;

/// What a test came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What was not as expected; empty: the test passed.
    pub differences: Vec<Difference>,
    /// Dead letters that nobody expected, for whoever looks for the reason.
    pub dead: Vec<String>,
}

/// One expectation that did not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Bytes of the expectation in the file.
    pub span: (usize, usize),
    pub lines: Vec<String>,
}

/// Runs one test. `Err`: it could not be run at all.
pub fn run(test: &TestPlan, plan: &Plan, planner: &Planner, folder: &std::path::Path) -> Result<Verdict, String> {
    let mut plan = plan.clone();
    // Rows of a test have neither keys nor partitions.
    plan.each_intake(&mut |source| source.partitioned_by.clear());
    let mut rows: Given = vec![];
    let first = plan.source.place.text.clone();
    for (place, input) in
        std::iter::once((&first, &test.input)).chain(test.more.iter().map(|(place, rows)| (place, rows)))
    {
        rows.push((place.clone(), Arc::new(given(input, place, &mut plan, folder)?)));
    }
    let plan = &plan;
    let now = match test.clock_at {
        Some(at) => at,
        None => latest_time(plan, &rows)?.unwrap_or(SOME_DAY),
    };
    let every = test.checkpoint_every_rows.unwrap_or((rows[0].1.bytes.len() as u64 / 4).max(1));
    let edges = TestEdges { rows, every: every as usize, now, tables: Mutex::default() };
    let bench = Bench::new(now);
    bench.play(plan, planner, &edges, test.crash_at_checkpoint)?;
    let tables = edges.tables.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    judge(test, planner, &tables, &bench.ground, &plan.pipeline, folder)
}

/// The records of one place, which the plan then reads as what they are.
fn given(input: &TestInput, place: &str, plan: &mut Plan, folder: &std::path::Path) -> Result<Records, String> {
    let mut said = None;
    plan.each_intake(&mut |source| {
        if source.place.text == place {
            said = source.csv.clone();
        }
    });
    let (records, csv) = input::given(input, said.as_ref(), folder)?;
    plan.each_intake(&mut |source| {
        if source.place.text == place {
            source.csv = csv.clone();
        }
    });
    Ok(records)
}

/// The rows of a test, by the place that they come from.
type Given = Vec<(String, Arc<Records>)>;

fn rows_at(given: &Given, place: &str) -> Arc<Records> {
    given.iter().find(|(known, _)| known == place).map(|(_, rows)| rows.clone()).unwrap_or_default()
}

/// The latest event time of the inputs; `None` when their records have no time of their own.
fn latest_time(plan: &Plan, given: &Given) -> Result<Option<Micros>, String> {
    let mut latest = None;
    for source in plan.sources() {
        if source.event_time.is_none() {
            continue;
        }
        let rows = rows_at(given, &source.place.text);
        let wanted = crate::bind::wanted(source).map_err(|error| error.to_string())?;
        let delay = wanted.event_time.as_ref().map_or(0, |event| event.delay);
        let mut decode = Decode::new(wanted);
        let mut out = syncline_engine::operator::Output::new(StepId::new("source"), false);
        decode.push(input::origin(&rows, 0, rows.bytes.len(), Micros::MIN / 2), None, Micros::MAX / 2, &mut out);
        let times = decode.watermarks().values().map(|watermark| watermark.saturating_add(delay));
        latest = latest.max(times.max().filter(|time| *time > 0));
    }
    Ok(latest)
}

/// The sources and the sinks of a test.
struct TestEdges {
    rows: Given,
    every: usize,
    now: Micros,
    tables: Mutex<Vec<(StepId, Arc<Mutex<Table>>)>>,
}

impl Edges for TestEdges {
    fn source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError> {
        Ok(Box::new(RowsSource::new(rows_at(&self.rows, &plan.place.text), self.every, self.now)))
    }

    fn sink(&self, _: &str, _: &Place, edge: SinkEdge<'_>) -> Result<Sink, BindError> {
        let mut tables = self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // After a crash the pipeline is bound again; what its sinks hold is outside, and still there.
        let table = match tables.iter().find(|(step, _)| step == edge.step) {
            Some((_, table)) => table.clone(),
            None => {
                let table = Arc::new(Mutex::new(Table::new(&edge)));
                tables.push((edge.step.clone(), table.clone()));
                table
            }
        };
        Ok(Sink::Outbox(Box::new(TableSink::new(table, edge.write))))
    }
}

struct Bench {
    ground: Ground,
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
}

impl Bench {
    fn new(now: Micros) -> Self {
        let (store, log) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLog::new()));
        let ground = Ground {
            store: store.clone(),
            log: log.clone(),
            clock: Arc::new(VirtualClock::at(now)),
            rng: Arc::new(SeededRng::from_seed(1)),
        };
        Self { ground, store, log }
    }

    /// Runs the pipeline to its end, with a crash right after the first rows behind checkpoint `crash_at`.
    fn play(&self, plan: &Plan, planner: &Planner, edges: &TestEdges, crash_at: Option<u64>) -> Result<(), String> {
        let mut crash_at = crash_at;
        let mut committed = 0;
        loop {
            let (mut job, mut deliveries) = self.start(plan, planner, edges)?;
            let mut crashed = false;
            for _ in 0..MOST_TURNS {
                let turn = job.turn().map_err(|error| error.to_string())?;
                if crash_at.is_some_and(|at| committed >= at) {
                    crash_at = None;
                    crashed = true;
                    break;
                }
                if turn == Turn::Ended {
                    break;
                }
                job.commit(false).map_err(|error| error.to_string())?;
                committed += 1;
                for delivery in &mut deliveries {
                    delivery.turn().map_err(|error| error.to_string())?;
                }
            }
            if crashed {
                drop((job, deliveries));
                self.store.crash(0);
                self.log.crash(0);
                continue;
            }
            if let Some(at) = crash_at {
                return Err(format!("checkpoint {at} was never reached: the input has {committed}"));
            }
            return self.drain(&mut deliveries);
        }
    }

    fn start(&self, plan: &Plan, planner: &Planner, edges: &TestEdges) -> Result<(Job, Vec<Delivery>), String> {
        let pipeline = bind(plan, planner, edges, Box::new(NoWitness)).map_err(|error| error.to_string())?;
        let mut spec = pipeline.job;
        // Checkpoints come by rows, not by time.
        spec.checkpoint_every = std::time::Duration::MAX;
        let job = Job::start(self.ground.clone(), spec, &StartOptions::default()).map_err(|error| error.to_string())?;
        let outboxes = job.outboxes();
        let deliveries = pipeline.sinks.into_iter().filter_map(|(step, sink)| {
            let (_, topic) = outboxes.iter().find(|(id, _)| *id == step)?;
            let stream = Stream {
                pipeline: plan.pipeline.clone(),
                step,
                part: 0,
                log_id: job.checkpoint().log_id.clone(),
                fence: job.checkpoint().fence,
            };
            Some(Delivery::new(self.ground.clone(), stream, topic.clone(), sink, false))
        });
        let deliveries = deliveries.collect();
        Ok((job, deliveries))
    }

    fn drain(&self, deliveries: &mut [Delivery]) -> Result<(), String> {
        for delivery in deliveries {
            while delivery.turn().map_err(|error| error.to_string())? == Turn::Worked {}
        }
        Ok(())
    }
}

fn judge(
    test: &TestPlan,
    planner: &Planner,
    tables: &[(StepId, Arc<Mutex<Table>>)],
    ground: &Ground,
    pipeline: &str,
    folder: &std::path::Path,
) -> Result<Verdict, String> {
    let told = Told::read(&*ground.log, pipeline, tables)?;
    let mut verdict = Verdict::default();
    for expectation in &test.expectations {
        let table = |step: &str| {
            let found = tables.iter().find(|(id, _)| id.as_str() == step);
            found.map(|(_, table)| table.clone()).ok_or_else(|| format!("there is no sink {step}"))
        };
        let lines = match &expectation.kind {
            ExpectationKind::Rows { step, rows } => {
                let table = table(step)?;
                let table = table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                compare::rows(&table, rows, planner)?
            }
            ExpectationKind::File { step, path } => {
                let table = table(step)?;
                let table = table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                compare::file(&table, path, folder)?
            }
            ExpectationKind::Dropped { count, because } => told.dropped(*count, because),
            ExpectationKind::DeadLetters { count } => match told.dead.len() as u64 {
                found if found == *count => vec![],
                found => vec![format!("expected {count} dead letters, found {found}")],
            },
        };
        if !lines.is_empty() {
            verdict.differences.push(Difference { span: expectation.span, lines });
        }
    }
    if !verdict.differences.is_empty() {
        verdict.dead = told.dead.iter().map(|letter| format!("{}: {}", letter.step, letter.reason.detail)).collect();
    }
    Ok(verdict)
}

/// What ledger and dead letters say.
#[derive(Default)]
struct Told {
    /// Fate, reason and rows.
    drops: Vec<(Fate, String, u64)>,
    dead: Vec<DeadLetter>,
}

impl Told {
    fn read(log: &dyn Log, pipeline: &str, tables: &[(StepId, Arc<Mutex<Table>>)]) -> Result<Told, String> {
        let mut told = Told::default();
        each_frame(log, &ledger::ledger_topic(pipeline), |body| {
            for entry in ledger::decode(body).map_err(|error| error.to_string())?.entries {
                told.drops.push((entry.fate, entry.reason.to_string(), entry.offsets.len() as u64));
            }
            Ok(())
        })?;
        each_frame(log, &ledger::dead_topic(pipeline), |body| {
            told.dead.push(serde_json::from_slice(body).map_err(|error| error.to_string())?);
            Ok(())
        })?;
        for (step, _) in tables {
            let mut frames: Vec<SinkFrame> = vec![];
            each_frame(log, &ledger::sink_topic(pipeline, step), |body| {
                frames.push(serde_json::from_slice(body).map_err(|error| error.to_string())?);
                Ok(())
            })?;
            let frame = ledger::settle(frames);
            told.drops.push((Fate::Stale, "stale".into(), frame.stale.len() as u64));
            for (_, letter) in frame.dead {
                told.drops.push((Fate::Dead, letter.reason.slug.clone(), 1));
                told.dead.push(letter);
            }
        }
        Ok(told)
    }

    /// `because` is a fate, or the reason of a fate (the name of an `EXPECT`, the slug of a dead letter).
    fn dropped(&self, count: u64, because: &str) -> Vec<String> {
        let because_of = |fate: Fate, reason: &str| match Fate::parse(because) {
            Some(asked) => fate == asked,
            None => reason == because,
        };
        let found: u64 =
            self.drops.iter().filter(|(fate, reason, _)| because_of(*fate, reason)).map(|(.., rows)| rows).sum();
        if found == count {
            return vec![];
        }
        vec![format!("expected {count} dropped because '{because}', found {found}")]
    }
}

fn each_frame(log: &dyn Log, topic: &str, mut each: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let mut next = 0;
    loop {
        let frames = log.read(topic, next, 1 << 20).map_err(|error| error.to_string())?;
        let Some(last) = frames.last() else { return Ok(()) };
        next = last.next();
        for frame in &frames {
            each(&frame.body)?;
        }
    }
}
