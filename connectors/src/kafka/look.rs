//! A look at a cluster: who answers, as whom we come, and what is there for us. Writes nothing.

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{
    client::{Ears, Settings},
    trouble::{PATIENCE, metadata, words},
};
use crate::{
    registry::{Told, connector},
    spec::{Args, Arguments, Surroundings},
};

/// A connection leaves the topic to those who use it.
pub fn named(args: &Args) -> Args {
    let mut args = args.clone();
    if args.positional.is_empty() {
        args.named.entry("topic".to_owned()).or_insert_with(|| "".into());
    }
    args
}

pub fn look(args: &Args, around: &Surroundings) -> Result<Told, String> {
    let args = named(args);
    let arguments = connector("kafka").and_then(|kafka| Arguments::checked(kafka, &args));
    let arguments = arguments.map_err(|error| error.to_string())?;
    let settings = Settings::new(&arguments, around).map_err(|error| error.to_string())?;
    let failed = |error| format!("{}: cannot connect: {}", settings.brokers, words(&error));
    let client: BaseConsumer<Ears> = settings.with(&[]).create_with_context(Ears::default()).map_err(failed)?;
    let found = metadata(&client, None, PATIENCE)
        .map_err(|none| format!("{}: cannot connect: {}", settings.brokers, none.words()))?;
    let brokers = found.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
    let ours = found.topics().iter().filter(|topic| !topic.name().starts_with("__"));
    Ok(vec![
        ("cluster", client.client().fetch_cluster_id(PATIENCE).unwrap_or_default()),
        ("brokers", brokers.collect::<Vec<_>>().join(", ")),
        ("security", settings.security().to_owned()),
        ("user", arguments.text("user").to_owned()),
        ("topics", ours.count().to_string()),
    ])
}
