//! How memory that is let go of is kept: by the process, for what comes next.
//!
//! The store writes through pieces of 8 MiB, Kafka's client through its own. glibc gives pieces of that size back to the system at once and asks
//! anew, and each page of them costs at its first touch: a third of what it costs to restore ten million keys.

/// Pieces up to this size come from what is kept. The largest that glibc allows.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const PIECE: libc::c_int = 32 << 20;
/// So much at the end of a heap is kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 64 << 20;

/// To be called before there are threads.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: numbers are given to the allocator's settings, no memory. Not to be called beside an allocation elsewhere, hence before threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, PIECE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
