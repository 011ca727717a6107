//! How fast something may go.
//!
//! A [`Limit`] lets so many pass in so much time, in every window of that length and not only on average: the window is cut into
//! buckets, and the oldest of them, which has partly left the window, still counts whole. It may let a few less pass than it
//! could (one bucket's worth, 5 %), never one more, and takes the same memory whatever the rate. It reads no clock: it is told.

use std::time::Duration;

/// Buckets of a window: 20 waste at most a twentieth of the rate.
const BUCKETS: usize = 20;

/// So many in so much time.
#[derive(Clone, Debug)]
pub struct Limit {
    count: u64,
    /// Nanoseconds of one bucket.
    width: u64,
    /// What passed in the last buckets, the window's and the one that is leaving it; a bucket's place is its number modulo their
    /// count.
    passed: [u64; BUCKETS + 1],
    /// Number of the newest bucket.
    newest: u64,
}

impl Limit {
    /// `per` in microseconds. At least one passes in a window, and a window is not shorter than its buckets' nanoseconds.
    pub fn new(count: u64, per: u64) -> Self {
        let width = per.saturating_mul(1_000).div_ceil(BUCKETS as u64).max(1);
        Self { count: count.max(1), width, passed: [0; BUCKETS + 1], newest: 0 }
    }

    /// Lets one pass at `now`, a time that never goes back; or says after how long one could.
    pub fn pass(&mut self, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.move_to(now / self.width);
        if self.passed.iter().sum::<u64>() < self.count {
            let newest = self.place(self.newest);
            self.passed[newest] += 1;
            return Ok(());
        }
        Err(Duration::from_nanos(self.free_at().saturating_sub(now)))
    }

    fn place(&self, bucket: u64) -> usize {
        (bucket % (BUCKETS as u64 + 1)) as usize
    }

    fn move_to(&mut self, bucket: u64) {
        let steps = bucket.saturating_sub(self.newest).min(BUCKETS as u64 + 1);
        for step in 0..steps {
            let emptied = self.place(bucket - step);
            self.passed[emptied] = 0;
        }
        self.newest = self.newest.max(bucket);
    }

    /// When the oldest bucket with something in it has gone, and the window has room again.
    fn free_at(&self) -> u64 {
        let oldest = self.newest.saturating_sub(BUCKETS as u64);
        let used = (oldest..=self.newest).find(|bucket| self.passed[self.place(*bucket)] > 0);
        (used.unwrap_or(self.newest) + BUCKETS as u64 + 1).saturating_mul(self.width)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn so_many_pass_and_the_next_is_told_when() {
        let mut limit = Limit::new(3, 1_000_000);
        let at = Duration::from_millis;
        assert_eq!([at(1_000), at(1_010), at(1_999)].map(|now| limit.pass(now)), [Ok(()); 3]);
        assert_eq!(limit.pass(at(1_999)), Err(at(51)), "the two oldest leave with their bucket, at 2.05 s");
        assert_eq!([at(2_049), at(2_050), at(2_050)].map(|now| limit.pass(now)), [Err(at(1)), Ok(()), Ok(())]);
        assert_eq!(limit.pass(at(60_000)), Ok(()), "a long rest empties all of it");
    }

    /// Random requests against a list of all that passed: no window ever holds too many, and whoever waits as long as he was told
    /// gets through.
    #[test]
    fn no_window_holds_more_and_a_told_wait_suffices() {
        for seed in 0..20 {
            let mut chance = SmallRng::seed_from_u64(seed);
            let (count, per) = (chance.random_range(1..40), chance.random_range(1..5_000_000u64));
            let mut limit = Limit::new(count, per);
            let (mut now, mut passed, mut waits) = (Duration::ZERO, vec![], 0);
            for _ in 0..2_000 {
                now += Duration::from_micros(chance.random_range(0..per / 10 + 2));
                if let Err(wait) = limit.pass(now) {
                    waits += 1;
                    now += wait;
                    assert_eq!(limit.pass(now), Ok(()), "seed {seed}: after {wait:?}");
                }
                passed.push(now);
                let window = passed.iter().rev().take_while(|then| now - **then < Duration::from_micros(per));
                assert!(window.count() as u64 <= count, "seed {seed}");
            }
            assert!(waits > 0 || count > 20, "seed {seed} tried nothing");
        }
    }
}
