//! What wakes pipelines that wait for their due times: tokio-cron-scheduler, one for the process, begun with the first that waits.
//!
//! It looks at the wall clock twice a second, so an alarm comes half a second late at most, also when the clock was set or the machine
//! slept. Which times are due is not its business: croner says so (`engine/record/src/schedule`), because the scheduler's own times are an
//! hour off after a change of the clocks, and the store knows which of them are settled. Whoever is woken asks those.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::OnceCell};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use uuid::Uuid;

/// Alarms that may ring at one moment, before the scheduler loses some.
const AT_ONCE: usize = 10_000;

pub struct Timer {
    handle: Handle,
    scheduler: OnceCell<JobScheduler>,
}

/// Rings once, unless it is let go before.
pub struct Alarm<'a> {
    timer: &'a Timer,
    job: Uuid,
    rung: Arc<AtomicBool>,
}

impl Alarm<'_> {
    pub fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }
}

impl Timer {
    /// A timer that works on these threads.
    pub fn on(handle: Handle) -> Self {
        Self { handle, scheduler: OnceCell::new() }
    }

    /// Does `ring` in so long. Not for threads of the runtime itself.
    pub fn set<'a>(
        &'a self,
        left: Duration,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Alarm<'a>, JobSchedulerError> {
        // The scheduler counts in whole seconds of the clock, and leaves off what is more of either.
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let rung = Arc::new(AtomicBool::new(false));
        let rings = rung.clone();
        let job = self.handle.block_on(async {
            let scheduler = self.scheduler.get_or_try_init(begun).await?;
            let job = Job::new_one_shot_async(left, move |_, _| {
                rings.store(true, Ordering::SeqCst);
                ring();
                Box::pin(std::future::ready(()))
            });
            scheduler.add(job?).await
        })?;
        Ok(Alarm { timer: self, job, rung })
    }
}

async fn begun() -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new_with_channel_size(AT_ONCE).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let Some(scheduler) = self.timer.scheduler.get().cloned() else { return };
        let job = self.job;
        // One that has rung is gone already.
        self.timer.handle.spawn(async move { scheduler.remove(&job).await });
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    #[test]
    fn an_alarm_rings_once_in_its_time_and_not_when_it_was_let_go() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let timer = Timer::on(runtime.handle().clone());
        let (rung, rings) = mpsc::channel();
        let alarm = |name: &'static str, left| {
            let rung = rung.clone();
            let ring = move || _ = rung.send((name, Instant::now()));
            timer.set(Duration::from_millis(left), ring).unwrap()
        };
        let began = Instant::now();
        let one = alarm("first", 1_000);
        let _second = alarm("second", 2_000);
        drop(alarm("gone", 1_000));
        let told = || rings.recv_timeout(Duration::from_secs(20)).unwrap();
        let (first, second) = (told(), told());
        assert_eq!((first.0, second.0, one.has_rung()), ("first", "second", true));
        // Counted in whole seconds of the clock, one that is set in the middle of a second may ring within the second before.
        assert!(second.1 - began >= Duration::from_secs(1), "{:?}", second.1 - began);
        assert!(rings.recv_timeout(Duration::from_secs(2)).is_err());
    }
}
