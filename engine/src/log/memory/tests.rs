//! The log in memory forgets what a crash would, and nothing else.

use std::collections::BTreeSet;

use super::*;
use crate::log::{End, conformance};

fn frame(body: &str) -> NewFrame {
    NewFrame { count: 1, time: 0, body: body.as_bytes().to_vec() }
}

#[test]
fn it_is_a_log() {
    for seed in 0..10 {
        conformance::all(MemoryLog::new, |log| {
            log.crash(seed);
            log
        });
    }
}

#[test]
fn it_answers_what_it_is_told() {
    conformance::answers(MemoryLog::new, MemoryLog::tell, MemoryLog::answer_commit);
}

#[test]
fn appended_frames_survive_a_crash_up_to_any_of_them() {
    let kept = |seed| {
        let log = MemoryLog::new();
        for body in ["a", "b", "c"] {
            log.append("p", frame(body)).expect("append");
        }
        log.crash(seed);
        let too_far = End { offset: 9, file: 0, length: 0 };
        match log.recover(&[], &Ends::from([("p".to_owned(), too_far)])) {
            Err(LogError::Short { found, .. }) => found,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((0..50).map(kept).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_publication_in_which_the_process_died_may_be_there_in_part() {
    let kept = |seed| {
        let log = MemoryLog::new();
        log.publish("in", vec![frame("a")]).expect("publish");
        log.fail_after(0, LogError::Crashed);
        assert_eq!(log.publish("in", vec![frame("b"), frame("c")]), Err(LogError::Crashed));
        assert_eq!(
            (log.end("in"), log.publish("in", vec![frame("d")])),
            (Err(LogError::Crashed), Err(LogError::Crashed))
        );
        log.crash(seed);
        log.end("in").expect("it lives")
    };
    assert_eq!((0..50).map(kept).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_full_disk_ends_the_transaction_until_recover_and_a_publication_once() {
    let log = MemoryLog::new();
    let full = LogError::Full { operation: "write to", path: "/data".into() };
    log.append("p", frame("a")).expect("append");
    let ends = log.prepare(&["p".to_owned()]).expect("prepare");
    log.fail_after(0, full.clone());
    assert_eq!(log.append("p", frame("b")), Err(full.clone()));
    assert_eq!((log.append("p", frame("c")), log.prepare(&["p".to_owned()])), (Err(full.clone()), Err(full.clone())));
    log.recover(&["p"], &ends).expect("recover");
    assert_eq!(log.append("p", frame("d")), Ok(1));
    log.fail_after(0, full.clone());
    assert_eq!(log.publish("in", vec![frame("e")]), Err(full));
    assert_eq!((log.end("in"), log.publish("in", vec![frame("f")])), (Ok(0), Ok(0)));
}
