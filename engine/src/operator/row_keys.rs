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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey {
    pub text: Option<Box<str>>,
    pub fingerprint: u128,
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
    pub fn of(&self, rows: &[usize]) -> Vec<Option<LedgerKey>> {
        let at = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
        let taken: Result<Vec<ArrayRef>, _> = self.columns.iter().map(|column| take(column, &at, None)).collect();
        let Some(columns) = taken.ok().filter(|columns| !columns.is_empty()) else { return vec![] };
        let mut prints = Vec::with_capacity(rows.len());
        let whole = fingerprints(&columns, self.fields, &mut prints).filter(|_| !self.content);
        let texts = (!self.content).then(|| Keys::of(&columns, self.fields));
        let text = |row: usize| {
            let text = texts.as_ref()?.get(row).filter(|text| text.len() <= LONGEST)?;
            std::str::from_utf8(text).ok().map(Box::from)
        };
        let key = |(row, fingerprint)| {
            let known = whole.as_ref().is_none_or(|whole| whole.is_valid(row));
            known.then(|| LedgerKey { text: text(row), fingerprint })
        };
        prints.into_iter().enumerate().map(key).collect()
    }
}
