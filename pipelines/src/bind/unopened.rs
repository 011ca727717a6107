//! Sources and sinks that are spoken of, and never opened: a graph for who asks what would run.
//!
//! No argument is resolved for them, so neither a secret nor the environment is asked for.

use arrow::array::RecordBatch;
use serde_json::Value;
use syncline_connectors::{Connector, SinkKind, registry};
use syncline_dsl::plan::{Place, SourcePlan};
use syncline_engine::{
    ledger::stream_topic,
    lookup::{KeyedReader, Record},
    sink::{Applied, Cut, Delivered, OutboxRows, OutboxSink, Owner, Sink, SinkError, StagedSink, Stream},
    source::{Cursors, Polled, Source, SourceError},
};
use syncline_record::{Batch, Micros, Partition, RowFailure};

use super::{BindError, Edges, SinkEdge};

pub struct UnopenedEdges;

impl Edges for UnopenedEdges {
    fn source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, BindError> {
        Ok(Box::new(Unopened { what: plan.place.text.clone(), bounded: !plan.endless }))
    }

    fn lookup(&self, plan: &SourcePlan, _columns: &[String]) -> Result<Option<Box<dyn KeyedReader>>, BindError> {
        let keyed = found(&plan.place.connector).is_some_and(|connector| connector.keyed);
        let unopened = Unopened { what: plan.place.text.clone(), bounded: true };
        Ok(keyed.then(|| Box::new(unopened) as Box<dyn KeyedReader>))
    }

    fn sink(&self, name: &str, place: &Place, _edge: SinkEdge<'_>) -> Result<Sink, BindError> {
        if let Some((name, writer)) = place.stream() {
            return Ok(Sink::Stream { topic: stream_topic(writer, name), readers: Box::new(|_| Ok(None)) });
        }
        let sink = found(name).and_then(|connector| connector.sink);
        let staged = sink.is_some_and(|sink| sink.kind == SinkKind::Staged);
        let unopened = Unopened { what: place.text.clone(), bounded: true };
        Ok(if staged { Sink::Staged(Box::new(unopened)) } else { Sink::Outbox(Box::new(unopened)) })
    }
}

fn found(name: &str) -> Option<&'static Connector> {
    registry().iter().find(|connector| connector.name == name)
}

/// Something outside that nobody goes to.
struct Unopened {
    what: String,
    bounded: bool,
}

impl Unopened {
    fn source_error(&self) -> SourceError {
        SourceError::Unreadable { what: self.what.clone(), detail: "is only spoken of here".to_owned() }
    }

    fn sink_error<T>(&self) -> Result<T, SinkError> {
        Err(SinkError::Never(format!("{} is only spoken of here", self.what)))
    }
}

impl Source for Unopened {
    fn open(&mut self, _: &Cursors, _: Micros) -> Result<(), SourceError> {
        Err(self.source_error())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        Err(self.source_error())
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![]
    }
}

impl KeyedReader for Unopened {
    fn open(&mut self) -> Result<(), SourceError> {
        Err(self.source_error())
    }

    fn find(&mut self, _: &RecordBatch) -> Result<Vec<Vec<Record>>, SourceError> {
        Err(self.source_error())
    }
}

impl StagedSink for Unopened {
    fn claim(&mut self, _: &Owner, _: Option<&Value>, _: bool) -> Result<(), SinkError> {
        self.sink_error()
    }

    fn open(&mut self, _: Option<&Value>) -> Result<(), SinkError> {
        self.sink_error()
    }

    fn write(&mut self, _: &Batch) -> Result<Vec<RowFailure>, SinkError> {
        self.sink_error()
    }

    fn prepare(&mut self, _: Cut) -> Result<Value, SinkError> {
        self.sink_error()
    }

    fn reveal(&mut self) -> Result<(), SinkError> {
        self.sink_error()
    }

    fn is_due(&self, _: Micros) -> bool {
        false
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        self.sink_error()
    }

    fn take_back(&mut self, _: Option<&Value>) -> Result<(), SinkError> {
        self.sink_error()
    }
}

impl OutboxSink for Unopened {
    fn open(&mut self, _: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.sink_error()
    }

    fn apply(&mut self, _: &[OutboxRows]) -> Result<Applied, SinkError> {
        self.sink_error()
    }

    fn commit(&mut self, _: &Delivered) -> Result<(), SinkError> {
        self.sink_error()
    }

    fn clear(&mut self, _: &Stream) -> Result<(), SinkError> {
        self.sink_error()
    }
}
