//! One question on three processes: the same answer as from one, and never a wrong one, whatever becomes of a process meanwhile.
//!
//! The ledger is made by hand, as large as workers are worth; so is a small one by a pipeline that ran here, in the same place.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::{
    chance::{Chance, kills, soak},
    desk::{Desk, PATIENCE, Running, Said, patience},
    promises::figure,
};

const START: i64 = 1_763_812_800_000_000;
const DAY: i64 = 86_400_000_000;
const FILES: u64 = 8;
const ROWS: u64 = 50_000;
const WORKERS: usize = 3;
/// Each batch of a part takes so long while a test looks for the middle of a question.
const SLOW: &str = "slow 120";

const QUESTIONS: [&str; 10] = [
    "SELECT pipeline, step, fate, count(*) AS n, min(time) AS first, max(time) AS last FROM ledger GROUP BY ALL ORDER BY 1, 2, 3",
    "SELECT count(DISTINCT record_offset) AS records, count(DISTINCT source) AS sources FROM ledger",
    "SELECT a.step AS one, b.step AS other, count(*) AS n FROM ledger a JOIN ledger b \
     ON a.pipeline = b.pipeline AND a.record_offset = b.record_offset AND a.step < b.step GROUP BY ALL ORDER BY 1, 2",
    "SELECT r.state, l.fate, count(*) AS n FROM ledger l LEFT JOIN runs r ON r.pipeline = l.pipeline GROUP BY ALL ORDER BY 1, 2",
    "SELECT * FROM (SELECT step, record_offset, time, row_number() OVER (PARTITION BY step ORDER BY time DESC, record_offset, source) AS n \
     FROM ledger) WHERE n <= 3 ORDER BY step, n",
    "SELECT pipeline, step, source, record_offset, time FROM ledger WHERE fate = 'dead' \
     ORDER BY time DESC, record_offset, source, step LIMIT 50 OFFSET 7",
    "SELECT step, sum(record_offset / 7) AS sevenths, sum(CAST(record_offset * 1.5 AS BIGINT)) AS halves, \
     max(lpad(reason, 12, '.')) AS reason FROM ledger GROUP BY step ORDER BY step",
    "SELECT date_trunc('hour', time) AS hour, avg(record_offset) AS mean, approx_distinct(step) AS steps FROM ledger \
     GROUP BY hour HAVING count(*) > 10 ORDER BY hour LIMIT 40",
    "SELECT count(*) AS n FROM ledger l WHERE record_offset > (SELECT avg(record_offset) FROM ledger) \
     AND NOT EXISTS (SELECT 1 FROM ledger o WHERE o.record_offset = l.record_offset AND o.fate = 'late')",
    "SELECT fate, n FROM (SELECT fate, count(*) AS n FROM records_dropped GROUP BY fate \
     UNION ALL SELECT 'all', count(*) FROM ledger WHERE pipeline IN ('big', 'orders')) ORDER BY n, fate",
];

fn texts(texts: impl Iterator<Item = &'static str>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(texts))
}

/// Writes a ledger of another data folder: some millions of bytes that do not compress away.
fn write_ledger(place: &Path) {
    let mut chance = Chance::of(11);
    let folder = place.join("pipeline=big/day=2025-11-22");
    fs::create_dir_all(&folder).expect("a folder");
    let text = |name| Field::new(name, DataType::Utf8View, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Arc::new(Schema::new(vec![
        text("pipeline"),
        text("step"),
        text("fate"),
        text("reason"),
        text("source"),
        Field::new("record_offset", DataType::Int64, true),
        Field::new("time", time, true),
    ]));
    let steps = ["source", "where", "dedup", "upsert"];
    let fates = ["filtered", "duplicate", "dead", "late", "passed"];
    let mut files = vec![];
    for file in 0..FILES {
        let name = format!("{file}.parquet");
        let picks: Vec<(usize, usize)> =
            (0..ROWS).map(|_| (chance.below(4) as usize, (chance.below(50) as usize).saturating_sub(45))).collect();
        let offsets: Int64Array = (0..ROWS).map(|_| Some(chance.below(1 << 40) as i64 % 300_000)).collect();
        let times: Vec<i64> = (0..ROWS).map(|_| START + chance.below(DAY as u64) as i64).collect();
        let (from, to) = (*times.iter().min().expect("rows"), *times.iter().max().expect("rows"));
        let sources = ["orders:0", "orders:1", "orders:2"];
        let columns: Vec<ArrayRef> = vec![
            texts(picks.iter().map(|_| "big")),
            texts(picks.iter().map(|(step, _)| steps[*step])),
            texts(picks.iter().map(|(_, fate)| fates[*fate])),
            texts(picks.iter().map(|(step, fate)| if *fate == 2 { "cast" } else { steps[*step] })),
            texts(picks.iter().map(|(step, fate)| sources[(step + fate) % 3])),
            Arc::new(offsets),
            Arc::new(TimestampMicrosecondArray::from(times)),
        ];
        let rows = RecordBatch::try_new(schema.clone(), columns).expect("one value each");
        let mut writer = ArrowWriter::try_new(vec![], schema.clone(), None).expect("a writer");
        writer.write(&rows).expect("written");
        let bytes = writer.into_inner().expect("closed");
        let path = format!("pipeline=big/day=2025-11-22/{name}");
        files.push(json!({"path": path, "rows": ROWS, "bytes": bytes.len(), "from": from, "to": to}));
        fs::write(place.join(path), bytes).expect("written");
    }
    let manifest = json!({"format": 1, "pipeline": "big", "owner": "another", "log_id": "a", "place": {"ledger": 0}, "files": files});
    fs::write(place.join("pipeline=big/manifest.json"), manifest.to_string()).expect("written");
}

/// A folder with a ledger in which a pipeline ran, and a large one beside it.
fn desk() -> Desk {
    let desk = Desk::with(
        "PIPELINE orders WITH (ledger = 'all') AS FROM file('orders.ndjson') |> WHERE kind = 'a' |> SELECT id |> INSERT INTO file('out/');",
    );
    desk.append("orders.ndjson", (0..500).map(|id| json!({"id": id, "kind": if id % 3 == 0 { "a" } else { "b" }})));
    desk.ok(&["run", "orders.sync", "--ledger", "ledger"]);
    write_ledger(&desk.path("ledger"));
    desk
}

struct Worker {
    running: Running,
    address: SocketAddr,
}

impl Worker {
    /// `fault`: the file that says what is to happen to its parts.
    fn start(desk: &Desk, number: usize, listen: &str) -> Worker {
        let mut command = desk.command(&["worker", "--ledger", "ledger", "--listen", listen]);
        command.env("SYNCLINE_TEST_FAULT", desk.path(&format!("fault-{number}")));
        let mut running = Running::start(command, format!("worker {number}"));
        let told = |err: &str| err.split_once("works for questions on ")?.1.split(',').next()?.parse().ok();
        let mut address = None;
        running.until("it listens", |running| {
            address = told(&running.err());
            address.is_some()
        });
        Worker { running, address: address.expect("just seen") }
    }
}

/// Three of them.
fn workers(desk: &Desk) -> Vec<Worker> {
    (0..WORKERS).map(|number| Worker::start(desk, number, "127.0.0.1:0")).collect()
}

fn named(workers: &[Worker]) -> String {
    workers.iter().map(|worker| worker.address.to_string()).collect::<Vec<_>>().join(",")
}

fn asked(desk: &Desk, question: &str, workers: &str) -> Running {
    let mut arguments = vec!["query", question, "-o", "csv"];
    if !workers.is_empty() {
        arguments.extend(["--workers", workers]);
    }
    desk.start(&arguments)
}

fn wish(desk: &Desk, number: usize, wish: &str) {
    desk.write(&format!("fault-{number}"), wish);
}

#[test]
fn ten_questions_have_the_answers_on_three_processes_that_they_have_on_one() {
    let desk = desk();
    let workers = workers(&desk);
    let all = named(&workers);
    for question in QUESTIONS {
        let one = asked(&desk, question, "").end(PATIENCE).expect(0).out();
        let three = asked(&desk, question, &all).end(PATIENCE).expect(0).out();
        assert!(one.lines().count() > 1, "{question}: {one}");
        assert_eq!(three, one, "{question}");
    }
    // Parts that fit no BIGINT make a sum that does; what does not is said, and by whom it was seen makes no difference.
    let fits = "SELECT sum(n) AS n FROM (SELECT 9000000000000000000 + record_offset AS n FROM ledger \
        UNION ALL SELECT -9000000000000000000 - record_offset FROM ledger)";
    for question in [fits, "SELECT 0 AS n FROM ledger GROUP BY 0 + record_offset * 0"] {
        assert_eq!(asked(&desk, question, &all).end(PATIENCE).expect(0).out(), "n\n0\n", "{question}");
    }
    let unfit = [
        ("SELECT sum(9000000000000000000 + record_offset) FROM ledger", "is no BIGINT"),
        ("SELECT step, sum(9000000000000000000 + record_offset) FROM ledger GROUP BY step", "is no BIGINT"),
        ("SELECT max(record_offset * 9223372036854775807) FROM ledger", " * 9223372036854775807 is no BIGINT"),
        ("SELECT count(*) FROM ledger WHERE -9223372036854775807 - record_offset < 0", "is no BIGINT"),
    ];
    for (question, words) in unfit {
        for workers in ["", &all] {
            let said = asked(&desk, question, workers).end(PATIENCE).expect(1);
            assert!(said.err.contains(words) && said.err.contains("DECIMAL(38, 0)"), "{question}: {}", said.err);
        }
    }
    // And they did the work: one that falls over is heard of.
    (0..WORKERS).for_each(|number| wish(&desk, number, "panic"));
    for question in QUESTIONS.into_iter().chain([fits]).chain(unfit.map(|(question, _)| question)) {
        let said = asked(&desk, question, &all).end(PATIENCE).expect(1);
        assert!(said.err.contains("a worker fell over"), "{question}: {}", said.err);
    }
    // What is no question about files is answered here.
    assert_eq!(asked(&desk, "SELECT count(*) AS n FROM runs", &all).end(PATIENCE).expect(0).out(), "n\n1\n");
    let other = Desk::new();
    let alone = other.say(&["query", "--ledger", &desk.path("ledger").to_string_lossy(), "SELECT 1 AS n", "-o", "csv"]);
    assert_eq!(alone.expect(0).out(), "n\n1\n");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    Panic,
    /// An orderly end.
    Term,
}

/// What became of questions whose workers had a fault in the middle of them.
#[derive(Debug, Default)]
struct Became {
    right: usize,
    told: usize,
    /// Of those, panics that were heard of.
    fell: usize,
}

/// So many faults, one a question.
fn faults(times: usize, chance: &mut Chance) -> Became {
    let desk = desk();
    let right: Vec<String> =
        QUESTIONS.iter().map(|question| asked(&desk, question, "").end(PATIENCE).expect(0).out()).collect();
    let mut workers = workers(&desk);
    let mut became = Became::default();
    for round in 0..times {
        let fault = [Fault::Kill, Fault::Stop, Fault::Panic, Fault::Term][round % 4];
        let (number, question) = (chance.below(WORKERS as u64) as usize, chance.below(QUESTIONS.len() as u64) as usize);
        (0..WORKERS).for_each(|number| wish(&desk, number, SLOW));
        let mut asking = asked(&desk, QUESTIONS[question], &named(&workers));
        // It has begun when it has come this far, on any machine; then some way into it.
        thread::sleep(Duration::from_millis(300 + chance.below(600)));
        let middle = !asking.ended();
        let listen = workers[number].address.to_string();
        match fault {
            Fault::Kill => {
                let worker = workers.remove(number);
                assert!(worker.running.kill());
            }
            Fault::Stop => workers[number].running.signal("STOP"),
            Fault::Panic => wish(&desk, number, "panic"),
            Fault::Term => drop(workers.remove(number).running.stop().expect(0)),
        }
        let began = Instant::now();
        let said = asking.end(patience());
        (0..WORKERS).for_each(|number| wish(&desk, number, ""));
        judge(
            &said,
            &right[question],
            &format!("round {round}: {fault:?}, in the middle: {middle}, {}", QUESTIONS[question]),
            &mut became,
        );
        assert!(began.elapsed() < Duration::from_secs(60), "{fault:?}: it took {:?}", began.elapsed());
        match fault {
            Fault::Kill | Fault::Term => workers.insert(number, Worker::start(&desk, number, &listen)),
            Fault::Stop => workers[number].running.signal("CONT"),
            Fault::Panic => {}
        }
        if fault != Fault::Panic {
            continue;
        }
        // A worker that fell over once works on.
        let said = asked(&desk, QUESTIONS[question], &named(&workers)).end(patience()).expect(0);
        assert_eq!(said.out(), right[question], "after a panic");
    }
    became
}

fn judge(said: &Said, right: &str, what: &str, became: &mut Became) {
    match said.code {
        Some(0) => {
            assert_eq!(said.out(), right, "{what}: a WRONG ANSWER");
            became.right += 1;
        }
        code => {
            assert_eq!(code, Some(1), "{what}: {}", said.err);
            assert!(said.err.contains("worker"), "{what}: {}", said.err);
            assert_eq!(said.out(), "", "{what}: rows before an error");
            became.told += 1;
            became.fell += usize::from(said.err.contains("a worker fell over"));
        }
    }
}

#[test]
fn no_answer_is_wrong_when_a_worker_is_killed_stopped_or_falls_over_in_the_middle() {
    let (mut chance, _) = Chance::told("workers");
    let became = faults(8, &mut chance);
    assert_eq!(became.right + became.told, 8);
    assert!(became.right >= 2, "{became:?}: others answer for one that is gone");
    assert!(became.fell >= 1, "{became:?}: a panic in the middle of a question is heard of");
}

#[test]
fn soak_no_answer_is_ever_wrong_when_workers_are_killed_stopped_or_fall_over() {
    if !soak() {
        return;
    }
    let (mut chance, _) = Chance::told("workers, long");
    let times = kills(200);
    let Became { right, told, fell } = faults(times, &mut chance);
    assert!(fell > 0, "panics come in the middle of questions");
    let shown = format!(
        "{times} kills, stops, panics and orderly ends in mid-query: {right} right answers, {told} errors, none wrong"
    );
    figure("soak_no_answer_is_ever_wrong_when_workers_are_killed_stopped_or_fall_over", &shown);
}

#[test]
fn when_nobody_is_there_it_is_said_and_when_one_is_he_answers() {
    let desk = desk();
    let mut all = workers(&desk);
    let (names, question) = (named(&all), QUESTIONS[0]);
    let right = asked(&desk, question, "").end(PATIENCE).expect(0).out();
    let last = all.pop().expect("three");
    for worker in all {
        assert!(worker.running.kill());
    }
    assert_eq!(asked(&desk, question, &names).end(PATIENCE).expect(0).out(), right);
    assert!(last.running.kill());
    let said = asked(&desk, question, &names).end(PATIENCE).expect(1);
    assert!(said.err.contains("no worker answers") && said.err.contains("refused"), "{}", said.err);
}

/// A command with this token; without one when it is empty.
fn with_token(desk: &Desk, token: &str, arguments: &[&str]) -> Running {
    let mut command = desk.command(arguments);
    command.env("SYNCLINE_WORKER_TOKEN", token);
    Running::start(command, arguments.join(" "))
}

/// The port at which a worker listens.
fn port(worker: &mut Running) -> String {
    let mut port = String::new();
    worker.until("it listens", |worker| {
        let told = worker
            .err()
            .split_once("works for questions on ")
            .and_then(|(_, rest)| rest.split(',').next()?.rsplit_once(':').map(|(_, port)| port.to_owned()));
        port = told.unwrap_or_default();
        !port.is_empty()
    });
    port
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_worker_lets_nobody_in_without_the_token_and_is_not_open_in_the_clear() {
    let desk = desk();
    for token in ["", TOKEN] {
        let said = with_token(&desk, token, &["worker", "--ledger", "ledger", "--listen", "0.0.0.0:0"]).end(PATIENCE);
        assert!(said.expect(2).err.contains("would travel in the clear"));
        let said = with_token(&desk, token, &["query", QUESTIONS[0], "--workers", "10.1.2.3:7900"]).end(PATIENCE);
        assert!(said.expect(2).err.contains("--workers-ca"));
    }
    with_token(&desk, "short", &["worker", "--ledger", "ledger"]).end(PATIENCE).expect(2);
    let mut worker = with_token(&desk, TOKEN, &["worker", "--ledger", "ledger", "--listen", "127.0.0.1:0"]);
    let worker_there = format!("127.0.0.1:{}", port(&mut worker));
    let ask = ["query", QUESTIONS[0], "--workers", &worker_there, "-o", "csv"];
    for wrong in ["", "fedcba9876543210fedcba9876543210"] {
        let said = with_token(&desk, wrong, &ask).end(PATIENCE).expect(1);
        assert!(said.err.contains("another token"), "{}", said.err);
        assert!(!said.err.contains("fedcba98"), "{}", said.err);
    }
    let right = asked(&desk, QUESTIONS[0], "").end(PATIENCE).expect(0).out();
    assert_eq!(with_token(&desk, TOKEN, &ask).end(PATIENCE).expect(0).out(), right);
    assert!(!worker.err().contains(TOKEN));
    worker.stop().expect(0);
}

/// An authority, and certificates of it for `names`: `NAME.crt`, `NAME.key`, and `AUTHORITY.crt`.
fn certificates(desk: &Desk, authority: &str, names: &[&str]) {
    let openssl = |arguments: &[&str]| {
        let said = desk.other("openssl", arguments).output().expect("openssl");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let (root, root_key) = (format!("{authority}.crt"), format!("{authority}.key"));
    let subject = format!("/CN={authority}");
    openssl(&[&["req", "-x509", "-subj", &subject, "-keyout", &root_key, "-out", &root], &key[..]].concat());
    for name in names {
        let (certificate, own_key, subject) = (format!("{name}.crt"), format!("{name}.key"), format!("/CN={name}"));
        let signed = [
            "-CA",
            &root,
            "-CAkey",
            &root_key,
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        let files = ["req", "-x509", "-subj", &subject, "-keyout", &own_key, "-out", &certificate];
        openssl(&[&files, &key[..], &signed].concat());
    }
}

#[test]
fn with_tls_workers_and_who_asks_show_certificates_of_one_authority() {
    let desk = desk();
    certificates(&desk, "ours", &["one", "two", "ada"]);
    certificates(&desk, "theirs", &["eve"]);
    let right = asked(&desk, QUESTIONS[0], "").end(PATIENCE).expect(0).out();
    let worker = |name: &str, token: &str| {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-ca", "ours.crt"];
        let listen = ["worker", "--ledger", "ledger", "--listen", "0.0.0.0:0"];
        with_token(&desk, token, &[&listen, &tls[..]].concat())
    };
    let ask = |names: &str, token: &str, more: &[&str]| {
        // A question whose parts fetch rows from each other.
        let ask = ["query", QUESTIONS[0], "--workers", names, "-o", "csv"];
        with_token(&desk, token, &[&ask, more].concat()).end(PATIENCE)
    };
    let (ada, none) = (
        ["--workers-ca", "ours.crt", "--workers-cert", "ada.crt", "--workers-key", "ada.key"],
        ["--workers-ca", "ours.crt"],
    );
    let mut both = [worker("one", ""), worker("two", "")];
    let names = both.each_mut().map(|worker| format!("127.0.0.1:{}", port(worker))).join(",");
    assert_eq!(ask(&names, "", &ada).expect(0).out(), right);
    // Who shows nothing, or what another authority signed, who speaks in the clear, and who is told to trust others, gets nothing.
    let eve = ["--workers-ca", "ours.crt", "--workers-cert", "eve.crt", "--workers-key", "eve.key"];
    let others = ["--workers-ca", "theirs.crt", "--workers-cert", "ada.crt", "--workers-key", "ada.key"];
    for wrong in [&none[..], &eve, &[], &others] {
        let said = ask(&names, "", wrong).expect(1);
        assert!(said.err.contains("worker") && said.out().is_empty(), "{wrong:?}: {}", said.err);
    }
    for worker in both {
        worker.stop().expect(0);
    }
    // With a token it is that which lets in, and it goes through TLS alone.
    let mut both = [worker("one", TOKEN), worker("two", TOKEN)];
    let names = both.each_mut().map(|worker| format!("127.0.0.1:{}", port(worker))).join(",");
    assert_eq!(ask(&names, TOKEN, &none).expect(0).out(), right);
    assert!(ask(&names, "fedcba9876543210fedcba9876543210", &none).expect(1).err.contains("another token"));
    for worker in both {
        worker.stop().expect(0);
    }
    let said = desk.say(&["query", "SELECT 1", "--workers", "127.0.0.1:1", "--workers-ca", "ada.key"]).expect(2);
    let key = fs::read_to_string(desk.path("ada.key")).expect("a key");
    assert!(said.err.contains("--workers-ca ada.key cannot be used"), "{}", said.err);
    assert!(!said.err.contains(key.lines().nth(1).expect("more than a head")), "{}", said.err);
}

#[test]
fn a_process_that_runs_pipelines_answers_through_its_workers() {
    let desk = desk();
    let workers = workers(&desk);
    desk.write("live.sync", "PIPELINE live AS FROM http('/live') |> WHERE kind = 'a' |> INSERT INTO file('live/');");
    let right = asked(&desk, QUESTIONS[0], "").end(PATIENCE).expect(0).out();
    let mut running = desk.start(&["run", "live.sync", "--listen", "127.0.0.1:0", "--workers", &named(&workers)]);
    running.address();
    assert_eq!(asked(&desk, QUESTIONS[0], "").end(PATIENCE).expect(0).out(), right);
    (0..WORKERS).for_each(|number| wish(&desk, number, "panic"));
    let said = asked(&desk, QUESTIONS[0], "").end(PATIENCE).expect(3);
    assert!(said.err.contains("a worker fell over"), "{}", said.err);
    running.stop().expect(0);
}
