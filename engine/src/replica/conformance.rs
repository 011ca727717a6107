//! What every changelog must do for the replica that stands on it, which is a store and a log like others, also when the machine is another one
//! after each crash. The suite panics with what it saw when one breaks the contract.

use std::sync::Arc;

use super::{Replica, Scope};
use crate::{
    changelog::{Changelog, ChangelogError, memory::MemoryChangelogs},
    checkpoint,
    clock::{SeededRng, VirtualClock},
    log::{self, CommitError, End, Ends, Event, Frame, Log, LogError, NewFrame, memory::MemoryLog},
    runtime::Ground,
    store::{self, Changes, StateStore, StoreError, memory::MemoryStore},
};

/// Where changelogs are kept: one of them, which several processes open in turn.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// One more process that writes it.
    fn writer(&self) -> Box<dyn Changelog>;

    /// Throws away what no longer holds. False: it does so when it finds the time.
    fn compact(&self) -> bool;
}

impl Cluster for MemoryChangelogs {
    fn writer(&self) -> Box<dyn Changelog> {
        Box::new(MemoryChangelogs::writer(self))
    }

    fn compact(&self) -> bool {
        MemoryChangelogs::compact(self);
        true
    }
}

/// How much of it is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each test, on a new machine, and without the many crashes of a log: enough where all calls go to brokers, which take their time.
    Once,
    /// Each test, on each kind of machine.
    Full,
}

impl Extent {
    fn machines(self) -> &'static [Machine] {
        match self {
            Self::Once => &[Machine::New],
            Self::Full => &[Machine::Same, Machine::New, Machine::Compacted],
        }
    }

    /// Of topics that are emptied: records of a frame of before, frames of now that are let go of. Numbers of before lie between those of
    /// now, and at the same places.
    fn lives(self) -> &'static [(u32, u64)] {
        const ALL: &[(u32, u64)] = &[(10, 2), (2, 4), (10, 0), (10, 1), (10, 3), (10, 4), (2, 2)];
        if self == Self::Full { ALL } else { &ALL[..2] }
    }
}

/// Runs everything. `empty` gives a changelog in which nothing was ever written.
pub fn all<C: Cluster>(mut empty: impl FnMut() -> C) {
    stores(Extent::Full, &mut empty);
    logs(Extent::Full, &mut empty);
    histories(Extent::Full, &mut empty);
}

/// What stands on it is a store.
pub fn stores<C: Cluster>(extent: Extent, mut empty: impl FnMut() -> C) {
    for machine in extent.machines() {
        store::conformance::all(|| new(&empty()), |world| crash(world, *machine));
    }
}

/// What stands on it is a log.
pub fn logs<C: Cluster>(extent: Extent, mut empty: impl FnMut() -> C) {
    if extent == Extent::Once {
        return log::conformance::uninterrupted(|| new(&empty()));
    }
    for machine in extent.machines().iter().filter(|machine| **machine != Machine::Compacted) {
        log::conformance::all(|| new(&empty()), |world| crash(world, *machine));
    }
}

/// What only something that stands on a changelog has to do.
pub fn histories<C: Cluster>(extent: Extent, mut empty: impl FnMut() -> C) {
    let mut new = || new(&empty());
    for machine in extent.machines() {
        what_is_let_go_of_is_gone_from_the_changelog_and_numbers_go_on_where_they_were(new(), *machine);
        a_topic_that_is_emptied_stays_empty(new(), *machine);
        for (past, released) in extent.lives() {
            for lost in [true, false] {
                what_was_before_a_topic_was_emptied_is_never_taken_for_its_records(
                    new(),
                    *machine,
                    *past,
                    *released,
                    lost,
                );
            }
        }
    }
    frames_go_with_the_checkpoint_that_names_them_and_not_before(new());
    a_body_larger_than_a_record_is_whole_again(new());
    who_comes_second_writes_and_who_was_first_writes_nothing_more(new());
    a_copy_that_lost_its_newest_frames_is_made_anew(new());
    a_copy_that_is_too_old_is_made_anew(new());
    let world = new();
    a_copy_of_another_one_is_not_mixed_with_it(world, &empty());
    what_does_not_begin_as_a_changelog_is_left_alone(&empty());
    a_folder_with_state_of_its_own_and_a_changelog_are_not_mixed(&empty());
}

fn new<C: Cluster>(empty: &C) -> World<C> {
    opened(empty, Arc::default(), Arc::default()).unwrap()
}

/// What becomes of the machine in a crash.
#[derive(Clone, Copy, PartialEq)]
enum Machine {
    Same,
    New,
    /// A new one, and the brokers have thrown away what no longer holds.
    Compacted,
}

pub(super) struct World<C: Cluster> {
    pub(super) store: Arc<MemoryStore>,
    pub(super) log: Arc<MemoryLog>,
    pub(super) changelogs: C,
    pub(super) replica: Arc<Replica>,
}

/// Everything in it is the task's.
pub(super) fn scope() -> Scope {
    let place = checkpoint::place_key("p");
    Scope { place, checkpoint: b"checkpoint".to_vec(), keys: vec![], prefixes: vec![vec![]], topics: String::new() }
}

pub(super) fn ground(store: &Arc<MemoryStore>, log: &Arc<MemoryLog>) -> Ground {
    let clock = Arc::new(VirtualClock::at(0));
    Ground { store: store.clone(), log: log.clone(), clock, rng: Arc::new(SeededRng::from_seed(1)) }
}

pub(super) fn opened<C: Cluster>(
    changelogs: &C,
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
) -> Result<World<C>, StoreError> {
    let changelog = changelogs.writer();
    let replica = Replica::open(&ground(&store, &log), scope(), changelog, None, false)?;
    Ok(World { store, log, changelogs: changelogs.clone(), replica })
}

fn crash<C: Cluster>(world: World<C>, machine: Machine) -> World<C> {
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

impl<C: Cluster> StateStore for World<C> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.replica.get(key)
    }

    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.replica.scan_all(prefixes, each)
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
impl<C: Cluster> Log for World<C> {
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

pub(super) fn put(key: &str, value: &str) -> Changes {
    let mut changes = Changes::default();
    changes.put(key, value);
    changes
}

fn frame(body: &str) -> NewFrame {
    NewFrame { count: 10, time: 5, body: body.as_bytes().to_vec() }
}

/// One epoch: a frame, and the checkpoint that names it.
pub(super) fn epoch(world: &World<impl Cluster>, body: &str) -> Ends {
    epoch_of(world, frame(body))
}

pub(super) fn epoch_of(world: &World<impl Cluster>, frame: NewFrame) -> Ends {
    world.replica.append("out", frame).unwrap();
    let ends = world.replica.prepare(&["out".to_owned()]).unwrap();
    world.replica.apply(put("checkpoint", &ends["out"].offset.to_string())).unwrap();
    world.replica.flush().unwrap();
    world.replica.commit(1, &ends).unwrap();
    ends
}

fn bodies(world: &World<impl Cluster>, from: u64) -> Vec<String> {
    let frames = log::conformance::read_all(&*world.replica, "out", from);
    frames.into_iter().map(|frame| String::from_utf8(frame.body).unwrap()).collect()
}

fn what_is_let_go_of_is_gone_from_the_changelog_and_numbers_go_on_where_they_were<C: Cluster>(
    mut world: World<C>,
    machine: Machine,
) {
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
    // What nobody has thrown away yet, a new machine gets too.
    let gone = matches!(world.log.read("out", 0, 1), Err(LogError::Gone { .. }));
    assert!(gone || !world.changelogs.compact());
    epoch(&world, "next");
    assert_eq!(bodies(&world, 60), ["next"]);
}

fn frames_go_with_the_checkpoint_that_names_them_and_not_before(world: World<impl Cluster>) {
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

fn a_body_larger_than_a_record_is_whole_again(world: World<impl Cluster>) {
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let body = "0123456789".repeat(200_000);
    let ends = epoch(&world, &body);
    let world = crash(world, Machine::New);
    world.replica.recover(&["out"], &ends).unwrap();
    assert_eq!(bodies(&world, 0), [body]);
}

fn a_topic_that_is_emptied_stays_empty(world: World<impl Cluster>, machine: Machine) {
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    epoch(&world, "of the past");
    epoch(&world, "of the past, too");
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let ends = epoch(&world, "new");
    let world = crash(world, machine);
    world.replica.recover(&["out"], &ends).unwrap();
    assert_eq!((bodies(&world, 0), world.replica.end("out")), (vec!["new".to_owned()], Ok(10)));
}

/// Frames of another size, under numbers that the older ones have too. `lost`: this machine does not know any more which they were.
fn what_was_before_a_topic_was_emptied_is_never_taken_for_its_records<C: Cluster>(
    mut world: World<C>,
    machine: Machine,
    past: u32,
    released: u64,
    lost: bool,
) {
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    for round in 0..40 / past {
        epoch_of(&world, NewFrame { count: past, ..frame(&format!("of the past {round}")) });
    }
    world.replica.release("out", 10).unwrap();
    world.replica.flush().unwrap();
    if lost {
        world.log.begin("out", 40).unwrap();
    }
    world.replica.recover(&["out"], &Ends::new()).unwrap();
    let mut ends = Ends::new();
    for round in 0..4 {
        ends = epoch_of(&world, NewFrame { count: 7, ..frame(&format!("new {round}")) });
    }
    world.replica.release("out", 7 * released).unwrap();
    world.replica.flush().unwrap();
    for _ in 0..2 {
        world = crash(world, machine);
        world.replica.recover(&["out"], &ends).unwrap();
        let kept: Vec<String> = (released..4).map(|round| format!("new {round}")).collect();
        assert_eq!((bodies(&world, 7 * released), world.replica.end("out")), (kept, Ok(28)));
        // Who asks for what was let go of gets it, or hears that it is gone.
        for from in 0..7 * released {
            let before = world.replica.read("out", from, usize::MAX).unwrap_or_default();
            assert!(before.iter().all(|frame| frame.body.starts_with(b"new")), "from {from}: {before:?}");
        }
    }
    epoch(&world, "next");
    assert_eq!(bodies(&world, 28), ["next"]);
}

fn who_comes_second_writes_and_who_was_first_writes_nothing_more(first: World<impl Cluster>) {
    first.replica.apply(put("a", "1")).unwrap();
    first.replica.flush().unwrap();
    let second = opened(&first.changelogs, Arc::default(), Arc::default()).unwrap();
    first.replica.apply(put("a", "2")).unwrap();
    let fenced = first.replica.flush();
    assert!(matches!(fenced, Err(StoreError::Changelog(ChangelogError::Fenced { .. }))), "{fenced:?}");
    assert_eq!((first.replica.apply(put("a", "3")), first.replica.flush()), (fenced.clone(), fenced.clone()));
    assert_eq!(first.replica.get(b"a").map(|_| ()), fenced);
    // Its copy has nothing of it either.
    assert_eq!(first.store.get(b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(second.replica.get(b"a"), Ok(Some(b"1".to_vec())));
}

fn a_folder_with_state_of_its_own_and_a_changelog_are_not_mixed(changelogs: &impl Cluster) {
    let store = Arc::new(MemoryStore::new());
    store.apply(put("checkpoint", "of its own")).unwrap();
    let foreign = opened(changelogs, store, Arc::default()).err();
    assert!(matches!(foreign, Some(StoreError::Changelog(ChangelogError::Foreign { .. }))), "{foreign:?}");
}

/// Where a process finds other numbers by chance, and another time.
fn elsewhere(seed: u64, hours: i64, world: (&Arc<MemoryStore>, &Arc<MemoryLog>)) -> Ground {
    let clock = Arc::new(VirtualClock::at(hours * 3_600_000_000));
    Ground { clock, rng: Arc::new(SeededRng::from_seed(seed)), ..ground(world.0, world.1) }
}

/// Removed keys may be gone from a changelog after a day: an old copy has them still.
fn a_copy_that_is_too_old_is_made_anew(world: World<impl Cluster>) {
    world.replica.apply(put("a", "1")).unwrap();
    world.replica.flush().unwrap();
    world.store.apply(put("removed meanwhile", "1")).unwrap();
    for (hours, is_there) in [(11, true), (23, false)] {
        // A process that has nothing to read leaves the time of its copy as it was.
        let ground = elsewhere(1, hours, (&world.store, &world.log));
        let replica = Replica::open(&ground, scope(), world.changelogs.writer(), None, false).unwrap();
        assert_eq!(replica.get(b"removed meanwhile").unwrap().is_some(), is_there, "after {hours} hours");
        assert_eq!(replica.get(b"a"), Ok(Some(b"1".into())));
    }
}

/// Under the same name, and longer.
fn a_copy_of_another_one_is_not_mixed_with_it(world: World<impl Cluster>, another: &impl Cluster) {
    world.replica.apply(put("a", "1")).unwrap();
    world.replica.flush().unwrap();
    let (store, log) = <(Arc<MemoryStore>, Arc<MemoryLog>)>::default();
    let ground = elsewhere(2, 0, (&store, &log));
    let other = Replica::open(&ground, scope(), another.writer(), None, false).unwrap();
    for round in 0..5 {
        other.apply(put("b", &round.to_string())).unwrap();
        other.flush().unwrap();
    }
    drop(other);
    let foreign = opened(another, world.store.clone(), world.log.clone()).err();
    assert!(matches!(foreign, Some(StoreError::Changelog(ChangelogError::Foreign { .. }))), "{foreign:?}");
    assert_eq!(world.store.get(b"a"), Ok(Some(b"1".into())));
}

fn what_does_not_begin_as_a_changelog_is_left_alone(changelogs: &impl Cluster) {
    let mut theirs = changelogs.writer();
    theirs.open().unwrap();
    theirs.write(&[(b"k".to_vec(), Some(b"of somebody else".to_vec()))], &[]).unwrap();
    let damaged = opened(changelogs, Arc::default(), Arc::default()).err();
    assert!(matches!(damaged, Some(StoreError::Changelog(ChangelogError::Damaged { .. }))), "{damaged:?}");
}

fn a_copy_that_lost_its_newest_frames_is_made_anew(world: World<impl Cluster>) {
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
fn epoch_elsewhere(world: &World<impl Cluster>, ends: &mut Ends) {
    let other = opened(&world.changelogs, Arc::default(), Arc::default()).unwrap();
    other.replica.recover(&["out"], ends).unwrap();
    *ends = epoch(&other, "elsewhere");
}
