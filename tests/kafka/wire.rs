//! Kafka's protocol by hand, as far as tests ask for what no program at hand does at once: topics, offsets, transactions.
//!
//! Only versions without flexible fields, which every broker from 2.1 to 4.1 answers. See "Kafka protocol guide" for each; a
//! request is its size, its name (key and version), a number to know the answer by, who asks, and its body.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// A broker that does not answer within this is down.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// No answer that tests ask for is larger: a size beyond it means that the two do not understand each other.
const LARGEST_ANSWER: usize = 64 << 20;

/// Key and version of a request.
#[derive(Clone, Copy)]
pub struct Api(pub i16, pub i16);

pub const PRODUCE: Api = Api(0, 7);
pub const LIST_OFFSETS: Api = Api(2, 2);
pub const METADATA: Api = Api(3, 4);
pub const OFFSET_FETCH: Api = Api(9, 5);
pub const FIND_COORDINATOR: Api = Api(10, 1);
pub const JOIN_GROUP: Api = Api(11, 5);
pub const HEARTBEAT: Api = Api(12, 3);
pub const SYNC_GROUP: Api = Api(14, 3);
pub const CREATE_TOPICS: Api = Api(19, 4);
pub const DELETE_TOPICS: Api = Api(20, 1);
pub const DELETE_RECORDS: Api = Api(21, 0);
pub const INIT_PRODUCER_ID: Api = Api(22, 1);
pub const ADD_PARTITIONS_TO_TXN: Api = Api(24, 1);
pub const END_TXN: Api = Api(26, 1);
pub const DESCRIBE_CONFIGS: Api = Api(32, 1);
pub const CREATE_PARTITIONS: Api = Api(37, 0);

/// The body of a request, or a part of it.
#[derive(Clone, Default)]
pub struct Body(Vec<u8>);

impl Body {
    pub fn new() -> Body {
        Body::default()
    }

    pub fn i8(mut self, value: i8) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i16(mut self, value: i16) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Body {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn text(self, value: &str) -> Body {
        let length = i16::try_from(value.len()).expect("a short text");
        self.i16(length).raw(value.as_bytes())
    }

    /// Null where there is none.
    pub fn maybe_text(self, value: Option<&str>) -> Body {
        match value {
            Some(value) => self.text(value),
            None => self.i16(-1),
        }
    }

    pub fn bytes(self, value: &[u8]) -> Body {
        self.i32(length(value.len())).raw(value)
    }

    pub fn array<T>(self, items: impl IntoIterator<Item = T>, write: impl Fn(Body, T) -> Body) -> Body {
        let items: Vec<T> = items.into_iter().collect();
        let body = self.i32(length(items.len()));
        items.into_iter().fold(body, write)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Body {
        self.0.extend(bytes);
        self
    }

    /// A number of records: seven bits a byte, the sign in the lowest.
    pub fn varint(mut self, value: i64) -> Body {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub fn length(length: usize) -> i32 {
    i32::try_from(length).expect("less than 2 GiB")
}

/// What a broker answered, read from its front. Panics when it says less than it should.
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes.get(self.at..self.at + N).expect("a whole answer").try_into().expect("of this length");
        self.at += N;
        bytes
    }

    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    pub fn maybe_text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()).ok()?;
        let bytes = self.bytes.get(self.at..self.at + length).expect("a whole answer");
        self.at += length;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn text(&mut self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.i32()).unwrap_or(0);
        let bytes = self.bytes.get(self.at..self.at + length).expect("a whole answer").to_vec();
        self.at += length;
        bytes
    }

    pub fn array<T>(&mut self, mut read: impl FnMut(&mut Answer) -> T) -> Vec<T> {
        (0..self.i32()).map(|_| read(self)).collect()
    }
}

/// Asks the broker at `HOST:PORT`, over a connection of its own.
pub fn ask(broker: &str, Api(key, version): Api, body: Body) -> io::Result<Answer> {
    let address = broker.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.set_nodelay(true)?;
    let request = Body::new().i16(key).i16(version).i32(0).text("tests").raw(&body.0);
    stream.write_all(&Body::new().bytes(&request.0).0)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    assert!(size < LARGEST_ANSWER, "{broker} answered {size} bytes to request {key}");
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes)?;
    // The number that the question had.
    Ok(Answer { bytes, at: 4 })
}
