//! Deliveries through crashes: what was acknowledged is there once, and what was not is taken when it comes again.

use std::collections::BTreeMap;

use syncline_connectors::ingest::{Sent, encode, sent};
use syncline_engine::{
    clock::{Rng, SeededRng, VirtualClock},
    intake::{Remembered, Times},
    log::memory::MemoryLog,
    store::{Changes, memory::MemoryStore},
};

use super::{
    known::{Known, Sight},
    *,
};

const TOPIC: &str = "in/hooks";
const HOUR: Micros = 3_600_000_000;
const WINDOW: Micros = 72 * HOUR;

struct World {
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
    clock: Arc<VirtualClock>,
}

/// The inlet of a process, with a scheme that is never asked: what is verified was verified before it comes here.
fn inlet(world: &World) -> Inlet {
    let call = serde_json::json!({"function": "github", "positional": ["s"]});
    let named = BTreeMap::from([("verify".to_owned(), call)]);
    let args = syncline_connectors::Args { positional: vec!["hooks".into()], named };
    Inlet::new(HttpPath::new(&args).unwrap(), world.store.clone(), world.log.clone(), world.clock.clone())
}

fn world() -> World {
    World { store: Arc::default(), log: Arc::default(), clock: Arc::new(VirtualClock::at(1_795_168_800_000_000)) }
}

impl World {
    fn known(&self) -> Known {
        Known::load(TOPIC, WINDOW, &*self.store, &*self.log).unwrap()
    }

    /// Ids in the log, and how often each is there.
    fn kept(&self) -> BTreeMap<u128, u64> {
        let mut kept = BTreeMap::new();
        let mut next = 0;
        loop {
            let frames = self.log.read(TOPIC, next, 1 << 20).unwrap();
            let Some(last) = frames.last() else { return kept };
            next = last.next();
            for frame in frames {
                let Ok(Sent::Verified(Some(delivery))) = sent(&frame.body) else { panic!("{frame:?}") };
                *kept.entry(delivery.id).or_default() += 1;
            }
        }
    }
}

/// The process ends: cleanly, or after its store and log have died.
fn end(inlet: Inlet) {
    let writer = inlet.state().writer.take();
    drop(inlet);
    writer.unwrap().join().unwrap();
}

fn frame(delivery: Delivery) -> NewFrame {
    let body = encode(&[b"{}"], Some("{}"), Sent::Verified(Some(delivery)));
    NewFrame { count: 1, time: 1_795_168_800_000_000, body }
}

async fn send(inlet: &Inlet, id: u128) -> Result<Receipt, IntakeError> {
    let delivery = Delivery { id, body: 7 };
    inlet.take(vec![frame(delivery)], Some(delivery)).await
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_kept_once_whoever_asks_and_whenever() {
    let world = world();
    let first = inlet(&world);
    let (one, two, again) = tokio::join!(send(&first, 1), send(&first, 2), send(&first, 1));
    assert_eq!((one.unwrap(), two.unwrap()), (Receipt::Kept { first: 0 }, Receipt::Kept { first: 1 }));
    assert_eq!(again.unwrap(), Receipt::Duplicate, "in the same round, or in the one after it");
    assert_eq!(send(&first, 1).await.unwrap(), Receipt::Duplicate);
    let other = Delivery { id: 1, body: 8 };
    let replayed = first.take(vec![frame(other)], Some(other)).await;
    assert!(matches!(replayed, Err(IntakeError::Replayed)), "{replayed:?}");
    end(first);
    let second = inlet(&world);
    assert_eq!(send(&second, 2).await.unwrap(), Receipt::Duplicate, "after a restart");
    assert_eq!(send(&second, 3).await.unwrap(), Receipt::Kept { first: 2 });
    assert_eq!(world.kept(), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
    let counted = second.state().intake(TOPIC);
    assert_eq!((counted.verify.as_deref(), counted.total(Outcome::Accepted)), (Some("github"), 3));
    end(second);
}

#[tokio::test]
async fn what_could_not_be_written_is_taken_when_it_comes_again() {
    let world = world();
    let inlet = inlet(&world);
    assert_eq!(send(&inlet, 1).await.unwrap(), Receipt::Kept { first: 0 });
    let full = LogError::Full { operation: "write", path: "x".into() };
    world.log.fail_after(0, full.clone());
    let (one, again, before) = tokio::join!(send(&inlet, 2), send(&inlet, 2), send(&inlet, 1));
    assert!(matches!(&one, Err(IntakeError::Log(error)) if *error == full), "{one:?}");
    // In the same round it fails with it; in a later one it is the one that is taken.
    assert!(!matches!(again, Ok(Receipt::Duplicate)), "{again:?}");
    assert_eq!(before.unwrap(), Receipt::Duplicate);
    let retried = send(&inlet, 2).await.unwrap();
    assert_eq!(retried == Receipt::Duplicate, again.is_ok(), "{retried:?}");
    assert_eq!(world.kept(), BTreeMap::from([(1, 1), (2, 1)]));
    end(inlet);
}

/// Lives of a process that end anywhere: in a publication, in the store, or well. Clients send until they are answered, some of
/// them twice.
#[tokio::test]
async fn crashes_anywhere_lose_nothing_and_repeat_nothing() {
    const DELIVERIES: u128 = 60;
    let (mut deaths, mut lives) = (0, 0);
    for seed in 0..60 {
        let (world, dice) = (world(), SeededRng::from_seed(seed));
        let below = |bound: u64| dice.next() % bound;
        let mut waiting: Vec<u128> = (1..=DELIVERIES).collect();
        let mut acknowledged = BTreeMap::new();
        while !waiting.is_empty() {
            lives += 1;
            if below(4) > 0 {
                world.log.fail_after(below(12), LogError::Crashed);
            }
            if below(2) > 0 {
                world.store.fail_after(below(8), StoreError::Crashed);
            }
            let inlet = inlet(&world);
            let mut sent: Vec<u128> =
                (0..1 + below(20)).map(|_| waiting[below(waiting.len() as u64) as usize]).collect();
            // Whoever got an answer that was lost on its way asks again.
            sent.extend(acknowledged.keys().take(below(3) as usize).copied().collect::<Vec<_>>());
            for burst in sent.chunks(1 + below(6) as usize) {
                let answers = futures::future::join_all(burst.iter().map(|id| send(&inlet, *id))).await;
                for (id, answer) in burst.iter().zip(answers) {
                    match answer {
                        Ok(receipt) => {
                            let before = acknowledged.insert(*id, ());
                            assert!(before.is_none() || receipt == Receipt::Duplicate, "seed {seed}: {id} taken twice");
                        }
                        Err(_) => deaths += 1,
                    }
                }
                inlet.work.send(Work::Keep).await.unwrap();
            }
            waiting.retain(|id| !acknowledged.contains_key(id));
            end(inlet);
            world.log.crash(dice.next());
            world.store.crash(dice.next());
        }
        let last = inlet(&world);
        for id in 1..=DELIVERIES {
            assert_eq!(send(&last, id).await.unwrap(), Receipt::Duplicate, "seed {seed}: {id}");
        }
        assert_eq!(last.state().intake(TOPIC).total(Outcome::Accepted), DELIVERIES as u64, "seed {seed}");
        let expected: BTreeMap<u128, u64> = (1..=DELIVERIES).map(|id| (id, 1)).collect();
        assert_eq!(world.kept(), expected, "seed {seed}");
        end(last);
    }
    assert!(deaths > 100 && lives > 200, "nothing was tried: {deaths} unanswered in {lives} lives");
}

fn written(known: &mut Known, store: &MemoryStore) {
    let mut changes = Changes::default();
    known.write(&mut changes);
    store.apply(changes).unwrap();
    store.flush().unwrap();
}

fn add(known: &mut Known, id: u128, now: Micros) {
    known.add(Some(Delivery { id, body: 0 }), id as u64, 100, now);
}

fn seen(known: &Known, ids: impl IntoIterator<Item = u128>) -> Vec<u128> {
    ids.into_iter().filter(|id| known.see(&Delivery { id: *id, body: 0 }) == Sight::Again).collect()
}

#[test]
fn deliveries_are_forgotten_when_their_time_is_over_in_the_store_too() {
    let world = world();
    let mut known = world.known();
    for day in 0..10 {
        add(&mut known, day, day as Micros * 24 * HOUR);
        written(&mut known, &world.store);
    }
    assert_eq!(seen(&known, 0..10), [6, 7, 8, 9], "three days, and the one of now");
    let keys = || {
        let mut keys = 0;
        let prefix = syncline_engine::intake::deliveries_prefix(TOPIC);
        world
            .store
            .scan(&prefix, &mut |_, _| {
                keys += 1;
                true
            })
            .unwrap();
        keys
    };
    assert_eq!(keys(), 4);
    known.forget(30 * 24 * HOUR);
    written(&mut known, &world.store);
    assert_eq!((seen(&known, 0..10), keys()), (vec![], 0));
    assert_eq!(known.remembered(), Remembered { next: 9, accepted: Times { requests: 10, last: 9 * 24 * HOUR } });
}

#[test]
fn more_deliveries_than_there_is_room_for_push_the_oldest_out() {
    let world = world();
    let mut known = Known::new(TOPIC, WINDOW, 800);
    for id in 0..2_000 {
        add(&mut known, id, id as Micros);
        if id % 37 == 0 {
            written(&mut known, &world.store);
        }
    }
    let there = seen(&known, 0..2_000);
    assert_eq!(there, (there[0]..2_000).collect::<Vec<_>>(), "only the oldest are gone");
    assert!((700..=800).contains(&there.len()), "{}", there.len());
    written(&mut known, &world.store);
    // Another process finds the same ones: the store has exactly them.
    let mut found = Known::new(TOPIC, WINDOW, 800);
    found.read_store(&*world.store).unwrap();
    assert_eq!(seen(&found, 0..2_000), there);
}

#[test]
fn a_log_that_lost_its_end_takes_again_what_it_lost() {
    let world = world();
    let mut known = world.known();
    (1..=5).for_each(|id| add(&mut known, id, HOUR));
    written(&mut known, &world.store);
    let delivery = Delivery { id: 1, body: 0 };
    world.log.publish(TOPIC, vec![frame(delivery)]).unwrap();
    assert_eq!(seen(&world.known(), 1..=5), [1], "what is in the log is known, what is not must be taken again");
}

#[test]
fn what_is_damaged_in_the_store_is_told() {
    let world = world();
    let mut changes = Changes::default();
    changes.put([b"d/in/hooks\0".as_slice(), &[0; 16]].concat(), vec![9, 9]);
    world.store.apply(changes).unwrap();
    let told = Known::load(TOPIC, WINDOW, &*world.store, &*world.log).err().map(|error| error.to_string());
    assert!(told.as_deref().is_some_and(|told| told.contains("deliveries that cannot be read")), "{told:?}");
}
