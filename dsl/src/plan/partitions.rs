//! Which steps find all records of a key in one partition of their source, and so could work on some partitions only.
//!
//! `PARTITIONED BY (a, b)` says that records with equal a and b are in one partition. A step whose key has a and b among its parts, as
//! they came, sees all rows of a key in one partition then. A part that was changed on the way, even by a `CAST`, no longer
//! says which: `1` and `01` are one number, and two keys of records.

use super::{Plan, SourcePlan, Step, StepKind, WritePlan};
use crate::{expression::column_sql, hidden::reads, planner};

impl Plan {
    /// Whether the partitions of its source may be shared out among workers, so that each step that keeps or orders rows by a key
    /// sees all rows of a key in one place. False for what looks at all rows (`ORDER BY`, `LIMIT`, an `AGGREGATE` without
    /// keys), and for more than one source, whose partitions nobody knows to be alike.
    ///
    /// Tables that are joined are read whole by everybody, and their rows belong to no key.
    pub fn co_partitioned(&self) -> bool {
        self.sources().len() == 1 && self.across_partitions().is_empty()
    }

    /// Steps that may need rows of several partitions for one key, in the order of the file.
    pub fn across_partitions(&self) -> Vec<&Step> {
        let mut across = Across { found: Vec::new() };
        across.flow(&self.flow, Claim::of(&self.source));
        across.found
    }
}

/// What decides in which partition, or at which task, a row is: SQL over the columns of a step. Of nothing, all rows are in one. `None`: a
/// part of it is not there any more as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Option<Vec<String>>);

impl Claim {
    pub(super) const LOST: Claim = Claim(None);

    /// What `PARTITIONED BY` says.
    pub(super) fn of(source: &SourcePlan) -> Self {
        let columns = source.partitioned_by.iter().map(|name| column_sql(planner(), name)).collect();
        Self(Some(columns).filter(|columns: &Vec<String>| !columns.is_empty()))
    }

    /// Rows were put together by this key.
    pub(super) fn by(key: &[String]) -> Self {
        Self(Some(key.to_vec()))
    }

    /// Behind a step that makes columns of expressions.
    fn through(&self, columns: &[(String, String)]) -> Self {
        let renamed = |sql: &String| {
            // Under its own name, where it goes on under several.
            let same = columns.iter().find(|(after, made)| made == sql && column_sql(planner(), after) == *sql);
            let found = same.or(columns.iter().find(|(_, made)| made == sql));
            found.map(|(after, _)| column_sql(planner(), after))
        };
        Self(self.0.as_ref().and_then(|parts| parts.iter().map(renamed).collect()))
    }

    /// Whether equal keys come from one partition. `key`: the SQL of its parts.
    fn decides<'k>(&self, key: impl Iterator<Item = &'k String> + Clone) -> bool {
        self.0.as_ref().is_some_and(|parts| parts.iter().all(|part| key.clone().any(|own| own == part)))
    }

    /// The same of a key that is written as names of columns.
    pub(super) fn decides_columns(&self, key: &[String]) -> bool {
        self.decides(columns(key).iter())
    }

    /// Of whole open records: equal ones are equal in every field that is still the record's.
    fn is_content(&self, step: &Step) -> bool {
        let kept = |name: &String| step.open.as_ref().is_some_and(|open| !open.dropped.contains(name));
        self.0.as_ref().is_some_and(|parts| parts.iter().all(|part| reads(part, planner()).iter().all(kept)))
    }
}

/// Columns as SQL.
pub(super) fn columns(names: &[String]) -> Vec<String> {
    names.iter().map(|name| column_sql(planner(), name)).collect()
}

/// Whether a step finds all rows of a key in one place, and what decides behind it where rows are. Its branches are not looked into.
pub(super) fn judged(step: &Step, claim: &Claim) -> (bool, Claim) {
    let same = || claim.clone();
    match &step.kind {
        StepKind::Project { columns, .. } => (true, claim.through(columns)),
        StepKind::Dedup { by, .. } if by.is_empty() => (claim.is_content(step), same()),
        StepKind::Dedup { by, .. } => (claim.decides(by.iter()), same()),
        StepKind::Aggregate { keys, columns, .. } => {
            let after = claim.through(keys);
            let after = if columns.is_empty() { after } else { after.through(columns) };
            (claim.decides(keys.iter().map(|(_, sql)| sql)), after)
        }
        StepKind::Lanes { by, .. } | StepKind::Arms { by, .. } => (claim.decides(by.iter()), same()),
        StepKind::Union { .. } => (true, Claim::LOST),
        StepKind::Join(join) if join.bound.is_some() => (false, Claim::LOST),
        StepKind::Sort { .. } | StepKind::Limit { .. } => (claim.decides([].iter()), same()),
        StepKind::Sink(sink) => match &sink.write {
            WritePlan::Insert { .. } => (true, same()),
            WritePlan::Upsert { key, .. } | WritePlan::Replace { per: key, .. } => (claim.decides_columns(key), same()),
        },
        StepKind::Where { .. }
        | StepKind::Expect { .. }
        | StepKind::Unnest { .. }
        | StepKind::Group { .. }
        | StepKind::Tee { .. }
        | StepKind::Fork { .. }
        | StepKind::Hop { .. }
        | StepKind::Join(_) => (true, same()),
    }
}

struct Across<'a> {
    found: Vec<&'a Step>,
}

impl<'a> Across<'a> {
    fn flow(&mut self, flow: &'a [Step], mut claim: Claim) {
        for step in flow {
            claim = self.step(step, claim);
        }
    }

    fn step(&mut self, step: &'a Step, claim: Claim) -> Claim {
        let (in_place, after) = judged(step, &claim);
        match &step.kind {
            StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| self.flow(&arm.flow, claim.clone())),
            StepKind::Tee { flow } => self.flow(flow, claim),
            StepKind::Fork { flows } => flows.iter().for_each(|flow| self.flow(flow, claim.clone())),
            StepKind::Union { arms } => arms.iter().for_each(|arm| self.flow(&arm.flow, Claim::of(&arm.source))),
            _ => {}
        }
        if !in_place {
            self.found.push(step);
        }
        after
    }
}
