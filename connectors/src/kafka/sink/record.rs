//! Rows of an outbox as the records of a topic.

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt32Array},
    datatypes::{Field, UInt32Type},
};
use rdkafka::producer::BaseRecord;
use syncline_engine::sink::{SinkError, Write};
use syncline_functions::Keys;
use syncline_record::{
    Op, Reason,
    batch::{LANE, Operations},
};

use super::{KafkaSink, Open};
use crate::{
    kafka::{
        beside::{self, Beside},
        size,
    },
    rowtext::Lines,
};

/// Rows of one frame of the outbox, as records.
pub(super) struct Frame<'a> {
    lines: Lines<'a>,
    keys: Option<Keys>,
    lanes: Option<&'a UInt32Array>,
    ops: Operations<'a>,
    beside: Beside<'a>,
}

type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

impl<'a> Frame<'a> {
    pub(super) fn new(sink: &'a KafkaSink, rows: &'a RecordBatch) -> Result<Self, SinkError> {
        let schema = rows.schema_ref();
        let mut columns: Vec<ArrayRef> = vec![];
        let mut fields: Vec<&Field> = vec![];
        for name in &sink.key {
            let Some((index, field)) = schema.column_with_name(name) else {
                return Err(SinkError::Never(format!("the rows have no column {name}")));
            };
            columns.push(rows.column(index).clone());
            fields.push(field);
        }
        Ok(Self {
            lines: sink.text.of(rows),
            keys: (!columns.is_empty()).then(|| Keys::of(&columns, &fields)),
            lanes: rows.column_by_name(LANE).and_then(|lanes| lanes.as_primitive_opt::<UInt32Type>()),
            ops: Operations::of(rows),
            beside: Beside::of(rows),
        })
    }

    /// The record of a row; none for a row that only says something about a group. `line` holds its value.
    pub(super) fn record<'b>(
        &'b self,
        sink: &'b KafkaSink,
        open: &Open,
        row: usize,
        place: u64,
        line: &'b mut Vec<u8>,
    ) -> Result<Result<Option<Record<'b>>, Reason>, SinkError> {
        if self.ops.is_clear(row) {
            return Ok(Ok(None));
        }
        let upsert = matches!(sink.write, Write::Upsert { .. });
        let key = self.keys.as_ref().and_then(|keys| keys.get(row));
        if key.is_none() && upsert {
            return Ok(Err(Reason::new("null-key", "the key is NULL")));
        }
        let delete = self.ops.get(row) == Op::Delete;
        if delete && key.is_none() {
            return Ok(Err(Reason::new("null-key", "a delete without a key names nothing")));
        }
        if !delete {
            if let Err(failure) = self.lines.write(row, line) {
                return Ok(Err(failure.reason));
            }
            // A record has no line end.
            line.pop();
        }
        let (headers, time) = match self.beside.headers(row).and_then(|headers| Ok((headers, self.beside.time(row)?))) {
            Ok(beside) => beside,
            Err(reason) => return Ok(Err(reason)),
        };
        let named = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        let size = size::alone(key, (!delete).then_some(line.as_slice()), named);
        if size > open.most || sink.refused.contains(&place) {
            let detail =
                format!("{size} bytes in a batch of its own, and the topic takes {} (`max.message.bytes`)", open.most);
            return Ok(Err(Reason::new("too-large", detail)));
        }
        let mut record = BaseRecord::with_opaque_to(&sink.topic.name, place as usize);
        if let Some(lanes) = self.lanes {
            let lane = lanes.value(row);
            if lane >= open.partitions {
                return Err(SinkError::Never(format!(
                    "{} has {} partitions, and the rows have more lanes; write `INTO {}`",
                    sink.what(),
                    open.partitions,
                    open.partitions
                )));
            }
            record = record.partition(lane as i32);
        }
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(time) = time {
            record = record.timestamp(time);
        }
        if !headers.is_empty() {
            record = record.headers(beside::owned(&headers));
        }
        Ok(Ok(Some(if delete { record } else { record.payload(line.as_slice()) })))
    }
}
