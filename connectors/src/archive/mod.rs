//! Where the ledger's files lie: a folder, or an object store by its address, in Parquet.
//!
//! A file is durable when its writing returns, and has its name from then on; so is a manifest. In an object store who replaces a
//! manifest says which one he has seen, and in a folder too, so two processes that share a place never write the same rows.

mod bucket;
mod folder;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::{ObjectStore, local::LocalFileSystem, path::Path, prefix::PrefixStore};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};
use syncline_engine::archive::{
    Archive, ArchiveError, MANIFEST_FORMAT, Manifest, NextRows, Seen, folder_of,
    rows::{schema, widened},
};

use crate::{
    objects::{Bucket, is_address},
    spec::{Args, Arguments, ConnectorError},
};
use bucket::InBucket;
use folder::{InFolder, LOCK};

const MANIFEST: &str = "manifest.json";
const ENDING: &str = "parquet";
/// Rows that are read or left out together: a file of a million has eight such parts for as many cores.
const GROUP: usize = 128 << 10;
/// A file that no manifest names after this long was left behind: no writer takes longer from a file to its manifest.
const OLD: Duration = Duration::from_secs(3600);

/// Whole objects by their keys.
trait Shelf: Send + Sync {
    /// The bytes, and the store's word for the version where it has one; `None` where there is no such object.
    fn get(&self, key: &str) -> Result<Option<(Bytes, Option<String>)>, ArchiveError>;

    /// Durable when it returns. `Expect`: what has to be there before.
    fn put(&self, key: &str, bytes: Bytes, expect: Expect<'_>) -> Result<Option<String>, ArchiveError>;

    fn remove(&self, key: &str) -> Result<(), ArchiveError>;

    /// Keys below a prefix, those of hidden and unfinished ones too, and for how long they have been there.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Duration)>, ArchiveError>;

    /// Names of folders at the root.
    fn folders(&self) -> Result<Vec<String>, ArchiveError>;

    /// What errors call a key.
    fn place(&self, key: &str) -> String;
}

#[derive(Clone, Copy)]
enum Expect<'a> {
    Anything,
    Nothing,
    Version(&'a str),
}

/// An archive, and how others read it.
#[derive(Clone)]
pub struct Ledger {
    pub archive: Arc<dyn Archive>,
    pub objects: Arc<dyn ObjectStore>,
    /// What people call the place.
    pub place: String,
}

/// Whether a folder that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Make,
    /// It is an error: whoever reads it named another place than he meant.
    Refuse,
    /// It was there, and is away: every use of it is an error until it is back. One that is made in its place would be without a ledger.
    Away,
}

/// Opens `s3://bucket/prefix` and what else has an address, or a folder. Nothing is asked of an object store yet.
pub fn open(place: &str, missing: Missing) -> Result<Ledger, ConnectorError> {
    if is_address(place) {
        let none = Args::default();
        let (bucket, prefix) = Bucket::of(place, &Arguments::of("ledger", &[], &none)?)?;
        let prefix = prefix.trim_matches('/').to_owned();
        let objects: Arc<dyn ObjectStore> = if prefix.is_empty() {
            bucket.store.clone()
        } else {
            Arc::new(PrefixStore::new(bucket.store.clone(), prefix.as_str()))
        };
        let shelf = InBucket { bucket: Bucket { store: objects.clone(), address: address_of(&bucket, &prefix) } };
        return Ok(Ledger { archive: Arc::new(Shelves(shelf)), objects, place: place.to_owned() });
    }
    let wrong = |error: &dyn std::fmt::Display| ConnectorError::NotAnAddress {
        address: place.to_owned(),
        detail: format!("it is no folder that can be used: {error}"),
    };
    let root = PathBuf::from(place);
    if missing == Missing::Make {
        std::fs::create_dir_all(&root).map_err(|error| wrong(&crate::system_words(&error)))?;
    }
    let objects: Arc<dyn ObjectStore> = match root.is_dir() {
        true => Arc::new(LocalFileSystem::new_with_prefix(&root).map_err(|error| wrong(&error))?),
        false if missing == Missing::Away => {
            let prefix = Path::from_absolute_path(&root).map_err(|error| wrong(&error))?;
            Arc::new(PrefixStore::new(LocalFileSystem::new(), prefix))
        }
        false => return Err(wrong(&"there is none")),
    };
    let archive = Arc::new(Shelves(InFolder { root }));
    Ok(Ledger { archive, objects, place: place.to_owned() })
}

fn address_of(bucket: &Bucket, prefix: &str) -> String {
    if prefix.is_empty() { bucket.address.clone() } else { format!("{}{prefix}/", bucket.address) }
}

struct Shelves<S>(S);

impl<S: Shelf> Shelves<S> {
    fn seen(&self, folder: &str) -> Result<Option<Seen>, ArchiveError> {
        let key = format!("{folder}/{MANIFEST}");
        let Some((bytes, version)) = self.0.get(&key)? else { return Ok(None) };
        let damaged =
            |error: serde_json::Error| ArchiveError::Damaged { place: self.0.place(&key), detail: error.to_string() };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default() as u32;
        if found > MANIFEST_FORMAT {
            return Err(ArchiveError::Newer { place: self.0.place(&key), found });
        }
        let manifest = serde_json::from_value(value).map_err(damaged)?;
        Ok(Some(Seen { manifest, version }))
    }

    fn failed<'a>(&'a self, operation: &'static str, path: &'a str) -> impl Fn(ParquetError) -> ArchiveError + 'a {
        move |error| ArchiveError::Failed { operation, place: self.0.place(path), detail: error.to_string() }
    }
}

impl<S: Shelf> Archive for Shelves<S> {
    fn manifest(&self, pipeline: &str) -> Result<Seen, ArchiveError> {
        Ok(self.seen(&folder_of(pipeline))?.unwrap_or_default())
    }

    fn manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        let folders = self.0.folders()?;
        let folders = folders.iter().filter(|folder| folder.starts_with("pipeline="));
        let mut all = vec![];
        for folder in folders {
            let Some(Seen { manifest, .. }) = self.seen(folder)? else { continue };
            // A folder that somebody copied names the files of the first: they count there, once.
            if folder_of(&manifest.pipeline) == *folder {
                all.push(manifest);
            }
        }
        Ok(all)
    }

    fn write(&self, path: &str, rows: &mut NextRows<'_>) -> Result<u64, ArchiveError> {
        let failed = self.failed("write", path);
        let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties())).map_err(&failed)?;
        while let Some(batch) = rows()? {
            writer.write(&batch).map_err(&failed)?;
        }
        let bytes = Bytes::from(writer.into_inner().map_err(&failed)?);
        let length = bytes.len() as u64;
        self.0.put(path, bytes, Expect::Anything)?;
        Ok(length)
    }

    fn read(
        &self,
        path: &str,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let missing = || ArchiveError::Damaged {
            place: self.0.place(path),
            detail: "the manifest names it, and it is not there".to_owned(),
        };
        let (bytes, _) = self.0.get(path)?.ok_or_else(missing)?;
        let failed = self.failed("read", path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(&failed)?;
        let damaged = |detail| ArchiveError::Damaged { place: self.0.place(path), detail };
        for batch in reader.build().map_err(&failed)? {
            let batch = batch.map_err(|error| failed(error.into()))?;
            each(widened(&batch).map_err(damaged)?)?;
        }
        Ok(())
    }

    fn replace(&self, manifest: &Manifest, seen: &Seen) -> Result<Seen, ArchiveError> {
        let key = format!("{}/{MANIFEST}", folder_of(&manifest.pipeline));
        let expect = match &seen.version {
            Some(version) => Expect::Version(version),
            // Read from where versions have no names, or there was none.
            None if seen.manifest.pipeline.is_empty() => Expect::Nothing,
            None => Expect::Anything,
        };
        // Records of plain fields always serialise.
        let bytes = serde_json::to_vec(manifest).unwrap_or_default();
        let version = self.0.put(&key, bytes.into(), expect)?;
        Ok(Seen { manifest: manifest.clone(), version })
    }

    fn remove(&self, path: &str) -> Result<(), ArchiveError> {
        self.0.remove(path)
    }

    fn old(&self, pipeline: &str) -> Result<Vec<String>, ArchiveError> {
        let mut found = self.0.list(&folder_of(pipeline))?;
        let lock = format!(".{LOCK}");
        found.retain(|(key, age)| *age > OLD && !key.ends_with(MANIFEST) && !key.ends_with(&lock));
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    fn ending(&self) -> &'static str {
        ENDING
    }
}

/// Texts repeat, so dictionaries; statistics by page, so that a question about a few minutes reads a few pages.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP))
        .set_statistics_enabled(EnabledStatistics::Page)
        .build()
}
