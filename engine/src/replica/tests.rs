//! The changelog in memory passes the suite, and shows what only one can that is told what to answer.

use std::sync::Arc;

use super::{
    Replica, Witnessed,
    conformance::{self, World, epoch, ground, opened, put, scope},
};
use crate::{
    changelog::{ChangelogError, memory::MemoryChangelogs},
    log::{Ends, Log},
    store::{StateStore, StoreError, memory::MemoryStore},
    witness::{ChangelogWitness, Upkeep},
};

#[test]
fn the_changelog_in_memory_is_a_changelog() {
    conformance::all(MemoryChangelogs::default);
}

fn new() -> World<MemoryChangelogs> {
    opened(&MemoryChangelogs::default(), Arc::default(), Arc::default()).unwrap()
}

#[test]
fn after_an_unknown_outcome_only_the_changelog_says_what_happened() {
    for (written, value) in [(true, "2"), (false, "1")] {
        let world = new();
        world.replica.apply(put("a", "1")).unwrap();
        world.replica.flush().unwrap();
        world.changelogs.lose_answer(written);
        world.replica.apply(put("a", "2")).unwrap();
        let unknown = matches!(world.replica.flush(), Err(StoreError::Changelog(ChangelogError::Unknown { .. })));
        assert!(unknown && world.replica.flush().is_err());
        let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
        assert_eq!(again.replica.get(b"a"), Ok(Some(value.as_bytes().to_vec())));
    }
}

#[derive(Default)]
struct Seen(std::sync::Mutex<Vec<Upkeep>>);

impl ChangelogWitness for Seen {
    fn enter(&self, window: Upkeep) {
        self.0.lock().unwrap().push(window);
    }
}

#[test]
fn a_witness_hears_of_each_window_in_its_order() {
    use Upkeep::{Copying, Idle, Moving, Opening, Reading, Writing};
    let (seen, changelogs) = (Arc::new(Seen::default()), MemoryChangelogs::default());
    let (store, log) = (Arc::new(MemoryStore::new()), Arc::default());
    let changelog = Box::new(Witnessed::new(Box::new(changelogs.writer()), seen.clone()));
    let replica = Replica::open(&ground(&store, &log), scope(), changelog, None, false).unwrap();
    let windows = || std::mem::take(&mut *seen.0.lock().unwrap());
    // Once for its id, which a new one is given, and once for what it holds.
    assert_eq!(windows(), [Opening, Reading, Writing, Copying, Reading, Idle]);
    let world = World { store, log, changelogs, replica };
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    epoch(&world, "frame");
    assert_eq!(windows(), [Writing, Copying, Idle]);
    world.replica.release("out", 10).unwrap();
    world.replica.flush().unwrap();
    assert_eq!(windows(), [Moving, Copying, Idle]);
    opened(&world.changelogs, Arc::default(), Arc::default()).unwrap();
    world.replica.apply(put("a", "1")).unwrap();
    assert!(world.replica.flush().is_err());
    assert_eq!(windows(), [Writing, Idle]);
}
