//! Files that go on after they were read to their end, and files that are cut.

use syncline_engine::source::Source;

use super::source_tests::{Folder, NOW, changed, drain, unreadable};

#[test]
fn a_last_line_without_line_end_is_a_row_once() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n2")]);
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:1@0 1", "a.ndjson:2@2 2"]);
    assert_eq!(folder.run("a.ndjson"), [""; 0]);
    folder.append("a.ndjson", "\n3\n");
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:3@4 3"]);
}

#[test]
fn a_part_of_a_line_that_was_taken_is_read_again_when_the_rest_is_there() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n{\"half\":")]);
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:1@0 1", "a.ndjson:2@2 {\"half\":"]);
    folder.append("a.ndjson", "tr");
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:2@2 {\"half\":tr"]);
    folder.append("a.ndjson", "ue}\n3\n");
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:2@2 {\"half\":true}", "a.ndjson:3@16 3"]);
}

#[test]
fn what_follows_a_whole_record_without_a_line_end_is_the_next_one() {
    let mut folder = Folder::of(&[("a.ndjson", "{\"a\":1}")]);
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:1@0 {\"a\":1}"]);
    folder.append("a.ndjson", "{\"a\":2}\n  \n{\"a\":3}  ");
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:2@7 {\"a\":2}", "a.ndjson:4@18 {\"a\":3}  "]);
    folder.append("a.ndjson", " \n{\"a\":4}\n");
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:6@29 {\"a\":4}"]);
}

#[test]
fn a_followed_file_that_is_cut_after_it_was_read_begins_anew_and_one_that_was_not_read_is_told() {
    let mut folder = Folder::of(&[("a.log", "1\n2\n3\n")]);
    let mut source = folder.opened("*.log", true, NOW);
    let rows = ["a.log:1@0 1", "a.log:2@2 2", "a.log:3@4 3"];
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), rows);
    folder.write("a.log", "");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    folder.append("a.log", "4\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log#1:1@0 4"]);
    drop(source);
    let mut source = folder.opened("*.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    drop(source);
    folder.write("a.log", "5, longer than before\n");
    let mut source = folder.opened("*.log", true, NOW);
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), ["a.log#2:1@0 5, longer than before"]);
    // Longer again, and other bytes at its start.
    folder.write("a.log", "6\n7, much longer than all that was there before\n");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    let rows = ["a.log#3:1@0 6", "a.log#3:2@2 7, much longer than all that was there before"];
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), rows);
    folder.append("a.log", "8, not");
    assert_eq!(drain(&mut source, &mut folder.cursors, NOW), [""; 0]);
    folder.write("a.log", "");
    let cut =
        "has 0 bytes, and 48 were read already: it was cut or written anew; run with --fresh to read everything again";
    assert_eq!(source.poll(NOW).unwrap_err(), changed("a.log", cut));
}

#[test]
fn a_file_with_a_name_must_be_there_each_time_and_a_pattern_may_match_nothing_more() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n")]);
    assert_eq!(folder.run("a.ndjson"), ["a.ndjson:1@0 1"]);
    std::fs::remove_file(folder.path("a.ndjson")).unwrap();
    assert_eq!(folder.error("a.ndjson", false), unreadable("a.ndjson", "No such file or directory"));
    assert_eq!(folder.run("*.ndjson"), [""; 0]);
}

#[test]
fn files_that_are_no_longer_meant_wait_where_they_were() {
    let mut folder = Folder::of(&[("a.ndjson", "1\n"), ("b.ndjson", "x\n")]);
    assert_eq!(folder.run("*.ndjson"), ["a.ndjson:1@0 1", "b.ndjson:1@0 x"]);
    folder.append("a.ndjson", "2\n");
    folder.append("b.ndjson", "y\n");
    assert_eq!(folder.run("a*"), ["a.ndjson:2@2 2"]);
    // What happens to them meanwhile is nobody's trouble.
    folder.rename("b.ndjson", "aside");
    assert_eq!(folder.run("./a.ndjson"), [""; 0]);
    folder.rename("aside", "b.ndjson");
    assert_eq!(folder.run("b.ndjson"), ["b.ndjson:2@2 y"]);
}
