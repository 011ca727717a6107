//! The product itself, by its own command line, in a process of its own.

use std::path::{Path, PathBuf};

use crate::{program, running::Running};

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

/// Of a histogram of one that runs, of the one that has this label: how often up to each of its limits, and how often at all.
pub fn histogram(running: &Running, name: &str, label: &str) -> Vec<(f64, u64)> {
    let bucket = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix("_bucket{")?;
        let (labels, limit) = rest.split_once("le=\"")?;
        let (limit, count) = limit.split_once("\"}")?;
        labels.contains(label).then_some(())?;
        Some((limit.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
    };
    running.get("/metrics").lines().filter_map(bucket).collect()
}
