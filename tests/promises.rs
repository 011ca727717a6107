//! The README's table of promises: each names the tests that show it, and the last figure that they wrote.
//!
//! A long run (`./test --soak`) writes its figures into `tests/figures.txt`, a line for each test. The table must repeat them to the letter:
//! a promise whose test is gone, and a figure that nobody measured, fail here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use crate::{chance::soak, desk::house};

/// Where the table stands in the README.
const HEADING: &str = "## What is promised, and what shows it";
/// In place of a figure that no run has written.
const NONE: &str = "";

/// What a long run of this test has shown; a short one writes none.
pub fn figure(test: &str, shown: &str) {
    static WRITING: Mutex<()> = Mutex::new(());
    if !soak() {
        return;
    }
    let _one_at_a_time = WRITING.lock();
    let file = file(&house());
    let day = Command::new("date").arg("+%F").output().expect("the date");
    let mut all = figures(&fs::read_to_string(&file).unwrap_or_default());
    all.insert(test.to_owned(), format!("{shown} ({})", String::from_utf8_lossy(&day.stdout).trim()));
    let text: String = all.iter().map(|(test, shown)| format!("{test}: {shown}\n")).collect();
    fs::write(file, text).expect("write the figures");
}

fn file(house: &Path) -> PathBuf {
    house.join("tests/figures.txt")
}

fn figures(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| line.split_once(": ").map(|(test, shown)| (test.to_owned(), shown.to_owned()));
    text.lines().filter_map(line).collect()
}

/// What is wrong with the table, in words.
fn faults(readme: &str, tests: &str, figures: &BTreeMap<String, String>) -> Vec<String> {
    let table = readme.split_once(HEADING).map(|(_, rest)| rest.split("\n## ").next().unwrap_or(rest));
    let rows = table.unwrap_or_default().lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let (mut wrong, mut named) = (vec![], 0);
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [promise, shown_by, figure] = cells[..] else {
            wrong.push(format!("not three columns: {row}"));
            continue;
        };
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        for name in &names {
            named += 1;
            if !tests.contains(&format!("#[test]\nfn {name}(")) {
                wrong.push(format!("{promise}: there is no test `{name}`"));
            }
        }
        let measured: Vec<&str> = names.iter().filter_map(|name| figures.get(*name)).map(String::as_str).collect();
        let expected = if measured.is_empty() { NONE.to_owned() } else { measured.join("; ") };
        if figure != expected {
            wrong.push(format!("{promise}: the figure is {figure:?}, and the last run wrote {expected:?}"));
        }
    }
    if named == 0 {
        wrong.push("the table names no test".to_owned());
    }
    wrong
}

#[test]
fn every_promise_of_the_readme_has_its_test_and_its_last_figure() {
    let house = house();
    let read = |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tests = String::new();
    for folder in ["tests", "tests/oracle"] {
        let entries = fs::read_dir(house.join(folder)).expect("a folder of tests").flatten();
        let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "rs"));
        files.for_each(|path| tests.push_str(&read(path)));
    }
    let figures = figures(&fs::read_to_string(file(&house)).unwrap_or_default());
    assert_eq!(faults(&read(house.join("README.md")), &tests, &figures), [""; 0]);
}

#[test]
fn a_promise_without_a_test_and_a_figure_that_nobody_measured_are_noticed() {
    let tests = "#[test]\nfn kept() {}\n#[test]\nfn measured() {}\n";
    let figures = figures("measured: 500 kills (2026-11-22)\n");
    let wrong = |rows: &str| {
        let readme = format!(
            "# A\n\n{HEADING}\n\n| promise | shown by | last figure |\n|---|---|---|\n{rows}\n\n## More\n| a | `x` | b |\n"
        );
        faults(&readme, tests, &figures)
    };
    assert_eq!(wrong("| one | `kept` | |\n| two | `measured`, `kept` | 500 kills (2026-11-22) |"), [""; 0]);
    assert_eq!(wrong("| one | `gone` | |"), ["one: there is no test `gone`"]);
    assert_eq!(wrong("| one | `kept` | fast |"), [r#"one: the figure is "fast", and the last run wrote """#]);
    let old = "| two | `measured` | 400 kills |";
    let told = r#"two: the figure is "400 kills", and the last run wrote "500 kills (2026-11-22)""#;
    assert_eq!(wrong(old), [told]);
    assert_eq!(wrong(""), ["the table names no test"]);
    assert_eq!(wrong("| `kept` |"), ["not three columns: | `kept` |", "the table names no test"]);
}
