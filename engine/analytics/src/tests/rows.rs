//! Every table, whole.

use syncline_engine::{
    checkpoint,
    events::{self, EventKind},
    log::NewFrame,
    store::Changes,
};

use super::{TEN, asked, reading, table};
use crate::Limits;

async fn shows(sql: &str, expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(table(&reading(), sql).await, expected.join("\n"), "{sql}");
}

#[tokio::test]
async fn runs() {
    shows(
        "SELECT * FROM runs",
        r#"
            +----------+-----+---------+---------+---------------------+---------------------+-----------+--------+---------+----------+------+------------------+---------------------+----------------------------------+
            | pipeline | run | attempt | state   | started             | ended               | reason    | epochs | rows_in | balanced | plan | killed           | due                 | run_id                           |
            +----------+-----+---------+---------+---------------------+---------------------+-----------+--------+---------+----------+------+------------------+---------------------+----------------------------------+
            | orders   | 1   | 1       | failed  | 2026-11-20T10:00:00 | 2026-11-20T10:00:01 | disk full | 0      | 0       | true     | p1   | {}               |                     |                                  |
            | orders   | 2   | 3       | running | 2026-11-20T10:00:02 |                     |           | 2      | 10      | true     | p1   | {"committing":2} | 2026-11-20T10:00:00 | 34d5159e6506d29f62983db674d3b335 |
            +----------+-----+---------+---------+---------------------+---------------------+-----------+--------+---------+----------+------+------------------+---------------------+----------------------------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn schedules() {
    // Eleven in Berlin is ten in UTC.
    shows(
        "SELECT * FROM schedules",
        r#"
            +----------+------+------------+---------------+----------+--------+---------------------+---------------------+--------------+---------------------+-------------+
            | pipeline | kind | expression | time_zone     | missed   | paused | last_due            | last_started        | last_outcome | next_due            | missed_runs |
            +----------+------+------------+---------------+----------+--------+---------------------+---------------------+--------------+---------------------+-------------+
            | orders   | cron | 0 11 * * * | Europe/Berlin | run once | false  | 2026-11-20T10:00:00 | 2026-11-20T10:00:02 | running      | 2026-11-21T10:00:00 | 3           |
            +----------+------+------------+---------------+----------+--------+---------------------+---------------------+--------------+---------------------+-------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn steps() {
    shows(
        "SELECT * FROM steps",
        r#"
            +----------+-----+--------+---------+----------+--------+----------+----------+-----------+-------+------+------+--------+------+---------+-----------+--------------+--------+----------+
            | pipeline | run | step   | rows_in | rows_out | passed | absorbed | filtered | duplicate | stale | late | dead | parked | held | waiting | null_keys | late_windows | warned | balanced |
            +----------+-----+--------+---------+----------+--------+----------+----------+-----------+-------+------+------+--------+------+---------+-----------+--------------+--------+----------+
            | orders   | 2   | source | 10      | 9        | 9      | 0        | 0        | 0         | 0     | 0    | 1    | 0      | 0    | 0       | 0         | 0            | 0      | true     |
            | orders   | 2   | dedup  | 9       | 6        | 6      | 0        | 0        | 3         | 0     | 0    | 0    | 0      | 0    | 0       | 1         | 0            | 0      | true     |
            | orders   | 2   | upsert | 6       | 2        | 2      | 0        | 0        | 0         | 1     | 0    | 1    | 0      | 0    | 2       | 0         | 0            | 0      | true     |
            +----------+-----+--------+---------+----------+--------+----------+----------+-----------+-------+------+------+--------+------+---------+-----------+--------------+--------+----------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn pipelines() {
    shows(
        "SELECT * FROM pipelines",
        r#"
            +----------+---------+-----+---------+-------+------+----------------------------+-------+---------------------+---------+
            | pipeline | state   | run | attempt | epoch | plan | last_checkpoint            | fence | watermark           | waiting |
            +----------+---------+-----+---------+-------+------+----------------------------+-------+---------------------+---------+
            | orders   | running | 2   | 3       | 2     | p1   | 2026-11-20T10:00:00.000002 | 4     | 2026-11-20T09:59:59 | 2       |
            +----------+---------+-----+---------+-------+------+----------------------------+-------+---------------------+---------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn checkpoints() {
    shows(
        "SELECT * FROM checkpoints",
        r#"
            +----------+-----+-------+----------------------------+------+---------+-------------+
            | pipeline | run | epoch | time                       | rows | took_us | state_bytes |
            +----------+-----+-------+----------------------------+------+---------+-------------+
            | orders   | 2   | 1     | 2026-11-20T10:00:00.000001 | 7    | 900     | 48          |
            | orders   | 2   | 2     | 2026-11-20T10:00:00.000002 | 3    | 900     | 48          |
            +----------+-----+-------+----------------------------+------+---------+-------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn deliveries() {
    shows(
        "SELECT * FROM deliveries",
        r#"
            +------------+--------+-----------+----------+----------+----------------------------+
            | path       | verify | outcome   | reason   | requests | last                       |
            +------------+--------+-----------+----------+----------+----------------------------+
            | /in/hooks  | github | accepted  |          | 329      | 2026-11-20T10:00:00.000329 |
            | /in/hooks  | github | duplicate |          | 2        | 2026-11-20T10:00:00.000002 |
            | /in/hooks  | github | refused   | mismatch | 7        | 2026-11-20T10:00:00.000007 |
            | /in/hooks  | github | refused   | stale    | 1        | 2026-11-20T10:00:00.000001 |
            | /in/orders |        | accepted  |          | 10       | 2026-11-20T10:00:00.000010 |
            +------------+--------+-----------+----------+----------+----------------------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn records_dropped() {
    shows(
        "SELECT pipeline, step, fate, reason, source, record_offset, time FROM records_dropped",
        r#"
            +----------+--------+-----------+------------+-----------+---------------+---------------------+
            | pipeline | step   | fate      | reason     | source    | record_offset | time                |
            +----------+--------+-----------+------------+-----------+---------------+---------------------+
            | orders   | source | dead      | not-json   | in/orders | 3             | 2026-11-20T10:00:00 |
            | orders   | dedup  | duplicate | duplicate  | in/orders | 5             | 2026-11-20T10:00:00 |
            | orders   | dedup  | duplicate | duplicate  | in/orders | 6             | 2026-11-20T10:00:00 |
            | orders   | dedup  | duplicate | duplicate  | in/orders | 8             | 2026-11-20T10:00:00 |
            | orders   | upsert | stale     | stale      | in/orders | 2             | 2026-11-20T10:00:00 |
            | orders   | upsert | dead      | constraint | in/orders | 9             | 2026-11-20T10:00:00 |
            +----------+--------+-----------+------------+-----------+---------------+---------------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn ledger() {
    shows(
        "SELECT * FROM ledger WHERE fate = 'passed'",
        r#"
            +----------+-------+--------+--------+-----------+---------------+---------------------+-----+-------+-----+-----------------+
            | pipeline | step  | fate   | reason | source    | record_offset | time                | run | epoch | key | key_fingerprint |
            +----------+-------+--------+--------+-----------+---------------+---------------------+-----+-------+-----+-----------------+
            | orders   | dedup | passed | passed | in/orders | 1             | 2026-11-20T10:00:00 | 2   | 2     |     |                 |
            +----------+-------+--------+--------+-----------+---------------+---------------------+-----+-------+-----+-----------------+
        "#,
    )
    .await;
}

/// What a sink decides is of no run and no epoch; only a step that goes by a key says which.
#[tokio::test]
async fn runs_epochs_and_keys_of_records() {
    shows(
        "SELECT step, record_offset, run, epoch, key, key_fingerprint FROM records_dropped",
        r#"
            +--------+---------------+-----+-------+-----+----------------------------------+
            | step   | record_offset | run | epoch | key | key_fingerprint                  |
            +--------+---------------+-----+-------+-----+----------------------------------+
            | source | 3             | 2   | 2     |     |                                  |
            | dedup  | 5             | 2   | 2     | b   | 0000000000000000000000000000feed |
            | dedup  | 6             | 2   | 2     |     |                                  |
            | dedup  | 8             | 2   | 2     |     | 00000000000000000000000000000003 |
            | upsert | 2             |     |       |     |                                  |
            | upsert | 9             |     |       |     |                                  |
            +--------+---------------+-----+-------+-----+----------------------------------+
        "#,
    )
    .await;
    shows(
        "SELECT l.record_offset, l.key, s.kept_at FROM ledger l JOIN orders.dedup s USING (key_fingerprint)",
        r#"
            +---------------+-----+---------------------+
            | record_offset | key | kept_at             |
            +---------------+-----+---------------------+
            | 5             | b   | 2026-11-20T10:00:01 |
            +---------------+-----+---------------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn dead_letters() {
    shows(
        "SELECT id, pipeline, step, reason, detail, source, record_offset, record_byte FROM dead_letters",
        r#"
            +------------------+----------+--------+------------+-----------------------+-----------+---------------+-------------+
            | id               | pipeline | step   | reason     | detail                | source    | record_offset | record_byte |
            +------------------+----------+--------+------------+-----------------------+-----------+---------------+-------------+
            | acb7a4e407ecb31b | orders   | source | not-json   | because of not-json   | in/orders | 3             |             |
            | abd43463683a8179 | orders   | upsert | constraint | because of constraint | in/orders | 9             |             |
            +------------------+----------+--------+------------+-----------------------+-----------+---------------+-------------+
        "#,
    )
    .await;
    shows(
        "SELECT time, epoch, length, hash, headers, bytes, text FROM dead_letters",
        r#"
            +---------------------+-------+--------+------+---------+------------+-------+
            | time                | epoch | length | hash | headers | bytes      | text  |
            +---------------------+-------+--------+------+---------+------------+-------+
            | 2026-11-20T10:00:00 | 2     | 5      | 00ff | {}      | 6e6fff7065 | no�pe |
            | 2026-11-20T10:00:00 | 2     | 2      | 00ff | {}      | 7b7d       | {}    |
            +---------------------+-------+--------+------+---------+------------+-------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn live_state() {
    shows(
        "SELECT * FROM orders.dedup",
        r#"
            +----------------------------------+---------------------+-------+
            | key_fingerprint                  | kept_at             | epoch |
            +----------------------------------+---------------------+-------+
            | 00000000000000000000000000000001 | 2026-11-20T10:00:00 | 2     |
            | 0000000000000000000000000000feed | 2026-11-20T10:00:01 | 2     |
            +----------------------------------+---------------------+-------+
        "#,
    )
    .await;
    shows(
        "SELECT * FROM ORDERS.\"people/dedup\"",
        r#"
            +----------------------------------+---------------------+-------+
            | key_fingerprint                  | kept_at             | epoch |
            +----------------------------------+---------------------+-------+
            | 00000000000000000000000000000007 | 2026-11-20T10:00:01 | 2     |
            +----------------------------------+---------------------+-------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn names() {
    shows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2",
        r#"
            +--------------+-----------------+
            | table_schema | table_name      |
            +--------------+-----------------+
            | orders       | aggregate       |
            | orders       | dedup           |
            | orders       | join            |
            | orders       | order_by        |
            | orders       | people/dedup    |
            | orders       | people/limit_2  |
            | public       | audit_log       |
            | public       | backfills       |
            | public       | checkpoints     |
            | public       | dead_letters    |
            | public       | deliveries      |
            | public       | lag             |
            | public       | ledger          |
            | public       | pipelines       |
            | public       | records_dropped |
            | public       | requests        |
            | public       | revisions       |
            | public       | run_events      |
            | public       | runs            |
            | public       | schedules       |
            | public       | steps           |
            | public       | watermarks      |
            +--------------+-----------------+
        "#,
    )
    .await;
}

#[tokio::test]
async fn watermarks() {
    shows(
        "SELECT * FROM watermarks",
        r#"
            +----------+--------+---------------------+---------+-------+
            | pipeline | source | watermark           | slowest | epoch |
            +----------+--------+---------------------+---------+-------+
            | orders   | a      | 2026-11-20T10:00:00 | false   | 2     |
            | orders   | b      | 2026-11-20T09:59:59 | true    | 2     |
            +----------+--------+---------------------+---------+-------+
        "#,
    )
    .await;
}

/// Of what is read from elsewhere only the position is known here.
#[tokio::test]
async fn lag() {
    let reading = reading();
    let frame = NewFrame { count: 12, time: TEN, body: vec![] };
    reading.log.append("in/hooks", frame).unwrap();
    let ends = reading.log.prepare(&["in/hooks".to_owned()]).unwrap();
    reading.log.commit(3, &ends).unwrap();
    let mut checkpoint = checkpoint::read_checkpoint(&*reading.store, "orders").unwrap().unwrap();
    checkpoint.cursors.insert("in/hooks".into(), 7.into());
    checkpoint.cursors.insert("orders.ndjson".into(), serde_json::json!({"offset": 3}));
    let mut changes = Changes::default();
    checkpoint::put_checkpoint(&mut changes, "orders", &checkpoint, checkpoint.cursors.keys());
    reading.store.apply(changes).unwrap();
    let expected = r#"
        +---------------+--------------+-----+-----+
        | source        | position     | end | lag |
        +---------------+--------------+-----+-----+
        | a             | 9            |     |     |
        | b             | 9            |     |     |
        | in/hooks      | 7            | 12  | 5   |
        | orders.ndjson | {"offset":3} |     |     |
        +---------------+--------------+-----+-----+
    "#;
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    let shown = table(&reading, "SELECT source, position, \"end\", lag FROM lag ORDER BY source").await;
    assert_eq!(shown, expected.join("\n"));
}

/// A pipeline that never came to a run has events too.
#[tokio::test]
async fn run_events() {
    let reading = reading();
    for (pipeline, kind, reason) in [
        ("orders", EventKind::Started, None),
        ("orders", EventKind::Failed, Some("disk full")),
        ("people", EventKind::GivenUp, Some("no such table")),
    ] {
        events::note(&*reading.store, pipeline, kind, reason.map(str::to_owned), TEN).unwrap();
    }
    let expected = r#"
        +----------+--------+---------------------+----------+-----+---------+---------------+
        | pipeline | number | time                | event    | run | attempt | reason        |
        +----------+--------+---------------------+----------+-----+---------+---------------+
        | orders   | 1      | 2026-11-20T10:00:00 | started  | 2   | 3       |               |
        | orders   | 2      | 2026-11-20T10:00:00 | failed   | 2   | 3       | disk full     |
        | people   | 1      | 2026-11-20T10:00:00 | given_up |     |         | no such table |
        +----------+--------+---------------------+----------+-----+---------+---------------+
    "#;
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(table(&reading, "SELECT * FROM run_events").await, expected.join("\n"));
    assert_eq!(table(&reading, "SELECT event FROM run_events WHERE pipeline = 'people'").await.lines().count(), 5);
    assert_eq!(
        table(&reading, "SELECT pipeline FROM pipelines").await.lines().count(),
        5,
        "it is no pipeline that ran"
    );
}

#[tokio::test]
async fn state_by_the_names_of_a_pipeline_and_a_step() {
    let reading = reading();
    for (named, table_name) in
        [("'orders', 'dedup'", "orders.dedup"), ("'ORDERS', 'people/dedup'", "orders.\"people/dedup\"")]
    {
        let by_function = table(&reading, &format!("SELECT * FROM pipeline_state({named})")).await;
        assert_eq!(by_function, table(&reading, &format!("SELECT * FROM {table_name}")).await);
    }
    for (arguments, said) in [
        ("'orders'", "pipeline_state takes the names of a pipeline and of a step: pipeline_state('orders', 'dedup')"),
        ("'order', 'dedup'", "pipeline_state: there is no pipeline `order`; there are: orders"),
        ("'orders', 'nothing'", "pipeline_state: orders has no state of a step `nothing`; it has: aggregate, dedup"),
    ] {
        let refused = asked(&reading, &format!("SELECT * FROM pipeline_state({arguments})"), Limits::default()).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.starts_with(said), "{told}");
    }
}
