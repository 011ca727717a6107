//! What a database looks like after rows were applied, and what is refused, on a real server.

#[path = "../../../tests/postgres.rs"]
pub(crate) mod server;

mod lost;
mod tables;
mod ways_in;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
        UInt8Array, UInt64Array,
    },
    datatypes::{Field, Schema},
};
use serde_json::json;
use syncline_engine::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream, Write};
use syncline_functions::json_field;
use syncline_record::Reason;

use self::server::{Database, shared};
use super::PostgresSink;
use crate::{
    registry::{SinkRequest, connector},
    spec::{Args, Arguments, ConnectorError, Surroundings},
};

fn stream(log_id: &str, fence: u64) -> Stream {
    Stream { pipeline: "p".into(), step: "upsert".into(), part: 0, log_id: log_id.into(), fence }
}

struct Shop(Database);

impl Shop {
    fn new() -> Self {
        Self(shared().database())
    }

    fn with(sql: &str) -> Self {
        let shop = Self::new();
        shop.0.sql(sql);
        shop
    }

    fn sink(&self, write: Write, rows: &RecordBatch) -> PostgresSink {
        made(&Args { positional: vec![json!(self.0.url()), json!("orders")], ..Args::default() }, write, rows).unwrap()
    }

    /// Opens, applies all rows from `base` on, commits.
    fn apply(&self, write: Write, base: u64, rows: &RecordBatch) -> Applied {
        let mut sink = self.sink(write, rows);
        sink.open(&stream("log", 1)).unwrap();
        let applied = sink.apply(&[OutboxRows { base, rows: rows.clone() }]).unwrap();
        let next = base + rows.num_rows() as u64;
        sink.commit(&Delivered { next, ..Delivered::default() }).unwrap();
        applied
    }

    fn refused(&self, write: Write, rows: &RecordBatch) -> String {
        match self.sink(write, rows).open(&stream("log", 1)) {
            Err(SinkError::Never(text)) => text.split_once(": ").expect("a place").1.to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

fn made(args: &Args, write: Write, rows: &RecordBatch) -> Result<PostgresSink, ConnectorError> {
    let around = Surroundings::folder(shared().folder());
    let step = "upsert".into();
    let (schema, keys) = (rows.schema(), Vec::new());
    let request = SinkRequest {
        args,
        around: &around,
        pipeline: "p",
        step: &step,
        write,
        schema,
        keys,
        endless: true,
        csv: None,
    };
    PostgresSink::new(&Arguments::checked(connector("postgres").unwrap(), args)?, &request)
}

fn json_column(name: &str, tokens: &[Option<&str>]) -> (Field, ArrayRef) {
    (json_field(name), Arc::new(StringViewArray::from(tokens.to_vec())))
}

fn typed(name: &str, column: ArrayRef) -> (Field, ArrayRef) {
    (Field::new(name, column.data_type().clone(), true), column)
}

fn ints(name: &str, values: &[Option<i64>]) -> (Field, ArrayRef) {
    typed(name, Arc::new(Int64Array::from(values.to_vec())))
}

fn texts(name: &str, values: &[Option<&str>]) -> (Field, ArrayRef) {
    typed(name, Arc::new(StringViewArray::from(values.to_vec())))
}

fn ops(values: &[u8]) -> (Field, ArrayRef) {
    typed("__op", Arc::new(UInt8Array::from(values.to_vec())))
}

fn rows(columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn upsert(sequenced: bool) -> Write {
    Write::Upsert { key: vec!["id".into()], sequenced, ignore_nulls: false }
}

fn dead(offset: u64, slug: &str, detail: &str) -> (u64, Reason) {
    (offset, Reason::new(slug, detail))
}

#[test]
fn a_new_table_has_the_types_that_lose_nothing() {
    let shop = Shop::new();
    let at = TimestampMicrosecondArray::from(vec![Some(1_763_632_800_000_000), Some(1_763_632_800_500_000)]);
    let total = Decimal128Array::from(vec![950, -1]).with_precision_and_scale(12, 2).unwrap();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2)]),
        texts("customer", &[Some("ada\t\\ \n"), Some("007")]),
        typed("total", Arc::new(total)),
        typed("at", Arc::new(at)),
        typed("paid", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        json_column("any", &[Some(r#""007""#), Some("12345678901234567890.50")]),
    ]);
    for (write, base) in [(upsert(false), 0), (Write::Insert, 2)] {
        assert_eq!(shop.apply(write, base, &batch).dead.len(), if base == 0 { 0 } else { 2 }, "the key is there");
    }
    assert_eq!(
        shop.0.sql(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"
        ),
        [
            "id|bigint|t",
            "customer|text|f",
            "total|numeric(12,2)|f",
            "at|timestamp with time zone|f",
            "paid|boolean|f",
            "any|jsonb|f"
        ]
    );
    assert_eq!(
        shop.0.sql("SELECT id, to_json(customer), total, at, paid, \"any\" FROM orders ORDER BY id"),
        [
            r#"1|"ada\t\\ \n"|9.50|2025-11-20 10:00:00+00|t|"007""#,
            "2|\"007\"|-0.01|2025-11-20 10:00:00.5+00|NULL|12345678901234567890.50",
        ]
    );
}

#[test]
fn new_rows_come_by_copy_with_every_sign_as_it_was() {
    let shop = Shop::new();
    let odd = ["\\N", "\\.", "a\tb", "a\nb\r\n", "\\", "", "ä €", "\u{1}"];
    let batch = rows(vec![texts("note", &odd.map(Some)), ints("n", &[None; 8])]);
    assert_eq!(shop.apply(Write::Insert, 0, &batch), Applied::default());
    let expected: Vec<String> = odd.iter().map(|text| format!("{}|NULL", json!(text))).collect();
    assert_eq!(shop.0.sql("SELECT to_json(note), n FROM orders ORDER BY ctid"), expected);
}

#[test]
fn without_sequence_the_last_row_of_a_key_stays_and_deletes_delete() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2), Some(1), Some(2), None, Some(3)]),
        texts("name", &[Some("a"), Some("b"), Some("c"), None, Some("d"), None]),
        ops(&[0, 0, 1, 2, 0, 2]),
    ]);
    let applied = shop.apply(upsert(false), 10, &batch);
    assert_eq!(applied, Applied { dead: vec![dead(14, "null-key", "id: the key is NULL")], stale: vec![] });
    assert_eq!(shop.0.sql("SELECT * FROM orders"), ["1|c"]);
}

#[test]
fn with_sequence_the_newest_version_stays_whatever_the_order() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(1), Some(1), Some(2), Some(2), Some(2), Some(3)]),
        texts("name", &[Some("new"), Some("old"), Some("again"), None, Some("tie"), Some("newer"), None]),
        ops(&[0, 0, 0, 2, 0, 0, 0]),
        json_column("__sequence", &[Some("5"), Some("4.9"), Some("5.0"), Some("7"), Some("7"), Some("8"), None]),
    ]);
    let applied = shop.apply(upsert(true), 0, &batch);
    let null = dead(6, "null-sequence", "the value to sequence by is NULL");
    assert_eq!(applied, Applied { dead: vec![null], stale: vec![1, 4] });
    assert_eq!(shop.0.sql("SELECT * FROM orders ORDER BY id"), ["1|again", "2|newer"]);
    // What came in another transaction is known too.
    let late = rows(vec![ints("id", &[Some(1)]), texts("name", &[Some("late")]), ints("__sequence", &[Some(4)])]);
    assert_eq!(shop.apply(upsert(true), 7, &late).stale, [7]);
}

/// Where the table keeps `"1"` as 1, an older change that comes as another spelling has to find the version of the newer one.
#[test]
fn what_is_one_row_of_a_table_has_one_version() {
    for (column, keys, kept) in [
        ("integer", ["1", r#""1""#, "1.0", r#""01""#], "1"),
        ("numeric", ["1.5", r#""1.50""#, r#""15e-1""#, "15e-1"], "1.5"),
        ("text", ["7", r#""7""#, "7", r#""7""#], "7"),
        ("char(4)", [r#""a""#, r#""a ""#, r#""a  ""#, r#""a""#], "a   "),
        (
            "timestamptz",
            [
                r#""2026-11-20T10:00:00Z""#,
                r#""2026-11-20 10:00""#,
                r#""2026-11-20T12:00:00+02:00""#,
                r#""2026-11-20T10:00:00.000Z""#,
            ],
            "2026-11-20 10:00:00+00",
        ),
        (
            "uuid",
            [
                r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
                r#""A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11""#,
                r#""{a0eebc999c0b4ef8bb6d6bb9bd380a11}""#,
                r#""a0eebc999c0b4ef8bb6d6bb9bd380a11""#,
            ],
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
    ] {
        let shop = Shop::with(&format!("CREATE TABLE orders (id {column} PRIMARY KEY, name text)"));
        let changes = rows(vec![
            json_column("id", &keys.map(Some)),
            texts("name", &[Some("newest"), Some("old"), Some("older"), Some("oldest")]),
            ints("__sequence", &[Some(4), Some(3), Some(2), Some(1)]),
        ]);
        assert_eq!(shop.apply(upsert(true), 0, &changes).stale, [1, 2, 3], "{column}");
        assert_eq!(shop.0.sql("SELECT * FROM orders"), [format!("{kept}|newest")], "{column}");
    }
}

#[test]
fn a_tombstone_keeps_an_older_change_out_for_seven_days() {
    let shop = Shop::new();
    let change = |op, version: &'static str| {
        rows(vec![
            ints("id", &[Some(1)]),
            texts("name", &[Some("x")]),
            ops(&[op]),
            json_column("__sequence", &[Some(version)]),
        ])
    };
    shop.apply(upsert(true), 0, &change(0, "1"));
    shop.apply(upsert(true), 1, &change(2, "9"));
    assert_eq!(shop.apply(upsert(true), 2, &change(0, "8")).stale, [2]);
    shop.0.sql("UPDATE syncline_versions SET deleted_at = deleted_at - interval '7 days' + interval '1 minute'");
    assert_eq!(shop.apply(upsert(true), 3, &change(0, "8")).stale, [3]);
    shop.0.sql("UPDATE syncline_versions SET deleted_at = deleted_at - interval '2 minutes'");
    assert_eq!(shop.apply(upsert(true), 4, &change(0, "8")), Applied::default());
    assert_eq!(shop.0.sql("SELECT id FROM orders"), ["1"]);
}

#[test]
fn ignored_nulls_keep_what_was_there() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(1)]),
        texts("name", &[Some("a"), None]),
        texts("city", &[None, Some("b")]),
    ]);
    let write = Write::Upsert { key: vec!["id".into()], sequenced: false, ignore_nulls: true };
    shop.apply(write, 0, &batch);
    assert_eq!(shop.0.sql("SELECT * FROM orders"), ["1|a|b"]);
}

fn labels(
    groups: &[i64],
    origins: &[u64],
    labels: &[Option<&str>],
    operations: &[u8],
    versions: &[Option<&str>],
) -> RecordBatch {
    let names: Vec<String> = groups.iter().map(i64::to_string).collect();
    rows(vec![
        ints("issue", &groups.iter().map(|group| Some(*group)).collect::<Vec<_>>()),
        texts("label", labels),
        ops(operations),
        typed("__group", Arc::new(StringViewArray::from_iter_values(&names))),
        typed("__origin", Arc::new(UInt64Array::from(origins.to_vec()))),
        json_column("__sequence", versions),
    ])
}

#[test]
fn replace_leaves_the_rows_of_the_newest_input_of_each_group() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: false };
    let none = [None; 4];
    let four = labels(&[1, 1, 2, 1], &[1, 1, 2, 3], &[Some("a"), Some("b"), Some("c"), Some("d")], &[0; 4], &none);
    assert_eq!(shop.apply(write(), 0, &four), Applied::default());
    assert_eq!(shop.0.sql("SELECT * FROM orders ORDER BY 1, 2"), ["1|d", "2|c"]);
    // The second half of an input comes in another transaction.
    shop.apply(write(), 4, &labels(&[1], &[3], &[Some("e")], &[0], &none[..1]));
    shop.apply(write(), 5, &labels(&[2], &[4], &[None], &[3], &none[..1]));
    assert_eq!(shop.0.sql("SELECT * FROM orders ORDER BY 1, 2"), ["1|d", "1|e"]);
}

#[test]
fn replace_with_sequence_does_not_go_back() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: true };
    let names = [Some("a"), Some("b"), Some("old"), Some("same")];
    let versions = [Some("5"), Some("5"), Some("4"), Some("5")];
    let applied = shop.apply(write(), 0, &labels(&[1; 4], &[1, 1, 2, 3], &names, &[0; 4], &versions));
    assert_eq!(applied, Applied { dead: vec![], stale: vec![2] });
    // An old clear changes nothing, and is not counted: it is no row.
    let old = shop.apply(write(), 4, &labels(&[1], &[4], &[None], &[3], &[Some("4")]));
    assert_eq!(old, Applied::default());
    assert_eq!(shop.0.sql("SELECT * FROM orders"), ["1|same"]);
}

#[test]
fn at_equal_versions_a_delete_empties_the_group_for_good_and_an_input_without_rows_does_not() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: true };
    let change = |base: u64, op: u8, version: &'static str| {
        shop.apply(write(), base, &labels(&[1], &[base], &[Some("a")], &[op], &[Some(version)]))
    };
    let (insert, clear, erase) = (0, 3, 4);
    assert_eq!([change(0, insert, "1"), change(1, erase, "1")], [Applied::default(), Applied::default()]);
    assert_eq!(change(2, insert, "1").stale, [2]);
    assert_eq!(change(3, clear, "1"), Applied::default());
    assert_eq!(change(4, insert, "1").stale, [4]);
    assert_eq!(shop.0.sql("SELECT label FROM orders"), [""; 0]);
    assert_eq!([change(5, clear, "2"), change(6, insert, "2")], [Applied::default(), Applied::default()]);
    assert_eq!(shop.0.sql("SELECT label FROM orders"), ["a"]);
}

#[test]
fn a_replaced_writer_and_another_folder_are_refused_and_a_fresh_start_is_not() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let (mut old, mut new) = (shop.sink(Write::Insert, &batch), shop.sink(Write::Insert, &batch));
    old.open(&stream("log", 1)).unwrap();
    new.open(&stream("log", 2)).unwrap();
    let refused = old.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap_err().to_string();
    assert!(
        refused.ends_with("`p` was started again elsewhere (start 2, and this is 1); that one writes now"),
        "{refused}"
    );
    assert!(matches!(new.open(&stream("other", 3)), Err(SinkError::Foreign(_))));
    new.clear(&stream("other", 3)).unwrap();
    assert_eq!(new.open(&stream("other", 3)), Ok(Some(Delivered::default())));
}

/// The answer to a commit is lost in both ways: before it counts, and after.
#[test]
fn the_next_start_is_told_what_became_of_a_commit() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let position = |next| Delivered { next, ..Delivered::default() };
    let mut sink = shop.sink(Write::Insert, &batch);
    for (next, committed) in [(0, false), (0, true), (1, false)] {
        assert_eq!(sink.open(&stream("log", 1)), Ok(Some(position(next))));
        sink.apply(&[OutboxRows { base: next, rows: batch.clone() }]).unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        if committed {
            sink.commit(&position(1)).unwrap();
            shop.0.sql(end);
        } else {
            shop.0.sql(end);
            let said = sink.commit(&position(next + 1));
            assert!(matches!(said, Err(SinkError::Reconnect(_))), "{said:?}");
        }
    }
    assert_eq!(shop.0.sql("SELECT id FROM orders"), ["1"]);
}

/// One input after the other, whether groups can meet or not, and in either way the same is left.
#[test]
fn many_inputs_of_many_groups_leave_what_they_would_leave_one_by_one() {
    let groups = [1, 1, 2, 1, 3, 2, 2, 3];
    let origins = [1, 1, 2, 3, 4, 5, 5, 6];
    let names = ["a", "b", "c", "d", "e", "bad", "g", ""].map(Some);
    let batch = labels(&groups, &origins, &names, &[0, 0, 0, 0, 0, 0, 0, 3], &[None; 8]);
    for more in ["", ", UNIQUE (issue, label)", ", UNIQUE (label)"] {
        let shop = Shop::with(&format!("CREATE TABLE orders (issue bigint, label text CHECK (label <> 'bad'){more})"));
        let write = Write::Replace { per: vec!["issue".into()], sequenced: false };
        let applied = shop.apply(write, 0, &batch);
        assert_eq!(applied.dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [5], "{more}");
        assert_eq!(shop.0.sql("SELECT * FROM orders ORDER BY 1, 2"), ["1|d", "2|g"], "{more}");
    }
}
