//! The embedded log after crashes, damage and full disks.

use std::{cell::RefCell, fs, path::PathBuf};

use super::*;
use crate::{
    log::{conformance, conformance::read_all},
    store::child,
};

mod crash;
mod reuse;

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &Path) -> EmbeddedLog {
    EmbeddedLog::open(folder).expect("open")
}

fn new(body: &str) -> NewFrame {
    NewFrame { count: 1, time: 7, body: body.as_bytes().to_vec() }
}

fn frame(base: u64, body: &str) -> Frame {
    Frame { base, count: 1, time: 7, body: body.as_bytes().to_vec() }
}

fn names(of: &str) -> Vec<String> {
    vec![of.to_owned()]
}

/// Changes one byte of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("write");
}

fn first_file(folder: &Path, topic: &str) -> PathBuf {
    folder.join(name::folder_of(topic)).join("00000000000000000000.log")
}

fn damaged(topic: &str, offset: u64, detail: &str) -> LogError {
    LogError::Damaged { topic: topic.to_owned(), offset, detail: detail.to_owned() }
}

#[test]
fn it_is_a_log() {
    let places = RefCell::new(Vec::new());
    let fresh = || {
        places.borrow_mut().push(place());
        places.borrow().last().expect("just made").path().to_owned()
    };
    conformance::all(
        || open(&fresh()),
        |log| {
            let folder = fresh();
            child::copy(&log.root, &folder);
            open(&folder)
        },
    );
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let place = place();
    let log = open(place.path());
    log.publish("in", vec![new("first")]).expect("publish");
    let whole = fs::metadata(first_file(place.path(), "in")).expect("a file").len() as usize;
    log.publish("in", vec![new("second"), new("third")]).expect("publish");
    let bytes = fs::read(first_file(place.path(), "in")).expect("a file");
    let second = whole + frame::HEADER + "second".len();
    for length in whole..bytes.len() {
        let folder = place.path().join(format!("cut/{length}"));
        let file = first_file(&folder, "in");
        fs::create_dir_all(file.parent().expect("a folder")).expect("create");
        fs::write(&file, &bytes[..length]).expect("write");
        let log = open(&folder);
        let kept: &[Frame] =
            if length < second { &[frame(0, "first")] } else { &[frame(0, "first"), frame(1, "second")] };
        assert_eq!(read_all(&log, "in", 0), kept, "cut at {length}");
        let next = kept.len() as u64;
        assert_eq!(log.publish("in", vec![new("more")]), Ok(next));
        drop(log);
        assert_eq!(read_all(&open(&folder), "in", next), [frame(next, "more")], "cut at {length}");
    }
}

#[test]
fn damage_below_what_was_durable_is_named_wherever_it_is() {
    let place = place();
    let log = open(place.path());
    for body in ["first", "second", "third"] {
        log.publish("in", vec![new(body)]).expect("publish");
    }
    let frames = [(0, "first"), (1, "second"), (2, "third")];
    let bytes = fs::read(first_file(place.path(), "in")).expect("a file");
    let mut at = 0;
    for (offset, body) in &frames[..2] {
        for byte in at..at + frame::HEADER + body.len() {
            let folder = place.path().join(format!("damaged/{byte}"));
            let file = first_file(&folder, "in");
            fs::create_dir_all(file.parent().expect("a folder")).expect("create");
            fs::write(&file, &bytes).expect("write");
            damage(&file, byte);
            let log = open(&folder);
            let part = if byte < at + frame::HEADER { "header" } else { "body" };
            let expected = damaged("in", *offset, &format!("the checksum of its {part} does not match"));
            assert_eq!(log.end("in"), Err(expected.clone()), "byte {byte}");
            assert_eq!(log.publish("in", vec![new("more")]), Err(expected));
            assert_eq!(fs::metadata(&file).expect("a file").len() as usize, bytes.len(), "nothing is cut");
        }
        at += frame::HEADER + body.len();
    }
}

#[test]
fn after_a_clean_stop_even_the_last_frame_is_missed() {
    let place = place();
    let log = open(place.path());
    log.publish("in", vec![new("first"), new("second")]).expect("publish");
    drop(log);
    let file = first_file(place.path(), "in");
    let length = fs::metadata(&file).expect("a file").len();
    fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(length - 1)).expect("cut");
    let expected = damaged("in", 1, "records that were synced are missing or changed");
    assert_eq!(open(place.path()).read("in", 0, 1), Err(expected));
}

#[test]
fn damage_below_a_checkpoint_is_named_by_recover_and_by_read() {
    let place = place();
    let log = open(place.path());
    log.append("p", new("first")).expect("append");
    log.append("p", new("second")).expect("append");
    let ends = log.prepare(&names("p")).expect("prepare");
    log.commit(1, &ends).expect("commit");
    let file = first_file(place.path(), "p");
    let second = frame::HEADER + "first".len();
    damage(&file, second + frame::HEADER);
    let expected = damaged("p", 1, "the checksum of its body does not match");
    assert_eq!(log.read("p", 0, 1000), Err(expected.clone()));
    assert_eq!(log.read("p", 0, 1), Ok(vec![frame(0, "first")]));
    assert_eq!(open(place.path()).recover(&["p"], &ends), Err(expected));
    damage(&file, second + frame::HEADER);
    damage(&file, 30);
    let expected = damaged("p", 0, "the checksum of its header does not match");
    assert_eq!(log.read("p", 1, 1000), Ok(vec![frame(1, "second")]));
    assert_eq!(open(place.path()).recover(&["p"], &ends), Err(expected));
}

/// Seven of them and their heads are a file.
const BODY: usize = writer::FILE_SIZE as usize / 8;

#[test]
fn a_topic_goes_on_in_a_new_file_and_release_deletes_whole_ones() {
    let place = place();
    let log = open(place.path());
    let body = |number: u8| NewFrame { count: 10, time: 0, body: vec![number; BODY] };
    let mut ends = Ends::new();
    for number in 0..20 {
        log.append("p", body(number)).expect("append");
        if number % 3 == 0 {
            ends = log.prepare(&names("p")).expect("prepare");
            log.commit(1, &ends).expect("commit");
        }
    }
    let files = || {
        let entries = fs::read_dir(place.path().join("p")).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut numbers: Vec<u64> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!((files(), ends["p"].offset, ends["p"].file), (vec![0, 70, 140], 190, 140));
    assert!(fs::metadata(first_file(place.path(), "p")).expect("a file").len() <= writer::FILE_SIZE);
    for number in [0, 6, 7, 13, 14, 18] {
        let read = log.read("p", u64::from(number) * 10 + 9, 1).expect("read");
        assert!(read == [Frame { base: u64::from(number) * 10, count: 10, time: 0, body: vec![number; BODY] }]);
    }
    assert_eq!(
        log.read("p", 50, 4 * BODY).expect("read").iter().map(|frame| frame.base).collect::<Vec<_>>(),
        [50, 60, 70, 80]
    );
    log.release("p", 139).expect("release");
    assert_eq!(files(), [70, 140]);
    assert_eq!(log.read("p", 69, 1), Err(LogError::Gone { topic: "p".to_owned(), asked: 69, oldest: 70 }));
}

#[test]
fn what_is_let_go_of_keeps_its_bytes_while_somebody_reads_and_goes_away_then() {
    let place = place();
    let log = EmbeddedLog { sweeper: Arc::new(Sweeper::keeping(0)), ..open(place.path()) };
    for number in 0..20 {
        log.append("p", NewFrame { count: 10, time: 0, body: vec![number; BODY] }).expect("append");
    }
    let ends = log.prepare(&names("p")).expect("prepare");
    log.commit(1, &ends).expect("commit");
    let read = log.topic("p").view().files[0].clone();
    log.release("p", 140).expect("release");
    let gone = |base: u64| place.path().join(format!("p/{base:020}.gone"));
    let until = |base: u64| {
        let began = std::time::Instant::now();
        while gone(base).exists() {
            assert!(began.elapsed().as_secs() < 20, "{base} is still there");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    until(70);
    assert_eq!(fs::metadata(gone(0)).expect("it is read").len(), read.length());
    drop(read);
    until(0);
    let next = log.topic("p").view().files[0].path.clone();
    drop(log);
    // A process that died before it was done with a file.
    fs::write(gone(0), "left").expect("a file");
    let log = open(place.path());
    log.recover(&["p"], &ends).expect("recover");
    assert!(!gone(0).exists() && next.exists());
}

#[test]
fn a_missing_file_in_the_middle_is_damage() {
    let place = place();
    let log = open(place.path());
    for number in 0..20 {
        log.append("p", NewFrame { count: 10, time: 0, body: vec![number; BODY] }).expect("append");
    }
    let ends = log.prepare(&names("p")).expect("prepare");
    drop(log);
    fs::remove_file(place.path().join("p/00000000000000000070.log")).expect("remove");
    let log = open(place.path());
    log.recover(&["p"], &ends).expect("the end is there");
    assert_eq!(log.read("p", 60, 1).expect("read").len(), 1);
    for from in [70, 100, 139] {
        let error = log.read("p", from, 1).expect_err("records are missing");
        assert_eq!(error, damaged("p", 70, "records are missing"), "from {from}");
    }
    assert_eq!(log.read("p", 140, 1).expect("read").len(), 1);
}

#[test]
fn a_transaction_that_was_cut_back_over_files_leaves_none() {
    let place = place();
    let log = open(place.path());
    log.append("p", new("kept")).expect("append");
    let ends = log.prepare(&names("p")).expect("prepare");
    for number in 0..20 {
        log.append("p", NewFrame { count: 10, time: 0, body: vec![number; BODY] }).expect("append");
    }
    log.prepare(&names("p")).expect("prepare");
    let log = open(place.path());
    log.recover(&["p"], &ends).expect("recover");
    assert_eq!((read_all(&log, "p", 0), log.append("p", new("next"))), (vec![frame(0, "kept")], Ok(1)));
    assert_eq!(fs::read_dir(place.path().join("p")).expect("a folder").count(), 1);
}

/// Prints figures; `cargo test -p syncline-engine speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    use std::time::Instant;
    let place = place();
    let log = &open(place.path());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1000).for_each(|_| assert!(log.publish("in", vec![new("one")]).is_ok())));
        }
    });
    println!("8 threads publish 1000 times each: {:?}", started.elapsed());
    let started = Instant::now();
    for epoch in 0..20 {
        for _ in 0..16 {
            log.append("p", NewFrame { count: 1024, time: 0, body: vec![b'x'; 64 << 10] }).expect("append");
        }
        let ends = log.prepare(&names("p")).expect("prepare");
        log.commit(epoch, &ends).expect("commit");
    }
    println!("20 epochs of 1 MB: {:?}", started.elapsed());
    let started = Instant::now();
    let (mut next, end) = (0, log.end("p").expect("end"));
    while next < end {
        next = log.read("p", next, 256 << 10).expect("read").last().expect("frames").next();
    }
    println!("read 20 MB: {:?}", started.elapsed());
}
