//! The key by which a table can be read on: what orders its rows, and that no two have the same.
//!
//! In this order: what the pipeline file says, an INTEGER PRIMARY KEY, a primary key without NULL, and the number that SQLite gives to the
//! rows of a table. That number is another one after a VACUUM, so such a table is another table then.

use rusqlite::Connection;
use syncline_engine::source::SourceError;

use super::{place::TablePlace, quoted};

/// Names of the number of a row, of which a table may use some for columns of its own.
const NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

#[derive(Debug, PartialEq)]
pub struct Key {
    pub columns: Vec<KeyColumn>,
    /// SQLite sees to it that every row has one, of its own.
    pub sure: bool,
    /// It is the number of a row, and may be another one after a VACUUM.
    pub passing: bool,
    /// The table compares texts in other ways than byte by byte.
    pub collated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeyColumn {
    pub name: String,
    pub collation: String,
}

const PLAIN: &str = "BINARY";

impl KeyColumn {
    fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), collation: PLAIN.to_owned() }
    }

    /// As an identity has it.
    pub fn text(&self) -> String {
        if self.collation == PLAIN { self.name.clone() } else { format!("{} COLLATE {}", self.name, self.collation) }
    }

    pub fn sql(&self, collated: bool) -> String {
        let name = format!("t.{}", quoted(&self.name));
        if collated { format!("{name} COLLATE {}", quoted(&self.collation)) } else { name }
    }
}

struct Column {
    name: String,
    kind: String,
    not_null: bool,
    /// Its place in the primary key, from 1.
    primary: u32,
}

struct Index {
    of_primary_key: bool,
    columns: Vec<KeyColumn>,
}

/// What is there under the name of the table.
struct Found {
    is_table: bool,
    without_rowid: bool,
    columns: Vec<Column>,
    /// Unique ones, of columns, over all rows.
    indexes: Vec<Index>,
    collated: bool,
}

impl Key {
    pub fn of(place: &TablePlace, connection: &Connection, said: &[String]) -> Result<Self, SourceError> {
        let found = Found::of(connection, &place.table).map_err(|error| place.trouble(error))?;
        let columns = if said.is_empty() { found.own() } else { Some(found.said(place, said)?) };
        let Some((columns, sure)) = columns else { return found.number(place) };
        // Of a view nobody knows how its columns compare.
        Ok(Self { columns, sure, passing: false, collated: found.collated || !sure })
    }

    /// Whether a row has no key, where SQLite does not see to it.
    pub fn null_sql(&self, table: &str) -> String {
        let nulls: Vec<String> =
            self.columns.iter().map(|column| format!("t.{} IS NULL", quoted(&column.name))).collect();
        format!("SELECT EXISTS (SELECT 1 FROM {} AS t WHERE {})", quoted(table), nulls.join(" OR "))
    }

    /// `a, b` of the table.
    pub fn listed(&self) -> String {
        let each = self.columns.iter().map(|column| column.sql(self.collated));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Rows behind the key whose values are ?1, ?2 …
    pub fn behind(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| column.sql(self.collated)).collect();
        if !self.collated && columns.len() > 1 {
            let values: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
            return format!("({}) > ({})", columns.join(", "), values.join(", "));
        }
        // A list of values is compared by an index only as its columns are declared.
        let mut condition = String::new();
        for (at, column) in columns.iter().enumerate().rev() {
            let value = at + 1;
            condition = match condition.is_empty() {
                true => format!("{column} > ?{value}"),
                false => format!("{column} >= ?{value} AND ({column} > ?{value} OR ({condition}))"),
            };
        }
        condition
    }
}

impl Found {
    fn of(connection: &Connection, table: &str) -> rusqlite::Result<Self> {
        let sql = "SELECT type, wr, (SELECT coalesce(sql, '') FROM sqlite_schema AS s WHERE s.name = l.name) \
                   FROM pragma_table_list AS l WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
        let (kind, without_rowid, text): (String, bool, Option<String>) =
            connection.query_row(sql, [table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut statement = connection.prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1)")?;
        let columns = statement.query_map([table], |row| {
            Ok(Column { name: row.get(0)?, kind: row.get(1)?, not_null: row.get(2)?, primary: row.get(3)? })
        })?;
        let columns = columns.collect::<rusqlite::Result<_>>()?;
        let sql = "SELECT name, origin FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND partial = 0";
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map([table], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let names = names.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        let mut indexes = vec![];
        for (name, origin) in names {
            let sql = "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno";
            let mut statement = connection.prepare(sql)?;
            let parts = statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let parts = parts.collect::<rusqlite::Result<Vec<(Option<String>, String)>>>()?;
            let columns: Option<Vec<KeyColumn>> =
                parts.into_iter().map(|(name, collation)| Some(KeyColumn { name: name?, collation })).collect();
            indexes.extend(columns.map(|columns| Index { of_primary_key: origin == "pk", columns }));
        }
        let collated = text.unwrap_or_default().to_ascii_lowercase().contains("collate")
            || indexes.iter().any(|index| index.columns.iter().any(|column| column.collation != PLAIN));
        Ok(Self { is_table: kind == "table", without_rowid, columns, indexes, collated })
    }

    fn is_never_null(&self, name: &str) -> bool {
        let column = self.columns.iter().find(|column| column.name == name);
        column.is_some_and(|column| column.not_null || (self.without_rowid && column.primary > 0))
    }

    /// The column that is the number of the row.
    fn alias(&self) -> Option<&Column> {
        let mut primary = self.columns.iter().filter(|column| column.primary > 0);
        let only = primary.next().filter(|column| column.kind.eq_ignore_ascii_case("integer"))?;
        let alone = primary.next().is_none() && !self.without_rowid;
        (alone && !self.indexes.iter().any(|index| index.of_primary_key)).then_some(only)
    }

    /// The key that the table has by itself, and that it is one.
    fn own(&self) -> Option<(Vec<KeyColumn>, bool)> {
        if let Some(alias) = self.alias() {
            return Some((vec![KeyColumn::plain(&alias.name)], true));
        }
        let primary = self.indexes.iter().find(|index| index.of_primary_key)?;
        let whole = primary.columns.iter().all(|column| self.is_never_null(&column.name));
        whole.then(|| (primary.columns.clone(), true))
    }

    fn number(&self, place: &TablePlace) -> Result<Key, SourceError> {
        let free =
            NUMBERS.iter().find(|name| !self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)));
        match free.filter(|_| self.is_table && !self.without_rowid) {
            Some(name) => Ok(Key { columns: vec![KeyColumn::plain(name)], sure: true, passing: true, collated: false }),
            None => Err(unusable(
                place,
                "has no key by which it could be read on from where a run was stopped; \
                 name columns that no two rows share and that are never NULL: key => 'a, b'"
                    .to_owned(),
            )),
        }
    }

    /// The key that the pipeline file says, and whether SQLite sees to it.
    fn said(&self, place: &TablePlace, said: &[String]) -> Result<(Vec<KeyColumn>, bool), SourceError> {
        let mut names = vec![];
        for name in said {
            let there = self.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
            let exact = there.iter().find(|column| *column == name);
            let found = exact.or_else(|| there.iter().find(|column| column.eq_ignore_ascii_case(name)));
            names.push(found.ok_or_else(|| place.no_column(name, &there))?.clone());
        }
        if !self.is_table {
            return Ok((names.iter().map(|name| KeyColumn::plain(name)).collect(), false));
        }
        if let ([name], Some(alias)) = (&names[..], self.alias())
            && alias.name == *name
        {
            return Ok((vec![KeyColumn::plain(name)], true));
        }
        if let Some(nullable) = names.iter().find(|name| !self.is_never_null(name)) {
            let detail = format!(
                "is to be read by key => '{}', and {nullable} may be NULL, so rows could have no key; \
                 name columns that are declared NOT NULL",
                names.join(", ")
            );
            return Err(unusable(place, detail));
        }
        let of = |index: &Index| -> Option<Vec<KeyColumn>> {
            let find = |name: &String| index.columns.iter().find(|column| column.name == *name).cloned();
            (index.columns.len() == names.len()).then(|| names.iter().map(find).collect())?
        };
        self.indexes.iter().find_map(of).map(|columns| (columns, true)).ok_or_else(|| {
            let listed = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let index = quoted(&format!("{}_{}", place.table, names.join("_")));
            unusable(
                place,
                format!(
                    "is to be read by key => '{}', which rows may share; name columns with a unique index, or run: \
                     CREATE UNIQUE INDEX {index} ON {} ({listed});",
                    names.join(", "),
                    quoted(&place.table)
                ),
            )
        })
    }
}

fn unusable(place: &TablePlace, detail: String) -> SourceError {
    SourceError::Unreadable { what: place.what(), detail }
}
