//! The newest version of each key of a table, beside it, with the tombstones of keys that were deleted.
//!
//! All versions that a batch needs are read at once and written at once. Writers of one table take turns, so that none decides by a
//! version that another one is about to raise.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{quoted, session::Session, trouble::Fault};
use crate::version::Known;

const COLUMNS: &str = "target text NOT NULL, key bytea NOT NULL, version bytea, place bigint, deleted_at timestamptz, \
                       PRIMARY KEY (target, key)";

/// An index takes rows of a third of a page; a longer key stands for itself by its hash.
const LONGEST_KEY: usize = 1024;

/// The table of versions in a schema, as far as one target is concerned.
#[derive(Clone, Debug)]
pub struct Versions {
    table: String,
    target: String,
}

impl Versions {
    pub fn of(schema: &str, target: &str) -> Self {
        Self { table: format!("{}.syncline_versions", quoted(schema)), target: target.to_owned() }
    }

    pub fn name(&self) -> &str {
        &self.table
    }

    pub fn are_there(&self, session: &Session) -> Result<bool, Fault> {
        let row = session.query_opt("SELECT to_regclass($1) IS NOT NULL", &[&self.table])?;
        Ok(row.is_some_and(|row| row.get(0)))
    }

    pub fn create(&self, session: &Session) -> Result<(), Fault> {
        if self.are_there(session)? { Ok(()) } else { session.run(&self.create_sql()) }
    }

    pub fn create_sql(&self) -> String {
        format!("CREATE TABLE {} ({COLUMNS})", self.table)
    }

    /// Other writers of the target wait until the transaction is over.
    pub fn lock(&self, session: &Session) -> Result<(), Fault> {
        let name = format!("{} {}", self.table, self.target);
        session.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&name]).map(drop)
    }

    pub fn read<'a>(&self, session: &Session, keys: impl Iterator<Item = &'a [u8]>) -> Result<Book, Fault> {
        let keys: BTreeSet<Vec<u8>> = keys.map(short).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let sql = format!(
            "SELECT key, version, place, deleted_at IS NOT NULL FROM {} WHERE target = $1 AND key = ANY($2)",
            self.table
        );
        let rows = session.query(&sql, &[&self.target, &keys])?;
        let known = |row: &tokio_postgres::Row| {
            (row.get(0), Known { version: row.get(1), place: row.get(2), deleted: row.get(3) })
        };
        Ok(Book { known: rows.iter().map(known).collect(), changed: BTreeSet::new() })
    }

    pub fn write(&self, session: &Session, book: &Book) -> Result<(), Fault> {
        if book.changed.is_empty() {
            return Ok(());
        }
        let changed: Vec<(&Vec<u8>, &Known)> =
            book.changed.iter().filter_map(|key| book.known.get_key_value(key)).collect();
        let keys: Vec<&[u8]> = changed.iter().map(|(key, _)| key.as_slice()).collect();
        let versions: Vec<Option<&[u8]>> = changed.iter().map(|(_, known)| known.version.as_deref()).collect();
        let places: Vec<Option<i64>> = changed.iter().map(|(_, known)| known.place).collect();
        let deleted: Vec<bool> = changed.iter().map(|(_, known)| known.deleted).collect();
        let sql = format!(
            "INSERT INTO {} (target, key, version, place, deleted_at) \
             SELECT $1, u.k, u.v, u.p, CASE WHEN u.d THEN now() END \
             FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::boolean[]) AS u(k, v, p, d) ON CONFLICT (target, key) \
             DO UPDATE SET version = excluded.version, place = excluded.place, deleted_at = excluded.deleted_at",
            self.table
        );
        session.execute(&sql, &[&self.target, &keys, &versions, &places, &deleted]).map(drop)
    }

    pub fn sweep(&self, session: &Session, seconds: u64) -> Result<(), Fault> {
        let sql =
            format!("DELETE FROM {} WHERE target = $1 AND deleted_at < now() - make_interval(secs => $2)", self.table);
        session.execute(&sql, &[&self.target, &(seconds as f64)]).map(drop)
    }

    /// Places are those of the old outbox; versions are the rows' own, and stay.
    pub fn forget_places(&self, session: &Session) -> Result<(), Fault> {
        if !self.are_there(session)? {
            return Ok(());
        }
        let sql = format!("UPDATE {} SET place = NULL WHERE target = $1", self.table);
        session.execute(&sql, &[&self.target]).map(drop)
    }
}

fn short(key: &[u8]) -> Vec<u8> {
    if key.len() <= LONGEST_KEY { key.to_vec() } else { Sha256::digest(key).to_vec() }
}

/// Versions that a batch knows, and changes.
#[derive(Default)]
pub struct Book {
    known: BTreeMap<Vec<u8>, Known>,
    changed: BTreeSet<Vec<u8>>,
}

impl Book {
    pub fn known(&self, key: &[u8]) -> Option<&Known> {
        self.known.get(&short(key))
    }

    pub fn keep(&mut self, key: &[u8], known: Known) {
        let key = short(key);
        self.changed.insert(key.clone());
        self.known.insert(key, known);
    }
}
