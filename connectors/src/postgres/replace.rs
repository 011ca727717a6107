//! The rows of each group are those of its newest input.
//!
//! Rows come input by input: the first of a newer input empties its group. With `SEQUENCE BY`, an input that is older than the group's
//! is stale; of equal ones the later counts, but a delete stays.

use syncline_engine::{
    operators::present::ORIGIN,
    sink::{Applied, SinkError},
};
use syncline_record::{Op, Reason};

use super::{
    upsert::null_sequence,
    versions::{Book, Versions},
    write::{Dead, Line, Writer},
};
use crate::version::Known;

pub fn apply(
    writer: &Writer,
    versions: &Versions,
    sequenced: bool,
    lines: &[Line],
    applied: &mut Applied,
) -> Result<(), SinkError> {
    let keys = lines.iter().map(|line| line.key.as_slice()).filter(|key| !key.is_empty());
    let book = versions.lock(writer.session).and_then(|()| versions.read(writer.session, keys));
    let book = book.map_err(|fault| writer.trouble(&fault))?;
    let mut replace = Replace { writer, book, sequenced, waiting: vec![] };
    for line in lines {
        let fate = replace.line(line, &mut applied.dead)?;
        // A clear is no row, and has no fate, whatever becomes of it.
        match fate {
            _ if !line.op.is_row() => {}
            Some(Refused::Stale) => applied.stale.push(line.offset),
            Some(Refused::Dead(reason)) => applied.dead.push((line.offset, reason)),
            None => replace.waiting.push(line),
        }
    }
    replace.flush(&mut applied.dead)?;
    versions.write(writer.session, &replace.book).map_err(|fault| writer.trouble(&fault))
}

struct Replace<'a> {
    writer: &'a Writer<'a>,
    book: Book,
    sequenced: bool,
    /// Rows of groups that were emptied for them.
    waiting: Vec<&'a Line>,
}

enum Refused {
    Stale,
    Dead(Reason),
}

impl<'a> Replace<'a> {
    /// None: the row belongs into its group.
    fn line(&mut self, line: &'a Line, dead: &mut Dead) -> Result<Option<Refused>, SinkError> {
        if line.null_key.is_some() {
            return Ok(Some(Refused::Dead(Reason::new("null-key", "the key of the group is NULL"))));
        }
        if let (true, Some(reason)) = (line.refused_key, &line.refused) {
            return Ok(Some(Refused::Dead(reason.clone())));
        }
        let Some(place) = line.place else {
            return Err(SinkError::Never(format!("the rows have no column {ORIGIN}")));
        };
        let version = if self.sequenced { line.version.clone() } else { None };
        if self.sequenced && version.is_none() {
            return Ok(Some(Refused::Dead(null_sequence())));
        }
        let (known, erased) = (self.book.known(&line.key), line.op == Op::Erase);
        let same_input = known.is_some_and(|known| known.place == Some(place) && known.version == version);
        if !same_input {
            if let (Some(known), Some(version)) = (known, &version)
                && known.is_newer_than(version, erased)
            {
                return Ok(Some(Refused::Stale));
            }
            if let Some(reason) = self.empty(line, dead)? {
                return Ok(Some(Refused::Dead(reason)));
            }
            self.book.keep(&line.key, Known { version, place: Some(place), deleted: erased });
        }
        Ok(line.refused.clone().map(Refused::Dead))
    }

    /// Takes the rows of the group away, behind those that came before.
    fn empty(&mut self, line: &'a Line, dead: &mut Dead) -> Result<Option<Reason>, SinkError> {
        self.flush(dead)?;
        let mut refused = Dead::new();
        self.writer.delete(&[line], &mut refused)?;
        Ok(refused.pop().map(|(_, reason)| reason))
    }

    fn flush(&mut self, dead: &mut Dead) -> Result<(), SinkError> {
        let lines = std::mem::take(&mut self.waiting);
        self.writer.insert(&lines, dead)
    }
}
