//! The words and signs of a .proto file, without comments.

/// A word, a number, a sign, or a text without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Sign(char),
    Text(String),
}

/// All tokens of a file.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            space if space.is_whitespace() || space == '\u{feff}' => &rest[space.len_utf8()..],
            '/' if rest.starts_with("//") => rest.split_once('\n').map_or("", |(_, rest)| rest),
            '/' if rest.starts_with("/*") => rest[2..].split_once("*/").ok_or("a comment is never closed")?.1,
            '"' | '\'' => {
                let (text, behind) = quoted(rest, first)?;
                tokens.push(Token::Text(text));
                behind
            }
            letter if is_word(letter) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
            sign => {
                tokens.push(Token::Sign(sign));
                &rest[sign.len_utf8()..]
            }
        };
    }
    Ok(tokens)
}

/// Points belong to names, and a sign in front of a number to nobody: no number here is read but those of fields.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// The text between quotes, escapes as they are, and what stands behind it.
fn quoted(rest: &str, quote: char) -> Result<(String, &str), String> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Ok((rest[1..at].to_owned(), &rest[at + 1..])),
            _ => {}
        }
    }
    Err("a text is never closed".to_owned())
}
