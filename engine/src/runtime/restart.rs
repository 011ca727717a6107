//! Whether a pipeline whose task is over starts again, and when.
//!
//! A failure that time or somebody's hand can mend (a disk, a database, an input that is not there, a panic) is tried again after
//! a pause that doubles, with a random part so that what failed together does not come back together. One that comes again by
//! itself is not: the row that broke an expectation lies where it lay, and damage stays damage.

use std::time::Duration;

use super::{
    delivery::DeliveryError,
    job::JobError,
    start::StartError,
    supervisor::{Ending, RunError},
};
use crate::{
    changelog::ChangelogError,
    checkpoint::ReadError,
    log::{CommitError, LogError},
    segment::SegmentError,
    sink::SinkError,
    source::SourceError,
    store::StoreError,
};

/// The longest pause, unless the pipeline asks for a longer first one: what is mended is noticed within a minute.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A task that lived this long, and longer than the pause before it, was well: earlier failures are not counted any more.
pub const HEALTHY: Duration = Duration::from_secs(60);

/// When a task that is over starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Its first failure is its last.
    Never,
    /// After a failure that may pass.
    OnFailure,
    /// After every failure that needs no edit, and after the end of its input too.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub when: When,
    /// The pause before the first restart; it doubles with each that follows.
    pub delay: Duration,
    /// Restarts without a healthy time between them; `None`: as many as it takes.
    pub most: Option<u32>,
}

impl Restart {
    pub const NEVER: Restart = Restart { when: When::Never, delay: Duration::from_secs(1), most: None };
}

/// What is remembered from one life of the task to the next.
pub(super) struct Restarts {
    policy: Restart,
    /// Failures since it was last well.
    failures: u32,
    /// The pause before this life.
    pause: Duration,
    /// All restarts of this process.
    pub total: u64,
}

impl Restarts {
    pub fn new(policy: Restart) -> Self {
        Self { policy, failures: 0, pause: Duration::ZERO, total: 0 }
    }

    /// The pause before the next life, or `None`: this was the last. `lived`: from start to end. `draw`: any random number.
    pub fn after(&mut self, end: &Result<Ending, RunError>, lived: Duration, draw: u64) -> Option<Duration> {
        let pause = match end {
            Ok(Ending::Stopped | Ending::Left) => None,
            Ok(Ending::Ended) => (self.policy.when == When::Always).then_some(self.policy.delay),
            Err(error) => self.after_failure(error, lived, draw),
        }?;
        self.pause = pause;
        self.total += 1;
        Some(pause)
    }

    fn after_failure(&mut self, error: &RunError, lived: Duration, draw: u64) -> Option<Duration> {
        let again = match self.policy.when {
            When::Never => false,
            _ if error.needs_process() => false,
            When::OnFailure => error.may_pass(),
            When::Always => !error.needs_edit(),
        };
        if lived >= HEALTHY.max(self.pause) {
            self.failures = 0;
        }
        if !again || self.policy.most.is_some_and(|most| self.failures >= most) {
            return None;
        }
        let doubled = self.policy.delay.saturating_mul(2u32.saturating_pow(self.failures.min(31)));
        let pause = doubled.min(LONGEST_PAUSE.max(self.policy.delay));
        self.failures += 1;
        // Up to a quarter longer, and never shorter than what was asked for.
        Some(pause + (pause / 4).mul_f64((draw % 1000) as f64 / 1000.0))
    }
}

impl RunError {
    /// What the changelog said, if it was that.
    pub(super) fn of_changelog(&self) -> Option<&ChangelogError> {
        match self {
            Self::Start(
                StartError::Store(StoreError::Changelog(error))
                | StartError::Log(LogError::Changelog(error))
                | StartError::Read(ReadError::Store(StoreError::Changelog(error)))
                | StartError::Segment(SegmentError::Store(StoreError::Changelog(error))),
            )
            | Self::Job(
                JobError::Store(StoreError::Changelog(error))
                | JobError::Log(LogError::Changelog(error))
                | JobError::Read(ReadError::Store(StoreError::Changelog(error)))
                | JobError::Segment(SegmentError::Store(StoreError::Changelog(error)))
                | JobError::Commit(
                    CommitError::Store(StoreError::Changelog(error)) | CommitError::Log(LogError::Changelog(error)),
                ),
            )
            | Self::Delivery(
                DeliveryError::Store(StoreError::Changelog(error))
                | DeliveryError::Log(LogError::Changelog(error))
                | DeliveryError::Read(ReadError::Store(StoreError::Changelog(error))),
            ) => Some(error),
            _ => None,
        }
    }

    /// Threads of this one hang in a client: only another process can go on.
    pub fn needs_process(&self) -> bool {
        let sink = match self {
            Self::Hangs { .. } => return true,
            Self::Start(StartError::Sink { error, .. })
            | Self::Job(JobError::Sink { error, .. })
            | Self::Delivery(DeliveryError::Sink { error, .. }) => error,
            _ => return matches!(self.of_changelog(), Some(ChangelogError::Hangs { .. })),
        };
        matches!(sink, SinkError::Hangs(_))
    }

    /// Only another pipeline file or another word on the command line helps.
    pub fn needs_edit(&self) -> bool {
        matches!(
            self,
            Self::Build(_)
                | Self::Start(
                    StartError::StateWouldBeLost { .. }
                        | StartError::StepsMoved { .. }
                        | StartError::RowsWouldRepeat { .. }
                        | StartError::GoesBack { .. }
                        | StartError::WentOn { .. }
                )
        )
    }

    /// The same start may work later, without anybody touching the pipeline or its data folder.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Build(_) => false,
            Self::Start(error) => match error {
                StartError::Read(error) => read(error),
                StartError::Store(error) => store(error),
                StartError::Log(error) => log(error),
                StartError::Segment(error) => segment(error),
                StartError::Source(error) => source(error),
                StartError::Sink { error, .. } => sink(error),
                StartError::StateWouldBeLost { .. }
                | StartError::StepsMoved { .. }
                | StartError::RowsWouldRepeat { .. }
                | StartError::GoesBack { .. }
                | StartError::WentOn { .. } => false,
            },
            Self::Job(error) => match error {
                JobError::Halt(_) | JobError::Unbalanced { .. } => false,
                JobError::Unread { .. } => true,
                JobError::Source(error) => source(error),
                JobError::Sink { error, .. } => sink(error),
                JobError::Log(error) => log(error),
                JobError::Store(error) => store(error),
                JobError::Read(error) => read(error),
                JobError::Segment(error) => segment(error),
                JobError::Commit(error) => match error {
                    CommitError::Fenced { .. } => false,
                    CommitError::Unknown { .. } => true,
                    CommitError::Log(error) => log(error),
                    CommitError::Store(error) => store(error),
                },
                JobError::Lost { .. } => true,
            },
            Self::Delivery(error) => match error {
                DeliveryError::Sink { error, .. } => sink(error),
                DeliveryError::Log(error) => log(error),
                DeliveryError::Store(error) => store(error),
                DeliveryError::Read(error) => read(error),
                DeliveryError::Fallen { .. } => true,
                DeliveryError::Damaged { .. } => false,
            },
            Self::Panicked { .. } | Self::NoThread { .. } => true,
            Self::Hangs { .. } => false,
        }
    }
}

/// The changelog that did not answer, or nobody heard what: it may answer later.
pub(super) fn unanswered(result: &Result<Ending, RunError>) -> Option<&ChangelogError> {
    let error = result.as_ref().err()?.of_changelog()?;
    let later = matches!(
        error,
        ChangelogError::Unreachable { .. } | ChangelogError::Unknown { .. } | ChangelogError::Stopped { .. }
    );
    later.then_some(error)
}

/// Everything in memory is dropped, and what is committed says how to go on, at once.
pub(super) fn starts_again(result: &Result<Ending, RunError>) -> bool {
    match result {
        Err(RunError::Job(JobError::Lost { .. } | JobError::Commit(CommitError::Unknown { .. }))) => true,
        Err(error) => matches!(error.of_changelog(), Some(ChangelogError::Unknown { .. })),
        Ok(_) => false,
    }
}

/// Another process has the task, or is about to.
pub(super) fn parted(result: &Result<Ending, RunError>) -> bool {
    match result {
        Err(RunError::Job(JobError::Lost { .. })) => true,
        Err(error) => matches!(error.of_changelog(), Some(ChangelogError::Fenced { .. })),
        Ok(_) => false,
    }
}

fn store(error: &StoreError) -> bool {
    match error {
        StoreError::Full { .. } | StoreError::Io { .. } => true,
        StoreError::Changelog(error) => changelog(error),
        StoreError::Log(error) => log(error),
        StoreError::InUse { .. } | StoreError::Format { .. } | StoreError::Damaged { .. } | StoreError::Crashed => {
            false
        }
    }
}

fn log(error: &LogError) -> bool {
    match error {
        LogError::Full { .. } | LogError::Io { .. } => true,
        LogError::Changelog(error) => changelog(error),
        LogError::Damaged { .. } | LogError::Gone { .. } | LogError::Short { .. } | LogError::Crashed => false,
    }
}

fn changelog(error: &ChangelogError) -> bool {
    match error {
        ChangelogError::Unknown { .. } | ChangelogError::Unreachable { .. } | ChangelogError::Refused { .. } => true,
        ChangelogError::Fenced { .. }
        | ChangelogError::Foreign { .. }
        | ChangelogError::Damaged { .. }
        | ChangelogError::Hangs { .. }
        | ChangelogError::Stopped { .. } => false,
    }
}

fn read(error: &ReadError) -> bool {
    matches!(error, ReadError::Store(error) if store(error))
}

fn segment(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Store(error) if store(error))
}

/// An input that is gone or is another one can be put back.
fn source(error: &SourceError) -> bool {
    match error {
        SourceError::Unreadable { .. } | SourceError::Changed { .. } | SourceError::Again { .. } => true,
        // The record lies where it lies.
        SourceError::Misplaced { .. } => false,
        SourceError::Log(error) => log(error),
    }
}

/// Also what a sink calls `Never`: a permission or a table that somebody can give without touching the pipeline.
fn sink(error: &SinkError) -> bool {
    match error {
        SinkError::Again(_) | SinkError::Later { .. } | SinkError::Reconnect(_) | SinkError::Never(_) => true,
        SinkError::Foreign(_) | SinkError::Closed(_) | SinkError::Hangs(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use syncline_record::StepId;

    use super::*;
    use crate::operator::Halt;

    const SECOND: Duration = Duration::from_secs(1);

    fn broken() -> Result<Ending, RunError> {
        let error = SinkError::Never("no such table".into());
        Err(RunError::Delivery(DeliveryError::Sink { step: StepId::new("upsert"), error }))
    }

    fn halted() -> Result<Ending, RunError> {
        let step = StepId::new("expect");
        Err(RunError::Job(JobError::Halt(Halt::Broken { step, detail: "as it must".into() })))
    }

    fn policy(when: When, most: Option<u32>) -> Restarts {
        Restarts::new(Restart { when, delay: SECOND, most })
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_its_random_part_only_adds() {
        let mut restarts = policy(When::OnFailure, None);
        let pauses: Vec<u64> =
            (0..8).filter_map(|_| restarts.after(&broken(), Duration::ZERO, 0)).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        let longest = restarts.after(&broken(), Duration::ZERO, 999).unwrap();
        assert!(longest > Duration::from_secs(74) && longest < Duration::from_secs(75), "{longest:?}");
        assert_eq!(restarts.total, 9);
    }

    #[test]
    fn a_first_pause_longer_than_a_minute_stays_as_it_is() {
        let mut restarts = Restarts::new(Restart { when: When::OnFailure, delay: 600 * SECOND, most: None });
        assert_eq!(restarts.after(&broken(), SECOND, 0), Some(600 * SECOND));
        assert_eq!(restarts.after(&broken(), SECOND, 0), Some(600 * SECOND));
    }

    #[test]
    fn failures_are_counted_until_the_task_was_well_for_a_while() {
        let mut restarts = policy(When::OnFailure, Some(2));
        assert!(restarts.after(&broken(), SECOND, 0).is_some());
        assert!(restarts.after(&broken(), SECOND, 0).is_some());
        assert_eq!(restarts.after(&broken(), 61 * SECOND, 0), Some(SECOND));
        assert_eq!(restarts.after(&broken(), SECOND, 0), Some(2 * SECOND));
        assert_eq!(restarts.after(&broken(), SECOND, 0), None);
    }

    #[test]
    fn each_word_says_which_ends_are_followed_by_another_start() {
        let lost = StartError::StateWouldBeLost { pipeline: "orders".into(), losses: vec![] };
        let ends: [Result<Ending, RunError>; 5] =
            [Ok(Ending::Stopped), Ok(Ending::Ended), broken(), halted(), Err(RunError::Start(lost))];
        let again = |when| ends.each_ref().map(|end| policy(when, None).after(end, SECOND, 0).is_some());
        assert_eq!(again(When::Never), [false; 5]);
        assert_eq!(again(When::OnFailure), [false, false, true, false, false]);
        assert_eq!(again(When::Always), [false, true, true, true, false]);
    }
}
