//! From bytes to rows: what is read, what is dead, and what time it is.

use arrow::{
    array::Int64Array,
    datatypes::{DataType, Field},
};
use syncline_record::{
    Batch, Fate, Headers, Keys, StepId,
    batch::{MARK, RECORD},
};

use crate::{
    operator::{
        Output,
        harness::{NOW, origin, shown, wanted},
    },
    operators::{
        Decode,
        decode::{EventTime, FUTURE, METADATA, Wanted},
    },
    simulation::input::{MIDNIGHT, SECOND, clock_text},
};

fn decoded(decode: &mut Decode, partition: &str, first: u64, records: &[String]) -> Output {
    let mut out = Output::new(StepId::new("source"), false);
    out.books.rows_in = records.len() as u64;
    decode.push(origin(partition, first, records), None, NOW, &mut out);
    assert!(out.books.balance(), "{:?}", out.books);
    out
}

fn texts(records: &[&str]) -> Vec<String> {
    records.iter().map(|record| record.to_string()).collect()
}

fn slugs(out: &Output) -> Vec<(u64, &str)> {
    out.dead.iter().map(|letter| (letter.place.offset, letter.reason.slug.as_str())).collect()
}

#[test]
fn a_record_that_is_not_one_json_object_is_dead_with_its_bytes() {
    let mut decode = Decode::new(wanted(&["id"]));
    let out = decoded(&mut decode, "a", 1, &texts(&[r#"{"id":1}"#, r#"{"id":2"#, "7", r#"{"id":3} {}"#, r#"{"x":0}"#]));
    assert_eq!(shown(&out.emitted[0]), [r#"{"id":1}"#, r#"{"id":null}"#]);
    assert_eq!(slugs(&out), [(2, "not-json"), (3, "not-an-object"), (4, "not-json")]);
    assert_eq!(out.dead[0].bytes, br#"{"id":2"#);
}

#[test]
fn a_batch_without_a_good_record_puts_nothing_out() {
    let out = decoded(&mut Decode::new(wanted(&["id"])), "a", 1, &texts(&["", "x"]));
    assert_eq!((out.emitted.len(), out.books.fate(Fate::Dead)), (0, 2));
}

#[test]
fn metadata_are_columns_and_the_record_time_stays_that_of_the_source() {
    let event_time = EventTime { column: "at".into(), delay: 0 };
    let metadata = METADATA.iter().map(|name| name.to_string()).collect();
    let mut decode = Decode::new(Wanted { metadata, event_time: Some(event_time), ..wanted(&["at:time"]) });
    let mut records = origin("in/orders", 7, &[format!(r#"{{"at":"{}"}}"#, clock_text(MIDNIGHT + 5 * SECOND))]);
    records.headers = Headers::Same(r#"{"X-Id":"1"}"#.into());
    records.keys = Some([Some(b"k".as_slice())].into_iter().collect());
    let mut out = Output::new(StepId::new("source"), false);
    decode.push(records, None, NOW, &mut out);
    let row = concat!(
        r#"{"at":"2026-11-20T00:00:05Z","_key":"aw==","_topic":"in/orders","_partition":0,"_offset":7,"#,
        r#""_timestamp":"2026-11-20T00:00:00Z","_headers":{"X-Id":"1"},"_source":"in/orders","#,
        r#""_ingested_at":"2026-11-21T00:00:00Z"}"#
    );
    assert_eq!(shown(&out.emitted[0]), [row]);
    assert_eq!(out.emitted[0].time(0), MIDNIGHT + 5 * SECOND);
}

#[test]
fn the_whole_record_is_kept_where_it_is_wanted_and_is_null_where_it_is_dead() {
    let mut decode = Decode::new(Wanted { whole_record: true, ..wanted(&["id"]) });
    let out = decoded(&mut decode, "a", 1, &texts(&["x", r#"{"id" : 1}"#]));
    let records = out.emitted[0].rows.column_by_name(RECORD).unwrap();
    assert_eq!(arrow::array::AsArray::as_string_view(records).value(0), r#"{"id" : 1}"#);
}

fn timed(seconds: &[i64]) -> Vec<String> {
    seconds.iter().map(|s| format!(r#"{{"at":"{}"}}"#, clock_text(MIDNIGHT + s * SECOND))).collect()
}

fn marks(batches: &[Batch]) -> Vec<i64> {
    let column = |batch: &Batch| {
        let marks = batch.rows.column_by_name(MARK).unwrap().clone();
        marks.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
    };
    let seconds = |mark: i64| if mark == i64::MIN { mark } else { (mark - MIDNIGHT) / SECOND };
    batches.iter().flat_map(column).map(seconds).collect()
}

#[test]
fn the_watermark_before_each_row_does_not_depend_on_the_batches() {
    let event_time = Some(EventTime { column: "at".into(), delay: 10 * SECOND });
    let times = [100, 90, 130, 120, 131];
    let make = || Decode::new(Wanted { event_time: event_time.clone(), ..wanted(&["at:time"]) });
    let whole = decoded(&mut make(), "a", 1, &timed(&times));
    assert_eq!(marks(&whole.emitted), [i64::MIN, 90, 90, 120, 120]);
    let mut decode = make();
    let mut single = vec![];
    for (index, time) in times.iter().enumerate() {
        single.extend(decoded(&mut decode, "a", index as u64 + 1, &timed(&[*time])).emitted);
        // Another partition has its own.
        decoded(&mut decode, "b", index as u64 + 1, &timed(&[1000]));
    }
    assert_eq!(marks(&single), marks(&whole.emitted));
}

#[test]
fn a_time_too_far_ahead_is_dead_and_moves_no_watermark() {
    let mut decode = Decode::new(wanted(&["at:time"]));
    let ahead = (NOW - MIDNIGHT + FUTURE) / SECOND;
    let out = decoded(&mut decode, "a", 1, &timed(&[5, ahead + 1, ahead, 6]));
    assert_eq!(slugs(&out), [(2, "future")]);
    assert_eq!(marks(&out.emitted), [i64::MIN, 5, ahead]);
    assert_eq!(decode.watermarks()["a"], NOW + FUTURE);
}

/// Records with their keys; one without a value has `None`.
fn keyed(decode: &mut Decode, records: &[(Option<&str>, Option<&str>)]) -> Output {
    let texts: Vec<String> = records.iter().map(|(_, value)| value.unwrap_or_default().to_owned()).collect();
    let mut origin = origin("customers", 1, &texts);
    let mut keys = Keys::default();
    for (key, value) in records {
        match (key, value) {
            (Some(key), None) => keys.push_alone(key.as_bytes()),
            (key, _) => keys.push(key.map(str::as_bytes)),
        }
    }
    origin.keys = Some(keys);
    origin.times = vec![MIDNIGHT + 100 * SECOND; records.len()];
    let mut out = Output::new(StepId::new("source"), false);
    out.books.rows_in = records.len() as u64;
    decode.push(origin, None, NOW, &mut out);
    assert!(out.books.balance(), "{:?}", out.books);
    out
}

fn with_key(fields: &[&str], key: &[&str]) -> Wanted {
    Wanted { key: key.iter().map(|name| name.to_string()).collect(), ..wanted(fields) }
}

#[test]
fn a_key_without_a_value_is_a_delete_that_knows_its_key() {
    let mut decode = Decode::new(with_key(&["id:int", "name"], &["id"]));
    let out = keyed(
        &mut decode,
        &[
            (Some("1"), Some(r#"{"id":1,"name":"ada"}"#)),
            (Some("1"), None),
            (Some("2"), Some(r#"{"name":"bob"}"#)),
            (Some("2"), None),
        ],
    );
    let rows = [
        r#"{"id":1,"name":"ada"}"#,
        r#"-{"id":1,"name":null}"#,
        r#"{"id":2,"name":"bob"}"#,
        r#"-{"id":2,"name":null}"#,
    ];
    assert_eq!(shown(&out.emitted[0]), rows);
    assert_eq!(slugs(&out), []);
}

#[test]
fn a_key_that_its_record_contradicts_or_that_is_none_is_dead() {
    let not_null = Field::new("id", DataType::Int64, false);
    let name = Field::new("name", DataType::Utf8View, false);
    let mut decode = Decode::new(Wanted { fields: vec![not_null, name], ..with_key(&[], &["id"]) });
    let out = keyed(
        &mut decode,
        &[
            (Some("1"), Some(r#"{"id":2,"name":"ada"}"#)),
            (None, Some(r#"{"id":2,"name":"ada"}"#)),
            (Some("one"), Some(r#"{"id":1,"name":"ada"}"#)),
            (Some("one"), None),
            (Some("1"), Some(r#"{"id":1}"#)),
            (Some("1"), Some("no JSON")),
            (Some("1"), None),
        ],
    );
    assert_eq!(shown(&out.emitted[0]), [r#"-{"id":1,"name":null}"#]);
    let slugs = slugs(&out);
    let expected = [(1, "key"), (2, "null-key"), (3, "key"), (4, "key"), (5, "missing"), (6, "not-json")];
    assert_eq!(slugs, expected);
    assert_eq!(out.dead[0].reason.detail, "id: the key says 1, and the record 2");
}

#[test]
fn where_nothing_is_said_of_keys_a_record_without_a_value_is_dead() {
    let mut decode = Decode::new(wanted(&["id"]));
    let out = keyed(&mut decode, &[(Some("a"), Some(r#"{"id":1}"#)), (Some("a"), None), (None, Some(r#"{"id":2}"#))]);
    assert_eq!(shown(&out.emitted[0]), [r#"{"id":1}"#, r#"{"id":2}"#]);
    assert_eq!(slugs(&out), [(2, "no-value")]);
    assert!(out.dead[0].reason.detail.contains("`a`"), "{:?}", out.dead[0].reason);
}

#[test]
fn a_delete_without_a_time_of_its_own_moves_no_watermark() {
    let mut decode = Decode::new(with_key(&["id:int", "at:time"], &["id"]));
    let at = |seconds: i64| format!(r#"{{"id":1,"at":"{}"}}"#, clock_text(MIDNIGHT + seconds * SECOND));
    let out = keyed(&mut decode, &[(Some("1"), Some(&at(1))), (Some("1"), None), (Some("1"), Some(&at(2)))]);
    assert_eq!(marks(&out.emitted), [i64::MIN, 1, 1]);
}

#[test]
fn a_raw_record_is_the_one_column_that_its_key_is_not() {
    let fields = vec![Field::new("id", DataType::Int64, true), Field::new("line", DataType::Utf8View, true)];
    let mut decode = Decode::new(Wanted { fields, raw: true, ..with_key(&[], &["id"]) });
    let out = keyed(&mut decode, &[(Some("1"), Some("{ no JSON")), (Some("2"), None), (Some("3"), Some(""))]);
    assert_eq!(
        shown(&out.emitted[0]),
        [r#"{"id":1,"line":"{ no JSON"}"#, r#"-{"id":2,"line":null}"#, r#"{"id":3,"line":""}"#]
    );
}
