//! What is asked of pipelines that several processes run: written where all of them find it, and looked for there.
//!
//! A task looks before it begins, and a thread for each pipeline looks every second: where something else is wanted than what a task began
//! with, it is started again from its last checkpoint, as where it is asked of its own process. For that second tasks may see different
//! things. It does no harm: a task that does not know of a backfill leaves its place in it in the checkpoint, and one that
//! begins with a backfill which it has read already finds that there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{Builder, sleep},
    time::Duration,
};

use syncline_connectors::{Surroundings, open_board};
use syncline_engine::{
    backfill::{self, Backfill, State},
    board::{self, View},
    changelog::{Changelog, ChangelogError, Record},
    checkpoint,
    runtime::{start::StartOptions, supervisor::Look},
};
use syncline_record::StepId;

use super::{Crew, News, Supervision, Threads, aside::aside};
use crate::{
    backfill::{changed, next},
    bind::arguments,
    outcome::Failure,
    project::Member,
    secrets,
    verbs::{Answer, Done, Refused, Verb},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a thread that waits hears that it is to end.
const NAP: Duration = Duration::from_millis(50);
/// Between two looks of a task that waits to begin.
const AGAIN: Duration = Duration::from_millis(500);
/// What is written may be shown to readers a little later.
const SHOWN: u32 = 200;

impl From<ChangelogError> for Refused {
    fn from(error: ChangelogError) -> Self {
        let title = "it was not asked: nobody answers where all processes of the pipeline would find it";
        let detail = secrets::hidden(&error.to_string()).into_owned();
        Failure::environment("board-away", title).seen(detail).help("ask again when Kafka answers").into()
    }
}

impl Supervision<'_> {
    fn board(&self, member: &Member) -> Result<Box<dyn Changelog>, ChangelogError> {
        let refused = |detail: String| ChangelogError::Refused { name: member.declared.clone(), detail };
        let folder = self.world.folder.path();
        let Some(place) = member.plan.board(&member.declared) else { return Err(refused("it has none".to_owned())) };
        let args =
            arguments(&place, &|path| secrets::text(folder, path)).map_err(|error| refused(error.to_string()))?;
        let around = Surroundings::of(member.file.folder(), folder, member.name());
        open_board(&place.connector, &args, &around, &self.ending).map_err(|error| refused(error.to_string()))
    }

    /// What stands there now; the folder has a copy of it then, for whoever asks how it stands.
    fn seen(&self, member: &Member, begins: Option<&str>) -> Result<View, ChangelogError> {
        let Some(place) = member.plan.board(&member.declared) else { return Ok(View::default()) };
        let at = (&*member.declared, place);
        self.boards.look(at, begins, || self.board(member), |view| self.copy(member, view))
    }

    fn copy(&self, member: &Member, view: &View) {
        let store = &*self.world.ground.store;
        let Some(mut newest) = view.newest() else { return };
        if let Some(shared) = &mut newest.shared {
            shared.elsewhere = shared.tasks.iter().filter(|task| self.host.stands_by(task)).cloned().collect();
        }
        for (name, copy) in newest.copies(&member.declared) {
            let same = backfill::read(store, &name).is_ok_and(|known| known.as_ref() == Some(&copy));
            if same {
                continue;
            }
            // A store that cannot be written is told by all else that needs it.
            if let Err(error) = backfill::write(store, &name, &copy) {
                tracing::debug!(pipeline = name, %error, "what was asked is not noted");
            }
        }
    }

    /// Looks at what is asked of a task that is about to begin. Nobody who can wait begins without: what he would do then he may have been told
    /// not to. `anew`: it starts over, and has read nothing from then on. False: it was told to stop first.
    pub(crate) fn hears(&self, member: &Member, anew: bool, stop: &AtomicBool) -> bool {
        let name = member.name();
        if member.plan.board(&member.declared).is_none() || !member.readers().iter().any(|reader| reader == name) {
            return true;
        }
        let mut told = None;
        loop {
            let seen = self.seen(member, Some(name));
            let error = match seen.and_then(|view| if anew { self.untell_read(member, &view) } else { Ok(()) }) {
                Ok(()) => return true,
                Err(error) => error,
            };
            if stop.load(Ordering::SeqCst) {
                return false;
            }
            let why = secrets::hidden(&error.to_string()).into_owned();
            if self.once
                || matches!(
                    error,
                    ChangelogError::Refused { .. } | ChangelogError::Damaged { .. } | ChangelogError::Foreign { .. }
                )
            {
                tracing::error!(
                    pipeline = name,
                    "it goes on with what was asked of it before, as this folder knows it: {why}"
                );
                return true;
            }
            if told.as_ref() != Some(&why) {
                tracing::warn!(pipeline = name, "{why}; it is waited for");
            }
            let trouble = vec![(StepId::new("changelog"), why.clone())];
            told = Some(why);
            self.host.look(name, &Look { trouble, ..Look::default() });
            if !nap(AGAIN, stop) {
                return false;
            }
        }
    }

    /// Has somebody look at the board of a pipeline from now on, unless somebody does.
    pub(super) fn watch_over<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        member: &Arc<Member>,
        tell: &Sender<News>,
    ) {
        let Some(place) = member.plan.board(&member.declared).filter(|_| !self.once) else { return };
        match crew.watched.get(&member.declared) {
            Some((known, _)) if *known == place => return,
            Some((_, over)) => over.store(true, Ordering::SeqCst),
            None => {}
        }
        let over = Arc::new(AtomicBool::new(crew.stopping));
        crew.watched.insert(member.declared.clone(), (place, over.clone()));
        let (member, news) = (member.clone(), tell.clone());
        let thread = Builder::new().name("wishes".to_owned());
        let thread = thread.spawn_scoped(scope, move || self.watch(&member, &over, &news));
        if let Err(error) = thread {
            tracing::error!(%error, "there is no thread that hears what other processes are asked");
        }
    }

    fn watch(&self, member: &Member, over: &AtomicBool, news: &Sender<News>) {
        while nap(LOOK, over) {
            let told = self.seen(member, None).and_then(|view| self.tell_read(member, &view));
            if let Err(error) = told {
                let error = secrets::hidden(&error.to_string()).into_owned();
                tracing::debug!(pipeline = member.declared, error, "nobody knows now what other processes are asked");
            }
            if !self.boards.behind(&member.declared).is_empty() {
                let _ = news.send(News::Wished { pipeline: member.declared.clone(), reply: None });
            }
        }
    }

    /// What nobody has said of tasks that this process works on: that they have read what is wanted of them, or that they have not, as they
    /// started over since. Of all others this folder may have an old copy.
    fn read_here(&self, view: &View) -> Vec<Record> {
        let Some(Backfill { number, shared: Some(shared), .. }) = view.newest() else { return vec![] };
        let told = |task: &String| {
            let note =
                checkpoint::read_checkpoint(&*self.world.ground.store, task).ok()?.and_then(|found| found.history);
            let is_read = note.is_some_and(|note| note.newest_read() >= number);
            match (is_read, shared.done.contains(task)) {
                (true, false) => Some(board::done(task, number)),
                (false, true) => Some(board::undone(task)),
                _ => None,
            }
        };
        shared.tasks.iter().filter(|task| self.host.works_on(task)).filter_map(told).collect()
    }

    fn tell_read(&self, member: &Member, view: &View) -> Result<(), ChangelogError> {
        if self.read_here(view).is_empty() {
            return Ok(());
        }
        let mut decide = |view: &View| Ok(self.read_here(view));
        board::settle(&mut || self.board(member), &mut decide, &mut |tries| self.step_back(tries)).map(drop)
    }

    /// A task starts over, once it may work. Where it dies before it does, it finds that it has read it, and tells so again.
    fn untell_read(&self, member: &Member, view: &View) -> Result<(), ChangelogError> {
        let name = member.name();
        let is_told = |view: &View| {
            view.newest().and_then(|newest| newest.shared).is_some_and(|shared| shared.done.contains(name))
        };
        if !is_told(view) {
            return Ok(());
        }
        let mut decide = |view: &View| Ok(if is_told(view) { vec![board::undone(name)] } else { vec![] });
        let told: Result<View, ChangelogError> =
            board::settle(&mut || self.board(member), &mut decide, &mut |tries| self.step_back(tries));
        told?;
        self.await_shown(member, &|view| !is_told(view));
        self.seen(member, Some(name)).map(drop)
    }

    /// Waits until readers of the board are shown what was written to it.
    fn await_shown(&self, member: &Member, is_there: &dyn Fn(&View) -> bool) {
        for _ in 0..SHOWN {
            if self.seen(member, None).map_or(true, |view| is_there(&view)) {
                break;
            }
            sleep(NAP);
        }
    }

    /// Of those who wrote at once, each waits for a time of his own.
    fn step_back(&self, tries: u32) {
        let most = u64::from(tries) * 200;
        sleep(Duration::from_millis(10 + self.world.ground.rng.next() % most));
    }

    /// Asks something of all processes of a pipeline; those of this process hear of it at once. Brokers take their time, so the answer comes
    /// from a thread of its own.
    pub(super) fn ask_all<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        member: Arc<Member>,
        verb: Verb,
        (by, reply): (String, Sender<Answer>),
        tell: &Sender<News>,
    ) {
        let news = tell.clone();
        aside(scope, (by, reply), move || {
            if !self.settle(&member, &verb)? {
                return Ok(Done::Already);
            }
            let (reply, answer) = mpsc::channel();
            let _ = news.send(News::Wished { pipeline: member.declared.clone(), reply: Some(reply) });
            loop {
                match answer.recv_timeout(NAP) {
                    Err(RecvTimeoutError::Timeout) if !self.ending.load(Ordering::SeqCst) => {}
                    // It is written: whoever begins next hears of it.
                    _ => return Ok(Done::Changed),
                }
            }
        });
    }

    /// Whether that changed anything.
    fn settle(&self, member: &Member, verb: &Verb) -> Result<bool, Refused> {
        let (store, now) = (&*self.world.ground.store, self.world.ground.clock.now());
        let mut changes = false;
        let mut decide = |view: &View| -> Result<Vec<Record>, Refused> {
            let mut records = self.read_here(view);
            // A board that was taken away: numbers go on from what this folder knows.
            let before = || Some((backfill::read(store, &member.declared).ok().flatten()?, State::Cancelled));
            let standing = view.with(&records).standing();
            let wanted = match verb {
                Verb::TakeIn { from, share, .. } => {
                    Some(next(member, standing.or_else(before).as_ref(), (from, *share), now)?)
                }
                Verb::Backfill(wish) => changed(&member.declared, standing, *wish)?,
                _ => None,
            };
            changes = wanted.is_some();
            records.extend(wanted.as_ref().map(board::asked));
            Ok(records)
        };
        let settled = board::settle(&mut || self.board(member), &mut decide, &mut |tries| self.step_back(tries))?;
        let there = |view: &View| view.newest().map(|newest| (newest.number, newest.wish));
        self.await_shown(member, &|view| there(view) == there(&settled));
        Ok(changes)
    }

    /// Starts tasks again that began with something else than what is wanted of them now.
    pub(super) fn wished<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (pipeline, reply): (&str, Option<Sender<Answer>>),
        tell: &Sender<News>,
    ) {
        let behind = self.boards.behind(pipeline);
        let may = !crew.stopping && !crew.held.contains_key(pipeline) && !crew.back.contains_key(pipeline);
        let tasks =
            crew.tasks(pipeline).into_iter().filter(|task| may && behind.iter().any(|name| name == task.name()));
        let mut again = vec![];
        for member in tasks {
            let name = member.name().to_owned();
            match crew.running.get(&name).map(|running| running.stop.load(Ordering::SeqCst)) {
                Some(false) => self.let_stop(crew, &name, Some((member, StartOptions::default()))),
                // It looks when it begins.
                Some(true) => continue,
                None => self.begin(scope, crew, member, StartOptions::default(), tell),
            }
            again.push(name);
        }
        if !again.is_empty() {
            tracing::info!(pipeline, tasks = again.join(","), "they start again: what they are to take in has changed");
        }
        if let Some(reply) = reply {
            let _ = reply.send(Ok(Done::Changed));
        }
    }
}

/// Waits; false when `over` is said first.
fn nap(long: Duration, over: &AtomicBool) -> bool {
    let mut left = long;
    while !over.load(Ordering::SeqCst) {
        if left.is_zero() {
            return true;
        }
        let part = left.min(NAP);
        sleep(part);
        left -= part;
    }
    false
}
