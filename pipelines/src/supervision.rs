//! All pipelines of a process, each on a thread of its own: started, watched, told when one is over, exchanged when files change.
//!
//! Pipelines share the data folder and nothing else. One that fails is started again by its own words (`restart`), and when it is
//! given up the others go on; only a data folder that answers nothing more ends them all. A reload starts what is new or was given
//! up, stops what is gone, and exchanges what changed; what is the same is not touched. A reload whose files are wrong changes
//! nothing.
//!
//! What people ask of single pipelines comes as verbs (`verbs`): one that is held by them, paused or stopped, stays declared, and neither a
//! reload nor its own words start it. A process that `stays` waits for files and verbs when no pipeline runs.

mod ahead;
mod aside;
mod asked;
mod back;
mod wishes;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender},
    },
    thread::{Builder, Scope as Threads},
};

use syncline_dsl::plan::Place;
use syncline_engine::runtime::start::StartOptions;
use syncline_functions::Planner;

use ahead::Line;
pub use ahead::{Ahead, Work};
pub use back::finish_back;
use back::{GOES_BACK, Goes};

use crate::{
    boards::Boards,
    command::Format,
    compiler::{Compiler, Kept},
    groups::Groups,
    hops,
    host::Host,
    inlets::inlets,
    origin,
    outcome::{Failure, Outcome},
    project::{Member, Project, Scope},
    run_failure::HANGS,
    streams::Streams,
    task::Task,
    verbs::{Answer, Asked},
    world::{World, store_failure},
};

/// What the supervision waits for.
pub enum News {
    /// A pipeline's thread has ended.
    Over { pipeline: String, outcome: Outcome },
    /// End all of them.
    Stop,
    /// Read the pipeline files again.
    Reload,
    /// Somebody asks something of a pipeline.
    Asked(Asked),
    /// What needs them has its texts compiled.
    Compiled(Box<Ahead>),
    /// Something was asked of all processes of a pipeline, here or elsewhere; who waits until it is heard.
    Wished { pipeline: String, reply: Option<Sender<Answer>> },
}

/// What all pipelines of the process share.
pub struct Supervision<'a> {
    pub world: &'a World,
    pub host: &'a Host,
    pub planner: Planner,
    pub streams: Arc<Streams>,
    /// Take what is there, then end.
    pub once: bool,
    /// It goes on without any pipeline.
    pub stays: bool,
    /// The most bytes of a state that are copied when another revision of its pipeline begins.
    pub keeps: u64,
    pub scope: Scope,
    /// How people and programs are spoken to.
    pub output: Format,
    /// Progress bars are shown.
    pub bars: bool,
    /// This process's part in the groups that share tasks, by the changelog.
    pub groups: Groups,
    /// What is asked of all processes of a pipeline.
    pub boards: Boards,
    /// What the texts of the folder mean, from one request to the next.
    pub kept: Kept,
    /// The process is about to end.
    pub ending: Arc<AtomicBool>,
}

/// A pipeline whose thread runs.
struct Running {
    member: Arc<Member>,
    stop: Arc<AtomicBool>,
    /// What takes its place when it has stopped.
    next: Option<(Arc<Member>, StartOptions)>,
}

/// Why a pipeline that is declared does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Over restarts too.
    Paused,
    /// While this process lives.
    Stopped,
}

/// The state of the whole.
#[derive(Default)]
struct Crew {
    running: BTreeMap<String, Running>,
    /// Pipelines that were given up.
    failed: BTreeMap<String, Failure>,
    /// Pipelines that came to their end.
    ended: BTreeMap<String, Arc<Member>>,
    /// Pipelines that run still, and are in no file any more.
    taken_away: BTreeSet<String>,
    /// All that have been started.
    names: BTreeSet<String>,
    /// As the files declare them now, by the names of their tasks.
    declared: BTreeMap<String, Arc<Member>>,
    /// Those that people keep from running, by the names in their files.
    held: BTreeMap<String, Held>,
    /// Who wrote the text that starts next.
    by: BTreeMap<String, String>,
    /// Pipelines that go back when they are over.
    back: BTreeMap<String, Goes>,
    /// What the next start of those may throw away.
    allowed: BTreeMap<String, StartOptions>,
    /// Pipelines whose state goes when they are over, and who waits for that.
    dropping: BTreeMap<String, Sender<Answer>>,
    /// Pipelines whose boards are looked at, and what ends that.
    watched: BTreeMap<String, (Place, Arc<AtomicBool>)>,
    /// Who waits for texts to be compiled.
    line: Line,
    stopping: bool,
    /// What ended them all.
    fatal: Option<Failure>,
}

impl Supervision<'_> {
    /// Runs until every pipeline is over. `options` are for the first start of each.
    pub fn run(
        &self,
        project: Project,
        options: StartOptions,
        (tell, news): (Sender<News>, Receiver<News>),
    ) -> Outcome {
        let mut crew = Crew::default();
        if options.fresh {
            hops::empty(self.world, &project.pipelines)?;
        }
        // All of them before the first: a reader asks for its writer.
        project.pipelines.iter().for_each(|member| self.streams.begins(member.name(), options.fresh));
        std::thread::scope(|scope| {
            crew.declare(&project);
            for member in project.pipelines {
                match self.held(&mut crew, &member) {
                    Ok(None) => self.begin(scope, &mut crew, member, options.clone(), &tell),
                    Ok(Some(held)) => self.rest(&mut crew, &member, held),
                    Err(failure) => {
                        crew.names.insert(member.name().to_owned());
                        crew.failed.insert(member.name().to_owned(), failure);
                    }
                }
            }
            while crew.waits(self.stays) {
                match news.recv() {
                    Ok(News::Over { pipeline, outcome }) => self.over(scope, &mut crew, &pipeline, outcome, &tell),
                    Ok(News::Stop) => self.stop(&mut crew),
                    Ok(News::Reload) => self.compile_first(scope, &mut crew, Work::Reload, &tell),
                    Ok(News::Asked(asked)) => self.asked(scope, &mut crew, asked, &tell),
                    Ok(News::Compiled(ahead)) => self.compiled(scope, &mut crew, *ahead, &tell),
                    Ok(News::Wished { pipeline, reply }) => self.wished(scope, &mut crew, (&pipeline, reply), &tell),
                    // This side holds a sender, so there always is one.
                    Err(_) => break,
                }
            }
            // Whoever looks on has nobody to tell.
            self.ending.store(true, Ordering::SeqCst);
            crew.watched.values().for_each(|(_, over)| over.store(true, Ordering::SeqCst));
        });
        crew.outcome()
    }

    fn begin<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        member: Arc<Member>,
        options: StartOptions,
        tell: &Sender<News>,
    ) {
        let name = member.name().to_owned();
        self.host.expect(&member);
        self.streams.begins(&name, options.fresh);
        if !member.inlets().is_empty() && !self.once && !self.host.takes_records() {
            tracing::warn!(pipeline = name, "nobody can send it records: this process does not listen; start it again");
        }
        let stop = Arc::new(AtomicBool::new(crew.stopping));
        let by = crew.by.remove(&member.declared).unwrap_or_else(|| "files".to_owned());
        let options = StartOptions { written: self.written(&member, by), ..options };
        let task = Task { all: self, member: member.clone(), stop: stop.clone(), options };
        let (news, pipeline) = (tell.clone(), name.clone());
        let thread = Builder::new().name(name.clone()).spawn_scoped(scope, move || {
            let run = catch_unwind(AssertUnwindSafe(|| task.run()));
            let outcome = run.unwrap_or_else(|_| {
                Err(Failure::failed("task-fell", "its thread ended by a panic: this is a defect of syncline"))
            });
            let _ = news.send(News::Over { pipeline, outcome });
        });
        self.watch_over(scope, crew, &member, tell);
        crew.failed.remove(&name);
        crew.taken_away.remove(&name);
        crew.ended.remove(&name);
        crew.names.insert(name.clone());
        crew.running.insert(name.clone(), Running { member, stop, next: None });
        if let Err(error) = thread {
            let failure = Failure::environment("no-threads", format!("there is no thread for it: {error}"))
                .help("allow this process more threads, then start it again");
            let _ = tell.send(News::Over { pipeline: name, outcome: Err(failure) });
        }
    }

    fn over<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        pipeline: &str,
        outcome: Outcome,
        tell: &Sender<News>,
    ) {
        let Some(over) = crew.running.remove(pipeline) else { return };
        let hangs = matches!(&outcome, Err(failure) if failure.slug == HANGS);
        // The threads that hang end with the process, which is about to.
        let outcome = if hangs && crew.stopping { Ok(()) } else { outcome };
        if let (true, Err(failure)) = (hangs, &outcome) {
            crew.fatal.get_or_insert(failure.clone());
            self.stop(crew);
        }
        let held = crew.held.get(&over.member.declared).copied();
        // One that goes back begins again when that is decided, whatever else was asked meanwhile.
        let goes_back = crew.back.contains_key(pipeline);
        let next = over.next.filter(|_| !crew.stopping && held.is_none() && !goes_back);
        // Between two versions of a pipeline its readers wait.
        if next.is_none() {
            self.streams.over(pipeline, outcome.is_err());
        }
        let taken_away = crew.taken_away.remove(pipeline);
        if self.stays && matches!(&outcome, Err(failure) if failure.slug == GOES_BACK) && self.text_comes_back(pipeline)
        {
            // Decided on another machine, which died: its text is known from the changelog.
            tracing::info!(pipeline, "it goes back, as was decided before; its file has the text of that revision");
            let _ = tell.send(News::Reload);
        }
        if let Err(failure) = &outcome
            && (crew.names.len() > 1 || next.is_some() || taken_away)
        {
            // The end of the process may be far away, so it is told now.
            let how = if crew.stopping { "stopped while it was failing" } else { "given up" };
            tracing::error!(
                pipeline,
                slug = %failure.slug,
                detail = failure.detail_line(),
                help = failure.help_line(),
                "{how}: {}",
                failure.title
            );
        }
        // Before another one of its name begins.
        self.forget_state(crew, pipeline);
        if let Some((next, options)) = next {
            if over.member.inlets() != next.inlets() {
                self.host.forget(&over.member);
            }
            return self.begin(scope, crew, next, options, tell);
        }
        let back = crew.back.remove(pipeline);
        match outcome {
            // It was told, and is no failure of what is left.
            Err(_) if taken_away => self.host.gone(pipeline),
            Err(failure) => drop(crew.failed.insert(pipeline.to_owned(), failure)),
            Ok(()) if held.is_some() && !taken_away => {
                held.into_iter().for_each(|held| self.rest(crew, &over.member, held));
            }
            Ok(()) if back.is_some() => {}
            // A reload has taken it away.
            Ok(()) if over.stop.load(Ordering::SeqCst) && !crew.stopping => self.host.gone(pipeline),
            Ok(()) => drop(crew.ended.insert(pipeline.to_owned(), over.member)),
        }
        if let Some(goes) = back {
            self.go_back(scope, crew, pipeline, goes, tell);
        }
        self.look_at_the_folder(crew);
    }

    /// A pipeline that was given up is in no file any more: its failure was told, and is no failure of what is left. False.
    fn let_go(&self, pipeline: &str) -> bool {
        self.host.gone(pipeline);
        false
    }

    /// A store that failed to write answers nothing more until it is opened again: then no pipeline of this process can go on.
    fn look_at_the_folder(&self, crew: &mut Crew) {
        let Err(error) = self.world.ground.store.get(b"") else { return };
        let failure = store_failure(error);
        tracing::error!(
            slug = %failure.slug,
            "the data folder answers nothing more, so nothing here can go on: {}",
            failure.title
        );
        crew.fatal.get_or_insert(failure);
        self.stop(crew);
    }

    fn stop(&self, crew: &mut Crew) {
        crew.stopping = true;
        crew.line.dissolve();
        self.ending.store(true, Ordering::SeqCst);
        for (name, running) in &crew.running {
            running.stop.store(true, Ordering::SeqCst);
            self.host.stopping(name);
        }
    }

    /// `Err`: files changed since they were compiled, and nothing was done.
    fn reload<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        compiler: &Compiler,
        tell: &Sender<News>,
    ) -> Result<(), Work> {
        let read = self.read_again(scope, crew, (compiler, None), tell);
        compiler.holds().map_err(|_| Work::Reload)?;
        if let Err(failure) = read {
            let (slug, detail) = (&*failure.slug, failure.detail_line());
            tracing::error!(slug, detail, "not reloaded, and what runs goes on: {}", failure.title);
        }
        Ok(())
    }

    /// Starts, exchanges and stops pipelines as the files say now. `options`: for the next start of those.
    fn read_again<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (compiler, options): (&Compiler, Option<(&[String], StartOptions)>),
        tell: &Sender<News>,
    ) -> Result<(), Failure> {
        let project = Project::read(&self.scope, compiler, self.output)?;
        let inlets = inlets(&project, self.world.folder.path())?;
        origin::admit(self.world, &project.pipelines)?;
        self.host.declare(inlets)?;
        compiler.keep();
        let options = |member: &Member| {
            let its = options.as_ref().filter(|(names, _)| names.contains(&member.declared));
            its.map(|(_, options)| options.clone()).unwrap_or_default()
        };
        let (mut started, mut exchanged, mut stopped) = (vec![], vec![], vec![]);
        for (name, running) in &mut crew.running {
            let found = project.pipelines.iter().find(|member| member.name() == name);
            let same = found.is_some_and(|member| member.is_as(&running.member));
            running.next = found
                .filter(|_| !same || running.stop.load(Ordering::SeqCst))
                .map(|member| (member.clone(), options(member)));
            match found {
                Some(_) if same => continue,
                Some(_) => exchanged.push(name.clone()),
                None => {
                    self.host.forget(&running.member);
                    crew.taken_away.insert(name.clone());
                    stopped.push(name.clone());
                }
            }
            running.stop.store(true, Ordering::SeqCst);
            self.host.stopping(name);
        }
        crew.taken_away.retain(|name| crew.running.get(name).is_some_and(|running| running.next.is_none()));
        let is_there = |name: &str| project.pipelines.iter().any(|member| member.name() == name);
        crew.failed.retain(|name, _| is_there(name) || self.let_go(name));
        self.let_rest_go(crew, &project);
        crew.declare(&project);
        // Readers that are gone were told to stop, and none that is new has begun.
        self.streams.declare(project.streams.clone());
        for member in project.pipelines {
            // What ended by itself has done its work; what was given up may have been mended.
            let ended = crew.ended.get(member.name()).is_some_and(|ended| ended.is_as(&member));
            if crew.running.contains_key(member.name()) || ended {
                continue;
            }
            match self.held(crew, &member)? {
                Some(held) => {
                    crew.allowed.insert(member.declared.clone(), options(&member));
                    self.rest(crew, &member, held);
                }
                None => {
                    started.push(member.name().to_owned());
                    let options = options(&member);
                    self.begin(scope, crew, member, options, tell);
                }
            }
        }
        let (started, exchanged, stopped) = (started.join(","), exchanged.join(","), stopped.join(","));
        tracing::info!(started, exchanged, stopped, "the pipeline files were read again");
        Ok(())
    }
}

impl Crew {
    /// One pipeline's failure is the process's own; of several, the process says which have failed.
    fn outcome(mut self) -> Outcome {
        if self.names.len() == 1
            && let Some((_, failure)) = self.failed.pop_first()
        {
            return Err(failure);
        }
        if let Some(failure) = self.fatal {
            return Err(failure);
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        let count = self.failed.len();
        let title =
            format!("{count} of {} pipelines {} given up", self.names.len(), if count == 1 { "was" } else { "were" });
        let mut all = Failure::failed("pipelines-failed", title);
        for (name, failure) in self.failed {
            all = all.seen(format!("{name}: {}", failure.title));
            for help in failure.help {
                if !all.help.contains(&help) {
                    all = all.help(help);
                }
            }
        }
        Err(all)
    }
}
