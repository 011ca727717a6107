//! Instants of a schedule: the next one, those of a stretch of time, and how they are shown.

use std::collections::VecDeque;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeZone};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use croner::Cron;

use super::{NotASchedule, SHORTEST, Schedule, Timing, cron};
use crate::Micros;

const DAY: i64 = 86_400_000_000;
const SECOND: i64 = 1_000_000;

/// From here on a due time is looked for, to see that there is one.
const LOOKED_AT: Micros = 946_684_800 * SECOND;

/// Wall times that may map to one instant or to none behind it: the minutes of the longest repetition there ever was, a day, and then some.
const MOST_TOGETHER: usize = 2 * 24 * 60;

/// The due times of a [`Schedule`].
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: Tz,
    course: Course,
}

#[derive(Clone, Debug)]
enum Course {
    /// Multiples of a length since 1970, in UTC.
    Elapsed(i64),
    /// Multiples of a length on the wall clock, since 1970-01-01 00:00 there.
    Days(i64),
    /// Wall times that stand in the expression: each is due once.
    Fixed(Cron),
    /// Whenever the clock shows it.
    Shown(Cron),
}

/// The due times of a stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dues {
    pub count: u64,
    /// The newest of them, the oldest of these first.
    pub newest: VecDeque<Micros>,
}

impl Calendar {
    pub(super) fn of(schedule: &Schedule) -> Result<Self, NotASchedule> {
        let zone = match &schedule.time_zone {
            None => Tz::UTC,
            Some(name) => name.parse().map_err(|_| NotASchedule::Zone)?,
        };
        let course = match &schedule.timing {
            Timing::Every(period) if *period < SHORTEST => return Err(NotASchedule::TooShort),
            Timing::Every(period) => {
                let period = i64::try_from(*period).map_err(|_| NotASchedule::Never)?;
                if period < DAY || zone == Tz::UTC { Course::Elapsed(period) } else { Course::Days(period) }
            }
            Timing::Cron(text) => match cron::parse(text).map_err(NotASchedule::Cron)? {
                (cron, true) => Course::Shown(cron),
                (cron, false) => Course::Fixed(cron),
            },
        };
        let calendar = Self { zone, course };
        calendar.next_after(LOOKED_AT).ok_or(NotASchedule::Never)?;
        Ok(calendar)
    }

    /// The first due time behind this instant; `None`: there is none before the calendar ends.
    pub fn next_after(&self, after: Micros) -> Option<Micros> {
        match &self.course {
            Course::Elapsed(period) => after.div_euclid(*period).checked_add(1)?.checked_mul(*period),
            Course::Days(period) => {
                // The number of the multiple before the wall time of `after`; two that fall together follow each other.
                let first = self.wall(after)?.and_utc().timestamp_micros().div_euclid(*period);
                let wall = |number: i64| DateTime::from_timestamp_micros(number.checked_mul(*period)?);
                let numbers = first..first.checked_add(3)?;
                let mut instants = numbers.map_while(|number| self.instant(wall(number)?.naive_utc()));
                instants.find(|instant| *instant > after)
            }
            Course::Fixed(cron) => {
                let mut wall = self.wall(after)?;
                for _ in 0..MOST_TOGETHER {
                    wall = cron.find_next_occurrence(&wall, false).ok()?;
                    let instant = self.instant(wall)?;
                    if instant > after {
                        return Some(instant);
                    }
                }
                None
            }
            Course::Shown(cron) => {
                let at = DateTime::from_timestamp(after.div_euclid(SECOND), 0)?.with_timezone(&self.zone);
                let next = cron.find_next_occurrence(&at, false).ok()?;
                Some(next.timestamp_micros())
            }
        }
    }

    /// The due times behind `from`, up to and with `to`; of the times themselves the newest `keep`.
    pub fn between(&self, from: Micros, to: Micros, keep: usize) -> Dues {
        let mut dues = Dues::default();
        let mut from = from;
        if let Course::Elapsed(period) = self.course {
            // As many as there were: a clock that jumps may pass millions of them.
            let kept = period.saturating_mul(keep as i64);
            let skipped = to.saturating_sub(kept).div_euclid(period).saturating_mul(period).max(from);
            dues.count = (skipped.div_euclid(period) - from.div_euclid(period)).max(0) as u64;
            from = skipped;
        }
        while let Some(next) = self.next_after(from).filter(|next| *next <= to) {
            from = next;
            dues.count += 1;
            dues.newest.push_back(next);
            if dues.newest.len() > keep {
                dues.newest.pop_front();
            }
        }
        dues
    }

    /// As RFC 9557 writes it: `2026-03-29T03:00:00+02:00[Europe/Berlin]`, and `…Z` in UTC.
    pub fn shown(&self, at: Micros) -> String {
        let Some(at) = DateTime::from_timestamp_micros(at) else { return at.to_string() };
        match self.zone {
            Tz::UTC => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            zone => format!("{}[{zone}]", at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::AutoSi, false)),
        }
    }

    /// What the clocks of the zone show.
    fn wall(&self, at: Micros) -> Option<NaiveDateTime> {
        Some(DateTime::from_timestamp_micros(at)?.with_timezone(&self.zone).naive_local())
    }

    /// When the clocks show it first; where they skip it, the first instant behind the gap.
    fn instant(&self, wall: NaiveDateTime) -> Option<Micros> {
        let local = self.zone.from_local_datetime(&wall);
        let instant = local.earliest().or_else(|| GapInfo::new(&wall, &self.zone)?.end)?;
        Some(instant.timestamp_micros())
    }
}

/// The names of all zones.
pub fn zones() -> impl Iterator<Item = &'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name())
}
