//! How records that come in from outside lie in a frame of the log.
//!
//! One frame is what one request brought: its headers once, and its records as they came. All integers are little endian.
//!
//! | bytes | |
//! |---|---|
//! | 1 | format: 1, or 2 where the sender was verified |
//! | 4 | length of the headers + 1, or 0 where there are none |
//! | 4 | number of records |
//! | 16 and 8 | only in format 2: which delivery it is ([`Delivery`]); zeros where its sender does not say |
//! | 4 each | length of each record |
//! | … | the headers (one JSON object in UTF-8), then the records, one after the other |
//!
//! A verified request is one frame, whole or not there, and its delivery is in it: there is no moment at which one of the two
//! is durable without the other.

use crate::webhook::Delivery;

const OPEN: u8 = 1;
const VERIFIED: u8 = 2;
const WORD: usize = 4;
/// Format, length of the headers, number of records.
const FIXED: usize = 1 + 2 * WORD;
const ID: usize = 16;
/// The id and the body of a delivery.
const DELIVERY: usize = ID + 8;

/// What a frame holds. The records lie in `body`, which is the frame's own bytes.
#[derive(Debug, PartialEq)]
pub struct Ingested {
    pub body: Vec<u8>,
    /// Record → start and end in `body`.
    pub spans: Vec<(u32, u32)>,
    pub headers: Option<String>,
    /// Whether its sender was verified, and which of his deliveries it is.
    pub sent: Sent,
}

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nobody asked.
    Open,
    Verified(Option<Delivery>),
}

impl Sent {
    fn encode(self, body: &mut Vec<u8>) {
        if let Self::Verified(delivery) = self {
            let delivery = delivery.unwrap_or(NOBODY);
            body.extend_from_slice(&delivery.id.to_le_bytes());
            body.extend_from_slice(&delivery.body.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let id = u128::from_le_bytes(bytes.get(..ID)?.try_into().ok()?);
        let body = u64::from_le_bytes(bytes.get(ID..DELIVERY)?.try_into().ok()?);
        Some(Self::Verified(Some(Delivery { id, body }).filter(|delivery| *delivery != NOBODY)))
    }
}

/// A delivery whose sender does not say which it is.
const NOBODY: Delivery = Delivery { id: 0, body: 0 };

impl Ingested {
    pub fn record(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.body[start as usize..end as usize]
    }
}

/// A frame's body that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("format {found}; this version reads {OPEN} and {VERIFIED}")]
    Format { found: u8 },
    #[error("{length} bytes, which is not what its lengths say")]
    Length { length: usize },
    #[error("the headers are not UTF-8")]
    Headers,
}

/// The body of a frame of `records`. Together they are shorter than 4 GiB: a request is bounded far below.
pub fn encode(records: &[&[u8]], headers: Option<&str>, sent: Sent) -> Vec<u8> {
    let headers_length = headers.map_or(0, str::len);
    let payload: usize = records.iter().map(|record| record.len()).sum();
    let mut body = Vec::with_capacity(FIXED + DELIVERY + records.len() * WORD + headers_length + payload);
    body.push(if sent == Sent::Open { OPEN } else { VERIFIED });
    body.extend_from_slice(&headers.map_or(0, |headers| headers.len() as u32 + 1).to_le_bytes());
    body.extend_from_slice(&(records.len() as u32).to_le_bytes());
    sent.encode(&mut body);
    for record in records {
        body.extend_from_slice(&(record.len() as u32).to_le_bytes());
    }
    body.extend_from_slice(headers.unwrap_or_default().as_bytes());
    for record in records {
        body.extend_from_slice(record);
    }
    body
}

/// Who sent a frame, without a look at the rest of it.
pub fn sent(body: &[u8]) -> Result<Sent, Damaged> {
    let damaged = Damaged::Length { length: body.len() };
    match body.first() {
        Some(&OPEN) => Ok(Sent::Open),
        Some(&VERIFIED) => body.get(FIXED..).and_then(Sent::decode).ok_or(damaged),
        Some(&found) => Err(Damaged::Format { found }),
        None => Err(damaged),
    }
}

pub fn decode(body: Vec<u8>) -> Result<Ingested, Damaged> {
    let damaged = Damaged::Length { length: body.len() };
    let sent = sent(&body)?;
    let lengths = if sent == Sent::Open { FIXED } else { FIXED + DELIVERY };
    let word = |at: usize| Some(u32::from_le_bytes(body.get(at..at + WORD)?.try_into().ok()?) as usize);
    let (Some(headers), Some(count)) = (word(1), word(1 + WORD)) else { return Err(damaged) };
    let headers_start = lengths + count * WORD;
    let mut end = headers_start + headers.saturating_sub(1);
    // Before the spans are made room for: a damaged count must not ask for gigabytes.
    if end > body.len() || u32::try_from(body.len()).is_err() {
        return Err(damaged);
    }
    let text = body[headers_start..end].to_vec();
    let mut spans = Vec::with_capacity(count);
    for index in 0..count {
        let start = end;
        end += word(lengths + index * WORD).unwrap_or_default();
        spans.push((start as u32, end as u32));
    }
    if end != body.len() {
        return Err(damaged);
    }
    let headers = match headers {
        0 => None,
        _ => Some(String::from_utf8(text).map_err(|_| Damaged::Headers)?),
    };
    Ok(Ingested { body, spans, headers, sent })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: [Sent; 4] = [
        Sent::Open,
        Sent::Verified(None),
        Sent::Verified(Some(Delivery { id: u128::MAX - 7, body: 0 })),
        Sent::Verified(Some(Delivery { id: 1, body: u64::MAX })),
    ];

    #[test]
    fn a_frame_gives_back_its_records_headers_and_sender() {
        for headers in [None, Some(""), Some(r#"{"x-id": "é"}"#)] {
            for records in [&[][..], &[&b""[..]], &[b"{\"a\": 1}", b"", b"\xff\n"]] {
                for from in SENT {
                    let body = encode(records, headers, from);
                    assert_eq!(sent(&body), Ok(from));
                    let decoded = decode(body).unwrap();
                    let back: Vec<&[u8]> = (0..decoded.spans.len()).map(|index| decoded.record(index)).collect();
                    assert_eq!((back.as_slice(), decoded.headers.as_deref(), decoded.sent), (records, headers, from));
                }
            }
        }
    }

    #[test]
    fn a_damaged_frame_is_told_and_never_half_read() {
        for from in SENT {
            let whole = encode(&[b"{\"a\": 1}", b"{}"], Some("{}"), from);
            for length in 0..whole.len() {
                assert_eq!(decode(whole[..length].to_vec()), Err(Damaged::Length { length }));
            }
            assert_eq!(decode([whole.clone(), vec![0]].concat()), Err(Damaged::Length { length: whole.len() + 1 }));
            let future = [vec![3], whole[1..].to_vec()].concat();
            assert_eq!(decode(future), Err(Damaged::Format { found: 3 }));
        }
        let endless = [vec![1, 0, 0, 0, 0, 255, 255, 255, 255], vec![0; 8]].concat();
        assert_eq!(decode(endless), Err(Damaged::Length { length: 17 }));
        assert_eq!(decode(encode_with_headers(b"\xff")), Err(Damaged::Headers));
    }

    fn encode_with_headers(headers: &[u8]) -> Vec<u8> {
        [&[OPEN, headers.len() as u8 + 1, 0, 0, 0, 0, 0, 0, 0], headers].concat()
    }
}
