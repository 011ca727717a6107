//! How a file is packed: gzip or zstd, by the ending of its name or because the pipeline says so.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use flate2::{read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    Gzip,
    Zstd,
}

/// Each with its word, its ending, and the bytes that such a file begins with.
const KINDS: [(Packing, &str, &str, &[u8]); 2] =
    [(Packing::Gzip, "gzip", "gz", b"\x1f\x8b"), (Packing::Zstd, "zstd", "zst", b"\x28\xb5\x2f\xfd")];

/// What `compression` may be.
pub const WORDS: [&str; 3] = ["gzip", "zstd", "none"];

impl Packing {
    /// By the ending of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
        KINDS.iter().find(|kind| kind.2 == ending).map(|kind| kind.0)
    }

    /// `gzip` or `zstd`; `Some(None)` is `none`.
    pub fn of_word(word: &str) -> Option<Option<Self>> {
        if word.eq_ignore_ascii_case("none") {
            return Some(None);
        }
        KINDS.iter().find(|kind| kind.1.eq_ignore_ascii_case(word)).map(|kind| Some(kind.0))
    }

    /// By the first bytes of a file.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        KINDS.iter().find(|kind| head.starts_with(kind.3)).map(|kind| kind.0)
    }

    pub fn word(self) -> &'static str {
        KINDS[self as usize].1
    }

    pub fn ending(self) -> &'static str {
        KINDS[self as usize].2
    }

    /// What `packed` holds. Several archives one after the other are one, as `cat a.gz b.gz` makes them.
    pub fn unpacked<R: Read + Send + 'static>(self, packed: R) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
        })
    }

    /// Writes everything that `plain` gives as one archive.
    pub fn pack(self, plain: &mut impl Read, into: impl Write) -> io::Result<()> {
        match self {
            Self::Gzip => {
                let mut packer = GzEncoder::new(into, flate2::Compression::default());
                io::copy(plain, &mut packer)?;
                packer.finish()?.flush()
            }
            Self::Zstd => {
                let mut packer = zstd::stream::write::Encoder::new(into, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                packer.include_checksum(true)?;
                io::copy(plain, &mut packer)?;
                packer.finish()?.flush()
            }
        }
    }
}

/// A name without the ending of its packing: `a.csv.gz` → `a.csv`.
pub fn plain_name(name: &str) -> &str {
    match Packing::of_name(name) {
        Some(packing) => &name[..name.len() - packing.ending().len() - 1],
        None => name,
    }
}
