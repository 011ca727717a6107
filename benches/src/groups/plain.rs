//! The same groups by plain DataFusion: sums that may wrap, nothing kept.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    datasource::MemTable,
    prelude::{SessionConfig, SessionContext},
};

use crate::rows::{BATCH, Load, batches, digest, schema};

pub fn run(load: Load, rounds: usize) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH);
        let context = SessionContext::new_with_config(config);
        let batches = batches(load);
        let all: Vec<RecordBatch> = (0..rounds).flat_map(|_| batches.iter().cloned()).collect();
        let table = MemTable::try_new(schema(), vec![all]).expect("a table");
        context.register_table("rows", Arc::new(table)).expect("a table");
        let sql = match load {
            Load::Whole => "SELECT k, sum(n), count(*) FROM rows GROUP BY k",
            Load::InOrder | Load::Disorder => {
                "SELECT date_bin(INTERVAL '1 minute', t) AS minute, k, sum(n), count(*) FROM rows GROUP BY 1, 2"
            }
        };
        let found = context.sql(sql).await.expect("SQL").collect().await.expect("rows");
        digest(found.iter(), load)
    })
}
