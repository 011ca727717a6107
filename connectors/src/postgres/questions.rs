//! The tables and views of a database as questions read them.
//!
//! | there | in questions |
//! |---|---|
//! | smallint, integer, bigint, real, double precision, boolean, date, time | the same |
//! | numeric(p, s) | DECIMAL(p, s), of up to 76 digits |
//! | numeric | DECIMAL(38, 10): a number with more digits is an error |
//! | timestamp, timestamptz | TIMESTAMP, in UTC |
//! | json, jsonb, arrays | JSON |
//! | bytea | BYTES |
//! | any other type | STRING, as the server writes it |
//!
//! The server reads in a transaction that is read-only and sees one moment, by a cursor: what nobody takes is not sent. NaN, infinities
//! of numeric, and times beyond the years 0 to 9999 are errors that name their row.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use syncline_engine::tables::{Condition, Give, Is, Listed, Literal, Stop, Table, TableError, Tables, Wanted};
use syncline_functions::{json_field, write_date, write_instant};
use tokio_postgres::Row;

use super::{
    address::Address,
    quoted,
    read::{SETTINGS, base64_list},
    session::Session,
    table::relation,
    trouble::{Fault, trouble},
};
use crate::{
    questions::column::{Column, TIMESTAMP},
    spec::{Arguments, ConnectorError, Surroundings},
};

/// Literals are what they say, all rows are wanted, and a process that died takes its statement with it where the server can see that.
const OURS: &str = "SET standard_conforming_strings = on; SET cursor_tuple_fraction = 1; \
    SELECT set_config('client_connection_check_interval', '2000', false) WHERE current_setting('server_version_num')::int >= 140000";
/// Rows that are fetched first, and at most: as many as fit into so many bytes.
const FIRST: usize = 64;
const MOST: usize = 4096;
const BYTES: usize = 4 << 20;
/// What is shown of a value that does not fit.
const SHOWN: usize = 40;

/// Columns of tables with their types, domains taken off: `WHERE` and `ORDER BY` follow.
const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid), a.attname::text, t.oid, \
      coalesce(b.modifier, a.atttypmod), t.typcategory::text, t.typelem \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
    JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN LATERAL ( \
      WITH RECURSIVE base (oid, modifier, above) AS ( \
        SELECT y.oid, a.atttypmod, true WHERE y.typtype = 'd' \
        UNION ALL SELECT z.oid, d.typtypmod, z.typtype = 'd' \
        FROM base JOIN pg_type d ON d.oid = base.oid AND base.above JOIN pg_type z ON z.oid = d.typbasetype) \
      SELECT oid, modifier FROM base WHERE NOT above) AS b ON true \
    JOIN pg_type t ON t.oid = coalesce(b.oid, y.oid) \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND ";
const OF_ALL: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname !~ '^pg_' \
      AND n.nspname <> 'information_schema' AND has_any_column_privilege(c.oid, 'SELECT') ORDER BY n.nspname, c.relname, a.attnum";
const OF_ONE: &str = "c.oid = $1 ORDER BY a.attnum";

const KEY: &str = "SELECT a.attname::text FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.place";

/// A database.
#[derive(Clone)]
struct Database {
    address: Address,
}

pub(crate) fn questions(arguments: &Arguments, around: &Surroundings) -> Result<Arc<dyn Tables>, ConnectorError> {
    Ok(Arc::new(Database { address: Address::of(arguments, around)? }))
}

/// How a column is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// As a text of this type; whether each text of the server is one.
    Typed(DataType, bool),
    Json,
    Bytes,
    List {
        of_bytes: bool,
    },
}

#[derive(Clone, Debug)]
struct There {
    name: String,
    kind: Kind,
    oid: u32,
}

impl There {
    fn of(row: &Row) -> Self {
        let (oid, modifier, category, element): (u32, i32, String, u32) =
            (row.get(4), row.get(5), row.get(6), row.get(7));
        let kind = match oid {
            _ if category == "A" => Kind::List { of_bytes: element == 17 },
            16 => Kind::Typed(DataType::Boolean, true),
            17 => Kind::Bytes,
            20 | 26 => Kind::Typed(DataType::Int64, true),
            21 => Kind::Typed(DataType::Int16, true),
            23 => Kind::Typed(DataType::Int32, true),
            114 | 3802 => Kind::Json,
            700 => Kind::Typed(DataType::Float32, true),
            701 => Kind::Typed(DataType::Float64, true),
            1082 => Kind::Typed(DataType::Date32, false),
            1083 => Kind::Typed(DataType::Time64(TimeUnit::Microsecond), false),
            1114 | 1184 => Kind::Typed(TIMESTAMP, false),
            1700 => numeric(modifier).map_or(Kind::Typed(DataType::Utf8, true), |to| Kind::Typed(to, false)),
            _ => Kind::Typed(DataType::Utf8, true),
        };
        Self { name: row.get(3), kind, oid }
    }

    fn field(&self) -> Field {
        match &self.kind {
            Kind::Typed(to, _) => Field::new(&self.name, to.clone(), true),
            Kind::Bytes => Field::new(&self.name, DataType::Binary, true),
            Kind::Json | Kind::List { .. } => json_field(&self.name),
        }
    }

    /// What the server is asked for.
    fn sql(&self) -> String {
        let name = self.place();
        match &self.kind {
            Kind::Bytes => name,
            Kind::List { of_bytes: true } => format!("to_json({})::text", base64_list(&name)),
            Kind::List { of_bytes: false } => format!("to_json({name})::text"),
            Kind::Typed(..) | Kind::Json => format!("{name}::text"),
        }
    }

    fn place(&self) -> String {
        format!("t.{}", quoted(&self.name))
    }

    /// A value of a condition, as SQL; `None` where the server may see it in another way.
    fn literal(&self, literal: &Literal) -> Option<String> {
        let mut text = vec![];
        match (self.oid, literal) {
            (20 | 21 | 23, Literal::Integer(number)) => return Some(format!("'{number}'::bigint")),
            // text, varchar, char(n)
            (25 | 1042 | 1043, Literal::Text(text)) if !text.contains('\0') => {
                return Some(format!("'{}'::text", text.replace('\'', "''")));
            }
            (2950, Literal::Text(text)) if is_uuid(text) => return Some(format!("'{text}'::uuid")),
            (1082, Literal::Day(day)) => write_date(i64::from(*day), &mut text),
            (1114 | 1184, Literal::Time(time)) => {
                write_instant(time.div_euclid(1_000_000), (time.rem_euclid(1_000_000) * 1_000) as u32, &mut text);
            }
            _ => return None,
        }
        let text = String::from_utf8(text).ok()?;
        // Years beyond four digits are written in another way there.
        text.starts_with(|first: char| first.is_ascii_digit()).then(|| {
            let to = match self.oid {
                1082 => "date",
                1114 => "timestamp",
                _ => "timestamptz",
            };
            format!("'{text}'::{to}")
        })
    }

    /// The condition as SQL.
    fn condition(&self, is: &Is) -> Option<String> {
        let place = self.place();
        Some(match is {
            Is::OneOf(literals) => {
                let all: Vec<String> = literals.iter().map(|one| self.literal(one)).collect::<Option<_>>()?;
                format!("{place} IN ({})", all.join(", "))
            }
            // Collations order texts, and uuids have an order of their own.
            Is::AtLeast(Literal::Text(_)) | Is::AtMost(Literal::Text(_)) => return None,
            Is::AtLeast(literal) => format!("{place} >= {}", self.literal(literal)?),
            Is::AtMost(literal) => format!("{place} <= {}", self.literal(literal)?),
        })
    }
}

/// As the server writes one.
fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match dashes.contains(&at) {
            true => byte == b'-',
            false => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// The type of a NUMERIC with this modifier: sixteen bits of precision, eleven of scale with a sign, four above it.
fn numeric(modifier: i32) -> Option<DataType> {
    let Some(stored) = modifier.checked_sub(4).filter(|stored| *stored >= 0) else {
        return Some(DataType::Decimal128(38, 10));
    };
    let (precision, scale) = (stored >> 16, ((stored & 0x7ff) ^ 0x400) - 0x400);
    // Zeros before the point, or behind it, are digits too.
    let (precision, scale) = (precision.max(scale) - scale.min(0), scale.max(0));
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    match precision {
        0..=38 => Some(DataType::Decimal128(precision, scale)),
        39..=76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

impl Database {
    fn open(&self) -> Result<Session, TableError> {
        let session = Session::of_question(&self.address).map_err(|fault| self.failed("connect", &fault))?;
        session.run(SETTINGS).map_err(|fault| self.failed(LOOK, &fault))?;
        session.run(OURS).map_err(|fault| self.failed(LOOK, &fault))?;
        Ok(session)
    }

    fn failed(&self, operation: &str, fault: &Fault) -> TableError {
        TableError::Place(trouble(&self.address.name, operation, fault).to_string())
    }
}

/// Read after "cannot".
const LOOK: &str = "look at the tables";
const READ: &str = "read the table";

fn schema(columns: &[There]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(There::field).collect::<Vec<_>>()))
}

impl Tables for Database {
    /// Those of the search path by their name, others with their schema in front.
    fn all(&self) -> Result<Vec<Listed>, TableError> {
        let session = self.open()?;
        let rows = session.query(&format!("{COLUMNS}{OF_ALL}"), &[]).map_err(|fault| self.failed(LOOK, &fault))?;
        let name = |row: &Row| match (row.get::<_, String>(0), row.get::<_, String>(1)) {
            (_, name) if row.get::<_, bool>(2) => name,
            (schema, name) => format!("{schema}.{name}"),
        };
        let same =
            |one: &Row, other: &Row| (one.get::<_, &str>(0), one.get::<_, &str>(1)) == (other.get(0), other.get(1));
        let tables = rows.chunk_by(same).map(|rows| {
            let columns: Vec<There> = rows.iter().map(There::of).collect();
            Listed { name: rows.first().map(name).unwrap_or_default(), schema: schema(&columns) }
        });
        Ok(tables.collect())
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        let session = self.open()?;
        let look = |fault: Fault| self.failed(LOOK, &fault);
        let Some(found) = relation(&session, name).map_err(look)? else { return Ok(None) };
        let rows = session.query(&format!("{COLUMNS}{OF_ONE}"), &[&found.oid]).map_err(look)?;
        let columns: Vec<There> = rows.iter().map(There::of).collect();
        let key = session.query(KEY, &[&found.oid]).map_err(look)?;
        let key = key.iter().map(|row| row.get(0)).collect();
        let (schema, database) = (schema(&columns), self.clone());
        let name = format!("{}.{}", quoted(&found.schema), quoted(&found.name));
        let called = format!("{}.{}", found.schema, found.name);
        Ok(Some(Arc::new(Relation { database, name, called, columns, key, schema })))
    }
}

/// A table or view that is there.
struct Relation {
    database: Database,
    /// As SQL has it.
    name: String,
    called: String,
    columns: Vec<There>,
    /// Columns of its primary key.
    key: Vec<String>,
    schema: SchemaRef,
}

impl Relation {
    /// The query; columns of the key come behind those that are wanted, as texts, where a row may have to be named.
    fn sql(&self, wanted: &Wanted) -> (String, usize) {
        let columns: Vec<&There> = wanted.columns.iter().map(|index| &self.columns[*index]).collect();
        let mut sql: Vec<String> = columns.iter().map(|column| column.sql()).collect();
        let may_fail = columns.iter().any(|column| matches!(column.kind, Kind::Typed(_, false)));
        let key = if may_fail { self.key.as_slice() } else { &[] };
        sql.extend(key.iter().map(|name| format!("t.{}::text", quoted(name))));
        if sql.is_empty() {
            sql.push("1".to_owned());
        }
        let holds = wanted.conditions.iter().filter_map(|one| self.columns[one.column].condition(&one.is));
        let holds: Vec<String> = holds.collect();
        let filter = if holds.is_empty() { String::new() } else { format!(" WHERE {}", holds.join(" AND ")) };
        let most = wanted.most.map(|most| format!(" LIMIT {most}")).unwrap_or_default();
        (format!("SELECT {} FROM {} AS t{filter}{most}", sql.join(", "), self.name), key.len())
    }

    fn put(
        &self,
        row: &Row,
        wanted: &Wanted,
        columns: &mut [Column],
        key: usize,
        bytes: &mut usize,
    ) -> Result<(), TableError> {
        let unread = |error: tokio_postgres::Error| self.database.failed(READ, &Fault::Said(error));
        for (index, (place, column)) in wanted.columns.iter().zip(columns).enumerate() {
            if self.columns[*place].kind == Kind::Bytes {
                match row.try_get::<_, Option<&[u8]>>(index).map_err(unread)? {
                    None => column.null(),
                    Some(value) => {
                        *bytes += value.len();
                        column.bytes(value);
                    }
                }
                continue;
            }
            let Some(text) = row.try_get::<_, Option<&str>>(index).map_err(unread)? else {
                column.null();
                continue;
            };
            *bytes += text.len();
            column.text(text).map_err(|wrong| {
                let width = wanted.columns.len();
                let part = |at: usize| row.try_get::<_, Option<&str>>(width + at).ok().flatten().unwrap_or("NULL");
                let named: Vec<String> =
                    self.key.iter().take(key).enumerate().map(|(at, name)| format!("{name} = {}", part(at))).collect();
                let named = if named.is_empty() { "a row".to_owned() } else { named.join(", ") };
                let shown: String = text.chars().take(SHOWN).collect();
                let (name, table) = (&self.columns[*place].name, &self.called);
                TableError::Value(format!(
                    "{}, table {table}, {named}: {name} `{shown}` {wrong}; leave the row out, or ask a view that casts {name} to text",
                    self.database.address.name
                ))
            })?;
        }
        Ok(())
    }
}

impl Table for Relation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn takes(&self, condition: &Condition) -> bool {
        self.columns[condition.column].condition(&condition.is).is_some()
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        let session = self.database.open()?;
        stop.then(session.canceller(&self.database.address));
        let failed = |fault: Fault| match stop.is_stopped() {
            true => TableError::Over,
            false => self.database.failed(READ, &fault),
        };
        let (sql, key) = self.sql(wanted);
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; DECLARE rows NO SCROLL CURSOR FOR {sql}");
        session.run(&begin).map_err(failed)?;
        let fit = |error: arrow::error::ArrowError| TableError::Place(error.to_string());
        let schema = Arc::new(self.schema.project(&wanted.columns).map_err(fit)?);
        let mut columns: Vec<Column> = schema.fields().iter().map(|field| Column::of(field)).collect();
        let mut most = FIRST;
        loop {
            let (mut rows, mut bytes, mut wrong) = (0, 0, None);
            let fetch = session.prepare(&format!("FETCH {most} FROM rows")).map_err(failed)?;
            let fetched = session.each(&fetch, &[], |row| {
                rows += 1;
                wrong = self.put(row, wanted, &mut columns, key, &mut bytes).err();
                wrong.is_none()
            });
            fetched.map_err(failed)?;
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
            if stop.is_stopped() {
                return Err(TableError::Over);
            }
            if rows > 0 {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let arrays = columns.iter_mut().map(Column::finish).collect();
                if !give(RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(fit)?) {
                    return Err(TableError::Over);
                }
            }
            if rows < most {
                return Ok(());
            }
            most = (BYTES / (bytes / rows).max(1)).clamp(1, MOST);
        }
    }
}
