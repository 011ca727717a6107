//! A pipeline as it runs: steps over one or several inputs, in an order in which rows only go forward.
//!
//! Every step has its fixed place, so a batch moves by direct calls: no queue, no hand-over, nothing per record between steps.

use std::sync::Arc;

use syncline_record::{Books, StepId};

use crate::{
    hop::Hop,
    lookup::Lookup,
    operator::{Operator, Side},
    operators::{Decode, Present},
    partitioned::RecordKey,
    sink::StagedSink,
    source::Source,
    stream::Readers,
    table::TableInput,
};

pub struct Graph {
    /// At least one. The first is the `FROM` of the pipeline.
    pub inputs: Vec<Input>,
    /// Inputs that are read to their end before the first one begins, by index: never 0.
    pub history: Vec<usize>,
    /// An input that ends, and is read beside the others until then.
    pub beside: Option<Beside>,
    /// Every edge goes from a step to a later one.
    pub nodes: Vec<Node>,
    /// Bounded sides of joins, read whole before the first row.
    pub tables: Vec<TableInput>,
    /// What is asked for rows by their key.
    pub lookups: Vec<Arc<Lookup>>,
}

/// What fills in rows of before, while the others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Never 0.
    pub input: usize,
    /// Which backfill of the pipeline it is.
    pub number: u64,
    /// What it may take of the time while the others have rows, in hundredths.
    pub share: u8,
}

/// A source with the step that makes rows of its records.
pub struct Input {
    /// `source` for the first, then `source_2`, …: its page in the books, and the owner of its cursors.
    pub step: StepId,
    pub source: Box<dyn Source>,
    pub decode: Decode,
    /// What the key of each record is made of, where that is claimed (`PARTITIONED BY`).
    pub key: Option<RecordKey>,
    /// Steps that take what it decodes.
    pub first: Vec<Edge>,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub to: usize,
    pub side: Side,
}

/// A step with one way in.
impl From<usize> for Edge {
    fn from(to: usize) -> Self {
        Self { to, side: Side::Left }
    }
}

pub struct Node {
    pub id: StepId,
    pub work: Work,
    /// Where its rows go: one step, several (`TEE`, `SHARD … INTO (…)`), or none (a sink).
    pub next: Vec<Edge>,
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
    /// Rows go to this topic, which other pipelines read.
    Stream {
        present: Present,
        topic: String,
        readers: Box<Readers>,
    },
    /// Rows go to the tasks of the next stage of the pipeline.
    Hop(Hop),
}

/// The id of the first input in books, ledger and dead letters.
pub const SOURCE: &str = "source";

/// Between the id of an input and the name of a partition, in the names of cursors and watermarks. The first input's have no prefix.
const OF: char = '\u{1f}';

/// The id of the input at this place.
pub fn input_step(index: usize) -> StepId {
    match index {
        0 => StepId::new(SOURCE),
        _ => StepId::new(format!("{SOURCE}_{}", index + 1)),
    }
}

/// Rows that came in, over all inputs.
pub fn rows_in(books: &Books) -> u64 {
    let pages = (0..MOST_INPUTS).filter_map(|index| books.steps.get(&input_step(index)));
    pages.map(|page| page.rows_in).sum()
}

/// Inputs of one pipeline: more are a mistake, and every start looks at the cursors of each.
pub const MOST_INPUTS: usize = 16;

/// The name under which a checkpoint keeps a partition of an input: two inputs may read one place, each at its own pace.
pub fn qualified(input: &StepId, partition: &str) -> String {
    if input.as_str() == SOURCE { partition.to_owned() } else { format!("{input}{OF}{partition}") }
}

/// The source's own name of a partition, whichever input it belongs to.
pub fn unqualified(partition: &str) -> &str {
    partition.split_once(OF).map_or(partition, |(_, partition)| partition)
}

/// In front of a place whose cursors are kept though no input reads it now.
const PARKED: &str = "parked ";

/// The step under which the cursors of a place are kept that is not read any more.
pub fn parked(place: &str) -> StepId {
    StepId::new(format!("{PARKED}{place}"))
}

/// Whether the cursor under this name is one that is only kept.
pub fn is_parked(qualified: &str) -> bool {
    of_input(qualified).0.as_str().starts_with(PARKED)
}

/// The input that a partition of a checkpoint belongs to, and the source's own name of it.
pub fn of_input(qualified: &str) -> (StepId, &str) {
    match qualified.split_once(OF) {
        Some((step, partition)) => (StepId::new(step), partition),
        None => (StepId::new(SOURCE), qualified),
    }
}

impl Graph {
    /// Of each step the inputs whose rows can come to it, a bit each.
    pub fn reached_from(&self) -> Vec<u32> {
        let mut reached = vec![0; self.nodes.len()];
        for (index, input) in self.inputs.iter().enumerate() {
            input.first.iter().for_each(|edge| reached[edge.to] |= 1 << index);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            node.next.iter().for_each(|edge| reached[edge.to] |= reached[index]);
        }
        reached
    }
}

impl Input {
    pub fn qualified(&self, partition: &str) -> String {
        qualified(&self.step, partition)
    }

    /// The source's own name of a partition, if it is one of this input.
    pub fn own<'a>(&self, qualified: &'a str) -> Option<&'a str> {
        match qualified.split_once(OF) {
            None => (self.step.as_str() == SOURCE).then_some(qualified),
            Some((step, partition)) => (step == self.step.as_str()).then_some(partition),
        }
    }
}
