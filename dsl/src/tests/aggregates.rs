//! AGGREGATE: what it is planned as, and what can be wrong with it.

use super::*;
use crate::step_digest;

const EVENT: &str = "SCHEMA event (at TIMESTAMP NOT NULL, region STRING, amount DECIMAL(12, 2), n BIGINT,
  WATERMARK FOR at AS at - INTERVAL '30 seconds');\n";

/// A pipeline over an endless source with the schema.
fn endless(steps: &str) -> String {
    format!("{EVENT}PIPELINE p AS FROM http('/in') SCHEMA event\n{steps}\n|> INSERT INTO stdout();")
}

/// One over a file without a schema.
fn ending(steps: &str) -> String {
    format!("PIPELINE p AS FROM file('in.ndjson')\n{steps}\n|> INSERT INTO stdout();")
}

/// The lines of the plan from the first step to the sink.
fn steps_of(source: &str) -> String {
    let plan = plan_of(source);
    let lines = plan.lines().skip_while(|line| !line.starts_with("  aggregate"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn plain_calls_are_the_columns_behind_their_keys() {
    let source = endless(
        "|> AGGREGATE SUM(amount) AS revenue, COUNT(*) AS orders GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region",
    );
    let expected = "  aggregate: AGGREGATE SUM(amount) AS revenue, COUNT(*) AS orders GROUP BY tumble(\"at\", 1 minute) AS minute, region
  insert: INSERT INTO stdout() · minute, region, revenue, orders
";
    assert_eq!(steps_of(&source), expected);
    let kinds: Vec<String> = checked(&source).plan.pipelines[0].flow[0]
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.kind.0))
        .collect();
    assert_eq!(kinds, ["minute TIMESTAMP", "region STRING", "revenue DECIMAL(22, 2)", "orders BIGINT"]);
}

#[test]
fn what_is_computed_from_calls_is_told_apart() {
    let source =
        ending("|> AGGREGATE SUM(total) / COUNT(*) AS mean, COUNT(*) AS n, upper(kind) AS k GROUP BY upper(kind)");
    let expected = r#"  aggregate: AGGREGATE SUM(total), COUNT(*) GROUP BY upper(kind) · complete at the end
    upper(kind) STRING = "upper(kind)"
    mean DECIMAL(38, 14) = CAST("SUM(total)" AS DECIMAL(38,10)) / "COUNT(*)"
    n BIGINT = "COUNT(*)"
    k STRING = "upper(kind)"
  insert: INSERT INTO stdout() · upper(kind), mean, n, k
"#;
    assert_eq!(steps_of(&source), expected);
}

#[test]
fn numbers_are_exact_and_a_window_has_its_name() {
    let source = endless("|> AGGREGATE SUM(n) AS s, AVG(n) AS a, AVG(amount) AS b GROUP BY session(at, '5 minutes')");
    let checked = checked(&source);
    assert_eq!(said(&checked, &source), "");
    let columns = &checked.plan.pipelines[0].flow[0].columns;
    let kinds: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.kind.0)).collect();
    assert_eq!(kinds, ["window_start TIMESTAMP", "s DECIMAL(38, 0)", "a DECIMAL(32, 10)", "b DECIMAL(16, 6)"]);
}

#[test]
fn a_window_may_be_over_the_window_before_it() {
    let minute = "|> AGGREGATE COUNT(*) AS n GROUP BY tumble(at, '1 minute') AS minute";
    let hour = "|> AGGREGATE MAX(n) AS peak GROUP BY tumble(minute, '1 hour') AS hour";
    assert_eq!(slugs(&checked(&endless(&format!("{minute}\n{hour}")))), Vec::<&str>::new());
    let session = "|> AGGREGATE COUNT(*) AS n GROUP BY session(at, '1 minute') AS minute";
    assert_eq!(slugs(&checked(&endless(&format!("{session}\n{hour}")))), ["needs-watermark"]);
}

#[test]
fn state_belongs_to_keys_window_and_calls() {
    let digest = |steps: &str| step_digest(&checked(&endless(steps)).plan.pipelines[0].flow[0]);
    let first = digest("|> AGGREGATE SUM(n) AS s GROUP BY tumble(at, '1 minute') AS m, region");
    assert_eq!(digest("|> AGGREGATE   SUM(n) AS total\n GROUP BY tumble(at, '60 seconds') AS m, region"), first);
    for other in [
        "|> AGGREGATE SUM(n) AS s GROUP BY tumble(at, '2 minutes') AS m, region",
        "|> AGGREGATE SUM(n) AS s GROUP BY tumble(at, '1 minute') AS m",
        "|> AGGREGATE MIN(n) AS s GROUP BY tumble(at, '1 minute') AS m, region",
    ] {
        assert_ne!(digest(other), first, "{other}");
    }
}

#[test]
fn each_mistake_has_its_place() {
    let found = |source: &str| -> Vec<String> {
        places(&checked(source), source).into_iter().map(|(slug, text)| format!("{slug}: {text}")).collect()
    };
    let counted = |keys: &str| found(&endless(&format!("|> AGGREGATE COUNT(*) AS n GROUP BY {keys}")));
    assert_eq!(counted("region"), ["needs-window: AGGREGATE COUNT(*) AS n GROUP BY region"]);
    assert_eq!(counted("tumble(at) AS m"), ["window: tumble(at)"]);
    assert_eq!(counted("hop(at, '1 second', '1 hour') AS m"), ["window: hop(at, '1 second', '1 hour')"]);
    assert_eq!(counted("tumble(at, '1 month') AS m"), ["option-value: '1 month'"]);
    assert_eq!(counted("tumble(n, '1 hour') AS m"), ["type-mismatch: n"]);
    assert_eq!(counted("tumble(at, '1 hour') AS m, hop(at, '1 hour', '2 hours') AS h").len(), 1);
    assert_eq!(counted("tumble(at, '1 hour') AS m, regoin"), ["no-such-column: regoin"]);
    let item = |item: &str| found(&ending(&format!("|> AGGREGATE {item} AS x GROUP BY kind")));
    assert_eq!(item("total + COUNT(*)"), ["not-grouped: total"]);
    assert_eq!(item("array_agg(total)"), ["not-repeatable: array_agg(total)"]);
    assert_eq!(item("MIN(total)"), ["type-mismatch: MIN(total)"]);
    assert_eq!(item("SUM(COUNT(*))").len(), 1);
    assert_eq!(item("kind || CAST(SUM(total) AS STRING)"), Vec::<String>::new());
    assert_eq!(found(&ending("|> AGGREGATE COUNT(*) AS n\n|> WHERE total > 1")), ["no-such-column: total"]);
    let last = ending("|> DEDUP BY id KEEP LAST\n|> AGGREGATE COUNT(*) AS n");
    assert_eq!(found(&last), ["keep-last: AGGREGATE COUNT(*) AS n"]);
}

#[test]
fn groups_of_an_endless_source_need_a_window() {
    let source = endless("|> AGGREGATE COUNT(*) AS n GROUP BY region");
    let expected = "error: these groups would never be complete
  ╭▸ orders.sync:4:4
  │
";
    let found = said(&checked(&source), &source);
    assert!(found.starts_with(expected), "{found}");
    assert!(found.contains("GROUP BY tumble(at, INTERVAL '1 minute') AS minute, region"), "{found}");
}
