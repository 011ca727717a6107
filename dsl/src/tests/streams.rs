//! AS STREAM and FROM: what a reader sees of a stream, and what is said of names and circles.

use super::*;

/// A reader in front of its writer, an aggregate of both, and whole records.
const STREAMS: &str = "
SCHEMA order (id BIGINT NOT NULL, total DECIMAL(12, 2), at TIMESTAMP, note STRING, WATERMARK FOR at AS at - INTERVAL '30 seconds');
PIPELINE hours AS
FROM Paid AS p
|> WHERE p.total > 1
|> AGGREGATE SUM(p.total) AS total GROUP BY tumble(AT, INTERVAL '1 hour') AS hour
|> AS STREAM hours;
PIPELINE orders AS
FROM http('/orders') SCHEMA order
|> DROP note
|> TEE (|> SELECT id, at AS time, _source AS came_from |> AS STREAM times)
|> AS STREAM paid;
PIPELINE days AS
FROM hours
|> AGGREGATE SUM(total) AS total GROUP BY tumble(hour, INTERVAL '1 day') AS day
|> INSERT INTO file('days/');
PIPELINE kept AS
FROM times
|> DEDUP BY id WITHIN '1 day' KEEP LAST
|> SELECT id, time, _offset AS place
|> UPSERT INTO sqlite('shop.db', 'times') KEY (id);
";

#[test]
fn a_stream_has_the_columns_of_the_step_before_it_with_their_meaning() {
    let expected = "\
pipeline hours · checkpoint every 200 ms
  from paid · stream of orders · never ends
       fields: total DECIMAL(12, 2), at TIMESTAMP
       time: at, up to 30 seconds late
  where: WHERE total > 1
  aggregate: AGGREGATE SUM(total) AS total GROUP BY tumble(\"at\", 1 hour) AS hour
  stream: AS STREAM hours · hour, total

pipeline orders · checkpoint every 200 ms
  from http('/orders') · json · never ends
       fields: id BIGINT NOT NULL, total DECIMAL(12, 2), at TIMESTAMP, note STRING · no other field
       metadata: _source
       time: at, up to 30 seconds late
  drop: DROP
    id BIGINT = id
    total DECIMAL(12, 2) = total
    at TIMESTAMP = \"at\"
    _source STRING (hidden) = _source
  tee: TEE
    tee/select: SELECT
      id BIGINT = id
      time TIMESTAMP = \"at\"
      came_from STRING = _source
    tee/stream: AS STREAM times · id, time, came_from
  stream: AS STREAM paid · id, total, at

pipeline days · checkpoint every 200 ms
  from hours · stream of hours · never ends
       fields: hour TIMESTAMP, total DECIMAL(22, 2)
  aggregate: AGGREGATE SUM(total) AS total GROUP BY tumble(hour, 1 day) AS day
  insert: INSERT INTO file('days/') · day, total

pipeline kept · checkpoint every 200 ms
  from times · stream of orders · never ends
       fields: id BIGINT, time TIMESTAMP
       metadata: _offset
       time: time, up to 30 seconds late
  dedup: DEDUP BY id WITHIN 1 day KEEP LAST BY time
  select: SELECT
    id BIGINT = id
    time TIMESTAMP = time
    place BIGINT UNSIGNED = _offset
  upsert: UPSERT INTO sqlite('shop.db', 'times') KEY (id) · id, time, place
";
    assert_eq!(plan_of(STREAMS), expected);
}

#[test]
fn whole_records_are_open_behind_a_stream_too() {
    let source = "
PIPELINE orders AS
FROM file('orders.ndjson')
|> EXTEND CAST(total AS DECIMAL(12, 2)) AS amount
|> DROP secret
|> AS STREAM orders;
PIPELINE large AS
FROM orders
|> WHERE amount > 10 AND customer.name = 'ada'
|> SET seen = _offset
|> INSERT INTO file('large/');
";
    let expected = "\
pipeline orders · checkpoint every 200 ms
  from file('orders.ndjson') · json · ends
       fields: total JSON
       whole record
  extend: EXTEND
    total JSON = total
    amount DECIMAL(12, 2) = CAST(total AS DECIMAL(12,2))
    the rest of the record, with amount
  drop: DROP
    total JSON = total
    amount DECIMAL(12, 2) = amount
    the rest of the record, without secret, with amount
  stream: AS STREAM orders · the whole record

pipeline large · checkpoint every 200 ms
  from orders · stream of orders · ends
       fields: amount DECIMAL(12, 2), customer JSON
       whole record
       metadata: _offset
  where: WHERE amount > 10 AND customer['name'] = 'ada'
  set: SET
    amount DECIMAL(12, 2) = amount
    customer JSON = customer
    seen BIGINT UNSIGNED = _offset
    the rest of the record, with seen
  insert: INSERT INTO file('large/') · the whole record
";
    assert_eq!(plan_of(source), expected);
}

#[test]
fn what_may_stand_behind_a_stream_follows_from_whether_its_writer_ends() {
    let reader = |writer: &str| {
        format!(
            "PIPELINE w {writer} |> SELECT CAST(id AS BIGINT) AS id |> AS STREAM s;
             PIPELINE r AS FROM s |> ORDER BY id |> INSERT INTO file('o/');"
        )
    };
    let slugs_of = |writer: &str| slugs(&checked(&reader(writer)));
    assert_eq!(slugs_of("AS FROM file('a')"), [""; 0]);
    assert_eq!(slugs_of("WITH (restart = 'on failure') AS FROM file('a')"), [""; 0]);
    assert_eq!(slugs_of("AS FROM file('a') FOLLOW"), ["needs-window"]);
    assert_eq!(slugs_of("AS FROM http('/a')"), ["needs-window"]);
    assert_eq!(slugs_of("WITH (restart = 'always') AS FROM file('a')"), ["needs-window"]);
    let chain = "PIPELINE a AS FROM http('/a') |> SELECT id |> AS STREAM one;
                 PIPELINE b AS FROM one |> AS STREAM two;
                 PIPELINE c AS FROM two |> LIMIT 3 |> INSERT INTO file('o/');";
    assert_eq!(slugs(&checked(chain)), ["needs-window"]);
}

#[test]
fn names_and_circles_are_told_with_both_places() {
    let place = |source| {
        let checked = checked(source);
        places(&checked, source).into_iter().map(|(slug, text)| format!("{slug}: {text}")).collect::<Vec<_>>()
    };
    let two = "PIPELINE a AS FROM file('a') |> AS STREAM s; PIPELINE b AS FROM file('b') |> AS STREAM S;
               PIPELINE c AS FROM s |> INSERT INTO file('o/');";
    assert_eq!(place(two), ["duplicate-name: S"]);
    let connection = "CONNECTION shop TO sqlite WITH (path = 'a.db');
                      PIPELINE a AS FROM file('a') |> AS STREAM shop; PIPELINE b AS FROM shop |> INSERT INTO file('o/');";
    assert_eq!(place(connection), ["duplicate-name: shop"]);
    assert_eq!(place("PIPELINE a AS FROM s |> AS STREAM s;"), ["feedback-loop: s"]);
    let circle = "PIPELINE a AS FROM three |> AS STREAM one; PIPELINE b AS FROM one |> AS STREAM two;
                  PIPELINE c AS FROM two |> AS STREAM three;";
    assert_eq!(place(circle), ["feedback-loop: one"]);
    assert!(said(&checked(circle), circle).contains("the way round: a → b → c → a"));
    let outside =
        "PIPELINE a AS FROM file('in/*.ndjson') |> AS STREAM s; PIPELINE b AS FROM s |> INSERT INTO file('in/');";
    assert_eq!(place(outside).len(), 1);
    assert!(place(outside)[0].starts_with("feedback-loop"), "{:?}", place(outside));
    let clauses = "PIPELINE a AS FROM file('a') |> AS STREAM s;
                   PIPELINE b AS FROM s FORMAT json FOLLOW |> INSERT INTO file('o/');";
    assert_eq!(place(clauses), ["no-such-option: FORMAT json", "no-such-option: FOLLOW"]);
    let table = "PIPELINE a AS FROM file('a') |> SELECT id |> AS STREAM s;
                 PIPELINE b AS FROM file('b') |> JOIN s AS t ON t.id = id |> INSERT INTO file('o/');
                 PIPELINE c AS FROM file('b') |> LOOKUP s AS t ON t.id = id |> INSERT INTO file('u/');";
    assert_eq!(place(table), ["join: s", "join: s"]);
}

#[test]
fn keep_last_holds_behind_a_stream() {
    let reader = |end: &str| {
        format!(
            "PIPELINE w AS FROM file('a') |> SELECT CAST(id AS BIGINT) AS id, CAST(v AS BIGINT) AS v |> DEDUP BY id KEEP LAST BY v |> AS STREAM s;
             PIPELINE m AS FROM s |> WHERE v > 1 |> AS STREAM t;
             PIPELINE r AS FROM t |> {end};"
        )
    };
    let found = |end: &str| slugs(&checked(&reader(end)));
    assert_eq!(found("UPSERT INTO sqlite('a.db', 't') KEY (id)"), [""; 0]);
    assert_eq!(found("INSERT INTO file('o/')"), ["keep-last"]);
    assert_eq!(found("AGGREGATE COUNT(*) AS n |> INSERT INTO file('o/')"), ["keep-last"]);
}

#[test]
fn a_writer_that_does_not_compile_is_the_only_one_to_hear_of_it() {
    let source = "PIPELINE a AS FROM file('a') |> SELECT id |> WHERE ide > 1 |> AS STREAM s;
                  PIPELINE b AS FROM s |> WHERE anything > 1 |> INSERT INTO file('o/');";
    let checked = checked(source);
    assert_eq!(places(&checked, source), [("no-such-column", "ide")]);
    assert!(checked.plan.pipelines.is_empty());
}

#[test]
fn an_instant_seen_in_a_zone_is_no_column_of_a_stream() {
    let writer = |end: &str| {
        format!(
            "PIPELINE a AS FROM file('a') |> SELECT id, CAST(t AS TIMESTAMP) AT TIME ZONE 'Europe/Berlin' AS z |> {end}AS STREAM s;
             PIPELINE b AS FROM s |> INSERT INTO file('o/');"
        )
    };
    let source = writer("");
    let found = checked(&source);
    assert_eq!(places(&found, &source), [("type-mismatch", "s")]);
    let said = said(&found, &source);
    assert!(
        said.contains("TIMESTAMP AT TIME ZONE 'Europe/Berlin'") && said.contains("CAST(z AS TIMESTAMP) AS z"),
        "{said}"
    );
    assert_eq!(slugs(&checked(&writer("SET z = CAST(z AS TIMESTAMP) |> "))), [""; 0]);
}

#[test]
fn a_test_finds_a_stream_without_case() {
    let source = "PIPELINE a AS FROM file('a') |> SELECT id |> AS STREAM s;
                  PIPELINE b AS FROM s |> INSERT INTO file('o/');
                  TEST t FOR b GIVEN INPUT S ROWS '{\"id\": 1}' EXPECT DEAD LETTERS 0;
                  TEST u FOR a GIVEN INPUT ROWS '{\"id\": 1}' EXPECT OUTPUT S ROWS (1);";
    assert_eq!(slugs(&checked(source)), [""; 0]);
}
