//! The target table: made from the columns of the rows, or checked against them before the first row is written.

use arrow::datatypes::FieldRef;
use syncline_engine::sink::{SinkError, Write};
use syncline_functions::sql_type_of;

use super::{
    kind::{Kind, Type, declared},
    listed, quoted,
    session::Session,
    trouble::{Fault, trouble},
};

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As the pipeline file has it: `orders`, `sales.orders`.
    pub name: String,
    pub columns: Vec<FieldRef>,
    pub write: Write,
}

/// The table as it is there.
#[derive(Clone, Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// In the order of the rows' columns.
    pub columns: Vec<Column>,
    /// Those of them that name a row (`UPSERT`) or a group (`REPLACE`).
    pub key: Vec<usize>,
    /// Rows of two keys, or groups, never meet: it does not count which comes first.
    pub apart: bool,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// The type without a length: with one, a cast would cut a text to it without a word.
    pub cast: String,
}

/// A column of the server's catalog.
pub struct There {
    pub name: String,
    pub kind: Kind,
    cast: String,
    /// The type as a person writes it.
    shown: String,
    /// Has to be given a value.
    wanted: bool,
    computed: bool,
    /// Texts are equal only when they are the same.
    exact: bool,
}

/// A relation of the server's catalog.
pub struct Found {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `r` for a table, `p` for one in parts, `v`, `m` and `f` for views and what lies elsewhere.
    pub relation: String,
}

const FIND: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND lower(c.relname) = lower($1) \
      AND CASE WHEN $2 = '' THEN n.nspname = ANY (current_schemas(false)) ELSE lower(n.nspname) = lower($2) END \
    ORDER BY c.relname = $1 DESC, n.nspname = $2 DESC, array_position(current_schemas(false), n.nspname) LIMIT 1";

/// Domains are taken off, down to the type that reads the text.
const COLUMNS: &str = "SELECT a.attname::text, t.oid, b.modifier, t.typcategory::text, \
      CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0::oid END, coalesce(e.typcategory::text, ''), format_type(t.oid, -1), \
      format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '', \
      coalesce(l.collisdeterministic, true) \
    FROM pg_attribute a CROSS JOIN LATERAL ( \
      WITH RECURSIVE base (oid, modifier, above) AS ( \
        SELECT y.oid, a.atttypmod, y.typtype = 'd' FROM pg_type y WHERE y.oid = a.atttypid \
        UNION ALL SELECT y.oid, d.typtypmod, y.typtype = 'd' \
        FROM base JOIN pg_type d ON d.oid = base.oid AND base.above JOIN pg_type y ON y.oid = d.typbasetype) \
      SELECT oid, modifier FROM base WHERE NOT above) AS b \
    JOIN pg_type t ON t.oid = b.oid LEFT JOIN pg_type e ON e.oid = t.typelem LEFT JOIN pg_collation l ON l.oid = a.attcollation \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Unique indexes that a conflict can be told by.
const UNIQUE: &str = "SELECT ARRAY(SELECT a.attname::text FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k \
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k ORDER BY 1) \
    FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL";

/// No unique index without the whole key ($2), nothing that excludes, refers to its own rows or acts on them, and no parts with such things
/// of their own.
const APART: &str = "SELECT NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND NOT $2::text[] <@ \
        ARRAY(SELECT a.attname::text FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k \
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k)) \
      AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal) \
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND (contype = 'x' OR confrelid = $1)) \
      AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = $1) AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = $1)";

impl Wanted {
    fn parts(&self) -> (&str, &str) {
        parts(&self.name)
    }

    pub fn find(&self, session: &Session) -> Result<Option<Found>, Fault> {
        relation(session, &self.name)
    }

    /// The schema that the table is in, or will be.
    pub fn schema(&self, session: &Session, place: &str) -> Result<String, SinkError> {
        let failed = |fault| trouble(place, "look at the schemas", &fault);
        if let Some(found) = self.find(session).map_err(failed)? {
            return Ok(found.schema);
        }
        let sql = "SELECT nspname::text FROM pg_namespace \
                   WHERE CASE WHEN $1 = '' THEN nspname = current_schema() ELSE lower(nspname) = lower($1) END ORDER BY nspname = $1 DESC";
        let (schema, _) = self.parts();
        let row = session.query_opt(sql, &[&schema]).map_err(failed)?;
        row.map(|row| row.get(0)).ok_or_else(|| {
            let (what, edit) = match schema {
                "" => ("no schema of the search path is there".to_owned(), "name one: 'schema.table'".to_owned()),
                schema => (format!("there is no schema {schema}"), format!("run: CREATE SCHEMA {};", quoted(schema))),
            };
            SinkError::Never(format!("{place}: {what}; {edit}"))
        })
    }

    /// Makes the table, or says why the one that is there cannot take the rows.
    pub fn ensure(&self, session: &Session, schema: &str, place: &str) -> Result<Table, SinkError> {
        let unseen = |fault| trouble(place, "look at the table", &fault);
        if self.find(session).map_err(unseen)?.is_none() {
            self.create(session, schema, place)?;
        }
        let found = self.find(session).map_err(unseen)?;
        let found = found.ok_or_else(|| SinkError::Again(format!("{place}: table {} went away", self.name)))?;
        let checked = Checked { wanted: self, place, called: format!("{}.{}", found.schema, found.name) };
        checked.relation(&found.relation)?;
        let there = columns(session, found.oid).map_err(unseen)?;
        let columns = checked.columns(&there)?;
        let key = checked.key(&columns);
        if let Write::Upsert { .. } = self.write {
            let unique = session.query(UNIQUE, &[&found.oid]).map_err(unseen)?;
            checked.unique(&columns, &key, unique.iter().map(|row| row.get(0)), &found)?;
        }
        let spelling = checked.spelling(&columns, &there, &key);
        // A key that the table finds under several texts is no key that rows can be told apart by.
        let apart = spelling.is_ok();
        if self.write.keeps_versions() {
            spelling?;
        }
        let names: Vec<&str> = key.iter().map(|index| columns[*index].name.as_str()).collect();
        let alone = session.query_opt(APART, &[&found.oid, &names]).map_err(unseen)?.is_some_and(|row| row.get(0));
        let apart = apart && alone;
        Ok(Table { schema: found.schema, name: found.name, columns, key, apart })
    }

    fn create(&self, session: &Session, schema: &str, place: &str) -> Result<(), SinkError> {
        let (_, name) = self.parts();
        let untyped =
            self.columns.iter().find(|field| self.write.key().contains(field.name()) && declared(field) == "jsonb");
        if let Some(field) = untyped {
            let column = field.name();
            return Err(SinkError::Never(format!(
                "{place}: table {} is not there, and cannot be made: the type of its key {column} is not known (JSON); \
                 say it in the SELECT before: CAST({column} AS BIGINT) AS {column}; or make the table yourself",
                self.name
            )));
        }
        let table = format!("{}.{}", quoted(schema), quoted(name));
        let mut sql = self.create_sql(&table);
        if let Write::Replace { per, .. } = &self.write {
            // Groups are taken out by it.
            sql.push_str(&format!("; CREATE INDEX ON {table} ({})", listed(per, |name| quoted(name), ", ")));
        }
        session.run(&sql).map_err(|fault| trouble(place, "create the table", &fault))
    }

    fn create_sql(&self, table: &str) -> String {
        let key = if matches!(self.write, Write::Upsert { .. }) { self.write.key() } else { &[] };
        let mut parts: Vec<String> =
            self.columns.iter().map(|field| format!("{} {}", quoted(field.name()), declared(field))).collect();
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", listed(key, |name| quoted(name), ", ")));
        }
        format!("CREATE TABLE {table} ({})", parts.join(", "))
    }
}

/// The schema, where one is said, and the name in it.
fn parts(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("", name))
}

/// What is there under the name that a pipeline file has.
pub fn relation(session: &Session, name: &str) -> Result<Option<Found>, Fault> {
    let (schema, name) = parts(name);
    let row = session.query_opt(FIND, &[&name, &schema])?;
    Ok(row.map(|row| Found { oid: row.get(0), schema: row.get(1), name: row.get(2), relation: row.get(3) }))
}

pub fn columns(session: &Session, table: u32) -> Result<Vec<There>, Fault> {
    let rows = session.query(COLUMNS, &[&table])?;
    let column = |row: &tokio_postgres::Row| {
        let (category, element_category): (String, String) = (row.get(3), row.get(5));
        let found = Type {
            oid: row.get(1),
            modifier: row.get(2),
            category: &category,
            element: row.get(4),
            element_category: &element_category,
        };
        There {
            name: row.get(0),
            kind: Kind::of(&found),
            cast: row.get(6),
            shown: row.get(7),
            wanted: row.get(8),
            computed: row.get(9),
            exact: row.get(10),
        }
    };
    Ok(rows.iter().map(column).collect())
}

/// What a table is looked at for.
struct Checked<'a> {
    wanted: &'a Wanted,
    place: &'a str,
    called: String,
}

impl Checked<'_> {
    fn never<T>(&self, detail: String) -> Result<T, SinkError> {
        Err(SinkError::Never(format!("{}: {detail}", self.place)))
    }

    fn relation(&self, relation: &str) -> Result<(), SinkError> {
        let what = match relation {
            "r" | "p" => return Ok(()),
            "v" => "a view",
            "m" => "a materialized view",
            _ => "a foreign table",
        };
        self.never(format!("{} is {what}, and rows need a table of their own; name the table behind it", self.called))
    }

    fn columns(&self, there: &[There]) -> Result<Vec<Column>, SinkError> {
        let mut columns = vec![];
        let mut missing = vec![];
        for field in &self.wanted.columns {
            match find(there, field.name()) {
                None => missing.push(field.name().as_str()),
                Some(found) => columns.push(self.column(field, found)?),
            }
        }
        if !missing.is_empty() {
            let has = listed(there, |column| column.name.clone(), ", ");
            return self.never(format!(
                "table {} has no column {}; it has {has}; leave it out with a SELECT before, or add it: ALTER TABLE … ADD COLUMN",
                self.called,
                missing.join(", ")
            ));
        }
        let given = |column: &There| columns.iter().any(|own| own.name == column.name);
        match there.iter().find(|column| column.wanted && !column.computed && !given(column)) {
            None => Ok(columns),
            Some(column) => self.never(format!(
                "column {} of table {} is NOT NULL without a default, and the rows have none; SELECT one of this name, \
                 or give the column a DEFAULT",
                column.name, self.called
            )),
        }
    }

    fn column(&self, field: &FieldRef, found: &There) -> Result<Column, SinkError> {
        let name = &found.name;
        if found.computed {
            return self.never(format!(
                "column {name} of table {} is computed by the database; leave it out with a SELECT before",
                self.called
            ));
        }
        match found.kind.takes(field) {
            Ok(()) => Ok(Column { name: name.clone(), kind: found.kind.clone(), cast: found.cast.clone() }),
            Err(cast) => {
                let edit = match cast {
                    Some("DECIMAL") => {
                        format!("CAST({name} AS {}) AS {name} in a SELECT before", decimal(&found.shown))
                    }
                    Some(cast) => format!("CAST({name} AS {cast}) AS {name} in a SELECT before"),
                    None => "write it to a column of another type".to_owned(),
                };
                self.never(format!(
                    "column {name} of table {} is {}, and its values are {}; {edit}",
                    self.called,
                    found.shown,
                    sql_type_of(field)
                ))
            }
        }
    }

    fn key(&self, columns: &[Column]) -> Vec<usize> {
        let place = |name: &String| self.wanted.columns.iter().position(|field| field.name() == name);
        self.wanted.write.key().iter().filter_map(place).filter(|index| *index < columns.len()).collect()
    }

    fn unique(
        &self,
        columns: &[Column],
        key: &[usize],
        mut indexes: impl Iterator<Item = Vec<String>>,
        found: &Found,
    ) -> Result<(), SinkError> {
        let mut names: Vec<&str> = key.iter().map(|index| columns[*index].name.as_str()).collect();
        let listed_names = listed(&names, |name| quoted(name), ", ");
        names.sort_unstable();
        if indexes.any(|index| index == names) {
            return Ok(());
        }
        self.never(format!(
            "table {} has no unique key on ({}), which UPSERT needs; run: CREATE UNIQUE INDEX ON {}.{} ({listed_names});",
            self.called,
            self.wanted.write.key().join(", "),
            quoted(&found.schema),
            quoted(&found.name),
        ))
    }

    /// Versions are kept by the key's text: one that the table finds under several texts would have several.
    fn spelling(&self, columns: &[Column], there: &[There], key: &[usize]) -> Result<(), SinkError> {
        for column in key.iter().map(|index| &columns[*index]) {
            let found = there.iter().find(|there| there.name == column.name);
            if let Some(found) = found.filter(|found| !found.exact || !found.kind.is_one_spelling()) {
                let why = if found.exact { "" } else { ", with a collation that takes different texts as equal" };
                return self.never(format!(
                    "column {} of table {} is {}{why}: versions cannot be kept by it, as SEQUENCE BY and REPLACE need; \
                     use a key of a plain type: a number, text, uuid, date or timestamp",
                    found.name, self.called, found.shown
                ));
            }
        }
        Ok(())
    }
}

fn decimal(shown: &str) -> String {
    // A bare NUMERIC keeps all digits; two after the point are an example.
    if shown.contains('(') { shown.replace("numeric", "DECIMAL") } else { "DECIMAL(18,2)".to_owned() }
}

/// The column of a name: the same, or else the one that differs in case.
pub fn find<'a>(there: &'a [There], name: &str) -> Option<&'a There> {
    let exact = there.iter().find(|column| column.name == name);
    exact.or_else(|| there.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
}

impl Table {
    pub fn sql_name(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub fn copy_sql(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.sql_name(), listed(&self.columns, |column| quoted(&column.name), ", "))
    }

    /// Takes one array of texts per column.
    pub fn upsert_sql(&self, ignore_nulls: bool) -> String {
        let names = listed(&self.columns, |column| quoted(&column.name), ", ");
        let is_key = |name: &str| self.key.iter().any(|index| self.columns[*index].name == name);
        let others = self.columns.iter().filter(|column| !is_key(&column.name));
        let set = listed(
            others,
            |column| {
                let name = quoted(&column.name);
                match ignore_nulls {
                    true => format!("{name} = coalesce(excluded.{name}, t.{name})"),
                    false => format!("{name} = excluded.{name}"),
                }
            },
            ", ",
        );
        let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        let on = listed(&self.key, |index| quoted(&self.columns[*index].name), ", ");
        let all: Vec<usize> = (0..self.columns.len()).collect();
        format!(
            "INSERT INTO {} AS t ({names}) SELECT {} FROM {} ORDER BY u.ord ON CONFLICT ({on}) DO {action}",
            self.sql_name(),
            listed(&all, |index| format!("u.c{index}::{}", self.columns[*index].cast), ", "),
            self.unnested(&all)
        )
    }

    /// Takes one array of texts per column of the key: the rows of the keys, or of the groups.
    pub fn delete_sql(&self) -> String {
        let same = |index: &usize| {
            let Column { name, cast, .. } = &self.columns[*index];
            format!("t.{} = u.c{index}::{cast}", quoted(name))
        };
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}",
            self.sql_name(),
            self.unnested(&self.key),
            listed(&self.key, same, " AND ")
        )
    }

    fn unnested(&self, columns: &[usize]) -> String {
        let arrays = listed(columns.iter().enumerate(), |(place, _)| format!("${}::text[]", place + 1), ", ");
        let names = listed(columns, |index| format!("c{index}"), ", ");
        format!("unnest({arrays}) WITH ORDINALITY AS u({names}, ord)")
    }
}
