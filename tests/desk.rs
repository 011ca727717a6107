//! A person at a terminal: a folder of their own, the binary, what it answered.
//!
//! Nothing of the product is linked. Whatever a command says is kept, so that a failed expectation shows all of it.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::chance::soak;

/// Longer than any command of a small test needs, also on a machine that compiles beside it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A long run goes on beside other work, which may stop it for a while.
pub fn patience() -> Duration {
    if soak() { 10 * PATIENCE } else { PATIENCE }
}

/// How often something outside is looked at while it is waited for.
const BLINK: Duration = Duration::from_millis(20);

/// The checkout. Asked for when a test runs: cargo may take a test that another checkout built for its own.
pub fn house() -> PathBuf {
    let tests = std::env::var_os("CARGO_MANIFEST_DIR").expect("the folder of the tests: run them with cargo");
    Path::new(&tests).parent().expect("the house around tests/").to_owned()
}

/// The binary that `./test` names, or the one that was built beside these tests; or a word on how to get it.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("SYNCLINE_BINARY").map(PathBuf::from);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("syncline"));
    let binary = named.or_else(beside).expect("a folder that these tests lie in");
    assert!(
        binary.is_file(),
        "there is no {}: build it first (`cargo build --workspace`, or run ./test)",
        binary.display()
    );
    binary
}

/// An address that was free a moment ago, and that a server gets back each time it is started again.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A fresh folder to work in.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn new() -> Desk {
        Desk { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A desk with this pipeline in `orders.sync`.
    pub fn with(pipeline: &str) -> Desk {
        let desk = Desk::new();
        desk.write("orders.sync", pipeline);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file");
    }

    /// Adds lines to a file, which is made where there is none.
    pub fn append(&self, name: &str, lines: impl IntoIterator<Item = impl Display>) {
        let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
        let mut file = File::options().create(true).append(true).open(self.path(name)).expect("the input");
        file.write_all(text.as_bytes()).expect("the input takes lines");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.other(binary(), arguments)
    }

    /// Another program in the same folder and surroundings.
    pub fn other(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SYNCLINE_")) {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    pub fn say(&self, arguments: &[&str]) -> Said {
        Running::start(self.command(arguments), arguments.join(" ")).end(PATIENCE)
    }

    /// Runs a command that must succeed; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.say(arguments).expect(0).out()
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments), arguments.join(" "))
    }

    /// The rows that `query` answers, as JSON objects.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        let out = self.ok(&["query", sql, "-o", "json"]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("query {sql:?} printed no JSON ({error}): {out}"))
    }

    /// The one value that a query answers.
    pub fn value(&self, sql: &str) -> Value {
        let rows = self.query(sql);
        match rows.as_slice() {
            [Value::Object(row)] if row.len() == 1 => row.values().next().cloned().unwrap_or_default(),
            _ => panic!("{sql:?} answered not one value but {rows:?}"),
        }
    }

    /// Every page of the books, by step: `where: 10 in · 8 passed · 2 filtered`. Panics when one does not balance.
    pub fn books(&self, pipeline: &str) -> Vec<String> {
        let fates =
            ["passed", "absorbed", "filtered", "duplicate", "stale", "late", "dead", "parked", "held", "waiting"];
        let rows = self.query(&format!("SELECT * FROM steps WHERE pipeline = '{pipeline}' ORDER BY step"));
        let page = |row: &Value| {
            assert_eq!(row["balanced"], Value::Bool(true), "the books do not balance: {row}");
            let counts = fates.iter().filter(|fate| row[**fate] != 0).map(|fate| format!(" · {} {fate}", row[*fate]));
            format!("{}: {} in{}", row["step"].as_str().unwrap_or("?"), row["rows_in"], counts.collect::<String>())
        };
        rows.iter().map(page).collect()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Said {
    pub line: String,
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub err: String,
    /// The most memory it held, in bytes, as far as it was seen.
    pub peak: u64,
}

impl Said {
    /// Panics with everything that was said unless it ended with this code.
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "`{}`\n--- stdout\n{}\n--- stderr\n{}", self.line, self.out(), self.err);
        self
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A command that runs. Killed when it is let go.
pub struct Running {
    line: String,
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    err_reader: Option<JoinHandle<()>>,
    peak: u64,
}

impl Running {
    pub fn start(mut command: Command, line: String) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("`{line}` does not start: {error}"));
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        let err = Arc::new(Mutex::new(vec![]));
        let said = err.clone();
        let out = thread::spawn(move || {
            let mut bytes = vec![];
            let _ = stdout.read_to_end(&mut bytes);
            bytes
        });
        let err_reader = thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut block) {
                said.lock().expect("no panic").extend_from_slice(&block[..length]);
            }
        });
        Running { line, child, out: Some(out), err, err_reader: Some(err_reader), peak: 0 }
    }

    /// What it has said on stderr so far.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().expect("no panic")).into_owned()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, as it says when it does.
    pub fn address(&mut self) -> SocketAddr {
        let told = |err: &str| err.split_once("listening on http://")?.1.split_whitespace().next()?.parse().ok();
        let mut address = None;
        self.until("it listens", |running| {
            address = told(&running.err());
            address.is_some()
        });
        address.expect("just seen")
    }

    /// Waits until something is so; panics when the process ends first, or when it takes too long.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Running) -> bool) {
        let started = Instant::now();
        while !so(self) {
            self.look();
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "`{}` ended ({ended:?}) before {what}:\n{}", self.line, self.err());
            assert!(started.elapsed() < patience(), "`{}`: not so in time: {what}\n{}", self.line, self.err());
            thread::sleep(BLINK);
        }
    }

    /// `kill -9`. False when it had ended by itself.
    pub fn kill(mut self) -> bool {
        let _ = self.child.kill();
        let status = self.child.wait().expect("a child of ours");
        status.signal().is_some()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} {}", self.id());
    }

    /// Asks it to stop, and waits for that.
    pub fn stop(self) -> Said {
        self.signal("TERM");
        self.end(PATIENCE)
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for its end; a command that does not end is killed, and that is a failure.
    pub fn end(mut self, patience: Duration) -> Said {
        let started = Instant::now();
        let status = loop {
            self.look();
            match self.child.try_wait().expect("a child of ours") {
                Some(status) => break status,
                None if started.elapsed() > patience => panic!("`{}` does not end:\n{}", self.line, self.err()),
                None => thread::sleep(BLINK),
            }
        };
        let stdout = self.out.take().map(|reader| reader.join().expect("no panic")).unwrap_or_default();
        if let Some(reader) = self.err_reader.take() {
            reader.join().expect("no panic");
        }
        Said { line: self.line.clone(), code: status.code(), stdout, err: self.err(), peak: self.peak }
    }

    /// The kernel's own high-water mark of its memory; gone once it has ended, so it is looked at while it runs.
    fn look(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        self.peak = self.peak.max(kilobytes.unwrap_or(0) * 1024);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script of this folder with Python, which shares nothing with what it checks. What it printed.
pub fn python(script: &str, arguments: &[&str]) -> String {
    python_reads(script, arguments, b"")
}

/// The same with something on its standard input.
pub fn python_reads(script: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("python3");
    command.arg(house().join("tests").join(script)).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python3, which ./test installs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("a child of ours");
    let _ = writer.join();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {err}");
    String::from_utf8(output.stdout).expect("a script prints text")
}
