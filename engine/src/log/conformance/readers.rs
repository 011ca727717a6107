//! Reading: seeks, pieces, many readers and writers at once, retention.

use super::{frame, must, new, prepare, read_all};
use crate::log::{Ends, Frame, Log, LogError};

pub fn all<L: Log>(open: &mut impl FnMut() -> L) {
    reads_begin_with_the_frame_that_holds_the_offset(&open());
    seeks_find_any_record_of_many(&open());
    publishers_at_once_lose_and_mix_nothing(&open());
    a_reader_sees_a_growing_whole(&open());
    released_records_are_gone_and_the_rest_stays(&open());
}

fn reads_begin_with_the_frame_that_holds_the_offset(log: &impl Log) {
    must(log.publish("t", vec![new(3, "abc"), new(1, "d"), new(2, "ef")]));
    let frames = [frame(0, 3, "abc"), frame(3, 1, "d"), frame(4, 2, "ef")];
    for (from, first) in [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 2)] {
        assert_eq!(log.read("t", from, 1000), Ok(frames[first..].to_vec()), "from {from}");
        // At least one, however small the limit.
        for most in [0, 1] {
            assert_eq!(log.read("t", from, most), Ok(vec![frames[first].clone()]), "from {from}");
        }
    }
    assert_eq!(log.read("t", 0, 4), Ok(frames[..2].to_vec()));
    assert_eq!((log.read("t", 6, 10), log.read("t", 60, 10)), (Ok(vec![]), Ok(vec![])));
    assert_eq!((log.bytes("t", 6), log.bytes("t", 60), log.bytes("none", 0)), (Ok(0), Ok(0), Ok(0)));
    assert!(must(log.bytes("t", 4)) >= 2 && must(log.bytes("t", 0)) >= 6);
}

fn seeks_find_any_record_of_many(log: &impl Log) {
    const FRAMES: u64 = 3000;
    let body = |number: u64| format!("{number:0width$}", width = (number % 700) as usize);
    let frames: Vec<Frame> = (0..FRAMES).map(|number| frame(number * 2, 2, &body(number))).collect();
    for hundred in frames.chunks(100) {
        for each in hundred {
            must(log.append("t", new(2, &String::from_utf8_lossy(&each.body))));
        }
        must(log.commit(1, &prepare(log, &["t"])));
    }
    assert!(read_all(log, "t", 0) == frames);
    // 7919 is prime to the number of records, so that every record is asked for, in no order.
    for step in 0..2 * FRAMES {
        let offset = step * 7919 % (2 * FRAMES);
        assert_eq!(must(log.read("t", offset, 1)), [frames[(offset / 2) as usize].clone()]);
    }
}

fn publishers_at_once_lose_and_mix_nothing(log: &impl Log) {
    const THREADS: usize = 8;
    const CALLS: usize = 50;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for call in 0..CALLS {
                    let text = format!("{thread}/{call}");
                    let base = must(log.publish("t", vec![new(2, &text), new(1, &text)]));
                    assert_eq!(must(log.read("t", base, 1)), [frame(base, 2, &text)]);
                }
            });
        }
    });
    let frames = read_all(log, "t", 0);
    let mut next = [0; THREADS];
    for (place, pair) in frames.chunks(2).enumerate() {
        let text = String::from_utf8_lossy(&pair[0].body).into_owned();
        let base = place as u64 * 3;
        assert_eq!(pair, [frame(base, 2, &text), frame(base + 2, 1, &text)]);
        let (thread, call) = text.split_once('/').expect("what was published");
        let thread: usize = thread.parse().expect("what was published");
        assert_eq!(call, next[thread].to_string(), "the calls of a thread are in order");
        next[thread] += 1;
    }
    assert_eq!(next, [CALLS; THREADS]);
}

fn a_reader_sees_a_growing_whole(log: &impl Log) {
    const EPOCHS: u64 = 100;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for epoch in 0..EPOCHS {
                for part in 0..10 {
                    must(log.append("t", new(1, &(epoch * 10 + part).to_string())));
                }
                must(log.commit(epoch, &prepare(log, &["t"])));
            }
        });
        let mut next = 0;
        while next < EPOCHS * 10 {
            for seen in must(log.read("t", next, 64)) {
                assert_eq!(seen, frame(next, 1, &next.to_string()));
                next += 1;
            }
            assert_eq!(must(log.end("t")) % 10, 0, "an epoch shows whole");
        }
    });
}

fn released_records_are_gone_and_the_rest_stays(log: &impl Log) {
    must(log.recover(&["p/"], &Ends::new()));
    for body in ["a", "b", "c", "d"] {
        must(log.append("p/t", new(2, body)));
    }
    must(log.commit(1, &prepare(log, &["p/t"])));
    must(log.append("p/t", new(2, "open")));
    must(log.release("p/t", 5));
    assert_eq!(read_all(log, "p/t", 4), [frame(4, 2, "c"), frame(6, 2, "d")]);
    // A log lets go of files, so it may keep more than it must; what it has let go of it names.
    match log.read("p/t", 0, 1) {
        Ok(frames) => assert_eq!(frames, [frame(0, 2, "a")]),
        Err(error) => assert_eq!(error, LogError::Gone { topic: "p/t".to_owned(), asked: 0, oldest: 4 }),
    }
    must(log.release("p/t", u64::MAX));
    let ends = prepare(log, &["p/t"]);
    must(log.commit(2, &ends));
    assert_eq!(read_all(log, "p/t", 8), [frame(8, 2, "open")]);
    must(log.release("p/t", 10));
    must(log.recover(&["p/"], &ends));
    assert_eq!((log.end("p/t"), log.read("p/t", 10, 1), log.append("p/t", new(1, "e"))), (Ok(10), Ok(vec![]), Ok(10)));
    assert_eq!(log.topics(""), Ok(vec!["p/t".to_owned()]));
}
