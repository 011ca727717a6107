//! Plans of texts that may take the place of others: what each step becomes, what becomes of its state, and whether that is still so.
//!
//! One source of truth for `syncline plan`, `syncline apply` and `/v1/plans`: a plan asks what a start asks. It has an id, of the text and
//! of what it was compared with; when that is another one, the plan is of another time, and is not applied.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::{Value, json};
use syncline_dsl::catalog::Catalog;
use syncline_engine::{
    checkpoint,
    revision::{self, Revision},
    runtime::{Ground, start::StartOptions},
};
use syncline_functions::Planner;
use syncline_record::{Micros, amount, keys};

use crate::{
    api::status::read_failure, changes, compiler::Compiler, foreseen, outcome::Failure, planned::Planned,
    project::Member, source_file::SourceFile, world::store_failure,
};

/// Plans that a process remembers: one that nobody applies is forgotten behind so many others.
const REMEMBERED: usize = 100;
/// Bytes of their texts: whoever may look may make plans, and a text may have megabytes.
const REMEMBERED_BYTES: usize = 16 << 20;

/// What a text would do.
pub struct Proposed {
    pub id: String,
    pub pipelines: Vec<Planned>,
    /// What its file declares and it does not.
    pub dropped: Vec<DroppedLine>,
    /// Why it cannot take its place.
    pub refusal: Option<Failure>,
}

/// A pipeline that would stop.
#[derive(Debug, Serialize)]
pub struct DroppedLine {
    pub pipeline: String,
    /// Of its state, which stays.
    pub keys: u64,
}

impl DroppedLine {
    pub fn of(pipeline: String, ground: &Ground) -> Result<Self, Failure> {
        let mut keys = 0;
        for task in checkpoint::pipelines(&*ground.store, &checkpoint::STARTED).map_err(store_failure)? {
            if task == pipeline || task.strip_prefix(&pipeline).is_some_and(|rest| rest.starts_with('.')) {
                let checkpoint = checkpoint::read_checkpoint(&*ground.store, &task).map_err(read_failure)?;
                keys += checkpoint.unwrap_or_default().states.values().map(|state| state.size.keys).sum::<u64>();
            }
        }
        Ok(Self { pipeline, keys })
    }

    /// One line for people.
    fn to_text(&self) -> String {
        let Self { pipeline, keys } = self;
        let keys = crate::planned::keys(*keys);
        format!("{pipeline} would stop: the text declares it no more; its state stays: {keys}\n")
    }
}

/// What a plan is compared with, beside the state.
#[derive(Debug, Serialize)]
pub struct Since {
    pub revision: u64,
    /// `None`: that text does not compile here any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<changes::ChangeLine>>,
    /// What would be kept to go back to.
    pub keeps: KeptLine,
}

#[derive(Debug, Serialize)]
pub struct KeptLine {
    pub keys: u64,
    pub bytes: u64,
    /// Above this nothing is kept.
    pub most: u64,
}

impl Since {
    /// One line for people.
    pub fn to_text(&self) -> String {
        let changed = self.steps.as_ref().map(|steps| {
            let of = |change: &str| {
                let all = steps.iter().filter(|line| line.change == change).map(|line| line.step.as_str());
                let all: Vec<&str> = all.collect();
                (!all.is_empty()).then(|| format!("{change} {}", all.join(", ")))
            };
            let all: Vec<String> = ["added", "changed", "removed"].into_iter().filter_map(of).collect();
            if all.is_empty() { "no step changes".to_owned() } else { all.join("; ") }
        });
        let changed = changed.unwrap_or_else(|| "its text does not compile here any more".to_owned());
        let kept = match &self.keeps {
            KeptLine { bytes, most, .. } if bytes > most => {
                format!("no way back: its state has more than {}", amount::shown(*most))
            }
            KeptLine { keys: held, .. } => format!("its state is kept to go back to: {}", crate::planned::keys(*held)),
        };
        let unchanged = self.steps.as_ref().is_some_and(|steps| steps.iter().all(|line| line.change == "same"));
        match unchanged {
            true => format!("since revision {}: {changed}", self.revision),
            false => format!("since revision {}: {changed} · {kept}", self.revision),
        }
    }
}

/// What plans are made with.
pub struct Around<'a> {
    pub planner: &'a Planner,
    pub catalog: &'a Catalog,
    pub compiler: &'a Compiler,
    pub ground: Option<&'a Ground>,
    /// The most bytes of a state that are copied.
    pub most: u64,
    pub now: Micros,
}

/// The plan of one pipeline, and what a start would refuse.
pub fn of(member: &Member, around: &Around<'_>, options: &StartOptions) -> Result<(Planned, Option<Failure>), Failure> {
    let (spec, foreseen) = foreseen::of(member, around.planner, around.ground, options)?;
    let file = member.file.name();
    let mut planned = Planned::of((&member.plan, &file), around.catalog, &spec, &foreseen, around.now);
    if let Some(ground) = around.ground
        && let Some(last) = revision::last(&*ground.store, member.name()).map_err(read_failure)?
    {
        planned.since = Some(since(member, &last, ground, around)?);
    }
    Ok((planned, foreseen::refusal(foreseen, member)))
}

fn since(member: &Member, last: &Revision, ground: &Ground, around: &Around<'_>) -> Result<Since, Failure> {
    let before = plan_of(around.compiler, (&member.file.path, &last.text), member.name());
    let steps = before.map(|before| changes::between(&before, &member.plan));
    let checkpoint = checkpoint::read_checkpoint(&*ground.store, member.name()).map_err(read_failure)?;
    let states = checkpoint.unwrap_or_default().states;
    let keeps = KeptLine {
        keys: states.values().map(|state| state.size.keys).sum(),
        bytes: states.values().map(|state| state.stored).sum(),
        most: around.most,
    };
    Ok(Since { revision: last.number, steps, keeps })
}

fn plan_of(compiler: &Compiler, (path, text): (&Path, &str), name: &str) -> Option<syncline_dsl::plan::Plan> {
    let checked = compiler.compile(&SourceFile { path: path.to_owned(), text: text.to_owned() }).ok()?;
    checked.plan.pipelines.iter().find(|plan| plan.pipeline == name).cloned()
}

/// Of a text, and of what it is compared with: the one that stands in its file, the revisions that run, and what their states mean.
pub fn id(texts: (&str, Option<&str>), pipelines: &[&str], ground: &Ground) -> Result<String, Failure> {
    let mut told = vec![json!(texts)];
    for name in pipelines {
        let revision = revision::last(&*ground.store, name).map_err(read_failure)?.map(|last| last.number);
        let checkpoint = checkpoint::read_checkpoint(&*ground.store, name).map_err(read_failure)?.unwrap_or_default();
        let states: BTreeMap<String, u64> =
            checkpoint.states.iter().map(|(step, note)| (step.to_string(), note.digest)).collect();
        told.push(json!([name, revision, states]));
    }
    Ok(keys::hex128(keys::content_hash(Value::from(told).to_string().as_bytes())))
}

pub fn stale() -> Failure {
    Failure::failed(
        "stale-plan",
        "the plan is of another time: another revision has begun since, or its state means something else",
    )
    .help("ask for a plan of the text again, and look at it")
}

impl Proposed {
    pub fn to_json(&self) -> Value {
        let planned = self.pipelines.iter().map(Planned::to_text);
        let shown: Vec<String> = planned.chain(self.dropped.iter().map(DroppedLine::to_text)).collect();
        json!({
            "id": self.id,
            "applies": self.refusal.is_none(),
            "refusal": self.refusal.as_ref().map(|failure| failure.to_json(None)),
            "pipelines": self.pipelines,
            "dropped": self.dropped,
            "shown": shown.join("\n"),
        })
    }
}

/// A text that a plan was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub name: String,
    pub text: String,
}

/// The plans of a process, the newest of them.
#[derive(Default)]
pub struct Plans(Mutex<VecDeque<(String, Text)>>);

impl Plans {
    pub fn remember(&self, id: &str, text: Text) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| known != id);
        all.push_back((id.to_owned(), text));
        let bytes = |all: &VecDeque<(String, Text)>| all.iter().map(|(_, text)| text.text.len()).sum::<usize>();
        while all.len() > REMEMBERED || (all.len() > 1 && bytes(&all) > REMEMBERED_BYTES) {
            all.pop_front();
        }
    }

    pub fn get(&self, id: &str) -> Option<Text> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| known == id).map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_nobody_applies_are_forgotten_by_number_and_by_size() {
        let plans = Plans::default();
        let remember = |name: &str, bytes: usize| {
            plans.remember(name, Text { name: name.to_owned(), text: "x".repeat(bytes) });
        };
        let known = |names: &[&str]| names.iter().map(|name| plans.get(name).is_some()).collect::<Vec<_>>();
        (0..REMEMBERED + 1).for_each(|number| remember(&number.to_string(), 1));
        assert_eq!(known(&["0", "1", "100"]), [false, true, true]);
        for name in ["a", "b", "c", "d", "e"] {
            remember(name, 4 << 20);
        }
        assert_eq!(known(&["100", "a", "b", "e"]), [false, false, true, true]);
        // The newest is, however large.
        remember("large", REMEMBERED_BYTES + 1);
        assert_eq!(known(&["e", "large"]), [false, true]);
    }
}
