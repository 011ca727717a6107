//! Outputs have one owner: what another data folder or a user wrote is neither added to nor removed, and `--fresh` gives up
//! nothing before it knows that it can begin.

use std::fs;

use crate::{
    desk::{Desk, Said},
    look,
};

const PARTS: &str = "PIPELINE k AS FROM file('in.ndjson') |> INSERT INTO file('out/');\n";
const SINGLE: &str = "PIPELINE k AS FROM file('in.ndjson') |> INSERT INTO file('x.ndjson');\n";

fn desk(pipeline: &str, rows: &str) -> Desk {
    let desk = Desk::with(pipeline);
    desk.write("in.ndjson", rows);
    desk
}

/// Refused with these words, and a next step.
fn refused(said: Said, code: i32, words: &[&str]) {
    let said = said.expect(code);
    for word in words.iter().chain(&["error: ", "help: "]) {
        assert!(said.err.contains(word), "`{word}` is not in:\n{}", said.err);
    }
}

fn out(desk: &Desk) -> Vec<String> {
    look::lines(&desk.path("out"))
}

/// Somebody tried a pipeline with `--data /tmp/try` beside the live one: both wrote part 1, and the rows of one were gone.
#[test]
fn a_second_data_folder_does_not_write_where_the_first_one_does() {
    let desk = desk(PARTS, "{\"n\":1}\n");
    desk.ok(&["run", "orders.sync", "--data", "d1"]);
    let there = ["another data folder", "out/", ".k-insert.owner"];
    refused(desk.say(&["run", "orders.sync", "--data", "d2"]), 3, &there);
    // And starting over there took away what the first had written.
    refused(desk.say(&["run", "orders.sync", "--data", "d2", "--fresh"]), 3, &there);
    desk.write("in.ndjson", "{\"n\":1}\n{\"n\":2}\n");
    desk.ok(&["run", "orders.sync", "--data", "d1"]);
    assert_eq!(out(&desk), ["{\"n\":1}", "{\"n\":2}"]);
    desk.ok(&["run", "orders.sync", "--data", "d1", "--fresh"]);
    assert_eq!(out(&desk), ["{\"n\":1}", "{\"n\":2}"]);
}

/// With its data folder gone, a pipeline wrote all of its rows once more, and called it run 1.
#[test]
fn a_lost_data_folder_is_noticed_at_the_output() {
    for (pipeline, place) in [(PARTS, "out/"), (SINGLE, "x.ndjson")] {
        let desk = desk(pipeline, "{\"n\":1}\n");
        desk.ok(&["run", "orders.sync"]);
        fs::remove_dir_all(desk.path(".syncline")).expect("the data folder");
        refused(desk.say(&["run", "orders.sync"]), 3, &["another data folder", place]);
    }
}

/// The very first run of a pipeline, with `--fresh`, emptied a file that a user had made.
#[test]
fn a_users_file_is_not_an_output() {
    let desk = desk(SINGLE, "{\"n\":1}\n");
    desk.write("x.ndjson", "{\"mine\":1}\n");
    for more in [&["run", "orders.sync"][..], &["run", "orders.sync", "--fresh"]] {
        refused(desk.say(more), 3, &["x.ndjson is there already", "Move it away"]);
        assert_eq!(fs::read_to_string(desk.path("x.ndjson")).ok().as_deref(), Some("{\"mine\":1}\n"));
    }
    fs::remove_file(desk.path("x.ndjson")).expect("move it away");
    desk.ok(&["run", "orders.sync"]);
    desk.write("x.ndjson", "{\"n\":1}\n{\"mine\":1}\n");
    refused(desk.say(&["run", "orders.sync", "--fresh"]), 3, &["x.ndjson has 19 bytes, and 8"]);
    assert_eq!(fs::read_to_string(desk.path("x.ndjson")).ok().as_deref(), Some("{\"n\":1}\n{\"mine\":1}\n"));
    desk.write("x.ndjson", "{\"n\":1}\n");
    desk.ok(&["run", "orders.sync", "--fresh"]);
    assert_eq!(fs::read_to_string(desk.path("x.ndjson")).ok().as_deref(), Some("{\"n\":1}\n"));
}

/// `--fresh` emptied the output and then found that there was no input.
#[test]
fn starting_over_without_an_input_leaves_everything_as_it_is() {
    let desk = desk(PARTS, "{\"n\":1}\n");
    desk.ok(&["run", "orders.sync"]);
    fs::rename(desk.path("in.ndjson"), desk.path("away.ndjson")).expect("the input goes");
    refused(desk.say(&["run", "orders.sync", "--fresh"]), 3, &["in.ndjson"]);
    assert_eq!(out(&desk), ["{\"n\":1}"]);
    desk.write("away.ndjson", "{\"n\":1}\n{\"n\":2}\n");
    fs::rename(desk.path("away.ndjson"), desk.path("in.ndjson")).expect("the input comes back");
    let said = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(said.err.contains("only what is new"), "{}", said.err);
    assert_eq!(out(&desk), ["{\"n\":1}", "{\"n\":2}"]);
}

/// `--fresh` doubled every row of a table, and the books balanced.
#[test]
fn rows_that_were_inserted_into_a_table_are_not_inserted_again_without_a_word() {
    let table = "PIPELINE i AS FROM file('in.ndjson') |> SELECT CAST(n AS BIGINT) AS n |> INSERT INTO sqlite('shop.db', 't');\n";
    let desk = desk(table, "{\"n\":1}\n{\"n\":2}\n");
    desk.ok(&["run", "orders.sync"]);
    let count = || look::sqlite(&desk.path("shop.db"), "SELECT count(*) FROM t")[0][0].clone();
    let words = ["table t of", "holds 2 rows", "UPSERT", "--insert-again"];
    refused(desk.say(&["run", "orders.sync", "--fresh"]), 2, &words);
    fs::remove_dir_all(desk.path(".syncline")).expect("the data folder");
    refused(desk.say(&["run", "orders.sync"]), 3, &["another data folder", "--fresh"]);
    refused(desk.say(&["run", "orders.sync", "--fresh"]), 2, &words);
    assert_eq!(count(), "2");
    let empty = rusqlite::Connection::open(desk.path("shop.db")).and_then(|shop| shop.execute("DELETE FROM t", []));
    assert_eq!(empty.ok(), Some(2));
    desk.ok(&["run", "orders.sync", "--fresh"]);
    assert_eq!(count(), "2");
    desk.ok(&["run", "orders.sync", "--fresh", "--insert-again"]);
    assert_eq!(count(), "4");
}

#[test]
fn starting_over_says_which_rows_of_an_upsert_stay() {
    let table = "PIPELINE u AS FROM file('in.ndjson') |> SELECT CAST(n AS BIGINT) AS n |> UPSERT INTO sqlite('shop.db', 't') KEY (n);\n";
    let desk = desk(table, "{\"n\":1}\n{\"n\":2}\n");
    desk.ok(&["run", "orders.sync"]);
    desk.write("in.ndjson", "{\"n\":3}\n");
    let said = desk.say(&["run", "orders.sync", "--fresh"]).expect(0);
    assert!(said.err.contains("keeps its 2 rows"), "{}", said.err);
    assert_eq!(look::sqlite(&desk.path("shop.db"), "SELECT n FROM t ORDER BY n"), [["1"], ["2"], ["3"]]);
}
