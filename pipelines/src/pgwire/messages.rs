//! The messages of PostgreSQL's protocol 3.0: what a client says, read with every length checked, and what it is told.
//!
//! The layout is that of the manual's chapter "Message Formats". A message is read whole before it is looked at, and is refused when it
//! is longer than its kind may be: what a client says is never believed.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::refusal::{Refusal, Severity};

/// The longest message of a client that has not said who it is.
const START: usize = 8 << 10;
/// The longest message after that: a question, or the values of its parameters.
pub const LONGEST: usize = 1 << 20;

const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    Tls,
    Gss,
    Cancel { pid: i32, key: Vec<u8> },
    Startup { version: i32, parameters: Vec<(String, String)> },
}

/// What a client says then.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        values: Vec<Option<Vec<u8>>>,
        results: Vec<i16>,
    },
    Describe(Target),
    Close(Target),
    /// No more than so many rows; 0 is all of them.
    Execute {
        portal: String,
        rows: usize,
    },
    Sync,
    Flush,
    Terminate,
    /// The answer to a question for a password, in whatever form.
    Password(Vec<u8>),
    /// Data of a COPY that was refused: libpq may send it all the same.
    Copy,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Statement(String),
    Portal(String),
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the connection ended: {0}")]
    Gone(#[from] io::Error),
    #[error("a message of {length} bytes is longer than {longest}")]
    TooLong { length: usize, longest: usize },
    #[error("a message of kind {0:?} is not one of the protocol, or is cut off")]
    Malformed(char),
}

/// The first message; nothing beyond it is read, as what follows may be TLS.
pub async fn read_start(from: &mut (impl AsyncRead + Unpin)) -> Result<Start, Broken> {
    let body = read_body(from, START).await?;
    let mut rest = Rest(&body);
    let malformed = || Broken::Malformed('0');
    let start = match rest.int().ok_or_else(malformed)? {
        TLS => Start::Tls,
        GSS => Start::Gss,
        CANCEL => Start::Cancel { pid: rest.int().ok_or_else(malformed)?, key: std::mem::take(&mut rest.0).to_vec() },
        version => {
            let mut parameters = vec![];
            loop {
                let name = rest.text().ok_or_else(malformed)?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, rest.text().ok_or_else(malformed)?));
            }
            Start::Startup { version, parameters }
        }
    };
    if rest.0.is_empty() { Ok(start) } else { Err(malformed()) }
}

/// The next message.
pub async fn read_message(from: &mut (impl AsyncRead + Unpin), longest: usize) -> Result<Message, Broken> {
    let kind = from.read_u8().await?;
    let body = read_body(from, longest).await?;
    let mut rest = Rest(&body);
    let message = message(kind, &mut rest).filter(|_| rest.0.is_empty());
    message.ok_or(Broken::Malformed(char::from(kind)))
}

async fn read_body(from: &mut (impl AsyncRead + Unpin), longest: usize) -> Result<Vec<u8>, Broken> {
    let length = from.read_i32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match length.checked_sub(4) {
        Some(body) if length <= longest => {
            let mut bytes = vec![0; body];
            from.read_exact(&mut bytes).await?;
            Ok(bytes)
        }
        _ => Err(Broken::TooLong { length, longest }),
    }
}

fn message(kind: u8, rest: &mut Rest<'_>) -> Option<Message> {
    Some(match kind {
        b'Q' => Message::Query(rest.text()?),
        b'P' => {
            Message::Parse { name: rest.text()?, sql: rest.text()?, types: rest.list(|rest| Some(rest.int()? as u32))? }
        }
        b'B' => Message::Bind {
            portal: rest.text()?,
            statement: rest.text()?,
            formats: rest.list(Rest::short)?,
            values: rest.list(Rest::value)?,
            results: rest.list(Rest::short)?,
        },
        b'D' => Message::Describe(rest.target()?),
        b'C' => Message::Close(rest.target()?),
        b'E' => Message::Execute { portal: rest.text()?, rows: usize::try_from(rest.int()?).unwrap_or(0) },
        b'S' => Message::Sync,
        b'H' => Message::Flush,
        b'X' => Message::Terminate,
        b'p' => Message::Password(std::mem::take(&mut rest.0).to_vec()),
        b'd' | b'c' | b'f' => {
            rest.0 = &[];
            Message::Copy
        }
        _ => return None,
    })
}

/// What is left of a message.
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8(self.take(end)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn value(&mut self) -> Option<Option<Vec<u8>>> {
        match self.int()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?.to_vec())),
        }
    }

    fn target(&mut self) -> Option<Target> {
        match self.take(1)? {
            b"S" => Some(Target::Statement(self.text()?)),
            b"P" => Some(Target::Portal(self.text()?)),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.short()? as u16;
        (0..count).map(|_| each(self)).collect()
    }

    /// Length and bytes, as in the first message of SASL.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?).ok()?;
        self.take(length)
    }
}

/// A column of an answer as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub oid: u32,
    /// Bytes of each value; -1 where they differ.
    pub size: i16,
    pub binary: bool,
}

/// What goes out, not sent yet.
#[derive(Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    /// A message of this kind, whose body `write` appends.
    fn message(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.push(kind);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        write(&mut self.0);
        // No message of ours comes near the two gigabytes that a length can say.
        let length = i32::try_from(self.0.len() - start).unwrap_or(i32::MAX);
        self.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub fn bare(&mut self, kind: u8) {
        self.message(kind, |_| {});
    }

    /// A question for, or a word about, a proof of who it is.
    pub fn authentication(&mut self, code: i32, body: &[u8]) {
        self.message(b'R', |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(body);
        });
    }

    pub fn negotiate(&mut self, unknown: &[&str]) {
        self.message(b'v', |out| {
            out.extend_from_slice(&0_i32.to_be_bytes());
            out.extend_from_slice(&(unknown.len() as i32).to_be_bytes());
            unknown.iter().for_each(|name| put_text(name, out));
        });
    }

    pub fn parameter(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            put_text(name, out);
            put_text(value, out);
        });
    }

    pub fn key(&mut self, pid: i32, key: &[u8]) {
        self.message(b'K', |out| {
            out.extend_from_slice(&pid.to_be_bytes());
            out.extend_from_slice(key);
        });
    }

    pub fn ready(&mut self, status: u8) {
        self.message(b'Z', |out| out.push(status));
    }

    pub fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(tag, out));
    }

    pub fn parameters(&mut self, types: &[u32]) {
        self.message(b't', |out| {
            out.extend_from_slice(&(types.len() as u16).to_be_bytes());
            types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
        });
    }

    pub fn columns(&mut self, columns: &[Column]) {
        self.message(b'T', |out| {
            out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
            for column in columns {
                put_text(&column.name, out);
                // No table, no column of one.
                out.extend_from_slice(&[0; 6]);
                out.extend_from_slice(&column.oid.to_be_bytes());
                out.extend_from_slice(&column.size.to_be_bytes());
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                out.extend_from_slice(&i16::from(column.binary).to_be_bytes());
            }
        });
    }

    /// A row, whose values `write` appends one by one; false for NULL.
    pub fn row(&mut self, columns: usize, mut write: impl FnMut(usize, &mut Vec<u8>) -> bool) {
        self.message(b'D', |out| {
            out.extend_from_slice(&(columns as u16).to_be_bytes());
            for index in 0..columns {
                let start = out.len();
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                if write(index, out) {
                    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
                    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                }
            }
        });
    }

    pub fn refusal(&mut self, refusal: &Refusal) {
        let (kind, severity) = match refusal.severity {
            Severity::Notice => (b'N', "NOTICE"),
            Severity::Error => (b'E', "ERROR"),
            Severity::Fatal => (b'E', "FATAL"),
        };
        self.message(kind, |out| {
            let fields = [(b'S', severity), (b'V', severity), (b'C', refusal.code), (b'M', refusal.message.as_str())];
            let more = [(b'D', &refusal.detail), (b'H', &refusal.hint)];
            let more =
                more.into_iter().filter(|(_, text)| !text.is_empty()).map(|(field, text)| (field, text.as_str()));
            for (field, text) in fields.into_iter().chain(more) {
                out.push(field);
                put_text(text, out);
            }
            out.push(0);
        });
    }
}

/// A text with its end. What holds an end itself is cut there, as a reader would.
fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().take_while(|byte| *byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Out::default();
        out.message(kind, |bytes| bytes.extend_from_slice(body));
        out.0
    }

    async fn read(bytes: &[u8]) -> Result<Message, Broken> {
        read_message(&mut &bytes[..], LONGEST).await
    }

    #[tokio::test]
    async fn a_bind_is_read_with_its_values() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x01\0\x00";
        let expected = Message::Bind {
            portal: "p".into(),
            statement: "s".into(),
            formats: vec![1],
            values: vec![Some(b"hi".to_vec()), None],
            results: vec![0],
        };
        assert_eq!(read(&framed(b'B', body)).await.unwrap(), expected);
    }

    /// Every beginning of every message is a message that is cut off, or another one; none is more than refused.
    #[tokio::test]
    async fn what_is_cut_off_or_too_long_is_refused() {
        let bodies: [(u8, &[u8]); 6] = [
            (b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x01\0\x00"),
            (b'P', b"s\0SELECT 1\0\0\x01\0\0\0\x17"),
            (b'E', b"p\0\0\0\0\x05"),
            (b'D', b"Sx\0"),
            (b'Q', b"SELECT 1\0"),
            (b'B', b"p\0s\0\xff\xff"),
        ];
        for (kind, body) in bodies {
            for length in 0..body.len() {
                let cut = read(&framed(kind, &body[..length])).await;
                assert!(matches!(cut, Err(Broken::Malformed(_))), "{:?}", &body[..length]);
            }
            assert!(matches!(read(&framed(kind, &[body, b"x"].concat())).await, Err(Broken::Malformed(_))));
        }
        for bytes in [&b"Q\x7f\xff\xff\xff"[..], b"Q\xff\xff\xff\xff", b"Q\0\0\0\x03", b"Q\0\x20\0\0"] {
            assert!(matches!(read(bytes).await, Err(Broken::TooLong { .. })), "{bytes:?}");
        }
        assert!(matches!(read(b"Q\0\0\0\x09abc").await, Err(Broken::Gone(_))));
        assert!(matches!(read(&framed(b'?', b"")).await, Err(Broken::Malformed('?'))));
    }

    #[tokio::test]
    async fn a_start_is_one_of_four() {
        let start = |body: &[u8]| framed(b'!', body)[1..].to_vec();
        let startup = start(b"\0\x03\0\0user\0ada\0\0");
        let expected = Start::Startup { version: 196_608, parameters: vec![("user".into(), "ada".into())] };
        assert_eq!(read_start(&mut &startup[..]).await.unwrap(), expected);
        assert_eq!(read_start(&mut &start(&TLS.to_be_bytes())[..]).await.unwrap(), Start::Tls);
        let cancel = [&CANCEL.to_be_bytes()[..], b"\0\0\0\x07key!"].concat();
        assert_eq!(
            read_start(&mut &start(&cancel)[..]).await.unwrap(),
            Start::Cancel { pid: 7, key: b"key!".to_vec() }
        );
        for body in [&b""[..], b"\0\x03\0", b"\0\x03\0\0user\0ada\0", b"\0\x03\0\0user\0"] {
            assert!(matches!(read_start(&mut &start(body)[..]).await, Err(Broken::Malformed(_))), "{body:?}");
        }
        assert!(matches!(read_start(&mut &b"\0\0\xff\xff"[..]).await, Err(Broken::TooLong { .. })));
    }

    #[test]
    fn a_row_tells_null_from_nothing() {
        let mut out = Out::default();
        out.row(3, |index, out| {
            out.extend_from_slice(if index == 0 { b"a" } else { b"" });
            index < 2
        });
        assert_eq!(out.0, b"D\0\0\0\x13\0\x03\0\0\0\x01a\0\0\0\0\xff\xff\xff\xff");
    }
}
