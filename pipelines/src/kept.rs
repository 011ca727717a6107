//! What lies in streams when a run begins: rows that a start with `--fresh` could not read again, and streams that nobody writes any more.

use std::collections::BTreeSet;

use syncline_dsl::plan::Plan;
use syncline_engine::{
    checkpoint,
    ledger::stream_topic,
    log::{Log, LogError},
    runtime::Ground,
    stream::{Position, partition},
};

use crate::{
    api::status::read_failure,
    ask, origin,
    outcome::Failure,
    world::{World, log_failure},
};

/// Refuses to start a reader of a stream over whose beginning is gone: what it made of that is output that nobody can make again. `plans`:
/// all that start over; with its writer a reader reads another stream, from its beginning.
pub fn refuse_loss(ground: &Ground, plans: &[&Plan]) -> Result<(), Failure> {
    // Before it is settled a stream shows nothing. What cannot be is told by the start.
    let _ = ask::settle(ground);
    for plan in plans {
        for (name, writer) in plan.sources().into_iter().filter_map(|source| source.place.stream()) {
            if plans.iter().any(|other| other.pipeline == writer) || !has_read(ground, &plan.pipeline, name)? {
                continue;
            }
            let topic = stream_topic(writer, name);
            if let Some(gone) = gone(&*ground.log, &topic).map_err(log_failure)? {
                let all = ground.log.end(&topic).map_err(log_failure)?;
                return Err(lost(plan, name, writer, gone, all));
            }
        }
    }
    Ok(())
}

fn has_read(ground: &Ground, pipeline: &str, name: &str) -> Result<bool, Failure> {
    let cursors = checkpoint::cursors_of(&*ground.store, pipeline, &partition(name)).map_err(read_failure)?;
    Ok(cursors.iter().any(|cursor| Position::of(cursor).is_some_and(|position| position.next > 0)))
}

/// How many records of a stream were let go; `None`: it is whole.
fn gone(log: &dyn Log, topic: &str) -> Result<Option<u64>, LogError> {
    match log.read(topic, 0, 1) {
        Err(LogError::Gone { oldest, .. }) => Ok(Some(oldest)),
        read => read.map(|_| None),
    }
}

fn lost(plan: &Plan, name: &str, writer: &str, gone: u64, all: u64) -> Failure {
    let reader = &plan.pipeline;
    let title = format!("`{reader}` cannot be started over: of stream `{name}` the first {gone} records are let go");
    let kept = all.saturating_sub(gone);
    Failure::usage("stream-let-go", title)
        .seen(format!("its output of them would be lost; it would be made again of the {kept} that are kept"))
        .help(format!("start its writer `{writer}` over with it, which reads its own sources again"))
        .help("or add --from-kept, if that output may go")
}

/// Streams of pipelines that are in no file any more: nobody writes or reads them, and they stay.
pub fn tell_orphans(world: &World, members: &BTreeSet<String>) {
    let Ok(topics) = world.ground.log.topics("pipeline/") else { return };
    for topic in topics {
        let Some((pipeline, name)) = topic.strip_prefix("pipeline/").and_then(|topic| topic.split_once("/stream/"))
        else {
            continue;
        };
        if members.contains(pipeline) || origin::is_declared(world, pipeline) {
            continue;
        }
        let bytes = world.ground.log.bytes(&topic, 0).unwrap_or_default();
        if bytes > 0 {
            tracing::warn!(
                pipeline,
                stream = name,
                bytes,
                "no file declares the pipeline that wrote this stream any more, and its rows stay; a pipeline of that name goes on with \
                 it, and lets it go when it is run with --fresh"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use syncline_dsl::{Samples, compile};
    use syncline_engine::{
        checkpoint::{PartitionNote, partition_key, put},
        clock::{SeededRng, SystemClock},
        log::{NewFrame, memory::MemoryLog},
        store::{Changes, StateStore, memory::MemoryStore},
    };

    use super::*;

    const FILE: &str = "PIPELINE w AS FROM file('a') |> SELECT id |> AS STREAM s;
PIPELINE one AS FROM s |> INSERT INTO file('o/');
PIPELINE new AS FROM s |> INSERT INTO file('p/');";

    #[test]
    fn a_reader_whose_rows_were_let_go_is_not_started_over_alone() {
        let (store, log) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLog::new()));
        let ground = Ground {
            store: store.clone(),
            log: log.clone(),
            clock: Arc::new(SystemClock::default()),
            rng: Arc::new(SeededRng::from_seed(7)),
        };
        let checked = compile(FILE, &crate::source_file::catalog(), &Samples::default());
        let plans = &checked.plan.pipelines;
        let refused = |names: &[&str]| {
            let plans: Vec<&Plan> = plans.iter().filter(|plan| names.contains(&plan.pipeline.as_str())).collect();
            refuse_loss(&ground, &plans).err().map(|failure| (failure.title, failure.detail.concat()))
        };
        let frame = NewFrame { count: 10, time: 0, body: vec![0] };
        log.publish(&stream_topic("w", "s"), vec![frame.clone(), frame.clone(), frame]).unwrap();
        let mut changes = Changes::default();
        let cursor = json!(Position { id: "x".into(), topic: stream_topic("w", "s"), next: 25 });
        put(
            &mut changes,
            partition_key("one", "stream/s"),
            &PartitionNote { partition: "stream/s".into(), cursor, watermark: None },
        );
        store.apply(changes).unwrap();
        assert_eq!(refused(&["one"]), None, "all of it is kept");
        log.release(&stream_topic("w", "s"), 20).unwrap();
        let title = "`one` cannot be started over: of stream `s` the first 20 records are let go";
        let seen = "its output of them would be lost; it would be made again of the 10 that are kept";
        assert_eq!(refused(&["one", "new"]), Some((title.to_owned(), seen.to_owned())));
        assert_eq!(refused(&["one", "w"]), None, "its writer writes another stream");
        assert_eq!(refused(&["new"]), None, "it has made nothing yet");
    }
}
