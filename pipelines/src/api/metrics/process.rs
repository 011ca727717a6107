//! What the system knows of the process and of its disk, under the names that every Prometheus client uses.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use metrics::{counter, gauge};
use syncline_engine::metrics::Figure;
use syncline_record::Micros;

pub const FIGURES: &[Figure] = &[
    Figure::gauge("syncline_build_info", &["version"], "1, with the version of the program."),
    Figure::gauge(
        "syncline_disk_used_bytes",
        &["part"],
        "Bytes of the data folder: `state` (checkpoints and segments) and `log` (what came in, outboxes, dead letters, ledger).",
    ),
    Figure::gauge(
        "syncline_disk_free_bytes",
        &[],
        "Bytes that are free where the data folder lies. Commits stop before it is full.",
    ),
    Figure::counter("process_cpu_seconds_total", &[], "Processor time that the process has taken, in seconds."),
    Figure::gauge("process_resident_memory_bytes", &[], "Memory that it holds."),
    Figure::gauge("process_threads", &[], "Its threads."),
    Figure::gauge("process_open_fds", &[], "Files and connections that it has open."),
    Figure::gauge("process_max_fds", &[], "How many it may have open."),
    Figure::gauge("process_start_time_seconds", &[], "When it began, in seconds since 1970."),
];

/// Ticks of a second in `/proc`: fixed by the kernel for what user space sees.
const TICKS: u64 = 100;
/// Folders below the log and the state: topics and their files.
const DEEPEST: usize = 4;

static BEGAN: AtomicI64 = AtomicI64::new(0);

pub fn begin(now: Micros) {
    BEGAN.store(now, Ordering::Relaxed);
}

/// Asks the system. What it does not tell is not shown.
pub fn show(folder: Option<&Path>) {
    gauge!("syncline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("process_start_time_seconds").set(BEGAN.load(Ordering::Relaxed) as f64 / 1e6);
    if let Some(folder) = folder {
        for part in ["state", "log"] {
            gauge!("syncline_disk_used_bytes", "part" => part).set(size(&folder.join(part), DEEPEST) as f64);
        }
        if let Ok(disk) = rustix::fs::statvfs(folder) {
            gauge!("syncline_disk_free_bytes").set(disk.f_bavail.saturating_mul(disk.f_frsize) as f64);
        }
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        // Whole seconds: a counter of this library holds no others. The rate of minutes is what is looked at.
        counter!("process_cpu_seconds_total").absolute(seconds);
    }
    let status = read("status");
    let of_status = |name: &str| number_after(&status, name);
    for (figure, value) in [
        ("process_resident_memory_bytes", of_status("VmRSS:").map(|kilobytes| kilobytes * 1024)),
        ("process_threads", of_status("Threads:")),
        ("process_open_fds", fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64)),
        ("process_max_fds", number_after(&read("limits"), "Max open files")),
    ] {
        if let Some(value) = value {
            gauge!(figure).set(value as f64);
        }
    }
}

/// The first number after this word.
fn number_after(text: &str, word: &str) -> Option<u64> {
    text.split_once(word)?.1.split_whitespace().next()?.parse().ok()
}

/// Time in user and kernel mode, from `/proc/self/stat`. The program's name stands in brackets and may hold anything.
fn cpu_seconds(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some((user + kernel) / TICKS)
}

/// Bytes of all files in a folder. One that vanishes meanwhile counts nothing.
fn size(folder: &Path, deeper: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && deeper > 0 => size(&entry.path(), deeper - 1),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_whatever_name_the_program_has() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 900 0 0 0 1250 310 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(15));
        assert_eq!(cpu_seconds("77 (sync"), None);
        assert!(cpu_seconds(&fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }

    #[test]
    fn a_number_is_the_first_behind_its_word() {
        let limits = "Limit Soft Hard\nMax open files            1024                 524288               files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1024));
        assert_eq!(number_after(limits, "Max threads"), None);
    }

    #[test]
    fn a_folder_is_as_large_as_the_files_in_it() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 700]).unwrap();
        fs::write(folder.path().join("c"), [0; 30]).unwrap();
        assert_eq!(size(folder.path(), 4), 730);
        assert_eq!(size(&folder.path().join("none"), 4), 0);
    }
}
