//! The README is a promise: its commands are run, in order, in one folder, as a reader would type them.
//!
//! A block opened with ```` ```sh ```` is run; one opened with ```` ```console ```` shows something and is not. Lines of a block
//! run in one shell that stops at the first failure. `syncline` is on the path there, and port 7800 is whatever is free.

use std::fs;

use crate::{
    desk::{Desk, PATIENCE, Running, binary, house},
    look,
};

#[test]
fn every_command_of_the_readme_does_what_it_is_shown_for() {
    let text = fs::read_to_string(house().join("README.md")).expect("the README");
    let blocks = blocks(&text, "sh");
    assert!(blocks.len() >= 4, "the README shows only {} blocks of commands", blocks.len());
    let desk = Desk::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let bin = binary().parent().expect("a folder").to_owned();
    // What it starts in the background ends with it, also when a command fails.
    let end = "trap 'kill -9 $(jobs -p) 2>kill.txt || true' EXIT";
    let script = format!("set -euo pipefail\n{end}\nPATH={}:$PATH\n{}", bin.display(), blocks.join("\n"))
        .replace("syncline run orders.sync &", &format!("syncline run orders.sync --listen 127.0.0.1:{port} &"))
        .replace("localhost:7800", &format!("127.0.0.1:{port}"));
    desk.write("readme.sh", &script);
    Running::start(desk.other("bash", &["-x", "readme.sh"]), "the README's commands".to_owned())
        .end(PATIENCE)
        .expect(0);
    // What it says in between: the repeat is dropped, also after the kill, and a file is read once.
    let fates = "SELECT sum(duplicate) AS duplicate, sum(filtered) AS filtered, sum(dead) AS dead FROM steps WHERE pipeline = 'orders'";
    let counts = desk.ok(&["query", fates, "--data", "shop/.syncline", "-o", "csv"]);
    assert_eq!(counts, "duplicate,filtered,dead\n2,1,1\n");
    assert_eq!(look::lines(&desk.path("shop/out/events")), [r#"{"kind": "a", "n": 1}"#]);
    assert_eq!(
        look::sqlite(&desk.path("shop/shop.db"), "SELECT id, customer, total FROM orders"),
        [["1", "ada", "9.5"]]
    );
}

#[test]
fn every_pipeline_of_the_readme_compiles() {
    let text = fs::read_to_string(house().join("README.md")).expect("the README");
    let pipelines = blocks(&text, "sql");
    assert!(!pipelines.is_empty(), "the README shows no pipeline");
    for pipeline in pipelines {
        Desk::with(&pipeline).ok(&["check", "orders.sync"]);
    }
}

/// The insides of all fenced blocks with this word behind the fence.
fn blocks(text: &str, word: &str) -> Vec<String> {
    let mut found = vec![];
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some((info == word, String::new())),
            (Some(_), Some(_)) => found.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (None, Some((_, block))) => block.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    found
}

#[test]
fn blocks_of_another_kind_are_left_out() {
    assert_eq!(blocks("a\n```sh\nb\nc\n```\n```sql\nd\n```\n```sh\ne\n```\n", "sh"), ["b\nc\n", "e\n"]);
}
