//! The topics of hops, by the connector of the changelog in whose cluster they are.

use std::sync::{Arc, atomic::AtomicBool};

use syncline_engine::source::Source;

use crate::{
    kafka,
    registry::connector,
    spec::{Args, Arguments, ConnectorError, Surroundings},
};

/// A task's end of a hop, in the place that names its topic. `writers`: how it stands with the tasks that write; `cut_off` is called when they
/// are no more and did not come to their end. Its calls are waited for until `stop` is said, and for a moment longer.
pub fn open_hop(
    name: &str,
    args: &Args,
    around: &Surroundings,
    bounded: bool,
    (writers, cut_off): (kafka::Around, Box<dyn FnMut() + Send>),
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn Source>, ConnectorError> {
    let arguments = Arguments::checked(connector(name)?, args)?;
    match name {
        "kafka" => Ok(Box::new(kafka::HopSource::new(&arguments, around, bounded, (writers, cut_off), stop.clone())?)),
        _ => Err(ConnectorError::NotASource { name: name.to_owned() }),
    }
}

/// Empties the topic of a hop, whose pipeline is started over.
pub fn empty_hop(name: &str, args: &Args, around: &Surroundings) -> Result<(), String> {
    let arguments = connector(name).and_then(|connector| Arguments::checked(connector, args));
    kafka::empty(&arguments.map_err(|error| error.to_string())?, around)
}
