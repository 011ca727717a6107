//! Two sources that read what is sent to one path, and say different things about it: what is sent is taken once, for both.

use syncline_syntax::Span;

use super::{Charge, place_of};
use crate::{
    catalog::Catalog,
    message::source as say,
    names::Names,
    place::{identity, thing},
    plan::{Place, Plan},
};

pub(crate) fn same_path(plans: &[(usize, &Plan)], names: &Names, catalog: &Catalog) -> Vec<Charge> {
    let sent = |place: &Place| {
        let source = catalog.connector(&place.connector).and_then(|facts| facts.source.as_ref());
        // What is read from any place of it (`until`) is read by each for himself.
        source.is_some_and(|source| source.endless && !source.until)
    };
    let mut read: Vec<(Span, &Place)> = vec![];
    let mut charges = vec![];
    for (index, plan) in plans {
        for (span, place) in sources(*index, plan, names).into_iter().filter(|(_, place)| sent(place)) {
            let differs = |other: &Place| {
                thing(other, catalog) == thing(place, catalog) && identity(other, catalog) != identity(place, catalog)
            };
            match read.iter().find(|(_, earlier)| differs(earlier)) {
                Some((there, earlier)) => charges.push((*index, say::same_path(span, *there, &earlier.text))),
                None => read.push((span, place)),
            }
        }
    }
    charges
}

/// The sources of a pipeline, each with where the file has it.
fn sources<'a>(index: usize, plan: &'a Plan, names: &Names) -> Vec<(Span, &'a Place)> {
    let first = names.pipelines.get(index).map(|pipeline| (pipeline.flow.source.span, &plan.source.place));
    let mut all: Vec<_> = first.into_iter().collect();
    plan.each_step(&mut |step| all.extend(step.sources().into_iter().map(|source| (place_of(step), &source.place))));
    all
}
