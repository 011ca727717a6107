//! What connections lead to, for who has not decided yet what to read.

use syncline_record::Micros;

use crate::{
    kafka,
    spec::{Args, Surroundings},
};

/// What a connection leads to: a topic, and how much is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub partitions: u32,
    /// At most: marks of transactions count, and gaps where others were removed.
    pub records: u64,
    /// The time of the newest record, where there is one.
    pub newest: Option<Micros>,
}

/// What can be read through a connection; none where it leads to one thing, or nobody can say.
pub fn list(name: &str, args: &Args, around: &Surroundings) -> Option<Result<Vec<Listed>, String>> {
    match name {
        "kafka" => Some(kafka::list(args, around)),
        _ => None,
    }
}
