//! What each path of a pipeline keeps: from its sources to one sink, in one of three words.
//!
//! Sources are read exactly once from the moment at which they count (a file is there, a topic has committed, a request is
//! answered), and so is what goes between pipelines. So the word of a path is that of its sink, which its connector declares; or a weaker
//! one, where the pipeline asks for no more and the sink can do with less.

use crate::{
    catalog::Catalog,
    plan::{Plan, SinkPlan, Step, StepKind},
};

/// The promises that there are, weakest first.
pub const DELIVERIES: [&str; 3] = ["at least once", "effectively once", "exactly once"];

/// The way to one sink.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryPath<'a> {
    /// The sources whose rows come there, as the file writes them.
    pub from: Vec<&'a str>,
    pub step: &'a Step,
    pub sink: &'a SinkPlan,
    /// One of [`DELIVERIES`].
    pub keeps: &'a str,
}

impl Plan {
    /// The way to every sink, in the order of the file. Streams are sinks too.
    pub fn delivery_paths<'a>(&'a self, catalog: &'a Catalog) -> Vec<DeliveryPath<'a>> {
        let mut paths = Paths { catalog, asked: self.options.delivery.as_deref(), found: Vec::new() };
        paths.flow(&self.flow, vec![&self.source.place.text]);
        paths.found
    }
}

/// Whether one word promises less than another.
pub(crate) fn is_weaker(word: &str, than: &str) -> bool {
    let rank = |word: &str| DELIVERIES.iter().position(|known| *known == word);
    rank(word) < rank(than)
}

struct Paths<'a> {
    catalog: &'a Catalog,
    asked: Option<&'a str>,
    found: Vec<DeliveryPath<'a>>,
}

impl<'a> Paths<'a> {
    fn flow(&mut self, flow: &'a [Step], mut from: Vec<&'a str>) {
        for step in flow {
            match &step.kind {
                StepKind::Tee { flow } => self.flow(flow, from.clone()),
                StepKind::Fork { flows } => flows.iter().for_each(|flow| self.flow(flow, from.clone())),
                StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| self.flow(&arm.flow, from.clone())),
                StepKind::Union { arms } => {
                    arms.iter().for_each(|arm| self.flow(&arm.flow, vec![&arm.source.place.text]));
                    from.extend(arms.iter().map(|arm| arm.source.place.text.as_str()));
                }
                StepKind::Join(join) if join.bound.is_some() => from.push(&join.table.place.text),
                StepKind::Sink(sink) => {
                    let (from, keeps) = (from.clone(), self.keeps(sink));
                    self.found.push(DeliveryPath { from, step, sink, keeps });
                }
                _ => {}
            }
        }
    }

    fn keeps(&self, sink: &SinkPlan) -> &'a str {
        let [weakest, .., strongest] = DELIVERIES;
        if sink.place.stream().is_some() {
            return strongest;
        }
        let facts = self.catalog.connector(&sink.place.connector).and_then(|connector| connector.sink.as_ref());
        match (facts, self.asked) {
            (None, _) => weakest,
            (Some(facts), Some(asked)) if facts.relaxes && asked == weakest => weakest,
            (Some(facts), _) => &facts.delivery,
        }
    }
}
