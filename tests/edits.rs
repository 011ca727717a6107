//! A pipeline file that is edited between two runs: state, waiting rows and positions stay with what they were made for.

use std::{fs, sync::Arc, time::Duration};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;

use crate::{
    desk::Desk,
    look::{self, sqlite},
};

fn edited(desk: &Desk, pipeline: &str) {
    desk.write("orders.sync", pipeline);
}

fn ids(desk: &Desk, database: &str) -> Vec<String> {
    let rows = sqlite(&desk.path(database), "SELECT i FROM t ORDER BY rowid");
    rows.into_iter().map(|row| row.concat()).collect()
}

fn refused(desk: &Desk, facts: &[&str]) {
    let before = fs::read_dir(desk.path("")).expect("the folder").count();
    let said = desk.say(&["run", "orders.sync"]).expect(2);
    for fact in ["error: this edit puts a step where another one stood"].iter().chain(facts) {
        assert!(said.err.contains(fact), "`{fact}` is not said:\n{}", said.err);
    }
    assert_eq!(fs::read_dir(desk.path("")).expect("the folder").count(), before, "something was made");
}

const LOW: &str = "TEE (|> WHERE i < 3 |> SELECT i |> INSERT INTO sqlite('low.db', 't'))";
const HIGH: &str = "TEE (|> WHERE i >= 3 |> SELECT i |> INSERT INTO sqlite('high.db', 't'))";
const NEW: &str = "TEE (|> WHERE i > 100 |> SELECT i |> INSERT INTO sqlite('new.db', 't'))";

fn tees(branches: &[&str]) -> String {
    let branches = branches.join(" |> ");
    format!(
        "PIPELINE p AS FROM file('in/*.ndjson') |> SELECT CAST(i AS BIGINT) AS i |> {branches} |> INSERT INTO file('out/');"
    )
}

#[test]
fn a_branch_is_not_taken_for_the_one_that_stood_there() {
    let desk = Desk::with(&tees(&[LOW, HIGH]));
    desk.write("in/a.ndjson", "{\"i\":1}\n{\"i\":2}\n{\"i\":3}\n{\"i\":4}\n");
    desk.ok(&["run", "orders.sync"]);
    desk.write("in/b.ndjson", "{\"i\":5}\n{\"i\":0}\n");
    for (branches, facts) in [
        (&[HIGH][..], &["what was tee_2/insert is tee/insert now"][..]),
        (&[HIGH, LOW], &["what was tee/insert is tee_2/insert now", "what was tee_2/insert is tee/insert now"]),
        (&[NEW, LOW, HIGH], &["what was tee/insert is tee_2/insert now", "what was tee_2/insert is tee_3/insert now"]),
    ] {
        edited(&desk, &tees(branches));
        refused(&desk, facts);
    }
    // Behind the others there is room, and a place can stay empty.
    edited(&desk, &tees(&[LOW, HIGH, NEW]));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(
        (ids(&desk, "low.db"), ids(&desk, "high.db")),
        (vec!["1".into(), "2".into(), "0".into()], vec!["3".into(), "4".into(), "5".into()])
    );
    assert_eq!(ids(&desk, "new.db"), [""; 0]);
}

#[test]
fn state_of_a_branch_stays_its_own() {
    let sums = |first: &str, second: &str| {
        let arm = |x: &str| {
            format!(
                "(|> WHERE x = '{x}' |> AGGREGATE SUM(CAST(n AS BIGINT)) AS n GROUP BY x |> UPSERT INTO sqlite('{x}.db', 't') KEY (x))"
            )
        };
        format!("PIPELINE p AS FROM file('in/*.ndjson') |> FORK {}, {};", arm(first), arm(second))
    };
    let desk = Desk::with(&sums("q", "r"));
    desk.write("in/a.ndjson", "{\"x\":\"q\",\"n\":1}\n{\"x\":\"r\",\"n\":100}\n");
    desk.ok(&["run", "orders.sync"]);
    edited(&desk, &sums("r", "q"));
    refused(
        &desk,
        &["what was fork/1/aggregate is fork/2/aggregate now", "what was fork/1/upsert is fork/2/upsert now"],
    );
    edited(&desk, &sums("q", "r"));
    desk.write("in/b.ndjson", "{\"x\":\"q\",\"n\":2}\n{\"x\":\"r\",\"n\":100}\n");
    desk.ok(&["run", "orders.sync"]);
    let sum = |x: &str| sqlite(&desk.path(&format!("{x}.db")), "SELECT n FROM t").concat().concat();
    assert_eq!((sum("q"), sum("r")), ("3".to_owned(), "200".to_owned()));
}

#[test]
fn a_sink_that_writes_elsewhere_gets_what_comes_from_then_on() {
    let into = |database: &str| {
        format!("PIPELINE p AS FROM file('in/*.ndjson') |> SELECT i |> INSERT INTO sqlite('{database}', 't');")
    };
    let desk = Desk::with(&into("one.db"));
    for (number, database) in ["one.db", "two.db", "one.db", "one.db"].into_iter().enumerate() {
        edited(&desk, &into(database));
        desk.write(&format!("in/{number}.ndjson"), format!("{{\"i\":{}}}\n{{\"i\":{}}}\n", 2 * number, 2 * number + 1));
        desk.ok(&["run", "orders.sync"]);
        assert_eq!(desk.value("SELECT bool_and(balanced) AS b FROM steps"), true);
    }
    assert_eq!(ids(&desk, "one.db"), ["0", "1", "4", "5", "6", "7"]);
    assert_eq!(ids(&desk, "two.db"), ["2", "3"]);
}

#[test]
fn rows_that_wait_for_one_place_do_not_go_to_another() {
    let into = |database: &str| {
        format!("PIPELINE p AS FROM file('in.ndjson') FOLLOW |> SELECT i |> INSERT INTO sqlite('{database}', 't');")
    };
    let desk = Desk::with(&into("one.db"));
    desk.write("in.ndjson", "{\"i\":1}\n");
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.until("the first row is there", |_| desk.path("one.db").exists() && ids_or_none(&desk) == 1);
    // Somebody holds the table, and the process dies with a row in its hands.
    let hold = "import sqlite3,sys,time\nc=sqlite3.connect('one.db',isolation_level=None)\nc.execute('BEGIN IMMEDIATE')\nopen('held','w').close()\ntime.sleep(60)";
    let mut command = desk.other("python3", &["-c", hold]);
    command.stdin(std::process::Stdio::null());
    let mut holder = crate::desk::Running::start(command, "a lock".to_owned());
    holder.until("the table is held", |_| desk.path("held").exists());
    desk.write("in.ndjson", "{\"i\":1}\n{\"i\":2}\n");
    running.until("a row waits", |_| desk.value("SELECT waiting AS n FROM pipelines") == 1);
    assert!(running.kill());
    assert!(holder.kill());
    edited(&desk, &into("two.db"));
    let said = desk.say(&["run", "orders.sync", "--once"]).expect(2);
    assert!(said.err.contains("insert: 1 rows wait for the place that it wrote to before"), "{}", said.err);
    edited(&desk, &into("one.db"));
    desk.ok(&["run", "orders.sync", "--once"]);
    edited(&desk, &into("two.db"));
    desk.ok(&["run", "orders.sync", "--once"]);
    assert_eq!((ids(&desk, "one.db"), ids(&desk, "two.db")), (vec!["1".to_owned(), "2".to_owned()], vec![]));
}

fn ids_or_none(desk: &Desk) -> usize {
    let there = sqlite(&desk.path("one.db"), "SELECT count(*) FROM sqlite_master WHERE name = 't'");
    if there == [["1"]] { ids(desk, "one.db").len() } else { 0 }
}

#[test]
fn positions_stay_with_the_place_that_was_read() {
    let union = |sources: &[&str]| {
        let flow = |name: &&str| format!("FROM file('{name}.ndjson') |> SELECT i");
        let rest: Vec<String> = sources[1..].iter().map(|name| format!("|> UNION ALL ({})", flow(name))).collect();
        format!("PIPELINE p AS {} {} |> INSERT INTO file('out/');", flow(&sources[0]), rest.join(" "))
    };
    let desk = Desk::with(&union(&["a", "b"]));
    let mut number = 0;
    for sources in [&["a", "b"][..], &["b", "a"], &["c", "b", "a"], &["a"], &["b"], &["a", "b", "c"], &["c", "a", "b"]]
    {
        edited(&desk, &union(sources));
        for name in ["a", "b", "c"] {
            number += 1;
            desk.append(&format!("{name}.ndjson"), [format!("{{\"i\":{number}}}")]);
        }
        desk.ok(&["run", "orders.sync"]);
        let mut found = look::lines(&desk.path("out"));
        let many = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), many, "a row came twice with {sources:?}");
    }
    // The last run has read all three.
    let mut found = look::lines(&desk.path("out"));
    let mut all: Vec<String> = (1..=number).map(|i| format!("{{\"i\":{i}}}")).collect();
    found.sort();
    all.sort();
    assert_eq!(found, all);
}

/// A file of numbers that takes a while to be read.
fn many_numbers(path: &std::path::Path, count: i64) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let rows = RecordBatch::try_from_iter([("i", numbers)]).expect("a column");
    let file = fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a Parquet file");
    writer.write(&rows).expect("rows");
    writer.close().expect("an end");
}

#[test]
fn a_file_that_is_not_meant_any_more_waits_until_it_is_again() {
    let from = |place: &str| {
        format!(
            "PIPELINE p WITH (checkpoint_every = '10 milliseconds') AS FROM parquet('{place}') |> INSERT INTO file('out/');"
        )
    };
    // Killed in the middle, wherever that is on this machine.
    let (mut count, mut wait) = (400_000, Duration::from_millis(20));
    let desk = loop {
        let desk = Desk::with(&from("in/a*"));
        fs::create_dir(desk.path("in")).expect("a folder");
        many_numbers(&desk.path("in/a.parquet"), count);
        let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        running.address();
        std::thread::sleep(wait);
        let killed = running.kill();
        let sum = desk.value("SELECT sum(rows_in) AS n FROM steps WHERE step = 'source'");
        match sum.as_i64().unwrap_or_default() {
            some if killed && 0 < some && some < count => break desk,
            0 => wait *= 2,
            _ => count *= 2,
        }
        assert!(count < 100_000_000 && wait < Duration::from_secs(60), "never killed in the middle of {count} rows");
    };
    many_numbers(&desk.path("in/b.parquet"), 1);
    fs::rename(desk.path("in/a.parquet"), desk.path("aside")).expect("a file");
    edited(&desk, &from("in/b*"));
    desk.ok(&["run", "orders.sync"]);
    edited(&desk, &from("in/*"));
    let said = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(said.err.contains("in/a.parquet: was removed before it was read to its end"), "{}", said.err);
    fs::rename(desk.path("aside"), desk.path("in/a.parquet")).expect("a file");
    desk.ok(&["run", "orders.sync"]);
    let mut found: Vec<i64> = look::lines(&desk.path("out"))
        .iter()
        .map(|line| line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().expect("a number"))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [vec![0], (0..count).collect()].concat());
}

#[test]
fn what_one_connector_has_read_waits_while_another_is_meant() {
    let from = |place: &str| {
        format!("PIPELINE p AS FROM {place} |> SELECT CAST(i AS BIGINT) AS i |> INSERT INTO sqlite('out.db', 't');")
    };
    let desk = Desk::with("");
    many_numbers(&desk.path("few.parquet"), 2);
    let mut expected = vec![];
    for (round, (place, new)) in [
        ("file('a.ndjson')", vec!["10"]),
        ("parquet('few.parquet')", vec!["0", "1"]),
        ("file('a.ndjson')", vec!["12"]),
        ("parquet('few.parquet')", vec![]),
        ("file('./a.ndjson')", vec!["13", "14"]),
    ]
    .into_iter()
    .enumerate()
    {
        edited(&desk, &from(place));
        // While another is meant, what is added waits too.
        if round != 1 {
            desk.append("a.ndjson", [format!("{{\"i\":{}}}", 10 + round)]);
        }
        desk.ok(&["run", "orders.sync"]);
        expected.extend(new);
        assert_eq!(ids(&desk, "out.db"), expected, "round {round}: {place}");
    }
}
