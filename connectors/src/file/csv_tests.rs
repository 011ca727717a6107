//! CSV files and JSON arrays: where their records are, and what they are called.

use std::fs;

use proptest::prelude::*;
use syncline_engine::source::{MAX_RECORD, Polled, Source, SourceError};
use syncline_functions::csv::Dialect;

use super::{
    Reading,
    source_tests::{Folder, NOW, drain, unreadable},
};
use crate::{
    conformance::source::check,
    records::{Columns, Packing, TextFormat},
};

fn csv(files: &[(&str, &str)], dialect: Dialect, columns: Columns) -> Folder {
    let format = TextFormat::Csv { dialect, columns };
    Folder { reading: Reading { format, ..Reading::default() }, ..Folder::of(files) }
}

fn headed(files: &[(&str, &str)]) -> Folder {
    csv(files, Dialect::default(), Columns::Header)
}

/// The names that each partition's rows came with.
fn names(folder: &Folder, pattern: &str) -> Vec<String> {
    let mut source = folder.opened(pattern, false, NOW);
    let mut names = Vec::new();
    while let Polled::Rows(rows) = source.poll(NOW).unwrap() {
        let columns = rows.origin.names.as_ref().map_or("none".to_owned(), |names| names.join("|"));
        names.push(format!("{}: {columns}", rows.origin.partition));
    }
    names
}

#[test]
fn a_header_is_no_row_and_names_the_columns_of_its_file() {
    let mut folder = headed(&[
        ("a.csv", "\u{feff}id,\"the, name\"\r\n1,\"x\r\ny\"\r\n\r\n2,z"),
        ("b.csv", "# no comment here\nname,id\n"),
        ("c.csv", "name,id\nq,9\n"),
        ("d.csv", ""),
    ]);
    assert_eq!(names(&folder, "*.csv"), ["a.csv: id|the, name", "b.csv: # no comment here", "c.csv: name|id"]);
    assert_eq!(
        folder.run("*.csv"),
        ["a.csv:2@19 1,\"x\r\ny\"", "a.csv:5@31 2,z", "b.csv:2@18 name,id", "c.csv:2@8 q,9"]
    );
    assert_eq!(folder.run("*.csv"), [""; 0]);
    folder.append("c.csv", "r,10\n");
    let mut source = folder.opened("*.csv", false, NOW);
    let Polled::Rows(rows) = source.poll(NOW).unwrap() else { panic!("no rows") };
    assert_eq!(rows.origin.names.unwrap().join("|"), "name|id", "the header is known in the middle of a file too");
    assert_eq!((rows.origin.offsets, &*rows.origin.partition.name), (vec![3], "c.csv"));
}

#[test]
fn comments_and_empty_lines_are_no_records_before_and_behind_the_header() {
    let dialect = Dialect { comment: Some(b'#'), ..Dialect::default() };
    let mut folder = csv(
        &[("a.csv", "#\"made by\n\nid,n\n# one\n1,2\n\n3,4\n#"), ("b.csv", "# only\n\n")],
        dialect,
        Columns::Header,
    );
    assert_eq!(folder.run("*.csv"), ["a.csv:5@22 1,2", "a.csv:7@27 3,4"]);
    assert_eq!(folder.run("*.csv"), [""; 0]);
}

#[test]
fn an_empty_line_is_a_record_where_there_is_one_column() {
    let mut folder = headed(&[("a.csv", "id\n1\n\n\"\"\n")]);
    assert_eq!(folder.run("a.csv"), ["a.csv:2@3 1", "a.csv:3@5 ", "a.csv:4@6 \"\""]);
}

#[test]
fn without_a_header_columns_are_numbered_or_left_to_their_places() {
    let dialect = Dialect { header: false, delimiter: b'\t', ..Dialect::default() };
    let file = [("a.tsv", "x\ty\tz\n1\t2\t3\n")];
    let mut folder = csv(&file, dialect.clone(), Columns::Numbered);
    assert_eq!(names(&folder, "a.tsv"), ["a.tsv: column_1|column_2|column_3"]);
    assert_eq!(folder.run("a.tsv"), ["a.tsv:1@0 x\ty\tz", "a.tsv:2@6 1\t2\t3"]);
    let folder = csv(&file, dialect, Columns::Places(3));
    assert_eq!(names(&folder, "a.tsv"), ["a.tsv: none"]);
}

#[test]
fn a_followed_csv_file_gives_whole_records_and_waits_for_its_header() {
    let mut folder = headed(&[("a.csv", "id,n")]);
    let mut source = folder.opened("a.csv", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    folder.append("a.csv", "ame\n1,\"a\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    folder.append("a.csv", "b\"\n2,c");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.csv:2@8 1,\"a\nb\""]);
    folder.append("a.csv", "\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.csv:4@16 2,c"]);
}

#[test]
fn a_csv_record_that_grows_after_it_was_taken_is_told_and_does_not_stop_the_rest() {
    let mut folder = headed(&[("a.csv", "id,name\n1,a\n2,\"b\nb\",x")]);
    assert_eq!(folder.run("a.csv"), ["a.csv:2@8 1,a", "a.csv:3@12 2,\"b\nb\",x"]);
    folder.append("a.csv", "yz\n3,c\n");
    let mut source = folder.opened("a.csv", false, NOW);
    let Polled::Rows(rows) = source.poll(NOW).unwrap() else { panic!("nothing came") };
    let [rejected] = &rows.rejected[..] else { panic!("{} rejected", rows.rejected.len()) };
    assert_eq!((rejected.place.to_string(), &rejected.bytes[..]), ("a.csv:3".to_owned(), &b"2,\"b\nb\",xyz"[..]));
    assert_eq!(rejected.reason.slug, "grown");
    folder.cursors.insert("a.csv".into(), rows.cursor);
    drop(source);
    assert_eq!(folder.run("a.csv"), ["a.csv:5@24 3,c"]);
}

#[test]
fn csv_keeps_the_contract_of_sources() {
    let text: String = (0..5000).map(|n| format!("{n},\"line\n{n}\",{}\n", "x".repeat(n % 50))).collect();
    let folder = headed(&[("a.csv", &format!("id,text,x\n{text}"))]);
    let mut packed = Vec::new();
    Packing::Zstd.pack(&mut format!("id,text,x\n{text}").as_bytes(), &mut packed).unwrap();
    fs::write(folder.path("b.csv.zst"), packed).unwrap();
    let long = format!("id,text\n1,\"{}\n{}\"\n2,b\n", "y\n".repeat(3), "x".repeat(MAX_RECORD));
    folder.write("c.csv", long);
    let given = check(&|| Box::new(folder.source("*", false)));
    let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    assert_eq!(counts, [("a.csv", 5000), ("b.csv.zst", 5000), ("c.csv", 1)]);
    assert_eq!(given.rows["c.csv"][0].offset, 7, "line ends of the long record count");
    let rejected: Vec<(String, &str)> =
        given.rejected.iter().map(|rejected| (rejected.place.to_string(), rejected.reason.detail.as_str())).collect();
    let length = format!("the record has {} bytes", MAX_RECORD + 11);
    assert_eq!(rejected, [("c.csv:2".to_owned(), length.as_str())]);
}

#[test]
fn a_header_that_cannot_be_one_is_told() {
    let folder = headed(&[("a.csv", "\"id\"x,n\n1,2\n")]);
    assert_eq!(folder.error("a.csv", false), unreadable("a.csv", "the header is no CSV record in UTF-8"));
    folder.write("b.csv", "x".repeat(MAX_RECORD + 1));
    let detail = "the first record is longer than a record may be";
    assert_eq!(folder.error("b.csv", false), unreadable("b.csv", detail));
}

/// All of the file was its header: no row, and books that balance.
#[test]
fn a_file_whose_lines_end_with_a_carriage_return_alone_is_told() {
    let folder =
        headed(&[("a.csv", "id,name\r1,x\r2,y\r"), ("b.csv", "\"first\rname\",n\r\nx,1\r\n"), ("c.csv", "id,name\r")]);
    folder.write("d.csv", format!("id,name\r{}", "1,x\r".repeat(MAX_RECORD / 4)));
    let detail = "its lines end with a carriage return alone, as on old Macs, and all of it would be its header; convert it: \
                  tr '\\r' '\\n' < old.csv > new.csv";
    assert_eq!(folder.error("a.csv", false), unreadable("a.csv", detail));
    assert_eq!(folder.error("d.csv", false), unreadable("d.csv", detail));
    assert_eq!(names(&folder, "b.csv"), ["b.csv: first\rname|n"], "between quotes it is a character");
    assert_eq!(names(&folder, "c.csv"), [""; 0]);
}

/// The rows until the source stops, and the words that it stops with.
fn until_stopped(folder: &mut Folder, name: &str) -> (Vec<String>, String) {
    let mut source = folder.opened(name, false, NOW);
    let mut given = Vec::new();
    loop {
        match source.poll(NOW) {
            Ok(Polled::Rows(rows)) => {
                let text = |row| String::from_utf8_lossy(&rows.origin.bytes_of(row)).trim().to_owned();
                given.extend((0..rows.origin.rows()).map(text));
                folder.cursors.insert(rows.origin.partition.to_string(), rows.cursor);
            }
            Ok(Polled::Ended) => return (given, "the end".to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(SourceError::Unreadable { detail, .. }) => return (given, detail),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_cut_off_array_gives_what_is_whole_and_stops_and_goes_on_when_it_is_there() {
    let many = (0..3000).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>().join(",\n");
    let whole = format!("[{many}]\n");
    for (cut, given) in [(17, 1), (16, 1), (6, 0), (whole.len() - 2, 2999), (whole.len() - 6, 2999), (20_000, 1759)] {
        let mut folder = Folder::of(&[("a.json", &whole[..cut])]);
        let (rows, said) = until_stopped(&mut folder, "a.json");
        assert_eq!(said, format!("the JSON array is cut off: it ends after {cut} bytes, without its `]`"));
        assert_eq!(until_stopped(&mut folder, "a.json"), (vec![], said), "again, and with no row repeated");
        assert_eq!(rows.len(), given, "{cut}");
        folder.append("a.json", &whole[cut..]);
        let (rest, said) = until_stopped(&mut folder, "a.json");
        assert_eq!((rows.len() + rest.len(), said.as_str()), (3000, "the end"), "{cut}");
        assert_eq!(until_stopped(&mut folder, "a.json"), (vec![], said));
    }
}

#[test]
fn an_array_that_ends_with_a_comma_is_cut_off() {
    for text in ["[{\"a\":1},", "[{\"a\":1},\n", "[{\"a\":1},{\"a\":2}", "[{\"a\":1},{\"a\""] {
        let mut folder = Folder::of(&[("a.json", text)]);
        let (rows, said) = until_stopped(&mut folder, "a.json");
        assert_eq!(rows, ["{\"a\":1}"]);
        assert_eq!(said, format!("the JSON array is cut off: it ends after {} bytes, without its `]`", text.len()));
    }
}

#[test]
fn what_follows_an_array_is_told() {
    let long = format!("[{}]", vec!["{\"n\":1}"; 10_000].join(","));
    for (array, count) in [("[\n{\"a\":1}\n]", 1), (&*long, 10_000)] {
        let mut folder = Folder::of(&[("a.json", &format!("{array} \n{{}}"))]);
        let (rows, said) = until_stopped(&mut folder, "a.json");
        let detail = format!(
            "something follows the JSON array, at byte {}: a file is one array, or one record a line",
            array.len() + 2
        );
        assert_eq!((rows.len(), said), (count, detail));
    }
}

#[test]
fn the_elements_of_a_json_array_are_records() {
    let mut folder = Folder::of(&[
        ("a.json", "\u{feff} [\n  {\"a\": \"]},{\\\"\", \"b\": [1, {}]},\n {\"a\"},\r\n{}\n]\n"),
        ("b.json", "[]"),
        ("c.json", "[{}]\n{}\n"),
        ("d.json", "[1, 2]\n{}\n"),
    ]);
    let shown: Vec<String> = folder.run("*.json").iter().map(|row| row.replace(['\n', '\r'], "~")).collect();
    assert_eq!(
        shown,
        [
            "a.json:1@5 ~  {\"a\": \"]},{\\\"\", \"b\": [1, {}]}",
            "a.json:2@38 ~ {\"a\"}",
            "a.json:3@46 ~~{}~",
            "c.json:1@0 [{}]",
            "c.json:2@5 {}",
            "d.json:1@0 [1, 2]",
            "d.json:2@7 {}",
        ]
    );
    assert_eq!(folder.run("*.json"), [""; 0]);
}

#[test]
fn arrays_keep_the_contract_of_sources() {
    let elements: Vec<String> =
        (0..5000).map(|n| format!("{{\n  \"n\": {n}, \"x\": \"{}\"\n}}", ",".repeat(n % 70))).collect();
    let over = "z".repeat(MAX_RECORD);
    let text = format!("[{}, {{\"z\": \"{over}\"}}, {{}}]\n", elements.join(", "));
    let folder = Folder::of(&[("a.json", &text)]);
    let given = check(&|| Box::new(folder.source("a.json", false)));
    assert_eq!(given.rows["a.json"].len(), 5001);
    assert_eq!(given.rejected.len(), 1);
    let last = given.rows["a.json"].last().unwrap();
    assert_eq!((last.offset, &last.bytes[..]), (5002, &b" {}"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The `csv` crate finds the same records in any text whose quotes are in order.
    #[test]
    fn records_are_those_that_the_csv_crate_finds(
        rows in prop::collection::vec(prop::collection::vec("[a-c \",\r\n]{0,9}", 2..4), 1..30),
    ) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).flexible(true).from_writer(Vec::new());
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let dialect = Dialect { header: false, ..Dialect::default() };
        let mut folder = csv(&[("a.csv", &text)], dialect, Columns::Numbered);
        let expected: Vec<String> = {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let places = reader.records().map(|record| record.unwrap().position().unwrap().clone());
            places.map(|place| format!("a.csv:{}@{}", place.line(), place.byte())).collect()
        };
        let found: Vec<String> =
            folder.run("a.csv").iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect();
        prop_assert_eq!(found, expected, "{}", text);
    }
}
