//! Rows on their way to a sink that works at its own pace: one frame per batch, as an Arrow IPC stream.

pub mod original;

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
    let mut metadata = HashMap::from([(PARTITION.to_owned(), batch.origin.partition.to_string())]);
    let mut fields: Vec<_> = kept.iter().map(|index| schema.fields()[*index].clone()).collect();
    let mut columns: Vec<_> = kept.iter().map(|index| batch.rows.column(*index).clone()).collect();
    for (field, column) in original::columns(batch, &mut metadata) {
        fields.push(Arc::new(field));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let rows = RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())?;
    // Views would drag the whole payload along: only what the rows show is written.
    let rows = compact(rows);
    let mut writer = StreamWriter::try_new(Vec::with_capacity(16 << 10), &schema).map_err(|error| error.to_string())?;
    writer.write(&rows).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    writer.into_inner().map_err(|error| error.to_string())
}

pub(crate) fn compact(rows: RecordBatch) -> RecordBatch {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::AsArray;
    use syncline_record::{Fate, StepId};

    use super::*;
    use crate::{
        operator::{
            Output,
            harness::{NOW, origin, shown, wanted},
        },
        operators::{Decode, decode::Wanted},
    };

    fn batch(records: &[String]) -> Batch {
        let mut out = Output::new(StepId::new("source"), false);
        let mut decode = Decode::new(Wanted { whole_record: true, ..wanted(&["id", "name"]) });
        decode.push(origin("in/ä", 5, records), None, NOW, &mut out);
        assert_eq!(out.books.fate(Fate::Passed), records.len() as u64);
        out.emitted.remove(0)
    }

    #[test]
    fn a_frame_holds_the_rows_and_where_they_came_from() {
        let batch = batch(&[r#"{"id":1,"name":"a name that is longer than a view"}"#.into(), "{}".into()]);
        let (rows, partition) = decode(&encode(&batch).unwrap()).unwrap();
        let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!((partition.as_str(), names), ("in/ä", vec!["id", "name", "__original"]));
        let read = Batch { origin: Arc::new(origin("x", 1, &[])), rows, watermark: 0 };
        assert_eq!(shown(&read), shown(&batch));
    }

    /// A view of one short value kept the payload of the whole poll in the frame.
    #[test]
    fn a_frame_is_not_larger_than_its_rows_and_their_records() {
        let record = |id, filler: &str| format!(r#"{{"id":{id},"filler":"{filler}","name":"longer than a view is"}}"#);
        let wide = batch(&[record(1, "x"), record(2, &"x".repeat(100_000))]).keep(&vec![true, false].into());
        let body = encode(&wide).unwrap();
        assert!(body.len() < 2_000, "{} bytes", body.len());
        assert_eq!(decode(&body).unwrap().0.column(0).as_string_view().value(0), "1");
    }

    #[test]
    fn a_frame_that_is_cut_is_damage_and_not_a_panic() {
        let body = encode(&batch(&[r#"{"id":1}"#.into()])).unwrap();
        // The last bytes only say that nothing follows.
        for length in 0..body.len() - 64 {
            assert!(decode(&body[..length]).is_err(), "{length} of {}", body.len());
        }
    }
}
