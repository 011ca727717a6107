//! What comes out of a frame is what went into it.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt8Array};
use syncline_record::{Batch, Fate, Headers, Instants, Op, StepId, batch::OP};

use super::*;
use crate::{
    operator::{
        Operator, Output,
        harness::{NOW, origin, shown, wanted},
    },
    operators::{
        Decode, Present,
        decode::{FromStream, Wanted},
        present::{Deletes, OpenRecord, Presentation, put_column},
    },
};

const RECORDS: [&str; 3] = [
    r#"{"id":  1, "at":"2026-11-20T10:00:00Z"}"#,
    r#"{"id":2,"at":"2026-11-20T10:00:01Z"}"#,
    r#"{"id":3,"at":"2026-11-20T09:00:00Z"}"#,
];

fn batch(fields: &[&str], whole_record: bool) -> Batch {
    let records: Vec<String> = RECORDS.iter().map(|record| record.to_string()).collect();
    let mut out = Output::new(StepId::new("source"), false);
    let mut origin = origin("in/orders", 5, &records);
    origin.headers = Headers::Each(vec![Some(r#"{"a":"1"}"#.into()), None, Some("{}".into())]);
    origin.ingested_at = Instants::Each(vec![7, 8, 9]);
    origin.bytes = Some(vec![0, 40, 80]);
    let wanted = Wanted { whole_record, ..wanted(fields) };
    Decode::new(wanted).push(origin, None, NOW, &mut out);
    assert_eq!(out.books.fate(Fate::Passed), 3);
    out.emitted.remove(0)
}

fn presented(batch: Batch, columns: &[&str], open: Option<OpenRecord>) -> Batch {
    let columns = columns.iter().map(|name| name.to_string()).collect();
    let how = Presentation { columns, open, sequence: None, delete_when: None, deletes: Deletes::Apply, keys: vec![] };
    let mut out = Output::new(StepId::new("stream"), false);
    Present::new(how).for_stream().push(batch, &mut out).unwrap();
    out.emitted.remove(0)
}

fn carried(batch: &Batch) -> Carried {
    let (id, content) = decode(&encode(batch, "abc").unwrap()).unwrap();
    assert_eq!(id, "abc");
    let Content::Rows(rows) = content else { panic!("no rows: {content:?}") };
    *rows
}

fn names(rows: &RecordBatch) -> Vec<String> {
    rows.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[test]
fn rows_keep_their_columns_places_times_marks_and_records() {
    let batch = presented(batch(&["id", "at:time"], false).keep(&vec![true, false, true].into()), &["at", "id"], None);
    let Carried { origin, columns, marks, ops } = carried(&batch);
    let columns = columns.unwrap();
    assert_eq!(names(&columns), ["at", "id"]);
    assert_eq!(columns.column(0).data_type(), batch.rows.column(0).data_type());
    let was = &batch.origin;
    let places: Vec<_> = (0..2).map(|row| origin.place(row)).collect();
    assert_eq!(places, [was.place(0), was.place(2)]);
    assert_eq!(origin.times, [was.times[0], was.times[2]]);
    assert_eq!(origin.ingested_at, Instants::Each(vec![7, 9]));
    assert_eq!((origin.headers.get(0), origin.headers.get(1)), (Some(r#"{"a":"1"}"#), Some("{}")));
    let records: Vec<_> = (0..2).map(|row| String::from_utf8(origin.bytes_of(row).into_owned()).unwrap()).collect();
    assert_eq!(records, [RECORDS[0], RECORDS[2]]);
    // The third row is an hour behind the second, which a WHERE has dropped.
    assert_eq!(marks, Some(vec![i64::MIN, was.times[1]]));
    assert_eq!(ops, None);
}

#[test]
fn a_reader_decodes_what_the_writer_had() {
    let before = batch(&["id", "at:time"], false);
    let wanted = Wanted { event_time: None, stream: Some(FromStream { changes: false }), ..wanted(&["id", "at:time"]) };
    let mut decode = Decode::new(wanted);
    let stream = syncline_record::Partition::new("stream/orders", 0);
    let mut out = Output::new(StepId::new("source"), false);
    decode.mark(&stream, 17);
    decode.push_streamed(&stream, carried(&presented(before.clone(), &["id", "at"], None)), &mut out).unwrap();
    let after = out.emitted.remove(0);
    assert_eq!(shown(&after), shown(&before));
    assert_eq!(after.watermark, 17);
    // A mark never goes back.
    decode.mark(&stream, 3);
    assert_eq!(decode.watermarks()["stream/orders"], 17);
}

#[test]
fn whole_records_go_as_they_are_changed_or_not() {
    let open = |set: &[&str]| OpenRecord { set: set.iter().map(|name| name.to_string()).collect(), dropped: vec![] };
    let text = |rows: &Carried, row: usize| String::from_utf8(rows.origin.bytes_of(row).into_owned()).unwrap();
    let same = carried(&presented(batch(&["id"], true), &[], Some(open(&[]))));
    assert_eq!((same.columns.is_none(), text(&same, 0).as_str()), (true, RECORDS[0]));
    let before = batch(&["id"], true);
    let ids = before.rows.column_by_name("id").unwrap().clone();
    let changed = before.with_rows(put_column(&before.rows, "copy", ids));
    let changed = carried(&presented(changed, &[], Some(open(&["copy"]))));
    assert_eq!(text(&changed, 1), r#"{"id":2,"at":"2026-11-20T10:00:01Z","copy":"2"}"#);
}

#[test]
fn deletes_go_along_and_what_only_clears_a_group_does_not() {
    let rows = batch(&["id"], false);
    let ops = [Op::Delete, Op::Clear, Op::Insert].map(|op| op as u8);
    let rows = rows.with_rows(put_column(&rows.rows, OP, Arc::new(UInt8Array::from(ops.to_vec()))));
    let rows = carried(&without_clears(presented(rows, &["id"], None)));
    assert_eq!(rows.ops.unwrap().values().to_vec(), [Op::Delete as u8, Op::Insert as u8]);
    assert_eq!(rows.columns.unwrap().column(0).as_string_view().iter().flatten().collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn a_mark_comes_back_as_it_was() {
    let (id, content) = decode(&encode_mark(-5, "abc")).unwrap();
    assert!(matches!((id.as_str(), content), ("abc", Content::Mark(-5))));
}

#[test]
fn a_frame_that_is_cut_or_strange_is_damage_and_not_a_panic() {
    let body = encode(&presented(batch(&["id", "at:time"], false), &["id"], None), "abc").unwrap();
    // The last bytes only say that nothing follows.
    for length in 0..body.len() - 64 {
        assert!(decode(&body[..length]).is_err(), "{length} of {}", body.len());
    }
    let mark = encode_mark(1, "a");
    for length in 0..9 {
        assert!(decode(&mark[..length]).is_err(), "{length}");
    }
    assert!(decode(&[9, 1, 2]).is_err());
}
