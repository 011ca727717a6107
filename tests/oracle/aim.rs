//! Kills that fall exactly into a window, however short it is.
//!
//! A signal takes longer than many windows last. So the process is stopped first: where it stands then is looked at in the byte of its
//! witness, and it is killed there if that is the window, or goes on if not. A stop that came too late costs nothing.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::desk::{Desk, Running, patience};

/// A window: its name in `SELECT killed`, whose byte of the witness shows it, and the value there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    pub name: &'static str,
    whose: Whose,
    value: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The job's own byte.
    Job,
    /// Any sink's.
    Sink,
    /// The changelog's, of a process that works.
    Changelog,
    /// The same, of one that has not come to work yet.
    Beginning,
}

const fn job(name: &'static str, value: u8) -> Aim {
    Aim { name, whose: Whose::Job, value }
}

const fn sink(name: &'static str, value: u8) -> Aim {
    Aim { name, whose: Whose::Sink, value }
}

const fn changelog(name: &'static str, value: u8) -> Aim {
    Aim { name, whose: Whose::Changelog, value }
}

const fn beginning(name: &'static str, value: u8) -> Aim {
    Aim { name, whose: Whose::Beginning, value }
}

/// With a changelog there are these too.
pub const CHANGELOG_AIMS: [Aim; 6] = [
    beginning("changelog_opening", 1),
    beginning("changelog_reading", 2),
    changelog("changelog_writing", 3),
    changelog("changelog_moving", 4),
    changelog("changelog_committing", 5),
    changelog("changelog_copying", 6),
];

/// All that a process can be killed in; idle ones are hit by kills at any time.
pub const AIMS: [Aim; 9] = [
    job("open", 1),
    job("staging", 2),
    job("logging", 3),
    job("committing", 4),
    job("revealing", 5),
    sink("sink_opening", 1),
    sink("sink_applying", 2),
    sink("sink_committing", 3),
    sink("sink_recording", 4),
];

/// Sinks of the pipeline that have a byte.
const SINKS: usize = 3;
/// Where the changelog's byte is: there is room for many sinks before it.
const CHANGELOG: usize = 33;
/// A process that has said that it started has let go of what the one before it left in the witness.
const ITS_OWN: Duration = Duration::from_millis(20);
/// A sink is opened when its process begins, and then no more: by now that is over.
const OPENED: Duration = Duration::from_secs(10);
/// Longest time in which a thread that was stopped still runs.
const STANDS: Duration = Duration::from_millis(1);

impl Aim {
    /// It comes before the process says that it started, and what the one before it left in the witness is still there.
    pub fn is_of_a_start(self) -> bool {
        self.whose == Whose::Beginning
    }

    /// A process is in it once, right after it has said that it started: who looks too late has to take another process.
    fn is_once(self) -> bool {
        self.whose == Whose::Sink && self.value == 1
    }

    /// The next process writes over its byte before it has noted it: one that is killed at its start takes the note along.
    pub fn is_of_the_changelog(self) -> bool {
        matches!(self.whose, Whose::Beginning | Whose::Changelog)
    }
}

/// Kills the process in this window. Panics when it never is in it; false, and it is killed all the same: it began, and was not seen there,
/// where it is only then.
pub fn kill_in(aim: Aim, desk: &Desk, pipeline: &str, mut running: Running) -> bool {
    if !aim.is_of_a_start() {
        running.until("it started", |running| running.err().contains("started"));
        thread::sleep(ITS_OWN);
    }
    let witness = File::open(desk.path(&format!(".syncline/witness/{pipeline}"))).expect("the witness of a process");
    let process = Pid::from_raw(running.id() as i32).expect("a process");
    let began = Instant::now();
    let mut stops = 0;
    while began.elapsed() < patience() {
        assert!(!running.ended(), "the process ended before it was in {}:\n{}", aim.name, running.err());
        if !spin(aim, &witness) {
            if aim.is_of_a_start() && running.err().contains("started") {
                assert!(running.kill(), "it works");
                return false;
            }
            if aim.is_once() && began.elapsed() > OPENED {
                assert!(running.kill(), "it works");
                return false;
            }
            continue;
        }
        kill_process(process, Signal::STOP).expect("a process of ours");
        stops += 1;
        until_stopped(running.id());
        if is_in(aim, &witness) {
            assert!(running.kill(), "it stands still");
            return true;
        }
        kill_process(process, Signal::CONT).expect("a process of ours");
    }
    panic!("in {:?} and {stops} stops the process never stood in {}", patience(), aim.name);
}

/// Looks without a pause for a while: what is waited for may be over in microseconds.
fn spin(aim: Aim, witness: &File) -> bool {
    (0..2_000).any(|look| {
        if look % 100 == 99 {
            thread::yield_now();
        }
        is_in(aim, witness)
    })
}

fn is_in(aim: Aim, witness: &File) -> bool {
    let mut bytes = [0; CHANGELOG + 1];
    let read = witness.read_at(&mut bytes, 0).unwrap_or(0);
    match aim.whose {
        Whose::Job => bytes[0] == aim.value,
        Whose::Sink => bytes[1..read.clamp(1, 1 + SINKS)].contains(&aim.value),
        Whose::Changelog | Whose::Beginning => bytes[CHANGELOG] == aim.value,
    }
}

/// A stop is over for a thread when it next would run; one that waits for a disk ends that call first.
fn until_stopped(process: u32) {
    let began = Instant::now();
    let stands = |thread: &str| {
        let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| !rest.starts_with('R'))
    };
    loop {
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let runs = threads.into_iter().any(|thread| !stands(&thread.file_name().to_string_lossy()));
        if !runs || began.elapsed() > STANDS * 100 {
            return;
        }
        thread::sleep(STANDS / 10);
    }
}
