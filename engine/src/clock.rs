//! Time and randomness, the only way in.
//!
//! Nothing else in the engine reads a clock or draws a number, so a test can replay a run to the microsecond.

use std::{
    sync::Mutex,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use syncline_record::Micros;

/// Where time comes from. Called from any thread, as often as wanted; never blocks.
pub trait Clock: Send + Sync {
    /// The wall clock, in microseconds since 1970. May step.
    fn now(&self) -> Micros;

    /// Time since some fixed moment; never goes back. For intervals and timeouts.
    fn elapsed(&self) -> Duration;
}

/// Where randomness comes from.
pub trait Rng: Send + Sync {
    fn next(&self) -> u64;

    /// A random id of 32 hexadecimal digits.
    fn id(&self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }
}

/// The machine's clock.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as Micros)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A generator that is seeded once: from the machine, or from a test's seed.
pub struct SeededRng(Mutex<StdRng>);

impl SeededRng {
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    pub fn from_machine() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }
}

impl Rng for SeededRng {
    fn next(&self) -> u64 {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next_u64()
    }
}

/// A clock that moves only when told: for `TEST`s and the simulation.
pub struct VirtualClock(Mutex<(Micros, Duration)>);

impl VirtualClock {
    pub fn at(now: Micros) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        time.0 += by.as_micros() as Micros;
        time.1 += by;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Micros {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).1
    }
}
