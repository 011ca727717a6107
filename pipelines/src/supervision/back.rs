//! A pipeline goes back to a revision: its text, its state and its positions, as they were when another text took its place.
//!
//! It stops; what the way back needs is looked at; one record in the store decides; then its file gets its old text, and its next start goes
//! the way (`engine/src/revision.rs`). Whoever dies behind the decision goes on with it, before its files are read again ([`finish_back`]).
//! What is refused is refused before the decision, and the pipeline goes on as it was.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
};

use syncline_connectors::file::unread_since;
use syncline_dsl::plan::{Place, Plan, SinkPlan, StepKind, Value, WritePlan};
use syncline_engine::{
    checkpoint::{self, Checkpoint},
    ledger::{outbox_topic, stream_topic},
    letters::{self, Mark, Standing},
    revision::{self, Back, Revision, Stood, Written},
    runtime::start::StartOptions,
};
use syncline_record::StepId;

use super::{Crew, News, Supervision, Threads};
use crate::{
    api::status::read_failure,
    compiler::Compiler,
    deploy, origin,
    outcome::Failure,
    project::{Change, Member, Project, declared},
    source_file::SourceFile,
    task::Task,
    verbs::{Answer, Done, Refused, Way, no_such_pipeline, stopping},
    world::{World, store_failure},
};

/// A wish to go back, until its pipeline has stopped.
pub(super) struct Goes {
    to: Revision,
    way: Way,
    by: String,
    reply: Sender<Answer>,
    /// Knows the texts of when it was asked.
    compiler: Arc<Compiler>,
    /// It ran when it was asked.
    ran: bool,
}

/// The slug of a start that cannot go where it was decided to go: another text stands there.
pub(super) const GOES_BACK: &str = "goes-back";

/// Words that stand before what no state may hold.
const PASSWORD: &str = "password=";

/// Puts the texts in their places that pipelines go back to, where a process died before it could. One whose file is gone was deleted
/// on the way, and stays so.
pub fn finish_back(world: &World) -> Result<(), Failure> {
    for back in revision::all_back(&*world.ground.store).map_err(read_failure)? {
        if let Some(path) = origin::file_of(world, &back.pipeline).filter(|path| path.exists()) {
            tracing::info!(pipeline = back.pipeline, to = back.to, "it goes back, as was decided before this process");
            deploy::write(&path, &back.text)?;
        }
    }
    Ok(())
}

impl Supervision<'_> {
    /// Puts the text in its place that a pipeline goes back to, where another one stands. False: there was nothing to do.
    pub(super) fn text_comes_back(&self, pipeline: &str) -> bool {
        let back = revision::back(&*self.world.ground.store, pipeline).ok().flatten();
        let (Some(back), Some(path)) = (back, origin::file_of(self.world, pipeline)) else { return false };
        let there = std::fs::read(&path);
        there.is_ok_and(|there| there != back.text.as_bytes()) && deploy::write(&path, &back.text).is_ok()
    }

    /// What a start notes of its text. Of one of several tasks nothing: they have one text, and each a state of its own.
    pub(super) fn written(&self, member: &Member, by: String) -> Option<Written> {
        let here = member.plan.options.tasks <= 1;
        let (text, most) = match member.file.text.contains(PASSWORD) {
            true => (String::new(), 0),
            false => (member.file.text.clone(), self.keeps),
        };
        here.then(|| Written { digest: member.digest(), text, by, most })
    }

    /// Lets a pipeline stop that is to go back; the answer comes when it has.
    pub(super) fn ask_back<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (name, compiler): (&str, &Arc<Compiler>),
        (way, by, reply): (Way, &str, &Sender<Answer>),
        tell: &Sender<News>,
    ) -> Result<(), Failure> {
        deploy::folder(self)?;
        let tasks = crew.tasks(name);
        let Some(member) = tasks.first() else { return Err(no_such_pipeline(name, crew.names())) };
        if crew.back.contains_key(name) {
            return Err(Failure::failed("goes-back", format!("{name} goes back already")).help("wait until it has"));
        }
        let to = self.revision(member, way)?;
        self.may_go_back(compiler, (member, &to), way)?;
        compiler.holds()?;
        compiler.open();
        let ran = crew.running.contains_key(name);
        let goes = Goes { to, way, by: by.to_owned(), reply: reply.clone(), compiler: compiler.clone(), ran };
        if ran {
            crew.back.insert(name.to_owned(), goes);
            self.let_stop(crew, name, None);
        } else {
            self.go_back(scope, crew, name, goes, tell);
        }
        Ok(())
    }

    /// Compiles what a way back needs.
    pub(super) fn try_back(&self, compiler: &Compiler, member: &Member, way: Way) {
        drop(self.revision(member, way).and_then(|to| self.target(compiler, member, &to)));
    }

    /// The revision that is meant.
    fn revision(&self, member: &Member, way: Way) -> Result<Revision, Failure> {
        let name = &member.declared;
        if self.written(member, String::new()).is_none() {
            let title =
                format!("{name} has {} tasks, on as many machines, and they do not go back together", member.task.of);
            return Err(Failure::failed("state-elsewhere", title)
                .help("give it the text of before: syncline apply; its state goes on, and rows of meanwhile stay")
                .help("or one task, under another name: it reads its topics from where you say"));
        }
        if self.host.stands_by(name) {
            let title = format!("another process works on {name}, and this one stands by");
            return Err(Failure::failed("state-elsewhere", title)
                .help("ask the process that works on it (`running` in `status`); or stop that one first"));
        }
        if declared(&member.file).len() > 1 {
            let title = format!("{} declares other pipelines too, and they would go back with it", member.file.name());
            return Err(Failure::failed("file-of-several", title).help("give each pipeline a file of its own"));
        }
        let all = revision::all(&*self.world.ground.store, name).map_err(read_failure)?;
        let now = all.last().map_or(0, |last| last.number);
        let decided = revision::back(&*self.world.ground.store, name).map_err(read_failure)?;
        // What is written has not begun: the one before it is the one that did last, with its state where it is.
        let began = decided.is_some() || all.last().is_some_and(|last| last.digest == member.digest());
        let before = decided.map_or(now.saturating_sub(u64::from(began)), |decided| decided.to);
        let to = way.to.unwrap_or(before);
        if let Some(last) = all.last().filter(|last| !began && last.number == to && !last.text.is_empty()) {
            return Ok(last.clone());
        }
        let kept: Vec<String> = all.iter().filter(|one| one.kept.is_some()).map(|one| one.number.to_string()).collect();
        let help = match kept.is_empty() {
            true => "a state is kept when another text takes its place, up to `serve --rollback-state`".to_owned(),
            false => format!("revisions with a state: {}", kept.join(", ")),
        };
        let found = all.into_iter().find(|one| one.number == to && to != now);
        let found = found.filter(|one| one.kept.is_some() && !one.text.is_empty());
        found.ok_or_else(|| {
            Failure::failed(
                "no-such-revision",
                format!("{name} cannot go back to a revision {to}: nothing is kept of it"),
            )
            .help(help)
        })
    }

    /// Whether the output could be that of a run which was never broken.
    fn may_go_back(&self, compiler: &Compiler, (member, to): (&Member, &Revision), way: Way) -> Result<Stood, Failure> {
        let (store, name) = (&*self.world.ground.store, &*member.declared);
        alone(member, to)?;
        if revision::last(store, name).map_err(read_failure)?.is_some_and(|last| last.number == to.number) {
            return Ok(Stood::default());
        }
        let stood = revision::stood(store, name, to.number).map_err(read_failure)?.unwrap_or_default();
        let now = checkpoint::read_checkpoint(store, name).map_err(read_failure)?.unwrap_or_default();
        let delivered = checkpoint::delivered(store, name).map_err(read_failure)?;
        let target = self.target(compiler, member, to)?;
        let refused = |title: String| Failure::failed("cannot-go-back", title);
        for (topic, end) in &now.ends {
            let before = stood.checkpoint.ends.get(topic).map_or(0, |end| end.offset);
            if end.offset <= before {
                continue;
            }
            if let Some(stream) = topic.strip_prefix(&stream_topic(name, "")) {
                return Err(refused(format!(
                    "{name} has written stream {stream} since, and what its readers made of it stays"
                ))
                .help(format!("give it the text of revision {0} instead: `syncline revisions {name} -o json` has it, and `syncline apply` takes it; it goes on with its state, and the stream behind what was written", to.number))
                .help("or start its readers and it over together: syncline run FOLDER --fresh"));
            }
            let Some(step) = topic.strip_prefix(&outbox_topic(name, &StepId::new(""))).map(StepId::new) else {
                continue;
            };
            let has = delivered.get(&step).cloned().unwrap_or_default();
            if has.next < before {
                let rows = before - has.next;
                return Err(refused(format!("{rows} rows of revision {} wait for {step} still", to.number))
                    .help("let the sink take them, then ask again"));
            }
            let had = stood.delivered.get(&step).map_or(0, |had| had.books.rows_out);
            let rows = has.books.rows_out.saturating_sub(had);
            let inserts = [&member.plan, &target.plan].iter().any(|plan| inserts(plan, &step));
            if rows > 0 && inserts && !way.insert_again {
                return Err(Failure::failed("rows-would-repeat", format!("{step} would insert rows a second time"))
                    .seen(format!("{rows} rows were inserted since revision {} was over", to.number))
                    .help("take them out of the table, or let them stand there twice: syncline rollback NAME --insert-again")
                    .help("with UPSERT INTO … KEY (…) rows that come again replace themselves"));
            }
            if rows > 0 && !inserts {
                tracing::warn!(
                    pipeline = name,
                    step = %step,
                    "it keeps the {rows} rows that were written since: those that are made again replace theirs, and those that are not stay"
                );
            }
        }
        single_files(&target, &now, &stood.checkpoint)?;
        let again = self.sent_again(name, to)?;
        if again > 0 && !way.insert_again && [&member.plan, &target.plan].into_iter().any(inserts_somewhere) {
            return Err(Failure::failed("rows-would-repeat", "records would come a second time")
                .seen(format!("{again} dead letters were retried since revision {} was over", to.number))
                .seen("their source gives them again, and so does what was sent")
                .help("let them stand there twice: syncline rollback NAME --insert-again")
                .help("with UPSERT INTO … KEY (…) rows that come again replace themselves"));
        }
        Ok(stood)
    }

    /// Dead letters of a pipeline that were sent through it again since this revision was over.
    fn sent_again(&self, name: &str, to: &Revision) -> Result<usize, Failure> {
        let store = &*self.world.ground.store;
        let next = revision::all(store, name).map_err(read_failure)?.into_iter().find(|one| one.number > to.number);
        let Some(over) = next.map(|next| next.began) else { return Ok(0) };
        let since = |mark: &Mark| mark.standing != Standing::Discarded && mark.time >= over;
        Ok(letters::marks(store, name).map_err(read_failure)?.values().filter(|mark| since(mark)).count())
    }

    /// The pipeline as that revision has it.
    fn target(&self, compiler: &Compiler, member: &Member, to: &Revision) -> Result<Arc<Member>, Failure> {
        let change = Change { path: &member.file.path, text: Some(&to.text) };
        let project = Project::as_if(&self.scope, change, compiler, self.output)?;
        project.pipelines.into_iter().find(|one| one.declared == member.declared).ok_or_else(|| {
            Failure::failed("another-name", format!("revision {} declares no pipeline {}", to.number, member.declared))
        })
    }

    /// Its pipeline is over.
    pub(super) fn go_back<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        name: &str,
        goes: Goes,
        tell: &Sender<News>,
    ) {
        let decided = self.decide(crew, name, &goes);
        let answer = match decided {
            Ok(()) => {
                crew.ended.remove(name);
                crew.by.insert(name.to_owned(), goes.by);
                self.read_again(scope, crew, (&goes.compiler, None), tell).map(|()| Done::Changed)
            }
            Err(failure) => {
                let member =
                    crew.declared.get(name).filter(|member| !crew.held.contains_key(&member.declared)).cloned();
                if let Some(member) = member.filter(|_| goes.ran && !crew.stopping) {
                    self.begin(scope, crew, member, StartOptions::default(), tell);
                }
                Err(failure)
            }
        };
        let _ = goes.reply.send(answer.map_err(Refused::from));
    }

    fn decide(&self, crew: &Crew, name: &str, goes: &Goes) -> Result<(), Failure> {
        if crew.stopping {
            return Err(stopping());
        }
        let member = crew.declared.get(name).ok_or_else(|| no_such_pipeline(name, crew.names()))?;
        // It may have begun since it was asked.
        let to = self.revision(member, Way { to: Some(goes.to.number), ..goes.way })?;
        let stood = self.may_go_back(&goes.compiler, (member, &to), goes.way)?;
        let last = revision::last(&*self.world.ground.store, name).map_err(read_failure)?;
        if last.is_some_and(|last| last.number == to.number) {
            tracing::info!(pipeline = name, to = to.number, "its text goes back: the one that stood there never began");
            return deploy::write(&member.file.path, &to.text);
        }
        let reader = Task {
            all: self,
            member: self.target(&goes.compiler, member, &to)?,
            stop: Arc::new(AtomicBool::new(false)),
            options: StartOptions::default(),
        };
        let read =
            checkpoint::read_checkpoint(&*self.world.ground.store, name).map_err(read_failure)?.unwrap_or_default();
        let mut from = stood.checkpoint;
        for (partition, read) in &read.cursors {
            // What was read since has to be there still.
            if let Some(cursor) = unread_since(from.cursors.get(partition), read) {
                from.cursors.insert(partition.clone(), cursor);
            }
        }
        reader.could_read(&from)?;
        let (pipeline, to, text) = (name.to_owned(), to.number, to.text);
        revision::decide(
            &*self.world.ground.store,
            &Back { pipeline, to, text: text.clone(), fence: Some(read.fence) },
        )
        .map_err(store_failure)?;
        tracing::info!(pipeline = name, to, "it goes back");
        deploy::write(&member.file.path, &text)
    }
}

/// Its file had other pipelines then, which were dropped since: they would start again.
fn alone(member: &Member, to: &Revision) -> Result<(), Failure> {
    let file = SourceFile { path: member.file.path.clone(), text: to.text.clone() };
    let mut others = declared(&file).into_iter().map(|(name, _)| name).filter(|name| *name != member.declared);
    let Some(other) = others.next() else { return Ok(()) };
    let title = format!("revision {} declares {other} too, which would start again", to.number);
    Err(Failure::failed("file-of-several", title)
        .help(format!(
            "apply the text of that revision without {other}: `syncline revisions {} -o json` has it",
            member.declared
        ))
        .help("the pipeline then goes on with its state, and rows of meanwhile stay"))
}

fn sink<'p>(plan: &'p Plan, step: &StepId) -> Option<&'p SinkPlan> {
    let mut found = None;
    plan.each_step(&mut |one| match &one.kind {
        StepKind::Sink(sink) if one.id == step.as_str() => found = Some(sink),
        _ => {}
    });
    found
}

fn inserts(plan: &Plan, step: &StepId) -> bool {
    sink(plan, step).is_some_and(|sink| matches!(sink.write, WritePlan::Insert { .. }))
}

fn inserts_somewhere(plan: &Plan) -> bool {
    let mut found = false;
    plan.each_step(&mut |step| {
        found |= matches!(&step.kind, StepKind::Sink(sink) if matches!(sink.write, WritePlan::Insert { .. }));
    });
    found
}

/// One file that has appeared since cannot be cut back: readers have it.
fn single_files(target: &Member, now: &Checkpoint, stood: &Checkpoint) -> Result<(), Failure> {
    for (step, mark) in &now.marks {
        let Some(sink) = sink(&target.plan, step) else { continue };
        if stood.marks.get(step) != Some(mark) && is_single(&sink.place, &target.file.folder()) {
            let title = format!("{step} writes one file, and has written to it since: {}", sink.place.text);
            return Err(Failure::failed("cannot-go-back", title)
                .help("parts in a folder can be taken back: write to 'out/' in place of 'out.ndjson'")
                .help("or start over: syncline run FILE --fresh"));
        }
    }
    Ok(())
}

fn is_single(place: &Place, folder: &Path) -> bool {
    let named = place.named.iter().find(|(name, _)| name == "path").map(|(_, value)| value);
    match place.positional.first().or(named) {
        Some(Value::Text(path)) => !(path.is_empty() || path.ends_with('/') || folder.join(path).is_dir()),
        _ => true,
    }
}
