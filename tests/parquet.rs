//! Parquet as a source: typed from end to end, taken once whenever the process is killed, and checked by what its files say.

use std::{fs::File, path::Path, sync::Arc, thread, time::Duration};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, TimeUnit},
};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::WriterProperties,
};

use crate::{
    chance::{Chance, soak},
    desk::Desk,
    look,
};

/// Trips `from..to`, in row groups of 1,000.
fn trips(path: &Path, from: i64, to: i64) {
    let ids = || from..to;
    let cents = Decimal128Array::from_iter_values(ids().map(|id| i128::from(id * 7))).with_precision_and_scale(12, 2);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        ("fare", Arc::new(cents.expect("12 digits are enough"))),
        ("name", Arc::new(ids().map(|id| (id % 5 != 0).then(|| format!("Name {id}"))).collect::<StringArray>())),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ids().map(|id| 1_767_225_600_000_001 + id % 1000 * 1000))
                    .with_timezone("UTC"),
            ),
        ),
        ("unread", Arc::new(StringArray::from_iter_values(ids().map(|id| "x".repeat((id % 90) as usize))))),
    ];
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let file = File::create(path).expect("a new file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    writer.write(&rows).expect("rows are written");
    writer.close().expect("a footer is written");
}

#[test]
fn soak_typed_rows_are_taken_once_whenever_the_process_is_killed() {
    let (kills, rows) = if soak() { (40, 2_000_000) } else { (8, 150_000) };
    let (mut chance, _) = Chance::told("parquet");
    let desk = Desk::with(
        "PIPELINE trips WITH (checkpoint_every = '10 milliseconds') AS
FROM parquet('in/')
|> WHERE id % 10 <> 3
|> TEE (|> SELECT id, fare * 2 AS fare, upper(name) AS name, at, _offset |> INSERT INTO parquet('out/parquet/'))
|> SELECT id, fare
|> INSERT INTO file('out/lines/');
",
    );
    for file in 0..4 {
        trips(&desk.path(&format!("in/{file}.parquet")), file * rows / 4, (file + 1) * rows / 4);
    }
    let mut fell = 0;
    for _ in 0..kills {
        let mut running = desk.start(&["run", "orders.sync"]);
        thread::sleep(Duration::from_millis(chance.between(30, 250)));
        fell += usize::from(!running.ended() && running.kill());
    }
    desk.ok(&["run", "orders.sync"]);
    eprintln!("parquet: {fell} of {kills} kills while there was work");
    assert!(fell >= 2, "the work was done before a kill");
    let ids = || (0..rows).filter(|id| id % 10 != 3);
    let mut expected: Vec<String> = ids()
        .map(|id| {
            let name = if id % 5 != 0 { format!("NAME {id}") } else { "NULL".to_owned() };
            let fare = format!("{}.{:02}", id * 14 / 100, id * 14 % 100);
            format!("{id}|{fare}|{name}|2026-01-01T00:00:00.{:06}Z|{}", id % 1000 * 1000 + 1, id % (rows / 4) + 1)
        })
        .collect();
    expected.sort();
    let mut found: Vec<String> =
        look::parquet(&desk.path("out/parquet")).into_iter().map(|row| row.join("|")).collect();
    found.sort();
    look::same("Parquet", &found, &expected);
    let mut lines = look::lines(&desk.path("out/lines"));
    lines.sort();
    let mut expected: Vec<String> =
        ids().map(|id| format!("{{\"id\":{id},\"fare\":{}.{:02}}}", id * 7 / 100, id * 7 % 100)).collect();
    expected.sort();
    look::same("lines", &lines, &expected);
    desk.books("trips");
    types_stay(&desk);
}

fn types_stay(desk: &Desk) {
    let part = look::parts(&desk.path("out/parquet"), "parquet").remove(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(part).expect("a part")).expect("a Parquet file");
    let types: Vec<&DataType> = reader.schema().fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types[0], &DataType::Int64);
    assert!(matches!(types[1], DataType::Decimal128(_, 2)), "{types:?}");
    assert_eq!(types[2..4], [&DataType::Utf8, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))]);
}

#[test]
fn mistakes_are_told_by_the_columns_that_the_file_has() {
    let desk = Desk::with(
        "PIPELINE trips AS FROM parquet('in/*.parquet') |> SELECT id, fares + 1 AS f |> INSERT INTO file('out/');\n",
    );
    let told = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(told.err.contains("in/*.parquet: no file matches"), "{}", told.err);
    trips(&desk.path("in/a.parquet"), 0, 10);
    let told = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(told.err.contains("fare?") && told.err.contains("no-such-column"), "{}", told.err);
    desk.write(
        "orders.sync",
        "PIPELINE trips AS FROM parquet('in/') |> SELECT id, fare + 1 AS f |> INSERT INTO file('out/');\n",
    );
    let plan = desk.ok(&["check", "--plan", "orders.sync"]);
    assert!(plan.contains("fields: id BIGINT, fare DECIMAL(12, 2)\n"), "{plan}");
    desk.write("in/b.parquet", "no Parquet");
    let told = desk.say(&["run", "orders.sync"]).expect(3);
    assert!(told.err.contains("in/b.parquet: "), "{}", told.err);
}

/// A contract holds for typed rows as for others, and what reads its own output is told.
#[test]
fn a_schema_is_a_contract_for_typed_rows_too() {
    let desk = Desk::with(
        "SCHEMA trip DISCARD (id INT NOT NULL, name STRING NOT NULL);
PIPELINE trips AS FROM parquet('in/a.parquet') SCHEMA trip |> INSERT INTO file('out/');
",
    );
    trips(&desk.path("in/a.parquet"), 0, 10);
    let told = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(told.err.contains("10 rows in · 2 dead"), "{}", told.err);
    assert_eq!(look::lines(&desk.path("out"))[0], "{\"id\":1,\"name\":\"Name 1\"}");
    assert!(desk.ok(&["dead-letters", "list"]).contains("name is missing or null"));
    desk.write("orders.sync", "PIPELINE trips AS FROM parquet('in/') |> INSERT INTO parquet('in/');\n");
    let told = desk.say(&["check", "orders.sync"]).expect(2);
    assert!(told.err.contains("feedback-loop"), "{}", told.err);
}

/// Row groups that the WHERE filters as a whole are not read, and the books are the same as if they had been.
#[test]
fn what_a_where_filters_is_booked_whether_it_is_read_or_not() {
    let desk = Desk::new();
    trips(&desk.path("in/a.parquet"), 0, 10_000);
    trips(&desk.path("in/b.parquet"), 20_000, 25_000);
    for (index, (condition, wanted)) in [
        ("id >= 8500 AND id < 20010", 1510),
        ("id = 4711", 1),
        ("4711 = id", 1),
        ("id BETWEEN 3000 AND 3001 AND name IS NOT NULL", 1),
        ("fare > 1749.5", 7),
        ("at <= TIMESTAMP '2026-01-01 00:00:00.000001'", 15),
        ("name IS NULL AND id > 24000", 199),
        ("id < 0", 0),
        ("id < 5 OR id = 4711", 6),
        // What may fail is judged row by row, whatever stands behind it.
        ("1 / (id - 5) > 0 AND id < 8", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut pages = vec![];
        for options in ["", "WITH (ledger = 'all') "] {
            let name = format!("trips_{index}_{}", options.len());
            desk.write(
                "orders.sync",
                format!("PIPELINE {name} {options}AS FROM parquet('in/') |> WHERE {condition} |> SELECT id |> INSERT INTO file('{name}/');\n"),
            );
            let told = desk.say(&["run", "orders.sync"]).expect(0);
            let rows = if wanted == 0 { 0 } else { look::lines(&desk.path(&name)).len() };
            assert_eq!(rows, wanted, "{condition}: {}", told.err);
            pages.push(desk.books(&name));
        }
        assert_eq!(pages[0], pages[1], "{condition}");
        assert!(pages[0].contains(&"source: 15000 in · 15000 passed".to_owned()), "{:?}", pages[0]);
    }
}

/// Where everything was left out there is nothing to read: pages that are damaged are not looked at.
#[test]
fn row_groups_that_no_row_passes_are_not_read() {
    let desk = Desk::with(
        "PIPELINE trips AS FROM parquet('a.parquet') |> WHERE id >= 3000 |> SELECT id |> INSERT INTO file('out/');\n",
    );
    trips(&desk.path("a.parquet"), 0, 4_000);
    let mut bytes = std::fs::read(desk.path("a.parquet")).expect("the file");
    bytes[4..4_000].fill(0xff);
    desk.write("a.parquet", &bytes);
    let told = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(told.err.contains("4000 rows in · 3000 filtered · books balance"), "{}", told.err);
    assert_eq!(look::lines(&desk.path("out")).len(), 1_000);
    assert_eq!(desk.value("SELECT count(*) FROM records_dropped").as_i64(), Some(3_000), "each has its entry");
    desk.write("orders.sync", "PIPELINE all AS FROM parquet('a.parquet') |> SELECT id |> INSERT INTO file('all/');\n");
    assert!(desk.say(&["run", "orders.sync"]).expect(3).err.contains("a.parquet: "));
}
