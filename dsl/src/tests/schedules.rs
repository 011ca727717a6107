//! EVERY and CRON: what a plan keeps of them, and what is said where they cannot be.

use syncline_record::schedule::{Missed, Schedule, Timing};

use super::*;
use crate::plan::Plan;

fn pipeline(trigger: &str) -> String {
    format!("PIPELINE orders {trigger} AS FROM file('orders.ndjson') |> SELECT id |> INSERT INTO file('out/');")
}

#[test]
fn a_schedule_is_part_of_the_plan_and_not_of_its_digest() {
    let of = |trigger: &str| {
        let mut checked = checked(&pipeline(trigger));
        assert_eq!(checked.diagnostics, [], "{trigger}");
        checked.plan.pipelines.remove(0)
    };
    let schedule =
        |timing, zone: Option<&str>, missed| Some(Schedule { timing, time_zone: zone.map(str::to_owned), missed });
    let every = Timing::Every(900_000_000);
    let nightly = Timing::Cron("0 2 * * *".to_owned());
    let without = of("");
    assert_eq!(without.schedule, None);
    for (trigger, expected) in [
        ("EVERY '15 minutes'", schedule(every.clone(), None, Missed::RunOnce)),
        ("EVERY INTERVAL '15 minutes' TIME ZONE 'UTC' IF MISSED RUN ALL", schedule(every, Some("UTC"), Missed::RunAll)),
        (
            "CRON '0 2 * * *' IF MISSED SKIP TIME ZONE 'Europe/Berlin'",
            schedule(nightly, Some("Europe/Berlin"), Missed::Skip),
        ),
    ] {
        let plan = of(trigger);
        assert_eq!((&plan.schedule, plan.digest()), (&expected, without.digest()), "{trigger}");
        let stored = serde_json::to_string(&plan).expect("a plan is a value");
        assert_eq!(serde_json::from_str::<Plan>(&stored).expect("and comes back"), plan);
    }
    let shown = of("CRON '0 2 * * *' TIME ZONE 'Europe/Berlin'").to_string();
    assert!(shown.contains("\n  runs cron '0 2 * * *' · Europe/Berlin · if missed run once\n"), "{shown}");
}

/// Slug, title and the text that it is about.
fn found(source: &str) -> Vec<String> {
    let checked = checked_of(source);
    checked.diagnostics.iter().map(|one| format!("{}: {} ({})", one.slug, one.title, one.span().of(source))).collect()
}

#[test]
fn what_is_no_schedule_is_told_at_its_place() {
    for (trigger, expected) in [
        ("EVERY '999 ms'", &["schedule: a run each second is the most there can be ('999 ms')"][..]),
        ("EVERY '1 month'", &["option-value: this is no length of time ('1 month')"]),
        ("CRON '0 0 30 2 *'", &["cron: this is never due ('0 0 30 2 *')"]),
        ("CRON 'soon'", &["cron: this is no cron expression ('soon')"]),
        ("CRON '0 2 * * *' TIME ZONE 'Mars/Base'", &["time-zone: there is no time zone Mars/Base ('Mars/Base')"]),
        (
            "EVERY '0 s' TIME ZONE 'UCT1'",
            &[
                "schedule: a run each second is the most there can be ('0 s')",
                "time-zone: there is no time zone UCT1 ('UCT1')",
            ],
        ),
        (
            "EVERY '1 hour' EVERY '2 hours' CRON '@daily'",
            &[
                "two-schedules: a pipeline has one schedule (EVERY '2 hours')",
                "two-schedules: a pipeline has one schedule (CRON '@daily')",
            ],
        ),
        ("ON WEBHOOK issues", &["not-yet: ON WEBHOOK is not part of this version (ON WEBHOOK issues)"]),
        ("EVERY '1 hour' AFTER other", &["not-yet: AFTER is not part of this version (AFTER other)"]),
    ] {
        assert_eq!(found(&pipeline(trigger)), expected, "{trigger}");
    }
}

#[test]
fn what_does_not_end_by_itself_does_not_go_with_a_schedule() {
    let file = |with: &str, source: &str, steps: &str| {
        format!(
            "SCHEMA o (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at);\n\
             PIPELINE orders EVERY '1 hour' {with} AS FROM {source} {steps} |> INSERT INTO file('out/');"
        )
    };
    let hours = "SCHEMA o |> AGGREGATE COUNT(*) AS n GROUP BY tumble(at, INTERVAL '1 hour') AS hour";
    for (source, expected) in [
        (
            file("WITH (restart = 'always')", "file('a')", ""),
            &["schedule: a pipeline with a schedule does not begin again by itself ('always')"][..],
        ),
        (file("WITH (restart = 'on failure', max_restarts = 3)", "file('a')", ""), &[]),
        (file("", "file('a') FOLLOW", ""), &["schedule: a run with a schedule takes what is there, and ends (FOLLOW)"]),
        (file("", "http('/a')", ""), &[]),
        (file("", "file('a')", hours), &[]),
        (
            file("", "http('/a')", hours),
            &[
                "schedule: the end of each run closes what is open here (AGGREGATE COUNT(*) AS n GROUP BY tumble(at, INTERVAL '1 hour') AS hour)",
            ],
        ),
    ] {
        assert_eq!(found(&source), expected, "{source}");
    }
    let changelog = "CONNECTION bus TO kafka WITH (brokers = 'localhost:9092');\n\
        PIPELINE orders EVERY '1 hour' WITH (changelog = 'bus') AS FROM bus.a |> SELECT id |> INSERT INTO bus.b;";
    assert_eq!(found(changelog), ["schedule: a schedule is kept by one machine (EVERY '1 hour')"]);
}

#[test]
fn the_stream_of_a_pipeline_with_a_schedule_never_ends() {
    let source = "PIPELINE w EVERY '1 hour' AS FROM file('a') |> SELECT id |> AS STREAM s;\n\
        PIPELINE r AS FROM s |> ORDER BY id |> INSERT INTO file('out/');";
    assert!(found(source).iter().any(|one| one.starts_with("needs-window: ")), "{:?}", found(source));
}
