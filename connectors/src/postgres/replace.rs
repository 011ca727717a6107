//! The rows of each group are those of its newest input.
//!
//! Rows come input by input: the first of a newer input empties its group. With `SEQUENCE BY`, an input that is older than the group's
//! is stale; of equal ones the later counts, but a delete stays. The n-th inputs of all groups go together, where rows of two groups cannot meet; else one input after the other.

use std::collections::{BTreeSet, HashMap};

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
    let mut replace = Replace { writer, book, sequenced };
    let mut sound = vec![];
    for line in lines {
        match replace.refused(line)? {
            None => sound.push(line),
            Some(reason) => die(line, reason, applied),
        }
    }
    for wave in replace.waves(&sound) {
        replace.wave(&wave, applied)?;
    }
    applied.stale.sort_unstable();
    versions.write(writer.session, &replace.book).map_err(|fault| writer.trouble(&fault))
}

/// A clear is no row, and has no fate, whatever becomes of it.
fn die(line: &Line, reason: Reason, applied: &mut Applied) {
    if line.op.is_row() {
        applied.dead.push((line.offset, reason));
    }
}

struct Replace<'a> {
    writer: &'a Writer<'a>,
    book: Book,
    sequenced: bool,
}

impl Replace<'_> {
    /// Why a row belongs to no group.
    fn refused(&self, line: &Line) -> Result<Option<Reason>, SinkError> {
        if line.null_key.is_some() {
            return Ok(Some(Reason::new("null-key", "the key of the group is NULL")));
        }
        if line.refused_key {
            return Ok(line.refused.clone());
        }
        if line.place.is_none() {
            return Err(SinkError::Never(format!("the rows have no column {ORIGIN}")));
        }
        Ok((self.sequenced && line.version.is_none()).then(null_sequence))
    }

    /// What tells the inputs of a group apart.
    fn input<'l>(&self, line: &'l Line) -> (Option<i64>, Option<&'l [u8]>) {
        (line.place, line.version.as_deref().filter(|_| self.sequenced))
    }

    /// Rows of which each group has those of one input.
    fn waves<'l>(&self, lines: &[&'l Line]) -> Vec<Vec<&'l Line>> {
        let mut waves: Vec<Vec<&Line>> = vec![];
        if !self.writer.table.apart {
            for line in lines {
                let same = |before: &&&Line| before.key == line.key && self.input(before) == self.input(line);
                match waves.last_mut().filter(|wave| wave.last().as_ref().is_some_and(same)) {
                    Some(wave) => wave.push(line),
                    None => waves.push(vec![line]),
                }
            }
            return waves;
        }
        let mut newest: HashMap<&[u8], (usize, &Line)> = HashMap::new();
        for line in lines {
            let (wave, before) = newest.entry(&line.key).or_insert((0, line));
            *wave += usize::from(self.input(before) != self.input(line));
            *before = line;
            if waves.len() == *wave {
                waves.push(vec![]);
            }
            waves[*wave].push(line);
        }
        waves
    }

    fn wave(&mut self, lines: &[&Line], applied: &mut Applied) -> Result<(), SinkError> {
        let mut emptied: Vec<&Line> = vec![];
        let mut keys: BTreeSet<&[u8]> = BTreeSet::new();
        let mut rows: Vec<&Line> = vec![];
        for line in lines {
            let (place, version) = self.input(line);
            let known = self.book.known(&line.key);
            let same = known.is_some_and(|known| known.place == place && known.version.as_deref() == version);
            if !same && !keys.contains(line.key.as_slice()) {
                let erased = line.op == Op::Erase;
                if known.zip(version).is_some_and(|(known, version)| known.is_newer_than(version, erased)) {
                    if line.op.is_row() {
                        applied.stale.push(line.offset);
                    }
                    continue;
                }
                keys.insert(&line.key);
                emptied.push(line);
            }
            rows.push(line);
        }
        let refused = self.empty(&emptied)?;
        let mut new = vec![];
        for line in rows {
            match refused.get(line.key.as_slice()).or(line.refused.as_ref()) {
                Some(reason) => die(line, reason.clone(), applied),
                None if !line.op.is_row() => {}
                None => new.push(line),
            }
        }
        self.writer.insert(&new, &mut applied.dead)
    }

    /// Takes the rows of the groups away, for the inputs of these rows. The groups that the table does not give up.
    fn empty<'l>(&mut self, lines: &[&'l Line]) -> Result<HashMap<&'l [u8], Reason>, SinkError> {
        let mut dead = Dead::new();
        self.writer.delete(lines, &mut dead)?;
        let mut refused: HashMap<&[u8], Reason> = HashMap::new();
        for line in lines {
            match dead.iter().find(|(offset, _)| *offset == line.offset) {
                Some((_, reason)) => _ = refused.insert(&line.key, reason.clone()),
                None => {
                    let (place, version) = self.input(line);
                    let version = version.map(<[u8]>::to_vec);
                    self.book.keep(&line.key, Known { version, place, deleted: line.op == Op::Erase });
                }
            }
        }
        Ok(refused)
    }
}
