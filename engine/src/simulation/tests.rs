//! The seeds that every change must pass, and the proof that they would notice.

use super::{
    further::{Drawn, Tally},
    *,
};

/// Seeds of the unit tests: enough that every window and every part is hit (asserted below).
const SEEDS: u64 = 300;

fn held(seed: u64) -> Outcome {
    simulate(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn nothing_is_lost_or_repeated_whatever_happens() {
    let mut sum = Outcome::default();
    (0..SEEDS).for_each(|seed| sum.add(&held(seed)));
    let hit: Vec<Window> = sum.windows.keys().copied().collect();
    assert_eq!(hit, Window::ALL, "a window of the commit in which no process died");
    let tasks = ["close", "delivery", "job", "pulled", "start"];
    for task in tasks {
        assert!(sum.places.keys().any(|place| place.starts_with(task)), "no process died in {task}: {:?}", sum.places);
    }
    let calls = ["store", "log", "disk write", "disk prepare", "disk reveal", "disk open"];
    for part in calls {
        assert!(sum.places.keys().any(|place| place.ends_with(part)), "no process died in {part}: {:?}", sum.places);
    }
    for part in ["delivery: store", "delivery: log", "database apply", "database commit", "plain apply", "plain commit"]
    {
        assert!(sum.places.keys().any(|place| place.ends_with(part)), "no process died in {part}: {:?}", sum.places);
    }
}

#[test]
fn every_kind_of_group_and_join_is_drawn() {
    let drawn: Vec<Drawn> = (0..SEEDS).map(Drawn::of).collect();
    for tally in [None, Some(Tally::Tumble), Some(Tally::Hop), Some(Tally::Session), Some(Tally::Whole)] {
        assert!(drawn.iter().any(|drawn| drawn.tally == tally), "{tally:?}");
    }
    for join in [None, Some(false), Some(true)] {
        assert!(
            drawn.iter().any(|drawn| drawn.matched == join) && drawn.iter().any(|drawn| drawn.pair == join),
            "{join:?}"
        );
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..5 {
        assert_eq!(held(seed), held(seed));
    }
    assert_ne!(held(1).trace, held(2).trace);
}

#[test]
fn every_broken_promise_is_noticed() {
    for breakage in Breakage::ALL {
        let noticed = (0..SEEDS).find(|seed| simulate(*seed, Some(breakage), false).is_err());
        assert!(noticed.is_some(), "{breakage:?} went unnoticed");
    }
}
