//! A process is killed, and another one goes on with its task: how long nothing works, up to when the state is whole there.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{count, holds, running::Running};

/// A process is silent for so long before its tasks are others'.
const SESSION: f64 = 6.0;
/// Bounds, in seconds: without and with a copy that stands by.
const EMPTY: f64 = SESSION + 10.0;
const STANDBY: f64 = SESSION + 2.0;
const LOOK: Duration = Duration::from_millis(50);

/// `file` is the job without a copy; a second file beside it has one.
pub fn takeovers(file: &Path, folder: &Path, keys: u64) {
    let with = folder.join("standby.sync");
    let text = fs::read_to_string(file).expect("the pipeline file");
    fs::write(&with, text.replace("changelog = 'bus'", "changelog = 'bus', standby = true")).expect("another one");
    takeover("the other has nothing", file, folder, keys, EMPTY);
    takeover("the other stands by with a copy", &with, folder, keys, STANDBY);
}

fn takeover(what: &str, file: &Path, folder: &Path, keys: u64, bound: f64) {
    let (one, two) = (folder.join("one"), folder.join("two"));
    let killed = start(file, &one);
    until(&killed, "running");
    let other = start(file, &two);
    until(&other, "standby");
    rests(&other);
    drop(killed);
    let silent = Instant::now();
    until(&other, "running");
    let took = silent.elapsed().as_secs_f64();
    assert_eq!(count(&two), keys, "keys are missing");
    drop(other);
    [one, two].iter().for_each(|data| fs::remove_dir_all(data).expect("the folder goes"));
    println!("{what:<34} works {took:.1} s after the kill (bound {bound}): {}", holds(took <= bound));
}

fn start(file: &Path, data: &Path) -> Running {
    Running::start(&["run", &file.to_string_lossy(), "--listen", "127.0.0.1:0", "--data", &data.to_string_lossy()])
}

/// Waits until the pipeline stands so, as the process itself says.
fn until(running: &Running, state: &str) {
    let status = || running.get("/v1/pipelines/ids");
    let (began, wanted) = (Instant::now(), format!("\"state\":\"{state}\""));
    while !status().contains(&wanted) {
        assert!(began.elapsed() < Duration::from_secs(120), "it is not {state}: {}", status());
        std::thread::sleep(LOOK);
    }
}

/// Waits until it has nothing to do but to look: two seconds with little work in them.
fn rests(running: &Running) {
    let long = Duration::from_secs(2);
    loop {
        let before = running.cpu();
        std::thread::sleep(long);
        if running.cpu() - before < long / 10 {
            return;
        }
    }
}
