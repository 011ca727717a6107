//! SQL over the ledger: the product beside plain DataFusion over the same Parquet files, in one run.
//!
//! `cargo run --release -p syncline-benches --bin ledger [-- ROWS]`: ten million rows, as a pipeline of four steps leaves them, in files of a
//! million that the product's own archive writes. Both ask with the same cores, batch size and floating-point rules; each question is asked by
//! turns, and the best of five of each counts. Plain DataFusion has the files as a listing table, with its statistics collected and its
//! footers cached: what it costs to look at the folder is not counted. A question of the product is a session of its own, as it is for a
//! user, with its limits, and reads the manifest: some milliseconds, which count where a question takes ten or more. Answers are compared.

#[path = "../random.rs"]
mod random;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use syncline_analytics::{Catalog, Files, Limits, Reading};
use syncline_connectors::archive::Missing;
use syncline_engine::{
    archive::{
        Archive, File, MANIFEST_FORMAT, Manifest, Seen,
        rows::{Columns, Row},
    },
    log::memory::MemoryLog,
    store::memory::MemoryStore,
};
use syncline_record::Fate;

use random::Random;

const ROWS: u64 = 10_000_000;
const SEED: u64 = 17;
/// Rows of one file, as large as the archive makes them.
const FILE: u64 = 1_000_000;
const ROUNDS: usize = 5;
/// The bound, for every question that reads rows.
const TIMES: f64 = 1.2;
/// What takes plain DataFusion less than this reads footers or nothing: it measures how a session begins, and is shown, not judged.
const JUDGED: Duration = Duration::from_millis(10);
/// 2025-11-22T12:00:00Z
const START: i64 = 1_763_812_800_000_000;
/// Microseconds from row to row: ten million are two days.
const STEP: i64 = 17_280;

const QUESTIONS: [(&str, &str); 8] = [
    ("count", "SELECT count(*) AS n FROM ledger"),
    ("fates by step", "SELECT step, fate, count(*) AS n FROM ledger GROUP BY step, fate ORDER BY step, fate"),
    (
        "reasons of the dead",
        "SELECT reason, count(*) AS n FROM ledger WHERE fate = 'dead' GROUP BY reason ORDER BY reason",
    ),
    ("by the hour", "SELECT date_trunc('hour', time) AS hour, count(*) AS n FROM ledger GROUP BY 1 ORDER BY 1"),
    (
        "ten minutes",
        "SELECT step, count(*) AS n FROM ledger WHERE time BETWEEN TIMESTAMP '2025-11-23T10:00:00' AND \
         TIMESTAMP '2025-11-23T10:10:00' GROUP BY step ORDER BY step",
    ),
    (
        "one record",
        "SELECT step, fate, reason, time FROM ledger WHERE record_offset = 4711 ORDER BY step, fate, reason, time",
    ),
    (
        "distinct records",
        "SELECT source, count(DISTINCT record_offset) AS n FROM ledger GROUP BY source ORDER BY source",
    ),
    ("the last hundred", "SELECT * FROM ledger ORDER BY time DESC, record_offset LIMIT 100"),
];

fn main() {
    let rows = std::env::args().nth(1).map_or(ROWS, |rows| rows.parse().expect("a number of rows"));
    let folder = std::env::temp_dir().join(format!("syncline-ledger-{}", std::process::id()));
    let place =
        syncline_connectors::archive::open(&folder.to_string_lossy(), Missing::Make).expect("a temporary folder");
    let bytes = write(&*place.archive, rows);
    println!("{rows} rows of the ledger, {:.0} MB of Parquet, seed {SEED}", bytes as f64 / 1e6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let holds = runtime.expect("two threads").block_on(async {
        let files = Files { archive: place.archive.clone(), objects: place.objects.clone() };
        compare(&folder, files).await
    });
    std::fs::remove_dir_all(&folder).expect("the temporary folder goes away");
    assert!(holds, "answers disagree");
}

fn write(archive: &dyn Archive, rows: u64) -> u64 {
    let mut random = Random(SEED);
    let mut manifest = Manifest {
        format: MANIFEST_FORMAT,
        pipeline: "orders".to_owned(),
        owner: "a bench".to_owned(),
        ..Manifest::default()
    };
    let mut next = 0;
    while next < rows {
        let (first, last) = (next, rows.min(next + FILE));
        let path = format!("pipeline=orders/day=2025-11-22/{first:020}.parquet");
        let bytes = archive.write(&path, &mut || {
            let mut columns = Columns::default();
            while next < last {
                next += 1;
                if columns.push("orders", row(next - 1, &mut random)) {
                    break;
                }
            }
            Ok(columns.take().expect("one value each"))
        });
        let at = |row: u64| START + row as i64 * STEP;
        let bytes = bytes.expect("a file");
        manifest.files.push(File { path, rows: last - first, bytes, from: at(first), to: at(last - 1) });
    }
    archive.replace(&manifest, &Seen::default()).expect("a manifest");
    manifest.files.iter().map(|file| file.bytes).sum()
}

fn row(number: u64, random: &mut Random) -> Row<'static> {
    const SOURCES: [&str; 4] = ["orders:0", "orders:1", "orders:2", "orders:3"];
    const DEAD: [&str; 3] = ["cast", "not-json", "overflow"];
    let pick = random.below(100);
    let (step, fate, reason) = match pick {
        0..60 => ("where", Fate::Filtered, "filtered"),
        60..90 => ("dedup", Fate::Duplicate, "duplicate"),
        90..96 => ("source", Fate::Dead, DEAD[pick as usize % 3]),
        _ => ("upsert", Fate::Stale, "stale"),
    };
    let source = SOURCES[random.below(4) as usize];
    // Partitions go on at about one pace.
    let (offset, time) = (number / 4 + random.below(50), START + number as i64 * STEP);
    Row { step, fate, reason, source, offset, time, when: None, key: None }
}

async fn compare(folder: &Path, files: Files) -> bool {
    let reading = Reading { store: Arc::new(MemoryStore::new()), log: Arc::new(MemoryLog::new()), files: Some(files) };
    let ours = Catalog::new(reading);
    let limits = Limits { memory: 2 << 30, time: None, ..Limits::default() };
    let plain = plain(folder, limits.cores).await;
    println!("{:<22} {:>12} {:>12} {:>8}", "question", "DataFusion", "syncline", "times");
    let (mut agree, mut worst) = (true, 0f64);
    for (name, sql) in QUESTIONS {
        let (mut theirs, mut mine) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let expected = plain.sql(sql).await.expect("a plan").collect().await.expect("an answer");
            theirs = theirs.min(began.elapsed());
            let began = Instant::now();
            let found = asked(&ours, sql, limits).await;
            mine = mine.min(began.elapsed());
            agree &= shown(&expected) == shown(&found);
        }
        let times = mine.as_secs_f64() / theirs.as_secs_f64();
        if theirs >= JUDGED {
            worst = worst.max(times);
        }
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        println!("{name:<22} {:>12} {:>12} {times:>8.2}", ms(theirs), ms(mine));
    }
    let verdict = if worst <= TIMES { "holds" } else { "does NOT hold" };
    println!("at most {worst:.2} times plain DataFusion (bound {TIMES}): {verdict}; answers agree: {agree}");
    agree
}

async fn plain(folder: &Path, cores: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(cores).with_batch_size(4096);
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let context = SessionContext::new_with_config(config);
    let place = folder.join("pipeline=orders/day=2025-11-22/");
    let options = ParquetReadOptions::default();
    context.register_parquet("ledger", place.to_string_lossy(), options).await.expect("a listing table");
    context
}

async fn asked(catalog: &Catalog, sql: &str, limits: Limits) -> Vec<RecordBatch> {
    let mut rows = catalog.ask(sql, limits).await.expect("a plan");
    let mut batches = vec![];
    while let Some(batch) = rows.next().await {
        batches.push(batch.expect("an answer"));
    }
    batches
}

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).expect("rows that print").to_string()
}
