//! What people have decided about dead letters. A letter itself lies in the log and never changes.
//!
//! | key | value |
//! |---|---|
//! | `l/<pipeline> NUL <id>` | [`Mark`]; none: the letter is open |
//!
//! A retry is two things in two places: a frame of the input's topic, and a mark. Its mark says first that it is on its way, and where the
//! topic ended then; the frame says whose retry it is. So whoever finds such a mark looks behind that place, and knows which of the two it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore},
};

/// How it stands with a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Standing {
    /// Nobody wants it any more.
    Discarded,
    /// Its record may lie in the topic, behind this offset.
    Retrying { topic: String, from: u64 },
    /// Its record lies in the topic again, there.
    Retried { topic: String, offset: u64 },
}

impl Standing {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::Retrying { .. } => "retrying",
            Self::Retried { .. } => "retried",
        }
    }
}

/// What was decided, when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    #[serde(flatten)]
    pub standing: Standing,
    pub time: Micros,
    pub who: String,
}

/// What was decided about the letters of a pipeline.
pub fn prefix(pipeline: &str) -> Vec<u8> {
    [b"l/", pipeline.as_bytes(), b"\0"].concat()
}

fn key(pipeline: &str, id: &str) -> Vec<u8> {
    [prefix(pipeline).as_slice(), id.as_bytes()].concat()
}

pub fn mark(store: &dyn StateStore, pipeline: &str, id: &str) -> Result<Option<Mark>, ReadError> {
    checkpoint::read(store, &key(pipeline, id))
}

/// The marks of a pipeline's letters, by id.
pub fn marks(store: &dyn StateStore, pipeline: &str) -> Result<BTreeMap<String, Mark>, ReadError> {
    let prefix = prefix(pipeline);
    let (mut marks, mut problem) = (BTreeMap::new(), None);
    store.scan(&prefix, &mut |key, bytes| {
        match checkpoint::parse(key, bytes) {
            Ok(mark) => drop(marks.insert(String::from_utf8_lossy(&key[prefix.len()..]).into_owned(), mark)),
            Err(error) => problem = Some(error),
        }
        problem.is_none()
    })?;
    problem.map_or(Ok(marks), Err)
}

/// Writes a mark down, durably; `None`: the letter is open again.
pub fn put(store: &dyn StateStore, pipeline: &str, id: &str, mark: Option<&Mark>) -> Result<(), ReadError> {
    let mut changes = Changes::default();
    match mark {
        Some(mark) => checkpoint::put(&mut changes, key(pipeline, id), mark),
        None => changes.remove(key(pipeline, id)),
    }
    store.apply(changes)?;
    Ok(store.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn marks_come_back_as_they_were_and_pipelines_do_not_mix() {
        let store = MemoryStore::new();
        let mark_of = |standing| Mark { standing, time: 7, who: "ada".to_owned() };
        let retried = mark_of(Standing::Retried { topic: "in/orders".to_owned(), offset: 3 });
        put(&store, "a", "1", Some(&mark_of(Standing::Discarded))).unwrap();
        put(&store, "a", "2", Some(&retried)).unwrap();
        put(&store, "ab", "3", Some(&retried)).unwrap();
        let words: Vec<_> =
            marks(&store, "a").unwrap().into_iter().map(|(id, mark)| (id, mark.standing.as_str())).collect();
        assert_eq!(words, [("1".to_owned(), "discarded"), ("2".to_owned(), "retried")]);
        assert_eq!(mark(&store, "ab", "3").unwrap(), Some(retried));
        put(&store, "a", "1", None).unwrap();
        assert_eq!(mark(&store, "a", "1").unwrap(), None);
    }
}
