//! Buckets in memory: the suites that every source and staged sink passes, and what is only so with objects.

use std::sync::{Arc, Mutex};

use object_store::{ObjectStoreExt, PutPayload, memory::InMemory, path::Path};
use syncline_engine::{
    sink::{Cut, Owner, SinkError, StagedSink},
    source::{Cursors, Polled, Source, SourceError},
};
use tempfile::TempDir;

use super::{Bucket, BucketShelf, ObjectSource, wait::wait};
use crate::{
    conformance::{
        rows::{batch, numbered, numbered_schema},
        sink::{self, Outside},
        source::check,
    },
    file::{Reading, text_parts},
    records::Packing,
    spec::{Args, ConnectorError},
    staged::{
        Names, Staged, Target,
        parts::{Full, PartNames, hidden_name},
    },
};

fn bucket() -> Bucket {
    Bucket { store: Arc::new(InMemory::new()), address: "s3://shop/".into() }
}

impl Bucket {
    fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let (store, key, bytes) = (self.store.clone(), Path::from(key), PutPayload::from(bytes.into()));
        wait(async move { store.put(&key, bytes).await }).unwrap().unwrap();
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let (store, key) = (self.store.clone(), Path::from(key));
        wait(async move { store.get(&key).await?.bytes().await }).unwrap().unwrap().to_vec()
    }

    /// Every object, but not who signed them.
    fn keys(&self) -> Vec<String> {
        let store = self.store.clone();
        let mut keys: Vec<String> = wait(async move { super::source::list(&*store, None).await })
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|object| object.location.to_string())
            .filter(|key| !key.ends_with(".owner"))
            .collect();
        keys.sort();
        keys
    }

    fn source(&self, wanted: &str, follow: bool) -> ObjectSource {
        ObjectSource::over(self.clone(), wanted.to_owned(), Reading { follow, ..Reading::default() })
    }

    fn sink(&self, folder: &TempDir, single: Option<&str>, packing: Option<Packing>) -> Box<dyn StagedSink> {
        let names = match single {
            Some(name) => Names::Single { name: name.into(), hidden: hidden_name(name) },
            None => Names::Parts(PartNames::new("p", &"insert".into(), "ndjson")),
        };
        let shelf = Box::new(BucketShelf::new(self.clone(), "out/".into()));
        let target = Target { working: folder.path().join("staged/insert"), shelf, names };
        Box::new(Staged::new(target, Full::default(), text_parts(&numbered_schema(), packing)))
    }
}

/// Polls until there is nothing; the rows as text.
fn drain(source: &mut ObjectSource, cursors: &mut Cursors) -> Vec<String> {
    let mut rows = Vec::new();
    let mut idle = 0;
    while idle < 50 {
        match source.poll(0).unwrap() {
            Polled::Rows(polled) => {
                let origin = &polled.origin;
                let text =
                    |row: usize| format!("{} {}", origin.place(row), String::from_utf8_lossy(&origin.bytes_of(row)));
                rows.extend((0..origin.rows()).map(text));
                cursors.insert(origin.partition.to_string(), polled.cursor);
            }
            Polled::Idle | Polled::LeftOut(_) | Polled::Streamed(_) => idle += 1,
            Polled::Ended => break,
        }
    }
    rows
}

fn ids(text: &[u8]) -> Vec<i64> {
    let lines = std::str::from_utf8(text).unwrap().lines();
    lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
}

#[test]
fn objects_keep_the_contract_of_sources() {
    let bucket = bucket();
    let lines: String = (0..30_000).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "x".repeat(300))).collect();
    let mut packed = Vec::new();
    Packing::Gzip.pack(&mut lines.as_bytes(), &mut packed).unwrap();
    bucket.put("in/a.ndjson", lines.as_bytes());
    bucket.put("in/b.ndjson.gz", packed);
    bucket.put("in/c.ndjson", "");
    bucket.put("in/deep/d.ndjson", "{}\n");
    bucket.put("in/.hidden.ndjson", "{}\n");
    let given = check(&|| Box::new(bucket.source("in/*.ndjson*", false)));
    let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    assert_eq!(counts, [("s3://shop/in/a.ndjson", 30_000), ("s3://shop/in/b.ndjson.gz", 30_000)]);
}

#[test]
fn a_second_run_reads_new_objects_only_and_one_that_was_replaced_is_told() {
    let bucket = bucket();
    bucket.put("in/a.ndjson", "1\n2\n");
    let mut cursors = Cursors::new();
    let run = |bucket: &Bucket, cursors: &mut Cursors| {
        let mut source = bucket.source("in/*", false);
        source.open(cursors, 7).map(|()| drain(&mut source, cursors))
    };
    assert_eq!(run(&bucket, &mut cursors).unwrap(), ["s3://shop/in/a.ndjson:1 1", "s3://shop/in/a.ndjson:2 2"]);
    bucket.put("in/b.ndjson", "3");
    assert_eq!(run(&bucket, &mut cursors).unwrap(), ["s3://shop/in/b.ndjson:1 3"]);
    assert_eq!(run(&bucket, &mut cursors).unwrap(), [""; 0]);
    bucket.put("in/a.ndjson", "1\n2\n3\n");
    let detail = "is not the object that was read before; run with --fresh to read everything again, \
                  or give the new object a name of its own";
    let changed = SourceError::Changed { what: "s3://shop/in/a.ndjson".into(), detail: detail.into() };
    assert_eq!(run(&bucket, &mut cursors).unwrap_err(), changed);
}

#[test]
fn an_object_that_is_not_meant_any_more_waits_until_it_is_again() {
    let bucket = bucket();
    let lines = (0..30_000).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "x".repeat(99))).collect::<String>();
    bucket.put("in/a.ndjson", lines.as_bytes());
    bucket.put("in/b.ndjson", "1\n");
    let mut cursors = Cursors::new();
    let mut source = bucket.source("in/a*", false);
    source.open(&cursors, 7).unwrap();
    let first = loop {
        if let Polled::Rows(rows) = source.poll(7).unwrap() {
            cursors.insert(rows.origin.partition.to_string(), rows.cursor);
            break rows.origin.rows();
        }
    };
    let run = |wanted: &str, cursors: &mut Cursors| {
        let mut source = bucket.source(wanted, false);
        source.open(cursors, 7).map(|()| drain(&mut source, cursors).len())
    };
    // What lies under the same key elsewhere is another object; what another connector has read is not even looked at.
    cursors.insert("in/b.ndjson".into(), serde_json::json!({"path": "in/b.ndjson"}));
    cursors.insert("s3://other/in/b.ndjson".into(), cursors["s3://shop/in/a.ndjson"].clone());
    assert_eq!(run("in/b*", &mut cursors), Ok(1));
    assert_eq!(run("in/*", &mut cursors.clone()), Ok(30_000 - first));
    let (store, key) = (bucket.store.clone(), Path::from("in/a.ndjson"));
    wait(async move { store.delete(&key).await }).unwrap().unwrap();
    assert_eq!(run("in/b*", &mut cursors), Ok(0));
    let gone = "s3://shop/in/a.ndjson: was removed before it was read to its end; bring it back, or run with --fresh";
    assert_eq!(run("in/*", &mut cursors).unwrap_err().to_string(), gone);
    assert_eq!(run("none/*", &mut cursors).unwrap_err().to_string(), "s3://shop/none/*: no object matches");
}

#[test]
fn what_is_not_there_is_told() {
    let bucket = bucket();
    bucket.put("in/a.ndjson", "1\n");
    let error = |wanted: &str| bucket.source(wanted, false).open(&Cursors::new(), 0).unwrap_err().to_string();
    assert_eq!(error("none.ndjson"), "s3://shop/none.ndjson: there is no such object, or no such bucket");
    assert_eq!(error("none/*"), "s3://shop/none/*: no object matches");
    assert_eq!(error("in/"), "s3://shop/in/: is a folder; `s3://shop/in/*.ndjson` would read the objects in it");
}

#[test]
fn a_followed_pattern_gives_objects_as_they_come() {
    let bucket = bucket();
    let (mut source, mut cursors) = (bucket.source("in/*", true), Cursors::new());
    source.open(&cursors, 0).unwrap();
    assert!(matches!(source.poll(0), Ok(Polled::Idle)));
    bucket.put("in/a.ndjson", "1\n");
    assert!(matches!(source.poll(9_999_999), Ok(Polled::Idle)), "a listing is not free");
    assert!(matches!(source.poll(10_000_000), Ok(Polled::Idle | Polled::Rows(_))));
    let mut source = bucket.source("in/*", true);
    source.open(&cursors, 10_000_000).unwrap();
    assert_eq!(drain(&mut source, &mut cursors), ["s3://shop/in/a.ndjson:1 1"]);
}

#[test]
fn parts_in_a_bucket_keep_the_contract_of_staged_sinks() {
    for packing in [None, Some(Packing::Zstd)] {
        sink::staged(&|| -> Outside<dyn StagedSink> {
            let (bucket, folder) = (bucket(), Arc::new(tempfile::tempdir().unwrap()));
            let seen = bucket.clone();
            let unpacked = move |bytes: Vec<u8>| match packing {
                None => bytes,
                Some(packing) => {
                    let mut out = Vec::new();
                    std::io::copy(&mut packing.unpacked(std::io::Cursor::new(bytes)).unwrap(), &mut out).unwrap();
                    out
                }
            };
            Outside {
                make: Box::new(move || bucket.sink(&folder, None, packing)),
                seen: Box::new(move || seen.keys().iter().flat_map(|key| ids(&unpacked(seen.bytes(key)))).collect()),
            }
        });
    }
}

#[test]
fn a_single_object_keeps_the_contract_of_staged_sinks() {
    sink::staged(&|| -> Outside<dyn StagedSink> {
        let (bucket, folder) = (bucket(), Arc::new(tempfile::tempdir().unwrap()));
        let seen = bucket.clone();
        Outside {
            make: Box::new(move || bucket.sink(&folder, Some("x.ndjson"), None)),
            seen: Box::new(move || seen.keys().iter().flat_map(|key| ids(&seen.bytes(key))).collect()),
        }
    });
}

const END: Cut = Cut { now: 0, end: true, stop: false };

#[test]
fn an_upload_whose_end_nobody_heard_of_is_recognised_and_one_of_somebody_else_is_told() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let mut sink = bucket.sink(&folder, None, None);
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1, 2]))).unwrap();
    let mark = sink.prepare(END).unwrap();
    assert_eq!(bucket.keys(), [""; 0], "nothing is seen before the commit");
    let key = "out/p-insert-00000001.ndjson";
    bucket.put(key, "theirs\n");
    let theirs = format!("s3://shop/{key} was written by somebody else meanwhile; move it away, and start again");
    assert_eq!(sink.reveal(), Err(SinkError::Never(theirs)));
    // The upload was done, and the process died before it knew.
    bucket.put(key, "{\"id\":1}\n{\"id\":2}\n");
    drop(sink);
    bucket.sink(&folder, None, None).open(Some(&mark)).unwrap();
    assert_eq!(bucket.keys(), [key]);
    assert_eq!(std::fs::read_dir(folder.path().join("staged/insert")).unwrap().count(), 0);
}

fn owner(id: &str) -> Owner {
    Owner { id: id.into(), pipeline: "p".into(), step: "insert".into() }
}

#[test]
fn an_output_in_a_bucket_has_one_owner_too() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    for (single, place, sign) in [
        (None, "s3://shop/out/", "s3://shop/out/.p-insert.owner"),
        (Some("x.ndjson"), "s3://shop/out/x.ndjson", "s3://shop/out/.x.ndjson.owner"),
    ] {
        bucket.sink(&folder, single, None).claim(&owner("here"), None, false).unwrap();
        bucket.sink(&folder, single, None).claim(&owner("here"), None, true).unwrap();
        let told = format!(
            "{place} holds rows of `p` from another data folder (log here, and this is there). Give back that data folder; or write \
             to another place. Where that data folder is gone for good, move what it wrote away and remove {sign}"
        );
        for anew in [false, true] {
            let refused = bucket.sink(&folder, single, None).claim(&owner("there"), None, anew);
            assert_eq!(refused, Err(SinkError::Foreign(told.clone())));
        }
    }
}

/// The packed length of an archive is what stands there, not that of the rows as they waited.
#[test]
fn what_somebody_adds_to_an_object_is_neither_built_upon_nor_removed() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let claimed = |mark: Option<&serde_json::Value>, anew: bool| {
        let mut sink = bucket.sink(&folder, Some("x.ndjson.gz"), Some(Packing::Gzip));
        sink.claim(&owner("here"), mark, anew).map(|()| sink)
    };
    let mut sink = claimed(None, false).unwrap();
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1, 2, 3]))).unwrap();
    let mark = sink.prepare(END).unwrap();
    sink.reveal().unwrap();
    claimed(Some(&mark), false).unwrap();
    bucket.put("out/x.ndjson.gz", "theirs");
    for anew in [false, true] {
        let refused = claimed(Some(&mark), anew).err().unwrap().to_string();
        assert!(refused.starts_with("s3://shop/out/x.ndjson.gz has 6 bytes, and "), "{refused}");
    }
    assert_eq!(bucket.bytes("out/x.ndjson.gz"), b"theirs");
}

#[test]
fn a_second_run_adds_to_a_single_object() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let mut mark = None;
    for ids in [[1], [2]] {
        let mut sink = bucket.sink(&folder, Some("x.ndjson"), None);
        sink.open(mark.as_ref()).unwrap();
        sink.write(&batch(numbered(&ids))).unwrap();
        mark = Some(sink.prepare(END).unwrap());
        sink.reveal().unwrap();
    }
    assert_eq!(bucket.bytes("out/x.ndjson"), b"{\"id\":1}\n{\"id\":2}\n");
}

#[test]
fn a_large_part_is_uploaded_in_pieces_and_appears_as_one() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let text = "0123456789abcde\n".repeat(3 << 20);
    let finished = folder.path().join("part");
    std::fs::write(&finished, &text).unwrap();
    let mut shelf = BucketShelf::new(bucket.clone(), String::new());
    use crate::staged::shelf::Shelf;
    shelf.show(&finished, "large", None).unwrap();
    assert!(bucket.bytes("large") == text.as_bytes());
    assert!(!finished.exists());
}

#[test]
fn an_address_that_cannot_be_used_is_told_before_the_run() {
    let told = |address: &str, store: serde_json::Value| -> String {
        let mut args = Args::texts(&[address]);
        if !store.is_null() {
            args.named.insert("store".into(), store);
        }
        let connector = crate::registry::connector("file").unwrap();
        let arguments = crate::spec::Arguments::checked(connector, &args).unwrap();
        let error: ConnectorError = Bucket::of(address, &arguments).err().unwrap();
        error.to_string()
    };
    let call = |name: &str| serde_json::json!({ "function": name, "positional": [] });
    assert_eq!(
        told("s3:///a", serde_json::Value::Null),
        "`s3:///a` is no address that can be used: it names no bucket"
    );
    assert_eq!(told("s3://b/a", call("gs")), "`s3://b/a` is no address that can be used: it is no address of `gs`");
    let other = serde_json::json!({ "function": "s3", "positional": [], "regio": "x" });
    assert_eq!(
        told("s3://b/a", other),
        "`s3` has no argument `regio`; it has access_key, secret_key, session_token, region, endpoint"
    );
}

/// A shelf whose first uploads fail on the way.
#[test]
fn a_store_that_is_away_is_a_passing_trouble_that_loses_nothing() {
    let (folder, mark) = (tempfile::tempdir().unwrap(), Mutex::new(None));
    let away = {
        let connector = crate::registry::connector("file").unwrap();
        let store = serde_json::json!({
            "function": "s3", "positional": [], "endpoint": "http://127.0.0.1:9", "access_key": "k", "secret_key": "s"
        });
        let mut args = Args::texts(&["s3://shop/out/"]);
        args.named.insert("store".into(), store);
        Bucket::of("s3://shop/out/", &crate::spec::Arguments::checked(connector, &args).unwrap()).unwrap().0
    };
    let there = bucket();
    let mut sink = there.sink(&folder, None, None);
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1]))).unwrap();
    *mark.lock().unwrap() = Some(sink.prepare(END).unwrap());
    let mut lost = away.sink(&folder, None, None);
    let error = lost.open(mark.lock().unwrap().as_ref()).unwrap_err();
    assert!(
        matches!(&error, SinkError::Again(text) if text.starts_with("cannot look at s3://shop/out/p-insert-")),
        "{error}"
    );
    there.sink(&folder, None, None).open(mark.lock().unwrap().as_ref()).unwrap();
    assert_eq!(there.keys(), ["out/p-insert-00000001.ndjson"]);
}
