//! Why something is not done, or not to its end: it is refused, cancelled, the process stops, or nobody is there any more.

use syncline_analytics::QueryError;
use tokio::sync::watch;

use super::refusal::Refusal;

/// Why a message is not done.
pub enum Stop {
    Refused(Box<Refusal>),
    /// Nobody is there any more.
    Gone,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Refusal::from(error).into()
    }
}

pub type Step<T = ()> = Result<T, Stop>;

/// What ends a question before its last row.
pub struct Interrupts {
    pub cancels: watch::Receiver<u64>,
    pub gone: watch::Receiver<bool>,
    pub stop: watch::Receiver<bool>,
}

impl Interrupts {
    async fn heard(&mut self) -> Stop {
        tokio::select! {
            _ = self.cancels.changed() => Refusal::cancelled().into(),
            _ = self.gone.wait_for(|gone| *gone) => Stop::Gone,
            _ = self.stop.wait_for(|stop| *stop) => Refusal::stopping().into(),
        }
    }

    /// Does the work unless something ends it.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Step<T> {
        tokio::select! {
            done = work => Ok(done),
            stop = self.heard() => Err(stop),
        }
    }
}
