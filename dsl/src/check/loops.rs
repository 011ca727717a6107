//! A pipeline that reads what it writes, alone or through others: every row would come round again.

use super::{Charge, place_of, sinks};
use crate::{
    catalog::Catalog,
    message::sinks as say,
    place::thing,
    plan::{Place, Plan, Step, Value},
};

/// A sink whose rows come back to the pipeline that writes them.
pub(crate) fn feedback(plans: &[(usize, &Plan)], catalog: &Catalog) -> Vec<Charge> {
    let mut charges = Vec::new();
    for (index, plan) in plans {
        for (step, sink) in sinks(plan) {
            let cycle = way_back(plan, &sink.place, plans, catalog);
            // Said once for each way round: at the pipeline of it that stands first in the file.
            let first =
                |way: &[String]| plans.iter().find(|(_, other)| way.contains(&other.pipeline)).map(|(at, _)| *at);
            if let Some(cycle) = cycle.filter(|way| first(way) == Some(*index)) {
                charges.push((*index, say::feedback(place_of(step), &plan.source.place.text, &cycle)));
            }
        }
    }
    charges
}

/// The pipelines through which rows at `place` come to `goal`, itself at both ends.
fn way_back(goal: &Plan, place: &Place, plans: &[(usize, &Plan)], catalog: &Catalog) -> Option<Vec<String>> {
    let mut ways: Vec<(Vec<String>, &Place)> = vec![(vec![goal.pipeline.clone()], place)];
    let mut seen: Vec<&str> = Vec::new();
    while let Some((way, written)) = ways.pop() {
        for (_, reader) in plans.iter().filter(|(_, reader)| feeds(written, &reader.source.place, catalog)) {
            let mut way = way.clone();
            way.push(reader.pipeline.clone());
            if reader.pipeline == goal.pipeline {
                return Some(way);
            }
            if !seen.contains(&reader.pipeline.as_str()) {
                seen.push(&reader.pipeline);
                let next: Vec<(&Step, _)> = sinks(reader);
                ways.extend(next.into_iter().map(|(_, sink)| (way.clone(), &sink.place)));
            }
        }
    }
    None
}

/// Whether what is written here is read there.
fn feeds(written: &Place, read: &Place, catalog: &Catalog) -> bool {
    if written.connector != read.connector {
        return false;
    }
    let ((_, written), (_, read)) = (thing(written, catalog), thing(read, catalog));
    if written.is_empty() || written.len() != read.len() {
        return false;
    }
    written.iter().zip(&read).all(|((name, to), (other, from))| name == other && covers(from, to))
}

fn covers(from: &Value, to: &Value) -> bool {
    match (from, to) {
        (Value::Text(pattern), Value::Text(path)) => path_covers(&plain(pattern), &plain(path)),
        (one, other) => one == other,
    }
}

/// A path without `.` and `..`, as far as that can be seen from its text.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, "" | "..")) => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// Whether a pattern of paths takes in a path, or a file of the folder that a path with `/` at its end names.
fn path_covers(pattern: &str, path: &str) -> bool {
    match path.strip_suffix('/') {
        Some(folder) => match pattern.rsplit_once('/') {
            Some((parent, _)) => matches(parent.as_bytes(), folder.as_bytes()),
            None => false,
        },
        None => matches(pattern.as_bytes(), path.as_bytes()),
    }
}

/// `?` is one character of a name, `*` any of them, `**` any number of folders.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // Which ends of the path the pattern so far can reach; a row of a table, so that no pattern takes long.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let Some((first, behind)) = rest.split_first() {
        let deep = *first == b'*' && behind.first() == Some(&b'*');
        let mut next = vec![false; path.len() + 1];
        for end in 0..=path.len() {
            next[end] = match *first {
                b'*' => reached[end] || end > 0 && next[end - 1] && (deep || path[end - 1] != b'/'),
                b'?' => end > 0 && reached[end - 1] && path[end - 1] != b'/',
                byte => end > 0 && reached[end - 1] && path[end - 1] == byte,
            };
        }
        rest = if deep { &behind[1..] } else { behind };
        reached = next;
    }
    reached[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_compared_without_its_detours() {
        let all = ["./a", "x/../a", "../a", "/../a", "x/./y/"].map(plain);
        assert_eq!(all, ["a", "a", "../a", "/../a", "x/y/"]);
    }

    #[test]
    fn a_pattern_covers_the_paths_that_it_would_find() {
        for (pattern, path, covered) in [
            ("out/*.ndjson", "out/", true),
            ("out/*.ndjson", "out/a.ndjson", true),
            ("out/*.ndjson", "out/deep/a.ndjson", false),
            ("**/*.ndjson", "out/deep/a.ndjson", true),
            ("out/?.ndjson", "out/a.ndjson", true),
            ("a.ndjson", "a.ndjson", true),
            ("a.ndjson", "b.ndjson", false),
            ("in/*.ndjson", "out/", false),
        ] {
            assert_eq!(path_covers(pattern, path), covered, "{pattern} {path}");
        }
    }
}
