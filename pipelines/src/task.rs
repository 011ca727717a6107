//! One pipeline of a running process: bound to its connectors, kept running by its own words, told about when it is over.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use syncline_connectors::Surroundings;
use syncline_dsl::plan::{Plan, RestartWhen, Schedule};
use syncline_engine::{
    checkpoint::{self, Checkpoint},
    firing,
    runtime::{
        restart::{Restart, When},
        start::{StartOptions, could_begin, could_read},
        supervisor::{self, Ending, Look, RunError, Stop, Terms},
    },
    sink::Delivery,
    witness::NoWitness,
};
use syncline_record::Fate;

use crate::{
    api::Activity,
    backfill,
    bind::{RealEdges, Secrets, bind},
    outcome::{Failure, Outcome},
    progress::Bar,
    project::Member,
    run_failure::{hanging, run_failure},
    secrets,
    supervision::Supervision,
    tell, witness,
    world::store_failure,
};

/// The pause before the first restart, when the pipeline does not name one.
const RESTART_DELAY: Duration = Duration::from_secs(1);

pub struct Task<'a> {
    pub all: &'a Supervision<'a>,
    pub member: Arc<Member>,
    pub stop: Arc<AtomicBool>,
    pub options: StartOptions,
}

/// Why a run did not come to its end.
pub struct Failed {
    pub failure: Box<Failure>,
    /// In one line, for whoever watches.
    pub reason: String,
    /// Nothing can start again in this process, or in this data folder.
    pub for_good: bool,
}

impl Task<'_> {
    /// Runs until it ends, is stopped, or is given up; with a schedule, until it is stopped.
    pub fn run(&self) -> Outcome {
        if let Some(schedule) = self.schedule() {
            return self.keep_time(schedule);
        }
        let name = self.member.name();
        if self.member.plan.schedule.is_none() {
            firing::forget(&*self.all.world.ground.store, name).map_err(store_failure)?;
        }
        match self.go(&self.options) {
            Ok(_) => Ok(()),
            Err(failed) => Err(*failed.failure),
        }
    }

    /// What it is started by, unless this process only takes what is there.
    fn schedule(&self) -> Option<&Schedule> {
        self.member.plan.schedule.as_ref().filter(|_| !self.all.once)
    }

    /// One run, with its restarts.
    pub(crate) fn go(&self, options: &StartOptions) -> Result<Ending, Failed> {
        let Self { all, member, .. } = self;
        let ground = &all.world.ground;
        if !all.hears(member, options.fresh, &self.stop) {
            all.host.over(member.name(), Activity::Stopped, None);
            return Ok(Ending::Stopped);
        }
        // What it was asked to take in may not fit any more, as its file was edited since: that keeps it from nothing else.
        let asked = backfill::plan(&*ground.store, member, options.fresh).unwrap_or_else(|failure| {
            let (slug, detail, help) = (&*failure.slug, failure.detail_line(), failure.help_line());
            tracing::error!(
                pipeline = member.name(),
                slug,
                detail,
                help,
                "it goes on without its backfill: {}",
                failure.title
            );
            None
        });
        let plan = asked.as_ref().unwrap_or(&member.plan);
        let scheduled = self.schedule().is_some();
        let once = all.once || scheduled;
        let folder = all.world.folder.path();
        let find = |path: &str| secrets::text(folder, path);
        let around = self.around();
        let edges = self.edges(&around, &find);
        let mut build = || {
            let bound = |plan: &Plan| bind(plan, &all.planner, &edges, witness::open(folder, &plan.pipeline));
            bound(plan).or_else(|error| match asked {
                None => Err(error.to_string()),
                Some(_) => {
                    let pipeline = member.name();
                    tracing::error!(pipeline, "{error}; it goes on without its backfill");
                    bound(&member.plan).map_err(|error| error.to_string())
                }
            })
        };
        let bounded = !plan.endless() || once;
        let mut bar = Bar::new(&plan.pipeline, bounded && all.bars);
        let mut watch = |look: &Look| {
            if look.pause.is_none() {
                all.streams.started(&plan.pipeline);
            }
            bar.show(look);
            all.host.look(&plan.pipeline, look);
        };
        let worker = all.world.folder.worker();
        // Who takes what is there and ends does not wait until others let him.
        let changelog = plan.options.changelog.as_ref().filter(|_| !all.once);
        let ownership = changelog.map(|place| all.groups.task(place, member.task, worker, &around, &find)).transpose();
        let stop = Stop { asked: self.stop.clone(), process: all.ending.clone() };
        let result = match ownership {
            Err(error) => Err(RunError::Build(error.to_string())),
            Ok(ownership) => {
                let words = |text: &str| secrets::hidden(text).into_owned();
                let (restart, follow) = (restart(plan, all.once, once), plan.options.standby);
                let terms = Terms { restart, words, ownership, follow, patient: !all.once };
                supervisor::run(ground, &mut build, options, &terms, &stop, &mut watch)
            }
        };
        let skipped = bar.finish();
        let (activity, reason) = match &result {
            Ok(Ending::Ended) => (Activity::Ended, None),
            Ok(Ending::Stopped | Ending::Left) => (Activity::Stopped, None),
            Err(error) => (Activity::Failed, Some(error.to_string())),
        };
        all.host.over(&plan.pipeline, activity, reason);
        let ending = result.map_err(|error| self.failed(error))?;
        self.sum_up(ending, skipped);
        match ending {
            // Whether that matters depends on what comes next: the end of the process, or another start in it.
            Ending::Left => {
                let reason = format!("{}: a call of a sink does not come back", member.name());
                Err(Failed { failure: Box::new(hanging(reason.clone())), reason, for_good: true })
            }
            Ending::Ended | Ending::Stopped => Ok(ending),
        }
    }

    fn around(&self) -> Surroundings {
        let (member, plan) = (&self.member, &self.member.plan);
        Surroundings {
            task: member.task,
            delivery: plan.options.delivery.as_deref().and_then(Delivery::of),
            ..Surroundings::of(member.file.folder(), self.all.world.folder.path(), &plan.pipeline)
        }
    }

    fn edges<'e>(&'e self, around: &Surroundings, find: &'e Secrets<'e>) -> RealEdges<'e> {
        let ground = &self.all.world.ground;
        let scheduled = self.schedule().is_some();
        RealEdges {
            around: around.clone(),
            secrets: find,
            log: ground.log.clone(),
            store: ground.store.clone(),
            once: self.all.once || scheduled,
            scheduled,
            streams: self.all.streams.clone(),
            stop: self.stop.clone(),
        }
    }

    /// Whether its inputs can be read from where a checkpoint says; they are opened, and nothing is taken.
    pub fn could_read(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let Self { all, member, .. } = self;
        let folder = all.world.folder.path();
        let find = |path: &str| secrets::text(folder, path);
        let edges = self.edges(&self.around(), &find);
        let bound = bind(&member.plan, &all.planner, &edges, Box::new(NoWitness));
        let mut spec = bound.map_err(|error| self.unfailed(RunError::Build(error.to_string())))?.job;
        let opened = could_read(&mut spec, checkpoint, all.world.ground.clock.now());
        opened.map_err(|error| self.unfailed(RunError::Start(error)))
    }

    /// Whether what stands beside the source in this plan can be read: it is opened, and nothing is taken.
    pub fn could_take_in(&self, plan: &Plan) -> Result<(), Failure> {
        let Self { all, .. } = self;
        let folder = all.world.folder.path();
        let find = |path: &str| secrets::text(folder, path);
        let edges = self.edges(&self.around(), &find);
        let bound = bind(plan, &all.planner, &edges, Box::new(NoWitness));
        let mut spec = bound.map_err(|error| self.unfailed(RunError::Build(error.to_string())))?.job;
        could_begin(&mut spec, all.world.ground.clock.now()).map_err(|error| self.unfailed(RunError::Start(error)))
    }

    fn unfailed(&self, error: RunError) -> Failure {
        run_failure(error, self.member.name(), &self.member.file.name())
    }

    fn failed(&self, error: RunError) -> Failed {
        // A store that failed to write answers nothing more.
        let for_good = error.needs_process() || self.all.world.ground.store.get(b"").is_err();
        let reason = error.to_string();
        let failure = self.unfailed(error);
        Failed { failure: Box::new(failure), reason, for_good }
    }

    /// One line: what went in, what became of it. `skipped`: bytes that were read before this process began.
    fn sum_up(&self, ending: Ending, skipped: u64) {
        let (name, store) = (self.member.name(), &*self.all.world.ground.store);
        let Ok(Some(run)) = checkpoint::last_run(store, name) else { return };
        let books = run.books(&checkpoint::delivered(store, name).unwrap_or_default());
        let rows = syncline_engine::graph::rows_in(&books);
        let mut fates = String::new();
        for fate in Fate::ALL.into_iter().filter(|fate| ![Fate::Passed, Fate::Absorbed].contains(fate)) {
            let count: u64 = books.steps.values().map(|page| page.fate(fate)).sum();
            if count > 0 {
                fates.push_str(&format!(" · {count} {}", fate.as_str()));
            }
        }
        let warned: u64 = run.warned.values().sum();
        if warned > 0 {
            fates.push_str(&format!(" · {warned} warned"));
        }
        let waiting: u64 = books.steps.values().map(|page| page.waiting).sum();
        if waiting > 0 {
            fates.push_str(&format!(" · {waiting} waiting"));
        }
        let how = match ending {
            Ending::Ended => "ended",
            Ending::Stopped | Ending::Left => "stopped",
        };
        let before = match (skipped, rows) {
            (0, _) => String::new(),
            (_, 0) => format!("; nothing new: {skipped} bytes were read by earlier runs (--fresh starts over)"),
            // Attempts of this run read them, or some of them, and its rows are counted in.
            _ if run.attempt > 1 => String::new(),
            _ => format!("; only what is new: {skipped} bytes were read by earlier runs (--fresh starts over)"),
        };
        let balanced = books.unbalanced().is_none();
        let balance = if balanced { "books balance" } else { "books do NOT balance" };
        let run = run.run;
        tell!(
            pipeline = name,
            run,
            rows,
            waiting,
            balanced,
            "{name}: {how} run {run} · {rows} rows in{fates} · {balance}{before}"
        );
    }
}

/// When this pipeline starts again. What never ends is kept running unless its file says otherwise; a batch is started by whoever
/// waits for its end, so its failure is told at once, and a run of a schedule is followed by the next. `once`: whatever its file says;
/// `ends`: it takes what is there.
fn restart(plan: &Plan, once: bool, ends: bool) -> Restart {
    let said = &plan.options.restart;
    let asked = said.delay.is_some() || said.most.is_some();
    let when = match said.when {
        _ if once => When::Never,
        Some(RestartWhen::Never) => When::Never,
        Some(RestartWhen::OnFailure) => When::OnFailure,
        Some(RestartWhen::Always) => When::Always,
        None if (plan.endless() && !ends) || asked => When::OnFailure,
        None => When::Never,
    };
    Restart { when, delay: said.delay.map_or(RESTART_DELAY, Duration::from_micros), most: said.most }
}
