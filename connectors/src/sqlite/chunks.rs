//! A table or view that is read in chunks by its key (`FROM`), each of one moment. Nothing is made, and no writer waits for longer than one
//! chunk takes.

use std::os::unix::fs::MetadataExt;

use rusqlite::{
    Connection, Row, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use syncline_engine::source::SourceError;
use syncline_functions::base64;

use super::{
    key::Key,
    place::{Column, TablePlace},
    quoted,
    token::Tokens,
    whole::put,
};
use crate::{
    keyset::{self, Chunk, Identity, block::Block, block::ROWS},
    registry::Asked,
    spec::{Arguments, Surroundings},
    system_words,
};

/// As many rows are counted in some milliseconds.
const COUNTED: u64 = 1_000_000;

/// What the table is called in a statement: with it in front, a name in quotes that no column has is a mistake and no text.
const ALIAS: &str = "t";

#[derive(Clone)]
pub struct SqliteChunks {
    place: TablePlace,
    /// The columns that the pipeline names.
    named: Vec<String>,
    /// The others are wanted too.
    all: bool,
    tokens: Tokens,
    /// The key as the pipeline file says it.
    key: Vec<String>,
}

impl SqliteChunks {
    pub(crate) fn new(arguments: &Arguments, around: &Surroundings, asked: Asked, all: bool) -> Self {
        Self {
            place: TablePlace::of(arguments, around),
            named: asked.columns.to_vec(),
            all,
            tokens: Tokens::of(asked),
            key: keyset::said_key(arguments),
        }
    }

    /// Which table it is: the file, not what it is called, and what a VACUUM changes where that counts.
    fn identity(&self, connection: &Connection, key: &Key) -> Result<Identity, SourceError> {
        let file = self
            .place
            .file()
            .map_err(|error| SourceError::Again { what: self.place.what(), detail: system_words(&error) })?;
        let mut holder = format!("file {}", file.ino());
        if key.passing {
            let version = version(connection).map_err(|error| self.place.trouble(error))?;
            holder = format!("{holder}, schema {version}");
        }
        let columns = key.columns.iter().map(|column| column.text()).collect();
        Ok(Identity { holder, table: self.place.table.clone(), key: columns })
    }
}

/// It grows with every change of the schema, and with a VACUUM.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT schema_version FROM pragma_schema_version", [], |row| row.get(0))
}

impl keyset::Place for SqliteChunks {
    type Table = OpenTable;

    fn what(&self) -> String {
        self.place.what()
    }

    fn open(&self) -> Result<OpenTable, SourceError> {
        let connection = self.place.connect()?;
        let columns = self.place.wanted(&connection, &self.named, self.all)?;
        let key = Key::of(&self.place, &connection, &self.key)?;
        let trouble = |error| self.place.trouble(error);
        if !key.sure && connection.query_row(&key.null_sql(&self.place.table), [], |row| row.get(0)).map_err(trouble)? {
            let detail =
                "has rows in which a column of its key is NULL, and they would not be read; name other columns in \
                          key => '…', or leave those rows out in the view"
                    .to_owned();
            return Err(SourceError::Unreadable { what: self.place.what(), detail });
        }
        let identity = self.identity(&connection, &key)?;
        let wanted = columns.iter().map(|column| format!("{ALIAS}.{}", quoted(&column.there)));
        let key_columns = key.columns.iter().map(|column| format!("{ALIAS}.{}", quoted(&column.name)));
        let listed: Vec<String> = wanted.chain(key_columns).collect();
        let select = format!("SELECT {} FROM {} AS {ALIAS}", listed.join(", "), quoted(&self.place.table));
        // One more than a chunk holds says whether something is behind it.
        let order = format!("ORDER BY {} LIMIT {}", key.listed(), ROWS + 1);
        Ok(OpenTable {
            first: format!("{select} {order}"),
            next: format!("{select} WHERE {} {order}", key.behind()),
            place: self.place.clone(),
            tokens: self.tokens.clone(),
            connection,
            columns,
            key,
            identity,
        })
    }
}

pub struct OpenTable {
    place: TablePlace,
    tokens: Tokens,
    connection: Connection,
    columns: Vec<Column>,
    key: Key,
    identity: Identity,
    /// The first rows, and those behind a key.
    first: String,
    next: String,
}

/// A value of a key, as a cursor keeps it: SQLite gets back exactly what it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyValue {
    Null,
    Integer(i64),
    /// Its bits.
    Real(u64),
    Text(String),
    /// Base64 of a text that is not UTF-8, and of a BLOB.
    Bytes(String),
    Blob(String),
}

impl KeyValue {
    fn of(value: ValueRef) -> Self {
        let packed = |bytes: &[u8]| {
            let mut text = vec![];
            base64::encode(bytes, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number.to_bits()),
            ValueRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Bytes(packed(text)),
            },
            ValueRef::Blob(bytes) => Self::Blob(packed(bytes)),
        }
    }

    fn given(&self) -> Given {
        let unpacked = |text: &str| base64::decode(text.as_bytes()).unwrap_or_default();
        match self {
            Self::Null => Given::Null,
            Self::Integer(number) => Given::Integer(*number),
            Self::Real(bits) => Given::Real(f64::from_bits(*bits)),
            Self::Text(text) => Given::Text(text.clone().into_bytes()),
            Self::Bytes(text) => Given::Text(unpacked(text)),
            Self::Blob(text) => Given::Blob(unpacked(text)),
        }
    }
}

/// A value of a key on its way to SQLite.
enum Given {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for Given {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl OpenTable {
    fn changed(&self, detail: &str) -> SourceError {
        SourceError::Changed { what: self.place.what(), detail: detail.to_owned() }
    }

    fn values(&self, key: &keyset::Key) -> Result<Vec<KeyValue>, SourceError> {
        let values: Result<Vec<KeyValue>, _> = key.iter().map(KeyValue::deserialize).collect();
        let values = values.ok().filter(|values| values.len() == self.key.columns.len());
        values.ok_or_else(|| self.changed("its cursor cannot be read; run with --fresh to read it again"))
    }

    fn key_of(&self, row: &Row) -> rusqlite::Result<Vec<KeyValue>> {
        let behind = self.columns.len();
        (0..self.key.columns.len()).map(|index| Ok(KeyValue::of(row.get_ref(behind + index)?))).collect()
    }

    fn twice(&self, number: u64) -> SourceError {
        let names: Vec<&str> = self.key.columns.iter().map(|column| column.name.as_str()).collect();
        let names = names.join(", ");
        let detail = format!(
            "has two rows with the same key ({names}), rows {} and {number}: a chunk could end between them; \
             name columns in key => '…' that no two rows share",
            number - 1
        );
        SourceError::Unreadable { what: self.place.what(), detail }
    }

    fn read(&self, after: &[KeyValue], block: &mut Block) -> rusqlite::Result<Result<Chunk, SourceError>> {
        if self.key.passing && !self.identity.holder.ends_with(&format!(", schema {}", version(&self.connection)?)) {
            return Ok(Err(self.changed(PASSED)));
        }
        let sql = if after.is_empty() { &self.first } else { &self.next };
        let mut statement = self.connection.prepare_cached(sql)?;
        for (index, value) in after.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value.given())?;
        }
        let mut rows = statement.raw_query();
        let mut last: Option<Vec<KeyValue>> = None;
        while let Some(row) = rows.next()? {
            let key = self.key_of(row)?;
            if !self.key.sure && last.as_ref().is_some_and(|last| same(last, &key)) {
                return Ok(Err(self.twice(block.next())));
            }
            if block.is_full() {
                return Ok(Ok(chunk(last, false)));
            }
            block.add(|out| put(row, &self.columns, &self.tokens, out))?;
            last = Some(key);
        }
        Ok(Ok(chunk(last, true)))
    }
}

const PASSED: &str = "has no key of its own, and its schema was changed or its file packed (VACUUM) while it was read: its rows may have other \
                      numbers now; give it a key: key => 'a, b', or run with --fresh to read it again";

fn chunk(last: Option<Vec<KeyValue>>, end: bool) -> Chunk {
    let last = last.map(|key| key.iter().map(|value| serde_json::to_value(value).unwrap_or_default()).collect());
    Chunk { last, end }
}

/// As SQLite has it, byte by byte: 1 and 1.0 are one key.
fn same(one: &[KeyValue], other: &[KeyValue]) -> bool {
    one.iter().zip(other).all(|pair| match pair {
        (KeyValue::Integer(whole), KeyValue::Real(bits)) | (KeyValue::Real(bits), KeyValue::Integer(whole)) => {
            *whole as f64 == f64::from_bits(*bits)
        }
        (one, other) => one == other,
    })
}

impl keyset::Table for OpenTable {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Counted, where there are few: numbers may be far apart. Of more, by the first and the last number of a key that is one: both are found
    /// without a look at the others.
    fn about(&mut self) -> Option<u64> {
        let table = quoted(&self.place.table);
        // What a view does for its rows nobody knows.
        if self.key.sure {
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} AS {ALIAS} LIMIT {})", COUNTED + 1);
            let counted = self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).ok();
            if let Some(few) = counted.and_then(|count| u64::try_from(count).ok()).filter(|count| *count <= COUNTED) {
                return Some(few);
            }
        }
        let [column] = self.key.columns.as_slice() else { return None };
        let key = quoted(&column.name);
        let sql = format!(
            "SELECT (SELECT max({ALIAS}.{key}) FROM {table} AS {ALIAS}), (SELECT min({ALIAS}.{key}) FROM {table} AS {ALIAS})"
        );
        let ends = self.connection.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (last, first) = ends.ok()?;
        u64::try_from(i128::from(last) - i128::from(first) + 1).ok()
    }

    fn after(&mut self, key: Option<&keyset::Key>, block: &mut Block) -> Result<Chunk, SourceError> {
        let after = key.map(|key| self.values(key)).transpose()?.unwrap_or_default();
        self.read(&after, block).map_err(|error| self.place.trouble(error))?
    }
}
