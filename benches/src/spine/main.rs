//! The job on which the spine's speed is judged, beside the same work done by others, in one run.
//!
//! `cargo run --release -p syncline-benches --bin spine [-- ROWS]`: generates orders of about 212 bytes, a fifth of them repeats;
//! keeps the paid ones of at least 10.00, the first of each id, reshapes them to five columns, and writes lines of JSON. Every
//! contestant runs in a process of its own; CPU time is that of the whole process, start-up included; the best of three is taken.
//! All outputs are compared.

mod bare;
#[path = "../contest.rs"]
mod contest;
mod measure;
mod orders;
mod plain;
mod product;
#[path = "../program.rs"]
mod program;
#[path = "../random.rs"]
mod random;

use contest::Asked;

/// Enough for the start-up of every contestant not to matter.
const ROWS: u64 = 2_000_000;

/// A backfill takes at most so many times the time of the same file as a source.
const BACKFILL: f64 = 1.25;

fn main() {
    match contest::asked() {
        Asked::Contestant { name, input, output } => match name.as_str() {
            "bare" => bare::run(&input, &output),
            "datafusion" => plain::run(&input, &output),
            "syncline" => product::run(&input, &output),
            "backfill" => product::backfill(&input, &output),
            "idle" => product::idle(&input),
            other => panic!("no contestant {other}"),
        },
        Asked::All { rows } => compare(rows.unwrap_or(ROWS)),
    }
}

fn compare(rows: u64) {
    let folder = std::env::temp_dir().join(format!("syncline-spine-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let input = folder.join("orders.ndjson");
    let bytes = orders::write(&input, rows);
    let on = measure::file_system(&folder);
    println!("{rows} orders, {:.0} bytes each, seed {}, on {on}", bytes as f64 / rows as f64, orders::SEED);
    println!("{:<44} {:>12} {:>10} {:>9}", "contestant", "CPU-s per M", "wall s", "peak MB");
    let (mut digests, mut walls) = (vec![], vec![]);
    for (name, title) in [
        ("bare", "bare loop: serde_json, one hash set, no state kept"),
        ("datafusion", "plain DataFusion, no state kept"),
        ("syncline", "syncline, exactly once, durable state"),
        ("backfill", "syncline, as the history of another source"),
    ] {
        let output = folder.join(format!("out-{name}"));
        let (best, found) = contest::best(name, &input, &output, orders::digest);
        digests.extend(found.into_iter().map(|digest| (name, digest)));
        walls.push(best.wall.as_secs_f64());
        let per_million = best.cpu.as_secs_f64() / (rows as f64 / 1e6);
        println!("{title:<44} {per_million:>12.3} {:>10.2} {:>9.0}", best.wall.as_secs_f64(), best.peak as f64 / 1e6);
    }
    let agree = digests.iter().all(|(_, digest)| *digest == digests[0].1);
    println!("outputs agree: {agree} ({} rows out)", digests[0].1.0);
    let [.., file, backfill] = walls[..] else { unreachable!("four contestants") };
    let (times, holds) = (backfill / file, if backfill / file <= BACKFILL { "holds" } else { "does NOT hold" });
    println!("a backfill by the file itself, wall time: {times:.2} (bound {BACKFILL}): {holds}");
    product::facts(&folder.join("out-syncline"), &folder);
    std::fs::remove_dir_all(&folder).expect("the temporary folder goes away");
    assert!(agree, "contestants disagree: {digests:?}");
}
