//! The product itself, by its own command line, in a process of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{cpu, program};

/// The job of `spine`, from one topic to another.
const JOB: &str = "
CONNECTION bus TO kafka WITH (brokers = 'BROKERS');
PIPELINE orders WITH (delivery = 'DELIVERY') AS
FROM bus.FROM_TOPIC
|> WHERE status = 'paid' AND CAST(amount AS DECIMAL(12, 2)) >= 10
|> DEDUP BY id WITHIN '10 minutes'
|> SELECT id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents,
          substr(ts, 1, 10) AS day, region COLUMNS
|> INSERT INTO bus.TO_TOPIC KEY (id);
";

/// Where it works, and what it promises.
pub struct Job<'a> {
    pub brokers: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub delivery: &'a str,
    /// Records are given the times of those that they were made of.
    pub times: bool,
}

impl Job<'_> {
    /// Writes the file into a new folder.
    fn write(&self, folder: &Path) -> PathBuf {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a folder");
        let text = JOB
            .replace("BROKERS", self.brokers)
            .replace("DELIVERY", self.delivery)
            .replace("FROM_TOPIC", self.from)
            .replace("TO_TOPIC", self.to)
            .replace(" COLUMNS", if self.times { ", _timestamp" } else { "" });
        let file = folder.join("orders.sync");
        std::fs::write(&file, text).expect("the pipeline file");
        file
    }
}

/// Takes what is there, and ends.
pub fn once(job: &Job, folder: &Path) {
    let file = job.write(folder);
    program::run(&["run", &file.to_string_lossy(), "--once", "--data", &folder.join("data").to_string_lossy()]);
}

/// Runs until it is killed.
pub fn live(job: &Job, folder: &Path) {
    let file = job.write(folder);
    program::run(&[
        "run",
        &file.to_string_lossy(),
        "--listen",
        "127.0.0.1:0",
        "--data",
        &folder.join("data").to_string_lossy(),
    ]);
}

/// One that runs.
pub struct Live {
    child: Child,
    address: String,
}

impl Live {
    /// This program again, as the contestant `live`.
    pub fn start(arguments: &[&str]) -> Live {
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
        Live { child, address }
    }

    pub fn cpu(&self) -> Duration {
        cpu::of(self.child.id())
    }

    /// Of a histogram, of the one that has this label: how often up to each of its limits, and how often at all.
    pub fn histogram(&self, name: &str, label: &str) -> Vec<(f64, u64)> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let ask = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(ask.as_bytes()).expect("it takes requests");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let bucket = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{")?;
            let (labels, limit) = rest.split_once("le=\"")?;
            let (limit, count) = limit.split_once("\"}")?;
            labels.contains(label).then_some(())?;
            Some((limit.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
        };
        text.lines().filter_map(bucket).collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
