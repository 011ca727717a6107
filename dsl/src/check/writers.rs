//! Two writers of one table that disagree about its key: each would undo the other's rows.

use std::collections::BTreeMap;

use super::{Charge, place_of, sinks};
use crate::{
    catalog::Catalog,
    message::sinks as say,
    place::thing,
    plan::{Plan, SinkPlan, Step, WritePlan},
};

pub(crate) fn two_writers(plans: &[(usize, &Plan)], catalog: &Catalog) -> Vec<Charge> {
    let mut seen: BTreeMap<String, Vec<(&Step, &SinkPlan)>> = BTreeMap::new();
    let mut charges = Vec::new();
    for (index, plan) in plans {
        for (step, sink) in sinks(plan) {
            let Some(key) = key_of(sink) else { continue };
            let earlier = seen.entry(format!("{:?}", thing(&sink.place, catalog))).or_default();
            let other = earlier.iter().find(|(_, earlier)| key_of(earlier).is_some_and(|other| other != key));
            if let Some((earlier_step, earlier)) = other {
                let earlier_key = key_of(earlier).unwrap_or_default();
                let said =
                    say::two_writers(place_of(step), &key, place_of(earlier_step), &earlier_key, &sink.place.text);
                charges.push((*index, said));
            }
            earlier.push((step, sink));
        }
    }
    charges
}

/// The key by which a sink's rows replace each other, in an order of its own: `KEY (a, b)` is `KEY (b, a)`.
fn key_of(sink: &SinkPlan) -> Option<Vec<String>> {
    let mut key = match &sink.write {
        WritePlan::Upsert { key, .. } => key.clone(),
        WritePlan::Insert { .. } | WritePlan::Replace { .. } => return None,
    };
    key.sort_unstable();
    Some(key)
}
