//! Processes that die, and disks that are full.

use super::*;

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_torn_shows() {
    let test = "log::embedded::tests::crash::what_was_acknowledged_survives_a_kill_and_nothing_torn_shows";
    if let Some(folder) = child::folder() {
        return write_until_killed(&folder);
    }
    let place = place();
    let mut ends = Ends::new();
    for lines in [1, 30, 201] {
        let said = child::killed_after(test, place.path(), lines);
        let last = |kind: char| said.iter().rev().find_map(|line| line.strip_prefix(kind));
        let published: u64 = last('p').map_or(0, |offset| offset.parse().expect("an offset"));
        if let Some(json) = last('e') {
            ends = serde_json::from_str(json).expect("ends");
        }
        let log = open(place.path());
        let found = log.end("in").expect("end");
        // The last publication may have been cut off before it was acknowledged.
        assert!((published..=published + 4).contains(&found), "{found} after {published}");
        log.recover(&["p/"], &ends).expect("recover");
        for (topic, end) in [("in", found), ("p/a", ends.get("p/a").map_or(0, |end| end.offset))] {
            let frames = read_all(&log, topic, 0);
            let expected: Vec<Frame> = (0..end).map(|offset| frame(offset, &body(offset))).collect();
            assert!(frames == expected, "{topic} has {} of {end}", frames.len());
        }
        drop(log);
        // The next child starts from what the "checkpoint" holds.
        fs::write(place.path().join("ends.json"), serde_json::to_string(&ends).expect("json")).expect("write");
    }
}

/// What a folder is a copy of may have let go of all it had: where it ends is known here too, by whoever opens the folder next.
#[test]
fn a_topic_that_begins_at_a_number_begins_there_for_the_next_process_too() {
    let place = place();
    for topic in ["in", "p/a"] {
        let log = open(place.path());
        log.publish("in", vec![new("of another life")]).unwrap();
        log.begin(topic, 40).unwrap();
        // Dropped as a process ends that was killed: nothing was prepared.
        std::mem::forget(log);
        for end in [End::at(40), End { offset: 40, file: 40, length: 0 }] {
            let log = open(place.path());
            assert_eq!(log.end(topic), Ok(40), "{topic}");
            log.recover(&[], &Ends::from([(topic.to_owned(), end)])).unwrap();
            assert_eq!(log.end(topic), Ok(40), "{topic} {end:?}");
            let short = log.recover(&[], &Ends::from([(topic.to_owned(), End::at(41))]));
            assert!(matches!(short, Err(LogError::Short { expected: 41, .. })), "{topic}: {short:?}");
        }
        let log = open(place.path());
        log.recover(&[], &Ends::from([(topic.to_owned(), End::at(40))])).unwrap();
        log.append(topic, new("next")).unwrap();
        let ends = log.prepare(&names(topic)).unwrap();
        log.commit(1, &ends).unwrap();
        assert_eq!(read_all(&log, topic, 40), [frame(40, "next")]);
        log.recover(&[], &Ends::from([(topic.to_owned(), End::at(40))])).unwrap();
        assert_eq!(log.end(topic), Ok(40), "{topic}, cut back");
        // For the topic that is next.
        log.begin("in", 0).unwrap();
    }
}

fn body(offset: u64) -> String {
    format!("{offset}:{}", "x".repeat((offset * 7919 % 5000) as usize))
}

/// Says `p<end>` after each publication, and `e<ends>` after each prepared epoch.
fn write_until_killed(folder: &Path) {
    let ends = fs::read_to_string(folder.join("ends.json"));
    let ends: Ends = ends.map_or(Ends::new(), |text| serde_json::from_str(&text).expect("ends"));
    let log = &open(folder);
    log.recover(&["p/"], &ends).expect("recover");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let next = log.end("in").expect("end");
                let frames = (next..next + 2).map(|offset| new(&body(offset))).collect();
                log.publish("in", frames).expect("publish");
                child::say(format_args!("p{}", next + 2));
            }
        });
        let mut next = log.end("p/a").expect("end");
        loop {
            for _ in 0..5 {
                log.append("p/a", new(&body(next))).expect("append");
                next += 1;
            }
            let ends = log.prepare(&names("p/a")).expect("prepare");
            child::say(format_args!("e{}", serde_json::to_string(&ends).expect("json")));
            log.commit(1, &ends).expect("commit");
        }
    });
}

#[test]
fn a_full_disk_fails_the_call_and_not_the_topic() {
    let test = "log::embedded::tests::crash::a_full_disk_fails_the_call_and_not_the_topic";
    let Some(folder) = child::folder() else {
        let place = place();
        assert_eq!(child::finished(test, place.path()), ["done"]);
        return;
    };
    let log = open(&folder);
    let large = || NewFrame { count: 1, time: 0, body: vec![b'x'; 300 << 10] };
    log.append("p", new("a")).expect("append");
    let ends = log.prepare(&names("p")).expect("prepare");
    log.commit(1, &ends).expect("commit");
    child::limit_files(Some(1 << 20));
    // Publications: three fit.
    let full = |topic: &str| LogError::Full { operation: "write to", path: first_file(&folder, topic) };
    let results: Vec<_> = (0..5).map(|_| log.publish("in", vec![large()])).collect();
    assert_eq!(results, [Ok(0), Ok(1), Ok(2), Err(full("in")), Err(full("in"))]);
    assert_eq!(log.publish("in", vec![new("small")]), Ok(3));
    assert_eq!((log.end("in"), log.read("in", 3, 1)), (Ok(4), Ok(vec![frame(3, "small")])));
    // All callers of a group hear of it.
    let log = &log;
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(move || log.publish("in", vec![large()]))).collect();
        for caller in callers {
            assert_eq!(caller.join().expect("no panic"), Err(full("in")));
        }
    });
    // A transaction is over, its space is given back, and `recover` begins the next.
    let failed = (0..9).find_map(|_| log.append("p", large()).err());
    assert_eq!(failed, Some(full("p")));
    assert_eq!((log.append("p", new("b")), log.prepare(&names("p"))), (Err(full("p")), Err(full("p"))));
    assert_eq!(fs::metadata(first_file(&folder, "p")).expect("a file").len(), ends["p"].length);
    assert_eq!(read_all(log, "p", 0), [frame(0, "a")]);
    log.recover(&["p"], &ends).expect("recover");
    assert_eq!(log.append("p", new("c")), Ok(1));
    child::limit_files(None);
    assert_eq!(log.publish("in", vec![large()]), Ok(4));
    log.commit(2, &log.prepare(&names("p")).expect("prepare")).expect("commit");
    let log = open(&folder);
    assert_eq!((log.end("in"), log.read("in", 3, 1)), (Ok(5), Ok(vec![frame(3, "small")])));
    child::say("done");
}
