//! The key by which a table can be read on: its primary key, or what the pipeline file says, which no two rows may share.
//!
//! The server compares keys, by the types and collations of their columns. A view has no keys that the server would know of: that its rows
//! have one each is looked at while they are read.

use super::{
    listed, quoted,
    session::Session,
    table::{Found, There, find},
    trouble::Fault,
};

#[derive(Debug)]
pub struct Key {
    pub columns: Vec<KeyColumn>,
    /// The server sees to it that every row has one, of its own.
    pub sure: bool,
}

#[derive(Clone, Debug)]
pub struct KeyColumn {
    pub name: String,
    /// As a cast has it.
    cast: String,
    /// What orders its texts, where that is not the database's own.
    collation: Option<String>,
}

/// Columns of the table with what decides about their order; a type with its length, as a shorter one would cut a key.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
      CASE WHEN a.attcollation <> 0 AND l.collname <> 'default' THEN l.collname::text END \
    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";

/// Unique indexes over all rows, which compare as their columns do; the primary key first. `inherited`: other tables have rows of this
/// one, of which its indexes know nothing.
const UNIQUE: &str = "SELECT i.indisprimary, ARRAY(SELECT a.attname::text \
        FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) \
    FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
      AND NOT EXISTS (SELECT FROM unnest(i.indcollation::oid[], (i.indkey::int2[])[0:i.indnkeyatts - 1]) AS c (oid, number) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = c.number AND a.attcollation <> c.oid) \
    ORDER BY i.indisprimary DESC";
const HAS_HEIRS: &str = "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = $1)";

/// Why a table cannot be read by a key.
pub enum Unusable {
    Fault(Fault),
    /// Ends a sentence that begins with the place.
    Never(String),
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Key {
    pub fn of(session: &Session, found: &Found, there: &[There], said: &[String]) -> Result<Self, Unusable> {
        let rows = session.query(COLUMNS, &[&found.oid])?;
        let columns: Vec<(KeyColumn, bool)> = rows
            .iter()
            .map(|row| (KeyColumn { name: row.get(0), cast: row.get(1), collation: row.get(3) }, row.get(2)))
            .collect();
        let rows = session.query(UNIQUE, &[&found.oid])?;
        let indexes: Vec<(bool, Vec<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let heirs = session.query_opt(HAS_HEIRS, &[&found.oid])?.is_some_and(|row| row.get(0));
        let guarded = found.relation == "p" || (found.relation == "r" && !heirs);
        let names = match said {
            [] => primary(found, &indexes)?,
            said => said.iter().map(|name| named(found, there, name)).collect::<Result<_, _>>()?,
        };
        if guarded && !said.is_empty() {
            check(found, &names, &columns, &indexes)?;
        }
        let column = |name: &String| columns.iter().find(|(column, _)| column.name == *name);
        let columns = names.iter().filter_map(column).map(|(column, _)| column.clone()).collect();
        Ok(Self { columns, sure: guarded })
    }

    /// As an identity has it: with another type or collation, other rows lie behind a key.
    pub fn texts(&self) -> Vec<String> {
        let text = |column: &KeyColumn| {
            let collation = column.collation.as_ref().map(|name| format!(" COLLATE {name}")).unwrap_or_default();
            format!("{} {}{collation}", column.name, column.cast)
        };
        self.columns.iter().map(text).collect()
    }

    pub fn names(&self) -> String {
        listed(&self.columns, |column| column.name.clone(), ", ")
    }

    /// `t.a, t.b`
    pub fn listed(&self) -> String {
        listed(&self.columns, |column| format!("t.{}", quoted(&column.name)), ", ")
    }

    /// Rows behind the key whose texts are $1, $2 …
    pub fn behind(&self) -> String {
        let values = listed(self.columns.iter().enumerate(), |(at, column)| value(at + 1, column), ", ");
        format!("({}) > ({values})", self.listed())
    }

    /// Whether a row has no key, where the server does not see to it.
    pub fn null_sql(&self, table: &str) -> String {
        let nulls = listed(&self.columns, |column| format!("t.{} IS NULL", quoted(&column.name)), " OR ");
        format!("SELECT EXISTS (SELECT FROM {table} AS t WHERE {nulls})")
    }
}

fn value(place: usize, column: &KeyColumn) -> String {
    format!("${place}::text::{}", column.cast)
}

fn called(found: &Found) -> String {
    let what = match found.relation.as_str() {
        "v" | "m" => "view",
        "f" => "foreign table",
        _ => "table",
    };
    format!("{what} {}.{}", found.schema, found.name)
}

fn primary(found: &Found, indexes: &[(bool, Vec<String>)]) -> Result<Vec<String>, Unusable> {
    let primary = indexes.iter().find(|(primary, _)| *primary).map(|(_, names)| names.clone());
    primary.ok_or_else(|| {
        Unusable::Never(format!(
            "{} has no primary key, by which it could be read on from where a run was stopped; \
             name columns that no two rows share and that are never NULL: key => 'a, b'",
            called(found)
        ))
    })
}

fn named(found: &Found, there: &[There], name: &str) -> Result<String, Unusable> {
    let column = find(there, name).map(|column| column.name.clone());
    column.ok_or_else(|| no_column(found, there, name))
}

pub fn no_column(found: &Found, there: &[There], name: &str) -> Unusable {
    let has = listed(there, |column| column.name.clone(), ", ");
    Unusable::Never(format!("{} has no column {name}; its columns are {has}", called(found)))
}

/// Whether the server keeps rows from sharing these columns, or from having none of them.
fn check(
    found: &Found,
    names: &[String],
    columns: &[(KeyColumn, bool)],
    indexes: &[(bool, Vec<String>)],
) -> Result<(), Unusable> {
    let (said, table) = (names.join(", "), format!("{}.{}", quoted(&found.schema), quoted(&found.name)));
    let called = called(found);
    let nullable = |name: &&String| columns.iter().any(|(column, not_null)| column.name == **name && !not_null);
    if let Some(name) = names.iter().find(nullable) {
        return Err(Unusable::Never(format!(
            "{called} is to be read by key => '{said}', and {name} may be NULL, so rows could have no key; \
             name other columns, or run: ALTER TABLE {table} ALTER COLUMN {} SET NOT NULL;",
            quoted(name)
        )));
    }
    if indexes.iter().any(|(_, index)| !index.is_empty() && index.iter().all(|name| names.contains(name))) {
        return Ok(());
    }
    Err(Unusable::Never(format!(
        "{called} is to be read by key => '{said}', which rows may share; name columns with a unique index, or run: \
         CREATE UNIQUE INDEX ON {table} ({});",
        listed(names, |name| quoted(name), ", ")
    )))
}
