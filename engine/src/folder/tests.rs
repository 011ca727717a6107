//! Folders that are new, held, damaged, older and newer.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{
    log::{Ends, Log, NewFrame},
    store::{Changes, StateStore, child},
};

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_folder_is_made_for_its_owner_and_keeps_its_worker() {
    let place = place();
    let path = place.path().join("a/b");
    let first = DataFolder::open(&path, 5).expect("open");
    assert_eq!(fs::metadata(&path).expect("a folder").permissions().mode() & 0o777, 0o700);
    let (worker, created) = (first.worker().to_owned(), first.created());
    drop(first);
    let second = DataFolder::open(&path, 6).expect("open");
    assert_eq!((second.worker(), second.created(), created), (worker.as_str(), 5, 5));
    assert_eq!(fs::read_to_string(path.join("format")).expect("a file"), "1\n");
    let other = DataFolder::open(&place.path().join("c"), 5).expect("open");
    assert_ne!(other.worker(), worker);
}

#[test]
fn a_second_holder_is_refused_until_the_first_lets_go() {
    let place = place();
    let first = DataFolder::open(place.path(), 5).expect("open");
    let folder = first.path().to_owned();
    assert_eq!(
        DataFolder::open(place.path(), 5).expect_err("it is held"),
        StoreError::InUse { folder, pid: std::process::id() }
    );
    drop(first);
    DataFolder::open(place.path(), 5).expect("open");
}

#[test]
fn another_process_is_refused_and_a_killed_one_lets_go() {
    if let Some(folder) = child::folder() {
        match DataFolder::open(&folder, 5) {
            Ok(_held) => {
                child::say("held");
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
            Err(error) => child::say(error),
        }
        return;
    }
    let test = "folder::tests::another_process_is_refused_and_a_killed_one_lets_go";
    let place = place();
    let held = DataFolder::open(place.path(), 5).expect("open");
    let refused = format!("{} is in use by process {}", held.path().display(), std::process::id());
    assert_eq!(child::finished(test, place.path()), [refused]);
    drop(held);
    assert_eq!(child::killed_after(test, place.path(), 1), ["held"]);
    DataFolder::open(place.path(), 5).expect("the dead do not hold locks");
}

#[test]
fn a_newer_format_and_a_damaged_file_are_refused_and_left_alone() {
    let place = place();
    let folder = DataFolder::open(place.path(), 5).expect("open").path().to_owned();
    let open = || DataFolder::open(place.path(), 5).expect_err("it is refused");
    for (file, text, detail) in [("format", "one", "a number"), ("worker", "w", "an id"), ("worker", "", "an id")] {
        let before = fs::read(place.path().join(file)).expect("a file");
        fs::write(place.path().join(file), text).expect("write");
        let detail = format!("the file `{file}` does not hold {detail}");
        assert_eq!(open(), StoreError::Damaged { folder: folder.clone(), detail });
        fs::write(place.path().join(file), before).expect("write");
    }
    fs::write(place.path().join("format"), "2\n").expect("write");
    assert_eq!(open(), StoreError::Format { folder: folder.clone(), found: 2, oldest: 1, newest: 1 });
    assert_eq!(fs::read_to_string(place.path().join("format")).expect("a file"), "2\n");
}

/// Folders that earlier versions wrote: one for every format that was ever released, and the present one.
fn kept(format: u32) -> PathBuf {
    let engine = std::env::var_os("CARGO_MANIFEST_DIR").expect("the folder of this crate: run its tests with cargo");
    Path::new(&engine).join(format!("src/folder/formats/{format}"))
}

fn frame(body: &str) -> NewFrame {
    NewFrame { count: 2, time: 1_700_000_000_000_000, body: body.as_bytes().to_vec() }
}

#[test]
fn a_folder_of_every_format_is_read() {
    for format in OLDEST..=FORMAT {
        let place = place();
        child::copy(&kept(format), place.path());
        let folder = DataFolder::open(place.path(), 5).expect("open");
        assert_eq!((folder.worker().len(), folder.created()), (32, 1_700_000_000_000_000));
        let store = folder.store().expect("store");
        assert_eq!(store.get(b"checkpoint"), Ok(Some(b"one".to_vec())));
        let ends: Ends = serde_json::from_slice(&store.get(b"ends").expect("get").expect("ends")).expect("json");
        let log = folder.log().expect("log");
        log.recover(&["p/"], &ends).expect("recover");
        for topic in ["in/orders", "p/out"] {
            let bodies: Vec<_> = log.read(topic, 0, 100).expect("read").into_iter().map(|frame| frame.body).collect();
            assert_eq!(bodies, [b"first", b"again"], "{topic} of format {format}");
        }
    }
}

/// Run once for each new format: `cargo test -p syncline-engine keep_a_folder -- --ignored`.
#[test]
#[ignore = "writes the folder of the present format"]
fn keep_a_folder_of_this_format() {
    let place = place();
    let folder = DataFolder::open(place.path(), 1_700_000_000_000_000).expect("open");
    let log = folder.log().expect("log");
    log.publish("in/orders", vec![frame("first"), frame("again")]).expect("publish");
    log.append("p/out", frame("first")).expect("append");
    log.append("p/out", frame("again")).expect("append");
    let ends = log.prepare(&["p/out".to_owned()]).expect("prepare");
    log.append("p/out", frame("never committed")).expect("append");
    log.prepare(&["p/out".to_owned()]).expect("prepare");
    let store = folder.store().expect("store");
    let mut changes = Changes::default();
    changes.put("checkpoint", "one");
    changes.put("ends", serde_json::to_vec(&ends).expect("json"));
    store.apply(changes).and_then(|()| store.flush()).expect("apply");
    drop((store, log));
    child::copy(place.path(), &kept(FORMAT));
    for lock in ["lock", "state/lock"] {
        fs::remove_file(kept(FORMAT).join(lock)).expect("remove");
    }
}
