//! What the reader is told about each kind of mistake: the whole text, as it is printed.

use syncline_syntax::{SLUGS, apply_fix, parse, render};

/// Checks the text of a mistake, and that each of its fixes leaves less to say: nothing, when it was the only one.
fn told(source: &str, expected: &str) {
    let (_, said) = parse(source);
    assert_eq!(render(&said, "orders.sync", source, false), expected.strip_prefix('\n').unwrap_or(expected));
    for one in &said {
        assert!(SLUGS.contains(&one.slug), "{} is not in the list", one.slug);
        if let Some((_, edits)) = &one.fix {
            let fixed = apply_fix(source, edits);
            let left = parse(&fixed).1;
            assert!(left.len() < said.len(), "{fixed}\n{}", render(&left, "orders.sync", &fixed, false));
        }
    }
}

#[test]
fn a_misspelt_step_is_named_and_the_rest_is_read() {
    told(
        r##"PIPELINE p AS FROM http('/a')
|> WHER x = 1
|> SELCT id, total
|> DEDUPE BY id WITHIN '1 hour'
|> INSERT INTO stdout();"##,
        r##"
error: `WHER` is not a step
  ╭▸ orders.sync:2:4
  │
2 │ |> WHER x = 1
  │    ━━━━ WHERE?
  ╰╴
help: write WHERE
  ╭╴
2 │ |> WHERE x = 1
  ╰╴       +

error: `SELCT` is not a step
  ╭▸ orders.sync:3:4
  │
3 │ |> SELCT id, total
  │    ━━━━━ SELECT?
  ╰╴
help: write SELECT
  ╭╴
3 │ |> SELECT id, total
  ╰╴      +

error: `DEDUPE` is not a step
  ╭▸ orders.sync:4:4
  │
4 │ |> DEDUPE BY id WITHIN '1 hour'
  │    ━━━━━━ DEDUP?
  ╰╴
help: write DEDUP
  ╭╴
4 - |> DEDUPE BY id WITHIN '1 hour'
4 + |> DEDUP BY id WITHIN '1 hour'
  ╰╴
"##,
    );
}

#[test]
fn a_misspelt_word_keeps_its_case() {
    told(
        r##"pipeline p as from http('/a') |> dedup by id withn '1 hour' |> insert into stdout();"##,
        r##"
error: `withn` is not a part of DEDUP BY
  ╭▸ orders.sync:1:46
  │
1 │ pipeline p as from http('/a') |> dedup by id withn '1 hour' |> insert into stdout();
  │                                              ━━━━━ within?
  ╰╴
help: write within
  ╭╴
1 │ pipeline p as from http('/a') |> dedup by id within '1 hour' |> insert into stdout();
  ╰╴                                                 +
"##,
    );
}

#[test]
fn a_misspelt_statement_is_read_on() {
    told(
        r##"PIPELIN p AS FROM http('/a') |> INSERT INTO stdout();"##,
        r##"
error: `PIPELIN` is not a statement
  ╭▸ orders.sync:1:1
  │
1 │ PIPELIN p AS FROM http('/a') |> INSERT INTO stdout();
  │ ━━━━━━━ PIPELINE?
  ╰╴
help: write PIPELINE
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> INSERT INTO stdout();
  ╰╴       +
"##,
    );
}

#[test]
fn a_misspelt_word_of_two() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> EXPECT a > 0 AS x ON VIOLTION DEADLETTER |> INSERT INTO stdout();"##,
        r##"
error: `VIOLTION` is not a part of EXPECT
  ╭▸ orders.sync:1:55
  │
1 │ PIPELINE p AS FROM http('/a') |> EXPECT a > 0 AS x ON VIOLTION DEADLETTER |> INSERT INTO stdout();
  │                                                       ━━━━━━━━ VIOLATION?
  ╰╴
help: write VIOLATION
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> EXPECT a > 0 AS x ON VIOLATION DEADLETTER |> INSERT INTO stdout();
  ╰╴                                                          +

error: `DEADLETTER` is not a part of ON VIOLATION
  ╭▸ orders.sync:1:64
  │
1 │ PIPELINE p AS FROM http('/a') |> EXPECT a > 0 AS x ON VIOLTION DEADLETTER |> INSERT INTO stdout();
  │                                                                ━━━━━━━━━━ DEAD LETTER?
  ╰╴
help: write DEAD LETTER
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> EXPECT a > 0 AS x ON VIOLTION DEAD LETTER |> INSERT INTO stdout();
  ╰╴                                                                   +
"##,
    );
}

#[test]
fn a_misspelt_part_of_a_test() {
    told(
        r##"TEST t FOR p GIVEN INPUT ROWS '{}' EXPECT OUTPT ROWS (1);"##,
        r##"
error: `OUTPT` is not a part of EXPECT
  ╭▸ orders.sync:1:43
  │
1 │ TEST t FOR p GIVEN INPUT ROWS '{}' EXPECT OUTPT ROWS (1);
  │                                           ━━━━━ OUTPUT?
  ╰╴
help: write OUTPUT
  ╭╴
1 │ TEST t FOR p GIVEN INPUT ROWS '{}' EXPECT OUTPUT ROWS (1);
  ╰╴                                              +
"##,
    );
}

#[test]
fn a_step_without_its_pipe() {
    told(
        r##"PIPELINE p AS
FROM http('/a')
WHERE x = 1
|> TEE (INSERT INTO stdout())
   DEDUP BY id WITHIN '1 hour'
|> INSERT INTO stdout();"##,
        r##"
error: WHERE is a step of its own
  ╭▸ orders.sync:3:1
  │
3 │ WHERE x = 1
  │ ━━━━━ no `|>` before it
  ╰╴
help: begin it with `|>`
  ╭╴
3 │ |> WHERE x = 1
  ╰╴++

error: INSERT is a step of its own
  ╭▸ orders.sync:4:9
  │
4 │ |> TEE (INSERT INTO stdout())
  │         ━━━━━━ no `|>` before it
  ╰╴
help: begin it with `|>`
  ╭╴
4 │ |> TEE (|> INSERT INTO stdout())
  ╰╴        ++

error: DEDUP is a step of its own
  ╭▸ orders.sync:5:4
  │
5 │    DEDUP BY id WITHIN '1 hour'
  │    ━━━━━ no `|>` before it
  ╰╴
help: begin it with `|>`
  ╭╴
5 │    |> DEDUP BY id WITHIN '1 hour'
  ╰╴   ++
"##,
    );
}

#[test]
fn a_single_bar() {
    told(
        r##"PIPELINE p AS FROM http('/a')
| WHERE x = 1
|> INSERT INTO stdout();"##,
        r##"
error: a step begins with `|>`
  ╭▸ orders.sync:2:1
  │
2 │ | WHERE x = 1
  │ ━ only `|`
  ╰╴
help: write `|>`
  ╭╴
2 │ |> WHERE x = 1
  ╰╴ +
"##,
    );
}

#[test]
fn a_pipe_with_nothing_behind_it() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> |> INSERT INTO stdout();"##,
        r##"
error: no step follows this `|>`
  ╭▸ orders.sync:1:31
  │
1 │ PIPELINE p AS FROM http('/a') |> |> INSERT INTO stdout();
  │                               ━━ empty
  ╰╴
help: leave it out
  ╭╴
1 - PIPELINE p AS FROM http('/a') |> |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a')  |> INSERT INTO stdout();
  ╰╴
"##,
    );
}

#[test]
fn a_statement_without_its_semicolon() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> INSERT INTO stdout()

TEST t FOR p GIVEN INPUT ROWS '{}' EXPECT OUTPUT ROWS (1);"##,
        r##"
error: a statement ends with `;`
  ╭▸ orders.sync:3:1
  │
3 │ TEST t FOR p GIVEN INPUT ROWS '{}' EXPECT OUTPUT ROWS (1);
  │ ━━━━ TEST begins the next one
  ╰╴
help: end the one before
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> INSERT INTO stdout();
  ╰╴                                                     +
"##,
    );
}

#[test]
fn a_semicolon_too_early() {
    told(
        r##"PIPELINE p AS FROM http('/a');
|> INSERT INTO stdout();"##,
        r##"
error: this step belongs to no pipeline
  ╭▸ orders.sync:2:1
  │
1 │ PIPELINE p AS FROM http('/a');
  │                              ─ the pipeline ends here
2 │ |> INSERT INTO stdout();
  │ ━━ stands alone
  ╰╴
help: go on with the pipeline
  ╭╴
1 - PIPELINE p AS FROM http('/a');
1 + PIPELINE p AS FROM http('/a')
  ╰╴
"##,
    );
}

#[test]
fn a_text_without_its_quote_ends_at_its_line() {
    told(
        r##"PIPELINE p AS
FROM http('/a')
|> WHERE type = 'order.created
|> DEDUP BY id WITHIN '1 hour'
|> INSERT INTO stdout();"##,
        r##"
error: this text has no closing quote
  ╭▸ orders.sync:3:17
  │
3 │ |> WHERE type = 'order.created
  │                 ━ opened here
  ╰╴
help: close it with '
  ╭╴
3 │ |> WHERE type = 'order.created'
  ╰╴                              +
"##,
    );
}

#[test]
fn a_name_without_its_quote_ends_before_the_next_step() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> WHERE x = "order |> INSERT INTO stdout();"##,
        r##"
error: this name has no closing quote
  ╭▸ orders.sync:1:44
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE x = "order |> INSERT INTO stdout();
  │                                            ━ opened here
  ╰╴
help: close it with "
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> WHERE x = "order" |> INSERT INTO stdout();
  ╰╴                                                 +
"##,
    );
}

#[test]
fn a_bracket_without_its_end_closes_before_the_name() {
    told(
        r##"PIPELINE p AS
FROM http('/a')
|> SELECT CAST(total AS DECIMAL(12, 2) AS total, id
|> INSERT INTO stdout();"##,
        r##"
error: this `(` has no `)`
  ╭▸ orders.sync:3:15
  │
3 │ |> SELECT CAST(total AS DECIMAL(12, 2) AS total, id
  │               ━ opened here
  ╰╴
help: close it with `)`
  ╭╴
3 │ |> SELECT CAST(total AS DECIMAL(12, 2)) AS total, id
  ╰╴                                      +
"##,
    );
}

#[test]
fn a_bracket_without_its_end_closes_before_the_next_step() {
    told(
        r##"PIPELINE p AS FROM http('/a' |> WHERE a = 1 AND (b = 2 |> INSERT INTO stdout();"##,
        r##"
error: this `(` has no `)`
  ╭▸ orders.sync:1:24
  │
1 │ PIPELINE p AS FROM http('/a' |> WHERE a = 1 AND (b = 2 |> INSERT INTO stdout();
  │                        ━ opened here
  ╰╴
help: close it with `)`
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> WHERE a = 1 AND (b = 2 |> INSERT INTO stdout();
  ╰╴                            +

error: this `(` has no `)`
  ╭▸ orders.sync:1:49
  │
1 │ PIPELINE p AS FROM http('/a' |> WHERE a = 1 AND (b = 2 |> INSERT INTO stdout();
  │                                                 ━ opened here
  ╰╴
help: close it with `)`
  ╭╴
1 │ PIPELINE p AS FROM http('/a' |> WHERE a = 1 AND (b = 2) |> INSERT INTO stdout();
  ╰╴                                                      +
"##,
    );
}

#[test]
fn a_bracket_that_closes_nothing() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> WHERE (a = 1)) |> INSERT INTO stdout();"##,
        r##"
error: nothing opens this `)`
  ╭▸ orders.sync:1:47
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE (a = 1)) |> INSERT INTO stdout();
  │                                               ━ closes nothing
  ╰╴
help: leave it out
  ╭╴
1 - PIPELINE p AS FROM http('/a') |> WHERE (a = 1)) |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a') |> WHERE (a = 1) |> INSERT INTO stdout();
  ╰╴
"##,
    );
}

#[test]
fn a_comment_without_end() {
    told(
        r##"PIPELINE p AS /* take orders
FROM http('/a')
|> INSERT INTO stdout();"##,
        r##"
error: this comment never ends
  ╭▸ orders.sync:1:15
  │
1 │ PIPELINE p AS /* take orders
  │               ━━ everything from here on is comment
  ╰╴
help: end it with */, or use -- for a comment of one line
"##,
    );
}

#[test]
fn select_before_from_is_turned_round() {
    told(
        r##"PIPELINE p AS SELECT id, total FROM bus.orders WHERE total > 10;"##,
        r##"
error: a pipeline reads from top to bottom: FROM comes first
  ╭▸ orders.sync:1:15
  │
1 │ PIPELINE p AS SELECT id, total FROM bus.orders WHERE total > 10;
  │               ━━━━━━ SELECT is a step, behind its source
  ╰╴
help: put the steps in order
  ╭╴
1 ± PIPELINE p AS FROM bus.orders
2 + |> WHERE total > 10
3 ± |> SELECT id, total;
  ╰╴
"##,
    );
}

#[test]
fn select_before_from_with_a_group_is_explained() {
    told(
        r##"PIPELINE p AS SELECT id, COUNT(*) FROM bus.orders GROUP BY id |> INSERT INTO stdout();"##,
        r##"
error: a pipeline reads from top to bottom: FROM comes first
  ╭▸ orders.sync:1:15
  │
1 │ PIPELINE p AS SELECT id, COUNT(*) FROM bus.orders GROUP BY id |> INSERT INTO stdout();
  │               ━━━━━━ SELECT is a step, behind its source
  ╰╴
help: write FROM source |> WHERE … |> SELECT …
"##,
    );
}

#[test]
fn double_quotes_where_text_is_meant() {
    told(
        r##"PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();"##,
        r##"
error: text takes single quotes
  ╭▸ orders.sync:1:25
  │
1 │ PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();
  │                         ━━━━ double quotes name a column; a value belongs here
  ╰╴
help: use single quotes
  ╭╴
1 - PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a') |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();
  ╰╴

error: text takes single quotes
  ╭▸ orders.sync:1:53
  │
1 │ PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();
  │                                                     ━━━━━━━━ double quotes name a column; a length of time like '1 hour' belongs here
  ╰╴
help: use single quotes
  ╭╴
1 - PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN "1 hour" |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http("/a") |> DEDUP BY id WITHIN '1 hour' |> INSERT INTO stdout();
  ╰╴
"##,
    );
}

#[test]
fn quotes_of_a_word_processor() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> WHERE type = ‘order.created’ |> INSERT INTO stdout();"##,
        r##"
error: these are the quotes of a word processor
  ╭▸ orders.sync:1:47
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE type = ‘order.created’ |> INSERT INTO stdout();
  │                                               ━━━━━━━━━━━━━━━ not a quote in SQL
  ╰╴
help: use straight ones
  ╭╴
1 - PIPELINE p AS FROM http('/a') |> WHERE type = ‘order.created’ |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a') |> WHERE type = 'order.created' |> INSERT INTO stdout();
  ╰╴
"##,
    );
}

#[test]
fn commas_too_many() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> SELECT id,, total, |> INSERT INTO stdout();"##,
        r##"
error: one comma too many in SELECT
  ╭▸ orders.sync:1:44
  │
1 │ PIPELINE p AS FROM http('/a') |> SELECT id,, total, |> INSERT INTO stdout();
  │                                            ━ nothing stands before it
  ╰╴
help: leave the comma out
  ╭╴
1 - PIPELINE p AS FROM http('/a') |> SELECT id,, total, |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a') |> SELECT id, total, |> INSERT INTO stdout();
  ╰╴

error: nothing follows this comma in SELECT
  ╭▸ orders.sync:1:51
  │
1 │ PIPELINE p AS FROM http('/a') |> SELECT id,, total, |> INSERT INTO stdout();
  │                                                   ━ the list ends here
  ╰╴
help: leave the comma out
  ╭╴
1 - PIPELINE p AS FROM http('/a') |> SELECT id,, total, |> INSERT INTO stdout();
1 + PIPELINE p AS FROM http('/a') |> SELECT id,, total |> INSERT INTO stdout();
  ╰╴
"##,
    );
}

#[test]
fn an_option_given_twice() {
    told(
        r##"CONNECTION bus TO kafka WITH (brokers = 'a', Brokers = 'b');"##,
        r##"
error: `Brokers` is given twice
  ╭▸ orders.sync:1:46
  │
1 │ CONNECTION bus TO kafka WITH (brokers = 'a', Brokers = 'b');
  │                               ┬──────        ━━━━━━━ again
  │                               │
  ╰╴                              first here
"##,
    );
}

#[test]
fn an_option_with_an_arrow() {
    told(
        r##"CONNECTION bus TO kafka WITH (brokers => 'a');"##,
        r##"
error: an option takes its value with `=`
  ╭▸ orders.sync:1:39
  │
1 │ CONNECTION bus TO kafka WITH (brokers => 'a');
  │                                       ━━ this is `=>`
  ╰╴
help: write `=`
  ╭╴
1 - CONNECTION bus TO kafka WITH (brokers => 'a');
1 + CONNECTION bus TO kafka WITH (brokers = 'a');
  ╰╴
"##,
    );
}

#[test]
fn a_word_left_out() {
    told(
        r##"CONNECTION bus kafka WITH (brokers = 'a');"##,
        r##"
error: CONNECTION needs TO
  ╭▸ orders.sync:1:16
  │
1 │ CONNECTION bus kafka WITH (brokers = 'a');
  │                ━━━━━ this is `kafka`
  ╰╴
help: add TO
  ╭╴
1 │ CONNECTION bus TO kafka WITH (brokers = 'a');
  ╰╴               ++
"##,
    );
}

#[test]
fn a_clause_given_twice() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> DEDUP BY id WITHIN '1 hour' WITHIN '2 hours' |> INSERT INTO stdout();"##,
        r##"
error: WITHIN is given twice
  ╭▸ orders.sync:1:62
  │
1 │ PIPELINE p AS FROM http('/a') |> DEDUP BY id WITHIN '1 hour' WITHIN '2 hours' |> INSERT INTO stdout();
  │                                                     ┬─────── ━━━━━━ again
  │                                                     │
  ╰╴                                                    first here
"##,
    );
}

#[test]
fn upsert_without_its_key() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> TEE (|> UPSERT INTO a.b (id)) |> UPSERT INTO sqlite('a', 'b');"##,
        r##"
error: UPSERT INTO needs KEY
  ╭▸ orders.sync:1:58
  │
1 │ PIPELINE p AS FROM http('/a') |> TEE (|> UPSERT INTO a.b (id)) |> UPSERT INTO sqlite('a', 'b');
  │                                                          ━ this is `(`
  ╰╴
help: add KEY
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> TEE (|> UPSERT INTO a.b KEY (id)) |> UPSERT INTO sqlite('a', 'b');
  ╰╴                                                         +++

error: UPSERT INTO does not say which columns make a row the same row
  ╭▸ orders.sync:1:95
  │
1 │ PIPELINE p AS FROM http('/a') |> TEE (|> UPSERT INTO a.b (id)) |> UPSERT INTO sqlite('a', 'b');
  │                                                                               ┬───────────────━ KEY (…) is missing
  │                                                                               │
  │                                                                               the target
  ╰╴
help: name its columns: KEY (id)
"##,
    );
}

#[test]
fn expect_without_a_consequence() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> EXPECT amount > 0 |> INSERT INTO stdout();"##,
        r##"
error: EXPECT does not say what happens to a row that breaks it
  ╭▸ orders.sync:1:51
  │
1 │ PIPELINE p AS FROM http('/a') |> EXPECT amount > 0 |> INSERT INTO stdout();
  │                                                   ━ ON VIOLATION … is missing
  ╰╴
help: keep such rows as dead letters
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> EXPECT amount > 0 ON VIOLATION DEAD LETTER |> INSERT INTO stdout();
  ╰╴                                                   ++++++++++++++++++++++++
"##,
    );
}

#[test]
fn a_name_for_a_column_without_as() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> SELECT id total |> INSERT INTO stdout();"##,
        r##"
error: a name for a column takes AS: `total`
  ╭▸ orders.sync:1:44
  │
1 │ PIPELINE p AS FROM http('/a') |> SELECT id total |> INSERT INTO stdout();
  │                                            ━━━━━ AS or a comma before it
  ╰╴
help: a column of its own has a comma before it: `, total`
help: add AS
  ╭╴
1 │ PIPELINE p AS FROM http('/a') |> SELECT id AS total |> INSERT INTO stdout();
  ╰╴                                           ++
"##,
    );
}

#[test]
fn an_expression_that_stops_short() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> WHERE a = |> SELECT CAST(b + AS INT) |> INSERT INTO stdout();"##,
        r##"
error: the expression of WHERE is not complete
  ╭▸ orders.sync:1:43
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE a = |> SELECT CAST(b + AS INT) |> INSERT INTO stdout();
  ╰╴                                          ━ an expression is missing

error: `INT` cannot stand here
  ╭▸ orders.sync:1:66
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE a = |> SELECT CAST(b + AS INT) |> INSERT INTO stdout();
  ╰╴                                                                 ━━━ `AS` belongs here
"##,
    );
}

#[test]
fn a_query_in_an_expression() {
    told(
        r##"PIPELINE p AS FROM http('/a') |> WHERE id IN (SELECT id FROM t) |> INSERT INTO stdout();"##,
        r##"
error: an expression sees one row: it has no SELECT inside
  ╭▸ orders.sync:1:47
  │
1 │ PIPELINE p AS FROM http('/a') |> WHERE id IN (SELECT id FROM t) |> INSERT INTO stdout();
  │                                               ━━━━━━ a query of its own
  ╰╴
help: bring the other rows in by a step before: |> JOIN … or |> LOOKUP …
"##,
    );
}

#[test]
fn a_flow_without_a_name() {
    told(
        r##"FROM http('/a') |> INSERT INTO stdout();"##,
        r##"
error: a flow belongs to a pipeline
  ╭▸ orders.sync:1:1
  │
1 │ FROM http('/a') |> INSERT INTO stdout();
  │ ━━━━ no name yet
  ╰╴
help: name it
  ╭╴
1 + PIPELINE main AS
  ╰╴
"##,
    );
}

#[test]
fn a_statement_of_another_language() {
    told(
        r##"CREATE TABLE x (a INT);"##,
        r##"
error: no statement begins with `CREATE`
  ╭▸ orders.sync:1:1
  │
1 │ CREATE TABLE x (a INT);
  │ ━━━━━━ a statement belongs here
  ╰╴
help: statements are CONNECTION, SCHEMA, PIPELINE, TEST, SYNC, ALERT, LET and FUNCTION
"##,
    );
}

#[test]
fn input_rows_are_json() {
    told(
        r##"TEST t FOR p GIVEN INPUT ROWS (1, 2) EXPECT OUTPUT ROWS (1);"##,
        r##"
error: an input row is a record as it comes in: JSON text
  ╭▸ orders.sync:1:31
  │
1 │ TEST t FOR p GIVEN INPUT ROWS (1, 2) EXPECT OUTPUT ROWS (1);
  │                               ━ a row of values
  ╰╴
help: write it as '{"id": 1}'
"##,
    );
}

#[test]
fn every_mistake_of_a_file_is_told_in_order() {
    told(
        r##"SCHEMA s FREZE (id STRING NOTNULL, WATERMARK FOR id);
PIPELINE p AS FROM a.b FORMT json |> bogus |> WHERE a = |> INSERT INTO stdout();
CONNECTION a TO;"##,
        r##"
error: `FREZE` is not a part of SCHEMA
  ╭▸ orders.sync:1:10
  │
1 │ SCHEMA s FREZE (id STRING NOTNULL, WATERMARK FOR id);
  │          ━━━━━ FREEZE?
  ╰╴
help: write FREEZE
  ╭╴
1 │ SCHEMA s FREEZE (id STRING NOTNULL, WATERMARK FOR id);
  ╰╴            +

error: `STRING NOTNULL` is not a type
  ╭▸ orders.sync:1:20
  │
1 │ SCHEMA s FREZE (id STRING NOTNULL, WATERMARK FOR id);
  │                    ━━━━━━━━━━━━━━ a type belongs here
  ╰╴
help: types are STRING, BIGINT, INT, DOUBLE, DECIMAL(12, 2), BOOLEAN, TIMESTAMP, DATE, JSON

error: WATERMARK FOR needs AS
  ╭▸ orders.sync:1:52
  │
1 │ SCHEMA s FREZE (id STRING NOTNULL, WATERMARK FOR id);
  ╰╴                                                   ━ ends here

error: `FORMT` is not a part of FROM
  ╭▸ orders.sync:2:24
  │
2 │ PIPELINE p AS FROM a.b FORMT json |> bogus |> WHERE a = |> INSERT INTO stdout();
  │                        ━━━━━ FORMAT?
  ╰╴
help: write FORMAT
  ╭╴
2 │ PIPELINE p AS FROM a.b FORMAT json |> bogus |> WHERE a = |> INSERT INTO stdout();
  ╰╴                           +

error: `bogus` is not a step
  ╭▸ orders.sync:2:38
  │
2 │ PIPELINE p AS FROM a.b FORMT json |> bogus |> WHERE a = |> INSERT INTO stdout();
  │                                      ━━━━━ a step belongs here
  ╰╴
help: these are: WHERE, SELECT, EXTEND, SET, DROP, RENAME, AS, DEDUP, SHARD, EXPECT, TEE, FORK, INSERT, UPSERT, REPLACE, AGGREGATE, JOIN, LEFT, RIGHT, FULL, INNER, CROSS, UNION, ORDER, LIMIT, LOOKUP, MATCH

error: the expression of WHERE is not complete
  ╭▸ orders.sync:2:56
  │
2 │ PIPELINE p AS FROM a.b FORMT json |> bogus |> WHERE a = |> INSERT INTO stdout();
  ╰╴                                                       ━ an expression is missing

error: CONNECTION needs what it connects to
  ╭▸ orders.sync:3:16
  │
3 │ CONNECTION a TO;
  ╰╴               ━ ends here
"##,
    );
}

#[test]
fn a_text_without_its_quote_takes_the_bracket_with_it() {
    told(
        r##"PIPELINE p AS
FROM file('x
|> INSERT INTO stdout();"##,
        r##"
error: this text has no closing quote
  ╭▸ orders.sync:2:11
  │
2 │ FROM file('x
  │           ━ opened here
  ╰╴
help: close it with ')
  ╭╴
2 │ FROM file('x')
  ╰╴            ++
"##,
    );
}

#[test]
fn a_text_without_its_quote_closes_every_bracket_around_it() {
    told(
        r##"PIPELINE p AS
FROM file('x')
|> WHERE lower(trim('ada
|> INSERT INTO stdout();"##,
        r##"
error: this text has no closing quote
  ╭▸ orders.sync:3:21
  │
3 │ |> WHERE lower(trim('ada
  │                     ━ opened here
  ╰╴
help: close it with '))
  ╭╴
3 │ |> WHERE lower(trim('ada'))
  ╰╴                        +++
"##,
    );
}

#[test]
fn a_select_has_a_from_of_its_own() {
    told(
        r##"PIPELINE p AS
FROM file('x')
|> SELECT id, FROM shop.orders AS o
|> SELECT id FROM file('y')
|> SELECT "from", from, id AS from, extract(year FROM at) AS y, a IS DISTINCT FROM b AS c
|> INSERT INTO stdout();"##,
        r##"
error: a pipeline has one FROM, at its start
  ╭▸ orders.sync:3:15
  │
3 │ |> SELECT id, FROM shop.orders AS o
  │               ━━━━ a second one
  ╰╴
help: the step before gives the rows of this SELECT
help: leave it out
  ╭╴
3 - |> SELECT id, FROM shop.orders AS o
3 + |> SELECT id
  ╰╴

error: a pipeline has one FROM, at its start
  ╭▸ orders.sync:4:14
  │
4 │ |> SELECT id FROM file('y')
  │              ━━━━ a second one
  ╰╴
help: the step before gives the rows of this SELECT
help: leave it out
  ╭╴
4 - |> SELECT id FROM file('y')
4 + |> SELECT id
  ╰╴
"##,
    );
}
