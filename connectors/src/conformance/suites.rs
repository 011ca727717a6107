//! Every connector through the suites.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use arrow::{array::AsArray, datatypes::Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::Connection;
use syncline_engine::{
    log::{CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame, memory::MemoryLog},
    sink::{OutboxSink, Sink, StagedSink, Write},
    source::{Cursors, MAX_RECORD, Source},
};
use syncline_record::Epoch;
use tempfile::TempDir;

use super::{
    rows::numbered_schema,
    sink::{self, Outside},
    source,
};
use crate::{
    LogSource, ingest,
    postgres::tests::server::shared,
    records::TextFormat,
    registry::{SinkRequest, SourceRequest, open_sink, open_source, registry},
    spec::{Args, Surroundings},
    stdout::StdoutSink,
};

fn open(name: &str, args: &[&str], folder: &Path, endless: bool) -> Sink {
    let around = Surroundings::folder(folder);
    let (args, step) = (Args::texts(args), "insert".into());
    let (write, schema, keys) = (Write::Insert, numbered_schema(), Vec::new());
    let request = SinkRequest {
        args: &args,
        around: &around,
        pipeline: "p",
        step: &step,
        write,
        schema,
        keys,
        endless,
        csv: None,
    };
    open_sink(name, request).unwrap()
}

/// The files of a folder that a reader of a pattern would find, by name.
fn visible(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    paths.sort();
    paths
}

fn ids_of_lines(text: &[u8]) -> Vec<i64> {
    let lines = std::str::from_utf8(text).unwrap().lines();
    lines.map(|line| serde_json::from_str::<BTreeMap<String, i64>>(line).unwrap()["id"]).collect()
}

fn ids_of_parquet(path: &Path) -> Vec<i64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
    reader.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn staged(name: &'static str, target: &'static str, ids: fn(&Path) -> Vec<i64>) {
    sink::staged(&|| -> Outside<dyn StagedSink> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let out = folder.path().join("out");
        Outside {
            make: Box::new(move || match open(name, &[target], folder.path(), false) {
                Sink::Staged(sink) => sink,
                _ => panic!("{name} is staged"),
            }),
            seen: Box::new(move || visible(&out).iter().flat_map(|path| ids(path)).collect()),
        }
    });
}

#[test]
fn a_folder_of_lines() {
    staged("file", "out/", |path| ids_of_lines(&fs::read(path).unwrap()));
}

#[test]
fn a_single_file_of_lines() {
    staged("file", "out/x.ndjson", |path| ids_of_lines(&fs::read(path).unwrap()));
}

#[test]
fn a_folder_of_parquet() {
    staged("parquet", "out/", ids_of_parquet);
}

#[test]
fn a_sqlite_table() {
    sink::transactional(&|| -> Outside<dyn OutboxSink> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let path = folder.path().join("shop.db");
        Outside {
            make: Box::new(move || match open("sqlite", &["shop.db", "rows"], folder.path(), true) {
                Sink::Outbox(sink) => sink,
                _ => panic!("sqlite is transactional"),
            }),
            seen: Box::new(move || {
                let connection = Connection::open(&path).unwrap();
                let mut statement = connection.prepare("SELECT id FROM rows ORDER BY rowid").unwrap();
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            }),
        }
    });
}

#[test]
fn a_postgres_table() {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let database = Arc::new(shared().database());
    sink::transactional(&|| -> Outside<dyn OutboxSink> {
        let schema = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
        database.sql(&format!("CREATE SCHEMA {schema}"));
        let (url, table, database) = (database.url(), format!("{schema}.rows"), database.clone());
        let sql = format!("SELECT id FROM {table} ORDER BY ctid");
        Outside {
            make: Box::new(move || match open("postgres", &[&url, &table], Path::new("."), true) {
                Sink::Outbox(sink) => sink,
                _ => panic!("postgres is transactional"),
            }),
            seen: Box::new(move || database.sql(&sql).iter().map(|id| id.parse().unwrap()).collect()),
        }
    });
}

/// A terminal that can be read afterwards.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn standard_output() {
    sink::plain(&|| -> Outside<dyn OutboxSink> {
        let screen = Screen::default();
        let shown = screen.clone();
        Outside {
            make: Box::new(move || Box::new(StdoutSink::to(&numbered_schema(), Box::new(screen.clone())))),
            seen: Box::new(move || ids_of_lines(&shown.0.lock().unwrap())),
        }
    });
}

fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut small = String::from("\u{feff}");
    (0..5000).for_each(|n| small.push_str(&format!("{{\"n\": {n}}}{}", ["\n", "\r\n", "\n\n"][n % 3])));
    fs::write(folder.path().join("b.ndjson"), small + "{\"last\": true}").unwrap();
    let over = "x".repeat(MAX_RECORD + 1);
    let wide = format!("{{\"wide\": \"{}\"}}\n", "y".repeat(300_000));
    let large = format!("first\n{over}\n{}end\n", wide.repeat(3));
    fs::write(folder.path().join("a.ndjson"), large).unwrap();
    fs::write(folder.path().join("empty.ndjson"), "").unwrap();
    folder
}

#[test]
fn files_that_end_and_files_that_are_followed() {
    let folder = files();
    for (follow, last) in [(false, 1), (true, 0)] {
        let given = source::check(&|| {
            let around = Surroundings::folder(folder.path());
            let (args, format) = (Args::texts(&["*.ndjson"]), TextFormat::Json);
            let request = SourceRequest { follow, format: &format, ..SourceRequest::new(&args, &around) };
            open_source("file", request).unwrap()
        });
        let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
        assert_eq!(counts, [("a.ndjson", 5), ("b.ndjson", 5000 + last)]);
        let rejected: Vec<String> = given.rejected.iter().map(|rejected| rejected.place.to_string()).collect();
        assert_eq!(rejected, ["a.ndjson:2"]);
    }
}

/// Numbers from 1 to 5,000 as a table of any database, a wide one and one that is too large among them.
fn of_table(name: &str, args: &[&str], folder: &Path) -> Vec<String> {
    let (args, around) = (Args::texts(args), Surroundings::folder(folder));
    let given = source::check(&|| open_source(name, SourceRequest::new(&args, &around)).unwrap());
    let rows: Vec<_> = given.rows.into_values().flatten().collect();
    assert!(rows.iter().map(|row| row.offset).eq((1..=5000).filter(|number| *number != 3000)), "each row once");
    assert!(rows.iter().all(|row| format!("{{\"id\":{},", row.offset).as_bytes()
        == &row.bytes[..row.bytes.iter().position(|byte| *byte == b',').unwrap() + 1]));
    given.rejected.iter().map(|rejected| format!("{} {}", rejected.place.offset, rejected.reason.slug)).collect()
}

#[test]
fn a_sqlite_table_that_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Connection::open(folder.path().join("shop.db")).unwrap();
    shop.execute_batch(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, wide TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO rows SELECT i, CASE i WHEN 2000 THEN printf('%.*c', 300000, 'w') WHEN 3000 THEN printf('%.*c', 17000000, 'x') ELSE 'n' END FROM n",
    )
    .unwrap();
    assert_eq!(of_table("sqlite", &["shop.db", "rows"], folder.path()), ["3000 too-large"]);
}

#[test]
fn a_postgres_table_that_is_read() {
    let database = shared().database();
    database.sql(
        "CREATE TABLE rows (id int PRIMARY KEY, wide text); INSERT INTO rows SELECT i, CASE i WHEN 2000 THEN repeat('w', 300000) \
         WHEN 3000 THEN repeat('x', 17000000) ELSE 'n' END FROM generate_series(1, 5000) i",
    );
    assert_eq!(of_table("postgres", &[&database.url(), "rows"], Path::new(".")), ["3000 too-large"]);
}

/// A log in memory with one topic and no transactions: what a source of what came in needs of one.
#[derive(Default)]
struct Inbox {
    frames: Vec<Frame>,
    released: Mutex<u64>,
}

impl Inbox {
    fn of(requests: impl IntoIterator<Item = (i64, Option<&'static str>, Vec<String>)>) -> Self {
        let mut inbox = Self::default();
        for (time, headers, records) in requests {
            let base = inbox.frames.last().map_or(0, Frame::next);
            let bytes: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
            inbox.frames.push(Frame {
                base,
                count: records.len() as u32,
                time,
                body: ingest::encode(&bytes, headers, ingest::Sent::Open),
            });
        }
        inbox
    }
}

impl Log for Inbox {
    fn read(&self, _topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        let mut bytes = 0;
        let frames = self.frames.iter().filter(|frame| frame.next() > from).take_while(|frame| {
            let before = bytes;
            bytes += frame.body.len();
            before == 0 || before < max_bytes
        });
        Ok(frames.cloned().collect())
    }

    fn end(&self, _topic: &str) -> Result<u64, LogError> {
        Ok(self.frames.last().map_or(0, Frame::next))
    }

    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError> {
        Ok(self.read(topic, from, usize::MAX)?.iter().map(|frame| frame.body.len() as u64).sum())
    }

    fn release(&self, _topic: &str, below: u64) -> Result<(), LogError> {
        *self.released.lock().unwrap() = below;
        Ok(())
    }

    fn recover(&self, _prefixes: &[&str], _ends: &Ends) -> Result<(), LogError> {
        Ok(())
    }

    fn append(&self, topic: &str, _frame: NewFrame) -> Result<u64, LogError> {
        self.end(topic)
    }

    fn prepare(&self, _topics: &[String]) -> Result<BTreeMap<String, End>, LogError> {
        Ok(Ends::new())
    }

    fn commit(&self, _epoch: Epoch, _ends: &Ends) -> Result<(), CommitError> {
        Ok(())
    }

    fn publish(&self, topic: &str, _frames: Vec<NewFrame>) -> Result<u64, LogError> {
        self.end(topic)
    }

    fn begin(&self, _topic: &str, _offset: u64) -> Result<(), LogError> {
        Ok(())
    }

    fn topics(&self, _prefix: &str) -> Result<Vec<String>, LogError> {
        Ok(vec![])
    }

    fn events(&self) -> Vec<Event> {
        vec![]
    }
}

#[test]
fn what_came_in() {
    let many = |from: usize, count: usize| (from..from + count).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>();
    let requests = vec![
        (1_000, None, many(0, 3)),
        (1_400, Some(r#"{"x":"1"}"#), many(3, 1)),
        (2_000, None, many(4, 5000)),
        (2_001, None, vec!["z".repeat(400_000), "y".repeat(400_000), "{}".to_owned()]),
        (2_002, None, many(5007, 1)),
    ];
    let inbox = Arc::new(Inbox::of(requests));
    for bounded in [true, false] {
        let given = source::check(&|| -> Box<dyn Source> {
            let (log, topic, name) = (inbox.clone(), "in/orders".to_owned(), "in/orders".to_owned());
            match bounded {
                true => Box::new(LogSource::bounded(log, topic, name, None)),
                false => Box::new(LogSource::new(log, topic, name)),
            }
        });
        let rows = &given.rows["in/orders"];
        assert!(rows.iter().map(|row| row.offset).eq(0..5008));
        let first: Vec<_> = rows[2..5].iter().map(|row| (row.time, row.ingested_at, row.headers.as_deref())).collect();
        assert_eq!(first, [(1_000, 1_000, None), (1_400, 1_400, Some(r#"{"x":"1"}"#)), (2_000, 2_000, None)]);
        assert_eq!(rows[5007].bytes, b"{\"n\":5007}");
        assert_eq!(*inbox.released.lock().unwrap(), 5008);
    }
    let until = source::check(&|| -> Box<dyn Source> {
        Box::new(LogSource::bounded(inbox.clone(), "in/orders".into(), "in/orders".into(), Some(700)))
    });
    assert!(until.rows["in/orders"].iter().map(|row| row.offset).eq(0..700));
}

/// Positions of others that are read at a commit may not be durable yet: they count with the next one.
#[test]
fn what_others_read_too_goes_one_commit_after_they_have_come_past() {
    let requests = (0..6).map(|n| (1_000, None, vec![format!("{{\"n\":{n}}}")]));
    let inbox = Arc::new(Inbox::of(requests));
    let others = Arc::new(Mutex::new(Some(2)));
    let at = others.clone();
    let mut source = LogSource::new(inbox.clone(), "in/orders".into(), "in/orders".into())
        .among(Box::new(move || *at.lock().unwrap()));
    source.open(&Cursors::new(), 0).unwrap();
    let mut committed = |next: u64| {
        source.committed(&Cursors::from([("in/orders".to_owned(), next.into())])).unwrap();
        *inbox.released.lock().unwrap()
    };
    assert_eq!([committed(3), committed(4)], [0, 2]);
    *others.lock().unwrap() = Some(6);
    assert_eq!([committed(5), committed(5)], [2, 5]);
    // The others read it no more.
    *others.lock().unwrap() = None;
    assert_eq!([committed(6), committed(6)], [5, 6]);
}

#[test]
fn who_comes_back_to_what_was_let_go_is_told_at_the_start() {
    let log = Arc::new(MemoryLog::new());
    let frame = NewFrame { count: 1, time: 0, body: vec![] };
    log.publish("in/orders", vec![frame; 4]).unwrap();
    log.release("in/orders", 2).unwrap();
    let opened = |next: u64| {
        let mut source = LogSource::new(log.clone(), "in/orders".into(), "in/orders".into());
        source.open(&Cursors::from([("in/orders".to_owned(), next.into())]), 0).map_err(|error| error.to_string())
    };
    assert_eq!(opened(1), Err("in/orders: records 1 to 1 are let go, and the cursor is at 1".to_owned()));
    assert_eq!([opened(2), opened(4)], [Ok(()), Ok(())]);
}

#[test]
fn every_connector_is_complete_and_by_name() {
    let names: Vec<&str> = registry().iter().map(|connector| connector.name).collect();
    assert_eq!(names, ["arrow", "file", "http", "http_get", "kafka", "parquet", "postgres", "sqlite", "stdout"]);
    for connector in registry() {
        assert!(connector.source.is_some() || connector.sink.is_some(), "{}", connector.name);
        assert!(connector.example.contains(&format!("{}(", connector.name)), "{}", connector.example);
    }
}
