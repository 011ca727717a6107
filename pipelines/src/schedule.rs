//! A pipeline with a schedule: its thread waits for the next due time, starts a run, and waits again, until it is stopped.
//!
//! A [`Timer`] wakes it when the wall clock has come there, also when the clock was set or the machine slept; what is due then it asks
//! itself. Runs of a pipeline never overlap, because there is one thread. Which due times are settled is the store's
//! (`engine/src/firing.rs`); what people ask of a schedule while it waits comes through [`Wishes`].

mod timer;
mod wishes;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metrics::counter;
use syncline_dsl::plan::Schedule;
use syncline_engine::{
    checkpoint,
    firing::{self, Firing, Next},
    runtime::start::StartOptions,
};
use syncline_record::{Micros, schedule::Calendar};

use crate::{
    api::{
        Activity,
        metrics::{RUNS_MISSED, RUNS_STARTED},
        status::read_failure,
    },
    outcome::{Failure, Outcome},
    task::{Failed, Task},
};

pub use timer::{Alarm, Timer};
pub use wishes::{Refused, Wishes};

/// What begins a run: a due time, or somebody's wish (`None`).
type Start = Option<Firing>;

impl Task<'_> {
    pub(crate) fn keep_time(&self, schedule: &Schedule) -> Outcome {
        let (name, ground) = (self.member.name(), &self.all.world.ground);
        let calendar = schedule.calendar().map_err(|why| {
            Failure::usage("file-wrong", format!("{name} is never due: {why:?}")).help("syncline check FILE says why")
        })?;
        firing::declare(&*ground.store, name, schedule, ground.clock.now()).map_err(read_failure)?;
        for figure in [RUNS_STARTED, RUNS_MISSED] {
            counter!(figure, "pipeline" => name.to_owned()).increment(0);
        }
        let wishes = self.all.host.wishes();
        let _seat = wishes.seat(name);
        // What was cut off comes before anything that is due.
        let mut start = firing::interrupted(&*ground.store, name).map_err(read_failure)?;
        let mut options = self.options.clone();
        let mut trouble: Option<String> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let begins = match start.take() {
                Some(begins) => Some(begins),
                None => self.wait(schedule, &calendar, wishes, trouble.as_deref())?,
            };
            let Some(firing) = begins else { break };
            options.firing = firing;
            let (began, failed) = wishes.while_running(name, || self.begin(&calendar, &options));
            trouble = match failed {
                Some(failed) if failed.for_good => return Err(*failed.failure),
                failed => failed.map(|failed| failed.reason),
            };
            // What the command line allowed is done with the first run that began.
            if began {
                options = StartOptions::default();
            }
        }
        self.all.host.over(name, Activity::Stopped, None);
        Ok(())
    }

    /// Waits for the next run; `None`: it was told to stop. `trouble`: why the last one failed.
    fn wait(
        &self,
        schedule: &Schedule,
        calendar: &Calendar,
        wishes: &Arc<Wishes>,
        trouble: Option<&str>,
    ) -> Result<Option<Start>, Failure> {
        let (name, ground) = (self.member.name(), &self.all.world.ground);
        let watched = ground.clock.now();
        let mut alarm: Option<(Micros, Alarm<'_>)> = None;
        loop {
            let told = wishes.told();
            if self.stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            if wishes.take(name) {
                tracing::info!(pipeline = name, "a run was asked for");
                return Ok(Some(None));
            }
            let now = ground.clock.now();
            let hold = firing::hold(&*ground.store, name).map_err(read_failure)?;
            let kept = firing::kept(&*ground.store, name).map_err(read_failure)?;
            let settled = kept.as_ref().map_or(now, |kept| firing::settled(kept, hold));
            let paused = hold.is_some_and(|hold| hold.paused);
            let next =
                if paused { Next::Wait(None) } else { firing::next(calendar, schedule.missed, settled, now, watched) };
            let until = match next {
                Next::Run(firing) => return Ok(Some(Some(firing))),
                Next::Settle { up_to, missed } => {
                    firing::settle(&*ground.store, name, up_to, missed).map_err(read_failure)?;
                    self.missed(calendar, up_to, missed);
                    continue;
                }
                Next::Wait(until) => until,
            };
            self.all.host.scheduled(name, until, trouble);
            // One that rang before its time, as the clock was set back, is set again.
            if !alarm.as_ref().is_some_and(|(at, alarm)| Some(*at) == until && !alarm.has_rung()) {
                alarm = until.map(|until| Ok((until, self.alarm(until.saturating_sub(now), wishes)?))).transpose()?;
            }
            wishes.sleep(told);
        }
    }

    fn alarm(&self, left: Micros, wishes: &Arc<Wishes>) -> Result<Alarm<'_>, Failure> {
        let wishes = wishes.clone();
        let left = Duration::from_micros(left.max(0) as u64);
        self.all.host.timer().set(left, move || wishes.tell()).map_err(|error| {
            Failure::environment("no-timer", format!("{} cannot wait for its next due time", self.member.name()))
                .seen(error.to_string())
        })
    }

    /// One run. Whether it began, and why it failed.
    fn begin(&self, calendar: &Calendar, options: &StartOptions) -> (bool, Option<Failed>) {
        let (name, ground) = (self.member.name(), &self.all.world.ground);
        let last = || {
            let run = checkpoint::last_run(&*ground.store, name).ok().flatten();
            run.map(|run| (run.run, run.attempt))
        };
        let before = last();
        self.all.host.scheduled(name, None, None);
        if let Some(Firing { due, missed }) = options.firing {
            let run_id = firing::run_id(name, due);
            tracing::info!(pipeline = name, due = calendar.shown(due), run_id, "due");
            self.missed(calendar, due, missed);
        }
        let again = firing::kept(&*ground.store, name).ok().flatten().and_then(|kept| kept.last_due);
        if options.firing.is_some_and(|firing| again != Some(firing.due)) {
            counter!(RUNS_STARTED, "pipeline" => name.to_owned()).increment(1);
        }
        let failed = self.go(options).err();
        if let Some(failed) = &failed {
            if let Some(firing) = options.firing
                && let Err(error) = firing::failed(&*ground.store, name, firing, ground.clock.now())
            {
                let failure = read_failure(error);
                return (
                    false,
                    Some(Failed { reason: failure.title.clone(), failure: Box::new(failure), for_good: true }),
                );
            }
            if !failed.for_good {
                let (slug, detail) = (&*failed.failure.slug, failed.failure.detail_line());
                let help = failed.failure.help_line();
                tracing::error!(
                    pipeline = name,
                    slug,
                    detail,
                    help,
                    "its run failed, and it waits for the next: {}",
                    failed.failure.title
                );
            }
        }
        (last() != before, failed)
    }

    fn missed(&self, calendar: &Calendar, up_to: Micros, missed: u64) {
        if missed > 0 {
            let name = self.member.name();
            counter!(RUNS_MISSED, "pipeline" => name.to_owned()).increment(missed);
            tracing::warn!(pipeline = name, missed, up_to = calendar.shown(up_to), "due times that get no run");
        }
    }
}
