//! What tests do to a worker in the middle of a question; there is none of it in a release.
//!
//! `SYNCLINE_TEST_FAULT` names a file. While it says `panic`, the next batch of a part is a panic; with `slow N` each takes N
//! milliseconds.

use std::{fs, time::Duration};

use datafusion::{execution::SendableRecordBatchStream, physical_plan::stream::RecordBatchStreamAdapter};
use futures::StreamExt;

pub fn through(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let Some(file) = std::env::var_os("SYNCLINE_TEST_FAULT") else { return rows };
    let schema = rows.schema();
    let rows = rows.then(move |batch| {
        let wish = fs::read_to_string(&file).unwrap_or_default();
        async move {
            match wish.trim().split_once(' ') {
                Some(("slow", time)) => tokio::time::sleep(Duration::from_millis(time.parse().unwrap_or(0))).await,
                None if wish.trim() == "panic" => panic!("a test wants it"),
                _ => {}
            }
            batch
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
