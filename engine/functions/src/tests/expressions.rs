//! JSON values take the type that their place asks for.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::Buffer,
    datatypes::{Field, Schema},
};
use datafusion::common::DFSchema;

use crate::*;

/// Records as a batch: JSON columns of the given names.
pub fn batch(records: &[&str], columns: &[&str]) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|name| json_field(name)).collect();
    typed_batch(records, &fields)
}

pub fn typed_batch(records: &[&str], fields: &[Field]) -> RecordBatch {
    let (mut payload, mut spans) = (Vec::new(), Vec::new());
    for record in records {
        let start = payload.len() as u32;
        payload.extend_from_slice(record.as_bytes());
        spans.push((start, payload.len() as u32));
        payload.push(b'\n');
    }
    let decoded = Decoder::new(fields, Unknown::Ignore).decode(&Buffer::from_vec(payload), &spans);
    assert_eq!(decoded.bad, [], "the records of a test are good");
    let fields: Vec<Field> = fields.iter().map(|field| field.clone().with_nullable(true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), decoded.columns).unwrap()
}

pub fn typed(sql: &str, schema: &Schema) -> Result<Typed, ExprError> {
    let planner = Planner::new();
    let scope = DFSchema::try_from(schema.clone()).unwrap();
    planner.expr(&planner.parse(sql)?, &scope)
}

/// The value of `sql` on each row, as a token, or why the row is dead.
pub fn values(sql: &str, rows: &RecordBatch) -> Vec<String> {
    let typed = typed(sql, &rows.schema()).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let projection = Projection::new(&Planner::new(), vec![("x".to_owned(), typed)], &rows.schema()).unwrap();
    let projected = projection.apply(rows);
    let column: ArrayRef = projected.rows.column(0).clone();
    let mut values: Vec<String> = (0..rows.num_rows())
        .map(|row| {
            let mut out = Vec::new();
            token_of(&column, projection.schema().field(0), row, &mut out);
            String::from_utf8(out).unwrap()
        })
        .collect();
    for failure in projected.failed {
        let value = &mut values[failure.row as usize];
        assert_eq!(value, "null", "a failed row is NULL");
        *value = format!("{}: {}", failure.reason.slug, failure.reason.detail);
    }
    values
}

/// Rows that `sql` keeps, and the failures.
pub fn kept(sql: &str, rows: &RecordBatch) -> (Vec<usize>, Vec<(u32, String)>) {
    let typed = typed(sql, &rows.schema()).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let verdict = Predicate::new(&Planner::new(), typed, &rows.schema()).unwrap().judge(rows);
    let kept: Vec<usize> = (0..rows.num_rows()).filter(|row| verdict.keep.value(*row)).collect();
    assert_eq!(verdict.keep.values().count_set_bits() + verdict.failed.len() + verdict.not_true, rows.num_rows());
    (kept, verdict.failed.into_iter().map(|failure| (failure.row, failure.reason.detail)).collect())
}

const RECORDS: [&str; 5] = [
    r#"{"id": 1, "type": "order.created", "customer": "Ada \"L\" É", "total": "9.50", "age": 18.5, "user":{"login":"ada-the-long-name-here","id":7, "x":null}, "created_at":"2026-11-20T10:00:00Z", "labels":[{"name":"bug"},{"name":"ui"}], "paid": true}"#,
    r#"{"id": "1", "type": "order.created", "customer": "Bob", "total": 12345678901234567.89, "age": 90071992547409931234, "user":{"login":"bob"}, "created_at":"2026-11-20T11:30:00+01:00", "paid": false}"#,
    r#"{"id": 1.0, "type": "order.created", "customer": null, "total": "abc", "age": 7, "paid": null}"#,
    r#"{"id": 2, "type": 5, "total": "0.005", "age": "old", "user": 3, "paid": "true"}"#,
    r#"{"id": 3, "type": "order.created", "customer":"Zoë", "age": "41", "total": 1e2, "created_at":"nope", "paid": 1}"#,
];
const COLUMNS: [&str; 9] = ["id", "type", "customer", "total", "age", "user", "created_at", "labels", "paid"];

fn records() -> RecordBatch {
    batch(&RECORDS, &COLUMNS)
}

/// One line per expression: what each of the five records gives.
fn table(lines: &[(&str, [&str; 5])]) {
    let rows = records();
    for (sql, wanted) in lines {
        assert_eq!(values(sql, &rows), *wanted, "{sql}");
    }
}

#[test]
fn a_cast_takes_numbers_and_numeric_text_exactly() {
    table(&[
        (
            "CAST(total AS DECIMAL(12, 2))",
            [
                "9.50",
                "cast: total: `12345678901234567.89` is not a DECIMAL(12, 2)",
                "cast: total: `\"abc\"` is not a DECIMAL(12, 2)",
                "0.01",
                "100.00",
            ],
        ),
        ("TRY_CAST(total AS DECIMAL(12, 2))", ["9.50", "null", "null", "0.01", "100.00"]),
        (
            "CAST(total AS DECIMAL(38, 2))",
            ["9.50", "12345678901234567.89", "cast: total: `\"abc\"` is not a DECIMAL(38, 2)", "0.01", "100.00"],
        ),
        (
            "CAST(age AS BIGINT)",
            [
                "cast: age: `18.5` is not a BIGINT",
                "cast: age: `90071992547409931234` is not a BIGINT",
                "7",
                "cast: age: `\"old\"` is not a BIGINT",
                "41",
            ],
        ),
        ("TRY_CAST(age AS DOUBLE)", ["18.5", "9.007199254740994e19", "7", "null", "41"]),
        ("TRY_CAST(paid AS BOOLEAN)", ["true", "false", "null", "true", "null"]),
        (
            "CAST(user AS STRING)",
            [
                "\"{\\\"login\\\":\\\"ada-the-long-name-here\\\",\\\"id\\\":7, \\\"x\\\":null}\"",
                "\"{\\\"login\\\":\\\"bob\\\"}\"",
                "null",
                "\"3\"",
                "null",
            ],
        ),
        ("CAST(customer AS JSON)", ["\"Ada \\\"L\\\" É\"", "\"Bob\"", "null", "null", "\"Zoë\""]),
        (
            "CAST(created_at AS TIMESTAMP)",
            [
                "\"2026-11-20T10:00:00Z\"",
                "\"2026-11-20T10:30:00Z\"",
                "null",
                "null",
                "cast: created_at: `\"nope\"` is not a TIMESTAMP",
            ],
        ),
        (
            "CAST(CAST(created_at AS STRING) AS TIMESTAMP)",
            ["\"2026-11-20T10:00:00Z\"", "\"2026-11-20T10:30:00Z\"", "null", "null", "cast: `nope` is not a TIMESTAMP"],
        ),
    ]);
}

#[test]
fn comparisons_are_between_values() {
    table(&[
        ("type = 'order.created'", ["true", "true", "true", "false", "true"]),
        ("type = '5'", ["false", "false", "false", "true", "false"]),
        ("age > 18", ["true", "true", "false", "cast: age: `\"old\"` is not a number", "true"]),
        ("18 < age", ["true", "true", "false", "cast: age: `\"old\"` is not a number", "true"]),
        ("age > 90071992547409931233", ["false", "true", "false", "cast: age: `\"old\"` is not a number", "false"]),
        ("age = 18.50", ["true", "false", "false", "cast: age: `\"old\"` is not a number", "false"]),
        ("age BETWEEN 7 AND 18.5", ["true", "false", "true", "cast: age: `\"old\"` is not a number", "false"]),
        ("age NOT BETWEEN 7 AND 18.5", ["false", "true", "false", "cast: age: `\"old\"` is not a number", "true"]),
        ("age IN (7, 41)", ["false", "false", "true", "cast: age: `\"old\"` is not a number", "true"]),
        ("type IN ('order.created', 'x')", ["true", "true", "true", "false", "true"]),
        ("type NOT IN ('order.created', 'x')", ["false", "false", "false", "true", "false"]),
        ("id = id", ["true", "true", "true", "true", "true"]),
        ("id = age", ["false", "false", "false", "false", "false"]),
        ("age IS DISTINCT FROM 7", ["true", "true", "false", "cast: age: `\"old\"` is not a number", "true"]),
        ("customer IS NULL", ["false", "false", "true", "true", "false"]),
        ("user IS NOT NULL", ["true", "true", "false", "true", "false"]),
        ("customer LIKE '%\"%'", ["true", "false", "null", "null", "false"]),
        ("customer ~ '^B'", ["false", "true", "null", "null", "false"]),
        (
            "created_at > TIMESTAMP '2026-11-20 10:15:00'",
            ["false", "true", "null", "null", "cast: created_at: `\"nope\"` is not a TIMESTAMP"],
        ),
        ("NOT (age > 8)", ["false", "false", "true", "cast: age: `\"old\"` is not a number", "false"]),
        ("paid AND age IS NOT NULL", ["true", "false", "null", "true", "cast: paid: `1` is not a BOOLEAN"]),
        (
            "CASE WHEN paid THEN 'yes' ELSE 'no' END",
            ["\"yes\"", "\"no\"", "\"no\"", "\"yes\"", "cast: paid: `1` is not a BOOLEAN"],
        ),
        ("paid IS NOT TRUE", ["false", "true", "true", "false", "cast: paid: `1` is not a BOOLEAN"]),
        ("paid", ["true", "false", "null", "\"true\"", "1"]),
        ("NOT paid", ["false", "true", "null", "false", "cast: paid: `1` is not a BOOLEAN"]),
    ]);
}

#[test]
fn arithmetic_is_decimal_and_exact() {
    let old = "cast: age: `\"old\"` is not a number";
    table(&[
        ("age * 2", ["37", "180143985094819862468", "14", old, "82"]),
        ("-age", ["-18.5", "-90071992547409931234", "-7", old, "-41"]),
        ("age + id", ["19.5", "90071992547409931235", "8", old, "44"]),
        ("age / 2", ["9.25", "45035996273704965617", "3.5", old, "20.5"]),
        ("age % 2", ["0.5", "0", "1", old, "1"]),
        ("id / 0", ["division-by-zero: division by zero"; 5]),
        (
            "CAST(created_at AS TIMESTAMP) - INTERVAL '1 hour'",
            [
                "\"2026-11-20T09:00:00Z\"",
                "\"2026-11-20T09:30:00Z\"",
                "null",
                "null",
                "cast: created_at: `\"nope\"` is not a TIMESTAMP",
            ],
        ),
        (
            "created_at - INTERVAL '1 hour'",
            [
                "\"2026-11-20T09:00:00Z\"",
                "\"2026-11-20T09:30:00Z\"",
                "null",
                "null",
                "cast: created_at: `\"nope\"` is not a TIMESTAMP",
            ],
        ),
    ]);
}

#[test]
fn functions_take_the_type_that_they_want() {
    let old = "cast: age: `\"old\"` is not a number";
    table(&[
        ("lower(customer)", ["\"ada \\\"l\\\" é\"", "\"bob\"", "null", "null", "\"zoë\""]),
        ("length(customer)", ["9", "3", "null", "null", "3"]),
        ("abs(age)", ["18.5", "90071992547409931234", "7", old, "41"]),
        ("customer || '!' || id", ["\"Ada \\\"L\\\" É!1\"", "\"Bob!1\"", "null", "null", "\"Zoë!3\""]),
        ("concat(customer, id)", ["\"Ada \\\"L\\\" É1\"", "\"Bob1\"", "\"1.0\"", "\"2\"", "\"Zoë3\""]),
        ("substr(created_at, 1, 10)", ["\"2026-11-20\"", "\"2026-11-20\"", "null", "null", "\"nope\""]),
        (
            "date_trunc('hour', created_at)",
            [
                "\"2026-11-20T10:00:00Z\"",
                "\"2026-11-20T10:00:00Z\"",
                "null",
                "null",
                "cast: created_at: `\"nope\"` is not a TIMESTAMP",
            ],
        ),
        (
            "EXTRACT(hour FROM created_at)",
            ["10", "10", "null", "null", "cast: created_at: `\"nope\"` is not a TIMESTAMP"],
        ),
        ("user['login']", ["\"ada-the-long-name-here\"", "\"bob\"", "null", "null", "null"]),
        ("user['id'] = 7", ["true", "null", "null", "null", "null"]),
        ("user['x'] IS NULL", ["true", "true", "true", "true", "true"]),
        ("labels[0]['name']", ["\"bug\"", "null", "null", "null", "null"]),
        ("labels[-1]['name'] = 'ui'", ["true", "null", "null", "null", "null"]),
        ("upper(user['login'])", ["\"ADA-THE-LONG-NAME-HERE\"", "\"BOB\"", "null", "null", "null"]),
    ]);
}

#[test]
fn choices_have_the_type_of_the_typed_branch() {
    let old = "cast: age: `\"old\"` is not a number";
    table(&[
        ("coalesce(age, 0)", ["18.5", "90071992547409931234", "7", old, "41"]),
        ("coalesce(customer, type)", ["\"Ada \\\"L\\\" É\"", "\"Bob\"", "\"order.created\"", "5", "\"Zoë\""]),
        ("coalesce(customer, 'nobody')", ["\"Ada \\\"L\\\" É\"", "\"Bob\"", "\"nobody\"", "\"nobody\"", "\"Zoë\""]),
        ("CASE WHEN id = 1 THEN age ELSE total END", ["18.5", "90071992547409931234", "7", "\"0.005\"", "1e2"]),
        ("CASE id WHEN 1 THEN 'one' WHEN 2 THEN 'two' END", ["\"one\"", "\"one\"", "\"one\"", "\"two\"", "null"]),
        ("nullif(id, 1)", ["null", "null", "null", "2", "3"]),
        ("greatest(TRY_CAST(age AS BIGINT), 20)", ["20", "20", "20", "20", "41"]),
        ("greatest(age, 20)", ["20", "90071992547409931234", "20", old, "41"]),
        ("CASE WHEN paid IS NULL THEN 1 ELSE age END", ["18.5", "90071992547409931234", "1", old, "41"]),
    ]);
}

#[test]
fn the_tag_stays_where_the_value_is_json() {
    let schema = records().schema();
    for (sql, is) in [
        ("id", true),
        ("user['login']", true),
        ("CASE WHEN id = 1 THEN age ELSE total END", true),
        ("coalesce(age, total)", true),
        ("lower(type)", false),
        ("CAST(id AS JSON)", true),
        ("CAST(1 AS JSON)", true),
        ("CAST('[1]' AS JSON)", true),
        ("age + 1", false),
    ] {
        assert_eq!(is_json(typed(sql, &schema).unwrap().field()), is, "{sql}");
    }
}

#[test]
fn names_of_results_are_the_columns_or_the_text() {
    let schema = records().schema();
    for (sql, name, columns) in [
        ("id", "id", vec!["id"]),
        ("user", "user", vec!["user"]),
        ("user['login']", "user['login']", vec!["user"]),
        ("lower(type)  ||   customer", "lower(type) || customer", vec!["type", "customer"]),
        ("1 + 1", "1 + 1", vec![]),
        ("coalesce(age, age, id)", "coalesce(age, age, id)", vec!["age", "id"]),
    ] {
        let typed = typed(sql, &schema).unwrap();
        assert_eq!(
            (typed.field().name().as_str(), typed.columns()),
            (name, columns.iter().map(|c| c.to_string()).collect()),
            "{sql}"
        );
    }
}

#[test]
fn an_alias_before_a_name_is_no_obstacle() {
    let rows = records();
    let planner = Planner::new();
    let scope = DFSchema::try_from_qualified_schema("t", &rows.schema()).unwrap();
    for (sql, wanted) in [
        ("t.user['login'] = 'bob'", vec![1]),
        ("t.user.login = 'bob'", vec![1]),
        ("user.login = 'bob'", vec![1]),
        ("user['login'] = 'bob'", vec![1]),
        ("t.id = 1", vec![0, 1, 2]),
    ] {
        let typed = planner.expr(&planner.parse(sql).unwrap(), &scope).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let verdict = Predicate::new(&planner, typed, &rows.schema()).unwrap().judge(&rows);
        let kept: Vec<usize> = (0..5).filter(|row| verdict.keep.value(*row)).collect();
        assert_eq!(kept, wanted, "{sql}");
    }
}

#[test]
fn whole_numbers_and_decimals_beyond_64_bits_are_exact_or_dead() {
    let rows = batch(
        &[
            r#"{"n": 9223372036854775807}"#,
            r#"{"n": 9223372036854775808}"#,
            r#"{"n": 123456789012345678901234567890}"#,
            r#"{"n": 1e400}"#,
            r#"{"n": -0}"#,
            r#"{"n": 1e-400}"#,
        ],
        &["n"],
    );
    let dead = |token: &str, to: &str| format!("cast: n: `{token}` is not a {to}");
    assert_eq!(
        values("CAST(n AS BIGINT)", &rows),
        [
            "9223372036854775807",
            &dead("9223372036854775808", "BIGINT"),
            &dead("123456789012345678901234567890", "BIGINT"),
            &dead("1e400", "BIGINT"),
            "0",
            &dead("1e-400", "BIGINT")
        ]
    );
    assert_eq!(values("CAST(n AS BIGINT UNSIGNED)", &rows)[..2], ["9223372036854775807", "9223372036854775808"]);
    assert_eq!(
        values("CAST(n AS DECIMAL(38, 0))", &rows),
        [
            "9223372036854775807",
            "9223372036854775808",
            "123456789012345678901234567890",
            &dead("1e400", "DECIMAL(38, 0)"),
            "0",
            "0"
        ]
    );
    assert_eq!(values("CAST(n AS DOUBLE)", &rows)[3], dead("1e400", "DOUBLE"));
    assert_eq!(values("n > 5", &rows), ["true", "true", "true", "true", "false", "false"]);
    assert_eq!(values("n", &rows)[2..4], ["123456789012345678901234567890", "1e400"]);
}

#[test]
fn arithmetic_never_rounds_what_it_is_given() {
    let rows = batch(
        &[r#"{"n": 0.0000000001}"#, r#"{"n": 0.00000000001}"#, r#"{"n": 1e27}"#, r#"{"n": 1e28}"#, r#"{"n": "1e-3"}"#],
        &["n"],
    );
    let digits = |token: &str| {
        format!("overflow: n: `{token}` has more digits than DECIMAL(38, 10): CAST(… AS DOUBLE) takes it")
    };
    assert_eq!(
        values("n + 0", &rows),
        ["0.0000000001", &digits("0.00000000001"), "1000000000000000000000000000", &digits("1e28"), "0.001"]
    );
    assert_eq!(values("CAST(n AS DECIMAL(12, 2))", &rows)[..2], ["0.00", "0.00"]);
    assert_eq!(values("n IS DISTINCT FROM 0", &rows)[1], "true");
}

#[test]
fn what_is_made_of_json_is_json() {
    let rows = batch(&[r#"{"a": 1.0, "b": "x"}"#, r#"{"b": {"c": []}}"#], &["a", "b"]);
    for (sql, wanted) in [
        ("make_array(a, b)", ["[1.0,\"x\"]", "[null,{\"c\": []}]"]),
        ("[a, 2]", ["[1.0,2]", "[null,2]"]),
        ("named_struct('n', a, 'm', upper('y'))", ["{\"n\":1.0,\"m\":\"Y\"}", "{\"n\":null,\"m\":\"Y\"}"]),
        ("struct(b)", ["{\"c0\":\"x\"}", "{\"c0\":{\"c\": []}}"]),
        ("make_array(a, b)[0] = 1", ["true", "null"]),
        ("nvl2(a, 1, 2)", ["1", "2"]),
        ("nvl2(a, b, 'none')", ["\"x\"", "\"none\""]),
        ("+a", ["1.0", "null"]),
        ("make_array(1, 2)", ["[1,2]", "[1,2]"]),
    ] {
        assert_eq!(values(sql, &rows), wanted, "{sql}");
    }
}

#[test]
fn other_types_are_read_from_text_only() {
    let rows = batch(&[r#"{"v": "10:30:00"}"#, r#"{"v": 1}"#, r#"{"v": "1"}"#, r#"{"v": "é"}"#], &["v"]);
    let time = |token: &str| format!("cast: v: `{token}` is not a TIME");
    assert_eq!(values("CAST(v AS TIME)", &rows), ["\"10:30:00\"", &time("1"), &time("\"1\""), &time("\"é\"")]);
    for bytes in ["BYTES", "BYTEA"] {
        assert_eq!(values(&format!("CAST(v AS {bytes})"), &rows)[3], "\"w6k=\"");
    }
    assert_eq!(values("CAST(v AS DATE)", &rows)[1], "cast: v: `1` is not a DATE");
    assert_eq!(values("CAST(v AS TIMESTAMP)", &rows)[1], "cast: v: `1` is not a TIMESTAMP");
}
