//! A bucket as a shelf: a finished part is uploaded when it is to be seen, and appears all at once.
//!
//! Until then it lies in a local folder, which a crash does not touch. A crash in the middle of an upload leaves nothing to be seen;
//! one behind it finds the object there, sees that it holds the same bytes, and is content.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use object_store::{Error, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path as Key};
use syncline_engine::sink::SinkError;

use super::{
    bucket::{Bucket, sink_error, words},
    wait::wait,
};
use crate::staged::{
    parts::{remove, trouble},
    shelf::{Shelf, Signpost, meanwhile},
};

/// Up to this size an object is put at once; a larger one in pieces of this size, which appear together.
const PIECE: usize = 16 << 20;

pub struct BucketShelf {
    bucket: Bucket,
    /// `trips/`, or nothing.
    prefix: String,
}

impl BucketShelf {
    pub fn new(bucket: Bucket, prefix: String) -> Self {
        Self { bucket, prefix }
    }

    fn key(&self, name: &str) -> Result<Key, SinkError> {
        let key = format!("{}{name}", self.prefix);
        Bucket::path(&key).map_err(|error| sink_error("write", &self.bucket.place(&key), &error))
    }

    /// Runs one request on an object; its own errors are left to who asked.
    fn ask<T: Send + 'static>(
        &self,
        operation: &str,
        name: &str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<object_store::Result<T>, SinkError> {
        let place = self.place(name);
        wait(request).map_err(|error| SinkError::Again(format!("cannot {operation} {place}: {error}")))
    }

    fn said<T>(&self, operation: &str, name: &str, answer: object_store::Result<T>) -> Result<T, SinkError> {
        answer.map_err(|error| sink_error(operation, &self.place(name), &error))
    }

    /// Whether the object holds what the file does. A download, after a crash at one certain instant.
    fn is_same(&mut self, finished: &Path, name: &str) -> Result<bool, SinkError> {
        let scratch = finished.with_extension("there.tmp");
        self.fetch(name, &scratch)?;
        let same = same_bytes(finished, &scratch).map_err(|error| trouble("compare", finished, &error))?;
        remove(&scratch)?;
        Ok(same)
    }

    /// False: something stands there already.
    fn upload(&self, finished: &Path, name: &str, replace: bool) -> Result<bool, SinkError> {
        let key = self.key(name)?;
        let size = finished.metadata().map_err(|error| trouble("read", finished, &error))?.len();
        if size > PIECE as u64 {
            return self.upload_in_pieces(finished, name, key).map(|()| true);
        }
        let bytes = std::fs::read(finished).map_err(|error| trouble("read", finished, &error))?;
        self.put_bytes(name, bytes, if replace { PutMode::Overwrite } else { PutMode::Create })
    }

    /// False: something stands there already.
    fn put_bytes(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> Result<bool, SinkError> {
        let (store, key) = (self.bucket.store.clone(), self.key(name)?);
        let put = async move {
            let payload = PutPayload::from(bytes);
            let options = PutOptions { mode, ..PutOptions::default() };
            match store.put_opts(&key, payload.clone(), options).await {
                // A server without conditions: it was looked at just before.
                Err(Error::NotImplemented { .. }) => store.put(&key, payload).await,
                answer => answer,
            }
        };
        match self.ask("write", name, put)? {
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            answer => self.said("write", name, answer).map(|_| true),
        }
    }

    /// An upload that is broken off is told to be: nobody pays for its pieces.
    fn upload_in_pieces(&self, finished: &Path, name: &str, key: Key) -> Result<(), SinkError> {
        let store = self.bucket.store.clone();
        let mut file = File::open(finished).map_err(|error| trouble("read", finished, &error))?;
        let put = async move {
            let mut upload = store.put_multipart(&key).await?;
            let sent = async {
                loop {
                    let mut piece = Vec::with_capacity(PIECE);
                    let read = (&mut file)
                        .take(PIECE as u64)
                        .read_to_end(&mut piece)
                        .map_err(|error| Error::Generic { store: "file", source: Box::new(error) })?;
                    if read == 0 {
                        return Ok(());
                    }
                    upload.put_part(PutPayload::from(piece)).await?;
                }
            };
            let sent: object_store::Result<()> = sent.await;
            match sent {
                Ok(()) => upload.complete().await.map(drop),
                Err(error) => {
                    let _ = upload.abort().await;
                    Err(error)
                }
            }
        };
        let answer = self.ask("write", name, put)?;
        self.said("write", name, answer)
    }
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

impl Signpost for BucketShelf {
    fn read(&mut self, name: &str) -> Result<Option<String>, SinkError> {
        let (store, key) = (self.bucket.store.clone(), self.key(name)?);
        match self.ask("read", name, async move { store.get(&key).await?.bytes().await })? {
            Err(Error::NotFound { .. }) => Ok(None),
            answer => self.said("read", name, answer).map(|words| Some(String::from_utf8_lossy(&words).into_owned())),
        }
    }

    fn put_first(&mut self, name: &str, words: &str, _by: &str) -> Result<bool, SinkError> {
        self.put_bytes(name, words.as_bytes().to_vec(), PutMode::Create)
    }

    fn put(&mut self, name: &str, words: &str, _by: &str) -> Result<(), SinkError> {
        self.put_bytes(name, words.as_bytes().to_vec(), PutMode::Overwrite).map(drop)
    }
}

impl Shelf for BucketShelf {
    fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn names(&mut self) -> Result<Vec<String>, SinkError> {
        let store = self.bucket.store.clone();
        let prefix = self.prefix.trim_end_matches('/').to_owned();
        let list = async move {
            let prefix = (!prefix.is_empty()).then(|| Key::parse(&prefix)).transpose()?;
            store.list_with_delimiter(prefix.as_ref()).await
        };
        let answer = self.ask("list", "", list)?;
        let listed = self.said("list", "", answer)?;
        Ok(listed.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, SinkError> {
        let (store, key) = (self.bucket.store.clone(), self.key(name)?);
        match self.ask("look at", name, async move { store.head(&key).await })? {
            Err(Error::NotFound { .. }) => Ok(None),
            answer => self.said("look at", name, answer).map(|object| Some(object.size)),
        }
    }

    fn fetch(&mut self, name: &str, scratch: &Path) -> Result<PathBuf, SinkError> {
        let (store, key) = (self.bucket.store.clone(), self.key(name)?);
        let mut file = File::create(scratch).map_err(|error| trouble("create", scratch, &error))?;
        let get = async move {
            let size = store.head(&key).await?.size;
            let mut at = 0;
            while at < size {
                let bytes = store.get_range(&key, at..(at + PIECE as u64).min(size)).await?;
                file.write_all(&bytes).map_err(|error| Error::Generic { store: "file", source: Box::new(error) })?;
                at += bytes.len() as u64;
            }
            Ok(())
        };
        let answer = self.ask("read", name, get)?;
        self.said("read", name, answer)?;
        Ok(scratch.to_owned())
    }

    fn show(&mut self, finished: &Path, name: &str, expected: Option<u64>) -> Result<(), SinkError> {
        if !finished.exists() {
            // Shown before.
            return Ok(());
        }
        let standing = self.length(name)?;
        let uploaded = standing == expected && self.upload(finished, name, expected.is_some())?;
        if uploaded || self.length(name)?.is_some() && self.is_same(finished, name)? {
            return remove(finished);
        }
        Err(meanwhile(&self.place(name)))
    }

    fn remove(&mut self, name: &str) -> Result<(), SinkError> {
        let (store, key) = (self.bucket.store.clone(), self.key(name)?);
        match self.ask("remove", name, async move { store.delete(&key).await })? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(SinkError::Never(format!("cannot remove {}: {}", self.place(name), words(&error)))),
        }
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        self.bucket.place(&format!("{}{name}", self.prefix))
    }
}
