//! `backfills`: a history in each of its phases.

use syncline_engine::{
    backfill::{self, Backfill, Shared, Wish},
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
        // Another history of its file is read, after the backfill was.
        ("before", Some(HistoryNote { read: 1, ..read.clone() })),
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
    let mut asked = Backfill { number: 1, from: "'a'".into(), share: 25, wish: Wish::Read, asked: TEN, shared: None };
    backfill::write(&*reading.store, "asked", &asked).unwrap();
    // Of a pipeline that has not begun yet, nothing else is known.
    backfill::write(&*reading.store, "early", &asked).unwrap();
    backfill::write(&*reading.store, "before", &asked).unwrap();
    asked.wish = Wish::Pause;
    backfill::write(&*reading.store, "beside", &asked).unwrap();
    let sql = "SELECT pipeline, state, phase, dead, starts, rows_total, bytes_read, busy_ms, seconds_left FROM backfills ORDER BY pipeline, number";
    // The newest commit is long past: of 18 seconds that were left then, only those go off in which the next was due.
    let expected = "
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+
        | pipeline | state   | phase       | dead | starts | rows_total | bytes_read | busy_ms | seconds_left |
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+
        | asked    | reading | waiting     |      |        |            |            |         |              |
        | before   | reading | reading     | 2    | 3      | 10000      | 40000      | 7500    | 14           |
        | before   | done    |             |      |        |            |            |         |              |
        | beside   | paused  |             | 2    | 3      | 10000      | 40000      | 7500    |              |
        | caught   | done    |             | 2    | 3      | 10000      | 40000      | 7500    |              |
        | early    | reading | waiting     |      |        |            |            |         |              |
        | follows  | done    | catching up | 2    | 3      | 10000      | 40000      | 7500    | 14           |
        | reads    | reading | reading     | 2    | 3      | 10000      | 40000      | 7500    | 14           |
        +----------+---------+-------------+------+--------+------------+------------+---------+--------------+";
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(table(&reading, sql).await, expected.join("\n"));
}

/// Of three tasks two are worked on here, one of which is done; the third has an old copy here.
#[tokio::test]
async fn what_several_processes_take_in_is_told_by_task_and_how_many_are_known_here() {
    let note = |rows, ended| HistoryNote { number: 2, began: TEN, noted: TEN, rows, ended, ..HistoryNote::default() };
    let notes = [note(10, Some(TEN + SECOND)), note(5, None), note(7, None)];
    let reading = reading();
    let mut changes = Changes::default();
    for (task, history) in notes.into_iter().enumerate() {
        let checkpoint = Checkpoint { history: Some(history), ..Checkpoint::default() };
        checkpoint::put_checkpoint(&mut changes, &format!("p.{task}"), &checkpoint, []);
    }
    reading.store.apply(changes).unwrap();
    let mut shared = Shared::of([0, 1, 2].map(|task| format!("p.{task}")));
    shared.elsewhere.insert("p.2".to_owned());
    let asked = |wish, shared: &Shared| {
        let shared = Some(shared.clone());
        let asked = Backfill { number: 2, from: "'a'".into(), share: 25, wish, asked: TEN, shared };
        asked.copies("p").iter().for_each(|(name, copy)| backfill::write(&*reading.store, name, copy).unwrap());
    };
    asked(Wish::Read, &shared);
    let sql = "SELECT pipeline, state, phase, \"rows\", tasks, tasks_done, tasks_here FROM backfills ORDER BY pipeline";
    let expected = "
        +----------+---------+-----------+------+-------+------------+------------+
        | pipeline | state   | phase     | rows | tasks | tasks_done | tasks_here |
        +----------+---------+-----------+------+-------+------------+------------+
        | p        | reading | reading   | 15   | 3     | 1          | 2          |
        | p.0      | done    |           | 10   | 1     | 1          | 1          |
        | p.1      | reading | reading   | 5    | 1     | 0          | 1          |
        | p.2      | reading | elsewhere |      | 1     | 0          | 0          |
        +----------+---------+-----------+------+-------+------------+------------+";
    let lines = |text: &str| text.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(table(&reading, sql).await, lines(expected));
    // The others have read theirs, as they told; then it is over, whatever is asked afterwards.
    shared.done.extend(["p.1", "p.2"].map(str::to_owned));
    asked(Wish::Cancel, &shared);
    let sql = "SELECT pipeline, state, phase, tasks_done FROM backfills ORDER BY pipeline";
    let expected = "
        +----------+-------+-------+------------+
        | pipeline | state | phase | tasks_done |
        +----------+-------+-------+------------+
        | p        | done  |       | 3          |
        | p.0      | done  |       | 1          |
        | p.1      | done  |       | 1          |
        | p.2      | done  |       | 1          |
        +----------+-------+-------+------------+";
    assert_eq!(table(&reading, sql).await, lines(expected));
}
