//! PARTITIONED BY, and which steps it lets work on some partitions only.

use super::*;

/// With a source whose records have keys.
fn catalog_with_keys() -> Catalog {
    let mut catalog = catalog();
    let mut topic = catalog.connector("http").expect("a source that never ends").clone();
    topic.name = "topic".into();
    topic.source.as_mut().expect("it is one").keys = true;
    catalog.connectors.push(topic);
    catalog
}

fn compiled(source: &str) -> Checked {
    compile(source, &catalog_with_keys(), &Samples::default())
}

#[test]
fn the_plan_says_what_keys_are_made_of_and_reads_it() {
    let checked = compiled(
        "PIPELINE p AS FROM topic('orders') PARTITIONED BY (Region, id) |> SELECT total |> INSERT INTO stdout();",
    );
    assert!(checked.diagnostics.is_empty(), "{:?}", checked.diagnostics);
    let expected = "\
pipeline p · checkpoint every 200 ms
  from topic('orders') · json · never ends
       fields: Region JSON, id JSON, total JSON
       partitioned by: Region, id
  select: SELECT
    total JSON = total
  insert: INSERT INTO stdout() · total
";
    assert_eq!(checked.plan.to_string(), expected);
}

#[test]
fn a_key_is_of_fields_that_are_there_in_a_source_that_has_keys() {
    let said = |source: &str| {
        let checked = compiled(source);
        assert!(checked.plan.pipelines.iter().all(|plan| plan.pipeline != "p"));
        said(&checked, source)
    };
    let told = said("PIPELINE p AS FROM file('a') PARTITIONED BY (id) |> INSERT INTO stdout();");
    let expected = r#"
error: file does not take PARTITIONED BY
  ╭▸ orders.sync:1:41
  │
1 │ PIPELINE p AS FROM file('a') PARTITIONED BY (id) |> INSERT INTO stdout();
  │                                             ━━━━ its records have no keys that choose a partition
  ╰╴
help: leave it out: keyed steps see all records of a key"#;
    assert_eq!(without_columns(&told), without_columns(&expected[1..]));
    let told = said("PIPELINE p AS FROM topic('a') PARTITIONED BY (_key) |> INSERT INTO stdout();");
    assert!(told.starts_with("error: _key is not in the value of a record\n"), "{told}");
    let told = said("PIPELINE p AS FROM topic('a') PARTITIONED BY (id, id) |> INSERT INTO stdout();");
    assert!(told.starts_with("error: two columns would be called id\n"), "{told}");
    let told = said(
        "SCHEMA s (id BIGINT); PIPELINE p AS FROM topic('a') SCHEMA s PARTITIONED BY (ident) |> INSERT INTO stdout();",
    );
    assert!(told.starts_with("error: there is no column ident here\n"), "{told}");
    let told = said(
        "PIPELINE w AS FROM topic('a') |> AS STREAM s;\nPIPELINE p AS FROM s PARTITIONED BY (id) |> INSERT INTO stdout();",
    );
    assert!(told.contains("error: a stream does not take PARTITIONED BY\n"), "{told}");
}

/// Without line and column, which the text beside them shows.
fn without_columns(told: &str) -> String {
    told.lines().filter(|line| !line.contains("orders.sync:")).collect::<Vec<_>>().join("\n")
}

/// Ids of the steps that may need several partitions for one key, and whether partitions may be shared out.
fn across(flow: &str) -> (Vec<String>, bool) {
    let source = format!("SCHEMA pair (a JSON, b JSON, n BIGINT, at TIMESTAMP); PIPELINE p AS FROM topic('t') {flow};");
    let checked = compiled(&source);
    assert!(!checked.plan.pipelines.is_empty(), "{}", said(&checked, &source));
    let plan = &checked.plan.pipelines[0];
    (plan.across_partitions().into_iter().map(|step| step.id.clone()).collect(), plan.co_partitioned())
}

#[test]
fn a_step_works_in_one_partition_when_its_key_has_all_columns_of_the_claim_as_they_came() {
    let right = [
        "|> WHERE a > '1' |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> DEDUP BY b, a WITHIN '1 day' |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> DEDUP WITHIN '1 day' |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> RENAME a AS c |> DEDUP BY c WITHIN '1 day' |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> SELECT a AS c, b |> UPSERT INTO sqlite('x.db', 't') KEY (c)",
        "PARTITIONED BY (a, b) |> SHARD BY b, a INTO 4 |> INSERT INTO stdout()",
        "PARTITIONED BY (a) |> AGGREGATE COUNT(*) AS n GROUP BY tumble(_timestamp, INTERVAL '1 hour') AS hour, a AS c |> UPSERT INTO sqlite('x.db', 't') KEY (hour, c)",
        "PARTITIONED BY (a) |> FORK (|> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()), (|> INSERT INTO stdout())",
    ];
    for flow in right {
        assert_eq!(across(flow), (vec![], true), "{flow}");
    }
    let wrong = [
        ("|> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()", "dedup"),
        ("PARTITIONED BY (a, b) |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()", "dedup"),
        ("PARTITIONED BY (a) |> DEDUP BY lower(a) WITHIN '1 day' |> INSERT INTO stdout()", "dedup"),
        ("PARTITIONED BY (a) |> SET a = lower(a) |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()", "dedup"),
        (
            "PARTITIONED BY (a) |> SELECT CAST(a AS BIGINT) AS a |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()",
            "dedup",
        ),
        ("PARTITIONED BY (a) |> SELECT b AS a, a AS b |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()", "dedup"),
        ("PARTITIONED BY (a) |> SHARD BY b INTO 4 |> INSERT INTO stdout()", "shard"),
        ("PARTITIONED BY (a) |> SELECT a, b |> UPSERT INTO sqlite('x.db', 't') KEY (b)", "upsert"),
        ("PARTITIONED BY (a) |> SELECT a, b |> REPLACE INTO sqlite('x.db', 't') PER (b)", "replace"),
        (
            "PARTITIONED BY (a) |> TEE (|> DEDUP BY b WITHIN '1 day' |> INSERT INTO stdout()) |> INSERT INTO stdout()",
            "tee/dedup",
        ),
        (
            "PARTITIONED BY (a) |> AGGREGATE COUNT(*) AS n GROUP BY tumble(_timestamp, INTERVAL '1 hour') AS hour, b |> INSERT INTO stdout()",
            "aggregate",
        ),
    ];
    for (flow, id) in wrong {
        assert_eq!(across(flow), (vec![id.to_owned()], false), "{flow}");
    }
}

#[test]
fn behind_a_second_source_nothing_is_known_of_partitions() {
    let flow = "PARTITIONED BY (a) |> SELECT a |> UNION ALL (FROM topic('u') PARTITIONED BY (a) |> SELECT a) |> DEDUP BY a WITHIN '1 day' |> INSERT INTO stdout()";
    assert_eq!(across(flow), (vec!["dedup".to_owned()], false));
    let flow = "PARTITIONED BY (a) |> SELECT a |> UNION ALL (FROM topic('u') |> SELECT a) |> INSERT INTO stdout()";
    assert_eq!(across(flow), (vec![], false));
}
