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
    /// The same, because the input itself is a delete: among inputs of one version it stays.
    Erase = 4,
}

impl Op {
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Delete, Self::Clear, Self::Erase].into_iter().find(|op| *op as u8 == byte)
    }

    /// Whether it is the operation of a row, and not only word of its group.
    pub fn is_row(self) -> bool {
        !matches!(self, Self::Clear | Self::Erase)
    }

    /// What is left of a row with this operation when its group gets nothing of it.
    pub fn cleared(self) -> Self {
        if matches!(self, Self::Delete | Self::Erase) { Self::Erase } else { Self::Clear }
    }
}
