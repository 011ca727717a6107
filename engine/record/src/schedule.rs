//! When something is due: each so often, or as a cron expression says, by the clocks of a time zone.
//!
//! A [`Schedule`] is what a file says: a value that can be stored and compared. A [`Calendar`] is made of one and answers which instant
//! comes next; it reads no clock, and the rules of zones are those of the database that is compiled in.
//!
//! A length of less than a day, and one without a zone, goes by elapsed time: multiples of it since 1970-01-01T00:00:00Z. All else goes by
//! the wall clock of the zone. A wall time that is skipped in spring is due at the first instant after the gap, one that comes twice in
//! autumn when it comes first, and two that fall together are due once. Where the minute or the hour of a cron expression has a `*`, it
//! means each time that the clock shows it: what is skipped is not there, and what comes twice is due twice.

mod calendar;
mod cron;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

pub use calendar::{Calendar, Dues, zones};
pub use cron::NotCron;

use crate::duration;

/// The shortest time between two due times: below it a pipeline had better run all the time.
pub const SHORTEST: u64 = 1_000_000;

/// When a pipeline is due, and what becomes of due times at which nobody could start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub timing: Timing,
    /// Of the IANA database; `None`: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    pub missed: Missed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Microseconds.
    Every(u64),
    /// Five fields, or a nickname.
    Cron(String),
}

/// What becomes of due times that have passed: nobody was there, or the run before was still going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// One run for all of them, for the last.
    #[default]
    RunOnce,
    /// A run for each, the oldest first.
    RunAll,
    /// No run.
    Skip,
}

impl Missed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunOnce => "run once",
            Self::RunAll => "run all",
            Self::Skip => "skip",
        }
    }
}

/// Why there are no due times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotASchedule {
    TooShort,
    Cron(NotCron),
    /// An expression that fits no day of the calendar.
    Never,
    /// There is no such zone.
    Zone,
}

impl Schedule {
    /// `every`, `cron`
    pub fn kind(&self) -> &'static str {
        match self.timing {
            Timing::Every(_) => "every",
            Timing::Cron(_) => "cron",
        }
    }

    /// As a file writes it, without its quotes: `15 minutes`, `0 2 * * *`.
    pub fn expression(&self) -> String {
        match &self.timing {
            Timing::Every(period) => duration::shown(*period),
            Timing::Cron(expression) => expression.clone(),
        }
    }

    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }

    /// Whether both are due at the same instants.
    pub fn keeps_the_times_of(&self, other: &Schedule) -> bool {
        self.timing == other.timing && self.zone() == other.zone()
    }

    pub fn calendar(&self) -> Result<Calendar, NotASchedule> {
        Calendar::of(self)
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.timing {
            Timing::Every(_) => write!(f, "every {}", self.expression())?,
            Timing::Cron(expression) => write!(f, "cron '{expression}'")?,
        }
        write!(f, " · {} · if missed {}", self.zone(), self.missed.as_str())
    }
}
