//! Streams in a job: rows that go to other pipelines, or to other tasks of this one, and rows that come from them.
//!
//! What a step writes lies in its topic until every reader has committed what it made of it. A writer whose readers are too far behind
//! waits for them, as it does for a sink. A reader takes rows with the marks of their own partitions; its own time is the writer's.

use syncline_record::{Batch, Micros, StepId, time::NO_WATERMARK};

use super::{
    Ground,
    job::{Backlog, Job, JobError, Open},
};
use crate::{
    checkpoint::Checkpoint,
    graph::Work,
    hop::{Hop, SendError, Standing},
    log::{Log, LogError, NewFrame},
    operator::{Halt, Output},
    source::{SourceError, Streamed},
    stream,
};

/// Puts the rows of a batch into a stream, as part of the open epoch.
pub(super) fn append(log: &dyn Log, topic: &str, id: &str, step: &StepId, batch: Batch) -> Result<(), JobError> {
    let batch = stream::without_clears(batch);
    if batch.is_empty() {
        return Ok(());
    }
    for batch in stream::frames(batch) {
        let body = stream::encode(&batch, id).map_err(|detail| Halt::Broken { step: step.clone(), detail })?;
        log.append(topic, NewFrame { count: batch.len() as u32, time: batch.time(0), body })?;
    }
    Ok(())
}

impl From<SendError> for JobError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Halt(halt) => halt.into(),
            SendError::Log(error) => error.into(),
        }
    }
}

/// Gives rows to the next stage, as part of the open epoch.
pub(super) fn hop_on(
    hop: &mut Hop,
    ground: &Ground,
    batch: Batch,
    (at, open): (&Checkpoint, &mut Open),
    out: &mut Output,
) -> Result<(), JobError> {
    out.emit(batch);
    for batch in std::mem::take(&mut out.emitted) {
        open.sent += hop.send(&*ground.log, &at.log_id, out.step(), &batch)?;
    }
    Ok(())
}

/// Records of a topic behind `next` that are still there: a reader that comes back to what was let go cannot read them.
fn kept(log: &dyn Log, topic: &str, next: u64) -> Result<u64, LogError> {
    let first = match log.read(topic, next, 1) {
        Err(LogError::Gone { oldest, .. }) => oldest,
        read => read.map(|_| next)?,
    };
    Ok(log.end(topic)?.saturating_sub(first))
}

impl Job {
    /// Whose readers are waited for, and what is said of it.
    pub fn waits(&self) -> impl Iterator<Item = (&StepId, &String)> {
        self.waits.iter()
    }

    /// True while a reader of some stream is too far behind.
    pub(super) fn readers_are_behind(&mut self) -> Result<bool, JobError> {
        let Backlog { rows, bytes } = self.spec.backlog;
        // Whoever waits for the end of a run would wait for ever for a reader that does not run.
        let ends = self.spec.graph.inputs.iter().all(|input| input.source.bounded());
        let mut waits = vec![];
        for node in &self.spec.graph.nodes {
            let Work::Stream { topic, readers, .. } = &node.work else { continue };
            let Some(slowest) = readers(&self.checkpoint.log_id)? else { continue };
            let mut waiting = self.ground.log.end(topic)?.saturating_sub(slowest.next);
            if waiting > rows {
                waiting = kept(&*self.ground.log, topic, slowest.next)?;
            }
            if waiting > rows || waiting > 0 && self.ground.log.bytes(topic, slowest.next)? > bytes {
                if !slowest.runs && ends {
                    let (step, reader) = (node.id.clone(), slowest.pipeline);
                    return Err(JobError::Unread { step, waiting, reader });
                }
                waits
                    .push((node.id.clone(), format!("{waiting} rows wait for {}, which reads them", slowest.pipeline)));
            }
        }
        if let (true, Some((step, why))) = (self.waits.is_empty(), waits.first()) {
            tracing::warn!(pipeline = self.spec.pipeline, step = %step, "{why}; the source waits until they are fewer");
        }
        self.waits = waits.into_iter().collect();
        Ok(!self.waits.is_empty())
    }

    fn standing(&self, lowest: Micros) -> Standing {
        Standing { lowest, quiet: self.quiet }
    }

    /// Whether the tasks behind hops do not know yet how far time has come.
    pub(super) fn has_to_tell_hops(&self, lowest: Micros) -> bool {
        let standing = self.standing(lowest);
        standing.says_something() && self.told != Some(standing) && self.hops().next().is_some()
    }

    /// Tells the tasks behind hops how far time has come, where that is news.
    pub(super) fn tell_hops(&mut self) -> Result<(), JobError> {
        let lowest = self.checkpoint.lowest;
        if !self.has_to_tell_hops(lowest) {
            return Ok(());
        }
        let (log, id, standing) = (&*self.ground.log, &self.checkpoint.log_id, self.standing(lowest));
        self.hops().try_for_each(|hop| hop.tell(log, id, standing))?;
        self.told = Some(standing);
        Ok(())
    }

    fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.spec.graph.nodes.iter().filter_map(|node| match &node.work {
            Work::Hop(hop) => Some(hop),
            _ => None,
        })
    }

    /// Tells every stream how far time has come, where that is news; the topics that this epoch writes.
    pub(super) fn mark_streams(&mut self) -> Result<Vec<String>, JobError> {
        let (lowest, id) = (self.checkpoint.lowest, self.checkpoint.log_id.clone());
        let topics: Vec<String> = self.streams().map(str::to_owned).collect();
        for topic in &topics {
            if lowest == NO_WATERMARK || self.marked.get(topic) == Some(&lowest) {
                continue;
            }
            let frame = NewFrame { count: 1, time: lowest, body: stream::encode_mark(lowest, &id) };
            self.ground.log.append(topic, frame)?;
            self.marked.insert(topic.clone(), lowest);
        }
        Ok(topics)
    }

    fn streams(&self) -> impl Iterator<Item = &str> {
        self.spec.graph.nodes.iter().filter_map(|node| match &node.work {
            Work::Stream { topic, .. } => Some(topic.as_str()),
            _ => None,
        })
    }

    /// What every reader has committed is needed no more; and what nobody reads never was.
    pub(super) fn let_streams_go(&mut self) -> Result<(), JobError> {
        for node in &self.spec.graph.nodes {
            let Work::Stream { topic, readers, .. } = &node.work else { continue };
            let log = &*self.ground.log;
            let needed = match readers(&self.checkpoint.log_id)? {
                Some(slowest) => slowest.next,
                None => log.end(topic)?,
            };
            self.released.entry(topic.clone()).or_default().below(needed, log, topic)?;
        }
        Ok(())
    }

    /// Takes what a stream gave through the chain.
    pub(super) fn take_streamed(&mut self, input: usize, streamed: Streamed) -> Result<(), JobError> {
        let Streamed { stream, writer, rows, mark, cursor } = streamed;
        let since = self.open_epoch();
        let at = &mut self.spec.graph.inputs[input];
        let partition = at.qualified(&stream.to_string());
        // Time that moves without rows is no quiet time either.
        self.frontier.gave_rows(&at.qualified(&writer.to_string()), since);
        if let Some(rows) = rows {
            let count = rows.origin.rows() as u64;
            let bytes = rows.origin.payload.len() + rows.columns.as_ref().map_or(0, |one| one.get_array_memory_size());
            let mut out = Output::new(at.step.clone(), self.spec.keep_passed);
            out.books.rows_in = count;
            if let Err(detail) = at.decode.push_streamed(&writer, rows, &mut out) {
                return self.stop_in_front_of(SourceError::Changed { what: stream.to_string(), detail });
            }
            self.open.rows += count;
            self.open.bytes += bytes as u64;
            self.open.took(since);
            let emitted = self.enter(out);
            for batch in emitted {
                for edge in 0..self.spec.graph.inputs[input].first.len() {
                    self.push(self.spec.graph.inputs[input].first[edge], batch.clone())?;
                }
            }
        }
        if let Some(mark) = mark {
            self.spec.graph.inputs[input].decode.mark(&writer, mark);
        }
        self.open.moved.insert(partition.clone());
        self.checkpoint.cursors.insert(partition, cursor);
        Ok(())
    }

    /// What came before is committed first: else it would come again in every attempt with what cannot be read behind it, and no edit
    /// could bring the reader to the place where another version of the file has to go on.
    fn stop_in_front_of(&mut self, unread: SourceError) -> Result<(), JobError> {
        self.commit(false)?;
        Err(unread.into())
    }
}
