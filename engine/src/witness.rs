//! Remembers in which window of a commit a process died, so that a crash test can show which windows it hit.
//!
//! One small write per window of an epoch that has rows; it survives `kill -9`, which is what it is for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The windows of an embedded epoch, in order. A crash in any of them is closed by the start sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Window {
    /// Nothing is open.
    Idle = 0,
    /// Rows are on their way; nothing is durable.
    Open = 1,
    /// Staged sinks make their bytes durable.
    Staging = 2,
    /// Topics make their bytes durable.
    Logging = 3,
    /// The checkpoint is being written: the commit itself.
    Committing = 4,
    /// Committed; parts and frames are being shown.
    Revealing = 5,
}

impl Window {
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Open, Self::Staging, Self::Logging, Self::Committing, Self::Revealing];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Staging => "staging",
            Self::Logging => "logging",
            Self::Committing => "committing",
            Self::Revealing => "revealing",
        }
    }
}

/// The windows of one delivery from an outbox to its sink, in order. A crash in any of them is closed by the sink's next `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Handover {
    /// Nothing is on its way.
    Idle = 0,
    /// The sink is asked how far it is; a writer before us is shut out.
    Opening = 1,
    /// Rows are on their way into the sink's open transaction.
    Applying = 2,
    /// The sink commits rows and position: the answer may be lost.
    Committing = 3,
    /// The sink has committed; our copy of its position is behind.
    Recording = 4,
}

impl Handover {
    pub const ALL: [Self; 5] = [Self::Idle, Self::Opening, Self::Applying, Self::Committing, Self::Recording];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    /// Beside the windows of a commit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "sink_idle",
            Self::Opening => "sink_opening",
            Self::Applying => "sink_applying",
            Self::Committing => "sink_committing",
            Self::Recording => "sink_recording",
        }
    }
}

/// The windows of a task's changelog. A crash in any of them is closed by the next start, wherever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Upkeep {
    /// Nothing is on its way.
    Idle = 0,
    /// Who wrote before is shut out, and what he left open is ended.
    Opening = 1,
    /// The copy of this folder is brought up, or made anew.
    Reading = 2,
    /// A transaction is open, and its records are on their way.
    Writing = 3,
    /// The same, of one that lets go of what topics held.
    Moving = 4,
    /// The transaction is committed: the answer may be lost.
    Committing = 5,
    /// It is committed, and the copy is behind.
    Copying = 6,
}

impl Upkeep {
    pub const ALL: [Self; 7] =
        [Self::Idle, Self::Opening, Self::Reading, Self::Writing, Self::Moving, Self::Committing, Self::Copying];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }

    /// Beside the windows of a commit and of a delivery.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "changelog_idle",
            Self::Opening => "changelog_opening",
            Self::Reading => "changelog_reading",
            Self::Writing => "changelog_writing",
            Self::Moving => "changelog_moving",
            Self::Committing => "changelog_committing",
            Self::Copying => "changelog_copying",
        }
    }
}

/// Called by the job's thread at each window. A witness that fails says nothing: it never stops a job.
pub trait Witness: Send {
    fn enter(&mut self, window: Window);

    /// The window that the last process entered last.
    fn last(&self) -> Option<Window>;

    /// The same for the n-th outbox sink, which has a thread of its own.
    fn of_sink(&self, _sink: usize) -> Box<dyn SinkWitness> {
        Box::new(NoWitness)
    }

    /// Windows that sinks of the last process were in; those in none are left out.
    fn last_of_sinks(&self) -> Vec<Handover> {
        vec![]
    }

    /// The same for the changelog, which sinks write to as well.
    fn of_changelog(&self) -> Arc<dyn ChangelogWitness> {
        Arc::new(NoWitness)
    }

    /// The window that the last process's changelog was in; none where it was in none.
    fn last_of_changelog(&self) -> Option<Upkeep> {
        None
    }
}

/// Called by whoever writes to the changelog.
pub trait ChangelogWitness: Send + Sync {
    fn enter(&self, window: Upkeep);
}

/// Called by a sink's thread at each window.
pub trait SinkWitness: Send {
    fn enter(&mut self, window: Handover);
}

/// Remembers nothing.
pub struct NoWitness;

impl Witness for NoWitness {
    fn enter(&mut self, _: Window) {}

    fn last(&self) -> Option<Window> {
        None
    }
}

impl SinkWitness for NoWitness {
    fn enter(&mut self, _: Handover) {}
}

impl ChangelogWitness for NoWitness {
    fn enter(&self, _: Upkeep) {}
}

/// The witness of a start that has opened its changelog already: what the last process was in was asked before.
pub struct Asked {
    pub witness: Box<dyn Witness>,
    pub last_of_changelog: Option<Upkeep>,
}

impl Witness for Asked {
    fn enter(&mut self, window: Window) {
        self.witness.enter(window);
    }

    fn last(&self) -> Option<Window> {
        self.witness.last()
    }

    fn of_sink(&self, sink: usize) -> Box<dyn SinkWitness> {
        self.witness.of_sink(sink)
    }

    fn last_of_sinks(&self) -> Vec<Handover> {
        self.witness.last_of_sinks()
    }

    fn of_changelog(&self) -> Arc<dyn ChangelogWitness> {
        self.witness.of_changelog()
    }

    fn last_of_changelog(&self) -> Option<Upkeep> {
        self.last_of_changelog
    }
}

/// The witness of a start in a process that is still the same: nobody was killed.
pub struct Told(pub Box<dyn Witness>);

impl Witness for Told {
    fn enter(&mut self, window: Window) {
        self.0.enter(window);
    }

    fn of_sink(&self, sink: usize) -> Box<dyn SinkWitness> {
        self.0.of_sink(sink)
    }

    fn of_changelog(&self) -> Arc<dyn ChangelogWitness> {
        self.0.of_changelog()
    }

    fn last(&self) -> Option<Window> {
        None
    }
}
