//! Plans of right files, printed whole.

use super::*;
use crate::{
    plan::{Plan, Restart, RestartWhen, Step, StepKind},
    step_digest,
};

/// An open record: names, aliases, metadata, branches.
pub(super) const OPEN: &str = "
PIPELINE issues AS
FROM file('issues.ndjson') AS i
|> WHERE i.user['login'] <> 'bot' AND i.order.id > 7
|> EXTEND i.user.login AS author, length(title) AS long
|> DEDUP
|> SET title = lower(title)
|> DROP secret
|> RENAME Number AS number
|> EXPECT number IS NOT NULL AS has_number ON VIOLATION WARN
|> TEE (|> SELECT author, _source AS came_from, COUNT |> UPSERT INTO sqlite('a.db', 'authors') KEY (AUTHOR) SEQUENCE BY _offset)
|> SHARD BY id, author INTO 4
|> INSERT INTO file('out/');";

/// The arms of a SHARD, a group, deletes, ids.
pub(super) const ARMS: &str = "
SCHEMA issue DISCARD (
  id BIGINT NOT NULL, Title STRING, labels JSON, state STRING, updated_at TIMESTAMP,
  WATERMARK FOR updated_at AS updated_at - INTERVAL '5 minutes'
);
PIPELINE issues WITH (delivery = 'exactly once', ledger = 'all', checkpoint_every = '1 second') AS
FROM file('issues.ndjson') FORMAT json SCHEMA issue FOLLOW AS i
|> DEDUP BY id WITHIN '1 day' KEEP LAST
|> SHARD BY i.id INTO (
     PRIMARY issues AS (
       |> SELECT id, title, updated_at
       |> UPSERT INTO sqlite('gh.db', 'issues') KEY (id) SEQUENCE BY updated_at DELETE WHEN STATE = 'deleted' IGNORE NULLS
     ),
     DERIVED labels AS (
       |> SELECT id AS issue_id, labels[1]['name'] AS label, _id AS row_id
       |> EXTEND issue_id % 10 AS bucket
       |> WHERE label IS NOT NULL
       |> EXPECT label <> '' ON VIOLATION DROP
       |> REPLACE INTO sqlite('gh.db', 'labels') PER (issue_id, bucket) SEQUENCE BY issue_id
     )
   );";

/// Names that are traps for SQL.
pub(super) const NAMES: &str = r#"
PIPELINE names AS
FROM file('a.ndjson') AS t
|> SELECT user, t.order, "select", "a b", t."it's", case_id, interval, "end", date, _key, t.user.id.deep[2] AS deep,
          CASE WHEN "end" = 1 THEN "when" ELSE 'x' END AS "end2", -total AS minus, NOT CAST("not" AS BOOLEAN) AS "Not"
|> WHERE "USER" = 'x' AND "END" IS NOT NULL AND (date = '2026-01-01' OR interval = '1 day') AND "not"
|> INSERT INTO stdout();"#;

#[test]
fn an_open_record_notes_what_changed_and_carries_what_is_read_later() {
    let expected = r#"
pipeline issues · checkpoint every 200 ms
  from file('issues.ndjson') · json · ends
       fields: user JSON, order JSON, title JSON, Number JSON, COUNT JSON, id JSON
       whole record
       metadata: _offset, _source
  where: WHERE "user"['login'] <> 'bot' AND "order"['id'] > 7
  extend: EXTEND
    user JSON = "user"
    order JSON = "order"
    title JSON = title
    Number JSON = Number
    COUNT JSON = COUNT
    id JSON = id
    author JSON = "user"['login']
    long INT = length(title)
    _offset BIGINT UNSIGNED (hidden) = _offset
    _source STRING (hidden) = _source
    the rest of the record, with author, long
  dedup: DEDUP BY the content
  set: SET
    user JSON = "user"
    order JSON = "order"
    title STRING = lower(title)
    Number JSON = Number
    COUNT JSON = COUNT
    id JSON = id
    author JSON = author
    long INT = long
    _offset BIGINT UNSIGNED (hidden) = _offset
    _source STRING (hidden) = _source
    the rest of the record, with author, long, title
  drop: DROP
    user JSON = "user"
    order JSON = "order"
    title STRING = title
    Number JSON = Number
    COUNT JSON = COUNT
    id JSON = id
    author JSON = author
    long INT = long
    _offset BIGINT UNSIGNED (hidden) = _offset
    _source STRING (hidden) = _source
    the rest of the record, without secret, with author, long, title
  rename: RENAME
    user JSON = "user"
    order JSON = "order"
    title STRING = title
    number JSON = Number
    COUNT JSON = COUNT
    id JSON = id
    author JSON = author
    long INT = long
    _offset BIGINT UNSIGNED (hidden) = _offset
    _source STRING (hidden) = _source
    the rest of the record, without secret, Number, with author, long, title, number
  has_number: EXPECT number IS NOT NULL ON VIOLATION WARN
  tee: TEE
    tee/select: SELECT
      author JSON = author
      came_from STRING = _source
      COUNT JSON = COUNT
      _offset BIGINT UNSIGNED (hidden) = _offset
    tee/upsert: UPSERT INTO sqlite('a.db', 'authors') KEY (author) SEQUENCE BY _offset · author, came_from, COUNT
  shard: SHARD BY id, author INTO 4
  insert: INSERT INTO file('out/') · the whole record
"#;
    assert_eq!(plan_of(OPEN), expected[1..]);
}

#[test]
fn arms_share_a_delete_and_a_group_is_known_before_a_row_is_dropped() {
    let expected = r#"
pipeline issues · checkpoint every 1 second · exactly once · ledger of all rows
  from file('issues.ndjson') · json · follows · never ends
       fields: id BIGINT NOT NULL, Title STRING, labels JSON, state STRING, updated_at TIMESTAMP
       time: updated_at, up to 5 minutes late
  dedup: DEDUP BY id WITHIN 1 day KEEP LAST BY updated_at
  shard: SHARD BY id · DELETE WHEN state = 'deleted'
    primary issues
      issues/select: SELECT
        id BIGINT = id
        Title STRING = Title
        updated_at TIMESTAMP = updated_at
      issues/upsert: UPSERT INTO sqlite('gh.db', 'issues') KEY (id) SEQUENCE BY updated_at IGNORE NULLS · id, Title, updated_at
    derived labels · with ids
      labels/select: SELECT
        issue_id BIGINT = id
        label JSON = labels[1]['name']
        row_id STRING = _id
      labels/extend: EXTEND
        issue_id BIGINT = issue_id
        label JSON = label
        row_id STRING = row_id
        bucket BIGINT = issue_id % 10
      labels/group: group by issue_id, bucket
      labels/where: WHERE label IS NOT NULL · clears its group
      labels/expect: EXPECT label <> '' ON VIOLATION DROP · clears its group
      labels/replace: REPLACE INTO sqlite('gh.db', 'labels') PER (issue_id, bucket) SEQUENCE BY issue_id · issue_id, label, row_id, bucket
"#;
    assert_eq!(plan_of(ARMS), expected[1..]);
}

#[test]
fn names_that_mean_something_in_sql_are_quoted() {
    let expected = r#"
pipeline names · checkpoint every 200 ms
  from file('a.ndjson') · json · ends
       fields: user JSON, order JSON, select JSON, a b JSON, it's JSON, case_id JSON, interval JSON, end JSON, date JSON, when JSON, total JSON, not JSON
       metadata: _key
  select: SELECT
    user JSON = "user"
    order JSON = "order"
    select JSON = "select"
    a b JSON = "a b"
    it's JSON = "it's"
    case_id JSON = case_id
    interval JSON = "interval"
    end JSON = "end"
    date JSON = date
    _key BYTES = _key
    deep JSON = "user"['id']['deep'][2]
    end2 STRING = CASE WHEN "end" = 1 THEN "when" ELSE 'x' END
    minus DECIMAL(38, 10) = -total
    Not BOOLEAN = NOT CAST("not" AS BOOLEAN)
  where: WHERE "user" = 'x' AND "end" IS NOT NULL AND (date = '2026-01-01' OR "interval" = '1 day') AND "Not"
  insert: INSERT INTO stdout() · user, order, select, a b, it's, case_id, interval, end, date, _key, deep, end2, minus, Not
"#;
    assert_eq!(plan_of(NAMES), expected[1..]);
}

/// The plan of the first pipeline of a right file.
fn plan(source: &str) -> Plan {
    let checked = checked(source);
    assert_eq!(said(&checked, source), "");
    checked.plan.pipelines[0].clone()
}

fn step(plan: &Plan, id: &str) -> Step {
    let mut found = None;
    plan.each_step(&mut |step| {
        if step.id == id {
            found = Some(step.clone());
        }
    });
    found.expect(id)
}

const COUNTED: &str = "
PIPELINE counted AS FROM file('a.ndjson')
|> WHERE CAST(total AS BIGINT) > 1
|> DEDUP BY id WITHIN '1 hour'
|> SELECT id, total
|> INSERT INTO file('out/');";

#[test]
fn a_digest_forgets_places_and_spaces_and_nothing_else() {
    let digest = |source: &str| plan(source).digest();
    let same = COUNTED.replace("|> DEDUP", "-- repeats\n|>  DEDUP").replace("file('out/')", "file( 'out/' )");
    assert_eq!(digest(COUNTED), digest(&same));
    for (from, to) in
        [("> 1", "> 2"), ("1 hour", "2 hours"), ("out/", "output/"), ("id, total", "total, id"), ("BY id", "BY ID")]
    {
        assert_ne!(digest(COUNTED), digest(&COUNTED.replace(from, to)), "{from} {to}");
    }
}

#[test]
fn a_step_keeps_its_state_while_its_key_types_and_window_are_the_same() {
    let digest = |source: &str, id: &str| step_digest(&step(&plan(source), id));
    let dedup = digest(COUNTED, "dedup");
    assert_eq!(dedup, digest(&COUNTED.replace("> 1", "> 2"), "dedup"));
    assert_eq!(dedup, digest(&COUNTED.replace("|> WHERE", "|> EXTEND 1 AS one\n|> WHERE"), "dedup"));
    assert_ne!(dedup, digest(&COUNTED.replace("BY id", "BY id, total"), "dedup"));
    assert_ne!(dedup, digest(&COUNTED.replace("1 hour", "2 hours"), "dedup"));
    let typed = COUNTED.replace("|> DEDUP", "|> SET id = CAST(id AS BIGINT)\n|> DEDUP");
    assert_ne!(dedup, digest(&typed, "dedup"));
    let sink = digest(COUNTED, "insert");
    assert_eq!(sink, digest(&COUNTED.replace("1 hour", "2 hours"), "insert"));
    assert_ne!(sink, digest(&COUNTED.replace("out/", "output/"), "insert"));
}

#[test]
fn ids_of_steps_count_within_their_flow() {
    let source = "
PIPELINE p AS FROM file('a.ndjson')
|> WHERE id = 1
|> TEE (|> WHERE id = 2 |> TEE (|> INSERT INTO file('b/')) |> INSERT INTO file('c/'))
|> WHERE id = 3
|> EXPECT id > 0 AS positive ON VIOLATION WARN
|> EXPECT id > 0 ON VIOLATION WARN
|> TEE (|> INSERT INTO file('d/'))
|> INSERT INTO stdout();";
    let mut ids = Vec::new();
    plan(source).each_step(&mut |step| ids.push(step.id.clone()));
    let main = ["where", "tee", "tee/where", "tee/tee", "tee/tee/insert", "tee/insert"];
    let rest = ["where_2", "positive", "expect", "tee_2", "tee_2/insert", "insert"];
    assert_eq!(ids, [main, rest].concat());
}

#[test]
fn a_connection_gives_the_arguments_and_its_object_the_one_that_is_left() {
    let source = "
CONNECTION shop TO sqlite WITH (path = env('SHOP', 'shop.db'));
PIPELINE p AS FROM file('a.ndjson') |> SELECT id |> UPSERT INTO Shop.orders KEY (ID);";
    let plan = plan(source);
    let StepKind::Sink(sink) = &step(&plan, "upsert").kind else { panic!("a sink") };
    let named: Vec<String> = sink.place.named.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    assert_eq!(named, ["path = env('SHOP', 'shop.db')", "table = 'orders'"]);
    assert_eq!((sink.place.connector.as_str(), sink.place.text.as_str()), ("sqlite", "Shop.orders"));
}

#[test]
fn a_pipeline_with_a_mistake_is_left_out_and_the_others_stay() {
    let source = "
PIPELINE bad AS FROM file('a.ndjson') |> SELECT id |> WHERE other = 1 |> INSERT INTO stdout();
PIPELINE worse AS FROM file('a.ndjson') |> WHRE id = 1 |> INSERT INTO stdout();
PIPELINE good AS FROM file('a.ndjson') |> INSERT INTO stdout();
TEST of_bad FOR bad GIVEN INPUT ROWS '{\"id\": 1}' EXPECT DEAD LETTERS 0;
TEST of_good FOR good GIVEN INPUT ROWS '{\"id\": 1}' EXPECT DEAD LETTERS 0;";
    let checked = checked(source);
    let names: Vec<&str> = checked.plan.pipelines.iter().map(|plan| plan.pipeline.as_str()).collect();
    let tests: Vec<&str> = checked.plan.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!((names, tests), (vec!["good"], vec!["of_good"]));
    assert_eq!(slugs(&checked), ["no-such-column", "misspelt-keyword"]);
}

#[test]
fn a_star_of_an_open_record_keeps_it_open_wherever_it_stands() {
    let plans = ["SELECT *, id + 1 AS next", "SELECT id + 1 AS next, *", "EXTEND id + 1 AS next"]
        .map(|step| plan(&format!("PIPELINE p AS FROM file('a.ndjson') |> {step} |> INSERT INTO file('b/');")));
    for plan in &plans {
        assert_eq!(plan.flow[0].open.as_ref().map(|open| open.set.clone()), Some(vec!["next".to_owned()]));
    }
    assert!(plan("PIPELINE p AS FROM file('a.ndjson') |> SELECT id, * |> INSERT INTO file('b/');").source.whole_record);
}

#[test]
fn a_declared_field_comes_before_the_metadata_of_its_name() {
    let source = "
SCHEMA s (_key STRING, Id BIGINT);
PIPELINE p AS FROM file('a.ndjson') SCHEMA s |> SELECT _key, ID, _offset |> INSERT INTO stdout();";
    assert_eq!(plan(source).source.metadata, ["_offset"]);
}

#[test]
fn a_group_is_followed_through_the_projections_behind_a_filter() {
    let source = "
PIPELINE p AS FROM file('a.ndjson')
|> SELECT id, x |> WHERE x = 1 |> SELECT id + 1 AS k, x |> REPLACE INTO sqlite('a.db', 't') PER (k);";
    let plan = plan(source);
    let ids: Vec<&str> = plan.flow.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["select", "group", "where", "select_2", "replace"]);
    assert_eq!(step(&plan, "group").kind, StepKind::Group { per: vec!["(id + 1)".into()] });
    assert_eq!(
        step(&plan, "where").kind,
        StepKind::Where { predicate: "x = 1".into(), groups: true, of_deletes: None }
    );
}

#[test]
fn when_to_restart_is_part_of_the_plan_and_not_of_its_digest() {
    let source = |options: &str| format!("PIPELINE p {options} AS FROM file('a.ndjson') |> INSERT INTO stdout();");
    let said = plan(&source("WITH (restart = 'On Failure', restart_delay = '5 seconds', max_restarts = 10)"));
    assert_eq!(
        said.options.restart,
        Restart { when: Some(RestartWhen::OnFailure), delay: Some(5_000_000), most: Some(10) }
    );
    let head = "pipeline p · checkpoint every 200 ms · restarts: on failure · first restart after 5 seconds · at most 10 restarts\n";
    assert!(said.to_string().starts_with(head), "{said}");
    assert_eq!(said.digest(), plan(&source("")).digest());
}
