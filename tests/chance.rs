//! Chance that can be had again: every test that rolls dice says its seed, and takes it from `SYNCLINE_SEED`.

/// SplitMix64 (Steele, Lea, Flood 2014): three lines, and good enough to choose moments and orders.
pub struct Chance(u64);

impl Chance {
    /// The seed of this run, said on stderr under the test's name.
    pub fn told(test: &str) -> (Chance, u64) {
        let seed = std::env::var("SYNCLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        eprintln!("{test}: seed {seed} (another with SYNCLINE_SEED)");
        (Chance(seed), seed)
    }

    pub fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Whether the full sizes are asked for (`./test --soak`).
pub fn soak() -> bool {
    std::env::var_os("SYNCLINE_SOAK").is_some()
}

/// How many kills a long run has: so many, unless `SYNCLINE_KILLS` says that there is less time.
pub fn kills(most: usize) -> usize {
    std::env::var("SYNCLINE_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .map_or(most, |kills: usize| kills.clamp(30, most))
}
