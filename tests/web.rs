//! A client that knows just enough HTTP to be impolite: it sends any bytes and any headers, over one connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// An answer that takes longer is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// One connection, kept.
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server takes connections");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client { address, stream: BufReader::new(stream) }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", path, headers, body)
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", self.address, body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).expect("the server reads the head");
        // A server that refuses a body may stop reading it; its answer counts.
        let _ = stream.write_all(body);
        let answer = self.answer();
        // Having refused a body that it did not read, the server may close the connection: whoever sends on must open another.
        if answer.status >= 400 && !body.is_empty() {
            *self = Client::to(self.address);
        }
        answer
    }

    fn answer(&mut self) -> Answer {
        let mut line = || {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("an answer in time");
            line.trim_end().to_owned()
        };
        let status = line().split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let mut headers = vec![];
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        let length: usize = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole body");
        answer.body = String::from_utf8(body).expect("text");
        answer
    }
}
