//! The walls of the house: which crate may know which, and what a room may not do.
//!
//! `layout-and-style` in short: `dsl` and `engine` meet only in `pipelines`, the engine names no vendor and takes time only from
//! its clock, nothing of the language does IO. Each rule is checked on the text of the tree, tests and comments left out, and
//! each rule is seen to fail on a made-up tree that breaks it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::desk::house;

/// Crate folder → crates of the house that it may name in its `Cargo.toml`. All may name `features`, which holds no code.
const EDGES: &[(&str, &[&str])] = &[
    ("dsl", &["functions", "record", "syntax"]),
    ("dsl/syntax", &[]),
    ("engine", &["functions", "record"]),
    ("engine/features", &[]),
    ("engine/record", &[]),
    ("engine/functions", &["record"]),
    ("engine/analytics", &["engine", "functions", "record"]),
    ("connectors", &["engine", "functions", "record"]),
    ("pipelines", &["analytics", "connectors", "dsl", "engine", "functions", "record", "syntax"]),
    ("tests", &[]),
    ("benches", &["analytics", "connectors", "engine", "functions", "pipelines", "record"]),
];

/// Words that only connectors and what binds them may say. SQL dialects are not vendors here.
const VENDORS: &[&str] =
    &["kafka", "github", "slack", "notion", "salesforce", "google", "stripe", "postgres", "sqlite", "parquet"];

struct Rule {
    name: &'static str,
    /// Folders whose code keeps it.
    rooms: &'static [&'static str],
    /// Files and folders that are the place for it.
    except: &'static [&'static str],
    forbidden: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        name: "the engine touches no file or environment outside its stores",
        rooms: &["engine/src"],
        except: &[
            "engine/src/store",
            "engine/src/store.rs",
            "engine/src/log/embedded",
            "engine/src/log/embedded.rs",
            "engine/src/folder.rs",
        ],
        forbidden: &["std::fs", "std::env", "use std::{fs", "fs::File", "std::net"],
    },
    Rule {
        name: "the engine takes time and randomness from its clock",
        rooms: &["engine/src"],
        except: &["engine/src/clock.rs", "engine/src/clock"],
        forbidden: &["SystemTime", "Instant::now", "rand::", "thread_rng"],
    },
    Rule { name: "the engine names no vendor", rooms: &["engine/src"], except: &[], forbidden: VENDORS },
    Rule {
        name: "the language does no IO and reads no clock",
        rooms: &["dsl/src", "dsl/syntax/src", "engine/functions/src"],
        except: &[],
        forbidden: &["std::fs", "std::env", "std::net", "std::process", "tokio", "SystemTime", "Instant::now"],
    },
    Rule {
        name: "the vocabulary neither waits nor reads a clock",
        rooms: &["engine/record/src"],
        except: &[],
        forbidden: &["async ", ".await", "std::fs", "std::env", "SystemTime", "Instant::now", "tokio"],
    },
    Rule {
        name: "operators neither wait, spawn nor log",
        rooms: &["engine/src/operators"],
        except: &[],
        forbidden: &[".await", "thread::spawn", "tracing::", "println!"],
    },
    Rule {
        name: "nothing is left for later",
        rooms: &["dsl", "engine", "connectors", "pipelines"],
        except: &[],
        forbidden: &["todo!", "unimplemented!", "dbg!"],
    },
];

/// Where files are told to open with `//!` and to stay short.
const HOUSE: &[&str] = &["dsl", "engine", "connectors", "pipelines", "tests", "benches"];
const LONGEST_FILE: usize = 500;
/// Tests write expected messages out in full, so their files may be longer.
const LONGEST_TESTS: usize = 1_000;
/// Fixed when a test is compiled, though cargo may run it for another checkout that has the same file.
const OWN_FOLDER: &str = concat!("env!(", "\"CARGO_MANIFEST_DIR\")");

#[test]
fn every_room_keeps_to_its_walls() {
    assert_eq!(breaches(&house()), [""; 0]);
}

#[test]
fn a_tree_that_breaks_every_wall_is_caught_at_each() {
    let tree = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file");
    };
    write("dsl/Cargo.toml", "[dependencies]\nsyncline-engine.workspace = true\nserde.workspace = true\n");
    write("engine/Cargo.toml", "[dev-dependencies]\nsyncline-connectors = { path = \"../connectors\" }\n");
    write("benches/src/main.rs", &format!("//! Head.\nconst HERE: &str = {OWN_FOLDER};\n"));
    write("rogue/Cargo.toml", "[dependencies]\nsyncline.workspace = true\n");
    write("engine/src/graph.rs", "//! Head.\nuse std::fs;\nfn t() { std::time::Instant::now(); }\nstruct KafkaLog;\n");
    write(
        "engine/src/clock.rs",
        "//! Head.\n// std::fs in a comment is nothing\nfn t() { std::time::Instant::now(); }\n",
    );
    write("engine/src/store/disk.rs", "//! Head.\nuse std::fs;\n#[cfg(test)]\nmod tests {\n    use rand::Rng;\n}\n");
    write("engine/src/operators/filter.rs", "//! Head.\nfn f() { tracing::info!(\"a row\"); }\n");
    write("engine/record/src/lib.rs", "//! Head.\nasync fn f() {}\n");
    write("dsl/src/lib.rs", "fn f() { std::env::var(\"A\"); todo!() }\n");
    write("connectors/src/lib.rs", &format!("//! Head.\n{}", "\n".repeat(LONGEST_FILE)));
    assert_eq!(
        breaches(tree.path()),
        [
            "benches/src/main.rs: takes its folder from the build, which may be another checkout's: ask `std::env`",
            "connectors/src/lib.rs: 501 lines, which is more than 500",
            "dsl/Cargo.toml: dsl may not know engine",
            "dsl/src/lib.rs: does not open with `//!`",
            "dsl/src/lib.rs:1: nothing is left for later: `todo!`",
            "dsl/src/lib.rs:1: the language does no IO and reads no clock: `std::env`",
            "engine/Cargo.toml: engine may not know connectors",
            "engine/record/src/lib.rs:2: the vocabulary neither waits nor reads a clock: `async `",
            "engine/src/graph.rs:2: the engine touches no file or environment outside its stores: `std::fs`",
            "engine/src/graph.rs:3: the engine takes time and randomness from its clock: `Instant::now`",
            "engine/src/graph.rs:4: the engine names no vendor: `kafka`",
            "engine/src/operators/filter.rs:2: operators neither wait, spawn nor log: `tracing::`",
            "rogue/Cargo.toml: no room of the plan",
        ]
    );
}

/// Everything in this tree that breaks a rule, in order of place.
fn breaches(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = edges(root);
    for room in HOUSE {
        for file in files(&root.join(room), "rs") {
            found.extend(shape(&file, &within(root, &file)));
        }
    }
    for rule in RULES {
        for file in rule.rooms.iter().flat_map(|room| files(&root.join(room), "rs")) {
            let name = within(root, &file);
            if !is_test(&name) && !rule.except.iter().any(|place| Path::new(&name).starts_with(place)) {
                found.extend(rule.breaches(&file, &name));
            }
        }
    }
    found.sort();
    found
}

impl Rule {
    fn breaches(&self, file: &Path, name: &str) -> Vec<String> {
        let vendors = std::ptr::eq(self.forbidden, VENDORS);
        let mut found = vec![];
        for (number, line) in product_lines(&read(file)) {
            let line = if vendors { line.to_lowercase() } else { line };
            for word in self.forbidden.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{name}:{number}: {}: `{word}`", self.name));
            }
        }
        found
    }
}

fn edges(root: &Path) -> Vec<String> {
    let mut found = vec![];
    for manifest in files(root, "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let name = within(root, &manifest);
        let Some(folder) = name.strip_suffix("/Cargo.toml") else { continue };
        let Some((_, allowed)) = EDGES.iter().find(|(room, _)| *room == folder) else {
            found.push(format!("{name}: no room of the plan"));
            continue;
        };
        for known in known_rooms(&read(&manifest)) {
            if known != "features" && !allowed.contains(&known.as_str()) {
                found.push(format!("{name}: {folder} may not know {known}"));
            }
        }
    }
    found
}

/// The crates of the house that a manifest depends on, by the names of their rooms.
fn known_rooms(manifest: &str) -> Vec<String> {
    let mut rooms = vec![];
    let mut dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            dependencies = section.contains("dependencies");
        } else if dependencies {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            match name.strip_prefix("syncline") {
                Some("") => rooms.push("pipelines".to_owned()),
                Some(room) => rooms.push(room.trim_start_matches('-').to_owned()),
                None => {}
            }
        }
    }
    rooms
}

fn shape(file: &Path, name: &str) -> Vec<String> {
    let text = read(file);
    let lines = text.lines().count();
    let mut found = vec![];
    if !text.starts_with("//!") {
        found.push(format!("{name}: does not open with `//!`"));
    }
    let longest = if is_test(name) { LONGEST_TESTS } else { LONGEST_FILE };
    if lines > longest {
        found.push(format!("{name}: {lines} lines, which is more than {longest}"));
    }
    if text.contains(OWN_FOLDER) {
        found.push(format!("{name}: takes its folder from the build, which may be another checkout's: ask `std::env`"));
    }
    found
}

/// Files that only tests see: folders and files named for it. Modules inside a file are left out by [`product_lines`].
fn is_test(name: &str) -> bool {
    let seen = |part: &str| matches!(part, "tests" | "tests.rs" | "harness.rs" | "simulation" | "simulation.rs");
    name.split('/').any(|part| seen(part) || part == "examples")
}

/// The numbered lines of a file up to its test module, without comments.
fn product_lines(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(tests).unwrap_or(lines.len());
    let code = |(index, line): (usize, &&str)| {
        let code = line.split("//").next().unwrap_or_default();
        (!code.trim().is_empty()).then(|| (index + 1, code.to_owned()))
    };
    lines[..end].iter().enumerate().filter_map(code).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut found = vec![];
    for path in entries.flatten().map(|entry| entry.path()) {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.ends_with("target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn within(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
