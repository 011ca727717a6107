//! Which due time is next under each policy, and what a crash, an edit and a hold leave of it.

use syncline_record::schedule::Timing;

use super::*;
use crate::{
    clock::{Clock, VirtualClock},
    store::memory::MemoryStore,
};

const MINUTE: Micros = 60_000_000;
const HOUR: Micros = 60 * MINUTE;

fn hourly(missed: Missed) -> Schedule {
    Schedule { timing: Timing::Every(HOUR as u64), time_zone: None, missed }
}

fn asked(policy: Missed, settled: Micros, now: Micros, watched: Micros) -> Next {
    next(&hourly(policy).calendar().expect("a calendar"), policy, settled, now, watched)
}

fn run(due: Micros, missed: u64) -> Next {
    Next::Run(Firing { due, missed })
}

#[test]
fn who_waits_starts_each_due_time_when_it_comes() {
    for policy in [Missed::RunOnce, Missed::RunAll, Missed::Skip] {
        assert_eq!(asked(policy, 0, HOUR - 1, 0), Next::Wait(Some(HOUR)), "{policy:?}");
        assert_eq!(asked(policy, 0, HOUR, 0), run(HOUR, 0), "{policy:?}");
        assert_eq!(asked(policy, HOUR, HOUR, HOUR), Next::Wait(Some(2 * HOUR)), "{policy:?}");
    }
}

#[test]
fn what_was_due_while_nobody_was_there_follows_the_policy() {
    // Four due times since the last one that was settled; then somebody begins to wait.
    let now = 5 * HOUR + 10 * MINUTE;
    assert_eq!(asked(Missed::RunOnce, HOUR, now, now), run(5 * HOUR, 3));
    assert_eq!(asked(Missed::RunAll, HOUR, now, now), run(2 * HOUR, 0));
    assert_eq!(asked(Missed::Skip, HOUR, now, now), Next::Settle { up_to: 5 * HOUR, missed: 4 });
    // Also when it was due this very second, and the run before was still going.
    assert_eq!(asked(Missed::Skip, 4 * HOUR, 5 * HOUR, 5 * HOUR), Next::Settle { up_to: 5 * HOUR, missed: 1 });
}

#[test]
fn a_machine_that_slept_through_a_due_time_has_missed_it() {
    let (slept, woke) = (HOUR - 1, HOUR + 2 * MINUTE);
    assert_eq!(asked(Missed::Skip, 0, woke, slept), Next::Settle { up_to: HOUR, missed: 1 });
    assert_eq!(asked(Missed::RunOnce, 0, woke, slept), run(HOUR, 0));
    // Who is only late by the load of the machine is not.
    assert_eq!(asked(Missed::Skip, 0, HOUR + MINUTE, slept), run(HOUR, 0));
    // What it slept through before the last one gets no run.
    assert_eq!(asked(Missed::Skip, 0, 3 * HOUR + MINUTE / 2, slept), run(3 * HOUR, 2));
}

#[test]
fn runs_that_are_made_up_for_and_times_that_are_counted_are_bounded() {
    let hours = |count: u64| count as Micros * HOUR;
    let now = hours(2_500);
    assert_eq!(asked(Missed::RunAll, 0, now, now), run(hours(1_501), 1_500));
    let now = hours(24 * 366 * 3);
    assert_eq!(asked(Missed::Skip, 0, now, now), Next::Settle { up_to: now, missed: 24 * 366 });
}

#[test]
fn a_clock_that_goes_back_a_little_repeats_nothing_and_one_that_was_wrong_counts_anew() {
    assert_eq!(asked(Missed::RunAll, 5 * HOUR, 4 * HOUR, 0), Next::Wait(Some(6 * HOUR)));
    assert_eq!(asked(Missed::RunAll, 9 * HOUR, 4 * HOUR, 0), Next::Settle { up_to: 4 * HOUR, missed: 0 });
}

/// A night's job over the change of the clocks, with a process that is there all the time, and time that only passes as it is told.
#[test]
fn a_nightly_run_over_both_changes_of_the_clocks_starts_at_the_exact_instants() {
    let at = |day: Micros, minutes: Micros| day * 24 * HOUR + minutes * MINUTE;
    // Days since 1970: 20541 is 2026-03-29, 20751 is 2026-10-25. Instants by Python's `zoneinfo`: 02:30 in Berlin is 01:30Z, is skipped
    // (01:00Z), is 00:30Z; is 00:30Z, comes twice (00:30Z), is 01:30Z.
    let spring = [at(20_540, 90), at(20_541, 60), at(20_542, 30)];
    let autumn = [at(20_750, 30), at(20_751, 30), at(20_752, 90)];
    for (began, expected) in [(at(20_540, 0), spring), (at(20_750, 0), autumn)] {
        let schedule = Schedule {
            timing: Timing::Cron("30 2 * * *".into()),
            time_zone: Some("Europe/Berlin".into()),
            missed: Missed::Skip,
        };
        let calendar = schedule.calendar().expect("a calendar");
        let clock = VirtualClock::at(began);
        let (mut settled, mut started) = (began, vec![]);
        while started.len() < expected.len() {
            match next(&calendar, schedule.missed, settled, clock.now(), began) {
                Next::Run(Firing { due, missed }) => {
                    assert_eq!((due, missed), (clock.now(), 0));
                    started.push(due);
                    settled = due;
                }
                Next::Wait(Some(until)) => {
                    clock.advance(std::time::Duration::from_micros((until - clock.now()) as u64))
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(started, expected);
    }
}

#[test]
fn a_schedule_counts_from_when_it_is_seen_and_again_from_when_it_is_due_at_other_times() {
    let store = MemoryStore::new();
    let settled = |schedule: &Schedule, now: Micros| {
        declare(&store, "p", schedule, now).unwrap();
        let kept = kept(&store, "p").unwrap().expect("it is kept");
        assert_eq!(kept.schedule, *schedule);
        kept.settled
    };
    let hourly = hourly(Missed::Skip);
    assert_eq!(settled(&hourly, 5), 5);
    assert_eq!(settled(&hourly, 7 * HOUR), 5, "nobody was there: its policy says what becomes of it");
    assert_eq!(settled(&Schedule { missed: Missed::RunAll, ..hourly.clone() }, 8 * HOUR), 5);
    assert_eq!(settled(&Schedule { timing: Timing::Every(2 * HOUR as u64), ..hourly }, 9 * HOUR), 9 * HOUR);
    forget(&store, "p").unwrap();
    assert_eq!((kept(&store, "p").unwrap(), hold(&store, "p").unwrap()), (None, None));
}

#[test]
fn what_was_due_while_a_schedule_was_held_gets_no_run() {
    let store = MemoryStore::new();
    declare(&store, "p", &hourly(Missed::RunAll), 0).unwrap();
    put_hold(&store, "p", true, HOUR / 2).unwrap();
    let held = standing(&store, "p").unwrap().expect("it is kept");
    assert_eq!((held.paused, held.next_due), (true, None));
    put_hold(&store, "p", false, 4 * HOUR + 1).unwrap();
    let free = standing(&store, "p").unwrap().expect("it is kept");
    assert_eq!((free.paused, free.next_due, free.kept.missed), (false, Some(5 * HOUR), 0));
}

#[test]
fn a_start_that_fails_before_there_is_a_run_has_had_its_turn() {
    let store = MemoryStore::new();
    declare(&store, "p", &hourly(Missed::RunOnce), 0).unwrap();
    failed(&store, "p", Firing { due: 2 * HOUR, missed: 1 }, 2 * HOUR + 3).unwrap();
    let Standing { kept, last_outcome, next_due, .. } = standing(&store, "p").unwrap().expect("it is kept");
    assert_eq!((kept.last_due, kept.last_started), (Some(2 * HOUR), Some(2 * HOUR + 3)));
    assert_eq!((kept.started, kept.missed, last_outcome, next_due), (1, 1, Some("failed"), Some(3 * HOUR)));
}

#[test]
fn the_id_of_a_run_is_made_of_its_pipeline_and_its_due_time() {
    let id = run_id("orders", HOUR);
    assert_eq!((id.len(), &id), (32, &run_id("orders", HOUR)));
    assert!(id != run_id("orders", 2 * HOUR) && id != run_id("order", HOUR));
}
