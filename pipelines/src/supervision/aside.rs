//! What is asked and takes its time, and changes nothing here: texts are compiled on threads of their own, so that a long one holds up
//! neither pipelines that need the supervision nor what else is asked of it. What a plan is compared with may change meanwhile: it is looked at
//! before and behind (`deploy::proposed`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::Builder,
    time::Duration,
};

use serde_json::json;
use syncline_engine::runtime::start::StartOptions;

use super::{Crew, News, Supervision, Threads};
use crate::{
    backfill,
    compiler::Compiler,
    deploy,
    outcome::Failure,
    plans::{self, Around},
    project::Member,
    source_file::catalog,
    task::Task,
    verbs::{Answer, Asked, Done, Put, Verb, no_such_pipeline, stopping},
};

/// How soon a thread that waits for an answer hears that there will be none.
const NAP: Duration = Duration::from_millis(50);

impl Supervision<'_> {
    pub(super) fn plan<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        put: Put,
        (by, reply): (String, Sender<Answer>),
    ) {
        aside(scope, (by, reply), move || {
            let name = deploy::name_of(&put.text)?;
            let compiler = Compiler::new(&self.kept, &self.ending);
            let (_, proposed) = deploy::proposed(self, &compiler, &name, &put)?;
            Ok(Done::Planned(name, proposed.to_json()))
        });
    }

    pub(super) fn graph<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &Crew,
        name: String,
        (by, reply): (String, Sender<Answer>),
    ) {
        let tasks = crew.tasks(&name);
        if tasks.is_empty() {
            let _ = reply.send(Err(no_such_pipeline(&name, crew.names()).into()));
            return;
        }
        aside(scope, (by, reply), move || {
            let ground = &self.world.ground;
            let (planner, catalog, now) = (&self.planner, &catalog(), ground.clock.now());
            let compiler = &Compiler::new(&self.kept, &self.ending);
            let around = Around { planner, catalog, compiler, ground: Some(ground), most: self.keeps, now };
            let of = |member: &Arc<Member>| Ok(plans::of(member, &around, &StartOptions::default())?.0);
            let planned = tasks.iter().map(of).collect::<Result<Vec<_>, Failure>>()?;
            Ok(Done::Planned(name, json!({ "pipelines": planned })))
        });
    }
}

impl Supervision<'_> {
    /// Looks whether what a pipeline is to take in can be read, before it is asked of it. Who answers there may take his time.
    pub(super) fn look_first<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &Crew,
        pipeline: String,
        (from, share): (String, u8),
        (by, reply): (String, Sender<Answer>),
        tell: &Sender<News>,
    ) {
        let Some(member) = crew.tasks(&pipeline).into_iter().next() else {
            let _ = reply.send(Err(no_such_pipeline(&pipeline, crew.names()).into()));
            return;
        };
        let news = tell.clone();
        aside(scope, (by.clone(), reply), move || {
            let plan = backfill::with(&member, &from, share)?;
            if backfill::is_looked_at(&plan) {
                let options = StartOptions::default();
                let task = Task { all: self, member: member.clone(), stop: Arc::default(), options };
                let shared = plan.options.changelog.is_some();
                match task.could_take_in(&plan) {
                    // It may be that the board does not answer either, and then that is what is to be told.
                    Err(failure) if failure.slug != backfill::AWAY || !shared => {
                        return Err(backfill::unreadable(&member.declared, &from, failure));
                    }
                    _ => {}
                }
            }
            let (reply, answer) = mpsc::channel();
            let asked = Asked { pipeline, verb: Verb::TakeIn { from, share, seen: true }, by, reply };
            let _ = news.send(News::Asked(asked));
            loop {
                match answer.recv_timeout(NAP) {
                    Ok(answer) => return answer,
                    Err(RecvTimeoutError::Timeout) if !self.ending.load(Ordering::SeqCst) => {}
                    Err(_) => return Err(stopping().into()),
                }
            }
        });
    }
}

/// Whoever asks has as many of these at once as the API lets him (`PLANS`); the process waits for them before it ends.
pub(super) fn aside<'scope>(
    scope: &'scope Threads<'scope, '_>,
    (by, reply): (String, Sender<Answer>),
    work: impl FnOnce() -> Answer + Send + 'scope,
) {
    let told = reply.clone();
    let thread = Builder::new().name("plan".to_owned()).spawn_scoped(scope, move || {
        let answer = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(Failure::failed(
                "task-fell",
                "nobody answers: the thread that was to do it ended by a panic, a defect of syncline",
            )
            .into())
        });
        match &answer {
            Ok(Done::Planned(name, _)) => tracing::debug!(pipeline = name, by, "a plan was made"),
            Ok(done) => tracing::info!(by, ?done, "done as asked"),
            Err(refused) => tracing::info!(by, "refused: {}", refused.failure.title),
        }
        // Who asked may be gone.
        let _ = reply.send(answer);
    });
    if let Err(error) = thread {
        let failure = Failure::environment("no-threads", format!("there is no thread for it: {error}"));
        let _ = told.send(Err(failure.help("allow this process more threads").into()));
    }
}
