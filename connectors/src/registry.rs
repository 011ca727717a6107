//! The connectors that there are: one line each, with what they can do as data.
//!
//! `check` asks this list and touches nothing; `open_source` and `open_sink` make the thing itself, and touch nothing either until
//! the engine calls its `open`.

use std::sync::{Arc, atomic::AtomicBool};

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    changelog::Changelog,
    sink::{Delivery, Sink, Write},
};
use syncline_functions::csv::Dialect;
use syncline_record::StepId;

pub use crate::sources::{Asked, ShapeError, SourceRequest, open_lookup, open_source, shape};
use crate::{
    file, http, kafka,
    keyset::KEY,
    parquet, postgres, pull,
    spec::{Args, Argument, Arguments, ConnectorError, Surroundings},
    sqlite, stdout,
};

/// What a pipeline file can name after `FROM` and `INTO`.
#[derive(Debug)]
pub struct Connector {
    pub name: &'static str,
    pub help: &'static str,
    pub source: Option<SourceAbility>,
    pub sink: Option<SinkAbility>,
    /// Has tables that are asked for the rows of a key (`open_lookup`), or read whole for a join (`open_source`).
    pub keyed: bool,
    /// Keeps changelogs of pipelines (`open_changelog`).
    pub changelog: bool,
    pub arguments: &'static [Argument],
    pub example: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAbility {
    /// Ends by itself, unless it is followed.
    pub bounded: bool,
    /// Takes `FOLLOW`: goes on when all is read.
    pub follow: bool,
    /// What the records of a text can be: `json`, `csv`. None: it has types of its own.
    pub formats: &'static [&'static str],
    /// Records have keys beside their values, and one may be a key alone.
    pub keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkAbility {
    pub kind: SinkKind,
    pub writes: Writes,
    /// The most that it keeps.
    pub delivery: Delivery,
    /// It keeps less where less is asked for, and has less trouble then.
    pub relaxes: bool,
    /// Wants named columns; else it can take whole records as they came.
    pub needs_columns: bool,
    /// Can stand at the end of a pipeline that never ends.
    pub endless_ok: bool,
    /// What the text that it writes can be: `json`, `csv`.
    pub formats: &'static [&'static str],
    /// Columns that are no part of what it writes as the row, but stand beside it, and the types that they may have.
    pub beside: &'static [(&'static str, &'static [&'static str])],
}

/// How a sink and a checkpoint come together (`engine::sink`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkKind {
    Transactional,
    Staged,
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes {
    pub insert: bool,
    pub upsert: bool,
    pub replace: bool,
}

impl Writes {
    const INSERT: Self = Self { insert: true, upsert: false, replace: false };
    const KEYED: Self = Self { insert: true, upsert: true, replace: false };
    const ALL: Self = Self { insert: true, upsert: true, replace: true };

    fn words(self) -> Vec<&'static str> {
        let words = [(self.insert, "INSERT"), (self.upsert, "UPSERT"), (self.replace, "REPLACE")];
        words.into_iter().filter_map(|(can, word)| can.then_some(word)).collect()
    }
}

/// Parts of typed columns, which appear when they are whole.
const TYPED_PARTS: SinkAbility = SinkAbility {
    kind: SinkKind::Staged,
    writes: Writes::INSERT,
    delivery: Delivery::ExactlyOnce,
    relaxes: false,
    needs_columns: true,
    endless_ok: true,
    formats: &[],
    beside: &[],
};

/// Rows as records under the names of their columns.
const TABLE: SourceAbility = SourceAbility { bounded: true, follow: false, formats: &["json"], keys: false };

const CONNECTORS: &[Connector] = &[
    Connector {
        name: "arrow",
        help: "Arrow files and streams. As a source: one file, a pattern, or a folder; as a sink: a folder of files, which appear when they are full, when their time is up, or at the end.",
        source: Some(SourceAbility { bounded: true, follow: false, formats: &[], keys: false }),
        sink: Some(TYPED_PARTS),
        keyed: false,
        changelog: false,
        arguments: parquet::ARGUMENTS,
        example: "FROM arrow('in/*.arrow')",
    },
    Connector {
        name: "file",
        help: "Records in files: lines of JSON, or CSV. As a source: one file, or a pattern; as a sink: a folder of parts, or one file that appears when all is written.",
        source: Some(SourceAbility { bounded: true, follow: true, formats: &["json", "csv"], keys: false }),
        sink: Some(SinkAbility {
            kind: SinkKind::Staged,
            writes: Writes::INSERT,
            delivery: Delivery::ExactlyOnce,
            relaxes: false,
            needs_columns: false,
            endless_ok: true,
            formats: &["json", "csv"],
            beside: &[],
        }),
        keyed: false,
        changelog: false,
        arguments: file::ARGUMENTS,
        example: "FROM file('events/*.ndjson')",
    },
    Connector {
        name: "http",
        help: "Records that others POST to this server. They are durable before the answer goes out.",
        source: Some(SourceAbility { bounded: false, follow: false, formats: &["json"], keys: false }),
        sink: None,
        keyed: false,
        changelog: false,
        arguments: http::ARGUMENTS,
        example: "FROM http('/orders')",
    },
    Connector {
        name: "http_get",
        help: "What an address on the web gives: lines of JSON, an array, or CSV; taken again only when it is new.",
        source: Some(SourceAbility { bounded: true, follow: false, formats: &["json", "csv"], keys: false }),
        sink: None,
        keyed: false,
        changelog: false,
        arguments: pull::ARGUMENTS,
        example: "FROM http_get('https://example.com/prices.csv')",
    },
    Connector {
        name: "kafka",
        help: "A topic of Apache Kafka. Read as it is committed; written in transactions that hold our position too.",
        source: Some(SourceAbility {
            bounded: false,
            follow: false,
            formats: &["json", "csv", "raw", "avro", "protobuf"],
            keys: true,
        }),
        sink: Some(SinkAbility {
            kind: SinkKind::Transactional,
            writes: Writes::KEYED,
            delivery: Delivery::ExactlyOnce,
            relaxes: true,
            needs_columns: false,
            endless_ok: true,
            formats: &["json"],
            beside: kafka::BESIDE,
        }),
        keyed: false,
        changelog: true,
        arguments: kafka::ARGUMENTS,
        example: "FROM kafka('orders', brokers => 'localhost:9092')",
    },
    Connector {
        name: "parquet",
        help: "Parquet files. As a source: one file, a pattern, or a folder; as a sink: a folder of files, which appear when they are full, when their time is up, or at the end.",
        source: Some(SourceAbility { bounded: true, follow: false, formats: &[], keys: false }),
        sink: Some(TYPED_PARTS),
        keyed: false,
        changelog: false,
        arguments: parquet::ARGUMENTS,
        example: "INSERT INTO parquet('out/orders/')",
    },
    Connector {
        name: "postgres",
        help: "A table of a PostgreSQL database. As a source: its rows in chunks by its key, to the last; as a sink: the rows and how far we are commit together.",
        source: Some(TABLE),
        sink: Some(SinkAbility {
            kind: SinkKind::Transactional,
            writes: Writes::ALL,
            delivery: Delivery::ExactlyOnce,
            relaxes: false,
            needs_columns: true,
            endless_ok: true,
            formats: &[],
            beside: &[],
        }),
        keyed: false,
        changelog: false,
        arguments: postgres::ARGUMENTS,
        example: "UPSERT INTO postgres(secret('shop/url'), 'orders') KEY (id)",
    },
    Connector {
        name: "sqlite",
        help: "A table of a SQLite database. As a source: its rows in chunks by its key, to the last; as a sink: the rows and how far we are commit together.",
        source: Some(TABLE),
        sink: Some(SinkAbility {
            kind: SinkKind::Transactional,
            writes: Writes::ALL,
            delivery: Delivery::ExactlyOnce,
            relaxes: false,
            needs_columns: true,
            endless_ok: true,
            formats: &[],
            beside: &[],
        }),
        keyed: true,
        changelog: false,
        arguments: sqlite::ARGUMENTS,
        example: "UPSERT INTO sqlite('shop.db', 'orders') KEY (id)",
    },
    Connector {
        name: "stdout",
        help: "Prints every row as a line of JSON.",
        source: None,
        sink: Some(SinkAbility {
            kind: SinkKind::Plain,
            writes: Writes::INSERT,
            delivery: Delivery::AtLeastOnce,
            relaxes: false,
            needs_columns: false,
            endless_ok: true,
            formats: &["json"],
            beside: &[],
        }),
        keyed: false,
        changelog: false,
        arguments: &[],
        example: "INSERT INTO stdout()",
    },
];

pub fn registry() -> &'static [Connector] {
    CONNECTORS
}

pub fn connector(name: &str) -> Result<&'static Connector, ConnectorError> {
    let found = CONNECTORS.iter().find(|connector| connector.name == name);
    found.ok_or_else(|| ConnectorError::NoSuchConnector { name: name.to_owned() })
}

/// What a step asks of a sink.
pub struct SinkRequest<'a> {
    pub args: &'a Args,
    pub around: &'a Surroundings,
    pub pipeline: &'a str,
    pub step: &'a StepId,
    pub write: Write,
    /// Columns of the rows, hidden ones included.
    pub schema: SchemaRef,
    /// Columns of `INSERT INTO … KEY`.
    pub keys: Vec<String>,
    /// The pipeline never ends.
    pub endless: bool,
    /// It writes CSV, so; else what it writes by itself.
    pub csv: Option<Dialect>,
}

/// A sink, not opened yet.
pub fn open_sink(name: &str, request: SinkRequest) -> Result<Sink, ConnectorError> {
    let arguments = checked(name, &request)?;
    match name {
        "file" => Ok(Sink::Staged(file::sink(&arguments, &request)?)),
        "parquet" => Ok(Sink::Staged(parquet::sink(parquet::Parts::Parquet, &arguments, &request)?)),
        "arrow" => Ok(Sink::Staged(parquet::sink(parquet::Parts::Arrow, &arguments, &request)?)),
        "postgres" => Ok(Sink::Outbox(Box::new(postgres::PostgresSink::new(&arguments, &request)?))),
        "sqlite" => Ok(Sink::Outbox(Box::new(sqlite::SqliteSink::new(&arguments, &request)?))),
        "kafka" => Ok(Sink::Outbox(Box::new(kafka::KafkaSink::new(&arguments, &request)?))),
        "stdout" => Ok(Sink::Outbox(Box::new(stdout::StdoutSink::new(&request.schema)))),
        _ => Err(ConnectorError::NotASink { name: name.to_owned() }),
    }
}

/// Whether [`columns_there`] looks at anything for this connector.
pub fn shows_columns(name: &str) -> bool {
    name == "sqlite"
}

/// The columns of the place that a sink writes to, where it is there and has columns of its own. Only looks.
pub fn columns_there(name: &str, args: &Args, around: &Surroundings) -> Option<Vec<String>> {
    let arguments = Arguments::checked(connector(name).ok()?, args).ok()?;
    match name {
        "sqlite" => sqlite::columns(&around.path(arguments.text("path")), arguments.text("table")),
        _ => None,
    }
}

/// The changelog of a task; nothing outside is touched. Its calls are waited for until `stop` is said, and for a moment longer.
pub fn open_changelog(
    name: &str,
    args: &Args,
    around: &Surroundings,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn Changelog>, ConnectorError> {
    let arguments = Arguments::checked(connector(name)?, args)?;
    match name {
        "kafka" => Ok(Box::new(kafka::KafkaChangelog::new(&arguments, around, stop.clone())?)),
        _ => Err(ConnectorError::NotASink { name: name.to_owned() }),
    }
}

/// What all processes of a pipeline find beside its changelogs (`syncline_engine::board`); its topic is made by whoever writes it first.
pub fn open_board(
    name: &str,
    args: &Args,
    around: &Surroundings,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn Changelog>, ConnectorError> {
    let arguments = Arguments::checked(connector(name)?, args)?;
    match name {
        "kafka" => Ok(Box::new(kafka::KafkaChangelog::board(&arguments, around, stop.clone())?)),
        _ => Err(ConnectorError::NotASink { name: name.to_owned() }),
    }
}

/// This process's part in the group of those that run the tasks of a changelog. `worker`: its name there, over its restarts.
pub fn open_members(
    name: &str,
    args: &Args,
    around: &Surroundings,
    worker: &str,
) -> Result<Arc<kafka::Members>, ConnectorError> {
    let arguments = Arguments::checked(connector(name)?, args)?;
    Ok(Arc::new(kafka::Members::join(&arguments, around, worker)?))
}

/// Whether what is given to a connector can be right, as far as that can be told without going anywhere. Of a connection, what its
/// objects add is left open.
pub fn check(name: &str, args: &Args, around: &Surroundings) -> Result<(), ConnectorError> {
    match name {
        "kafka" => kafka::check(&Arguments::checked(connector(name)?, &kafka::named(args))?, around),
        _ => Ok(()),
    }
}

/// What a connection says of itself.
pub type Told = Vec<(&'static str, String)>;

/// Goes to a place with what a connection says, and tells who answers there; none where nobody would. In the server's words when it
/// does not let us in.
pub fn look(name: &str, args: &Args, around: &Surroundings) -> Option<Result<Told, String>> {
    match name {
        "kafka" => Some(kafka::look(args, around)),
        "postgres" => Some(postgres::look(args, around)),
        _ => None,
    }
}

/// Whether `open_sink` would give one; nothing outside is touched or asked.
pub fn check_sink(name: &str, request: &SinkRequest) -> Result<(), ConnectorError> {
    let arguments = checked(name, request)?;
    match name {
        "file" => file::sink(&arguments, request).map(drop),
        "parquet" => parquet::sink(parquet::Parts::Parquet, &arguments, request).map(drop),
        "arrow" => parquet::sink(parquet::Parts::Arrow, &arguments, request).map(drop),
        "kafka" => kafka::KafkaSink::new(&arguments, request).map(drop),
        "postgres" => postgres::PostgresSink::new(&arguments, request).map(drop),
        "sqlite" => sqlite::SqliteSink::new(&arguments, request).map(drop),
        _ => Ok(()),
    }
}

fn checked<'a>(name: &str, request: &SinkRequest<'a>) -> Result<Arguments<'a>, ConnectorError> {
    let connector = connector(name)?;
    let Some(ability) = connector.sink else { return Err(ConnectorError::NotASink { name: name.to_owned() }) };
    let (able, asked) = match &request.write {
        Write::Insert => (ability.writes.insert, "INSERT"),
        Write::Upsert { .. } => (ability.writes.upsert, "UPSERT"),
        Write::Replace { .. } => (ability.writes.replace, "REPLACE"),
    };
    if !able {
        let can = ability.writes.words();
        return Err(ConnectorError::CannotWrite { name: name.to_owned(), asked, can });
    }
    let named = request.schema.fields().iter().any(|field| !field.name().starts_with("__"));
    if ability.needs_columns && !named {
        return Err(ConnectorError::NeedsColumns { name: name.to_owned() });
    }
    let arguments = Arguments::checked(connector, request.args)?;
    if connector.source == Some(TABLE) && !arguments.text(KEY.name).is_empty() {
        let (name, because) =
            (name.to_owned(), "it says how a table is read; a write has its key behind it: KEY (a, b)");
        return Err(ConnectorError::CannotKeepWords { name, words: "key =>", because });
    }
    Ok(arguments)
}
