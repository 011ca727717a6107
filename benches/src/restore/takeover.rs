//! A process is killed, and another one goes on with its task: how long nothing works, up to when the state is whole there.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{count, cpu, holds};

/// A process is silent for so long before its tasks are others'.
const SESSION: f64 = 6.0;
/// Bounds, in seconds: without and with a copy that stands by.
const EMPTY: f64 = SESSION + 10.0;
const STANDBY: f64 = SESSION + 2.0;
const LOOK: Duration = Duration::from_millis(50);

/// `file` is the job without a copy; a second file beside it has one.
pub fn takeovers(file: &Path, folder: &Path, keys: u64) {
    let with = folder.join("standby.sync");
    let text = fs::read_to_string(file).expect("the pipeline file");
    fs::write(&with, text.replace("changelog = 'bus'", "changelog = 'bus', standby = true")).expect("another one");
    takeover("the other has nothing", file, folder, keys, EMPTY);
    takeover("the other stands by with a copy", &with, folder, keys, STANDBY);
}

fn takeover(what: &str, file: &Path, folder: &Path, keys: u64, bound: f64) {
    let (one, two) = (folder.join("one"), folder.join("two"));
    let killed = Running::start(file, &one);
    killed.until("running");
    let other = Running::start(file, &two);
    other.until("standby");
    other.rests();
    drop(killed);
    let silent = Instant::now();
    other.until("running");
    let took = silent.elapsed().as_secs_f64();
    assert_eq!(count(&two), keys, "keys are missing");
    drop(other);
    [one, two].iter().for_each(|data| fs::remove_dir_all(data).expect("the folder goes"));
    println!("{what:<34} works {took:.1} s after the kill (bound {bound}): {}", holds(took <= bound));
}

/// The product as it runs without an end; `kill -9` when it is let go.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(file: &Path, data: &Path) -> Running {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["run", &file.to_string_lossy(), "--listen", "127.0.0.1:0", "--data", &data.to_string_lossy()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
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

    /// Waits until the pipeline stands so, as the process itself says.
    fn until(&self, state: &str) {
        let (began, wanted) = (Instant::now(), format!("\"state\":\"{state}\""));
        while !self.status().contains(&wanted) {
            assert!(began.elapsed() < Duration::from_secs(120), "it is not {state}: {}", self.status());
            std::thread::sleep(LOOK);
        }
    }

    fn status(&self) -> String {
        let ask = format!("GET /v1/pipelines/ids HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        let mut text = String::new();
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(ask.as_bytes()).expect("it takes requests");
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// Waits until it has nothing to do but to look: two seconds with little work in them.
    fn rests(&self) {
        let long = Duration::from_secs(2);
        loop {
            let before = cpu::of(self.child.id());
            std::thread::sleep(long);
            if cpu::of(self.child.id()) - before < long / 10 {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
