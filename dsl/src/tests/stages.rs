//! Stages: where a pipeline of several tasks is cut, and what goes on behind it.

use super::*;
use crate::plan::{Plan, StepKind};

/// Every stage of a pipeline with three tasks: its name, where it reads, and its steps.
fn stages(flow: &str) -> Vec<String> {
    let (checked, _) = three_tasks(flow);
    checked.plan.pipelines[0].stages().iter().map(shown).collect()
}

/// A pipeline with three tasks, and its text.
fn three_tasks(flow: &str) -> (Checked, String) {
    let source = format!(
        "CONNECTION bus TO kafka WITH (brokers = 'b');
SCHEMA row (id BIGINT NOT NULL, region STRING, n BIGINT, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at);
PIPELINE p WITH (changelog = 'bus', tasks = 3) AS FROM bus.t {flow};"
    );
    let checked = checked_of(&source);
    assert!(!checked.plan.pipelines.is_empty(), "{}", said(&checked, &source));
    (checked, source)
}

fn shown(stage: &Plan) -> String {
    let mut steps = vec![];
    stage.each_step(&mut |step| {
        let hop = matches!(step.kind, StepKind::Hop { .. });
        steps.push(if hop { step.kind.to_string().replace("repartition", "→") } else { step.id.clone() });
    });
    let sources: Vec<&str> = stage.sources().iter().map(|source| source.place.text.as_str()).collect();
    let changelog = stage.options.changelog.as_ref().map_or("", |place| &place.text);
    assert_eq!(changelog, format!("bus.syncline.{}.changelog", stage.pipeline));
    format!("{} from {}: {}", stage.pipeline, sources.join(", "), steps.join(" | "))
        .replace("syncline.", "")
        .replace(".→", ".rp")
}

#[test]
fn steps_by_one_key_follow_one_hop_and_another_key_takes_another() {
    assert_eq!(
        stages(
            "SCHEMA row |> WHERE n > 0 |> DEDUP BY id WITHIN '1 day' |> SELECT id AS key, region |> UPSERT INTO bus.o KEY (key)"
        ),
        [
            "p from bus.t: where | → by id, through p.dedup.rp",
            "p.dedup from bus.p.dedup.repartition: dedup | select | upsert",
        ]
    );
    assert_eq!(
        stages(
            "SCHEMA row PARTITIONED BY (id) |> DEDUP BY id WITHIN '1 day'
             |> AGGREGATE COUNT(*) AS c GROUP BY tumble(at, INTERVAL '1 hour') AS hour, region |> INSERT INTO bus.o KEY (region)"
        ),
        [
            "p from bus.t: dedup | → by region, through p.aggregate.rp",
            "p.aggregate from bus.p.aggregate.repartition: aggregate | insert",
        ]
    );
    assert_eq!(
        stages("SCHEMA row PARTITIONED BY (id) |> DEDUP BY id WITHIN '1 day' |> INSERT INTO bus.o"),
        ["p from bus.t: dedup | insert"]
    );
}

#[test]
fn a_branch_is_cut_for_itself_and_the_others_go_on() {
    assert_eq!(
        stages(
            "SCHEMA row |> DEDUP BY id WITHIN '1 day'
             |> TEE (|> AGGREGATE COUNT(*) AS c GROUP BY tumble(at, INTERVAL '1 hour') AS hour |> INSERT INTO bus.h)
             |> FORK (|> UPSERT INTO bus.o KEY (id)), (|> UPSERT INTO bus.r KEY (region))"
        ),
        [
            "p from bus.t: → by id, through p.dedup.rp",
            "p.dedup from bus.p.dedup.repartition: dedup | tee | →: all to one task, through p.tee.aggregate.rp | fork | \
             fork/1/upsert | → by region, through p.fork.2.upsert.rp",
            "p.tee.aggregate from bus.p.tee.aggregate.repartition: tee/aggregate | tee/insert",
            "p.fork.2.upsert from bus.p.fork.2.upsert.repartition: fork/2/upsert",
        ]
    );
}

#[test]
fn rows_of_several_topics_meet_behind_their_hops() {
    assert_eq!(
        stages(
            "SCHEMA row |> SELECT id, region |> UNION ALL (FROM bus.u SCHEMA row |> DEDUP BY region WITHIN '1 day' |> SELECT id, region)
             |> DEDUP BY id WITHIN '1 day' |> INSERT INTO bus.o"
        ),
        [
            "p.union.1.dedup.before from bus.u: → by region, through p.union.1.dedup.rp",
            "p from bus.t, bus.p.union.1.dedup.repartition: select | union | union/1/dedup | union/1/select | → by id, through p.dedup.rp",
            "p.dedup from bus.p.dedup.repartition: dedup | insert",
        ]
    );
    assert_eq!(
        stages(
            "SCHEMA row AS o JOIN bus.u SCHEMA row AS u ON o.id = u.id AND u.at BETWEEN o.at AND o.at + INTERVAL '1 hour'
             |> SELECT o.id AS id, u.n AS n |> INSERT INTO bus.o"
        ),
        [
            "p.join.right from bus.u: → by \"u.id\", through p.join.right.rp",
            "p from bus.t: → by id, through p.join.rp",
            "p.join from bus.p.join.repartition, bus.p.join.right.repartition: join | select | insert",
        ]
    );
}

#[test]
fn one_task_and_no_changelog_need_no_hop() {
    let source = "CONNECTION bus TO kafka WITH (brokers = 'b');
PIPELINE p WITH (changelog = 'bus') AS FROM bus.t |> DEDUP BY id WITHIN '1 day' |> INSERT INTO bus.o;";
    let plan = &checked_of(source).plan.pipelines[0];
    assert_eq!((plan.stages(), plan.hops()), (vec![plan.clone()], vec![]));
}

#[test]
fn every_hop_is_noted_where_it_is() {
    let source = "CONNECTION bus TO kafka WITH (brokers = 'b');
PIPELINE p WITH (changelog = 'bus', tasks = 2) AS FROM bus.t |> DEDUP BY id WITHIN '1 day' |> LIMIT 3 |> INSERT INTO bus.o;";
    let told = said(&checked_of(source), source);
    assert!(told.contains("note: rows go through a topic here, to the task that has their id\n"), "{told}");
    assert!(told.contains("note: all rows go to one task here\n"), "{told}");
    assert!(told.contains("help: if the records are partitioned by it already, say so and save the way: FROM … PARTITIONED BY (column)\n"), "{told}");
}

/// Sinks whose rows of one key may come in another order.
fn unordered(flow: &str) -> Vec<String> {
    let (checked, source) = three_tasks(flow);
    let plan = &checked.plan.pipelines[0];
    let found: Vec<String> =
        plan.unordered().into_iter().map(|(step, key)| format!("{} by {}", step.id, key.join(", "))).collect();
    let told = checked.diagnostics.iter().filter(|told| told.slug == "order-not-kept").count();
    assert_eq!(told, found.len(), "{}", said(&checked, &source));
    found
}

#[test]
fn a_sink_by_another_key_than_the_hop_before_it_is_told() {
    let dedup = "SCHEMA row |> DEDUP BY id WITHIN '1 day'";
    assert_eq!(unordered(&format!("{dedup} |> UPSERT INTO bus.o KEY (region)")), ["upsert by region"]);
    assert_eq!(unordered(&format!("{dedup} |> REPLACE INTO sqlite('s.db', 't') PER region")), ["replace by region"]);
    assert_eq!(unordered(&format!("{dedup} |> INSERT INTO bus.o KEY (region)")), ["insert by region"]);
    assert_eq!(
        unordered(&format!(
            "{dedup} |> SELECT n, region |> TEE (|> INSERT INTO bus.a KEY (n)) |> UPSERT INTO bus.o KEY (region)"
        )),
        ["tee/insert by n", "upsert by region"]
    );
    for right in [
        "|> UPSERT INTO bus.o KEY (region) SEQUENCE BY n",
        "|> UPSERT INTO bus.o KEY (id)",
        "|> INSERT INTO bus.o KEY (id, region)",
        "|> INSERT INTO bus.o",
        "|> AGGREGATE COUNT(*) AS c GROUP BY tumble(at, INTERVAL '1 hour') AS hour, region |> UPSERT INTO bus.o KEY (hour, region)",
    ] {
        assert_eq!(unordered(&format!("{dedup} {right}")), [""; 0], "{right}");
    }
    // One hop, of rows that came from one partition.
    assert_eq!(unordered("SCHEMA row |> UPSERT INTO bus.o KEY (region)"), [""; 0]);
    assert_eq!(
        unordered("SCHEMA row PARTITIONED BY (id) |> DEDUP BY id WITHIN '1 day' |> UPSERT INTO bus.o KEY (region)"),
        [""; 0]
    );
}
