//! A pipeline as it runs: a tree of steps over one source.
//!
//! Every step has its fixed place, so a batch moves by direct calls: no queue, no hand-over, nothing per record between steps.

use syncline_record::StepId;

use crate::{
    operator::Operator,
    operators::{Decode, Present},
    sink::StagedSink,
};

pub struct Graph {
    pub decode: Decode,
    pub nodes: Vec<Node>,
    /// Steps that take what the source decodes.
    pub first: Vec<usize>,
}

pub struct Node {
    pub id: StepId,
    pub work: Work,
    /// Where its rows go: one step, several (`TEE`, `SHARD … INTO (…)`), or none (a sink).
    pub next: Vec<usize>,
    /// Digest of key, types and window; `None` for a step without state.
    pub state: Option<u64>,
}

pub enum Work {
    Operator(Box<dyn Operator>),
    /// Gives every batch to all of `next`.
    Fan,
    Staged {
        present: Present,
        sink: Box<dyn StagedSink>,
    },
    /// Rows go to this topic; the sink's own task takes them from there.
    Outbox {
        present: Present,
        topic: String,
    },
}

/// The id of the source in books, ledger and dead letters.
pub const SOURCE: &str = "source";
