//! FORMAT, endings, archives: what is meant, and what is said where it cannot be.

use super::*;

/// The line of the plan that names the source, and the one of the last sink.
fn line(from: &str, of: &str) -> String {
    let source = format!("PIPELINE p AS FROM {from} |> SELECT id |> INSERT INTO {of};");
    let plan = plan_of(&source);
    let line = |word: &str| plan.lines().find(|line| line.contains(word)).unwrap_or(&plan).trim().to_owned();
    if of == "stdout()" { line("from ") } else { line("INSERT INTO") }
}

fn from(place: &str) -> String {
    line(place, "stdout()")
}

fn told(source: &str) -> Vec<String> {
    let checked = checked_of(source);
    checked
        .diagnostics
        .iter()
        .map(|said| format!("{}: {} ({})", said.slug, said.title, said.span().of(source)))
        .collect()
}

#[test]
fn the_format_is_what_is_said_else_what_the_name_says_else_json() {
    for (place, shown) in [
        ("file('a.ndjson')", "json"),
        ("file('a.csv')", "csv"),
        ("file('in/*.CSV.gz')", "csv"),
        ("file('a.tsv.zst')", "csv delimiter tab"),
        ("file('a.csv.txt')", "json"),
        ("file(path => 'a.csv')", "csv"),
        ("file('https://x/a.csv?key=a.json')", "csv"),
        ("file(env('PLACE'))", "json"),
        ("file('a.csv') FORMAT json", "json"),
        ("file('a.txt') FORMAT CSV", "csv"),
        ("file('a.txt') FORMAT tsv", "csv delimiter tab"),
        ("file('a.tsv') FORMAT csv (header = false)", "csv delimiter tab without header"),
        (
            "file('a') FORMAT csv (delimiter = ';', quote = '''', escape = '\\', comment = '#', null = ['NA', ''])",
            "csv delimiter ; quote ' escape \\ comment # null 'NA', ''",
        ),
        (
            "file('a') FORMAT csv (delimiter = '\\t', quote = '', null = '-')",
            "csv delimiter tab without quotes null '-'",
        ),
        ("file('a') FORMAT csv (escape = '\"')", "csv"),
    ] {
        assert_eq!(from(place), format!("from {} · {shown} · ends", place.split(" FORMAT").next().unwrap()), "{place}");
    }
}

#[test]
fn a_sink_writes_what_its_name_or_format_says() {
    for (target, shown) in [
        ("file('out/')", "id"),
        ("file('out.csv')", "id · csv"),
        ("file('out.tsv.gz')", "id · csv delimiter tab"),
        ("file('out/') FORMAT csv (header = false) KEY (id)", "KEY (id) · id · csv without header"),
    ] {
        let place = target.split(" FORMAT").next().unwrap();
        let sep = if shown.starts_with("KEY") { " " } else { " · " };
        assert!(line("file('a.ndjson')", target).ends_with(&format!("INSERT INTO {place}{sep}{shown}")), "{target}");
    }
}

#[test]
fn what_a_format_cannot_be_is_told_at_its_place() {
    let source = |clause: &str| format!("PIPELINE p AS FROM {clause} |> SELECT id |> INSERT INTO stdout();");
    for (clause, expected) in [
        ("file('a') FORMAT cvs", "not-yet: the format cvs is not part of this version (cvs)"),
        ("file('a') FORMAT avro", "no-such-option: file has no FORMAT avro (avro)"),
        ("file('a') FORMAT orc", "not-yet: the format orc is not part of this version (orc)"),
        ("http('/a') FORMAT csv", "no-such-option: http has no FORMAT csv (csv)"),
        ("file('a') FORMAT json (header = true)", "no-such-option: json has no option header (header)"),
        ("file('a') FORMAT csv (headr = true)", "no-such-option: csv has no option headr (headr)"),
        ("file('a') FORMAT csv (header = 'yes')", "option-value: header is a boolean ('yes')"),
        ("file('a') FORMAT csv (delimiter = 1)", "option-value: delimiter is a text (1)"),
        ("file('a') FORMAT csv (delimiter = ';;')", "option-value: delimiter is one character (';;')"),
        ("file('a') FORMAT csv (delimiter = '€')", "option-value: delimiter is one character ('€')"),
        ("file('a') FORMAT csv (comment = '')", "option-value: comment is one character ('')"),
        ("file('a') FORMAT csv (null = [1])", "option-value: null is a text ([1])"),
        (
            "file('a') FORMAT csv (delimiter = env('D'))",
            "option-value: delimiter is part of what the file means (env('D'))",
        ),
        ("file('a') FORMAT csv (delimiter = '|', comment = '|')", "option-value: `|` cannot mean two things ('|')"),
        ("file('a.csv.gz') FOLLOW", "no-such-option: an archive does not take FOLLOW (FOLLOW)"),
        ("file('a', compression => 'gzip') FOLLOW", "no-such-option: an archive does not take FOLLOW (FOLLOW)"),
    ] {
        assert_eq!(told(&source(clause)), [expected], "{clause}");
    }
    assert_eq!(told(&source("file('a.gz', compression => 'none') FOLLOW")), [""; 0]);
}

#[test]
fn a_topic_has_lines_without_a_header_or_values() {
    let kafka = |topic: &str| format!("kafka('{topic}', brokers => 'b')");
    for (topic, clauses, shown) in [
        ("orders.csv", "", "json"),
        ("orders", "FORMAT csv SCHEMA row", "csv without header"),
        ("orders", "FORMAT tsv (header = false) SCHEMA row", "csv delimiter tab without header"),
        ("orders", "FORMAT raw SCHEMA text", "raw"),
    ] {
        let source = format!(
            "SCHEMA row (id BIGINT); SCHEMA text (id STRING);
             PIPELINE p AS FROM {} {clauses} |> SELECT id |> INSERT INTO stdout();",
            kafka(topic)
        );
        let plan = plan_of(&source);
        assert!(plan.contains(&format!("from {} · {shown} · never ends", kafka(topic))), "{plan}");
    }
    let source = |clause: &str| {
        format!("SCHEMA two (a STRING, b STRING); PIPELINE p AS FROM {} {clause} |> INSERT INTO stdout();", kafka("t"))
    };
    for (clause, expected) in [
        ("FORMAT csv", "columns-unknown: the columns of this source are not known (kafka('t', brokers => 'b'))"),
        ("FORMAT csv (header = true) SCHEMA two", "no-such-option: a topic has no header (true)"),
        ("FORMAT raw (header = true)", "no-such-option: raw has no option header (header)"),
        ("FORMAT raw SCHEMA two", "source-key: a raw record is one value (FORMAT raw)"),
    ] {
        assert_eq!(told(&source(clause)), [expected], "{clause}");
    }
    let raw = "PIPELINE p AS FROM kafka('t', brokers => 'b') FORMAT raw |> SELECT value |> INSERT INTO stdout();";
    assert!(plan_of(raw).contains("fields: value BYTES"), "{}", plan_of(raw));
}

#[test]
fn csv_needs_columns_to_write() {
    let source = "PIPELINE p AS FROM file('a.csv') |> WHERE id = '1' |> INSERT INTO file('b.csv');";
    assert_eq!(slugs(&checked(source)), ["needs-columns"]);
    let source = "PIPELINE p AS FROM file('a.csv') |> INSERT INTO file('b.ndjson');";
    assert_eq!(slugs(&checked(source)), [""; 0]);
}
