//! A pipeline file, read and compiled with what can be reached of its inputs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
};

use syncline_connectors::registry;
use syncline_dsl::{
    Checked, Samples,
    catalog::{ArgumentFacts, Catalog, ConnectorFacts, SinkFacts, SourceFacts},
    compile,
    plan::{Plan, Value},
};
use syncline_syntax::{Diagnostic, Severity, render};

use crate::{command::Format, outcome::Failure};

/// Records of a file that `check` looks at: enough to meet every field of ordinary data, little enough to cost nothing.
const SAMPLE_RECORDS: usize = 1000;
const SAMPLE_BYTES: u64 = 1 << 20;

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

    /// Compiles, with a look at the first records of files that its pipelines read.
    pub fn compile(&self) -> Checked {
        let catalog = catalog();
        let checked = compile(&self.text, &catalog, &Samples::default());
        let samples = self.samples(&checked.plan.pipelines);
        match samples.by_pipeline.is_empty() {
            true => checked,
            false => compile(&self.text, &catalog, &samples),
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
            }
        }
    }

    fn samples(&self, pipelines: &[Plan]) -> Samples {
        let mut by_pipeline = BTreeMap::new();
        for plan in pipelines.iter().filter(|plan| plan.source.place.connector == "file") {
            if let Some(Value::Text(pattern)) = plan.source.place.positional.first() {
                let records = sample(&self.folder().join(pattern));
                if !records.is_empty() {
                    by_pipeline.insert(plan.pipeline.clone(), records);
                }
            }
        }
        Samples { by_pipeline }
    }
}

pub fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
}

/// The first records of the first file that matches. A file that cannot be read gives none: the run itself will say why.
fn sample(pattern: &Path) -> Vec<String> {
    let first = glob::glob(&pattern.to_string_lossy()).ok().and_then(|mut paths| paths.find_map(Result::ok));
    let Some(file) = first.and_then(|path| File::open(path).ok()) else { return vec![] };
    let lines = BufReader::new(file.take(SAMPLE_BYTES)).lines();
    lines.map_while(Result::ok).filter(|line| !line.trim().is_empty()).take(SAMPLE_RECORDS).collect()
}

/// What the compiler may know of the connectors.
pub fn catalog() -> Catalog {
    let connectors = registry().iter().map(|connector| ConnectorFacts {
        name: connector.name.to_owned(),
        help: connector.help.to_owned(),
        example: connector.example.to_owned(),
        source: connector.source.map(|source| SourceFacts { endless: !source.bounded, follow: source.follow }),
        sink: connector.sink.map(|sink| SinkFacts {
            insert: sink.writes.insert,
            upsert: sink.writes.upsert,
            replace: sink.writes.replace,
            needs_columns: sink.needs_columns,
            delivery: word(sink.delivery).to_owned(),
        }),
        arguments: connector
            .arguments
            .iter()
            .map(|argument| ArgumentFacts {
                name: argument.name.to_owned(),
                kind: argument.kind.as_str().to_owned(),
                required: argument.required,
                positional: argument.positional,
                help: argument.help.to_owned(),
            })
            .collect(),
    });
    Catalog { connectors: connectors.collect() }
}

fn word(delivery: syncline_engine::sink::Delivery) -> &'static str {
    use syncline_engine::sink::Delivery;
    match delivery {
        Delivery::AtLeastOnce => "at least once",
        Delivery::EffectivelyOnce => "effectively once",
        Delivery::ExactlyOnce => "exactly once",
    }
}

/// The system's words without its error number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
