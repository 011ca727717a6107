//! What a sync costs here, with nothing around it: no answer that waits for one can be faster.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

/// About what a round of small deliveries writes.
const BYTES: usize = 32 << 10;
const DURING: Duration = Duration::from_secs(2);

/// The middle and the slowest hundredth, in milliseconds.
pub fn sync_times() -> [f64; 2] {
    let path = std::env::temp_dir().join(format!("syncline-disk-{}", std::process::id()));
    let file = File::create(&path).expect("a temporary file");
    let (bytes, began, mut times) = (vec![b'x'; BYTES], Instant::now(), vec![]);
    while began.elapsed() < DURING || times.is_empty() {
        file.write_all_at(&bytes, (times.len() * BYTES) as u64).expect("room for it");
        let before = Instant::now();
        file.sync_data().expect("a sync");
        times.push(before.elapsed());
    }
    std::fs::remove_file(&path).expect("the file goes away");
    times.sort_unstable();
    [50, 99].map(|percent| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3)
}
