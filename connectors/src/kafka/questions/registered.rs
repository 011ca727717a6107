//! Topics whose records name schemas of a registry, as tables: their columns are those of the newest schema of `TOPIC-value`.
//!
//! A record is read by the schema that it names, whichever that is, and meets the columns as it meets a contract in a pipeline: by name. What
//! it does not have is NULL, as all is of a record without a value; what the table does not have is left out; and what its column cannot
//! hold, or is no such record, is an error that names it. A question that wants none of these columns reads no value.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow::{array::ArrayRef, compute::interleave, datatypes::Field};
use syncline_engine::source::SourceError;
use syncline_functions::{Decoder, decode::Unknown};
use syncline_record::Reason;

use crate::registered::{
    Format, Head, Schema, Schemas,
    client::Client,
    datum::{Columns, Datum},
    head_of, newest, subject,
};

/// How many schemas a list of topics asks for at once.
const ABREAST: usize = 8;

/// What a registry says of the values of a topic.
#[derive(Clone)]
pub struct Values {
    client: Client,
    format: Format,
    pub fields: Vec<Field>,
}

impl Values {
    /// None: it has no such subject, or one of JSON, which needs no schema to be read.
    pub fn of(client: &Client, topic: &str) -> Result<Option<Self>, SourceError> {
        let found = newest(client, topic)?;
        Ok(found.map(|schema| Self { client: client.clone(), format: schema.format(), fields: schema.usual() }))
    }

    /// Those of the topics that have a subject; of one whose schema is not to be had it is only known that it has one.
    pub fn all(client: &Client, topics: &[String]) -> Result<HashMap<String, Option<Self>>, SourceError> {
        let subjects: HashSet<String> = client.subjects()?.into_iter().collect();
        let theirs: Vec<&String> = topics.iter().filter(|topic| subjects.contains(&subject(topic))).collect();
        let next = AtomicUsize::new(0);
        let ask = || {
            let mine = std::iter::from_fn(|| theirs.get(next.fetch_add(1, Ordering::Relaxed)));
            let of = |topic: &&String| match Self::of(client, topic) {
                Ok(None) => None,
                Ok(found) => Some(((*topic).clone(), found)),
                Err(_) => Some(((*topic).clone(), None)),
            };
            mine.filter_map(of).collect::<Vec<_>>()
        };
        Ok(thread::scope(|scope| {
            let asking: Vec<_> = (0..ABREAST.min(theirs.len())).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
        }))
    }

    /// For the columns at these places.
    pub fn reader(&self, wanted: &[usize]) -> Option<Reader> {
        let fields: Vec<Field> = wanted.iter().filter_map(|place| self.fields.get(*place).cloned()).collect();
        (!fields.is_empty()).then(|| Reader {
            schemas: Schemas::new(self.client.clone(), self.format),
            decoder: Decoder::new(&fields, Unknown::Ignore),
            columns: fields.len(),
            groups: vec![],
            rows: vec![],
        })
    }
}

/// A record: its partition and its offset.
pub type Place = (i32, i64);

/// Records on their way to columns.
pub struct Reader {
    schemas: Schemas,
    decoder: Decoder,
    columns: usize,
    groups: Vec<Group>,
    /// Of each row its group, and where it is among its rows.
    rows: Vec<(usize, usize)>,
}

/// Records of one schema.
struct Group {
    /// Not of those without a value.
    head: Option<Head>,
    schema: Option<Arc<Schema>>,
    columns: Columns,
    places: Vec<Place>,
}

/// Why there is no row.
pub enum Wrong {
    /// The registry.
    Away(SourceError),
    Record(Place, Reason),
}

impl Reader {
    /// Where there is no value, the row is NULL.
    pub fn put(&mut self, place: Place, value: Option<&[u8]>) -> Result<(), Wrong> {
        let bad = |reason| Wrong::Record(place, reason);
        let head = value.map(|value| head_of(value, self.schemas.format())).transpose().map_err(bad)?;
        let index = match self.groups.iter().position(|group| group.head == head) {
            Some(index) => index,
            None => {
                let (schema, fields) = match &head {
                    None => (None, vec![]),
                    Some(head) => {
                        let schema = self.schemas.get(head).map_err(Wrong::Away)?.map_err(bad)?;
                        let fields = schema.fields(head).map_err(bad)?;
                        (Some(schema), fields)
                    }
                };
                self.groups.push(Group { head, schema, columns: Columns::new(fields), places: vec![] });
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[index];
        let row: Option<Vec<Datum>> =
            value.zip(group.schema.as_ref()).map(|(value, schema)| schema.read(value)).transpose().map_err(bad)?;
        match row {
            Some(row) => group.columns.push(&row).map_err(|why| bad(Reason::new("type", why)))?,
            None => group.columns.push_nulls(),
        }
        self.rows.push((index, group.places.len()));
        group.places.push(place);
        Ok(())
    }

    /// The columns of the rows since the last time, in their order.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, Wrong> {
        let unfit = |error: arrow::error::ArrowError| {
            Wrong::Away(SourceError::Unreadable { what: "columns".to_owned(), detail: error.to_string() })
        };
        let mut taken: Vec<Vec<ArrayRef>> = vec![];
        for group in std::mem::take(&mut self.groups) {
            let decoded = self.decoder.take(&group.columns.finish().map_err(unfit)?);
            if let Some((row, reason)) = decoded.bad.into_iter().next() {
                return Err(Wrong::Record(group.places[row as usize], reason));
            }
            taken.push(decoded.columns);
        }
        let rows = std::mem::take(&mut self.rows);
        let column = |index: usize| {
            let parts: Vec<_> = taken.iter().map(|columns| columns[index].as_ref()).collect();
            interleave(&parts, &rows).map_err(unfit)
        };
        (0..self.columns).map(column).collect()
    }
}
