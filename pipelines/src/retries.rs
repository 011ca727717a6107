//! Which dead letters can be sent through their pipeline again, each exactly once.
//!
//! Two ways lead back in: the path of the pipeline that took the record over HTTP, and for sources that nobody can write to (files, Kafka) a
//! topic of the log that is read beside the source (`connectors/src/retried.rs`). Through both the record is one like others: it goes
//! through the same steps into the same state, and has a fate in the books. What it was beside its bytes does not come again: its key, its
//! offset, its time. A pipeline that reads those cannot retry.

use syncline_connectors::{registered::Format as Registered, registry::connector};
use syncline_dsl::plan::{Plan, SourcePlan, StepKind};

use crate::bind::RAW;

/// What a record has no more when it comes again.
const PLACES: [&str; 6] = ["_key", "_topic", "_partition", "_offset", "_timestamp", "_source"];

/// Formats whose records are decoded behind the source, each by itself.
const BYTES: [&str; 2] = ["json", RAW];

/// Whether the source of a pipeline has the other way beside it: it gives records as bytes, nobody else can write to it, and where it stands
/// is kept here alone.
pub fn beside(plan: &Plan) -> bool {
    let SourcePlan { place, hop, stream, .. } = &plan.source;
    let foreign = place.connector != "http" && place.stream().is_none() && hop.is_none() && stream.is_none();
    foreign && gives_bytes(&plan.source) && plan.options.tasks <= 1 && plan.options.changelog.is_none()
}

/// A source whose records are texts of some format gives them as they are; one that has types of its own, or decodes them itself, does not.
fn gives_bytes(source: &SourcePlan) -> bool {
    let ability = connector(&source.place.connector).ok().and_then(|connector| connector.source);
    let alone = BYTES.contains(&source.format.as_str()) || source.csv.is_some();
    // Records that name their schemas have columns of their own, and are bytes all the same.
    let bytes = Registered::of(&source.format).is_some() || (alone && !source.typed);
    bytes && ability.is_some_and(|ability| !ability.formats.is_empty())
}

/// Lines of CSV whose columns are those of a contract. Of others what they are stands in the first one of their file, which may be
/// another one by now.
fn has_lines(source: &SourcePlan) -> bool {
    source.declared && source.csv.as_ref().is_some_and(|csv| !csv.header)
}

/// Why a record of the pipeline's source cannot be sent through it again by that way; `None`: it can. `named`: what its fields are called
/// is kept with it.
pub fn refusal(plan: &Plan, named: bool) -> Option<String> {
    let SourcePlan { place, format, metadata, key, partitioned_by, .. } = &plan.source;
    if place.connector == "http" {
        return Some("it came from a source that the pipeline reads no more".to_owned());
    }
    if plan.source.csv.is_some() && !has_lines(&plan.source) && !named {
        return Some("what its columns are stands in the first line of its file, and is not kept with it".to_owned());
    }
    if !gives_bytes(&plan.source) {
        let what =
            if place.connector == "file" || place.connector == "kafka" { format.as_str() } else { &place.connector };
        return Some(format!("its source reads {what} and gives columns, not records as they are"));
    }
    if !beside(plan) {
        return Some("what it has read is kept where other processes go on with it".to_owned());
    }
    if !key.is_empty() || !partitioned_by.is_empty() {
        return Some("the key that it came with is not kept".to_owned());
    }
    let read = metadata.iter().find(|name| PLACES.contains(&name.as_str()));
    read.map(|name| format!("the pipeline reads {name}, which would be another one"))
}

/// Why a record that stopped at a step may have left something behind that a retry would repeat; `None`: it has not.
pub fn repeats(plan: &Plan, step: &str) -> Option<String> {
    let Some((last, before)) = plan.flow.split_last() else { return Some("it has no steps".to_owned()) };
    if !matches!(last.kind, StepKind::Sink(_)) {
        return Some(format!("rows go several ways at {}", last.id));
    }
    for known in before {
        match &known.kind {
            StepKind::Where { .. } | StepKind::Project { .. } | StepKind::Expect { .. } => {}
            // Whoever stopped before it was not remembered.
            StepKind::Dedup { .. } if step == "source" || stands_before(plan, step, &known.id) => {}
            StepKind::Dedup { .. } => return Some(format!("{} remembers it, and would drop it", known.id)),
            _ => return Some(format!("of one record, several rows or none may have gone on at {}", known.id)),
        }
    }
    None
}

fn stands_before(plan: &Plan, step: &str, other: &str) -> bool {
    let place = |id: &str| plan.flow.iter().position(|known| known.id == id);
    place(step).zip(place(other)).is_some_and(|(step, other)| step < other)
}

#[cfg(test)]
mod tests {
    use syncline_dsl::{Samples, compile};

    use super::*;
    use crate::source_file::catalog;

    fn plan(text: &str) -> Plan {
        let bus = "CONNECTION bus TO kafka WITH (brokers = 'here:9092'); SCHEMA trip (id BIGINT);";
        let checked = compile(&format!("{bus} PIPELINE p {text};"), &catalog(), &Samples::default());
        checked.plan.pipelines.into_iter().next().unwrap_or_else(|| panic!("{text}: {:?}", checked.diagnostics))
    }

    #[test]
    fn a_record_goes_again_where_it_is_the_same_as_it_was() {
        for (text, words) in [
            ("AS FROM bus.orders |> WHERE id > 1 |> INSERT INTO file('out/')", None),
            ("AS FROM bus.orders |> SELECT id, _headers['a'] AS a |> INSERT INTO file('out/')", None),
            ("AS FROM file('a.ndjson') FOLLOW |> INSERT INTO file('out/')", None),
            ("AS FROM http('/a') |> INSERT INTO file('out/')", Some("reads no more")),
            ("AS FROM parquet('a.parquet') SCHEMA trip |> INSERT INTO file('out/')", Some("gives columns")),
            ("AS FROM file('a.csv') SCHEMA trip |> INSERT INTO file('out/')", Some("stands in the first line")),
            ("AS FROM file('a.csv') FORMAT csv (header = false) SCHEMA trip |> INSERT INTO file('out/')", None),
            (
                "AS FROM file('a.csv') FORMAT csv (header = false) |> SELECT column_2 AS b |> INSERT INTO file('out/')",
                Some("stands in the first line"),
            ),
            ("AS FROM bus.orders FORMAT csv SCHEMA trip |> INSERT INTO file('out/')", None),
            ("AS FROM bus.orders FORMAT avro SCHEMA trip |> INSERT INTO file('out/')", None),
            ("AS FROM bus.orders FORMAT protobuf SCHEMA trip |> INSERT INTO file('out/')", None),
            ("AS FROM bus.orders |> SELECT id, _offset AS at |> INSERT INTO file('out/')", Some("reads _offset")),
            ("AS FROM bus.orders |> SELECT id, _key AS k |> INSERT INTO file('out/')", Some("reads _key")),
            ("WITH (changelog = 'bus') AS FROM bus.orders |> INSERT INTO bus.more", Some("other processes")),
        ] {
            let (plan, refused) = (plan(text), words.map(|_| ()));
            let why = refusal(&plan, false);
            assert_eq!(why.as_ref().map(|_| ()), refused, "{text}: {why:?}");
            assert!(words.is_none_or(|words| why.as_ref().is_some_and(|why| why.contains(words))), "{text}: {why:?}");
            assert!(why.is_some() || beside(&plan), "{text}");
            // With the names of its columns.
            assert!(!text.contains("csv") || refusal(&plan, true).is_none() && beside(&plan), "{text}");
        }
    }
}
