//! What a sink of a test holds: a table in memory that inserts, upserts and replaces as the words mean.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Schema, SchemaRef, UInt64Type},
    row::{RowConverter, SortField},
};
use syncline_engine::{
    operators::present::{ORIGIN, OUT},
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SEQUENCE, SinkError, Stream, Write},
};
use syncline_functions::{fingerprints, token_of};
use syncline_record::{Op, Reason, batch::Operations};

use crate::bind::SinkEdge;

/// A row as JSON tokens, one per column.
pub type Row = Vec<String>;

/// The rows that a reader of the sink would find.
pub struct Table {
    /// Visible columns; for whole records the one column `__out`.
    pub schema: Arc<Schema>,
    /// In the order in which they came; a key that was written again keeps its place.
    pub rows: Vec<(Vec<u8>, Row)>,
    versions: HashMap<Vec<u8>, Vec<u8>>,
    newest: HashMap<Vec<u8>, Newest>,
    progress: Option<Delivered>,
}

/// The input that a group has its rows of.
struct Newest {
    version: Option<Vec<u8>>,
    erased: bool,
    origin: u64,
}

impl Table {
    pub fn new(edge: &SinkEdge<'_>) -> Self {
        let visible: Vec<_> =
            edge.schema.fields().iter().filter(|field| !field.name().starts_with("__")).cloned().collect();
        let whole = edge.schema.fields().iter().filter(|field| field.name() == OUT).cloned();
        let fields = if visible.is_empty() { whole.collect() } else { visible };
        Self {
            schema: Arc::new(Schema::new(fields)),
            rows: vec![],
            versions: HashMap::new(),
            newest: HashMap::new(),
            progress: None,
        }
    }
}

/// Applies rows at `commit` only, with the position: transactional, as SQLite is.
pub struct TableSink {
    table: Arc<Mutex<Table>>,
    write: Write,
    pending: Vec<OutboxRows>,
}

impl TableSink {
    pub fn new(table: Arc<Mutex<Table>>, write: Write) -> Self {
        Self { table, write, pending: vec![] }
    }
}

impl OutboxSink for TableSink {
    fn open(&mut self, _: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.pending.clear();
        let table = self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(Some(table.progress.clone().unwrap_or_default()))
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let mut table = self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut applied = Applied::default();
        for rows in rows {
            write(&mut table, &self.write, rows, &mut applied).map_err(SinkError::Never)?;
        }
        Ok(applied)
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        let mut table = self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        table.progress = Some(delivered.clone());
        Ok(())
    }

    fn clear(&mut self, _: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The columns of a batch that matter to a write, found once.
struct View<'a> {
    rows: &'a RecordBatch,
    visible: Vec<usize>,
    /// Of the row, or of its group: equal as JSON values are.
    keys: Vec<Option<Vec<u8>>>,
    versions: Option<Vec<Option<Vec<u8>>>>,
}

impl<'a> View<'a> {
    fn new(rows: &'a RecordBatch, schema: &SchemaRef, write: &Write) -> Result<Self, String> {
        let all = rows.schema();
        let index = |name: &str| all.index_of(name).map_err(|error| error.to_string());
        let visible = schema.fields().iter().map(|field| index(field.name())).collect::<Result<_, _>>()?;
        let keys = match write {
            Write::Upsert { key, .. } | Write::Replace { per: key, .. } => {
                let columns: Vec<usize> = key.iter().map(|name| index(name)).collect::<Result<_, _>>()?;
                let fields: Vec<_> = columns.iter().map(|index| all.field(*index)).collect();
                let arrays: Vec<_> = columns.iter().map(|index| rows.column(*index).clone()).collect();
                let mut prints = vec![];
                let valid = fingerprints(&arrays, &fields, &mut prints);
                let has_key = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                let key = |(row, print): (usize, &u128)| has_key(row).then(|| print.to_le_bytes().to_vec());
                prints.iter().enumerate().map(key).collect()
            }
            Write::Insert => vec![],
        };
        let versions = match rows.column_by_name(SEQUENCE) {
            None => None,
            Some(column) => {
                let field = SortField::new(column.data_type().clone());
                let converter = RowConverter::new(vec![field]).map_err(|error| error.to_string())?;
                let encoded =
                    converter.convert_columns(std::slice::from_ref(column)).map_err(|error| error.to_string())?;
                let version = |row| column.is_valid(row).then(|| encoded.row(row).data().to_vec());
                Some((0..rows.num_rows()).map(version).collect())
            }
        };
        Ok(Self { rows, visible, keys, versions })
    }

    fn op(&self, row: usize) -> Op {
        Operations::of(self.rows).get(row)
    }

    fn tokens(&self, row: usize) -> Row {
        let schema = self.rows.schema();
        let token = |index: &usize| {
            let mut token = vec![];
            token_of(self.rows.column(*index), schema.field(*index), row, &mut token);
            String::from_utf8_lossy(&token).into_owned()
        };
        self.visible.iter().map(token).collect()
    }
}

fn write(table: &mut Table, write: &Write, rows: &OutboxRows, applied: &mut Applied) -> Result<(), String> {
    let view = View::new(&rows.rows, &table.schema, write)?;
    for row in 0..rows.rows.num_rows() {
        let offset = rows.base + row as u64;
        let version = view.versions.as_ref().map(|versions| versions[row].clone());
        if version == Some(None) && view.op(row).is_row() {
            applied.dead.push((offset, Reason::new("null-sequence", "SEQUENCE BY is NULL")));
            continue;
        }
        let version = version.flatten();
        match write {
            // A message about a group of somebody else's, and no row.
            Write::Insert | Write::Upsert { .. } if !view.op(row).is_row() => {}
            Write::Insert => table.rows.push((vec![], view.tokens(row))),
            Write::Upsert { .. } | Write::Replace { .. } => {
                let Some(key) = view.keys[row].as_deref() else {
                    if view.op(row).is_row() {
                        applied.dead.push((offset, Reason::new("null-key", "the key is NULL")));
                    }
                    continue;
                };
                let taken = match write {
                    Write::Upsert { ignore_nulls, .. } => {
                        upsert(table, key, version, view.op(row), view.tokens(row), *ignore_nulls)
                    }
                    _ => replace(table, &view, key, row, version),
                };
                if !taken {
                    applied.stale.push(offset);
                }
            }
        }
    }
    Ok(())
}

/// False: the key holds something newer. At equal versions a delete wins.
fn upsert(table: &mut Table, key: &[u8], version: Option<Vec<u8>>, op: Op, new: Row, ignore_nulls: bool) -> bool {
    let delete = op == Op::Delete;
    if let Some(version) = version {
        let mut marked = version;
        marked.push(u8::from(delete));
        if table.versions.get(key).is_some_and(|old| *old > marked) {
            return false;
        }
        table.versions.insert(key.to_vec(), marked);
    }
    let place = table.rows.iter().position(|(known, _)| known == key);
    match (place, delete) {
        (Some(place), true) => drop(table.rows.remove(place)),
        (None, true) => {}
        (Some(place), false) => {
            for (old, new) in table.rows[place].1.iter_mut().zip(new) {
                if !(ignore_nulls && new == "null") {
                    *old = new;
                }
            }
        }
        (None, false) => table.rows.push((key.to_vec(), new)),
    }
    true
}

/// The first row of a newer input empties its group. At equal versions an input that is a delete is the newer one.
fn replace(table: &mut Table, view: &View<'_>, group: &[u8], row: usize, version: Option<Vec<u8>>) -> bool {
    let origins = view.rows.column_by_name(ORIGIN).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let (op, origin) = (view.op(row), origins.map_or(0, |origins| origins.value(row)));
    let erased = op == Op::Erase;
    let newest = table.newest.get(group);
    if newest.is_none_or(|newest| newest.origin != origin) {
        let is_newer = |known: &Newest| known.version.is_some() && (&known.version, known.erased) > (&version, erased);
        if newest.is_some_and(is_newer) {
            return !op.is_row();
        }
        table.rows.retain(|(known, _)| known != group);
        table.newest.insert(group.to_vec(), Newest { version, erased, origin });
    }
    if op.is_row() {
        table.rows.push((group.to_vec(), view.tokens(row)));
    }
    true
}
