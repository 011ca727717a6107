//! A folder and an object store are the same archive.

use std::{fs, sync::Arc};

use arrow::array::{Array, RecordBatch};
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use syncline_engine::{
    archive::{
        Archive, ArchiveError, File, MANIFEST_FORMAT, Manifest, Seen,
        rows::{ALWAYS, Columns, Row},
    },
    ledger::When,
    operator::LedgerKey,
};
use syncline_record::Fate;

use super::{InBucket, InFolder, Missing, Shelves, open};
use crate::objects::Bucket;

fn rows(count: u64) -> RecordBatch {
    let mut columns = Columns::default();
    for offset in 0..count {
        let (step, fate, reason, source) = ("where", Fate::Filtered, "filtered", "a:0");
        let (when, text) = (Some(When { run: 2, epoch: offset }), offset.to_string());
        let key = LedgerKey { text: Some(&text), fingerprint: offset.into() };
        let row = Row { step, fate, reason, source, offset, time: 7, when, key: Some(key) };
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

/// As the first version wrote files: what they do not say is NULL.
#[test]
fn a_file_without_the_later_columns_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Shelves(InFolder { root: folder.path().to_owned() });
    let old = rows(3).project(&(0..ALWAYS).collect::<Vec<_>>()).expect("the first columns");
    let mut writer = ArrowWriter::try_new(vec![], old.schema(), None).expect("a writer");
    writer.write(&old).expect("written");
    fs::write(folder.path().join("old.parquet"), writer.into_inner().expect("written")).expect("written");
    let mut read = vec![];
    let all = archive.read("old.parquet", &mut |batch| {
        read.push(batch);
        Ok(())
    });
    assert_eq!(all, Ok(()));
    assert_eq!(read[0].project(&(0..ALWAYS).collect::<Vec<_>>()).expect("the first columns"), old);
    assert!(read[0].columns()[ALWAYS..].iter().all(|column| column.null_count() == 3));
    // What is none of a ledger is said.
    let mut writer = ArrowWriter::try_new(vec![], old.project(&[0]).expect("one").schema(), None).expect("a writer");
    writer.write(&old.project(&[0]).expect("one")).expect("written");
    fs::write(folder.path().join("other.parquet"), writer.into_inner().expect("written")).expect("written");
    let said = archive.read("other.parquet", &mut |_| Ok(()));
    assert!(matches!(&said, Err(ArchiveError::Damaged { detail, .. }) if detail.contains("`step`")), "{said:?}");
}

#[test]
fn a_bucket_holds_what_was_written() {
    holds_what_was_written(&in_memory());
}

fn only_who_has_seen_the_last_manifest_replaces_it(archive: &dyn Archive) {
    let first = archive.replace(&manifest("a"), &Seen::default()).expect("nobody else writes there");
    let again = archive.replace(&manifest("b"), &Seen::default());
    assert!(matches!(again, Err(ArchiveError::Replaced { .. })), "{again:?}");
    archive.replace(&manifest("c"), &first).expect("this one has seen it");
    let late = archive.replace(&manifest("d"), &first);
    assert!(matches!(late, Err(ArchiveError::Replaced { .. })), "{late:?}");
    assert_eq!(archive.manifests(), Ok(vec![manifest("c")]));
}

#[test]
fn who_has_not_seen_the_last_manifest_of_a_bucket_does_not_replace_it() {
    only_who_has_seen_the_last_manifest_replaces_it(&in_memory());
}

/// Two machines that share a disk each took the other's manifest away, and rows that were in no topic any more with it.
#[test]
fn who_has_not_seen_the_last_manifest_of_a_folder_does_not_replace_it() {
    let folder = tempfile::tempdir().expect("a folder");
    only_who_has_seen_the_last_manifest_replaces_it(&Shelves(InFolder { root: folder.path().to_owned() }));
}

/// `cp -r pipeline=orders pipeline=orders.bak` made each row of the ledger two.
#[test]
fn a_copy_of_a_pipelines_folder_counts_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = Shelves(InFolder { root: folder.path().to_owned() });
    archive.replace(&manifest("a"), &Seen::default()).expect("written");
    let copy = folder.path().join("pipeline=orders.bak");
    fs::create_dir(&copy).expect("made");
    fs::copy(folder.path().join("pipeline=orders/manifest.json"), copy.join("manifest.json")).expect("copied");
    assert_eq!(archive.manifests(), Ok(vec![manifest("a")]));
}

/// A disk that was not there was an empty ledger: to who asked, and to who moved rows into it.
#[test]
fn a_folder_that_is_away_is_an_error_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("mounted/ledger");
    let archive = open(&place.to_string_lossy(), Missing::Away).expect("it may come back").archive;
    assert!(matches!(archive.manifest("orders"), Err(ArchiveError::Failed { operation: "read", .. })));
    assert!(matches!(archive.manifests(), Err(ArchiveError::Failed { operation: "list", .. })));
    assert!(!place.exists());
    fs::create_dir_all(&place).expect("made");
    assert_eq!((archive.manifest("orders"), archive.manifests()), (Ok(Seen::default()), Ok(vec![])));
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
