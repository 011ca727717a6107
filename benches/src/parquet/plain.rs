//! The same job as one DataFusion query over the same files, written by its own writer with the product's codec and row groups.

use std::path::Path;

use datafusion::{
    dataframe::DataFrameWriteOptions,
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};

use crate::{COLUMNS, CONDITION};

/// Rows of a row group, as the product writes them.
const GROUP: usize = 1_000_000;

pub fn run(input: &Path, output: &Path, threads: usize) {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads).enable_all().build().expect("threads");
    runtime.block_on(async {
        let config = SessionConfig::new()
            .with_target_partitions(threads)
            .set_str("datafusion.execution.parquet.compression", "zstd(1)")
            .set_usize("datafusion.execution.parquet.max_row_group_size", GROUP);
        let context = SessionContext::new_with_config(config);
        context.register_parquet("trips", input.to_string_lossy(), ParquetReadOptions::default()).await.expect("trips");
        let query = format!("SELECT {COLUMNS} FROM trips WHERE {CONDITION}");
        let made = context.sql(&query).await.expect("a plan");
        let folder = format!("{}/", output.display());
        made.write_parquet(&folder, DataFrameWriteOptions::new(), None).await.expect("the output");
    });
}
