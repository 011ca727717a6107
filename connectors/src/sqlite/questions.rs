//! The tables and views of a database as questions read them.
//!
//! SQLite keeps any value in any column, so a column is what its declared type says, and a value that is something else is an error:
//!
//! | declared | in questions |
//! |---|---|
//! | with `INT` in it | BIGINT |
//! | `DECIMAL(p, s)`, `NUMERIC(p, s)`, `DECIMAL_TEXT(p, s)` | DECIMAL(p, s); what SQLite keeps as a float counts as it prints it, in 15 digits |
//! | with `REAL`, `FLOA`, `DOUB` | DOUBLE |
//! | `BOOL`, `BOOLEAN` | BOOLEAN: 1 and 0 |
//! | with `CHAR`, `CLOB`, `TEXT` | STRING |
//! | `BLOB` | BYTES |
//! | with `JSON` | JSON: a text is the document that it holds |
//! | anything else, nothing, what a view computes | JSON: numbers with their digits, texts as strings, bytes as base64 |

use std::{path::PathBuf, sync::Arc, time::Duration};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, types::ValueRef};
use syncline_engine::tables::{Condition, Give, Is, Listed, Literal, Stop, Table, TableError, Tables, Wanted};
use syncline_functions::{decode::validate, json_field};

use super::{quoted, token::Tokens, value::EXACT_DIGITS};
use crate::{
    questions::column::Column,
    registry::Asked,
    spec::{Arguments, Surroundings},
};

/// How long a writer may hold the database before nobody waits any more.
const BUSY: Duration = Duration::from_secs(5);
/// Rows and bytes of a batch.
const ROWS: usize = 4096;
const BYTES: usize = 4 << 20;
/// Values of an `IN` that SQLite is given; it takes some thousands.
const MOST_VALUES: usize = 500;

#[derive(Clone)]
struct Database {
    path: PathBuf,
}

pub(crate) fn questions(arguments: &Arguments, around: &Surroundings) -> Arc<dyn Tables> {
    Arc::new(Database { path: around.path(arguments.text("path")) })
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Real,
    Text,
    Decimal(u8, i8),
    Boolean,
    Bytes,
    /// A text is a document.
    Json,
    Any,
}

impl Kind {
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match () {
            _ if has(&["JSON"]) => Self::Json,
            _ if declared.starts_with("BOOL") => Self::Boolean,
            _ if has(&["DECIMAL", "NUMERIC"]) => decimal(&declared).map_or(Self::Any, |(p, s)| Self::Decimal(p, s)),
            _ if has(&["INT"]) => Self::Integer,
            _ if has(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            _ if has(&["BLOB"]) => Self::Bytes,
            _ if has(&["REAL", "FLOA", "DOUB"]) => Self::Real,
            _ => Self::Any,
        }
    }

    fn field(self, name: &str) -> Field {
        let to = match self {
            Self::Json | Self::Any => return json_field(name),
            Self::Integer => DataType::Int64,
            Self::Real => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Decimal(precision, scale) if precision <= 38 => DataType::Decimal128(precision, scale),
            Self::Decimal(precision, scale) => DataType::Decimal256(precision, scale),
            Self::Boolean => DataType::Boolean,
            Self::Bytes => DataType::Binary,
        };
        Field::new(name, to, true)
    }

    /// Adds a value. The error is what it is not.
    fn put(self, value: ValueRef, tokens: &Tokens, column: &mut Column) -> Result<(), String> {
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).map_err(|_| "is no UTF-8".to_owned());
        match (self, value) {
            (_, ValueRef::Null) => column.null(),
            (Self::Integer | Self::Real, ValueRef::Integer(number)) => {
                let exact = self == Self::Integer || (number as f64) as i128 == i128::from(number);
                match exact {
                    true => column.integer(number),
                    false => return Err("has more digits than DOUBLE holds".to_owned()),
                }
            }
            (Self::Real, ValueRef::Real(number)) => column.double(number),
            (Self::Real, ValueRef::Text(b"NaN")) => column.double(f64::NAN),
            (Self::Boolean, ValueRef::Integer(number @ (0 | 1))) => column.text(&number.to_string())?,
            (Self::Decimal(..), ValueRef::Integer(number)) => column.text(&number.to_string())?,
            (Self::Decimal(..), ValueRef::Real(number)) => column.text(&printed(number))?,
            (Self::Decimal(..) | Self::Text, ValueRef::Text(value)) => column.text(&text(value)?)?,
            (Self::Bytes, ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => column.bytes(bytes),
            (Self::Json, ValueRef::Text(value)) => {
                let document = text(value)?;
                if validate(document.as_bytes()).is_err() {
                    return Err("is no JSON".to_owned());
                }
                column.text(&document)?;
            }
            (Self::Any, ValueRef::Text(value)) => {
                text(value)?;
                column.text(&token(tokens, ValueRef::Text(value)))?;
            }
            (Self::Json | Self::Any, value) => column.text(&token(tokens, value))?,
            (_, value) => return Err(format!("is {}", stored(value))),
        }
        Ok(())
    }
}

/// Precision and scale of `DECIMAL(12, 2)`, where they say something.
fn decimal(declared: &str) -> Option<(u8, i8)> {
    let inside = declared.split_once('(')?.1.split_once(')')?.0;
    let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
    ((1..=76).contains(&precision) && (0..=precision as i8).contains(&scale)).then_some((precision, scale))
}

/// As SQLite prints it: digits behind those that a float gives back are no part of the number.
fn printed(number: f64) -> String {
    format!("{number:.*e}", usize::from(EXACT_DIGITS) - 1)
}

fn token(tokens: &Tokens, value: ValueRef) -> String {
    let mut out = vec![];
    tokens.put("", value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn stored(value: ValueRef) -> &'static str {
    match value {
        ValueRef::Null => "NULL",
        ValueRef::Integer(_) => "an INTEGER",
        ValueRef::Real(_) => "a REAL",
        ValueRef::Text(_) => "a TEXT",
        ValueRef::Blob(_) => "a BLOB",
    }
}

const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
/// Columns that `SELECT *` shows, computed ones too, and their place in the primary key.
const COLUMNS: &str = "SELECT name, type, pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1";

impl Database {
    fn connect(&self) -> Result<Connection, TableError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, flags);
        let opened = opened.and_then(|connection| connection.busy_timeout(BUSY).map(|()| connection));
        opened.map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &rusqlite::Error) -> TableError {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => TableError::Over,
            _ => TableError::Place(format!("{}: {error}", self.path.display())),
        }
    }

    fn look(&self, connection: &Connection, name: &str) -> rusqlite::Result<Found> {
        let mut statement = connection.prepare_cached(COLUMNS)?;
        let mut rows = statement.query([name])?;
        let (mut columns, mut key) = (vec![], vec![]);
        while let Some(row) = rows.next()? {
            let (column, declared): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? > 0 {
                key.push(column.clone());
            }
            columns.push((column, Kind::of(&declared.unwrap_or_default())));
        }
        let fields: Vec<Field> = columns.iter().map(|(name, kind)| kind.field(name)).collect();
        Ok(Found { database: self.clone(), name: name.to_owned(), columns, key, schema: Arc::new(Schema::new(fields)) })
    }
}

impl Tables for Database {
    fn all(&self) -> Result<Vec<Listed>, TableError> {
        let connection = self.connect()?;
        let all = || {
            let mut statement = connection.prepare(TABLES)?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            // A view over a table that is gone is in the way of nobody else.
            let seen = names.into_iter().filter_map(|name| {
                let found = self.look(&connection, &name).ok()?;
                Some(Listed { name, schema: found.schema })
            });
            Ok(seen.collect())
        };
        all().map_err(|error| self.trouble(&error))
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        let connection = self.connect()?;
        let found = || {
            let mut statement = connection.prepare(
                "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE ORDER BY name = ?1 DESC LIMIT 1",
            )?;
            let mut rows = statement.query([name])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let name: String = row.get(0)?;
            Ok(Some(Arc::new(self.look(&connection, &name)?) as Arc<dyn Table>))
        };
        found().map_err(|error| self.trouble(&error))
    }
}

/// A table or view that is there.
struct Found {
    database: Database,
    name: String,
    columns: Vec<(String, Kind)>,
    /// Columns of its primary key.
    key: Vec<String>,
    schema: SchemaRef,
}

impl Found {
    /// The statement, and the values in it. Columns of the key come behind those that are wanted.
    fn sql(&self, wanted: &Wanted) -> (String, Vec<rusqlite::types::Value>) {
        let of = |name: &str| format!("t.{}", quoted(name));
        let mut names: Vec<String> = wanted.columns.iter().map(|index| of(&self.columns[*index].0)).collect();
        names.extend(self.key.iter().map(|name| of(name)));
        if names.is_empty() {
            names.push("1".to_owned());
        }
        let (mut holds, mut values) = (vec![], vec![]);
        let mut placed = |literal: &Literal| {
            values.push(match literal {
                Literal::Integer(number) => (*number).into(),
                Literal::Text(text) => text.clone().into(),
                Literal::Time(_) | Literal::Day(_) => rusqlite::types::Value::Null,
            });
            format!("?{}", values.len())
        };
        for condition in &wanted.conditions {
            let column = of(&self.columns[condition.column].0);
            holds.push(match &condition.is {
                Is::OneOf(literals) => {
                    let places: Vec<String> = literals.iter().map(&mut placed).collect();
                    format!("{column} IN ({})", places.join(", "))
                }
                Is::AtLeast(literal) => format!("{column} >= {}", placed(literal)),
                Is::AtMost(literal) => format!("{column} <= {}", placed(literal)),
            });
        }
        let filter = if holds.is_empty() { String::new() } else { format!(" WHERE {}", holds.join(" AND ")) };
        let most = wanted.most.map(|most| format!(" LIMIT {most}")).unwrap_or_default();
        (format!("SELECT {} FROM {} AS t{filter}{most}", names.join(", "), quoted(&self.name)), values)
    }

    fn batch(&self, schema: &SchemaRef, columns: &mut [Column], rows: usize) -> Result<RecordBatch, TableError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let arrays = columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
            .map_err(|error| TableError::Place(error.to_string()))
    }

    fn unfit(&self, row: &Row, column: &str, number: usize, width: usize, wrong: &str) -> TableError {
        let value = |index: usize| {
            let value = row.get_ref(index).unwrap_or(ValueRef::Null);
            token(&Tokens::of(Asked::default()), value)
        };
        let key: Vec<String> =
            self.key.iter().enumerate().map(|(at, name)| format!("{name} = {}", value(width + at))).collect();
        let place = if key.is_empty() { format!("row {}", number + 1) } else { key.join(", ") };
        let table = format!("{}, table {}", self.database.path.display(), self.name);
        TableError::Value(format!(
            "{table}, {place}: {column} {wrong}, and its declared type says otherwise; leave the row out, or ask a view that casts it"
        ))
    }
}

impl Table for Found {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn takes(&self, condition: &Condition) -> bool {
        let kind = self.columns[condition.column].1;
        let fits = |literal: &Literal| {
            matches!((kind, literal), (Kind::Integer, Literal::Integer(_)) | (Kind::Text, Literal::Text(_)))
        };
        match &condition.is {
            Is::OneOf(literals) => literals.len() <= MOST_VALUES && literals.iter().all(fits),
            Is::AtLeast(literal) | Is::AtMost(literal) => kind == Kind::Integer && fits(literal),
        }
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        let connection = self.database.connect()?;
        let interrupt = connection.get_interrupt_handle();
        stop.then(move || interrupt.interrupt());
        let failed = |error: rusqlite::Error| self.database.trouble(&error);
        let schema =
            Arc::new(self.schema.project(&wanted.columns).map_err(|error| TableError::Place(error.to_string()))?);
        let kinds: Vec<Kind> = wanted.columns.iter().map(|index| self.columns[*index].1).collect();
        let mut columns: Vec<Column> = schema.fields().iter().map(|field| Column::of(field)).collect();
        let tokens = Tokens::of(Asked::default());
        let (sql, values) = self.sql(wanted);
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(failed)?;
        let (mut held, mut bytes, mut number) = (0, 0, 0);
        while let Some(row) = rows.next().map_err(failed)? {
            if stop.is_stopped() {
                return Err(TableError::Over);
            }
            for (index, (kind, column)) in kinds.iter().zip(&mut columns).enumerate() {
                let value = row.get_ref(index).map_err(failed)?;
                bytes += value.as_bytes_or_null().ok().flatten().map_or(8, <[u8]>::len);
                kind.put(value, &tokens, column)
                    .map_err(|wrong| self.unfit(row, schema.field(index).name(), number, kinds.len(), &wrong))?;
            }
            (held, number) = (held + 1, number + 1);
            if held >= ROWS || bytes >= BYTES {
                if !give(self.batch(&schema, &mut columns, held)?) {
                    return Err(TableError::Over);
                }
                (held, bytes) = (0, 0);
            }
        }
        if held > 0 {
            give(self.batch(&schema, &mut columns, held)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use tempfile::TempDir;

    use super::*;

    fn database(sql: &str) -> (TempDir, Database) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("shop.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        (folder, Database { path })
    }

    fn read(database: &Database, table: &str, wanted: &[&str], conditions: Vec<Condition>) -> Result<String, String> {
        let table = database.table(table).unwrap().expect("the table");
        let schema = table.schema();
        let columns = wanted.iter().map(|name| schema.index_of(name).unwrap()).collect();
        assert!(conditions.iter().all(|condition| table.takes(condition)));
        let mut batches = vec![];
        let mut give = |batch| {
            batches.push(batch);
            true
        };
        let wanted = Wanted { columns, conditions, most: None };
        table.read(&wanted, &Arc::default(), &mut give).map_err(|error| error.to_string())?;
        Ok(pretty_format_batches(&batches).unwrap().to_string())
    }

    const ORDERS: &str = "CREATE TABLE Orders (id INTEGER PRIMARY KEY, name VARCHAR(9), total DECIMAL(12,2), exact DECIMAL_TEXT(30,5),
        paid BOOLEAN, weight REAL, photo BLOB, tags JSON, placed TIMESTAMP, any);
      INSERT INTO Orders VALUES (1, 'ada', 9.5, '1234567890123456789.00001', 1, 3, x'00ff', '{\"a\": 1.0}', '2026-11-20', 7),
        (2, NULL, 10.1 * 3, NULL, 0, 0.1, NULL, '[]', 1795168800, 1.5), (3, 'bob', 7, NULL, NULL, NULL, NULL, NULL, NULL, 'x');";

    #[test]
    fn values_are_what_their_columns_are_declared_as() {
        let (_folder, database) = database(ORDERS);
        let all = ["id", "name", "total", "exact", "paid", "weight", "photo", "tags", "placed", "any"];
        let expected = "\
+----+------+-------+---------------------------+-------+--------+-------+------------+--------------+-----+
| id | name | total | exact                     | paid  | weight | photo | tags       | placed       | any |
+----+------+-------+---------------------------+-------+--------+-------+------------+--------------+-----+
| 1  | ada  | 9.50  | 1234567890123456789.00001 | true  | 3.0    | 00ff  | {\"a\": 1.0} | \"2026-11-20\" | 7   |
| 2  |      | 30.30 |                           | false | 0.1    |       | []         | 1795168800   | 1.5 |
| 3  | bob  | 7.00  |                           |       |        |       |            |              | \"x\" |
+----+------+-------+---------------------------+-------+--------+-------+------------+--------------+-----+";
        assert_eq!(read(&database, "orders", &all, vec![]).unwrap(), expected);
    }

    #[test]
    fn only_rows_and_columns_that_are_wanted_are_read() {
        let (_folder, database) = database(ORDERS);
        let condition = |column, is| Condition { column, is };
        let ids = condition(0, Is::OneOf(vec![Literal::Integer(2), Literal::Integer(3)]));
        let ada = condition(1, Is::OneOf(vec![Literal::Text("bob".into())]));
        let last = condition(0, Is::AtLeast(Literal::Integer(3)));
        for conditions in [vec![ids.clone(), ada], vec![ids, last]] {
            assert!(read(&database, "Orders", &["any"], conditions).unwrap().contains("| \"x\" |"));
        }
        let mut rows = 0;
        let table = database.table("orders").unwrap().unwrap();
        let wanted = Wanted { most: Some(2), ..Wanted::default() };
        let mut give = |batch: RecordBatch| {
            rows += batch.num_rows();
            true
        };
        table.read(&wanted, &Arc::default(), &mut give).unwrap();
        assert_eq!(rows, 2, "a count needs no column");
        let text = condition(1, Is::AtLeast(Literal::Text("a".into())));
        assert!(!table.takes(&text), "collations order texts");
    }

    #[test]
    fn what_is_not_as_declared_is_told_with_its_row_and_only_when_it_is_read() {
        let sql = "CREATE TABLE t (region TEXT, id INT, n INTEGER, PRIMARY KEY (region, id)) WITHOUT ROWID;
          INSERT INTO t VALUES ('eu', 1, 1), ('eu', 2, 'many');";
        let (_folder, database) = database(sql);
        let told = read(&database, "t", &["n"], vec![]).unwrap_err();
        assert!(
            told.ends_with(
                "shop.db, table t, region = \"eu\", id = 2: n is a TEXT, and its declared type says otherwise; \
                 leave the row out, or ask a view that casts it"
            ),
            "{told}"
        );
        assert!(read(&database, "t", &["id"], vec![]).is_ok());
    }

    #[test]
    fn tables_and_views_are_listed_and_nothing_is_made() {
        let (folder, database) =
            database(&format!("{ORDERS} CREATE VIEW sums AS SELECT sum(total) AS sum FROM Orders;"));
        let names: Vec<String> = database.all().unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(names, ["Orders", "sums"]);
        assert!(read(&database, "sums", &["sum"], vec![]).unwrap().contains("46.8"));
        assert!(database.table("none").unwrap().is_none());
        let away = Database { path: folder.path().join("away.db") };
        assert!(matches!(away.all().map(drop), Err(TableError::Place(_))));
        assert!(!away.path.exists());
    }

    #[test]
    fn a_stop_ends_a_statement_that_gives_nothing() {
        let endless = "CREATE VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c WHERE n < 0";
        let (_folder, database) = database(endless);
        let table = database.table("v").unwrap().unwrap();
        let stop = Arc::new(Stop::default());
        let stops = stop.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            stops.stop();
        });
        let ended = table.read(&Wanted::default(), &stop, &mut |_| true);
        assert_eq!(ended, Err(TableError::Over));
        timer.join().unwrap();
    }
}
