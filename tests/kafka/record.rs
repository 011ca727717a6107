//! A record as tests write and read it, and a batch of them as a broker keeps it (format 2, KIP-98).

use crate::kafka::wire::{Body, length};

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub time: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Record {
    pub fn new(key: &str, value: &str) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    pub fn partition(mut self, partition: i32) -> Record {
        self.partition = partition;
        self
    }

    pub fn time(mut self, time: i64) -> Record {
        self.time = time;
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Record {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value as text.
    pub fn text(&self) -> String {
        self.value.as_ref().map_or("NULL".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
    }

    pub fn key_text(&self) -> String {
        self.key.as_ref().map_or("NULL".to_owned(), |key| String::from_utf8_lossy(key).into_owned())
    }

    fn encode(&self, number: usize, first: i64) -> Vec<u8> {
        let optional = |body: Body, bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => body.varint(bytes.len() as i64).raw(bytes),
            None => body.varint(-1),
        };
        let body = Body::new().i8(0).varint(self.time - first).varint(number as i64);
        let body = optional(optional(body, &self.key), &self.value).varint(self.headers.len() as i64);
        let body = self.headers.iter().fold(body, |body, (name, value)| {
            body.varint(name.len() as i64).raw(name.as_bytes()).varint(value.len() as i64).raw(value.as_bytes())
        });
        let body = body.into_bytes();
        Body::new().varint(body.len() as i64).raw(&body).into_bytes()
    }
}

/// Who writes a batch.
#[derive(Clone, Copy)]
pub struct Writer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub transactional: bool,
}

/// The records of one partition as one batch.
pub fn batch<'r>(records: impl IntoIterator<Item = &'r Record>, writer: Writer) -> Vec<u8> {
    let records: Vec<&Record> = records.into_iter().collect();
    let first = records.first().map_or(0, |record| record.time);
    let latest = records.iter().map(|record| record.time).max().unwrap_or(first);
    let body = Body::new()
        .i16(if writer.transactional { 0x10 } else { 0 })
        .i32(length(records.len()) - 1)
        .i64(first)
        .i64(latest)
        .i64(writer.id)
        .i16(writer.epoch)
        .i32(writer.sequence)
        .i32(length(records.len()));
    let body = records.iter().enumerate().fold(body, |body, (number, record)| body.raw(&record.encode(number, first)));
    let body = body.into_bytes();
    let rest = Body::new().i32(-1).i8(2).i32(crc32c(&body) as i32).raw(&body).into_bytes();
    Body::new().i64(0).bytes(&rest).into_bytes()
}

/// Castagnoli's polynomial, reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut rest, mut bit) = (byte as u32, 0);
        while bit < 8 {
            rest = if rest & 1 == 1 { (rest >> 1) ^ POLYNOMIAL } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[test]
fn the_checksum_is_the_one_that_rfc_3720_prints() {
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
