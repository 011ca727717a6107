//! The pipeline of the simulation, built by hand: every kind of step that keeps state, drops rows or ends in a sink; groups and joins
//! are added by the seed (`further`).
//!
//! ```text
//! source → where → dedup → tee ─┬→ file (staged)
//!                               ├→ shard ─┬→ orders (outbox → database, UPSERT by key with versions)
//!                               │         └→ people/id → people (outbox → plain sink)
//!                               └→ newest → group → large → groups (outbox → database, REPLACE per key)
//! ```

use std::sync::{Arc, LazyLock, Mutex};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use syncline_functions::{Planner, Predicate, Projection, Typed, json_field};
use syncline_record::{Micros, StepId, batch::GROUP};

use super::{
    disk::{Disk, Folder},
    further::{self, Drawn},
    input::SECOND,
};
use crate::{
    graph::{Edge, Graph, Input, Node, SOURCE, Work},
    ledger::outbox_topic,
    operator::Operator,
    operators::{
        Arms, Decode, Dedup, DedupLast, Filter, Group, Present,
        arms::Ids,
        decode::{EventTime, Wanted},
        present::{Deletes, Presentation},
    },
    source::Source,
};

pub const NAME: &str = "simulated";

/// `DEDUP BY id WITHIN '60 seconds'`
pub const WITHIN: Micros = 60 * SECOND;
/// `DEDUP BY key WITHIN '20 seconds' KEEP LAST BY v`
pub const NEWEST_WITHIN: Micros = 20 * SECOND;
/// `WATERMARK FOR at AS at - INTERVAL '10 seconds'`
pub const DELAY: Micros = 10 * SECOND;
/// The amount that `DELETE WHEN` names.
pub const DELETED: i64 = 13;
/// `WHERE amount >= 50` before the `REPLACE`.
pub const LARGE: i64 = 50;

/// The place of the tee among the steps.
const TEE: usize = 2;

/// Outbox steps of every pipeline.
pub const OUTBOXES: [&str; 3] = ["orders", "people", "groups"];

/// Compiled once: planning costs more than a whole simulation.
struct Recipe {
    not_negative: Predicate,
    deleted: Predicate,
    large: Predicate,
    id: Projection,
    key: Projection,
    version: Projection,
}

static RECIPE: LazyLock<Recipe> = LazyLock::new(|| {
    let schema = Decode::new(wanted()).schema();
    let mut grouped: Vec<_> = schema.fields().iter().cloned().collect();
    grouped.push(Arc::new(Field::new(GROUP, DataType::Utf8View, true)));
    let grouped = Schema::new(grouped);
    let planner = Planner::new();
    Recipe {
        not_negative: predicate(&planner, "CAST(amount AS BIGINT) >= 0", &schema),
        deleted: predicate(&planner, "amount = 13", &schema),
        large: predicate(&planner, "CAST(amount AS BIGINT) >= 50", &grouped),
        id: columns(&planner, &["id"], &schema),
        key: columns(&planner, &["key"], &schema),
        version: columns(&planner, &["v"], &schema),
    }
});

pub fn wanted() -> Wanted {
    Wanted {
        fields: vec![
            json_field("id"),
            json_field("key"),
            json_field("amount"),
            Field::new("v", DataType::Int64, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        ],
        reject_unknown: false,
        whole_record: false,
        metadata: vec![],
        event_time: Some(EventTime { column: "at".into(), delay: DELAY }),
        csv: None,
        raw: false,
        stream: None,
        key: vec![],
    }
}

/// A typed expression over the columns of `schema`.
pub fn typed(planner: &Planner, sql: &str, schema: &Schema) -> Typed {
    let parsed = planner.parse(sql).expect("an expression of this file");
    planner.expr(&parsed, &scope(schema)).expect("an expression of this file")
}

/// The planner's own form of a schema, which is named in a crate that the engine does not know.
fn scope<T: TryFrom<Schema, Error: std::fmt::Debug>>(schema: &Schema) -> T {
    T::try_from(schema.clone()).expect("columns with different names")
}

pub fn predicate(planner: &Planner, sql: &str, schema: &Schema) -> Predicate {
    Predicate::new(planner, typed(planner, sql, schema), schema).expect("a condition")
}

/// Calls of aggregates over the columns of `schema`, by their names.
pub fn calls(planner: &Planner, calls: &[(&str, &str)], schema: &Schema) -> Vec<(String, syncline_functions::Call)> {
    let call = |sql: &str| {
        let parsed = planner.parse(sql).expect("a call of this file");
        planner.aggregate(&parsed, &scope(schema)).expect("a call of this file")
    };
    calls.iter().map(|(name, sql)| ((*name).to_owned(), call(sql))).collect()
}

pub fn columns(planner: &Planner, names: &[&str], schema: &Schema) -> Projection {
    let named = names.iter().map(|name| (name.to_string(), typed(planner, name, schema))).collect();
    Projection::new(planner, named, schema).expect("columns of the schema")
}

/// The graph over these outside things, with what is drawn.
pub fn graph(disk: &Arc<Mutex<Disk>>, source: Box<dyn Source>, drawn: Drawn) -> Graph {
    let recipe = &*RECIPE;
    let newest = DedupLast::new(recipe.key.clone(), recipe.version.clone(), Some(NEWEST_WITHIN), true);
    let nodes = vec![
        stateless("where", Filter::new(recipe.not_negative.clone(), false), &[1]),
        stateful("dedup", Dedup::new(recipe.id.clone(), Some(WITHIN)), &[2], 1),
        Node { id: StepId::new("tee"), work: Work::Fan, next: edges(&[3, 4, 8]), state: None },
        Node {
            id: StepId::new("file"),
            work: Work::Staged { present: present(None, Deletes::Absorb), sink: Box::new(Folder::new(disk.clone())) },
            next: vec![],
            state: None,
        },
        stateless("shard", Arms::new(recipe.key.clone(), Some(recipe.deleted.clone())), &[5, 6]),
        outbox("orders", present(Some(recipe.version.clone()), Deletes::Apply)),
        stateless("people/id", Ids::new(recipe.key.clone(), "people".into()), &[7]),
        outbox("people", present(None, Deletes::Absorb)),
        stateful("newest", newest.expect("a number has an order"), &[9], 2),
        stateless("group", Group::new(recipe.key.clone(), "key".into()), &[10]),
        stateless("large", Filter::new(recipe.large.clone(), true), &[11]),
        outbox("groups", present(None, Deletes::Clear)),
    ];
    let decode = Decode::new(wanted());
    let input = Input { step: StepId::new(SOURCE), source, decode, key: None, first: edges(&[0]) };
    let mut graph =
        Graph { inputs: vec![input], history: vec![], beside: None, nodes, tables: vec![], lookups: vec![] };
    further::add(&mut graph, TEE, drawn);
    graph
}

/// A step; `state` is still to be said.
pub fn operator(id: &str, operator: Box<dyn Operator>, next: &[usize]) -> Node {
    Node { id: StepId::new(id), work: Work::Operator(operator), next: edges(next), state: None }
}

fn stateless(id: &str, step: impl Operator + 'static, next: &[usize]) -> Node {
    operator(id, Box::new(step), next)
}

fn stateful(id: &str, step: impl Operator + 'static, next: &[usize], state: u64) -> Node {
    Node { state: Some(state), ..stateless(id, step, next) }
}

fn edges(next: &[usize]) -> Vec<Edge> {
    next.iter().map(|to| Edge::from(*to)).collect()
}

fn outbox(id: &str, present: Present) -> Node {
    let topic = outbox_topic(NAME, &StepId::new(id));
    Node { id: StepId::new(id), work: Work::Outbox { present, topic }, next: vec![], state: None }
}

/// A sink that takes these columns of every row.
pub fn into(id: &str, columns: &[&str]) -> Node {
    outbox(id, presented(columns, None, Deletes::Absorb))
}

fn present(sequence: Option<Projection>, deletes: Deletes) -> Present {
    presented(&["id", "key", "amount"], sequence, deletes)
}

fn presented(columns: &[&str], sequence: Option<Projection>, deletes: Deletes) -> Present {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    Present::new(Presentation { columns, open: None, sequence, delete_when: None, deletes, keys: vec![] })
}
