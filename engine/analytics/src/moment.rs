//! One moment of what steps remember, for all of a question.
//!
//! A question that names the state of several steps sees all of it in one look at the store: for each pipeline, what its last commit
//! before that look left, and its number. Steps of one pipeline are of one epoch, always; those of another pipeline have an epoch of their
//! own, at the same moment. Older epochs are not kept: state is what is live.
//!
//! The look is taken when the first row is asked for. What is small is copied in it, and what is large as far as [`HELD`] goes. The rest
//! lies in segments that are never changed; one that is gone when its turn comes makes the question fail, for without it the answer would
//! be of no epoch at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use datafusion::error::DataFusionError;
use syncline_engine::{
    checkpoint,
    segment::{self, SEGMENT_BYTES},
    store::{StateStore, StoreError},
};
use syncline_record::{Epoch, StepId};

use crate::gather::Stop;

/// Bytes that a question holds of segments that are not merged any more: some two million keys.
const HELD: usize = 64 << 20;

/// A pipeline and one of its steps.
type Of = (String, StepId);

/// What a question has asked for, and what the look at it saw.
#[derive(Default)]
pub struct Moment {
    asked: Mutex<BTreeSet<Of>>,
    seen: OnceLock<Result<Arc<Seen>, StoreError>>,
}

/// A live segment: its bytes, or where they are.
pub enum Piece {
    Copied(Vec<u8>),
    Left(Vec<u8>),
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    epochs: BTreeMap<String, Epoch>,
    pieces: BTreeMap<Of, Vec<Piece>>,
}

impl Moment {
    /// A question will want the state of this step. Said while it is planned, before any of it is read.
    pub fn ask(&self, pipeline: &str, step: &StepId) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert((pipeline.to_owned(), step.clone()));
    }

    /// The look at everything that was asked for; the same for whoever asks again.
    pub fn seen(&self, store: &dyn StateStore) -> Result<Arc<Seen>, Stop> {
        let look = || {
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            look(store, asked).map(Arc::new)
        };
        Ok(self.seen.get_or_init(look).clone()?)
    }
}

fn look(store: &dyn StateStore, asked: BTreeSet<Of>) -> Result<Seen, StoreError> {
    let pipelines: BTreeSet<&String> = asked.iter().map(|(pipeline, _)| pipeline).collect();
    let checkpoints: Vec<(Vec<u8>, &String)> =
        pipelines.into_iter().map(|pipeline| (checkpoint::checkpoint_key(pipeline), pipeline)).collect();
    let steps: Vec<(Vec<u8>, &Of)> = asked.iter().map(|of| (segment::prefix(&of.0, &of.1), of)).collect();
    let prefixes: Vec<&[u8]> = checkpoints
        .iter()
        .map(|(key, _)| key)
        .chain(steps.iter().map(|(prefix, _)| prefix))
        .map(Vec::as_slice)
        .collect();
    let (mut seen, mut held) = (Seen::default(), 0);
    store.scan_all(&prefixes, &mut |key, value| {
        if let Some((_, pipeline)) = checkpoints.iter().find(|(checkpoint, _)| checkpoint == key) {
            seen.epochs.extend(checkpoint::epoch_of(value).map(|epoch| ((*pipeline).clone(), epoch)));
        } else if let Some((_, of)) = steps.iter().find(|(prefix, _)| key.starts_with(prefix)) {
            let large = value.len() >= SEGMENT_BYTES / 2;
            held += if large { value.len() } else { 0 };
            let piece = if large && held > HELD { Piece::Left(key.to_vec()) } else { Piece::Copied(value.to_vec()) };
            seen.pieces.entry((*of).clone()).or_default().push(piece);
        }
        true
    })?;
    Ok(seen)
}

impl Seen {
    /// The last commit that the look saw of a pipeline.
    pub fn epoch(&self, pipeline: &str) -> Option<Epoch> {
        self.epochs.get(pipeline).copied()
    }

    /// The segments of a step, in order.
    pub fn pieces(&self, pipeline: &str, step: &StepId) -> &[Piece] {
        self.pieces.get(&(pipeline.to_owned(), step.clone())).map_or(&[], Vec::as_slice)
    }
}

impl Piece {
    /// Its bytes.
    pub fn bytes(&self, store: &dyn StateStore) -> Result<std::borrow::Cow<'_, [u8]>, Stop> {
        match self {
            Self::Copied(bytes) => Ok(bytes.into()),
            Self::Left(key) => match store.get(key)? {
                Some(bytes) => Ok(bytes.into()),
                None => Err(Stop::Refused(DataFusionError::Execution(
                    "the state that is asked for expired while it was read: ask again".to_owned(),
                ))),
            },
        }
    }
}
