//! What every board keeps, wherever it lies. The suite panics with what it saw when one does not.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::Duration,
};

use super::{Board, View, asked, done, settle};
use crate::{
    backfill::{Backfill, Shared, State, Wish},
    changelog::{ChangelogError, Record},
    replica::conformance::Cluster,
};

/// Who ask at once.
const ASKERS: usize = 3;
/// What is committed may be shown to readers a little later: so often it is looked for.
const LOOKS: u32 = 500;

const TASKS: [&str; 2] = ["p.0", "p.1"];

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// One is there already.
    Open(u64),
    Board(ChangelogError),
}

impl From<ChangelogError> for No {
    fn from(error: ChangelogError) -> Self {
        Self::Board(error)
    }
}

/// The next one, unless one is there that is not over.
pub fn next(view: &View, from: &str) -> Result<Vec<Record>, No> {
    let number = match view.standing() {
        Some((last, state)) if !state.is_over() => return Err(No::Open(last.number)),
        last => last.map_or(1, |(last, _)| last.number + 1),
    };
    let shared = Some(Shared::of(TASKS.map(str::to_owned)));
    Ok(vec![asked(&Backfill { number, from: from.to_owned(), share: 25, wish: Wish::Read, asked: 7, shared })])
}

pub fn settled(
    cluster: &impl Cluster,
    decide: &mut dyn FnMut(&View) -> Result<Vec<Record>, No>,
    wait: &mut dyn FnMut(u32),
) -> Result<View, No> {
    settle(&mut || Ok(cluster.writer()), decide, wait)
}

/// Whoever came second is tried again a little later than the other.
fn pause(asker: usize) -> impl FnMut(u32) {
    move |tries| sleep(Duration::from_millis(u64::from(tries) * (10 + 40 * asker as u64)))
}

fn until(board: &mut Board, what: &str, so: impl Fn(&View) -> bool) -> View {
    for _ in 0..LOOKS {
        let view = board.look().expect("a view");
        if so(view) {
            return view.clone();
        }
        sleep(Duration::from_millis(20));
    }
    panic!("{what}: {:?}", board.look());
}

/// Of those who ask at once one wins, and the others find his; who looks sees what is written, and fences nobody; numbers grow.
pub fn boards<C: Cluster>(new: impl Fn() -> C) {
    let cluster = new();
    // The topic is there once somebody has written; then one who looks on.
    let here = AtomicUsize::new(0);
    let told: Vec<Result<View, No>> = scope(|scope| {
        let ask = |asker: usize| {
            let (here, cluster) = (&here, &cluster);
            scope.spawn(move || {
                let mut first = true;
                let mut decide = |view: &View| {
                    // All have seen that nothing is there before one of them writes.
                    if std::mem::take(&mut first) {
                        here.fetch_add(1, Ordering::SeqCst);
                        while here.load(Ordering::SeqCst) < ASKERS {
                            sleep(Duration::from_millis(1));
                        }
                    }
                    next(view, &format!("'{asker}'"))
                };
                let told = settled(cluster, &mut decide, &mut pause(asker));
                // Nobody waits for one that failed before it could decide.
                here.fetch_add(usize::from(first), Ordering::SeqCst);
                told
            })
        };
        let asks: Vec<_> = (0..ASKERS).map(ask).collect();
        asks.into_iter().map(|ask| ask.join().expect("an answer")).collect()
    });
    let won: Vec<&View> = told.iter().flatten().collect();
    let lost = told.iter().filter(|told| **told == Err(No::Open(1))).count();
    assert_eq!((won.len(), lost), (1, ASKERS - 1), "{told:?}");
    let mut copy = Board::new(cluster.writer());
    let seen = until(&mut copy, "the first one is seen", |view| view.wanted() == Some(1));
    assert_eq!(seen.newest(), won[0].newest());

    // A task has read it, and that is known wherever it was asked; the wish stays what it was.
    let all =
        |records: Vec<Record>| settled(&cluster, &mut |_| Ok(records.clone()), &mut pause(0)).expect("it is written");
    let state = |view: &View| view.standing().map(|(_, state)| state);
    assert_eq!(state(&all(vec![done(TASKS[1], 1)])), Some(State::Reading));
    let one = until(&mut copy, "one task is done", |view| *view != seen);
    let tasks = one.newest().and_then(|one| one.shared).expect("tasks");
    assert_eq!(tasks.done, [TASKS[1].to_owned()].into());

    // Held, and let go on.
    let mut held = won[0].newest().expect("one");
    for wish in [Wish::Pause, Wish::Read] {
        held.wish = wish;
        let wanted = (wish == Wish::Read).then_some(1);
        assert_eq!(all(vec![asked(&held)]).wanted(), wanted);
        until(&mut copy, "what is wanted changes", |view| view.wanted() == wanted);
    }

    // The last task has read it: another one may be asked for, and nobody has read that.
    assert_eq!(state(&all(vec![done(TASKS[0], 1)])), Some(State::Done));
    until(&mut copy, "it is over", |view| state(view) == Some(State::Done));
    cluster.compact();
    let second = settled(&cluster, &mut |view| next(view, "'b'"), &mut pause(0)).expect("a second one");
    assert_eq!((second.wanted(), state(&second)), (Some(2), Some(State::Reading)));
    let mut late = Board::new(cluster.writer());
    assert_eq!(until(&mut late, "the second one is seen", |view| view.wanted() == Some(2)), second);
    assert_eq!(until(&mut copy, "it is seen by the copy", |view| view.wanted() == Some(2)).newest(), second.newest());
}
