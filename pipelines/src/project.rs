//! The pipeline files that a command is given: files, and folders of them, compiled and put together.
//!
//! A folder stands for every `*.sync` file in it and in the folders below it; what is hidden is left out. `CONNECTION` and
//! `SCHEMA` hold in their own file. Names of pipelines are unique among all files, since a data folder keeps what it knows of a
//! pipeline under its name. One file that is wrong is a project that is wrong: nothing is started by halves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use syncline_connectors::Task;
use syncline_dsl::plan::{Place, Plan, Value};
use syncline_record::keys;
use syncline_syntax::{Span, ast};

use crate::{
    bind::ingest_topic,
    command::Format,
    compiler::Compiler,
    outcome::Failure,
    source_file::{SourceFile, errors, words},
    streams::Declared,
    world::DATA_FOLDER,
};

/// What a file of pipelines ends with.
const EXTENSION: &str = "sync";
/// Folders below a folder that are looked into; more is a cycle or a mistake.
const DEEPEST: usize = 16;

/// Where pipelines are declared, and which of them are wanted.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub paths: Vec<PathBuf>,
    /// Names of the pipelines that are wanted; empty: all.
    pub only: Vec<String>,
    /// Folders without a file are no mistake: files come later.
    pub may_be_empty: bool,
}

/// A file as it would be.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub path: &'a Path,
    /// `None`: it is gone.
    pub text: Option<&'a str>,
}

/// A pipeline and the file that declares it; of a pipeline with several tasks, one of them.
pub struct Member {
    /// As the file names it.
    pub declared: String,
    pub plan: Plan,
    pub file: Arc<SourceFile>,
    pub task: Task,
}

impl Member {
    fn whole(plan: Plan, file: &Arc<SourceFile>) -> Arc<Self> {
        Arc::new(Self { declared: plan.pipeline.clone(), plan, file: file.clone(), task: Task::default() })
    }

    /// Each task is run, kept and shown as a pipeline by itself, `name.0` and so on.
    /// Where rows have to change places on their way, behind which steps are run apart, `name.step.0` and so on.
    fn tasks(self: Arc<Self>) -> Vec<Arc<Self>> {
        let of = self.plan.options.tasks;
        if of <= 1 {
            return vec![self];
        }
        let task = |stage: &Plan, number: u32| {
            let plan = Plan { pipeline: format!("{}.{number}", stage.pipeline), ..stage.clone() };
            let declared = self.declared.clone();
            Arc::new(Self { declared, plan, file: self.file.clone(), task: Task { number, of } })
        };
        self.plan.stages().iter().flat_map(|stage| (0..of).map(|number| task(stage, number))).collect()
    }

    pub fn name(&self) -> &str {
        &self.plan.pipeline
    }

    /// What this task does of a whole plan.
    pub fn part_of(&self, whole: Plan) -> Option<Plan> {
        let Task { number, of } = self.task;
        if of <= 1 {
            return Some(whole);
        }
        let part = |stage: Plan| Plan { pipeline: format!("{}.{number}", stage.pipeline), ..stage };
        whole.stages().into_iter().map(part).find(|part| part.pipeline == self.name())
    }

    /// The tasks that read what the file names first, and what stands beside it; the others have their rows from hops.
    pub fn readers(&self) -> Vec<String> {
        match self.task.of {
            ..=1 => vec![self.declared.clone()],
            of => (0..of).map(|number| format!("{}.{number}", self.declared)).collect(),
        }
    }

    /// Of all that makes another revision of it.
    pub fn digest(&self) -> String {
        let said = serde_json::json!([self.plan.digest(), self.plan.options, self.plan.schedule]);
        keys::hex128(keys::content_hash(said.to_string().as_bytes()))
    }

    /// Whether the other one does the same in the same place.
    pub fn is_as(&self, other: &Member) -> bool {
        let same_place = self.file.path == other.file.path;
        let same_times = self.plan.schedule == other.plan.schedule;
        // Most are, and to see that is much less work than a digest.
        let same = || self.plan == other.plan || self.plan.digest() == other.plan.digest();
        same_place && same_times && self.plan.options == other.plan.options && same()
    }

    /// The topics that its `http` sources read.
    pub fn inlets(&self) -> Vec<String> {
        self.plan.sources().into_iter().filter_map(|source| Self::inlet(&source.place)).collect()
    }

    fn inlet(place: &Place) -> Option<String> {
        let named = place.named.iter().find(|(name, _)| name == "path").map(|(_, value)| value);
        match place.positional.first().or(named) {
            Some(Value::Text(path)) if place.connector == "http" => Some(ingest_topic(path)),
            _ => None,
        }
    }
}

/// Everything that one process runs.
pub struct Project {
    /// In the order of the files, and of the pipelines in them.
    pub pipelines: Vec<Arc<Member>>,
    /// Who reads the streams of whom, pipelines that are not wanted now included.
    pub streams: Declared,
}

impl Project {
    /// Reads and compiles. Diagnostics are shown as they are found.
    pub fn read(scope: &Scope, compiler: &Compiler, format: Format) -> Result<Project, Failure> {
        Self::of(&found(&scope.paths, scope.may_be_empty)?, scope, None, (compiler, format))
    }

    /// The same as if a file were another one, of which nothing is shown: whoever asks has looked at it.
    pub fn as_if(scope: &Scope, change: Change<'_>, compiler: &Compiler, format: Format) -> Result<Project, Failure> {
        let mut files = found(&scope.paths, true)?;
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let changed = real(change.path);
        files.retain(|path| real(path) != changed);
        Self::of(&files, scope, Some(change), (compiler, format))
    }

    fn of(
        paths: &[PathBuf],
        scope: &Scope,
        change: Option<Change<'_>>,
        (compiler, format): (&Compiler, Format),
    ) -> Result<Project, Failure> {
        let (mut mistakes, mut wrong, mut members) = (0, vec![], vec![]);
        let written = change.and_then(|change| Some((change.path.to_owned(), change.text?.to_owned())));
        let written = written.map(|(path, text)| Ok(SourceFile { path, text })).into_iter();
        for (changed, file) in
            paths.iter().map(|path| (false, SourceFile::read(path))).chain(written.map(|file| (true, file)))
        {
            let file = Arc::new(file?);
            let checked = compiler.compile(&file)?;
            if !changed {
                compiler.show(&file, format);
            }
            let found = errors(&checked.diagnostics);
            if found > 0 {
                mistakes += found;
                wrong.push(file.name());
            }
            members.extend(checked.plan.pipelines.iter().map(|plan| Member::whole(plan.clone(), &file)));
        }
        if mistakes > 0 {
            let what = if mistakes == 1 { "an error".to_owned() } else { format!("{mistakes} errors") };
            let verb = if wrong.len() == 1 { "has" } else { "have" };
            return Err(Failure::usage("file-wrong", format!("{} {verb} {what}; nothing was started", listed(&wrong))));
        }
        names_once(&members)?;
        let streams = Declared::of(members.iter().map(|member| &member.plan));
        let chosen = chosen(members, scope)?;
        Ok(Project { pipelines: chosen.into_iter().flat_map(Member::tasks).collect(), streams })
    }
}

/// The pipeline files that these paths stand for, in order, each once; a folder without one is a mistake.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    found(paths, false)
}

/// The files that a process runs.
pub fn every(scope: &Scope) -> Result<Vec<PathBuf>, Failure> {
    found(&scope.paths, scope.may_be_empty)
}

fn found(paths: &[PathBuf], may_be_empty: bool) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = vec![];
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            walk(path, DEEPEST, &mut found)?;
            if found.len() == before && !may_be_empty {
                return Err(Failure::usage("no-pipeline", format!("{} holds no *.{EXTENSION} file", path.display()))
                    .help("`syncline init DIR` writes a first pipeline file"));
            }
        } else {
            found.push(path.clone());
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    Ok(found)
}

fn walk(folder: &Path, deeper: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage("file-unreadable", format!("{} cannot be read: {}", folder.display(), words(&error)))
            .help("check its permissions")
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // A link to a file is a file, as a mounted configuration has them; a link to a folder may lead round in a circle.
        let is_link = path.symlink_metadata().is_ok_and(|there| there.is_symlink());
        if hidden {
            continue;
        } else if path.is_dir() && !is_link && deeper > 0 {
            walk(&path, deeper - 1, found)?;
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(path);
        }
    }
    Ok(())
}

/// The data folder of these paths: in the folder that is named, or beside the files. Where they lie in several, nobody can guess it,
/// and a wrong guess would start from nothing.
pub fn data_folder(given: Option<&Path>, paths: &[PathBuf]) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let beside = |path: &PathBuf| match path.parent() {
        _ if path.is_dir() => path.clone(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let real = |folder: &PathBuf| fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
    let folders: Vec<PathBuf> = paths.iter().map(beside).collect();
    let first = folders.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    match folders.iter().find(|folder| real(folder) != real(&first)) {
        None => Ok(first.join(DATA_FOLDER)),
        Some(other) => Err(Failure::usage(
            "which-data-folder",
            "these files lie in several folders, which have no data folder in common",
        )
        .seen(first.display().to_string())
        .seen(other.display().to_string())
        .help("name the data folder: --data DIR")),
    }
}

/// Two files may not declare one name.
fn names_once(members: &[Arc<Member>]) -> Result<(), Failure> {
    let mut seen: BTreeMap<String, &Member> = BTreeMap::new();
    let place = |member: &Member| {
        let place = declared(&member.file).into_iter().find(|(name, _)| *name == member.declared);
        place.map_or_else(|| member.file.name(), |(_, place)| place)
    };
    for member in members {
        if let Some(first) = seen.insert(member.declared.to_lowercase(), member) {
            return Err(Failure::usage("duplicate-name", format!("two files declare a pipeline {}", member.declared))
                .seen(place(first))
                .seen(place(member))
                .help("rename one of them: what is known of a pipeline is kept under its name"));
        }
    }
    Ok(())
}

/// The names of a file's pipelines, each with its place. A name that stands twice in one file is a diagnostic of that file.
pub fn declared(file: &SourceFile) -> Vec<(String, String)> {
    let (parsed, _) = syncline_syntax::parse(&file.text);
    let pipelines = parsed.statements.iter().filter_map(|statement| match statement {
        ast::Statement::Pipeline(pipeline) => Some(&pipeline.name),
        _ => None,
    });
    pipelines.map(|name| (name.text.clone(), place(file, name.span))).collect()
}

fn place(file: &SourceFile, span: Span) -> String {
    let before = &file.text[..span.start.min(file.text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}", file.name())
}

fn chosen(members: Vec<Arc<Member>>, scope: &Scope) -> Result<Vec<Arc<Member>>, Failure> {
    let Scope { paths, only, may_be_empty } = scope;
    let shown = || listed(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    let there: Vec<&str> = members.iter().map(|member| member.name()).collect();
    if let Some(name) = only.iter().find(|name| !there.contains(&name.as_str())) {
        return Err(Failure::usage("no-such-pipeline", format!("{} has no pipeline `{name}`", shown()))
            .help(format!("it has {}", there.join(", "))));
    }
    let wanted = |member: &Arc<Member>| only.is_empty() || only.iter().any(|name| name == member.name());
    let members: Vec<_> = members.into_iter().filter(wanted).collect();
    match members.is_empty() && !may_be_empty {
        true => Err(Failure::usage("no-pipeline", format!("{} declares no pipeline", shown()))),
        false => Ok(members),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn pipeline(name: &str) -> String {
        format!("PIPELINE {name} AS FROM file('a.ndjson') |> INSERT INTO file('out/{name}/');\n")
    }

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read(folder: &TempDir, names: &[&str]) -> Result<Vec<String>, Failure> {
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
        let project = Project::read(&Scope { paths, ..Scope::default() }, &Compiler::default(), Format::Table)?;
        Ok(project.pipelines.iter().map(|member| member.name().to_owned()).collect())
    }

    #[test]
    fn a_folder_stands_for_its_files_and_those_below_and_hidden_ones_are_left_out() {
        let folder = folder(&[
            ("b.sync", &pipeline("b")),
            ("a/one.sync", &pipeline("one")),
            (".hidden.sync", "no pipeline at all"),
            (".syncline/c.sync", "nor this"),
            ("notes.txt", "nor this"),
        ]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("round")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("b.sync"), folder.path().join("again.sync")).unwrap();
        assert_eq!(read(&folder, &[""]).unwrap(), ["one", "b"]);
        assert_eq!(read(&folder, &["b.sync", ""]).unwrap(), ["b", "one"]);
    }

    #[test]
    fn one_name_in_two_files_is_told_with_both_places() {
        let folder = folder(&[("a.sync", &pipeline("orders")), ("b.sync", &format!("\n  {}", pipeline("Orders")))]);
        let failure = read(&folder, &[""]).unwrap_err();
        let place = |name: &str, at: &str| format!("{}:{at}", folder.path().join(name).display());
        assert_eq!(
            (&*failure.slug, failure.detail),
            ("duplicate-name", vec![place("a.sync", "1:10"), place("b.sync", "2:12")])
        );
    }

    #[test]
    fn one_wrong_file_keeps_all_from_starting() {
        let folder = folder(&[("a.sync", &pipeline("orders")), ("b.sync", "PIPELINE p AS FROM fil('a');")]);
        let failure = read(&folder, &[""]).unwrap_err();
        let title = format!("{} has 2 errors; nothing was started", folder.path().join("b.sync").display());
        assert_eq!((failure.exit, failure.title), (crate::outcome::Exit::Usage, title));
        let empty = TempDir::new().unwrap();
        assert_eq!(read(&empty, &[""]).unwrap_err().slug, "no-pipeline");
    }

    #[test]
    fn the_data_folder_lies_beside_the_files_or_has_to_be_named() {
        let folder = folder(&[("a/x.sync", ""), ("b/y.sync", "")]);
        let path = |name: &str| folder.path().join(name);
        assert_eq!(data_folder(None, &[path("a")]).unwrap(), path("a/.syncline"));
        assert_eq!(data_folder(None, &[path("a/x.sync"), path("a")]).unwrap(), path("a/.syncline"));
        assert_eq!(data_folder(None, &[path("a"), path("b")]).unwrap_err().slug, "which-data-folder");
        assert_eq!(data_folder(Some(&path("c")), &[path("a"), path("b")]).unwrap(), path("c"));
    }

    #[test]
    fn a_pipeline_is_the_same_until_its_meaning_or_its_options_change() {
        let folder = folder(&[("a.sync", &pipeline("a"))]);
        let member = |text: &str| {
            fs::write(folder.path().join("a.sync"), text).unwrap();
            let scope = Scope { paths: vec![folder.path().join("a.sync")], ..Scope::default() };
            Project::read(&scope, &Compiler::default(), Format::Table).unwrap().pipelines.remove(0)
        };
        let before = member(&pipeline("a"));
        assert!(before.is_as(&member(&format!("-- a comment\n{}", pipeline("a")))));
        assert!(!before.is_as(&member(&pipeline("a").replace("AS", "WITH (restart = 'never') AS"))));
        assert!(!before.is_as(&member(&pipeline("a").replace("AS", "EVERY '1 hour' AS"))));
        assert!(!before.is_as(&member(&pipeline("a").replace("|>", "|> WHERE id > 1 |>"))));
    }
}
