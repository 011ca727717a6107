//! Files that are packed: the rows of what is in them, once, whatever happens in between.

use std::{fs, io::Write};

use syncline_engine::source::{Polled, Progress, Source, SourceError};

use super::{
    Reading,
    source_tests::{Folder, NOW, changed, drain, unreadable},
};
use crate::{conformance::source::check, records::Packing};

fn packed(packing: Packing, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packing.pack(&mut &text[..], &mut out).unwrap();
    out
}

fn gzip(text: &str) -> Vec<u8> {
    packed(Packing::Gzip, text.as_bytes())
}

/// Lines that do not pack well, so that an archive of them has a middle.
fn many(count: usize) -> String {
    (0..count)
        .map(|n| {
            format!(
                "{{\"n\":{n},\"x\":\"{:032x}\"}}\n",
                syncline_record::keys::content_hash(&[n as u8, (n >> 8) as u8])
            )
        })
        .collect()
}

#[test]
fn what_is_in_an_archive_is_read_once_and_as_if_it_lay_there() {
    let text = format!("\u{feff}1\r\n\n2\n{}\"last\"", many(10_000));
    let mut plain = Folder::of(&[("a.ndjson", &text)]);
    let expected: Vec<String> = plain.run("*").iter().map(|row| row.replacen("a.ndjson", "a", 1)).collect();
    for (packing, name) in [(Packing::Gzip, "a.ndjson.gz"), (Packing::Zstd, "a.ndjson.zst"), (Packing::Gzip, "a.GZ")] {
        let mut folder = Folder::of(&[]);
        folder.write(name, packed(packing, text.as_bytes()));
        let read: Vec<String> = folder.run("*").iter().map(|row| row.replacen(name, "a", 1)).collect();
        assert!(read == expected, "{name}");
        let size = fs::metadata(folder.path(name)).unwrap().len();
        let mut source = folder.opened("*", false, NOW);
        assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0], "{name}");
        assert_eq!(source.progress(), Progress { done: size, total: Some(size), skipped: size, ..Progress::default() });
        fs::remove_file(folder.path(name)).unwrap();
        assert_eq!(folder.run("*"), [""; 0], "it was read to its end, so it may go");
    }
}

#[test]
fn archives_keep_the_contract_of_sources() {
    let folder = Folder::of(&[("empty.zst", ""), ("plain.ndjson", "1\n2\n")]);
    folder.write("a.zst", packed(Packing::Zstd, many(5000).as_bytes()));
    folder.write("b.gz", [gzip("1\n2"), gzip("3\n"), gzip(""), gzip(&many(3000))].concat());
    let given = check(&|| Box::new(folder.source("*", false)));
    let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    assert_eq!(counts, [("a.zst", 5000), ("b.gz", 3002), ("plain.ndjson", 2)]);
    assert_eq!(given.rows["b.gz"][1].bytes, b"23");
}

#[test]
fn lines_too_long_for_a_record_are_measured_in_archives_too() {
    let over = "z".repeat(syncline_engine::source::MAX_RECORD + 5_000_000);
    let folder = Folder::of(&[]);
    folder.write("a.gz", gzip(&format!("1\n{over}\n2\n")));
    let given = check(&|| Box::new(folder.source("a.gz", false)));
    assert_eq!(given.rows["a.gz"].iter().map(|row| row.offset).collect::<Vec<_>>(), [1, 3]);
    let rejected: Vec<(String, u64)> =
        given.rejected.iter().map(|rejected| (rejected.place.to_string(), rejected.length)).collect();
    assert_eq!(rejected, [("a.gz:2".to_owned(), over.len() as u64)]);
}

#[test]
fn an_archive_that_is_cut_off_gives_what_is_there_and_says_so_and_goes_on_when_it_is_whole() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let text = many(20_000);
        let whole = packed(packing, text.as_bytes());
        let mut folder = Folder::of(&[]);
        folder.write("a", &whole[..whole.len() / 2]);
        folder.reading = Reading { packing: Some(Some(packing)), ..Reading::default() };
        let mut source = folder.opened("a", false, NOW);
        let mut rows = 0;
        let error = loop {
            match source.poll(NOW) {
                Ok(Polled::Rows(polled)) => {
                    rows += polled.origin.rows();
                    folder.cursors.insert("a".into(), polled.cursor);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        let SourceError::Unreadable { what, detail } = &error else { panic!("{error:?}") };
        let start = format!("the {} archive is cut off: it ends after ", packing.word());
        assert!(what == "a" && detail.starts_with(&start), "{error}");
        assert!(rows > 5000, "{rows}");
        assert_eq!(folder.error("a", false), error, "and again, with no row repeated");
        folder.write("new", &whole);
        folder.rename("new", "a");
        assert_eq!(rows + folder.run("a").len(), 20_000);
        assert_eq!(folder.run("a"), [""; 0]);
    }
}

#[test]
fn what_is_no_archive_or_a_damaged_one_is_told() {
    let folder = Folder::of(&[("a.gz", "{\"n\":1}\n"), ("b.zst", "{\"n\":1}\n")]);
    for (name, word) in [("a.gz", "gzip"), ("b.zst", "zstd")] {
        let SourceError::Unreadable { detail, .. } = folder.error(name, false) else { panic!("not told") };
        assert!(detail.starts_with(&format!("this is no {word} archive, or only its first bytes: ")), "{detail}");
    }
    let mut damaged = gzip(&many(100));
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    folder.write("c.gz", damaged);
    let mut source = folder.opened("c.gz", false, NOW);
    assert!(matches!(source.poll(NOW), Ok(Polled::Rows(rows)) if rows.origin.rows() == 100));
    let SourceError::Unreadable { detail, .. } = source.poll(NOW).unwrap_err() else { panic!("not told") };
    assert!(detail.starts_with("the gzip archive is damaged after "), "{detail}");
}

#[test]
fn an_archive_is_not_followed() {
    let folder = Folder::of(&[("app.log", "1\n")]);
    folder.write("app.log.1.gz", gzip("0\n"));
    let detail = "is a gzip archive, and FOLLOW reads files that grow: leave it out of the pattern";
    assert_eq!(folder.error("app.log*", true), unreadable("app.log.1.gz", detail));
    let mut folder = Folder { reading: Reading { packing: Some(None), ..Reading::default() }, ..folder };
    let mut source = folder.opened("app.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["app.log:1@0 1"]);
}

#[test]
fn an_archive_that_grew_by_another_is_read_on() {
    let mut folder = Folder::of(&[]);
    folder.write("a.gz", gzip("1\n2\n"));
    assert_eq!(folder.run("a.gz"), ["a.gz:1@0 1", "a.gz:2@2 2"]);
    fs::OpenOptions::new().append(true).open(folder.path("a.gz")).unwrap().write_all(&gzip("3\n")).unwrap();
    assert_eq!(folder.run("a.gz"), ["a.gz:3@4 3"]);
    folder.write("a.gz", gzip("1\n"));
    assert!(matches!(folder.error("a.gz", false), SourceError::Changed { .. }));
}

#[test]
fn an_archive_that_is_gone_before_its_end_was_given_is_told() {
    let mut folder = Folder::of(&[]);
    folder.write("a.gz", gzip(&many(3000)));
    let mut source = folder.opened("a.gz", false, NOW);
    let Polled::Rows(rows) = source.poll(NOW).unwrap() else { panic!("no rows") };
    folder.cursors.insert("a.gz".into(), rows.cursor);
    fs::remove_file(folder.path("a.gz")).unwrap();
    let SourceError::Changed { detail, .. } = folder.error("a.gz", false) else { panic!("not told") };
    assert!(detail.starts_with("was removed before it was read to its end ("), "{detail}");
}

#[test]
fn a_place_in_an_archive_is_none_in_the_bare_file() {
    let mut folder = Folder::of(&[]);
    folder.write("a.gz", gzip("1\n2\n"));
    folder.run("a.gz");
    folder.reading = Reading { packing: Some(None), ..Reading::default() };
    let detail = "was read as gzip before, and is to be read as an uncompressed file now; \
                  run with --fresh to read everything again";
    assert_eq!(folder.error("a.gz", false), changed("a.gz", detail));
}
