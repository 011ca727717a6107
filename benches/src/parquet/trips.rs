//! The trips: generated from a seed, and a digest of what was made of them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, TimeUnit},
    row::{RowConverter, SortField},
};
use datafusion::parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::random::Random;

pub const SEED: u64 = 11;
/// Trips of a file, which is one row group.
const FILE: u64 = 1_000_000;
/// Trips that are made at once.
const BATCH: u64 = 50_000;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
const SECOND: i64 = 1_000_000;
/// Of a hundred, those that lack a value that may be missing.
const MISSING: u64 = 3;

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Writes so many trips into files of a folder.
pub fn write(folder: &Path, rows: u64) {
    let mut random = Random(SEED);
    let mut at = START;
    for (number, from) in (0..rows).step_by(FILE as usize).enumerate() {
        let most = FILE.min(rows - from);
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let file = File::create(folder.join(format!("trips-{number:03}.parquet"))).expect("the input");
        let mut writer = None;
        for done in (0..most).step_by(BATCH as usize) {
            let batch = trips(&mut random, &mut at, BATCH.min(most - done) as usize);
            let writer = writer.get_or_insert_with(|| {
                let file = file.try_clone().expect("the input");
                ArrowWriter::try_new(file, batch.schema(), Some(properties.clone())).expect("columns for Parquet")
            });
            writer.write(&batch).expect("room for the input");
        }
        writer.map(ArrowWriter::close).transpose().expect("room for the input");
    }
}

/// The next trips, in about the order of their beginnings.
fn trips(random: &mut Random, at: &mut i64, rows: usize) -> RecordBatch {
    let mut drawn = |limit: u64| (0..rows).map(|_| random.below(limit)).collect::<Vec<_>>();
    let (vendors, waits, lasts) = (drawn(3), drawn(2), drawn(7_200));
    let (people, lack_people) = (drawn(7), drawn(100));
    let (hundredths, from, to) = (drawn(3_000), drawn(265), drawn(265));
    let (stored, lack_stored) = (drawn(40), drawn(100));
    let (fares, tips) = (drawn(8_000), drawn(2_000));
    let begins: Vec<i64> = waits
        .iter()
        .zip(&tips)
        .map(|(wait, jitter)| {
            *at += *wait as i64 * SECOND;
            *at + (*jitter as i64 % 60) * SECOND
        })
        .collect();
    let ends = begins.iter().zip(&lasts).map(|(begin, last)| begin + *last as i64 * SECOND);
    let known = |lacks: u64| lacks >= MISSING;
    let people = people.iter().zip(&lack_people).map(|(many, lack)| known(*lack).then_some(*many as i64));
    let stored =
        stored.iter().zip(&lack_stored).map(|(odd, lack)| known(*lack).then_some(if *odd == 0 { "Y" } else { "N" }));
    // Some are refunds: below zero.
    let fares: Vec<f64> = fares.iter().map(|cents| (*cents as i64 - 200) as f64 / 100.0).collect();
    let total = fares.iter().zip(&tips).map(|(fare, tip)| fare + *tip as f64 / 100.0);
    let column = |name: &str, array: ArrayRef| (name.to_owned(), array);
    let columns: Vec<(String, ArrayRef)> = vec![
        column("vendor_id", Arc::new(Int32Array::from_iter_values(vendors.iter().map(|vendor| *vendor as i32 + 1)))),
        column("pickup_at", Arc::new(TimestampMicrosecondArray::from(begins.clone()))),
        column("dropoff_at", Arc::new(TimestampMicrosecondArray::from_iter_values(ends))),
        column("passenger_count", Arc::new(Int64Array::from_iter(people))),
        column(
            "trip_distance",
            Arc::new(Float64Array::from_iter_values(hundredths.iter().map(|of| *of as f64 / 100.0))),
        ),
        column("stored", Arc::new(StringArray::from_iter(stored))),
        column("pickup_zone", Arc::new(Int32Array::from_iter_values(from.iter().map(|zone| *zone as i32 + 1)))),
        column("dropoff_zone", Arc::new(Int32Array::from_iter_values(to.iter().map(|zone| *zone as i32 + 1)))),
        column("fare_amount", Arc::new(Float64Array::from(fares.clone()))),
        column("tip_amount", Arc::new(Float64Array::from_iter_values(tips.iter().map(|cents| *cents as f64 / 100.0)))),
        column("total_amount", Arc::new(Float64Array::from_iter_values(total))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("columns of one length")
}

/// What has to come out, with the types in which it is compared.
fn expected() -> Schema {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    Schema::new(vec![
        field("vendor_id", DataType::Int32),
        field("pickup_at", INSTANT),
        field("pickup_day", DataType::Date32),
        field("pickup_zone", DataType::Int32),
        field("dropoff_zone", DataType::Int32),
        field("passengers", DataType::Int32),
        field("kilometres", DataType::Float64),
        field("stored", DataType::Utf8),
        field("fare", DataType::Decimal128(10, 2)),
        field("total", DataType::Decimal128(12, 2)),
    ])
}

/// Rows of all files, and a digest of them that does not depend on their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    sum: u128,
}

pub fn digest(files: &[PathBuf]) -> Digest {
    let expected = expected();
    let fields = expected.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).expect("types that can be compared");
    let mut digest = Digest { rows: 0, sum: 0 };
    for path in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("an output"));
        let reader = reader.and_then(|builder| builder.with_batch_size(BATCH as usize).build()).expect("Parquet");
        for batch in reader {
            let batch = batch.expect("rows");
            let columns: Vec<ArrayRef> = expected.fields().iter().map(|field| compared(&batch, field)).collect();
            assert_eq!(columns.len(), batch.num_columns(), "no other columns come out");
            for row in &converter.convert_columns(&columns).expect("the same types") {
                digest.rows += 1;
                digest.sum = digest.sum.wrapping_add(xxh3_128(row.data()));
            }
        }
    }
    digest
}

/// A column in the type in which it is compared: another kind of text, or a zone, is no difference; any other type is.
fn compared(batch: &RecordBatch, field: &Field) -> ArrayRef {
    let column = batch.column_by_name(field.name()).unwrap_or_else(|| panic!("{} comes out", field.name()));
    let alike = match (column.data_type(), field.data_type()) {
        (DataType::Timestamp(found, _), DataType::Timestamp(wanted, _)) => found == wanted,
        (DataType::Utf8View | DataType::LargeUtf8, DataType::Utf8) => true,
        (found, wanted) => found == wanted,
    };
    assert!(alike, "{} is {}, not {}", field.name(), column.data_type(), field.data_type());
    match column.data_type() {
        DataType::Timestamp(..) => cast(&cast(column, &DataType::Int64).expect("numbers"), &INSTANT).expect("instants"),
        _ => cast(column, field.data_type()).expect("the same values"),
    }
}
