//! The same job as one DataFusion query: declared types, no durable state, one bad row would fail it.

use std::path::Path;

use arrow::{
    datatypes::{DataType, Field, Schema},
    json::LineDelimitedWriter,
};
use datafusion::prelude::{JsonReadOptions, SessionConfig, SessionContext};

const QUERY: &str = "
    SELECT first_value(id) AS id, first_value(lower(customer)) AS customer,
           first_value(CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT)) AS cents,
           first_value(substr(ts, 1, 10)) AS day, first_value(region) AS region
    FROM orders
    WHERE status = 'paid' AND CAST(amount AS DECIMAL(12, 2)) >= 10
    GROUP BY orders.id";

pub fn run(input: &Path, output: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        let field = |name: &str| Field::new(name, DataType::Utf8, true);
        let schema = Schema::new(["id", "status", "customer", "amount", "ts", "region"].map(field).to_vec());
        let options = JsonReadOptions::default().schema(&schema).file_extension(".ndjson");
        context.register_json("orders", &input.to_string_lossy(), options).await.expect("the input");
        let batches = context.sql(QUERY).await.expect("a plan").collect().await.expect("a result");
        let file = std::io::BufWriter::new(std::fs::File::create(output.join("part.ndjson")).expect("the output"));
        let mut writer = LineDelimitedWriter::new(file);
        writer.write_batches(&batches.iter().collect::<Vec<_>>()).and_then(|()| writer.finish()).expect("the output");
    });
}
