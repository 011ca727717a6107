//! Trips shaped like New York's, from one format into another, without a value or a type being another: another reader says so.

use std::{path::PathBuf, process::Command, time::Duration};

use crate::{
    chance::{Chance, soak},
    desk::{Desk, Running, house},
    look,
};

/// As `taxi.py` has it.
const SCHEMA: &str = "SCHEMA trip (
  \"VendorID\"            INT       NOT NULL,
  tpep_pickup_datetime  TIMESTAMP NOT NULL,
  tpep_dropoff_datetime TIMESTAMP,
  passenger_count       BIGINT,
  trip_distance         DOUBLE    NOT NULL,
  \"RatecodeID\"          BIGINT,
  store_and_fwd_flag    STRING,
  \"PULocationID\"        INT       NOT NULL,
  \"DOLocationID\"        INT       NOT NULL,
  payment_type          BIGINT    NOT NULL,
  fare_amount           DECIMAL(10, 2) NOT NULL,
  tip_amount            DOUBLE,
  total_amount          DECIMAL(12, 2),
  pickup_day            DATE      NOT NULL,
  note                  STRING
);
";

/// Minutes of work in the soak, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(1800);

fn taxi(arguments: &[&str]) -> String {
    let python = std::env::var_os("SYNCLINE_READERS").map(PathBuf::from).filter(|python| python.is_file());
    let python = python.expect("SYNCLINE_READERS names a Python with pyarrow: ./test installs it, run that");
    let output = Command::new(python).arg(house().join("tests/taxi.py")).args(arguments).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "taxi.py {arguments:?}: {err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn soak_trips_are_the_same_in_every_format_that_they_are_taken_to() {
    let rows = if soak() { 5_000_000 } else { 50_000 };
    let (_, seed) = Chance::told("taxi");
    let desk = Desk::with(&format!(
        "{SCHEMA}
PIPELINE from_csv AS FROM file('trips.csv') SCHEMA trip |> INSERT INTO parquet('csv_parquet/');
PIPELINE from_parquet AS
FROM parquet('trips.parquet')
|> TEE (|> INSERT INTO file('parquet_csv/') FORMAT csv)
|> TEE (|> INSERT INTO arrow('parquet_arrow/'))
|> INSERT INTO parquet('parquet_parquet/');
"
    ));
    let folder = desk.path("").display().to_string();
    taxi(&["make", &rows.to_string(), &seed.to_string(), &folder]);
    let run = |file: &str| {
        let said = Running::start(desk.command(&["run", file]), file.to_owned()).end(LONG).expect(0);
        assert!(!said.err.contains("dead"), "{}", said.err);
        eprintln!("taxi: {file}, at most {} MiB of memory", said.peak >> 20);
    };
    run("orders.sync");
    desk.write(
        "back.sync",
        "PIPELINE back AS FROM arrow('parquet_arrow/') |> INSERT INTO parquet('arrow_parquet/');\n",
    );
    run("back.sync");
    for out in ["csv_parquet", "parquet_csv", "parquet_arrow", "parquet_parquet", "arrow_parquet"] {
        eprint!("taxi: {out}: {}", taxi(&["compare", &folder, &desk.path(out).display().to_string()]));
    }
    for pipeline in ["from_csv", "from_parquet", "back"] {
        desk.books(pipeline);
    }
}

#[test]
fn parquet_is_read_however_it_is_packed() {
    const ROWS: usize = 2_000;
    let desk = Desk::with("PIPELINE p AS FROM parquet('in/') |> INSERT INTO file('out/');");
    std::fs::create_dir(desk.path("in")).expect("a folder");
    taxi(&["codecs", &ROWS.to_string(), &desk.path("in").display().to_string()]);
    desk.ok(&["run", "orders.sync"]);
    // In the order of the files' names, which are those of the codecs.
    let codecs = ["brotli", "gzip", "lz4", "none", "snappy", "zstd"];
    let row = |id: usize| format!("{{\"id\":{id},\"word\":\"{} {}\"}}", codecs[id / ROWS], id % 7);
    let expected: Vec<String> = (0..codecs.len() * ROWS).map(row).collect();
    look::same("rows of every codec", &look::lines(&desk.path("out")), &expected);
}
