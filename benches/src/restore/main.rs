//! What an empty machine costs: the state of a DEDUP comes from its changelog, in a process that has nothing.
//!
//! `cargo run --release -p syncline-benches --bin restore [-- KEYS]`: a topic of so many ids, each once, is read into a DEDUP with a changelog. Then
//! each round begins with an empty folder: the process takes the state from the changelog, finds nothing new, and ends. CPU time and memory are those
//! of the whole process, start and end included; beside it the same start with the state in its folder, whose memory is the steady one. The keys are
//! counted by a question after each round. At the end a process that works is killed, and another one goes on, without a copy and with one.
//! `KAFKA_BROKERS` names a broker, or `SYNCLINE_KAFKA` the Kafka that `./test` fetched.

#[path = "../kafka/broker.rs"]
mod broker;
#[path = "../cpu.rs"]
mod cpu;
#[path = "../spine/measure.rs"]
mod measure;
#[path = "../spine/orders.rs"]
// Ids are enough here.
#[allow(dead_code)]
mod orders;
#[path = "../program.rs"]
mod program;
#[path = "../../../connectors/src/kafka/queue.rs"]
// Nothing is read here but by the product.
#[allow(dead_code)]
mod queue;
#[path = "../random.rs"]
mod random;
#[path = "../running.rs"]
mod running;
mod takeover;
#[path = "../kafka/topics.rs"]
#[allow(dead_code)]
mod topics;

use std::{fs, path::Path, process::Command, time::Duration};

use broker::Broker;
use measure::{Cost, child};
use rdkafka::producer::{BaseRecord, Producer};
use topics::Topics;

const KEYS: u64 = 10_000_000;
const ROUNDS: usize = 5;
const FROM: &str = "bench_ids";
const CHANGELOG: &str = "syncline.ids.changelog";
/// A step that visits every id, and no neighbours one after the other; odd, and no factor of a round number.
const STEP: u64 = 7_919;

/// Bounds: keys per second and core, most memory by the memory of a start with its state.
const RATE: f64 = 5e6;
const MEMORY: f64 = 1.3;

const JOB: &str = "
CONNECTION bus TO kafka WITH (brokers = 'BROKERS');
PIPELINE ids WITH (changelog = 'bus') AS
FROM bus.FROM_TOPIC |> DEDUP BY id WITHIN '30 days' |> WHERE id = '' |> INSERT INTO file('out/');
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => compare(KEYS),
        [keys] => compare(keys.parse().expect("a number of keys")),
        words => program::run(words),
    }
}

fn compare(keys: u64) {
    let broker = Broker::there_or_started();
    let topics = Topics::at(&broker.address);
    let folder = std::env::temp_dir().join(format!("syncline-restore-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    println!("{keys} keys, on {}", measure::file_system(broker.folder().unwrap_or(&folder)));
    topics.delete(CHANGELOG);
    topics.make(FROM);
    fill(&topics, keys);
    let file = folder.join("ids.sync");
    fs::write(&file, JOB.replace("BROKERS", &broker.address).replace("FROM_TOPIC", FROM)).expect("the pipeline file");
    start(&file, &folder.join("first"));
    println!("{:<34} {:>8} {:>8} {:>12} {:>9}", "", "CPU s", "wall s", "keys/CPU-s", "peak MB");
    let (mut empty, mut warm) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let data = folder.join(format!("round{round}"));
        empty.push(told("from the changelog", keys, start(&file, &data)));
        assert_eq!(count(&data), keys, "keys are missing");
        warm.push(told("with the state in its folder", keys, start(&file, &data)));
        fs::remove_dir_all(&data).expect("the folder goes");
    }
    takeover::takeovers(&file, &folder, keys);
    let _ = fs::remove_dir_all(&folder);
    [FROM, CHANGELOG].iter().for_each(|topic| topics.delete(topic));
    let middle = |costs: &mut Vec<Cost>, of: fn(&Cost) -> f64| {
        costs.sort_by(|one, other| of(one).total_cmp(&of(other)));
        of(&costs[costs.len() / 2])
    };
    let rate = keys as f64 / middle(&mut empty, |cost| cost.cpu.as_secs_f64());
    println!("keys per CPU-second, the middle: {rate:.0} (bound {RATE}): {}", holds(rate >= RATE));
    let most = empty.iter().map(|cost| cost.peak).max().unwrap_or(0) as f64;
    let memory = most / middle(&mut warm, |cost| cost.peak as f64);
    println!("most memory by the steady one: {memory:.2} (bound {MEMORY}): {}", holds(memory <= MEMORY));
}

fn holds(so: bool) -> &'static str {
    if so { "holds" } else { "does NOT hold" }
}

fn fill(topics: &Topics, keys: u64) {
    let producer = topics.producer();
    for number in 0..keys {
        let id = format!("ord-{:010}", number * STEP % keys);
        let line = format!("{{\"id\":\"{id}\"}}");
        topics::send(&producer, BaseRecord::to(FROM).key(id.as_str()).payload(&line));
    }
    producer.flush(Duration::from_secs(30)).expect("every record is acknowledged");
}

fn start(file: &Path, data: &Path) -> Cost {
    child(&["run", &file.to_string_lossy(), "--once", "--data", &data.to_string_lossy()])
}

fn told(what: &str, keys: u64, cost: Cost) -> Cost {
    let cpu = cost.cpu.as_secs_f64();
    let (rate, peak) = (keys as f64 / cpu, cost.peak as f64 / 1e6);
    println!("{what:<34} {cpu:>8.2} {:>8.2} {rate:>12.0} {peak:>9.0}", cost.wall.as_secs_f64());
    cost
}

/// The keys that the step has, as the product itself tells.
fn count(data: &Path) -> u64 {
    let question = "SELECT count(*) AS n FROM pipeline_state('ids', 'dedup')";
    let program = std::env::current_exe().expect("this program");
    let said = Command::new(program)
        .args(["query", question, "-o", "csv", "--data", &data.to_string_lossy()])
        .output()
        .expect("it can be asked");
    let text = String::from_utf8_lossy(&said.stdout);
    text.lines().nth(1).and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| {
        panic!("no number of keys: {text}{}", String::from_utf8_lossy(&said.stderr));
    })
}
