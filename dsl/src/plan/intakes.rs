//! The ways into a plan.

use super::{JoinPlan, Plan, SourcePlan, Step, StepKind};

impl Plan {
    /// Calls `each` for every source and every table, for who changes where their rows come from (a `TEST`).
    pub fn each_intake(&mut self, each: &mut dyn FnMut(&mut SourcePlan)) {
        fn walk(flow: &mut [Step], each: &mut dyn FnMut(&mut SourcePlan)) {
            for step in flow {
                match &mut step.kind {
                    StepKind::Tee { flow } => walk(flow, each),
                    StepKind::Fork { flows } => flows.iter_mut().for_each(|flow| walk(flow, each)),
                    StepKind::Arms { arms, .. } => arms.iter_mut().for_each(|arm| walk(&mut arm.flow, each)),
                    StepKind::Join(join) => each(&mut join.table),
                    StepKind::Union { arms } => {
                        for arm in arms {
                            each(&mut arm.source);
                            walk(&mut arm.flow, each);
                        }
                    }
                    _ => {}
                }
            }
        }
        each(&mut self.source);
        walk(&mut self.flow, each);
    }
}

impl SourcePlan {
    /// Rows of it may say that something was deleted.
    pub fn changes(&self) -> bool {
        !self.key.is_empty() || self.stream.as_ref().is_some_and(|stream| stream.changes)
    }
}

impl Step {
    /// The sources whose rows come in here.
    pub fn sources(&self) -> Vec<&SourcePlan> {
        match &self.kind {
            StepKind::Union { arms } => arms.iter().map(|arm| &arm.source).collect(),
            StepKind::Join(JoinPlan { table, bound: Some(_), .. }) => vec![table],
            _ => vec![],
        }
    }
}
