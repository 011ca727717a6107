//! Typed values where Arrow's rules are not those of SQL: casts between numbers, bytes as text, zones of time, sizes that a row asks for.

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, TimeUnit},
};

use super::expressions::{batch, typed, typed_batch, values};

fn column(data_type: DataType, tokens: &[&str]) -> RecordBatch {
    let records: Vec<String> = tokens.iter().map(|token| format!("{{\"v\": {token}}}")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    typed_batch(&records, &[Field::new("v", data_type, true)])
}

/// A fraction was cut off, and 2.5 became 2, where a cast to `DECIMAL(10, 0)` says 3.
#[test]
fn a_number_with_a_fraction_becomes_the_nearest_integer() {
    let decimals = column(DataType::Decimal128(10, 3), &["2.5", "-2.5", "2.499", "1234567.891", "null"]);
    assert_eq!(values("CAST(v AS BIGINT)", &decimals), ["3", "-3", "2", "1234568", "null"]);
    assert_eq!(values("CAST(v AS DECIMAL(10, 0))", &decimals), ["3", "-3", "2", "1234568", "null"]);
    let small = values("CAST(v AS TINYINT)", &decimals);
    assert_eq!(small, ["3", "-3", "2", "cast: v: `1234567.891` is not a TINYINT", "null"]);
    assert_eq!(values("TRY_CAST(v AS TINYINT)", &decimals), ["3", "-3", "2", "null", "null"]);
    let floats = column(DataType::Float64, &["2.5", "3.5", "-2.7", "1e300", "\"NaN\""]);
    let bad = |token: &str| format!("cast: v: `{token}` is not a BIGINT");
    assert_eq!(values("CAST(v AS BIGINT)", &floats), ["2", "4", "-3", &bad("1e300"), &bad("\"NaN\"")]);
}

#[test]
fn a_double_beyond_real_is_no_infinite_real() {
    let floats = column(DataType::Float64, &["0.5", "1e300", "\"Infinity\"", "null"]);
    let bad = "cast: v: `1e300` is not a REAL";
    assert_eq!(values("CAST(v AS REAL)", &floats), ["0.5", bad, "\"Infinity\"", "null"]);
}

/// One that is no text killed all rows of its batch.
#[test]
fn bytes_that_are_no_text_fail_their_own_row() {
    let bytes = column(DataType::Binary, &["\"YWJj\"", "\"AP8=\"", "\"YWI=\""]);
    let bad = "cast: v: `\"AP8=\"` is not a STRING";
    assert_eq!(values("CAST(v AS STRING)", &bytes), ["\"abc\"", bad, "\"ab\""]);
    assert_eq!(values("TRY_CAST(v AS STRING)", &bytes), ["\"abc\"", "null", "\"ab\""]);
    let like = values("v LIKE 'a%'", &bytes);
    assert_eq!((&like[0][..], &like[2][..]), ("true", "true"), "{like:?}");
}

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The instant was read as the time on a clock of the zone: two hours off, and dead in the hour that summer time skips.
#[test]
fn a_zone_changes_the_clock_and_not_the_instant() {
    // Berlin: 04:30 on the day when summer time begins, 02:30 of the second time on the day when it ends, half past midnight.
    let instants = ["\"2026-03-29T02:30:00Z\"", "\"2026-10-25T01:30:00Z\"", "\"2026-10-24T22:30:00.000001Z\""];
    let rows = column(INSTANT, &instants);
    for (sql, expected) in [
        ("v AT TIME ZONE 'Europe/Berlin'", instants),
        ("date_part('hour', v AT TIME ZONE 'Europe/Berlin')", ["4", "2", "0"]),
        ("CAST(v AT TIME ZONE 'Europe/Berlin' AS DATE)", ["\"2026-03-29\"", "\"2026-10-25\"", "\"2026-10-25\""]),
        (
            "date_trunc('day', v AT TIME ZONE 'Europe/Berlin')",
            ["\"2026-03-28T23:00:00Z\"", "\"2026-10-24T22:00:00Z\"", "\"2026-10-24T22:00:00Z\""],
        ),
        ("to_char(v AT TIME ZONE '+02:00', '%H:%M')", ["\"04:30\"", "\"03:30\"", "\"00:30\""]),
        ("v = v AT TIME ZONE 'Europe/Berlin'", ["true"; 3]),
        ("v AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'UTC' = v", ["true"; 3]),
        ("coalesce(v AT TIME ZONE 'Europe/Berlin', v)", instants),
        ("CASE WHEN true THEN v ELSE v AT TIME ZONE 'Europe/Berlin' END", instants),
        ("v AT TIME ZONE 'Europe/Berlin' > '2026-10-25T01:00:00Z'", ["false", "true", "false"]),
    ] {
        assert_eq!(values(sql, &rows), expected, "{sql}");
    }
    let open = batch(&[r#"{"at": "2026-03-29T02:30:00Z"}"#, r#"{"at": "x"}"#, "{}"], &["at"]);
    let hours = values("date_part('hour', at AT TIME ZONE 'Europe/Berlin')", &open);
    assert_eq!(hours, ["4", "cast: at: `\"x\"` is not a TIMESTAMP", "null"]);
    let error = typed("v AT TIME ZONE 'Europe/Berlim'", &rows.schema()).unwrap_err().to_string();
    assert_eq!(error, "there is no time zone Europe/Berlim; they are called as in 'Europe/Berlin', or '+02:00'");
}

/// One such record ended the process, and again after every restart.
#[test]
fn a_row_that_asks_for_too_much_memory_fails_alone() {
    let rows = column(DataType::Int64, &["3", "9223372036854775807", "-1", "null", "1048577"]);
    let refused = |name: &str, what: &str, most: u32| {
        format!("expression: {name}: {what} cannot be made of a row; at most {most} can")
    };
    let text = |name: &str, size: &str| refused(name, &format!("a text of {size} characters"), 1_048_576);
    let list = |name: &str, size: &str| refused(name, &format!("a list of {size} elements"), 100_000);
    let (huge, large) = ("9223372036854775808", "1048577");
    for (sql, name, good) in [
        ("repeat('x', v)", "repeat", "\"xxx\""),
        ("lpad('x', v, 'y')", "lpad", "\"yyx\""),
        ("rpad('x', v)", "rpad", "\"x  \""),
    ] {
        let expected = [good.to_owned(), text(name, huge), "\"\"".to_owned(), "null".to_owned(), text(name, large)];
        assert_eq!(values(sql, &rows), expected, "{sql}");
    }
    for (sql, name) in [("array_repeat(0, v)", "array_repeat"), ("range(0, v)", "range"), ("range(v)", "range")] {
        let made = values(sql, &rows);
        assert_eq!((&made[1], &made[4]), (&list(name, huge), &list(name, large)), "{sql}");
        assert!(made[0].starts_with('['), "{sql}: {}", made[0]);
    }
    let constant = typed("repeat('x', 99999999999)", &rows.schema()).unwrap_err().to_string();
    assert!(constant.contains("a text of 99999999999 characters cannot be made"), "{constant}");
}

/// There is no way down from the smallest number: the pipeline failed, where such arithmetic is checked.
#[test]
fn an_element_is_looked_for_from_any_number_on() {
    let rows = column(DataType::Int64, &["1", "3", "-9223372036854775808", "null"]);
    let found = values("array_position([5, 6, 5], 5, v)", &rows);
    let refused = "expression: array_position: no element has the number -9223372036854775808";
    assert_eq!((&found[..2], &found[2][..]), (&["1".to_owned(), "3".to_owned()][..], refused), "{found:?}");
}

/// It was cut off: 2.0 / 3 was 0.66666, and a dividend of many digits had no quotient.
#[test]
fn a_quotient_of_decimals_has_four_digits_more_than_its_dividend_and_the_last_is_rounded() {
    let rows = column(DataType::Decimal128(20, 1), &["2.0", "-2.0", "1.0", "9999999999999999999.9", "0.0", "null"]);
    let zero = "division-by-zero: division by zero";
    for (sql, expected) in [
        ("v / 3", ["0.66667", "-0.66667", "0.33333", "3333333333333333333.30000", "0.00000", "null"]),
        (
            "v / CAST(3 AS DECIMAL(3, 2))",
            ["0.66667", "-0.66667", "0.33333", "3333333333333333333.30000", "0.00000", "null"],
        ),
        ("1 / v", ["0.5000", "-0.5000", "1.0000", "0.0000", zero, "null"]),
        ("v / v", ["1.00000", "1.00000", "1.00000", "1.00000", zero, "null"]),
        ("v / 0", [zero, zero, zero, zero, zero, "null"]),
    ] {
        assert_eq!(values(sql, &rows), expected, "{sql}");
    }
    let whole = column(DataType::Int64, &["7", "-7"]);
    assert_eq!(values("v / 2", &whole), ["3", "-3"]);
    assert_eq!(values("v / 2.0", &whole), ["3.5000", "-3.5000"]);
}

/// `10 / n` had four digits, `n / m` none from 1.7e14 on.
#[test]
fn a_quotient_with_json_has_ten_digits_on_either_side() {
    let rows = batch(&[r#"{"n": 7}"#, r#"{"n": "-1e15"}"#, r#"{"n": 0}"#, r#"{"n": 0.75}"#], &["n"]);
    let zero = "division-by-zero: division by zero";
    for (sql, expected) in [
        ("10 / n", ["1.4285714286", "0", zero, "13.3333333333"]),
        ("n / 3", ["2.3333333333", "-333333333333333.3333333333", "0", "0.25"]),
        ("n / n", ["1", "1", zero, "1"]),
        ("1.5 / n * 2", ["0.4285714286", "0", zero, "4"]),
        ("n / CAST(4 AS DECIMAL(5, 2))", ["1.75", "-250000000000000", "0", "0.1875"]),
    ] {
        assert_eq!(values(sql, &rows), expected, "{sql}");
    }
}

/// `CAST(1767225600 AS TIMESTAMP)` was half an hour past midnight in 1970.
#[test]
fn a_number_is_no_instant_until_its_unit_is_said() {
    let rows = column(DataType::Int64, &["1767225600"]);
    let why = |sql: &str| typed(sql, &rows.schema()).unwrap_err().to_string();
    let unit = "until its unit is known: to_timestamp_seconds(…), to_timestamp_millis(…) or to_timestamp_micros(…)";
    assert_eq!(why("CAST(v AS TIMESTAMP)"), format!("a number is no TIMESTAMP {unit}"));
    assert_eq!(why("TRY_CAST(v * 1.5 AS DATE)"), format!("a number is no DATE {unit}"));
    assert_eq!(why("v AT TIME ZONE 'UTC'"), format!("a number is no TIMESTAMP {unit}"));
    assert_eq!(why("CAST(v > 1 AS TIMESTAMP)"), "BOOLEAN has no cast to TIMESTAMP");
    assert_eq!(values("CAST(to_timestamp_seconds(v) AS TIMESTAMP)", &rows), ["\"2026-01-01T00:00:00Z\""]);
}
