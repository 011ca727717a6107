//! Rows on their way to a sink that works at its own pace: one frame per batch, as an Arrow IPC stream.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::Schema,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use syncline_record::{
    Batch,
    batch::{RECORD, ROW},
};

/// Metadata key of a frame's schema: the partition that its rows came from.
pub const PARTITION: &str = "partition";

/// The body of a frame.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, String> {
    let schema = batch.rows.schema();
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|index| ![ROW, RECORD].contains(&schema.field(*index).name().as_str()))
        .collect();
    let metadata = HashMap::from([(PARTITION.to_owned(), batch.origin.partition.to_string())]);
    let fields: Vec<_> = kept.iter().map(|index| schema.fields()[*index].clone()).collect();
    let columns = kept.iter().map(|index| batch.rows.column(*index).clone()).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let rows = RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())?;
    // Views would drag the whole payload along: only what the rows show is written.
    let rows = compact(rows);
    let mut writer = StreamWriter::try_new(Vec::with_capacity(16 << 10), &schema).map_err(|error| error.to_string())?;
    writer.write(&rows).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    writer.into_inner().map_err(|error| error.to_string())
}

fn compact(rows: RecordBatch) -> RecordBatch {
    use arrow::array::{Array, AsArray};
    let columns = rows
        .columns()
        .iter()
        .map(|column| match column.as_string_view_opt() {
            Some(views) => Arc::new(views.gc()) as Arc<dyn Array>,
            None => column.clone(),
        })
        .collect();
    RecordBatch::try_new(rows.schema(), columns).unwrap_or(rows)
}

/// The rows of a frame and the partition they came from.
pub fn decode(body: &[u8]) -> Result<(RecordBatch, String), String> {
    let mut reader = StreamReader::try_new(body, None).map_err(|error| error.to_string())?;
    let rows = reader.next().ok_or("an empty frame")?.map_err(|error| error.to_string())?;
    let partition = rows.schema().metadata().get(PARTITION).cloned().unwrap_or_default();
    Ok((rows, partition))
}
