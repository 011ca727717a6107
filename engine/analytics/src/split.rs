//! Where one statement ends and the next begins, as the parser sees it: a `;` in a text, a name or a comment ends nothing.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, Tokenizer},
};

/// Statements of a text, without their `;`.
#[derive(Debug, PartialEq, Eq)]
pub struct Statements<'a> {
    /// Each of them has words.
    pub whole: Vec<&'a str>,
    /// What is behind the last `;`, where there are words: a statement too, or the beginning of one.
    pub rest: Option<&'a str>,
}

impl<'a> Statements<'a> {
    /// All of them, the last one without `;` too.
    pub fn all(self) -> Vec<&'a str> {
        self.whole.into_iter().chain(self.rest).collect()
    }
}

pub fn statements(text: &str) -> Statements<'_> {
    let mut found = Statements { whole: vec![], rest: None };
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        // A text, a name or a comment has no end: nothing behind it can be told apart.
        found.rest = Some(text).filter(|text| !text.trim().is_empty());
        return found;
    };
    let (mut places, mut start, mut words) = (Places::of(text), 0, false);
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                let end = places.offset(token.span.start);
                if words {
                    found.whole.push(text[start..end].trim());
                }
                (start, words) = (end + 1, false);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => words = true,
        }
    }
    found.rest = words.then(|| text[start..].trim());
    found
}

/// Where lines and columns lie in a text, asked for in its order, so that it is walked once: a question may be a megabyte on one line.
struct Places<'a> {
    letters: std::str::CharIndices<'a>,
    end: usize,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        Self { letters: text.char_indices(), end: text.len(), line: 1, column: 1 }
    }

    /// Lines and columns count from 1, columns in characters.
    fn offset(&mut self, at: Location) -> usize {
        while (self.line, self.column) < (at.line, at.column) {
            match self.letters.next() {
                None => return self.end,
                Some((_, '\n')) => (self.line, self.column) = (self.line + 1, 1),
                Some(_) => self.column += 1,
            }
        }
        self.letters.offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_in_a_text_a_name_or_a_comment_ends_nothing() {
        let text = "SELECT 'ü;' AS \";\"; -- ;\n/* ; */ SELECT 2;;\n  SELECT $$;$$ ; FROM runs\n|> LIMIT 1";
        let found = statements(text);
        assert_eq!(found.whole, ["SELECT 'ü;' AS \";\"", "-- ;\n/* ; */ SELECT 2", "SELECT $$;$$"]);
        assert_eq!(found.rest, Some("FROM runs\n|> LIMIT 1"));
    }

    /// A place was looked for from the beginning of its line each time: a megabyte of `;` kept a thread of the process for minutes.
    #[test]
    fn a_long_line_of_statements_is_walked_once() {
        let began = std::time::Instant::now();
        let found = statements(&"SELECT 'ü';".repeat(80_000)).all().len();
        assert_eq!(found, 80_000);
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn nothing_is_no_statement_and_a_text_without_end_is_one() {
        assert_eq!(statements(" ; -- no\n;"), Statements { whole: vec![], rest: None });
        assert_eq!(statements("SELECT 1;").all(), ["SELECT 1"]);
        assert_eq!(statements("SELECT 1; SELECT 'a").rest, Some("SELECT 1; SELECT 'a"));
    }
}
