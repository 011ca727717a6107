//! What the compiler knows of the world outside: plain data, filled from the connectors' registry.

/// Connectors by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub connectors: Vec<ConnectorFacts>,
}

/// What one connector can do.
#[derive(Clone, Debug, Default)]
pub struct ConnectorFacts {
    pub name: String,
    pub help: String,
    pub example: String,
    pub source: Option<SourceFacts>,
    pub sink: Option<SinkFacts>,
    /// Has tables that are asked for the rows of a key (`LOOKUP`), or read whole (`JOIN`).
    pub keyed: bool,
    /// A pipeline can keep its state there (`changelog`); what is read there can be read from any machine.
    pub changelog: bool,
    pub arguments: Vec<ArgumentFacts>,
}

#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// Never ends (`http`).
    pub endless: bool,
    /// Takes `until`, with which it ends (`kafka`).
    pub until: bool,
    /// Takes `FOLLOW`, which makes it endless (`file`).
    pub follow: bool,
    /// What `FORMAT` can be: `json`, `csv`.
    pub formats: Vec<String>,
    /// Its files say what their columns are (`parquet`).
    pub typed: bool,
    /// Records have keys beside their values, and one may be a key alone (`kafka`).
    pub keys: bool,
}

#[derive(Clone, Debug, Default)]
pub struct SinkFacts {
    pub insert: bool,
    pub upsert: bool,
    pub replace: bool,
    /// Wants named columns: an open record needs a `SELECT` first.
    pub needs_columns: bool,
    /// `exactly once`, `effectively once`, `at least once`.
    pub delivery: String,
    /// It keeps less where a pipeline asks for less.
    pub relaxes: bool,
    /// What `FORMAT` can be: `json`, `csv`.
    pub formats: Vec<String>,
    /// Columns that stand beside what it writes as the row (`_headers`), and the types that they may have.
    pub beside: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, Default)]
pub struct ArgumentFacts {
    pub name: String,
    /// `text`, `number`, `boolean`, `duration`, `size`, `rate`, `choice`, `secret`, `call`.
    pub kind: String,
    pub required: bool,
    /// May be given by position.
    pub positional: bool,
    pub help: String,
    /// The words of a `choice`.
    pub choices: Vec<String>,
    /// What a `call` may name.
    pub calls: Vec<CallFacts>,
}

/// What an argument may call, with arguments of its own: `github(secret('a/b'))`.
#[derive(Clone, Debug, Default)]
pub struct CallFacts {
    pub name: String,
    pub example: String,
    pub arguments: Vec<ArgumentFacts>,
}

/// Whatever takes arguments.
#[derive(Clone, Copy)]
pub struct Callee<'c> {
    pub name: &'c str,
    pub example: &'c str,
    pub arguments: &'c [ArgumentFacts],
}

impl ConnectorFacts {
    pub fn callee(&self) -> Callee<'_> {
        Callee { name: &self.name, example: &self.example, arguments: &self.arguments }
    }
}

impl CallFacts {
    pub fn callee(&self) -> Callee<'_> {
        Callee { name: &self.name, example: &self.example, arguments: &self.arguments }
    }
}

impl Catalog {
    pub fn connector(&self, name: &str) -> Option<&ConnectorFacts> {
        self.connectors.iter().find(|connector| connector.name == name)
    }
}
