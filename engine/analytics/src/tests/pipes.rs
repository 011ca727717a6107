//! Pipe syntax means what it means in a pipeline, and what no query has is refused by name.

use super::{asked, reading, table};
use crate::Limits;

async fn same(piped: &str, plain: &str) {
    let reading = reading();
    assert_eq!(table(&reading, piped).await, table(&reading, plain).await, "{piped}");
}

#[tokio::test]
async fn each_step_is_a_clause_or_has_a_query_of_its_own() {
    for (piped, plain) in [
        ("FROM runs", "SELECT * FROM runs"),
        ("FROM runs |> WHERE run > 1 OR run = 7 |> WHERE pipeline = 'orders'", "SELECT * FROM runs WHERE run = 2"),
        (
            "FROM steps AS s |> SELECT s.step, s.passed + 1 AS more |> WHERE more > 6",
            "SELECT step, passed + 1 AS more FROM steps WHERE passed > 5",
        ),
        ("FROM steps |> EXTEND passed * 2 AS twice |> SELECT twice", "SELECT passed * 2 AS twice FROM steps"),
        ("FROM runs |> SELECT run, state |> SET run = run * 10", "SELECT run * 10 AS run, state FROM runs"),
        ("FROM runs |> SELECT run, state |> DROP run", "SELECT state FROM runs"),
        (
            "FROM steps |> AGGREGATE sum(passed) AS passed, count(*) AS n GROUP BY run",
            "SELECT run, sum(passed) AS passed, count(*) AS n FROM steps GROUP BY run",
        ),
        ("FROM steps |> AGGREGATE count(*) AS n |> WHERE n > 2", "SELECT count(*) AS n FROM steps"),
        (
            "FROM steps |> SELECT step, row_number() OVER (ORDER BY step) AS n |> WHERE n = 1",
            "SELECT 'dedup' AS step, arrow_cast(1, 'UInt64') AS n",
        ),
        (
            "FROM steps |> ORDER BY passed DESC |> LIMIT 2 |> SELECT step",
            "SELECT step FROM steps ORDER BY passed DESC LIMIT 2",
        ),
        ("FROM steps |> ORDER BY step |> LIMIT 1 OFFSET 1", "SELECT * FROM steps ORDER BY step LIMIT 1 OFFSET 1"),
        (
            "FROM steps |> LIMIT 2 |> LIMIT 1 |> AGGREGATE count(*) AS n",
            "SELECT count(*) AS n FROM (SELECT * FROM steps LIMIT 1)",
        ),
        (
            "FROM runs AS r |> WHERE r.run = 2 |> JOIN steps AS s ON s.run = r.run |> WHERE s.passed > 5 |> SELECT r.state, s.step",
            "SELECT r.state, s.step FROM runs r JOIN steps s ON s.run = r.run WHERE s.passed > 5",
        ),
        (
            "FROM runs |> WHERE run = 2 |> AS r |> RIGHT JOIN (SELECT 1 AS run UNION ALL SELECT 2) AS n ON n.run = r.run |> AGGREGATE count(*) AS n, count(r.run) AS known",
            "SELECT 2 AS n, 1 AS known",
        ),
        ("FROM runs |> SELECT run |> UNION ALL (SELECT 7) |> ORDER BY run DESC |> LIMIT 1", "SELECT 7 AS run"),
        ("SELECT run FROM runs |> WHERE run = 2", "SELECT run FROM runs WHERE run = 2"),
        ("WITH r AS (FROM runs |> WHERE run = 2) FROM r |> SELECT run", "SELECT run FROM runs WHERE run = 2"),
        ("SELECT count(*) AS n FROM (FROM runs |> WHERE run = 2) t", "SELECT 1 AS n"),
    ] {
        same(piped, plain).await;
    }
}

#[tokio::test]
async fn a_step_that_no_query_has_is_refused_with_those_that_there_are() {
    let refused =
        asked(&reading(), "FROM runs |> TABLESAMPLE BERNOULLI (50 PERCENT)", Limits::default()).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("a query has no step `|> TABLESAMPLE`; its steps are SELECT, EXTEND"),
        "{refused}"
    );
    let explained = table(&reading(), "EXPLAIN FROM runs |> WHERE run = 1").await;
    assert!(explained.contains("Filter"), "{explained}");
}
