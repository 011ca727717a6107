//! Calls of the client that may never come back, though they are told how long they may take: `send_offsets_to_transaction` when a
//! coordinator goes away (librdkafka #5456, #5511).
//!
//! Such a call is made on a thread of its own. When it is late it is given up: thread and client are left behind, and whoever asked begins
//! anew with another client, which shuts the old one out. So a late answer changes nothing. Only the end of the process ends such a
//! thread, so there may be few of them.

use std::{
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use syncline_engine::{changelog::ChangelogError, sink::SinkError, source::SourceError};

/// A call is given up after this: longer than all that is asked in one, each with its own patience.
pub const LATE: Duration = Duration::from_secs(90);
/// Whoever is told to stop waits for so long for the call that he is in: a stop is over within ten seconds, and may have several of them.
pub const LAST: Duration = Duration::from_secs(2);
/// How often it is looked whether somebody is told to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Calls that hang at once, of all clients of the process. With more of them something is wrong with the process, and not with a broker.
const MOST: usize = 8;

static HANGING: AtomicUsize = AtomicUsize::new(0);

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// It did not come back in time.
    Late(Duration),
    /// This one did not either, and now so many hang.
    Many(usize),
    /// Who asked was told to stop, and it did not come back soon after that.
    Stopped,
    /// There is no thread to ask on.
    NoThread,
}

impl Lost {
    /// `what` could not be done.
    fn words(&self, what: &str) -> String {
        match self {
            Self::Late(limit) => format!(
                "{what}: the client's call did not come back within {} s; it is left behind, and another client begins anew",
                limit.as_secs()
            ),
            Self::Many(many) => format!("{what}: {many} calls of the client do not come back"),
            Self::Stopped => format!("{what}: told to stop before an answer came"),
            Self::NoThread => format!("{what}: there is no thread for the call"),
        }
    }

    pub fn of_sink(self, what: &str) -> SinkError {
        let words = self.words(what);
        match self {
            Self::Late(_) => SinkError::Reconnect(words),
            Self::Many(_) => SinkError::Hangs(words),
            Self::Stopped | Self::NoThread => SinkError::Again(words),
        }
    }

    /// The same of a source, `doing` something.
    pub fn of_source(self, what: String, doing: &str) -> SourceError {
        SourceError::Again { what, detail: self.words(doing) }
    }

    /// The same of the changelog of this name.
    pub fn of_changelog(self, name: String, what: &str) -> ChangelogError {
        let detail = self.words(what);
        match self {
            Self::Late(_) | Self::NoThread => ChangelogError::Unreachable { name, detail },
            Self::Many(_) => ChangelogError::Hangs { name, detail },
            Self::Stopped => ChangelogError::Stopped { name },
        }
    }
}

enum State<T> {
    Runs,
    Answered(T),
    GivenUp,
}

struct Call<T> {
    state: Mutex<State<T>>,
    over: Condvar,
}

impl<T> Call<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: T) {
        let before = mem::replace(&mut *self.state(), State::Answered(answer));
        if matches!(before, State::GivenUp) {
            HANGING.fetch_sub(1, Ordering::Relaxed);
        }
        self.over.notify_all();
    }
}

/// Makes a call, and waits for its answer for so long and no longer.
pub fn within<T: Send + 'static>(limit: Duration, ask: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    within_or_stopped(limit, &AtomicBool::new(false), ask)
}

/// The same, and not for much longer once `stop` is said.
pub fn within_or_stopped<T: Send + 'static>(
    limit: Duration,
    stop: &AtomicBool,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let call = Arc::new(Call { state: Mutex::new(State::Runs), over: Condvar::new() });
    let asked = call.clone();
    let thread = thread::Builder::new().name("kafka-call".to_owned()).spawn(move || asked.answer(ask()));
    if thread.is_err() {
        return Err(Lost::NoThread);
    }
    let (began, mut told) = (Instant::now(), None);
    let mut state = call.state();
    let stopped = loop {
        let waited = call.over.wait_timeout_while(state, LOOK, |state| matches!(state, State::Runs));
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if told.is_none() && stop.load(Ordering::Relaxed) {
            told = Some(Instant::now());
        }
        let stopped = told.is_some_and(|told| told.elapsed() >= LAST);
        if stopped || began.elapsed() >= limit || !matches!(*state, State::Runs) {
            break stopped;
        }
    };
    if let State::Answered(answer) = mem::replace(&mut *state, State::GivenUp) {
        return Ok(answer);
    }
    match HANGING.fetch_add(1, Ordering::Relaxed) + 1 {
        _ if stopped => Err(Lost::Stopped),
        hanging if hanging >= MOST => Err(Lost::Many(hanging)),
        _ => Err(Lost::Late(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// One test: the count is of the whole process.
    #[test]
    fn a_call_that_does_not_come_back_is_given_up_and_many_are_the_end() {
        assert_eq!(within(LATE, || 7), Ok(7));
        let limit = Duration::from_millis(20);
        let (mut holds, mut lost) = (vec![], vec![]);
        for _ in 0..MOST {
            let (hold, held) = channel::<()>();
            lost.push(within(limit, move || held.recv().is_ok()));
            holds.push(hold);
        }
        let late = lost.iter().filter(|lost| **lost == Err(Lost::Late(limit))).count();
        assert_eq!((late, lost.last()), (MOST - 1, Some(&Err(Lost::Many(MOST)))));
        // Their ends let the calls come back, late as they are.
        drop(holds);
        while HANGING.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert_eq!(within(LATE, || 8), Ok(8));
        // Who is told to stop waits a little for an answer, and no longer.
        let (hold, held) = channel::<()>();
        let began = Instant::now();
        let stopped = within_or_stopped(LATE, &AtomicBool::new(true), move || held.recv().is_ok());
        assert_eq!(stopped, Err(Lost::Stopped));
        assert!((LAST..LAST * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
        drop(hold);
        assert_eq!(within_or_stopped(LATE, &AtomicBool::new(true), || 9), Ok(9));
    }
}
