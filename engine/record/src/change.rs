//! What a record does to the thing that it names.

use serde::{Deserialize, Serialize};

/// The operation a record carries. In a batch it is the hidden column `__op`; a batch without it is all inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Op {
    Insert = 0,
    Update = 1,
    Delete = 2,
    /// Not a row: "the group of this row has a newer input, which derived no row" (`REPLACE INTO … PER`).
    Clear = 3,
}

impl Op {
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Delete, Self::Clear].into_iter().find(|op| *op as u8 == byte)
    }
}
