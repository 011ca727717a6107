//! Topic names as folder names.
//!
//! A topic may be called anything: paths, user text, `..`. Bytes that are safe in every file system stay, all others become
//! `%XX`, so that the folder can be read and turned back. A name that would be too long is cut, and ends with a digest; the
//! folder's file `name` then holds the whole of it.

use xxhash_rust::xxh3::xxh3_128;

/// File systems take 255 bytes; this leaves room for what tools append.
const LONGEST: usize = 200;
const KEPT: usize = 120;
/// The folder of the topic with the empty name. No other name gives it: `%` is always followed by two digits.
const EMPTY: &str = "%";
/// Parts a cut name from its digest. Safe to use, because it is escaped elsewhere.
const CUT: char = '~';

/// The file, in the folder of a cut name, that holds the whole name.
pub const NAME_FILE: &str = "name";

pub fn folder_of(topic: &str) -> String {
    if topic.is_empty() {
        return EMPTY.to_owned();
    }
    let whole = escape(topic.as_bytes(), usize::MAX);
    if whole.len() <= LONGEST {
        return whole;
    }
    format!("{}{CUT}{:032x}", escape(topic.as_bytes(), KEPT), xxh3_128(topic.as_bytes()))
}

/// True when the folder's name alone does not say which topic it is.
pub fn is_cut(folder: &str) -> bool {
    folder.contains(CUT)
}

/// The topic of a folder whose name is not cut; `None` for a folder that no topic has.
pub fn topic_of(folder: &str) -> Option<String> {
    if folder == EMPTY {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|topic| folder_of(topic) == folder)
}

/// Stops before the byte whose escape would pass `limit`.
fn escape(topic: &[u8], limit: usize) -> String {
    let mut folder = String::with_capacity(topic.len());
    for &byte in topic {
        let safe = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !folder.is_empty());
        if folder.len() + if safe { 1 } else { 3 } > limit {
            break;
        }
        if safe {
            folder.push(byte as char);
        } else {
            folder.push_str(&format!("%{byte:02X}"));
        }
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_folder_below_the_log_and_can_be_read_back() {
        for (topic, folder) in [
            ("in/orders", "in%2Forders"),
            ("", "%"),
            ("..", "%2E."),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a%2Fb", "a%252Fb"),
            ("Grüße ~", "Gr%C3%BC%C3%9Fe%20%7E"),
            ("a\0b\n", "a%00b%0A"),
        ] {
            assert_eq!((folder_of(topic).as_str(), topic_of(folder).as_deref()), (folder, Some(topic)));
        }
    }

    #[test]
    fn long_names_that_differ_at_their_end_have_different_folders() {
        let (one, other) = ("ü".repeat(300) + "1", "ü".repeat(300) + "2");
        assert_ne!(folder_of(&one), folder_of(&other));
        assert!(folder_of(&one).len() <= LONGEST && is_cut(&folder_of(&one)));
    }

    #[test]
    fn folders_that_no_topic_has_are_not_topics() {
        for folder in ["a b", "%2f", "%zz", "%2", "a~b", ".hidden", "%FF"] {
            assert_eq!(topic_of(folder), None, "{folder}");
        }
    }
}
