//! Rows of the engine out of the records of one poll of one partition.

use std::sync::Arc;

use arrow::{array::RecordBatch, buffer::Buffer};
use serde_json::Value;
use syncline_engine::source::{MAX_RECORD, Rejected, Rows, SourceError};
use syncline_functions::csv::{Dialect, Seeker};
use syncline_record::{
    DeadLetter, Headers, Instants, Keys, Micros, Origin, Partition, Place, Reason, keys::content_hash,
};

use super::{headers, queue::Record};
use crate::{
    records::TextFormat,
    registered::{Head, Schemas, client::Client, datum::Columns, head_of},
    spec::{Arguments, ConnectorError, Surroundings},
};

/// What the values of records are.
pub enum Values {
    /// The steps behind know it.
    Plain,
    /// One line of CSV each.
    Csv(Dialect),
    /// They name their schemas.
    Registered(Schemas),
}

impl Values {
    pub fn of(format: &TextFormat, arguments: &Arguments, around: &Surroundings) -> Result<Self, ConnectorError> {
        Ok(match format {
            TextFormat::Json => Self::Plain,
            TextFormat::Csv { dialect, .. } => Self::Csv(dialect.clone()),
            TextFormat::Registered(format) => Self::Registered(Schemas::new(Client::new(arguments, around)?, *format)),
        })
    }

    /// What a value says of its schema, and what is taken of it as the record.
    fn taken<'v>(&self, value: &'v [u8]) -> Result<(Option<Head>, &'v [u8]), Reason> {
        if value.len() > MAX_RECORD {
            return Err(Reason::new("too-large", format!("{} bytes; the most is {MAX_RECORD}", value.len())));
        }
        match self {
            Self::Plain => Ok((None, value)),
            Self::Csv(dialect) => one_line(value, dialect).map(|line| (None, line)),
            Self::Registered(schemas) => Ok((Some(head_of(value, schemas.format())?), value)),
        }
    }
}

/// A record of CSV without its line end, if it has one.
pub fn one_line<'v>(value: &'v [u8], dialect: &Dialect) -> Result<&'v [u8], Reason> {
    let line = value.strip_suffix(b"\n").unwrap_or(value);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if dialect.comment.is_some() && line.first() == dialect.comment.as_ref() {
        return Err(Reason::new("comment", "the record is a comment"));
    }
    match Seeker::default().find(line, dialect) {
        None => Ok(line),
        Some(end) => Err(Reason::new("not-csv", format!("byte {}: the record goes on behind its line", end + 1))),
    }
}

/// Records of one poll of one partition, in runs of one schema.
#[derive(Default)]
pub struct Gathered {
    runs: Vec<Run>,
}

/// Records that follow each other.
#[derive(Default)]
struct Run {
    /// What they say of their schema.
    head: Option<Head>,
    /// Offset behind the last of them.
    next: i64,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    rejected: Vec<Rejected>,
}

/// A record but its value, which is among the bytes.
struct Row {
    span: (u32, u32),
    offset: u64,
    time: Micros,
    headers: Option<Arc<str>>,
    key: Option<Vec<u8>>,
    /// It has no value.
    alone: bool,
}

impl Gathered {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn add(&mut self, partition: &Partition, record: &Record, values: &Values, now: Micros) {
        let (head, value) = match (record.value(), record.key()) {
            (Some(value), _) => match values.taken(value) {
                Ok((head, value)) => (head, Ok(value)),
                Err(reason) => (None, Err(reason)),
            },
            (None, Some(_)) => (None, Ok(&[][..])),
            (None, None) => (None, Err(Reason::new("no-value", "the record has neither a key nor a value"))),
        };
        let run = self.run(head);
        run.next = record.offset() + 1;
        let row = Row {
            span: (0, 0),
            offset: record.offset() as u64,
            time: record.time().map_or(now, |milliseconds| milliseconds * 1000),
            headers: headers::text(record),
            key: record.key().map(<[u8]>::to_vec),
            alone: record.value().is_none(),
        };
        match value {
            Ok(value) => run.take(row, value),
            Err(reason) => run.reject(partition, row, record.value().unwrap_or_default(), reason),
        }
    }

    /// The run that a record of this schema belongs to; one without a schema belongs to any.
    fn run(&mut self, head: Option<Head>) -> &mut Run {
        let other = |run: &Run| head.is_some() && run.head.is_some() && run.head != head;
        if self.runs.last().is_none_or(other) {
            self.runs.push(Run::default());
        }
        let last = self.runs.len() - 1;
        let run = &mut self.runs[last];
        if run.head.is_none() {
            run.head = head;
        }
        run
    }

    /// The rows of each run, and where to go on behind them. `next`: behind all of them.
    pub fn rows(
        self,
        partition: &Partition,
        values: &mut Values,
        next: i64,
        now: Micros,
    ) -> Result<Vec<(Rows, i64)>, SourceError> {
        let last = self.runs.len().saturating_sub(1);
        let each = self.runs.into_iter().enumerate().map(|(index, mut run)| {
            let columns = match values {
                Values::Registered(schemas) => Some(run.columns(partition, schemas)?),
                _ => None,
            };
            let next = if index == last { next } else { run.next };
            Ok((run.into_rows(partition.clone(), columns, now), next))
        });
        each.collect()
    }
}

/// No rows: where a partition is begun, and nothing has come.
pub fn none(partition: Partition, now: Micros) -> Rows {
    Run::default().into_rows(partition, None, now)
}

impl Run {
    fn take(&mut self, mut row: Row, value: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        row.span = (start, self.bytes.len() as u32);
        self.rows.push(row);
    }

    fn reject(&mut self, partition: &Partition, row: Row, value: &[u8], reason: Reason) {
        self.rejected.push(Rejected {
            place: Place { partition: partition.clone(), offset: row.offset, byte: None },
            time: row.time,
            bytes: value[..value.len().min(DeadLetter::KEPT)].to_vec(),
            length: value.len() as u64,
            hash: content_hash(value),
            headers: row.headers.map(|text| text.to_string()),
            reason,
        });
    }

    /// What the records hold, by their schema. Those that hold something else are rejected.
    fn columns(&mut self, partition: &Partition, schemas: &mut Schemas) -> Result<RecordBatch, SourceError> {
        let schema = match &self.head {
            None => None,
            Some(head) => Some(schemas.get(head)?.and_then(|schema| Ok((schema.fields(head)?, schema)))),
        };
        let fields = schema.iter().flatten().next().map_or(vec![], |(fields, _)| fields.clone());
        let mut columns = Columns::new(fields);
        let bytes = std::mem::take(&mut self.bytes);
        for row in std::mem::take(&mut self.rows) {
            let record = &bytes[row.span.0 as usize..row.span.1 as usize];
            let read = match &schema {
                _ if row.alone => None,
                Some(Ok((_, schema))) => Some(
                    schema
                        .read(record)
                        .and_then(|values| columns.push(&values).map_err(|why| Reason::new("type", why))),
                ),
                Some(Err(reason)) => Some(Err(reason.clone())),
                None => None,
            };
            match read {
                None => {
                    columns.push_nulls();
                    self.take(row, record);
                }
                Some(Ok(())) => self.take(row, record),
                Some(Err(reason)) => self.reject(partition, row, record, reason),
            }
        }
        columns.finish().map_err(|error| SourceError::Unreadable {
            what: partition.to_string(),
            detail: format!("columns do not fit together: {error}"),
        })
    }

    fn into_rows(self, partition: Partition, columns: Option<RecordBatch>, now: Micros) -> Rows {
        let (mut keys, mut headers) = (Keys::default(), Vec::with_capacity(self.rows.len()));
        let (mut spans, mut offsets, mut times) = (vec![], vec![], vec![]);
        for row in self.rows {
            match (&row.key, row.alone) {
                (Some(key), true) => keys.push_alone(key),
                (key, _) => keys.push(key.as_deref()),
            }
            spans.push(row.span);
            offsets.push(row.offset);
            times.push(row.time);
            headers.push(row.headers);
        }
        let headers = match headers.iter().any(Option::is_some) {
            true => Headers::Each(headers),
            false => Headers::Absent,
        };
        let origin = Origin {
            partition,
            payload: Buffer::from_vec(self.bytes),
            spans,
            texts: None,
            names: None,
            offsets,
            bytes: None,
            times,
            ingested_at: Instants::All(now),
            headers,
            keys: Some(keys),
        };
        Rows { origin, columns, rejected: self.rejected, cursor: Value::Null }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_csv_is_one_line() {
        let dialect = Dialect { header: false, comment: Some(b'#'), ..Dialect::default() };
        let taken = |value: &[u8]| match one_line(value, &dialect) {
            Ok(line) => String::from_utf8_lossy(line).into_owned(),
            Err(reason) => reason.slug,
        };
        for (value, line) in [
            ("1,a", "1,a"),
            ("1,a\n", "1,a"),
            ("1,a\r\n", "1,a"),
            ("1,\"a\nb\"", "1,\"a\nb\""),
            ("", ""),
            ("1,a\n2,b", "not-csv"),
            ("1,a\n\n", "not-csv"),
            ("# id,name", "comment"),
        ] {
            assert_eq!(taken(value.as_bytes()), line, "{value:?}");
        }
    }
}
