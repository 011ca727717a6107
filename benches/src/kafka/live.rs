//! A pipeline that runs while it is fed: how much goes through, how long a record is on its way, how long the close of an epoch takes.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Offset,
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    orders,
    product::histogram,
    running::Running,
    topics::{PARTITIONS, Reader, Topics, send},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How often whoever feeds looks at the clock.
const TICK: Duration = Duration::from_millis(2);
const COMMITS: &str = "syncline_commit_duration_seconds";
const PHASES: &str = "syncline_commit_phase_duration_seconds";
/// Of a commit: the syncs of outbox and ledger, the store, what is shown.
const NAMES: [&str; 3] = ["logging", "committing", "revealing"];

/// How many took up to each limit in seconds; the last counts all.
type Buckets = Vec<(f64, u64)>;

/// What came of a phase.
pub struct Phase {
    pub fed: u64,
    /// From the first record to the last one's row.
    pub took: Duration,
    pub cpu: Duration,
    /// Milliseconds from the time of a record to the moment at which its row was read, in order.
    latencies: Vec<u32>,
    /// Closes of epochs.
    closes: Buckets,
    /// Their parts, in the order of [`NAMES`].
    parts: Vec<Buckets>,
}

impl Phase {
    pub fn rate(&self) -> f64 {
        self.fed as f64 / self.took.as_secs_f64()
    }

    pub fn percentile(&self, percent: f64) -> u32 {
        let at = (self.latencies.len() as f64 * percent / 100.0) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn epochs(&self) -> u64 {
        self.closes.last().map_or(0, |(_, count)| *count)
    }

    /// So many of all closes took no longer than this, in seconds.
    pub fn close(&self, percent: f64) -> f64 {
        within(&self.closes, percent)
    }

    /// The same of each part of a close.
    pub fn parts(&self, percent: f64) -> String {
        let parts = NAMES.iter().zip(&self.parts);
        parts.map(|(name, part)| format!("{name} {:.3} s", within(part, percent))).collect::<Vec<_>>().join(", ")
    }
}

/// The smallest limit of the histogram that holds so many of all.
fn within(buckets: &Buckets, percent: f64) -> f64 {
    let needed = buckets.last().map_or(0, |(_, count)| *count) as f64 * percent / 100.0;
    buckets.iter().find(|(_, count)| *count as f64 >= needed).map_or(f64::INFINITY, |(limit, _)| *limit)
}

/// Of one phase of the run, all closes and each of their parts.
fn closes(live: &Running) -> Vec<Buckets> {
    let parts = NAMES.iter().map(|name| histogram(live, PHASES, &format!("phase=\"{name}\"")));
    [histogram(live, COMMITS, "")].into_iter().chain(parts).collect()
}

fn since(before: &Buckets, after: Buckets) -> Buckets {
    let earlier = |at: usize| before.get(at).map_or(0, |(_, count)| *count);
    after.into_iter().enumerate().map(|(at, (limit, count))| (limit, count - earlier(at))).collect()
}

pub struct Feed<'a> {
    pub topics: &'a Topics,
    pub brokers: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    /// Number of the next order, so that no two phases feed the same.
    pub next: u64,
}

impl Feed<'_> {
    /// Feeds orders for so long, so many a second or as many as are taken, and waits until the last row has come out.
    pub fn run(&mut self, live: &Running, during: Duration, rate: Option<f64>) -> Phase {
        let before = (live.cpu(), closes(live));
        let ready = Arc::new(AtomicBool::new(false));
        let reader = {
            let (brokers, to, ready) = (self.brokers.to_owned(), self.to.to_owned(), ready.clone());
            thread::spawn(move || read(&brokers, &to, &ready))
        };
        while !ready.load(Ordering::Acquire) {
            thread::sleep(TICK);
        }
        let began = Instant::now();
        let producer = self.topics.producer();
        let fed = self.feed(&producer, began, during, rate);
        producer.flush(PATIENCE).expect("every record is acknowledged");
        let (latencies, ended) = reader.join().expect("rows come out");
        let mut parts = before.1.iter().zip(closes(live)).map(|(before, after)| since(before, after));
        let closes = parts.next().unwrap_or_default();
        Phase { fed, took: ended - began, cpu: live.cpu() - before.0, latencies, closes, parts: parts.collect() }
    }

    fn feed(&mut self, producer: &BaseProducer, began: Instant, during: Duration, rate: Option<f64>) -> u64 {
        let mut fed = 0;
        while began.elapsed() < during {
            let due = rate.map_or(fed + 1000, |rate| (began.elapsed().as_secs_f64() * rate) as u64);
            while fed < due {
                self.send(producer, None);
                fed += 1;
            }
            producer.poll(Duration::ZERO);
            if rate.is_some() {
                thread::sleep(TICK);
            }
        }
        // One paid order at the end of each partition: when these are out, everything is.
        for partition in 0..PARTITIONS {
            self.send(producer, Some(partition));
            fed += 1;
        }
        fed
    }

    /// Sends the next order. `end`: to this partition, marked as its last, and such that it comes out.
    fn send(&mut self, producer: &BaseProducer, end: Option<i32>) {
        let id = self.next;
        self.next += 1;
        let line = orders::order(id);
        let key = match end {
            Some(partition) => format!("end-{partition}"),
            None => format!("ord-{id:010}"),
        };
        let line = match end {
            Some(partition) => line
                .replace(&format!("ord-{id:010}"), &format!("end-{partition}-{id}"))
                .replace("\"open\"", "\"paid\"")
                .replace("\"void\"", "\"paid\"")
                .replace("\"amount\":\"", "\"amount\":\"9"),
            None => line,
        };
        let record = BaseRecord::to(self.from).key(key.as_str()).payload(line.trim_end()).timestamp(now());
        send(
            producer,
            match end {
                Some(partition) => record.partition(partition),
                None => record,
            },
        );
    }
}

/// Reads rows until the last of each partition of the input has come.
fn read(brokers: &str, to: &str, ready: &AtomicBool) -> (Vec<u32>, Instant) {
    let mut reader = Reader::of(brokers, to, "read_committed", Offset::End);
    let began = Instant::now();
    while !reader.is_at_its_end() {
        reader.take(|_, _, _| {});
        assert!(began.elapsed() < PATIENCE, "the output can be read");
    }
    ready.store(true, Ordering::Release);
    let (mut latencies, mut ends) = (vec![], HashSet::new());
    let mut last = Instant::now();
    while ends.len() < PARTITIONS as usize {
        let now = now();
        let some = reader.take(|_, _, beside| {
            latencies.push(u32::try_from(now - beside.time).unwrap_or(0));
            if let Some(end) = beside.key.strip_prefix(b"end-") {
                ends.insert(end[0]);
            }
        });
        if some {
            last = Instant::now();
        }
        assert!(last.elapsed() < PATIENCE, "rows come out");
    }
    latencies.sort_unstable();
    (latencies, last)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
