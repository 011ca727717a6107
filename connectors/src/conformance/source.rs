//! What every source must keep.
//!
//! The rows and their order do not depend on where a run was killed: a source that is opened with the cursor of any poll goes on with
//! the very next row. Offsets of a partition grow; times and places are the same on every replay.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use syncline_engine::source::{Cursors, Polled, Rejected, Rows, Source};
use syncline_record::Micros;

/// The instant of every start: what a source has not met before may take its time from it, so it must be one for runs to compare.
const START: Micros = 1_700_000_000_000_000;
/// An endless source over a fixed outside that has said "nothing now" this often has nothing more.
const PATIENCE: usize = 100;
/// One that ends may have what it reads on its way for so long, on a machine that compiles beside it.
const LONGEST: Duration = Duration::from_secs(20);

/// A row as a pipeline sees it: offset, byte, time, ingestion, headers, content.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub offset: u64,
    pub byte: Option<u64>,
    pub time: Micros,
    pub ingested_at: Micros,
    pub headers: Option<String>,
    pub bytes: Vec<u8>,
}

/// What a source gave, by partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    pub rows: BTreeMap<String, Vec<Seen>>,
    pub rejected: Vec<Rejected>,
}

/// `make` gives the source, not opened, over an outside that does not change meanwhile. Returns what it gave, for further checks.
pub fn check(make: &dyn Fn() -> Box<dyn Source>) -> Given {
    let whole = run(make, usize::MAX);
    for (partition, rows) in &whole.rows {
        let grow = rows.windows(2).all(|pair| pair[0].offset < pair[1].offset);
        assert!(grow, "{partition}: offsets do not grow");
    }
    for polls in [1, 2, 3, 7] {
        let restarted = run(make, polls);
        assert!(restarted == whole, "restarted after every {polls} polls, it gives other rows");
    }
    uncommitted_rows_come_again(make, &whole);
    whole
}

/// Reads everything, with a restart after every `polls` polls.
fn run(make: &dyn Fn() -> Box<dyn Source>, polls: usize) -> Given {
    let (mut given, mut cursors) = (Given::default(), Cursors::new());
    let mut ended = false;
    while !ended {
        let mut source = opened(make, &cursors, START);
        let before = cursors.clone();
        ended = poll_some(source.as_mut(), polls, START, &mut given, &mut cursors);
        assert!(ended || cursors != before, "a restart does not get on");
        source.committed(&cursors).expect("committed");
    }
    given
}

fn opened(make: &dyn Fn() -> Box<dyn Source>, cursors: &Cursors, now: Micros) -> Box<dyn Source> {
    let mut source = make();
    source.open(cursors, now).expect("open");
    source
}

/// True when there is nothing more.
fn poll_some(source: &mut dyn Source, polls: usize, now: Micros, given: &mut Given, cursors: &mut Cursors) -> bool {
    let (mut taken, mut idle, mut since) = (0, 0, Instant::now());
    while taken < polls {
        match source.poll(now).expect("poll") {
            Polled::Rows(rows) => {
                taken += 1;
                (idle, since) = (0, Instant::now());
                take(rows, given, cursors);
            }
            Polled::LeftOut(left_out) => panic!("nobody told it to leave out {left_out:?}"),
            Polled::Streamed(streamed) => panic!("no stream was read: {streamed:?}"),
            Polled::Idle if idle < PATIENCE => idle += 1,
            Polled::Idle if source.bounded() && since.elapsed() < LONGEST => {}
            Polled::Idle => {
                assert!(!source.bounded(), "a bounded source says idle where it is at its end");
                return true;
            }
            Polled::Ended => {
                assert!(source.bounded(), "an endless source ended");
                return true;
            }
        }
    }
    false
}

fn take(polled: Rows, given: &mut Given, cursors: &mut Cursors) {
    let Rows { origin, rejected, cursor, .. } = polled;
    let rows = given.rows.entry(origin.partition.to_string()).or_default();
    rows.extend((0..origin.rows()).map(|row| Seen {
        offset: origin.offsets[row],
        byte: origin.bytes.as_ref().map(|bytes| bytes[row]),
        time: origin.times[row],
        ingested_at: origin.ingested_at.get(row),
        headers: origin.headers.get(row).map(str::to_owned),
        bytes: origin.bytes_of(row).into_owned(),
    }));
    given.rejected.extend(rejected);
    cursors.insert(origin.partition.to_string(), cursor);
}

/// A run that is killed before its first commit leaves nothing behind.
fn uncommitted_rows_come_again(make: &dyn Fn() -> Box<dyn Source>, whole: &Given) {
    let mut lost = opened(make, &Cursors::new(), START);
    poll_some(lost.as_mut(), 3, START, &mut Given::default(), &mut Cursors::new());
    drop(lost);
    assert!(run(make, usize::MAX) == *whole, "what was read and not committed does not come again");
}
