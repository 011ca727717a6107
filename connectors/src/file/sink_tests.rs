//! What a user finds in the folder that a pipeline writes to.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, UInt8Array, UInt32Array},
    datatypes::{Field, Schema},
};
use serde_json::Value;
use syncline_engine::sink::{Cut, Owner, Sink, SinkError, StagedSink, Write};
use syncline_record::{Reason, RowFailure};
use tempfile::TempDir;

use crate::{
    conformance::rows::{batch, numbered},
    registry::{SinkRequest, check_sink, open_sink},
    spec::{Args, ConnectorError, Surroundings},
};

const GO_ON: Cut = Cut { now: 0, end: false, stop: false };
const END: Cut = Cut { now: 0, end: true, stop: false };

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with<T>(&self, path: &str, endless: bool, then: impl FnOnce(SinkRequest) -> T) -> T {
        let around = Surroundings::folder(self.0.path());
        let (args, step, schema) = (Args::texts(&[path]), "tee/in-sert".into(), numbered(&[]).schema());
        let (write, keys) = (Write::Insert, Vec::new());
        then(SinkRequest {
            args: &args,
            around: &around,
            pipeline: "my pipe",
            step: &step,
            write,
            schema,
            keys,
            endless,
            csv: None,
        })
    }

    fn unclaimed(&self, path: &str) -> Box<dyn StagedSink> {
        match self.with(path, false, |request| open_sink("file", request)) {
            Ok(Sink::Staged(sink)) => sink,
            _ => panic!("file is staged"),
        }
    }

    /// A sink whose target is signed by this data folder.
    fn sink(&self, path: &str) -> Box<dyn StagedSink> {
        let mut sink = self.unclaimed(path);
        // A folder that cannot be made is told by `open` too.
        let _ = sink.claim(&owner("here"), None, false);
        sink
    }

    /// What a data folder is told that wants this target, with or without `--fresh`.
    fn refused(&self, path: &str, owner: &Owner, anew: bool) -> String {
        match self.said(self.unclaimed(path).claim(owner, None, anew).unwrap_err()) {
            SinkError::Foreign(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// One whole run that ends.
    fn run(&self, path: &str, mark: Option<&Value>, ids: &[i64]) -> Value {
        let mut sink = self.sink(path);
        sink.open(mark).unwrap();
        sink.write(&batch(numbered(ids))).unwrap();
        let mark = sink.prepare(END).unwrap();
        sink.reveal().unwrap();
        mark
    }

    /// Every file with its content, hidden ones too; but not who signed them.
    fn files(&self, folder: &str) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .filter(|(name, _)| !name.ends_with(".owner"))
            .collect();
        files.sort();
        files
    }

    fn said(&self, error: SinkError) -> SinkError {
        let short = |text: String| text.replace(&format!("{}/", self.0.path().display()), "");
        match error {
            SinkError::Again(text) => SinkError::Again(short(text)),
            SinkError::Never(text) => SinkError::Never(short(text)),
            SinkError::Foreign(text) => SinkError::Foreign(short(text)),
            other => other,
        }
    }
}

fn owner(id: &str) -> Owner {
    Owner { id: id.to_owned(), pipeline: "my pipe".into(), step: "tee/in-sert".into() }
}

fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

#[test]
fn names_of_parts_say_pipeline_step_and_number_and_can_stand_in_any_folder() {
    let folder = Folder::new();
    let mark = folder.run("out/", None, &[1]);
    folder.run("out/", Some(&mark), &[2]);
    let expected = [
        ("my%20pipe-tee.in%2Dsert-00000001.ndjson", "{\"id\":1}\n"),
        ("my%20pipe-tee.in%2Dsert-00000002.ndjson", "{\"id\":2}\n"),
    ];
    assert_eq!(folder.files("out"), files(&expected));
}

#[test]
fn nothing_is_visible_before_its_checkpoint_is_committed() {
    let folder = Folder::new();
    let mut sink = folder.sink("out/");
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1]))).unwrap();
    let mark = sink.prepare(END).unwrap();
    let hidden = [(".my%20pipe-tee.in%2Dsert-00000001.ndjson.tmp", "{\"id\":1}\n")];
    assert_eq!(folder.files("out"), files(&hidden));
    drop(sink);
    folder.sink("out/").open(Some(&mark)).unwrap();
    assert_eq!(folder.files("out"), files(&[("my%20pipe-tee.in%2Dsert-00000001.ndjson", "{\"id\":1}\n")]));
}

#[test]
fn lanes_have_parts_of_their_own() {
    let folder = Folder::new();
    let rows = numbered(&[1, 2, 3]);
    let lanes: ArrayRef = Arc::new(UInt32Array::from(vec![3, 0, 3]));
    let mut columns = rows.columns().to_vec();
    columns.push(lanes.clone());
    let mut fields: Vec<_> = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("__lane", lanes.data_type().clone(), false)));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut sink = folder.sink("out/");
    sink.open(None).unwrap();
    sink.write(&batch(rows)).unwrap();
    sink.prepare(END).unwrap();
    sink.reveal().unwrap();
    let expected = [
        ("my%20pipe-tee.in%2Dsert-lane00-00000001.ndjson", "{\"id\":2}\n"),
        ("my%20pipe-tee.in%2Dsert-lane03-00000001.ndjson", "{\"id\":1}\n{\"id\":3}\n"),
    ];
    assert_eq!(folder.files("out"), files(&expected));
}

#[test]
fn whole_records_are_written_as_they_came() {
    let folder = Folder::new();
    let texts: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("{ \"a\" : 1.50 }"), None, Some("{\"b\":\n2}"), Some("{}")]));
    let ops: ArrayRef = Arc::new(UInt8Array::from(vec![0, 0, 0, 3]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let rows = RecordBatch::try_from_iter([("id", ids), ("__out", texts), ("__op", ops)]).unwrap();
    let mut sink = folder.sink("out/x.ndjson");
    sink.open(None).unwrap();
    let failed = sink.write(&batch(rows)).unwrap();
    assert_eq!(failed, [RowFailure { row: 1, reason: Reason::new("missing", "the record has no text") }]);
    sink.prepare(END).unwrap();
    sink.reveal().unwrap();
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{ \"a\" : 1.50 }\n{\"b\": 2}\n")]));
}

#[test]
fn a_single_file_appears_at_the_end_and_a_second_run_adds_to_it() {
    let folder = Folder::new();
    let mark = folder.run("out/x.ndjson", None, &[1]);
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{\"id\":1}\n")]));
    folder.run("out/x.ndjson", Some(&mark), &[2]);
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{\"id\":1}\n{\"id\":2}\n")]));
}

/// A first run with `--fresh` emptied a file that a user had made, and said nothing.
#[test]
fn a_file_that_is_there_already_is_nobodys_to_write() {
    let folder = Folder::new();
    fs::create_dir(folder.path("out")).unwrap();
    fs::write(folder.path("out/x.ndjson"), "{\"user\":true}\n").unwrap();
    for anew in [false, true] {
        assert_eq!(
            folder.refused("out/x.ndjson", &owner("here"), anew),
            "out/x.ndjson is there already, and `my pipe` did not write it. Move it away; or write to another file, or to a folder"
        );
    }
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{\"user\":true}\n")]));
    // An empty one is as good as none.
    fs::write(folder.path("out/x.ndjson"), "").unwrap();
    folder.run("out/x.ndjson", None, &[1]);
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{\"id\":1}\n")]));
}

/// A user added lines to an output; starting over removed them together with ours.
#[test]
fn what_a_user_adds_to_a_file_is_neither_built_upon_nor_removed() {
    let folder = Folder::new();
    folder.run("out/x.ndjson", None, &[1]);
    let path = folder.path("out/x.ndjson");
    fs::write(&path, "{\"id\":1}\n{\"user\":true}\n").unwrap();
    for anew in [false, true] {
        assert_eq!(
            folder.refused("out/x.ndjson", &owner("here"), anew),
            "out/x.ndjson has 23 bytes, and 9 of `my pipe` were written to it: somebody else changed it. Move it away, and what \
             comes next begins a new file; or write to a folder"
        );
    }
    let mut sink = folder.unclaimed("out/x.ndjson");
    fs::write(&path, "{\"id\":1}\n").unwrap();
    sink.claim(&owner("here"), None, true).unwrap();
    fs::write(&path, "{\"id\":1}\nmine\n").unwrap();
    assert!(matches!(sink.clear(), Err(SinkError::Foreign(_))), "what came in between is removed");
    fs::write(&path, "{\"id\":1}\n").unwrap();
    sink.clear().unwrap();
    assert_eq!(folder.files("out"), []);
}

/// Two data folders wrote parts of one name: each found its books in order, and rows of one were gone.
#[test]
fn a_target_of_another_data_folder_is_refused_also_to_start_over() {
    let folder = Folder::new();
    folder.run("out/", None, &[1]);
    folder.run("one/x.ndjson", None, &[1]);
    for anew in [false, true] {
        assert_eq!(
            folder.refused("out/", &owner("there"), anew),
            "out/ holds rows of `my pipe` from another data folder (log here, and this is there). Give back that data folder; \
             or write to another place. Where that data folder is gone for good, move what it wrote away and remove \
             out/.my%20pipe-tee.in%2Dsert.owner"
        );
        let other = Owner { pipeline: "other".into(), step: "insert".into(), ..owner("here") };
        assert_eq!(
            folder.refused("one/x.ndjson", &other, anew),
            "one/x.ndjson is written by step `tee/in-sert` of `my pipe`. Write to a file of its own, or to a folder; where that \
             step is gone for good, move one/x.ndjson away and remove one/.x.ndjson.owner"
        );
    }
    fs::remove_file(folder.path("out/.my%20pipe-tee.in%2Dsert.owner")).unwrap();
    assert_eq!(
        folder.refused("out/", &owner("there"), true),
        "out/ holds rows of `my pipe` that this data folder did not write (my%20pipe-tee.in%2Dsert-00000001.ndjson). Give back the \
         data folder that did; or move them away; or write to another folder"
    );
    fs::write(folder.path("out/.my%20pipe-tee.in%2Dsert.owner"), "").unwrap();
    assert!(folder.refused("out/", &owner("here"), false).contains("cannot be read by this version"));
}

#[test]
fn a_target_that_an_earlier_version_did_not_sign_is_ours_when_we_have_its_mark() {
    let folder = Folder::new();
    for (path, sign) in [("out/", "out/.my%20pipe-tee.in%2Dsert.owner"), ("one/x.ndjson", "one/.x.ndjson.owner")] {
        let mark = folder.run(path, None, &[1]);
        fs::remove_file(folder.path(sign)).unwrap();
        let mut sink = folder.unclaimed(path);
        sink.claim(&owner("here"), Some(&mark), false).unwrap();
        assert!(folder.path(sign).exists());
        folder.run(path, Some(&mark), &[2]);
    }
    assert_eq!(folder.files("one"), files(&[("x.ndjson", "{\"id\":1}\n{\"id\":2}\n")]));
    let unknown = "one/x.ndjson was begun by an earlier version, which did not note what in it is its own. Move it away, and start over \
                   then";
    assert_eq!(folder.refused("one/x.ndjson", &owner("here"), true), unknown);
}

#[test]
fn a_run_without_rows_leaves_an_empty_file_and_no_empty_parts() {
    let folder = Folder::new();
    folder.run("out/x.ndjson", None, &[]);
    folder.run("parts/", None, &[]);
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "")]));
    assert_eq!(folder.files("parts"), []);
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_not_written_over() {
    let folder = Folder::new();
    let mut sink = folder.sink("out/x.ndjson");
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1]))).unwrap();
    sink.prepare(END).unwrap();
    fs::write(folder.path("out/x.ndjson"), "theirs\n").unwrap();
    let text = "out/x.ndjson was written by somebody else meanwhile; move it away, and start again";
    assert_eq!(folder.said(sink.reveal().unwrap_err()), SinkError::Never(text.into()));
    fs::remove_file(folder.path("out/x.ndjson")).unwrap();
    sink.reveal().unwrap();
    assert_eq!(folder.files("out"), files(&[("x.ndjson", "{\"id\":1}\n")]));
}

#[test]
fn a_lost_or_cut_part_and_one_from_another_run_are_told() {
    let folder = Folder::new();
    let mut sink = folder.sink("out/");
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1]))).unwrap();
    let mark = sink.prepare(GO_ON).unwrap();
    let name = "my%20pipe-tee.in%2Dsert-00000001.ndjson";
    fs::write(folder.path(&format!("out/.{name}.tmp")), "{").unwrap();
    let cut = format!(
        "out/.{name}.tmp has 1 bytes, and 9 were committed: it was removed or cut; run with --fresh to write everything again"
    );
    assert_eq!(folder.said(folder.sink("out/").open(Some(&mark)).unwrap_err()), SinkError::Never(cut));
    fs::rename(folder.path(&format!("out/.{name}.tmp")), folder.path(&format!("out/{name}"))).unwrap();
    fs::write(folder.path(&format!("out/.{name}.tmp")), "{\"id\":1}\nmore").unwrap();
    let newer = format!(
        "out/{name} is newer than the last checkpoint: another run wrote it; move it away, or run with --fresh"
    );
    assert_eq!(folder.said(folder.sink("out/").open(Some(&mark)).unwrap_err()), SinkError::Never(newer));
    // Without a checkpoint it only stands there: the new parts come after it.
    folder.run("out/", None, &[7]);
    let expected = [(name, "{"), ("my%20pipe-tee.in%2Dsert-00000002.ndjson", "{\"id\":7}\n")];
    assert_eq!(folder.files("out"), files(&expected));
}

#[test]
fn a_full_disk_is_a_passing_trouble_that_names_the_file_and_loses_nothing() {
    let folder = Folder::new();
    let mut sink = folder.sink("out/");
    sink.open(None).unwrap();
    let hidden = folder.path("out/.my%20pipe-tee.in%2Dsert-00000001.ndjson.tmp");
    symlink("/dev/full", &hidden).unwrap();
    sink.write(&batch(numbered(&[1, 2]))).unwrap();
    let text = "cannot write out/.my%20pipe-tee.in%2Dsert-00000001.ndjson.tmp: No space left on device";
    for _ in 0..2 {
        assert_eq!(folder.said(sink.prepare(END).unwrap_err()), SinkError::Again(text.into()));
    }
    // A restart with space again: the leftover goes, the rows come again.
    fs::remove_file(&hidden).unwrap();
    folder.run("out/", None, &[1, 2]);
    assert_eq!(folder.files("out"), files(&[("my%20pipe-tee.in%2Dsert-00000001.ndjson", "{\"id\":1}\n{\"id\":2}\n")]));
}

#[test]
fn what_cannot_be_a_target_is_told_before_the_run() {
    let folder = Folder::new();
    let because = "it would only appear at the end of a pipeline that never ends";
    let needs_folder = ConnectorError::NeedsFolder { path: "out/x.ndjson".into(), because, fix: "out/x/".into() };
    assert_eq!(folder.with("out/x.ndjson", true, |request| check_sink("file", &request)), Err(needs_folder.clone()));
    assert_eq!(
        needs_folder.to_string(),
        "`out/x.ndjson` is one file, and it would only appear at the end of a pipeline that never ends; write a folder: `out/x/`"
    );
    assert_eq!(folder.with("out/", true, |request| check_sink("file", &request)), Ok(()));
    let upsert = || Write::Upsert { key: vec!["id".into()], sequenced: false, ignore_nulls: false };
    let refused = folder.with("out/", true, |request| check_sink("file", &SinkRequest { write: upsert(), ..request }));
    assert_eq!(refused.unwrap_err().to_string(), "`file` cannot UPSERT; it can INSERT");
    fs::write(folder.path("plain"), "").unwrap();
    let mut sink = folder.sink("plain/out/");
    assert_eq!(
        folder.said(sink.open(None).unwrap_err()),
        SinkError::Never("cannot create the folder plain/out/: Not a directory".into())
    );
}

#[test]
fn a_stop_shows_the_parts_of_a_folder_and_keeps_a_single_file_hidden() {
    let folder = Folder::new();
    let stop = Cut { now: 0, end: false, stop: true };
    for (target, shown) in [("out/", true), ("one.ndjson", false)] {
        let mut sink = folder.sink(target);
        sink.open(None).unwrap();
        sink.write(&batch(numbered(&[1]))).unwrap();
        sink.prepare(stop).unwrap();
        sink.reveal().unwrap();
        let there = folder.path(if shown { "out/my%20pipe-tee.in%2Dsert-00000001.ndjson" } else { "one.ndjson" });
        assert_eq!(there.exists(), shown, "{}", there.display());
    }
}

#[test]
fn an_open_part_is_due_when_its_rows_have_waited_a_minute() {
    let folder = Folder::new();
    let mut sink = folder.sink("out/");
    sink.open(None).unwrap();
    sink.write(&batch(numbered(&[1]))).unwrap();
    sink.prepare(GO_ON).unwrap();
    assert!(!sink.is_due(59_999_999));
    assert!(sink.is_due(60_000_000));
}

const SINGLES: [&str; 2] = ["out/x.ndjson", "out/x.ndjson.gz"];

/// The names in the folder, hidden ones too; but not who signed it.
fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("out")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".owner")).collect();
    names.sort();
    names
}

/// As [`Folder::run`], of a process that dies before its checkpoint is committed.
fn die(folder: &Folder, path: &str, mark: &Value, ids: &[i64], cut: Cut) {
    let mut sink = folder.unclaimed(path);
    sink.claim(&owner("here"), Some(mark), false).unwrap();
    sink.open(Some(mark)).unwrap();
    sink.write(&batch(numbered(ids))).unwrap();
    sink.prepare(cut).unwrap();
}

/// A start that goes on from `mark`, and ends.
fn go_on(folder: &Folder, path: &str, mark: &Value) -> Result<Vec<String>, SinkError> {
    let mut sink = folder.unclaimed(path);
    sink.claim(&owner("here"), Some(mark), false)?;
    sink.open(Some(mark))?;
    let names = names(folder);
    sink.write(&batch(numbered(&[2])))?;
    sink.prepare(END)?;
    sink.reveal()?;
    Ok(names)
}

fn lines(folder: &Folder, path: &str) -> String {
    let bytes = fs::read(folder.path(path)).unwrap();
    match path.ends_with(".gz") {
        true => std::io::read_to_string(flate2::read::MultiGzDecoder::new(&bytes[..])).unwrap(),
        false => String::from_utf8(bytes).unwrap(),
    }
}

/// The mark of the first run showed what a killed second one had begun: as it was torn, or in place of the file that stood there.
#[test]
fn a_single_file_that_was_never_committed_is_not_shown_by_the_mark_before_it() {
    for (path, cut, taken) in SINGLES
        .iter()
        .flat_map(|path| [GO_ON, END].map(|cut| (path, cut, false)))
        .chain(SINGLES.iter().flat_map(|path| [GO_ON, END].map(|cut| (path, cut, true))))
    {
        let folder = Folder::new();
        let mark = folder.run(path, None, &[1]);
        if taken {
            fs::remove_file(folder.path(path)).unwrap();
        }
        die(&folder, path, &mark, &[2, 3, 4], cut);
        let name = path.strip_prefix("out/").unwrap().to_owned();
        let standing = if taken { vec![] } else { vec![name] };
        assert_eq!(
            go_on(&folder, path, &mark).map_err(|error| folder.said(error)),
            Ok(standing),
            "{path} {cut:?} {taken}"
        );
        assert_eq!(lines(&folder, path), if taken { "{\"id\":2}\n" } else { "{\"id\":1}\n{\"id\":2}\n" });
    }
}

/// Earlier versions gave the hidden files of a single file no number.
#[test]
fn a_single_file_of_an_earlier_version_goes_on() {
    for path in SINGLES {
        let name = path.strip_prefix("out/").unwrap();
        let (new, old) =
            (format!(".{name}.my%20pipe-tee.in%2Dsert-00000001.tmp"), format!(".{name}.my%20pipe-tee.in%2Dsert.tmp"));
        let as_before = |folder: &Folder, mark: &Value| {
            for name in names(folder) {
                fs::rename(folder.path("out").join(&name), folder.path("out").join(name.replace(&new, &old))).unwrap();
            }
            serde_json::from_str::<Value>(&mark.to_string().replace(&new, &old)).unwrap()
        };
        for cut in [GO_ON, END] {
            let folder = Folder::new();
            let mut sink = folder.sink(path);
            sink.open(None).unwrap();
            sink.write(&batch(numbered(&[1]))).unwrap();
            let mark = sink.prepare(cut).unwrap();
            let mark = as_before(&folder, &mark);
            // Open or closed, it was committed.
            go_on(&folder, path, &mark).unwrap();
            assert_eq!(lines(&folder, path), "{\"id\":1}\n{\"id\":2}\n", "{path} {cut:?}");
        }
        // The mark shows what was shown, and a killed run has left its own file under that name.
        for taken in [false, true] {
            let folder = Folder::new();
            let mark = folder.run(path, None, &[1]);
            let mark = as_before(&folder, &mark);
            if taken {
                fs::remove_file(folder.path(path)).unwrap();
            }
            fs::write(folder.path("out").join(&old), "{\"id\":1}\n{\"id\":2}\n{\"id").unwrap();
            go_on(&folder, path, &mark).unwrap();
            assert_eq!(lines(&folder, path), if taken { "{\"id\":2}\n" } else { "{\"id\":1}\n{\"id\":2}\n" });
            assert_eq!(names(&folder), [name]);
        }
    }
}
