//! Object stores, with a real S3 server: versitygw over a folder, so that what stands in a bucket can be looked at with other tools.
//!
//! Between it and the pipeline stands a relay that can be slow, busy or gone.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    chance::{Chance, soak},
    desk::{Desk, PATIENCE, Running, Said, free_address},
    look,
};

const KEY: &str = "key-of-the-tests";
const SECRET: &str = "a-secret-that-nobody-may-see";
const BUCKET: &str = "shop";

/// What the relay does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Passes,
    /// Waits a little before it passes bytes on.
    Slow,
    /// Answers 503 in the store's place.
    Busy,
    /// Hangs up.
    Away,
}

const MOODS: [Mood; 4] = [Mood::Passes, Mood::Slow, Mood::Busy, Mood::Away];
/// What a slow relay waits: long beside the look at what has come, short beside a test.
const SLOW: Duration = Duration::from_millis(5);

/// A server with one bucket, and the relay in front of it.
pub struct Store {
    server: Child,
    folder: TempDir,
    relay: SocketAddr,
    mood: Arc<AtomicU8>,
    /// Connections that the relay took.
    asked: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Store {
    pub fn start() -> Store {
        let program = program();
        let folder = tempfile::tempdir().expect("a folder of the server");
        fs::create_dir_all(folder.path().join("root").join(BUCKET)).expect("a bucket");
        let address = free_address();
        let server = Command::new(&program)
            .args(["--port", &address.to_string(), "--quiet", "posix", "root"])
            .current_dir(folder.path())
            .env("ROOT_ACCESS_KEY", KEY)
            .env("ROOT_SECRET_KEY", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < PATIENCE, "the S3 server does not listen at {address}");
            thread::sleep(SLOW);
        }
        let mood = Arc::new(AtomicU8::new(Mood::Passes as u8));
        let (asked, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let relay = listener.local_addr().expect("its address");
        let (its_mood, its_asked, its_over) = (mood.clone(), asked.clone(), over.clone());
        thread::spawn(move || {
            for came in listener.incoming().flatten() {
                if its_over.load(Ordering::Relaxed) {
                    return;
                }
                its_asked.fetch_add(1, Ordering::Relaxed);
                let mood = its_mood.clone();
                thread::spawn(move || relayed(came, address, &mood));
            }
        });
        Store { server, folder, relay, mood, asked, over }
    }

    fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// The bucket as a folder.
    fn bucket(&self) -> PathBuf {
        self.folder.path().join("root").join(BUCKET)
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.bucket().join(key)
    }

    /// What its own tools read from the environment.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.relay)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// What a pipeline says of it.
    fn store(&self) -> String {
        format!(
            "store => s3(endpoint => 'http://{}', access_key => env('SHOP_KEY'), secret_key => env('SHOP_SECRET'))",
            self.relay
        )
    }

    fn put(&self, key: &str, text: &str) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write an object");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.relay);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os("SYNCLINE_VERSITYGW").map(PathBuf::from);
    let program = named.filter(|program| program.is_file());
    program.expect("SYNCLINE_VERSITYGW names the S3 server of these tests: ./test builds it, run that")
}

fn relayed(mut came: TcpStream, to: SocketAddr, mood: &AtomicU8) {
    let now = || MOODS[mood.load(Ordering::Relaxed) as usize];
    match now() {
        Mood::Away => return,
        Mood::Busy => {
            let _ = came.read(&mut [0; 1 << 16]);
            let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            let _ = write!(
                came,
                "HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            return;
        }
        Mood::Passes | Mood::Slow => {}
    }
    let Ok(server) = TcpStream::connect(to) else { return };
    let (Ok(mut back), Ok(mut answers)) = (came.try_clone(), server.try_clone()) else { return };
    let answering = thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut block = vec![0; 1 << 16];
    let mut server = server;
    while let Ok(length @ 1..) = came.read(&mut block) {
        match now() {
            Mood::Passes => {}
            Mood::Slow => thread::sleep(SLOW),
            // A connection that is kept alive goes too; the client sees it closed.
            Mood::Busy | Mood::Away => break,
        }
        if server.write_all(&block[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = came.shutdown(Shutdown::Both);
    let _ = answering.join();
}

/// A command that knows the keys of the store.
fn start(desk: &Desk, arguments: &[&str]) -> Running {
    start_with(desk, arguments, KEY, SECRET)
}

fn start_with(desk: &Desk, arguments: &[&str], key: &str, secret: &str) -> Running {
    let mut command = desk.command(arguments);
    command.env("SHOP_KEY", key).env("SHOP_SECRET", secret);
    Running::start(command, arguments.join(" "))
}

fn run(desk: &Desk, arguments: &[&str]) -> Said {
    start(desk, arguments).end(PATIENCE * 4)
}

fn rows(from: usize, to: usize) -> String {
    (from..to).map(|id| format!("{{\"id\":{id},\"name\":\"name {id}\"}}\n")).collect()
}

/// Ids of the parts of lines, in order; every line of every part that can be seen must be whole.
fn ids_of_lines(store: &Store, folder: &str) -> Vec<i64> {
    let id = |line: String| {
        let row: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("half a part is seen: {error}: {line}"));
        row["id"].as_i64().expect("an id")
    };
    let path = store.path(folder);
    if !path.exists() {
        return vec![];
    }
    sorted(look::lines(&path).into_iter().map(id).collect())
}

/// The same of Parquet, whose parts cannot be read when they are not whole.
fn ids_of_parquet(store: &Store, folder: &str) -> Vec<i64> {
    sorted(look::parquet(&store.path(folder)).into_iter().map(|row| row[0].parse().expect("an id")).collect())
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

fn up_to(end: usize) -> Vec<i64> {
    (0..end as i64).collect()
}

/// Parts that are committed and not uploaded yet.
fn waiting(desk: &Desk) -> usize {
    let Ok(folders) = fs::read_dir(desk.path(".syncline/staged/orders")) else { return 0 };
    let files = folders.flatten().filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    files.filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0)).count()
}

/// Two sinks of four lanes show up to eight parts after a commit: the process dies when some of them are there.
#[test]
fn soak_parts_in_a_bucket_are_there_once_and_whole_whenever_the_process_is_killed() {
    let (kills, step) = if soak() { (60, 20_000) } else { (10, 8_000) };
    let (mut chance, _) = Chance::told("objects");
    let store = Store::start();
    store.is(Mood::Slow);
    let desk = Desk::with(&format!(
        "PIPELINE orders WITH (checkpoint_every = '20 milliseconds') AS
FROM file('in.ndjson')
|> SELECT CAST(id AS BIGINT) AS id, CAST(name AS STRING) AS name
|> SHARD BY id INTO 4
|> TEE (|> INSERT INTO parquet('s3://{BUCKET}/parquet/', part_rows => 500, {place}))
|> INSERT INTO file('s3://{BUCKET}/lines/', part_rows => 500, {place});
",
        place = store.store()
    ));
    let (mut there, mut between) = (0, 0);
    for _ in 0..kills {
        let mut input = fs::File::options().create(true).append(true).open(desk.path("in.ndjson")).expect("the input");
        input.write_all(rows(there, there + step).as_bytes()).expect("the input takes lines");
        there += step;
        let mut running = start(&desk, &["run", "orders.sync"]);
        let before = parts(&store);
        let more = chance.between(1, 14) as usize;
        let started = Instant::now();
        while parts(&store) < before + more && !running.ended() && started.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(300));
        }
        running.kill();
        between += usize::from(waiting(&desk) > 0);
        // What can be seen is whole, and nothing of it is there twice.
        for ids in [ids_of_lines(&store, "lines"), ids_of_parquet(&store, "parquet")] {
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
        }
    }
    store.is(Mood::Passes);
    run(&desk, &["run", "orders.sync"]).expect(0);
    assert_eq!(ids_of_lines(&store, "lines"), up_to(there));
    assert_eq!(ids_of_parquet(&store, "parquet"), up_to(there));
    assert_eq!(waiting(&desk), 0, "what was uploaded does not lie here any more");
    eprintln!("objects: {kills} kills, {between} with parts on their way");
    assert!(between * 2 >= kills, "{between} of {kills} kills fell between uploads");
    desk.books("orders");
}

fn parts(store: &Store) -> usize {
    let count = |folder: &str| fs::read_dir(store.path(folder)).map_or(0, Iterator::count);
    count("lines") + count("parquet")
}

#[test]
fn objects_of_a_pattern_are_read_once_and_new_ones_when_they_come() {
    let store = Store::start();
    store.put("in/2026/a.ndjson", &rows(0, 1000));
    store.put("in/2026/b.ndjson", &rows(1000, 1500));
    store.put("in/2026/deep/c.ndjson", "{\"id\":-1}\n");
    store.put("in/other.ndjson", "{\"id\":-2}\n");
    let desk = Desk::with(&format!(
        "PIPELINE orders AS FROM file('s3://{BUCKET}/in/2026/*.ndjson', {}) |> SELECT id, _source |> INSERT INTO file('out/');\n",
        store.store()
    ));
    let told = run(&desk, &["run", "orders.sync"]).expect(0);
    assert!(told.err.contains("1500 rows in · books balance"), "{}", told.err);
    store.put("in/2026/c.ndjson", "{\"id\":1500}");
    run(&desk, &["run", "orders.sync"]).expect(0);
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = vec![];
    for line in look::lines(&desk.path("out")) {
        let row: Value = serde_json::from_str(&line).expect("JSON");
        ids.push(row["id"].as_i64().expect("an id"));
        *of.entry(row["_source"].as_str().expect("a place").to_owned()).or_default() += 1;
    }
    assert_eq!(sorted(ids), up_to(1501));
    let expected = [("a", 1000), ("b", 500), ("c", 1)];
    let expected = expected.map(|(name, rows)| (format!("s3://{BUCKET}/in/2026/{name}.ndjson"), rows));
    assert_eq!(of, BTreeMap::from(expected));
    store.put("in/2026/a.ndjson", "{\"id\":7}\n");
    let told = run(&desk, &["run", "orders.sync"]).expect(3);
    assert!(told.err.contains("s3://shop/in/2026/a.ndjson: is not the object that was read before"), "{}", told.err);
}

/// What is said does not hold the keys, nor does anything that is kept.
#[test]
fn keys_that_do_not_fit_and_buckets_that_are_not_there_are_told_without_a_secret() {
    let store = Store::start();
    store.put("in/a.ndjson", &rows(0, 10));
    let sink =
        |bucket: &str| format!("FROM file('in.ndjson') |> INSERT INTO file('s3://{bucket}/out/', {})", store.store());
    let single = format!("FROM file('in.ndjson') |> INSERT INTO file('s3://nowhere/x.ndjson', {})", store.store());
    let source = |bucket: &str, name: &str| {
        format!("FROM file('s3://{bucket}/in/{name}', {}) |> INSERT INTO file('out/')", store.store())
    };
    let keys = "the store does not let these keys in";
    let gone = "there is no such bucket";
    let wrong = (KEY, "another-secret-that-nobody-may-see");
    let nobody = ("nobody-that-is-known", SECRET);
    let right = (KEY, SECRET);
    for (flow, (key, secret), words) in [
        (sink(BUCKET), wrong, keys),
        (sink(BUCKET), nobody, keys),
        (source(BUCKET, "*"), wrong, keys),
        (source(BUCKET, "a.ndjson"), wrong, keys),
        (source(BUCKET, "*"), nobody, keys),
        (sink("nowhere"), right, gone),
        (single, right, gone),
        (source("nowhere", "*"), right, gone),
        (source(BUCKET, "b.ndjson"), right, "there is no such object, or no such bucket"),
        (source(BUCKET, "b*"), right, "no object matches"),
    ] {
        let desk = Desk::with(&format!("PIPELINE orders AS {flow};\n"));
        desk.write("in.ndjson", rows(0, 10));
        let told = start_with(&desk, &["run", "orders.sync"], key, secret).end(PATIENCE).expect(3);
        assert!(told.err.contains(words), "{flow}: `{words}` is not in:\n{}", told.err);
        assert!(told.err.contains("help: "), "{}", told.err);
        let plan = start_with(&desk, &["check", "--plan", "orders.sync"], key, secret).end(PATIENCE).expect(0);
        let status = start_with(&desk, &["status", "-o", "json"], key, secret).end(PATIENCE);
        for said in [told, plan, status] {
            let all = format!("{}{}", said.out(), said.err);
            assert!(!all.contains(key) && !all.contains(secret), "{}", all);
        }
    }
}

/// A store that hangs up, and one that wants to be asked less: what was taken waits, nothing is lost, and nothing comes twice.
#[test]
fn a_store_that_is_away_or_busy_for_a_while_gets_everything_when_it_is_back() {
    for (mood, words) in [(Mood::Away, "the store does not answer"), (Mood::Busy, "the store answered 503 (SlowDown)")]
    {
        let store = Store::start();
        let desk = Desk::with(&format!(
            "PIPELINE orders WITH (checkpoint_every = '20 milliseconds', restart = 'on failure', restart_delay = '100 milliseconds') AS
FROM file('s3://{BUCKET}/in/*.ndjson', {place}) FOLLOW
|> INSERT INTO file('s3://{BUCKET}/lines/', part_time => '50 milliseconds', {place});
",
            place = store.store()
        ));
        store.put("in/a.ndjson", &rows(0, 2000));
        let mut running = start(&desk, &["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        running.until("some rows are there", |_| ids_of_lines(&store, "lines").len() == 2000);
        store.is(mood);
        store.put("in/b.ndjson", &rows(2000, 3000));
        let asked = store.asked.load(Ordering::Relaxed);
        running.until("it was told of the trouble", |running| running.err().contains(words));
        running.until("it asks again", |_| store.asked.load(Ordering::Relaxed) >= asked + 3);
        store.is(Mood::Passes);
        running.until("the rest is there", |_| ids_of_lines(&store, "lines").len() >= 3000);
        running.stop().expect(0);
        assert_eq!(ids_of_lines(&store, "lines"), up_to(3000), "{mood:?}");
        desk.books("orders");
    }
}

/// Two data folders would take each other's rows away in a bucket as they would in a folder.
#[test]
fn an_output_in_a_bucket_has_one_owner() {
    let store = Store::start();
    let desk = Desk::with(&format!(
        "PIPELINE orders AS FROM file('in.ndjson') |> INSERT INTO file('s3://{BUCKET}/out/', {});\n",
        store.store()
    ));
    desk.write("in.ndjson", rows(0, 10));
    run(&desk, &["run", "orders.sync", "--data", "one"]).expect(0);
    for arguments in [&["run", "orders.sync", "--data", "two"][..], &["run", "orders.sync", "--data", "two", "--fresh"]]
    {
        let told = run(&desk, arguments).expect(3);
        assert!(told.err.contains("from another data folder"), "{}", told.err);
        assert!(told.err.contains("s3://shop/out/.orders-insert.owner"), "{}", told.err);
    }
    run(&desk, &["run", "orders.sync", "--data", "one", "--fresh"]).expect(0);
    assert_eq!(ids_of_lines(&store, "out"), up_to(10));
}
