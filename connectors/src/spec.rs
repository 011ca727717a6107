//! The arguments of a connector as a pipeline file gives them, and what can be wrong with them.
//!
//! `file('events/*.ndjson')` has one argument by position; `file(path => 'events/*.ndjson')` has the same by name. A connector
//! declares its arguments as data; [`Arguments`] checks a call against them once, so that reading one afterwards cannot fail.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use syncline_engine::sink::Delivery;
use syncline_record::{
    Micros,
    amount::{self, Rate},
    duration,
};

use crate::{registry::Connector, staged::parts::path_safe};

/// What a file wrote between the parentheses, with `env()` and `secret()` already replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    pub positional: Vec<Value>,
    pub named: BTreeMap<String, Value>,
}

impl Args {
    /// Only positional arguments, all of them text.
    pub fn texts(texts: &[&str]) -> Self {
        Self { positional: texts.iter().map(|text| Value::from(*text)).collect(), named: BTreeMap::new() }
    }
}

/// In the data folder: what is on its way to or from elsewhere, by pipeline.
const STAGED: &str = "staged";

/// Where a pipeline stands.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The folder of the pipeline file: relative paths are taken from here.
    pub folder: PathBuf,
    /// A folder of ours, for what is on its way to or from elsewhere.
    pub staging: PathBuf,
    /// The pipeline itself; empty where nothing runs.
    pub pipeline: String,
    /// Which of its tasks.
    pub task: Task,
    /// What it asks of its sinks, where the file says it: no more is needed.
    pub delivery: Option<Delivery>,
}

/// One of several tasks that share the partitions of what a pipeline reads: each has those whose number, divided by `of`, leaves its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub number: u32,
    pub of: u32,
}

impl Default for Task {
    fn default() -> Self {
        Self { number: 0, of: 1 }
    }
}

impl Task {
    pub fn has(self, partition: u32) -> bool {
        partition % self.of.max(1) == self.number
    }
}

impl Surroundings {
    /// Of one pipeline. `data`: the folder of everything that is ours.
    pub fn of(folder: PathBuf, data: &Path, pipeline: &str) -> Self {
        Self {
            folder,
            staging: data.join(STAGED).join(path_safe(pipeline)),
            pipeline: pipeline.to_owned(),
            task: Task::default(),
            delivery: None,
        }
    }

    /// A folder without a place for what is on its way.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..Self::default() }
    }

    pub fn path(&self, written: &str) -> PathBuf {
        match self.folder.as_os_str().is_empty() {
            true => Path::new(".").join(written),
            false => self.folder.join(written),
        }
    }
}

/// One argument of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: &'static str,
    pub kind: ArgumentKind,
    pub required: bool,
    /// May be given by position; the order of the positional ones is their order in the list.
    pub positional: bool,
    pub help: &'static str,
    pub example: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    Text,
    Number,
    Boolean,
    Duration,
    /// `'25 MB'`
    Size,
    /// `'100 per second'`
    Rate,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `secret('a/b')`, or a list of them while one replaces the other; never a text of the file.
    Secret,
    /// A call of one of these: `github(secret('a/b'))`.
    Call(&'static [Callable]),
}

/// What an argument can call, with arguments of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callable {
    pub name: &'static str,
    pub help: &'static str,
    pub arguments: &'static [Argument],
    pub example: &'static str,
}

/// The first argument of whatever shares a secret with somebody.
pub const SECRET: Argument = Argument {
    name: "secret",
    kind: ArgumentKind::Secret,
    required: true,
    positional: true,
    help: "The secret that both sides know; a list of two while one replaces the other.",
    example: "secret('github/webhook')",
};

/// How far a signed time may be from ours.
pub const TOLERANCE: Argument = Argument {
    name: "tolerance",
    kind: ArgumentKind::Duration,
    required: false,
    positional: false,
    help: "How far the time of signing may be from now: 5 minutes, if not said.",
    example: "'1 minute'",
};

/// What Slack and Standard Webhooks ask of a receiver.
const FIVE_MINUTES: Micros = 300_000_000;

impl ArgumentKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Rate => "rate",
            Self::Choice(_) => "choice",
            Self::Secret => "secret",
            Self::Call(_) => "call",
        }
    }

    /// What a message says that it takes.
    fn wanted(self) -> String {
        match self {
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            other => other.as_str().to_owned(),
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Duration => value.as_str().is_some_and(|text| duration::microseconds(text).is_ok()),
            Self::Size => value.as_str().is_some_and(|text| amount::bytes(text).is_ok()),
            Self::Rate => value.as_str().is_some_and(|text| amount::rate(text).is_ok()),
            Self::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::Secret => match value {
                Value::Array(several) => several.iter().all(Value::is_string),
                one => one.is_string(),
            },
            Self::Call(_) => value.is_object(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

/// Why a connector cannot be opened as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorError {
    #[error("there is no connector `{name}`")]
    NoSuchConnector { name: String },
    #[error("`{name}` cannot be read from")]
    NotASource { name: String },
    #[error("`{name}` cannot be written to")]
    NotASink { name: String },
    /// `http`: its rows come through the server's ingest topics, which only the server can open.
    #[error("`{name}` takes its rows from the server")]
    FedByTheServer { name: String },
    #[error("`{name}` cannot {asked}; it can {}", can.join(", "))]
    CannotWrite { name: String, asked: &'static str, can: Vec<&'static str> },
    /// The words of a write that a place cannot keep.
    #[error("`{name}` cannot keep `{words}`: {because}")]
    CannotKeepWords { name: String, words: &'static str, because: &'static str },
    #[error("`{connector}` has no argument `{argument}`; it has {}", has.join(", "))]
    NoSuchArgument { connector: String, argument: String, has: Vec<&'static str> },
    #[error("`{connector}` wants `{argument}`")]
    MissingArgument { connector: String, argument: &'static str },
    #[error("`{argument}` of `{connector}` is given twice")]
    ArgumentTwice { connector: String, argument: &'static str },
    #[error("`{connector}` takes {most} arguments by position; {given} are given")]
    TooManyArguments { connector: String, most: usize, given: usize },
    #[error("`{argument}` of `{connector}` is {wanted}; `{found}` is given")]
    WrongType { connector: String, argument: &'static str, wanted: String, found: String },
    #[error("`{argument}` has no `{name}`; it has {}", has.join(", "))]
    NoSuchCall { argument: &'static str, name: String, has: Vec<&'static str> },
    /// Never shows the secret.
    #[error("a secret of `{scheme}` cannot be used: {detail}")]
    BadSecret { scheme: String, detail: &'static str },
    #[error("what is signed cannot be `{written}`: {detail}")]
    BadTemplate { written: String, detail: &'static str },
    /// A pipeline that never ends would never show a single file; a Parquet target is always a folder.
    #[error("`{path}` is one file, and {because}; write a folder: `{fix}`")]
    NeedsFolder { path: String, because: &'static str, fix: String },
    #[error("`{name}` wants named columns; the rows are whole records")]
    NeedsColumns { name: String },
    #[error("column `{column}` has type {found}, which `{connector}` cannot keep")]
    CannotKeep { connector: String, column: String, found: String },
    #[error("`{pattern}` is not a pattern of file names: {detail}")]
    NotAPattern { pattern: String, detail: String },
    #[error("`{address}` is no address that can be used: {detail}")]
    NotAnAddress { address: String, detail: String },
    #[error("the key column `{column}` is not among the columns of the rows")]
    NoSuchKey { column: String },
}

/// The arguments of one call, checked against what is called.
pub struct Arguments<'a> {
    what: String,
    values: BTreeMap<&'static str, &'a Value>,
}

impl<'a> Arguments<'a> {
    pub fn checked(connector: &Connector, args: &'a Args) -> Result<Self, ConnectorError> {
        Self::of(connector.name, connector.arguments, args)
    }

    /// Checks what `what(…)` is given against the arguments that it has.
    pub fn of(what: &str, arguments: &'static [Argument], args: &'a Args) -> Result<Self, ConnectorError> {
        let by_position: Vec<&Argument> = arguments.iter().filter(|argument| argument.positional).collect();
        let name = || what.to_owned();
        if args.positional.len() > by_position.len() {
            let (most, given) = (by_position.len(), args.positional.len());
            return Err(ConnectorError::TooManyArguments { connector: name(), most, given });
        }
        let mut values = BTreeMap::new();
        for (argument, value) in by_position.iter().zip(&args.positional) {
            values.insert(argument.name, value);
        }
        for (given, value) in &args.named {
            let Some(argument) = arguments.iter().find(|argument| argument.name == given) else {
                let has = arguments.iter().map(|argument| argument.name).collect();
                return Err(ConnectorError::NoSuchArgument { connector: name(), argument: given.clone(), has });
            };
            if values.insert(argument.name, value).is_some() {
                return Err(ConnectorError::ArgumentTwice { connector: name(), argument: argument.name });
            }
        }
        for argument in arguments {
            match values.get(argument.name) {
                None if argument.required => {
                    return Err(ConnectorError::MissingArgument { connector: name(), argument: argument.name });
                }
                Some(value) if !argument.kind.takes(value) => {
                    let wanted = argument.kind.wanted();
                    let found =
                        if argument.kind == ArgumentKind::Secret { "…".to_owned() } else { value.to_string() };
                    return Err(ConnectorError::WrongType {
                        connector: name(),
                        argument: argument.name,
                        wanted,
                        found,
                    });
                }
                _ => {}
            }
        }
        Ok(Self { what: name(), values })
    }

    /// The call that an argument of kind [`Call`](ArgumentKind::Call) holds, as binding writes it: an object with `function`,
    /// `positional`, and the named arguments beside them.
    pub fn of_call(
        argument: &'static str,
        callables: &'static [Callable],
        call: &Value,
    ) -> Result<(&'static Callable, Args), ConnectorError> {
        let name = call["function"].as_str().unwrap_or_default();
        let Some(callable) = callables.iter().find(|callable| callable.name.eq_ignore_ascii_case(name)) else {
            let has = callables.iter().map(|callable| callable.name).collect();
            return Err(ConnectorError::NoSuchCall { argument, name: name.to_owned(), has });
        };
        let mut args =
            Args { positional: call["positional"].as_array().cloned().unwrap_or_default(), ..Args::default() };
        for (name, value) in call.as_object().into_iter().flatten() {
            if !["function", "positional"].contains(&name.as_str()) {
                args.named.insert(name.clone(), value.clone());
            }
        }
        Ok((callable, args))
    }

    /// Whose arguments these are.
    pub fn of_what(&self) -> &str {
        &self.what
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.values.get(name).copied()
    }

    /// An argument of kind [`Size`](ArgumentKind::Size), in bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        amount::bytes(self.value(name)?.as_str()?).ok()
    }

    pub fn rate(&self, name: &str) -> Option<Rate> {
        amount::rate(self.value(name)?.as_str()?).ok()
    }

    /// An argument of kind [`Duration`](ArgumentKind::Duration).
    pub fn duration(&self, name: &str) -> Option<Micros> {
        // What does not fit in signed microseconds is no duration.
        duration::microseconds(self.value(name)?.as_str()?).ok().map(|micros| micros as Micros)
    }

    /// [`TOLERANCE`], or what it is when it is not said.
    pub fn tolerance(&self) -> Micros {
        self.duration(TOLERANCE.name).unwrap_or(FIVE_MINUTES)
    }

    /// An argument of kind [`Secret`](ArgumentKind::Secret); of several the first.
    pub fn secret(&self, name: &str) -> Option<&'a str> {
        match self.value(name)? {
            Value::Array(several) => several.first()?.as_str(),
            one => one.as_str(),
        }
    }

    /// A text argument; empty when it is optional and absent.
    pub fn text(&self, name: &str) -> &'a str {
        self.values.get(name).and_then(|value| value.as_str()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::{SourceRequest, connector, open_source};

    fn wrong(positional: &[Value], named: &[(&str, Value)]) -> String {
        let named = named.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let args = Args { positional: positional.to_vec(), named };
        Arguments::checked(connector("sqlite").unwrap(), &args).err().unwrap().to_string()
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        assert_eq!(wrong(&[json!("a.db")], &[]), "`sqlite` wants `table`");
        assert_eq!(wrong(&[json!("a.db"), json!(7)], &[]), "`table` of `sqlite` is text; `7` is given");
        assert_eq!(
            wrong(&[json!("a"), json!("b"), json!("c")], &[]),
            "`sqlite` takes 2 arguments by position; 3 are given"
        );
        assert_eq!(wrong(&[json!("a")], &[("path", json!("b"))]), "`path` of `sqlite` is given twice");
        assert_eq!(
            wrong(&[], &[("tabel", json!("b"))]),
            "`sqlite` has no argument `tabel`; it has path, table, key, sql"
        );
    }

    #[test]
    fn what_is_no_source_is_named() {
        let open = |name| {
            let (args, around) = (Args::texts(&["x"]), Surroundings::default());
            open_source(name, SourceRequest::new(&args, &around)).err().map(|error| error.to_string())
        };
        assert_eq!(open("pulsar"), Some("there is no connector `pulsar`".to_owned()));
        assert_eq!(open("parquet"), None);
        assert_eq!(open("http"), Some("`http` takes its rows from the server".to_owned()));
        assert_eq!(open("file"), None);
    }
}
