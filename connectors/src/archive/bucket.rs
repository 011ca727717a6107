//! Objects of an object store. Nothing is retried here: who moves a ledger comes again with his next turn.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use syncline_engine::archive::ArchiveError;

use super::{Expect, Shelf};
use crate::objects::{Bucket, wait::wait, words};

pub struct InBucket {
    pub bucket: Bucket,
}

impl InBucket {
    fn ask<T: Send + 'static>(
        &self,
        (operation, key): (&'static str, &str),
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Result<T, Error>, ArchiveError> {
        let detail = |error: io::Error| error.to_string();
        wait(request).map_err(|error| ArchiveError::Failed { operation, place: self.place(key), detail: detail(error) })
    }

    fn failed(&self, operation: &'static str, key: &str, error: &Error) -> ArchiveError {
        ArchiveError::Failed { operation, place: self.place(key), detail: words(error) }
    }
}

/// What a store calls a version: some by a tag, some by a number, some by both.
fn version_of(tag: Option<String>, number: Option<String>) -> Option<String> {
    let some = tag.is_some() || number.is_some();
    some.then(|| format!("{}\n{}", tag.unwrap_or_default(), number.unwrap_or_default()))
}

fn update_of(version: &str) -> UpdateVersion {
    let (tag, number) = version.split_once('\n').unwrap_or((version, ""));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpdateVersion { e_tag: some(tag), version: some(number) }
}

impl Shelf for InBucket {
    fn get(&self, key: &str) -> Result<Option<(Bytes, Option<String>)>, ArchiveError> {
        let store = self.bucket.store.clone();
        let path = Bucket::path(key).map_err(|error| self.failed("read", key, &error))?;
        let got = self.ask(("read", key), async move {
            let got = store.get(&path).await?;
            let version = version_of(got.meta.e_tag.clone(), got.meta.version.clone());
            Ok((got.bytes().await?, version))
        })?;
        match got {
            Ok(got) => Ok(Some(got)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", key, &error)),
        }
    }

    fn put(&self, key: &str, bytes: Bytes, expect: Expect<'_>) -> Result<Option<String>, ArchiveError> {
        let store = self.bucket.store.clone();
        let path = Bucket::path(key).map_err(|error| self.failed("write", key, &error))?;
        let mode = match expect {
            Expect::Anything => PutMode::Overwrite,
            Expect::Nothing => PutMode::Create,
            Expect::Version(seen) => PutMode::Update(update_of(seen)),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.ask(("write", key), async move { store.put_opts(&path, bytes.into(), options).await })?;
        match put {
            Ok(put) => Ok(version_of(put.e_tag, put.version)),
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => {
                Err(ArchiveError::Replaced { place: self.place(key) })
            }
            Err(error) => Err(self.failed("write", key, &error)),
        }
    }

    fn remove(&self, key: &str) -> Result<(), ArchiveError> {
        let store = self.bucket.store.clone();
        let path = Bucket::path(key).map_err(|error| self.failed("remove", key, &error))?;
        match self.ask(("remove", key), async move { store.delete(&path).await })? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", key, &error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Duration)>, ArchiveError> {
        let store = self.bucket.store.clone();
        let path = Bucket::path(prefix).map_err(|error| self.failed("list", prefix, &error))?;
        let found = self.ask(("list", prefix), async move { store.list(Some(&path)).try_collect::<Vec<_>>().await })?;
        let now = std::time::SystemTime::now();
        let found = found.map_err(|error| self.failed("list", prefix, &error))?.into_iter();
        let age = |written: std::time::SystemTime| now.duration_since(written).unwrap_or_default();
        Ok(found.map(|object| (object.location.to_string(), age(object.last_modified.into()))).collect())
    }

    fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        let store = self.bucket.store.clone();
        let found = self.ask(("list", ""), async move { store.list_with_delimiter(None).await })?;
        let found = found.map_err(|error| self.failed("list", "", &error))?;
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    fn place(&self, key: &str) -> String {
        self.bucket.place(key)
    }
}
