//! Finding the files of an earlier run again.
//!
//! For every cursor there is one answer: the file is where it was; it was rotated (it has another name in the same folder now); it
//! was copied or rewritten with more behind it; it is gone and was read to its end; or reading cannot go on without losing or
//! repeating something, which is an error with a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use syncline_engine::source::{Cursors, SourceError};
use syncline_record::Micros;

use super::{
    cursor::{Cursor, Identity, Packed, Seen},
    find::{Found, Wanted},
    source::Reading,
    tail::{OVERWRITTEN, Tail, shorter},
};
use crate::{cursor_of, records::Packing};

/// The files to read, in the order of their names, and the next generation of each name.
#[derive(Default)]
pub struct Resumed {
    pub tails: Vec<Tail>,
    pub generations: BTreeMap<String, u32>,
}

impl Resumed {
    pub fn sort(&mut self) {
        self.tails.sort_by(|a, b| (&a.cursor.path, a.cursor.generation).cmp(&(&b.cursor.path, b.cursor.generation)));
    }

    pub fn knows(&self, identity: Identity) -> bool {
        self.tails.iter().any(|tail| tail.identity() == identity)
    }

    /// Adds a file that was never read.
    pub fn add(&mut self, found: Found, seen: &Seen, packing: Option<Packing>, reading: &Reading, now: Micros) {
        let next = self.generations.entry(found.name.clone()).or_default();
        let packed = packing.map(Packed::at_start);
        let cursor = Cursor::at_start(found.name, *next, seen, now, packed);
        *next += 1;
        self.tails.push(Tail::new(cursor, found.path, None, reading));
    }
}

pub fn seen(wanted: &Wanted, path: &Path) -> Result<Seen, SourceError> {
    File::open(path).and_then(|file| Seen::of(&file)).map_err(|error| wanted.unreadable(path, &error))
}

/// Takes up `cursors` among the files that are `found` now, and adds those that are new.
pub fn resume(
    wanted: &Wanted,
    found: Vec<Found>,
    cursors: &Cursors,
    reading: &Reading,
    now: Micros,
) -> Result<Resumed, SourceError> {
    let mut resumed = Resumed::default();
    let mut known = Vec::new();
    let there = found.into_iter().map(|file| seen(wanted, &file.path).map(|seen| (file, seen)));
    let there: Vec<(Found, Seen)> = there.collect::<Result<_, _>>()?;
    let identities: BTreeSet<Identity> = there.iter().map(|(_, seen)| seen.identity).collect();
    for (partition, value) in cursors {
        let cursor: Cursor = match cursor_of(partition, value) {
            Ok(cursor) => cursor,
            // What another connector has read, before an edit, waits until that is meant again.
            Err(_) if !wanted.means(first_of_its_name(partition)) => continue,
            Err(error) => return Err(error),
        };
        let next = resumed.generations.entry(cursor.path.clone()).or_default();
        *next = (*next).max(cursor.generation + 1);
        // After an edit other files are meant: the cursor waits until this one is again. Its name may only be written otherwise.
        if wanted.means(&cursor.path) || identities.contains(&cursor.identity) {
            known.push(cursor);
        }
    }
    let claimed: Vec<Identity> = known.iter().map(|cursor| cursor.identity).collect();
    let begun_again = |old: &Cursor| {
        let same = |new: &Cursor| (&new.path, new.identity) == (&old.path, old.identity);
        old.is_read() && known.iter().any(|new| same(new) && new.generation > old.generation)
    };
    let over: Vec<bool> = known.iter().map(begun_again).collect();
    for (cursor, _) in known.into_iter().zip(over).filter(|(_, over)| !over) {
        let newest = resumed.generations.get(&cursor.path) == Some(&(cursor.generation + 1));
        let search = Search { wanted, claimed: &claimed, reading, newest, now };
        if let Some(tail) = search.tail(cursor)? {
            resumed.tails.push(tail);
        }
    }
    for (file, seen) in there {
        if !resumed.knows(seen.identity) {
            let packing = reading.packing_of(&file.name)?;
            resumed.add(file, &seen, packing, reading, now);
        }
    }
    resumed.sort();
    Ok(resumed)
}

/// The name of a partition without its generation.
fn first_of_its_name(partition: &str) -> &str {
    match partition.rsplit_once('#') {
        Some((name, generation)) if generation.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => partition,
    }
}

struct Search<'a> {
    wanted: &'a Wanted,
    /// Files that some cursor names.
    claimed: &'a [Identity],
    reading: &'a Reading,
    /// No later file was seen under the cursor's name.
    newest: bool,
    now: Micros,
}

impl Search<'_> {
    fn tail(&self, mut cursor: Cursor) -> Result<Option<Tail>, SourceError> {
        self.same_packing(&cursor)?;
        let path = self.wanted.path_of(&cursor.path);
        let there = File::open(&path).ok();
        if let Some(file) = &there {
            let seen = Seen::of(file).map_err(|error| self.wanted.unreadable(&path, &error))?;
            let fits = cursor.head.fits(file).map_err(|error| self.wanted.unreadable(&path, &error))?;
            let cut = !fits || seen.size < cursor.reached();
            if seen.identity == cursor.identity && cut && self.reading.follow && cursor.is_read() && self.newest {
                // Cut in its place, as logs are that are rotated by copying: it is read as a new one.
                return Ok(None);
            }
            if seen.identity == cursor.identity && (fits || self.newest) {
                self.unchanged(&cursor, fits, seen.size)?;
                cursor.size = seen.size;
                return Ok(Some(Tail::new(cursor, path, None, self.reading)));
            }
        }
        if let Some(renamed) = self.renamed(&cursor, &path) {
            return Ok(Some(Tail::new(cursor, renamed, Some(self.now), self.reading)));
        }
        if let (Some(file), true) = (&there, self.newest) {
            let seen = Seen::of(file).map_err(|error| self.wanted.unreadable(&path, &error))?;
            let fits = cursor.head.fits(file).map_err(|error| self.wanted.unreadable(&path, &error))?;
            if fits && cursor.head.length > 0 && seen.size >= cursor.reached() && !self.claimed.contains(&seen.identity)
            {
                (cursor.identity, cursor.size) = (seen.identity, seen.size);
                return Ok(Some(Tail::new(cursor, path, None, self.reading)));
            }
        }
        self.gone(&cursor, there.is_some()).map(|()| None)
    }

    /// A place in a packed file says nothing about the same file read as it is, and the other way round.
    fn same_packing(&self, cursor: &Cursor) -> Result<(), SourceError> {
        let (was, is) = (cursor.packed.map(|packed| packed.packing), self.reading.packing_of(&cursor.path)?);
        if was == is {
            return Ok(());
        }
        let word = |packing: Option<Packing>| packing.map_or("an uncompressed file", Packing::word);
        let detail = format!(
            "was read as {} before, and is to be read as {} now; run with --fresh to read everything again",
            word(was),
            word(is)
        );
        Err(SourceError::Changed { what: cursor.path.clone(), detail })
    }

    fn unchanged(&self, cursor: &Cursor, fits: bool, size: u64) -> Result<(), SourceError> {
        let detail = match (size < cursor.reached(), fits) {
            (true, _) => shorter(size, cursor.reached()),
            (false, false) => OVERWRITTEN.to_owned(),
            (false, true) => return Ok(()),
        };
        Err(SourceError::Changed { what: cursor.path.clone(), detail })
    }

    /// The file under another name in its folder.
    fn renamed(&self, cursor: &Cursor, path: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(path.parent()?).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|candidate| {
            let seen = File::open(candidate).and_then(|file| Ok((Seen::of(&file)?, cursor.head.fits(&file)?)));
            seen.is_ok_and(|(seen, fits)| fits && seen.identity == cursor.identity && seen.size >= cursor.reached())
        })
    }

    /// The file is nowhere. That is fine when it was read to its end, and its place is free or taken by the next of a rotation.
    fn gone(&self, cursor: &Cursor, replaced: bool) -> Result<(), SourceError> {
        let detail = match (cursor.is_read(), replaced && self.newest && !self.reading.follow) {
            (true, false) => return Ok(()),
            (_, true) => "is not the file that was read before; run with --fresh to read everything again, \
                          or give the new file a name of its own"
                .to_owned(),
            (false, false) => format!(
                "was removed before it was read to its end ({} of {} bytes); bring it back, or run with --fresh",
                cursor.reached(),
                cursor.size
            ),
        };
        Err(SourceError::Changed { what: cursor.path.clone(), detail })
    }
}
