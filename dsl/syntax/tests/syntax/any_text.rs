//! Whatever the text, the parser answers: it does not panic, run out of stack or take for ever.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use syncline_syntax::{Diagnostic, Severity, apply_fix, parse, render};

use crate::samples::{KAFKA, PULL, QUICK_START, TWO_WAY};

/// Far above what any of these texts takes in an unoptimised build on a busy machine, far below "for ever".
const SOON: Duration = Duration::from_secs(20);

/// Stack of a thread that a server gives its work to.
const SMALL_STACK: usize = 2 * 1024 * 1024;

/// Parses, prints and repairs a text on a small stack, walks the tree, and gives what was said.
fn survive(source: String) -> Vec<Diagnostic> {
    let work = move || {
        let begun = Instant::now();
        let (file, said) = parse(&source);
        assert_eq!(file.clone(), file);
        assert!(!format!("{file:?}").is_empty());
        drop(file);
        for one in &said {
            for span in one.labels.iter().map(|label| label.span) {
                assert!(source.get(span.start..span.end).is_some(), "{span:?} is not of the source: {one:?}");
            }
            assert!(one.to_json("a.sync", &source)["slug"].is_string());
        }
        // Printing is line by line and costs the whole source each time: a few stand for all.
        let few = &said[..said.len().min(3)];
        assert_eq!(render(few, "a.sync", &source, true).is_empty(), few.is_empty());
        if let Some((_, edits)) = said.iter().find_map(|one| one.fix.as_ref()) {
            apply_fix(&source, edits);
        }
        assert!(begun.elapsed() < SOON, "took {:?}", begun.elapsed());
        said
    };
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(work).expect("a thread").join().expect("no panic")
}

fn says_no(source: String) {
    assert!(survive(source).iter().any(|said| said.severity == Severity::Error));
}

fn in_where(expression: String) -> String {
    format!("PIPELINE p AS FROM http('/a') |> WHERE {expression} |> INSERT INTO stdout();")
}

#[test]
fn brackets_without_end() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("CAST(", ")"), ("a IN (", ")"), ("CASE WHEN ", " END")]
    {
        says_no(in_where(open.repeat(100_000)));
        says_no(in_where(format!("{}{}", open.repeat(100_000), close.repeat(100_000))));
        says_no(in_where(format!("{}1{}", open.repeat(5_000), close.repeat(5_000))));
    }
}

#[test]
fn wrong_text_deep_inside_does_not_take_for_ever() {
    for (open, close) in [
        ("CAST(", " AS INT)"),
        ("TRIM(", ")"),
        ("a IN (", ")"),
        ("((", "))"),
        ("x.f(", ")"),
        ("a.b.c[", "]"),
        ("CASE WHEN a THEN ", " END"),
        ("EXTRACT(", ")"),
        ("ARRAY[", "]"),
        ("INTERVAL (", ")"),
        ("NOT EXISTS (SELECT ", ")"),
        ("POSITION(", ")"),
        ("SUBSTRING(", ")"),
        ("(SELECT a FROM (", "))"),
    ] {
        for depth in [10, 24, 45] {
            says_no(in_where(format!("{} 1 + ! {}", open.repeat(depth), close.repeat(depth))));
        }
    }
    says_no(in_where(format!("a{} (1 +)", ".a".repeat(60))));
    says_no(in_where(format!("a{}[1 +]", ".a".repeat(60))));
}

#[test]
fn operators_without_end() {
    for (first, again) in [
        ("1", " + 1"),
        ("a", " OR a"),
        ("a", ".b"),
        ("a", "[1]"),
        ("a", "::INT"),
        ("a", " IS NULL"),
        ("", "NOT "),
        ("", "- "),
        ("a", " COLLATE b"),
        ("a", " BETWEEN 1 AND 2"),
        ("CAST(a AS INT", "[])"),
        ("SELECT 1", " UNION SELECT 1"),
        ("CAST(a AS ", "ARRAY<"),
        ("CAST(a AS ", "STRUCT<a "),
        ("a::", "TABLE(a "),
        ("a", " AT TIME ZONE 'UTC'"),
    ] {
        survive(in_where(format!("{first}{}", again.repeat(250))));
        survive(in_where(format!("({first}{})", again.repeat(250))));
        survive(in_where(format!("{first}{}", again.repeat(20_000))));
    }
}

/// Each is a level of every walk behind the parser, and the stack of a thread holds only so many.
#[test]
fn levels_are_told_when_they_are_more_than_a_small_stack_holds() {
    for (open, close) in
        [("NOT ", ""), ("x.", ""), ("", "['a']"), ("(", ")"), ("NOT (", ")"), ("NOT - ", ""), ("[", "]")]
    {
        let nested = |times: usize| in_where(format!("{}x{}", open.repeat(times), close.repeat(times)));
        assert_eq!(survive(nested(20)), [], "{open}x{close}");
        says_no(nested(49));
    }
    // One beside the other they are no levels.
    assert_eq!(survive(in_where(format!("NOT a.b['c'] = 1{}", " OR NOT a.b['c'] = -1".repeat(40)))), []);
}

#[test]
fn steps_in_steps_without_end() {
    for (open, close) in [("|> TEE (", ")"), ("|> SHARD BY a INTO (PRIMARY p AS (", "))"), ("|> FORK (", ")")] {
        for depth in [16, 49, 10_000] {
            says_no(format!("PIPELINE p AS FROM a.b {}{};", open.repeat(depth), close.repeat(depth)));
        }
    }
    for (open, close) in [("f(", ")"), ("[", "]"), ("f(a => ", ")"), ("ARRAY[", "]")] {
        says_no(format!("CONNECTION a TO b WITH (c = {});", open.repeat(90)));
        says_no(format!("CONNECTION a TO b WITH (c = {}{});", open.repeat(120), close.repeat(120)));
        let kept = survive(format!("CONNECTION a TO b WITH (c = {}1{});", open.repeat(90), close.repeat(90)));
        assert_eq!(kept, []);
    }
}

#[test]
fn many_mistakes_are_told_soon() {
    for again in [
        "x;",
        "|>",
        "|> ;",
        "'",
        "\"",
        "(",
        ")",
        ",",
        "PIPELINE p AS FROM a |> WHERE ! ;\n",
        "| WHERE ",
        "“",
        "/*",
        "$$",
        "$a$",
    ] {
        survive(again.repeat(3_000));
        survive(format!("PIPELINE p AS FROM a.b |> SELECT {}", again.repeat(3_000)));
    }
}

#[test]
fn a_long_list_of_values_is_no_deep_tree() {
    let values = vec!["'x'"; 20_000].join(", ");
    assert_eq!(survive(in_where(format!("a IN ({values})"))), []);
}

/// Bytes taken out, doubled, swapped or put in, at places and in numbers that proptest chooses.
fn mutated() -> impl Strategy<Value = String> {
    let sample = prop::sample::select(vec![QUICK_START, KAFKA, PULL, TWO_WAY]);
    let scrap = prop::sample::select(vec![
        "'",
        "\"",
        "(",
        ")",
        "[",
        "|>",
        "|",
        ";",
        ",",
        "--",
        "/*",
        "*/",
        "$$",
        "é",
        "\u{feff}",
        "\r\n",
        "\0",
        " AS ",
        " CASE ",
        " FROM ",
        " SELECT ",
        "=>",
        "=",
        ".",
        "::",
        "1e9",
        "E'\\",
        "“x”",
        " NOT ",
        " INTERVAL ",
        "\\",
        "{",
        "user.",
        "*",
    ]);
    (sample, prop::collection::vec((0..4u8, any::<prop::sample::Index>(), 0..40usize, scrap), 1..8)).prop_map(
        |(sample, changes)| {
            let mut text: Vec<char> = sample.chars().collect();
            for (change, place, length, scrap) in changes {
                let at = place.index(text.len().max(1)).min(text.len());
                let to = (at + length).min(text.len());
                match change {
                    0 => drop(text.drain(at..to)),
                    1 => {
                        let copy = text[at..to].to_vec();
                        text.splice(at..at, copy);
                    }
                    2 if to > at => text.swap(at, to - 1),
                    _ => drop(text.splice(at..at, scrap.chars()).collect::<Vec<_>>()),
                }
            }
            text.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_sample_is_answered(source in mutated()) {
        survive(source);
    }

    #[test]
    fn any_characters_are_answered(source in "\\PC{0,200}") {
        survive(source);
    }

    #[test]
    fn any_words_of_the_language_are_answered(words in prop::collection::vec(prop::sample::select(vec![
        "PIPELINE", "p", "AS", "FROM", "http", "(", ")", "'/a'", "|>", "WHERE", "a", "=", "1", "SELECT", ",", "*", "DEDUP", "BY",
        "WITHIN", "'1 hour'", "TEE", "SHARD", "INTO", "PRIMARY", "DERIVED", "INSERT", "UPSERT", "KEY", ";", "TEST", "FOR", "GIVEN",
        "INPUT", "ROWS", "EXPECT", "OUTPUT", "SCHEMA", "STRING", "NOT", "NULL", "CONNECTION", "TO", "kafka", "WITH", "CASE", "WHEN",
        "THEN", "END", ".", "ON", "VIOLATION", "JOIN", "[", "]", "WATERMARK", "CAST", "user", "GROUP", "ORDER", "\n", "\"q\"", "|", "-",
    ]), 0..60)) {
        survive(words.join(" "));
    }
}
