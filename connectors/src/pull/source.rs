//! Reads what an address gives, record by record.
//!
//! The answer is put into a file first, and read from there: what a server sends a second time may be something else. Each content is a
//! partition: the address, and its next generations when it gives something new (`https://…/prices.csv#1`). A start asks only for what is
//! newer than the last; one that goes on in the middle needs the very same content.

use std::{fs::File, sync::Arc};

use serde::{Deserialize, Serialize};
use syncline_engine::source::{Cursors, Polled, Progress, Source, SourceError};
use syncline_record::{Micros, Partition};

use super::fetch::{Answer, Content, Version, Wanted, holds};
use crate::{
    cursor_of,
    file::{Reading, packing},
    records::{Input, Packing, Plain, Reader, Unpacked, rows},
    spec::{Arguments, ConnectorError, Surroundings},
    system_words,
};

/// More than this comes only when it was asked for: a mistaken address may never end.
const MOST: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    place: String,
    /// Contents that the address gave before.
    generation: u32,
    #[serde(flatten)]
    version: Version,
    size: u64,
    hash: String,
    /// The one instant that the rows of this content have as their time.
    time: Micros,
    #[serde(flatten)]
    at: rows::At,
    packing: Option<Packing>,
    #[serde(default)]
    ended: bool,
}

pub struct PullSource {
    wanted: Wanted,
    reading: Reading,
    packing: Option<Packing>,
    /// What is read; nothing, when there is nothing new.
    content: Option<(Cursor, Option<Reader>)>,
    skipped: u64,
}

impl PullSource {
    pub fn new(arguments: &Arguments, around: &Surroundings, reading: Reading) -> Result<Self, ConnectorError> {
        let written = arguments.text("url");
        let wrong = |detail: String| ConnectorError::NotAnAddress { address: without_query(written), detail };
        let url = reqwest::Url::parse(written).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it begins with neither http:// nor https://".to_owned()));
        }
        let packing = packing(arguments).unwrap_or_else(|| Packing::of_name(url.path()));
        let staging = match around.staging.as_os_str().is_empty() {
            true => std::env::temp_dir().join("syncline"),
            false => around.staging.clone(),
        };
        let name = syncline_record::keys::hex128(syncline_record::keys::content_hash(url.as_str().as_bytes()));
        let file = staging.join(format!("got-{}", &name[..16]));
        let most = arguments.size("max_size").unwrap_or(MOST);
        let token = arguments.secret("token").map(str::to_owned);
        let trusted = Some(arguments.text("ca")).filter(|ca| !ca.is_empty()).map(|ca| around.path(ca));
        let wanted = Wanted { url, token, trusted, most, file };
        Ok(Self { wanted, reading, packing, content: None, skipped: 0 })
    }

    /// The last content that was taken.
    fn last(&self, cursors: &Cursors) -> Result<Option<Cursor>, SourceError> {
        let (place, mut last) = (self.wanted.place(), None::<Cursor>);
        for (partition, value) in cursors {
            // What another address gave waits until that one is asked again.
            let Some(behind) = partition.strip_prefix(&place) else { continue };
            if !behind.is_empty() && !behind.starts_with('#') {
                continue;
            }
            let cursor: Cursor = cursor_of(partition, value)?;
            if last.as_ref().is_none_or(|last| cursor.generation > last.generation) {
                last = Some(cursor);
            }
        }
        Ok(last)
    }

    fn begin(&self, content: Content, generation: u32, now: Micros) -> Cursor {
        let Content { version, size, hash } = content;
        let (place, at, packing) = (self.wanted.place(), rows::At::default(), self.packing);
        Cursor { place, generation, version, size, hash, time: now, at, packing, ended: size == 0 }
    }

    /// What is to be read now.
    fn next(&self, last: Option<Cursor>, now: Micros) -> Result<Option<Cursor>, SourceError> {
        let Some(last) = last else {
            return match self.wanted.fetch(None)? {
                Answer::New(content) => Ok(Some(self.begin(content, 0, now))),
                Answer::Same => Ok(None),
            };
        };
        if !last.ended && holds(&self.wanted.file, last.size, &last.hash) {
            return Ok(Some(last));
        }
        let known = last.ended.then_some(&last.version);
        match self.wanted.fetch(known)? {
            Answer::Same => Ok(None),
            Answer::New(content) if content.hash == last.hash => Ok((!last.ended).then_some(last)),
            Answer::New(content) if last.ended => Ok(Some(self.begin(content, last.generation + 1, now))),
            Answer::New(_) => Err(SourceError::Changed {
                what: last.place,
                detail: "gives something else now, and what it gave before was not read to its end; run with --fresh"
                    .to_owned(),
            }),
        }
    }
}

impl Cursor {
    fn partition(&self) -> String {
        match self.generation {
            0 => self.place.clone(),
            generation => format!("{}#{generation}", self.place),
        }
    }
}

/// An address may hold a key behind its question mark.
fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or(url).to_owned()
}

impl Source for PullSource {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        let last = self.last(cursors)?;
        self.skipped = last.as_ref().filter(|last| last.ended).map_or(0, |last| last.size);
        self.content = self.next(last, now)?.map(|cursor| (cursor, None));
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        let Some((cursor, reader)) = self.content.as_mut().filter(|(cursor, _)| !cursor.ended) else {
            return Ok(Polled::Ended);
        };
        let reader = match reader {
            Some(reader) => reader,
            none => {
                let path = self.wanted.file.clone();
                let opened = File::open(&path).map_err(|error| self.wanted.unreadable(system_words(&error)))?;
                let input: Box<dyn Input> = match cursor.packing {
                    None => Box::new(Plain(Arc::new(opened))),
                    Some(packing) => {
                        Box::new(Unpacked::new(packing, Box::new(move || Ok(Box::new(File::open(&path)?)))))
                    }
                };
                none.insert(Reader::new(input, self.reading.format.clone(), false))
            }
        };
        let partition = cursor.partition();
        match rows::take(reader, &mut cursor.at, &partition, cursor.time) {
            Err(error) => Err(rows::trouble(&partition, &error)),
            Ok(rows::Taken::Underway) => Ok(Polled::Idle),
            Ok(rows::Taken::Nothing) => {
                cursor.ended = true;
                Ok(Polled::Ended)
            }
            Ok(rows::Taken::Rows(mut rows, last)) => {
                cursor.ended = last;
                rows.cursor = serde_json::to_value(&*cursor).unwrap_or_default();
                Ok(Polled::Rows(*rows))
            }
        }
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.content.as_ref().map_or((0, 0), |(cursor, reader)| {
            let done = reader.as_ref().map_or(0, |reader| reader.taken(cursor.at.offset));
            (if cursor.ended { cursor.size } else { done }, cursor.size)
        });
        Progress {
            done: done + self.skipped,
            total: Some(total + self.skipped),
            skipped: self.skipped,
            ..Progress::default()
        }
    }

    fn partitions(&self) -> Vec<Partition> {
        let open = self.content.iter().filter(|(cursor, _)| !cursor.ended);
        open.map(|(cursor, _)| Partition::new(cursor.partition(), 0)).collect()
    }
}
