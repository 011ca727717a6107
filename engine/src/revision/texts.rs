//! Texts that are longer than a value of the store may be: they lie in parts beside the record that they belong to.
//!
//! A record with its text in it is what it always was. One whose text lies beside it has none, so that a version which knows nothing of
//! parts refuses it instead of taking it for an empty one.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Back, Revision};
use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore, StoreError},
};

/// Bytes of a text, as it stands in JSON, that lie in its record. A value has 96 KiB, and the rest of a record less than one.
const INSIDE: usize = 64 << 10;
/// Bytes of a part.
const PART: usize = 64 << 10;

/// A record with a text.
pub(super) trait Said: Serialize + DeserializeOwned + Clone {
    fn text(&mut self) -> &mut String;
}

impl Said for Revision {
    fn text(&mut self) -> &mut String {
        &mut self.text
    }
}

impl Said for Back {
    fn text(&mut self) -> &mut String {
        &mut self.text
    }
}

/// A record as it stands in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "T: Said")]
pub(super) struct Stored<T: Said> {
    #[serde(flatten)]
    pub record: T,
    /// Its text lies beside it, in so many parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text_parts: Option<u32>,
}

impl<T: Said> Stored<T> {
    /// The record with its text.
    pub fn whole(self, store: &dyn StateStore, key: &[u8]) -> Result<T, ReadError> {
        let Self { mut record, text_parts: Some(parts) } = self else { return Ok(self.record) };
        let mut text = vec![];
        for number in 0..parts {
            let part = store.get(&part(key, number))?;
            text.extend(part.ok_or_else(|| damaged(key, "a part of its text is not there"))?);
        }
        *record.text() = String::from_utf8(text).map_err(|_| damaged(key, "its text is not UTF-8"))?;
        Ok(record)
    }
}

/// Puts a record, and beside it a text that is too long for it.
pub(super) fn put<T: Said>(
    store: &dyn StateStore,
    changes: &mut Changes,
    key: Vec<u8>,
    record: &T,
) -> Result<(), StoreError> {
    let mut record = record.clone();
    let mut text_parts = None;
    if serde_json::to_vec(record.text()).is_ok_and(|text| text.len() > INSIDE) {
        let text = std::mem::take(record.text());
        let parts = text.as_bytes().chunks(PART);
        text_parts = Some(parts.len() as u32);
        (0..).zip(parts).for_each(|(number, bytes)| changes.put(part(&key, number), bytes));
    }
    forget(store, changes, &key, text_parts.unwrap_or_default())?;
    checkpoint::put(changes, key, &Stored { record, text_parts });
    Ok(())
}

/// Takes away what lies beside a record, but for the first parts.
pub(super) fn forget(store: &dyn StateStore, changes: &mut Changes, key: &[u8], first: u32) -> Result<(), StoreError> {
    let from = part(key, first);
    store.scan(&beside(key), &mut |found, _| {
        if found >= from.as_slice() {
            changes.remove(found);
        }
        true
    })
}

/// What keys of parts begin with, of the records whose keys begin with this.
pub(super) fn under(prefix: &[u8]) -> Vec<u8> {
    [b"n/", prefix].concat()
}

fn beside(key: &[u8]) -> Vec<u8> {
    [under(key).as_slice(), b"\0"].concat()
}

fn part(key: &[u8], number: u32) -> Vec<u8> {
    [beside(key).as_slice(), &number.to_be_bytes()].concat()
}

fn damaged(key: &[u8], detail: &str) -> ReadError {
    ReadError::Damaged { key: String::from_utf8_lossy(key).replace('\0', " "), detail: detail.to_owned() }
}
