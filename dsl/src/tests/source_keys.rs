//! KEY behind a source: what is known of deletes that have only their keys, and what is said where that is not enough.

use super::*;

const SOURCE: &str = "CONNECTION bus TO kafka WITH (brokers = 'b');
SCHEMA customer (region STRING NOT NULL, id BIGINT NOT NULL, name STRING, tags JSON, at TIMESTAMP);
";

/// A pipeline over such a topic.
fn over(key: &str, steps: &str) -> String {
    format!("{SOURCE}PIPELINE p AS FROM bus.customers SCHEMA customer KEY {key} |> {steps};")
}

fn told(source: &str) -> Vec<String> {
    let said = checked_of(source).diagnostics;
    said.iter().map(|one| format!("{}: {} ({})", one.slug, one.title, one.span().of(source))).collect()
}

const UPSERT: &str = "UPSERT INTO sqlite('a.db', 't') KEY (region, id)";

#[test]
fn a_condition_asks_of_deletes_what_their_keys_can_answer() {
    for (condition, asked) in [
        ("region = 'EU'", ""),
        ("region = 'EU' AND id > 3", ""),
        ("name = 'ada'", " · of deletes TRUE"),
        ("region = 'EU' AND name = 'ada'", " · of deletes (region = 'EU')"),
        ("region = 'EU' OR name = 'ada'", " · of deletes TRUE"),
        ("(id > 3 AND (name IS NOT NULL AND region <> 'US'))", " · of deletes (id > 3) AND (region <> 'US')"),
        ("_offset > 10 AND tags IS NULL", " · of deletes (_offset > 10)"),
    ] {
        let source = over("(region, id)", &format!("WHERE {condition} |> {UPSERT}"));
        let plan = plan_of(&source);
        let line = plan.lines().find(|line| line.contains("WHERE")).unwrap_or(&plan);
        assert!(line.ends_with(&format!("WHERE {condition}{asked}")), "{line}");
    }
    let plan = plan_of(&over("(region, id)", UPSERT));
    assert!(plan.contains("key: region, id"), "{plan}");
}

#[test]
fn what_is_made_of_the_key_is_known_and_nothing_else() {
    let known = [
        "SELECT id AS number, lower(region) AS place |> UPSERT INTO sqlite('a.db', 't') KEY (place, number)",
        "EXTEND region || '/' || CAST(id AS STRING) AS path |> UPSERT INTO sqlite('a.db', 't') KEY (path)",
        "RENAME id AS number |> UPSERT INTO sqlite('a.db', 't') KEY (region, number) SEQUENCE BY _timestamp",
        "SELECT 1 AS one, name |> UPSERT INTO sqlite('a.db', 't') KEY (one)",
        "SHARD BY region INTO 4 |> UPSERT INTO sqlite('a.db', 't') KEY (region, id)",
        "SELECT name |> INSERT INTO stdout()",
        "SHARD BY id INTO (PRIMARY a AS (|> UPSERT INTO sqlite('a.db', 'a') KEY (id)), DERIVED b AS (|> UPSERT INTO sqlite('a.db', 'b') KEY (name)))",
    ];
    for steps in known {
        assert_eq!(told(&over("(region, id)", steps)), [""; 0], "{steps}");
    }
    for (steps, expected) in [
        ("UPSERT INTO sqlite('a.db', 't') KEY (id, name)", "source-key: a delete does not know name ((id, name))"),
        (
            "SELECT id, coalesce(name, '') AS who |> UPSERT INTO sqlite('a.db', 't') KEY (who)",
            "source-key: a delete does not know who ((who))",
        ),
        (
            "SET id = length(name) |> UPSERT INTO sqlite('a.db', 't') KEY (id)",
            "source-key: a delete does not know id ((id))",
        ),
        (
            "UPSERT INTO sqlite('a.db', 't') KEY (region, id) SEQUENCE BY at",
            "source-key: a delete does not know at (at)",
        ),
        ("SHARD BY name INTO 4 |> INSERT INTO stdout()", "source-key: a delete does not know name (SHARD BY)"),
        ("REPLACE INTO sqlite('a.db', 't') PER (name)", "source-key: a delete does not know name ((name))"),
        (
            "DEDUP BY id WITHIN '1 day' |> INSERT INTO stdout()",
            "source-key: a delete cannot be told from a repeat (DEDUP BY)",
        ),
    ] {
        assert_eq!(told(&over("(region, id)", steps)), [expected], "{steps}");
    }
}

#[test]
fn what_a_key_cannot_be_is_told_at_its_place() {
    let all = "INSERT INTO stdout()";
    for (key, expected) in [
        ("(di)", "source-key: di is not in the SCHEMA customer (di)"),
        ("(tags)", "source-key: tags cannot be read from a key as JSON (tags)"),
        ("(id, ID)", "duplicate-name: id is there twice (ID)"),
    ] {
        assert_eq!(told(&over(key, all)).len(), 1, "{key}");
        let found = told(&over(key, all)).remove(0);
        assert_eq!(found.split(':').next(), expected.split(':').next(), "{found}");
    }
    let open = "PIPELINE p AS FROM kafka('t', brokers => 'b') KEY (id) |> INSERT INTO stdout();";
    assert_eq!(told(open), ["source-key: KEY needs to know the types of its columns ((id))"]);
    let file = "SCHEMA s (id BIGINT); PIPELINE p AS FROM file('a.ndjson') SCHEMA s KEY (id) |> INSERT INTO stdout();";
    assert_eq!(told(file), ["source-key: records of file have no keys beside them ((id))"]);
}

#[test]
fn deletes_go_through_a_stream_and_a_union() {
    let stream = format!(
        "{SOURCE}PIPELINE w AS FROM bus.customers SCHEMA customer KEY (id) |> SELECT id, name |> AS STREAM people;
         PIPELINE r AS FROM people |> UPSERT INTO sqlite('a.db', 't') KEY (name);"
    );
    assert_eq!(told(&stream), ["source-key: a delete does not know name ((name))"]);
    let union = |arm: &str| {
        over(
            "(region, id)",
            &format!("SELECT id, region |> UNION ALL (FROM {arm}) |> UPSERT INTO sqlite('a.db', 't') KEY (id)"),
        )
    };
    let same = "bus.others SCHEMA customer KEY (id) |> SELECT id, region";
    let other = "bus.others SCHEMA customer KEY (region) |> SELECT id, region";
    let without = "bus.others SCHEMA customer |> SELECT id, region";
    assert_eq!(told(&union(same)), [""; 0]);
    assert_eq!(told(&union(without)), [""; 0]);
    assert_eq!(told(&union(other)), ["source-key: a delete does not know id ((id))"]);
}
