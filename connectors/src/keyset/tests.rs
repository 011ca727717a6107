//! What holds for every table that is read by a key: where a reading goes on, what it waits for, and what it does not go on in.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::json;
use syncline_engine::source::{Cursors, Polled, Source, SourceError};

use super::*;

/// Numbers from 1 on, in chunks of two; what it is called, and what it says instead of rows.
#[derive(Clone)]
struct Numbers {
    last: i64,
    identity: Identity,
    lost: Arc<Mutex<Vec<SourceError>>>,
}

fn numbers(last: i64) -> Numbers {
    let identity = Identity { holder: "here".into(), table: "numbers".into(), key: vec!["n".into()] };
    Numbers { last, identity, lost: Arc::default() }
}

impl Place for Numbers {
    type Table = Numbers;

    fn what(&self) -> String {
        "numbers".to_owned()
    }

    fn open(&self) -> Result<Numbers, SourceError> {
        Ok(self.clone())
    }
}

impl Table for Numbers {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn after(&mut self, key: Option<&Key>, block: &mut Block) -> Result<Chunk, SourceError> {
        if let Some(error) = self.lost.lock().unwrap().pop() {
            // A row that came before it was lost comes again with its chunk.
            put(block, "half");
            return Err(error);
        }
        let after = key.map_or(0, |key| key[0].as_i64().unwrap());
        let rows: Vec<i64> = (after + 1..=self.last).take(2).collect();
        for row in &rows {
            put(block, &row.to_string());
        }
        let last = rows.last().copied();
        Ok(Chunk { last: last.map(|last| vec![json!(last)]), end: last.is_none_or(|last| last == self.last) })
    }
}

fn put(block: &mut Block, row: &str) {
    let put = |out: &mut Vec<u8>| {
        out.extend_from_slice(row.as_bytes());
        Ok::<(), ()>(())
    };
    block.add(put).unwrap();
}

fn source(table: &Numbers) -> KeysetSource<Numbers> {
    KeysetSource::new(table.clone(), "numbers".to_owned())
}

/// Rows with their numbers, and the troubles that were seen between them.
fn read(source: &mut dyn Source, cursors: &mut Cursors, polls: usize) -> Result<Vec<String>, SourceError> {
    let (mut found, mut taken, began) = (vec![], 0, Instant::now());
    while taken < polls {
        match source.poll(9)? {
            Polled::Rows(rows) => {
                taken += 1;
                let origin = &rows.origin;
                let text = |row| String::from_utf8_lossy(&origin.bytes_of(row)).into_owned();
                found.extend((0..origin.rows()).map(|row| format!("{}:{}", origin.offsets[row], text(row))));
                cursors.insert(origin.partition.to_string(), rows.cursor);
            }
            Polled::Idle => {
                assert!(began.elapsed().as_secs() < 60, "nothing comes");
                found.extend(source.trouble().filter(|why| found.last() != Some(why)));
            }
            Polled::Ended => break,
            polled => panic!("{polled:?}"),
        }
    }
    Ok(found)
}

#[test]
fn a_reading_goes_on_behind_the_last_key_and_later_rows_are_read_by_the_next() {
    let mut cursors = Cursors::new();
    let mut first = source(&numbers(5));
    first.open(&cursors, 7).unwrap();
    assert_eq!(read(&mut first, &mut cursors, 2).unwrap(), ["1:1", "2:2", "3:3", "4:4"]);
    let cursor = json!({"holder": "here", "table": "numbers", "key": ["n"], "after": [4], "rows": 4, "time": 7});
    assert_eq!(cursors["numbers"], cursor);
    for (last, expected) in [(5, vec!["5:5"]), (5, vec![]), (7, vec!["6:6", "7:7"])] {
        let mut next = source(&numbers(last));
        next.open(&cursors, 8).unwrap();
        assert_eq!(read(&mut next, &mut cursors, 9).unwrap(), expected);
        assert_eq!((next.partitions(), cursors["numbers"]["time"].as_i64()), (vec![], Some(7)));
    }
}

#[test]
fn what_goes_away_is_waited_for_and_its_chunk_is_read_again() {
    let table = numbers(4);
    let gone = SourceError::Again { what: "numbers".into(), detail: "it went away".into() };
    table.lost.lock().unwrap().extend([gone.clone(), gone]);
    let mut source = source(&table);
    source.open(&Cursors::new(), 7).unwrap();
    assert_eq!(
        read(&mut source, &mut Cursors::new(), 9).unwrap(),
        ["numbers: it went away", "1:1", "2:2", "3:3", "4:4"]
    );
    assert_eq!(source.trouble(), None);
    let never = SourceError::Unreadable { what: "numbers".into(), detail: "no right to read it".into() };
    table.lost.lock().unwrap().push(never.clone());
    source.open(&Cursors::new(), 7).unwrap();
    assert_eq!(read(&mut source, &mut Cursors::new(), 9), Err(never));
}

#[test]
fn another_table_under_the_name_or_another_key_is_not_gone_on_in() {
    let mut cursors = Cursors::new();
    let mut first = source(&numbers(5));
    first.open(&cursors, 7).unwrap();
    read(&mut first, &mut cursors, 1).unwrap();
    let refused = |change: &dyn Fn(&mut Identity)| {
        let mut table = numbers(5);
        change(&mut table.identity);
        match source(&table).open(&cursors, 8) {
            Err(SourceError::Changed { detail, .. }) => detail,
            opened => panic!("{opened:?}"),
        }
    };
    assert_eq!(
        refused(&|identity| identity.key = vec!["m".into(), "n".into()]),
        "was read by its key (n) so far, and would go on by (m, n), in which other rows lie behind the last one; \
         go back to the former key, or run with --fresh to read it again"
    );
    assert_eq!(
        refused(&|identity| identity.holder = "there".into()),
        "is another table than the one that was read so far (numbers in here, and now numbers in there); \
         put the former one back, or run with --fresh to read this one from its start"
    );
}
