//! Looking at what a pipeline left behind with other tools than its own: SQLite's library, Parquet's, plain reading.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::{Connection, types::ValueRef};

/// The rows of a query on a SQLite file, each value as SQLite's shell would print it; NULL as `NULL`.
pub fn sqlite(file: &Path, sql: &str) -> Vec<Vec<String>> {
    let open = || Connection::open(file);
    let connection = open().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|column| Ok(shown(row.get_ref(column)?))).collect());
    rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn shown(value: ValueRef) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => value.to_string(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

/// The rows of all Parquet files in a folder, each value as Arrow prints it; NULL as `NULL`.
pub fn parquet(folder: &Path) -> Vec<Vec<String>> {
    let mut rows = vec![];
    for file in parts(folder, "parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).expect("a part that is listed"));
        let reader =
            reader.and_then(|builder| builder.build()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for batch in reader {
            let batch = batch.expect("rows that can be read");
            let options = FormatOptions::default().with_null("NULL");
            let formats: Vec<_> =
                batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
            let formats: Vec<_> = formats.into_iter().map(|format| format.expect("a type that prints")).collect();
            rows.extend(
                (0..batch.num_rows()).map(|row| formats.iter().map(|format| format.value(row).to_string()).collect()),
            );
        }
    }
    rows
}

/// The lines of all parts in a folder, in the order of their names.
pub fn lines(folder: &Path) -> Vec<String> {
    let text = |file: PathBuf| fs::read_to_string(file).expect("a part that is listed");
    parts(folder, "ndjson")
        .into_iter()
        .flat_map(|file| text(file).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The visible files of a folder with this extension, by name.
pub fn parts(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let visible = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|found| found == extension)
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(visible).collect();
    found.sort();
    found
}

/// Panics with the first difference, not with thousands of rows.
pub fn same(what: &str, found: &[String], expected: &[String]) {
    let first = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let at = first.unwrap_or(found.len().min(expected.len()));
    assert!(
        found == expected,
        "{what}: {} rows, expected {}; the first difference is at {at}: {:?}, expected {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    );
}

#[test]
fn a_lost_a_repeated_and_a_changed_row_are_each_noticed() {
    let rows = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    let differs = |found: &str| std::panic::catch_unwind(|| same("rows", &rows(found), &rows("abc"))).is_err();
    assert!(!differs("abc"));
    for found in ["ab", "abbc", "abd", "acb", ""] {
        assert!(differs(found), "{found}");
    }
}
