//! What is there after a crash: what was answered for, and nothing that was not committed.

use std::collections::BTreeMap;

use super::{frame, must, new, prepare, read_all};
use crate::{
    clock::{Rng, SeededRng},
    log::{End, Ends, Frame, Log, LogError},
};

pub fn all<L: Log>(open: &mut impl FnMut() -> L, crash: &mut impl FnMut(L) -> L) {
    recover_cuts_back_to_the_ends(&open());
    recover_takes_away_other_topics_of_its_owner(open(), crash);
    nothing_of_a_transaction_shows_before_recover(open(), crash);
    a_topic_shorter_than_its_end_is_refused(open(), crash);
    publications_survive(open(), crash);
    for seed in 0..20 {
        any_history_with_crashes_ends_in_what_was_committed(open(), crash, seed);
    }
}

fn recover_cuts_back_to_the_ends(log: &impl Log) {
    must(log.recover(&["p/"], &Ends::new()));
    must(log.append("p/a", new(1, "a")));
    let ends = prepare(log, &["p/a"]);
    must(log.commit(1, &ends));
    must(log.append("p/a", new(1, "prepared")));
    prepare(log, &["p/a"]);
    must(log.append("p/a", new(1, "appended")));
    must(log.recover(&["p/"], &ends));
    must(log.recover(&["p/"], &ends));
    assert_eq!((read_all(log, "p/a", 0), log.append("p/a", new(1, "b"))), (vec![frame(0, 1, "a")], Ok(1)));
    let ends = prepare(log, &["p/a"]);
    must(log.commit(2, &ends));
    assert_eq!(read_all(log, "p/a", 0), [frame(0, 1, "a"), frame(1, 1, "b")]);
    must(log.recover(&["p/"], &Ends::from([("p/a".to_owned(), End::default())])));
    assert_eq!((log.end("p/a"), log.topics(""), log.append("p/a", new(1, "c"))), (Ok(0), Ok(vec![]), Ok(0)));
}

fn recover_takes_away_other_topics_of_its_owner<L: Log>(log: L, crash: &mut impl FnMut(L) -> L) {
    for topic in ["p/a", "p/b", "q/a", "p"] {
        must(log.append(topic, new(1, topic)));
    }
    let ends = prepare(&log, &["p/a", "p/b", "q/a", "p"]);
    must(log.commit(1, &ends));
    let log = crash(log);
    must(log.recover(&["p/"], &Ends::from([("p/a".to_owned(), ends["p/a"])])));
    assert_eq!(log.topics(""), Ok(vec!["p".to_owned(), "p/a".to_owned(), "q/a".to_owned()]));
    assert_eq!((read_all(&log, "p/a", 0), read_all(&log, "p/b", 0)), (vec![frame(0, 1, "p/a")], vec![]));
    must(log.recover(&["q/"], &Ends::from([("q/a".to_owned(), ends["q/a"])])));
    assert_eq!(
        (read_all(&log, "p/a", 0), read_all(&log, "q/a", 0)),
        (vec![frame(0, 1, "p/a")], vec![frame(0, 1, "q/a")])
    );
}

fn nothing_of_a_transaction_shows_before_recover<L: Log>(log: L, crash: &mut impl FnMut(L) -> L) {
    must(log.append("p/a", new(1, "a")));
    let ends = prepare(&log, &["p/a"]);
    must(log.commit(1, &ends));
    must(log.append("p/a", new(1, "b")));
    prepare(&log, &["p/a"]);
    let log = crash(log);
    assert_eq!((log.end("p/a"), log.read("p/a", 0, 10)), (Ok(0), Ok(vec![])));
    assert!(log.append("p/a", new(1, "c")).is_err() && log.prepare(&["p/a".to_owned()]).is_err());
    must(log.recover(&["p/"], &ends));
    assert_eq!(read_all(&log, "p/a", 0), [frame(0, 1, "a")]);
}

fn a_topic_shorter_than_its_end_is_refused<L: Log>(log: L, crash: &mut impl FnMut(L) -> L) {
    must(log.append("p/a", new(2, "a")));
    let ends = prepare(&log, &["p/a"]);
    let log = crash(log);
    let beyond = End { offset: ends["p/a"].offset + 3, length: ends["p/a"].length + 100, ..ends["p/a"] };
    let short = |topic: &str, found| Err(LogError::Short { topic: topic.to_owned(), expected: 5, found });
    for (topic, found) in [("p/a", 2), ("p/never", 0)] {
        assert_eq!(log.recover(&["p/"], &Ends::from([(topic.to_owned(), beyond)])), short(topic, found));
    }
}

fn publications_survive<L: Log>(mut log: L, crash: &mut impl FnMut(L) -> L) {
    let mut expected = Vec::new();
    for round in 0..5 {
        for call in 0..3 {
            let body = format!("{round}.{call}");
            let base = must(log.publish("in/a", vec![new(1, &body), new(2, &body)]));
            expected.extend([frame(base, 1, &body), frame(base + 1, 2, &body)]);
        }
        log = crash(log);
        must(log.recover(&["p/"], &Ends::new()));
        assert_eq!(read_all(&log, "in/a", 0), expected);
    }
}

/// One owner with a few topics, which does what owners do in an order that the seed gives, and dies at any point.
fn any_history_with_crashes_ends_in_what_was_committed<L: Log>(mut log: L, crash: &mut impl FnMut(L) -> L, seed: u64) {
    const TOPICS: [&str; 3] = ["p/a", "p/b", "p/c"];
    let rng = SeededRng::from_seed(seed);
    let mut committed: BTreeMap<&str, Vec<Frame>> = BTreeMap::new();
    let mut ends = Ends::new();
    for epoch in 1..40 {
        let mut open = committed.clone();
        for _ in 0..rng.next() % 6 {
            let topic = TOPICS[(rng.next() % 3) as usize];
            let (count, body) = (rng.next() as u32 % 5 + 1, format!("{epoch}:{}", rng.next() % 1000));
            let base = must(log.append(topic, new(count, &body)));
            let frames = open.entry(topic).or_default();
            assert_eq!(base, frames.last().map_or(0, Frame::next));
            frames.push(frame(base, count, &body));
        }
        let fate = rng.next() % 8;
        if fate > 0 {
            let prepared = prepare(&log, &TOPICS);
            if fate > 1 {
                // What the checkpoint stores: from here on the epoch has happened.
                (ends, committed) = (prepared, open);
            }
        }
        if fate > 2 {
            must(log.commit(epoch, &ends));
        } else {
            log = crash(log);
            must(log.recover(&["p/"], &ends));
        }
        for topic in TOPICS {
            assert_eq!(read_all(&log, topic, 0), committed.get(topic).cloned().unwrap_or_default(), "seed {seed}");
        }
    }
}
