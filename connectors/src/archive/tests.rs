//! A folder and an object store are the same archive.

use std::{fs, sync::Arc};

use arrow::array::RecordBatch;
use object_store::memory::InMemory;
use syncline_engine::archive::{
    Archive, ArchiveError, File, MANIFEST_FORMAT, Manifest, Seen,
    rows::{Columns, Row},
};
use syncline_record::Fate;

use super::{InBucket, InFolder, Missing, Shelves, open};
use crate::objects::Bucket;

fn rows(count: u64) -> RecordBatch {
    let mut columns = Columns::default();
    for offset in 0..count {
        let row = Row { step: "where", fate: Fate::Filtered, reason: "filtered", source: "a:0", offset, time: 7 };
        columns.push("orders", row);
    }
    columns.take().expect("one value each").expect("some rows")
}

fn manifest(path: &str) -> Manifest {
    let file = File { path: path.to_owned(), rows: 3, bytes: 9, from: 7, to: 7 };
    let pipeline = "orders".to_owned();
    Manifest { format: MANIFEST_FORMAT, pipeline, files: vec![file], ..Manifest::default() }
}

fn holds_what_was_written(archive: &dyn Archive) {
    assert_eq!(archive.manifest("orders"), Ok(Seen::default()));
    assert_eq!(archive.manifests(), Ok(vec![]));
    let path = "pipeline=orders/day=2026-11-22/a.parquet";
    let mut batches = vec![rows(3)].into_iter();
    let bytes = archive.write(path, &mut || Ok(batches.next())).expect("written");
    assert!(bytes > 100, "{bytes}");
    let mut read = vec![];
    let all = archive.read(path, &mut |batch| {
        read.push(batch);
        Ok(())
    });
    assert_eq!((all, read), (Ok(()), vec![rows(3)]));
    let seen = archive.replace(&manifest(path), &Seen::default()).expect("nobody else writes there");
    assert_eq!(archive.manifest("orders"), Ok(seen.clone()));
    assert_eq!(archive.manifests(), Ok(vec![manifest(path)]));
    archive.replace(&manifest("another"), &seen).expect("nobody else writes there");
    assert_eq!(archive.manifests(), Ok(vec![manifest("another")]));
    assert_eq!(archive.old("orders"), Ok(vec![]), "nobody can have left behind what is this young");
    assert_eq!((archive.remove(path), archive.remove(path)), (Ok(()), Ok(())));
    assert!(matches!(archive.read(path, &mut |_| Ok(())), Err(ArchiveError::Damaged { .. })));
}

fn in_memory() -> Shelves<InBucket> {
    Shelves(InBucket { bucket: Bucket { store: Arc::new(InMemory::new()), address: "s3://shop/".into() } })
}

#[test]
fn a_folder_holds_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    holds_what_was_written(&Shelves(InFolder { root: folder.path().to_owned() }));
}

#[test]
fn a_bucket_holds_what_was_written() {
    holds_what_was_written(&in_memory());
}

#[test]
fn who_has_not_seen_the_last_manifest_of_a_bucket_does_not_replace_it() {
    let archive = in_memory();
    let first = archive.replace(&manifest("a"), &Seen::default()).expect("nobody else writes there");
    let again = archive.replace(&manifest("b"), &Seen::default());
    assert!(matches!(again, Err(ArchiveError::Replaced { .. })), "{again:?}");
    archive.replace(&manifest("c"), &first).expect("this one has seen it");
    let late = archive.replace(&manifest("d"), &first);
    assert!(matches!(late, Err(ArchiveError::Replaced { .. })), "{late:?}");
    assert_eq!(archive.manifests(), Ok(vec![manifest("c")]));
}

#[test]
fn what_was_left_behind_is_found_when_it_is_old_and_the_manifest_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().to_owned();
    let archive = Shelves(InFolder { root: root.clone() });
    archive.replace(&manifest("a"), &Seen::default()).expect("written");
    let left = "pipeline=orders/day=2026-11-22/left.unfinished";
    let place = root.join(left);
    fs::create_dir_all(place.parent().expect("a folder")).expect("made");
    fs::write(&place, "half").expect("written");
    let long_ago = std::time::SystemTime::now() - 2 * super::OLD;
    for path in [place, root.join("pipeline=orders/manifest.json")] {
        fs::File::options().write(true).open(path).expect("there").set_modified(long_ago).expect("ours");
    }
    assert_eq!(archive.old("orders"), Ok(vec![left.to_owned()]));
}

#[test]
fn a_folder_that_is_not_there_is_made_for_who_writes_and_is_an_error_for_who_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("a/ledger");
    assert!(open(&place.to_string_lossy(), Missing::Refuse).is_err());
    assert!(!place.exists());
    assert!(open(&place.to_string_lossy(), Missing::Make).is_ok());
    assert!(place.is_dir());
}

#[test]
fn a_manifest_of_a_newer_version_or_a_broken_one_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = open(&folder.path().to_string_lossy(), Missing::Refuse).expect("a folder that is there").archive;
    let place = folder.path().join("pipeline=orders/manifest.json");
    fs::create_dir_all(place.parent().expect("a folder")).expect("made");
    fs::write(&place, r#"{"format": 99}"#).expect("written");
    assert!(matches!(archive.manifest("orders"), Err(ArchiveError::Newer { found: 99, .. })));
    fs::write(&place, "{").expect("written");
    assert!(matches!(archive.manifests(), Err(ArchiveError::Damaged { .. })));
}
