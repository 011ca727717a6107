//! What needs every text of the folder compiled: another text, one that goes, a way back, a reload.
//!
//! One after the other, each in two halves. First it is tried on a thread of its own, where nothing is changed and every text is compiled;
//! meanwhile pipelines are started again, paused and stopped as ever. Then it is done here, with what was compiled. Where a text is
//! another one by then, it is tried again.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc::Sender},
    thread::Builder,
};

use super::{Crew, News, Supervision, Threads};
use crate::{
    compiler::Compiler,
    deploy,
    project::{Member, Project},
    verbs::{Answer, Asked, Verb, stopping},
};

/// How often one is tried: files that change each time are not written in between.
const TRIES: usize = 3;

/// Something that waits for its texts.
pub enum Work {
    /// Read the files again.
    Reload,
    /// A verb that writes.
    Asked(Box<Asked>),
}

/// Its texts are compiled.
pub struct Ahead {
    work: Work,
    tries: usize,
    compiler: Arc<Compiler>,
}

/// Those that wait, in the order in which they were asked.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Work>,
    /// One is being tried.
    pub(super) busy: bool,
    /// Who asked for that.
    reply: Option<Sender<Answer>>,
}

impl Line {
    /// The process ends: nothing of this is done.
    pub(super) fn dissolve(&mut self) {
        self.waiting.drain(..).for_each(refuse);
        // Nobody waits for the compiler, of which nothing comes any more.
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(stopping().into()));
        }
    }
}

fn refuse(work: Work) {
    if let Work::Asked(asked) = work {
        let _ = asked.reply.send(Err(stopping().into()));
    }
}

impl Supervision<'_> {
    pub(super) fn compile_first<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        work: Work,
        tell: &Sender<News>,
    ) {
        crew.line.waiting.push_back(work);
        self.next_in_line(scope, crew, tell);
    }

    fn next_in_line<'scope>(&'scope self, scope: &'scope Threads<'scope, '_>, crew: &mut Crew, tell: &Sender<News>) {
        if crew.line.busy {
            return;
        }
        if let Some(work) = crew.line.waiting.pop_front() {
            self.compile_ahead(scope, crew, (work, 1), tell);
        }
    }

    fn compile_ahead<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        (work, tries): (Work, usize),
        tell: &Sender<News>,
    ) {
        crew.line.busy = true;
        crew.line.reply = match &work {
            Work::Asked(asked) => Some(asked.reply.clone()),
            Work::Reload => None,
        };
        let compiler = Arc::new(Compiler::new(&self.kept, &self.ending));
        let member = match &work {
            Work::Asked(asked) => crew.tasks(&asked.pipeline).into_iter().next(),
            Work::Reload => None,
        };
        let ahead = Arc::new(Mutex::new(Some(Ahead { work, tries, compiler })));
        let (here, news) = (ahead.clone(), tell.clone());
        let take = |ahead: &Mutex<Option<Ahead>>| ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = Builder::new().name("ahead".to_owned()).spawn_scoped(scope, move || {
            let Some(ahead) = take(&ahead) else { return };
            // What falls here falls where it is done, and is told there.
            let _ = catch_unwind(AssertUnwindSafe(|| self.try_out(&ahead, member.as_deref())));
            ahead.compiler.seal();
            let _ = news.send(News::Compiled(Box::new(ahead)));
        });
        if thread.is_err()
            && let Some(ahead) = take(&here)
        {
            // Without a thread it is done on this one.
            ahead.compiler.open();
            let _ = tell.send(News::Compiled(Box::new(ahead)));
        }
    }

    /// Compiles what it needs. What comes of it is of no account: it is asked again when it is done.
    fn try_out(&self, Ahead { work, compiler, .. }: &Ahead, member: Option<&Member>) {
        let Work::Asked(asked) = work else {
            return drop(Project::read(&self.scope, compiler, self.output));
        };
        match (&asked.verb, member) {
            (Verb::Put(put), _) => drop(deploy::check(self, compiler, &asked.pipeline, put)),
            (Verb::Delete { .. }, Some(member)) => {
                let folder = deploy::folder(self);
                drop(folder.and_then(|folder| deploy::may_remove(self, compiler, &folder, member)));
            }
            (Verb::Back(way), Some(member)) => self.try_back(compiler, member, *way),
            _ => {}
        }
    }

    /// The texts are compiled: it is done, where they are still the same.
    pub(super) fn compiled<'scope>(
        &'scope self,
        scope: &'scope Threads<'scope, '_>,
        crew: &mut Crew,
        Ahead { work, tries, compiler }: Ahead,
        tell: &Sender<News>,
    ) {
        (crew.line.busy, crew.line.reply) = (false, None);
        if crew.stopping {
            return refuse(work);
        }
        let left = match work {
            Work::Reload => {
                if tries == TRIES {
                    compiler.open();
                }
                self.reload(scope, crew, &compiler, tell).err()
            }
            Work::Asked(asked) => {
                let last = tries == TRIES;
                self.write(scope, crew, (asked, &compiler, last), tell).err().map(Work::Asked)
            }
        };
        match left {
            Some(work) => self.compile_ahead(scope, crew, (work, tries + 1), tell),
            None => self.next_in_line(scope, crew, tell),
        }
    }
}
