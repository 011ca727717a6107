//! AS STREAM: the flow ends, and other pipelines of the file go on with its rows.

use syncline_syntax::ast;

use super::{Branch, Made};
use crate::{
    message::streams as say,
    plan::{SinkPlan, StepKind, WritePlan},
    scope::{Scope, same_name},
    streams::{StreamFacts, place},
    walk::Walk,
};

impl Walk<'_> {
    pub(super) fn as_stream(&mut self, name: &ast::Ident, scope: &Scope, branch: &Branch) -> Made {
        let id = self.id(&branch.prefix, "stream");
        self.takes_whole_records(scope);
        let writer = &self.pipeline.name.text;
        match StreamFacts::of(&name.text, writer, scope, self.event_delay) {
            // Of two with one name the first counts, and the second was said.
            Ok(facts) if !self.streams.iter().any(|known| same_name(&known.name, &facts.name)) => {
                self.streams.push(facts);
            }
            Ok(_) => {}
            Err((column, kind)) => self.say(say::no_such_type(name.span, &column, &kind)),
        }
        let columns = if scope.open.is_some() { Vec::new() } else { scope.visible_names() };
        let place = place(&name.text, &self.pipeline.name.text);
        let write = WritePlan::Insert { key: Vec::new() };
        Made::step(StepKind::Sink(SinkPlan { place, write, columns, csv: None }), id)
    }
}
