//! Sinks, and pipelines that meet outside.

use syncline_syntax::{
    Diagnostic, Edit, Span,
    ast::{Ident, Step},
    nearest,
};

use super::listed;
use crate::{catalog::ConnectorFacts, explain::slug, scope::Scope};

pub(crate) fn cannot(span: Span, word: &str, connector: &ConnectorFacts, others: &[&ConnectorFacts]) -> Diagnostic {
    let sink = connector.sink.as_ref();
    let able = [
        ("INSERT", sink.is_some_and(|sink| sink.insert)),
        ("UPSERT", sink.is_some_and(|sink| sink.upsert)),
        ("REPLACE", sink.is_some_and(|sink| sink.replace)),
    ];
    let can = listed(able.iter().filter(|(_, can)| *can).map(|(word, _)| *word));
    let said = Diagnostic::error(slug::SINK_CANNOT, format!("{} cannot {word}", connector.name))
        .at(span, format!("{} can: {can}", connector.name));
    match others.is_empty() {
        true => said,
        false => said.help(format!("{word} works with: {}", listed(others.iter().map(|other| other.name.as_str())))),
    }
}

pub(crate) fn needs_columns(step: &Step, connector: &ConnectorFacts, known: &[String]) -> Diagnostic {
    let said = Diagnostic::error(slug::NEEDS_COLUMNS, format!("{} needs to know the columns", connector.name))
        .at(step.span, "the record may have any fields here")
        .help("a SELECT before it, or a SCHEMA at the source, says which there are");
    match known.is_empty() {
        true => said,
        false => said.fix(
            "select the fields that are used so far",
            vec![Edit::insert(step.span.start, format!("SELECT {}\n|> ", known.join(", ")))],
        ),
    }
}

/// A schema that evolves, and a sink that has the columns it was made with.
pub(crate) fn fields_left_out(step: &Step, connector: &ConnectorFacts) -> Diagnostic {
    let title = format!("{} takes the declared columns only", connector.name);
    Diagnostic::note(slug::FIELDS_LEFT_OUT, title)
        .at(step.span, "fields that the SCHEMA does not declare end here")
        .help("a SELECT before it says so without this note; a sink of JSON lines keeps them")
}

/// The table of a sink is there, without columns that the sink writes.
pub(crate) fn target_lacks(span: Span, place: &str, missing: &[&str], there: &[String]) -> Diagnostic {
    let names = listed(missing.iter().copied());
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{place} has no column {names}"));
    let near = match missing {
        [one] => nearest(one, there.iter().map(String::as_str)),
        _ => None,
    };
    let said = match near {
        Some(near) => said.at(span, format!("writes {names}: {near}?")),
        None => said.at(span, format!("writes {names}")),
    };
    said.help(format!("columns of the table: {}", listed(there.iter().map(String::as_str))))
        .help("add what is missing to the table, or SELECT what it has")
}

pub(crate) fn key_is_hidden(name: &Ident, word: &str) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{} is written only when it is selected", name.text))
        .at(name.span, format!("{word} names columns of the rows"))
        .help(format!("|> EXTEND {} AS another_name makes a column of it", name.text))
}

pub(crate) fn on_orphan_delete(span: Span) -> Diagnostic {
    Diagnostic::error(slug::NOT_YET, "ON ORPHAN DELETE is not part of this version")
        .at(span, "not there yet")
        .help("ON ORPHAN KEEP, the default, keeps a derived row when its last owner is gone")
}

pub(crate) fn derived_delete(span: Span, arm: &str) -> Diagnostic {
    Diagnostic::error(slug::SHARD_ARMS, "DELETE WHEN belongs to the PRIMARY arm")
        .at(span, format!("{arm} is DERIVED: its rows go when the primary's is deleted"))
        .help("leave it out here")
}

pub(crate) fn delete_at_shard(span: Span, name: &str, arm: &str, at_shard: &Scope) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("there is no column {name} at the SHARD"))
        .at(span, format!("{arm} makes it later; a primary's DELETE WHEN is evaluated at the SHARD"));
    let said = match at_shard.open.is_some() {
        true => said.help("use the fields of the record as they are there"),
        false => said.help(format!("columns there: {}", listed(at_shard.visible().map(|column| column.name())))),
    };
    said.help(format!("or make it before: |> EXTEND … AS {name} |> SHARD BY …"))
}

/// A column that is no member of what is written, but stands beside it.
pub(crate) fn beside(step: &Step, name: &str, kind: &str, kinds: &[String]) -> Diagnostic {
    let wanted = kinds.join(" or ");
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{name} is {kind}, and this sink takes it as {wanted}"))
        .at(step.keyword, format!("writes {name} beside the row"))
        .help(format!("cast it: CAST({name} AS {}) AS {name}", kinds.first().map_or("JSON", String::as_str)))
        .help(format!(
            "or call it otherwise, and it is a field of the row: {name} AS its_{}",
            name.trim_start_matches('_')
        ))
}

pub(crate) fn delivery(
    span: Span,
    wanted: &str,
    promises: &[(Span, String, String)],
    weaker: impl Fn(&str) -> bool,
) -> Diagnostic {
    let mut said = Diagnostic::error(slug::DELIVERY_NOT_POSSIBLE, format!("'{wanted}' cannot be kept to the end"))
        .at(span, "asked for here");
    for (place, connector, promise) in promises {
        said = said.also(*place, format!("{connector}: {promise}"));
    }
    let weak = promises.iter().filter(|(_, _, promise)| weaker(promise));
    let mut weak: Vec<&str> = weak.map(|(_, connector, _)| connector.as_str()).collect();
    weak.dedup();
    said.help(format!("ask for what {} can keep, or write somewhere else", listed(weak)))
}

pub(crate) fn two_writers(span: Span, key: &[String], first: Span, first_key: &[String], place: &str) -> Diagnostic {
    Diagnostic::error(slug::TWO_WRITERS, format!("{place} is written by two different keys"))
        .at(span, format!("by {}", listed(key.iter().map(String::as_str))))
        .also(first, format!("by {}", listed(first_key.iter().map(String::as_str))))
        .help("use one key for both, or two tables")
}

pub(crate) fn feedback(span: Span, source: &str, cycle: &[String]) -> Diagnostic {
    let title = match cycle {
        [one, other] if one == other => format!("{one} reads what it writes"),
        _ => format!("{} reads what comes of what it writes", cycle.first().map_or("", String::as_str)),
    };
    let said = Diagnostic::error(slug::FEEDBACK_LOOP, title).at(span, format!("comes back through {source}"));
    let said = if cycle.len() > 2 { said.help(format!("the way round: {}", cycle.join(" → "))) } else { said };
    said.help("write to another place than the one that is read")
}
