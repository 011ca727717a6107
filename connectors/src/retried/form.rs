//! What the source of a pipeline makes of its records before the steps see them, for those that come again by the other way.
//!
//! A record of Avro or Protobuf names its schema, so its bytes say all that there is to know of it, and it is read as it was the first time;
//! with the registry of today. A line of CSV says as much where its columns are those of a contract, or where what they are called came with
//! it. What is no such record now is rejected as the source rejects it: it is a dead letter again.

use std::{collections::VecDeque, sync::Arc};

use serde_json::Value;
use syncline_engine::source::{Rejected, Rows, SourceError};
use syncline_functions::csv::Dialect;
use syncline_record::{DeadLetter, Headers, Instants, Origin, Reason, batch::COLUMNS, keys::content_hash};

use crate::{
    kafka::one_line,
    records::TextFormat,
    registered::{Head, Schema, Schemas, client::Client, datum::Columns, head_of},
    registry::connector,
    spec::{Args, Arguments, ConnectorError, Surroundings},
};

/// The records of a source that are not for the steps as they are.
pub enum Form {
    /// One line each.
    Csv(Dialect),
    /// They name their schemas.
    Registered(Schemas),
}

impl Form {
    /// `None`: the steps take records of this format as they came. `name`: the connector, which has these arguments.
    pub fn of(
        format: &TextFormat,
        name: &str,
        args: &Args,
        around: &Surroundings,
    ) -> Result<Option<Self>, ConnectorError> {
        Ok(match format {
            TextFormat::Json => None,
            TextFormat::Csv { dialect, .. } => Some(Self::Csv(dialect.clone())),
            TextFormat::Registered(format) => {
                let client = Client::new(&Arguments::checked(connector(name)?, args)?, around)?;
                Some(Self::Registered(Schemas::new(client, *format)))
            }
        })
    }

    /// What a record says of its schema, and what is taken of it.
    fn taken<'v>(&self, record: &'v [u8]) -> Result<(Option<Head>, &'v [u8]), Reason> {
        match self {
            Self::Csv(dialect) => one_line(record, dialect).map(|line| (None, line)),
            Self::Registered(schemas) => Ok((Some(head_of(record, schemas.format())?), record)),
        }
    }

    /// What the fields of a line are called, where that came with it.
    fn names(&self, headers: Option<&str>) -> Option<Names> {
        let Self::Csv(_) = self else { return None };
        let mut headers: Value = serde_json::from_str(headers?).ok()?;
        let names: Vec<Box<str>> = serde_json::from_value(headers.get_mut(COLUMNS)?.take()).ok()?;
        Some(names.into())
    }

    /// The same rows as the source would give them, in runs of one schema, or of one file; each knows where to go on behind it.
    pub fn read(&mut self, rows: &Rows) -> Result<VecDeque<Rows>, SourceError> {
        let origin = &rows.origin;
        let mut runs: Vec<Run> = vec![];
        for row in 0..origin.rows() {
            let (record, names) = (origin.bytes_of(row), self.names(origin.headers.get(row)));
            let (head, taken) = match self.taken(&record) {
                Ok((head, taken)) => (head, Ok(taken)),
                Err(reason) => (None, Err(reason)),
            };
            let other = |run: &Run| (head.is_some() && run.head.is_some() && run.head != head) || run.names != names;
            if runs.last().is_none_or(other) {
                runs.push(Run { names, ..Run::default() });
            }
            let last = runs.len() - 1;
            let run = &mut runs[last];
            if let (None, Some(head), Self::Registered(schemas)) = (&run.head, head, &mut *self) {
                run.begin(head, schemas)?;
            }
            let read = taken.and_then(|taken| run.take(taken).map(|()| taken.len() as u32));
            match read {
                Ok(length) => run.rows.push((row, length)),
                Err(reason) => run.rejected.push(rejected(origin, row, reason)),
            }
            run.next = origin.offsets[row] + 1;
        }
        runs.into_iter().map(|run| run.into_rows(origin, matches!(self, Self::Registered(_)))).collect()
    }
}

type Names = Arc<[Box<str>]>;

/// Records that follow each other.
#[derive(Default)]
struct Run {
    /// Of lines: what their fields are called.
    names: Option<Names>,
    head: Option<Head>,
    /// Of records with that head: how they are read.
    schema: Option<Result<Arc<Schema>, Reason>>,
    columns: Option<Columns>,
    /// Those that were taken, and how much of them.
    rows: Vec<(usize, u32)>,
    rejected: Vec<Rejected>,
    /// Offset behind the last of them.
    next: u64,
}

impl Run {
    fn begin(&mut self, head: Head, schemas: &mut Schemas) -> Result<(), SourceError> {
        let found = schemas.get(&head)?.and_then(|schema| Ok((schema.fields(&head)?, schema)));
        self.columns = found.as_ref().ok().map(|(fields, _)| Columns::new(fields.clone()));
        self.schema = Some(found.map(|(_, schema)| schema));
        self.head = Some(head);
        Ok(())
    }

    fn take(&mut self, record: &[u8]) -> Result<(), Reason> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let values = schema.clone()?.read(record)?;
        match &mut self.columns {
            Some(columns) => columns.push(&values).map_err(|why| Reason::new("type", why)),
            None => Ok(()),
        }
    }

    fn into_rows(self, origin: &Origin, typed: bool) -> Result<Rows, SourceError> {
        let own = |row: &(usize, u32)| row.0;
        let columns = typed.then(|| self.columns.unwrap_or_else(|| Columns::new(vec![])).finish()).transpose();
        let columns = columns.map_err(|error| SourceError::Unreadable {
            what: origin.partition.to_string(),
            detail: format!("columns do not fit together: {error}"),
        })?;
        let headers = self.rows.iter().map(|row| origin.headers.get(row.0).map(Arc::from)).collect();
        let kept = Origin {
            partition: origin.partition.clone(),
            payload: origin.payload.clone(),
            spans: self
                .rows
                .iter()
                .map(|(row, length)| (origin.spans[*row].0, origin.spans[*row].0 + length))
                .collect(),
            texts: None,
            names: self.names,
            offsets: self.rows.iter().map(|row| origin.offsets[own(row)]).collect(),
            bytes: None,
            times: self.rows.iter().map(|row| origin.times[own(row)]).collect(),
            ingested_at: Instants::Each(self.rows.iter().map(|row| origin.ingested_at.get(own(row))).collect()),
            headers: Headers::Each(headers),
            keys: None,
        };
        Ok(Rows { origin: kept, columns, rejected: self.rejected, cursor: Value::from(self.next) })
    }
}

fn rejected(origin: &Origin, row: usize, reason: Reason) -> Rejected {
    let record = origin.bytes_of(row);
    Rejected {
        place: origin.place(row),
        time: origin.times[row],
        bytes: record[..record.len().min(DeadLetter::KEPT)].to_vec(),
        length: record.len() as u64,
        hash: content_hash(&record),
        headers: origin.headers.get(row).map(str::to_owned),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use arrow::{array::AsArray, datatypes::Int64Type};
    use serde_json::json;
    use syncline_engine::{
        log::{Log, NewFrame, memory::MemoryLog},
        source::{Cursors, Polled, Source},
    };

    use super::*;
    use crate::{
        LogSource, Retried,
        ingest::{Sent, encode},
        registered::Format,
    };

    fn publish(log: &MemoryLog, record: &[u8]) {
        let body = encode(&[record], Some("{\"k\":1}"), Sent::Open);
        log.publish("retry/p", vec![NewFrame { count: 1, time: 7, body }]).unwrap();
    }

    #[test]
    fn what_a_registry_that_is_away_cannot_tell_is_kept_until_it_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for (stream, status) in listener.incoming().zip(["503 Away", "200 OK"]) {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                assert!(lines.take_while(|line| !line.is_empty()).count() > 0);
                let body = r#"{"schema":"\"long\""}"#;
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        });
        let named = [("topic", json!("t")), ("brokers", json!("b")), ("schema_registry", json!(url))];
        let named = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let args = Args { positional: vec![], named };
        let avro = TextFormat::Registered(Format::Avro);
        let form = Form::of(&avro, "kafka", &args, &Surroundings::default()).unwrap();
        let log = Arc::new(MemoryLog::new());
        let source = LogSource::bounded(log.clone(), "in/a".to_owned(), "in/a".to_owned(), None);
        let mut source = Retried::new(Box::new(source), form, log.clone(), "p");
        source.open(&Cursors::new(), 0).unwrap();
        publish(&log, &[0, 0, 0, 0, 7, 2]);
        publish(&log, b"{}");
        let error = source.poll(0).unwrap_err();
        assert!(matches!(&error, SourceError::Again { detail, .. } if detail.contains("503")), "{error}");
        let Polled::Rows(rows) = source.poll(0).unwrap() else { panic!("two records") };
        let columns = rows.columns.expect("they are typed");
        assert_eq!(columns.column(0).as_primitive::<Int64Type>().values(), &[1]);
        let slugs: Vec<_> = rows.rejected.iter().map(|one| one.reason.slug.as_str()).collect();
        assert_eq!((slugs, rows.cursor), (vec!["not-avro"], Value::from(2)));
    }

    #[test]
    fn lines_of_csv_come_as_the_source_gives_them() {
        let log = Arc::new(MemoryLog::new());
        ["1,a", "2,b\n3,c", "4,\"d\ne\"\r\n"].iter().for_each(|record| publish(&log, record.as_bytes()));
        let mut source = LogSource::new(log, "retry/p".to_owned(), "retry/p".to_owned());
        source.open(&Cursors::new(), 0).unwrap();
        let Polled::Rows(rows) = source.poll(0).unwrap() else { panic!("three records") };
        let mut form = Form::Csv(Dialect { header: false, ..Dialect::default() });
        let read = form.read(&rows).unwrap();
        assert_eq!(read.len(), 1);
        let origin = &read[0].origin;
        let texts: Vec<_> = (0..2).map(|row| String::from_utf8(origin.bytes_of(row).into_owned()).unwrap()).collect();
        assert_eq!((texts, &origin.offsets), (vec!["1,a".to_owned(), "4,\"d\ne\"".to_owned()], &vec![0, 2]));
        let bad = &read[0].rejected[0];
        assert_eq!(
            (bad.reason.slug.as_str(), bad.place.offset, bad.bytes.as_slice()),
            ("not-csv", 1, &b"2,b\n3,c"[..])
        );
        assert_eq!((&read[0].cursor, origin.headers.get(1)), (&Value::from(3), Some("{\"k\":1}")));
    }
}
