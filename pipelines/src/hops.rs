//! Hops of pipelines that are started over: what lies in them was written before, and is nothing to who begins anew.

use std::{collections::BTreeSet, sync::Arc};

use syncline_connectors::{Surroundings, empty_hop};

use crate::{bind::arguments, outcome::Failure, project::Member, secrets, world::World};

/// Empties the topics of all hops of these pipelines, before any of them begins.
pub fn empty(world: &World, members: &[Arc<Member>]) -> Result<(), Failure> {
    let folder = world.folder.path();
    let mut emptied = BTreeSet::new();
    for member in members {
        let around = Surroundings::of(member.file.folder(), folder, member.name());
        for source in member.plan.sources().into_iter().filter(|source| source.hop.is_some()) {
            let place = &source.place;
            if !emptied.insert(&place.text) {
                continue;
            }
            let words = |detail: String| {
                Failure::environment("hop-not-emptied", format!("{} cannot be emptied, so nothing was started", place.text))
                    .seen(detail)
                    .help("what it holds was written before; start again when its brokers are there and let us delete records")
            };
            let args =
                arguments(place, &|path| secrets::text(folder, path)).map_err(|error| words(error.to_string()))?;
            empty_hop(&place.connector, &args, &around).map_err(words)?;
        }
    }
    Ok(())
}
