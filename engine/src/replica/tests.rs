//! A replica is a store and a log like others, also when the machine is another one after each crash.

use std::sync::Arc;

use super::{Replica, Scope};
use crate::{
    changelog::{ChangelogError, memory::MemoryChangelogs},
    checkpoint,
    clock::{SeededRng, VirtualClock},
    log::{self, CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame, memory::MemoryLog},
    runtime::Ground,
    store::{self, Changes, StateStore, StoreError, memory::MemoryStore},
};

/// What becomes of the machine in a crash.
#[derive(Clone, Copy, PartialEq)]
enum Machine {
    Same,
    New,
    /// A new one, and the brokers have thrown away what no longer holds.
    Compacted,
}

struct World {
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
    changelogs: MemoryChangelogs,
    replica: Arc<Replica>,
}

/// Everything in it is the task's.
fn scope() -> Scope {
    let place = checkpoint::place_key("p");
    Scope { place, checkpoint: b"checkpoint".to_vec(), keys: vec![], prefixes: vec![vec![]], topics: String::new() }
}

fn ground(store: &Arc<MemoryStore>, log: &Arc<MemoryLog>) -> Ground {
    let clock = Arc::new(VirtualClock::at(0));
    Ground { store: store.clone(), log: log.clone(), clock, rng: Arc::new(SeededRng::from_seed(1)) }
}

fn opened(changelogs: &MemoryChangelogs, store: Arc<MemoryStore>, log: Arc<MemoryLog>) -> Result<World, StoreError> {
    let changelog = Box::new(changelogs.writer());
    let replica = Replica::open(&ground(&store, &log), scope(), changelog, None, false)?;
    Ok(World { store, log, changelogs: changelogs.clone(), replica })
}

fn new() -> World {
    opened(&MemoryChangelogs::default(), Arc::default(), Arc::default()).unwrap()
}

fn crash(world: World, machine: Machine) -> World {
    let World { store, log, changelogs, replica } = world;
    drop(replica);
    if machine == Machine::Compacted {
        changelogs.compact();
    }
    let (store, log) = match machine {
        Machine::Same => (store, log),
        Machine::New | Machine::Compacted => Default::default(),
    };
    store.crash(7);
    log.crash(7);
    opened(&changelogs, store, log).unwrap()
}

impl StateStore for World {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.replica.get(key)
    }

    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.replica.scan(prefix, each)
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.replica.apply(changes)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.replica.flush()
    }

    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.replica.wipe(prefix)
    }

    fn size_on_disk(&self) -> u64 {
        self.replica.size_on_disk()
    }
}

/// What is prepared is durable at once here, as no checkpoint follows.
impl Log for World {
    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError> {
        self.replica.recover(prefixes, ends)
    }

    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError> {
        self.replica.append(topic, frame)
    }

    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError> {
        let ends = self.replica.prepare(topics)?;
        Replica::seal(&mut self.replica.state());
        self.replica.flush().expect("the changelog takes it");
        Ok(ends)
    }

    fn commit(&self, epoch: u64, ends: &Ends) -> Result<(), CommitError> {
        self.replica.commit(epoch, ends)
    }

    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError> {
        self.replica.publish(topic, frames)
    }

    fn read(&self, topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError> {
        self.replica.read(topic, from, max_bytes)
    }

    fn end(&self, topic: &str) -> Result<u64, LogError> {
        self.replica.end(topic)
    }

    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError> {
        self.replica.bytes(topic, from)
    }

    fn release(&self, topic: &str, below: u64) -> Result<(), LogError> {
        self.replica.release(topic, below)
    }

    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError> {
        self.replica.begin(topic, offset)
    }

    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        self.replica.topics(prefix)
    }

    fn events(&self) -> Vec<Event> {
        self.replica.events()
    }
}

#[test]
fn it_is_a_store_on_the_same_machine_and_on_another_one() {
    for machine in [Machine::Same, Machine::New, Machine::Compacted] {
        store::conformance::all(new, |world| crash(world, machine));
    }
}

#[test]
fn it_is_a_log_on_the_same_machine_and_on_another_one() {
    for machine in [Machine::Same, Machine::New] {
        log::conformance::all(new, |world| crash(world, machine));
    }
}

fn put(key: &str, value: &str) -> Changes {
    let mut changes = Changes::default();
    changes.put(key, value);
    changes
}

fn frame(body: &str) -> NewFrame {
    NewFrame { count: 10, time: 5, body: body.as_bytes().to_vec() }
}

/// One epoch: a frame, and the checkpoint that names it.
fn epoch(world: &World, body: &str) -> Ends {
    world.replica.append("out", frame(body)).unwrap();
    let ends = world.replica.prepare(&["out".to_owned()]).unwrap();
    world.replica.apply(put("checkpoint", &ends["out"].offset.to_string())).unwrap();
    world.replica.flush().unwrap();
    world.replica.commit(1, &ends).unwrap();
    ends
}

fn bodies(world: &World, from: u64) -> Vec<String> {
    let frames = log::conformance::read_all(&*world.replica, "out", from);
    frames.into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect()
}

#[test]
fn what_is_let_go_of_is_gone_from_the_changelog_and_numbers_go_on_where_they_were() {
    for machine in [Machine::Same, Machine::New, Machine::Compacted] {
        let mut world = new();
        world.replica.recover(&["out"], &Ends::new()).unwrap();
        let mut ends = Ends::new();
        for round in 0..6 {
            ends = epoch(&world, &format!("frame {round}"));
            world.replica.release("out", round * 10).unwrap();
        }
        world.replica.flush().unwrap();
        world = crash(world, machine);
        world.replica.recover(&["out"], &ends).unwrap();
        assert_eq!((world.replica.end("out"), bodies(&world, 50)), (Ok(60), vec!["frame 5".to_owned()]));
        // The rest, written by a process that is gone: also then nothing stays in the changelog for ever.
        world.replica.release("out", 60).unwrap();
        world.replica.flush().unwrap();
        world = crash(world, Machine::Compacted);
        world.replica.recover(&["out"], &ends).unwrap();
        assert_eq!((world.replica.end("out"), bodies(&world, 60)), (Ok(60), vec![]));
        assert_eq!(world.log.read("out", 0, 1).map_err(|error| matches!(error, LogError::Gone { .. })), Err(true));
        epoch(&world, "next");
        assert_eq!(bodies(&world, 60), ["next"]);
    }
}

#[test]
fn frames_go_with_the_checkpoint_that_names_them_and_not_before() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let ends = epoch(&world, "committed");
    world.replica.append("out", frame("open")).unwrap();
    world.replica.prepare(&["out".to_owned()]).unwrap();
    // A sink's thread notes how far it is, meanwhile.
    world.replica.apply(put("delivered", "10")).unwrap();
    world.replica.flush().unwrap();
    let world = crash(world, Machine::New);
    assert_eq!(world.log.prepare(&["out".to_owned()]).unwrap()["out"].offset, 10);
    world.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(
        (bodies(&world, 0), world.replica.get(b"delivered")),
        (vec!["committed".into()], Ok(Some(b"10".into())))
    );
}

#[test]
fn a_body_larger_than_a_record_is_whole_again() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let body = "0123456789".repeat(200_000);
    let ends = epoch(&world, &body);
    let world = crash(world, Machine::New);
    world.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(bodies(&world, 0), [body]);
}

#[test]
fn a_topic_that_is_emptied_stays_empty() {
    for machine in [Machine::Same, Machine::New, Machine::Compacted] {
        let world = new();
        world.replica.recover(&["out"], &Ends::new()).unwrap();
        epoch(&world, "of the past");
        epoch(&world, "of the past, too");
        world.replica.recover(&["out"], &Ends::new()).unwrap();
        let ends = epoch(&world, "new");
        let world = crash(world, machine);
        world.replica.recover(&["out"], &ends).unwrap();
        assert_eq!((bodies(&world, 0), world.replica.end("out")), (vec!["new".to_owned()], Ok(10)));
    }
}

#[test]
fn who_comes_second_writes_and_who_was_first_writes_nothing_more() {
    let first = new();
    first.replica.apply(put("a", "1")).unwrap();
    first.replica.flush().unwrap();
    let second = opened(&first.changelogs, Arc::default(), Arc::default()).unwrap();
    first.replica.apply(put("a", "2")).unwrap();
    let fenced = Err(StoreError::Changelog(ChangelogError::Fenced { name: "in memory".to_owned() }));
    assert_eq!(first.replica.flush(), fenced);
    assert_eq!((first.replica.apply(put("a", "3")), first.replica.flush()), (fenced.clone(), fenced.clone()));
    assert_eq!(first.replica.get(b"a").map(|_| ()), fenced);
    // Its copy has nothing of it either.
    assert_eq!(first.store.get(b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(second.replica.get(b"a"), Ok(Some(b"1".to_vec())));
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

#[test]
fn a_folder_with_state_of_its_own_and_a_changelog_are_not_mixed() {
    let changelogs = MemoryChangelogs::default();
    let store = Arc::new(MemoryStore::new());
    store.apply(put("checkpoint", "of its own")).unwrap();
    let foreign = opened(&changelogs, store, Arc::default()).err();
    assert!(matches!(foreign, Some(StoreError::Changelog(ChangelogError::Foreign { .. }))), "{foreign:?}");
}

#[test]
fn a_copy_that_lost_its_newest_frames_is_made_anew() {
    let world = new();
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let mut ends = Ends::new();
    for round in 0..3 {
        ends = epoch(&world, &format!("frame {round}"));
    }
    // The power was cut: the log of this machine ends earlier than its store says.
    world.log.recover(&[], &Ends::from([("out".to_owned(), End::at(10))])).unwrap();
    epoch_elsewhere(&world, &mut ends);
    let world = crash(world, Machine::Same);
    world.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(bodies(&world, 0), ["frame 0", "frame 1", "frame 2", "elsewhere"]);
}

/// Another machine took over for an epoch.
fn epoch_elsewhere(world: &World, ends: &mut Ends) {
    let other = opened(&world.changelogs, Arc::default(), Arc::default()).unwrap();
    other.replica.recover(&["out"], ends).unwrap();
    *ends = epoch(&other, "elsewhere");
}
