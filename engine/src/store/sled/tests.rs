//! The store on disk after crashes, damage and full disks.

use std::{cell::RefCell, fs::OpenOptions, os::unix::fs::FileExt};

use super::*;
use crate::store::{child, conformance, conformance::scanned};

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn numbered(number: u32) -> Changes {
    let mut changes = Changes::default();
    changes.put("number", number.to_string());
    changes.put(format!("own/{number}"), vec![number as u8; 3000]);
    if number >= 20 {
        changes.remove(format!("own/{}", number - 20));
    }
    changes
}

#[test]
fn it_is_a_store() {
    let places = RefCell::new(Vec::new());
    let fresh = || {
        places.borrow_mut().push(place());
        places.borrow().last().expect("just made").path().to_owned()
    };
    let open = || SledStore::open(&fresh()).expect("open");
    conformance::all(open, |store| {
        let folder = fresh();
        child::copy(&store.folder, &folder);
        SledStore::open(&folder).expect("open")
    });
}

#[test]
fn what_was_flushed_survives_a_kill_and_the_rest_is_whole() {
    if let Some(folder) = child::folder() {
        let store = SledStore::open(&folder).expect("open");
        let next = store.get(b"number").expect("get").map_or(0, |value| number(&value) + 1);
        for number in next.. {
            store.apply(numbered(number)).expect("apply");
            store.flush().expect("flush");
            child::say(number);
        }
    }
    let test = "store::sled::tests::what_was_flushed_survives_a_kill_and_the_rest_is_whole";
    let place = place();
    for lines in [1, 40, 173] {
        let said = child::killed_after(test, place.path(), lines);
        let flushed: u32 = said.last().expect("it lived").parse().expect("a number");
        let store = SledStore::open(place.path()).expect("open");
        let found = number(&store.get(b"number").expect("get").expect("it was flushed"));
        assert!(found == flushed || found == flushed + 1, "{found} after {flushed}");
        let expected: Vec<_> = (found.saturating_sub(19)..=found).map(|number| vec![number as u8; 3000]).collect();
        let mut values = scanned(&store, b"own/");
        values.sort_by_key(|(key, _)| number(&key[4..]));
        assert_eq!(values.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), expected);
    }
}

fn number(text: &[u8]) -> u32 {
    String::from_utf8_lossy(text).parse().expect("a number")
}

#[test]
fn a_full_disk_is_named_and_leaves_whole_batches() {
    if let Some(folder) = child::folder() {
        let store = SledStore::open(&folder).expect("open");
        store.apply(numbered(0)).expect("apply");
        store.flush().expect("flush");
        child::limit_files(Some(9 << 20));
        let mut last = 0;
        let error = loop {
            let mut changes = numbered(last + 1);
            (0..13).for_each(|key| changes.put(format!("big/{last}/{key}"), vec![last as u8; 64 << 10]));
            if let Err(error) = store.apply(changes).and_then(|()| store.flush()) {
                break error;
            }
            last += 1;
        };
        assert_eq!(error, StoreError::Full { operation: "flush", folder: store.folder.clone() });
        assert_eq!((store.get(b"number"), store.flush()), (Err(error.clone()), Err(error.clone())));
        drop(store);
        child::limit_files(None);
        let store = SledStore::open(&folder).expect("space is back");
        let found = number(&store.get(b"number").expect("get").expect("it was flushed"));
        assert!(found == last || found == last + 1, "{found} after {last}");
        assert_eq!(scanned(&store, b"big/").len() as u32, found * 13);
        store.apply(numbered(found + 1)).and_then(|()| store.flush()).expect("space is back");
        child::say("done");
        return;
    }
    let place = place();
    let test = "store::sled::tests::a_full_disk_is_named_and_leaves_whole_batches";
    assert_eq!(child::finished(test, place.path()), ["done"]);
}

#[test]
fn a_second_holder_is_refused() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    let error = SledStore::open(place.path()).err();
    assert_eq!(error, Some(StoreError::InUse { folder: store.folder.clone(), pid: std::process::id() }));
}

#[test]
fn keys_and_values_past_the_limit_are_refused_and_change_nothing() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    let refused = |key: usize, value: usize, detail: &str| {
        let mut changes = numbered(1);
        changes.put(vec![b'k'; key], vec![b'v'; value]);
        let (folder, detail) = (store.folder.clone(), detail.to_owned());
        assert_eq!(store.apply(changes), Err(StoreError::Io { operation: "apply", folder, detail }));
    };
    refused(1, MAX_VALUE + 1, "a value of 98305 bytes; the most is 98304");
    refused(MAX_KEY + 1, 1, "a key of 4097 bytes; the most is 4096");
    assert_eq!(scanned(&store, b""), []);
}

#[test]
fn leaves_of_the_largest_values_stay_in_the_file() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    for round in 0..6u8 {
        let mut changes = Changes::default();
        for key in 0..40u32 {
            let mut name = format!("{key:05}").into_bytes();
            name.resize(MAX_KEY, b'-');
            changes.put(name, vec![round; MAX_VALUE]);
        }
        store.apply(changes).and_then(|()| store.flush()).expect("apply");
    }
    assert_eq!(fs::read_dir(store.folder.join("sled/blobs")).expect("a folder").count(), 0);
}

#[test]
fn an_unfinished_snapshot_does_not_stop_the_start() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    store.apply(numbered(1)).and_then(|()| store.flush()).expect("apply");
    drop(store);
    fs::write(place.path().join("sled/snap.00000000FFFFFFFF.generating"), "half").expect("write");
    let store = SledStore::open(place.path()).expect("open");
    assert_eq!(store.get(b"number"), Ok(Some(b"1".to_vec())));
    assert!(!place.path().join("sled/snap.00000000FFFFFFFF.generating").exists());
}

/// What one flipped byte in sled's file, at each of many places, leads to.
#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    refused_at_open: u32,
    refused_at_scan: u32,
    harmless: u32,
    served_wrong: Vec<u64>,
}

fn flip_bytes(origin: &Path, expected: &[(Vec<u8>, Vec<u8>)], places: u64) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let length = fs::metadata(origin.join("sled/db")).expect("db").len();
    for step in 0..places {
        let at = step * length / places + step % 7;
        let folder = place();
        child::copy(origin, folder.path());
        let file = OpenOptions::new().read(true).write(true).open(folder.path().join("sled/db")).expect("db");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 0x55], at).expect("a byte");
        match SledStore::open(folder.path()) {
            Err(StoreError::Damaged { .. }) => outcomes.refused_at_open += 1,
            Err(error) => panic!("{error}"),
            Ok(store) => {
                let mut seen = Vec::new();
                let done = store.scan(b"", &mut |key, value| {
                    seen.push((key.to_vec(), value.to_vec()));
                    true
                });
                match done {
                    Err(StoreError::Damaged { .. }) => outcomes.refused_at_scan += 1,
                    Err(error) => panic!("{error}"),
                    Ok(()) if seen == expected => outcomes.harmless += 1,
                    Ok(()) => outcomes.served_wrong.push(at),
                }
            }
        }
    }
    outcomes
}

#[test]
fn damage_in_a_small_store_is_named_or_does_no_harm() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    (0..60).for_each(|number| store.apply(numbered(number)).and_then(|()| store.flush()).expect("apply"));
    let expected = scanned(&store, b"");
    drop(store);
    let outcomes = flip_bytes(place.path(), &expected, 60);
    assert_eq!(outcomes.served_wrong, Vec::<u64>::new());
    assert!(outcomes.refused_at_open > 0);
}

#[test]
fn damage_in_a_store_of_many_segments_is_named_or_does_no_harm() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    for round in 0..60u32 {
        let mut changes = Changes::default();
        for key in 0..13u32 {
            changes.put(format!("s/{round:05}/{key:03}"), vec![(round + key) as u8; 64 << 10]);
            if round >= 10 {
                changes.remove(format!("s/{:05}/{key:03}", round - 10));
            }
        }
        store.apply(changes).and_then(|()| store.flush()).expect("apply");
    }
    let expected = scanned(&store, b"");
    drop(store);
    let outcomes = flip_bytes(place.path(), &expected, 60);
    assert_eq!(outcomes.served_wrong, Vec::<u64>::new());
    assert!(outcomes.refused_at_open > 0);
}

#[test]
fn a_state_that_is_gone_or_older_than_what_was_flushed_is_refused() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    store.apply(numbered(0)).and_then(|()| store.flush()).expect("apply");
    let older = tempfile::tempdir().expect("a folder");
    child::copy(&store.folder, older.path());
    let folder = store.folder.clone();
    store.apply(numbered(1)).and_then(|()| store.flush()).expect("apply");
    drop(store);
    fs::copy(older.path().join("sled/db"), place.path().join("sled/db")).expect("copy");
    for snapshot in fs::read_dir(place.path().join("sled")).expect("a folder").map(|entry| entry.expect("an entry")) {
        if snapshot.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(snapshot.path()).expect("remove");
        }
    }
    let refused = |number| {
        let detail = format!("it ends with batch {number}, but batch 2 was flushed");
        Some(StoreError::Damaged { folder: folder.clone(), detail })
    };
    assert_eq!(SledStore::open(place.path()).err(), refused(1));
    assert_eq!(SledStore::open(place.path()).err(), refused(1));
    fs::remove_file(place.path().join("sled/db")).expect("remove");
    assert!(matches!(SledStore::open(place.path()).err(), Some(StoreError::Damaged { .. })));
}

fn filled_and_emptied(folder: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let store = SledStore::open(folder).expect("open");
    for round in 0..30u8 {
        let mut changes = Changes::default();
        (0..50).for_each(|key| changes.put(format!("big/{round}/{key}"), vec![round; 64 << 10]));
        store.apply(changes).and_then(|()| store.flush()).expect("apply");
    }
    store.wipe(b"big/").expect("wipe");
    store.apply(numbered(7)).and_then(|()| store.flush()).expect("apply");
    assert!(store.size_on_disk() > 64 << 20, "{}", store.size_on_disk());
    scanned(&store, b"")
}

#[test]
fn a_file_far_larger_than_what_is_live_is_compacted_at_the_next_start() {
    let place = place();
    let expected = filled_and_emptied(place.path());
    let store = SledStore::open(place.path()).expect("open");
    assert!(store.size_on_disk() <= 2 * SEGMENT as u64, "{}", store.size_on_disk());
    assert_eq!(scanned(&store, b""), expected);
    store.apply(numbered(8)).and_then(|()| store.flush()).expect("apply");
    drop(store);
    let store = SledStore::open(place.path()).expect("open");
    assert_eq!(store.get(b"number"), Ok(Some(b"8".to_vec())));
}

#[test]
fn a_compaction_in_which_the_process_died_is_finished_or_undone() {
    let place = place();
    let store = SledStore::open(place.path()).expect("open");
    store.apply(numbered(7)).and_then(|()| store.flush()).expect("apply");
    drop(store);
    let [current, next, old] = ["sled", "sled.next", "sled.old"].map(|name| place.path().join(name));
    let steps: [&dyn Fn(); 3] = [
        // While the fresh one was written.
        &|| {
            fs::create_dir(&next).expect("create");
            fs::write(next.join("db"), "half").expect("write");
        },
        // After the first rename.
        &|| {
            child::copy(&current, &next);
            fs::rename(&current, &old).expect("rename");
        },
        // While the old one was deleted.
        &|| {
            fs::create_dir(&old).expect("create");
            fs::write(old.join("conf"), "rest").expect("write");
        },
    ];
    for died in steps {
        died();
        let store = SledStore::open(place.path()).expect("open");
        assert_eq!(store.get(b"number"), Ok(Some(b"7".to_vec())));
        assert!(!next.exists() && !old.exists());
    }
}
