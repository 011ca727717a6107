//! Windows of time: which ones an instant is in.
//!
//! Windows begin at multiples of their size (of a `hop`: of its slide) since 1970-01-01T00:00:00Z, and do not hold their end.

use syncline_record::Micros;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub size: Micros,
    /// How far the next window begins after this one; `tumble`: its size.
    pub slide: Micros,
}

impl Window {
    pub fn tumble(size: Micros) -> Self {
        Self { size, slide: size }
    }

    /// The starts of the windows that hold this instant, in order. `None`: it is too far away for arithmetic.
    pub fn starts(&self, time: Micros) -> Option<impl Iterator<Item = Micros> + use<>> {
        let last = self.last_start(time)?;
        let (size, slide) = (self.size, self.slide);
        // A start lies in (time - size, time].
        let before = (size - 1 - (time - last)).div_euclid(slide).max(-1);
        last.checked_sub(before.checked_mul(slide)?)?;
        last.checked_add(size)?;
        Some((0..=before).rev().map(move |back| last - back * slide))
    }

    /// The start of the last window that began at or before this instant.
    pub fn last_start(&self, time: Micros) -> Option<Micros> {
        time.div_euclid(self.slide).checked_mul(self.slide)
    }

    pub fn end(&self, start: Micros) -> Micros {
        start.saturating_add(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(window: Window, time: Micros) -> Vec<Micros> {
        window.starts(time).into_iter().flatten().collect()
    }

    #[test]
    fn an_instant_is_in_one_window_that_tumbles_and_the_end_is_in_the_next() {
        let window = Window::tumble(10);
        let all: Vec<_> = [-11, -10, -1, 0, 9, 10].map(|time| starts(window, time)).concat();
        assert_eq!(all, [-20, -10, -10, 0, 0, 10]);
    }

    #[test]
    fn an_instant_is_in_every_window_that_hops_over_it() {
        let window = Window { size: 10, slide: 4 };
        assert_eq!(starts(window, 9), [0, 4, 8]);
        assert_eq!(starts(window, 11), [4, 8]);
        assert_eq!(starts(window, -1), [-8, -4]);
    }

    #[test]
    fn hops_that_are_wider_than_their_windows_leave_gaps() {
        let window = Window { size: 2, slide: 5 };
        assert_eq!([starts(window, 6), starts(window, 7)], [vec![5], vec![]]);
    }

    #[test]
    fn an_instant_at_the_end_of_time_is_in_no_window() {
        assert!(Window::tumble(10).starts(Micros::MAX).is_none());
        assert!(Window::tumble(10).starts(Micros::MIN).is_none());
    }
}
