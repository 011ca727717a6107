//! What every log must do: each implementation runs all of it over logs that it opens itself.
//!
//! The suite panics with what it saw when a log breaks the contract.

use super::{CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame, memory::CommitFault};
use syncline_record::Partition;

mod crashes;
mod readers;

/// Runs everything. `open` gives an empty log; `crash` takes one, lets its process die at once, and opens it again.
pub fn all<L: Log>(mut open: impl FnMut() -> L, mut crash: impl FnMut(L) -> L) {
    uninterrupted(&mut open);
    crashes::all(&mut open, &mut crash);
}

/// What it must do as long as nothing crashes.
pub fn uninterrupted<L: Log>(mut open: impl FnMut() -> L) {
    a_topic_that_does_not_exist_is_empty(&open());
    a_transaction_shows_after_its_commit(&open());
    publications_show_at_once(&open());
    topics_may_be_called_anything(&open());
    the_two_kinds_of_writers_do_not_mix(&open());
    frames_hold_records(&open());
    readers::all(&mut open);
}

/// Runs what only a log can show that can be told what to answer: `tell` makes it report an event, `answer` decides about the
/// next commit.
pub fn answers<L: Log>(mut open: impl FnMut() -> L, tell: impl Fn(&L, Event), answer: impl Fn(&L, CommitFault)) {
    events_are_told_once_and_in_order(&open(), &tell);
    a_fenced_writer_writes_nothing_more(&open(), &answer);
    for (fault, committed) in [(CommitFault::UnknownDone, true), (CommitFault::UnknownLost, false)] {
        after_an_unknown_commit_only_recover_helps(&open(), &answer, fault, committed);
    }
}

fn must<T, E: std::fmt::Display>(done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| panic!("the log failed: {error}"))
}

fn new(count: u32, body: &str) -> NewFrame {
    NewFrame { count, time: i64::from(count) - 2, body: body.as_bytes().to_vec() }
}

fn frame(base: u64, count: u32, body: &str) -> Frame {
    Frame { base, count, time: i64::from(count) - 2, body: body.as_bytes().to_vec() }
}

fn prepare(log: &impl Log, topics: &[&str]) -> Ends {
    must(log.prepare(&topics.iter().map(|topic| topic.to_string()).collect::<Vec<_>>()))
}

fn offsets(ends: &Ends) -> Vec<(&str, u64)> {
    ends.iter().map(|(topic, end)| (topic.as_str(), end.offset)).collect()
}

/// Every visible frame from `from` on, read in small pieces.
pub fn read_all(log: &impl Log, topic: &str, from: u64) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut next = from;
    loop {
        let piece = must(log.read(topic, next, 64));
        let Some(last) = piece.last() else { return frames };
        next = last.next();
        frames.extend(piece);
    }
}

fn a_topic_that_does_not_exist_is_empty(log: &impl Log) {
    assert_eq!((log.end("none"), log.read("none", 0, 1), log.read("none", 9, 1)), (Ok(0), Ok(vec![]), Ok(vec![])));
    must(log.release("none", 5));
    must(log.recover(&[""], &Ends::new()));
    must(log.recover(&["none"], &Ends::from([("none".to_owned(), End::default())])));
    assert_eq!(log.topics(""), Ok(vec![]));
    assert_eq!(offsets(&prepare(log, &["none"])), [("none", 0)]);
}

fn a_transaction_shows_after_its_commit(log: &impl Log) {
    must(log.recover(&["p/"], &Ends::new()));
    assert_eq!(log.append("p/a", new(3, "abc")), Ok(0));
    assert_eq!(log.append("p/a", new(1, "")), Ok(3));
    assert_eq!(log.append("p/b", new(2, "de")), Ok(0));
    assert_eq!((log.end("p/a"), log.read("p/a", 0, 100)), (Ok(0), Ok(vec![])));
    let ends = prepare(log, &["p/a", "p/b", "p/c"]);
    assert_eq!(offsets(&ends), [("p/a", 4), ("p/b", 2), ("p/c", 0)]);
    assert_eq!((log.end("p/a"), log.read("p/a", 0, 100)), (Ok(0), Ok(vec![])));
    must(log.commit(1, &ends));
    assert_eq!(log.read("p/a", 0, 100), Ok(vec![frame(0, 3, "abc"), frame(3, 1, "")]));
    assert_eq!((log.end("p/a"), log.end("p/b")), (Ok(4), Ok(2)));
    // The next one, with a topic in which nothing happened.
    assert_eq!(log.append("p/a", new(1, "f")), Ok(4));
    let ends = prepare(log, &["p/a", "p/b"]);
    assert_eq!(offsets(&ends), [("p/a", 5), ("p/b", 2)]);
    assert_eq!(log.end("p/a"), Ok(4));
    must(log.commit(2, &ends));
    assert_eq!((read_all(log, "p/a", 4), log.end("p/b")), (vec![frame(4, 1, "f")], Ok(2)));
    let beyond = End { offset: 6, ..ends["p/a"] };
    let short = LogError::Short { topic: "p/a".to_owned(), expected: 6, found: 5 };
    assert_eq!(log.commit(3, &Ends::from([("p/a".to_owned(), beyond)])), Err(CommitError::Log(short)));
}

fn publications_show_at_once(log: &impl Log) {
    assert_eq!(log.publish("in/a", vec![new(1, "a"), new(2, "b")]), Ok(0));
    assert_eq!(log.publish("in/a", vec![]), Ok(3));
    assert_eq!(log.publish("in/a", vec![new(1, "c")]), Ok(3));
    assert_eq!(log.end("in/a"), Ok(4));
    assert_eq!(read_all(log, "in/a", 0), [frame(0, 1, "a"), frame(1, 2, "b"), frame(3, 1, "c")]);
}

fn topics_may_be_called_anything(log: &impl Log) {
    let long = "ü".repeat(500);
    let names = ["../x", "..", ".", "a/b", "a%2Fb", "a b", "\0", "näh~", "in/Größe", "", &long, &(long.clone() + "!")];
    for name in names {
        assert_eq!(log.publish(name, vec![new(1, name)]), Ok(0), "{name:?}");
    }
    let mut sorted: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    sorted.sort();
    assert_eq!(log.topics(""), Ok(sorted));
    assert_eq!(log.topics("a"), Ok(vec!["a b".to_owned(), "a%2Fb".to_owned(), "a/b".to_owned()]));
    for name in names {
        assert_eq!(read_all(log, name, 0), [frame(0, 1, name)]);
    }
}

fn the_two_kinds_of_writers_do_not_mix(log: &impl Log) {
    must(log.recover(&["p/"], &Ends::new()));
    must(log.append("p/a", new(1, "a")));
    must(log.publish("in/a", vec![new(1, "b")]));
    assert!(matches!(log.publish("p/a", vec![new(1, "c")]), Err(LogError::Io { .. })));
    assert!(matches!(log.append("in/a", new(1, "d")), Err(LogError::Io { .. })));
    must(log.commit(1, &prepare(log, &["p/a"])));
    assert!(matches!(log.publish("p/a", vec![new(1, "c")]), Err(LogError::Io { .. })));
    assert_eq!((read_all(log, "p/a", 0), read_all(log, "in/a", 0)), (vec![frame(0, 1, "a")], vec![frame(0, 1, "b")]));
}

fn frames_hold_records(log: &impl Log) {
    assert!(matches!(log.append("p/a", new(0, "a")), Err(LogError::Io { .. })));
    assert!(matches!(log.publish("in/a", vec![new(1, "a"), new(0, "b")]), Err(LogError::Io { .. })));
    assert_eq!((log.end("in/a"), prepare(log, &["p/a"])["p/a"]), (Ok(0), End::default()));
}

fn events_are_told_once_and_in_order<L: Log>(log: &L, tell: &impl Fn(&L, Event)) {
    assert_eq!(log.events(), []);
    let told = [
        Event::Assigned(Partition::new("in/a", 0)),
        Event::Assigned(Partition::new("in/a", 1)),
        Event::Revoked(Partition::new("in/a", 0)),
        Event::Lost(Partition::new("in/a", 1)),
    ];
    told.iter().for_each(|event| tell(log, event.clone()));
    assert_eq!(log.events(), told);
    assert_eq!(log.events(), []);
}

fn a_fenced_writer_writes_nothing_more<L: Log>(log: &L, answer: &impl Fn(&L, CommitFault)) {
    must(log.append("p/a", new(1, "a")));
    let ends = prepare(log, &["p/a"]);
    answer(log, CommitFault::Fenced { by: "w2".to_owned() });
    let fenced = Err(CommitError::Fenced { by: "w2".to_owned() });
    assert_eq!(log.commit(1, &ends), fenced);
    assert_eq!(log.commit(1, &ends), fenced);
    assert!(log.append("p/a", new(1, "b")).is_err() && log.prepare(&["p/a".to_owned()]).is_err());
    assert!(log.recover(&["p/"], &Ends::new()).is_err());
    assert_eq!(log.end("p/a"), Ok(0));
}

fn after_an_unknown_commit_only_recover_helps<L: Log>(
    log: &L,
    answer: &impl Fn(&L, CommitFault),
    fault: CommitFault,
    committed: bool,
) {
    must(log.append("p/a", new(1, "a")));
    let ends = prepare(log, &["p/a"]);
    answer(log, fault);
    assert!(matches!(log.commit(1, &ends), Err(CommitError::Unknown { .. })));
    assert_eq!(log.end("p/a"), Ok(u64::from(committed)));
    assert!(log.append("p/a", new(1, "b")).is_err() && log.prepare(&["p/a".to_owned()]).is_err());
    assert!(log.commit(1, &ends).is_err());
    must(log.recover(&["p/"], &ends));
    assert_eq!(log.append("p/a", new(1, "c")), Ok(1));
    must(log.commit(2, &prepare(log, &["p/a"])));
    assert_eq!(read_all(log, "p/a", 0), [frame(0, 1, "a"), frame(1, 1, "c")]);
}
