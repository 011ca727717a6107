//! From one topic to another: what a record costs beside a bare copy, what exactly once costs beside at least once, and how long a row is on
//! its way, in one run on one broker.
//!
//! `cargo run --release -p syncline-benches --bin kafka [-- ROWS]`: the job of `spine` over orders in a topic of six partitions. Every
//! contestant runs in a process of its own; CPU time is that of the whole process, start-up included, and not the broker's; the best of
//! three counts, in turns. What comes out of the two promises is compared; a copy has as many records as its input.
//! Then the pipeline runs while it is fed: as much as goes through, half of that, and 200,000 records a second. Whoever feeds and reads, and the
//! broker, share the machine with it. `KAFKA_BROKERS` names a broker, or `SYNCLINE_KAFKA` the Kafka that `./test` fetched.

mod broker;
mod copy;
#[path = "../cpu.rs"]
mod cpu;
mod live;
#[path = "../spine/measure.rs"]
mod measure;
#[path = "../spine/orders.rs"]
// Here they go to a topic.
#[allow(dead_code)]
mod orders;
mod product;
#[path = "../program.rs"]
mod program;
#[path = "../../../connectors/src/kafka/queue.rs"]
// Headers are not read here.
#[allow(dead_code)]
mod queue;
#[path = "../random.rs"]
mod random;
#[path = "../running.rs"]
mod running;
mod topics;

use std::{path::Path, time::Duration};

use broker::Broker;
use live::{Feed, Phase};
use measure::{Cost, child};
use product::Job;
use running::Running;
use topics::Topics;

const ROWS: u64 = 2_000_000;
const ROUNDS: usize = 3;
const FROM: &str = "bench_orders";
/// Each round has a topic of its own: what is deleted is given back a minute later, and whoever syncs then waits.
const TO: &str = "bench_out";
const LIVE_FROM: &str = "bench_live";
const LIVE_TO: &str = "bench_live_out";
/// A pipeline makes a checkpoint so often, if nothing is said.
const EPOCH: Duration = Duration::from_millis(200);
const DURING: Duration = Duration::from_secs(10);
/// Enough epochs for a hundredth of them to be some.
const LONG: Duration = Duration::from_secs(30);
const STEADY: f64 = 200_000.0;

/// Bounds: CPU of exactly once by at least once, CPU of the job by the bare copy, p99 of a row's way in epochs, p99 of a close.
const PROMISE: f64 = 1.15;
const JOB: f64 = 2.5;
const EPOCHS: f64 = 3.0;
const CLOSE: f64 = 0.05;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["copy", delivery, brokers, to, _] => copy::run(brokers, FROM, to, *delivery == "exactly once"),
        ["syncline", delivery, brokers, to, folder] => {
            product::once(&Job { brokers, from: FROM, to, delivery, times: false }, Path::new(folder));
        }
        ["live", delivery, brokers, to, folder] => {
            product::live(&Job { brokers, from: LIVE_FROM, to, delivery, times: true }, Path::new(folder));
        }
        rest => compare(rest.first().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS)),
    }
}

fn compare(rows: u64) {
    let broker = Broker::there_or_started();
    let topics = Topics::at(&broker.address);
    let folder = std::env::temp_dir().join(format!("syncline-kafka-{}", std::process::id()));
    let on = measure::file_system(broker.folder().unwrap_or(&std::env::temp_dir()));
    println!("{rows} orders in {} partitions, seed {}, on {on}", topics::PARTITIONS, orders::SEED);
    topics.make(FROM);
    topics.fill(FROM, rows);
    let mut made = jobs(&broker, &topics, &folder, rows);
    feed(&broker, &topics, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    made.extend([FROM, LIVE_FROM, LIVE_TO].map(str::to_owned));
    made.iter().for_each(|topic| topics.delete(topic));
}

/// Who does what, under which promise.
const CONTESTANTS: [(&str, &str, &str); 4] = [
    ("copy", "at least once", "bare librdkafka copy, at least once"),
    ("copy", "exactly once", "bare librdkafka copy, in transactions"),
    ("syncline", "at least once", "syncline, the job, at least once"),
    ("syncline", "exactly once", "syncline, the job, exactly once"),
];

/// Returns the topics that it made.
fn jobs(broker: &Broker, topics: &Topics, folder: &Path, rows: u64) -> Vec<String> {
    let mut costs: Vec<Vec<Cost>> = CONTESTANTS.iter().map(|_| vec![]).collect();
    let (mut outputs, mut made) = (vec![], vec![]);
    for round in 0..ROUNDS {
        for (at, (name, delivery, _)) in CONTESTANTS.iter().enumerate() {
            let to = format!("{TO}_{round}_{at}");
            topics.make(&to);
            costs[at].push(child(&[name, delivery, &broker.address, &to, &folder.to_string_lossy()]));
            let output = topics.digest(&to);
            made.push(to);
            match *name {
                "copy" => assert_eq!(output.0, rows, "a copy is whole"),
                _ => outputs.push(output),
            }
        }
    }
    println!("{:<44} {:>12} {:>10} {:>9}   all rounds", "", "CPU-s per M", "wall s", "peak MB");
    let per_million = |cost: &Cost| cost.cpu.as_secs_f64() / (rows as f64 / 1e6);
    let mut best = vec![];
    for (costs, (_, _, title)) in costs.iter().zip(CONTESTANTS) {
        let least = costs.iter().min_by_key(|cost| cost.cpu).expect("at least one round");
        let all: Vec<String> = costs.iter().map(|cost| format!("{:.2}", per_million(cost))).collect();
        let (wall, peak) = (least.wall.as_secs_f64(), least.peak as f64 / 1e6);
        println!("{title:<44} {:>12.3} {wall:>10.2} {peak:>9.0}   {}", per_million(least), all.join(", "));
        best.push(per_million(least));
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "outputs differ: {outputs:?}");
    println!("outputs agree: {} rows out", outputs[0].0);
    told("exactly once by at least once, CPU", best[3] / best[2], PROMISE);
    told("the job by the bare copy in transactions, CPU", best[3] / best[1], JOB);
    made
}

fn told(what: &str, found: f64, bound: f64) {
    println!("{what}: {found:.2} (bound {bound}): {}", if found <= bound { "holds" } else { "does NOT hold" });
}

fn feed(broker: &Broker, topics: &Topics, folder: &Path) {
    topics.make(LIVE_FROM);
    topics.make(LIVE_TO);
    written();
    let live = Running::start(&["live", "exactly once", &broker.address, LIVE_TO, &folder.to_string_lossy()]);
    let mut feed = Feed { topics, brokers: &broker.address, from: LIVE_FROM, to: LIVE_TO, next: 0 };
    // Clients, caches, the first pages of the state.
    feed.run(&live, Duration::from_secs(1), Some(STEADY / 10.0));
    println!(
        "\n{:<34} {:>10} {:>12} {:>8} {:>8} {:>8} {:>8} {:>14} {:>14}",
        "while it is fed",
        "rate /s",
        "CPU-s per M",
        "p50 ms",
        "p99 ms",
        "max ms",
        "epochs",
        "half close in",
        "99 % close in"
    );
    let full = feed.run(&live, DURING, None);
    print("as much as goes through", &full);
    written();
    let half = feed.run(&live, DURING, Some(full.rate() / 2.0));
    print("half of it", &half);
    written();
    let steady = feed.run(&live, LONG, Some(STEADY));
    print("200,000 a second", &steady);
    told(
        "p99 of a row's way at half load, in epochs",
        f64::from(half.percentile(99.0)) / EPOCH.as_millis() as f64,
        EPOCHS,
    );
    told("p99 of an epoch's close at 200,000 a second, in seconds", steady.close(99.0), CLOSE);
}

/// What the broker has kept in memory so far would go to the disk in the next part, and who syncs there would wait for it.
fn written() {
    let _ = std::process::Command::new("sync").status();
}

fn print(what: &str, phase: &Phase) {
    println!(
        "{what:<34} {:>10.0} {:>12.3} {:>8} {:>8} {:>8} {:>8} {:>12.3} s {:>12.3} s",
        phase.rate(),
        phase.cpu.as_secs_f64() / (phase.fed as f64 / 1e6),
        phase.percentile(50.0),
        phase.percentile(99.0),
        phase.percentile(100.0),
        phase.epochs(),
        phase.close(50.0),
        phase.close(99.0),
    );
    println!("{:<34} half: {}; 99 %: {}", "  of which", phase.parts(50.0), phase.parts(99.0));
}
