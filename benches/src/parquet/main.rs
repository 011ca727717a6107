//! Parquet in, a filter and a reshaping, Parquet out: the product beside plain DataFusion with the same expressions, in one run.
//!
//! `cargo run --release -p syncline-benches --bin parquet [-- ROWS]`: trips shaped like New York's, in files of a million. Every
//! contestant is a process of its own; CPU time is that of the whole process, start-up included; the best of three is taken. All write
//! zstd at level 1 and row groups of a million; what they wrote is read back and compared, row by row, whatever its order.
//!
//! DataFusion keeps no position, syncs nothing and writes its files where readers see them grow. It runs once on one thread, as a
//! pipeline does, and once on two, as it does by itself here.

#[path = "../contest.rs"]
mod contest;
#[path = "../spine/measure.rs"]
mod measure;
mod plain;
mod product;
#[path = "../program.rs"]
mod program;
#[path = "../random.rs"]
mod random;
mod trips;

use std::path::{Path, PathBuf};

use contest::Asked;
use measure::{Cost, child};

/// Enough for the start-up of every contestant not to matter.
const ROWS: u64 = 5_000_000;
/// The bound: CPU time of plain DataFusion, on as many threads as need the least of it.
const TIMES: f64 = 1.5;

/// What both are asked: names and expressions that mean the same to both.
pub const CONDITION: &str = "passenger_count >= 1 AND trip_distance > 0.0 AND fare_amount >= 2.5";
pub const COLUMNS: &str = "vendor_id, pickup_at, CAST(pickup_at AS DATE) AS pickup_day, pickup_zone, dropoff_zone,
    CAST(passenger_count AS INT) AS passengers, trip_distance * 1.609344 AS kilometres, lower(stored) AS stored,
    CAST(fare_amount AS DECIMAL(10, 2)) AS fare, CAST(total_amount AS DECIMAL(12, 2)) AS total";

const CONTESTANTS: [(&str, &str); 3] = [
    ("datafusion-1", "plain DataFusion, one thread, nothing kept"),
    ("datafusion-2", "plain DataFusion, two threads, nothing kept"),
    ("syncline", "syncline, exactly once, durable"),
];

fn main() {
    match contest::asked() {
        Asked::Contestant { name, input, output } => match name.as_str() {
            "make" => trips::write(&input, output.to_string_lossy().parse().expect("a number of rows")),
            "datafusion-1" => plain::run(&input, &output, 1),
            "datafusion-2" => plain::run(&input, &output, 2),
            "syncline" => product::run(&input, &output),
            other => panic!("no contestant {other}"),
        },
        Asked::All { rows } => {
            let folder = std::env::temp_dir().join(format!("syncline-parquet-{}", std::process::id()));
            compare(&folder, rows.unwrap_or(ROWS));
            std::fs::remove_dir_all(&folder).expect("the temporary folder goes away");
        }
    }
}

fn compare(folder: &Path, rows: u64) {
    let input = folder.join("in");
    std::fs::create_dir_all(&input).expect("a temporary folder");
    child(&["make", &input.to_string_lossy(), &rows.to_string()]);
    let bytes = size(&input) as f64 / 1e6;
    println!("{rows} trips, {bytes:.0} MB of Parquet, seed {}, on {}", trips::SEED, measure::file_system(folder));
    println!(
        "{:<46} {:>8} {:>12} {:>8} {:>9} {:>8}",
        "contestant", "CPU-s", "CPU-s per M", "wall s", "peak MB", "out MB"
    );
    let mut digests = vec![];
    let mut costs = vec![];
    for (name, title) in CONTESTANTS {
        let output = folder.join(format!("out-{name}"));
        let (cost, digest) = contest::best(name, &input, &output, |output| trips::digest(&parts(output)));
        let cpu = cost.cpu.as_secs_f64();
        println!(
            "{title:<46} {cpu:>8.2} {:>12.3} {:>8.2} {:>9.0} {:>8.0}",
            cpu / (rows as f64 / 1e6),
            cost.wall.as_secs_f64(),
            cost.peak as f64 / 1e6,
            size(&output) as f64 / 1e6,
        );
        digests.extend(digest);
        costs.push(cost);
    }
    let agree = digests.iter().all(|digest| *digest == digests[0]);
    println!("outputs agree: {agree} ({} rows out)", digests[0].rows);
    tell(&costs);
    assert!(agree, "contestants disagree: {digests:?}");
}

/// Against the lesser of both in CPU time, and each in wall time.
fn tell(costs: &[Cost]) {
    let [one, two, ours] = costs else { panic!("three contestants") };
    let cpu = ours.cpu.as_secs_f64() / one.cpu.min(two.cpu).as_secs_f64();
    let wall = |theirs: &Cost| ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
    let verdict = if cpu <= TIMES { "holds" } else { "does NOT hold" };
    println!("{cpu:.2} times the CPU time of plain DataFusion (bound {TIMES}): {verdict}");
    println!("{:.2} times its wall time on one thread, {:.2} on two", wall(one), wall(two));
}

/// The finished Parquet files of a folder.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let shown = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".parquet") && !name.starts_with('.')
    };
    entries.filter(shown).collect()
}

fn size(folder: &Path) -> u64 {
    parts(folder).iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}
