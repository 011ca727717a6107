//! A pipeline that reads what it writes, alone or through others: every row would come round again.

use super::{Charge, place_of, sinks};
use crate::{
    catalog::Catalog,
    message::sinks as say,
    place::thing,
    plan::{Plan, Step, Value},
};

/// Where a pipeline reads or writes: a connector and its things by name, paths without detours.
type Thing = (String, Vec<(String, Value)>);

struct Flow<'a> {
    plan: &'a Plan,
    at: usize,
    reads: Vec<Thing>,
    writes: Vec<(&'a Step, Thing)>,
}

/// A sink whose rows come back to the pipeline that writes them.
pub(crate) fn feedback(plans: &[(usize, &Plan)], catalog: &Catalog) -> Vec<Charge> {
    let flows: Vec<Flow<'_>> = plans
        .iter()
        .map(|&(at, plan)| Flow {
            plan,
            at,
            reads: plan.sources().iter().map(|source| real(thing(&source.place, catalog))).collect(),
            writes: sinks(plan).into_iter().map(|(step, sink)| (step, real(thing(&sink.place, catalog)))).collect(),
        })
        .collect();
    let mut charges = Vec::new();
    for flow in &flows {
        for (step, written) in &flow.writes {
            let cycle = way_back(flow, written, &flows);
            // Said once for each way round: at the pipeline of it that stands first in the file.
            let first = |way: &[String]| flows.iter().find(|other| way.contains(&other.plan.pipeline)).map(|f| f.at);
            if let Some(cycle) = cycle.filter(|way| first(way) == Some(flow.at)) {
                charges.push((flow.at, say::feedback(place_of(step), &flow.plan.source.place.text, &cycle)));
            }
        }
    }
    charges
}

/// The pipelines through which rows at `place` come to `goal`, itself at both ends.
fn way_back(goal: &Flow<'_>, place: &Thing, flows: &[Flow<'_>]) -> Option<Vec<String>> {
    let mut ways: Vec<(Vec<String>, &Thing)> = vec![(vec![goal.plan.pipeline.clone()], place)];
    let mut seen: Vec<&str> = Vec::new();
    while let Some((way, written)) = ways.pop() {
        for reader in flows.iter().filter(|reader| reader.reads.iter().any(|read| feeds(written, read))) {
            let mut way = way.clone();
            way.push(reader.plan.pipeline.clone());
            if reader.plan.pipeline == goal.plan.pipeline {
                return Some(way);
            }
            if !seen.contains(&reader.plan.pipeline.as_str()) {
                seen.push(&reader.plan.pipeline);
                ways.extend(reader.writes.iter().map(|(_, thing)| (way.clone(), thing)));
            }
        }
    }
    None
}

fn real((connector, all): Thing) -> Thing {
    let plain = |value| match value {
        Value::Text(path) => Value::Text(plain(&path)),
        other => other,
    };
    (connector, all.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

/// Whether what is written here is read there.
fn feeds((to, written): &Thing, (from, read): &Thing) -> bool {
    if to != from || written.is_empty() || written.len() != read.len() {
        return false;
    }
    written.iter().zip(read).all(|((name, to), (other, from))| name == other && covers(from, to))
}

fn covers(from: &Value, to: &Value) -> bool {
    match (from, to) {
        (Value::Text(pattern), Value::Text(path)) => path_covers(pattern, path),
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
    // The folders before the first special character are compared at once: of many pipelines, most pairs differ there.
    let fixed = pattern.find(['*', '?']).map_or(pattern, |at| &pattern[..at]);
    let folder = fixed.rfind('/').map_or("", |at| &fixed[..=at]);
    if !path.starts_with(folder) {
        return false;
    }
    if fixed == pattern && !path.ends_with('/') {
        return pattern == path;
    }
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
