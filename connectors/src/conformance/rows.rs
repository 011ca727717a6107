//! Rows to try a sink with.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, UInt32Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use syncline_record::{Batch, Headers, Micros, Origin, Partition, batch::ROW, time::NO_WATERMARK};

/// The columns of [`numbered`]: `id BIGINT`, and the hidden `__row`.
pub fn numbered_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new(ROW, DataType::UInt32, false)]))
}

/// One row per id.
pub fn numbered(ids: &[i64]) -> RecordBatch {
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(ids.to_vec())), Arc::new(UInt32Array::from_iter_values(0..ids.len() as u32))];
    RecordBatch::try_new(numbered_schema(), columns).expect("columns of one length")
}

/// Rows that came from nowhere in particular, at time 0.
pub fn batch(rows: RecordBatch) -> Batch {
    const TIME: Micros = 0;
    let count = rows.num_rows();
    let origin = Origin {
        texts: None,
        names: None,
        partition: Partition::new("conformance", 0),
        payload: Buffer::from_vec(Vec::<u8>::new()),
        spans: vec![(0, 0); count],
        offsets: (0..count as u64).collect(),
        bytes: None,
        times: vec![TIME; count],
        ingested_at: TIME.into(),
        headers: Headers::Absent,
        keys: None,
    };
    Batch { origin: Arc::new(origin), rows, watermark: NO_WATERMARK }
}
