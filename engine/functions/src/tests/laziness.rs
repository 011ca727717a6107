//! A row that fails, fails alone; a branch that is not taken fails none, whatever batch it is in.

use arrow::datatypes::{DataType, Field};

use super::expressions::{batch, kept, typed_batch, values};

/// `paid` of the first rows is true, of the rest false; every unpaid amount and the first paid one are bad.
fn orders(paid: usize, of: usize) -> Vec<String> {
    (0..of)
        .map(|row| {
            let amount = if row == 0 || row >= paid { "\"bad\"".to_owned() } else { row.to_string() };
            format!(r#"{{"status": "{}", "amount": {amount}}}"#, if row < paid { "paid" } else { "open" })
        })
        .collect()
}

#[test]
fn what_and_leaves_undecided_does_not_depend_on_the_batch() {
    for paid in [1, 2, 5, 9, 10] {
        let records = orders(paid, 10);
        let rows = batch(&records.iter().map(String::as_str).collect::<Vec<_>>(), &["status", "amount"]);
        for sql in [
            "status = 'paid' AND CAST(amount AS DECIMAL(12, 2)) >= 0",
            "NOT (status <> 'paid' OR CAST(amount AS DECIMAL(12, 2)) < 0)",
            "CASE WHEN status = 'paid' THEN CAST(amount AS DECIMAL(12, 2)) >= 0 ELSE false END",
            "CASE WHEN status <> 'paid' THEN false ELSE amount >= 0 END",
            "coalesce(CASE WHEN status = 'paid' THEN 1 END, CAST(amount AS BIGINT) * 0) = 1 AND amount >= 0",
        ] {
            let (kept, failed) = kept(sql, &rows);
            let unpaid_cast = sql.starts_with("coalesce");
            let dead: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
            let wanted: Vec<u32> = if unpaid_cast { [0].into_iter().chain(paid as u32..10).collect() } else { vec![0] };
            assert_eq!((kept, dead), ((1..paid).collect(), wanted), "{sql}, {paid} of 10");
        }
    }
}

#[test]
fn a_row_of_its_own_gives_what_it_gives_in_a_batch() {
    let records = orders(3, 8);
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let rows = batch(&records, &["status", "amount"]);
    for sql in [
        "CASE WHEN status = 'paid' THEN CAST(amount AS BIGINT) ELSE 0 END",
        "CAST(amount AS BIGINT) + 1",
        "100 / CAST(amount AS BIGINT)",
        "CASE WHEN status = 'paid' AND CAST(amount AS BIGINT) > 1 THEN 100 / (CAST(amount AS BIGINT) - 2) ELSE -1 END",
        "coalesce(TRY_CAST(amount AS BIGINT), 7)",
        "TRY_CAST(amount AS BIGINT) > 1 OR CAST(amount AS BIGINT) = 1",
    ] {
        let together = values(sql, &rows);
        let alone: Vec<String> =
            records.iter().flat_map(|record| values(sql, &batch(&[record], &["status", "amount"]))).collect();
        assert_eq!(together, alone, "{sql}");
    }
}

#[test]
fn integers_overflow_as_failed_rows() {
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    let rows = typed_batch(
        &[
            r#"{"a": 9223372036854775807, "b": 1}"#,
            r#"{"a": 1, "b": 0}"#,
            r#"{"a": -9223372036854775808, "b": -1}"#,
            r#"{"a": 6, "b": 3}"#,
            r#"{"a": null, "b": 0}"#,
        ],
        &[field("a"), field("b")],
    );
    let overflow = "overflow: does not fit a BIGINT";
    let zero = "division-by-zero: division by zero";
    assert_eq!(values("a + b", &rows), [overflow, "1", overflow, "9", "null"]);
    assert_eq!(values("a - b", &rows), ["9223372036854775806", "1", "-9223372036854775807", "3", "null"]);
    assert_eq!(values("a * 2", &rows), [overflow, "2", overflow, "12", "null"]);
    assert_eq!(values("-a", &rows), ["-9223372036854775807", "-1", overflow, "-6", "null"]);
    assert_eq!(values("a / b", &rows)[1..], [zero, overflow, "2", "null"]);
    assert_eq!(values("a % b", &rows)[1], zero);
    assert_eq!(
        values("CASE WHEN b = 0 THEN 0 ELSE a / b END", &rows),
        ["9223372036854775807", "0", overflow, "2", "0"]
    );
    assert_eq!(values("CAST(a AS INT)", &rows)[0], "cast: a: `9223372036854775807` is not an INT");
    assert_eq!(values("CAST(a AS DOUBLE) / b", &rows)[1], zero);
    assert_eq!(kept("b <> 0 AND a / b = 2", &rows).0, [3]);
}

#[test]
fn one_row_is_one_failure_however_often_it_fails() {
    let rows = batch(&[r#"{"a": "x", "b": "y"}"#, r#"{"a": 1, "b": 2}"#], &["a", "b"]);
    assert_eq!(values("a BETWEEN 1 AND 2", &rows), ["cast: a: `\"x\"` is not a number", "true"]);
    assert_eq!(values("CAST(a AS INT) + CAST(b AS INT)", &rows)[1], "3");
    let (kept, failed) = kept("a IN (1, 2) AND b IN (2, 3)", &rows);
    assert_eq!((kept, failed), (vec![1], vec![(0, "a: `\"x\"` is not a number".to_owned())]));
}

#[test]
fn a_bad_pattern_costs_its_row() {
    let rows = batch(&[r#"{"s": "abc", "p": "^a"}"#, r#"{"s": "abc", "p": "("}"#], &["s", "p"]);
    let values = values("s ~ p", &rows);
    assert_eq!(values[0], "true");
    assert!(values[1].starts_with("expression: "), "{values:?}");
}
