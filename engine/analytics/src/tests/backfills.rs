//! `backfills`: a history in each of its phases.

use syncline_engine::{
    backfill::{self, Backfill, Wish},
    checkpoint::{self, Checkpoint, Course, HistoryNote},
    store::Changes,
};

use super::{SECOND, TEN, reading, table};

#[tokio::test]
async fn a_history_says_its_phase_how_long_that_takes_and_what_it_cost() {
    let course = Course::of([(8_000_000, 100_000), (10_000_000, 90_000)]);
    let read = HistoryNote {
        began: TEN,
        noted: TEN + 10 * SECOND,
        rows: 1_000,
        dead: 2,
        starts: 3,
        bytes: 40_000,
        busy: 7_500_000,
        spent: 10_000_000,
        records: Some(10_000),
        course,
        ..HistoryNote::default()
    };
    let ended = Some(TEN + 10 * SECOND);
    let notes = [
        ("asked", None),
        ("beside", Some(HistoryNote { number: 1, ..read.clone() })),
        ("caught", Some(HistoryNote { ended, caught: ended, ..read.clone() })),
        ("follows", Some(HistoryNote { ended, ..read.clone() })),
        ("reads", Some(read)),
    ];
    let reading = reading();
    let mut changes = Changes::default();
    for (name, history) in notes {
        checkpoint::put_checkpoint(&mut changes, name, &Checkpoint { history, ..Checkpoint::default() }, []);
    }
    reading.store.apply(changes).unwrap();
    let mut asked = Backfill { number: 1, from: "'a'".into(), share: 25, wish: Wish::Read, asked: TEN };
    backfill::write(&*reading.store, "asked", &asked).unwrap();
    // Of a pipeline that has not begun yet, nothing else is known.
    backfill::write(&*reading.store, "early", &asked).unwrap();
    asked.wish = Wish::Pause;
    backfill::write(&*reading.store, "beside", &asked).unwrap();
    let sql = "SELECT pipeline, state, phase, dead, starts, rows_total, bytes_read, busy_ms, seconds_left FROM backfills ORDER BY pipeline";
    // The newest commit is long past: of 18 seconds that were left then, only those go off in which the next was due.
    let expected = "
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+
        | pipeline | state   | phase       | dead | starts | rows_total | bytes_read | busy_ms | seconds_left |
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+
        | asked    | reading | waiting     |      |        |            |            |         |              |
        | beside   | paused  |             | 2    | 3      | 10000      | 40000      | 7500    |              |
        | caught   | done    |             | 2    | 3      | 10000      | 40000      | 7500    |              |
        | early    | reading | waiting     |      |        |            |            |         |              |
        | follows  | done    | catching up | 2    | 3      | 10000      | 40000      | 7500    | 14           |
        | reads    | reading | reading     | 2    | 3      | 10000      | 40000      | 7500    | 14           |
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+";
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(table(&reading, sql).await, expected.join("\n"));
}
