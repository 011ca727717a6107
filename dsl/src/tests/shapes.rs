//! Sources that say their own columns: only what is read is taken, and what cannot be known is told.

use super::*;
use crate::{
    Shape,
    plan::{FieldPlan, TypePlan},
};

fn samples() -> Samples {
    let field =
        |(name, kind): (&str, &str)| FieldPlan { name: name.into(), kind: TypePlan(kind.into()), not_null: false };
    let trips =
        [("id", "BIGINT"), ("at", "TIMESTAMP"), ("fare", "DECIMAL(12, 2)"), ("zone", "INT"), ("note", "STRING")];
    let zones = [("id", "INT"), ("name", "STRING"), ("area", "DOUBLE")];
    let shape = |fields: &[(&str, &str)], strange: &[(&str, &str)]| Shape::Columns {
        fields: fields.iter().copied().map(field).collect(),
        strange: strange.iter().map(|(name, kind)| (name.to_string(), kind.to_string())).collect(),
    };
    let shapes = [
        ("parquet('trips/*.parquet')", shape(&trips, &[])),
        ("parquet('zones.parquet')", shape(&zones, &[])),
        ("parquet('maps.parquet')", shape(&zones, &[("tags", "Map(STRING, STRING)")])),
        ("parquet('gone.parquet')", Shape::Unknown("gone.parquet: No such file or directory".into())),
    ];
    Samples { shapes: shapes.map(|(place, shape)| (place.to_owned(), shape)).into(), ..Samples::default() }
}

fn with_shapes(source: &str) -> Checked {
    compile(source, &catalog(), &samples())
}

/// The lines of the plan that say what is read of sources; what was said, when something was.
fn fields(flow: &str) -> Vec<String> {
    let source = format!("PIPELINE p AS {flow};");
    let checked = with_shapes(&source);
    if !checked.diagnostics.is_empty() {
        return said(&checked, &source).lines().map(str::to_owned).collect();
    }
    let plan = checked.plan.to_string();
    plan.lines().filter_map(|line| line.trim().strip_prefix("fields: ").map(str::to_owned)).collect()
}

#[test]
fn only_the_columns_that_some_step_reads_are_taken() {
    let trips = "FROM parquet('trips/*.parquet')";
    let all = "id BIGINT, at TIMESTAMP, fare DECIMAL(12, 2), zone INT, note STRING";
    for (flow, read) in [
        (format!("{trips} |> INSERT INTO file('out/')"), vec![all]),
        (format!("{trips} |> WHERE fare > 10 |> INSERT INTO file('out/')"), vec![all]),
        (
            format!("{trips} |> WHERE fare > 10 |> SELECT ID AS n |> INSERT INTO file('out/')"),
            vec!["id BIGINT, fare DECIMAL(12, 2)"],
        ),
        (format!("{trips} |> DEDUP |> SELECT id |> INSERT INTO file('out/')"), vec![all]),
        (format!("{trips} |> DEDUP BY zone |> SELECT id |> INSERT INTO file('out/')"), vec!["id BIGINT, zone INT"]),
        (
            format!("{trips} |> AGGREGATE SUM(fare) AS f GROUP BY zone |> INSERT INTO file('out/')"),
            vec!["fare DECIMAL(12, 2), zone INT"],
        ),
        (format!("{trips} |> AGGREGATE COUNT(*) AS n |> INSERT INTO file('out/')"), vec!["none"]),
        (
            format!("{trips} |> TEE (|> SELECT note |> INSERT INTO stdout()) |> SELECT id |> INSERT INTO file('out/')"),
            vec!["id BIGINT, note STRING"],
        ),
        (
            format!(
                "{trips} |> SELECT id |> UNION ALL ({trips} |> WHERE fare > 1 |> SELECT CAST(zone AS BIGINT) AS z) |> INSERT INTO file('out/')"
            ),
            vec!["id BIGINT", "fare DECIMAL(12, 2), zone INT"],
        ),
        (
            format!(
                "{trips} |> JOIN parquet('zones.parquet') AS z ON z.id = zone |> SELECT fare, z.name |> INSERT INTO file('out/')"
            ),
            vec!["fare DECIMAL(12, 2), zone INT", "id INT, name STRING"],
        ),
    ] {
        assert_eq!(fields(&flow), read, "{flow}");
    }
}

#[test]
fn types_are_those_of_the_file_and_mistakes_are_told_by_them() {
    let source =
        "PIPELINE p AS FROM parquet('trips/*.parquet') |> SELECT far AS x, note + 1 AS y |> INSERT INTO file('out/');";
    assert_eq!(slugs(&with_shapes(source)), ["no-such-column", "type-mismatch"]);
    assert!(said(&with_shapes(source), source).contains("fare?"));
}

#[test]
fn a_source_whose_columns_cannot_be_had_is_told_once_and_asked_for() {
    for (place, words) in [
        ("parquet('gone.parquet')", "gone.parquet: No such file or directory"),
        ("parquet('new.parquet')", "nobody has looked at it"),
        ("parquet('maps.parquet')", "tags is Map(STRING, STRING)"),
    ] {
        let source = format!("PIPELINE p AS FROM {place} |> SELECT name |> INSERT INTO file('out/');");
        let checked = with_shapes(&source);
        assert_eq!(slugs(&checked), ["columns-unknown"], "{place}");
        assert!(said(&checked, &source).contains(words), "{}", said(&checked, &source));
        assert_eq!(checked.typed.iter().map(|place| place.text.as_str()).collect::<Vec<_>>(), [place]);
    }
    let declared = "SCHEMA z DISCARD (name STRING); PIPELINE p AS FROM parquet('gone.parquet') SCHEMA z |> INSERT INTO file('out/');";
    let checked = with_shapes(declared);
    assert_eq!((slugs(&checked), checked.typed.len()), (vec![], 0));
}
