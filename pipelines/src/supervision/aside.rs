//! What is asked and takes its time, and changes nothing here: texts are compiled on threads of their own, so that a long one holds up
//! neither pipelines that need the supervision nor what else is asked of it. What a plan is compared with may change meanwhile: it is looked at
//! before and behind (`deploy::proposed`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Sender},
    thread::Builder,
};

use serde_json::json;
use syncline_engine::runtime::start::StartOptions;

use super::{Crew, Supervision, Threads};
use crate::{
    deploy,
    outcome::Failure,
    plans::{self, Around},
    project::Member,
    source_file::catalog,
    verbs::{Answer, Done, Put, no_such_pipeline},
};

impl Supervision<'_> {
    pub(super) fn plan<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        put: Put,
        (by, reply): (String, Sender<Answer>),
    ) {
        aside(scope, (by, reply), move || {
            let name = deploy::name_of(&put.text)?;
            let (_, proposed) = deploy::proposed(self, &name, &put)?;
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
            let around = Around { planner, catalog, ground: Some(ground), most: self.keeps, now };
            let of = |member: &Arc<Member>| Ok(plans::of(member, &around, &StartOptions::default())?.0);
            let planned = tasks.iter().map(of).collect::<Result<Vec<_>, Failure>>()?;
            Ok(Done::Planned(name, json!({ "pipelines": planned })))
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
