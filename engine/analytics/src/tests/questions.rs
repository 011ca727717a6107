//! What may be asked, and what is said to what may not.

use std::{sync::Arc, time::Duration};

use syncline_engine::{
    checkpoint::{self, Checkpoint},
    ledger::{When, encode, ledger_topic},
    log::{Log, NewFrame},
    operator::LedgerEntry,
    store::Changes,
};
use syncline_record::{Fate, Partition};

use super::{asked, reading, table};
use crate::{Limits, QueryError, Reading};

async fn refused(sql: &str) -> QueryError {
    asked(&reading(), sql, Limits::default()).await.expect_err(sql)
}

#[tokio::test]
async fn only_reading_is_allowed() {
    for (sql, statement) in [
        ("CREATE TABLE t AS SELECT 1", "CREATE MEMORY TABLE"),
        ("DROP TABLE runs", "DROP TABLE"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
        ("INSERT INTO runs SELECT * FROM runs", "INSERT INTO"),
        ("insert  into runs VALUES (1)", "INSERT INTO"),
        ("DELETE FROM runs", "DELETE"),
        ("UPDATE runs SET run = 1", "UPDATE"),
        ("COPY runs TO '/tmp/x.csv'", "COPY"),
        ("SET datafusion.execution.batch_size = 1", "SET VARIABLE"),
        ("EXPLAIN INSERT INTO runs SELECT * FROM runs", "EXPLAIN OF INSERT INTO"),
        ("EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs", "EXPLAIN ANALYZE OF INSERT INTO"),
    ] {
        assert_eq!(refused(sql).await, QueryError::Writes { statement: statement.to_owned() }, "{sql}");
    }
}

#[tokio::test]
async fn explain_show_and_describe_are_reading() {
    let reading = reading();
    for sql in ["EXPLAIN SELECT * FROM runs", "SHOW TABLES", "DESCRIBE runs", "SHOW COLUMNS FROM steps", "SELECT 1"] {
        assert!(asked(&reading, sql, Limits::default()).await.is_ok(), "{sql}");
    }
}

#[tokio::test]
async fn wrong_names_are_answered_with_the_nearest() {
    let table = refused("SELECT * FROM run").await;
    assert_eq!(table.to_string(), "there is no table `run`");
    assert_eq!(table.help()[0], "did you mean `runs`?");
    assert!(table.help()[1].contains("records_dropped") && table.help()[1].contains("orders.\"people/dedup\""));
    assert_eq!(refused("SELECT * FROM orders.dedupe").await.help()[0], "did you mean `orders.dedup`?");
    let column = refused("SELECT stat FROM runs WHERE run = 1").await;
    assert_eq!(column.to_string(), "there is no column `stat`");
    assert_eq!(column.help()[0], "did you mean `state`?");
    let far = refused("SELECT * FROM xyzzy_nothing").await;
    assert!(matches!(far, QueryError::NoSuchTable { nearest: None, .. }));
}

#[tokio::test]
async fn nothing_outside_is_reached_and_whoever_expects_it_is_told() {
    for (sql, what) in [
        ("SELECT * FROM 'orders.parquet'", "'orders.parquet'"),
        ("SELECT * FROM \"s3://lake/orders\"", "'s3://lake/orders'"),
        ("SELECT * FROM '/etc/passwd'", "'/etc/passwd'"),
        ("SELECT * FROM read_csv('orders.csv')", "read_csv()"),
        ("EXPLAIN SELECT pg_read_file('x') FROM runs", "pg_read_file()"),
        ("SELECT (SELECT dblink('host=other', 'SELECT 1'))", "dblink()"),
    ] {
        let error = refused(sql).await;
        assert_eq!(error, QueryError::Unreachable { what: what.to_owned() }, "{sql}");
        assert!(error.help()[0].starts_with("a pipeline reads files"));
    }
}

#[tokio::test]
async fn what_is_no_statement_says_so() {
    let text = |error: QueryError| error.to_string();
    assert!(text(refused("SELEC 1").await).starts_with("this is not SQL: "));
    assert!(matches!(refused("").await, QueryError::Wrong { .. }));
    assert!(matches!(refused("SELECT 1; DROP TABLE runs").await, QueryError::Wrong { .. }));
}

#[tokio::test]
async fn time_and_memory_are_bounded() {
    let reading = reading();
    let short = Limits { time: Some(Duration::from_millis(100)), ..Limits::default() };
    let endless = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b";
    let late = asked(&reading, endless, short).await.unwrap_err();
    assert_eq!(late, QueryError::TooLong { limit: Duration::from_millis(100) });
    let small = Limits { memory: 1 << 20, ..Limits::default() };
    let large = "SELECT value FROM generate_series(1, 10000000) ORDER BY value % 1000";
    let error = asked(&reading, large, small).await.unwrap_err();
    assert_eq!(error, QueryError::TooLarge { limit: 1 << 20 });
}

/// Two pipelines with a ledger of many frames each; that of `other` cannot be read.
fn long() -> Reading {
    let reading = reading();
    let mut changes = Changes::default();
    for pipeline in ["long", "other"] {
        checkpoint::put(&mut changes, checkpoint::checkpoint_key(pipeline), &Checkpoint::default());
    }
    reading.store.apply(changes).unwrap();
    let log = Arc::new(syncline_engine::log::memory::MemoryLog::new());
    let frame = |base: u64| {
        let entry = LedgerEntry {
            step: "dedup".into(),
            fate: Fate::Duplicate,
            reason: "duplicate".into(),
            partition: Partition::new("a", 0),
            offsets: (base..base + 10_000).collect(),
            keys: Default::default(),
        };
        NewFrame { count: 10_000, time: 0, body: encode(When { run: 1, epoch: 1 }, &[entry]) }
    };
    let topics = ["long", "other"].map(ledger_topic);
    for base in 0..30 {
        log.append(&topics[0], frame(base * 10_000)).unwrap();
    }
    log.append(&topics[1], NewFrame { count: 1, time: 0, body: vec![200] }).unwrap();
    let ends = log.prepare(&topics).unwrap();
    log.commit(1, &ends).unwrap();
    Reading { log, ..reading }
}

/// The same SQL meant something else here than in a pipeline.
#[tokio::test]
async fn casts_quotients_and_zones_are_those_of_pipelines() {
    let reading = reading();
    for (sql, answer) in [
        ("CAST(v AS BIGINT)", "3"),
        ("CAST(CAST(v AS DOUBLE) + 0.2 AS INT)", "3"),
        ("TRY_CAST(v * 100 AS TINYINT)", ""),
        ("v / 3", "0.83333"),
        ("2.0 / 3", "0.66667"),
        ("date_part('hour', TIMESTAMP '2026-03-29T02:30:00Z' AT TIME ZONE 'Europe/Berlin')", "4"),
        (
            "CAST(arrow_cast(1774751400000000, 'Timestamp(Microsecond, None)') AT TIME ZONE 'Europe/Berlin' AS DATE)",
            "2026-03-29",
        ),
        ("lpad('x', -1) || 'y'", "y"),
    ] {
        let table = table(&reading, &format!("SELECT {sql} AS answer FROM (VALUES (2.5)) t(v)")).await;
        let cells: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')).map(str::trim).collect();
        assert_eq!(cells, ["answer", answer], "{sql}");
    }
    let said = refused("SELECT CAST(v AS TINYINT) FROM (VALUES (300.5)) t(v)").await.to_string();
    assert_eq!(said, "v: `300.5` is not a TINYINT");
    let named = table(&reading, "SELECT CAST(2.5 AS INT), sum(v / 2) FROM (VALUES (3.0)) t(v)").await;
    assert!(named.contains("| 1.50000 "), "{named}");
}

/// It ended the process, and with it the pipelines that run there.
#[tokio::test]
async fn a_function_makes_no_more_than_it_makes_in_a_pipeline() {
    for (sql, what) in [
        ("SELECT repeat('x', 2000000000 + v) FROM (VALUES (1), (2)) t(v)", "a text of 2000000001 characters"),
        ("SELECT array_repeat(1, 1000000000000)", "a list of 1000000000000 elements"),
    ] {
        let said = refused(sql).await.to_string();
        assert!(said.contains(&format!("{what} cannot be made of a row")), "{sql}: {said}");
    }
}

#[tokio::test]
async fn a_long_ledger_passes_and_filters_on_the_pipeline_leave_the_others_alone() {
    let reading = long();
    let sql = "SELECT count(*) AS n, max(record_offset) AS last FROM records_dropped WHERE pipeline = 'long'";
    let expected =
        "+--------+--------+\n| n      | last   |\n+--------+--------+\n| 300000 | 299999 |\n+--------+--------+";
    assert_eq!(table(&reading, sql).await, expected);
    let few = asked(&reading, "SELECT * FROM records_dropped WHERE pipeline IN ('long') LIMIT 3", Limits::default());
    assert_eq!(few.await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    let all = asked(&reading, "SELECT count(*) FROM records_dropped", Limits::default()).await.unwrap_err();
    assert_eq!(all.to_string(), "pipeline/other/ledger: an entry is cut off");
}

#[tokio::test]
async fn state_that_is_no_keys_is_refused_by_name() {
    for (step, kind) in
        [("aggregate", "AGGREGATE"), ("order_by", "ORDER BY"), ("\"people/limit_2\"", "LIMIT"), ("join", "JOIN")]
    {
        let QueryError::Wrong { detail } = refused(&format!("SELECT * FROM orders.{step}")).await else {
            panic!("{step} was not refused in the asker's words");
        };
        let name = step.trim_matches('"');
        let cause = "only the keys of a DEDUP or DISTINCT can";
        assert_eq!(detail, format!("the state of orders.{name} ({kind}) cannot be shown as rows: {cause}"));
    }
}
