//! Revisions as starts note them, over a store in memory.

use serde_json::json;

use super::*;
use crate::{
    checkpoint::StateNote,
    operator::StateSize,
    store::{
        memory::MemoryStore,
        sled::{MAX_KEY, MAX_VALUE},
    },
};

const P: &str = "p";

fn written(digest: &str) -> Written {
    Written { digest: digest.into(), text: format!("text of {digest}"), by: "ada".into(), most: 1_000 }
}

fn stood(keys: u64) -> Checkpoint {
    let size = StateSize { keys, ..StateSize::default() };
    let note = StateNote { size, ..StateNote::default() };
    Checkpoint { epoch: keys, states: [(StepId::new("dedup"), note)].into(), ..Checkpoint::default() }
}

/// A start with this text, and what the one before has left.
fn start(store: &MemoryStore, digest: &str, keys: u64, back: Option<&Back>) {
    let mut changes = Changes::default();
    let begun = begin(store, P, &written(digest), (&stood(keys), back), 7, &mut changes).unwrap();
    store.apply(changes).unwrap();
    begun.committed(store).unwrap();
}

/// State of a length, and a position.
fn commit(store: &MemoryStore, pipeline: &str, value: &str) {
    let mut changes = Changes::default();
    let note = PartitionNote { partition: "in/a".into(), cursor: json!(value), watermark: None };
    checkpoint::put(&mut changes, checkpoint::partition_key(pipeline, "in/a"), &note);
    changes.put([checkpoint::state_prefix(pipeline), b"dedup\0x".to_vec()].concat(), value);
    changes.put(checkpoint::fingerprints_key(pipeline), "{}");
    store.apply(changes).unwrap();
}

fn state(store: &MemoryStore, pipeline: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = vec![];
    for prefix in [checkpoint::state_prefix(pipeline), checkpoint::partition_prefix(pipeline)] {
        store
            .scan(&prefix, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                true
            })
            .unwrap();
    }
    found
}

fn kept(store: &MemoryStore) -> Vec<(u64, Option<u64>)> {
    all(store, P).unwrap().into_iter().map(|one| (one.number, one.kept.map(|kept| kept.keys))).collect()
}

fn copies(store: &MemoryStore) -> usize {
    let mut count = 0;
    store
        .scan(&states_prefix(P), &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
    count
}

#[test]
fn a_revision_begins_with_another_digest_and_other_words_for_it_are_the_same_one() {
    let store = MemoryStore::new();
    start(&store, "a", 0, None);
    start(&store, "a", 3, None);
    let mut other = written("a");
    other.text = "-- other words".into();
    let mut changes = Changes::default();
    begin(&store, P, &other, (&stood(3), None), 9, &mut changes).unwrap();
    store.apply(changes).unwrap();
    let all = all(&store, P).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].text.as_str(), all[0].began, all[0].number), ("-- other words", 7, 1));
    assert!(is_another(&store, P, &written("b")).unwrap() && !is_another(&store, "p2", &written("b")).unwrap());
}

#[test]
fn the_newest_three_states_are_kept_and_the_newest_twenty_texts() {
    let store = MemoryStore::new();
    for (keys, digest) in (0..).zip(["a", "b", "c", "d", "e"]) {
        commit(&store, P, digest);
        start(&store, digest, keys, None);
    }
    // The first made room, and the fifth is not over.
    assert_eq!(kept(&store), [(1, None), (2, Some(2)), (3, Some(3)), (4, Some(4)), (5, None)]);
    assert_eq!(copies(&store), 3 * 4);
    for number in 0..25 {
        start(&store, &format!("more {number}"), 1, None);
    }
    let numbers: Vec<u64> = all(&store, P).unwrap().into_iter().map(|one| one.number).collect();
    assert_eq!(numbers, (11..=30).collect::<Vec<_>>());
    assert_eq!(copies(&store), 3 * 4);
}

#[test]
fn a_state_that_is_too_large_is_not_kept() {
    let store = MemoryStore::new();
    start(&store, "a", 0, None);
    commit(&store, P, &"x".repeat(2_000));
    start(&store, "b", 5, None);
    assert_eq!((kept(&store), copies(&store)), (vec![(1, None), (2, None)], 0));
    assert_eq!(super::stood(&store, P, 1).unwrap(), None);
}

#[test]
fn what_is_brought_back_is_what_stood_there_and_nothing_else() {
    let store = MemoryStore::new();
    start(&store, "a", 0, None);
    commit(&store, P, "one");
    // A pipeline whose name begins alike.
    commit(&store, "p2", "other");
    let (mine, others) = (state(&store, P), state(&store, "p2"));
    start(&store, "b", 5, None);
    commit(&store, P, "two");
    let mut more = Changes::default();
    more.put([checkpoint::state_prefix(P), b"sum\0y".to_vec()].concat(), "made since");
    store.apply(more).unwrap();
    let stood = super::stood(&store, P, 1).unwrap().unwrap();
    assert_eq!((stood.checkpoint.epoch, &stood.checkpoint.cursors["in/a"]), (5, &json!("one")));
    // Cut off in the middle, and done again.
    for _ in 0..2 {
        bring_back(&store, P, 1).unwrap();
        assert_eq!((state(&store, P), state(&store, "p2")), (mine.clone(), others.clone()));
    }
}

#[test]
fn who_goes_back_forgets_the_states_of_what_is_taken_back_and_can_go_there_again() {
    let store = MemoryStore::new();
    for (keys, digest) in (0..).zip(["a", "b", "c"]) {
        commit(&store, P, digest);
        start(&store, digest, keys, None);
    }
    commit(&store, P, "c");
    let way = Back { pipeline: P.into(), to: 1, text: "text of a".into(), fence: None };
    assert_eq!(kept(&store), [(1, Some(1)), (2, Some(2)), (3, None)]);
    let to_second = Back { to: 2, ..way };
    decide(&store, &to_second).unwrap();
    assert_eq!(all_back(&store).unwrap(), vec![to_second.clone()]);
    start(&store, "b", 2, Some(&to_second));
    assert_eq!(kept(&store), [(1, Some(1)), (2, Some(2)), (3, None), (4, None)]);
    assert_eq!((back(&store, P).unwrap(), last(&store, P).unwrap().unwrap().back_to), (None, Some(2)));
}

/// Keys that a store has under a beginning; each pair of all is one that a folder's store takes.
fn taken(store: &MemoryStore, prefix: &[u8]) -> usize {
    let mut count = 0;
    let mut each = |key: &[u8], value: &[u8]| {
        assert!(key.len() <= MAX_KEY && value.len() <= MAX_VALUE, "{} bytes under {}", value.len(), key.escape_ascii());
        count += usize::from(key.starts_with(prefix));
        true
    };
    store.scan(b"", &mut each).unwrap();
    count
}

#[test]
fn a_text_may_be_longer_than_a_value_and_goes_whole_with_its_revision() {
    let store = MemoryStore::new();
    // Two bytes a letter, so that parts end in the middle of one; and line ends, which are two in JSON.
    let texts = [
        "short".to_owned(),
        "\u{fc}".repeat(100_000) + "!",
        "\n".repeat(64 << 10),
        "x".repeat(4 << 20),
        "y".repeat(70 << 10),
    ];
    let begun = |text: &str, digest: &str, back: Option<&Back>| {
        let mut changes = Changes::default();
        let written = Written { text: text.to_owned(), ..written(digest) };
        begin(&store, P, &written, (&stood(3), back), 7, &mut changes).unwrap().committed(&store).unwrap();
        store.apply(changes).unwrap();
    };
    for (number, text) in (1..).zip(&texts) {
        begun(text, &number.to_string(), None);
        assert!(last(&store, P).unwrap().unwrap().text == *text, "{number}");
        assert!(is_another(&store, P, &written("other")).unwrap());
    }
    let said: Vec<String> = all(&store, P).unwrap().into_iter().map(|one| one.text).collect();
    assert!(said == texts && read(&store, P, 4).unwrap().unwrap().text == texts[3]);
    assert_eq!(taken(&store, b"n/"), 4 + 1 + 64 + 2);
    // Shorter words for the same leave nothing behind.
    begun("y", "5", None);
    assert_eq!((taken(&store, b"n/"), last(&store, P).unwrap().unwrap().text.as_str()), (4 + 1 + 64, "y"));
    let way = Back { pipeline: P.into(), to: 4, text: texts[3].clone(), fence: Some(9) };
    for _ in 0..2 {
        decide(&store, &way).unwrap();
    }
    assert!(back(&store, P).unwrap().as_ref() == Some(&way) && all_back(&store).unwrap() == vec![way.clone()]);
    assert_eq!(taken(&store, b"n/x/"), 64);
    begun(&texts[3], "4", Some(&way));
    assert_eq!((taken(&store, b"n/x/"), taken(&store, b"n/v/"), back(&store, P).unwrap()), (0, 4 + 1 + 64 + 64, None));
    let again = Back { text: texts[1].clone(), ..way };
    decide(&store, &again).unwrap();
    let mut changes = Changes::default();
    forget_decided(&store, P, &mut changes).unwrap();
    store.apply(changes).unwrap();
    assert_eq!((taken(&store, b"n/x/"), taken(&store, b"x/")), (0, 0));
    // A part that is not there is told, and nothing is taken for the text.
    let mut changes = Changes::default();
    changes.remove([b"n/".as_slice(), &key(P, 4), b"\0\0\0\0\x07"].concat());
    store.apply(changes).unwrap();
    assert!(matches!(all(&store, P), Err(ReadError::Damaged { .. })));
    // Those that are pushed out take theirs with them.
    for number in 0..KEPT_REVISIONS {
        start(&store, &format!("more {number}"), 1, None);
    }
    assert_eq!((taken(&store, b"v/"), taken(&store, b"n/")), (KEPT_REVISIONS as usize, 0));
}

#[test]
fn a_record_with_its_text_in_it_is_what_it_always_was_and_one_without_is_none_to_older_versions() {
    let store = MemoryStore::new();
    start(&store, "a", 0, None);
    let of = |number| -> serde_json::Value {
        serde_json::from_slice(&store.get(&key(P, number)).unwrap().unwrap()).unwrap()
    };
    let short = json!({"pipeline": P, "number": 1, "began": 7, "digest": "a", "text": "text of a", "by": "ada"});
    assert_eq!(of(1), short);
    let mut changes = Changes::default();
    let long = Written { text: "x".repeat(100_000), ..written("b") };
    begin(&store, P, &long, (&Checkpoint::default(), None), 7, &mut changes).unwrap();
    store.apply(changes).unwrap();
    assert_eq!((of(2).get("text"), &of(2)["text_parts"]), (None, &json!(2)));
}
