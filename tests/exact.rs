//! Numbers come out as they went in: 64-bit integers and decimals of 30 digits, through every kind of sink.

use crate::{desk::Desk, look};

const PIPELINE: &str = "
PIPELINE numbers AS
FROM file('in.ndjson')
|> SELECT CAST(id AS BIGINT) AS id, CAST(exact AS DECIMAL(38, 8)) AS exact, open
|> TEE (|> INSERT INTO file('out/lines/'))
|> TEE (|> INSERT INTO parquet('out/parquet/'))
|> UPSERT INTO sqlite('numbers.db', 'numbers') KEY (id);
";

#[test]
fn long_integers_and_decimals_reach_every_sink_digit_by_digit() {
    let desk = Desk::with(PIPELINE);
    desk.write(
        "in.ndjson",
        concat!(
            r#"{"id": 9223372036854775807, "exact": 1234567890123456789012.12345678, "open": 18446744073709551615}"#,
            "\n",
            r#"{"id": "-9223372036854775808", "exact": "-999999999999999999999999999999.99999999", "open": 0.1000}"#,
            "\n",
            r#"{"id": 9007199254740993, "exact": 0.00000001, "open": 123456789012345678901234567890}"#,
            "\n",
        ),
    );
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(
        look::lines(&desk.path("out/lines")),
        [
            r#"{"id":9223372036854775807,"exact":1234567890123456789012.12345678,"open":18446744073709551615}"#,
            r#"{"id":-9223372036854775808,"exact":-999999999999999999999999999999.99999999,"open":0.1000}"#,
            r#"{"id":9007199254740993,"exact":0.00000001,"open":123456789012345678901234567890}"#,
        ]
    );
    let rows = [
        ["9223372036854775807", "1234567890123456789012.12345678", "18446744073709551615"],
        ["-9223372036854775808", "-999999999999999999999999999999.99999999", "0.1000"],
        ["9007199254740993", "0.00000001", "123456789012345678901234567890"],
    ];
    assert_eq!(look::parquet(&desk.path("out/parquet")), rows);
    // SQLite has no decimals: they are text. A number of JSON is one of SQLite's where that holds its value, else text.
    let typed = "SELECT id, exact, open, typeof(exact), typeof(open) FROM numbers ORDER BY exact DESC";
    assert_eq!(
        look::sqlite(&desk.path("numbers.db"), typed),
        [
            ["9223372036854775807", "1234567890123456789012.12345678", "18446744073709551615", "text", "text"],
            ["9007199254740993", "0.00000001", "123456789012345678901234567890", "text", "text"],
            ["-9223372036854775808", "-999999999999999999999999999999.99999999", "0.1", "text", "real"],
        ]
    );
}

#[test]
fn a_record_that_no_step_changes_leaves_as_its_own_bytes() {
    let desk = Desk::with("PIPELINE copy AS FROM file('in.ndjson') |> WHERE kind = 'a' |> INSERT INTO file('out/');");
    let kept = "{ \"kind\" : \"a\",\t\"n\":1.50e+2, \"u\":\"\\u00e9\", \"n2\":{\"b\":1,\"a\":[ ]}}";
    desk.write("in.ndjson", format!("{kept}\n{{\"kind\": \"b\"}}\n"));
    desk.ok(&["run", "orders.sync"]);
    assert_eq!(look::lines(&desk.path("out")), [kept]);
}
