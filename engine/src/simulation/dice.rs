//! Choices of the simulation: all of them drawn from one seed, in one order.

use crate::clock::{Rng, SeededRng};

/// Draws for one part of a simulation. Two parts with the same seed and different names draw independently.
pub struct Dice(SeededRng);

impl Dice {
    pub fn new(seed: u64, part: &str) -> Self {
        let name = syncline_record::keys::content_hash(part.as_bytes()) as u64;
        Self(SeededRng::from_seed(seed ^ name))
    }

    /// A number from 0 to `bound` − 1.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.next() % bound.max(1)
    }

    pub fn between(&self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True in `percent` of all cases.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn seed(&self) -> u64 {
        self.0.next()
    }
}
