//! The target table: made from the columns of the rows, or checked against them.

use std::path::Path;

use arrow::datatypes::FieldRef;
use rusqlite::{Connection, params};
use syncline_engine::sink::{SinkError, Write};

use super::{affinity::Numeric, listed, quoted, trouble::trouble, value::declared};

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<FieldRef>,
    pub write: Write,
}

impl Table {
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|field| field.name().clone()).collect()
    }

    /// Makes the table, or says why the one that is there cannot take the rows.
    pub fn ensure(&self, connection: &Connection, path: &Path) -> Result<Numeric, SinkError> {
        let unseen = |error| trouble(path, "look at the table", error);
        let there = columns_of(connection, &self.name).map_err(unseen)?;
        match there.is_empty() {
            true => connection
                .execute_batch(&self.create_sql())
                .map_err(|error| trouble(path, "create the table", error))?,
            false => self.check(connection, path, &there)?,
        }
        Numeric::of(connection, &self.name, &self.columns).map_err(unseen)
    }

    fn check(&self, connection: &Connection, path: &Path, there: &[String]) -> Result<(), SinkError> {
        let is_there = |name: &String| there.iter().any(|column| column.eq_ignore_ascii_case(name));
        let missing: Vec<String> = self.names().into_iter().filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            return Err(SinkError::Never(format!(
                "{}: table {} has no column {}; it has {}",
                path.display(),
                self.name,
                missing.join(", "),
                there.join(", ")
            )));
        }
        if let Write::Upsert { key, .. } = &self.write
            && !has_unique(connection, &self.name, key).map_err(|error| trouble(path, "look at the indexes", error))?
        {
            let index = quoted(&format!("{}_{}", self.name, key.join("_")));
            let columns = listed(key, |name| quoted(name), ", ");
            return Err(SinkError::Never(format!(
                "{}: table {} has no unique key on ({}), which UPSERT needs; run: CREATE UNIQUE INDEX {index} ON {} ({columns});",
                path.display(),
                self.name,
                key.join(", "),
                quoted(&self.name)
            )));
        }
        Ok(())
    }

    /// How many rows it has; 0 when it is not there.
    pub fn rows(&self, connection: &Connection) -> rusqlite::Result<u64> {
        if columns_of(connection, &self.name)?.is_empty() {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM {}", quoted(&self.name));
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|rows| rows as u64)
    }

    fn create_sql(&self) -> String {
        let key = if matches!(self.write, Write::Upsert { .. }) { self.write.key() } else { &[] };
        let mut parts: Vec<String> = Vec::with_capacity(self.columns.len() + 1);
        for field in &self.columns {
            let mut part = format!("{} {}", quoted(field.name()), declared(field)).trim_end().to_owned();
            if key.contains(field.name()) {
                part.push_str(" NOT NULL");
            }
            parts.push(part);
        }
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", listed(key, |name| quoted(name), ", ")));
        }
        format!("CREATE TABLE {} ({})", quoted(&self.name), parts.join(", "))
    }

    pub fn insert_sql(&self) -> String {
        let names = self.names();
        let columns = listed(&names, |name| quoted(name), ", ");
        let values = listed(&names, |_| "?".to_owned(), ", ");
        format!("INSERT INTO {} ({columns}) VALUES ({values})", quoted(&self.name))
    }

    pub fn upsert_sql(&self, key: &[String], ignore_nulls: bool) -> String {
        let others: Vec<String> = self.names().into_iter().filter(|name| !key.contains(name)).collect();
        let table = quoted(&self.name);
        let set = listed(
            &others,
            |name| {
                let name = quoted(name);
                match ignore_nulls {
                    true => format!("{name} = coalesce(excluded.{name}, {table}.{name})"),
                    false => format!("{name} = excluded.{name}"),
                }
            },
            ", ",
        );
        let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        let on = listed(key, |name| quoted(name), ", ");
        format!("{} ON CONFLICT ({on}) DO {action}", self.insert_sql())
    }

    /// The row of a key, or the rows of a group.
    pub fn delete_sql(&self) -> String {
        let same = listed(self.write.key(), |name| format!("{} = ?", quoted(name)), " AND ");
        format!("DELETE FROM {} WHERE {same}", quoted(&self.name))
    }
}

pub(super) fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// Whether some unique index, or the primary key, is on just these columns.
fn has_unique(connection: &Connection, table: &str, key: &[String]) -> rusqlite::Result<bool> {
    let mut wanted: Vec<String> = key.iter().map(|name| name.to_ascii_lowercase()).collect();
    wanted.sort();
    let sql = "SELECT il.name, lower(ii.name) FROM pragma_index_list(?1) il, pragma_index_info(il.name) ii \
               WHERE il.\"unique\" = 1 AND il.partial = 0 \
               UNION ALL SELECT 'the primary key', lower(name) FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY 1, 2";
    let mut statement = connection.prepare(sql)?;
    let rows =
        statement.query_map(params![table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
    let mut indexes: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let (index, column) = row?;
        // An index on an expression has no column name, and can be no key of ours.
        let column = column.unwrap_or_default();
        match indexes.last_mut() {
            Some((name, columns)) if *name == index => columns.push(column),
            _ => indexes.push((index, vec![column])),
        }
    }
    Ok(indexes.into_iter().any(|(_, columns)| columns == wanted))
}
