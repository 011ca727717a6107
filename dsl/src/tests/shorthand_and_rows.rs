//! LET, FUNCTION, UNNEST, ORDER BY, LIMIT, DISTINCT: the plans they become.

use super::*;

/// The steps of a pipeline over one file, behind some declarations.
fn plan(before: &str, steps: &str) -> String {
    let all = plan_of(&format!("{before}PIPELINE p AS FROM file('a') {steps};"));
    all.split_once("       fields: ").map_or(all.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn a_let_stands_for_its_text_and_a_declared_column_comes_first() {
    let lets = "LET vat = 0.19; LET net = total / (1 + vat); ";
    assert_eq!(
        plan(lets, "|> SELECT id, net, 2 * net AS both, 7 AS vat |> WHERE vat > 1 |> INSERT INTO stdout()"),
        "\
total JSON, id JSON
  select: SELECT
    id JSON = id
    net DECIMAL(38, 10) = (total / (1 + 0.19))
    both DECIMAL(38, 10) = 2 * (total / (1 + 0.19))
    vat BIGINT = 7
  where: WHERE vat > 1
  insert: INSERT INTO stdout() · id, net, both, vat
"
    );
}

#[test]
fn a_function_gets_its_arguments_in_brackets_and_cast_to_what_it_declares() {
    let function = "FUNCTION cents(amount DECIMAL(12, 2), factor) RETURNS BIGINT AS amount * factor; ";
    assert_eq!(
        plan(function, "|> SELECT cents(total + 1, 10 * 10) AS c |> INSERT INTO stdout()"),
        "\
total JSON
  select: SELECT
    c BIGINT = CAST((CAST(total + 1 AS DECIMAL(12,2)) * (10 * 10)) AS BIGINT)
  insert: INSERT INTO stdout() · c
"
    );
}

#[test]
fn an_unnest_is_a_step_of_its_own_in_front_of_its_list() {
    assert_eq!(
        plan("", "|> SELECT id, UNNEST(labels)['name'] AS name, UNNEST(sizes) |> INSERT INTO stdout()"),
        "\
id JSON, labels JSON, sizes JSON
  unnest: UNNEST labels, sizes
  select: SELECT
    id JSON = id
    name JSON = \"element of labels\"['name']
    UNNEST(sizes) JSON = \"element of sizes\"
  insert: INSERT INTO stdout() · id, name, UNNEST(sizes)
"
    );
}

#[test]
fn an_unnest_before_a_replace_clears_the_group_that_is_computed_in_front_of_it() {
    let steps = "|> SELECT id AS issue, UNNEST(labels) AS label |> REPLACE INTO sqlite('a.db', 't') PER (issue)";
    assert_eq!(
        plan("", steps),
        "\
id JSON, labels JSON
  group: group by id
  unnest: UNNEST labels · clears its group
  select: SELECT
    issue JSON = id
    label JSON = \"element of labels\"
  replace: REPLACE INTO sqlite('a.db', 't') PER (issue) · issue, label
"
    );
}

#[test]
fn an_extend_with_an_unnest_keeps_the_rest_of_the_record() {
    assert_eq!(
        plan("", "|> EXTEND UNNEST(labels) AS label |> INSERT INTO stdout()"),
        "\
labels JSON
       whole record
  unnest: UNNEST labels
  extend: EXTEND
    labels JSON = labels
    label JSON = \"element of labels\"
    the rest of the record, with label
  insert: INSERT INTO stdout() · the whole record
"
    );
}

#[test]
fn an_order_keeps_no_more_than_the_limit_behind_it_takes() {
    let steps = "|> SELECT CAST(n AS INT) AS n, CAST(t AS DATE) AS t |> ORDER BY n DESC, t NULLS FIRST |> LIMIT most OFFSET 2 |> INSERT INTO stdout()";
    assert_eq!(
        plan("LET most = 10; ", steps).split_once("  order_by").map(|(_, rest)| rest.to_owned()),
        Some(
            "\
: ORDER BY n DESC, t NULLS FIRST · keeps 12
  limit: LIMIT 10 OFFSET 2
  insert: INSERT INTO stdout() · n, t
"
            .to_owned()
        )
    );
}

#[test]
fn a_distinct_drops_rows_of_the_same_columns() {
    assert_eq!(
        plan("", "|> SELECT DISTINCT city, country |> INSERT INTO stdout()"),
        "\
city JSON, country JSON
  select: SELECT
    city JSON = city
    country JSON = country
  distinct: DEDUP BY city, country
  insert: INSERT INTO stdout() · city, country
"
    );
}

/// An open record for who writes it, declared columns for who reads it.
#[test]
fn a_schema_that_evolves_keeps_other_fields_until_a_select() {
    let source = "SCHEMA s EVOLVE (id BIGINT, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s
|> SET id = id + 1
|> TEE (|> INSERT INTO stdout())
|> SELECT ID AS key
|> INSERT INTO file('out/');";
    assert_eq!(
        plan_of(source),
        "\
pipeline p · checkpoint every 200 ms
  from file('a') · json · ends
       fields: id BIGINT, at TIMESTAMP · other fields are kept
       whole record
  set: SET
    id BIGINT = id + 1
    at TIMESTAMP = \"at\"
    the rest of the record, with id
  tee: TEE
    tee/insert: INSERT INTO stdout() · the whole record
  select: SELECT
    key BIGINT = id
  insert: INSERT INTO file('out/') · key
"
    );
}

/// Each `LET` doubles the last: the text would be a million parts long.
#[test]
fn what_names_stand_for_has_a_bound() {
    let mut lets = "LET a0 = x + 1; ".to_owned();
    (1..20).for_each(|n| lets.push_str(&format!("LET a{n} = a{0} + a{0}; ", n - 1)));
    let source = format!("{lets}PIPELINE p AS FROM file('a') |> WHERE a19 > 1 |> INSERT INTO stdout();");
    assert_eq!(places(&checked(&source), &source).first().map(|(slug, _)| *slug), Some("too-deep"));
}

/// All rows come at the end: no window can be complete before.
#[test]
fn windows_behind_an_order_are_complete_at_the_end() {
    let at_the_end = |order: &str| {
        let group = "|> AGGREGATE SUM(n) AS n GROUP BY tumble(_timestamp, INTERVAL '1 minute') AS minute";
        let steps = format!("|> SELECT CAST(n AS INT) AS n {order} {group} |> INSERT INTO stdout()");
        plan("", &steps).contains("tumble(_timestamp, 1 minute) AS minute · complete at the end\n")
    };
    assert_eq!([at_the_end(""), at_the_end("|> ORDER BY n |> SELECT n")], [false, true]);
}
