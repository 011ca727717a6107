//! What is wrong with an expression is known before the first row, as facts.

use arrow::datatypes::{DataType, Field, Schema};

use super::expressions::typed;
use crate::*;

fn schema() -> Schema {
    let typed = |name: &str, to: DataType| Field::new(name, to, true);
    Schema::new(vec![
        json_field("a"),
        json_field("b"),
        typed("n", DataType::Int64),
        typed("s", DataType::Utf8View),
        typed("ok", DataType::Boolean),
    ])
}

fn refusal(sql: &str) -> ExprError {
    match typed(sql, &schema()) {
        Ok(typed) => panic!("{sql} is taken: {typed:?}"),
        Err(error) => error,
    }
}

#[test]
fn names_that_are_not_there() {
    let ExprError::NoSuchColumn { name, span } = refusal("lower(a) = 'x' AND nope = 1") else {
        panic!("another error")
    };
    assert_eq!(name, "nope");
    assert_eq!(span, Some(TextSpan { start_line: 1, start_col: 20, end_line: 1, end_col: 24 }));
    assert!(matches!(refusal("A = 1"), ExprError::NoSuchColumn { name, .. } if name == "A"));
    assert_eq!(refusal("lowr(a)"), ExprError::NoSuchFunction { name: "lowr".to_owned() });
}

#[test]
fn what_is_not_a_function_of_the_row() {
    for (sql, function) in [
        ("now()", "now"),
        ("random() > 0.5", "random"),
        ("CURRENT_DATE", "current_date"),
        ("uuid()", "uuid"),
        ("n + CAST(random() AS INT)", "random"),
    ] {
        assert_eq!(refusal(sql), ExprError::NotRepeatable { function: function.to_owned() }, "{sql}");
    }
    for (sql, function) in [("sum(n)", "sum"), ("count(*) > 1", "count")] {
        assert_eq!(refusal(sql), ExprError::ManyRows { function: function.to_owned() }, "{sql}");
    }
    for (sql, what) in [
        ("n IN (SELECT 1)", "a subquery"),
        ("EXISTS (SELECT 1)", "a subquery"),
        ("(SELECT 1)", "a subquery"),
        ("row_number() OVER ()", "a window function"),
        ("s SIMILAR TO 'a%'", "SIMILAR TO"),
        ("sum(a) OVER (ORDER BY n)", "a window function"),
    ] {
        assert_eq!(refusal(sql), ExprError::NotHere { what: what.to_owned() }, "{sql}");
    }
}

#[test]
fn types_that_do_not_fit() {
    for (sql, message, left, right) in [
        ("a < b", "two JSON values have no order", Some("JSON"), Some("JSON")),
        ("ok + n", "BOOLEAN + BIGINT has no meaning", Some("BOOLEAN"), Some("BIGINT")),
        ("greatest(a, b)", "greatest of JSON values has no order", Some("JSON"), None),
        ("s = 49", "STRING and BIGINT do not fit together", Some("STRING"), Some("BIGINT")),
        ("n < s", "STRING and BIGINT do not fit together", Some("STRING"), Some("BIGINT")),
        ("s BETWEEN 1 AND 2", "STRING and BIGINT do not fit together", Some("STRING"), Some("BIGINT")),
        ("s IN ('a', 2)", "STRING and BIGINT do not fit together", Some("STRING"), Some("BIGINT")),
        ("CASE s WHEN 2 THEN 1 END", "STRING and BIGINT do not fit together", Some("STRING"), Some("BIGINT")),
        (
            "upper(a) IS DISTINCT FROM 1.5",
            "STRING and DECIMAL(2, 1) do not fit together",
            Some("STRING"),
            Some("DECIMAL(2, 1)"),
        ),
        ("n = 'seven'", "`seven` is no BIGINT", Some("STRING"), Some("BIGINT")),
        ("ok AND n IN (1, '7.5')", "`7.5` is no BIGINT", Some("STRING"), Some("BIGINT")),
        ("CAST(a AS TIMESTAMP) > 'yesterday'", "`yesterday` is no TIMESTAMP", Some("STRING"), Some("TIMESTAMP")),
    ] {
        let wanted = ExprError::TypeMismatch {
            message: message.to_owned(),
            left: left.map(str::to_owned),
            right: right.map(str::to_owned),
        };
        assert_eq!(refusal(sql), wanted, "{sql}");
    }
    let schema = schema();
    let condition = Predicate::new(&Planner::new(), typed("n + 1", &schema).unwrap(), &schema);
    assert_eq!(condition.unwrap_err().to_string(), "a condition is BOOLEAN, this is BIGINT");
}

#[test]
fn a_text_of_the_expression_is_a_value_of_what_it_is_compared_with() {
    for (sql, same) in [
        ("n = '7'", "n = 7"),
        ("'7' >= n", "7 >= n"),
        ("n IN ('1', 2)", "n IN (1, 2)"),
        ("n BETWEEN ' 1 ' AND '2'", "n BETWEEN 1 AND 2"),
        ("ok = 'true'", "ok = true"),
        ("CASE n WHEN '1' THEN s END", "CASE n WHEN 1 THEN s END"),
    ] {
        let shown = |sql: &str| typed(sql, &schema()).unwrap_or_else(|error| panic!("{sql}: {error}")).expr.to_string();
        assert_eq!(shown(sql), shown(same));
    }
    for sql in
        ["s = '7'", "CAST(s AS BIGINT) = 7", "s = CAST(n AS STRING)", "s IN ('a', NULL)", "n = NULL", "s || n = '71'"]
    {
        typed(sql, &schema()).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[test]
fn constants_that_have_no_value() {
    for (sql, message) in [
        ("CAST('x' AS INT)", "`x` is not an INT"),
        ("n + CAST('x' AS INT) > 1", "`x` is not an INT"),
        ("1 / 0", "division by zero"),
        ("n = 1 / 0", "division by zero"),
        ("CAST('2026-13-01' AS TIMESTAMP) > CAST(a AS TIMESTAMP)", "`2026-13-01` is not a TIMESTAMP"),
    ] {
        assert_eq!(refusal(sql), ExprError::Other { message: message.to_owned() }, "{sql}");
    }
    for sql in ["CASE WHEN n = 1 THEN 1 / 0 ELSE 2 END", "n = 1 OR 1 / 0 = 1"] {
        typed(sql, &schema()).unwrap_or_else(|error| panic!("{sql} may never be evaluated: {error}"));
    }
}

#[test]
fn text_that_is_no_expression() {
    let planner = Planner::new();
    for sql in ["", "1 +", "a b", "(a", "SELECT 1", "'open"] {
        assert!(matches!(planner.parse(sql), Err(ExprError::Syntax { .. })), "{sql}: {:?}", planner.parse(sql));
    }
    let Err(ExprError::Syntax { message, span }) = planner.parse("a b") else { panic!("another error") };
    assert_eq!(message, "expected the end of the expression, found b");
    assert_eq!(span, Some(TextSpan { start_line: 1, start_col: 3, end_line: 1, end_col: 4 }));
}

#[test]
fn names_of_functions_are_listed_once_and_only_the_repeatable_ones() {
    let names = Planner::new().function_names();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    for name in ["lower", "abs", "date_trunc", "coalesce"] {
        assert!(names.iter().any(|one| one == name), "{name}");
    }
    for name in ["now", "random", "uuid", "__negate", "__not"] {
        assert!(!names.iter().any(|one| one == name), "{name}");
    }
}

/// At its usual limit the parser went back and tried again, twice for each level: 60 of them took for ever.
#[test]
fn deep_expressions_are_parsed_at_once() {
    let deep = (0..95).fold("n".to_owned(), |inner, _| format!("CAST({inner} AS STRING)"));
    assert_eq!(crate::syntax::parse(&deep).unwrap().to_string(), deep);
}
