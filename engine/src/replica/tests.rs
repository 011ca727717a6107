//! The changelog in memory passes the suite, and shows what only one can that is told what to answer.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    FRAME, Follower, Replica, Witnessed,
    conformance::{self, World, epoch, ground, opened, put, scope},
};
use crate::{
    changelog::{
        Changelog, ChangelogError,
        asking::{Asking, Call},
        memory::MemoryChangelogs,
    },
    log::{Ends, Log, LogError, NewFrame, memory::MemoryLog},
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

/// A start once found records gone that its changelog still had: they had been let go of with a transaction that never was.
#[test]
fn what_is_let_go_of_stays_here_until_the_changelog_has_heard_of_it() {
    let (store, log, changelogs) = <(Arc<MemoryStore>, Arc<_>, MemoryChangelogs)>::default();
    let replica: Arc<OnceLock<Arc<Replica>>> = Arc::default();
    let releasing = replica.clone();
    // The last transaction is aborted while a sink's thread goes on.
    let ask = move |call| match (call, releasing.get()) {
        (Call::Write, Some(replica)) => {
            Replica::release(replica, "out", 20).unwrap();
            Err(ChangelogError::Unreachable { name: "in memory".into(), detail: "the process is killed".into() })
        }
        _ => Ok(()),
    };
    let changelog = Box::new(Asking { changelog: changelogs.writer(), ask });
    let standing = Replica::open(&ground(&store, &log), scope(), changelog, None, false).unwrap();
    let world = World { store: store.clone(), log: log.clone(), changelogs: changelogs.clone(), replica: standing };
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let ends = (0..3).fold(Ends::new(), |_, round| epoch(&world, &format!("frame {round}")));
    assert!(replica.set(world.replica.clone()).is_ok());
    world.replica.release("out", 10).unwrap();
    assert!(world.replica.flush().is_err());
    assert_eq!(world.log.read("out", 0, 1).map(|frames| frames.len()), Ok(1));
    let again = opened(&changelogs, store, log).unwrap();
    again.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(again.replica.release("out", 30), Ok(()));
    again.replica.flush().unwrap();
    assert_eq!(frames_of(&changelogs, "out"), 0);
}

#[test]
fn records_that_are_gone_here_keep_nobody_from_letting_go_of_the_rest() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let ends = (0..3).fold(Ends::new(), |_, round| epoch(&world, &format!("frame {round}")));
    world.log.release("out", 10).unwrap();
    let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
    again.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(again.replica.release("out", 30), Ok(()));
    again.replica.flush().unwrap();
    assert_eq!(frames_of(&world.changelogs, "out"), 1);
}

/// Frames of a topic that the changelog keeps for ever.
fn frames_of(changelogs: &MemoryChangelogs, topic: &str) -> usize {
    changelogs.compact();
    let (mut reader, mut frames) = (changelogs.writer(), 0);
    let span = reader.look().unwrap();
    let own = |key: &[u8]| key.first() == Some(&FRAME) && key[3..].starts_with(topic.as_bytes());
    let mut count = |_: u64, key: &[u8], _: Option<&[u8]>| {
        frames += usize::from(own(key));
        Ok(())
    };
    reader.read(span.oldest, span.end, &mut count).unwrap();
    frames
}

/// The books and the dead letters of a run are never let go of, and a sink may be away for days.
#[test]
fn what_is_remembered_of_frames_is_bounded_and_all_are_let_go_of() {
    const EPOCHS: u64 = 10_000;
    let world = new();
    world.replica.recover(&["out", "ledger"], &Ends::new()).unwrap();
    for epoch in 0..EPOCHS {
        for topic in ["ledger", "out"] {
            world.replica.append(topic, NewFrame { count: 3, time: 5, body: b"an entry".to_vec() }).unwrap();
        }
        let ends = world.replica.prepare(&["ledger".to_owned(), "out".to_owned()]).unwrap();
        world.replica.apply(put("checkpoint", &epoch.to_string())).unwrap();
        world.replica.flush().unwrap();
        world.replica.commit(epoch, &ends).unwrap();
    }
    let remembered = |topic| world.replica.state().topics.remembered(topic);
    assert!(remembered("ledger") <= 1024 && remembered("out") <= 1024, "{}", remembered("ledger"));
    for next in (0..=EPOCHS * 3).step_by(1000) {
        world.replica.release("out", next).unwrap();
    }
    world.replica.flush().unwrap();
    assert_eq!((frames_of(&world.changelogs, "out"), remembered("out")), (0, 0));
    assert_eq!(frames_of(&world.changelogs, "ledger") as u64, EPOCHS);
}

fn frames(count: u32, bodies: &[&str]) -> Vec<NewFrame> {
    bodies.iter().map(|body| NewFrame { count, time: 5, body: body.as_bytes().to_vec() }).collect()
}

fn read(world: &World<MemoryChangelogs>, topic: &str, from: u64) -> Vec<String> {
    let frames = crate::log::conformance::read_all(&*world.replica, topic, from);
    frames.into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect()
}

/// A pipeline that is started over now and then, on a machine that cannot tell what it had: what each life left lies between the others'.
#[test]
fn what_is_left_of_several_lives_keeps_nobody_from_the_newest() {
    let world = new();
    let mut ends = Ends::new();
    for (life, (count, released)) in [(10, 1), (7, 3), (5, 1)].into_iter().enumerate() {
        world.replica.recover(&["out"], &Ends::new()).unwrap();
        for round in 0..4 {
            let body = format!("{round} of life {life}");
            ends = conformance::epoch_of(&world, frames(count, &[&body]).remove(0));
        }
        world.replica.release("out", u64::from(count * released)).unwrap();
        world.replica.flush().unwrap();
        if life < 2 {
            world.log.begin("out", 40).unwrap();
        }
    }
    world.changelogs.compact();
    let again = opened(&world.changelogs, Arc::default(), Arc::default()).unwrap();
    again.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(read(&again, "out", 5), ["1 of life 2", "2 of life 2", "3 of life 2"]);
}

#[test]
fn what_was_before_a_topic_was_emptied_goes_from_the_changelog() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    (0..3).for_each(|round| drop(epoch(&world, &format!("of the past {round}"))));
    world.replica.publish("out of a sink", frames(1, &["a", "b"])).unwrap();
    let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
    again.replica.recover(&["out"], &Ends::new()).unwrap();
    again.replica.apply(put("checkpoint", "0")).unwrap();
    again.replica.flush().unwrap();
    assert_eq!(frames_of(&again.changelogs, "out"), 0);
}

/// A pipeline went back, and its next frames are larger than those that were undone, whose keys are not written again.
#[test]
fn what_was_undone_is_not_found_between_what_follows() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let then = conformance::epoch_of(&world, frames(4, &["stays"]).remove(0));
    let mut now = then.clone();
    for body in ["undone 0", "undone 1", "undone 2"] {
        now = conformance::epoch_of(&world, frames(1, &[body]).remove(0));
    }
    let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
    again.replica.undo(&then, &now).unwrap();
    again.replica.recover(&["out"], &then).unwrap();
    let ends = conformance::epoch_of(&again, frames(10, &["follows"]).remove(0));
    again.changelogs.compact();
    let other = opened(&again.changelogs, Arc::default(), Arc::default()).unwrap();
    other.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(read(&other, "out", 0), ["stays", "follows"]);
}

/// The frames were cut off here already, and the changelog had not heard of it: the way back has to find them once more.
#[test]
fn who_dies_on_the_way_back_finds_what_was_undone_and_undoes_it_again() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let then = epoch(&world, "stays");
    let now = epoch(&world, "undone");
    let whole = read(&world, "out", 0);
    let go_back = |world: &World<MemoryChangelogs>| {
        world.replica.undo(&then, &now).unwrap();
        world.replica.recover(&["out"], &then).unwrap();
    };
    go_back(&world);
    let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
    again.replica.recover(&["out"], &now).unwrap();
    assert_eq!(read(&again, "out", 0), whole);
    let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
    go_back(&again);
    again.replica.apply(put("a", "back")).unwrap();
    again.replica.flush().unwrap();
    for (store, log) in [(world.store.clone(), world.log.clone()), Default::default()] {
        let last = opened(&world.changelogs, store, log).unwrap();
        last.replica.recover(&["out"], &then).unwrap();
        assert_eq!(read(&last, "out", 0), whole[..1]);
    }
}

/// The folder of the log was deleted by hand, so nobody could say that the topic was emptied.
#[test]
fn what_is_published_after_the_log_was_lost_is_there_on_a_new_machine() {
    let world = new();
    world.replica.publish("sink", frames(10, &["of the past 0", "of the past 1"])).unwrap();
    world.log.recover(&[""], &Ends::new()).unwrap();
    world.replica.publish("sink", frames(3, &["new"])).unwrap();
    world.changelogs.compact();
    let again = opened(&world.changelogs, Arc::default(), Arc::default()).unwrap();
    assert_eq!(read(&again, "sink", 0), ["new"]);
}

/// With Kafka each of these once made a client of its own, several in a second.
#[test]
fn a_copy_that_stands_by_reads_what_is_new_and_nothing_else() {
    let world = new();
    let reads = Arc::new(AtomicUsize::new(0));
    let (store, log) = <(Arc<MemoryStore>, Arc<MemoryLog>)>::default();
    let counted = reads.clone();
    let ask = move |call| {
        if let Call::Read { from, end } = call {
            counted.fetch_add(usize::from(from < end), Ordering::Relaxed);
        }
        Ok(())
    };
    let changelog = Asking { changelog: world.changelogs.writer(), ask };
    let mut copy = Follower::new(scope(), Box::new(changelog));
    for round in 0..10 {
        world.replica.apply(put("a", &round.to_string())).unwrap();
        world.replica.flush().unwrap();
        copy.follow(&ground(&store, &log)).unwrap();
        copy.follow(&ground(&store, &log)).unwrap();
        assert_eq!(store.get(b"a"), Ok(Some(round.to_string().into_bytes())));
    }
    // And once for whose it is.
    assert_eq!(reads.load(Ordering::Relaxed), 11);
}

/// The copy's place once went past what was being shown: after a kill there it was one frame short for ever.
#[test]
fn what_a_kill_keeps_from_being_shown_is_shown_by_the_next_start() {
    for seed in 0..8 {
        let world = new();
        world.replica.publish("sink", frames(1, &["a"])).unwrap();
        // It is asked where the topic ends; then comes the frame.
        world.log.fail_after(1, LogError::Crashed);
        assert!(world.replica.publish("sink", frames(1, &["b"])).is_err());
        world.store.flush().unwrap();
        world.log.crash(seed);
        let again = opened(&world.changelogs, world.store.clone(), world.log.clone()).unwrap();
        assert_eq!(read(&again, "sink", 0), ["a", "b"], "seed {seed}");
    }
}

#[test]
fn what_was_published_is_restored_with_a_few_syncs() {
    let world = new();
    let bodies: Vec<String> = (0..1000).map(|number| format!("refused {number}")).collect();
    for body in &bodies {
        world.replica.publish("sink", frames(2, &[body])).unwrap();
    }
    let (store, log) = <(Arc<MemoryStore>, Arc<MemoryLog>)>::default();
    // Of the log, and one call of it is one sync.
    log.fail_after(20, LogError::Crashed);
    let again = opened(&world.changelogs, store, log).unwrap();
    // From here on it may be called as often as one likes.
    again.log.crash(0);
    assert_eq!(read(&again, "sink", 0), bodies);
}
