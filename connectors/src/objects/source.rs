//! Reads objects of a bucket: one, or those that a pattern means; a batch that ends, or one that goes on as objects come.
//!
//! Every object is a partition, named by its address. An object is written once, as a whole: what has another tag under the same name
//! is another object, and reading does not go on in it. Everything else is as with files.

use std::time::Duration;

use glob::Pattern;
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use syncline_engine::source::{Cursors, Polled, Progress, Source, SourceError};
use syncline_record::{Micros, Partition};

use super::{
    bucket::{Bucket, source_error},
    stream::{Reading as Packed, Stream},
    wait::wait,
};
use crate::{
    cursor_of,
    file::{Reading, pattern},
    records::{Input, Packing, Reader, Unpacked, rows},
    spec::{Arguments, ConnectorError},
    written_once::{Known, Version},
};

/// How often a followed pattern is looked at for new objects: a listing costs money and a round trip.
const LOOK_EVERY: Micros = 10_000_000;

/// How long a poll of a batch waits at most where nothing has come yet: the thread would wait anyway.
const A_MOMENT: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    key: String,
    /// What tells this object from another of its name.
    tag: Option<String>,
    size: u64,
    /// The one instant that the rows of this object have as their time.
    time: Micros,
    #[serde(flatten)]
    at: rows::At,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packing: Option<Packing>,
    /// All of it was given.
    #[serde(default)]
    ended: bool,
}

pub struct ObjectSource {
    bucket: Bucket,
    /// What was written behind the bucket.
    wanted: String,
    reading: Reading,
    objects: Vec<Tail>,
    turn: usize,
    looked: Micros,
    skipped: u64,
}

struct Tail {
    cursor: Cursor,
    reader: Option<Reader>,
    taken: u64,
}

impl ObjectSource {
    pub fn new(address: &str, arguments: &Arguments, reading: Reading) -> Result<Self, ConnectorError> {
        let (bucket, wanted) = Bucket::of(address, arguments)?;
        pattern(&wanted)?;
        Ok(Self::over(bucket, wanted, reading))
    }

    pub(super) fn over(bucket: Bucket, wanted: String, reading: Reading) -> Self {
        Self { bucket, wanted, reading, objects: Vec::new(), turn: 0, looked: 0, skipped: 0 }
    }

    fn place(&self) -> String {
        self.bucket.place(&self.wanted)
    }

    fn found(&self) -> Result<Vec<ObjectMeta>, SourceError> {
        found(&self.bucket, &self.wanted)
    }

    /// Adds the objects that are new, and sees that those which were begun are what they were.
    fn look(&mut self, now: Micros) -> Result<(), SourceError> {
        self.looked = now;
        let found = self.found()?;
        for tail in &self.objects {
            let there = found.iter().find(|object| object.location.as_ref() == tail.cursor.key);
            let there = there.map(|object| (tag(object), object.size));
            let there = there.as_ref().map(|(tag, size)| Version { tag: tag.as_deref(), size: *size });
            tail.cursor.known(&self.bucket).still(there)?;
        }
        for object in found {
            let key = object.location.to_string();
            if self.objects.iter().any(|tail| tail.cursor.key == key) {
                continue;
            }
            let packing = self.reading.packing.unwrap_or_else(|| Packing::of_name(&key));
            let cursor = Cursor {
                key,
                tag: tag(&object),
                size: object.size,
                time: now,
                at: rows::At::default(),
                packing,
                ended: object.size == 0,
            };
            self.objects.push(Tail { cursor, reader: None, taken: 0 });
        }
        self.objects.sort_by(|one, other| one.cursor.key.cmp(&other.cursor.key));
        Ok(())
    }
}

/// Whether the object at this address is one of those that are read now.
pub(crate) fn means(bucket: &Bucket, wanted: &str, place: &str) -> bool {
    let pattern = Pattern::new(wanted);
    let key = place.strip_prefix(&bucket.address);
    key.is_some_and(|key| key == wanted || pattern.is_ok_and(|pattern| pattern.matches_with(key, crate::file::OPTIONS)))
}

/// The objects that are meant, by key.
pub(crate) fn found(bucket: &Bucket, wanted: &str) -> Result<Vec<ObjectMeta>, SourceError> {
    let place = bucket.place(wanted);
    let unreadable = |detail: String| SourceError::Unreadable { what: place.clone(), detail };
    let again = |error: std::io::Error| SourceError::Again { what: place.clone(), detail: error.to_string() };
    if wanted.is_empty() || wanted.ends_with('/') {
        return Err(unreadable(format!("is a folder; `{place}*.ndjson` would read the objects in it")));
    }
    let store = bucket.store.clone();
    let Some(special) = wanted.find(['*', '?', '[']) else {
        let key = Path::parse(wanted).map_err(|error| unreadable(error.to_string()))?;
        let answer = wait(async move { store.head(&key).await }).map_err(again)?;
        return answer.map(|object| vec![object]).map_err(|error| source_error(&place, &error));
    };
    // Everything below the last folder before the first special character.
    let folder = wanted[..special].rfind('/').map_or("", |end| &wanted[..end]);
    let prefix = (!folder.is_empty()).then(|| Path::parse(folder)).transpose();
    let prefix = prefix.map_err(|error| unreadable(error.to_string()))?;
    let listed = wait(async move { list(&*store, prefix.as_ref()).await }).map_err(again)?;
    let mut found = listed.map_err(|error| source_error(&place, &error))?;
    let pattern = Pattern::new(wanted).map_err(|error| unreadable(error.msg.to_owned()))?;
    found.retain(|object| pattern.matches_with(object.location.as_ref(), crate::file::OPTIONS));
    found.sort_by(|one, other| one.location.cmp(&other.location));
    Ok(found)
}

/// All objects below a prefix. The stream of the store is read to its end: memory of a few hundred bytes an object.
pub(super) async fn list(
    store: &dyn object_store::ObjectStore,
    prefix: Option<&Path>,
) -> object_store::Result<Vec<ObjectMeta>> {
    use futures_util::TryStreamExt;
    store.list(prefix).try_collect().await
}

/// What tells an object from another of its name.
pub(crate) fn tag(object: &ObjectMeta) -> Option<String> {
    object.e_tag.clone().or_else(|| Some(object.last_modified.timestamp_micros().to_string()))
}

impl Cursor {
    fn known(&self, bucket: &Bucket) -> Known<'_> {
        let version = Version { tag: self.tag.as_deref(), size: self.size };
        Known { place: bucket.place(&self.key), noun: "object", version, ended: self.ended }
    }
}

impl Source for ObjectSource {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        (self.objects, self.turn) = (Vec::new(), 0);
        for (partition, value) in cursors {
            if means(&self.bucket, &self.wanted, partition) {
                let cursor: Cursor = cursor_of(partition, value)?;
                self.objects.push(Tail { cursor, reader: None, taken: 0 });
            }
        }
        self.look(now)?;
        if self.objects.is_empty() && !self.reading.follow {
            let detail = "no object matches".to_owned();
            return Err(SourceError::Unreadable { what: self.place(), detail });
        }
        self.skipped = self.objects.iter().map(Tail::done).sum();
        Ok(())
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        if self.reading.follow && (now - self.looked).abs() >= LOOK_EVERY {
            self.look(now)?;
            self.turn = 0;
        }
        while let Some(tail) = self.objects.get_mut(self.turn) {
            match tail.take(&self.bucket, &self.reading)? {
                Some(polled) => return Ok(polled),
                None => {
                    (tail.reader, tail.cursor.ended) = (None, true);
                    self.turn += 1;
                }
            }
        }
        Ok(if self.reading.follow { Polled::Idle } else { Polled::Ended })
    }

    fn bounded(&self) -> bool {
        !self.reading.follow
    }

    fn progress(&self) -> Progress {
        let total = self.objects.iter().map(|tail| tail.cursor.size).sum();
        let done = self.objects.iter().map(Tail::done).sum();
        Progress { done, total: (!self.reading.follow).then_some(total), skipped: self.skipped, ..Progress::default() }
    }

    fn partitions(&self) -> Vec<Partition> {
        let open = self.objects.iter().filter(|tail| !tail.cursor.ended);
        open.map(|tail| Partition::new(self.bucket.place(&tail.cursor.key), 0)).collect()
    }
}

impl Tail {
    fn done(&self) -> u64 {
        match (self.cursor.ended, self.cursor.packing) {
            (true, _) => self.cursor.size,
            (false, None) => self.cursor.at.offset,
            (false, Some(_)) => self.taken,
        }
    }

    /// The next rows; None when there are none any more.
    fn take(&mut self, bucket: &Bucket, reading: &Reading) -> Result<Option<Polled>, SourceError> {
        if self.cursor.ended {
            return Ok(None);
        }
        let place = bucket.place(&self.cursor.key);
        let reader =
            self.reader.get_or_insert_with(|| Reader::new(input(&self.cursor, bucket), reading.format.clone(), false));
        match rows::take(reader, &mut self.cursor.at, &place, self.cursor.time) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(A_MOMENT);
                Ok(Some(Polled::Idle))
            }
            Err(error) => Err(rows::trouble(&place, &error)),
            Ok(rows::Taken::Underway) => Ok(Some(Polled::Idle)),
            Ok(rows::Taken::Nothing) => Ok(None),
            Ok(rows::Taken::Rows(mut rows, last)) => {
                self.taken = reader.taken(self.cursor.at.offset);
                self.cursor.ended = last;
                rows.cursor = serde_json::to_value(&self.cursor).unwrap_or_default();
                Ok(Some(Polled::Rows(*rows)))
            }
        }
    }
}

fn input(cursor: &Cursor, bucket: &Bucket) -> Box<dyn Input> {
    let key = Path::from(cursor.key.as_str());
    let (bucket, size, tag) = (bucket.clone(), cursor.size, cursor.tag.clone().filter(|tag| tag.starts_with('"')));
    let stream = move || Stream::new(bucket.clone(), key.clone(), size, tag.clone());
    match cursor.packing {
        None => Box::new(stream()),
        Some(packing) => Box::new(Unpacked::new(packing, Box::new(move || Ok(Box::new(Packed::new(stream())))))),
    }
}
