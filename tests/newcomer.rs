//! What somebody who tries things runs into first: each is told before it does harm, with the edit to make.

use std::{fs, os::unix::fs::symlink};

use crate::{
    desk::{Desk, Said},
    look,
};

fn told(said: Said, code: i32, words: &[&str]) {
    let said = said.expect(code);
    for word in words.iter().chain(&["error: ", "help: "]) {
        assert!(said.err.contains(word), "`{word}` is not in:\n{}", said.err);
    }
}

/// A link hid that a pipeline read what it wrote: each run doubled its own input.
#[test]
fn a_link_does_not_hide_that_a_pipeline_reads_what_it_writes() {
    let desk = Desk::with("PIPELINE y AS FROM file('in.ndjson') |> INSERT INTO file('lnk/in.ndjson');\n");
    desk.write("in.ndjson", "{\"n\":1}\n{\"n\":2}\n");
    symlink(".", desk.path("lnk")).expect("a link");
    let words = ["y reads what it writes", "lnk/in.ndjson"];
    told(desk.say(&["check", "orders.sync"]), 2, &words);
    told(desk.say(&["run", "orders.sync"]), 2, &words);
    // Through another pipeline, and a pattern, it is the same.
    fs::create_dir(desk.path("real")).expect("a folder");
    symlink("real", desk.path("other")).expect("a link");
    desk.write(
        "orders.sync",
        "PIPELINE a AS FROM file('real/*.ndjson') |> INSERT INTO file('mid/');\n\
         PIPELINE b AS FROM file('mid/*.ndjson') |> INSERT INTO file('other/');\n",
    );
    told(desk.say(&["run", "orders.sync"]), 2, &["reads what it writes", "a → b → a"]);
}

/// Two pipelines wrote one file under two spellings: one ended well, the other failed in the middle.
#[test]
fn two_sinks_on_one_file_or_table_are_told_before_anything_runs() {
    let desk = Desk::with(
        "PIPELINE a AS FROM file('in.ndjson') |> INSERT INTO file('./x.ndjson');\n\
         PIPELINE b AS FROM file('in.ndjson') |> INSERT INTO file('x.ndjson');\n",
    );
    desk.write("in.ndjson", "{\"n\":1}\n");
    told(desk.say(&["check", "orders.sync"]), 2, &["two sinks", "x.ndjson", "a, step insert", "b, step insert"]);
    told(desk.say(&["run", "orders.sync"]), 2, &["two sinks"]);
    assert!(!desk.path("x.ndjson").exists());
    let select = "|> SELECT CAST(n AS BIGINT) AS n";
    let tables = |second: &str| {
        format!(
            "PIPELINE a AS FROM file('in.ndjson') {select} |> UPSERT INTO sqlite('./t.db', 'X') KEY (n);\n\
             PIPELINE b AS FROM file('in.ndjson') {select} |> {second};\n"
        )
    };
    desk.write("orders.sync", tables("INSERT INTO sqlite('t.db', 'x')"));
    told(desk.say(&["run", "orders.sync"]), 2, &["two sinks", "t.db"]);
    desk.write("orders.sync", tables("UPSERT INTO sqlite('t.db', 'x') KEY (n)"));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(look::sqlite(&desk.path("t.db"), "SELECT * FROM x"), [["1"]]);
}

/// Two files with one name of a pipeline worked on the same state in turns, and nobody said so.
#[test]
fn a_name_that_another_file_has_is_refused_while_that_file_has_it() {
    let pipeline =
        |name: &str, out: &str| format!("PIPELINE {name} AS FROM file('in.ndjson') |> INSERT INTO file('{out}/');\n");
    let desk = Desk::with(&pipeline("load", "out_a"));
    desk.write("b.sync", pipeline("load", "out_b"));
    desk.write("in.ndjson", "{\"n\":1}\n");
    told(desk.say(&["check", "orders.sync", "b.sync"]), 2, &["two files declare the pipeline `load`"]);
    desk.ok(&["run", "orders.sync"]);
    told(desk.say(&["run", "b.sync"]), 2, &["`load`", "orders.sync", "b.sync", "--data"]);
    assert!(!desk.path("out_b").exists());
    desk.write("orders.sync", pipeline("loads", "out_a"));
    desk.ok(&["run", "b.sync"]);
    told(desk.say(&["run", "b.sync", "--drop-state", "nosuch"]), 2, &["there is no step `nosuch`", "insert"]);
}

/// `test --filter` with a misspelt name was green.
#[test]
fn no_test_is_no_green_test() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('in.ndjson') |> INSERT INTO stdout();\n\
         TEST one FOR p GIVEN INPUT ROWS '{\"n\":1}' EXPECT OUTPUT ROWS ('{\"n\":1}');\n",
    );
    desk.ok(&["test", "orders.sync"]);
    told(desk.say(&["test", "orders.sync", "--filter", "zzz"]), 2, &["no test has `zzz`"]);
    desk.write("empty.sync", "");
    told(desk.say(&["test", "empty.sync"]), 2, &["no test"]);
}

/// The README says that every message has a page, and no message said which.
#[test]
fn messages_end_with_where_their_pages_are() {
    let desk = Desk::with("PIPELINE p AS FROM file('in.ndjson') |> WERE n |> INSERT INTO stdout();\n");
    let said = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(said.err.contains("\nmore: syncline explain misspelt-keyword\n"), "{}", said.err);
    desk.ok(&["explain", "MISSPELT-KEYWORD"]);
}

#[test]
fn mistakes_in_shorthands_say_the_edit_and_have_pages() {
    let desk = Desk::with(
        "LET a = b + 1;\nLET b = a * 2;\nFUNCTION net(gross, rate) AS gross / (1 + rate);\n\
         PIPELINE p AS FROM file('in.ndjson') |> SELECT a AS x, net(total) AS y |> INSERT INTO stdout();\n",
    );
    let said = desk.say(&["check", "orders.sync"]).expect(2);
    for words in [
        "is made of itself",
        "help: a LET or FUNCTION stands for its text: give the column or value that is meant another name",
        "error: net takes 2 arguments",
        "help: net(gross, rate)",
        "more: syncline explain ",
        "made-of-itself",
    ] {
        assert!(said.err.contains(words), "`{words}` is not in:\n{}", said.err);
    }
    let page = desk.ok(&["explain", "made-of-itself"]);
    assert!(page.starts_with("# made-of-itself") && page.contains("LET ") && page.contains("sync works"), "{page}");
}

/// What a run ends with stands in the log under its name, and `explain` knew only messages about files.
#[test]
fn whatever_a_command_can_end_with_has_a_page() {
    let desk = Desk::new();
    let known: Vec<String> = serde_json::from_str(&desk.ok(&["explain", "-o", "json"])).expect("a list");
    let mut files = vec![crate::desk::house().join("pipelines/src")];
    let mut named = std::collections::BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in [
            "Failure::usage(",
            "Failure::environment(",
            "Failure::failed(",
            "Failure::of_line(",
            "Failure::new(",
            "Problem::refused(",
        ] {
            named.extend(text.split(call).skip(1).filter_map(slug_of).filter(|_| !path.ends_with("tests.rs")));
        }
    }
    assert!(named.len() > 60, "{named:?}");
    named.remove("enough");
    let without: Vec<&String> = named.iter().filter(|slug| !known.contains(slug)).collect();
    assert_eq!(without, [""; 0], "in pipelines/failures.md");
    let page = desk.ok(&["explain", "input-unreadable"]);
    assert!(page.starts_with("# input-unreadable\n\nA source is not there"), "{page}");
}

/// The first text among the arguments of a call, if it is a name: lower-case words with hyphens.
fn slug_of(arguments: &str) -> Option<String> {
    let mut parts = arguments.split(';').next()?.split('"');
    let (before, text) = (parts.next()?, parts.next()?);
    let is_name = !before.contains('[')
        && !text.is_empty()
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    is_name.then(|| text.to_owned())
}

#[test]
fn a_secret_that_is_not_set_says_how_to_set_it_once() {
    let desk = Desk::with("PIPELINE p AS FROM file(secret('in/path')) |> INSERT INTO stdout();\n");
    let said = desk.say(&["run", "orders.sync"]).expect(2);
    assert_eq!(said.err.matches("secret('in/path')").count(), 1, "{}", said.err);
    assert!(said.err.contains("syncline secret set in/path"), "{}", said.err);
}

/// `| head -1` and a full device: the first was called a failure to mend, the second was tried again for ever.
#[test]
fn an_output_that_is_closed_or_full_ends_the_run_and_loses_nothing() {
    let desk = Desk::with("PIPELINE p AS FROM file('in.ndjson') |> INSERT INTO stdout();\n");
    desk.write("in.ndjson", "{\"n\":1}\n".repeat(10));
    let run = format!("exec {} run orders.sync > /dev/full", crate::desk::binary().display());
    let said = crate::desk::Running::start(desk.other("bash", &["-c", &run]), run).end(crate::desk::PATIENCE);
    told(said, 3, &["the next run begins with them", "with room"]);
    assert_eq!(desk.ok(&["run", "orders.sync"]), "{\"n\":1}\n".repeat(10));
}
