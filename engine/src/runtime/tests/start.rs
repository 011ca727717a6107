//! The start of a job: edits that would lose state, starting over, and what a damaged store may not do.

use std::time::Duration;

use syncline_record::{
    Fate, StepId,
    schedule::{Missed, Schedule, Timing},
};

use crate::{
    checkpoint::{self, Checkpoint, KEPT_RUNS, RunState},
    clock::Rng,
    firing::{self, Firing},
    log::Log,
    runtime::{
        Turn,
        commit::close_run,
        job::{Backlog, Job, JobSpec},
        start::{Loss, StartError, StartOptions},
    },
    simulation::{lock, pipeline::NAME, world::World},
    store::{Changes, StateStore},
};

fn world() -> World {
    let world = World::new(7, 100, None);
    let mut input = lock(&world.input);
    input.arrived = 60;
    drop(input);
    world
}

fn start(world: &World) -> Result<Job, StartError> {
    Job::start(world.ground(), world.spec(), &StartOptions::default())
}

fn drain(job: &mut Job) {
    while job.turn().expect("no trouble") == Turn::Worked {}
    job.commit(false).expect("no trouble");
}

/// A start of the pipeline whose `dedup` has another window.
fn start_edited(world: &World, drop_state: &[&str]) -> Result<Job, StartError> {
    let mut spec = world.spec();
    spec.plan = "edited".into();
    for node in &mut spec.graph.nodes {
        if node.id.as_str() == "dedup" {
            node.state = Some(77);
        }
    }
    let drop_state = drop_state.iter().map(StepId::new).collect();
    Job::start(world.ground(), spec, &StartOptions { drop_state, ..StartOptions::default() })
}

fn segments(world: &World, step: &str) -> usize {
    let mut found = 0;
    let prefix = crate::segment::prefix(NAME, &StepId::new(step));
    world
        .store
        .scan(&prefix, &mut |_, _| {
            found += 1;
            true
        })
        .expect("no trouble");
    found
}

#[test]
fn an_edit_that_would_lose_state_is_refused_and_changes_nothing() {
    let world = world();
    let mut job = start(&world).unwrap();
    drain(&mut job);
    let keys = job.checkpoint().states[&StepId::new("dedup")].size.keys;
    assert!(keys > 0);
    drop(job);
    let Err(StartError::StateWouldBeLost { losses, .. }) = start_edited(&world, &[]) else { panic!("it started") };
    assert_eq!(losses, [Loss { step: "dedup".into(), keys, changed: true, undelivered: 0 }]);
    let again = start(&world).unwrap();
    assert_eq!(again.checkpoint().states[&StepId::new("dedup")].size.keys, keys);
}

#[test]
fn rows_that_wait_for_a_sink_that_an_edit_took_away_are_told() {
    let world = world();
    let mut job = start(&world).expect("a first start");
    drain(&mut job);
    let (step, topic) = job.outboxes().remove(0);
    drop(job);
    let waiting = world.ground().log.end(&topic).expect("a topic");
    let edited = |drop_state: Vec<StepId>| {
        let mut spec = world.spec();
        let node = spec.graph.nodes.iter_mut().find(|node| node.id == step).expect("the sink");
        node.id = StepId::new("renamed");
        Job::start(world.ground(), spec, &StartOptions { drop_state, ..StartOptions::default() })
    };
    let Err(StartError::StateWouldBeLost { losses, .. }) = edited(vec![]) else { panic!("not told") };
    assert_eq!(losses, [Loss { step: step.clone(), keys: 0, changed: false, undelivered: waiting }]);
    assert!(edited(vec![step.clone()]).is_ok());
}

/// The note of dropped state stayed until the first commit: a start that died before it asked for permission again, and one with
/// the old file believed in state that was gone.
#[test]
fn dropped_state_is_dropped_with_the_start_that_was_allowed_to() {
    let world = world();
    drain(&mut start(&world).unwrap());
    let edited = start_edited(&world, &["dedup"]).unwrap();
    assert_eq!((segments(&world, "dedup"), edited.checkpoint().states.len()), (0, 1));
    assert!(segments(&world, "newest") > 0);
    drop(edited);
    world.crash();
    assert!(start_edited(&world, &[]).is_ok());
    let back = start(&world).unwrap();
    assert!(!back.checkpoint().states.contains_key(&StepId::new("dedup")));
}

#[test]
fn a_run_that_was_killed_before_an_edit_is_over() {
    let world = world();
    drain(&mut start(&world).unwrap());
    world.crash();
    let edited = start_edited(&world, &["dedup"]).unwrap();
    let killed: checkpoint::Run = checkpoint::read(&*world.store, &checkpoint::run_key(NAME, 1)).unwrap().unwrap();
    assert_eq!((killed.state, killed.reason.as_deref()), (RunState::Stopped, Some("the pipeline was edited")));
    assert_eq!((edited.run().run, edited.run().attempt), (2, 1));
}

/// Everything that began with the same letters was wiped: `orders` took `orders_clean` with it.
#[test]
fn starting_over_leaves_the_neighbours_alone() {
    let world = world();
    drain(&mut start(&world).unwrap());
    let neighbour = format!("{NAME}_clean");
    let mut changes = Changes::default();
    checkpoint::put(
        &mut changes,
        checkpoint::checkpoint_key(&neighbour),
        &Checkpoint { epoch: 9, ..Checkpoint::default() },
    );
    world.store.apply(changes).unwrap();
    let job =
        Job::start(world.ground(), world.spec(), &StartOptions { fresh: true, ..StartOptions::default() }).unwrap();
    assert_eq!((job.epoch(), job.checkpoint().fence), (0, 2));
    assert_eq!(checkpoint::read_checkpoint(&*world.store, &neighbour).unwrap().map(|found| found.epoch), Some(9));
}

#[test]
fn what_was_counted_in_a_run_does_not_change_when_later_ones_deliver_more() {
    let world = world();
    let mut job = start(&world).unwrap();
    drain(&mut job);
    drop(job);
    close_run(&world.ground(), NAME, 1, RunState::Stopped, None, 0).unwrap();
    let read = |run| {
        let run: checkpoint::Run = checkpoint::read(&*world.store, &checkpoint::run_key(NAME, run)).unwrap().unwrap();
        run.books(&checkpoint::delivered(&*world.store, NAME).unwrap())
    };
    let before = read(1);
    let waiting = before.steps[&StepId::new("orders")].waiting;
    assert!(waiting > 0);
    let ground = world.ground();
    let mut second = start(&world).unwrap();
    drain(&mut second);
    for mut delivery in world.deliveries(&ground, &second) {
        while delivery.turn().unwrap() == Turn::Worked {}
    }
    assert_eq!(read(1), before);
    let page = read(2).steps[&StepId::new("orders")];
    assert_eq!((page.rows_in, page.waiting), (waiting, 0));
    assert_eq!(Fate::ALL.iter().map(|fate| page.fate(*fate)).sum::<u64>(), waiting);
}

#[test]
fn an_idle_source_commits_nothing_and_a_stop_commits_once() {
    let world = world();
    let mut job = start(&world).unwrap();
    drain(&mut job);
    let epoch = job.epoch();
    for _ in 0..5 {
        // Shorter than any part waits to be shown.
        world.advance(Duration::from_millis(250));
        assert_eq!(job.turn().unwrap(), Turn::Idle);
    }
    assert_eq!(job.epoch(), epoch);
    job.finish(false).unwrap();
    assert_eq!((job.epoch(), job.checkpoint().ended), (epoch + 1, false));
}

/// A sink that takes nothing holds the source up by what waits for it, rows or bytes.
#[test]
fn a_sink_that_takes_nothing_leaves_the_source_alone() {
    let read = |backlog: Backlog| {
        let world = World::new(7, 1000, None);
        lock(&world.input).arrived = 1000;
        let spec = JobSpec { backlog, ..world.spec() };
        let mut job = Job::start(world.ground(), spec, &StartOptions::default()).unwrap();
        for _ in 0..1000 {
            job.turn().unwrap();
            world.advance(Duration::from_millis(100));
        }
        let waits = |(_, topic): &(StepId, String)| (world.log.end(topic).unwrap(), world.log.bytes(topic, 0).unwrap());
        job.outboxes().iter().map(waits).max().unwrap()
    };
    let all = read(Backlog::default());
    let few = read(Backlog { rows: 20, ..Backlog::default() });
    let small = read(Backlog { bytes: 2000, ..Backlog::default() });
    assert!(20 < few.0 && few.0 < all.0 / 2, "{few:?} of {all:?}");
    assert!(2000 < small.1 && small.1 < all.1 / 2, "{small:?} of {all:?}");
}

/// Every value of the store, cut, flipped and replaced: a named stop or a good start, never a panic, and never a start from nothing.
#[test]
fn a_damaged_store_is_a_named_stop() {
    let damage: [fn(&mut Vec<u8>, u64); 4] = [
        |bytes, at| bytes.truncate(at as usize % bytes.len().max(1)),
        |bytes, at| {
            let at = at as usize % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
        },
        |bytes, _| bytes.clear(),
        |bytes, _| *bytes = b"{}".to_vec(),
    ];
    let rng = crate::clock::SeededRng::from_seed(5);
    let template = world();
    drain(&mut start(&template).unwrap());
    let mut pairs = vec![];
    template
        .store
        .scan(b"", &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    for (key, value) in &pairs {
        for spoil in damage {
            let spoiled = world();
            drain(&mut start(&spoiled).unwrap());
            let mut value = value.clone();
            spoil(&mut value, rng.next());
            let mut changes = Changes::default();
            changes.put(key.clone(), value);
            spoiled.store.apply(changes).unwrap();
            let name = String::from_utf8_lossy(key).into_owned();
            match start(&spoiled) {
                Ok(job) => assert!(job.epoch() > 0, "{name}: it began from nothing"),
                Err(error) => assert!(!error.to_string().is_empty(), "{name}"),
            }
            // What every message about damage offers works, whatever is damaged.
            let fresh =
                Job::start(spoiled.ground(), spoiled.spec(), &StartOptions { fresh: true, ..StartOptions::default() });
            assert_eq!(fresh.map(|job| job.epoch()).map_err(|error| error.to_string()), Ok(0), "{name}");
        }
    }
}

const HOUR: i64 = 3_600_000_000;

fn fire(world: &World, due: i64) -> Job {
    let firing = Some(Firing { due, missed: 2 });
    Job::start(world.ground(), world.spec(), &StartOptions { firing, ..StartOptions::default() }).expect("a start")
}

/// Its run and attempt, how often its due times were started and missed, and up to where they are settled.
fn told(world: &World) -> (Option<Option<i64>>, u64, u64, u64, u64, i64) {
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().expect("a run");
    let kept = firing::kept(&*world.store, NAME).unwrap().expect("a schedule");
    let interrupted = firing::interrupted(&*world.store, NAME).unwrap();
    let due = interrupted.map(|firing| firing.map(|firing| firing.due));
    (due, run.run, run.attempt, kept.started, kept.missed, kept.settled)
}

#[test]
fn a_due_time_is_settled_in_the_commit_that_starts_its_run_and_a_crash_goes_on_with_that_run() {
    let world = world();
    let schedule = Schedule { timing: Timing::Every(HOUR as u64), time_zone: None, missed: Missed::RunOnce };
    firing::declare(&*world.store, NAME, &schedule, 0).unwrap();
    assert_eq!(firing::interrupted(&*world.store, NAME).unwrap(), None);
    drain(&mut fire(&world, HOUR));
    assert_eq!(told(&world), (Some(Some(HOUR)), 1, 1, 1, 2, HOUR));
    // Killed: the next start is for the same due time, and an attempt of the same run.
    let mut job = fire(&world, HOUR);
    drain(&mut job);
    assert_eq!(told(&world), (Some(Some(HOUR)), 1, 2, 1, 2, HOUR));
    // Stopped in the middle: so does the next start of the process.
    job.close_run(RunState::Stopped, None).unwrap();
    drop(job);
    assert_eq!(told(&world), (Some(Some(HOUR)), 1, 2, 1, 2, HOUR));
    let mut job = fire(&world, HOUR);
    drain(&mut job);
    assert_eq!(told(&world), (Some(Some(HOUR)), 1, 3, 1, 2, HOUR));
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().expect("a run");
    assert_eq!(
        (run.state, run.ended, run.closed.is_none(), run.books(&Default::default()).unbalanced()),
        (RunState::Running, None, true, None)
    );
    // At its end it is over, and the next due time begins another.
    job.close_run(RunState::Ended, None).unwrap();
    drop(job);
    assert_eq!(told(&world), (None, 1, 3, 1, 2, HOUR));
    drop(fire(&world, 5 * HOUR));
    assert_eq!(told(&world), (Some(Some(5 * HOUR)), 2, 1, 2, 4, 5 * HOUR));
}

#[test]
fn an_edit_in_the_middle_of_a_run_begins_another_for_the_same_due_time() {
    let world = world();
    let schedule = Schedule { timing: Timing::Every(HOUR as u64), time_zone: None, missed: Missed::RunOnce };
    firing::declare(&*world.store, NAME, &schedule, 0).unwrap();
    drop(fire(&world, HOUR));
    let mut spec = world.spec();
    spec.plan = "edited".into();
    let firing = Some(Firing { due: HOUR, missed: 0 });
    drop(Job::start(world.ground(), spec, &StartOptions { firing, ..StartOptions::default() }).expect("a start"));
    assert_eq!(told(&world), (Some(Some(HOUR)), 2, 1, 1, 2, HOUR));
}

#[test]
fn the_history_of_runs_is_bounded() {
    let world = world();
    drop(start(&world).expect("a first start"));
    let mut run = checkpoint::last_run(&*world.store, NAME).unwrap().expect("a run");
    (run.run, run.state) = (KEPT_RUNS, RunState::Ended);
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, checkpoint::run_key(NAME, run.run), &run);
    world.store.apply(changes).unwrap();
    let there = |number: u64| world.store.get(&checkpoint::run_key(NAME, number)).unwrap().is_some();
    assert!(there(1));
    let job = start(&world).expect("a start");
    assert_eq!((job.run().run, there(1), there(KEPT_RUNS)), (KEPT_RUNS + 1, false, true));
}
