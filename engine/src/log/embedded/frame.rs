//! One frame as it stands in a file: 48 bytes of header, then the body.
//!
//! ```text
//! 0  magic "SYL" and the format number     24  offset of the first record
//! 4  length of the body                    32  offset below which the topic was durable when this was written
//! 8  number of records                     40  CRC-32 of the body
//! 12 who wrote it: 1 transaction, 2 publication   44  CRC-32 of the 44 bytes before
//! 16 time, microseconds since 1970
//! ```
//! All numbers are little-endian. The header has its own checksum, so that a walk over headers need not read the bodies, and so
//! that a length is believed only when it is known to be whole.

use syncline_record::Micros;

/// Format of files that this version writes.
pub const FORMAT: u8 = 1;
const MAGIC: [u8; 4] = [b'S', b'Y', b'L', FORMAT];

pub const HEADER: usize = 48;

/// The largest body. A frame is read into memory as a whole; the largest record is 16 MiB, and a frame of rows stays far below.
pub const MAX_BODY: usize = 256 << 20;

/// Who wrote a frame. A transaction's frames show only after `commit`; publications are found again by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Transaction = 1,
    Publication = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: u32,
    pub count: u32,
    pub kind: Kind,
    pub time: Micros,
    pub base: u64,
    /// Records below this were synced before this frame was written. A damaged frame below it was whole once.
    pub durable: u64,
    pub body_crc: u32,
}

impl Header {
    pub fn next(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    /// Bytes of the whole frame.
    pub fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }

    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.time.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for anything that is not a whole, sound header of this format.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        if bytes[0..4] != MAGIC || crc32fast::hash(&bytes[..44]) != four(44) {
            return None;
        }
        let kind = match four(12) {
            1 => Kind::Transaction,
            2 => Kind::Publication,
            _ => return None,
        };
        let header = Header {
            length: four(4),
            count: four(8),
            kind,
            time: eight(16) as Micros,
            base: eight(24),
            durable: eight(32),
            body_crc: four(40),
        };
        (header.length as usize <= MAX_BODY && header.base.checked_add(u64::from(header.count)).is_some())
            .then_some(header)
    }
}

/// The sound headers that are anywhere in `bytes`.
pub fn headers(bytes: &[u8]) -> impl Iterator<Item = Header> {
    (0..bytes.len().saturating_sub(HEADER - 1))
        .filter(|&at| bytes[at..at + 4] == MAGIC)
        .filter_map(|at| Header::decode(&bytes[at..]))
}
