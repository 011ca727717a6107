//! Hashes and ids that must be the same on every machine and every replay.
//!
//! XXH3 (128 bits, seed 0, <https://github.com/Cyan4973/xxHash>): fast, stable, not meant against an adversary who chooses keys.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Hash of a record's original bytes.
pub fn content_hash(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

pub fn hex128(hash: u128) -> String {
    format!("{hash:032x}")
}

/// The id of a row that an arm of `SHARD … INTO (…)` derives: a function of the shard key's bytes, the arm's name and the
/// ordinal of the row among those that the record derives in that arm. 32 hexadecimal digits.
pub fn derived_id(key: &[u8], arm: &str, ordinal: u32) -> String {
    let mut hash = Xxh3::new();
    for part in [key, arm.as_bytes()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(&ordinal.to_le_bytes());
    hex128(hash.digest128())
}

/// Java's murmur2 as Kafka's default partitioner uses it (org.apache.kafka.common.utils.Utils.murmur2).
pub fn murmur2(data: &[u8]) -> i32 {
    const M: i32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 as i32 ^ data.len() as i32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = i32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= ((k as u32) >> 24) as i32;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = chunks.remainder();
    for (index, byte) in tail.iter().enumerate() {
        hash ^= (*byte as i32) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= ((hash as u32) >> 13) as i32;
    hash = hash.wrapping_mul(M);
    hash ^ ((hash as u32) >> 15) as i32
}

/// The lane (or Kafka partition) of a key among `lanes`.
pub fn lane(key: &[u8], lanes: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) as u32 % lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own UtilsTest.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        let id = derived_id(b"7", "people", 0);
        assert_eq!(id, derived_id(b"7", "people", 0));
        assert_ne!(id, derived_id(b"7", "labels", 0));
        assert_ne!(id, derived_id(b"7", "people", 1));
        assert_ne!(derived_id(b"ab", "c", 0), derived_id(b"a", "bc", 0));
    }
}
