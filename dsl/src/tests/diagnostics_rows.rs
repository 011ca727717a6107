//! Mistakes with rows, values and contracts: which message each gets, and at which words.

use super::*;

const MISTAKES: [(&str, &str, &str); 21] = [
    (
        "PIPELINE p AS FROM http('/a') |> SELECT CAST(n AS INT) AS n |> ORDER BY n |> INSERT INTO stdout();",
        "needs-window",
        "ORDER BY",
    ),
    ("PIPELINE p AS FROM http('/a') |> LIMIT 10 |> INSERT INTO stdout();", "needs-window", "LIMIT"),
    ("PIPELINE p AS FROM file('a') |> ORDER BY n |> INSERT INTO stdout();", "type-mismatch", "n"),
    ("PIPELINE p AS FROM file('a') |> LIMIT many |> INSERT INTO stdout();", "option-value", "many"),
    ("PIPELINE p AS FROM http('/a') |> SELECT DISTINCT id |> INSERT INTO stdout();", "endless-state", "DISTINCT"),
    ("PIPELINE p AS FROM file('a') |> WHERE UNNEST(a) = 1 |> INSERT INTO stdout();", "unnest", "UNNEST"),
    (
        "PIPELINE p AS FROM file('a') |> SELECT CASE WHEN b = 1 THEN UNNEST(a) END AS x |> INSERT INTO stdout();",
        "unnest",
        "UNNEST",
    ),
    ("PIPELINE p AS FROM file('a') |> SELECT UNNEST(CAST(a AS INT)) AS x |> INSERT INTO stdout();", "unnest", "UNNEST"),
    (
        "PIPELINE p AS FROM file('a') |> SELECT UNNEST(a) AS x |> REPLACE INTO sqlite('a.db', 't') PER (x);",
        "group-too-late",
        "REPLACE INTO sqlite('a.db', 't') PER (x)",
    ),
    (
        "PIPELINE p AS FROM file('a') |> SELECT CAST(n AS INT) AS n |> ORDER BY n |> REPLACE INTO sqlite('a.db', 't') PER (n);",
        "sink-cannot",
        "REPLACE INTO sqlite('a.db', 't') PER (n)",
    ),
    (
        "PIPELINE p AS FROM file('a') |> SELECT DISTINCT id, UNNEST(a) AS x |> REPLACE INTO sqlite('a.db', 't') PER (id);",
        "sink-cannot",
        "REPLACE INTO sqlite('a.db', 't') PER (id)",
    ),
    (
        "PIPELINE p AS FROM file('a') |> SELECT id, UNNEST(a) AS x \
         |> TEE (|> DEDUP |> REPLACE INTO sqlite('a.db', 't') PER (id)) |> INSERT INTO stdout();",
        "sink-cannot",
        "REPLACE INTO sqlite('a.db', 't') PER (id)",
    ),
    (
        "LET net = lowr(total); PIPELINE p AS FROM file('a') |> SELECT net |> INSERT INTO stdout();",
        "no-such-function",
        "net",
    ),
    (
        "FUNCTION f(a, b) AS a - b; PIPELINE p AS FROM file('a') |> SELECT f(1) AS n |> INSERT INTO stdout();",
        "expression",
        "f",
    ),
    (
        "FUNCTION lower(a) AS a; PIPELINE p AS FROM file('a') |> SELECT id |> INSERT INTO stdout();",
        "duplicate-name",
        "lower",
    ),
    (
        "SCHEMA s EVOLVE (id BIGINT); PIPELINE p AS FROM file('a') SCHEMA s |> UPSERT INTO sqlite('a.db', 't') KEY (id);",
        "fields-left-out",
        "UPSERT INTO sqlite('a.db', 't') KEY (id)",
    ),
    (
        "SCHEMA s EVOLVE (customer STRING); PIPELINE p AS FROM file('a') SCHEMA s |> WHERE custmer = 'x' |> INSERT INTO stdout();",
        "no-such-column",
        "custmer",
    ),
    (
        "PIPELINE p AS FROM file('a') |> SELECT CAST(d AS DATE) AS d |> INSERT INTO stdout();
         TEST t FOR p GIVEN INPUT ROWS '{\"d\": \"2026-01-01\"}' EXPECT OUTPUT ROWS (NULL), (DATE '2026-01-01'), ('soon');",
        "test-rows",
        "'soon'",
    ),
    (
        "PIPELINE p AS FROM file('a') |> SELECT CAST(n AS INT) AS n |> ORDER BY n \
         |> UNION ALL (FROM http('/a') |> SELECT CAST(n AS INT) AS n) |> INSERT INTO stdout();",
        "needs-window",
        "ORDER BY n",
    ),
    (
        "PIPELINE p AS FROM http('/a') |> SELECT CAST(n AS INT) AS n \
         |> UNION ALL (FROM file('a') |> SELECT CAST(n AS INT) AS n |> ORDER BY n) |> INSERT INTO stdout();",
        "needs-window",
        "ORDER BY n",
    ),
    (
        "SCHEMA s EVOLVE (a BIGINT, b BIGINT); SCHEMA r EVOLVE (a BIGINT); PIPELINE p AS FROM file('a') SCHEMA s \
         |> UNION ALL (FROM file('b') SCHEMA r) |> INSERT INTO stdout();",
        "union",
        "file('b') SCHEMA r",
    ),
];

#[test]
fn each_mistake_has_its_message_at_its_place_and_no_other() {
    let mut wrong = Vec::new();
    for (source, slug, text) in MISTAKES {
        if places(&checked(source), source) != [(slug, text)] {
            wrong.push(said(&checked(source), source));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn two_values_made_of_each_other_are_both_told() {
    let source = "LET a = b + 1; LET b = 2 * a; PIPELINE p AS FROM file('a') |> SELECT id |> INSERT INTO stdout();";
    assert_eq!(places(&checked(source), source), [("made-of-itself", "a"), ("made-of-itself", "b")]);
}
