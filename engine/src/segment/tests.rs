//! What goes into segments comes out again, in order, whatever was merged, dropped or damaged in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::store::memory::MemoryStore;

const DIGEST: u64 = 42;

fn segments(step: &str) -> Segments {
    Segments::new("p", &StepId::new(step), DIGEST)
}

fn write(segments: &mut Segments, store: &MemoryStore, epoch: Epoch, delta: Delta) {
    let mut changes = Changes::default();
    segments.write(epoch, delta, store, &mut changes).expect("its own segments");
    store.apply(changes).expect("no trouble");
}

fn append(generation: Generation, body: &[u8]) -> Delta {
    Delta { appended: vec![(generation, body.to_vec())], expired: vec![] }
}

type Read = BTreeMap<Generation, Vec<u8>>;

fn restored(store: &MemoryStore, step: &str) -> Result<(Segments, Read), SegmentError> {
    let (mut again, mut read) = (segments(step), Read::new());
    again.restore(store, &mut |generation, body| {
        read.entry(generation).or_default().extend_from_slice(body);
        Ok(())
    })?;
    Ok((again, read))
}

fn stored(store: &MemoryStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = vec![];
    store
        .scan(b"", &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            true
        })
        .expect("no trouble");
    pairs
}

#[test]
fn small_segments_are_merged_in_order_and_large_ones_left_alone() {
    let (store, mut live) = (MemoryStore::new(), segments("dedup"));
    write(&mut live, &store, 1, append(7, &[9; SEGMENT_BYTES]));
    for epoch in 2..100u8 {
        write(&mut live, &store, epoch as u64, append(7, &[epoch]));
    }
    let wanted: Vec<u8> = std::iter::repeat_n(9, SEGMENT_BYTES).chain(2..100).collect();
    let (again, read) = restored(&store, "dedup").expect("its own segments");
    assert_eq!(read, Read::from([(7, wanted)]));
    assert!(stored(&store).len() <= 1 + MERGE_AT, "{} segments", stored(&store).len());
    let bytes: usize = stored(&store).iter().map(|(_, value)| value.len()).sum();
    assert_eq!((live.bytes(), again.bytes()), (bytes as u64, bytes as u64));
}

#[test]
fn a_body_that_is_too_large_for_a_value_goes_on_in_the_next_ones() {
    let (store, mut live) = (MemoryStore::new(), segments("whole"));
    let large: Vec<u8> = (0..SEGMENT_BYTES * 3 + 7).map(|at| at as u8).collect();
    write(&mut live, &store, 1, append(1, b"before"));
    write(&mut live, &store, 2, append(1, &large));
    // As many small ones behind it as are merged.
    (3..60).for_each(|epoch| write(&mut live, &store, epoch, append(1, b".")));
    let (again, read) = restored(&store, "whole").expect("its own segments");
    assert_eq!(read[&1], [b"before", &large[..], &[b'.'; 57]].concat());
    assert_eq!(again.bytes(), live.bytes());
    let parts: Vec<(Vec<u8>, Vec<u8>)> =
        stored(&store).into_iter().filter(|(_, value)| value[0] != SEGMENT_FORMAT).collect();
    assert_eq!(parts.iter().map(|(_, value)| value[0]).collect::<Vec<_>>(), [BEGINS, GOES_ON, GOES_ON, ENDS]);
    for (key, value) in parts {
        let mut changes = Changes::default();
        changes.remove(key.clone());
        store.apply(changes).expect("no trouble");
        let error = restored(&store, "whole").map(drop).expect_err("a part is gone");
        assert!(matches!(error, SegmentError::Damaged { generation: 1, .. }), "{error}");
        put(&store, &key, value);
    }
    write(&mut live, &store, 60, Delta { appended: vec![], expired: vec![1] });
    assert_eq!(stored(&store), []);
}

#[test]
fn a_generation_is_dropped_whole_and_the_neighbours_stay() {
    let (store, mut live) = (MemoryStore::new(), segments("dedup"));
    write(&mut segments("dedup2"), &store, 1, append(1, b"other step"));
    write(&mut live, &store, 1, append(1, b"old"));
    write(&mut live, &store, 2, append(2, b"new"));
    write(&mut live, &store, 3, Delta { appended: vec![], expired: vec![1] });
    assert_eq!(restored(&store, "dedup").expect("its own").1, Read::from([(2, b"new".to_vec())]));
    assert_eq!(restored(&store, "dedup2").expect("its own").1, Read::from([(1, b"other step".to_vec())]));
}

#[test]
fn new_segments_never_take_the_numbers_of_skipped_ones() {
    let (store, mut live) = (MemoryStore::new(), segments("dedup"));
    write(&mut live, &store, 1, append(1, b"kept"));
    let mut after = segments("dedup");
    after.skip(&store).expect("no trouble");
    write(&mut after, &store, 2, append(1, b" beside"));
    assert_eq!(restored(&store, "dedup").expect("its own").1, Read::from([(1, b"kept beside".to_vec())]));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let store = MemoryStore::new();
    write(&mut segments("dedup"), &store, 1, append(3, b"some keys"));
    let (key, value) = stored(&store).remove(0);
    for bit in 0..value.len() * 8 {
        let mut spoiled = value.clone();
        spoiled[bit / 8] ^= 1 << (bit % 8);
        put(&store, &key, spoiled);
        let found = restored(&store, "dedup").map(drop);
        let named = matches!(
            found,
            Err(SegmentError::Damaged { generation: 3, sequence: 0, .. } | SegmentError::Format { .. })
        );
        assert!(named, "bit {bit}: {found:?}");
    }
    for length in 0..value.len() {
        put(&store, &key, value[..length].to_vec());
        assert!(restored(&store, "dedup").is_err(), "{length} bytes");
    }
}

fn put(store: &MemoryStore, key: &[u8], value: Vec<u8>) {
    let mut changes = Changes::default();
    changes.put(key, value);
    store.apply(changes).expect("no trouble");
}

#[test]
fn state_of_another_digest_is_not_taken() {
    let store = MemoryStore::new();
    write(&mut Segments::new("p", &StepId::new("dedup"), 1), &store, 1, append(3, b"some keys"));
    let error = restored(&store, "dedup").map(drop).expect_err("another digest");
    let told = "dedup: segment 0 of generation 3 is damaged: it was written for another key, type or window";
    assert_eq!(error.to_string(), told);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Epochs of appended bodies and expired generations, with restarts: what is read is what was appended and not expired.
    #[test]
    fn segments_are_the_sum_of_their_epochs(
        epochs in prop::collection::vec((prop::collection::vec((0..4u64, 0..8000usize), 0..4), 0..40u64, any::<bool>()), 1..60)
    ) {
        let (store, mut live) = (MemoryStore::new(), segments("dedup"));
        let mut wanted = Read::new();
        for (epoch, (appended, expired, restarts)) in epochs.into_iter().enumerate() {
            let body = |length: usize| vec![epoch as u8; length + 1];
            let expired: Vec<Generation> = (expired < 4).then_some(expired).into_iter().collect();
            let appended: Vec<(Generation, Vec<u8>)> = appended
                .into_iter()
                .filter(|(generation, _)| !expired.contains(generation))
                .map(|(generation, length)| (generation, body(length * 20)))
                .collect();
            expired.iter().for_each(|generation| drop(wanted.remove(generation)));
            for (generation, body) in &appended {
                wanted.entry(*generation).or_default().extend_from_slice(body);
            }
            write(&mut live, &store, epoch as u64, Delta { appended, expired });
            if restarts {
                live = restored(&store, "dedup").expect("its own").0;
            }
        }
        let (again, read) = restored(&store, "dedup").expect("its own");
        prop_assert_eq!(read, wanted);
        prop_assert_eq!(again.bytes(), live.bytes());
    }
}
