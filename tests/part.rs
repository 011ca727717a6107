//! Other people's servers, started by a test for itself, and gone with it.
//!
//! What a test leaves behind would hold memory and a port until somebody notices. Letting go of a part ends it; and beside each stands a
//! guard, a shell that waits for the end of its input: when all of the test run is killed, it ends the part and removes its folder.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// A server starts within this, also on a machine that compiles beside it.
const START_WITHIN: Duration = Duration::from_secs(180);
/// How often a server that starts is looked at.
const BLINK: Duration = Duration::from_millis(20);
/// Ends process `$0` and removes folder `$1` when nobody holds the other end of its input any more. What asks the whole group of
/// processes to stop does not stop the guard.
const GUARD: &str = "trap '' HUP INT TERM; read -r _; kill -9 $0; rm -rf \"$1\" || { sleep 1; rm -rf \"$1\"; }";

pub struct Part {
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Part {
    /// Starts a program that works in this folder; what it says goes to `NAME.log` there.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Part {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log in the folder of the part");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let guard = Command::new("sh")
            .args(["-c", GUARD, &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Part { child, guard, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it does its work. Panics with what it said when it ends before, or takes too long.
    pub fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !so() {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "ended ({ended:?}) before {what}:\n{}", self.said());
            assert!(started.elapsed() < START_WITHIN, "not so in time: {what}\n{}", self.said());
            thread::sleep(BLINK);
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} {}", self.id());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The guard first: it must not end a process that got the number of this one.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that servers get. They lie below those that the kernel gives to clients: a client that tries again and again to reach a
/// server that is down would else, sooner or later, be given the very port and talk to itself.
const PORTS: (u16, u16) = (20_000, 32_000);

/// A port that is free, and is given to nobody else here, so that a server can be started again on it.
pub fn port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let span = u32::from(PORTS.1 - PORTS.0);
    // Test runs beside each other begin at different places.
    let first = std::process::id().wrapping_mul(7_919) % span;
    let ports = (0..span).map(|step| PORTS.0 + ((first + step) % span) as u16);
    let port = ports.into_iter().find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let port = port.expect("a free port");
    given.insert(port);
    port
}

/// Set in a second process of these tests, which the first one kills.
const PLAYS_THE_KILLED: &str = "SYNCLINE_TESTS_KILLED";

#[test]
fn a_part_and_its_folder_are_gone_when_the_tests_are_killed() {
    let sleeper = |folder: &Path| {
        let mut command = Command::new("sleep");
        command.arg("600");
        Part::start(command, folder, "sleep")
    };
    if let Some(folder) = std::env::var_os(PLAYS_THE_KILLED).map(PathBuf::from) {
        let part = sleeper(&folder.join("part"));
        fs::write(folder.join("id.part"), part.id().to_string()).expect("write the id");
        fs::rename(folder.join("id.part"), folder.join("id")).expect("show the id");
        thread::sleep(START_WITHIN);
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("part")).expect("a folder of the part");
    let mut tests = Command::new(std::env::current_exe().expect("these tests"))
        .args(["--exact", "part::a_part_and_its_folder_are_gone_when_the_tests_are_killed"])
        .env(PLAYS_THE_KILLED, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests, once more");
    let wait = |what: &str, so: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !so() {
            assert!(started.elapsed() < START_WITHIN, "{what}");
            thread::sleep(BLINK);
        }
    };
    wait("a part of the other tests", &|| folder.path().join("id").exists());
    let id = fs::read_to_string(folder.path().join("id")).expect("its id");
    let lives = || {
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        state.contains("(sleep)") && !state.contains(") Z")
    };
    assert!(lives(), "the part runs before the tests are killed");
    tests.kill().expect("kill -9");
    tests.wait().expect("a child of ours");
    wait("the part outlives the tests", &|| !lives());
    wait("its folder outlives the tests", &|| !folder.path().join("part").exists());
}
