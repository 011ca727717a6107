//! What a commit notes for whoever looks: how far a history is, and a line for each epoch.

use serde::{Deserialize, Serialize};
use syncline_record::{Epoch, Micros};

use super::course::Course;

/// What was read of a history (`history(…) THEN`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryNote {
    /// Which backfill of the pipeline it is; 0: the history of its file.
    #[serde(default)]
    pub number: u64,
    /// The newest backfill of it that was read to its end before this one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub read: u64,
    pub began: Micros,
    /// The source has gone on since.
    pub ended: Option<Micros>,
    /// The source had nothing more: what came while its history was read is read too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught: Option<Micros>,
    pub rows: u64,
    /// Records of it that became dead letters, at whichever step.
    pub dead: u64,
    /// Starts of the pipeline that went on with it: each but the first is one that something, or somebody, made it do again.
    #[serde(default)]
    pub starts: u64,
    /// Bytes that were read, and that there are, where the source knows.
    pub done: u64,
    pub total: Option<u64>,
    /// Records that there are more or less, with those that were read; where the source counts these, and no bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Bytes of the records as they came, or of the columns that were taken of them.
    #[serde(default)]
    pub bytes: u64,
    /// Microseconds in which the pipeline's thread worked on its rows, from the source through all steps; a commit is not counted.
    #[serde(default)]
    pub busy: u64,
    /// Microseconds in which it was read: not those between two processes.
    pub spent: u64,
    /// What was left at commits: bytes, or records where the source counts these.
    #[serde(default, skip_serializing_if = "Course::is_empty")]
    pub course: Course,
    /// Of the commit that this is as of.
    #[serde(default)]
    pub noted: Micros,
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

impl HistoryNote {
    /// The newest backfill that was read to its end; 0: none.
    pub fn newest_read(&self) -> u64 {
        self.ended.map_or(self.read, |_| self.read.max(self.number))
    }

    /// So far.
    pub fn rows_per_second(&self) -> Option<u64> {
        (self.rows as u128 * 1_000_000).checked_div(u128::from(self.spent)).map(|rate| rate as u64)
    }

    /// Whether the source reads what came while its history was read. Notes of an earlier version do not say of when they are, nor this.
    pub fn is_catching_up(&self) -> bool {
        self.number == 0 && self.ended.is_some() && self.caught.is_none() && self.noted > 0
    }

    /// To the end of the history, or of what came meanwhile, from `now` on. Where the next commit is long due, nobody goes on, and nothing
    /// comes nearer. `None` before anything is known, and when all is over.
    pub fn seconds_left(&self, now: Micros) -> Option<u64> {
        let rest = self.course.rest().filter(|_| self.ended.is_none() || self.is_catching_up())?;
        let since = u64::try_from(now.saturating_sub(self.noted)).unwrap_or(0).min(self.course.due());
        Some((rest.saturating_sub(since) + 500_000) / 1_000_000)
    }
}

/// One committed epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochNote {
    pub pipeline: String,
    pub run: u64,
    pub epoch: Epoch,
    pub time: Micros,
    pub rows: u64,
    /// Microseconds from the close of the epoch to its commit.
    pub took: u64,
    pub state_bytes: u64,
}

/// The epoch that a checkpoint, as it lies in the store, has committed; `None` where it cannot be read.
pub fn epoch_of(value: &[u8]) -> Option<Epoch> {
    #[derive(Deserialize)]
    struct Committed {
        epoch: Epoch,
    }
    serde_json::from_slice::<Committed>(value).ok().map(|committed| committed.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_an_earlier_version_is_over_where_it_says_so_and_foresees_nothing() {
        let read = |ended: &str| {
            let text = format!(r#"{{"began":1,"ended":{ended},"rows":3,"dead":0,"done":5,"total":7,"spent":9}}"#);
            serde_json::from_str::<HistoryNote>(&text).expect("a note")
        };
        let told = ["null", "8"].map(|ended| (read(ended).is_catching_up(), read(ended).seconds_left(10)));
        assert_eq!(told, [(false, None); 2]);
    }
}
