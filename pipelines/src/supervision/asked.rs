//! What people ask of pipelines while they run, done on the thread that supervises them.

use std::sync::{Arc, atomic::Ordering, mpsc::Sender};

use syncline_engine::{
    paused,
    revision::{self, Allowed},
    runtime::start::StartOptions,
};
use syncline_record::StepId;

use super::{Crew, Held, News, Supervision, Threads, Work};
use crate::{
    api::{
        Activity,
        etag::{Conditions, ETag},
        status::read_failure,
    },
    backfill,
    compiler::Compiler,
    deploy::{self, Written},
    outcome::Failure,
    project::{self, Member, Project},
    verbs::{Answer, Asked, Done, Put, Refused, Verb, no_such_pipeline, paused_already, stopping},
    world::store_failure,
};

impl Crew {
    /// What the files declare from now on.
    pub(super) fn declare(&mut self, project: &Project) {
        self.declared = project.pipelines.iter().map(|member| (member.name().to_owned(), member.clone())).collect();
        let declared = &self.declared;
        let is_there = |name: &String| declared.values().any(|member| member.declared == *name);
        self.held.retain(|name, _| is_there(name));
        self.allowed.retain(|name, _| is_there(name));
        self.by.retain(|name, _| is_there(name));
        self.watched.retain(|name, (_, over)| {
            over.fetch_or(!is_there(name), Ordering::SeqCst);
            is_there(name)
        });
    }

    /// Whether anything can still come: of a pipeline that runs, or of people who can let one go on. `stays`: or new ones.
    pub(super) fn waits(&self, stays: bool) -> bool {
        !self.running.is_empty() || !self.stopping && (stays || !self.held.is_empty() || self.line.busy)
    }

    /// The tasks of a pipeline.
    pub(super) fn tasks(&self, name: &str) -> Vec<Arc<Member>> {
        self.declared.values().filter(|member| member.declared == name).cloned().collect()
    }

    /// A task of a pipeline that other processes may run too.
    fn shared(&self, name: &str) -> Option<Arc<Member>> {
        self.declared
            .values()
            .find(|member| member.declared == name && member.plan.options.changelog.is_some())
            .cloned()
    }

    /// Whether nothing is on its way that another text would get between.
    fn may_be_written(&self, name: &str) -> Result<(), Failure> {
        if self.back.contains_key(name) {
            return Err(Failure::failed("goes-back", format!("{name} goes back, and its file with it"))
                .help("wait until it has"));
        }
        if self.dropping.contains_key(name) {
            return Err(Failure::failed("state-goes", format!("{name} was deleted, and its state goes still"))
                .help("wait until it has: a text is compared with the state that is there"));
        }
        Ok(())
    }

    /// Whether some task of it is to stop, whatever follows.
    fn is_on_its_way(&self, name: &str) -> bool {
        let mut mine = self.running.values().filter(|running| running.member.declared == name);
        mine.any(|running| running.stop.load(Ordering::SeqCst))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.values().map(|member| &*member.declared)
    }
}

impl Supervision<'_> {
    /// Whether people keep a pipeline from running. Whoever takes what is there and ends waits for nobody.
    pub(super) fn held(&self, crew: &mut Crew, member: &Member) -> Result<Option<Held>, Failure> {
        let name = &member.declared;
        if paused::read(&*self.world.ground.store, name).map_err(read_failure)?.is_some() {
            if self.once {
                return Err(paused_already(name));
            }
            crew.held.insert(name.clone(), Held::Paused);
        }
        Ok(crew.held.get(name).copied())
    }

    /// A declared pipeline that does not run: its paths take records, which wait for it.
    pub(super) fn rest(&self, crew: &mut Crew, member: &Arc<Member>, held: Held) {
        let name = member.name();
        self.host.expect(member);
        // Who reads its streams waits for it, and does not end.
        self.streams.begins(name, false);
        crew.names.insert(name.to_owned());
        crew.failed.remove(name);
        crew.ended.remove(name);
        let (state, how) = match held {
            Held::Paused => (Activity::Paused, "paused"),
            Held::Stopped => (Activity::Stopped, "stopped"),
        };
        self.host.over(name, state, None);
        tracing::info!(pipeline = name, "{how}; `syncline pipeline resume {}` lets it go on", member.declared);
    }

    /// Those that rest and are in no file any more.
    pub(super) fn let_rest_go(&self, crew: &Crew, project: &Project) {
        let is_there = |name: &str| project.pipelines.iter().any(|member| member.name() == name);
        for (name, member) in crew.declared.iter().filter(|(name, _)| !is_there(name)) {
            if crew.held.contains_key(&member.declared) && !crew.running.contains_key(name) {
                self.host.forget(member);
                self.host.gone(name);
            }
        }
    }

    pub(super) fn asked<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        asked: Asked,
        tell: &Sender<News>,
    ) {
        let Asked { pipeline, verb, by, reply } = asked;
        if verb == Verb::Settled {
            let done = if crew.is_on_its_way(&pipeline) { Done::Changed } else { Done::Already };
            let _ = reply.send(Ok(done));
            return;
        }
        let answer = match verb {
            _ if crew.stopping => Err(stopping().into()),
            Verb::Plan(put) => return self.plan(scope, put, (by, reply)),
            Verb::Graph => return self.graph(scope, crew, pipeline, (by, reply)),
            Verb::Put(_) | Verb::Delete { .. } | Verb::Back(_) => {
                let asked = Asked { pipeline, verb, by, reply };
                return self.compile_first(scope, crew, Work::Asked(Box::new(asked)), tell);
            }
            Verb::Text => self.text(crew, &pipeline),
            Verb::Files => project::every(&self.scope).map(Done::Files).map_err(Refused::from),
            Verb::TakeIn { from, share, seen: false } => {
                return self.look_first(scope, crew, pipeline, (from, share), (by, reply), tell);
            }
            Verb::TakeIn { .. } | Verb::Backfill(_) => match crew.shared(&pipeline) {
                Some(member) => return self.ask_all(scope, member, verb, (by, reply), tell),
                None => self.fill(scope, crew, &pipeline, verb, tell),
            },
            verb => self.turn(scope, crew, &pipeline, &verb, tell).map_err(Refused::from),
        };
        told((&pipeline, &by), answer, &reply);
    }

    /// Does what writes, its texts compiled. `last`: it is not tried again. `Err`: texts changed since, and nothing was done.
    pub(super) fn write<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (asked, compiler, last): (Box<Asked>, &Arc<Compiler>, bool),
        tell: &Sender<News>,
    ) -> Result<(), Box<Asked>> {
        let Asked { pipeline, verb, by, reply } = &*asked;
        let answer = match verb {
            Verb::Put(put) => self.put(scope, crew, (pipeline, by, compiler), put, tell).map(Some),
            Verb::Delete { drop_state, conditions } => {
                self.delete(scope, crew, (pipeline, *drop_state, conditions), (compiler, reply), tell)
            }
            Verb::Back(way) => {
                let asked = self.ask_back(scope, crew, (pipeline, compiler), (*way, by, reply), tell);
                asked.map(|()| None).map_err(Refused::from)
            }
            _ => return Ok(()),
        };
        if answer.is_err() && compiler.holds().is_err() && !last {
            return Err(asked);
        }
        if let Some(answer) = answer.transpose() {
            told((pipeline, by), answer, reply);
        }
        Ok(())
    }

    /// Holds a pipeline, or lets it go on.
    fn turn<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        name: &str,
        verb: &Verb,
        tell: &Sender<News>,
    ) -> Result<Done, Failure> {
        let tasks = crew.tasks(name);
        if tasks.is_empty() {
            return Err(no_such_pipeline(name, crew.names()));
        }
        let (store, now) = (&*self.world.ground.store, self.world.ground.clock.now());
        let before = crew.held.get(name).copied();
        match verb {
            Verb::Pause => {
                paused::pause(store, name, now).map_err(read_failure)?;
                crew.held.insert(name.to_owned(), Held::Paused);
            }
            Verb::Stop => _ = crew.held.entry(name.to_owned()).or_insert(Held::Stopped),
            Verb::Resume => {
                paused::resume(store, name).map_err(store_failure)?;
                crew.held.remove(name);
            }
            _ if before == Some(Held::Paused) => return Err(paused_already(name)),
            _ => _ = crew.held.remove(name),
        }
        let (held, again) = (crew.held.get(name).copied(), *verb == Verb::Restart);
        let mut changed = held != before;
        for member in tasks {
            let stops = crew.running.get(member.name()).map(|running| running.stop.load(Ordering::SeqCst));
            match (held, stops) {
                (Some(_), Some(_)) => self.let_stop(crew, member.name(), None),
                (Some(held), None) if changed => self.rest(crew, &member, held),
                (Some(_), None) => {}
                (None, Some(stops)) if again || stops => {
                    changed = true;
                    let options = crew.allowed.remove(name).unwrap_or_default();
                    let task = member.name().to_owned();
                    self.let_stop(crew, &task, Some((member, options)));
                }
                (None, None) if again || before.is_some() || crew.failed.contains_key(member.name()) => {
                    changed = true;
                    let options = crew.allowed.remove(name).unwrap_or_default();
                    self.begin(scope, crew, member, options, tell);
                }
                // It runs; or it came to its end by itself.
                (None, _) => {}
            }
        }
        Ok(if changed { Done::Changed } else { Done::Already })
    }

    /// What a pipeline takes in changes, and with it its graph: it starts again from its last checkpoint, unless it is held.
    fn fill<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        name: &str,
        verb: Verb,
        tell: &Sender<News>,
    ) -> Answer {
        let (store, now) = (&*self.world.ground.store, self.world.ground.clock.now());
        let tasks = crew.tasks(name);
        let member = tasks.first().ok_or_else(|| no_such_pipeline(name, crew.names()))?;
        let changed = match verb {
            Verb::TakeIn { from, share, .. } => backfill::start(store, member, &from, share, now).map(|_| true)?,
            Verb::Backfill(wish) => backfill::change(store, name, wish)?,
            _ => false,
        };
        match changed {
            false => Ok(Done::Already),
            true if crew.held.contains_key(name) => Ok(Done::Changed),
            true => Ok(self.turn(scope, crew, name, &Verb::Restart, tell)?),
        }
    }

    pub(super) fn let_stop(&self, crew: &mut Crew, name: &str, next: Option<(Arc<Member>, StartOptions)>) {
        if let Some(running) = crew.running.get_mut(name) {
            running.next = next;
            running.stop.store(true, Ordering::SeqCst);
            self.host.stopping(name);
        }
    }

    fn put<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (name, by, compiler): (&str, &str, &Compiler),
        put: &Put,
        tell: &Sender<News>,
    ) -> Answer {
        let tasks = crew.tasks(name);
        let new = tasks.is_empty();
        let names = deploy::names_of(&put.text);
        names.iter().try_for_each(|name| crew.may_be_written(name))?;
        let written = deploy::check(self, compiler, name, put)?;
        // Behind all other refusals (RFC 9110 §13.2.1), and on the thread that writes: nothing comes between the look and the change.
        let there = deploy::there(self, name, tasks.first().map(|member| &**member))?;
        hold(&put.conditions, there, name)?;
        compiler.holds()?;
        compiler.open();
        let same = written.is_there();
        self.allow(&written, &put.drop_state)?;
        written.write()?;
        let drop_state = put.drop_state.iter().map(StepId::new).collect();
        let options = StartOptions { drop_state, ..StartOptions::default() };
        if !same {
            crew.by.extend(names.iter().map(|name| (name.clone(), by.to_owned())));
        }
        self.read_again(scope, crew, (compiler, Some((&names, options))), tell)?;
        Ok(match (new, same) {
            (true, _) => Done::Created,
            (false, true) => Done::Already,
            (false, false) => Done::Changed,
        })
    }

    /// Notes what a text may lose, where it is another one than what runs: a start that this process does not live to see knows it too.
    fn allow(&self, written: &Written, drop_state: &[String]) -> Result<(), Failure> {
        let steps: Vec<StepId> = drop_state.iter().map(StepId::new).collect();
        for (task, digest) in &written.digests {
            let allowed = Allowed { digest: digest.clone(), steps: steps.clone() };
            revision::allow(&*self.world.ground.store, task, &allowed).map_err(store_failure)?;
        }
        Ok(())
    }

    fn text(&self, crew: &Crew, name: &str) -> Answer {
        let tasks = crew.tasks(name);
        let member = tasks.first().ok_or_else(|| no_such_pipeline(name, crew.names()))?;
        Ok(Done::Text(deploy::text_of(member)?))
    }

    /// `None`: the answer comes when the state is gone.
    fn delete<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (name, drop_state, conditions): (&str, bool, &Conditions),
        (compiler, reply): (&Compiler, &Sender<Answer>),
        tell: &Sender<News>,
    ) -> Result<Option<Done>, Refused> {
        let folder = deploy::folder(self)?;
        crew.may_be_written(name)?;
        let ground = &self.world.ground;
        let tasks = crew.tasks(name);
        let Some(member) = tasks.first() else {
            // Whoever was cut off in the middle asks again.
            if !drop_state || !deploy::is_known(ground, name)? {
                return Err(no_such_pipeline(name, crew.names()).into());
            }
            hold(conditions, None, name)?;
            deploy::forget(ground, name)?;
            return Ok(Some(Done::Changed));
        };
        if drop_state {
            deploy::may_forget(member)?;
        }
        deploy::may_remove(self, compiler, &folder, member)?;
        hold(conditions, deploy::there(self, name, Some(member))?, name)?;
        compiler.holds()?;
        compiler.open();
        deploy::remove(&member.file.path)?;
        paused::resume(&*ground.store, name).map_err(store_failure)?;
        self.read_again(scope, crew, (compiler, None), tell)?;
        if drop_state && crew.running.contains_key(name) {
            crew.dropping.insert(name.to_owned(), reply.clone());
            return Ok(None);
        }
        if drop_state {
            deploy::forget(ground, name)?;
        }
        Ok(Some(Done::Changed))
    }

    /// A pipeline is over: what is known of it goes, if somebody wants that.
    pub(super) fn forget_state(&self, crew: &mut Crew, pipeline: &str) {
        if let Some(reply) = crew.dropping.remove(pipeline) {
            let forgotten = deploy::forget(&self.world.ground, pipeline);
            let _ = reply.send(forgotten.map(|()| Done::Changed).map_err(Refused::from));
        }
    }
}

fn told((pipeline, by): (&str, &str), answer: Answer, reply: &Sender<Answer>) {
    match &answer {
        Ok(Done::Text(_) | Done::Files(_)) => {}
        Ok(done) => tracing::info!(pipeline, by, ?done, "done as asked"),
        Err(refused) => tracing::info!(pipeline, by, "refused: {}", refused.failure.title),
    }
    // Who asked may be gone.
    let _ = reply.send(answer);
}

/// Whether the text that is there is what somebody has seen.
fn hold(conditions: &Conditions, there: Option<Vec<u8>>, name: &str) -> Result<(), Failure> {
    let tag = there.as_deref().map(ETag::of);
    conditions.hold(tag.as_ref(), &format!("/v1/pipelines/{name}/text"))
}
