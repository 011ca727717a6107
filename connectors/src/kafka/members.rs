//! Who works on which task: the processes that run a pipeline are the members of one consumer group, and the tasks are the partitions of the
//! changelog's topic.
//!
//! Nothing is read by the group's client. A member keeps its name over a restart (`group.instance.id`), so that a process that comes back
//! soon finds its tasks as it left them; one that is gone for longer than the session loses them to others. The partitions are given
//! cooperatively: who keeps a task goes on with it while others move.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode},
};
use serde_json::Value;
use syncline_engine::ownership::{Ownership, Parting};

use super::{
    calls::{LATE, within},
    changelog::topic_of,
    client::{Held, Settings, alone, log, told},
    strays::Strays,
    topic::{self, Topic, of_another_number},
    trouble::{nobody_answers, words},
};
use crate::spec::{Arguments, ConnectorError, Surroundings};

/// After so long without a word from a member its tasks are others'.
const SESSION: Duration = Duration::from_secs(6);
/// A task that is asked back may finish its epoch for so long. Who has it next fences it in any case.
const LETTING_GO: Duration = Duration::from_secs(5);
/// How often the group's client is served.
const SERVED: Duration = Duration::from_millis(100);
/// A client that the group does not want any more is made anew after this.
const AGAIN: Duration = Duration::from_secs(2);

const MEMBER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "latest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("heartbeat.interval.ms", "500"),
    // Whether a broker is there, and the group at rest.
    ("statistics.interval.ms", "1000"),
];

/// Of one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Others,
    Ours,
    /// Asked back; whether the worker has heard of it.
    Asked {
        heard: bool,
    },
    /// Ours no more, and the worker has not let go yet.
    Gone,
}

#[derive(Debug, Default)]
struct Task {
    hold: Hold,
    /// Somebody works on it here.
    busy: bool,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u32, Task>,
    trouble: Option<String>,
    /// The group has given out its tasks since this client joined it.
    settled: bool,
    /// No broker is connected, as the client last said.
    alone: bool,
    /// The changelog is that of another number of tasks. Each task of ours may begin, and is told so where it opens it.
    refused: bool,
    closing: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    /// Tasks that others have, or nobody.
    fn waited_for(&self) -> Vec<u32> {
        let others = self.tasks.iter().filter(|(_, task)| matches!(task.hold, Hold::Others));
        others.map(|(number, _)| *number).collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn given(&self, tasks: impl Iterator<Item = u32>) {
        let mut state = self.state();
        for task in tasks {
            state.tasks.entry(task).or_default().hold = Hold::Ours;
        }
        state.trouble = None;
        self.changed.notify_all();
    }

    /// Asks for tasks, and waits until nobody works on them here. `lost`: they are others' already, and nobody waits.
    fn taken(&self, tasks: &[u32], lost: bool) {
        let mut state = self.state();
        for task in tasks {
            let known = state.tasks.entry(*task).or_default();
            known.hold = match (known.busy, lost) {
                (false, _) => Hold::Others,
                (true, true) => Hold::Gone,
                (true, false) => Hold::Asked { heard: false },
            };
        }
        self.changed.notify_all();
        let began = Instant::now();
        let busy = |state: &State| tasks.iter().any(|task| state.tasks.get(task).is_some_and(|task| task.busy));
        while !lost && busy(&state) && began.elapsed() < LETTING_GO {
            let waited = self.changed.wait_timeout(state, SERVED);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for task in tasks {
            let known = state.tasks.entry(*task).or_default();
            known.hold = if known.busy { Hold::Gone } else { Hold::Others };
        }
    }
}

/// Hears of the group.
struct Group(Arc<Shared>);

fn tasks(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        told(&error, reason);
    }

    fn stats_raw(&self, text: &[u8]) {
        let Ok(now) = serde_json::from_slice::<Value>(text) else { return };
        let mut state = self.0.state();
        state.alone = alone(&now);
        state.settled |= now["cgrp"]["join_state"] == "steady";
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.0.taken(&tasks(list), client.assignment_lost());
        }
    }

    fn post_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                // It says whose a task is; what is in it is read elsewhere.
                if let Err(error) = client.pause(list) {
                    tracing::debug!(target: "kafka", %error, "a partition that nobody reads is not paused");
                }
                self.0.given(tasks(list).into_iter());
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => self.0.state().trouble = Some(error.to_string()),
        }
    }
}

/// This process's part in a group; it leaves the group when nobody holds it any more.
pub struct Members {
    shared: Arc<Shared>,
}

impl Members {
    /// `worker`: the name of this process in the group, over its restarts.
    pub(crate) fn join(arguments: &Arguments, around: &Surroundings, worker: &str) -> Result<Self, ConnectorError> {
        let settings = Settings::new(arguments, around)?;
        let topic = topic_of(arguments, around);
        let shared = Arc::new(Shared::default());
        let (served, worker) = (shared.clone(), worker.to_owned());
        let thread = thread::Builder::new().name("kafka-members".to_owned());
        let thread = thread.spawn(move || serve(&settings, &topic, &worker, &served));
        if let Err(error) = thread {
            shared.state().trouble = Some(format!("there is no thread for it: {error}"));
        }
        Ok(Self { shared })
    }

    pub fn task(self: &Arc<Self>, task: u32) -> Arc<dyn Ownership> {
        Arc::new(Member { members: self.clone(), task })
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
    }
}

/// Why a life of the client is over when a task is nobody's.
const STRAY: &str = "a task of the group is nobody's";

/// Serves the group's client until nobody needs it.
fn serve(settings: &Settings, topic: &Topic, worker: &str, shared: &Arc<Shared>) {
    let mut name = worker.to_owned();
    for life in 1_u64.. {
        if shared.state().closing {
            return;
        }
        let why = served(settings, topic, &name, shared);
        // A newcomer makes the group give out all that there is; its old name goes with the session.
        if why.as_deref() == Some(STRAY) {
            tracing::warn!(group = topic.name, "a task is nobody's; this process joins the group under another name");
            name = format!("{worker}.{life}");
        }
        let mut state = shared.state();
        let ours: Vec<u32> = state.tasks.keys().copied().collect();
        state.trouble = why;
        drop(state);
        shared.taken(&ours, true);
        if !shared.state().closing {
            thread::sleep(AGAIN);
        }
    }
}

/// One life of the client; why it is over.
fn served(settings: &Settings, topic: &Topic, worker: &str, shared: &Arc<Shared>) -> Option<String> {
    // Nobody is given what is not there.
    let (wanted, ours) = (topic.clone(), settings.clone());
    match within(LATE, move || topic::found_or_made(&wanted, &ours)) {
        Ok(Ok(found)) => {
            let why = of_another_number(found.partitions, topic);
            shared.state().refused = why.is_some();
            if why.is_some() {
                shared.changed.notify_all();
                return why;
            }
        }
        Ok(Err(error)) => return Some(error.words()),
        Err(_) => return Some(format!("the client does not answer within {} s; another one asks", LATE.as_secs())),
    }
    let mut config = settings.with(MEMBER);
    config
        .set("group.id", group_of(topic))
        .set("group.instance.id", worker)
        .set("session.timeout.ms", SESSION.as_millis().to_string());
    let client: Held<BaseConsumer<Group>> = match config.create_with_context(Group(shared.clone())) {
        Ok(client) => Held::new(client),
        Err(error) => return Some(words(&error)),
    };
    if let Err(error) = client.subscribe(&[&topic.name]) {
        return Some(words(&error));
    }
    let mut state = shared.state();
    (state.trouble, state.alone, state.settled) = (None, false, false);
    drop(state);
    let (group, mut strays) = (group_of(topic), Strays::new());
    while !shared.state().closing {
        if strays.found(&client, (&group, &topic.name), || shared.state().waited_for()) {
            return Some(STRAY.to_owned());
        }
        let Some(Err(error)) = client.poll(SERVED) else { continue };
        let fatal = client.client().fatal_error();
        if let Some((code, _)) = fatal {
            let fenced = code == RDKafkaErrorCode::FencedInstanceId;
            let detail = "another process works with this data folder's name in the group";
            return Some(if fenced { detail.to_owned() } else { words(&error) });
        }
        // Brokers that are gone come back; the statistics say whether they have.
        if !error.rdkafka_error_code().is_some_and(nobody_answers) {
            shared.state().trouble = Some(words(&error));
        }
    }
    // Who is asked for tasks by closing is told to let go first.
    let ours: Vec<u32> = shared.state().tasks.keys().copied().collect();
    shared.taken(&ours, false);
    None
}

fn group_of(topic: &Topic) -> String {
    format!("{}.workers", topic.name)
}

struct Member {
    members: Arc<Members>,
    task: u32,
}

impl Ownership for Member {
    fn wait(&self, patience: Duration) -> bool {
        let shared = &self.members.shared;
        let until = Instant::now() + patience;
        let mut state = shared.state();
        loop {
            let refused = state.refused;
            let task = state.tasks.entry(self.task).or_default();
            if task.hold == Hold::Ours || refused {
                (task.hold, task.busy) = (Hold::Ours, true);
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn parting(&self) -> Option<Parting> {
        let mut state = self.members.shared.state();
        let task = state.tasks.entry(self.task).or_default();
        match task.hold {
            Hold::Ours => None,
            Hold::Asked { heard: false } => {
                task.hold = Hold::Asked { heard: true };
                Some(Parting::Asked)
            }
            Hold::Asked { heard: true } | Hold::Gone | Hold::Others => Some(Parting::Gone),
        }
    }

    fn let_go(&self) {
        let shared = &self.members.shared;
        let mut state = shared.state();
        let task = state.tasks.entry(self.task).or_default();
        task.busy = false;
        if matches!(task.hold, Hold::Gone) {
            task.hold = Hold::Others;
        }
        shared.changed.notify_all();
    }

    fn settled(&self) -> bool {
        self.members.shared.state().settled
    }

    fn trouble(&self) -> Option<String> {
        let state = self.members.shared.state();
        state.trouble.clone().or_else(|| state.alone.then(|| "no broker can be reached".to_owned()))
    }
}
