//! Counts that must balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Fate, StepId};

/// What went into a step, what became of it, what came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepBooks {
    /// Rows that the step took.
    pub rows_in: u64,
    /// Rows that it put out. On a fused edge, the next step's `rows_in`.
    pub rows_out: u64,
    /// Rows per fate, by [`Fate`] as index.
    pub fates: [u64; Fate::ALL.len()],
    /// Rows that are not yet decided (in an outbox, not yet at the sink).
    pub waiting: u64,
}

impl StepBooks {
    pub fn fate(&self, fate: Fate) -> u64 {
        self.fates[fate as usize]
    }

    pub fn count(&mut self, fate: Fate, rows: u64) {
        self.fates[fate as usize] += rows;
    }

    /// Every row that went in has exactly one fate, or still waits.
    pub fn balance(&self) -> bool {
        self.rows_in == self.fates.iter().sum::<u64>() + self.waiting
    }

    pub fn add(&mut self, other: &StepBooks) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.waiting += other.waiting;
        for (mine, theirs) in self.fates.iter_mut().zip(other.fates) {
            *mine += theirs;
        }
    }
}

/// The books of a pipeline: one page per step and branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    pub steps: BTreeMap<StepId, StepBooks>,
}

impl Books {
    pub fn step(&mut self, id: &StepId) -> &mut StepBooks {
        if !self.steps.contains_key(id) {
            self.steps.insert(id.clone(), StepBooks::default());
        }
        self.steps.get_mut(id).expect("just inserted")
    }

    pub fn add(&mut self, other: &Books) {
        for (id, page) in &other.steps {
            self.step(id).add(page);
        }
    }

    /// The first step whose page does not balance.
    pub fn unbalanced(&self) -> Option<&StepId> {
        self.steps.iter().find(|(_, page)| !page.balance()).map(|(id, _)| id)
    }
}
