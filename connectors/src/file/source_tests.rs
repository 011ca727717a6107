//! What a user meets when files are read: every case as a small folder, the rows that come out, and what is said.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use syncline_engine::source::{Cursors, MAX_RECORD, Polled, Progress, Rejected, Source, SourceError};
use syncline_record::{Micros, Reason, keys};
use tempfile::TempDir;

use super::{FileSource, Reading};
use crate::spec::Surroundings;

pub const NOW: Micros = 1_000_000;

/// A folder with a pipeline in it, and the cursors that the engine would keep.
pub struct Folder {
    pub folder: TempDir,
    pub cursors: Cursors,
    pub reading: Reading,
}

impl Folder {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let (folder, cursors) = (tempfile::tempdir().unwrap(), Cursors::new());
        let folder = Self { folder, cursors, reading: Reading::default() };
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    pub fn append(&self, name: &str, text: &str) {
        OpenOptions::new().append(true).open(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn source(&self, pattern: &str, follow: bool) -> FileSource {
        let around = Surroundings::folder(self.folder.path());
        FileSource::new(pattern, &around, Reading { follow, ..self.reading.clone() }).unwrap()
    }

    pub fn opened(&self, pattern: &str, follow: bool, now: Micros) -> FileSource {
        let mut source = self.source(pattern, follow);
        source.open(&self.cursors, now).unwrap();
        source
    }

    /// A whole run; its cursors are committed.
    pub fn run(&mut self, pattern: &str) -> Vec<String> {
        let mut source = self.opened(pattern, false, NOW);
        drain(&mut source, &mut self.cursors, NOW)
    }

    pub fn error(&self, pattern: &str, follow: bool) -> SourceError {
        let mut source = self.source(pattern, follow);
        match source.open(&self.cursors, NOW) {
            Err(error) => error,
            Ok(()) => source.poll(NOW).unwrap_err(),
        }
    }
}

/// Polls until there is nothing: `place@byte text` per row.
pub fn drain(source: &mut FileSource, cursors: &mut Cursors, now: Micros) -> Vec<String> {
    let mut rows = Vec::new();
    while let Polled::Rows(polled) = source.poll(now).unwrap() {
        for row in 0..polled.origin.rows() {
            let place = polled.origin.place(row);
            let text = String::from_utf8_lossy(&polled.origin.bytes_of(row)).into_owned();
            rows.push(format!("{place}@{} {text}", place.byte.unwrap()));
        }
        cursors.insert(polled.origin.partition.to_string(), polled.cursor);
    }
    rows
}

pub fn changed(what: &str, detail: &str) -> SourceError {
    SourceError::Changed { what: what.into(), detail: detail.into() }
}

pub fn unreadable(what: &str, detail: &str) -> SourceError {
    SourceError::Unreadable { what: what.into(), detail: detail.into() }
}

#[test]
fn a_pattern_reads_its_files_by_name_and_ends() {
    let mut folder = Folder::of(&[
        ("events/b.ndjson", "{\"n\":3}\n"),
        ("events/a.ndjson", "{\"n\":1}\r\n\n \t\r\n{\"n\":2}"),
        ("events/.part.ndjson", "hidden\n"),
        ("events/other.txt", "no\n"),
    ]);
    let read = folder.run("events/*.ndjson");
    assert_eq!(
        read,
        ["events/a.ndjson:1@0 {\"n\":1}", "events/a.ndjson:4@14 {\"n\":2}", "events/b.ndjson:1@0 {\"n\":3}",]
    );
}

#[test]
fn a_second_run_reads_only_what_is_new() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2\n"), ("b.ndjson", "x\n")]);
    assert_eq!(folder.run("*.ndjson"), ["a.ndjson:1@0 1", "a.ndjson:2@2 2", "b.ndjson:1@0 x"]);
    assert_eq!(folder.run("*.ndjson"), [""; 0]);
    folder.append("a.ndjson", "3\n");
    folder.write("c.ndjson", "new\n");
    let mut source = folder.opened("*.ndjson", false, NOW);
    assert_eq!(source.progress(), Progress { done: 6, total: Some(12), skipped: 6, ..Progress::default() });
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.ndjson:3@4 3", "c.ndjson:1@0 new"]);
    assert_eq!(source.progress(), Progress { done: 12, total: Some(12), skipped: 6, ..Progress::default() });
}

#[test]
fn rows_keep_the_time_at_which_their_file_was_first_opened() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n")]);
    folder.run("*.ndjson");
    folder.append("a.ndjson", "2\n");
    folder.write("b.ndjson", "x\n");
    let mut source = folder.opened("*.ndjson", false, NOW + 7);
    let mut times = BTreeMap::new();
    while let Polled::Rows(rows) = source.poll(NOW + 9).unwrap() {
        times.insert(rows.origin.partition.to_string(), (rows.origin.times.clone(), rows.origin.ingested_at.get(0)));
    }
    let expected = [("a.ndjson", (vec![NOW], NOW)), ("b.ndjson", (vec![NOW + 7], NOW + 7))];
    assert_eq!(times, expected.map(|(name, times)| (name.to_owned(), times)).into());
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let mut folder = Folder::of(&[("a.ndjson", "\u{feff}{}\n\u{feff}2\n")]);
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:1@3 {}", "a.ndjson:2@6 \u{feff}2"]);
}

#[test]
fn many_short_lines_come_in_batches_and_none_is_lost() {
    let lines: Vec<String> = (0..20_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    let mut folder = Folder::of(&[("a.ndjson", &(lines.join("\n") + "\n"))]);
    let mut source = folder.opened("a.ndjson", false, NOW);
    let mut read = Vec::new();
    while let Polled::Rows(rows) = source.poll(NOW).unwrap() {
        assert!(rows.origin.rows() <= 1024, "{}", rows.origin.rows());
        assert!(rows.origin.payload.len() <= 256 << 10);
        read.extend((0..rows.origin.rows()).map(|row| String::from_utf8(rows.origin.bytes_of(row).to_vec()).unwrap()));
    }
    assert!(read == lines);
    assert_eq!(folder.run("a.ndjson").len(), 20_000);
}

#[test]
fn a_line_longer_than_a_block_is_a_row_and_one_over_the_limit_is_rejected_with_its_head() {
    let long = "x".repeat(3 << 20);
    let largest = "y".repeat(MAX_RECORD);
    for (extra, line_end) in [(1, "\n"), (1, "\r\n"), (5_000_000, "\n"), (70 << 20, "\r\n"), (9, "")] {
        let over = "z".repeat(MAX_RECORD + extra);
        let last = if line_end.is_empty() { "" } else { "end\n" };
        let mut folder = Folder::of(&[]);
        folder.write("a.ndjson", format!("\u{feff}{largest}\r\n{long}\n{over}{line_end}{last}"));
        let mut source = folder.opened("a.ndjson", false, NOW);
        let (mut lengths, mut rejected) = (Vec::new(), Vec::new());
        loop {
            match source.poll(NOW).unwrap() {
                Polled::Rows(rows) => {
                    lengths.extend((0..rows.origin.rows()).map(|row| rows.origin.bytes_of(row).len()));
                    rejected.extend(rows.rejected);
                    folder.cursors.insert("a.ndjson".into(), rows.cursor);
                }
                Polled::Idle | Polled::LeftOut(_) | Polled::Streamed(_) => {}
                Polled::Ended => break,
            }
        }
        let mut expected = vec![MAX_RECORD, 3 << 20];
        expected.extend((!last.is_empty()).then_some(3));
        assert_eq!(lengths, expected);
        let start = (3 + MAX_RECORD + 2 + (3 << 20) + 1) as u64;
        let [Rejected { place, time, bytes, length, hash, headers, reason }] = &rejected[..] else {
            panic!("{} rejected", rejected.len())
        };
        assert_eq!((place.to_string(), place.byte, *time), ("a.ndjson:3".to_owned(), Some(start), NOW));
        assert_eq!((*length, *hash, headers), (over.len() as u64, keys::content_hash(over.as_bytes()), &None));
        assert!(*bytes == over.as_bytes()[..1 << 20]);
        assert_eq!(*reason, Reason::new("too-large", format!("the line has {} bytes", over.len())));
        assert_eq!(folder.run("a.ndjson"), [""; 0]);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::of(&[("sub/a.ndjson", "1\n")]);
    assert_eq!(folder.error("nothing/*.ndjson", false), unreadable("nothing/*.ndjson", "no file matches"));
    assert_eq!(folder.error("none.ndjson", false), unreadable("none.ndjson", "No such file or directory"));
    assert_eq!(folder.error("sub", false), unreadable("sub", "is a folder; `sub/*.ndjson` would read the files in it"));
    assert_eq!(
        folder.error("sub/", false),
        unreadable("sub/", "is a folder; `sub/*.ndjson` would read the files in it")
    );
}

#[test]
fn a_file_that_was_cut_or_overwritten_is_told() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2\n3\n")]);
    folder.run("a.ndjson");
    folder.write("a.ndjson", "1\n");
    let cut =
        "has 2 bytes, and 6 were read already: it was cut or written anew; run with --fresh to read everything again";
    assert_eq!(folder.error("a.ndjson", false), changed("a.ndjson", cut));
    folder.write("a.ndjson", "9\n8\n7\n6\n");
    let overwritten =
        "does not start as it did when it was read: it was overwritten; run with --fresh to read everything again";
    assert_eq!(folder.error("a.ndjson", false), changed("a.ndjson", overwritten));
}

#[test]
fn a_copy_with_more_behind_it_is_read_on() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2\n")]);
    folder.run("*.ndjson");
    folder.write("new", "1\n2\n3\n");
    folder.rename("new", "a.ndjson");
    assert_eq!(folder.run("*.ndjson"), ["a.ndjson:3@4 3"]);
}

#[test]
fn another_file_under_the_same_name_is_told() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2\n")]);
    folder.run("*.ndjson");
    folder.write("new", "7\n8\n9\n");
    folder.rename("new", "a.ndjson");
    let detail = "is not the file that was read before; run with --fresh to read everything again, \
                  or give the new file a name of its own";
    assert_eq!(folder.error("*.ndjson", false), changed("a.ndjson", detail));
}

#[test]
fn a_file_that_is_gone_is_told_only_when_some_of_it_was_not_read() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2\n"), ("b.ndjson", &"x\n".repeat(3000))]);
    let mut source = folder.opened("*.ndjson", false, NOW);
    for _ in 0..2 {
        let Polled::Rows(rows) = source.poll(NOW).unwrap() else { panic!("no rows") };
        folder.cursors.insert(rows.origin.partition.to_string(), rows.cursor);
    }
    fs::remove_file(folder.path("a.ndjson")).unwrap();
    assert_eq!(folder.run("*.ndjson").len(), 3000 - 1024);
    let mut source = folder.opened("*.ndjson", false, NOW);
    drain(&mut source, &mut folder.cursors, NOW);
    fs::remove_file(folder.path("b.ndjson")).unwrap();
    assert_eq!(folder.run("*.ndjson"), [""; 0], "all was read: an empty folder is an empty batch");

    folder = Folder::of(&[("b.ndjson", &"x\n".repeat(3000))]);
    let mut source = folder.opened("*.ndjson", false, NOW);
    let Polled::Rows(rows) = source.poll(NOW).unwrap() else { panic!("no rows") };
    folder.cursors.insert(rows.origin.partition.to_string(), rows.cursor);
    fs::remove_file(folder.path("b.ndjson")).unwrap();
    let detail = "was removed before it was read to its end (2048 of 6000 bytes); bring it back, or run with --fresh";
    assert_eq!(folder.error("*.ndjson", false), changed("b.ndjson", detail));
}

#[test]
fn a_followed_file_gives_whole_lines_as_it_grows() {
    let mut folder = Folder::of(&[("a.log", "1\n2")]);
    let mut source = folder.opened("a.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:1@0 1"]);
    folder.append("a.log", "2\n3");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:2@2 22"]);
    folder.append("a.log", "\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:3@5 3"]);
    assert!(matches!(source.poll(NOW), Ok(Polled::Idle)));
}

#[test]
fn a_followed_pattern_finds_new_files() {
    let mut folder = Folder::of(&[("a.log", "1\n")]);
    let mut source = folder.opened("*.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:1@0 1"]);
    folder.write("b.log", "x\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW + 500_000), ["b.log:1@0 x"]);
    let names: Vec<String> = source.partitions().iter().map(|partition| partition.to_string()).collect();
    assert_eq!(names, ["a.log", "b.log"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_and_then_the_new_one() {
    let mut folder = Folder::of(&[("a.log", "1\n")]);
    let mut source = folder.opened("a.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:1@0 1"]);
    folder.append("a.log", "2\n");
    folder.rename("a.log", "a.log.1");
    folder.write("a.log", "3\n");
    folder.append("a.log.1", "late\n");
    let read = drain(&mut source, &mut folder.cursors, NOW + 500_000);
    assert_eq!(read, ["a.log:2@2 2", "a.log:3@4 late", "a.log#1:1@0 3"]);

    let mut source = folder.opened("a.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0], "and a restart repeats nothing");
    folder.append("a.log.1", "later\n");
    folder.append("a.log", "4\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:4@9 later", "a.log#1:2@2 4"]);
}

#[test]
fn a_file_that_was_rotated_while_nobody_looked_is_found_by_its_inode() {
    for pattern in ["a.log", "a.log*"] {
        let mut folder = Folder::of(&[("a.log", "1\n")]);
        let mut source = folder.opened(pattern, true, NOW);
        drain(&mut source, &mut folder.cursors, NOW);
        drop(source);
        folder.append("a.log", "2\n");
        folder.rename("a.log", "a.log.1");
        folder.write("a.log", "3\n");
        let mut source = folder.opened(pattern, true, NOW);
        let read = drain(&mut source, &mut folder.cursors, NOW);
        assert_eq!(read, ["a.log:2@2 2", "a.log#1:1@0 3"], "{pattern}");
    }
}

#[test]
fn a_rotated_file_that_nobody_ends_gives_its_last_line_after_a_while() {
    let mut folder = Folder::of(&[("a.log", "1\n2")]);
    let mut source = folder.opened("a.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log:1@0 1"]);
    fs::remove_file(folder.path("a.log")).unwrap();
    folder.write("a.log", "3\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW + 500_000), ["a.log#1:1@0 3"]);
    let later = NOW + 500_000 + 600_000_000;
    assert_eq!(drain(&mut source, &mut folder.cursors, later), ["a.log:2@2 2"]);
    drain(&mut source, &mut folder.cursors, later + 500_000);
    assert_eq!(source.partitions().len(), 1);
}

#[test]
fn a_file_with_two_names_is_read_once() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n")]);
    fs::hard_link(folder.path("a.ndjson"), folder.path("b.ndjson")).unwrap();
    std::os::unix::fs::symlink(folder.path("a.ndjson"), folder.path("c.ndjson")).unwrap();
    assert_eq!(folder.run("*.ndjson"), ["a.ndjson:1@0 1"]);
    assert_eq!(folder.run("*.ndjson"), [""; 0]);
}

#[test]
fn patterns_and_names_may_hold_special_characters() {
    let outer = Folder::of(&[("we[i]rd*/in/a[1].ndjson", "1\n"), ("we[i]rd*/up.ndjson", "2\n")]);
    let folder = Surroundings::folder(outer.path("we[i]rd*/in"));
    for (pattern, expected) in
        [("a[1].ndjson", "a[1].ndjson"), ("*.ndjson", "a[1].ndjson"), ("../*.ndjson", "../up.ndjson")]
    {
        let mut source = FileSource::new(pattern, &folder, Reading::default()).unwrap();
        source.open(&Cursors::new(), NOW).unwrap();
        assert_eq!(source.partitions()[0].to_string(), expected);
    }
    let absolute = Path::new("/").join(outer.path("x"));
    fs::create_dir_all(&absolute).unwrap();
    fs::write(absolute.join("f.ndjson"), "1\n").unwrap();
    let pattern = format!("{}/*.ndjson", absolute.display());
    let mut source = FileSource::new(&pattern, &folder, Reading::default()).unwrap();
    source.open(&Cursors::new(), NOW).unwrap();
    assert_eq!(source.partitions()[0].to_string(), absolute.join("f.ndjson").to_str().unwrap());
}

#[test]
fn a_file_that_is_read_to_its_end_is_no_partition_that_may_still_give_rows() {
    let folder = Folder::of(&[("a.ndjson", "1\n"), ("b.ndjson", "2\n")]);
    let mut source = folder.opened("*.ndjson", false, NOW);
    let names = |source: &FileSource| source.partitions().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&source), ["a.ndjson", "b.ndjson"]);
    while !matches!(source.poll(NOW).unwrap(), Polled::Rows(rows) if &*rows.origin.partition.name == "b.ndjson") {}
    assert_eq!(names(&source), ["b.ndjson"]);
    while !matches!(source.poll(NOW).unwrap(), Polled::Ended) {}
    assert_eq!(names(&source), [""; 0]);
}

#[test]
fn a_cursor_from_elsewhere_is_told() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n")]);
    folder.cursors.insert("a.ndjson".into(), serde_json::json!({"offset": 3}));
    let SourceError::Changed { what, detail } = folder.error("a.ndjson", false) else { panic!("not told") };
    assert_eq!(what, "a.ndjson");
    assert!(detail.starts_with("the cursor cannot be read (missing field"), "{detail}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// The plainest reading there is: all at once, split at line ends.
    #[test]
    fn any_bytes_give_the_lines_that_a_plain_reading_gives(
        pieces in proptest::collection::vec(proptest::prop_oneof![
            "[a-z]{0,12}", "\r\n", "\n", "\n\n", " \t", "\r", "x{70000,70010}", "\u{feff}"
        ], 0..60),
        restart in 1usize..4,
    ) {
        let text = pieces.concat();
        let mut folder = Folder::of(&[("a.ndjson", &text)]);
        let mut expected = Vec::new();
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let mark = if number == 0 && line.starts_with('\u{feff}') { 3 } else { 0 };
            let shown = line[mark..].strip_suffix('\n').unwrap_or(&line[mark..]);
            let shown = shown.strip_suffix('\r').unwrap_or(shown);
            if !shown.trim_ascii_start().is_empty() {
                expected.push(format!("a.ndjson:{}@{} {shown}", number + 1, start + mark));
            }
            start += line.len();
        }
        let mut read = Vec::new();
        let mut ended = false;
        while !ended {
            let mut source = folder.opened("*.ndjson", false, NOW);
            // A poll in the middle of a long line gives nothing and moves no cursor: only those that give something count.
            let mut given = 0;
            while given < restart && !ended {
                match source.poll(NOW).unwrap() {
                    Polled::Idle | Polled::LeftOut(_) | Polled::Streamed(_) => {}
                    Polled::Ended => ended = true,
                    Polled::Rows(polled) => {
                        given += 1;
                        for row in 0..polled.origin.rows() {
                            let (place, line) = (polled.origin.place(row), polled.origin.bytes_of(row));
                            read.push(format!("{place}@{} {}", place.byte.unwrap(), String::from_utf8_lossy(&line)));
                        }
                        folder.cursors.insert(polled.origin.partition.to_string(), polled.cursor);
                    }
                }
            }
        }
        proptest::prop_assert_eq!(read, expected);
    }
}
