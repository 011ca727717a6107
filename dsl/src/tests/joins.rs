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

/// A whole number beside a decimal was one of `DECIMAL(38, 0)`: 5.4 was rounded, and joined 5.
#[test]
fn keys_of_two_numbers_are_compared_as_a_type_that_loses_nothing() {
    let key = |own: &str, its: &str| {
        let source = format!(
            "SCHEMA one (id {own});
SCHEMA other (id {its}, name STRING);
PIPELINE p AS FROM file('a') SCHEMA one AS o JOIN file('b') SCHEMA other AS r ON o.id = r.id |> SELECT o.id, r.name |> INSERT INTO stdout();"
        );
        let plan = plan_of(&source);
        plan.lines().find_map(|line| line.trim().strip_prefix("on ")).expect("a condition").to_owned()
    };
    let keys = [
        ("BIGINT", "DECIMAL(12, 2)"),
        ("DECIMAL(12, 2)", "BIGINT"),
        ("INT", "DECIMAL(38, 0)"),
        ("BIGINT", "DECIMAL(38, 30)"),
        ("DECIMAL(12, 2)", "DECIMAL(20, 4)"),
        ("SMALLINT", "BIGINT"),
        ("DECIMAL(12, 2)", "DOUBLE"),
        ("BIGINT", "DOUBLE"),
    ];
    let keys: Vec<String> = keys.iter().map(|(own, its)| key(own, its)).collect();
    assert_eq!(
        keys,
        [
            "TRY_CAST(id AS DECIMAL(21, 2)) = CAST(\"r.id\" AS DECIMAL(21, 2))",
            "CAST(id AS DECIMAL(21, 2)) = TRY_CAST(\"r.id\" AS DECIMAL(21, 2))",
            "TRY_CAST(id AS DECIMAL(38, 0)) = \"r.id\"",
            "TRY_CAST(id AS DECIMAL(38, 30)) = \"r.id\"",
            "id = \"r.id\"",
            "id = \"r.id\"",
            "CAST(id AS DOUBLE) = \"r.id\"",
            "CAST(id AS DOUBLE) = \"r.id\"",
        ]
    );
}

const TIMES: &str = "
SCHEMA paid DISCARD (order_id BIGINT NOT NULL, amount DECIMAL(12, 2), at TIMESTAMP NOT NULL, WATERMARK FOR at AS at - INTERVAL '1 minute');
";

#[test]
fn two_endless_sides_are_joined_within_a_time_and_the_time_behind_them_is_the_later_one() {
    let source = format!(
        "{TIMES}
PIPELINE p AS
FROM http('/orders') AS o
|> WHERE o.total > 5
|> LEFT JOIN http('/paid') SCHEMA paid AS p
   ON o.id = p.order_id AND p.at BETWEEN o._timestamp - INTERVAL '5 minutes' AND o._timestamp + INTERVAL '1 hour' AND p.amount >= o.least
|> SELECT o.id, p.amount, _timestamp AS at, p._source AS way
|> INSERT INTO stdout();"
    );
    assert_eq!(
        plan_of(&source),
        "\
pipeline p · checkpoint every 200 ms
  from http('/orders') · json · never ends
       fields: total JSON, id JSON, least JSON
       metadata: _timestamp
  where: WHERE total > 5
  join: LEFT JOIN http('/paid') AS p
      from http('/paid') · json · never ends
           fields: order_id BIGINT NOT NULL, amount DECIMAL(12, 2), at TIMESTAMP NOT NULL
           metadata: _source
           time: at, up to 1 minute late
      where \"p.at\" - _timestamp is -5 minutes to 1 hour
      on CAST(id AS BIGINT) = \"p.order_id\" AND (\"p.amount\" >= least)
      takes p.amount, p._source
  select: SELECT
    id JSON = id
    amount DECIMAL(12, 2) = \"p.amount\"
    at TIMESTAMP = _timestamp
    way STRING = \"p._source\"
  insert: INSERT INTO stdout() · id, amount, at, way
"
    );
}

/// The bound of a condition between `at` of an order and `p.at` of a payment, in seconds.
fn bound(condition: &str) -> Option<(i64, i64)> {
    let source = format!(
        "{TIMES}SCHEMA orders (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at);
PIPELINE p AS FROM http('/a') SCHEMA orders |> RENAME at AS t |> JOIN http('/b') SCHEMA paid AS p ON p.order_id = id AND {condition}
|> SELECT id |> INSERT INTO stdout();"
    );
    let checked = checked(&source);
    let mut found = None;
    checked.plan.pipelines.first()?.each_step(&mut |step| {
        if let crate::plan::StepKind::Join(join) = &step.kind {
            found = join.bound.as_ref().map(|bound| (bound.least / 1_000_000, bound.most / 1_000_000));
            assert_eq!(join.residual, None, "{condition}");
        }
    });
    found
}

#[test]
fn a_bound_of_time_may_be_written_in_any_way_that_compares_the_two() {
    for (condition, wanted) in [
        ("p.at BETWEEN t AND t + INTERVAL '1 minute'", (0, 60)),
        ("t BETWEEN p.at - INTERVAL '1 minute' AND p.at + INTERVAL '5 seconds'", (-5, 60)),
        ("p.at >= t AND p.at <= t + INTERVAL '90' SECOND", (0, 90)),
        ("p.at + INTERVAL '5 seconds' >= t AND t > p.at - INTERVAL '1 minute'", (-5, 59)),
        ("p.at - t BETWEEN INTERVAL '-2 minutes' AND INTERVAL '1 minute'", (-120, 60)),
        ("abs(p.at - t) <= INTERVAL '1 minute'", (-60, 60)),
        ("(INTERVAL '1 minute' >= abs(t - p.at)) AND p.at >= t", (0, 60)),
        ("p.at = t", (0, 0)),
        ("p.at BETWEEN t AND t + INTERVAL '1 hour' AND p.at <= t + INTERVAL '1 minute'", (0, 60)),
    ] {
        assert_eq!(bound(condition), Some(wanted), "{condition}");
    }
}

#[test]
fn a_join_of_two_endless_sides_says_what_its_bound_lacks() {
    let of = |condition: &str| {
        let source = format!(
            "{TIMES}PIPELINE p AS FROM http('/a') AS o |> JOIN http('/b') SCHEMA paid AS p {condition} |> SELECT o.id |> INSERT INTO stdout();"
        );
        let checked = checked(&source);
        let said = checked.diagnostics.iter();
        let told = said.map(|one| {
            let labels: Vec<&str> = one.labels.iter().map(|label| label.text.as_str()).collect();
            let edit = one.fix.iter().flat_map(|(_, edits)| edits).map(|edit| edit.text.as_str());
            format!("{}: {}{}", one.slug, labels[1..].join(" · "), edit.collect::<String>())
        });
        told.collect::<Vec<_>>().join("\n")
    };
    let key = "ON p.order_id = o.id";
    assert_eq!(
        of(key),
        "needs-time-bound: does not say how far apart their times may be AND p.at BETWEEN o._timestamp - INTERVAL '1 hour' \
         AND o._timestamp + INTERVAL '1 hour'"
    );
    assert_eq!(
        of(&format!("{key} AND p.at >= o._timestamp")),
        "needs-time-bound: does not say how long after o._timestamp its row may come AND p.at <= o._timestamp + INTERVAL '1 hour'"
    );
    assert_eq!(
        of(&format!("{key} AND p.at <= o._timestamp")),
        "needs-time-bound: does not say how long before o._timestamp its row may come AND p.at >= o._timestamp - INTERVAL '1 hour'"
    );
    // A column that is not the record's time bounds nothing.
    assert_eq!(
        of(&format!("{key} AND abs(p.at - CAST(o.at AS TIMESTAMP)) <= INTERVAL '1 hour'")).split(':').next(),
        Some("type-mismatch")
    );
    assert_eq!(of(&format!("{key} AND p.at BETWEEN o._timestamp + INTERVAL '2 hours' AND o._timestamp")), "join: ");
}

#[test]
fn a_lookup_asks_for_columns_of_its_table_and_keeps_every_row() {
    let source = "
SCHEMA customer DISCARD (id BIGINT, name STRING, tier STRING);
PIPELINE p AS
FROM file('orders.ndjson') AS o
|> LOOKUP sqlite('shop.db', 'customers') SCHEMA customer CACHE '1 minute' AS c ON c.id = o.customer AND tier = c.tier
|> SELECT o.id, c.name
|> INSERT INTO stdout();";
    assert_eq!(
        plan_of(source),
        "\
pipeline p · checkpoint every 200 ms
  from file('orders.ndjson') · json · ends
       fields: customer JSON, tier JSON, id JSON
  lookup: LOOKUP sqlite('shop.db', 'customers') AS c
      from sqlite('shop.db', 'customers') · json · ends
           fields: id BIGINT, name STRING, tier STRING
           an answer holds for 1 minute
      on CAST(customer AS BIGINT) = \"c.id\" AND CAST(tier AS STRING) = \"c.tier\"
      takes c.name
  select: SELECT
    id JSON = id
    name STRING = \"c.name\"
  insert: INSERT INTO stdout() · id, name
"
    );
    let plan = checked(source).plan.pipelines.remove(0);
    let crate::plan::StepKind::Join(join) = &plan.flow[0].kind else { panic!("{plan}") };
    assert_eq!(join.lookup, Some(vec!["id".to_owned(), "tier".to_owned()]));
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

#[test]
fn columns_by_name_are_those_of_the_first_flow_then_those_that_only_later_ones_have() {
    let source = "
SCHEMA l (a BIGINT, b STRING);
SCHEMA r (c DOUBLE, A BIGINT);
PIPELINE p AS FROM file('l') SCHEMA l
|> UNION ALL BY NAME (FROM file('r') SCHEMA r), (FROM file('s') |> SELECT CAST(d AS DATE) AS d, CAST(c AS DOUBLE) AS C)
|> WHERE c > 1 OR d IS NULL
|> INSERT INTO stdout();";
    let checked = checked(source);
    assert_eq!(said(&checked, source), "");
    let flow = &checked.plan.pipelines[0].flow;
    let columns: Vec<String> =
        flow[0].columns.iter().map(|column| format!("{} {}", column.name, column.kind.0)).collect();
    assert_eq!(columns, ["a BIGINT", "b STRING", "c DOUBLE", "d DATE"]);
    let crate::plan::StepKind::Union { arms } = &flow[0].kind else { panic!("no union: {:?}", flow[0]) };
    let made: Vec<Vec<String>> =
        (arms.iter()).map(|arm| arm.columns.iter().map(|(name, sql)| format!("{name} = {sql}")).collect()).collect();
    let cast = "b = CAST(NULL AS STRING)".to_owned();
    assert_eq!(
        made,
        [
            vec!["a = A".to_owned(), cast.clone(), "c = c".to_owned()],
            vec!["a = CAST(NULL AS BIGINT)".to_owned(), cast, "c = C".to_owned(), "d = d".to_owned()],
        ]
    );
    let clash = "file('a') SCHEMA s |> SELECT id |> UNION ALL BY NAME (FROM file('b') SCHEMA s), \
        (FROM file('c') SCHEMA s |> SELECT id AS name) |> INSERT INTO stdout()";
    assert_eq!(mistakes(clash), [("type-mismatch".to_owned(), "SELECT id AS name".to_owned())]);
}

/// The slug and the place of what is said of a flow.
fn mistakes(flow: &str) -> Vec<(String, String)> {
    let source = format!("SCHEMA s (id BIGINT, name STRING, at TIMESTAMP);\nPIPELINE p AS\nFROM {flow};");
    let checked = checked(&source);
    places(&checked, &source).into_iter().map(|(slug, place)| (slug.to_owned(), place.to_owned())).collect()
}

#[test]
fn a_table_of_a_database_is_joined_with_the_types_of_its_schema() {
    let source = "
SCHEMA customer DISCARD (id BIGINT NOT NULL, name STRING NOT NULL, discount DECIMAL(5, 2));
CONNECTION shop TO sqlite WITH (path = 'shop.db');
PIPELINE orders AS
FROM http('/orders') AS o
LEFT JOIN sqlite('shop.db', 'customers') SCHEMA customer REFRESH EVERY '5 minutes' AS c ON c.id = o.customer
|> JOIN shop.regions AS r ON r.code = o.region
|> SELECT o.id, c.name, c.discount, r.title
|> INSERT INTO stdout();";
    let checked = checked(source);
    assert_eq!(said(&checked, source), "");
    let flow = &checked.plan.pipelines[0].flow;
    let columns: Vec<String> =
        flow.last().unwrap().columns.iter().map(|column| format!("{} {}", column.name, column.kind.0)).collect();
    assert_eq!(columns, ["id JSON", "name STRING", "discount DECIMAL(5, 2)", "title JSON"]);
    let crate::plan::StepKind::Join(join) = &flow[0].kind else { panic!("no join: {:?}", flow[0]) };
    assert_eq!((join.refresh, join.table.endless, &join.lookup), (Some(300_000_000), false, &None));
    let refused = "PIPELINE p AS FROM sqlite('shop.db', 'customers') |> SELECT id |> INSERT INTO stdout();";
    assert_eq!(
        plan_of(refused),
        "error: sqlite can be joined and asked by key, and is no source of its own
  ╭▸ orders.sync:1:20
  │
1 │ PIPELINE p AS FROM sqlite('shop.db', 'customers') |> SELECT id |> INSERT INTO stdout();
  │                    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ used as a source
  ╰╴
help: |> JOIN sqlite(…) AS t ON t.id = id reads it whole, |> LOOKUP sqlite(…) the rows of a key
help: sources: file, http, parquet
"
    );
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
        ("file('a') |> LOOKUP sqlite('a.db', 't') AS r ON r.id = id AND r.n > 1", "join", "r.id = id AND r.n > 1"),
        ("file('a') |> LOOKUP sqlite('a.db', 't') AS r ON lower(r.id) = id", "join", "lower(r.id) = id"),
        (
            "file('a') |> LOOKUP sqlite('a.db', 't') REFRESH EVERY '1 hour' AS r USING (id)",
            "no-such-option",
            "'1 hour'",
        ),
        ("file('a') |> LOOKUP file('b') FOLLOW AS r USING (id)", "no-such-option", "file('b') FOLLOW"),
        ("file('a') |> LOOKUP http('/b') AS r USING (id)", "sink-cannot", "http('/b')"),
        ("file('a') |> LOOKUP sqlite('a.db', 't') AS r", "join", "LOOKUP"),
        ("file('a') |> JOIN sqlite('a.db', 't') FOLLOW AS r USING (id)", "no-such-option", "FOLLOW"),
        ("file('a') |> JOIN sqlite('a.db', 't') FORMAT csv AS r USING (id)", "no-such-option", "csv"),
        ("file('a') |> JOIN stdout() AS r USING (id)", "sink-cannot", "stdout()"),
        ("file('a') CACHE '1 hour'", "no-such-option", "'1 hour'"),
        ("sqlite('a.db', 't')", "sink-cannot", "sqlite('a.db', 't')"),
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

/// Each column that was read of it was told as well.
#[test]
fn a_table_whose_schema_is_wrong_is_told_once() {
    for join in ["LOOKUP", "JOIN"] {
        let source = format!(
            "SCHEMA customer (id BIGINT NOT NULL, name TEXXT);
             PIPELINE p AS FROM file('a') |> {join} sqlite('shop.db', 'customers') SCHEMA customer AS c ON c.id = customer
             |> WHERE c.name = 'x' |> SELECT id, c.name, c.tier |> INSERT INTO file('o/');"
        );
        assert_eq!(places(&checked(&source), &source), [("type-mismatch", "TEXXT")]);
    }
}

#[test]
fn similar_to_is_refused_with_what_says_the_same() {
    let source = "PIPELINE p AS FROM file('a') |> WHERE CAST(a AS STRING) SIMILAR TO '(a|b)+' |> INSERT INTO stdout();";
    let said = said(&checked(source), source);
    assert!(said.starts_with("error: SIMILAR TO is not read yet") && said.contains("x ~ '^(a|b)+$'"), "{said}");
}
