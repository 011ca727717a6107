//! What people ask of the schedules of this process while they wait.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Nobody waits for longer without a look around, should an alarm be lost or the clock be set back.
const LONGEST: Duration = Duration::from_secs(60);

/// How it stands with a pipeline whose thread keeps time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seat {
    running: bool,
    /// Somebody wants a run now.
    wanted: bool,
}

#[derive(Debug, Default)]
struct Seats {
    by_name: BTreeMap<String, Seat>,
    /// How often something was said.
    told: u64,
}

/// The pipelines of this process that have a schedule, by name.
#[derive(Debug, Default)]
pub struct Wishes {
    seats: Mutex<Seats>,
    changed: Condvar,
}

/// A pipeline keeps time while this is held.
pub struct Seated<'a>(&'a Wishes, &'a str);

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.0.seats().by_name.remove(self.1);
    }
}

/// Why there is no run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This process does not run the pipeline.
    NotHere,
    Running,
}

impl Wishes {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pipeline keeps time, until what is returned is let go.
    pub fn seat<'a>(&'a self, pipeline: &'a str) -> Seated<'a> {
        self.seats().by_name.insert(pipeline.to_owned(), Seat::default());
        Seated(self, pipeline)
    }

    /// Asks for a run now.
    pub fn run(&self, pipeline: &str) -> Result<(), Refused> {
        let mut seats = self.seats();
        let seat = seats.by_name.get_mut(pipeline).ok_or(Refused::NotHere)?;
        if seat.running {
            return Err(Refused::Running);
        }
        seat.wanted = true;
        drop(seats);
        self.tell();
        Ok(())
    }

    /// Whether somebody has asked for a run; it is granted by asking.
    pub fn take(&self, pipeline: &str) -> bool {
        self.seats().by_name.get_mut(pipeline).is_some_and(|seat| std::mem::take(&mut seat.wanted))
    }

    /// Does something during which no other run can be asked for. What was asked for before is this one.
    pub fn while_running<T>(&self, pipeline: &str, run: impl FnOnce() -> T) -> T {
        let set = |running| {
            if let Some(seat) = self.seats().by_name.get_mut(pipeline) {
                *seat = Seat { running, wanted: false };
            }
        };
        set(true);
        let answer = run();
        set(false);
        answer
    }

    /// An alarm rang, a pipeline is to stop, a schedule was held or let go on: whoever waits looks at once.
    pub fn tell(&self) {
        self.seats().told += 1;
        self.changed.notify_all();
    }

    /// How often something was said so far: what [`Wishes::sleep`] waits behind.
    pub fn told(&self) -> u64 {
        self.seats().told
    }

    /// Waits until something has been said since `told`.
    pub fn sleep(&self, told: u64) {
        let nothing = |seats: &mut Seats| seats.told == told;
        drop(self.changed.wait_timeout_while(self.seats(), LONGEST, nothing).unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_granted_once_and_not_beside_another() {
        let wishes = Wishes::default();
        assert_eq!(wishes.run("orders"), Err(Refused::NotHere));
        let seat = wishes.seat("orders");
        assert!(!wishes.take("orders"));
        assert_eq!((wishes.run("orders"), wishes.run("orders")), (Ok(()), Ok(())));
        assert_eq!((wishes.take("orders"), wishes.take("orders")), (true, false));
        wishes.while_running("orders", || assert_eq!(wishes.run("orders"), Err(Refused::Running)));
        assert_eq!((wishes.run("orders"), wishes.take("orders")), (Ok(()), true));
        drop(seat);
        assert_eq!(wishes.run("orders"), Err(Refused::NotHere));
    }
}
