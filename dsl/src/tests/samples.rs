//! The four pipelines that the language has to express.

use super::*;
use crate::plan::{ExpectationKind, TestInput};

pub(super) const SAMPLES: [&str; 4] = [
    include_str!("samples/1.sync"),
    include_str!("samples/2.sync"),
    include_str!("samples/3.sync"),
    include_str!("samples/4.sync"),
];

#[test]
fn the_quick_start_compiles_to_this_plan() {
    assert_eq!(
        plan_of(SAMPLES[0]),
        "\
pipeline orders · checkpoint every 200 ms
  from http('/orders') · json · never ends
       fields: type JSON, id JSON, customer JSON, total JSON, created_at JSON
  where: WHERE type = 'order.created'
  dedup: DEDUP BY id WITHIN 1 hour
  select: SELECT
    id JSON = id
    customer JSON = customer
    total DECIMAL(12, 2) = CAST(total AS DECIMAL(12,2))
    created_at TIMESTAMP = CAST(created_at AS TIMESTAMP)
  tee: TEE
    tee/insert: INSERT INTO parquet('out/orders/') · id, customer, total, created_at
  upsert: UPSERT INTO sqlite('shop.db', 'orders') KEY (id) · id, customer, total, created_at
"
    );
}

#[test]
fn the_quick_start_over_a_file_ends() {
    let source = SAMPLES[0].replace("http('/orders')", "file('events/*.ndjson')");
    let over_http = plan_of(SAMPLES[0]);
    let from = "  from http('/orders') · json · never ends";
    assert_eq!(plan_of(&source), over_http.replace(from, "  from file('events/*.ndjson') · json · ends"));
}

#[test]
fn the_test_of_the_quick_start_is_in_the_plan() {
    let checked = checked(SAMPLES[0]);
    let test = &checked.plan.tests[0];
    assert_eq!((test.name.as_str(), test.pipeline.as_str()), ("repeats_are_dropped", "orders"));
    let TestInput::Rows(rows) = &test.input else { panic!("rows") };
    assert_eq!((rows.len(), rows[2].as_str()), (3, r#"{"id": 2, "type": "order.cancelled"}"#));
    let kinds: Vec<&ExpectationKind> = test.expectations.iter().map(|expectation| &expectation.kind).collect();
    let row = ["1", "'ada'", "9.50", "TIMESTAMP '2026-11-20 10:00:00'"].map(str::to_owned).to_vec();
    assert_eq!(
        kinds,
        [
            &ExpectationKind::Rows { step: "upsert".into(), rows: vec![row] },
            &ExpectationKind::Dropped { count: 1, because: "duplicate".into() },
            &ExpectationKind::Dropped { count: 1, because: "filtered".into() },
        ]
    );
}

/// What a sample needs and this version lacks, each at its place, and nothing else.
fn lacks(sample: &str) -> Vec<String> {
    let checked = checked(sample);
    assert!(checked.plan.pipelines.is_empty() && checked.plan.tests.is_empty());
    places(&checked, sample).into_iter().map(|(slug, text)| format!("{slug}: {text}")).collect()
}

#[test]
fn kafka_to_kafka_is_not_there_yet() {
    assert_eq!(lacks(SAMPLES[1]), ["not-yet: kafka"]);
}

#[test]
fn polls_webhooks_and_postgres_are_not_there_yet() {
    assert_eq!(
        lacks(SAMPLES[2]),
        [
            "not-yet: github",
            "not-yet: postgres",
            "not-yet: ON WEBHOOK issues, issue_comment",
            "not-yet: updated_at",
            "not-yet: issues_stale",
        ]
    );
}

#[test]
fn two_way_sync_is_not_there_yet() {
    assert_eq!(lacks(SAMPLES[3]), ["not-yet: salesforce", "not-yet: postgres", "not-yet: contacts"]);
}
