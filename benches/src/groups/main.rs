//! Aggregates in windows: Arrow batches in, beside plain DataFusion over the same batches.
//!
//! `cargo run --release -p syncline-benches --bin groups [-- MILLIONS]`: 1,000 keys, windows of a minute, `SUM` and `COUNT`. Syncline hands
//! over what each epoch of 200,000 rows added, as it does for its durable state; DataFusion keeps nothing. Every contestant is a process
//! of its own; CPU time is the whole process; the best of three is taken, and the sums are compared.

#[path = "../spine/measure.rs"]
// Of a contestant's costs only its processor time is looked at here.
#[allow(dead_code)]
mod measure;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::{common::DFSchema, datasource::MemTable, prelude::SessionContext};
use measure::child;
use syncline_engine::{
    operator::{Operator, Output},
    operators::aggregate::{Recipe, Window, Windows},
};
use syncline_functions::{Aggregates, Planner, Projection};
use syncline_record::{
    Batch, Headers, Origin, Partition, StepId,
    batch::{MARK, ROW},
};

const KEYS: u64 = 1_000;
const BATCH: usize = 8_192;
/// Batches that are made; contestants go over them again and again.
const BATCHES: usize = 64;
const MINUTE: i64 = 60_000_000;
/// Rows of an epoch, as the engine bounds them.
const EPOCH: usize = 200_000;
const MILLIONS: usize = 200;
const ROUNDS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if let (Some(name), Some(rounds)) = (&first, arguments.next()) {
        let rounds = rounds.parse().expect("a number of rounds");
        match name.as_str() {
            "syncline" => syncline(rounds),
            "datafusion" => plain(rounds),
            "idle" => drop(batches()),
            other => panic!("no contestant {other}"),
        }
        return;
    }
    let millions = first.and_then(|text| text.parse().ok()).unwrap_or(MILLIONS);
    let rounds = (millions * 1_000_000 / (BATCH * BATCHES)).max(1);
    let rows = (rounds * BATCH * BATCHES) as f64;
    println!("{:.0} M rows, {KEYS} keys, batches of {BATCH}", rows / 1e6);
    for name in ["idle", "datafusion", "syncline"] {
        let best = (0..ROUNDS).map(|_| child(&[name, &rounds.to_string()]).cpu).min().expect("at least one round");
        println!(
            "{name:<12} {:>8.3} CPU-s {:>8.1} M rows per CPU-second",
            best.as_secs_f64(),
            rows / 1e6 / best.as_secs_f64()
        );
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("k", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        Field::new(MARK, DataType::Int64, false),
        Field::new(ROW, DataType::UInt32, false),
    ]))
}

/// Time goes on over ten minutes; keys and values are those of a multiplicative hash.
fn batches() -> Vec<RecordBatch> {
    let rows = (BATCH * BATCHES) as i64;
    let batch = |index: usize| {
        let number = |row: usize| (index * BATCH + row) as u64;
        let mixed = |row: usize| number(row).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let time = |row: usize| number(row) as i64 * (10 * MINUTE) / rows;
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

fn syncline(rounds: usize) {
    let planner = Planner::new();
    let schema = schema();
    let scope = DFSchema::try_from(schema.as_ref().clone()).expect("columns with different names");
    let typed = |sql: &str| planner.expr(&planner.parse(sql).expect("SQL"), &scope).expect("a column");
    let call = |sql: &str| planner.aggregate(&planner.parse(sql).expect("SQL"), &scope).expect("an aggregate");
    let calls = vec![("total".to_owned(), call("sum(n)")), ("events".to_owned(), call("count(*)"))];
    let mut taken = vec![("t".to_owned(), typed("t")), ("k".to_owned(), typed("k"))];
    taken.extend(Aggregates::taken(&calls));
    let recipe = Recipe {
        taken: Projection::new(&planner, taken, &schema).expect("columns"),
        aggregates: Aggregates::new(vec![typed("k").field().clone()], &calls).expect("calls"),
    };
    let mut operator = Windows::new(recipe, Window::tumble(MINUTE), ("minute", 0), true);
    let origin = Arc::new(Origin {
        names: None,
        partition: Partition::new("bench", 0),
        payload: Buffer::from_vec(Vec::<u8>::new()),
        spans: vec![],
        texts: None,
        offsets: (1..=BATCH as u64).collect(),
        bytes: None,
        times: vec![0; BATCH],
        ingested_at: 0.into(),
        headers: Headers::Absent,
        keys: None,
    });
    let batches = batches();
    let (mut open, mut epoch, mut stored) = (0, 0, 0);
    for _ in 0..rounds {
        for rows in &batches {
            let mut out = Output::new(StepId::new("aggregate"), false);
            let batch = Batch { origin: origin.clone(), rows: rows.clone(), watermark: 0 };
            operator.push(batch, &mut out).expect("the operator goes on");
            open += BATCH;
            if open >= EPOCH {
                (open, epoch) = (0, epoch + 1);
                stored += operator
                    .close(epoch, out.step())
                    .expect("an epoch that closes")
                    .appended
                    .iter()
                    .map(|(_, body)| body.len())
                    .sum::<usize>();
            }
        }
    }
    let mut out = Output::new(StepId::new("aggregate"), false);
    operator.finish(&mut out).expect("the operator goes on");
    assert!(stored > 0, "epochs hand over what they added");
}

fn plain(rounds: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let config = datafusion::prelude::SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let batches = batches();
        let all: Vec<RecordBatch> = (0..rounds).flat_map(|_| batches.iter().cloned()).collect();
        let table = MemTable::try_new(schema(), vec![all]).expect("a table");
        context.register_table("rows", Arc::new(table)).expect("a table");
        let sql = "SELECT date_bin(INTERVAL '1 minute', t) AS minute, k, sum(n), count(*) FROM rows GROUP BY 1, 2";
        let found = context.sql(sql).await.expect("SQL").collect().await.expect("rows");
        assert!(found.iter().map(RecordBatch::num_rows).sum::<usize>() >= KEYS as usize, "a row for each group");
    });
}
