//! What commands say to programs, and what they say before anything runs: formats, closed pipes, tables that are there already.

use std::{
    fs,
    process::{Command, Stdio},
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::Desk;

const COPY: &str = "
PIPELINE copy AS
FROM file('in/*.ndjson')
|> DEDUP BY id
|> SELECT id, total
|> INSERT INTO sqlite('shop.db', 'orders');

TEST one FOR copy GIVEN INPUT ROWS '{\"id\": 1, \"total\": 2}' EXPECT OUTPUT ROWS (1, 2);
";

fn desk() -> Desk {
    let desk = Desk::with(COPY);
    desk.write("in/a.ndjson", "{\"id\": 1, \"total\": 2}\n{\"id\": 1, \"total\": 2}\n{\"id\": 2}\n");
    desk
}

#[test]
fn a_reader_that_goes_away_has_what_it_wanted() {
    let desk = desk();
    for command in [&["check", "--plan", "orders.sync"][..], &["test", "orders.sync"], &["discover", "in/a.ndjson"]] {
        let mut child =
            desk.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        // Before it prints: what it writes goes nowhere.
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && !err.contains("panicked"), "{command:?}: {err}");
    }
}

#[test]
fn a_status_for_programs_has_names_and_instants() {
    let desk = desk();
    desk.ok(&["run", "--once", "orders.sync"]);
    let status: Value = serde_json::from_str(&desk.ok(&["status", "-o", "json"])).expect("JSON");
    let pipeline = &status["pipelines"][0];
    let dedup = pipeline["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["step"] == "dedup"));
    let fates = &dedup.expect("its step")["fates"];
    assert_eq!((&fates["passed"], &fates["duplicate"], &fates["dead"]), (&json!(2), &json!(1), &json!(0)));
    let started = pipeline["started"].as_str().expect("an instant as text");
    assert!(started.starts_with("20") && started.ends_with('Z'), "{started}");
    let csv = desk.ok(&["status", "-o", "csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let [names, facts] = &lines[..] else { panic!("{csv}") };
    for (name, fact) in names.iter().zip(facts) {
        let member = match &pipeline[*name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        assert_eq!(&member, fact, "{name}");
    }
}

#[test]
fn an_answer_in_csv_has_nothing_where_there_is_nothing() {
    let desk = desk();
    desk.ok(&["run", "--once", "orders.sync"]);
    let csv = |sql: &str| desk.say(&["query", sql, "-o", "csv"]);
    assert_eq!(csv("SELECT NULL AS a, reason, '' AS t FROM runs").expect(0).out(), "a,reason,t\n,,\n");
    assert_eq!(csv("SELECT run FROM runs WHERE false").expect(0).out(), "run\n");
    let failed = csv("SELECT 1/0 AS x").expect(1);
    assert_eq!(failed.out(), "", "{}", failed.err);
    let failed = csv("SELECT run + 9223372036854775807 FROM runs").expect(1);
    assert!(failed.err.contains("1 + 9223372036854775807 is no BIGINT"), "{}", failed.err);
    assert!(failed.err.contains("CAST(… AS DECIMAL(38, 0))"), "{}", failed.err);
    for sql in ["INSERT INTO runs VALUES (1)", "insert into nowhere values (1)"] {
        let refused = desk.say(&["query", sql]).expect(1);
        assert!(refused.err.starts_with("error: INSERT INTO would write"), "{}", refused.err);
    }
}

#[test]
fn a_table_that_is_there_is_looked_at_and_nothing_is_made() {
    let desk = desk();
    let names = || {
        let entries = fs::read_dir(desk.path("")).expect("the folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    desk.ok(&["check", "orders.sync"]);
    assert_eq!(names(), ["in", "orders.sync"]);
    let shop = Connection::open(desk.path("shop.db")).expect("a database");
    shop.execute_batch("CREATE TABLE orders (ID INTEGER, price NUMERIC)").expect("a table");
    for command in ["check", "run"] {
        let said = desk.say(&[command, "orders.sync"]).expect(2);
        for part in ["has no column total", "orders.sync:6:4", "columns of the table: ID, price"] {
            assert!(said.err.contains(part), "{}", said.err);
        }
    }
    drop(shop);
    assert_eq!(names(), ["in", "orders.sync", "shop.db"]);
    fs::remove_file(desk.path("shop.db")).expect("it goes");
    desk.ok(&["run", "--once", "orders.sync"]);
    desk.ok(&["check", "orders.sync"]);
}

#[test]
fn what_is_missing_outside_is_told_with_the_next_step() {
    let told = |argument: &str, expected: &str| {
        let pipeline = format!("PIPELINE p AS FROM file({argument}) |> INSERT INTO stdout();");
        let said = Desk::with(&pipeline).say(&["run", "--once", "orders.sync"]).expect(2);
        assert_eq!(said.err, expected);
    };
    told(
        "env('NO_SUCH_FILE')",
        "error: the environment variable NO_SUCH_FILE is not set\n  pipeline p of orders.sync\n\
         help: set it, or give it a default: env('NO_SUCH_FILE', '…')\n",
    );
    told(
        "secret('feed/path')",
        "error: secret('feed/path') is not set\n  pipeline p of orders.sync\n\
         help: store it: syncline secret set feed/path < FILE\n\
         help: or set the environment variable SYNCLINE_SECRET_FEED_PATH\n",
    );
}

#[test]
fn what_a_pattern_means_and_is_no_file_is_left_out_and_told_once() {
    let desk = desk();
    fs::create_dir(desk.path("in/folder.ndjson")).expect("a folder");
    let made = Command::new("mkfifo").arg(desk.path("in/pipe.ndjson")).status().expect("mkfifo");
    assert!(made.success());
    let said = desk.say(&["run", "--once", "orders.sync"]).expect(0);
    for part in ["in/folder.ndjson is a folder: it is left out", "in/pipe.ndjson is not a regular file: it is left out"]
    {
        assert_eq!(said.err.matches(part).count(), 1, "{}", said.err);
    }
    assert_eq!(desk.value("SELECT rows_in FROM runs"), 3);
}

#[test]
fn a_folder_that_takes_no_writes_is_told_with_a_way_that_works() {
    let desk = desk();
    desk.ok(&["run", "--once", "orders.sync"]);
    let data = desk.path(".syncline");
    let may = |mode: &str| {
        let changed = Command::new("chmod").args(["-R", mode]).arg(&data).status().expect("chmod");
        assert!(changed.success());
    };
    may("a-w");
    let said = desk.say(&["status"]);
    // Who may do everything is not kept from writing.
    if said.code != Some(0) {
        let said = said.expect(3);
        let help = said.err.lines().find_map(|line| line.strip_prefix("help: look at a copy: ")).expect("a way");
        let copy = desk.path("copy");
        let (way, _) = help.split_once(", then ").expect("a command");
        let way = way.replace("/tmp/copy", &copy.to_string_lossy());
        assert!(desk.other("sh", &["-c", &way]).status().expect("sh").success(), "{way}");
        let status = desk.ok(&["status", "--data", &copy.to_string_lossy()]);
        assert!(status.contains("copy · ended"), "{status}");
    }
    may("u+w");
}

/// A rule that only warns said nothing to anyone but a counter in a process that was over.
#[test]
fn a_rule_that_only_warns_is_in_the_books_and_told_at_the_end() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('in.ndjson') |> EXPECT a >= 0 AS positive ON VIOLATION WARN |> SELECT id, a |> INSERT INTO file('out.ndjson');",
    );
    desk.write("in.ndjson", "{\"id\":1,\"a\":5}\n{\"id\":2,\"a\":-1}\n{\"id\":3}\n{\"id\":4,\"a\":\"x\"}\n");
    let said = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(said.err.contains("p: ended run 1 · 4 rows in · 1 dead · 2 warned · books balance"), "{}", said.err);
    let steps = desk.query("SELECT step, passed, dead, warned FROM steps WHERE step = 'positive'");
    assert_eq!(steps, [json!({"step": "positive", "passed": 3, "dead": 1, "warned": 2})]);
    assert!(desk.ok(&["status"]).contains("step      in  passed  dead  warned  waiting  out"));
}

/// One record whose number is a size ended the process, and again after every restart.
#[test]
fn a_row_that_asks_for_a_terabyte_is_dead_and_the_others_go_on() {
    let desk = Desk::with(
        "PIPELINE p AS FROM file('in.ndjson')
         |> SELECT id, lpad('x', CAST(n AS INT), '-') AS padded, repeat('x', CAST(n AS BIGINT)) AS long |> INSERT INTO file('out.ndjson');",
    );
    desk.write(
        "in.ndjson",
        "{\"id\":1,\"n\":2}\n{\"id\":2,\"n\":2000000000}\n{\"id\":3,\"n\":-1}\n{\"id\":4,\"n\":0}\n",
    );
    desk.ok(&["run", "orders.sync"]);
    let rows = fs::read_to_string(desk.path("out.ndjson")).expect("rows");
    assert_eq!(
        rows,
        "{\"id\":1,\"padded\":\"-x\",\"long\":\"xx\"}\n{\"id\":3,\"padded\":\"\",\"long\":\"\"}\n{\"id\":4,\"padded\":\"\",\"long\":\"\"}\n"
    );
    let dead = desk.query("SELECT record_offset AS line FROM dead_letters ORDER BY record_offset");
    assert_eq!(dead, [json!({"line": 2})]);
}
