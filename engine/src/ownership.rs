//! Whose a task is, where several processes could run it: one does, and the others stand by.
//!
//! It says who is to work, and keeps nobody from writing: a changelog does that, by fencing whoever wrote before.

use std::time::Duration;

/// That a task is no longer ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It will be another's: close the epoch and let it go.
    Asked,
    /// It is another's already.
    Gone,
}

/// One task, as one process sees it.
pub trait Ownership: Send + Sync {
    /// Waits for at most so long; true when the task is ours to work on. Then [`let_go`](Self::let_go) has to follow.
    fn wait(&self, patience: Duration) -> bool;

    /// Whether it is to be given up. What is asked for once is gone when it is asked about again.
    fn parting(&self) -> Option<Parting>;

    /// Nothing works on it any more.
    fn let_go(&self);

    /// Whether it is known by now whose it is: before that, who has not got it does not stand by yet.
    fn settled(&self) -> bool;

    /// Why nobody can say whose it is.
    fn trouble(&self) -> Option<String>;
}
