//! The store in memory forgets what a crash would, and nothing else.

use super::*;
use crate::store::conformance;

#[test]
fn it_is_a_store() {
    for seed in 0..10 {
        conformance::all(MemoryStore::new, |store| {
            store.crash(seed);
            store
        });
    }
}

fn put(number: u32) -> Changes {
    let mut changes = Changes::default();
    changes.put("number", number.to_string());
    changes
}

fn after_crash(store: &MemoryStore, seed: u64) -> Option<String> {
    store.crash(seed);
    store.get(b"number").expect("it lives").map(|value| String::from_utf8_lossy(&value).into_owned())
}

#[test]
fn a_crash_can_lose_any_number_of_unflushed_batches_and_the_seed_decides() {
    let outcome = |seed| {
        let store = MemoryStore::new();
        store.apply(put(0)).and_then(|()| store.flush()).expect("it lives");
        (1..4).for_each(|number| store.apply(put(number)).expect("it lives"));
        after_crash(&store, seed)
    };
    let seen: std::collections::BTreeSet<_> = (0..50).filter_map(outcome).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!(outcome(7), outcome(7));
}

#[test]
fn a_full_disk_fails_one_call_and_changes_nothing() {
    let store = MemoryStore::new();
    let full = StoreError::Full { operation: "apply", folder: "/data".into() };
    store.fail_after(1, full.clone());
    assert_eq!((store.apply(put(1)), store.apply(put(2))), (Ok(()), Err(full)));
    assert_eq!((store.get(b"number"), store.apply(put(3))), (Ok(Some(b"1".to_vec())), Ok(())));
}

#[test]
fn a_process_that_dies_in_a_batch_answers_nothing_more_and_may_have_applied_it() {
    let outcome = |seed| {
        let store = MemoryStore::new();
        store.fail_after(2, StoreError::Crashed);
        store.apply(put(1)).and_then(|()| store.flush()).expect("it lives");
        assert_eq!(store.apply(put(2)), Err(StoreError::Crashed));
        assert_eq!((store.flush(), store.get(b"number")), (Err(StoreError::Crashed), Err(StoreError::Crashed)));
        assert_eq!(store.apply(put(3)), Err(StoreError::Crashed));
        after_crash(&store, seed)
    };
    let seen: std::collections::BTreeSet<_> = (0..50).filter_map(outcome).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"]);
}
