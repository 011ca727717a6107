//! A pipeline file, read and compiled with what can be reached of its inputs.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use syncline_connectors::{
    Argument, ArgumentKind, Surroundings, columns_there, registry, registry::shows_columns, spec::Callable,
};
use syncline_dsl::{
    Checked, Samples,
    catalog::{ArgumentFacts, CallFacts, Catalog, ConnectorFacts, SinkFacts, SourceFacts},
    compile,
    plan::{Plan, StepKind, Value},
};
use syncline_syntax::{Diagnostic, Severity, render};

use crate::{bind, command::Format, outcome::Failure, sample, shapes};

/// Records of a file that `check` looks at: enough to meet every field of ordinary data, little enough to cost nothing.
const SAMPLE_RECORDS: usize = 1000;

pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

impl SourceFile {
    pub fn read(path: &Path) -> Result<SourceFile, Failure> {
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::usage("file-unreadable", format!("{} cannot be read: {}", path.display(), words(&error)))
                .help("`syncline init` writes a first pipeline file")
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::usage("file-not-utf8", format!("{} is not UTF-8 from byte {at}", path.display()))
                .help("save the file as UTF-8")
        })?;
        Ok(SourceFile { path: path.to_owned(), text })
    }

    /// The folder that relative paths are taken from.
    pub fn folder(&self) -> PathBuf {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    }

    /// The name that messages show.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Compiles, with a look at the first records of files that its pipelines read, and at the tables that they write.
    pub fn compile(&self) -> Checked {
        self.compile_and_look().0
    }

    /// The same, and whether it depends on nothing but the text: there was nothing to look at.
    pub fn compile_and_look(&self) -> (Checked, bool) {
        let catalog = catalog();
        let mut samples = Samples::default();
        let mut checked = compile(&self.text, &catalog, &samples);
        // What is written wrong reads and writes nothing yet.
        let mut alone = checked.typed.is_empty() && errors(&checked.diagnostics) == 0;
        samples.shapes = shapes::of(&checked.typed, &self.folder());
        if !samples.shapes.is_empty() {
            checked = compile(&self.text, &catalog, &samples);
        }
        samples = Samples { shapes: samples.shapes, ..self.samples(&checked.plan.pipelines) };
        alone &= !self.looks(&checked.plan.pipelines);
        match samples.by_pipeline.is_empty() && samples.tables.is_empty() {
            true => (checked, alone),
            false => (compile(&self.text, &catalog, &samples), alone),
        }
    }

    /// Compiles for a run: every diagnostic is shown, errors end it.
    pub fn compiled(&self, format: Format) -> Result<Checked, Failure> {
        let checked = self.compile();
        self.show(&checked.diagnostics, format);
        let errors = errors(&checked.diagnostics);
        if errors > 0 {
            let what = if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") };
            return Err(Failure::usage("file-wrong", format!("{} has {what}; nothing was started", self.name())));
        }
        Ok(checked)
    }

    /// Shows diagnostics on stderr: text, or JSON lines for machines.
    pub fn show(&self, diagnostics: &[Diagnostic], format: Format) {
        if diagnostics.is_empty() {
            return;
        }
        match format {
            Format::Json | Format::Ndjson => {
                for diagnostic in diagnostics {
                    eprintln!("{}", diagnostic.to_json(&self.name(), &self.text));
                }
            }
            _ => {
                let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                eprintln!("{}", render(diagnostics, &self.name(), &self.text, colour));
                eprintln!("{}", more(diagnostics));
            }
        }
    }

    /// Whether there is anything outside that a look could find, now or later.
    fn looks(&self, pipelines: &[Plan]) -> bool {
        let mut looks = pipelines.iter().any(|plan| plan.source.place.connector == "file");
        pipelines.iter().for_each(|plan| {
            plan.each_step(&mut |step| {
                looks |= matches!(&step.kind, StepKind::Sink(sink) if shows_columns(&sink.place.connector))
            });
        });
        looks
    }

    fn samples(&self, pipelines: &[Plan]) -> Samples {
        let mut by_pipeline = BTreeMap::new();
        for plan in pipelines.iter().filter(|plan| plan.source.place.connector == "file") {
            if let Some(Value::Text(_)) = plan.source.place.positional.first() {
                let records = sample::texts(&plan.source, &self.folder(), SAMPLE_RECORDS);
                if !records.is_empty() {
                    by_pipeline.insert(plan.pipeline.clone(), records);
                }
            }
        }
        Samples {
            by_pipeline,
            tables: pipelines.iter().flat_map(|plan| self.tables(plan)).collect(),
            ..Samples::default()
        }
    }

    /// The columns of the tables that are there, by the steps that write to them.
    fn tables(&self, plan: &Plan) -> Vec<((String, String), Vec<String>)> {
        let around = Surroundings::folder(self.folder());
        let no_secret = |path: &str| Err(format!("{path} is not needed to look at a table"));
        let mut found = vec![];
        plan.each_step(&mut |step| {
            let StepKind::Sink(sink) = &step.kind else { return };
            let there = bind::arguments(&sink.place, &no_secret)
                .ok()
                .and_then(|args| columns_there(&sink.place.connector, &args, &around));
            found.extend(there.map(|columns| ((plan.pipeline.clone(), step.id.clone()), columns)));
        });
        found
    }
}

/// Where the page of each message is.
fn more(diagnostics: &[Diagnostic]) -> String {
    let mut slugs: Vec<&str> = vec![];
    for diagnostic in diagnostics {
        if !slugs.contains(&diagnostic.slug) {
            slugs.push(diagnostic.slug);
        }
    }
    let pages: Vec<String> = slugs.iter().map(|slug| format!("syncline explain {slug}")).collect();
    format!("more: {}", pages.join(" · "))
}

pub fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
}

/// What the compiler may know of the connectors.
pub fn catalog() -> Catalog {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let connectors = registry().iter().map(|connector| ConnectorFacts {
        name: connector.name.to_owned(),
        help: connector.help.to_owned(),
        example: connector.example.to_owned(),
        source: connector.source.map(|source| SourceFacts {
            endless: !source.bounded,
            until: connector.arguments.iter().any(|argument| argument.name == "until"),
            follow: source.follow,
            formats: words(source.formats),
            typed: source.formats.is_empty(),
            keys: source.keys,
        }),
        sink: connector.sink.map(|sink| SinkFacts {
            insert: sink.writes.insert,
            upsert: sink.writes.upsert,
            replace: sink.writes.replace,
            needs_columns: sink.needs_columns,
            delivery: sink.delivery.as_str().to_owned(),
            relaxes: sink.relaxes,
            formats: words(sink.formats),
            beside: sink.beside.iter().map(|(name, kinds)| ((*name).to_owned(), words(kinds))).collect(),
        }),
        keyed: connector.keyed,
        changelog: connector.changelog,
        arguments: arguments(connector.arguments),
    });
    Catalog { connectors: connectors.collect() }
}

fn arguments(arguments: &[Argument]) -> Vec<ArgumentFacts> {
    let facts = |argument: &Argument| ArgumentFacts {
        name: argument.name.to_owned(),
        kind: argument.kind.as_str().to_owned(),
        required: argument.required,
        positional: argument.positional,
        help: argument.help.to_owned(),
        choices: match argument.kind {
            ArgumentKind::Choice(words) => words.iter().map(|word| word.to_string()).collect(),
            _ => vec![],
        },
        calls: match argument.kind {
            ArgumentKind::Call(callables) => callables.iter().map(call).collect(),
            _ => vec![],
        },
    };
    arguments.iter().map(facts).collect()
}

fn call(callable: &Callable) -> CallFacts {
    let (name, example) = (callable.name.to_owned(), callable.example.to_owned());
    CallFacts { name, example, arguments: arguments(callable.arguments) }
}

/// The system's words without its error number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
