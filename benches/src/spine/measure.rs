//! What a process costs, as the kernel counts it.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub struct Cost {
    pub cpu: Duration,
    pub wall: Duration,
    /// Bytes of the largest resident set.
    pub peak: u64,
}

/// Runs this program again as one contestant and waits for it.
pub fn child(arguments: &[&str]) -> Cost {
    let program = std::env::current_exe().expect("this program");
    let began = Instant::now();
    let child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().expect("a contestant starts");
    let pid = child.id() as i32;
    let mut status = 0;
    let mut usage: libc_rusage::Rusage = libc_rusage::Rusage::default();
    let waited = libc_rusage::wait4(pid, &mut status, &mut usage);
    assert!(waited == pid && status == 0, "{arguments:?} failed with status {status}");
    drop(child);
    Cost { cpu: usage.user + usage.system, wall: began.elapsed(), peak: usage.peak }
}

/// What kind of file system a path is on: on one in memory, making durable costs nothing, and a figure would say too much.
pub fn file_system(path: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        path.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    holding.max_by_key(|(length, _)| *length).map_or("an unknown file system".to_owned(), |(_, kind)| kind)
}

/// `wait4(2)`: the only call that gives the usage of one child.
mod libc_rusage {
    use std::time::Duration;

    #[derive(Default)]
    pub struct Rusage {
        pub user: Duration,
        pub system: Duration,
        pub peak: u64,
    }

    /// `struct rusage` of Linux on 64 bits: two times, then fourteen longs, of which the first is `ru_maxrss` in KiB.
    #[repr(C)]
    #[derive(Default)]
    struct Raw {
        user: [i64; 2],
        system: [i64; 2],
        longs: [i64; 14],
    }

    mod sys {
        unsafe extern "C" {
            pub fn wait4(pid: i32, status: *mut i32, options: i32, usage: *mut super::Raw) -> i32;
        }
    }

    pub fn wait4(pid: i32, status: &mut i32, usage: &mut Rusage) -> i32 {
        let mut raw = Raw::default();
        // SAFETY: both pointers are to live values of the layout that the call fills in.
        let waited = unsafe { sys::wait4(pid, status, 0, &mut raw) };
        let time = |[seconds, micros]: [i64; 2]| Duration::new(seconds as u64, micros as u32 * 1000);
        *usage = Rusage { user: time(raw.user), system: time(raw.system), peak: raw.longs[0] as u64 * 1024 };
        waited
    }
}
