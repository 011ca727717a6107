//! DEDUP as an operator: its key and its version compiled over the columns before it, and what its state is made of.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use syncline_dsl::plan::{Keep, Step, StepKind};
use syncline_engine::{
    operator::Operator,
    operators::{Dedup, DedupLast, dedup::WITHIN},
};
use syncline_functions::is_json;

use super::{BindError, flow::Flow, state_digest};

impl Flow<'_> {
    pub(super) fn dedup(
        &mut self,
        step: &Step,
        by: &[String],
        within: Option<u64>,
        keep: Keep,
        order_by: Option<&str>,
        schema: &SchemaRef,
    ) -> Result<usize, BindError> {
        let key = self.key(step, by, schema)?;
        let types: Vec<String> =
            key.schema().fields().iter().map(|field| format!("{} {}", field.data_type(), is_json(field))).collect();
        let digest = state_digest(&BTreeMap::from([
            ("by", format!("{by:?}")),
            ("types", format!("{types:?}")),
            ("within", format!("{within:?}")),
            ("keep", format!("{keep:?} {order_by:?}")),
        ]));
        let versions = match order_by {
            None => String::new(),
            Some(order_by) => self.typed(step, order_by, schema)?.field().data_type().to_string(),
        };
        self.lay_out(
            step,
            digest,
            [
                ("by", format!("{by:?} {types:?}")),
                (WITHIN, within.map_or(String::new(), |within| within.to_string())),
                ("keep", format!("{keep:?} {order_by:?} {versions}")),
            ],
        );
        let within = within.map(|within| within as i64);
        let content = matches!(step.kind, StepKind::Dedup { content: true, .. });
        let operator: Box<dyn Operator> = match order_by {
            None if content => Box::new(Dedup::new(key, within).of_content()),
            None => Box::new(Dedup::new(key, within)),
            Some(order_by) => {
                let version = self.key(step, &[order_by.to_owned()], schema)?;
                let last = DedupLast::new(key, version, within, keep == Keep::Last)
                    .map_err(|detail| BindError::Plan { step: step.id.clone(), detail })?;
                Box::new(if content { last.of_content() } else { last })
            }
        };
        Ok(self.operator(step, operator, Some(digest)))
    }
}
