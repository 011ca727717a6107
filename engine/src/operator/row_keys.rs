//! The keys of rows as the ledger names them.
//!
//! A step that goes by a key (`DEDUP BY id`) says of each row that it stops which key that was: as the text that every producer can
//! compute (`syncline_functions::keys`), and as the fingerprint that the step's state holds, so that both can be joined. A step whose key
//! is the whole row has no text of it, a text of more than [`LONGEST`] bytes is left out, and a key that is NULL is none.

use arrow::{
    array::{ArrayRef, UInt64Array},
    compute::take,
    datatypes::Field,
};
use syncline_functions::keys::{Keys, fingerprints};

/// A longer text is no name for a row: its fingerprint is. A row of the ledger stays small beside the record that it is about.
pub const LONGEST: usize = 1 << 10;

/// What a step knew a row by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerKey<'a> {
    pub text: Option<&'a str>,
    pub fingerprint: u128,
}

/// What a step knew rows by, in their order, their texts one behind the other; empty where it goes by no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerKeys {
    places: Vec<Place>,
    texts: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// `None`: a key that is NULL.
    fingerprint: Option<u128>,
    /// Where its text ends, if it has one.
    end: usize,
    named: bool,
}

impl LedgerKeys {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn push(&mut self, key: Option<LedgerKey<'_>>) {
        let text = key.and_then(|key| key.text);
        self.texts.push_str(text.unwrap_or_default());
        let fingerprint = key.map(|key| key.fingerprint);
        self.places.push(Place { fingerprint, end: self.texts.len(), named: text.is_some() });
    }

    pub fn get(&self, row: usize) -> Option<LedgerKey<'_>> {
        let place = self.places.get(row)?;
        let begin = row.checked_sub(1).map_or(0, |before| self.places[before].end);
        let text = place.named.then(|| &self.texts[begin..place.end]);
        Some(LedgerKey { text, fingerprint: place.fingerprint? })
    }

    pub fn iter(&self) -> impl Iterator<Item = Option<LedgerKey<'_>>> {
        (0..self.places.len()).map(|row| self.get(row))
    }

    pub fn append(&mut self, other: &Self) {
        let before = self.texts.len();
        self.texts.push_str(&other.texts);
        self.places.extend(other.places.iter().map(|place| Place { end: before + place.end, ..*place }));
    }

    /// Takes one row's out.
    pub fn remove(&mut self, row: usize) {
        let kept = self.iter().enumerate().filter(|(at, _)| *at != row).map(|(_, key)| key);
        *self = kept.collect();
    }
}

impl<'a> FromIterator<Option<LedgerKey<'a>>> for LedgerKeys {
    fn from_iter<T: IntoIterator<Item = Option<LedgerKey<'a>>>>(keys: T) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.push(key));
        all
    }
}

/// The key columns of a batch.
pub struct RowKeys<'a> {
    pub columns: &'a [ArrayRef],
    pub fields: &'a [&'a Field],
    /// The key is the content of the row.
    pub content: bool,
}

impl RowKeys<'_> {
    /// The keys of some rows, in their order; none at all where there are no columns.
    pub fn of(&self, rows: &[usize]) -> LedgerKeys {
        let at = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
        let taken: Result<Vec<ArrayRef>, _> = self.columns.iter().map(|column| take(column, &at, None)).collect();
        let Some(columns) = taken.ok().filter(|columns| !columns.is_empty()) else {
            return LedgerKeys::default();
        };
        let mut prints = Vec::with_capacity(rows.len());
        let whole = fingerprints(&columns, self.fields, &mut prints).filter(|_| !self.content);
        let texts = (!self.content).then(|| Keys::of(&columns, self.fields));
        let text = |row: usize| {
            let text = texts.as_ref()?.get(row).filter(|text| text.len() <= LONGEST)?;
            std::str::from_utf8(text).ok()
        };
        let key = |(row, fingerprint)| {
            let known = whole.as_ref().is_none_or(|whole| whole.is_valid(row));
            known.then(|| LedgerKey { text: text(row), fingerprint })
        };
        prints.into_iter().enumerate().map(key).collect()
    }
}
