//! The product as it runs without an end, in a process of its own; `kill -9` when it is let go.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::cpu;

pub struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// This program again, until it listens.
    pub fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child =
            command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its words"));
        let mut address = String::new();
        while address.is_empty() {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("its words") > 0, "it ended before it listened");
            address = line.split_once("listening on http://").map_or("", |(_, rest)| rest).trim().to_owned();
        }
        // Nobody reads on, and it must not wait for that.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Running { child, address }
    }

    pub fn cpu(&self) -> Duration {
        cpu::of(self.child.id())
    }

    /// The whole answer, head and all.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(ask.as_bytes()).expect("it takes requests");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
