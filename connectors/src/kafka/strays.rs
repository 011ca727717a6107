//! Tasks that nobody has. A process that is killed while the group takes a task from one and gives it to another comes back under its own
//! name, and gets what it had before, without another round: the task between the two is nobody's, until somebody new joins.
//!
//! Who waits for a task looks at the group from time to time. Assignments are read as Kafka's ConsumerProtocol writes them: version (i16),
//! then topics, each a name (i16 length) and partitions (i32 count, i32 each); all big-endian.

use std::time::{Duration, Instant};

use rdkafka::{
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    groups::GroupInfo,
};

/// How often who waits looks.
const LOOK: Duration = Duration::from_secs(4);
/// How long the group may take to answer.
const ANSWERS: Duration = Duration::from_secs(2);
/// Looks in a row at which the same is nobody's, in a group that is at rest.
const SURE: u32 = 2;

pub(crate) struct Strays {
    looked: Instant,
    seen: u32,
}

impl Strays {
    pub fn new() -> Self {
        Self { looked: Instant::now(), seen: 0 }
    }

    /// Whether tasks that `waits` for are nobody's, for longer than a round of the group takes.
    pub fn found<C: ConsumerContext>(
        &mut self,
        client: &BaseConsumer<C>,
        (group, topic): (&str, &str),
        waits: impl FnOnce() -> Vec<u32>,
    ) -> bool {
        if self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        let waits = waits();
        if waits.is_empty() {
            self.seen = 0;
            return false;
        }
        let Ok(list) = client.fetch_group_list(Some(group), ANSWERS) else { return false };
        let stray = list.groups().iter().any(|group| {
            let had = owned(group, topic);
            group.state() == "Stable" && had.is_some_and(|had| waits.iter().any(|task| !had.contains(task)))
        });
        self.seen = if stray { self.seen + 1 } else { 0 };
        self.seen >= SURE
    }
}

/// What the members have of a topic; `None`: it cannot be read.
fn owned(group: &GroupInfo, topic: &str) -> Option<Vec<u32>> {
    let mut all = vec![];
    for member in group.members() {
        if let Some(bytes) = member.assignment().filter(|bytes| !bytes.is_empty()) {
            all.extend(assigned(bytes, topic)?);
        }
    }
    Some(all)
}

fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<u32>> {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    take(2)?;
    let (mut found, topics) = (vec![], number(take(4)?)?);
    for _ in 0..topics {
        let length = u16::from_be_bytes(take(2)?.try_into().ok()?);
        let ours = take(usize::from(length))? == topic.as_bytes();
        for _ in 0..number(take(4)?)? {
            let partition = number(take(4)?)?;
            found.extend(ours.then_some(partition));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_one_that_is_cut_is_none() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\0\0\x01\0\0\0\x07\0\x01b\0\0\0\x02\0\0\0\x01\0\0\0\x05\xff\xff\xff\xff";
        assert_eq!(assigned(bytes, "b"), Some(vec![1, 5]));
        assert_eq!(assigned(bytes, "c"), Some(vec![]));
        assert_eq!(assigned(&bytes[..20], "b"), None);
        assert_eq!(assigned(b"", "b"), None);
    }
}
