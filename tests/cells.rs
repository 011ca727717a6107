//! "Operations through steps" in `dsl/GRAMMAR.md`, cell by cell: each has a pipeline with a `TEST` of its own. A cell without a case
//! fails, and so does a case whose cell is not there any more.

use std::fs;

use crate::desk::{Desk, house};

const INSERT: &str = "insert or update";
const DELETE: &str = "a delete";
const CLEAR: &str = "a cleared group";

/// Rows of a table that are the same question, whatever their words.
const COLUMNS: [(&str, &str); 6] = [
    ("insert or update", INSERT),
    ("an insert or update", INSERT),
    ("delete (`DELETE WHEN` in an arm)", DELETE),
    ("a delete", DELETE),
    ("a cleared group (`REPLACE`)", CLEAR),
    ("a cleared group", CLEAR),
];

const SCHEMAS: &str = "
SCHEMA event (id BIGINT NOT NULL, n BIGINT, at TIMESTAMP NOT NULL, WATERMARK FOR at AS at);
";

/// What comes in, what must be in the last sink, and what else must be so.
struct Cell {
    step: &'static str,
    operation: &'static str,
    /// Behind `FROM`; `$` is the table of the case.
    flow: &'static str,
    given: &'static [&'static str],
    rows: &'static str,
    also: &'static str,
}

const FILTERS: &str = "`WHERE`, `EXPECT … DROP`";
const PROJECTIONS: &str = "`SELECT`, `EXTEND`, `SET`, `DROP`, `RENAME`";
const SHARDS: &str = "`SHARD`, `TEE`";
const MEETINGS: &str = "`FORK`, `TEE`, `UNION ALL`";
const IN_TIME: &str = "`JOIN`, `LEFT JOIN` of two endless sources";

const CELLS: [Cell; 44] = [
    Cell {
        step: FILTERS,
        operation: INSERT,
        flow: "file('in') |> WHERE n > 0 |> EXPECT n < 100 AS small ON VIOLATION DROP |> SELECT id |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1,"n":5}"#, r#"{"id":2,"n":0}"#, r#"{"id":3,"n":200}"#],
        rows: "(1)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered', 1 BECAUSE 'small'",
    },
    Cell {
        step: FILTERS,
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> WHERE n > 0 |> EXPECT n < 100 AS small ON VIOLATION DROP |> SELECT id
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[
            r#"{"id":1,"n":5}"#,
            r#"{"id":2,"n":5}"#,
            r#"{"id":3,"n":5}"#,
            r#"{"id":1,"n":5,"op":"d"}"#,
            r#"{"id":2,"n":0,"op":"d"}"#,
            r#"{"id":3,"n":200,"op":"d"}"#,
        ],
        rows: "(2), (3)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered'",
    },
    Cell {
        step: FILTERS,
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> WHERE n > 1 |> EXPECT n > 2 AS large ON VIOLATION DROP |> SELECT g, n
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[
            r#"{"g":"a","n":5}"#,
            r#"{"g":"b","n":5}"#,
            r#"{"g":"c","n":5}"#,
            r#"{"g":"a","n":0}"#,
            r#"{"g":"b","n":2}"#,
        ],
        rows: "('c', 5)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered'",
    },
    Cell {
        step: PROJECTIONS,
        operation: INSERT,
        flow: "file('in') SCHEMA event |> EXTEND n + 1 AS m |> SET m = m + 1 |> RENAME m AS k |> DROP at |> SELECT id, k
               |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#],
        rows: "(1, 7)",
        also: "EXPECT DROPPED 0 BECAUSE 'filtered'",
    },
    Cell {
        step: PROJECTIONS,
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> EXTEND 1 AS m |> SET m = 2 |> RENAME m AS k |> DROP x |> SELECT id, k
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1,"op":"d"}"#],
        rows: "(2, 2)",
        also: "",
    },
    Cell {
        step: PROJECTIONS,
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> EXTEND 1 AS m |> SET m = 2 |> RENAME m AS k |> DROP x |> SELECT g, k
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 2)",
        also: "",
    },
    Cell {
        step: "`DEDUP`",
        operation: INSERT,
        flow: "file('in') SCHEMA event |> DEDUP BY id WITHIN '1 minute' KEEP LAST BY n |> SELECT id, n
               |> UPSERT INTO sqlite('t.db', '$') KEY (id)",
        given: &[
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":1,"n":4,"at":"2026-11-20T10:00:01Z"}"#,
            r#"{"id":2,"n":1,"at":"2026-11-20T10:10:00Z"}"#,
            r#"{"id":3,"n":1,"at":"2026-11-20T10:00:00Z"}"#,
        ],
        rows: "(1, 5), (2, 1)",
        also: "EXPECT DROPPED 1 BECAUSE 'duplicate', 1 BECAUSE 'stale', 1 BECAUSE 'late'",
    },
    Cell {
        step: "`DEDUP`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> DEDUP BY n |> SELECT id
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[
            r#"{"id":1,"n":5}"#,
            r#"{"id":2,"n":6}"#,
            r#"{"id":1,"n":5,"op":"d"}"#,
            r#"{"id":2,"n":7,"op":"d"}"#,
            r#"{"id":3,"n":7}"#,
        ],
        rows: "(1)",
        also: "EXPECT DROPPED 2 BECAUSE 'duplicate'",
    },
    Cell {
        step: "`DEDUP`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> DEDUP BY id |> SELECT g, n |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[
            r#"{"id":1,"g":"a","n":5}"#,
            r#"{"id":2,"g":"b","n":5}"#,
            r#"{"id":1,"g":"a","n":0}"#,
            r#"{"id":2,"g":"b","n":6}"#,
        ],
        rows: "('b', 5)",
        also: "EXPECT DROPPED 1 BECAUSE 'duplicate'",
    },
    Cell {
        step: "`UNNEST`",
        operation: INSERT,
        flow: "file('in') |> SELECT id, UNNEST(l) AS x |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1,"l":[7,8]}"#, r#"{"id":2,"l":[]}"#],
        rows: "(1, 7), (1, 8)",
        also: "EXPECT DROPPED 1 BECAUSE 'filtered'",
    },
    Cell {
        step: "`UNNEST`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> SELECT id, UNNEST(l) AS x
               |> UPSERT INTO sqlite('t.db', '$') KEY (id, x) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"l":[7,8]}"#, r#"{"id":1,"l":[7],"op":"d"}"#, r#"{"id":1,"l":[],"op":"d"}"#],
        rows: "(1, 8)",
        also: "EXPECT DROPPED 1 BECAUSE 'filtered'",
    },
    Cell {
        step: "`UNNEST`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SELECT g, UNNEST(l) AS x |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[
            r#"{"g":"a","n":1,"l":[7]}"#,
            r#"{"g":"b","n":1,"l":[8]}"#,
            r#"{"g":"c","n":1,"l":[9]}"#,
            r#"{"g":"a","n":0,"l":[5]}"#,
            r#"{"g":"b","n":1,"l":[]}"#,
        ],
        rows: "('c', 9)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered'",
    },
    Cell {
        step: "`ORDER BY`",
        operation: INSERT,
        flow: "file('in') SCHEMA event |> ORDER BY n |> LIMIT 1 |> SELECT id |> INSERT INTO sqlite('t.db', '$')",
        given: &[
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":2,"n":4,"at":"2026-11-20T10:00:00Z"}"#,
        ],
        rows: "(2)",
        also: "",
    },
    Cell {
        step: "`ORDER BY`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> ORDER BY CAST(n AS BIGINT) |> SELECT id
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"n":9}"#, r#"{"id":2,"n":1}"#, r#"{"id":2,"n":2,"op":"d"}"#],
        rows: "(1)",
        also: "",
    },
    Cell {
        step: "`LIMIT`",
        operation: INSERT,
        flow: "file('in') |> LIMIT 1 |> SELECT id |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#],
        rows: "(1)",
        also: "EXPECT DROPPED 1 BECAUSE 'filtered'",
    },
    Cell {
        step: "`LIMIT`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> LIMIT 3 |> SELECT id
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1,"op":"d"}"#, r#"{"id":3}"#, r#"{"id":2,"op":"d"}"#],
        rows: "(2)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered'",
    },
    Cell {
        step: "`LIMIT`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> LIMIT 2 |> SELECT g, n |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"a","n":0}"#, r#"{"g":"b","n":6}"#],
        rows: "('b', 6)",
        also: "EXPECT DROPPED 1 BECAUSE 'filtered'",
    },
    Cell {
        step: SHARDS,
        operation: INSERT,
        flow: "file('in') |> SHARD BY id INTO 4 |> TEE (|> SELECT id |> INSERT INTO sqlite('t.db', '$_copy')) |> SELECT id
               |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#],
        rows: "(1), (2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS (1), (2)",
    },
    Cell {
        step: SHARDS,
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> SELECT id |> SHARD BY id INTO 4
               |> TEE (|> UPSERT INTO sqlite('t.db', '$_copy') KEY (id))
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1,"op":"d"}"#],
        rows: "(2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS (2)",
    },
    Cell {
        step: SHARDS,
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SHARD BY g INTO 4 |> TEE (|> SELECT g |> INSERT INTO sqlite('t.db', '$_copy')) |> SELECT g, n
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 5)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS ('a'), ('b')",
    },
    Cell {
        step: "`AGGREGATE`",
        operation: INSERT,
        flow: "file('in') SCHEMA event |> AGGREGATE COUNT(*) AS rows, SUM(n) AS n GROUP BY tumble(at, INTERVAL '1 minute') AS at
               |> SELECT rows, n |> INSERT INTO sqlite('t.db', '$')",
        given: &[
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":2,"n":6,"at":"2026-11-20T10:00:59Z"}"#,
            r#"{"id":3,"n":7,"at":"2026-11-20T10:01:00Z"}"#,
            r#"{"id":4,"n":8,"at":"2026-11-20T10:00:59Z"}"#,
        ],
        rows: "(2, 11), (1, 7)",
        also: "EXPECT DROPPED 1 BECAUSE 'late'",
    },
    Cell {
        step: "`AGGREGATE`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> AGGREGATE COUNT(*) AS rows GROUP BY g
               |> UPSERT INTO sqlite('t.db', '$') KEY (g) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"g":"a"}"#, r#"{"id":2,"g":"a"}"#, r#"{"id":1,"g":"a","op":"d"}"#],
        rows: "('a', 2)",
        also: "EXPECT DEAD LETTERS 1 EXPECT DROPPED 1 BECAUSE 'dead'",
    },
    Cell {
        step: "`AGGREGATE`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> AGGREGATE SUM(n) AS n GROUP BY g |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('a', 5)",
        also: "EXPECT DROPPED 1 BECAUSE 'filtered'",
    },
    Cell {
        step: "`INSERT INTO`",
        operation: INSERT,
        flow: "file('in') |> SELECT id |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1}"#, r#"{"id":1}"#],
        rows: "(1), (1)",
        also: "",
    },
    Cell {
        step: "`INSERT INTO`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (
                 DERIVED d AS (|> SELECT id AS key |> INSERT INTO sqlite('t.db', '$_copy')),
                 PRIMARY p AS (|> SELECT id |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1,"op":"d"}"#],
        rows: "(2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS (1), (2)",
    },
    Cell {
        step: "`INSERT INTO`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SELECT g, n |> TEE (|> INSERT INTO sqlite('t.db', '$_copy'))
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 5)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS ('a', 5), ('b', 5)",
    },
    Cell {
        step: "`UPSERT INTO`",
        operation: INSERT,
        flow: "file('in') |> SELECT id, n |> UPSERT INTO sqlite('t.db', '$') KEY (id)",
        given: &[r#"{"id":1,"n":5}"#, r#"{"id":1,"n":6}"#],
        rows: "(1, 6)",
        also: "",
    },
    Cell {
        step: "`UPSERT INTO`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (
                 DERIVED d AS (|> SELECT g |> UPSERT INTO sqlite('t.db', '$_copy') KEY (g)),
                 PRIMARY p AS (|> SELECT id |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"g":"a"}"#, r#"{"id":2,"g":"b"}"#, r#"{"id":1,"g":"a","op":"d"}"#],
        rows: "(2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS ('a'), ('b')",
    },
    Cell {
        step: "`UPSERT INTO`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SELECT g, n |> TEE (|> UPSERT INTO sqlite('t.db', '$_copy') KEY (g))
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 5)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS ('a', 5), ('b', 5)",
    },
    Cell {
        step: "`REPLACE INTO`",
        operation: INSERT,
        flow: "file('in') |> SELECT g, UNNEST(l) AS x |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","l":[1,2]}"#, r#"{"g":"b","l":[3]}"#, r#"{"g":"a","l":[2,4]}"#],
        rows: "('a', 2), ('a', 4), ('b', 3)",
        also: "",
    },
    Cell {
        step: "`REPLACE INTO`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (
                 DERIVED d AS (|> SELECT id AS g, n |> REPLACE INTO sqlite('t.db', '$_copy') PER (g)),
                 PRIMARY p AS (|> SELECT id |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"n":5}"#, r#"{"id":2,"n":6}"#, r#"{"id":1,"n":5,"op":"d"}"#],
        rows: "(2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_copy') ROWS (2, 6)",
    },
    Cell {
        step: "`REPLACE INTO`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SELECT g, n |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 5)",
        also: "",
    },
    Cell {
        step: MEETINGS,
        operation: INSERT,
        flow: "file('in') |> SELECT id |> UNION ALL (FROM file('more') |> SELECT id) |> TEE (|> INSERT INTO sqlite('t.db', '$_tee'))
               |> FORK (|> INSERT INTO sqlite('t.db', '$_fork')), (|> INSERT INTO sqlite('t.db', '$'))",
        given: &[r#"{"id":1}"#],
        rows: "(1), (2)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_tee') ROWS (1), (2) EXPECT OUTPUT sqlite('t.db', '$_fork') ROWS (1), (2)",
    },
    Cell {
        step: MEETINGS,
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> SELECT id |> UNION ALL (FROM file('more') |> SELECT id)
               |> TEE (|> FORK (|> UPSERT INTO sqlite('t.db', '$_fork') KEY (id)))
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1}"#, r#"{"id":3}"#, r#"{"id":1,"op":"d"}"#],
        rows: "(2), (3)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_fork') ROWS (2), (3)",
    },
    Cell {
        step: MEETINGS,
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> SELECT g, n |> TEE (|> FORK (|> INSERT INTO sqlite('t.db', '$_fork')))
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":5}"#, r#"{"g":"b","n":5}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', 5)",
        also: "EXPECT OUTPUT sqlite('t.db', '$_fork') ROWS ('a', 5), ('b', 5)",
    },
    Cell {
        step: "`JOIN`",
        operation: INSERT,
        flow: "file('in') |> JOIN file('table') AS t ON t.id = id |> SELECT id AS g, t.name AS name
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#],
        rows: "(1, 'one'), (1, 'uno')",
        also: "EXPECT DROPPED 1 BECAUSE 'unmatched'",
    },
    Cell {
        step: "`JOIN`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> JOIN file('table') AS t ON t.id = n |> SELECT id, t.name
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"n":3}"#, r#"{"id":2,"n":3}"#, r#"{"id":1,"n":9,"op":"d"}"#],
        rows: "(2, 'three')",
        also: "EXPECT DROPPED 0 BECAUSE 'unmatched'",
    },
    Cell {
        step: "`JOIN`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> JOIN file('table') AS t ON t.id = n |> SELECT g, t.name
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":3}"#, r#"{"g":"b","n":3}"#, r#"{"g":"a","n":0}"#, r#"{"g":"c","n":9}"#],
        rows: "('b', 'three')",
        also: "EXPECT DROPPED 1 BECAUSE 'unmatched'",
    },
    Cell {
        step: "`LEFT JOIN`",
        operation: INSERT,
        flow: "file('in') |> LEFT JOIN file('table') AS t ON t.id = id |> SELECT id, t.name |> INSERT INTO sqlite('t.db', '$')",
        given: &[r#"{"id":1}"#, r#"{"id":2}"#],
        rows: "(1, 'one'), (1, 'uno'), (2, NULL)",
        also: "",
    },
    Cell {
        step: "`LEFT JOIN`",
        operation: DELETE,
        flow: "file('in') |> SHARD BY id INTO (PRIMARY p AS (|> LEFT JOIN file('table') AS t ON t.id = n |> SELECT id, t.name
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"n":3}"#, r#"{"id":2,"n":9}"#, r#"{"id":1,"n":9,"op":"d"}"#],
        rows: "(2, NULL)",
        also: "",
    },
    Cell {
        step: "`LEFT JOIN`",
        operation: CLEAR,
        flow: "file('in') |> WHERE n > 0 |> LEFT JOIN file('table') AS t ON t.id = n |> SELECT g, t.name
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[r#"{"g":"a","n":3}"#, r#"{"g":"b","n":9}"#, r#"{"g":"a","n":0}"#],
        rows: "('b', NULL)",
        also: "",
    },
    Cell {
        step: IN_TIME,
        operation: INSERT,
        flow: "file('in') SCHEMA event AS l |> LEFT JOIN file('later') SCHEMA event FOLLOW AS r
               ON r.n = l.n AND r.at BETWEEN l.at AND l.at + INTERVAL '1 minute' |> SELECT l.id, r.id AS other
               |> INSERT INTO sqlite('t.db', '$')",
        given: &[
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":2,"n":6,"at":"2026-11-20T10:02:00Z"}"#,
            r#"{"id":3,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
        ],
        rows: "(1, 9), (2, NULL)",
        also: "EXPECT DROPPED 1 BECAUSE 'late', 1 BECAUSE 'unmatched'",
    },
    Cell {
        step: IN_TIME,
        operation: DELETE,
        flow: "file('in') AS l |> SHARD BY id INTO (PRIMARY p AS (|> JOIN file('later') SCHEMA event FOLLOW AS r
               ON r.n = l.n AND abs(r.at - _timestamp) <= INTERVAL '100 days' |> SELECT id, r.id AS other
               |> UPSERT INTO sqlite('t.db', '$') KEY (id) DELETE WHEN op = 'd'))",
        given: &[r#"{"id":1,"n":5}"#, r#"{"id":1,"n":5,"op":"d"}"#],
        rows: "(1, 9)",
        also: "EXPECT DEAD LETTERS 1 EXPECT DROPPED 1 BECAUSE 'dead'",
    },
    Cell {
        step: IN_TIME,
        operation: CLEAR,
        flow: "file('in') SCHEMA event AS l |> WHERE id > 0 |> JOIN file('later') SCHEMA event FOLLOW AS r
               ON r.n = l.n AND r.at BETWEEN l.at AND l.at + INTERVAL '1 minute' |> SELECT l.n AS g, r.id AS other
               |> REPLACE INTO sqlite('t.db', '$') PER (g)",
        given: &[
            r#"{"id":1,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
            r#"{"id":0,"n":5,"at":"2026-11-20T10:00:00Z"}"#,
        ],
        rows: "(5, 9)",
        also: "EXPECT DROPPED 2 BECAUSE 'filtered', 1 BECAUSE 'unmatched'",
    },
];

/// What the other places of the flows hold.
const ELSEWHERE: [(&str, &[&str]); 3] = [
    ("more", &[r#"{"id":2}"#]),
    ("table", &[r#"{"id":1,"name":"one"}"#, r#"{"id":1,"name":"uno"}"#, r#"{"id":3,"name":"three"}"#]),
    ("later", &[r#"{"id":9,"n":5,"at":"2026-11-20T10:00:30Z"}"#, r#"{"id":8,"n":null,"at":"2026-11-20T10:00:31Z"}"#]),
];

/// Cells that say that there is no such thing: the compiler answers them so.
const REFUSED: [(&str, &str, &str, &str); 1] = [(
    "`ORDER BY`",
    CLEAR,
    "FROM file('in') |> WHERE n > 0 |> ORDER BY CAST(n AS BIGINT) |> SELECT g, n |> REPLACE INTO sqlite('t.db', 'x') PER (g)",
    "REPLACE cannot follow ORDER BY",
)];

fn rows_of(given: &[&str]) -> String {
    given.iter().map(|row| format!("'{row}'")).collect::<Vec<_>>().join(", ")
}

fn program(number: usize, cell: &Cell) -> String {
    let name = format!("cell_{number}");
    let mut inputs = format!("INPUT ROWS {}", rows_of(cell.given));
    for (place, rows) in ELSEWHERE.iter().filter(|(place, _)| cell.flow.contains(&format!("file('{place}')"))) {
        inputs += &format!(" INPUT file('{place}') ROWS {}", rows_of(rows));
    }
    let also = cell.also.replace('$', &name);
    format!(
        "PIPELINE {name} AS FROM {};\nTEST {name} FOR {name} GIVEN {inputs}\n  EXPECT OUTPUT sqlite('t.db', '{name}') ROWS {} {also};\n",
        cell.flow.replace('$', &name),
        cell.rows,
    )
}

/// Step and operation of every cell of the tables.
fn told() -> Vec<(String, &'static str)> {
    let grammar = fs::read_to_string(house().join("dsl/GRAMMAR.md")).expect("the grammar");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let (mut found, mut columns) = (vec![], None);
    for line in grammar.lines() {
        let row = cells(line);
        if !line.starts_with('|') {
            columns = None;
        } else if matches!(row[0].as_str(), "what reaches the step" | "step") {
            let known =
                |word: &String| COLUMNS.iter().find(|(column, _)| column == word).map(|(_, operation)| *operation);
            let operations: Option<Vec<&str>> = row[1..].iter().map(known).collect();
            columns = Some(operations.unwrap_or_else(|| panic!("what these columns mean is not known here: {line}")));
        } else if let Some(columns) = columns.as_ref().filter(|_| !line.contains("---")) {
            assert_eq!(row.len(), columns.len() + 1, "{line}");
            found.extend(columns.iter().map(|operation| (row[0].clone(), *operation)));
        }
    }
    found
}

#[test]
fn every_cell_of_operations_through_steps_is_so() {
    let told = told();
    assert!(told.len() > 30, "the tables were not found");
    let cases = CELLS.iter().map(|cell| (cell.step, cell.operation));
    let cases: Vec<(&str, &str)> =
        cases.chain(REFUSED.iter().map(|(step, operation, ..)| (*step, *operation))).collect();
    for (step, operation) in &told {
        assert!(cases.contains(&(step, operation)), "no case for {step} × {operation}");
    }
    for (step, operation) in &cases {
        assert!(told.iter().any(|(known, of)| known == step && of == operation), "no cell {step} × {operation}");
    }
    let programs: String = CELLS.iter().enumerate().map(|(number, cell)| program(number, cell)).collect();
    let desk = Desk::with(&format!("{SCHEMAS}{programs}"));
    let said = desk.say(&["test", "orders.sync"]).expect(0);
    assert!(said.err.contains(&format!("{} passed", CELLS.len())), "{}", said.err);
    for (step, operation, flow, word) in REFUSED {
        let desk = Desk::with(&format!("PIPELINE p AS {flow};"));
        let said = desk.say(&["check", "orders.sync"]).expect(2);
        assert!(
            format!("{}{}", said.out(), said.err).contains(word),
            "{step} × {operation}: {}{}",
            said.out(),
            said.err
        );
    }
}
