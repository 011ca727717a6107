//! What is asked of the pipelines of a running process, and the way there.
//!
//! Whoever asks waits for the answer of the one thread that supervises them all, so two that ask at once come one after the other. A verb
//! speaks of a pipeline as its file names it: of one with several tasks, of all of them.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use serde_json::Value;
use syncline_engine::backfill::Wish;

use crate::{
    api::etag::Conditions,
    outcome::{Exit, Failure},
    supervision::News,
};

/// What to do with a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Nobody runs it until it is resumed, over restarts of the process too.
    Pause,
    /// It goes on from its last checkpoint.
    Resume,
    /// Until it is resumed, or the process starts again.
    Stop,
    /// Stop, and start again from the last checkpoint.
    Restart,
    /// Its file has this text from now on.
    Put(Put),
    /// What that text would do; nothing is done. The pipeline is the first that the text declares.
    Plan(Put),
    /// Its steps, as a tree.
    Graph,
    /// The text of its file.
    Text,
    /// The files that this process runs.
    Files,
    /// Whether it is where it was sent: `Already`, or it is on its way (`Changed`).
    Settled,
    /// Its file is gone. `drop_state`: so is all that is known of it. When the text that is there is not what the conditions ask for, nothing
    /// is done.
    Delete { drop_state: bool, conditions: Conditions },
    /// It goes back to what a revision of it said and had.
    Back(Way),
    /// It reads something to its end beside its sources. `seen`: whether that can be read was looked at.
    TakeIn { from: String, share: u8, seen: bool },
    /// What it takes in is held, goes on, or ends.
    Backfill(Wish),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The number of the revision; `None`: the one before.
    pub to: Option<u64>,
    /// Also where a table then holds rows twice.
    pub insert_again: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    pub text: String,
    /// Steps whose state may be lost.
    pub drop_state: Vec<String>,
    /// Pipelines that may stop, because their file declares them no more.
    pub drop_pipelines: Vec<String>,
    /// The id of the plan that was looked at: when it is not true any more, nothing is done.
    pub plan: Option<String>,
    /// When the text that is there is not what these ask for, nothing is done.
    pub conditions: Conditions,
}

/// What a verb did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was so before.
    Already,
    Changed,
    /// There was no such pipeline.
    Created,
    /// The name of the pipeline, and its plan.
    Planned(String, Value),
    /// The text of its file.
    Text(Vec<u8>),
    Files(Vec<PathBuf>),
}

/// Why a verb did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub failure: Box<Failure>,
    /// What is wrong with a text, as `check -o json` says it.
    pub diagnostics: Vec<Value>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure: Box::new(failure), diagnostics: vec![] }
    }
}

pub type Answer = Result<Done, Refused>;

/// A verb on its way.
pub struct Asked {
    pub pipeline: String,
    pub verb: Verb,
    /// Who asks, for whoever looks later.
    pub by: String,
    pub reply: Sender<Answer>,
}

/// A process that is on its way out answers nobody; a sink may take its two minutes before it lets go.
const PATIENCE: Duration = Duration::from_secs(150);

/// The way to the supervision, open while pipelines run.
#[derive(Default)]
pub struct Control(OnceLock<Sender<News>>);

impl Control {
    pub fn open(&self, news: Sender<News>) {
        let _ = self.0.set(news);
    }

    /// Waits for the answer.
    pub fn ask(&self, pipeline: &str, verb: Verb, by: &str) -> Answer {
        let (reply, answer) = mpsc::channel();
        let asked = Asked { pipeline: pipeline.to_owned(), verb, by: by.to_owned(), reply };
        if self.0.get().is_none_or(|news| news.send(News::Asked(asked)).is_err()) {
            return Err(stopping().into());
        }
        answered(&answer, PATIENCE)
    }
}

/// Who has heard a verb may still do it, so that nobody is told that it was not done.
fn answered(answer: &Receiver<Answer>, patience: Duration) -> Answer {
    match answer.recv_timeout(patience) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Disconnected) => Err(stopping().into()),
        Err(RecvTimeoutError::Timeout) => {
            let title = format!("it is not done after {} seconds, and may still be", patience.as_secs());
            Err(Failure::new(Exit::Environment, "not-done-yet", title)
                .help("look what it came to: syncline status; a sink that does not let go is named there")
                .into())
        }
    }
}

pub fn stopping() -> Failure {
    Failure::new(Exit::Environment, "stopping", "this process is on its way out, and did nothing")
        .help("ask again when it runs")
}

/// Only who lets it go on can want something else of it.
pub fn paused_already(name: &str) -> Failure {
    Failure::failed("pipeline-paused", format!("{name} is paused, and takes nothing"))
        .help(format!("let it go on: syncline pipeline resume {name}"))
}

pub fn no_such_pipeline<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> Failure {
    let mut there: Vec<&str> = there.collect();
    there.sort_unstable();
    there.dedup();
    let known = if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) };
    Failure::failed("no-such-pipeline", format!("this process has no pipeline `{name}`")).help(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_that_nothing_was_done_while_it_may_still_be() {
        let (reply, answer) = mpsc::channel();
        let slug = |answer: Answer| answer.unwrap_err().failure.slug.to_string();
        assert_eq!(slug(answered(&answer, Duration::ZERO)), "not-done-yet");
        drop(reply);
        assert_eq!(slug(answered(&answer, Duration::ZERO)), "stopping");
    }
}
