//! Files that are written again: nothing of their first life shows, not after a crash either.

use std::os::unix::fs::MetadataExt;

use super::*;

fn large(offset: u64) -> NewFrame {
    NewFrame { count: 1, time: 7, body: vec![offset as u8; BODY - offset as usize % 7] }
}

/// As small frames come: their heads lie anywhere in those of the first life.
fn small(offset: u64) -> NewFrame {
    new(&format!("{offset}:{}", "x".repeat((offset * 7919 % 5000) as usize)))
}

fn read(frame: NewFrame, base: u64) -> Frame {
    Frame { base, count: 1, time: 7, body: frame.body }
}

/// Files of the topic and which they are on the disk.
fn files(folder: &Path, ending: &str) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let ours = entries.filter(|path| path.extension().is_some_and(|found| found == ending));
    let mut files: Vec<_> = ours.map(|path| (path.clone(), fs::metadata(&path).expect("a file").ino())).collect();
    files.sort_unstable();
    files
}

/// A topic whose last file is one that was let go of, with small records in it from offset `.1` on.
fn written_again(place: &Path) -> (EmbeddedLog, u64) {
    let log = open(place);
    // Longer than what comes later: seven large ones and a small one.
    for offset in 0..25 {
        log.publish("in", vec![if offset % 8 == 7 { small(offset) } else { large(offset) }]).expect("publish");
    }
    let folder = place.join("in");
    // Nothing is made ready beside what follows.
    log.sweeper.settled();
    let first = files(&folder, "log");
    log.release("in", 24).expect("release");
    assert_eq!((log.sweeper.settled(), files(&folder, "gone").len()), (3, 3));
    let mut next = 25;
    while files(&folder, "log").len() < 3 {
        log.publish("in", vec![large(next)]).expect("publish");
        next += 1;
    }
    let (last, number) = files(&folder, "log").pop().expect("files");
    assert!(first.iter().any(|&(_, known)| known == number), "it is one of the first files");
    assert!(fs::metadata(last).expect("a file").len() > writer::FILE_SIZE / 2, "with its bytes");
    log.sweeper.settled();
    (log, next)
}

#[test]
fn the_records_of_a_first_life_never_show() {
    let place = place();
    let (log, from) = written_again(place.path());
    let mut expected = vec![read(large(from - 1), from - 1)];
    for round in 0..10_u64 {
        for offset in from + round * 3..from + round * 3 + 3 {
            log.publish("in", vec![small(offset)]).expect("publish");
            expected.push(read(small(offset), offset));
        }
        let copy = place.path().join(format!("copy/{round}"));
        child::copy(place.path().join("in").as_path(), &copy.join("in"));
        let found = open(&copy);
        assert!(read_all(&found, "in", from - 1) == expected, "after {round}");
        let next = from + round * 3 + 3;
        assert_eq!(found.publish("in", vec![new("more")]), Ok(next));
        assert_eq!(read_all(&found, "in", next), [frame(next, "more")]);
        drop(found);
        // The files before end in records of their first lives too.
        let older = open(&copy).read("in", 24, 64 << 20).expect("read");
        assert_eq!(older.iter().map(|frame| frame.base).collect::<Vec<_>>(), (24..=next).collect::<Vec<_>>());
    }
}

/// A copy of the folder in which the new name of the last file was lost.
fn forgotten(place: &Path, name: &str) -> PathBuf {
    let copy = place.join("copy").join(name);
    child::copy(&place.join("in"), &copy.join("in"));
    let (last, _) = files(&copy.join("in"), "log").pop().expect("files");
    fs::rename(last, copy.join("in/next")).expect("rename");
    copy
}

#[test]
fn a_file_whose_new_name_was_lost_is_known_by_its_records() {
    let place = place();
    let (log, from) = written_again(place.path());
    assert!(place.path().join("in/next").exists(), "the next one lies ready");
    for offset in from..from + 3 {
        log.publish("in", vec![small(offset)]).expect("publish");
    }
    let last = large(from - 1);
    let mut expected = vec![read(last.clone(), from - 1)];
    expected.extend((from..from + 3).map(|offset| read(small(offset), offset)));
    let copy = forgotten(place.path(), "sound");
    let found = open(&copy);
    assert!(read_all(&found, "in", from - 1) == expected);
    assert_eq!(found.publish("in", vec![new("more")]), Ok(from + 3));
    assert_eq!((files(&copy.join("in"), "log").len(), copy.join("in/next").exists()), (3, false));
    // Its first frame was durable, as the others say.
    let copy = forgotten(place.path(), "damaged");
    damage(&copy.join("in/next"), 10);
    assert!(matches!(open(&copy).end("in"), Err(LogError::Damaged { .. })));
    // Nothing in it was: only the first frame is there, and torn.
    let copy = forgotten(place.path(), "torn");
    let next = copy.join("in/next");
    let second = frame::HEADER + last.body.len();
    let bytes = fs::read(&next).expect("a file");
    let after = second + (from..from + 3).map(|offset| frame::HEADER + small(offset).body.len()).sum::<usize>();
    fs::write(&next, [&vec![0; after], &bytes[after..]].concat()).expect("write");
    let found = open(&copy);
    assert_eq!((found.end("in"), found.publish("in", vec![last])), (Ok(from - 1), Ok(from - 1)));
    // One that was not begun holds records of before.
    let copy = place.path().join("copy/ready");
    child::copy(&place.path().join("in"), &copy.join("in"));
    assert!(read_all(&open(&copy), "in", from - 1) == expected);
    assert!(!copy.join("in/next").exists());
}

#[test]
fn a_torn_tail_in_it_is_cut_and_damage_is_named() {
    let place = place();
    let (log, from) = written_again(place.path());
    for offset in from..from + 3 {
        log.publish("in", vec![small(offset)]).expect("publish");
    }
    let (last, _) = files(&place.path().join("in"), "log").pop().expect("files");
    let first = frame::HEADER + large(from - 1).body.len();
    let sizes: Vec<usize> = (from..from + 3).map(|offset| frame::HEADER + small(offset).body.len()).collect();
    for (at, is_torn) in [(first, false), (first + sizes[0] + 60, false), (first + sizes[0] + sizes[1] + 60, true)] {
        let copy = place.path().join(format!("copy/{at}"));
        child::copy(place.path().join("in").as_path(), &copy.join("in"));
        damage(&copy.join("in").join(last.file_name().expect("a name")), at);
        let found = open(&copy);
        if is_torn {
            assert_eq!(found.end("in"), Ok(from + 2));
            assert_eq!(found.publish("in", vec![new("more")]), Ok(from + 2));
        } else {
            assert!(matches!(found.end("in"), Err(LogError::Damaged { .. })), "{at}");
        }
    }
}

#[test]
fn a_transaction_in_it_is_cut_back() {
    let place = place();
    let log = open(place.path());
    let commit = |epoch| {
        let ends = log.prepare(&names("p")).expect("prepare");
        log.commit(epoch, &ends).expect("commit");
        ends
    };
    for offset in 0..21 {
        log.append("p", large(offset)).expect("append");
    }
    commit(1);
    log.sweeper.settled();
    log.release("p", 20).expect("release");
    assert_eq!(log.sweeper.settled(), 2);
    for offset in 21..29 {
        log.append("p", large(offset)).expect("append");
    }
    let ends = commit(2);
    log.sweeper.settled();
    assert!(files(&place.path().join("p"), "gone").len() < 2, "a file is in use again");
    log.append("p", new("never prepared")).expect("append");
    log.topic("p").prepare().expect("it is in the file");
    for copies in 0..2 {
        let copy = place.path().join(format!("copy/{copies}"));
        child::copy(place.path().join("p").as_path(), &copy.join("p"));
        let found = open(&copy);
        found.recover(&["p"], &ends).expect("recover");
        let frames = read_all(&found, "p", 20);
        assert!(frames == (20..29).map(|offset| read(large(offset), offset)).collect::<Vec<_>>());
        assert_eq!(found.append("p", new("next")), Ok(29));
    }
    // A topic that starts anew takes none of them: its offsets would be below those of their frames.
    log.sweeper.settled();
    log.release("p", 28).expect("release");
    assert_eq!(log.sweeper.settled(), 2);
    log.recover(&["p"], &Ends::new()).expect("recover");
    assert_eq!(log.sweeper.settled(), 0);
    for offset in 0..9 {
        log.append("p", large(offset)).expect("append");
    }
    assert_eq!(commit(1)["p"].offset, 9);
    assert!(read_all(&log, "p", 0) == (0..9).map(|offset| read(large(offset), offset)).collect::<Vec<_>>());
}

#[test]
fn what_was_acknowledged_survives_a_kill_while_files_are_written_again() {
    let test = "log::embedded::tests::reuse::what_was_acknowledged_survives_a_kill_while_files_are_written_again";
    if let Some(folder) = child::folder() {
        let log = open(&folder);
        loop {
            let next = log.end("in").expect("end");
            log.publish("in", vec![if next.is_multiple_of(3) { large(next) } else { small(next) }]).expect("publish");
            log.release("in", next.saturating_sub(30)).expect("release");
            child::say(format_args!("{}", next + 1));
        }
    }
    let place = place();
    for lines in [60, 200, 133, 90] {
        let said = child::killed_after(test, place.path(), lines);
        let published: u64 = said.last().map_or(0, |offset| offset.parse().expect("an offset"));
        let log = open(place.path());
        let end = log.end("in").expect("end");
        // The last publication may have been cut off before it was acknowledged.
        assert!((published..=published + 2).contains(&end), "{end} after {published}");
        let from = end.saturating_sub(30);
        let expected = |offset: u64| read(if offset.is_multiple_of(3) { large(offset) } else { small(offset) }, offset);
        assert!(read_all(&log, "in", from) == (from..end).map(expected).collect::<Vec<_>>(), "up to {end}");
    }
}
