//! What would run, as a value: steps with their keys, their state and what it costs, sources, and sinks with what they keep.
//!
//! Made of the plan, of the graph that a run would make of it, and of what the data folder holds. Nothing outside is opened, and no secret is
//! asked for: places stand as the file writes them.

use std::collections::BTreeMap;

use serde::Serialize;
use syncline_dsl::{
    catalog::Catalog,
    plan::{BoundPlan, JoinPlan, Keep, Plan, Schedule, SourcePlan, Step, StepKind, UnionArm, WindowPlan},
};
use syncline_engine::{
    graph::input_step,
    runtime::{foresee::Foreseen, job::JobSpec},
};
use syncline_record::{Micros, StepId, duration};

use crate::plans::Since;

/// What a `DEDUP` takes in memory for a key, measured (`benches/README.md`).
const BYTES_OF_A_KEY: u64 = 34;

/// One pipeline.
#[derive(Debug, Serialize)]
pub struct Planned {
    pub pipeline: String,
    pub file: String,
    /// Of everything that decides what becomes of a row.
    pub digest: String,
    pub checkpoint_every: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleLine>,
    /// The word that the file asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Where all that it keeps is written down; nobody asks there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changelog: Option<String>,
    /// Each key lies in one partition of the source, so that partitions could be shared out.
    pub co_partitioned: bool,
    /// The last epoch that is committed here; 0: none.
    pub epoch: u64,
    pub source: SourceLine,
    pub steps: Vec<StepLine>,
    /// State that a run would lose, and refuse to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostLine>,
    /// What it changes, where it has run before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// What becomes of each state that there is, or would be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<BecomesLine>,
    /// Steps that would take over from another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MovedLine>,
}

/// When it is due, by the clocks of its zone.
#[derive(Debug, Serialize)]
pub struct ScheduleLine {
    pub kind: &'static str,
    pub expression: String,
    pub time_zone: String,
    pub missed: &'static str,
    pub next: Vec<String>,
}

/// Due times that are shown of a schedule.
const SHOWN: usize = 3;

impl ScheduleLine {
    /// The next ones behind `now`.
    pub fn of(schedule: &Schedule, now: Micros) -> Self {
        let next = schedule.calendar().map_or_else(
            |_| vec![],
            |calendar| {
                let after = |at: &Micros| calendar.next_after(*at);
                std::iter::successors(after(&now), after).take(SHOWN).map(|due| calendar.shown(due)).collect()
            },
        );
        Self {
            kind: schedule.kind(),
            expression: schedule.expression(),
            time_zone: schedule.zone().to_owned(),
            missed: schedule.missed.as_str(),
            next,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct SourceLine {
    pub step: String,
    pub place: String,
    pub format: String,
    pub ends: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<String>,
    /// Partitions that are read on from where they were left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_on: Option<usize>,
}

#[derive(Debug, Serialize)]
pub struct StepLine {
    pub step: String,
    pub does: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkLine>,
    /// Rows of several partitions may belong to one key of it.
    pub across_partitions: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchLine>,
}

#[derive(Debug, Serialize)]
pub struct BranchLine {
    /// Of an arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a further source, and of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
    pub steps: Vec<StepLine>,
}

#[derive(Debug, Serialize)]
pub struct StateLine {
    /// Of key, types and window: state of another digest means something else.
    pub digest: String,
    pub key: Vec<String>,
    pub costs: String,
    /// `new`, `kept`, `migrated`, `lost`.
    pub fate: &'static str,
    /// What becomes of each key that is migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// What is there of it, and its bytes on disk.
    pub keys: u64,
    pub bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct SinkLine {
    pub to: String,
    pub keeps: String,
}

/// What becomes of a state.
#[derive(Debug, Serialize)]
pub struct BecomesLine {
    pub step: String,
    /// `keep`: it is read as it is; `migrate`: it is read, and kept as the step is defined now; `rebuild`: it is read anew from its table;
    /// `drop`: it would be lost; `new`.
    pub becomes: &'static str,
    /// Where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// What becomes of each key that is migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct LostLine {
    pub step: String,
    pub keys: u64,
    pub undelivered: u64,
    /// The step is there, and means something else.
    pub changed: bool,
}

#[derive(Debug, Serialize)]
pub struct MovedLine {
    pub from: String,
    pub to: String,
}

impl Planned {
    /// `foreseen`: what a start would meet in the data folder.
    /// `now`: its next due times are those behind it.
    pub fn of(
        (plan, file): (&Plan, &str),
        catalog: &Catalog,
        spec: &JobSpec,
        foreseen: &Foreseen,
        now: Micros,
    ) -> Self {
        let states = spec.graph.nodes.iter().filter_map(|node| Some((node.id.clone(), node.state?)));
        let keeps = plan.delivery_paths(catalog).into_iter();
        let about = About {
            states: states.collect(),
            keeps: keeps.map(|path| (path.step.id.clone(), path.keeps.to_owned())).collect(),
            across: plan.across_partitions().into_iter().map(|step| step.id.clone()).collect(),
            foreseen,
        };
        let mut inputs = 0;
        let source = about.source(&plan.source, input_step(0));
        let steps = about.steps(&plan.flow, &mut inputs);
        let lost = foreseen.losses.iter().map(|loss| LostLine {
            step: loss.step.to_string(),
            keys: loss.keys,
            undelivered: loss.undelivered,
            changed: loss.changed,
        });
        let moved = foreseen.moved.iter();
        Self {
            pipeline: plan.pipeline.clone(),
            file: file.to_owned(),
            schedule: plan.schedule.as_ref().map(|schedule| ScheduleLine::of(schedule, now)),
            digest: plan.digest(),
            checkpoint_every: duration::shown(plan.options.checkpoint_every),
            delivery: plan.options.delivery.clone(),
            changelog: plan.options.changelog.as_ref().map(|place| masked(&place.text)),
            co_partitioned: plan.co_partitioned(),
            epoch: foreseen.epoch,
            source,
            steps,
            lost: lost.collect(),
            since: None,
            states: becomes(plan, spec, foreseen),
            moved: moved.map(|moved| MovedLine { from: moved.from.to_string(), to: moved.to.to_string() }).collect(),
        }
    }
}

fn becomes(plan: &Plan, spec: &JobSpec, foreseen: &Foreseen) -> Vec<BecomesLine> {
    let line = |step: &str, becomes, keys| BecomesLine { step: step.to_owned(), becomes, keys, how: None };
    let lost = |step: &StepId| foreseen.losses.iter().find(|loss| loss.step == *step && loss.keys > 0);
    let mut lines = vec![];
    for node in spec.graph.nodes.iter().filter(|node| node.state.is_some()) {
        if let Some((note, how)) = foreseen.migrated.get(&node.id) {
            let how = Some(how.clone());
            lines.push(BecomesLine { how, ..line(node.id.as_str(), "migrate", Some(note.size.keys)) });
            continue;
        }
        lines.push(match (foreseen.kept.get(&node.id), lost(&node.id)) {
            (Some(note), _) => line(node.id.as_str(), "keep", Some(note.size.keys)),
            (None, Some(loss)) => line(node.id.as_str(), "drop", Some(loss.keys)),
            (None, None) => line(node.id.as_str(), "new", Some(0)),
        });
    }
    plan.each_step(&mut |step| {
        if matches!(&step.kind, StepKind::Join(JoinPlan { bound: None, .. })) {
            lines.push(line(&step.id, "rebuild", None));
        }
    });
    let gone = foreseen.losses.iter().filter(|loss| loss.keys > 0 && !loss.changed);
    lines.extend(gone.map(|loss| line(loss.step.as_str(), "drop", Some(loss.keys))));
    lines
}

/// What is known of steps beside the plan, by their ids.
struct About<'a> {
    states: BTreeMap<StepId, u64>,
    keeps: BTreeMap<String, String>,
    across: Vec<String>,
    foreseen: &'a Foreseen,
}

impl About<'_> {
    fn source(&self, source: &SourcePlan, step: StepId) -> SourceLine {
        SourceLine {
            place: masked(&source.place.text),
            format: source.format.clone(),
            ends: !source.endless,
            partitioned_by: source.partitioned_by.clone(),
            read_on: self.foreseen.places.get(&step).copied().filter(|count| *count > 0),
            step: step.to_string(),
        }
    }

    /// `inputs`: how many further sources were met so far.
    fn steps(&self, flow: &[Step], inputs: &mut usize) -> Vec<StepLine> {
        flow.iter().map(|step| self.step(step, inputs)).collect()
    }

    fn step(&self, step: &Step, inputs: &mut usize) -> StepLine {
        let mut branch = |name: Option<&str>, flow: &[Step]| BranchLine {
            name: name.map(str::to_owned),
            source: None,
            steps: self.steps(flow, inputs),
        };
        let branches = match &step.kind {
            StepKind::Tee { flow } => vec![branch(None, flow)],
            StepKind::Fork { flows } => flows.iter().map(|flow| branch(None, flow)).collect(),
            StepKind::Arms { arms, .. } => arms.iter().map(|arm| branch(Some(&arm.name), &arm.flow)).collect(),
            StepKind::Union { arms } => arms.iter().map(|arm| self.arm(arm, inputs)).collect(),
            StepKind::Join(join) => vec![self.joined(step, join, inputs)],
            _ => vec![],
        };
        let sink = match &step.kind {
            StepKind::Sink(sink) => {
                self.keeps.get(&step.id).map(|keeps| SinkLine { to: masked(&sink.place.text), keeps: keeps.clone() })
            }
            _ => None,
        };
        StepLine {
            step: step.id.clone(),
            does: masked(&does(step)),
            state: self.state(step),
            sink,
            across_partitions: self.across.contains(&step.id),
            branches,
        }
    }

    fn arm(&self, arm: &UnionArm, inputs: &mut usize) -> BranchLine {
        *inputs += 1;
        let source = self.source(&arm.source, input_step(*inputs));
        BranchLine { name: None, source: Some(source), steps: self.steps(&arm.flow, inputs) }
    }

    fn joined(&self, step: &Step, join: &JoinPlan, inputs: &mut usize) -> BranchLine {
        let page = match join.bound {
            Some(_) => {
                *inputs += 1;
                input_step(*inputs)
            }
            None => StepId::new(format!("{}/table", step.id)),
        };
        BranchLine { name: None, source: Some(self.source(&join.table, page)), steps: vec![] }
    }

    fn state(&self, step: &Step) -> Option<StateLine> {
        let id = StepId::new(&step.id);
        let digest = self.states.get(&id)?;
        let (key, costs) = state(&step.kind)?;
        let digest = format!("{digest:016x}");
        let line = |fate, keys, bytes| StateLine { digest, key, costs, fate, how: None, keys, bytes };
        if let Some((note, how)) = self.foreseen.migrated.get(&id) {
            return Some(StateLine { how: Some(how.clone()), ..line("migrated", note.size.keys, note.stored) });
        }
        if let Some(note) = self.foreseen.kept.get(&id) {
            return Some(line("kept", note.size.keys, note.stored));
        }
        let lost = self.foreseen.losses.iter().find(|loss| loss.step == id && loss.keys > 0);
        Some(match lost {
            Some(loss) => line("lost", loss.keys, 0),
            None => line("new", 0, 0),
        })
    }
}

/// What a step does, with the columns that it makes.
fn does(step: &Step) -> String {
    match &step.kind {
        StepKind::Project { word, .. } => {
            let visible = step.columns.iter().filter(|column| column.visible).map(|column| column.name.as_str());
            let rest = step.open.as_ref().map(|_| "…");
            format!("{word} {}", visible.chain(rest).collect::<Vec<_>>().join(", "))
        }
        kind => kind.to_string(),
    }
}

/// The key of a step's state, and what the state takes.
fn state(kind: &StepKind) -> Option<(Vec<String>, String)> {
    Some(match kind {
        StepKind::Dedup { by, within, keep, .. } => {
            let version = if *keep == Keep::Last { " and its version" } else { "" };
            let length = within.map_or("for ever".to_owned(), |within| format!("for {}", duration::shown(within)));
            (by.clone(), format!("{BYTES_OF_A_KEY} bytes of memory for each key{version}, {length}"))
        }
        StepKind::Aggregate { keys, window, .. } => {
            let until = match window {
                Some(WindowPlan { by_record_time: true, .. }) => "until its window closes",
                Some(_) => "until the source ends",
                None => "for ever",
            };
            (keys.iter().map(|(name, _)| name.clone()).collect(), format!("the partial answers of each group, {until}"))
        }
        StepKind::Join(JoinPlan { bound: Some(bound), keys, .. }) => {
            let BoundPlan { least, most, .. } = **bound;
            let reach = most.unsigned_abs().max(least.unsigned_abs());
            let keys = keys.iter().map(|(own, its)| format!("{own} = {its}")).collect();
            (keys, format!("the rows of both sides, for {}", duration::shown(reach)))
        }
        StepKind::Join(JoinPlan { keys, .. }) => {
            (keys.iter().map(|(own, its)| format!("{own} = {its}")).collect(), "the whole table, in memory".to_owned())
        }
        StepKind::Sort { keys, most: Some(most) } => {
            (keys.iter().map(|key| key.sql.clone()).collect(), format!("{most} rows"))
        }
        StepKind::Sort { keys, most: None } => {
            (keys.iter().map(|key| key.sql.clone()).collect(), "every row, until the source ends".to_owned())
        }
        StepKind::Limit { .. } => (vec![], "a count".to_owned()),
        _ => return None,
    })
}

/// A place as the file writes it, without the passwords among the settings of a client. Where else one stands in a file, it does not
/// compile.
fn masked(text: &str) -> String {
    let mut parts = text.split("password=");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([',', '\'', '"']).unwrap_or(part.len());
        shown.push_str(&format!("password=[secret]{}", &part[end..]));
    }
    shown
}

/// `3 keys`
pub fn keys(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_among_settings_is_not_shown() {
        let shown = masked("kafka('t', settings => 'ssl.key.password=x y, a=b', brokers => 'b')");
        assert_eq!(shown, "kafka('t', settings => 'ssl.key.password=[secret], a=b', brokers => 'b')");
        assert_eq!(masked("sqlite('shop.db', 'orders')"), "sqlite('shop.db', 'orders')");
    }
}
