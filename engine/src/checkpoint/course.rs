//! How fast something goes, and when it will be over: by what was left of it at commits.
//!
//! The rest is taken to go as the last two thirds of the way did, counted in the time that was spent on it. The speed is the median of the
//! speeds between any two of the points that are kept of them (Theil and Sen): a burst at the beginning, a slow one, a short stall or a late
//! commit moves it little.

use serde::{Deserialize, Serialize};

/// Two points that are kept lie at least this part of the way apart: some thirty of them, a note of less than a kilobyte.
const STEP: u64 = 32;

/// What is further away than a century is no end that is foreseen.
const FAR: f64 = 100.0 * 365.25 * 86_400e6;

/// After how long at least nobody goes on who has noted nothing: a commit takes its time too.
const PATIENCE: u64 = 1_000_000;

/// Microseconds that were spent, and what was left then, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Course(Vec<(u64, u64)>);

impl Course {
    pub fn of(points: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut course = Self::default();
        points.into_iter().for_each(|(spent, left)| course.add(spent, left));
        course
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest point: it is always kept, and of those before it only some.
    pub fn add(&mut self, spent: u64, left: u64) {
        let old = self.0.iter().take_while(|(at, _)| *at < spent / 3).count();
        self.0.drain(..old.saturating_sub(1));
        if let [.., (before, _), (last, _)] = self.0[..]
            && last - before < spent / STEP
        {
            self.0.pop();
        }
        self.0.push((spent, left));
    }

    /// Microseconds that the rest takes from the newest point on. `None`: too little is known, or nothing moves.
    pub fn rest(&self) -> Option<u64> {
        let (_, left) = *self.0.last()?;
        let mut speeds = vec![];
        for (index, (from, before)) in self.0.iter().enumerate() {
            for (to, after) in self.0[index + 1..].iter().filter(|(to, _)| to > from) {
                speeds.push((*before as f64 - *after as f64) / (to - from) as f64);
            }
        }
        speeds.sort_unstable_by(f64::total_cmp);
        let [below, middle] = [speeds.len().checked_sub(1)? / 2, speeds.len() / 2].map(|at| speeds[at]);
        let rest = left as f64 / (0.5 * (middle + below));
        // What stands, or becomes more, has no end.
        (0.0..FAR).contains(&rest).then_some(rest as u64)
    }

    /// A newer point is due after so long, unless nobody goes on.
    pub fn due(&self) -> u64 {
        let longest = self.0.windows(2).map(|two| two[1].0.saturating_sub(two[0].0)).max();
        longest.map_or(0, |longest| (2 * longest).max(PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngCore, SeedableRng, rngs::StdRng};
    use syncline_record::Micros;

    use super::*;
    use crate::checkpoint::HistoryNote;

    const SECOND: u64 = 1_000_000;

    /// What is told of a way whose end is known, by what was wrong at most in its last half: as a part of what came, beyond the half second
    /// that is rounded off. `done_at`: what is done when so much time was spent on it, of `total`; `held`: when, and how long, people held it.
    fn wrong(total: u64, done_at: &dyn Fn(u64) -> u64, held: Option<(u64, u64)>, seed: u64) -> f64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let end = (0..).step_by(1000).find(|at| done_at(*at) >= total).expect("an end");
        let mut note = HistoryNote { total: Some(total), ..HistoryNote::default() };
        // Between two commits pass 0.1 to 0.7 seconds.
        let mut commits = vec![0];
        while commits[commits.len() - 1] < end {
            let next = commits[commits.len() - 1] + 100_000 + rng.next_u64() % 600_000;
            commits.push(next.min(end));
        }
        let wall = |spent: u64| spent + held.filter(|(at, _)| spent >= *at).map_or(0, |(_, long)| long);
        let goes_on = |from: u64, to: u64| held.is_none_or(|(at, _)| at < from || to < at);
        let mut worst: f64 = 0.0;
        for two in commits.windows(2) {
            let (from, to) = (two[0], two[1]);
            if from > 0 {
                note.course.add(from, total - done_at(from).min(total));
                note.noted = wall(from) as Micros;
            }
            // Nobody foresees what people do; the commit behind it knows.
            for asked in (from..to).step_by(50_000).filter(|asked| *asked > end / 2 && goes_on(from, to)) {
                let told = note.seconds_left(wall(asked) as Micros).expect("it is foreseen") as f64;
                let came = (end - asked) as f64 / SECOND as f64;
                worst = worst.max(((told - came).abs() - 0.5).max(0.0) / came.max(0.5));
            }
        }
        worst
    }

    fn worst(total: u64, done_at: &dyn Fn(u64) -> u64, held: Option<(u64, u64)>) -> f64 {
        (0..50).map(|seed| wrong(total, done_at, held, seed)).fold(0.0, f64::max)
    }

    #[test]
    fn the_end_is_foreseen_at_a_constant_rate_whenever_commits_come_and_whenever_it_is_asked() {
        for seconds in [5, 13, 600] {
            let error = worst(seconds * SECOND, &|spent| spent, None);
            assert!(error < 0.02, "{seconds} s: wrong by {:.0} %", 100.0 * error);
        }
    }

    #[test]
    fn a_slow_beginning_and_a_fast_one_are_forgotten_by_its_half() {
        // Three seconds until its place answers; then 13 at a constant rate.
        let slow = worst(13 * SECOND, &|spent| spent.saturating_sub(3 * SECOND), None);
        // A million of five goes to the outbox in a second, before the sink keeps the source back.
        let fast = worst(5_000_000, &|spent| spent.min(SECOND) + spent.saturating_sub(SECOND) / 3, None);
        assert!(slow < 0.05 && fast < 0.05, "wrong by {:.0} % and {:.0} %", 100.0 * slow, 100.0 * fast);
    }

    #[test]
    fn a_short_stall_in_the_middle_moves_it_little() {
        let stood = |spent: u64| spent.saturating_sub(5 * SECOND).min(SECOND / 2);
        let error = worst(13 * SECOND, &|spent| spent - stood(spent), None);
        assert!(error < 0.2, "wrong by {:.0} %", 100.0 * error);
    }

    #[test]
    fn what_people_hold_is_not_slower_for_that_and_its_end_does_not_come_nearer_meanwhile() {
        let error = worst(13 * SECOND, &|spent| spent, Some((8 * SECOND, 3600 * SECOND)));
        assert!(error < 0.02, "wrong by {:.0} %", 100.0 * error);
        let course = Course::of((1..=4).map(|at| (at * SECOND, (60 - at) * SECOND)));
        let note = HistoryNote { noted: 4_000_000, course, ..HistoryNote::default() };
        // There was a commit each second: when none has come for two, nobody goes on.
        let told = [4, 5, 4_000].map(|now| note.seconds_left(now * SECOND as Micros));
        assert_eq!(told, [Some(56), Some(55), Some(54)]);
    }

    #[test]
    fn nothing_is_foreseen_of_what_does_not_move_and_few_points_are_kept() {
        let mut course = Course::default();
        assert_eq!((course.rest(), course.due()), (None, 0));
        course.add(SECOND, 100);
        assert_eq!(course.rest(), None);
        course.add(2 * SECOND, 100);
        assert_eq!(course.rest(), None, "nothing moves");
        // What there is became more, as much as was read.
        for left in [[100, 50, 150, 150], [100, 150, 200, 50]] {
            let course = Course::of((1..).zip(left).map(|(at, left)| (at * SECOND, left)));
            assert_eq!(course.rest(), None, "{left:?}");
            let note = HistoryNote { course, ..HistoryNote::default() };
            assert_eq!(note.seconds_left(0), None);
        }
        let course = Course::of((1..=1_000_000).map(|at| (at * 1000, 2_000_000 - at)));
        assert!(course.0.len() < 40, "{} points", course.0.len());
        assert_eq!(course.rest(), Some(1_000_000_000));
    }
}
