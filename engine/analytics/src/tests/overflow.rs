//! An integer that does not fit its type is an error, wherever in a question it is computed; one that just fits is right.

use std::{
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, RecordBatch},
    util::display::array_value_to_string,
};

use super::{asked, reading};
use crate::{Catalog, Limits, QueryError, STACK, ScalarValue, Why, Words};

/// Three rows: the greatest, the least, and one between them.
const EDGES: &str = "(VALUES (1, 9223372036854775807, 'a'), (2, -9223372036854775808, 'b'), (3, 1, 'a')) t(n, x, g)";

/// What is said of a question.
async fn said(sql: &str) -> Result<Vec<String>, QueryError> {
    let batches = asked(&reading(), &sql.replace("EDGES", EDGES), Limits::default()).await?;
    let text = |batch: &RecordBatch| {
        let column = batch.column(0).clone();
        let shown = |row| match column.is_null(row) {
            true => "NULL".to_owned(),
            false => array_value_to_string(&column, row).expect("a value that prints"),
        };
        (0..batch.num_rows()).map(shown).collect::<Vec<_>>()
    };
    Ok(batches.iter().flat_map(text).collect())
}

#[tokio::test]
async fn what_no_integer_holds_is_an_error() {
    let mut wrong: Vec<String> = vec![];
    for (sql, words) in [
        // Literals, which are computed while a question is planned.
        ("SELECT 9223372036854775807 + 1", "9223372036854775807 + 1 is no BIGINT"),
        ("SELECT -9223372036854775808 - 1", "-9223372036854775808 - 1 is no BIGINT"),
        ("SELECT 9223372036854775807 * 2", "9223372036854775807 * 2 is no BIGINT"),
        ("SELECT -(-9223372036854775808)", "- -9223372036854775808 is no BIGINT"),
        ("SELECT abs(-9223372036854775808)", "abs(-9223372036854775808) is out of range"),
        ("SELECT 9223372036854775807 + 1 - 1", "9223372036854775807 + 1 is no BIGINT"),
        ("SELECT CAST(2147483647 AS INT) + CAST(1 AS INT)", "2147483647 + 1 is no INT"),
        ("SELECT a + 9223372036854775807 FROM (SELECT 1 AS a)", "1 + 9223372036854775807 is no BIGINT"),
        ("SELECT CASE WHEN 1 = 1 THEN 9223372036854775807 ELSE 0 END + 1", "is no BIGINT"),
        ("VALUES (9223372036854775807 + 1)", "is no BIGINT"),
        // Columns.
        ("SELECT x + n FROM EDGES", "9223372036854775807 + 1 is no BIGINT"),
        ("SELECT x - n FROM EDGES", "-9223372036854775808 - 2 is no BIGINT"),
        ("SELECT x * n FROM EDGES", "-9223372036854775808 * 2 is no BIGINT"),
        ("SELECT -x FROM EDGES", "- -9223372036854775808 is no BIGINT"),
        ("SELECT abs(x) FROM EDGES", "abs(-9223372036854775808) is out of range"),
        ("SELECT CAST(n AS INT UNSIGNED) - CAST(3 AS INT UNSIGNED) FROM EDGES", "1 - 3 is no INT UNSIGNED"),
        // Places where expressions are.
        ("SELECT n FROM EDGES WHERE x + 1 > 5", "is no BIGINT"),
        ("SELECT x + 1 AS y, count(*) FROM EDGES GROUP BY y", "is no BIGINT"),
        ("SELECT x + 1, g, count(*) FROM EDGES GROUP BY ROLLUP (x + 1, g)", "is no BIGINT"),
        ("SELECT g FROM EDGES GROUP BY g HAVING max(x) + 1 > 0", "is no BIGINT"),
        ("SELECT n FROM EDGES ORDER BY x + 1", "is no BIGINT"),
        ("SELECT DISTINCT ON (x + 1) n FROM EDGES", "is no BIGINT"),
        ("SELECT min(x - 1) FROM EDGES", "is no BIGINT"),
        ("SELECT count(*) FILTER (WHERE x + 1 > 0) FROM EDGES", "is no BIGINT"),
        ("SELECT t.n FROM EDGES JOIN (VALUES (1)) b(m) ON t.x + 1 = b.m", "is no BIGINT"),
        ("SELECT t.n FROM EDGES LEFT JOIN (VALUES (1)) b(m) ON t.x + b.m > 5", "is no BIGINT"),
        ("SELECT row_number() OVER (ORDER BY x + 1) FROM EDGES", "is no BIGINT"),
        ("SELECT lag(x + 1) OVER (ORDER BY n) FROM EDGES", "is no BIGINT"),
        ("SELECT CASE WHEN n = 1 THEN x + 1 ELSE 0 END FROM EDGES", "is no BIGINT"),
        ("SELECT (SELECT max(x) + 1 FROM EDGES)", "is no BIGINT"),
        ("SELECT n FROM EDGES WHERE EXISTS (SELECT 1 FROM (VALUES (1)) b(m) WHERE b.m + t.x > 0)", "is no BIGINT"),
        ("SELECT n FROM EDGES WHERE x IN (SELECT x + 1 FROM EDGES)", "is no BIGINT"),
        ("SELECT make_array(x + 1) FROM EDGES", "is no BIGINT"),
        ("SELECT x + 1 FROM EDGES UNION ALL SELECT 1", "is no BIGINT"),
        (
            "WITH RECURSIVE r AS (SELECT 9223372036854775806 AS n UNION ALL SELECT n + 1 FROM r WHERE n > 0) SELECT n FROM r",
            "9223372036854775807 + 1 is no BIGINT",
        ),
    ] {
        match said(sql).await {
            Err(QueryError::Value { detail, why: Why::OutOfRange }) if detail.contains(words) => {}
            other => wrong.push(format!("{sql}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let error = said("SELECT 9223372036854775807 + 1").await.expect_err("it does not fit");
    assert_eq!(error.help(), ["take a type that holds it, before: CAST(… AS DECIMAL(38, 0)) or CAST(… AS DOUBLE)"]);
}

#[tokio::test]
async fn what_just_fits_is_right() {
    let mut wrong: Vec<String> = vec![];
    for (sql, right) in [
        ("SELECT 9223372036854775806 + 1", "9223372036854775807"),
        ("SELECT -9223372036854775807 - 1", "-9223372036854775808"),
        ("SELECT 4611686018427387904 * -2", "-9223372036854775808"),
        ("SELECT -(-9223372036854775807)", "9223372036854775807"),
        ("SELECT abs(-9223372036854775807)", "9223372036854775807"),
        ("SELECT x - 1 + 1 FROM EDGES WHERE n = 1", "9223372036854775807"),
        ("SELECT NULL + 1", "NULL"),
        ("SELECT CAST(9223372036854775807 AS DECIMAL(38, 0)) + 1", "9223372036854775808"),
        ("SELECT 9223372036854775807 + 1.0", "9223372036854775808.0"),
        ("SELECT CAST(9223372036854775807 AS DOUBLE) + 1", "9.223372036854776e18"),
        // What is not computed does not fail.
        ("SELECT CASE WHEN false THEN 9223372036854775807 + 1 ELSE 0 END", "0"),
        ("SELECT CASE WHEN n = 9 THEN 9223372036854775807 + 1 ELSE 0 END FROM EDGES WHERE n = 1", "0"),
        ("SELECT CASE WHEN n = 3 THEN x + 1 ELSE 0 END FROM EDGES ORDER BY n", "0 0 2"),
        ("SELECT coalesce(n, x + 1) FROM EDGES ORDER BY n", "1 2 3"),
        ("SELECT x + 1 FROM EDGES WHERE false", ""),
        ("SELECT x + 1 FROM EDGES WHERE x < 5 ORDER BY n", "-9223372036854775807 2"),
        ("SELECT n FROM EDGES ORDER BY n LIMIT 1 + 1", "1 2"),
        ("SELECT 10 - n - 2 + n * 3 * 2 - 1 FROM EDGES ORDER BY n", "12 17 22"),
        ("SELECT n - (10 - n), n - (n - (n - 1)) FROM EDGES ORDER BY n", "-8 -6 -4"),
        ("SELECT n * 2 AS y FROM EDGES GROUP BY y ORDER BY y", "2 4 6"),
        (
            "SELECT count(*) FROM EDGES GROUP BY ROLLUP (n + 1, g) ORDER BY grouping(n + 1), n + 1, g NULLS LAST",
            "1 1 1 1 1 1 3",
        ),
        ("SELECT date '2026-11-23' - date '2026-11-20'", "3"),
        ("SELECT date '2026-11-20' + INTERVAL '1 day'", "2026-11-21"),
    ] {
        match said(sql).await {
            Ok(said) if said.join(" ") == right => {}
            other => wrong.push(format!("{sql}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let limit = said("SELECT n FROM EDGES LIMIT 9223372036854775807 + 1").await.expect_err("no such number of rows");
    assert_eq!(limit.to_string(), "LIMIT and OFFSET take a number of rows");
    // Columns are named as ever.
    let batches = asked(&reading(), "SELECT 1 + n, -n, n * 2 - 1 FROM (VALUES (1)) t(n)", Limits::default()).await;
    let schema = batches.expect("an answer")[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["Int64(1) + t.n", "(- t.n)", "t.n * Int64(2) - Int64(1)"]);
}

#[tokio::test]
async fn a_sum_is_right_or_an_error_in_whatever_order() {
    let mut wrong: Vec<String> = vec![];
    for (sql, right) in [
        ("SELECT sum(x) FROM EDGES", Some("0")),
        ("SELECT sum(x) FROM EDGES WHERE g = 'a'", None),
        ("SELECT sum(x) FROM EDGES WHERE n <> 2", None),
        ("SELECT sum(x) FROM EDGES GROUP BY g", None),
        (
            "SELECT sum(x) FROM EDGES WHERE n <> 3 GROUP BY g ORDER BY g",
            Some("9223372036854775807 -9223372036854775808"),
        ),
        ("SELECT sum(x) FILTER (WHERE n <> 1) FROM EDGES GROUP BY g ORDER BY g", Some("1 -9223372036854775808")),
        ("SELECT sum(x) FILTER (WHERE n > 5) FROM EDGES GROUP BY g", Some("NULL NULL")),
        ("SELECT sum(x) FROM EDGES WHERE false", Some("NULL")),
        ("SELECT sum(CAST(NULL AS BIGINT))", Some("NULL")),
        // Over the top and back again, in any order: it fits.
        ("SELECT sum(v) FROM (VALUES (9223372036854775807), (1), (-1), (NULL)) t(v)", Some("9223372036854775807")),
        ("SELECT sum(x + 0) FROM EDGES", Some("0")),
        ("SELECT sum(x) + 1, sum(n) FROM EDGES", Some("1")),
        ("SELECT sum(x) * 2 FROM EDGES WHERE n = 1", None),
        ("SELECT sum(CAST(n AS INT)) FROM EDGES", Some("6")),
        ("SELECT sum(CAST(2147483647 AS INT)) FROM EDGES", Some("6442450941")),
        // Of different values.
        ("SELECT sum(DISTINCT x) FROM (SELECT x FROM EDGES UNION ALL SELECT x FROM EDGES)", Some("0")),
        ("SELECT sum(DISTINCT x) FROM EDGES WHERE g = 'a'", None),
        ("SELECT sum(DISTINCT x), count(DISTINCT n) FROM EDGES GROUP BY g", None),
        ("SELECT sum(DISTINCT x), count(DISTINCT n), sum(n) FROM EDGES", Some("0")),
        (
            "SELECT sum(DISTINCT v) FROM (VALUES (9223372036854775807), (9223372036854775807)) t(v)",
            Some("9223372036854775807"),
        ),
        // Windows, those whose rows leave them too.
        ("SELECT sum(x) OVER (ORDER BY n) FROM EDGES ORDER BY n", Some("9223372036854775807 -1 0")),
        ("SELECT sum(x) OVER (ORDER BY n DESC) FROM EDGES", Some("1 -9223372036854775807 0")),
        ("SELECT sum(x) OVER (PARTITION BY g) FROM EDGES", None),
        ("SELECT sum(x) OVER () FROM EDGES", Some("0 0 0")),
        (
            "SELECT sum(x) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM EDGES ORDER BY n",
            Some("9223372036854775807 -1 -9223372036854775807"),
        ),
        (
            "SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1), (9223372036854775807)) t(v)",
            None,
        ),
        (
            "SELECT sum(v) OVER (ORDER BY n ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING) FROM (VALUES (1, NULL), (2, 9223372036854775807), (3, 9223372036854775807)) t(n, v) ORDER BY n",
            Some("9223372036854775807 9223372036854775807 NULL"),
        ),
        (
            "SELECT sum(DISTINCT v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1, 9223372036854775807), (2, 9223372036854775807), (3, -1)) t(n, v) ORDER BY n",
            Some("9223372036854775807 9223372036854775807 9223372036854775806"),
        ),
        (
            "SELECT sum(DISTINCT v) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1, 9223372036854775807), (2, 1)) t(n, v)",
            None,
        ),
        // Whole numbers without a sign, decimals and floats.
        (
            "SELECT sum(CAST(v AS BIGINT UNSIGNED)) FROM (VALUES (9223372036854775807), (9223372036854775807)) t(v)",
            Some("18446744073709551614"),
        ),
        (
            "SELECT sum(CAST(v AS BIGINT UNSIGNED)) FROM (VALUES (9223372036854775807), (9223372036854775807), (2)) t(v)",
            None,
        ),
        ("SELECT sum(CAST(x AS DECIMAL(38, 0))) FROM EDGES WHERE g = 'a'", Some("9223372036854775808")),
        ("SELECT sum(CAST(n AS DOUBLE)) FROM EDGES", Some("6.0")),
    ] {
        match (said(sql).await, right) {
            (Ok(said), Some(right)) if said.join(" ") == right => {}
            (Err(QueryError::Value { detail, why: Why::OutOfRange }), None) if detail.contains("is no BIGINT") => {}
            (other, _) => wrong.push(format!("{sql}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_parameter_and_a_client_of_postgresql_are_treated_alike() {
    let ask = async |words, given| {
        let question = Catalog::new(reading()).prepare("SELECT $1 + 1 + 1 AS n", words, Limits::default()).await?;
        let mut rows = question.answer(vec![ScalarValue::Int64(Some(given))]).await?;
        let batch = rows.next().await.expect("one row")?;
        Ok::<_, QueryError>(array_value_to_string(batch.column(0), 0).expect("a value that prints"))
    };
    for words in [Words::Ours, Words::Clients] {
        assert_eq!(ask(words, i64::MAX - 2).await.expect("it fits"), i64::MAX.to_string());
        match ask(words, i64::MAX - 1).await {
            Err(QueryError::Value { detail, why: Why::OutOfRange }) => {
                assert_eq!(detail, "9223372036854775807 + 1 is no BIGINT");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A chain is planned in no time: it took a minute when each `+` was computed as a decimal.
#[test]
fn a_long_chain_is_planned_at_once() {
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for (of, times, right) in
            [("1", 200, "200"), ("x", 200, "200"), ("x * 1", 100, "100"), ("x - 0", 100, "100"), ("- -x", 100, "100")]
        {
            let sql = format!("SELECT {} FROM EDGES WHERE n = 3", vec![of; times].join(" + "));
            let began = Instant::now();
            assert_eq!(runtime.block_on(said(&sql)).expect("an answer"), [right]);
            let took = began.elapsed();
            println!("{times} times {of}: {took:?}");
            assert!(took < Duration::from_secs(20), "{of}: {took:?}");
        }
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(ask).expect("a thread");
    thread.join().expect("all answered");
}
