//! A look at a database that is there, before anything is written. Nothing is made, changed or waited for.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::table::columns_of;

/// The columns of a table. `None` where there is no such database or table, or it cannot be looked at now: the run will say why.
pub fn columns(path: &Path, table: &str) -> Option<Vec<String>> {
    if !path.is_file() {
        return None;
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // Without a log of its own the file is all there is, and is taken as it lies: otherwise reading it would put files beside it.
    let log = PathBuf::from(format!("{}-wal", path.display()));
    let connection = match log.exists() {
        true => {
            flags.remove(OpenFlags::SQLITE_OPEN_URI);
            Connection::open_with_flags(path, flags)
        }
        false => Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)?), flags),
    };
    columns_of(&connection.ok()?, table).ok().filter(|columns| !columns.is_empty())
}

/// A path inside of an address.
fn escaped(path: &Path) -> Option<String> {
    let mut text = String::new();
    for letter in path.to_str()?.chars() {
        match letter {
            '%' | '?' | '#' => text.push_str(&format!("%{:02X}", u32::from(letter))),
            _ => text.push(letter),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_look_changes_nothing_and_sees_what_was_committed() {
        let folder = tempfile::TempDir::new().unwrap();
        let names = || -> Vec<String> {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let path = folder.path().join("a 50%?#.db");
        assert_eq!(columns(&path, "t"), None);
        assert_eq!(names(), Vec::<String>::new());
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch("CREATE TABLE t (id INTEGER, \"Total\" NUMERIC)").unwrap();
        let seen = Some(vec!["id".to_owned(), "Total".to_owned()]);
        assert_eq!((columns(&path, "t"), columns(&path, "u")), (seen.clone(), None));
        drop(writer);
        assert_eq!(names(), ["a 50%?#.db"]);
        assert_eq!((columns(&path, "T"), names().len()), (seen, 1));
        fs::write(&path, "no database").unwrap();
        assert_eq!(columns(&path, "t"), None);
    }
}
