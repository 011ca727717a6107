//! Steps that some seeds add behind the tee, each with a plain sink of its own: groups, and joins of both kinds.
//!
//! ```text
//! tee ─┬→ tally → totals     AGGREGATE COUNT(*), SUM(amount) GROUP BY key, in windows of any kind or in none
//!      ├→ match → matched    [LEFT] JOIN names ON names.key = key
//!      └→ pair  → pairs      [LEFT] JOIN itself ON r.key = key AND r.at > at AND r.at <= at + INTERVAL '20 seconds'
//! ```

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Decimal128Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};
use syncline_functions::{Aggregates, Planner, Projection, json_field};
use syncline_record::{Micros, StepId};

use super::{
    dice::Dice,
    input::SECOND,
    lines::Lines,
    pipeline::{calls, columns, into, operator, typed, wanted},
};
use crate::{
    graph::{Edge, Graph, Node},
    operator::{Operator, Side},
    operators::{
        Decode, TableJoin, TimeJoin,
        aggregate::{self, Whole, Window, Windows},
        decode::Wanted,
        time_join::{self, Bound, Taken},
    },
    table::{Shelf, TableInput},
};

/// `tumble(at, INTERVAL '30 seconds')`
pub const SIZE: Micros = 30 * SECOND;
/// `hop(at, INTERVAL '20 seconds', INTERVAL '50 seconds')`
pub const HOP: Window = Window { size: 50 * SECOND, slide: 20 * SECOND };
/// `session(at, INTERVAL '15 seconds')`
pub const GAP: Micros = 15 * SECOND;
/// How much later than its left row a right one is: never the row itself.
pub const NEAR: Bound = Bound { least: 1, most: 20 * SECOND };

/// The table's lines. One key has two rows, one is NULL, one has no row, and one line is no record.
pub const NAMES: [&str; 6] = [
    r#"{"key":"k0","name":"zero"}"#,
    r#"{"key":"k1","name":"one"}"#,
    r#"{"key":"#,
    r#"{"key":"k1","name":"uno"}"#,
    r#"{"key":null,"name":"nobody"}"#,
    r#"{"key":"k3"}"#,
];
/// The number of the line that is no record.
pub const BAD_NAME: u64 = 3;

/// How rows are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    Tumble,
    Hop,
    Session,
    Whole,
}

/// What a seed adds. Of a join, whether it is a LEFT one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    pub tally: Option<Tally>,
    pub matched: Option<bool>,
    pub pair: Option<bool>,
}

impl Drawn {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "further");
        let kinds = [None, Some(Tally::Tumble), Some(Tally::Hop), Some(Tally::Session), Some(Tally::Whole)];
        let join = || [None, Some(false), Some(true)][dice.below(3) as usize];
        Self { tally: kinds[dice.below(5) as usize], matched: join(), pair: join() }
    }

    pub fn outboxes(self) -> impl Iterator<Item = &'static str> {
        let all =
            [("totals", self.tally.is_some()), ("matched", self.matched.is_some()), ("pairs", self.pair.is_some())];
        all.into_iter().filter_map(|(step, is_there)| is_there.then_some(step))
    }
}

/// Steps that keep rows: what they absorbed is in the ledger only where it is to name all.
pub const KEEPERS: [&str; 2] = ["tally", "pair"];

struct Recipe {
    schema: SchemaRef,
    groups: (Projection, Aggregates),
    windows: (Projection, Aggregates),
    sessions: (Projection, Aggregates),
    key: Projection,
    /// The columns of a table, as they are called behind the join, and its key.
    names: (SchemaRef, Projection),
    /// The same of the right side of a join in time; its key has the time behind it.
    right: (SchemaRef, Projection),
    left: Projection,
}

static RECIPE: LazyLock<Recipe> = LazyLock::new(|| {
    let planner = Planner::new();
    let schema = Decode::new(wanted()).schema();
    let sums = [("rows", "count(*)"), ("sum", "sum(CAST(amount AS BIGINT))")];
    let bounds = [("first", "min(at)"), ("last", "max(at)")];
    let groups = |time: Option<&str>, named: &[(&str, &str)]| {
        let calls = calls(&planner, named, &schema);
        let key = typed(&planner, "key", &schema);
        let aggregates = Aggregates::new(vec![key.field().clone()], &calls).expect("calls of this file");
        let time = time.map(|time| (time.to_owned(), typed(&planner, time, &schema)));
        let taken = time.into_iter().chain([("key".to_owned(), key)]).chain(Aggregates::taken(&calls)).collect();
        (Projection::new(&planner, taken, &schema).expect("columns of this file"), aggregates)
    };
    let names = called_right(&Decode::new(of_names()).schema());
    let right = called_right(&schema);
    Recipe {
        groups: groups(None, &sums),
        windows: groups(Some("at"), &sums),
        sessions: groups(Some("at"), &[bounds, sums].concat()),
        key: columns(&planner, &["key"], &schema),
        names: (names.clone(), columns(&planner, &["\"r.key\""], &names)),
        right: (right.clone(), columns(&planner, &["\"r.key\"", "\"r.at\""], &right)),
        left: columns(&planner, &["key", "at"], &schema),
        schema,
    }
});

fn of_names() -> Wanted {
    Wanted { fields: vec![json_field("key"), json_field("name")], event_time: None, ..wanted() }
}

/// The columns of a right side.
pub fn called_right(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.name().starts_with("__") {
        true => field.clone(),
        false => Arc::new(field.as_ref().clone().with_name(format!("r.{}", field.name()))),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Adds what is drawn behind the fan `tee`.
pub fn add(graph: &mut Graph, tee: usize, drawn: Drawn) {
    if let Some(tally) = drawn.tally {
        let columns: &[&str] =
            if tally == Tally::Whole { &["key", "rows", "sum"] } else { &["start", "key", "rows", "sum"] };
        put(graph, tee, "tally", groups(tally), &[Side::Left], ("totals", columns));
    }
    if let Some(left) = drawn.matched {
        let (table, step) = matched(left);
        graph.tables.push(table);
        put(graph, tee, "match", Box::new(step), &[Side::Left], ("matched", &["id", "key", "r.name"]));
    }
    if let Some(outer) = drawn.pair {
        let columns = ["id", "amount", "r.id", "r.amount"];
        put(graph, tee, "pair", Box::new(pair(outer)), &[Side::Left, Side::Right], ("pairs", &columns));
    }
}

fn put(graph: &mut Graph, tee: usize, id: &str, step: Box<dyn Operator>, sides: &[Side], (sink, its): (&str, &[&str])) {
    let at = graph.nodes.len();
    let Node { id, work, next, .. } = operator(id, step, &[at + 1]);
    graph.nodes.push(Node { id, work, next, state: Some(at as u64) });
    graph.nodes.push(into(sink, its));
    graph.nodes[tee].next.extend(sides.iter().map(|side| Edge { to: at, side: *side }));
}

fn groups(tally: Tally) -> Box<dyn Operator> {
    let of = |(taken, aggregates): &(Projection, Aggregates)| aggregate::Recipe {
        taken: taken.clone(),
        aggregates: aggregates.clone(),
    };
    let recipe = &*RECIPE;
    match tally {
        Tally::Tumble => Box::new(Windows::new(of(&recipe.windows), Window::tumble(SIZE), ("start", 0), true)),
        Tally::Hop => Box::new(Windows::new(of(&recipe.windows), HOP, ("start", 0), true)),
        Tally::Session => Box::new(Windows::sessions(of(&recipe.sessions), GAP, ("start", 0), true)),
        Tally::Whole => Box::new(Whole::new(of(&recipe.groups))),
    }
}

fn matched(left: bool) -> (TableInput, TableJoin) {
    let (named, key) = RECIPE.names.clone();
    let name = named.index_of("r.name").expect("a column of the table");
    let taken = named.field(name).clone().with_nullable(true);
    let shelf = Arc::new(Shelf::new(Arc::new(Schema::new(vec![taken]))));
    let table = TableInput {
        step: StepId::new("match/table"),
        // It never changes, and is read again and again.
        source: Box::new(Lines::new("names", || Ok(NAMES.map(str::to_owned).to_vec()))),
        decode: Decode::new(of_names()),
        renamed: named,
        key,
        columns: vec![name],
        refresh: Some(std::time::Duration::from_millis(700)),
        shelf: shelf.clone(),
    };
    (table, TableJoin::new(RECIPE.key.clone(), None, shelf, left, false))
}

fn pair(outer: bool) -> TimeJoin {
    let recipe = &*RECIPE;
    let place = |name: &str| recipe.schema.index_of(name).expect("a column of the records");
    let columns = vec![place("id"), place("amount")];
    let left = Taken { named: recipe.schema.clone(), key: recipe.left.clone(), columns: columns.clone(), behind: 0 };
    let right = Taken { named: recipe.right.0.clone(), key: recipe.right.1.clone(), columns, behind: 0 };
    TimeJoin::new(time_join::Recipe { left, right, bound: NEAR, residual: None, outer, time: None, ids: None })
}

/// The visible columns of each row, as text.
pub fn texts_of(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    let visible = (0..rows.num_columns()).filter(|column| !schema.field(*column).name().starts_with("__"));
    let columns: Vec<_> = visible.map(|column| rows.column(column)).collect();
    let text = |row: usize| columns.iter().map(|column| text(column, row)).collect::<Vec<_>>().join(" ");
    (0..rows.num_rows()).map(text).collect()
}

fn text(column: &dyn Array, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "null".to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Decimal128(_, 0) => column.as_primitive::<Decimal128Type>().value(row).to_string(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        other => format!("a {other}"),
    }
}
