//! Aggregates: Arrow batches in, beside plain DataFusion over the same batches.
//!
//! `cargo run --release -p syncline-benches --bin groups [-- MILLIONS]`: 1,000 keys, `SUM` and `COUNT`, over all rows and in windows of a
//! minute, of rows in the order of their times and of rows that are up to half a minute before or behind. Syncline hands over what each
//! epoch of 200,000 rows added, as it does for its durable state; DataFusion keeps nothing. Every contestant is a process of its own; CPU
//! time is the whole process, the making of the batches (`idle`) too; the best of three is taken, and all answers are compared.
//!
//! What is timed is the step alone, as a pipeline calls it. The last contestant is the whole program over an Arrow file of such rows:
//! reading, counting, epochs on disk and all.

#[path = "../spine/measure.rs"]
// Of a contestant's costs only its processor time is looked at here.
#[allow(dead_code)]
mod measure;
mod plain;
mod product;
#[path = "../program.rs"]
mod program;
mod rows;

use std::path::Path;

use measure::child;
use rows::{KEYS, Load, PART};

const MILLIONS: usize = 200;
/// Of the whole program: an Arrow file of half a gigabyte.
const FILE_MILLIONS: usize = 20;
const ROUNDS: usize = 3;
/// The bound, in millions of rows per CPU-second.
const BOUND: f64 = 50.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A contestant's own process: `groups <contestant> <load> <rounds> <answers>`.
    if let [name, load, rounds, answers] = arguments.as_slice() {
        let (load, rounds) = (Load::named(load), rounds.parse().expect("a number of rounds"));
        let digest = match name.as_str() {
            "idle" => format!("{} batches", rows::batches(load).len()),
            "make" => rows::write(load, rounds, Path::new(answers)),
            "datafusion" => plain::run(load, rounds),
            "syncline" => product::step(load, rounds),
            "program" => product::program(Path::new(answers)),
            other => panic!("no contestant {other}"),
        };
        if name != "make" && name != "program" {
            std::fs::write(answers, digest).expect("room for the answers");
        }
        return;
    }
    let millions = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(MILLIONS);
    let folder = std::env::temp_dir().join(format!("syncline-groups-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let rounds = (millions * 1_000_000 / PART).max(1);
    println!("{:.0} M rows, {KEYS} keys, batches of {}", (rounds * PART) as f64 / 1e6, rows::BATCH);
    for load in [Load::Whole, Load::InOrder, Load::Disorder] {
        steps(load, rounds, &folder);
    }
    program(millions.min(FILE_MILLIONS), &folder);
    std::fs::remove_dir_all(&folder).expect("the temporary folder goes away");
}

/// The step alone.
fn steps(load: Load, rounds: usize, folder: &Path) {
    println!("{}", load.title());
    let answers = folder.join("answers");
    let mut all = vec![];
    for name in ["idle", "datafusion", "syncline"] {
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let cost = child(&[name, load.name(), &rounds.to_string(), &answers.to_string_lossy()]);
            best = best.min(cost.cpu.as_secs_f64());
            let found = std::fs::read_to_string(&answers).expect("answers");
            all.extend((name != "idle").then_some((name, found)));
        }
        let rate = (rounds * PART) as f64 / 1e6 / best;
        let verdict = match name {
            "syncline" if rate >= BOUND => ", holds",
            "syncline" => ", does NOT hold",
            _ => "",
        };
        println!("  {name:<12} {best:>8.3} CPU-s {rate:>8.1} M rows per CPU-second{verdict}");
    }
    let agree = all.iter().all(|(_, found)| *found == all[0].1);
    println!("  answers agree: {agree} ({})", all[0].1);
    assert!(agree, "contestants disagree: {all:?}");
}

/// All of it, from a file to a file.
fn program(millions: usize, folder: &Path) {
    let rounds = (millions * 1_000_000 / PART).max(1).to_string();
    child(&["make", Load::InOrder.name(), &rounds, &folder.to_string_lossy()]);
    let runs = (0..ROUNDS).map(|_| child(&["program", Load::InOrder.name(), &rounds, &folder.to_string_lossy()]).cpu);
    let best = runs.min().expect("at least one round").as_secs_f64();
    let rows = rounds.parse::<usize>().expect("a number") * PART;
    println!("the whole program, from an Arrow file of {:.0} M rows in order, durable", rows as f64 / 1e6);
    println!("  {:<12} {best:>8.3} CPU-s {:>8.1} M rows per CPU-second", "syncline", rows as f64 / 1e6 / best);
    let counted = product::counted(folder);
    assert_eq!(counted, rows as u64, "every row is counted once");
}
