//! How far time has come over all partitions: what state may forget.
//!
//! The lowest watermark of the partitions that may still give rows. One that has not shown any yet holds everything back, since
//! its first row can have any time. An idle one is not waited for: the source said that it had nothing at all to give, long after
//! the partition's last row. As long as a source still reads history it says no such thing, however long that takes, so the files
//! of a batch wait for each other.

use std::{collections::BTreeMap, time::Duration};

use syncline_record::{Micros, time::NO_WATERMARK};

/// How long a partition is waited for: longer than any pause between two polls or restarts of a producer.
const IDLE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Frontier {
    /// When each partition gave its last rows; at first, when the job began.
    active: BTreeMap<String, Duration>,
    began: Duration,
    /// When the source last had nothing to give.
    exhausted: Duration,
}

impl Frontier {
    pub fn new(now: Duration) -> Self {
        Self { active: BTreeMap::new(), began: now, exhausted: now }
    }

    pub fn gave_rows(&mut self, partition: &str, now: Duration) {
        match self.active.get_mut(partition) {
            Some(active) => *active = now,
            None => {
                self.active.insert(partition.to_owned(), now);
            }
        }
    }

    pub fn exhausted(&mut self, now: Duration) {
        self.exhausted = now;
    }

    /// When the source last had nothing to give; at first, when the job began.
    pub fn caught_up(&self) -> Duration {
        self.exhausted
    }

    /// The lowest watermark of the live ones among these partitions. `None`: there is nothing to go by.
    pub fn lowest(&mut self, mut names: Vec<String>, watermarks: &BTreeMap<String, Micros>) -> Option<Micros> {
        names.sort_unstable();
        self.active.retain(|name, _| names.binary_search(name).is_ok());
        let waited_for = |name: &&String| {
            let active = self.active.get(*name).copied().unwrap_or(self.began);
            self.exhausted.saturating_sub(active) < IDLE
        };
        let watermark = |name: &String| watermarks.get(name).copied().unwrap_or(NO_WATERMARK);
        names.iter().filter(waited_for).map(watermark).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn partitions() -> Vec<String> {
        vec!["a".into(), "b".into()]
    }

    fn watermarks(a: Micros) -> BTreeMap<String, Micros> {
        [("a".to_owned(), a), ("gone".to_owned(), 1)].into()
    }

    #[test]
    fn a_partition_that_has_shown_nothing_holds_everything_back() {
        let mut frontier = Frontier::new(Duration::ZERO);
        frontier.gave_rows("a", 1000 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
    }

    #[test]
    fn a_partition_that_is_no_more_holds_nothing_back() {
        assert_eq!(Frontier::default().lowest(vec!["a".into()], &watermarks(7)), Some(7));
        assert_eq!(Frontier::default().lowest(vec![], &watermarks(7)), None);
    }

    #[test]
    fn an_idle_partition_is_not_waited_for() {
        let mut frontier = Frontier::new(Duration::ZERO);
        frontier.gave_rows("a", 200 * SECOND);
        frontier.exhausted(299 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
        frontier.exhausted(300 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(7));
        frontier.gave_rows("b", 301 * SECOND);
        assert_eq!(frontier.lowest(partitions(), &watermarks(7)), Some(NO_WATERMARK));
    }
}
