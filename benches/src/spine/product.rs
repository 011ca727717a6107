//! The product itself: its own command line, in a process of its own.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::program;

const JOB: &str = "
PIPELINE orders AS
FROM SOURCE
|> WHERE status = 'paid' AND CAST(amount AS DECIMAL(12, 2)) >= 10
|> DEDUP BY id WITHIN '10 minutes'
|> SELECT id, lower(customer) AS customer, CAST(CAST(amount AS DECIMAL(12, 2)) * 100 AS BIGINT) AS cents,
          substr(ts, 1, 10) AS day, region
|> INSERT INTO file('./');
";

/// An endless pipeline that nobody feeds.
const IDLE: &str = "PIPELINE idle AS FROM http('/idle') |> DEDUP BY id WITHIN '1 hour' |> INSERT INTO file('idle/');";

pub fn run(input: &Path, output: &Path) {
    job(&format!("file('{}')", input.display()), output);
}

/// The same file as the history of a source that has nothing yet.
pub fn backfill(input: &Path, output: &Path) {
    job(&format!("history(file('{}')) THEN http('/orders')", input.display()), output);
}

fn job(source: &str, output: &Path) {
    let file = output.join(".job.sync");
    std::fs::write(&file, JOB.replace("SOURCE", source)).expect("the pipeline file");
    let data = output.join(".data");
    program::run(&["run", &file.to_string_lossy(), "--once", "--data", &data.to_string_lossy()]);
}

/// Runs until it is killed.
pub fn idle(folder: &Path) {
    let file = folder.join("idle.sync");
    std::fs::write(&file, IDLE).expect("the pipeline file");
    program::run(&["run", &file.to_string_lossy(), "--listen", "127.0.0.1:7893"]);
}

/// Bytes of state per key, start-up and idle memory.
pub fn facts(done: &Path, folder: &Path) {
    let world = syncline::world::World::open(&done.join(".data")).expect("the data folder of the last run");
    let checkpoint = syncline_engine::checkpoint::read_checkpoint(&*world.ground.store, "orders");
    let checkpoint = checkpoint.expect("a readable checkpoint").expect("a checkpoint");
    for (step, note) in &checkpoint.states {
        let keys = note.size.keys.max(1) as f64;
        println!(
            "state of {step}: {} keys, {:.1} bytes a key in memory, {:.1} in segments, {:.1} in the store's files",
            note.size.keys,
            note.size.bytes as f64 / keys,
            note.stored as f64 / keys,
            world.ground.store.size_on_disk() as f64 / keys,
        );
    }
    drop(world);
    let began = Instant::now();
    let program = std::env::current_exe().expect("this program");
    let mut child =
        Command::new(program).args(["idle", &folder.to_string_lossy(), "-"]).spawn().expect("an idle process");
    let ready = wait_until_it_answers();
    println!("start until it answers: {:.0} ms", (ready - began).as_secs_f64() * 1e3);
    std::thread::sleep(Duration::from_secs(3));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("?").trim().to_owned();
    println!("idle memory: {resident}");
    child.kill().and_then(|()| child.wait()).expect("the idle process ends");
}

fn wait_until_it_answers() -> Instant {
    let limit = Instant::now() + Duration::from_secs(30);
    while Instant::now() < limit {
        if std::net::TcpStream::connect("127.0.0.1:7893").is_ok() {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no answer within 30 seconds");
}
