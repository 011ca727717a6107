//! `FROM history(…) THEN source`: plans and messages, whole.

use super::*;

const SCHEMA: &str =
    "SCHEMA event (id BIGINT NOT NULL, total DECIMAL(12, 2), at TIMESTAMP NOT NULL, WATERMARK FOR at AS at);\n";

#[test]
fn a_history_has_the_columns_the_types_and_the_time_of_the_source() {
    let source = format!(
        "{SCHEMA}PIPELINE p AS
FROM history('old/*.ndjson') THEN http('/orders') SCHEMA event AS o
|> AGGREGATE SUM(o.total) AS total GROUP BY tumble(o.at, INTERVAL '1 hour') AS hour
|> INSERT INTO stdout();"
    );
    assert_eq!(
        plan_of(&source),
        "pipeline p · checkpoint every 200 ms
  from http('/orders') · json · never ends
       fields: id BIGINT NOT NULL, total DECIMAL(12, 2), at TIMESTAMP NOT NULL · no other field
       time: at, up to 0 us late
  history: history first
      from 'old/*.ndjson' · json · ends
           fields: id BIGINT NOT NULL, total DECIMAL(12, 2), at TIMESTAMP NOT NULL · no other field
           time: at, up to 0 us late
      as id = id, total = total, at = \"at\"
  aggregate: AGGREGATE SUM(total) AS total GROUP BY tumble(\"at\", 1 hour) AS hour
  insert: INSERT INTO stdout() · hour, total
"
    );
}

#[test]
fn a_history_may_be_a_flow_of_its_own_and_whole_records_stay_whole() {
    let source = "
PIPELINE p AS
FROM history(FROM file('old.ndjson') |> WHERE id > 0) THEN http('/orders')
|> DEDUP BY id WITHIN '1 hour'
|> INSERT INTO stdout();";
    assert_eq!(
        plan_of(source),
        "pipeline p · checkpoint every 200 ms
  from http('/orders') · json · never ends
       fields: id JSON
       whole record
  history: history first
      from file('old.ndjson') · json · ends
           fields: id JSON
           whole record
      history/where: WHERE id > 0
      as id = id
  dedup: DEDUP BY id WITHIN 1 hour
  insert: INSERT INTO stdout() · the whole record
"
    );
}

#[test]
fn what_a_history_cannot_be_is_told() {
    let said_of = |from: &str| {
        let source = format!("{SCHEMA}PIPELINE p AS {from} |> SELECT id, total |> INSERT INTO stdout();");
        let checked = checked_of(&source);
        checked.diagnostics.iter().map(|one| format!("{}: {}", one.slug, one.title)).collect::<Vec<_>>().join("\n")
    };
    let http = "http('/orders') SCHEMA event";
    let all: Vec<String> = [
        format!("FROM history({http}) THEN {http}"),
        format!("FROM history('a.ndjson') {http}"),
        format!("FROM history() THEN {http}"),
        format!("FROM history(FROM file('a') SCHEMA event |> SELECT id) THEN {http}"),
        format!("FROM history(FROM file('a') SCHEMA event |> SELECT CAST(id AS STRING) AS id, total, at) THEN {http}"),
        format!("FROM {http} |> UNION ALL (FROM history('a') THEN {http})"),
        format!("FROM history(FROM history('a') THEN file('b') SCHEMA event) THEN {http}"),
        format!("FROM history(FROM file('a') SCHEMA event |> INSERT INTO stdout()) THEN {http}"),
    ]
    .iter()
    .map(|from| said_of(from))
    .collect();
    assert_eq!(
        all,
        [
            "history: a history has to end before what comes next can begin",
            "syntax: history(…) needs THEN",
            "syntax: history needs a source: connection.object, a function or a stream",
            "history: the history lacks columns of the source",
            "type-mismatch: id would have two types",
            "history: a history goes before the source of the pipeline",
            "history: a history goes before the source of the pipeline",
            "union: the rows of a UNION go on behind it",
        ]
    );
}
