//! Where a simulated sink fails, and how.

/// What happens at the call that a trap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The process dies before the call does anything.
    Before,
    /// The process dies in the middle, where a call has one; else before.
    Halfway,
    /// The process dies when the call is done.
    After,
    /// The call fails and does nothing; the next one works.
    Refused,
    /// No space is left; the call does nothing.
    Full,
    /// The call is done, but its caller does not hear of it.
    Unheard,
}

/// Counts calls, and strikes at one of them.
#[derive(Debug, Default)]
pub struct Trap {
    armed: Option<(u64, Strike)>,
    /// The process died here: nothing works any more until the next one starts.
    pub dead: bool,
    /// The call in which the process died last.
    pub sprung: Option<&'static str>,
}

impl Trap {
    pub fn arm(&mut self, calls: u64, strike: Strike) {
        self.armed = Some((calls, strike));
    }

    /// Forgets what it was told: the process is another one, or the trouble is over.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// What this call of `name` meets.
    pub fn step(&mut self, name: &'static str) -> Option<Strike> {
        if self.dead {
            return Some(Strike::Before);
        }
        let (calls, strike) = self.armed?;
        if calls > 0 {
            self.armed = Some((calls - 1, strike));
            return None;
        }
        self.armed = None;
        if matches!(strike, Strike::Before | Strike::Halfway | Strike::After) {
            self.dead = true;
            self.sprung = Some(name);
        }
        Some(strike)
    }
}
