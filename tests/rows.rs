//! LET, FUNCTION, UNNEST, ORDER BY, LIMIT, DISTINCT and schemas that take new fields, from the outside: tests beside a pipeline,
//! `kill -9`, and what is in the tables and files afterwards.
//!
//! What must come out is computed here by hand: a map of groups, a sort, a set.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Duration,
};

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

const LABELS: &str = r#"
LET seen = state IN ('open', 'reopened');
FUNCTION cents(amount DECIMAL(12, 2)) RETURNS BIGINT AS amount * 100;

PIPELINE labels WITH (checkpoint_every = '20 milliseconds') AS
FROM file('issues.ndjson')
|> WHERE seen
|> SELECT id AS issue, UNNEST(labels) AS label, cents(cost) AS cents
|> SELECT issue, label['name'] AS name, cents
|> REPLACE INTO sqlite('labels.db', 'labels') PER (issue);

TEST labels_that_went_are_gone FOR labels
  GIVEN INPUT ROWS
    '{"id": 1, "state": "open", "cost": "1.25", "labels": [{"name": "bug"}, {"name": "p1"}]}',
    '{"id": 2, "state": "open", "cost": 3, "labels": [{"name": "doc"}]}',
    '{"id": 3, "state": "open", "cost": 3, "labels": [{"name": "old"}]}',
    '{"id": 4, "state": "open", "cost": 4, "labels": [{"name": "kept"}]}',
    '{"id": 1, "state": "reopened", "cost": 1.5, "labels": [{"name": "p1"}]}',
    '{"id": 2, "state": "open", "cost": 3, "labels": []}',
    '{"id": 3, "state": "closed", "cost": 3, "labels": [{"name": "new"}]}',
    '{"id": 4, "state": "open", "cost": 4, "labels": "oops"}'
  CHECKPOINT EVERY 2 ROWS
  AFTER CRASH AT CHECKPOINT 2
  EXPECT OUTPUT ROWS (1, 'p1', 150), (4, 'kept', 400)
  EXPECT DROPPED 2 BECAUSE 'filtered'
  EXPECT DEAD LETTERS 1;
"#;

#[test]
fn labels_that_went_are_gone_from_the_table() {
    let desk = Desk::with(LABELS);
    desk.ok(&["test", "orders.sync"]);
    let first = r#"{"id": 1, "state": "open", "cost": "1.25", "labels": [{"name": "bug"}, {"name": "p1"}]}"#;
    let bad = r#"{"id": 1, "state": "open", "cost": "1.25", "labels": "oops"}"#;
    desk.write("issues.ndjson", format!("{first}\n{bad}\n"));
    desk.ok(&["run", "orders.sync"]);
    let rows = || look::sqlite(&desk.path("labels.db"), "SELECT name FROM labels ORDER BY name");
    assert_eq!(rows(), [["bug"], ["p1"]], "a dead letter leaves the group");
    let dead = desk.query("SELECT step, detail, text FROM dead_letters");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0]["detail"], r#"labels: `"oops"` is not an array"#);
    assert_eq!(dead[0]["text"], bad);
    desk.append("issues.ndjson", &[r#"{"id": 1, "state": "open", "cost": 0, "labels": null}"#.to_owned()]);
    desk.ok(&["run", "orders.sync"]);
    assert!(rows().is_empty(), "no labels are no rows");
}

const SORTED: &str = "
SCHEMA event EVOLVE (id BIGINT NOT NULL, kind STRING, score BIGINT);

PIPELINE sorted WITH (checkpoint_every = '20 milliseconds') AS
FROM file('events.ndjson') SCHEMA event
|> FORK (
     |> ORDER BY score DESC, id
     |> LIMIT 100 OFFSET 10
     |> SELECT id, score
     |> INSERT INTO sqlite('events.db', 'top')
   ), (
     |> WHERE kind IS NOT NULL
     |> ORDER BY kind, id DESC
     |> SELECT id, kind
     |> INSERT INTO file('sorted.ndjson')
   ), (
     |> SELECT DISTINCT kind
     |> INSERT INTO sqlite('events.db', 'kinds')
   ), (
     |> INSERT INTO file('all/')
   );
";

struct Event {
    id: u64,
    kind: Option<String>,
    score: Option<i64>,
    line: String,
}

fn events(chance: &mut Chance, count: u64) -> Vec<Event> {
    let mut ids: Vec<u64> = (0..count).collect();
    chance.shuffle(&mut ids);
    let event = |id: u64| {
        let kind = (chance.below(20) > 0).then(|| format!("kind {}", chance.below(30)));
        let score = (chance.below(50) > 0).then(|| chance.below(count / 2) as i64 - 1_000);
        let shown = |value: Option<String>| value.unwrap_or("null".to_owned());
        let (quoted, number) = (kind.as_ref().map(|kind| format!("{kind:?}")), score.map(|score| score.to_string()));
        let new = if id.is_multiple_of(7) { r#","new":{"a":[1.0]}"# } else { "" };
        let line = format!(r#"{{"id":{id},"kind":{},"score":{}{new}}}"#, shown(quoted), shown(number));
        Event { id, kind, score, line }
    };
    ids.into_iter().map(event).collect()
}

/// NULL is larger than any value, so it is first where the order goes down.
fn top(events: &[Event]) -> Vec<String> {
    let mut order: Vec<(bool, i64, u64)> =
        events.iter().map(|event| (event.score.is_some(), -event.score.unwrap_or(0), event.id)).collect();
    order.sort();
    let shown = |(some, score, id): &(bool, i64, u64)| match some {
        true => format!("{id}|{}", -score),
        false => format!("{id}|NULL"),
    };
    order.iter().skip(10).take(100).map(shown).collect()
}

#[test]
fn soak_orders_limits_and_distinct_rows_are_right_whenever_the_process_is_killed() {
    let (mut chance, _) = Chance::told("rows");
    let (count, kills) = if soak() { (600_000, 30) } else { (60_000, 6) };
    let desk = Desk::with(SORTED);
    let events = events(&mut chance, count);
    let lines: Vec<String> = events.iter().map(|event| event.line.clone()).collect();
    desk.append("events.ndjson", &lines);
    let mut fell = 0;
    for _ in 0..kills {
        let running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(10, 400)));
        fell += usize::from(running.kill());
    }
    desk.ok(&["run", "orders.sync"]);
    eprintln!("rows: {fell} of {kills} kills found a process at work");
    assert!(fell > 0, "no kill found a process that was at work");

    let table = |sql: &str| -> Vec<String> {
        look::sqlite(&desk.path("events.db"), sql).iter().map(|row| row.join("|")).collect()
    };
    look::same("top", &table("SELECT id, score FROM top ORDER BY rowid"), &top(&events));
    let kinds: BTreeSet<String> = events.iter().map(|event| event.kind.clone().unwrap_or("NULL".to_owned())).collect();
    let mut found = table("SELECT kind FROM kinds");
    found.sort();
    look::same("kinds", &found, &kinds.into_iter().collect::<Vec<_>>());

    let mut by_kind: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    events.iter().filter_map(|event| Some((event.kind.as_deref()?, event.id))).for_each(|(kind, id)| {
        by_kind.entry(kind).or_default().push(id);
    });
    by_kind.values_mut().for_each(|ids| ids.sort_by(|one, other| other.cmp(one)));
    let expected: Vec<String> = by_kind
        .iter()
        .flat_map(|(kind, ids)| ids.iter().map(move |id| format!(r#"{{"id":{id},"kind":"{kind}"}}"#)))
        .collect();
    let sorted: Vec<String> =
        fs::read_to_string(desk.path("sorted.ndjson")).expect("the file").lines().map(str::to_owned).collect();
    look::same("sorted", &sorted, &expected);
    look::same("all of every record", &look::lines(&desk.path("all")), &lines);
    assert!(
        desk.books("sorted").contains(&format!("source: {count} in · {count} passed")),
        "{:?}",
        desk.books("sorted")
    );
}

#[test]
fn an_order_begins_anew_with_what_is_new() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('a.ndjson') |> ORDER BY CAST(n AS BIGINT) |> LIMIT 2 |> INSERT INTO file('b.ndjson');",
    );
    let numbers = |numbers: &[u32]| numbers.iter().map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>();
    desk.append("a.ndjson", numbers(&[3, 1, 2]));
    desk.ok(&["run", "orders.sync"]);
    desk.append("a.ndjson", numbers(&[9, 8, 7]));
    desk.ok(&["run", "orders.sync"]);
    let out = fs::read_to_string(desk.path("b.ndjson")).expect("the file");
    assert_eq!(out.lines().collect::<Vec<_>>(), numbers(&[1, 2, 7, 8]));
}

#[test]
fn a_row_that_dies_behind_an_order_is_a_dead_letter_as_it_came() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('a.ndjson') |> ORDER BY CAST(n AS BIGINT) |> SELECT 10 / CAST(n AS BIGINT) AS x \
         |> INSERT INTO file('b.ndjson');",
    );
    let zero = r#"{ "n" : 0, "note": "as it came" }"#;
    desk.write("a.ndjson", format!("{{\"n\": 5}}\n{zero}\n{{\"n\": \"x\"}}\n{{\"n\": 2}}\n"));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(fs::read_to_string(desk.path("b.ndjson")).expect("the file"), "{\"x\":5}\n{\"x\":2}\n");
    let dead: Vec<String> = desk
        .query("SELECT step, text FROM dead_letters ORDER BY step")
        .iter()
        .map(|row| format!("{} {}", row["step"].as_str().unwrap_or("?"), row["text"].as_str().unwrap_or("?")))
        .collect();
    assert_eq!(dead, [r#"order_by {"n": "x"}"#.to_owned(), format!("select {zero}")]);
}

#[test]
fn new_fields_are_kept_and_told_once_in_json_and_in_csv() {
    for (name, records, kept) in [
        (
            "a.ndjson",
            "{\"id\":1}\n{\"id\":2,\"new\":\"x\"}\n{\"id\":3,\"new\":\"y\"}\n",
            [r#"{"id":1}"#, r#"{"id":2,"new":"x"}"#],
        ),
        ("a.csv", "id,new\n1,\n2,x\n3,y\n", [r#"{"id":"1","new":null}"#, r#"{"id":"2","new":"x"}"#]),
    ] {
        let desk = Desk::with(&format!(
            "SCHEMA s EVOLVE (id BIGINT NOT NULL);
             PIPELINE p AS FROM file('{name}') SCHEMA s |> WHERE id < 3 |> INSERT INTO file('b.ndjson');"
        ));
        desk.write(name, records);
        let said = desk.say(&["run", "orders.sync"]).expect(0);
        assert_eq!(said.err.matches("field=new").count(), 1, "{}", said.err);
        let out = fs::read_to_string(desk.path("b.ndjson")).expect("the file");
        assert_eq!(out.lines().collect::<Vec<_>>(), kept, "{name}");
    }
}

const IDS: &str = "
PIPELINE matched AS FROM file('rows.ndjson')
|> SHARD BY id INTO (
     PRIMARY p AS (|> SELECT id, k |> UPSERT INTO sqlite('ids.db', 'rows') KEY (id)),
     DERIVED d AS (|> AS l |> JOIN file('names.ndjson') AS t ON l.k = t.k |> SELECT _id AS rid, l.id, t.n
                   |> UPSERT INTO sqlite('ids.db', 'names') KEY (rid)),
     DERIVED two AS (|> AS l |> JOIN file('names.ndjson') AS t ON l.k = t.k |> JOIN file('names.ndjson') AS u ON l.k = u.k
                     |> SELECT _id AS rid, t.n, u.n AS m |> UPSERT INTO sqlite('ids.db', 'two') KEY (rid)),
     DERIVED parts AS (|> AS l |> EXTEND UNNEST(tags) AS tag |> JOIN file('names.ndjson') AS t ON l.k = t.k
                       |> EXTEND t.n AS n, UNNEST(more) AS one |> EXTEND UNNEST(tags) AS again
                       |> SELECT _id AS rid, tag, n, one, again |> UPSERT INTO sqlite('ids.db', 'parts') KEY (rid))
   );
";

#[test]
fn every_row_that_is_derived_has_an_id_of_its_own_and_the_same_one_again() {
    let desk = Desk::with(IDS);
    desk.write(
        "rows.ndjson",
        "{\"id\":1,\"k\":1,\"tags\":[1,2],\"more\":[7,8]}\n{\"id\":2,\"k\":2,\"tags\":[1],\"more\":[7]}\n",
    );
    let name = |k: u8, n: &str| format!("{{\"k\":{k},\"n\":\"{n}\"}}\n");
    desk.write("names.ndjson", [name(1, "one"), name(1, "uno"), name(1, "eins"), name(2, "two")].concat());
    desk.ok(&["run", "orders.sync"]);
    let look = |sql: &str| look::sqlite(&desk.path("ids.db"), sql);
    let all = "SELECT rid, n FROM names UNION ALL SELECT rid, n || m FROM two UNION ALL SELECT rid, tag || n || one || again FROM parts";
    let first = look(&format!("{all} ORDER BY 1"));
    assert_eq!(look("SELECT n FROM names ORDER BY 1"), [["eins"], ["one"], ["two"], ["uno"]]);
    // Three matches of three, and one of one; two elements of three matches of two elements of two elements, and one of each.
    assert_eq!(look("SELECT (SELECT count(*) FROM two), (SELECT count(*) FROM parts)"), [["10", "25"]]);
    desk.ok(&["run", "orders.sync", "--fresh"]);
    assert_eq!(look(&format!("{all} ORDER BY 1")), first);
}

#[test]
fn a_union_by_name_keeps_the_columns_that_only_a_later_flow_has() {
    let desk = Desk::with(
        "
SCHEMA l (a BIGINT, b BIGINT);
SCHEMA r (a BIGINT, c STRING);
PIPELINE named AS FROM file('l.ndjson') SCHEMA l
|> UNION ALL BY NAME (FROM file('r.ndjson') SCHEMA r), (FROM file('l.ndjson') |> SELECT CAST(b AS BIGINT) AS d)
|> INSERT INTO sqlite('named.db', 'named');
PIPELINE taken AS FROM file('l.ndjson') |> SELECT a, b
|> UNION ALL BY NAME (FROM file('r.ndjson') |> SELECT c, a) |> WHERE c IS NULL OR c = 'x' |> INSERT INTO sqlite('named.db', 'taken');
PIPELINE placed AS FROM file('l.ndjson') |> SELECT a, _source
|> UNION ALL (FROM file('r.ndjson') |> SELECT c, _source) |> INSERT INTO sqlite('named.db', 'placed');
",
    );
    desk.write("l.ndjson", "{\"a\":1,\"b\":2}\n");
    desk.write("r.ndjson", "{\"a\":3,\"c\":\"x\"}\n");
    desk.ok(&["run", "orders.sync"]);
    let look = |sql: &str| look::sqlite(&desk.path("named.db"), sql);
    let columns = "SELECT ifnull(a, '-'), ifnull(b, '-'), ifnull(c, '-')";
    let named = look(&format!("{columns}, ifnull(d, '-') FROM named ORDER BY 1, 2"));
    assert_eq!(named, [["1", "2", "-", "-"], ["3", "-", "x", "-"], ["-", "-", "-", "2"]]);
    assert_eq!(look(&format!("{columns} FROM taken ORDER BY 1")), [["1", "2", "-"], ["3", "-", "x"]]);
    assert_eq!(look("SELECT count(*), count(_source) FROM placed"), [["2", "2"]]);
}

#[test]
fn averages_are_rounded_and_elements_are_called_after_their_array() {
    let desk = Desk::with(
        "
PIPELINE means AS FROM file('n.ndjson')
|> AGGREGATE AVG(CAST(n AS BIGINT)) AS a, AVG(CAST(n AS DECIMAL(5, 1))) AS b, AVG(n) AS c GROUP BY CAST(k AS STRING) AS k
|> SELECT k, CAST(a AS STRING) AS a, CAST(b AS STRING) AS b, CAST(c AS STRING) AS c
|> UPSERT INTO sqlite('n.db', 'means') KEY (k);
PIPELINE numbers AS FROM file('n.ndjson') |> SELECT CAST(UNNEST(tags) AS BIGINT) AS tag |> INSERT INTO sqlite('n.db', 'tags');
",
    );
    let numbers = [("up", 1), ("up", 2), ("up", 2), ("down", -1), ("down", -2), ("down", -2), ("half", 1), ("half", 2)];
    let row = |(k, n): &(&str, i64)| format!("{{\"k\":\"{k}\",\"n\":{n}}}\n");
    desk.write(
        "n.ndjson",
        numbers.iter().map(row).collect::<String>() + "{\"n\":null,\"k\":\"half\",\"tags\":[1,\"x\"]}\n",
    );
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(
        look::sqlite(&desk.path("n.db"), "SELECT k, a, b, c FROM means ORDER BY k"),
        [
            ["down", "-1.6666666667", "-1.66667", "-1.66666666666667"],
            ["half", "1.5000000000", "1.50000", "1.50000000000000"],
            ["up", "1.6666666667", "1.66667", "1.66666666666667"],
        ]
    );
    let dead = desk.query("SELECT detail FROM dead_letters");
    assert_eq!(dead[0]["detail"], r#"element of tags: `"x"` is not a BIGINT"#);
}

const VERSIONS: &str = r#"
PIPELINE issues AS
FROM file('issues.ndjson')
|> EXTEND CAST(v AS BIGINT) AS version
|> SHARD BY id INTO (
     PRIMARY issues AS (
       |> SELECT id, version, op
       |> UPSERT INTO sqlite('t.db', 'issues') KEY (id) SEQUENCE BY version DELETE WHEN op = 'd'
     ),
     DERIVED labels AS (
       |> SELECT id AS issue, version, UNNEST(labels) AS label
       |> REPLACE INTO sqlite('t.db', 'labels') PER (issue) SEQUENCE BY version
     )
   );

TEST ties FOR issues
  GIVEN INPUT FROM 'issues.ndjson'
  AFTER CRASH AT CHECKPOINT 2
  EXPECT OUTPUT sqlite('t.db', 'issues') ROWS (2, 1, NULL), ('1', 1, NULL)
  EXPECT OUTPUT sqlite('t.db', 'labels') ROWS (2, 1, 'a'), (2, 1, 'b'), ('1', 1, 'x');
"#;

/// What a delete took came back with a late copy of its own version, in the derived rows alone; and the number 1 and the text "1" shared
/// one version.
#[test]
fn at_equal_versions_a_delete_wins_in_derived_rows_as_in_the_primary() {
    let desk = Desk::with(VERSIONS);
    let changes = [
        r#"{"id": 1, "v": 5, "labels": ["a", "b"]}"#,
        r#"{"id": 1, "v": 5, "labels": [], "op": "d"}"#,
        r#"{"id": 1, "v": 5, "labels": ["a", "b"]}"#,
        // Without labels, but no delete: the later one counts.
        r#"{"id": 2, "v": 1, "labels": []}"#,
        r#"{"id": 2, "v": 1, "labels": ["a", "b"]}"#,
        r#"{"id": "1", "v": 1, "labels": ["x"]}"#,
    ];
    desk.write("issues.ndjson", changes.join("\n") + "\n");
    desk.ok(&["test", "orders.sync"]);
    desk.ok(&["run", "orders.sync"]);
    let rows = |sql: &str| look::sqlite(&desk.path("t.db"), sql);
    assert_eq!(rows("SELECT typeof(id), id FROM issues ORDER BY 1"), [["integer", "2"], ["text", "1"]]);
    let labels = rows("SELECT typeof(issue), issue, label FROM labels ORDER BY label");
    assert_eq!(labels, [["integer", "2", "a"], ["integer", "2", "b"], ["text", "1", "x"]]);
}
