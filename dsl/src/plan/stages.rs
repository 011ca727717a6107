//! Stages: a pipeline of several tasks, cut where a step needs rows of a key that lie in several partitions.
//!
//! Each stage is a plan by itself. It ends, where it is cut, in a hop: a topic with a partition for each task, into which rows go by the key
//! of the step behind it. The next stage begins with that step; its source is the hop. Rows of a key are in one place behind a hop, so
//! steps by the same key follow without another one.
//!
//! A stage is called by the step that it begins with: `clean.dedup` of `clean`. So it keeps its name, and with it its state, when hops
//! come or go elsewhere.

use std::collections::VecDeque;

use super::{
    Column, HopPlan, JoinPlan, Open, Place, Plan, SourcePlan, Step, StepKind, Value, WritePlan,
    partitions::{Claim, columns, judged},
};

impl Plan {
    /// The plans as which it runs; of a pipeline that needs no hop, itself. Every stage follows those that write its sources.
    pub fn stages(&self) -> Vec<Plan> {
        if self.options.tasks <= 1 || self.options.changelog.is_none() {
            return vec![self.clone()];
        }
        let first = Piece { plan: self.clone(), claim: Claim::of(&self.source), begins: false, grouped: false };
        let (mut pieces, mut stages) = (VecDeque::from([first]), vec![]);
        while let Some(Piece { mut plan, claim, begins, grouped }) = pieces.pop_front() {
            let mut cut = Cut { whole: self, tails: vec![], sides: vec![] };
            let (flow, before) = (std::mem::take(&mut plan.flow), Before::source(&plan.source));
            plan.flow = cut.flow(flow, At { claim, begins, grouped, derived: derived(&plan) }, before);
            let Cut { tails, sides, .. } = cut;
            stages.extend(sides);
            pieces.extend(tails.into_iter().map(|tail| tail.piece(self, &plan)));
            stages.push(plan);
        }
        stages
    }

    /// Where all processes find what people asked of a pipeline, as its file names it: beside its changelogs, whichever stage this is.
    pub fn board(&self, pipeline: &str) -> Option<Place> {
        self.options.changelog.as_ref().map(|place| at(place, &format!("syncline.{pipeline}.backfills")))
    }

    /// Steps in front of which rows hop to the task that has their key, in the order of the file, each with the key.
    pub fn hops(&self) -> Vec<(&Step, Vec<String>)> {
        let mut hops: Vec<(String, Vec<String>)> = vec![];
        for stage in self.stages() {
            stage.each_step(&mut |step| {
                if let (StepKind::Hop { by, .. }, Some(id)) = (&step.kind, step.id.strip_suffix(HOP)) {
                    hops.push((id.strip_suffix(RIGHT).unwrap_or(id).to_owned(), by.clone()));
                }
            });
        }
        self.in_order(&hops)
    }

    /// Sinks to which rows of one key come from several tasks, and so in any order, although they came from one partition and nothing else
    /// says which of them is newer; in the order of the file, each with that key.
    pub fn unordered(&self) -> Vec<(&Step, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = vec![];
        for stage in self.stages() {
            let Some(hop) = &stage.source.hop else { continue };
            let Some(StepKind::Hop { by, .. }) = hop.end().map(|step| &step.kind) else { continue };
            let again = hop.writer.source.hop.is_some();
            let first = stage.flow.first().filter(|_| again);
            found.extend(first.and_then(|step| Some((step.id.clone(), last_come(step)?.to_vec()))));
            added_by_others(&stage.flow, Claim::by(by), &mut found);
        }
        self.in_order(&found)
    }

    /// The steps of these ids, in the order of the file, each with its key.
    fn in_order(&self, found: &[(String, Vec<String>)]) -> Vec<(&Step, Vec<String>)> {
        let mut all = vec![];
        self.each_step(&mut |step| {
            all.extend(found.iter().find(|(id, _)| *id == step.id).map(|(_, key)| (step, key.clone())));
        });
        all
    }
}

/// The key of a sink in which of two rows the one that comes later stands.
fn last_come(step: &Step) -> Option<&[String]> {
    let StepKind::Sink(sink) = &step.kind else { return None };
    match &sink.write {
        WritePlan::Upsert { key, sequence: None, .. } | WritePlan::Replace { per: key, sequence: None } => Some(key),
        _ => None,
    }
}

/// Sinks that add rows of a key that does not decide which task they come from.
fn added_by_others(flow: &[Step], mut claim: Claim, found: &mut Vec<(String, Vec<String>)>) {
    for step in flow {
        match &step.kind {
            StepKind::Tee { flow } => added_by_others(flow, claim.clone(), found),
            StepKind::Fork { flows } => flows.iter().for_each(|flow| added_by_others(flow, claim.clone(), found)),
            StepKind::Arms { arms, .. } => {
                arms.iter().for_each(|arm| added_by_others(&arm.flow, claim.clone(), found));
            }
            StepKind::Sink(sink) => match &sink.write {
                WritePlan::Insert { key } if !key.is_empty() && !claim.decides_columns(key) => {
                    found.push((step.id.clone(), key.clone()));
                }
                _ => {}
            },
            _ => {}
        }
        claim = judged(step, &claim).1;
    }
}

/// Behind the id of a step: the hop in front of it.
const HOP: &str = "/repartition";
/// Between the two: of the right side of a join.
const RIGHT: &str = "/right";

/// A stage that is not cut yet.
struct Piece {
    plan: Plan,
    /// What decides where its rows are.
    claim: Claim,
    /// A hop was put in front of its first step.
    begins: bool,
    /// Rows know the group of a `REPLACE`.
    grouped: bool,
}

/// Where in a plan it is being cut.
#[derive(Clone)]
struct At {
    claim: Claim,
    begins: bool,
    grouped: bool,
    derived: bool,
}

/// What comes to a step.
#[derive(Clone)]
struct Before {
    columns: Vec<Column>,
    open: Option<Open>,
}

impl Before {
    fn source(source: &SourcePlan) -> Self {
        match source.hop.as_ref().and_then(|hop| hop.end()) {
            Some(Step { columns, open, .. }) => Self { columns: columns.clone(), open: open.clone() },
            None => Self { columns: vec![], open: source.whole_record.then(Open::default) },
        }
    }
}

fn derived(plan: &Plan) -> bool {
    plan.source.hop.as_ref().is_some_and(|hop| hop.derived)
}

/// What follows a hop at the end of a flow.
struct Tail {
    step: String,
    by: Vec<String>,
    flow: Vec<Step>,
    grouped: bool,
    derived: bool,
    /// The stage that it follows, where that is another one than is being cut.
    writer: Option<Plan>,
}

impl Tail {
    fn piece(self, whole: &Plan, cut: &Plan) -> Piece {
        let Tail { step, by, flow, grouped, derived, writer } = self;
        let source = source(whole, &step, writer.unwrap_or_else(|| cut.clone()), derived);
        Piece { plan: stage(whole, &step, source, flow), claim: Claim::by(&by), begins: true, grouped }
    }
}

struct Cut<'a> {
    whole: &'a Plan,
    tails: Vec<Tail>,
    /// Stages in front of further sources of the one that is being cut.
    sides: Vec<Plan>,
}

impl Cut<'_> {
    fn flow(&mut self, flow: Vec<Step>, mut at: At, mut before: Before) -> Vec<Step> {
        let (mut cut, mut rest) = (vec![], VecDeque::from(flow));
        while let Some(mut step) = rest.pop_front() {
            let (in_place, after) = judged(&step, &at.claim);
            at.grouped |= matches!(step.kind, StepKind::Group { .. });
            if !in_place && !std::mem::take(&mut at.begins) {
                let (id, by) = (step.id.clone(), key(&step.kind, at.grouped));
                cut.push(hop(self.whole, &id, step.span, &by, None, before));
                if let StepKind::Join(join) = &mut step.kind {
                    self.right(&id, step.span, join);
                }
                rest.push_front(step);
                let At { grouped, derived, .. } = at;
                self.tails.push(Tail { step: id, by, flow: rest.into(), grouped, derived, writer: None });
                return cut;
            }
            at.begins = false;
            before = Before { columns: step.columns.clone(), open: step.open.clone() };
            self.branches(&mut step, &at, &before);
            at.claim = after;
            cut.push(step);
        }
        cut
    }

    fn branches(&mut self, step: &mut Step, at: &At, before: &Before) {
        let mut branch = |flow: &mut Vec<Step>, derived: bool| {
            let at = At { derived: at.derived || derived, ..at.clone() };
            *flow = self.flow(std::mem::take(flow), at, before.clone());
        };
        match &mut step.kind {
            StepKind::Tee { flow } => branch(flow, false),
            StepKind::Fork { flows } => flows.iter_mut().for_each(|flow| branch(flow, false)),
            StepKind::Arms { arms, .. } => arms.iter_mut().for_each(|arm| branch(&mut arm.flow, !arm.primary)),
            StepKind::Union { arms } => {
                for arm in arms {
                    self.side(&mut arm.source, &mut arm.flow);
                }
            }
            _ => {}
        }
    }

    /// One more source: as long as its own steps need a hop, what is in front of it is a stage by itself.
    fn side(&mut self, from: &mut SourcePlan, flow: &mut Vec<Step>) {
        let (mut claim, mut begins) = (Claim::of(from), false);
        loop {
            let mut cut = Cut { whole: self.whole, tails: vec![], sides: vec![] };
            let at = At { claim, begins, grouped: false, derived: false };
            let first = cut.flow(std::mem::take(flow), at, Before::source(from));
            let Cut { mut tails, sides, .. } = cut;
            self.sides.extend(sides);
            let own = tails.pop_if(|_| matches!(first.last(), Some(Step { kind: StepKind::Hop { .. }, .. })));
            let Some(Tail { step, by, flow: rest, .. }) = own else {
                self.tails.extend(tails);
                *flow = first;
                return;
            };
            let writer = stage(self.whole, &format!("{step}/before"), from.clone(), first);
            // Of branches in front of the hop.
            self.tails.extend(tails.into_iter().map(|tail| Tail { writer: Some(writer.clone()), ..tail }));
            *from = source(self.whole, &step, writer.clone(), false);
            self.sides.push(writer);
            (*flow, claim, begins) = (rest, Claim::by(&by), true);
        }
    }

    /// The other side of a join goes where this one goes.
    fn right(&mut self, id: &str, span: (usize, usize), join: &mut JoinPlan) {
        let id = format!("{id}{RIGHT}");
        let by: Vec<String> = join.keys.iter().map(|(_, its)| its.clone()).collect();
        let before = Before::source(&join.table);
        let first = hop(self.whole, &id, span, &by, Some(join.alias.clone()), before);
        let writer = stage(self.whole, &id, join.table.clone(), vec![first]);
        join.table = source(self.whole, &id, writer.clone(), false);
        self.sides.push(writer);
    }
}

/// What rows are put together by in front of a step.
fn key(kind: &StepKind, grouped: bool) -> Vec<String> {
    match kind {
        StepKind::Dedup { by, .. } if by.is_empty() => vec![RECORD.to_owned()],
        StepKind::Dedup { by, .. } | StepKind::Lanes { by, .. } | StepKind::Arms { by, .. } => by.clone(),
        // The window is nobody's key: rows of several windows may be one session.
        StepKind::Aggregate { keys, .. } => {
            keys.iter().map(|(_, sql)| sql.clone()).filter(|sql| !sql.is_empty()).collect()
        }
        StepKind::Join(join) => join.keys.iter().map(|(own, _)| own.clone()).collect(),
        StepKind::Sink(sink) => match &sink.write {
            WritePlan::Replace { .. } if grouped => vec![GROUP.to_owned()],
            WritePlan::Upsert { key, .. } | WritePlan::Replace { per: key, .. } | WritePlan::Insert { key } => {
                columns(key)
            }
        },
        _ => vec![],
    }
}

/// Hidden columns, as the engine calls them: the whole record, and the key of a group.
const RECORD: &str = "__record";
const GROUP: &str = "__group";

fn hop(
    whole: &Plan,
    id: &str,
    span: (usize, usize),
    by: &[String],
    alias: Option<String>,
    Before { columns, open }: Before,
) -> Step {
    let kind = StepKind::Hop { topic: topic(whole, id), by: by.to_vec(), alias };
    Step { id: format!("{id}{HOP}"), span, kind, columns, open }
}

/// The stage of this name. It keeps what it knows apart from the others.
fn stage(whole: &Plan, id: &str, source: SourcePlan, flow: Vec<Step>) -> Plan {
    let mut plan = Plan { source, flow, ..whole.clone() };
    plan.pipeline = format!("{}.{}", whole.pipeline, word(id));
    let object = format!("syncline.{}.changelog", plan.pipeline);
    plan.options.changelog = whole.options.changelog.as_ref().map(|place| at(place, &object));
    plan
}

fn source(whole: &Plan, id: &str, writer: Plan, derived: bool) -> SourcePlan {
    let place = whole.options.changelog.as_ref().map(|place| at(place, &topic(whole, id)));
    let hop = HopPlan { writer, step: format!("{id}{HOP}"), derived };
    SourcePlan {
        place: place.unwrap_or_else(|| whole.source.place.clone()),
        follow: false,
        endless: true,
        format: "rows".to_owned(),
        csv: None,
        declared: false,
        typed: false,
        fields: vec![],
        key: vec![],
        reject_unknown: false,
        evolves: false,
        whole_record: false,
        metadata: vec![],
        event_time: None,
        partitioned_by: vec![],
        stream: None,
        hop: Some(Box::new(hop)),
    }
}

fn topic(whole: &Plan, id: &str) -> String {
    format!("syncline.{}.{}.repartition", whole.pipeline, word(id))
}

/// Another object of the connection that has the changelog.
fn at(changelog: &Place, object: &str) -> Place {
    let mut place = changelog.clone();
    // The object is what the connection itself leaves open: it stands last.
    if let Some((_, value)) = place.named.last_mut() {
        *value = Value::Text(object.to_owned());
    }
    let connection = place.text.split('.').next().unwrap_or_default();
    place.text = format!("{connection}.{object}");
    place
}

/// The id of a step in the name of a topic, which takes few signs.
fn word(id: &str) -> String {
    let mut word = String::new();
    for letter in id.chars() {
        match letter {
            '/' => word.push('.'),
            letter if letter.is_ascii_alphanumeric() || "_-".contains(letter) => word.push(letter),
            letter => word.push_str(&format!("-{:x}", u32::from(letter))),
        }
    }
    word
}
