//! FORK, UNION and JOIN: plans and messages, whole.

use super::*;

#[test]
fn a_join_takes_its_condition_apart_and_only_the_columns_that_are_read() {
    let source = "
SCHEMA repo DISCARD (id BIGINT NOT NULL, name STRING, stars INT);
PIPELINE p AS
FROM file('events.ndjson') AS e
|> JOIN file('repos.ndjson') SCHEMA repo REFRESH EVERY '5 minutes' AS r ON e.repo_id = r.id AND (r.stars > e.least OR e.all)
|> SELECT e.id, r.name
|> INSERT INTO stdout();";
    assert_eq!(
        plan_of(source),
        "\
pipeline p · checkpoint every 200 ms
  from file('events.ndjson') · json · ends
       fields: repo_id JSON, least JSON, all JSON, id JSON
  join: JOIN file('repos.ndjson') AS r
      from file('repos.ndjson') · json · ends
           fields: id BIGINT NOT NULL, name STRING, stars INT
           read again every 5 minutes
      on CAST(repo_id AS BIGINT) = \"r.id\" AND (\"r.stars\" > least OR \"all\")
      takes r.name, r.stars
  select: SELECT
    id JSON = id
    name STRING = \"r.name\"
  insert: INSERT INTO stdout() · id, name
"
    );
}

#[test]
fn a_union_puts_columns_together_by_position_and_further_sources_give_what_is_read_behind_it() {
    let source = "
PIPELINE p AS
FROM file('a.ndjson')
|> SELECT id, total
|> UNION ALL (FROM file('b.ndjson') |> WHERE paid |> SELECT order_id, price), (FROM http('/c') |> SELECT id, total)
|> EXTEND _source AS place
|> FORK (|> INSERT INTO stdout()), (|> WHERE id = 1 |> INSERT INTO file('out/'));";
    assert_eq!(
        plan_of(source),
        "\
pipeline p · checkpoint every 200 ms
  from file('a.ndjson') · json · ends
       fields: id JSON, total JSON
       metadata: _source
  select: SELECT
    id JSON = id
    total JSON = total
    _source STRING (hidden) = _source
  union: UNION ALL
      from file('b.ndjson') · json · ends
           fields: paid JSON, order_id JSON, price JSON
           metadata: _source
      union/1/where: WHERE CAST(paid AS BOOLEAN)
      union/1/select: SELECT
        order_id JSON = order_id
        price JSON = price
        _source STRING (hidden) = _source
      as id = order_id, total = price, _source = _source
      from http('/c') · json · never ends
           fields: id JSON, total JSON
           metadata: _source
      union/2/select: SELECT
        id JSON = id
        total JSON = total
        _source STRING (hidden) = _source
      as id = id, total = total, _source = _source
  extend: EXTEND
    id JSON = id
    total JSON = total
    place STRING = _source
  fork: FORK
    fork/1/insert: INSERT INTO stdout() · id, total, place
    fork/2/where: WHERE id = 1
    fork/2/insert: INSERT INTO file('out/') · id, total, place
"
    );
}

#[test]
fn whole_records_of_a_union_have_the_fields_that_any_step_behind_it_reads() {
    let source = "
PIPELINE p AS FROM file('a.ndjson') |> WHERE x = 1 |> UNION ALL (FROM file('b.ndjson') |> WHERE y = 1) |> WHERE z = 1
|> INSERT INTO file('out/');";
    let checked = checked(source);
    assert_eq!(said(&checked, source), "");
    let sources: Vec<(Vec<&str>, bool)> = (checked.plan.pipelines[0].sources().iter())
        .map(|source| (source.fields.iter().map(|field| field.name.as_str()).collect(), source.whole_record))
        .collect();
    assert_eq!(sources, [(vec!["x", "z"], true), (vec!["x", "y", "z"], true)]);
}

/// The slug and the place of what is said of a flow.
fn mistakes(flow: &str) -> Vec<(String, String)> {
    let source = format!("SCHEMA s (id BIGINT, name STRING, at TIMESTAMP);\nPIPELINE p AS\nFROM {flow};");
    let checked = checked(&source);
    places(&checked, &source).into_iter().map(|(slug, place)| (slug.to_owned(), place.to_owned())).collect()
}

#[test]
fn what_cannot_be_joined_or_united_is_said_at_its_place() {
    let end = "|> SELECT id |> INSERT INTO stdout()";
    for (flow, slug, place) in [
        ("file('a') |> RIGHT JOIN file('b') AS r ON r.id = id", "join", "RIGHT JOIN"),
        ("file('a') |> JOIN file('b') ON id = key", "join", "file('b')"),
        ("file('a') |> JOIN file('b') AS r", "join", "JOIN"),
        ("file('a') |> JOIN file('b') AS r ON r.a = r.b", "join", "r.a = r.b"),
        ("file('a') AS r |> JOIN file('b') AS R ON R.a = b", "duplicate-name", "R"),
        ("file('a') |> JOIN file('b') FOLLOW AS r ON r.id = id", "needs-time-bound", "file('b') FOLLOW"),
        ("file('a') SCHEMA s |> JOIN file('b') SCHEMA s AS r ON r.id = name", "type-mismatch", "name"),
        ("file('a') SCHEMA s |> JOIN file('b') SCHEMA s AS r ON r.nam = name", "no-such-column", "nam"),
        ("file('a') REFRESH EVERY '1 hour'", "no-such-option", "'1 hour'"),
        ("file('a') |> UNION DISTINCT (FROM file('b'))", "union", "DISTINCT"),
        ("file('a') |> SELECT id |> UNION ALL (FROM file('b'))", "union", "file('b')"),
        (
            "file('a') SCHEMA s |> SELECT id |> UNION ALL (FROM file('b') SCHEMA s |> SELECT name AS id)",
            "type-mismatch",
            "SELECT name AS id",
        ),
        ("file('a') |> UNION ALL (FROM file('b') |> INSERT INTO stdout())", "union", "INSERT INTO stdout()"),
        ("file('a') |> UNION ALL (FROM file('b') |> EXTEND 1 AS x)", "union", "EXTEND 1 AS x"),
    ] {
        let found = mistakes(&format!("{flow} {end}"));
        assert_eq!(found, [(slug.to_owned(), place.to_owned())], "{flow}");
    }
}

#[test]
fn a_table_of_a_test_is_named_as_the_pipeline_names_it() {
    let source = "
PIPELINE p AS FROM file('a') |> JOIN file('b') AS r USING (id) |> SELECT id, r.name |> INSERT INTO stdout();
TEST t FOR p GIVEN INPUT ROWS '{\"id\": 1}' INPUT file( 'b' ) ROWS '{\"id\": 1}' EXPECT DROPPED 0 BECAUSE 'unmatched';
TEST u FOR p GIVEN INPUT file('c') ROWS '{}' EXPECT DEAD LETTERS 0;";
    let checked = checked(source);
    assert_eq!(places(&checked, source), [("no-such-name", "file('c')")]);
    assert_eq!(
        checked.plan.tests[0].more,
        [("file('b')".to_owned(), crate::plan::TestInput::Rows(vec!["{\"id\": 1}".into()]))]
    );
}
