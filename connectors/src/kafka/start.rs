//! Where a topic is begun when nothing of it was read yet, and where its reading ends.

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use serde::{Deserialize, Serialize};
use syncline_functions::instant_of;
use syncline_record::Micros;

use super::trouble::PATIENCE;
use crate::spec::{Arguments, ConnectorError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// The first record of this time, or later.
    Time(Micros),
    /// Partition and offset; those that are not named begin at their first record.
    Offsets(Vec<(i32, i64)>),
}

impl Start {
    /// `earliest`, `latest`, a timestamp, or `partition:offset` with commas between.
    pub fn new(arguments: &Arguments) -> Result<Self, ConnectorError> {
        Self::of(arguments, "start")
    }

    fn of(arguments: &Arguments, argument: &'static str) -> Result<Self, ConnectorError> {
        let text = arguments.text(argument).trim();
        match text.to_ascii_lowercase().as_str() {
            "" | "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let pairs: Option<Vec<(i32, i64)>> = text
            .split(',')
            .map(|pair| {
                let (partition, offset) = pair.split_once(':')?;
                let (partition, offset) = (partition.trim().parse().ok()?, offset.trim().parse().ok()?);
                (partition >= 0 && offset >= 0).then_some((partition, offset))
            })
            .collect();
        if let Some(pairs) = pairs {
            return Ok(Self::Offsets(pairs));
        }
        instant_of(text.as_bytes()).map(Self::Time).ok_or_else(|| ConnectorError::WrongType {
            connector: arguments.of_what().to_owned(),
            argument,
            wanted: "'earliest', 'latest', a timestamp ('2026-11-20T00:00:00Z'), or partitions with offsets ('0:1200, 1:900')".to_owned(),
            found: text.to_owned(),
        })
    }

    /// What it says of a partition, of which these are the ends, and where that leads: what would be passed over without a word.
    pub fn beyond(&self, number: i32, (oldest, end): (i64, i64)) -> Option<String> {
        let Self::Offsets(pairs) = self else { return None };
        let (_, said) = *pairs.iter().find(|(partition, _)| *partition == number)?;
        if said > end {
            return Some(format!("starts at its end, offset {end}, as start names {said}, which is not there yet"));
        }
        (said < oldest)
            .then(|| format!("starts at offset {oldest}, as records {said} to {} of start were deleted", oldest - 1))
    }

    /// A partition that it names and the topic does not have.
    fn stray(&self, partitions: u32) -> Option<i32> {
        let Self::Offsets(pairs) = self else { return None };
        pairs.iter().map(|(partition, _)| *partition).find(|partition| *partition as u32 >= partitions)
    }

    /// The offset in a partition that lies between `oldest` and `end`.
    pub fn offset<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        topic: &str,
        number: i32,
        (oldest, end): (i64, i64),
    ) -> Result<i64, KafkaError> {
        Ok(match self {
            Self::Earliest => oldest,
            Self::Latest => end,
            Self::Offsets(pairs) => {
                let said =
                    pairs.iter().find(|(partition, _)| *partition == number).map_or(oldest, |(_, offset)| *offset);
                said.clamp(oldest, end)
            }
            Self::Time(time) => {
                let mut asked = TopicPartitionList::new();
                // Kafka's times are milliseconds: the first that is not before ours.
                let milliseconds = (*time + 999).div_euclid(1000);
                asked.add_partition_offset(topic, number, Offset::Offset(milliseconds))?;
                let found = client.offsets_for_times(asked, PATIENCE)?;
                match found.find_partition(topic, number).map(|found| found.offset()) {
                    Some(Offset::Offset(offset)) => offset.clamp(oldest, end),
                    _ => end,
                }
            }
        })
    }
}

/// Where each partition ends, for a source that is told to (`until`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Until {
    at: Start,
    /// As it was written.
    said: String,
}

/// The end of a partition, as its cursor keeps it: `latest` is what there was when the reading began, also for the next process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    said: String,
    offset: i64,
}

impl Until {
    pub fn new(arguments: &Arguments) -> Result<Option<Self>, ConnectorError> {
        let said = arguments.text("until").trim().to_owned();
        if said.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { at: Start::of(arguments, "until")?, said }))
    }

    /// Whether a partition was read up to its end, by the same word.
    pub fn is_over(&self, end: &End, next: i64) -> bool {
        end.said == self.said && next >= end.offset
    }

    /// `before`: what the cursor has. Another word than then is another end.
    pub fn end<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        topic: &str,
        number: i32,
        (oldest, end): (i64, i64),
        before: Option<&End>,
    ) -> Result<End, KafkaError> {
        if let Some(before) = before.filter(|before| before.said == self.said) {
            return Ok(before.clone());
        }
        let offset = match &self.at {
            // A partition that is not named is read as far as it goes.
            Start::Offsets(pairs) if !pairs.iter().any(|(partition, _)| *partition == number) => end,
            at => at.offset(client, topic, number, (oldest, end))?,
        };
        Ok(End { said: self.said.clone(), offset })
    }

    /// Why less is read than it seems to say: to `end`, of a partition that has these ends; `first`: what is read first, where nothing was yet. It is no mistake: a range ends, and who
    /// waited for what is not there yet would never know how long.
    pub fn short(
        &self,
        number: i32,
        (oldest, last): (i64, i64),
        (first, end): (Option<i64>, &End),
        now: Micros,
    ) -> Option<String> {
        let to = end.offset;
        match &self.at {
            Start::Offsets(pairs) => {
                let (_, said) = *pairs.iter().find(|(partition, _)| *partition == number)?;
                if said > to && last > to {
                    return Some(format!(
                        "is read up to offset {to}, as it ended there when that began; it ends at {last} now, and until names {said}: \
                         another word there reads on"
                    ));
                }
                if said > to {
                    return Some(format!(
                        "is read up to its end, offset {to}, as until names {said}, which is not there yet"
                    ));
                }
                let next = first?;
                (said <= oldest && said > 0 && next >= to)
                    .then(|| format!("has nothing to read: it begins at offset {oldest}, and until names {said}"))
                    .or_else(|| {
                        (next > said).then(|| format!("has nothing to read: start is offset {next}, and until {said}"))
                    })
            }
            Start::Time(time) if *time > now => {
                let said = &self.said;
                Some(format!("is read up to its end, offset {to}, as until is {said}, which has not come yet"))
            }
            Start::Time(_) | Start::Earliest | Start::Latest => first.filter(|next| *next > to).map(|next| {
                format!("has nothing to read: start is offset {next}, and until = {} is offset {to}", self.said)
            }),
        }
    }
}

/// Why a topic with so many partitions is not what these words speak of.
pub fn stray(start: Option<&Start>, until: Option<&Until>, partitions: u32) -> Option<String> {
    let of = |word: &str, at: &Start| {
        let stray = at.stray(partitions)?;
        Some(format!(
            "has {partitions} partitions, numbered from 0, and {word} names partition {stray}; name those that are there"
        ))
    };
    start.and_then(|start| of("start", start)).or_else(|| of("until", &until?.at))
}

impl End {
    pub fn offset(&self) -> i64 {
        self.offset
    }
}
