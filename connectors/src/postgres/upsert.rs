//! The newest row of each key.
//!
//! With `SEQUENCE BY`, a row passes the version guard first: the newest version wins, at equal versions the later row, but a delete
//! stays. Rows of different keys go in one statement, the n-th rows of their keys together, where the table has nothing by which rows of two
//! keys could meet: another unique index, a trigger. Where it has, rows keep their order, and a statement takes those that stand beside each
//! other and are of one kind. Versions follow at the end.

use std::{
    collections::{BTreeSet, HashMap},
    mem::take,
};

use syncline_engine::sink::{Applied, SinkError};
use syncline_record::{Op, Reason};

use super::{
    versions::{Book, Versions},
    write::{Dead, Line, Writer},
};
use crate::version::Known;

/// Rows of one statement: parameters and locks are held for all of them.
const MOST: usize = 5_000;

pub fn apply(
    writer: &Writer,
    versions: Option<&Versions>,
    lines: &[Line],
    applied: &mut Applied,
) -> Result<(), SinkError> {
    let mut upsert = Upsert { writer, book: None, puts: vec![], deletes: vec![], keys: BTreeSet::new() };
    if let Some(versions) = versions {
        let keys = lines.iter().map(|line| line.key.as_slice()).filter(|key| !key.is_empty());
        let book = versions.lock(writer.session).and_then(|()| versions.read(writer.session, keys));
        upsert.book = Some(book.map_err(|fault| writer.trouble(&fault))?);
    }
    for wave in waves(lines, writer.table.apart) {
        for line in wave {
            upsert.line(line, applied)?;
        }
        upsert.flush(applied)?;
    }
    applied.stale.sort_unstable();
    match (versions, &upsert.book) {
        (Some(versions), Some(book)) => versions.write(writer.session, book).map_err(|fault| writer.trouble(&fault)),
        _ => Ok(()),
    }
}

/// Rows that are all new.
pub fn insert(writer: &Writer, lines: &[Line], applied: &mut Applied) -> Result<(), SinkError> {
    let mut new = vec![];
    for line in lines.iter().filter(|line| line.op.is_row()) {
        match &line.refused {
            Some(reason) => applied.dead.push((line.offset, reason.clone())),
            None => new.push(line),
        }
    }
    writer.insert(&new, &mut applied.dead)
}

/// `apart`: the n-th rows of all keys together; else all rows as they come.
fn waves(lines: &[Line], apart: bool) -> Vec<Vec<&Line>> {
    if !apart {
        return vec![lines.iter().collect()];
    }
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    let mut waves: Vec<Vec<&Line>> = vec![];
    for line in lines {
        let count = counts.entry(&line.key).or_default();
        if waves.len() == *count {
            waves.push(vec![]);
        }
        waves[*count].push(line);
        *count += 1;
    }
    waves
}

struct Upsert<'a> {
    writer: &'a Writer<'a>,
    /// None where the order of the outbox is the order of the changes.
    book: Option<Book>,
    /// Rows of different keys, by their kind.
    puts: Vec<&'a Line>,
    deletes: Vec<&'a Line>,
    keys: BTreeSet<&'a [u8]>,
}

impl<'a> Upsert<'a> {
    fn line(&mut self, line: &'a Line, applied: &mut Applied) -> Result<(), SinkError> {
        if let Some(column) = &line.null_key {
            applied.dead.push((line.offset, Reason::new("null-key", format!("{column}: the key is NULL"))));
            return Ok(());
        }
        if !line.op.is_row() {
            return Ok(());
        }
        if let (true, Some(reason)) = (line.refused_key, &line.refused) {
            applied.dead.push((line.offset, reason.clone()));
            return Ok(());
        }
        let deletes = line.op == Op::Delete;
        let others = if deletes { &self.puts } else { &self.deletes };
        let in_order = self.writer.table.apart || others.is_empty();
        if !in_order || self.keys.len() >= MOST || self.keys.contains(line.key.as_slice()) {
            self.flush(applied)?;
        }
        if let Some(book) = &self.book {
            let Some(version) = &line.version else {
                applied.dead.push((line.offset, null_sequence()));
                return Ok(());
            };
            if book.known(&line.key).is_some_and(|known| known.is_newer_than(version, deletes)) {
                applied.stale.push(line.offset);
                return Ok(());
            }
        }
        match &line.refused {
            Some(reason) => applied.dead.push((line.offset, reason.clone())),
            None => {
                self.keys.insert(&line.key);
                if deletes { &mut self.deletes } else { &mut self.puts }.push(line);
            }
        }
        Ok(())
    }

    fn flush(&mut self, applied: &mut Applied) -> Result<(), SinkError> {
        let (deletes, puts) = (take(&mut self.deletes), take(&mut self.puts));
        self.keys.clear();
        let mut dead = Dead::new();
        self.writer.delete(&deletes, &mut dead)?;
        self.writer.put(&puts, &mut dead)?;
        if let Some(book) = &mut self.book {
            let refused: BTreeSet<u64> = dead.iter().map(|(offset, _)| *offset).collect();
            for line in deletes.iter().chain(&puts).filter(|line| !refused.contains(&line.offset)) {
                let (version, deleted) = (line.version.clone(), line.op == Op::Delete);
                book.keep(&line.key, Known { version, place: line.place, deleted });
            }
        }
        applied.dead.extend(dead);
        Ok(())
    }
}

pub fn null_sequence() -> Reason {
    Reason::new("null-sequence", "the value to sequence by is NULL")
}
