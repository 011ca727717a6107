//! What each mistake looks like to the person who made it.

use super::*;

/// A pipeline over one file, with these steps.
fn steps(steps: &str) -> String {
    format!("PIPELINE orders AS\nFROM file('orders.ndjson')\n{steps};")
}

/// A pipeline over one path, with this beside it.
fn taking(arguments: &str) -> String {
    format!("PIPELINE orders AS\nFROM http('/in', {arguments})\n|> INSERT INTO stdout();")
}

fn check(source: &str, expected: &str) {
    let found = said(&checked(source), source);
    assert!(found == expected.trim_start_matches('\n'), "{found}");
}

macro_rules! mistakes {
    ($($name:ident: $source:expr => $expected:expr;)*) => {
        $(#[test] fn $name() { check(&$source, $expected) })*
    };
}

mistakes! {
    a_secret_stands_in_the_file: taking("verify => github('hunter2')") => r#"
error: the secret stands in the file, where everybody can read it
  ╭▸ orders.sync:2:35
  │
2 │ FROM http('/in', verify => github('hunter2'))
  │                                   ━━━━━━━━━ a text of the file
  ╰╴
help: store it: syncline secret set service/name, which reads it from the terminal
help: and name it here
  ╭╴
2 - FROM http('/in', verify => github('hunter2'))
2 + FROM http('/in', verify => github(secret('service/name')))
  ╰╴
"#;
    a_secret_of_a_list_stands_in_the_file: taking("verify => github([secret('a'), env('B', 'hunter2')])") => r#"
error: the secret stands in the file, where everybody can read it
  ╭▸ orders.sync:2:58
  │
2 │ FROM http('/in', verify => github([secret('a'), env('B', 'hunter2')]))
  │                                                          ━━━━━━━━━ a text of the file
  ╰╴
help: store it: syncline secret set service/name, which reads it from the terminal
help: and name it here
  ╭╴
2 - FROM http('/in', verify => github([secret('a'), env('B', 'hunter2')]))
2 + FROM http('/in', verify => github([secret('a'), env('B', secret('service/name'))]))
  ╰╴
"#;
    a_scheme_is_misspelt: taking("verify => githup(secret('a'))") => r#"
error: verify has no scheme called githup
  ╭▸ orders.sync:2:28
  │
2 │ FROM http('/in', verify => githup(secret('a')))
  │                            ━━━━━━ github?
  ╰╴
help: it takes: github
help: write github
  ╭╴
2 - FROM http('/in', verify => githup(secret('a')))
2 + FROM http('/in', verify => github(secret('a')))
  ╰╴
"#;
    a_scheme_is_named_and_not_called: taking("verify => github") => r#"
error: verify takes one of its schemes, with what that needs
  ╭▸ orders.sync:2:28
  │
2 │ FROM http('/in', verify => github)
  │                            ━━━━━━ github has arguments
  ╰╴
help: verify => github(secret('github/webhook'))
"#;
    a_scheme_lacks_its_secret: taking("verify => github()") => r#"
error: github needs its secret
  ╭▸ orders.sync:2:28
  │
2 │ FROM http('/in', verify => github())
  │                            ━━━━━━━━ no secret
  ╰╴
help: verify => github(secret('github/webhook'))
"#;
    a_scheme_has_no_such_argument: taking("verify => github(secret('a'), tolerence => '1 minute')") => r#"
error: github has no argument tolerence
  ╭▸ orders.sync:2:48
  │
2 │ FROM http('/in', verify => github(secret('a'), tolerence => '1 minute'))
  │                                                ━━━━━━━━━ tolerance?
  ╰╴
help: github(secret, [tolerance => …], [encoding => …])
help: write tolerance
  ╭╴
2 - FROM http('/in', verify => github(secret('a'), tolerence => '1 minute'))
2 + FROM http('/in', verify => github(secret('a'), tolerance => '1 minute'))
  ╰╴
"#;
    a_choice_is_none_of_its_words: taking("verify => github(secret('a'), encoding => 'hexa')") => r#"
error: encoding has no value 'hexa'
  ╭▸ orders.sync:2:60
  │
2 │ FROM http('/in', verify => github(secret('a'), encoding => 'hexa'))
  │                                                            ━━━━━━ 'hex'?
  ╰╴
help: it takes: hex, base64
help: write 'hex'
  ╭╴
2 - FROM http('/in', verify => github(secret('a'), encoding => 'hexa'))
2 + FROM http('/in', verify => github(secret('a'), encoding => 'hex'))
  ╰╴
"#;
    a_size_has_no_unit: taking("max_body => '25'") => r#"
error: this is no size
  ╭▸ orders.sync:2:30
  │
2 │ FROM http('/in', max_body => '25')
  │                              ━━━━ a number without a unit
  ╰╴
help: write a number and a unit: '512 KiB', '25 MB', '1.5 GB'
"#;
    a_rate_is_no_rate: taking("rate_limit => '100'") => r#"
error: this is no rate
  ╭▸ orders.sync:2:32
  │
2 │ FROM http('/in', rate_limit => '100')
  │                                ━━━━━ not of this form
  ╰╴
help: write a number and a time: '100 per second', '5000 per 2 hours'
"#;
    one_path_is_declared_in_two_ways:
        format!("{}\n{}", taking("max_body => '1 MB'"), taking("max_body => '2 MB'").replacen("orders", "more", 1)) => r#"
error: two pipelines read one path, and say different things about it
  ╭▸ orders.sync:5:6
  │
2 │ FROM http('/in', max_body => '1 MB')
  │      ─────────────────────────────── the other one
  ┆
5 │ FROM http('/in', max_body => '2 MB')
  │      ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ what is sent is taken once, for both
  ╰╴
help: write the same in both: http('/in', max_body => '1 MB')
"#;
    a_dropped_column_is_read: steps("|> DROP total\n|> WHERE total > 10\n|> INSERT INTO stdout()") => r#"
error: total is used after it was dropped
  ╭▸ orders.sync:4:10
  │
3 │ |> DROP total
  │         ───── dropped here
4 │ |> WHERE total > 10
  │          ━━━━━ read here
  ╰╴
help: DROP total after the last step that reads it
"#;
    a_renamed_column_is_read_by_its_old_name:
        steps("|> RENAME total AS amount\n|> WHERE total > 10\n|> INSERT INTO stdout()") => r#"
error: total is called amount here
  ╭▸ orders.sync:4:10
  │
3 │ |> RENAME total AS amount
  │           ─────────────── renamed here
4 │ |> WHERE total > 10
  │          ━━━━━ read by its old name
  ╰╴
help: write amount
  ╭╴
4 - |> WHERE total > 10
4 + |> WHERE amount > 10
  ╰╴
"#;
    a_column_that_a_select_left_out_is_read:
        steps("|> SELECT id\n|> WHERE total > 10\n|> INSERT INTO stdout()") => r#"
error: there is no column total here
  ╭▸ orders.sync:4:10
  │
3 │ |> SELECT id
  │    ───────── this SELECT leaves total out
4 │ |> WHERE total > 10
  │          ━━━━━ read here
  ╰╴
help: columns at this step: id
help: select total too
  ╭╴
3 │ |> SELECT id, total
  ╰╴            +++++++
"#;
    a_column_is_misspelt: steps("|> SELECT id, customer\n|> WHERE custmer = 'ada'\n|> INSERT INTO stdout()") => r#"
error: there is no column custmer here
  ╭▸ orders.sync:4:10
  │
4 │ |> WHERE custmer = 'ada'
  │          ━━━━━━━ customer?
  ╰╴
help: columns at this step: id, customer
help: write customer
  ╭╴
4 │ |> WHERE customer = 'ada'
  ╰╴             +
"#;
    a_function_is_misspelt: steps("|> WHERE lowr(customer) = 'ada'\n|> INSERT INTO stdout()") => r#"
error: there is no function lowr
  ╭▸ orders.sync:3:10
  │
3 │ |> WHERE lowr(customer) = 'ada'
  │          ━━━━ lower?
  ╰╴
help: write lower
  ╭╴
3 │ |> WHERE lower(customer) = 'ada'
  ╰╴            +
"#;
    a_source_is_misspelt: "PIPELINE orders AS FROM fle('a.ndjson') |> INSERT INTO stdout();" => r#"
error: there is no source called fle
  ╭▸ orders.sync:1:25
  │
1 │ PIPELINE orders AS FROM fle('a.ndjson') |> INSERT INTO stdout();
  │                         ━━━ file?
  ╰╴
help: sources: file, http, parquet
help: write file
  ╭╴
1 │ PIPELINE orders AS FROM file('a.ndjson') |> INSERT INTO stdout();
  ╰╴                         +
"#;
    a_connection_is_not_declared: steps("|> SELECT id\n|> INSERT INTO shop.orders") => r#"
error: there is no connection called shop
  ╭▸ orders.sync:4:16
  │
4 │ |> INSERT INTO shop.orders;
  │                ━━━━ no CONNECTION has this name
  ╰╴
help: declare it: CONNECTION shop TO … WITH (…);
"#;
    a_connector_is_not_there_yet: "CONNECTION bus TO kafka WITH (brokers = 'a:9092');" => r#"
error: the connector kafka is not part of this version
  ╭▸ orders.sync:1:19
  │
1 │ CONNECTION bus TO kafka WITH (brokers = 'a:9092');
  │                   ━━━━━ not there yet
  ╰╴
help: this version has: file, http, parquet, sqlite, stdout
"#;
    an_option_is_misspelt: "PIPELINE p WITH (checkpoint_evry = '1 s') AS FROM file('a') |> INSERT INTO stdout();" => r#"
error: a pipeline has no option checkpoint_evry
  ╭▸ orders.sync:1:18
  │
1 │ PIPELINE p WITH (checkpoint_evry = '1 s') AS FROM file('a') |> INSERT INTO stdout();
  │                  ━━━━━━━━━━━━━━━ checkpoint_every?
  ╰╴
help: options: changelog, checkpoint_every, delivery, future, idle_after, ledger, max_restarts, restart, restart_delay, standby, tasks
help: write checkpoint_every
  ╭╴
1 │ PIPELINE p WITH (checkpoint_every = '1 s') AS FROM file('a') |> INSERT INTO stdout();
  ╰╴                              +
"#;
    a_restart_is_misspelt: "PIPELINE p WITH (restart = 'on fail', max_restarts = 'many', restart_delay = 5)
AS FROM file('a') |> INSERT INTO stdout();" => r#"
error: restart has no value 'on fail'
  ╭▸ orders.sync:1:28
  │
1 │ PIPELINE p WITH (restart = 'on fail', max_restarts = 'many', restart_delay = 5)
  │                            ━━━━━━━━━ 'on failure'?
  ╰╴
help: it takes: never, on failure, always
help: write 'on failure'
  ╭╴
1 │ PIPELINE p WITH (restart = 'on failure', max_restarts = 'many', restart_delay = 5)
  ╰╴                                   +++

error: max_restarts is a count
  ╭▸ orders.sync:1:54
  │
1 │ PIPELINE p WITH (restart = 'on fail', max_restarts = 'many', restart_delay = 5)
  │                                                      ━━━━━━ something else
  ╰╴
help: write a whole number, without quotes: 10

error: restart_delay is a text
  ╭▸ orders.sync:1:78
  │
1 │ PIPELINE p WITH (restart = 'on fail', max_restarts = 'many', restart_delay = 5)
  │                                                                              ━ something else
  ╰╴
help: write text in single quotes: 'like this'
"#;
    an_argument_is_missing: steps("|> SELECT id\n|> INSERT INTO sqlite('shop.db')") => r#"
error: sqlite needs its table
  ╭▸ orders.sync:4:16
  │
4 │ |> INSERT INTO sqlite('shop.db');
  │                ━━━━━━━━━━━━━━━━━ no table
  ╰╴
help: sqlite(path, table)
"#;
    an_argument_is_of_another_kind: steps("|> INSERT INTO file(7)") => r#"
error: path is a text
  ╭▸ orders.sync:3:21
  │
3 │ |> INSERT INTO file(7);
  │                     ━ something else
  ╰╴
help: write text in single quotes: 'like this'
"#;
    a_schema_is_misspelt: "SCHEMA order_event (id BIGINT);
PIPELINE p AS FROM file('a') SCHEMA order_evnt |> INSERT INTO stdout();" => r#"
error: there is no schema called order_evnt
  ╭▸ orders.sync:2:37
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA order_evnt |> INSERT INTO stdout();
  │                                     ━━━━━━━━━━ order_event?
  ╰╴
help: in this file: order_event
help: write order_event
  ╭╴
2 │ PIPELINE p AS FROM file('a') SCHEMA order_event |> INSERT INTO stdout();
  ╰╴                                            +
"#;
    two_columns_have_one_name: steps("|> SELECT id, total AS id\n|> INSERT INTO stdout()") => r#"
error: two columns would be called id
  ╭▸ orders.sync:3:24
  │
3 │ |> SELECT id, total AS id
  │           ┬─           ━━ again
  │           │
  │           first here
  ╰╴
help: give one of them another name, or leave one out
"#;
    extend_meets_a_column: "SCHEMA s (id BIGINT, total BIGINT);
PIPELINE p AS FROM file('a') SCHEMA s |> EXTEND total * 2 AS total |> INSERT INTO stdout();" => r#"
error: there is a column total already
  ╭▸ orders.sync:2:62
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> EXTEND total * 2 AS total |> INSERT INTO stdout();
  │                                                              ━━━━━ EXTEND adds columns
  ╰╴
help: |> SET total = total * 2 changes it
"#;
    a_dedup_never_forgets: "PIPELINE orders AS\nFROM http('/orders')\n|> DEDUP BY id KEEP FIRST\n|> INSERT INTO stdout();" => r#"
error: this DEDUP would remember every id for ever
  ╭▸ orders.sync:3:4
  │
2 │ FROM http('/orders')
  │      ─────────────── never ends
3 │ |> DEDUP BY id KEEP FIRST
  │    ━━━━━━━━━━━ keeps every id that it sees: about 1.6 GB a day at 1,000 records a second
  ╰╴
help: say how late a repeat can come
  ╭╴
3 │ |> DEDUP BY id WITHIN '1 hour' KEEP FIRST
  ╰╴               +++++++++++++++
"#;
    a_dedup_has_no_length: steps("|> DEDUP BY id WITHIN '1 month'\n|> INSERT INTO stdout()") => r#"
error: this is no length of time
  ╭▸ orders.sync:3:23
  │
3 │ |> DEDUP BY id WITHIN '1 month'
  │                       ━━━━━━━━━ a month has no fixed length
  ╰╴
help: write how many days: '30 days', '365 days'
"#;
    the_clock_is_asked: steps("|> SELECT id, now() AS at\n|> INSERT INTO stdout()") => r#"
error: now gives another answer on every run
  ╭▸ orders.sync:3:15
  │
3 │ |> SELECT id, now() AS at
  │               ━━━ a record that is processed again would come out differently
  ╰╴
help: for the time of a record there are _timestamp and _ingested_at, which a replay sees again
help: take the moment at which the record came in
  ╭╴
3 - |> SELECT id, now() AS at
3 + |> SELECT id, _ingested_at AS at
  ╰╴
"#;
    an_aggregate_is_not_a_condition: steps("|> WHERE count(id) > 1\n|> INSERT INTO stdout()") => r#"
error: count is computed over many rows
  ╭▸ orders.sync:3:10
  │
3 │ |> WHERE count(id) > 1
  │          ━━━━━ this step sees one row at a time
  ╰╴
help: |> AGGREGATE … GROUP BY … before it computes it for each group, and names it: AS …
"#;
    a_condition_is_a_number: steps("|> WHERE length(customer)\n|> INSERT INTO stdout()") => r#"
error: WHERE needs a condition
  ╭▸ orders.sync:3:10
  │
3 │ |> WHERE length(customer)
  │          ━━━━━━━━━━━━━━━━ is INT, not BOOLEAN
  ╰╴
help: compare it with something: = … or IS NOT NULL
"#;
    types_do_not_fit: "SCHEMA s (id BIGINT, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at + id > at |> INSERT INTO stdout();" => r#"
error: TIMESTAMP and BIGINT do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at + id > at |> INSERT INTO stdout();
  │                                                ┯━   ── is BIGINT
  │                                                │
  │                                                is TIMESTAMP
  ╰╴
help: a moment is compared with a moment: to_timestamp_seconds(id); a length of time is added as INTERVAL '1 hour'
help: a record whose value does not fit goes to dead letters; TRY_CAST gives NULL for it
"#;
    strict_types_do_not_fit: "SCHEMA s (id BIGINT, paid BOOLEAN);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = id |> INSERT INTO stdout();" => r#"
error: BOOLEAN and BIGINT do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = id |> INSERT INTO stdout();
  │                                                ┯━━━   ── is BIGINT
  │                                                │
  │                                                is BOOLEAN
  ╰╴
help: write CAST(paid AS BIGINT), or CAST(id AS BOOLEAN)
help: a record whose value does not fit goes to dead letters; TRY_CAST gives NULL for it
"#;
    a_column_is_read_through_its_alias: "SCHEMA s (id BIGINT, name STRING);
PIPELINE p AS FROM file('a') SCHEMA s AS o |> WHERE o.name + 1 > 2 |> INSERT INTO stdout();" => r#"
error: STRING and BIGINT do not fit together
  ╭▸ orders.sync:2:53
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s AS o |> WHERE o.name + 1 > 2 |> INSERT INTO stdout();
  │                                                     ┯━━━━━   ─ is BIGINT
  │                                                     │
  │                                                     is STRING
  ╰╴
help: CAST sends a record whose value is no BIGINT to dead letters; TRY_CAST gives NULL for it
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s AS o |> WHERE o.name + 1 > 2 |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s AS o |> WHERE CAST(o.name AS BIGINT) + 1 > 2 |> INSERT INTO stdout();
  ╰╴
"#;
    a_function_lacks_an_argument: steps("|> SELECT id, replace(customer, ' ') AS customer\n|> INSERT INTO stdout()") => r#"
error: replace takes 3 arguments
  ╭▸ orders.sync:3:15
  │
3 │ |> SELECT id, replace(customer, ' ') AS customer
  │               ━━━━━━━━━━━━━━━━━━━━━━ 2 are given
  ╰╴
help: write replace(str, substr, replacement)
"#;
    a_function_takes_other_types: "SCHEMA s (id BIGINT, name STRING);
PIPELINE p AS FROM file('a') SCHEMA s |> SELECT abs(name) AS size |> INSERT INTO stdout();" => r#"
error: abs does not take (STRING)
  ╭▸ orders.sync:2:49
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> SELECT abs(name) AS size |> INSERT INTO stdout();
  │                                                 ━━━━━━━━━ the types do not fit
  ╰╴
help: CAST(… AS type) sends a record with a value that does not fit to dead letters; TRY_CAST gives NULL for it
help: its form is abs(numeric_expression)
"#;
    json_has_no_order: steps("|> WHERE total < price\n|> INSERT INTO stdout()") => r#"
error: JSON values have no order of their own
  ╭▸ orders.sync:3:10
  │
3 │ |> WHERE total < price
  │          ┯━━━━   ───── is JSON
  │          │
  │          is JSON
  ╰╴
help: say which they have: CAST(total AS DECIMAL(38, 10)), or AS STRING, or AS TIMESTAMP
help: a record whose value does not fit goes to dead letters; TRY_CAST gives NULL for it
"#;
    a_sequence_has_no_order: steps("|> SELECT id, v\n|> UPSERT INTO sqlite('a.db', 't') KEY (id) SEQUENCE BY v") => r#"
error: SEQUENCE BY needs values that have an order
  ╭▸ orders.sync:4:57
  │
4 │ |> UPSERT INTO sqlite('a.db', 't') KEY (id) SEQUENCE BY v;
  │                                                         ━ is JSON, which has none
  ╰╴
help: say which it has: CAST(v AS TIMESTAMP), or AS BIGINT
help: a record whose value does not fit goes to dead letters
"#;
    a_sink_cannot_change_rows: steps("|> SELECT id\n|> UPSERT INTO file('out/') KEY (id)") => r#"
error: file cannot UPSERT
  ╭▸ orders.sync:4:4
  │
4 │ |> UPSERT INTO file('out/') KEY (id);
  │    ━━━━━━━━━━━ file can: INSERT
  ╰╴
help: UPSERT works with: sqlite
"#;
    a_sink_wants_columns: steps("|> WHERE total > 1\n|> INSERT INTO parquet('out/')") => r#"
error: parquet needs to know the columns
  ╭▸ orders.sync:4:4
  │
4 │ |> INSERT INTO parquet('out/');
  │    ━━━━━━━━━━━━━━━━━━━━━━━━━━━ the record may have any fields here
  ╰╴
help: a SELECT before it, or a SCHEMA at the source, says which there are
help: select the fields that are used so far
  ╭╴
4 ± |> SELECT total
5 ± |> INSERT INTO parquet('out/');
  ╰╴
"#;
    a_promise_is_too_strong: "PIPELINE p WITH (delivery = 'exactly once') AS\nFROM file('a')\n|> TEE (|> INSERT INTO file('b'))\n|> INSERT INTO stdout();" => r#"
error: 'exactly once' cannot be kept to the end
  ╭▸ orders.sync:1:29
  │
1 │ PIPELINE p WITH (delivery = 'exactly once') AS
  │                             ━━━━━━━━━━━━━━ asked for here
2 │ FROM file('a')
3 │ |> TEE (|> INSERT INTO file('b'))
  │            ───────────────────── file: exactly once
4 │ |> INSERT INTO stdout();
  │    ──────────────────── stdout: at least once
  ╰╴
help: ask for what stdout can keep, or write somewhere else
"#;
    keep_last_meets_insert: steps("|> DEDUP BY id KEEP LAST\n|> INSERT INTO stdout()") => r#"
error: KEEP LAST changes rows that INSERT has written already
  ╭▸ orders.sync:4:4
  │
3 │ |> DEDUP BY id KEEP LAST
  │    ───────────────────── a later row takes the place of an earlier one
4 │ |> INSERT INTO stdout();
  │    ━━━━━━━━━━━━━━━━━━━━ adds a row and never changes one
  ╰╴
help: use UPSERT INTO … KEY (…), or KEEP FIRST
"#;
    a_flow_ends_nowhere: steps("|> WHERE id = 1") => r#"
error: this flow ends nowhere
  ╭▸ orders.sync:3:4
  │
3 │ |> WHERE id = 1;
  │    ━━━━━━━━━━━━ the last step passes its rows on
  ╰╴
help: end it with |> INSERT INTO …, |> UPSERT INTO … KEY (…) or |> REPLACE INTO … PER (…)
"#;
    a_step_is_behind_the_end: steps("|> INSERT INTO stdout()\n|> WHERE id = 1\n|> INSERT INTO stdout()") => r#"
error: no row comes to this step
  ╭▸ orders.sync:4:4
  │
3 │ |> INSERT INTO stdout()
  │    ─────────── the rows end here
4 │ |> WHERE id = 1
  │    ━━━━━━━━━━━━ after the end of its flow
  ╰╴
help: put it before the end, or write to several places with |> TEE (|> INSERT INTO …)
"#;
    two_upserts_disagree: steps("|> SELECT id, c\n|> TEE (|> UPSERT INTO sqlite('a.db', 't') KEY (c))\n|> UPSERT INTO sqlite('a.db', 't') KEY (id)") => r#"
error: sqlite('a.db', 't') is written by two different keys
  ╭▸ orders.sync:5:4
  │
4 │ |> TEE (|> UPSERT INTO sqlite('a.db', 't') KEY (c))
  │            ─────────────────────────────────────── by c
5 │ |> UPSERT INTO sqlite('a.db', 't') KEY (id);
  │    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ by id
  ╰╴
help: use one key for both, or two tables
"#;
    two_pipelines_feed_each_other: "PIPELINE a AS FROM file('in/*.ndjson') |> INSERT INTO file('out/');
PIPELINE b AS FROM file('out/*.ndjson') |> INSERT INTO file('in/');" => r#"
error: a reads what comes of what it writes
  ╭▸ orders.sync:1:43
  │
1 │ PIPELINE a AS FROM file('in/*.ndjson') |> INSERT INTO file('out/');
  │                                           ━━━━━━━━━━━━━━━━━━━━━━━━ comes back through file('in/*.ndjson')
  ╰╴
help: the way round: a → b → a
help: write to another place than the one that is read
"#;
    a_token_is_in_the_text: "CONNECTION shop TO sqlite WITH (path = 'ghp_0123456789abcdefghijABCDEFGHIJ');" => r#"
error: this looks like a secret, and a pipeline file is no place for one
  ╭▸ orders.sync:1:40
  │
1 │ CONNECTION shop TO sqlite WITH (path = 'ghp_0123456789abcdefghijABCDEFGHIJ');
  │                                        ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ looks like an access token
  ╰╴
help: store it: syncline secret set service/name, which reads it from the terminal
help: and name it here
  ╭╴
1 - CONNECTION shop TO sqlite WITH (path = 'ghp_0123456789abcdefghijABCDEFGHIJ');
1 + CONNECTION shop TO sqlite WITH (path = secret('service/name'));
  ╰╴
"#;
    a_primarys_delete_asks_for_what_is_not_there_yet: "SCHEMA s (id BIGINT, state STRING);
PIPELINE p AS FROM file('a') SCHEMA s
|> SHARD BY id INTO (PRIMARY things AS (
     |> SELECT id, state = 'gone' AS gone
     |> UPSERT INTO sqlite('a.db', 't') KEY (id) DELETE WHEN gone));" => r#"
error: there is no column gone at the SHARD
  ╭▸ orders.sync:5:62
  │
5 │      |> UPSERT INTO sqlite('a.db', 't') KEY (id) DELETE WHEN gone));
  │                                                              ━━━━ things makes it later; a primary's DELETE WHEN is evaluated at the SHARD
  ╰╴
help: columns there: id, state
help: or make it before: |> EXTEND … AS gone |> SHARD BY …
"#;
    a_watermark_is_something_else: "SCHEMA s (at TIMESTAMP, WATERMARK FOR at AS at + INTERVAL '1 hour');" => r#"
error: a watermark is its column minus an interval
  ╭▸ orders.sync:1:45
  │
1 │ SCHEMA s (at TIMESTAMP, WATERMARK FOR at AS at + INTERVAL '1 hour');
  │                                             ━━━━━━━━━━━━━━━━━━━━━━ another expression
  ╰╴
help: write how late a record can come
  ╭╴
1 - SCHEMA s (at TIMESTAMP, WATERMARK FOR at AS at + INTERVAL '1 hour');
1 + SCHEMA s (at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '30 seconds');
  ╰╴
"#;
    a_type_is_not_there: "SCHEMA s (at COLOUR);" => r#"
error: COLOUR is no type of a field
  ╭▸ orders.sync:1:14
  │
1 │ SCHEMA s (at COLOUR);
  │              ━━━━━━ this type
  ╰╴
help: these are: STRING, BIGINT, INT, SMALLINT, TINYINT, DECIMAL(p, s) up to 38 digits, DOUBLE, REAL, BOOLEAN, TIMESTAMP, DATE, BYTES, JSON, and lists of them (BIGINT[])
"#;
    a_test_row_is_too_long: steps("|> SELECT id\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"id\": 1}' EXPECT OUTPUT ROWS (1, 'ada') EXPECT DROPPED 1 BECAUSE 'filterd';" => r#"
error: this row has 2 values, and the sink 1 columns
  ╭▸ orders.sync:5:67
  │
5 │ TEST t FOR orders GIVEN INPUT ROWS '{"id": 1}' EXPECT OUTPUT ROWS (1, 'ada') EXPECT DROPPED 1 BECAUSE 'filterd';
  │                                                                   ━━━━━━━━━━ 2 values
  ╰╴
help: columns: id

error: nothing is dropped because of 'filterd'
  ╭▸ orders.sync:5:103
  │
5 │ TEST t FOR orders GIVEN INPUT ROWS '{"id": 1}' EXPECT OUTPUT ROWS (1, 'ada') EXPECT DROPPED 1 BECAUSE 'filterd';
  │                                                                                                       ━━━━━━━━━ 'filtered'?
  ╰╴
help: reasons: duplicate, filtered, late, stale, dead
help: write 'filtered'
  ╭╴
5 │ TEST t FOR orders GIVEN INPUT ROWS '{"id": 1}' EXPECT OUTPUT ROWS (1, 'ada') EXPECT DROPPED 1 BECAUSE 'filtered';
  ╰╴                                                                                                             +
"#;
    a_test_value_is_a_name: steps("|> SELECT id\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"id\": 1}' EXPECT OUTPUT ROWS (ada);" => r#"
error: a row of a test has constant values
  ╭▸ orders.sync:5:68
  │
5 │ TEST t FOR orders GIVEN INPUT ROWS '{"id": 1}' EXPECT OUTPUT ROWS (ada);
  ╰╴                                                                   ━━━ ada is a name; text takes single quotes
"#;
    a_test_expects_nothing: steps("|> SELECT id\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"id\": 1}';" => r#"
error: this test expects nothing
  ╭▸ orders.sync:5:6
  │
5 │ TEST t FOR orders GIVEN INPUT ROWS '{"id": 1}';
  │      ━ passes, whatever the pipeline does
  ╰╴
help: EXPECT OUTPUT ROWS (1, 'ada'), or DROPPED 1 BECAUSE 'filtered', or DEAD LETTERS 1
"#;
    a_text_in_double_quotes_is_a_field: steps("|> WHERE customer = \"ada\"\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"customer\": \"ada\", \"kind\": \"order\"}' EXPECT DEAD LETTERS 0;" => r#"
warning: ada is not in the one record that could be looked at
  ╭▸ orders.sync:3:21
  │
3 │ |> WHERE customer = "ada"
  │                     ━━━━━ double quotes name a field, and it is NULL in all of them
  ╰╴
help: fields there: customer, kind
help: text takes single quotes
  ╭╴
3 - |> WHERE customer = "ada"
3 + |> WHERE customer = 'ada'
  ╰╴
"#;
    a_field_is_in_no_sample: steps("|> WHERE custmer = 'ada'\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"customer\": \"ada\"}', 'broken' EXPECT DEAD LETTERS 1;" => r#"
warning: custmer is not in the one record that could be looked at
  ╭▸ orders.sync:3:10
  │
3 │ |> WHERE custmer = 'ada'
  │          ━━━━━━━ customer?
  ╰╴
help: fields there: customer
"#;
    an_alias_ends_at_select: "PIPELINE p AS FROM file('a') AS i |> SELECT i.id |> WHERE i.id = 1 |> INSERT INTO stdout();" => r#"
error: nothing is called i here
  ╭▸ orders.sync:1:59
  │
1 │ PIPELINE p AS FROM file('a') AS i |> SELECT i.id |> WHERE i.id = 1 |> INSERT INTO stdout();
  │                                      ┬──────────          ━ read here
  │                                      │
  │                                      SELECT makes new rows: i ends here
  ╰╴
help: write the column without i, or name the new rows: |> AS i
"#;
    a_text_is_compared_with_a_number: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = 49 |> INSERT INTO stdout();" => r#"
error: STRING and BIGINT do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = 49 |> INSERT INTO stdout();
  │                                                ┯━━━━━━   ── is BIGINT
  │                                                │
  │                                                is STRING
  ╰╴
help: as numbers: CAST(country AS BIGINT) sends a record whose value is no BIGINT to dead letters; TRY_CAST gives NULL for it
help: compare text with text
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = 49 |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = '49' |> INSERT INTO stdout();
  ╰╴
"#;
    a_text_is_compared_with_several_numbers: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country IN ('a', 1, 2) |> INSERT INTO stdout();" => r#"
error: STRING and BIGINT do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country IN ('a', 1, 2) |> INSERT INTO stdout();
  │                                                ┯━━━━━━          ─ is BIGINT
  │                                                │
  │                                                is STRING
  ╰╴
help: as numbers: CAST(country AS BIGINT) sends a record whose value is no BIGINT to dead letters; TRY_CAST gives NULL for it
help: compare text with text
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country IN ('a', 1, 2) |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country IN ('a', '1', '2') |> INSERT INTO stdout();
  ╰╴
"#;
    a_text_has_another_order_than_a_number: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country > 9.5 |> INSERT INTO stdout();" => r#"
error: STRING and DECIMAL(2, 1) do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country > 9.5 |> INSERT INTO stdout();
  │                                                ┯━━━━━━   ─── is DECIMAL(2, 1)
  │                                                │
  │                                                is STRING
  ╰╴
help: CAST sends a record whose value is no DECIMAL(38, 10) to dead letters; TRY_CAST gives NULL for it
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country > 9.5 |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE CAST(country AS DECIMAL(38, 10)) > 9.5 |> INSERT INTO stdout();
  ╰╴
"#;
    a_text_lies_between_numbers: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id BETWEEN country AND 9 |> INSERT INTO stdout();" => r#"
error: BIGINT and STRING do not fit together
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id BETWEEN country AND 9 |> INSERT INTO stdout();
  │                                                ┯━         ─────── is STRING
  │                                                │
  │                                                is BIGINT
  ╰╴
help: CAST sends a record whose value is no BIGINT to dead letters; TRY_CAST gives NULL for it
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id BETWEEN country AND 9 |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id BETWEEN CAST(country AS BIGINT) AND 9 |> INSERT INTO stdout();
  ╰╴
"#;
    a_word_is_no_moment: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at > 'yesterday' |> INSERT INTO stdout();" => r#"
error: 'yesterday' is no TIMESTAMP
  ╭▸ orders.sync:2:53
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at > 'yesterday' |> INSERT INTO stdout();
  │                                                ┬─   ━━━━━━━━━━━ a text
  │                                                │
  │                                                is TIMESTAMP
  ╰╴
help: a replay would see another one: a pipeline does not ask the clock; _ingested_at is when a record came in
help: write a moment
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at > 'yesterday' |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE at > '2026-11-20 10:00:00' |> INSERT INTO stdout();
  ╰╴
"#;
    a_word_is_no_number: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id > 0 AND id = 'seven' |> INSERT INTO stdout();" => r#"
error: 'seven' is no BIGINT
  ╭▸ orders.sync:2:64
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id > 0 AND id = 'seven' |> INSERT INTO stdout();
  │                                                           ┬─   ━━━━━━━ a text
  │                                                           │
  │                                                           is BIGINT
  ╰╴
help: compare text with text
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id > 0 AND id = 'seven' |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id > 0 AND CAST(id AS STRING) = 'seven' |> INSERT INTO stdout();
  ╰╴
"#;
    a_quoted_fraction_is_no_whole_number: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id IN (1, '7.5') |> INSERT INTO stdout();" => r#"
error: '7.5' is no BIGINT
  ╭▸ orders.sync:2:58
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id IN (1, '7.5') |> INSERT INTO stdout();
  │                                                ┬─        ━━━━━ a text
  │                                                │
  │                                                is BIGINT
  ╰╴
help: write it as a number
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id IN (1, '7.5') |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE id IN (1, 7.5) |> INSERT INTO stdout();
  ╰╴
"#;
    a_word_is_no_boolean: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = 'yes' |> INSERT INTO stdout();" => r#"
error: 'yes' is no BOOLEAN
  ╭▸ orders.sync:2:55
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = 'yes' |> INSERT INTO stdout();
  │                                                ┬───   ━━━━━ a text
  │                                                │
  │                                                is BOOLEAN
  ╰╴
help: write TRUE
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = 'yes' |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE paid = TRUE |> INSERT INTO stdout();
  ╰╴
"#;
    nothing_equals_null: "SCHEMA s (id BIGINT, country STRING, paid BOOLEAN, at TIMESTAMP);
PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) <> NULL |> INSERT INTO stdout();" => r#"
warning: = NULL is never true
  ╭▸ orders.sync:2:48
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) <> NULL |> INSERT INTO stdout();
  │                                                ━━━━━━━━━━━━━━ NULL is equal to nothing, and different from nothing
  ╰╴
help: write IS NULL
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) <> NULL |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country IS NULL OR lower(country) <> NULL |> INSERT INTO stdout();
  ╰╴

warning: <> NULL is never true
  ╭▸ orders.sync:2:66
  │
2 │ PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) <> NULL |> INSERT INTO stdout();
  │                                                                  ━━━━━━━━━━━━━━━━━━━━━━ NULL is equal to nothing, and different from nothing
  ╰╴
help: write IS NOT NULL
  ╭╴
2 - PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) <> NULL |> INSERT INTO stdout();
2 + PIPELINE p AS FROM file('a') SCHEMA s |> WHERE country = NULL OR lower(country) IS NOT NULL |> INSERT INTO stdout();
  ╰╴
"#;
    a_substring_of_what: steps("|> SELECT substring(customer) AS c\n|> INSERT INTO stdout()") => r#"
error: substring takes 2 or 3 arguments
  ╭▸ orders.sync:3:11
  │
3 │ |> SELECT substring(customer) AS c
  │           ━━━━━━━━━━━━━━━━━━━ 1 is given
  ╰╴
help: write substring(str, start_pos[, length])
"#;
    the_calendar_is_asked: steps("|> SELECT current_date AS day, random() AS r\n|> INSERT INTO stdout()") => r#"
error: current_date gives another answer on every run
  ╭▸ orders.sync:3:11
  │
3 │ |> SELECT current_date AS day, random() AS r
  │           ━━━━━━━━━━━━ a record that is processed again would come out differently
  ╰╴
help: for the time of a record there are _timestamp and _ingested_at, which a replay sees again
help: take the moment at which the record came in
  ╭╴
3 - |> SELECT current_date AS day, random() AS r
3 + |> SELECT CAST(_ingested_at AS DATE) AS day, random() AS r
  ╰╴

error: random gives another answer on every run
  ╭▸ orders.sync:3:32
  │
3 │ |> SELECT current_date AS day, random() AS r
  │                                ━━━━━━ a record that is processed again would come out differently
  ╰╴
help: a value of the record is the same on a replay: sha256(CAST(id AS STRING)), for example
"#;
    a_member_is_in_no_sample: steps("|> WHERE customer.address.ctiy = 'Graz' AND items[0]['skuu'] = 'a' AND customer.phone IS NULL\n|> INSERT INTO stdout()").as_str().to_owned() + "
TEST t FOR orders GIVEN INPUT ROWS '{\"customer\": {\"address\": {\"city\": \"Graz\"}}, \"items\": [{\"sku\": 1}]}', '{\"customer\": \"ada\"}' EXPECT DEAD LETTERS 0;" => r#"
warning: customer.address.ctiy is not in the one object that could be looked at
  ╭▸ orders.sync:3:27
  │
3 │ |> WHERE customer.address.ctiy = 'Graz' AND items[0]['skuu'] = 'a' AND customer.phone IS NULL
  │                           ━━━━ city?
  ╰╴
help: customer.address has: city

warning: items[…].skuu is not in the one object that could be looked at
  ╭▸ orders.sync:3:54
  │
3 │ |> WHERE customer.address.ctiy = 'Graz' AND items[0]['skuu'] = 'a' AND customer.phone IS NULL
  │                                                      ━━━━━━ sku?
  ╰╴
help: items[…] has: sku

warning: customer.phone is not in the one object that could be looked at
  ╭▸ orders.sync:3:81
  │
3 │ |> WHERE customer.address.ctiy = 'Graz' AND items[0]['skuu'] = 'a' AND customer.phone IS NULL
  │                                                                                 ━━━━━ NULL in all of them
  ╰╴
help: customer has: address
"#;
    a_column_is_not_grouped: steps("|> AGGREGATE COUNT(*) AS n, customer.city GROUP BY country\n|> INSERT INTO stdout()") => r#"
error: a group has many values of customer.city
  ╭▸ orders.sync:3:29
  │
3 │ |> AGGREGATE COUNT(*) AS n, customer.city GROUP BY country
  │                             ━━━━━━━━━━━━━ neither a key of the group nor inside an aggregate
  ╰╴
help: MIN(CAST(customer.city AS STRING)) or MAX(CAST(customer.city AS STRING)) gives one of them, COUNT(DISTINCT customer.city) how many there are
help: make it a key of the group
  ╭╴
3 │ |> AGGREGATE COUNT(*) AS n, customer.city GROUP BY country, customer.city
  ╰╴                                                          +++++++++++++++
"#;
    a_column_is_not_aggregated: steps("|> AGGREGATE COUNT(*) AS n, customer['city'] AS city\n|> INSERT INTO stdout()") => r#"
error: a group has many values of customer['city']
  ╭▸ orders.sync:3:29
  │
3 │ |> AGGREGATE COUNT(*) AS n, customer['city'] AS city
  │                             ━━━━━━━━━━━━━━━━ neither a key of the group nor inside an aggregate
  ╰╴
help: MIN(CAST(customer['city'] AS STRING)) or MAX(CAST(customer['city'] AS STRING)) gives one of them, COUNT(DISTINCT customer['city']) how many there are
help: make it a key of the group
  ╭╴
3 │ |> AGGREGATE COUNT(*) AS n, customer['city'] AS city GROUP BY customer['city']
  ╰╴                                                     +++++++++++++++++++++++++
"#;
}
