//! Records as others write and read them: `kcat` (librdkafka) and Kafka's own console programs (Java).

use std::{
    io::{Seek, Write},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    desk::{PATIENCE, Running, Said},
    kafka::{
        bus::{Isolation, Topic},
        java,
        record::Record,
    },
};

/// Of a program that passes some thousand records on.
const HEAP: &str = "-Xmx256m";
/// Their log would come between what they print.
const QUIET: &str = "-Dlog4j2.level=OFF";
/// How `kcat` prints a record: a line of numbers and headers, then key and value by their lengths.
const KCAT_FORMAT: &str = "%p %o %T %K %S %h\n%k%s\n";
/// What Kafka's console consumer prints before key and value.
const CONSOLE_PRINTS: [&str; 5] = ["timestamp", "partition", "offset", "headers", "key"];
/// The console consumer ends when no record has come for so long: it knows no end of a topic.
const CONSOLE_WAITS_MS: &str = "10000";

impl Topic {
    /// Feeds lines of `KEY=VALUE` to `kcat` as producer; `-p 2` names the partition, `-H name=value` a header of all. It gives up
    /// when no broker is there: what has to wait for one is given to [`Topic::produce`].
    pub fn kcat(&self, options: &[&str], lines: &str) {
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", self.bus.brokers(), "-t", &self.name, "-K="]).args(options);
        command.stdin(fed(lines));
        ended(command, "kcat -P");
    }

    /// Feeds lines of `KEY=VALUE` to Kafka's console producer.
    pub fn console_produce(&self, options: &[&str], lines: &str) {
        let mut command = java(
            &[HEAP, QUIET],
            "org.apache.kafka.tools.ConsoleProducer",
            &["--bootstrap-server", self.bus.brokers(), "--topic", &self.name],
        );
        command.args(["--property", "parse.key=true", "--property", "key.separator=="]).args(options);
        command.stdin(fed(lines));
        ended(command, "the console producer");
    }

    /// What a reader sees now, in order of partition and offset.
    pub fn read(&self, isolation: Isolation) -> Vec<Record> {
        let ends = self.ends(isolation);
        let started = Instant::now();
        loop {
            let said = self.kcat_reads(isolation);
            let reached = |(partition, end): (usize, &i64)| ended_at(&said.err, partition) >= Some(*end);
            if ends.iter().enumerate().all(reached) {
                let mut records = kcat_records(&said.stdout);
                records.sort_by_key(|record| (record.partition, record.offset));
                return records;
            }
            assert!(started.elapsed() < PATIENCE, "{} was not read up to {ends:?}: {}", self.name, said.err);
        }
    }

    fn kcat_reads(&self, isolation: Isolation) -> Said {
        let mut command = Command::new("kcat");
        let level = format!("isolation.level={}", isolation.word());
        command.args(["-C", "-e", "-b", self.bus.brokers(), "-t", &self.name, "-f", KCAT_FORMAT]);
        command.args(["-X", &level, "-X", "fetch.wait.max.ms=20"]).stdin(Stdio::null());
        ended(command, "kcat -C")
    }

    /// Reads as a member of a group, which commits when it leaves, until so many records have come.
    pub fn read_as_group(&self, group: &str, records: usize) {
        let mut command = Command::new("kcat");
        command.args(["-b", self.bus.brokers(), "-c", &records.to_string(), "-q"]);
        command.args(["-X", "auto.offset.reset=earliest", "-G", group, &self.name]).stdin(Stdio::null());
        ended(command, "kcat");
    }

    /// What Kafka's console consumer prints of it, in the order in which that saw it.
    pub fn console_read(&self, isolation: Isolation) -> Vec<Record> {
        let mut command = java(
            &[HEAP, QUIET],
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &["--bootstrap-server", self.bus.brokers(), "--topic", &self.name, "--from-beginning"],
        );
        command.args(["--isolation-level", isolation.word(), "--timeout-ms", CONSOLE_WAITS_MS]);
        for printed in CONSOLE_PRINTS {
            command.args(["--property", &format!("print.{printed}=true")]);
        }
        command.args(["--property", "null.literal=NULL"]).stdin(Stdio::null());
        let said = Running::start(command, "the console consumer".to_owned()).end(PATIENCE * 2);
        let records: Vec<Record> = said.out().lines().map(console_record).collect();
        let told = format!("Processed a total of {} messages", records.len());
        assert!(said.err.contains(&told), "{}\n{}", said.err, said.out());
        records
    }
}

fn fed(lines: &str) -> Stdio {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(lines.as_bytes()).and_then(|()| file.rewind()).expect("the lines");
    Stdio::from(file)
}

fn ended(command: Command, name: &str) -> Said {
    Running::start(command, name.to_owned()).end(PATIENCE * 2).expect(0)
}

/// `% Reached end of topic orders [2] at offset 17`.
fn ended_at(said: &str, partition: usize) -> Option<i64> {
    let words = format!("[{partition}] at offset ");
    let after = said.lines().filter_map(|line| line.split_once(&words)).next_back()?.1;
    after.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
}

fn kcat_records(mut out: &[u8]) -> Vec<Record> {
    let mut records = vec![];
    while !out.is_empty() {
        let end = out.iter().position(|byte| *byte == b'\n').expect("a line before each record");
        let line = std::str::from_utf8(&out[..end]).expect("numbers and headers");
        let mut words = line.splitn(6, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a number");
        let (partition, offset, time) = (number() as i32, number(), number());
        let (key, value) = (number(), number());
        let headers = headers(words.next().unwrap_or_default(), '=');
        out = &out[end + 1..];
        let key = bytes(&mut out, key);
        let value = bytes(&mut out, value);
        assert_eq!(out[0], b'\n', "a record as long as it says");
        out = &out[1..];
        records.push(Record { partition, offset, time, key, value, headers });
    }
    records
}

/// So many bytes from the front; fewer than none stands for NULL.
fn bytes(out: &mut &[u8], length: i64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    let (bytes, rest) = out.split_at(length);
    *out = rest;
    Some(bytes.to_vec())
}

/// `a=1,b=2`. Neither program quotes: tests keep commas out of headers.
fn headers(text: &str, between: char) -> Vec<(String, String)> {
    let header = |header: &str| {
        let (name, value) = header.split_once(between).unwrap_or((header, ""));
        (name.to_owned(), value.to_owned())
    };
    text.split(',').filter(|text| !text.is_empty() && *text != "NO_HEADERS").map(header).collect()
}

/// `CreateTime:17…<tab>Partition:0<tab>Offset:3<tab>a:1,b:2<tab>key<tab>value`.
fn console_record(line: &str) -> Record {
    let mut words = line.splitn(6, '\t');
    let mut word = || words.next().unwrap_or_else(|| panic!("a record as the console consumer prints it: {line}"));
    let number = |word: &str| {
        let number = word.split_once(':').and_then(|(_, number)| number.parse::<i64>().ok());
        number.unwrap_or_else(|| panic!("a number: {word}"))
    };
    let (time, partition, offset) = (number(word()), number(word()) as i32, number(word()));
    let headers = headers(word(), ':');
    let mut text = || Some(word()).filter(|text| *text != "NULL").map(|text| text.as_bytes().to_vec());
    let (key, value) = (text(), text());
    Record { partition, offset, time, key, value, headers }
}
