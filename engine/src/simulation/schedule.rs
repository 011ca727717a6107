//! The schedule of one simulation: who gets the next turn, and what goes wrong.

use std::time::Duration;

use syncline_record::keys::content_hash;

use super::{
    Breakage, Failure, Outcome,
    dice::Dice,
    further::Drawn,
    lock, oracle,
    pipeline::NAME,
    world::{World, starts_again},
};
use crate::{
    checkpoint::RunState,
    runtime::{Turn, commit::close_run, delivery::Delivery, job::Job, start::StartOptions},
};

/// Steps of the troubled part of a simulation: some tens of epochs.
const STEPS: u64 = 260;

/// Steps in which a healed world must come to its end: many times what the longest needs.
const HEALED_STEPS: u64 = 4000;

/// Steps that a failure shows.
const TAIL: usize = 40;

/// Runs one seed.
pub fn simulate(seed: u64, breakage: Option<Breakage>, echo: bool) -> Result<Outcome, Failure> {
    let dice = Dice::new(seed, "schedule");
    let world = World::new(seed, 60 + dice.below(120) as usize, breakage).with(Drawn::of(seed));
    let mut simulation = Simulation {
        world,
        dice,
        process: None,
        trace: Trace { echo, ..Trace::default() },
        outcome: Outcome::default(),
        fresh: false,
        first_run: 1,
    };
    let result = simulation.run();
    let Simulation { trace, mut outcome, .. } = simulation;
    outcome.trace = trace.hash;
    result.map(|()| outcome).map_err(|what| Failure { seed, what, tail: trace.tail })
}

#[derive(Default)]
struct Trace {
    hash: u128,
    tail: Vec<String>,
    echo: bool,
}

impl Trace {
    fn note(&mut self, line: String) {
        if self.echo {
            println!("{line}");
        }
        self.hash = content_hash(&[&self.hash.to_le_bytes(), line.as_bytes()].concat());
        if self.tail.len() >= TAIL {
            self.tail.remove(0);
        }
        self.tail.push(line);
    }
}

/// What lives in memory only.
struct Process {
    job: Job,
    deliveries: Vec<Delivery>,
    ended: bool,
}

/// What an error means for the process.
enum End {
    Died,
    /// Everything in memory is dropped and started again.
    Again,
    /// It ended with an error, in good order.
    Failed(String),
}

struct Simulation {
    world: World,
    dice: Dice,
    process: Option<Process>,
    trace: Trace,
    outcome: Outcome,
    /// Somebody asked to start over.
    fresh: bool,
    /// The first run since the last start over.
    first_run: u64,
}

impl Simulation {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.world.heal();
        let all = lock(&self.world.input).records.len();
        lock(&self.world.input).arrived = all;
        self.trace.note("healed".into());
        if self.process.as_ref().is_some_and(|process| process.ended) {
            self.close(RunState::Stopped, None)?;
        }
        for _ in 0..HEALED_STEPS {
            if self.drained()? {
                self.world.note_end().map_err(|error| error.to_string())?;
                return oracle::judge(&self.world, self.first_run, &mut self.outcome);
            }
        }
        Err("a healed world does not come to its end".into())
    }

    fn step(&mut self) -> Result<(), String> {
        if self.process.is_none() {
            return self.start();
        }
        if self.process.as_ref().is_some_and(|process| process.ended) && self.dice.chance(20) {
            return self.stop();
        }
        match self.dice.below(100) {
            0..38 => self.turn_job(),
            38..62 => self.turn_delivery(),
            62..72 => {
                self.arrive();
                Ok(())
            }
            72..84 => {
                self.advance();
                Ok(())
            }
            84..87 => self.commit(),
            87..92 => {
                let line = self.world.arm_crash();
                self.trace.note(line);
                Ok(())
            }
            92..95 => {
                let line = self.world.arm_fault();
                self.trace.note(line);
                Ok(())
            }
            95 => {
                let line = self.world.disturb();
                self.trace.note(line);
                Ok(())
            }
            96 => self.stop(),
            97 => {
                self.die("pulled", "power");
                Ok(())
            }
            98 => {
                lock(&self.world.input).closed = true;
                Ok(())
            }
            _ => {
                self.edit();
                Ok(())
            }
        }
    }

    /// One round of a healed world; true when all is done.
    fn drained(&mut self) -> Result<bool, String> {
        self.world.advance(Duration::from_millis(100));
        let Some(process) = &self.process else {
            lock(&self.world.input).closed = true;
            self.start()?;
            return Ok(false);
        };
        lock(&self.world.input).closed = true;
        if !process.ended {
            self.turn_job()?;
            return Ok(false);
        }
        for index in 0..process.deliveries.len() {
            self.turn(index)?;
        }
        let Some(process) = &self.process else { return Ok(false) };
        let drained = process.deliveries.iter().all(|delivery| delivery.drained().unwrap_or(false));
        if drained {
            self.close(RunState::Ended, None)?;
        }
        Ok(drained)
    }

    fn start(&mut self) -> Result<(), String> {
        if let Err(error) = self.world.note_end() {
            return self.end("start", &error.to_string(), false);
        }
        let ground = self.world.ground();
        let options = StartOptions { fresh: self.fresh, ..StartOptions::default() };
        match Job::start(ground.clone(), self.world.spec(), &options) {
            Ok(job) => {
                self.fresh = false;
                let line = format!("start: run {} attempt {} epoch {}", job.run().run, job.run().attempt, job.epoch());
                if job.epoch() == 0 {
                    self.first_run = job.run().run;
                }
                let deliveries = self.world.deliveries(&ground, &job);
                self.process = Some(Process { job, deliveries, ended: false });
                self.trace.note(line);
                Ok(())
            }
            Err(error) => self.end("start", &error.to_string(), false),
        }
    }

    fn turn_job(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.job.turn() {
            Ok(turn) => {
                process.ended = turn == Turn::Ended;
                let line = format!("job: {turn:?}, epoch {}", process.job.epoch());
                self.trace.note(line);
                Ok(())
            }
            Err(error) => self.end("job", &error.to_string(), starts_again(&error)),
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.job.commit(false) {
            Ok(()) => {
                let line = format!("commit: epoch {}", process.job.epoch());
                self.trace.note(line);
                Ok(())
            }
            Err(error) => self.end("job", &error.to_string(), starts_again(&error)),
        }
    }

    fn turn_delivery(&mut self) -> Result<(), String> {
        let tasks = self.process.as_ref().map_or(0, |process| process.deliveries.len());
        self.turn(self.dice.below(tasks as u64) as usize)
    }

    fn turn(&mut self, index: usize) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let delivery = &mut process.deliveries[index];
        let step = delivery.step().to_string();
        let turned = delivery.turn();
        if let Some(what) = self.world.sinks_ahead(&process.job) {
            return Err(what);
        }
        match turned {
            Ok(turn) => {
                let trouble = delivery.trouble().map(|trouble| trouble.detail.clone());
                self.trace.note(format!("{step}: {turn:?} {}", trouble.unwrap_or_default()));
                Ok(())
            }
            Err(error) => self.end("delivery", &error.to_string(), false),
        }
    }

    fn arrive(&mut self) {
        let more = self.dice.below(12) as usize;
        let mut input = lock(&self.world.input);
        input.arrived = (input.arrived + more).min(input.records.len());
        drop(input);
        self.trace.note(format!("{more} records arrive"));
    }

    fn advance(&mut self) {
        let by = if self.dice.chance(10) { self.dice.below(40_000) } else { self.dice.below(250) };
        self.world.advance(Duration::from_millis(by));
        self.trace.note(format!("{by} ms pass"));
    }

    /// Stops in good order, as on SIGTERM: the epoch is closed, sinks get some turns, the run is over.
    fn stop(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        self.trace.note("stop".into());
        let ended = process.ended;
        if !ended && let Err(error) = process.job.finish(false) {
            return self.end("job", &error.to_string(), starts_again(&error));
        }
        for _ in 0..self.dice.below(8) {
            self.turn_delivery()?;
            if self.process.is_none() {
                return Ok(());
            }
        }
        let drained = self
            .process
            .iter()
            .flat_map(|process| &process.deliveries)
            .all(|delivery| delivery.drained().unwrap_or(false));
        self.close(if ended && drained { RunState::Ended } else { RunState::Stopped }, None)
    }

    /// The pipeline's file changes, or somebody wants to start over.
    fn edit(&mut self) {
        if self.dice.chance(30) {
            self.fresh = true;
            self.trace.note("the next start starts over".into());
        } else {
            self.world.plan += 1;
            self.trace.note(format!("the file is edited: plan {}", self.world.plan));
        }
        if self.dice.chance(50) {
            self.die("pulled", "power");
        }
    }

    /// The process ends by itself; what it writes last may fail as well.
    fn close(&mut self, state: RunState, reason: Option<String>) -> Result<(), String> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let run = process.job.run().run;
        drop(process);
        lock(&self.world.input).closed = false;
        self.trace.note(format!("run {run}: {state:?}"));
        let closed = close_run(&self.world.ground(), NAME, run, state, reason, 0);
        if closed.is_err() && self.world.died().is_some() {
            self.die("close", "store");
        }
        Ok(())
    }

    /// Decides what an error means, and carries it out.
    fn end(&mut self, task: &str, error: &str, again: bool) -> Result<(), String> {
        self.trace.note(format!("{task}: {error}"));
        let end = match self.world.died() {
            Some(part) => {
                self.die(task, &part);
                return Ok(());
            }
            None if error.contains("taken over (") => End::Died,
            None if again => End::Again,
            None if error.contains("no space left") => End::Failed(error.into()),
            None => return Err(format!("{task}: {error}")),
        };
        match end {
            End::Died => self.die(task, "fence"),
            End::Again => self.process = None,
            End::Failed(reason) => {
                self.close(RunState::Failed, Some(reason))?;
                if self.dice.chance(40) {
                    self.die(task, "power");
                }
            }
        }
        Ok(())
    }

    fn die(&mut self, task: &str, part: &str) {
        if self.process.is_some()
            && let Some(window) = *lock(&self.world.window)
        {
            *self.outcome.windows.entry(window).or_default() += 1;
        }
        *self.outcome.places.entry(format!("{task}: {part}")).or_default() += 1;
        self.process = None;
        lock(&self.world.input).closed = false;
        self.world.crash();
        self.trace.note(format!("{task} dies: {part}"));
    }
}
