//! How far time has come over all partitions: what state may forget.
//!
//! The lowest watermark of the partitions that may still give rows. One that has not shown any yet holds everything back, since
//! its first row can have any time. An idle one is not waited for: its source said that it had nothing at all to give, long after
//! the partition's last row. When all are idle, time is as far as the one that is furthest. As long as a source still reads history
//! it says no such thing, however long that takes, so the files of a batch wait for each other. Each input of a pipeline says so for itself: a busy one does not keep a quiet one awake.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use syncline_record::{Micros, time::NO_WATERMARK};

/// How long a partition is waited for, where nothing else is said: longer than any pause between two polls or restarts of a producer.
pub const IDLE: Duration = Duration::from_secs(300);

pub struct Frontier {
    /// How long a partition is waited for.
    idle_after: Duration,
    /// When each partition gave its last rows; at first, when the job began.
    active: BTreeMap<String, Duration>,
    began: Duration,
    /// When each input last had nothing to give, by index.
    exhausted: BTreeMap<usize, Duration>,
    /// Partitions that nobody has to wait for, of inputs that are told so.
    told: BTreeMap<usize, BTreeSet<String>>,
}

impl Frontier {
    pub fn new(now: Duration, idle_after: Duration) -> Self {
        Self { idle_after, active: BTreeMap::new(), began: now, exhausted: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub fn gave_rows(&mut self, partition: &str, now: Duration) {
        match self.active.get_mut(partition) {
            Some(active) => *active = now,
            None => {
                self.active.insert(partition.to_owned(), now);
            }
        }
    }

    pub fn exhausted(&mut self, input: usize, now: Duration) {
        self.exhausted.insert(input, now);
    }

    /// Of this input these partitions are not waited for, and all others are, however long they give nothing.
    pub fn told(&mut self, input: usize, quiet: BTreeSet<String>) {
        self.told.insert(input, quiet);
    }

    /// Whether none of these partitions is waited for.
    pub fn is_quiet(&self, parts: &[(String, usize)]) -> bool {
        !parts.iter().any(|part| self.waits_for(part))
    }

    fn waits_for(&self, (name, input): &(String, usize)) -> bool {
        if let Some(quiet) = self.told.get(input) {
            return !quiet.contains(name);
        }
        let active = self.active.get(name).copied().unwrap_or(self.began);
        self.caught_up(*input).saturating_sub(active) < self.idle_after
    }

    /// When an input last had nothing to give; at first, when the job began.
    pub fn caught_up(&self, input: usize) -> Duration {
        self.exhausted.get(&input).copied().unwrap_or(self.began)
    }

    /// The lowest watermark of the live ones among these partitions, each given with its input; when all are idle the highest of all, since
    /// each would be closed up to there if it alone had gone on. `None`: there is nothing to go by.
    pub fn lowest(&mut self, mut parts: Vec<(String, usize)>, watermarks: &BTreeMap<String, Micros>) -> Option<Micros> {
        parts.sort_unstable();
        self.active.retain(|name, _| parts.binary_search_by(|(known, _)| known.cmp(name)).is_ok());
        let watermark = |(name, _): &(String, usize)| watermarks.get(name).copied().unwrap_or(NO_WATERMARK);
        let lowest = parts.iter().filter(|part| self.waits_for(part)).map(watermark).min();
        lowest.or_else(|| parts.iter().map(watermark).max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn partitions() -> Vec<(String, usize)> {
        vec![("a".into(), 0), ("b".into(), 0)]
    }

    fn watermarks(a: Micros) -> BTreeMap<String, Micros> {
        [("a".to_owned(), a), ("gone".to_owned(), 1)].into()
    }

    #[test]
    fn a_partition_that_has_shown_nothing_holds_everything_back() {
        let mut frontier = Frontier::new(Duration::ZERO, IDLE);
        frontier.gave_rows("a", 1000 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
    }

    #[test]
    fn a_partition_that_is_no_more_holds_nothing_back() {
        assert_eq!(Frontier::new(Duration::ZERO, IDLE).lowest(vec![("a".into(), 0)], &watermarks(7)), Some(7));
        assert_eq!(Frontier::new(Duration::ZERO, IDLE).lowest(vec![], &watermarks(7)), None);
    }

    #[test]
    fn an_idle_partition_is_not_waited_for() {
        let mut frontier = Frontier::new(Duration::ZERO, IDLE);
        frontier.gave_rows("a", 200 * SECOND);
        frontier.exhausted(0, 299 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
        frontier.exhausted(0, 300 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(7));
        frontier.gave_rows("b", 301 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
    }

    #[test]
    fn partitions_that_are_all_idle_are_as_far_as_the_first_of_them() {
        let mut frontier = Frontier::new(Duration::ZERO, SECOND);
        let both = [("a".to_owned(), 3), ("b".to_owned(), 9)].into();
        ["a", "b"].iter().for_each(|name| frontier.gave_rows(name, SECOND));
        frontier.exhausted(0, SECOND);
        assert_eq!(frontier.lowest(partitions(), &both), Some(3));
        frontier.exhausted(0, 2 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &both), Some(9));
    }

    #[test]
    fn who_says_himself_whether_he_is_quiet_is_waited_for_until_he_does() {
        let mut frontier = Frontier::new(Duration::ZERO, SECOND);
        let both = [("a".to_owned(), 3), ("b".to_owned(), 9)].into();
        let look = |frontier: &mut Frontier| (frontier.lowest(partitions(), &both), frontier.is_quiet(&partitions()));
        frontier.told(0, BTreeSet::new());
        frontier.exhausted(0, 1000 * SECOND);
        assert_eq!(look(&mut frontier), (Some(3), false));
        frontier.told(0, ["a".to_owned()].into());
        assert_eq!(look(&mut frontier), (Some(9), false));
        frontier.told(0, ["a".to_owned(), "b".to_owned()].into());
        assert_eq!(look(&mut frontier), (Some(9), true));
        assert!(frontier.is_quiet(&[]), "who has no partition holds nothing back");
    }

    #[test]
    fn a_quiet_input_is_not_kept_awake_by_a_busy_one() {
        let mut frontier = Frontier::new(Duration::ZERO, IDLE);
        let parts = || vec![("a".to_owned(), 0), ("b".to_owned(), 1)];
        frontier.gave_rows("a", 900 * SECOND);
        assert_eq!(frontier.lowest(parts(), &watermarks(7)), Some(NO_WATERMARK));
        frontier.exhausted(1, 300 * SECOND);
        assert_eq!(frontier.lowest(parts(), &watermarks(7)), Some(7));
    }
}
