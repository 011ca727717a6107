//! Values in messages: short enough to read, in backquotes.

/// Characters of a value that a message shows.
const LONGEST: usize = 100;

/// A token or text as a message shows it, cut where it is long.
pub fn value(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}
