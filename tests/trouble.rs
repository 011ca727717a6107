//! When something outside goes wrong: a clear word with the next step, the right exit code, and nothing lost.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    desk::{Desk, Said},
    look,
};

const PIPELINE: &str = "
PIPELINE orders AS
FROM file('in.ndjson')
|> DEDUP BY id WITHIN '1 day'
|> SELECT id
|> INSERT INTO file('out/');
";

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|id| format!("{{\"id\": {id}}}\n")).collect()
}

fn rows(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|id| format!("{{\"id\":{id}}}")).collect()
}

/// The output holds the orders below this number, once each and in order.
fn expect_out(desk: &Desk, to: usize) {
    look::same("out", &look::lines(&desk.path("out")), &rows(0, to));
}

/// A desk on which the first thousand are through.
fn worked() -> Desk {
    let desk = Desk::with(PIPELINE);
    desk.write("in.ndjson", lines(0, 1_000));
    desk.ok(&["run", "orders.sync"]);
    desk
}

fn expect(said: Said, code: i32, words: &[&str]) {
    let said = said.expect(code);
    assert!(said.err.contains("error: ") && said.err.contains("help: "), "{}", said.err);
    for word in words {
        assert!(said.err.contains(word), "`{word}` is not in:\n{}", said.err);
    }
}

#[test]
fn a_damaged_state_file_is_named_and_nothing_is_served_from_it() {
    let desk = worked();
    let state = state_file(&desk);
    let sound = fs::read(&state).expect("the state");
    let mut told = 0;
    let places: Vec<usize> = (0..sound.len()).step_by(sound.len() / 40 + 1).filter(|at| sound[*at] != 0).collect();
    assert!(places.len() > 5, "the state file is all zeros");
    for at in &places {
        let mut damaged = sound.clone();
        damaged[*at] ^= 0x55;
        fs::write(&state, &damaged).expect("damage the state");
        let said = desk.say(&["run", "orders.sync"]);
        match said.code {
            Some(3) => {
                expect(said, 3, &[".syncline", "damaged"]);
                told += 1;
            }
            // A byte that no live segment uses: then the run must know what it had.
            _ => assert!(said.expect(0).err.contains("nothing new"), "byte {at}"),
        }
        expect_out(&desk, 1_000);
    }
    assert!(told > 0, "none of {} damaged bytes was noticed", places.len());
}

/// The largest file below the state folder: where the segments lie.
fn state_file(desk: &Desk) -> PathBuf {
    files(&desk.path(".syncline/state")).into_iter().max_by_key(|file| length(file)).expect("a state file")
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |about| about.len())
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in fs::read_dir(folder).expect("a folder of the product").flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn a_damaged_log_is_named_and_the_rest_is_left_alone() {
    let desk = Desk::with(PIPELINE);
    desk.write("in.ndjson", format!("{}{}", lines(0, 1_000), lines(0, 1_000)));
    desk.ok(&["run", "orders.sync"]);
    let dropped = ["query", "SELECT count(*) AS n FROM records_dropped", "-o", "csv"];
    assert_eq!(desk.ok(&dropped), "n\n1000\n");
    let frames = files(&desk.path(".syncline/log")).into_iter().filter(|file| length(file) > 100);
    let frames: Vec<PathBuf> = frames.collect();
    assert!(!frames.is_empty(), "nothing is logged");
    for file in frames {
        let mut bytes = fs::read(&file).expect("a file of the log");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&file, bytes).expect("damage the log");
    }
    expect(desk.say(&dropped), 3, &["ledger", "damaged"]);
    expect(desk.say(&["run", "orders.sync"]), 3, &["ledger", "damaged", "--fresh"]);
    expect_out(&desk, 1_000);
}

#[test]
fn a_full_disk_is_named_and_the_same_command_goes_on_when_there_is_room() {
    let disk = Disk::of_megabytes(6);
    let Some(disk) = disk else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let desk = Desk::with(PIPELINE);
    let wide = "x".repeat(400);
    let line = |id: usize| format!("{{\"id\": {id}, \"note\": \"{wide}\"}}\n");
    desk.write(
        "orders.sync",
        PIPELINE.replace("SELECT id", "SELECT id, note").replace("out/", &format!("{}/out/", disk.path())),
    );
    desk.write("in.ndjson", (0..30_000).map(line).collect::<String>());
    let data = format!("{}/data", disk.path());
    let said = desk.say(&["run", "orders.sync", "--data", &data]);
    expect(said, 3, &["make room"]);
    disk.grow(200);
    desk.ok(&["run", "orders.sync", "--data", &data]);
    let out = look::lines(&PathBuf::from(format!("{}/out", disk.path())));
    let expected: Vec<String> = (0..30_000).map(|id| format!("{{\"id\":{id},\"note\":\"{wide}\"}}")).collect();
    look::same("out", &out, &expected);
}

/// A small file system in memory; unmounted when it is let go.
pub struct Disk(tempfile::TempDir);

impl Disk {
    pub fn of_megabytes(size: u32) -> Option<Disk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Disk(folder))
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().expect("a path in UTF-8")
    }

    pub fn grow(&self, size: u32) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}m"), self.path()]).status();
        assert!(grown.is_ok_and(|status| status.success()), "remount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// What any user can do: a limit on the size of files that a process writes.
#[test]
fn a_file_size_limit_is_named_and_the_same_command_goes_on_without_it() {
    let desk = Desk::with(&PIPELINE.replace("SELECT id", "SELECT id, note"));
    let wide = "x".repeat(400);
    let line = |id: usize| format!("{{\"id\": {id}, \"note\": \"{wide}\"}}\n");
    desk.write("in.ndjson", (0..10_000).map(line).collect::<String>());
    let limited = format!("trap '' XFSZ; ulimit -f 1024; exec {} run orders.sync", crate::desk::binary().display());
    let said = crate::desk::Running::start(desk.other("bash", &["-c", &limited]), limited).end(crate::desk::PATIENCE);
    expect(said, 3, &[]);
    desk.ok(&["run", "orders.sync"]);
    let expected: Vec<String> = (0..10_000).map(|id| format!("{{\"id\":{id},\"note\":\"{wide}\"}}")).collect();
    look::same("out", &look::lines(&desk.path("out")), &expected);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused_by_name() {
    let desk = Desk::with(&PIPELINE.replace("file('in.ndjson')", "http('/orders')"));
    let mut server = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    server.address();
    expect(desk.say(&["run", "orders.sync"]), 3, &["in use", &server.id().to_string(), "--data"]);
    server.stop().expect(0);
    desk.ok(&["run", "orders.sync", "--once"]);
}

#[test]
fn a_taken_port_is_refused_by_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let desk = Desk::with(&PIPELINE.replace("file('in.ndjson')", "http('/orders')"));
    expect(desk.say(&["run", "orders.sync", "--listen", &address]), 3, &[&address, "--listen"]);
    drop(listener);
    let both = desk.say(&["run", "orders.sync", "--listen", &address, "--ingest", &address]);
    expect(both, 2, &[&address, "--listen", "another port"]);
    let open = desk.say(&["run", "orders.sync", "--listen", "0.0.0.0:0"]);
    expect(open, 2, &["0.0.0.0"]);
}

#[test]
fn an_input_that_is_not_there_or_not_readable_is_named() {
    let desk = Desk::with(PIPELINE);
    expect(desk.say(&["run", "orders.sync"]), 3, &["in.ndjson"]);
    fs::create_dir(desk.path("in.ndjson")).expect("a folder in its place");
    expect(desk.say(&["run", "orders.sync"]), 3, &["in.ndjson"]);
    fs::remove_dir(desk.path("in.ndjson")).expect("remove it");
    desk.write("in.ndjson", lines(0, 5));
    desk.ok(&["run", "orders.sync"]);
    expect_out(&desk, 5);
}

#[test]
fn an_input_that_was_cut_back_is_a_stop_and_not_a_guess() {
    let desk = worked();
    desk.write("in.ndjson", lines(0, 10));
    expect(desk.say(&["run", "orders.sync"]), 3, &["in.ndjson"]);
    expect_out(&desk, 1_000);
}

#[test]
fn a_folder_of_a_newer_version_is_left_alone() {
    let desk = worked();
    desk.write(".syncline/format", "99\n");
    expect(desk.say(&["run", "orders.sync"]), 3, &["99"]);
    expect(desk.say(&["status"]), 3, &["99"]);
    assert_eq!(fs::read_to_string(desk.path(".syncline/format")).ok().as_deref(), Some("99\n"));
}

#[test]
fn an_edit_that_would_lose_state_says_how_much_and_waits_for_a_word() {
    let desk = worked();
    desk.write("orders.sync", PIPELINE.replace("BY id", "BY id, region"));
    desk.write("in.ndjson", lines(0, 1_010));
    expect(
        desk.say(&["run", "orders.sync"]),
        2,
        &["dedup", "1000 keys; its definition", "--drop-state dedup", "--fresh"],
    );
    expect_out(&desk, 1_000);
    desk.ok(&["run", "orders.sync", "--drop-state", "dedup"]);
    // No order has a region: a NULL key passes, and reading goes on where it stood.
    expect_out(&desk, 1_010);
}

#[test]
fn an_edit_elsewhere_keeps_the_state_of_a_step() {
    let desk = worked();
    desk.write("orders.sync", PIPELINE.replace("|> SELECT id", "|> WHERE id >= 0\n|> SELECT id"));
    let more = format!("{}{}", lines(0, 1_000), lines(990, 1_005));
    desk.write("in.ndjson", more);
    desk.ok(&["run", "orders.sync"]);
    expect_out(&desk, 1_005);
}

#[test]
fn an_ended_batch_reads_only_what_is_new_and_says_so_and_fresh_starts_over() {
    let desk = worked();
    let again = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(again.err.contains("nothing new"), "{}", again.err);
    desk.write("in.ndjson", format!("{}{}", lines(0, 1_000), lines(1_000, 1_010)));
    let more = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(more.err.contains("10 rows in") && more.err.contains("only what is new"), "{}", more.err);
    expect_out(&desk, 1_010);
    let fresh = desk.say(&["run", "orders.sync", "--fresh"]).expect(0);
    assert!(fresh.err.contains("1010 rows in"), "{}", fresh.err);
    expect_out(&desk, 1_010);
}

/// A run that was killed is the same run when it goes on: its rows are counted in, and none of them is an earlier run's.
#[test]
fn what_the_same_run_has_read_before_it_was_killed_is_not_called_an_earlier_run_s() {
    const ROWS: i64 = 300_000;
    let desk = Desk::with(
        "PIPELINE p WITH (checkpoint_every = '10 milliseconds') AS FROM file('in.ndjson') |> WHERE id >= 0 |> INSERT INTO file('out/');",
    );
    desk.append("in.ndjson", (0..ROWS).map(|id| format!("{{\"id\":{id}}}")));
    let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
    running.address();
    let taken = || desk.value("SELECT sum(rows_in) AS n FROM runs").as_i64().unwrap_or_default();
    running.until("some of it is read", |_| taken() > 0);
    assert!(running.kill(), "it was read before it could be killed");
    let before = taken();
    assert!(before < ROWS, "all {before} rows were committed");
    let rest = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(rest.err.contains(&format!("run 1 · {ROWS} rows in")), "{}", rest.err);
    assert!(!rest.err.contains("what is new"), "{}", rest.err);
    desk.append("in.ndjson", ["{\"id\":1}"]);
    let more = desk.say(&["run", "orders.sync"]).expect(0);
    assert!(more.err.contains("run 2 · 1 rows in") && more.err.contains("only what is new"), "{}", more.err);
}

#[test]
fn a_stop_by_signal_is_clean_and_the_next_run_goes_on() {
    let desk = Desk::with(&PIPELINE.replace("file('in.ndjson')", "file('in.ndjson') FOLLOW"));
    desk.write("in.ndjson", lines(0, 1_000));
    for (signal, to) in [("TERM", 1_000), ("INT", 1_020)] {
        desk.write("in.ndjson", lines(0, to));
        let mut running = desk.start(&["run", "orders.sync", "--listen", "127.0.0.1:0"]);
        running.address();
        running.until("all is read", |_| desk.value("SELECT sum(rows_in) AS n FROM runs") == to);
        running.signal(signal);
        let said = running.end(crate::desk::PATIENCE).expect(0);
        assert!(said.err.contains("stopped"), "{}", said.err);
    }
    desk.ok(&["run", "orders.sync", "--once"]);
    expect_out(&desk, 1_020);
}

#[test]
fn a_secret_is_read_from_a_file_that_only_its_owner_can_read() {
    let desk = Desk::new();
    let mut set = desk.command(&["secret", "set", "shop/token", "--data", "data"]);
    set.stdin(std::process::Stdio::piped());
    let mut child = set.stderr(std::process::Stdio::piped()).spawn().expect("the binary");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"s3cr3t-value\n").expect("it reads");
    let output = child.wait_with_output().expect("a child of ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mode = fs::metadata(desk.path("data/secrets")).expect("the file of secrets").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let listed = desk.ok(&["secret", "list", "--data", "data"]);
    assert!(listed.contains("shop/token") && !listed.contains("s3cr3t"), "{listed}");
}
