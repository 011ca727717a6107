//! What every store must do: each implementation runs all of it over stores that it opens itself.
//!
//! The suite panics with what it saw when a store breaks the contract.

use super::{Changes, StateStore, StoreError};

/// Pairs in order of key.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs everything. `open` gives an empty store; `crash` takes one, lets its process die at once, and opens it again.
pub fn all<S: StateStore>(mut open: impl FnMut() -> S, mut crash: impl FnMut(S) -> S) {
    an_empty_store_has_nothing(&open());
    a_batch_puts_and_removes(&open());
    a_later_put_and_any_put_win(&open());
    what_is_filled_in_is_as_if_it_were_applied(&open());
    scans_keep_to_the_prefix_and_the_order_of_bytes(&open());
    a_scan_stops_when_told(&open());
    a_wipe_takes_a_prefix_and_nothing_else(&open());
    keys_and_values_may_hold_any_bytes(&open());
    scans_never_see_half_a_batch(&open());
    for batches in 0..8 {
        a_crash_loses_no_flushed_batch_and_only_the_newest_others(open(), &mut crash, batches);
    }
    a_wipe_is_flushed_like_a_batch(open(), &mut crash);
    many_batches_survive(open(), &mut crash);
}

fn must<T>(done: Result<T, StoreError>) -> T {
    done.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

fn batch(puts: &[(&str, &str)], removals: &[&str]) -> Changes {
    let mut changes = Changes::default();
    puts.iter().for_each(|(key, value)| changes.put(*key, *value));
    removals.iter().for_each(|key| changes.remove(*key));
    changes
}

fn pairs(of: &[(&str, &str)]) -> Pairs {
    of.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Everything below a prefix.
pub fn scanned(store: &impl StateStore, prefix: &[u8]) -> Pairs {
    let mut seen = Pairs::new();
    must(store.scan(prefix, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        true
    }));
    seen
}

fn an_empty_store_has_nothing(store: &impl StateStore) {
    assert_eq!((must(store.get(b"")), must(store.get(b"a")), scanned(store, b"")), (None, None, Pairs::new()));
    must(store.apply(Changes::default()));
    must(store.flush());
    must(store.wipe(b""));
    assert_eq!(scanned(store, b""), Pairs::new());
}

fn what_is_filled_in_is_as_if_it_were_applied(store: &impl StateStore) {
    must(store.apply(batch(&[("a", "before"), ("b", "before"), ("c", "before")], &[])));
    must(store.fill(batch(&[("d", "1"), ("a", "1"), ("d", "2")], &["a", "b"])));
    assert_eq!(scanned(store, b""), pairs(&[("a", "1"), ("c", "before"), ("d", "2")]));
}

fn a_batch_puts_and_removes(store: &impl StateStore) {
    must(store.apply(batch(&[("a", "1"), ("b", "2"), ("c", "3")], &["never there"])));
    must(store.apply(batch(&[("a", "4"), ("d", "5")], &["b"])));
    assert_eq!(scanned(store, b""), pairs(&[("a", "4"), ("c", "3"), ("d", "5")]));
    assert_eq!((must(store.get(b"a")), must(store.get(b"b"))), (Some(b"4".to_vec()), None));
}

fn a_later_put_and_any_put_win(store: &impl StateStore) {
    must(store.apply(batch(&[("a", "1"), ("a", "2")], &[])));
    must(store.apply(batch(&[("b", "3")], &["b"])));
    assert_eq!(scanned(store, b""), pairs(&[("a", "2"), ("b", "3")]));
}

fn scans_keep_to_the_prefix_and_the_order_of_bytes(store: &impl StateStore) {
    let mut changes = batch(&[("p/2", "b"), ("p/10", "a"), ("p", "-"), ("p0", "-"), ("o/9", "-")], &[]);
    changes.put(b"p/\xff".to_vec(), b"c".to_vec());
    must(store.apply(changes));
    let mut expected = pairs(&[("p/10", "a"), ("p/2", "b")]);
    expected.push((b"p/\xff".to_vec(), b"c".to_vec()));
    assert_eq!(scanned(store, b"p/"), expected);
    // A prefix that ends in the highest byte has no next prefix to stop at.
    assert_eq!(scanned(store, b"p/\xff"), expected[2..]);
}

fn a_scan_stops_when_told(store: &impl StateStore) {
    must(store.apply(batch(&[("a", "1"), ("b", "2"), ("c", "3")], &[])));
    let mut seen = Vec::new();
    must(store.scan(b"", &mut |key, _| {
        seen.push(key.to_vec());
        seen.len() < 2
    }));
    assert_eq!(seen, [b"a", b"b"]);
}

fn a_wipe_takes_a_prefix_and_nothing_else(store: &impl StateStore) {
    must(store.apply(batch(&[("p/1", "a"), ("p/2", "b"), ("p", "c"), ("q/1", "d")], &[])));
    must(store.wipe(b"p/"));
    assert_eq!(scanned(store, b""), pairs(&[("p", "c"), ("q/1", "d")]));
}

fn keys_and_values_may_hold_any_bytes(store: &impl StateStore) {
    let mut expected = Pairs::new();
    let mut changes = Changes::default();
    for byte in 0..=255u8 {
        expected.push((vec![byte], vec![byte; byte as usize]));
        changes.put(vec![byte], vec![byte; byte as usize]);
    }
    must(store.apply(changes));
    assert_eq!(scanned(store, b""), expected);
    assert_eq!(must(store.get(&[0])), Some(Vec::new()));
}

fn scans_never_see_half_a_batch(store: &impl StateStore) {
    const ROUNDS: u32 = 200;
    const KEYS: u32 = 30;
    let put = |round: u32| {
        let mut changes = Changes::default();
        (0..KEYS).for_each(|key| changes.put(format!("k/{key:03}"), round.to_string()));
        must(store.apply(changes));
    };
    put(0);
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=ROUNDS).for_each(put));
        let last = ROUNDS.to_string().into_bytes();
        loop {
            let seen = scanned(store, b"k/");
            assert_eq!(seen.len(), KEYS as usize);
            assert!(seen.iter().all(|(_, value)| *value == seen[0].1), "half a batch: {seen:?}");
            if seen[0].1 == last {
                break;
            }
        }
    });
}

/// Each batch puts its number under two keys and removes what the one before it left.
fn numbered(number: u32) -> Changes {
    let mut changes = batch(&[("first", &number.to_string()), (&format!("own/{number}"), "here")], &[]);
    if number > 0 {
        changes.remove(format!("own/{}", number - 1));
    }
    changes.put("last", number.to_string());
    changes
}

fn a_crash_loses_no_flushed_batch_and_only_the_newest_others<S: StateStore>(
    store: S,
    crash: &mut impl FnMut(S) -> S,
    unflushed: u32,
) {
    const FLUSHED: u32 = 3;
    (0..=FLUSHED).for_each(|number| must(store.apply(numbered(number))));
    must(store.flush());
    (1..=unflushed).for_each(|number| must(store.apply(numbered(FLUSHED + number))));
    let store = crash(store);
    let after = scanned(&store, b"");
    let possible = |number: u32| {
        let text = number.to_string();
        pairs(&[("first", &text), ("last", &text), (&format!("own/{number}"), "here")])
    };
    let whole = (FLUSHED..=FLUSHED + unflushed).any(|number| after == possible(number));
    assert!(whole, "neither the flushed state nor a later one: {after:?}");
    must(store.apply(numbered(100)));
    assert_eq!(must(store.get(b"first")), Some(b"100".to_vec()));
}

fn a_wipe_is_flushed_like_a_batch<S: StateStore>(store: S, crash: &mut impl FnMut(S) -> S) {
    must(store.apply(batch(&[("p/1", "a"), ("q/1", "b")], &[])));
    must(store.wipe(b"p/"));
    must(store.flush());
    let store = crash(store);
    assert_eq!(scanned(&store, b""), pairs(&[("q/1", "b")]));
}

fn many_batches_survive<S: StateStore>(mut store: S, crash: &mut impl FnMut(S) -> S) {
    const LIVE: u32 = 5;
    for round in 0..40u32 {
        let mut changes = Changes::default();
        for key in 0..20u32 {
            changes.put(format!("s/{round:03}/{key:03}"), vec![(round + key) as u8; 4096]);
            if round >= LIVE {
                changes.remove(format!("s/{:03}/{key:03}", round - LIVE));
            }
        }
        must(store.apply(changes));
        must(store.flush());
        if round % 10 == 9 {
            store = crash(store);
        }
    }
    let expected: Pairs = (35..40u32)
        .flat_map(|round| {
            (0..20u32).map(move |key| (format!("s/{round:03}/{key:03}").into_bytes(), vec![(round + key) as u8; 4096]))
        })
        .collect();
    assert_eq!(scanned(&store, b"s/"), expected);
}
