//! A plan, walked: its steps, its sources, its tables.

use super::{JoinPlan, Plan, SourcePlan, Step, StepKind};

impl Plan {
    /// Calls `each` for every step, branches included, in the order of the file.
    pub fn each_step<'a>(&'a self, each: &mut dyn FnMut(&'a Step)) {
        fn walk<'a>(flow: &'a [Step], each: &mut dyn FnMut(&'a Step)) {
            for step in flow {
                each(step);
                match &step.kind {
                    StepKind::Tee { flow } => walk(flow, each),
                    StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| walk(&arm.flow, each)),
                    StepKind::Fork { flows } => flows.iter().for_each(|flow| walk(flow, each)),
                    StepKind::Union { arms } => arms.iter().for_each(|arm| walk(&arm.flow, each)),
                    _ => {}
                }
            }
        }
        walk(&self.flow, each);
    }

    /// The sources whose rows go through the pipeline, in the order of the file; tables that are joined are none.
    pub fn sources(&self) -> Vec<&SourcePlan> {
        let mut all = vec![&self.source];
        self.each_step(&mut |step| all.extend(step.sources()));
        all
    }

    /// Tables that are joined.
    pub fn tables(&self) -> Vec<&SourcePlan> {
        let mut all = vec![];
        self.each_step(&mut |step| {
            if let StepKind::Join(join @ JoinPlan { bound: None, .. }) = &step.kind {
                all.push(&join.table);
            }
        });
        all
    }

    /// True when one of its sources never ends.
    pub fn endless(&self) -> bool {
        self.sources().iter().any(|source| source.endless)
    }
}
