//! Streams of a file: who writes them (`AS STREAM name`), who reads them (`FROM name`), and in which order their pipelines are compiled.
//!
//! The columns of a stream are those of the step before it, so its writer is compiled first. Where pipelines read each other in a circle
//! there is no first, and every row would come round again: that is said, and their streams are unknown.

use datafusion::arrow::datatypes::DataType;
use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    message::{names as say_names, streams as say},
    names::Names,
    plan::{EventTime, FieldPlan, Place, Step, Value},
    scope::{Scope, ScopeColumn, same_name},
    types::METADATA,
};

/// A stream whose writer compiled.
#[derive(Clone, Debug)]
pub(crate) struct StreamFacts {
    pub name: String,
    pub writer: String,
    /// Those that can be read: the visible ones, and metadata.
    pub columns: Vec<ScopeColumn>,
    /// Whole records, which may have fields beside the columns.
    pub open: bool,
    /// Of these a schema says which can be read.
    pub evolves: bool,
    pub marked: bool,
    pub ordered: bool,
    /// Rows may be deletes that have only their keys.
    pub keyed: bool,
    pub event_time: Option<EventTime>,
    /// Known with the whole of its writer: it never ends; rows may say that something was deleted; later rows take the place of earlier
    /// ones since this step.
    pub endless: bool,
    pub changes: bool,
    pub newest: Option<Step>,
}

impl StreamFacts {
    /// What a scope leaves to who reads it. `Err`: a column of a type that a stream does not have.
    pub fn of(name: &str, writer: &str, scope: &Scope, delay: u64) -> Result<Self, (String, String)> {
        let mut columns = Vec::new();
        for column in &scope.columns {
            let metadata = !column.visible && METADATA.contains(&column.name());
            if column.undeclared || !(column.visible || metadata) {
                continue;
            }
            if let Some(zone) = zone_of(column.field.data_type()) {
                return Err((column.name().to_owned(), format!("TIMESTAMP AT TIME ZONE '{zone}'")));
            }
            let plan = field(column);
            let field = plan.field().ok_or_else(|| (column.name().to_owned(), plan.kind.0.clone()))?;
            columns.push(ScopeColumn { field, ..column.clone() });
        }
        let time = columns.iter().find(|column| column.visible && column.time == Some(0)).filter(|_| scope.marked);
        Ok(Self {
            name: name.to_owned(),
            writer: writer.to_owned(),
            event_time: time.map(|column| EventTime { column: column.name().to_owned(), delay }),
            columns,
            open: scope.open.is_some(),
            evolves: scope.evolves,
            marked: scope.marked,
            ordered: scope.ordered,
            keyed: scope.keyed.is_some(),
            endless: false,
            changes: false,
            newest: None,
        })
    }

    pub fn place(&self) -> Place {
        place(&self.name, &self.writer)
    }

    /// The named columns as the decoder takes them.
    pub fn fields(&self) -> Vec<FieldPlan> {
        self.columns.iter().filter(|column| column.visible).map(field).collect()
    }
}

/// The zone in which an instant is seen, also within a list or a structure: no word of a plan says it, so a reader would see another hour.
fn zone_of(kind: &DataType) -> Option<&str> {
    match kind {
        DataType::Timestamp(_, zone) => zone.as_deref(),
        DataType::List(item) | DataType::LargeList(item) => zone_of(item.data_type()),
        DataType::Struct(members) => members.iter().find_map(|member| zone_of(member.data_type())),
        _ => None,
    }
}

fn field(column: &ScopeColumn) -> FieldPlan {
    let kind = crate::plan::TypePlan::of(&column.field);
    FieldPlan { name: column.name().to_owned(), kind, not_null: false }
}

/// Where rows of a stream lie. Both sides say the same.
pub(crate) fn place(name: &str, writer: &str) -> Place {
    let text = |text: &str| Value::Text(text.to_owned());
    Place {
        connector: Place::STREAM.to_owned(),
        positional: Vec::new(),
        named: vec![("name".to_owned(), text(name)), ("writer".to_owned(), text(writer))],
        text: name.to_owned(),
    }
}

/// What one pipeline writes and reads, as its text has it.
#[derive(Default)]
struct Ends<'a> {
    writes: Vec<&'a ast::Ident>,
    reads: Vec<&'a ast::Ident>,
}

/// The streams of a file, and its pipelines in the order in which they can be compiled.
pub(crate) fn declared(names: &Names, said: &mut Vec<Diagnostic>) -> (Vec<ast::Ident>, Vec<usize>) {
    let ends: Vec<Ends> = names.pipelines.iter().map(|pipeline| ends_of(pipeline)).collect();
    let mut written: Vec<ast::Ident> = Vec::new();
    for ends in &ends {
        for name in &ends.writes {
            if let Some(first) = written.iter().find(|first| same_name(&first.text, &name.text)) {
                said.push(say_names::declared_twice("stream", name, first));
                continue;
            }
            if let Some(connection) = names.connection(&name.text) {
                said.push(say::is_connection(name, connection.name));
            }
            written.push((*name).clone());
        }
    }
    let read = || ends.iter().flat_map(|ends| &ends.reads);
    let is_written = |read: &ast::Ident| written.iter().any(|one| same_name(&one.text, &read.text));
    // A name that is misspelt where it is read is one mistake, and not two.
    for one in written.iter().filter(|_| read().all(|read| is_written(read))) {
        if !read().any(|read| same_name(&read.text, &one.text)) {
            said.push(say::unread(one));
        }
    }
    let order = order(names, &ends, said);
    (written, order)
}

/// Writers before their readers; of a circle, none.
fn order(names: &Names, ends: &[Ends], said: &mut Vec<Diagnostic>) -> Vec<usize> {
    let writes = |at: usize, read: &ast::Ident| ends[at].writes.iter().any(|name| same_name(&name.text, &read.text));
    let needs: Vec<Vec<usize>> = (ends.iter())
        .map(|end| (0..ends.len()).filter(|at| end.reads.iter().any(|read| writes(*at, read))).collect())
        .collect();
    let mut order: Vec<usize> = Vec::new();
    while let Some(next) =
        (0..ends.len()).find(|at| !order.contains(at) && needs[*at].iter().all(|needed| order.contains(needed)))
    {
        order.push(next);
    }
    let mut told: Vec<usize> = Vec::new();
    for at in (0..ends.len()).filter(|at| !order.contains(at)) {
        let Some(way) = way_back(at, &needs).filter(|_| !told.contains(&at)) else { continue };
        told.extend(&way);
        let pipelines: Vec<String> = way.iter().rev().map(|at| names.pipelines[*at].name.text.clone()).collect();
        // The one that stands first writes, and the last of the way reads it.
        let next = way[way.len() - 2];
        let name =
            ends[at].writes.iter().find(|name| ends[next].reads.iter().any(|read| same_name(&read.text, &name.text)));
        said.extend(name.map(|name| say::circle(name, &pipelines)));
    }
    let rest: Vec<usize> = (0..ends.len()).filter(|at| !order.contains(at)).collect();
    order.extend(rest);
    order
}

/// The way from a pipeline over those whose streams it needs back to itself, at both ends.
fn way_back(goal: usize, needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut ways = vec![vec![goal]];
    let mut seen = Vec::new();
    while let Some(way) = ways.pop() {
        for needed in &needs[way[way.len() - 1]] {
            let mut way = way.clone();
            way.push(*needed);
            if *needed == goal {
                return Some(way);
            }
            if !seen.contains(needed) {
                seen.push(*needed);
                ways.push(way);
            }
        }
    }
    None
}

fn ends_of(pipeline: &ast::Pipeline) -> Ends<'_> {
    let mut ends = Ends::default();
    of_flow(&pipeline.flow, &mut ends);
    ends
}

fn of_flow<'a>(flow: &'a ast::Flow, ends: &mut Ends<'a>) {
    of_source(&flow.source, ends);
    flow.history.iter().for_each(|history| of_flow(&history.flow, ends));
    for more in &flow.more {
        match more {
            ast::MoreSource::Comma(source) => of_source(source, ends),
            ast::MoreSource::Join(join) => of_source(&join.source, ends),
        }
    }
    of_steps(&flow.steps, ends);
}

fn of_source<'a>(source: &'a ast::Source, ends: &mut Ends<'a>) {
    if let ast::SourceKind::Stream(name) = &source.kind {
        ends.reads.push(name);
    }
}

fn of_steps<'a>(steps: &'a [ast::Step], ends: &mut Ends<'a>) {
    for step in steps {
        match &step.kind {
            ast::StepKind::Stream(name) => ends.writes.push(name),
            ast::StepKind::Tee(tail) => of_steps(&tail.steps, ends),
            ast::StepKind::Fork(tails) => tails.iter().for_each(|tail| of_steps(&tail.steps, ends)),
            ast::StepKind::Shard(ast::Shard { into: ast::ShardInto::Arms(arms), .. }) => {
                arms.iter().for_each(|arm| of_steps(&arm.flow.steps, ends));
            }
            ast::StepKind::Union(union) => union.flows.iter().for_each(|flow| of_flow(flow, ends)),
            ast::StepKind::Join(join) => of_source(&join.source, ends),
            _ => {}
        }
    }
}

/// Where a stream of this name is written, whether its writer compiled or not.
pub(crate) fn place_of_name(written: &[ast::Ident], name: &str) -> Option<Span> {
    written.iter().find(|one| same_name(&one.text, name)).map(|one| one.span)
}
