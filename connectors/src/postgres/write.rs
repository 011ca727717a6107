//! Rows on their way into the table: what is known of each, and how many go in at once.
//!
//! A statement that fails by a row is taken back to its savepoint and tried in halves, until the row stands alone: it is dead, and the
//! rest goes in. The order of the rows is kept.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Field, FieldRef, UInt8Type, UInt64Type},
};
use bytes::Bytes;
use syncline_engine::{
    operators::present::ORIGIN,
    sink::{OutboxRows, SEQUENCE, SinkError, Write},
};
use syncline_record::{Op, Reason, batch::OP};
use tokio_postgres::{Statement, types::ToSql};

use super::{
    session::Session,
    table::Table,
    trouble::{Fault, trouble},
    value::{key_part, text},
};
use crate::version::version;

/// A row, as texts.
pub struct Line {
    pub offset: u64,
    pub op: Op,
    /// By the table's columns; of a row that only deletes, those of its key.
    pub values: Vec<Option<String>>,
    /// Why the table cannot keep it.
    pub refused: Option<Reason>,
    /// The key as the bytes of its value; of use where none of its columns is NULL or refused.
    pub key: Vec<u8>,
    pub refused_key: bool,
    /// The column of the key that is NULL.
    pub null_key: Option<String>,
    pub version: Option<Vec<u8>>,
    /// The input that it came from.
    pub place: Option<i64>,
}

/// The rows of a frame from an offset on.
pub fn lines(
    frame: &OutboxRows,
    from: u64,
    fields: &[FieldRef],
    table: &Table,
    write: &Write,
) -> Result<Vec<Line>, SinkError> {
    let rows = &frame.rows;
    let column = |field: &'_ FieldRef| {
        let found = rows.column_by_name(field.name());
        found.cloned().ok_or_else(|| SinkError::Never(format!("the rows have no column {}", field.name())))
    };
    let columns: Vec<ArrayRef> = fields.iter().map(column).collect::<Result<_, _>>()?;
    let sequence = rows.schema_ref().column_with_name(SEQUENCE);
    let sequence = sequence.map(|(index, field)| (rows.column(index), field));
    let hidden = Hidden::of(rows);
    let first = from.saturating_sub(frame.base) as usize;
    Ok((first..rows.num_rows())
        .map(|row| {
            let op = hidden.op(row);
            let mut line = Line {
                offset: frame.base + row as u64,
                op,
                values: vec![None; columns.len()],
                refused: None,
                key: vec![],
                refused_key: false,
                null_key: None,
                version: sequence.and_then(|(column, field)| version(column, field, row)),
                place: hidden.place(row),
            };
            let only_key = !op.is_row() || (op == Op::Delete && matches!(write, Write::Upsert { .. }));
            line.fill(&columns, fields, row, table, only_key);
            line
        })
        .collect())
}

impl Line {
    fn fill(&mut self, columns: &[ArrayRef], fields: &[FieldRef], row: usize, table: &Table, only_key: bool) {
        for (index, (column, field)) in columns.iter().zip(fields).enumerate() {
            if only_key && !table.key.contains(&index) {
                continue;
            }
            match text(column, field, &table.columns[index].kind, row) {
                Ok(value) => self.values[index] = value,
                Err(reason) => {
                    self.refused_key |= table.key.contains(&index);
                    self.refused = self.refused.take().or(Some(reason));
                }
            }
        }
        self.null_key = table.key.iter().find(|index| columns[**index].is_null(row)).map(|index| name(fields, *index));
        for index in &table.key {
            match &self.values[*index] {
                Some(value) => key_part(&table.columns[*index].kind, value, &mut self.key),
                None if !self.refused_key => self.null_key = Some(name(fields, *index)),
                None => {}
            }
        }
    }
}

fn name(fields: &[FieldRef], index: usize) -> String {
    fields.get(index).map(|field: &FieldRef| Field::name(field).clone()).unwrap_or_default()
}

/// Columns of the engine's own.
struct Hidden<'a> {
    ops: Option<&'a arrow::array::UInt8Array>,
    origins: Option<&'a arrow::array::UInt64Array>,
}

impl<'a> Hidden<'a> {
    fn of(rows: &'a RecordBatch) -> Self {
        Self {
            ops: rows.column_by_name(OP).and_then(|ops| ops.as_primitive_opt::<UInt8Type>()),
            origins: rows.column_by_name(ORIGIN).and_then(|origins| origins.as_primitive_opt::<UInt64Type>()),
        }
    }

    fn op(&self, row: usize) -> Op {
        self.ops.and_then(|ops| Op::from_u8(ops.value(row))).unwrap_or(Op::Insert)
    }

    fn place(&self, row: usize) -> Option<i64> {
        self.origins.filter(|origins| origins.is_valid(row)).map(|origins| origins.value(row) as i64)
    }
}

/// The open table, for the rows of a transaction.
pub struct Writer<'a> {
    pub session: &'a Session,
    pub table: &'a Table,
    pub statements: &'a Statements,
    pub place: &'a str,
}

/// What is prepared for a table.
pub struct Statements {
    pub copy: Statement,
    pub upsert: Option<Statement>,
    pub delete: Option<Statement>,
}

impl Statements {
    pub fn of(session: &Session, table: &Table, write: &Write) -> Result<Self, Fault> {
        let upsert = match write {
            Write::Upsert { ignore_nulls, .. } => Some(session.prepare(&table.upsert_sql(*ignore_nulls))?),
            _ => None,
        };
        let delete = match write {
            Write::Insert => None,
            _ => Some(session.prepare(&table.delete_sql())?),
        };
        Ok(Self { copy: session.prepare(&table.copy_sql())?, upsert, delete })
    }
}

/// Rows that the table refused.
pub type Dead = Vec<(u64, Reason)>;

impl Writer<'_> {
    pub fn trouble(&self, fault: &Fault) -> SinkError {
        trouble(self.place, "write", fault)
    }

    /// New rows, by `COPY`.
    pub fn insert(&self, lines: &[&Line], dead: &mut Dead) -> Result<(), SinkError> {
        self.in_parts(lines, dead, &|lines| self.session.copy(&self.statements.copy, copied(lines)).map(drop))
    }

    /// Rows of different keys, over those that are there.
    pub fn put(&self, lines: &[&Line], dead: &mut Dead) -> Result<(), SinkError> {
        let all: Vec<usize> = (0..self.table.columns.len()).collect();
        self.in_parts(lines, dead, &|lines| self.execute(self.statements.upsert.as_ref(), lines, &all))
    }

    /// The rows of keys or groups go away.
    pub fn delete(&self, lines: &[&Line], dead: &mut Dead) -> Result<(), SinkError> {
        self.in_parts(lines, dead, &|lines| self.execute(self.statements.delete.as_ref(), lines, &self.table.key))
    }

    fn execute(&self, statement: Option<&Statement>, lines: &[&Line], columns: &[usize]) -> Result<(), Fault> {
        let Some(statement) = statement else { return Ok(()) };
        let arrays: Vec<Vec<Option<&str>>> =
            columns.iter().map(|index| lines.iter().map(|line| line.values[*index].as_deref()).collect()).collect();
        let values: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        self.session.execute_prepared(statement, &values).map(drop)
    }

    fn in_parts(
        &self,
        lines: &[&Line],
        dead: &mut Dead,
        run: &dyn Fn(&[&Line]) -> Result<(), Fault>,
    ) -> Result<(), SinkError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.session.run("SAVEPOINT rows").map_err(|fault| self.trouble(&fault))?;
        let fault = match run(lines) {
            Ok(()) => return self.session.run("RELEASE rows").map_err(|fault| self.trouble(&fault)),
            Err(fault) => fault,
        };
        let of_row = fault.of_row();
        if of_row.is_none() && !(fault.is_twice_in_one() && lines.len() > 1) {
            return Err(self.trouble(&fault));
        }
        self.session.run("ROLLBACK TO rows; RELEASE rows").map_err(|fault| self.trouble(&fault))?;
        match (lines, of_row) {
            ([line], Some(reason)) => dead.push((line.offset, reason)),
            (lines, _) => {
                let (first, second) = lines.split_at(lines.len() / 2);
                self.in_parts(first, dead, run)?;
                self.in_parts(second, dead, run)?;
            }
        }
        Ok(())
    }
}

/// Lines as `COPY` reads them in its text format.
fn copied(lines: &[&Line]) -> Bytes {
    let mut out = Vec::new();
    for line in lines {
        for (index, value) in line.values.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            match value {
                None => out.extend_from_slice(b"\\N"),
                Some(value) => escaped(value, &mut out),
            }
        }
        out.push(b'\n');
    }
    Bytes::from(out)
}

fn escaped(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}
