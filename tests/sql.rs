//! SQL for everyone: psql against a running process, and the same answer through every door.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    desk::{Desk, Running, Said, binary},
    web::Client,
};

const ORDERS: &str = "
PIPELINE orders AS
FROM http('/orders')
|> DEDUP BY id WITHIN '1 hour'
|> SELECT id, CAST(total AS DECIMAL(12, 2)) AS total
|> INSERT INTO file('out/');
";
const PASSWORD: &str = "tr0ub4dor";
/// A question that nobody waits for.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b";
/// What ends within this was ended, on any machine.
const SOON: Duration = Duration::from_secs(20);

/// A process that runs, and the doors to it.
struct House {
    desk: Desk,
    running: Running,
    http: SocketAddr,
    postgres: SocketAddr,
}

pub fn psql() -> PathBuf {
    let programs = std::env::var_os("SYNCLINE_POSTGRES").map(PathBuf::from);
    programs
        .expect("the folder of PostgreSQL's programs in SYNCLINE_POSTGRES: run ./test, which looks for them")
        .join("psql")
}

/// Runs `syncline user add NAME` with a password on its standard input.
pub fn add_user(desk: &Desk, name: &str, password: &str) -> Said {
    let script = format!("printf '%s\\n' '{password}' | \"$0\" user add {name}");
    let command = desk.other("sh", &["-c", &script, &binary().to_string_lossy()]);
    Running::start(command, format!("user add {name}")).end(crate::desk::PATIENCE)
}

impl House {
    fn open(more: &[&str]) -> House {
        let desk = Desk::with(ORDERS);
        add_user(&desk, "ada", PASSWORD).expect(0);
        let arguments = ["run", "orders.sync", "--listen", "127.0.0.1:0", "--postgres", "127.0.0.1:0"];
        let mut running = desk.start(&[&arguments[..], more].concat());
        let http = running.address();
        let told = |err: &str| err.split_once("clients are answered on ")?.1.split_whitespace().next()?.parse().ok();
        let mut postgres = None;
        running.until("PostgreSQL's clients are answered", |running| {
            postgres = told(&running.err());
            postgres.is_some()
        });
        House { desk, running, http, postgres: postgres.expect("just seen") }
    }

    /// With three records taken: a repeat, and one whose total is no number.
    fn lived_in() -> House {
        let mut house = House::open(&[]);
        let lines =
            "{\"id\":1,\"total\":\"9.50\"}\n{\"id\":1,\"total\":\"9.50\"}\n{\"id\":2,\"total\":\"a \\\"b\\\",\\n\"}\n";
        house.take(lines);
        let desk = &house.desk;
        house.running.until("the records are through", |_| desk.value("SELECT sum(rows_in) FROM runs") == 3);
        house
    }

    fn take(&self, lines: &str) {
        let taken =
            Client::to(self.http).post("/in/orders", &[("content-type", "application/x-ndjson")], lines.as_bytes());
        assert_eq!(taken.status, 202, "{taken:?}");
    }

    fn psql(&self, arguments: &[&str]) -> Command {
        let mut command = self.desk.other(psql(), &["-X", "-h", "127.0.0.1", "-U", "ada", "-d", "syncline"]);
        command.args(["-p", &self.postgres.port().to_string()]).args(arguments);
        command.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "20").env_remove("PGSSLMODE");
        command
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        Running::start(self.psql(arguments), format!("psql {}", arguments.join(" "))).end(crate::desk::PATIENCE)
    }

    /// Rows without their frame, `|` between values.
    fn rows(&self, sql: &str) -> Vec<String> {
        self.ask(&["-Atc", sql]).expect(0).out().lines().map(str::to_owned).collect()
    }
}

#[test]
fn psql_lists_tables_describes_them_and_joins_the_ledger_with_state() {
    let house = House::lived_in();
    let tables = house.ask(&["-Atc", "\\dt"]).expect(0).out();
    for table in ["public|runs|table", "public|ledger|table", "public|watermarks|table", "orders|dedup|table"] {
        assert!(tables.contains(table), "{table}: {tables}");
    }
    assert!(house.ask(&["-Atc", "\\d"]).expect(0).out().contains("public|steps|table"));
    let runs = house.ask(&["-Atc", "\\d runs"]).expect(0).out();
    for column in ["pipeline|text|", "run|bigint|", "balanced|boolean|", "started|timestamp"] {
        assert!(runs.contains(column), "{column}: {runs}");
    }
    assert!(house.ask(&["-Atc", "\\d orders.dedup"]).expect(0).out().contains("key_fingerprint|text|"));
    assert!(house.ask(&["-c", "\\d nothing"]).err.contains("Did not find any relation named \"nothing\""));
    let joined = "SELECT l.step, l.fate, s.keys FROM ledger l JOIN (SELECT 'orders' AS pipeline, count(*) AS keys FROM orders.dedup) s \
                  USING (pipeline) WHERE l.step = 'dedup' ORDER BY l.fate";
    assert_eq!(house.rows(joined), ["dedup|duplicate|2"]);
    let piped = "FROM ledger AS l |> JOIN steps AS s ON s.pipeline = l.pipeline AND s.step = l.step |> WHERE l.fate = 'duplicate' \
                 |> SELECT s.step, s.rows_in, s.duplicate";
    assert_eq!(house.rows(piped), ["dedup|3|1"]);
    assert_eq!(house.rows("FROM pipeline_state('orders', 'dedup') |> AGGREGATE count(*) AS keys"), ["2"]);
    assert_eq!(house.rows("SELECT lag, \"end\" FROM lag"), ["0|3"]);
}

#[test]
fn only_users_get_in_and_a_start_without_one_says_how_to_add_him() {
    let desk = Desk::with(ORDERS);
    let refused = desk.say(&["run", "orders.sync", "--postgres", "127.0.0.1:0"]).expect(2);
    for part in ["--postgres lets in users, and there is none", "syncline user add NAME"] {
        assert!(refused.err.contains(part), "{}", refused.err);
    }
    assert!(add_user(&desk, "ada", "short").expect(2).err.contains("a password has 8 characters or more"));
    assert!(!desk.path(".syncline/users").exists());
    let house = House::open(&[]);
    assert_eq!(house.rows("SELECT 1"), ["1"]);
    for (name, password) in [("ada", "tr0ub4dor "), ("bob", PASSWORD), ("ada", "")] {
        let mut other = house.psql(&["-w", "-c", "SELECT 1"]);
        other.env("PGUSER", name).env("PGPASSWORD", password).args(["-U", name]);
        let said = Running::start(other, format!("psql -U {name}")).end(crate::desk::PATIENCE).expect(2);
        let words = ["password authentication failed", "no password supplied", "empty password"];
        assert!(words.iter().any(|words| said.err.contains(words)), "{}", said.err);
    }
    let users = fs::read_to_string(house.desk.path(".syncline/users")).expect("users");
    assert!(users.contains("SCRAM-SHA-256$") && !users.contains(PASSWORD), "{users}");
    assert!(!house.running.err().contains(PASSWORD) && house.running.err().contains("a login was refused"));
    assert_eq!(house.desk.ok(&["user", "list", "-o", "csv"]), "name,role\nada,viewer\n");
    house.desk.ok(&["user", "remove", "ada"]);
    assert!(house.ask(&["-c", "SELECT 1"]).expect(2).err.contains("password authentication failed"));
}

#[test]
fn beyond_this_machine_and_with_a_certificate_there_is_tls_or_nothing() {
    let desk = Desk::with(ORDERS);
    add_user(&desk, "ada", PASSWORD).expect(0);
    let refused = desk.say(&["run", "orders.sync", "--postgres", "0.0.0.0:0"]).expect(2);
    assert!(refused.err.contains("can be reached from other machines") && refused.err.contains("--postgres-tls-cert"));
    desk.write("broken.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n");
    for (certificate, key) in [("none.pem", "none.pem"), ("broken.pem", "broken.pem"), ("orders.sync", "orders.sync")] {
        let tls = ["--postgres-tls-cert", certificate, "--postgres-tls-key", key];
        let said = desk.say(&[&["run", "orders.sync", "--postgres", "127.0.0.1:0"][..], &tls].concat()).expect(2);
        assert!(said.err.contains(&format!("--postgres-tls-cert {certificate} cannot be used")), "{}", said.err);
    }
    let make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(make).args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(openssl.status().expect("openssl").success());
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let house = House::open(&["--postgres-tls-cert", &certificate, "--postgres-tls-key", &key]);
    let asked = |mode: &str| {
        let mut command = house.psql(&["-Atc", "SELECT 'secret'"]);
        command.env("PGSSLMODE", mode).env("PGSSLROOTCERT", &*certificate);
        Running::start(command, format!("psql with sslmode={mode}")).end(crate::desk::PATIENCE)
    };
    assert_eq!(asked("require").expect(0).out(), "secret\n");
    assert_eq!(asked("verify-full").expect(0).out(), "secret\n");
    let plain = asked("disable").expect(2);
    assert!(
        plain.err.contains("this server speaks with TLS only") && plain.err.contains("sslmode=require"),
        "{}",
        plain.err
    );
}

#[test]
fn nothing_is_written_and_nothing_outside_is_read() {
    let house = House::lived_in();
    let folder = house.desk.path("");
    fs::write(folder.join("secret.csv"), "a\n1\n").expect("a file");
    for (sql, code, words) in [
        ("CREATE TABLE t (a INT)", "25006", "would write, and a query only reads"),
        ("CREATE TABLE t AS SELECT 1", "25006", "would write"),
        ("DROP TABLE runs", "25006", "DROP TABLE would write"),
        ("INSERT INTO runs SELECT * FROM runs", "25006", "INSERT INTO would write"),
        ("UPDATE runs SET run = 2", "25006", "would write"),
        ("DELETE FROM runs", "25006", "would write"),
        ("TRUNCATE runs", "25006", "TRUNCATE would write"),
        ("SELECT * INTO copy FROM runs", "25006", "would write"),
        ("COPY runs TO 'out.csv'", "25006", "COPY would write"),
        ("COPY runs FROM STDIN", "25006", "COPY would write"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'secret.csv'", "25006", "would write"),
        ("GRANT ALL ON runs TO ada", "25006", "GRANT would write"),
        ("SELECT * FROM 'secret.csv'", "42501", "'secret.csv' would reach outside"),
        ("SELECT * FROM '/etc/passwd'", "42501", "would reach outside"),
        ("SELECT * FROM read_csv('secret.csv')", "42501", "read_csv() would reach outside"),
        ("SELECT pg_read_file('secret.csv')", "42501", "pg_read_file() would reach outside"),
        ("SELECT * FROM dblink('host=other', 'SELECT 1')", "42501", "dblink() would reach outside"),
        ("SELECT lo_import('/etc/passwd')", "42501", "lo_import() would reach outside"),
        ("SET datafusion.execution.batch_size = 1", "42501", "is set by the process"),
        ("SELECT * FROM run", "42P01", "did you mean `runs`?"),
        ("SELECT stat FROM runs", "42703", "did you mean `state`?"),
        ("SELEC 1", "42601", "this is not SQL"),
    ] {
        let said = house.ask(&["-v", "VERBOSITY=verbose", "-c", sql]).expect(1);
        assert!(said.err.contains(code) && said.err.contains(words), "{sql}\n{}", said.err);
    }
    let mut names: Vec<_> =
        fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, [".syncline", "orders.sync", "out", "secret.csv"]);
    assert_eq!(house.rows("BEGIN READ ONLY; SELECT 1; COMMIT"), ["BEGIN", "1", "COMMIT"]);
}

#[test]
fn a_runaway_join_ends_by_its_time_by_a_cancel_and_with_its_client_while_pipelines_go_on() {
    let house = House::lived_in();
    let began = Instant::now();
    let timed = house.ask(&["-c", "SET statement_timeout = '300ms'", "-c", ENDLESS]).expect(1);
    assert!(timed.err.contains("longer than") && began.elapsed() < SOON, "{}", timed.err);
    // It says when it is about to ask: a machine that compiles beside it is slow.
    let endless = || {
        let mut asking = Running::start(house.psql(&["-c", "\\warn asking", "-c", ENDLESS]), "psql".to_owned());
        asking.until("it is in", |asking| asking.err().contains("asking"));
        asking
    };
    let mut cancelled = endless();
    house.take("{\"id\":3,\"total\":1}\n");
    let asked = Instant::now();
    while !cancelled.ended() {
        assert!(asked.elapsed() < SOON, "{}", cancelled.err());
        thread::sleep(Duration::from_millis(200));
        cancelled.signal("INT");
    }
    let said = cancelled.end(SOON);
    assert!(said.err.contains("canceling statement due to user request"), "{}", said.err);
    // More of them than there are places for questions: each place is free again when its client is gone.
    for _ in 0..6 {
        let gone = endless();
        thread::sleep(Duration::from_millis(200));
        assert!(gone.kill());
    }
    assert_eq!(house.rows("SELECT rows_in FROM runs"), ["4"]);
    let desk = &house.desk;
    let mut running = house.running;
    running.until("the record of meanwhile is through", |_| desk.value("SELECT sum(rows_in) FROM runs") == 4);
    running.stop().expect(0);
}

/// Every kind of value there is, and what CSV has to quote.
const KINDS: &str = "SELECT * FROM (VALUES
    (1, CAST(9.50 AS DECIMAL(12, 2)), true, 'a \"b\", c', CAST(0.1 AS DOUBLE), TIMESTAMP '2026-11-20T10:00:00.25', DATE '2026-11-20',
     arrow_cast('0aff', 'Binary'), [1, 2], CAST(1e20 AS DOUBLE)),
    (-9007199254740993, CAST(-0.05 AS DECIMAL(12, 2)), false, 'two
lines', CAST('NaN' AS DOUBLE), TIMESTAMP '1969-12-31T23:59:59.999999', DATE '0001-01-01', arrow_cast('', 'Binary'), [], CAST(1e-7 AS DOUBLE)),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (0, CAST(0 AS DECIMAL(12, 2)), true, '', CAST(0 AS DOUBLE), TIMESTAMP '2026-11-20', DATE '2026-11-20', NULL, NULL, NULL),
    (0, NULL, true, '\\.', NULL, NULL, NULL, NULL, NULL, NULL), (0, NULL, true, ' {\"j\": 1} ', NULL, NULL, NULL, NULL, NULL, NULL)
  ) t(\"n, n\", amount, flag, text, ratio, at, day, bytes, list, far)";

#[test]
fn the_same_question_gives_the_same_bytes_as_csv_by_http_by_the_command_and_by_psql() {
    let house = House::lived_in();
    let by_http = |sql: &str| {
        house.desk.write("question.json", json!({ "sql": sql }).to_string());
        let address = format!("http://{}/v1/queries", house.http);
        let accept = ["-H", "accept: text/csv", "--data-binary", "@question.json", &address];
        let mut curl = house.desk.other("curl", &["-sf"]);
        curl.args(accept);
        Running::start(curl, "curl".to_owned()).end(crate::desk::PATIENCE).expect(0).out()
    };
    for sql in [
        KINDS,
        "SELECT * FROM dead_letters",
        "SELECT * FROM steps ORDER BY step",
        "SELECT * FROM runs WHERE false",
        "FROM ledger |> WHERE fate <> 'passed' |> ORDER BY record_offset",
    ] {
        let by_psql = house.ask(&["--csv", "-c", sql]).expect(0).out();
        assert_eq!(house.desk.ok(&["query", sql, "-o", "csv"]), by_psql, "{sql}");
        assert_eq!(by_http(sql), by_psql, "{sql}");
    }
    let kinds = house.ask(&["--csv", "-c", KINDS]).expect(0).out();
    let first = "1,9.50,t,\"a \"\"b\"\", c\",0.1,2026-11-20 10:00:00.25,2026-11-20,\\x30616666,\"[1,2]\",1e+20\n";
    assert!(kinds.contains(first), "{kinds}");
    assert!(kinds.contains("\n,,,,,,,,,\n"), "{kinds}");
}

#[test]
fn an_answer_has_the_form_that_was_asked_for_and_a_query_can_be_ended() {
    let house = House::lived_in();
    let mut client = Client::to(house.http);
    let mut ask = |sql: &str, headers: &[(&str, &str)]| {
        client.post("/v1/queries", headers, json!({ "sql": sql }).to_string().as_bytes())
    };
    let json = ask("SELECT 1 AS n", &[("syncline-query-id", "mine")]);
    assert_eq!(json.header("syncline-query-id"), Some("mine"));
    assert_eq!(json.json()["rows"], json!([[1]]));
    assert!(ask("SELECT 1", &[]).header("syncline-query-id").is_some_and(|id| id.len() == 16));
    let refused = ask("SELECT 1", &[("accept", "image/png, text/html;q=0.9")]);
    assert_eq!(refused.status, 406, "{refused:?}");
    assert!(refused.json()["help"][0].as_str().is_some_and(|help| help.contains("text/csv")), "{refused:?}");
    let address = house.http;
    let endless = thread::spawn(move || {
        let question = json!({ "sql": ENDLESS }).to_string();
        Client::to(address).post("/v1/queries", &[("syncline-query-id", "endless")], question.as_bytes())
    });
    let url = format!("http://{address}/v1/queries/endless");
    let began = Instant::now();
    let end = || {
        let mut curl = house.desk.other("curl", &["-s", "-o", "answer", "-w", "%{http_code}", "-X", "DELETE", &url]);
        String::from_utf8(curl.output().expect("curl").stdout).expect("a status")
    };
    while end() != "204" {
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    let ended = endless.join().expect("no panic");
    assert_eq!((ended.status, &ended.json()["type"]), (409, &json!("urn:syncline:query-cancelled")));
    assert_eq!(end(), "404");
}

/// Each of them is deeper than a stack, or would keep a thread for minutes: the process ended, with its pipelines.
#[test]
fn a_question_too_deep_to_be_planned_is_refused_and_ends_nobody() {
    let house = House::lived_in();
    let doubled = |at: usize| format!(", c{at} AS (SELECT * FROM c{} UNION ALL SELECT * FROM c{})", at - 1, at - 1);
    let doubled: String = (1..26).map(doubled).collect();
    for (sql, what) in [
        (format!("SELECT 1{}", " + 1".repeat(2000)), "500 operators"),
        (format!("SELECT run FROM runs WHERE run = 1{}", " OR run = 2".repeat(2000)), "500 operators"),
        (format!("FROM runs {}", "|> LIMIT 1 ".repeat(1000)), "400 tables, joins and pipes"),
        (format!("WITH c0 AS (SELECT 1 AS a){doubled} SELECT count(*) FROM c25"), "2000 tables"),
    ] {
        let refused = house.ask(&["-v", "VERBOSITY=verbose", "-c", &sql]).expect(1);
        assert!(refused.err.contains("54001") && refused.err.contains(what), "{}", refused.err);
        let refused = house.desk.say(&["query", &sql]).expect(1);
        assert!(refused.err.contains(what), "{}", refused.err);
    }
    // What people ask is answered, with and without a process: these ended both.
    for (sql, expected) in [
        (format!("SELECT 1{}", " + 1".repeat(300)), "301"),
        (format!("FROM runs |> SELECT rows_in {}", "|> LIMIT 1 ".repeat(60)), "3"),
        (format!("SELECT rows_in FROM {}runs{}", "(SELECT * FROM ".repeat(12), ")".repeat(12)), "3"),
    ] {
        assert_eq!(house.rows(&sql), [expected]);
        let printed = house.desk.ok(&["query", &sql, "-o", "ndjson"]);
        assert!(printed.ends_with(&format!(":{expected}}}\n")), "{printed}");
    }
    let House { desk, running, .. } = house;
    running.stop().expect(0);
    for steps in [60, 350] {
        let sql = format!("FROM runs |> SELECT rows_in {}", "|> LIMIT 1 ".repeat(steps));
        assert_eq!(desk.ok(&["query", &sql, "-o", "csv"]), "rows_in\n3\n");
    }
}

/// A driver that fetches row by row holds a place for questions. Four that stopped reading held all places for half an hour.
#[test]
fn an_answer_that_is_half_read_keeps_its_place_no_longer_than_a_question_may_take() {
    let house = House::open(&[]);
    let options = format!(
        "host=127.0.0.1 port={} user=ada password={PASSWORD} options='-c statement_timeout=1s'",
        house.postgres.port()
    );
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    threads.block_on(async {
        let mut clients = vec![];
        for _ in 0..4 {
            let (client, connection) = tokio_postgres::connect(&options, tokio_postgres::NoTls).await.expect("in");
            tokio::spawn(connection);
            clients.push(client);
        }
        let mut open = vec![];
        for client in &mut clients {
            let transaction = client.transaction().await.expect("a transaction");
            let series = "SELECT * FROM generate_series(1, 1000000)";
            let portal = transaction.bind(series, &[]).await.expect("a portal");
            let rows = transaction.query_portal(&portal, 2).await.expect("rows");
            assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [1, 2]);
            open.push((transaction, portal));
        }
        assert_eq!(house.rows("SELECT 7"), ["7"]);
        let (transaction, portal) = &open[0];
        let late = transaction.query_portal(portal, 2).await.expect_err("its time is over");
        assert_eq!(late.code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED), "{late:?}");
    });
}

#[test]
fn a_file_of_questions_is_answered_up_to_the_first_that_fails() {
    let house = House::lived_in();
    house.desk.write("report.sql", "-- two\nSELECT 1 AS a; SELECT ';' AS b;\nSELECT * FROM nothing; SELECT 2 AS c");
    let said = house.desk.say(&["query", "-f", "report.sql", "-o", "csv"]).expect(1);
    assert_eq!(said.out(), "a\n1\nb\n;\n");
    assert!(said.err.contains("there is no table `nothing`"), "{}", said.err);
    assert_eq!(house.desk.ok(&["query", "-c", "FROM runs |> SELECT rows_in", "-o", "csv"]), "rows_in\n3\n");
    let columns = house.desk.ok(&["query", "-c", "\\d orders.dedup", "-o", "csv"]);
    assert_eq!(columns, "column,type\nkey_fingerprint,STRING\nkept_at,TIMESTAMP\nepoch,BIGINT\n");
    assert!(house.desk.ok(&["query", "-c", "\\dt", "-o", "csv"]).contains("public,runs\n"));
}

/// The last word of a process was lost: it had no commit behind it.
#[test]
fn what_happened_to_a_pipeline_is_told_when_it_is_over_too() {
    let house = House::lived_in();
    let House { desk, running, .. } = house;
    running.stop().expect(0);
    let mut second = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    let sent = Client::to(second.address()).post("/in/orders", &[], b"{\"id\": 9, \"total\": 1}");
    assert_eq!(sent.status, 202);
    // Committed, and all that was noted before it too.
    second.until("the record is through", |_| desk.value("SELECT sum(rows_in) FROM runs") == 4);
    assert!(second.kill());
    desk.start(&["run", "orders.sync", "--once"]).end(crate::desk::PATIENCE).expect(0);
    let told =
        desk.query("SELECT number, event, run, attempt, reason IS NULL AS silent FROM run_events ORDER BY number");
    let event = |number: u64, event: &str, run: u64, attempt: u64, silent: bool| json!({"number": number, "event": event, "run": run, "attempt": attempt, "silent": silent});
    let first = [event(1, "started", 1, 1, true), event(2, "stopped", 1, 1, true), event(3, "started", 2, 1, true)];
    assert_eq!(told[..3], first, "{told:?}");
    let last = told.last().expect("more");
    assert!(last["event"] == "ended" && last["attempt"] == 2, "{told:?}");
}

/// A value that a question gets wrong is the asker's: it was an error of the server, with a status and a code that say so.
#[test]
fn a_value_that_has_no_answer_is_told_with_its_code() {
    let house = House::lived_in();
    let mut client = Client::to(house.http);
    for (sql, code, words) in [
        ("SELECT 1 / 0", "22012", "division by zero"),
        ("SELECT CAST('x' AS INT)", "22P02", "'x'"),
        ("SELECT CAST(1e30 AS BIGINT)", "22P02", "is not a BIGINT"),
        ("SELECT 9223372036854775807 + 1", "22003", "9223372036854775807 + 1 is no BIGINT"),
        (
            "SELECT -(total + 9223372036854775807) FROM (SELECT sum(rows_in) AS total FROM runs) t",
            "22003",
            "is no BIGINT",
        ),
        (
            "SELECT sum(v) FROM (VALUES (9223372036854775807), (1)) t(v)",
            "22003",
            "a sum of 9223372036854775808 is no BIGINT",
        ),
        ("SELECT abs(-9223372036854775808)", "22003", "abs(-9223372036854775808) is out of range"),
    ] {
        let said = house.ask(&["-v", "VERBOSITY=verbose", "-c", sql]).expect(1);
        assert!(said.err.contains(code) && said.err.contains(words), "{sql}\n{}", said.err);
        let problem = client.post("/v1/queries", &[], json!({ "sql": sql }).to_string().as_bytes());
        assert_eq!((problem.status, &problem.json()["type"]), (422, &json!("urn:syncline:query-value")), "{sql}");
    }
}
