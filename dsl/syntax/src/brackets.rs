//! Which bracket closes which, for the tokens of one statement, before anything is read from them.
//!
//! Knowing this first is what keeps the parser from running off: a list ends at its bracket whatever is in it, and a
//! bracket that is never closed ends where the next step begins.

use crate::diagnostic::Diagnostic;
use crate::lexer::{Kind, Token};
use crate::mistake;

/// Deeper brackets than this are nobody's handwriting, and every level costs stack further on.
pub const DEEPEST: usize = 100;

/// For each token that opens a bracket, where its content ends.
pub struct Brackets {
    pairs: Vec<Option<Pair>>,
    pub too_deep: bool,
}

#[derive(Clone, Copy)]
pub struct Pair {
    /// The token behind the content.
    pub end: usize,
    /// Whether that token is the closing bracket.
    pub closed: bool,
}

impl Pair {
    /// The first token behind the whole bracket.
    pub fn after(self) -> usize {
        self.end + usize::from(self.closed)
    }
}

impl Brackets {
    /// The pair that a token opens, if it opens one.
    pub fn pair(&self, token: usize) -> Option<Pair> {
        self.pairs.get(token).copied().flatten()
    }

    /// Matches the brackets of the tokens in `from..to`; `tokens` may hold more.
    pub fn add(&mut self, source: &str, tokens: &[Token], from: usize, to: usize, said: &mut Vec<Diagnostic>) {
        self.pairs.resize(tokens.len().max(self.pairs.len()), None);
        self.too_deep = false;
        let mut open: Vec<usize> = Vec::new();
        for at in from..to {
            match tokens[at].kind {
                Kind::Open => {
                    open.push(at);
                    if open.len() == DEEPEST + 1 {
                        said.push(mistake::too_deep(tokens[at].span, DEEPEST));
                        self.too_deep = true;
                    }
                }
                Kind::Close => self.close(source, tokens, at, &mut open, said),
                Kind::Pipe => self.cut(source, tokens, at, &mut open, said),
                _ => {}
            }
        }
        self.never_closed(source, tokens, to, &mut open, 0, said);
    }

    fn close(&mut self, source: &str, tokens: &[Token], at: usize, open: &mut Vec<usize>, said: &mut Vec<Diagnostic>) {
        let bracket = tokens[at].span.of(source);
        let Some(opening) = open.pop() else {
            return said.push(mistake::stray_closing(tokens[at].span, bracket));
        };
        let opened = tokens[opening].span.of(source);
        if mistake::closing_of(opened) != bracket {
            said.push(mistake::wrong_closing(tokens[at].span, bracket, tokens[opening].span, opened));
        }
        self.pairs[opening] = Some(Pair { end: at, closed: true });
    }

    /// A `|>` stands directly in a pipeline or in the brackets of TEE, FORK or an arm: any other bracket ends here.
    fn cut(&mut self, source: &str, tokens: &[Token], at: usize, open: &mut Vec<usize>, said: &mut Vec<Diagnostic>) {
        let keep = open.iter().rposition(|opening| holds_steps(source, tokens, *opening)).map_or(0, |last| last + 1);
        self.never_closed(source, tokens, at, open, keep, said);
    }

    fn never_closed(
        &mut self,
        source: &str,
        tokens: &[Token],
        end: usize,
        open: &mut Vec<usize>,
        keep: usize,
        said: &mut Vec<Diagnostic>,
    ) {
        let mut end = end;
        for (depth, opening) in open.drain(keep.min(open.len())..).rev().enumerate() {
            end = ends_before(source, tokens, &self.pairs, opening, end);
            let bracket = tokens[opening].span;
            let place = tokens[..end].last().map_or(bracket.end, |token| token.span.end);
            // A text without an end has taken the bracket with it: both are closed at once.
            let behind_text = mistake::close_behind_text(said, bracket.end, place, bracket.of(source));
            // Of several that end at one place only the innermost is reported: closing it is the reader's next step.
            if depth == 0 && !behind_text {
                said.push(mistake::unclosed_bracket(bracket, bracket.of(source), place));
            }
            self.pairs[opening] = Some(Pair { end, closed: false });
        }
    }

    pub fn none() -> Self {
        Self { pairs: Vec::new(), too_deep: false }
    }
}

/// `TEE (|> …)`, `UNION ALL (FROM …)`, `DERIVED people AS (|> …)`: told by what stands behind the bracket, or before it.
fn holds_steps(source: &str, tokens: &[Token], opening: usize) -> bool {
    let before = |back: usize, words: &[&str]| {
        opening.checked_sub(back).is_some_and(|at| words.iter().any(|word| is_word(source, &tokens[at], word)))
    };
    let arm = || before(1, &["AS"]) && before(3, &["PRIMARY", "DERIVED"]);
    let first = |next: &Token| next.kind == Kind::Pipe || is_word(source, next, "FROM");
    tokens.get(opening + 1).is_some_and(first) || before(1, &["TEE", "FORK"]) || arm()
}

fn is_word(source: &str, token: &Token, word: &str) -> bool {
    token.kind == Kind::Word && token.span.of(source).eq_ignore_ascii_case(word)
}

/// Where a bracket that nobody closed ends, at the latest at `end`: before the name that an expression is given.
/// In `CAST(total AS DECIMAL(12, 2) AS total` that is the second AS.
fn ends_before(source: &str, tokens: &[Token], pairs: &[Option<Pair>], opening: usize, end: usize) -> usize {
    let cast = ["CAST", "TRY_CAST"].iter().any(|word| opening > 0 && is_word(source, &tokens[opening - 1], word));
    let mut names = usize::from(cast);
    let mut at = opening + 1;
    while at < end {
        if is_word(source, &tokens[at], "AS") {
            match names.checked_sub(1) {
                Some(left) => names = left,
                None => return at,
            }
        }
        at = pairs[at].map_or(at + 1, |pair| pair.after()).max(at + 1);
    }
    end
}
