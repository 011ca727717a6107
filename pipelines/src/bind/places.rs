//! Real places: what two spellings of one path hide from the compiler.
//!
//! The compiler compares what is written; links, `./` and a path that comes from `env()` are seen here, before anything is opened.

use std::{
    collections::BTreeMap,
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};
use syncline_dsl::plan::{Place, Plan, SinkPlan, Step, StepKind, WritePlan};

use super::{Secrets, arguments};
use crate::outcome::Failure;

/// As the source finds its files.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A pipeline and the folder of its file.
pub type Member<'a> = (&'a Plan, &'a Path);

/// What a sink writes to.
#[derive(Debug)]
struct Written<'a> {
    pipeline: &'a str,
    step: &'a str,
    place: &'a Place,
    /// A file of the name that it will have; of a folder of parts, its first one.
    file: PathBuf,
    /// The table, where the file has several; a folder of parts has none.
    thing: Thing,
    write: &'a WritePlan,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Parts,
    File,
    Table(String),
}

/// Refuses rows that come back to the pipeline that writes them, and two sinks that would undo each other's work.
pub fn check(members: &[Member<'_>], secrets: &Secrets<'_>) -> Result<(), Failure> {
    let written: Vec<Written<'_>> = members.iter().flat_map(|member| written(*member, secrets)).collect();
    two_writers(&written)?;
    feedback(members, &written, secrets)
}

fn two_writers(written: &[Written<'_>]) -> Result<(), Failure> {
    let mut first: BTreeMap<(&Path, &Thing), &Written<'_>> = BTreeMap::new();
    for later in written.iter().filter(|sink| sink.thing != Thing::Parts) {
        let place = (later.file.as_path(), &later.thing);
        let Some(earlier) = first.get(&place) else {
            first.insert(place, later);
            continue;
        };
        if matches!(later.thing, Thing::Table(_)) && agrees(earlier.write, later.write) {
            continue;
        }
        let title = format!("{} is written by two sinks that do not agree", later.file.display());
        let help = match later.thing {
            Thing::Table(_) => "write to a table of its own, or in the same way: INSERT both, or one KEY for both",
            _ => "write to a file of its own, or to a folder, in which every step has files of its own",
        };
        return Err(Failure::usage("two-writers", title).seen(said(earlier)).seen(said(later)).help(help));
    }
    Ok(())
}

fn said(written: &Written<'_>) -> String {
    format!("{}, step {}: {}", written.pipeline, written.step, written.place.text)
}

/// Whether neither takes the other's rows away.
fn agrees(one: &WritePlan, other: &WritePlan) -> bool {
    let sorted = |columns: &[String]| {
        let mut columns = columns.to_vec();
        columns.sort_unstable();
        columns
    };
    match (one, other) {
        (WritePlan::Insert { .. }, WritePlan::Insert { .. }) => true,
        (WritePlan::Upsert { key: one, .. }, WritePlan::Upsert { key: other, .. })
        | (WritePlan::Replace { per: one, .. }, WritePlan::Replace { per: other, .. }) => sorted(one) == sorted(other),
        _ => false,
    }
}

fn feedback(members: &[Member<'_>], written: &[Written<'_>], secrets: &Secrets<'_>) -> Result<(), Failure> {
    // Who reads what a pipeline writes, and through which sink.
    let mut readers: BTreeMap<&str, Vec<(&str, &Written<'_>, String)>> = BTreeMap::new();
    let mut by_file: BTreeMap<&Path, Vec<&Written<'_>>> = BTreeMap::new();
    for sink in written {
        by_file.entry(&sink.file).or_default().push(sink);
    }
    let reads =
        members.iter().flat_map(|(plan, folder)| plan.sources().into_iter().map(move |source| (plan, folder, source)));
    for (plan, folder, source) in reads {
        for sink in taken_in(&source.place, folder, &by_file, secrets) {
            readers.entry(sink.pipeline).or_default().push((&plan.pipeline, sink, source.place.text.clone()));
        }
    }
    for (plan, _) in members {
        let mut ways = vec![vec![plan.pipeline.as_str()]];
        let mut seen: Vec<&str> = vec![];
        while let Some(way) = ways.pop() {
            let last = way.last().copied().unwrap_or_default();
            for (reader, sink, source) in readers.get(last).into_iter().flatten() {
                if *reader == plan.pipeline {
                    return Err(comes_back(&way, sink, source));
                }
                if !seen.contains(reader) {
                    seen.push(reader);
                    ways.push(way.iter().copied().chain([*reader]).collect());
                }
            }
        }
    }
    Ok(())
}

/// Sinks whose rows a source would take in.
fn taken_in<'s, 'a>(
    place: &Place,
    folder: &Path,
    by_file: &BTreeMap<&Path, Vec<&'s Written<'a>>>,
    secrets: &Secrets<'_>,
) -> Vec<&'s Written<'a>> {
    let of = |file: &Path| by_file.get(file).cloned().unwrap_or_default();
    if let Some((file, thing)) = table(place, folder, secrets) {
        return of(&file).into_iter().filter(|sink| sink.thing == thing).collect();
    }
    if !["file", "parquet", "arrow"].contains(&place.connector.as_str()) {
        return vec![];
    }
    let path = first_text(place, secrets).map(|path| match path.ends_with('/') {
        // What a folder means to a source whose files have one ending.
        true => format!("{path}*.{}", place.connector),
        false => path,
    });
    match path.and_then(|path| Wanted::of(&folder.join(path))) {
        None => vec![],
        Some(Wanted::File(file)) => of(&file),
        // Names in order: those below a folder lie together.
        Some(Wanted::Pattern(folder, pattern)) => by_file
            .range::<Path, _>((Bound::Included(folder.as_path()), Bound::Unbounded))
            .take_while(|(file, _)| file.starts_with(&folder))
            .filter(|(file, _)| pattern.matches_path_with(file, OPTIONS))
            .flat_map(|(_, sinks)| sinks.iter().copied())
            .collect(),
    }
}

/// A table of a database, and what stands for the file that holds it.
fn table(place: &Place, folder: &Path, secrets: &Secrets<'_>) -> Option<(PathBuf, Thing)> {
    let file = match place.connector.as_str() {
        "postgres" => address(&text(place, 0, "url", secrets)?),
        "sqlite" => real(&folder.join(first_text(place, secrets)?)),
        _ => return None,
    };
    Some((file, Thing::Table(text(place, 1, "table", secrets)?.to_lowercase())))
}

fn comes_back(way: &[&str], sink: &Written<'_>, source: &str) -> Failure {
    let first = way.first().copied().unwrap_or_default();
    let failure = Failure::usage("feedback-loop", format!("{first} reads what it writes")).seen(format!(
        "{} is {}, and {source} takes it in",
        said(sink),
        sink.file.display()
    ));
    let failure = match way {
        [_] => failure,
        way => failure.seen(format!("the way round: {} → {first}", way.join(" → "))),
    };
    failure.help("write to another place than the one that is read")
}

fn written<'a>((plan, folder): Member<'a>, secrets: &Secrets<'_>) -> Vec<Written<'a>> {
    let mut found = vec![];
    plan.each_step(&mut |step: &'a Step| {
        if let StepKind::Sink(sink) = &step.kind {
            found.extend(written_by(plan, folder, step, sink, secrets));
        }
    });
    found
}

/// A database has no path: its address without who asks, and how, stands for one.
fn address(url: &str) -> PathBuf {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    let place = place.split_once("://").map_or(place, |(_, place)| place);
    PathBuf::from(format!("postgres://{}", place.rsplit_once('@').map_or(place, |(_, place)| place)))
}

fn written_by<'a>(
    plan: &'a Plan,
    folder: &Path,
    step: &'a Step,
    sink: &'a SinkPlan,
    secrets: &Secrets<'_>,
) -> Option<Written<'a>> {
    let place = &sink.place;
    if let Some((file, thing)) = table(place, folder, secrets) {
        return Some(Written { pipeline: &plan.pipeline, step: &step.id, place, file, thing, write: &sink.write });
    }
    let path = first_text(place, secrets)?;
    let there = folder.join(&path);
    let parts =
        |extension: &str| (there.join(format!("{}-{}-00000001.{extension}", plan.pipeline, step.id)), Thing::Parts);
    let (file, thing) = match place.connector.as_str() {
        "file" if path.ends_with('/') || there.is_dir() => parts("ndjson"),
        "file" => (there.clone(), Thing::File),
        "parquet" => parts("parquet"),
        "arrow" => parts("arrow"),
        _ => return None,
    };
    Some(Written { pipeline: &plan.pipeline, step: &step.id, place, file: real(&file), thing, write: &sink.write })
}

fn first_text(place: &Place, secrets: &Secrets<'_>) -> Option<String> {
    text(place, 0, "path", secrets)
}

/// An argument of a place; none where it cannot be known yet, which its connector will say.
fn text(place: &Place, position: usize, name: &str, secrets: &Secrets<'_>) -> Option<String> {
    let args = arguments(place, secrets).ok()?;
    args.positional.get(position).or(args.named.get(name))?.as_str().map(str::to_owned)
}

/// The path without links and detours, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut rest = vec![];
    let mut at = path;
    loop {
        let known = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        if let Ok(found) = fs::canonicalize(known) {
            return rest.iter().rev().fold(found, |path: PathBuf, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return path.to_owned() };
        rest.push(name);
        at = parent;
    }
}

/// What a source reads.
enum Wanted {
    File(PathBuf),
    /// The folders before the first special character as they really are, and the whole.
    Pattern(PathBuf, Pattern),
}

impl Wanted {
    fn of(path: &Path) -> Option<Wanted> {
        let special = |part: &Path| part.to_string_lossy().contains(['*', '?', '[']);
        if path.exists() || !special(path) {
            return Some(Wanted::File(real(path)));
        }
        let fixed: PathBuf = path.components().take_while(|part| !special(part.as_ref())).collect();
        let (rest, fixed) = (path.strip_prefix(&fixed).ok()?, real(&fixed));
        let pattern = format!("{}/{}", Pattern::escape(&fixed.to_string_lossy()), rest.display());
        Some(Wanted::Pattern(fixed, Pattern::new(&pattern).ok()?))
    }
}
