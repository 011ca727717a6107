//! What a record takes in a topic, to the byte: a broker compares a whole batch with `max.message.bytes`, and a batch may hold one record.
//!
//! Record and batch as of format 2 (KIP-98, <https://kafka.apache.org/documentation/#recordbatch>), without compression: what would fit only
//! when it is packed is too large, whoever packs it.

/// The head of a batch: base offset, length, leader epoch, magic, CRC, attributes, last offset delta, two times, producer, its
/// epoch, sequence, count.
const HEAD: usize = 8 + 4 + 4 + 1 + 4 + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4;
/// In front of key and value: attributes, and the distances of time and offset from the first record, which are zero.
const DISTANCES: usize = 1 + 1 + 1;
/// More than librdkafka counts beside the parts of a record that is handed over: their lengths at their longest.
const ALLOWED: usize = 64;
/// What it takes for `message.max.bytes`.
const CLIENT: (usize, usize) = (1_000, 1_000_000_000);

/// What the client is told, so that it refuses nothing that a topic takes.
pub fn of_client(most: usize) -> usize {
    most.saturating_add(ALLOWED).clamp(CLIENT.0, CLIENT.1)
}

/// A batch with one record. `headers`: name and value of each.
pub fn alone<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> usize {
    let (mut count, mut of_headers) = (0, 0);
    for (name, value) in headers {
        count += 1;
        of_headers += part(Some(name)) + part(value);
    }
    let record = DISTANCES + part(key) + part(value) + varint(count) + of_headers;
    HEAD + varint(record as i64) + record
}

/// Bytes with their length in front; a length of -1 stands for none.
fn part(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varint(-1), |bytes| varint(bytes.len() as i64) + bytes.len())
}

/// A signed number of variable length, as Protocol Buffers have it (zigzag, seven bits a byte).
fn varint(number: i64) -> usize {
    let zigzag = ((number << 1) ^ (number >> 63)) as u64;
    (64 - zigzag.leading_zeros() as usize).div_ceil(7).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        let sizes = [0, -1, 63, 64, 8191, 8192, 1 << 20].map(varint);
        assert_eq!(sizes, [1, 1, 1, 2, 2, 3, 4]);
    }

    /// Counted by hand: 61 bytes of head, one for the length of the record, three in front, `1 + 1` key, `1 + 2` value, one for the
    /// count of headers.
    #[test]
    fn a_record_is_its_parts_and_their_lengths() {
        assert_eq!(alone(Some(b"k"), Some(b"{}"), []), 61 + 1 + 3 + 2 + 3 + 1);
        assert_eq!(alone(None, None, []), 61 + 1 + 3 + 1 + 1 + 1);
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"bc")), (b"d", None)];
        assert_eq!(alone(None, Some(b"x"), headers), 61 + 1 + 3 + 1 + 2 + 1 + (2 + 3) + (2 + 1));
        let long = vec![b'x'; 1_000_000];
        assert_eq!(alone(None, Some(&long), []), 61 + 3 + 3 + 1 + 3 + 1_000_000 + 1);
    }
}
