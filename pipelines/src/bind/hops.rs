//! Hops: the end of one stage of a pipeline, and the beginning of the next.
//!
//! The columns that come through a hop are those in front of it in the stage that writes it. So that stage is bound too, without anything
//! outside, and asked.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use syncline_dsl::plan::{Column, HopPlan, SourcePlan, Step};
use syncline_engine::{
    graph::{Edge, Work},
    hop::Hop,
    operators::decode::Decode,
};

use super::{
    BindError, decode,
    flow::{Branch, Flow},
    inputs::{renamed, types},
    state_digest,
    unopened::UnopenedEdges,
};

impl Flow<'_> {
    /// The pipeline's own source, and all steps.
    pub fn whole(&mut self) -> Result<(Decode, Vec<Edge>), BindError> {
        let plan = self.plan;
        let decode = self.decode(&plan.source)?;
        let (before, branch) = match &plan.source.hop {
            None => ((vec![], true), Branch::Main),
            Some(hop) => (left_before(hop), if hop.derived { Branch::Derived } else { Branch::Main }),
        };
        let chain = self.chain_behind(before, &plan.flow, decode.schema(), branch)?;
        Ok((decode, chain.first))
    }

    pub(super) fn decode(&self, source: &SourcePlan) -> Result<Decode, BindError> {
        match &source.hop {
            None => decode(source, self.plan),
            Some(hop) => Ok(Decode::whole(self.columns(hop)?)),
        }
    }

    /// The columns that come through a hop.
    fn columns(&self, hop: &HopPlan) -> Result<SchemaRef, BindError> {
        let mut writer = Flow::new(&hop.writer, self.planner, &UnopenedEdges, true);
        writer.whole()?;
        let missing =
            || BindError::Plan { step: hop.step.clone(), detail: "the stage before has no such step".to_owned() };
        writer.hops.remove(&hop.step).ok_or_else(missing)
    }

    pub(super) fn hop(
        &mut self,
        step: &Step,
        topic: &str,
        by: &[String],
        alias: Option<&String>,
        schema: &SchemaRef,
    ) -> Result<usize, BindError> {
        let renamed = alias.map(|alias| renamed(schema, alias));
        let named = renamed.as_ref().unwrap_or(schema);
        let key = if by.is_empty() { None } else { Some(self.key(step, by, named)?) };
        self.hops.insert(step.id.clone(), schema.clone());
        let task = self.edges.task();
        // Of another digest, rows of a key went elsewhere, to tasks that know them.
        let kinds = key.as_ref().map(|key| types(&key.schema()));
        let digest = state_digest(&BTreeMap::from([
            ("hop", topic.to_owned()),
            ("by", format!("{by:?}")),
            ("types", format!("{kinds:?}")),
            ("tasks", task.of.to_string()),
        ]));
        let hop = Hop::new(topic.to_owned(), key, renamed, (task.number, task.of));
        Ok(self.node(step, Work::Hop(hop), Some(digest)))
    }
}

/// What the step in front of a hop leaves: its columns, and whether its rows are open records.
fn left_before(hop: &HopPlan) -> (Vec<Column>, bool) {
    let end = hop.end().filter(|step| !step.columns.is_empty());
    end.map_or((vec![], true), |step| (step.columns.clone(), step.open.is_some()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use syncline_dsl::{Samples, compile};
    use syncline_functions::Planner;

    use super::*;

    /// The digest of each hop of a pipeline whose rows have `columns` in front of a step by `region`.
    fn digests(columns: &str) -> HashMap<String, u64> {
        let text = format!(
            "CONNECTION bus TO kafka WITH (brokers = 'b');
PIPELINE p WITH (changelog = 'bus', tasks = 3) AS
FROM bus.t |> SELECT {columns} |> DEDUP BY region WITHIN '1 day' |> INSERT INTO bus.o;"
        );
        let checked = compile(&text, &crate::source_file::catalog(), &Samples::default());
        let plan = &checked.plan.pipelines[0];
        let planner = Planner::new();
        let mut found = HashMap::new();
        for stage in plan.stages() {
            let mut flow = Flow::new(&stage, &planner, &UnopenedEdges, true);
            flow.whole().unwrap();
            let hops = flow.nodes.iter().filter(|node| matches!(node.work, Work::Hop(_)));
            found.extend(hops.map(|hop| (hop.id.to_string(), hop.state.unwrap())));
        }
        found
    }

    #[test]
    fn a_key_of_another_type_is_another_hop_and_other_columns_are_none() {
        let before = digests("id, region");
        assert_eq!(before.len(), 1);
        assert_eq!(digests("region, id, n"), before);
        assert_ne!(digests("id, CAST(region AS STRING) AS region"), before);
        assert_ne!(digests("id, CAST(region AS BIGINT) AS region"), before);
    }
}
