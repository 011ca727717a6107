//! The rows: a time, a key, a number; and a digest of the answers.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit},
    ipc::writer::FileWriter,
};
use syncline_record::batch::{MARK, ROW};
use xxhash_rust::xxh3::xxh3_128;

pub const KEYS: u64 = 1_000;
/// As many as a source with types gives at once.
pub const BATCH: usize = 4_096;
/// Batches that are made; contestants go over them again and again.
const BATCHES: usize = 128;
/// Rows of one round.
pub const PART: usize = BATCH * BATCHES;
pub const MINUTE: i64 = 60_000_000;
/// How long the rows of a round take: 52,000 a minute.
const MINUTES: i64 = 10;
const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// No window.
    Whole,
    /// Most batches are of one window.
    InOrder,
    /// Most batches are of two.
    Disorder,
}

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::InOrder => "in-order",
            Self::Disorder => "disorder",
        }
    }

    pub fn named(name: &str) -> Self {
        let all = [Self::Whole, Self::InOrder, Self::Disorder];
        all.into_iter().find(|load| load.name() == name).expect("a load")
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Whole => "over all rows",
            Self::InOrder => "in windows of a minute, rows in order",
            Self::Disorder => "in windows of a minute, rows up to 30 s before or behind",
        }
    }
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("t", INSTANT, true),
        Field::new("k", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        Field::new(MARK, DataType::Int64, false),
        Field::new(ROW, DataType::UInt32, false),
    ]))
}

/// Time goes on over ten minutes; keys and values are those of a multiplicative hash.
pub fn batches(load: Load) -> Vec<RecordBatch> {
    let batch = |index: usize| {
        let number = |row: usize| (index * BATCH + row) as u64;
        let mixed = |row: usize| number(row).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let away = |row: usize| match load {
            Load::Disorder => (number(row).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20) as i64 % MINUTE - MINUTE / 2,
            Load::Whole | Load::InOrder => 0,
        };
        let time = |row: usize| MINUTE + number(row) as i64 * (MINUTES * MINUTE) / PART as i64 + away(row);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values((0..BATCH).map(time))),
            Arc::new(Int64Array::from_iter_values((0..BATCH).map(|row| (mixed(row) % KEYS) as i64))),
            Arc::new(Int64Array::from_iter_values((0..BATCH).map(|row| (mixed(row) % 100) as i64))),
            Arc::new(Int64Array::from_value(0, BATCH)),
            Arc::new(UInt32Array::from_iter_values(0..BATCH as u32)),
        ];
        RecordBatch::try_new(schema(), columns).expect("columns of the schema")
    };
    (0..BATCHES).map(batch).collect()
}

/// The same rows as an Arrow file of a folder.
pub fn write(load: Load, rounds: usize, folder: &Path) -> String {
    let visible = [0, 1, 2];
    let file = File::create(folder.join("rows.arrow")).expect("the input");
    let schema = schema().project(&visible).expect("columns");
    let mut writer = FileWriter::try_new(std::io::BufWriter::new(file), &schema).expect("the input");
    let batches = batches(load);
    for _ in 0..rounds {
        for batch in &batches {
            writer.write(&batch.project(&visible).expect("columns")).expect("room for the input");
        }
    }
    writer.finish().expect("room for the input");
    String::new()
}

/// Answers of any order: the window where there is one, the key, the sum, the count.
pub fn digest<'b>(answers: impl Iterator<Item = &'b RecordBatch>, load: Load) -> String {
    let columns = if load == Load::Whole { 3 } else { 4 };
    let (mut rows, mut sum) = (0, 0u128);
    for batch in answers {
        let numbers: Vec<ArrayRef> = batch.columns()[..columns].iter().map(number).collect();
        for row in 0..batch.num_rows() {
            let bytes = numbers.iter().flat_map(|column| column.as_primitive::<Int64Type>().value(row).to_le_bytes());
            sum = sum.wrapping_add(xxh3_128(&bytes.collect::<Vec<_>>()));
        }
        rows += batch.num_rows();
    }
    format!("{rows} rows, digest {sum:032x}")
}

fn number(column: &ArrayRef) -> ArrayRef {
    assert_eq!(column.null_count(), 0, "every answer is known");
    let column = match column.data_type() {
        DataType::Timestamp(..) => &cast(column, &INSTANT).expect("instants"),
        _ => column,
    };
    cast(column, &DataType::Int64).expect("whole numbers")
}
