//! Due times against instants that another implementation has worked out, and what is no schedule.

use super::*;
use crate::{Micros, schedule::calendar::Calendar};

const DAY: u64 = 86_400_000_000;

fn cron(expression: &str) -> Timing {
    Timing::Cron(expression.to_owned())
}

fn days(count: u64) -> Timing {
    Timing::Every(count * DAY)
}

fn calendar(zone: &str, timing: Timing) -> Calendar {
    let schedule = Schedule { timing, time_zone: Some(zone.to_owned()), missed: Missed::RunOnce };
    schedule.calendar().unwrap_or_else(|why| panic!("{schedule}: {why:?}"))
}

fn at(instant: &str) -> Micros {
    chrono::DateTime::parse_from_rfc3339(instant).expect("an instant").timestamp_micros()
}

fn utc(instant: Micros) -> String {
    calendar("UTC", days(1)).shown(instant)
}

/// A zone, a schedule, an instant, and the due times that follow it. They were worked out by a program that shares nothing with this crate:
/// Python's `zoneinfo`, asked for the wall time of every minute of the days around the change; its answers are written down here.
/// In 2026 clocks go forward on 29 March (Berlin), 8 March (New York) and, by half an hour, 4 October (Lord Howe), and back on
/// 25 October, 1 November and 5 April. Cairo skips midnight on 24 April; Apia had no 30 December 2011.
type Case = (&'static str, fn() -> Timing, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("Europe/Berlin", || cron("30 2 * * *"), "2026-03-28T00:00:00Z", &[
        "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
    ("Europe/Berlin", || cron("30 2 * * *"), "2026-10-24T00:00:00Z", &[
        "2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
    ("Europe/Berlin", || cron("0,30 1-3 * * *"), "2026-03-29T00:00:00Z", &[
        "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]),
    ("Europe/Berlin", || cron("0,30 1-3 * * *"), "2026-10-24T22:00:00Z", &[
        "2026-10-24T23:00:00Z", "2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"]),
    ("Europe/Berlin", || cron("*/30 * * * *"), "2026-03-29T00:00:00Z", &[
        "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"]),
    ("Europe/Berlin", || cron("*/30 * * * *"), "2026-10-24T23:45:00Z", &[
        "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]),
    ("Europe/Berlin", || cron("*/20 2 * * *"), "2026-03-28T00:00:00Z", &[
        "2026-03-28T01:00:00Z", "2026-03-28T01:20:00Z", "2026-03-28T01:40:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:20:00Z", "2026-03-30T00:40:00Z"]),
    ("Europe/Berlin", || cron("*/20 2 * * *"), "2026-10-24T12:00:00Z", &[
        "2026-10-25T00:00:00Z", "2026-10-25T00:20:00Z", "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:20:00Z", "2026-10-25T01:40:00Z"]),
    ("Europe/Berlin", || days(1), "2026-03-28T00:00:00Z", &[
        "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"]),
    ("Europe/Berlin", || days(1), "2026-10-24T00:00:00Z", &[
        "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z"]),
    ("America/New_York", || cron("15 2 * * *"), "2026-03-07T00:00:00Z", &[
        "2026-03-07T07:15:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"]),
    ("America/New_York", || cron("30 1 * * *"), "2026-10-31T00:00:00Z", &[
        "2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]),
    ("America/New_York", || cron("0 2 * * 0"), "2026-03-01T00:00:00Z", &[
        "2026-03-01T07:00:00Z", "2026-03-08T07:00:00Z", "2026-03-15T06:00:00Z"]),
    ("America/New_York", || cron("0 * * * *"), "2026-03-08T05:30:00Z", &[
        "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z"]),
    ("America/New_York", || cron("0 * * * *"), "2026-11-01T04:30:00Z", &[
        "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z", "2026-11-01T08:00:00Z"]),
    ("America/New_York", || cron("45 1,2 * * *"), "2026-10-31T12:00:00Z", &[
        "2026-11-01T05:45:00Z", "2026-11-01T07:45:00Z", "2026-11-02T06:45:00Z", "2026-11-02T07:45:00Z"]),
    ("America/New_York", || days(7), "2026-02-28T00:00:00Z", &[
        "2026-03-05T05:00:00Z", "2026-03-12T04:00:00Z", "2026-03-19T04:00:00Z"]),
    ("America/New_York", || days(1), "2026-10-31T00:00:00Z", &[
        "2026-10-31T04:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"]),
    ("Australia/Lord_Howe", || cron("15 2 * * *"), "2026-10-02T00:00:00Z", &[
        "2026-10-02T15:45:00Z", "2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]),
    ("Australia/Lord_Howe", || cron("45 1 * * *"), "2026-04-03T00:00:00Z", &[
        "2026-04-03T14:45:00Z", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]),
    ("Australia/Lord_Howe", || cron("0 2 * * *"), "2026-04-03T00:00:00Z", &[
        "2026-04-03T15:00:00Z", "2026-04-04T15:30:00Z", "2026-04-05T15:30:00Z"]),
    ("Australia/Lord_Howe", || cron("*/15 * * * *"), "2026-10-03T14:45:00Z", &[
        "2026-10-03T15:00:00Z", "2026-10-03T15:15:00Z", "2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z", "2026-10-03T16:00:00Z"]),
    ("Australia/Lord_Howe", || cron("*/15 * * * *"), "2026-04-04T14:10:00Z", &[
        "2026-04-04T14:15:00Z", "2026-04-04T14:30:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z", "2026-04-04T15:30:00Z", "2026-04-04T15:45:00Z", "2026-04-04T16:00:00Z"]),
    ("Australia/Lord_Howe", || cron("*/15 2 * * *"), "2026-10-03T00:00:00Z", &[
        "2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"]),
    ("Australia/Lord_Howe", || days(1), "2026-10-02T00:00:00Z", &[
        "2026-10-02T13:30:00Z", "2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z"]),
    ("Australia/Lord_Howe", || days(1), "2026-04-03T00:00:00Z", &[
        "2026-04-03T13:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"]),
    ("Africa/Cairo", || days(1), "2026-04-22T12:00:00Z", &[
        "2026-04-22T22:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]),
    ("Africa/Cairo", || cron("0 0 * * *"), "2026-10-28T12:00:00Z", &[
        "2026-10-28T21:00:00Z", "2026-10-29T22:00:00Z", "2026-10-30T22:00:00Z"]),
    ("Pacific/Apia", || days(1), "2011-12-28T12:00:00Z", &[
        "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", "2012-01-01T10:00:00Z"]),
];

#[test]
fn due_times_around_a_change_of_the_clocks_are_those_of_another_implementation() {
    for (zone, timing, after, expected) in CASES {
        let calendar = calendar(zone, timing());
        let mut instant = at(after);
        for due in *expected {
            let next = calendar.next_after(instant).expect("a due time");
            assert_eq!(utc(next), *due, "{zone} {:?} behind {}", timing(), utc(instant));
            instant = next;
        }
    }
}

#[test]
fn the_next_due_time_is_the_same_whatever_instant_before_it_is_asked_from() {
    for (zone, timing, after, expected) in CASES {
        let calendar = calendar(zone, timing());
        let (mut instant, mut left) = (at(after), *expected);
        while let [due, rest @ ..] = left {
            if at(due) <= instant {
                left = rest;
                continue;
            }
            assert_eq!(
                calendar.next_after(instant).map(utc).as_deref(),
                Some(*due),
                "{zone} {:?} {}",
                timing(),
                utc(instant)
            );
            // Steps that drift past every kind of moment.
            instant += 599_999_999;
        }
    }
}

#[test]
fn a_length_of_less_than_a_day_goes_by_elapsed_time_in_every_zone() {
    let six_hours = calendar("Europe/Berlin", Timing::Every(DAY / 4));
    let mut instant = at("2026-03-28T23:00:00Z");
    let dues: Vec<String> = std::iter::from_fn(|| {
        instant = six_hours.next_after(instant)?;
        Some(six_hours.shown(instant))
    })
    .take(2)
    .collect();
    assert_eq!(dues, ["2026-03-29T01:00:00+01:00[Europe/Berlin]", "2026-03-29T08:00:00+02:00[Europe/Berlin]"]);
    assert_eq!(calendar("UTC", Timing::Every(1_500_000)).next_after(3_000_000), Some(4_500_000));
    assert_eq!(calendar("UTC", Timing::Every(1_500_000)).next_after(-1), Some(0));
}

#[test]
fn the_due_times_of_a_stretch_are_counted_and_the_newest_are_kept() {
    for (timing, step) in [(Timing::Every(60_000_000), 60), (cron("* * * * *"), 60), (days(1), 86_400)] {
        let calendar = calendar("UTC", timing.clone());
        let step = step * 1_000_000;
        let dues = calendar.between(0, 10 * step + 1, 3);
        assert_eq!((dues.count, dues.newest.into()), (10, vec![8 * step, 9 * step, 10 * step]), "{timing:?}");
        assert_eq!(calendar.between(5 * step, 6 * step - 1, 3), Dues::default(), "{timing:?}");
        assert_eq!(calendar.between(5 * step, 6 * step, 3).newest, [6 * step], "{timing:?}");
        assert_eq!(calendar.between(9 * step, step, 3), Dues::default(), "a clock that went back: {timing:?}");
    }
    let second = calendar("UTC", Timing::Every(1_000_000));
    let century = 100 * 366 * DAY as Micros;
    let dues = second.between(0, century, 2);
    assert_eq!((dues.count, dues.newest.into()), (3_162_240_000, vec![century - 1_000_000, century]));
}

#[test]
fn what_is_no_schedule_says_why() {
    let why = |timing, zone: &str| {
        let schedule = Schedule { timing, time_zone: Some(zone.into()), missed: Missed::Skip };
        schedule.calendar().expect_err("no schedule")
    };
    let field = |part: &str, name, takes| NotASchedule::Cron(NotCron::Field { part: part.into(), name, takes });
    assert_eq!(why(Timing::Every(999_999), "UTC"), NotASchedule::TooShort);
    assert_eq!(why(days(1), "Europe/Berlni"), NotASchedule::Zone);
    for (text, expected) in [
        ("0 25 * * *", field("25", "hour", "0-23")),
        ("60 * * * *", field("60", "minute", "0-59")),
        ("*/0 * * * *", field("*/0", "minute", "0-59")),
        (", * * * *", field(",", "minute", "0-59")),
        ("0 0 1,,2 * *", field("1,,2", "day of the month", "1-31")),
        ("0 0 * 13 *", field("13", "month", "1-12")),
        ("0 0 * * MOO", field("MOO", "day of the week", "0-7")),
        ("0 0 * * ü", field("ü", "day of the week", "0-7")),
        ("0 0 * *", NotASchedule::Cron(NotCron::Fields(4))),
        ("0 0 0 * * *", NotASchedule::Cron(NotCron::Fields(6))),
        ("", NotASchedule::Cron(NotCron::Fields(0))),
        ("@midday", NotASchedule::Cron(NotCron::Nickname("@midday".into()))),
        ("0 0 30 2 *", NotASchedule::Never),
        ("0 0 31 4,6,9,11 *", NotASchedule::Never),
    ] {
        assert_eq!(why(cron(text), "UTC"), expected, "{text}");
    }
    assert_eq!(why(cron(&"0 ".repeat(200)), "UTC"), NotASchedule::Cron(NotCron::TooLong));
}

#[test]
fn names_nicknames_lists_and_both_days_mean_what_crontabs_mean() {
    let next =
        |text: &str, after: &str| calendar("UTC", cron(text)).next_after(at(after)).map(utc).expect("a due time");
    for (text, after, expected) in [
        ("@daily", "2026-11-22T13:00:00Z", "2026-11-23T00:00:00Z"),
        ("@Hourly", "2026-11-22T13:00:00Z", "2026-11-22T14:00:00Z"),
        ("15 6 * jan mon-fri", "2026-11-22T13:00:00Z", "2027-01-01T06:15:00Z"),
        ("0 0 13 * 5", "2026-11-22T13:00:00Z", "2026-11-27T00:00:00Z"),
        ("0 0 29 2 *", "2026-11-22T13:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 * * 7", "2026-11-22T13:00:00Z", "2026-11-29T00:00:00Z"),
        ("  5,10  0-4/2 * * *  ", "2026-11-22T02:10:00Z", "2026-11-22T04:05:00Z"),
    ] {
        assert_eq!(next(text, after), expected, "{text}");
    }
}

#[test]
fn a_schedule_is_read_back_as_it_was_stored_and_shown_in_one_line() {
    let nightly =
        Schedule { timing: cron("0 2 * * *"), time_zone: Some("Europe/Berlin".into()), missed: Missed::RunAll };
    assert_eq!(nightly.to_string(), "cron '0 2 * * *' · Europe/Berlin · if missed run all");
    let often = Schedule { timing: Timing::Every(900_000_000), time_zone: None, missed: Missed::Skip };
    assert_eq!(often.to_string(), "every 15 minutes · UTC · if missed skip");
    let utc = Schedule { time_zone: Some("UTC".into()), missed: Missed::RunOnce, ..often.clone() };
    assert!(often.keeps_the_times_of(&utc) && !often.keeps_the_times_of(&nightly));
}
