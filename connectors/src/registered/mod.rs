//! Records that say by a number which schema they were written with, and the registry that knows it.
//!
//! A record is a zero byte, four bytes of the schema's id, and the value. Each schema is asked for once and kept. A record of a schema that
//! the registry does not have, or that is not what its schema says, is a dead letter of its own; a registry that is away stops the
//! source for a while, as a broker that is away does.

pub mod avro;
pub mod client;
pub mod datum;
pub mod protobuf;

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::Field;
use syncline_engine::source::SourceError;
use syncline_record::Reason;

use self::{
    avro::Avro,
    client::{Client, Registered},
    datum::Datum,
    protobuf::Protobuf,
};
use crate::typed::Column;

/// What records are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Avro,
    Protobuf,
}

/// The first byte of every record: the number of this framing.
const MAGIC: u8 = 0;
/// Bytes before the value.
const HEAD: usize = 5;
/// Schemas that are kept. A topic has a few; more is a writer who makes ids up.
const KEPT: usize = 10_000;

/// A writer's schema, ready to read by.
#[derive(Debug)]
pub enum Schema {
    Avro(Avro),
    Protobuf(Protobuf),
}

/// What stands before a record's value: its schema, and the way to its message in it, where that has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    id: u32,
    way: Vec<usize>,
}

impl Format {
    /// As a pipeline file calls it.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Avro, Self::Protobuf].into_iter().find(|format| format.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
        }
    }

    /// Why something is no record of it.
    fn none(self, why: String) -> Reason {
        Reason::new(format!("not-{}", self.word()), why)
    }

    /// What the registry calls it.
    fn kind(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

impl Schema {
    fn of(found: Registered) -> Result<Self, String> {
        let Registered { kind, text, named } = found;
        let texts: Vec<String> = named.into_iter().map(|(_, text)| text).chain([text]).collect();
        match kind.as_str() {
            "AVRO" => Avro::parse(&texts).map(Self::Avro),
            "PROTOBUF" => Protobuf::parse(&texts).map(Self::Protobuf),
            kind => Err(format!("it is {kind}")),
        }
    }

    pub fn format(&self) -> Format {
        match self {
            Self::Avro(_) => Format::Avro,
            Self::Protobuf(_) => Format::Protobuf,
        }
    }

    /// The columns of records with this head.
    pub fn fields(&self, head: &Head) -> Result<Vec<Field>, Reason> {
        match self {
            Self::Avro(avro) => Ok(avro.fields()),
            Self::Protobuf(protobuf) => {
                let none = || Format::Protobuf.none("its schema has no such message".to_owned());
                protobuf.columns(&head.way).ok_or_else(none)
            }
        }
    }

    /// The columns of records, where nothing is known of them but their topic: of the first message of a file.
    pub fn usual(&self) -> Vec<Field> {
        self.fields(&Head { id: 0, way: vec![0] }).unwrap_or_default()
    }

    /// A value for each column, out of a record with its head.
    pub fn read(&self, record: &[u8]) -> Result<Vec<Datum>, Reason> {
        let value = record.get(HEAD..).unwrap_or_default();
        match self {
            Self::Avro(avro) => avro.read(value).map_err(|why| Format::Avro.none(why)),
            Self::Protobuf(protobuf) => protobuf.read(value).map_err(|why| Format::Protobuf.none(why)),
        }
    }
}

/// The head of a record.
pub fn head_of(record: &[u8], format: Format) -> Result<Head, Reason> {
    let (id, value) = match record {
        [MAGIC, one, two, three, four, value @ ..] => (u32::from_be_bytes([*one, *two, *three, *four]), value),
        [MAGIC, ..] | [] => {
            return Err(format.none(format!("{} bytes are less than the head of a record", record.len())));
        }
        [first, ..] => {
            let why = format!("begins with byte {first:#04x}, and not with the 0 before a schema's id");
            return Err(format.none(why));
        }
    };
    let way = match format {
        Format::Avro => vec![],
        Format::Protobuf => Protobuf::way(value).map_err(|why| format.none(why))?,
    };
    Ok(Head { id, way })
}

/// The schemas of a registry, as far as records asked for them.
pub struct Schemas {
    client: Client,
    format: Format,
    known: HashMap<u32, Result<Arc<Schema>, Reason>>,
}

impl Schemas {
    pub fn new(client: Client, format: Format) -> Self {
        Self { client, format, known: HashMap::new() }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The schema of records with this head, or why they cannot be read.
    pub fn get(&mut self, head: &Head) -> Result<Result<Arc<Schema>, Reason>, SourceError> {
        let id = head.id;
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let slug = || "no-schema".to_owned();
        let found = match self.client.by_id(id)? {
            None => Err(Reason::new(slug(), format!("the {} has no schema {id}", self.client.place()))),
            Some(found) => match Schema::of(found) {
                Ok(schema) if schema.format() == self.format => Ok(Arc::new(schema)),
                Ok(_) => Err(Reason::new(slug(), format!("schema {id} is no {}", self.format.kind()))),
                Err(why) => Err(Reason::new(slug(), format!("schema {id} cannot be used: {why}"))),
            },
        };
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(id, found.clone());
        Ok(found)
    }
}

/// What the schemas of a topic's values are registered under.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The newest schema of a topic's values. None: there is no such subject, or its schemas are of JSON.
pub fn newest(client: &Client, topic: &str) -> Result<Option<Schema>, SourceError> {
    let found = client.latest(&subject(topic))?.filter(|found| found.kind != "JSON");
    found.map(|found| usable(client, topic, found)).transpose()
}

fn usable(client: &Client, topic: &str, found: Registered) -> Result<Schema, SourceError> {
    Schema::of(found).map_err(|why| client.unreadable(format!("{} cannot be used: {why}", subject(topic))))
}

/// The columns of the newest schema of a topic's values.
pub fn shape(client: &Client, topic: &str) -> Result<Vec<Column>, SourceError> {
    let Some(found) = client.latest(&subject(topic))? else {
        return Err(client.unreadable(format!("it has no subject {}", subject(topic))));
    };
    Ok(usable(client, topic, found)?.usual().into_iter().map(Ok).collect())
}
