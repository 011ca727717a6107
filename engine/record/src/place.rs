//! Where a record came from.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// An input partition: a file, an ingest path, a topic partition. Order, watermark and cursor are per partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// `events/a.ndjson`, `in/orders`: what `_source` and `_topic` show.
    pub name: Arc<str>,
    /// Its number where the source numbers them, else 0.
    pub number: u32,
}

impl Partition {
    pub fn new(name: impl AsRef<str>, number: u32) -> Self {
        Self { name: Arc::from(name.as_ref()), number }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.number == 0 { f.write_str(&self.name) } else { write!(f, "{}#{}", self.name, self.number) }
    }
}

/// One record's place: partition and offset (for a file the line, from 1), and the byte at which it starts where that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub partition: Partition,
    pub offset: u64,
    pub byte: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// Bytes as hexadecimal text in JSON: exact for any byte, readable without a tool.
pub mod bytes_as_base16 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            text.push(char::from_digit((byte >> 4) as u32, 16).expect("a nibble"));
            text.push(char::from_digit((byte & 15) as u32, 16).expect("a nibble"));
        }
        to.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let nibble = |byte: u8| (byte as char).to_digit(16).map(|n| n as u8);
        text.as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}
