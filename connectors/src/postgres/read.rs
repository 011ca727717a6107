//! A table or view that is read in chunks by its key (`FROM`), or whole as of one moment (`JOIN`).
//!
//! The server makes a JSON object of each row, of the columns that are read: numbers with all their digits, instants in UTC, bytes as
//! base64, arrays as lists, JSON as it is; NaN and the infinities are strings, since JSON has no such numbers. Nothing is written: the
//! session is read-only.

use std::error::Error;

use syncline_engine::{sink::SinkError, source::SourceError};
use tokio_postgres::{
    Row, Statement,
    types::{FromSql, Type},
};

use super::{
    address::Address,
    key::{Key, Unusable, no_column},
    kind::Kind,
    listed, quoted,
    session::Session,
    table::{Found, There, columns, find, relation},
    trouble::{Fault, trouble},
};
use crate::{
    keyset::{
        self, Chunk, Identity,
        block::{Block, ROWS},
        said_key,
    },
    registry::SourceRequest,
    spec::{Arguments, ConnectorError},
};

/// What texts of values look like, whatever the server's own settings; a plan is made for each chunk, as one for any number of rows would
/// sort the table.
pub(super) const SETTINGS: &str = "SET default_transaction_read_only = on; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; \
    SELECT set_config('plan_cache_mode', 'force_custom_plan', false) WHERE current_setting('server_version_num')::int >= 120000";

/// Rows that are fetched at once where a chunk cannot be left in its middle.
const AT_ONCE: usize = 64;

#[derive(Clone)]
pub struct PostgresRows {
    address: Address,
    /// As the pipeline file has it.
    table: String,
    /// The columns that the pipeline names.
    named: Vec<String>,
    /// The others are wanted too.
    all: bool,
    key: Vec<String>,
    whole: bool,
}

impl PostgresRows {
    pub(crate) fn new(arguments: &Arguments, request: &SourceRequest) -> Result<Self, ConnectorError> {
        Ok(Self {
            address: Address::of(arguments, request.around)?,
            table: arguments.text("table").to_owned(),
            named: request.asked.columns.to_vec(),
            all: request.columns.is_none(),
            key: said_key(arguments),
            whole: request.whole,
        })
    }

    pub(crate) fn called(&self) -> String {
        format!("{}, table {}", self.address.name, self.table)
    }

    fn never(&self, detail: String) -> SourceError {
        SourceError::Unreadable { what: self.address.name.clone(), detail }
    }

    fn failed(&self, operation: &str, fault: &Fault) -> SourceError {
        of_fault(&self.address.name, operation, fault)
    }

    fn unusable(&self, why: Unusable) -> SourceError {
        match why {
            Unusable::Fault(fault) => self.failed(LOOK, &fault),
            Unusable::Never(detail) => self.never(detail),
        }
    }

    /// The columns that are read, with the names that the pipeline calls them.
    fn wanted<'a>(&'a self, found: &Found, there: &'a [There]) -> Result<Vec<(&'a There, &'a str)>, SourceError> {
        let mut wanted = vec![];
        for name in &self.named {
            let column = find(there, name).ok_or_else(|| self.unusable(no_column(found, there, name)))?;
            wanted.push((column, name.as_str()));
        }
        if self.all {
            let is_named = |column: &There| wanted.iter().any(|(named, _)| named.name == column.name);
            let others: Vec<_> = there.iter().filter(|column| !is_named(column)).collect();
            wanted.extend(others.into_iter().map(|column| (column, column.name.as_str())));
        }
        Ok(wanted)
    }

    /// Which table it is: another server may have one of the same name, and so may this one at another time.
    fn identity(&self, session: &Session, found: &Found, key: Vec<String>) -> Result<Identity, SourceError> {
        // Not every server tells it to everybody.
        let system = session.query_opt("SELECT system_identifier::text FROM pg_control_system()", &[]);
        let system = match system {
            Ok(row) => row.map(|row| row.get::<_, String>(0)),
            Err(fault) if fault.code().is_some_and(|code| code.code().starts_with("42")) => None,
            Err(fault) => return Err(self.failed(LOOK, &fault)),
        };
        let database = session.query_opt("SELECT current_database()::text", &[]);
        let database: String =
            database.map_err(|fault| self.failed(LOOK, &fault))?.map(|row| row.get(0)).unwrap_or_default();
        let holder = match system {
            Some(system) => format!("database {database} of system {system}"),
            None => format!("database {database}"),
        };
        Ok(Identity { holder, table: format!("{}.{} ({})", found.schema, found.name, found.oid), key })
    }
}

/// Reads after "cannot".
const LOOK: &str = "look at the table";
const READ: &str = "read the table";

fn of_fault(place: &str, operation: &str, fault: &Fault) -> SourceError {
    let (what, words) = (place.to_owned(), trouble(place, operation, fault));
    let text = words.to_string();
    let detail = text.strip_prefix(&format!("{place}: ")).unwrap_or(&text).to_owned();
    match words {
        SinkError::Again(_) | SinkError::Later { .. } | SinkError::Reconnect(_) => SourceError::Again { what, detail },
        _ => SourceError::Unreadable { what, detail },
    }
}

impl keyset::Place for PostgresRows {
    type Table = OpenTable;

    fn what(&self) -> String {
        self.called()
    }

    fn open(&self) -> Result<OpenTable, SourceError> {
        let look = |fault| self.failed(LOOK, &fault);
        let session = Session::open(&self.address).map_err(|fault| self.failed("connect", &fault))?;
        session.run(SETTINGS).map_err(look)?;
        let found = relation(&session, &self.table).map_err(look)?.ok_or_else(|| {
            let schema = if self.table.contains('.') {
                ""
            } else {
                "; with its schema in front where it is in another: 'sales.orders'"
            };
            self.never(format!("there is no table {} that is to be read{schema}", self.table))
        })?;
        let there = columns(&session, found.oid).map_err(look)?;
        let record = record(&self.wanted(&found, &there)?);
        let name = format!("{}.{}", quoted(&found.schema), quoted(&found.name));
        if self.whole {
            let identity = self.identity(&session, &found, vec![])?;
            let sql = format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 DECLARE rows NO SCROLL CURSOR FOR SELECT {record} AS j FROM {name} AS t"
            );
            session.run(&sql).map_err(|fault| self.failed(READ, &fault))?;
            let fetch = session.prepare(&format!("FETCH {AT_ONCE} FROM rows")).map_err(look)?;
            return Ok(OpenTable { place: self.clone(), session, oid: found.oid, identity, way: Way::Whole { fetch } });
        }
        let key = Key::of(&session, &found, &there, &self.key).map_err(|why| self.unusable(why))?;
        let null = if key.sure { Ok(None) } else { session.query_opt(&key.null_sql(&name), &[]) };
        if null.map_err(look)?.is_some_and(|row| row.get(0)) {
            return Err(self.never(format!(
                "{} has rows in which a column of its key ({}) is NULL, and they would not be read; name other columns in \
                 key => '…', or leave those rows out in the view",
                self.table,
                key.names()
            )));
        }
        let identity = self.identity(&session, &found, key.texts())?;
        let prepared = |condition: &str| session.prepare(&select(&record, &name, &key, condition)).map_err(look);
        let (first, next) = (prepared("")?, prepared(&format!("WHERE {}", key.behind()))?);
        let way = Way::Chunks { first, next, key, most: ROWS };
        Ok(OpenTable { place: self.clone(), session, oid: found.oid, identity, way })
    }

    fn of_one_moment(&self) -> bool {
        self.whole
    }
}

/// Rows with their key as texts, and whether the row before has the same; the last parameter says how many.
fn select(record: &str, table: &str, key: &Key, condition: &str) -> String {
    let own: Vec<String> = (0..key.columns.len()).map(|at| format!("c{at}")).collect();
    let columns = listed(
        key.columns.iter().enumerate(),
        |(at, column)| format!("t.{0}::text AS k{at}, t.{0} AS c{at}", quoted(&column.name)),
        ", ",
    );
    let texts = listed(0..own.len(), |at| format!("s.k{at}"), ", ");
    let most = if condition.is_empty() { 1 } else { own.len() + 1 };
    let order = key.listed();
    let inner = format!(
        "SELECT {record} AS j, {columns} FROM {table} AS t {condition} ORDER BY {order} LIMIT ${most}::text::bigint"
    );
    let by = listed(&own, |name| format!("s.{name}"), ", ");
    if key.sure {
        return format!("SELECT s.j, {texts}, false FROM ({inner}) AS s ORDER BY {by}");
    }
    let before = listed(&own, |name| format!("lag(s.{name}) OVER w"), ", ");
    format!(
        "SELECT s.j, {texts}, coalesce(({by}) = ({before}), false) FROM ({inner}) AS s WINDOW w AS (ORDER BY {by}) ORDER BY {by}"
    )
}

/// The row as a JSON object, under the names that the pipeline calls its columns.
fn record(wanted: &[(&There, &str)]) -> String {
    if wanted.is_empty() {
        return "'{}'".to_owned();
    }
    let value = |(column, here): &(&There, &str)| {
        let name = format!("t.{}", quoted(&column.name));
        let value = match &column.kind {
            Kind::Bytes => base64(&name),
            Kind::Array(element) if **element == Kind::Bytes => base64_list(&name),
            _ => name,
        };
        format!("{value} AS {}", quoted(here))
    };
    format!("(SELECT row_to_json(r)::text FROM (SELECT {}) AS r)", listed(wanted, value, ", "))
}

/// A list of bytes as one of texts.
pub(super) fn base64_list(name: &str) -> String {
    format!(
        "CASE WHEN {name} IS NOT NULL THEN ARRAY(SELECT {} FROM unnest({name}) WITH ORDINALITY AS u (b, n) ORDER BY n) END",
        base64("b")
    )
}

/// The server breaks lines of base64.
pub(super) fn base64(name: &str) -> String {
    format!("replace(encode({name}, 'base64'), E'\\n', '')")
}

pub struct OpenTable {
    place: PostgresRows,
    session: Session,
    oid: u32,
    identity: Identity,
    way: Way,
}

enum Way {
    /// `most`: rows that are asked for at once, fewer where they are wide.
    Chunks {
        first: Statement,
        next: Statement,
        key: Key,
        most: usize,
    },
    Whole {
        fetch: Statement,
    },
}

/// Bytes as the server sends them: what is no UTF-8 is for the decoder to refuse.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn add(block: &mut Block, row: &Row) -> Result<(), tokio_postgres::Error> {
    let Raw(record) = row.try_get(0)?;
    block.add(|out| {
        out.extend_from_slice(record);
        Ok(())
    })
}

impl OpenTable {
    /// The rows of a statement, at most so many.
    fn chunk(&self, from: &Statement, values: &[&str], most: usize, block: &mut Block) -> Result<Taken, Fault> {
        let (mut taken, mut fault) = (Taken::default(), None);
        self.session.each(from, values, |row| {
            let step = taken.step(row, most, block);
            step.unwrap_or_else(|error| {
                fault = Some(error);
                false
            })
        })?;
        fault.map_or(Ok(taken), |error| Err(Fault::Said(error)))
    }

    fn twice(&self, key: &Key, number: u64) -> SourceError {
        self.place.never(format!(
            "{} has two rows with the same key ({}), rows {} and {number}: a chunk could end between them; \
             name columns in key => '…' that no two rows share",
            self.place.table,
            key.names(),
            number - 1
        ))
    }
}

#[derive(Default)]
struct Taken {
    last: Option<Vec<String>>,
    /// Rows are there that the block does not take.
    more: bool,
    twice: bool,
}

impl Taken {
    /// One more row; false when the chunk is over.
    fn step(&mut self, row: &Row, most: usize, block: &mut Block) -> Result<bool, tokio_postgres::Error> {
        // The record, the key, and whether the row before has the same.
        let width = row.len() - 2;
        self.twice = row.try_get(width + 1)?;
        self.more = block.is_full() || block.len() >= most;
        if self.twice || self.more {
            return Ok(false);
        }
        add(block, row)?;
        self.last = Some((0..width).map(|at| row.try_get(at + 1)).collect::<Result<_, _>>()?);
        Ok(true)
    }
}

impl keyset::Table for OpenTable {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// As it was when the server last looked through the table, or its parts.
    fn about(&mut self) -> Option<u64> {
        let sql = "SELECT sum(reltuples)::bigint FROM pg_class WHERE reltuples > 0 AND relkind IN ('r', 'm', 'f') AND oid IN \
                   (SELECT $1::oid UNION ALL SELECT relid::oid FROM pg_partition_tree($1::oid::regclass))";
        let row = self.session.query_opt(sql, &[&self.oid]).ok().flatten()?;
        row.get::<_, Option<i64>>(0).and_then(|rows| u64::try_from(rows).ok())
    }

    fn after(&mut self, after: Option<&keyset::Key>, block: &mut Block) -> Result<Chunk, SourceError> {
        let failed = |fault| self.place.failed(READ, &fault);
        let (first, next, key, most) = match &self.way {
            Way::Chunks { first, next, key, most } => (first, next, key, *most),
            Way::Whole { fetch } => {
                let mut end = false;
                while !block.is_full() && !end {
                    let before = block.len();
                    for row in self.session.query_prepared(fetch).map_err(failed)? {
                        add(block, &row).map_err(|error| failed(Fault::Said(error)))?;
                    }
                    end = block.len() < before + AT_ONCE;
                }
                return Ok(Chunk { last: None, end });
            }
        };
        let mut values: Vec<&str> =
            after.map(|key| key.iter().filter_map(|value| value.as_str()).collect()).unwrap_or_default();
        let from = if after.is_some() { next } else { first };
        // One more than are taken says whether something is behind them.
        let asked = (most + 1).to_string();
        values.push(&asked);
        let taken = self.chunk(from, &values, most, block).map_err(failed)?;
        if taken.twice {
            return Err(self.twice(key, block.next()));
        }
        let came = block.len();
        if let Way::Chunks { most, .. } = &mut self.way {
            // What is wide is sent for nothing where the block was full before.
            *most = if taken.more && came < *most { came } else { (*most * 2).min(ROWS) };
        }
        let last = taken.last.map(|key| key.into_iter().map(Into::into).collect());
        Ok(Chunk { last, end: !taken.more })
    }
}
