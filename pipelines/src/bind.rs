//! From a plan to something that runs: the one place where the language, the connectors and the engine meet.
//!
//! `env()` and `secret()` are resolved here, and what they resolve to goes into connectors only. Binding touches nothing outside:
//! connectors are made, not opened.

mod aggregate;
mod dedup;
mod flow;
pub mod formats;
mod hops;
mod inputs;
pub mod places;
mod pruning;
pub mod unopened;
mod values;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrow::datatypes::Field;
use syncline_connectors::{
    Asked, ConnectorError, LogSource, Retried, SinkRequest, SourceRequest, StreamSource, Surroundings, Task,
    open_changelog, open_hop, open_lookup, open_sink, open_source, retried::Form, stream_source, typed::Pruning,
};
use syncline_dsl::plan::{HopPlan, Place, Plan, SourcePlan};
use syncline_engine::{
    changelog::Changelog,
    checkpoint::{self, ReadError},
    fingerprints::{Fingerprints, of_backfill},
    graph::{Graph, Input, input_step},
    intake,
    ledger::stream_topic,
    log::Log,
    lookup::KeyedReader,
    operators::decode::{CsvRecords, Decode, EventTime, FUTURE, FromStream, Tell, Wanted},
    partitioned::RecordKey,
    runtime::{
        frontier::IDLE,
        job::{Backlog, JobSpec},
        supervisor::Pipeline,
    },
    sink::{OutboxSink, Sink},
    source::Source,
    store::StateStore,
    witness::Witness,
};
use syncline_functions::{ExprError, Planner, csv::Dialect};
use syncline_record::StepId;

pub use values::arguments;

use crate::{outcome::NEXT, retries, streams::Streams};

use flow::Flow;

/// Why a plan cannot be bound. The compiler has checked the file, so these are about the world or about a stored plan.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{step}: `{sql}`: {error}")]
    Expression { step: String, sql: String, error: ExprError },
    #[error("{place}: {error}")]
    Connector { place: String, error: ConnectorError },
    #[error("the environment variable {name} is not set{}set it, or give it a default: env('{name}', '…')", NEXT)]
    Env { name: String },
    #[error("{detail}")]
    Secret { detail: String },
    #[error("{step}: {detail}")]
    Plan { step: String, detail: String },
}

/// Finds the value of `secret('path')`.
pub type Secrets<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// Where sources and sinks come from: the real ones, or those of a `TEST`.
pub trait Edges {
    fn source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError>;
    /// What a join reads whole, as of one moment.
    fn table(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError> {
        self.source(plan)
    }

    /// Whom to ask for rows by key; none where the table is read whole and kept by it.
    fn lookup(&self, _plan: &SourcePlan, _columns: &[String]) -> Result<Option<Box<dyn KeyedReader>>, BindError> {
        Ok(None)
    }

    /// The same of the source that a `WHERE` follows, which need not give what that filters.
    fn pruned(&self, plan: &SourcePlan, _pruning: Option<Arc<Pruning>>) -> Result<Box<dyn Source>, BindError> {
        self.source(plan)
    }

    fn sink(&self, connector: &str, place: &Place, request: SinkEdge<'_>) -> Result<Sink, BindError>;

    /// The source of a pipeline, with the way beside it for records that are sent through it again.
    fn with_retries(
        &self,
        _pipeline: &str,
        _plan: &SourcePlan,
        source: Box<dyn Source>,
    ) -> Result<Box<dyn Source>, BindError> {
        Ok(source)
    }

    /// Which task of how many this is.
    fn task(&self) -> Task {
        Task::default()
    }

    /// Where all that the pipeline keeps is written down; none where it is kept here and nowhere else.
    fn changelog(&self, _place: &Place) -> Result<Option<Box<dyn Changelog>>, BindError> {
        Ok(None)
    }
}

/// What is known of a sink when it is made; the connector's arguments come from its place.
pub struct SinkEdge<'a> {
    pub pipeline: &'a str,
    pub step: &'a StepId,
    pub write: syncline_engine::sink::Write,
    pub schema: arrow::datatypes::SchemaRef,
    pub keys: Vec<String>,
    pub endless: bool,
    /// It writes CSV, so.
    pub csv: Option<Dialect>,
}

/// The connectors.
pub struct RealEdges<'a> {
    pub around: Surroundings,
    pub secrets: &'a Secrets<'a>,
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn StateStore>,
    /// Take what is there, then end (`--once`, and a run of a schedule).
    pub once: bool,
    /// A run of a schedule: the writer of a stream may go on for ever.
    pub scheduled: bool,
    pub streams: Arc<Streams>,
    /// Ends the pipeline, when the writer of a stream that it reads is no more.
    pub stop: Arc<AtomicBool>,
}

/// `FORMAT raw`
pub const RAW: &str = "raw";

/// The topic that an ingest path writes to, and the name of its partition.
pub fn ingest_topic(path: &str) -> String {
    format!("in/{}", path.trim_matches('/'))
}

/// From where on a path's topic is still needed: by the slowest pipeline that reads it, and by what knows its deliveries.
fn needed(store: &dyn StateStore, topic: &str, verified: bool) -> Result<Option<u64>, ReadError> {
    let cursor = checkpoint::lowest_cursor(store, topic)?;
    if !verified {
        return Ok(cursor);
    }
    let known = intake::read_remembered(store, topic)?.unwrap_or_default().next;
    Ok(Some(cursor.map_or(known, |cursor| cursor.min(known))))
}

impl Edges for RealEdges<'_> {
    fn source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError> {
        self.input(plan, None, false)
    }

    fn table(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError> {
        self.input(plan, None, true)
    }

    fn pruned(&self, plan: &SourcePlan, pruning: Option<Arc<Pruning>>) -> Result<Box<dyn Source>, BindError> {
        self.input(plan, pruning, false)
    }

    fn lookup(&self, plan: &SourcePlan, columns: &[String]) -> Result<Option<Box<dyn KeyedReader>>, BindError> {
        let place = &plan.place;
        let fields = Fields::of(plan);
        open_lookup(&place.connector, &arguments(place, self.secrets)?, &self.around, fields.asked(columns))
            .map_err(|error| BindError::Connector { place: place.text.clone(), error })
    }

    fn sink(&self, connector: &str, place: &Place, edge: SinkEdge<'_>) -> Result<Sink, BindError> {
        if let Some((name, writer)) = place.stream() {
            return Ok(Sink::Stream { topic: stream_topic(writer, name), readers: self.streams.readers(writer, name) });
        }
        let args = arguments(place, self.secrets)?;
        let SinkEdge { pipeline, step, write, schema, keys, endless, csv } = edge;
        let request =
            SinkRequest { args: &args, around: &self.around, pipeline, step, write, schema, keys, endless, csv };
        open_sink(connector, request).map_err(|error| BindError::Connector { place: place.text.clone(), error })
    }

    fn with_retries(
        &self,
        pipeline: &str,
        plan: &SourcePlan,
        source: Box<dyn Source>,
    ) -> Result<Box<dyn Source>, BindError> {
        let place = &plan.place;
        let form = Form::of(&formats::text(plan), &place.connector, &arguments(place, self.secrets)?, &self.around)
            .map_err(|error| BindError::Connector { place: place.text.clone(), error })?;
        Ok(Box::new(Retried::new(source, form, self.log.clone(), pipeline)))
    }

    fn task(&self) -> Task {
        self.around.task
    }

    fn changelog(&self, place: &Place) -> Result<Option<Box<dyn Changelog>>, BindError> {
        let args = arguments(place, self.secrets)?;
        let changelog = open_changelog(&place.connector, &args, &self.around, &self.stop);
        changelog.map(Some).map_err(|error| BindError::Connector { place: place.text.clone(), error })
    }
}

impl RealEdges<'_> {
    fn input(
        &self,
        plan: &SourcePlan,
        pruning: Option<Arc<Pruning>>,
        whole: bool,
    ) -> Result<Box<dyn Source>, BindError> {
        let place = &plan.place;
        if let Some((name, writer)) = place.stream() {
            return Ok(Box::new(self.stream(plan, name, writer)));
        }
        if let Some(hop) = &plan.hop {
            return self.hop(place, hop);
        }
        let args = arguments(place, self.secrets)?;
        if place.connector == "http" {
            let path = args.positional.first().or(args.named.get("path")).and_then(|path| path.as_str()).unwrap_or("/");
            let topic = ingest_topic(path);
            let log = self.log.clone();
            let (store, partition) = (self.store.clone(), topic.clone());
            let verified = args.named.contains_key("verify");
            // A cursor that cannot be read keeps everything: a log that is too long does no harm.
            let readers = move || needed(&*store, &partition, verified).unwrap_or(Some(0));
            let source = match self.once {
                true => LogSource::bounded(log, topic.clone(), topic, None),
                false => LogSource::new(log, topic.clone(), topic),
            };
            return Ok(Box::new(source.among(Box::new(readers))));
        }
        let follow = (plan.follow || plan.endless) && !self.once;
        let format = formats::text(plan);
        let fields = Fields::of(plan);
        let columns = (!sees_all(plan)).then_some(&fields.named[..]);
        let request = SourceRequest {
            args: &args,
            around: &self.around,
            follow,
            format: &format,
            columns,
            asked: fields.asked(&fields.named),
            pruning: pruning.as_ref(),
            by_key: !plan.partitioned_by.is_empty(),
            whole,
        };
        open_source(&place.connector, request)
            .map_err(|error| BindError::Connector { place: place.text.clone(), error })
    }

    fn hop(&self, place: &Place, hop: &HopPlan) -> Result<Box<dyn Source>, BindError> {
        let (streams, stage, stop) = (self.streams.clone(), hop.writer.pipeline.clone(), self.stop.clone());
        let writers = Box::new(move |number| streams.writer(&format!("{stage}.{number}")));
        let cut_off = Box::new(move || stop.store(true, Ordering::SeqCst));
        let args = arguments(place, self.secrets)?;
        open_hop(&place.connector, &args, &self.around, self.once, (writers, cut_off), &self.stop)
            .map_err(|error| BindError::Connector { place: place.text.clone(), error })
    }

    fn stream(&self, plan: &SourcePlan, name: &str, writer: &str) -> StreamSource {
        let wanted = stream_source::Wanted {
            topic: stream_topic(writer, name),
            name: name.to_owned(),
            writer: writer.to_owned(),
            columns: plan.typed.then(|| plan.fields.iter().map(|field| field.name.clone()).collect()),
            bounded: !plan.endless || self.once,
            here: self.scheduled,
        };
        StreamSource::new(self.log.clone(), wanted, self.streams.around(writer, name, self.stop.clone()))
    }
}

/// The fields of a source by name; those of types that a table may not have apart.
struct Fields {
    named: Vec<String>,
    booleans: Vec<String>,
    lists: Vec<String>,
}

impl Fields {
    fn of(plan: &SourcePlan) -> Self {
        let of_kind = |is: fn(&str) -> bool| -> Vec<String> {
            plan.fields.iter().filter(|field| is(&field.kind.0)).map(|field| field.name.clone()).collect()
        };
        Self {
            named: of_kind(|_| true),
            booleans: of_kind(|kind| kind == "BOOLEAN"),
            lists: of_kind(|kind| kind.ends_with("[]")),
        }
    }

    fn asked<'a>(&'a self, columns: &'a [String]) -> Asked<'a> {
        Asked { columns, booleans: &self.booleans, lists: &self.lists }
    }
}

/// Whether all columns are read of a source that has such: a contract that allows no others has to see them.
fn sees_all(source: &SourcePlan) -> bool {
    source.reject_unknown || source.evolves || source.whole_record
}

/// Makes the graph of a plan, with its source and sinks.
pub fn bind(
    plan: &Plan,
    planner: &Planner,
    edges: &dyn Edges,
    witness: Box<dyn Witness>,
) -> Result<Pipeline, BindError> {
    let endless = plan.endless();
    let mut flow = Flow::new(plan, planner, edges, endless);
    let (decode, first) = flow.whole()?;
    let Flow { nodes, sinks, inputs: more, history, beside, tables, lookups, layouts, .. } = flow;
    let mut source = edges.pruned(&plan.source, pruning::pruning(plan, planner))?;
    if retries::beside(plan) {
        source = edges.with_retries(&plan.pipeline, &plan.source, source)?;
    }
    let input = Input { step: input_step(0), source, decode, key: record_key(&plan.source), first };
    let inputs = std::iter::once(input).chain(more).collect();
    let job = JobSpec {
        pipeline: plan.pipeline.clone(),
        plan: plan.digest(),
        checkpoint_every: Duration::from_micros(plan.options.checkpoint_every),
        keep_passed: plan.options.ledger_all,
        idle_after: plan.options.waits.idle_after.map_or(IDLE, Duration::from_micros),
        backlog: Backlog::default(),
        fingerprints: Fingerprints { layouts, ..fingerprints(plan) },
        graph: Graph { inputs, history, beside, nodes, tables, lookups },
        witness,
    };
    let changelog = plan.options.changelog.as_ref().map(|place| edges.changelog(place)).transpose()?.flatten();
    Ok(Pipeline { job, sinks, changelog })
}

fn fingerprints(plan: &Plan) -> Fingerprints {
    let by_step =
        |prints: BTreeMap<String, String>| prints.into_iter().map(|(id, print)| (StepId::new(id), print)).collect();
    let syncline_dsl::Fingerprints { steps, targets, mut inputs, backfill } = plan.fingerprints();
    if let Some((input, number)) = backfill.filter(|(_, number)| *number > 0)
        && let Some(place) = inputs.get_mut(&input)
    {
        *place = of_backfill(place, number);
    }
    Fingerprints {
        steps: by_step(steps),
        targets: by_step(targets),
        inputs: by_step(inputs),
        ..Fingerprints::default()
    }
}

/// Sinks that read from an outbox, by step.
pub(crate) type OutboxSinks = Vec<(StepId, Box<dyn OutboxSink>)>;

pub(crate) fn wanted(source: &SourcePlan) -> Result<Wanted, BindError> {
    let field = |plan: &syncline_dsl::plan::FieldPlan| {
        let broken = || BindError::Plan {
            step: "source".into(),
            detail: format!("{} has type {}, which this version does not know", plan.name, plan.kind.0),
        };
        Ok::<Field, BindError>(plan.kind.field(&plan.name).ok_or_else(broken)?.with_nullable(!plan.not_null))
    };
    Ok(Wanted {
        fields: source.fields.iter().map(field).collect::<Result<_, _>>()?,
        reject_unknown: source.reject_unknown,
        whole_record: source.whole_record,
        metadata: source.metadata.clone(),
        event_time: source
            .event_time
            .as_ref()
            .map(|event| EventTime { column: event.column.clone(), delay: event.delay as i64 }),
        raw: source.format == RAW,
        key: source.key.clone(),
        csv: source.csv.as_ref().map(|csv| CsvRecords { dialect: formats::dialect(csv), declared: source.declared }),
        stream: source.stream.as_ref().map(|stream| FromStream { changes: stream.changes }),
    })
}

/// How the records of a source become rows.
pub(crate) fn decode(source: &SourcePlan, plan: &Plan) -> Result<Decode, BindError> {
    let ahead = plan.options.waits.future.map_or(FUTURE, |future| future as i64);
    let decode = Decode::new(wanted(source)?).ahead(ahead);
    Ok(if source.evolves { decode.telling(tell_new_fields(&plan.pipeline)) } else { decode })
}

/// What `PARTITIONED BY` says of the keys of a source's records.
pub(crate) fn record_key(source: &SourcePlan) -> Option<RecordKey> {
    (!source.partitioned_by.is_empty()).then(|| RecordKey::of(source.partitioned_by.clone()))
}

/// `SCHEMA … EVOLVE`: a field that the schema does not have is said once in the life of a process, and counted.
fn tell_new_fields(pipeline: &str) -> Tell {
    let pipeline = pipeline.to_owned();
    let counted = metrics::counter!("syncline_new_fields_total", "pipeline" => pipeline.clone());
    Box::new(move |field| {
        counted.increment(1);
        tracing::warn!(pipeline = %pipeline, field, "records have a field that the schema does not declare; it is kept");
    })
}

/// Digest of a step's meaning for its state: key, types and window.
pub(crate) fn state_digest(parts: &BTreeMap<&str, String>) -> u64 {
    syncline_record::keys::content_hash(format!("{parts:?}").as_bytes()) as u64
}
